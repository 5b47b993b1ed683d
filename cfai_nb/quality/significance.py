"""Whether one set of answers is really better than another on the same rows.

Answers to the same rows are paired: two models mostly fail on the same hard rows, so only the rows on which they differ
decide.  Testing them as if they were two independent samples loses most of the power.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from ..html.markup import counted
from .arrays import Numbers, numbers, same_rows, share_of
from .estimates import judge
from .sampling import rows_for_difference

#: Resamples of the bootstrap, and values drawn at a time (32 MB).
_RESAMPLES, _AT_ONCE = 2_000, 4_000_000


@dataclass(frozen=True)
class Difference:
    """Second minus first, on the same rows.

    Attributes
    ----------
    estimate, low, high : float
        Difference of the accuracies (or means), and its interval.
    n : int
        Rows that both answered and that can be judged.
    p : float
        Two-sided p-value of "no difference"; of several pairs, adjusted (`holm`).
    first_better, second_better : int
        Rows on which only the first, and only the second is right (or has the higher value).
    names : tuple of str
    confidence : float
    method : str
    margin : float or None
        What counts as equal.
    p_equal : float or None
        p-value of "they differ by the margin or more" (two one-sided tests).
    """

    estimate: float
    low: float
    high: float
    n: int
    p: float
    first_better: int
    second_better: int
    names: tuple[str, str]
    confidence: float
    method: str
    margin: float | None = None
    p_equal: float | None = None

    @property
    def verdict(self) -> str:
        """``"better"``, ``"worse"`` (the second than the first), ``"equal"`` within the margin, or ``"open"``."""
        if self.p <= 1 - self.confidence:
            return "better" if self.estimate > 0 else "worse"
        equal = self.p_equal is not None and self.p_equal <= 1 - self.confidence
        return "equal" if equal else "open"

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        first, second = self.names
        rows = f"on {counted(self.n)}"
        if self.verdict in ("better", "worse"):
            best = second if self.verdict == "better" else first
            return f"{best} is better by {self._points(abs(self.estimate))} {rows} ({_p(self.p)})"
        if self.verdict == "equal":
            return f"{first} and {second} are equal within {self._points(self.margin or 0.0)} {rows}"
        shown = f"no difference shown between {first} and {second} {rows} ({_p(self.p)})"
        if not self._paired or not self.first_better + self.second_better:
            return shown
        goal = self.margin or 0.03
        differ = max((self.first_better + self.second_better) / self.n, goal)
        needed = rows_for_difference(goal, differ, confidence=self.confidence)
        return shown if needed <= self.n else f"{shown}; about {needed:,} rows would show {self._points(goal)}"

    @property
    def _paired(self) -> bool:
        return self.method.startswith("McNemar")

    def _points(self, value: float) -> str:
        return f"{100 * value:.2g} points" if self._paired else f"{value:.3g}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


@takes_options()
def difference(
    first: Any, second: Any, gold: Any = None, *, margin: float | None = None, confidence: float = 0.95,
    names: tuple[str, str] = ("first", "second"), seed: int = 0,
) -> Difference:  # fmt: skip
    """Compare two sets of answers to the same rows.

    Right or wrong: exact McNemar test; the interval is the score interval of Tango (1998), which covers as it should
    where few rows differ, too.  Values: paired bootstrap of the mean difference over its standard error (bootstrap-t,
    Efron and Tibshirani 1993), for the interval and the p-value.  With `margin`, equivalence is tested too: two
    one-sided tests (Schuirmann 1987) of the same statistic.

    Parameters
    ----------
    first, second : array_like
        Shape (n,): answers; without `gold`, whether each is right (True, False), or its value, more being better.
    gold : array_like, optional
        Shape (n,): the right answers, missing where unknown; compared with the answers as by `accuracy`: texts
        without regard to case and outer spaces, numbers and truth values by value.
    margin : float, optional
        A difference below this does not matter, such as 0.02.
    confidence : float, default 0.95
    names : pair of str
        For the words.
    seed : int, default 0
        For the bootstrap.

    Returns
    -------
    Difference

    Raises
    ------
    ValueError
        Fewer than two rows can be compared.

    Examples
    --------
    >>> one = [True] * 80 + [False] * 20
    >>> other = [True] * 78 + [False] * 2 + [True] * 14 + [False] * 6
    >>> difference(one, other, names=("A", "B")).words
    'B is better by 12 points on 100 rows (p = 0.0042)'
    """
    same_rows(first=first, second=second, gold=gold)
    confidence = share_of(confidence, "confidence")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin must be a number above 0, not {margin!r}")
    one, other = _pairs(first, second, gold)
    if len(one) < 2:
        raise ValueError("fewer than two rows can be compared: both answers and gold are needed")
    gain = other - one
    flips = int((gain < 0).sum()), int((gain > 0).sum())
    if np.isin(one, (0, 1)).all() and np.isin(other, (0, 1)).all():
        low, high, equal = _flipped(*flips, len(gain), margin, confidence)
        p, method = mcnemar(*flips), "McNemar, exact"
    else:
        low, high, p, equal = _resampled(gain, margin, confidence, seed)
        method = "paired bootstrap"
    return Difference(float(gain.mean()), low, high, len(gain), p, *flips, names, confidence, method, margin, equal)


@takes_options()
def differences(
    answers: Mapping[str, Any], gold: Any, *, margin: float | None = None, confidence: float = 0.95, seed: int = 0
) -> list[Difference]:
    """Compare every pair of several sets of answers, with p-values adjusted for the number of pairs.

    Parameters
    ----------
    answers : mapping of name to array_like
        At least two, each of shape (n,).
    gold : array_like
        Shape (n,).
    margin, confidence, seed
        As in `difference`.

    Returns
    -------
    list of Difference
        In the order of the names; ``p`` is adjusted by `holm`, and so is ``p_equal``.

    Examples
    --------
    >>> gold = ["a"] * 40
    >>> found = differences({"good": gold, "bad": ["b"] * 40, "also good": gold}, gold)
    >>> [pair.verdict for pair in found]
    ['worse', 'open', 'better']
    """
    found = [
        difference(
            answers[one], answers[other], gold, margin=margin, confidence=confidence, names=(one, other), seed=seed
        )
        for one, other in itertools.combinations(answers, 2)
    ]
    if not found:
        raise ValueError("answers: give at least two sets of answers")
    p = holm([pair.p for pair in found])
    equal = p if margin is None else holm([pair.p_equal for pair in found])
    return [
        replace(pair, p=float(p[i]), p_equal=None if margin is None else float(equal[i]))
        for i, pair in enumerate(found)
    ]


@takes_options()
def mcnemar(first: int, second: int) -> float:
    """Return the two-sided p-value of so many flips either way (exact: McNemar 1947, binomial form).

    Parameters
    ----------
    first, second : int
        Rows on which only the first, and only the second is right.

    Examples
    --------
    >>> round(mcnemar(2, 14), 4)
    0.0042
    """
    from scipy.special import bdtr

    total = first + second
    return min(1.0, 2 * float(bdtr(float(min(first, second)), total, 0.5))) if total else 1.0


@takes_options()
def holm(p: Any) -> Numbers:
    """Return p-values adjusted for their number, so that the chance of any false alarm stays bounded (Holm 1979).

    Parameters
    ----------
    p : array_like
        Shape (m,).

    Returns
    -------
    numpy.ndarray
        Shape (m,): at most 1, none below its own.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    given = numbers(p, "p", 0, 1)
    order = np.argsort(given, kind="stable")
    steps = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def _pairs(first: Any, second: Any, gold: Any) -> tuple[Numbers, Numbers]:
    """Return the values of both on the rows that can be compared: 1 and 0 for right and wrong."""
    if gold is None:
        one, other = numbers(first, "first"), numbers(second, "second")
        both = ~np.isnan(one) & ~np.isnan(other)
        return one[both], other[both]
    (right, judged), (right_too, judged_too) = judge(first, gold), judge(second, gold)
    both = judged & judged_too
    return right[both].astype(np.float64), right_too[both].astype(np.float64)


