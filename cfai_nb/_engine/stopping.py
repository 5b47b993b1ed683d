"""How Stop reaches the work: the interrupts of the main thread, and the ``Stop`` of every piece of work.

While the main thread waits for work, ``InterruptCount`` counts SIGINT and raises the level of that work's ``Stop``, and
of everything begun inside it.  ``bridge`` makes a ``Stop`` for each job, ``run_local`` and ``in_thread`` for each step
in a thread of its own.  The sender reads the level right before it writes a request.

Interrupts are counted, not raised: a KeyboardInterrupt raised at an arbitrary line can get lost or leave a lock held.
The first one asks the work to stop, the second one to drop what is in flight, the third one raises as usual.  The
handler is in place only while something waits; the last wait to end restores the previous handler.

``run_local`` runs a local step of a conversation (a tool); ``in_thread`` runs what would block the loop of an awaiting
caller.  Each gets a new thread: a pool's few threads would wait for the slowest step, and Python waits for them at
exit.  When the caller stops waiting, the thread continues to its end, but the calls begun in it are stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from types import FrameType
from typing import Any, TypeAlias, TypeVar

from . import in_child

T = TypeVar("T")
#: Seconds within which a further press of Stop belongs to the ones before.
_SERIES = 0.15
#: Levels: continue; send nothing more and await what is in flight; drop that as well.
GO, STOP, DROP = 0, 1, 2

#: The types of a signal handler.
_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class Stop:
    """The stop level of one piece of work, which a signal handler can raise at once.

    ``tell`` is called with the level whenever it rises, in the thread that raises it, possibly in a signal handler.
    """

    def __init__(self, tell: Callable[[int], object] | None = None) -> None:
        self._level = GO
        self._tell = tell
        self._inner: set[Stop] = set()
        self._changed: Callable[[], object] = lambda: None
        self._outer = _current.get()
        if self._outer is not None:
            self._outer._inner.add(self)  # before the look at its level, so that no request falls in between
            self.ask(self._outer.level)

    @property
    def level(self) -> int:
        """GO, STOP or DROP; it only rises.  The level of the outer work counts even after this work has ended."""
        return self._level if self._outer is None else max(self._level, self._outer.level)

    def ask(self, level: int) -> None:
        """Raise the level here and in everything begun inside; callable from any thread and from a signal handler."""
        if level <= self._level:
            return
        self._level = level
        for inner in tuple(self._inner):
            inner.ask(level)
        if self._tell is not None:
            self._tell(level)

    def end(self) -> None:
        """Note that the work has ended."""
        if self._outer is not None:
            self._outer._inner.discard(self)
            self._outer._changed()

    async def idle(self) -> None:
        """Wait until everything begun inside has ended."""
        changed = asyncio.Event()
        self._changed = functools.partial(soon, asyncio.get_running_loop(), changed.set)
        while self._inner:
            await changed.wait()
            changed.clear()

    def enter(self) -> None:
        """Make this the outer work of everything begun in the current context."""
        _current.set(self)

    def context(self) -> Context:
        """Return a copy of the current context with this as its outer work."""
        context = copy_context()
        context.run(self.enter)
        return context


_current: ContextVar[Stop | None] = ContextVar("cfai_nb_stop", default=None)


def soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function on an event loop, from any thread or a signal handler; skipped where the loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


_tasks: set[asyncio.Future[Any]] = set()


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start work on the running loop, and keep it from being collected before it ends."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def current() -> Stop:
    """Return the ``Stop`` of the work that the caller is part of, or ``NEVER``."""
    return _current.get() or NEVER


#: The ``Stop`` of work that nothing can stop.
NEVER = Stop()


class InterruptCount:
    """Counts the interrupts during one wait, as a context manager; outside the main thread it counts none.

    ``awaited``: the caller's event loop continues during the wait, so the previous handler is called too, and
    everything else on the loop sees the interrupt as it would without this package.  ``count`` is final after the
    block; an interrupt at its last moment is included.
    """

    def __init__(self, *, awaited: bool = False) -> None:
        self.count = 0
        self.awaited = awaited
        self.ending = self.armed = self.missed = False
        self._stop: Stop | None = None
        self._last = -math.inf  # when the latest interrupt came

    def reach(self, stop: Stop) -> None:
        """Pass interrupts on to this work, including earlier ones."""
        self._stop = stop
        stop.ask(min(self.count, 2))

    def press(self) -> None:
        """Count an interrupt; called by the signal handler."""
        self.count, self._last = self.count + 1, time.monotonic()
        if self._stop is not None:
            self._stop.ask(min(self.count, 2))

    def rest(self) -> float:
        """Return for how many seconds the wait should go on, so that it takes all presses of a quick series.

        One that comes later hits the kernel between two cells: it drops the reply, and the cell never ends.
        """
        return self._last + _SERIES - time.monotonic()

    def early(self) -> None:
        """Stop the work before Python has called the signal handler; called by the engine."""
        if self._stop is not None:
            self._stop.ask(STOP)

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Let a third interrupt raise KeyboardInterrupt inside this block, once; elsewhere it is only counted."""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def __enter__(self) -> InterruptCount:
        if threading.current_thread() is threading.main_thread():
            _interrupts.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.armed = False
        while not self.awaited and (rest := self.rest()) > 0:
            time.sleep(rest)
        self.ending = True
        _interrupts.remove(self)


