"""Trials: a draft run on the sample rows, with answer, price and time of each row; and all versions so far.

In: a frame, of which `SampleRows` are tried; drafts and the calls made of them.  Out: `Trial` objects, which the page
shows and ``p.results`` lists.  `Round` runs trials on the engine's loop; `Versions` keeps them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import string
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pandas as pd

from ..._engine.run_state import Event
from ...errors import CfaiError, check_count
from ...frame import rows as frames
from ...frame.call import Call
from ...frame.extract_call import ExtractCall
from ...frame.reading import is_missing
from ...frame.report import Report
from ...models import USD_PER_NEURON, Cost
from ...quality.estimates import judge, wilson
from .draft import Draft

#: A playground shows every answer; all rows are for ``apply``.
MAX_ROWS = 50
AnyCall: TypeAlias = "Call | ExtractCall"


def calls_in(call: AnyCall) -> list[Call]:
    """Return the calls of a model each that a call is made of."""
    return call.calls if isinstance(call, ExtractCall) else [call]


class SampleRows:
    """A few rows of a frame, by position, the same for every variant and version.

    `columns` has the labels of the columns by how a prompt writes them; `series` says whether it is a Series.
    """

    def __init__(self, data: frames.Frame) -> None:
        self.data = data
        self.positions: list[int] = []
        labels = list(frames.as_frame(data).columns)
        self.columns: dict[str, Hashable] = {str(label): label for label in labels}
        self.columns |= {label: label for label in labels if isinstance(label, str)}  # as a template takes them
        self.series = isinstance(data, pd.Series)

    def choose_first(self, n: int, on: str | None) -> None:
        """Choose the first rows that have text, in the column or in all those of the template that is given."""
        check_count(n=n)
        frame, names = frames.as_frame(self.data), []
        with contextlib.suppress(CfaiError, ValueError):  # `problem` says what is wrong with a template
            names = [] if on is None else frames.names_in(on, frame, template=False)
        full = frame[names].notna().all(axis=1) if names else frame.notna().any(axis=1)
        self._choose(full.to_numpy().nonzero()[0][:n].tolist())

    def choose(self, labels: Sequence[Hashable]) -> None:
        """Choose rows by their labels."""
        found = []
        for label in labels:
            places = (self.data.index == label).nonzero()[0].tolist()
            if not places:
                raise ValueError(f"There is no row {label!r}.")
            found += places
        self._choose(found)

    def _choose(self, positions: list[int]) -> None:
        if len(positions) > MAX_ROWS:
            count = len(positions)
            raise ValueError(f"{count} rows: a playground tries at most {MAX_ROWS}; p.apply() runs all of the frame.")
        if not positions:
            raise ValueError("There are no rows with text to try.")
        self.positions = positions

    def first_prompt(self, on: str | None) -> str:
        """Return the prompt to start with: the named column in braces, or the template itself."""
        if on is None:
            return "{" + next(iter(self.columns)) + "}" if self.series else ""
        if isinstance(on, str) and "{" in on:
            return on
        frames.rows_of(self.data.iloc[:0], on, template=False)  # raises if there is no such column
        return "{" + str(on) + "}"

    def texts(self, prompt: str) -> list[tuple[Hashable, str]]:
        """Return label and text of each row: of the columns the prompt names, or of all."""
        chosen = frames.as_frame(self.data.iloc[self.positions])
        names: set[str | None] = set()
        with contextlib.suppress(ValueError):  # an incomplete prompt may not be a valid template
            names.update(name for _, name, _, _ in string.Formatter().parse(prompt))
        if names & self.columns.keys():
            chosen = chosen[[column for column in chosen.columns if str(column) in names]]
        several = chosen.shape[1] > 1
        return [
            (label, "\n".join(f"{name}: {value}" if several else str(value) for name, value in cells.items()))
            for label, (_, cells) in zip(chosen.index, chosen.iterrows(), strict=True)
        ]


@dataclass(slots=True, eq=False)
class Outcome:
    """The result of one row."""

    row: Hashable  #: its label
    state: Literal["waiting", "asking", "answered", "stored", "failed", "not run", "no text"] = "waiting"
    pieces: list[str] = field(default_factory=list)  #: of a streamed answer, so far
    answer: Any = None  #: text, or a dict of columns
    error: str = ""
    seconds: float | None = None  #: from the request to the last byte; None if the answer was stored
    tokens: int | None = None  #: None: not reported, or stored
    #: Whether the row has a price: a request was answered, even if the row failed, or the answer was stored.  False if
    #: another run, or an equal row, made the request.
    paid: bool = False
    neurons: float | None = None  #: its cost, for a stored answer the original one; None: unknown
    exact: bool = False  #: whether the service reported the cost
    same_as: Hashable | None = None  #: the label of an equal row of the same trial, whose answer it shares at no cost

    @property
    def text(self) -> str:
        """The answer as text: the part received so far, or one line for each of its columns."""
        if self.answer is None:
            return "".join(self.pieces)
        if isinstance(self.answer, dict):
            return "\n".join(f"{name}: {value}" for name, value in self.answer.items())
        return str(self.answer)

    def copy_from(self, first: Outcome, *, same_trial: bool) -> None:
        """Take over the result of an equal question; within the same trial it costs nothing."""
        self.state, self.answer, self.error = first.state, first.answer, first.error
        if same_trial:
            self.same_as, self.neurons, self.exact = first.row, 0.0, True
        else:
            self.seconds, self.tokens, self.paid = first.seconds, first.tokens, first.paid
            self.neurons, self.exact = first.neurons, first.exact

    def on_token(self, piece: str | None) -> None:
        """Add a piece of the answer; None: the answer starts, or starts again."""
        if piece is None:
            self.pieces.clear()
        else:
            self.pieces.append(piece)


@dataclass(slots=True, eq=False)
class Trial:
    """A draft and its outcomes; a trial that was run is a version."""

    number: int  #: of the version, from 1
    variant: str  #: the letter it was run under
    draft: Draft
    code: str  #: the line that makes the call on the whole frame
    outcomes: list[Outcome]
    origin: str  #: the service and the model that answered
    model: str
    notes: list[str] = field(default_factory=list)  #: remarks to show, such as a change of model

    def __repr__(self) -> str:
        return f"<version {self.number} ({self.variant}): {self.code}>"

    def add_notes(self, notes: Iterable[str]) -> None:
        """Add the notes that are not there."""
        self.notes += [note for note in notes if note not in self.notes]

    @property
    def finished(self) -> bool:
        """Whether every row has its answer, or has no text."""
        return all(outcome.state in ("answered", "stored", "no text") for outcome in self.outcomes)

    @property
    def cost(self) -> Cost:
        """The cost of these rows, including failed and stored ones; unknown if that of one row is."""
        return sum((Cost(o.neurons, o.exact) for o in self.outcomes if o.paid), Cost(0.0, True))

    @property
    def per_thousand(self) -> Cost | None:
        """The estimated cost of 1,000 rows like these; None before there is an answer."""
        if not any(o.state in ("answered", "stored") for o in self.outcomes):
            return None
        tried = sum(o.paid or o.state == "failed" for o in self.outcomes)
        neurons = self.cost.neurons
        return Cost(None if neurons is None else neurons / tried * 1_000, exact=False) if tried else None

    @property
    def results(self) -> pd.DataFrame:
        """One line per row: answer (or its columns), state, error, seconds, tokens, neurons, usd, exact."""
        rows = []
        for o in self.outcomes:
            answer = o.answer if isinstance(o.answer, dict) else {"answer": o.answer}
            usd = None if o.neurons is None else o.neurons * USD_PER_NEURON
            rows.append(
                {"variant": self.variant, "version": self.number, "row": o.row, **answer, "state": o.state,
                 "error": o.error or None, "seconds": o.seconds, "tokens": o.tokens, "neurons": o.neurons, "usd": usd,
                 "exact": o.exact}
            )  # fmt: skip
        return pd.DataFrame(rows).astype({"tokens": "Int64"})


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answers of the sample rows, from a column of the frame."""

    name: str  #: of the column; of an answer in several columns, the one of this name is compared
    cells: Sequence[Any]  #: one a sample row

    def right(self, trial: Trial) -> list[bool | None]:
        """Return for each row whether its answer is right; None where answer or truth is missing."""
        answers = [self._part(outcome.answer) for outcome in trial.outcomes]
        found = judge(pd.Series(answers, dtype=object), pd.Series(list(self.cells), dtype=object))
        return [bool(right) if judged else None for right, judged in zip(*found, strict=True)]

    def words(self, trial: Trial) -> str:
        """Describe how many answers are right, with Wilson's interval."""
        judged = [right for right in self.right(trial) if right is not None]
        if not judged:
            return f"no answer to compare with {self.name}"
        low, high = wilson(sum(judged) / len(judged), len(judged))
        return f"right {sum(judged)} of {len(judged)} ({100 * low:.0f} to {100 * high:.0f} %)"

    def _part(self, answer: Any) -> Any:
        if not isinstance(answer, dict):
            return answer
        own = [name for name in answer if "__" not in name]  # without probabilities
        return answer.get(self.name, answer[own[0]] if len(own) == 1 else None)


