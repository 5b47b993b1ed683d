"""Files named by cells: which may be opened, and how.

A path object in a cell was made by the user's own code, and is opened as it is.  A text may have been written by
anybody: it can only name a file below the folder of ``files=``.  Each part of that name is opened separately without
following links, so that no file can be swapped between the check and the opening.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InputError

#: Never read: these show the machine and this process, with the token in its environment.
FORBIDDEN = tuple(map(Path, ("/proc", "/dev", "/sys")))
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"))
_BY_PARTS = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


@dataclass(frozen=True, slots=True)
class File:
    """A file that can be opened several times.

    Attributes
    ----------
    path : Path
    root : Path or None
        The folder below which no link is followed; None for a path object of the user.
    """

    path: Path
    root: Path | None = None

    def open(self) -> BinaryIO:
        """Open it for reading.

        Raises
        ------
        InputError
            It does not exist, is not a regular file, or is a link below ``root``.
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
    """A folder whose files may be named by texts in cells.

    Attributes
    ----------
    given, root : Path
        As passed by the user, and with all links resolved.
    """

    given: Path
    root: Path

    def file(self, name: str) -> File:
        """Return the file of this name below the folder, whether it exists or not.

        Raises
        ------
        InputError
            The name points outside the folder.
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
        raise InputError(f"{str(path)[:200]!r} is not read: files below /proc, /dev and /sys never are")
    return path


def as_folder(given: Any) -> Folder | None:
    """Return the folder of the option ``files=``; None for None and False.

    Raises
    ------
    ValueError
        There is no such folder, or it lies below /proc, /dev or /sys.
    """
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
