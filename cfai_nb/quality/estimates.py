"""Shares, means and accuracies with an interval: what the answers on all rows and gold on some rows say together.

Gold is the right answer, known for some rows only.  Two ways of choosing these rows are understood: at random, each row
with the same chance (no `weights`), or with recorded probabilities (`weights`, as `draw` returns them).  Rows that were
picked by hand, or the least certain ones alone, give a biased figure; no formula can repair that.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import takes_options
from ..html.markup import counted, line
from .arrays import Flags, Numbers, column, index_of, missing, numbers, percent, same_rows, share_of

#: Squared error that is added to those of a share's sample, so that a sample without an error proves no perfection.
_HALF = 0.5


@dataclass(frozen=True)
class Estimate:
    """A figure and how sure it is.

    Attributes
    ----------
    estimate, low, high : float
        The figure and its interval.
    n : int
        Rows of gold (or, without gold, rows) it rests on.
    confidence : float
    method : str
        How it was found.
    gold_alone : Estimate or None
        What the gold alone gives, to compare the widths; None where there is nothing else.
    """

    estimate: float
    low: float
    high: float
    n: int
    confidence: float
    method: str
    gold_alone: Estimate | None = None

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    @property
    def words(self) -> str:
        """The figure in one sentence."""
        beside = f"; gold alone: {_span(self.gold_alone)}" if self.gold_alone else ""
        return f"{_span(self)} ({percent(self.confidence)} interval, n = {self.n:,}, {self.method}{beside})"


def _span(found: Estimate) -> str:
    return f"{found.estimate:.3g}, {found.low:.3g} to {found.high:.3g}"


@takes_options()
def wilson(share: Any, count: Any, confidence: float = 0.95) -> tuple[Any, Any]:
    """Return the interval of a share of so many rows (Wilson 1927), which holds for few rows and near 0 and 1 too.

    Parameters
    ----------
    share, count : float or array_like
        Observed share, and of how many rows (above 0; need not be whole).
    confidence : float, default 0.95

    Returns
    -------
    low, high : float or numpy.ndarray

    Examples
    --------
    >>> [round(float(end), 3) for end in wilson(0.9, 60)]
    [0.799, 0.953]
    """
    from scipy.special import ndtri

    z = float(ndtri((1 + share_of(confidence, "confidence")) / 2))
    spread = z**2 / np.asarray(count, dtype=np.float64)
    share = np.asarray(share, dtype=np.float64)
    middle = (share + spread / 2) / (1 + spread)
    half = np.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return np.where(share <= 0, 0.0, middle - half), np.where(share >= 1, 1.0, middle + half)


@takes_options()
def share(guess: Any, gold: Any = None, weights: Any = None, confidence: float = 0.95, *, of: Any = None) -> Estimate:
    """Estimate the share of rows for which something is true, from a model's answers and some gold.

    Without gold it is the share of the model's answers, which says nothing about the model's errors.  With gold on rows
    of equal chance: prediction-powered inference (Angelopoulos, Duchi and Zrnic 2023, PPI++),

        theta = lam * mean(guess over all N) + mean(gold - lam * guess over n),

    lam = cov(gold, guess) / (var(guess) * (1 + n / N)), within 0 and 1.  With recorded probabilities the second mean
    weighs each row by 1 / probability (Horvitz and Thompson 1952, normalised: Hajek 1971).  The interval is Wilson's
    for the number of rows that has the same standard error, with half an error added, so that little gold will do.

    Parameters
    ----------
    guess : array_like
        Shape (N,): True, False or a probability; rows without an answer are left out.  With `of`, labels.
    gold : array_like, optional
        Shape (N,): True or False, missing where unknown.  With `of`, labels.
    weights : array_like, optional
        Shape (N,): with which probability each row of gold was drawn; rows without one are left out, since they were
        not drawn (such as the copies of a row).
    confidence : float, default 0.95
    of : label, optional
        The share of this label: ``share(df["guess"], df["gold"], of="billing")``.  Comparing yourself would turn
        missing gold into False.

    Returns
    -------
    Estimate
        The interval is for the rows' origin, of which they are a sample, and so holds for the rows themselves too.

    Raises
    ------
    ValueError
        Fewer than two rows of gold, a number outside of 0 to 1, or columns that do not fit one another.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> truth = random.random(5_000) < 0.3
    >>> guess = np.where(random.random(5_000) < 0.9, truth, ~truth)  # 34 % yes
    >>> gold = np.where(np.arange(5_000) < 200, truth, np.nan)
    >>> found = share(guess, gold)
    >>> found.low < 0.3 < found.high and found.width < found.gold_alone.width
    True
    """
    return _predicted(guess, gold, weights, of, confidence, bounded=True)


@takes_options()
def mean(guess: Any, gold: Any = None, weights: Any = None, confidence: float = 0.95) -> Estimate:
    """Estimate the mean of a number over the rows, from a model's answers and some gold.

    As `share`, for numbers of any size; the interval is Student's.

    Parameters
    ----------
    guess : array_like
        Shape (N,): the model's number for each row; rows without one are left out.
    gold, weights, confidence
        As in `share`.

    Returns
    -------
    Estimate

    Examples
    --------
    >>> mean([1.0, 2.0, 3.0, 4.0]).estimate
    2.5
    """
    return _predicted(guess, gold, weights, None, confidence, bounded=False)


@takes_options()
def accuracy(guess: Any, gold: Any, weights: Any = None, confidence: float = 0.95) -> Estimate:
    """Estimate the share of judged rows that are correct.

    Rows with an answer and gold are judged.  Texts are compared without regard to case and outer spaces ("Refund" is
    the answer "refund"), numbers and truth values by value.  Gold of equal chance gives Wilson's interval.  With
    recorded probabilities each row counts 1 / probability (Hajek 1971) and the interval is Wilson's for as many rows as
    have the same standard error.

    Parameters
    ----------
    guess, gold : array_like
        Shape (n,): labels, truth values or anything that can be equal; missing where there is none.
    weights : array_like, optional
        Shape (n,): with which probability each row of gold was drawn; rows without one are left out.
    confidence : float, default 0.95

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        No row has an answer and gold, or columns do not fit one another.

    Examples
    --------
    >>> accuracy(["a", "b", "a", None], ["a", "b", "b", "a"]).words
    '0.667, 0.208 to 0.939 (95 % interval, n = 3, Wilson)'
    """
    same_rows(guess=guess, gold=gold, weights=weights)
    confidence = share_of(confidence, "confidence")
    right, judged = judge(guess, gold)
    if not judged.any():
        raise ValueError("no row has both an answer and gold")
    judged, chance = _drawn(weights, judged)
    return _alone(right[judged].astype(np.float64), chance, confidence, bounded=True)


def judge(guess: Any, gold: Any) -> tuple[Flags, Flags]:
    """Return which rows are right, and which can be judged: those with an answer and gold.

    An answer is right if it is `canonical` as the gold is.  All of the package asks here, except for cascades, which
    compare the cells of two models.
    """
    answers, truths = column(guess, "guess"), column(gold, "gold")
    judged = ~missing(answers) & ~missing(truths)
    right = np.zeros(len(answers), dtype=bool)
    if answers.dtype.kind in "biuf" and truths.dtype.kind in "biuf":
        right[judged] = answers[judged] == truths[judged]
    rest = judged & ~right
    pairs = zip(answers[rest], truths[rest], strict=True)
    right[rest] = np.fromiter((canonical(a) == canonical(b) for a, b in pairs), dtype=bool, count=int(rest.sum()))
    return right, judged


def canonical(value: Any) -> Any:
    """Return an answer in the form it is compared in, which can be hashed.

    Texts are compared without case, outer spaces and how many spaces part their words; numbers by value, fractions to
    nine digits; truth values as 1 and 0; lists item by item.
    """
    if isinstance(value, str):
        return " ".join(value.split()).casefold()
    if isinstance(value, (float, np.floating)) and not float(value).is_integer():
        return float(f"{float(value):.9g}")
    if isinstance(value, (list, tuple, np.ndarray)):
        return tuple(map(canonical, value))
    if isinstance(value, Mapping):
        return frozenset((key, canonical(cell)) for key, cell in value.items())
    return value if isinstance(value, Hashable) else repr(value)


@takes_options()
def assert_accuracy(
    guess: Any, gold: Any, at_least: float = 0.9, *, weights: Any = None, confidence: float = 0.95,
    strict: bool = False, scores: Any = None, inputs: Any = None, show: int = 5,
) -> Estimate:  # fmt: skip
    """Fail a test if answers are not right often enough, and show the rows that went wrong.

    Parameters
    ----------
    guess, gold, weights, confidence
        As in `accuracy`.
    at_least : float, default 0.9
    strict : bool, default False
        Ask for the lower end of the interval to be at least that, not only the estimate.
    scores : array_like, optional
        How sure each answer was: the surest wrong rows are the worst and come first.
    inputs : array_like, optional
        What was asked, shown beside the answers.
    show : int, default 5
        How many rows to show.

    Returns
    -------
    Estimate

    Raises
    ------
    AssertionError
        With the figure, its interval and the worst rows.

    Examples
    --------
    >>> assert_accuracy(["a", "b", "b"], ["a", "b", "b"], at_least=0.9).estimate
    1.0
    """
    at_least = share_of(at_least, "at_least") if at_least != 1 else 1.0
    same_rows(guess=guess, gold=gold, weights=weights, scores=scores, inputs=inputs)
    found = accuracy(guess, gold, weights, confidence)
    measured = found.low if strict else found.estimate
    if measured >= at_least:
        return found
    right, judged = judge(guess, gold)
    wrong = np.flatnonzero(_drawn(weights, judged)[0] & ~right)
    if scores is not None:
        wrong = wrong[np.argsort(-np.nan_to_num(numbers(scores, "scores")[wrong], nan=-np.inf), kind="stable")]
    what = "the lower end of the accuracy" if strict else "accuracy"
    head = f"{what} is {_down(measured, at_least)}, not at least {percent(at_least)}: {found.words}"
    worst = [_wrong_row(row, guess, gold, scores, inputs) for row in wrong[:show]]
    if more := len(wrong) - len(worst):
        worst.append(f"and {counted(more, 'wrong row')} more")
    raise AssertionError("\n".join([head, *(f"  {text}" for text in worst)]))


def _down(value: float, below: float) -> str:
    """Write a share that is below another so that it reads so."""
    return next(text for digits in range(1, 17) if (text := percent(value, digits)) != percent(below, digits))


def _wrong_row(row: int, guess: Any, gold: Any, scores: Any, inputs: Any) -> str:
    index = index_of(guess)
    label = row if index is None else index[row]
    sure = "" if scores is None else f" ({numbers(scores, 'scores')[row]:.2g} sure)"
    asked = "" if inputs is None else f": {line(column(inputs, 'inputs')[row], 80)}"
    cells = [line(column(values, name)[row], 40) for name, values in (("guess", guess), ("gold", gold))]
    return f"row {line(label, 40)}: {cells[0]}{sure}, right is {cells[1]}{asked}"


def _predicted(guess: Any, gold: Any, weights: Any, of: Any, confidence: float, *, bounded: bool) -> Estimate:
    """Return the estimate from answers on all rows and gold on some; `bounded`: of a share."""
    same_rows(guess=guess, gold=gold, weights=weights)
    confidence = share_of(confidence, "confidence")
    low, high = (0.0, 1.0) if bounded else (-np.inf, np.inf)
    if of is not None:
        guess, gold = _is(guess, "guess", of), None if gold is None else _is(gold, "gold", of)
    answers = numbers(guess, "guess", low, high)
    there = ~np.isnan(answers)
    if there.sum() < 2:
        raise ValueError("guess holds fewer than two answers")
    if gold is None:
        if weights is not None:
            raise ValueError("weights are the probabilities of the rows of gold, and there is no gold")
        found = _alone(answers[there], None, confidence, bounded)
        return replace(found, method=f"{found.method}, answers as they are, no gold")
    truths = numbers(gold, "gold", low, high)
    known, chance = _drawn(weights, there & ~np.isnan(truths))
    if known.sum() < 2:
        raise ValueError("fewer than two rows have gold (and an answer)")
    every, some, truth = answers[there], answers[known], truths[known]
    rows, n = len(every), len(truth)
    weight = _normed(chance, n)
    off = weight * (some - weight @ some) * n / (n - 1)
    cov = float(off @ truth)
    spread = float(every.var())
    lam = float(np.clip(cov / (spread * (1 + n / rows)), 0, 1)) if spread else 0.0
    rest = truth - lam * some
    estimate = lam * float(every.mean()) + float(weight @ rest)
    # The rows of gold are among all rows, so both means vary together.
    together = 2 * lam * max(float(off @ rest), 0.0)
    error = (lam**2 * spread + together) / rows + _squared_error(rest, weight, bounded)
    low, high = _ends(estimate, error, weight, confidence, bounded)
    estimate = float(np.clip(estimate, 0, 1)) if bounded else estimate
    method = f"PPI++ on {rows:,} answers" + ("" if chance is None else ", recorded probabilities")
    return Estimate(estimate, low, high, n, confidence, method, _alone(truth, chance, confidence, bounded))


def _is(values: Any, name: str, label: Any) -> Numbers:
    cells = column(values, name)
    gone = missing(cells)
    found = np.full(len(cells), np.nan)
    found[~gone] = [float(canonical(cell) == canonical(label)) for cell in cells[~gone]]
    return found


def _drawn(weights: Any, known: Flags) -> tuple[Flags, Numbers | None]:
    """Return which rows of gold were drawn, and with which probability; None where all had the same."""
    if weights is None:
        return known, None
    chances = numbers(weights, "weights")
    drawn = known & ~np.isnan(chances)
    chance = chances[drawn]
    if not ((chance > 0) & (chance <= 1)).all() or (known.any() and not drawn.any()):
        raise ValueError(
            "weights must hold, for the rows of gold, the probability with which each was drawn: in (0, 1]"
        )
    return drawn, chance


def _alone(values: Numbers, chance: Numbers | None, confidence: float, bounded: bool) -> Estimate:
    """Return the estimate from values alone."""
    n = len(values)
    weight = _normed(chance, n)
    estimate = float(np.average(values, weights=None if chance is None else weight))  # exactly 1 where all values are
    if bounded and chance is None:
        low, high = map(float, wilson(estimate, n, confidence))
        return Estimate(estimate, low, high, n, confidence, "Wilson")
    low, high = _ends(estimate, _squared_error(values, weight, bounded), weight, confidence, bounded)
    method = "Student" if chance is None else "Horvitz-Thompson, normalised"
    return Estimate(estimate, low, high, n, confidence, method)


def _normed(chance: Numbers | None, n: int) -> Numbers:
    """Return weights that add up to 1."""
    weight: Numbers = np.ones(n) if chance is None else 1 / chance
    weight /= weight.sum()
    return weight


def _squared_error(values: Numbers, weight: Numbers, bounded: bool) -> float:
    """Return the squared standard error of a weighted mean, by linearisation."""
    effective = _effective(weight)
    error = float((weight**2 * (values - weight @ values) ** 2).sum())
    return error * effective / max(effective - 1, 1) + (_HALF / effective**2 if bounded else 0.0)


def _effective(weight: Numbers) -> float:
    """Return of how many rows of equal weight these are worth (Kish 1965)."""
    return 1 / float((weight**2).sum())


def _ends(estimate: float, error: float, weight: Numbers, confidence: float, bounded: bool) -> tuple[float, float]:
    """Return the interval of an estimate with this squared standard error."""
    if bounded:
        near = 1 / (2 * len(weight))
        inside = float(np.clip(estimate, near, 1 - near))
        low, high = wilson(inside, inside * (1 - inside) / error, confidence)
        return float(min(low, max(estimate, 0.0))), float(max(high, min(estimate, 1.0)))
    from scipy.special import stdtrit

    half = float(stdtrit(max(_effective(weight) - 1, 1), (1 + confidence) / 2)) * float(np.sqrt(error))
    return estimate - half, estimate + half
