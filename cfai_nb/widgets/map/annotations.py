"""A frame that labels are written into, and taken back from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from ...frame.rows import column


class Labelled:
    """A copy of a frame, with columns of labels.

    Parameters
    ----------
    data : DataFrame
        Is not changed.

    Attributes
    ----------
    frame : DataFrame
        The copy.
    """

    def __init__(self, data: pd.DataFrame) -> None:
        self.frame = data.copy()
        self._past: list[tuple[Hashable, pd.Series[Any] | None]] = []

    @property
    def columns(self) -> list[Hashable]:
        """Columns that were written and not all taken back."""
        return list(dict.fromkeys(name for name, _ in self._past))

    def write(self, rows: Sequence[int], label: str, name: Hashable) -> None:
        """Write a label into a column for the rows at these positions; other rows keep what they have.

        Raises
        ------
        ValueError
            The column is there already and holds no text.
        """
        cells: pd.Series[Any]
        if name in self.frame.columns:
            cells = column(self.frame, name).astype(object)
            if not cells.dropna().map(lambda cell: isinstance(cell, str)).all():
                raise ValueError(
                    f"column {name!r} holds {self.frame[name].dtype}, not text; choose another with as_column="
                )
        else:
            cells = pd.Series([None] * len(self.frame), index=self.frame.index, dtype=object)
        cells = cells.copy()
        cells.iloc[list(rows)] = label
        self.put(name, cells)

    def put(self, name: Hashable, cells: pd.Series[Any]) -> None:
        """Set a whole column, by position."""
        self._past.append((name, self.frame[name] if name in self.frame.columns else None))
        self.frame[name] = cells.array

    def undo(self) -> Hashable:
        """Take back what was written last; returns the column.

        Raises
        ------
        ValueError
            Nothing is left to take back.
        """
        if not self._past:
            raise ValueError("nothing to undo: no label was written")
        name, before = self._past.pop()
        if before is None:
            del self.frame[name]
        else:
            self.frame[name] = before.array
        return name
