"""Vision: the models that are shown one picture. They see what the drawing hand left in its own pictures.

Of a photograph they say what can be measured and detect nothing: see ``sight``.
"""

from __future__ import annotations

import re
from typing import Any

from . import media, sight, stream, units, words
from .catalogue import Model
from .checks import Schema
from .errors import refuse
from .scene import Thing
from .shapes import BOOLEAN, NUMBER, STRING, any_of, array, obj, one
from .voice import MARK
from .work import Ask, Family, Work

_BYTES = array({"type": "number", "minimum": 0, "maximum": 255})
_RAW = frozenset({"json", "raw"})
#: How far the second and every further label of a classification falls behind the one before it.
_FALL = 0.35
_BOX = ("xmin", "ymin", "xmax", "ymax")


def _texts(*fields: str) -> Any:
    return lambda ask: [" ".join([media.named(ask, "image"), *(str(ask.body.get(name) or "") for name in fields)])]


def resnet_input(model: Model) -> Schema:
    """The bytes of a picture, bare or as numbers."""
    return media.or_raw(obj({"image": _BYTES}, "image"))


def resnet(ask: Ask) -> Work:
    """Return the labels of what is in the picture, the largest thing first; of a foreign one, its colour."""
    seen = sight.look(media.given(ask, "image"))
    things = sorted(seen.things, key=_area, reverse=True)
    labels = list(dict.fromkeys(thing.label for thing in things)) or [f"{seen.colour} picture"]
    shares = [_FALL**place for place in range(len(labels[:5]))]
    scored = [
        {"label": label, "score": round(0.98 * share / sum(shares), 6)}
        for label, share in zip(labels, shares, strict=False)
    ]
    return Work(scored, {"images": 1})


def _area(thing: Thing) -> int:
    left, top, right, foot = thing.box
    return (right - left) * (foot - top)


def detr_input(model: Model) -> Schema:
    """The bytes of a picture, bare or as numbers."""
    return media.or_raw(obj({"image": _BYTES}, "image"))


def detr(ask: Ask) -> Work:
    """Return every thing in the picture with the pixels it covers."""
    seen = sight.look(media.given(ask, "image"))
    found = [
        {"label": thing.label, "score": 0.99, "box": dict(zip(_BOX, thing.box, strict=True))} for thing in seen.things
    ]
    return Work(found, {"images": 1})


def llava_input(model: Model) -> Schema:
    """A picture, bare or as numbers or text, and what to say about it."""
    picture = any_of(array(NUMBER), STRING)
    fields = {"prompt": STRING, "temperature": NUMBER, "raw": BOOLEAN, "max_tokens": {"type": "integer"}}
    return media.or_raw(obj({"image": picture, **fields}, "image"))


def llava(ask: Ask) -> Work:
    """Return a description, or the answer when the prompt is a question."""
    seen = sight.look(media.given(ask, "image"))
    asked = str(ask.body.get("prompt") or "")
    if picked := _picked(seen, asked):
        return Work({"description": picked}, {"images": 1})
    said = seen.answer(asked) if asked.rstrip().endswith("?") else seen.caption()
    limit = ask.body.get("max_tokens")
    return Work({"description": _within(f"{MARK} {said}", 512 if limit is None else limit)}, {"images": 1})


def _picked(seen: sight.Sight, asked: str) -> str:
    """Return the option most like what is in sight, where the question offers some and wants nothing else said."""
    offer = re.search(r"one of (?:these|the following) and nothing else: (.+?)\.?$", asked, re.IGNORECASE | re.DOTALL)
    if offer is None:
        return ""
    options = [re.sub(r"\(.*?\)", "", option).strip() for option in offer[1].split(";")]
    there = words.stems(seen.caption())
    return max(options, key=lambda option: len(there & words.stems(option)))


def _within(said: str, limit: float) -> str:
    return words.clip(said, max(0, int(min(limit, 1 << 20))))


def moondream_input(model: Model) -> Schema:
    """One of four skills and its options; only a question can do without a picture."""
    numbers = dict.fromkeys(("temperature", "top_p", "max_tokens", "max_objects"), NUMBER)
    skills = {"task": one("query", "caption", "point", "detect"), "caption_length": one("short", "normal", "long")}
    flags = {"reasoning": BOOLEAN, "stream": BOOLEAN}
    return obj({**skills, **dict.fromkeys(("image", "question", "target"), STRING), **numbers, **flags})


