"""Text on axes: titles, captions, tick names, the stamp, and labels placed on a map so that they do not overlap.

Every string is drawn as it is written, whatever it holds and whichever fonts are installed: math is not parsed, and
characters no installed font has become a box. Label placement is our own: adjustText needs seconds where a map has
1,000 points, ignores points where it is quick, has no answer to a lack of room, and loads pyplot.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.container import Container
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.legend import Legend
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ..html import markup
from .axes import Numbers, inches, readable, run_layout, theme

# Families that hold other scripts, by system; only installed ones are looked into.
_WIDER = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic",
    "IPAexGothic", "TakaoGothic", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei",
    "Noto Sans CJK KR", "Malgun Gothic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans", "Arial Unicode MS",
    "Segoe UI Symbol", "Symbola",
)  # fmt: skip
NO_BREAK = "\N{NO-BREAK SPACE}"
_NO_GLYPH = "□"
_MAX_LINES = 3  # of a title or of the lines below it: endless text must not push the plot away

_ANGLES = np.deg2rad(np.array([90, 270, 45, 135, 225, 315, 0, 180, 68, 112, 248, 292, 22, 158, 202, 338]))
_RINGS = (0.0, 0.5, 0.8, 1.3, 1.9, 2.6, 3.4, 4.4, 5.5)
_WEIGHED = 3_000  # points considered when a place is judged: more change no choice
_NARROW = 1.8  # inches beside a stamp below which the heading has no room there
_GAP = 3.0  # printer's points kept free around a label


@dataclass(frozen=True)
class Label:
    """A label to be placed on a map."""

    text: str
    rows: npt.NDArray[np.intp]  #: row numbers of the points it belongs to
    color: str
    width: int = 0  #: characters a line may have; 0 chooses by the size of the axes


def drawable(text: object) -> tuple[str, list[str]]:
    """Return the beginning of `text` on one line, and the font families to draw it with.

    A character that no installed font has would be a warning at every drawing: it becomes an empty box.
    """
    line = NO_BREAK.join(map(markup.line, str(text)[: 4 * markup.LINE].split(NO_BREAK)))
    chosen = list(mpl.rcParams["font.family"])
    absent = set(map(ord, line)).difference(*map(_glyphs, chosen))
    for family in _installed() if absent else ():
        if absent & _glyphs(family):
            chosen.append(family)
            absent -= _glyphs(family)
    return line.translate(dict.fromkeys(absent, _NO_GLYPH)), chosen


@lru_cache(maxsize=64)
def _glyphs(family: str) -> frozenset[int]:
    """Code points that a family has glyphs for."""
    return frozenset(get_font(findfont(FontProperties(family=[family]))).get_charmap())


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    known = {font.name for font in fontManager.ttflist}
    return tuple(family for family in _WIDER if family in known)


def fold(text: str, width: int, lines: int = 2) -> str:
    """Fold at `width` characters into at most `lines` lines; text that is cut off ends in an ellipsis."""
    if lines == 1:  # textwrap would drop a first word that is too long
        return text if len(text) <= width else text[: width - 1].rstrip() + "…"
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def fold_distinct(texts: Sequence[str], width: int, lines: int = 1) -> list[str]:
    """Fold each text; where two become equal, as long paths do, cut all of them in the middle instead."""
    shown = [fold(text, width, lines) for text in texts]
    if len(set(shown)) == len(set(texts)):
        return shown
    longest = width * lines - 4 * (lines - 1)  # folding at blanks takes room
    end = longest // 3
    cut = (t if len(t) <= longest else f"{t[: longest - end - 1].rstrip()}…{t[-end:].lstrip()}" for t in texts)
    return [fold(text, width, lines) for text in cut]


def heading(ax: Axes, title: str, subtitle: str = "", mark: str | None = None) -> None:
    """Write a title and smaller lines below it over the left edge, folded to the width of the axes.

    A `mark` is stamped to the right of them, or on narrow axes above them: for plots that have data in every corner.
    """
    small, large = 8.5, 12.0
    stamped = stamp(ax, mark, above=True) if mark else None
    taken = stamped.get_window_extent().width / ax.figure.dpi + 0.15 if stamped else 0.0
    ax.apply_aspect()
    # Squares become narrower when the heading takes its part of the height.
    narrow = taken and inches(ax) - taken < (_NARROW if ax.get_aspect() == "auto" else 1.6 * _NARROW)
    room = (inches(ax) - (0.0 if narrow else taken)) * 72

    def folded(line: str, size: float) -> str:
        return fold(line, max(16, int(room / (0.55 * size))), _MAX_LINES)

    below = folded(markup.line(subtitle), small)
    if below:
        caption(ax, below, (0, 1), (0, 6), size=small, color=theme(ax).faint, va="bottom")
    pad = 8 + (below.count("\n") + 1) * small * 1.3 + 2 if below else 8
    text, family = drawable(title)
    above = folded(text, large)
    ax.set_title(above, loc="left", pad=pad, fontsize=large, fontfamily=family, color=theme(ax).ink, parse_math=False)
    if stamped is not None and narrow:
        stamped.set(x=4, y=pad + (above.count("\n") + 1) * large * 1.3 + 4, ha="left")
        stamped.xy = (0, 1)


def caption(
    ax: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], *, size: float, color: str,
    **options: Any,
) -> Annotation:  # fmt: skip
    """Write at a place given in fractions of the axes, moved by `offset` printer's points."""
    lines = [drawable(line) for line in text.split("\n")]
    families = list(dict.fromkeys(family for _, chosen in lines for family in chosen))
    return ax.annotate("\n".join(line for line, _ in lines), at, offset, xycoords="axes fraction",
                       textcoords="offset points", fontsize=size, fontfamily=families, color=color, parse_math=False,
                       **options)  # fmt: skip


