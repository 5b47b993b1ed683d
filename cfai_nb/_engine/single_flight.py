"""Inputs under way: who else needs one of them waits for it instead of paying for it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from ..tasks import Cells


@dataclass(slots=True, eq=False)
class Flight:
    """The inputs of one request, from its sending until its answer was read.

    Attributes
    ----------
    keys : list of bytes
    cells : dict of key to cells
        What was read; an input that is missing here failed, or was not sent.
    logs : dict of key to str
        The gateway's logs of what was read.
    landed : Future
    within : Flight or None
        The flight of the tool that began this run; it waits for this one.
    followers : list of Flight
        Flights of tools that began a run which waits for this one.
    followed : bool
        Whether another run takes its cells once it landed.
    """

    landed: asyncio.Future[None]
    keys: list[bytes] = field(default_factory=list)
    cells: dict[bytes, Cells] = field(default_factory=dict)
    logs: dict[bytes, str] = field(default_factory=dict)
    within: Flight | None = None
    followers: list[Flight] = field(default_factory=list)
    followed: bool = False

    def enter(self) -> None:
        """Make this the one that waits for whatever is begun in the current context."""
        _within.set(self)

    def awaits(self, other: Flight) -> bool:
        """Whether this one cannot land before the other did, through however many tools and runs."""
        seen: set[int] = set()
        waiting = [other]
        while waiting:
            one = waiting.pop()
            if one is self:
                return True
            if id(one) not in seen:
                seen.add(id(one))
                waiting += [*one.followers, *([one.within] if one.within is not None else [])]
        return False


#: Of a conversation: the flight it is about.
_within: ContextVar[Flight | None] = ContextVar("cfai_nb_flight", default=None)


class Flights:
    """All flights of an engine, by key."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}
        self._runs = 0
        # Keys whose answers went into the store while several runs were at it: the others looked there before.
        self.bought: set[bytes] = set()

    def join(self) -> None:
        """Note that a run begins."""
        self._runs += 1

    def leave(self) -> None:
        """Note that a run ended."""
        self._runs -= 1
        if not self._runs:
            self.bought.clear()

    def __len__(self) -> int:
        return len(self._by_key)

    def claim(self, keys: Sequence[bytes]) -> tuple[Flight, dict[bytes, Flight | None]]:
        """Take the keys that are not in flight yet; return them as a flight, and the flights of all others.

        None instead of a flight: it waits for this very call, so that following it would never end.
        """
        within = _within.get()
        mine = Flight(asyncio.get_running_loop().create_future(), within=within)
        others: dict[bytes, Flight | None] = {}
        for key in keys:
            other = self._by_key.setdefault(key, mine)
            if other is mine:
                mine.keys.append(key)
            elif within is not None and other.awaits(within):
                others[key] = None
            else:
                others[key], other.followed = other, True
                if within is not None:
                    other.followers.append(within)
        return mine, others

    def followed(self, flight: Flight) -> None:
        """Note that a key of this flight, which ``claim`` returned, is waited for no more."""
        if (within := _within.get()) is not None:
            flight.followers.remove(within)

    def land(self, flight: Flight) -> None:
        """End a flight: whoever follows it finds its cells."""
        for key in flight.keys:
            self._by_key.pop(key, None)
        if self._runs > 1 and flight.keys:
            self.bought.update(flight.cells)
        if not flight.followed:  # timers that were cancelled keep the context, and the flight in it, for a while
            flight.cells.clear()
        if not flight.landed.done():
            flight.landed.set_result(None)
