"""The rows of a cascade: which are drawn, how they are answered, and how they are reported.

Rows are the distinct inputs of a plan (``Distinct``), in the order of their keys, so that the order of the frame, and
how often a row occurs in it, cannot make a promise untrue.  ``Population`` decides what is drawn before a request is
sent, given only how often each row occurs and a seed from all keys; ``CascadeRows`` is that for a frame.  ``Answers``
takes what the calls (``PartCall``) bring, ``Lessons`` learns from it, and ``whole`` makes one report of them all.
``cascade_call`` uses this for a frame, and ``enrich.enrich_cascade`` for files.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..._engine.plan import Plan
from ..._engine.run_state import Run
from ...html.markup import counted
from ...models import Cost, Model, price
from ...tasks import Task
from ...tasks.dialects.request import Cell
from .. import rows
from ..call import Call, built
from ..gold import truths
from ..reading import is_missing
from ..report import Report
from . import TRUTH, Certificate, Part, cell_of, shown

Rows = npt.NDArray[np.int64]
#: Rows that a classifier on vectors learns from: at least, for each label, as a share of all, and at most.
_LEAST, _A_LABEL, _SHARE, _MOST = 100, 20, 0.1, 1_000


class Distinct:
    """The distinct inputs of a plan of the strong model, in the order of their keys: its rows.

    ``order`` is the input of the plan that each row is, ``at`` its first position in the frame, and ``weights`` how
    many rows of the frame it stands for.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        there = np.flatnonzero(plan.where >= 0)
        _, first = np.unique(plan.where[there], return_index=True)
        self.order: Rows = np.array(sorted(range(len(plan.keys)), key=plan.keys.__getitem__), dtype=np.int64)
        self.at: Rows = there[first][self.order]
        self.weights = np.bincount(plan.where[there], minlength=len(plan.keys))[self.order]

    @property
    def keys(self) -> bytes:
        """Their keys, one after the other."""
        return b"".join(self.plan.keys[at] for at in self.order.tolist())

    def price(self, task: Task, model: Model, some: Rows) -> Cost:
        """Return what these rows cost at most."""
        inputs = [self.plan.inputs[at] for at in self.order[some].tolist()]
        return price(task.estimate_usage(inputs, model), model) if inputs else Cost(0.0)


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
            return f"{len(self.taught):,} of the {counted(len(self), 'distinct row')} would be needed for training"
        if (target := self.targets.get("accuracy")) is not None:
            weights = self.weights[self.open]
            best = accuracy_steps(np.arange(len(self.open)), target, self.confidence, weights, self.seed, self.sure)
            if answered(best, lambda asked: np.ones(len(asked), dtype=bool)).reason:
                return f"{rows} to show it"
        recall = self.targets.get("recall")
        if recall is not None and 0.3 * len(self.open) < np.log(delta) / np.log(recall):
            return f"{rows} to find enough of those that are kept"
        return ""

    def idle(self, strong: str, least: Cost, alone: Cost) -> str:
        """Say why it does not pay, given the least cost and that of the strong model alone; empty if it may pay."""
        if not len(self.open) or self.too_few:
            return self.too_few if len(self.open) else ""
        if alone.neurons and least.neurons is not None and least.neurons >= alone.neurons:
            return f"it costs at least as much as {strong} alone"
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
    columns = [known[name].tolist() for name in known.columns]
    found: dict[int, tuple[Any, ...]] = {}
    for position, at in enumerate(plan.where.tolist()):
        each = tuple(column[position] for column in columns)
        if at >= 0 and None not in each and found.setdefault(at, each) != each:
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
        They do not fit the rows or the questions, or one of them is not an answer to its question.
    """
    names = [task.name if part.name is None else part.name for part in parts]
    made = truths(data, on, truth, names)
    if made is None:
        return None
    if absent := [name for name in names if name not in made]:
        raise ValueError(f"truth: the answers of a row go together, and {', '.join(absent)} is not among them.")
    return pd.DataFrame(
        {name: _read(name, part, made[name], data.index) for name, part in zip(names, parts, strict=True)}
    )


def _read(name: str, part: Part, given: pd.Series[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    found: list[Any] = [None] * len(given)
    for at, truth in enumerate(given.tolist()):
        if not is_missing(truth):
            try:
                found[at] = part.read(truth)
            except ValueError as error:
                raise ValueError(
                    f"truth of {name}: row {index[at]} has {truth!r:.60}, which {error}. Correct it, or leave it out "
                    "(None) where the right answer is not known."
                ) from None
    return pd.Series(found, dtype=object)


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


# -- their answers -----------------------------------------------------------------------------------------------------


class PartCall(Call):
    """A call that is a part of a cascade: rows that fail are left to the whole."""

    stored: npt.NDArray[np.bool_]  # which rows the store can answer, before it is made

    def look(self) -> None:
        """Look which rows the store can answer."""
        plan = self.plan()
        self.stored = np.append(plan.stored, False)[plan.where]

    def asked(self, some: Rows, answers: Answers) -> Generator[Call, Any, None]:
        """Ask the strong model about these rows, and take what it answers, before Stop too."""
        self.look()
        try:
            yield self
        finally:
            answers.take(some, self)

    def guessed(self, some: Rows, answers: Answers) -> Generator[Call, Any, None]:
        """Ask the cheap model about these rows, and take what it answers."""
        self.look()
        yield self
        answers.guess(some, self.cells(), self.model.name, self.stored)

    def cells(self) -> list[Any]:
        """Return the cell of each row; None where there is none."""
        if self.report is None:
            return [None] * len(self.rows.inputs)
        run = self.report.run
        found = run.results.cells()
        return [None if at < 0 or at in run.failures else found[at] for at in run.plan.where.tolist()]

    def _concluded(self) -> tuple[list[str], Any]:
        assert self.report is not None
        return (self.whole or self.report).conclude("keep", failures=False), self.report.frame()


class Answers:
    """The answers of a cascade, by row: those that stand whatever happens, and guesses that may."""

    def __init__(self, count: int, gold: Mapping[int, Any]) -> None:
        # The strong model's cells, and those of truths; None where there is none (yet).
        self.cells: list[Any] = [gold.get(row) for row in range(count)]
        self.by = np.array([TRUTH if row in gold else "" for row in range(count)], dtype=object)
        self.settled = self.by == TRUTH  # also once the strong model was asked, whether it answered or not
        self.guesses: list[Any] = [None] * count  # cheap cells
        self.guessed_by = np.full(count, "", dtype=object)
        self.kept = np.zeros(count, dtype=bool)  # of which the guess stands
        self.stored = np.zeros((2, count), dtype=bool)  # of guesses, and of answers
        self.errors: dict[int, Any] = {}

    def take(self, some: Rows, call: PartCall) -> None:
        """Take what the strong model answered."""
        for at, (row, cell) in enumerate(zip(some.tolist(), call.cells(), strict=True)):
            if cell is not None:
                self.cells[row], self.by[row], self.stored[1, row] = cell, call.model.name, call.stored[at]
        if call.report is not None:
            self.errors |= {int(some[at]): error for at, error in call.report.errors.items()}

    def guess(self, some: Rows, cells: Sequence[Any], by: str, stored: npt.NDArray[np.bool_]) -> None:
        """Take cheap answers; one that is missing leaves an earlier one."""
        for at, (row, cell) in enumerate(zip(some.tolist(), cells, strict=True)):
            if cell is not None:
                self.guesses[row], self.guessed_by[row], self.stored[0, row] = cell, by, stored[at]

    @property
    def asked(self) -> npt.NDArray[np.bool_]:
        """Rows that the strong model was asked about."""
        asked: npt.NDArray[np.bool_] = self.settled & (self.by != TRUTH)
        return asked

    def stand(self) -> None:
        """Let the guesses that are kept be answers."""
        for row in np.flatnonzero(self.kept).tolist():
            self.cells[row], self.by[row], self.stored[1, row] = (
                self.guesses[row], self.guessed_by[row], self.stored[0, row],
            )  # fmt: skip

    def agree(self, task: Task, some: Rows) -> npt.NDArray[np.bool_]:
        """Return of which rows the guess is the strong model's answer; where one of both is missing, it is not."""
        one, other = (shown(task, [cells[row] for row in some.tolist()]) for cells in (self.guesses, self.cells))
        same = (a is not None and a == b for a, b in zip(one, other, strict=True))
        found: npt.NDArray[np.bool_] = np.fromiter(same, dtype=bool, count=len(some))
        return found


