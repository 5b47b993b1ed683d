"""Clef, the decision models: typed questions in, probabilities out.

The probabilities are shares of lexical similarity, not calibrated; a local model's are (``standins.local_model``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ..error_codes import malformed
from ..model_catalogue import Model
from ..schemas.json_schema import (
    ANY,
    INTEGER,
    OBJECT,
    STRING,
    Schema,
    array,
    complaints,
    const,
    each,
    obj,
    one,
    one_of,
    require,
)
from ..standins import lexical
from ..standins.local_model import LocalModel
from . import state_media
from .family import Family, ModelRequest, ModelResult

_OPTIONS = {"type": "object", "minProperties": 2, "maxProperties": 255, "additionalProperties": ANY}
_KINDS = {
    "noul": obj({"criteria": obj({"true": ANY, "false": ANY})}, type=const("noul"), instructions=ANY),
    "choice": obj(type=const("choice"), instructions=ANY, criteria=_OPTIONS),
    "score": obj(type=const("score"), instructions=ANY, criteria=array(ANY, minItems=2, maxItems=10)),
}
_HAZARDS = frozenset(lexical.stems(" ".join(lexical.HAZARDS.values())))
#: A question about harm as such, or for a reason that it names.
_ABOUT_HARM = re.compile(r"Is the text (?:harmful\b|unsafe because of (?P<why>.+)\?)", re.IGNORECASE)
_NAMES = {"pattern": r"^[A-Za-z0-9_.\-]{1,100}$"}


def _input(model: Model) -> Schema:
    """Return the published input: model, state, questions, and the media that the model accepts."""
    media = ("images", "audio", "videos") if model.has("audio_input") else ("images",)
    questions = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 64,
        "propertyNames": _NAMES,
        "additionalProperties": one_of(*_KINDS.values()),
    }
    return obj(state_media.schemas(*media), model=one(model.short), state=ANY, questions=questions)


_COUNTS = obj(each("input_tokens output_tokens", INTEGER))
_OUTPUT = obj({"model": STRING, "answers": {"type": "object", "additionalProperties": OBJECT}, "usage": _COUNTS})


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse a bad body with 5006 and a malformed question with 422, each in the service's words."""
    questions = schema["properties"]["questions"]
    require(request.body, {**schema, "properties": {**schema["properties"], "questions": OBJECT}})
    details: list[tuple[tuple[str, ...], str]] = [
        (("questions",), text)
        for text in complaints(request.body["questions"], {**questions, "additionalProperties": ANY}, path="/questions")
    ]
    for name, question in request.body["questions"].items():
        kind = question.get("type") if isinstance(question, Mapping) else None
        rule = _KINDS.get(kind) if isinstance(kind, str) else None
        reasons = (
            complaints(question, rule, path=f"/questions/{name}") if rule else ["type must be noul, choice or score"]
        )
        details += [(("questions", name), text) for text in reasons]
    if details:
        raise malformed(details)
    state_media.check_sizes(request)


def _text_of(value: Any) -> str:
    """Return any JSON value as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _answer(request: ModelRequest) -> ModelResult:
    """Return one typed answer per question."""
    described, spent = state_media.describe(request)
    spent += lexical.count_tokens(json.dumps(request.body["questions"], ensure_ascii=False))
    room = (request.model.context or 1 << 30) - spent - (lexical.count_tokens(f"\n{described}") if described else 0)
    state = (
        f"{lexical.truncate(_text_of(request.body['state']), room)}\n{described}".strip()
    )  # long text is cut to the context
    answers = {
        name: _ANSWERS[question["type"]](state, question, request.local)
        for name, question in request.body["questions"].items()
    }
    count = lexical.count_tokens(state) + spent
    usage = {"input_tokens": count, "output_tokens": 0}
    return ModelResult({"model": request.model.short, "answers": answers, "usage": usage}, {"input_tokens": count})


def _confidence(shares: list[float]) -> float:
    """Return 1 when one option has everything, 0 when all are equal."""
    even = 1 / len(shares)
    return round(max(0.0, (max(shares) - even) / (1 - even)), 4)


def _choice(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    options = [(name, _text_of(text)) for name, text in question["criteria"].items()]
    shares = local.shares(state, options) if local else lexical.softmax(lexical.similarity(state, options))
    names = [name for name, _ in options]
    best = names[max(range(len(names)), key=shares.__getitem__)]
    probabilities = dict(zip(names, shares, strict=True))
    return {"type": "choice", "choice": best, "probabilities": probabilities, "confidence": _confidence(shares)}


def _noul(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    criteria = question.get("criteria") or {}
    yes, no = _text_of(criteria.get("true")), _text_of(criteria.get("false"))
    question_text = _text_of(question["instructions"])
    if local:
        harm = _ABOUT_HARM.match(question_text)
        push = local.hazard(state, yes or harm["why"] or "") if harm else local.yes(state, question_text, yes, no)
        return {"type": "noul", "noul": push}
    weights = lexical.similarity(state, [(f"{question_text} {yes}", ""), (no, "")])
    # polarity is the one thing the word lists know beyond similarity, so a question about it is answered from them;
    # a question about hate as a hazard is not one about mood
    about = not lexical.stems(question_text) & _HAZARDS
    mood = lexical.polarity(f"{question_text} {yes}") - (lexical.polarity(no) if no else 0.0) if about else 0.0
    push = weights[0] - weights[1] - 0.6 + 2.5 * mood * lexical.polarity(state)
    return {"type": "noul", "noul": round(1 / (1 + math.exp(-1.5 * push)), 4)}


def _level_shares(state: str, levels: list[str]) -> list[float]:
    weights = lexical.similarity(state, [(level, "") for level in levels])
    moods = [lexical.polarity(level) for level in levels]
    if max(moods) - min(moods) > 0:
        here = lexical.polarity(state)
        weights = [weight - 1.5 * abs(mood - here) for weight, mood in zip(weights, moods, strict=True)]
    return lexical.softmax(weights)


def _score(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    levels = [_text_of(level) for level in question["criteria"]]
    shares = local.levels(state, levels) if local else _level_shares(state, levels)
    return {
        "type": "score",
        "score": round(sum(place * share for place, share in enumerate(shares)), 4),
        "legend": {str(place): level for place, level in enumerate(question["criteria"])},
        "probabilities": {str(place): share for place, share in enumerate(shares)},
        "confidence": _confidence(shares),
    }


_ANSWERS = {"choice": _choice, "noul": _noul, "score": _score}

FAMILIES = {
    "system-one": Family(
        _input,
        _OUTPUT,
        lambda request: state_media.input_texts(request, _text_of(request.body["state"])),
        _answer,
        _check,
    )
}
