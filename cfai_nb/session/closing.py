"""What a session holds open, and how it is given back: by ``close``, by a session that is dropped, at exit.

Closing drains: runs are ended, what is in flight is awaited, what waits for the store is written, and what could not
be is said.
"""

from __future__ import annotations

import asyncio
import os
import queue
import warnings
from collections.abc import Sequence
from functools import partial

from .._engine.bridge import bridge
from .._engine.shared import Engine
from .._engine.store import release, release_all
from .._engine.store.store import Store
from .._engine.store.writer import Job
from ..errors import CfaiWarning
from ..markup import counted
from ..models.ledger import money

_LATER = "They stay in memory and are written when the store is used again in this process."
#: Of sessions that were dropped while there was no loop to close them on.
_dropped: queue.SimpleQueue[Resources] = queue.SimpleQueue()


class Resources:
    """A session's store, and its engine for each loop it was used on, with that loop where it is the notebook's.

    Does not refer to the session, so that it can outlive it.
    """

    def __init__(self) -> None:
        self.store: Store | None = None
        self.engines: dict[object, tuple[Engine, asyncio.AbstractEventLoop | None]] = {}
        self._pid = os.getpid()
        self._parents: list[object] = []

    def forked(self) -> bool:
        """Whether this is a child of the process that opened them, which must not touch them, not even to close."""
        if self._pid == os.getpid():
            return False
        self._parents.append((self.store, self.engines))
        self._pid, self.store, self.engines = os.getpid(), None, {}
        return True

    def _taken(self) -> tuple[Store | None, list[tuple[Engine, asyncio.AbstractEventLoop | None]]]:
        if self.forked():
            return None, []
        store, engines, self.store, self.engines = self.store, list(self.engines.values()), None, {}
        return store, engines

    def close(self, seconds: float) -> None:
        """Give everything back, and wait for what is in flight for so long."""
        store, engines = self._taken()
        late = 0
        try:
            for engine, loop in engines:
                if loop is not None and loop is bridge.own_loop:
                    late += bridge.call(partial(engine.close, seconds))
                elif loop is not None:
                    _close_soon(loop, engine)
                else:
                    late += bridge.call_thread(partial(engine.close, seconds)) or 0
        finally:
            if store is not None:
                _say(store, release(store))
        if late:
            warnings.warn(
                f"Requests in flight of {counted(late, 'call')} were not answered within {seconds:g} s of closing the "
                "session: they are lost, and may be charged.", CfaiWarning, stacklevel=3,
            )  # fmt: skip

    def dropped(self) -> None:
        """Have everything given back soon; takes no lock, since a finalizer may run anywhere."""
        if self._pid == os.getpid() and (self.store is not None or self.engines) and not bridge.soon(self._let_go):
            _dropped.put(self)

    async def _let_go(self) -> None:
        store, engines = self._taken()
        for engine, loop in engines:
            if loop is None:
                await engine.close(0.0)
            else:
                _close_soon(loop, engine)
        if store is not None:
            _say(store, await asyncio.to_thread(release, store))


def _close_soon(loop: asyncio.AbstractEventLoop, engine: Engine) -> None:
    """Close an engine of a notebook's own loop that cannot be waited for here."""
    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(engine.close(0.0), loop)


def release_dropped() -> None:
    """Give back what dropped sessions held while there was no loop."""
    while True:
        try:
            each = _dropped.get_nowait()
        except queue.Empty:
            return
        each.close(0.0)


def release_at_exit() -> None:
    """Close every store, once the loop has ended."""
    for store, left in release_all():
        _say(store, left, "They are lost: Python ends.")


def _say(store: Store, left: Sequence[Job], end: str = _LATER) -> None:
    """Warn of what closing a store could not write."""
    if not left:
        return
    answers, charges = sum(job.keys for job in left), [charge for job in left for charge in job.charges]
    cost = sum(charge.neurons or 0.0 for charge in charges)
    why = store.take_failure() or store.take_failure(left[0].owner)
    warnings.warn(
        f"Not written when the session was closed: {counted(answers, 'answer')} and {counted(len(charges), 'charge')} "
        f"({money(cost)}). {end} {why or ''}".rstrip(), CfaiWarning, stacklevel=4,
    )  # fmt: skip