class Lessons:
    """What was learned from vectors and the answers to them: a guess for other vectors, and whether it is sure.

    `cells` are the answers to `vectors`, a row each; from an accuracy of `target` on a guess is sure.
    """

    def __init__(self, parts: Sequence[Part], vectors: npt.NDArray[Any], cells: Sequence[Cell], target: float) -> None:
        from ...vectors.classifier import fit, sure_from

        self._parts, self._each = parts, []
        for part in parts:
            labels = [part.answer(cell) for cell in cells]
            found = fit(vectors, labels)
            best = [found.labels[at] for at in found.held_out.argmax(axis=1).tolist()]
            right = np.array([one == other for one, other in zip(best, labels, strict=True)])
            self._each.append((found, sure_from(found.held_out.max(axis=1), right, target)))

    def guesses(self, vectors: npt.NDArray[Any]) -> tuple[list[Cell], npt.NDArray[np.bool_]]:
        """Return a cell for each vector, and whether it is sure."""
        cells, sure = [], np.ones(len(vectors), dtype=bool)
        for part, (found, least) in zip(self._parts, self._each, strict=True):
            p = found(vectors)
            cells.append([part.guessed(dict(zip(found.labels, each, strict=True))) for each in p.tolist()])
            sure &= p.max(axis=1, initial=0.0) >= least
        return [cell_of(self._parts, each) for each in zip(*cells, strict=True)], sure


