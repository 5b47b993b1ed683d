"""Look for vectors in an index of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .index import MOST_DESCRIBED, Index
from .ndjson import decimals

#: Queries under way at once.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Match:
    """One vector that was found: its id, its score in the metric of the index, and its metadata."""

    id: str
    score: float
    metadata: Mapping[str, Any]


async def ask(
    index: Index, queries: npt.NDArray[np.float32], k: int, *, filter: Mapping[str, Any] | None,
    namespace: str | None, metadata: bool,
) -> list[list[Match]]:  # fmt: skip
    """Return the matches of each query, best first.

    Beyond 20 matches the service gives no metadata: they are asked for without, and it is fetched by their ids.
    """
    described = metadata and k <= MOST_DESCRIBED
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(vector: list[float]) -> list[Match]:
        async with gate:
            told = "all" if described else "none"
            found = await index.query(vector, k, filter=filter, namespace=namespace, returnMetadata=told)
        return [Match(str(m["id"]), float(m["score"]), m.get("metadata") or {}) for m in found]

    asked = await asyncio.gather(*map(one, decimals(queries).tolist()))
    if not metadata or described:
        return list(asked)
    # By the ids of all queries, so that what several found is fetched once.
    known = await index.fetch(list(dict.fromkeys(match.id for found in asked for match in found)))
    return [[Match(m.id, m.score, (known.get(m.id) or {}).get("metadata") or {}) for m in found] for found in asked]
