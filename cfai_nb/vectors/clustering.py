"""Clusters of vectors (``cluster``), and an order of rows in which neighbors are alike (``leaf_order``)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from .matrix import (
    Matrix,
    Numbers,
    Vectors,
    checked,
    count_distinct,
    limit_threads,
    normalized,
    principal_components,
    sample,
    unit_rows,
)

_TRIED = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18)  # more clusters cannot be told apart in a picture
# The silhouette in 768 dimensions is nearly flat and climbs with k; in the first components it has a peak at the true
# number of clusters (lexical vectors of 1,000 docstrings: 0.03 at every k, against 0.25 at the best).
_COMPONENTS = 12
_COUNTED = 20_000  # rows whose distinct values are counted
_SCORED = 2_000  # rows on which the numbers of clusters are compared: more make n x n distances slow, not better
_OPTIMAL = 300  # rows up to which branches are flipped optimally: the time grows with the cube of the rows


@takes_options()
def cluster(
    matrix: Any, n_clusters: Literal["auto"] | int = "auto", random_state: int = 0, *, method: str = "kmeans",
    min_cluster_size: int | None = None,
) -> Numbers:  # fmt: skip
    """Assign every vector to a cluster, by angle, in the first principal components.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d): one vector per row, without NaN. n may be 0.
    n_clusters : "auto" or int, default "auto"
        Number of clusters of KMeans. ``"auto"`` takes, of 2 to 18, the number with the best silhouette on a sample of
        at most 2,000 vectors; with fewer than three distinct vectors each is a cluster.
    random_state : int, default 0
        The same value and vectors give the same clusters.
    method : {"kmeans", "hdbscan"}, default "kmeans"
        ``"kmeans"`` assigns every vector. ``"hdbscan"`` finds dense clusters, as many as there are, and calls the
        rest noise: for texts that is often more than half.
    min_cluster_size : int, optional
        Minimum number of members of a cluster of HDBSCAN; default 1% of the vectors, at least 5.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): 0 is the largest cluster, 1 the next, -1 noise (HDBSCAN only). With fewer distinct vectors
        than `n_clusters` there are as many clusters as distinct vectors.

    Raises
    ------
    ValueError
        The matrix is not two-dimensional or holds NaN or infinity, `n_clusters` is neither "auto" nor at least 1, or
        the method is unknown or does not take one of the arguments.
    """
    whole = isinstance(n_clusters, (int, np.integer)) and not isinstance(n_clusters, bool)
    if n_clusters != "auto" and not (whole and n_clusters >= 1):
        raise ValueError(f"n_clusters must be 'auto' or a whole number of at least 1, not {n_clusters!r}")
    if method not in ("kmeans", "hdbscan"):
        raise ValueError(f"method must be 'kmeans' or 'hdbscan', not {method!r}")
    if (method == "hdbscan" and n_clusters != "auto") or (method == "kmeans" and min_cluster_size is not None):
        raise ValueError(
            "n_clusters= is for 'kmeans', and min_cluster_size= for 'hdbscan', which finds their number itself"
        )
    rows = checked(matrix)
    different = count_distinct(unit_rows(rows, sample(len(rows), _COUNTED, random_state)))
    if different < 2 or n_clusters == 1:
        return np.zeros(len(rows), dtype=np.int64)
    if method == "hdbscan":
        return _by_size(_hdbscan(_reduced(rows, _COMPONENTS, random_state), min_cluster_size))
    if n_clusters == "auto":
        wanted = _best_k(_reduced(rows, _COMPONENTS, random_state), different, random_state) if different > 2 else 2
    else:
        wanted = min(int(n_clusters), different)
    return _by_size(_kmeans(_reduced(rows, max(_COMPONENTS, wanted), random_state), wanted, random_state, n_init=4))


def _reduced(rows: Vectors, count: int, random_state: int) -> Matrix:
    if rows.shape[1] > count:
        rows = principal_components(rows, count, random_state).astype(np.float32)
    return normalized(rows)


def _best_k(rows: Matrix, different: int, random_state: int) -> int:
    """Return the number of clusters with the best silhouette on a sample."""
    from sklearn.metrics import pairwise_distances, silhouette_score

    rows = rows[sample(len(rows), _SCORED, random_state)]
    different = min(different, count_distinct(rows))
    distances = pairwise_distances(rows)
    np.fill_diagonal(distances, 0)  # rounding leaves traces there
    scores: dict[int, float] = {}
    for count in _TRIED:
        if count > different or count >= len(rows):
            break
        labels = _kmeans(rows, count, random_state, n_init=2)
        scores[count] = float(silhouette_score(distances, labels, metric="precomputed"))
    return max(scores, key=lambda count: scores[count], default=1)


def _kmeans(rows: Matrix, count: int, random_state: int, n_init: int) -> Numbers:
    from sklearn.cluster import KMeans

    # In twelve dimensions the work is too small to share: threads waited for one another, seconds on a busy machine.
    with limit_threads(1):
        return np.asarray(KMeans(count, n_init=n_init, random_state=random_state).fit_predict(rows), dtype=np.int64)


def _hdbscan(rows: Matrix, min_cluster_size: int | None) -> Numbers:
    from sklearn.cluster import HDBSCAN

    size = max(5, len(rows) // 100) if min_cluster_size is None else min_cluster_size
    if len(rows) < 2 * size:
        return np.full(len(rows), -1, dtype=np.int64)
    found = HDBSCAN(min_cluster_size=size, min_samples=min(5, size), copy=True).fit_predict(rows)
    return np.asarray(found, dtype=np.int64)


def _by_size(labels: Numbers) -> Numbers:
    """Renumber so that 0 is the largest cluster; of equal sizes the one met first comes first. Noise stays -1."""
    found, first, inverse, sizes = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    noise = int(found[0] == -1)
    rank[np.lexsort((first, -sizes, found != -1))] = np.arange(len(found)) - noise
    return rank[inverse]


@takes_options()
def leaf_order(similarities: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the order of the leaves of an average-linkage tree: rows next to each other are alike.

    Parameters
    ----------
    similarities : numpy.ndarray
        Shape (n, n), symmetric, without NaN.

    Returns
    -------
    numpy.ndarray
        Shape (n,): row numbers.
    """
    count = len(similarities)
    if count < 3:
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage  # installed with scikit-learn

    distances = similarities.max() - similarities[np.triu_indices(count, 1)]
    tree = linkage(np.maximum(distances, 0).astype(np.float64), "average", optimal_ordering=count <= _OPTIMAL)
    return np.asarray(leaves_list(tree), dtype=np.intp)
