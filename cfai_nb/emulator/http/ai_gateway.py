"""AI Gateway in front of ``/ai/*``: which gateway a call enters, its cache, and the headers it adds.

``http.routing`` calls :meth:`Gateways.enter`, ``app`` looks for a cached answer and calls :meth:`Gateways.leave` at
the end. A call enters a gateway by the header ``cf-aig-gateway-id`` or by the gateway's own host; calls of third-party
models without either enter ``default``. A cached answer comes before rate, quota and work, and costs nothing. As on a
gateway that was created automatically, nothing is cached unless a call asks for it (``cf-aig-cache-ttl`` or
``cf-aig-cache-key``); streams and audio are never cached.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import replace
from threading import Lock

from starlette.requests import Request

from ..error_codes import ServiceError, refuse
from ..model_catalogue import Model
from ..service.limits import Clock
from .gateway_logs import GatewayCall, GatewayLogs, is_success, metadata_of, route_of
from .responses import Reply

_DEFAULT_TTL, _SHORTEST, _LONGEST = 300, 60, 30 * 86_400
_LARGEST = 25_000_000

#: Route -> the family that answers for a third-party model there.
EXTERNAL_FAMILIES = {"run": "openai", "chat": "openai", "responses": "responses+chat", "messages": "anthropic"}


def external_model(name: str, route: str) -> Model:
    """Return a catalogue row for a third-party model: text generation in the dialect of the route, without a price."""
    row = {"capabilities": ["function_calling", "streaming"]}
    return Model(name, "Text Generation", EXTERNAL_FAMILIES[route], "current", None, None, None, None, row)


class Gateways:
    """The gateways of every account, with their caches.

    Parameters
    ----------
    names : collection of str, optional
        The gateways that exist; by default any name is created on first use.

    Attributes
    ----------
    logs : GatewayLogs
    """

    def __init__(self, names: Collection[str] | None, clock: Clock, seed: int) -> None:
        self._names = None if names is None else frozenset(names)
        self._clock, self._random, self._lock = clock, random.Random(seed), Lock()
        self._cache: dict[str, tuple[float, Reply]] = {}
        self.logs = GatewayLogs(self._find)

    def _find(self, name: str) -> None:
        if self._names is not None and name not in self._names:
            raise refuse(2001)

    async def enter(self, request: Request, *, default: bool = False, no_credits: bool = False) -> GatewayCall | None:
        """Return the record of a call in its gateway, ``None`` for one without a gateway.

        Raises
        ------
        ServiceError
            2001 where the gateway does not exist, 2021 where `no_credits` is set.
        """
        given, route = request.headers, route_of(request)
        name = route.gateway or ("default" if default else "")
        if not name:
            return None
        if len(name) > 64:
            raise refuse(2001)
        self._find(name)
        if no_credits:
            raise refuse(2021)
        account, body = request.path_params["account"].casefold(), await request.body()
        skip_cache = given.get("cf-aig-skip-cache", "").casefold() == "true"
        ttl = 0.0 if skip_cache else self._ttl(given)
        own_key = given.get("cf-aig-cache-key")
        texts = [own_key] if own_key else [request.url.path, request.url.query, given.get("authorization", "")]
        parts = [text.encode() for text in (account, name, *texts)] + [b"" if own_key else body, b"bare" * route.bare]
        key = hashlib.sha256(b"\0".join(parts)).hexdigest() if ttl and len(body) <= _LARGEST else ""
        headers = {"cf-aig-request-id": self._id(), "cf-aig-step": str(route.step)}
        if event := given.get("cf-aig-event-id"):
            headers["cf-aig-event-id"] = event
        metadata = metadata_of(given.get("cf-aig-metadata"))
        row = {
            "path": request.url.path.split("/", 6)[-1],
            "metadata": None if metadata is None else json.dumps(metadata),
            "request_content_type": given.get("content-type", ""),
            "custom_cost": False,
            "step": route.step,
        }
        logged, payload = (
            given.get(f"cf-aig-{what}", "").casefold() != "false" for what in ("collect-log", "collect-log-payload")
        )
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

    def leave(self, call: GatewayCall, reply: Reply | ServiceError) -> dict[str, str]:
        """Cache and log the outcome of a call; return the gateway's response headers."""
        headers = {**call.headers, "cf-aig-cache-status": "HIT" if call.hit else "MISS"}
        if isinstance(reply, Reply) and is_success(reply) and call.key and not call.hit and _cacheable(reply):
            with self._lock:
                self._cache[call.key] = (self._clock() + call.ttl, reply)
        if not call.logged:
            return headers
        number = self._id()
        self.logs.write(number, call, reply, self._clock() - call.start)
        return {**headers, "cf-aig-log-id": number}

    def _id(self) -> str:
        """Return a lower-case UUIDv7."""
        with self._lock:
            chance = self._random.getrandbits(74)
        number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
        return str(uuid.UUID(int=number))


def _cacheable(reply: Reply) -> bool:
    return reply.frames is None and not reply.media.startswith("audio/")
