"""The requests of one run: sent by the one retry loop, within budget, places and rate, and charged.

``Conversations`` calls ``RunSender.ask`` for each request of a batch.  Before a request leaves, its most expensive
outcome is reserved in the budget, and it needs a place among the requests in flight, a turn in the minute and the
run's share.  The batch queue sends through ``RunSender.send`` as well.  Out comes the answer with its charge, or an
error; an error of access or quota that another row confirms ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

from ..errors import AnswerError, BudgetError, RateLimited, RowError, ServiceError, Unavailable
from ..models import Usage, price, tokens_in
from ..models.ledger import Charge, money
from ..tasks import Answer, ChatTask, Input, Request, StreamReader
from .batch_queue import Queue
from .concurrency import Share, Witnesses
from .gateway import is_hit, with_gateway
from .retry import Retry, Waiting
from .run_state import Run
from .sender import Sender
from .shared import Engine
from .stopping import check_interrupts

#: Requests about different rows that must be refused access or quota before the run ends: with a code that the service
#: is known to use, and where only the status says so (a firewall's page may be about the content of one row).
CONFIRMED, BY_STATUS = 2, 4


class RunSender(Sender):
    """Sends the requests of one run.

    Parameters
    ----------
    engine : Engine
    run : Run
    end_run : callable
        Ends the run with an error that concerns every row.
    changed : callable
        Called when a request begins to wait, so that others may be started in its place.

    Attributes
    ----------
    in_flight : set of Task
        Tasks with a request that was written and is not answered yet.
    waiting : dict of Task to float
        Tasks that wait after a refusal, and since when.
    """

    repeats = ServiceError

    def __init__(
        self, engine: Engine, run: Run, end_run: Callable[[ServiceError], None], changed: Callable[[], None]
    ) -> None:
        super().__init__(engine, lambda: run.halted, run.options.patience)
        self._run, self._end_run, self._changed = run, end_run, changed
        self._limiter = engine.limiter(run.plan.model)
        most = run.options.concurrency
        self._share = Share(None if most == "auto" else most)
        if most != "auto":
            self._limiter.concurrency.most = max(self._limiter.concurrency.most, most)
        self._refused: dict[bytes, float] = {}  # since when, by row
        self._given_up = Witnesses()
        self._stream: StreamReader | None = None  # of a streamed answer that began to arrive
        self.in_flight: set[asyncio.Task[None]] = set()
        self.waiting: dict[asyncio.Task[None], float] = {}
        self.queue = Queue(engine, run, self.send, self.in_flight) if run.options.queue else None
        run.turn = self._turn

    @property
    def places(self) -> int:
        """How many requests may be in flight at the moment."""
        return int(self._limiter.concurrency.limit)

    @property
    def serving(self) -> bool:
        """Whether the service answered a request that was sent after the longest waiting one was refused."""
        return not self.waiting or self._service.sent > next(iter(self.waiting.values()))

    def gives_up(self, keys: Iterable[bytes], failure: RowError) -> bool:
        """Whether this request is the second one to be given up without any answer, so that the service is down."""
        answered = self._service.answered
        if failure.reaction not in ("again", "wait") or isinstance(failure, AnswerError):
            return False
        if answered is not None and time.monotonic() - answered <= self._patience:
            return False
        self._given_up.add(frozenset(keys))
        # A request in flight that has not been refused may still be answered.
        return len(self._given_up) > 1 and self.in_flight <= self.waiting.keys()

    async def ask(
        self, request: Request, inputs: Sequence[Input], *, keys: Sequence[bytes], rows: int, first: bool,
        again: bool = False,
    ) -> tuple[Answer, Charge]:  # fmt: skip
        """Send one request of a conversation until it is answered; return its answer and what it was charged.

        Parameters
        ----------
        request : Request
        inputs : sequence of Input
            What the conversation is about.
        keys : sequence of bytes
            Those of the inputs.
        rows : int
            How many rows of the frame these are; the charge counts them, and the caller corrects rows that fail.
        first : bool
            Whether the request opens the conversation.  Only such requests go into the batch queue.
        again : bool
            An earlier answer could not be read, so a gateway's cache must be bypassed.

        Raises
        ------
        ServiceError
            It is refused for good, or was repeated often enough.
        BudgetError
            The budget cannot hold it, even after everything under way is trued up.
        """
        plan, options, charge = self._run.plan, self._run.options, None
        budget, place = options.budget, None
        reserved = None if budget is None else await self._reserve(inputs, None if first else request)
        self._stream = None
        try:
            if first and self.queue is not None:
                answer, place = await self._queued(self.queue, request, keys)
            else:
                gateway = options.gateway.uncached() if again and options.gateway is not None else options.gateway
                sent = with_gateway(request, plan.model, gateway)
                answer = await self.send(sent, plan.model.id, keys=keys)
            charge = self._engine.charge(
                self._usage(request, answer, inputs), plan.model, run=self._run.id, verb=plan.task.name, rows=rows,
                seconds=answer.seconds, free=is_hit(answer), queued=place,
            )  # fmt: skip
            return answer, charge
        except BaseException as error:
            # An answer that came and could not be read to its end is most likely billed; so is a stream that began.
            # In the batch queue the same error may stand for a request that was refused, which costs nothing.
            if self._stream is not None or (isinstance(error, AnswerError) and not (first and self.queue is not None)):
                charge = self._charge_unread(inputs)
            raise
        finally:
            if budget is not None and reserved is not None:
                budget.settle(reserved, 0.0 if charge is None else charge.neurons)

    def _usage(self, request: Request, answer: Answer, inputs: Sequence[Input]) -> Usage:
        """Return what a request used; the estimate, where the service reports it in an unknown form."""
        task, model = self._run.plan.task, self._run.plan.model
        try:
            return task.usage(request, answer, inputs, model)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return task.estimate_usage(inputs, model)

    def _charge_unread(self, inputs: Sequence[Input]) -> Charge:
        """Enter the charge of an answer that is of no use: as the stream reported it, or else estimated."""
        plan, stream = self._run.plan, self._stream
        usage = (None if stream is None else stream.usage()) or plan.task.estimate_usage(inputs, plan.model)
        charge = self._engine.charge(usage, plan.model, run=self._run.id, verb=plan.task.name, rows=0)
        self._run.note(charge)
        self._engine.enter([charge])
        return charge

    async def _reserve(self, inputs: Sequence[Input], further: Request | None) -> float | None:
        """Reserve the most this request can cost; while it does not fit, wait for others to be trued up."""
        plan, budget = self._run.plan, self._run.options.budget
        assert budget is not None
        usage = plan.task.estimate_usage(inputs, plan.model)
        if further is not None:  # a later turn repeats the earlier ones
            text = "" if further.json is None else further.body().decode("utf-8", "replace")
            usage = usage + Usage({"input_tokens": float(tokens_in(text))})
        cost, task = price(usage, plan.model), asyncio.current_task()
        self._run.waits[task] = Waiting("budget", None, time.monotonic() - self._run.began, None)
        try:
            if budget.refresh is not None:
                await budget.refresh(budget, self.may_send)
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

    def _turn(self) -> Waiting | None:
        """Return that requests wait for their turn in the minute, where they do."""
        turn, began = self._limiter.turn, self._run.began
        return None if turn is None else Waiting("minute", None, max(0.0, turn[0] - began), turn[1] - began)

    # -- attempts ----------------------------------------------------------------------------------------------------

    def _earlier(self, keys: Sequence[bytes]) -> Retry | None:
        """Return the attempts of rows that were refused before, as a part of another request."""
        return self._retry(keys) if self._refused and any(key in self._refused for key in keys) else None

    def _retry(self, keys: Sequence[bytes]) -> Retry:
        since = min((self._refused[key] for key in keys if key in self._refused), default=None)
        return Retry(self._service, self._patience, several=len(keys) > 1, since=since)

    async def _pause(self, failure: RowError, keys: Sequence[bytes], retry: Retry) -> None:
        if failure.reaction == "stop" and (self._run.halted or len(keys) > 1):
            raise failure  # confirmed, or to be halved: the halves confirm each other
        try:
            pause = retry.pause(failure, time.monotonic())
        finally:
            if retry.since is not None:
                self._refused.update(dict.fromkeys(keys, retry.since))
        task = asyncio.current_task()
        assert task is not None
        self.waiting.setdefault(task, time.monotonic())
        self._run.waits[task] = retry.waiting(self._run.began)
        self._changed()
        if pause and not isinstance(failure, RateLimited):  # then the limiter holds back all requests
            await asyncio.sleep(pause)

    def _ended(self, keys: Sequence[bytes], answered: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.waiting.pop(task, None)
        self._run.waits.pop(task, None)
        for key in keys if answered else ():
            self._refused.pop(key, None)

    async def _attempt(
        self, request: Request, name: str, method: str, keys: Sequence[bytes], retry: Retry | None
    ) -> Answer:
        limiter, share = self._limiter, self._share
        if retry is None:
            sent = await limiter.enter(share=share)
        else:
            # A refused request keeps its turn, unless others are to find out whether they are refused as well.
            first = retry.failures == 1 if isinstance(retry.last, RateLimited) else retry.failures > 0
            first = first and retry.last is not None and retry.last.reaction != "stop"
            held = limiter.held(time.monotonic())
            sent = await limiter.enter(first=first, share=share)
            retry.excuse(limiter.held(time.monotonic()) - held)
        try:
            if self._run.options.on_token is None:
                answer = await self._engine.wire.send(request, name, method=method, leaves=self.may_send)
            else:
                answer = await self._heard(request)
        except RateLimited as error:
            limiter.limited(sent, error.wait, share)
            raise
        except ServiceError as error:
            if error.reaction == "stop" and share.refused(
                keys, sent, time.monotonic(), needed=CONFIRMED if error.known else BY_STATUS
            ):
                self._end_run(error)
            (limiter.busy if error.reaction == "wait" else limiter.leave)(sent, share)
            raise
        except BaseException:
            limiter.leave(sent, share)
            raise
        finally:
            task = asyncio.current_task()
            if task in self.in_flight:
                self.in_flight.discard(task)
                self._run.count_in_flight(-1)
        self._service.note(sent, time.monotonic())
        self._given_up.clear()
        share.answered(sent)
        limiter.clean(sent, share)
        return answer

    def may_send(self) -> bool:
        """Whether a request of the current task may leave now; it counts as in flight from then on."""
        check_interrupts()
        if self._run.halted:
            return False
        task = asyncio.current_task()
        if task is not None and task not in self.in_flight:
            self.in_flight.add(task)
            self._run.count_in_flight(+1)
        return True

    async def _heard(self, request: Request) -> Answer:
        """Send a request of a run with a listener, and hand on the pieces of its answer where it can be streamed.

        A stream is billed from its first line on.  Once a piece was handed on, a break is an error of this answer, so
        that it is never repeated unseen.
        """
        plan, on_token, wire = self._run.plan, self._run.options.on_token, self._engine.wire
        model = plan.model.id
        streamed = plan.task.streamed(request, plan.model) if isinstance(plan.task, ChatTask) else None
        if on_token is None or streamed is None:
            return await wire.send(request, model, leaves=self.may_send)
        reader, began, heard = StreamReader(), time.perf_counter(), False
        on_token(None)
        try:
            async with contextlib.aclosing(wire.stream(streamed, model, leaves=self.may_send)) as lines:
                async for line in lines:
                    self._stream = reader
                    if piece := reader.feed(line):
                        heard = True
                        on_token(piece)
            seconds = time.perf_counter() - began
            whole = reader.unstreamed(seconds)
            if whole is None and not reader.ended:
                raise Unavailable(f"{model}: the stream broke off before its end", "connection lost", model=model)
        except ServiceError as error:
            if not heard:
                raise
            why = str(error)
        else:
            self._stream = None
            return whole or reader.answer(seconds)
        raise AnswerError(why if "broke off" in why else f"the stream broke off: {why}", "broken", again=True)
