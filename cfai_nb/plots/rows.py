"""What a map is drawn from: vectors out of any container, and one label a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Vectors = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def vectors(given: Any) -> tuple[Vectors, Mask]:
    """Return the vectors that are there, shape (kept, d), and which of the rows those are.

    A row is missing if its cell is None or NaN, or if its vector holds NaN.

    Raises
    ------
    ValueError
        If the cells are no vectors, or vectors of several lengths.
    """
    if isinstance(given, pd.DataFrame) or (isinstance(given, np.ndarray) and given.ndim == 2):
        matrix = _numbers(given)
    else:
        cells = list(given)
        there = [_present(cell) for cell in cells]
        rows = [_numbers(cell) for cell, here in zip(cells, there, strict=True) if here]
        lengths = sorted({row.shape for row in rows})
        if len(lengths) > 1 or any(len(length) != 1 for length in lengths):
            raise ValueError(f"one vector a row is needed, all of one length; these have the shapes {lengths[:5]}")
        matrix = np.full((len(cells), lengths[0][0] if lengths else 2), np.nan, dtype=np.float32)
        if rows:
            matrix[np.array(there)] = np.stack(rows)
    kept: Mask = np.asarray(np.isfinite(matrix).all(axis=1))
    return matrix[kept], kept


def labels(given: Iterable[Any], like: Any, count: int) -> pd.Series[Any]:
    """Return one label a row, in the order of the rows.

    Raises
    ------
    ValueError
        If there are more or fewer labels than rows, or both are pandas objects with different indexes.
    """
    if (
        isinstance(given, pd.Series)
        and isinstance(like, (pd.Series, pd.DataFrame))
        and not given.index.equals(like.index)
    ):
        raise ValueError("the labels (or texts) and the vectors have different indexes: align them first")
    series = given if isinstance(given, pd.Series) else pd.Series(_whole(given))
    if len(series) != count:
        raise ValueError(f"{count} rows and {len(series)} labels (or texts): one for each row is needed")
    return series.reset_index(drop=True)


def order(series: pd.Series[Any]) -> list[Any]:
    """Different labels in the order of their colours: as a categorical says, else by number or alphabet."""
    present = series.dropna().unique()
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = set(present)
        return [label for label in series.dtype.categories if label in found]
    try:
        return sorted(present.tolist())
    except TypeError:  # numbers among words
        return sorted(present.tolist(), key=lambda label: (type(label).__name__, str(label)))


def _whole(given: Iterable[Any]) -> Any:
    """Lists with a None in them stay as they are: pandas would turn whole numbers into fractions."""
    if isinstance(given, (np.ndarray, pd.Categorical, pd.Index)):
        return given
    cells: Sequence[Any] = list(given)
    return pd.Series(cells, dtype=object)


def _present(cell: Any) -> bool:
    return cell is not None and cell is not pd.NA and cell is not pd.NaT and not isinstance(cell, float)


def _numbers(cell: Any) -> Vectors:
    try:
        return np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"vectors of numbers are needed, got {type(cell).__name__}: {str(cell)[:40]!r}") from error
