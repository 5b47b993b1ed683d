"""`boxes`: pictures with what a model found in them. A frame of pictures and boxes in, the axes out."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from ..errors import InputError, check_count
from ..frame import rows
from ..frame.reading import is_missing
from ..html.markup import counted
from ..media import Folder, Link, as_folder
from ..media.cells import Box, boxes_of, label_colors
from ..media.picture import thumbnail
from ..media.source import media_of, pixels_of
from ..vectors.vector import stand_in_of
from .axes import PICTURE, new_axes, plot, theme
from .text import drawable, empty, finish, fold, legend_of

_PIXELS = 640  # of a picture's longer side, as it is drawn
_GAP = 0.06  # between two pictures, as a share of a picture's longer side
_LINE = 0.1  # for the row's label above each picture
_WRITTEN = 6  # boxes of a picture up to which each has its label; a legend names the colors of more
_WIDTH = 24  # characters of a label


@dataclass(frozen=True)
class _Found:
    """A row that is drawn: its picture (None: why there is none), and its boxes in shares of width and height."""

    label: Hashable
    boxes: list[Box]
    pixels: npt.NDArray[np.uint8] | None = None
    why: str = ""
    place: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height on the axes; the longer one is 1."""
        if self.pixels is None:
            return 1.0, 1.0
        high, wide = self.pixels.shape[:2]
        return wide / max(wide, high), high / max(wide, high)


