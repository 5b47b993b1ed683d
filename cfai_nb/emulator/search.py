"""Search: the model catalogue over the wire, ``/models/search`` and ``/models/schema``."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from .catalogue import Model, checked_on, find, models
from .errors import refuse
from .families import FAMILIES, unserved

#: Catalogue capability -> property of the service. Every value on the wire is a string, prices excepted.
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

#: How long a retired model is still listed on request.
_KEPT = timedelta(days=92)

_UNITS = {
    "input_tokens": "per M input tokens",
    "output_tokens": "per M output tokens",
    "cached_input_tokens": "per M cached input tokens",
}


def search(query: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the models that a search finds; ``page`` and ``per_page`` change nothing, as was seen.

    Parameters
    ----------
    query : mapping
        ``search`` (part of the name), ``task``, ``author``, ``hide_experimental``, ``include_deprecated``.
    """
    text, task, author = (query.get(name, "").casefold() for name in ("search", "task", "author"))
    kept = [model for model in models().values() if _listed(model, query)]
    return [
        entry(model)
        for model in kept
        if text in model.id.casefold()
        and task in ("", model.task.casefold())
        and author in ("", model.id.split("/")[1].casefold())
    ]


def _listed(model: Model, query: Mapping[str, str]) -> bool:
    if model.has("beta") and _true(query.get("hide_experimental")):
        return False
    if model.status == "retired" and _true(query.get("include_deprecated")):
        gone = model.row.get("retired_on")
        return gone is not None and date.fromisoformat(gone) + _KEPT >= date.fromisoformat(checked_on())
    return model.status == "current"


def _true(value: str | None) -> bool:
    return (value or "").casefold() in ("true", "1")


def entry(model: Model) -> dict[str, Any]:
    """Return one model as the service lists it."""
    made = uuid.uuid5(uuid.NAMESPACE_URL, model.id)
    task = {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, model.task)), "name": model.task, "description": model.task}
    return {
        "id": str(made),
        "source": 2 if model.id.startswith("@hf/") else 1,
        "name": model.id,
        "description": f"[emulator] a stand-in for {model.short}",
        "task": task,
        "tags": [],
        "properties": list(_properties(model)),
    }


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


def schema(name: str) -> dict[str, Any]:
    """Return the input and output JSON Schemas of a model."""
    model = find(name)
    if model is None:
        raise refuse(5007, name=name)
    family = FAMILIES.get(model.family)
    if family is None:
        raise unserved(model)
    return {"input": family.inputs(model), "output": family.outputs(model)}
