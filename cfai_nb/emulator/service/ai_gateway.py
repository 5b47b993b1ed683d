"""AI Gateway in front of ``/ai/*``: which gateway a call enters, its cache, the headers it adds, and its logs.

``routing`` calls :meth:`Gateways.enter`, ``app`` looks for a cached answer, calls :meth:`Gateways.leave` at the end and
serves the addresses that read and edit the logs. A call enters a gateway by the header ``cf-aig-gateway-id`` or by the
gateway's own host; calls of third-party models without either enter ``default``. A cached answer comes before rate,
quota and work, and costs nothing. As on a gateway that was created automatically, nothing is cached unless a call
requests it (``cf-aig-cache-ttl`` or ``cf-aig-cache-key``); streams and audio are never cached.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from ..error_codes import ServiceError, refuse
from ..json_schema import NUMBER, OBJECT, maybe, obj, require
from ..model_catalogue import usd_per_neuron
from .limits import Clock
from .request_body import Routes, account_of, parse, whole_numbers
from .responses import Ids, Reply, now

#: Key in the ASGI scope of a request that came through the gateway's own host, with its :class:`GatewayRoute`.
ROUTE = "cfai_nb.gateway_route"


def _metadata(header: str | None) -> str | None:
    """Return the metadata of a header as a log keeps it."""
    with suppress(ValueError):
        if isinstance(given := from_json(header or ""), dict):
            return json.dumps(_plain(given))
    return None


def _plain(metadata: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return the first five entries that are text, number or boolean."""
    return dict([entry for entry in metadata.items() if isinstance(entry[1], str | int | float | bool)][:5])


@dataclass(frozen=True)
class GatewayRoute:
    """How a call reaches a gateway (an empty name: without one).

    `step` is its position in the list of the universal endpoint; `bare`: Workers AI answers without its envelope.
    """

    gateway: str
    step: int = 0
    bare: bool = False


def route_of(request: Request) -> GatewayRoute:
    """Return how a request reaches a gateway: through the gateway's own host, else by the header."""
    found: GatewayRoute | None = request.scope.get(ROUTE)
    return found or GatewayRoute(request.headers.get("cf-aig-gateway-id", ""))


@dataclass
class GatewayCall:
    """One call through a gateway; `key` is its cache key, empty when the cache is not used."""

    account: str
    gateway: str
    key: str
    ttl: float
    headers: dict[str, str]
    row: dict[str, Any]
    logged: bool
    payload: bool
    request: bytes
    start: float
    bare: bool = False
    usage: Mapping[str, float] = field(default_factory=dict)
    neurons: float | None = None
    hit: bool = False


#: What can be changed of a log.
_EDIT = obj({"feedback": {"enum": [-1, 1, None]}, "score": maybe(NUMBER), "metadata": OBJECT})
#: Bytes of the payload in a log row; only ``GET .../logs/{id}`` shows them.
_HEADS = 1000


@dataclass
class _Log:
    row: dict[str, Any]
    request: bytes
    response: bytes


