"""Media that is read late: what a cell names is known by its content, and held only while it is sent."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..errors import InputError
from .form import Form, sniff

#: Bytes of one cell's content beyond which it is not read: no model here takes more (batches stop at 10 MB, Clef's
#: bodies at 13 MiB; recordings are the longest).
MOST_BYTES = 100 * 2**20

#: Where content comes from: the frame's own bytes, a file, or something that is encoded when it is sent.
_Source: TypeAlias = "bytes | Path | Callable[[], bytes]"


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """The content of one cell, known by its digest; equal where the content is equal.

    Attributes
    ----------
    digest : bytes
        Of the content.
    form : Form
    size : int
        In bytes; for pixels that are encoded when they are sent, of the pixels.
    name : str
        Of the file, or a made-up one with the right ending.
    """

    digest: bytes
    form: Form
    size: int
    name: str
    _source: _Source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{self.form}, {self.size:,} bytes>"

    def content(self) -> bytes:
        """Read the bytes.

        Raises
        ------
        InputError
            The file is gone, or is not what it was when the plan was drawn up.
        """
        if isinstance(self._source, bytes):
            return self._source
        if callable(self._source):
            return self._source()
        content = _read(self._source)
        if _digest(content) != self.digest:
            raise InputError(f"the file {self.name} changed while the run was going on; run the cell again")
        return content

    def held(self) -> Media:
        """Return the same with its content in memory, for as long as it is under way."""
        return self if isinstance(self._source, bytes) else Media(*self._known(), self.content())

    def _known(self) -> tuple[bytes, Form, int, str]:
        return self.digest, self.form, self.size, self.name

    def fitting(self, side: int) -> bytes:
        """Return a picture as PNG, made smaller where a side is longer than this."""
        from PIL import Image as pillow

        picture: Any = pillow.open(io.BytesIO(self.content()))
        picture.thumbnail((side, side))
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()

    def base64(self) -> str:
        """Return the content in base64."""
        return base64.b64encode(self.content()).decode()

    def data_uri(self) -> str:
        """Return the content as a ``data:`` address."""
        return f"data:{self.form.mime};base64,{self.base64()}"


@dataclass(frozen=True, slots=True)
class Parts:
    """A template filled with text and media, in order."""

    pieces: tuple[str | Media, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """An address that was not fetched yet."""

    url: str


def words_of(value: str | Media | Parts) -> str:
    """Return the text of an input, without its media."""
    if isinstance(value, str):
        return value
    if isinstance(value, Media):
        return ""
    return "".join(piece for piece in value.pieces if isinstance(piece, str)).strip()


def media_in(value: str | Media | Parts) -> tuple[Media, ...]:
    """Return the media of an input, in order."""
    if isinstance(value, Media):
        return (value,)
    return tuple(p for p in value.pieces if isinstance(p, Media)) if isinstance(value, Parts) else ()


def is_media(cell: Any) -> bool:
    """Whether a cell holds media rather than text: bytes, a path, a picture or an array of pixels."""
    if isinstance(cell, (bytes, bytearray, memoryview, os.PathLike, Media)):
        return True
    return hasattr(cell, "tobytes") and (_pillow(cell) or (isinstance(cell, np.ndarray) and cell.ndim in (2, 3)))


def media_of(cell: Any) -> Media | Link:
    """Turn a cell into media; only what is needed to know it is read, and nothing of a file is kept.

    Parameters
    ----------
    cell : bytes, path, address, ``data:`` address, PIL image or ndarray
        Text that is no address is the path of a file.  An ndarray holds pixels: (height, width) grey, or (height,
        width, 3 or 4), as uint8 or as floats from 0 to 1.

    Raises
    ------
    InputError
        There is no such file, it is too big, or it is not what it begins like.
    """
    if isinstance(cell, Media):
        return cell
    if isinstance(cell, (bytearray, memoryview)):
        cell = bytes(cell)
    if isinstance(cell, bytes):
        return of_bytes(cell)
    if isinstance(cell, str):
        if cell[:8].lower().startswith(("http://", "https://")):
            return Link(cell.strip())
        if cell[:5].lower() == "data:":
            return of_bytes(_from_data(cell))
        cell = Path(cell)
    if isinstance(cell, os.PathLike):
        return of_file(Path(cell))
    if is_media(cell):
        return _of_pixels(cell)
    raise InputError(
        f"the cell holds {type(cell).__name__}; give bytes, a path, an address, a PIL image or an array of pixels"
    )


def of_bytes(content: bytes, name: str = "", source: _Source | None = None) -> Media:
    """Return the media of these bytes; ``source`` says where they can be read again."""
    if not content:
        raise InputError("the cell is empty")
    if len(content) > MOST_BYTES:
        raise InputError(f"the cell holds {len(content) / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} are sent")
    form = sniff(content)
    return Media(_digest(content), form, len(content), name or f"cell.{form.suffix}", source or content)


#: Files that were read before: (path, size, time of change) -> what they are, so that a re-run reads none again.
_seen: dict[tuple[str, int, int], Media] = {}


def of_file(path: Path, name: str = "") -> Media:
    """Return the media of a file."""
    try:
        path = path.expanduser()
        state = path.stat()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"there is no file {str(path)[:200]!r} ({getattr(error, 'strerror', None) or error})"
        ) from None
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{str(path)[:200]!r} is a folder or a device, not a file")
    known = (str(path.absolute()), state.st_size, state.st_mtime_ns)
    if known not in _seen:
        if state.st_size > MOST_BYTES:
            raise InputError(f"{path.name} has {state.st_size / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} are sent")
        _seen[known] = of_bytes(_read(path), name or path.name, source=path)
    return _seen[known]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"the file {path.name} cannot be read: {error.strerror}") from None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _from_data(address: str) -> bytes:
    head, _, body = address.partition(",")
    if not head.lower().endswith(";base64"):
        raise InputError("the cell is a data: address without base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InputError(f"the cell is a data: address that cannot be decoded: {error}") from None


def _pillow(cell: Any) -> bool:
    return type(cell).__module__.partition(".")[0] == "PIL"


def pixels_of(cell: Any) -> Any:
    """Return the PIL image a cell is or an array of pixels makes; None for what is neither.

    Raises
    ------
    InputError
        The array has another shape or other values than a picture.
    """
    if isinstance(cell, (bytes, bytearray, memoryview, os.PathLike, Media)) or not is_media(cell):
        return None
    if _pillow(cell):
        return cell
    from PIL import Image as pillow

    return pillow.fromarray(_bytes_of(cell))


def _of_pixels(cell: Any) -> Media:
    """Know a picture by its pixels, and encode it as PNG only when it is sent."""
    cell = pixels_of(cell)
    width, height = cell.size
    digest = hashlib.blake2b(repr((cell.mode, cell.size)).encode() + cell.tobytes(), digest_size=16).digest()

    def encode() -> bytes:
        file = io.BytesIO()
        (cell if cell.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else cell.convert("RGB")).save(file, "PNG")
        return file.getvalue()

    size = width * height * len(cell.getbands())
    return Media(digest, Form("image/png", "image", width, height), size, "cell.png", encode)


def _bytes_of(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not (pixels.ndim == 2 or pixels.shape[2] in (3, 4)) or not pixels.size:
        raise InputError(f"an array of shape {pixels.shape} is no picture: (height, width) or (height, width, 3 or 4)")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f" and float(pixels.min()) >= 0 and float(pixels.max()) <= 1:
        return np.asarray((pixels * 255).round(), dtype=np.uint8)
    raise InputError(f"an array of {pixels.dtype} is no picture: give uint8, or floats from 0 to 1")
