"""Comparisons by cosine, exact and in blocks: ``search``, ``similarity``, ``outliers``, ``duplicates``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import check_count, is_number, takes_options
from .matrix import (
    Matrix,
    Numbers,
    OnProgress,
    VectorColumn,
    Vectors,
    blocks,
    checked,
    no_progress,
    norms,
    sample,
    unit_rows,
)

#: Rows up to which ``outliers`` looks for neighbors among all; beyond, among a sample of as many.
OUTLIER_ROWS = 20_000
_QUERIES = 1_024
#: Two equal vectors have a cosine of 1 up to the rounding of float32.
_ROUNDING = 4e-6
#: Pairs of duplicates held before they are merged into groups: 64 MB.
_MAX_PAIRS = 4_000_000


@takes_options()
def similarity(matrix: Any, other: Any) -> Matrix:
    """Return the cosine of every vector with one other vector, or with the vector of the same row.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).
    other : array_like
        Shape (d,): the same for all; or (n, d): row by row.

    Returns
    -------
    numpy.ndarray
        float32, shape (n,), in [-1, 1]; 0 where one of the two is all zeros.

    Raises
    ------
    ValueError
        The shapes do not fit, or a vector holds NaN or infinity.
    """
    rows = checked(matrix)
    single = isinstance(other, (np.ndarray, list, tuple)) and np.ndim(other) == 1
    others = checked([other] if single else other)
    _same_dimensions(rows, others)
    if not single and len(others) != len(rows):
        raise ValueError(f"{len(rows)} vectors and {len(others)} to compare them with: one for each is needed")
    found = np.empty(len(rows), dtype=np.float32)
    known = norms(rows)
    one = unit_rows(others, slice(0, 1))[0] if single else None
    for part in blocks(len(rows)):
        block = np.asarray(rows[part], dtype=np.float32)
        found[part] = block @ one if one is not None else np.einsum("ij,ij->i", block, unit_rows(others, part))
        found[part] /= np.where(known[part] > 0, known[part], np.float32(1))
    return np.clip(found, -1, 1, out=found)


@takes_options()
def search(
    matrix: Any, queries: Any, top_k: int = 5, *, threshold: float | None = None, on_progress: OnProgress = no_progress
) -> tuple[Matrix, Numbers]:
    """Find the `top_k` vectors closest to each query by angle: exactly, in blocks, without an n-by-n matrix.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).  Read once per 1,024 queries; a few megabytes of memory are needed besides.
    queries : array_like
        Shape (q, d).
    top_k : int, default 5
        Results per query; at most n.
    threshold : float, optional
        Minimum cosine.
    on_progress : callable, optional
        Called with a text about the progress.

    Returns
    -------
    scores : numpy.ndarray
        float32, shape (q, min(top_k, n)): cosines in [-1, 1], best first; -inf where there are no more.
    rows : numpy.ndarray
        int64, same shape: row numbers in `matrix`; -1 where there are no more.

    Raises
    ------
    ValueError
        `top_k` is below 1, the dimensions differ, or a vector holds NaN or infinity.
    """
    check_count(top_k=top_k)
    rows, asked = checked(matrix), checked(queries)
    _same_dimensions(rows, asked)
    return _nearest(rows, asked, min(int(top_k), len(rows)), None, threshold, on_progress)


@takes_options()
def outliers(
    matrix: Any, n_neighbors: int = 10, *, among: int = OUTLIER_ROWS, random_state: int = 0,
    on_progress: OnProgress = no_progress,
) -> tuple[Matrix, str]:  # fmt: skip
    """Return the mean distance of each vector to its nearest neighbors.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).
    n_neighbors : int, default 10
        Number of neighbors (at most n - 1).
    among : int, default 20,000
        With up to so many vectors, neighbors are found among all; with more, among a random sample of this size, which
        makes all distances a little larger and leaves their order much the same.
    random_state : int, default 0
        For the sample.
    on_progress : callable, optional
        Called with a text about the progress.

    Returns
    -------
    scores : numpy.ndarray
        float32, shape (n,): the mean cosine distance (1 - cosine) to the `n_neighbors` nearest; NaN if there are none.
    note : str
        What was computed, in words.

    Raises
    ------
    ValueError
        `n_neighbors` is below 1, or a vector holds NaN or infinity.
    """
    check_count(n_neighbors=n_neighbors)
    rows = checked(matrix)
    chosen = sample(len(rows), among, random_state)
    known = rows if len(chosen) == len(rows) else np.asarray(rows[chosen], dtype=np.float32)
    own = np.full(len(rows), -1, dtype=np.int64)
    own[chosen] = np.arange(len(chosen))
    wanted = min(int(n_neighbors), len(chosen) - 1)
    if wanted < 1:
        return np.full(len(rows), np.nan, dtype=np.float32), "no neighbors"
    scores, _ = _nearest(known, rows, wanted, own, None, on_progress)
    limits = "" if len(chosen) == len(rows) else f" in a sample of {len(chosen):,} of {len(rows):,}"
    return 1 - scores.mean(axis=1), f"mean cosine distance to the {wanted} nearest others{limits}"


@takes_options()
def duplicates(matrix: Any, threshold: float = 0.95, *, on_progress: OnProgress = no_progress) -> Numbers:
    """Return the group of near duplicates of every vector.

    Two vectors are in one group if their cosine is at least `threshold`, or if a chain of such pairs connects them: the
    two ends of a chain can be less alike than that.  All pairs are compared, in blocks; no n-by-n matrix is built.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).  100,000 vectors of 768 dimensions are 8 * 10**12 operations: a minute or two on two cores.
    threshold : float, default 0.95
        In (0, 1].  A good value depends on the model: look at some groups first.
    on_progress : callable, optional
        Called with a text about the progress.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): groups are numbered in the order in which they first occur; most have one member.

    Raises
    ------
    ValueError
        The threshold is out of range, or a vector holds NaN or infinity.
    """
    if not is_number(threshold) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and up to 1, not {threshold!r}")
    rows = checked(matrix)
    if isinstance(rows, VectorColumn):
        rows = rows.to_matrix()
    count, known = len(rows), norms(rows)
    group = np.arange(count)
    pairs: list[Numbers] = []
    held = 0
    for first in blocks(count):
        if first.start:
            on_progress(f"{first.start:,} of {count:,}")
        one = unit_rows(rows, first, known)
        for second in blocks(count):
            if second.start < first.start:
                continue
            cosines = one @ (one if second == first else unit_rows(rows, second, known)).T
            alike = cosines >= threshold - _ROUNDING
            here, there = np.nonzero(np.triu(alike, 1) if second == first else alike)
            found = np.stack([group[here + first.start], group[there + second.start]])
            found = found[:, found[0] != found[1]]
            if found.shape[1]:
                pairs.append(found)
                held += found.shape[1]
            if held > _MAX_PAIRS:
                group, pairs, held = _merged(group, pairs), [], 0
    return np.unique(_merged(group, pairs), return_inverse=True)[1].astype(np.int64) if count else group


def _merged(group: Numbers, pairs: list[Numbers]) -> Numbers:
    """Return the groups after each of these pairs of groups is merged; each is numbered by its first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return group
    one, other = np.concatenate(pairs, axis=1)
    count = len(group)
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    merged = part[group]
    first = np.full(part.max() + 1, count, dtype=np.int64)
    np.minimum.at(first, merged, np.arange(count))
    return np.asarray(first[merged])


