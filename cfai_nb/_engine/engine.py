"""What all runs of a session share: connection, limiters, store and inputs in flight; and how it is closed.

``Session`` holds ``Resources``: its store, and an ``Engine`` for each event loop it was used on.  Runs and request jobs
register in ``Engine.jobs`` while they are active.  Closing (by ``close``, by garbage collection, at exit) drains: jobs
are ended, requests in flight are awaited, and pending answers and charges are written to the store; a warning lists
what could not be written.

Limits and inputs in flight are in ``share``: those of all runs here, and of all processes that use the same store.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol

from ..errors import CfaiError, CfaiWarning
from ..html.markup import counted
from ..models import Cost, Model, Usage, price
from ..models.ledger import Charge, money
from . import in_child
from .account import Membership, Participant
from .bridge import bridge, emptied
from .limiter import Limiter
from .run_state import Run
from .store import release, release_all
from .store.store import Store
from .store.writer import Job
from .wire import Wire

_LATER = "They stay in memory and are written when the store is used again in this process."
#: Resources of sessions that were garbage-collected while no loop was running to close them on.
_dropped: queue.SimpleQueue[Resources] = queue.SimpleQueue()


class Closable(Protocol):
    """Work that ends when its session is closed."""

    def close(self, why: CfaiError) -> None:
        """Send nothing more, and end once what is in flight was answered."""

    def abandon(self) -> None:
        """End now."""


@dataclass(slots=True)
class Engine:
    """What all runs of a session share, on one event loop."""

    wire: Wire
    rate: float | Literal["auto"] | None  # requests a minute, of each model
    account: str
    origin: str
    store: Store | None
    ledger: Callable[[Sequence[Charge]], object]  # keeps charges when there is no store
    joined: Callable[[Participant], Membership] | None = None  # joins the processes that share the account
    jobs: set[Closable] = field(default_factory=set)  # active runs and request jobs
    share: Participant = field(init=False)  # the limits and inputs in flight of the account
    _membership: Membership | None = field(init=False)

    def __post_init__(self) -> None:
        self.share = Participant(self.written, self._known)
        self._membership = None if self.joined is None else self.joined(self.share)
        if self._membership is not None:
            bridge.before_close(self._membership)

    def limiter(self, model: Model) -> Limiter:
        """Return the limiter of a model; models that the service counts together share a rate."""
        rate = model.rate if self.rate == "auto" else self.rate
        # Paid-plan models are counted by model, all others by task; bge-large has a rate of its own.
        group = model.id if model.can("requires_workers_paid") else model.task
        return self.share.limiter(model.id, group, rate, model.source == "server", own=True)

    async def ready(self) -> None:
        """Wait until it is known which process decides about limits and budgets; for a few seconds at most."""
        if self._membership is not None:
            await self._membership.ready()

    async def begin(self, job: Closable) -> None:
        """Note that a run begins, which may claim inputs."""
        self.jobs.add(job)  # first, so that closing ends it too
        await self.ready()
        await self.share.inputs.join()

    def end(self, job: Closable) -> None:
        """Note that a run ended."""
        self.jobs.discard(job)
        self.share.inputs.leave()

    def charge(
        self, run: Run, usage: Usage, *, seconds: float = 0.0, free: bool = False,
        queued: tuple[str, int] | None = None,
    ) -> Charge:  # fmt: skip
        """Return the charge of one answered request, which counts no rows yet.

        ``free``: a gateway answered it from its cache.
        """
        cost = price(usage, run.plan.model)
        paid, saved = (Cost(0.0, True), cost.neurons) if free else (cost, 0.0)
        return Charge(
            time=time.time(), run=run.id, account=self.account, origin=self.origin, model=run.plan.model.id,
            verb=run.plan.task.name, rows=0, neurons=paid.neurons, exact=paid.exact, saved_neurons=saved,
            tokens=usage.tokens, seconds=seconds, queued=queued,
        )  # fmt: skip

    def saving(self, run: Run, neurons: float | None, rows: int) -> Charge:
        """Return the ledger's entry for rows that came from the store; ``neurons`` is what they had cost."""
        return Charge(
            time=time.time(), run=run.id, account=self.account, origin=self.origin, model=run.plan.model.id,
            verb=run.plan.task.name, rows=rows, requests=0, neurons=0.0, exact=True, saved_neurons=neurons, tokens=0.0,
        )  # fmt: skip

    async def written(self, owner: str = "", about: Iterable[bytes] | None = None) -> None:
        """Wait until the store has committed what this owner (or all) put so far, or cannot at the moment.

        With keys that it is `about`, it does not wait where all of that are answers to other keys.  It polls instead of
        using a thread, because none can be started while Python ends.
        """
        if self.store is None:
            return
        pause, before = 0.001, set(self.store.writer.unfinished(owner))
        answers = all(job.keys for job in before)  # and no checkpoints, which a run reads as well
        if about is not None and answers and {key for job in before for key in job.keys}.isdisjoint(about):
            return
        while before and (before := before & set(self.store.writer.unfinished(owner))):
            await asyncio.sleep(pause)
            pause = min(0.05, 1.2 * pause)

    def _known(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the keys that the store holds."""
        if self.store is None:
            return []
        records, _ = self.store.locate(keys)
        return [key for key, record in zip(keys, records.tolist(), strict=True) if record >= 0]

    async def close(self, seconds: float) -> int:
        """End all jobs, keep answers that arrive within this time, close the connections; return how many were late."""
        why = CfaiError("The session was closed while this was under way; nothing more was sent.")
        for job in tuple(self.jobs):
            job.close(why)
        await emptied(self.jobs, seconds)
        late = tuple(self.jobs)
        for job in late:
            job.abandon()
        await emptied(self.jobs, 1.0)
        if self._membership is not None:
            await self._membership.close()
        await self.wire.close()
        return len(late)

    def enter(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the ledger without keeping an answer."""
        if charges:
            (self.ledger if self.store is None else self.store.charge)(charges)


class Resources:
    """A session's store, and its engine for each event loop it was used on (with the loop if it is the notebook's own).

    It holds no reference to the session, so that it can outlive it.  ``lock``: several threads may open them at once.
    """

    def __init__(self) -> None:
        self.begin()
        _resources.add(self)

    def begin(self) -> object:
        """Begin with nothing open, also in a forked process; return what there was before."""
        before = vars(self).copy()
        self.store: Store | None = None
        self.engines: dict[object, tuple[Engine, asyncio.AbstractEventLoop | None]] = {}
        self.lock = threading.RLock()
        return before

    def _take(self) -> tuple[Store | None, list[tuple[Engine, asyncio.AbstractEventLoop | None]]]:
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
        """Let the loop close everything soon; takes no lock, because a finalizer may run anywhere."""
        if (self.store is not None or self.engines) and not bridge.soon(self._close):
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


_resources: weakref.WeakSet[Resources] = weakref.WeakSet()
in_child(lambda: [each.begin() for each in tuple(_resources)])


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
    answers, charges = sum(len(job.keys) for job in left), [charge for job in left for charge in job.charges]
    cost = sum(charge.neurons or 0.0 for charge in charges)
    why = store.writer.take_failure() or store.writer.take_failure(left[0].owner)
    warnings.warn(
        f"Not written when the session was closed: {counted(answers, 'answer')} and {counted(len(charges), 'charge')} "
        f"({money(cost)}). {end} {why or ''}".rstrip(), CfaiWarning, stacklevel=4,
    )  # fmt: skip
