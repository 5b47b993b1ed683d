"""Schemas of structured answers: from a pydantic model or from ``{name: type}`` to a JSON schema, cells and columns.

pydantic makes the JSON schema and validates the answer.  A check against the JSON schema alone would not do: the answer
has to become the types that the user gave.
"""

from __future__ import annotations

import datetime as dt
import enum
import functools
import types
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pydantic_core

from . import values
from .request import Cell, Column, ColumnKind, Json

if TYPE_CHECKING:
    import pydantic  # loaded on first use: a schema is needed by few calls

#: The types of ``schema=``.
Schema: TypeAlias = "type[pydantic.BaseModel] | Mapping[str, Any]"
#: Types that may be given by name.
NAMED: Mapping[str, Any] = {
    "text": str, "number": float, "integer": int, "boolean": bool, "date": dt.date, "datetime": dt.datetime,
    "time": dt.time, "duration": dt.timedelta, "str": str, "float": float, "int": int, "bool": bool,
}  # fmt: skip
#: Readers of a chat model's answer that is not yet in the JSON form of its type.
_READERS: Mapping[Any, Callable[[Json], Json]] = {
    bool: values.yes_or_no, int: values.whole, float: values.number, dt.date: values.day, dt.datetime: values.moment,
    dt.time: values.clock, dt.timedelta: lambda value: f"PT{values.number(value)}S",
}  # fmt: skip

#: The kind of a column by the type of its field.
_COLUMN_KINDS: Mapping[Any, ColumnKind] = {
    str: "text", dt.date: "datetime", dt.datetime: "datetime", bool: "boolean", int: "integer", float: "number",
    dt.time: "text", dt.timedelta: "duration",
}  # fmt: skip


def model_of(schema: Schema) -> type[pydantic.BaseModel]:
    """Return the pydantic model of a schema, or raise a ValueError: it is neither a model nor names and types."""
    import pydantic

    if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
        return schema
    if isinstance(schema, Mapping) and schema and all(isinstance(name, str) for name in schema):
        return _model_of_items(tuple((name, hashable(named(f"schema: {name}", kind))) for name, kind in schema.items()))
    raise ValueError(f"schema={schema!r}: give a pydantic model or a dict of names and types, such as {{'year': int}}.")


def named(field: str, kind: Any) -> Any:
    """Return the type of a field, which may be given by name; an unknown name raises a ValueError."""
    if isinstance(kind, Mapping) or (isinstance(kind, str) and kind not in NAMED):
        raise ValueError(f"{field}: {kind!r} is not a type; give one of {', '.join(NAMED)}, or a Python type.")
    return NAMED[kind] if isinstance(kind, str) else kind


def hashable(kind: Any) -> Any:
    """Return a type that can be part of a key: a list of words becomes one of these words."""
    return Literal[tuple(kind)] if isinstance(kind, (list, tuple)) else kind  # ["a", "b"]: one of these words


@functools.lru_cache(maxsize=64)
def _model_of_items(items: tuple[tuple[str, Any], ...]) -> type[pydantic.BaseModel]:
    import pydantic

    fields: dict[str, Any] = {name: (kind, ...) for name, kind in items}
    for name in fields:
        if name.startswith("_"):
            raise ValueError(f"schema: {name!r}: the name of a field cannot begin with an underscore.")
        if name.startswith("model_") and hasattr(pydantic.BaseModel, name):
            raise ValueError(f"schema: {name!r}: pydantic needs this name; take another for the field.")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Field name", UserWarning)  # it shadows a method that is not called here
            model: type[pydantic.BaseModel] = pydantic.create_model("Answer", **fields)
        model.model_json_schema()  # some mistakes raise an error only here
        return model
    except (TypeError, NameError, SyntaxError, pydantic.PydanticUserError) as error:
        raise ValueError(f"schema: {error}") from None


@functools.lru_cache(maxsize=64)
def json_schema(model: type[pydantic.BaseModel]) -> Json:
    """Return the JSON schema of a model; made once per model, since every row needs it."""
    return model.model_json_schema()


def validate(model: type[pydantic.BaseModel], value: Json) -> dict[str, Json]:
    """Return a user's value in the form of the schema, as JSON, or raise a ValueError that says what does not fit."""
    return model.model_validate(value).model_dump(mode="json")


def parse(model: type[pydantic.BaseModel], value: Json) -> dict[str, Json]:
    """Return a model's answer in the form of the schema, as JSON, or raise a ValueError that says what does not fit.

    Types are taken strictly: true is not a number, and 1704067200 is not a day.  Values in fields and lists may be
    written differently where the meaning is clear, see ``values``: "12" for a number, a word in another case.
    """
    if isinstance(value, Mapping):
        value = {key: _plain(kind, value[key]) if (kind := _kind(model, key)) else value[key] for key in value}
    # As JSON: strict validation of JSON still reads days from texts, and infinity is not a number there.
    text = pydantic_core.to_json(value, inf_nan_mode="strings", serialize_unknown=True)
    return model.model_validate_json(text, strict=True).model_dump(mode="json")


def _kind(model: type[pydantic.BaseModel], key: str) -> Any:
    """Return the type of a field by the name it has in JSON; None where there is no such field."""
    fields = model.model_fields
    named = (each for each in fields.values() if key in (each.alias, each.validation_alias))
    found = fields.get(key) or next(named, None)
    return None if found is None else without_none(found.annotation)


def _plain(kind: Any, value: Json) -> Json:
    """Return a value in the JSON form of its type, if it is written in another form of the same meaning."""
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    words = words_of(kind)
    if typing.get_origin(kind) is list and isinstance(value, list):
        (inner,) = typing.get_args(kind)
        return [_plain(without_none(inner), each) for each in value]
    if kind not in _READERS and not words:
        return value
    try:
        return values.one_of(value, words) if words else _READERS[kind](value)
    except (KeyError, ValueError):
        digits = isinstance(value, str) and value.strip().isdigit()
        if (kind in (dt.date, dt.datetime) and digits) or (kind is float and isinstance(value, (int, float))):
            raise  # pydantic takes the one for seconds since 1970, and numbers without end for infinity
        return value  # the schema says what is wrong, where


def columns(model: type[pydantic.BaseModel], cells: Sequence[Cell]) -> dict[str, Column]:
    """Lay answers out as one typed column a field."""
    return {
        name: column(field.annotation, [None if cell is None else cell.get(name) for cell in cells])
        for name, field in model.model_fields.items()
    }


def column(annotation: Any, values: list[Any]) -> Column:
    """Return a column of the kind its type asks for."""
    kind = without_none(annotation)
    if words := words_of(kind):
        return Column(values, "category", words)
    bases = kind.__mro__ if isinstance(kind, type) else ()
    return Column(values, next((_COLUMN_KINDS[base] for base in bases if base in _COLUMN_KINDS), "object"))


def words_of(kind: Any) -> tuple[str, ...]:
    """Return the words of a type that is one of several: a ``Literal`` or an enum; none for any other type."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        words = tuple(member.value for member in kind)
    else:
        words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return words if all(isinstance(word, str) for word in words) else ()


def without_none(annotation: Any) -> Any:
    """Return the type without its "or None"."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation
