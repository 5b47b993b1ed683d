"""JSON that satisfies a schema, filled from a text: answers in JSON mode, and the arguments of tool calls.

``families.prompts`` calls :func:`fill` and :func:`choose_call`. Labels follow lexical similarity, numbers are those of
the text in their order, strings carry the mark. The function is called that shares most words with the message, once;
the result of a call is answered and not followed by another call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from ..json_schema import complaints, json_type, resolve
from . import MARK, closest, polarity, sentences, similarity, stems, subject, trim

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)?")
_KEY = re.compile(r'"(\w+)"\s*:')
_DEPTH = 24
#: The most sentences of a text that are considered for a field, and the most values that are tried for a schema.
_SENTENCES, _TRIES = 200, 5000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_FORMATS = {
    **{"date": "2000-01-01", "date-time": "2000-01-01T00:00:00Z", "time": "00:00:00Z", "duration": "PT0S"},
    **dict.fromkeys(("uri", "url"), "https://example.com/emulator"),
    **{"email": "emulator@example.com", "uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1"},
}
#: Tried in turn for a pattern that no part of the text fits.
_CANDIDATES = (
    *("A", "a", "0", "1", "00", "000", "0000", "00000", "AA", "AAA", "abc", "ABC-123", "A1"),
    *("2000-01-01", "12:00", "#000000", "+10000000000"),
)


def _object(text: str) -> Mapping[str, Any]:
    """Return a text as an object where it is one, such as the result of a tool, else an empty object."""
    with suppress(ValueError):
        if text.startswith("{") and isinstance(found := from_json(text), Mapping):
            return found
    return {}


def _joined(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two schemas as one, with the properties and the required names of both."""
    joined = {**under, **over}
    if properties := {**under.get("properties", {}), **over.get("properties", {})}:
        joined["properties"] = properties
    if required := [*under.get("required", []), *over.get("required", [])]:
        joined["required"] = list(dict.fromkeys(required))
    return joined


def _described(name: str, schema: Mapping[str, Any]) -> str:
    return f"{name.replace('_', ' ')} {schema.get('description', '')}"


class SchemaNotMet(ValueError):
    """No instance of the schema could be made."""


def fill(schema: Any, text: str, filler: type[_SchemaFiller] | None = None) -> Any:
    """Return an instance of a schema, filled from a text, or raise SchemaNotMet.

    The schema ``True`` stands for any object, with the keys that the text itself contains.
    """
    if schema is True:
        keys = dict.fromkeys(_KEY.findall(text)) or {"response": None}
        schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    try:
        value = (filler or _SchemaFiller)(schema, text).make(schema, "", 0)
        wrong = complaints(value, schema)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, re.error) as error:
        raise SchemaNotMet(str(error)) from error
    if wrong:
        raise SchemaNotMet(", ".join(wrong))
    return value


