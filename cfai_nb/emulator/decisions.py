"""Decisions: the Clef models, typed questions in, probabilities out.

The probabilities are shares of lexical weight, not calibrated beliefs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from . import along, words
from .catalogue import Model
from .checks import Schema, complaints
from .errors import malformed, refuse
from .lexicon import HAZARDS
from .shapes import ANY, STRING, array, const, obj, one, one_of
from .work import Ask, Family, Work

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
_HAZARDS = frozenset(words.stems(" ".join(HAZARDS.values())))
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
    return obj({**fields, **along.schemas(*carried)}, "model", "state", "questions")


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
    along.weigh(ask)


def flat(value: Any) -> str:
    """Return any JSON value as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def texts(ask: Ask) -> list[str]:
    """Return the state as the one input text; what was sent along stands as a short name of its bytes."""
    said = flat(ask.body["state"])
    return [f"{said}\n[{along.named(ask)}]" if along.carried(ask) else said]


def answer(ask: Ask) -> Work:
    """Return one typed answer per question."""
    witnessed, spent = along.witness(ask)
    spent += words.tokens(json.dumps(ask.body["questions"], ensure_ascii=False))
    room = (ask.model.context or 1 << 30) - spent - (words.tokens(f"\n{witnessed}") if witnessed else 0)
    state = f"{words.clip(flat(ask.body['state']), room)}\n{witnessed}".strip()  # long text is cut to fit
    answers = {name: _ANSWERS[question["type"]](state, question) for name, question in ask.body["questions"].items()}
    count = words.tokens(state) + spent
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
    # mood is the one thing letters say beyond sameness: a question about it is answered from the word lists;
    # whoever asks for hate as a hazard does not ask whether somebody is cross
    about = not words.stems(asked) & _HAZARDS
    mood = words.polarity(f"{asked} {yes}") - (words.polarity(no) if no else 0.0) if about else 0.0
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
