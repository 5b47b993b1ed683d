"""One conversation about a batch: the task asks and reads the answers; the cells are charged, delivered and stored.

``Runner`` calls ``Conversations.hold`` for each batch.  The task yields requests, which ``RunSender`` sends, and local
steps (tools), which run in threads.  The cells that the task returns are delivered to the run, stored, and shared with
other runs that wait for them; rows that could not be read are returned to the runner.

A conversation is stored under its input's key once it has ended.  If it has several turns (tools, samples, repair of
JSON), each answer is saved as a checkpoint until then, so that none is paid for twice: when Stop, a budget, the service
or a kill ends the run, the next run replays the saved answers, as long as the task sends the same requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from ..errors import AnswerError, CfaiError
from ..media import Media, Parts
from ..models.ledger import Charge
from ..tasks import Answer, Cells, Conversation, DialectTask, Input, Local, Request, Task
from .account.in_flight import InFlight
from .engine import Engine
from .run_options import digest_of
from .run_state import Failed, Indexes, Run, errors_apart
from .sender import RunSender
from .stopping import run_local
from .store.codec import Turn, as_stored

#: The headers of an answer that are kept: how it is read, and the gateway's log.
_HEADERS = ("content-type", "cf-aig-log-id")
_NO_RESULT = re.compile(rb'"result"\s*:\s*null')

#: Failures that are stored like answers: the same question meets the same limit again (``max_tokens``, the model's
#: context), so it is paid for once.  Other failures are not stored: the next reply may be a good one, and running the
#: call again requests it.
KEPT = frozenset({"length", "truncated"})
#: Bytes from which on an answer is read in a thread, so that the loop is not blocked.  A text takes 14 ms a MiB, so the
#: loop is blocked for some 40 ms at most; 100 vectors are below the limit, and a thread would slow them down.
LARGE = 3 * 2**20


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a conversation returned."""

    cells: Cells


@dataclass(slots=True)
class Checkpoint:
    """The state of one conversation, and the saved answers of an earlier run that were not replayed yet."""

    key: bytes | None  # None: nothing is saved
    id: bytes = b""  # of this conversation about the key; made when its first turn is saved
    saved: list[Turn] = field(default_factory=list)
    before: float | None = 0.0  # Neurons that the answers of the earlier run had cost; None: unknown
    turns: int = 0  # answers so far, replayed ones included
    charges: list[Charge] = field(default_factory=list)  # of this run; the first `entered` are in the ledger
    entered: int = 0
    resumed: bool = False  # a saved answer was replayed
    last: tuple[Request, Answer] | None = None  # the newest turn, where this run sent it

    def replay(self, request: Request) -> Answer | None:
        """Return the saved answer to this request; None from the first differing request on."""
        if not self.saved:
            return None
        if self.saved[0].asked != digest_of(request, 16):
            self.saved = []
            return None
        turn = self.saved.pop(0)
        self.turns += 1
        self.resumed, self.last = True, None
        return Answer(turn.content, turn.headers)

    def add(self, request: Request, answer: Answer, charge: Charge) -> None:
        """Note a request of this run and its answer."""
        self.turns += 1
        self.last = request, answer
        self.charges.append(charge)

    def take_charges(self, rows: int) -> list[Charge]:
        """Return the charges to enter in the ledger; the first one counts these rows."""
        new, self.entered = self.charges[self.entered :], len(self.charges)
        return [replace(new[0], rows=rows), *new[1:]] if new and rows else new

    @property
    def paid(self) -> float | None:
        """Neurons of the turns that are in the ledger; None where that is unknown."""
        return _sum([self.before, *(charge.neurons for charge in self.charges[: self.entered])])

    @property
    def stored_key(self) -> bytes | None:
        """The key under which the store holds turns of it; None if it holds none."""
        return self.key if self.resumed or self.entered else None


