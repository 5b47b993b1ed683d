"""`latency` and `concurrency`: how fast a run was, and how many of its requests were in flight at once.

A run's report (or seconds) in, the axes out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..frame.call import last_run
from ..frame.report import Report
from ..html.markup import counted
from ..vectors.vector import stand_in
from .axes import BLUE, DASHED, new_axes, plot, theme, tidy
from .text import caption, empty, finish, halo

_WIDE = 30  # from this ratio of the slowest to the 5th percentile on, equal steps would show one bar and a tail


@plot
def latency(
    report: Report | npt.ArrayLike | None = None, *, ax: Axes | None = None, title: str | None = None,
    mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw how long the requests of a run took, with the median (p50) and the 95th percentile (p95).

    Parameters
    ----------
    report : Report or array_like of float, optional
        A run, default ``cf.last_run()``; or seconds of requests. Rows from the store took no request.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    LookupError
        Nothing was passed, and no run has taken place yet.

    Examples
    --------
    >>> df.cfai.embed("text")
    >>> cf.plots.latency()
    """
    given = last_run() if report is None else report
    seconds = given.latency if isinstance(given, Report) else np.asarray(given, dtype=float)
    seconds = seconds[np.isfinite(seconds)]
    ax = new_axes(6.5, 3.4) if ax is None else ax
    if not len(seconds):
        return empty(ax, title, _no_requests(given))
    tidy(ax, "y", x="time of a request", y="requests")
    p50, p95 = (float(np.quantile(seconds, share)) for share in (0.5, 0.95))
    low, high = float(seconds.min()), float(seconds.max())
    bins: Any = np.linspace(0, high or 1, 31)
    if low > 0 and high / float(np.quantile(seconds, 0.05)) > _WIDE:
        bins = np.geomspace(low, high, 31)
        ax.set_xscale("log")
    ax.hist(seconds, bins=bins, color=BLUE, edgecolor=theme(ax).background, linewidth=0.6)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.3)  # room for the two labels above the bars
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    for place, name, line in ((p50, "p50", 1), (p95, "p95", 0)):
        ax.axvline(place, color=theme(ax).ink, linewidth=1, linestyle=DASHED)
        share = float(ax.transAxes.inverted().transform(ax.transData.transform((place, 0)))[0])
        left = share > 0.8  # the side of the line with more room
        caption(ax, f"{name} {duration(place)}", (share, 1), (-4 if left else 4, -4 - 13 * line), size=9,
                color=theme(ax).ink, ha="right" if left else "left", va="top", path_effects=halo(ax))  # fmt: skip
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    ax.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    notes = [counted(len(seconds), "request"), f"p50 {duration(p50)}", f"p95 {duration(p95)}",
             f"slowest {duration(high)}"]  # fmt: skip
    return _finish(ax, given, "Latency", title, notes, mark)


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
        Nothing was passed, and no run has taken place yet.

    Examples
    --------
    >>> df.cfai.embed("text")
    >>> cf.plots.concurrency()
    """
    given = last_run() if report is None else report
    flow = given.flow
    ax = new_axes(6.5, 3.4) if ax is None else ax
    if flow.empty:
        return empty(ax, title, _no_requests(given))
    tidy(ax, "y", x="seconds since the start", y="requests in flight")
    x, y = flow["seconds"].to_numpy(dtype=float), flow["in_flight"].to_numpy(dtype=float)
    ax.fill_between(x, 0, y, step="post", color=BLUE, alpha=0.25, linewidth=0, rasterized=len(x) > 2_000)
    ax.step(x, y, where="post", color=BLUE, linewidth=1.2)
    lasted = float(x[-1] - x[0])
    mean = float(np.sum(y[:-1] * np.diff(x)) / lasted) if lasted > 0 else float(y.max())
    ax.axhline(mean, color=theme(ax).ink, linewidth=1, linestyle=DASHED)
    ax.set_xlim(0, float(x[-1]) or 1)
    ax.set_ylim(0, float(y.max()) * 1.15 or 1)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    notes = [f"at most {y.max():,.0f} at once", f"{mean:,.1f} on average (dashed)",
             f"{given.event.seconds:,.1f} s in all"]  # fmt: skip
    return _finish(ax, given, "Concurrency", title, notes, mark)


def duration(seconds: float, digits: int = 3) -> str:
    """Write a time in the usual unit: 850 ms, 1.2 s, 34 s, 2.5 min; milliseconds with `digits` significant digits."""
    if seconds < 0.9995:
        return f"{float(f'{seconds * 1_000:.{digits}g}'):g} ms" if seconds else "0"
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 5_970 else f"{seconds / 60:,.0f} min"


def _finish(ax: Axes, given: Any, what: str, title: str | None, notes: list[str], mark: str | None) -> Axes:
    if not isinstance(given, Report):
        return finish(ax, what, title, notes, mark, "")
    usual = f"{what} of {given.event.verb}, {given.event.model}"
    return finish(ax, usual, title, notes, mark, stand_in(given.event.origin))


def _no_requests(given: Any) -> str:
    stored, asked = (given.event.stored, given.event.requests) if isinstance(given, Report) else (0, 0)
    if asked:
        return "the requests of many calls are counted, not timed"
    return "no requests" + (f": {stored:,} rows came from the store" if stored else "")
