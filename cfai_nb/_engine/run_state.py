"""The state of a run, while it goes on and afterwards: options, results, failures, costs, and whether it was ended.

``Session.runner`` makes a ``Run`` from a plan and options.  The runner and its parts write it, on the engine's loop;
reports, progress displays and widgets read it, and take an ``Event`` as a snapshot.  Whatever ends a run is kept here
and nowhere else: ``error``, ``stopped``, ``halted`` and ``finished``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import CfaiError, RowError, bare
from ..models import Cost
from ..models.ledger import Charge
from ..tasks import Cells
from ..vectors.vector import Space, views
from .plan import Plan
from .run_options import RunOptions
from .stopping import NEVER, Stop

#: The beginning of the ids of this process's runs; in the ledger, which holds the runs of every notebook, it identifies
#: them.
HERE = secrets.token_hex(4)


def new_run() -> str:
    """Return the id of a new run."""
    return f"{HERE}{secrets.token_hex(4)}"


#: Seconds without an answer after which a run says what it waits for.
_MOMENT = 1.0
#: What a run waits for: a free place, the minute's limit, a failing service, access that is in doubt, the bills of
#: requests in flight (for the budget), or the batch queue.
Reason: TypeAlias = Literal["capacity", "minute", "outage", "access", "budget", "queue"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a run waits for, in seconds since the run began."""

    reason: Reason
    code: int | str | None  # of the refusal or fault
    since: float
    until: float | None  # when the row is given up, or the minute opens; None: not bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """How far a run is, at one moment; rows are rows of the frame.

    ``saved_neurons`` is what rows from the store had cost and those from a gateway's cache would have cost, without
    the ``unknown_saved`` rows of unknown price.  ``waiting`` is set while nothing is answered.
    """

    verb: str
    model: str
    origin: str
    rows: int
    done: int
    stored: int
    failed: int
    missing: int
    in_flight: int
    requests: int
    spent: Cost
    projected: Cost
    saved_neurons: float
    unknown_saved: int
    seconds: float
    left: float | None
    finished: bool
    stopped: bool
    waiting: Waiting | None = None


#: Indexes of distinct inputs.
Indexes: TypeAlias = Sequence[int] | npt.NDArray[np.int64]
#: Those without a result, and why.
Failed: TypeAlias = list[tuple[int, RowError]]


def errors_apart(indexes: Indexes, cells: Cells) -> tuple[Indexes, Cells, Failed]:
    """Separate the cells that are errors, with their indexes."""
    if isinstance(cells, np.ndarray) or not any(isinstance(cell, RowError) for cell in cells):
        return indexes, cells, []
    pairs = list(zip(map(int, indexes), cells, strict=True))
    failed = [(at, cell) for at, cell in pairs if isinstance(cell, RowError)]
    good = [(at, cell) for at, cell in pairs if not isinstance(cell, RowError)]
    return [at for at, _ in good], [cell for _, cell in good], failed


class Results:
    """The cells that a run delivers, by distinct input, in whatever order the answers arrive."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.filled = np.zeros(count, dtype=bool)
        self.matrix: npt.NDArray[np.float32] | None = None
        self._cells: list[Any] | None = None

    def put(self, indexes: Indexes, cells: Any) -> None:
        """Add the cells of these inputs: the rows of a matrix, or a list."""
        if isinstance(cells, np.ndarray):
            if self.matrix is None:
                self.matrix = np.empty((self.count, cells.shape[1]), dtype=np.float32)
            if cells.shape[1] != self.matrix.shape[1]:
                raise CfaiError(
                    f"vectors of {cells.shape[1]} dimensions, where other rows of this run or the store have "
                    f'{self.matrix.shape[1]}; cache="refresh" asks for all of them again'
                )
            self.matrix[indexes] = cells
            self.filled[indexes] = True
            return
        if self._cells is None:
            self._cells = [None] * self.count
        for index, cell in zip(indexes, cells, strict=True):
            self._cells[index] = cell
            self.filled[index] = True

    def cells(self) -> list[Any]:
        """Return the cells by input; None where there is none."""
        return self._cells if self._cells is not None else [None] * self.count

    def vectors(self, where: npt.NDArray[np.int64], space: Space | None) -> list[Any]:
        """Return a vector a row, each a read-only view of one matrix; `where` is the input of each row, or -1."""
        if self.matrix is None:
            return [None] * len(where)
        return views(self.matrix, np.where((where >= 0) & self.filled[where], where, -1), space)


