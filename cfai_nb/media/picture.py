"""What is done with Pillow: cells that are PIL images or arrays become PNG files, and pictures are resized and shown.

``Pixels`` holds a cell for sending; ``resized`` and ``thumbnail`` decode untrusted bytes with limits and encode them
again, so that no metadata, comment or script of the original is sent on or shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .form import FORMATS, MOST_PIXELS, mime_of

#: Modes that PNG holds and models read; others are converted to one of these.
_PLAIN = ("1", "L", "LA", "RGB", "RGBA")
#: Pixels beyond which a picture is not decoded to be shown.  A JPEG is decoded at the wanted size, whatever its own;
#: other formats are decoded in full, at 3 to 4 bytes a pixel.
MOST_DECODED = 50_000_000
_OPAQUE = ("RGB", "L", "CMYK", "YCbCr", "1", "LAB", "HSV")


def is_pixels(cell: Any) -> bool:
    """Whether a cell is a PIL image or an array with two or three axes."""
    return hasattr(cell, "tobytes") and (_pillow(cell) or (isinstance(cell, np.ndarray) and cell.ndim in (2, 3)))


def _pillow(cell: Any) -> bool:
    return type(cell).__module__.partition(".")[0] == "PIL"


def picture_of(cell: Any) -> Any:
    """Return a cell that is a PIL image, or make one of an array of pixels, or raise an InputError: it holds others."""
    if _pillow(cell):
        return cell
    from PIL import Image as pillow

    return pillow.fromarray(_bytes_of(cell))


class Pixels:
    """The pixels of a cell, read now for their digest and again when they are sent; only the cell is held meanwhile."""

    def __init__(self, cell: Any) -> None:
        self._cell = cell
        picture = _plain_picture(cell)
        self.digest = _digest(picture)
        self.width, self.height = picture.size
        self.size = self.width * self.height * len(picture.getbands())

    def __call__(self) -> bytes:
        """Return a PNG file."""
        picture = _plain_picture(self._cell)
        if _digest(picture) != self.digest:
            raise InputError("the picture changed during the run; run the cell again")
        return png(picture)


def png(picture: Any) -> bytes:
    """Return a picture as a PNG file, without comments and profiles."""
    from PIL import Image as pillow

    bare = pillow.frombytes(picture.mode, picture.size, picture.tobytes())
    file = io.BytesIO()
    bare.save(file, "PNG")
    return file.getvalue()


def _digest(picture: Any) -> bytes:
    return hashlib.blake2b(repr((picture.mode, picture.size)).encode() + picture.tobytes(), digest_size=16).digest()


def _plain_picture(cell: Any) -> Any:
    """Return a picture in a mode that PNG holds, without loading an unread file into the frame's own image."""
    picture = picture_of(cell)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise InputError(f"the picture has {width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are sent")
    try:
        return plain(_unread(picture))
    except InputError:
        raise
    except Exception as error:  # anything a decoder raises for a file that is broken, closed or gone
        raise InputError(f"the picture cannot be read: {error or type(error).__name__}") from None


def _unread(picture: Any) -> Any:
    """Open an unread file a second time, so that its pixels are not kept in the image of the frame."""
    from PIL import Image as pillow
    from PIL import ImageFile

    name = getattr(picture, "filename", None)
    if not (isinstance(picture, ImageFile.ImageFile) and picture.tile and name and isinstance(name, str)):
        return picture
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # checked before
        own = pillow.open(name)
    if (own.size, own.mode, own.tell()) != (picture.size, picture.mode, picture.tell()):
        return picture
    with own:
        own.load()
    return own


