"""Vectors as one matrix: a column read without copying it, checked, and normalized in blocks.

Takes the cells of a column (`VectorColumn`) or an array, and returns float32.  All functions of this room work block by
block, so that a column of a million vectors is never copied whole; the vector verbs put results back on the cells with
`VectorColumn`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import takes_options
from .vector import Space, Vector, base_and_rows, same_space

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
#: Called with a text about the progress of a long computation.
OnProgress = Callable[[str], None]

#: Rows per block: 6 MB at 768 dimensions, which stay in the processor's cache.
BLOCK = 2_048
#: Rows the principal components are fitted on; more rows give the same ones, slower.
_FITTED_ON = 20_000


class Vectors(Protocol):
    """The argument of the functions of this room: an array of shape (n, d), or something that is sliced like one."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Rows and dimensions."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


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
        base, rows = (base_and_rows(there) if there else None) or (None, np.arange(len(there)))
        if base is not None:
            self.space: Space | None = getattr(there[0], "space", None)
            self._keep(base, rows, (), base.shape[1])
            return
        self.space = same_space(there)
        recorded = [getattr(cell, "space", None) is not None for cell in there]
        if any(recorded) and not all(recorded):
            raise ValueError(
                f"row {self.positions[recorded.index(False)]} does not record which model made its vector; other rows "
                f"are from {self.space}. Embed the rows again."
            )
        sizes = sorted({cell.shape for cell in there})
        if len(sizes) > 1 or any(len(size) != 1 for size in sizes):
            raise ValueError(f"give one vector per row, all of one length; these have the shapes {sizes[:5]}")
        self._keep(None, rows, there, sizes[0][0] if sizes else 0)

    def _keep(self, base: Matrix | None, rows: Numbers, cells: Sequence[Any], dims: int) -> None:
        """Set the source of the vectors: rows of a matrix, or the cells themselves."""
        self._base, self._rows, self._cells = base, rows, cells
        self.shape = (len(rows), dims)
        self._run = len(rows) > 0 and bool((np.diff(rows) == 1).all())  # consecutive rows of the matrix

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
        if self._base is None:
            some._keep(None, np.arange(len(chosen)), [self._cells[at] for at in chosen.tolist()], self.shape[1])
        else:
            some._keep(self._base, self._rows[chosen], (), self.shape[1])
        return some

    def finite(self) -> VectorColumn:
        """Return the finite vectors; a cell with NaN or infinity in its vector counts as missing."""
        whole = np.ones(len(self), dtype=bool)
        for part in blocks(len(self)):
            whole[part] = np.isfinite(self[part]).all(axis=1)
        wanted = self.present.copy()
        wanted[self.positions] = whole
        return self if whole.all() else self.select(wanted)

    def to_matrix(self) -> Matrix:
        """Return the matrix: a view where the vectors are consecutive rows of one, a copy otherwise."""
        return self[:]

    def per_cell(self, values: npt.NDArray[Any], missing: Any, dtype: Any) -> npt.NDArray[Any]:
        """Return one value per cell: the value of its vector, or `missing`."""
        made = np.full(len(self.present), missing, dtype=dtype)
        made[self.positions] = values
        return made


def matrix(vectors: Iterable[Any]) -> npt.NDArray[np.float32]:
    """Stack a column of vectors into a matrix.

    Parameters
    ----------
    vectors : Series or iterable of vectors
        All of one space, without missing cells (drop them first).

    Returns
    -------
    ndarray of float32, shape (rows, dims)
        A view, without copying, when the vectors are consecutive rows of one matrix (an embedded column without
        duplicates, in its order); a new array otherwise.

    Raises
    ------
    ValueError
        A cell is missing or is not a vector, or the vectors differ in length or space.

    Examples
    --------
    >>> cf.matrix(df.cfai.embed("text").dropna()).shape
    (600, 1024)
    """
    column = VectorColumn(vectors)
    if not column.present.all():
        raise ValueError(f"row {column.present.argmin()} holds no vector; drop missing rows first")
    return column.to_matrix()


def _missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or cell is pd.NaT or (isinstance(cell, float) and cell != cell)


def _array(cell: Any, at: int) -> Any:
    if isinstance(cell, np.ndarray):
        return cell
    try:
        if isinstance(cell, (list, tuple)) or (hasattr(cell, "to_numpy") and hasattr(cell, "__len__")):  # of Polars
            return np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError):
        pass
    raise ValueError(f"row {at} is not a vector but {type(cell).__name__}: {str(cell)[:40]!r}")


def no_progress(text: str) -> None:
    """Ignore progress: the default of ``on_progress``."""


