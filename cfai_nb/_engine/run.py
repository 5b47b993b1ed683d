"""The run: takes batches from a plan, sends them, and keeps what comes back.

One call's life: known answers are taken from the store; the rest is sent, batch by batch, each when the budget, the run
and the pace have room for it; every answer is read, charged, kept and delivered before the next step of its batch; a
refusal waits, a fault is repeated, a batch that is refused is halved until the row that is meant stands alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import AnswerError, BudgetError, CfaiError, InputError, RateLimited, RowError, ServiceError
from ..ledger import Charge, money
from ..models import Cost, Model, Usage, price
from ..tasks import Answer, Cells, Request
from .pace import MOST, Pace
from .record import Run
from .store import Store
from .wire import Wire

#: How often one request is repeated after faults (5xx, dropped or cut answers): with full jitter up to 10 s that is
#: about 20 s of trying, and at one fault in twenty a row is lost once in 10**10.
ATTEMPTS = 8
#: Seconds without a single answer after which waiting for capacity or for the minute is given up.
PATIENCE = 900.0
#: How many rows may be refused in a row, with no success at all, before the request itself must be what is wrong.
HOPELESS = 25


@dataclass(slots=True)
class Flight:
    """Inputs under way: who else needs one of them waits for it instead of paying for it again."""

    landed: asyncio.Future[dict[bytes, Any]]
    kept: bool  # in the store


@dataclass(slots=True)
class Engine:
    """What every run of a session shares.

    Attributes
    ----------
    wire : Wire
    pace : callable
        Model -> Pace.
    account, origin : str
    store : Store or None
    flights : dict of key to Flight
    book : callable
        Takes charges when there is no store to keep them.
    """

    wire: Wire
    pace: Callable[[Model], Pace]
    account: str
    origin: str
    store: Store | None
    book: Callable[[Sequence[Charge]], object]
    flights: dict[bytes, Flight] = field(default_factory=dict)


class Runner:
    """Carries out one run; lives on the engine's loop."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self.engine = engine
        self.run = run
        self.plan = run.plan
        self.pace = engine.pace(run.plan.model)
        self._tasks: set[asyncio.Task[None]] = set()
        self._flying: set[asyncio.Task[None]] = set()  # those with a request under way
        self._dispatcher: asyncio.Task[None] | None = None
        self._halted = False
        self._change = asyncio.Event()
        self._answered = time.monotonic()
        self._any_answer = False
        self._refused_in_a_row = 0
        self._followed: list[tuple[int, Flight]] = []

    # -- from the outside ----------------------------------------------------------------------------------------

    async def execute(self) -> Run:
        """Carry the run out, and raise nothing: ``run.error`` says what ended it early."""
        run = self.run
        try:
            pending = await self._recall()
            if run.options.cache == "only":
                for index in pending:
                    run.fail(index, InputError('cache="only", and the store has no answer', "not stored"))
            elif pending:
                self._refuse_beyond_budget(pending)
                self._dispatcher = asyncio.current_task()
                await self._send_all(pending)
        except asyncio.CancelledError:
            if not self._halted:
                raise
        except CfaiError as error:
            self.halt(error)
        finally:
            await self._drain()
        return run

    def halt(self, error: CfaiError | None = None) -> None:
        """Issue nothing more: what is under way is awaited and kept, what only waits is dropped."""
        if error is not None and self.run.error is None:
            self.run.error = error
        if self._halted:
            return
        self._halted = True
        for task in self._tasks - self._flying:
            task.cancel()
        self._change.set()

    def stop(self) -> None:
        """Do what the first press of Stop asks for."""
        self.run.stopped = True
        self.halt()

    def abandon(self) -> None:
        """Do what the second press of Stop asks for: drop what is under way as well."""
        self.stop()
        for task in self._tasks:
            task.cancel()

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self.engine.store is not None:
            await asyncio.to_thread(self.engine.store.flush)
            self.run.store_failure = self.engine.store.take_failure()
        self.run.ended = time.monotonic()
        self.run.finished = True

    # -- what is known -------------------------------------------------------------------------------------------

    async def _recall(self) -> list[int]:
        """Deliver what the store holds and return the indexes it does not."""
        store, run, plan = self.engine.store, self.run, self.plan
        everything = list(range(len(plan.inputs)))
        if store is None or run.options.cache not in (True, "only"):
            return everything
        plan.packs, plan.slots = await asyncio.to_thread(store.locate, plan.keys)
        known = np.flatnonzero(plan.packs >= 0)
        order = known[np.argsort(plan.packs[known], kind="stable")]
        packs, starts = np.unique(plan.packs[order], return_index=True)
        groups = dict(zip(packs.tolist(), np.split(order, starts[1:]), strict=True)) if len(packs) else {}
        saved = 0.0
        for at in range(0, len(packs), 64):
            part = packs[at : at + 64].tolist()
            for pack, cells, neurons in await asyncio.to_thread(lambda p: list(store.read(p)), part):
                group = groups.pop(pack)
                slots = plan.slots[group]
                chosen = cells[slots] if isinstance(cells, np.ndarray) else [cells[slot] for slot in slots]
                run.stored += run.deliver(group, chosen)
                saved += (neurons or 0.0) * len(group) / max(1, len(cells))
            if self._halted:
                return []
        if run.stored:
            self._enter(self._charge(Cost(0.0, True), Usage({}), rows=run.stored, requests=0, saved=saved))
        gone = np.concatenate(list(groups.values())) if groups else np.empty(0, dtype=np.int64)
        plan.packs[gone] = -1  # evicted by another process between the two looks
        return [int(i) for i in np.flatnonzero(plan.packs < 0)]

    def _refuse_beyond_budget(self, pending: Sequence[int]) -> None:
        """Refuse before the first request what cannot fit: the price of the input alone, which is certain to come."""
        budget, model = self.run.options.budget, self.plan.model
        if budget is None:
            return
        total, fits = 0.0, 0
        for batch in self.plan.batches(pending):
            usage = self.plan.forecast(batch)
            least = {unit: amount for unit, amount in usage.amounts.items() if unit != "output_tokens"}
            cost = price(Usage(least), model)
            if cost.neurons is None:
                if budget.allow_unknown:
                    return
                budget.reserve(cost, model.id)
            total += cost.neurons or 0.0
            fits += len(batch) if total <= budget.left else 0
        if total > budget.left:
            raise BudgetError(
                f"{self.plan.task.name} with {model.id} needs {money(total, exact=False)} for its input alone; the "
                f"budget is {budget.words}. Nothing was sent. About the first {fits:,} of {len(pending):,} distinct "
                "inputs would fit: raise budget=, or take fewer rows or a cheaper model."
            )

    # -- sending -------------------------------------------------------------------------------------------------

    async def _send_all(self, pending: Sequence[int]) -> None:
        cap = self.run.options.concurrency
        most = MOST if cap == "auto" else cap
        for batch in self.plan.batches(pending):
            while len(self._tasks) >= most and not self._halted:
                await self._changed()
            if self._halted:
                break
            if mine := self._claim(batch):
                self._start(mine)
            await asyncio.sleep(0)
        while self._tasks:
            await self._changed()
        await self._collect_followed()

    async def _changed(self) -> None:
        self._change.clear()
        await self._change.wait()

    def _start(self, batch: list[int]) -> None:
        landed: dict[bytes, Any] = {}
        task = asyncio.get_running_loop().create_task(self._work(batch, landed))
        self._tasks.add(task)
        # Not within the task: one that is cancelled before its first step would never get there.
        task.add_done_callback(lambda task: self._done(task, batch, landed))

    def _done(self, task: asyncio.Task[None], batch: Sequence[int], landed: dict[bytes, Any]) -> None:
        self._land(batch, landed)
        self._tasks.discard(task)
        self._flying.discard(task)
        self._change.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not foreseen: a defect of ours or of a task. The run ends with it rather than going on without the row.
            failure = error if isinstance(error, CfaiError) else CfaiError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error if failure is not error else error.__cause__
            self.halt(failure)

    def _claim(self, batch: Sequence[int]) -> list[int]:
        """Take the inputs nobody else is asking for; wait for the others later."""
        flights, keys = self.engine.flights, self.plan.keys
        mine = []
        flight = Flight(asyncio.get_running_loop().create_future(), kept=self.run.options.cache is not False)
        for index in batch:
            other = flights.get(keys[index])
            if other is None:
                flights[keys[index]] = flight
                mine.append(index)
            else:
                self._followed.append((index, other))
        return mine

    def _land(self, batch: Sequence[int], cells: dict[bytes, Any]) -> None:
        """Tell whoever follows what came of a batch."""
        keys, flights = self.plan.keys, self.engine.flights
        for index in batch:
            flight = flights.pop(keys[index], None)
        if batch and flight is not None and not flight.landed.done():
            flight.landed.set_result(cells)

    async def _collect_followed(self) -> None:
        followed, self._followed = self._followed, []
        again = []
        for index, flight in followed:
            while not flight.landed.done() and not self._halted:
                await asyncio.wait({flight.landed}, timeout=0.1)
            if self._halted:
                return
            cells, key = flight.landed.result(), self.plan.keys[index]
            if key in cells:
                self.run.stored += self.run.deliver([index], cells[key])
                if not flight.kept and self.engine.store is not None and self.run.options.cache is not False:
                    self.engine.store.put([key], cells[key])
            else:
                again.append(index)
        if again and not self._halted:
            await self._send_all(again)

    async def _work(self, batch: list[int], landed: dict[bytes, Any]) -> None:
        """See one batch through, whatever it takes; never raises for what the service does."""
        try:
            await self._see_through(batch, landed)
        except asyncio.CancelledError:
            if not self._halted:
                raise

    async def _see_through(self, batch: list[int], landed: dict[bytes, Any], tries: int = 0) -> None:
        try:
            await self._converse(batch, landed)
            return
        except RowError as error:
            failure = error
        if failure.reaction == "stop":
            self.halt(failure)
        elif isinstance(failure, AnswerError) and failure.reaction == "again" and tries < 2:
            await self._see_through(batch, landed, tries + 1)
        elif len(batch) > 1 and (failure.reaction == "split" or isinstance(failure, AnswerError)):
            middle = len(batch) // 2
            await self._see_through(batch[:middle], landed)
            await self._see_through(batch[middle:], landed)
        elif failure.reaction in ("again", "wait") and not isinstance(failure, AnswerError):
            self._give_up(batch, failure)
        else:
            for index in batch:
                self._fail(index, failure)

    def _give_up(self, batch: Sequence[int], failure: RowError) -> None:
        """Fail the rows when the service works otherwise; end the run when nothing passes any more."""
        if not self._any_answer or time.monotonic() - self._answered > 30:
            self.halt(failure)
            return
        for index in batch:
            self.run.fail(index, failure)

    def _fail(self, index: int, failure: RowError) -> None:
        self.run.fail(index, failure)
        if isinstance(failure, ServiceError) and not self.run.done:
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= HOPELESS:
                self.halt(CfaiError(f"The first {HOPELESS} rows were all refused and the rest was not sent: {failure}"))

    async def _converse(self, batch: list[int], landed: dict[bytes, Any]) -> None:
        """Hold the task's conversation about these inputs and keep what it reads."""
        plan = self.plan
        inputs = [plan.inputs[index] for index in batch]
        charges: list[Charge] = []
        talk = plan.task.talk(inputs, plan.model)
        try:
            try:
                request = next(talk)
                while True:
                    answer, charge = await self._ask(request, batch, inputs)
                    charges.append(charge)
                    request = talk.send(answer)
            except StopIteration as end:
                cells: Cells = end.value
            if len(cells) != len(batch):
                raise AnswerError(f"{len(cells)} answers for {len(batch)} inputs", "mismatch", again=True)
        except BaseException:
            self._enter(*charges)
            raise
        finally:
            talk.close()
        await self._keep(batch, cells, charges, landed)

    async def _keep(self, batch: list[int], cells: Cells, charges: list[Charge], landed: dict[bytes, Any]) -> None:
        run, store, keys = self.run, self.engine.store, self.plan.keys
        if not isinstance(cells, np.ndarray):
            for index, cell in zip(batch, cells, strict=True):
                if isinstance(cell, RowError):
                    self._fail(index, cell)
            good = [(i, c) for i, c in zip(batch, cells, strict=True) if not isinstance(c, RowError)]
            batch, cells = [i for i, _ in good], [c for _, c in good]
        if not batch:
            self._enter(*charges)
            return
        run.deliver(batch, cells)
        landed.update((keys[index], cells[at : at + 1]) for at, index in enumerate(batch))
        for charge in charges:
            run.note(charge)
        if store is None:
            self.engine.book(charges)
        elif run.options.cache is False:
            store.charge(charges)
        else:
            try:
                while store.full:  # a slow disk holds the run back rather than filling the memory
                    await asyncio.sleep(0.005)
            finally:  # also when the run is stopped meanwhile: this was paid for
                store.put([keys[index] for index in batch], cells, charges)

    # -- one request ---------------------------------------------------------------------------------------------

    async def _ask(self, request: Request, batch: Sequence[int], inputs: Sequence[Any]) -> tuple[Answer, Charge]:
        """Send one request, as often as it takes; return its answer and what it was charged."""
        reserved = await self._reserve(inputs)
        charge: Charge | None = None
        try:
            answer = await self._persist(request)
            charge = self._weigh(request, answer, batch, inputs)
            return answer, charge
        finally:
            if reserved is not None and self.run.options.budget is not None:
                self.run.options.budget.settle(reserved, 0.0 if charge is None else charge.neurons)

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
            most = failure.wait or min(10.0, 0.2 * 2.0 ** min(attempt, 10))
            await asyncio.sleep(failure.wait or random.uniform(0, most))

    def _enough(self, error: ServiceError, attempt: int) -> bool:
        silent = time.monotonic() - max(self._answered, self.run.began)
        if error.reaction == "wait":
            return silent > PATIENCE
        return attempt >= (ATTEMPTS if self._any_answer else ATTEMPTS // 2 + 1)

    async def _attempt(self, request: Request, *, first: bool) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        pace, run = self.pace, self.run
        sent = await pace.enter(first=first)
        if self._halted:
            pace.leave()
            raise asyncio.CancelledError
        self._flying.add(task)
        run.flying(+1)
        try:
            answer = await self.engine.wire.send(request, self.plan.model.id)
        except RateLimited as error:
            pace.limited(sent, error.wait)
            raise
        except ServiceError as error:
            if error.reaction == "wait":
                pace.busy()
            else:
                pace.leave()
            raise
        except BaseException:
            pace.leave()
            raise
        finally:
            run.flying(-1)
            self._flying.discard(task)
        pace.clean(sent)
        self._answered, self._any_answer = time.monotonic(), True
        return answer

    async def _reserve(self, inputs: Sequence[Any]) -> float | None:
        """Set aside the most this request can cost; wait for others to be trued up when it does not fit yet."""
        budget = self.run.options.budget
        if budget is None:
            return None
        cost = price(self.plan.task.forecast(inputs, self.plan.model), self.plan.model)
        while (reserved := budget.reserve(cost, self.plan.model.id)) is None:
            if not budget.requests:
                raise _Broke(
                    f"The budget of {budget.words} is used up: {money(budget.spent)} spent, and the next request may "
                    f"cost {money(cost.neurons, exact=False)}."
                )
            await asyncio.sleep(0.01)
        return reserved

    # -- charges -------------------------------------------------------------------------------------------------

    def _weigh(self, request: Request, answer: Answer, batch: Sequence[int], inputs: Sequence[Any]) -> Charge:
        usage = self.plan.task.weigh(request, answer, inputs, self.plan.model)
        return self._charge(price(usage, self.plan.model), usage, rows=len(batch), seconds=answer.seconds)

    def _charge(
        self, cost: Cost, usage: Usage, *, rows: int, requests: int = 1, saved: float = 0.0, seconds: float = 0.0
    ) -> Charge:
        return Charge(
            time=time.time(), run=self.run.id, account=self.engine.account, origin=self.engine.origin,
            model=self.plan.model.id, verb=self.plan.task.name, requests=requests, rows=rows, neurons=cost.neurons,
            exact=cost.exact, saved_neurons=saved, tokens=usage.tokens, seconds=seconds,
        )  # fmt: skip

    def _enter(self, *charges: Charge) -> None:
        """Enter charges for which no answer is kept."""
        for charge in charges:
            self.run.note(charge)
        if charges:
            if self.engine.store is None:
                self.engine.book(charges)
            else:
                self.engine.store.charge(charges)


class _Broke(BudgetError, RowError):
    """The budget ended in mid-run: stops it like an exhausted quota."""

    reaction = "stop"
    code = "budget"
