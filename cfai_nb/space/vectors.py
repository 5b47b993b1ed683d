"""One shape for all comers: a checked matrix of vectors, and the same of length one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def checked(matrix: npt.ArrayLike) -> Matrix:
    """Return `matrix` as float32 of shape (n, d), a view where it is one already.

    Raises
    ------
    ValueError
        If it is not two-dimensional, or holds NaN or infinity: a missing vector has no place in a space.
    """
    try:
        rows = np.asarray(matrix, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError("the vectors do not make a matrix: rows of numbers of one length are needed") from error
    if rows.size == 0 and rows.ndim < 2:
        rows = rows.reshape(0, 0)
    if rows.ndim != 2:
        raise ValueError(f"a matrix with one vector a row is needed, got an array of shape {rows.shape}")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(f"{len(bad)} of {len(rows)} vectors hold NaN or infinity (the first is row {bad[0]})")
    return rows


def directions(matrix: Matrix) -> Matrix:
    """Return the vectors with length one, so that distance means angle; a vector of zeros stays as it is."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1), dtype=np.float32)


def distinct(matrix: Matrix) -> int:
    """Count the different rows by their bytes: a fraction of the time of a sort by columns."""
    if matrix.shape[1] == 0:
        return min(1, len(matrix))
    rows = np.ascontiguousarray(matrix + np.float32(0))  # -0.0 and 0.0 are one number with two spellings
    return len({row.tobytes() for row in rows})


def leading(matrix: Matrix, width: int, seed: int) -> npt.NDArray[np.float64]:
    """Return the coordinates in the `width` directions of most variance, zeros where there are fewer directions."""
    from sklearn.decomposition import PCA

    possible = min(width, *matrix.shape)
    solver = "full" if min(matrix.shape) <= 200 else "randomized"  # exact where that costs nothing
    flat = PCA(n_components=possible, svd_solver=solver, random_state=seed).fit_transform(matrix)
    return np.pad(np.asarray(flat, dtype=np.float64), ((0, 0), (0, max(0, width - possible))))
