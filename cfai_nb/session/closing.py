"""The open store and connections of a session, and how they are closed: by ``close``, by garbage collection, at exit.

Closing drains: runs are ended, requests in flight are awaited, and pending answers and charges are written to the
store; a warning lists what could not be written.
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
from .._engine.store.sharing import release, release_all
from .._engine.store.store import Store
from .._engine.store.writer import Job
from ..errors import CfaiWarning
from ..markup import counted
from ..models.ledger import money

_LATER = "They stay in memory and are written when the store is used again in this process."
#: Resources of sessions that were garbage-collected while no loop was running to close them on.
_dropped: queue.SimpleQueue[Resources] = queue.SimpleQueue()


class Resources:
    """A session's store, and its engine for each event loop it was used on (with the loop if it is the notebook's own).

    It holds no reference to the session, so that it can outlive it.
    """

    def __init__(self) -> None:
        self.store: Store | None = None
        self.engines: dict[object, tuple[Engine, asyncio.AbstractEventLoop | None]] = {}
        self._pid = os.getpid()
        self._parents: list[object] = []

    def forked(self) -> bool:
        """Whether this is a forked child of the process that opened them; a child must not even close them."""
        if self._pid == os.getpid():
            return False
        self._parents.append((self.store, self.engines))
        self._pid, self.store, self.engines = os.getpid(), None, {}
        return True

    def _take(self) -> tuple[Store | None, list[tuple[Engine, asyncio.AbstractEventLoop | None]]]:
        if self.forked():
            return None, []
        store, engines, self.store, self.engines = self.store, list(self.engines.values()), None, {}
        return store, engines

    def close(self, seconds: float) -> None:
        """Close everything; wait at most so many seconds for requests in flight."""
        store, engines = self._take()
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
                _warn_unwritten(store, release(store))
        if late:
            warnings.warn(
                f"Requests of {counted(late, 'call')} were not answered within {seconds:g} s of closing the session: "
                "they are lost, and may be charged.", CfaiWarning, stacklevel=3,
            )  # fmt: skip

    def close_later(self) -> None:
        """Have everything closed soon; takes no lock, because a finalizer may run anywhere."""
        if self._pid == os.getpid() and (self.store is not None or self.engines) and not bridge.soon(self._close):
            _dropped.put(self)

    async def _close(self) -> None:
        store, engines = self._take()
        for engine, loop in engines:
            if loop is None:
                await engine.close(0.0)
            else:
                _close_soon(loop, engine)
        if store is not None:
            _warn_unwritten(store, await asyncio.to_thread(release, store))


def _close_soon(loop: asyncio.AbstractEventLoop, engine: Engine) -> None:
    """Close an engine on the notebook's own loop, without waiting for it."""
    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(engine.close(0.0), loop)


def close_dropped() -> None:
    """Close the resources of sessions that were garbage-collected while no loop was running."""
    while True:
        try:
            each = _dropped.get_nowait()
        except queue.Empty:
            return
        each.close(0.0)


def close_at_exit() -> None:
    """Close every store, after the loop has ended."""
    for store, left in release_all():
        _warn_unwritten(store, left, "They are lost, because Python exits.")


def _warn_unwritten(store: Store, left: Sequence[Job], end: str = _LATER) -> None:
    """Warn of answers and charges that could not be written when a store was closed."""
    if not left:
        return
    answers, charges = sum(job.keys for job in left), [charge for job in left for charge in job.charges]
    cost = sum(charge.neurons or 0.0 for charge in charges)
    why = store.take_failure() or store.take_failure(left[0].owner)
    warnings.warn(
        f"Not written when the session was closed: {counted(answers, 'answer')} and {counted(len(charges), 'charge')} "
        f"({money(cost)}). {end} {why or ''}".rstrip(), CfaiWarning, stacklevel=4,
    )  # fmt: skip
