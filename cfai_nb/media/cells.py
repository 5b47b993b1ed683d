"""Cells that hold what a model drew or said: bytes that know what they are, show and save themselves."""

from __future__ import annotations

import base64
import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from .. import markup
from ..errors import InputError
from .form import Form, Kind, sniff
from .picture import thumbnail

#: Pixels of the longer side of a picture that is shown; the cell keeps it whole.
SHOWN = 512
#: Bytes of a sound beyond which it is not put into a notebook, where it would stay in the file.
MOST_PLAYED = 10_000_000


class _Cell(bytes):
    """Bytes with a form.  A subclass of bytes, so that parquet and everything else takes them as plain binary."""

    kind: ClassVar[Kind]

    @cached_property
    def form(self) -> Form:
        """What the bytes are, sniffed; a form of ``application/octet-stream`` where they are nothing that is known."""
        try:
            return sniff(self)
        except InputError:
            return Form("application/octet-stream", "document")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file, and return its path; without an ending it gets the right one."""
        target = Path(path).expanduser()
        if not target.suffix:
            target = target.with_suffix(f".{self.form.suffix}")
        target.write_bytes(self)
        return target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.form}, {len(self) / 1000:,.1f} kB>"

    __str__ = __repr__

    def __reduce__(self) -> Any:
        return type(self), (bytes(self),)


class Image(_Cell):
    """A picture: bytes that show and save themselves.

    Attributes
    ----------
    size : tuple of int or None
        Width and height in pixels.
    format : str
        Such as ``"PNG"``.
    """

    kind = "image"

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels; None where the bytes are no picture."""
        form = self.form
        return None if form.width is None or form.height is None else (form.width, form.height)

    @property
    def format(self) -> str:
        """Such as ``"PNG"``."""
        return self.form.suffix.upper()

    def pillow(self) -> Any:
        """Return a PIL image."""
        from PIL import Image as pillow

        return pillow.open(io.BytesIO(self))

    def thumbnail(self, pixels: int = SHOWN) -> bytes:
        """Return the picture as JPEG or WebP with at most so many pixels a side: nothing else of the bytes is shown.

        Raises
        ------
        InputError
            The bytes are no picture, a broken one, or claim more pixels than are decoded.
        """
        return thumbnail(bytes(self), pixels).content

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        words = repr(self)
        try:
            shown = thumbnail(bytes(self), SHOWN)
        except InputError as error:
            return {"text/html": markup.remark(words, str(error)), "text/plain": f"{words}: {error}"}
        alt = f"a picture, {self.form}"
        page = markup.figure(markup.picture(shown.content, shown.mime, alt, SHOWN), markup.escape(words[1:-1]))
        data = {"text/html": page, "text/plain": words}
        if shown.mime == "image/jpeg":  # where HTML is not shown, as in a PDF; WebP means nothing there
            data["image/jpeg"] = base64.b64encode(shown.content).decode()
        return data, {shown.mime: {"width": shown.width, "height": shown.height, "alt": alt}}


class Audio(_Cell):
    """Sound: bytes that play and save themselves.

    Attributes
    ----------
    seconds : float or None
    format : str
        Such as ``"WAV"``.
    """

    kind = "audio"

    @property
    def seconds(self) -> float | None:
        """How long it is; None where that is not told."""
        return self.form.seconds

    @property
    def format(self) -> str:
        """Such as ``"WAV"``."""
        return self.form.suffix.upper()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        form, words = self.form, repr(self)
        if form.kind != "audio":
            return {"text/html": markup.remark(words, "the bytes are no sound"), "text/plain": words}
        if len(self) > MOST_PLAYED:
            why = f"more than {MOST_PLAYED / 1e6:.0f} MB are not put into a notebook; .save(path) writes a file"
            return {"text/html": markup.remark(f"{words[1:-1]}: {why}"), "text/plain": f"{words}: {why}"}
        player = markup.player(bytes(self), form.mime, f"a sound, {form}", width="24em")
        return {"text/html": markup.figure(player, markup.escape(words[1:-1])), "text/plain": words}
