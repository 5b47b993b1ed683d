"""The cells that a run delivers, by input, in whatever order its answers come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CfaiError
from ..vectors.vector import Space, views


class Sink:
    """Collects what a run delivers, in whatever order it comes.

    Parameters
    ----------
    count : int
        Number of distinct inputs.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.filled = np.zeros(count, dtype=bool)
        self.matrix: npt.NDArray[np.float32] | None = None
        self._cells: list[Any] | None = None

    def put(self, indexes: Sequence[int] | npt.NDArray[np.int64], cells: Any) -> None:
        """Take the cells of these inputs: the rows of a matrix, or a list."""
        if isinstance(cells, np.ndarray):
            if self.matrix is None:
                self.matrix = np.empty((self.count, cells.shape[1]), dtype=np.float32)
            if cells.shape[1] != self.matrix.shape[1]:
                raise CfaiError(
                    f"vectors of {cells.shape[1]} dimensions, where other rows of this run or the store have "
                    f'{self.matrix.shape[1]}; cache="refresh" asks for all of them again'
                )
            self.matrix[indexes] = cells
        else:
            if self._cells is None:
                self._cells = [None] * self.count
            for index, cell in zip(indexes, cells, strict=True):
                self._cells[index] = cell
                self.filled[index] = True
            return
        self.filled[indexes] = True

    def cells(self) -> list[Any]:
        """Return the cells by input; None where there is none."""
        return self._cells if self._cells is not None else [None] * self.count

    def vectors(self, where: npt.NDArray[np.int64], space: Space | None) -> list[Any]:
        """Return a vector a row, each a read-only view of one matrix; None where there is none.

        Parameters
        ----------
        where : ndarray of int64, shape (rows,)
            The input of each row; -1 for none.
        space : Space or None
        """
        if self.matrix is None:
            return [None] * len(where)
        return views(self.matrix, np.where((where >= 0) & self.filled[where], where, -1), space)
