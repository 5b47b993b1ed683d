"""AI Gateway in front of ``/ai/*``: how a call enters a gateway; its cache, its headers, its logs, and its own host.

A call enters a gateway by the header ``cf-aig-gateway-id`` or by the gateway's own host; calls of third-party models
without either enter ``default``. ``service`` calls :meth:`Gateways.enter`; ``app`` looks for a cached answer, calls
:meth:`Gateways.leave` at the end, and serves the addresses of the logs and of the host on one port, so only the path
distinguishes them. A cached answer comes before rate, quota and work, and costs nothing. As on a gateway that was
created automatically, nothing is cached unless a call requests it (``cf-aig-cache-ttl`` or ``cf-aig-cache-key``);
streams and audio are never cached.

The host takes requests to ``/v1/{account}/{gateway}`` with a list of requests (the universal endpoint, where the first
that works answers), or followed by a provider and the provider's own path, or by ``compat``. It returns the answer of
``/ai/...`` through that gateway. Workers AI answers there as it does behind ``/ai``, with two differences that
Cloudflare's own clients rely on: through the universal endpoint it answers without its envelope, and one request may
come by itself instead of in a list.
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

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from ..error_codes import ServiceError, refuse
from ..json_schema import NUMBER, OBJECT, maybe, obj, require
from ..model_catalogue import usd_per_neuron
from . import http
from .limits import Clock

#: Key in the ASGI scope of a request that came through the gateway's own host, with its :class:`_Route`.
_ROUTE = "cfai_nb.gateway_route"


@dataclass(frozen=True)
class _Route:
    """How a call reaches a gateway (an empty name: without one).

    `step` is its position in the list of the universal endpoint; `bare`: Workers AI answers without its envelope.
    """

    gateway: str
    step: int = 0
    bare: bool = False


def _route_of(request: Request) -> _Route:
    """Return how a request reaches a gateway: through the gateway's own host, else by the header."""
    found: _Route | None = request.scope.get(_ROUTE)
    return found or _Route(request.headers.get("cf-aig-gateway-id", ""))


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


_DEFAULT_TTL, _SHORTEST, _LONGEST = 300, 60, 30 * 86_400
_LARGEST = 25_000_000


class Gateways:
    """The gateways of every account, with their caches; without `names` any name is created on first use."""

    def __init__(self, names: Collection[str] | None, clock: Clock, seed: int, quirks: frozenset[str]) -> None:
        self._names, self._quirks = None if names is None else frozenset(names), quirks
        self._clock, self._ids, self._lock = clock, http.Ids(seed), Lock()
        self._cache: dict[str, tuple[float, http.Reply]] = {}
        self.logs = _Logs(self._find)

    def _find(self, name: str) -> None:
        if len(name) > 64 or (self._names is not None and name not in self._names):
            raise refuse(2001)

    async def enter(self, request: Request, default: str = "") -> GatewayCall | None:
        """Return the record of a call in its gateway, or in the `default` one; ``None`` without one.

        2001 for one that does not exist, 2021 with the quirk "no-credits"; the code of a reached spend limit is not
        known, so the status stands in its place.
        """
        given, route = request.headers, _route_of(request)
        name = route.gateway or default
        if not name:
            return None
        self._find(name)
        if "no-credits" in self._quirks:
            raise refuse(2021)
        if "spend-limit" in self._quirks:
            raise refuse(429, text="Spend limit exceeded for this gateway", status=429)
        account, body = http.account_of(request), await request.body()
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

    def recall(self, call: GatewayCall) -> http.Reply | None:
        """Return the cached answer to an identical call."""
        with self._lock:
            until, reply = self._cache.get(call.key, (0.0, None))
            if reply is None or until <= self._clock():
                return None
        call.hit = True
        headers = {name: value for name, value in reply.headers.items() if name != "cf-ai-neurons"}
        return replace(reply, headers=headers)

    def leave(self, call: GatewayCall, model: str, reply: http.Reply | ServiceError) -> dict[str, str]:
        """Cache and log the outcome of a call of a model; return the gateway's response headers."""
        headers = {**call.headers, "cf-aig-cache-status": "HIT" if call.hit else "MISS"}
        if isinstance(reply, http.Reply) and call.key and not call.hit and _cacheable(reply):
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


