"""Vectorize: version 2 of the REST interface of the service's vector store, and its indexes.

``app`` serves :meth:`Vectorize.routes`. Writes show later: ``delay`` further calls to an index pass first. Metadata
indexes apply to vectors written after them, as in the service. Codes and texts are those that were observed (3000,
3002, 40005 to 40026); other errors are sent as a body that cannot be parsed (40026).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from pydantic_core import from_json
from starlette.requests import Request

from .error_codes import ServiceError, refuse
from .json_schema import json_type
from .service.http import File, Ids, Routes, account_of, handler_for, json_object, now, parts, whole_numbers

Value = str | float | bool

#: The most bytes of an id, of metadata and of a call, and the most vectors of a call.
_ID, _METADATA, _BYTES, _CALL = 64, 10_240, 100_000_000, 5000
_LARGEST = float(np.finfo(np.float32).max)


def vectorize_error(text: object, code: int = 40026) -> ServiceError:
    """Return an error with one of Vectorize's own codes."""
    return ServiceError(code, str(text), 400)


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
    apply: Callable[[], object]


@dataclass
class Index:
    """One index: its settings, its vectors, and the writes that do not show yet."""

    name: str
    description: str
    dimensions: int
    metric: str
    created: str = field(default_factory=now)
    vectors: dict[str, Vector] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)  # of all vectors, also of those that do not show yet
    properties: dict[str, str] = field(default_factory=dict)
    pending: list[Mutation] = field(default_factory=list)
    processed: tuple[str, str] | None = None

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
            self.processed = mutation.id, now()
        for mutation in self.pending:
            mutation.wait -= 1

    def nearest(self, vector: Any, kept: list[Vector]) -> list[tuple[float, Vector]]:
        """Return vectors with their scores, the nearest first, in the index's own metric."""
        rows = np.array([one.values for one in kept], dtype=np.float32).reshape(-1, self.dimensions)
        if self.metric == "euclidean":
            scores = np.linalg.norm(rows - vector, axis=1)
        else:
            scores = rows @ vector
            if self.metric == "cosine":
                lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(vector)
                scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
        order = np.argsort(scores if self.metric == "euclidean" else -scores, kind="stable")
        return [(round(float(scores[place]), 8), kept[place]) for place in order]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(values: Any) -> bool:
    """Return whether values are a list of numbers of 32 bits."""
    return isinstance(values, list) and all(_is_number(one) and abs(one) <= _LARGEST for one in values)


async def lines(request: Request) -> bytes:
    """Return the NDJSON of a request; the public Python client sends it as JSON: as it is, or within one string."""
    media, raw = request.headers.get("content-type", "").partition(";")[0].strip(), await request.body()
    if media == "multipart/form-data":
        part = dict(await parts(request)).get("vectors", "")
        raw = part.data if isinstance(part, File) else part.encode()
    elif media == "application/json" and raw.startswith(b'"'):
        try:
            raw = str(from_json(raw)).encode()
        except ValueError as error:
            raise _unparsable(error) from None
    elif media != "application/x-ndjson" and (media != "application/json" or raw.lstrip().startswith(b"[")):
        raise vectorize_error(
            "vectorize.unknown_content_type - send application/x-ndjson, or multipart/form-data with 'vectors'"
        )
    if len(raw) > _BYTES:
        raise refuse(3006)
    return raw


def vectors(raw: bytes, index: Index, *, loose: bool) -> list[Vector]:
    """Return the vectors of NDJSON lines, or refuse them all."""
    rows = [line for line in raw.splitlines() if line.strip()]
    if len(rows) > _CALL:
        raise vectorize_error(f"too many vectors in payload; max vector count is {_CALL}, got {len(rows)}")
    found = []
    for place, line in enumerate(rows, 1):
        try:
            given = from_json(line)
            if not isinstance(given, dict) or not isinstance(given.get("id"), str | int):
                raise ValueError("an id is missing")
            if not _are_numbers(given.get("values")):
                raise ValueError("values must be a list of numbers")
        except ValueError as error:
            if loose:
                continue
            raise vectorize_error(f"failed to parse upsert vectors request: line {place}: {error}", 40023) from None
        found.append(_vector(given, index))
    return found


