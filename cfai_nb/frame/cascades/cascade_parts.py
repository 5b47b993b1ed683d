"""The parts of a cascade's call: the questions of its task, its calls, its answers row by row, and its report.

A cell of ``classify``, ``check``, ``sentiment``, ``ask`` (without scales) and ``moderate`` is taken apart into answers
that are equal or not, which is what a cascade compares and learns.  ``cascade`` puts the parts together for a frame,
and ``enrich.enrich_cascade`` for files.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..._engine.plan import Plan
from ..._engine.run_options import RunOptions
from ..._engine.run_state import Run
from ...errors import ModelError
from ...models import Cost, Model, price
from ...tasks import Ask, Check, Classify, Moderate, Sentiment, Task, Verify
from ...tasks.dialects.labels import Taxonomy
from ...tasks.dialects.question_types import Choice, Scale
from ...tasks.dialects.request import Cell, Column
from .. import progress
from ..call import Call, Whole, built, warn
from ..progress import Display
from ..report import Report
from .cascade_plan import Certificate

Rows = npt.NDArray[np.int64]
#: Tasks with answers that are equal or not.
DECIDING: tuple[type[Task], ...] = (Classify, Check, Sentiment, Verify, Ask, Moderate)


@dataclass(frozen=True, slots=True)
class Part:
    """One question of a task."""

    name: str | None  # within the cell; None where the cell is its answer
    labels: tuple[str, ...] | None  # what can be answered; None for a yes or no
    threshold: float = 0.5  # the least probability of a yes

    def answer(self, cell: Cell) -> str | bool:
        """Return the answer in a cell of the task."""
        own = cell if self.name is None else cell[self.name]
        if self.labels is not None:
            return str(own["label"])
        return bool(own["value"] if own["p"] is None else own["p"] >= self.threshold)

    def yes(self, cell: Cell) -> float | None:
        """Return the probability of yes, stretched so that the threshold is one half; None where there is none."""
        p = (cell if self.name is None else cell[self.name])["p"]
        if p is None:
            return None
        t = self.threshold
        if p >= t:
            return float(0.5 + 0.5 * (p - t) / (1 - t)) if t < 1 else 1.0
        return float(0.5 * p / t)

    def sure(self, cell: Cell) -> float | None:
        """Return the probability of the answer given; None where there is none."""
        if self.labels is None:
            yes = self.yes(cell)
            return None if yes is None else max(yes, 1 - yes)
        found = (cell if self.name is None else cell[self.name])["confidence"]
        return None if found is None else float(found)

    def known(self, answer: Any) -> Cell:
        """Return the cell of an answer without probabilities."""
        if self.labels is not None:
            return {"label": str(answer), "confidence": None, "p": None}
        return {"value": bool(answer), "p": None}

    def guessed(self, p: Mapping[Any, float]) -> Cell:
        """Return the cell of an answer with a probability for each; those that are not named have none."""
        if self.labels is not None:
            all_ = {name: float(p.get(name, 0.0)) for name in self.labels}
            best = max(all_, key=all_.__getitem__)
            return {"label": best, "confidence": all_[best], "p": all_}
        yes, t = float(p.get(True, 0.0)), self.threshold
        return {"p": t + (yes - 0.5) * 2 * (1 - t) if yes >= 0.5 else 2 * yes * t}


def parts_of(task: Task) -> tuple[Part, ...]:
    """Return the questions of a task.

    Raises
    ------
    ModelError
        Its answers are not simply equal or not.
    """
    if isinstance(task, Classify) and task.labels is not None:
        if task.multiple:
            return tuple(Part(name, None, task.threshold) for name in task.labels)
        way = task.way
        return (Part(None, way.paths if isinstance(way, Taxonomy) else tuple(task.labels)),)
    if isinstance(task, Check):
        return (Part(None, None, task.threshold),)
    if isinstance(task, (Sentiment, Verify)):
        return (Part(None, task.question().names),)
    if isinstance(task, Moderate):
        return tuple(Part(name, None, task.threshold) for name in task.questions)
    if isinstance(task, Ask):
        scales = [name for name, question in task.questions.items() if isinstance(question, Scale)]
        if scales:
            raise ModelError(f"a cascade cannot answer {', '.join(scales)}: a place on a scale is not right or wrong.")
        limits = (
            task.threshold if isinstance(task.threshold, Mapping) else dict.fromkeys(task.questions, task.threshold)
        )
        return tuple(
            Part(name, question.names if isinstance(question, Choice) else None, limits.get(name, 0.5))
            for name, question in task.questions.items()
        )
    able = ", ".join(each.name for each in DECIDING)
    raise ModelError(f"{task.name} cannot use a cascade here: its answers must be equal or not. These can: {able}.")


def shown(task: Task, cells: Sequence[Cell]) -> list[Any]:
    """Return the answers as the task shows them without probabilities, in a form that can be compared."""
    columns = dataclasses.replace(task, probabilities=False).to_columns(cells)  # type: ignore[call-arg]
    listed = [columns] if isinstance(columns, Column) else list(columns.values())
    return [
        None if cell is None else tuple(map(_comparable, values))
        for cell, values in zip(cells, zip(*(column.values for column in listed), strict=True), strict=True)
    ]


def _comparable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, tuple)) else value


def sureness(parts: Sequence[Part], cells: Sequence[Cell]) -> list[float]:
    """Return how sure each cell is: the product over its questions; NaN where there is no cell or no probability."""
    found = []
    for cell in cells:
        each = [None if cell is None else part.sure(cell) for part in parts]
        found.append(math.nan if None in each else math.prod(p for p in each if p is not None))
    return found


def cell_of(parts: Sequence[Part], each: Sequence[Cell]) -> Cell:
    """Return the cell of a task, given that of each question."""
    if len(parts) == 1 and parts[0].name is None:
        return each[0]
    return {part.name: own for part, own in zip(parts, each, strict=True)}


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


TRUTH = "truth"


class PartCall(Call):
    """A call that is a part of a cascade: rows that fail are left to the whole."""

    stored: npt.NDArray[np.bool_]  # which rows the store can answer, before it is made

    def look(self) -> None:
        """Look which rows the store can answer."""
        plan = self.plan()
        self.stored = np.append(plan.stored, False)[plan.where]

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


class Warn:
    """A step that says something before the next one; ``say`` takes it, as that of a ``Call`` does."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.say: Callable[[str], object] = warn

    def wait(self, display: Display | None = None) -> None:
        """Say it."""
        self.say(self._text)

    async def wait_async(self, display: Display | None = None) -> None:
        """Say it."""
        self.wait(display)


