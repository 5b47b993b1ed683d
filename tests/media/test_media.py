"""Media in a frame: what cells may hold, read late, known by content, held once, and back out as plain binary."""

from __future__ import annotations

import base64
import copy
import io
import os
import pickle
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pytest
from inputs import picture
from PIL import Image

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.errors import InputError
from cfai_nb.frame.reading import read
from cfai_nb.frame.rows import rows_of
from cfai_nb.media import Media, Parts, mime_of, source
from cfai_nb.media.picture import FORMATS
from cfai_nb.media.source import MOST_BYTES, File, as_folder, media_of, of_bytes

IMAGE = frozenset({"image"})


def sound(seconds: float = 0.5) -> bytes:
    """Return a WAV file of silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(int(16000 * seconds)))
    return out.getvalue()


PNG = picture()
PIXELS = np.full((6, 8, 3), (255, 0, 0), dtype=np.uint8)


# -- what a cell may hold ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a picture in it, under a name that lies."""
    (tmp_path / "a.txt").write_bytes(PNG)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("cell", [
    PNG, bytearray(PNG), memoryview(PNG), Path("a.txt"), Path("~/a.txt"), cf.Image(PNG),
    "data:image/jpeg;base64," + base64.b64encode(PNG).decode(), " DATA:;base64," + base64.b64encode(PNG).decode(),
], ids=lambda cell: type(cell).__name__)  # fmt: skip
def test_the_same_file_in_every_form_is_one_input(home: Path, cell: Any) -> None:
    """Bytes, paths and data: addresses of equal content are equal; the form is sniffed, whatever name or header say."""
    media = media_of(cell)
    assert isinstance(media, Media)
    assert media == of_bytes(PNG)
    assert media.content() == PNG == media.loaded().content()
    assert str(media.form) == "PNG 8×6"


@pytest.mark.parametrize("cell", [
    PIXELS, Image.fromarray(PIXELS), PIXELS.astype(np.float32) / 255, PIXELS.astype(float) / 255,
    np.asfortranarray(PIXELS), Image.fromarray(PIXELS).quantize(2), Image.fromarray(PIXELS).convert("HSV"),
    Image.fromarray(PIXELS).convert("RGBX"),
], ids=list("12345678"))  # fmt: skip
def test_equal_pixels_are_one_input(cell: Any) -> None:
    """Arrays of bytes or of floats, and PIL images of any mode, are known by what is to be seen, and sent as PNG."""
    media = media_of(cell)
    assert isinstance(media, Media)
    assert media == media_of(PIXELS)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(media.content()))), PIXELS)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr",
                                  "LAB", "HSV", "I;16", "I;16B", "I", "F"])  # fmt: skip
def test_every_mode_is_sent_or_refused_in_words(mode: str) -> None:
    """A PIL image becomes 8 bits of grey or colour; numbers of 32 bits may mean anything, and are refused."""
    cell = Image.new(mode, (4, 3))
    if mode in ("I", "F"):
        with pytest.raises(InputError, match="scale them to 8 bits"):
            media_of(cell)
        return
    media = media_of(cell)
    assert isinstance(media, Media)
    assert mime_of(media.content()) == "image/png"
    assert Image.open(io.BytesIO(media.content())).mode in ("1", "L", "LA", "RGB", "RGBA")


def test_sixteen_bits_keep_their_greys() -> None:
    """The upper eight of sixteen bits are sent, rather than everything above 255 as white."""
    media = media_of(Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)))
    assert isinstance(media, Media)
    assert np.asarray(Image.open(io.BytesIO(media.content()))).tolist() == [[0, 128, 255]]


