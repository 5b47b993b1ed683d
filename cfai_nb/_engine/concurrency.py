"""How fast: requests at once, requests a minute, and a pause for all when the account is refused.

A ``Pace`` is shared by every run that uses the same account and model: what it allows is for all of them together.
Before a request goes out it needs a place (``Concurrency``), room in the minute (``Rate``) and its run's leave
(``Share``); afterwards the outcome is reported to them.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from .rate_limit import Rate
from .run_share import Share

#: Requests at once to begin with (but no more than a second's worth of a known rate), and the most there are unless a
#: call asks for more.  At 64 in flight the documented rates (300 a minute for text, 3,000 for embeddings) are reached
#: at latencies of 12 s and 1.3 s.
START, MOST = 24, 64


class Concurrency:
    """How many requests may be under way: grows while answers are clean and places are used, cut on a refusal.

    A refused request tells how many the service does hold: as many as are still under way.  So the limit falls to
    that, request by request, and stays there for a cool-down; then one more place is tried, and when that is refused
    at once the next cool-down is twice as long.

    Attributes
    ----------
    limit : float
        Requests at once at the moment.
    most : int
        What it grows to.
    in_use : int
        Requests in flight.
    """

    def __init__(self, start: int = START) -> None:
        self.limit = float(start)
        self.most = MOST
        self.in_use = 0
        self._refused = False  # from the first refusal on: no more doubling
        self._patience = 1  # rounds of clean answers before the next growth
        self._clean = 0
        self._grown = 0  # growths since the last refusal

    @property
    def free(self) -> bool:
        """Whether a place is free."""
        return self.in_use < int(self.limit)

    def clean(self) -> None:
        """Note an answer; ``in_use`` still counts its place."""
        if self.in_use < int(self.limit):
            return  # not all places are used: more of them would change nothing
        self._clean += 1
        if not self._refused:
            self.limit = min(self.limit + 1, max(self.most, self.limit))
        elif self._clean >= self._patience * self.limit and self.limit < self.most:
            self.limit = min(self.limit + max(1.0, self.limit // 10), float(self.most))
            self._clean = 0
            self._grown += 1
            if self._grown > 1:
                self._patience = 1  # two growths in a row were borne: the service has more room than it had

    def refused(self) -> None:
        """Note a refusal for want of capacity; ``in_use`` still counts its place."""
        if self._grown == 1:
            self._patience = min(32, self._patience * 2)  # the place just tried was one too many
        self._refused = True
        self.limit = float(max(1, min(int(self.limit), self.in_use) - 1))
        self._clean = self._grown = 0


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits for its turn."""

    turn: asyncio.Future[float]
    share: Share | None


class Pace:
    """Places and room in the minute for one account and model, handed out in order.

    Parameters
    ----------
    rate : Rate
        Shared by all models whose requests the service counts together.
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.concurrency = Concurrency(START if rate.told is None else int(min(START, max(4.0, rate.told / 60))))
        self._clock = clock
        self._again: collections.deque[_Waiter] = collections.deque()  # refused before: they keep their turn
        self._waiting: collections.deque[_Waiter] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0.0
        self._held_since: float | None = None
        self._opens = 0.0

    async def enter(self, *, first: bool = False, share: Share | None = None) -> float:
        """Wait for a place and for room in the minute; return the time at which the request goes out.

        Parameters
        ----------
        first : bool
            Before all who have not been refused: a request that was keeps its turn.
        share : Share, optional
            Of its run, which may have to wait while others go on; to be named again when the place is given back.
        """
        waiter = _Waiter(asyncio.get_running_loop().create_future(), share)
        (self._again if first else self._waiting).append(waiter)
        self._hand_out()
        try:
            return waiter.turn.result() if waiter.turn.done() else await waiter.turn
        except asyncio.CancelledError:
            for line in (self._again, self._waiting):
                with contextlib.suppress(ValueError):
                    line.remove(waiter)
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.leave(waiter.turn.result(), share)  # the place was given and is not needed any more
            raise

    def leave(self, sent: float, share: Share | None = None) -> None:
        """Give the place of the request that went out at ``sent`` back, without a lesson."""
        self.rate.void(sent, self._clock())
        self._free(sent, share)

    def _free(self, sent: float, share: Share | None) -> None:
        self.concurrency.in_use -= 1
        if share is not None:
            share.leave(sent)
        self._hand_out()

    def clean(self, sent: float, share: Share | None = None) -> None:
        """The request that went out at ``sent`` was answered: give its place back."""
        self.concurrency.clean()
        self.rate.clean(sent, self._clock())
        self._free(sent, share)

    def busy(self, sent: float, share: Share | None = None) -> None:
        """The request was refused for want of capacity: fewer at once from now on."""
        self.concurrency.refused()
        self.leave(sent, share)

    def limited(self, sent: float, wait: float | None = None, share: Share | None = None) -> None:
        """The request was refused for the minute's limit: everybody waits."""
        self.rate.refused(sent, self._clock(), wait)
        self._free(sent, share)

    # -- waiting for the minute ----------------------------------------------------------------------------------

    def held(self, now: float) -> float:
        """Seconds in which requests waited for their turn in a minute that was not refused, all in all."""
        return self._held + (0.0 if self._held_since is None else now - self._held_since)

    @property
    def turn(self) -> tuple[float, float] | None:
        """Since when requests wait for their turn in the minute, and when the next one has it; None: they do not."""
        return None if self._held_since is None else (self._held_since, self._opens)

    def _hold(self, held: bool, now: float) -> None:
        if held and self._held_since is None:
            self._held_since = now
        elif not held and self._held_since is not None:
            self._held, self._held_since = self._held + now - self._held_since, None

    # -- the order of turns ----------------------------------------------------------------------------------------

    def _next(self) -> tuple[collections.deque[_Waiter], _Waiter] | None:
        for line in (self._again, self._waiting):
            for waiter in line:
                if waiter.share is None or waiter.share.free:
                    return line, waiter
        return None

    def _hand_out(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, held = self._clock(), False
        while self.concurrency.free and (found := self._next()) is not None:
            now = self._clock()
            wait = self.rate.wait(now)
            if wait > 0:
                held, self._opens = self.rate.mode != "closed", now + wait
                # Never longer than a second: another pace may share the rate and change it meanwhile.
                self._timer = asyncio.get_running_loop().call_later(min(wait, 1.0), self._hand_out)
                break
            line, waiter = found
            line.remove(waiter)
            if not waiter.turn.done():
                self.concurrency.in_use += 1
                if waiter.share is not None:
                    waiter.share.take()
                self.rate.take(now)
                waiter.turn.set_result(now)
        self._hold(held, now)
