"""Clairic, the extraction model: named fields in, values with their place in the text out.

Fields with a pattern (numbers, dates, times, durations) are found by it; any other field gets the sentence that shares
most words with its name. Of several matches the one nearest to a word of the field's name or instructions is taken.
Nothing is computed or predicted: an estimate is a number or date from the text, moved between its bounds, and a
forecast repeats it. The format is what public clients read (litellm 1.109.1, PSAIClairic 0.2.0); none is documented.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from ..error_codes import refuse
from ..model_catalogue import Model
from ..schemas.json_schema import ANY, BOOLEAN, NUMBER, OBJECT, STRING, Schema, any_of, each, obj, one
from ..standins import lexical
from . import state_media
from .family import Family, ModelRequest, ModelResult, by_schema

_MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH = "|".join(f"{name[:3]}(?:{name[3:]})?" for name in _MONTHS)
_DAY = r"(\d{1,2})(?:st|nd|rd|th|\.)?"
_YEAR = r"(?:,? (\d{4})\b)?"
_DATE = re.compile(
    r"\b(\d{4})-(\d{2})-(\d{2})\b" rf"|\b{_DAY} ({_MONTH})\b\.?{_YEAR}" rf"|\b({_MONTH})\b\.? {_DAY}\b{_YEAR}", re.I
)
_PATTERNS = {
    "number": re.compile(r"(?<![\w.:-])-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)(?![\w:-])"),
    "date": _DATE,
    "time": re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?\b"),
    "datetime": re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2})?\b"),
    "duration": re.compile(r"\b\d+ (?:second|minute|hour|day|week|month|year)s?\b", re.I),
}
#: Seconds of the units of a duration.
_SECONDS = {
    "second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800, "month": 2_629_746, "year": 31_556_952
}  # fmt: skip
_INTERVALS = ("step", "minute", "hour", "day", "week", "month", "quarter", "year")
_NAMES = re.compile(r"\b[A-Z]\w+\b")
#: The most matches of a pattern, and mentions of a field, that are considered.
_MOST = 200
#: Probability that a value is absent from the text, where one was found and where none was.
_FOUND, _MISSED = 0.05, 0.95


def _input(model: Model) -> Schema:
    """Return the known part of the input: model, state, fields and their options."""
    shared = {
        "instructions": ANY,
        "unit": STRING,
        "integer": BOOLEAN,
        "decimals": {"type": "integer", "minimum": 0, "maximum": 6},
        **each("min max step", any_of(NUMBER, STRING)),
        "null_threshold": NUMBER,
        "scale": one("linear", "log"),
        "horizon": {"type": "integer", "minimum": 1, "maximum": 64},
        "interval": one(*_INTERVALS),
    }
    single = one("text", "number", "date", "time", "datetime", "duration", "estimate", "forecast")
    several = obj(shared, type=one("list"), items=one("text", "number", "date"))
    names = {"pattern": r"^[A-Za-z_][A-Za-z0-9_.\-]{0,63}$"}
    spec = any_of(obj(shared, type=single), several)
    return obj(
        {
            **state_media.schemas("images"),
            "reference_date": STRING,
            "options": obj(each("include_quantiles return_state_text", BOOLEAN)),
        },
        model=one(model.short),
        state=STRING,
        fields={"type": "object", "minProperties": 1, "propertyNames": names, "additionalProperties": spec},
    )


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse by the schema, then an invalid date, an empty input, and pictures that are too large."""
    by_schema(request, schema)
    _today(request)
    if not request.body["state"].strip() and not request.body.get("images"):
        raise refuse(5006, why="'/state' is empty, and there are no images")
    state_media.check_sizes(request)


def _today(request: ModelRequest) -> dt.date | None:
    """Return the reference date, which completes dates without a year."""
    given = request.body.get("reference_date")
    try:
        return None if given is None else dt.datetime.fromisoformat(given).date()
    except ValueError:
        raise refuse(5006, why=f"'/reference_date' is not an ISO date: {given!r}") from None


_OUTPUT = obj({"model": STRING, "answers": OBJECT, "truncated": BOOLEAN, "usage": OBJECT})


def _answer(request: ModelRequest) -> ModelResult:
    """Return a value for every field, or null where no pattern and no word is found."""
    given, fields, today = request.body["state"], request.body["fields"], _today(request)
    described, media_tokens = state_media.describe(request)
    schema_tokens = sum(lexical.count_tokens(f"{name} {spec}") for name, spec in fields.items())
    state_tokens = lexical.count_tokens(given)
    room = (request.model.context or 1 << 30) - media_tokens
    state = lexical.truncate(given, room)
    text = f"{state}\n{described}" if described else state
    quantiles = bool(request.body.get("options", {}).get("include_quantiles"))
    answers = {name: _found(name, spec, text, len(state), today, quantiles) for name, spec in fields.items()}
    usage = {"input_tokens": min(state_tokens, room) + schema_tokens + media_tokens, "output_tokens": 0}
    result = {
        "model": request.model.short,
        "answers": answers,
        "truncated": len(state) < len(given),
        "usage": {**usage, "state_tokens": state_tokens + media_tokens, "schema_tokens": schema_tokens, "passes": 1},
    }
    return ModelResult(result, {"input_tokens": usage["input_tokens"]})


