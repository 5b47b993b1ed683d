"""Ids and metadata of the rows, checked against the rules of a store of the service before anything is sent.

The uploads and the searches pass a frame and columns and get texts and JSON. Limits and rules:
developers.cloudflare.com/vectorize/platform/limits and /reference/client-api, and for AI Search
/ai-search/configuration/indexing/metadata and /troubleshooting/api-error-codes.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pydantic_core

from ...errors import ColumnError
from ...html.markup import counted
from .. import rows
from ..reading import is_missing

#: Bytes of an id and a namespace, and of the metadata of a vector; properties an index can be filtered by.
NAME_BYTES, METADATA_BYTES, PROPERTIES = 64, 10_240, 10
#: Integers up to this size survive JSON.
_EXACT = 2**53


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a store takes as an id, as a property of metadata, and as its value."""

    store: str
    most: int  # of an id, in its unit: bytes or characters
    unit: str = "bytes"
    never: str = ""  # a pattern of what an id may not hold
    properties: int  # how many it can be filtered by
    lists: bool = True  # whether a value may be a list of texts
    text: int | None = None  # the most characters of a text
    reserved: frozenset[str] = frozenset()  # names that properties may not have
    lower: bool = False  # whether names of properties are stored in lower case

    def size(self, name: str) -> int:
        """Return how long an id is, in its unit."""
        return len(name.encode()) if self.unit == "bytes" else len(name)

    def key(self, column: Any) -> str:
        """Return the name of a column as a property, or raise ColumnError."""
        key = str(column)
        if not key or "." in key or '"' in key or key.startswith("$"):
            raise ColumnError(
                f"{self.store} does not accept the property name {key!r}: it must not be empty, start with a dollar "
                "sign, or contain a dot or a double quote. Rename the column."
            )
        if key.lower() in self.reserved:
            raise ColumnError(f"{self.store} has a property {key.lower()!r} of its own. Rename the column.")
        return key.lower() if self.lower else key

    def value(self, cell: Any) -> Any:
        """Return a cell as a value of metadata, None where it is missing, or raise ValueError."""
        made = plain(cell)
        if isinstance(made, list) and not self.lists:
            raise ValueError(f"{self.store} takes no lists in metadata: make a text of it")
        if isinstance(made, str) and self.text is not None and len(made) > self.text:
            raise ValueError(
                f"the text has {len(made):,} characters, and {self.store} cuts one at {self.text} without saying so: "
                "shorten it, or leave the column out"
            )
        return made


VECTORIZE = Rules(store="Vectorize", most=NAME_BYTES, properties=PROPERTIES)


def ids_of(data: rows.Frame, column: Any, kept: Sequence[int], rules: Rules = VECTORIZE) -> list[str]:
    """Return the id of each of these rows (positions): the labels of the index, or a column, as text.

    Raises
    ------
    ColumnError
        There is no such column, or the index has several levels.
    ValueError
        An id is missing, empty, too long, or used by two rows.
    """
    if column is None and data.index.nlevels > 1:
        raise ColumnError("The index has several levels and an id must be one text: name a column with id=.")
    source = data.index if column is None else rows.column(rows.as_frame(data), column)
    where = "the index" if column is None else f"column {column!r}"
    cells = source.tolist()
    ids: dict[str, int] = {}
    for at in kept:
        name, row = _name(cells[at]), data.index[at]
        if not name:
            raise ValueError(
                f"row {row!r}: its id in {where} is missing. Give id= a column in which every row has one."
            )
        if (size := rules.size(name)) > rules.most:
            raise ValueError(
                f"row {row!r}: its id in {where} has {size} {rules.unit}, and {rules.store} takes {rules.most}. Give "
                "id= a column of shorter ones, such as a number or a hash."
            )
        if rules.never and (found := re.search(rules.never, name)):
            raise ValueError(
                f"row {row!r}: its id in {where} holds {found[0]!r}, which the key of a document cannot. Give id= "
                "another column."
            )
        if name in ids:
            raise ValueError(
                f"rows {data.index[ids[name]]!r} and {row!r} have the same id {name!r} in {where} (position "
                f"{ids[name]} and {at}), and the second would replace the first. Give id= a column of distinct ids, or "
                "df.reset_index(drop=True) first."
            )
        ids[name] = at
    return list(ids)


def names_of(data: rows.Frame, column: Any) -> list[str]:
    """Return the ids of all rows, empty where one is missing; they need not be distinct."""
    source = data.index if column is None else rows.column(rows.as_frame(data), column)
    return [_name(cell) for cell in source.tolist()]


