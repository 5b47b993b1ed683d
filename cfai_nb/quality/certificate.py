"""Which cheap answers may stand, with a promise about all rows that holds with a stated probability.

A cheap model has answered every row.  `ask` sends a random sample of the rows to the strong model and returns which of
the cheap answers were the same (or the same as the gold).  The result is a `Certificate`: the rows of which the cheap
answer stands, and the rows that were asked.  All others take the strong model's answer, the asked ones too.

The sample is uniform over the rows, whatever their scores and their order, so the promise does not rest on the scores
being probabilities, or on the frame being shuffled; bad scores cost savings.  Rows outside of the certified part go to
the strong model anyway, so asking the whole sample at once costs nothing more, and every bound below is exact: wrong
answers in a random part of a finite set follow the hypergeometric distribution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from .arrays import Flags, Positions, percent, share_of
from .ranking import Ranked, allowance, order_statistic

#: Beginnings of the ranking that are tested for a precision, one after the other.
STAGES = 100

Promise: TypeAlias = Literal["accuracy", "recall", "precision"]
Ask: TypeAlias = Callable[[Positions], Any]
#: Yields positions to ask, is sent whether each cheap answer is right, and returns the certificate.
Steps: TypeAlias = "Generator[Positions, Any, Certificate]"


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
        How many rows the promise is about; a row of weight 3 counts three times.  Those that are `sure` are among them.
    kept, sent : int
        Of these, how many keep the cheap answer, and how many take the strong model's.
    checked, wrong : int
        Distinct rows that were asked, and of these, how many cheap answers were not the strong one's.
    reason : str
        Why nothing is certified; ``""`` where something is.
    """

    keep: Flags = field(repr=False)
    asked: Positions = field(repr=False)
    promise: Promise
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


def cascade(
    scores: Any, ask: Ask, accuracy: float = 0.95, confidence: float = 0.95, weights: Any = None, seed: int = 0
) -> Certificate:
    """Let as many cheap answers stand as the promise allows: at least `accuracy` of all rows as the strong model says.

    Any number of labels: all that counts is whether the two answers are equal.

    1. Fix two numbers that depend on nothing that is observed: how many rows to draw, and how many of them may be
       wrong.
    2. Ask a uniform sample of that size, and rank all rows by score.
    3. Follow the ranking down past the wrong answers that were drawn, until there is one too many: what lies before it
       is certified.  The strong answer corrects the wrong ones that were drawn.
    4. More than (1 - `accuracy`) * n others lie before it only if of the first so many wrong answers, drawn or not, as
       few as allowed were drawn.  Each is as likely to be drawn as any other row, wherever it stands in the ranking, so
       the chance of that is hypergeometric, and the sample is so large that it is at most 1 - `confidence`.

    Nothing is tested twice: the number of errors that were not drawn only grows down the ranking, and it passes the
    bound once.

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
    return answered(accuracy_steps(scores, accuracy, confidence, weights, seed), ask)


def accuracy_steps(
    scores: Any, accuracy: float, confidence: float, weights: Any = None, seed: int = 0, sure: int = 0
) -> Steps:
    """Let cheap answers stand as `cascade` does; `sure` rows besides these are known to be the strong model's."""
    target, confidence = share_of(accuracy, "accuracy"), share_of(confidence, "confidence")
    rank = Ranked(scores, weights, seed)
    found = functools.partial(_certificate, rank, "accuracy", target, confidence, sure=sure)
    budget = int(np.floor((1 - target) * (rank.total + sure) + 1e-9))  # errors that the promise leaves room for
    if budget < 1:
        few = f"with {rank.total + sure:,} rows and accuracy={target:g} no error is allowed"
        return found(reason=f"{few}, so nothing can be saved")
    drawn, allowed = allowance(rank.total, budget, 1 - confidence, rank.each)
    if allowed < 0:
        return found(reason=f"{rank.total + sure:,} rows are too few for a sample that shows it")
    draws = rank.draws[:drawn]
    rows = rank.fresh(draws)
    rank.take(draws, rows, (yield rows))
    made = found(rank.until(allowed))
    if made.kept <= budget:  # a part that is smaller than the budget proves nothing
        return found(reason="the cheap answers differ too often from the strong ones")
    return made


def first_sample(
    rows: int, accuracy: float, confidence: float, weights: Any = None, seed: int = 0, sure: int = 0
) -> Positions:
    """Return the rows that `accuracy_steps` will ask, which no score has a say in; none where it asks for none."""
    steps = accuracy_steps(np.zeros(rows), accuracy, confidence, weights, seed, sure)
    return next(steps, np.empty(0, dtype=np.int64))


