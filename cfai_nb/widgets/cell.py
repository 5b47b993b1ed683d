"""One cell as HTML: a thumbnail, a player, a row of bars, or text. Whatever the cell holds, the HTML does nothing.

What a cell is follows from its type, its first bytes or its file name, without reading all of it. Pictures are encoded
again and sound plays in a player; everything else becomes escaped text.
"""

from __future__ import annotations

import base64
import contextlib
import io
import mimetypes
import os
import reprlib
import wave
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from ..errors import InputError
from ..frame.reading import is_missing
from ..html import markup
from ..media import Folder, Form, Link, is_media, mime_of
from ..media.cells import boxes_of, in_words, is_boxes, label_colors, outlined
from ..media.picture import is_pixels, thumbnail
from ..media.source import File, media_of, pixels_of
from ..vectors.vector import describe

CellKind: TypeAlias = Literal["image", "audio", "video", "document", "boxes", "vector", "text", "value", "other"]

#: Pixels of a thumbnail's longer side; it is shown at half of that or less, so that it is sharp on any screen.
PIXELS = 256
#: Bytes of sound on one page: in the notebook's file, where sound takes a third more; and sent to the browser only.
SOUND, LIVE_SOUND = 1_500_000, 12_000_000
_PEAKS = 60  # parts of a sound that are drawn
_MAX_NAME = 1_024  # characters of a file name
_MIN_VECTOR = 8  # a shorter list of numbers is read more easily than drawn
_HEAD = 16  # bytes that tell what a file is

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 8
_SHORT.maxlevel = 3


# -- kinds -------------------------------------------------------------------------------------------------------------


def is_vector(cell: Any) -> bool:
    """Return whether a cell is a row of numbers."""
    if isinstance(cell, np.ndarray):
        return cell.ndim == 1 and cell.dtype.kind in "fiu"
    if not isinstance(cell, (list, tuple)) or len(cell) < _MIN_VECTOR:
        return False
    return all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in cell)


def kind_of(cell: Any) -> CellKind:
    """Return the kind of a cell that is not missing."""
    if isinstance(cell, str):
        return "text"
    if is_vector(cell):
        return "vector"
    if isinstance(cell, (list, np.ndarray)) and len(cell) and is_boxes(cell):
        return "boxes"
    if isinstance(cell, (list, np.ndarray)) and len(cell) and isinstance(cell[0], bytes):
        return kind_of(cell[0])  # several pictures of a row
    if is_media(cell):
        if isinstance(cell, os.PathLike):
            return _kind_of_file(File(Path(cell)))
        if isinstance(cell, (bytes, bytearray, memoryview)):
            return _kind_of_mime(mime_of(bytes(cell[:_HEAD])))
        form = getattr(cell, "form", None)
        return "image" if form is None else form.kind
    return "value" if pd.api.types.is_scalar(cell) or hasattr(cell, "isoformat") else "other"


