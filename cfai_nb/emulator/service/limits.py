"""Limits: requests per minute, counted in the three ways a service may count, and the Neurons of a day.

``app`` asks both before each call and charges the day after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Literal

Clock = Callable[[], float]
WindowKind = Literal["sliding", "fixed", "bucket"]

_DAY = 86_400.0


class RateWindow:
    """Admits at most `rate` requests a period of seconds. A refused request is not counted.

    "sliding" counts the last period before each request, "fixed" periods from the first request on, and "bucket"
    refills evenly, with room for `burst`.
    """

    def __init__(self, rate: int, kind: WindowKind, period: float, clock: Clock, burst: int | None = None) -> None:
        if kind not in ("sliding", "fixed", "bucket"):
            raise ValueError(f"window must be 'sliding', 'fixed' or 'bucket', not {kind!r}")
        self.rate, self.kind, self.period, self.clock = rate, kind, period, clock
        self.burst = float(rate if burst is None else burst)
        self._lock = Lock()
        self._times: deque[float] = deque()
        self._start = self._seen = clock()
        self._index, self._level = 0, self.burst

    def admit(self) -> bool:
        """Count one request and return whether it may pass."""
        with self._lock:
            now = self.clock()
            if self.kind == "bucket":
                return self._bucket(now)
            if self.kind == "fixed" and (index := int((now - self._start) // self.period)) != self._index:
                self._index = index
                self._times.clear()
            while self.kind == "sliding" and self._times and self._times[0] <= now - self.period:
                self._times.popleft()
            if len(self._times) >= self.rate:
                return False
            self._times.append(now)
            return True

    def _bucket(self, now: float) -> bool:
        self._level = min(self.burst, self._level + (now - self._seen) * self.rate / self.period)
        self._seen = now
        if self._level < 1.0 - 1e-9:
            return False
        self._level -= 1.0
        return True


Rate = Literal["catalogue"] | int | Mapping[str, int] | None


class RateLimits:
    """One window per account and model, made at the first request.

    `rate` is the published one ("catalogue"), one for every model, one for each model named, or ``None`` for no limit.
    """

    def __init__(self, rate: Rate, kind: WindowKind, period: float, clock: Clock, burst: int | None) -> None:
        if isinstance(rate, str) and rate != "catalogue":
            raise ValueError(f"rate must be 'catalogue', None, a number per minute or a mapping, not {rate!r}")
        self.rate = rate
        self._window = (kind, period, clock, burst)
        self._windows: dict[Hashable, RateWindow] = {}
        self._lock = Lock()
        RateWindow(1, *self._window)  # so that a wrong kind is an error now, not at the first request

    def admit(self, account: str, model: str, published: int | None) -> bool:
        """Count one request of an account for a model."""
        named = self.rate.get(model) if isinstance(self.rate, Mapping) else self.rate
        limit = published if isinstance(named, str) else named
        if limit is None:
            return True
        with self._lock:
            if (account, model) not in self._windows:
                self._windows[account, model] = RateWindow(limit, *self._window)
        return self._windows[account, model].admit()


class DailyQuota:
    """The Neurons of a day. Calls in flight when they are spent are still answered and charged."""

    def __init__(self, allowed: float | None, clock: Clock) -> None:
        self.allowed, self._clock = allowed, clock
        self._start, self._index, self.spent = clock(), 0, 0.0
        self._lock = Lock()

    def open(self) -> bool:
        """Return whether Neurons are left; a new day starts every 86,400 s of the clock."""
        with self._lock:
            self._turn()
            return self.allowed is None or self.spent < self.allowed

    def spend(self, neurons: float) -> None:
        """Charge Neurons to the day."""
        with self._lock:
            self._turn()
            self.spent += neurons

    def _turn(self) -> None:
        index = int((self._clock() - self._start) // _DAY)
        if index != self._index:
            self._index, self.spent = index, 0.0
