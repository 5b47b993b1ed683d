"""A column of vectors as the matrix it amounts to, without making one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .matrix import Matrix, Numbers
from .vector import Space, located, same_space, space_of


class Gathered:
    """The vectors of a column that are there, read in blocks.

    A column as ``embed`` returns it is a list of rows of one matrix, some twice, some missing: stacking it would copy
    all of it.  This is sliced like a matrix of shape (n, d) and copies no more than the rows that are asked for.

    Parameters
    ----------
    cells : iterable
        Vectors, plain arrays, or lists of numbers (as a file brings them back); missing where None, NaN or NA.

    Attributes
    ----------
    kept : ndarray of bool, shape (cells,)
        Which cells hold a vector.
    places : ndarray of int64, shape (n,)
        The positions of those cells.
    space : Space or None
        Where the vectors come from; None if they do not know.

    Raises
    ------
    ValueError
        Cells are no vectors, of several lengths, or of different spaces.
    """

    def __init__(self, cells: Iterable[Any]) -> None:
        every = cells.tolist() if isinstance(cells, pd.Series) else list(cells)
        plain = set(map(type, every)) <= {float, type(None), type(pd.NA), type(pd.NaT)}
        whole = not plain and all(issubclass(kind, np.ndarray) for kind in set(map(type, every)))
        self.kept: npt.NDArray[np.bool_] = (
            np.ones(len(every), dtype=bool) if whole else np.array([not _missing(cell) for cell in every], dtype=bool)
        )
        self.places: Numbers = np.flatnonzero(self.kept)
        there = every if whole else [_array(every[at], at) for at in self.places.tolist()]
        found = located(there) if there else None
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
                    f"row {self.places[alone[0]]} does not record which model made its vector, and others are of "
                    f"{self.space}; embed the rows again"
                )
            sizes = sorted({cell.shape for cell in there})
            if len(sizes) > 1 or any(len(size) != 1 for size in sizes):
                raise ValueError(f"one vector a row is needed, all of one length; these have the shapes {sizes[:5]}")
            self.shape = (len(there), sizes[0][0] if sizes else 0)
        self._run = len(self._rows) > 0 and bool((np.diff(self._rows) == 1).all())

    @property
    def gathered(self) -> tuple[Matrix | None, Numbers]:
        """The matrix behind the column, and which of its rows the vectors are; None if there is none."""
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

    def only(self, wanted: npt.NDArray[np.bool_]) -> Gathered:
        """Return the vectors of these cells alone; `wanted` is a mask over the cells."""
        some = object.__new__(Gathered)
        chosen = np.flatnonzero(wanted[self.places])
        some.kept, some.places, some.space = self.kept & wanted, self.places[chosen], self.space
        some._base, some._rows, some._cells = self._base, self._rows[chosen], self._cells
        if self._base is None:
            some._cells, some._rows = [self._cells[at] for at in chosen.tolist()], np.arange(len(chosen))
        some.shape = (len(chosen), self.shape[1])
        some._run = len(chosen) > 0 and bool((np.diff(some._rows) == 1).all())
        return some

    def whole(self) -> Matrix:
        """Return the matrix: a view where the vectors are consecutive rows of one, a copy otherwise."""
        return self[:]

    def spread(self, values: npt.NDArray[Any], missing: Any, dtype: Any) -> npt.NDArray[Any]:
        """Return one value a cell: those of the vectors, and `missing` where there is none."""
        made = np.full(len(self.kept), missing, dtype=dtype)
        made[self.places] = values
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
    raise ValueError(f"row {at} holds no vector but {type(cell).__name__}: {str(cell)[:40]!r}")
