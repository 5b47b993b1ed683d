"""Metadata: what the indexes of a vector store hold of a vector, and which filters that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Value = str | float | bool

_INDEXED = 64
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda one, other: one == other,
    "$ne": lambda one, other: one != other,
    "$in": lambda one, other: one in other,
    "$nin": lambda one, other: one not in other,
    "$lt": lambda one, other: one < other,
    "$lte": lambda one, other: one <= other,
    "$gt": lambda one, other: one > other,
    "$gte": lambda one, other: one >= other,
}


def _cut(value: Any) -> Any:
    """Return a value as an index holds it: 64 bytes of a text."""
    return value.encode()[:_INDEXED].decode("utf-8", "ignore") if isinstance(value, str) else value


def terms(metadata: Mapping[str, Any], properties: Mapping[str, str]) -> dict[str, Value]:
    """Return what the indexes there are now keep of a vector's metadata.

    Parameters
    ----------
    metadata : mapping
        As written; a property "a.b" is `b` within `a`.
    properties : mapping of str to str
        Indexed property -> its type. A value of another type is not indexed.
    """
    kept: dict[str, Value] = {}
    for name, kind in properties.items():
        value: Any = metadata
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if _TYPES[kind](value):
            kept[name] = _cut(value)
    return kept


def named(wanted: Any) -> str:
    """Return what is wrong with a filter, empty when nothing is."""
    if not isinstance(wanted, Mapping) or not wanted:
        return "filter must be an object that is not empty"
    for name, condition in wanted.items():
        if isinstance(condition, Mapping):
            unknown = [word for word in condition if word not in _COMPARE]
            if unknown or not condition:
                return f"filter of {name!r}: unknown operator {unknown[0] if unknown else '(none)'!r}"
            if any(not isinstance(condition[word], list) for word in ("$in", "$nin") if word in condition):
                return f"filter of {name!r}: $in and $nin take a list"
        elif isinstance(condition, list):
            return f"filter of {name!r}: a list needs $in or $nin"
    return ""


def matches(kept: Mapping[str, Value], wanted: Mapping[str, Any]) -> bool:
    """Tell whether the indexed values of a vector fit a filter.

    A property that no index held when the vector was written is not seen: then no condition on it fits, $ne included.
    """
    for name, condition in wanted.items():
        if name not in kept:
            return False
        rules = condition if isinstance(condition, Mapping) else {"$eq": condition}
        for word, other in rules.items():
            value = [_cut(one) for one in other] if isinstance(other, list) else _cut(other)
            try:
                if not _COMPARE[word](kept[name], value):
                    return False
            except TypeError:  # a text is not below a number
                return False
    return True
