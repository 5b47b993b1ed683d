"""The map without a browser: what is on it, selected, labelled and described, and what it looks like when saved."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import hostile_cells as hostile
import numpy as np
import pandas as pd
import pytest
import traitlets

import cfai_nb as cf
from cfai_nb.html.markup import line
from cfai_nb.widgets import progress
from cfai_nb.widgets.map import Map, state
from cfai_nb.widgets.map.still import shade, shading_of, titles

VIEW = "application/vnd.jupyter.widget-view+json"
EVIL = "<script>window.__alarm=1</script><img src=x onerror='window.__alarm=1'> $\\href{javascript:1}{x}$"
HALF = "half \ud800 \x00 \u202e"


@pytest.fixture(autouse=True)
def emulator() -> Iterator[None]:
    """No key, no network, nothing kept."""
    with cf.connect("emulator", store=False):
        yield


def points(index: Any = None, **columns: Any) -> pd.DataFrame:
    """Six rows around two places, with texts, on an index with duplicates; the last has no vector."""
    frame = pd.DataFrame(
        {
            "v": [[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [5.0, 5.0], [5.1, 5.0], None],
            "text": ["parcel late", "parcel lost", "late parcel", "refund card", "card refund", "parcel"],
            "team": ["ship", "ship", "ship", "pay", "pay", "ship"],
        },
        index=list("aabbcd") if index is None else index,
    )
    for name, cells in columns.items():
        frame[name] = pd.Series(cells if isinstance(cells, list) else [cells] * 6, index=frame.index, dtype=object)
    return frame


def made(frame: pd.DataFrame | None = None, **options: Any) -> Map:
    """A map of those rows."""
    options = {"text": "text", "color": "team", "hover": ["text"], **options}
    shown: Map = cf.on(points() if frame is None else frame).map("v", **options)
    return shown


@pytest.mark.parametrize(
    ("which", "selected"),
    [
        (np.array([True, False, True, False, False, False]), (0, 2)),
        (pd.Series([True, None, True, False, False, False], index=list("aabbcd"), dtype="boolean"), (0, 2)),
        ([False] * 4 + [True, False], (4,)),
        ("a", (0, 1)),
        (["c", "b"], (2, 3, 4)),
        (pd.Index(["c"]), (4,)),
        (points().iloc[[2]], (2, 3)),
        ([], ()),
        (None, ()),
    ],
)
def test_a_selection_from_python(which: Any, selected: tuple[int, ...]) -> None:
    """Masks count rows, labels take all rows that carry them, and the rows come with their own index."""
    m = made()
    shown = m.select(which)
    assert m.selection == selected
    pd.testing.assert_frame_equal(shown, points().iloc[list(selected)])
    pd.testing.assert_frame_equal(m.selected, shown)


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        (["a", "z"], KeyError, "no 'z'"),
        ([True], ValueError, "a mask of 1 values for a frame of 6 rows"),
        (pd.Series([True] * 6), ValueError, "another index"),
    ],
)
def test_a_selection_that_makes_no_sense(which: Any, error: type[Exception], said: str) -> None:
    """Unknown labels and masks of another frame are refused."""
    with pytest.raises(error, match=said):
        made().select(which)


def test_rows_without_a_vector_are_not_on_the_map() -> None:
    """They cannot be selected, which is said, and their place is missing; labels leave them out."""
    m = made()
    assert m.rows.tolist() == [0, 1, 2, 3, 4]
    assert m.points["x"].isna().tolist() == [False] * 5 + [True]
    assert "1 row without a vector left out" in m.notes
    with pytest.warns(cf.CfaiWarning, match="1 of the 4 rows have no vector"):
        m.select((points()["team"] == "ship").to_numpy())
    with pytest.raises(traitlets.TraitError, match="row 5 is not on the map"):
        m.selection = (5,)


def test_labels_accumulate_and_are_taken_back() -> None:
    """They go into the map's own frame, color the map, and undo goes back step by step."""
    frame = points()
    m = made(frame)
    m.select("a")
    assert m.label(" shipping ", as_column="theme").fillna("").tolist() == ["shipping"] * 2 + [""] * 4
    assert m.color == "theme"
    m.select(["a", "c"])
    m.select(np.array([False, True, False, False, True, False]))
    m.label("money", as_column="theme")
    m.label("paid", as_column="team")
    assert m.frame["theme"].fillna("").tolist() == ["shipping", "money", "", "", "money", ""]
    assert m.frame["team"].tolist() == ["ship", "paid", "ship", "pay", "paid", "ship"]
    m.undo()
    assert m.color == "theme"
    m.undo()
    assert m.frame["theme"].fillna("").tolist() == ["shipping"] * 2 + [""] * 4
    m.undo()
    assert m.color == "team"
    pd.testing.assert_frame_equal(m.frame, points())
    pd.testing.assert_frame_equal(frame, points())
    with pytest.raises(ValueError, match="nothing to undo"):
        m.undo()


