"""One request of a run: reserved, sent as often as it takes, and charged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

from ..errors import AnswerError, BudgetError, RateLimited, RowError, ServiceError, Unavailable, bare
from ..models import Usage, price, tokens_in
from ..models.ledger import Charge, money
from ..tasks import Answer, Input, Request, StreamReader
from .batch_queue import Queue
from .gateway import dressed, is_hit
from .interrupts import look
from .retry import Retry, Service, Waiting
from .run_share import Share, Witnesses
from .run_state import Run
from .shared import Engine
from .stopping import NEVER

#: Requests about different rows that must be refused access or quota before the run ends: with a code that the service
#: is known to use, and where only the status says so (a page of a firewall may be about what one row holds).
CONFIRMED, BY_STATUS = 2, 4


class Exchange:
    """Sends the requests of one run.

    Parameters
    ----------
    engine : Engine
    run : Run
    halt : callable
        Ends the run with an error that concerns every row.
    changed : callable
        Called when a request begins to wait, so that others may be started in its place.

    Attributes
    ----------
    halted : bool
        Nothing is sent any more: the run ended early, or Stop was pressed and the run does not know it yet.
    stop : Stop
        What was asked of the run.
    flying : set of Task
        Those that have a request in flight: written, and not answered yet.
    waiting : dict of Task to float
        Those that wait after a refusal, and since when.
    """

    def __init__(
        self, engine: Engine, run: Run, halt: Callable[[ServiceError], None], changed: Callable[[], None]
    ) -> None:
        self._engine, self._run = engine, run
        self._end_run, self._changed = halt, changed
        self._pace = engine.pace(run.plan.model)
        most = run.options.concurrency
        self._share = Share(None if most == "auto" else most)
        if most != "auto":
            self._pace.concurrency.most = max(self._pace.concurrency.most, most)
        self._service = Service()
        self._refused: dict[bytes, float] = {}  # since when, by row
        self._given_up = Witnesses()
        self.stop = NEVER
        self._halted = False
        self.flying: set[asyncio.Task[None]] = set()
        self.waiting: dict[asyncio.Task[None], float] = {}
        self.queue = Queue(engine, run, self._persist, self.flying) if run.options.queue else None
        run.turn = self._turn

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

    @property
    def serving(self) -> bool:
        """Whether the service answers others while the longest of those that wait does."""
        return not self.waiting or self._service.sent > next(iter(self.waiting.values()))

    def gives_up(self, keys: Iterable[bytes], failure: RowError) -> bool:
        """Whether a request that was given up means that nothing is answered any more: a second one says so."""
        answered = self._service.answered
        if failure.reaction not in ("again", "wait") or isinstance(failure, AnswerError):
            return False
        if answered is not None and time.monotonic() - answered <= self._run.options.patience:
            return False
        self._given_up.add(frozenset(keys))
        # One that has not been refused yet, and is being worked on, may still be answered.
        return len(self._given_up) > 1 and self.flying <= self.waiting.keys()

    async def ask(
        self, request: Request, inputs: Sequence[Input], *, keys: Sequence[bytes], first: bool, again: bool = False
    ) -> tuple[Answer, Charge]:
        """Send one request, as often as it takes; return its answer and what it was charged.

        ``keys`` are those of its inputs, ``first`` says whether it opens the conversation: only that goes into the
        queue, what answers an answer does not wait once more.  ``again`` says that an answer before could not be read:
        a gateway's cache would only give that one again.  The charge has ``rows=0``; the caller fills it in when it
        keeps the answer.

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
                answer, place = await self._queued(self.queue, request, keys)
            else:
                gateway = options.gateway.uncached() if again and options.gateway is not None else options.gateway
                sent = dressed(request, plan.model, gateway)
                answer = await self._persist(sent, keys)
            charge = self._engine.charge(
                self._usage(request, answer, inputs), plan.model, run=self._run.id, verb=plan.task.name, rows=0,
                seconds=answer.seconds, free=is_hit(answer), queued=place,
            )  # fmt: skip
            return answer, charge
        except AnswerError:  # one came, or was waited for, and could not be read to its end: most likely billed
            charge = self._engine.charge(
                plan.task.estimate_usage(inputs, plan.model), plan.model, run=self._run.id, verb=plan.task.name, rows=0
            )
            self._run.note(charge)
            self._engine.enter([charge])
            raise
        finally:
            if budget is not None and reserved is not None:
                budget.settle(reserved, 0.0 if charge is None else charge.neurons)

    def _usage(self, request: Request, answer: Answer, inputs: Sequence[Input]) -> Usage:
        """Return what a request used; of what the service reports in another form, the estimate, marked as such."""
        task, model = self._run.plan.task, self._run.plan.model
        try:
            return task.usage(request, answer, inputs, model)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return task.estimate_usage(inputs, model)

    async def _reserve(self, inputs: Sequence[Input], further: Request | None) -> float | None:
        """Set aside the most this request can cost; wait for others to be trued up when it does not fit yet."""
        plan, budget = self._run.plan, self._run.options.budget
        if budget is None:
            return None
        usage = plan.task.estimate_usage(inputs, plan.model)
        if further is not None:  # a later turn carries what was said before it
            said = "" if further.json is None else further.body().decode("utf-8", "replace")
            usage = usage + Usage({"input_tokens": float(tokens_in(said))})
        cost, task = price(usage, plan.model), asyncio.current_task()
        self._run.waits[task] = Waiting("budget", None, time.monotonic() - self._run.began, None)
        try:
            reserved = await budget.hold(cost, plan.model.id)
        finally:
            del self._run.waits[task]
        if reserved is None:
            raise BudgetError(
                f"The budget of {budget.label} is used up: {money(budget.spent, self._run.exact)} spent, and the "
                f"next request may cost {money(cost.neurons, exact=False)}."
            )
        return reserved

    async def _queued(
        self, queue: Queue, request: Request, keys: Sequence[bytes]
    ) -> tuple[Answer, tuple[str, int] | None]:
        task = asyncio.current_task()
        self._run.waits[task] = Waiting("queue", None, time.monotonic() - self._run.began, None)
        try:
            return await queue.ask(request, keys)
        finally:
            del self._run.waits[task]

    # -- attempts ------------------------------------------------------------------------------------------------

    async def _persist(self, request: Request, keys: Iterable[bytes]) -> Answer:
        """Send a request about these rows until it is answered, or that is enough."""
        rows, run, task = frozenset(keys), self._run, asyncio.current_task()
        assert task is not None
        since = min((self._refused[key] for key in rows if key in self._refused), default=None)
        retry = Retry(self._service, run.options.patience, several=len(rows) > 1, since=since)
        try:
            while True:
                try:
                    answer = await self._attempt(request, rows, retry)
                    break
                except ServiceError as error:
                    failure = bare(error)
                pause = self._pause(failure, rows, retry)
                self.waiting.setdefault(task, time.monotonic())
                run.waits[task] = retry.waiting(run.began)
                self._changed()
                if pause:
                    await asyncio.sleep(pause)
        finally:
            self.waiting.pop(task, None)
            run.waits.pop(task, None)
        for key in rows & self._refused.keys():
            del self._refused[key]
        return answer

    def _pause(self, failure: ServiceError, rows: frozenset[bytes], retry: Retry) -> float:
        """Return the seconds until the next attempt; raises the failure where there is none."""
        if failure.reaction == "stop" and (self.halted or len(rows) > 1):
            raise failure  # confirmed, or to be asked by halves, which confirm each other
        try:
            pause = retry.pause(failure, time.monotonic())
        finally:
            if retry.since is not None:
                self._refused.update(dict.fromkeys(rows, retry.since))
        return 0.0 if isinstance(failure, RateLimited) else pause  # there the pace holds everybody back

    async def _attempt(self, request: Request, rows: frozenset[bytes], retry: Retry) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        pace, run, share = self._pace, self._run, self._share
        # Those that were refused keep their turn, unless others are to find out whether they are refused as well.
        first = retry.failures == 1 if isinstance(retry.last, RateLimited) else retry.failures > 0
        held = pace.held(time.monotonic())
        sent = await pace.enter(first=first and retry.last is not None and retry.last.reaction != "stop", share=share)
        retry.excuse(pace.held(time.monotonic()) - held)

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
            pace.limited(sent, error.wait, share)
            raise
        except ServiceError as error:
            if error.reaction == "stop" and share.refused(
                rows, sent, time.monotonic(), needed=CONFIRMED if error.known else BY_STATUS
            ):
                self._end_run(error)
            (pace.busy if error.reaction == "wait" else pace.leave)(sent, share)
            raise
        except BaseException:
            pace.leave(sent, share)
            raise
        finally:
            if task in self.flying:
                self.flying.discard(task)
                run.flying(-1)
        self._service.note(sent, time.monotonic())
        self._given_up.clear()
        share.answered(sent)
        pace.clean(sent, share)
        return answer

    def _turn(self) -> Waiting | None:
        """Return that requests wait for their turn in the minute, where they do."""
        turn, began = self._pace.turn, self._run.began
        return None if turn is None else Waiting("minute", None, max(0.0, turn[0] - began), turn[1] - began)

    async def _sent(self, request: Request, leaves: Callable[[], bool]) -> Answer:
        """Send it and wait for the whole answer; hand on its pieces where somebody listens."""
        plan, on_token, wire = self._run.plan, self._run.options.on_token, self._engine.wire
        streamed = plan.task.streamed(request, plan.model) if on_token is not None else None
        if on_token is None or streamed is None:
            return await wire.send(request, plan.model.id, leaves=leaves)
        reader, began = StreamReader(), time.perf_counter()
        on_token(None)
        try:
            async with contextlib.aclosing(wire.stream(streamed, plan.model.id, leaves=leaves)) as lines:
                async for line in lines:
                    if piece := reader.feed(line):
                        on_token(piece)
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