# -- their report ------------------------------------------------------------------------------------------------------


def costs_of(calls: Sequence[Call]) -> Cost:
    """Return what the answers of calls cost; of those that were not begun nothing."""
    return sum((call.report.run.cost_of_answers for call in calls if call.report is not None), Cost(0.0, True))


def whole(
    strong: PartCall, distinct: Distinct, answers: Answers, calls: Sequence[Call], certificate: Certificate | None, *,
    by_key: bool = False,
) -> Report:  # fmt: skip
    """Return the report of all calls of a cascade together.

    Without a certificate, that of what was asked of the strong model before something ended the call.  ``by_key``: its
    frame has the distinct rows in the order of their keys, and a missing one behind them.
    """
    plan, index = distinct.plan, strong.rows.index
    if by_key:
        plan, index = copy.copy(plan), pd.RangeIndex(len(distinct.order) + 1)
        plan.where = np.append(distinct.order, -1)
    run = Run(plan, strong.options)
    for part in (call.report.run for call in calls if call.report is not None):
        run.add(part)
    there = [row for row, cell in enumerate(answers.cells) if cell is not None]
    run.deliver(distinct.order[there], [answers.cells[row] for row in there])
    run.stored = int(
        distinct.weights[[row for row in there if answers.stored[1, row] or answers.by[row] == TRUTH]].sum()
    )
    for row, error in answers.errors.items():
        if answers.cells[row] is None:
            run.fail(int(distinct.order[row]), error)
    run.ended = time.monotonic()
    names = list(dict.fromkeys([TRUTH, *answers.guessed_by.tolist(), strong.model.name]))
    by = dict(zip(distinct.order.tolist(), answers.by.tolist(), strict=True))
    sources = [by.get(at) or None for at in plan.where.tolist()]
    categories = [name for name in names if name and name in sources]
    column = pd.Series(pd.Categorical(sources, categories), index=index, name="answered_by")
    build = functools.partial(_with_sources, index=index, sources=column)
    made = Report(run, strong.rows, build, f"{plan.task.name} with a cascade")
    made.certificate, made.answered_by = certificate, column
    return made


def _with_sources(run: Run, index: pd.Index[Any], sources: pd.Series[Any]) -> pd.Series[Any] | pd.DataFrame:
    made = built(run, index)
    if isinstance(made, pd.DataFrame):
        made.insert(made.shape[1], str(sources.name), sources.array)
    return made
