"""A trial: one draft on the pinned rows, each row with its answer, price and time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from ..._engine.run_state import Event
from ...errors import CfaiError
from ...frame.call import Call
from ...frame.report import Report
from ...models import USD_PER_NEURON, Cost, Model
from .draft import Draft

#: Rows are counted by the thousand when a price is told.
PER = 1_000


@dataclass(slots=True, eq=False)
class Outcome:
    """What came of one row.

    Attributes
    ----------
    row : Hashable
        Its label.
    state : {"waiting", "asking", "answered", "stored", "failed", "not run", "no text"}
    pieces : list of str
        What was heard of an answer that is being written.
    answer : str, dict of column to value, or None
    error : str
    seconds : float or None
        From the sending to the last byte; None for a row from the store.
    tokens : int or None
        None: not reported, or from the store.
    paid : bool
        A request was answered, or the row is from the store: it has a price, also where it failed.  False for an answer
        that another run, or an equal row, had asked for.
    neurons : float or None
        What it cost; a row from the store: what it had cost when it was bought.  None: unknown.
    exact : bool
        The service said so.
    same_as : Hashable or None
        The label of an equal row of the same trial, which was asked for both; this one costs nothing.
    """

    row: Hashable
    state: Literal["waiting", "asking", "answered", "stored", "failed", "not run", "no text"] = "waiting"
    pieces: list[str] = field(default_factory=list)
    answer: Any = None
    error: str = ""
    seconds: float | None = None
    tokens: int | None = None
    paid: bool = False
    neurons: float | None = None
    exact: bool = False
    same_as: Hashable | None = None

    @property
    def text(self) -> str:
        """The answer for people: as far as it is written, or its columns a line each."""
        if self.answer is None:
            return "".join(self.pieces)
        if isinstance(self.answer, dict):
            return "\n".join(f"{name}: {_plain(value)}" for name, value in self.answer.items())
        return str(self.answer)

    def follow(self, first: Outcome, *, within: bool) -> None:
        """Take over what came of an equal question; `within` the same trial it costs nothing again."""
        self.state, self.answer, self.error = first.state, first.answer, first.error
        if within:
            self.same_as, self.neurons, self.exact = first.row, 0.0, True
        else:
            self.seconds, self.tokens, self.paid = first.seconds, first.tokens, first.paid
            self.neurons, self.exact = first.neurons, first.exact

    def on_token(self, piece: str | None) -> None:
        """Take in a piece of the answer; None: it begins, or begins again."""
        if piece is None:
            self.pieces.clear()
        else:
            self.pieces.append(piece)


@dataclass(slots=True, eq=False)
class Trial:
    """A draft and its outcomes; one that was run is a version.

    Attributes
    ----------
    number : int
        Of the version, from 1.
    variant : str
        The letter it was run under.
    draft : Draft
    code : str
        The line that makes the call on the whole frame.
    outcomes : list of Outcome
    origin, model : str
        Who answered.
    notes : list of str
        What must be said about it.
    """

    number: int
    variant: str
    draft: Draft
    code: str
    outcomes: list[Outcome]
    origin: str = ""
    model: str = ""
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<version {self.number} ({self.variant}): {self.code}>"

    @property
    def finished(self) -> bool:
        """Whether every row has its answer, or cannot have one."""
        return all(outcome.state in ("answered", "stored", "no text") for outcome in self.outcomes)

    @property
    def cost(self) -> Cost:
        """What these rows cost, also those that failed or are from the store; unknown where one of them is."""
        return sum((Cost(o.neurons, o.exact) for o in self.outcomes if o.paid), Cost(0.0, True))

    @property
    def per_thousand(self) -> Cost | None:
        """What 1,000 rows like these cost: always an estimate; None before there is an answer."""
        if not any(o.state in ("answered", "stored") for o in self.outcomes):
            return None
        tried = sum(o.paid or o.state == "failed" for o in self.outcomes)
        neurons = self.cost.neurons
        return Cost(None if neurons is None else neurons / tried * PER, exact=False) if tried else None

    @property
    def results(self) -> pd.DataFrame:
        """One row a row: answer (or one column a field), state, error, seconds, tokens, neurons, usd, exact."""
        rows = []
        for o in self.outcomes:
            own = o.answer if isinstance(o.answer, dict) else {"answer": o.answer}
            usd = None if o.neurons is None else o.neurons * USD_PER_NEURON
            rows.append(
                {"variant": self.variant, "version": self.number, "row": o.row, **own, "state": o.state,
                 "error": o.error or None, "seconds": o.seconds, "tokens": o.tokens, "neurons": o.neurons, "usd": usd,
                 "exact": o.exact}
            )  # fmt: skip
        return pd.DataFrame(rows).astype({"tokens": "Int64"})


class Round:
    """Trials carried out together on the engine's loop; a job of the bridge."""

    def __init__(self, trials: Sequence[tuple[Trial, Sequence[Call]]]) -> None:
        self._trials = trials
        self._runners: set[Any] = set()
        self._ended: list[Event] = []
        # Equal questions are one, within a trial (by its identity and key) and across them (by 0 and key).
        self._asked: dict[tuple[int, bytes], tuple[Trial, Outcome, asyncio.Event]] = {}
        self.stopped = False

    def news(self) -> list[Event]:
        """Take the last events of the rows that ended since this was called before."""
        news, self._ended = self._ended, []
        return news

    async def execute(self) -> None:
        """Ask for every row of every trial at once; the pace of the session holds them back."""
        await asyncio.gather(
            *(
                self._row(trial, outcome, call)
                for trial, calls in self._trials
                for outcome, call in zip(trial.outcomes, calls, strict=True)
            )
        )

    def stop(self) -> None:
        """Send nothing more; what is under way is awaited and kept."""
        self.stopped = True
        for runner in tuple(self._runners):
            runner.stop()

    def abandon(self) -> None:
        """Drop what is under way as well."""
        self.stopped = True
        for runner in tuple(self._runners):
            runner.abandon()

    async def _row(self, trial: Trial, outcome: Outcome, call: Call) -> None:
        if self.stopped:
            outcome.state = "not run"
            return
        outcome.state = "asking"
        attempts = call.attempts()
        runner, made = next(attempts)
        key = next(iter(made.run.plan.keys), b"")
        ended = asyncio.Event()
        within, across = (id(trial), key), (0, key)
        first = (self._asked.get(within) or self._asked.get(across)) if key else None
        for place in (within, across):
            self._asked.setdefault(place, (trial, outcome, ended))
        try:
            if first is None:
                await self._ask(trial, outcome, call, itertools.chain([(runner, made)], attempts))
                return
            await first[2].wait()
            trial.origin, trial.model = first[0].origin, first[0].model
            outcome.follow(first[1], within=first[0] is trial)
        finally:
            ended.set()

    async def _ask(self, trial: Trial, outcome: Outcome, call: Call, attempts: Iterable[tuple[Any, Report]]) -> None:
        for runner, made in attempts:
            self._runners.add(runner)
            try:
                await runner.execute()
            finally:
                self._runners.discard(runner)
                self._ended.append(made.event)
        trial.notes += call.notes
        run = made.run
        trial.origin, trial.model = run.plan.origin, run.plan.model.id
        if run.requests:
            outcome.paid = True
            outcome.neurons, outcome.exact = run.spent.neurons, run.spent.exact
            outcome.tokens = None if run.tokens is None else round(run.tokens)
            outcome.seconds = sum(run.seconds_of_requests)
        if run.done:
            # An answer shared while another run waited for it counts as stored there, and nothing was saved by it.
            kept = run.stored and (run.saved_neurons or run.unknown_saved or _free(run.plan.model))
            outcome.state = "stored" if kept else "answered"
            outcome.answer = _cell(made.frame())
            if kept:
                # What it had cost, and no word how sure that was.
                unpriced = 0.0 if _free(run.plan.model) else None
                outcome.paid, outcome.neurons, outcome.exact = True, run.saved_neurons or unpriced, False
        elif made.failed or run.error is not None:
            outcome.state, outcome.error = "failed", _why(run.error, made.failures)
        else:
            outcome.state = "not run" if run.rows else "no text"


def _free(model: Model) -> bool:
    return model.prices is not None and not any(price.neurons != 0 for price in model.prices.values())


def _why(error: CfaiError | None, failures: pd.DataFrame) -> str:
    return str(error) if error is not None else str(failures["message"].iloc[0])


def _cell(result: pd.Series[Any] | pd.DataFrame) -> Any:
    if isinstance(result, pd.DataFrame):
        return {str(name): _plain(result[name].iloc[0]) for name in result.columns}
    return _plain(result.iloc[0])


def _plain(value: Any) -> Any:
    """A cell as people write it: no numpy, None where it is missing."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