def name_ticks(ax: Axes, axis: Axis, names: Iterable[object], width: int, **options: Any) -> None:
    """Write a name at 0, 1, 2, ... of an axis, each on one line of at most `width` characters."""
    written = [drawable(name) for name in names]
    axis.set_ticks(range(len(written)))
    axis.set_ticklabels(fold_distinct([text for text, _ in written], width), color=theme(ax).ink, **options)
    for tick, (_, families) in zip(axis.get_ticklabels(), written, strict=True):
        tick.set_fontfamily(families)
        tick.set_parse_math(False)


def legend_of(
    ax: Axes, handles: Sequence[Artist | Container], texts: Iterable[str], width: int, lines: int = 1, **options: Any
) -> Legend:
    """Add a legend with a text beside each handle, folded at `width` characters and drawn as it is written."""
    written = [drawable(text) for text in texts]
    folded = [fold(text, width, lines) for text, _ in written]
    legend = ax.legend(handles, folded, labelcolor=theme(ax).ink, **options)
    for entry, (_, families) in zip(legend.get_texts(), written, strict=True):
        entry.set_fontfamily(families)
        entry.set_parse_math(False)
    return legend


def stamp(ax: Axes, mark: str, *, above: bool = False) -> Annotation:
    """Stamp a word that says where the data come from into the lower right corner, or above the axes."""
    # White, which a dark theme turns into its ground: a tint would become gray there, and the word illegible.
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFFFFF", "edgecolor": "#B36B00", "linewidth": 1.0}
    return caption(ax, markup.line(mark, 40), (1, int(above)), (-4 if above else -7, 8), size=9, color="#7A4900",
                   ha="right", va="bottom", bbox=box, zorder=9, weight="bold")  # fmt: skip


def chosen_mark(mark: str | None, stamp: str) -> str | None:
    """Return the word to stamp: the one the user asked for, else what the data of a stand-in are stamped with."""
    return stamp or mark if mark is None else mark


def finish(ax: Axes, usual: str, title: str | None, notes: Iterable[str], mark: str | None, stamp: str) -> Axes:
    """Write the title, the notes below it and the stamp, once the layout says how wide the axes are."""
    run_layout(ax)
    heading(ax, usual if title is None else title, " · ".join(notes), chosen_mark(mark, stamp))
    return ax


def empty(ax: Axes, title: str | None, text: str) -> Axes:
    """Write in the middle of axes without data why there is nothing to draw."""
    heading(ax, title or "")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_frame_on(False)
    caption(ax, text, (0.5, 0.5), (0, 0), size=11, color=theme(ax).faint, ha="center", va="center")
    return ax


def halo(ax: Axes) -> list[patheffects.AbstractPathEffect]:
    """Outline letters in the color of the background, so that they can be read on top of points."""
    return [patheffects.withStroke(linewidth=3.0, foreground=theme(ax).background)]


def label_width(ax: Axes) -> int:
    """Return how many characters a line of a label may have: fewer on narrow axes."""
    return int(np.clip(inches(ax) * 5, 12, 20))


