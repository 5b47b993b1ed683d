"""Cells as HTML: whatever they hold, they are shown and do nothing."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hostile_cells import CELLS, SCRIPT, drawn, judged, png_claiming, sound
from PIL import Image

import cfai_nb as cf
from cfai_nb.html import markup
from cfai_nb.media import as_folder, picture
from cfai_nb.media.picture import thumbnail
from cfai_nb.vectors.vector import Space, _vector
from cfai_nb.widgets import table
from cfai_nb.widgets.cell import Renderer

VECTOR = _vector(np.linspace(-1, 1, 768, dtype=np.float32), Space("@cf/baai/bge-m3", 768, "", "emulator"))


def html_of(cell: Any, **options: Any) -> str:
    """A cell as HTML."""
    return Renderer().cell(cell, 'column "a" <b>, row 3', **options)


def decoded(html: str) -> tuple[str, bytes]:
    """The media type and content of the one source of some HTML."""
    (source,) = judged(html).sources
    head, _, body = source.partition(",")
    return head, base64.b64decode(body)


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_hostile_cells_are_shown_and_do_nothing(name: str, names: bool) -> None:
    """Scripts, handlers, links, broken text, bombs and polyglots become text or a picture of our own."""
    cell, word = CELLS[name]
    html = html_of(cell, names=names)
    judge = judged(html)
    assert SCRIPT not in html
    assert len(html) < (200_000 if "<audio" in html else 10_000)
    if not (names and isinstance(cell, str)):
        assert word in "".join(judge.words)
    for source in judge.sources:
        if not source.startswith("data:audio/"):
            assert b"alarm" not in base64.b64decode(source.partition(",")[2])


@pytest.mark.parametrize("name", CELLS)
def test_hostile_cells_alone(name: str) -> None:
    """The same bytes as a picture or sound of their own: the bundle is as harmless."""
    cell, _ = CELLS[name]
    if isinstance(cell, bytes):
        for made in (cf.Image(cell), cf.Audio(cell)):
            bundle = made._repr_mimebundle_()
            bundle = bundle[0] if isinstance(bundle, tuple) else bundle
            judged(bundle["text/html"])
            assert SCRIPT not in bundle["text/plain"]
            assert set(bundle) <= {"text/html", "text/plain", "image/jpeg"}


def test_hostile_names_everywhere_around_cells() -> None:
    """Names of columns, labels of rows, captions and messages of errors are escaped like cells."""
    frame = pd.DataFrame(
        {SCRIPT: [SCRIPT, None], '"><img src=x onerror=1>': [drawn(), sound()]},
        index=pd.Index([SCRIPT, '"\ud800'], dtype=object, name=SCRIPT),
    )
    columns, _ = table.choose_columns(frame)
    judged(table.table(columns, [0, 1], frame.index, errors={1: {None: (SCRIPT, SCRIPT)}}))
    failures = pd.DataFrame({"row": [SCRIPT], "code": [SCRIPT], "message": [SCRIPT * 100]})
    shown = table.table(columns, [0], frame.index).removeprefix(markup.sheet("table"))
    assert "mathjax_ignore tex2jax_ignore" in shown[:60]
    for made in (
        frame.cfai.preview(failures=failures, filter="script"),
        frame.cfai.gallery(caption=SCRIPT),
        frame.cfai.player('"><img src=x onerror=1>', caption=[SCRIPT], filter="<"),
    ):
        judged(made.fragment())
        judged(made._caption())
        made.close()


@pytest.mark.parametrize(
    ("mode", "form", "mime"),
    [
        ("RGB", "PNG", "image/jpeg"), ("RGBA", "PNG", "image/webp"), ("LA", "PNG", "image/webp"),
        ("1", "PNG", "image/jpeg"), ("I;16", "PNG", "image/jpeg"), ("L", "JPEG", "image/jpeg"),
        ("CMYK", "JPEG", "image/jpeg"), ("P", "GIF", "image/webp"), ("RGB", "BMP", "image/jpeg"),
        ("RGB", "TIFF", "image/jpeg"), ("RGB", "WEBP", "image/jpeg"),
    ],
)  # fmt: skip
def test_pictures_become_thumbnails_of_our_own(mode: str, form: str, mime: str) -> None:
    """Every mode and form is encoded again, 256 pixels at most, with an alternative text that says what it is."""
    picture = Image.new(mode, (400, 300))
    file = io.BytesIO()
    picture.save(file, form)
    html = html_of(file.getvalue())
    head, content = decoded(html)
    assert head == f"data:{mime};base64"
    assert Image.open(io.BytesIO(content)).size == (256, 192)
    assert "column &quot;a&quot; &lt;b&gt;, row 3" in html


def test_nothing_of_the_original_is_in_a_thumbnail() -> None:
    """Comments, profiles, EXIF and bytes after the end stay behind; the picture stands as its EXIF says."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "secret place", 6
    content = (
        drawn((300, 200), "JPEG", exif=exif, comment=b"secret word", icc_profile=b"secret profile") + b"secret end"
    )
    made = thumbnail(content, 256)
    assert b"secret" not in made.content
    assert (made.width, made.height) == (171, 256)


