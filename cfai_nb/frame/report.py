"""The report of a run: its receipt, the rows that failed, and the result as far as it came.

A ``Call`` makes one for each run; ``cf.last_run()``, progress and plots read it, also while the run goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .._engine.run_state import Event, Run
from ..errors import CfaiError, RowError, RowsFailed, ServiceError, Stopped, StoreError
from ..errors import CfaiWarning as CfaiWarning
from ..html.markup import card, chip, counted, escape, facts, row, soft
from ..models.ledger import dollars, money
from ..vectors.vector import stand_in
from .cascades import Certificate
from .rows import Rows


class Report:
    """A run, with the labels of its rows; ``cf.last_run()`` returns the last one.

    Attributes
    ----------
    failures : DataFrame
        ``row`` (its label), ``code``, ``message``, ``model``; ``truncated``: whether the token limit cut the reply;
        ``text``: what the model wrote, as far as it came (a list with ``n=``): one row a failed row.
    receipt : str
        One line: rows, requests, cost, time.
    title : str
        What that begins with instead of the verb, as where several models take their turns.
    certificate : object or None
        Of a call with a cascade: what is promised about its answers, in ``.words``.
    answered_by : Series or None
        Of a call with a cascade: what answered each row.
    """

    def __init__(
        self, run: Run, rows: Rows, build: Callable[[Run], pd.Series[Any] | pd.DataFrame], title: str = ""
    ) -> None:
        self.run = run
        self.title = title
        self._rows = rows
        self._build = build
        self.certificate: Certificate | None = None
        self.answered_by: pd.Series[Any] | None = None

    def frame(self) -> pd.Series[Any] | pd.DataFrame:
        """Return what was delivered so far, on the index of the frame; missing where there is nothing."""
        return self._build(self.run)

    @property
    def event(self) -> Event:
        """How far the run is: rows done, stored, failed; requests; cost."""
        return self.run.event()

    @property
    def error(self) -> CfaiError | None:
        """What ended the run early."""
        return self.run.error

    @property
    def failures(self) -> pd.DataFrame:
        """Rows that failed and why; ``position`` counts from 0, for ``df.iloc``, where labels of the index repeat."""
        run, index = self.run, self._rows.index
        model = run.plan.model.id
        found = []
        for at, error in self.errors.items():
            # Errors of the service begin with model and code, which have columns of their own here.
            text = str(error).removeprefix(f"{model}: ").removeprefix(f"{error.code}: ")
            found.append((index[at], error.code, text, model, error.code == "length", getattr(error, "text", None), at))
        names = ["row", "code", "message", "model", "truncated", "text", "position"]
        return pd.DataFrame(found, columns=names).astype({"truncated": bool, "text": object})

    @property
    def uncertain(self) -> pd.DataFrame:
        """Rows with an answer that is too uncertain to be shown (``uncertain=``): ``row, answer, position``."""
        run, cells = self.run, self.run.results.cells()
        unsure = {at for at, cell in enumerate(cells) if cell is not None and run.plan.task.unsure(cell)}
        found = [(self._rows.index[at], cells[i], at) for at, i in enumerate(run.plan.where.tolist()) if i in unsure]
        return pd.DataFrame(found, columns=["row", "answer", "position"])

    @property
    def logs(self) -> pd.Series[Any]:
        """The id of the gateway's log of each row's answer, for ``cf.feedback``; missing where there is none."""
        ids = [self.run.logs.get(at) for at in self.run.plan.where.tolist()]
        return pd.Series(ids, index=self._rows.index, dtype="object", name="log")

    @property
    def errors(self) -> dict[int, RowError]:
        """Why rows failed, by position in the frame."""
        found: dict[int, RowError] = {}
        if not self.failed:
            return found
        for position, at in enumerate(self.run.plan.where.tolist()):
            error = self._rows.bad.get(position) or self.run.failures.get(at)
            if error is not None:
                found[position] = error
        return found

    def covers(self, index: pd.Index[Any]) -> bool:
        """Whether the run was about the rows of this index: this very one or a view of it, not an equal one."""
        return self._rows.index.is_(index)

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return self.run.failed + len(self._rows.bad)

    @property
    def answered(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each row has a whole answer."""
        run, where = self.run, self.run.plan.where
        whole = run.results.filled.copy()
        whole[list(run.failures)] = False
        return (where >= 0) & (whole[where] if len(whole) else False)

    @property
    def _filled(self) -> int:
        """Number of failed rows that hold the beginning of their reply."""
        partial = self.run.options.on_error == "partial"
        return sum(map(self.run.filled, self.errors.values())) if partial else 0

    @property
    def not_run(self) -> int:
        """Number of rows that were not reached."""
        run = self.run
        return run.rows - run.done - run.failed

    @property
    def _wanted(self) -> int:
        """Number of rows with something in them, those that cannot be sent included."""
        return self.run.rows + len(self._rows.bad)

    @property
    def flow(self) -> pd.DataFrame:
        """Requests in flight over time: ``seconds``, ``in_flight``."""
        return pd.DataFrame(list(self.run.flow), columns=["seconds", "in_flight"])

    @property
    def latency(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Seconds of each request."""
        return np.array(self.run.seconds_of_requests, dtype=float)

    @property
    def receipt(self) -> str:
        """One line: rows, requests, cost, time."""
        event = self.event
        parts = [f"{self.title or event.verb}: {event.done:,} of {self._wanted:,} rows"]
        if event.stored:
            parts.append(f"{event.stored:,} from the store")
        if self.failed - self._filled:
            parts.append(f"{self.failed - self._filled:,} failed")
        if self._filled:
            parts.append(f"{self._filled:,} truncated")
        if self.not_run:
            parts.append(f"{self.not_run:,} not run")
        if getattr(self.run.plan.task, "uncertain", None) is not None and (unsure := len(self.uncertain)):
            parts.append(f"{unsure:,} uncertain")
        if event.missing - len(self._rows.bad):
            parts.append(f"{event.missing - len(self._rows.bad):,} {self.run.plan.lacking}")
        parts += spent_words(event)
        if self.certificate is not None:
            parts.append(self.certificate.words)
        return " · ".join(parts)

    @property
    def _kept_words(self) -> str:
        done = f"{self.run.done:,} of {self._wanted:,} rows are done"
        if not self.run.kept:
            why = "cache=False keeps none" if self.run.options.cache is False else "this session has no store"
            return f"{done}: cf.last_run().frame() has them ({why})."
        if isinstance(self.run.error, StoreError) or self.run.store_failure is not None:
            return (
                f"{done}: cf.last_run().frame() has them. What the store does not hold of them stays in memory, and is "
                "written as soon as that is possible, at the latest when the session is closed."
            )
        rest = f"and running the same call again sends {'only the rest' if self.not_run or self.failed else 'nothing'}."
        return f"{done} and kept: cf.last_run().frame() has them, {rest}"

    @property
    def stopped_words(self) -> str:
        """What an interrupt leaves behind, in words."""
        flying = self.run.in_flight
        late = f" {counted(flying, 'request')} in flight: what they bring is kept as well." if flying else ""
        return f"Stopped. {self._kept_words}{late}"

    @property
    def ended(self) -> CfaiError | None:
        """What the run ends with: what ended it early, or that every row failed; None where it has a result."""
        run = self.run
        if run.error is not None or run.done or run.stopped or not self.failed or self.not_run or self._filled:
            return run.error
        errors = list(self.errors.values())
        first = errors[0]
        if isinstance(first, ServiceError) and all(type(error) is type(first) for error in errors):
            rows = f" All {len(errors):,} rows failed." if len(errors) > 1 else ""
            return with_text(copy.copy(first), f"{sentence(str(first))}{rows} cf.last_run().failures lists them.")
        return RowsFailed(self._first_failures())

    def conclude(self, on_error: str, *, failures: bool = True) -> list[str]:
        """Raise what the run ends with, or return the warnings that go with its result.

        Without ``failures`` rows that failed are left to the caller, for whom the run is a part of something.

        Raises
        ------
        CfaiError
            What ended the run early; where every row failed the service's error, or RowsFailed if they failed for
            different reasons.  RowsFailed also where some did, with ``on_error="raise"``.
        Stopped
            It was interrupted.
        """
        run = self.run
        if run.stopped:  # whatever else it came to: a loop of calls ends with it
            raise Stopped(self.stopped_words) from run.error
        if run.error is not None:
            text = str(run.error)
            raise with_text(run.error, f"{sentence(text)} {self._kept_words}" if run.done else text)
        if failures and (ended := self.ended) is not None:
            raise ended
        warned = store_words(run, "this result")
        if failures and self.failed:
            text = self._first_failures()
            if on_error == "raise":
                raise RowsFailed(f"{text} {self._kept_words}" if run.done else text)
            warned.append(text)
        return warned

    def _first_failures(self) -> str:
        position, error = next(iter(self.errors.items()))
        column = f" of column {self._rows.name!r}" if self._rows.name is not None else ""
        rest = self.failed - 1
        more = f" (and {counted(rest, 'more row')})" if rest else ""
        what = f"failed and are missing{f', except {self._filled:,} that are truncated' if self._filled else ''}"
        what = "are truncated" if self._filled == self.failed else what
        return (
            f"{self.failed:,} of {len(self._rows.index):,} rows {what}: "
            f"row {_plain(self._rows.index[position])!r}{column}: {error}{more}. cf.last_run().failures lists them."
        )

    def __repr__(self) -> str:
        return f"<{self.receipt}>"

    def _repr_html_(self) -> str:
        return receipt_card(self)


class ReportOfCalls(Report):
    """The report of many calls together: their totals.  What is about single rows raises a LookupError."""

    #: Where the answers are, in a sentence.
    _elsewhere = ""
    certificate: Certificate | None = None
    answered_by: pd.Series[Any] | None = None

    @property
    def run(self) -> Run:  # type: ignore[override]
        """Not there: there are many.

        Raises
        ------
        LookupError
            Always.
        """
        raise LookupError(f"This report counts what many calls did, and does not hold their rows. {self._elsewhere}")

    def covers(self, index: pd.Index[Any]) -> bool:
        """Whether it was about the rows of this index: never, since they are not those of one frame."""
        return False

    @property
    def flow(self) -> pd.DataFrame:
        """Empty: the requests in flight are not kept for many calls."""
        return pd.DataFrame({"seconds": [], "in_flight": []})

    @property
    def latency(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Empty: the seconds of each request are not kept for many calls."""
        return np.zeros(0)

    @property
    def _filled(self) -> int:
        return 0


#: Failed rows that a receipt lists; ``failures`` has all.
_LISTED = 10


def receipt_card(report: Report) -> str:
    """Return the receipt as HTML: one line, which unfolds to all facts and the first rows that failed."""
    event, failed = report.event, report.failed
    broken = report.error is not None
    alarm = bool(failed or report.not_run or broken)
    sign, look = ("✗", "bad") if broken else ("⚠", "warn") if alarm else ("✓", "ok")
    rows = f"{event.done:,} of {counted(report._wanted)}" if alarm else counted(event.done)
    rows += f", {counted(event.requests, 'request')}" if event.requests else ""
    marks = [chip(f"{failed:,} failed: show", "emu")] if failed else []
    marks += [chip(f"{report.not_run:,} not run", "emu")] if report.not_run else []
    marks += [chip(stamp, "emu")] if (stamp := stand_in(event.origin)) and event.requests else []
    neurons = event.spent.neurons
    cost = "nothing spent" if not event.requests else "price unknown"
    cost = cost if neurons is None or not event.requests else dollars(neurons, event.spent.exact)
    saved = f"saved {dollars(event.saved_neurons)}" if event.saved_neurons else ""
    head = row(
        f'<span class="cfai-{look}" aria-hidden="true">{sign}</span>',
        f"<b>{escape(report.title or event.verb, 80)}</b>", soft(rows), *marks, "",
        f"<b>{cost}</b>", *([soft(saved)] if saved else []), soft(f"{event.seconds:.1f} s"),
        '<span class="cfai-accent">more</span>',
    )  # fmt: skip
    return card(head, report.receipt, more=_details(report), line=True, alarm=alarm)


def _details(report: Report) -> str:
    event = report.event
    pairs = [(name, said) for name, said in (("model", event.model), ("answered by", event.origin)) if said]
    pairs += [("receipt", report.receipt)]
    if len(report.latency):
        middle, slow = np.percentile(report.latency, [50, 95])
        pairs.append(("seconds a request", f"{middle:.2g} (median), {slow:.2g} (95 %)"))
    listed = report.failures.head(_LISTED) if report.failed else pd.DataFrame()
    for each in listed.to_dict("records"):
        pairs.append((f"row {_plain(each['row'])}", f"{each.get('code') or each['column']}: {each['message']}"))
    if report.failed > len(listed):
        pairs.append(("", f"{counted(report.failed - len(listed), 'more failed row')}: cf.last_run().failures"))
    return facts(pairs)


def store_words(run: Run, result: str) -> list[str]:
    """Return what the store could not give back or keep, which is in `result` all the same."""
    found = []
    if run.damaged:
        end = 'and cache="only" does not ask again' if run.options.cache == "only" else "and asked for again"
        was = "were" if run.damaged > 1 else "was"
        found.append(f"{counted(run.damaged, 'stored answer')} {was} damaged {end}.")
    if run.store_failure is not None:
        found.append(f"Answers could not be kept: {run.store_failure} They are in {result} all the same.")
    return found


def spent_words(event: Event) -> list[str]:
    """Return the end of a receipt: requests, cost, what was not paid again, and seconds."""
    cost = cost_words(event, money(event.spent.neurons, event.spent.exact)) if event.requests else "nothing spent"
    unknown = f"{counted(event.unknown_saved)} of unknown price" if event.unknown_saved else ""
    saved = " and ".join(filter(None, (money(event.saved_neurons) if event.saved_neurons else "", unknown)))
    return [counted(event.requests, "request"), cost, *([f"saved {saved}"] if saved else []), f"{event.seconds:.1f} s"]


def cost_words(event: Event, cost: str) -> str:
    """Return a cost, marked as what it would be where a stand-in answered."""
    would = "" if event.spent.neurons is None else "would be "
    return f"{stamp}, {would}{cost}" if (stamp := stand_in(event.origin)) else cost


def _plain(label: Any) -> Any:
    """A label as people write it: 3, not np.int64(3)."""
    if isinstance(label, tuple):  # of a MultiIndex
        return tuple(_plain(part) for part in label)
    return label.item() if isinstance(label, np.generic) else label


def sentence(text: str) -> str:
    """Return a text with a mark at its end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def with_text(error: CfaiError, text: str) -> CfaiError:
    """Return an error that says something else."""
    error.args = (text, *error.args[1:])
    return error
