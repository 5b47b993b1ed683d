"""What bytes are, and what is done with pictures: cells become PNG files, and pictures are resized and shown.

``sniff`` reads media type, size and length from the content, never from a name or a header, for every cell with media
before it is sent and for every answer that is a picture or sound.  ``Pixels`` holds a cell that is a PIL image or an
array; ``resized`` and ``thumbnail`` decode untrusted bytes with limits and encode them again, so that no metadata,
comment or script of the original is sent on or shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mimetypes
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np

from ..errors import InputError

Kind: TypeAlias = Literal["image", "audio", "video", "document"]

#: Pixels beyond which a picture counts as a decompression bomb; no model here reads as many (Clef stops at 16 MP).
MOST_PIXELS = 100_000_000

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (4, b"ftypM4A", "audio/mp4"),
    *((4, b"ftyp" + brand, "image/heic") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypavi", "image/avif"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
)
_UNKNOWN = "application/octet-stream"
#: Media types by the ending of a name, for bytes without a known beginning and for zip files.  Not every Python and
#: machine knows the office formats.
_OFFICE = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text", "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "csv": "text/csv", "md": "text/markdown", "xml": "application/xml", "svg": "image/svg+xml",
}  # fmt: skip
_ENDINGS = {mime: ending for ending, mime in _OFFICE.items()}
#: Pictures that are opened, each with its only decoder: no other decoder of Pillow gets the bytes of a cell.
FORMATS = {
    "image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP", "image/bmp": "BMP",
    "image/tiff": "TIFF",
}  # fmt: skip
#: Modes that PNG holds and models read; others are converted to one of these.
_PLAIN = ("1", "L", "LA", "RGB", "RGBA")
#: Pixels beyond which a picture is not decoded to be shown.  A JPEG is decoded at the wanted size, whatever its own;
#: other formats are decoded in full, at 3 to 4 bytes a pixel.
MOST_DECODED = 50_000_000
_OPAQUE = ("RGB", "L", "CMYK", "YCbCr", "1", "LAB", "HSV")


@dataclass(frozen=True, slots=True)
class Form:
    """Media type, size of a picture in pixels, and length of a sound."""

    mime: str  #: Such as ``"image/png"``; ``"application/octet-stream"`` if unknown.
    kind: Kind
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    rate: int | None = None  #: Of a sound, in samples per second.

    @property
    def suffix(self) -> str:
        """The usual file name extension, without the dot."""
        name = self.mime.rpartition("/")[2]
        return _ENDINGS.get(self.mime) or {"mpeg": "mp3", "jpeg": "jpg", "octet-stream": "bin"}.get(name, name)

    def __str__(self) -> str:
        size = f" {self.width}×{self.height}" if self.width else ""
        time = f" {self.seconds:.1f} s" if self.seconds is not None else ""
        return f"{self.suffix.upper()}{size}{time}"


def mime_of(content: bytes | memoryview) -> str:
    """Return the media type of the content, by its first bytes."""
    head = bytes(content[:16])
    for at, magic, mime in _MAGIC:
        if head[at : at + len(magic)] == magic:
            if mime in ("image/webp", "audio/wav") and head[:4] != b"RIFF":
                continue
            return mime
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":  # text may begin with these letters
        return "image/bmp"
    if head[:3] == b"ID3" and head[3:4] in (b"\2", b"\3", b"\4"):
        return "audio/mpeg"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html")):
        return "text/html"
    # An MPEG frame without a tag before it: eleven set bits, then layer II or III (layer I is out of use, and begins
    # like text in UTF-16), and a valid bit rate and sample rate.
    layer = len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4)
    if layer and head[2] & 0xF0 not in (0xF0, 0) and head[2] & 0x0C != 0x0C:
        return "audio/mpeg"
    return _UNKNOWN


def sniff(content: bytes, name: str = "") -> Form:
    """Return what bytes are, or raise an InputError; a name only tells the kind of a document of unknown beginning."""
    mime = mime_of(content)
    kind: Kind = {"image": "image", "audio": "audio", "video": "video"}.get(mime.partition("/")[0], "document")  # type: ignore[assignment]
    if kind == "image":
        width, height = _size(content, mime)
        return Form(mime, kind, width, height)
    if kind == "audio":
        seconds, rate = _length(content, mime)
        return Form(mime, kind, seconds=seconds, rate=rate)
    return Form(_named(name, mime) if mime in (_UNKNOWN, "application/zip") else mime, kind)


def _named(name: str, otherwise: str) -> str:
    ending = PurePath(name).suffix[1:].lower()
    return _OFFICE.get(ending) or mimetypes.guess_type(f"a.{ending}")[0] or otherwise


def _size(content: bytes, mime: str) -> tuple[int, int]:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    if mime not in FORMATS:
        raise InputError(f"the picture is {mime}, which is not supported; save it as JPEG or PNG")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # checked below
            width, height = pillow.open(io.BytesIO(content), formats=(FORMATS[mime],)).size
    except pillow.DecompressionBombError:
        raise InputError("the picture claims an impossible number of pixels (a decompression bomb)") from None
    except Exception as error:
        why = "its header is broken" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"the cell begins like {mime} but cannot be read as a picture: {why}") from None
    if width * height > MOST_PIXELS:
        raise InputError(f"the picture claims {width:,} × {height:,} pixels; at most {MOST_PIXELS:,} are read")
    return width, height


class _LimitedReads(io.BytesIO):
    """Content that ends after a number of reads: parsing a sound of many tiny chunks would take a minute."""

    left = 200_000  # a few tenths of a second

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        return super().read(size) if self.left >= 0 else b""


def _length(content: bytes, mime: str) -> tuple[float | None, int | None]:
    from tinytag import TinyTag

    file = _LimitedReads(content)
    try:
        tag = TinyTag.get(f"sound.{Form(mime, 'audio').suffix}", file_obj=file, tags=False)
    except Exception as error:  # struct.error among others
        raise InputError(f"the cell begins like {mime} but cannot be read as sound: {error}") from None
    return (tag.duration if file.left >= 0 else None), tag.samplerate  # unknown if not read to the end


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


def thumbnail(source: Any, pixels: int, draw: Callable[[Any, float], None] | None = None) -> Thumbnail:
    """Make a small copy of a picture, given as bytes or PIL image, for display: the longer side has at most `pixels`.

    `draw` gets the copy, an RGB image of PIL, and its scale, and may draw on it.  The copy is not turned upright then:
    places in a picture are counted in the pixels that are stored, which is what a model was sent.

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
            return _small(picture if isinstance(source, bytes) else picture.copy(), pixels, draw)
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


