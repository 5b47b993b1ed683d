"""The model catalogue over the wire: models, tasks, authors, the schemas of one model, and the document formats.

``app`` serves :data:`ROUTES` and calls :func:`search` for ``/models/search``.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Any

from starlette.requests import Request

from ..error_codes import refuse
from ..families.document_conversion import formats
from ..families.registry import FAMILIES, not_emulated
from ..model_catalogue import Model, checked_on, find, models

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

_UNITS = {
    "input_tokens": "per M input tokens",
    "output_tokens": "per M output tokens",
    "cached_input_tokens": "per M cached input tokens",
}


def search(query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the models that match a search; ``page`` and ``per_page`` change nothing, as was seen.

    Parameters
    ----------
    query : mapping
        ``search`` (part of the name), ``task``, ``author``, ``hide_experimental``, ``include_deprecated``.
    """
    text, task, author = (query.get(name, "").casefold() for name in ("search", "task", "author"))
    listed = [model for model in models().values() if _listed(model, query)]
    return [
        entry(model)
        for model in listed
        if text in model.id.casefold()
        and task in ("", model.task.casefold())
        and author in ("", model.id.split("/")[1].casefold())
    ]


def _listed(model: Model, query: Mapping[str, str]) -> bool:
    if model.has("beta") and _true(query.get("hide_experimental")):
        return False
    if model.status == "retired" and _true(query.get("include_deprecated")):
        retired = model.row.get("retired_on")
        return retired is not None and date.fromisoformat(retired) + _LISTED >= date.fromisoformat(checked_on())
    return model.status == "current"


def _true(value: str | None) -> bool:
    return (value or "").casefold() in ("true", "1")


def entry(model: Model) -> dict[str, Any]:
    """Return one model as the service lists it."""
    return {
        "id": _identity(model.id),
        "source": 2 if model.id.startswith("@hf/") else 1,
        "name": model.id,
        "description": f"[emulator] a stand-in for {model.short}",
        "task": _named(model.task),
        "tags": [],
        "properties": list(_properties(model)),
    }


async def _tasks(request: Request) -> list[dict[str, str]]:
    """Return the tasks that have a current model."""
    return [_named(name) for name in dict.fromkeys(model.task for model in _current())]


async def _authors(request: Request) -> list[dict[str, str]]:
    """Return the authors of current models."""
    return [_named(name) for name in dict.fromkeys(model.id.split("/")[1] for model in _current())]


def _current() -> list[Model]:
    return [model for model in models().values() if model.status == "current"]


def _named(name: str) -> dict[str, str]:
    return {"id": _identity(name), "name": name, "description": name}


def _identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _properties(model: Model) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if model.context and model.task == "Text Embeddings":
        found.append({"property_id": "max_input_tokens", "value": str(model.context)})
    elif model.context:
        found.append({"property_id": "context_window", "value": str(model.context)})
    if model.dims:
        found.append({"property_id": "output_dimensions", "value": str(model.dims)})
    found += [{"property_id": name, "value": "true"} for word, name in _PROPERTIES.items() if model.has(word)]
    if model.row.get("prices"):
        value = [
            {"unit": _UNITS.get(unit, f"per {price['per']} {unit}"), "price": price["usd"], "currency": "USD"}
            for unit, price in model.row["prices"].items()
        ]
        found.append({"property_id": "price", "value": value})
    if model.status == "retired":
        found.append({"property_id": "planned_deprecation_date", "value": str(model.row["retired_on"])})
    return found


async def _schema(request: Request) -> dict[str, Any]:
    """Return the input and output JSON Schemas of a model."""
    name = request.query_params.get("model", "")
    model = find(name)
    if model is None:
        raise refuse(5007, name=name)
    family = FAMILIES.get(model.family)
    if family is None:
        raise not_emulated(model)
    return {"input": family.inputs(model), "output": family.outputs(model)}


async def _formats(request: Request) -> list[dict[str, str]]:
    """Return the document formats that ``/tomarkdown`` converts."""
    return formats()


#: Path below the account -> method -> handler that returns a result.
ROUTES: Mapping[str, Mapping[str, Callable[[Request], Awaitable[Any]]]] = {
    "/ai/models/schema": {"GET": _schema},
    "/ai/tomarkdown/supported": {"GET": _formats},
    "/ai/tasks/search": {"GET": _tasks},
    "/ai/authors/search": {"GET": _authors},
}
