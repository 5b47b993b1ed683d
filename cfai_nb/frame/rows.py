"""Rows out of a frame, and results back into it.

``Call`` reads with ``rows_of``: a column, or a template filled from several columns, becomes the inputs of a task.
Every row keeps its place, missing and unreadable cells too.  With ``to_pandas`` it lays what the distinct inputs gave
on the index of the frame, as columns with real dtypes.
"""

from __future__ import annotations

import string
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._engine.run_state import Results
from ..errors import ColumnError, InputError, hint
from ..media import Folder, Media, Parts, text_of
from ..tasks import Column, Input
from ..vectors.vector import Space
from .arrow import VectorArray, objects
from .reading import Bad, Fetch, is_missing, read, refuse_wrong_kind, texts

Frame: TypeAlias = "pd.DataFrame | pd.Series[Any]"
_VALUE = "value"
#: The template that takes each cell of a Series as the prompt.
ITSELF = "{value}"
_TEXT = frozenset({"text"})
_PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


@dataclass(slots=True)
class Rows:
    """The rows of a frame as inputs."""

    inputs: Sequence[Input | None]  # None where a cell is missing or blank, and where it cannot be sent
    bad: Bad  # cells that cannot be sent
    index: pd.Index[Any]
    name: Hashable  # for a Series that comes of it


def rows_of(
    data: Frame, on: Any, *, template: bool, takes: frozenset[str] = _TEXT, fetch: Fetch | None = None,
    files: Folder | None = None,
) -> Rows:  # fmt: skip
    """Turn a column, or a template filled from several columns, into inputs.

    A Series needs no `on`; in its templates it is called by its own name or ``{value}``.  With `template`, `on` is a
    prompt: it may not be left out, and must name a column; columns of pictures too, where the task and model take them.
    `files` is where the texts of a column name files; in a template they never do.

    Raises
    ------
    ColumnError
        A column does not exist, or the template names none.
    """
    frame, column = _with_names(data)
    if on is None:
        if column is None or template:
            what = "a template such as 'Summarize: {text}'" if template else "a column or a template"
            raise ColumnError(f"Say what to work on: {what}. Columns: {_columns(frame)}.")
        on = column
    inputs: Sequence[Input | None]
    if not template and _has(frame, on):
        cells = _column(frame, on)
        inputs, bad = read(cells, takes, fetch, files)
        refuse_wrong_kind(cells, on, inputs, bad)
    elif isinstance(on, str) and (template or "{" in on):
        if "text" not in takes:
            what = " or ".join(sorted(takes))
            raise ColumnError(
                f"This task and model take {what} and no words: name a column. Columns: {_columns(frame)}."
            )
        inputs, bad = _fill(frame, on, takes, fetch)
    else:
        raise ColumnError(_no_column(frame, on))
    return Rows(inputs, bad, data.index, on if not isinstance(on, str) or "{" not in on else None)


def names_in(on: Any, frame: pd.DataFrame, *, template: bool) -> list[Hashable]:
    """Return the columns that a call works on: the one that `on` names, or those in its template."""
    if not template and _has(frame, on):
        return [on]
    return [_label(frame, name) for _, name, _ in _parse(on, frame.columns) if name is not None]


def column(frame: pd.DataFrame, name: Any) -> pd.Series[Any]:
    """Return the column of that name.

    Raises
    ------
    ColumnError
        There is none (the message names a near one), or several.
    """
    if not _has(frame, name):
        raise ColumnError(_no_column(frame, name))
    return _column(frame, name)


def column_of(data: Frame, on: Any) -> pd.Series[Any] | None:
    """Return the column `on` names, or the Series itself; None where there is none (`on` may be a template then)."""
    if isinstance(data, pd.Series):
        return data if on is None or on == data.name else None
    return _column(data, on) if on is not None and _has(data, on) else None


