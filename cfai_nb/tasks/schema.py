"""Schemas of structured answers: from a pydantic model or from ``{name: type}``."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .answer import Json
from .code import asked_of
from .task import Cell, Column

if TYPE_CHECKING:
    import pydantic  # loaded on first use: a schema is needed by few calls

#: What ``schema=`` takes.
Schema: TypeAlias = "type[pydantic.BaseModel] | Mapping[str, Any]"


def model_of(schema: Schema) -> type[pydantic.BaseModel]:
    """Return the pydantic model of a schema.

    Raises
    ------
    ValueError
        It is neither a model nor a mapping of names to types.
    """
    import pydantic

    if isinstance(schema, type) and issubclass(schema, pydantic.BaseModel):
        return schema
    if isinstance(schema, Mapping) and schema and all(isinstance(name, str) for name in schema):
        return _model_of_items(tuple((name, _hashable(kind)) for name, kind in schema.items()))
    raise ValueError(f"schema={schema!r}: give a pydantic model or a dict of names and types, such as {{'year': int}}.")


def _hashable(kind: Any) -> Any:
    if isinstance(kind, (list, tuple)):  # ["a", "b"]: one of these words
        return Literal[tuple(kind)]
    return kind


@functools.lru_cache(maxsize=64)
def _model_of_items(items: tuple[tuple[str, Any], ...]) -> type[pydantic.BaseModel]:
    import pydantic

    if hidden := [name for name, _ in items if name.startswith("_")]:
        raise ValueError(f"schema: {hidden[0]!r}: the name of a field cannot begin with an underscore.")
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in items}
    try:
        model: type[pydantic.BaseModel] = pydantic.create_model("Answer", **fields)
        model.model_json_schema()  # some mistakes show only here
        return model
    except (TypeError, NameError, SyntaxError, pydantic.PydanticUserError) as error:
        raise ValueError(f"schema: {error}") from None


def asked(schema: Schema) -> dict[str, Json]:
    """Return what makes a schema the same: its JSON schema, and the code of its validators where it has some."""
    return asked_of(model_of(schema))


def validate(model: type[pydantic.BaseModel], value: Json) -> dict[str, Json]:
    """Return the value as the schema has it, in JSON terms.

    Raises
    ------
    ValueError
        It does not fit; the message says where.
    """
    return model.model_validate(value).model_dump(mode="json")


def columns(model: type[pydantic.BaseModel], cells: Sequence[Cell]) -> dict[str, Column]:
    """Lay answers out as one typed column a field."""
    return {
        name: column(field.annotation, [None if cell is None else cell.get(name) for cell in cells])
        for name, field in model.model_fields.items()
    }


def column(annotation: Any, values: list[Any]) -> Column:
    """Return a column of the kind its type asks for."""
    kind = without_none(annotation)
    if typing.get_origin(kind) is Literal and all(isinstance(word, str) for word in typing.get_args(kind)):
        return Column(values, "category", tuple(typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Column(values, "category", tuple(str(member.value) for member in kind))
    if kind in (dt.date, dt.datetime):
        return Column(values, "datetime")
    if isinstance(kind, type) and issubclass(kind, bool):
        return Column(values, "boolean")
    if isinstance(kind, type) and issubclass(kind, int):
        return Column(values, "integer")
    if isinstance(kind, type) and issubclass(kind, float):
        return Column(values, "number")
    return Column(values, "text" if kind is str else "object")


def without_none(annotation: Any) -> Any:
    """Return the type without its "or None"."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else annotation
    return annotation