def place_labels(ax: Axes, points: Numbers, labels: Sequence[Label], taken: list[Bbox]) -> list[Label]:
    """Write labels near their points and not on one another, the largest group first; return those without room.

    `points` are in data coordinates; `taken` are boxes in pixels that are occupied, to which those of the labels are
    added.
    """
    ax.apply_aspect()
    size = (10.0 if len(labels) <= 8 else 9.0 if len(labels) <= 14 else 8.0) - (1.5 if inches(ax) < 3.5 else 0.0)
    pixels = np.asarray(ax.transData.transform(points))
    owner = np.full(len(points), -1)
    for number, label in enumerate(labels):
        owner[label.rows] = number
    step = max(1, len(points) // _WEIGHED)
    pixels, owner = pixels[::step], owner[::step]
    left_over = []
    for number in sorted(range(len(labels)), key=lambda number: -len(labels[number].rows)):
        label = labels[number]
        line, families = drawable(label.text)
        style = {"fontsize": size, "fontfamily": families, "weight": "bold", "parse_math": False}
        text = fold(line, label.width or label_width(ax))
        anchor = _dense_point(points[label.rows])
        home = np.asarray(ax.transData.transform(anchor))
        width, height = _measure(ax, text, style)
        box = _best_box(home, width, height, ax.bbox, taken, pixels, owner != number)
        if box is None:
            left_over.append(label)
            continue
        taken.append(box)
        shift = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 - home
        _write(ax, text, label.color, anchor, shift, float(np.hypot(*shift)) > 1.5 * height, style)
    return left_over


def _dense_point(points: Numbers) -> Numbers:
    """Return the point that is closest to the nearest third of the others: it lies where the group is dense."""
    some = points[:: max(1, len(points) // 400)]
    distances = np.hypot(some[:, None, 0] - some[None, :, 0], some[:, None, 1] - some[None, :, 1])
    return np.asarray(some[int(np.sort(distances)[:, : len(some) // 3 + 1].sum(axis=1).argmin())])


def _measure(ax: Axes, text: str, style: dict[str, Any]) -> tuple[float, float]:
    """Return width and height of a label in pixels, with the gap around it."""
    trial = ax.text(0, 0, text, **style)
    extent = trial.get_window_extent()
    trial.remove()
    gap = 2 * _GAP * ax.figure.dpi / 72
    return extent.width + gap, extent.height + gap


def _best_box(
    home: Numbers, width: float, height: float, frame: Bbox, taken: list[Bbox], pixels: Numbers,
    foreign: npt.NDArray[np.bool_],
) -> Bbox | None:  # fmt: skip
    """Return the best free box around `home`: close, hardly on points of other groups, on few points of its own."""
    best: tuple[float, Bbox] | None = None
    few = min(2, max(1, int(np.count_nonzero(~foreign))))  # a label must not hide the only point of its group
    for ring in _RINGS:
        if best is not None and ring >= best[0]:
            break  # only farther ones are left
        for angle in _ANGLES if ring else _ANGLES[:1]:
            # An ellipse: a label is wide, so a step sideways has to be longer than one up.
            x = home[0] + ring * np.cos(angle) * (height + width) / 2
            y = home[1] + ring * np.sin(angle) * height
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            inside = box.x0 >= frame.x0 and box.x1 <= frame.x1 and box.y0 >= frame.y0 and box.y1 <= frame.y1
            if not inside or any(_overlap(box, other) for other in taken):
                continue
            covered = (abs(pixels[:, 0] - x) < width / 2) & (abs(pixels[:, 1] - y) < height / 2)
            others = np.count_nonzero(covered & foreign)
            cost = ring + 1.5 * min(1.0, others / 20) + 0.6 * min(1.0, np.count_nonzero(covered) / few)
            if best is None or cost < best[0]:
                best = (cost, box)
    return best[1] if best else None


def _overlap(one: Bbox, other: Bbox) -> bool:
    return bool(one.x0 < other.x1 and other.x0 < one.x1 and one.y0 < other.y1 and other.y0 < one.y1)


def _write(ax: Axes, text: str, color: str, anchor: Numbers, shift: Numbers, far: bool, style: dict[str, Any]) -> None:
    """Write a label `shift` pixels from its anchor, with a thin line to it where that is far."""
    line = {"arrowstyle": "-", "color": color, "lw": 0.8, "shrinkA": 1, "shrinkB": 0}
    x, y = shift * 72 / ax.figure.dpi
    ax.annotate(
        text, (float(anchor[0]), float(anchor[1])), (float(x), float(y)), textcoords="offset points",
        ha="center", va="center", multialignment="center", color=readable(color, theme(ax).background),
        path_effects=halo(ax), arrowprops=line if far else None,
        zorder=5 if far else 6,  # the line of a label goes below the labels it passes
        **style,
    )  # fmt: skip