class GatewayLogs:
    """The logs of every account's gateways; `known` raises the error of a gateway that does not exist."""

    def __init__(self, known: Callable[[str], None]) -> None:
        self._known, self._lock = known, Lock()
        self._logs: dict[tuple[str, str], dict[str, _Log]] = {}

    def write(self, number: str, call: GatewayCall, model: str, reply: Reply | ServiceError, seconds: float) -> None:
        """Log the outcome of a call of a model under an id."""
        if isinstance(reply, Reply):
            body, media = reply.body if reply.frames is None else b"".join(reply.frames), reply.media
        else:
            body, media = json.dumps(reply.body("")).encode(), "application/json"
        usage = call.usage
        row = {
            "id": number,
            "created_at": now(),
            "cached": call.hit,
            "duration": round(seconds * 1000),
            "model": model,
            "provider": "workers-ai" if model.startswith("@") else model.split("/")[0],
            "success": isinstance(reply, Reply) and reply.succeeded,
            "status_code": reply.status,
            "response_content_type": media,
            **dict.fromkeys(("model_type", "request_type"), ""),
            "tokens_in": int(usage.get("input_tokens", 0) + usage.get("cached_input_tokens", 0)),
            "tokens_out": int(usage.get("output_tokens", 0)),
            "cost": (call.neurons or 0.0) * usd_per_neuron(),
            **call.row,
            **dict.fromkeys(("feedback", "score")),
        }
        log = _Log(row, call.request if call.payload else b"", body if call.payload else b"")
        with self._lock:
            self._logs.setdefault((call.account, call.gateway), {})[number] = log

    def routes(self) -> Routes:
        """Return the addresses, with their handlers."""
        base = "/ai-gateway/gateways/{gateway}/logs"
        return {
            base: {"GET": self._list},
            base + "/{log}": {"GET": self._get, "PATCH": self._edit},
            base + "/{log}/request": {"GET": self._request},
            base + "/{log}/response": {"GET": self._response},
        }

    def _rows(self, request: Request) -> dict[str, _Log]:
        name = request.path_params["gateway"]
        self._known(name)
        with self._lock:
            return dict(self._logs.get((account_of(request), name), {}))

    def _one(self, request: Request) -> _Log:
        log = self._rows(request).get(request.path_params["log"])
        if log is None:
            raise refuse(7003, path=request.url.path)
        return log

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        query = dict(request.query_params)
        if unknown := [name for name in query if name.startswith("filters")]:
            raise refuse(5007, text=f"emulator: the log filter {unknown[0]} is not emulated; use the plain parameters")
        rows = [log.row for log in self._rows(request).values()]
        page, per_page = whole_numbers(request, page=1, per_page=20)
        page, per_page = max(1, page), max(1, min(50, per_page))
        try:
            kept = [row for row in rows if all(_matches(row, query))]
        except ValueError as error:
            raise refuse(5006, why=str(error)) from None
        order = query.get("order_by", "created_at")
        kept.sort(key=lambda row: (row.get(order) is not None, row.get(order)))
        if (query.get("order_by_direction") or query.get("direction") or "desc") == "desc":
            kept.reverse()
        return kept[(page - 1) * per_page : page * per_page]

    async def _get(self, request: Request) -> dict[str, Any]:
        log = self._one(request)
        shown = dict(log.row)
        for name, body in (("request", log.request), ("response", log.response)):
            shown[f"{name}_head"] = body[:_HEADS].decode("utf-8", "replace")
            shown |= {f"{name}_head_complete": len(body) <= _HEADS, f"{name}_size": len(body)}
        return shown

    async def _edit(self, request: Request) -> dict[str, Any]:
        log = self._one(request)
        given = parse(await request.body())
        require(given, _EDIT)
        if "metadata" in given:
            given["metadata"] = json.dumps(_plain(given["metadata"]))
        log.row.update({name: given[name] for name in _EDIT["properties"] if name in given})
        return {}

    async def _request(self, request: Request) -> Response:
        return Response(self._one(request).request or b"{}", media_type="application/json")

    async def _response(self, request: Request) -> Response:
        log = self._one(request)
        return Response(log.response or b"{}", media_type=log.row["response_content_type"])


def _matches(row: Mapping[str, Any], query: Mapping[str, str]) -> Iterator[bool]:
    """Yield, for each filter of a query, whether a row matches."""
    figures = {**row, "total_tokens": row["tokens_in"] + row["tokens_out"]}
    for name, wanted in query.items():
        bound, figure = name[:4], name[4:]
        if name in ("cached", "success"):
            yield row[name] is (wanted.casefold() == "true")
        elif name in ("model", "provider"):
            yield row[name] == wanted
        elif name == "search":
            yield wanted in (row["metadata"] or "")
        elif name == "feedback":  # the log filter counts from 0, the feedback from -1
            yield row[name] == (1 if wanted == "1" else -1)
        elif bound in ("min_", "max_") and figure in ("cost", "duration", "tokens_in", "tokens_out", "total_tokens"):
            limit = float(wanted)
            yield figures[figure] >= limit if bound == "min_" else figures[figure] <= limit


_DEFAULT_TTL, _SHORTEST, _LONGEST = 300, 60, 30 * 86_400
_LARGEST = 25_000_000