class Versions:
    """Trials that were run: all of them in order (`kept`), and the latest of each variant."""

    def __init__(self) -> None:
        self.kept: list[Trial] = []
        self._latest: dict[str, Trial] = {}

    def keep(self, trial: Trial) -> None:
        """Number a trial that is about to run; it becomes the latest of its variant."""
        trial.number = len(self.kept) + 1
        self.kept.append(trial)
        self._latest[trial.variant] = trial

    def answered(self, variant: str, draft: Draft) -> bool:
        """Whether the latest trial of a variant used this draft and is finished."""
        last = self._latest.get(variant)
        return last is not None and last.draft == draft and last.finished

    def forget(self, variants: Iterable[str]) -> None:
        """Hide the trials of these variants until the next run; their versions are kept."""
        for variant in variants:
            self._latest.pop(variant, None)

    def settle(self) -> None:
        """Mark rows without a result as not run."""
        for trial in self._latest.values():
            for outcome in trial.outcomes:
                if outcome.state in ("waiting", "asking"):
                    outcome.state = "not run"

    def shown(self, variants: Iterable[str]) -> list[tuple[Trial, Trial | None]]:
        """Return the latest trial of each variant, with the one before it that used the same verb."""
        latest = [self._latest[letter] for letter in variants if letter in self._latest]
        return [(trial, self._before(trial)) for trial in latest]

    def _before(self, trial: Trial) -> Trial | None:
        older = reversed(self.kept[: trial.number - 1])
        return next((v for v in older if (v.variant, v.draft.mode) == (trial.variant, trial.draft.mode)), None)

    def results(self, variants: Iterable[str], truth: Truth | None) -> pd.DataFrame:
        """Return the latest results of these variants, one line per variant and sample row."""
        found = [trial.results for trial, _ in self.shown(variants)]
        if truth is not None:
            right = [pd.array(truth.right(trial), dtype="boolean") for trial, _ in self.shown(variants)]
            found = [each.assign(right=flags) for each, flags in zip(found, right, strict=True)]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


