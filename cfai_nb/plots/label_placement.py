"""Names on a map: near their points, on the picture, not on one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from .axes import inches
from .palette import readable
from .text import folded, halo, letters

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ANGLES = np.deg2rad(np.array([90, 270, 45, 135, 225, 315, 0, 180, 68, 112, 248, 292, 22, 158, 202, 338]))
_WEIGHED = 3_000  # points looked at when a place is judged: more change no choice
_GAP = 3.0  # points kept free around a name


@dataclass(frozen=True)
class Name:
    """A name to be written: its text, its points as row numbers, its colour, and how many characters a line may have.

    A `width` of 0 leaves that to the size of the axes.
    """

    text: str
    rows: npt.NDArray[np.intp]
    colour: str
    width: int = 0


def middle(points: Points) -> Points:
    """Return the point with the least way to the nearest third of the others: it lies where the cluster is dense."""
    some = points[:: max(1, len(points) // 400)]
    ways = np.hypot(some[:, None, 0] - some[None, :, 0], some[:, None, 1] - some[None, :, 1])
    return np.asarray(some[int(np.sort(ways)[:, : len(some) // 3 + 1].sum(axis=1).argmin())])


def place(ax: Axes, points: Points, names: Sequence[Name], taken: list[Bbox]) -> list[Name]:
    """Write the names, the largest group first; return those for which there was no room.

    `taken` are the boxes, in pixels, that are occupied; the boxes of the names are added to it.
    """
    ax.apply_aspect()
    size = _font_size(ax, len(names))
    pixels = np.asarray(ax.transData.transform(points))
    owner = np.full(len(points), -1)
    for number, name in enumerate(names):
        owner[name.rows] = number
    step = max(1, len(points) // _WEIGHED)
    pixels, owner = pixels[::step], owner[::step]
    homeless = []
    for number in sorted(range(len(names)), key=lambda number: -len(names[number].rows)):
        name = names[number]
        anchor = middle(points[name.rows])
        home = np.asarray(ax.transData.transform(anchor))
        width, height = _measure(ax, name, size)
        box = _find(home, width, height, ax.bbox, taken, pixels, owner != number)
        if box is None:
            homeless.append(name)
            continue
        taken.append(box)
        _write(ax, name, anchor, (np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - home), height, size)
    return homeless


def _find(
    home: Points, width: float, height: float, frame: Bbox, taken: list[Bbox], pixels: Points, foreign: Mask
) -> Bbox | None:
    """The best free box around `home`: close by, hardly on points of other groups, on few of its own."""
    best: tuple[float, Bbox] | None = None
    few = min(2, max(1, int(np.count_nonzero(~foreign))))  # a name must not hide the only point of its group
    for ring in (0.0, 0.5, 0.8, 1.3, 1.9, 2.6, 3.4, 4.4, 5.5):
        if best is not None and ring >= best[0]:
            break  # only farther ones are left
        for angle in _ANGLES if ring else _ANGLES[:1]:
            # An ellipse: a name is wide, so a step sideways has to be longer than one up.
            x = home[0] + ring * np.cos(angle) * (height + width) / 2
            y = home[1] + ring * np.sin(angle) * height
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            if not _inside(box, frame) or any(_overlap(box, other) for other in taken):
                continue
            covered = (abs(pixels[:, 0] - x) < width / 2) & (abs(pixels[:, 1] - y) < height / 2)
            others = np.count_nonzero(covered & foreign)
            cost = ring + 1.5 * min(1.0, others / 20) + 0.6 * min(1.0, np.count_nonzero(covered) / few)
            if best is None or cost < best[0]:
                best = (cost, box)
    return best[1] if best else None


def _inside(box: Bbox, frame: Bbox) -> bool:
    return bool(box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1)


def _overlap(one: Bbox, other: Bbox) -> bool:
    return bool(one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1)


def _measure(ax: Axes, name: Name, size: float) -> tuple[float, float]:
    """Width and height of a written name, in pixels, with the gap around it."""
    text, families = _shown(ax, name)
    trial = ax.text(0, 0, text, fontsize=size, fontfamily=families, weight="bold", parse_math=False)
    extent = trial.get_window_extent()
    trial.remove()
    gap = 2 * _GAP * ax.figure.dpi / 72
    return extent.width + gap, extent.height + gap


def _write(ax: Axes, name: Name, anchor: Points, shift: Points, height: float, size: float) -> None:
    """Write a name beside its anchor, with a thin line to it where it had to move away."""
    text, families = _shown(ax, name)
    far = float(np.hypot(*shift)) > 1.5 * height
    points = shift * 72 / ax.figure.dpi
    ax.annotate(
        text,
        (float(anchor[0]), float(anchor[1])),
        (float(points[0]), float(points[1])),
        textcoords="offset points",
        ha="center",
        va="center",
        multialignment="center",
        fontsize=size,
        fontfamily=families,
        weight="bold",
        color=readable(name.colour),
        parse_math=False,
        path_effects=halo(),
        arrowprops={"arrowstyle": "-", "color": name.colour, "lw": 0.8, "shrinkA": 1, "shrinkB": 0} if far else None,
        zorder=5 if far else 6,  # its line goes below the names it passes
    )


def _shown(ax: Axes, name: Name) -> tuple[str, list[str]]:
    line, families = letters(name.text)
    return folded(line, name.width or fold(ax)), families


def fold(ax: Axes) -> int:
    """Return the characters on a line of a name: fewer on a narrow axes."""
    return int(np.clip(inches(ax) * 5, 12, 20))


def _font_size(ax: Axes, count: int) -> float:
    """Smaller where there are many names, or little room for them."""
    return (10.0 if count <= 8 else 9.0 if count <= 14 else 8.0) - (1.5 if inches(ax) < 3.5 else 0.0)