def _same_dimensions(one: Vectors, other: Vectors) -> None:
    if len(one) and len(other) and one.shape[1] != other.shape[1]:
        raise ValueError(f"vectors of {one.shape[1]} and of {other.shape[1]} dimensions cannot be compared")


def _nearest(
    rows: Vectors, queries: Vectors, k: int, own: Numbers | None, threshold: float | None, on_progress: OnProgress
) -> tuple[Matrix, Numbers]:
    """Return the best `k` rows of each query, without the query itself, which is the row `own` (-1: none)."""
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    found = np.full((len(queries), k), -1, dtype=np.int64)
    if k == 0:
        return scores, found
    if len(queries) > _QUERIES and isinstance(rows, VectorColumn):
        rows = rows.to_matrix()  # read many times: copied once
    known = norms(rows)
    for asked in blocks(len(queries), _QUERIES):
        if asked.start:
            on_progress(f"{asked.start:,} of {len(queries):,}")
        one = unit_rows(queries, asked)
        if threshold is not None:  # only better scores enter; the next smaller float turns "above" into "at least"
            scores[asked] = np.nextafter(np.float32(threshold), np.float32(-2))
        for part in blocks(len(rows)):
            block = one @ np.asarray(rows[part], dtype=np.float32).T
            block /= np.where(known[part] > 0, known[part], np.float32(1))
            np.clip(block, -1, 1, out=block)
            if own is not None:
                here = np.flatnonzero((own[asked] >= part.start) & (own[asked] < part.stop))
                block[here, own[asked][here] - part.start] = -np.inf
            _merge(scores[asked], found[asked], block, part.start)
    scores[found < 0] = -np.inf
    return scores, found


def _merge(scores: Matrix, found: Numbers, block: Matrix, start: int) -> None:
    """Merge a block of scores into the best `k` so far, in place; of equal scores the first row stays."""
    count, k = scores.shape
    better = block > scores[:, -1:]
    if k < block.shape[1] and np.count_nonzero(better) > 8 * count * k:
        better &= block >= np.partition(block, -k, axis=1)[:, -k, None]
    who, where = np.nonzero(better)
    if not len(who):
        return
    owner = np.concatenate([np.repeat(np.arange(count), k), who])
    every = np.concatenate([scores.ravel(), block[who, where]])
    place = np.concatenate([found.ravel(), where + start])
    order = np.lexsort((place, -every, owner))
    first = np.searchsorted(owner[order], np.arange(count))
    best = order[first[:, None] + np.arange(k)]
    scores[:], found[:] = every[best], place[best]
