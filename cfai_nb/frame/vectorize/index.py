"""One index of the service, through its REST interface: describe, create, write, fetch and query.

``to_vectorize`` writes through it, ``stored`` searches through it.  Every method sends one request unless it says
otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import Refused
from ...session.requests import RequestJob
from ...tasks import Json, Request
from ...vectors.vector import Space

#: Vectors a query returns at most, and with their metadata (2026-03-16); vectors one request fetches by their ids.
MAX_MATCHES, _MAX_WITH_METADATA, _MAX_FETCHED = 100, 50, 20
#: Vectors of an index (2026-08-04).
MAX_VECTORS = 20_000_000
#: Codes for "there is no such index" and "the name is taken".
NOT_FOUND, _TAKEN = 3000, 3002
_PERMISSION = "permission Vectorize: Edit (Read is enough to search)"
#: Powers of ten that float64 represents exactly.
_TENS = np.array([float(f"1e{power}") for power in range(23)])
#: The description of an index records which model its vectors come from, so that a later search needs no model=.
_DESCRIPTION = re.compile(r"Vectors of (\S+) \((\d+)(?:, (mean|cls))?\), by cfai_nb")


@dataclass(frozen=True, slots=True)
class Match:
    """One match: its id, its score in the metric of the index, and its metadata."""

    id: str
    score: float
    metadata: Mapping[str, Any]


class Index:
    """An index by its name, of letters, digits, hyphens and underscores; the job sends."""

    def __init__(self, job: RequestJob[Any], name: str) -> None:
        self.name = name
        self._job = job

    async def _ask(self, method: str, path: str, **content: Any) -> Json:
        return await self._send(method, f"/{self.name}{path}", **content)

    async def _send(self, method: str, path: str, **content: Any) -> Json:
        request = Request(path=f"/vectorize/v2/indexes{path}", **content)
        return await self._job.ask(request, f"Vectorize index {self.name!r}", method, permission=_PERMISSION)

    async def entry(self) -> dict[str, Any]:
        """Return ``name``, ``description``, ``config`` with ``dimensions`` and ``metric``, ``created_on``."""
        return dict(await self._ask("GET", ""))

    async def create(self, dimensions: int, metric: str, space: Space | None) -> dict[str, Any]:
        """Create the index, with the model of its vectors in its description."""
        body: dict[str, Any] = {"name": self.name, "config": {"dimensions": dimensions, "metric": metric}}
        if space is not None:
            form = f", {space.form}" if space.form else ""
            body["description"] = f"Vectors of {space.model} ({space.dims}{form}), by cfai_nb"
        try:
            return dict(await self._send("POST", "", json=body))
        except Refused as error:
            if error.code != _TAKEN:  # somebody else was first, or the answer to our own request was lost
                raise
        return await self.entry()

    async def info(self) -> dict[str, Any]:
        """Return ``vectorCount`` and ``processedUpToMutation``."""
        return dict(await self._ask("GET", "/info"))

    async def properties(self) -> dict[str, str]:
        """Return the properties it can be filtered by, with their types."""
        listed = await self._ask("GET", "/metadata_index/list")
        return {str(one["propertyName"]): str(one["indexType"]).lower() for one in listed.get("metadataIndexes") or ()}

    async def index_property(self, name: str, kind: str) -> None:
        """Make it filterable by a property; this only affects vectors written afterwards."""
        await self._ask("POST", "/metadata_index/create", json={"propertyName": name, "indexType": kind})

    async def upsert(self, lines: bytes, count: int) -> str:
        """Write so many vectors, and return the id of the mutation; a second request where they are refused."""
        try:
            done = await self._ask("POST", "/upsert", content=lines, content_type="application/x-ndjson")
            return str(done["mutationId"])
        except Refused as error:
            refused = error
        held = int((await self.info())["vectorCount"])
        if held + count <= MAX_VECTORS:
            raise refused
        raise Refused(
            f"{refused}; the index holds {held:,} of at most {MAX_VECTORS:,} vectors. What it acknowledged is there: "
            "write the other rows to another index",
            refused.code, status=refused.status, model=self.name,
        )  # fmt: skip

    async def fetch(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the visible vectors among these ids, by id; one request for 20."""
        found: dict[str, Any] = {}
        for start in range(0, len(ids), _MAX_FETCHED):
            part = await self._ask("POST", "/get_by_ids", json={"ids": list(ids[start : start + _MAX_FETCHED])})
            found |= {str(one["id"]): one for one in part or ()}
        return found

    async def query_all(
        self, queries: npt.NDArray[np.float32], k: int, *, filter: Mapping[str, Any] | None, namespace: str | None,
        metadata: bool,
    ) -> list[list[Match]]:  # fmt: skip
        """Return the matches of each query, best first; one request a query.

        With more than 50 matches the service returns no metadata: it is then fetched by the ids of the matches.
        """
        described = metadata and k <= _MAX_WITH_METADATA
        given = {"topK": k, "filter": filter, "namespace": namespace, "returnMetadata": "all" if described else "none"}
        asked = {name: value for name, value in given.items() if value is not None}
        answers: list[list[Match]] = [[] for _ in queries]

        async def one(query: tuple[int, list[float]]) -> None:
            at, vector = query
            found = (await self._ask("POST", "/query", json={"vector": vector, **asked}))["matches"]
            answers[at] = [Match(str(m["id"]), float(m["score"]), m.get("metadata") or {}) for m in found]

        await self._job.each(one, enumerate(decimals(queries).tolist()))
        if not metadata or described:
            return answers
        # The ids of all queries together: a vector that several queries found is fetched once.
        known = await self.fetch(list(dict.fromkeys(match.id for found in answers for match in found)))
        return [
            [Match(m.id, m.score, (known.get(m.id) or {}).get("metadata") or {}) for m in found] for found in answers
        ]


def decimals(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return float64 numbers with the shortest decimals that are read back as the same float32.

    A float32 converted as it is has 17 decimal digits, although 8 or 9 identify it: 5,000 vectors of 1,024 numbers
    would be 108 MB instead of 65, and a request may have 100.
    """
    exact = matrix.astype(np.float64)
    best = exact
    with np.errstate(divide="ignore"):
        order = np.where(exact == 0, 0, np.floor(np.log10(np.abs(exact))))
    for digits in (9, 8):
        scale = _TENS[np.clip(digits - 1 - order, 0, len(_TENS) - 1).astype(np.int8)]
        short = np.round(exact * scale) / scale
        best = np.where(short.astype(np.float32) == matrix, short, best)
    return best


def space_of(entry: Mapping[str, Any], origin: str) -> Space | None:
    """Return the space of the vectors in an index, if its description records it."""
    found = _DESCRIPTION.fullmatch(str(entry.get("description") or ""))
    return None if found is None else Space(found[1], int(found[2]), found[3] or "", origin)
