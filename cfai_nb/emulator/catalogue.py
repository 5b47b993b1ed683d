"""Catalogue: what the emulator knows of each model, read as data from the toolkit's dated list.

Nothing of the toolkit is imported: the JSON file is the whole contract.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "models" / "catalogue.json"

#: The one retired name the service still answers, silently, with the dearer successor (observed 2026-05).
ALIASES: Mapping[str, str] = {"@cf/moonshotai/kimi-k2.5": "@cf/moonshotai/kimi-k2.6"}


@dataclass(frozen=True)
class Model:
    """One row of the catalogue.

    Attributes
    ----------
    id, task, family : str
        The full name, the catalogue's task and the dialect it speaks.
    status : {"current", "uncertain", "retired"}
        Only current models are served.
    rate : int or None
        Requests per minute; ``None`` when no limit is published.
    context, dims, batch : int or None
        Tokens of context, vector width, texts per call.
    row : mapping
        The row as it stands in the file.
    """

    id: str
    task: str
    family: str
    status: str
    rate: int | None
    context: int | None
    dims: int | None
    batch: int | None
    row: Mapping[str, Any]

    @property
    def short(self) -> str:
        """The last part of the name, which decision models want repeated in the body."""
        return self.id.rsplit("/", 1)[-1]

    def has(self, capability: str) -> bool:
        """Tell whether the catalogue lists a capability."""
        return capability in (self.row.get("capabilities") or ())

    def neurons(self, usage: Mapping[str, float]) -> float | None:
        """Return the Neurons of a usage (unit -> amount), ``None`` where no price is published.

        A row that has only dollars is converted at the published rate of $0.011 per 1,000 Neurons.
        A unit without a price of its own costs nothing (decision models charge input only).
        """
        prices = self.row.get("prices")
        if not prices:
            return None
        total = 0.0
        for unit, amount in usage.items():
            price = prices.get(unit)
            if price:
                each = price["neurons"] if price["neurons"] is not None else price["usd"] / usd_per_neuron()
                total += amount * each / price["per"]
        return round(total, 9)


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return document


def usd_per_neuron() -> float:
    """Return the dollars of one Neuron."""
    return float(_document()["usd_per_neuron"])


def checked_on() -> str:
    """Return the date of the catalogue, the only "today" the emulator has."""
    return str(_document()["checked_on"])


@cache
def models() -> Mapping[str, Model]:
    """Return every row, by id, in file order."""
    fields = ("id", "task", "status", "rate", "context", "dims", "batch")
    return {
        row["id"]: Model(family=row.get("family") or "", row=row, **{name: row.get(name) for name in fields})
        for row in _document()["models"]
    }


def find(name: str) -> Model | None:
    """Return the current model of a name, following the service's one alias; ``None`` when it serves no such model."""
    model = models().get(ALIASES.get(name, name))
    return model if model is not None and model.status == "current" else None
