"""JSON Schema: how the emulator writes schemas, and how it checks a value against one, with the service's messages.

The service validates inputs against the schema it publishes and answers 5006 with texts such as ``required properties
at '/' are 'text'``. The emulator declares every input as such a schema, so one table is the check, the error text and
the answer of ``/models/schema``. The families, and other addresses that take JSON, call :func:`require`;
``standins.schema_fill`` checks what it made with :func:`complaints`, which collects every complaint in schema order, as
the service does.

A general validator would need all these texts too, is slower, and takes 140 times as long for a picture sent as a list
of numbers (1.7 s for 300,000 of them); the tests compare this one with jsonschema.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .error_codes import refuse

Schema = Mapping[str, Any]
_Walk = Callable[..., list[str]]

_DEPTH = 64

# -- writing a schema --------------------------------------------------------------------------------------------------

ANY: Schema = {}
STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
OBJECT: Schema = {"type": "object"}
BYTE: Schema = {"type": "number", "minimum": 0, "maximum": 255}
BINARY: Schema = {"type": "string", "format": "binary"}


def obj(fields: Mapping[str, Any] = ANY, /, *required: str, **needed: Any) -> Schema:
    """Return an object with these properties; those in `required` and all in `needed` are required."""
    names = [*needed, *required]
    return {"type": "object", "properties": {**needed, **fields}, **({"required": names} if names else {})}


def each(names: str, part: Any) -> dict[str, Any]:
    """Return properties of these names, separated by spaces, with the same schema."""
    return dict.fromkeys(names.split(), part)


def array(items: Schema, **limits: Any) -> Schema:
    """Return a list of items; limits that are ``None`` are left out."""
    return {"type": "array", "items": items, **{word: limit for word, limit in limits.items() if limit is not None}}


def one(*values: str) -> Schema:
    """Return a string out of a set."""
    return {"type": "string", "enum": list(values)}


def const(value: Any) -> Schema:
    """Return exactly this value."""
    return {"const": value}


def any_of(*parts: Schema) -> Schema:
    """Return a value that fits at least one part."""
    return {"anyOf": list(parts)}


def one_of(*parts: Schema) -> Schema:
    """Return a value that fits exactly one part."""
    return {"oneOf": list(parts)}


def maybe(part: Schema) -> Schema:
    """Return a part or null."""
    return any_of(part, NULL)


# -- checking a value --------------------------------------------------------------------------------------------------

_TYPES = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array", tuple: "array"}


def _is_multiple(value: float, step: float) -> bool:
    return abs(value / step - round(value / step)) <= 1e-9


def _itself(value: Any) -> Any:
    return value


#: Keyword of a bound -> (types it applies to, what is compared, whether it keeps the bound, the service's words).
_BOUNDS: Mapping[str, tuple[Any, Callable[[Any], Any], Callable[[Any, Any], Any], str]] = {
    "minLength": (str, len, operator.ge, "Length of '{path}' must be >= {bound}"),
    "maxLength": (str, len, operator.le, "Length of '{path}' must be <= {bound}"),
    "pattern": (str, _itself, lambda value, bound: re.search(bound, value), "'{path}' failed pattern {bound}"),
    "minimum": (int | float, _itself, operator.ge, "'{path}' must be >= {bound}"),
    "maximum": (int | float, _itself, operator.le, "'{path}' must be <= {bound}"),
    "exclusiveMinimum": (int | float, _itself, operator.gt, "'{path}' must be > {bound}"),
    "exclusiveMaximum": (int | float, _itself, operator.lt, "'{path}' must be < {bound}"),
    "multipleOf": (int | float, _itself, _is_multiple, "'{path}' must be a multiple of {bound}"),
    "minItems": (list, len, operator.ge, "Array length of '{path}' must be >= {bound}"),
    "maxItems": (list, len, operator.le, "Array length of '{path}' must be <= {bound}"),
    "minProperties": (dict, len, operator.ge, "minProperties at '{path}' is {bound}"),
    "maxProperties": (dict, len, operator.le, "maxProperties at '{path}' is {bound}"),
}


def require(value: Any, schema: Any, path: str = "/") -> None:
    """Raise the service's 5006 where a value does not fit a schema."""
    if wrong := complaints(value, schema, path=path):
        raise refuse(5006, why=", ".join(wrong))


def complaints(
    value: Any,
    schema: Any,
    *,
    root: Any = None,
    path: str = "/",
    depth: int = 0,
    seen: frozenset[tuple[str, str]] = frozenset(),
) -> list[str]:
    """Return what is wrong with a value by a JSON Schema (2020-12; unknown keywords are ignored).

    Local references point into `root`. A reference without a target or in a circle, and a schema of more than 64
    levels, raise ValueError.
    """
    if depth > _DEPTH:
        raise ValueError("schema nests too deeply")
    if isinstance(schema, bool):
        return [] if schema else [f"nothing is allowed at '{path}'"]
    if not isinstance(schema, Mapping):
        raise ValueError(f"not a schema at '{path}'")
    root = schema if root is None else root
    reference = schema.get("$ref")
    if reference is not None:
        if (reference, path) in seen:
            raise ValueError(f"reference {reference!r} is circular")
        seen |= {(reference, path)}

    def walk(part: Any, sub: Any, where: str = path) -> list[str]:
        return complaints(part, sub, root=root, path=where, depth=depth + 1, seen=seen)

    found = [] if reference is None else walk(value, resolve(reference, root))
    inner = _array if isinstance(value, list) else _object if isinstance(value, dict) else None
    found += _simple(value, schema, path)
    found += inner(value, schema, path, walk) if inner else ()
    return found + list(_combined(value, schema, path, walk))


