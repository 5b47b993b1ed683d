"""Decisions: the Clef models, typed questions in, probabilities out.

The probabilities are shares of lexical weight, not calibrated beliefs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from . import media, sight, sound, units, words
from .catalogue import Model
from .checks import Schema, complaints
from .errors import malformed, refuse
from .shapes import ANY, STRING, any_of, array, const, obj, one, one_of
from .work import Ask, Family, Work

_MEGABYTE = 1 << 20
#: Media field -> (how many, prefix of a data URL, bytes each).
_MEDIA = {
    "images": (4, "image", 4 * _MEGABYTE),
    "audio": (4, "audio", 8 * _MEGABYTE),
    "videos": (2, "video", 16 * _MEGABYTE),
}
#: Bytes of several fields together.
_TOGETHER = {("images",): 8 * _MEGABYTE, ("audio", "videos"): 16 * _MEGABYTE}
_MOST_PIXELS, _MOST_SECONDS = 16_000_000, 300
#: Input tokens of a recording or a video; an estimate, none are published.
_MEDIA_TOKENS = 1024

_KINDS = {
    "noul": obj(
        {"type": const("noul"), "instructions": ANY, "criteria": obj({"true": ANY, "false": ANY})},
        "type",
        "instructions",
    ),
    "choice": obj(
        {
            "type": const("choice"),
            "instructions": ANY,
            "criteria": {"type": "object", "minProperties": 2, "maxProperties": 255, "additionalProperties": ANY},
        },
        "type",
        "instructions",
        "criteria",
    ),
    "score": obj(
        {"type": const("score"), "instructions": ANY, "criteria": array(ANY, minItems=2, maxItems=10)},
        "type",
        "instructions",
        "criteria",
    ),
}
_NAMES = {"pattern": r"^[A-Za-z0-9_.\-]{1,100}$"}


def inputs(model: Model) -> Schema:
    """Return the published input: model, state, questions, and the media this model takes."""
    carried = ("images", "audio", "videos") if model.has("audio_input") else ("images",)
    questions = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 64,
        "propertyNames": _NAMES,
        "additionalProperties": one_of(*_KINDS.values()),
    }
    fields: dict[str, Any] = {"model": one(model.short), "state": ANY, "questions": questions}
    return obj({**fields, **{name: _media(name) for name in carried}}, "model", "state", "questions")


def _media(name: str) -> Schema:
    most, prefix, _ = _MEDIA[name]
    url = {"type": "string", "pattern": f"^data:{prefix}/"}
    return array(any_of(url, obj({"content_type": STRING, "base64": STRING}, "content_type", "base64")), maxItems=most)


def output(model: Model) -> Schema:
    """Return the published answer shape."""
    count = {"type": "integer"}
    answers = {"type": "object", "additionalProperties": {"type": "object"}}
    return obj({"model": STRING, "answers": answers, "usage": obj({"input_tokens": count, "output_tokens": count})})


def check(ask: Ask) -> None:
    """Refuse a wrong frame with 5006 and a malformed question with 422, each as the service words it."""
    schema = dict(inputs(ask.model))
    questions = schema["properties"]["questions"]
    frame = {**schema, "properties": {**schema["properties"], "questions": {"type": "object"}}}
    wrong = complaints(ask.body, frame)
    if wrong:
        raise refuse(5006, why=", ".join(wrong))
    details: list[tuple[tuple[str, ...], str]] = [
        (("questions",), text)
        for text in complaints(ask.body["questions"], {**questions, "additionalProperties": ANY}, path="/questions")
    ]
    for name, question in ask.body["questions"].items():
        kind = question.get("type") if isinstance(question, Mapping) else None
        rule = _KINDS.get(kind) if isinstance(kind, str) else None
        reasons = (
            complaints(question, rule, path=f"/questions/{name}") if rule else ["type must be noul, choice or score"]
        )
        details += [(("questions", name), text) for text in reasons]
    if details:
        raise malformed(details)
    _weigh_media(ask)


def _carried(ask: Ask, name: str) -> list[bytes]:
    """Return the pictures or recordings of a field."""
    return [media.octets(item if isinstance(item, str) else item["base64"]) for item in ask.body.get(name, [])]


def _weigh_media(ask: Ask) -> None:
    """Refuse (5021) what is too large by itself or together."""
    sizes = {name: [len(raw) for raw in _carried(ask, name)] for name in _MEDIA}
    for name, (_, _, most) in _MEDIA.items():
        for size in sizes[name]:
            if size > most:
                raise refuse(5021, wanted=size // 64, context=ask.model.context)
    for names, most in _TOGETHER.items():
        whole = sum(sum(sizes[name]) for name in names)
        if whole > most:
            raise refuse(5021, wanted=whole // 64, context=ask.model.context)


def _witnessed(ask: Ask) -> tuple[str, int]:
    """Return what the pictures show and the recordings say, in words, and their input tokens. Nobody watches videos."""
    said, count = [], len(ask.body.get("videos", [])) * _MEDIA_TOKENS
    for raw in _carried(ask, "images"):
        seen = sight.look(raw)
        if seen.width * seen.height > _MOST_PIXELS:
            raise refuse(5021, wanted=seen.width * seen.height // 1024, context=ask.model.context)
        said.append(seen.caption())
        count += units.looked(seen.width, seen.height)
    for raw in _carried(ask, "audio"):
        heard = sound.listen(raw)
        if heard.seconds > _MOST_SECONDS:
            raise refuse(5021, wanted=round(heard.seconds * 25), context=ask.model.context)
        said.append(heard.text)
        count += _MEDIA_TOKENS
    return "\n".join(said), count


def flat(value: Any) -> str:
    """Return any JSON value as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def texts(ask: Ask) -> list[str]:
    """Return the state as the one input text; what was sent along stands as a short name of its bytes."""
    said = flat(ask.body["state"])
    return [f"{said}\n[{media.named(ask, *_MEDIA)}]" if any(ask.body.get(name) for name in _MEDIA) else said]


