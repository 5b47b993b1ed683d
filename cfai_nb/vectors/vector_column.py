"""A column of vectors, read as one matrix without copying it.

Takes the cells of a column (from ``embed``, from a file, plain arrays or lists), and is sliced like a matrix by the
functions of this room; the vector verbs put results back on the cells with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .matrix import Matrix, Numbers
from .vector import Space, base_and_rows, same_space, space_of


class VectorColumn:
    """The vectors of a column, without its missing cells.

    A column as ``embed`` returns it is a list of rows of one matrix, some repeated, some missing: stacking it would
    copy all of it.  This is sliced like a matrix of shape (n, d) and copies only the rows of the slice.

    Parameters
    ----------
    cells : iterable
        Vectors, plain arrays, or lists of numbers (as read from a file); None, NaN and NA are missing.

    Attributes
    ----------
    present : ndarray of bool, shape (cells,)
        Which cells hold a vector.
    positions : ndarray of int64, shape (n,)
        The positions of those cells.
    space : Space or None
        Where the vectors come from; None if they do not record it.

    Raises
    ------
    ValueError
        A cell is not a vector, or the vectors differ in length or space.
    """

    def __init__(self, cells: Iterable[Any]) -> None:
        every = cells.tolist() if isinstance(cells, pd.Series) else list(cells)
        plain = set(map(type, every)) <= {float, type(None), type(pd.NA), type(pd.NaT)}
        whole = not plain and all(issubclass(kind, np.ndarray) for kind in set(map(type, every)))
        self.present: npt.NDArray[np.bool_] = (
            np.ones(len(every), dtype=bool) if whole else np.array([not _missing(cell) for cell in every], dtype=bool)
        )
        self.positions: Numbers = np.flatnonzero(self.present)
        there = every if whole else [_array(every[at], at) for at in self.positions.tolist()]
        found = base_and_rows(there) if there else None
        self._base: Matrix | None = None if found is None else found[0]
        self._rows: Numbers = np.arange(len(there)) if found is None else found[1]
        self._cells: Sequence[Any] = there if found is None else ()
        if found is not None:
            self.space: Space | None = space_of(there[0])
            self.shape = (len(there), found[0].shape[1])
        else:
            self.space = same_space(there)
            alone = [] if self.space is None else [at for at, cell in enumerate(there) if space_of(cell) is None]
            if alone:
                raise ValueError(
                    f"row {self.positions[alone[0]]} does not record which model made its vector; other rows are from "
                    f"{self.space}. Embed the rows again."
                )
            sizes = sorted({cell.shape for cell in there})
            if len(sizes) > 1 or any(len(size) != 1 for size in sizes):
                raise ValueError(f"give one vector per row, all of one length; these have the shapes {sizes[:5]}")
            self.shape = (len(there), sizes[0][0] if sizes else 0)
        self._run = len(self._rows) > 0 and bool((np.diff(self._rows) == 1).all())

    @property
    def base_rows(self) -> tuple[Matrix | None, Numbers]:
        """The matrix behind the column, and which of its rows the vectors are; None if there is no such matrix."""
        return self._base, self._rows

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Numbers) -> Matrix:
        if self._base is None:
            chosen = self._cells[rows] if isinstance(rows, slice) else [self._cells[at] for at in rows.tolist()]
            return np.array(chosen, dtype=np.float32).reshape(len(chosen), self.shape[1])
        if self._run and isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return np.asarray(self._base)[self._rows[0] + start : self._rows[0] + stop : step]
        return np.asarray(self._base)[self._rows[rows]]

    def select(self, wanted: npt.NDArray[np.bool_]) -> VectorColumn:
        """Return the vectors of the cells where the mask `wanted` is true."""
        some = object.__new__(VectorColumn)
        chosen = np.flatnonzero(wanted[self.positions])
        some.present, some.positions, some.space = self.present & wanted, self.positions[chosen], self.space
        some._base, some._rows, some._cells = self._base, self._rows[chosen], self._cells
        if self._base is None:
            some._cells, some._rows = [self._cells[at] for at in chosen.tolist()], np.arange(len(chosen))
        some.shape = (len(chosen), self.shape[1])
        some._run = len(chosen) > 0 and bool((np.diff(some._rows) == 1).all())
        return some

    def to_matrix(self) -> Matrix:
        """Return the matrix: a view where the vectors are consecutive rows of one, a copy otherwise."""
        return self[:]

    def per_cell(self, values: npt.NDArray[Any], missing: Any, dtype: Any) -> npt.NDArray[Any]:
        """Return one value per cell: the value of its vector, or `missing`."""
        made = np.full(len(self.present), missing, dtype=dtype)
        made[self.positions] = values
        return made


def _missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)


def _array(cell: Any, at: int) -> Any:
    if isinstance(cell, np.ndarray):
        return cell
    try:
        if isinstance(cell, (list, tuple)):
            return np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"row {at} is not a vector but {type(cell).__name__}: {str(cell)[:40]!r}")
