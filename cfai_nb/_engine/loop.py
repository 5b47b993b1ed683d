"""The engine's event loop in a thread of its own, and steps that run in threads beside a loop.

``bridge`` starts the loop.  ``run_local`` runs a local step of a conversation (a tool); ``in_thread`` runs what an
awaiting caller would block its own loop with.

Why a thread: patching the notebook's own loop loses interrupts and, with the archived package on Python 3.14, breaks
the whole kernel.  Why our own worker threads: those of ``concurrent.futures`` refuse work as soon as the main thread
ends, so a run in a thread that outlives it would lose what it paid for.  Why a new thread for each step: the pool's few
threads would wait for the slowest step, and Python waits for them at exit.  A caller that stops waiting leaves the
thread to finish; the calls it began stop, and it can begin no other.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar, TypeVarTuple

from .stopping import STOP, InterruptCount, Stop, soon

T = TypeVar("T")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
#: Threads for blocking work: the store, name resolution, reading files.
_THREADS = 16

if sys.platform == "win32":
    _Base = asyncio.ProactorEventLoop
else:
    _Base = asyncio.SelectorEventLoop


class _Threads(Executor):
    """A few daemon threads, started on demand."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in one of the threads."""
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
            except RuntimeError:  # Python is ending and cannot start threads
                if not self._count:
                    run()
                    return future
        self._work.put(run)
        return future

    def _serve(self) -> None:
        while (run := self._work.get()) is not None:
            run()
            del run  # it holds a request and an answer
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
    """An event loop in a daemon thread."""

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
        """End the loop and its thread; remaining tasks are cancelled."""
        self.loop.call_soon_threadsafe(self._over.set)
        self.thread.join()


async def run_local(do: Callable[[], T]) -> T:
    """Run a step of a conversation in a thread of its own and return its result.

    When cancelled, it stops the calls begun in the step and awaits what they have in flight.
    """
    stop = Stop()
    try:
        return await _started(do, stop)
    except asyncio.CancelledError:
        stop.ask(STOP)
        await stop.idle()
        raise
    finally:
        stop.end()


async def in_thread(do: Callable[[], T]) -> T:
    """Run what would block an awaiting caller's loop in a thread; when cancelled or interrupted, return at once."""
    stop = Stop()
    try:
        with InterruptCount(awaited=True) as interrupts:
            interrupts.reach(stop)
            return await _started(do, stop)
    except asyncio.CancelledError:
        stop.ask(STOP)
        raise
    except KeyboardInterrupt as error:  # raised in a task it would end the caller's loop
        raise asyncio.CancelledError(str(error)) from None
    finally:
        stop.end()


def _started(do: Callable[[], T], stop: Stop) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():  # the caller no longer waits
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(do)
        except BaseException as raised:
            # These cannot leave a task as themselves: they mean the end of an iteration or of the program.
            plain = not isinstance(raised, (StopIteration, SystemExit, GeneratorExit))
            error = raised if plain else RuntimeError(f"{type(raised).__name__}: {raised}")
        soon(loop, lambda: settle(result, error))

    context = stop.context()  # calls made in the step use the caller's session
    threading.Thread(target=work, name="cfai local step", daemon=True).start()
    return done
