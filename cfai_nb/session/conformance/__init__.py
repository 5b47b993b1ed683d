"""The emulator's claims about the service, as statements that anyone with an account can check.

``cfai-nb conformance`` calls ``prices`` and ``check``, and gets an ``Outcome`` for each statement and ``Checked`` for
all.  ``statements`` is the table; ``expectations`` compares an answer with a row of it.  Requests are sent as all
others: through the session's engine, with its retries, a budget and the ledger.  Each is also sent to an emulator in
this process, which shows the fields that only one of the two has.
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..._engine.bridge import bridge
from ..._engine.engine import Engine
from ..._engine.sender import Retry, Sender
from ...errors import BudgetError, RowError, ServiceError
from ...models import Cost, Model, Usage, catalogue, price
from ...models.ledger import Budget, Charge
from ...tasks import Answer, Json, Request, reported
from ..requests import RequestJob
from ..session import Session, connect
from .expectations import Difference, Observed, Statement, Verdict, scrubbed, shape, verdict
from .statements import LEFT_OUT, NAME, TABLE

#: Seconds for which a request is sent again while the service is busy or fails.
_PATIENCE = 60.0
_HEADERS = ("content-type", "cf-ai-neurons", "cf-aig-cache-status", "cf-aig-log-id")


@dataclass(slots=True)
class Outcome:
    """The outcome of one statement."""

    statement: Statement
    verdict: Verdict = "not asked"
    differences: list[Difference] = field(default_factory=list)
    new: list[str] = field(default_factory=list)  # fields that the emulator does not have
    gone: list[str] = field(default_factory=list)  # fields that only the emulator has
    why: str = ""  # it was not asked
    neurons: float | None = None
    observed: Observed | None = None


def chosen(only: Collection[str] = (), *, writes: bool = False) -> list[Statement]:
    """Return the statements of these families, or of all if none is named; an unknown one is a ValueError."""
    families = list(dict.fromkeys(each.family for each in TABLE))
    if unknown := sorted(set(only) - set(families)):
        known = ", ".join(families)
        raise ValueError(f"there are no statements about {', '.join(unknown)}; the known families are {known}")
    return [each for each in TABLE if (not only or each.family in only) and (writes or not each.writes)]


def cost_of(statement: Statement) -> Cost:
    """Return the maximum cost of a statement: zero if it runs no model, or is refused."""
    if not statement.model or not statement.uses:
        return Cost(0.0, exact=True)
    model = catalogue().get(statement.model)
    return Cost(None) if model is None else price(Usage(statement.uses), model)


def prices(statements: Iterable[Statement]) -> tuple[float, list[str]]:
    """Return the maximum cost of the statements, in Neurons, and the names of the ones of unknown price."""
    costs = {each.name: cost_of(each).neurons for each in statements}
    return sum(cost or 0.0 for cost in costs.values()), [name for name, cost in costs.items() if cost is None]


class _Observer(Sender):
    """A sender that accepts every answer."""

    async def _attempt(
        self, request: Request, name: str, method: str, keys: Sequence[bytes], retry: Retry | None
    ) -> Answer:
        return await self._engine.wire.send(request, name, method=method, leaves=self.may_send)


class Check:
    """One check of statements, for a ``RequestJob``."""

    def __init__(self, statements: Sequence[Statement], budget: Budget | None = None) -> None:
        self.outcomes = [Outcome(each) for each in statements]
        self._budget = budget

    async def __call__(self, job: RequestJob[None]) -> None:
        """Ask one after the other, since some need what an earlier one made."""
        await job.engine.ready()  # for the budget
        sender = _Observer(job.engine, lambda: job.stopped, _PATIENCE, job.pause)
        for outcome in self.outcomes:
            if job.stopped:
                outcome.why = "stopped"
                continue
            try:
                await self._ask(job, sender, outcome)
            except (BudgetError, RowError) as error:  # also if no answer came, or the day's Neurons are used up
                outcome.why = str(error)

    async def _ask(self, job: RequestJob[None], sender: Sender, outcome: Outcome) -> None:
        statement = outcome.statement
        model = catalogue().get(statement.model) or Model(id=statement.model or "conformance", task="")
        cost, charge = cost_of(statement), None
        reserved = None if self._budget is None else await self._budget.hold(cost, model.id)
        if self._budget is not None and reserved is None:
            raise BudgetError(f"the budget of {self._budget.label} is used up")
        try:
            try:
                answer = await sender.send(statement.request, f"statement {statement.name}", method=statement.method)
            except ServiceError as error:
                if error.content is None or error.status is None or _passing(error.status, statement):
                    raise
                outcome.observed = Observed(error.status, error.headers, error.content)
            else:
                outcome.observed = Observed(200, answer.headers, answer.content)
                if statement.model:
                    charge = _charge(job.engine, answer, statement, model)
                    job.engine.enter([charge])
                    outcome.neurons = charge.neurons
        finally:
            if self._budget is not None and reserved is not None:
                self._budget.settle(reserved, 0.0 if charge is None else charge.neurons)
        outcome.verdict, outcome.differences = verdict(statement, outcome.observed)


def _passing(status: int, statement: Statement) -> bool:
    """Whether a refusal is about the present state of the account or the service, and not about the statement."""
    return (status in (408, 429) or status >= 500) and status not in statement.statuses


def _charge(engine: Engine, answer: Answer, statement: Statement, model: Model) -> Charge:
    """Return the charge of one answer, which is not part of a verb's run."""
    usage = _usage(answer, statement)
    cost = price(usage, model)
    return Charge(
        time=time.time(), run="conformance", account=engine.account, origin=engine.origin, model=model.id,
        verb="conformance", neurons=cost.neurons, exact=cost.exact, tokens=usage.tokens, seconds=answer.seconds,
    )  # fmt: skip


