"""The run: takes batches from a plan, sends each one until it is answered or fails, and keeps the results.

``Session.runner`` makes a ``Runner``, and ``bridge`` executes it on the engine's loop.  Stored answers are loaded
first.  The rest is sent batch by batch, each when budget, run and limiter have room for it; every answer is read,
charged, stored and delivered before the next step of its batch.  A batch that is refused is halved until the failing
row is alone.

A failing row never ends a run.  A run ends early by Stop, by its budget, by an error of access or quota that another
row confirmed, or when the service stops answering while there are rows left to try.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import AnswerError, BudgetError, CfaiError, InputError, RowError, RowsFailed, StoreError, bare
from ..models import Usage, price
from ..models.ledger import money
from .account.in_flight import InFlight
from .concurrency import MOST
from .conversation import Conversations
from .engine import Engine
from .run_state import Run
from .sender import RunSender
from .stopping import current

#: How many rows may fail without a success before the run ends, since the question itself must be wrong.
HOPELESS = 100
#: The most requests of one run in the batch queue.
_QUEUED = 10_000
#: Conversations about media that are prepared beyond the available places, so that no place stays empty.
_READY = 12
#: Rows that are tried beside those that wait, before any of them was answered.
_BESIDE = 4
_CIRCULAR = (
    "this question is already being answered by the call that runs this tool, so the row would wait for itself; ask a "
    "different question inside the tool"
)


class Runner:
    """Executes one run, on the engine's loop."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self.run, self._engine, self._plan = run, engine, run.plan
        self._change = asyncio.Event()
        self._sender = RunSender(engine, run, self.halt, self._change.set)
        self._conversations = Conversations(engine, run, self._sender)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake_followers = asyncio.Event()
        self._untried = False  # whether there are rows for which no request was made yet
        self._hopeless = 0
        self._followed: list[tuple[int, InFlight]] = []  # in flight for another run
        self._late: list[int] = []  # stored by another run since this one looked into the store
        self.keeps: object = None  # its session, which must not be closed before the run ends

    async def execute(self) -> Run:
        """Execute the run; raises nothing, since ``run.error`` holds what ended it early."""
        run = self.run
        run.stop = current()
        await self._engine.begin(self)
        try:
            if self._engine.store is not None and run.options.cache is not False:
                self._engine.store.writer.retry()
                await self._engine.written(about=self._plan.keys)  # those of another run may still wait for the disk
            pending = await self._load_stored(range(len(self._plan.inputs)))
            if run.options.cache == "only":
                for index in pending:
                    run.fail(index, InputError('cache="only", and the store has no answer', "not stored"))
            elif pending and not run.halted:
                self._refuse_beyond_budget(pending)
                await self._conversations.load(pending)
                await self._send_all(await self._batches(pending))
        except CfaiError as error:
            self.halt(bare(error))
        finally:
            await self._drain()
            self._engine.end(self)
        return run

    def halt(self, error: CfaiError | None = None) -> None:
        """Send nothing more: requests in flight are awaited and kept, those that only wait are dropped."""
        if not self.run.halt(error):
            return
        for task in self._tasks - self._sender.in_flight:
            task.cancel()
        self._wake_followers.set()
        self._change.set()

    def close(self, why: CfaiError) -> None:
        """End because the session is closed; what is in flight is awaited and kept."""
        self.halt(CfaiError(str(why)))

    def stop(self) -> None:
        """End the run at the first press of Stop."""
        self.run.stopped = True
        self.halt()

    def abandon(self) -> None:
        """Drop what is in flight, at the second press of Stop or when a close has waited long enough."""
        self.run.stopped = self.run.stopped or self.run.error is None
        self.halt()
        for task in self._tasks:
            task.cancel()
        if self._sender.queue is not None:
            self._sender.queue.abandon()

    async def _drain(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._sender.queue is not None:
            await self._sender.queue.close(whole=not self.run.halted)
        await self._engine.written(self.run.id)
        if (store := self._engine.store) is not None:
            self.run.store_failure = store.writer.take_failure(self.run.id)
        if isinstance(self.run.error, StoreError) and self.run.done + self.run.failed == self.run.rows:
            self.run.error = None  # nothing was left to send; the failure is reported with the complete result
        self.run.ended = time.monotonic()

    def _refuse_beyond_budget(self, pending: Sequence[int]) -> None:
        """Raise before the first request if the inputs alone exceed the budget, by an estimate of their price.

        Nothing is sent at an unknown price either, unless the budget allows it.
        """
        budget, model = self.run.options.budget, self._plan.model
        if budget is None or self.run.options.part:
            return
        total, fits = 0.0, 0
        for batch in self._plan.batches(pending):
            usage = self._plan.estimate_usage(batch)
            least = {unit: amount for unit, amount in usage.amounts.items() if unit != "output_tokens"}
            total += budget.neurons_of(price(Usage(least), model), model.id)
            fits += len(batch) if total <= budget.left else 0
        if total > budget.left:
            some = f"About the first {fits:,} of {len(pending):,} distinct inputs would fit"
            raise BudgetError(
                f"{self._plan.task.name} with {model.id} needs about {money(total)} or more; the budget is "
                f"{budget.label}. Nothing was sent. {some if fits else 'Not even the first request fits'}: raise "
                "budget=, or take fewer rows or a cheaper model."
            )

    async def _load_stored(self, wanted: Sequence[int]) -> list[int]:
        """Deliver the stored answers of these inputs, enter what they saved, and return the inputs without one."""
        store, plan, run, engine = self._engine.store, self._plan, self.run, self._engine
        if store is None or run.options.cache not in (True, "only") or not wanted:
            return list(wanted)
        indexes = np.asarray(wanted, dtype=np.int64)
        parts = store.held([plan.keys[index] for index in wanted])
        open_ = np.ones(len(indexes), dtype=bool)  # another process may evict an answer between the two looks
        saved, rows, unpriced = 0.0, 0, 0
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            for held in part:
                if held.cells is None:
                    run.damaged += len(held.at)
                    continue
                open_[held.at] = False
                delivered = run.deliver(indexes[held.at], held.cells)
                rows += 0 if held.neurons is None else delivered
                unpriced += delivered if held.neurons is None else 0
                if held.log is not None:
                    run.logs.update(dict.fromkeys(indexes[held.at].tolist(), held.log))
                saved += held.neurons or 0.0
            if run.stopped:
                break
        run.stored += rows + unpriced
        amounts = ((saved, rows), (None, unpriced))  # kept separate: an unknown price is not zero
        entries = [engine.saving(run, neurons, count) for neurons, count in amounts if count]
        for entry in entries:
            run.note(entry)
        if entries:
            engine.enter(entries)
        return [int(index) for index in np.sort(indexes[open_])]

    async def _batches(self, pending: Sequence[int]) -> Iterator[list[int]]:
        """Return the inputs of each request; the ones already in the batch queue stay grouped as they were."""
        if self._sender.queue is None:
            return self._plan.batches(pending)
        if not (before := await self._sender.queue.resume(pending)):
            return self._plan.batches(pending)
        pending = sorted(set(pending) - {index for batch in before for index in batch})
        return itertools.chain(before, self._plan.batches(pending))

    async def _send_all(self, batches: Iterable[list[int]]) -> None:
        self._untried = True
        for batch in batches:
            while len(self._tasks) >= self._most and not self.run.halted:
                await self._changed()
            if self.run.halted:
                break
            await self._start(batch)
            if len(self._tasks) % 8 == 0:  # let them begin; a turn of the loop for each one would be slow
                await asyncio.sleep(0)
        self._untried = False
        while self._tasks:
            await self._changed()
        await self._collect_followed()

    @property
    def _most(self) -> int:
        """How many conversations may be held at once; few where each one holds media in memory.

        Conversations that wait after a refusal do not block others: their outcome shows whether the service works.
        """
        cap, heavy, waiting = self.run.options.concurrency, self._plan.heavy, len(self._sender.waiting)
        if self._sender.queue is not None:  # requests in the batch queue take no place here
            return MOST if heavy else _QUEUED
        most = MOST if cap == "auto" else cap
        most = min(most, self._sender.places + _READY) if heavy else most
        beside = waiting if not waiting or self._sender.serving else min(waiting, _BESIDE)
        return max(most, min(MOST, most + beside))

    async def _changed(self) -> None:
        self._change.clear()
        await self._change.wait()
        if (trouble := self._conversations.trouble()) is not None:
            self.halt(trouble)

    async def _start(self, batch: list[int]) -> None:
        keys, cache, inputs = self._plan.keys, self.run.options.cache, self._engine.share.inputs
        wanted = [] if cache is False else [keys[index] for index in batch]  # else its answers are not shared
        in_flight, others, late = await inputs.claim(wanted, stored=cache is True)
        if late:
            self._late += [index for index in batch if keys[index] in late]
            batch = [index for index in batch if keys[index] not in late]
        for index in batch if others else ():
            if (other := others.get(keys[index])) is not None:
                self._followed.append((index, other))
            elif keys[index] in others:
                self.run.fail(index, InputError(_CIRCULAR, "circular"))
        if self.run.halted:
            inputs.complete(in_flight)
            return
        mine = [index for index in batch if keys[index] not in others] if others else batch
        if mine:
            task = asyncio.get_running_loop().create_task(self._work(mine, in_flight))
            self._tasks.add(task)
            # Not inside the task: one that is cancelled before its first step would never get there.
            task.add_done_callback(lambda task: self._done(task, in_flight))
        else:  # another run may wait for it already, from before it was known that these are in flight elsewhere
            inputs.complete(in_flight)

    def _done(self, task: asyncio.Task[None], in_flight: InFlight) -> None:
        self._engine.share.inputs.complete(in_flight)
        self._tasks.discard(task)
        self._change.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect of the package or of a task: the run ends with it instead of going on without the row.
            failure = error if isinstance(error, CfaiError) else CfaiError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error if failure is not error else error.__cause__
            self.halt(failure)

    async def _collect_followed(self) -> None:
        """Take the answers that other runs got meanwhile, and send what they did not get."""
        followed, self._followed, late, self._late = self._followed, [], self._late, []
        again = await self._load_late(late)
        late = []
        for index, in_flight in followed:
            halted = asyncio.ensure_future(self._wake_followers.wait())
            ends: set[asyncio.Future[Any]] = {in_flight.done, halted}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            halted.cancel()
            in_flight.unfollow()
            if self.run.halted:  # the rest is not waited for either
                continue
            key = self._plan.keys[index]
            if key not in in_flight.cells:
                (late if in_flight.elsewhere else again).append(index)
                continue
            self.run.stored += self.run.deliver([index], in_flight.cells[key])
            if log := in_flight.logs.get(key):
                self.run.logs[index] = log
        if self.run.halted:
            return
        again += await self._load_late(late)
        if again:
            await self._send_all(self._plan.batches(again))

    async def _load_late(self, late: Sequence[int]) -> list[int]:
        """Take answers that were stored after this run had looked; return the inputs that the store does not hold."""
        if not late:
            return []
        await self._engine.written()  # it may still wait for the disk
        again = await self._load_stored(late)
        # These could not be written, so the store is not asked again.
        self._engine.share.inputs.own.completed.difference_update(self._plan.keys[index] for index in again)
        return again

    async def _work(self, batch: list[int], in_flight: InFlight) -> None:
        """Work on one batch until every row is answered or failed; never raises for what the service does."""
        in_flight.enter()
        parts = collections.deque([batch])
        try:
            while parts and not self.run.halted:
                part = parts.popleft()
                failure = await self._attempt(part, in_flight)
                if failure is None:
                    continue
                middle = len(part) // 2
                halves = [part[:middle], part[middle:]]
                if not middle or (failure.reaction == "row" and not isinstance(failure, AnswerError)):
                    for index in part:
                        self._fail(index, failure)
                elif failure.reaction == "stop":  # the other half first: it confirms the refusal or refutes it
                    parts.extend(halves)
                else:
                    parts.extendleft(reversed(halves))
        except asyncio.CancelledError:
            if not self.run.halted:
                raise

    async def _attempt(self, batch: list[int], in_flight: InFlight) -> RowError | None:
        """Hold the conversation about a batch; return why it has no answer, so that it is halved or fails."""
        # Each attempt is paid for, so a batch is soon halved; a single row gets enough to make its loss unlikely.
        attempts = (5 if len(batch) == 1 else 2) if self.run.restarts else 1
        for again in range(attempts):
            try:
                for index, failed in await self._conversations.hold(batch, in_flight, again=again > 0):
                    self._fail(index, failed)
                return None
            except BudgetError as error:
                self.halt(bare(error))
                return None
            except RowError as error:
                failure = bare(error)
            if not isinstance(failure, AnswerError) or failure.reaction != "again":
                break
        if self.run.halted and failure.reaction == "stop":
            return None  # confirmed, and the run has ended with it
        return None if self._ends_with(batch, failure) else failure

    def _ends_with(self, batch: Sequence[int], failure: RowError) -> bool:
        """Whether the service has stopped answering: the run ends, or if all rows were tried, this batch fails."""
        silent = self._sender.gives_up([self._plan.keys[index] for index in batch], failure)
        if silent and self._untried:
            self.halt(failure)
        elif silent or failure.code == "no connection":  # about no row, so halves would show nothing
            for index in batch:
                self._fail(index, failure)
        else:
            return False
        return True

    def _fail(self, index: int, failure: RowError) -> None:
        self.run.fail(index, failure)
        if not self.run.done and not self.run.filled(failure) and self.run.options.part != "later":
            self._hopeless += 1
            if self._hopeless >= HOPELESS and self._untried:
                self.halt(RowsFailed(f"The first {HOPELESS} rows all failed and the rest was not sent: {failure}"))
