"""Rows out of pandas, cells back in."""

from __future__ import annotations

import difflib
import string
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .cells import Sink, Space
from .errors import ColumnError, InputError
from .tasks import Column

Frame: TypeAlias = "pd.DataFrame | pd.Series[Any]"
_VALUE = "value"
_PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


@dataclass(slots=True)
class Rows:
    """What the rows of a frame come to.

    Attributes
    ----------
    inputs : list of str or None
        None where a cell is missing or blank, and where it cannot be sent.
    bad : dict of int to InputError
        By position: cells that cannot be sent.
    index : Index
    name : Hashable
        For a Series that comes of it.
    """

    inputs: list[str | None]
    bad: dict[int, InputError]
    index: pd.Index[Any]
    name: Hashable


def rows_of(data: Frame, on: Any, *, template: bool) -> Rows:
    """Turn a column, or a template filled with several, into inputs.

    Parameters
    ----------
    data : DataFrame or Series
    on : str or other column label, or None
        A column, or a template with ``{column}`` in it.  A Series needs none; in its templates it is called by its own
        name or ``{value}``.
    template : bool
        Whether ``on`` is a prompt: then it may not be left out, and must name a column.

    Raises
    ------
    ColumnError
        A column does not exist, or the template names none.
    """
    frame, column = _as_frame(data)
    if on is None:
        if column is None or template:
            what = "a template such as 'Summarize: {text}'" if template else "a column or a template"
            raise ColumnError(f"Say what to work on: {what}. Columns: {_columns(frame)}.")
        on = column
    if not template and _has(frame, on):
        inputs, bad = _texts(_column(frame, on))
    elif isinstance(on, str) and (template or "{" in on):
        inputs, bad = _fill(frame, on)
    else:
        raise ColumnError(_no_column(frame, on))
    return Rows(inputs, bad, data.index, on if not isinstance(on, str) or "{" not in on else None)


def column_of(data: Frame, on: Any) -> pd.Series[Any] | None:
    """Return the column `on` names, or the Series itself; None where there is none (`on` may be a template then)."""
    if isinstance(data, pd.Series):
        return data if on is None or on == data.name else None
    return _column(data, on) if on is not None and _has(data, on) else None


def _as_frame(data: Frame) -> tuple[pd.DataFrame, Hashable | None]:
    if isinstance(data, pd.DataFrame):
        return data, None
    name = data.name if data.name is not None else _VALUE
    columns = dict.fromkeys([name, _VALUE], data)  # in templates a Series also goes by "value"
    frame = pd.concat(list(columns.values()), axis=1)
    frame.columns = pd.Index(list(columns), dtype="object", tupleize_cols=False)
    return frame, name


def _has(frame: pd.DataFrame, on: Any) -> bool:
    try:
        return on in frame.columns
    except TypeError:  # not hashable: no label
        return False


def _column(frame: pd.DataFrame, name: Hashable) -> pd.Series[Any]:
    found: Any = frame[name]
    if isinstance(found, pd.DataFrame):
        raise ColumnError(f"{name!r} names {found.shape[1]} columns; rename them so that it names one.")
    series: pd.Series[Any] = found
    return series


def _columns(frame: pd.DataFrame) -> str:
    names = [str(name) for name in frame.columns]
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") or "none"


def _no_column(frame: pd.DataFrame, name: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(c) for c in frame.columns], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no column {name!r}.{hint} Columns: {_columns(frame)}."


def _texts(column: pd.Series[Any]) -> tuple[list[str | None], dict[int, InputError]]:
    values = column.tolist()
    missing = column.isna().tolist()
    bad: dict[int, InputError] = {}
    texts: list[str | None] = []
    for at, (value, gone) in enumerate(zip(values, missing, strict=True)):
        if gone:
            texts.append(None)
        elif type(value) is str and value.isascii():
            texts.append(value if value.strip() else None)
        else:
            try:
                text = _text_of(value)
                texts.append(text if text.strip() else None)
            except InputError as error:
                bad[at] = error
                texts.append(None)
    return texts, bad


