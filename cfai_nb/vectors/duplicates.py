"""Groups of near duplicates among vectors: ``duplicates``."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import takes_options
from .matrix import Numbers, OnProgress, Vectors, blocks, checked, no_progress, norms, unit_rows

#: Two equal vectors have a cosine of 1 up to the rounding of float32.
_ROUNDING = 4e-6
#: Pairs held before they are merged into groups: 64 MB.
_MAX_PAIRS = 4_000_000


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
        In (0, 1].  What counts as a duplicate depends on the model: look at some groups first.
    on_progress : callable, optional
        Called with a text that says how far it is.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,): groups are numbered in the order in which they first occur; most have one member.

    Raises
    ------
    ValueError
        The threshold is out of range, or a vector holds NaN or infinity.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold must be a cosine above 0 and up to 1, not {threshold!r}")
    rows: Vectors = checked(matrix)
    if hasattr(rows, "to_matrix"):
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
