"""A few requests that are not rows of a run: repeated by the same policy, and stopped as a run is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from ..errors import CfaiError, RowError, bare
from ..tasks import Json, Request
from .interrupts import look
from .retry import PATIENCE, Retry, Service
from .shared import Engine
from .stopping import NEVER, current

T = TypeVar("T")
S = TypeVar("S")


class Errand(Generic[T]):
    """A job for the bridge that sends requests one after the other, or a few at once.

    Parameters
    ----------
    engine : Engine
    work : callable
        What is to be done, as a coroutine that takes this errand and sends with ``ask``.  It may look at ``stopped``
        between two requests and end early.
    drain : bool
        Whether the first Stop awaits what is under way, as it must where that changes something; else it is dropped.
    patience : float
        Seconds that a request waits from its first refusal or fault on.

    Attributes
    ----------
    stopped : bool
        Stop was pressed; what ``execute`` returned is not the whole then.
    """

    def __init__(
        self, engine: Engine, work: Callable[[Errand[T]], Awaitable[T]], *, drain: bool, patience: float = PATIENCE
    ) -> None:
        self.engine = engine
        self._stopped = False
        self._stop = NEVER
        self._work = work
        self._drain = drain
        self._service, self._patience = Service(), patience
        self._wake = asyncio.Event()
        self._task: asyncio.Task[T] | None = None

    async def execute(self) -> T | None:
        """Do the work; None where it was dropped."""
        self._stop = current()
        self._task = asyncio.ensure_future(self._worked())
        if self.stopped and not self._drain:
            self._task.cancel()
        self.engine.jobs.add(self)
        await asyncio.wait({self._task})
        self.engine.jobs.discard(self)
        return None if self._task.cancelled() else self._task.result()

    @property
    def stopped(self) -> bool:
        """Whether Stop was pressed."""
        return self._stopped or self._stop.level > 0

    async def _worked(self) -> T:
        return await self._work(self)

    def may_send(self) -> bool:
        """Whether a request may leave: not once Stop was pressed."""
        look()
        return not self.stopped

    def close(self, why: CfaiError) -> None:
        """End because the session is closed, as Stop would."""
        self.stop()

    def stop(self) -> None:
        """Do what the first press of Stop asks for."""
        if not self._drain:
            self.abandon()
        self._stopped = True
        self._wake.set()

    def abandon(self) -> None:
        """Do what the second press of Stop asks for."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def ask(self, request: Request, name: str, method: str = "POST") -> Json:
        """Send a request until it is answered, and return what the answer holds.

        Parameters
        ----------
        request : Request
            May be sent several times, so it must be one that does no more the second time.
        name : str
            Of what is asked, for errors.
        method : str

        Raises
        ------
        RowError
            It is refused for good, was repeated often enough, or is not to be repeated since Stop was pressed.
        """
        retry = Retry(self._service, self._patience)
        while True:
            sent = time.monotonic()
            try:
                answer = (await self.engine.wire.send(request, name, method=method, leaves=self.may_send)).json
            except RowError as error:
                failure = bare(error)
            else:
                self._service.note(sent, time.monotonic())
                return answer
            if self.stopped or failure.reaction == "stop":
                raise failure
            await self.pause(retry.pause(failure, time.monotonic()))

    async def each(self, work: Callable[[S], Awaitable[object]], items: Iterable[S], *, at_once: int = 8) -> None:
        """Work on several items at once, until Stop is pressed or one fails; what is under way is awaited.

        Raises
        ------
        RowError
            The first that failed.
        """
        rest, failures = iter(items), []

        async def one() -> None:
            for item in rest:
                try:
                    await work(item)
                except RowError as error:
                    failures.append(error)
                if self.stopped or failures:
                    return

        await asyncio.gather(*(one() for _ in range(at_once)))
        if failures:
            raise failures[0]

    async def pause(self, seconds: float) -> None:
        """Wait, and not longer than until Stop is pressed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
