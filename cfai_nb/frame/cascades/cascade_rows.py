"""The rows of a cascade: which are distinct, which have a truth, which are learned from, and which are checked first.

``Population`` decides what is drawn, given only how often each row occurs and a seed from all keys, before a request is
sent.  Rows are in the order of their keys, so that the order of the frame, and how often a row occurs in it, cannot
make a promise untrue.  ``CascadeRows`` is that for a frame.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..._engine.plan import Plan
from ...models import Cost
from ...tasks import Task
from .. import rows
from ..gold import truths
from .cascade_parts import Distinct, Part, Rows, cell_of

#: Rows that a classifier on vectors learns from: at least, for each label, as a share of all, and at most.
_LEAST, _A_LABEL, _SHARE, _MOST = 100, 20, 0.1, 1_000


class Population:
    """What is drawn from distinct rows, given their keys and how many rows of the frame each stands for.

    `known` are the rows with a truth; `learns` says whether some rows are needed to learn from, and `targets` what is
    promised.
    """

    def __init__(
        self, keys: bytes, weights: npt.NDArray[np.int64], parts: Sequence[Part], known: Rows, *, learns: bool,
        targets: Mapping[str, float], confidence: float,
    ) -> None:  # fmt: skip
        self.weights, self.parts, self.learns = weights, parts, learns
        self.targets, self.confidence = targets, confidence
        self.seed = int.from_bytes(hashlib.blake2b(keys, digest_size=8).digest(), "big")
        unknown = np.setdiff1d(np.arange(len(weights)), known)
        shuffled = np.random.default_rng([self.seed, 1]).permutation(unknown)
        #: Rows of the strong model that are learned from.
        self.taught: Rows = shuffled[: max(0, self.lessons - len(known))] if learns else shuffled[:0]
        #: Rows that a promise has to be made about.  Of the others, ``sure`` rows of the frame, the answer is known.
        self.open: Rows = np.setdiff1d(unknown, self.taught)
        self.sure = int(self.weights.sum() - self.weights[self.open].sum())

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def lessons(self) -> int:
        """Return how many rows are learned from."""
        wanted = max(_LEAST, _A_LABEL * max(2 if part.labels is None else len(part.labels) for part in self.parts))
        return min(max(wanted, int(_SHARE * len(self))), max(wanted, _MOST))

    @functools.cached_property
    def checked(self) -> Rows:
        """The rows that are checked in any case, whatever the cheap answers: the strong model is asked at least these.

        For an accuracy they are the whole sample; for a recall its beginning, of about this size.
        """
        from ...quality.certificate import first_sample

        if (target := self.targets.get("accuracy")) is not None:
            weights = self.weights[self.open]
            return self.open[first_sample(len(self.open), target, self.confidence, weights, self.seed, self.sure)]
        return self.open[: min(50, len(self.open) // 3)] if "recall" in self.targets else self.open[:0]

    @functools.cached_property
    def too_few(self) -> str:
        """Why there are too few rows to show anything, even if every cheap answer were right; else empty."""
        from ...quality.certificate import accuracy_steps, answered

        rows, delta = f"{int(self.weights.sum()):,} rows are too few", 1 - self.confidence
        if self.learns and 4 * len(self.taught) > len(self):
            return f"{rows} to learn from {len(self.taught):,} of them"
        if (target := self.targets.get("accuracy")) is not None:
            weights = self.weights[self.open]
            best = accuracy_steps(np.arange(len(self.open)), target, self.confidence, weights, self.seed, self.sure)
            if answered(best, lambda asked: np.ones(len(asked), dtype=bool)).reason:
                return f"{rows} to show it"
        recall = self.targets.get("recall")
        if recall is not None and 0.3 * len(self.open) < np.log(delta) / np.log(recall):
            return f"{rows} to find enough of those that are kept"
        return ""

    def expected(self) -> float:
        """Return the share of the rows beyond the checked ones that is saved if about nine of ten answers are right."""
        from ...quality import cascade

        random = np.random.default_rng(0)
        scores = random.beta(8, 1, min(len(self.open), 5_000))
        right = random.random(len(scores)) < scores
        found = cascade(scores, lambda asked: right[asked], min(self.targets.values()), self.confidence)
        return min(1.0, found.kept / max(found.rows - found.checked, 1))


class CascadeRows(Distinct, Population):
    """The distinct rows of a plan of the strong model for all rows, and what is drawn from them.

    `known` is what ``known_answers`` gave; ``gold`` has the cell of each row with a truth.
    """

    def __init__(
        self, plan: Plan, parts: Sequence[Part], known: pd.DataFrame | None, *, learns: bool,
        targets: Mapping[str, float], confidence: float,
    ) -> None:  # fmt: skip
        Distinct.__init__(self, plan)
        found = {} if known is None else known_inputs(plan, known)
        each = {row: found.get(at) for row, at in enumerate(self.order.tolist())}
        self.gold = {row: known_cell(parts, answers) for row, answers in each.items() if answers}
        Population.__init__(
            self, self.keys, self.weights, parts, np.array(sorted(self.gold), dtype=np.int64), learns=learns,
            targets=targets, confidence=confidence,
        )  # fmt: skip


def known_inputs(plan: Plan, known: pd.DataFrame) -> dict[int, tuple[Any, ...]]:
    """Return the right answers by input of a plan; an empty tuple where equal rows have different ones."""
    columns = [known[name].astype(object).tolist() for name in known.columns]
    found: dict[int, tuple[Any, ...]] = {}
    for position, at in enumerate(plan.where.tolist()):
        each = tuple(column[position] for column in columns)
        if at >= 0 and not any(pd.isna(one) for one in each) and found.setdefault(at, each) != each:
            found[at] = ()
    return found


def known_cell(parts: Sequence[Part], answers: tuple[Any, ...]) -> Any:
    """Return the cell of right answers."""
    return cell_of(parts, [part.known(one) for part, one in zip(parts, answers, strict=True)])


def known_answers(task: Task, parts: Sequence[Part], data: rows.Frame, on: Any, truth: Any) -> pd.DataFrame | None:
    """Return the right answers of rows by position, a column a question; None where ``truth=`` was not given.

    Raises
    ------
    ValueError
        They do not fit the rows or the questions.
    """
    names = [task.name if part.name is None else part.name for part in parts]
    made = truths(data, on, truth, names)
    if made is None:
        return None
    if absent := [name for name in names if name not in made]:
        raise ValueError(f"truth: the answers of a row go together, and {', '.join(absent)} is not among them.")
    return made[names]


def hopeless(
    name: str, right: npt.NDArray[np.bool_], sure: Sequence[float] | npt.NDArray[np.float64], accuracy: float,
    gain: Cost, pay: Cost,
) -> str:  # fmt: skip
    """Say why a cheap model is not worth its price, going by the rows that were checked; empty if it may be.

    `sure` is how sure it was of each of them, `gain` what the strong model costs for the other rows, and `pay` what the
    cheap one does.
    """
    scores = np.asarray(sure, dtype=float)
    if not len(right):
        return ""
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), kind="stable")
    wrong = np.cumsum(~right[order] | np.isnan(scores[order]))
    kept = float((wrong <= (1 - accuracy) * len(right)).mean())
    if kept >= 0.1 if gain.neurons is None or pay.neurons is None else kept * gain.neurons > pay.neurons:
        return ""
    return f"{name} gave the same answer on {right.sum():,} of {len(right):,} rows"
