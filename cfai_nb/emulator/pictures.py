"""Pictures: the text-to-image families. Each has its own form of request and of answer; all draw with one hand.

Sizes and steps that nobody has published a default for are marked as such; see ``units`` for what they cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import media, sight, units
from .catalogue import Model
from .checks import Schema
from .drawing import MEDIA, Order, draw
from .errors import refuse
from .shapes import NUMBER, STRING, array, obj
from .work import Ask, Family, Work

_PROMPT: Schema = {"type": "string", "minLength": 1}
_BYTE: Schema = {"type": "number", "minimum": 0, "maximum": 255}
_INTEGER: Schema = {"type": "integer"}
_BASE64 = obj({"image": STRING})

#: FLUX.2: its pictures to refer to, each of fewer pixels wide and high, and the steps of the klein models.
REFERENCES = tuple(f"input_image_{number}" for number in range(4))
_REFERENCE_SIDE = 512
_KLEIN_STEPS = 4
#: Steps of flux-2-dev where none are sent: those of the measured call; no default is published.
_DEV_STEPS = 50
#: Steps of Leonardo's models where none are sent: those of the measured calls; no default is published.
_LEONARDO_STEPS = {"lucid": 15, "phoenix": 25}
#: Side of a picture where no size is sent, for the models that were trained on 512 pixels; no default is published.
_SMALL = {"@cf/lykon/dreamshaper-8-lcm": 512, "@cf/runwayml/stable-diffusion-v1-5-inpainting": 512}
_LARGE = 1024
#: Models whose raw bytes were seen as JPEG; of the others the documentation says PNG.
_JPEG = frozenset({"@cf/bytedance/stable-diffusion-xl-lightning", "@cf/lykon/dreamshaper-8-lcm"})


def _within(least: int, most: int) -> dict[str, Schema]:
    side = {"minimum": least, "maximum": most}
    return {"width": {**_INTEGER, **side}, "height": {**_INTEGER, **side}}


def texts(ask: Ask) -> list[str]:
    """Return the prompt, and with it a name for the pictures that came along."""
    pictures = media.named(ask, "image", "image_b64", "mask")
    along = ask.files or any(ask.body.get(name) for name in ("image", "image_b64", "mask"))
    return [ask.body["prompt"] + (f" [{pictures}]" if along else "")]


def _number(body: Mapping[str, Any], *names: str, default: int) -> int:
    for name in names:
        if body.get(name) is not None:
            return int(body[name])
    return default


def _base64(ask: Ask, order: Order, steps: int, given: list[units.Size], form: str) -> Work:
    usage = units.picture(ask.model, order.width, order.height, steps, given)
    return Work({"image": media.text64(draw(order, form))}, usage)


def _raw(ask: Ask, order: Order, steps: int, form: str, *, metered: bool = True) -> Work:
    usage = units.picture(ask.model, order.width, order.height, steps)
    return Work(None, usage, content=draw(order, form), media=MEDIA[form], metered=metered)


def schnell_input(model: Model) -> Schema:
    """A prompt and up to 8 steps; anything else is refused."""
    fields = {"prompt": {**_PROMPT, "maxLength": 2048}, "steps": {**_INTEGER, "maximum": 8}}
    return {**obj(fields, "prompt"), "additionalProperties": False}


def schnell(ask: Ask) -> Work:
    """Return a JPEG of 1024 x 1024 in base64."""
    steps = max(1, _number(ask.body, "steps", default=4))
    return _base64(ask, Order(ask.body["prompt"], 1024, 1024), steps, [], "JPEG")


def flux_input(model: Model) -> Schema:
    """The fields of the form; a file stands as its media type."""
    fields = {"prompt": STRING, **_within(256, 1920), "seed": _INTEGER, "guidance": NUMBER}
    steps = {} if "klein" in model.id else {"steps": _INTEGER}
    return obj({**fields, **steps, **dict.fromkeys(REFERENCES, STRING)}, "prompt")


def flux(ask: Ask) -> Work:
    """Return a JPEG in base64, with the input pictures shown small at its top."""
    body, beside, given = ask.body, [], []
    for name in REFERENCES:
        if name not in body:
            continue
        if name not in ask.files:
            raise refuse(5006, why=f"'{name}' must be a file of the form")
        seen = sight.look(ask.files[name])
        if max(seen.width, seen.height) >= _REFERENCE_SIDE:
            raise refuse(5006, why=f"'{name}' is {seen.width} x {seen.height}, not under 512 x 512")
        beside.append(ask.files[name])
        given.append((seen.width, seen.height))
    steps = _KLEIN_STEPS if "klein" in ask.model.id else max(1, _number(body, "steps", default=_DEV_STEPS))
    size = _number(body, "width", default=1024), _number(body, "height", default=768)
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), beside=beside)
    return _base64(ask, order, steps, given, "JPEG")


def lucid_input(model: Model) -> Schema:
    """A prompt, sides up to 2,500, and up to 40 steps under either of two names."""
    steps = {**_INTEGER, "minimum": 1, "maximum": 40}
    seed = {**_INTEGER, "minimum": 0}
    guidance = {**NUMBER, "minimum": 0, "maximum": 10}
    fields = {"guidance": guidance, "seed": seed, **_within(0, 2500), "num_steps": steps, "steps": steps}
    return obj({"prompt": _PROMPT, **fields}, "prompt")


def phoenix_input(model: Model) -> Schema:
    """A prompt and numbers; the published table has no bounds, so the sides have those of its siblings."""
    side = {**NUMBER, "minimum": 0, "maximum": 2048}
    numbers = {"guidance": NUMBER, "seed": NUMBER, "height": side, "width": side, "num_steps": NUMBER}
    return obj({"prompt": STRING, **numbers, "negative_prompt": STRING}, "prompt")


def _leonardo(ask: Ask, side: int) -> tuple[Order, int]:
    body = ask.body
    steps = max(1, _number(body, "num_steps", "steps", default=_LEONARDO_STEPS[ask.model.family]))
    size = [max(1, _number(body, name, default=side)) for name in ("width", "height")]
    return Order(body["prompt"], size[0], size[1], _number(body, "seed", default=0)), steps


def lucid(ask: Ask) -> Work:
    """Return a JPEG in base64."""
    return _base64(ask, *_leonardo(ask, 1120), [], "JPEG")


def phoenix(ask: Ask) -> Work:
    """Return a bare JPEG that does not say what it cost (as was seen)."""
    return _raw(ask, *_leonardo(ask, _LARGE), "JPEG", metered=False)


def diffusion_input(model: Model) -> Schema:
    """The Stable Diffusion fields: text to picture, picture to picture, and painting over a masked part."""
    strict = not model.id.startswith(("@cf/bytedance/", "@cf/lykon/"))
    number, pixels = (_INTEGER, _BYTE) if strict else (NUMBER, NUMBER)
    side = {**number, "minimum": 256, "maximum": 2048}
    fields = {
        "prompt": _PROMPT if strict else STRING,
        "negative_prompt": STRING,
        "height": side,
        "width": side,
        "image": array(pixels),
        "image_b64": STRING,
        "mask": array(pixels),
        "num_steps": {**number, "maximum": 20},
        "strength": NUMBER,
        "guidance": NUMBER,
        "seed": number,
    }
    return obj(fields, "prompt")


def diffusion(ask: Ask) -> Work:
    """Return bare bytes; a picture to start from stays visible, and outside of a mask it stays as it is."""
    body = ask.body
    start = media.octets(body["image"]) if body.get("image") else media.octets(body.get("image_b64") or "")
    mask = media.octets(body["mask"]) if body.get("mask") and start else b""
    usual = _SMALL.get(ask.model.id, _LARGE)
    seen = sight.look(start) if start else None
    wide, high = (min(2048, seen.width), min(2048, seen.height)) if seen else (usual, usual)
    size = _number(body, "width", default=wide), _number(body, "height", default=high)
    strength = 1.0 if body.get("strength") is None else float(body["strength"])
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), start, mask, strength)
    steps = max(1, _number(body, "num_steps", default=20))
    return _raw(ask, order, steps, "JPEG" if ask.model.id in _JPEG else "PNG")


def _binary(model: Model) -> Schema:
    return {"type": "string", "format": "binary"}


FAMILIES = {
    "flux-1": Family(schnell_input, lambda model: _BASE64, texts, schnell, threaded=True),
    "flux-2": Family(flux_input, lambda model: _BASE64, texts, flux, forms=frozenset({"form"}), threaded=True),
    "lucid": Family(lucid_input, lambda model: _BASE64, texts, lucid, threaded=True),
    "phoenix": Family(phoenix_input, _binary, texts, phoenix, threaded=True),
    "stable-diffusion": Family(diffusion_input, _binary, texts, diffusion, threaded=True),
}
