"""AI Search: the REST interface of namespaces, their instances, and the items of an instance.

``app`` serves :meth:`AiSearch.routes`. Paths, fields and answers are those of the service's own Python client (5.9.0),
codes those of the service's page of AI Search errors; for a malformed body, which has no documented code, 5006. Jobs,
tokens, websites and public endpoints are not imitated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import standins
from .error_codes import refuse
from .families import DONE, event
from .json_schema import NUMBER, STRING, each, maybe, obj, require
from .search_instance import Instance, Item, search_error
from .service import http
from .standins import MARK, split_tokens

_BASE = "/ai-search"
#: The most bytes of a file, characters of a key, and instances of a search over several.
_FILE, _KEY, _SEVERAL = 4 * 2**20, 128, 10
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
#: The name of a file says its type; pictures and documents are not imitated.
_TEXT_FILE = re.compile(
    r"\.(md|markdown|mdx|txt|rst|log|ini|conf|env|toml|tex|csv|tsv|json|ya?ml|xml|html?|css|js|ts|py|sh|go|rs|java|c|h"
    r"|cpp|rb|php|sql)$",
    re.IGNORECASE,
)
_RETRIEVAL = obj({**each("retrieval_type keyword_match_mode fusion_method", maybe(STRING)), "match_threshold": NUMBER})
_SEARCH = obj({"ai_search_options": maybe(obj({"retrieval": maybe(_RETRIEVAL)}))})


class AiSearch:
    """The namespaces of every account; an upload is found after `delay` further calls to its instance."""

    def __init__(self, delay: int, seed: int, quirks: frozenset[str]) -> None:
        self._delay, self._quirks = delay, quirks
        self._ids, self._lock = http.Ids(seed), Lock()
        self._instances: dict[tuple[str, str, str], Instance] = {}
        self._namespaces: dict[tuple[str, str], dict[str, Any]] = {}

    def routes(self) -> http.Routes:
        """Return the addresses, with their handlers."""
        made: dict[str, dict[str, http.Handler]] = {
            f"{_BASE}/namespaces": {"GET": self._list_namespaces, "POST": self._create_namespace},
            f"{_BASE}/namespaces/{{name}}": {
                "GET": self._read_namespace,
                "PUT": self._update_namespace,
                "DELETE": self._delete_namespace,
            },
            f"{_BASE}/namespaces/{{name}}/search": {"POST": self._search_several},
        }
        on = partial(http.handler_for, self._find, self._lock)
        for start in (f"{_BASE}/instances", f"{_BASE}/namespaces/{{name}}/instances"):
            one, item = f"{start}/{{id}}", f"{start}/{{id}}/items/{{item}}"
            made |= {
                start: {"GET": self._list, "POST": self._create},
                one: {
                    "GET": on(lambda there, *_: there.entry()),
                    "PUT": on(self._update, _body),
                    "DELETE": on(self._delete),
                },
                f"{one}/stats": {"GET": on(lambda there, *_: there.counts())},
                f"{one}/search": {"POST": on(self._search, _body)},
                f"{one}/chat/completions": {"POST": on(self._chat, _body)},
                f"{one}/items": {"GET": on(self._list_items), "POST": on(self._upload, http.parts)},
                item: {
                    "GET": on(lambda there, request, _: _item(there, request).entry()),
                    "DELETE": on(self._delete_item),
                    "PATCH": on(self._sync, _body),
                },
                f"{item}/chunks": {"GET": on(self._chunks)},
                f"{item}/download": {"GET": on(self._download)},
            }
        return {path: {verb: self._guarded(do) for verb, do in verbs.items()} for path, verbs in made.items()}

    def _guarded(self, handler: http.Handler) -> http.Handler:
        async def guarded(request: Request) -> Any:
            if "no-ai-search" in self._quirks:
                raise refuse(10000)
            if _space(request) != "default" and _space_key(request) not in self._namespaces:
                raise search_error(7063)
            return await handler(request)

        return guarded

    def _find(self, request: Request) -> Instance:
        found = self._instances.get((*_space_key(request), request.path_params["id"]))
        if found is None:
            raise search_error(7002)
        return found

    # -- namespaces --------------------------------------------------------------------------------------------------

    async def _list_namespaces(self, request: Request) -> http.Page:
        others = [entry for (account, _), entry in self._namespaces.items() if account == http.account_of(request)]
        return _page([_namespace("default"), *others], request)

    async def _create_namespace(self, request: Request) -> Any:
        given = await _body(request)
        name = _named(given.get("name"), "name")
        key = (http.account_of(request), name)
        if name == "default" or key in self._namespaces:
            raise search_error(7064)
        self._namespaces[key] = _namespace(name, given.get("description"))
        return self._namespaces[key]

    async def _read_namespace(self, request: Request) -> Any:
        return self._namespaces.get(_space_key(request), _namespace("default"))

    async def _update_namespace(self, request: Request) -> Any:
        if _space(request) == "default":
            raise search_error(7065)
        self._namespaces[_space_key(request)] |= {"description": (await _body(request)).get("description")}
        return self._namespaces[_space_key(request)]

    async def _delete_namespace(self, request: Request) -> Any:
        if _space(request) == "default":
            raise search_error(7065)
        if any(key[:2] == _space_key(request) for key in self._instances):
            raise search_error(7066)
        return self._namespaces.pop(_space_key(request))

    async def _search_several(self, request: Request) -> Any:
        query, options = _asked(await _body(request), 7039)
        names = options.get("instance_ids")
        if not isinstance(names, list) or not names:
            raise refuse(5006, text="instance_ids is required")
        if len(names) > _SEVERAL:
            raise search_error(7074)
        chunks, errors = [], []
        with self._lock:
            for name in names:
                there = self._instances.get((*_space_key(request), str(name)))
                if there is None:
                    errors.append({"instance_id": str(name), "message": "search_failed"})
                    continue
                there.settle()
                chunks += [{**chunk, "instance_id": name} for chunk in there.search(query, options)]
        chunks.sort(key=lambda chunk: -chunk["score"])
        return {"chunks": chunks, "errors": errors, "query_kind": "text", "search_query": query}

    # -- instances ---------------------------------------------------------------------------------------------------

    async def _list(self, request: Request) -> http.Page:
        word = request.query_params.get("search", "").casefold()
        with self._lock:
            found = [one for key, one in self._instances.items() if key[:2] == _space_key(request)]
        return _page([one.entry() for one in found if word in one.id], request)

    async def _create(self, request: Request) -> Any:
        given = await _body(request)
        name = _named(given.get("id"), "id")
        key = (*_space_key(request), name)
        with self._lock:
            if key in self._instances:
                raise search_error(7022)
            there = Instance(name, key[1], self._delay)
            there.configure(given)
            self._instances[key] = there
        return there.entry()

    def _update(self, there: Instance, _: Request, given: Any) -> Any:
        there.configure(given)
        return there.entry()

    def _delete(self, there: Instance, request: Request, _: Any) -> Any:
        del self._instances[(*_space_key(request), there.id)]
        return there.entry()

    def _search(self, there: Instance, _: Request, given: Any) -> Any:
        query, options = _asked(given, 7039)
        return {"chunks": there.search(query, options), "query_kind": "text", "search_query": query}

    def _chat(self, there: Instance, _: Request, given: Any) -> Response:
        """Answer a question with the sentence that is closest to it, in OpenAI's form and without an envelope."""
        if not isinstance(given.get("messages"), list):
            raise search_error(7038)
        query, options = _asked(given, 7038)
        chunks = there.search(query, options)
        text = ""
        if chunks:
            sentences = standins.sentences(chunks[0]["text"]) or [chunks[0]["text"]]
            text = f"{MARK} {sentences[standins.closest(query, sentences)]}"
        about = {"id": f"id-{self._ids.uuid()}", "model": given.get("model") or there.settings["ai_search_model"]}
        if given.get("stream") is True:
            frames = [event(chunks, "chunks")]
            for piece in split_tokens(text):
                choice = {"index": 0, "delta": {"content": piece}}
                frames.append(event({**about, "object": "chat.completion.chunk", "choices": [choice]}))
            return Response(b"".join([*frames, DONE]), media_type="text/event-stream")
        message = {"role": "assistant", "content": text}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}] if chunks else []
        whole = {**about, "object": "chat.completion", "choices": choices, "chunks": chunks}
        return Response(json.dumps(whole), media_type="application/json")

    # -- items -------------------------------------------------------------------------------------------------------

    def _upload(self, there: Instance, _: Request, form: Sequence[tuple[str, str | http.File]]) -> Any:
        sent = dict(form)
        file = sent.get("file")
        if there.settings["paused"]:
            raise search_error(7032)
        if not isinstance(file, http.File):
            raise search_error(7055)
        if len(file.data) > _FILE:
            raise search_error(7054)
        if not file.name or len(file.name) > _KEY:
            raise search_error(7072)
        if not _TEXT_FILE.search(file.name):
            raise search_error(7060)
        metadata = _metadata(sent.get("metadata", "{}"))
        if any(item.key == file.name for item in there.items.values()):
            raise search_error(7042)
        item = Item(self._ids.uuid(), file.name, file.media, file.data, metadata, there.namespace, self._delay)
        there.items[item.id] = item
        if sent.get("wait_for_completion") == "true":
            there.index(item)
        return {**item.entry(), "warnings": there.warnings(metadata)}

    def _list_items(self, there: Instance, request: Request, _: Any) -> http.Page:
        asked, found = request.query_params, list(there.items.values())
        if raw := asked.get("metadata_filter"):
            found = there.matching(http.json_object(raw, lambda _: search_error(7058)))
        for name, of in (("item_id", "id"), ("key", "key"), ("status", "status")):
            if wanted := asked.get(name):
                found = [item for item in found if getattr(item, of) == wanted]
        if asked.get("source", "builtin") != "builtin":
            found = []
        if word := asked.get("search"):
            found = [item for item in found if word in item.key]
        return _page([item.entry() for item in found], request)

    def _delete_item(self, there: Instance, request: Request, _: Any) -> Any:
        item = _item(there, request)
        del there.items[item.id]
        return {"key": item.key}

    def _sync(self, there: Instance, request: Request, given: Any) -> Any:
        item = _item(there, request)
        item.status, item.wait = "queued", self._delay
        if given.get("wait_for_completion") is True:
            there.index(item)
        return item.entry()

    def _chunks(self, there: Instance, request: Request, _: Any) -> Any:
        item = _item(there, request)
        limit, offset = http.whole_numbers(request, limit=20, offset=0)
        return [chunk.shown() for chunk in item.chunks[offset : offset + limit]]

    def _download(self, there: Instance, request: Request, _: Any) -> Response:
        item = _item(there, request)
        return Response(item.data, media_type=item.media or "application/octet-stream")


