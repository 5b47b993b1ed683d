"""The calls of a verb with a cascade: cheap answers where they may stand, a strong model's elsewhere.

A verb that is given a ``Cascade`` in the place of a model yields the calls of a ``CascadeCall``: some rows of the
strong model to learn from or to check, the cheap answers, and the strong model for the rest.  Which rows are drawn
depends on the keys of the questions alone, so that sorted or repeated rows change nothing, and the same call again asks
the same rows and finds them in the store.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..._engine.plan import Estimate
from ..._engine.run_options import RunOptions
from ...errors import ModelError
from ...models import Cost, Model
from ...tasks import Embed, Task
from ...vectors import VectorColumn
from .. import progress
from .. import rows as frames
from ..call import Call, Whole, remember
from ..progress import Display
from ..report import Report
from ..steps import PRICED, Now, Outline, Step
from ..vector_input import only_vectors
from . import EMBEDDINGS, TRUTH, Cascade, CascadePlan, Certificate, parts_of, share, sureness
from .cascade_rows import Answers, CascadeRows, Lessons, PartCall, Rows, costs_of, hopeless, known_answers, whole

if TYPE_CHECKING:
    from ...quality.certificate import Certificate as Found
    from ...quality.certificate import Steps as Promise


def cheap_of(cascade: Cascade, task: Task, strong: Call) -> Model | None:
    """Return the cheap model, which can answer the task; None where embeddings are alone."""
    if cascade.model is None:
        return None
    cheap = strong.session.model_for(task, cascade.model, strong.options.gateway)
    task.check(cheap)  # without probabilities there is nothing to rank
    if cheap.id == strong.model.id:
        raise ModelError(f"cheap and strong are the same model, {cheap.id}.")
    return cheap


class CascadeCall:
    """One call of a verb with a cascade; the parameters are those of a ``Call``.

    Rows carry the right answers of `truth`.  `recall` and `precision` are promised for a filter, instead of the
    accuracy. ``report`` is that of the whole once it has ended; ``whole`` is what it is one of many calls of.
    """

    def __init__(
        self, task: Task, cascade: Cascade, data: frames.Frame, on: Any, options: Mapping[str, Any] | RunOptions, *,
        truth: Any = None, recall: float | None = None, precision: float | None = None,
    ) -> None:  # fmt: skip
        self.parts = parts_of(task)
        self.cascade, self.task, self.data, self.on = cascade, task, data, on
        given = {"recall": recall, "precision": precision}
        chosen = {name: share(value, name) for name, value in given.items() if value is not None}
        self.targets = chosen or {"accuracy": cascade.accuracy}
        self.strong = PartCall(task, cascade.strong, data, on, options)
        self.options = self.strong.options
        self.cheap_task: Task = dataclasses.replace(task, probabilities=True)  # type: ignore[call-arg]
        self.cheap = cheap_of(cascade, self.cheap_task, self.strong)
        known = known_answers(task, self.parts, data, on, truth)
        self.rows = CascadeRows(
            self.strong.plan(), self.parts, known, learns=cascade.learns, targets=self.targets,
            confidence=cascade.confidence,
        )  # fmt: skip
        self.answers = Answers(len(self.rows), self.rows.gold)
        self.calls: list[PartCall] = []
        self.found: list[Found] = []
        self.complete = False
        self.report: Report | None = None
        self.whole: Whole | None = None
        self.embedded: Call | None = None

    @property
    def model(self) -> Model:
        """The strong model."""
        return self.strong.model

    @property
    def names(self) -> list[str]:
        """What answers, in order."""
        return [EMBEDDINGS] * self.cascade.learns + [each.name for each in (self.cheap, self.model) if each is not None]

    @functools.cached_property
    def label(self) -> str:
        """The same, in words; `compare` sets another where two would have the same."""
        return " → ".join(self.names)

    # -- before --------------------------------------------------------------------------------------------------

    @functools.cached_property
    def reason(self) -> str:
        """Why it does not pay; at first as far as that can be seen before anything is sent."""
        rows = self.rows
        alone = rows.price(self.task, self.model, np.arange(len(rows)))
        least = rows.price(self.task, self.model, np.append(rows.taught, rows.checked))
        if self.cheap is not None and not self.cascade.learns:
            least = least + rows.price(self.cheap_task, self.cheap, rows.open)
        return rows.idle(self.model.name, least, alone)

    def plan(self) -> CascadePlan:
        """Price it as a range."""
        rows, cheap, strong = self.rows, dict[str, Estimate](), self.rows.plan
        if self.cascade.learns and only_vectors(self.data) is None:
            cheap[EMBEDDINGS] = self._embed().plan().estimate
        if self.cheap is not None:
            asked = self._call(self.cheap_task, self.cheap, np.setdiff1d(rows.open, rows.taught))
            cheap[self.cheap.name] = asked.plan().estimate
        known = strong.stored[rows.order]
        checked = np.append(rows.taught, rows.checked)
        rest = np.setdiff1d(rows.open, checked)
        sent, more = (rows.price(self.task, self.model, some[~known[some]]) for some in (checked, rest))
        saved = rows.expected() if len(rest) else 0.0
        plan = CascadePlan(
            self.task.name, strong.origin, self.model, cheap, strong.estimate, len(checked),
            len(checked) + round((1 - saved) * len(rest)),
            # What embeddings leave to the cheap model may be nothing.
            sum((e.cost for name, e in cheap.items() if name == EMBEDDINGS or not self.cascade.learns), sent),
            sum((e.cost for e in cheap.values()), sent + more * (1 - saved)),
            sum((e.cost for e in cheap.values()), sent + more), strong.remarks,
        )  # fmt: skip
        if not self.reason:
            return plan
        every, alone = len(checked) + len(rest), sent + more
        return dataclasses.replace(
            plan, cheap={}, least=every, expected=every, at_least=alone, expected_cost=alone, at_most=alone,
            reason=self.reason,
        )  # fmt: skip

    # -- the calls -----------------------------------------------------------------------------------------------

    def steps(self) -> Generator[Step, Any, bool]:
        """Yield the calls; return whether they were made, and not only priced."""
        if (yield Outline(self)) is PRICED:
            return False
        try:
            if self.reason:
                yield self._does_not_pay(self.reason)
            else:
                yield from self._save()
            yield from self._ask(np.flatnonzero(~self.answers.settled & ~self.answers.kept))
            self.complete = True
        finally:
            self.report = self._whole()
            remember(self.report if self.whole is None else self.whole.follow(self.report))
        yield Now(self._finish)
        return True

    def _does_not_pay(self, why: str) -> Now:
        self.reason = why
        rows = " without a truth" if self.rows.gold else ""
        text = f"The cascade does not pay: {why}. {self.model.name} is asked about every row{rows}."
        return Now(lambda say, display: say(text))

    def _save(self) -> Generator[Step, Any, None]:
        """Get cheap answers, and find out which of them may stand."""
        rows, wanted = self.rows, self.rows.open
        if self.cascade.learns:
            vectors = yield from self._vectors()
            yield from self._ask(rows.taught)
            wanted = self._learn(vectors)
        if self.cheap is not None:
            if "accuracy" in self.targets and not self.cascade.learns:
                yield from self._guess(rows.checked)
                yield from self._ask(rows.checked)
                if why := self._hopeless(self.cheap):  # before the other rows are bought
                    yield self._does_not_pay(why)
                    return
                wanted = np.setdiff1d(wanted, rows.checked)
            yield from self._guess(wanted)
        if "accuracy" in self.targets:
            yield from self._agree()
        else:
            yield from self._select()

    def _call(self, task: Task, model: Model, some: Rows) -> PartCall:
        call = PartCall(task, model, self.data.iloc[self.rows.at[some]], self.on, self.options)
        call.title = f"{task.name} with {model.name}"
        return call

    def _ask(self, some: Rows) -> Generator[Step, Any, None]:
        """Ask the strong model about those of these rows that are not settled."""
        some = some[~self.answers.settled[some]]
        if not len(some):
            return
        call = self._call(self.task, self.model, some)
        self.calls.append(call)
        yield from call.asked(some, self.answers)
        self.answers.settled[some] = True

    def _guess(self, some: Rows) -> Generator[Step, Any, None]:
        """Ask the cheap model."""
        if self.cheap is None or not len(some):
            return
        call = self._call(self.cheap_task, self.cheap, some)
        self.calls.append(call)
        yield from call.guessed(some, self.answers)

    # -- embeddings ----------------------------------------------------------------------------------------------

    def _embed(self) -> Call:
        call = Call(Embed(), None, self.data.iloc[self.rows.at], self.on, self.options, EMBEDDINGS)
        call.title = "embed for the cascade"
        return call

    def _vectors(self) -> Generator[Step, Any, VectorColumn]:
        column = only_vectors(self.data)
        if column is not None:
            return VectorColumn(column.iloc[self.rows.at])
        call = self._embed()
        found = yield call
        self.embedded = call
        return VectorColumn(found)

    def _learn(self, vectors: VectorColumn) -> Rows:
        """Learn from the answers there are; return the rows that stay unsure, for a cheap model that comes next."""
        answers, place = self.answers, vectors.per_cell(np.arange(len(vectors)), -1, np.int64)
        known = [row for row, cell in enumerate(answers.cells) if cell is not None and place[row] >= 0]
        others = self.rows.open[place[self.rows.open] >= 0]
        if len(known) < 2:
            return self.rows.open
        cells = [answers.cells[row] for row in known]
        lessons = Lessons(self.parts, vectors[place[known]], cells, min(self.targets.values()))
        made, sure = lessons.guesses(vectors[place[others]])
        answers.guess(others, made, EMBEDDINGS, np.zeros(len(others), dtype=bool))
        return np.setdiff1d(self.rows.open, others[sure])

    # -- what may stand ------------------------------------------------------------------------------------------

    def _hopeless(self, cheap: Model) -> str:
        """Why the cheap model is not worth its price, going by the rows checked so far; empty if it may be."""
        rows, checked = self.rows, self.rows.checked
        sure = sureness(self.parts, [self.answers.guesses[row] for row in checked.tolist()])
        right, rest = self.answers.agree(self.task, checked), np.setdiff1d(rows.open, checked)
        gain, pay = rows.price(self.task, self.model, rest), rows.price(self.cheap_task, cheap, rest)
        return hopeless(cheap.name, right, sure, self.targets["accuracy"], gain, pay)

    def _agree(self) -> Generator[Step, Any, None]:
        """Keep cheap answers as far as an accuracy is certain."""
        from ...quality.certificate import accuracy_steps

        rows, open_ = self.rows, self.rows.open
        scores = sureness(self.parts, [self.answers.guesses[row] for row in open_.tolist()])
        promise = accuracy_steps(
            scores, self.targets["accuracy"], self.cascade.confidence, rows.weights[open_], rows.seed, rows.sure
        )
        found = yield from self._prove(promise, open_, lambda some: self.answers.agree(self.task, some))
        self.answers.kept[open_[found.keep]] = True

    def _select(self) -> Generator[Step, Any, None]:
        """Keep the cheap model's "no" as far as a recall is certain, and its "yes" as far as a precision is."""
        from ...quality.certificate import precision_steps, recall_steps

        (part,), rows, answers = self.parts, self.rows, self.answers
        delta = (1 - self.cascade.confidence) / len(self.targets)
        yes = np.array([np.nan if cell is None else part.yes(cell) for cell in answers.guesses], dtype=float)

        def positive(some: Rows, failed: bool) -> npt.NDArray[np.bool_]:
            cells = [answers.cells[row] for row in some.tolist()]
            return np.array([failed if cell is None else part.answer(cell) for cell in cells], dtype=bool)

        if (recall := self.targets.get("recall")) is not None:
            promise = recall_steps(yes[rows.open], recall, 1 - delta, rows.weights[rows.open], rows.seed)
            # A row that failed may be positive: it never counts as one that may be dropped.
            found = yield from self._prove(promise, rows.open, lambda some: positive(some, failed=True))
            dropped = rows.open[found.keep]
            answers.kept[dropped[yes[dropped] < 0.5]] = True
        else:
            answers.kept[rows.open[yes[rows.open] < 0.5]] = True
        if (precision := self.targets.get("precision")) is not None:
            left = rows.open[~answers.settled[rows.open] & (yes[rows.open] >= 0.5)]
            promise = precision_steps(yes[left], precision, 1 - delta, rows.weights[left], rows.seed + 1)
            found = yield from self._prove(promise, left, lambda some: positive(some, failed=False))
            answers.kept[left[found.keep]] = True

    def _prove(self, promise: Promise, some: Rows, right: Any) -> Generator[Step, Any, Found]:
        """Ask what a promise needs, and return its certificate."""
        given: Any = None
        while True:
            try:
                wanted = some[promise.send(given)]
            except StopIteration as end:
                self.found.append(end.value)
                return self.found[-1]
            yield from self._ask(wanted)
            given = right(wanted)

    def frame(self) -> Any:
        """Return the answers, on the index of the frame; none where it was only priced."""
        return (self.report or whole(self.strong, self.rows, self.answers, [], None)).frame()

    # -- after ---------------------------------------------------------------------------------------------------

    def _whole(self) -> Report:
        """Return the report of the whole: of all calls together, with the answers that stand."""
        weights, answers = self.rows.weights, self.answers
        if self.complete:
            answers.stand()
        calls = [*([] if self.embedded is None else [self.embedded]), *self.calls]
        reason = self.reason or next((found.reason for found in self.found if found.reason), "")
        failed = [cell is None for cell in answers.cells]
        certificate = Certificate(
            rows=int(weights.sum()), asked=int(weights[answers.asked].sum()), kept=int(weights[answers.kept].sum()),
            known=int(weights[answers.by == TRUTH].sum()), failed=int(weights[failed].sum()),
            strong=self.model.name, confidence=self.cascade.confidence,
            targets=dict(self.targets) if answers.kept.any() else {}, reason="" if answers.kept.any() else reason,
            cost=costs_of(calls), alone=self._alone(),
        )  # fmt: skip
        return whole(self.strong, self.rows, answers, calls, certificate if self.complete else None)

    def _finish(self, say: Callable[[str], object], display: Display | None) -> None:
        """Show the report of the whole, and raise or warn as every call does."""
        assert self.report is not None
        whole = self.whole
        with progress.listener(self.options.progress, display) if whole is None else nullcontext(whole.show) as show:
            show(self.report)
        for text in (whole or self.report).conclude(self.options.on_error):
            say(text)

    def _alone(self) -> Cost:
        """Return what the strong model would cost for every row, going by the rows that it was asked."""
        bought = [call for call in self.calls if call.model.id == self.model.id]
        cost, count = costs_of(bought), sum(len(call.rows.inputs) for call in bought)
        if not count or cost.neurons is None:
            return self.rows.price(self.task, self.model, np.arange(len(self.rows)))
        return cost * (len(self.rows) / count)
