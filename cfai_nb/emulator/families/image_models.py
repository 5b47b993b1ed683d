"""Image models: text to image, and the models that take one picture (labels, boxes, captions, questions).

Every text-to-image family has its own request and answer; all draw with ``standins.image_drawing``. The models that
look at a picture find what the emulator itself drew into it; of any other picture they say what can be measured
(``standins.image_reading``). Sizes and steps without a published default are marked; ``model_catalogue`` has the
costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..error_codes import refuse
from ..json_schema import BINARY, BOOLEAN, BYTE, INTEGER, NUMBER, STRING, Schema, any_of, array, each, obj, one
from ..model_catalogue import Model, Size, image_tokens, image_usage
from ..standins import lexical
from ..standins.image_drawing import MEDIA, Order, draw
from ..standins.image_reading import ImageReading, Thing, read_image
from ..standins.text_standin import MARK, split_tokens
from .family import (
    Family,
    ModelRequest,
    ModelResult,
    base64_text,
    decode_bytes,
    end_stream,
    event,
    or_raw_bytes,
    unless_raw,
)

_PROMPT: Schema = {"type": "string", "minLength": 1}
_BASE64 = obj({"image": STRING})

#: FLUX.2: its reference pictures, the side that each has to stay under, and the steps of the klein models.
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


def _sides(least: int, most: int) -> dict[str, Schema]:
    return each("width height", {**INTEGER, "minimum": least, "maximum": most})


def _prompt_texts(request: ModelRequest) -> list[str]:
    """Return the prompt, with a short name of the input pictures."""
    pictures = request.fingerprint("image", "image_b64", "mask")
    has_pictures = request.files or any(request.body.get(name) for name in ("image", "image_b64", "mask"))
    return [request.body["prompt"] + (f" [{pictures}]" if has_pictures else "")]


def _number(body: Mapping[str, Any], *names: str, default: int) -> int:
    for name in names:
        if body.get(name) is not None:
            return int(body[name])
    return default


def _base64(request: ModelRequest, order: Order, steps: int, given: list[Size], form: str) -> ModelResult:
    usage = image_usage(request.model, order.width, order.height, steps, given)
    return ModelResult({"image": base64_text(draw(order, form))}, usage)


def _raw(request: ModelRequest, order: Order, steps: int, form: str, *, metered: bool = True) -> ModelResult:
    usage = image_usage(request.model, order.width, order.height, steps)
    return ModelResult(None, usage, content=draw(order, form), media=MEDIA[form], metered=metered)


_SCHNELL = {
    **obj({"steps": {**INTEGER, "maximum": 8}}, prompt={**_PROMPT, "maxLength": 2048}),
    "additionalProperties": False,
}


def _schnell(request: ModelRequest) -> ModelResult:
    """Return a JPEG of 1024 x 1024 in base64."""
    steps = max(1, _number(request.body, "steps", default=4))
    return _base64(request, Order(request.body["prompt"], 1024, 1024), steps, [], "JPEG")


def _flux_input(model: Model) -> Schema:
    """Return the fields of the form, where a file is represented by its media type."""
    steps = {} if "klein" in model.id else {"steps": INTEGER}
    fields = {**_sides(256, 1920), "seed": INTEGER, "guidance": NUMBER, **steps, **dict.fromkeys(REFERENCES, STRING)}
    return obj(fields, prompt=STRING)


def _flux(request: ModelRequest) -> ModelResult:
    """Return a JPEG in base64, with the input pictures shown small at its top."""
    body, beside, given = request.body, [], []
    for name in REFERENCES:
        if name not in body:
            continue
        if name not in request.files:
            raise refuse(5006, why=f"'{name}' must be a file of the form")
        seen = read_image(request.files[name])
        if max(seen.width, seen.height) >= _REFERENCE_SIDE:
            raise refuse(5006, why=f"'{name}' is {seen.width} x {seen.height}, not under 512 x 512")
        beside.append(request.files[name])
        given.append((seen.width, seen.height))
    steps = _KLEIN_STEPS if "klein" in request.model.id else max(1, _number(body, "steps", default=_DEV_STEPS))
    size = _number(body, "width", default=1024), _number(body, "height", default=768)
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), beside=beside)
    return _base64(request, order, steps, given, "JPEG")


_LUCID = obj(
    {
        "guidance": {**NUMBER, "minimum": 0, "maximum": 10},
        "seed": {**INTEGER, "minimum": 0},
        **_sides(0, 2500),
        **each("num_steps steps", {**INTEGER, "minimum": 1, "maximum": 40}),
    },
    prompt=_PROMPT,
)
#: The published table has no bounds, so the sides have those of its siblings.
_PHOENIX = obj(
    {
        "negative_prompt": STRING,
        **each("guidance seed num_steps", NUMBER),
        **each("height width", {**NUMBER, "minimum": 0, "maximum": 2048}),
    },
    prompt=STRING,
)


def _leonardo(request: ModelRequest, side: int) -> tuple[Order, int]:
    body = request.body
    steps = max(1, _number(body, "num_steps", "steps", default=_LEONARDO_STEPS[request.model.family]))
    size = [max(1, _number(body, name, default=side)) for name in ("width", "height")]
    return Order(body["prompt"], size[0], size[1], _number(body, "seed", default=0)), steps


def _lucid(request: ModelRequest) -> ModelResult:
    return _base64(request, *_leonardo(request, 1120), [], "JPEG")


def _phoenix(request: ModelRequest) -> ModelResult:
    """Return a bare JPEG without a header for its cost (as was seen)."""
    return _raw(request, *_leonardo(request, _LARGE), "JPEG", metered=False)


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
    usual = _SMALL.get(request.model.id, _LARGE)
    seen = read_image(start) if start else None
    wide, high = (min(2048, seen.width), min(2048, seen.height)) if seen else (usual, usual)
    size = _number(body, "width", default=wide), _number(body, "height", default=high)
    strength = 1.0 if body.get("strength") is None else float(body["strength"])
    order = Order(body["prompt"], *size, _number(body, "seed", default=0), start, mask, strength)
    steps = max(1, _number(body, "num_steps", default=20))
    return _raw(request, order, steps, "JPEG" if request.model.id in _JPEG else "PNG")


_RAW = frozenset({"json", "raw"})
#: Share of the label before it that every further label of a classification gets.
_FALL = 0.35
_BOX = ("xmin", "ymin", "xmax", "ymax")
_SIDES = ("x_min", "y_min", "x_max", "y_max")


def _picture_texts(*fields: str) -> Any:
    return lambda request: [
        " ".join([request.fingerprint("image"), *(str(request.body.get(name) or "") for name in fields)])
    ]


_PICTURE = or_raw_bytes(obj(image=array(BYTE)))


def _resnet(request: ModelRequest) -> ModelResult:
    """Return the labels of what is in the picture, the largest first; of any other picture, its color."""
    seen = read_image(request.media_bytes("image"))
    things = sorted(seen.things, key=_area, reverse=True)
    labels = list(dict.fromkeys(thing.label for thing in things)) or [f"{seen.color} picture"]
    shares = [_FALL**place for place in range(len(labels[:5]))]
    scored = [
        {"label": label, "score": round(0.98 * share / sum(shares), 6)}
        for label, share in zip(labels, shares, strict=False)
    ]
    return ModelResult(scored, {"images": 1})


def _area(thing: Thing) -> int:
    left, top, right, foot = thing.box
    return (right - left) * (foot - top)


def _detr(request: ModelRequest) -> ModelResult:
    """Return every thing in the picture with the pixels it covers."""
    seen = read_image(request.media_bytes("image"))
    found = [
        {"label": thing.label, "score": 0.99, "box": dict(zip(_BOX, thing.box, strict=True))} for thing in seen.things
    ]
    return ModelResult(found, {"images": 1})


_LLAVA_OPTIONS = {"prompt": STRING, "temperature": NUMBER, "raw": BOOLEAN, "max_tokens": INTEGER}
_LLAVA = or_raw_bytes(obj(_LLAVA_OPTIONS, image=any_of(array(NUMBER), STRING)))


def _llava(request: ModelRequest) -> ModelResult:
    """Return a description, or the answer when the prompt is a question."""
    seen = read_image(request.media_bytes("image"))
    question = str(request.body.get("prompt") or "")
    if picked := _picked(seen, question):
        return ModelResult({"description": picked}, {"images": 1})
    text = seen.answer(question) if question.rstrip().endswith("?") else seen.caption()
    limit = request.body.get("max_tokens")
    return ModelResult({"description": _within(f"{MARK} {text}", 512 if limit is None else limit)}, {"images": 1})


def _picked(seen: ImageReading, question: str) -> str:
    """Return the option closest to the picture where the question asks for one of several, else an empty text."""
    offer = re.search(
        r"one of (?:these|the following) and nothing else: (.+?)\.?$", question, re.IGNORECASE | re.DOTALL
    )
    if offer is None:
        return ""
    options = [re.sub(r"\(.*?\)", "", option).strip() for option in offer[1].split(";")]
    there = lexical.stems(seen.caption())
    return max(options, key=lambda option: len(there & lexical.stems(option)))


def _within(text: str, limit: float) -> str:
    return lexical.truncate(text, max(0, int(min(limit, 1 << 20))))


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
    unless_raw(request, schema)
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
    made = lexical.count_tokens(text) if text else 4 * len(found) or 1
    spent = lexical.count_tokens(question if task == "query" else task) + (
        image_tokens(seen.width, seen.height) if seen else 0
    )
    usage = {"input_tokens": spent, "output_tokens": made}
    result["metrics"] = {**usage, "prefill_time_ms": 1, "decode_time_ms": 1, "ttft_ms": 1}
    if body.get("stream") and text:
        return ModelResult(None, usage, _caption_frames(request, text, result), request.fault == "truncated-stream")
    return ModelResult(result, usage)


def _caption_frames(request: ModelRequest, text: str, result: dict[str, Any]) -> list[bytes]:
    """Return a caption or an answer in pieces under ``text``, as Moondream's own service streams; the rest at the end.

    Which frames Workers AI sends is not documented.
    """
    closing = {name: value for name, value in result.items() if value != text}
    frames = [event({"text": piece}) for piece in split_tokens(text)]
    return end_stream(request, [*frames, event(closing)])


def _share(seen: ImageReading, thing: Thing) -> dict[str, float]:
    places = zip(_SIDES, thing.box, (seen.width, seen.height) * 2, strict=True)
    return {name: round(at / side, 4) for name, at, side in places}


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
_LABELS = array(obj({"score": NUMBER, "label": STRING}))
_BOXES = array(obj({"score": NUMBER, "label": STRING, "box": obj(dict.fromkeys(_BOX, NUMBER))}))

FAMILIES = {
    "flux-1": Family(_SCHNELL, _BASE64, _prompt_texts, _schnell, threaded=True),
    "flux-2": Family(_flux_input, _BASE64, _prompt_texts, _flux, forms=frozenset({"form"}), threaded=True),
    "lucid": Family(_LUCID, _BASE64, _prompt_texts, _lucid, threaded=True),
    "phoenix": Family(_PHOENIX, BINARY, _prompt_texts, _phoenix, threaded=True),
    "stable-diffusion": Family(_diffusion_input, BINARY, _prompt_texts, _diffusion, threaded=True),
    "resnet": Family(_PICTURE, _LABELS, _picture_texts(), _resnet, unless_raw, forms=_RAW, threaded=True),
    "detr": Family(_PICTURE, _BOXES, _picture_texts(), _detr, unless_raw, forms=_RAW, threaded=True),
    "llava": Family(_LLAVA, obj({"description": STRING}), _picture_texts("prompt"), _llava, unless_raw, forms=_RAW),
    "moondream": Family(
        _MOONDREAM,
        _MOONDREAM_OUTPUT,
        _picture_texts("task", "question", "target"),
        _moondream,
        _moondream_check,
        threaded=True,
    ),
}
