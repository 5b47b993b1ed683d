"""The catalogue of models: the shipped, dated rows, updated by listings of the service.

``catalogue.json`` is read once per process.  Sessions, tasks and the command line look models up here; ``update``
merges what ``cf.models(refresh=True)`` asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import heapq
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Literal

from ..errors import ModelError
from .model import Model, Price, from_row

# Capabilities that a listing of the service states as properties with the value "true".
_FLAGS = (
    "function_calling", "reasoning", "vision", "lora", "async_queue", "realtime", "partner", "beta",
    "require_workers_paid",
)  # fmt: skip
_RENAMED = {"async_queue": "batch", "require_workers_paid": "requires_workers_paid"}
_UNITS = {
    "per M input tokens": "input_tokens",
    "per M output tokens": "output_tokens",
    "per M cached input tokens": "cached_input_tokens",
}


class Catalogue(Mapping[str, Model]):
    """Models by id; also finds short names, and names the nearest models where it finds none."""

    def __init__(self, models: Mapping[str, Model], defaults: Mapping[str, Mapping[str, str]], checked_on: str) -> None:
        self._models = dict(models)
        self.defaults = defaults
        self.checked_on = checked_on

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def find(self, name: str | Model) -> Model:
        """Find a model by id or short name.

        Raises
        ------
        ModelError
            The model is retired (the message names what replaces it) or not in the catalogue (the message names
            the nearest ones).
        """
        if isinstance(name, Model):
            return name
        found = self._models.get(name) or self._by_short_name(name)
        if found is None:
            raise ModelError(self._unknown(name))
        if found.status == "retired":
            instead = " or ".join(found.replacement) or "no replacement is named; see cf.models()"
            raise ModelError(f"{found.id} was retired on {found.retired_on}. Use {instead}.")
        return found

    def _by_short_name(self, name: str) -> Model | None:
        lowered = name.lower()
        hits = [m for m in self._models.values() if m.name.lower() == lowered or m.id.lower() == lowered]
        return min(hits, key=lambda m: m.status == "retired", default=None)

    def _unknown(self, name: str) -> str:
        given = name.rsplit("/", 1)[-1].lower()
        scores = {m.id: _match_score(given, m.name.lower()) for m in self._models.values() if m.status != "retired"}
        near = [each for each in heapq.nlargest(3, scores, key=scores.__getitem__) if scores[each] >= 0.6]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        return (
            f"The catalogue of {self.checked_on} has no model {name!r}.{hint} "
            "cf.models() lists it; cf.models(refresh=True) asks the service for newer ones."
        )

    def update(self, listing: list[Mapping[str, Any]], checked_on: str) -> list[Model]:
        """Merge a listing of ``/ai/models/search``, and return the models that are new or changed.

        A known model keeps what a listing does not contain (its dialect, its rate); a new one gets the usual dialect
        of its task.  A model that is missing from the listing is kept: it may still answer.
        """
        changed = []
        for entry in listing:
            known = self._models.get(str(entry.get("name")))
            model = _from_listing(entry, known, checked_on)
            if known is None or model != dataclasses.replace(known, checked_on=checked_on):
                changed.append(model)
            self._models[model.id] = model
        return changed


def _from_listing(entry: Mapping[str, Any], known: Model | None, checked_on: str) -> Model:
    # Every property's value is a string except the price, which is a list of {unit, price, currency}.
    properties = {p.get("property_id"): p.get("value") for p in entry.get("properties") or ()}
    task = (entry.get("task") or {}).get("name") or (known.task if known else "")
    row: dict[str, Any] = {} if known is None else {slot: getattr(known, slot) for slot in Model.__slots__}
    row |= {"id": str(entry["name"]), "task": task, "checked_on": checked_on, "source": "refreshed"}
    if known is None:
        row["family"] = _FAMILY_OF_TASK.get(task)
        row["json"] = "wrapped" if row["family"] == "openai" else None
    for slot, names in (("context", ("context_window", "max_input_tokens")), ("dims", ("output_dimensions",))):
        for name in names:
            if str(properties.get(name) or "").isdigit():
                row[slot] = int(properties[name])
    row["prices"] = _prices(properties.get("price"), known)
    flags = {_RENAMED.get(flag, flag) for flag in _FLAGS if properties.get(flag) == "true"}
    row["capabilities"] = frozenset(flags) | (known.capabilities if known else frozenset())
    return Model(**row)


# New chat models have all spoken the OpenAI dialect since 2026; a new embedding model at least takes "text".
_FAMILY_OF_TASK = {"Text Generation": "openai", "Text Embeddings": "plain-embedding"}


def _prices(listed: Any, known: Model | None) -> Mapping[str, Price] | None:
    """Return the prices of a listing; shipped ones with the same dollars stay, since they also hold the Neurons."""
    kept = dict(known.prices or {}) if known else {}
    for item in listed if isinstance(listed, list) else ():
        unit = _UNITS.get(str(item.get("unit")))
        if unit is None or item.get("currency") not in (None, "USD"):
            continue
        usd = float(item["price"])
        shipped = kept.get(unit)
        # The dollars are rounded to three digits, so "the same price" is within a twentieth.
        if shipped is None or shipped.usd is None or abs(shipped.usd - usd) > 0.05 * usd:
            kept[unit] = Price(per=1e6, neurons=None, usd=usd)
    return kept or None


def _match_score(given: str, name: str) -> float:
    """Return how well a name matches what the user wrote: 1 for a part of it, else the similarity of the spelling."""
    if len(given) > 2 and given in name:
        return 1.0
    parts = (name, name[: len(given)], name[: len(given) + 1])
    return max(difflib.SequenceMatcher(None, given, part).ratio() for part in parts)


@functools.cache
def catalogue() -> Catalogue:
    """Return the catalogue of this process: the shipped rows, changed only by ``update``."""
    data = json.loads(resources.files(__package__).joinpath("catalogue.json").read_text("utf-8"))
    models = {row["id"]: from_row(row, data["checked_on"]) for row in data["models"]}
    return Catalogue(models, data["defaults"], data["checked_on"])


def find(name: str | Model) -> Model:
    """Find a model by id or short name (``Catalogue.find``)."""
    return catalogue().find(name)


def default(work: str) -> Model:
    """Return the default model for a kind of work; ``catalogue().defaults`` holds the reason for each."""
    return catalogue().find(catalogue().defaults[work]["model"])


_FREE = {unit: Price(per=1e6, neurons=0.0, usd=0.0) for unit in ("input_tokens", "output_tokens")}


def external_model(
    name: str, source: Literal["gateway", "server"], *, embeds: bool = False, free: bool = False
) -> Model:
    """Return a model outside the catalogue: another provider's through a gateway, or of an OpenAI-compatible server.

    Its price is unknown, except on the user's own machine or network, where it is free.
    """
    return Model(
        id=name, task="Text Embeddings" if embeds else "Text Generation", source=source, json="wrapped",
        family="openai-embedding" if embeds else "openai", prices=_FREE if free else None,
        capabilities=frozenset({"streaming", "vision", "function_calling"}),
    )  # fmt: skip
