"""One vector index: its vectors, the writes that do not show yet, search, and filters on metadata.

``vectorize`` calls it. Metadata indexes apply to vectors written after them, as in the service.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from starlette.requests import Request

from .error_codes import ServiceError, refuse
from .service import request_body

Value = str | float | bool

#: The most bytes of an id, of metadata and of a call, and the most vectors of a call.
_ID, _METADATA, _BYTES, _CALL = 64, 10_240, 100_000_000, 5000


def vectorize_error(text: str, code: int = 40026) -> ServiceError:
    """Return an error with one of Vectorize's own codes."""
    return ServiceError(code, text, 400)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Vector:
    """One vector as it was written, with the indexed part of its metadata."""

    id: str
    values: np.ndarray[Any, np.dtype[np.float32]]
    metadata: dict[str, Any] | None
    namespace: str | None
    terms: Mapping[str, Value]


@dataclass
class Mutation:
    """One write that does not show yet: the calls until it does, and its effect."""

    id: str
    wait: int
    apply: Callable[[], None]


@dataclass
class Index:
    """One index: its settings, its vectors, and the writes that do not show yet."""

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
        """Apply the writes that are due, in their order."""
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


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


async def lines(request: Request) -> bytes:
    """Return the NDJSON of a request, in any of the forms that clients send."""
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media == "multipart/form-data":
        part = dict(await request_body.parts(request)).get("vectors", "")
        raw = part.data if isinstance(part, request_body.File) else part.encode()
    elif media == "application/x-ndjson":
        raw = await request.body()
    elif media == "application/json" and not (raw := await request.body()).lstrip().startswith(b"["):
        # the public Python client sends NDJSON as it is, or within one JSON string
        raw = json.loads(raw).encode() if raw.startswith(b'"') else raw
    else:
        raise vectorize_error(
            "vectorize.unknown_content_type - send application/x-ndjson, or multipart/form-data with 'vectors'"
        )
    if len(raw) > _BYTES:
        raise refuse(3006)
    return raw


def vectors(raw: bytes, index: Index, *, loose: bool) -> list[Vector]:
    """Return the vectors of NDJSON lines, or refuse them all."""
    found_lines = [line for line in raw.splitlines() if line.strip()]
    if len(found_lines) > _CALL:
        raise vectorize_error(f"too many vectors in payload; max vector count is {_CALL}, got {len(found_lines)}")
    found = []
    for place, line in enumerate(found_lines, 1):
        try:
            given = json.loads(line)
            if not isinstance(given, dict) or not isinstance(given.get("id"), str | int):
                raise ValueError("an id is missing")
            if not isinstance(given.get("values"), list) or not all(is_number(value) for value in given["values"]):
                raise ValueError("values must be a list of numbers")
        except ValueError as error:
            if loose:
                continue
            raise vectorize_error(f"failed to parse upsert vectors request: line {place}: {error}", 40023) from None
        found.append(_vector(given, index))
    return found


def _vector(given: dict[str, Any], index: Index) -> Vector:
    name, values, metadata, space = (given.get(key) for key in ("id", "values", "metadata", "namespace"))
    name = str(name)
    for what, text in (("id", name), ("namespace", space or "")):
        size = len(str(text).encode())
        if size > _ID:
            raise vectorize_error(f"{what} too long; max is {_ID} bytes, got {size} bytes", 40008)
    if len(values or ()) != index.dimensions:
        sizes = f"expected {index.dimensions} dimensions, and got {len(values or ())} dimensions"
        raise vectorize_error(f'invalid vector for id="{name}", {sizes}', 40012)
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise vectorize_error(
                f'failed to parse upsert vectors request: metadata of id="{name}" is not an object', 40023
            )
        if keys := [key for key in metadata if not key or "." in key or '"' in key or key.startswith("$")]:
            raise vectorize_error(f'invalid metadata key {keys[0]!r} for id="{name}"', 40018)
        if len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) > _METADATA:
            raise vectorize_error(
                f'failed to parse upsert vectors request: metadata of id="{name}" is over {_METADATA} bytes', 40023
            )
    kept = indexed_values(metadata or {}, index.properties)
    return Vector(name, np.asarray(values, dtype=np.float32), metadata, None if space is None else str(space), kept)


_INDEXED = 64
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda one, other: one == other,
    "$ne": lambda one, other: one != other,
    "$in": lambda one, other: one in other,
    "$nin": lambda one, other: one not in other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
}


def _cut(value: Any) -> Any:
    """Return a value as an index stores it: 64 bytes of a text."""
    return value.encode()[:_INDEXED].decode("utf-8", "ignore") if isinstance(value, str) else value


def indexed_values(metadata: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, Value]:
    """Return the part of a vector's metadata that the current indexes store.

    Parameters
    ----------
    metadata : mapping
        As written; a property "a.b" is `b` within `a`.
    properties : mapping of str to str
        Indexed property -> its type. A value of another type is not indexed.
    """
    kept: dict[str, Value] = {}
    for name, kind in properties.items():
        value: Any = metadata
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if _TYPES[kind](value):
            kept[name] = _cut(value)
    return kept


def filter_error(wanted: Any) -> str:
    """Return what is wrong with a filter, or an empty text."""
    if not isinstance(wanted, Mapping) or not wanted:
        return "filter must be an object that is not empty"
    for name, condition in wanted.items():
        if isinstance(condition, Mapping):
            unknown = [word for word in condition if word not in _COMPARE]
            if unknown or not condition:
                return f"filter of {name!r}: unknown operator {unknown[0] if unknown else '(none)'!r}"
            if any(not isinstance(condition[word], list) for word in ("$in", "$nin") if word in condition):
                return f"filter of {name!r}: $in and $nin take a list"
        elif isinstance(condition, list):
            return f"filter of {name!r}: a list needs $in or $nin"
    return ""


def matches_filter(kept: Mapping[str, Value], wanted: Mapping[str, Any]) -> bool:
    """Return whether the indexed values of a vector match a filter.

    A property that was not indexed when the vector was written matches no condition, not even $ne.
    """
    for name, condition in wanted.items():
        if name not in kept:
            return False
        rules = condition if isinstance(condition, Mapping) else {"$eq": condition}
        for word, other in rules.items():
            value = [_cut(one) for one in other] if isinstance(other, list) else _cut(other)
            try:
                if not _COMPARE[word](kept[name], value):
                    return False
            except TypeError:  # a text cannot be compared with a number
                return False
    return True
