"""What will be sent: distinct inputs, complete keys, batches, and the price before anything is sent.

``Session.plan`` and ``Session.runner`` turn a task, a model and the rows of a frame into a ``Plan``.  Users see its
``repr`` as ``.plan(...)``; ``Runner`` takes its inputs, keys and batches.  Nothing here sends or reads files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pydantic_core

from ..html import markup
from ..media import Media, Parts
from ..models import Cost, Model, Usage, price, usage_in_words
from ..models.ledger import dollars, money, neurons_only
from ..tasks import Input, Task, tokens_of
from ..tasks.dialects.key import code_of
from ..vectors.vector import stand_in

#: The most estimated tokens in a batch.  No limit on the sum is documented, but batches far below the limit on the
#: count were refused for their length (cloudflare-docs issue 11316); such a batch is halved.
BATCH_TOKENS = 60_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan needs; tokens and price are upper bounds, estimated from the length of the texts."""

    rows: int  # of the frame
    missing: int  # rows without an input
    distinct: int
    stored: int  # distinct inputs that the store already holds
    requests: int
    usage: Usage
    cost: Cost  # `neurons` None: the model publishes no price
    minutes: float | None  # at the requests per minute of the session; None where no limit is known
    overlong: int  # distinct inputs that seem longer than the model's context


@dataclass(slots=True)
class Plan:
    """Rows turned into distinct inputs with their keys."""

    task: Task
    model: Model
    inputs: list[Input]  # distinct, in order of first appearance
    keys: list[bytes]  # of the inputs, 16 bytes each
    where: npt.NDArray[np.int64]  # for each row the index of its input; -1 where there is none
    stored: npt.NDArray[np.bool_] = field(init=False)  # which inputs the store held when the plan was made
    origin: str = "cloudflare"  # what answers: the service, the emulator, or a host
    rate: float | None = None  # requests per minute; None where no limit is known
    bad: int = 0  # rows with a cell that cannot be sent, among those without an input
    fetched: int = 0  # addresses that were fetched to price it
    heavy: bool = field(init=False)  # there is media among the inputs

    def __post_init__(self) -> None:
        self.heavy = any(not isinstance(value, str) for value in self.inputs)
        self.stored = np.zeros(len(self.inputs), dtype=bool)

    def batches(self, wanted: Sequence[int]) -> Iterator[list[int]]:
        """Yield the input indexes of each request, filled up to the limits on count and estimated tokens."""
        most = max(1, self.task.batch(self.model))
        if most == 1:
            yield from ([i] for i in wanted)
            return
        batch: list[int] = []
        tokens = 0
        for i in wanted:
            size = tokens_of(self.inputs[i])
            if batch and (len(batch) == most or tokens + size > BATCH_TOKENS):
                yield batch
                batch, tokens = [], 0
            batch.append(i)
            tokens += size
        if batch:
            yield batch

    def estimate_usage(self, batch: Sequence[int]) -> Usage:
        """Estimate the most one request can use."""
        return self.task.estimate_usage([self.inputs[i] for i in batch], self.model)

    @property
    def _turns(self) -> tuple[int, str]:
        return self.task.turns(self.model)

    @property
    def further(self) -> str:
        """What the estimate leaves out, in words; empty if nothing, or if nothing will be sent."""
        return self._turns[1] if not self.stored.all() else ""

    @property
    def remarks(self) -> list[str]:
        """The task's remarks on what will be sent."""
        wanted = np.flatnonzero(~self.stored).tolist()
        return self.task.remarks([self.inputs[i] for i in wanted], self.model) if wanted else []

    @property
    def lacking(self) -> str:
        """What rows without an input lack, in words."""
        return "without content" if self.heavy or "text" not in self.task.kinds else "without text"

    @property
    def estimate(self) -> Estimate:
        """Price the plan; nothing is sent."""
        wanted = np.flatnonzero(~self.stored).tolist()
        usage, requests = Usage({}), 0
        for batch in self.batches(wanted):
            usage, requests = usage + self.estimate_usage(batch), requests + 1
        requests *= self._turns[0]
        context = self.model.context or float("inf")
        return Estimate(
            rows=len(self.where),
            missing=int((self.where < 0).sum()),
            distinct=len(self.inputs),
            stored=len(self.inputs) - len(wanted),
            requests=requests,
            usage=usage,
            cost=price(usage, self.model) if requests else Cost(0.0),
            minutes=requests / self.rate if self.rate else None,
            overlong=sum(1 for i in wanted if tokens_of(self.inputs[i]) > context),
        )

    def __repr__(self) -> str:
        return self.describe("nothing sent")

    def _repr_html_(self) -> str:
        return card(self)

    def describe(self, what: str) -> str:
        """Return the plan in a few lines; `what` says what happens next, such as "nothing sent"."""
        e = self.estimate
        known = f", {e.stored:,} in the store" if e.stored else ""
        left_out = {self.lacking: e.missing - self.bad, "that cannot be sent": self.bad}
        skipped = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
        asked = [f"{e.requests:,} request{'s' * (e.requests != 1)}", *usage_in_words(e.usage, self.model)]
        if not e.requests:
            cost = "nothing to send, nothing to pay"
        elif e.cost.neurons is None:
            cost = f"price unknown: this model publishes none; {what}"
        else:
            of = " for the first turns" if self.further else ""
            cost = f"{money(e.cost.neurons, exact=False)} at most{of}; estimated, {what}"
        lines = [
            f"{self.task.name} with {self.model.id} on {self.origin}",
            f"  {e.rows:,} row{'s' * (e.rows != 1)}{skipped and f' ({skipped})'}, {e.distinct:,} distinct{known}",
            "  " + ", ".join([*asked, time_in_words(e.minutes)] if e.requests else asked),
            f"  {cost}",
            *([f"  {self.further}"] if self.further else ()),
            *(f"  {remark}" for remark in self.remarks),
        ]
        if self.fetched:
            s = "es were" if self.fetched > 1 else " was"
            lines.append(f"  {self.fetched:,} address{s} fetched to price it; the content is kept for the call")
        if e.overlong:
            inputs = markup.counted(e.overlong, "input")
            lines.append(f"  {inputs} may be longer than the {self.model.context:,} tokens the model reads")
        return "\n".join(lines)