def _vector(given: dict[str, Any], index: Index) -> Vector:
    name, values, metadata, space = str(given["id"]), given["values"], given.get("metadata"), given.get("namespace")
    about = f'failed to parse upsert vectors request: metadata of id="{name}"'
    for what, text in (("id", name), ("namespace", str(space or ""))):
        if (size := len(text.encode())) > _ID:
            raise vectorize_error(f"{what} too long; max is {_ID} bytes, got {size} bytes", 40008)
    if len(values) != index.dimensions:
        sizes = f"expected {index.dimensions} dimensions, and got {len(values)} dimensions"
        raise vectorize_error(f'invalid vector for id="{name}", {sizes}', 40012)
    if metadata is not None and not isinstance(metadata, dict):
        raise vectorize_error(f"{about} is not an object", 40023)
    if keys := [key for key in metadata or () if not key or "." in key or '"' in key or key.startswith("$")]:
        raise vectorize_error(f'invalid metadata key {keys[0]!r} for id="{name}"', 40018)
    if metadata and len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()) > _METADATA:
        raise vectorize_error(f"{about} is over {_METADATA} bytes", 40023)
    kept = _indexed_values(metadata or {}, index.properties)
    return Vector(name, np.asarray(values, dtype=np.float32), metadata, None if space is None else str(space), kept)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    **{"$eq": operator.eq, "$ne": operator.ne},
    **{"$lt": operator.lt, "$lte": operator.le, "$gt": operator.gt, "$gte": operator.ge},
    "$in": lambda one, other: one in other,
    "$nin": lambda one, other: one not in other,
}


def _cut(value: Any) -> Any:
    """Return a value as an index stores it: 64 bytes of a text."""
    return value.encode()[:64].decode("utf-8", "ignore") if isinstance(value, str) else value


