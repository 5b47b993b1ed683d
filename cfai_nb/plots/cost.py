"""What calls have cost: `cost`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator

from .axes import inches, new_axes, plain, plot, settle
from .bars import bars as sum_up
from .bars import summary, words
from .growth import grow
from .looks import ESTIMATED, EXACT, HATCHED, OUTLINE, looks, money_ticks, unit
from .palette import FAINT, GREY, INK
from .text import blank, heading, marked, name_ticks

_LABEL_SHARE = 0.7  # a label takes at most this part of the width from the longest bar
_OF_TIME = ("day", "hour", "time")
_NEEDED = ("neurons", "usd", "exact", "saved_neurons", "origin", "requests")


@plot
def cost(
    charges: pd.DataFrame,
    by: Literal["model", "verb", "day", "hour", "time"] = "model",
    *,
    metric: Literal["usd", "neurons"] = "usd",
    ax: Axes | None = None,
    title: str | None = None,
    mark: str | None = None,
) -> Axes:
    """Draw what calls have cost, as bars or as it grew: exact, estimated, and what kept answers saved.

    Solid is what the service itself counted, hatched is estimated, and the dashed outline is what answers out of
    the store or a gateway's cache would have cost once more. A call of unknown price has no bar and no part in a
    running total: such calls are counted in words.
    Charges of an emulator are what the calls would have cost: nothing was billed, and the plot says so. Beside real
    charges they have bars of their own and are no part of the total.

    Parameters
    ----------
    charges : pandas.DataFrame
        The ledger, one row a charge: ``time`` (UTC), ``model``, ``verb``, ``requests``, ``neurons`` and ``usd`` (NaN
        where unknown), ``exact`` (bool), ``saved_neurons`` and ``origin`` ("emulator" or anything else). Of ``time``,
        ``model`` and ``verb`` only the one in question has to be there.
    by : {"model", "verb", "day", "hour", "time"}
        What a bar stands for, or ``"time"`` for the running total. Beyond 12 models or verbs the cheapest share one
        bar; of days and hours the last 31 with charges are drawn. Times are in UTC.
    metric : {"usd", "neurons"}
        US dollars, or Neurons, the unit in which Workers AI bills. Saved Neurons become dollars at the list price.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        If `by` or `metric` is unknown, or a column is missing.
    """
    if by not in ("model", "verb", *_OF_TIME):
        raise ValueError(f"by must be 'model', 'verb', 'day', 'hour' or 'time', not {by!r}")
    if metric not in ("usd", "neurons"):
        raise ValueError(f"metric must be 'usd' or 'neurons', not {metric!r}")
    absent = [column for column in ("time" if by in _OF_TIME else by, *_NEEDED) if column not in charges.columns]
    if absent and len(charges.columns):
        raise ValueError(f"this is no frame of charges: {', '.join(absent)} missing; cf.ledger() has the columns")
    emulated = bool(len(charges)) and bool(charges["origin"].eq("emulator").all())
    what = "What it would have cost" if emulated else "Cost"
    usual = f"{what} so far" if by == "time" else f"{what}, by {by}" + " (UTC)" * (by in _OF_TIME)
    shown_title = usual if title is None else title
    bars = sum_up(charges, by, metric) if len(charges) else pd.DataFrame()
    if ax is None:
        ax = new_axes(8, 3.6 if by == "time" else 1.9 + 0.42 * max(2, len(bars)))
    if bars.empty:
        return blank(ax, shown_title, "nothing charged yet")
    if by == "time":
        grow(ax, bars, metric)
    else:
        _draw(ax, bars, metric)
    settle(ax)  # long names have made the axes narrower, and the heading is folded to it
    heading(ax, shown_title, summary(bars, metric, by), marked(mark, emulated))
    return ax


def _draw(ax: Axes, bars: pd.DataFrame, metric: str) -> None:
    places = np.arange(len(bars))
    exact, estimated, saved = (bars[part].to_numpy(dtype=float) for part in ("exact", "estimated", "saved"))
    beside = bars["emulated"].to_numpy(dtype=bool) & (not bars["emulated"].all())
    solid, light = ([GREY if grey else shade for grey in beside] for shade in (EXACT, ESTIMATED))
    thick = 0.62
    if exact.any():
        ax.barh(places, exact, height=thick, color=solid)
    if estimated.any():
        ax.barh(places, estimated, left=exact, height=thick, color=light, **HATCHED)
    if saved.any():
        some = saved > 0
        ax.barh(places[some], saved[some], left=(exact + estimated)[some], height=thick, **OUTLINE)
    _dress(ax, bars, metric)
    settle(ax)
    _label(ax, exact + estimated + saved, [words(bar, metric) for bar in bars.itertuples()])


def _dress(ax: Axes, bars: pd.DataFrame, metric: str) -> None:
    """Names at the left, a few amounts below, and a strip for the legend that no bar reaches into."""
    plain(ax, "x")
    name_ticks(ax.yaxis, range(len(bars)), bars["name"], int(np.clip(inches(ax) * 5, 16, 32)), fontsize=9.5)
    kinds = [kind for kind in ("exact", "estimated", "saved") if bars[kind].any()]
    legend = kinds not in ([], ["exact"])
    ax.set_ylim(len(bars) - 0.5 + (0.75 if legend else 0.0), -0.6)
    if legend:
        wide = inches(ax) > 3.3
        ax.legend(
            handles=looks(kinds, wide), loc="lower left", bbox_to_anchor=(0, 0), ncols=3, frameon=False,
            labelcolor=INK, borderaxespad=0.1, columnspacing=1.2, handlelength=1.6, fontsize=8.5 if wide else 7.5,
        )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(money_ticks(metric))
    ax.set_xlabel(unit(metric), color=FAINT, fontsize=9)


def _label(ax: Axes, ends: npt.NDArray[np.float64], said: list[list[str]]) -> None:
    """Write the amounts at the bar ends, and make the axis as long as the longest of them needs."""
    width = ax.get_window_extent().width
    reach = float(ends.max())
    if reach == 0:
        ax.set_xticks([])
        ax.set_xlabel("")
    longest = reach
    for at, parts in enumerate(said):
        text = ax.annotate(
            ", ".join(parts), (float(ends[at]), at), (5, 0), textcoords="offset points", va="center", fontsize=9,
            color=INK, parse_math=False,
        )  # fmt: skip
        share = _share(text, width)
        while len(parts) > 1 and share > _LABEL_SHARE:  # a narrow axes has room for what matters most
            parts.pop()
            text.set_text(", ".join(parts))
            share = _share(text, width)
        longest = max(longest, float(ends[at]) / (1 - min(share, _LABEL_SHARE)))
    ax.set_xlim(0, longest * 1.02 or 1)


def _share(text: Annotation, width: float) -> float:
    """The part of the axes' width that a label takes, the space before it included."""
    return (text.get_window_extent().width + 12) / width
