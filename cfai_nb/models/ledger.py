"""``Charge``, ``Budget``, and sums of the ledger, in words and numbers.

The engine reserves from a budget before it sends, and replaces the reservation by the charge; the store keeps charges.
"""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
import math
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from ..errors import BudgetError, is_number
from . import FREE_NEURONS_PER_DAY, USD_PER_NEURON, Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One billed call, or (with ``requests=0``) the rows that a run took from the store."""

    time: float  #: Seconds since 1970.
    run: str
    account: str  #: A digest, not the id.
    origin: str  #: ``"cloudflare"``, ``"emulator"``, its local stand-in or a host.
    model: str
    verb: str
    requests: int = 1
    rows: int = 1  #: Answered rows of the frame; in a conversation of several turns one charge counts them.
    neurons: float | None  #: None: unknown, because the model publishes no price.
    exact: bool  #: Whether the service reported it; otherwise it is estimated from the length of the text.
    #: What rows from the store had cost when they were bought, or what answers of a gateway's cache would have cost.
    saved_neurons: float | None = 0.0
    tokens: float | None = None  #: None: unknown, because embedding models do not report them.
    seconds: float = 0.0
    #: Submission and position of a request that waited in the service's queue: such a charge is recorded once, even if
    #: several runs fetch the answer.
    queued: tuple[str, int] | None = None


def midnight(now: float) -> float:
    """Return 00:00 UTC of the day of ``now``, when the free Neurons are reset."""
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day.timestamp()


def spent_today(charges: Iterable[Charge], account: str, origin: str, now: float) -> Cost:
    """Return what this account was charged since 00:00 UTC, according to these charges."""
    since = midnight(now)
    today = [c for c in charges if c.time >= since and c.account == account and c.origin == origin]
    return Cost(sum(c.neurons or 0.0 for c in today), all(c.exact for c in today))


#: For all budgets: one budget may be shared by calls on the engine's loop and on a notebook's own loop.
_LOCK = threading.Lock()


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits until others are billed; ``held`` is its reservation, once it has one."""

    neurons: float
    loop: asyncio.AbstractEventLoop
    wake: asyncio.Future[None]
    held: float | None = None


