"""Between the notebook and the engine's loop: one event loop in a background thread, and waiting for it.

Why a thread: patching the notebook's own loop loses interrupts and, with the archived package on Python 3.14, breaks
the whole kernel.  Why polling: a KeyboardInterrupt raised at an arbitrary line can get lost or leave a lock held, so
while we wait, SIGINT only sets a flag.  Why a heartbeat when awaiting: an idle kernel loop is not woken by an
interrupt (ipython/ipykernel#881).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Protocol, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..errors import SetupError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
#: Seconds between two looks at the flag and at the progress.
BEAT = 0.1
#: Seconds for which what is in flight is awaited when Python ends.
AT_EXIT = 10.0


class Closable(Protocol):
    """Something with connections on the engine's loop."""

    async def close(self) -> None:
        """Close them."""


class Job(Protocol[T_co]):
    """Something that runs on the engine's loop and can be asked to stop."""

    async def execute(self) -> T_co:
        """Run to the end."""

    def stop(self) -> None:
        """Finish early: start nothing new."""

    def abandon(self) -> None:
        """Finish now."""


class Bridge:
    """Runs jobs on the engine's loop and waits for them, from a plain or an awaiting caller."""

    def __init__(self) -> None:
        self._portal: BlockingPortal | None = None
        self._context: AbstractContextManager[BlockingPortal] | None = None
        self._forgotten: list[object] = []
        # By process: a child has none of its parent's.
        self._closers: dict[int, weakref.WeakSet[Closable]] = {}
        self._last: dict[int, list[Callable[[], object]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._jobs: set[Job[object]] = set()
        self._pid = 0
        self._thread = 0
        self._lock = threading.Lock()
        self.own_loop: asyncio.AbstractEventLoop | None = None

    # -- the loop ------------------------------------------------------------------------------------------------

    def portal(self) -> BlockingPortal:
        """Return the running portal; starts one on first use, and again after a fork."""
        refuse_broken_patch()
        with self._lock:
            if self._portal is None or self._pid != os.getpid():
                # After a fork the old thread is gone, and collecting its context manager would wait for it forever.
                self._forgotten.append(self._context)
                self._jobs = set()
                self._context = start_blocking_portal(backend="asyncio", name="cfai-nb")
                self._portal = self._context.__enter__()
                self._pid = os.getpid()
                self._thread = self._portal.call(threading.get_ident)
                self._loop = self._portal.call(asyncio.get_running_loop)
                atexit.register(self.close)
            return self._portal

    def close(self) -> None:
        """Stop the loop and its thread; what is in flight is awaited and kept, for a bounded time."""
        atexit.unregister(self.close)
        if self._portal is not None and self._context is not None and self._pid == os.getpid():
            portal, context, self._portal, self._context = self._portal, self._context, None, None
            self._loop = None
            for job in tuple(self._jobs):  # the interpreter is about to end: nothing more may be spent
                portal.call(job.stop)
            portal.call(self._ended, AT_EXIT)
            for job in tuple(self._jobs):
                portal.call(job.abandon)
            portal.call(self._ended, 2.0)
            for each in tuple(self._closers.pop(os.getpid(), ())):
                portal.call(each.close)
            context.__exit__(None, None, None)
        for finish in self._last.pop(os.getpid(), []):
            finish()

    async def _ended(self, seconds: float) -> None:
        """Wait until no job is left, and no longer."""
        end = asyncio.get_running_loop().time() + seconds
        while self._jobs and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)

    def before_close(self, closable: Closable) -> None:
        """Have something closed on the loop before the loop ends, unless it is gone by then."""
        self._closers.setdefault(os.getpid(), weakref.WeakSet()).add(closable)

    def after_close(self, finish: Callable[[], object]) -> None:
        """Have something done once, after the loop has ended, when Python ends."""
        with self._lock:
            last = self._last.setdefault(os.getpid(), [])
            if finish not in last:
                last.append(finish)
            atexit.unregister(self.close)
            atexit.register(self.close)

    def soon(self, make: Callable[[], Awaitable[object]]) -> bool:
        """Start a coroutine on the loop if there is one; takes no lock, so that a finalizer may call it."""
        loop = self._loop
        if loop is None or self._pid != os.getpid():
            return False
        try:
            loop.call_soon_threadsafe(lambda: _kept_task(loop, make))
        except RuntimeError:  # it has ended
            return False
        return True

    def submit(self, make: Callable[[], Awaitable[T]]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the engine's loop."""
        if self.inside():
            raise SetupError(
                "This is the engine's own loop, which would wait for itself. Use `await ....aio(...)` here."
            )
        return self.portal().start_task_soon(make)

    @property
    def running(self) -> bool:
        """Whether there is a loop already."""
        return self._portal is not None and self._pid == os.getpid()

    def inside(self) -> bool:
        """Whether the caller runs on the engine's loop."""
        return self._pid == os.getpid() and threading.get_ident() == self._thread

    def call(self, make: Callable[[], Awaitable[T]]) -> T:
        """Run a short coroutine to its end."""
        if self.own_loop is not None:
            return self.own_loop.run_until_complete(make())
        return self.submit(make).result()

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait(self, job: Job[T], tick: Callable[[], None]) -> T:
        """Run a job and block until it ends; the first interrupt asks it to stop, the second to drop everything."""
        if self.own_loop is not None:
            return self._wait_in_notebook(self.own_loop, job, tick)
        with interrupts() as pressed:
            future = self.submit(lambda: self._carried_out(job))
            told, failure = 0, None
            while True:
                try:
                    result = future.result(timeout=BEAT)
                    break
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise
                if pressed.count > told:
                    told = pressed.count
                    self._portal_soon(job.stop if told == 1 else job.abandon)
                if failure is None:
                    failure = self._watched(job, tick)
        if failure is not None:
            raise failure
        return result

    async def wait_async(self, job: Job[T], tick: Callable[[], None]) -> T:
        """Run a job and await its end; cancelling asks it to stop, cancelling again to drop everything."""
        if self.own_loop is not None or self.inside():
            waiter = asyncio.ensure_future(job.execute())
            soon = _at_once
        else:
            waiter = asyncio.ensure_future(asyncio.wrap_future(self.submit(lambda: self._carried_out(job))))
            soon = self._portal_soon
        cancelled: asyncio.CancelledError | None = None
        failure: Exception | None = None
        while not waiter.done():
            try:
                await asyncio.wait({waiter}, timeout=BEAT)
            except asyncio.CancelledError as error:
                soon(job.stop if cancelled is None else job.abandon)
                cancelled = error
            if failure is None:
                failure = self._watched(job, tick)
        result = waiter.result()
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise failure
        return result

    def start(self, job: Job[T]) -> concurrent.futures.Future[T]:
        """Start a job that goes on while cells come and go; ``stop`` asks it to stop."""
        if self.own_loop is not None:
            return asyncio.run_coroutine_threadsafe(self._carried_out(job), self.own_loop)
        return self.submit(lambda: self._carried_out(job))

    def stop(self, job: Job[object]) -> None:
        """Ask a job that was started to stop: nothing new is sent, what is under way is kept."""
        if self.own_loop is not None:
            self.own_loop.call_soon_threadsafe(job.stop)
        else:
            self._portal_soon(job.stop)

    async def _carried_out(self, job: Job[T]) -> T:
        self._jobs.add(job)
        try:
            return await job.execute()
        finally:
            self._jobs.discard(job)

    def _watched(self, job: Job[object], tick: Callable[[], None]) -> Exception | None:
        """Show the progress; when that fails, stop the job before the failure is told, so that nothing runs unseen."""
        try:
            tick()
        except Exception as error:
            self._portal_soon(job.stop) if self.own_loop is None else job.stop()
            return error
        return None

    def _portal_soon(self, function: Callable[[], None]) -> None:
        self.portal().start_task_soon(_called, function)

    def _wait_in_notebook(self, loop: asyncio.AbstractEventLoop, job: Job[T], tick: Callable[[], None]) -> T:
        async def beat() -> None:
            told = 0
            while True:
                await asyncio.sleep(BEAT)
                if pressed.count > told:
                    told = pressed.count
                    (job.stop if told == 1 else job.abandon)()
                if not failures and (failure := self._watched(job, tick)) is not None:
                    failures.append(failure)

        failures: list[Exception] = []
        with interrupts() as pressed:
            heart = loop.create_task(beat())
            try:
                result = loop.run_until_complete(job.execute())
            finally:
                heart.cancel()
        if failures:
            raise failures[0]
        return result

    # -- the notebook's own loop ---------------------------------------------------------------------------------

    def use_notebook_loop(self, wanted: bool) -> None:
        """Run jobs on the loop of the calling notebook instead of the background thread (or go back to it)."""
        if not wanted:
            self.own_loop = None
            return
        refuse_broken_patch()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise SetupError("There is no running event loop here; use_notebook_loop() is for notebooks.") from None
        if not type(loop).__module__.startswith("asyncio."):
            # nest-asyncio patches asyncio for the whole process before it finds out that it cannot patch this loop.
            raise SetupError(f"A loop of {type(loop).__module__} cannot be nested; leave use_notebook_loop() out.")
        if not getattr(asyncio, "_nest_patched", False):
            if sys.version_info >= (3, 14):
                import nest_asyncio2 as nest
            else:
                import nest_asyncio as nest
            nest.apply(loop)
        self.own_loop = loop


_tasks: set[asyncio.Future[object]] = set()


def _kept_task(loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[object]]) -> None:
    task = asyncio.ensure_future(make(), loop=loop)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _at_once(function: Callable[[], None]) -> None:
    function()


async def _called(function: Callable[[], None]) -> None:
    function()


def refuse_broken_patch() -> None:
    """Refuse to hang: the archived nest-asyncio breaks asyncio on Python 3.14 for everybody in the process."""
    old = getattr(asyncio, "_nest_patched", False) and not getattr(asyncio, "_nest_asyncio2", False)
    if old and sys.version_info >= (3, 14):
        raise SetupError(
            "nest_asyncio was applied in this process, and on Python 3.14 it breaks asyncio beyond repair. "
            "Restart the kernel without `nest_asyncio.apply()`; cfai_nb does not need it (nest_asyncio2 works)."
        )


class _Pressed:
    """How often Stop was pressed."""

    count = 0


@contextlib.contextmanager
def interrupts() -> Iterator[_Pressed]:
    """Count interrupts instead of raising KeyboardInterrupt; the third one raises as usual."""
    pressed = _Pressed()
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # only the main thread gets signals
        return
    before = signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: FrameType | None) -> None:
        pressed.count += 1
        if pressed.count > 2 and callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.SIG_DFL)


#: The bridge of this process.
bridge = Bridge()
