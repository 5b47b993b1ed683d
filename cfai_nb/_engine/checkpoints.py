"""Checkpoints of conversations: every turn is kept as it is answered, so that none is paid for twice.

A conversation (tools, samples, JSON that is repaired) is stored under its input's key once it has ended.  Until then
``Conversations`` saves each answer here, under a key of its own.  Where Stop, a budget, the service or a kill ends the
run earlier, the next run replays the saved answers, as long as the task sends the same requests.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pydantic_core

from ..errors import AnswerError
from ..models.ledger import Charge
from ..tasks import Answer, Request, Task
from .run_state import Run
from .shared import Engine
from .store.codec import Turn

#: The headers of an answer that are kept: how it is read, and the gateway's log.
_HEADERS = ("content-type", "cf-aig-log-id")


@dataclass(slots=True)
class Checkpoint:
    """One conversation: how far it is, and the saved answers of an earlier run that were not replayed yet.

    Attributes
    ----------
    key : bytes or None
        None where nothing is saved.
    id : bytes
        Which conversation about this key; made when its first turn is saved.
    saved : list of Turn
        Answers of an earlier run.
    before : float or None
        Neurons the answers of the earlier run had cost; None is unknown.
    turns : int
        Answers so far, replayed ones included.
    charges : list of Charge
        Of this run; the first ``entered`` are in the ledger.
    resumed : bool
        Whether a saved answer was replayed.
    last : (Request, Answer) or None
        The newest turn, where this run sent it.
    """

    key: bytes | None
    id: bytes = b""
    saved: list[Turn] = field(default_factory=list)
    before: float | None = 0.0
    turns: int = 0
    charges: list[Charge] = field(default_factory=list)
    entered: int = 0
    resumed: bool = False
    last: tuple[Request, Answer] | None = None

    def replay(self, request: Request) -> Answer | None:
        """Return the saved answer to this request; None from the first request on that differs."""
        if not self.saved:
            return None
        if self.saved[0].asked != _digest(request):
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

    def take_charges(self, *, rows: int | None = 0) -> list[Charge]:
        """Return the charges that the caller is to enter in the ledger; the first one counts the answered rows.

        ``rows`` None: as it was charged.
        """
        new, self.entered = self.charges[self.entered :], len(self.charges)
        for at, charge in enumerate(new):
            count = 0 if at else rows
            if count is not None and charge.rows != count:
                new[at] = replace(charge, rows=count)
        return new

    @property
    def paid(self) -> float | None:
        """Neurons of all that is in the ledger; None where that is unknown."""
        return _sum([self.before, *(charge.neurons for charge in self.charges[: self.entered])])

    @property
    def stored_key(self) -> bytes | None:
        """The key under which the store has turns of it; None where it has none."""
        return self.key if self.resumed or self.entered else None


class Checkpoints:
    """The checkpoints of one run, and those that an earlier run left."""

    def __init__(self, engine: Engine, run: Run) -> None:
        cache, task = run.options.cache, type(run.plan.task)
        # A conversation of a single question needs none: it has ended with its answer.
        self._store = engine.store if cache is not False and task.conversation is not Task.conversation else None
        self._engine, self._run = engine, run
        self._left: dict[bytes, tuple[bytes, list[Turn]]] = {}

    async def load(self, pending: Sequence[int]) -> None:
        """Read the checkpoints that the store has of these inputs."""
        if self._store is None or self._run.options.cache is not True:
            return
        keys = [_key(self._run.plan.keys[index]) for index in pending]
        self._left = await asyncio.to_thread(self._store.turns, keys)

    def open(self, keys: Sequence[bytes]) -> Checkpoint:
        """Resume the saved conversation for this key, once; a second call starts from scratch."""
        if self._store is None or len(keys) > 1:
            return Checkpoint(None)
        key = _key(keys[0])
        if (left := self._left.pop(key, None)) is None:
            return Checkpoint(key)
        return Checkpoint(key, left[0], left[1], _sum([turn.neurons for turn in left[1]]))

    def save(self, point: Checkpoint) -> None:
        """Save the newest turn of a conversation that goes on, with its charges."""
        if point.last is None:
            return
        request, answer = point.last
        charges, point.last = self._noted(point), None
        if self._store is None or point.key is None:
            self._engine.enter(charges)
            return
        headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        cost = _sum([charge.neurons for charge in charges])
        turn = Turn(asked=_digest(request), content=answer.content, headers=headers, neurons=cost)
        point.id = point.id or os.urandom(8)
        self._store.add_turn(point.key, point.id, point.turns - 1, turn, charges)

    def leave(self, point: Checkpoint, why: BaseException) -> None:
        """Enter the charges of a conversation that did not end; one that ended with a bad answer is not resumed."""
        failed = isinstance(why, AnswerError) and point.stored_key is not None
        charges = self._noted(point)
        if self._store is not None and point.key is not None and failed:
            self._store.drop_turns(point.key, charges)
        else:
            self._engine.enter(charges)

    def _noted(self, point: Checkpoint) -> list[Charge]:
        charges = point.take_charges()
        for charge in charges:
            self._run.note(charge)
        return charges


def _sum(amounts: Sequence[float | None]) -> float | None:
    return None if None in amounts else sum(filter(None, amounts))


def _key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, person=b"begun").digest()  # "begun": stored keys must not change


def _digest(request: Request) -> str:
    asked = [request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=16).hexdigest()
