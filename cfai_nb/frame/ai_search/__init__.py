"""One instance of AI Search, the service's search over documents: it is searched, and answers questions from them.

``search(instance=)`` comes to ``passages_in``, ``answer`` is a verb; both ask through ``Instance``, the REST interface
of an instance, as ``to_ai_search`` does to upload documents.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import pydantic_core

from ...errors import Refused
from ...session.requests import RequestJob
from ...tasks import AnswerFrom, Json, Request
from ...tasks.dialects.ai_search import instance_path, retrieval, source
from .. import rows
from ..call import Call
from ..steps import Steps, requested
from ..vector_input import refuse_needless
from ..vectorize import STOPPED, Match, as_filter, rows_found, service

#: Codes for "there is no such instance", "the name is taken", "the key is taken", and "there is no such document".
CODES, _KEY_TAKEN, _NO_DOCUMENT = (7002, 7022), 7042, 7041
#: Why options such as ``model=`` have no effect.
NEEDLESS = "an instance of AI Search makes the vectors of texts and queries itself"
#: Rows of a page of a list.
_PAGE = 50


class Instance:
    """An instance by its name; the job sends.  Every method sends one request unless it says otherwise."""

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
        return dict(await self._ask("POST", self._path.rpartition("/")[0], json=body))

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


# -- searches and answers --------------------------------------------------------------------------------------------


def passages_in(
    data: rows.Frame, instance: str, query: Any, top_k: int, on: Any, *, mode: str | None,
    filter: Mapping[str, Any] | None, namespace: str | None, metadata: bool, id: Any, join: bool,
    options: Mapping[str, Any],
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Look for passages in an instance of AI Search; see ``search``."""
    here, space = service("AI Search"), "default" if namespace is None else namespace
    instance_path(instance, space)
    if on is not None:
        raise ValueError(f"on={on!r}: {NEEDLESS}, so on= would have no effect. Leave it out.")
    refuse_needless(options, NEEDLESS)
    texts = _texts(query)
    wanted = retrieval(mode, top_k, as_filter(filter))
    merged = here.options({name: value for name, value in options.items() if name != "model"})

    async def look(job: Any) -> list[list[Match]]:
        there, answers = Instance(job, instance, space), [list[Match]() for _ in texts]

        async def one(question: tuple[int, str]) -> None:
            at, text = question
            for each in map(source, await there.search(text, wanted)):
                more = {**(each["metadata"] if metadata else {}), "passage": each["text"]}
                answers[at].append(Match(each["id"], each["score"], more))

        await job.each(one, enumerate(texts))
        return answers

    found = yield from requested("search", here.engine(cache=False), look, merged, STOPPED)
    frame = rows.as_frame(data)
    frame = frame.drop(columns="passage", errors="ignore") if join else frame.iloc[:0, :0]
    names, what = None if isinstance(query, str) else texts, f"The instance {instance!r}"
    return lambda: rows_found(frame, names, found, id if join else None, what, lower=True)


def _texts(query: Any) -> list[str]:
    several = isinstance(query, (list, tuple, pd.Series))
    cells: Sequence[Any] = list(query) if several else [query]
    for at, text in enumerate(cells):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"query {at}: an instance of AI Search is searched with a text, or a list of them.")
    return list(cells)


def answer(
    data: rows.Frame, /, on: Any = None, *, instance: str, mode: Literal["vector", "keyword", "hybrid"] | None = None,
    top_k: int = 10, filter: Mapping[str, Any] | None = None, namespace: str = "default", **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Answer questions from the documents of an instance of AI Search.

    The instance looks for passages and writes an answer from them, with the model of its own settings;
    ``to_ai_search`` uploads the documents.

    Parameters
    ----------
    on : str, optional
        Column of questions, or a template with ``{column}`` in it.  A Series needs none:
        ``pd.Series(["When do you deliver?"]).cfai.answer(instance="handbook")``.
    instance : str
        Its name.
    mode : {"vector", "keyword", "hybrid"}, optional
        How passages are looked for: by meaning, by words, or by both.  Default: as the instance is set.
    top_k : int, default 10
        Passages to answer from, 50 at most.
    filter : dict, optional
        Search only documents with matching metadata; see ``search``.
    namespace : str
        Where the instance lies.

    Returns
    -------
    DataFrame
        On the index of the frame: ``answer``, and ``sources``, the passages it was written from, best first, each with
        ``id`` (that of the row, where ``to_ai_search`` uploaded it), ``score``, ``text`` and ``metadata``.  Where no
        passage was found, ``answer`` is missing and ``sources`` empty.

    Raises
    ------
    ValueError
        An option has an invalid value.
    AccessError
        There is no such instance, or the token has no *AI Search: Run*.

    Notes
    -----
    Answers are kept until the documents or the settings of the instance change: the call asks for its state first.
    AI Search publishes no price, so the charge is unknown; a budget needs ``cf.Budget(..., allow_unknown=True)``.

    Examples
    --------
    >>> questions.cfai.answer("question", instance="handbook", filter={"topic": "returns"})
    """
    here, wanted = service("AI Search"), as_filter(filter)
    own: dict[str, Any] = {name: options.pop(name) for name in ("model", "gateway") if name in options}
    refuse_needless(own, "an instance of AI Search answers with the model and the gateway of its own settings")
    task: dict[str, Any] = {"mode": mode, "top_k": top_k, "filter": wanted, "namespace": namespace}
    merged = dataclasses.replace(here.options(options), gateway=None)  # that of ``connect`` is for models
    unread = "not read yet"  # the state of the instance; a plan does not ask for it
    # It refuses what is wrong before anything is asked.
    Call(AnswerFrom(instance=instance, as_of=unread, **task), None, data, on, merged)

    async def look(job: Any) -> str:
        return await Instance(job, instance, namespace).changed()

    engine = here.engine(cache=False)
    state = yield from requested("answer", engine, look, merged, "Stopped. Nothing was asked yet.", skippable=True)
    answers = yield Call(AnswerFrom(instance=instance, as_of=state or unread, **task), None, data, on, merged)
    return lambda: answers