def answer(ask: Ask) -> Work:
    """Return one typed answer per question."""
    witnessed, spent = _witnessed(ask)
    state = words.clip(f"{flat(ask.body['state'])}\n{witnessed}".strip(), ask.model.context or 1 << 30)
    answers = {name: _ANSWERS[question["type"]](state, question) for name, question in ask.body["questions"].items()}
    count = words.tokens(state) + words.tokens(json.dumps(ask.body["questions"], ensure_ascii=False))
    count += spent
    usage = {"input_tokens": count, "output_tokens": 0}
    return Work({"model": ask.model.short, "answers": answers, "usage": usage}, {"input_tokens": count})


def _confidence(shares: list[float]) -> float:
    """Return 1 when one option holds everything, 0 when all are equal."""
    even = 1 / len(shares)
    return round(max(0.0, (max(shares) - even) / (1 - even)), 4)


def _choice(state: str, question: Mapping[str, Any]) -> dict[str, Any]:
    options = [(name, flat(text)) for name, text in question["criteria"].items()]
    shares = words.shares(words.weigh(state, options))
    names = [name for name, _ in options]
    best = names[max(range(len(names)), key=shares.__getitem__)]
    probabilities = dict(zip(names, shares, strict=True))
    return {"type": "choice", "choice": best, "probabilities": probabilities, "confidence": _confidence(shares)}


def _noul(state: str, question: Mapping[str, Any]) -> dict[str, Any]:
    criteria = question.get("criteria") or {}
    yes, no = flat(criteria.get("true")), flat(criteria.get("false"))
    asked = flat(question["instructions"])
    weights = words.weigh(state, [(f"{asked} {yes}", ""), (no, "")])
    # mood is the one thing letters say beyond sameness: a question about it is answered from the word lists
    mood = words.polarity(f"{asked} {yes}") - (words.polarity(no) if no else 0.0)
    push = weights[0] - weights[1] - 0.6 + 2.5 * mood * words.polarity(state)
    return {"type": "noul", "noul": round(1 / (1 + math.exp(-1.5 * push)), 4)}


def _score(state: str, question: Mapping[str, Any]) -> dict[str, Any]:
    levels = [flat(level) for level in question["criteria"]]
    weights = words.weigh(state, [(level, "") for level in levels])
    moods = [words.polarity(level) for level in levels]
    if max(moods) - min(moods) > 0:
        here = words.polarity(state)
        weights = [weight - 1.5 * abs(mood - here) for weight, mood in zip(weights, moods, strict=True)]
    shares = words.shares(weights)
    return {
        "type": "score",
        "score": round(sum(place * share for place, share in enumerate(shares)), 4),
        "legend": {str(place): level for place, level in enumerate(question["criteria"])},
        "probabilities": {str(place): share for place, share in enumerate(shares)},
        "confidence": _confidence(shares),
    }


_ANSWERS = {"choice": _choice, "noul": _noul, "score": _score}

FAMILIES = {"system-one": Family(inputs, output, texts, answer, check)}
