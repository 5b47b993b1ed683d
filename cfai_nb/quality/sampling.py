"""Which rows to label by hand, and how many.

`draw` chooses rows with recorded probabilities, which `share`, `mean` and `accuracy` take as `weights`;
`rows_for_width` and `rows_for_difference` say how many rows a figure or a comparison needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import takes_options
from .arrays import Numbers, Positions, numbers, percent, share_of
from .estimates import wilson


@takes_options()
def draw(uncertainty: Any, n: int, *, uniform: float = 0.3, seed: int = 0) -> tuple[Positions, Numbers]:
    """Draw rows to be labelled by hand, uncertain ones more often, so that they may be used for estimates.

    A row is drawn with a probability that is proportional to its uncertainty, mixed with an equal chance for all.
    Exactly `n` rows are drawn: systematic sampling in random order (Madow 1949), which keeps every probability as
    it is.  "The most uncertain first" alone would give rows of which nothing can be concluded about the others.

    Parameters
    ----------
    uncertainty : array_like
        Shape (N,): how unsure each answer is, from 0 on, such as 1 - probability; missing counts as the highest.
    n : int
        How many rows; all of them if there are no more.
    uniform : float, default 0.3
        Share of the draws that every row has the same chance of; above 0, since a row that is never drawn makes the
        estimate wrong.  1 is a plain random sample.
    seed : int, default 0

    Returns
    -------
    rows : numpy.ndarray
        int64, shape (n,): positions, in random order.  The first m of them are a sample too, with m / n times the
        probabilities (which estimates do not notice: only their proportions count).
    probabilities : numpy.ndarray
        Shape (N,): with which probability each of all rows was drawn; the `weights` of `share` and `accuracy`.

    Raises
    ------
    ValueError
        A negative uncertainty, or an option out of range.

    Examples
    --------
    >>> rows, probabilities = draw([0.0, 0.1, 0.5, 0.4], 2)
    >>> len(rows), float(round(probabilities.sum(), 6))
    (2, 2.0)
    """
    unsure = numbers(uncertainty, "uncertainty", 0)
    if not 0 < uniform <= 1:
        raise ValueError(f"uniform must be a number above 0, up to 1, not {uniform!r}")
    if n < 0:
        raise ValueError(f"n must not be negative, and is {n}")
    count = len(unsure)
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xD4A3,)))
    order = random.permutation(count)
    if n >= count:
        return order.astype(np.int64), np.ones(count)
    known = unsure[~np.isnan(unsure)]
    unsure = np.where(np.isnan(unsure), known.max() if len(known) else 1.0, unsure)
    whole = unsure.sum()
    wanted = uniform / count + (1 - uniform) * (unsure / whole if whole else np.full(count, 1 / count))
    chance = _within_one(wanted, n)
    # Equal steps along the probabilities laid end to end, from a random start.
    reached = np.cumsum(chance[order])
    reached *= n / reached[-1] if n else 1.0
    steps = random.random() + np.arange(n)
    rows = order[np.minimum(np.searchsorted(reached, steps, side="right"), count - 1)]
    return random.permutation(rows).astype(np.int64), chance


@takes_options()
def rows_for_difference(gap: float, differ: float, confidence: float = 0.95, power: float = 0.8) -> int:
    """Return how many rows show a difference in accuracy (McNemar's test; Connor 1987).

    Parameters
    ----------
    gap : float
        The difference to be shown, such as 0.03.
    differ : float
        Share of rows on which exactly one of both is right; at least `gap`.
    confidence, power : float
        How rarely to see a difference that is not there, and how often one that is.

    Examples
    --------
    >>> rows_for_difference(0.03, 0.1)
    870
    """
    from scipy.special import ndtri

    gap, differ = share_of(gap, "gap"), share_of(differ, "differ") if differ != 1 else 1.0
    if differ < gap:
        raise ValueError(f"differ must be at least the gap of {percent(gap)}, not {percent(differ)}")
    alarm, sight = ndtri((1 + share_of(confidence, "confidence")) / 2), ndtri(share_of(power, "power"))
    return int(np.ceil(((alarm * np.sqrt(differ) + sight * np.sqrt(max(differ - gap**2, 0))) / gap) ** 2))


@takes_options()
def rows_for_width(width: float, share: float = 0.5, confidence: float = 0.95) -> int:
    """Return how many rows of gold give an interval (Wilson's) of at most this width.

    Parameters
    ----------
    width : float
        high - low.
    share : float, default 0.5
        What the accuracy or share is thought to be; 0.5 needs the most rows.
    confidence : float, default 0.95

    Examples
    --------
    >>> rows_for_width(0.1), rows_for_width(0.1, share=0.9)
    (381, 141)
    """
    share_of(width, "width")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be a number from 0 to 1, not {share!r}")
    low, high = 0, 1
    while np.subtract(*wilson(share, high, confidence)[::-1]) > width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        wide = np.subtract(*wilson(share, middle, confidence)[::-1]) > width
        low, high = (middle, high) if wide else (low, middle)
    return high


def _within_one(wanted: Numbers, n: int) -> Numbers:
    """Return probabilities that add up to n, proportional to what is wanted but at most 1."""
    certain = np.zeros(len(wanted), dtype=bool)
    while True:
        chance = np.ones(len(wanted))
        chance[~certain] = wanted[~certain] * (n - certain.sum()) / wanted[~certain].sum()
        if not (chance > 1).any():
            return chance
        certain |= chance >= 1
