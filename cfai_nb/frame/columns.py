"""Answers back into pandas: the cells of the distinct inputs become columns of all rows, with real dtypes.

``Call`` lays the results of a run out with ``to_pandas``, on the index of the frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._engine.results import Sink
from ..tasks import Column
from ..vectors.vector import Space
from .arrow import VectorArray

_PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


def to_pandas(
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
        return pd.Series(VectorArray._from_sequence(sink.vectors(where, space)), index=index)
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
            return _objects(rows, index)
    if column.kind == "text":
        return pd.Series(rows, index=index, dtype="str" if _PANDAS_3 else "object")
    return _objects(rows, index)


def _moments(rows: Sequence[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    """Return days and times; as texts where pandas has no column for them all: the year 9999, zones beside none."""
    given = pd.Series(rows, index=index, dtype="object")
    try:
        made = pd.Series(pd.to_datetime(given, errors="coerce", format="ISO8601"))
    except ValueError:
        return given
    return given if (made.isna() & given.notna()).any() else made


def _objects(values: Sequence[Any], index: pd.Index[Any]) -> pd.Series[Any]:
    # Filled one by one: given vectors of equal length, numpy would make a matrix of them.
    cells = np.empty(len(values), dtype=object)
    for at, value in enumerate(values):
        cells[at] = value
    return pd.Series(cells, index=index)