def checked(matrix: Any) -> Vectors:
    """Return `matrix` as finite float32 of shape (n, d), or raise a ValueError; a ``VectorColumn`` stays one."""
    if isinstance(matrix, VectorColumn):
        norms(matrix)
        return matrix
    try:
        rows = np.asarray(matrix, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError("the vectors do not form a matrix: give rows of numbers, all of one length") from error
    if rows.size == 0 and rows.ndim < 2:
        rows = rows.reshape(0, 0)
    if rows.ndim != 2:
        raise ValueError(f"a matrix with one vector per row is needed, got an array of shape {rows.shape}")
    norms(rows)
    return rows


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover `count` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


#: Norms of read-only matrices behind columns, by the identity of the matrix; removed when the matrix is freed.
_known_norms: dict[int, tuple[weakref.ref[Any], Matrix]] = {}


def norms(matrix: Vectors) -> Matrix:
    """Return the Euclidean norm of every vector, shape (n,); one with NaN or infinity raises a ValueError."""
    if isinstance(matrix, VectorColumn):  # a column of most rows of its matrix reuses the norms of the matrix
        base, rows = matrix._base, matrix._rows
        if isinstance(base, Vector) and 2 * len(rows) >= len(base):
            found = _norms(base)
            if np.isfinite(found[rows]).all():
                return np.asarray(found[rows])
    found = _norms(matrix)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        first = matrix.positions[bad[0]] if isinstance(matrix, VectorColumn) else bad[0]
        raise ValueError(f"{len(bad)} of {len(found)} vectors hold NaN or infinity (the first is row {first})")
    return found


def _norms(matrix: Vectors) -> Matrix:
    fixed = isinstance(matrix, Vector) and not matrix.flags.writeable
    if fixed and id(matrix) in _known_norms and _known_norms[id(matrix)][0]() is matrix:
        return _known_norms[id(matrix)][1]
    found = np.empty(len(matrix), dtype=np.float32)
    for part in blocks(len(matrix)):
        rows = np.asarray(matrix[part], dtype=np.float32)
        np.einsum("ij,ij->i", rows, rows, out=found[part])
    np.sqrt(found, out=found)
    if fixed:
        key = id(matrix)
        _known_norms[key] = weakref.ref(matrix, lambda _: _known_norms.pop(key, None)), found
    return found


def unit_rows(matrix: Vectors, rows: slice | Numbers, known: Matrix | None = None) -> Matrix:
    """Return these rows scaled to norm one, so that distance means angle; a vector of zeros stays as it is."""
    part = np.asarray(matrix[rows], dtype=np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", part, part)) if known is None else known[rows]
    return np.asarray(part / np.where(length > 0, length, np.float32(1))[:, None], dtype=np.float32)


def normalized(matrix: Vectors) -> Matrix:
    """Return all vectors scaled to norm one, as a new matrix."""
    made = np.empty(matrix.shape, dtype=np.float32)
    length = norms(matrix)
    for part in blocks(len(matrix)):
        made[part] = unit_rows(matrix, part, length)
    return made


@takes_options()
def mean_direction(matrix: Vectors) -> Matrix:
    """Return the mean of the normalized vectors, shape (d,)."""
    total = np.zeros(matrix.shape[1])
    for part in blocks(len(matrix)):
        total += unit_rows(matrix, part).sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, len(matrix)), dtype=np.float32)


def sample(count: int, wanted: int, random_state: int) -> Numbers:
    """Return `wanted` of `count` row numbers in ascending order, or all of them."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(random_state).choice(count, wanted, replace=False))


def count_distinct(matrix: Matrix) -> int:
    """Count the distinct rows by their bytes: a fraction of the time of a sort by columns."""
    if matrix.shape[1] == 0:
        return min(1, len(matrix))
    rows = np.ascontiguousarray(matrix + np.float32(0))  # -0.0 and 0.0 are one number with two bit patterns
    return len({row.tobytes() for row in rows})


def principal_components(matrix: Vectors, count: int, random_state: int) -> npt.NDArray[np.float64]:
    """Return the coordinates of the normalized vectors in the first `count` principal components, shape (n, count).

    Zeros where there are fewer components.  Fitted on at most 20,000 rows, and applied to all in blocks.
    """
    from sklearn.decomposition import PCA

    some = unit_rows(matrix, sample(len(matrix), _FITTED_ON, random_state))
    possible = min(count, *some.shape)
    solver = "full" if min(some.shape) <= 200 else "randomized"  # exact where that is cheap
    fitted = PCA(n_components=possible, svd_solver=solver, random_state=random_state).fit(some)
    made = np.zeros((len(matrix), count))
    for part in blocks(len(matrix), 8 * BLOCK):
        made[part, :possible] = fitted.transform(unit_rows(matrix, part))
    return made


def limit_threads(count: int | None) -> AbstractContextManager[object]:
    """Return a context in which the numerical libraries use at most `count` threads; None changes nothing."""
    import threadpoolctl  # type: ignore[import-untyped]  # installed with scikit-learn

    return cast("AbstractContextManager[object]", threadpoolctl.threadpool_limits(count))
