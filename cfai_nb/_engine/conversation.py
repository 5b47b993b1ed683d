"""One conversation: the task asks about a batch and reads the answers; what comes of it is charged, kept, delivered."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..errors import AnswerError, CfaiError, RowError
from ..media import Media, Parts
from ..tasks import Answer, Cells, Input, Local, Request, Talk
from .aside import aside
from .begun import Beginnings, Begun
from .engine import Engine
from .exchange import Exchange
from .flights import Flight
from .gateway import log_of
from .record import Run

_NO_RESULT = re.compile(rb'"result"\s*:\s*null')

#: Index of an input, and what was wrong with its answer.
Failed: TypeAlias = list[tuple[int, RowError]]


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
        talk = self._plan.task.talk(inputs, self._plan.model)
        try:
            try:
                step = next(talk)
                while True:
                    if isinstance(step, Local):
                        step = _next_turn(talk, await aside(step))
                        continue
                    answer = begun.again(step)
                    if answer is None:
                        first = not begun.heard
                        answer, charge = await self._exchange.ask(step, inputs, keys=keys, first=first, again=again)
                        begun.charges.append(charge)
                    if _is_nothing(answer):
                        raise AnswerError("the answer has no body, or a result that is null", "empty", again=True)
                    begun.heard.append((step, answer))
                    log = log_of(answer) or log
                    step = _next_turn(talk, answer)
                    self._beginnings.keep(begun)
            except StopIteration as end:
                cells: Cells = end.value
            if len(cells) != len(batch):
                raise AnswerError(f"{len(cells)} answers for {len(batch)} inputs", "mismatch", again=True)
        except BaseException as why:
            self._beginnings.leave(begun, why)  # paid for, whatever became of it
            raise
        finally:
            talk.close()
        if log is not None:
            self._run.logs.update(dict.fromkeys(batch, log))
        return await self._keep(batch, cells, begun, flight, log)

    async def _keep(self, batch: list[int], cells: Cells, begun: Begun, flight: Flight, log: str | None) -> Failed:
        run, store, keys = self._run, self._engine.store, self._plan.keys
        before, charges = begun.paid, begun.open()
        failed: Failed = []
        if not isinstance(cells, np.ndarray):
            failed = [(index, cell) for index, cell in zip(batch, cells, strict=True) if isinstance(cell, RowError)]
            if failed:
                good = [(i, cell) for i, cell in zip(batch, cells, strict=True) if not isinstance(cell, RowError)]
                batch, cells = [i for i, _ in good], [cell for _, cell in good]
        try:
            run.deliver(batch, cells)
        except (CfaiError, LookupError, TypeError, ValueError) as error:  # paid for, of no use: its rows fail
            failed += [(index, AnswerError(str(error), "dimensions")) for index in batch]
            batch = []
        if charges:  # a row counts once, however many turns it took
            charges[0] = dataclasses.replace(charges[0], rows=run.rows_of(batch))
        for charge in charges:
            run.note(charge)
        if not batch or store is None or run.options.cache is False:
            self._engine.enter(charges)
        if not batch:
            return failed
        flight.cells.update((keys[index], cells[at : at + 1]) for at, index in enumerate(batch))
        if log is not None:
            flight.logs.update((keys[index], log) for index in batch)
        if store is None or run.options.cache is False:
            return failed
        try:
            while store.full:  # a slow disk holds the run back rather than filling the memory
                await asyncio.sleep(0.005)
        finally:  # also when the run is stopped meanwhile: this was paid for
            store.put([keys[index] for index in batch], cells, charges, log, before=before)
        return failed


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
            value = Parts(tuple(piece.held() if isinstance(piece, Media) else piece for piece in value.pieces))
        held.append(value.held() if isinstance(value, Media) else value)
    return held


def _next_turn(talk: Talk, given: object) -> Request | Local:
    """Let the task read an answer; what it stumbles over fails the row, since answers are not to be trusted."""
    try:
        return talk.send(given)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, CfaiError):
            raise
        said = f"{type(error).__name__}: {error}"[:300]
        raise AnswerError(f"the answer does not have the expected form ({said})", "unreadable") from error