def laid_on(data: Frame, given: Any, what: str) -> Any:
    """Return what is given for the rows, on their index: a column by its name, a Series or DataFrame, or a value a row.

    Raises
    ------
    ColumnError
        There is no such column.
    ValueError
        It has another index, or another number of rows.
    """
    if isinstance(given, str):
        frame = as_frame(data)
        if not _has(frame, given):
            raise ColumnError(f"{what}: {_no_column(frame, given)}")
        return _column(frame, given)
    if not isinstance(given, (pd.Series, pd.DataFrame)):
        typed = isinstance(given, (np.ndarray, pd.api.extensions.ExtensionArray, pd.Index))
        typed = typed and not pd.api.types.is_object_dtype(given.dtype)
        # As objects None beside integers stays None, and a text that Arrow cannot hold stays a text.
        given = pd.Series(given) if typed else pd.Series(list(given), dtype=object)
        if len(given) != len(data):
            raise ValueError(f"{what}: {len(given):,} values for {len(data):,} rows; give one for each row.")
        return given.set_axis(data.index)
    if not given.index.equals(data.index):
        raise ValueError(f"{what}: its index differs from that of the rows; align it first, with .reindex(df.index).")
    return given


def first_ones(inputs: Sequence[Any], usable: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Return which of the `usable` rows have content that no such row before them has; a missing one is not content.

    A figure about answers rests on these: copies of a row have one answer, which is evidence once.
    """
    seen: set[Any] = {None}
    fresh = np.zeros(len(inputs), dtype=np.bool_)
    for at, value in enumerate(inputs):
        if usable is None or usable[at]:
            fresh[at] = value not in seen
            seen.add(value)
    return fresh


def name_of(series: pd.Series[Any]) -> Hashable:
    """Return the name of a Series' column in a frame: its own, or "value"."""
    return _VALUE if series.name is None else series.name


def as_frame(data: Frame) -> pd.DataFrame:
    """Return a frame as it is, and a Series as a frame of one column."""
    return data if isinstance(data, pd.DataFrame) else data.to_frame(name_of(data))


def label_in(frame: pd.DataFrame, name: Hashable) -> Hashable:
    """Return the label of a new column: with as many levels as the columns of the frame have."""
    levels = frame.columns.nlevels
    given = name if isinstance(name, tuple) else (name,)
    return name if levels == 1 else (*given, *[""] * (levels - len(given)))


def as_frames(*data: Frame) -> list[pd.DataFrame]:
    """Return frames that can be merged: their columns have labels of as many levels as the deepest have."""
    frames = [as_frame(each) for each in data]
    most = max(frames, key=lambda frame: frame.columns.nlevels)
    return [
        frame if frame.columns.nlevels == most.columns.nlevels
        else frame.set_axis(pd.Index([label_in(most, name) for name in frame.columns]), axis=1)
        for frame in frames
    ]  # fmt: skip


def pooled(data: Frame) -> Frame:
    """Return rows with each distinct text once, as the categories of its column."""
    if isinstance(data, pd.DataFrame):
        return data.apply(pooled) if len(data) else data
    if pd.api.types.infer_dtype(data, skipna=True) != "string":
        return data
    codes, found = pd.factorize(data.astype(object))
    cells = pd.Categorical.from_codes(codes, pd.Index(found, dtype=object))
    return pd.Series(cells, index=data.index, name=data.name)


def joined(parts: Sequence[Frame]) -> Frame:
    """Return the pooled rows of all partitions of a frame as one, with each distinct text once."""
    parts = [part for part in parts if len(part)] or parts[:1]
    index = parts[0].index.append([part.index for part in parts[1:]])
    if isinstance(parts[0], pd.Series):
        return _together(parts).set_axis(index)
    columns = [_together([as_frame(part).iloc[:, at] for part in parts]) for at in range(parts[0].shape[1])]
    return pd.concat(columns, axis=1).set_axis(parts[0].columns, axis=1).set_axis(index)


def _together(parts: Sequence[Any]) -> pd.Series[Any]:
    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        cells = pd.api.types.union_categoricals(list(parts), ignore_order=True)
        return pd.Series(cells, name=parts[0].name)
    made: pd.Series[Any] = pd.concat(parts, ignore_index=True)
    return made


def _with_names(data: Frame) -> tuple[pd.DataFrame, Hashable | None]:
    if isinstance(data, pd.DataFrame):
        return data, None
    name = name_of(data)
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
    return f"There is no column {name!r}.{hint(name, frame.columns)} Columns: {_columns(frame)}."


def _fill(
    frame: pd.DataFrame, template: str, takes: frozenset[str], fetch: Fetch | None
) -> tuple[Sequence[Input | None], Bad]:
    parts = _parse(template, frame.columns)
    named = [name for _, name, _ in parts if name is not None]
    if not named:
        raise ColumnError(
            f"The template {template[:80]!r} names no column, so every row would ask the same. "
            f"Put one in braces, such as {{{next(iter(frame.columns), 'text')}}}. Columns: {_columns(frame)}."
        )
    labels = {name: _label(frame, name) for name in named}
    bad: Bad = {}
    filled: dict[tuple[str, str], Sequence[str | Media | None]] = {}
    for name, spec in {(n, s) for _, n, s in parts if n is not None}:
        column = _column(frame, labels[name])
        # A template names text or media; a path in a text column is not opened here.
        found, wrong = _formatted(column, spec) if spec else read(column, takes | _TEXT, fetch)
        refuse_wrong_kind(column, labels[name], found, wrong)
        filled[name, spec] = found
        bad |= wrong
    prompts: list[Input | None] = []
    for at in range(len(frame)):
        pieces = [(literal, None if name is None else filled[name, spec][at]) for literal, name, spec in parts]
        gone = any(name is not None and piece is None for (_, piece), (_, name, _) in zip(pieces, parts, strict=True))
        prompts.append(None if gone else _joined(pieces))
    return prompts, bad


def _joined(pieces: Sequence[tuple[str, str | Media | None]]) -> Input:
    joined: list[str | Media] = [""]
    for literal, piece in pieces:
        for part in (literal, piece or ""):
            if isinstance(part, str) and isinstance(joined[-1], str):
                joined[-1] += part
            else:
                joined.append(part)
    kept = tuple(part for part in joined if part != "")
    return kept[0] if len(kept) == 1 else Parts(kept) if kept else ""


def _label(frame: pd.DataFrame, name: str) -> Hashable:
    """Return the column a name in a template means: the one that is that text, else the only one that is written so."""
    found = list(dict.fromkeys(label for label in frame.columns if str(label) == name))
    exact = [label for label in found if isinstance(label, str)]
    if not found:
        raise ColumnError(_no_column(frame, name) + " (Write {{ and }} for braces that are meant.)")
    if len(found) > 1 and not exact:
        raise ColumnError(f"{{{name}}} could mean several columns: {', '.join(map(repr, found))}. Rename all but one.")
    return exact[0] if exact else found[0]


def _parse(template: str, columns: Iterable[Any] = ()) -> list[tuple[str, str | None, str]]:
    """Split a template; a column with a colon in its name is not a column with a format."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ColumnError(f"The template {template[:80]!r}: {error}. Write {{{{ and }}}} for braces.") from None
    for _, name, _, conversion in parsed:
        if name == "" or conversion:
            raise ColumnError(
                f"The template {template[:80]!r}: write a column's name in the braces, {{name}} or {{name:.2f}}."
            )
    known = {str(label) for label in columns}
    return [
        (literal, f"{name}:{spec}", "") if spec and f"{name}:{spec}" in known else (literal, name, spec or "")
        for literal, name, spec, _ in parsed
    ]


def _formatted(column: pd.Series[Any], spec: str) -> tuple[list[str | None], Bad]:
    found, bad = texts(column)
    for at, value in enumerate(column.tolist()):
        if found[at] is None:
            continue
        try:
            found[at] = format(value, spec)
        except (ValueError, TypeError) as error:
            bad[at] = InputError(f"the cell does not take the format {spec!r}: {error}")
            found[at] = None
    return found, bad


def filled(given: Any, data: Frame, template: Any) -> list[tuple[str, dict[str, Any]]]:
    """Fill the template of a call with other records than its rows: dicts, a DataFrame, or pairs of (value, answer).

    Pairs are for templates that name one column.  Returns the prompt of each record, and what of it the template does
    not name; None where that is missing.

    Raises
    ------
    ColumnError
        There is no template, or the records do not hold what it names.
    ValueError
        A record is of another type, or lacks what the template names.
    """
    if not isinstance(template, str):
        raise ColumnError("examples need a template such as 'Summarize: {text}' that they fill as the rows do.")
    known = data.columns if isinstance(data, pd.DataFrame) else [data.name]
    named = list(dict.fromkeys(name for _, name, _ in _parse(template, known) if name is not None))
    if isinstance(given, pd.DataFrame):
        if len(set(map(str, given.columns))) < given.shape[1]:
            raise ColumnError(f"examples: two columns go by one name. Columns: {_columns(given)}.")
        records = [{str(key): value for key, value in record.items()} for record in given.to_dict("records")]
    else:
        records = [_record(each, named) for each in given]
    frame = pd.DataFrame.from_records(records)
    taken = set(named)
    if isinstance(data, pd.Series):  # its column goes by two names
        for one, other in ((str(data.name), _VALUE), (_VALUE, str(data.name))):
            taken |= {other} if one in taken else set()
            if one not in frame and other in frame:
                frame[one] = frame[other]
    prompts, bad = _fill(frame, template, _TEXT, None)
    made = []
    for at, (prompt, record) in enumerate(zip(prompts, records, strict=True)):
        rest = {key: value for key, value in record.items() if key not in taken}
        if prompt is None:
            raise ValueError(f"examples: row {at} cannot be used: {bad.get(at) or 'a text is missing in it'}.")
        made.append((text_of(prompt), {key: None if is_missing(value) else value for key, value in rest.items()}))
    return made


def _record(given: Any, named: Sequence[str]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if isinstance(given, (list, tuple)) and len(given) == 2 and len(named) == 1:
        return {named[0]: given[0], "answer": given[1]}
    raise ValueError(f"examples: {given!r:.60}: give dicts, a DataFrame, or (value, answer) where one column is named.")


# -- results back into a frame ---------------------------------------------------------------------------------------


def to_pandas(
    columns: Column | Mapping[str, Column], *, where: npt.NDArray[np.int64], results: Results, index: pd.Index[Any],
    name: Hashable, space: Space | None,
) -> pd.Series[Any] | pd.DataFrame:  # fmt: skip
    """Turn the columns of the distinct inputs into a Series or DataFrame of the rows, on the index of the frame.

    `where` is the input of each row, -1 for none.  The results hold the matrix behind a column of vectors of the space.
    """
    if isinstance(columns, Column):
        series = _series(columns, where, results, index, space)
        series.name = name
        return series
    made = {key: _series(column, where, results, index, space) for key, column in columns.items()}
    return pd.DataFrame(made, index=index)


def without_rows(
    columns: Column | Mapping[str, Column], index: pd.Index[Any], name: Hashable = None
) -> pd.Series[Any] | pd.DataFrame:
    """Return what a task answers about no rows: its columns and their types, on an index without labels."""
    none = np.empty(0, dtype=np.int64)
    return to_pandas(columns, where=none, results=Results(0), index=index, name=name, space=None)


def _series(
    column: Column, where: npt.NDArray[np.int64], results: Results, index: pd.Index[Any], space: Space | None
) -> pd.Series[Any]:
    if column.kind == "vector":
        return pd.Series(VectorArray._from_sequence(results.vectors(where, space)), index=index)
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
        return _moments(rows, index)
    if column.kind == "duration":
        try:
            return pd.Series(
                [pd.NaT if v is None else pd.Timedelta(v, unit="s") if isinstance(v, (int, float)) else pd.Timedelta(v)
                 for v in rows], index=index, dtype="timedelta64[ns]",
            )  # fmt: skip
        except (OverflowError, ValueError):  # longer than the 292 years a duration of pandas may have
            return pd.Series(objects(rows), index=index)
    if column.kind == "text":
        return pd.Series(rows, index=index, dtype="str" if _PANDAS_3 else "object")
    return pd.Series(objects(rows), index=index)


def _moments(rows: Sequence[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return days and times; as texts where pandas has no column for them all: the year 9999, zones beside none."""
    given = pd.Series(rows, index=index, dtype="object")
    try:
        made = pd.Series(pd.to_datetime(given, errors="coerce", format="ISO8601"))
    except ValueError:
        return given
    return given if (made.isna() & given.notna()).any() else made
