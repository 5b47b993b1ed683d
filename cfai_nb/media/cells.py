"""``cf.Image`` and ``cf.Audio``: cells with a model's picture or speech, which display and save themselves.

The engine's results and the store make them; a notebook calls ``_repr_mimebundle_``.
"""

from __future__ import annotations

import base64
import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from .. import markup
from ..errors import InputError
from .picture import Form, Kind, sniff, thumbnail

#: Longer side in pixels of a picture as displayed; the cell keeps the original.
SHOWN = 512
#: Bytes beyond which a sound is not embedded in a notebook, whose file it would enlarge.
MOST_PLAYED = 10_000_000


class _Cell(bytes):
    """Bytes with a media type.  A subclass of bytes, so that parquet and other libraries take them as plain binary."""

    kind: ClassVar[Kind]

    @cached_property
    def form(self) -> Form:
        """What the bytes are, by their content; ``application/octet-stream`` if unknown."""
        try:
            return sniff(self)
        except InputError:
            return Form("application/octet-stream", "document")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to a file and return its path; a name without an extension gets the right one."""
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
    """A picture: bytes that display and save themselves.

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
        """Width and height in pixels; None where the bytes are not a picture."""
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
        """Return the picture as JPEG or WebP with at most so many pixels per side, without metadata.

        Raises InputError: the bytes are not a picture, are broken, or claim more pixels than are decoded.
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
        if shown.mime == "image/jpeg":  # where HTML is not displayed, as in a PDF, which cannot hold WebP
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
        """Duration; None where the content does not state it."""
        return self.form.seconds

    @property
    def format(self) -> str:
        """Such as ``"WAV"``."""
        return self.form.suffix.upper()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        form, words = self.form, repr(self)
        if form.kind != "audio":
            return {"text/html": markup.remark(words, "the bytes are not a sound"), "text/plain": words}
        if len(self) > MOST_PLAYED:
            why = f"more than {MOST_PLAYED / 1e6:.0f} MB are not embedded in a notebook; .save(path) writes a file"
            return {"text/html": markup.remark(f"{words[1:-1]}: {why}"), "text/plain": f"{words}: {why}"}
        player = markup.player(bytes(self), form.mime, f"a sound, {form}", width="24em")
        return {"text/html": markup.figure(player, markup.escape(words[1:-1])), "text/plain": words}
