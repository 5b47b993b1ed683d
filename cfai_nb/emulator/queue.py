"""Queue: asynchronous batches, ``POST /run/{model}?queueRequest=true``, and their polls.

A batch is worked through once it is due, request by request, each by its family's own check and answer.
"""

from __future__ import annotations

import base64
import random
import uuid
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from .errors import Refusal, refuse
from .limits import Clock
from .work import Ask, Family, Work

_LARGEST = 10_000_000


@dataclass
class Batch:
    """One batch, from its submission on.

    Attributes
    ----------
    id : str
        What it is polled by.
    requests : list
        The inputs, as sent.
    start : float
        When it was sent, by the clock.
    polls : int
        How often it was asked for.
    result : dict, optional
        What the polls get once it is done.
    texts : list of str
        The input texts whose work was done.
    """

    id: str
    account: str
    ask: Ask
    family: Family
    requests: list[Any]
    start: float
    polls: int = 0
    result: dict[str, Any] | None = None
    usage: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


class Queue:
    """The batches of every account.

    Parameters
    ----------
    polls : int
        How many polls find a batch still waiting (``queued`` for the first half of them, then ``running``).
    seconds : float, optional
        How long a batch takes by the clock instead.
    """

    def __init__(self, polls: int, seconds: float | None, clock: Clock, seed: int) -> None:
        self.polls, self.seconds = polls, seconds
        self._clock, self._random, self._lock = clock, random.Random(seed), Lock()
        self._batches: dict[str, Batch] = {}

    def family(self, account: str, family: Family, size: int) -> Family:
        """Return the family that takes a call into the queue, or polls, in place of the model's own.

        Parameters
        ----------
        account : str
            Whose batch it is.
        family : Family
            Who does the work in the end.
        size : int
            Bytes of the request.
        """

        def check(ask: Ask) -> None:
            requests = ask.body.get("requests")
            if not ask.model.has("batch"):
                raise refuse(5007, text=f"{ask.model.id} takes no asynchronous batches (queueRequest)")
            if size >= _LARGEST:
                raise refuse(3006)
            if "request_id" in ask.body:
                self._find(account, ask)
            elif not isinstance(requests, list) or not requests:
                raise refuse(5006, why="required properties at '/' are 'requests'")

        def answer(ask: Ask) -> Work:
            if "request_id" not in ask.body:
                return Work(self._submit(account, replace(ask, fault=""), family))
            batch, status = self.poll(account, ask)
            if status in ("queued", "running"):
                return Work({"status": status, "request_id": batch.id, "model": ask.model.id})
            fresh = status == "fresh"
            return Work(batch.result, batch.usage if fresh else {}, texts=batch.texts if fresh else [])

        return replace(family, texts=lambda _: [], check=check, answer=answer)

    def _submit(self, account: str, ask: Ask, family: Family) -> dict[str, Any]:
        with self._lock:
            number = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
            self._batches[number] = Batch(number, account, ask, family, ask.body["requests"], self._clock())
        return {"status": "queued", "request_id": number, "model": ask.model.id}

    def _find(self, account: str, ask: Ask) -> Batch:
        number = ask.body["request_id"]
        batch = self._batches.get(number) if isinstance(number, str) else None
        if batch is None or batch.account != account or batch.ask.model.id != ask.model.id:
            raise refuse(5006, why="no batch of this request_id")
        return batch

    def poll(self, account: str, ask: Ask) -> tuple[Batch, str]:
        """Return a batch and how it stands: "queued", "running", "fresh" (its work was done just now) or "done"."""
        with self._lock:
            batch = self._find(account, ask)
            batch.polls += 1
            if batch.result is not None:
                return batch, "done"
            if self.seconds is None:
                part = batch.polls / (self.polls + 1)
            else:
                part = (self._clock() - batch.start) / self.seconds if self.seconds else 1.0
            if part < 1:
                return batch, "queued" if part <= 0.5 else "running"
            batch.result = _work(batch)
        return batch, "fresh"


def _work(batch: Batch) -> dict[str, Any]:
    """Do the work of a batch, in the order sent, and return its answers in another."""
    rows = [_row(batch, place, given) for place, given in enumerate(batch.requests)]
    random.Random(batch.id).shuffle(rows)
    spent, made = (int(batch.usage.get(name, 0)) for name in ("input_tokens", "output_tokens"))
    total = {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}
    neurons = batch.ask.model.neurons(batch.usage)
    return {"responses": rows, "usage": total if neurons is None else {**total, "neurons": neurons}}


def _row(batch: Batch, place: int, given: Any) -> dict[str, Any]:
    """Return one request's row; what is wrong with it is its own."""
    reference = given.get("external_reference") if isinstance(given, dict) else None
    row: dict[str, Any] = {"id": place, "result": {}, "success": False, "external_reference": reference}
    try:
        if not isinstance(given, dict):
            raise refuse(5006, why="Type mismatch of '/', not in 'object'")
        body = {name: value for name, value in given.items() if name != "external_reference"}
        ask = replace(batch.ask, body=body)
        batch.family.check(ask)
        if body.get("stream"):
            raise refuse(5006, why="a queued request cannot be streamed")
        work = batch.family.answer(ask)
    except Refusal as refusal:
        return {**row, "errors": refusal.body(batch.id)["errors"]}
    for unit, amount in work.usage.items():
        batch.usage[unit] = batch.usage.get(unit, 0.0) + amount
    batch.texts += batch.family.texts(ask)
    return {**row, "result": _plain(work), "success": True}


def _plain(work: Work) -> Any:
    """Return a result as JSON can hold it: audio as base64."""
    return work.result if work.content is None else {"audio": base64.b64encode(work.content).decode()}
