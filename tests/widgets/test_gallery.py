"""Preview, gallery and player without a browser: pages, filters, picks, failures, and what a saved notebook keeps."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
import traitlets
from hostile_cells import CELLS, SCRIPT, drawn, judged, sound
from PIL import Image

import cfai_nb as cf
from cfai_nb.widgets import gallery

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def frame() -> pd.DataFrame:
    """Thirty rows with pictures, sound, text and labels that occur twice."""
    rows = range(30)
    return pd.DataFrame(
        {
            "text": [f"row number {at}" for at in rows],
            "photo": [cf.Image(drawn((40 + at, 30))) if at % 7 else None for at in rows],
            "speech": [cf.Audio(sound(0.05)) for _ in rows],
        },
        index=[f"r{at // 2}" for at in rows],
    )


def words(made: Any) -> str:
    """What is read on the page."""
    return " ".join(judged(made.fragment()).words)


def test_picks_stay_with_the_pictures_they_were_given_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On an equal index with other pictures, the rows picked are those with a picture that is the same."""
    work: dict[str, Any] = {}
    monkeypatch.setattr(gallery, "kept_work", lambda *place: work)
    kinds: list[Any] = [
        [drawn((20 + at, 20)) for at in range(3)],
        [cf.Image(drawn((20 + at, 20))) for at in range(3)],
        [Image.new("RGB", (20 + at, 20)) for at in range(3)],
        [np.full((4, 4), at, dtype=np.uint8) for at in range(3)],
        [tmp_path / f"{at}.png" for at in range(3)],
    ]
    for one, two, other in kinds:
        work.clear()
        frame = pd.DataFrame({"photo": pd.Series([one, two, None, None], dtype=object)})
        frame.cfai.gallery("photo").picks = (0, 1, 2)
        copy = one.copy() if hasattr(one, "copy") else one
        changed = pd.DataFrame({"photo": pd.Series([copy, other, None, None], dtype=object)})
        assert changed.cfai.gallery("photo").picks == (0, 2)


def test_pages_turn_by_trait_and_by_button(frame: pd.DataFrame) -> None:
    """Buttons, the number of the page, rows a page and the filter move the traits, and the traits move them."""
    made = frame.cfai.preview(n=12)
    assert made.columns == ["photo", "speech", "text"]
    box = made.box
    assert "1–12 of 30 rows" in words(made)
    assert (made._back.disabled, made._on.disabled) == (True, False)
    made._on.click()
    made._on.click()
    assert (made.page, made.pages, made.shown) == (2, 3, [24, 25, 26, 27, 28, 29])
    assert (made._at.value, made._of.value, made._on.disabled) == (3, "of 3", True)
    assert made._html.value == made.fragment()
    made._size.value = 6
    assert (made.n, made.page, made.shown[0]) == (6, 4, 24)
    made._sought.value = "NUMBER 2"
    assert (made.page, made.rows.tolist()) == (0, [2, *range(20, 30)])
    assert "1–6 of 11 rows with “NUMBER 2” (30 in all)" in words(made)
    made.filter = "nothing like it"
    assert (made.pages, made.shown) == (1, [])
    assert made.box is box
    made.close()


@pytest.mark.parametrize("wrong", [{"page": 3}, {"page": -1}, {"n": 0}, {"n": 101}])
def test_pages_that_are_not_there_are_refused(frame: pd.DataFrame, wrong: dict[str, int]) -> None:
    """A page or a size out of range is an error that says the range."""
    with pytest.raises(
        traitlets.TraitError, match=r"pages count from 0 to 2|not be less than 1|not be greater than 100"
    ):
        frame.cfai.preview(**wrong)


def test_only_the_page_is_read(tmp_path: Path) -> None:
    """Files of other pages are not opened: there may be none."""
    (tmp_path / "0.png").write_bytes(drawn())
    frame = pd.DataFrame({"photo": [str(tmp_path / f"{at}.png") for at in range(100)]})
    made = frame.cfai.preview(n=1, files=tmp_path)
    assert len(judged(made.fragment()).sources) == 1
    made.page = 99
    assert "there is no file" in words(made)
    made.close()