@dataclass(slots=True, eq=False)
class Run:
    """One call of a verb: its plan and options, the results and failures of its rows, and what they cost.

    Rows are rows of the frame; an index is that of a distinct input.
    """

    plan: Plan
    options: RunOptions
    kept: bool = True  # its answers go into a store
    id: str = field(default_factory=new_run)
    results: Results = field(init=False)  # the cells delivered so far
    failures: dict[int, RowError] = field(default_factory=dict)  # by index
    logs: dict[int, str] = field(default_factory=dict)  # by index: the id of the gateway's log of its answer
    stored: int = 0  # rows answered from the store
    damaged: int = 0  # answers of the store that were damaged, and are not used
    failed: int = 0
    done: int = 0
    requests: int = 0
    in_flight: int = 0
    neurons: float = 0.0
    unpriced: int = 0
    exact: bool = True
    tokens: float | None = 0.0  # read and written; None where an answer did not report them
    saved_neurons: float = 0.0
    unknown_saved: int = 0
    error: CfaiError | None = None  # what ended the run early
    stopped: bool = False  # it was interrupted
    stop: Stop = NEVER  # of the job it is part of; its level rises before the run notices it
    restarts: bool = True  # an answer that broke off while `on_token` took its pieces is asked for again
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    seconds_of_requests: list[float] = field(default_factory=list)
    #: (seconds, requests in flight) over time, in a few thousand points however long the run.
    flow: list[tuple[float, int]] = field(default_factory=list)
    store_failure: CfaiError | None = None
    waits: dict[object, Waiting] = field(default_factory=dict)  # of its requests that wait
    answered: float | None = None  # when the last answer came (monotonic seconds)
    turn: Callable[[], Waiting | None] = field(default=lambda: None)
    _ended_early: bool = False
    _beat: float = 0.0
    _weights: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.plan.inputs)
        self.results = Results(count)
        where = self.plan.where
        self._weights = np.bincount(where[where >= 0], minlength=count)

    @property
    def halted(self) -> bool:
        """Whether nothing more is sent: the run ended early, or Stop was pressed and the run has not noticed yet."""
        return self._ended_early or self.stop.level > 0

    def halt(self, error: CfaiError | None = None) -> bool:
        """Send nothing more, because of this error if one is given; return whether the run was not halted before."""
        if error is not None and self.error is None:
            self.error = error
        new, self._ended_early = not self._ended_early, True
        return new

    @property
    def finished(self) -> bool:
        """Whether it has ended, with everything that was in flight."""
        return self.ended is not None

    @property
    def rows(self) -> int:
        """Rows of the frame that have an input."""
        return int((self.plan.where >= 0).sum())

    @property
    def spent(self) -> Cost:
        """What the requests of this run cost: unknown when the model publishes no price."""
        return Cost(None if self.unpriced else self.neurons, self.exact)

    @property
    def cost_of_answers(self) -> Cost:
        """What its answers cost: those from the store what they had cost when they were bought.

        The store does not keep whether that was exact, so it counts as estimated.
        """
        if self.unpriced or self.unknown_saved:
            return Cost(None)
        return Cost(self.neurons + self.saved_neurons, self.exact and not self.stored)

    def deliver(self, indexes: Indexes, cells: Cells) -> int:
        """Keep cells and return how many rows they are; cells that are errors fail their rows.

        CfaiError is raised for vectors of another length than those of the run.
        """
        indexes, cells, failed = errors_apart(indexes, cells)
        for index, error in failed:
            self.fail(index, error)
        if not len(indexes):
            return 0
        self.results.put(indexes, cells)
        rows = self.rows_of(indexes)
        self.done += rows
        return rows

    def rows_of(self, indexes: Indexes) -> int:
        """Return how many rows of the frame have these inputs."""
        if len(indexes) == 1:
            return int(self._weights[indexes[0]])
        return int(self._weights[indexes].sum())

    def fail(self, index: int, error: RowError) -> None:
        """Record that this input has no result, or with ``on_error="partial"`` the beginning of one."""
        self.failures[index] = bare(error)  # without frames, which would keep alive what was sent
        self.failed += int(self._weights[index])
        if self.filled(error):
            self.results.put([index], [getattr(error, "partial", None)])

    def filled(self, error: RowError) -> bool:
        """Whether the cell of a row that failed with this error holds the beginning of its reply."""
        return self.options.on_error == "partial" and getattr(error, "partial", None) is not None

    def note(self, charge: Charge) -> None:
        """Add a charge to the totals."""
        self.requests += charge.requests
        self.saved_neurons += charge.saved_neurons or 0.0
        self.unknown_saved += charge.rows if charge.saved_neurons is None else 0
        if not charge.requests:
            return
        self.exact = self.exact and charge.exact
        if charge.neurons is None:
            self.unpriced += 1
        else:
            self.neurons += charge.neurons
        self.answered = time.monotonic()
        known = self.tokens is not None and charge.tokens is not None
        self.tokens = (self.tokens or 0.0) + (charge.tokens or 0.0) if known else None
        self.seconds_of_requests.append(charge.seconds)

    def add(self, part: Run) -> None:
        """Add what another run sent and spent, of which this one is the whole."""
        self.began, offset = min(self.began, part.began), part.began
        self.requests += part.requests
        self.neurons += part.neurons
        self.unpriced += part.unpriced
        self.exact = self.exact and part.exact
        self.saved_neurons += part.saved_neurons
        self.unknown_saved += part.unknown_saved
        self.tokens = None if self.tokens is None or part.tokens is None else self.tokens + part.tokens
        self.seconds_of_requests += part.seconds_of_requests
        self.flow += [(seconds + offset - self.began, flying) for seconds, flying in part.flow]
        self.stopped, self.kept = self.stopped or part.stopped, self.kept and part.kept
        self.error = self.error or part.error

    def count_in_flight(self, change: int) -> None:
        """Record that a request went out or came back."""
        self.in_flight += change
        now = time.monotonic() - self.began
        if not self.flow or now - self.flow[-1][0] >= self._beat or not self.in_flight:
            self.flow.append((now, self.in_flight))
        if len(self.flow) > 8_000:  # every second point, and from now on half as many
            self.flow = self.flow[::2]
            self._beat = 2 * max(self._beat, now / 8_000)

    def _waiting(self) -> Waiting | None:
        """Return what the run waits for, once nothing was answered for a moment.

        Refusals and faults come before our own waits (the minute, the budget, the queue); the longest one counts.
        """
        before = time.monotonic() - _MOMENT
        if self.finished or (self.answered or 0.0) > before:
            return None
        waits = [wait for wait in (*list(self.waits.values()), self.turn()) if wait is not None]
        if not waits:
            return None
        longest = min(waits, key=lambda wait: (wait.reason == "queue", wait.reason in ("minute", "budget"), wait.since))
        return longest if longest.since <= before - self.began else None

    def event(self) -> Event:
        """Return how far the run is."""
        seconds = (self.ended or time.monotonic()) - self.began
        rows = self.rows
        answered = self.done - self.stored
        open_rows = rows - self.done - self.failed
        share = open_rows / answered if answered > 0 else None
        # The first requests of a minute go at once; the others wait for it to end.
        so_far = max(seconds, 60 * self.requests / self.plan.rate) if self.plan.rate else seconds
        projected = Cost(None, False)
        if not open_rows:
            projected = self.spent
        elif share is not None and self.spent.neurons is not None:
            projected = Cost(self.neurons * (1 + share), False)
        return Event(
            verb=self.plan.task.name, model=self.plan.model.id, origin=self.plan.origin,
            rows=rows, done=self.done, stored=self.stored, failed=self.failed,
            missing=len(self.plan.where) - rows, in_flight=self.in_flight, requests=self.requests,
            spent=self.spent, projected=projected, saved_neurons=self.saved_neurons, unknown_saved=self.unknown_saved,
            seconds=seconds,
            left=None if share is None else so_far * share, finished=self.finished, stopped=self.stopped,
            waiting=self._waiting(),
        )  # fmt: skip