def _space(request: Request) -> str:
    return str(request.path_params.get("name", "default"))


def _space_key(request: Request) -> tuple[str, str]:
    return http.account_of(request), _space(request)


def _namespace(name: str, description: Any = None) -> dict[str, Any]:
    return {"name": name, "description": description, "created_at": http.now()}


def _item(there: Instance, request: Request) -> Item:
    found = there.items.get(request.path_params["item"])
    if found is None:
        raise search_error(7041)
    return found


def _page(rows: Sequence[Any], request: Request) -> http.Page:
    page, size = http.whole_numbers(request, page=1, per_page=20)
    if page < 1 or not 1 <= size <= 100:
        raise refuse(5006, text="page must be at least 1, and per_page must lie in 1..100")
    some = list(rows[(page - 1) * size : page * size])
    return http.Page(some, {"page": page, "per_page": size, "count": len(some), "total_count": len(rows)})


async def _body(request: Request) -> dict[str, Any]:
    return http.json_object(await request.body() or b"{}")


def _named(name: Any, field: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise refuse(5006, text=f"{field}: lowercase letters, digits, hyphens and underscores")
    return name


def _asked(given: Mapping[str, Any], code: int) -> tuple[str, Mapping[str, Any]]:
    """Return what is asked (``query``, or the last message of the user), and the options of the search."""
    require(given, _SEARCH)
    messages, options = given.get("messages"), given.get("ai_search_options") or {}
    if isinstance(query := given.get("query"), str) and query.strip():
        return query, options
    for message in reversed(messages) if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
        if isinstance(content, list):
            content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if isinstance(content, str) and content.strip():
            return content, options
    raise search_error(code)


def _metadata(given: Any) -> dict[str, Any]:
    made = http.json_object(given if isinstance(given, str) else "", lambda _: search_error(7056))
    if not all(isinstance(one, str | int | float | bool) for one in made.values()):
        raise search_error(7056)
    return {name.lower(): value for name, value in made.items()}