def _indexed_values(metadata: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, Value]:
    """Return the part of a vector's metadata that the current indexes (property -> type) store.

    A property "a.b" is `b` within `a`. A value of another type is not indexed.
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


_BASE = "/vectorize/v2/indexes"
#: The most dimensions and metadata indexes; the most of a query, and of one with all its values; and its default.
_DIMENSIONS, _PROPERTIES, _TOP, _TOP_FULL, _DEFAULT_TOP = 1536, 10, 100, 50, 5
#: The most ids to get and to delete, and the most of a page.
_GET, _DELETE, _PAGE = 20, 100, 1000
_METRICS = ("cosine", "euclidean", "dot-product")
_PRESETS = {
    "@cf/baai/bge-small-en-v1.5": (384, "cosine"),
    "@cf/baai/bge-base-en-v1.5": (768, "cosine"),
    "@cf/baai/bge-large-en-v1.5": (1024, "cosine"),
    "openai/text-embedding-ada-002": (1536, "cosine"),
    "cohere/embed-multilingual-v2.0": (768, "cosine"),
}


class Vectorize:
    """The indexes of every account.

    `delay` further calls to an index do not see a write yet; an index holds `most` vectors.
    """

    def __init__(self, delay: int, seed: int, most: int) -> None:
        self.delay, self.most = delay, most
        self._ids, self._lock = Ids(seed), Lock()
        self._indexes: dict[tuple[str, str], Index] = {}

    def routes(self) -> Routes:
        """Return the addresses, with their handlers."""
        one, on = _BASE + "/{index}", partial(handler_for, self._find, self._lock)
        return {
            _BASE: {"GET": self._list, "POST": self._create},
            one: {"GET": on(lambda index, *_: index.entry()), "DELETE": on(self._drop)},
            f"{one}/insert": {"POST": on(partial(self._write, keep=True), lines)},
            f"{one}/upsert": {"POST": on(partial(self._write, keep=False), lines)},
            f"{one}/query": {"POST": on(self._query, _body)},
            f"{one}/get_by_ids": {"POST": on(self._get_by_ids, _body)},
            f"{one}/delete_by_ids": {"POST": on(self._delete_by_ids, _body)},
            f"{one}/metadata_index/create": {"POST": on(self._index_property, _body)},
            f"{one}/metadata_index/delete": {"POST": on(self._drop_property, _body)},
            f"{one}/info": {"GET": on(self._info)},
            f"{one}/list": {"GET": on(self._page)},
            f"{one}/metadata_index/list": {"GET": on(self._properties)},
        }

    def _find(self, request: Request) -> Index:
        name = request.path_params["index"]
        index = self._indexes.get((account_of(request), name))
        if index is None:
            raise refuse(3000, name=name)
        return index

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        with self._lock:
            return [index.entry() for (owner, _), index in self._indexes.items() if owner == account_of(request)]

    async def _create(self, request: Request) -> dict[str, Any]:
        given = await _body(request)
        name, config = given.get("name"), given.get("config")
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9_\-]{0,62}[a-z0-9])?", name, re.I):
            raise vectorize_error("the index needs a name of at most 64 letters, digits, hyphens and underscores")
        if not isinstance(config, dict):
            raise vectorize_error("the index needs a config of dimensions and metric")
        dimensions, metric = _PRESETS.get(str(config.get("preset")), (config.get("dimensions"), config.get("metric")))
        if not isinstance(dimensions, int) or not 1 <= dimensions <= _DIMENSIONS:
            raise vectorize_error(f"dimensions must lie in 1..{_DIMENSIONS}")
        if metric not in _METRICS:
            raise vectorize_error(f"metric must be one of {', '.join(_METRICS)}")
        key = (account_of(request), name)
        with self._lock:
            if key in self._indexes:
                raise refuse(3002, name=name)
            index = self._indexes[key] = Index(name, str(given.get("description") or ""), dimensions, metric)
        return index.entry()

    def _drop(self, index: Index, request: Request, _: Any) -> None:
        del self._indexes[account_of(request), index.name]

    def _mutate(self, index: Index, apply: Callable[[], object]) -> dict[str, str]:
        number = self._ids.uuid()
        index.pending.append(Mutation(number, self.delay, apply))
        return {"mutationId": number}

    def _write(self, index: Index, request: Request, raw: bytes, *, keep: bool) -> Any:
        loose = "discard" in (request.query_params.get(n) for n in ("unparsable-behavior", "unparsable_behavior"))
        written = vectors(raw, index, loose=loose)
        new = {vector.id for vector in written} - index.ids
        if (count := len(index.ids) + len(new)) > self.most:
            raise vectorize_error(f"the index is full; max vector count is {self.most}, got {count}")
        index.ids |= new
        put = index.vectors.setdefault if keep else index.vectors.__setitem__
        return self._mutate(index, lambda: [put(vector.id, vector) for vector in written])

    def _delete_by_ids(self, index: Index, _: Request, body: Any) -> Any:
        ids = _ids(body, _DELETE)
        index.ids.difference_update(ids)
        return self._mutate(index, lambda: [index.vectors.pop(one, None) for one in ids])

    def _index_property(self, index: Index, _: Request, body: Any) -> Any:
        name, kind = body.get("propertyName"), body.get("indexType")
        if not isinstance(name, str) or not name or kind not in ("string", "number", "boolean"):
            raise vectorize_error("a metadata index needs propertyName and indexType (string, number or boolean)")
        if name not in index.properties and len(index.properties) >= _PROPERTIES:
            raise vectorize_error(f"an index has at most {_PROPERTIES} metadata indexes")
        index.properties[name] = kind
        return self._mutate(index, lambda: None)

    def _drop_property(self, index: Index, _: Request, body: Any) -> Any:
        name = body.get("propertyName")
        if not isinstance(name, str) or index.properties.pop(name, None) is None:
            raise vectorize_error("this metadata index does not exist", 40005)
        return self._mutate(index, lambda: None)

    def _properties(self, index: Index, *_: Any) -> Any:
        return {"metadataIndexes": [{"propertyName": n, "indexType": kind} for n, kind in index.properties.items()]}

    def _info(self, index: Index, *_: Any) -> Any:
        number, moment = index.processed or (None, None)
        counts = {"dimensions": index.dimensions, "vectorCount": len(index.vectors)}
        return {**counts, "processedUpToDatetime": moment, "processedUpToMutation": number}

    def _get_by_ids(self, index: Index, _: Request, body: Any) -> Any:
        found = filter(None, map(index.vectors.get, _ids(body, _GET)))
        return [_shown(vector, index, values=True, metadata="all") for vector in found]

    def _page(self, index: Index, request: Request, _: Any) -> Any:
        count, cursor = whole_numbers(request, vectorize_error, count=100, cursor=0)
        if not 1 <= count <= _PAGE:
            raise vectorize_error(f"count must lie in 1..{_PAGE}")
        ids, end = sorted(index.vectors), cursor + count
        page, more = [{"id": one} for one in ids[cursor:end]], end < len(ids)
        shown = {"count": len(page), "totalCount": len(ids), "vectors": page, "isTruncated": more}
        return {**shown, "nextCursor": str(end) if more else None, "cursorExpirationTimestamp": None}

    def _query(self, index: Index, _: Request, body: Any) -> Any:
        given, top = body.get("vector"), body.get("topK", _DEFAULT_TOP)
        values, metadata = body.get("returnValues", False), body.get("returnMetadata", "none")
        if metadata not in ("none", "indexed", "all"):
            raise _unparsable("returnMetadata: expected value")
        if not _are_numbers(given):
            raise _unparsable("vector: expected a list of numbers")
        if len(given) != index.dimensions:
            sizes = f"expected {index.dimensions} dimensions, and got {len(given)} dimensions"
            raise vectorize_error(f"invalid query vector, {sizes}", 40006)
        if json_type(top) != "integer" or top < 1:
            raise _unparsable("topK: expected a positive integer")
        if (values or metadata == "all") and top > _TOP_FULL:
            raise vectorize_error(
                f"with returnValues=true or returnMetadata=all, max top K is {_TOP_FULL}, but got {int(top)}; for a "
                f"top K up to {_TOP}, retry with returnValues=false and returnMetadata=indexed",
                40025,
            )
        if top > _TOP:
            raise vectorize_error(f"max top K is {_TOP}, but got {int(top)}", 40025)
        wanted = body.get("filter")
        if wanted is not None and (why := filter_error(wanted)):
            raise vectorize_error(why)
        space = body.get("namespace")
        kept = [
            vector
            for vector in index.vectors.values()
            if (space is None or vector.namespace == space) and (wanted is None or matches_filter(vector.terms, wanted))
        ]
        ranked = index.nearest(np.asarray(given, dtype=np.float32), kept)[: int(top)]
        shown = [(_shown(vector, index, values=bool(values), metadata=metadata), score) for score, vector in ranked]
        return {"count": len(shown), "matches": [{**row, "score": score} for row, score in shown]}


def _shown(vector: Vector, index: Index, *, values: bool, metadata: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": vector.id}
    if values:
        shown["values"] = [float(value) for value in vector.values]
    if vector.namespace is not None:
        shown["namespace"] = vector.namespace
    if metadata == "all" and vector.metadata is not None:
        shown["metadata"] = vector.metadata
    elif metadata == "indexed":
        shown["metadata"] = {name: value for name, value in vector.terms.items() if name in index.properties}
    return shown


def _unparsable(why: object) -> ServiceError:
    return vectorize_error(f"Failed to parse the request body as JSON: {why}")


async def _body(request: Request) -> dict[str, Any]:
    return json_object(await request.body(), _unparsable)


def _ids(body: dict[str, Any], most: int) -> list[str]:
    ids = body.get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise _unparsable("ids: expected a list of strings")
    if len(ids) > most:
        raise vectorize_error(f"too many ids in payload; max id count is {most}, got {len(ids)}", 40007)
    return ids
