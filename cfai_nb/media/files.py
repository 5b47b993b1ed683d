"""Files that cells lead to: which may be opened, and how, so that nothing else is read in their place.

A path object in a cell was made by the user's own code, and is opened as it is.  A text may have been written by
anybody: it names a file only below a folder that was allowed (``files=``), and each part of its name is opened by
itself, without following a link, so that nothing can be swapped in between looking and opening.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

#: Not regular files, whatever they look like: they show the machine and this process, the token among its environment.
FORBIDDEN = tuple(map(Path, ("/proc", "/dev", "/sys")))
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
_BY_PARTS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be opened now and again later.

    Attributes
    ----------
    path : Path
    root : Path or None
        The folder below which no link is followed; None for a path of the user's own.
    """

    path: Path
    root: Path | None = None

    def open(self) -> BinaryIO:
        """Open it to read.

        Raises
        ------
        InputError
            It is not there, not a regular file, or a link where none is followed.
        """
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
    return os.open(path, _FLAGS)  # without waiting: a pipe would be waited for


def _opened_below(root: Path, path: Path) -> int:
    if not _BY_PARTS:  # Windows: a link is resolved, and may not lead out
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
    """A folder that texts in cells may name files of.

    Attributes
    ----------
    given, root : Path
        As it was given, and as it is with all links resolved.
    """

    given: Path
    root: Path

    def file(self, name: str) -> File:
        """Return the file of this name below the folder, whether it is there or not.

        Raises
        ------
        InputError
            The name leads out of the folder.
        """
        path = Path(name)
        for root in (self.root, self.given):
            if path.is_absolute() and path.is_relative_to(root):
                path = path.relative_to(root)
        if path.anchor or not path.parts or ".." in path.parts:
            raise InputError(f"{name[:200]!r} is not below the folder of files={str(self.given)!r}, and is not read")
        return File(_allowed(self.root / path), self.root)


def _allowed(path: Path) -> Path:
    if any(path.is_relative_to(forbidden) for forbidden in FORBIDDEN):
        raise InputError(f"{str(path)[:200]!r} is not read: nothing below /proc, /dev and /sys is")
    return path


def as_folder(given: Any) -> Folder | None:
    """Return the folder of the option ``files=``; None for None and False, which allow none.

    Raises
    ------
    ValueError
        There is no such folder, or it is one of the machine's own.
    """
    if given is None or given is False or isinstance(given, Folder):
        return given or None
    if given is True or not isinstance(given, (str, os.PathLike)):
        raise ValueError(f"files={given!r:.80}: give the folder in which texts in cells may name files.")
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
