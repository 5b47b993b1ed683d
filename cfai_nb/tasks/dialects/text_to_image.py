"""How text-to-image models are spoken to: which settings each family has, and what a picture uses.

Settings, their ranges and defaults are of the models' published input schemas and pages (2026-11-21).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import AnswerError, InputError
from ...media import Image, Media, mime_of, sniff
from ...models import Model, Usage, catalogue
from .request import Answer, Json, Request


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one family takes.

    Attributes
    ----------
    settings : mapping of str to str
        Our names of its settings -> its own.
    size : (width, height)
        What it draws unasked; ``sides`` holds the least and the most of each.
    steps : int
        What it takes unasked; ``most_steps`` is the most.
    pictures : int
        How many it can be given.
    most_guidance : float
        The most of it.
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
DIALECTS: Mapping[str, Dialect] = {
    "flux-1": Dialect({"steps": "steps"}, steps=4, most_steps=8),
    "flux-2": Dialect(_SIZED, (1024, 768), (256, 1920), steps=4, most_steps=4, pictures=4),
    "lucid": Dialect(_LEONARDO, (1120, 1120), (1, 2500), steps=15, most_steps=40, most_guidance=10),
    "phoenix": Dialect(_LEONARDO | {"negative": "negative_prompt"}, (1024, 1024), (1, 2048), steps=25, most_steps=50),
    "stable-diffusion": Dialect(_LEONARDO | {"negative": "negative_prompt", "strength": "strength"}, pictures=2),
}
#: flux-2-dev alone of its family has steps to choose; 50 is what was measured unasked.
_DEV = Dialect(_SIZED | {"steps": "steps"}, (1024, 768), (256, 1920), steps=50, most_steps=50, pictures=4)
#: Pixels a side that FLUX.2 takes of a picture it is given: "under 512x512".
_GIVEN_SIDE = 511
_TILE, _MEGAPIXEL = 512 * 512, 1024 * 1024


def dialect(model: Model) -> Dialect:
    """Return what a model takes."""
    return _DEV if model.name == "flux-2-dev" else DIALECTS[model.family or ""]


def check(asked: Mapping[str, object], model: Model) -> None:
    """Refuse settings, by our names, that the model does not have or not so far.

    Raises
    ------
    ValueError
        The message names models that have it, or the range.
    """
    can = dialect(model)
    for name in asked:
        if name not in can.settings:
            known = (m for m in catalogue().values() if m.family in DIALECTS and m.status == "current")
            able = ", ".join(m.name for m in known if name in dialect(m).settings)
            what = "size" if name in ("width", "height") else name
            raise ValueError(f"{model.id} has no {what} to choose; leave {what}= out, or use {able}.")
    whole = {"width": can.sides, "height": can.sides, "steps": (1, can.most_steps), "seed": (0, 2**63)}
    for name, (least, most) in {**whole, "guidance": (0, can.most_guidance), "strength": (0, 1)}.items():
        value = asked.get(name, least)
        fits = isinstance(value, int if name in whole else (int, float)) and not isinstance(value, bool)
        if not fits or not least <= value <= most:  # type: ignore[operator]
            raise ValueError(
                f"{name}={value!r}: {model.id} takes {'whole numbers from ' * (name in whole)}{least} to {most}."
            )
    if not isinstance(asked.get("negative", ""), str):
        raise ValueError(f"negative={asked['negative']!r}: say in words what shall not be seen.")


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is to be drawn: a prompt, pictures it starts from, and settings by our names."""

    prompt: str
    pictures: Sequence[Media] = ()
    settings: Mapping[str, int | float | str] = field(default_factory=dict)


def compose(sketch: Sketch, model: Model) -> Request:
    """Return the request in the model's own form.

    Raises
    ------
    InputError
        The row has no words, or more pictures than the model takes.
    """
    can = dialect(model)
    if not sketch.prompt:
        raise InputError("the row has no words to draw from; write what to draw around the picture's column")
    if len(sketch.pictures) > can.pictures:
        raise InputError(f"{model.id} takes {can.pictures or 'no'} pictures, and the row holds {len(sketch.pictures)}")
    named = {can.settings[name]: value for name, value in sketch.settings.items()}
    if model.family == "flux-2":
        form: dict[str, str | tuple[str, bytes, str]] = {"prompt": sketch.prompt}
        form |= {name: str(value) for name, value in named.items()}
        for at, picture in enumerate(sketch.pictures):
            form[f"input_image_{at}"] = (f"{at}.png", picture.resized(_GIVEN_SIDE), "image/png")
        return Request(form=form, expected="media")
    body: dict[str, Json] = {"prompt": sketch.prompt, **named}
    if sketch.pictures:
        body["image_b64"] = sketch.pictures[0].base64()
    if len(sketch.pictures) > 1:
        body["mask"] = list(sketch.pictures[1].content())
    return Request(json=body, expected="media")


def read(answer: Answer) -> Image:
    """Return the picture, which comes as bytes or as base64 in JSON.

    Raises
    ------
    AnswerError
        There is none.
    """
    content = answer.content
    if not mime_of(content).startswith("image/"):
        try:
            content = base64.b64decode(answer.json["image"].rpartition(",")[2], validate=True)
            sniff(content)
        except (AttributeError, KeyError, TypeError, ValueError, InputError) as error:
            raise AnswerError(f"the answer holds no picture: {error}", "broken", again=True) from None
    return Image(content)


def usage(size: tuple[int, int], steps: int, pictures: int = 0) -> Usage:
    """Say what one picture uses, in every unit that models are priced in.

    Parameters
    ----------
    size : (width, height)
        In pixels.
    steps : int
    pictures : int
        Given to start from, each counted as one tile.

    Notes
    -----
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
