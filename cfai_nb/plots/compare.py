"""`compare`: models by quality, cost and latency. A comparison or its table in, the axes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox

from ..html.markup import counted
from ..quality import wilson
from ..vectors.vector import stand_in_of
from .axes import Numbers, color_and_marker, new_axes, plot, run_layout, theme, tidy
from .cost import money_ticks
from .text import NO_BREAK, Label, caption, empty, finish, fold, place_labels
from .timing import duration

if TYPE_CHECKING:
    from ..frame.compare import Comparison

_WIDE = 12  # from this ratio of the highest to the lowest cost on, equal steps would crowd the cheap models
_WIDTH = 26  # characters on a line of a model and its time
_REQUIRED = ("usd_per_1k", "price", "p50", "on_front")


@plot
def compare(
    result: Comparison | pd.DataFrame, *, ax: Axes | None = None, title: str | None = None, mark: str | None = None
) -> Axes:
    """Draw models by cost and accuracy (agreement where there is no truth), with their latency and the Pareto front.

    Up is better, left is cheaper, and a larger circle is slower (median time of a request; a cross where nothing was
    timed, since all answers came from the store). A filled circle has an exact price, a hollow one an estimated price;
    models of unknown price stand in a strip of their own at the right. The line is the front: no other model is both
    cheaper and better than a model on it. Whiskers are 95 % intervals of an accuracy (Wilson): where they overlap
    widely, the sample is too small to tell the models apart.

    Parameters
    ----------
    result : Comparison or DataFrame
        What ``df.cfai.compare(...)`` returned, or its ``table``.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        A frame lacks the columns.

    Examples
    --------
    >>> cf.plots.compare(df.cfai.compare(cf.Classify(labels=topics), "text", models=["clef-flash", "clef-omni"]))
    """
    table = result if isinstance(result, pd.DataFrame) else result.table
    by = "accuracy" if "accuracy" in table.columns else "agreement"
    if absent := [name for name in (by, *_REQUIRED) if name not in table.columns]:
        raise ValueError(f"not a comparison table: {', '.join(absent)} missing; df.cfai.compare(...) returns one")
    shown = table[table[by].notna()]
    ax = new_axes(7.5, 4.8) if ax is None else ax
    if shown.empty:
        return empty(ax, title, "no answers to compare")
    tidy(ax, "both", x="US dollars per 1,000 rows",
         y="correct" if by == "accuracy" else "answered as the others do")  # fmt: skip
    quality, dollars = shown[by].to_numpy(dtype=float), shown["usd_per_1k"].to_numpy(dtype=float)
    strip = _scale_costs(ax, dollars)
    x = np.where(np.isfinite(dollars), dollars, strip)
    _draw_front(ax, x, quality, shown["on_front"].to_numpy(dtype=bool))
    if "judged" in shown and by == "accuracy":
        _draw_whiskers(ax, x, quality, shown["judged"].to_numpy(dtype=np.int64))
    sizes = _draw_circles(ax, shown, x, quality)
    _scale_quality(ax, quality)
    words = result.words if not isinstance(result, pd.DataFrame) else counted(len(shown), "model")
    left_out = [f"{len(table) - len(shown)} without answers left out"] if len(shown) < len(table) else []
    notes = [words, *left_out, *_legend(shown)]
    finish(ax, f"{by.capitalize()} and cost", title, notes, mark, stand_in_of(table))
    run_layout(ax)
    _name_models(ax, shown, x, quality, sizes)
    return ax


def _scale_costs(ax: Axes, dollars: Numbers) -> float:
    """Choose the scale of the costs, and return where the strip of the unknown ones lies."""
    known = dollars[np.isfinite(dollars)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if low > 0 and high / low > _WIDE:
        ax.set_xscale("log")
        left, right = low / 1.8, high * 1.8
        strip, end = right * 1.5, right * 2.25
        ticks = np.asarray(LogLocator(subs=(1, 3) if high / low < 1_000 else (1,)).tick_values(left, right))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        right = high * 1.15 or 1.0
        left = -0.05 * right  # the whole circle of a free model is inside too
        strip, end = right * 1.08, right * 1.16
        ticks = np.asarray(MaxNLocator(5).tick_values(0, right)) if high else np.zeros(min(1, len(known)))
    ax.xaxis.set_major_locator(FixedLocator(ticks[(ticks >= left) & (ticks <= right)].tolist()))  # none in the strip
    ax.xaxis.set_major_formatter(money_ticks("usd"))
    some = len(known) < len(dollars)
    ax.set_xlim(left, end if some else right)
    if some:
        ax.axvspan(right, end, color=theme(ax).grid, alpha=0.5, linewidth=0, zorder=0)
        share = float(ax.transAxes.inverted().transform(ax.transData.transform((strip, 0)))[0])
        caption(ax, "unknown", (share, 0), (0, -5), size=8.5, color=theme(ax).faint, ha="center", va="top")
    return strip


def _scale_quality(ax: Axes, quality: Numbers) -> None:
    room = max(0.08, 0.25 * float(quality.max() - quality.min()))
    low, high = ax.get_ylim()
    ax.set_ylim(max(-0.05, min(low, quality.min() - room)), min(1.08, max(high, quality.max() + room)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ticks = np.asarray(MaxNLocator(6).tick_values(*ax.get_ylim()))
    ax.yaxis.set_major_locator(FixedLocator(ticks[(ticks > -1e-9) & (ticks < 1 + 1e-9)].tolist()))  # no 104 %


def _draw_front(ax: Axes, x: Numbers, quality: Numbers, on: npt.NDArray[np.bool_]) -> None:
    order = np.argsort(x[on], kind="stable")
    cheap, best = x[on][order], quality[on][order]
    if len(cheap):
        ax.step([*cheap, cheap.max()], [*best, best[-1]], where="post", color=theme(ax).faint, linewidth=1.8, zorder=1)


def _draw_whiskers(ax: Axes, x: Numbers, quality: Numbers, judged: npt.NDArray[np.int64]) -> None:
    some = judged > 0
    low, high = wilson(quality[some], judged[some])
    reach = np.maximum([quality[some] - low, high - quality[some]], 0)
    ax.errorbar(x[some], quality[some], yerr=reach, fmt="none", ecolor=theme(ax).frame, elinewidth=1, capsize=2,
                zorder=2)  # fmt: skip


def _draw_circles(ax: Axes, shown: pd.DataFrame, x: Numbers, quality: Numbers) -> Numbers:
    """Draw the models and return their diameters in printer's points."""
    slow = shown["p50"].to_numpy(dtype=float)
    longest = np.nanmax(slow) if np.isfinite(slow).any() else 1.0
    sizes = 50 + 450 * (slow / longest if longest else slow)  # square points
    behind = theme(ax).background
    for at, price in enumerate(shown["price"]):
        color = color_and_marker(at % 8)[0]
        if not np.isfinite(slow[at]):
            ax.plot(x[at], quality[at], marker="X", markersize=9, color=color, markeredgecolor=behind, zorder=4)
            continue
        face = color if price == "exact" else behind
        ax.scatter(x[at], quality[at], s=float(sizes[at]), facecolor=face, edgecolor=color, linewidth=1.8, alpha=0.85,
                   zorder=3)  # fmt: skip
    return np.sqrt(np.nan_to_num(sizes, nan=81.0))


