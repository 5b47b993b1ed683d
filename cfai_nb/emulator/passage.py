"""Passage: one call's way through a gateway, and what it came to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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


@dataclass
class Passage:
    """One call's way through a gateway.

    Attributes
    ----------
    account, gateway : str
        Through which.
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
    model: str = ""
    usage: Mapping[str, float] = field(default_factory=dict)
    neurons: float | None = None
    hit: bool = False
