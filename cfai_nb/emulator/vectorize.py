"""Vectorize: version 2 of the REST interface of the service's vector store.

``app`` serves :meth:`Vectorize.routes`. Writes show later: ``delay`` further calls to an index pass first. Codes and
texts are those that were observed (3000, 3002, 40005 to 40026); other errors are sent as a body that cannot be parsed
(40026).
"""

from __future__ import annotations

import json
import random
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np
from starlette.requests import Request

from .error_codes import ServiceError, refuse
from .vector_index import (
    Index,
    Mutation,
    Vector,
    filter_error,
    is_number,
    lines,
    matches_filter,
    vectorize_error,
    vectors,
)

_BASE = "/vectorize/v2/indexes"
_DIMENSIONS = 1536
_TOP, _TOP_FULL, _DEFAULT_TOP = 100, 20, 5
_GET, _DELETE, _PAGE = 20, 100, 1000
_INDEXED = 10
_METRICS = ("cosine", "euclidean", "dot-product")
_PRESETS = {
    "@cf/baai/bge-small-en-v1.5": (384, "cosine"),
    "@cf/baai/bge-base-en-v1.5": (768, "cosine"),
    "@cf/baai/bge-large-en-v1.5": (1024, "cosine"),
    "openai/text-embedding-ada-002": (1536, "cosine"),
    "cohere/embed-multilingual-v2.0": (768, "cosine"),
}

Handler = Callable[[Request], Awaitable[Any]]


