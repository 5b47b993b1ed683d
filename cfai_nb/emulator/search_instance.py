"""One AI Search instance: its settings, its items, their chunks, and retrieval by vectors, by keywords or by both.

``search_namespaces`` calls it. An upload is indexed later: so many calls to the instance pass first. Vectors are the
lexical stand-ins, keywords are scored with BM25, and both lists are fused as the service does (reciprocal rank, or
maximum).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from . import standins
from .error_codes import ServiceError, refuse
from .json_schema import BOOLEAN, INTEGER, NUMBER, STRING, array, each, json_type, maybe, obj, one, require
from .service.http import now
from .vectorize import filter_error, matches_filter

#: Metadata fields an instance can be filtered by, and the characters of a text in one.
_FIELDS, _TEXT = 5, 500
_KINDS = ("text", "number", "boolean", "datetime")
#: What every item can be filtered by.
_BUILT_IN: Mapping[str, str] = {"timestamp": "number", "folder": "text", "filename": "text"}
_WIDTH = 256
_BYTES_A_TOKEN = 4
_RANK = 60  # of reciprocal rank fusion
_K1, _B = 1.5, 0.75  # of BM25

#: code -> (HTTP status, text), as the service documents them for AI Search.
CODES: Mapping[int, tuple[int, str]] = {
    7002: (404, "ai_search_not_found"),
    7022: (400, "ai_search_with_this_name_already_exist"),
    7032: (400, "ai_search_is_paused"),
    7038: (400, "missing_user_query"),
    7039: (400, "missing_user_query"),
    7041: (404, "item_not_found"),
    7042: (409, "item_key_already_exist"),
    7054: (413, "file_exceeds_maximum_size"),
    7055: (400, "file_field_is_required"),
    7056: (400, "invalid_metadata_format"),
    7057: (400, "invalid_datetime_filter_value"),
    7058: (400, "invalid_metadata_filter"),
    7060: (400, "unsupported_file_type"),
    7063: (404, "namespace_not_found"),
    7064: (409, "namespace_already_exists"),
    7065: (400, "cannot_modify_default_namespace"),
    7066: (400, "namespace_not_empty"),
    7070: (400, "invalid_retrieval_type"),
    7072: (400, "filename_exceeds_maximum_length"),
    7074: (400, "too_many_multi_search_instances"),
}


def search_error(code: int, why: str = "") -> ServiceError:
    """Return an error of AI Search; `why` is what the emulator adds to the service's text."""
    status, text = CODES[code]
    return ServiceError(code, f"{text}: {why}" if why else text, status)


@dataclass
class _Chunk:
    """A part of an item's text."""

    id: str
    item: Item
    text: str
    start: int
    end: int
    vector: Any = None
    terms: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, Any]:
        """Return it as ``items/{id}/chunks`` lists it."""
        place = {"start_byte": self.start, "end_byte": self.end}
        return {"id": self.id, "item": self.item.source(), "text": self.text, **place}


@dataclass
class Item:
    """One uploaded file."""

    id: str
    key: str
    media: str
    data: bytes
    metadata: dict[str, Any]
    namespace: str
    wait: int
    created: str = field(default_factory=now)
    moment: float = field(default_factory=lambda: time.time() * 1000)
    status: str = "queued"
    error: str | None = None
    chunks: list[_Chunk] = field(default_factory=list)

    def source(self) -> dict[str, Any]:
        """Return it as a chunk names it."""
        return {"key": self.key, "timestamp": int(self.moment), "metadata": {**self.metadata, **self._built_in()}}

    def entry(self) -> dict[str, Any]:
        """Return it as it is listed."""
        return {
            "id": self.id,
            "key": self.key,
            "status": self.status,
            "checksum": hashlib.md5(self.data, usedforsecurity=False).hexdigest(),
            "chunks_count": len(self.chunks) if self.status == "completed" else None,
            "created_at": self.created,
            "last_seen_at": self.created,
            "file_size": len(self.data),
            "metadata": {**self.metadata, **self._built_in()},
            "namespace": self.namespace,
            "next_action": None if self.status in ("completed", "error") else "INDEX",
            "source_id": "builtin",
            "error": self.error,
        }

    def terms(self, schema: Mapping[str, str]) -> dict[str, Any]:
        """Return what it can be filtered by, given the fields of its instance."""
        kept = {name: _typed(self.metadata[name], kind) for name, kind in schema.items() if name in self.metadata}
        return {name: value for name, value in {**kept, **self._built_in()}.items() if value is not None}

    def _built_in(self) -> dict[str, Any]:
        folder = self.key.rpartition("/")[0]
        return {"filename": self.key, "folder": f"{folder}/" if folder else "", "timestamp": int(self.moment)}


