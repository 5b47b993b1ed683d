"""Answers back into pandas: the cells of the distinct inputs become columns of all rows, with real dtypes.

``Call`` lays the results of a run out with ``to_pandas``, on the index of the frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._engine.run_state import Results
from ..tasks import Column
from ..vectors.vector import Space
from .arrow import VectorArray, objects

_PANDAS_3 = int(pd.__version__.split(".")[0]) >= 3


def to_pandas(
    columns: Column | Mapping[str, Column],
    *,
    where: npt.NDArray[np.int64],
    results: Results,
    index: pd.Index[Any],
    name: Hashable,
    space: Space | None,
) -> pd.Series[Any] | pd.DataFrame:
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
