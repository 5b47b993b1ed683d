"""Likelihood: log probabilities in the form of the service. They are made up: nobody estimated anything."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

from .stream import pieces
from .voice import MARK


def of(text: str | None, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a number for every token of a text where ``logprobs`` asks for it, with alternatives that are marked."""
    if not body.get("logprobs"):
        return None
    most = int(body.get("top_logprobs") or 0)
    tokens = []
    for place, piece in enumerate(pieces(text or "")):
        share = 0.5 + (zlib.crc32(f"{place} {piece}".encode()) % 1000) / 2002
        others = [(f"{MARK} {number}", (1 - share) / (number + 1)) for number in range(1, most)]
        likely = [_entry(token, chance) for token, chance in [(piece, share), *others][:most]]
        tokens.append({**_entry(piece, share), "top_logprobs": likely})
    return {"content": tokens, "refusal": None}


def _entry(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(math.log(chance), 6), "bytes": list(token.encode())}
