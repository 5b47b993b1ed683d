"""What of a frame is shown: which columns and what they hold, which rows match a filter, and what failed in them.

A frame or Series comes in; `Column` objects, row positions and errors go out, for tables and cards.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import ColumnError
from ..frame import call, rows
from ..frame.reading import is_missing, is_sentence
from ..frame.report import Report
from ..media.files import Folder
from ..vectors.vector import stand_in_of
from .cell import CellKind, is_media_name, kind_of, kind_of_name

_MAX_COLUMNS = 8
_SAMPLE = 20  # cells that decide what a column holds
_SHORT = 120  # characters of a text that is read at a glance
_ORDER = ("image", "audio", "video", "text", "value", "vector", "long", "other", "document")
_WORDS = {"image": "pictures", "audio": "sound"}

#: Where failures come from: a run, its frame of failures, the last run over the same rows (None), or nowhere (False).
Failures: TypeAlias = "Report | pd.DataFrame | Literal[False] | None"
#: By position: code and message.
Errors: TypeAlias = "Mapping[int, tuple[object, str]]"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column as it is shown.

    Attributes
    ----------
    name : str
    cells : Series
    kind : str
        What its cells are; "long" for long text.
    names : bool
        Whether its texts are meant to name files.
    files : Folder or None
        The folder in which they may.
    """

    name: str
    cells: pd.Series[Any]
    kind: CellKind | Literal["long"]
    names: bool = False
    files: Folder | None = None


def named_columns(
    data: rows.Frame, columns: Hashable | Sequence[Hashable], *, names: bool = False, files: Folder | None = None
) -> list[Column]:
    """Return the columns of these names; ``names=True`` takes their texts for names of files.

    Raises
    ------
    ColumnError
        There is no column of a name, or there are several.
    """
    frame = rows.as_frame(data)
    wanted = list(columns) if isinstance(columns, (list, pd.Index)) else [columns]
    return [_column(label, rows.column(frame, label), files, names) for label in wanted]


def choose_columns(data: rows.Frame, files: Folder | None = None) -> tuple[list[Column], list[str]]:
    """Return the columns to show, media first, then what is short; and the names of those left out."""
    ranked = sorted(_all_columns(data, files), key=lambda column: _ORDER.index(column.kind))
    return ranked[:_MAX_COLUMNS], [column.name for column in ranked[_MAX_COLUMNS:]]


def media_column(data: rows.Frame, column: Hashable, kind: CellKind, folder: Folder | None) -> Column:
    """Return the column of pictures or sound: the named one, or the first; texts name files of the folder.

    Raises
    ------
    ColumnError
        There is no such column, or its texts are not names of files.
    """
    what = _WORDS.get(kind, kind)
    if column is not None:
        found = named_columns(data, column, names=True, files=folder)[0]
    elif isinstance(data, pd.Series):  # no other column can be meant
        found = _column(rows.as_frame(data).columns[0], data, folder, names=True)
    else:
        known = _all_columns(data, folder)
        if not (fitting := [each for each in known if each.kind == kind]):
            hint = "" if folder else ' (Texts name files only in the folder of files="folder".)'
            raise ColumnError(f"No column holds {what}. Columns: {', '.join(c.name for c in known) or 'none'}.{hint}")
        found = fitting[0]
    some = list(islice((cell for cell in found.cells if not is_missing(cell)), _SAMPLE))
    if some and all(isinstance(cell, str) and not is_media_name(cell) and is_sentence(cell) for cell in some):
        raise ColumnError(
            f"Column {found.name!r} holds texts, not {what}: they are neither names of files nor addresses. "
            "df.cfai.preview() shows texts."
        )
    return found


def _all_columns(data: rows.Frame, files: Folder | None) -> list[Column]:
    frame = rows.as_frame(data)
    return [_column(label, frame.iloc[:, at], files) for at, label in enumerate(frame.columns)]


