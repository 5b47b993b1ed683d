"""Between callers and the engine's loop: runs the loop in a thread, starts jobs there, waits for them and stops them.

Callers are plain or awaiting, on any thread.  A job is a run, a ``RequestJob``, or anything else with ``execute``,
``stop`` and ``abandon``.  When a wait is ended by anything else (an interrupt, a listener that raises, a cancelled
task, a dropped coroutine), the job is stopped, so that it does not continue unseen.

Why a thread: patching the notebook's own loop loses interrupts and, with the archived package on Python 3.14, breaks
the whole kernel.  Why our own worker threads: those of ``concurrent.futures`` refuse work as soon as the main thread
ends, so a run in a thread that outlives it would lose what it paid for.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterator
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, Protocol, TypeVar, TypeVarTuple

from ..errors import SetupError
from . import in_child
from .account import Membership
from .stopping import DROP, STOP, InterruptCount, Stop, in_background, soon
from .wire import Wire

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
#: Seconds between two progress updates.  An awaiting caller's loop is woken as often, since an interrupt does not wake
#: an idle loop (ipython/ipykernel#881).
BEAT = 0.1
#: Seconds to await what is in flight when Python ends.
AT_EXIT = 10.0
#: Threads for blocking work: the store, name resolution, reading files.
_THREADS = 16
_INSIDE = "This code runs on the engine's own loop, which would wait for itself. Use `await ....aio(...)` here."
_ENDING = (
    "Python is ending, so a call made now (in atexit, or in a thread that Python does not wait for) could not finish; "
    "nothing was sent. Make the call before the program ends."
)


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

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(make(), self.loop).result()

    def end(self) -> None:
        """End the loop and its thread; remaining tasks are cancelled."""
        self.loop.call_soon_threadsafe(self._over.set)
        self.thread.join()


class Job(Protocol[T_co]):
    """Something that runs on the engine's loop and can be asked to stop, at any time and more than once."""

    async def execute(self) -> T_co:
        """Run to the end."""

    def stop(self) -> None:
        """Finish early: start nothing new."""

    def abandon(self) -> None:
        """Finish now."""


