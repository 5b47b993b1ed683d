"""`cost`: what calls have cost, as bars or as a running total. The ledger's frame in, the axes out.

Exact, estimated and saved amounts look alike in both forms. `money_ticks` is also used by `compare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.dates import MINUTELY, SECONDLY, AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..html import markup
from ..models import USD_PER_NEURON
from ..vectors.vector import stand_in
from .axes import BLUE, GREY, Numbers, inches, new_axes, plot, run_layout, theme, tidy
from .text import empty, finish, name_ticks

_MAX_BARS = 12  # more bars cannot be read: the rest becomes one bar
_LAST = 31  # days or hours
_FORMATS = {"day": "%Y-%m-%d", "hour": "%Y-%m-%d %H:00"}
_OF_TIME = (*_FORMATS, "time")
_REQUIRED = ("neurons", "usd", "exact", "saved_neurons", "origin", "requests")
_LABEL_SHARE = 0.7  # a label takes at most this part of the width from the longest bar
_MAX_STEPS, _MAX_CROSSES = 2_000, 40  # of a running total: more are finer than any screen
_MINUTE = 1 / 1_440  # matplotlib counts days
_MOMENT = _MINUTE / 12  # ticks closer than this would be fractions of a second

_ESTIMATED = "#7FB2D9"
_HATCHED: dict[str, Any] = {"edgecolor": "white", "hatch": "////", "linewidth": 0}
_OUTLINE: dict[str, Any] = {"facecolor": "none", "edgecolor": "#009E73", "linewidth": 1.0, "linestyle": (0, (3, 2))}
_CROSSES: dict[str, Any] = {"color": "#D55E00", "marker": "x", "markersize": 5, "linestyle": ""}


@plot
def cost(
    charges: pd.DataFrame, by: Literal["model", "verb", "day", "hour", "time"] = "model", *,
    unit: Literal["usd", "neurons"] = "usd", ax: Axes | None = None, title: str | None = None,
    mark: str | None = None,
) -> Axes:  # fmt: skip
    """Draw what calls have cost, as bars or as a running total: exact, estimated, and saved by stored answers.

    Solid is what the service itself counted, hatched is estimated, and the dashed outline is what answers from the
    store or a gateway's cache would have cost a second time. A call of unknown price has no bar and no part in a
    running total: such calls are counted in words.
    Charges of the emulator are what the calls would have cost: nothing was billed, and the plot says so. Beside real
    charges they have bars of their own and are not in the total.

    Parameters
    ----------
    charges : pandas.DataFrame
        The ledger, one row a charge: ``time`` (UTC), ``model``, ``verb``, ``requests``, ``neurons`` and ``usd`` (NaN
        where unknown), ``exact`` (bool), ``saved_neurons`` and ``origin`` ("emulator" or another). Of ``time``,
        ``model`` and ``verb`` only the one that `by` names is required.
    by : {"model", "verb", "day", "hour", "time"}
        What a bar stands for, or ``"time"`` for the running total. Beyond 12 models or verbs the cheapest share one
        bar; of days and hours the last 31 with charges are drawn. Times are in UTC.
    unit : {"usd", "neurons"}
        US dollars, or Neurons, the unit in which Workers AI bills. Saved Neurons become dollars at the list price.
    ax, title, mark : see ``help(cf.plots)``

    Raises
    ------
    ValueError
        `by` or `unit` is unknown, or a column is missing.

    Examples
    --------
    >>> cf.plots.cost(cf.ledger(), by="verb")
    """
    if by not in ("model", "verb", *_OF_TIME):
        raise ValueError(f"by must be 'model', 'verb', 'day', 'hour' or 'time', not {by!r}")
    if unit not in ("usd", "neurons"):
        raise ValueError(f"unit must be 'usd' or 'neurons', not {unit!r}")
    absent = [column for column in ("time" if by in _OF_TIME else by, *_REQUIRED) if column not in charges.columns]
    if absent and len(charges.columns):
        raise ValueError(f"not a frame of charges: {', '.join(absent)} missing; cf.ledger() has these columns")
    stamps = charges["origin"].map(stand_in) if len(charges) else pd.Series(dtype=str)
    emulated = bool(len(charges)) and bool(stamps.ne("").all())
    what = "What it would have cost" if emulated else "Cost"
    usual = f"{what} so far" if by == "time" else f"{what}, by {by}" + " (UTC)" * (by in _OF_TIME)
    bars = sum_up(charges, by, unit) if len(charges) else pd.DataFrame()
    if ax is None:
        ax = new_axes(8, 3.6 if by == "time" else 1.9 + 0.42 * max(2, len(bars)))
    if bars.empty:
        return empty(ax, usual if title is None else title, "nothing charged yet")
    (_draw_total if by == "time" else _draw_bars)(ax, bars, unit)
    return finish(ax, usual, title, _summary(bars, unit, by), mark, stamps.iloc[0] if emulated else "")


# -- sums --------------------------------------------------------------------------------------------------------------


def sum_up(charges: pd.DataFrame, by: str, unit: str) -> pd.DataFrame:
    """Return one row a bar: exact, estimated and saved amounts, the number of calls of unknown price, and its name.

    By ``"time"`` every charge is a row of its own, in the order of ``key``: its moment in UTC, without a zone.
    """
    amounts = charges[unit].astype(float)
    exact = charges["exact"].eq(True)
    saved = charges["saved_neurons"].astype(float).fillna(0) * (USD_PER_NEURON if unit == "usd" else 1)
    if by in _OF_TIME:
        moments = pd.to_datetime(charges["time"], utc=True).dt.tz_localize(None)
        key = moments.dt.strftime(_FORMATS[by]) if by in _FORMATS else moments
    else:
        key = charges[by].map(markup.line)
    table = pd.DataFrame(
        {
            "key": key,
            "emulated": charges["origin"].map(stand_in).ne(""),
            "exact": amounts.where(exact, 0).fillna(0),
            "estimated": amounts.where(~exact, 0).fillna(0),
            "saved": saved,
            "unknown": charges["requests"].fillna(0).clip(lower=1).where(amounts.isna(), 0).astype(int),
        }
    )
    if by == "time":
        return table.sort_values("key", kind="stable", ignore_index=True)
    sums = table.groupby(["key", "emulated"], as_index=False, sort=True).sum()
    if by in _FORMATS:
        return _named(sums[sums["key"].isin(sums["key"].unique()[-_LAST:])], by)
    sums["total"] = sums["exact"] + sums["estimated"]
    sums = sums.sort_values(["total", "saved", "key"], ascending=[False, False, True], kind="stable", ignore_index=True)
    if len(sums) > _MAX_BARS:  # the cheapest become one bar; real charges and the emulator's never together
        head, tail = sums.iloc[: _MAX_BARS - 1], sums.iloc[_MAX_BARS - 1 :]
        rest = tail.groupby("emulated", as_index=False).sum(numeric_only=True)
        sizes = tail.groupby("emulated").size()
        rest["key"] = [f"{sizes[emulated]} others" for emulated in rest["emulated"]]
        sums = pd.concat([head, rest], ignore_index=True)
    return _named(sums, by)


def _named(sums: pd.DataFrame, by: str) -> pd.DataFrame:
    """Add the name of each bar: the last part of a model's path, or all of it where that would be ambiguous."""
    short = sums["key"].str.rsplit("/", n=1).str[-1] if by == "model" else sums["key"]
    owners = sums.groupby(short)["key"].transform("nunique")
    mixed = sums["emulated"].nunique() > 1
    suffix = np.where(sums["emulated"] & mixed, " (emulator)", "")
    return sums.assign(name=short.where(owners == 1, sums["key"]) + suffix)