def plain(picture: Any) -> Any:
    """Return a picture in a mode that PNG holds and models read; 32-bit numbers, of unknown range, are refused."""
    if picture.mode in _PLAIN and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F"):
        raise InputError(f"the pixels are 32-bit numbers (mode {picture.mode}); scale them to 8 bits first")
    if picture.mode.startswith("I;16"):
        return _to_8_bits(picture)
    transparent = "transparency" in picture.info or picture.mode in ("PA", "La", "RGBa")
    if picture.mode == "La":
        return picture.convert("LA")
    return picture.convert("RGBA" if transparent else "RGB")


def _bytes_of(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if not (pixels.ndim == 2 or pixels.shape[2] in (3, 4)) or not pixels.size:
        raise InputError(
            f"an array of shape {pixels.shape} is not a picture: give (height, width) or (height, width, 3 or 4)"
        )
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f" and float(pixels.min()) >= 0 and float(pixels.max()) <= 1:
        return np.asarray((pixels * 255).round(), dtype=np.uint8)
    raise InputError(f"an array of {pixels.dtype} is not a picture: give uint8, or floats from 0 to 1")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture encoded for display: JPEG, or WebP where it has transparent parts."""

    content: bytes
    mime: str
    width: int
    height: int


def resized(content: bytes, side: int) -> bytes:
    """Return a picture as PNG, upright, scaled down where a side is longer than `side`, or raise an InputError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs (refused when the cell was read), and of odd metadata
            return png(plain(_upright(_opened(content), side)))
    except InputError as error:
        raise InputError(f"the picture cannot be resized: {error}") from None
    except Exception as error:  # anything a decoder raises for a truncated picture
        raise InputError(f"the picture cannot be read to its end: {error or type(error).__name__}") from None


def thumbnail(source: Any, pixels: int) -> Thumbnail:
    """Make a small copy of a picture, given as bytes or PIL image, for display: the longer side has at most `pixels`.

    Raises InputError: it is not a picture, is broken, or claims more pixels than are decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs (refused below), and of odd metadata
            picture = _opened(source) if isinstance(source, bytes) else source
            width, height = picture.size
            most = MOST_PIXELS if picture.format == "JPEG" else MOST_DECODED
            if width * height > most:
                raise InputError(f"it claims {width:,} × {height:,} pixels; at most {most:,} are drawn")
            return _small(picture if isinstance(source, bytes) else picture.copy(), pixels)
    except InputError:
        raise
    except Exception as error:  # anything a decoder raises for bytes that are not a picture
        raise InputError(f"it cannot be drawn: {error or type(error).__name__}") from None


def _opened(content: bytes) -> Any:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    mime = mime_of(content)
    if mime not in FORMATS:
        raise InputError("it is not a picture")
    try:
        return pillow.open(io.BytesIO(content), formats=(FORMATS[mime],))
    except pillow.DecompressionBombError:
        raise InputError("it claims an impossible number of pixels (a decompression bomb)") from None
    except UnidentifiedImageError:
        raise InputError("it begins like a picture, but its header is broken") from None


def _small(picture: Any, pixels: int) -> Thumbnail:
    from PIL import Image as pillow

    picture = _upright(picture, pixels)
    opaque = picture.mode in _OPAQUE and "transparency" not in picture.info
    mode = "RGB" if opaque else "RGBA"
    bare = pillow.new(mode, picture.size)
    bare.paste(picture.convert(mode))  # a new picture: comments, profiles and texts are left behind
    file = io.BytesIO()
    bare.save(file, "JPEG" if opaque else "WEBP", quality=80)
    content = file.getvalue()
    return Thumbnail(content, mime_of(content), *bare.size)


def _upright(picture: Any, pixels: int) -> Any:
    """Return a picture scaled down, rotated as its metadata say, with 8 bits per pixel and channel."""
    from PIL import ImageOps

    picture.thumbnail((pixels, pixels))
    with contextlib.suppress(Exception):  # a broken EXIF block leaves the picture as it is
        picture = ImageOps.exif_transpose(picture)
    return _to_8_bits(picture) if picture.mode.startswith("I") else picture


def _to_8_bits(picture: Any) -> Any:
    return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
