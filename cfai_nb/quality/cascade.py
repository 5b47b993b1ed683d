"""Which cheap answers may stand, with a promise about all rows that holds with a stated probability.

A cheap model has answered every row.  `ask` sends a random sample of the rows to the strong model and returns which of
the cheap answers were the same (or the same as the gold).  What comes out is a `Certificate`: the rows whose cheap
answer stands, and the rows that were asked.  All others take the strong model's answer, the asked ones too.

The sample is uniform over the rows, whatever their scores and their order, so the promise does not rest on the scores
being probabilities, or on the frame being shuffled; bad scores cost savings.  Rows outside of the certified part go to
the strong model anyway, so asking the whole sample at once costs nothing more, and every test below is exact: errors
in a random part of a finite set follow the hypergeometric distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import takes_options
from .arrays import Flags, Numbers, Positions, numbers, percent, same_rows, share_of

#: Beginnings of the ranking that are tested, one after the other.
STAGES = 40
#: More than this share of the rows is never sampled: there would be nothing left to save.
MOST = 0.5
#: A stream of random numbers of its own: data that were made with the same seed have nothing to do with the sample.
_STREAM = (0x5A11,)

Ask = Callable[[Positions], Any]


@dataclass(frozen=True)
class Certificate:
    """For which rows the cheap answer stands, and what is promised about them.

    Attributes
    ----------
    keep : numpy.ndarray
        bool, shape (n,): the cheap answer stands.  No row of `asked` is among them.
    asked : numpy.ndarray
        int64: positions of the rows that were asked, in the order in which they were drawn.
    promise : {"accuracy", "recall", "precision"}
    target, confidence : float
        With probability `confidence` the promise is at least `target`.
    rows : int
        How many rows the promise is about; a row of weight 3 counts three times.
    kept, sent : int
        Of these, how many keep the cheap answer, and how many take the strong model's.
    checked, wrong : int
        Distinct rows that were asked, and of these, how many cheap answers were not the strong one's.
    reason : str
        Why nothing is certified; ``""`` where something is.
    """

    keep: Flags = field(repr=False)
    asked: Positions = field(repr=False)
    promise: Literal["accuracy", "recall", "precision"]
    target: float
    confidence: float
    rows: int
    kept: int
    checked: int
    wrong: int
    reason: str = ""

    @property
    def sent(self) -> int:
        return self.rows - self.kept

    @property
    def saved(self) -> float:
        """Share of the rows that the strong model never sees."""
        return self.kept / self.rows if self.rows else 0.0

    @property
    def words(self) -> str:
        """The promise in one sentence, or why there is none."""
        if self.reason:
            return f"nothing is certified, every row takes the strong model's answer: {self.reason}"
        about = {
            "accuracy": f"of {self.rows:,} answers are the strong model's",
            "recall": f"of the positive rows among {self.rows:,} are found",
            "precision": f"of the rows returned as positive, of {self.rows:,} in question, are positive",
        }[self.promise]
        return (
            f"with {percent(self.confidence)} confidence at least {percent(self.target)} {about}; "
            f"{self.kept:,} keep the cheap answer, {self.sent:,} take the strong one ({self.checked:,} asked to check)"
        )


@takes_options()
def cascade(
    scores: Any, ask: Ask, accuracy: float = 0.95, confidence: float = 0.95, weights: Any = None, seed: int = 0
) -> Certificate:
    """Let as many cheap answers stand as the promise allows: at least `accuracy` of all rows as the strong model says.

    Any number of labels: all that counts is whether the two answers are equal.

    1. Draw a uniform sample of the rows, ask for it, and rank all rows by score.
    2. For growing beginnings of the ranking test exactly whether more than (1 - `accuracy`) * n errors are in them.
       The first that cannot be shown to hold fewer ends the search; tested in a fixed order, each test may use the
       whole of 1 - `confidence` (Maurer, Hothorn and Lehmacher 1995).
    3. Errors in the sample are corrected by the strong answer, so the last beginning is certified if its errors less
       the corrected ones are within bounds.  Only the last: the order of the tests would depend on the sample if a
       later one could be reached with the help of corrected errors, and the promise would be broken more often.

    Parameters
    ----------
    scores : array_like
        Shape (n,): how sure the cheap model is of each answer; higher is surer, any scale.  A row without a score takes
        the strong model's answer.
    ask : callable
        ``ask(rows)`` gets positions (int64, distinct) and returns for each whether the cheap answer is the strong
        one.  Called once at most.
    accuracy : float, default 0.95
    confidence : float, default 0.95
    weights : array_like of int, optional
        Shape (n,): how many rows of the frame each distinct row stands for; default 1.
    seed : int, default 0
        The same seed and rows give the same sample, whatever the scores; a stricter promise asks the same rows and
        further ones.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        An option is out of range, or `ask` returned something else than one truth value a row.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> scores = random.beta(8, 1, 20_000)
    >>> same = random.random(20_000) < scores
    >>> found = cascade(scores, lambda rows: same[rows], accuracy=0.9)
    >>> bool((found.keep & ~same).mean() <= 0.1)
    True
    >>> found.saved > 0.8
    True
    """
    target, confidence = share_of(accuracy, "accuracy"), share_of(confidence, "confidence")
    rank = _Ranked(scores, weights, seed)
    budget = int(np.floor((1 - target) * rank.total + 1e-9))
    if budget < 1:
        return rank.nothing("accuracy", target, confidence, f"{rank.total:,} rows leave no room for a single error")
    rank.ask(ask, rank.sample(1 - target, 1 - confidence))
    ends = rank.ends(STAGES)
    last = rank.longest(ends, np.full(len(ends), budget), 1.0, 1 - confidence)
    if last < 0 or rank.size[ends[last]] <= budget:  # a part that is smaller than the budget proves nothing
        return rank.nothing("accuracy", target, confidence, "the cheap answers differ too often from the strong ones")
    return rank.certificate(rank.beginning(ends[last]), "accuracy", target, confidence)


@takes_options()
def precision_cut(
    scores: Any, ask: Ask, precision: float = 0.9, confidence: float = 0.95, weights: Any = None, seed: int = 0
) -> Certificate:
    """Let the surest "yes" of a cheap filter stand: at least `precision` of the rows returned are positive.

    Give only the rows that the cheap model calls positive.  The test is that of `cascade`, with bounds that grow with
    the part that is certified: what the filter returns is that part, and what the strong model adds is right.

    Parameters
    ----------
    scores : array_like
        Shape (n,): the cheap model's score of "yes".
    ask : callable
        ``ask(rows)`` returns for each position whether the strong model says "yes" too.  Called once at most.
    precision, confidence, weights, seed
        As in `cascade`.

    Returns
    -------
    Certificate
        ``.keep``: the cheap "yes" stands.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> scores = random.beta(8, 1, 5_000)
    >>> yes = random.random(5_000) < scores
    >>> found = precision_cut(scores, lambda rows: yes[rows], precision=0.9)
    >>> bool(yes[found.keep].mean() >= 0.9)
    True
    """
    target, confidence = share_of(precision, "precision"), share_of(confidence, "confidence")
    rank = _Ranked(scores, weights, seed)
    rank.ask(ask, size := rank.sample(1 - target, 1 - confidence))
    # A part too small for its sample to show anything would end the search before it began.
    least = 2 * np.log(1 - confidence) / np.log(target) * rank.total / max(size, 1)
    ends = np.array([end for end in rank.ends(STAGES) if rank.size[end] >= least], dtype=np.int64)
    bounds = (1 - target) * rank.size[ends] + 1e-9
    last = rank.longest(ends, bounds, target, 1 - confidence)
    if last < 0:
        few = f"{rank.total:,} rows are too few" if not len(ends) else "too many were not positive in the sample"
        return rank.nothing("precision", target, confidence, few)
    return rank.certificate(rank.beginning(ends[last]), "precision", target, confidence)


@takes_options()
def recall_cut(
    scores: Any, ask: Ask, recall: float = 0.9, confidence: float = 0.95, weights: Any = None, seed: int = 0,
    labels: int | None = None,
) -> Certificate:  # fmt: skip
    """Let the surest "no" of a cheap filter stand: at least `recall` of all positive rows are found.

    Among m positive rows of a uniform sample the k-th lowest score is the cut, with the largest k for which
    P(Binomial(m, 1 - recall) < k) <= 1 - confidence (an exact order statistic bound).  Rows below take "no"; the
    sampled rows and those above are the strong model's.  Without enough positives in the sample there is no
    certificate.

    Parameters
    ----------
    scores : array_like
        Shape (n,): the cheap model's score of "yes".  A row without a score is never dropped.
    ask : callable
        ``ask(rows)`` returns for each position whether the strong model says "yes".  Called several times, until
        enough positive rows are found or the sample is used up; no row twice.
    recall, confidence, weights, seed
        As in `cascade`.
    labels : int, optional
        Ask this many rows, in one call.  Default: until three times as many positives are found as the loosest cut
        needs, and at most 30 % of the rows.

    Returns
    -------
    Certificate
        ``.keep``: the cheap "no" stands.

    Examples
    --------
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> scores = random.beta(0.2, 2, 20_000)
    >>> yes = random.random(20_000) < scores
    >>> found = recall_cut(scores, lambda rows: yes[rows], recall=0.9)
    >>> bool(yes[~found.keep].sum() >= 0.9 * yes.sum())
    True
    """
    target, confidence = share_of(recall, "recall"), share_of(confidence, "confidence")
    rank = _Ranked(scores, weights, seed)
    if labels is None:
        least = int(np.ceil(np.log(1 - confidence) / np.log(target)))
        rank.ask_until(ask, 3 * least, int(0.3 * rank.total))
    else:
        rank.ask(ask, labels)
    positive = np.repeat(rank.scores, np.where(rank.right, rank.drawn, 0))  # a row drawn twice counts twice
    positive = np.sort(np.where(np.isnan(positive), np.inf, positive))
    allowed = _order_statistic(len(positive), 1 - target, 1 - confidence)
    if not allowed:
        few = f"{len(positive):,} positive rows among {len(rank.asked):,} asked are too few"
        return rank.nothing("recall", target, confidence, few)
    return rank.certificate(rank.scores < positive[allowed - 1], "recall", target, confidence)


def sample_share(rows: int, bound: float, delta: float) -> float:
    """Return the share of the rows to sample, so that the most rows keep the cheap answer.

    A larger sample costs its own rows and brings the certified part closer to the bound.  With errors that become more
    along the ranking, the bound is met at rank k with an error rate of p = bound * rows / k so far and of about 1.5p
    just there; a test at level `delta` stops z * sqrt(k p (1 - p) / f) errors short of it, at 1 / (1.5p) rows an error.
    The sum of both costs is least at the f returned.  It depends on nothing that is observed, so it cannot spoil a
    test; half or twice as much costs one or two rows in a hundred.

    Examples
    --------
    >>> round(sample_share(10_000, 0.05, 0.1), 3)
    0.07
    """
    from scipy.special import ndtri

    if not rows:
        return 0.0
    rank = 0.8 * rows
    rate = min(bound / 0.8, 0.5)
    f = (max(-ndtri(delta), 0.5) * np.sqrt(rate * (1 - rate) / rank) / (3 * rate)) ** (2 / 3)
    return float(min(MOST, f))


class _Ranked:
    """Rows in the order of their scores, and what the sample showed of them."""

    def __init__(self, scores: Any, weights: Any, seed: int) -> None:
        same_rows(scores=scores, weights=weights)
        self.scores = numbers(scores, "scores")
        self.weights = _counts(weights, len(self.scores))
        self.total = int(self.weights.sum())
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=_STREAM))
        # The sample is one of rows of the frame, so that of a row of weight 3 three can be drawn.
        self._draws: Positions = random.permutation(self.total)
        if weights is not None:
            self._draws = np.repeat(np.arange(len(self.scores)), self.weights)[self._draws]
        # Equal scores are ranked at random: the order of the frame may say more than it should.
        ties = random.permutation(len(self.scores))
        self.order = ties[np.argsort(np.where(np.isnan(self.scores), np.inf, -self.scores)[ties], kind="stable")]
        self.size = np.cumsum(self.weights[self.order])
        self.drawn = np.zeros(len(self.scores), dtype=np.int64)
        self.right = np.zeros(len(self.scores), dtype=bool)
        self.asked: Positions = np.empty(0, dtype=np.int64)

    def sample(self, bound: float, delta: float) -> int:
        """Return how many rows of the frame to draw."""
        # A row of weight 3 is drawn three times as often, and then leaves the cheap side with all three.
        each = float((self.weights**2).sum() / max(self.total, 1))
        return int(np.ceil(sample_share(self.total, bound, delta) / max(each, 1.0) ** (2 / 3) * self.total))

    def ask(self, ask: Ask, count: int) -> None:
        """Ask for the rows of a uniform sample."""
        self._ask(ask, self._draws[:count])

    def ask_until(self, ask: Ask, positives: int, most: int) -> None:
        """Ask for more and more rows until so many are positive, or `most` were drawn.

        The number of positives may decide when to stop: which of all positive rows were found stays a matter of chance.
        """
        begin, step = 0, max(positives, 50)
        while begin < most and self.drawn[self.right].sum() < positives:
            self._ask(ask, self._draws[begin : min(most, begin + step)])
            begin, step = begin + step, max(step, begin // 4)

    def _ask(self, ask: Ask, draws: Positions) -> None:
        rows = draws[np.sort(np.unique(draws, return_index=True)[1])]
        rows = rows[self.drawn[rows] == 0]
        np.add.at(self.drawn, draws, 1)
        if len(rows):
            self.right[rows] = _answers(ask(rows.copy()), len(rows))
            self.asked = np.concatenate([self.asked, rows])

    def ends(self, stages: int) -> Positions:
        """Return where the beginnings of the ranking end that are tested; rows without a score are in none."""
        scored = int(self.weights[~np.isnan(self.scores)].sum())
        goals = np.ceil(np.arange(1, stages + 1) / stages * scored)
        found = np.searchsorted(self.size, goals[goals > 0])
        return np.unique(found).astype(np.int64)

    def longest(self, ends: Positions, bounds: npt.NDArray[Any], credit: float, delta: float) -> int:
        """Return the number of the last beginning that is certified, -1 for none.

        A beginning holds at most ``bounds`` errors, plus ``credit`` for each that the sample has corrected.  The next
        one is tested only if this one needs no credit: see `cascade`, step 3.
        """
        wrong = np.where(self.right, 0, 1)
        drawn = self.drawn[self.order]
        draws, found = np.cumsum(drawn), np.cumsum(drawn * wrong[self.order])
        known = np.cumsum((self.weights * wrong * (self.drawn > 0))[self.order])
        if not len(ends):
            return -1
        seen = self.size[ends], draws[ends], found[ends]
        errors = np.floor([bounds + credit * known[ends], bounds]) + 1
        certified, alone = as_few(*seen, errors) <= delta
        reached = np.flatnonzero(~alone)  # the first of these ends the search, with credit or without
        if not len(reached):
            return len(ends) - 1
        return int(reached[0]) if certified[reached[0]] else int(reached[0]) - 1

    def beginning(self, end: int) -> Flags:
        """Return the rows of a beginning of the ranking."""
        kept = np.zeros(len(self.scores), dtype=bool)
        kept[self.order[: end + 1]] = True
        return kept

    def certificate(self, kept: Flags, promise: Any, target: float, confidence: float) -> Certificate:
        """Return the certificate for rows of which the asked ones take the strong answer."""
        keep = kept & (self.drawn == 0)
        wrong = int((~self.right[self.asked]).sum())
        count = int(self.weights[keep].sum())
        return Certificate(keep, self.asked, promise, target, confidence, self.total, count, len(self.asked), wrong)

    def nothing(self, promise: Any, target: float, confidence: float, reason: str) -> Certificate:
        """Return the certificate that sends all rows to the strong model."""
        none = np.zeros(len(self.scores), dtype=bool)
        wrong = int((~self.right[self.asked]).sum())
        return Certificate(
            none, self.asked, promise, target, confidence, self.total, 0, len(self.asked), wrong, reason
        )  # fmt: skip


def as_few(rows: Any, drawn: Any, found: Any, errors: Any) -> Numbers:
    """Return the chance of finding as few errors as were found, if so many were among the rows.

    The lower tail of the hypergeometric distribution: `drawn` of `rows` without replacement, `errors` of them wrong,
    at most `found` drawn.  It falls as `errors` grows, so whoever refutes a number refutes all larger ones.

    Parameters
    ----------
    rows, drawn, found, errors : array_like of int
        Shapes that fit one another, such as (m,).

    Returns
    -------
    numpy.ndarray
        Of the same shape.

    Examples
    --------
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
    """Return the logarithm of n over k; any number where there is no such thing."""
    from scipy.special import gammaln

    return gammaln(np.maximum(n, 0) + 1) - gammaln(np.maximum(k, 0) + 1) - gammaln(np.maximum(n - k, 0) + 1)


def _order_statistic(count: int, share: float, delta: float) -> int:
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
