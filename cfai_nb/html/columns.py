"""Which columns are shown, and what each holds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from ..errors import ColumnError
from ..frame import rows
from ..frame.reading import is_sentence
from ..media.files import Folder
from .cell_kind import Sort, is_media_name, is_missing, sort_of, sort_of_name

#: Columns that are shown where none are named.
MOST = 8
_LOOKED_AT = 20  # cells that tell what a column holds
_SHORT = 120  # characters of a text that is read at a glance
_ORDER = ("image", "audio", "video", "text", "value", "vector", "long", "other", "document")


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column as it is shown.

    Attributes
    ----------
    name : str
    cells : Series
    sort : str
        What its cells are; "long" for long text.
    names : bool
        Whether its texts are meant to name files.
    files : Folder or None
        The folder in which they may.
    """

    name: str
    cells: pd.Series[Any]
    sort: Sort | str
    names: bool = False
    files: Folder | None = None


def as_frame(data: rows.Frame) -> pd.DataFrame:
    """Return a frame, or a Series as a frame of one column."""
    return data if isinstance(data, pd.DataFrame) else data.to_frame("value" if data.name is None else data.name)


def media_column(data: rows.Frame, column: Hashable, sort: Sort, folder: Folder | None) -> Column:
    """Return the column of pictures or sound: the one that is named, or the first; texts name files of the folder.

    Raises
    ------
    ColumnError
        There is none, or its texts are not names of files.
    """
    found = first(data, sort, folder) if column is None else named(data, column, names=True, files=folder)[0]
    some = list(islice((cell for cell in found.cells if not is_missing(cell)), _LOOKED_AT))
    if some and all(isinstance(cell, str) and not is_media_name(cell) and is_sentence(cell) for cell in some):
        what = {"image": "pictures", "audio": "sound"}.get(sort, sort)
        raise ColumnError(
            f"Column {found.name!r} holds texts, not {what}: they are neither names of files nor addresses. "
            "df.cfai.preview() shows texts."
        )
    return found


def named(
    data: rows.Frame, columns: Hashable | Sequence[Hashable], *, names: bool = False, files: Folder | None = None
) -> list[Column]:
    """Return the columns of these names; ``names=True`` takes their texts for names of files.

    Raises
    ------
    ColumnError
        There is none of a name, or several.
    """
    frame = as_frame(data)
    wanted = list(columns) if isinstance(columns, (list, pd.Index)) else [columns]
    return [_known(label, rows.column(frame, label), files, names) for label in wanted]


def found(data: rows.Frame, files: Folder | None = None) -> tuple[list[Column], list[str]]:
    """Return the columns worth a look, media first, then what is short; and the names of those left out."""
    frame = as_frame(data)
    known = [_known(label, frame.iloc[:, at], files) for at, label in enumerate(frame.columns)]
    ranked = sorted(known, key=lambda column: _ORDER.index(column.sort))
    return ranked[:MOST], [column.name for column in ranked[MOST:]]


def first(data: rows.Frame, sort: Sort, files: Folder | None = None) -> Column:
    """Return the first column of a kind; of a Series, itself.

    Raises
    ------
    ColumnError
        There is none.
    """
    frame = as_frame(data)
    if isinstance(data, pd.Series):  # there is no other that could be meant
        return _known(frame.columns[0], data, files, names=True)
    known = [_known(label, frame.iloc[:, at], files) for at, label in enumerate(frame.columns)]
    match = next((column for column in known if column.sort == sort), None)
    if match is None:
        what = {"image": "pictures", "audio": "sound"}.get(sort, sort)
        hint = "" if files else ' (Texts name files only in the folder of files="folder".)'
        raise ColumnError(f"No column holds {what}. Columns: {', '.join(c.name for c in known) or 'none'}.{hint}")
    return match


def _known(label: Hashable, cells: pd.Series[Any], files: Folder | None, names: bool = False) -> Column:
    sort, named = _sort(cells, files)
    return Column(str(label), cells, sort, names or named, files)


def _sort(cells: pd.Series[Any], files: Folder | None) -> tuple[Sort | str, bool]:
    if pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return "value", False
    head = list(islice((cell for cell in cells if not is_missing(cell)), _LOOKED_AT))
    if not head:
        return "value", False
    if all(isinstance(cell, str) for cell in head):
        if all(is_media_name(cell) for cell in head) and (sort := sort_of_name(head[0], files)) != "text":
            return sort, True
        return ("text" if sum(map(len, head)) <= _SHORT * len(head) else "long"), False
    sorts = [sort_of(cell) for cell in head]
    return max(sorts, key=sorts.count), False