def test_bundle_is_live_still_and_plain(frame: pd.DataFrame) -> None:
    """One bundle: the widget, the page as HTML and as text; the live page is the still one."""
    for made in (frame.cfai.preview(), frame["photo"].cfai.preview(), frame.cfai.gallery("photo", caption="text")):
        bundle = made._repr_mimebundle_()
        assert set(bundle) == {VIEW, "text/html", "text/plain"}
        assert bundle[VIEW]["model_id"] == made.box.model_id
        assert json.dumps(bundle)
        made.close()
    plain = repr(frame.cfai.preview(n=2))
    assert plain.splitlines()[0] == "<Preview: 1–2 of 30 rows>"
    assert "missing  WAV, 444 B  row number 0" in plain


def test_a_preview_is_saved(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may be named from the home folder; it has at most n rows, of which there is at least 1."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made = frame[["text"]].cfai.preview()
    assert made.save("~/a.html", n=5) == tmp_path / "a.html"
    assert (tmp_path / "a.html").read_text("utf-8").count("<tr>") == 6
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n={n} must be a whole number of at least 1"):
            made.save(tmp_path / "b.html", n=n)


def test_failures_stand_where_the_run_left_nothing() -> None:
    """The last run over these rows tells why a cell is missing, by position, also where labels occur twice."""
    with cf.connect("emulator", store=False):
        data = pd.DataFrame({"text": ["a parcel", "half \ud800", None, "a bill"]}, index=[1, 1, 1, 2], dtype=object)
        with pytest.warns(cf.CfaiWarning, match="failed"):
            data["label"] = data.cfai.classify("text", ["parcel", "bill"])
        run = cf.last_run()
        assert list(run.errors) == [1]
        made = data.cfai.preview(["text", "label"])
        assert "1 row failed" in words(made)
        assert words(made).count("✗ failed") == 1
        assert "half of a character" in words(made)
        assert "✗ failed" not in words(data.cfai.preview(failures=False))
        other = data.copy().reset_index(drop=True)
        assert "✗ failed" not in words(other.cfai.preview())
        by_label = data.iloc[1:].cfai.preview(failures=run.failures)
        assert words(by_label).count("a row of this label: ") == 2
        with pytest.raises(TypeError, match="failures= takes a run"):
            data.cfai.preview(failures=["x"])


def test_failures_of_enrich_stand_in_their_columns(tmp_path: Path) -> None:
    """The report of ``cf.enrich``, or its failures, tells of each column which rows have no answer, and why."""
    photos = {"one": [drawn((40, 30)), b"no picture", drawn((30, 40))], "two": [b"none", drawn((9, 9)), b"none"]}
    pd.DataFrame({**photos, "nothing": [None] * 3}).to_parquet(tmp_path / "source.parquet")
    columns = {f"of {name}": (cf.Caption(), name) for name in photos}
    with cf.connect("emulator", store=False), pytest.warns(cf.CfaiWarning, match="3 answers failed"):
        report = cf.enrich(tmp_path / "source.parquet", tmp_path / "made", columns)
    frame = report.frame()[["nothing", "of one", "of two"]]
    for failures in (report, report.failures):
        made = frame.cfai.preview(["nothing", "of one", "of two"], failures=failures)
        assert "3 rows failed" in words(made)
        assert words(made).count("✗ failed") == 3
        rows = [row.split("</tr>")[0] for row in made.fragment().split("<tr>")[2:]]
        assert [[("✗ failed" in cell) for cell in row.split("<td")[1:]] for row in rows] == [
            [False, False, True], [False, True, False], [False, False, True]
        ]  # fmt: skip


def test_gallery_picks_rows_and_gives_the_frame(frame: pd.DataFrame) -> None:
    """Clicks and the trait pick positions; what is picked are the frame's own rows, labels that occur twice or not."""
    made = frame.cfai.gallery("photo", caption=["text"], n=4)
    seen: list[Any] = []
    made.observe(lambda change: seen.append(change["new"]), "picks")
    _ = made.box
    made._slots[1]._button.value = True
    made.page = 1
    made._slots[0]._button.value = True
    assert (made.picks, seen) == ((1, 4), [(1,), (1, 4)])
    assert made.picked["text"].tolist() == ["row number 1", "row number 4"]
    assert made.picked.index.tolist() == ["r0", "r2"]
    assert made._slots[0]._button.description == "✓ Picked"
    made.page = 0
    assert [slot._button.value for slot in made._slots] == [False, True, False, False]
    made._slots[1]._button.value = False
    made.picks = (29, 3, 3)
    assert made.picked["text"].tolist() == ["row number 3", "row number 29"]
    assert "2 picked" in words(made)
    assert words(made).count("✓ picked") == 1
    for picks, wrong in (((30,), 30), ((-1, 3), -1)):
        with pytest.raises(traitlets.TraitError, match=f"there is no row {wrong}:"):
            made.picks = picks
    every, none = made.box.children[1].children[0].children[1:]
    none.click()
    every.click()
    assert made.picks == (0, 1, 2, 3)
    made.page = 7
    assert len(made._grid.children) == 2
    made.close()


def test_rows_that_leave_the_frame_do_not_shift_the_picks(frame: pd.DataFrame) -> None:
    """A gallery keeps to the rows it was made of."""
    made = frame.cfai.gallery("photo")
    made.picks = (5,)
    frame.loc["r0", "text"] = "changed"
    del frame["photo"]
    assert made.picked["text"].tolist() == ["row number 5"]
    assert len(judged(made.fragment()).sources) == 10


def test_player_and_default_columns(frame: pd.DataFrame) -> None:
    """Without a name, the first column of pictures or sound; a Series is its own; a wrong name says what there is."""
    player = frame.cfai.player(caption="text", n=3)
    assert player._column.name == "speech"
    assert len(judged(player.fragment()).sources) == 3
    assert 'aria-label="speech, row number 1 (WAV 0.1 s)"' in player.fragment()
    assert frame["speech"].cfai.player().rows.size == 30
    assert "there is no file 'nowhere'" in words(pd.Series(["nowhere"]).cfai.gallery(files="."))
    assert frame.cfai.gallery()._column.name == "photo"
    with pytest.raises(cf.ColumnError, match="No column holds sound"):
        frame[["text", "photo"]].cfai.player()
    with pytest.raises(cf.ColumnError, match="Did you mean 'photo'"):
        frame.cfai.gallery("photos")
    with pytest.raises(cf.ColumnError, match=r"'text' holds texts, not pictures.*preview"):
        frame.cfai.gallery("text")
    with pytest.raises(cf.ColumnError, match=r"'text' holds texts, not sound"):
        frame["text"].cfai.player()
    with pytest.raises(cf.ColumnError, match="Did you mean 'text'"):
        frame.cfai.preview(["txt"])


def test_heads_sort(frame: pd.DataFrame) -> None:
    """A head pressed sorts by its column, then the other way around, then not; media have none."""
    made = frame.cfai.preview(n=3)
    page = made.box.children[-2]
    assert page.sortable == [made.columns.index("text")]
    orders = []
    for _ in range(3):
        made._press_head(page, {"sort": 2}, [])
        orders.append((made.sort, made.descending, made.shown[0]))
    assert orders == [("text", False, 0), ("text", True, 9), ("", False, 0)]
    assert frame.cfai.gallery("photo").box.children[-2].sortable == []


def test_a_sound_has_its_transcript(frame: pd.DataFrame) -> None:
    """What is said stands below the player: the named column, a column called so, or the first one of texts."""
    more = frame.assign(my_transcript=[f"heard {at}" for at in range(30)])
    for data, options, said in (
        (frame, {}, "row number 0"), (more, {}, "heard 0"), (more, {"transcript": "text"}, "row number 0"),
    ):  # fmt: skip
        made = data.cfai.player("speech", n=1, **options)
        assert said in words(made)
        made.filter = "nothing"
        assert made.shown == []
    assert "cfai-said" not in frame.cfai.player("speech", caption="text").fragment().partition("</style>")[2]
    with pytest.raises(TypeError, match=r"preview\(\) has no option rows\. Did you mean"):
        frame.cfai.preview(rows=3)


def test_odd_frames_are_shown() -> None:
    """No rows, no columns, columns of one name, labels of several parts, categories and empty columns: all show."""
    odd = pd.DataFrame([[1, "a"], [2, None]], columns=["x", "x"])
    category = pd.DataFrame(
        {"c": pd.Categorical(["a", None]), "d": pd.to_datetime(["2024-01-01", None]), "e": [None, None]}
    )
    many = pd.DataFrame({("a", 1): [1]}, index=pd.MultiIndex.from_tuples([("k", 2)]))
    for data in (pd.DataFrame(), pd.DataFrame({"a": []}), odd, category, many, pd.Series([1.5]), odd.iloc[:0]):
        made = data.cfai.preview(filter="")
        judged(made._repr_mimebundle_()["text/html"])
        made.filter = "a"
        judged(made.fragment())
        made.close()


@pytest.mark.slow
def test_hostile_frames_are_shown() -> None:
    """Every hostile cell on one page: the whole bundle is harmless and can be sent, in preview, gallery and player."""
    cells = [cell for cell, _ in CELLS.values()]
    frame = pd.DataFrame({SCRIPT: cells, "media": cells[::-1]}, index=[f"{name}\x1b" for name in CELLS], dtype=object)
    for made in (
        frame.cfai.preview(n=50),
        frame.cfai.gallery("media", caption=SCRIPT, n=50),
        frame.cfai.player(SCRIPT, caption="media", n=50),
    ):
        bundle = made._repr_mimebundle_()
        judged(bundle["text/html"])
        assert "\x1b" not in json.dumps(bundle, ensure_ascii=False).encode().decode()
        assert "\x1b" not in bundle["text/plain"]
        made.filter = "script"
        assert len(made.rows) > 2
        made.close()


def test_long_sound_plays_while_the_kernel_runs() -> None:
    """The still page keeps as much sound as it may; the live one has the rest as well, and turns with it."""
    frame = pd.DataFrame({"speech": [sound(0.5)] * 8})
    preview, player = frame.cfai.preview(n=4, sound=5_000), frame.cfai.player(n=4, sound=5_000)
    for page in (0, 1):
        preview.page = player.page = page
        for made in (preview, player):
            assert len(judged(made._repr_mimebundle_()["text/html"]).sources) == 1
        assert len(judged(preview._html.value).sources) == 4
        assert sum(len(judged(slot._html.value).sources) for slot in player._slots) == 4
    preview.close()
    player.close()


def test_what_the_emulator_made_says_so(frame: pd.DataFrame) -> None:
    """Vectors of the emulator bring its mark to the page."""
    with cf.connect("emulator", store=False):
        frame["vector"] = frame.cfai.embed("text")
    assert ">emulator</b>" in frame.cfai.preview(["text", "vector"]).fragment()
    assert ">emulator</b>" not in frame.cfai.preview(["text"]).fragment()


def test_a_page_of_large_pictures_is_small() -> None:
    """Twelve pictures of a megabyte each come to less than a megabyte of notebook, live and still together."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 590, 3), dtype=np.uint8))
    file = io.BytesIO()
    noise.save(file, "PNG")
    assert len(file.getvalue()) > 1_000_000
    made = pd.DataFrame({"photo": [file.getvalue()] * 1_000}).cfai.preview()
    bundle = made._repr_mimebundle_()
    assert len(json.dumps(bundle)) + len(made._html.value) < 1_000_000
    made.close()


@pytest.mark.slow
def test_saved_notebook_keeps_the_page(tmp_path: Path) -> None:
    """In a real kernel: the file holds the still page beside the widget, for readers without a kernel."""
    source = "import pandas as pd, cfai_nb as cf\npd.DataFrame({'a': ['<script>', 'b']}).cfai.preview()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (output,) = notebook.cells[0].outputs
    assert set(output.data) == {VIEW, "text/html", "text/plain"}
    assert "<script>" in " ".join(judged(output.data["text/html"]).words)