class _SignalHandler:
    """The one SIGINT handler for all waits of the main thread, which may end in any order."""

    def __init__(self) -> None:
        self._waits: list[InterruptCount] = []
        self._before: _Handler = signal.SIG_DFL
        self._pipe = _WakeupPipe()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for wait in tuple(self._waits):
            wait.press()
        self._pipe.arrived()
        blocking = next((wait for wait in reversed(self._waits) if not wait.awaited), None)
        if blocking is not None:
            if blocking.count > 2 and blocking.armed:
                blocking.armed = False  # not again while this one is on its way out
                self._pass_on(number, frame)
                raise KeyboardInterrupt
        elif any(wait.ending for wait in self._waits):
            for wait in self._waits:
                wait.missed = wait.ending  # passed on when the handler is out of the way
        else:
            self._pass_on(number, frame)

    def look(self) -> None:
        """Pass on an interrupt that Python has not handled yet; callable from any thread."""
        if self._waits and self._pipe.arrived() and _installed() is self:
            for wait in tuple(self._waits):
                wait.early()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)

    def add(self, wait: InterruptCount) -> None:
        """Start counting for a wait."""
        there = _installed()
        if there in (signal.SIG_IGN, None):  # ignored, or installed by C code: leave it alone
            return
        for stale in [each for each in self._waits if each.ending]:  # an interrupt kept it from being removed
            self._waits.remove(stale)
        self._waits.append(wait)
        if there is not self:
            self._before = there
            try:
                signal.signal(signal.SIGINT, self)
                self._pipe.begin()
            except BaseException:
                wait.ending = True
                self.remove(wait)
                raise

    def begin(self) -> object:
        """Begin without waits, which do not continue in a forked process, and with a pipe that it does not share."""
        self._waits.clear()
        if _installed() is self:
            self._pipe.end()
            signal.signal(signal.SIGINT, _restored(self._before))
        before, self._pipe = self._pipe, _WakeupPipe()
        return before

    def remove(self, wait: InterruptCount) -> None:
        """Stop counting for a wait that is ending; the last one restores the previous handler."""
        if wait not in self._waits:
            return
        try:
            # Another thread (which collected a coroutine) cannot set a handler; the next wait restores it.
            last = all(each.ending for each in self._waits) and threading.current_thread() is threading.main_thread()
            if last and _installed() is self:
                self._pipe.end()
                # signal.signal first runs the handler for pending interrupts, so those are still counted here.
                signal.signal(signal.SIGINT, _restored(self._before))
        finally:
            self._waits.remove(wait)
        if wait.missed:
            self._pass_on(signal.SIGINT, None)


class _WakeupPipe:
    """Reports at C level that a signal arrived; Python may call its handler some milliseconds later.

    The handler needs the interpreter's lock, which a busy loop gives up every 5 ms.  Where the main thread's event loop
    uses the wakeup descriptor itself, or there is none (Windows), only the handler is used.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None
        self._noted = False

    def begin(self) -> None:
        """Install the pipe as wakeup descriptor; in the main thread."""
        if sys.platform == "win32":
            return
        if self._ends is None:
            self._ends = os.pipe()
            for end in self._ends:
                os.set_blocking(end, False)
        self.arrived()
        self._noted = True
        before = signal.set_wakeup_fd(self._ends[1], warn_on_full_buffer=False)
        if before not in (-1, self._ends[1]):
            self._noted = False
            signal.set_wakeup_fd(before)

    def end(self) -> None:
        """Remove the pipe; in the main thread."""
        if self._noted and self._ends is not None:
            self._noted = False
            before = signal.set_wakeup_fd(-1)
            if before != self._ends[1]:
                signal.set_wakeup_fd(before)

    def arrived(self) -> bool:
        """Whether an interrupt arrived since the last call."""
        if self._ends is None:
            return False
        try:
            return signal.SIGINT in os.read(self._ends[0], 64)
        except BlockingIOError:
            return False


def _installed() -> _Handler:
    return signal.getsignal(signal.SIGINT)


def _restored(handler: _Handler) -> _Handler:
    """Return the handler to restore: that of ``asyncio.run`` is out of date once its main task has ended."""
    main_task = getattr(handler, "keywords", {}).get("main_task")
    return signal.default_int_handler if main_task is not None and main_task.done() else handler


_interrupts = _SignalHandler()
in_child(_interrupts.begin)


def check_interrupts() -> None:
    """Act on an interrupt that Python has not handled yet; the sender calls this right before it writes a request."""
    _interrupts.look()


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
    """Run in a thread what would block the loop of an awaiting caller; when cancelled or interrupted, raise at once."""
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
        if done.done():  # the caller has stopped waiting
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
