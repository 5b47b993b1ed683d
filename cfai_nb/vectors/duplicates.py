"""Vectors that say nearly the same: `duplicates`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import takes_options
from .matrix import Numbers, Vectors, blocks, checked, lengths, units
from .neighbours import Tell, silent

#: Two equal vectors have a cosine of 1 but for the rounding of float32.
_ROUNDING = 4e-6
#: Pairs that are kept before they are boiled down to groups: 64 MB.
_PAIRS = 4_000_000


@takes_options()
def duplicates(matrix: Any, threshold: float = 0.95, *, tell: Tell = silent) -> Numbers:
    """Give every vector the number of its group of near duplicates.

    Two vectors are of one group if their cosine is at least `threshold`, or if a chain of such pairs connects them: the
    two ends of a chain can be less alike than that.  All pairs are looked at, in blocks; n-by-n is never kept.

    Parameters
    ----------
    matrix : array_like
        Shape (n, d).  100,000 vectors of 768 dimensions are 8 * 10**12 operations: a minute or two on two cores.
    threshold : float, default 0.95
        In (0, 1].  What is a duplicate depends on the model: look at some groups first.
    tell : callable, optional
        Called with a text that says how far it is.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): groups are numbered in the order in which they first occur; most have one member.

    Raises
    ------
    ValueError
        The threshold is no such number, or a vector holds NaN or infinity.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and up to 1, not {threshold!r}")
    rows: Vectors = checked(matrix)
    if hasattr(rows, "whole"):
        rows = rows.whole()
    count, long = len(rows), lengths(rows)
    group = np.arange(count)
    kept: list[Numbers] = []
    held = 0
    for first in blocks(count):
        if first.start:
            tell(f"{first.start:,} of {count:,}")
        one = units(rows, first, long)
        for second in blocks(count):
            if second.start < first.start:
                continue
            cosines = one @ (one if second == first else units(rows, second, long)).T
            alike = cosines >= threshold - _ROUNDING
            here, there = np.nonzero(np.triu(alike, 1) if second == first else alike)
            pairs = np.stack([group[here + first.start], group[there + second.start]])
            pairs = pairs[:, pairs[0] != pairs[1]]
            if pairs.shape[1]:
                kept.append(pairs)
                held += pairs.shape[1]
            if held > _PAIRS:
                group, kept, held = _joined(group, kept), [], 0
    return np.unique(_joined(group, kept), return_inverse=True)[1].astype(np.int64) if count else group


def _joined(group: Numbers, pairs: list[Numbers]) -> Numbers:
    """The groups after these pairs of groups are one; each is numbered by its first row."""
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