def _flipped(
    first: int, second: int, n: int, margin: float | None, confidence: float
) -> tuple[float, float, float | None]:
    """Return Tango's interval of a difference from flips both ways, and the p-value of equivalence."""
    from scipy.special import ndtr, ndtri

    z, observed = float(ndtri((1 + confidence) / 2)), (second - first) / n
    ends = []
    for far in (-1.0, 1.0):
        near = observed
        for _ in range(50):
            middle = (near + far) / 2
            near, far = (near, middle) if abs(_score(first, second, n, middle)) > z else (middle, far)
        ends.append((near + far) / 2)
    if margin is None:
        return ends[0], ends[1], None
    if margin >= 1:
        return ends[0], ends[1], 0.0
    above, below = _score(first, second, n, -margin), _score(first, second, n, margin)
    return ends[0], ends[1], float(max(ndtr(-above), ndtr(below)))


def _score(first: int, second: int, n: int, gap: float) -> float:
    """Return how many standard errors the observed difference lies above `gap`, if `gap` is true (Tango 1998)."""
    b, c = (2 * n - second + first) * gap - first - second, -first * gap * (1 - gap)
    flip = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    error = math.sqrt(max(n * (2 * flip + gap * (1 - gap)), 1e-12))
    return (second - first - n * gap) / error


def _resampled(
    gain: Numbers, margin: float | None, confidence: float, seed: int
) -> tuple[float, float, float, float | None]:
    """Return interval, p-value and p-value of equivalence of a mean by the bootstrap-t."""
    n, middle = len(gain), float(gain.mean())
    error = float(gain.std(ddof=1) / np.sqrt(n))
    if not error:  # every row differs by the same
        sure = float(middle == 0)
        return middle, middle, sure, None if margin is None else float(abs(middle) >= margin)
    studied = _studentised(gain, middle, np.random.default_rng(seed))
    tails = np.quantile(studied, [(1 + confidence) / 2, (1 - confidence) / 2])
    low, high = middle - tails * error

    def beyond(value: float, upwards: bool) -> float:  # how often chance takes the mean as far from `value` as it is
        reached = (middle - value) / error
        count = (studied >= reached).sum() if upwards else (studied <= reached).sum()
        return float((count + 1) / (len(studied) + 1))

    p = min(1.0, 2 * min(beyond(0.0, True), beyond(0.0, False)))
    equal = None if margin is None else max(beyond(-margin, True), beyond(margin, False))
    return float(low), float(high), p, equal


def _studentised(gain: Numbers, middle: float, random: np.random.Generator) -> Numbers:
    n, step = len(gain), max(1, _AT_ONCE // len(gain))
    parts: list[npt.NDArray[np.float64]] = []
    for begin in range(0, _RESAMPLES, step):
        drawn = gain[random.integers(0, n, size=(min(step, _RESAMPLES - begin), n))]
        error = drawn.std(axis=1, ddof=1) / np.sqrt(n)
        off = drawn.mean(axis=1) - middle
        parts.append(np.divide(off, error, out=np.sign(off) * np.inf, where=error > 0))
    found = np.concatenate(parts)
    return np.where(np.isnan(found), 0.0, found)
