"""The emulator's catalogue of models, and the units in which calls are charged.

It reads the toolkit's dated ``catalogue.json`` as data, since the emulator imports nothing else of the package, and
returns one :class:`Model` per row, and the usage of a picture or a recording in the units of its price list.

The formula for pictures is derived from measured calls, three of them exact to the cent::

    Neurons = tiles * (tile rate + steps * step rate),   tiles = width * height / 512**2, fractional

so the price list's "per step" means per step and tile: ``steps`` counts tiles * steps. FLUX.2 also charges its input
pictures, by tile (4b), by tile and step (dev) or by megapixel (9b). A megapixel is 1024 x 1024 here and the first one
is charged in full; no measured call settles either.

>>> image_usage(find("@cf/black-forest-labs/flux-1-schnell"), 1024, 1024, 4)
{'tiles': 4.0, 'steps': 16.0}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "models" / "catalogue.json"

#: The one retired name that the service still accepts; a more expensive model answers (observed 2026-05).
_ALIASES: Mapping[str, str] = {"@cf/moonshotai/kimi-k2.5": "@cf/moonshotai/kimi-k2.6"}


@dataclass(frozen=True)
class Model:
    """One row of the catalogue, with the row as it is in the file.

    Only models of the status "current" are served. `rate` is requests per minute, `context` tokens, `dims` the width of
    vectors and `batch` texts per call; ``None`` where none is published.
    """

    id: str
    task: str
    family: str
    status: str = "current"
    rate: int | None = None
    context: int | None = None
    dims: int | None = None
    batch: int | None = None
    row: Mapping[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> str:
        """The last part of the name, which decision models require in the body."""
        return self.id.rsplit("/", 1)[-1]

    def has(self, capability: str) -> bool:
        """Return whether the catalogue lists a capability."""
        return capability in (self.row.get("capabilities") or ())

    def neurons(self, usage: Mapping[str, float]) -> float | None:
        """Return the Neurons of a usage (unit -> amount), ``None`` where no price is published.

        Dollars alone are converted at the published rate. A unit without a price of its own costs nothing.
        """
        prices = self.row.get("prices")
        if not prices:
            return None
        total = 0.0
        for unit, amount in usage.items():
            if price := prices.get(unit):
                each = price["neurons"] if price["neurons"] is not None else price["usd"] / usd_per_neuron()
                total += amount * each / price["per"]
        return round(total, 9)


@cache
def _document() -> Any:
    return json.loads(_FILE.read_text(encoding="utf-8"))


def usd_per_neuron() -> float:
    """Return the price of one Neuron in dollars."""
    return float(_document()["usd_per_neuron"])


def checked_on() -> str:
    """Return the date of the catalogue, which the emulator uses as today."""
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
    """Return the current model of a name, also through the service's one alias; ``None`` for an unknown name."""
    model = models().get(_ALIASES.get(name, name))
    return model if model is not None and model.status == "current" else None


_TILE = 512 * 512
_MEGAPIXEL = 1024 * 1024

Size = tuple[int, int]


def image_usage(model: Model, width: int, height: int, steps: int, given: Sequence[Size] = ()) -> dict[str, float]:
    """Return the usage of one drawn picture, in the units of the model's own price list, else in tiles and steps.

    `given` has the sizes of the input pictures.
    """
    tiles, pixels = width * height / _TILE, width * height / _MEGAPIXEL
    before = sum(wide * high for wide, high in given)
    amounts = {
        "tiles": tiles,
        "steps": tiles * steps,
        "tile_steps": tiles * steps,
        "input_tiles": before / _TILE,
        "input_tile_steps": before / _TILE * steps,
        "first_megapixels": 1.0,
        "more_megapixels": max(0.0, pixels - 1),
        "input_megapixels": before / _MEGAPIXEL,
    }
    return {unit: amounts[unit] for unit in model.row.get("prices") or ("tiles", "steps")}


def audio_usage(seconds: float) -> dict[str, float]:
    """Return the usage of a recording: its length in minutes."""
    return {"audio_minutes": seconds / 60}


def image_tokens(width: int, height: int) -> int:
    """Return the input tokens of one picture for a model that reads tokens: one per 32 x 32 pixels, 64 to 1,024.

    The bounds are those of clef-omni; the count of other models is not published, so this is an estimate.
    """
    return min(1024, max(64, round(width * height / 1024)))
