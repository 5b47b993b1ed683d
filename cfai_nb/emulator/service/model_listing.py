"""The models over the wire: the family that answers for a model, the lists and schemas, and the LoRA adapters.

A new family is a file in ``families`` and a line in :data:`FAMILIES`. ``service`` finds a call's model with
:func:`served`, and checks whether an adapter that the call names has its files; ``app`` serves :data:`ROUTES` and
:meth:`LoraAdapters.routes`. The effect of an adapter is not emulated. An adapter that was not created here passes,
since the service has public ones with names that are not listed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from threading import Lock
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..error_codes import refuse
from ..families import (
    Family,
    anthropic_messages,
    audio_models,
    decision_models,
    document_conversion,
    image_models,
    text_generation,
    text_models,
)
from ..json_schema import BOOLEAN, STRING, obj, one, require
from ..model_catalogue import Model, checked_on, find, models
from .http import File, Ids, Page, Routes, account_of, now, parse, parts

#: Name of a family in the catalogue -> the family.
FAMILIES: Mapping[str, Family] = {
    **text_generation.FAMILIES,
    **anthropic_messages.FAMILIES,
    **text_models.FAMILIES,
    **decision_models.FAMILIES,
    **image_models.FAMILIES,
    **audio_models.FAMILIES,
    **document_conversion.FAMILIES,
}


def served(name: str) -> tuple[Model, Family]:
    """Return the current model of a name and its family; 5007 for any other name, and for a model without a family."""
    model = find(name)
    if model is None:
        raise refuse(5007, name=name)
    if (family := FAMILIES.get(model.family)) is None:
        why = "speaks over a WebSocket only, which" if model.family == "websocket" else f"({model.task})"
        raise refuse(5007, text=f"emulator: {model.id} {why} is not emulated")
    return model, family


#: Catalogue capability -> property of the service. Every value on the wire is a string, except prices.
_PROPERTIES = {
    "batch": "async_queue",
    "beta": "beta",
    "function_calling": "function_calling",
    "lora": "lora",
    "partner": "partner",
    "realtime": "realtime",
    "reasoning": "reasoning",
    "requires_workers_paid": "require_workers_paid",
    "vision": "vision",
}

#: How long a retired model is still listed with ``include_deprecated``.
_LISTED = timedelta(days=92)

_UNITS = {f"{kind}_tokens": f"per M {kind.replace('_', ' ')} tokens" for kind in ("input", "output", "cached_input")}


async def _search(request: Request) -> Page:
    """Return the models that match ``search`` (part of the name), ``task`` and ``author``, all on one page (observed).

    Further pages are empty, or clients that go through the pages would never end.
    """
    query = request.query_params
    text, task, author = (query.get(name, "").casefold() for name in ("search", "task", "author"))

    def wanted(model: Model) -> bool:
        named = text in model.id.casefold() and author in ("", model.id.split("/")[1].casefold())
        return named and task in ("", model.task.casefold()) and _listed(model, query)

    found = [_entry(model) for model in models().values() if wanted(model)]
    pages = {"page": 1, "per_page": len(found), "count": len(found), "total_count": len(found)}
    return Page(found if query.get("page", "1") in ("", "0", "1") else [], pages)


def _listed(model: Model, query: Mapping[str, str]) -> bool:
    if model.has("beta") and _true(query.get("hide_experimental")):
        return False
    if model.status == "retired" and _true(query.get("include_deprecated")):
        retired = model.row.get("retired_on")
        return retired is not None and date.fromisoformat(retired) + _LISTED >= date.fromisoformat(checked_on())
    return model.status == "current"


def _true(value: str | None) -> bool:
    return (value or "").casefold() in ("true", "1")


def _entry(model: Model) -> dict[str, Any]:
    """Return one model as the service lists it."""
    about = {"name": model.id, "description": f"[emulator] a stand-in for {model.short}", "task": _named(model.task)}
    source = 2 if model.id.startswith("@hf/") else 1
    return {"id": _identity(model.id), "source": source, **about, "tags": [], "properties": _properties(model)}


async def _tasks(request: Request) -> list[dict[str, str]]:
    """Return the tasks that have a current model."""
    return _names(model.task for model in models().values() if model.status == "current")


async def _authors(request: Request) -> list[dict[str, str]]:
    """Return the authors of current models."""
    return _names(model.id.split("/")[1] for model in models().values() if model.status == "current")


def _names(names: Iterable[str]) -> list[dict[str, str]]:
    return [_named(name) for name in dict.fromkeys(names)]


def _named(name: str) -> dict[str, str]:
    return {"id": _identity(name), "name": name, "description": name}


def _identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _properties(model: Model) -> list[dict[str, Any]]:
    found: dict[str, Any] = {}
    if model.context:
        found["max_input_tokens" if model.task == "Text Embeddings" else "context_window"] = str(model.context)
    if model.dims:
        found["output_dimensions"] = str(model.dims)
    found |= {name: "true" for word, name in _PROPERTIES.items() if model.has(word)}
    if model.row.get("prices"):
        found["price"] = [
            {"unit": _UNITS.get(unit, f"per {price['per']} {unit}"), "price": price["usd"], "currency": "USD"}
            for unit, price in model.row["prices"].items()
        ]
    if model.status == "retired":
        found["planned_deprecation_date"] = str(model.row["retired_on"])
    return [{"property_id": name, "value": value} for name, value in found.items()]


async def _schema(request: Request) -> dict[str, Any]:
    """Return the input and output JSON Schemas of a model."""
    model, family = served(request.query_params.get("model", ""))
    return {"input": family.inputs(model), "output": family.outputs(model)}


async def _formats(request: Request) -> list[dict[str, str]]:
    """Return the document formats that ``/tomarkdown`` converts."""
    return document_conversion.formats()


ROUTES: Routes = {
    "/ai/models/search": {"GET": _search},
    "/ai/v1/models": {},  # no method is available there (observed)
    "/ai/models/schema": {"GET": _schema},
    "/ai/tomarkdown/supported": {"GET": _formats},
    "/ai/tasks/search": {"GET": _tasks},
    "/ai/authors/search": {"GET": _authors},
}


_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
#: The types of models, and the highest rank.
_CONFIGURATION = obj({"r": {"type": "integer", "maximum": 32}}, model_type=one("mistral", "gemma", "llama"))
_LARGEST, _MOST = 300_000_000, 100
_NEW = obj({"description": STRING, "public": BOOLEAN}, model=STRING, name=STRING)


@dataclass
class _Adapter:
    record: dict[str, Any]
    files: set[str] = field(default_factory=set)
    size: int = 0


class LoraAdapters:
    """The adapters of every account."""

    def __init__(self, seed: int) -> None:
        self._ids, self._lock = Ids(seed), Lock()
        self._adapters: dict[str, dict[str, _Adapter]] = {}

    def routes(self) -> Routes:
        """Return the addresses, with their handlers."""
        return {
            "/ai/finetunes": {"GET": self._list, "POST": self._create},
            "/ai/finetunes/public": {"GET": self._public},
            "/ai/finetunes/{finetune}/finetune-assets": {"POST": self._upload},
        }

    def admit(self, account: str, name: str) -> None:
        """Refuse (3039) an adapter of the account, by its id or name, that lacks one of its files."""
        with self._lock:
            owned = self._adapters.get(account, {}).values()
            named = [one.files for one in owned if name in (one.record["id"], one.record["name"])]
        if named and {_CONFIG, _WEIGHTS} not in named:
            raise refuse(3039)

    def _of(self, request: Request) -> dict[str, _Adapter]:
        return self._adapters.setdefault(account_of(request), {})

    async def _list(self, request: Request) -> list[dict[str, Any]]:
        with self._lock:
            return [dict(adapter.record) for adapter in self._of(request).values()]

    async def _public(self, request: Request) -> list[dict[str, Any]]:
        """Return the public adapters of all accounts, in pages of ``limit`` from ``offset``, by ``orderBy``."""
        query = request.query_params
        with self._lock:
            records = [one.record for owned in self._adapters.values() for one in owned.values()]
        found = [dict(record) for record in records if record["public"]]
        try:
            start, count = int(float(query.get("offset") or 0)), int(float(query.get("limit") or len(found)))
        except (ValueError, OverflowError) as error:
            raise refuse(5006, why=str(error)) from None
        found.sort(key=lambda record: str(record.get(query.get("orderBy", "created_at"), "")))
        return found[max(0, start) :][: max(0, count)]

    async def _create(self, request: Request) -> dict[str, Any]:
        given = parse(await request.body())
        require(given, _NEW)
        model = find(given["model"])
        if model is None:
            raise refuse(5007, name=given["model"])
        if not model.has("lora"):
            raise refuse(5005)
        with self._lock:
            owned = self._of(request)
            if len(owned) >= _MOST:
                raise refuse(5006, why=f"an account has at most {_MOST} adapters")
            number, asked = self._ids.uuid(), {"description": "", "public": False, **given}
            about = {name: asked[name] for name in ("name", "description", "public")}
            record = {"id": number, "model": model.id, **about, **dict.fromkeys(("created_at", "modified_at"), now())}
            owned[number] = _Adapter(record)
        return dict(record)

    async def _upload(self, request: Request) -> Response:
        """Store one file; an existing file cannot be replaced."""
        sent = await parts(request)
        names = [part for name, part in sent if name == "file_name" and isinstance(part, str)]
        files = [part for name, part in sent if name == "file" and isinstance(part, File)]
        if len(names) != 1 or len(files) != 1:
            raise refuse(5006, why="required properties at '/' are 'file,file_name'")
        name, data = names[0], files[0].data
        if name not in (_CONFIG, _WEIGHTS):
            raise refuse(5006, why=f"'/file_name' must be {_CONFIG} or {_WEIGHTS}, not {name!r}")
        if name == _CONFIG:
            require(parse(data), _CONFIGURATION)
        with self._lock:
            adapter = self._of(request).get(request.path_params["finetune"])
            if adapter is None:
                raise refuse(7003, path=request.url.path)
            if name in adapter.files:
                raise refuse(5006, why=f"{name} exists and cannot be replaced")
            if adapter.size + len(data) > _LARGEST:
                raise refuse(3006)
            adapter.files.add(name)
            adapter.size += len(data)
        return Response(b'{"success":true}', media_type="application/json")
