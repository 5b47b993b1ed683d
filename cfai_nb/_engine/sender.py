"""The one way a request is sent: until it is answered, or was refused or repeated often enough.

``Sender.send`` holds the only retry loop.  ``RunSender`` (``run_sender``) adds what the requests of a run need.
``RequestJob`` is a job for the bridge that sends a few requests which are not rows of a run: Vectorize, feedback.
``Session.ask`` and the doctor use a plain ``Sender``.

A request leaves only while its work is not halted; ``wire`` asks for that right before the first byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import ClassVar, Generic, TypeVar

from ..errors import CfaiError, RowError, bare
from ..tasks import Answer, Json, Request
from .retry import PATIENCE, Retry, Service
from .shared import Engine
from .stopping import NEVER, check_interrupts, current

T = TypeVar("T")
S = TypeVar("S")


class Sender:
    """Sends requests, each until it is answered.

    Parameters
    ----------
    engine : Engine
    halted : callable
        Whether nothing more may be sent.
    patience : float
        Seconds that a request waits from its first refusal or fault on.
    sleep : callable
        Waits so many seconds between two attempts, or less where the work was stopped.
    """

    #: Failures after which the same request may be sent again.
    repeats: ClassVar[type[RowError]] = RowError

    def __init__(
        self, engine: Engine, halted: Callable[[], bool] = lambda: False, patience: float = PATIENCE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._engine, self._halted, self._patience, self._sleep = engine, halted, patience, sleep
        self._service = Service()

    async def send(self, request: Request, name: str, *, method: str = "POST", keys: Sequence[bytes] = ()) -> Answer:
        """Send a request until it is answered.

        Parameters
        ----------
        request : Request
            May be sent several times, so it must have no further effect the second time.
        name : str
            What is asked, for errors: a model id, an index.
        method : str
        keys : sequence of bytes
            The rows it is about, of a run.

        Raises
        ------
        RowError
            It is refused for good, was repeated often enough, or may not be repeated since Stop was pressed.
        """
        retry = self._earlier(keys)
        answered = False
        try:
            while True:
                try:
                    answer = await self._attempt(request, name, method, keys, retry)
                    answered = True
                    return answer
                except self.repeats as error:
                    failure = bare(error)
                if retry is None:
                    retry = self._retry(keys)
                await self._pause(failure, keys, retry)
        finally:
            if retry is not None:
                self._ended(keys, answered)

    def may_send(self) -> bool:
        """Whether a request may leave now."""
        check_interrupts()
        return not self._halted()

    # -- what a run does differently -------------------------------------------------------------------------------

    def _earlier(self, keys: Sequence[bytes]) -> Retry | None:
        """Return the attempts that were made before; a ``Retry`` is made only when something fails."""
        return None

    def _retry(self, keys: Sequence[bytes]) -> Retry:
        return Retry(self._service, self._patience, several=len(keys) > 1)

    async def _attempt(
        self, request: Request, name: str, method: str, keys: Sequence[bytes], retry: Retry | None
    ) -> Answer:
        sent = time.monotonic()
        answer = await self._engine.wire.send(request, name, method=method, leaves=self.may_send)
        _ = answer.json  # parsed here: an answer that is not JSON is asked for again
        self._service.note(sent, time.monotonic())
        return answer

    async def _pause(self, failure: RowError, keys: Sequence[bytes], retry: Retry) -> None:
        """Wait until the next attempt, or raise the failure."""
        if self._halted() or failure.reaction == "stop":
            raise failure
        await self._sleep(retry.pause(failure, time.monotonic()))
        if self._halted():
            raise failure

    def _ended(self, keys: Sequence[bytes], answered: bool) -> None:
        """Note that a request that failed at least once was answered or given up."""


class RequestJob(Generic[T]):
    """A job for the bridge that sends requests one after the other, or a few at once.

    Parameters
    ----------
    engine : Engine
    work : callable
        A coroutine function that takes this job and sends with ``ask``.  It may check ``stopped`` between two requests
        and return early.
    drain : bool
        Whether the first Stop awaits what is under way, as it must where requests change something; else it is dropped.
    patience : float
        Seconds that a request waits from its first refusal or fault on.

    Attributes
    ----------
    stopped : bool
        Stop was pressed, so what ``execute`` returned may be incomplete.
    """

    def __init__(
        self, engine: Engine, work: Callable[[RequestJob[T]], Awaitable[T]], *, drain: bool, patience: float = PATIENCE
    ) -> None:
        self.engine = engine
        self._work, self._drain = work, drain
        self._sender = Sender(engine, lambda: self.stopped, patience, self.pause)
        self._stop, self._stopped = NEVER, False
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
        """Send a request until it is answered, and return the content of the answer; see ``Sender.send``."""
        return (await self._sender.send(request, name, method=method)).json

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
        """Wait so long, or until Stop is pressed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