_DEFAULTS: Mapping[str, Any] = {
    "ai_search_model": "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
    "cache": True,
    "cache_threshold": "close_enough",
    "chunk_overlap": 10,
    "chunk_size": 256,
    "embedding_model": "@cf/qwen/qwen3-embedding-0.6b",
    "enable": True,
    "fusion_method": "rrf",
    "max_num_results": 10,
    "paused": False,
    "reranking": False,
    "reranking_model": "@cf/baai/bge-reranker-base",
    "rewrite_query": False,
    "score_threshold": 0.1,  # of the stand-in's vectors, which lie farther apart than a model's
    "source": None,
    "type": None,
}

_SETTINGS = obj(
    {
        "custom_metadata": maybe(array(obj(field_name=STRING, data_type=one(*_KINDS)), maxItems=_FIELDS)),
        "index_method": maybe(obj(each("vector keyword", BOOLEAN))),
        "chunk_size": {"type": "integer", "minimum": 1},
        "chunk_overlap": {"type": "integer", "minimum": 0, "maximum": 99},
        "max_num_results": INTEGER,
        "score_threshold": NUMBER,
    }
)


def _new_settings() -> dict[str, Any]:
    method = {"vector": True, "keyword": True}
    return {**_DEFAULTS, "last_activity": None, "modified_at": now(), "custom_metadata": [], "index_method": method}