def kind_of_name(text: str, files: Folder | None) -> CellKind:
    """Return the kind of what a file name in a folder, or a ``data:`` address, leads to."""
    if text[:5].lower() == "data:":
        head = text.partition(",")[2][:64]
        with contextlib.suppress(ValueError):
            return _kind_of_mime(mime_of(base64.b64decode(head[: len(head) // 4 * 4])))
        return "document"
    try:
        return _kind_of_file(files.file(text)) if files is not None else "text"
    except InputError:
        return "text"  # not inside the folder


def is_media_name(text: str) -> bool:
    """Return whether a text looks like the name of a picture or sound, or is a ``data:`` address."""
    return text[:5].lower() == "data:" or (_may_be_file(text) and _kind_by_suffix(text) in ("image", "audio"))


def _may_be_file(text: str) -> bool:
    """Return whether a text could name a file of this machine; an address or a network share does not."""
    if len(text) > _MAX_NAME or not text.isprintable() or not text.strip():
        return False
    return "://" not in text and not text.replace("\\", "/").startswith("//")


def _kind_of_file(file: File) -> CellKind:
    try:
        with file.open() as opened:
            return _kind_of_mime(mime_of(opened.read(_HEAD)))
    except (InputError, OSError):
        return _kind_by_suffix(str(file.path))


def _kind_by_suffix(name: str) -> CellKind:
    return _kind_of_mime(mimetypes.guess_type(name)[0] or "")


def _kind_of_mime(mime: str) -> CellKind:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") and mime != "image/svg+xml" else "document"  # type: ignore[return-value]


# -- HTML --------------------------------------------------------------------------------------------------------------


class Renderer:
    """Makes HTML of cells, for one page with pictures of at most `side` pixels and `sound` bytes of sound.

    Sound beyond that is described in words.  With `zooms` a click shows a picture larger.
    """

    def __init__(self, *, side: int = 128, sound: int = SOUND, zooms: bool = False) -> None:
        self.side, self.zooms = side, zooms
        self.omitted = 0  # sounds that did not fit
        self._sound = self._left = sound
        self._colors: dict[str, str] = {}  # of the labels of boxes on this page

    def cell(
        self, cell: Any, label: str, *, names: bool = False, files: Folder | None = None, top: float | None = None
    ) -> str:
        """Return a cell as HTML.

        `label` says column and row, for people who cannot see or hear the cell.  With `names` a text is meant to name
        a file, in the folder `files`; without that the HTML says that files= is needed.  `top` is the number drawn at
        full height in a vector.
        """
        try:
            return markup.remark("missing") if is_missing(cell) else self._cell(cell, label, names, files, top)
        except Exception as error:  # one cell that cannot be shown must not lose the page
            return markup.remark(f"{type(cell).__name__} that cannot be shown: {type(error).__name__}: {error}"[:500])

    def _cell(self, cell: Any, label: str, names: bool, files: Folder | None, top: float | None) -> str:
        if isinstance(cell, str):
            file = names and (is_media_name(cell) or (files is not None and _may_be_file(cell)))
            return self._media(cell, label, files) if file else markup.passage(cell)
        kind = kind_of(cell)
        if kind == "vector":
            numbers = cell if isinstance(cell, np.ndarray) else np.asarray(cell)
            return markup.sparkline(numbers.tolist(), f"{label}: {describe(numbers)}", top)
        if kind == "boxes":
            return self._named(cell)
        if kind in ("image", "audio") and isinstance(cell, (list, np.ndarray)) and not is_pixels(cell):
            return "".join(self._cell(each, f"{label}, {at + 1}", names, files, top) for at, each in enumerate(cell))
        if kind == "value":
            return markup.passage(_value(cell))
        return markup.passage(_SHORT.repr(cell)) if kind == "other" else self._media(cell, label, files)

    def boxes(self, cell: Any, picture: Any, label: str, files: Folder | None = None) -> str:
        """Return a cell of ``detect`` as its picture with the boxes drawn on it, and their labels in words."""
        if is_missing(cell) or is_missing(picture) or not is_boxes(cell):
            return self.cell(cell, label)
        if not len(cell):
            return markup.remark("nothing found")
        try:
            pixels = pixels_of(picture)
            if pixels is None:
                media = media_of(picture, files)
                pixels = b"" if isinstance(media, Link) else media.content()
            found = boxes_of(cell)
            made = outlined(pixels, PIXELS, found, label_colors(found, self._colors))
            return self._zoomed(markup.picture(made.content, made.mime, label, self.side)) + self._named(cell)
        except (InputError, OSError, ValueError):  # the column of pictures says why
            return self.cell(cell, label)

    def _named(self, cell: Any) -> str:
        """Return the labels of boxes in words, each with the color of its boxes."""
        found = boxes_of(cell)
        colors = label_colors(found, self._colors)
        lines = (
            f'<span style="color: {colors[label]}" role="presentation">■</span> {markup.escape(f"{label} {known}", 80)}'
            for label, known in in_words(found)
        )
        return "<br>".join(islice(lines, 8))

    def _media(self, cell: Any, label: str, files: Folder | None) -> str:
        try:
            pixels = pixels_of(cell)
            if pixels is not None:
                return self._picture(pixels, label, "PIXELS {}×{}".format(*pixels.size))
            media = media_of(cell, files)
            if isinstance(media, Link):
                return markup.passage(media.url)
            content = media.content()
        except InputError as error:
            return markup.remark(f"{_source(cell)}: {error}")
        form = media.form
        if form.kind == "audio":
            return self._player(content, form, label)
        if form.kind == "image":
            return self._picture(content, label, str(form))
        why = "shown as text only: it is neither a picture nor a sound"
        return markup.remark(f"{_format(content, form)}, {_size(len(content))}", why)

    def _picture(self, source: Any, label: str, form: str) -> str:
        try:
            made = thumbnail(source, PIXELS)
        except InputError as error:
            size = f", {_size(len(source))}" if isinstance(source, bytes) else ""
            return markup.remark(f"{form}{size}: {error}")
        return self._zoomed(markup.picture(made.content, made.mime, f"{label} ({form})", self.side))

    def _zoomed(self, image: str) -> str:
        # A click or Enter shows it larger, also without a kernel and without a script.
        return f'<details class="cfai-zoom"><summary>{image}</summary></details>' if self.zooms else image

    def _player(self, content: bytes, form: Form, label: str) -> str:
        words = f"{form}, {_size(len(content))}"
        if len(content) > self._left:
            self.omitted += 1
            limit = _size(self._sound)
            return markup.remark(
                f"{words}: not saved here, since a page holds {limit} of sound; change that with sound="
            )
        self._left -= len(content)
        peaks = loudness(content)
        wave = markup.sparkline(peaks, f"{label}: loudness over time") if peaks else ""
        # The player rounds to seconds, so the length stands below it.
        sound = f'<div class="cfai-player">{wave}{markup.player(content, form.mime, f"{label} ({form})")}</div>'
        return markup.figure(sound, f'<span class="cfai-soft">{markup.escape(words)}</span>')


def loudness(content: bytes) -> list[float]:
    """Return the loudest sample of each of 60 parts of a WAV file of 16 bits, 0 to 1; empty for other content."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            if sound.getsampwidth() != 2:
                return []
            samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    except (wave.Error, EOFError, ValueError):
        return []
    parts = [part for part in np.array_split(samples, _PEAKS) if len(part)]
    return [float(np.abs(part.astype(np.int32)).max()) / 32_768 for part in parts]


# -- text --------------------------------------------------------------------------------------------------------------


def plain(cell: Any) -> str:
    """Return a cell as a few words, for places without HTML; no file is read."""
    if is_missing(cell):
        return "missing"
    if isinstance(cell, str):
        return markup.clean(cell[:40]) + ("…" if len(cell) > 40 else "")
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return _source(cell)
    kind = kind_of(cell)
    if kind == "vector":
        return f"vector of {len(cell):,}"
    if kind == "boxes":
        with contextlib.suppress(ValueError):
            return markup.clean(", ".join(f"{label} {known}".strip() for label, known in in_words(boxes_of(cell))))
    with contextlib.suppress(ValueError):  # an integer too long for Python to write
        return markup.clean(_value(cell)) if kind == "value" else type(cell).__name__
    return type(cell).__name__


def _value(cell: Any) -> str:
    if isinstance(cell, (float, np.floating)) and not float(cell).is_integer():
        number = float(cell)
        return f"{number:.4g}" if not 1e-4 <= abs(number) < 1e6 else f"{number:,.4f}".rstrip("0")
    return str(cell)


def _source(cell: Any) -> str:
    """Return what a cell of media is, for a remark about it."""
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return f"{_format(bytes(cell[:512]), None)}, {_size(len(cell))}"
    return type(cell).__name__ if not isinstance(cell, str) or cell[:5].lower() == "data:" else "file"


def _format(content: bytes, form: Form | None) -> str:
    """Return the format of content that is not shown: documents a browser would act on are named only."""
    head = content[:512].lstrip().lower()
    if b"<svg" in head:
        return "SVG"
    if head.startswith((b"<!doctype html", b"<html", b"<script", b"<body", b"<head")):
        return "HTML"
    form = form or Form(mime_of(content), "document")
    return "bytes of unknown format" if form.mime == "application/octet-stream" else form.suffix.upper()


def _size(count: int) -> str:
    return f"{count} B" if count < 1_000 else f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"
