"""Extraction: Clairic. Patterns find what has a pattern; other text is the sentence that shares most words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import words
from .catalogue import Model
from .checks import Schema
from .shapes import ANY, BOOLEAN, STRING, array, obj, one
from .work import Ask, Family, Work

_TYPES = ("text", "number", "date", "time", "datetime", "duration", "list", "estimate", "forecast")
_PATTERNS = {
    "number": re.compile(r"(?<![\w.-])-?\d+(?:[.,]\d+)?(?![\w-])"),
    "date": re.compile(r"\b\d{4}-\d{2}-\d{2}\b"),
    "time": re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b"),
    "datetime": re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?\b"),
    "duration": re.compile(r"\b\d+ (?:second|minute|hour|day|week|month|year)s?\b", re.I),
}


def inputs(model: Model) -> Schema:
    """Return what is known of the input: model, state, fields and their options."""
    number = {"type": "number"}
    spec = obj(
        {
            "type": one(*_TYPES),
            "instructions": ANY,
            "unit": STRING,
            "integer": BOOLEAN,
            "decimals": {"type": "integer", "minimum": 0, "maximum": 6},
            "items": one("text", "number", "date"),
            **dict.fromkeys(("min", "max", "step", "null_threshold"), number),
            "scale": one("linear", "log"),
            "horizon": {"type": "integer", "minimum": 1, "maximum": 64},
            "interval": ANY,
        },
        "type",
    )
    names = {"pattern": r"^[A-Za-z_][A-Za-z0-9_.\-]{0,63}$"}
    fields = {"type": "object", "minProperties": 1, "propertyNames": names, "additionalProperties": spec}
    options = obj({"include_quantiles": BOOLEAN, "return_state_text": BOOLEAN})
    return obj(
        {
            "model": one(model.short),
            "state": STRING,
            "fields": fields,
            "images": array(ANY, maxItems=4),
            "reference_date": STRING,
            "options": options,
        },
        "model",
        "state",
        "fields",
    )


def output(model: Model) -> Schema:
    """Return the answer shape."""
    return obj({"model": STRING, "answers": {"type": "object"}, "truncated": BOOLEAN, "usage": {"type": "object"}})


def texts(ask: Ask) -> list[str]:
    """Return the state."""
    return [ask.body["state"]]


def answer(ask: Ask) -> Work:
    """Return a value for every field, or null where no pattern and no word is found."""
    state = ask.body["state"]
    answers = {name: _found(name, spec, state) for name, spec in ask.body["fields"].items()}
    read, asked = words.tokens(state), sum(words.tokens(f"{name} {spec}") for name, spec in ask.body["fields"].items())
    limit = ask.model.row.get("context") or read
    usage = {"input_tokens": min(read, limit) + asked, "output_tokens": 0, "state_tokens": read, "schema_tokens": asked}
    result = {"model": ask.model.short, "answers": answers, "truncated": read > limit, "usage": usage}
    return Work(result, {"input_tokens": usage["input_tokens"]})


def _found(name: str, spec: Mapping[str, Any], state: str) -> dict[str, Any]:
    kind = spec["type"]
    if kind == "list":
        pattern = _PATTERNS.get(spec.get("items", "text"), re.compile(r"\b[A-Z]\w+\b"))
        found = list(pattern.finditer(state))
        values = [_value(match[0], spec.get("items", "text"), spec) for match in found]
        return _entry(kind, values or None, [_span(match) for match in found], "spans")
    kind_of = "number" if kind in ("estimate", "forecast") else kind
    match = _PATTERNS[kind_of].search(state) if kind_of in _PATTERNS else _sentence(name, spec, state)
    value = None if match is None else _value(match[0], kind_of, spec)
    return _entry(kind, value, None if match is None else _span(match), "span")


def _sentence(name: str, spec: Mapping[str, Any], state: str) -> re.Match[str] | None:
    parts = words.sentences(state)
    if not parts:
        return None
    best = parts[words.closest(f"{name} {spec.get('instructions') or ''}", parts)]
    return re.search(re.escape(best), state)


def _value(text: str, kind: str, spec: Mapping[str, Any]) -> Any:
    if kind != "number":
        return text
    number = float(text.replace(",", "."))
    return round(number) if spec.get("integer") else number


def _span(match: re.Match[str]) -> dict[str, Any]:
    return {"start": match.start(), "end": match.end(), "text": match[0]}


def _entry(kind: str, value: Any, span: Any, name: str) -> dict[str, Any]:
    p_null = 0.95 if value is None else 0.05
    return {"type": kind, "value": value, "p_null": p_null, "confidence": round(1 - p_null, 4), name: span}


FAMILIES = {"clairic": Family(inputs, output, texts, answer)}