def test_a_palette_is_part_of_the_content() -> None:
    """Pictures with the same indexes and other colours, or with another colour to see through, are other pictures."""
    indexes = np.zeros((4, 4), dtype=np.uint8)
    made = []
    for palette, info in (([255, 0, 0], {}), ([0, 255, 0], {}), ([0, 255, 0], {"transparency": 0})):
        cell = Image.fromarray(indexes).convert("P")
        cell.putpalette(palette)
        cell.info.update(info)
        made.append(media_of(cell))
    assert len(set(made)) == 3


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_every_format_tells_its_size(form: str) -> None:
    """All six formats of pictures are known by their first bytes."""
    media = of_bytes(picture(form=form))
    assert (media.form.mime, media.form.width, media.form.height) == (
        next(mime for mime, name in FORMATS.items() if name == form), 8, 6
    )  # fmt: skip


HUGE = picture(size=(11_000, 10_000), form="GIF")
BAD: list[tuple[Any, str]] = [
    (b"", "is empty"),
    (b"just words", "nothing this task knows"),
    (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "cannot be read as a picture"),
    (PNG[:20], "cannot be read as a picture"),
    (b"\xff\xd8\xff" + PNG, "cannot be read as a picture"),
    (HUGE, "11,000 × 10,000 pixels; at most 100,000,000"),
    (sound(), "audio/wav, by its first bytes; this task and model take image"),
    (b"%PDF-1.7", "application/pdf"),
    (b"\0\0\0\x18ftypheic\0\0\0\0", "image/heic, which is not supported; save it as JPEG or PNG"),
    ("nowhere.png", "there is no file 'nowhere.png'"),
    (Path("."), "is a folder or a device"),
    (Path("/dev/zero"), "is a folder or a device"),
    ("/dev/zero", "is not below the folder of files="),
    ("", None),
    ("a\0b", "there is no file"),
    ("x" * 5000, "there is no file"),
    ("~nobody-here/a.png", "there is no file"),
    ("notes.txt", "notes.txt holds text/plain"),
    ("hollow.png", "hollow.png is empty"),
    ("giant.png", "giant.png has 101 MiB; at most 100 are sent"),
    ("locked.png", "cannot be read"),
    ("data:image/png,abc", "not in base64"),
    ("data:image/png;base64,@@@", "cannot be decoded"),
    ("file:///tmp/a.png", "addresses of the kind file:"),
    ("s3://bucket/a.png", "addresses of the kind s3:"),
    ("https://example.com/a.png?key=hunter2", "fetch=True"),
    (3.5, "the cell holds float; give bytes, a path"),
    ({"a": 1}, "the cell holds dict"),
    (np.zeros((2, 2, 5), np.uint8), "an array of shape (2, 2, 5) is not a picture"),
    (np.zeros((0, 2), np.uint8), "an array of shape (0, 2)"),
    (np.zeros((2, 2), np.int64), "an array of int64 is not a picture"),
    (np.full((2, 2), 7.5), "floats from 0 to 1"),
    (np.full((2, 2), np.nan), "floats from 0 to 1"),
    (np.zeros(4, np.uint8), "the cell holds ndarray"),
    (Image.new("L", (20_000, 6_000)), "20,000 × 6,000 pixels"),
]


def test_each_bad_cell_fails_its_own_row(home: Path) -> None:
    """Every cell that cannot be sent fails its row alone, in words that say what is wrong and quote no secret."""
    (home / "notes.txt").write_text("nothing to see")
    (home / "hollow.png").touch()
    with (home / "giant.png").open("wb") as file:
        file.truncate(MOST_BYTES + 2**20)
    (home / "locked.png").write_bytes(PNG)
    (home / "locked.png").chmod(0)
    cells = pd.Series([cell for cell, _ in BAD] + [PNG, None, np.nan, pd.NA, " "], dtype=object)
    found, bad = read(cells, IMAGE, files=as_folder(home))
    wrong = []
    for at, (cell, why) in enumerate(BAD):
        said = str(bad.get(at, ""))
        if os.geteuid() == 0 and why == "cannot be read":
            continue  # who may read everything is not locked out
        if (why is None) is not (at not in bad) or (why or "") not in said or "hunter2" in said or len(said) > 400:
            wrong.append((cell, said))
    assert wrong == []
    assert [at for at, cell in enumerate(found) if cell is not None and at not in (20,)] == [len(BAD)]


