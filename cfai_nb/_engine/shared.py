"""What every run of a session shares, and how money gets into the book."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import CfaiError
from ..models import Cost, Model, Usage, price
from ..models.ledger import Charge
from .concurrency import Pace
from .rate_limit import Rate
from .single_flight import Flights
from .store.store import Store
from .wire import Wire


def pacing(per_minute: Callable[[Model], float | None]) -> Callable[[Model], Pace]:
    """Return what gives each model its pace; models that the service counts together share a rate."""
    rates: dict[str, Rate] = {}
    paces: dict[str, Pace] = {}

    def pace(model: Model) -> Pace:
        if model.id not in paces:
            alone = model.can("requires_workers_paid")  # these are counted by model, all others by task
            told = per_minute(model)
            group = model.id if alone else f"{model.task} {told}"  # bge-large has a number of its own
            paces[model.id] = Pace(rates.setdefault(group, Rate(told)))
        return paces[model.id]

    return pace


class Closable(Protocol):
    """Something under way that ends when its session is closed."""

    def close(self, why: CfaiError) -> None:
        """Send nothing more, and end when what is in flight has been answered."""

    def abandon(self) -> None:
        """End now."""


@dataclass(slots=True)
class Engine:
    """What every run of a session shares, on one event loop.

    Attributes
    ----------
    wire : Wire
    pace : callable
        Model -> Pace.
    account, origin : str
    store : Store or None
    book : callable
        Takes charges when there is no store to keep them.
    flights : Flights
        Inputs under way.
    jobs : set of Closable
        Runs and other work under way.
    """

    wire: Wire
    pace: Callable[[Model], Pace]
    account: str
    origin: str
    store: Store | None
    book: Callable[[Sequence[Charge]], object]
    flights: Flights = field(default_factory=Flights)
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
        """Return the entry for rows that came from the store, and what they had cost; None: nobody knows."""
        return Charge(
            time=time.time(), run=run, account=self.account, origin=self.origin, model=model.id, verb=verb, rows=rows,
            requests=0, neurons=0.0, exact=True, saved_neurons=neurons, tokens=0.0,
        )  # fmt: skip

    async def written(self, owner: str = "") -> None:
        """Wait until what this owner (or anybody) handed to the store is committed, or cannot be at the moment.

        Without a thread: none can be started while Python ends.
        """
        pause = 0.001
        while self.store is not None and self.store.behind(owner):
            await asyncio.sleep(pause)
            pause = min(0.05, 1.5 * pause)

    async def close(self, seconds: float) -> int:
        """End what is under way, keep what arrives for so long, and close the connections.

        Returns
        -------
        int
            How many runs had to be ended before their answers came.
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
        """Enter charges for which no answer is kept."""
        if charges:
            (self.book if self.store is None else self.store.charge)(charges)
