"""Ids and metadata of the rows, checked against the rules of Vectorize before anything is sent.

`verb` and `stored` pass a frame and columns and get texts and JSON. Limits and rules:
developers.cloudflare.com/vectorize/platform/limits and /reference/client-api.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pydantic_core

from ...errors import ColumnError
from .. import rows
from ..reading import is_missing

#: Vectors and bytes a call takes; bytes of an id and a namespace, and of the metadata of a vector.
CALL_VECTORS, CALL_BYTES = 5_000, 100_000_000
NAME_BYTES, METADATA_BYTES = 64, 10_240
#: Dimensions of an index, and properties it can be filtered by.
DIMENSIONS, PROPERTIES = 1_536, 10
#: Integers up to this size survive JSON.
_EXACT = 2**53


def ids_of(data: rows.Frame, column: Any, kept: Sequence[int]) -> list[str]:
    """Return the id of each of these rows (positions): the labels of the index, or a column, as text.

    Raises
    ------
    ColumnError
        There is no such column, or the index has several levels.
    ValueError
        An id is missing, empty, over 64 bytes, or used by two rows.
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
        if (size := len(name.encode())) > NAME_BYTES:
            raise ValueError(
                f"row {row!r}: its id in {where} has {size} bytes, and Vectorize takes {NAME_BYTES}. Give id= a column "
                "of shorter ones, such as a number or a hash."
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


def records_of(data: rows.Frame, columns: Sequence[Any], kept: Sequence[int]) -> list[dict[str, Any]]:
    """Return the metadata of each of these rows, without missing cells.

    Raises
    ------
    ColumnError
        There is no such column, or Vectorize does not accept its name.
    ValueError
        Metadata cannot hold a cell.
    """
    frame = rows.as_frame(data)
    records: list[dict[str, Any]] = [{} for _ in kept]
    for column in columns:
        key = str(column)
        if not key or "." in key or '"' in key or key.startswith("$"):
            raise ColumnError(
                f"Vectorize does not accept the property name {key!r}: it must not be empty, start with a dollar "
                "sign, or contain a dot or a double quote. Rename the column."
            )
        cells = rows.column(frame, column).tolist()
        for record, at in zip(records, kept, strict=True):
            try:
                value = plain(cells[at])
            except ValueError as error:
                raise ValueError(f"row {data.index[at]!r}, column {column!r}: {error}.") from None
            if value is not None:
                record[key] = value
    return records


def about(records: Sequence[dict[str, Any]], data: rows.Frame, kept: Sequence[int]) -> list[bytes | None]:
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
            f"{len(large)} rows have more metadata than the {METADATA_BYTES:,} bytes Vectorize takes a vector; the "
            f"first is row {data.index[kept[large[0]]]!r} with {size:,}, most of it in {widest!r}. Shorten that, "
            "or leave it out: search joins its matches to the rows of the frame."
        )
    return made


def kinds_of(records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, str]:
    """Return the type of the metadata index of each property: ``"string"``, ``"number"`` or ``"boolean"``.

    Raises
    ------
    ValueError
        There are more than 10, or one is empty or holds several types.
    """
    if len(keys) > PROPERTIES:
        raise ValueError(f"filterable: an index can be filtered by {PROPERTIES} properties, not {len(keys)}.")
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
