"""What ``enrich`` says: the price of the whole before, one progress, and one receipt for the calls of all parts.

Each call of a batch belongs to the report (``Call(whole=...)``): its run is shown there, and its outcome is counted
there instead of raised or warned about.  ``cf.enrich.plan`` returns the plan.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..._engine.plan import Estimate, time_in_words
from ..._engine.run_state import Event, Results
from ...errors import CfaiError, RowsFailed, Stopped, StoreError
from ...html.markup import counted
from ...models import Cost
from ...models.ledger import money
from ..cascades import Certificate
from ..progress import silent
from ..report import Report, ReportOfCalls, sentence, spent_words, store_words, with_text


class EnrichReport(ReportOfCalls):
    """What ``cf.enrich`` did; ``cf.last_run()`` returns it as well, also while it goes on.

    Attributes
    ----------
    path : Path
        The folder of parts.
    rows : int or None
        Rows of the source; None where a query does not tell.
    parts, done_rows : int
        Parts and rows that are written, those of earlier calls included.
    kept : int
        Rows of parts that were there before.
    notes : list of str
        What should be known besides the result.
    certificates : dict of str to Certificate
        By column: what a cascade promises about all rows, in ``.words``.
    """

    def __init__(self, path: Path, rows: int | None, reasons: Mapping[str, str]) -> None:
        self.certificates: dict[str, Certificate] = {}
        self.path, self.rows = path, rows
        self._reasons = reasons  # of each column that is asked: the column of reasons -> its name
        self.parts = self.done_rows = self.kept = 0
        self.notes: list[str] = []
        self.title = "enrich"
        self.show: Callable[[Report], None] = silent
        self._began, self._ended = time.monotonic(), 0.0
        self._current: Report | None = None
        self._error: CfaiError | None = None  # what ended the whole early
        self._before: list[Report] = []  # of the same rows
        self._sum: Event | None = None  # of the runs that have ended
        self._batch, self._column = 0, 0
        self._failed = self._answered = 0
        self._failed_rows, self._failed_here = 0, set[int]()  # of the parts that are written, and of the batch

    # -- what enrich and its calls report -----------------------------------------------------------------------------

    def begin(self, number: int, rows: int, column: int, name: str) -> None:
        """Note which part and column comes next."""
        self._batch, self._column = rows, column
        self.title = f"enrich part {number + 1}, {name}:"

    def follow(self, report: Report) -> Report:
        """Take the report of a call that begins; return the one to remember."""
        if self._current is not None:
            self._before.append(self._current)
        self._current = report
        return self

    def settle(self, report: Report | None = None) -> dict[str, int]:
        """Add the runs of the current calls to the totals; return how many of their rows are done and failed.

        ``report`` is that of all of them.  Without one, their rows are counted later, by ``tally``.
        """
        counts = {"done": 0, "failed": 0} if report is None else self.tally(report)
        for each in [*self._before, *([] if self._current is None else [self._current])]:
            self._sum = each.event if self._sum is None else _added(self._sum, each.event)
            # A run and its sender refer to each other: its answers would stay until the garbage collector comes by.
            each.run.results = Results(0)
        self._current, self._before = None, []
        return counts

    def tally(self, report: Report) -> dict[str, int]:
        """Count the rows of a report that are done and failed."""
        self._failed += report.failed
        self._failed_here.update(report.errors)
        self._answered += report.run.done
        return {"done": report.run.done, "failed": report.failed}

    def written(self, rows: int, *, before: bool = False) -> None:
        """Count a part that is there."""
        self.parts, self.done_rows, self._batch = self.parts + 1, self.done_rows + rows, 0
        self.kept += rows if before else 0
        self._failed_rows += len(self._failed_here)
        self._failed_here.clear()

    def none_there(self) -> None:
        """Count no part: all are made again."""
        self.parts = self.done_rows = self.kept = self._failed_rows = 0

    def end(self) -> None:
        """Show the end."""
        if not self._ended:
            self._error = self.error
            self.settle(self._current)
            self._ended = time.monotonic()
            self.show(self)

    # -- what a report says ------------------------------------------------------------------------------------------

    @property
    def _elsewhere(self) -> str:  # type: ignore[override]
        return f"The answers are in the files of {self.path}; .failures lists the rows without one."

    @property
    def error(self) -> CfaiError | None:
        """What ended the latest call early."""
        return self._error if self._current is None else self._current.run.error

    @property
    def event(self) -> Event:
        """How far it is: rows of the whole source, requests and cost of this call."""
        now = self._current.event if self._current is not None else None
        known = [event for event in (self._sum, *(each.event for each in self._before), now) if event is not None]
        total = functools.reduce(_added, known) if known else None
        seconds = (self._ended or time.monotonic()) - self._began
        share = 0.0 if now is None else (now.done + now.failed + now.missing) / max(1, self._batch)
        here = int(self._batch * (self._column + min(1.0, share)) / len(self._reasons))
        reached = self.done_rows + max(here, len(self._failed_here))
        failed = self._failed_rows + len(self._failed_here)
        rows = max(reached, self.rows if self.rows is not None else reached)
        fresh = reached - self.kept
        ahead = (rows - reached) / fresh if fresh > 0 and self.rows is not None else None
        spent = total.spent if total is not None else Cost(0.0)
        projected = Cost(None) if ahead is None else spent * (1 + ahead)
        fields: dict[str, Any] = {
            "verb": "enrich", "model": "", "origin": "", "stored": 0, "failed": 0, "missing": 0, "in_flight": 0,
            "requests": 0, "saved_neurons": 0.0, "unknown_saved": 0, "waiting": None, "stopped": False,
        }  # fmt: skip
        if total is not None:
            fields |= {name: getattr(total, name) for name in fields if name != "verb"}
        return Event(**{
            **fields, "rows": rows, "done": reached - failed, "failed": failed, "spent": spent, "projected": projected,
            "seconds": seconds, "left": None if ahead is None else seconds * ahead, "finished": bool(self._ended),
        })  # fmt: skip

    @property
    def failed(self) -> int:
        """Number of cells that have no answer, with the reason beside them."""
        return self._failed + (self._current.failed if self._current is not None else 0)

    @property
    def _wanted(self) -> int:
        return self.done_rows if self.rows is None else self.rows

    @property
    def not_run(self) -> int:
        """Number of rows that no part holds yet."""
        return 0 if self.rows is None else self.rows - self.done_rows

    @property
    def receipt(self) -> str:
        """One line: rows, parts, requests, cost, time."""
        event = self.event
        of = "" if self.rows is None else f" of {self.rows:,}"
        parts = [f"enrich: {self.done_rows:,}{of} rows in {counted(self.parts, 'part')}"]
        if self.kept:
            parts.append(f"{self.kept:,} there already")
        if event.stored:
            parts.append(f"{counted(event.stored, 'answer')} from the store")
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        promises = [f"{name}: {one.words}" for name, one in self.certificates.items()]
        return " · ".join([*parts, *spent_words(event), *promises])

    @property
    def failures(self) -> pd.DataFrame:
        """Rows that failed and why: ``row`` (from 0, through all parts), ``column``, ``message``."""
        import pyarrow.dataset as ds

        found: list[tuple[int, str, str]] = []
        parts = ds.dataset(sorted(self.path.glob("part-*.parquet")), format="parquet")
        names = [name for name in self._reasons if name in parts.schema.names]
        row = 0
        for batch in parts.to_batches(columns=names, fragment_readahead=1):
            for name in names:
                cells = enumerate(batch[name].to_pylist(), row)
                found += [(at, self._reasons[name], text) for at, text in cells if text is not None]
            row += batch.num_rows
        return pd.DataFrame(sorted(found), columns=["row", "column", "message"])

    def frame(self) -> pd.DataFrame:
        """Return all parts that are there as one frame, which has to fit into memory."""
        import pyarrow.dataset as ds

        made: pd.DataFrame = (
            ds.dataset(sorted(self.path.glob("part-*.parquet")), format="parquet").to_table().to_pandas()
        )
        return made

    # -- how it ends -------------------------------------------------------------------------------------------------

    @property
    def _kept_words(self) -> str:
        of = "" if self.rows is None else f" of {self.rows:,}"
        return (
            f"{self.done_rows:,}{of} rows are done: {counted(self.parts, 'part')} in {self.path}. The same call goes "
            "on; what the unfinished part has bought comes from the store."
        )

    @property
    def stopped_words(self) -> str:
        """What an interrupt leaves behind, in words."""
        return f"Stopped. {self._kept_words}"

    def conclude(self, on_error: str, *, failures: bool = True) -> list[str]:
        """Raise what ends the whole, and count everything else.

        Raises
        ------
        CfaiError
            What ended the call early.
        Stopped
            It was interrupted.
        """
        assert self._current is not None
        run = self._current.run
        if run.stopped:
            raise Stopped(self.stopped_words) from run.error
        if run.error is not None and not (isinstance(run.error, StoreError) and not run.rows - run.done - run.failed):
            raise with_text(run.error, f"{sentence(str(run.error))} {self._kept_words}")
        self.notes += store_words(run, f"the parts in {self.path}")
        return []

    def outcome(self, on_error: str) -> None:
        """Raise RowsFailed where every row failed, or some did with ``on_error="raise"``; note it otherwise."""
        if not self.failed:
            return
        text = f"{counted(self.failed, 'answer')} failed and {'is' if self.failed == 1 else 'are'} null in {self.path}"
        first = self.failures.head(1)
        if len(first):
            text += f": row {first['row'][0]:,}, column {first['column'][0]!r}: {first['message'][0]}"
        text += ". The columns __error have the reasons."
        if on_error == "raise" or not (self._answered or self.kept):
            raise RowsFailed(text)
        self.notes.append(text)


def _added(one: Event, other: Event) -> Event:
    """Return the totals of two runs; what a run waits for and has in flight is that of the second."""
    summed = ("stored", "failed", "missing", "requests", "saved_neurons", "unknown_saved", "done", "rows")
    total = {name: getattr(one, name) + getattr(other, name) for name in summed}
    return dataclasses.replace(other, **total, spent=one.spent + other.spent)


# -- the price before -----------------------------------------------------------------------------------------------


@dataclass
class ColumnPlan:
    """What one column needs, over all parts that have to be made."""

    words: str
    requests: int = 0
    stored: int = 0
    missing: int = 0
    minutes: float | None = 0.0
    cost: Cost = field(default_factory=lambda: Cost(0.0))


@dataclass
class EnrichPlan:
    """What ``cf.enrich`` would send, and what that may cost at most.

    Attributes
    ----------
    path : Path
        The folder of parts.
    done, parts_done : int
        Rows and parts that are there already.
    notes : list of str
    rows, parts : int
        Rows and parts that have to be made.
    columns : dict of str to ColumnPlan
    """

    path: Path
    done: int
    parts_done: int
    notes: list[str]
    rows: int = 0
    parts: int = 0
    columns: dict[str, ColumnPlan] = field(default_factory=dict)

    def add(self, name: str, words: str, estimate: Estimate) -> None:
        """Add the call of one part; `words` name task and model."""
        one = self.columns.setdefault(name, ColumnPlan(words))
        one.requests += estimate.requests
        one.stored += estimate.stored
        one.missing += estimate.missing
        known = one.minutes is not None and estimate.minutes is not None
        one.minutes = (one.minutes or 0.0) + (estimate.minutes or 0.0) if known else None
        one.cost = one.cost + estimate.cost

    @property
    def cost(self) -> Cost:
        """Of all columns together; ``neurons`` is None where a model publishes no price."""
        return sum((one.cost for one in self.columns.values()), Cost(0.0))

    @property
    def requests(self) -> int:
        """Of all columns together."""
        return sum(one.requests for one in self.columns.values())

    def __repr__(self) -> str:
        there = f", {self.done:,} are there in {counted(self.parts_done, 'part')}" if self.parts_done else ""
        lines = [f"enrich into {self.path}", f"  {counted(self.rows)} to do in {counted(self.parts, 'part')}{there}"]
        for name, one in self.columns.items():
            stored = f", {one.stored:,} in the store" if one.stored else ""
            cost = money(one.cost.neurons, False) if one.requests else "nothing to pay"
            limit = time_in_words(one.minutes)
            lines.append(f"  {name}: {one.words}, {counted(one.requests, 'request')}{stored}, {limit}, {cost}")
        total = "nothing to send, nothing to pay"
        if self.requests:
            total = f"{money(self.cost.neurons, False)} at most; estimated, nothing sent"
        return "\n".join([*lines, f"  {total}", *(f"  {note}" for note in self.notes)])
