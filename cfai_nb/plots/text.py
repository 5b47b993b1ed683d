"""Words on an axes: every string drawn as it is written, whatever it holds and whichever fonts are installed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Annotation

from .. import markup
from .axes import inches
from .palette import FAINT, INK

# Families that hold other scripts, by system; only those that are installed are ever asked for.
_WIDER = (
    "DejaVu Sans", "Noto Sans CJK JP", "Noto Sans JP", "Hiragino Sans", "Yu Gothic", "Meiryo", "MS Gothic",
    "IPAexGothic", "TakaoGothic", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Zen Hei",
    "Noto Sans CJK KR", "Malgun Gothic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans", "Arial Unicode MS",
    "Segoe UI Symbol", "Symbola",
)  # fmt: skip
TIED = "\N{NO-BREAK SPACE}"
_ABSENT = "□"
_MOST_LINES = 3  # of a title or of the lines below it: words without end must not push the picture away


def letters(text: object) -> tuple[str, list[str]]:
    """Return what can be drawn of the beginning of `text` on one line, and the font families to draw it with.

    A character that no installed font has would be a warning at every drawing: it becomes an empty box.
    """
    line = TIED.join(map(markup.line, str(text)[: 4 * markup.LINE].split(TIED)))
    chosen = list(mpl.rcParams["font.family"])
    absent = set(map(ord, line)).difference(*map(_drawable, chosen))
    for family in _installed() if absent else ():
        if absent & _drawable(family):
            chosen.append(family)
            absent -= _drawable(family)
    return line.translate(dict.fromkeys(absent, _ABSENT)), chosen


def folded(text: str, width: int, lines: int = 2) -> str:
    """Fold at `width` characters into at most `lines` lines; what is cut off shows as an ellipsis."""
    if lines == 1:  # textwrap would drop a first word that is too long
        return text if len(text) <= width else text[: width - 1].rstrip() + "…"
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" …"))


def told_apart(texts: Sequence[str], width: int, lines: int = 1) -> list[str]:
    """Fold each; where that makes two of them alike, as with long paths, they are cut in the middle instead."""
    shown = [folded(text, width, lines) for text in texts]
    if len(set(shown)) == len(set(texts)):
        return shown
    most = width * lines - 4 * (lines - 1)  # folding at blanks takes room
    end = most // 3
    cut = [text if len(text) <= most else f"{text[: most - end - 1].rstrip()}…{text[-end:].lstrip()}" for text in texts]
    return [folded(text, width, lines) for text in cut]


def halo(width: float = 3.0) -> list[patheffects.AbstractPathEffect]:
    """White around the letters, so that they stand on points."""
    return [patheffects.withStroke(linewidth=width, foreground="white")]


def heading(ax: Axes, title: str, subtitle: str = "", mark: str | None = None) -> None:
    """Write a title and smaller lines below it over the left edge, folded to the width of the axes.

    With `mark` it is stamped to the right of them: for plots that have data in every corner.
    """
    small, large = 8.5, 12.0
    taken = stamp(ax, mark, above=True).get_window_extent().width / ax.figure.dpi + 0.15 if mark else 0.0
    under = _wrapped(ax, markup.line(subtitle), small, taken)
    if under:
        caption(ax, under, (0, 1), (0, 6), size=small, colour=FAINT, va="bottom")
    lift = 8 + (under.count("\n") + 1) * small * 1.3 + 2 if under else 8
    text, family = letters(title)
    ax.set_title(
        _wrapped(ax, text, large, taken),
        loc="left",
        pad=lift,
        fontsize=large,
        fontfamily=family,
        color=INK,
        parse_math=False,
    )


def caption(
    ax: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], *, size: float, colour: str, **how: Any
) -> Annotation:
    """Write at a place given as fractions of the axes, moved by `offset` points."""
    lines = [letters(line) for line in text.split("\n")]
    families = list(dict.fromkeys(family for _, chosen in lines for family in chosen))
    return ax.annotate(
        "\n".join(line for line, _ in lines),
        at,
        offset,
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        fontfamily=families,
        color=colour,
        parse_math=False,
        **how,
    )


def name_ticks(axis: Axis, places: Sequence[float], names: Iterable[object], width: int, **how: Any) -> None:
    """Write a name at each place of an axis, each as it is written and on one line of at most `width` characters."""
    axis.set_ticks(places)
    written = [letters(name) for name in names]
    axis.set_ticklabels(told_apart([text for text, _ in written], width), color=INK, **how)
    for tick, (_, families) in zip(axis.get_ticklabels(), written, strict=True):
        tick.set_fontfamily(families)
        tick.set_parse_math(False)


def stamp(ax: Axes, mark: str, *, above: bool = False) -> Annotation:
    """Set a mark in the lower right corner, or above the axes, that nobody overlooks: where the numbers come from."""
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFF3D6", "edgecolor": "#B36B00", "linewidth": 1.0}
    return caption(
        ax,
        markup.line(mark, 40),
        (1, int(above)),
        (-4 if above else -7, 8),
        size=9,
        colour="#7A4900",
        ha="right",
        va="bottom",
        bbox=box,
        zorder=9,
        weight="bold",
    )


def marked(mark: str | None, emulated: bool) -> str | None:
    """Return the word to stamp: the one that was asked for, else whose data they are."""
    return "emulator" if mark is None and emulated else mark


def blank(ax: Axes, title: str | None, words: str) -> Axes:
    """An axes with nothing to draw says so in its middle."""
    heading(ax, title or "")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_frame_on(False)
    caption(ax, words, (0.5, 0.5), (0, 0), size=11, colour=FAINT, ha="center", va="center")
    return ax


def _wrapped(ax: Axes, text: str, size: float, taken: float) -> str:
    return folded(text, max(16, int((inches(ax) - taken) * 72 / (0.53 * size))), _MOST_LINES)


@lru_cache(maxsize=64)
def _drawable(family: str) -> frozenset[int]:
    """Code points that a family has glyphs for."""
    return frozenset(get_font(findfont(FontProperties(family=[family]))).get_charmap())


@lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    known = {font.name for font in fontManager.ttflist}
    return tuple(family for family in _WIDER if family in known)