class Conversations:
    """Holds the conversations of a run, one for each batch."""

    def __init__(self, engine: Engine, run: Run, sender: RunSender) -> None:
        self._engine, self._run, self._plan, self._sender = engine, run, run.plan, sender
        # A conversation of a single question needs no checkpoints: it has ended with its answer.
        task = run.plan.task
        several = type(task).conversation is not Task.conversation
        if isinstance(task, DialectTask):
            several = task.several(run.plan.model)
        self._turns = engine.store if several and run.options.cache is not False else None
        self._left: dict[bytes, tuple[bytes, list[Turn]]] = {}  # by an earlier run

    async def load(self, pending: Sequence[int]) -> None:
        """Read the checkpoints of these inputs from the store."""
        if self._turns is not None and self._run.options.cache is True:
            keys = [_key(self._plan.keys[index]) for index in pending]
            self._left = await asyncio.to_thread(self._turns.turns, keys)

    async def hold(self, batch: list[int], in_flight: InFlight, *, again: bool) -> Failed:
        """Hold the conversation about these inputs, keep its cells, and return the inputs that could not be read.

        CfaiError is raised where no answer came or all of it is unusable; what was paid for is in the ledger anyway.
        """
        inputs = [self._plan.inputs[index] for index in batch]
        if self._plan.heavy:  # media is read now, and released when this conversation is over
            inputs = await asyncio.to_thread(_held, inputs)
        keys = [self._plan.keys[index] for index in batch]
        point = self._open(keys)
        log: str | None = None
        asked: set[str] = set()  # where a gateway may have a cache: the digests of the requests so far
        steps = self._plan.task.conversation(inputs, self._plan.model)
        cells: Cells
        try:
            step = _next_turn(steps, None, first=True)
            while not isinstance(step, _Ended):
                if isinstance(step, Local):
                    step = _next_turn(steps, await run_local(step.do))
                    continue
                fresh = again
                if self._run.options.gateway is not None:  # a further sample is not the copy of an earlier one
                    digest = digest_of(step, 16)
                    fresh = again or digest in asked
                    asked.add(digest)
                answer = point.replay(step)
                if answer is None:
                    if (trouble := self.trouble()) is not None:
                        raise trouble
                    first = not point.turns
                    answer, charge = await self._sender.ask(step, inputs, keys=keys, first=first, fresh=fresh)
                    point.add(step, answer, charge)
                    if _is_nothing(answer):
                        raise AnswerError("the answer has no body, or a result that is null", "empty", again=True)
                log = answer.headers.get("cf-aig-log-id") or log
                step = _next_turn(steps, answer) if len(answer.content) < LARGE else await _read(steps, answer)
                if not isinstance(step, _Ended):
                    self._save(point)
            cells = step.cells
            if len(cells) != len(batch):
                raise AnswerError(f"{len(cells)} answers for {len(batch)} inputs", "mismatch", again=True)
        except BaseException as why:
            if not (isinstance(why, AnswerError) and why.code in KEPT and len(batch) == 1):
                self._leave(point, why)  # paid for all the same
                raise
            cells = [why.with_traceback(None)]
        finally:
            steps.close()
        if log is not None:
            self._run.logs.update(dict.fromkeys(batch, log))
        return await self._keep(batch, cells, point, in_flight, log)

    def trouble(self) -> CfaiError | None:
        """Return why nothing more may be paid for: the store cannot keep answers, and ``store_errors`` is "stop"."""
        store, options = self._engine.store, self._run.options
        if store is None or options.cache is False or options.store_errors == "continue":
            return None
        return store.writer.trouble(self._run.id)

    def _open(self, keys: Sequence[bytes]) -> Checkpoint:
        """Resume the saved conversation for this key, once; a second call starts from scratch."""
        if self._turns is None or len(keys) > 1:
            return Checkpoint(None)
        key = _key(keys[0])
        if (left := self._left.pop(key, None)) is None:
            return Checkpoint(key)
        return Checkpoint(key, left[0], left[1], _sum([turn.neurons for turn in left[1]]))

    def _save(self, point: Checkpoint) -> None:
        """Save the newest turn of a conversation that goes on, with its charges."""
        if point.last is None:
            return
        request, answer = point.last
        charges, point.last = self._noted(point), None
        if self._turns is None or point.key is None:
            self._engine.enter(charges)
            return
        headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        cost = _sum([charge.neurons for charge in charges])
        turn = Turn(asked=digest_of(request, 16), content=answer.content, headers=headers, neurons=cost)
        point.id = point.id or os.urandom(8)
        self._turns.add_turn(point.key, point.id, point.turns - 1, turn, charges)

    def _leave(self, point: Checkpoint, why: BaseException) -> None:
        """Enter the charges of a conversation that was broken off; after a bad answer it is not resumed."""
        failed = isinstance(why, AnswerError) and point.stored_key is not None
        charges = self._noted(point)
        if self._turns is not None and point.key is not None and failed:
            self._turns.drop_turns(point.key, charges)
        else:
            self._engine.enter(charges)

    def _noted(self, point: Checkpoint, rows: int = 0) -> list[Charge]:
        """Add the charges that were not entered yet to the totals of the run, and return them for the ledger."""
        charges = point.take_charges(rows)
        for charge in charges:
            self._run.note(charge)
        return charges

    async def _keep(
        self, batch: list[int], cells: Cells, point: Checkpoint, in_flight: InFlight, log: str | None
    ) -> Failed:
        """Deliver the cells, charge the requests and store both; return the inputs that could not be read.

        Failures of ``KEPT`` are stored too, each as a record of its own.
        """
        run, keys = self._run, self._plan.keys
        store = None if run.options.cache is False else self._engine.store
        before = point.paid
        if isinstance(cells, np.ndarray) and cells.ndim == 2 and cells.dtype.kind in "fiu":
            read, cells, failed = _finite(batch, cells)
        else:
            read, cells, failed = _storable(*errors_apart(batch, list(cells)))
        try:
            rows = run.deliver(read, cells)
        except (CfaiError, LookupError, TypeError, ValueError) as error:  # paid for and not usable: its rows fail
            failed += [(index, AnswerError(str(error), "dimensions")) for index in read]
            rows, read = 0, []
        records: list[tuple[list[bytes], Cells]] = [([keys[index] for index in read], cells)] if len(read) else []
        for index, failure in failed:
            if failure.code in KEPT and not _storable([index], [failure], [])[2]:
                records.append(([keys[index]], [failure]))
        # A row counts once, in the first charge, however many turns it took.
        charges = self._noted(point, rows)
        for names, found in records:
            if in_flight.keys:
                in_flight.cells.update((name, found[at : at + 1]) for at, name in enumerate(names))
            if log is not None:
                in_flight.logs.update(dict.fromkeys(names, log))
        if store is None or not records:
            self._engine.enter(charges)
            return failed
        try:
            while store.writer.full:  # a slow disk slows the run down instead of filling the memory
                await asyncio.sleep(0.005)
        finally:  # even when the run is stopped meanwhile, since this was paid for
            for names, found in records:
                store.put(names, found, charges, log, before=before, owner=run.id, ends=point.stored_key)
                before, charges = 0.0, []
        return failed