def _found(
    name: str, spec: Mapping[str, Any], text: str, end: int, today: dt.date | None, quantiles: bool
) -> dict[str, Any]:
    """Return the answer of one field; text beyond `end` comes from a picture and has no span."""
    kind = spec["type"]
    if kind == "list":
        matches = _matches(spec["items"], text, today)
        values = [_value(match, spec["items"], spec, today) for match in matches]
        return _entry(spec, values or None, {"spans": [_span(match) for match in matches if match.end() <= end]})
    estimated = kind in ("estimate", "forecast")
    pattern = ("date" if isinstance(spec.get("min"), str) else "number") if estimated else kind
    if pattern in _PATTERNS:
        match = _nearest(name, spec, text, _matches(pattern, text, today))
    else:
        match = _sentence(name, spec, text)
    value = None if match is None else _value(match, pattern, spec, today)
    if estimated:
        return _estimate(spec, value, quantiles)
    if match is not None and match.end() > end:
        return _entry(spec, value, {"span": None, "source": "image", "spell_confidence": 1 - _FOUND})
    return _entry(spec, value, {"span": match and _span(match)})


def _estimate(spec: Mapping[str, Any], value: Any, quantiles: bool) -> dict[str, Any]:
    """Return an estimate with its figures, or the same for every step of a forecast; neither has a span."""
    if value is None:
        return _entry(spec, None, {})
    value = min(max(value, spec.get("min", value)), spec.get("max", value))
    wide = 0 if isinstance(value, str) else abs(value) / 10
    low, high = (value - wide, value + wide) if wide else (value, value)
    figures: dict[str, Any] = {"mean": value, "median": value, "p10": low, "p90": high, "p_below": 0.0, "p_above": 0.0}
    if quantiles:
        figures["quantiles"] = [low + 2 * wide * at / 98 if wide else value for at in range(99)]
    if spec["type"] == "estimate":
        return _entry(spec, value, figures)
    steps = [{"value": value, **figures} for _ in range(spec.get("horizon", 1))]
    return _entry(spec, [value] * len(steps), {"steps": steps})


def _matches(kind: str, text: str, today: dt.date | None) -> list[re.Match[str]]:
    found = islice(_PATTERNS.get(kind, _NAMES).finditer(text), _MOST)
    if kind == "date":
        return [match for match in found if _day(match, today)]
    dates = [match.span() for match in islice(_DATE.finditer(text), _MOST)] if kind == "number" else []
    return [match for match in found if not any(start <= match.start() < end for start, end in dates)]


def _nearest(name: str, spec: Mapping[str, Any], text: str, matches: list[re.Match[str]]) -> re.Match[str] | None:
    wanted = lexical.stems(f"{name} {spec.get('instructions') or ''}".replace("_", " "))
    mentions = (word.start() for word in re.finditer(r"\w+", text) if lexical.stem(word[0]) in wanted)
    places = list(islice(mentions, _MOST)) or [0]
    return min(matches, key=lambda match: min(abs(match.start() - place) for place in places), default=None)


def _sentence(name: str, spec: Mapping[str, Any], state: str) -> re.Match[str] | None:
    parts = lexical.sentences(state)
    if not parts:
        return None
    best = parts[lexical.closest(f"{name} {spec.get('instructions') or ''}", parts)]
    return re.search(re.escape(best), state)


def _day(match: re.Match[str], today: dt.date | None) -> dt.date | None:
    """Return a date, ``None`` where it has no year and there is no reference date, or where it does not exist."""
    year, month, day, before, named, late, named_too, after, late_too = match.groups()
    word = (named or named_too or "").casefold()
    count = int(month) if month else next(n for n, name in enumerate(_MONTHS, 1) if name.startswith(word[:3]))
    found = year or late or late_too or (today and today.year)
    try:
        return dt.date(int(found), count, int(day or before or after)) if found else None
    except ValueError:
        return None


def _value(match: re.Match[str], kind: str, spec: Mapping[str, Any], today: dt.date | None) -> Any:
    text = match[0]
    if kind == "date":
        return str(_day(match, today))
    if kind == "duration":
        count, unit = text.split()
        seconds = int(count) * _SECONDS[unit.casefold().removesuffix("s")]
        return round(seconds / _SECONDS[str(spec.get("unit") or "second").casefold().removesuffix("s")], 6)
    if kind != "number":
        return text
    thousands = re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text)
    number = float(text.replace(",", "") if thousands else text.replace(",", "."))
    return round(number) if spec.get("integer") else round(number, spec.get("decimals", 12))


def _span(match: re.Match[str]) -> list[int]:
    return [match.start(), match.end()]


def _entry(spec: Mapping[str, Any], value: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer; a value whose probability of absence is above the field's threshold is only a guess."""
    p_null = _MISSED if value is None else _FOUND
    unsure = value is not None and p_null > spec.get("null_threshold", 0.5)
    guess = {"guess": value} if unsure else {}
    shown = None if unsure else value
    likely = {"p_null": p_null, "confidence": round(1 - p_null, 4)}
    return {"type": spec["type"], "value": shown, **guess, **likely, **more}


FAMILIES = {
    "clairic": Family(
        _input, _OUTPUT, lambda request: state_media.input_texts(request, request.body["state"]), _answer, _check
    )
}
