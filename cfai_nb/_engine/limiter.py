"""When a request may leave: the places of a model, the turn in the minute, and the share of one run.

A ``Limiter`` is shared by all runs that use the same account and model.  ``RunSender`` calls ``enter`` before a request
leaves, which waits for a place (``concurrency``), a turn in the minute (``Rate``) and the share of its run (``Share``),
and ``end`` with its outcome.  Models that the service counts together share one ``Rate``; the catalogue or the user
gives it, or it is learned from refusals.

When a request is refused access or quota, which would concern every row, its run is in doubt: it sends one request at a
time.  An answer ends the doubt; refusals of other rows confirm it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .concurrency import START, Concurrency, ServerConcurrency

_MINUTE = 60.0
#: Our minute and the service's do not begin together, and requests take time to arrive: a little over a minute.
_WINDOW = _MINUTE + 0.4
#: Share of a minute's requests that may be used to probe whether a closed minute has opened again.
_PROBES = 0.05
_QUICK = (0.1, 0.3, 0.9)  # the first probes: a service that spreads its minute evenly answers one of these
_SILENT = 2.0  # a refusal comes at once: a probe that is not refused by then is being worked on
_FORGET = 10 * _WINDOW  # a learned limit is tried again after this long without a refusal
#: Seconds of an even flow that may be made up for: a busy machine sends late, and would lose what the service's bucket
#: gained meanwhile (a tenth of the rate at 100 ms a request and a loop 20 ms late).  Buckets of one second were seen.
_LATE = 0.25
#: The rows a request is about, by key.
Rows: TypeAlias = frozenset[bytes]
#: How a request ended: answered; refused for lack of capacity; refused for the minute's limit; anything else, which
#: shows nothing about either.
Outcome: TypeAlias = Literal["clean", "busy", "limited", "leave"]


class Rate:
    """Requests per minute; None: learn it.  The caller passes the time, so that tests simulate hours in a moment.

    With a given number, it never sends more than that in any minute.  Without one, it sends until the service refuses;
    what was accepted in the last minute is then the limit.  After a refusal all requests wait, except one probe at a
    time; the minute is expected to open when its oldest request is a minute old.  If a probe passes at once, the
    service spreads its minute evenly: requests then go out evenly, faster and faster, until the next refusal shows how
    many pass.
    """

    def __init__(self, per_minute: float | None) -> None:
        self.given = per_minute
        self.limit = per_minute  # or as learned
        self.mode: Literal["open", "closed", "even"] = "open"
        self._sent: collections.deque[float] = collections.deque()  # of the last minute, refused ones taken out
        self.asked = 0  # requests for which another process was asked for a place, and that have not left yet
        self._next = 0.0  # when the next may go, as far as spacing goes
        # With a given number, the first requests start gently (half a second in total): a service that spreads its
        # minute evenly then refuses after two or three of them, and not after all of a burst.
        self._gap = min(0.05, _MINUTE / per_minute / 2) if per_minute else 0.0
        self._settled = False  # even: the rate was measured, and grows slowly
        self._grown_at = 0.0
        self._early = False  # the minute opened well before ours did
        self._refused_at = self._expected = self._probe_at = 0.0
        self._probes = 0
        self._probing = False
        self._begun = 0.0  # when requests began to pass again after the last refusal

    def wait(self, now: float) -> float:
        """Seconds until a request may go; zero or less means now."""
        self._forget(now)
        if self.mode == "closed" and self._probing and now - self._probe_at > _SILENT:
            self._reopen(now)
        if self.mode == "closed":
            return 1.0 if self._probing else min(self._expected, self._probe_at) - now
        return self._next - now if self.mode == "even" else max(self._opens(now), self._next - now)

    def take(self, now: float) -> None:
        """Note that a request goes out."""
        if self.mode == "closed":
            self._probing, self._probe_at = True, now
        elif self.mode == "even":
            self._next = max(now - _LATE, self._next) + _MINUTE / (self.limit or _MINUTE)
        elif self._gap > 0.001:
            self._next = now + self._gap
            self._gap /= 1.1
        self._sent.append(now)

    def clean(self, sent: float, now: float) -> None:
        """Note that the request sent at ``sent`` was accepted."""
        if self.mode == "closed":
            if sent > self._refused_at:
                self._reopen(now)
            return
        if self.mode == "even" and self.limit:
            if not self._settled:
                self.limit = self._capped(self.limit * 1.3)
            elif now > self._grown_at + 1.0:
                self.limit, self._grown_at = self._capped(self.limit * 1.01), now
        elif self.given is None and self.limit and now > self._begun + _FORGET:
            self.limit, self._begun = None, now

    def void(self, sent: float, now: float) -> None:
        """Note that the request sent at ``sent`` showed nothing about the limit: a probe is repeated."""
        if self.mode == "closed" and self._probing and sent > self._refused_at:
            self._probing = False
            self._schedule(now)

    def refused(self, sent: float, now: float, wait: float | None = None) -> None:
        """Note that the request sent at ``sent`` was refused for the minute's limit, and the wait asked for, if any."""
        with contextlib.suppress(ValueError):
            self._sent.remove(sent)  # a refused request does not count
        self._forget(now)
        if self.mode == "closed":
            if self.given is None and sent <= self._refused_at and not self._settled:
                self.limit = float(max(1, len(self._sent)))  # it was in flight when the minute closed
            if sent > self._refused_at:
                self._probing = False
                self._schedule(now)
            return
        if sent < self._begun:
            return  # it went out before the last refusal was learned from
        self._learn(now)
        self.mode, self._refused_at, self._probes, self._probing = "closed", now, 0, False
        self._expected = max(now, (self._sent[0] if self._sent else now) + _WINDOW)
        self._schedule(now)
        if wait:
            self._probe_at = now + wait

    def used(self, now: float) -> tuple[int, float]:
        """Return how many requests the last minute had, and when the first of them left."""
        self._forget(now)
        return len(self._sent), self._sent[0] if self._sent else now

    def assume(self, used: int, oldest: float, now: float) -> None:
        """Take over the minute of another process, which had this many requests since ``oldest``."""
        if used > len(self._sent):
            step = (now - oldest) / used
            self._sent = collections.deque(oldest + step * at for at in range(used))

    def _learn(self, now: float) -> None:
        """Learn from a refusal that closes the minute."""
        # Requests that passed since the last refusal: a bucket was empty then and is empty now, so this is its flow.
        passed = sum(1 for sent in self._sent if sent > self._refused_at)
        if self.mode == "even" and self._settled:
            self.limit = max(1.0, (self.limit or 1.0) * 0.95)
        elif self.mode == "even" or (self._early and passed < 0.5 * (self.limit or 1.0)):
            even = 0.98 * passed / max(0.05, now - self._refused_at) * _MINUTE
            self.limit, self._settled = self._capped(max(1.0, even)), True
        elif self.given is None:
            self.limit = float(max(1, len(self._sent)))

    def _reopen(self, now: float) -> None:
        early = now < self._expected - 0.5
        self._begun, self._probing, self._early = now, False, early and now > self._refused_at + sum(_QUICK) + 0.5
        if self._settled or (early and not self._early):  # a probe passed at once: the minute is spread evenly
            if not self._settled:
                self.limit = self._capped(_MINUTE / max(0.02, now - self._refused_at))
            self.mode, self._next = "even", now + _MINUTE / (self.limit or _MINUTE)
            return
        self.mode = "open"
        if self._early:  # the service's minutes are its own; a new one has begun
            while len(self._sent) > 1:
                self._sent.popleft()

    def _schedule(self, now: float) -> None:
        gap = max(0.5, _MINUTE / max(1.0, _PROBES * (self.limit or 1.0)))
        self._probe_at = now + (_QUICK[self._probes] if self._probes < len(_QUICK) else gap)
        self._probes += 1

    def _capped(self, limit: float) -> float:
        # At exactly the given rate, every delayed request would meet a bucket that is just empty.
        return limit if self.given is None else min(limit, 0.985 * self.given)

    def _opens(self, now: float) -> float:
        """Seconds until the minute has room, counting what was sent in the last one."""
        if self.limit is None or (over := len(self._sent) + self.asked - int(self.limit)) < 0:
            return 0.0
        return self._sent[over] + _WINDOW - now if over < len(self._sent) else _MINUTE

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0] <= now - _WINDOW:
            self._sent.popleft()