@dataclass
class Instance:
    """One instance: its settings, its items, and the search over them."""

    id: str
    namespace: str
    delay: int
    created: str = field(default_factory=now)
    items: dict[str, Item] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=_new_settings)

    @property
    def fields(self) -> dict[str, str]:
        """The fields it can be filtered by, with their types."""
        return {each["field_name"]: each["data_type"] for each in self.settings["custom_metadata"]}

    def entry(self) -> dict[str, Any]:
        """Return the instance as it is listed."""
        stamps = {"created_at": self.created, "modified_at": self.settings["modified_at"]}
        return {**self.settings, **stamps, "id": self.id, "namespace": self.namespace}

    def configure(self, given: Mapping[str, Any]) -> None:
        """Set what a request gives of the settings; a new schema of the metadata indexes every item again."""
        require(given, _SETTINGS)
        before = self.fields
        if (fields := given.get("custom_metadata")) is not None:
            named = [{**one, "field_name": one["field_name"].lower()} for one in fields]
            if reserved := [one["field_name"] for one in named if one["field_name"] in _BUILT_IN]:
                raise refuse(5006, text=f"custom_metadata: {reserved[0]!r} is reserved")
            self.settings["custom_metadata"] = named
        if (method := given.get("index_method")) is not None:
            self.settings["index_method"] = {name: method.get(name, False) for name in ("vector", "keyword")}
        known = {name: given[name] for name in _DEFAULTS if name in given}
        self.settings |= {**known, "modified_at": now()}
        if self.fields != before:
            for item in self.items.values():
                item.status, item.wait = "queued", self.delay

    def warnings(self, metadata: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the metadata of an upload that it cannot be filtered by."""
        found, fields = [], self.fields
        for name, value in metadata.items():
            if name not in fields:
                found.append({"code": "custom_metadata_field_not_filterable", "field": name})
            elif _typed(value, fields[name]) is None:
                code = "custom_metadata_value_not_indexed"
                found.append({"code": code, "field": name, "expected_type": fields[name]})
        return found

    def settle(self) -> None:
        """Index the uploads that are due."""
        for item in self.items.values():
            if item.status in ("queued", "running"):
                if item.wait <= 0:
                    self.index(item)
                else:
                    item.wait -= 1
                    item.status = "running"

    def index(self, item: Item) -> None:
        """Cut an item into chunks, each with its vector and its terms."""
        try:
            text = item.data.decode("utf-8")
        except UnicodeDecodeError:
            item.status, item.error = "error", "could_not_read_file"
            return
        size = int(self.settings["chunk_size"]) * _BYTES_A_TOKEN
        step = max(1, size - size * int(self.settings["chunk_overlap"]) // 100)
        raw = text.encode()
        starts = range(0, max(1, len(raw) - (size - step)), step)
        pieces = [(raw[at : at + size].decode("utf-8", "ignore"), at, min(at + size, len(raw))) for at in starts]
        matrix = standins.embed([piece for piece, *_ in pieces], _WIDTH)
        item.chunks = [
            _Chunk(f"{item.id}-{place}", item, piece, start, end, vector, Counter(_terms(piece)))
            for place, ((piece, start, end), vector) in enumerate(zip(pieces, matrix, strict=True))
        ]
        item.status = "completed"
        self.settings["last_activity"] = now()

    def counts(self) -> dict[str, Any]:
        """Return how many items have each status."""
        found = Counter(item.status for item in self.items.values())
        states = ("queued", "running", "completed", "error", "skipped", "outdated")
        chunks = sum(len(item.chunks) for item in self.items.values())
        return {
            **{state: found[state] for state in states},
            "last_activity": self.settings["last_activity"],
            "file_embed_errors": {item.key: item.error for item in self.items.values() if item.error},
            "index_source_errors": {},
            "engine": {
                "vectorize": {"dimensions": _WIDTH, "vectorsCount": chunks},
                "r2": {
                    "metadataSizeBytes": 0,
                    "objectCount": len(self.items),
                    "payloadSizeBytes": sum(len(item.data) for item in self.items.values()),
                },
            },
        }

    # -- retrieval ---------------------------------------------------------------------------------------------------

    def search(self, query: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the chunks for a query, best first, as ``search`` answers them."""
        wanted = dict(options.get("retrieval") or {})
        method = self.settings["index_method"]
        usual = "hybrid" if all(method.values()) else "vector" if method["vector"] else "keyword"
        kind = wanted.get("retrieval_type") or usual
        needs = {"vector": ("vector",), "keyword": ("keyword",), "hybrid": ("vector", "keyword")}.get(kind)
        if needs is None or not all(method[one] for one in needs):
            raise search_error(7070)
        most = wanted.get("max_num_results", self.settings["max_num_results"])
        if json_type(most) != "integer" or not 1 <= most <= 50:
            raise search_error(7058, "max_num_results must lie in 1..50")
        kept = self.matching(wanted["filters"]) if wanted.get("filters") not in (None, {}) else self.items.values()
        pool = [chunk for item in kept if item.status == "completed" for chunk in item.chunks]
        least = float(wanted.get("match_threshold", self.settings["score_threshold"]))
        every = (wanted.get("keyword_match_mode") or "and") == "and"
        near = _by_vector(query, pool, least) if "vector" in needs else {}
        worded = _by_keyword(query, pool, every=every) if "keyword" in needs else {}
        fusion = wanted.get("fusion_method") or self.settings["fusion_method"]
        return _fused(near, worded, {chunk.id: chunk for chunk in pool}, fusion)[: int(most)]

    def matching(self, filters: Any) -> list[Item]:
        """Return the items that a filter lets through."""
        schema = {**self.fields, **_BUILT_IN}
        if why := filter_error(filters):
            raise search_error(7058, why)
        if unknown := [name for name in filters if name.lower() not in schema]:
            raise search_error(7058, f"{unknown[0]!r} is not a field of the instance")
        wanted = {name.lower(): _comparable(rule, schema[name.lower()]) for name, rule in filters.items()}
        return [item for item in self.items.values() if matches_filter(item.terms(self.fields), wanted)]


def _typed(value: Any, kind: str) -> Any:
    """Return a value of metadata as its field holds it; None where it does not fit the type."""
    if kind == "text":
        return str(value)[:_TEXT]
    if kind == "datetime":
        return _moment(value)
    if kind == "boolean":
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(str(value).lower())
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _moment(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        made = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return (made if made.tzinfo else made.replace(tzinfo=UTC)).timestamp() * 1000


def _comparable(rule: Any, kind: str) -> Any:
    """Return the condition of a filter with its dates as numbers."""
    if kind != "datetime":
        return rule
    if isinstance(rule, Mapping):
        return {word: _comparable(other, kind) for word, other in rule.items()}
    if isinstance(rule, list):
        return [_comparable(one, kind) for one in rule]
    moment = _moment(rule)
    if moment is None:
        raise search_error(7057)
    return moment


def _terms(text: str) -> list[str]:
    words = "".join(letter if letter.isalnum() else " " for letter in text).split()
    return [standins.stem(word) for word in words if word.casefold() not in standins.STOP]


def _by_vector(query: str, pool: Sequence[_Chunk], least: float) -> dict[str, float]:
    """Return chunk id -> cosine, best first."""
    if not pool:
        return {}
    (wanted,) = standins.embed([query], _WIDTH)
    scores = np.array([chunk.vector for chunk in pool]) @ wanted
    order = np.argsort(-scores, kind="stable")
    return {pool[at].id: round(float(scores[at]), 6) for at in order.tolist() if scores[at] >= least}


def _by_keyword(query: str, pool: Sequence[_Chunk], *, every: bool) -> dict[str, float]:
    """Return chunk id -> BM25, best first; with `every`, only of chunks with all terms of the query."""
    wanted = list(dict.fromkeys(_terms(query)))
    if not wanted or not pool:
        return {}
    mean = sum(chunk.terms.total() for chunk in pool) / len(pool) or 1.0
    holding = {term: sum(term in chunk.terms for chunk in pool) for term in wanted}
    weight = {term: math.log(1 + (len(pool) - n + 0.5) / (n + 0.5)) for term, n in holding.items()}
    scores: dict[str, float] = {}
    for chunk in pool:
        has = [term for term in wanted if term in chunk.terms]
        if not has or (every and len(has) < len(wanted)):
            continue
        length = _K1 * (1 - _B + _B * chunk.terms.total() / mean)
        scores[chunk.id] = sum(weight[t] * chunk.terms[t] * (_K1 + 1) / (chunk.terms[t] + length) for t in has)
    return {name: round(scores[name], 6) for name in sorted(scores, key=lambda name: -scores[name])}


def _fused(
    near: Mapping[str, float], worded: Mapping[str, float], chunks: Mapping[str, _Chunk], fusion: str
) -> list[dict[str, Any]]:
    both = bool(near) and bool(worded)
    ranks = [{name: place for place, name in enumerate(found, 1)} for found in (near, worded)]
    top = max(worded.values(), default=1.0) or 1.0
    scored: dict[str, float] = {}
    for name in dict.fromkeys([*near, *worded]):
        if not both:
            scored[name] = near[name] if name in near else worded[name] / top
        elif fusion == "max":
            scored[name] = max(near.get(name, 0.0), worded.get(name, 0.0) / top)
        else:
            scored[name] = sum(1 / (_RANK + place[name]) for place in ranks if name in place) * (_RANK + 1) / 2
    answered = []
    for name in sorted(scored, key=lambda name: -scored[name]):
        chunk, details = chunks[name], dict[str, Any](fusion_method=fusion) if both else {}
        for word, found, place in (("vector", near, ranks[0]), ("keyword", worded, ranks[1])):
            if name in found:
                details |= {f"{word}_score": found[name], f"{word}_rank": place[name]}
        score = round(min(1.0, max(0.0, scored[name])), 6)
        about = {"text": chunk.text, "item": chunk.item.source(), "scoring_details": details}
        answered.append({"id": name, "type": "text", "score": score, **about})
    return answered
