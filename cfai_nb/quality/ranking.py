"""Rows in the order of their scores, a uniform sample of them, and the exact tests of what the sample showed.

`certificate` asks for the sample, and cuts the ranking where these tests allow it.  Errors in a random part of a finite
set follow the hypergeometric distribution, so that nothing here is approximate.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Flags, Numbers, Positions, numbers, same_rows

#: More than this share of the rows is never sampled: there would be nothing left to save.
MOST = 0.5
#: A stream of random numbers of its own: data that were made with the same seed have nothing to do with the sample.
_STREAM = (0x5A11,)
#: The rank at which so many rows are wrong grows about as this power of their number: errors become more frequent down
#: the ranking.  An error in it costs savings.
_GROWTH = 0.42


def sample_share(rows: int, bound: float, delta: float) -> float:
    """Return the share of the rows to sample, so that the most rows keep the cheap answer.

    >>> round(sample_share(10_000, 0.05, 0.1), 3)
    0.071
    """
    from scipy.special import ndtri

    if not rows:
        return 0.0
    # A larger sample costs its own rows and brings the certified part closer to the bound.  With errors that become
    # more along the ranking, the bound is met at rank k with an error rate of p = bound * rows / k so far and of about
    # 1.5p just there; a test at level `delta` stops z * sqrt(k p (1 - p) / f) errors short of it, at 1 / (1.5p) rows an
    # error.  The sum of both costs is least near this f; half or twice as much costs one or two rows in a hundred.
    rank = 0.8 * rows
    rate = min(bound / 0.8, 0.5)
    f = (max(-ndtri(delta), 0.5) * np.sqrt(rate * (1 - rate) / rank) / (3 * rate)) ** (2 / 3)
    # Errors that are found are corrected, which pays for some more where few rows make a large sample necessary.
    return float(min(MOST, f * (0.8 + 3 * f)))


@functools.lru_cache(64)
def allowance(rows: int, budget: int, delta: float, each: float = 1.0) -> tuple[int, int]:
    """Return how many of `rows` to draw, and how many of those drawn may be wrong, so that the most rows are kept.

    `budget` of those that are not drawn may be wrong, and `each` rows leave the cheap side with one that is drawn.  The
    sample is the smallest for which the chance of step 4 of `cascade` is at most `delta`; 0 and -1 where none of at
    most half the rows is large enough.

    >>> allowance(2_000, 100, 0.1)
    (250, 9)
    >>> allowance(20, 1, 0.1)
    (0, -1)
    """
    best, found, allowed = 0.0, (0, -1), 0  # more that may be wrong need a larger sample, and end closer to the budget
    while budget + 1 + allowed <= rows:
        drawn = _smallest(rows, budget + 1 + allowed, allowed, delta)
        share = drawn / rows
        # The wrong row that ends it is expected at rank `ends`, give or take a share of `spread`.
        ends, spread = (allowed + 1) * (rows + 1) / (drawn + 1), (1 - share) / (allowed + 1)
        kept = max(0.0, 1 - each * share) * ends**_GROWTH * (1 - _GROWTH * (1 - _GROWTH) / 2 * spread)
        if drawn > MOST * rows or kept < 0.97 * best:
            break
        if kept > best:
            best, found = kept, (drawn, allowed)
        allowed += 1 + allowed // 25
    return found


def _smallest(rows: int, wrong: int, found: int, delta: float) -> int:
    """Return how many rows to draw so that finding so few of the wrong ones has at most the chance `delta`."""
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if as_few(rows, middle, found, wrong) <= delta else (middle, high)
    return high


class Ranked:
    """Rows in the order of their scores, and what the sample showed of them; ``draws`` are rows in random order."""

    def __init__(self, scores: Any, weights: Any, seed: int) -> None:
        same_rows(scores=scores, weights=weights)
        self.scores = numbers(scores, "scores")
        self.weights = _counts(weights, len(self.scores))
        self.total = int(self.weights.sum())
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_STREAM))
        # The sample is one of rows of the frame, so that of a row of weight 3 three can be drawn.
        self.draws: Positions = random.permutation(self.total)
        if weights is not None:
            self.draws = np.repeat(np.arange(len(self.scores)), self.weights)[self.draws]
        # Equal scores are ranked at random: the order of the frame may say more than it should.
        ties = random.permutation(len(self.scores))
        self.order = ties[np.argsort(np.where(np.isnan(self.scores), np.inf, -self.scores)[ties], kind="stable")]
        self.size = np.cumsum(self.weights[self.order])
        self.drawn = np.zeros(len(self.scores), dtype=np.int64)
        self.right = np.zeros(len(self.scores), dtype=bool)
        self.asked: Positions = np.empty(0, dtype=np.int64)

    @property
    def each(self) -> float:
        """How many rows leave the cheap side with one that is drawn: one of weight 3 does with all three."""
        return max(1.0, float((self.weights**2).sum() / max(self.total, 1)))

    def sample(self, bound: float, delta: float) -> Positions:
        """Return the rows of a uniform sample that is as large as a promise needs; a row can be drawn twice."""
        share = sample_share(self.total, bound, delta) / self.each ** (2 / 3)
        return self.draws[: int(np.ceil(share * self.total))]

    def fresh(self, draws: Positions) -> Positions:
        """Return the distinct rows of these draws that were not asked yet, in order."""
        rows = draws[np.sort(np.unique(draws, return_index=True)[1])]
        new: Positions = rows[self.drawn[rows] == 0]
        return new

    def take(self, draws: Positions, rows: Positions, given: Any) -> None:
        """Enter what was answered about the fresh rows of these draws."""
        np.add.at(self.drawn, draws, 1)
        if len(rows):
            self.right[rows] = _answers(given, len(rows))
            self.asked = np.concatenate([self.asked, rows])

    def first(self, count: int) -> Flags:
        """Return the first rows of the ranking."""
        kept = np.zeros(len(self.scores), dtype=bool)
        kept[self.order[:count]] = True
        return kept

    def ends(self, stages: int) -> Positions:
        """Return where the beginnings of the ranking end that are tested; rows without a score are in none."""
        scored = int(self.weights[~np.isnan(self.scores)].sum())
        goals = np.ceil(np.arange(1, stages + 1) / stages * scored)
        found = np.searchsorted(self.size, goals[goals > 0])
        return np.unique(found).astype(np.int64)

    def until(self, allowed: int) -> Flags:
        """Return the rows before the wrong one that is one too many of those drawn; none without a score."""
        found = np.cumsum((self.drawn * ~self.right)[self.order])
        return self.first(int(np.searchsorted(found, allowed, side="right"))) & ~np.isnan(self.scores)

    def longest(self, ends: Positions, bounds: npt.NDArray[Any], worth: float, delta: float) -> int:
        """Return the number of the last beginning that is certified, -1 for none.

        Beginnings are tested in order, each for ``bounds`` errors, until one fails; that one is certified, too, if the
        errors in it are few enough for ``bounds`` plus ``worth`` for each that the sample has corrected.
        """
        if not len(ends):
            return -1
        wrong = np.where(self.right, 0, 1)
        drawn = self.drawn[self.order]
        draws, found = np.cumsum(drawn), np.cumsum(drawn * wrong[self.order])
        known = np.cumsum((self.weights * wrong * (self.drawn > 0))[self.order])
        errors = np.floor([bounds + worth * known[ends], bounds]) + 1
        certified, passed = as_few(self.size[ends], draws[ends], found[ends], errors) <= delta
        failed = np.flatnonzero(~passed)
        first = int(failed[0]) if len(failed) else len(ends)
        return first if first < len(ends) and certified[first] else first - 1


def as_few(rows: Any, drawn: Any, found: Any, errors: Any) -> Numbers:
    """Return the chance of finding as few errors as were found, if so many were among the rows.

    The lower tail of the hypergeometric distribution: `drawn` of `rows` without replacement, `errors` of them wrong,
    at most `found` drawn.  It falls as `errors` grows, so whoever refutes a number refutes all larger ones.

    >>> as_few([1_000, 1_000], [100, 100], [2, 2], [80, 50]).round(3).tolist()
    [0.009, 0.106]
    """
    rows, drawn, found, errors = (
        np.asarray(given, dtype=np.float64)[..., None] for given in (rows, drawn, found, errors)
    )
    x = np.arange(found.max(initial=0) + 1)
    possible = (x <= found) & (x <= errors) & (drawn - x <= rows - errors)
    # Where the right rows that were seen leave no room for so many errors, nothing is possible: the chance is 0.
    ways = _log_choose(errors, x) + _log_choose(rows - errors, drawn - x) - _log_choose(rows, drawn)
    chance: Numbers = np.exp(np.where(possible, ways, -np.inf)).sum(axis=-1)
    return np.minimum(chance, 1.0)


def _log_choose(n: Any, k: Any) -> Any:
    """Return the logarithm of n over k; any number where that is not defined."""
    from scipy.special import gammaln

    return gammaln(np.maximum(n, 0) + 1) - gammaln(np.maximum(k, 0) + 1) - gammaln(np.maximum(n - k, 0) + 1)


def order_statistic(count: int, share: float, delta: float) -> int:
    """Return the largest k with P(Binomial(count, share) < k) <= delta; 0 if there is none."""
    from scipy.special import bdtr

    if not count:
        return 0
    tail: Numbers = bdtr(np.arange(count, dtype=float), count, share)
    return int(np.searchsorted(tail, delta, side="right"))


def _counts(weights: Any, rows: int) -> npt.NDArray[np.int64]:
    if weights is None:
        return np.ones(rows, dtype=np.int64)
    counts = numbers(weights, "weights")
    if np.isnan(counts).any() or (counts < 1).any() or (counts != np.floor(counts)).any():
        raise ValueError("weights must be whole numbers from 1 on: how many rows each distinct row stands for")
    return counts.astype(np.int64)


def _answers(given: Any, count: int) -> Flags:
    answers = numbers(given, "the answers of ask()", 0, 1)
    if len(answers) != count or np.isnan(answers).any() or ((answers != 0) & (answers != 1)).any():
        raise ValueError(f"ask() must return True or False for each of the {count:,} rows it was given")
    return answers.astype(bool)
