"""Passage: how one call came to a gateway, its way through, and what it came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

#: Where a request that came by the gateway's own host keeps how it came, in its ASGI scope.
WAY = "cfai_nb.way"

#: Entries of metadata that are kept.
_ENTRIES = 5


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


@dataclass(frozen=True)
class Way:
    """How a call comes to a gateway.

    Attributes
    ----------
    gateway : str
        Its name; empty for a call that names none.
    step : int
        Which of the universal endpoint's requests it is.
    bare : bool
        Whether Workers AI is to answer without its envelope.
    """

    gateway: str
    step: int = 0
    bare: bool = False


def way(request: Request) -> Way:
    """Return how a request comes to a gateway: by the gateway's own host, else by the header."""
    found: Way | None = request.scope.get(WAY)
    return found or Way(request.headers.get("cf-aig-gateway-id", ""))


@dataclass
class Passage:
    """One call's way through a gateway.

    Attributes
    ----------
    account, gateway : str
        Through which.
    bare : bool
        Whether Workers AI is to answer without its envelope.
    key : str
        Of the cache; empty when the answer is not to be kept or taken from it.
    ttl : float
        Seconds the answer is kept.
    model : str
        Whom the call named, once it is known.
    usage : mapping
        What was charged for.
    """

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
    model: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)
    neurons: float | None = None
    hit: bool = False
