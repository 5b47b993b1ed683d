"""When a request is sent again, how long that waits, and when to give up: one policy for everything that is sent.

``Sender`` makes a ``Retry`` when a request fails first, passes in every failure, and gets the pause before the next
attempt; or the failure is raised.  Waiting for capacity or for the minute is bounded by time.  Repeating after faults
is bounded by attempts as well, which count only while the service answers other requests: an outage loses no row.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..errors import RateLimited, RowError, ServiceError

#: How often one request is sent while the service answers others: with full jitter up to 10 s that takes about 20 s,
#: and at one fault in twenty a row is lost once in 10**10.
ATTEMPTS = 8
#: How often a request about several rows is sent before it is halved: one of the rows may cause the failure.
IN_BATCH = 3
#: How often a row that is refused access is sent: twice, and more often where others are answered.
REFUSED, ALONE = 2, 4
#: Seconds that one row waits from its first refusal or fault on, and a run without any answer.
PATIENCE = 120.0
#: Seconds after which a closed minute of the service must have opened.
MINUTE = 61.0

#: What is waited for: a free place, the minute's limit, a failing service, access that is in doubt, the bills of
#: requests in flight (for the budget), or the batch queue.
Reason: TypeAlias = Literal["capacity", "minute", "outage", "access", "budget", "queue"]
_REASONS: dict[str, Reason] = {"wait": "capacity", "again": "outage", "stop": "access"}


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a run waits for.

    Attributes
    ----------
    reason : {"capacity", "minute", "outage", "access", "budget", "queue"}
    code : int, str or None
        The code of the refusal or fault.
    since : float
        When it began, in seconds since the run began.
    until : float or None
        When it ends: the row is given up, or the minute opens.  None: not bounded.
    """

    reason: Reason
    code: int | str | None
    since: float
    until: float | None


@dataclass(slots=True)
class Service:
    """What the service answered to one sender; it distinguishes a bad row from an outage.

    Attributes
    ----------
    answered : float or None
        When the last answer came (monotonic seconds).
    sent : float
        When the latest answered request was sent.
    """

    answered: float | None = None
    sent: float = -math.inf

    def note(self, sent: float, now: float) -> None:
        """Note an answer to the request that was sent at ``sent``."""
        self.answered, self.sent = now, max(sent, self.sent)


class Retry:
    """The attempts of one request.

    Parameters
    ----------
    service : Service
    patience : float
        Seconds.
    several : bool
        Whether it is about several rows.
    since : float or None
        When one of its rows was first refused, as a part of another request (monotonic seconds).

    Attributes
    ----------
    since : float or None
        When it was first refused.
    failures : int
    """

    def __init__(self, service: Service, patience: float, *, several: bool = False, since: float | None = None) -> None:
        self._service, self._patience, self._several = service, patience, several
        self.since = since
        self.failures = 0
        self._faults = self._stops = 0
        self._failed = self._stopped = -math.inf
        self._excused = 0.0
        self._most = patience
        self.last: RowError | None = None

    def excuse(self, seconds: float) -> None:
        """Exclude time in which it waited for its turn in the minute."""
        if self.since is not None:
            self._excused += seconds

    def pause(self, failure: RowError, now: float) -> float:
        """Return the seconds until it may be sent again.

        Raises
        ------
        RowError
            ``failure`` itself: it is permanent, or the request was sent often or long enough.
        """
        self.since = now if self.since is None else self.since
        self.failures += 1
        self.last = failure
        served = self._service.sent > self._failed or not self._faults or self._service.answered is None
        self._failed = now
        self._most = self._patience
        if isinstance(failure, RateLimited) and self._service.sent <= self.since:
            self._most = max(MINUTE, self._patience)  # without an answer yet, the minute may just be closed
        left = self.since + self._excused + self._most - now
        if failure.reaction == "again":
            self._faults += served or self._several
            enough = self._faults >= self._attempts(failure) or left <= 0
        elif failure.reaction == "stop":
            self._stopped = now if not self._stops else self._stopped
            self._stops += 1
            enough = self._stops >= (ALONE if self._service.sent > self._stopped else REFUSED)
        else:
            enough = failure.reaction != "wait" or left <= 0
        if enough:
            raise failure
        asked = failure.wait if isinstance(failure, ServiceError) else None
        # Full jitter, so that requests refused together do not return together.
        seconds = asked or random.uniform(0, min(10.0, 0.2 * 2.0 ** min(self.failures, 10)))
        return min(seconds, max(0.0, left) + 0.01)

    def _attempts(self, failure: RowError) -> int:
        if failure.code == "no connection":  # about no row; if nothing ever connected, the address is wrong
            return ATTEMPTS // 2 if self._service.answered is None else ATTEMPTS
        return IN_BATCH if self._several else ATTEMPTS

    def waiting(self, began: float) -> Waiting:
        """Return what it waits for; ``began`` is when the run did."""
        assert self.last is not None
        assert self.since is not None
        minute = isinstance(self.last, RateLimited)
        reason: Reason = "minute" if minute else _REASONS.get(self.last.reaction, "outage")
        return Waiting(reason, self.last.code, self.since - began, self.since + self._excused + self._most - began)
