"""How quick a run was, and how much of it went on at once: `latency` and `concurrency`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..frame.call import last_run
from ..frame.report import Report
from ..markup import counted
from .axes import new_axes, plain, plot, settle
from .looks import EXACT
from .palette import FAINT, INK
from .text import blank, caption, halo, heading, marked

_WIDE = 30  # from this ratio of the slowest to the 5th percentile on, a scale of equal steps shows one bar and a tail


@plot
def latency(
    report: Report | npt.ArrayLike | None = None, *, ax: Axes | None = None, title: str | None = None,
    mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw how long the requests of a run took, with the median (p50) and the 95th percentile (p95).

    Parameters
    ----------
    report : Report or array_like of float, optional
        Of a run, default ``cf.last_run()``; or seconds of requests. Rows from the store took no request.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    LookupError
        Nothing was given, and nothing ran yet.
    """
    given = last_run() if report is None else report
    seconds = given.latency if isinstance(given, Report) else np.asarray(given, dtype=float)
    seconds = seconds[np.isfinite(seconds)]
    ax = new_axes(6.5, 3.4) if ax is None else ax
    if not len(seconds):
        return blank(ax, title, _nothing(given))
    plain(ax, "y")
    middle, late = (float(np.quantile(seconds, share)) for share in (0.5, 0.95))
    low, high = float(seconds.min()), float(seconds.max())
    bins: Any = np.linspace(0, high or 1, 31)
    if low > 0 and high / float(np.quantile(seconds, 0.05)) > _WIDE:
        bins = np.geomspace(low, high, 31)
        ax.set_xscale("log")
    ax.hist(seconds, bins=bins, color=EXACT, edgecolor="white", linewidth=0.6)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.3)  # room for the two words above the bars
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for place, name, line in ((middle, "p50", 1), (late, "p95", 0)):
        ax.axvline(place, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        _at(ax, place, f" {name} {duration(place)}", line)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    ax.set_xlabel("time of a request", color=FAINT, fontsize=9)
    ax.set_ylabel("requests", color=FAINT, fontsize=9)
    return _finish(ax, given, _usual("Latency", given) if title is None else title, [
        counted(len(seconds), "request"), f"p50 {duration(middle)}", f"p95 {duration(late)}",
        f"slowest {duration(high)}",
    ], mark)  # fmt: skip


@plot
def concurrency(
    report: Report | None = None, *, ax: Axes | None = None, title: str | None = None, mark: str | None = None
) -> Axes:
    """Draw how many requests of a run were in flight over time.

    Parameters
    ----------
    report : Report, optional
        Default ``cf.last_run()``.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    LookupError
        Nothing was given, and nothing ran yet.
    """
    given = last_run() if report is None else report
    flow = given.flow
    ax = new_axes(6.5, 3.4) if ax is None else ax
    if flow.empty:
        return blank(ax, title, _nothing(given))
    plain(ax, "y")
    x, y = flow["seconds"].to_numpy(dtype=float), flow["in_flight"].to_numpy(dtype=float)
    ax.fill_between(x, 0, y, step="post", color=EXACT, alpha=0.25, linewidth=0, rasterized=len(x) > 2_000)
    ax.step(x, y, where="post", color=EXACT, linewidth=1.2)
    lasted = float(x[-1] - x[0])
    mean = float(np.sum(y[:-1] * np.diff(x)) / lasted) if lasted > 0 else float(y.max())
    ax.axhline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_xlim(0, float(x[-1]) or 1)
    ax.set_ylim(0, float(y.max()) * 1.15 or 1)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("seconds since the start", color=FAINT, fontsize=9)
    ax.set_ylabel("requests in flight", color=FAINT, fontsize=9)
    return _finish(ax, given, _usual("Concurrency", given) if title is None else title, [
        f"at most {y.max():,.0f} at once", f"{mean:,.1f} on average (dashed)", f"{given.event.seconds:,.1f} s in all",
    ], mark)  # fmt: skip


def duration(seconds: float, digits: int = 3) -> str:
    """Write a time as people do: 850 ms, 1.2 s, 34 s, 2.5 min; milliseconds with so many significant digits."""
    if seconds < 0.9995:
        return f"{float(f'{seconds * 1_000:.{digits}g}'):g} ms" if seconds else "0"
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 5_970 else f"{seconds / 60:,.0f} min"


def _usual(what: str, given: Any) -> str:
    return f"{what} of {given.event.verb}, {given.event.model}" if isinstance(given, Report) else what


def _at(ax: Axes, place: float, words: str, line: int) -> None:
    """Write beside a line, on the side where there is room."""
    share = float(ax.transAxes.inverted().transform(ax.transData.transform((place, 0)))[0])
    left = share > 0.8
    caption(ax, words.strip(), (share, 1), (-4 if left else 4, -4 - 13 * line), size=9, colour=INK,
            ha="right" if left else "left", va="top", path_effects=halo())  # fmt: skip


def _finish(ax: Axes, given: Any, title: str, notes: list[str], mark: str | None) -> Axes:
    settle(ax)
    emulated = isinstance(given, Report) and given.event.origin == "emulator"
    heading(ax, title, " · ".join(notes), marked(mark, emulated))
    return ax


def _nothing(given: Any) -> str:
    stored = given.event.stored if isinstance(given, Report) else 0
    return "no requests" + (f": {stored:,} rows came from the store" if stored else "")
