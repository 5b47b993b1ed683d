"""Pictures made small for the screen: decoded with limits and encoded anew, so that nothing else of them is shown."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .form import FORMATS, MOST_PIXELS, mime_of
from .pixels import plain, png

#: Pixels beyond which a picture is not decoded to be shown.  A JPEG is decoded at the size that is wanted, whatever its
#: own; others have to be decoded whole, at 3 to 4 bytes a pixel.
MOST_DECODED = 50_000_000
_OPAQUE = ("RGB", "L", "CMYK", "YCbCr", "1", "LAB", "HSV")


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A picture as it is shown: JPEG, or WebP where it has transparent parts."""

    content: bytes
    mime: str
    width: int
    height: int


def fitting(content: bytes, side: int) -> bytes:
    """Return a picture as PNG, upright, and made smaller where a side is longer than this.

    Raises
    ------
    InputError
        It is no picture, or a broken one.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs (judged when it was first looked at), and of odd metadata
            return png(plain(_upright(_opened(content), side)))
    except InputError as error:
        raise InputError(f"the picture cannot be made smaller: {error}") from None
    except Exception as error:  # whatever a decoder says of a picture that is cut short
        raise InputError(f"the picture cannot be read to its end: {error or type(error).__name__}") from None


def thumbnail(source: Any, pixels: int) -> Thumbnail:
    """Make a picture small.

    Parameters
    ----------
    source : bytes or PIL image
    pixels : int
        Of the longer side, at most.

    Raises
    ------
    InputError
        It is no picture, or a broken one, or claims more pixels than are decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs (judged below), and of odd metadata
            picture = _opened(source) if isinstance(source, bytes) else source
            width, height = picture.size
            most = MOST_PIXELS if picture.format == "JPEG" else MOST_DECODED
            if width * height > most:
                raise InputError(f"it claims {width:,} × {height:,} pixels; at most {most:,} are drawn")
            return _small(picture if isinstance(source, bytes) else picture.copy(), pixels)
    except InputError:
        raise
    except Exception as error:  # whatever a decoder says of bytes that are no picture
        raise InputError(f"it cannot be drawn: {error or type(error).__name__}") from None


def _opened(content: bytes) -> Any:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    mime = mime_of(content)
    if mime not in FORMATS:
        raise InputError("it is no picture")
    try:
        return pillow.open(io.BytesIO(content), formats=(FORMATS[mime],))
    except pillow.DecompressionBombError:
        raise InputError("it claims more pixels than can be meant (a decompression bomb)") from None
    except UnidentifiedImageError:
        raise InputError("it begins like a picture, and its header is broken") from None


def _small(picture: Any, pixels: int) -> Thumbnail:
    from PIL import Image as pillow

    picture = _upright(picture, pixels)
    opaque = picture.mode in _OPAQUE and "transparency" not in picture.info
    mode = "RGB" if opaque else "RGBA"
    bare = pillow.new(mode, picture.size)
    bare.paste(picture.convert(mode))  # a picture of its own: comments, profiles and texts stay behind
    file = io.BytesIO()
    bare.save(file, "JPEG" if opaque else "WEBP", quality=80)
    content = file.getvalue()
    return Thumbnail(content, mime_of(content), *bare.size)


def _upright(picture: Any, pixels: int) -> Any:
    """Return a picture made small, turned as its metadata say, with 8 bits a pixel and channel."""
    from PIL import ImageOps

    picture.thumbnail((pixels, pixels))
    with contextlib.suppress(Exception):  # a broken EXIF block leaves the picture as it lies
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # 16 bits a pixel
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return picture
