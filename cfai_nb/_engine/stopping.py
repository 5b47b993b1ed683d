"""Whether a piece of work was asked to stop, and which other work stops with it.

Every job of the bridge has a ``Stop``, and so has every step that runs in a thread of its own (a tool, the preparation
of an awaited call).  What is begun inside a piece of work belongs to it: a request to stop reaches it as well.  The
level is a plain attribute: a signal handler sets it at once, and the sender reads it right before a request is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context

#: Levels: go on; send nothing more and await what is in flight; drop that as well.
GO, STOP, DROP = 0, 1, 2


class Stop:
    """What was asked of one piece of work.

    Parameters
    ----------
    tell : callable, optional
        Called with the level whenever it rises, in the thread that asks, which may be inside a signal handler.
    """

    def __init__(self, tell: Callable[[int], object] | None = None) -> None:
        self._level = GO
        self._tell = tell
        self._inner: set[Stop] = set()
        self._changed: Callable[[], object] = _nothing
        self._outer = _current.get()
        if self._outer is not None:
            self._outer._inner.add(self)  # before the look at its level, so that no request falls in between
            self.ask(self._outer.level)

    @property
    def level(self) -> int:
        """GO, STOP or DROP; only ever rises.  What it belongs to counts also when this has ended."""
        return self._level if self._outer is None else max(self._level, self._outer.level)

    def ask(self, level: int) -> None:
        """Ask it, and all that was begun inside it, to stop; callable from any thread and from a signal handler."""
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
        """Wait until all that was begun inside has ended."""
        changed = asyncio.Event()
        self._changed = functools.partial(soon, asyncio.get_running_loop(), changed.set)
        while self._inner:
            await changed.wait()
            changed.clear()

    def enter(self) -> None:
        """Make this the work that everything begun in the current context belongs to."""
        _current.set(self)

    def context(self) -> Context:
        """Return a copy of the current context in which everything that is begun belongs to this."""
        context = copy_context()
        context.run(self.enter)
        return context


_current: ContextVar[Stop | None] = ContextVar("cfai_nb_stop", default=None)


def soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Call a function on an event loop, from any thread or a signal handler; a loop that is closed needs no call."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)


def _nothing() -> None:
    return None


def current() -> Stop:
    """Return the ``Stop`` of the work the caller is part of; ``NEVER`` where it is part of none."""
    return _current.get() or NEVER


#: Of work that nothing can ask to stop.
NEVER = Stop()
