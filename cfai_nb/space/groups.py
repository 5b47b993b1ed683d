"""Groups among vectors: `cluster`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from .threads import limited
from .vectors import Matrix, checked, directions, distinct, leading

Labels = npt.NDArray[np.int64]

_TRIED = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18)  # more groups than that are not read off a picture
# The silhouette of 768 directions is nearly flat and climbs with k; that of the leading ones has a peak where the
# groups are (lexical vectors of 1,000 docstrings: 0.03 at every k, against 0.25 at the best). k groups span k - 1.
_LEADING = 12
_JUDGED = 2_000  # rows on which the choices of k are compared: n x n distances of more are slow and say the same


def cluster(matrix: npt.ArrayLike, k: Literal["auto"] | int = "auto", seed: int = 0) -> Labels:
    """Give every vector the number of its group: KMeans by angle, in the directions of most variance.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector a row, without NaN. n may be 0.
    k : "auto" or int, default "auto"
        How many groups. ``"auto"`` takes, of 2 to 18 groups, the number with the best silhouette on a sample of at
        most 2,000 vectors; for fewer than three different vectors it is one group for each.
    seed : int, default 0
        The same seed and vectors give the same groups.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): 0 is the largest group, 1 the next. Where there are fewer different vectors than `k`,
        there are as many groups as different vectors.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional or holds NaN or infinity, or `k` is neither "auto" nor at least 1.
    """
    if k != "auto" and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise ValueError(f"k must be 'auto' or a whole number of at least 1, not {k!r}")
    rows = directions(checked(matrix))
    different = distinct(rows)
    if different < 2 or k == 1:
        return np.zeros(len(rows), dtype=np.int64)
    if k == "auto":
        wanted = _choose(_reduce(rows, _LEADING, seed), different, seed) if different > 2 else 2
    else:
        wanted = min(int(k), different)
    return _by_size(_kmeans(_reduce(rows, max(_LEADING, wanted), seed), wanted, seed, starts=4))


def _reduce(rows: Matrix, width: int, seed: int) -> Matrix:
    return rows if rows.shape[1] <= width else directions(leading(rows, width, seed).astype(np.float32))


def _choose(rows: Matrix, different: int, seed: int) -> int:
    """The number of groups with the best silhouette on a sample."""
    from sklearn.metrics import pairwise_distances, silhouette_score

    if len(rows) > _JUDGED:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), _JUDGED, replace=False))]
    different = min(different, distinct(rows))
    distances = pairwise_distances(rows)
    np.fill_diagonal(distances, 0)  # rounding leaves traces there
    scores: dict[int, float] = {}
    for count in _TRIED:
        if count > different or count >= len(rows):
            break
        labels = _kmeans(rows, count, seed, starts=2)
        scores[count] = float(silhouette_score(distances, labels, metric="precomputed"))
    return max(scores, key=lambda count: scores[count], default=1)


def _kmeans(rows: Matrix, count: int, seed: int, starts: int) -> Labels:
    """KMeans labels, numbered as they come."""
    from sklearn.cluster import KMeans

    # In twelve directions the work is too small to share: threads waited for one another, seconds on a busy machine.
    with limited(1):
        return np.asarray(KMeans(count, n_init=starts, random_state=seed).fit_predict(rows), dtype=np.int64)


def _by_size(labels: Labels) -> Labels:
    """Renumber so that 0 is the largest group; of two as large, the one met first."""
    found, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.lexsort((first, -sizes))] = np.arange(len(found))
    return rank[inverse]
