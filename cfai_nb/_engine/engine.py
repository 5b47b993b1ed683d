"""What every run of a session shares, and how money gets into the book."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..ledger import Charge
from ..models import Cost, Model, Usage, price
from .flights import Flights
from .pace import Pace
from .rate import Rate
from .store import Store
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
    """

    wire: Wire
    pace: Callable[[Model], Pace]
    account: str
    origin: str
    store: Store | None
    book: Callable[[Sequence[Charge]], object]
    flights: Flights = field(default_factory=Flights)

    def charge(
        self, usage: Usage, model: Model, *, run: str, verb: str, rows: int = 1, seconds: float = 0.0,
        free: bool = False,
    ) -> Charge:  # fmt: skip
        """Return the charge of one answered request; ``free`` where a gateway answered it from its cache."""
        cost = price(usage, model)
        paid, saved = (Cost(0.0, True), cost.neurons or 0.0) if free else (cost, 0.0)
        return Charge(
            time=time.time(), run=run, account=self.account, origin=self.origin, model=model.id, verb=verb, rows=rows,
            neurons=paid.neurons, exact=paid.exact, saved_neurons=saved, tokens=usage.tokens, seconds=seconds,
        )  # fmt: skip

    def saving(self, neurons: float, model: Model, *, run: str, verb: str, rows: int) -> Charge:
        """Return the entry for rows that came from the store."""
        return Charge(
            time=time.time(), run=run, account=self.account, origin=self.origin, model=model.id, verb=verb, rows=rows,
            requests=0, neurons=0.0, exact=True, saved_neurons=neurons, tokens=0.0,
        )  # fmt: skip

    def enter(self, charges: Sequence[Charge]) -> None:
        """Enter charges for which no answer is kept."""
        if charges:
            (self.book if self.store is None else self.store.charge)(charges)