def json_type(value: Any) -> str:
    """Return the JSON type of a value, in JSON Schema's names; a float without a fraction is an integer.

    A number that is too large for a float, such as 1e400, has a name of its own, which no schema accepts.
    """
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number" if math.isfinite(value) else "infinity"
    return _TYPES.get(type(value), "object")


def json_equal(left: Any, right: Any) -> bool:
    """Return whether two JSON values are equal (``true`` is not 1, 1.0 is 1)."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(json_equal(left[key], right[key]) for key in left)
    return json_type(left) == json_type(right) and bool(left == right)


def resolve(reference: str, root: Any) -> Any:
    """Return the target of a local reference (``#/$defs/x``) in the root schema."""
    if not reference.startswith("#"):
        raise ValueError(f"only local references are supported, not {reference!r}")
    target = root
    for step in filter(None, reference[1:].split("/")):
        name = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or name not in target:
            raise ValueError(f"reference {reference!r} has no target")
        target = target[name]
    return target


def _simple(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """Yield complaints about the type, the set of values and the bounds."""
    wanted = schema.get("type")
    if wanted is not None:
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        has = json_type(value)
        if has not in names and not (has == "integer" and "number" in names):
            yield f"Type mismatch of '{path}', '{has}' not in {', '.join(map(repr, names))}"
            return
    if "const" in schema and not json_equal(value, schema["const"]):
        yield f"const at '{path}' is not {schema['const']!r}"
    if "enum" in schema and not any(json_equal(value, option) for option in schema["enum"]):
        yield f"enum at '{path}' has no {value!r}"
    if isinstance(value, bool):
        return
    for word, bound in schema.items():
        if word in _BOUNDS:
            kinds, measure, holds, text = _BOUNDS[word]
            if isinstance(value, kinds) and not holds(measure(value), bound):
                yield text.format(path=path, bound=bound)


def _array(value: list[Any], schema: Schema, path: str, walk: _Walk) -> Iterator[str]:
    if schema.get("uniqueItems") and any(json_equal(a, b) for n, a in enumerate(value) for b in value[:n]):
        yield f"Items of '{path}' are not unique"
    first = schema.get("prefixItems", [])
    if not first and _is_bytes(value, schema.get("items")):
        return
    for place, item in enumerate(value):
        rule = first[place] if place < len(first) else schema.get("items")
        if rule not in (None, True, {}):
            yield from walk(item, rule, f"{path.rstrip('/')}/{place}")


def _is_bytes(value: list[Any], rule: Any) -> bool:
    """Return whether a list is plain bytes and may be: a picture has too many for a recursive call each."""
    fits = isinstance(rule, Mapping) and rule.get("type") == "number" and rule.keys() <= {"type", "minimum", "maximum"}
    whole = fits and rule.get("minimum", 0) <= 0 and rule.get("maximum", 255) >= 255
    return whole and all(type(one) is int and 0 <= one <= 255 for one in value)


def _object(value: dict[str, Any], schema: Schema, path: str, walk: _Walk) -> Iterator[str]:
    missing = [name for name in schema.get("required", []) if name not in value]
    if missing:
        yield f"required properties at '{path}' are '{','.join(missing)}'"
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, item in value.items():
        where = f"{path.rstrip('/')}/{name}"
        rules = [known[name]] if name in known else []
        rules += [rule for pattern, rule in patterns.items() if re.search(pattern, name)]
        if not rules and "additionalProperties" in schema:
            rules = [schema["additionalProperties"]]
        if rules == [False]:
            yield f"additional property '{name}' at '{path}' is not allowed"
            continue
        for rule in rules:
            yield from walk(item, rule, where)
        if "propertyNames" in schema:
            yield from walk(name, schema["propertyNames"], where)


def _combined(value: Any, schema: Schema, path: str, walk: _Walk) -> Iterator[str]:
    for part in schema.get("allOf", []):
        yield from walk(value, part)
    if "not" in schema and not walk(value, schema["not"]):
        yield f"not at '{path}' is met"
    for word in ("anyOf", "oneOf"):
        tries: list[list[str]] = []
        for part in schema.get(word, ()):
            tries.append(walk(value, part))
            if word == "anyOf" and not tries[-1]:
                break
        matches = sum(not one for one in tries)
        if word in schema and (matches == 0 or (word == "oneOf" and matches > 1)):
            reasons = ", ".join(reason for one in tries for reason in one)
            yield f"{word} at '{path}' not met, {matches} matches" + (f": {reasons}" if matches == 0 else "")