def _name(cell: Any) -> str:
    return "" if is_missing(cell) else str(cell)


def plain(cell: Any) -> Any:
    """Return a cell as a value of metadata: types are kept, dates become ISO texts, a missing cell is None.

    Raises
    ------
    ValueError
        Metadata cannot hold it.
    """
    if is_missing(cell):
        return None
    if isinstance(cell, (str, bool)):
        return str(cell) if isinstance(cell, str) else cell
    if isinstance(cell, (np.bool_, np.number)):
        cell = cell.item()
    if isinstance(cell, (dt.date, dt.time)):  # a Timestamp is one of these
        return cell.isoformat()
    if isinstance(cell, np.datetime64):
        return pd.Timestamp(cell).isoformat()
    if isinstance(cell, int) and abs(cell) > _EXACT:
        raise ValueError(
            f"{cell} is beyond 2**53, where numbers in JSON lose digits: convert it to text with .astype(str)"
        )
    if isinstance(cell, (int, float)):
        if isinstance(cell, float) and not np.isfinite(cell):
            raise ValueError("infinity is not a number in JSON")
        return cell
    if isinstance(cell, (list, tuple)) and all(isinstance(one, str) for one in cell):
        return list(cell)
    raise ValueError(
        f"expected text, a number, a truth value, a date or a list of texts, got {type(cell).__name__}: convert the "
        "column first"
    )


def records_of(
    data: rows.Frame, columns: Sequence[Any], kept: Sequence[int], rules: Rules = VECTORIZE
) -> list[dict[str, Any]]:
    """Return the metadata of each of these rows, without missing cells.

    Raises
    ------
    ColumnError
        There is no such column, or the store does not accept its name.
    ValueError
        Metadata cannot hold a cell.
    """
    frame, names = rows.as_frame(data), dict[str, Any]()
    records: list[dict[str, Any]] = [{} for _ in kept]
    for column in columns:
        key = rules.key(column)
        if names.setdefault(key, column) != column:
            raise ColumnError(f"Columns {names[key]!r} and {column!r} would both be the property {key!r}: rename one.")
        cells = rows.column(frame, column).tolist()
        for record, at in zip(records, kept, strict=True):
            try:
                value = rules.value(cells[at])
            except ValueError as error:
                raise ValueError(f"row {data.index[at]!r}, column {column!r}: {error}.") from None
            if value is not None:
                record[key] = value
    return records


def about(
    records: Sequence[dict[str, Any]], data: rows.Frame, kept: Sequence[int], rules: Rules = VECTORIZE
) -> list[bytes | None]:
    """Return metadata as JSON, None for a row without any.

    Raises
    ------
    ValueError
        A row has more than 10 KiB of it.
    """
    made = [pydantic_core.to_json(record) if record else None for record in records]
    large = [at for at, one in enumerate(made) if one is not None and len(one) > METADATA_BYTES]
    if large:
        record, size = records[large[0]], len(made[large[0]] or b"")
        widest = max(record, key=lambda key: len(pydantic_core.to_json(record[key])))
        raise ValueError(
            f"{counted(len(large), 'row')} with more metadata than the {METADATA_BYTES:,} bytes {rules.store} takes; "
            f"the first is row {data.index[kept[large[0]]]!r} with {size:,}, most of it in {widest!r}. Shorten that, "
            "or leave it out: search joins its matches to the rows of the frame."
        )
    return made


def kinds_of(records: Sequence[Mapping[str, Any]], keys: Sequence[str], rules: Rules = VECTORIZE) -> dict[str, str]:
    """Return the type of the metadata index of each property: ``"string"``, ``"number"`` or ``"boolean"``.

    Raises
    ------
    ValueError
        There are too many, or one is empty or holds several types.
    """
    if len(keys) > rules.properties:
        what = "an index" if rules is VECTORIZE else f"an instance of {rules.store}"
        raise ValueError(f"filterable: {what} can be filtered by {rules.properties} properties, not {len(keys)}.")
    kinds = {}
    for key in keys:
        found = {_kind(record[key]) for record in records if key in record}
        if len(found) != 1 or None in found:
            what = "nothing" if not found else "lists" if None in found else " and ".join(sorted(map(str, found)))
            raise ValueError(
                f"filterable: column {key!r} holds {what}; one type of text, numbers or truth values is needed."
            )
        kinds[key] = str(found.pop())
    return kinds


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number" if isinstance(value, (int, float)) else None
