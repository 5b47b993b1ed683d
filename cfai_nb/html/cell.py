"""One cell as a piece of HTML: a thumbnail, a player, a row of bars, a text; whatever the cell holds, it cannot act."""

from __future__ import annotations

import contextlib
import reprlib
from typing import Any

import numpy as np

from .. import markup
from ..errors import InputError
from ..media import Link
from ..media.files import Folder
from ..media.form import Form, mime_of
from ..media.picture import thumbnail
from ..media.source import media_of, pixels_of
from ..vectors.vector import describe
from .cell_kind import is_media_name, is_missing, may_be_file, sort_of

#: Pixels of a thumbnail's longer side; it is shown at half of that or less, so that it is sharp on any screen.
PIXELS = 256
#: Bytes of sound on one page, where it lies in the notebook's file, a third larger; and where it only goes to the
#: browser.
SOUND, LIVE_SOUND = 1_500_000, 12_000_000

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = 8
_SHORT.maxlevel = 3


def plain(cell: Any) -> str:
    """Return a cell as a few words, for places without HTML; nothing of a file is read."""
    if is_missing(cell):
        return "missing"
    if isinstance(cell, str):
        return markup.clean(cell[:40]) + ("…" if len(cell) > 40 else "")
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return f"{_named_form(bytes(cell[:512]), None)}, {_size(len(cell))}"
    sort = sort_of(cell)
    if sort == "vector":
        return f"vector of {len(cell):,}"
    with contextlib.suppress(ValueError):  # a number Python does not write out
        return markup.clean(_value(cell)) if sort == "value" else type(cell).__name__
    return type(cell).__name__


class Renderer:
    """Makes HTML of cells, for one page.

    Parameters
    ----------
    side : int
        Pixels a picture may take on the screen.
    sound : int
        Bytes of sound that may lie on the page; what goes beyond is told in words.
    """

    def __init__(self, *, side: int = 128, sound: int = SOUND) -> None:
        self.side = side
        self.omitted = 0  # sounds that did not fit
        self.sound = self.left = sound

    def cell(
        self, cell: Any, label: str, *, names: bool = False, files: Folder | None = None, top: float | None = None
    ) -> str:
        """Return a cell as HTML.

        Parameters
        ----------
        cell : object
        label : str
            What it is, for those who do not see or hear it: the column and the row.
        names : bool
            Whether a text is meant to name a file.
        files : Folder, optional
            The folder in which it may; without it such a text says how it can.
        top : float, optional
            The number drawn at full height in a vector.
        """
        try:
            return markup.word("missing") if is_missing(cell) else self._cell(cell, label, names, files, top)
        except Exception as error:  # one cell that cannot be shown does not take the page with it
            return markup.word(f"{type(cell).__name__} that cannot be shown: {type(error).__name__}: {error}"[:500])

    def _cell(self, cell: Any, label: str, names: bool, files: Folder | None, top: float | None) -> str:
        if isinstance(cell, str):
            file = names and (is_media_name(cell) or (files is not None and may_be_file(cell)))
            return self._media(cell, label, files) if file else markup.passage(cell)
        sort = sort_of(cell)
        if sort == "vector":
            return _vector(np.asarray(cell), cell, label, top)
        if sort == "value":
            return markup.passage(_value(cell))
        return markup.passage(_SHORT.repr(cell)) if sort == "other" else self._media(cell, label, files)

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
            return markup.word(f"{_named(cell)}: {error}")
        form, size = media.form, _size(len(content))
        if form.kind == "audio":
            return self._sound(content, form, label)
        if form.kind != "image":
            return markup.word(
                f"{_named_form(content, form)}, {size}", "shown as text only: it is no picture and no sound"
            )
        return self._picture(content, label, str(form))

    def _picture(self, source: Any, label: str, form: str) -> str:
        try:
            made = thumbnail(source, PIXELS)
        except InputError as error:
            size = f", {_size(len(source))}" if isinstance(source, bytes) else ""
            return markup.word(f"{form}{size}: {error}")
        return markup.picture(made.content, made.mime, f"{label} ({form})", self.side)

    def _sound(self, content: bytes, form: Form, label: str) -> str:
        words = f"{form}, {_size(len(content))}"
        if len(content) > self.left:
            self.omitted += 1
            most = _size(self.sound)
            return markup.word(f"{words}: not kept here, where a page holds {most} of sound; sound= changes that")
        self.left -= len(content)
        return markup.figure(markup.player(content, form.mime, f"{label} ({form})"), markup.said(words))


def _vector(numbers: Any, cell: Any, label: str, top: float | None) -> str:
    words = describe(cell if isinstance(cell, np.ndarray) else numbers)
    return markup.sparkline(numbers.tolist(), f"{label}: {words}", top)


def _value(cell: Any) -> str:
    if isinstance(cell, (float, np.floating)) and not float(cell).is_integer():
        number = float(cell)
        return f"{number:.4g}" if not 1e-4 <= abs(number) < 1e6 else f"{number:,.4f}".rstrip("0")
    return str(cell)


def _named(cell: Any) -> str:
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return f"{_named_form(bytes(cell[:512]), None)}, {_size(len(cell))}"
    return type(cell).__name__ if not isinstance(cell, str) or cell[:5].lower() == "data:" else "file"


def _named_form(content: bytes, form: Form | None) -> str:
    """A word for what is not shown; documents that a browser would act on are named, never handed to it."""
    head = content[:512].lstrip().lower()
    if b"<svg" in head:
        return "SVG"
    if head.startswith((b"<!doctype html", b"<html", b"<script", b"<body", b"<head")):
        return "HTML"
    form = form or Form(mime_of(content), "document")
    return "bytes of no known kind" if form.mime == "application/octet-stream" else form.suffix.upper()


def _size(count: int) -> str:
    return f"{count} B" if count < 1_000 else f"{count / 1e3:,.1f} kB" if count < 1e6 else f"{count / 1e6:,.1f} MB"