def test_labels_that_make_no_sense() -> None:
    """No selection, no words, or a column of something else: refused, with what to do."""
    m = made(points(n=list(range(6))))
    for act in (lambda: m.label("x"), m.describe):
        with pytest.raises(ValueError, match=r"nothing is selected: .*m.select"):
            act()
    m.select("a")
    with pytest.raises(ValueError, match="a label cannot be empty"):
        m.label(" ")
    with pytest.raises(ValueError, match="half of a character"):
        m.label(HALF)
    with pytest.raises(ValueError, match="as_column="):
        m.label("x", as_column="n")


def test_describe_by_terms() -> None:
    """Words and columns that set the selection apart, with how often they occur; nothing is sent."""
    m = made()
    m.select(["a", "b"])
    m.select(np.array([True, True, True, False, False, False]))
    said = m.describe()
    assert (said.name, said.by, said.rows, said.of) == ("parcel, late, lost", "terms", 3, 5)
    assert "parcel (100%, elsewhere 0%)" in said.shares
    assert "team: ship (100%, elsewhere 0%)" in said.shares
    assert "card" in said.differs
    with pytest.raises(ValueError, match="text="):
        made(text=None, color=None, hover=[], frame=points().iloc[:5]).describe._texts()


def test_describe_by_a_model() -> None:
    """An ordinary task: priced before, in the ledger, kept in the store, marked where a stand-in wrote it."""
    m = made()
    m.select("a")
    plan = m.describe.plan()
    assert len(plan.inputs) == 1
    said = m.describe(model="default")
    assert (said.mark, said.rows, said.of) == ("emulator", 2, 5)
    assert said.by == plan.model.id
    assert said.name and said.shares and said.differs  # noqa: PT018
    assert cf.last_run().run.plan.task.name == "generate"
    assert asyncio.run(m.describe.aio(model="default")) == said


def test_texts_are_embedded_first() -> None:
    """Through the engine: priced, awaited, marked as the emulator's; what has no text is not on the map."""
    df = cf.sample("tickets").head(12).assign(text=lambda frame: frame["text"].where(frame.index != 3))
    verb = cf.on(df).map
    assert len(verb.plan("text").inputs) == int(df["text"].notna().sum())
    m = verb("text", color="topic", hover="product")
    assert m.mark == "emulator"
    assert "emulator" in repr(m)
    assert "emulator" in m._repr_mimebundle_()["text/html"]
    assert 3 not in m.rows
    again = asyncio.run(verb.aio("text", color="topic"))
    pd.testing.assert_frame_equal(again.points, m.points)
    series = cf.on(df["text"].cfai.embed()).map()
    pd.testing.assert_frame_equal(series.points, m.points)


@pytest.mark.parametrize(
    ("on", "options", "error"),
    [
        ("text", {"color": "tema"}, cf.ColumnError),
        ("text", {"hover": ["nothing"]}, cf.ColumnError),
        ("txt", {}, cf.ColumnError),
        ("v", {"model": "bge-m3"}, TypeError),
        ("v", {"text": "nothing"}, cf.ColumnError),
    ],
)
def test_columns_are_checked_before_anything_is_paid_for(on: str, options: Any, error: type[Exception]) -> None:
    """A wrong name is refused at once."""
    before = len(cf.ledger())
    with pytest.raises(error):
        cf.on(points()).map(on, **options)
    assert len(cf.ledger()) == before