def _cacheable(reply: http.Reply) -> bool:
    return reply.succeeded and reply.frames is None and not reply.media.startswith("audio/")


#: What can be changed of a log.
_EDIT = obj({"feedback": {"enum": [-1, 1, None]}, "score": maybe(NUMBER), "metadata": OBJECT})
#: Bytes of the payload in a log row; only ``GET .../logs/{id}`` shows them.
_HEADS = 1000


@dataclass
class _Log:
    row: dict[str, Any]
    request: bytes
    response: bytes


class _Logs:
    """The logs of every account's gateways; `known` raises the error of a gateway that does not exist."""

    def __init__(self, known: Callable[[str], None]) -> None:
        self._known, self._lock = known, Lock()
        self._logs: dict[tuple[str, str], dict[str, _Log]] = {}

    def write(self, id: str, call: GatewayCall, model: str, reply: http.Reply | ServiceError, seconds: float) -> None:
        """Log the outcome of a call of a model under an id."""
        if isinstance(reply, http.Reply):
            body, media = reply.body if reply.frames is None else b"".join(reply.frames), reply.media
        else:
            body, media = json.dumps(reply.body("")).encode(), "application/json"
        usage = call.usage
        row = {
            "id": id,
            "created_at": http.now(),
            "cached": call.hit,
            "duration": round(seconds * 1000),
            "model": model,
            "provider": "workers-ai" if model.startswith("@") else model.split("/")[0],
            "success": isinstance(reply, http.Reply) and reply.succeeded,
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
            self._logs.setdefault((call.account, call.gateway), {})[id] = log

    def routes(self) -> http.Routes:
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
            return dict(self._logs.get((http.account_of(request), name), {}))

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
        page, per_page = http.whole_numbers(request, page=1, per_page=20)
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
        given = http.parse(await request.body())
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


def _metadata(header: str | None) -> str | None:
    """Return the metadata of a header as a log keeps it."""
    with suppress(ValueError):
        if isinstance(given := from_json(header or ""), dict):
            return json.dumps(_plain(given))
    return None


def _plain(metadata: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Return the first five entries that are text, number or boolean."""
    return dict([entry for entry in metadata.items() if isinstance(entry[1], str | int | float | bool)][:5])


_BASE = "/v1/{account}/{gateway}"
_OWN, _ANTHROPIC, _COMPAT = "workers-ai", "anthropic", "compat"
#: Providers in the gateway's table with a dialect of OpenAI's or Anthropic's, which a stand-in can answer.
_NAMES = (
    "anthropic openai google-ai-studio grok groq deepseek mistral perplexity-ai cerebras openrouter fireworks cohere"
)
_OTHERS = frozenset(_NAMES.split())
#: The last part of a provider's path -> the address after ``/ai``.
_DIALECTS = {"completions": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}


class GatewayHost:
    """Serves the gateway's own addresses with `infer`; `token` is the token of an authenticated gateway."""

    def __init__(self, infer: http.Endpoint, send_error: http.SendError, token: str | None) -> None:
        self._infer, self._send_error, self._token = infer, send_error, token

    def routes(self) -> list[Route]:
        """Return the host's routes."""
        handlers = {_BASE: self._universal, _BASE + "/{provider}/{endpoint:path}": self._direct}
        return [Route(path, self._guarded(handler), methods=http.METHODS) for path, handler in handlers.items()]

    def _guarded(self, handler: http.Endpoint) -> http.Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                if request.method != "POST":
                    raise refuse(7001, method=request.method)
                if self._token and request.headers.get("cf-aig-authorization") != f"Bearer {self._token}":
                    raise refuse(2009, text="Unauthorized")
                return await handler(request)
            except ServiceError as error:
                return self._send_error(error)

        return guarded

    async def _direct(self, request: Request) -> Response:
        """Serve a provider's own path, with the body unchanged."""
        places, body = request.path_params, await request.body()
        route = _Route(places["gateway"])
        return await self._forward(request, places["provider"], places["endpoint"], request.headers, body, route)

    async def _universal(self, request: Request) -> Response:
        """Return the first successful answer to several requests, else the last answer."""
        given = http.parse(await request.body())
        requests = given if isinstance(given, list) else [given]
        if not requests or not all(map(_complete, requests)):
            raise refuse(3003)
        for step, one in enumerate(requests):
            headers = {**request.headers, **{name.lower(): str(value) for name, value in one["headers"].items()}}
            provider, body = one["provider"], to_json(one["query"])
            route = _Route(request.path_params["gateway"], step, bare=provider == _OWN)
            response = await self._forward(request, provider, one["endpoint"], headers, body, route)
            if response.status_code < 400 and not isinstance(response, http.Drop):
                break
        return response

    async def _forward(
        self, request: Request, provider: str, endpoint: str, given: Mapping[str, str], body: bytes, route: _Route
    ) -> Response:
        """Send a request to the address behind a provider's path."""
        try:
            path, body = _behind(provider, endpoint.partition("?")[0], body)
        except ServiceError as error:
            return self._send_error(error)
        account = request.path_params["account"]
        places = {"account": account} | ({"model": path.removeprefix("/run/")} if path.startswith("/run/") else {})
        query = endpoint.partition("?")[2].encode() or request.scope["query_string"]
        scope = {**request.scope, "path": f"/client/v4/accounts/{account}/ai{path}", "query_string": query}
        scope |= {"path_params": places, "headers": list(_headers(provider, given)), _ROUTE: route}

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._infer(Request(scope, receive))


def _complete(one: Any) -> bool:
    """Return whether a request of the universal endpoint has all its parts."""
    wanted = {"provider": str, "endpoint": str, "headers": dict, "query": dict}
    return isinstance(one, dict) and all(isinstance(one.get(name), kind) for name, kind in wanted.items())


def _headers(provider: str, given: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers for the address behind; the gateway's token replaces a missing or another provider's token."""
    other = ("content-length", "transfer-encoding")  # they describe another body
    names = {name.lower(): value for name, value in given.items() if name.lower() not in other}
    if "cf-aig-authorization" in names and ("authorization" not in names or provider in _OTHERS):
        names["authorization"] = names["cf-aig-authorization"]
    for name, value in names.items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def _behind(provider: str, endpoint: str, body: bytes) -> tuple[str, bytes]:
    """Return the address after ``/ai`` of a provider's path, and the body to send there.

    An unknown provider (an unprefixed model in `compat` included) is a 2008, a path that is not emulated a 5007.
    """
    if provider == _OWN:
        path = f"/{endpoint}" if endpoint.startswith("v1/") else f"/run/{endpoint.removeprefix('run/')}"
        if path.startswith("/v1/") and path not in http.INFERENCE_ROUTES:
            raise refuse(7003, path=path)
        return path, body
    dialect = _DIALECTS.get(endpoint.rpartition("/")[2], "")
    compat = provider == _COMPAT and endpoint == "chat/completions"
    if not compat and provider not in _OTHERS:
        raise refuse(2008)
    if not compat and (not dialect or (dialect == _DIALECTS["messages"]) is not (provider == _ANTHROPIC)):
        raise refuse(5007, text=f"emulator: {endpoint} of {provider} is not emulated")
    given = http.parse(body)
    name = http.model_name(given) if compat else f"{provider}/{http.model_name(given)}"
    provider, _, rest = name.partition("/")  # compat has names such as workers-ai/@cf/...
    if provider not in _OTHERS | {_OWN}:
        raise refuse(2008)
    return dialect, to_json({**given, "model": rest if provider == _OWN else name})