def test_a_large_jpeg_is_drawn_and_a_bomb_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG is decoded at the size wanted; others beyond 50 megapixels are refused before they are decoded."""
    with pytest.raises(cf.InputError, match=r"claims 9,000 × 6,000 pixels; at most 50,000,000 are drawn"):
        thumbnail(png_claiming(9_000, 6_000), 256)
    monkeypatch.setattr(picture, "MOST_DECODED", 100_000)
    assert thumbnail(drawn((900, 600), "JPEG"), 256).width == 256
    for refused in (drawn((900, 600)), Image.new("RGB", (900, 600))):
        with pytest.raises(cf.InputError, match="at most 100,000 are drawn"):
            thumbnail(refused, 256)


@pytest.mark.parametrize(
    "cell", [Path("photo.png"), "photo.png", Image.new("RGB", (40, 30)), np.zeros((30, 40, 3), dtype=np.uint8)]
)
def test_every_way_to_hold_a_picture(cell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, names of files, PIL images and arrays of pixels show as bytes do."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(drawn((40, 30)))
    here = as_folder(tmp_path)
    assert table.choose_columns(pd.DataFrame({"a": [cell, None]}), here)[0][0].kind == "image"
    assert decoded(html_of(cell, names=True, files=here))[0] == "data:image/jpeg;base64"


def test_devices_folders_and_shares_are_not_read(tmp_path: Path) -> None:
    """A pipe is not waited for, a folder is named, a network share and an address stay text."""
    os.mkfifo(tmp_path / "pipe.png")
    for cell in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero")):
        assert "not a file" in html_of(cell)
        assert table.choose_columns(pd.DataFrame({"a": [cell]}))[0]
    for text in ("//elsewhere/a.png", r"\\elsewhere\a.png", "http://example.org/a.png", "file:///etc/a.png"):
        column = table.named_columns(pd.DataFrame({"a": [text]}), "a")[0]
        assert (column.kind, column.names) == ("text", False)
        for files in (None, as_folder(tmp_path)):
            assert text in "".join(judged(html_of(text, names=True, files=files)).words)


def test_sound_plays_within_the_size_of_a_page() -> None:
    """A player with a label and the length of the sound; beyond the page's bytes, words."""
    renderer = Renderer(sound=3_000)
    first, second = (renderer.cell(sound(), "speech, row 1") for _ in range(2))
    assert decoded(first) == ("data:audio/wav;base64", sound())
    assert 'aria-label="speech, row 1 (WAV 0.2 s)"' in first
    assert judged(second).sources == []
    assert "not saved here" in second


def test_vectors_are_bars_of_one_scale() -> None:
    """A vector is a row of bars with its size and space in words; the same number has the same height on a page."""
    html = html_of(VECTOR)
    assert "vector of 768, -1 to 1 · @cf/baai/bge-m3 (768, emulator)" in html
    whole, half = (html_of(VECTOR * factor, top=1.0) for factor in (1, 0.5))
    assert b"v-11.0" in decoded(whole)[1]
    assert b"v-5.5" in decoded(half)[1]
    for odd in ([np.nan, np.inf, -1.0] * 5, np.array([]), np.zeros(3, dtype=int), [0.5] * 10):
        judged(html_of(odd))


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (None, "missing"), (pd.NA, "missing"), (float("nan"), "missing"), (pd.NaT, "missing"), (True, "True"), (7, "7"),
        (0.123456, "0.1235"), (1e-9, "1e-09"), (2.0, "2.0"), (pd.Timestamp("2024-05-01"), "2024-05-01 00:00:00"),
        ({"a": 1}, "{'a': 1}"), ([1, 2], "[1, 2]"), ("", ""),
    ],
)  # fmt: skip
def test_other_cells(cell: Any, written: str) -> None:
    """Missing is called missing; numbers, dates and small objects are written as people write them."""
    assert "".join(judged(html_of(cell)).words) == written


