"""How far a call on a Dask frame is: one progress, one receipt and one ledger for all its parts, wherever they are.

While a part is carried out, in this process or in a worker of a cluster, a ``PartWatch`` takes notes of its calls:
numbers, and the first failures.  They come to ``take``, in the process that made the call; its ``DaskReport`` adds them
up, shows them, and enters in the ledger what workers were charged that keep a store of their own.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import errors
from .._engine.run_state import Event, Waiting
from ..html.markup import counted
from ..models import Cost
from ..models.ledger import Charge
from .call import remember
from .cascades import Certificate
from .progress import Display, listener
from .report import Report, ReportOfCalls, spent_words

if TYPE_CHECKING:
    from ..errors import CfaiError
    from ..models.ledger import Budget

#: Seconds between two notes of a part; and without any part under way, until the computation counts as over.
EVERY, IDLE = 0.5, 3.0
#: Seconds without a note of the parts under way until these count as lost: their scheduler is gone.
LOST = 10.0
#: Failed rows of a part that are noted, and characters of a message.
_FAILURES, _MESSAGE = 5, 300
#: What a note holds of an event.
_COUNTS = (
    "verb", "model", "origin", "rows", "done", "stored", "missing", "in_flight", "requests", "saved_neurons",
    "unknown_saved", "seconds", "finished",
)  # fmt: skip
#: Reports by call, as long as a part of the call holds them; and the newest, which pickled parts find here as well.
_reports: weakref.WeakValueDictionary[str, DaskReport] = weakref.WeakValueDictionary()
_newest: collections.deque[DaskReport] = collections.deque(maxlen=200)


class PartWatch:
    """Follows one call of a part, and sends notes of it.

    `shown` is what ``cf.last_run()`` returns meanwhile; None: the report of the call itself.
    """

    def __init__(self, send: Callable[[Mapping[str, Any]], object], shown: Report | None) -> None:
        self._send, self._shown = send, shown
        self._report: Report | None = None
        self._next, self._ended = 0.0, False

    @property
    def report(self) -> Report:
        """That of the call."""
        assert self._report is not None
        return self._report

    def follow(self, report: Report) -> Report:
        """Take the report of a call that begins; return the one to remember."""
        self._report, self._next, self._ended = report, 0.0, False
        return self._shown or report

    def show(self, _: Any) -> None:
        """Send a note, where one is due."""
        now, event = time.monotonic(), self.report.event
        if (now >= self._next or event.finished) and not self._ended:
            self._next, self._ended = now + EVERY, event.finished
            self._send(_note(self.report, event))

    @property
    def stopped_words(self) -> str:
        """What an interrupt leaves behind, in words."""
        return self.report.stopped_words

    def conclude(self, on_error: str, *, failures: bool = True) -> list[str]:
        """Raise what the call ends with, or return its warnings."""
        return self.report.conclude(on_error, failures=failures)


def _note(report: Report, event: Event) -> dict[str, Any]:
    """Return the note of a call: numbers, and at the end its first failures and what a cascade promises."""
    failures = report.failures.head(_FAILURES).to_dict("records") if event.finished and report.failed else []
    waiting, spent = event.waiting, event.spent
    return {
        **{name: getattr(event, name) for name in _COUNTS},
        "failed": report.failed, "neurons": spent.neurons, "exact": spent.exact, "tokens": report.run.tokens,
        "waiting": None if waiting is None else dataclasses.astuple(waiting),
        "failures": [
            (str(one["row"]), str(one["code"]), str(one["message"])[:_MESSAGE], one["model"])
            for one in failures
        ],
        "certificate": None if report.certificate is None else dataclasses.asdict(report.certificate),
    }  # fmt: skip


def take(
    call: str, part: str, state: str, at: int = 0, note: Mapping[str, Any] | None = None, apart: bool = False,
    error: Sequence[str] = (),
) -> None:  # fmt: skip
    """Take a note of a part; nothing happens where its call was made in another process.

    `call` is what all parts have in common, `part` one attempt at a part, `state` "runs", "ends", "failed" or "lost",
    and `at` which of its calls the `note` of a ``PartWatch`` is about.  `apart` says that its charges are in another
    ledger than that of the client; `error` has the name of a class and words.
    """
    if (report := _reports.get(call)) is not None:
        report.take(part, state, at, note, apart, error)


def report_of(call: str) -> DaskReport | None:
    """Return the report of a call that was made in this process."""
    return _reports.get(call)


def end_idle() -> None:
    """Let reports end of which no part is under way: a computation in this process is over."""
    for report in tuple(_reports.values()):
        report.end()


class DaskReport(ReportOfCalls):
    """What the parts of a call on a Dask frame do; ``cf.last_run()`` returns it once one has begun.

    `call` is what all parts have in common, and `calls` how many calls the part of a partition makes.  None: one part
    makes the calls of a cascade for all partitions, each about fewer rows than the one before.  The session of this
    name keeps the ledger.  ``budget`` is that of all parts: pickled ones find it while the report is kept.
    """

    _elsewhere = "The answers of a call on a Dask frame are in what its .compute() returned."

    def __init__(
        self, call: str, verb: str, partitions: int, calls: int | None, session: str, progress: bool | None,
        display: Display | None,
    ) -> None:  # fmt: skip
        self.call, self._verb, self._partitions, self._calls = call, verb, partitions, calls
        self._covered = partitions if calls is None else 1  # by one part
        self._session, self._progress, self._display = session, progress, display
        self._lock, self._wake = threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None
        self.budget: Budget | None = None
        self._computed = False
        self._clear()
        _reports[call] = self
        _newest.append(self)

    def _clear(self) -> None:
        self._notes: dict[tuple[str, int], Mapping[str, Any]] = {}
        self._states: dict[str, str] = {}
        self._final: tuple[Event, int, pd.DataFrame] | None = None  # event, parts and failures of what is over
        self._error: CfaiError | None = None
        self.certificate = None
        self._began, self._ended = time.monotonic(), 0.0

    # -- notes of the parts ------------------------------------------------------------------------------------------

    def take(
        self, part: str, state: str, at: int, note: Mapping[str, Any] | None, apart: bool, error: Sequence[str]
    ) -> None:
        """See the function ``take``."""
        with self._lock:
            ending = self._thread if self._ended else None
        if ending is not None:  # the end of the computation before is being shown
            ending.join(1.0)
        with self._lock:
            if self._thread is None:
                self._begin()
            self._latest = time.monotonic()
            self._states[part] = state
            if note is not None:
                self._notes[part, at] = note
                if (promise := note["certificate"]) is not None:
                    money = {name: Cost(**promise[name]) for name in ("cost", "alone")}
                    self.certificate = Certificate(**{**promise, **money})
            if error and self._error is None:
                self._error = getattr(errors, error[0], errors.CfaiError)(error[1])
        if state != "runs":
            if apart:
                self._enter(part)
            self._wake.set()

    def _begin(self) -> None:
        if self._final is not None:  # computed once more
            self._clear()
        self._ended, self._computed, self._latest = 0.0, False, time.monotonic()
        remember(self)
        self._thread = threading.Thread(target=self._show, name="cfai dask", daemon=True)
        self._thread.start()

    def _show(self) -> None:
        with listener(self._progress, self._display) as show:
            while not self._over:
                show(self)
                self._wake.wait(0.1)
                self._wake.clear()
            with self._lock:
                self._ended = time.monotonic()
            show(self)
        with self._lock:
            self._thread = None
            if self._complete or self._computed:  # the notes of ten thousand parts would stay with the report
                self._final = self.event, self._parts, self.failures
                self._notes, self._states = {}, {}

    def end(self) -> None:
        """End where no part is under way, and wait until that is shown."""
        with self._lock:
            thread = self._thread
            if thread is None or self._running:
                return
            self._computed = True
            self._wake.set()
        thread.join(2.0)

    @property
    def _running(self) -> bool:
        return "runs" in self._states.values()

    @property
    def _complete(self) -> bool:
        return self._parts >= self._partitions or "failed" in self._states.values()

    @property
    def _parts(self) -> int:
        with self._lock:
            if self._final is not None:
                return self._final[1]
            return self._covered * sum(state == "ends" for state in self._states.values())

    @property
    def _over(self) -> bool:
        with self._lock:
            silent = time.monotonic() - self._latest
            if self._running:
                return silent > LOST
            return self._complete or self._computed or silent > IDLE

    def _enter(self, part: str) -> None:
        """Enter what a part was charged in the ledger of the client, a line for each of its calls."""
        from ..session.session import named  # loads the engine

        if (session := named(self._session)) is None:
            return
        with self._lock:
            notes = [note for (of, _), note in self._notes.items() if of == part]
        for note in notes:
            line = {
                "time": time.time(), "run": self.call[:16], "account": session.account, "origin": session.origin,
                "model": note["model"], "verb": note["verb"],
            }  # fmt: skip
            if note["requests"] or note["saved_neurons"]:
                session.enter(Charge(
                    **line, requests=note["requests"], rows=note["done"], neurons=note["neurons"], exact=note["exact"],
                    saved_neurons=note["saved_neurons"], tokens=note["tokens"], seconds=note["seconds"],
                ))  # fmt: skip
            if note["unknown_saved"]:
                session.enter(Charge(
                    **line, requests=0, rows=note["unknown_saved"], neurons=0.0, exact=True, saved_neurons=None,
                    tokens=0.0,
                ))  # fmt: skip

    # -- what a report says ------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:  # type: ignore[override]
        """Verb and partitions; rows of partitions that have not begun are estimated."""
        about = "" if self._ended or self._known >= self._partitions else " about"
        return f"{self._verb}, {self._parts:,} of {self._partitions:,} partitions,{about}".rstrip(",")

    @property
    def _known(self) -> int:
        """Partitions that have begun."""
        with self._lock:
            return self._covered * sum(state != "lost" for state in self._states.values())

    def _counted(self, notes: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[tuple[str, int], Mapping[str, Any]]:
        """Return the notes that say how far the rows are: of a cascade the latest alone."""
        latest = dict(sorted(notes)) if self._calls is None else {}
        return {key: note for key, note in notes.items() if latest.get(key[0], key[1]) == key[1]}

    @property
    def error(self) -> CfaiError | None:
        """What ended the call early."""
        return self._error

    @property
    def event(self) -> Event:
        """How far all parts are together."""
        with self._lock:
            if self._final is not None:
                return self._final[0]
            every, states = dict(self._notes), dict(self._states)
        # A part of a worker that was lost is carried out again: its cost counts, and its rows do not.
        live = {key: note for key, note in every.items() if states[key[0]] != "lost"}
        latest = self._counted(live)
        total = {name: sum(note[name] for note in latest.values()) for name in ("done", "failed", "missing", "stored")}
        total = {name: count // (self._calls or 1) for name, count in total.items()}
        rows = sum({part: note["rows"] for (part, _), note in latest.items()}.values())  # of each part once
        begun = self._known
        if not self._ended and 0 < begun < self._partitions:
            rows = max(total["done"] + total["failed"], round(rows / begun * self._partitions))
        seconds = (self._ended or time.monotonic()) - self._began
        notes = list(every.values())
        neurons = [note["neurons"] for note in notes if note["requests"]]
        spent = Cost(None if None in neurons else sum(neurons), all(n["exact"] for n in notes if n["requests"]))
        done = total["done"] + total["failed"]
        ahead = (rows - done) / (done - total["stored"]) if done > total["stored"] else None
        if self._calls is None and not self._ended:  # how many rows the next calls are about is not known
            ahead = None
        projected = Cost(None) if ahead is None else spent * (1 + ahead)
        return Event(
            verb=self._verb, model=", ".join(dict.fromkeys(note["model"] for note in notes)),
            origin=next((note["origin"] for note in notes), ""), rows=rows, **total,
            in_flight=sum(note["in_flight"] for (part, _), note in live.items() if states[part] == "runs"),
            requests=sum(note["requests"] for note in notes), spent=spent, projected=projected,
            saved_neurons=sum(note["saved_neurons"] for note in notes),
            unknown_saved=sum(note["unknown_saved"] for note in notes), seconds=seconds,
            left=None if ahead is None else seconds * ahead, finished=bool(self._ended), stopped=False,
            waiting=self._waiting([note for key, note in live.items() if states[key[0]] == "runs"], seconds),
        )  # fmt: skip

    def _waiting(self, notes: Sequence[Mapping[str, Any]], seconds: float) -> Waiting | None:
        """Return what the parts wait for, where all that are under way do."""
        notes = [note for note in notes if not note["finished"]]
        if not notes or any(note["waiting"] is None for note in notes):
            return None
        note = max(notes, key=lambda note: float(note["seconds"] - note["waiting"][2]))
        reason, code, since, until = note["waiting"]
        shift = seconds - note["seconds"]
        return Waiting(reason, code, since + shift, None if until is None else until + shift)

    @property
    def failed(self) -> int:
        """Number of rows without an answer, with the reason in ``failures`` for the first of each part."""
        return self.event.failed

    @property
    def failures(self) -> pd.DataFrame:
        """The first rows of each part that failed, and why: ``row`` (its label), ``code``, ``message``, ``model``."""
        with self._lock:
            if self._final is not None:
                return self._final[2]
            found = [tuple(each) for note in self._counted(self._notes).values() for each in note["failures"]]
        return pd.DataFrame(found, columns=["row", "code", "message", "model"])

    @property
    def _wanted(self) -> int:
        return self.event.rows

    @property
    def not_run(self) -> int:
        """Number of rows of partitions that began and did not end."""
        event = self.event
        return max(0, event.rows - event.done - event.failed)

    @property
    def receipt(self) -> str:
        """One line: rows, partitions, requests, cost, time."""
        event = self.event
        parts = [f"{self._verb}: {event.done:,} rows in {self._parts:,} of {counted(self._partitions, 'partition')}"]
        if event.stored:
            parts.append(f"{event.stored:,} from the store")
        if event.failed:
            parts.append(f"{event.failed:,} failed")
        promise = [] if self.certificate is None else [self.certificate.words]
        return " · ".join([*parts, *spent_words(event), *promise])

    def frame(self) -> pd.Series[Any] | pd.DataFrame:
        """Not there: the answers are in what ``compute()`` returned.

        Raises
        ------
        LookupError
            Always.
        """
        raise LookupError(self._elsewhere)
