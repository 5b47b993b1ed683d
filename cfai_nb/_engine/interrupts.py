"""Interrupts while the main thread waits for work: each press is passed on at once, by the signal handler itself.

A KeyboardInterrupt raised at an arbitrary line can get lost or leave a lock held, so a press is counted instead: the
first asks the work to stop, the second to drop what is in flight, the third raises as usual.  The handler is in place
only while something waits; whichever wait ends last puts the one before back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TypeAlias

from .stopping import STOP, Stop

#: What can stand as a handler.
_Handler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers | None


class Presses:
    """The presses heard during one wait, as a context manager; outside the main thread it hears none.

    Parameters
    ----------
    awaited : bool
        The caller's event loop goes on meanwhile: the handler that was there before is called too, so that whatever
        else the loop does hears the press as it would without us.

    Attributes
    ----------
    count : int
        Final after the block; a press at its very last moment is among them.
    """

    def __init__(self, *, awaited: bool = False) -> None:
        self.count = 0
        self.awaited = awaited
        self.ending = self.armed = self.missed = False
        self._stop: Stop | None = None

    def reach(self, stop: Stop) -> None:
        """Pass presses on to this work, also those that came before."""
        self._stop = stop
        stop.ask(min(self.count, 2))

    def press(self) -> None:
        """Note a press; called by the signal handler."""
        self.count += 1
        if self._stop is not None:
            self._stop.ask(min(self.count, 2))

    def early(self) -> None:
        """Stop before the press is counted; called by the engine."""
        if self._stop is not None:
            self._stop.ask(STOP)

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Let a third press raise KeyboardInterrupt inside this block, once; elsewhere it is only counted."""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def __enter__(self) -> Presses:
        if threading.current_thread() is threading.main_thread():
            _interrupts.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.ending, self.armed = True, False
        _interrupts.remove(self)


class _Interrupts:
    """The one handler of SIGINT for all waits of the main thread, which may end in any order."""

    def __init__(self) -> None:
        self._waits: list[Presses] = []
        self._before: _Handler = signal.SIG_DFL
        self._early = _Early()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        for wait in tuple(self._waits):
            wait.press()
        self._early.came()
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
        """Pass on a press for which Python has not called the handler yet; callable from any thread."""
        if self._waits and self._early.came() and _there() is self:
            for wait in tuple(self._waits):
                wait.early()

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)

    def add(self, wait: Presses) -> None:
        """Hear presses for a wait."""
        there = _there()
        if there in (signal.SIG_IGN, None):  # ignored, or not Python's: it stays so
            return
        for stale in [each for each in self._waits if each.ending]:  # an interrupt kept it from being removed
            self._waits.remove(stale)
        self._waits.append(wait)
        if there is not self:
            self._before = there
            try:
                signal.signal(signal.SIGINT, self)
                self._early.begin()
            except BaseException:
                wait.ending = True
                self.remove(wait)
                raise

    def forget(self) -> None:
        """Hear for no wait: in a forked process none of them goes on."""
        self._waits.clear()
        if _there() is self:
            self._early.end()
            signal.signal(signal.SIGINT, _in_force(self._before))

    def remove(self, wait: Presses) -> None:
        """Hear no more for a wait that is ending; with the last one the handler before is back."""
        if wait not in self._waits:
            return
        try:
            # In another thread (a coroutine was collected there) no handler can be set; the next wait sees to it.
            last = all(each.ending for each in self._waits) and threading.current_thread() is threading.main_thread()
            if last and _there() is self:
                self._early.end()
                # Setting a handler first deals with the presses that came: they are still counted here.
                signal.signal(signal.SIGINT, _in_force(self._before))
        finally:
            self._waits.remove(wait)
        if wait.missed:
            self._pass_on(signal.SIGINT, None)


class _Early:
    """Whether a signal came, as the C level notes it: Python calls its handler some milliseconds later at times.

    The main thread needs the interpreter's lock for that, which a busy loop gives away every 5 ms.  Where an event loop
    of the main thread has a use of its own for these notes, or they do not exist (Windows), the handler alone is used.
    """

    def __init__(self) -> None:
        self._ends: tuple[int, int] | None = None
        self._pid = 0
        self._noted = False

    def begin(self) -> None:
        """Have signals noted; in the main thread."""
        if sys.platform == "win32":
            return
        if self._ends is None or self._pid != os.getpid():  # a forked process would share the notes of its parent
            self._ends, self._pid = os.pipe(), os.getpid()
            for end in self._ends:
                os.set_blocking(end, False)
        self.came()
        self._noted = True
        before = signal.set_wakeup_fd(self._ends[1], warn_on_full_buffer=False)
        if before not in (-1, self._ends[1]):
            self._noted = False
            signal.set_wakeup_fd(before)

    def end(self) -> None:
        """Note no more; in the main thread."""
        if self._noted and self._ends is not None:
            self._noted = False
            before = signal.set_wakeup_fd(-1)
            if before != self._ends[1]:
                signal.set_wakeup_fd(before)

    def came(self) -> bool:
        """Whether an interrupt was noted since this was asked last."""
        if self._ends is None:
            return False
        try:
            return signal.SIGINT in os.read(self._ends[0], 64)
        except BlockingIOError:
            return False


def _there() -> _Handler:
    return signal.getsignal(signal.SIGINT)


def _in_force(handler: _Handler) -> _Handler:
    """Return the handler that would be there by now: ``asyncio.run`` takes its own away when its main task ends."""
    main_task = getattr(handler, "keywords", {}).get("main_task")
    return signal.default_int_handler if main_task is not None and main_task.done() else handler


_interrupts = _Interrupts()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_interrupts.forget)


def look() -> None:
    """Take notice of a press that Python has not dealt with yet; the sender does, right before a request leaves."""
    _interrupts.look()
