"""Units: what a picture or a recording is charged for, from its size, its steps and its length.

The one place where that is written down. Of a picture (formula read off measured calls, three of them to the cent)::

    Neurons = tiles * (tile rate + steps * step rate),   tiles = width * height / 512**2, fractional

so the price list's "per step" means per step and tile: ``steps`` counts tiles * steps. FLUX.2 charges its input
pictures beside that, by tile (4b), by tile and step (dev) or by megapixel (9b). A megapixel is 1024 x 1024 here and
the first one is charged whole; no measured call settles either.

>>> picture(find("@cf/black-forest-labs/flux-1-schnell"), 1024, 1024, 4)
{'tiles': 4.0, 'steps': 16.0}
"""

from __future__ import annotations

from collections.abc import Sequence

from .catalogue import Model

TILE = 512 * 512
MEGAPIXEL = 1024 * 1024

Size = tuple[int, int]


def picture(model: Model, width: int, height: int, steps: int, given: Sequence[Size] = ()) -> dict[str, float]:
    """Return the usage of one drawn picture, in the units of the model's own price list.

    Parameters
    ----------
    model : Model
        Who drew; without published prices its usage is in tiles and steps.
    width, height : int
        Pixels of the picture.
    steps : int
        Diffusion steps.
    given : sequence of (width, height)
        The input pictures.
    """
    tiles, pixels = width * height / TILE, width * height / MEGAPIXEL
    before = sum(wide * high for wide, high in given)
    amounts = {
        "tiles": tiles,
        "steps": tiles * steps,
        "tile_steps": tiles * steps,
        "input_tiles": before / TILE,
        "input_tile_steps": before / TILE * steps,
        "first_megapixels": 1.0,
        "more_megapixels": max(0.0, pixels - 1),
        "input_megapixels": before / MEGAPIXEL,
    }
    return {unit: amounts[unit] for unit in model.row.get("prices") or ("tiles", "steps")}


def sound(seconds: float) -> dict[str, float]:
    """Return the usage of a recording, heard or spoken: its true length in minutes."""
    return {"audio_minutes": seconds / 60}


def looked(width: int, height: int) -> int:
    """Return the input tokens of one picture for a model that reads tokens: one per 32 x 32 pixels, 64 to 1,024.

    The bounds are the published ones of clef-omni; what other models count is not published, so this is an estimate.
    """
    return min(1024, max(64, round(width * height / 1024)))
