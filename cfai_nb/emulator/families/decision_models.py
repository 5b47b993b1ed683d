"""Models that decide about a state: Clef answers typed questions with probabilities, Clairic finds values for fields.

Both take pictures, recordings and videos beside the state. Of a video only the length is read, from an MP4. Clef's
probabilities are shares of lexical similarity, which are not calibrated; those of a local model are. Clairic returns
values with their place in the text. Fields with a pattern (numbers, dates, times, durations) are found by it; any other
field gets the sentence that shares most words with its name. Of several matches it takes the one nearest to a word of
the field's name or instructions. Nothing is computed or predicted: an estimate is a number or date from the text, moved
between its bounds, and a forecast repeats it. The format is the one that public clients read (litellm 1.109.1,
PSAIClairic 0.2.0); none is documented.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Any

from .. import standins
from ..error_codes import malformed, refuse
from ..json_schema import (
    ANY,
    BOOLEAN,
    INTEGER,
    NUMBER,
    OBJECT,
    STRING,
    Schema,
    any_of,
    array,
    complaints,
    const,
    each,
    obj,
    one,
    one_of,
    require,
)
from ..model_catalogue import Model, image_tokens
from ..standins.image_reading import read_image
from ..standins.local_model import LocalModel
from . import Family, ModelRequest, ModelResult, decode_bytes
from .audio_models import listen, video_seconds

_MEGABYTE = 1 << 20
#: Tokens of an option of a question, and of a field beside its definition (both as billed).
_OPTION, _FIELD = 18, 95
#: Field -> (largest number, prefix of a data URL, largest size in bytes).
_FIELDS = {
    "images": (4, "image", 4 * _MEGABYTE),
    "audio": (4, "audio", 8 * _MEGABYTE),
    "videos": (2, "video", 16 * _MEGABYTE),
}
#: Largest size in bytes of several fields together.
_TOGETHER = {("images",): 8 * _MEGABYTE, ("audio", "videos"): 16 * _MEGABYTE}
_FORMATS = ("PNG", "JPEG", "WEBP")
_MOST_PIXELS, _MOST_AUDIO_SECONDS, _MOST_VIDEO_SECONDS = 16_000_000, 300, 60
#: Input tokens of a recording and of a video of unknown length (an estimate, none are published), and of a second of
#: video (the published maximum).
_TOKENS, _PER_SECOND = 1024, 256


def _media_schemas(*names: str) -> dict[str, Schema]:
    """Return the schemas of fields."""
    file = obj(content_type=STRING, base64=STRING)
    urls = {name: {"type": "string", "pattern": f"^data:{_FIELDS[name][1]}/"} for name in names}
    return {name: array(any_of(url, file), maxItems=_FIELDS[name][0]) for name, url in urls.items()}


def _state_texts(request: ModelRequest) -> list[str]:
    """Return the state as the one input text, with a short name of the media beside it."""
    state, has_media = _text_of(request.body["state"]), any(request.body.get(name) for name in _FIELDS)
    return [f"{state}\n[{request.fingerprint(*_FIELDS)}]" if has_media else state]


def _bytes(request: ModelRequest, name: str) -> list[bytes]:
    return [decode_bytes(item if isinstance(item, str) else item["base64"]) for item in request.body.get(name, [])]


def _check_sizes(request: ModelRequest) -> None:
    """Refuse (5021) media that are too large, alone or together."""
    sizes = {name: [len(raw) for raw in _bytes(request, name)] for name in _FIELDS}
    single = [(size, most) for name, (_, _, most) in _FIELDS.items() for size in sizes[name]]
    together = [(sum(sum(sizes[name]) for name in names), most) for names, most in _TOGETHER.items()]
    for size, most in (*single, *together):
        if size > most:
            raise _too_much(request, size // 64)


def _too_much(request: ModelRequest, wanted: int) -> Exception:
    return refuse(5021, wanted=wanted, context=request.model.context)


def _describe(request: ModelRequest) -> tuple[str, int]:
    """Return the content of pictures and recordings in words, and the input tokens of all media.

    5006 for a picture that is not PNG, JPEG or WebP, 5021 for more than 16 megapixels, 300 s of sound or 60 s of video,
    8001 for bytes of another kind.
    """
    texts: list[str | None] = []
    count = 0
    for place, raw in enumerate(_bytes(request, "images")):
        seen = read_image(raw)
        if seen.form not in _FORMATS:
            raise refuse(5006, why=f"'/images/{place}' is {seen.form}, not PNG, JPEG or WebP")
        if seen.width * seen.height > _MOST_PIXELS:
            raise _too_much(request, seen.width * seen.height // 1024)
        texts.append(seen.caption())
        count += image_tokens(seen.width, seen.height)
    for raw in _bytes(request, "audio"):
        heard = listen(raw)
        if heard.seconds > _MOST_AUDIO_SECONDS:
            raise _too_much(request, round(heard.seconds * 25))
        texts.append(heard.text)
        count += _TOKENS
    for raw in _bytes(request, "videos"):
        seconds = video_seconds(raw)
        if seconds is not None and seconds > _MOST_VIDEO_SECONDS:
            raise _too_much(request, round(seconds * _PER_SECOND))
        count += _TOKENS if seconds is None else max(1, round(seconds * _PER_SECOND))
    return "\n".join(filter(None, texts)), count


_CHOICES = {"type": "object", "minProperties": 2, "maxProperties": 255, "additionalProperties": ANY}
_KINDS = {
    "noul": obj({"criteria": obj({"true": ANY, "false": ANY})}, type=const("noul"), instructions=ANY),
    "choice": obj(type=const("choice"), instructions=ANY, criteria=_CHOICES),
    "score": obj(type=const("score"), instructions=ANY, criteria=array(ANY, minItems=2, maxItems=10)),
}
_OFFER = "noul, choice or score"
_HAZARDS = frozenset(standins.stems(" ".join(standins.HAZARDS.values())))
#: A question about harm as such, or for a reason that it names.
_ABOUT_HARM = re.compile(r"Is the text (?:harmful\b|unsafe because of (?P<why>.+)\?)", re.IGNORECASE)
_QUESTION_NAMES = {"pattern": r"^[A-Za-z0-9_.\-]{1,100}$"}


def _clef_input(model: Model) -> Schema:
    """Return the published input: model, state, questions, and the media that the model accepts."""
    media = tuple(_FIELDS) if model.has("audio_input") else ("images",)
    sizes = {"minProperties": 1, "maxProperties": 64, "propertyNames": _QUESTION_NAMES}
    questions = {"type": "object", **sizes, "additionalProperties": one_of(*_KINDS.values())}
    return obj(_media_schemas(*media), model=one(model.short), state=ANY, questions=questions)


_COUNTS = obj(each("input_tokens output_tokens", INTEGER))
_CLEF_OUTPUT = obj({"model": STRING, "answers": {"type": "object", "additionalProperties": OBJECT}, "usage": _COUNTS})


def _clef_check(request: ModelRequest, schema: Schema) -> None:
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
        reasons = complaints(question, rule, path=f"/questions/{name}") if rule else [f"type must be {_OFFER}"]
        details += [(("questions", name), text) for text in reasons]
    if details:
        raise malformed(details)
    _check_sizes(request)


def _text_of(value: Any) -> str:
    """Return any JSON value as text."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _clef(request: ModelRequest) -> ModelResult:
    """Return one typed answer per question."""
    described, spent = _describe(request)
    questions = request.body["questions"]
    options = sum(len(each.get("criteria") or (0, 0)) for each in questions.values())
    spent += standins.count_tokens(json.dumps(questions, ensure_ascii=False)) + _OPTION * options
    room = (request.model.context or 1 << 30) - spent - (standins.count_tokens(f"\n{described}") if described else 0)
    # long text is cut to the context
    state = f"{standins.truncate(_text_of(request.body['state']), room)}\n{described}".strip()
    answers = {name: _ANSWERS[question["type"]](state, question, request.local) for name, question in questions.items()}
    count = standins.count_tokens(state) + spent
    usage = {"input_tokens": count, "output_tokens": 0}
    return ModelResult({"model": request.model.short, "answers": answers, "usage": usage}, {"input_tokens": count})


