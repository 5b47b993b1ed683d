"""``Media``: the picture, sound or document of a cell, identified by its content and held only while it is sent.

``media_of`` takes a cell (bytes, path, address, PIL image, array) and reads just enough for its digest; ``content()``
reads it again when the request is built.  So a frame of a thousand files needs the memory of those in flight.

A path object in a cell was made by the user's own code, and is opened as it is.  A text may have been written by
anybody: it can only name a file below the folder of ``files=``.  Each part of that name is opened separately without
following links, so that no file can be swapped between the check and the opening.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..errors import InputError
from ..html.markup import address
from .picture import Form, Pixels, is_pixels, picture_of, resized, sniff

#: Maximum bytes of a cell's content: no model here takes more (batches stop at 10 MB, Clef's bodies at 13 MiB;
#: recordings are the longest).
MOST_BYTES = 100 * 2**20
#: Never read: these show the machine and this process, with the token in its environment.
FORBIDDEN = tuple(map(Path, ("/proc", "/dev", "/sys")))
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
_BY_PARTS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be opened several times; below ``root`` no link is followed (None: a path object of the user)."""

    path: Path
    root: Path | None = None

    def open(self) -> BinaryIO:
        """Open it for reading.  Raises InputError: it is not there, not a regular file, or a link below ``root``."""
        try:
            descriptor = _opened(self.path.expanduser()) if self.root is None else _opened_below(self.root, self.path)
        except (OSError, ValueError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            links = "; links in a folder of files= are not followed" if self.root and self._linked else ""
            raise InputError(f"there is no file {self._shown!r} ({why}{links})") from None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb")
        os.close(descriptor)
        raise InputError(f"{self._shown!r} is a folder or a device, not a file")

    @property
    def _shown(self) -> str:
        return str(self.path if self.root is None else self.path.relative_to(self.root))[:200]

    @property
    def _linked(self) -> bool:
        assert self.root is not None
        return any(os.path.islink(path) for path in (self.path, *self.path.parents) if self.root in path.parents)


def _opened(path: Path) -> int:
    return os.open(path, _FLAGS)  # non-blocking: opening a pipe would wait


def _opened_below(root: Path, path: Path) -> int:
    if not _BY_PARTS:  # Windows: a link is resolved, and must stay inside
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            raise PermissionError(0, "it leads out of the folder")
        return _opened(real)
    *folders, last = path.relative_to(root).parts
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in folders:
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        return os.open(last, _FLAGS | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with files that texts in cells may name."""

    given: Path  #: As passed by the user.
    root: Path  #: With all links resolved.

    def file(self, name: str) -> File:
        """Return the file of this name, whether it exists or not.  Raises InputError: it points outside the folder."""
        path = Path(name)
        for root in (self.root, self.given):
            if path.is_absolute() and path.is_relative_to(root):
                path = path.relative_to(root)
        if path.anchor or not path.parts or ".." in path.parts:
            raise InputError(f"{name[:200]!r} is not below the folder of files={str(self.given)!r}, and is not read")
        return File(_allowed(self.root / path), self.root)


def _allowed(path: Path) -> Path:
    if any(path.is_relative_to(forbidden) for forbidden in FORBIDDEN):
        raise InputError(f"{str(path)[:200]!r} is not read: files below /proc, /dev and /sys never are")
    return path


def as_folder(given: Any) -> Folder | None:
    """Return the folder of the option ``files=``, or raise a ValueError; None for None and False."""
    if given is None or given is False or isinstance(given, Folder):
        return given or None
    if given is True or not isinstance(given, (str, os.PathLike)):
        raise ValueError(f"files={given!r:.80}: give a folder; texts in cells may then name files in it.")
    path = Path(given).expanduser().absolute()
    try:
        root = path.resolve(strict=True)
        _allowed(root)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"files={str(given)[:200]!r}: there is no such folder ({why}).") from None
    except InputError as error:
        raise ValueError(f"files={str(given)[:200]!r}: {error}.") from None
    if not root.is_dir():
        raise ValueError(f"files={str(given)[:200]!r} is not a folder.")
    return Folder(path, root)


#: Where content comes from: bytes, a file, or a function that encodes it when it is sent.
_Source: TypeAlias = "bytes | File | Callable[[], bytes]"


@dataclass(frozen=True, slots=True, eq=False)
class Media:
    """The content of one cell, identified by its digest; equal if the content is equal."""

    digest: bytes
    form: Form
    size: int  #: In bytes; for pixels that are encoded when they are sent, the bytes of the pixels.
    name: str  #: Of the file, or a generated one with the right extension.
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
        """Read the bytes.  Raises InputError: the file is gone, or has changed since the plan was made."""
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
        return self if isinstance(self._source, bytes) else dataclasses.replace(self, _source=self.content())

    def resized(self, side: int) -> bytes:
        """Return a picture as PNG, upright, scaled down where a side is longer than `side`, or raise an InputError."""
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

    The cell holds bytes, a path, an address, a ``data:`` address, a PIL image or an array of pixels: (height, width)
    gray, or (height, width, 3 or 4), as uint8 or as floats from 0 to 1.  A text that is not an address names a file in
    the folder of ``files``, and is refused without it.

    Raises InputError: the file does not exist, is too big, or its content does not match its first bytes.
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


#: Media of files that were read before, by size and times of change, so that a re-run does not read them again; at most
#: so many (about 900 bytes each), of which the oldest is dropped first.
_seen: dict[tuple[File, int, int, int], Media] = {}
MOST_SEEN = 50_000
_lock = threading.Lock()


def of_file(file: File, name: str = "") -> Media:
    """Return the media of a file."""
    with file.open() as opened:
        state = os.fstat(opened.fileno())
        known = (_absolute(file), state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if (media := _seen.get(known)) is not None:
            return media
        if state.st_size > MOST_BYTES:
            size = f"{state.st_size / 2**20:.0f}"
            raise InputError(f"{file.path.name} has {size} MiB; at most {MOST_BYTES // 2**20} are sent")
        media = of_bytes(_read(file, opened), name or file.path.name, source=file)
    with _lock:
        while len(_seen) >= MOST_SEEN:
            del _seen[next(iter(_seen))]
        _seen[known] = media
    return media


def _absolute(file: File) -> File:
    return File(file.path.expanduser().absolute(), file.root)


def _forget(file: File) -> None:
    with _lock:
        for known in [known for known in _seen if known[0] == _absolute(file)]:
            del _seen[known]


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
    """Return a cell that is a PIL image, or make one of an array of pixels; None for any other cell."""
    return picture_of(cell) if is_pixels(cell) and not isinstance(cell, (memoryview, Media)) else None