@plot
def boxes(
    frame: pd.DataFrame, picture: Hashable, boxes: Hashable, *, n: int = 6, min_score: float = 0.0,
    files: str | os.PathLike[str] | None = None, ax: Axes | None = None, title: str | None = None,
    mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw pictures with the boxes that ``detect`` found in them.

    The first `n` rows with an answer are drawn, each with its index label above it. A color stands for a label. Up to
    six boxes of a picture have label and score written at them; colors of more are named in a legend. Pictures are
    drawn as they are stored, not turned by their metadata, since boxes are counted in stored pixels.

    Parameters
    ----------
    frame : DataFrame
        One picture a row.
    picture : column label
        Its column of pictures: bytes, paths, PIL pictures, arrays, or names of files in the folder of `files`.
    boxes : column label
        Its column of lists as ``df.cfai.detect(...)`` returns them.
    n : int
        The most pictures that are drawn.
    min_score : float
        Boxes with a smaller score are left out and counted. Those without a score are drawn.
    files : str or path, optional
        The folder in which texts of the column name files.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ColumnError
        There is no such column.
    ValueError
        A cell is not a list of boxes, or `n` is smaller than 1.

    Examples
    --------
    >>> shop = pd.DataFrame({"product": ["a red circle", "two blue squares"]})
    >>> shop["photo"] = shop.cfai.image("A poster: {product}", size=256)
    >>> shop["boxes"] = shop.cfai.detect("photo", "square")
    >>> cf.plots.boxes(shop, "photo", "boxes")
    """
    check_count(n=n)
    pictures, found = rows.column(frame, picture), rows.column(frame, boxes)
    answered = [at for at, cell in enumerate(found) if not is_missing(cell) and not is_missing(pictures.iloc[at])]
    shown = [_read(frame.index[at], pictures.iloc[at], found.iloc[at], as_folder(files)) for at in answered[:n]]
    drawn = [box for row in shown for box in row.boxes if box.score is None or box.score >= min_score]
    columns = min(len(shown), max(1, math.ceil(math.sqrt(len(shown) * 1.5))))
    if ax is None:
        lines = math.ceil(len(shown) / columns) if shown else 1
        side = float(np.clip(9.0 / max(columns, 1), 1.8, 3.2))
        ax = new_axes(max(4.0, side * max(columns, 1)), max(2.6, side * lines * (1 + _LINE)) + 0.7)
    if not shown:
        return empty(ax, title, "no row has a picture and boxes")
    colors = label_colors(drawn)
    _draw(ax, _placed(shown, columns), colors, min_score)
    usual = f"{len(drawn):,} {'box' if len(drawn) == 1 else 'boxes'} in {counted(len(shown), 'picture')}"
    notes = _notes(frame, answered, shown, drawn, min_score)
    return finish(ax, usual, title, notes, mark, stand_in_of(frame.iloc[:0], found))


def _notes(
    frame: pd.DataFrame, answered: Sequence[int], shown: Sequence[_Found], drawn: Sequence[Box], min_score: float
) -> list[str]:
    weak = sum(len(row.boxes) for row in shown) - len(drawn)
    notes = [f"{weak:,} below a score of {min_score:g} left out"] if weak else []
    notes += [f"{counted(len(answered) - len(shown), 'further row')}"] if len(answered) > len(shown) else []
    return notes + ([f"{len(frame) - len(answered):,} without an answer"] if len(answered) < len(frame) else [])


def _read(label: Hashable, cell: Any, boxes: Any, folder: Folder | None) -> _Found:
    """Return a row with its picture decoded small, and its boxes as shares of width and height."""
    from PIL import Image as pillow

    try:
        found = boxes_of(boxes)
    except ValueError as error:
        raise ValueError(f"row {label}: {error}") from None
    scales: list[tuple[float, float]] = []

    def note(picture: Any, scale: float) -> None:
        scales.append((picture.size[0] / scale, picture.size[1] / scale))

    try:
        source = pixels_of(cell)
        if source is None:
            media = media_of(cell, folder)
            if isinstance(media, Link):
                raise InputError("an address, which is not fetched to be drawn")
            source = media.content()
        small = thumbnail(source, _PIXELS, note)
        pixels = np.asarray(pillow.open(io.BytesIO(small.content)).convert("RGB"))
    except InputError as error:
        return _Found(label, [], why=str(error))
    wide, high = scales[0]
    shares = [
        one._replace(xmin=one.xmin / wide, ymin=one.ymin / high, xmax=one.xmax / wide, ymax=one.ymax / high)
        for one in found
    ]
    return _Found(label, shares, pixels)


def _placed(shown: Sequence[_Found], columns: int) -> list[_Found]:
    """Give each picture its place: lines of `columns`, each as high as its highest picture."""
    placed: list[_Found] = []
    top = 0.0
    for begin in range(0, len(shown), columns):
        line = shown[begin : begin + columns]
        top += _LINE
        placed += [replace(row, place=(at * (1 + _GAP), top)) for at, row in enumerate(line)]
        top += max(row.size[1] for row in line) + _GAP
    return placed


def _draw(ax: Axes, shown: Sequence[_Found], colors: dict[str, str], min_score: float) -> None:
    written = all(len(row.boxes) <= _WRITTEN for row in shown)
    for row in shown:
        (left, top), (wide, high) = row.place, row.size
        text, families = drawable(row.label)
        ax.text(left, top - 0.02, fold(text, _WIDTH, 1), fontsize=8.5, fontfamily=families, color=theme(ax).faint,
                va="bottom", parse_math=False)  # fmt: skip
        if row.pixels is None:
            ax.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=theme(ax).frame))
            why, families = drawable(row.why)
            ax.text(left + wide / 2, top + high / 2, fold(why, _WIDTH, 4), fontsize=8.5, fontfamily=families,
                    color=theme(ax).faint, ha="center", va="center", parse_math=False)  # fmt: skip
            continue
        ax.imshow(row.pixels, extent=(left, left + wide, top + high, top), interpolation="antialiased", gid=PICTURE)
        for box in sorted(row.boxes, key=lambda one: (one.xmin - one.xmax) * (one.ymax - one.ymin)):
            if box.score is None or box.score >= min_score:
                _outline(ax, box, row, colors[box.label], written)
    ends = [(row.place[0] + 1.0, row.place[1] + row.size[1]) for row in shown]
    ax.set_xlim(0, max(x for x, _ in ends))
    ax.set_ylim(max(y for _, y in ends), 0)
    ax.set_aspect("equal", anchor="NW")
    ax.set_axis_off()
    if not written and colors:
        handles = [Line2D([], [], color=color, linewidth=2.5) for color in colors.values()]
        legend_of(ax, handles, colors, _WIDTH, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=min(4, len(colors)),
                  frameon=False, fontsize=8.5)  # fmt: skip


def _outline(ax: Axes, box: Box, row: _Found, color: str, written: bool) -> None:
    """Draw one box, and its label at its upper left corner, inside the picture."""
    (left, top), (wide, high) = row.place, row.size
    x0, x1 = (left + min(max(side, 0.0), 1.0) * wide for side in (box.xmin, box.xmax))
    y0, y1 = (top + min(max(side, 0.0), 1.0) * high for side in (box.ymin, box.ymax))
    for shade, line in (("white", 3.2), (color, 1.8)):
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=shade, linewidth=line))
    if not written:
        return
    text, families = drawable(box.label)
    words = fold(text, _WIDTH, 1) + ("" if box.score is None else f" {box.score:.2f}")
    below = y0 - top < 0.09
    ax.text(x0, y0, words, fontsize=7.5, fontfamily=families, color="#111111", parse_math=False,
            va="top" if below else "bottom", clip_on=True,
            bbox={"boxstyle": "square,pad=0.2", "facecolor": "white", "edgecolor": color,
                  "linewidth": 1.2})  # fmt: skip