class Vectorize:
    """The indexes of every account.

    Parameters
    ----------
    delay : int
        Number of calls to an index after a write that do not see it yet.
    """

    def __init__(self, delay: int, seed: int) -> None:
        self.delay = delay
        self._random, self._lock = random.Random(seed), Lock()
        self._indexes: dict[tuple[str, str], Index] = {}

    def routes(self) -> Mapping[str, Mapping[str, Handler]]:
        """Return path below the account -> method -> handler that returns a result."""
        one = _BASE + "/{index}"
        posts: dict[str, Callable[[Index, Request, Any], Any]] = {
            "query": self._query,
            "get_by_ids": self._get_by_ids,
            "delete_by_ids": self._delete_by_ids,
            "metadata_index/create": self._index_property,
            "metadata_index/delete": self._drop_property,
        }
        gets: dict[str, Callable[[Index, Request, Any], Any]] = {
            "info": self._info,
            "list": self._page,
            "metadata_index/list": self._properties,
        }
        return {
            _BASE: {"GET": self._list, "POST": self._create},
            one: {"GET": self._within(lambda index, *_: index.entry()), "DELETE": self._drop},
            f"{one}/insert": {"POST": self._written(keep=True)},
            f"{one}/upsert": {"POST": self._written(keep=False)},
            **{f"{one}/{path}": {"POST": self._within(do, body=True)} for path, do in posts.items()},
            **{f"{one}/{path}": {"GET": self._within(do)} for path, do in gets.items()},
        }

    def _find(self, request: Request) -> Index:
        name = request.path_params["index"]
        index = self._indexes.get((request.path_params["account"].casefold(), name))
        if index is None:
            raise refuse(3000, name=name)
        return index

    def _within(self, do: Callable[[Index, Request, Any], Any], *, body: bool = False) -> Handler:
        """Return a handler that calls `do` on an index, after the writes that are due."""

        async def handler(request: Request) -> Any:
            given = _object(await request.body()) if body else None
            with self._lock:
                index = self._find(request)
                index.settle()
                return do(index, request, given)

        return handler

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        account = request.path_params["account"].casefold()
        with self._lock:
            return [index.entry() for (owner, _), index in self._indexes.items() if owner == account]

    async def _create(self, request: Request) -> dict[str, Any]:
        given = _object(await request.body())
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
        key = (request.path_params["account"].casefold(), name)
        with self._lock:
            if key in self._indexes:
                raise refuse(3002, name=name)
            index = self._indexes[key] = Index(name, str(given.get("description") or ""), dimensions, metric)
        return index.entry()

    async def _drop(self, request: Request) -> None:
        with self._lock:
            self._find(request)
            del self._indexes[request.path_params["account"].casefold(), request.path_params["index"]]

    def _mutate(self, index: Index, apply: Callable[[], None]) -> dict[str, str]:
        number = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        index.pending.append(Mutation(number, self.delay, apply))
        return {"mutationId": number}

    def _written(self, *, keep: bool) -> Handler:
        async def handler(request: Request) -> Any:
            raw = await lines(request)
            loose = "discard" in (request.query_params.get(n) for n in ("unparsable-behavior", "unparsable_behavior"))
            with self._lock:
                index = self._find(request)
                index.settle()
                written = vectors(raw, index, loose=loose)

                def apply() -> None:
                    for vector in written:
                        if not keep or vector.id not in index.vectors:
                            index.vectors[vector.id] = vector

                return self._mutate(index, apply)

        return handler

    def _delete_by_ids(self, index: Index, _: Request, body: Any) -> Any:
        ids = _ids(body, _DELETE)

        def apply() -> None:
            for one in ids:
                index.vectors.pop(one, None)

        return self._mutate(index, apply)

    def _index_property(self, index: Index, _: Request, body: Any) -> Any:
        name, kind = body.get("propertyName"), body.get("indexType")
        if not isinstance(name, str) or not name or kind not in ("string", "number", "boolean"):
            raise vectorize_error("a metadata index needs propertyName and indexType (string, number or boolean)")
        if name not in index.properties and len(index.properties) >= _INDEXED:
            raise vectorize_error(f"an index has at most {_INDEXED} metadata indexes")
        index.properties[name] = kind
        return self._mutate(index, lambda: None)

    def _drop_property(self, index: Index, _: Request, body: Any) -> Any:
        if body.get("propertyName") not in index.properties:
            raise vectorize_error("this metadata index does not exist", 40005)
        del index.properties[body["propertyName"]]
        return self._mutate(index, lambda: None)

    def _properties(self, index: Index, *_: Any) -> Any:
        found = [{"propertyName": name, "indexType": kind} for name, kind in index.properties.items()]
        return {"metadataIndexes": found}

    def _info(self, index: Index, *_: Any) -> Any:
        number, moment = index.processed or (None, None)
        return {
            "dimensions": index.dimensions,
            "vectorCount": len(index.vectors),
            "processedUpToDatetime": moment,
            "processedUpToMutation": number,
        }

    def _get_by_ids(self, index: Index, _: Request, body: Any) -> Any:
        found = [index.vectors[one] for one in _ids(body, _GET) if one in index.vectors]
        return [_shown(vector, index, values=True, metadata="all") for vector in found]

    def _page(self, index: Index, request: Request, _: Any) -> Any:
        count, cursor = request.query_params.get("count", "100"), request.query_params.get("cursor", "0")
        if not (count + cursor).isdigit() or not 1 <= int(count) <= _PAGE:
            raise vectorize_error(f"count must lie in 1..{_PAGE}, and cursor must come from an earlier page")
        ids, start = sorted(index.vectors), int(cursor)
        end = start + int(count)
        return {
            "count": len(ids[start:end]),
            "totalCount": len(ids),
            "vectors": [{"id": one} for one in ids[start:end]],
            "isTruncated": end < len(ids),
            "nextCursor": str(end) if end < len(ids) else None,
            "cursorExpirationTimestamp": None,
        }

    def _query(self, index: Index, _: Request, body: Any) -> Any:
        given, top = body.get("vector"), body.get("topK", _DEFAULT_TOP)
        values, metadata = body.get("returnValues", False), body.get("returnMetadata", "none")
        if metadata not in ("none", "indexed", "all") or isinstance(metadata, bool):
            raise _unparsable("returnMetadata: expected value")
        if not isinstance(given, list) or not all(is_number(one) for one in given):
            raise _unparsable("vector: expected a list of numbers")
        if len(given) != index.dimensions:
            sizes = f"expected {index.dimensions} dimensions, and got {len(given)} dimensions"
            raise vectorize_error(f"invalid query vector, {sizes}", 40006)
        if not is_number(top) or int(top) != top or top < 1:
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
        ranked = index.nearest(np.asarray(given, dtype=np.float32), kept)[: int(top)] if kept else []
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


def _object(raw: bytes) -> dict[str, Any]:
    try:
        given = json.loads(raw)
    except ValueError as error:
        raise _unparsable(error) from None
    if not isinstance(given, dict):
        raise _unparsable("expected an object")
    return given


def _ids(body: dict[str, Any], most: int) -> list[str]:
    ids = body.get("ids")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise _unparsable("ids: expected a list of strings")
    if len(ids) > most:
        raise vectorize_error(f"too many ids in payload; max id count is {most}, got {len(ids)}", 40007)
    return ids
