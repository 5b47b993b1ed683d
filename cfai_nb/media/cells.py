"""Cells that hold what a model drew or said: bytes that know what they are, show and save themselves."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any, ClassVar

from ..errors import InputError
from .form import Form, Kind, mime_of, sniff

#: Pixels of the longer side of a picture that is shown; the cell keeps it whole.
SHOWN = 512


class _Cell(bytes):
    """Bytes with a form.  A subclass of bytes, so that parquet and everything else takes them as plain binary."""

    kind: ClassVar[Kind]

    @property
    def form(self) -> Form:
        """What the bytes are, sniffed; a form of ``application/octet-stream`` where they are nothing that is known."""
        try:
            return sniff(self)
        except InputError:
            return Form("application/octet-stream", "document")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file, and return its path; without an ending it gets the right one."""
        target = Path(path)
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
        """Return the picture as PNG or JPEG with at most so many pixels a side: nothing else of the bytes is shown."""
        _ = sniff(self)  # refuses bombs before anything is decoded
        picture = self.pillow()
        picture.thumbnail((pixels, pixels))
        file = io.BytesIO()
        opaque = picture.mode in ("RGB", "L", "CMYK", "YCbCr")
        (picture.convert("RGB") if opaque else picture.convert("RGBA")).save(file, "JPEG" if opaque else "PNG")
        return file.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        try:
            shown = self.thumbnail()
        except (InputError, OSError, ValueError, SyntaxError):  # whatever a decoder says of bytes that are no picture
            return {"text/plain": repr(self)}
        return {mime_of(shown): base64.b64encode(shown).decode(), "text/plain": repr(self)}


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
        form = self.form
        if form.kind != "audio":
            return {"text/plain": repr(self)}
        address = f"data:{form.mime};base64,{base64.b64encode(self).decode()}"
        player = f'<audio controls preload="metadata" aria-label="{form}" src="{address}"></audio>'
        return {"text/html": player, "text/plain": repr(self)}
