"""Vectors and labels out of whatever a user passes to a plot: arrays, frames, Series or lists.

`clusters`, `similarity` and `confidence` read their arguments here, and so does the map widget.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Vectors = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def vectors(given: Any) -> tuple[Vectors, Mask]:
    """Return the vectors that are present, shape (kept, d), and a mask of the rows they come from.

    A row is missing if its cell is None or NaN, or if its vector holds NaN.

    Raises
    ------
    ValueError
        The cells are not vectors, or the vectors differ in length.
    """
    if isinstance(given, pd.DataFrame) or (isinstance(given, np.ndarray) and given.ndim == 2):
        matrix = _numbers(given)
    else:
        cells = list(given)
        present = np.array([not (c is None or c is pd.NA or c is pd.NaT or isinstance(c, float)) for c in cells], bool)
        rows = [_numbers(cell) for cell, here in zip(cells, present, strict=True) if here]
        shapes = sorted({row.shape for row in rows})
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(f"one vector a row is needed, all of one length; these have the shapes {shapes[:5]}")
        matrix = np.full((len(cells), shapes[0][0] if shapes else 2), np.nan, dtype=np.float32)
        if rows:
            matrix[present] = np.stack(rows)
    kept: Mask = np.asarray(np.isfinite(matrix).all(axis=1))
    return matrix[kept], kept


def labels(given: Iterable[Any], like: Any, count: int) -> pd.Series[Any]:
    """Return one label a row, in the order of the rows.

    Raises
    ------
    ValueError
        There are more or fewer labels than rows, or both are pandas objects with different indexes.
    """
    if (
        isinstance(given, pd.Series)
        and isinstance(like, (pd.Series, pd.DataFrame))
        and not given.index.equals(like.index)
    ):
        raise ValueError("the labels (or texts) and the vectors have different indexes: align them first")
    if not isinstance(given, (pd.Series, np.ndarray, pd.Categorical, pd.Index)):
        given = pd.Series(list(given), dtype=object)  # with a None in it pandas would turn integers into floats
    series = given if isinstance(given, pd.Series) else pd.Series(given)
    if len(series) != count:
        raise ValueError(f"{count} rows and {len(series)} labels (or texts): one for each row is needed")
    return series.reset_index(drop=True)


def label_order(series: pd.Series[Any]) -> list[Any]:
    """Return the different labels in the order of their colors: of a categorical its own, else sorted."""
    present = series.dropna().unique()
    if isinstance(series.dtype, pd.CategoricalDtype):
        found = set(present)
        return [label for label in series.dtype.categories if label in found]
    try:
        return sorted(present.tolist())
    except TypeError:  # numbers among words
        return sorted(present.tolist(), key=lambda label: (type(label).__name__, str(label)))


def _numbers(cell: Any) -> Vectors:
    try:
        return np.asarray(cell, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"vectors of numbers are needed, got {type(cell).__name__}: {str(cell)[:40]!r}") from error