@pytest.mark.parametrize(("content", "mime"), [
    (b"BMI,weight\n21,70\n", "application/octet-stream"), (b"ID3,name\n1,x\n", "application/octet-stream"),
    (b"\xef\xbb\xbf\n<!DOCTYPE html><p>", "text/html"), (b"<HTML lang=en>", "text/html"),
    (b"\xff\xfea\0b\0", "application/octet-stream"), (b"RIFF\0\0\0\0AVI ", "application/octet-stream"),
    (b"\0\0\0\x18ftypqt  ", "video/mp4"), (b"\0\0\0\x18ftypavif", "image/avif"), (b"ID3\x04\0\0", "audio/mpeg"),
])  # fmt: skip
def test_text_that_begins_like_media_is_text(content: bytes, mime: str) -> None:
    """Two or three letters do not make a picture or a sound of a table, and pictures of telephones are no video."""
    assert mime_of(content) == mime


def test_text_and_media_in_one_column() -> None:
    """Where both are taken, a cell is media where it is no text, cell by cell, whatever the dtype and the index."""
    cells = ["a text", PNG, None, 3, Image.open(io.BytesIO(PNG)), PIXELS, "a.png"]
    column = pd.Series(cells, dtype=object, index=[1, 1, 1, 2, 2, 2, 2])
    found, bad = read(column, frozenset({"text", "image"}))
    assert [type(cell).__name__ for cell in found] == ["str", "Media", "NoneType", "str", "Media", "Media", "str"]
    assert bad == {}
    _, bad = read(column, frozenset({"text"}))
    assert sorted(bad) == [1, 4, 5]
    assert "text alone; cf.models() lists models with the capability vision" in str(bad[1])


@pytest.mark.parametrize("dtype", ["object", "binary[pyarrow]"])
def test_columns_of_binary(dtype: str) -> None:
    """Bytes that come back from parquet are media whatever backend holds them, and are not held twice for it."""
    pytest.importorskip("pyarrow")
    import pyarrow as pa

    column = pd.Series([PNG, None], dtype=object if dtype == "object" else pd.ArrowDtype(pa.binary()))
    for takes in (IMAGE, IMAGE | {"text"}):
        (media, nothing), bad = read(column, frozenset(takes))
        assert (nothing, bad) == (None, {})
        assert isinstance(media, Media)
        assert media.content() == PNG
        assert isinstance(media._source, bytes) is (dtype == "object")


def test_templates_hold_text_and_media_in_order() -> None:
    """A template keeps its pieces in order; what is missing in one makes the row missing; a path in it stays text."""
    frame = pd.DataFrame({"photo": [PNG, None, PNG], "text": ["a", "b", "a.png"]})
    rows = rows_of(frame, "See {photo}: {text}!", template=True, takes=frozenset({"text", "image"}))
    one, two, three = rows.inputs
    assert one == Parts(("See ", of_bytes(PNG), ": a!"))
    assert two is None
    assert three == Parts(("See ", of_bytes(PNG), ": a.png!"))
    with pytest.raises(cf.ColumnError, match=r"take image and no words: name a column\. Columns: photo, text"):
        rows_of(frame, "{text}: {photo}", template=False, takes=IMAGE)


# -- cells that come back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "facts"), [
    (cf.Image(picture(form="JPEG", size=(20, 10))), {"size": (20, 10), "format": "JPG", "kind": "image"}),
    (cf.Audio(sound(1.5)), {"seconds": 1.5, "format": "WAV", "kind": "audio"}),
    (cf.Image(b"nothing"), {"size": None, "format": "BIN"}),
    (cf.Audio(b""), {"seconds": None, "format": "BIN"}),
])  # fmt: skip
def test_cells_are_bytes_that_know_what_they_are(tmp_path: Path, cell: Any, facts: dict[str, Any]) -> None:
    """Size, length and format are shown; pickle, copies and files keep every byte, and the first two the class."""
    assert {name: getattr(cell, name) for name in facts} == facts
    for again in (pickle.loads(pickle.dumps(cell)), copy.copy(cell), copy.deepcopy(cell)):
        assert (type(again), again) == (type(cell), cell)
    assert cell.save(tmp_path / "name").read_bytes() == bytes(cell)
    assert (tmp_path / f"name.{cell.format.lower()}").exists()
    assert str(cell).startswith(f"<{type(cell).__name__} ")


