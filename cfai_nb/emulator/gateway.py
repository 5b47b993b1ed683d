"""Gateway: AI Gateway in front of ``/ai/*``: who may enter, the cache, and the headers it adds.

A call enters a gateway by the header ``cf-aig-gateway-id`` or by the gateway's own host; calls of third-party models
without either enter ``default``.
A cached answer comes before rate, quota and work, and costs nothing. As on a gateway that made itself, nothing is
cached unless a call asks for it (``cf-aig-cache-ttl`` or ``cf-aig-cache-key``); streams and audio never are.
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

from .catalogue import Model
from .errors import Refusal, refuse
from .limits import Clock
from .logs import Logs, whole
from .passage import Passage, label, way
from .replies import Reply

_DEFAULT_TTL, _SHORTEST, _LONGEST = 300, 60, 30 * 86_400
_LARGEST = 25_000_000


#: Door -> the dialect a third-party model speaks there.
OUTSIDE = {"run": "openai", "chat": "openai", "responses": "responses+chat", "messages": "anthropic"}


def outside(name: str, route: str) -> Model:
    """Return the stand-in row of a third-party model: it chats, in the dialect of the door, and has no price."""
    row = {"capabilities": ["function_calling", "streaming"]}
    return Model(name, "Text Generation", OUTSIDE[route], "current", None, None, None, None, row)


def _no(header: str | None) -> bool:
    return (header or "").casefold() == "false"


class Gateways:
    """The gateways of every account, with their caches.

    Parameters
    ----------
    names : collection of str, optional
        The gateways there are; by default any name is created on first use.

    Attributes
    ----------
    logs : Logs
    """

    def __init__(self, names: Collection[str] | None, clock: Clock, seed: int) -> None:
        self._names = None if names is None else frozenset(names)
        self._clock, self._random, self._lock = clock, random.Random(seed), Lock()
        self._cache: dict[str, tuple[float, Reply]] = {}
        self.logs = Logs(self._find)

    def _find(self, name: str) -> None:
        if self._names is not None and name not in self._names:
            raise refuse(2001)

    async def enter(self, request: Request, *, default: bool = False, broke: bool = False) -> Passage | None:
        """Return the passage of a call, ``None`` for one that goes through no gateway.

        Raises
        ------
        Refusal
            2001 where there is no such gateway, 2021 where `broke` says that credits are used up.
        """
        given, came = request.headers, way(request)
        name = came.gateway or ("default" if default else "")
        if not name:
            return None
        if len(name) > 64:
            raise refuse(2001)
        self._find(name)
        if broke:
            raise refuse(2021)
        account, body = request.path_params["account"].casefold(), await request.body()
        skipped = given.get("cf-aig-skip-cache", "").casefold() == "true"
        ttl = 0.0 if skipped else self._ttl(given)
        own = given.get("cf-aig-cache-key")
        parts = [own.encode()] if own else [request.url.path.encode(), request.url.query.encode(), body]
        parts = [account.encode(), name.encode(), *parts] + ([] if own else [given.get("authorization", "").encode()])
        parts += [b"bare"] if came.bare else []
        key = hashlib.sha256(b"\0".join(parts)).hexdigest() if ttl and len(body) <= _LARGEST else ""
        headers = {"cf-aig-request-id": self._id(), "cf-aig-step": str(came.step)}
        if event := given.get("cf-aig-event-id"):
            headers["cf-aig-event-id"] = event
        metadata = label(given.get("cf-aig-metadata"))
        row = {
            "path": request.url.path.split("/", 6)[-1],
            "metadata": None if metadata is None else json.dumps(metadata),
            "request_content_type": given.get("content-type", ""),
            "custom_cost": False,
            "step": came.step,
        }
        logged, kept = not _no(given.get("cf-aig-collect-log")), not _no(given.get("cf-aig-collect-log-payload"))
        return Passage(account, name, key, ttl, headers, row, logged, kept, body, self._clock(), came.bare)

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
        """Keep what a call came to and have it written down; return the gateway's response headers."""
        headers = {**passage.headers, "cf-aig-cache-status": "HIT" if passage.hit else "MISS"}
        if isinstance(reply, Reply) and whole(reply) and passage.key and not passage.hit and _keepable(reply):
            with self._lock:
                self._cache[passage.key] = (self._clock() + passage.ttl, reply)
        if not passage.logged:
            return headers
        number = self._id()
        self.logs.write(number, passage, reply, self._clock() - passage.start)
        return {**headers, "cf-aig-log-id": number}

    def _id(self) -> str:
        """Return a lower-case UUIDv7."""
        with self._lock:
            chance = self._random.getrandbits(74)
        number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (chance >> 62) << 64 | 2 << 62 | chance & (1 << 62) - 1
        return str(uuid.UUID(int=number))


def _keepable(reply: Reply) -> bool:
    return reply.frames is None and not reply.media.startswith("audio/")
