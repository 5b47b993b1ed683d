"""The whole frame from a playground: priced, then run in the background, with words about how far it is."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..._engine.bridge import bridge
from ...frame.call import Call
from ...frame.progress import words
from ...frame.report import Report
from ..progress import bar
from .draft import Draft

if TYPE_CHECKING:
    from .playground import Playground

#: Seconds between two drawings of a run under way.
PAUSE = 0.2


class Whole:
    """A run on all rows.

    Parameters
    ----------
    playground : Playground
        Its ``result`` is set.
    say : callable
        Shows a text; ``alert=True`` for what went wrong.
    changed : callable
        Called when it has begun, is priced or has ended.

    Attributes
    ----------
    priced : Draft or None
        What was priced last: it can be run.
    """

    def __init__(self, playground: Playground, say: Callable[..., None], changed: Callable[[], None]) -> None:
        self._playground, self._say, self._changed = playground, say, changed
        self.priced: Draft | None = None
        self._job: Any = None

    @property
    def busy(self) -> bool:
        """Whether it is under way."""
        return self._job is not None

    def price(self) -> None:
        """Say what it will cost."""
        self._say(repr(self._playground.plan()))
        self.priced = self._playground.draft
        self._changed()

    def run(self) -> None:
        """Run; in the background where there is a loop."""
        if self.busy:  # the second of two quick clicks
            return
        p = self._playground
        call = p.call(p.draft, p.data)
        if not in_a_loop():
            p.result = call.wait(bar)
            self._say(f"Done: {self._where} has it.")
            return
        attempts = call.attempts()
        future, made = self._begin(*next(attempts))
        self._watcher = asyncio.get_running_loop().create_task(self._follow(call, attempts, future, made))
        self._changed()

    def stop(self) -> None:
        """Send nothing more; what is under way is kept."""
        if self._job is not None:
            bridge.stop(self._job)

    @property
    def _where(self) -> str:
        return f"{self._playground.called}.result"

    def _begin(self, job: Any, made: Report) -> tuple[concurrent.futures.Future[Any], Report]:
        self._job = job
        return bridge.start(job), made

    async def _follow(
        self, call: Call, attempts: Iterator[tuple[Any, Report]], future: concurrent.futures.Future[Any], made: Report
    ) -> None:
        try:
            await self._end(future, made)
            for attempt in attempts:
                self._say("\n".join(call.notes))
                future, made = self._begin(*attempt)
                await self._end(future, made)
            self._playground.result = made.frame()
            said_too = []
            with contextlib.suppress(KeyboardInterrupt):
                said_too = made.conclude("keep")
            left = made.stopped_words if made.run.stopped and made.not_run else f"{self._where} has it."
            self._say("\n".join([made.receipt, *said_too, left]).replace("cf.last_run().frame()", self._where))
        except Exception as error:  # also a defect: no cell would show it
            self._say(str(error), alert=True)
        finally:
            self._job = None
            self._changed()

    async def _end(self, future: concurrent.futures.Future[Any], made: Report) -> None:
        while not future.done():
            await asyncio.sleep(PAUSE)
            self._say(words(made))
        future.result()


def in_a_loop() -> bool:
    """Whether there is a loop that goes on while something else is done: a notebook's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
