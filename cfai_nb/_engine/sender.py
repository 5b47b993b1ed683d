"""How a request is sent: the one retry loop with its policy, and what the requests of a run need in addition.

``Sender.send`` sends a request until it is answered, or was refused or repeated often enough: ``Retry`` takes every
failure and says how long to wait before the next attempt, or raises it.  Waiting for capacity or for the minute is
bounded by time.  Repeating after faults is bounded by attempts as well, which count only while the service answers
other requests, so that an outage loses no row.  ``Session.ask``, ``RequestJob`` and the doctor use a plain ``Sender``.

``Conversations`` calls ``RunSender.ask`` for each request of a batch.  Before a request leaves, its most expensive
outcome is reserved in the budget, and it needs a place among the requests in flight, a turn in the minute and the run's
share.  ``ask`` returns the answer with its charge, or raises; an error of access or quota that another row confirms
ends the run.  A request leaves only while its work is not halted; ``wire`` checks that right before the first byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError, BudgetError, RateLimited, RowError, ServiceError, Unavailable, bare
from ..models import Usage, price, tokens_in
from ..models.ledger import Charge, money
from ..tasks import Answer, ChatTask, Input, Request, StreamReader
from .batch_queue import Queue
from .engine import Engine
from .limiter import Share, Witnesses
from .run_options import PATIENCE
from .run_state import Reason, Run, Waiting
from .stopping import check_interrupts

#: How often one request is sent while the service answers others: with full jitter up to 10 s that takes about 20 s,
#: and at one fault in twenty a row is lost once in 10**10.
ATTEMPTS = 8
#: How often a request about several rows is sent before it is halved: one of the rows may cause the failure.
IN_BATCH = 3
#: How often a row that is refused access is sent: twice, and more often where others are answered.
REFUSED, ALONE = 2, 4
#: Seconds after which a closed minute of the service must have opened.
MINUTE = 61.0
#: Requests about different rows that must be refused access or quota before the run ends: with a code that the service
#: is known to use, and by the status alone (a firewall's page may be about the content of one row).
CONFIRMED, BY_STATUS = 2, 4


@dataclass(slots=True)
class Service:
    """When the service answered one sender (monotonic seconds); this distinguishes a bad row from an outage."""

    answered: float | None = None  # when the last answer came
    sent: float = -math.inf  # when the latest answered request was sent

    def note(self, sent: float, now: float) -> None:
        """Note an answer to the request that was sent at ``sent``."""
        self.answered, self.sent = now, max(sent, self.sent)


class Retry:
    """The attempts of one request, which may be about several rows.

    ``since`` is when it was first refused, or one of its rows in another request (monotonic seconds).
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
        """Exclude the time in which it waited for its turn in the minute."""
        if self.since is not None:
            self._excused += seconds

    def pause(self, failure: RowError, now: float) -> float:
        """Return the seconds until it may be sent again; raise a permanent failure, or the one of the last attempt."""
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
        """Return what it waits for; ``began`` is the start of the run."""
        assert self.last is not None
        assert self.since is not None
        reasons: dict[str, Reason] = {"wait": "capacity", "stop": "access"}
        reason = "minute" if isinstance(self.last, RateLimited) else reasons.get(self.last.reaction, "outage")
        return Waiting(reason, self.last.code, self.since - began, self.since + self._excused + self._most - began)