@dataclass(slots=True, weakref_slot=True)
class Budget:
    """A limit in Neurons that refuses before sending: the estimate is reserved, then replaced by the bill.

    Parameters
    ----------
    limit : float
        Neurons.
    label : str
        The limit as the user wrote it, for messages.
    allow_unknown : bool
        Whether requests of unknown price may be sent.
    elsewhere : float
        Neurons of the limit that other programs used; set where the account's own meter is read.
    refresh : callable or None
        Awaited before each reservation of a run, with the budget and a function that returns whether a request may
        leave; it reads the meter when that is due.
    """

    limit: float
    label: str
    allow_unknown: bool = False
    spent: float = 0.0
    reserved: float = 0.0
    elsewhere: float = 0.0
    refresh: Callable[[Budget, Callable[[], bool]], Awaitable[None]] | None = field(default=None, repr=False)
    requests: int = field(default=0, repr=False)  # with a reservation; `reserved` has rounding errors
    _waiting: collections.deque[_Waiter] = field(default_factory=collections.deque, repr=False, compare=False)

    @property
    def left(self) -> float:
        """Neurons that may still be reserved."""
        return self.limit - self.elsewhere - self.spent - self.reserved

    async def hold(self, cost: Cost, model: str) -> float | None:
        """Reserve the most that a request may cost, in order of arrival; wait while others may free enough.

        Returns the reservation, for ``settle``; None if it does not fit although nothing else is reserved.
        BudgetError is raised as by ``neurons_of``.
        """
        neurons = self.neurons_of(cost, model)
        with _LOCK:
            held = None if self._waiting else self._take(neurons)
            if held is not None or not self.requests:
                return held
            loop = asyncio.get_running_loop()
            waiter = _Waiter(neurons, loop, loop.create_future())
            self._waiting.append(waiter)
        try:
            await waiter.wake
        except asyncio.CancelledError:
            with _LOCK:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)
                    self._hand_out()  # the others may have waited behind this one
                    raise
            if waiter.held is not None:
                self.settle(waiter.held, 0.0)
            raise
        return waiter.held

    def take_over(self, reserved: float) -> None:
        """Count what another process has reserved already, whether or not it fits."""
        with _LOCK:
            self.reserved += reserved
            self.requests += 1

    def settle(self, reserved: float, neurons: float | None) -> None:
        """Replace a reservation by the actual charge; if that is unknown, the reservation counts as spent."""
        with _LOCK:
            self._give_back(reserved)
            self.spent += reserved if neurons is None or not math.isfinite(neurons) else max(0.0, neurons)
            self._hand_out()

    def neurons_of(self, cost: Cost, model: str) -> float:
        """Return a cost in Neurons; BudgetError is raised where it is unknown, and that is not allowed."""
        if cost.neurons is not None:
            return cost.neurons
        if self.allow_unknown:
            return 0.0
        raise BudgetError(
            f"{model} publishes no price, so a budget of {self.label} cannot cover it. "
            "Choose a priced model, remove budget=, or allow it with budget=Budget(..., allow_unknown=True)."
        )

    def _take(self, neurons: float) -> float | None:
        # A free request, or one of unknown price that is allowed, always fits.
        if neurons and not neurons <= self.left * (1 + 1e-9):
            return None
        self.reserved += neurons
        self.requests += 1
        return neurons

    def _give_back(self, reserved: float) -> None:
        self.requests -= 1
        self.reserved = self.reserved - reserved if self.requests else 0.0

    def _hand_out(self) -> None:
        """Wake the next waiters: with their reservation, or with None if there is nothing left to wait for."""
        while self._waiting:
            waiter = self._waiting[0]
            held = self._take(waiter.neurons)
            if held is None and self.requests:
                return
            self._waiting.popleft()
            waiter.held = held
            try:
                waiter.loop.call_soon_threadsafe(_wake, waiter.wake)
            except RuntimeError:  # its loop is closed
                if held is not None:
                    self._give_back(held)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def as_budget(
    wish: float | str | Budget | None, neurons: float | None, used_today: float = 0.0, elsewhere: float = 0.0
) -> Budget | None:
    """Turn ``budget=`` (dollars, ``"free"`` or a Budget) or ``neurons=`` into a Budget.

    ``used_today`` is the Neurons of the ledger, ``elsewhere`` those that other programs used in addition.
    """
    if wish is not None and neurons is not None:
        raise ValueError("Give budget= or neurons=, not both.")
    if isinstance(wish, Budget):
        return wish
    if neurons is not None:
        return Budget(_positive(neurons, "neurons"), f"{_plain(neurons)} Neurons")
    if wish is None:
        return None
    if isinstance(wish, str):
        if wish != "free":
            raise ValueError(f'budget={wish!r}: give dollars as a number, or "free".')
        limit = max(0.0, FREE_NEURONS_PER_DAY - used_today)
        left = f"{max(0.0, limit - elsewhere):,.0f} of {FREE_NEURONS_PER_DAY:,} left that we know of"
        others = f", {elsewhere:,.0f} used by other programs" if elsewhere else ""
        return Budget(limit, f"today's free Neurons ({left}{others})", elsewhere=elsewhere)
    return Budget(_positive(wish, "budget") / USD_PER_NEURON, f"${wish:,.12f}".rstrip("0").rstrip("."))


def _positive(value: float, name: str) -> float:
    if not is_number(value) or not value >= 0:
        raise ValueError(f"{name}={value!r} must be a non-negative number.")
    return float(value)


def _plain(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def money(neurons: float | None, exact: bool = True) -> str:
    """Return Neurons and dollars in words: ``"~2.8 Neurons ($0.000031)"``; a tilde marks an estimate."""
    if neurons is None:
        return "price unknown"
    return f"{neurons_only(neurons, exact)} ({dollars(neurons, exact)})"


def dollars(neurons: float, exact: bool = True) -> str:
    """Return Neurons as dollars alone, with two significant digits: ``"~$0.000031"``."""
    usd = neurons * USD_PER_NEURON
    decimals = max(2, 1 - int(f"{usd:.1e}".partition("e")[2]))
    return f"{'' if exact else '~'}{f'${usd:,.{decimals}f}' if usd else '$0'}"


def neurons_only(neurons: float, exact: bool = True) -> str:
    """Return Neurons alone: ``"~2.8 Neurons"``."""
    return f"{'' if exact else '~'}{_plain(neurons)} Neurons"