def test_long_text_unfolds() -> None:
    """A long text shows its beginning, unfolds to 4,000 characters, and says how long it is."""
    words = "".join(judged(html_of("word " * 10_000)).words)
    assert "50,000 characters" in words
    assert len(words) < 4_500


def test_columns_are_chosen_by_what_they_hold() -> None:
    """Media first, then what is short, then vectors and long texts; those left out are named."""
    frame = pd.DataFrame({f"n{at}": [1, 2] for at in range(6)})
    frame["long"] = ["x" * 500] * 2
    frame["vector"] = [VECTOR, None]
    frame["text"] = ["short", None]
    frame["speech"] = [None, sound()]
    frame["photo"] = [drawn(), None]
    chosen, rest = table.choose_columns(frame)
    assert [column.name for column in chosen] == ["photo", "speech", "text", "n0", "n1", "n2", "n3", "n4"]
    assert rest == ["n5", "vector", "long"]
    assert "3 more columns hidden (n5, vector, long); choose with columns=" in frame.cfai.preview().fragment()


def test_shares_have_bars() -> None:
    """A score of 0 to 1 is drawn as a bar beside its number, also where a file holds it in single precision."""
    frame = pd.DataFrame({"score": np.array([0.5, 2.0], dtype="f4"), "p__a": [0.25, None], "other": [0.5, 0.5]})
    page = frame.cfai.preview().fragment()
    assert page.count('class="cfai-bar"') == 2


def test_boxes_are_drawn_on_the_picture_of_their_row() -> None:
    """A column of `detect` shows the only picture of its row with the boxes, and their labels in words."""
    sides = {"ymin": 10, "xmax": 60, "ymax": 40}
    found = [{"label": SCRIPT if at else "dog", "score": 0.5, "xmin": 10 + at, **sides} for at in range(2)]
    plain = Image.new("RGB", (100, 50), "white")
    frame = pd.DataFrame({"photo": [plain, plain, plain], "found": [found, [], None]})
    page = frame.cfai.preview().fragment()
    words = "".join(judged(page).words)
    assert "dog 0.50" in words
    assert "nothing found" in words
    assert len(judged(page).sources) == 3 + 1
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(judged(page).sources[1].rpartition(",")[2]))))
    assert (np.abs(seen.astype(int) - [0, 0x72, 0xB2]).sum(axis=2) < 60).any()
    assert "dog 0.50" in frame[["found"]].cfai.preview().fragment()  # without a picture in words only


def test_several_pictures_of_a_row_stand_in_one_cell() -> None:
    """A list of pictures, as `image(n=2)` makes it, is shown as pictures."""
    for several in ([cf.Image(drawn()), cf.Image(drawn((9, 9)))], np.array([drawn(), drawn((9, 9))], dtype=object)):
        frame = pd.DataFrame({"photo": [several, None]})
        assert len(judged(frame.cfai.preview().fragment()).sources) == 2


def test_vectors_alone_show_bars_and_stay_numpy_in_text() -> None:
    """A vector as a cell's output: bars in HTML, numpy's short form and the space in text; a matrix is numpy's."""
    bundle = VECTOR._repr_mimebundle_()
    assert bundle["text/plain"].startswith("Vector([-1.    , -0.9974, -0.9948, ...,")
    assert bundle["text/plain"].endswith("# @cf/baai/bge-m3 (768, emulator)")
    assert decoded(bundle["text/html"])[0] == "data:image/svg+xml;base64"
    assert set(VECTOR.reshape(2, -1)._repr_mimebundle_()) == {"text/plain"}


def test_pictures_and_sounds_alone() -> None:
    """A picture has an alternative text and its size, a sound a labelled player; a long sound only words."""
    data, metadata = cf.Image(drawn((640, 480)))._repr_mimebundle_()
    assert 'alt="a picture, PNG 640×480"' in data["text/html"]
    assert metadata["image/jpeg"]["alt"] == "a picture, PNG 640×480"
    assert set(data) == {"text/html", "text/plain", "image/jpeg"}
    bundle = cf.Audio(sound())._repr_mimebundle_()
    assert 'aria-label="a sound, WAV 0.2 s"' in bundle["text/html"]
    long = cf.Audio(sound() + bytes(10**7))._repr_mimebundle_()
    assert "more than 10 MB" in "".join(judged(long["text/html"]).words)