def _storable(batch: Indexes, cells: Cells, failed: Failed) -> tuple[Indexes, Cells, Failed]:
    """Return cells as the store returns them, so that first and later answers are equal; fail what it cannot hold."""
    try:
        return batch, as_stored(cells), failed
    except (TypeError, ValueError) as error:
        why = AnswerError(f"the store cannot hold the cell ({error}); return texts, numbers, lists or dicts", "cell")
    good: list[int] = []
    found: Cells = []
    for index, cell in zip(map(int, batch), cells, strict=True) if len(batch) > 1 else ():
        one, kept, unheld = _storable([index], [cell], [])
        good, found, failed = [*good, *one], [*found, *kept], [*failed, *unheld]
    if len(good) == len(batch) or len(batch) == 1:  # each alone may be held, and not a picture beside a text
        return [], [], [*failed, *((int(index), why) for index in batch)]
    return _storable(good, found, failed)


def _finite(batch: list[int], vectors: npt.NDArray[np.float32]) -> tuple[Indexes, Cells, Failed]:
    """Separate vectors that float32 cannot hold, with values out of range or not a number."""
    with np.errstate(over="ignore"):
        vectors = np.asarray(vectors, dtype=np.float32)
    whole = np.asarray(np.isfinite(vectors).all(axis=1))
    if whole.all():
        return batch, vectors, []
    odd = AnswerError("the vector has values that are not finite float32 numbers", "not finite")
    failed: Failed = [(index, odd) for index, good in zip(batch, whole.tolist(), strict=True) if not good]
    return [index for index, good in zip(batch, whole.tolist(), strict=True) if good], vectors[whole], failed


def _is_nothing(answer: Answer) -> bool:
    """Whether an accepted answer holds no result at all, which is not the fault of the input."""
    if len(answer.content) > 1_000:
        return False
    content = answer.content.strip()
    return content in (b"", b"null") or (_NO_RESULT.search(content) is not None and answer.json is None)


def _held(inputs: Sequence[Input]) -> list[Input]:
    """Read the media of these inputs."""
    held: list[Input] = []
    for value in inputs:
        if isinstance(value, Parts):
            value = Parts(tuple(piece.loaded() if isinstance(piece, Media) else piece for piece in value.pieces))
        held.append(value.loaded() if isinstance(value, Media) else value)
    return held


async def _read(steps: Conversation, answer: Answer) -> Request | Local | _Ended:
    """Let the task read a large answer in a thread, which is awaited even when the run is cancelled."""
    reading = asyncio.ensure_future(asyncio.to_thread(_next_turn, steps, answer))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})  # a generator cannot be closed while it runs
        raise


def _next_turn(steps: Conversation, given: object, *, first: bool = False) -> Request | Local | _Ended:
    """Let the task take the next step; an answer that it cannot read fails the row, since answers are untrusted."""
    try:
        return next(steps) if first else steps.send(given)
    except StopIteration as end:
        return _Ended(end.value)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if first or isinstance(error, CfaiError):
            raise
        reason = f"{type(error).__name__}: {error}"[:300]
        raise AnswerError(f"the answer does not have the expected form ({reason})", "unreadable") from error


def _sum(amounts: Sequence[float | None]) -> float | None:
    return None if None in amounts else sum(filter(None, amounts))


def _key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, person=b"begun").digest()  # "begun": stored keys must not change
