"""The engine's event loop, in a thread of its own.

Why a thread: patching the notebook's own loop loses interrupts and, with the archived package on Python 3.14, breaks
the whole kernel.  Why threads of its own beside it: those of ``concurrent.futures`` refuse work as soon as the main
thread ends, and a run in a thread that outlives it would lose what it paid for.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar, TypeVarTuple

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
#: Threads for what blocks: the store, name resolution, reading files.
_THREADS = 16

if sys.platform == "win32":
    _Base = asyncio.ProactorEventLoop
else:
    _Base = asyncio.SelectorEventLoop


class _Threads(Executor):
    """A few daemon threads, started as they are needed."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function called in one of the threads."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        if not self._idle.acquire(blocking=False) and self._count < _THREADS:
            try:
                threading.Thread(target=self._serve, name="cfai-nb work", daemon=True).start()
                self._count += 1
            except RuntimeError:  # Python is ending, and starts no threads any more
                if not self._count:
                    run()
                    return future
        self._work.put(run)
        return future

    def _serve(self) -> None:
        while (run := self._work.get()) is not None:
            run()
            del run  # which holds what was asked and answered
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads once all work is done."""
        for _ in range(self._count):
            self._work.put(None)


class _Loop(_Base):
    """An event loop that runs blocking work in daemon threads of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = _Threads()

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        return super().run_in_executor(executor or self._threads, func, *args)

    def close(self) -> None:
        self._threads.shutdown()
        super().close()


class LoopThread:
    """An event loop that runs in a daemon thread until it is ended."""

    def __init__(self) -> None:
        started: Future[asyncio.AbstractEventLoop] = Future()
        self.thread = threading.Thread(target=self._run, args=(started,), name="cfai-nb", daemon=True)
        self.thread.start()
        self.loop = started.result()

    def _run(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        async def live() -> None:
            self._over = asyncio.Event()
            started.set_result(asyncio.get_running_loop())
            await self._over.wait()

        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(live())

    def inside(self) -> bool:
        """Whether the caller runs on this loop."""
        return threading.get_ident() == self.thread.ident

    def call(self, make: Callable[[], Coroutine[None, None, T]]) -> T:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(make(), self.loop).result()

    def end(self) -> None:
        """End the loop and its thread; what still runs there is cancelled."""
        self.loop.call_soon_threadsafe(self._over.set)
        self.thread.join()
