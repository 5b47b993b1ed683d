"""``Media``: the picture, sound or document of a cell, identified by its content and held only while it is sent.

``media_of`` takes a cell (bytes, path, address, PIL image, array) and reads just enough for its digest; ``content()``
reads it again when the request is built.  So a frame of a thousand files needs the memory of those in flight.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..errors import InputError
from ..markup import address
from .files import File, Folder
from .form import Form, sniff
from .picture import Pixels, is_pixels, picture_of, resized

#: Maximum bytes of a cell's content: no model here takes more (batches stop at 10 MB, Clef's bodies at 13 MiB;
#: recordings are the longest).
MOST_BYTES = 100 * 2**20

#: Where content comes from: bytes, a file, or a function that encodes it when it is sent.
_Source: TypeAlias = "bytes | File | Callable[[], bytes]"


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """The content of one cell, identified by its digest; equal if the content is equal.

    Attributes
    ----------
    digest : bytes
        Of the content.
    form : Form
    size : int
        In bytes; for pixels that are encoded when they are sent, the bytes of the pixels.
    name : str
        Of the file, or a generated one with the right extension.
    """

    digest: bytes
    form: Form
    size: int
    name: str
    _source: _Source

    @property
    def identity(self) -> bytes:
        """What makes two media equal: the content, and for a document also the media type taken from its name."""
        return self.digest + (self.form.mime.encode() if self.form.kind == "document" else b"")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Media) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{self.form}, {self.size:,} bytes>"

    def content(self) -> bytes:
        """Read the bytes.

        Raises
        ------
        InputError
            The file is gone, or has changed since the plan was made.
        """
        if isinstance(self._source, bytes):
            return self._source
        if callable(self._source):
            return self._source()
        with self._source.open() as opened:
            content = _read(self._source, opened)
        if _digest(content) != self.digest:
            _forget(self._source)  # its size and times may not have changed: read it again next time
            raise InputError(f"the file {self.name} changed during the run; run the cell again")
        return content

    def loaded(self) -> Media:
        """Return the same media with its content in memory, for as long as it is in flight."""
        return self if isinstance(self._source, bytes) else Media(*self._known(), self.content())

    def _known(self) -> tuple[bytes, Form, int, str]:
        return self.digest, self.form, self.size, self.name

    def resized(self, side: int) -> bytes:
        """Return a picture as PNG, upright, scaled down where a side is longer than `side`.

        Raises
        ------
        InputError
            The picture is broken or incomplete.
        """
        return resized(self.content(), side)

    def base64(self) -> str:
        """Return the content in base64."""
        return base64.b64encode(self.content()).decode()

    def data_uri(self) -> str:
        """Return the content as a ``data:`` address."""
        return address(self.content(), self.form.mime)


@dataclass(frozen=True, slots=True)
class Parts:
    """A template filled with text and media, in order."""

    pieces: tuple[str | Media, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """An address that has not been fetched yet."""

    url: str


def text_of(value: str | Media | Parts) -> str:
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
    return is_pixels(cell)


def media_of(cell: Any, files: Folder | None = None) -> Media | Link:
    """Turn a cell into media; it is read once for its digest, and the content of a file is not kept.

    Parameters
    ----------
    cell : bytes, path, address, ``data:`` address, PIL image or ndarray
        An ndarray holds pixels: (height, width) gray, or (height, width, 3 or 4), as uint8 or as floats from 0 to 1.
    files : Folder, optional
        The folder of ``files=``, in which a text that is not an address names a file; without it the text is refused.

    Raises
    ------
    InputError
        The file does not exist, is too big, or its content does not match its first bytes.
    """
    if isinstance(cell, Media):
        return cell
    if isinstance(cell, bytes):
        return of_bytes(cell)
    if isinstance(cell, (bytearray, memoryview)):
        return made_again(lambda: bytes(cell))
    if isinstance(cell, str):
        found = _SCHEME.match(cell)
        kind = found[1].lower() if found else ""
        if kind in ("http", "https"):
            return Link(cell.strip())
        if kind == "data":
            return made_again(lambda: _from_data(cell.strip()))
        if kind:
            raise InputError(f"addresses of the kind {kind}: are not read; give a path, or an http(s) address")
        if files is None:
            raise InputError(_NO_FILES)
        return of_file(files.file(cell))
    if isinstance(cell, os.PathLike):
        return of_file(File(Path(cell)))
    if is_pixels(cell):
        made = Pixels(cell)
        return Media(made.digest, Form("image/png", "image", made.width, made.height), made.size, "cell.png", made)
    raise InputError(
        f"the cell holds {type(cell).__name__}; give bytes, a path, an address, a PIL image or an array of pixels"
    )


_NO_FILES = (
    'the cell is a text; files="folder", here or in cf.connect, lets texts name files in that folder (a pathlib.Path '
    "in the cell is read without it)"
)
_SCHEME = re.compile(r"\s*(data(?=:)|[a-z][a-z0-9+.-]+(?=://))", re.IGNORECASE)


def made_again(make: Callable[[], bytes]) -> Media:
    """Return the media of bytes that are made from the cell now and again when they are sent, instead of being held."""
    media = of_bytes(make(), source=make)

    def unchanged() -> bytes:
        content = make()
        if _digest(content) != media.digest:
            raise InputError("the cell changed during the run; run it again")
        return content

    return Media(media.digest, media.form, media.size, media.name, unchanged)


def of_bytes(content: bytes, name: str = "", source: _Source | None = None) -> Media:
    """Return the media of these bytes; ``source`` is where they can be read again (default: the bytes themselves)."""
    if not content:
        raise InputError(f"{name or 'the cell'} is empty")
    if len(content) > MOST_BYTES:
        raise InputError(f"the cell holds {len(content) / 2**20:.0f} MiB; at most {MOST_BYTES // 2**20} are sent")
    form = sniff(content, name)
    return Media(_digest(content), form, len(content), name or f"cell.{form.suffix}", source or content)


#: Media of files that were read before, by size and times of change, so that a re-run does not read them again.
_seen: dict[tuple[File, int, int, int], Media] = {}


def of_file(file: File, name: str = "") -> Media:
    """Return the media of a file."""
    with file.open() as opened:
        state = os.fstat(opened.fileno())
        known = (_absolute(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if known not in _seen:
            if state.st_size > MOST_BYTES:
                size = f"{state.st_size / 2**20:.0f}"
                raise InputError(f"{file.path.name} has {size} MiB; at most {MOST_BYTES // 2**20} are sent")
            _seen[known] = of_bytes(_read(file, opened), name or file.path.name, source=file)
    return _seen[known]


def _absolute(file: File) -> File:
    return File(file.path.expanduser().absolute(), file.root)


def _forget(file: File) -> None:
    for known in [known for known in list(_seen) if known[0] == _absolute(file)]:
        _seen.pop(known, None)


def _read(file: File, opened: BinaryIO) -> bytes:
    try:
        return opened.read(MOST_BYTES + 1)  # it may have grown
    except OSError as error:
        raise InputError(f"the file {file.path.name} cannot be read: {error.strerror}") from None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _from_data(address: str) -> bytes:
    head, _, body = address.partition(",")
    if not head.lower().endswith(";base64"):
        raise InputError("the cell is a data: address that is not in base64")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise InputError(f"the cell is a data: address that cannot be decoded: {error}") from None


def pixels_of(cell: Any) -> Any:
    """Return a cell that is a PIL image, or make one of an array of pixels; None for any other cell.

    Raises
    ------
    InputError
        The array does not have the shape or values of a picture.
    """
    return picture_of(cell) if is_pixels(cell) and not isinstance(cell, (memoryview, Media)) else None