def _confidence(shares: list[float]) -> float:
    """Return 1 when one option has everything, 0 when all are equal."""
    even = 1 / len(shares)
    return round(max(0.0, (max(shares) - even) / (1 - even)), 4)


def _choice(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    options = [(name, _text_of(text)) for name, text in question["criteria"].items()]
    shares = local.shares(state, options) if local else standins.softmax(standins.similarity(state, options))
    probabilities = {name: share for (name, _), share in zip(options, shares, strict=True)}
    best = max(probabilities, key=probabilities.__getitem__)
    return {"type": "choice", "choice": best, "probabilities": probabilities, "confidence": _confidence(shares)}


def _noul(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    criteria = question.get("criteria") or {}
    yes, no = _text_of(criteria.get("true")), _text_of(criteria.get("false"))
    question_text = _text_of(question["instructions"])
    if local:
        harm = _ABOUT_HARM.match(question_text)
        push = local.hazard(state, yes or harm["why"] or "") if harm else local.yes(state, question_text, yes, no)
        return {"type": "noul", "noul": push}
    weights = standins.similarity(state, [(f"{question_text} {yes}", ""), (no, "")])
    # a question about mood is answered by the polarity of words, since similarity does not show it;
    # a question about hate as a hazard is not about mood
    about = not standins.stems(question_text) & _HAZARDS
    mood = standins.polarity(f"{question_text} {yes}") - (standins.polarity(no) if no else 0.0) if about else 0.0
    push = weights[0] - weights[1] - 0.6 + 2.5 * mood * standins.polarity(state)
    return {"type": "noul", "noul": round(1 / (1 + math.exp(-1.5 * push)), 4)}


def _score(state: str, question: Mapping[str, Any], local: LocalModel | None) -> dict[str, Any]:
    levels = [_text_of(level) for level in question["criteria"]]
    shares = local.levels(state, levels) if local else standins.level_shares(state, levels)
    score = round(sum(place * share for place, share in enumerate(shares)), 4)
    legend, probabilities = ({str(at): one for at, one in enumerate(part)} for part in (question["criteria"], shares))
    shown = {"type": "score", "score": score, "legend": legend, "probabilities": probabilities}
    return {**shown, "confidence": _confidence(shares)}


_ANSWERS = {"choice": _choice, "noul": _noul, "score": _score}


_MONTH_NAMES = "january february march april may june july august september october november december"
_MONTHS = _MONTH_NAMES.split()
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

_NAMES = re.compile(r"\b[A-Z]\w+\b")
#: The most matches of a pattern, and mentions of a field, that are considered.
_MOST = 200
#: Probability that a value is absent from the text, where one was found and where none was.
_FOUND, _MISSED = 0.05, 0.95


def _clairic_input(model: Model) -> Schema:
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
        "interval": one("step", "minute", "hour", "day", "week", "month", "quarter", "year"),
    }
    single = one("text", "number", "date", "time", "datetime", "duration", "estimate", "forecast")
    several = obj(shared, type=one("list"), items=one("text", "number", "date"))
    names = {"pattern": r"^[A-Za-z_][A-Za-z0-9_.\-]{0,63}$"}
    spec = any_of(obj(shared, type=single), several)
    options = obj(each("include_quantiles return_state_text", BOOLEAN))
    more = {**_media_schemas("images"), "reference_date": STRING, "options": options}
    fields = {"type": "object", "minProperties": 1, "propertyNames": names, "additionalProperties": spec}
    return obj(more, model=one(model.short), state=STRING, fields=fields)


def _clairic_check(request: ModelRequest, schema: Schema) -> None:
    """Refuse by the schema, then an invalid date, an empty input, and pictures that are too large."""
    fields = schema["properties"]["fields"]
    outer = {**schema, "properties": {**schema["properties"], "fields": {"type": "object", "minProperties": 1}}}
    if wrong := complaints(request.body, outer, path=""):
        raise refuse(6003, text=f"Invalid request body: {wrong[0]}")
    _today(request)
    if not request.body["state"].strip() and not request.body.get("images"):
        raise refuse(6003, text="Invalid request body: '/state' is empty, and there are no images")
    if wrong := complaints(request.body["fields"], fields, path="/fields") or _definitions(request.body["fields"]):
        raise refuse(3030, status=422, text=wrong[0])
    if len(request.body["state"]) / 4 > (request.model.context or 1 << 30):
        raise _too_much(request, len(request.body["state"]) // 4)
    _check_sizes(request)


def _definitions(fields: Mapping[str, Any]) -> list[str]:
    """Return errors of fields that a schema does not express: estimates need bounds, and lists have no threshold."""
    wrong = []
    for name, spec in fields.items():
        kinds = {isinstance(spec[bound], str) for bound in ("min", "max") if bound in spec}
        if spec["type"] in ("estimate", "forecast") and (len(kinds) != 1 or not {"min", "max"} <= spec.keys()):
            wrong.append(f"'/fields/{name}' needs min and max, two numbers or two dates")
        if spec["type"] == "duration" and _unit(spec.get("unit", "second")) not in _SECONDS:
            wrong.append(f"'/fields/{name}' needs a unit from {', '.join(_SECONDS)}")
        if spec["type"] == "list" and "null_threshold" in spec:
            wrong.append(f"'/fields/{name}' takes no null_threshold")
    return wrong


def _unit(word: str) -> str:
    return word.casefold().removesuffix("s")


def _today(request: ModelRequest) -> dt.date | None:
    """Return the reference date, which completes dates without a year."""
    given = request.body.get("reference_date")
    try:
        return None if given is None else dt.datetime.fromisoformat(given).date()
    except ValueError:
        raise refuse(6003, text=f"Invalid request body: '/reference_date' is not an ISO date: {given!r}") from None


def _clairic(request: ModelRequest) -> ModelResult:
    """Return a value for every field, or null where no pattern and no word is found."""
    given, fields, today = request.body["state"], request.body["fields"], _today(request)
    described, media_tokens = _describe(request)
    schema_tokens = sum(_FIELD + standins.count_tokens(f"{name} {spec}") for name, spec in fields.items())
    state_tokens = standins.count_tokens(given)
    room = (request.model.context or 1 << 30) - media_tokens
    state = standins.truncate(given, room)
    text = f"{state}\n{described}" if described else state
    quantiles = bool(request.body.get("options", {}).get("include_quantiles"))
    answers = {name: _field(name, spec, text, len(state), today, quantiles) for name, spec in fields.items()}
    passes, read = len(fields), min(state_tokens, room) + media_tokens  # one pass over the text for each field
    spent = {"input_tokens": passes * read + schema_tokens}
    parts = {"state_tokens": read, "schema_tokens": schema_tokens}
    result = {"model": request.model.short, "answers": answers, "truncated": len(state) < len(given)}
    return ModelResult({**result, "usage": {**spent, "output_tokens": 0, **parts, "passes": passes}}, spent)


def _field(
    name: str, spec: Mapping[str, Any], text: str, end: int, today: dt.date | None, quantiles: bool
) -> dict[str, Any]:
    """Return the answer of one field; text beyond `end` comes from a picture and has no span."""
    kind = spec["type"]
    if kind == "list":
        matches = _matches(spec["items"], text, today)
        values = [_value(match, spec["items"], spec, today) for match in matches]
        found = {"type": "list", "value": values or None, "confidence": 1 - _FOUND if values else _FOUND}
        more = {} if spec["items"] == "text" else {"confidences": [round(1 - _FOUND, 4)] * len(values)}
        return found | more | {"spans": [list(match.span()) for match in matches if match.end() <= end]}
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
    return _entry(spec, value, {"span": match and list(match.span())})


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
    steps = int(spec.get("horizon", 1))
    return _entry(spec, [value] * steps, {"steps": [{"value": value, **figures}] * steps})


def _matches(kind: str, text: str, today: dt.date | None) -> list[re.Match[str]]:
    found = islice(_PATTERNS.get(kind, _NAMES).finditer(text), _MOST)
    if kind == "date":
        return [match for match in found if _day(match, today)]
    dates = [match.span() for match in islice(_DATE.finditer(text), _MOST)] if kind == "number" else []
    return [match for match in found if not any(start <= match.start() < end for start, end in dates)]


def _nearest(name: str, spec: Mapping[str, Any], text: str, matches: list[re.Match[str]]) -> re.Match[str] | None:
    wanted = standins.stems(f"{name} {spec.get('instructions') or ''}".replace("_", " "))
    mentions = (word.start() for word in re.finditer(r"\w+", text) if standins.stem(word[0]) in wanted)
    places = list(islice(mentions, _MOST)) or [0]
    return min(matches, key=lambda match: min(abs(match.start() - place) for place in places), default=None)


def _sentence(name: str, spec: Mapping[str, Any], state: str) -> re.Match[str] | None:
    parts = standins.sentences(state)
    best = parts and parts[standins.closest(f"{name} {spec.get('instructions') or ''}", parts)]
    return re.search(re.escape(best), state) if best else None


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
        return round(int(count) * _SECONDS[_unit(unit)] / _SECONDS[_unit(spec.get("unit", "second"))], 6)
    if kind != "number":
        return text
    thousands = re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", text)
    number = float(text.replace(",", "") if thousands else text.replace(",", "."))
    return round(number) if spec.get("integer") else round(number, int(spec.get("decimals", 12)))


def _entry(spec: Mapping[str, Any], value: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer; where the probability of absence is above the field's threshold, the value is only a guess."""
    p_null = _MISSED if value is None else _FOUND
    unsure = value is not None and p_null > spec.get("null_threshold", 0.5)
    shown = {"value": None, "guess": value} if unsure else {"value": value}
    return {"type": spec["type"], **shown, "p_null": p_null, "confidence": round(1 - p_null, 4), **more}


_CLAIRIC_OUTPUT = obj({"model": STRING, "answers": OBJECT, "truncated": BOOLEAN, "usage": OBJECT})

FAMILIES = {
    "system-one": Family(_clef_input, _CLEF_OUTPUT, _state_texts, _clef, _clef_check),
    "clairic": Family(_clairic_input, _CLAIRIC_OUTPUT, _state_texts, _clairic, _clairic_check),
}
