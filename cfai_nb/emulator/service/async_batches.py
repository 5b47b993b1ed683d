"""Asynchronous batches: ``POST /run/{model}?queueRequest=true`` and the polls for their results.

``service`` replaces the model's family by the one that :meth:`AsyncBatches.family` returns. A batch is processed once
it is due, request by request, each with the check and answer of the model's family.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from ..error_codes import ServiceError, refuse
from ..families import Family, ModelRequest, ModelResult, base64_text, openai_usage
from ..json_schema import Schema
from .http import Ids
from .limits import Clock

_LARGEST = 10_000_000


@dataclass
class _Batch:
    """One submitted batch; `result` is the answer to polls once it is done, `texts` the inputs that were processed."""

    id: str
    account: str
    request: ModelRequest
    family: Family
    requests: list[Any]
    start: float
    polls: int = 0
    result: dict[str, Any] | None = None
    usage: dict[str, float] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)


class AsyncBatches:
    """The batches of every account.

    `polls` find a batch unfinished (``queued`` for the first half of them, then ``running``), or it takes `seconds`.
    """

    def __init__(self, polls: int, seconds: float | None, clock: Clock, seed: int) -> None:
        self.polls, self.seconds = polls, seconds
        self._clock, self._ids, self._lock = clock, Ids(seed), Lock()
        self._batches: dict[str, _Batch] = {}

    def family(self, account: str, family: Family, size: int) -> Family:
        """Return a family that submits or polls a batch of `size` bytes, in place of the model's own."""

        def check(request: ModelRequest, schema: Schema) -> None:
            requests = request.body.get("requests")
            if not request.model.has("batch"):
                raise refuse(5007, text=f"{request.model.id} accepts no asynchronous batches (queueRequest)")
            if size >= _LARGEST:
                raise refuse(3006)
            if "request_id" in request.body:
                self._find(account, request)
            elif not isinstance(requests, list) or not requests:
                raise refuse(5006, why="required properties at '/' are 'requests'")

        def answer(request: ModelRequest) -> ModelResult:
            if "request_id" not in request.body:
                return ModelResult(self._submit(account, replace(request, fault=""), family))
            batch, status = self.poll(account, request)
            if status in ("queued", "running"):
                return ModelResult({"status": status, "request_id": batch.id, "model": request.model.id})
            fresh = status == "fresh"
            return ModelResult(batch.result, batch.usage if fresh else {}, texts=batch.texts if fresh else [])

        return replace(family, texts=lambda _: [], check=check, answer=answer)

    def _submit(self, account: str, request: ModelRequest, family: Family) -> dict[str, Any]:
        number = self._ids.uuid()
        self._batches[number] = _Batch(number, account, request, family, request.body["requests"], self._clock())
        return {"status": "queued", "request_id": number, "model": request.model.id}

    def _find(self, account: str, request: ModelRequest) -> _Batch:
        number = request.body["request_id"]
        batch = self._batches.get(number) if isinstance(number, str) else None
        if batch is None or batch.account != account or batch.request.model.id != request.model.id:
            raise refuse(5006, why="no batch of this request_id")
        return batch

    def poll(self, account: str, request: ModelRequest) -> tuple[_Batch, str]:
        """Return a batch and its status: "queued", "running", "fresh" (it was processed just now) or "done"."""
        with self._lock:
            batch = self._find(account, request)
            batch.polls += 1
            if batch.result is not None:
                return batch, "done"
            if self.seconds is None:
                part = batch.polls / (self.polls + 1)
            else:
                part = (self._clock() - batch.start) / self.seconds if self.seconds else 1.0
            if part < 1:
                return batch, "queued" if part <= 0.5 else "running"
            batch.result = _process(batch)
        return batch, "fresh"


def _process(batch: _Batch) -> dict[str, Any]:
    """Process a batch, in the order sent, and return its answers in another order."""
    rows = [_row(batch, place, given) for place, given in enumerate(batch.requests)]
    random.Random(batch.id).shuffle(rows)
    total = openai_usage(batch.usage)
    neurons = batch.request.model.neurons(batch.usage)
    return {"responses": rows, "usage": total if neurons is None else {**total, "neurons": neurons}}


def _row(batch: _Batch, place: int, given: Any) -> dict[str, Any]:
    """Return the row of one request; an error concerns that row only."""
    reference = given.get("external_reference") if isinstance(given, dict) else None
    row: dict[str, Any] = {"id": place, "result": {}, "success": False, "external_reference": reference}
    try:
        if not isinstance(given, dict):
            raise refuse(5006, why="Type mismatch of '/', not in 'object'")
        body = {name: value for name, value in given.items() if name != "external_reference"}
        request = replace(batch.request, body=body)
        batch.family.validate(request)
        if body.get("stream"):
            raise refuse(5006, why="a queued request cannot be streamed")
        result = batch.family.answer(request)
    except ServiceError as error:
        return {**row, "errors": error.body(batch.id)["errors"]}
    for unit, amount in result.usage.items():
        batch.usage[unit] = batch.usage.get(unit, 0.0) + amount
    batch.texts += batch.family.texts(request)
    plain = result.result if result.content is None else {"audio": base64_text(result.content)}
    return {**row, "result": plain, "success": True}