class Round:
    """Trials run together on the engine's loop; a job of the bridge."""

    def __init__(self, trials: Sequence[tuple[Trial, Sequence[AnyCall]]]) -> None:
        self._trials = trials
        self._runners: set[Any] = set()
        self._ended: list[Event] = []
        # Equal questions are asked once, within a trial (by its identity and key) and across trials (by 0 and key).
        self._asked: dict[tuple[int, bytes], tuple[Trial, Outcome, asyncio.Event]] = {}
        self.stopped = False

    def news(self) -> list[Event]:
        """Return the last events of the rows that ended since the last call."""
        news, self._ended = self._ended, []
        return news

    @property
    def counts(self) -> tuple[int, int]:
        """How many rows have ended, and how many there are."""
        states = [outcome.state for trial, _ in self._trials for outcome in trial.outcomes]
        return sum(state not in ("waiting", "asking") for state in states), len(states)

    async def execute(self) -> None:
        """Start every row of every trial at once; the limits of the session hold them back.

        After a failure no more is sent; what is in flight is awaited and kept, and then the failure is raised.
        """
        rows = [
            self._row(trial, outcome, call)
            for trial, calls in self._trials
            for outcome, call in zip(trial.outcomes, calls, strict=True)
        ]
        for failure in filter(None, await asyncio.gather(*rows, return_exceptions=True)):
            raise failure

    def stop(self) -> None:
        """Send no more requests; those in flight are finished and kept."""
        self.stopped = True
        for runner in tuple(self._runners):
            runner.stop()

    def abandon(self) -> None:
        """Drop the requests in flight as well."""
        self.stopped = True
        for runner in tuple(self._runners):
            runner.abandon()

    async def _row(self, trial: Trial, outcome: Outcome, call: AnyCall) -> None:
        if self.stopped:
            outcome.state = "not run"
            return
        outcome.state = "asking"
        try:
            await self._answer(trial, outcome, call)
        except Exception:
            self.stop()
            raise

    async def _answer(self, trial: Trial, outcome: Outcome, call: AnyCall) -> None:
        """Ask what a row asks, or share what an equal one is answered."""
        attempts = [part.attempts() for part in calls_in(call)]
        begun = [next(each) for each in attempts]
        key = b"".join(next(iter(report.run.plan.keys), b"") for _, report in begun)
        ended = asyncio.Event()
        within, across = (id(trial), key), (0, key)
        first = (self._asked.get(within) or self._asked.get(across)) if key else None
        for place in (within, across):
            self._asked.setdefault(place, (trial, outcome, ended))
        try:
            if first is None:
                chained = [itertools.chain([one], more) for one, more in zip(begun, attempts, strict=True)]
                await self._ask(trial, outcome, call, chained)
                return
            await first[2].wait()
            trial.origin, trial.model = first[0].origin, first[0].model
            trial.add_notes(first[0].notes)
            outcome.copy_from(first[1], same_trial=first[0] is trial)
        finally:
            ended.set()

    async def _ask(
        self, trial: Trial, outcome: Outcome, call: AnyCall, attempts: Iterable[Iterable[tuple[Any, Report]]]
    ) -> None:
        for part, tries in zip(calls_in(call), attempts, strict=True):
            for runner, report in tries:
                self._runners.add(runner)
                try:
                    await runner.execute()
                finally:
                    self._runners.discard(runner)
                    self._ended.append(report.event)
            caution = part.task.caution(part.model)
            trial.add_notes([*part.notes, *([f"{caution}."] if caution else [])])
            if self.stopped or not report.run.done:
                break
        if isinstance(call, ExtractCall):
            call.join_reports()
        assert call.report is not None
        trial.model = ", ".join(part.model.id for part in calls_in(call))
        self._settle(trial, outcome, call.report)

    @staticmethod
    def _settle(trial: Trial, outcome: Outcome, report: Report) -> None:
        """Note the answer of a row, and what it took."""
        run = report.run
        trial.origin = run.plan.origin
        if run.requests:
            outcome.paid = True
            outcome.neurons, outcome.exact = run.spent.neurons, run.spent.exact
            outcome.tokens = None if run.tokens is None else round(run.tokens)
            outcome.seconds = sum(run.seconds_of_requests)
        if run.done:
            # An answer shared with another run that was waiting for it also counts as stored, but saved nothing.
            prices = run.plan.model.prices
            free = prices is not None and not any(price.neurons != 0 for price in prices.values())
            stored = run.stored and (run.saved_neurons or run.unknown_saved or free)
            outcome.state = "stored" if stored else "answered"
            outcome.answer = _cell(report.frame())
            if stored:  # its original cost, which may have been an estimate
                outcome.paid, outcome.neurons, outcome.exact = True, run.saved_neurons or (0.0 if free else None), False
        elif report.failed or run.error is not None:
            outcome.state = "failed"
            outcome.error = str(run.error) if run.error is not None else str(report.failures["message"].iloc[0])
        else:
            outcome.state = "not run" if run.rows else "no text"


def _cell(result: pd.Series[Any] | pd.DataFrame) -> Any:
    """The only cell of a result, or its columns by name, as plain Python values; None where missing."""
    if isinstance(result, pd.DataFrame):
        return {str(name): _cell(result[name]) for name in result.columns}
    value = result.iloc[0]
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value