# -- words -------------------------------------------------------------------------------------------------------------


def _summary(bars: pd.DataFrame, unit: str, by: str) -> list[str]:
    """Return the parts of the line under the title: the total, the estimated part, what was saved or is unknown."""
    emulated = bool(bars["emulated"].all())
    real = bars if emulated else bars[~bars["emulated"]]
    exact, estimated, saved = (float(real[part].sum()) for part in ("exact", "estimated", "saved"))
    parts = ["emulator: nothing was billed; what it would have cost"] if emulated else []
    cut = by in _FORMATS and bars["key"].nunique() == _LAST  # there may be charges before these
    total = f"{amount(exact + estimated, unit)} in {f'the last {_LAST} {by}s with charges' if cut else 'all'}"
    if exact and estimated:
        total += f", {amount(estimated, unit)} of it estimated"
    elif estimated:
        total += ", estimated"
    if exact or estimated or not real["unknown"].sum():
        parts.append(total)
    if saved:
        parts.append(f"{amount(saved, unit)} saved by stored answers")
    if real["unknown"].sum():
        parts.append(_unknown(int(real["unknown"].sum())))
    if not emulated and bars["emulated"].any():
        parts.append("emulator: nothing was billed, and it is not in the total")
    return parts


def _label(bar: Any, unit: str) -> list[str]:
    """Return what is written at the end of a bar, the most important part first."""
    paid, saved, calls = float(bar.exact + bar.estimated), float(bar.saved), int(bar.unknown)
    parts = [amount(paid, unit) + (" estimated" if bar.estimated and not bar.exact else "")] if paid else []
    if calls:
        parts.append(_unknown(calls))
    if saved:
        parts.append(f"{amount(saved, unit)} saved")
    return parts or [amount(0, unit)]


