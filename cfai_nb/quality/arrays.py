"""What callers give, as arrays: missing cells found, rows checked to be the same ones, numbers checked.

Everything of this room takes lists, arrays and columns of any frame library.  Two columns with different indexes are
refused: as arrays they would be compared by position, and the figure would be wrong without a warning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

#: Scalars of pandas that mean "missing", by name, since this room does not import pandas.
_MISSING = frozenset({"NAType", "NaTType"})


def missing(cells: npt.NDArray[Any]) -> Flags:
    """Return which cells are None, NaN, NaT or ``pandas.NA``."""
    if cells.dtype.kind in "fc":
        found: Flags = np.isnan(cells)
        return found
    if cells.dtype.kind in "mM":
        found = np.isnat(cells)
        return found
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=bool)
    return np.fromiter((_absent(cell) for cell in cells), dtype=bool, count=len(cells))


def _absent(cell: Any) -> bool:
    return cell is None or type(cell).__name__ in _MISSING or (isinstance(cell, (float, np.floating)) and cell != cell)


def column(values: Any, name: str) -> npt.NDArray[Any]:
    """Return one cell a row, shape (n,); a list of strings and missing cells keeps them as they are."""
    if hasattr(values, "match") and hasattr(values, "weights"):  # the gold of a review, which knows rows by content
        raise TypeError(f"{name}: lay {values!r:.60} on the frame first, as in cf.gold('topics').match(df, 'text')")
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} must hold one value a row, not {values!r:.60}")
    cells = values if isinstance(values, np.ndarray) else np.asarray(values, dtype=_kind(values))
    if cells.ndim != 1:
        raise ValueError(f"{name} must hold one value a row; its shape is {cells.shape}")
    return cells


def _kind(values: Any) -> Any:
    # numpy turns ["a", None] into objects, but ["a", nan] into the text "nan".
    return object if isinstance(values, (list, tuple)) and any(isinstance(cell, str) for cell in values) else None


def numbers(values: Any, name: str, low: float = -np.inf, high: float = np.inf) -> Numbers:
    """Return numbers and truth values as float64, NaN where missing; text and other numbers raise a ValueError."""
    cells = column(values, name)
    gone = missing(cells)
    result = np.full(len(cells), np.nan)
    try:
        result[~gone] = cells[~gone].astype(np.float64) if cells.dtype.kind != "O" else [float(x) for x in cells[~gone]]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers or True and False (for labels, say which one: of=...)") from None
    wrong = np.flatnonzero(~gone & ~((result >= low) & (result <= high) & np.isfinite(result)))
    if len(wrong):
        bounds = f"from {low:g} to {high:g}" if np.isfinite([low, high]).any() else "finite"
        raise ValueError(f"{name} must be {bounds}; row {wrong[0]} holds {result[wrong[0]]:g}")
    return result


def same_rows(**given: Any) -> None:
    """Raise a ValueError where two columns differ in length or have indexes that differ."""
    columns = {name: values for name, values in given.items() if values is not None}
    counts = {name: len(column(values, name)) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise ValueError("one value a row each: " + ", ".join(f"{name} has {n:,}" for name, n in counts.items()))
    indexed = {name: index for name, values in columns.items() if (index := index_of(values)) is not None}
    if indexed:
        first, *others = indexed
        for other in others:
            if not indexed[first].equals(indexed[other]):
                raise ValueError(f"{first} and {other} have different indexes; align them, e.g. with .reindex()")


def index_of(values: Any) -> Any:
    """Return the index of a column; None for an array or a list."""
    index = getattr(values, "index", None)  # of a list it is a method
    return index if hasattr(index, "equals") else None


def share_of(value: float, name: str) -> float:
    """Return a number strictly between 0 and 1, such as a confidence; anything else raises a ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, both excluded, not {value!r}")
    return float(value)


def percent(value: float, digits: int = 1) -> str:
    """Write a share: "95 %", "97.5 %"."""
    return f"{round(100 * value, digits):g} %"