def _small(picture: Any, pixels: int, draw: Callable[[Any, float], None] | None = None) -> Thumbnail:
    from PIL import Image as pillow

    width = picture.size[0]
    picture = _upright(picture, pixels, turn=draw is None)
    opaque = draw is not None or (picture.mode in _OPAQUE and "transparency" not in picture.info)
    mode = "RGB" if opaque else "RGBA"
    bare = pillow.new(mode, picture.size)
    bare.paste(picture.convert(mode))  # a new picture: comments, profiles and texts are left behind
    if draw is not None:
        draw(bare, bare.size[0] / width)
    file = io.BytesIO()
    bare.save(file, "JPEG" if opaque else "WEBP", quality=80)
    content = file.getvalue()
    return Thumbnail(content, mime_of(content), *bare.size)


def _upright(picture: Any, pixels: int, *, turn: bool = True) -> Any:
    """Return a picture scaled down, rotated as its metadata say, with 8 bits per pixel and channel."""
    from PIL import ImageOps

    picture.thumbnail((pixels, pixels))
    with contextlib.suppress(Exception):  # a broken EXIF block leaves the picture as it is
        picture = ImageOps.exif_transpose(picture) if turn else picture
    return _to_8_bits(picture) if picture.mode.startswith("I") else picture


def _to_8_bits(picture: Any) -> Any:
    return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
