"""Who lies next to whom, exactly and in blocks: `search`, `similarity`, `outliers`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import takes_options
from .matrix import Matrix, Numbers, Vectors, blocks, checked, lengths, sample, units

#: Is told how far a long piece of work is.
Tell = Callable[[str], None]
#: Rows among which neighbours are looked for; beyond, a sample of as many stands in for all.
OUTLIER_ROWS = 20_000
_QUERIES = 1_024


def silent(text: str) -> None:
    """Tell nobody."""


@takes_options()
def similarity(matrix: Any, other: Any) -> Matrix:
    """Return the cosine of every vector with one other, or with its counterpart.

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
    _same_width(rows, others)
    if not single and len(others) != len(rows):
        raise ValueError(f"{len(rows)} vectors and {len(others)} to compare them with: one for each is needed")
    found = np.empty(len(rows), dtype=np.float32)
    long = lengths(rows)
    one = units(others, slice(0, 1))[0] if single else None
    for part in blocks(len(rows)):
        block = np.asarray(rows[part], dtype=np.float32)
        found[part] = block @ one if one is not None else np.einsum("ij,ij->i", block, units(others, part))
        found[part] /= np.where(long[part] > 0, long[part], np.float32(1))
    return np.clip(found, -1, 1, out=found)


@takes_options()
def search(
    matrix: Any, queries: Any, k: int = 5, *, threshold: float | None = None, tell: Tell = silent
) -> tuple[Matrix, Numbers]:
    """Find the `k` vectors closest to each query by angle: exactly, in blocks, without an n-by-n matrix.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).  Read once for every 1,024 queries; besides it a few megabytes are needed.
    queries : array_like
        Shape (q, d).
    k : int, default 5
        How many for each query; at most n.
    threshold : float, optional
        The least cosine that counts.
    tell : callable, optional
        Called with a text that says how far it is.

    Returns
    -------
    scores : numpy.ndarray
        float32, shape (q, min(k, n)): cosines in [-1, 1], the best first; -inf where there are no more.
    rows : numpy.ndarray
        int64, same shape: where they stand in `matrix`; -1 where there are no more.

    Raises
    ------
    ValueError
        `k` is below 1, the widths differ, or a vector holds NaN or infinity.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, not {k!r}")
    rows, asked = checked(matrix), checked(queries)
    _same_width(rows, asked)
    nobody = np.full(len(asked), -1, dtype=np.int64)
    return _nearest(rows, asked, min(int(k), len(rows)), nobody, threshold, tell)


@takes_options()
def outliers(
    matrix: Any, k: int = 10, *, among: int = OUTLIER_ROWS, seed: int = 0, tell: Tell = silent
) -> tuple[Matrix, str]:
    """Say how far each vector lies from its nearest neighbours.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).
    k : int, default 10
        How many neighbours count (at most n - 1).
    among : int, default 20,000
        Up to so many vectors neighbours are looked for among all; beyond, among a random sample of as many, which makes
        all distances a little larger and leaves their order much the same.
    seed : int, default 0
        For the sample.
    tell : callable, optional
        Called with a text that says how far it is.

    Returns
    -------
    scores : numpy.ndarray
        float32, shape (n,): the mean cosine distance (1 - cosine) to the `k` nearest others; NaN if there are none.
    note : str
        What was done, in words.

    Raises
    ------
    ValueError
        `k` is below 1, or a vector holds NaN or infinity.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"k must be a whole number of at least 1, not {k!r}")
    rows = checked(matrix)
    chosen = sample(len(rows), among, seed)
    known = rows if len(chosen) == len(rows) else np.asarray(rows[chosen], dtype=np.float32)
    own = np.full(len(rows), -1, dtype=np.int64)
    own[chosen] = np.arange(len(chosen))
    wanted = min(int(k), len(chosen) - 1)
    if wanted < 1:
        return np.full(len(rows), np.nan, dtype=np.float32), "no neighbours"
    scores, _ = _nearest(known, rows, wanted, own, None, tell)
    limits = "" if len(chosen) == len(rows) else f" in a sample of {len(chosen):,} of {len(rows):,}"
    return 1 - scores.mean(axis=1), f"mean cosine distance to the {wanted} nearest others{limits}"


def _same_width(one: Vectors, other: Vectors) -> None:
    if len(one) and len(other) and one.shape[1] != other.shape[1]:
        raise ValueError(f"vectors of {one.shape[1]} and of {other.shape[1]} dimensions cannot be compared")


def _nearest(
    rows: Vectors, queries: Vectors, k: int, own: Numbers, threshold: float | None, tell: Tell
) -> tuple[Matrix, Numbers]:
    """The best `k` rows of each query but the row that it is itself (`own`, -1 for none)."""
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    found = np.full((len(queries), k), -1, dtype=np.int64)
    if k == 0:
        return scores, found
    if len(queries) > _QUERIES and hasattr(rows, "whole"):
        rows = rows.whole()  # read many times: gathered once
    long = lengths(rows)
    for asked in blocks(len(queries), _QUERIES):
        if asked.start:
            tell(f"{asked.start:,} of {len(queries):,}")
        one = units(queries, asked)
        if threshold is not None:  # only what is better enters; the step below it makes "at least" of "more than"
            scores[asked] = np.nextafter(np.float32(threshold), np.float32(-2))
        for part in blocks(len(rows)):
            block = one @ np.asarray(rows[part], dtype=np.float32).T
            block /= np.where(long[part] > 0, long[part], np.float32(1))
            np.clip(block, -1, 1, out=block)
            here = np.flatnonzero((own[asked] >= part.start) & (own[asked] < part.stop))
            block[here, own[asked][here] - part.start] = -np.inf
            _merge(scores[asked], found[asked], block, part.start)
    scores[found < 0] = -np.inf
    return scores, found


def _merge(scores: Matrix, found: Numbers, block: Matrix, start: int) -> None:
    """Let those of a block in that are better than the worst of the best so far; of equals the first row stays."""
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
