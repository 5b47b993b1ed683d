"""How many requests fit into a minute: given by the catalogue or the user, or learned from refusals.

``concurrency.Limiter`` asks a ``Rate`` when the next request may leave, and reports what became of each one.  Models
that the service counts together share one ``Rate``.  The caller passes the time, so tests simulate hours in a moment.
"""

from __future__ import annotations

import collections
import contextlib
from typing import Literal

_MINUTE = 60.0
#: Our minute and the service's do not begin together, and requests take time to arrive: a little over a minute.
_WINDOW = _MINUTE + 0.4
#: Share of a minute's requests that may be used to probe whether a closed minute has opened again.
_PROBES = 0.05
_QUICK = (0.1, 0.3, 0.9)  # the first probes: a service that hands its minute out evenly answers one of these
_SILENT = 2.0  # a refusal comes at once: a probe that is not refused by then is being worked on
_FORGET = 10 * _WINDOW  # a learned limit is tried again after this long without a refusal
#: Seconds of an even flow that may be made up for: a busy machine sends late, and would lose what the service's bucket
#: gained meanwhile (a tenth of the rate at 100 ms a request and a loop 20 ms late).  Buckets of one second were seen.
_LATE = 0.25


class Rate:
    """Requests per minute.  Pure: the caller passes the time.

    With a given number, it never sends more than that in any minute.  Without one, it sends until the service refuses;
    what was accepted in the last minute is then the limit.  After a refusal all requests wait, except one probe at a
    time; the minute is expected to open when its oldest request is a minute old.  If a probe passes at once, the
    service spreads its minute evenly: requests then go out evenly, faster and faster, until the next refusal shows how
    many pass.

    Parameters
    ----------
    per_minute : float or None
        None: learn it.

    Attributes
    ----------
    limit : float or None
        Requests per minute, as given or as learned.
    mode : {"open", "closed", "even"}
    """

    def __init__(self, per_minute: float | None) -> None:
        self.given = per_minute
        self.limit = per_minute
        self.mode: Literal["open", "closed", "even"] = "open"
        self._sent: collections.deque[float] = collections.deque()  # of the last minute, refused ones taken out
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
        """Note that the request sent at ``sent`` was refused for the minute's limit.

        Parameters
        ----------
        wait : float or None
            Seconds the service asked for, if it did.
        """
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

    def _learn(self, now: float) -> None:
        """Learn from a refusal that closes the minute."""
        # What passed since the last refusal: a bucket was empty then and is empty now, so this is its flow.
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
        if self.limit is None or len(self._sent) < int(self.limit):
            return 0.0
        return self._sent[len(self._sent) - int(self.limit)] + _WINDOW - now

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0] <= now - _WINDOW:
            self._sent.popleft()
