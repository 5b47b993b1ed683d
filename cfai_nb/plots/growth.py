"""How what calls have cost added up over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.dates import MINUTELY, SECONDLY, AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from .axes import inches, plain
from .bars import unknown
from .looks import ESTIMATED, EXACT, HATCHED, OUTLINE, looks, money_ticks, unit
from .palette import FAINT, GREY, INK

_STEPS = 2_000  # more of them are finer than any screen
_MARKS = 40
_MINUTE = 1 / 1_440  # matplotlib counts days
_MOMENT = _MINUTE / 12  # ticks within less would be fractions of a second
_UNKNOWN: dict[str, Any] = {"color": "#D55E00", "marker": "x", "markersize": 5, "linestyle": ""}


def grow(ax: Axes, charges: pd.DataFrame, metric: str) -> None:
    """Draw running totals from charges in the order of time, as `bars.bars` lays them out by "time"."""
    alone = bool(charges["emulated"].all())
    counted = charges if alone else charges[~charges["emulated"]]
    moments = _days(charges["key"])
    span = moments[-1] - moments[0]
    end = moments[-1] + (span * 0.02 if span > _MOMENT else _MINUTE)  # the last step has a length too
    exact, estimated, saved = (_steps(counted, kind, end) for kind in ("exact", "estimated", "saved"))
    x, total = exact[0], exact[1] + estimated[1]
    highest = float((total + saved[1]).max())
    handles: list[Artist] = []
    if total.any():
        ax.fill_between(x, 0, exact[1], step="post", color=EXACT, linewidth=0)
        if estimated[1].any():
            ax.fill_between(x, exact[1], total, step="post", facecolor=ESTIMATED, **HATCHED)
    if saved[1].any():
        ax.step(x, total + saved[1], where="post", color=OUTLINE["edgecolor"], linewidth=1.2, linestyle=(0, (3, 2)))
    kinds = {"exact": exact[1].any(), "estimated": estimated[1].any(), "saved": saved[1].any()}
    handles += looks([kind for kind, any_ in kinds.items() if any_])
    handles += _unknown_calls(ax, counted, x, total)
    if not alone and charges["emulated"].any():
        pretended = charges[charges["emulated"]].assign(all=lambda rows: rows["exact"] + rows["estimated"])
        also = _steps(pretended, "all", end)
        highest = max(highest, float(also[1].max()))
        ax.step(*also, where="post", color=GREY, linewidth=1.4)
        handles.append(Line2D([], [], color=GREY, linewidth=1.4, label="emulator (nothing billed)"))
    _dress(ax, handles, metric, moments[0], end, highest)
    if not highest:
        ax.set_yticks([])


def _steps(charges: pd.DataFrame, kind: str, end: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Moments and running totals, thinned, from nothing at the first moment to the whole at `end`."""
    moments, sums = _days(charges["key"]), np.cumsum(charges[kind].to_numpy(dtype=float))
    kept = np.unique(np.linspace(0, len(sums) - 1, min(len(sums), _STEPS)).astype(int))
    return np.array([moments[0], *moments[kept], end]), np.array([0.0, *sums[kept], sums[-1]])


def _unknown_calls(
    ax: Axes, charges: pd.DataFrame, x: npt.NDArray[np.float64], total: npt.NDArray[np.float64]
) -> list[Artist]:
    """A cross on the line for each call whose price nobody knows: it was made, and it is not in the sum."""
    some = charges[charges["unknown"] > 0]
    if some.empty:
        return []
    moments = _days(some["key"].iloc[:: -(-len(some) // _MARKS)])
    ax.plot(moments, total[np.searchsorted(x, moments, side="right") - 1], clip_on=False, zorder=4, **_UNKNOWN)
    return [Line2D([], [], label=unknown(int(some["unknown"].sum())), **_UNKNOWN)]


def _days(moments: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(date2num(moments), dtype=np.float64)  # type: ignore[no-untyped-call]


def _dress(ax: Axes, handles: list[Artist], metric: str, begin: float, end: float, highest: float) -> None:
    plain(ax, "y")
    columns = max(1, int(inches(ax) / 1.5))
    lines = -(-len(handles) // columns)
    ax.set_ylim(0, highest * (1.1 + 0.12 * lines) or 1)  # a strip for the legend
    ax.set_xlim(begin, end)
    ax.xaxis_date()
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    for unit_of_time in (MINUTELY, SECONDLY):  # from every minute to every fifth would leave one tick or none
        locator.intervald[unit_of_time] = [1, 2, 5, 10, 15, 30]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(money_ticks(metric))
    ax.set_xlabel("time (UTC)", color=FAINT, fontsize=9)
    ax.set_ylabel(unit(metric), color=FAINT, fontsize=9)
    if handles:
        ax.legend(
            handles=handles,
            loc="upper left",
            frameon=False,
            labelcolor=INK,
            fontsize=8.5,
            ncols=columns,
            borderaxespad=0,
        )
