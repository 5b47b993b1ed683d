"""The walker against a full validator, and JSON made to fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cfai_nb.emulator.json_schema import complaints
from cfai_nb.emulator.standins.schema_fill import SchemaNotMet, fill

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([0.5, 1.0])
    | st.sampled_from(["", "a", "ab", "b1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
LEAVES = st.sampled_from(
    [
        {},
        True,
        {"type": "string"},
        {"type": "number"},
        {"type": "integer"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["string", "null"]},
        {"const": 1},
        {"enum": ["a", 1, None]},
        {"type": "string", "minLength": 1, "maxLength": 1},
        {"type": "string", "pattern": "^[ab]"},
        {"type": "integer", "minimum": 0, "maximum": 3},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 2},
        {"type": "integer", "multipleOf": 2},
        {"not": {"type": "string"}},
        {"type": "object", "minProperties": 1, "maxProperties": 2},
        {"type": "array", "uniqueItems": True},
    ]
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas around schemas."""
    fields = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    required = st.lists(st.sampled_from("abc"), max_size=2, unique=True)
    return st.one_of(
        st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 2)),
        st.builds(lambda first: {"type": "array", "prefixItems": [first], "maxItems": 2}, inner),
        st.builds(lambda f, r: {"type": "object", "properties": f, "required": r}, fields, required),
        st.builds(lambda f, extra: {"properties": f, "additionalProperties": extra}, fields, inner | st.just(False)),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"oneOf": parts}),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
    )


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=5)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(VALUES, SCHEMAS)
def test_the_walker_agrees_with_a_full_validator(value: Any, schema: Any) -> None:
    """A value has complaints exactly when a JSON Schema validator calls it invalid."""
    assert (not complaints(value, schema)) == Draft202012Validator(schema).is_valid(value)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(SCHEMAS, st.sampled_from(["I paid 3 euros and 1 cent", "", "a b1"]))
def test_what_is_made_fits_or_is_refused(schema: Any, text: str) -> None:
    """An instance always satisfies its schema; when none is found that is reported."""
    try:
        value = fill(schema, text)
    except SchemaNotMet:
        return
    assert Draft202012Validator(schema if schema is not True else {"type": "object"}).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/row", "$defs": {"row": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
        {
            "type": "object",
            "properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "name": {"type": "string"}},
            "required": ["name"],
        },
        {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{3}$"},
        {"type": "string", "minLength": 200, "maxLength": 210},
        {"type": "number", "minimum": 10, "maximum": 11},
        {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
        {"allOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, {"required": ["b"]}]},
        {"type": ["null", "integer"]},
        {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 2},
    ],
)
def test_common_schemas_are_met(schema: dict[str, Any]) -> None:
    """References, recursion, unions, bounds, formats, simple patterns and unique lists all get an instance."""
    assert Draft202012Validator(schema).is_valid(fill(schema, "Two red boxes cost 12.5 on ABC-123."))


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "string", "pattern": "^(?=a)b$"},
        {"$ref": "#/$defs/missing"},
        {"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]},
        {"enum": []},
        {"$ref": "https://example.com/schema"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"oneOf": [{"type": "string"}, {"$ref": "#"}, {"$ref": "#"}]},
    ],
)
def test_impossible_schemas_are_said_to_be(schema: Any) -> None:
    """Nothing wrong is ever answered: the builder refuses."""
    with pytest.raises(SchemaNotMet):
        fill(schema, "x")


def test_labels_and_numbers_come_from_the_text() -> None:
    """An enumeration is chosen by wording, even when the instruction lists all its labels; numbers keep their order."""
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["billing", "shipping"]},
            "low": {"type": "number"},
            "high": {"type": "integer"},
        },
    }
    text = "Classify as billing or shipping.\nThe parcel with the package came 2.5 days late, not 7."
    assert fill(schema, text) == {"label": "shipping", "low": 2.5, "high": 7}
