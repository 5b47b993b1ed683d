"""One conversation: the task asks about a batch and reads the answers; what comes of it is charged, kept, delivered."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import AnswerError, CfaiError, RowError
from ..media import Media, Parts
from ..tasks import Answer, Cells, Input, Local, Request
from ..tasks import Conversation as TaskConversation
from .aside import aside
from .checkpoints import Beginnings, Begun
from .gateway import log_of
from .run_state import Run
from .sender import Exchange
from .shared import Engine
from .single_flight import Flight

_NO_RESULT = re.compile(rb'"result"\s*:\s*null')

#: Index of an input, and what was wrong with its answer.
Failed: TypeAlias = list[tuple[int, RowError]]
#: Failures that are kept like answers: a limit that the same question meets again (``max_tokens``, what the model
#: reads) is paid for once.  Others are not: an empty reply or one that does not fit may be a better one the next time,
#: and running a call again is how that is asked for.
KEPT = frozenset({"length", "truncated"})
#: Bytes of an answer from which on it is read in a thread, so that the loop goes on meanwhile.  A text takes 14 ms a
#: MiB, so the loop stands still for some 40 ms at most; 100 vectors are below it, which threads would slow down.
LARGE = 3 * 2**20


@dataclass(frozen=True, slots=True)
class _Ended:
    """What a conversation returned."""

    cells: Cells


class Conversation:
    """Holds the conversations of a run, one a batch."""

    def __init__(self, engine: Engine, run: Run, exchange: Exchange, beginnings: Beginnings) -> None:
        self._engine = engine
        self._run = run
        self._plan = run.plan
        self._exchange = exchange
        self._beginnings = beginnings

    async def hold(self, batch: list[int], flight: Flight, *, again: bool) -> Failed:
        """Hold it about these inputs, keep what is read, and return what the task could not read.

        Raises
        ------
        CfaiError
            No answer came, or none of it can be used; what was paid for is in the book all the same.
        """
        inputs = [self._plan.inputs[index] for index in batch]
        if self._plan.heavy:  # media is read now, and let go when this conversation is over
            inputs = await asyncio.to_thread(_held, inputs)
        keys = [self._plan.keys[index] for index in batch]
        begun = self._beginnings.open(keys)
        log: str | None = None
        talk = self._plan.task.conversation(inputs, self._plan.model)
        cells: Cells
        try:
            step = _next_turn(talk, None, first=True)
            while not isinstance(step, _Ended):
                if isinstance(step, Local):
                    step = _next_turn(talk, await aside(step.do))
                    continue
                answer = begun.again(step)
                if answer is None:
                    if (trouble := self.trouble()) is not None:
                        raise trouble
                    first = not begun.heard
                    answer, charge = await self._exchange.ask(step, inputs, keys=keys, first=first, again=again)
                    begun.add(step, answer, charge)
                    if _is_nothing(answer):
                        raise AnswerError("the answer has no body, or a result that is null", "empty", again=True)
                log = log_of(answer) or log
                step = await _read(talk, answer)
                if not isinstance(step, _Ended):
                    self._beginnings.keep(begun)
            cells = step.cells
            if len(cells) != len(batch):
                raise AnswerError(f"{len(cells)} answers for {len(batch)} inputs", "mismatch", again=True)
        except BaseException as why:
            if not (isinstance(why, AnswerError) and why.code in KEPT and len(batch) == 1):
                self._beginnings.leave(begun, why)  # paid for, whatever became of it
                raise
            cells = [why.with_traceback(None)]
        finally:
            talk.close()
        if log is not None:
            self._run.logs.update(dict.fromkeys(batch, log))
        return await self._keep(batch, cells, begun, flight, log)

    def trouble(self) -> CfaiError | None:
        """Return why nothing more is to be paid for: the store cannot keep it, and that was not asked for."""
        store, options = self._engine.store, self._run.options
        if store is None or options.cache is False or options.store_errors == "continue":
            return None
        return store.trouble(self._run.id)

    async def _keep(self, batch: list[int], cells: Cells, begun: Begun, flight: Flight, log: str | None) -> Failed:
        """Charge what was asked, deliver what was read and store it; return what could not be read.

        Failures of ``KEPT`` are stored too, each as a record of its own.
        """
        run, keys = self._run, self._plan.keys
        store = None if run.options.cache is False else self._engine.store
        before, charges = begun.paid, begun.open()
        failed: Failed = []
        if not isinstance(cells, np.ndarray):
            failed = [(index, cell) for index, cell in zip(batch, cells, strict=True) if isinstance(cell, RowError)]
            if failed:
                good = [(i, cell) for i, cell in zip(batch, cells, strict=True) if not isinstance(cell, RowError)]
                batch, cells = [i for i, _ in good], [cell for _, cell in good]
        else:
            batch, cells, failed = _finite(batch, cells)
        try:
            run.deliver(batch, cells)
        except (CfaiError, LookupError, TypeError, ValueError) as error:  # paid for and of no use: its rows fail
            failed += [(index, AnswerError(str(error), "dimensions")) for index in batch]
            batch = []
        records: list[tuple[list[int], Cells]] = [(batch, cells)] if batch else []
        records += [([index], [error]) for index, error in failed if error.code in KEPT]
        if charges:  # a row counts once, however many turns it took
            charges[0] = dataclasses.replace(charges[0], rows=run.rows_of(batch))
        for charge in charges:
            run.note(charge)
        if not records or store is None:
            self._engine.enter(charges)
        for indexes, found in records:
            flight.cells.update((keys[index], found[at : at + 1]) for at, index in enumerate(indexes))
            if log is not None:
                flight.logs.update((keys[index], log) for index in indexes)
        if store is None or not records:
            return failed
        try:
            while store.full:  # a slow disk holds the run back rather than filling the memory
                await asyncio.sleep(0.005)
        finally:  # also when the run is stopped meanwhile: this was paid for
            for indexes, found in records:
                names = [keys[index] for index in indexes]
                store.put(names, found, charges, log, before=before, owner=run.id, ends=begun.kept)
                before, charges = 0.0, []
        return failed


def _finite(batch: list[int], vectors: npt.NDArray[np.float32]) -> tuple[list[int], npt.NDArray[np.float32], Failed]:
    """Part vectors from those that float32 cannot hold: numbers beyond its range, or what is not a number."""
    with np.errstate(over="ignore"):
        vectors = np.asarray(vectors, dtype=np.float32)
    whole = np.asarray(np.isfinite(vectors).all(axis=1))
    if whole.all():
        return batch, vectors, []
    odd = AnswerError("the vector has values that are not finite float32 numbers", "not finite")
    failed: Failed = [(index, odd) for index, good in zip(batch, whole.tolist(), strict=True) if not good]
    return [index for index, good in zip(batch, whole.tolist(), strict=True) if good], vectors[whole], failed


def _is_nothing(answer: Answer) -> bool:
    """Whether an answer that was accepted holds no result at all, which tells nothing of the input."""
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


async def _read(talk: TaskConversation, answer: Answer) -> Request | Local | _Ended:
    """Let the task read an answer; a large one in a thread, which is awaited also where the run is cancelled."""
    if len(answer.content) < LARGE:
        return _next_turn(talk, answer)
    reading = asyncio.ensure_future(asyncio.to_thread(_next_turn, talk, answer))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})  # the task cannot be closed while it runs
        raise


def _next_turn(talk: TaskConversation, given: object, *, first: bool = False) -> Request | Local | _Ended:
    """Let the task go on; an answer it cannot read fails the row, since answers are not to be trusted."""
    try:
        return next(talk) if first else talk.send(given)
    except StopIteration as end:
        return _Ended(end.value)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if first or isinstance(error, CfaiError):
            raise
        said = f"{type(error).__name__}: {error}"[:300]
        raise AnswerError(f"the answer does not have the expected form ({said})", "unreadable") from error
