"""A run on all rows, started from a playground: priced first, then in the background, with its progress in words.

In: a `Workbench`.  Out: its ``result``.  The panel calls it; ``apply()`` of the workbench is the blocking form.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ..._engine.bridge import bridge
from ...frame.call import Call
from ...frame.progress import words
from ...frame.report import Report
from ..progress import bar
from .draft import Draft
from .workbench import PAUSE, Workbench


class FullRun:
    """A run on all rows.

    `say` shows a text, an error with ``alert=True``; `changed` is called when the run is priced, starts or ends.
    """

    def __init__(self, playground: Workbench, say: Callable[..., None], changed: Callable[[], None]) -> None:
        self._playground, self._say, self._changed = playground, say, changed
        self.priced: Draft | None = None  # the draft that may be run
        self._job: Any = None

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._job is not None

    def price(self) -> None:
        """Show the price."""
        self._say(repr(self._playground.plan()))
        self.priced = self._playground.draft
        self._changed()

    def run(self) -> None:
        """Run; in the background if there is an event loop."""
        if self.busy:  # the second of two quick clicks
            return
        p = self._playground
        call = p.call(p.draft, p.data)
        if not in_a_loop():
            p.result = call.wait(bar)
            self._say(f"Done: the result is in {self._where}.")
            return
        attempts = call.attempts()
        future, report = self._begin(*next(attempts))
        self._watcher = asyncio.get_running_loop().create_task(self._follow(call, attempts, future, report))
        self._changed()

    def stop(self) -> None:
        """Send no more requests; those in flight are finished and kept."""
        if self._job is not None:
            bridge.stop(self._job)

    @property
    def _where(self) -> str:
        return f"{self._playground.variable}.result"

    def _begin(self, job: Any, report: Report) -> tuple[concurrent.futures.Future[Any], Report]:
        self._job = job
        return bridge.start(job), report

    async def _follow(
        self, call: Call, attempts: Iterator[tuple[Any, Report]], future: concurrent.futures.Future[Any], report: Report
    ) -> None:
        try:
            await self._end(future, report)
            for attempt in attempts:
                self._say("\n".join(call.notes))
                future, report = self._begin(*attempt)
                await self._end(future, report)
            self._playground.result = report.frame()
            warnings = []
            with contextlib.suppress(KeyboardInterrupt):
                warnings = report.conclude("keep")
            stopped = report.run.stopped and report.not_run
            last = report.stopped_words if stopped else f"The result is in {self._where}."
            self._say("\n".join([report.receipt, *warnings, last]).replace("cf.last_run().frame()", self._where))
        except Exception as error:  # any error, even a bug, because no cell would show it
            self._say(str(error), alert=True)
        finally:
            self._job = None
            self._changed()

    async def _end(self, future: concurrent.futures.Future[Any], report: Report) -> None:
        while not future.done():
            await asyncio.sleep(PAUSE)
            self._say(words(report))
        future.result()


def in_a_loop() -> bool:
    """Whether an event loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
