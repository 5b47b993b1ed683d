"""Pictures that are no bytes yet: PIL images and arrays, known by their pixels and encoded when they are sent."""

from __future__ import annotations

import hashlib
import io
import warnings
from typing import Any

import numpy as np

from ..errors import InputError
from .form import MOST_PIXELS

#: Modes that PNG holds and models read; others become one of these.
_PLAIN = ("1", "L", "LA", "RGB", "RGBA")


def is_pixels(cell: Any) -> bool:
    """Whether a cell is a PIL image or an array with two or three axes."""
    return hasattr(cell, "tobytes") and (_pillow(cell) or (isinstance(cell, np.ndarray) and cell.ndim in (2, 3)))


def _pillow(cell: Any) -> bool:
    return type(cell).__module__.partition(".")[0] == "PIL"


def picture_of(cell: Any) -> Any:
    """Return the PIL image a cell is, or one of an array of pixels.

    Raises
    ------
    InputError
        The array has another shape or other values than a picture.
    """
    if _pillow(cell):
        return cell
    from PIL import Image as pillow

    return pillow.fromarray(_bytes_of(cell))


class Pixels:
    """The pixels of a cell: looked at now, and again when they are sent.  Only the cell itself is held meanwhile.

    Raises
    ------
    InputError
        They are no picture, or too many.
    """

    def __init__(self, cell: Any) -> None:
        self._cell = cell
        picture = _plain(cell)
        self.digest = _digest(picture)
        self.width, self.height = picture.size
        self.size = self.width * self.height * len(picture.getbands())

    def __call__(self) -> bytes:
        """Return a PNG file."""
        picture = _plain(self._cell)
        if _digest(picture) != self.digest:
            raise InputError("the picture changed while the run was going on; run the cell again")
        return png(picture)


def png(picture: Any) -> bytes:
    """Return a picture as a PNG file, bare of comments and profiles."""
    from PIL import Image as pillow

    bare = pillow.frombytes(picture.mode, picture.size, picture.tobytes())
    file = io.BytesIO()
    bare.save(file, "PNG")
    return file.getvalue()


def _digest(picture: Any) -> bytes:
    return hashlib.blake2b(repr((picture.mode, picture.size)).encode() + picture.tobytes(), digest_size=16).digest()


def _plain(cell: Any) -> Any:
    """Return a picture in a mode that PNG holds; a file that is open and not read yet stays so."""
    picture = picture_of(cell)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise InputError(f"the picture has {width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are sent")
    try:
        return plain(_unread(picture))
    except InputError:
        raise
    except Exception as error:  # whatever a decoder says of a file that is broken, closed or gone
        raise InputError(f"the picture cannot be read: {error or type(error).__name__}") from None


def _unread(picture: Any) -> Any:
    """Return a picture of its own for a file that is open and not read: its pixels are not kept in the frame."""
    from PIL import Image as pillow
    from PIL import ImageFile

    name = getattr(picture, "filename", None)
    if not (isinstance(picture, ImageFile.ImageFile) and picture.tile and name and isinstance(name, str)):
        return picture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # judged before
        own = pillow.open(name)
    if (own.size, own.mode, own.tell()) != (picture.size, picture.mode, picture.tell()):
        return picture
    with own:
        own.load()
    return own


def plain(picture: Any) -> Any:
    """Return a picture in a mode that PNG holds and models read.

    Raises
    ------
    InputError
        Its pixels are numbers of 32 bits, which may mean anything.
    """
    if picture.mode in _PLAIN and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F"):
        raise InputError(f"the pixels are numbers of 32 bits (mode {picture.mode}); scale them to 8 bits first")
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    seen_through = "transparency" in picture.info or picture.mode in ("PA", "La", "RGBa")
    if picture.mode == "La":
        return picture.convert("LA")
    return picture.convert("RGBA" if seen_through else "RGB")


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
