"""One index of the service, through its REST interface."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..._engine.sender import RequestJob
from ...errors import AccessError, Refused
from ...tasks import Json, Request
from ...vectors.vector import Space

#: Vectors a query finds at most, and with their metadata; vectors one call fetches by their ids.
MOST_FOUND, MOST_DESCRIBED, MOST_FETCHED = 100, 20, 20
#: "There is no such index", and what says that the token is not accepted.
NOT_FOUND, _TAKEN = 3000, 3002
_CLOSED = frozenset({9106, 9109, 10000})
#: Where an index says in its description whose vectors it holds, so that a later search needs no model=.
_SAYS = re.compile(r"Vectors of (\S+) \((\d+)(?:, (mean|cls))?\), by cfai_nb")


class Index:
    """An index by its name; every method is one call.

    Parameters
    ----------
    job : RequestJob
        Sends.
    name : str
        Of letters, digits, hyphens and underscores.
    """

    def __init__(self, job: RequestJob[Any], name: str) -> None:
        self.name = name
        self._job = job

    async def _ask(self, method: str, path: str, **what: Any) -> Json:
        return await self._at(method, f"/{self.name}{path}", **what)

    async def _at(self, method: str, path: str, **what: Any) -> Json:
        named = f"Vectorize index {self.name!r}"
        request = Request(path=f"/vectorize/v2/indexes{path}", **what)
        try:
            return await self._job.ask(request, named, method)
        except AccessError as error:
            if error.code not in _CLOSED and error.status not in (401, 403):
                raise
            said, code, status = str(error), error.code, error.status
        raise AccessError(
            f"{said}; for vectors the token needs the permission Vectorize: Edit as well (to search, Read)",
            code, status=status, model=named,
        )  # fmt: skip

    async def entry(self) -> dict[str, Any]:
        """Return ``name``, ``description``, ``config`` with ``dimensions`` and ``metric``, ``created_on``."""
        return dict(await self._ask("GET", ""))

    async def create(self, dimensions: int, metric: str, space: Space | None) -> dict[str, Any]:
        """Make the index, and have it say whose vectors it is for."""
        body: dict[str, Any] = {"name": self.name, "config": {"dimensions": dimensions, "metric": metric}}
        if space is not None:
            form = f", {space.form}" if space.form else ""
            body["description"] = f"Vectors of {space.model} ({space.dims}{form}), by cfai_nb"
        try:
            return dict(await self._at("POST", "", json=body))
        except Refused as error:
            if error.code != _TAKEN:  # another was first, or an answer was lost on its way
                raise
        return await self.entry()

    async def info(self) -> dict[str, Any]:
        """Return ``vectorCount`` and ``processedUpToMutation``."""
        return dict(await self._ask("GET", "/info"))

    async def properties(self) -> dict[str, str]:
        """Return what it can be filtered by, with types."""
        listed = await self._ask("GET", "/metadata_index/list")
        return {str(one["propertyName"]): str(one["indexType"]).lower() for one in listed.get("metadataIndexes") or ()}

    async def index_property(self, name: str, kind: str) -> None:
        """Make it filterable by a property, for vectors that are written from now on."""
        await self._ask("POST", "/metadata_index/create", json={"propertyName": name, "indexType": kind})

    async def upsert(self, lines: bytes) -> str:
        """Write vectors, and return the id of the mutation."""
        done = await self._ask("POST", "/upsert", content=lines, content_type="application/x-ndjson")
        return str(done["mutationId"])

    async def fetch(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return vectors that are visible, by id."""
        found: dict[str, Any] = {}
        for start in range(0, len(ids), MOST_FETCHED):
            part = await self._ask("POST", "/get_by_ids", json={"ids": list(ids[start : start + MOST_FETCHED])})
            found |= {str(one["id"]): one for one in part or ()}
        return found

    async def query(self, vector: Sequence[float], k: int, **options: Any) -> list[Mapping[str, Any]]:
        """Return the matches of one vector, best first."""
        body = {"vector": list(vector), "topK": k} | {key: one for key, one in options.items() if one is not None}
        return list((await self._ask("POST", "/query", json=body))["matches"])


def space_of(entry: Mapping[str, Any], origin: str) -> Space | None:
    """Return whose vectors an index holds, where its description tells."""
    said = _SAYS.fullmatch(str(entry.get("description") or ""))
    return None if said is None else Space(said[1], int(said[2]), said[3] or "", origin)
