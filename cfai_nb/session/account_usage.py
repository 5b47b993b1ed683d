"""The account's own meter: the Neurons that all programs together used today, from the service's GraphQL analytics.

``Session`` asks it for ``budget="free"``, ``connect(usage=True)``, ``cf.ledger(account=True)`` and the doctor.  A query
returns rows of model, day and Neurons.  Our own ledger holds only what this computer spent, so the difference is the
use of other programs.  The meter lags a minute or two behind: at each reading the larger of the two counts, and the use
of others is the largest difference that was seen today.

The route, its fields and its lag are known only from a dozen public programs (October and November 2026).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .._engine.bridge import bridge
from .._engine.stopping import in_thread
from .._engine.wire import Wire
from ..errors import AccessError, AnswerError, CfaiError, CfaiWarning
from ..models import FREE_NEURONS_PER_DAY
from ..models.ledger import Budget, midnight
from ..tasks import Json, Request
from ..tasks.dialects import values
from .endpoint import Endpoint

#: Seconds between two readings during a run, and that one may take.
EVERY, _PATIENCE = 60.0, 15.0
_DAY = dt.timedelta(days=1)
#: Days the analytics go back.
DAYS_KEPT = 30
_MOST_ROWS = 10_000
_QUERY = """
query Usage($account: string!, $from: Time!, $to: Time!) {
  viewer {
    accounts(filter: {accountTag: $account}) {
      aiInferenceAdaptiveGroups(limit: %d, filter: {datetime_geq: $from, datetime_lt: $to}) {
        count
        sum { totalNeurons }%s
      }
    }
  }
}
"""
_PERMISSION = "give the token the permission Account Analytics: Read"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The account's use of one model on one day (UTC); both are empty in a sum."""

    model: str
    day: str
    requests: int
    neurons: float