def _column(label: Hashable, cells: pd.Series[Any], files: Folder | None, names: bool = False) -> Column:
    kind, named = _kind(cells, files)
    return Column(str(label), cells, kind, names or named, files)


def _kind(cells: pd.Series[Any], files: Folder | None) -> tuple[CellKind | Literal["long"], bool]:
    """Return what a column holds, and whether its texts name files."""
    if pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return "value", False
    head = list(islice((cell for cell in cells if not is_missing(cell)), _SAMPLE))
    if not head:
        return "value", False
    if all(isinstance(cell, str) for cell in head):
        if all(is_media_name(cell) for cell in head) and (kind := kind_of_name(head[0], files)) != "text":
            return kind, True
        return ("text" if sum(map(len, head)) <= _SHORT * len(head) else "long"), False
    kinds = [kind_of(cell) for cell in head]
    return max(kinds, key=kinds.count), False


def matching_rows(columns: Sequence[Column], index: pd.Index[Any], text: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows that have a text in a cell, a file's name or their label, in any case."""
    wanted = text.casefold()
    if not wanted:
        return np.arange(len(index), dtype=np.int64)
    held = np.fromiter((wanted in str(label).casefold() for label in index), dtype=bool, count=len(index))
    for column in columns:
        if column.kind not in ("vector", "other"):
            words = (_searchable(cell) for cell in column.cells)
            held |= np.fromiter((wanted in word.casefold() for word in words), dtype=bool, count=len(index))
    return np.flatnonzero(held).astype(np.int64)


def _searchable(cell: Any) -> str:
    if isinstance(cell, str):
        return "" if cell[:5].lower() == "data:" else cell
    if isinstance(cell, PurePath):
        return cell.name
    if isinstance(cell, bytes) or not pd.api.types.is_scalar(cell) or pd.isna(cell):
        return ""
    return (
        "" if isinstance(cell, int) and cell.bit_length() > 1_000 else str(cell)
    )  # Python refuses to write longer ones


def errors_of(failures: Failures, index: pd.Index[Any]) -> Errors:
    """Return the errors of the rows, by position.

    Parameters
    ----------
    failures : Report, DataFrame, False or None
        A run, or its ``failures`` (``row``, ``code``, ``message``); None takes the last run if it was over this very
        index; False returns no errors.
    index : Index

    Raises
    ------
    TypeError
        It is something else.
    """
    if failures is False:
        return {}
    if failures is None:
        try:
            last = call.last_run()
        except LookupError:
            return {}
        return _by_position(last) if last.covers(index) else {}
    if isinstance(failures, Report):
        if failures.covers(index):
            return _by_position(failures)
        failures = failures.failures
    if not isinstance(failures, pd.DataFrame) or not {"row", "code", "message"} <= set(failures.columns):
        raise TypeError("failures= takes a run such as cf.last_run(), or its .failures with row, code and message")
    errors = {row: (code, str(why)) for row, code, why in failures[["row", "code", "message"]].itertuples(index=False)}
    found = {at: errors[label] for at, label in enumerate(index) if label in errors}
    twice = index.duplicated(keep=False)
    return {at: (code, f"a row of this label: {why}" if twice[at] else why) for at, (code, why) in found.items()}


def _by_position(report: Report) -> Errors:
    return {at: (error.code, str(error)) for at, error in report.errors.items()}


def failed_columns(columns: Sequence[Column], errors: Errors) -> set[int]:
    """Return which columns a run left empty: those that are missing in every row that failed."""
    failed = list(errors)
    return {at for at, column in enumerate(columns) if failed and bool(column.cells.iloc[failed].isna().all())}


def mark_of(data: rows.Frame, columns: Sequence[Column]) -> str:
    """Return the stamp where the data say that they come from the emulator or its local stand-in."""
    cells = (column.cells if column.kind == "vector" else column.cells.iloc[:0] for column in columns)
    return stand_in_of(data.iloc[:0], *cells)
