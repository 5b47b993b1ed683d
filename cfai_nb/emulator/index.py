"""Index: one index of vectors, what shows in it and what is on its way, and the NDJSON that is written to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from starlette.requests import Request

from . import bodies
from .errors import Refusal, refuse
from .metadata import Value, terms

_ID, _METADATA, _CALL, _BYTES = 64, 10_240, 5000, 100_000_000


def wrong(text: str, code: int = 40026) -> Refusal:
    """Return a refusal in the store's own codes."""
    return Refusal(code, text, 400)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Vector:
    """One vector as it was written, with what its metadata indexes held of it then."""

    id: str
    values: np.ndarray[Any, np.dtype[np.float32]]
    metadata: dict[str, Any] | None
    namespace: str | None
    terms: Mapping[str, Value]


@dataclass
class Mutation:
    """One write on its way: how many calls until it shows, and what it does."""

    id: str
    wait: int
    apply: Callable[[], None]


@dataclass
class Index:
    """One index: what it was made as, what shows, and what is on its way."""

    name: str
    description: str
    dimensions: int
    metric: str
    created: str = field(default_factory=_now)
    vectors: dict[str, Vector] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    pending: list[Mutation] = field(default_factory=list)
    processed: tuple[str, str] | None = None
    matrix: Any = None

    def entry(self) -> dict[str, Any]:
        """Return the index as it is listed."""
        config = {"dimensions": self.dimensions, "metric": self.metric}
        stamps = {"created_on": self.created, "modified_on": self.created}
        return {"name": self.name, "description": self.description, "config": config, **stamps}

    def settle(self) -> None:
        """Let the writes show whose time has come, in their order."""
        while self.pending and self.pending[0].wait <= 0:
            mutation = self.pending.pop(0)
            mutation.apply()
            self.processed, self.matrix = (mutation.id, _now()), None
        for mutation in self.pending:
            mutation.wait -= 1

    def nearest(self, vector: Any, kept: list[Vector]) -> list[tuple[float, Vector]]:
        """Return vectors with their scores, the nearest first, in the index's own metric."""
        if self.matrix is None:
            self.matrix = (
                {one.id: place for place, one in enumerate(self.vectors.values())},
                np.array([one.values for one in self.vectors.values()], dtype=np.float32).reshape(-1, self.dimensions),
            )
        places, matrix = self.matrix
        rows = matrix[[places[one.id] for one in kept]]
        if self.metric == "euclidean":
            scores = np.linalg.norm(rows - vector, axis=1)
        else:
            scores = rows @ vector
            if self.metric == "cosine":
                lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
                scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        order = np.argsort(scores if self.metric == "euclidean" else -scores, kind="stable")
        return [(round(float(scores[place]), 8), kept[place]) for place in order]


def number(value: Any) -> bool:
    """Tell whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


async def lines(request: Request) -> bytes:
    """Return the NDJSON of a request, whichever of the forms it came in."""
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media == "multipart/form-data":
        part = dict(await bodies.parts(request)).get("vectors", "")
        raw = part.data if isinstance(part, bodies.File) else part.encode()
    elif media == "application/x-ndjson":
        raw = await request.body()
    elif media == "application/json" and not (raw := await request.body()).lstrip().startswith(b"["):
        # what the public Python client sends: NDJSON as it is, or within one JSON string
        raw = json.loads(raw).encode() if raw.startswith(b'"') else raw
    else:
        raise wrong("vectorize.unknown_content_type - send application/x-ndjson, or multipart/form-data with 'vectors'")
    if len(raw) > _BYTES:
        raise refuse(3006)
    return raw


def vectors(raw: bytes, index: Index, *, loose: bool) -> list[Vector]:
    """Return the vectors of NDJSON lines, or refuse them all."""
    found_lines = [line for line in raw.splitlines() if line.strip()]
    if len(found_lines) > _CALL:
        raise wrong(f"too many vectors in payload; max vector count is {_CALL}, got {len(found_lines)}")
    found = []
    for place, line in enumerate(found_lines, 1):
        try:
            given = json.loads(line)
            if not isinstance(given, dict) or not isinstance(given.get("id"), str | int):
                raise ValueError("an id is missing")
            if not isinstance(given.get("values"), list) or not all(number(value) for value in given["values"]):
                raise ValueError("values must be a list of numbers")
        except ValueError as error:
            if loose:
                continue
            raise wrong(f"failed to parse upsert vectors request: line {place}: {error}", 40023) from None
        found.append(_vector(given, index))
    return found


def _vector(given: dict[str, Any], index: Index) -> Vector:
    name, values, metadata, space = (given.get(key) for key in ("id", "values", "metadata", "namespace"))
    name = str(name)
    for what, text in (("id", name), ("namespace", space or "")):
        size = len(str(text).encode())
        if size > _ID:
            raise wrong(f"{what} too long; max is {_ID} bytes, got {size} bytes", 40008)
    if len(values or ()) != index.dimensions:
        found = len(values or ())
        raise wrong(
            f'invalid vector for id="{name}", expected {index.dimensions} dimensions, and got {found} dimensions', 40012
        )
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise wrong(f'failed to parse upsert vectors request: metadata of id="{name}" is not an object', 40023)
        if keys := [key for key in metadata if not key or "." in key or '"' in key or key.startswith("$")]:
            raise wrong(f'invalid metadata key {keys[0]!r} for id="{name}"', 40018)
        if len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) > _METADATA:
            raise wrong(
                f'failed to parse upsert vectors request: metadata of id="{name}" is over {_METADATA} bytes', 40023
            )
    kept = terms(metadata or {}, index.properties)
    return Vector(name, np.asarray(values, dtype=np.float32), metadata, None if space is None else str(space), kept)
