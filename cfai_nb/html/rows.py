"""Which rows are shown, what failed in them, and who made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..frame import call
from ..frame import rows as frames
from ..frame.report import Report
from ..vectors.vector import is_emulated
from .columns import Column

#: Where failures come from: a run, its list of failures, the last run over the same rows (None), or nowhere (False).
Failures: TypeAlias = "Report | pd.DataFrame | Literal[False] | None"
#: By position: code and message.
Errors: TypeAlias = "Mapping[int, tuple[object, str]]"


def matching(columns: Sequence[Column], index: pd.Index[Any], text: str) -> npt.NDArray[np.int64]:
    """Return the positions of the rows that have a text in a cell, a file's name or their label, in any case."""
    wanted = text.casefold()
    if not wanted:
        return np.arange(len(index), dtype=np.int64)
    held = np.fromiter((wanted in str(label).casefold() for label in index), dtype=bool, count=len(index))
    for column in columns:
        if column.sort not in ("vector", "other"):
            words = (_words(cell) for cell in column.cells)
            held |= np.fromiter((wanted in word.casefold() for word in words), dtype=bool, count=len(index))
    return np.flatnonzero(held).astype(np.int64)


def _words(cell: Any) -> str:
    if isinstance(cell, str):
        return "" if cell[:5].lower() == "data:" else cell
    if isinstance(cell, PurePath):
        return cell.name
    if isinstance(cell, bytes) or not pd.api.types.is_scalar(cell) or pd.isna(cell):
        return ""
    return "" if isinstance(cell, int) and cell.bit_length() > 1_000 else str(cell)  # Python writes no longer ones


def errors_of(failures: Failures, index: pd.Index[Any]) -> Errors:
    """Return what went wrong, by position.

    Parameters
    ----------
    failures : Report, DataFrame, False or None
        A run, or its ``failures`` (``row``, ``code``, ``message``); None takes the last run if it was about this very
        index; False is none.
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
    said = {row: (code, str(why)) for row, code, why in failures[["row", "code", "message"]].itertuples(index=False)}
    found = {at: said[label] for at, label in enumerate(index) if label in said}
    twice = index.duplicated(keep=False)
    return {at: (code, f"a row of this label: {why}" if twice[at] else why) for at, (code, why) in found.items()}


def _by_position(report: Report) -> Errors:
    return {at: (error.code, str(error)) for at, error in report.errors.items()}


def failed_in(columns: Sequence[Column], errors: Errors) -> set[int]:
    """Return which columns a run left empty: those that are missing in every row that failed."""
    if not errors:
        return set()
    rows = list(errors)
    return {at for at, column in enumerate(columns) if bool(column.cells.iloc[rows].isna().all())}


def mark_of(data: frames.Frame, columns: Sequence[Column]) -> str:
    """Return "emulator" where what is shown says that it was made by it."""
    cells = (column.cells if column.sort == "vector" else column.cells.iloc[:0] for column in columns)
    return "emulator" if is_emulated(data.iloc[:0], *cells) else ""