class Finish:
    """The last step: shows the report of the whole, and raises or warns as every call does."""

    def __init__(self, report: Report, options: RunOptions, whole: Whole | None = None) -> None:
        self._report, self._options, self._whole = report, options, whole
        self.say: Callable[[str], object] = warn

    def wait(self, display: Display | None = None) -> None:
        """Show it."""
        shown = self._whole
        with progress.listener(self._options.progress, display) if shown is None else nullcontext(shown.show) as show:
            show(self._report)
        for text in (shown or self._report).conclude(self._options.on_error):
            self.say(text)

    async def wait_async(self, display: Display | None = None) -> None:
        """Show it."""
        self.wait(display)


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


def cost_of(run: Run) -> Cost:
    """Return what the answers of a run cost, those from the store at what they had cost when they were bought.

    The store does not keep whether that was exact, so it counts as estimated.
    """
    if run.spent.neurons is None or run.unknown_saved:
        return Cost(None)
    return Cost(run.spent.neurons + run.saved_neurons, run.exact and not run.stored)


def costs_of(calls: Sequence[Call]) -> Cost:
    """Return what the answers of calls cost; of those that were not begun nothing."""
    return sum((cost_of(call.report.run) for call in calls if call.report is not None), Cost(0.0, True))


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
        add(run, part)
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


def add(run: Run, part: Run) -> None:
    """Add what a part sent and spent to the run of the whole."""
    run.began, offset = min(run.began, part.began), part.began
    run.requests += part.requests
    run.neurons += part.neurons
    run.unpriced += part.unpriced
    run.exact = run.exact and part.exact
    run.saved_neurons += part.saved_neurons
    run.unknown_saved += part.unknown_saved
    run.tokens = None if run.tokens is None or part.tokens is None else run.tokens + part.tokens
    run.seconds_of_requests += part.seconds_of_requests
    run.flow += [(seconds + offset - run.began, flying) for seconds, flying in part.flow]
    run.stopped = run.stopped or part.stopped
    run.error = run.error or part.error


def _with_sources(run: Run, index: pd.Index[Any], sources: pd.Series[Any]) -> pd.Series[Any] | pd.DataFrame:
    made = built(run, index)
    if isinstance(made, pd.DataFrame):
        made.insert(made.shape[1], str(sources.name), sources.array)
    return made
