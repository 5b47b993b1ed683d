"""Models beside one another: how good, how dear, how slow. `compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator, PercentFormatter
from matplotlib.transforms import Bbox

from ..markup import counted
from ..vectors.vector import is_emulated
from .axes import new_axes, plain, plot, settle
from .calibration import wilson
from .label_placement import Name, place
from .looks import money_ticks
from .palette import FAINT, INK, colour
from .text import TIED, blank, caption, folded, heading, marked
from .timing import duration

if TYPE_CHECKING:
    from ..frame.compare_result import Comparison

_WIDE = 12  # from this ratio of the dearest to the cheapest on, equal steps would heap the cheap ones up
_NAME = 26  # characters on a line of a model and its time
_NEEDED = ("usd_per_1k", "price", "p50")

Numbers = npt.NDArray[np.float64]


@plot
def compare(
    result: Comparison | pd.DataFrame, *, ax: Axes | None = None, title: str | None = None, mark: str | None = None
) -> Axes:
    """Draw models by cost and accuracy (agreement where there is no truth), with their latency and the Pareto front.

    Up is better, left is cheaper, and a larger circle is slower (median time of a request; a cross where nothing was
    timed, since all answers came from the store). A filled circle has an exact price, a hollow one an estimated price;
    models of unknown price stand in a strip of their own at the right. The line is the front: for a model on it no
    other one is both cheaper and better. Whiskers are 95 % intervals of an accuracy (Wilson): where they overlap
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
    """
    table = result if isinstance(result, pd.DataFrame) else result.table
    by = "accuracy" if "accuracy" in table.columns else "agreement"
    if absent := [name for name in (by, *_NEEDED) if name not in table.columns]:
        raise ValueError(f"this is no comparison: {', '.join(absent)} missing; df.cfai.compare(...) makes one")
    shown = table[table[by].notna()]
    ax = new_axes(7.5, 4.8) if ax is None else ax
    if shown.empty:
        return blank(ax, title, "no answers to compare")
    plain(ax, "both")
    good, dear = shown[by].to_numpy(dtype=float), shown["usd_per_1k"].to_numpy(dtype=float)
    strip = _scale(ax, dear)
    x = np.where(np.isfinite(dear), dear, strip)
    _front(ax, shown, by, x, good)
    if "judged" in shown and by == "accuracy":
        _whiskers(ax, x, good, shown["judged"].to_numpy(dtype=np.int64))
    sizes = _circles(ax, shown, x, good)
    _dress(ax, by, good)
    settle(ax)
    words = result.words if not isinstance(result, pd.DataFrame) else counted(len(shown), "model")
    left_out = [f"{len(table) - len(shown)} without answers left out"] if len(shown) < len(table) else []
    usual = f"{by.capitalize()} and cost"
    heading(ax, usual if title is None else title, " · ".join([words, *left_out, *_legend(shown)]),
            marked(mark, is_emulated(table)))  # fmt: skip
    settle(ax)
    _names(ax, shown, x, good, sizes)
    return ax


def _scale(ax: Axes, dear: Numbers) -> float:
    """Choose the scale of the costs, and return where the strip of the unknown ones lies."""
    known = dear[np.isfinite(dear)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    if low > 0 and high / low > _WIDE:
        ax.set_xscale("log")
        left, right = low / 1.8, high * 1.8
        strip, end = right * 1.5, right * 2.25
        ticks = np.asarray(LogLocator(subs=(1, 3) if high / low < 1_000 else (1,)).tick_values(left, right))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        right = high * 1.15 or 1.0
        left = -0.05 * right  # what is free has its circle on the picture too
        strip, end = right * 1.08, right * 1.16
        ticks = np.asarray(MaxNLocator(5).tick_values(0, right)) if high else np.zeros(min(1, len(known)))
    ax.xaxis.set_major_locator(FixedLocator(ticks[(ticks >= left) & (ticks <= right)].tolist()))  # none in the strip
    ax.xaxis.set_major_formatter(money_ticks("usd"))
    some = len(known) < len(dear)
    ax.set_xlim(left, end if some else right)
    if some:
        ax.axvspan(right, end, color="#F2F2F2", zorder=0)
        share = float(ax.transAxes.inverted().transform(ax.transData.transform((strip, 0)))[0])
        caption(ax, "unknown", (share, 0), (0, -5), size=8.5, colour=FAINT, ha="center", va="top")
    return strip


def _front(ax: Axes, shown: pd.DataFrame, by: str, x: Numbers, good: Numbers) -> None:
    on = shown["on_front"].to_numpy(dtype=bool)
    order = np.argsort(x[on], kind="stable")
    cheap, best = x[on][order], good[on][order]
    if len(cheap):
        end = cheap.max() if len(cheap) > 1 else cheap[0]
        ax.step([*cheap, end], [*best, best[-1]], where="post", color=FAINT, linewidth=1.8, zorder=1)


def _whiskers(ax: Axes, x: Numbers, good: Numbers, judged: npt.NDArray[np.int64]) -> None:
    some = judged > 0
    low, high = wilson(good[some], judged[some])
    reach = np.maximum([good[some] - low, high - good[some]], 0)
    ax.errorbar(x[some], good[some], yerr=reach, fmt="none", ecolor="#BBBBBB", elinewidth=1, capsize=2, zorder=2)


def _circles(ax: Axes, shown: pd.DataFrame, x: Numbers, good: Numbers) -> Numbers:
    """Draw the models and return their diameters in points."""
    slow = shown["p50"].to_numpy(dtype=float)
    longest = np.nanmax(slow) if np.isfinite(slow).any() else 1.0
    sizes = 50 + 450 * (slow / longest if longest else slow)  # square points
    for at, price in enumerate(shown["price"]):
        shade = colour(at % 8)[0]
        if not np.isfinite(slow[at]):
            ax.plot(x[at], good[at], marker="X", markersize=9, color=shade, markeredgecolor="white", zorder=4)
            continue
        face = shade if price == "exact" else "white"
        ax.scatter(
            x[at], good[at], s=float(sizes[at]), facecolor=face, edgecolor=shade, linewidth=1.8, alpha=0.85, zorder=3
        )
    return np.sqrt(np.nan_to_num(sizes, nan=81.0))


def _dress(ax: Axes, by: str, good: Numbers) -> None:
    room = max(0.08, 0.25 * float(good.max() - good.min()))
    low, high = ax.get_ylim()
    ax.set_ylim(max(-0.05, min(low, good.min() - room)), min(1.08, max(high, good.max() + room)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ticks = np.asarray(MaxNLocator(6).tick_values(*ax.get_ylim()))
    ax.yaxis.set_major_locator(FixedLocator(ticks[(ticks > -1e-9) & (ticks < 1 + 1e-9)].tolist()))  # no 104 %
    ax.set_xlabel("US dollars per 1,000 rows", color=FAINT, fontsize=9)
    ax.set_ylabel("answered right" if by == "accuracy" else "answered as the others do", color=FAINT, fontsize=9)


def _legend(shown: pd.DataFrame) -> list[str]:
    """What the shapes mean, of those that are there."""
    timed = shown["p50"].notna()
    said = ["line: the Pareto front"] if shown["on_front"].sum() > 1 else []
    said += ["larger is slower"] if timed.sum() > 1 else []
    if (timed & shown["price"].eq("estimated")).any():
        said.append("hollow: estimated price")
    if not timed.all():
        said.append("cross: all from the store, not timed")
    return said


def _names(ax: Axes, shown: pd.DataFrame, x: Numbers, good: Numbers, sizes: Numbers) -> None:
    """Write each model's name and time beside its circle; where there is no room, in a legend."""
    short = pd.Series([str(model).rsplit("/", 1)[-1] for model in shown.index])
    twice = short.duplicated(keep=False)
    names = []
    for at, (model, seconds) in enumerate(zip(shown.index, shown["p50"], strict=True)):
        time = f" {duration(float(seconds), 2).replace(' ', TIED)}" if pd.notna(seconds) else ""
        name = (str(model) if twice[at] else short[at]) + time
        names.append(Name(name, np.array([at]), colour(at % 8)[0], _NAME))
    points = np.column_stack([x, good])
    half = sizes[:, None] * ax.figure.dpi / 144
    pixels = ax.transData.transform(points)
    taken = [Bbox([low, high]) for low, high in zip(pixels - half, pixels + half, strict=True)]
    homeless = place(ax, points, names, taken)
    if homeless:
        also = folded("no room for: " + ", ".join(name.text for name in homeless), 60, 3)
        caption(ax, also, (0, 1), (4, -4), size=8, colour=INK,
                ha="left", va="top")  # fmt: skip