@pytest.mark.parametrize("backend", [None, "pyarrow"])
def test_parquet_holds_plain_binary(tmp_path: Path, backend: Any) -> None:
    """A column of cells is binary in parquet, for everybody; what comes back is media again."""
    pq = pytest.importorskip("pyarrow.parquet")
    frame = pd.DataFrame(
        {"photo": [cf.Image(PNG), None, cf.Image(PNG)], "said": [cf.Audio(sound()), cf.Audio(b"x"), None]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert {str(field.type) for field in pq.read_schema(tmp_path / "a.parquet")} == {"binary"}
    again = pd.read_parquet(tmp_path / "a.parquet", **({"dtype_backend": backend} if backend else {}))
    assert again["photo"][0] == PNG
    with cf.connect(Emulator(rate=None), store=False):
        assert again.cfai.caption("photo").notna().tolist() == [True, False, True]


def test_stored_pictures_and_sounds_come_back_as_they_were(tmp_path: Path) -> None:
    """From the store, and in another session, cells have their class and their bytes, and equal rows share one."""
    frame = pd.DataFrame({"text": ["a red circle", "a blue square", "a red circle"]})
    made = []
    for _ in range(2):
        with cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite"):
            made.append((frame.cfai.image("{text}"), frame.cfai.speak("text")))
            made[-1] += (cf.last_run().run.stored,)
    (first, heard, none), (second, again, stored) = made
    assert (none, stored) == (0, 3)
    assert first.equals(second)
    assert heard.equals(again)
    assert {type(cell) for cell in second} == {cf.Image}
    assert {type(cell) for cell in again} == {cf.Audio}
    assert second[0] is second[2]


# -- read late, known by content ---------------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are read."""
    names: list[str] = []
    was = source._read

    def noted(file: File, opened: BinaryIO) -> bytes:
        names.append(file.path.name)
        return was(file, opened)

    monkeypatch.setattr(source, "_read", noted)
    return names


def test_equal_content_is_one_request_and_a_re_run_reads_nothing(tmp_path: Path, reads: list[str]) -> None:
    """A file, its copy and its bytes are asked about once; known answers need no file, and none is read again."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(PNG)
    emulator = Emulator(rate=None)
    frame = pd.DataFrame({"photo": pd.Series([str(tmp_path / "a.png"), tmp_path / "b.png", PNG], dtype=object)})
    with cf.connect(emulator, store=tmp_path / "s.sqlite", files=tmp_path):
        said = frame.cfai.caption("photo")
        assert said.nunique() == 1
        assert (emulator.requests, sorted(reads)) == (1, ["a.png", "a.png", "b.png"])  # known, and known, and sent
        del reads[:]
        assert frame.cfai.caption("photo").equals(said)
        assert (emulator.requests, reads) == (1, [])


def test_what_is_remembered_of_files_is_bounded(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit the file that was read first is forgotten, and read again when it comes again."""
    monkeypatch.setattr(source, "_seen", {})
    monkeypatch.setattr(source, "MOST_SEEN", 3)
    paths = [tmp_path / f"{at}.png" for at in range(5)]
    for at, path in enumerate(paths):
        path.write_bytes(picture((at, 0, 0)))
    for again in (paths, paths[2:], paths[:1]):
        for path in again:
            source.media_of(path)
    assert reads == ["0.png", "1.png", "2.png", "3.png", "4.png", "0.png"]
    assert len(source._seen) == 3


def test_a_file_that_changes_meanwhile_fails_its_row(tmp_path: Path) -> None:
    """What is sent is what was planned, or nothing; the next run takes the file as it is then."""
    path = tmp_path / "a.bmp"
    path.write_bytes(picture("red", "BMP"))
    with cf.connect(Emulator(rate=None), store=False):
        frame = pd.DataFrame({"photo": [path]})
        call = frame.cfai.caption.call("photo")
        state = path.stat()
        path.write_bytes(picture("blue", "BMP"))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        with pytest.raises(cf.RowsFailed, match="changed during the run; run the cell again"):
            call.wait()
        assert frame.cfai.caption("photo").notna().all()
        gone = frame.cfai.caption.call("photo")
        path.unlink()
        with pytest.raises(cf.RowsFailed, match=r"there is no file '.*a\.bmp' \(No such file"):
            gone.wait()


@pytest.mark.parametrize(
    "cell", [PIXELS.copy(), bytearray(PNG), Image.new("RGB", (8, 6))], ids=lambda c: type(c).__name__
)
def test_what_changes_in_memory_is_noticed_too(cell: Any) -> None:
    """Arrays, pictures and byte arrays are not copied for a run: one that changed is not sent for another."""
    media = media_of(cell)
    assert isinstance(media, Media)
    media.content()
    if isinstance(cell, bytearray):
        cell[40] ^= 1
    elif isinstance(cell, np.ndarray):
        cell[0, 0] = 7
    else:
        cell.putpixel((0, 0), (1, 2, 3))
    with pytest.raises(InputError, match="changed during the run"):
        media.loaded()


def test_an_open_picture_stays_unread(tmp_path: Path) -> None:
    """A frame of opened files is not filled with their pixels; one that was closed or cut fails in words."""
    for name, content in (("a.png", PNG), ("cut.png", picture(size=(300, 300), form="PNG")[:200])):
        (tmp_path / name).write_bytes(content)
    with Image.open(tmp_path / "a.png") as cell:
        assert media_of(cell) == media_of(PIXELS)
        assert cell.tile  # not loaded
        cell.load()
        assert media_of(cell) == media_of(PIXELS)
    with Image.open(tmp_path / "cut.png") as cell, pytest.raises(InputError, match="the picture cannot be read: "):
        media_of(cell)


MEASURE = """
import io, os, resource, sys
import numpy as np, pandas as pd
from pathlib import Path
import cfai_nb as cf
from cfai_nb.emulator import Emulator

how, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
head = bytes.fromhex("424d") + (1000054).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
head += b"".join(number.to_bytes(4, "little") for number in (40, 500, 666)) + b"\\1\\0\\x18\\0" + bytes(24)
def content(at): return head + at.to_bytes(4, "little") + bytes(999_996)
cells = [content(at) for at in range(count)]
if how == "files":
    for at, cell in enumerate(cells): (folder / f"{at}.bmp").write_bytes(cell)
    cells = [folder / f"{at}.bmp" for at in range(count)]
frame = pd.DataFrame({"photo": cells})
async def app(scope, receive, send):
    while (await receive()).get("more_body"): pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    said = b'{"result": {"caption": "x", "finish_reason": "stop"}, "success": true}'
    await send({"type": "http.response.body", "body": said})
cf.connect(app, store=False, rate=None)
pd.DataFrame({"photo": [content(10**6)]}).cfai.caption("photo")
peak = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) >> 10
now = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) >> 10
before = now()
open("/proc/self/clear_refs", "w").write("5")
assert frame.cfai.caption("photo").notna().all()
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
@pytest.mark.parametrize("how", ["files", "bytes"])
def test_memory_is_bounded_by_what_is_in_flight(tmp_path: Path, bare_environment: dict[str, str], how: str) -> None:
    """120 pictures of 1 MB take no more memory beside the frame than a few of those in flight do."""
    command = [sys.executable, "-c", MEASURE, how, "120", str(tmp_path)]
    done = subprocess.run(command, env=bare_environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 110, "MB"
