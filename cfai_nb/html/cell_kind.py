"""What a cell is, told by its first bytes or its name, without reading the whole of it."""

from __future__ import annotations

import base64
import contextlib
import mimetypes
import os
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from ..errors import InputError
from ..media import is_media
from ..media.files import File, Folder
from ..media.form import mime_of

Sort: TypeAlias = Literal["image", "audio", "video", "document", "vector", "text", "value", "other"]

_LONGEST_NAME = 1_024
_LEAST_NUMBERS = 8  # a shorter list of numbers is read more easily than drawn


def is_missing(cell: Any) -> bool:
    """Whether a cell is missing, as pandas has it."""
    return cell is None or bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def is_vector(cell: Any) -> bool:
    """Whether a cell is a row of numbers."""
    if isinstance(cell, np.ndarray):
        return cell.ndim == 1 and cell.dtype.kind in "fiu"
    if not isinstance(cell, (list, tuple)) or len(cell) < _LEAST_NUMBERS:
        return False
    return all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in cell)


def may_be_file(text: str) -> bool:
    """Whether a text could name a file of this machine; an address or a share on another machine does not."""
    if len(text) > _LONGEST_NAME or not text.isprintable() or not text.strip():
        return False
    return "://" not in text and not text.replace("\\", "/").startswith("//")


def is_media_name(text: str) -> bool:
    """Whether a text looks like the name of a picture or sound, or is a ``data:`` address."""
    if text[:5].lower() == "data:":
        return True
    return may_be_file(text) and _by_name(text) in ("image", "audio")


def sort_of(cell: Any) -> Sort:
    """Say what a cell that is not missing is."""
    if isinstance(cell, str):
        return "text"
    if is_vector(cell):
        return "vector"
    if is_media(cell):
        return _media(cell)
    if pd.api.types.is_scalar(cell) or hasattr(cell, "isoformat"):
        return "value"
    return "other"


def sort_of_name(text: str, files: Folder | None) -> Sort:
    """Say what a text that names a file in a folder, or is a ``data:`` address, leads to."""
    if text[:5].lower() == "data:":
        head = text.partition(",")[2][:64]
        with contextlib.suppress(ValueError):
            return _kind(mime_of(base64.b64decode(head[: len(head) // 4 * 4])))
        return "document"
    try:
        return _by_head(files.file(text)) if files is not None else "text"
    except InputError:
        return "text"  # not below the folder


def _media(cell: Any) -> Sort:
    if isinstance(cell, os.PathLike):
        return _by_head(File(Path(cell)))
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return _kind(mime_of(bytes(cell[:16])))
    form = getattr(cell, "form", None)
    return "image" if form is None else form.kind


def _by_head(file: File) -> Sort:
    try:
        with file.open() as opened:
            return _kind(mime_of(opened.read(16)))
    except (InputError, OSError):
        return _by_name(str(file.path))


def _by_name(name: str) -> Sort:
    return _kind(mimetypes.guess_type(name)[0] or "")


def _kind(mime: str) -> Sort:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") and mime != "image/svg+xml" else "document"  # type: ignore[return-value]