def _unknown(calls: int) -> str:
    return f"{markup.counted(calls, 'call')} of unknown price"


def amount(value: float, unit: str) -> str:
    """Write an amount with as many digits as matter: $12.30, $0.042, $0.000031, 1,250 Neurons."""
    if unit == "usd":
        return ("-" if value < 0 else "") + "$" + _digits(abs(value), whole=2)
    return f"{_digits(value, whole=0 if abs(value) >= 100 else 1)} Neurons"


def _digits(value: float, whole: int) -> str:
    """Write `whole` decimals from 1 upwards, two significant digits below, and never an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 0.995:
        return f"{value:,.{whole}f}"
    decimals = 1 - int(f"{value:.1e}".partition("e")[2])  # of the rounded number: 0.0999 is 0.10
    return f"{value:.{decimals}f}" if decimals <= 12 else "0.000000000001"


def money_ticks(unit: str) -> FuncFormatter:
    """Write amounts at ticks, without the word Neurons that stands beside the axis."""
    return FuncFormatter(lambda value, _: amount(value, unit).removesuffix(" Neurons"))


def _axis_label(unit: str) -> str:
    return "US dollars" if unit == "usd" else "Neurons"


def _patches(kinds: Sequence[str], wide: bool = True) -> list[Artist]:
    """Return the legend's entries for these of "exact", "estimated" and "saved"."""
    known: dict[str, Artist] = {
        "exact": Patch(facecolor=BLUE, label="exact"),
        "estimated": Patch(facecolor=_ESTIMATED, label="estimated", **_HATCHED),
        "saved": Patch(label="saved by stored answers" if wide else "saved", **_OUTLINE),
    }
    return [known[kind] for kind in kinds]


# -- bars --------------------------------------------------------------------------------------------------------------


def _draw_bars(ax: Axes, bars: pd.DataFrame, unit: str) -> None:
    places = np.arange(len(bars))
    exact, estimated, saved = (bars[part].to_numpy(dtype=float) for part in ("exact", "estimated", "saved"))
    beside = bars["emulated"].to_numpy(dtype=bool) & (not bars["emulated"].all())
    solid, light = ([GREY if grey else shade for grey in beside] for shade in (BLUE, _ESTIMATED))
    if exact.any():
        ax.barh(places, exact, height=0.62, color=solid)
    if estimated.any():
        ax.barh(places, estimated, left=exact, height=0.62, color=light, **_HATCHED)
    if saved.any():
        some = saved > 0
        ax.barh(places[some], saved[some], left=(exact + estimated)[some], height=0.62, **_OUTLINE)
    tidy(ax, "x", x=_axis_label(unit))
    name_ticks(ax, ax.yaxis, bars["name"], int(np.clip(inches(ax) * 5, 16, 32)), fontsize=9.5)
    kinds = [kind for kind in ("exact", "estimated", "saved") if bars[kind].any()]
    legend = kinds not in ([], ["exact"])
    ax.set_ylim(len(bars) - 0.5 + (0.75 if legend else 0.0), -0.6)  # a strip for the legend that no bar reaches into
    if legend:
        wide = inches(ax) > 3.3
        ax.legend(
            handles=_patches(kinds, wide), loc="lower left", bbox_to_anchor=(0, 0), ncols=3, frameon=False,
            labelcolor=theme(ax).ink, borderaxespad=0.1, columnspacing=1.2, handlelength=1.6,
            fontsize=8.5 if wide else 7.5,
        )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.xaxis.set_major_formatter(money_ticks(unit))
    run_layout(ax)
    _label_bars(ax, exact + estimated + saved, [_label(bar, unit) for bar in bars.itertuples()])


def _label_bars(ax: Axes, ends: Numbers, labels: list[list[str]]) -> None:
    """Write the amounts at the bar ends, and make the axis as long as the longest of them needs."""
    width = ax.get_window_extent().width
    if not ends.any():
        ax.set_xticks([])
        ax.set_xlabel("")
    longest = float(ends.max())
    for at, parts in enumerate(labels):
        text = ax.annotate(
            ", ".join(parts), (float(ends[at]), at), (5, 0), textcoords="offset points", va="center", fontsize=9,
            color=theme(ax).ink, parse_math=False,
        )  # fmt: skip
        while True:
            share = (text.get_window_extent().width + 12) / width
            if len(parts) == 1 or share <= _LABEL_SHARE:
                break
            parts.pop()  # narrow axes have room for what matters most
            text.set_text(", ".join(parts))
        longest = max(longest, float(ends[at]) / (1 - min(share, _LABEL_SHARE)))
    ax.set_xlim(0, longest * 1.02 or 1)