@dataclass(frozen=True, slots=True)
class AccountUsage:
    """The account's use today, by its own meter.

    Attributes
    ----------
    used : float
        Neurons since 00:00 UTC, of all programs.
    read_at : float
        Seconds since 1970.
    """

    used: float
    read_at: float

    @property
    def left(self) -> float:
        """Free Neurons that are left today."""
        return max(0.0, FREE_NEURONS_PER_DAY - self.used)

    @property
    def resets_at(self) -> dt.datetime:
        """When the free Neurons are reset: the next 00:00 UTC."""
        return dt.datetime.fromtimestamp(midnight(self.read_at), dt.UTC) + _DAY

    def __str__(self) -> str:
        wait = (self.resets_at - dt.datetime.fromtimestamp(self.read_at, dt.UTC)).total_seconds()
        hours, minutes = divmod(int(wait // 60), 60)
        return (
            f"{self.used:,.0f} of {FREE_NEURONS_PER_DAY:,} free Neurons used today, {self.left:,.0f} left, reset at "
            f"00:00 UTC (in {hours} h {minutes:02d} min); the meter lags a minute or two"
        )


def usage_request(account: str, start: float, end: float, *, by_model: bool = False) -> Request:
    """Return the query for the use of an account between two times; ``by_model``: a row per model and day."""
    dimensions = "\n        dimensions { modelId date }" if by_model else ""
    moments = [dt.datetime.fromtimestamp(each, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for each in (start, end)]
    variables: dict[str, Json] = {"account": account, "from": moments[0], "to": moments[1]}
    query = _QUERY % (_MOST_ROWS if by_model else 1, dimensions)
    return Request(json={"query": query, "variables": variables}, path="/graphql")


def read_usage(document: Json) -> list[UsageRow]:
    """Read the answer to a query; no rows mean that nothing was used.

    AccessError: the token may not read the meter.  AnswerError: it is not the answer to such a query.
    """
    if isinstance(document, Mapping) and document.get("errors"):
        first = document["errors"][0] if isinstance(document["errors"], Sequence) else document["errors"]
        text = str(first.get("message") if isinstance(first, Mapping) else first)[:200]
        if "authoriz" in text or "permission" in text:
            raise AccessError(f"the account's meter cannot be read: {text} -- {_PERMISSION}", 403)
        raise AnswerError(f"the account's meter refused the query: {text}", "schema")
    try:
        accounts = document["data"]["viewer"]["accounts"]
        return [_row(row) for account in accounts for row in account["aiInferenceAdaptiveGroups"]]
    except (KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"the account's meter gave no usage: {type(error).__name__} {error}", "schema") from None


def _row(row: Mapping[str, Json]) -> UsageRow:
    named = row.get("dimensions") or {}
    neurons = values.amount(row["sum"]["totalNeurons"])
    if neurons is None:
        raise ValueError(f"totalNeurons is {values.quoted(row['sum']['totalNeurons'])}")
    return UsageRow(str(named.get("modelId", "")), str(named.get("date", "")), values.whole(row["count"]), neurons)


class AccountMeter:
    """Reads the meter of one account and remembers the day.

    It holds no reference to its session, so that it does not keep it alive.  ``own_today`` returns the Neurons of today
    according to our own ledger.
    """

    def __init__(self, endpoint: Endpoint, own_today: Callable[[], float]) -> None:
        self._endpoint, self._own_today = endpoint, own_today
        self.usage: AccountUsage | None = None  # the last reading
        self.elsewhere = 0.0  # Neurons that other programs used today, as far as is known
        self._day, self._next = 0.0, 0.0  # start of the day (UTC), and when the next reading is due (monotonic)
        self._problem = ""
        self._reported = False
        self._lock = threading.Lock()

    def update(self) -> None:
        """Read the meter if a reading is due; if that fails, warn once and rely on our own ledger."""
        if not bridge.inside() and self._due():
            bridge.call(lambda: self._read(lambda: True))
        if self._problem and not self._reported:
            self._reported = True
            warnings.warn(
                f'{self._problem}. Until then budget="free" counts only this computer\'s ledger.',
                CfaiWarning,
                stacklevel=2,
            )

    async def refresh(self, budget: Budget, leaves: Callable[[], bool]) -> None:
        """Read the meter if a reading is due, during a run, and subtract what other programs used from a budget."""
        if self._due():
            await self._read(leaves)
        self.apply(budget)

    def apply(self, budget: Budget) -> None:
        """Subtract what other programs used from a budget."""
        if self._day == midnight(time.time()):
            budget.elsewhere = max(budget.elsewhere, self.elsewhere)

    def rows(self, start: float, end: float) -> list[UsageRow]:
        """Return the account's use by model and day; AccessError where the token may not read it."""
        return bridge.call(lambda: self._ask(start, end, lambda: True, by_model=True))

    def read(self) -> AccountUsage:
        """Read the meter now; errors as for ``rows``."""
        rows = bridge.call(lambda: self._ask(*self._today(), lambda: True))
        return self._note(sum(row.neurons for row in rows), self._own_today())

    def _due(self) -> bool:
        with self._lock:
            now, day = time.monotonic(), midnight(time.time())
            if now < self._next and day == self._day:
                return False
            if day != self._day:
                self._day, self.elsewhere, self.usage = day, 0.0, None
            self._next = now + EVERY
            return True

    async def _read(self, leaves: Callable[[], bool]) -> None:
        """Take one reading; a failure is remembered, and not raised."""
        try:
            rows = await self._ask(*self._today(), leaves)
            own = await in_thread(self._own_today)
        except (CfaiError, TimeoutError) as error:
            self._problem = str(error).rstrip(".") or f"the account's meter did not answer within {_PATIENCE:g} s"
            return
        self._problem = ""
        self._note(sum(row.neurons for row in rows), own)

    def _note(self, used: float, own: float) -> AccountUsage:
        self.usage = AccountUsage(used, time.time())
        self.elsewhere = max(self.elsewhere, used - own)
        return self.usage

    @staticmethod
    def _today() -> tuple[float, float]:
        start = midnight(time.time())
        return start, start + _DAY.total_seconds()

    async def _ask(
        self, start: float, end: float, leaves: Callable[[], bool], *, by_model: bool = False
    ) -> list[UsageRow]:
        """Send one query, once, over a separate connection: it is rare, and its address is not below the account's."""
        there = self._endpoint
        wire = Wire(there.base, there.token, there.app)
        request = usage_request(there.account, start, end, by_model=by_model)
        try:
            async with asyncio.timeout(_PATIENCE):
                answer = await wire.send(request, "account usage", leaves=leaves)
            return read_usage(answer.json)
        finally:
            await wire.close()