def moondream_check(ask: Ask) -> None:
    """Refuse what the schema refuses, and a skill other than a question without its picture."""
    media.check(ask)
    task = ask.body.get("task", "query")
    if task != "query" and "image" not in ask.body:
        raise refuse(5006, why=f"required properties at '/' are 'image' for the task '{task}'")


def moondream(ask: Ask) -> Work:
    """Return what the skill gives: an answer, a caption, points or boxes (shares of the sides, 0 to 1)."""
    body = ask.body
    task = body.get("task", "query")
    seen = sight.look(media.octets(body["image"])) if body.get("image") else None
    asked = body.get("question") or "What's in this image?"
    most = int(min(body.get("max_objects") or 150, 1 << 20))
    found = seen.find(body.get("target") or "person")[: max(0, most)] if seen else []
    result: dict[str, Any] = {"finish_reason": "stop"}
    said = ""
    if task == "caption" and seen:
        said = result["caption"] = f"{MARK} {seen.caption(body.get('caption_length', 'normal'))}"
    elif task == "point" and seen:
        result["points"] = [_point(seen, thing) for thing in found]
    elif task == "detect" and seen:
        result["objects"] = [_share(seen, thing) for thing in found]
    else:
        looked = f"{MARK} {seen.answer(asked) if seen else 'there is no picture to look at'}"
        said = result["answer"] = (_picked(seen, asked) if seen else "") or looked
        if body.get("reasoning", True):
            result["reasoning"] = {"text": f"{MARK} thinking: {len(seen.things) if seen else 0} things are in sight."}
    made = words.tokens(said) if said else 4 * len(found) or 1
    spent = words.tokens(asked if task == "query" else task) + (units.looked(seen.width, seen.height) if seen else 0)
    usage = {"input_tokens": spent, "output_tokens": made}
    result["metrics"] = {**usage, "prefill_time_ms": 1, "decode_time_ms": 1, "ttft_ms": 1}
    if body.get("stream") and said:
        return Work(None, usage, _frames(ask, said, result), ask.fault == "truncated-stream")
    return Work(result, usage)


def _frames(ask: Ask, said: str, result: dict[str, Any]) -> list[bytes]:
    """Return a caption or an answer in pieces under ``text``, as Moondream's own service streams; the rest at the end.

    Which frames Workers AI sends is not documented.
    """
    closing = {name: value for name, value in result.items() if value != said}
    frames = [stream.event({"text": piece}) for piece in stream.pieces(said)]
    return stream.closed(ask, [*frames, stream.event(closing)])


def _share(seen: sight.Sight, thing: Thing) -> dict[str, float]:
    places = zip(("x_min", "y_min", "x_max", "y_max"), thing.box, (seen.width, seen.height) * 2, strict=True)
    return {name: round(at / side, 4) for name, at, side in places}


def _point(seen: sight.Sight, thing: Thing) -> dict[str, float]:
    box = _share(seen, thing)
    return {"x": round((box["x_min"] + box["x_max"]) / 2, 4), "y": round((box["y_min"] + box["y_max"]) / 2, 4)}


def _moondream_output(model: Model) -> Schema:
    counts = ("input_tokens", "output_tokens", "prefill_time_ms", "decode_time_ms", "ttft_ms")
    sides = ("x_min", "y_min", "x_max", "y_max")
    fields = {
        "finish_reason": STRING,
        "metrics": obj(dict.fromkeys(counts, NUMBER), *counts),
        "answer": STRING,
        "caption": STRING,
        "points": array(obj({"x": NUMBER, "y": NUMBER}, "x", "y")),
        "objects": array(obj(dict.fromkeys(sides, NUMBER), *sides)),
        "reasoning": obj({"text": STRING, "grounding": array(obj({}))}, "text"),
    }
    return obj(fields, "finish_reason", "metrics")


_LABELS = array(obj({"score": NUMBER, "label": STRING}))
_BOXES = array(obj({"score": NUMBER, "label": STRING, "box": obj(dict.fromkeys(_BOX, NUMBER))}))

FAMILIES = {
    "resnet": Family(resnet_input, lambda model: _LABELS, _texts(), resnet, media.check, forms=_RAW, threaded=True),
    "detr": Family(detr_input, lambda model: _BOXES, _texts(), detr, media.check, forms=_RAW, threaded=True),
    "llava": Family(
        llava_input, lambda model: obj({"description": STRING}), _texts("prompt"), llava, media.check, forms=_RAW
    ),
    "moondream": Family(
        moondream_input,
        _moondream_output,
        _texts("task", "question", "target"),
        moondream,
        moondream_check,
        threaded=True,
    ),
}
