"""Forms: JSON that satisfies a schema, filled with what the text offers.

Labels go by lexical similarity, numbers are those of the text in their order, strings are marked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from . import words
from .checks import complaints, kind, resolve
from .voice import MARK, matter, trim

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:[.,]\d+)?")
_KEY = re.compile(r'"(\w+)"\s*:')
_DEPTH = 24
#: Sentences of a text a field is looked for in.
_SENTENCES = 200
#: Values tried before a schema is given up.
_TRIES = 5000
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "emulator@example.com",
    "uri": "https://example.com/emulator",
    "url": "https://example.com/emulator",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}
#: Tried in turn against a pattern that nothing in the text fits.
_CANDIDATES = (
    "A",
    "a",
    "0",
    "1",
    "00",
    "000",
    "0000",
    "00000",
    "AA",
    "AAA",
    "abc",
    "ABC-123",
    "A1",
    "2000-01-01",
    "12:00",
    "#000000",
    "+10000000000",
)


def _object(text: str) -> Mapping[str, Any]:
    """Return the object a text is, when it is one: what a tool found, say."""
    try:
        found = from_json(text) if text.startswith("{") else None
    except ValueError:
        found = None
    return found if isinstance(found, Mapping) else {}


class Impossible(ValueError):
    """No instance of the schema could be made."""


def fill(schema: Any, text: str, filler: type[Filler] | None = None) -> Any:
    """Return an instance of a schema.

    Parameters
    ----------
    schema : mapping or True
        A JSON Schema; ``True`` for any object, whose keys are then those the text itself spells out.
    text : str
        What the instance is to be about.
    filler : type of Filler, optional
        Who makes the values.

    Raises
    ------
    Impossible
        When the schema cannot be met.
    """
    if schema is True:
        keys = dict.fromkeys(_KEY.findall(text)) or {"response": None}
        schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}, "required": list(keys)}
    try:
        value = (filler or Filler)(schema, text).make(schema, "", 0)
        wrong = complaints(value, schema)
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, re.error) as error:
        raise Impossible(str(error)) from error
    if wrong:
        raise Impossible(", ".join(wrong))
    return value


class Filler:
    """One attempt at one schema: each method makes a value of one type, or raises Impossible."""

    def __init__(self, root: Any, text: str) -> None:
        self.root, self.text, self.tries = root, text, 0
        self.said: set[str] = set()  # fields of an answer rarely say the same
        self.about = matter(text)
        self.given = _object(text)
        self.numbers = [float(found.replace(",", ".")) for found in _NUMBER.findall(self.about)]

    def make(self, schema: Any, name: str, depth: int) -> Any:
        """Return a value for one schema; `name` says what it is called."""
        self.tries += 1
        if depth > _DEPTH or self.tries > _TRIES:
            raise Impossible("schema nests too deeply")
        if not isinstance(schema, Mapping):
            if schema is False:
                raise Impossible("nothing is allowed")
            return self.string({}, name)
        schema = self.whole(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.pick(list(schema["enum"]), name, schema)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.either(schema, word, name, depth)
        match self.sort(schema):
            case "object":
                return self.object(schema, depth)
            case "array":
                return self.array(schema, name, depth)
            case "integer" | "number" as sort:
                return self.number(schema, name, whole=sort == "integer")
            case "boolean":
                return self.boolean(name, schema)
            case "null":
                return None
            case _:
                return self.string(schema, name)

    def whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema with its reference and its ``allOf`` folded in."""
        seen = 0
        while "$ref" in schema or "allOf" in schema:
            seen += 1
            if seen > _DEPTH:
                raise Impossible("references go round in circles")
            rest = {key: part for key, part in schema.items() if key not in ("$ref", "allOf")}
            parts = [resolve(schema["$ref"], self.root)] if "$ref" in schema else []
            for part in [*parts, *schema.get("allOf", [])]:
                joined = {**part.get("properties", {}), **rest.get("properties", {})}
                required = [*part.get("required", []), *rest.get("required", [])]
                rest = {**part, **rest}
                if joined:
                    rest["properties"] = joined
                if required:
                    rest["required"] = list(dict.fromkeys(required))
            schema = rest
        return schema

    def sort(self, schema: Mapping[str, Any]) -> str:
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
            joined = {**rest, **part} if isinstance(part, Mapping) else part
            if isinstance(part, Mapping) and "properties" in rest and "properties" in part:
                joined["properties"] = {**rest["properties"], **part["properties"]}
            if isinstance(part, Mapping) and "required" in rest and "required" in part:
                joined["required"] = [*rest["required"], *part["required"]]
            try:
                value = self.make(joined, name, depth + 1)
            except Impossible:
                continue
            if not complaints(value, schema, root=self.root):
                return value
        raise Impossible(f"no part of {word} can be met")

    def pick(self, options: list[Any], name: str, schema: Mapping[str, Any]) -> Any:
        allowed = [
            one for one in options if schema.get("type") is None or not complaints(one, {"type": schema["type"]})
        ]
        named = [one for one in allowed if one is not None] or allowed
        if not named:
            raise Impossible("the enumeration is empty")
        labels = [str(one) for one in named]
        scores = words.weigh(matter(self.text, labels), [(label, "") for label in labels])
        return named[max(range(len(named)), key=lambda place: (scores[place], -place))]

    def object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", []))
        value: dict[str, Any] = {}
        for key, part in schema.get("properties", {}).items():
            try:
                known = key in self.given and not complaints(self.given[key], part, root=self.root)
                value[key] = self.given[key] if known else self.make(part, key, depth + 1)
            except Impossible:
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
        least = schema.get("minItems", 0)
        wanted = max(least, min(1, schema.get("maxItems", 1)))
        if items is False:
            return first
        if isinstance(items, Mapping) and schema.get("uniqueItems") and "enum" in self.whole(items):
            return self.several(list(self.whole(items)["enum"]), wanted)
        while len(first) < wanted:
            value = self.make(items, name, depth + 1)
            if schema.get("uniqueItems") and value in first:
                value = self.another(value, len(first))
            first.append(value)
        return first

    def several(self, options: list[Any], count: int) -> list[Any]:
        scores = words.weigh(matter(self.text, [str(one) for one in options]), [(str(one), "") for one in options])
        return [options[place] for place in sorted(range(len(options)), key=lambda place: -scores[place])][:count]

    def another(self, value: Any, number: int) -> Any:
        if kind(value) == "string":
            return f"{value} {number}"
        return value + number if kind(value) in ("integer", "number") else value

    def number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> float:
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
        asked = f"{name.replace('_', ' ')} {schema.get('description', '')}"
        mood = words.polarity(asked) * words.polarity(self.about)
        return words.weigh(self.about, [(asked, "")])[0] > 0.6 or mood > 0.2

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        if "pattern" in schema:
            return self.patterned(schema)
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        asked = f"{name.replace('_', ' ')} {schema.get('description', '')}"
        found = words.sentences(self.about)[:_SENTENCES] or ["(nothing was said)"]
        parts = [self.quoted(part, schema) for part in found]
        parts = [part for part in parts if part not in self.said] or parts
        value = parts[words.closest(asked, parts)]
        self.said.add(value)
        return value

    def quoted(self, sentence: str, schema: Mapping[str, Any]) -> str:
        """Return a sentence with the mark, as long as the schema wants it."""
        value = f"{MARK} {trim(sentence, 120)}"
        value += "." * max(0, int(schema.get("minLength", 0)) - len(value))
        return value[: int(schema.get("maxLength", len(value)))]

    def patterned(self, schema: Mapping[str, Any]) -> str:
        rule = {key: part for key, part in schema.items() if key != "type"}
        found = re.search(schema["pattern"].lstrip("^").rstrip("$"), self.about)
        for candidate in ([found.group()] if found else []) + list(_CANDIDATES) + [f"{MARK} {trim(self.about, 60)}"]:
            if not complaints(candidate, rule, root=self.root):
                return candidate
        raise Impossible(f"nothing fits the pattern {schema['pattern']}")
