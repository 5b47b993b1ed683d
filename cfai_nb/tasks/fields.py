"""Fields to be extracted: by name, by type or by pydantic model, in the words of the extraction model."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from . import schema
from .answer import Json
from .task import Cell, Column

#: What ``fields=`` takes.
Fields: TypeAlias = "Sequence[str] | schema.Schema"
#: How a type is called in the words of the extraction model, and of which kind its column is.
KINDS: dict[Any, tuple[dict[str, Json], Any]] = {
    str: ({"type": "text"}, "text"),
    float: ({"type": "number"}, "number"),
    int: ({"type": "number", "integer": True}, "integer"),
    dt.date: ({"type": "date"}, "datetime"),
    dt.datetime: ({"type": "datetime"}, "datetime"),
    dt.time: ({"type": "time"}, "text"),
    dt.timedelta: ({"type": "duration"}, "text"),
    list[str]: ({"type": "list", "items": "text"}, "object"),
    list[float]: ({"type": "list", "items": "number"}, "object"),
    list[dt.date]: ({"type": "list", "items": "date"}, "object"),
}
#: Names the extraction model takes; what is called otherwise is sent under a number, and its name as its instructions.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_NAMED = {"text": str, "number": float, "integer": int, "date": dt.date, "datetime": dt.datetime, "time": dt.time}


def types_of(fields: Fields) -> dict[str, Any]:
    """Return the type of every field.

    Raises
    ------
    ValueError
        There are no fields, or one is written in a way that means nothing.
    """
    if isinstance(fields, str) or (isinstance(fields, (Sequence, Mapping)) and not fields):
        raise ValueError(f"fields={fields!r}: give a list of names, a dict of types or a pydantic model.")
    if isinstance(fields, Sequence):
        return dict(_named(item) for item in fields)
    if isinstance(fields, Mapping):
        return dict(fields)
    return {name: field.annotation for name, field in schema.model_of(fields).model_fields.items()}


def model_of(fields: Fields) -> Any:
    """Return the pydantic model of the fields; those given by name or type may be missing in a text."""
    types = types_of(fields)
    if not isinstance(fields, (Sequence, Mapping)):
        return schema.model_of(fields)
    return schema.model_of({name: kind | None for name, kind in types.items()})


def sent_as(names: Iterable[str], plain: re.Pattern[str], word: str) -> dict[str, str]:
    """Return what each name is sent as: itself, or a number where it cannot be sent, or is called like a number."""
    number = re.compile(rf"{word}-\d+")
    return {
        name: name if plain.fullmatch(name) and not number.fullmatch(name) else f"{word}-{at}"
        for at, name in enumerate(names)
    }


def names_of(fields: Fields) -> dict[str, str]:
    """Return what each field is called to the extraction model."""
    return sent_as(types_of(fields), _PLAIN, "field")


def specs_of(fields: Fields) -> dict[str, Json]:
    """Return the fields in the words of the extraction model."""
    described, sent = model_of(fields).model_fields, names_of(fields)
    return {
        sent[name]: {**KINDS[schema.without_none(kind)][0], "instructions": described[name].description or name}
        for name, kind in types_of(fields).items()
    }


def columns_of(fields: Fields, cells: Sequence[Cell], *, details: bool) -> dict[str, Column]:
    """Lay cells out as a typed column a field, and with ``details`` how sure each is and where it stands."""
    columns: dict[str, Column] = {}
    for name, kind in types_of(fields).items():
        own = [None if cell is None else cell[name] for cell in cells]
        known = KINDS.get(schema.without_none(kind))
        values = [None if entry is None else entry.get("value") for entry in own]
        columns[name] = Column(values, known[1]) if known else schema.column(kind, values)
        if details:
            for extra in ("confidence", "p_null"):
                columns[f"{name}__{extra}"] = Column([entry and entry.get(extra) for entry in own], "number")
            spans = [(entry or {}).get("span") or {} for entry in own]
            for end in ("start", "end"):
                columns[f"{name}__{end}"] = Column([span.get(end) for span in spans], "integer")
    return columns


def _named(item: str) -> tuple[str, Any]:
    name, _, kind = (part.strip() for part in item.partition(":"))
    if not name or (kind and kind not in _NAMED):
        raise ValueError(f"fields: {item!r}: write a name, or a name and one of {', '.join(_NAMED)}: 'total: number'.")
    return name, _NAMED[kind or "text"]
