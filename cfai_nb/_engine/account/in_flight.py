"""Inputs in flight: a run that needs an input that another run sends waits for that answer instead of paying again.

``Runner`` claims the inputs of each request before it sends them.  A tool may start a run inside a conversation; a
claim that would make such a run wait for itself is marked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from ...tasks import Cells

#: The inputs in flight of the conversation that the current context belongs to.
_current: ContextVar[InFlight | None] = ContextVar("cfai_nb_in_flight", default=None)


@dataclass(slots=True, eq=False)
class InFlight:
    """The inputs of one request, from its claim until its answer was read."""

    done: asyncio.Future[None]
    keys: list[bytes] = field(default_factory=list)
    cells: dict[bytes, Cells] = field(default_factory=dict)  # what was read; a missing input failed, or was not sent
    logs: dict[bytes, str] = field(default_factory=dict)  # the gateway's
    outer: InFlight | None = None  # of the tool that began this run; it waits for this one
    followers: list[InFlight] = field(default_factory=list)  # of tools that began a run which waits for this one
    followed: bool = False  # another run takes its cells once it is done
    elsewhere: bool = False  # of another process: its answers are in the store once it is done, and never here

    def enter(self) -> None:
        """Make this the outer one of everything begun in the current context."""
        _current.set(self)

    def unfollow(self) -> None:
        """Note that the current run no longer waits for one of these keys."""
        if (outer := _current.get()) is not None:
            self.followers.remove(outer)

    def waits_for(self, other: InFlight) -> bool:
        """Whether these cannot end before the other, through any number of tools and runs."""
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


class Claim(NamedTuple):
    """What a run may send, and what it waits for."""

    in_flight: InFlight  # the keys that this run may send
    others: dict[bytes, InFlight | None]  # keys of another run; None: it waits for this call, and would wait for ever
    stored: list[bytes]  # keys of answers that were stored after this run had looked


class InputsInFlight:
    """The inputs in flight, by key, and the runs that may want them."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, InFlight] = {}
        self.runs = 0
        #: Keys of answers that were stored while several runs were active: the others had looked before.
        self.completed: set[bytes] = set()

    def join(self) -> None:
        """Note that a run begins."""
        self.runs += 1

    def leave(self) -> None:
        """Note that a run ended."""
        self.runs -= 1
        if not self.runs:
            self.completed.clear()

    def claim(self, keys: Sequence[bytes], *, stored: bool) -> Claim:
        """Claim the keys that are not in flight yet.

        ``stored``: the run takes answers from the store, so that keys which were stored meanwhile are not claimed.
        """
        outer = _current.get()
        mine = InFlight(asyncio.get_running_loop().create_future(), outer=outer)
        others: dict[bytes, InFlight | None] = {}
        late = [key for key in keys if key in self.completed] if stored and self.completed else []
        for key in keys if not late else [key for key in keys if key not in self.completed]:
            other = self.by_key.setdefault(key, mine)
            if other is mine:
                mine.keys.append(key)
            elif outer is not None and other.waits_for(outer):
                others[key] = None
            else:
                others[key], other.followed = other, True
                if outer is not None:
                    other.followers.append(outer)
        return Claim(mine, others, late)

    def complete(self, in_flight: InFlight, *, stored: Sequence[bytes] = ()) -> None:
        """End inputs in flight: runs that follow find the cells.  ``stored``: keys that another process has stored."""
        for key in in_flight.keys:
            if self.by_key.get(key) is in_flight:
                del self.by_key[key]
        if self.runs > 1 and in_flight.keys:
            self.completed.update(in_flight.cells or stored)
        if not in_flight.followed:  # cancelled timers keep the context, and this in it, for a while
            in_flight.cells.clear()
        if not in_flight.done.done():
            in_flight.done.set_result(None)
