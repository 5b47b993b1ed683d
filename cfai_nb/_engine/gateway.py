"""AI Gateway: the headers that put a request through one, and what its answers tell."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pydantic_core

from ..models import Model
from ..tasks import Answer, Request

#: What a gateway keeps of metadata; it drops what is beyond (developers.cloudflare.com/ai-gateway, 2026-10).
MOST_METADATA = 5


@dataclass(frozen=True, slots=True)
class Gateway:
    """An AI Gateway, and how calls use it.

    Parameters
    ----------
    name : str
        ``"default"`` is made on its first use.
    cache_ttl : int, optional
        Seconds for which it may answer equal requests from its cache: 60 to 2,592,000 (a month).
    skip_cache : bool
        Ask the model, whatever is cached.
    cache_key : str, optional
        What the keys of its cache begin with, in place of address and token; what is asked stays part of each, so that
        no row gets another's answer.
    metadata : mapping of str to str, number or bool, optional
        Up to 5 entries, kept with each log.
    log, log_payload : bool, optional
        Whether it keeps logs, and in them what was asked and answered; the gateway's own setting otherwise.
    """

    name: str
    cache_ttl: int | None = None
    skip_cache: bool = False
    cache_key: str | None = None
    metadata: Mapping[str, str | int | float | bool] | None = None
    log: bool | None = None
    log_payload: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w.-]{1,64}", self.name, re.ASCII):
            raise ValueError(f"gateway={self.name!r}: a gateway has a name of at most 64 letters, digits, - and _.")
        if self.cache_ttl is not None and (type(self.cache_ttl) is not int or not 60 <= self.cache_ttl <= 2_592_000):
            raise ValueError(f"cache_ttl={self.cache_ttl!r}: give 60 to 2,592,000 whole seconds.")
        if self.cache_key is not None and not re.fullmatch(r"[!-~]{1,200}", self.cache_key):
            raise ValueError(f"cache_key={self.cache_key!r}: give up to 200 plain characters without spaces.")
        if len(self.metadata or ()) > MOST_METADATA:
            raise ValueError(f"metadata: a gateway keeps {MOST_METADATA} entries, and drops the rest; give fewer.")
        if any(not isinstance(value, (str, int, float, bool)) for value in (self.metadata or {}).values()):
            raise ValueError("metadata: its values are texts, numbers or booleans.")

    def headers(self) -> dict[str, str]:
        """Return what each request carries."""
        told = {
            "cf-aig-gateway-id": self.name,
            "cf-aig-cache-ttl": self.cache_ttl,
            "cf-aig-skip-cache": "true" if self.skip_cache else None,
            "cf-aig-cache-key": self.cache_key,
            "cf-aig-metadata": json.dumps(dict(self.metadata)) if self.metadata else None,  # plain ASCII
            "cf-aig-collect-log": None if self.log is None else str(self.log).lower(),
            "cf-aig-collect-log-payload": None if self.log_payload is None else str(self.log_payload).lower(),
        }
        return {name: str(value) for name, value in told.items() if value is not None}

    def uncached(self) -> Gateway:
        """Return the same gateway without its cache."""
        return dataclasses.replace(self, cache_ttl=None, cache_key=None, skip_cache=True)


def as_gateway(given: Gateway | str | None) -> Gateway | None:
    """Return a gateway, given as such or by name."""
    return given if given is None or isinstance(given, Gateway) else Gateway(given)


def dressed(request: Request, model: Model, gateway: Gateway | None) -> Request:
    """Put a request through a gateway."""
    if gateway is not None:
        headers = gateway.headers()
        if gateway.cache_key is not None:
            headers["cf-aig-cache-key"] += f"-{_digest(request, model)}"
        request = dataclasses.replace(request, headers={**request.headers, **headers})
    return request


def _digest(request: Request, model: Model) -> str:
    """Say what is asked, and of whom, in a few letters."""
    asked = [model.id, request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=12).hexdigest()


def is_hit(answer: Answer) -> bool:
    """Whether a gateway answered from its cache, which costs nothing."""
    return answer.headers.get("cf-aig-cache-status", "").upper() == "HIT"


def log_of(answer: Answer) -> str | None:
    """Return the id of the gateway's log of an answer: an opaque text."""
    return answer.headers.get("cf-aig-log-id")