def _legend(shown: pd.DataFrame) -> list[str]:
    """Return what the shapes in this plot mean."""
    timed = shown["p50"].notna()
    parts = {
        "line: the Pareto front": shown["on_front"].sum() > 1,
        "larger is slower": timed.sum() > 1,
        "hollow: estimated price": (timed & shown["price"].eq("estimated")).any(),
        "cross: all from the store, not timed": not timed.all(),
    }
    return [part for part, holds in parts.items() if holds]


def _name_models(ax: Axes, shown: pd.DataFrame, x: Numbers, quality: Numbers, sizes: Numbers) -> None:
    """Write each model's name and time beside its circle, and list the models for which there is no room."""
    short = pd.Series([str(model).rsplit("/", 1)[-1] for model in shown.index])
    twice = short.duplicated(keep=False)
    labels = []
    for at, (model, seconds) in enumerate(zip(shown.index, shown["p50"], strict=True)):
        time = f" {duration(float(seconds), 2).replace(' ', NO_BREAK)}" if pd.notna(seconds) else ""
        name = (str(model) if twice[at] else short[at]) + time
        labels.append(Label(name, np.array([at]), color_and_marker(at % 8)[0], _WIDTH))
    points = np.column_stack([x, quality])
    half = sizes[:, None] * ax.figure.dpi / 144
    pixels = ax.transData.transform(points)
    taken = [Bbox([low, high]) for low, high in zip(pixels - half, pixels + half, strict=True)]
    if unplaced := place_labels(ax, points, labels, taken):
        listed = fold("no room for: " + ", ".join(label.text for label in unplaced), 60, 3)
        caption(ax, listed, (0, 1), (4, -4), size=8, color=theme(ax).ink, ha="left", va="top")
