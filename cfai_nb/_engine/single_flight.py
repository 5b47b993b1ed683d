"""Inputs in flight: a run that needs one of them waits for its answer instead of paying for it again.

``Runner`` claims the inputs of each request here before it sends them, and follows those that another run sends.  A
tool may start a run inside a conversation; a run that would then wait for itself is told so instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from ..tasks import Cells


@dataclass(slots=True, eq=False)
class Flight:
    """The inputs of one request, from its claim until its answer was read.

    Attributes
    ----------
    done : Future
    keys : list of bytes
    cells : dict of key to cells
        What was read; an input that is missing here failed, or was not sent.
    logs : dict of key to str
        The gateway's logs of what was read.
    outer : Flight or None
        The flight of the tool that began this run; it waits for this one.
    followers : list of Flight
        Flights of tools that began a run which waits for this one.
    followed : bool
        Whether another run takes its cells once it is done.
    """

    done: asyncio.Future[None]
    keys: list[bytes] = field(default_factory=list)
    cells: dict[bytes, Cells] = field(default_factory=dict)
    logs: dict[bytes, str] = field(default_factory=dict)
    outer: Flight | None = None
    followers: list[Flight] = field(default_factory=list)
    followed: bool = False

    def enter(self) -> None:
        """Make this the outer flight of everything begun in the current context."""
        _current.set(self)

    def waits_for(self, other: Flight) -> bool:
        """Whether this one cannot end before the other, through any number of tools and runs."""
        seen: set[int] = set()
        waiting = [other]
        while waiting:
            one = waiting.pop()
            if one is self:
                return True
            if id(one) not in seen:
                seen.add(id(one))
                waiting += [*one.followers, *([one.outer] if one.outer is not None else [])]
        return False


#: The flight of the conversation that the current context belongs to.
_current: ContextVar[Flight | None] = ContextVar("cfai_nb_flight", default=None)


class SingleFlight:
    """The flights of an engine, by key.

    Attributes
    ----------
    completed : set of bytes
        Keys whose answers went into the store while several runs were active: the other runs had looked there before.
    """

    def __init__(self) -> None:
        self._by_key: dict[bytes, Flight] = {}
        self._runs = 0
        self.completed: set[bytes] = set()

    def join(self) -> None:
        """Note that a run begins."""
        self._runs += 1

    def leave(self) -> None:
        """Note that a run ended."""
        self._runs -= 1
        if not self._runs:
            self.completed.clear()

    def __len__(self) -> int:
        return len(self._by_key)

    def claim(self, keys: Sequence[bytes]) -> tuple[Flight, dict[bytes, Flight | None]]:
        """Claim the keys that are not in flight yet; return their flight, and the flights of all other keys.

        A key with None instead of a flight waits for this very call, so that following it would never end.
        """
        outer = _current.get()
        mine = Flight(asyncio.get_running_loop().create_future(), outer=outer)
        others: dict[bytes, Flight | None] = {}
        for key in keys:
            other = self._by_key.setdefault(key, mine)
            if other is mine:
                mine.keys.append(key)
            elif outer is not None and other.waits_for(outer):
                others[key] = None
            else:
                others[key], other.followed = other, True
                if outer is not None:
                    other.followers.append(outer)
        return mine, others

    def unfollow(self, flight: Flight) -> None:
        """Note that a key of this flight, which ``claim`` returned, is no longer waited for."""
        if (outer := _current.get()) is not None:
            flight.followers.remove(outer)

    def complete(self, flight: Flight) -> None:
        """End a flight: the runs that follow it find its cells."""
        for key in flight.keys:
            self._by_key.pop(key, None)
        if self._runs > 1 and flight.keys:
            self.completed.update(flight.cells)
        if not flight.followed:  # cancelled timers keep the context, and the flight in it, for a while
            flight.cells.clear()
        if not flight.done.done():
            flight.done.set_result(None)
