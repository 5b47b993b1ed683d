"""How fast: requests at once, requests a minute, and a pause for all when the account is refused.

A ``Pace`` is shared by every run that uses the same account and model.  Before a request goes out it needs a place
(``Concurrency``) and room in the minute (``Rate``); afterwards both are told what came of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable

from .rate import Rate

#: Requests at once to begin with (but no more than a second's worth of a known rate), and the most that "auto" grows
#: to.  At 64 in flight the documented rates (300 a minute for text, 3,000 for embeddings) are reached at latencies of
#: 12 s and 1.3 s.
START, MOST = 24, 64


class Concurrency:
    """How many requests may be under way: grows while answers are clean and places are used, cut on a refusal.

    A refused request tells how many the service does hold: as many as are still under way.  So the limit falls to
    that, request by request, and stays there for a cool-down; then one more place is tried, and when that is refused
    at once the next cool-down is twice as long.
    """

    def __init__(self, start: int = START) -> None:
        self.limit = float(start)
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
            self.limit += 1
        elif self._clean >= self._patience * self.limit:
            self.limit += max(1.0, self.limit // 10)
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
        self._waiting: collections.deque[asyncio.Future[float]] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, *, first: bool = False) -> float:
        """Wait for a place and for room in the minute; return the time at which the request goes out.

        Parameters
        ----------
        first : bool
            Before all who wait already: a request that was refused keeps its turn.
        """
        now = self._clock()
        if not self._waiting and self.concurrency.free and self.rate.wait(now) <= 0:
            return self._take(now)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if first:
            self._waiting.appendleft(future)
        else:
            self._waiting.append(future)
        self._hand_out()
        try:
            return await future
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):
                self._waiting.remove(future)
            if future.done() and not future.cancelled():
                self.leave(future.result())  # the place came and nobody is there to take it
            raise

    def leave(self, sent: float) -> None:
        """Give the place of the request that went out at ``sent`` back, without a lesson."""
        self.rate.void(sent, self._clock())
        self._free()

    def _free(self) -> None:
        self.concurrency.in_use -= 1
        self._hand_out()

    def clean(self, sent: float) -> None:
        """The request that went out at ``sent`` was answered: give its place back."""
        self.concurrency.clean()
        self.rate.clean(sent, self._clock())
        self._free()

    def busy(self, sent: float) -> None:
        """The request was refused for want of capacity: fewer at once from now on."""
        self.concurrency.refused()
        self.leave(sent)

    def limited(self, sent: float, wait: float | None = None) -> None:
        """The request was refused for the minute's limit: everybody waits."""
        self.rate.refused(sent, self._clock(), wait)
        self._free()

    def _take(self, now: float) -> float:
        self.concurrency.in_use += 1
        self.rate.take(now)
        return now

    def _hand_out(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self.concurrency.free:
            now = self._clock()
            wait = self.rate.wait(now)
            if wait > 0:
                # Never longer than a second: another pace may share the rate and change it meanwhile.
                self._timer = asyncio.get_running_loop().call_later(min(wait, 1.0), self._hand_out)
                return
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(self._take(now))