def test_clusters_color_the_map() -> None:
    """Groups become a column, named by their words; undo takes back both."""
    m = made()
    assert m.cluster(2).tolist() == [0, 0, 0, 1, 1, pd.NA]
    assert m.color == "cluster"
    two = shading_of(m).labels.cat.categories
    assert two[0].startswith("0: parcel")
    m.cluster(3)
    m.undo()
    assert shading_of(m).labels.cat.categories.tolist() == two.tolist()
    m.undo()
    assert "cluster" not in m.frame
    m = made(points(cluster=[0, 1, 0, 1, 0, 1]))
    m.cluster(2)
    m.undo()
    m.color = "cluster"
    assert shading_of(m).labels.cat.categories.tolist() == ["0", "1"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([True, None, False], ["False", "True", "missing"]),
        ([2.0, None, 1.0], ["1", "2", "missing"]),
        ([EVIL, HALF, "", None], ["(blank)", line(EVIL, 40), "half ?", "missing"]),
        ([[1], {2}, None], ["[1]", "missing", "{2}"]),
        ([None, None], ["missing"]),
        ([], []),
    ],
)
def test_colors_by_words(cells: list[Any], words: list[str]) -> None:
    """Every value is a word with a color, whatever it is; missing is gray."""
    groups, colors = shade(pd.Series(cells, dtype=object, name="n")).folded("#999999")
    assert sorted(colors) == words
    assert list(groups.categories) == list(colors)
    assert not groups.isna().any()
    assert colors.get("missing", "#999999") == "#999999"


@pytest.mark.parametrize(
    ("cells", "first", "steps"),
    [
        (range(100), "0 to 14.14", 7),
        ([0.0] * 95 + [1.0, 2, 3, 4, 5, 6, 7, 8, 9, np.inf], "0 to 1.286", 7),
        (pd.date_range("2026-01-01", periods=70), "2026-01-01 to 2026-01-10", 7),
    ],
)
def test_colors_by_numbers(cells: Any, first: str, steps: int) -> None:
    """Numbers and dates are steps of one scale."""
    shading = shade(pd.Series(cells, name="n"))
    assert (next(iter(shading.colors)), len(shading.colors), shading.steps) == (first, steps, True)


def test_more_groups_than_colors() -> None:
    """The largest have a color, the rest is gray and counted."""
    shading = shade(pd.Series([str(at) for at in range(60)] + ["0"] * 5))
    _, colors = shading.folded("#999999")
    assert len(shading.colors) == 24
    assert colors["36 smaller groups"] == "#999999"


def test_the_still_form() -> None:
    """A picture with words in its place, escaped, whatever the cells hold; nothing of it comes from elsewhere."""
    frame = points(**{EVIL: [EVIL, HALF, EVIL, "y" * 1_000_000, "x", "x"]})
    m = made(frame, color=EVIL, hover=[EVIL])
    page = m._repr_mimebundle_()["text/html"]
    assert page.count("<") == page.count(">")
    assert [tag for tag in ("<script", "<img src=x", "onerror='", "http") if tag in page] == []
    assert 'alt="Map of 5 rows, colored by &lt;script&gt;' in page
    assert 'src="data:image/png;base64,' in page
    assert len(page) < 200_000
    page.encode()
    m.select("a")
    m.label(EVIL)
    assert "<script" not in m.describe()._repr_html_()
    m.color = None
    assert m.picture().alt.startswith("Map of 5 rows.")


