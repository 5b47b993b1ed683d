"""One request of a run: reserved, sent as often as it takes, and charged."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence

from ..errors import AnswerError, BudgetError, RateLimited, ServiceError, Unavailable
from ..ledger import Charge, money
from ..models import Usage, price, tokens_in
from ..tasks import Answer, Input, Request, StreamReader
from .engine import Engine
from .gateway import dressed, is_hit
from .interrupts import look
from .queued import Queue
from .record import Run
from .stopping import NEVER

#: How often one request is repeated after faults (5xx, dropped or cut answers): with full jitter up to 10 s that is
#: about 20 s of trying, and at one fault in twenty a row is lost once in 10**10.
ATTEMPTS = 8
#: Seconds without a single answer after which waiting for capacity or for the minute is given up.
PATIENCE = 900.0


class Exchange:
    """Sends the requests of one run.

    Attributes
    ----------
    halted : bool
        Nothing is sent any more: the run ended early, or Stop was pressed and the run does not know it yet.
    stop : Stop
        What was asked of the run.
    flying : set of Task
        Those that have a request in flight: written, and not answered yet.
    answered : float or None
        When the last answer came (monotonic seconds).
    """

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._pace = engine.pace(run.plan.model)
        self.stop = NEVER
        self._halted = False
        self.flying: set[asyncio.Task[None]] = set()
        self.queue = Queue(engine, run, self._persist, self.flying) if run.options.queue else None
        self.answered: float | None = None

    @property
    def halted(self) -> bool:
        """Whether nothing is sent any more."""
        return self._halted or self.stop.level > 0

    def halt(self) -> bool:
        """Send nothing more; return whether that is new."""
        new, self._halted = not self._halted, True
        return new

    @property
    def places(self) -> int:
        """How many requests may be under way at the moment."""
        return int(self._pace.concurrency.limit)

    async def ask(
        self, request: Request, inputs: Sequence[Input], *, keys: Sequence[bytes], first: bool, again: bool = False
    ) -> tuple[Answer, Charge]:
        """Send one request, as often as it takes; return its answer and what it was charged.

        ``keys`` are those of its inputs, ``first`` says whether it opens the conversation: only that goes into the
        queue, what answers an answer does not wait once more.  ``again`` says that an answer before could not be read:
        a gateway's cache would only give that one again.  The charge is for no row yet: who keeps what it gave knows.

        Raises
        ------
        ServiceError
            It is refused for good, or was repeated often enough.
        BudgetError
            The budget cannot hold it, also after everything under way is trued up.
        """
        plan, budget = self._run.plan, self._run.options.budget
        options = self._run.options
        reserved = await self._reserve(inputs, None if first else request)
        charge: Charge | None = None
        place: tuple[str, int] | None = None
        try:
            if first and self.queue is not None:
                answer, place = await self.queue.ask(request, keys)
            else:
                gateway = options.gateway.uncached() if again and options.gateway is not None else options.gateway
                sent = dressed(request, plan.model, gateway, reject_if_busy=options.reject_if_busy)
                answer = await self._persist(sent)
            usage = plan.task.weigh(request, answer, inputs, plan.model)
            charge = self._engine.charge(
                usage, plan.model, run=self._run.id, verb=plan.task.name, rows=0, seconds=answer.seconds,
                free=is_hit(answer), queued=place,
            )  # fmt: skip
            return answer, charge
        finally:
            if budget is not None and reserved is not None:
                budget.settle(reserved, 0.0 if charge is None else charge.neurons)

    async def _reserve(self, inputs: Sequence[Input], further: Request | None) -> float | None:
        """Set aside the most this request can cost; wait for others to be trued up when it does not fit yet."""
        plan, budget = self._run.plan, self._run.options.budget
        if budget is None:
            return None
        usage = plan.task.forecast(inputs, plan.model)
        if further is not None:  # a later turn carries what was said before it
            said = "" if further.json is None else further.body().decode("utf-8", "replace")
            usage = usage + Usage({"input_tokens": float(tokens_in(said))})
        cost = price(usage, plan.model)
        while (reserved := budget.reserve(cost, plan.model.id)) is None:
            if not budget.requests:
                raise BudgetError(
                    f"The budget of {budget.words} is used up: {money(budget.spent, self._run.exact)} spent, and the "
                    f"next request may cost {money(cost.neurons, exact=False)}."
                )
            await asyncio.sleep(0.01)
        return reserved

    async def _persist(self, request: Request) -> Answer:
        attempt = 0
        while True:
            try:
                return await self._attempt(request, first=attempt > 0)
            except ServiceError as error:
                attempt += 1
                if error.reaction not in ("again", "wait") or self._enough(error, attempt):
                    raise
                failure = error
            if isinstance(failure, RateLimited):
                continue  # the pace holds everybody back
            # Full jitter, so that those who were refused together do not come back together.
            most = min(10.0, 0.2 * 2.0 ** min(attempt, 10))
            await asyncio.sleep(failure.wait or random.uniform(0, most))

    def _enough(self, error: ServiceError, attempt: int) -> bool:
        if error.reaction == "wait":
            return time.monotonic() - max(self.answered or 0.0, self._run.began) > PATIENCE
        if error.code == "timeout":  # silence for as long as is waited: once more, and no longer than that
            return attempt >= 2
        # Where nothing ever connected, the address is wrong rather than the moment.
        never = error.code == "no connection" and self.answered is None
        return attempt >= (ATTEMPTS // 2 if never else ATTEMPTS)

    async def _attempt(self, request: Request, *, first: bool) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        pace, run = self._pace, self._run
        sent = await pace.enter(first=first)

        def leaves() -> bool:
            look()
            if self.halted:
                return False
            if task not in self.flying:
                self.flying.add(task)
                run.flying(+1)
            return True

        try:
            answer = await self._sent(request, leaves)
        except RateLimited as error:
            pace.limited(sent, error.wait)
            raise
        except ServiceError as error:
            (pace.busy if error.reaction == "wait" else pace.leave)(sent)
            raise
        except BaseException:
            pace.leave(sent)
            raise
        finally:
            if task in self.flying:
                self.flying.discard(task)
                run.flying(-1)
        pace.clean(sent)
        self.answered = time.monotonic()
        return answer

    async def _sent(self, request: Request, leaves: Callable[[], bool]) -> Answer:
        """Send it and wait for the whole answer; hand on its pieces where somebody listens."""
        plan, hear, wire = self._run.plan, self._run.options.hear, self._engine.wire
        streamed = plan.task.streamed(request, plan.model) if hear is not None else None
        if hear is None or streamed is None:
            return await wire.send(request, plan.model.id, leaves=leaves)
        reader, began = StreamReader(), time.perf_counter()
        hear(None)
        try:
            async with contextlib.aclosing(wire.stream(streamed, plan.model.id, leaves=leaves)) as lines:
                async for line in lines:
                    if piece := reader.feed(line):
                        hear(piece)
        except AnswerError as error:  # a frame that is no JSON: paid for like an answer that is none, and read as one
            if error.code != "broken":
                raise
            return Answer(b"", seconds=time.perf_counter() - began)
        seconds = time.perf_counter() - began
        if (whole := reader.unstreamed(seconds)) is not None:
            return whole
        if not reader.ended:
            raise Unavailable(
                f"{plan.model.id}: the stream broke off before its end", "connection lost", model=plan.model.id
            )
        return reader.answer(seconds)
