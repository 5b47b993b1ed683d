"""Gateway: AI Gateway in front of ``/ai/*``: cache, metadata, logs and feedback.

A call enters a gateway by the header ``cf-aig-gateway-id``; calls of third-party models without it enter ``default``.
A cached answer comes before rate, quota and work, and costs nothing. As on a gateway that made itself, nothing is
cached unless a call asks for it (``cf-aig-cache-ttl`` or ``cf-aig-cache-key``); streams and audio never are.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .catalogue import Model, usd_per_neuron
from .errors import Refusal, refuse
from .limits import Clock
from .replies import Reply

_DEFAULT_TTL, _SHORTEST, _LONGEST = 300, 60, 30 * 86_400
_LARGEST = 25_000_000
_ENTRIES = 5

#: What a log row says about the payload; only ``GET .../logs/{id}`` has it.
_HEADS = 1000

Handlers = Mapping[str, Mapping[str, Callable[[Request], Awaitable[Any]]]]


def outside(name: str) -> Model:
    """Return the stand-in row of a third-party model: it chats, and has no price."""
    row = {"capabilities": ["function_calling", "streaming"]}
    return Model(name, "Text Generation", "openai", "current", None, None, None, None, row)


def label(header: str | None) -> dict[str, str | float | bool] | None:
    """Return the metadata of a header: the first five entries that are text, number or boolean."""
    try:
        given = json.loads(header or "")
    except ValueError:
        return None
    if not isinstance(given, dict):
        return None
    fit = {name: value for name, value in given.items() if isinstance(value, str | int | float | bool)}
    return dict(list(fit.items())[:_ENTRIES])


def _no(header: str | None) -> bool:
    return (header or "").casefold() == "false"


@dataclass
class Passage:
    """One call's way through a gateway.

    Attributes
    ----------
    key : str
        Of the cache; empty when the answer is not to be kept or taken from it.
    ttl : float
        Seconds the answer is kept.
    model : str
        Whom the call named, once it is known.
    usage : mapping
        What was charged for.
    """

    gateway: str
    key: str
    ttl: float
    headers: dict[str, str]
    row: dict[str, Any]
    logged: bool
    payload: bool
    request: bytes
    start: float
    model: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)
    neurons: float | None = None
    hit: bool = False


@dataclass
class _Log:
    row: dict[str, Any]
    request: bytes
    response: bytes


class Gateways:
    """The gateways of every account, with their caches and logs.

    Parameters
    ----------
    names : collection of str, optional
        The gateways there are; by default any name is created on first use.
    """

    def __init__(self, names: Collection[str] | None, clock: Clock, seed: int) -> None:
        self._names = None if names is None else frozenset(names)
        self._clock, self._random, self._lock = clock, random.Random(seed), Lock()
        self._cache: dict[str, tuple[float, Reply]] = {}
        self._logs: dict[tuple[str, str], dict[str, _Log]] = {}

    # -- on the way ---------------------------------------------------------------------------------------------------

    async def enter(self, request: Request, *, default: bool = False, broke: bool = False) -> Passage | None:
        """Return the passage of a call, ``None`` for one that goes through no gateway.

        Raises
        ------
        Refusal
            2001 where there is no such gateway, 2021 where `broke` says that credits are used up.
        """
        given = request.headers
        name = given.get("cf-aig-gateway-id") or ("default" if default else "")
        if not name:
            return None
        if len(name) > 64 or (self._names is not None and name not in self._names):
            raise refuse(2001)
        if broke:
            raise refuse(2021)
        account, body = request.path_params["account"].casefold(), await request.body()
        skipped = given.get("cf-aig-skip-cache", "").casefold() == "true"
        ttl = 0.0 if skipped else self._ttl(given)
        own = given.get("cf-aig-cache-key")
        parts = [own.encode()] if own else [request.url.path.encode(), request.url.query.encode(), body]
        parts = [account.encode(), name.encode(), *parts] + ([] if own else [given.get("authorization", "").encode()])
        key = hashlib.sha256(b"\0".join(parts)).hexdigest() if ttl and len(body) <= _LARGEST else ""
        headers = {"cf-aig-request-id": self._id(), "cf-aig-step": "0"}
        if event := given.get("cf-aig-event-id"):
            headers["cf-aig-event-id"] = event
        metadata = label(given.get("cf-aig-metadata"))
        row = {
            "path": request.url.path.split("/", 6)[-1],
            "metadata": None if metadata is None else json.dumps(metadata),
            "request_content_type": given.get("content-type", ""),
            "custom_cost": False,
            "step": 0,
        }
        logged, kept = not _no(given.get("cf-aig-collect-log")), not _no(given.get("cf-aig-collect-log-payload"))
        return Passage(f"{account}/{name}", key, ttl, headers, row, logged, kept, body, self._clock())

    def _ttl(self, headers: Mapping[str, str]) -> float:
        """Return the seconds an answer is to be kept, 0 for not at all (also for a TTL out of its bounds)."""
        given = headers.get("cf-aig-cache-ttl")
        if given is None:
            return _DEFAULT_TTL if headers.get("cf-aig-cache-key") else 0
        seconds = int(given) if given.isascii() and given.isdigit() else 0
        return seconds if _SHORTEST <= seconds <= _LONGEST else 0

    def recall(self, passage: Passage) -> Reply | None:
        """Return the kept answer to an identical call."""
        with self._lock:
            until, reply = self._cache.get(passage.key, (0.0, None))
            if reply is None or until <= self._clock():
                return None
        passage.hit = True
        headers = {name: value for name, value in reply.headers.items() if name != "cf-ai-neurons"}
        return replace(reply, headers=headers)

    def leave(self, passage: Passage, reply: Reply | Refusal) -> dict[str, str]:
        """Keep and log what a call came to; return the gateway's response headers."""
        headers = {**passage.headers, "cf-aig-cache-status": "HIT" if passage.hit else "MISS"}
        whole = isinstance(reply, Reply) and reply.status == 200 and not reply.damaged
        if isinstance(reply, Reply) and whole and passage.key and not passage.hit and _keepable(reply):
            with self._lock:
                self._cache[passage.key] = (self._clock() + passage.ttl, reply)
        if not passage.logged:
            return headers
        if isinstance(reply, Reply):
            body, media = reply.body if reply.frames is None else b"".join(reply.frames), reply.media
        else:
            body, media = json.dumps(reply.body("")).encode(), "application/json"
        number = self._id()
        row = {
            "id": number,
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "cached": passage.hit,
            "duration": round((self._clock() - passage.start) * 1000),
            "model": passage.model,
            "provider": "workers-ai" if passage.model.startswith("@") else passage.model.split("/")[0],
            "success": whole,
            "status_code": reply.status,
            "response_content_type": media,
            "model_type": "",
            "request_type": "",
            **self._cost(passage),
            **passage.row,
            "feedback": None,
            "score": None,
        }
        log = _Log(row, passage.request if passage.payload else b"", body if passage.payload else b"")
        with self._lock:
            self._logs.setdefault(_pair(passage.gateway), {})[number] = log
        return {**headers, "cf-aig-log-id": number}

    @staticmethod
    def _cost(passage: Passage) -> dict[str, float | int]:
        usage = passage.usage
        tokens_in = usage.get("input_tokens", 0) + usage.get("cached_input_tokens", 0)
        cost = (passage.neurons or 0.0) * usd_per_neuron()
        return {"tokens_in": int(tokens_in), "tokens_out": int(usage.get("output_tokens", 0)), "cost": cost}

    def _id(self) -> str:
        """Return a lower-case UUIDv7."""
        with self._lock:
            chance = self._random.getrandbits(74)
        number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
        return str(uuid.UUID(int=number))

    # -- the logs' own routes -----------------------------------------------------------------------------------------

    def routes(self) -> Handlers:
        """Return path below the account -> method -> handler of a result."""
        base = "/ai-gateway/gateways/{gateway}/logs"
        return {
            base: {"GET": self._list},
            base + "/{log}": {"GET": self._get, "PATCH": self._edit},
            base + "/{log}/request": {"GET": self._request},
            base + "/{log}/response": {"GET": self._response},
        }

    def _rows(self, request: Request) -> dict[str, _Log]:
        account, name = request.path_params["account"].casefold(), request.path_params["gateway"]
        if self._names is not None and name not in self._names:
            raise refuse(2001)
        with self._lock:
            return dict(self._logs.get((account, name), {}))

    def _one(self, request: Request) -> _Log:
        log = self._rows(request).get(request.path_params["log"])
        if log is None:
            raise refuse(7003, path=request.url.path)
        return log

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        query = dict(request.query_params)
        if unknown := [name for name in query if name.startswith("filters")]:
            raise refuse(5007, text=f"emulator: the log filter {unknown[0]} is not emulated; use the plain parameters")
        kept = [log.row for log in self._rows(request).values() if all(_fits(log.row, query))]
        order = query.get("order_by", "created_at")
        kept.sort(key=lambda row: (row.get(order) is not None, row.get(order)))
        if (query.get("order_by_direction") or query.get("direction") or "desc") == "desc":
            kept.reverse()
        page, per_page = max(1, int(query.get("page") or 1)), max(1, min(50, int(query.get("per_page") or 20)))
        return kept[(page - 1) * per_page : page * per_page]

    async def _get(self, request: Request) -> dict[str, Any]:
        log = self._one(request)
        heads: dict[str, Any] = {}
        for name, body in (("request", log.request), ("response", log.response)):
            heads[f"{name}_head"] = body[:_HEADS].decode("utf-8", "replace")
            heads[f"{name}_head_complete"] = len(body) <= _HEADS
            heads[f"{name}_size"] = len(body)
        return {**log.row, **heads}

    async def _edit(self, request: Request) -> dict[str, Any]:
        log = self._one(request)
        try:
            given = json.loads(await request.body())
        except ValueError:
            given = None
        if not isinstance(given, dict) or given.get("feedback", 1) not in (-1, 1, None):
            raise refuse(5006, text="feedback must be -1, 1 or null", status=400)
        changed = {name: given[name] for name in ("feedback", "score") if name in given}
        if isinstance(given.get("metadata"), dict):
            changed["metadata"] = json.dumps(label(json.dumps(given["metadata"])))
        log.row.update(changed)
        return {}

    async def _request(self, request: Request) -> Response:
        return Response(self._one(request).request or b"{}", media_type="application/json")

    async def _response(self, request: Request) -> Response:
        log = self._one(request)
        return Response(log.response or b"{}", media_type=log.row["response_content_type"])


def _pair(gateway: str) -> tuple[str, str]:
    account, _, name = gateway.partition("/")
    return account, name


def _keepable(reply: Reply) -> bool:
    return reply.frames is None and not reply.media.startswith("audio/")


def _fits(row: Mapping[str, Any], query: Mapping[str, str]) -> Iterator[bool]:
    """Yield whether a row fits each filter of a query."""
    for name in ("cached", "success"):
        if name in query:
            yield row[name] is (query[name].casefold() == "true")
    for name in ("model", "provider"):
        if name in query:
            yield row[name] == query[name]
    if "search" in query:
        yield query["search"] in (row["metadata"] or "")
    if "feedback" in query:  # the log filter counts from 0, the feedback from -1
        yield row["feedback"] == (1 if query["feedback"] == "1" else -1)
    figures = {**row, "total_tokens": row["tokens_in"] + row["tokens_out"]}
    for name in ("cost", "duration", "tokens_in", "tokens_out", "total_tokens"):
        if f"min_{name}" in query:
            yield figures[name] >= float(query[f"min_{name}"])
        if f"max_{name}" in query:
            yield figures[name] <= float(query[f"max_{name}"])
