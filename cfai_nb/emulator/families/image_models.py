"""Image models: text to image, and the models that take one picture (labels, captions, questions, boxes).

Every text-to-image family has its own request and answer; all draw with ``standins.image_drawing``. The models that
look at a picture find the things that the emulator itself drew; of any other picture they report what can be measured
(``standins.image_reading``). Sizes and steps without a published default are marked; ``model_catalogue`` has the
costs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import standins
from ..error_codes import refuse
from ..json_schema import (
    BINARY,
    BOOLEAN,
    BYTE,
    INTEGER,
    NUMBER,
    STRING,
    Schema,
    any_of,
    array,
    each,
    obj,
    one,
    one_of,
    require,
)
from ..model_catalogue import Model, Size, image_tokens, image_usage
from ..standins import MARK, split_tokens
from ..standins.image_drawing import MEDIA, Order, draw
from ..standins.image_reading import ImageReading, Thing, read_image
from . import RAW, Family, ModelRequest, ModelResult, base64_text, decode_bytes, end_stream, event, unless_raw

_PROMPT: Schema = {"type": "string", "minLength": 1}
_BASE64 = obj({"image": STRING})

#: FLUX.2: its reference pictures, the side that each has to stay under, and the steps of the klein models.
_REFERENCES, _REFERENCE_SIDE, _KLEIN_STEPS = tuple(f"input_image_{number}" for number in range(4)), 512, 4
#: Default steps of flux-2-dev and of Leonardo's models, as in the measured calls; none are published.
_DEV_STEPS, _LEONARDO_STEPS = 50, {"lucid": 15, "phoenix": 25}
#: Models that were trained on 512 pixels, which is their default side here; none is published.
_SMALL = frozenset({"@cf/lykon/dreamshaper-8-lcm", "@cf/runwayml/stable-diffusion-v1-5-inpainting"})
_LARGE = 1024
#: Models that were seen to return JPEG; for the others the documentation says PNG.
_JPEG = frozenset({"@cf/bytedance/stable-diffusion-xl-lightning", "@cf/lykon/dreamshaper-8-lcm"})


_PICTURES = ("image", "image_b64", "mask")


def _sides(least: int, most: int) -> dict[str, Schema]:
    return each("width height", {**INTEGER, "minimum": least, "maximum": most})


def _prompt_texts(request: ModelRequest) -> list[str]:
    """Return the prompt, with a short name of the input pictures."""
    has_pictures = request.files or any(map(request.body.get, _PICTURES))
    return [request.body["prompt"] + (f" [{request.fingerprint(*_PICTURES)}]" if has_pictures else "")]


def _number(body: Mapping[str, Any], *names: str, default: int) -> int:
    return next((int(body[name]) for name in names if body.get(name) is not None), default)


def _base64(request: ModelRequest, order: Order, steps: int, given: Sequence[Size] = ()) -> ModelResult:
    usage = image_usage(request.model, order.width, order.height, steps, given)
    return ModelResult({"image": base64_text(draw(order, "JPEG"))}, usage)


def _raw(request: ModelRequest, order: Order, steps: int, form: str, *, metered: bool = True) -> ModelResult:
    usage = image_usage(request.model, order.width, order.height, steps)
    return ModelResult(None, usage, content=draw(order, form), media=MEDIA[form], metered=metered)


_SCHNELL = obj({"steps": {**INTEGER, "maximum": 8}}, prompt={**_PROMPT, "maxLength": 2048})
_SCHNELL = {**_SCHNELL, "additionalProperties": False}


def _schnell(request: ModelRequest) -> ModelResult:
    """Return a JPEG of 1024 x 1024 in base64."""
    steps = max(1, _number(request.body, "steps", default=4))
    return _base64(request, Order(request.body["prompt"], 1024, 1024), steps)


def _flux_input(model: Model) -> Schema:
    """Return the fields of the form, where a file is represented by its media type."""
    steps = {} if "klein" in model.id else {"steps": INTEGER}
    fields = {**_sides(256, 1920), "seed": INTEGER, "guidance": NUMBER, **steps, **dict.fromkeys(_REFERENCES, STRING)}
    return obj(fields, prompt=STRING)


def _flux(request: ModelRequest) -> ModelResult:
    """Return a JPEG in base64, with the input pictures shown small at its top."""
    body, sizes = request.body, []
    beside = {name: request.files.get(name) for name in _REFERENCES if name in body}
    for name, raw in beside.items():
        if raw is None:
            raise refuse(5006, why=f"'{name}' must be a file of the form")
        seen = read_image(raw)
        if max(seen.width, seen.height) >= _REFERENCE_SIDE:
            raise refuse(5006, why=f"'{name}' is {seen.width} x {seen.height}, not under 512 x 512")
        sizes.append((seen.width, seen.height))
    steps = _KLEIN_STEPS if "klein" in request.model.id else max(1, _number(body, "steps", default=_DEV_STEPS))
    size = _number(body, "width", default=1024), _number(body, "height", default=768)
    pictures = [raw for raw in beside.values() if raw is not None]
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), beside=pictures)
    return _base64(request, order, steps, sizes)


_LUCID_SIZE = {
    "guidance": {**NUMBER, "minimum": 0, "maximum": 10},
    "seed": {**INTEGER, "minimum": 0},
    **_sides(0, 2500),
}
_LUCID = obj({**_LUCID_SIZE, **each("num_steps steps", {**INTEGER, "minimum": 1, "maximum": 40})}, prompt=_PROMPT)
#: The published table has no bounds; these are the bounds of similar models.
_PHOENIX_SIDES = each("height width", {**NUMBER, "minimum": 0, "maximum": 2048})
_PHOENIX = obj({"negative_prompt": STRING, **each("guidance seed num_steps", NUMBER), **_PHOENIX_SIDES}, prompt=STRING)


def _leonardo(request: ModelRequest) -> ModelResult:
    """Return a JPEG: Lucid's in base64, Phoenix' as bytes without a header for its cost (as observed)."""
    body, lucid = request.body, request.model.family == "lucid"
    side = 1120 if lucid else _LARGE
    steps = max(1, _number(body, "num_steps", "steps", default=_LEONARDO_STEPS[request.model.family]))
    wide, high = (max(1, _number(body, name, default=side)) for name in ("width", "height"))
    order = Order(body["prompt"], wide, high, _number(body, "seed", default=0))
    return _base64(request, order, steps) if lucid else _raw(request, order, steps, "JPEG", metered=False)


def _diffusion_input(model: Model) -> Schema:
    """Return the Stable Diffusion fields: text to image, image to image, and inpainting."""
    strict = not model.id.startswith(("@cf/bytedance/", "@cf/lykon/"))
    number, pixels = (INTEGER, BYTE) if strict else (NUMBER, NUMBER)
    fields = {
        **each("negative_prompt image_b64", STRING),
        **each("height width", {**number, "minimum": 256, "maximum": 2048}),
        **each("image mask", array(pixels)),
        **each("strength guidance", NUMBER),
        "num_steps": {**number, "maximum": 20},
        "seed": number,
    }
    return obj(fields, prompt=_PROMPT if strict else STRING)


def _diffusion(request: ModelRequest) -> ModelResult:
    """Return bare bytes; the input picture stays visible, and unchanged outside of a mask."""
    body = request.body
    start = decode_bytes(body["image"]) if body.get("image") else decode_bytes(body.get("image_b64") or "")
    mask = decode_bytes(body["mask"]) if body.get("mask") and start else b""
    usual = 512 if request.model.id in _SMALL else _LARGE
    seen = read_image(start) if start else None
    wide, high = (min(2048, seen.width), min(2048, seen.height)) if seen else (usual, usual)
    size = _number(body, "width", default=wide), _number(body, "height", default=high)
    strength = 1.0 if body.get("strength") is None else float(body["strength"])
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), start, mask, strength)
    steps = max(1, _number(body, "num_steps", default=20))
    return _raw(request, order, steps, "JPEG" if request.model.id in _JPEG else "PNG")


#: Share of the label before it that every further label of a classification gets.
_FALL = 0.35
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def _picture_texts(*fields: str) -> Callable[[ModelRequest], list[str]]:
    def texts(request: ModelRequest) -> list[str]:
        return [" ".join([request.fingerprint("image"), *(str(request.body.get(name) or "") for name in fields)])]

    return texts


_PICTURE = one_of(BINARY, obj(image=array(BYTE)))


def _resnet(request: ModelRequest) -> ModelResult:
    """Return the labels of the things in the picture, the largest first; of any other picture, its color."""
    seen = read_image(request.media_bytes("image"))
    things = sorted(seen.things, key=lambda one: (one.box[0] - one.box[2]) * (one.box[3] - one.box[1]))
    labels = list(dict.fromkeys(thing.label for thing in things))[:5] or [f"{seen.color} picture"]
    whole = sum(_FALL**place for place in range(len(labels)))
    scored = [{"label": name, "score": round(0.98 * _FALL**at / whole, 6)} for at, name in enumerate(labels)]
    return ModelResult(scored, {"images": 1})


_LLAVA_OPTIONS = {"prompt": STRING, "temperature": NUMBER, "raw": BOOLEAN, "max_tokens": INTEGER}
_LLAVA = one_of(BINARY, obj(_LLAVA_OPTIONS, image=any_of(array(NUMBER), STRING)))


def _llava(request: ModelRequest) -> ModelResult:
    """Return a description, or the answer when the prompt is a question."""
    seen = read_image(request.media_bytes("image"))
    question = str(request.body.get("prompt") or "")
    if picked := _picked(seen, question):
        return ModelResult({"description": picked}, {"images": 1})
    text = seen.answer(question) if question.rstrip().endswith("?") else seen.caption()
    limit = request.body.get("max_tokens")
    most = 512 if limit is None else max(0, int(min(limit, 1 << 20)))
    return ModelResult({"description": standins.truncate(f"{MARK} {text}", most)}, {"images": 1})


def _picked(seen: ImageReading, question: str) -> str:
    """Return the option closest to the picture where the question asks for one of several, else an empty text."""
    offer = re.search(r"(?is)one of (?:these|the following) and nothing else: (.+?)\.?$", question)
    if offer is None:
        return ""
    options = [re.sub(r"\(.*?\)", "", option).strip() for option in offer[1].split(";")]
    there = standins.stems(seen.caption())
    return max(options, key=lambda option: len(there & standins.stems(option)))


_MOONDREAM = obj(
    {
        "task": one("query", "caption", "point", "detect"),
        "caption_length": one("short", "normal", "long"),
        **each("image question target", STRING),
        **each("temperature top_p max_tokens max_objects", NUMBER),
        **each("reasoning stream", BOOLEAN),
    }
)


def _moondream_check(request: ModelRequest, schema: Schema) -> None:
    """Refuse what the schema refuses, and a task other than a question without its picture."""
    require(request.body, schema)
    task = request.body.get("task", "query")
    if task != "query" and "image" not in request.body:
        raise refuse(5006, why=f"required properties at '/' are 'image' for the task '{task}'")


def _moondream(request: ModelRequest) -> ModelResult:
    """Return the result of the task: an answer, a caption, points or boxes (fractions of the sides, 0 to 1)."""
    body = request.body
    task = body.get("task", "query")
    seen = read_image(decode_bytes(body["image"])) if body.get("image") else None
    question = body.get("question") or "What's in this image?"
    most = int(min(body.get("max_objects") or 150, 1 << 20))
    found = seen.find(body.get("target") or "person")[: max(0, most)] if seen else []
    result: dict[str, Any] = {"finish_reason": "stop"}
    text = ""
    if task == "caption" and seen:
        text = result["caption"] = f"{MARK} {seen.caption(body.get('caption_length', 'normal'))}"
    elif task == "point" and seen:
        result["points"] = [_point(seen, thing) for thing in found]
    elif task == "detect" and seen:
        result["objects"] = [_share(seen, thing) for thing in found]
    else:
        looked = f"{MARK} {seen.answer(question) if seen else 'there is no picture to look at'}"
        text = result["answer"] = (_picked(seen, question) if seen else "") or looked
        if body.get("reasoning", True):
            result["reasoning"] = {"text": f"{MARK} thinking: {len(seen.things) if seen else 0} things are in sight."}
    made = standins.count_tokens(text) if text else 4 * len(found) or 1
    spent = standins.count_tokens(question if task == "query" else task)
    spent += image_tokens(seen.width, seen.height) if seen else 0
    usage = {"input_tokens": spent, "output_tokens": made}
    result["metrics"] = {**usage, "prefill_time_ms": 1, "decode_time_ms": 1, "ttft_ms": 1}
    if body.get("stream") and text:
        # pieces under "text" and the rest at the end, as Moondream's own service streams; Workers AI documents none
        closing = {name: value for name, value in result.items() if value != text}
        frames = [*(event({"text": piece}) for piece in split_tokens(text)), event(closing)]
        return ModelResult(None, usage, end_stream(request, frames), request.fault == "truncated-stream")
    return ModelResult(result, usage)


def _share(seen: ImageReading, thing: Thing) -> dict[str, float]:
    sides = (seen.width, seen.height) * 2
    return {name: round(at / side, 4) for name, at, side in zip(_SIDES, thing.box, sides, strict=True)}


def _point(seen: ImageReading, thing: Thing) -> dict[str, float]:
    box = _share(seen, thing)
    return {"x": round((box["x_min"] + box["x_max"]) / 2, 4), "y": round((box["y_min"] + box["y_max"]) / 2, 4)}


_COUNTS = each("input_tokens output_tokens prefill_time_ms decode_time_ms ttft_ms", NUMBER)
_MOONDREAM_OUTPUT = obj(
    {
        **each("answer caption", STRING),
        "points": array(obj(x=NUMBER, y=NUMBER)),
        "objects": array(obj(**dict.fromkeys(_SIDES, NUMBER))),
        "reasoning": obj({"grounding": array(obj())}, text=STRING),
    },
    finish_reason=STRING,
    metrics=obj(**_COUNTS),
)
_MOONDREAM_TEXTS = _picture_texts("task", "question", "target")
_LABELS = array(obj({"score": NUMBER, "label": STRING}))

FAMILIES = {
    "flux-1": Family(_SCHNELL, _BASE64, _prompt_texts, _schnell, threaded=True),
    "flux-2": Family(_flux_input, _BASE64, _prompt_texts, _flux, forms=frozenset({"form"}), threaded=True),
    "lucid": Family(_LUCID, _BASE64, _prompt_texts, _leonardo, threaded=True),
    "phoenix": Family(_PHOENIX, BINARY, _prompt_texts, _leonardo, threaded=True),
    "stable-diffusion": Family(_diffusion_input, BINARY, _prompt_texts, _diffusion, threaded=True),
    "resnet": Family(_PICTURE, _LABELS, _picture_texts(), _resnet, unless_raw, forms=RAW, threaded=True),
    "llava": Family(_LLAVA, obj({"description": STRING}), _picture_texts("prompt"), _llava, unless_raw, forms=RAW),
    "moondream": Family(_MOONDREAM, _MOONDREAM_OUTPUT, _MOONDREAM_TEXTS, _moondream, _moondream_check, threaded=True),
}