class Witnesses:
    """Counts requests about different rows that ended in the same way, with no answer in between."""

    def __init__(self) -> None:
        self._rows: list[Rows] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows) -> bool:
        """Count a request, if it can be.  Part of a counted one replaces it; one that only overlaps is not counted."""
        met = [at for at, others in enumerate(self._rows) if others & rows]
        if not met:
            self._rows.append(rows)
        elif rows <= self._rows[met[0]]:
            self._rows[met[0]] = rows
        return not met

    def clear(self) -> list[Rows]:
        """Forget all of them, and return them."""
        rows, self._rows = self._rows, []
        return rows


class Share:
    """The requests of one run that may be in flight at once; None: as many as the model has places."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._in_use = 0
        self._witnesses = Witnesses()
        self._doubted = self._last = 0.0  # when the first refusal and the last counted one came
        self._asking = False  # in doubt: a request sent since then is in flight
        self._alone: set[bytes] = set()  # rows that are refused while others are answered

    @property
    def room(self) -> float:
        """How many requests may be sent at once now."""
        if self._witnesses:
            return float(not self._asking)
        return math.inf if self._most is None else self._most - self._in_use

    def take(self) -> None:
        """Note that a request is sent."""
        self._in_use += 1
        self._asking = bool(self._witnesses)

    def leave(self, sent: float) -> None:
        """Note that the request sent at ``sent`` has ended."""
        self._in_use -= 1
        if self._witnesses and sent >= self._doubted:
            self._asking = False

    def refused(self, rows: Collection[bytes], sent: float, now: float, *, needed: int) -> bool:
        """Note a refusal that would end the run; return whether `needed` requests about different rows confirm it."""
        rows = frozenset(rows)
        if rows <= self._alone:
            return False
        if not self._witnesses:
            self._doubted = now
        elif sent <= self._last:  # already in flight at the previous refusal, so it confirms nothing
            return False
        if self._witnesses.add(rows):
            self._last = now
        return len(self._witnesses) >= needed

    def answered(self, sent: float) -> None:
        """Note that the request sent at ``sent`` was answered."""
        if self._witnesses and sent > self._doubted:
            self._asking = False
            for rows in self._witnesses.clear():
                self._alone |= rows if len(rows) == 1 else frozenset()


@dataclass(slots=True, eq=False)
class _Waiter:
    """A request that waits for its turn."""

    turn: asyncio.Future[float]
    share: Share | None


class Limiter:
    """Gives requests places and turns in the minute of one account and model, in order.

    ``server``: an OpenAI-compatible server has the model, which lets requests wait rather than refuse them.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic, *, server: bool = False) -> None:
        self.rate = rate
        start = START if rate.given is None else int(min(START, max(4.0, rate.given / 60)))
        self.concurrency = ServerConcurrency() if server else Concurrency(start)
        self._clock = clock
        self._again: collections.deque[_Waiter] = collections.deque()  # refused before, so they come first
        self._waiting: collections.deque[_Waiter] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held = 0.0
        self._held_since: float | None = None
        self._opens = 0.0

    async def enter(self, *, first: bool = False, share: Share | None = None) -> float:
        """Wait for a place and for room in the minute; return the time at which the request goes out.

        ``first``: before all requests that have not been refused, since a refused request keeps its turn.  ``share`` is
        that of its run, which may have to wait while others go on; it is passed to ``end`` as well.
        """
        if (now := self._at_once(share)) is not None:
            return now
        waiter = _Waiter(asyncio.get_running_loop().create_future(), share)
        (self._again if first else self._waiting).append(waiter)
        self._serve()
        try:
            return waiter.turn.result() if waiter.turn.done() else await waiter.turn
        except asyncio.CancelledError:
            for line in (self._again, self._waiting):
                with contextlib.suppress(ValueError):
                    line.remove(waiter)
            if waiter.turn.done() and not waiter.turn.cancelled():
                self.end(waiter.turn.result(), "leave", share)  # a place was given that is not needed now
            raise

    def _at_once(self, share: Share | None) -> float | None:
        """Let a request out where nothing else waits, without a future; None where it has to wait."""
        if not (self._again or self._waiting) and self.concurrency.free and (share is None or share.room >= 1):
            now = self._clock()
            if self.rate.wait(now) <= 0:
                self._hold(False, now)
                self._take(now, share)
                return now
        return None

    def end(self, sent: float, outcome: Outcome, share: Share | None = None, wait: float | None = None) -> None:
        """Free the place of the request that went out at ``sent``, and learn from its outcome.

        ``wait``: the seconds that the service asked to wait, where it refused the request for the minute's limit.
        """
        now = self._clock()
        if outcome == "clean":
            self.concurrency.clean(now)
            self.rate.clean(sent, now)
        elif outcome == "limited":
            self.rate.refused(sent, now, wait)
        else:
            if outcome == "busy":
                self.concurrency.refused()
            self.rate.void(sent, now)
        self._free(sent, share)

    def _free(self, sent: float, share: Share | None) -> None:
        self.concurrency.in_use -= 1
        if share is not None:
            share.leave(sent)
        self._serve()

    def held(self, now: float) -> float:
        """Total seconds for which requests waited for their turn in the minute, without a refusal."""
        return self._held + (0.0 if self._held_since is None else now - self._held_since)

    @property
    def turn(self) -> tuple[float, float] | None:
        """Since when requests wait for their turn in the minute, and when the next turn comes; None: none waits."""
        return None if self._held_since is None else (self._held_since, self._opens)

    def _hold(self, held: bool, now: float) -> None:
        if held and self._held_since is None:
            self._held_since = now
        elif not held and self._held_since is not None:
            self._held, self._held_since = self._held + now - self._held_since, None

    def _next(self) -> tuple[collections.deque[_Waiter], _Waiter] | None:
        for line in (self._again, self._waiting):
            for waiter in line:
                if waiter.share is None or waiter.share.room >= 1:
                    return line, waiter
        return None

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif not (self._again or self._waiting) and self._held_since is None:
            return
        now, held = self._clock(), False
        while self.concurrency.free and (found := self._next()) is not None:
            now = self._clock()
            wait = self.rate.wait(now)
            if wait > 0:
                held, self._opens = self.rate.mode != "closed", now + wait
                # At most a second: another limiter may share the rate and change it meanwhile.
                self._timer = asyncio.get_running_loop().call_later(min(wait, 1.0), self._serve)
                break
            line, waiter = found
            line.remove(waiter)
            if not waiter.turn.done():
                self._take(now, waiter.share)
                waiter.turn.set_result(now)
        self._hold(held, now)

    def _take(self, now: float, share: Share | None) -> None:
        self.concurrency.in_use += 1
        if share is not None:
            share.take()
        self.rate.take(now)