def _text_of(value: Any) -> str:
    """Write a single value as text; what is no text and has no obvious one is refused rather than guessed."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(
                "the cell holds half of a character (a lone surrogate), which no request can carry"
            ) from None
        return str(value)
    if isinstance(value, (int, float, bool, np.generic, pd.Timestamp, pd.Timedelta, pd.Period)):
        return str(value)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise InputError(f"the cell holds {type(value).__name__}, not text; convert the column first")


def _fill(frame: pd.DataFrame, template: str) -> tuple[list[str | None], dict[int, InputError]]:
    parts = _parse(template)
    named = [name for _, name, _ in parts if name is not None]
    if not named:
        raise ColumnError(
            f"The template {template[:80]!r} names no column, so every row would ask the same. "
            f"Put one in braces, such as {{{next(iter(frame.columns), 'text')}}}. Columns: {_columns(frame)}."
        )
    labels = {str(c): c for c in frame.columns}
    for name in named:
        if name not in labels:
            raise ColumnError(_no_column(frame, name) + " (Write {{ and }} for braces that are meant.)")
    bad: dict[int, InputError] = {}
    filled: dict[str, list[str | None]] = {}
    for name, spec in {(n, s) for _, n, s in parts if n is not None}:
        column = _column(frame, labels[name])
        texts, wrong = _formatted(column, spec) if spec else _texts(column)
        filled[f"{name}:{spec}"] = texts
        bad |= wrong
    prompts: list[str | None] = []
    for at in range(len(frame)):
        pieces = [(literal, None if name is None else filled[f"{name}:{spec}"][at]) for literal, name, spec in parts]
        gone = any(name is not None and piece is None for (_, piece), (_, name, _) in zip(pieces, parts, strict=True))
        prompts.append(None if gone else "".join(literal + (piece or "") for literal, piece in pieces))
    return prompts, bad


def _parse(template: str) -> list[tuple[str, str | None, str]]:
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ColumnError(f"The template {template[:80]!r}: {error}. Write {{{{ and }}}} for braces.") from None
    for _, name, _, conversion in parsed:
        if name == "" or conversion:
            raise ColumnError(
                f"The template {template[:80]!r}: write a column's name in the braces, {{name}} or {{name:.2f}}."
            )
    return [(literal, name, spec or "") for literal, name, spec, _ in parsed]


def _formatted(column: pd.Series[Any], spec: str) -> tuple[list[str | None], dict[int, InputError]]:
    texts, bad = _texts(column)
    for at, value in enumerate(column.tolist()):
        if texts[at] is None:
            continue
        try:
            texts[at] = format(value, spec)
        except (ValueError, TypeError) as error:
            bad[at] = InputError(f"the cell does not take the format {spec!r}: {error}")
            texts[at] = None
    return texts, bad


# -- cells back in ---------------------------------------------------------------------------------------------------


def lay_out(
    columns: Column | Mapping[str, Column],
    *,
    where: npt.NDArray[np.int64],
    sink: Sink,
    index: pd.Index[Any],
    name: Hashable,
    space: Space | None,
) -> pd.Series[Any] | pd.DataFrame:
    """Turn the columns of the distinct inputs into a Series or DataFrame of the rows.

    Parameters
    ----------
    columns : Column or mapping of name to Column
    where : ndarray of int64, shape (rows,)
        The input of each row; -1 for none.
    sink : Sink
        Holds the matrix behind a column of vectors.
    index : Index
        Of the frame; kept as it is, duplicates included.
    name : Hashable
        Of the Series.
    space : Space or None
        Of the vectors.
    """
    if isinstance(columns, Column):
        series = _series(columns, where, sink, index, space)
        series.name = name
        return series
    made = {key: _series(column, where, sink, index, space) for key, column in columns.items()}
    return pd.DataFrame(made, index=index)


def _series(
    column: Column, where: npt.NDArray[np.int64], sink: Sink, index: pd.Index[Any], space: Space | None
) -> pd.Series[Any]:
    if column.kind == "vector":
        return _objects(sink.vectors(where, space), index)
    values = column.values
    rows = [None if at < 0 else values[at] for at in where.tolist()]
    if column.kind == "category":
        known = set(column.levels or ())
        extra = sorted({v for v in rows if v is not None and v not in known})
        categories = pd.Index([*(column.levels or ()), *extra], dtype="object")
        return pd.Series(pd.Categorical(rows, categories=categories), index=index)
    if column.kind == "number":
        return pd.Series([np.nan if v is None else float(v) for v in rows], index=index, dtype="float64")
    if column.kind == "integer" and all(v is None or -(2**63) <= v < 2**63 for v in rows):
        return pd.Series(rows, index=index, dtype="Int64")
    if column.kind == "boolean":
        return pd.Series(rows, index=index, dtype="boolean")
    if column.kind == "datetime":
        return pd.Series(
            pd.to_datetime(pd.Series(rows, index=index, dtype="object"), errors="coerce", format="ISO8601")
        )
    if column.kind == "text":
        return pd.Series(rows, index=index, dtype="str" if _PANDAS_3 else "object")
    return _objects(rows, index)


def _objects(values: Sequence[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    # Filled one by one: given vectors of equal length, numpy would make a matrix of them.
    cells = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        cells[at] = value
    return pd.Series(cells, index=index)
