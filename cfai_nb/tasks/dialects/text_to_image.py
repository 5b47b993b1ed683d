"""How text-to-image models are asked: the settings of each family, and what a picture uses.

Settings, their ranges and defaults are from the models' published input schemas and pages (2026-11-21).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import InputError
from ...media import Media
from ...models import Model, Usage
from ..task import names_of_models
from .request import Json, Request


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of one family: the task's names of them -> its own, defaults, and limits.

    ``sides`` holds the least and the most of width and height, ``pictures`` how many it can be given to start from.
    """

    settings: Mapping[str, str]
    size: tuple[int, int] = (1024, 1024)
    sides: tuple[int, int] = (256, 2048)
    steps: int = 20
    most_steps: int = 20
    pictures: int = 0
    most_guidance: float = math.inf


_SIZED = {"width": "width", "height": "height", "seed": "seed", "guidance": "guidance"}
_LEONARDO = _SIZED | {"steps": "num_steps"}
_NEGATIVE = {"negative_prompt": "negative_prompt"}
FAMILIES: Mapping[str, Limits] = {
    "flux-1": Limits({"steps": "steps"}, steps=4, most_steps=8),
    "flux-2": Limits(_SIZED, (1024, 768), (256, 1920), steps=4, most_steps=4, pictures=4),
    "lucid": Limits(_LEONARDO, (1120, 1120), (1, 2500), steps=15, most_steps=40, most_guidance=10),
    "phoenix": Limits(_LEONARDO | _NEGATIVE, (1024, 1024), (1, 2048), steps=25, most_steps=50),
    "stable-diffusion": Limits(_LEONARDO | _NEGATIVE | {"strength": "strength"}, pictures=2),
}
#: flux-2-dev alone of its family has steps to choose; its default of 50 was measured.
_DEV = Limits(_SIZED | {"steps": "steps"}, (1024, 768), (256, 1920), steps=50, most_steps=50, pictures=4)
#: Pixels a side that FLUX.2 takes of a picture it is given: "under 512x512".
_GIVEN_SIDE = 511
_TILE, _MEGAPIXEL = 512 * 512, 1024 * 1024


def limits(model: Model) -> Limits:
    """Return the settings of a model."""
    return _DEV if model.name == "flux-2-dev" else FAMILIES[model.family or ""]


def check(given: Mapping[str, object], model: Model) -> None:
    """Refuse settings, by the task's names, that the model does not have, or values out of its range.

    Raises ValueError: the message names models that have it, or the range.
    """
    can = limits(model)
    if unknown := [name for name in given if name not in can.settings]:
        able = names_of_models(lambda other: other.family in FAMILIES and unknown[0] in limits(other).settings)
        what = "size" if unknown[0] in ("width", "height") else unknown[0]
        raise ValueError(f"{model.id} has no {what} to choose; leave {what}= out, or use {able}.")
    whole = {"width": can.sides, "height": can.sides, "steps": (1, can.most_steps), "seed": (0, 2**63)}
    for name, (least, most) in {**whole, "guidance": (0, can.most_guidance), "strength": (0, 1)}.items():
        value = given.get(name, least)
        fits = isinstance(value, int if name in whole else (int, float)) and not isinstance(value, bool)
        if not fits or not least <= value <= most:  # type: ignore[operator]
            raise ValueError(
                f"{name}={value!r}: {model.id} takes {'whole numbers from ' * (name in whole)}{least} to {most}."
            )
    if not isinstance(given.get("negative_prompt", ""), str):
        raise ValueError(f"negative_prompt={given['negative_prompt']!r}: say in words what the picture must not show.")


def build_request(
    prompt: str, pictures: Sequence[Media], settings: Mapping[str, int | float | str], model: Model
) -> Request:
    """Return the request in the model's own form; settings are by the task's names.

    Raises InputError: the row has no words, or more pictures than the model takes.
    """
    can = limits(model)
    if not prompt:
        raise InputError("the row has no words to draw from; write what to draw around the picture's column")
    if len(pictures) > can.pictures:
        raise InputError(f"{model.id} takes {can.pictures or 'no'} pictures, and the row holds {len(pictures)}")
    named = {can.settings[name]: value for name, value in settings.items()}
    if model.family == "flux-2":
        form: dict[str, str | tuple[str, bytes, str]] = {"prompt": prompt}
        form |= {name: str(value) for name, value in named.items()}
        for at, picture in enumerate(pictures):
            form[f"input_image_{at}"] = (f"{at}.png", picture.resized(_GIVEN_SIDE), "image/png")
        return Request(form=form, expected="media")
    body: dict[str, Json] = {"prompt": prompt, **named}
    if pictures:
        body["image_b64"] = pictures[0].base64()
    if len(pictures) > 1:
        body["mask"] = list(pictures[1].content())
    return Request(json=body, expected="media")


def usage(size: tuple[int, int], steps: int, pictures: int = 0) -> Usage:
    """Return what one picture uses, in every unit that models are priced in; each picture given counts as one tile.

    A tile is 512 x 512 pixels, and a price "per step" is per step and tile: that fits three measured bills to the cent
    (172.8 Neurons for flux-1-schnell at 1024 x 1024 in 4 steps, 3,904.69 for lucid-origin at 1120 x 1120 in 15, 3,120
    for phoenix at 1024 x 1024 in 25).
    """
    tiles, megapixels = size[0] * size[1] / _TILE, size[0] * size[1] / _MEGAPIXEL
    return Usage({
        "images": 1.0, "tiles": tiles, "steps": tiles * steps, "tile_steps": tiles * steps,
        "input_tiles": float(pictures), "input_tile_steps": float(pictures * steps),
        "first_megapixels": 1.0, "more_megapixels": max(0.0, megapixels - 1),
        "input_megapixels": pictures * _TILE / _MEGAPIXEL,
    })  # fmt: skip
