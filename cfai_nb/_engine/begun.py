"""Conversations under way: every turn is kept as it is answered, so that none is paid for twice.

A conversation (tools, samples, JSON that is mended) is kept under its inputs' key when it has ended.  Until then its
answers are kept under a key of their own: where Stop, a budget, the service or a kill ends the run before that, the
next one gives them to the conversation again, as long as it asks what it asked then.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pydantic_core

from ..errors import AnswerError
from ..ledger import Charge
from ..tasks import Answer, Json, Request, Task
from .engine import Engine
from .record import Run

#: What is kept of an answer's headers: how it is read, and where a gateway wrote it down.
_HEADERS = ("content-type", "cf-aig-log-id")


@dataclass(slots=True)
class Begun:
    """One conversation: what it heard, and what it heard in an earlier run and has not asked for again.

    ``charges`` are this run's, of which the first ``entered`` are in the book; ``before`` is what the answers of the
    earlier run had cost, None if nobody knows.
    """

    key: bytes | None
    known: list[Json] = field(default_factory=list)
    before: float | None = 0.0
    heard: list[tuple[Request, Answer]] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    entered: int = 0
    resumed: bool = False

    def again(self, request: Request) -> Answer | None:
        """Return what this request was answered in the earlier run; None from the first one on that is another."""
        if not self.known or self.known[0][0] != _digest(request):
            self.known = []
            return None
        _, content, headers = self.known.pop(0)
        self.resumed = True
        return Answer(base64.b64decode(content), headers)

    def open(self) -> list[Charge]:
        """Return the charges that are not in the book yet, which is for the caller to see to."""
        new, self.entered = self.charges[self.entered :], len(self.charges)
        return new

    @property
    def paid(self) -> float | None:
        """Neurons of what is in the book, for those who keep the next part; None if nobody knows."""
        each = [self.before, *(charge.neurons for charge in self.charges[: self.entered])]
        return None if None in each else sum(filter(None, each))

    def written(self) -> Json:
        """Return what was heard, as JSON."""
        return [
            [_digest(request), base64.b64encode(answer.content).decode(),
             {name: answer.headers[name] for name in _HEADERS if name in answer.headers}]
            for request, answer in self.heard
        ]  # fmt: skip


class Beginnings:
    """The conversations of one run, and those that an earlier one left in the middle."""

    def __init__(self, engine: Engine, run: Run) -> None:
        cache, task = run.options.cache, type(run.plan.task)
        # A single question that was answered is a conversation that has ended.
        self._store = engine.store if cache is not False and task.talk is not Task.talk else None
        self._engine, self._run = engine, run
        self._known: dict[bytes, tuple[list[Json], float | None]] = {}

    async def look(self, pending: Sequence[int]) -> None:
        """Read what the store holds of these inputs' conversations."""
        store = self._store
        if store is None or self._run.options.cache is not True:
            return
        keys = [_key(self._run.plan.keys[index]) for index in pending]
        packs, _ = await asyncio.to_thread(store.locate, keys)
        found = {int(pack): key for pack, key in zip(packs, keys, strict=True) if pack >= 0}
        for pack, cells, neurons, _ in await asyncio.to_thread(lambda: list(store.read(list(found)))):
            self._known[found[pack]] = list(cells[0]), neurons

    def open(self, keys: Sequence[bytes]) -> Begun:
        """Begin the conversation about inputs, or go on with it; once, since the second time it starts anew."""
        if self._store is None or len(keys) > 1:
            return Begun(None)
        key = _key(keys[0])
        return Begun(key, *self._known.pop(key, ([], 0.0)))

    def keep(self, begun: Begun) -> None:
        """Keep what a conversation heard that goes on, and what it cost so far."""
        self._put(begun, begun.written if len(begun.charges) > begun.entered else None)

    def leave(self, begun: Begun, why: BaseException) -> None:
        """Enter what a conversation cost that did not end; no run shall go on with one that ended badly."""
        spoilt = isinstance(why, AnswerError) and (begun.resumed or begun.entered > 0)
        self._put(begun, list if spoilt else None)

    def _put(self, begun: Begun, heard: Callable[[], Json] | None) -> None:
        before = begun.paid
        charges = begun.open()
        for charge in charges:
            self._run.note(charge)
        if self._store is None or begun.key is None or heard is None:
            self._engine.enter(charges)
        else:
            self._store.put([begun.key], [heard()], charges, before=before)


def _key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, person=b"begun").digest()


def _digest(request: Request) -> str:
    asked = [request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=16).hexdigest()
