"""`similarity`: how alike rows are, as a matrix of colors. Vectors or similarities in, the axes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from .. import vectors as space
from ..html.markup import counted
from ..vectors.matrix import normalized
from ..vectors.vector import stand_in_of
from .axes import GREY, Numbers, new_axes, plot, read_labels, read_vectors, theme
from .text import empty, finish, name_ticks

_MAX_ROWS = 2_000
_NAMED, _NUMBERED = 40, 12  # rows up to which labels, and numbers in the cells, can be read
_WIDTH = 18  # characters of a label
_COLORS = "cividis"  # looks alike to color-blind readers, and even in print


@plot
def similarity(
    vectors_or_matrix: Any, labels: Iterable[Any] | None = None, *,
    metric: Literal["auto", "cosine", "precomputed"] = "auto", ax: Axes | None = None, title: str | None = None,
    mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw how alike rows are: every row against every other row, by cosine.

    Up to 40 rows keep their order and have labels, up to 12 also numbers; more rows are ordered so that neighbors are
    alike, and have no labels. The colors reach from the smallest value off the diagonal to the largest.

    Parameters
    ----------
    vectors_or_matrix : Series, list, DataFrame or numpy.ndarray
        One vector a row, all of one space; rows without one are left out and counted under the title. Or a square
        matrix of similarities.
    labels : iterable, optional
        One label a row. Default: the index of a pandas object, or the number of the row.
    metric : {"auto", "cosine", "precomputed"}
        ``"cosine"`` compares vectors, ``"precomputed"`` takes a square matrix of similarities as it is. ``"auto"``
        takes a symmetric square with ones on its diagonal for similarities, everything else for vectors.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        There are more than 2,000 rows, the vectors differ in length or space, similarities are not square, or there
        are not as many labels as rows.

    Examples
    --------
    >>> cf.plots.similarity(df["vector"], labels=df["topic"])
    """
    count = len(vectors_or_matrix)
    if count > _MAX_ROWS:
        raise ValueError(
            f"{count:,} rows: a matrix of more than {_MAX_ROWS:,} cannot be read. Draw a sample "
            f"(vectors.sample({_MAX_ROWS})), or all rows as a map: plots.clusters(vectors)."
        )
    names = _names(vectors_or_matrix, labels, count)
    matrix, kept = _similarities(vectors_or_matrix, metric)
    few = len(matrix) <= _NAMED
    if ax is None:
        side = float(np.clip(0.32 * len(matrix), 2.4, 6.4)) if few else 5.6
        ax = new_axes(side + (3.0 if few else 1.4), side + (1.9 if few else 0.7))
    if not len(matrix):
        return empty(ax, title, "no vectors to show" + (f" ({count:,} missing)" if count else ""))
    notes = ["cosine"] if metric != "precomputed" else []
    if not few:
        order = space.leaf_order(np.nan_to_num(matrix, nan=float(np.nanmin(matrix))))
        matrix = matrix[np.ix_(order, order)]
        notes.append("ordered so that neighbors are alike")
    if len(matrix) < count:
        notes.append(f"{count - len(matrix):,} without a vector left out")
    image = _draw(ax, matrix)
    if few:
        _annotate(ax, matrix, names[kept].tolist(), image)
    return finish(ax, counted(len(matrix)), title, notes, mark, stand_in_of(vectors_or_matrix))


def _names(given: Any, labels: Iterable[Any] | None, count: int) -> pd.Series[Any]:
    if labels is not None:
        return read_labels(labels, given, count)
    known = given.index if isinstance(given, (pd.Series, pd.DataFrame)) else range(count)
    return pd.Series(list(known), dtype=object)


def _similarities(given: Any, metric: str) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Return the similarities of the rows that have a vector, and a mask of these rows."""
    if metric not in ("auto", "cosine", "precomputed"):
        raise ValueError(f"metric must be 'auto', 'cosine' or 'precomputed', not {metric!r}")
    flat = isinstance(given, pd.DataFrame) or getattr(given, "ndim", 0) == 2
    if metric == "precomputed" or (metric == "auto" and flat and _are_similarities(np.asarray(given))):
        values = np.asarray(given, dtype=np.float64)
        if values.ndim != 2 or values.shape[0] != values.shape[1]:
            raise ValueError(f"similarities must be a square matrix; this one has the shape {values.shape}")
        return values, np.ones(len(values), dtype=bool)
    rows, kept = read_vectors(given)
    unit = normalized(rows).astype(np.float64)
    return unit @ unit.T, kept


def _are_similarities(values: npt.NDArray[Any]) -> bool:
    if values.shape[0] != values.shape[1] or not len(values) or values.dtype.kind not in "fiu":
        return False
    return bool(np.allclose(np.diag(values), 1, atol=1e-3) and np.allclose(values, values.T, atol=1e-3, equal_nan=True))


def _draw(ax: Axes, matrix: Numbers) -> AxesImage:
    others = matrix[~np.eye(len(matrix), dtype=bool)]
    known = others[np.isfinite(others)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if high - low < 0.01:  # all alike, or one pair: a scale of its own would show rounding as contrast
        low, high = low - 0.05, high + 0.05
    image = ax.imshow(matrix, cmap=_COLORS, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    image.set_cmap(image.get_cmap().with_extremes(bad=GREY))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme(ax).faint, labelsize=8.5, length=0)
    return image


def _annotate(ax: Axes, matrix: Numbers, names: list[Any], image: AxesImage) -> None:
    """Write labels beside the rows and below the columns, and numbers where there is room for them."""
    size = 9.0 if len(matrix) <= 20 else 7.5
    name_ticks(ax, ax.yaxis, names, _WIDTH, fontsize=size)
    slant = {"rotation": 45} if len(matrix) <= 20 else {"rotation": 90, "va": "center"}
    name_ticks(ax, ax.xaxis, names, _WIDTH, fontsize=size, ha="right", rotation_mode="anchor", **slant)
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(matrix) if len(matrix) <= _NUMBERED else ():
        red, green, blue, _ = image.to_rgba(np.array([value]))[0]
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "#222222"
        text = f"{value:z.2f}" if np.isfinite(value) else "?"
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
