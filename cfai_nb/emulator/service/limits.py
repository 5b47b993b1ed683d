"""Limits: requests per minute, counted in the three ways a service may count, the Neurons of a day, and their meter.

``app`` checks the first two before each call, charges the day after it, and serves the meter at ``/graphql``: the
Neurons of the whole account by model and time, as observed of the analytics of the service.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from threading import Lock
from typing import Any, Literal

Clock = Callable[[], float]
WindowKind = Literal["sliding", "fixed", "bucket"]

_DAY = 86_400.0


class _RateWindow:
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
        if any(each < 1 for each in (rate.values() if isinstance(rate, Mapping) else [rate]) if isinstance(each, int)):
            raise ValueError(f"rate={rate!r}: give at least one request per minute, or None for no limit")
        self.rate = rate
        self._window = (kind, period, clock, burst)
        self._windows: dict[Hashable, _RateWindow] = {}
        self._lock = Lock()
        _RateWindow(1, *self._window)  # raises the error of a wrong kind now and not at the first request

    def admit(self, account: str, model: str, published: int | None) -> bool:
        """Count one request of an account for a model."""
        named = self.rate.get(model) if isinstance(self.rate, Mapping) else self.rate
        limit = published if isinstance(named, str) else named
        if limit is None:
            return True
        with self._lock:
            if (account, model) not in self._windows:
                self._windows[account, model] = _RateWindow(limit, *self._window)
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


@dataclass(frozen=True, slots=True)
class _Metered:
    """One call as the meter shows it, once `seen` has come by the emulator's clock."""

    account: str
    model: str
    at: datetime
    seen: float
    neurons: float
    tokens: tuple[float, float]


class UsageMeter:
    """The analytics of Workers AI: it answers GraphQL with the sums of an account's calls.

    A call is shown after `lag` seconds by the clock. `elsewhere` is what other programs spent today, on every account:
    Neurons, or model -> Neurons. If tokens may not read it (not `readable`), the answer is an error, with status 200.
    """

    _GROUPS = "aiInferenceAdaptiveGroups"
    _SUMS = ("totalNeurons", "totalInputTokens", "totalOutputTokens", "totalInferenceTimeMs", "totalInferenceSteps")

    def __init__(self, lag: float, elsewhere: float | Mapping[str, float], readable: bool, clock: Clock) -> None:
        self.lag, self.elsewhere, self.readable, self._clock = lag, elsewhere, readable, clock
        self.reads = 0
        self._lock, self._calls = Lock(), list[_Metered]()

    def note(self, account: str, model: str, neurons: float, usage: Mapping[str, float]) -> None:
        """Note a call that was charged."""
        tokens = usage.get("input_tokens", 0.0) + usage.get("cached_input_tokens", 0.0), usage.get("output_tokens", 0.0)
        call = _Metered(account, model, datetime.now(UTC), self._clock() + self.lag, neurons, tokens)
        with self._lock:
            self._calls.append(call)

    def answer(self, body: Any) -> dict[str, Any]:
        """Return the answer to a query, or the errors of one that is not understood or not allowed."""
        self.reads += 1
        query = body.get("query") if isinstance(body, dict) else None
        if not isinstance(query, str) or self._GROUPS not in query:
            return _graphql_error(f"emulator: only {self._GROUPS} is emulated")
        variables = body.get("variables")
        given = variables if isinstance(variables, dict) else {}
        account = str(_argument(query, "accountTag", given) or "")
        if not self.readable or not account:
            return _graphql_error("not authorized for that account")
        try:
            start, end = (_moment(_argument(query, name, given)) for name in ("datetime_geq", "datetime_lt"))
            limit = int(_argument(query, "limit", given) or 1)
        except (ValueError, TypeError, OverflowError) as error:
            return _graphql_error(str(error))
        named = re.search(r"dimensions\s*\{([^}]*)\}", query)
        dimensions, summed = named[1].split() if named else [], re.search(r"sum\s*\{([^}]*)\}", query)
        unknown = {*(summed[1].split() if summed else ())} - {*self._SUMS} | {*dimensions} - {"modelId", "date"}
        if unknown:
            return _graphql_error(f"unknown field {', '.join(sorted(unknown))}")
        rows = self._rows(account.casefold(), start, end, dimensions)
        return {"data": {"viewer": {"accounts": [{self._GROUPS: rows[:limit]}]}}, "errors": None}

    def _rows(self, account: str, start: datetime, end: datetime, dimensions: list[str]) -> list[dict[str, Any]]:
        today, now = datetime.combine(datetime.now(UTC).date(), time(), UTC), self._clock()
        other = self.elsewhere if isinstance(self.elsewhere, Mapping) else {"@cf/meta/other-program": self.elsewhere}
        others = [_Metered(account, model, today, now, amount, (0.0, 0.0)) for model, amount in other.items() if amount]
        groups: dict[tuple[str, ...], list[_Metered]] = {}
        with self._lock:
            calls = [*others, *self._calls]
        for call in calls:
            if call.account == account and call.seen <= now and start <= call.at < end:
                own = {"modelId": call.model, "date": call.at.date().isoformat()}
                groups.setdefault(tuple(own[name] for name in dimensions), []).append(call)
        return [_group(dict(zip(dimensions, key, strict=True)), group) for key, group in groups.items()]


def _group(dimensions: Mapping[str, str], calls: list[_Metered]) -> dict[str, Any]:
    read, written = (sum(call.tokens[at] for call in calls) for at in (0, 1))
    sums = {"totalNeurons": sum(call.neurons for call in calls), "totalInputTokens": int(read)}
    more = {"totalOutputTokens": int(written), "totalInferenceTimeMs": 0.0, "totalInferenceSteps": 0}
    return {"count": len(calls), "sum": {**sums, **more}, **({"dimensions": dict(dimensions)} if dimensions else {})}


def _argument(query: str, name: str, given: Mapping[str, Any]) -> Any:
    """Return an argument of the query, written in it or given as a variable."""
    found = re.search(rf"\b{name}\s*:\s*(?:\$(\w+)|\"([^\"]*)\"|(\d+))", query)
    return None if found is None else given.get(found[1]) if found[1] else found[2] or found[3]


def _moment(text: Any) -> datetime:
    if not isinstance(text, str):
        raise ValueError("filter needs datetime_geq and datetime_lt")
    found = datetime.fromisoformat(text) if "T" in text else datetime.combine(date.fromisoformat(text), time())
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _graphql_error(message: str) -> dict[str, Any]:
    return {"data": None, "errors": [{"message": message, "path": ["viewer", "accounts", 0], "extensions": {}}]}
