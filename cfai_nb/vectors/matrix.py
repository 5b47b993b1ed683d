"""A checked matrix of vectors, read and normalized in blocks: the ground of every function of this room.

Takes an array or a ``VectorColumn``; what is returned is float32.  Work goes block by block, so that a column of a
million vectors is never copied whole.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from .vector import Vector

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
#: Called with a text that says how far a long computation is.
OnProgress = Callable[[str], None]

#: Rows per block: 6 MB at 768 dimensions, which stay in the processor's cache.
BLOCK = 2_048
#: Rows the principal components are fitted on; more rows give the same ones, slower.
_FITTED_ON = 20_000


class Vectors(Protocol):
    """What the functions of this room read: an array of shape (n, d), or something that is sliced like one."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Rows and dimensions."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


def no_progress(text: str) -> None:
    """Ignore progress: the default of ``on_progress``."""


def checked(matrix: Any) -> Vectors:
    """Return `matrix` as float32 of shape (n, d), without a copy where possible; a ``VectorColumn`` stays one.

    Raises
    ------
    ValueError
        It is not two-dimensional, or holds NaN or infinity.
    """
    if not isinstance(matrix, np.ndarray) and hasattr(matrix, "base_rows"):
        norms(matrix)
        return matrix  # type: ignore[no-any-return]
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
    """Return the Euclidean norm of every vector, shape (n,); cached for the matrix behind a column.

    Raises
    ------
    ValueError
        A vector holds NaN or infinity.
    """
    behind = getattr(matrix, "base_rows", None)
    if behind is not None:  # a column that takes most of its matrix reuses the norms of the matrix
        base, rows = behind
        if isinstance(base, Vector) and 2 * len(rows) >= len(base):
            found = _norms(base)
            if np.isfinite(found[rows]).all():
                return np.asarray(found[rows])
    found = _norms(matrix)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        positions = getattr(matrix, "positions", None)
        first = bad[0] if positions is None else positions[bad[0]]
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