class Bridge:
    """Runs jobs on the engine's loop and waits for them, from a plain or an awaiting caller."""

    def __init__(self) -> None:
        self.own_loop: asyncio.AbstractEventLoop | None = None
        self._begin()
        in_child(self._begin)

    def _begin(self) -> dict[str, object]:
        """Begin with nothing, also in a forked process; return what there was before."""
        before = vars(self).copy()
        self._thread: LoopThread | None = None
        self._closers: weakref.WeakSet[Wire | Membership] = weakref.WeakSet()
        self._finish: Callable[[], object] = lambda: None
        self._jobs: dict[Job[object], Stop] = {}
        self._exited = False
        self._lock = threading.Lock()
        return before

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that jobs run on; its thread is started on first use, and again after a fork."""
        if self.own_loop is not None:
            return self.own_loop
        refuse_broken_patch()
        with self._lock:
            if self._thread is None:
                if self._exited:
                    raise SetupError(_ENDING)
                self._thread = LoopThread()
                atexit.register(self._exit)
            return self._thread.loop

    def _exit(self) -> None:
        """Ask all jobs to stop, await what is in flight, for a bounded time, and end the loop and its thread."""
        self._exited = True
        if (thread := self._thread) is not None:
            for level, seconds in ((STOP, AT_EXIT), (DROP, AT_EXIT / 5)):
                for stop in tuple(self._jobs.values()):
                    stop.ask(level)
                with contextlib.suppress(KeyboardInterrupt):  # an interrupt: drop it
                    thread.call(functools.partial(emptied, self._jobs, seconds))
            for each in tuple(self._closers):
                thread.call(each.close)
            self._thread = None
            thread.end()
        self._finish()

    def before_close(self, one: Wire | Membership) -> None:
        """Close something on the loop before the loop ends, unless it was collected by then."""
        self._closers.add(one)

    def after_close(self, finish: Callable[[], object]) -> None:
        """Call a function when Python ends, after the loop has ended."""
        with self._lock:
            self._finish = finish
            atexit.unregister(self._exit)
            atexit.register(self._exit)

    def soon(self, make: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Start a coroutine on the loop if there is one; takes no lock, so that a finalizer may call it."""
        if (thread := self._thread) is None or not thread.thread.is_alive():
            return False
        soon(thread.loop, lambda: in_background(make()))
        return True

    def call_thread(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Run a short coroutine to its end on the loop of the background thread; None if that does not run."""
        if self.inside():
            raise SetupError(_INSIDE)
        return None if (thread := self._thread) is None else thread.call(make)

    def inside(self) -> bool:
        """Whether the caller runs on the engine's loop."""
        return (thread := self._thread) is not None and thread.thread.ident == threading.get_ident()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a short coroutine to its end."""
        if self.inside():
            raise SetupError(_INSIDE)
        loop = self.loop()
        if self._nested():
            return loop.run_until_complete(make())
        future = asyncio.run_coroutine_threadsafe(make(), loop)
        try:
            return future.result()
        except BaseException:  # an interrupt: it must not continue unseen
            future.cancel()
            raise

    def wait(self, job: Job[T], tick: Callable[[], None]) -> T:
        """Run a job and block until it ends; the first interrupt asks it to stop, the second to drop what is in flight.

        A listener that raises stops the job, and its error is raised when the job has ended.
        """
        if self.inside():
            raise SetupError(_INSIDE)
        with InterruptCount() as interrupts, self.started(job) as (stop, future):
            interrupts.reach(stop)
            if self._nested():
                with interrupts.raising():
                    failure = self.loop().run_until_complete(_watched(future, stop, tick))
            else:
                failure = _blocked(future, stop, tick, interrupts)
        return _outcome(job, stop, future, failure)

    async def wait_async(self, job: Job[T], tick: Callable[[], None]) -> T:
        """Run a job and await its end; a listener that raises stops it.

        Cancelling raises at once: nothing new is sent, and the engine's loop awaits and keeps what is in flight.  An
        interrupt of the main thread asks the job to stop and awaits what is in flight; a second one drops it.
        """
        with InterruptCount(awaited=True) as interrupts, self.started(job) as (stop, future):
            interrupts.reach(stop)
            try:
                failure = await _watched(future, stop, tick)
            except asyncio.CancelledError:
                stop.ask(STOP)
                if interrupts.count:  # cancelled by an interrupt: a second one drops what is in flight
                    with contextlib.suppress(asyncio.CancelledError):
                        await _watched(future, stop, tick)
                    await _calm(interrupts)
                raise
            await _calm(interrupts)
        result = _outcome(job, stop, future, failure)
        if interrupts.count:  # nothing else cancelled the caller for it
            raise asyncio.CancelledError
        return result

    def take(self, things: queue.SimpleQueue[T]) -> T:
        """Take what a running job puts on a queue; queue.Empty is raised where nothing came within a beat."""
        if not self._nested():
            return things.get(timeout=BEAT)
        if things.empty():
            self.loop().run_until_complete(asyncio.sleep(BEAT / 10))
        return things.get_nowait()

    def start(self, job: Job[T]) -> Future[T]:
        """Start a job that continues across cells; ``stop`` asks it to stop."""
        return self._launch(job)[1]

    def stop(self, job: Job[object]) -> None:
        """Ask a job that was started to stop: nothing new is sent, what is in flight is kept."""
        if job in self._jobs:
            self._jobs[job].ask(STOP)

    @contextlib.contextmanager
    def started(self, job: Job[T]) -> Iterator[tuple[Stop, Future[T]]]:
        """Start a job for the length of the block; an error in the block drops the job."""
        stop, future = self._launch(job)
        try:
            yield stop, future
        except asyncio.CancelledError:
            stop.ask(STOP)
            raise
        except BaseException:
            stop.ask(DROP)
            raise

    def _launch(self, job: Job[T]) -> tuple[Stop, Future[T]]:
        main = threading.main_thread()
        in_atexit = main.ident == threading.get_ident() and not main.is_alive()
        if in_atexit or self._exited:
            raise SetupError(_ENDING)
        loop = self.loop()
        stop = Stop(lambda level: soon(loop, job.stop if level == STOP else job.abandon))
        self._jobs[job] = stop
        try:
            return stop, asyncio.run_coroutine_threadsafe(self._execute(job, stop), loop)
        except BaseException:
            self._ended(job, stop)
            raise

    async def _execute(self, job: Job[T], stop: Stop) -> T:
        stop.enter()
        try:
            if stop.level:  # begun inside work that was stopped: nothing is sent
                job.stop()
            return await job.execute()
        finally:
            self._ended(job, stop)

    def _ended(self, job: Job[object], stop: Stop) -> None:
        self._jobs.pop(job, None)
        stop.end()

    def _nested(self) -> bool:
        """Whether jobs run on the caller's own loop, which is then nested."""
        own = self.own_loop
        return own is not None and (own is _running() or not own.is_running())

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
            # nest-asyncio patches asyncio for the whole process before it finds that it cannot patch this loop.
            raise SetupError(f"A loop of {type(loop).__module__} cannot be nested; leave use_notebook_loop() out.")
        if not getattr(asyncio, "_nest_patched", False):
            if sys.version_info >= (3, 14):
                import nest_asyncio2 as nest
            else:
                import nest_asyncio as nest
            nest.apply(loop)
        self.own_loop = loop


def _blocked(future: Future[T], stop: Stop, tick: Callable[[], None], interrupts: InterruptCount) -> Exception | None:
    """Block until a job has ended; return what its listener raised, if it did."""
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()  # unlike a lock, safe to be interrupted in
    future.add_done_callback(lambda _: ended.put(None))
    failure: Exception | None = None
    while not future.done():
        with interrupts.raising():
            with contextlib.suppress(queue.Empty):
                ended.get(timeout=BEAT)
            failure = failure or _shown(stop, tick)
    return failure


async def _watched(future: Future[T], stop: Stop, tick: Callable[[], None]) -> Exception | None:
    """Await the end of a job, on any loop; return what its listener raised, if it did."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    future.add_done_callback(lambda _: soon(loop, ended.set))
    failure: Exception | None = None
    while not future.done():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEAT):
                await ended.wait()
        failure = failure or _shown(stop, tick)
    return failure


async def _calm(interrupts: InterruptCount) -> None:
    """Await the end of a series of interrupts, each of which cancels the caller once more."""
    while (rest := interrupts.rest()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(rest)


def _outcome(job: Job[T], stop: Stop, future: Future[T], failure: Exception | None) -> T:
    """Return the result of a job that has ended, or raise its error or that of its listener."""
    if stop.level:
        job.stop()  # also after its last step, so that it is reported as stopped
    result = future.result()
    if failure is not None:
        raise failure
    return result


def _shown(stop: Stop, tick: Callable[[], None]) -> Exception | None:
    """Show the progress; a listener that raises stops the job, so that nothing runs unseen."""
    try:
        tick()
    except Exception as error:
        stop.ask(STOP)
        return error
    return None


async def emptied(jobs: Collection[object], seconds: float) -> None:
    """Wait until no job is left, at most this long."""
    deadline = time.monotonic() + seconds
    while jobs and time.monotonic() < deadline:
        await asyncio.sleep(0.01)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def refuse_broken_patch() -> None:
    """Raise instead of hanging: the archived nest-asyncio breaks asyncio on Python 3.14 for the whole process."""
    old = getattr(asyncio, "_nest_patched", False) and not getattr(asyncio, "_nest_asyncio2", False)
    if old and sys.version_info >= (3, 14):
        raise SetupError(
            "nest_asyncio was applied in this process, and on Python 3.14 it breaks asyncio beyond repair. "
            "Restart the kernel without `nest_asyncio.apply()`; cfai_nb does not need it (nest_asyncio2 works)."
        )


#: The bridge of this process.
bridge = Bridge()
