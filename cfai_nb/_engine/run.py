"""The run: takes batches from a plan, sees each through, and keeps what comes back.

One call's life: known answers are taken from the store; the rest is sent, batch by batch, each when the budget, the run
and the pace have room for it; every answer is read, charged, kept and delivered before the next step of its batch; a
refusal waits, a fault is repeated, a batch that is refused is halved until the row that is meant stands alone.

A row that fails ends no run, however often it fails: a run ends early by Stop, by its budget, by an error of access or
quota that another row confirmed, and when nothing at all is answered any more while there are rows left to try.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..errors import AnswerError, BudgetError, CfaiError, InputError, RowError, RowsFailed, StoreError, bare
from ..models import Usage, price
from ..models.ledger import money
from .checkpoints import Beginnings
from .concurrency import MOST
from .conversation import Conversation
from .recall import recall
from .run_state import Run
from .sender import Exchange
from .shared import Engine
from .single_flight import Flight
from .stopping import current

#: How many rows may fail with no success at all before the question itself must be what is wrong.
HOPELESS = 100
#: Requests of one run that may wait in the service's queue.
_QUEUED = 10_000
#: Conversations about media that are made ready beyond the places there are, so that none stays empty.
_READY = 12
#: Rows that are tried beside those that wait, before one of them was answered.
_BESIDE = 4
_CIRCULAR = (
    "this question is being answered by the very call whose tool asks it here, and would wait for itself for ever: ask "
    "another question in the tool"
)


class Runner:
    """Carries out one run; lives on the engine's loop."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self.run = run
        self._engine = engine
        self._plan = run.plan
        self._change = asyncio.Event()
        self._exchange = Exchange(engine, run, self.halt, self._change.set)
        self._beginnings = Beginnings(engine, run)
        self._conversation = Conversation(engine, run, self._exchange, self._beginnings)
        self._tasks: set[asyncio.Task[None]] = set()
        self._halted = asyncio.Event()
        self._untried = False  # whether there are rows that no request was made for yet
        self._hopeless = 0
        self._followed: list[tuple[int, Flight]] = []  # under way for another run
        self._late: list[int] = []  # bought by another run since this one looked into the store
        self.keeps: object = None  # what must not be closed before the run ends: its session

    # -- from the outside ----------------------------------------------------------------------------------------

    async def execute(self) -> Run:
        """Carry the run out, and raise nothing: ``run.error`` says what ended it early."""
        run = self.run
        self._exchange.stop = current()
        self._engine.flights.join()
        self._engine.jobs.add(self)
        try:
            if self._engine.store is not None and run.options.cache is not False:
                self._engine.store.retry()
                await self._engine.written()
            pending = await recall(self._engine, run, range(len(self._plan.inputs)))
            if run.options.cache == "only":
                for index in pending:
                    run.fail(index, InputError('cache="only", and the store has no answer', "not stored"))
            elif pending and not self._exchange.halted:
                self._refuse_beyond_budget(pending)
                await self._beginnings.look(pending)
                await self._send_all(await self._batches(pending))
        except CfaiError as error:
            self.halt(bare(error))
        finally:
            await self._drain()
            self._engine.jobs.discard(self)
            self._engine.flights.leave()
        return run

    def halt(self, error: CfaiError | None = None) -> None:
        """Issue nothing more: what is under way is awaited and kept, what only waits is dropped."""
        if error is not None and self.run.error is None:
            self.run.error = error
        if not self._exchange.halt():
            return
        for task in self._tasks - self._exchange.flying:
            task.cancel()
        self._halted.set()
        self._change.set()

    def close(self, why: CfaiError) -> None:
        """End because the session is closed; what is in flight is awaited and kept."""
        self.halt(CfaiError(str(why)))

    def stop(self) -> None:
        """Do what the first press of Stop asks for."""
        self.run.stopped = True
        self.halt()

    def abandon(self) -> None:
        """Do what the second press of Stop asks for, or closing that has waited enough: drop what is in flight."""
        self.run.stopped = self.run.stopped or self.run.error is None
        self.halt()
        for task in self._tasks:
            task.cancel()
        if self._exchange.queue is not None:
            self._exchange.queue.abandon()

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._exchange.queue is not None:
            await self._exchange.queue.close(whole=not self._exchange.halted)
        await self._engine.written(self.run.id)
        if (store := self._engine.store) is not None:
            self.run.store_failure = store.take_failure(self.run.id)
        if isinstance(self.run.error, StoreError) and self.run.done + self.run.failed == self.run.rows:
            self.run.error = None  # nothing was left to send: the result is whole, and the failure is said beside it
        self.run.ended = time.monotonic()
        self.run.finished = True

    def _refuse_beyond_budget(self, pending: Sequence[int]) -> None:
        """Refuse before the first request what cannot fit: the price of the input alone, which is certain to come."""
        budget, model = self.run.options.budget, self._plan.model
        if budget is None:
            return
        total, fits = 0.0, 0
        for batch in self._plan.batches(pending):
            usage = self._plan.forecast(batch)
            least = {unit: amount for unit, amount in usage.amounts.items() if unit != "output_tokens"}
            cost = price(Usage(least), model)
            if cost.neurons is None:
                if budget.allow_unknown:
                    return
                budget.reserve(cost, model.id)  # raises: nothing is sent at an unknown price
            total += cost.neurons or 0.0
            fits += len(batch) if total <= budget.left else 0
        if total > budget.left:
            some = f"About the first {fits:,} of {len(pending):,} distinct inputs would" if fits else "None of it would"
            raise BudgetError(
                f"{self._plan.task.name} with {model.id} needs at least {money(total, exact=False)}; "
                f"the budget is {budget.label}. Nothing was sent. {some} fit: raise budget=, or take fewer rows or a "
                "cheaper model."
            )

    # -- handing out ---------------------------------------------------------------------------------------------

    async def _batches(self, pending: Sequence[int]) -> Iterator[list[int]]:
        """Return the inputs of each request; those that wait in the service's queue already as they were handed in."""
        if self._exchange.queue is None:
            return self._plan.batches(pending)
        before = await self._exchange.queue.resume(pending)
        pending = sorted(set(pending) - {index for batch in before for index in batch})
        return itertools.chain(before, self._plan.batches(pending))

    async def _send_all(self, batches: Iterable[list[int]]) -> None:
        self._untried = True
        for batch in batches:
            while len(self._tasks) >= self._most and not self._exchange.halted:
                await self._changed()
            if self._exchange.halted:
                break
            self._start(batch)
            if len(self._tasks) % 8 == 0:  # let those that were started begin; a turn of the loop for each would cost
                await asyncio.sleep(0)
        self._untried = False
        while self._tasks:
            await self._changed()
        await self._collect_followed()

    @property
    def _most(self) -> int:
        """How many conversations may be held at once; those about media are held with all they send.

        Those that wait after a refusal hold up no other: what becomes of the others tells whether the service works.
        """
        cap, heavy, waiting = self.run.options.concurrency, self._plan.heavy, len(self._exchange.waiting)
        if self._exchange.queue is not None:  # what waits in the queue takes no place here
            return MOST if heavy else _QUEUED
        most = MOST if cap == "auto" else cap
        most = min(most, self._exchange.places + _READY) if heavy else most
        return max(most, min(MOST, most + (waiting if self._exchange.serving else min(waiting, _BESIDE))))

    async def _changed(self) -> None:
        self._change.clear()
        await self._change.wait()
        if (trouble := self._conversation.trouble()) is not None:
            self.halt(trouble)

    def _start(self, batch: Sequence[int]) -> None:
        keys = self._plan.keys
        if self.run.options.cache is True and (bought := self._engine.flights.bought):
            self._late += [index for index in batch if keys[index] in bought]
            batch = [index for index in batch if keys[index] not in bought]
        alone = self.run.options.cache is False  # its answers are its own: neither taken from others nor given to them
        flight, others = self._engine.flights.claim([] if alone else [keys[index] for index in batch])
        for index in batch:
            if (other := others.get(keys[index])) is not None:
                self._followed.append((index, other))
            elif keys[index] in others:
                self.run.fail(index, InputError(_CIRCULAR, "circular"))
        mine = [index for index in batch if keys[index] not in others]
        if mine:
            task = asyncio.get_running_loop().create_task(self._work(mine, flight))
            self._tasks.add(task)
            # Not within the task: one that is cancelled before its first step would never get there.
            task.add_done_callback(lambda task: self._done(task, flight))

    def _done(self, task: asyncio.Task[None], flight: Flight) -> None:
        self._engine.flights.land(flight)
        self._tasks.discard(task)
        self._change.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not foreseen: a defect of ours or of a task. The run ends with it rather than going on without the row.
            failure = error if isinstance(error, CfaiError) else CfaiError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error if failure is not error else error.__cause__
            self.halt(failure)

    async def _collect_followed(self) -> None:
        """Take what other runs asked for meanwhile, and ask for what did not come of it."""
        followed, self._followed, late, self._late = self._followed, [], self._late, []
        again: list[int] = []
        if late:
            again += await recall(self._engine, self.run, late)
            # The store does not have it after all (it could not be written): no use to look there twice.
            self._engine.flights.bought.difference_update(self._plan.keys[index] for index in again)
        for index, flight in followed:
            there = await self._landed(flight)
            self._engine.flights.followed(flight)
            if not there:
                return
            key = self._plan.keys[index]
            if key not in flight.cells:
                again.append(index)
                continue
            self.run.stored += self.run.deliver([index], flight.cells[key])
            if log := flight.logs.get(key):
                self.run.logs[index] = log
        if again:
            await self._send_all(self._plan.batches(again))

    async def _landed(self, flight: Flight) -> bool:
        """Wait until another run has what it asked for; False where this run ended before."""
        halted = asyncio.ensure_future(self._halted.wait())
        ends: set[asyncio.Future[Any]] = {flight.landed, halted}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        halted.cancel()
        return not self._exchange.halted

    # -- one batch -----------------------------------------------------------------------------------------------

    async def _work(self, batch: list[int], flight: Flight) -> None:
        """See one batch through, whatever it takes; never raises for what the service does."""
        flight.enter()
        parts = collections.deque([batch])
        try:
            while parts and not self._exchange.halted:
                part = parts.popleft()
                failure = await self._attempt(part, flight)
                if failure is None:
                    continue
                middle = len(part) // 2
                halves = [part[:middle], part[middle:]]
                if not middle or (failure.reaction == "row" and not isinstance(failure, AnswerError)):
                    for index in part:
                        self._fail(index, failure)
                elif failure.reaction == "stop":  # the other half first: it confirms what this one said, or refutes it
                    parts.extend(halves)
                else:
                    parts.extendleft(reversed(halves))
        except asyncio.CancelledError:
            if not self._exchange.halted:
                raise

    async def _attempt(self, batch: list[int], flight: Flight) -> RowError | None:
        """Hold the conversation about a batch; return why it has no answer and is to be halved, or fails."""
        # Paid for again each time, so a batch is soon halved; a single row gets what makes its loss unlikely.
        for again in range(5 if len(batch) == 1 else 2):
            try:
                for index, failed in await self._conversation.hold(batch, flight, again=again > 0):
                    self._fail(index, failed)
                return None
            except BudgetError as error:
                self.halt(bare(error))
                return None
            except RowError as error:
                failure = bare(error)
            if not isinstance(failure, AnswerError) or failure.reaction != "again":
                break
        if self._exchange.halted and failure.reaction == "stop":
            return None  # confirmed: the run has ended with it
        return None if self._ends_with(batch, failure) else failure

    def _ends_with(self, batch: Sequence[int], failure: RowError) -> bool:
        """Whether nothing is answered any more: the run ends, or where all rows were tried, these fail together."""
        silent = self._exchange.gives_up([self._plan.keys[index] for index in batch], failure)
        if silent and self._untried:
            self.halt(failure)
        elif silent or failure.code == "no connection":  # which is of no row, so that halves would tell nothing
            for index in batch:
                self._fail(index, failure)
        else:
            return False
        return True

    def _fail(self, index: int, failure: RowError) -> None:
        self.run.fail(index, failure)
        if not self.run.done and not self.run.filled(failure):
            self._hopeless += 1
            if self._hopeless >= HOPELESS and self._untried:
                self.halt(RowsFailed(f"The first {HOPELESS} rows all failed and the rest was not sent: {failure}"))
