"""Conversations under way: every turn is kept as it is answered, so that none is paid for twice.

A conversation (tools, samples, JSON that is mended) is kept under its inputs' key when it has ended.  Until then each
answer is added to those the store has of it, under a key of their own: where Stop, a budget, the service or a kill ends
the run before that, the next one gives them to the conversation again, as long as it asks what it asked then.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import pydantic_core

from ..errors import AnswerError
from ..models.ledger import Charge
from ..tasks import Answer, Request, Task
from .run_state import Run
from .shared import Engine
from .store.codec import Turn

#: What is kept of an answer's headers: how it is read, and where a gateway wrote it down.
_HEADERS = ("content-type", "cf-aig-log-id")


@dataclass(slots=True)
class Begun:
    """One conversation: how far it is, and what it was answered in an earlier run and has not asked for again.

    ``heard`` counts its turns; ``charges`` are this run's, of which the first ``entered`` are in the book; ``before``
    is what the answers of the earlier run had cost, None where that is unknown.
    """

    key: bytes | None
    talk: bytes = b""  # which conversation about this key; made when its first turn is kept
    known: list[Turn] = field(default_factory=list)
    before: float | None = 0.0
    heard: int = 0
    charges: list[Charge] = field(default_factory=list)
    entered: int = 0
    resumed: bool = False
    last: tuple[Request, Answer] | None = None  # the newest turn, where it was asked in this run

    def again(self, request: Request) -> Answer | None:
        """Return what this request was answered in the earlier run; None from the first one on that is another."""
        if not self.known or self.known[0].asked != _digest(request):
            self.known = []
            return None
        turn = self.known.pop(0)
        self.heard += 1
        self.resumed, self.last = True, None
        return Answer(turn.content, turn.headers)

    def add(self, request: Request, answer: Answer, charge: Charge) -> None:
        """Note what this run asked and was answered."""
        self.heard += 1
        self.last = request, answer
        self.charges.append(charge)

    def open(self) -> list[Charge]:
        """Return the charges that are not in the book yet, which is for the caller to see to."""
        new, self.entered = self.charges[self.entered :], len(self.charges)
        return new

    @property
    def paid(self) -> float | None:
        """Neurons of what is in the book, for those who keep the next part; None where that is unknown."""
        return _sum([self.before, *(charge.neurons for charge in self.charges[: self.entered])])

    @property
    def kept(self) -> bytes | None:
        """The key under which the store has turns of it; None where it has none."""
        return self.key if self.resumed or self.entered else None


class Beginnings:
    """The conversations of one run, and those that an earlier one left in the middle."""

    def __init__(self, engine: Engine, run: Run) -> None:
        cache, task = run.options.cache, type(run.plan.task)
        # A single question that was answered is a conversation that has ended.
        self._store = engine.store if cache is not False and task.conversation is not Task.conversation else None
        self._engine, self._run = engine, run
        self._known: dict[bytes, tuple[bytes, list[Turn]]] = {}

    async def look(self, pending: Sequence[int]) -> None:
        """Read what the store holds of these inputs' conversations."""
        if self._store is None or self._run.options.cache is not True:
            return
        keys = [_key(self._run.plan.keys[index]) for index in pending]
        self._known = await asyncio.to_thread(self._store.turns, keys)

    def open(self, keys: Sequence[bytes]) -> Begun:
        """Resume the conversation about inputs, once; a second call starts from scratch."""
        if self._store is None or len(keys) > 1:
            return Begun(None)
        key = _key(keys[0])
        if (known := self._known.pop(key, None)) is None:
            return Begun(key)
        return Begun(key, known[0], known[1], _sum([turn.neurons for turn in known[1]]))

    def keep(self, begun: Begun) -> None:
        """Keep the newest turn of a conversation that goes on, and what it cost so far."""
        if begun.last is None:
            return
        request, answer = begun.last
        charges, begun.last = self._noted(begun), None
        if self._store is None or begun.key is None:
            self._engine.enter(charges)
            return
        headers = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        cost = _sum([charge.neurons for charge in charges])
        turn = Turn(asked=_digest(request), content=answer.content, headers=headers, neurons=cost)
        begun.talk = begun.talk or os.urandom(8)
        self._store.add_turn(begun.key, begun.talk, begun.heard - 1, turn, charges)

    def leave(self, begun: Begun, why: BaseException) -> None:
        """Enter what a conversation cost that did not end; a later run does not go on with one that ended badly."""
        spoilt = isinstance(why, AnswerError) and begun.kept is not None
        charges = self._noted(begun)
        if self._store is not None and begun.key is not None and spoilt:
            self._store.drop_turns(begun.key, charges)
        else:
            self._engine.enter(charges)

    def _noted(self, begun: Begun) -> list[Charge]:
        charges = begun.open()
        for charge in charges:
            self._run.note(charge)
        return charges


def _sum(amounts: Sequence[float | None]) -> float | None:
    return None if None in amounts else sum(filter(None, amounts))


def _key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, person=b"begun").digest()


def _digest(request: Request) -> str:
    asked = [request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=16).hexdigest()