class Gateways:
    """The gateways of every account, with their caches; without `names` any name is created on first use."""

    def __init__(self, names: Collection[str] | None, clock: Clock, seed: int, quirks: frozenset[str]) -> None:
        self._names, self._quirks = None if names is None else frozenset(names), quirks
        self._clock, self._ids, self._lock = clock, Ids(seed), Lock()
        self._cache: dict[str, tuple[float, Reply]] = {}
        self.logs = GatewayLogs(self._find)

    def _find(self, name: str) -> None:
        if len(name) > 64 or (self._names is not None and name not in self._names):
            raise refuse(2001)

    async def enter(self, request: Request, default: str = "") -> GatewayCall | None:
        """Return the record of a call in its gateway, or in the `default` one; ``None`` without one.

        2001 for one that does not exist, 2021 with the quirk "no-credits"; the code of a reached spend limit is not
        known, so the status stands in its place.
        """
        given, route = request.headers, route_of(request)
        name = route.gateway or default
        if not name:
            return None
        self._find(name)
        if "no-credits" in self._quirks:
            raise refuse(2021)
        if "spend-limit" in self._quirks:
            raise refuse(429, text="Spend limit exceeded for this gateway", status=429)
        account, body = account_of(request), await request.body()
        skip_cache = given.get("cf-aig-skip-cache", "").casefold() == "true"
        ttl = 0.0 if skip_cache else self._ttl(given)
        own_key = given.get("cf-aig-cache-key")
        texts = [own_key] if own_key else [request.url.path, request.url.query, given.get("authorization", "")]
        parts = [text.encode() for text in (account, name, *texts)] + [b"" if own_key else body, b"bare" * route.bare]
        key = hashlib.sha256(b"\0".join(parts)).hexdigest() if ttl and len(body) <= _LARGEST else ""
        headers = {"cf-aig-request-id": self._id(), "cf-aig-step": str(route.step)}
        if event := given.get("cf-aig-event-id"):
            headers["cf-aig-event-id"] = event
        row = {
            "path": request.url.path.split("/", 6)[-1],
            "metadata": _metadata(given.get("cf-aig-metadata")),
            "request_content_type": given.get("content-type", ""),
            **{"custom_cost": False, "step": route.step},
        }
        switches = (given.get(f"cf-aig-collect-log{what}", "") for what in ("", "-payload"))
        logged, payload = (switch.casefold() != "false" for switch in switches)
        return GatewayCall(account, name, key, ttl, headers, row, logged, payload, body, self._clock(), route.bare)

    def _ttl(self, headers: Mapping[str, str]) -> float:
        """Return the seconds that an answer is cached, 0 for not at all (also for a TTL out of bounds)."""
        given = headers.get("cf-aig-cache-ttl")
        if given is None:
            return _DEFAULT_TTL if headers.get("cf-aig-cache-key") else 0
        seconds = int(given) if given.isascii() and given.isdigit() else 0
        return seconds if _SHORTEST <= seconds <= _LONGEST else 0

    def recall(self, call: GatewayCall) -> Reply | None:
        """Return the cached answer to an identical call."""
        with self._lock:
            until, reply = self._cache.get(call.key, (0.0, None))
            if reply is None or until <= self._clock():
                return None
        call.hit = True
        headers = {name: value for name, value in reply.headers.items() if name != "cf-ai-neurons"}
        return replace(reply, headers=headers)

    def leave(self, call: GatewayCall, model: str, reply: Reply | ServiceError) -> dict[str, str]:
        """Cache and log the outcome of a call of a model; return the gateway's response headers."""
        headers = {**call.headers, "cf-aig-cache-status": "HIT" if call.hit else "MISS"}
        if isinstance(reply, Reply) and call.key and not call.hit and _cacheable(reply):
            with self._lock:
                self._cache[call.key] = (self._clock() + call.ttl, reply)
        if not call.logged:
            return headers
        number = self._id()
        self.logs.write(number, call, model, reply, self._clock() - call.start)
        return {**headers, "cf-aig-log-id": number}

    def _id(self) -> str:
        """Return a lower-case UUIDv7."""
        chance = self._ids.bits(74)
        number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
        return str(uuid.UUID(int=number))


def _cacheable(reply: Reply) -> bool:
    return reply.succeeded and reply.frames is None and not reply.media.startswith("audio/")
