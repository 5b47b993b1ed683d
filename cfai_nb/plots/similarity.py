"""How alike rows are, as a field of colours: `similarity`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from .. import vectors as space
from ..markup import counted
from ..vectors.vector import is_emulated, same_space
from .axes import new_axes, plot, settle
from .palette import FAINT, GREY, INK
from .rows import labels as read_labels
from .rows import vectors
from .text import blank, heading, marked, name_ticks

NAMED, WRITTEN, MOST = 40, 12, 2_000
_COLOURS = "cividis"  # made to look alike to colour-blind readers, and even in print
_NAME = 18

Field = npt.NDArray[np.float64]


@plot
def similarity(
    vectors_or_matrix: Any,
    labels: Iterable[Any] | None = None,
    *,
    kind: Literal["auto", "vectors", "similarities"] = "auto",
    ax: Axes | None = None,
    title: str | None = None,
    mark: str | None = None,
) -> Axes:
    """Draw how alike rows are: every row against every other one, by cosine.

    Up to 40 rows stand in their own order, with their labels (and up to 12 with the numbers); more are put in an
    order in which neighbours are alike, without labels. The colours reach from the least value off the diagonal to
    the largest.

    Parameters
    ----------
    vectors_or_matrix : Series, list, DataFrame or numpy.ndarray
        One vector a row, all of one space; rows without one are left out and counted under the title. Or a square
        matrix of similarities.
    labels : iterable, optional
        One label a row. Default: the index of a pandas object, or the number of the row.
    kind : {"auto", "vectors", "similarities"}
        What is given. ``"auto"`` takes a symmetric square with ones on its diagonal for similarities.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        There are more than 2,000 rows, they are no vectors of one length and space, similarities are not square, or
        there are not as many labels as rows.
    """
    count = len(vectors_or_matrix)
    if count > MOST:
        raise ValueError(
            f"{count:,} rows: a field of more than {MOST:,} cannot be read. Draw a sample (vectors.sample({MOST})), or "
            "all of them as a map: plots.clusters(vectors)."
        )
    given = _names(vectors_or_matrix, labels, count)
    field, kept = _field(vectors_or_matrix, kind)
    ax = new_axes(*_size(len(field))) if ax is None else ax
    if not len(field):
        return blank(ax, title, "no vectors to show" + (f" ({count:,} missing)" if count else ""))
    notes = ["cosine"] if kind != "similarities" else []
    if len(field) > NAMED:
        order = space.leaf_order(np.nan_to_num(field, nan=float(np.nanmin(field))))
        field = field[np.ix_(order, order)]
        notes.append("ordered so that neighbours are alike")
    if len(field) < count:
        notes.append(f"{count - len(field):,} without a vector left out")
    image = _draw(ax, field)
    if len(field) <= NAMED:
        _write(ax, field, given[kept].tolist(), image)
    settle(ax)
    usual = counted(len(field))
    heading(ax, usual if title is None else title, " · ".join(notes), marked(mark, is_emulated(vectors_or_matrix)))
    return ax


def _names(given: Any, labels: Iterable[Any] | None, count: int) -> pd.Series[Any]:
    if labels is not None:
        return read_labels(labels, given, count)
    known = given.index if isinstance(given, (pd.Series, pd.DataFrame)) else range(count)
    return pd.Series(list(known), dtype=object)


def _size(count: int) -> tuple[float, float]:
    side = float(np.clip(0.32 * count, 2.4, 6.4)) if count <= NAMED else 5.6
    return side + (3.0 if count <= NAMED else 1.4), side + (1.9 if count <= NAMED else 0.7)


def _field(given: Any, kind: str) -> tuple[Field, npt.NDArray[np.bool_]]:
    """Similarities of the rows that have a vector, and which rows those are."""
    if kind not in ("auto", "vectors", "similarities"):
        raise ValueError(f"kind must be 'auto', 'vectors' or 'similarities', not {kind!r}")
    flat = isinstance(given, pd.DataFrame) or getattr(given, "ndim", 0) == 2
    if kind == "similarities" or (kind == "auto" and flat and _is_field(np.asarray(given))):
        values = np.asarray(given, dtype=np.float64)
        if values.ndim != 2 or values.shape[0] != values.shape[1]:
            raise ValueError(f"similarities are a square, one row and column for each; this has shape {values.shape}")
        return values, np.ones(len(values), dtype=bool)
    if not flat:
        same_space(cell for cell in given if isinstance(cell, np.ndarray))
    rows, kept = vectors(given)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float64)
    return unit @ unit.T, kept


def _is_field(values: npt.NDArray[Any]) -> bool:
    if values.shape[0] != values.shape[1] or not len(values) or values.dtype.kind not in "fiu":
        return False
    return bool(np.allclose(np.diag(values), 1, atol=1e-3) and np.allclose(values, values.T, atol=1e-3, equal_nan=True))


def _draw(ax: Axes, field: Field) -> AxesImage:
    others = field[~np.eye(len(field), dtype=bool)]
    known = others[np.isfinite(others)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if high - low < 0.01:  # all alike, or one pair: a scale of its own would show rounding as contrast
        low, high = low - 0.05, high + 0.05
    image = ax.imshow(field, cmap=_COLOURS, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    image.set_cmap(image.get_cmap().with_extremes(bad=GREY))
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=FAINT, labelsize=8.5, length=0)
    return image


def _write(ax: Axes, field: Field, names: list[Any], image: AxesImage) -> None:
    """Labels beside the rows and below the columns, and the numbers where there is room for them."""
    size = 9.0 if len(field) <= 20 else 7.5
    name_ticks(ax.yaxis, range(len(field)), names, _NAME, fontsize=size)
    slant = {"rotation": 45} if len(field) <= 20 else {"rotation": 90, "va": "center"}
    name_ticks(ax.xaxis, range(len(field)), names, _NAME, fontsize=size, ha="right", rotation_mode="anchor", **slant)
    ax.tick_params(length=0)
    for (row, column), value in np.ndenumerate(field) if len(field) <= WRITTEN else ():
        red, green, blue, _ = image.to_rgba(np.array([value]))[0]
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else INK
        said = f"{value:z.2f}" if np.isfinite(value) else "?"
        ax.text(column, row, said, ha="center", va="center", color=ink, fontsize=8)
