"""The colors of a map, and its static form: what a saved notebook, an export and a place without widgets show.

In: a column, or the state of a map.  Out: a `Shading`, which the live map, the picture and the description share, so
that they agree; a figure drawn by `plots.clusters`, its description in words, and both as HTML.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...frame.arrow import VectorDtype
from ...html.markup import badge, counted, figure, inline, line, sheet
from .state import MapState

#: Numbers with at most this many distinct values are categories; others are cut into steps of about equal size.
_MAX_CATEGORIES = 8
_STEPS = 7
_WIDTH = 40  # characters in the legend, which covers part of the map
#: viridis from a quarter of it on: readable in gray, and visible on white and on black.
_SCALE = ("#3b528b", "#2d708e", "#228c8d", "#22a884", "#4cc26c", "#90d743", "#dfe318")
PLAIN = "#0072B2"


@dataclass(frozen=True)
class Shading:
    """The colors of a column."""

    name: str  #: of the column, safe to display
    labels: pd.Series[Any]  #: categorical, one label per row, on the frame's index; missing where the cell is
    colors: dict[str, str]  #: label to ``#rrggbb``, at most 24 of them; other labels are gray
    steps: bool = False  #: whether the labels are steps of a number or a date

    def folded(self, gray: str) -> tuple[pd.Categorical, dict[str, str]]:
        """Return one label per row and the color of each; labels without a color and missing cells are gray."""
        rest = [word for word in self.labels.cat.categories if word not in self.colors]
        smaller = counted(len(rest), "smaller group")
        words = self.labels.astype(object).where(self.labels.isin(list(self.colors)), smaller)
        words = words.where(self.labels.notna(), "missing")
        colors = dict(self.colors)
        for word in (smaller, "missing"):
            if words.eq(word).any():
                colors.setdefault(word, gray)
        return pd.Categorical(words, categories=list(colors)), colors


def shade(column: pd.Series[Any], names: Mapping[Hashable, str] | None = None) -> Shading:
    """Choose the colors of a column; `names` are the labels to show for its values.

    Numbers and dates of more than eight distinct values are cut into seven steps with about as many rows each.
    Everything else is a group for each value; the 24 largest groups have a color.
    """
    from ...plots.axes import DISTINCT, color_and_marker, label_order

    name = line(column.name, 60)
    dated = pd.api.types.is_datetime64_any_dtype(column)
    if (dated or pd.api.types.is_any_real_numeric_dtype(column)) and not names:
        finite = column if dated else column.astype("Float64").astype("float64").replace([np.inf, -np.inf], np.nan)
        if finite.nunique() > _MAX_CATEGORIES:
            return _stepped(name, finite, dated)
    values = _hashable(column)
    kinds = label_order(values)
    words = {kind: line((names or {}).get(kind, kind), _WIDTH) or "(blank)" for kind in kinds}
    labels = pd.Series([words.get(kind) for kind in values], dtype=object)
    ordered = list(dict.fromkeys(words.values()))
    sizes = labels.value_counts()
    if isinstance(column.dtype, pd.CategoricalDtype) and column.dtype.ordered and 2 < len(ordered) <= _STEPS:
        shades = [_SCALE[round(at * (_STEPS - 1) / (len(ordered) - 1))] for at in range(len(ordered))]
        placed = pd.Series(pd.Categorical(labels, categories=ordered, ordered=True), index=column.index)
        return Shading(name, placed, dict(zip(ordered, shades, strict=True)))
    largest = set(sorted(ordered, key=lambda word: -int(sizes.get(word, 0)))[:DISTINCT])
    colored = [word for word in ordered if word in largest]
    return Shading(
        name,
        pd.Series(pd.Categorical(labels, categories=ordered), index=column.index),
        {word: color_and_marker(at)[0] for at, word in enumerate(colored)},
    )


def shading_of(state: MapState) -> Shading | None:
    """Return the colors of a map; None where no column gives them."""
    return None if state.color is None else shade(state.frame[state.color], state.value_names.get(state.color))


def _hashable(column: pd.Series[Any]) -> pd.Series[Any]:
    """The column with hashable cells: lists, vectors and the like are replaced by the text shown for them."""
    fractions = pd.api.types.is_float_dtype(column)
    if isinstance(column.dtype, pd.CategoricalDtype) or not (
        fractions or column.dtype == object or isinstance(column.dtype, VectorDtype)
    ):
        return column
    cells = [None if gone else _cell(cell) for cell, gone in zip(column, column.isna(), strict=True)]
    return pd.Series(cells, index=column.index, dtype=object)


def _cell(cell: Any) -> Any:
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell  # a column of integers with missing cells holds floats
    return cell if isinstance(cell, int) else line(cell, 60)


def _stepped(name: str, column: pd.Series[Any], dated: bool) -> Shading:
    steps = pd.qcut(column, _STEPS, duplicates="drop")
    if len(steps.cat.categories) < 3:  # nearly all rows have one value: steps of equal width show more
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


# -- the picture -------------------------------------------------------------------------------------------------------

#: Above this share of the total variance within groups, the groups are named in a legend.
_SCATTERED = 0.7
_NAMED = 8  # groups counted in the description


def still(state: MapState, hint: str) -> str:
    """Return a map as HTML: a figure with the picture, its description, and a caption."""
    caption = " · ".join(inline(part) for part in (*state.notes, hint) if part)
    from ...plots.axes import themed

    image = themed(figure_of(state), line(words(state), 1_000))
    return sheet("card") + figure(image, badge(state.mark) + caption, faded=False)


_GRAY = "#9A9A9A"


def page_data(state: MapState, n_neighbors: int) -> dict[str, Any]:
    """Return what a saved page draws: points from -1 to 1, groups with colors, texts, and the nearest rows of each."""
    points = state.points.iloc[state.rows].to_numpy(dtype=np.float64)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(2), np.ones(2))
    points = (points - (low + high) / 2) / (float((high - low).max()) / 2 or 1.0)
    names, colors, groups = ["rows"], [PLAIN], np.zeros(len(points), dtype=np.int64)
    if (shading := shading_of(state)) is not None:
        folded, by_name = shading.folded(_GRAY)
        names, colors = list(by_name), list(by_name.values())
        groups = folded.codes[state.rows].astype(np.int64)
    named = titles(state)
    placed = [
        [line(name, 30), at, *np.median(points[groups == at], axis=0).round(4).tolist()]
        for at, name in enumerate(names)
        if named is not None and (named == name).any()
    ]
    return {
        "x": points[:, 0].round(4).tolist(), "y": points[:, 1].round(4).tolist(), "group": groups.tolist(),
        "names": [line(name, _WIDTH) for name in names], "colors": colors, "titles": placed,
        "row": [line(state.frame.index[at], 60) for at in state.rows],
        "text": [line(state.text_at(at), 400) for at in state.rows],
        "near": state.nearest(np.arange(len(points)), n_neighbors).tolist(),
    }  # fmt: skip


def figure_of(state: MapState) -> Any:
    """Return a map as a figure of matplotlib."""
    from ...plots import clusters
    from ...plots.axes import loose_axes

    title = counted(len(state.rows)) + ("" if state.color is None else f" by {line(state.color, 60)}")
    points = state.points.iloc[state.rows].to_numpy()
    if (shading := shading_of(state)) is None:
        labels, colors, legend = pd.Series([title] * len(state.rows), dtype=object), {title: PLAIN}, True
    else:
        labels = shading.labels.iloc[state.rows].reset_index(drop=True)
        colors, legend = shading.colors, titles(state) is None
    ax = loose_axes(7.5, 6)
    return clusters(points, labels, colors=colors, legend=legend, ax=ax, title=title, mark=state.mark or None).figure


def titles(state: MapState) -> pd.Series[Any] | None:
    """Return the name of the group of each row on the map, to be written over it; None if groups are not separate.

    A group that is spread over the map has no name: its middle lies among other groups.
    """
    if (shading := shading_of(state)) is None:
        return None
    labels = shading.labels.iloc[state.rows].reset_index(drop=True)
    labels = labels.astype(object).where(labels.isin(list(shading.colors)))
    points = state.points.iloc[state.rows].to_numpy(dtype=np.float64)
    if shading.steps or not _apart(points, labels):
        return None
    placed = pd.DataFrame(points)
    spread = ((placed - placed.groupby(labels).transform("mean")) ** 2).sum(axis=1).groupby(labels).mean()
    wide = ((placed - placed.mean()) ** 2).sum(axis=1).mean()
    return labels.where(labels.map(spread) <= _SCATTERED * wide)


def _apart(points: npt.NDArray[np.float64], labels: pd.Series[Any]) -> bool:
    """Whether the groups are separate, and not single rows; a name in the middle of scattered points would mislead."""
    known = labels.notna().to_numpy()
    if known.sum() < 2 * labels.nunique() or not known.any():
        return False
    placed = pd.DataFrame(points[known])
    within = placed - placed.groupby(labels[known].to_numpy()).transform("mean")
    return float((within**2).to_numpy().sum()) < _SCATTERED * float(((placed - placed.mean()) ** 2).to_numpy().sum())


def words(state: MapState) -> str:
    """Return a description of the map in words."""
    text = f"Map of {counted(len(state.rows))}"
    if (shading := shading_of(state)) is not None:
        counts = [(word, count) for word, count in shading.labels.iloc[state.rows].value_counts().items() if count]
        named = ", ".join(f"{word} {count:,}" for word, count in counts[:_NAMED])
        more = f" and {counted(len(counts) - _NAMED, 'more group')}" if len(counts) > _NAMED else ""
        text += f", colored by {line(state.color, 60)}: {named}{more}"
    return f"{text}. {state.notes[0] if state.notes else ''}".strip()