def precision_cut(
    scores: Any, ask: Ask, precision: float = 0.9, confidence: float = 0.95, weights: Any = None, seed: int = 0
) -> Certificate:
    """Let the surest "yes" of a cheap filter stand: at least `precision` of the rows returned are positive.

    Give only the rows that the cheap model calls positive.  What the filter returns is the part that is certified, and
    what the strong model adds is right; so the errors that are allowed grow with that part.  Growing beginnings of the
    ranking are tested exactly until one fails; in a fixed order each test may use the whole of 1 - `confidence`
    (Maurer, Hothorn and Lehmacher 1995).

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
    return answered(precision_steps(scores, precision, confidence, weights, seed), ask)


def precision_steps(scores: Any, precision: float, confidence: float, weights: Any = None, seed: int = 0) -> Steps:
    """Let cheap "yes" stand as `precision_cut` does."""
    target, confidence = share_of(precision, "precision"), share_of(confidence, "confidence")
    rank = Ranked(scores, weights, seed)
    found = functools.partial(_certificate, rank, "precision", target, confidence)
    draws = rank.sample(1 - target, 1 - confidence)
    if len(rows := rank.fresh(draws)):
        rank.take(draws, rows, (yield rows))
    # A part too small for its sample to show anything would end the search before it began.
    least = 2 * np.log(1 - confidence) / np.log(target) * rank.total / max(len(draws), 1)
    ends = np.array([end for end in rank.ends(STAGES) if rank.size[end] >= least], dtype=np.int64)
    bounds = (1 - target) * rank.size[ends] + 1e-9
    last = rank.longest(ends, bounds, target, 1 - confidence)
    if last < 0:
        few = f"{rank.total:,} rows are too few" if not len(ends) else "too many were not positive in the sample"
        return found(reason=few)
    return found(rank.first(ends[last] + 1))


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
    return answered(recall_steps(scores, recall, confidence, weights, seed, labels), ask)


def recall_steps(
    scores: Any, recall: float, confidence: float, weights: Any = None, seed: int = 0, labels: int | None = None
) -> Steps:
    """Let cheap "no" stand as `recall_cut` does."""
    target, confidence = share_of(recall, "recall"), share_of(confidence, "confidence")
    rank = Ranked(scores, weights, seed)
    # The number of positives may decide when to stop: which of all positive rows were found stays a matter of chance.
    least = 3 * int(np.ceil(np.log(1 - confidence) / np.log(target)))
    most = int(0.3 * rank.total) if labels is None else labels
    begin, step = 0, max(least, 50) if labels is None else labels
    while begin < most and (labels is not None or rank.drawn[rank.right].sum() < least):
        draws = rank.draws[begin : min(most, begin + step)]
        rows = rank.fresh(draws)
        rank.take(draws, rows, (yield rows) if len(rows) else ())
        begin, step = begin + step, max(step, begin // 4)
    positive = np.repeat(rank.scores, np.where(rank.right, rank.drawn, 0))  # a row drawn twice counts twice
    positive = np.sort(np.where(np.isnan(positive), np.inf, positive))
    allowed = order_statistic(len(positive), 1 - target, 1 - confidence)
    found = functools.partial(_certificate, rank, "recall", target, confidence)
    if not allowed:
        return found(reason=f"{len(positive):,} positive rows among {len(rank.asked):,} asked are too few")
    return found(rank.scores < positive[allowed - 1])


def answered(steps: Steps, ask: Ask) -> Certificate:
    """Run a promise with a callback, and return its certificate."""
    given: Any = None
    while True:
        try:
            rows = steps.send(given)
        except StopIteration as end:
            found: Certificate = end.value
            return found
        given = ask(rows)


def _certificate(
    rank: Ranked, promise: Promise, target: float, confidence: float, kept: Flags | None = None, *, sure: int = 0,
    reason: str = "",
) -> Certificate:  # fmt: skip
    """Return the certificate: rows that were asked take the strong answer, and without `kept` all rows do."""
    keep = np.zeros(len(rank.scores), dtype=bool) if kept is None else kept & (rank.drawn == 0)
    return Certificate(
        keep, rank.asked, promise, target, confidence, rank.total + sure, int(rank.weights[keep].sum()),
        len(rank.asked), int((~rank.right[rank.asked]).sum()), reason,
    )  # fmt: skip
