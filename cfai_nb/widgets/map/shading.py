"""One colour a row by a column: words, truth values, numbers and dates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...frame.arrow import VectorDtype
from ...markup import line

#: Numbers of up to so many different values are words; more are cut into steps, each with as many rows.
_AS_WORDS = 8
_STEPS = 7
_WIDE = 40  # characters: a legend stands on the map
#: viridis from a quarter of it on: light and dark in grey too, and to be seen on white and on black.
_SCALE = ("#3b528b", "#2d708e", "#228c8d", "#22a884", "#4cc26c", "#90d743", "#dfe318")
PLAIN = "#0072B2"
MISSING = "missing"


@dataclass(frozen=True)
class Shading:
    """The colours of a column.

    Attributes
    ----------
    name : str
        What the column is called, fit to be shown.
    labels : Series
        Categorical of words, one a row, on the frame's index; missing where the cell is.
    colours : dict of str to str
        Word to ``#rrggbb``, at most 24 of them; the rest is grey.
    steps : bool
        Whether the words are steps of a number or a date.
    """

    name: str
    labels: pd.Series[Any]
    colours: dict[str, str]
    steps: bool = False

    def folded(self, grey: str) -> tuple[pd.Categorical, dict[str, str]]:
        """Return one word a row, and the colour of each; what has no colour and what is missing is grey."""
        rest = [word for word in self.labels.cat.categories if word not in self.colours]
        smaller = f"{len(rest)} smaller groups"
        words = self.labels.astype(object).where(self.labels.isin(list(self.colours)), smaller)
        words = words.where(self.labels.notna(), MISSING)
        colours = dict(self.colours)
        for word in (smaller, MISSING):
            if words.eq(word).any():
                colours.setdefault(word, grey)
        return pd.Categorical(words, categories=list(colours)), colours


def shade(column: pd.Series[Any], names: Mapping[Hashable, str] | None = None) -> Shading:
    """Choose the colours of a column.

    Parameters
    ----------
    column : Series
        Numbers and dates of more than eight different values are cut into seven steps with about as many rows each;
        everything else is a group for each value, of which the 24 largest have a colour.
    names : mapping, optional
        What to write for a value.
    """
    from ...plots.axes import DISTINCT, color_and_marker
    from ...plots.inputs import label_order

    name = line(column.name, 60)
    dated = pd.api.types.is_datetime64_any_dtype(column)
    numeric = pd.api.types.is_any_real_numeric_dtype(column)
    if (numeric or dated) and not names:
        finite = column if dated else column.astype("Float64").astype("float64").replace([np.inf, -np.inf], np.nan)
        if finite.nunique() > _AS_WORDS:
            return _stepped(name, finite, dated)
    told = _told_apart(column)
    kinds = label_order(told)
    words = {kind: line((names or {}).get(kind, kind), _WIDE) or "(blank)" for kind in kinds}
    labels = pd.Series([words.get(kind) for kind in told], dtype=object)
    written = list(dict.fromkeys(words.values()))
    sizes = labels.value_counts()
    largest = set(sorted(written, key=lambda word: -int(sizes.get(word, 0)))[:DISTINCT])
    coloured = [word for word in written if word in largest]
    return Shading(
        name,
        pd.Series(pd.Categorical(labels, categories=written), index=column.index),
        {word: color_and_marker(at)[0] for at, word in enumerate(coloured)},
    )


def _told_apart(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column with cells that can be told apart: text, lists, vectors and the like by what is shown of them."""
    fractions = pd.api.types.is_float_dtype(column)
    if isinstance(column.dtype, pd.CategoricalDtype) or not (
        fractions or column.dtype == object or isinstance(column.dtype, VectorDtype)
    ):
        return column
    cells = [None if gone else _cell(cell) for cell, gone in zip(column, column.isna(), strict=True)]
    return pd.Series(cells, index=column.index, dtype=object)


def _cell(cell: Any) -> Any:
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell  # missing cells have made fractions of whole numbers
    return cell if isinstance(cell, int) else line(cell, 60)


def _stepped(name: str, column: pd.Series[Any], dated: bool) -> Shading:
    steps = pd.qcut(column, _STEPS, duplicates="drop")
    if len(steps.cat.categories) < 3:  # nearly all rows have one value: steps of one width tell more
        steps = pd.cut(column, _STEPS)
    spans = list(steps.cat.categories)
    low = [column.min(), *(span.left for span in spans[1:])]
    words = [
        f"{start:%Y-%m-%d} to {span.right:%Y-%m-%d}" if dated else f"{start:,.4g} to {span.right:,.4g}"
        for start, span in zip(low, spans, strict=True)
    ]
    words = [word + "\N{NO-BREAK SPACE}" * words[:at].count(word) for at, word in enumerate(words)]
    shades = [_SCALE[round(at * (_STEPS - 1) / max(1, len(words) - 1))] for at in range(len(words))]
    codes = steps.cat.codes.to_numpy()
    labels = pd.Series(pd.Categorical.from_codes(codes, pd.Index(words), ordered=True), index=column.index)
    return Shading(name, labels, dict(zip(words, shades, strict=True)), steps=True)
