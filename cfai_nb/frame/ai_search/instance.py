"""One instance of AI Search, through its REST interface: describe, create, upload, look up, count and search.

``to_ai_search`` writes through it, ``passages`` searches through it.  Every method sends one request unless it says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic_core

from ...errors import Refused
from ...session.requests import RequestJob
from ...tasks import Json, Request
from ...tasks.dialects.ai_search import instance_path

#: Codes for "there is no such instance", "the name is taken", "the key is taken", and "there is no such document".
NOT_FOUND, _TAKEN, _KEY_TAKEN, _NO_DOCUMENT = 7002, 7022, 7042, 7041
#: Why options such as ``model=`` have no effect.
NEEDLESS = "an instance of AI Search makes the vectors of texts and queries itself"
#: Rows of a page of a list.
_PAGE = 50


class Instance:
    """An instance by its name; the job sends."""

    def __init__(self, job: RequestJob[Any], name: str, namespace: str) -> None:
        self.name = name
        self._job = job
        self._path = instance_path(name, namespace)

    async def _ask(self, method: str, path: str, **content: Any) -> Json:
        request, named = Request(path=path, **content), f"AI Search instance {self.name!r}"
        return await self._job.ask(request, named, method, permission="permissions AI Search: Edit and Run")

    async def entry(self) -> dict[str, Any]:
        """Return its settings, with ``custom_metadata``, the fields it can be filtered by."""
        return dict(await self._ask("GET", self._path))

    async def create(self, fields: Mapping[str, str]) -> dict[str, Any]:
        """Create it with storage of its own, an index of vectors and one of words."""
        body = {"id": self.name, "index_method": {"vector": True, "keyword": True}, **_fields(fields)}
        try:
            return dict(await self._ask("POST", self._path.rpartition("/")[0], json=body))
        except Refused as error:
            if error.code != _TAKEN:  # somebody else was first, or the answer to our own request was lost
                raise
        return await self.entry()

    async def set_fields(self, fields: Mapping[str, str]) -> None:
        """Set the fields it can be filtered by; the service indexes all documents again."""
        await self._ask("PUT", self._path, json=_fields(fields))

    async def unfinished(self) -> int | None:
        """Return how many documents wait to be indexed, None where the service cannot count them."""
        counts = await self._ask("GET", f"{self._path}/stats")
        if counts.get("degraded"):
            return None
        return int(counts.get("queued") or 0) + int(counts.get("running") or 0)

    async def changed(self) -> str:
        """Return what changes with every change of its documents and settings; two requests."""
        entry, counts = await self.entry(), await self._ask("GET", f"{self._path}/stats")
        facts = [entry.get("created_at"), entry.get("modified_at"), counts.get("last_activity")]
        return pydantic_core.to_json([*facts, counts.get("completed")]).decode()

    async def put(self, key: str, text: bytes, metadata: bytes | None) -> str:
        """Upload a document, in place of one with this key, and return its id; up to four requests."""
        form: dict[str, Any] = {"file": (key, text, "text/plain; charset=utf-8")}
        form |= {} if metadata is None else {"metadata": metadata.decode()}
        try:
            return await self._upload(form)
        except Refused as error:
            if error.code != _KEY_TAKEN:
                raise
        for found in await self._ask("GET", f"{self._path}/items", query={"key": key, "source": "builtin"}) or ():
            await self._remove(str(found["id"]))
        return await self._upload(form)

    async def _upload(self, form: Mapping[str, Any]) -> str:
        return str((await self._ask("POST", f"{self._path}/items", form=form))["id"])

    async def _remove(self, item: str) -> None:
        try:
            await self._ask("DELETE", f"{self._path}/items/{item}")
        except Refused as error:
            if error.code != _NO_DOCUMENT:  # an earlier attempt removed it
                raise

    async def status(self, item: str) -> tuple[str, str]:
        """Return the status of a document, and its error."""
        try:
            found = await self._ask("GET", f"{self._path}/items/{item}")
        except Refused as error:
            if error.code != _NO_DOCUMENT:
                raise
            return "missing", "it was removed meanwhile"
        return str(found.get("status")), str(found.get("error") or "")

    async def failed(self) -> dict[str, str]:
        """Return the documents that were not indexed, by their key; one request for 50."""
        found: dict[str, str] = {}
        for status in ("error", "skipped"):
            page, more = 1, True
            while more and not self._job.stopped:
                query = {"status": status, "per_page": str(_PAGE), "page": str(page)}
                rows = await self._ask("GET", f"{self._path}/items", query=query) or ()
                found |= {str(one["key"]): str(one.get("error") or status) for one in rows}
                page, more = page + 1, len(rows) == _PAGE
        return found

    async def search(self, query: str, options: Mapping[str, Json]) -> Sequence[Mapping[str, Any]]:
        """Return the passages for a query, best first."""
        body = {"query": query, "ai_search_options": options}
        return list((await self._ask("POST", f"{self._path}/search", json=body))["chunks"])


def fields_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields an instance can be filtered by, with their types."""
    return {str(one["field_name"]): str(one["data_type"]) for one in entry.get("custom_metadata") or ()}


def _fields(fields: Mapping[str, str]) -> dict[str, Json]:
    return {"custom_metadata": [{"field_name": name, "data_type": kind} for name, kind in fields.items()]}