def time_in_words(minutes: float | None) -> str:
    """Return how long requests take at the rate limit, where one is known."""
    if minutes is None:
        return "no known rate limit"
    least = f"{minutes / 60:,.0f} h" if minutes >= 120 else f"{minutes:,.0f} min"
    return f"{f'at least {least}' if minutes >= 1 else 'under 1 min'} at the rate limit"


def card(plan: Plan) -> str:
    """Return a plan as HTML: its price, its time and the rows to send; the details unfold."""
    e = plan.estimate
    empty, duplicates = e.missing - plan.bad, e.rows - e.missing - e.distinct
    if not e.requests:
        price_, unit = "$0", "nothing to send"
    elif e.cost.neurons is None:
        price_, unit = "price unknown", "this model publishes none"
    else:
        price_, unit = dollars(e.cost.neurons), f"at most, {neurons_only(e.cost.neurons)}, estimated"
    to_send = e.distinct - e.stored
    counts = [
        (to_send, "to send", "var(--cf-accent)", "cfai-accent"), (e.stored, "stored", "var(--cf-ok)", "cfai-ok"),
        (duplicates, "duplicates", "var(--cf-faint)", ""), (empty, plan.lacking, "var(--cf-line)", ""),
        (plan.bad, "cannot be sent", "var(--cf-bad)", "cfai-bad"),
    ]  # fmt: skip
    words = [
        f'<span><b class="{look}">{count:,}</b> {markup.soft(what)}</span>'
        for count, what, _, look in counts
        if count or what == "to send"
    ]
    stamp = stand_in(plan.origin)
    top = markup.row(
        f"<b>{markup.escape(plan.task.name)}</b>", markup.soft(plan.model.name), "",
        markup.chip(plan.origin, "emu" if stamp else ""),
    )  # fmt: skip
    figure = f'<span class="cfai-big">{price_}</span>'
    time = markup.soft(time_in_words(e.minutes)) if e.requests else ""
    alarm = ""
    if e.overlong:
        long = (
            f"{markup.counted(e.overlong, 'input')} may be longer than the {plan.model.context:,} tokens of the model"
        )
        alarm = f'<div class="cfai-warn cfai-small">⚠ {long}</div>'
    middle = markup.row(figure, markup.soft(unit), "", time, style="align-items: baseline; margin-top: 4px")
    parts = markup.split((count, color) for count, _, color, _ in counts)
    below = markup.row(*words, "", '<span class="cfai-accent">more</span>', style="font-size: 12px")
    return markup.card(
        f"{top}{middle}{parts}{alarm}{below}", f"plan of {plan.task.name}", more=markup.escape(repr(plan), markup.LONG)
    )


def draw_up(
    task: Task, model: Model, rows: Sequence[Input | None], origin: str, rate: float | None = None, *,
    server: str = "", account: str = "",
) -> Plan:  # fmt: skip
    """Turn rows into a plan for a task that was checked against the model; None is a row without input.

    ``origin`` is what answers.  It is part of the key, so that an emulator's answers are never taken for the service's;
    ``server``, the full address, takes its place where the origin alone does not identify it.  ``rate`` is in requests
    per minute.
    """
    index: dict[Input, int] = {}
    where = np.fromiter(
        (-1 if row is None else index.setdefault(row, len(index)) for row in rows), dtype=np.int64, count=len(rows)
    )
    inputs = list(index)
    keys = keys_of(task, model, inputs, server or origin, account)
    return Plan(task, model, inputs, keys, where, origin=origin, rate=rate)


def keys_of(task: Task, model: Model, inputs: Sequence[Input], server: str, account: str = "") -> list[bytes]:
    """Return the complete key of each input.

    A key covers the task with its version, every option and, for a user's own task, its code; the model; the server;
    the account, where an option names something that belongs to it (a fine-tune, an instance); and the input.
    """
    asked = [type(task).__name__, task.name, task.version, task.key_fields(), model.id, server]
    asked += [code] if (code := code_of(type(task))) else []
    asked += [{"account": account}] if any(getattr(task, name) for name in task.account_fields) else []
    start = hashlib.blake2b(pydantic_core.to_json(asked, inf_nan_mode="strings"), digest_size=16)
    keys = []
    for value in inputs:
        h = start.copy()
        if isinstance(value, Parts):  # with lengths, so that different parts never give equal bytes
            h.update(b"\2")
            for piece in value.pieces:
                content = _content(piece)
                h.update(len(content).to_bytes(8, "big") + content)
        else:
            h.update(_content(value))
        keys.append(h.digest())
    return keys


def _content(piece: str | Media) -> bytes:
    """Return the bytes that identify a piece: texts begin with 0, media with 1."""
    return b"\0" + piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else b"\1" + piece.identity
