"""The book of charges: what was spent, how sure that is, and what a budget still holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from .errors import BudgetError
from .models import FREE_NEURONS_PER_DAY, USD_PER_NEURON, Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One billed call, or (with no requests) the rows a run took from the store.

    Attributes
    ----------
    time : float
        Seconds since 1970.
    run, account, origin, model, verb : str
        ``account`` is a digest, not the id; ``origin`` is ``"cloudflare"``, ``"emulator"`` or a host.
    requests, rows : int
        ``rows`` are those of the frame that were answered; of a conversation of several turns, one counts them.
    neurons : float or None
        None is unknown: the model publishes no price.
    exact : bool
        The service reported it; otherwise it is estimated from the length of the text.
    saved_neurons : float or None
        What the rows from the store had cost when they were bought; of a gateway's cache, what they would have cost.
        None is unknown.
    tokens : float or None
        None is unknown: embedding models do not report them.
    seconds : float
    queued : (str, int) or None
        The submission and place of a request that waited in the service's queue: it is entered once, whoever fetches
        its answer.
    """

    time: float
    run: str
    account: str
    origin: str
    model: str
    verb: str
    requests: int = 1
    rows: int = 1
    neurons: float | None
    exact: bool
    saved_neurons: float | None = 0.0
    tokens: float | None = None
    seconds: float = 0.0
    queued: tuple[str, int] | None = None


def midnight(now: float) -> float:
    """Return the 00:00 UTC at which the day of ``now`` began, when the free Neurons came back."""
    day = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day.timestamp()


def spent_today(charges: Iterable[Charge], account: str, origin: str, now: float) -> Cost:
    """Return what this account was charged since 00:00 UTC, as far as this book knows."""
    since = midnight(now)
    today = [c for c in charges if c.time >= since and c.account == account and c.origin == origin]
    return Cost(sum(c.neurons or 0.0 for c in today), all(c.exact for c in today))


@dataclass(slots=True)
class Budget:
    """A limit in Neurons that refuses before sending: reserved by the estimate, trued up by the bill.

    Parameters
    ----------
    limit : float
        Neurons.
    words : str
        The limit as the user said it.
    allow_unknown : bool
        Whether requests whose price nobody publishes may be sent.
    """

    limit: float
    words: str
    allow_unknown: bool = False
    spent: float = 0.0
    reserved: float = 0.0
    requests: int = field(default=0, repr=False)  # with a reservation; the sum itself keeps rounding errors

    @property
    def left(self) -> float:
        """Neurons that may still be reserved."""
        return self.limit - self.spent - self.reserved

    def reserve(self, cost: Cost, model: str) -> float | None:
        """Set aside what a request may cost at most; None when it does not fit at the moment.

        Raises
        ------
        BudgetError
            The price is unknown, and that is not allowed.
        """
        if cost.neurons is None:
            if self.allow_unknown:
                self.requests += 1
                return 0.0
            raise BudgetError(
                f"{model} publishes no price, so a budget of {self.words} cannot hold it. "
                "Choose a priced model, leave budget= out, or allow it with budget=Budget(..., allow_unknown=True)."
            )
        if cost.neurons > self.left * (1 + 1e-9):
            return None
        self.reserved += cost.neurons
        self.requests += 1
        return cost.neurons

    def settle(self, reserved: float, neurons: float | None) -> None:
        """Replace a reservation by what was really charged (None: unknown; the reservation stays as spent)."""
        self.requests -= 1
        self.reserved = self.reserved - reserved if self.requests else 0.0
        self.spent += reserved if neurons is None else neurons


def as_budget(wish: float | str | Budget | None, neurons: float | None, used_today: float = 0.0) -> Budget | None:
    """Turn ``budget=`` (dollars, ``"free"`` or a Budget) or ``neurons=`` into a Budget.

    Parameters
    ----------
    wish : float, "free", Budget or None
    neurons : float or None
    used_today : float
        Neurons of today's free ones that this book saw used; what other programs used is invisible here.
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
        left = max(0.0, FREE_NEURONS_PER_DAY - used_today)
        return Budget(left, f"today's free Neurons ({left:,.0f} of {FREE_NEURONS_PER_DAY:,} left that we know of)")
    return Budget(_positive(wish, "budget") / USD_PER_NEURON, f"${wish:,.12f}".rstrip("0").rstrip("."))


def _positive(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise ValueError(f"{name}={value!r} must be a number that is not negative.")
    return float(value)


def _plain(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.3g}"


def money(neurons: float | None, exact: bool = True) -> str:
    """Write Neurons and dollars for people: ``"~2.8 Neurons ($0.000031)"``; a tilde marks an estimate."""
    if neurons is None:
        return "price unknown"
    mark = "" if exact else "~"
    usd = neurons * USD_PER_NEURON
    decimals = max(2, 1 - int(f"{usd:.1e}".partition("e")[2]))  # two digits that say something, once it is rounded
    dollars = f"${usd:,.{decimals}f}" if usd else "$0"
    return f"{mark}{_plain(neurons)} Neurons ({mark}{dollars})"
