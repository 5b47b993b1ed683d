"""What a cascade promises and what it costs, before and after: its plan, and its certificate in words.

``cascade`` makes them.  The plan is a range, since what the strong model has to be asked depends on how often the cheap
answers turn out to be right.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

from ..._engine.plan import Estimate, Plan
from ...html.markup import counted
from ...models import Cost, Model
from ...models.ledger import money

#: Sent to a definition in place of a result: what follows is priced already.
PRICED = object()


@dataclass(frozen=True)
class Certificate:
    """What is promised about the answers of a cascade; ``cf.last_run().certificate``.

    Attributes
    ----------
    words : str
        The promise in one sentence, with what it cost.
    rows, asked : int
        Rows that have an answer or should have one, and how many of these were asked of the strong model.
    kept : int
        Rows that keep the cheap answer.
    confidence : float
    targets : dict of str to float
        ``accuracy``, or ``recall`` and ``precision``; empty where every row was asked of the strong model.
    reason : str
        Why every row was asked of the strong model; ``""`` where something was saved.
    cost, alone : Cost
        What all answers cost (those from the store: had cost), and what the strong model alone would, estimated.
    """

    rows: int
    asked: int
    kept: int
    failed: int
    strong: str
    confidence: float
    targets: dict[str, float]
    reason: str
    cost: Cost
    alone: Cost

    @property
    def words(self) -> str:
        if not self.targets or self.reason:
            why = f": {self.reason}" if self.reason else ""
            return f"every answer is one of {self.strong}{why}; {self._money}"
        from ...quality.arrays import percent  # importing the package loads none of that room

        sure = f"with {percent(self.confidence)} confidence"
        return f"{sure} {' and '.join(self._promises)}; {self.asked:,} were asked of it; {self._money}"

    @property
    def _promises(self) -> list[str]:
        from ...quality.arrays import percent

        made = []
        if (share := self.targets.get("accuracy")) is not None:
            if self.failed:  # a share of answers would count rows that have none
                most = int((1 - share) * self.rows + 1e-9)
                made.append(
                    f"at most {most:,} of {self.rows:,} rows hold another answer than that of {self.strong} "
                    f"({self.failed:,} failed and hold none)"
                )
            else:
                made.append(f"at least {percent(share)} of {self.rows:,} answers are those of {self.strong}")
        if (share := self.targets.get("recall")) is not None:
            made.append(f"at least {percent(share)} of the rows that {self.strong} would keep are kept")
        if (share := self.targets.get("precision")) is not None:
            made.append(f"{self.strong} would keep at least {percent(share)} of the rows that are kept")
        return made

    @property
    def _money(self) -> str:
        spent, alone = dollars(self.cost), dollars(self.alone)
        return f"{spent} instead of {alone}" if "unknown" not in (spent, alone) else "price unknown"

    def __repr__(self) -> str:
        return f"<{self.words}>"


def dollars(cost: Cost) -> str:
    """Return dollars alone, a tilde before an estimate: "~$1.10"."""
    if cost.neurons is None:
        return "unknown"
    return money(cost.neurons, cost.exact).partition("(")[2].rstrip(")")


@dataclass(frozen=True)
class CascadePlan:
    """The plan of a call with a cascade; nothing is sent.

    Attributes
    ----------
    cheap : dict of str to Plan
        What is asked of each cheap model, at most.
    strong : Plan
        Every row, asked of the strong model: what the call can come to at most, besides the cheap models.
    least, expected : int
        Distinct rows that the strong model is asked at least, and if cheap answers agree with it in about nine of
        ten rows.
    at_least, expected_cost, at_most : Cost
    reason : str
        Why the cascade does not pay, and everything is asked of the strong model; ``""`` where it may.
    """

    cheap: dict[str, Plan]
    strong: Plan
    least: int
    expected: int
    at_least: Cost
    expected_cost: Cost
    at_most: Cost
    reason: str = ""

    @property
    def model(self) -> Model:
        """The strong model."""
        return self.strong.model

    @property
    def further(self) -> str:
        """What the estimate leaves out: nothing."""
        return ""

    @property
    def remarks(self) -> list[str]:
        """What the strong model's task says of it; the certificate speaks for the cheap answers."""
        return self.strong.remarks

    @property
    def estimate(self) -> Estimate:
        """The most the call can come to: every row asked of every model."""
        found = self.strong.estimate
        for one in [] if self.reason else [plan.estimate for plan in self.cheap.values()]:
            minutes = None if None in (found.minutes, one.minutes) else (found.minutes or 0) + (one.minutes or 0)
            found = dataclasses.replace(
                found, requests=found.requests + one.requests, usage=found.usage + one.usage, minutes=minutes
            )
        return dataclasses.replace(found, cost=self.at_most)

    def __repr__(self) -> str:
        return self.describe("nothing sent")

    def describe(self, what: str) -> str:
        """Return the plan in a few lines; `what` says what happens next, such as "nothing sent"."""
        strong, e = self.strong.model.name, self.strong.estimate
        if self.reason:
            return (
                f"the cascade does not pay ({self.reason}), so {strong} is asked alone:\n{self.strong.describe(what)}"
            )
        lines = [
            f"{self.strong.task.name} with {', then '.join([*self.cheap, strong])} on {self.strong.origin}",
            f"  {counted(e.rows)}, {e.distinct:,} distinct",
            *(f"  {name}: {plan.estimate.requests:,} requests at most" for name, plan in self.cheap.items()),
            f"  {strong}: {self.least:,} rows at least, about {self.expected:,} if nine of ten cheap answers are "
            f"right, {e.distinct:,} at most",
            f"  {dollars(self.at_least)} at least, {dollars(self.expected_cost)} expected, "
            f"{dollars(self.at_most)} at most; estimated, {what}",
        ]
        return "\n".join(lines)


class Outlined(Protocol):
    """What an outline is of."""

    @property
    def label(self) -> str:
        """What a plan of several calls names it."""

    @property
    def model(self) -> Model:
        """The strong model."""

    def plan(self) -> CascadePlan:
        """Price it as a range."""


class Outline:
    """The step before the calls of a cascade: priced as a whole, since what follows depends on answers.

    Parameters
    ----------
    call : CascadeCall
        Those who carry it out themselves may say what it is one of many calls of, and take its answers.
    """

    def __init__(self, call: Outlined) -> None:
        self.call, self.part, self.model, self.plan = call, call.label, call.model, call.plan

    def placeholder(self) -> Any:
        """Return what a definition is sent when it was priced."""
        return PRICED

    def wait(self, display: Any = None) -> None:
        """Do nothing: the calls follow."""

    async def wait_async(self, display: Any = None) -> None:
        """Do nothing: the calls follow."""
