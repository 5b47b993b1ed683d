"""Groups among vectors: `cluster`."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from .matrix import Matrix, Vectors, checked, directions, distinct, leading, sample, units
from .threads import limited

Labels = npt.NDArray[np.int64]

_TRIED = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18)  # more groups than that are not read off a picture
# The silhouette of 768 directions is nearly flat and climbs with k; that of the leading ones has a peak where the
# groups are (lexical vectors of 1,000 docstrings: 0.03 at every k, against 0.25 at the best). k groups span k - 1.
_LEADING = 12
_COUNTED = 20_000  # rows of which the different ones are counted
_JUDGED = 2_000  # rows on which the choices of k are compared: n x n distances of more are slow and say the same


@takes_options()
def cluster(
    matrix: Any, k: Literal["auto"] | int = "auto", seed: int = 0, *, method: str = "kmeans", least: int | None = None
) -> Labels:
    """Give every vector the number of its group: by angle, in the directions of most variance.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector a row, without NaN. n may be 0.
    k : "auto" or int, default "auto"
        How many groups KMeans makes. ``"auto"`` takes, of 2 to 18 groups, the number with the best silhouette on a
        sample of at most 2,000 vectors; for fewer than three different vectors it is one group for each.
    seed : int, default 0
        The same seed and vectors give the same groups.
    method : {"kmeans", "hdbscan"}, default "kmeans"
        ``"kmeans"`` gives every vector a group. ``"hdbscan"`` finds dense groups, as many as there are, and calls the
        rest noise: of texts that is often more than half.
    least : int, optional
        The fewest members of a group of HDBSCAN; default a hundredth of the vectors, at least 5.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): 0 is the largest group, 1 the next, -1 noise (of HDBSCAN only). Where there are fewer
        different vectors than `k`, there are as many groups as different vectors.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional or holds NaN or infinity, `k` is neither "auto" nor at least 1, or the
        method is unknown or does not take what is given for it.
    """
    if k != "auto" and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1):
        raise ValueError(f"k must be 'auto' or a whole number of at least 1, not {k!r}")
    if method not in ("kmeans", "hdbscan"):
        raise ValueError(f"method must be 'kmeans' or 'hdbscan', not {method!r}")
    if (method == "hdbscan" and k != "auto") or (method == "kmeans" and least is not None):
        raise ValueError("k= is for 'kmeans', and least= for 'hdbscan', which finds the number of groups itself")
    rows = checked(matrix)
    different = distinct(units(rows, sample(len(rows), _COUNTED, seed)))
    if different < 2 or k == 1:
        return np.zeros(len(rows), dtype=np.int64)
    if method == "hdbscan":
        return _by_size(_hdbscan(_reduce(rows, _LEADING, seed), least))
    if k == "auto":
        wanted = _choose(_reduce(rows, _LEADING, seed), different, seed) if different > 2 else 2
    else:
        wanted = min(int(k), different)
    return _by_size(_kmeans(_reduce(rows, max(_LEADING, wanted), seed), wanted, seed, starts=4))


def _reduce(rows: Vectors, width: int, seed: int) -> Matrix:
    return directions(rows if rows.shape[1] <= width else leading(rows, width, seed).astype(np.float32))


def _choose(rows: Matrix, different: int, seed: int) -> int:
    """The number of groups with the best silhouette on a sample."""
    from sklearn.metrics import pairwise_distances, silhouette_score

    rows = rows[sample(len(rows), _JUDGED, seed)]
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


def _hdbscan(rows: Matrix, least: int | None) -> Labels:
    """HDBSCAN labels, numbered as they come; -1 is noise."""
    from sklearn.cluster import HDBSCAN

    size = max(5, len(rows) // 100) if least is None else least
    if len(rows) < 2 * size:
        return np.full(len(rows), -1, dtype=np.int64)
    found = HDBSCAN(min_cluster_size=size, min_samples=min(5, size), copy=True).fit_predict(rows)
    return np.asarray(found, dtype=np.int64)


def _by_size(labels: Labels) -> Labels:
    """Renumber so that 0 is the largest group; of two as large, the one met first. Noise stays -1."""
    found, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    noise = int(found[0] == -1)
    rank[np.lexsort((first, -sizes, found != -1))] = np.arange(len(found)) - noise
    return rank[inverse]
