"""What all runs of a session share: connection, limiters, store, requests in flight; and how charges are made.

``Session`` makes one ``Engine`` for each event loop and closes it.  Runs and request jobs register themselves in
``jobs`` while they are active, so that closing can end them and await what is in flight.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import CfaiError
from ..models import Cost, Model, Usage, price
from ..models.ledger import Charge
from .concurrency import Limiter
from .rate_limit import Rate
from .single_flight import SingleFlight
from .store.store import Store
from .wire import Wire


def limiters(per_minute: Callable[[Model], float | None]) -> Callable[[Model], Limiter]:
    """Return a function from model to limiter; models that the service counts together share a rate."""
    rates: dict[str, Rate] = {}
    made: dict[str, Limiter] = {}

    def limiter(model: Model) -> Limiter:
        if model.id not in made:
            rate = per_minute(model)
            # Paid-plan models are counted by model, all others by task; bge-large has a rate of its own.
            group = model.id if model.can("requires_workers_paid") else f"{model.task} {rate}"
            made[model.id] = Limiter(rates.setdefault(group, Rate(rate)))
        return made[model.id]

    return limiter


class Closable(Protocol):
    """Work that ends when its session is closed."""

    def close(self, why: CfaiError) -> None:
        """Send nothing more, and end once what is in flight was answered."""

    def abandon(self) -> None:
        """End now."""


@dataclass(slots=True)
class Engine:
    """What all runs of a session share, on one event loop.

    Attributes
    ----------
    wire : Wire
    limiter : callable
        Model -> Limiter.
    account, origin : str
    store : Store or None
    ledger : callable
        Takes charges when there is no store to keep them.
    single_flight : SingleFlight
        Inputs in flight.
    jobs : set of Closable
        Active runs and request jobs.
    """

    wire: Wire
    limiter: Callable[[Model], Limiter]
    account: str
    origin: str
    store: Store | None
    ledger: Callable[[Sequence[Charge]], object]
    single_flight: SingleFlight = field(default_factory=SingleFlight)
    jobs: set[Closable] = field(default_factory=set)

    def charge(
        self, usage: Usage, model: Model, *, run: str, verb: str, rows: int = 1, seconds: float = 0.0,
        free: bool = False, queued: tuple[str, int] | None = None,
    ) -> Charge:  # fmt: skip
        """Return the charge of one answered request; ``free`` where a gateway answered it from its cache."""
        cost = price(usage, model)
        paid, saved = (Cost(0.0, True), cost.neurons) if free else (cost, 0.0)
        return Charge(
            time=time.time(), run=run, account=self.account, origin=self.origin, model=model.id, verb=verb, rows=rows,
            neurons=paid.neurons, exact=paid.exact, saved_neurons=saved, tokens=usage.tokens, seconds=seconds,
            queued=queued,
        )  # fmt: skip

    def saving(self, neurons: float | None, model: Model, *, run: str, verb: str, rows: int) -> Charge:
        """Return the entry for rows that came from the store; ``neurons`` is what they had cost, None if unknown."""
        return Charge(
            time=time.time(), run=run, account=self.account, origin=self.origin, model=model.id, verb=verb, rows=rows,
            requests=0, neurons=0.0, exact=True, saved_neurons=neurons, tokens=0.0,
        )  # fmt: skip

    async def written(self, owner: str = "") -> None:
        """Wait until the store has committed what this owner (or any) handed to it, or cannot at the moment.

        Polls instead of using a thread: none can be started while Python ends.
        """
        pause = 0.001
        while self.store is not None and self.store.behind(owner):
            await asyncio.sleep(pause)
            pause = min(0.05, 1.5 * pause)

    async def close(self, seconds: float) -> int:
        """End all jobs, keep answers that arrive within this time, and close the connections.

        Returns
        -------
        int
            How many jobs had to be dropped before their answers came.
        """
        why = CfaiError("The session was closed while this was under way; nothing more was sent.")
        for job in tuple(self.jobs):
            job.close(why)
        await self._ended(seconds)
        late = tuple(self.jobs)
        for job in late:
            job.abandon()
        await self._ended(1.0)
        await self.wire.close()
        return len(late)

    async def _ended(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.jobs and time.monotonic() < end:
            await asyncio.sleep(0.01)

    def enter(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the ledger without keeping an answer."""
        if charges:
            (self.ledger if self.store is None else self.store.charge)(charges)