def test_without_jupyter_scatter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture, and what to install."""
    monkeypatch.setitem(sys.modules, "jscatter", None)
    monkeypatch.delitem(sys.modules, "cfai_nb.widgets.map.chart", raising=False)
    bundle = made()._repr_mimebundle_()
    assert VIEW not in bundle
    assert "pip install jupyter-scatter" in bundle["text/html"]


def test_the_live_form() -> None:
    """The widget follows the map, and the map the widget; refusals are said in it."""
    pytest.importorskip("jscatter")
    frame = points(Text=1, color=EVIL, x=HALF)
    frame.iloc[3, 1] += " word" * 200 + " at its end"
    m = made(frame, hover=["Text", "color", "x"])
    assert VIEW in m._repr_mimebundle_()
    chart = m._chart
    chart.write.click()
    assert "a label cannot be empty" in chart.message.value
    chart.label.value = EVIL
    chart.write.click()
    assert "nothing is selected" in chart.message.value
    chart.canvas.selection = np.array([4, 3], dtype=np.uint32)
    assert m.selection == (3, 4)
    chart.write.click()
    assert m.frame["label"].fillna("").tolist() == [""] * 3 + [EVIL] * 2 + [""]
    assert "<script" not in chart.message.value + chart.head.value
    assert dict(zip(chart._names, chart.by.options, strict=True))["label"] == chart.by.options[chart.by.index]
    assert list(chart.scatter.color()["map"])
    chart.sought.value = "AT ITS END"  # beyond what is shown of it
    assert m.selection == (3,)
    assert "1 row with “AT ITS END”" in chart.message.value
    m.select("a")
    assert chart.scatter.selection().tolist() == [0, 1]
    assert "<b>2</b> of 5 rows selected" in chart.head.value
    chart.by.value = chart._names.index("team")
    assert m.color == "team"
    chart.tell.click()
    assert "parcel" in chart.message.value
    chart.back.click()
    assert "label" not in m.frame
    chart.canvas.send = lambda message: sent.append(message)  # a hover asks the kernel for its text
    sent: list[Any] = []
    chart.canvas._handle_tooltip({"index": 3, "preview": "text", "properties": chart.canvas.tooltip_properties[1:]})
    assert sent[0]["preview"].startswith("refund card word")
    assert list(sent[0]["properties"].values()) == ["1", line(EVIL, 120), "half ?"]
    m.close()
    m.select("b")
    assert chart.scatter.selection().tolist() == [0, 1]


def test_separate_groups_have_their_names_on_the_map() -> None:
    """Words of clusters stand over their points; scattered groups have no name there."""
    pytest.importorskip("jscatter")
    m = made()
    m._repr_mimebundle_()
    chart = m._chart
    assert chart.canvas.label_placement is not None
    assert chart.data["name on the map"].tolist() == ["ship"] * 3 + ["pay"] * 2
    m.cluster(2)
    assert set(chart.data["name on the map"]) == set(m.value_names["cluster"].values())
    m.frame["odd"] = ["a", "b", "a", "a", "b", "a"]
    for color in ("odd", None):
        m.color = color
        assert chart.canvas.labels is None
        assert titles(m) is None


def test_a_group_that_is_spread_has_no_name() -> None:
    """The middle of what lies all around is among other groups."""
    around = {"v": [[0, 0], [0, 1], [9, 9], [9, 8], [0, 9], [9, 0.5]], "g": ["a", "a", "b", "b", "other", "other"]}
    named = titles(cf.on(pd.DataFrame(around)).map("v", color="g"))
    assert named is not None
    assert named.fillna("").tolist() == ["a", "a", "b", "b", "", ""]


def test_a_layout_and_a_view_are_kept() -> None:
    """Points of an earlier map are taken as they are, on the same index; the part in sight is a trait of the map."""
    pytest.importorskip("jscatter")
    frame = points(range(6))
    first = made(frame).points
    first.loc[1] = np.nan
    m = made(frame, points=first)
    pd.testing.assert_frame_equal(m.points, first)
    assert m.rows.tolist() == [0, 2, 3, 4]
    assert "4 points as saved" in repr(m)
    assert "2 rows without a vector or point left out" in repr(m)
    with pytest.raises(ValueError, match="points has another index"):
        made(frame, points=first.head(3))
    with pytest.raises(cf.ColumnError, match="'y'"):
        made(frame, points=first[["x"]])
    m._repr_mimebundle_()
    m._chart.canvas.camera_view = view = [2.0, *[0.0] * 14, 1.0]
    assert list(m.view) == view


def test_the_same_cell_run_again_shows_the_same_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels, names of clusters, selection and the part in sight are there again."""
    work: dict[str, Any] = {}
    monkeypatch.setattr(state, "kept_work", lambda *place: work)
    m = made()
    m.select("a")
    m.label("one")
    m.cluster(2)
    m.view = [2.0]
    again = made()
    assert (again.selection, again.color, again.view) == (m.selection, "cluster", [2.0])
    assert again.value_names == m.value_names
    pd.testing.assert_frame_equal(again.frame, m.frame)