class _SchemaFiller:
    """Fills one schema: each method makes a value of one type, or raises SchemaNotMet."""

    def __init__(self, root: Any, text: str) -> None:
        self.root, self.text, self.tries = root, text, 0
        self.used: set[str] = set()  # fields of an answer are rarely equal
        self.about = subject(text)
        self.given = _object(text)
        self.numbers = [float(found.replace(",", ".")) for found in _NUMBER.findall(self.about)]

    def make(self, schema: Any, name: str, depth: int) -> Any:
        """Return a value for one schema; `name` is the name of the field."""
        self.tries += 1
        if depth > _DEPTH or self.tries > _TRIES:
            raise SchemaNotMet("schema nests too deeply")
        if not isinstance(schema, Mapping):
            if schema is False:
                raise SchemaNotMet("nothing is allowed")
            return self.string({}, name)
        schema = self.merged(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.pick(list(schema["enum"]), schema)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.either(schema, word, name, depth)
        match self.type_of(schema):
            case "object":
                return self.object(schema, depth)
            case "array":
                return self.array(schema, name, depth)
            case "integer" | "number" as type_:
                return self.number(schema, whole=type_ == "integer")
            case "boolean":
                return self.boolean(name, schema)
            case "null":
                return None
            case _:
                return self.string(schema, name)

    def merged(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema with its reference and its ``allOf`` merged."""
        seen = 0
        while "$ref" in schema or "allOf" in schema:
            seen += 1
            if seen > _DEPTH:
                raise SchemaNotMet("references are circular")
            rest = {key: part for key, part in schema.items() if key not in ("$ref", "allOf")}
            parts = [resolve(schema["$ref"], self.root)] if "$ref" in schema else []
            for part in [*parts, *schema.get("allOf", [])]:
                rest = _joined(part, rest)
            schema = rest
        return schema

    def type_of(self, schema: Mapping[str, Any]) -> str:
        """Return the type to make: the first that is not null, or what the keywords imply."""
        given = schema.get("type")
        if isinstance(given, list):
            given = next((one for one in given if one != "null"), "null")
        if given:
            return str(given)
        if "properties" in schema or "required" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        return "number" if "minimum" in schema or "maximum" in schema else "string"

    def either(self, schema: Mapping[str, Any], word: str, name: str, depth: int) -> Any:
        rest = {key: part for key, part in schema.items() if key != word}
        options = sorted(schema[word], key=lambda part: isinstance(part, Mapping) and part.get("type") == "null")
        for part in options:
            with suppress(SchemaNotMet):
                value = self.make(_joined(rest, part) if isinstance(part, Mapping) else part, name, depth + 1)
                if not complaints(value, schema, root=self.root):
                    return value
        raise SchemaNotMet(f"no part of {word} can be met")

    def pick(self, options: list[Any], schema: Mapping[str, Any]) -> Any:
        kind = {"type": schema["type"]} if schema.get("type") is not None else {}
        allowed = [one for one in options if not complaints(one, kind)]
        named = [one for one in allowed if one is not None] or allowed
        if not named:
            raise SchemaNotMet("the enumeration is empty")
        return self.ranked(named)[0]

    def ranked(self, options: list[Any]) -> list[Any]:
        """Return options by their similarity to the text, the most similar first."""
        labels = [str(one) for one in options]
        scores = similarity(subject(self.text, labels), [(label, "") for label in labels])
        return [options[place] for place in sorted(range(len(options)), key=lambda place: -scores[place])]

    def object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", []))
        value: dict[str, Any] = {}
        for key, part in schema.get("properties", {}).items():
            try:
                known = key in self.given and not complaints(self.given[key], part, root=self.root)
                value[key] = self.given[key] if known else self.make(part, key, depth + 1)
            except SchemaNotMet:
                if key in required:
                    raise
        for key in schema.get("required", []):
            if key not in value:
                value[key] = self.make(schema.get("additionalProperties", True), key, depth + 1)
        extra = schema.get("additionalProperties", True)
        while len(value) < schema.get("minProperties", 0):
            value[f"item{len(value)}"] = self.make(extra, "item", depth + 1)
        return value

    def array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        first = [self.make(part, name, depth + 1) for part in schema.get("prefixItems", [])]
        items = schema.get("items", True)
        wanted = max(schema.get("minItems", 0), min(1, schema.get("maxItems", 1)))
        if items is False:
            return first
        if isinstance(items, Mapping) and schema.get("uniqueItems") and "enum" in self.merged(items):
            return self.ranked(list(self.merged(items)["enum"]))[:wanted]
        while len(first) < wanted:
            value = self.make(items, name, depth + 1)
            if schema.get("uniqueItems") and value in first:
                value = self.another(value, len(first))
            first.append(value)
        return first

    def another(self, value: Any, number: int) -> Any:
        if isinstance(value, str):
            return f"{value} {number}"
        return value + number if json_type(value) in ("integer", "number") else value

    def number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        step = schema.get("multipleOf", 1 if whole else None)
        value = self.numbers.pop(0) if self.numbers else 0.0
        if complaints(value, {word: schema[word] for word in _BOUNDS if word in schema}):
            if low is not None and high is not None:
                value = (low + high) / 2
            elif low is not None:
                value = max(value, low + (step or 1) * ("exclusiveMinimum" in schema))
            elif high is not None:
                value = min(value, high - (step or 1) * ("exclusiveMaximum" in schema))
        if step:
            value = round(value / step) * step
            if low is not None and value < low:
                value += step
            if high is not None and value > high:
                value -= step
        return int(value) if whole or (isinstance(value, float) and value.is_integer() and step) else value

    def boolean(self, name: str, schema: Mapping[str, Any]) -> bool:
        field = _described(name, schema)
        mood = polarity(field) * polarity(self.about)
        return similarity(self.about, [(field, "")])[0] > 0.6 or mood > 0.2

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        if "pattern" in schema:
            return self.patterned(schema)
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        field = _described(name, schema)
        found = sentences(self.about)[:_SENTENCES] or ["(the message is empty)"]
        parts = [self.quoted(part, schema) for part in found]
        parts = [part for part in parts if part not in self.used] or parts
        value = parts[closest(field, parts)]
        self.used.add(value)
        return value

    def quoted(self, sentence: str, schema: Mapping[str, Any]) -> str:
        """Return a sentence with the mark, within the length limits of the schema."""
        value = f"{MARK} {trim(sentence, 120)}"
        value += "." * max(0, int(schema.get("minLength", 0)) - len(value))
        return value[: int(schema.get("maxLength", len(value)))]

    def patterned(self, schema: Mapping[str, Any]) -> str:
        rule = {key: part for key, part in schema.items() if key != "type"}
        found = re.search(schema["pattern"].lstrip("^").rstrip("$"), self.about)
        for candidate in (*([found.group()] if found else []), *_CANDIDATES, f"{MARK} {trim(self.about, 60)}"):
            if not complaints(candidate, rule, root=self.root):
                return candidate
        raise SchemaNotMet(f"nothing fits the pattern {schema['pattern']}")


_QUOTED = re.compile(r"[\"“'‘]([^\"”'’]{1,80})[\"”'’]")
_NAMED = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-ZÄÖÜÉ][\w-]*(?:\s+[A-ZÄÖÜÉ][\w-]*)*")


@dataclass(frozen=True)
class ToolCall:
    """One call of a function."""

    name: str
    arguments: Mapping[str, Any]


class _Arguments(_SchemaFiller):
    """Fills in arguments: numbers of the text, names and quoted words in their order, without a mark."""

    def __init__(self, root: Any, text: str) -> None:
        super().__init__(root, text)
        about = subject(text)
        self.names = _QUOTED.findall(about) or _NAMED.findall(about)

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        if "pattern" in schema or schema.get("format"):
            return super().string(schema, name)
        if self.names:
            return str(self.names.pop(0))
        return max(re.findall(r"\w+", self.about), key=len, default="nothing")


def choose_call(body: Mapping[str, Any], text: str) -> ToolCall | None:
    """Return the call that the last message of a body leads to; ``None`` where the model answers without a call."""
    choice = body.get("tool_choice")
    offered = offered_functions(body)
    conversation = body.get("messages") or body.get("input")
    last = conversation[-1] if isinstance(conversation, list) and conversation else {}
    answered = last.get("role") == "tool" or last.get("type") == "function_call_output"
    if choice == "none" or not offered or answered:
        return None
    if isinstance(choice, Mapping):
        inner = choice.get("function")
        wanted = choice.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
        offered = [function for function in offered if function.get("name") == wanted] or offered
    here = stems(text)
    shared = [len(here & stems(f"{f.get('name', '').replace('_', ' ')} {f.get('description', '')}")) for f in offered]
    best = max(range(len(offered)), key=lambda place: (shared[place], -place))
    if not shared[best] and choice != "required" and not isinstance(choice, Mapping):
        return None
    function = offered[best]
    schema = {**(function.get("parameters") or {}), "type": "object"}
    try:
        needed, known = set(schema.get("required") or ()), dict(schema.get("properties") or {})
        named = {key: part for key, part in known.items() if key in needed or "default" not in part}
        arguments = fill({**schema, "properties": named}, text, _Arguments)
    except (SchemaNotMet, TypeError, ValueError):  # the schema of a tool's parameters is not checked
        arguments = {}
    return ToolCall(str(function.get("name")), arguments)


def offered_functions(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the functions of a request, which may not have been checked yet."""
    tools = body.get("tools")
    known = [tool for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    return [inner if isinstance(inner := tool.get("function"), Mapping) else tool for tool in known]
