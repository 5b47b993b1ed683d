"""The price of ``enrich``: what ``cf.enrich.plan`` returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..markup import counted
from ..models import Cost
from ..models.ledger import money

if TYPE_CHECKING:
    from .._engine.plan import Estimate
    from .call import Call


@dataclass
class ColumnPlan:
    """What one column needs, over all parts that have to be made."""

    words: str
    requests: int = 0
    stored: int = 0
    missing: int = 0
    minutes: float | None = 0.0
    cost: Cost = field(default_factory=lambda: Cost(0.0))


@dataclass
class EnrichPlan:
    """What ``cf.enrich`` would send, and what that may cost at most.

    Attributes
    ----------
    path : Path
        The folder of parts.
    done, parts_done : int
        Rows and parts that are there already.
    notes : list of str
    rows, parts : int
        Rows and parts that have to be made.
    columns : dict of str to ColumnPlan
    """

    path: Path
    done: int
    parts_done: int
    notes: list[str]
    rows: int = 0
    parts: int = 0
    columns: dict[str, ColumnPlan] = field(default_factory=dict)

    def add(self, name: str, call: Call, estimate: Estimate) -> None:
        """Add the call of one part."""
        one = self.columns.setdefault(name, ColumnPlan(f"{call.task.name} with {call.model.id}"))
        one.requests += estimate.requests
        one.stored += estimate.stored
        one.missing += estimate.missing
        known = one.minutes is not None and estimate.minutes is not None
        one.minutes = (one.minutes or 0.0) + (estimate.minutes or 0.0) if known else None
        one.cost = one.cost + estimate.cost

    @property
    def cost(self) -> Cost:
        """Of all columns together; ``neurons`` is None where a model publishes no price."""
        return sum((one.cost for one in self.columns.values()), Cost(0.0))

    @property
    def requests(self) -> int:
        """Of all columns together."""
        return sum(one.requests for one in self.columns.values())

    def __repr__(self) -> str:
        there = f", {self.done:,} are there in {counted(self.parts_done, 'part')}" if self.parts_done else ""
        lines = [f"enrich into {self.path}", f"  {counted(self.rows)} to do in {counted(self.parts, 'part')}{there}"]
        for name, one in self.columns.items():
            limit = "no known rate limit" if one.minutes is None else _time(one.minutes)
            stored = f", {one.stored:,} in the store" if one.stored else ""
            cost = money(one.cost.neurons, False) if one.requests else "nothing to pay"
            lines.append(f"  {name}: {one.words}, {counted(one.requests, 'request')}{stored}, {limit}, {cost}")
        total = "nothing to send, nothing to pay"
        if self.requests:
            total = f"{money(self.cost.neurons, False)} at most; estimated, nothing sent"
        return "\n".join([*lines, f"  {total}", *(f"  {note}" for note in self.notes)])


def _time(minutes: float) -> str:
    if minutes < 1:
        return "under 1 min at the rate limit"
    return f"at least {f'{minutes / 60:,.0f} h' if minutes >= 120 else f'{minutes:,.0f} min'} at the rate limit"