# -- running total -----------------------------------------------------------------------------------------------------


def _draw_total(ax: Axes, charges: pd.DataFrame, unit: str) -> None:
    """Draw running totals of charges in the order of time, as `sum_up` returns them by "time"."""
    alone = bool(charges["emulated"].all())
    real = charges if alone else charges[~charges["emulated"]]
    moments = _days(charges["key"])
    span = moments[-1] - moments[0]
    end = moments[-1] + (span * 0.02 if span > _MOMENT else _MINUTE)  # the last step has a length too
    exact, estimated, saved = (_steps(real, kind, end) for kind in ("exact", "estimated", "saved"))
    x, total = exact[0], exact[1] + estimated[1]
    highest = float((total + saved[1]).max())
    if total.any():
        ax.fill_between(x, 0, exact[1], step="post", color=BLUE, linewidth=0)
        if estimated[1].any():
            ax.fill_between(x, exact[1], total, step="post", facecolor=_ESTIMATED, **_HATCHED)
    if saved[1].any():
        ax.step(x, total + saved[1], where="post", color=_OUTLINE["edgecolor"], linewidth=1.2, linestyle=(0, (3, 2)))
    sums = {"exact": exact[1], "estimated": estimated[1], "saved": saved[1]}
    handles = _patches([kind for kind, sum_ in sums.items() if sum_.any()])
    unpriced = real[real["unknown"] > 0]
    if len(unpriced):  # a cross on the line for each such call: it was made, and it is not in the sum
        at = _days(unpriced["key"].iloc[:: -(-len(unpriced) // _MAX_CROSSES)])
        ax.plot(at, total[np.searchsorted(x, at, side="right") - 1], clip_on=False, zorder=4, **_CROSSES)
        handles.append(Line2D([], [], label=_unknown(int(unpriced["unknown"].sum())), **_CROSSES))
    if not alone and charges["emulated"].any():
        emulated = charges[charges["emulated"]].assign(all=lambda rows: rows["exact"] + rows["estimated"])
        also = _steps(emulated, "all", end)
        highest = max(highest, float(also[1].max()))
        ax.step(*also, where="post", color=GREY, linewidth=1.4)
        handles.append(Line2D([], [], color=GREY, linewidth=1.4, label="emulator (nothing billed)"))
    _dress_total(ax, handles, unit, (float(moments[0]), float(end)), highest)


def _steps(charges: pd.DataFrame, kind: str, end: float) -> tuple[Numbers, Numbers]:
    """Return moments and running totals, thinned, from nothing at the first moment to the whole at `end`."""
    moments, sums = _days(charges["key"]), np.cumsum(charges[kind].to_numpy(dtype=float))
    kept = np.unique(np.linspace(0, len(sums) - 1, min(len(sums), _MAX_STEPS)).astype(int))
    return np.array([moments[0], *moments[kept], end]), np.array([0.0, *sums[kept], sums[-1]])


def _days(moments: pd.Series[Any]) -> Numbers:
    return np.asarray(date2num(moments), dtype=np.float64)  # type: ignore[no-untyped-call]


def _dress_total(ax: Axes, handles: list[Artist], unit: str, limits: tuple[float, float], highest: float) -> None:
    tidy(ax, "y", x="time (UTC)", y=_axis_label(unit))
    columns = max(1, int(inches(ax) / 1.8))
    lines = -(-len(handles) // columns)
    ax.set_ylim(0, highest * (1.1 + 0.12 * lines) or 1)  # a strip for the legend
    ax.set_xlim(*limits)
    ax.xaxis_date()
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    for period in (MINUTELY, SECONDLY):  # from every minute to every fifth would leave one tick or none
        locator.intervald[period] = [1, 2, 5, 10, 15, 30]
    ax.xaxis.set_major_locator(locator)
    form = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    form.formats[5], form.zero_formats[5] = "%H:%M:%S.%f", "%H:%M:%S"  # its own writes bare seconds, which say nothing
    form.offset_formats[4:] = ["%Y-%b-%d", "%Y-%b-%d"]
    ax.xaxis.set_major_formatter(form)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter(money_ticks(unit))
    if handles:
        ax.legend(handles=handles, loc="upper left", frameon=False, labelcolor=theme(ax).ink, fontsize=8.5,
                  ncols=columns, borderaxespad=0)  # fmt: skip
    if not highest:
        ax.set_yticks([])
