"""One shape for all comers: a checked matrix of vectors, and the same of length one, in blocks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from .vector import Vector

Matrix = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

#: Rows that are worked on at once: 6 MB of 768 dimensions, which stay in the processor's cache.
BLOCK = 2_048
#: Rows from which directions of most variance are found; more say the same, slower.
_LEARNED = 20_000


class Vectors(Protocol):
    """What the functions of this room read: an array of shape (n, d), or something that is sliced like one."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """Rows and dimensions."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


def checked(matrix: Any) -> Vectors:
    """Return `matrix` as float32 of shape (n, d), a view where it is one already; what is read in blocks stays so.

    Raises
    ------
    ValueError
        If it is not two-dimensional, or holds NaN or infinity: a missing vector has no place in a space.
    """
    if not isinstance(matrix, np.ndarray) and hasattr(matrix, "gathered"):
        lengths(matrix)
        return matrix  # type: ignore[no-any-return]
    try:
        rows = np.asarray(matrix, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError("the vectors do not make a matrix: rows of numbers of one length are needed") from error
    if rows.size == 0 and rows.ndim < 2:
        rows = rows.reshape(0, 0)
    if rows.ndim != 2:
        raise ValueError(f"a matrix with one vector a row is needed, got an array of shape {rows.shape}")
    lengths(rows)
    return rows


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Yield slices that cover `count` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


#: Lengths of matrices behind columns, which nobody can write to, by the identity of the matrix; gone when it is.
_known: dict[int, tuple[weakref.ref[Any], Matrix]] = {}


def lengths(matrix: Vectors) -> Matrix:
    """Return the length of every vector, shape (n,); kept for the matrix behind a column.

    Raises
    ------
    ValueError
        A vector holds NaN or infinity.
    """
    own = getattr(matrix, "gathered", None)
    if own is not None:  # a column: where it is most of its matrix, the lengths of the matrix serve again
        base, rows = own
        if isinstance(base, Vector) and 2 * len(rows) >= len(base):
            found = _lengths(base)
            if np.isfinite(found[rows]).all():
                return np.asarray(found[rows])
    found = _lengths(matrix)
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        where = getattr(matrix, "places", None)
        first = bad[0] if where is None else where[bad[0]]
        raise ValueError(f"{len(bad)} of {len(found)} vectors hold NaN or infinity (the first is row {first})")
    return found


def _lengths(matrix: Vectors) -> Matrix:
    fixed = isinstance(matrix, Vector) and not matrix.flags.writeable
    if fixed and id(matrix) in _known and _known[id(matrix)][0]() is matrix:
        return _known[id(matrix)][1]
    found = np.empty(len(matrix), dtype=np.float32)
    for part in blocks(len(matrix)):
        rows = np.asarray(matrix[part], dtype=np.float32)
        np.einsum("ij,ij->i", rows, rows, out=found[part])
    np.sqrt(found, out=found)
    if fixed:
        key = id(matrix)
        _known[key] = weakref.ref(matrix, lambda _: _known.pop(key, None)), found
    return found


def units(matrix: Vectors, rows: slice | Numbers, long: Matrix | None = None) -> Matrix:
    """Return these vectors with length one, so that distance means angle; a vector of zeros stays as it is."""
    part = np.asarray(matrix[rows], dtype=np.float32)
    known = np.sqrt(np.einsum("ij,ij->i", part, part)) if long is None else long[rows]
    return np.asarray(part / np.where(known > 0, known, np.float32(1))[:, None], dtype=np.float32)


def directions(matrix: Vectors) -> Matrix:
    """Return all vectors with length one: a new matrix as large as the old one."""
    made = np.empty(matrix.shape, dtype=np.float32)
    long = lengths(matrix)
    for part in blocks(len(matrix)):
        made[part] = units(matrix, part, long)
    return made


@takes_options()
def middle(matrix: Vectors) -> Matrix:
    """Return the mean direction of the vectors, shape (d,)."""
    total = np.zeros(matrix.shape[1])
    for part in blocks(len(matrix)):
        total += units(matrix, part).sum(axis=0, dtype=np.float64)
    return np.asarray(total / max(1, len(matrix)), dtype=np.float32)


def sample(count: int, wanted: int, seed: int) -> Numbers:
    """Return `wanted` of `count` rows in their order, or all of them."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, wanted, replace=False))


def distinct(matrix: Matrix) -> int:
    """Count the different rows by their bytes: a fraction of the time of a sort by columns."""
    if matrix.shape[1] == 0:
        return min(1, len(matrix))
    rows = np.ascontiguousarray(matrix + np.float32(0))  # -0.0 and 0.0 are one number with two spellings
    return len({row.tobytes() for row in rows})


def leading(matrix: Vectors, width: int, seed: int) -> npt.NDArray[np.float64]:
    """Return the coordinates of the vectors' directions in the `width` directions of most variance.

    Zeros where there are fewer directions.  Found from at most 20,000 rows, and applied to all in blocks.
    """
    from sklearn.decomposition import PCA

    some = units(matrix, sample(len(matrix), _LEARNED, seed))
    possible = min(width, *some.shape)
    solver = "full" if min(some.shape) <= 200 else "randomized"  # exact where that costs nothing
    found = PCA(n_components=possible, svd_solver=solver, random_state=seed).fit(some)
    flat = np.zeros((len(matrix), width))
    for part in blocks(len(matrix), 8 * BLOCK):
        flat[part, :possible] = found.transform(units(matrix, part))
    return flat
