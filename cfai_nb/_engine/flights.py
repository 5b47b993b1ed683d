"""Inputs under way: who else needs one of them waits for it instead of paying for it again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
    """

    landed: asyncio.Future[None]
    keys: list[bytes] = field(default_factory=list)
    cells: dict[bytes, Cells] = field(default_factory=dict)
    logs: dict[bytes, str] = field(default_factory=dict)


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

    def claim(self, keys: Sequence[bytes]) -> tuple[Flight, dict[bytes, Flight]]:
        """Take the keys nobody else is asking for; return them as a flight, and the flights of all others."""
        mine = Flight(asyncio.get_running_loop().create_future())
        others: dict[bytes, Flight] = {}
        for key in keys:
            other = self._by_key.setdefault(key, mine)
            if other is mine:
                mine.keys.append(key)
            else:
                others[key] = other
        return mine, others

    def land(self, flight: Flight) -> None:
        """End a flight: whoever follows it finds its cells."""
        for key in flight.keys:
            self._by_key.pop(key, None)
        if self._runs > 1 and flight.keys:
            self.bought.update(flight.cells)
        if not flight.landed.done():
            flight.landed.set_result(None)
