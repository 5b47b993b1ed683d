"""Conversations that a run left in the middle: what was answered is kept, so that no turn is paid for twice.

A conversation (tools, samples, JSON that is mended) is kept under its inputs' key when it has ended.  Where Stop, a
budget or the service ends the run before that, its answers so far are kept under a key of their own; the next run
gives them to the conversation again, as long as it asks what it asked then.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import pydantic_core

from ..errors import AnswerError, BudgetError, ServiceError
from ..ledger import Charge
from ..tasks import Answer, Json, Request, Task
from .engine import Engine
from .record import Run

#: What is kept of an answer's headers: how it is read, and where a gateway wrote it down.
_HEADERS = ("content-type", "cf-aig-log-id")


@dataclass(slots=True)
class Begun:
    """One conversation: what it heard, and what it heard in an earlier run and has not asked for again."""

    key: bytes | None
    before: list[Json] = field(default_factory=list)
    heard: list[tuple[Request, Answer]] = field(default_factory=list)
    resumed: bool = False

    def again(self, request: Request) -> Answer | None:
        """Return what this request was answered in the earlier run; None from the first one on that is another."""
        if not self.before or self.before[0][0] != _digest(request):
            self.before = []
            return None
        _, content, headers = self.before.pop(0)
        self.resumed = True
        return Answer(base64.b64decode(content), headers)

    def written(self) -> Json:
        """Return what was heard, as JSON."""
        return [
            [_digest(request), base64.b64encode(answer.content).decode(),
             {name: answer.headers[name] for name in _HEADERS if name in answer.headers}]
            for request, answer in self.heard
        ]  # fmt: skip


class Beginnings:
    """The conversations of one run that an earlier one left in the middle."""

    def __init__(self, engine: Engine, run: Run) -> None:
        cache, task = run.options.cache, type(run.plan.task)
        # A single question that was answered is a conversation that has ended.
        self._store = engine.store if cache is not False and task.talk is not Task.talk else None
        self._engine, self._run = engine, run
        self._known: dict[bytes, list[Json]] = {}

    async def look(self, pending: Sequence[int]) -> None:
        """Read what the store holds of these inputs' conversations."""
        store = self._store
        if store is None or self._run.options.cache is not True:
            return
        keys = [_key(self._run.plan.keys[index]) for index in pending]
        packs, _ = await asyncio.to_thread(store.locate, keys)
        found = {int(pack): key for pack, key in zip(packs, keys, strict=True) if pack >= 0}
        for pack, cells, _, _ in await asyncio.to_thread(lambda: list(store.read(list(found)))):
            self._known[found[pack]] = list(cells[0])

    def open(self, keys: Sequence[bytes]) -> Begun:
        """Begin the conversation about inputs, or go on with it; once, since the second time it starts anew."""
        if self._store is None or len(keys) > 1:
            return Begun(None)
        key = _key(keys[0])
        return Begun(key, self._known.pop(key, []))

    def leave(self, begun: Begun, charges: Sequence[Charge], why: BaseException) -> None:
        """Enter what a conversation cost that did not end, and keep what it heard if it was only cut short."""
        for charge in charges:
            self._run.note(charge)
        cut = isinstance(why, (asyncio.CancelledError, BudgetError, ServiceError)) and bool(begun.heard)
        spoilt = isinstance(why, AnswerError) and begun.resumed  # another run shall not come to the same end
        if self._store is not None and begun.key is not None and (cut or spoilt):
            self._store.put([begun.key], [begun.written() if cut else []], charges)
        else:
            self._engine.enter(charges)


def _key(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=16, person=b"begun").digest()


def _digest(request: Request) -> str:
    asked = [request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=16).hexdigest()