@pytest.mark.parametrize("shown", ["text", "vectors"])
def test_labels_stay_with_the_rows_they_were_given_to(monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    """On an equal index with other texts or vectors, labels and selection are those of the rows that are the same."""
    work: dict[str, Any] = {}
    monkeypatch.setattr(state, "kept_work", lambda *place: work)
    texts, vectors = points()["text"].tolist(), [[*map(float, np.eye(6)[at])] for at in range(6)]

    def again(changed: list[int]) -> Map:
        now = pd.DataFrame({"v": vectors, "text": texts, "team": ["ship"] * 6})
        for at in changed:
            other: Any = f"{at} of {len(changed)}" if shown == "text" else [*vectors[at][1:], 1.0 + len(changed)]
            now.at[at, "text" if shown == "text" else "v"] = other
        return made(now, text="text" if shown == "text" else None, hover=[])

    m = again([])
    m.select([0, 1, 3])
    m.label("one")
    m.cluster(2)
    m.label("pay", as_column="team")
    m = again([1])
    assert m.selection == (0, 3)
    assert m.frame["label"].fillna("").tolist() == ["one", "", "", "one", "", ""]
    assert m.frame["team"].tolist() == ["pay", "ship", "ship", "pay", "ship", "ship"]
    assert m.frame["cluster"].isna().tolist() == [False, True, False, False, False, False]
    m = again(list(range(6)))
    assert (m.selection, m.color) == ((), "team")
    assert list(m.frame.columns) == ["v", "text", "team"]


def test_neighbors_are_the_nearest_others() -> None:
    """Rows of equal vectors are neighbors of one another and not of themselves, however many there are."""
    frame = pd.DataFrame({"v": [[1.0, 0.0, 0.0]] * 4 + [[0.0, 1.0, 0.0], [0.0, 1.0, 0.1]]})
    m = cf.on(frame).map("v", method="pca", progress=False)
    near = m.nearest(np.arange(6), 2)
    assert near.shape == (6, 2)
    assert all(row not in found for row, found in enumerate(near.tolist()))
    assert set(near[:4].ravel().tolist()) <= {0, 1, 2, 3}
    assert [near[4, 0], near[5, 0]] == [5, 4]
    assert m.nearest(np.arange(6), 99).shape == (6, 5)
    assert m.nearest(np.arange(6), 0).shape == (6, 0)


def test_pictures_on_hover() -> None:
    """Pictures and sound of the point the mouse rests on are shown beside the map, one row at a time; nothing acts."""
    pytest.importorskip("jscatter")
    bad = [cell for cell, _ in hostile.CELLS.values()]
    cells = [hostile.drawn((90, 60))] * 20 + bad
    frame = pd.DataFrame({"v": [[float(at), float(at % 7)] for at in range(len(cells))]})
    frame = frame.assign(photo=pd.Series(cells, dtype=object), said=pd.Series([*bad, *cells[:20]], dtype=object))
    frame.index = [f"{EVIL} {at}" for at in range(len(frame))]
    m = cf.on(frame).map("v", hover=["photo", "said"])
    m._repr_mimebundle_()
    panel, chart = m._chart.hover_panel, m._chart
    assert [column.name for column in m.media] == ["photo"]
    assert m.color_columns == ["said"]
    for row, word in enumerate(["JPG"] * 20 + [word for _, word in hostile.CELLS.values()]):
        panel.show(row)
        judge = hostile.judged(panel.box.value)
        assert row < 20 or word in "".join(judge.words) or len(judge.sources) == 1
        assert EVIL in "".join(judge.words)
    assert all(text.isprintable() and len(text) <= 120 for text in chart.data[chart._titles["said"]])

    async def hover() -> None:
        panel.box.value = ""
        for at in (7, 3, None, 5):  # the mouse runs over points and rests on the last
            panel.hovered({"new": at})
        while not panel.box.value:
            await asyncio.sleep(0.01)

    asyncio.run(hover())
    judge = hostile.judged(panel.box.value)
    assert len(judge.sources) == 1
    assert judge.sources[0].startswith("data:image/")
    assert f"{EVIL} 5" in "".join(judge.words)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows(rows: int) -> None:
    """A map of nothing, of one and of two rows is a map."""
    m = made(points().head(rows), color=None)
    assert f"Map of {rows} row" in m._repr_mimebundle_()["text/html"]
    assert f"{rows} rows" in repr(m)


def test_a_wait_is_shown_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long says how long; its result and its error come through."""
    seen, shown = threading.Event(), []

    def display(line: dict[str, str], **_: Any) -> Any:
        shown.append(line["text/plain"])
        seen.set()
        return type("Handle", (), {"update": staticmethod(display)})

    monkeypatch.setattr(progress, "publish", display)
    monkeypatch.setattr(progress, "_WAIT_PAUSE", 0.001)
    assert progress.patiently(lambda: seen.wait(10), "laying out", shown=True) is True
    assert shown[0].startswith("laying out · 0.")
    assert shown[-1].endswith("s · done")
    with pytest.raises(ZeroDivisionError):
        progress.patiently(lambda: 1 / 0, "dividing", shown=True)