def _usage(answer: Answer, statement: Statement) -> Usage:
    try:
        found = reported(answer)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RowError):
        found = None
    return found or Usage(statement.uses)


def check(session: Session, statements: Sequence[Statement], budget: Budget | None = None) -> list[Outcome]:
    """Check statements against a session, and compare the fields of its answers with those of the emulator."""
    made = Check(statements, budget)
    bridge.wait(RequestJob(session.engine(cache=False), made, drain=True, patience=_PATIENCE), lambda: None)
    ours = {one.statement.name: one.observed for one in emulated(statements)}
    for outcome in made.outcomes:
        theirs = ours[outcome.statement.name]
        if outcome.observed is not None and theirs is not None and outcome.observed.status == theirs.status:
            fields, known = shape(outcome.observed.document), shape(theirs.document)
            outcome.new, outcome.gone = sorted(fields - known), sorted(known - fields)
    return made.outcomes


def emulated(statements: Sequence[Statement]) -> list[Outcome]:
    """Check statements against an emulator in this process."""
    from ...emulator import Emulator  # it is heavy

    made = Check(statements)
    here = connect(Emulator(rate=None, terms_accepted=True), store=False)
    with here:
        bridge.wait(RequestJob(here.engine(cache=False), made, drain=True), lambda: None)
    return made.outcomes


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of a check, to be shown or attached to an issue: no secret, no id of the account."""

    outcomes: Sequence[Outcome]
    target: str  # what answered
    secrets: Collection[str] = field(default=(), repr=False)  # texts that must not be in it

    @property
    def counts(self) -> Mapping[Verdict, int]:
        """How many statements have each verdict."""
        return Counter(each.verdict for each in self.outcomes)

    @property
    def agrees(self) -> bool:
        """Whether every statement that was checked holds."""
        return not any(each.verdict == "differs" for each in self.outcomes)

    def lines(self) -> list[str]:
        """Return in words which statements do not hold, which fields are new, and which statements were not checked."""
        lines = []
        for each in self.outcomes:
            name = each.statement.name
            if each.verdict == "differs":
                lines.append(f"DIFFERS  {name}: {each.statement.says}")
                lines += [f"         {d.where}: expected {d.expected!r}, got {d.got!r}" for d in self._shown(each)]
            elif each.verdict == "closed":
                code = None if each.observed is None else each.observed.code
                lines.append(f"closed   {name}: not open to this account ({code})")
            elif each.verdict == "not asked":
                lines.append(f"skipped  {name}: {scrubbed(each.why, self.secrets)}")
            if each.new:
                new = self._scrubbed(each.new[:8])
                lines.append(f"new      {name}: {', '.join(new)}{', ...' if len(each.new) > 8 else ''}")
        return lines + self._left()

    def _left(self) -> list[str]:
        """Return in words what was created in the account and not deleted."""
        done = {each.statement.name for each in self.outcomes if each.observed is not None and each.verdict == "holds"}
        families = dict.fromkeys(each.statement.family for each in self.outcomes if each.statement.writes)
        return [
            f"left     {family}: {NAME!r} was made in the account and not deleted: the same command again deletes it"
            for family in families
            if f"{family}.create" in done and f"{family}.delete" not in done
        ]

    def _scrubbed(self, names: Iterable[str]) -> list[str]:
        return [scrubbed(name, self.secrets) for name in names]

    def _shown(self, each: Outcome) -> list[Difference]:
        return [
            Difference(d.where, scrubbed(d.expected, self.secrets), scrubbed(d.got, self.secrets))
            for d in each.differences
        ]

    def to_json(self) -> dict[str, Json]:
        """Return all of it as plain data."""
        rows = [
            {
                "name": each.statement.name, "says": each.statement.says, "verdict": each.verdict,
                "status": None if each.observed is None else each.observed.status,
                "differences": [asdict(d) for d in self._shown(each)],
                "new": self._scrubbed(each.new), "gone": self._scrubbed(each.gone),
                "why": scrubbed(each.why, self.secrets), "neurons": each.neurons,
            }
            for each in self.outcomes
        ]  # fmt: skip
        return {
            "target": self.target, "date": _today(), "catalogue": catalogue().checked_on,
            "counts": dict(self.counts), "statements": rows,
            "left_out": {str(code): why for code, why in LEFT_OUT.items()},
        }  # fmt: skip

    def recorded(self) -> dict[str, Any]:
        """Return the scrubbed answers, with which the emulator is compared."""
        answers = {}
        for each in self.outcomes:
            if (seen := each.observed) is not None and each.verdict != "closed":
                kept = {name: seen.headers[name] for name in _HEADERS if name in seen.headers}
                kept = {name: scrubbed(value, self.secrets) for name, value in kept.items()}
                body = scrubbed(seen.document, self.secrets)
                answers[each.statement.name] = {"status": seen.status, "headers": kept, "body": body}
        return {"target": self.target, "date": _today(), "answers": answers}


def _today() -> str:
    return dt.datetime.now(dt.UTC).date().isoformat()