class Sender:
    """Sends requests, each until it is answered.

    ``halted`` returns whether nothing more may be sent.  ``patience`` is how many seconds a request waits from its
    first refusal or fault on.  ``sleep`` waits between two attempts; it may end early where the work was stopped.
    """

    #: Failures after which the same request may be sent again.
    repeats: ClassVar[type[RowError]] = RowError

    def __init__(
        self, engine: Engine, halted: Callable[[], bool] = lambda: False, patience: float = PATIENCE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._engine, self._halted, self._patience, self._sleep = engine, halted, patience, sleep
        self._service = Service()
        self._refused: dict[bytes, float] = {}  # since when, by row; also as a part of another request

    async def send(self, request: Request, name: str, *, method: str = "POST", keys: Sequence[bytes] = ()) -> Answer:
        """Send a request until it is answered; it may be sent several times, which must have no further effect.

        ``name`` is for errors: a model id, an index.  ``keys`` are the rows of a run that it is about.  RowError is
        raised where it is refused for good, was sent often enough, or Stop forbids another attempt.
        """
        # A ``Retry`` is made only when something fails, now or before.
        retry = self._retry(keys) if self._refused and any(key in self._refused for key in keys) else None
        answered = False
        try:
            while True:
                try:
                    answer = await self._attempt(request, name, method, keys, retry)
                    answered = True
                    return answer
                except self.repeats as error:
                    failure = bare(error)
                retry = retry or self._retry(keys)
                await self._pause(failure, keys, retry)
        finally:
            if retry is not None:
                self._ended(keys, answered)

    def may_send(self) -> bool:
        """Whether a request may leave now."""
        check_interrupts()
        return not self._halted()

    def _retry(self, keys: Sequence[bytes]) -> Retry:
        since = min((self._refused[key] for key in keys if key in self._refused), default=None)
        return Retry(self._service, self._patience, several=len(keys) > 1, since=since)

    async def _attempt(
        self, request: Request, name: str, method: str, keys: Sequence[bytes], retry: Retry | None
    ) -> Answer:
        sent = time.monotonic()
        answer = await self._engine.wire.send(request, name, method=method, leaves=self.may_send)
        _ = answer.json  # parsed here: an answer that is not JSON is asked for again
        self._service.note(sent, time.monotonic())
        return answer

    async def _pause(self, failure: RowError, keys: Sequence[bytes], retry: Retry) -> None:
        """Wait until the next attempt, or raise the failure."""
        if self._halted() or failure.reaction == "stop":
            raise failure
        await self._sleep(retry.pause(failure, time.monotonic()))
        if self._halted():
            raise failure

    def _ended(self, keys: Sequence[bytes], answered: bool) -> None:
        """Note that a request that failed at least once was answered or given up."""


class RunSender(Sender):
    """Sends the requests of one run.

    ``end_run`` ends the run with an error that concerns every row.  ``changed`` is called when a request begins to
    wait, so that others may be started in its place.
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
            self._limiter.concurrency.want(most)
        self._given_up = Witnesses()
        self._stream: StreamReader | None = None  # of a streamed answer that began to arrive
        self._broken: list[Charge] = []  # of the streams of the request that broke off before their first piece
        self.in_flight: set[asyncio.Task[None]] = set()  # tasks with a request that was written and is not answered yet
        self.waiting: dict[asyncio.Task[None], float] = {}  # tasks that wait after a refusal, and since when
        self.queue = Queue(engine, run, self.send, self.in_flight) if run.options.queue else None
        run.turn = self._turn

    @property
    def places(self) -> int:
        """How many requests may be in flight at the moment."""
        return int(self._limiter.concurrency.limit)

    @property
    def serving(self) -> bool:
        """Whether the service answered a request that was sent after the longest waiting one was refused."""
        return self._service.sent > next(iter(self.waiting.values()))

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
        self, request: Request, inputs: Sequence[Input], *, keys: Sequence[bytes], first: bool, fresh: bool
    ) -> tuple[Answer, Charge]:
        """Send one request of a conversation about these inputs until it is answered; return its answer and charge.

        Only the ``first`` request of a conversation goes into the batch queue.  ``fresh``: the same request was sent
        before, for another sample or since its answer could not be read, so a gateway's cache must be bypassed.
        BudgetError is raised where the budget cannot hold it, even after all others are settled.
        """
        plan, options, charge, place = self._run.plan, self._run.options, None, None
        budget, queue = options.budget, self.queue if first else None
        reserved = None if budget is None else await self._reserve(inputs, None if first else request)
        self._stream, self._broken = None, []
        try:
            if queue is not None:
                with self._waits("queue"):
                    answer, place = await queue.ask(request, keys)
            else:
                sent, gateway = request, options.gateway
                if gateway is not None:
                    sent = (gateway.uncached() if fresh else gateway).route(request, plan.model)
                answer = await self.send(sent, plan.model.id, keys=keys)
            charge = self._engine.charge(
                self._run, self._usage(request, answer, inputs), seconds=answer.seconds, queued=place,
                free=answer.headers.get("cf-aig-cache-status", "").upper() == "HIT",
            )  # fmt: skip
            return answer, charge
        except BaseException as error:
            # An answer that came and could not be read to its end is most likely billed; so is a stream that began.
            # In the batch queue the same error may stand for a request that was refused, which costs nothing.
            if self._stream is not None or (isinstance(error, AnswerError) and queue is None):
                charge = self._charge_unread(inputs)
            raise
        finally:
            if budget is not None and reserved is not None:
                billed = [each.neurons for each in (charge, *self._broken) if each is not None]
                budget.settle(reserved, None if None in billed else sum(filter(None, billed)))

    def _usage(self, request: Request, answer: Answer, inputs: Sequence[Input]) -> Usage:
        """Return what a request used; the estimate, where the service reports it in an unknown form."""
        task, model = self._run.plan.task, self._run.plan.model
        try:
            return task.usage(request, answer, inputs, model)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return task.estimate_request(inputs, model)

    def _charge_unread(self, inputs: Sequence[Input]) -> Charge:
        """Enter the charge of an unusable answer: as the stream reported it, or else estimated."""
        plan, stream = self._run.plan, self._stream
        usage = (None if stream is None else stream.usage()) or plan.task.estimate_request(inputs, plan.model)
        charge = self._engine.charge(self._run, usage)
        self._run.note(charge)
        self._engine.enter([charge])
        return charge

    async def _reserve(self, inputs: Sequence[Input], further: Request | None) -> float | None:
        """Reserve the most this request can cost; while it does not fit, wait until others are settled."""
        plan, budget = self._run.plan, self._run.options.budget
        assert budget is not None
        usage = plan.task.estimate_request(inputs, plan.model)
        if further is not None:  # a later turn repeats the earlier ones
            text = "" if further.json is None else further.body().decode("utf-8", "replace")
            usage = usage + Usage({"input_tokens": float(tokens_in(text))})
        cost = price(usage, plan.model)
        with self._waits("budget"):
            if budget.refresh is not None:
                await budget.refresh(budget, self.may_send)
            reserved = await budget.hold(cost, plan.model.id)
        if reserved is None:
            raise BudgetError(
                f"The budget of {budget.label} is used up: {money(budget.spent, self._run.exact)} spent, and the "
                f"next request may cost {money(cost.neurons, exact=False)}."
            )
        return reserved

    @contextlib.contextmanager
    def _waits(self, reason: Reason) -> Iterator[None]:
        """Show that the run waits for this inside the block."""
        task = asyncio.current_task()
        self._run.waits[task] = Waiting(reason, None, time.monotonic() - self._run.began, None)
        try:
            yield
        finally:
            del self._run.waits[task]

    def _turn(self) -> Waiting | None:
        """Return the wait for the minute, if requests wait for it."""
        turn, began = self._limiter.turn, self._run.began
        return None if turn is None else Waiting("minute", None, max(0.0, turn[0] - began), turn[1] - began)

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
            answer = await self._sent(request, name, method)
        except RateLimited as error:
            limiter.end(sent, "limited", share, error.wait)
            raise
        except ServiceError as error:
            if error.reaction == "stop" and share.refused(
                keys, sent, time.monotonic(), needed=CONFIRMED if error.known else BY_STATUS
            ):
                self._end_run(error)
            limiter.end(sent, "busy" if error.reaction == "wait" else "leave", share)
            raise
        except BaseException:
            limiter.end(sent, "leave", share)
            raise
        finally:
            task = asyncio.current_task()
            if task in self.in_flight:
                self.in_flight.discard(task)
                self._run.count_in_flight(-1)
        self._service.note(sent, time.monotonic())
        self._given_up.clear()
        share.answered(sent)
        limiter.end(sent, "clean", share)
        return answer

    def may_send(self) -> bool:
        """Whether a request of the current task may leave now; it counts as in flight from then on."""
        if not super().may_send():
            return False
        task = asyncio.current_task()
        if task is not None and task not in self.in_flight:
            self.in_flight.add(task)
            self._run.count_in_flight(+1)
        return True

    async def _sent(self, request: Request, model: str, method: str) -> Answer:
        """Send a request once; if the run has a listener and the task can be streamed, pass the pieces to it.

        A stream is billed from its first line on, also where it breaks off and is sent again.  After the first piece, a
        break is an error of this answer, so that the request is not sent again unseen.
        """
        plan, on_token, wire = self._run.plan, self._run.options.on_token, self._engine.wire
        streamed = None
        if on_token is not None and isinstance(plan.task, ChatTask):
            streamed = plan.task.streamed(request, plan.model)
        if on_token is None or streamed is None:
            return await wire.send(request, model, method=method, leaves=self.may_send)
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
                if self._stream is not None:
                    self._broken.append(self._charge_unread(plan.inputs))
                    self._stream = None
                raise
            why = str(error)
        else:
            self._stream = None
            return whole or reader.answer(seconds)
        raise AnswerError(why if "broke off" in why else f"the stream broke off: {why}", "broken", again=True)
