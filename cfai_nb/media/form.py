"""What bytes are: ``sniff`` reads media type, size and length from the content, never from a name or a header.

Called for every cell with media before it is sent, and for every answer that is a picture or sound.
"""

from __future__ import annotations

import io
import mimetypes
import warnings
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, TypeAlias

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
    """Return what bytes are; the name of a file only tells the kind of a document that has no known first bytes.

    Raises InputError: they begin like a picture or sound but cannot be read, or the picture is too large.
    """
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
