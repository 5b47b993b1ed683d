"""What the bars of a cost plot are: sums of charges, their names, and their amounts in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .. import markup
from ..models import USD_PER_NEURON

_BARS = 12  # more bars than that are read by nobody: the rest is drawn as one
_LAST = 31  # days or hours
_SHAPES = {"day": "%Y-%m-%d", "hour": "%Y-%m-%d %H:00"}


def bars(charges: pd.DataFrame, by: str, metric: str) -> pd.DataFrame:
    """One row a bar: exact, estimated and saved amounts, the number of calls of unknown price, and its name.

    By ``"time"`` every charge is a row of its own, in the order of ``key``: its moment in UTC, without a zone.
    """
    amount = charges[metric].astype(float)
    exact = charges["exact"].eq(True)
    saved = charges["saved_neurons"].astype(float).fillna(0) * (USD_PER_NEURON if metric == "usd" else 1)
    if by in ("time", *_SHAPES):
        moments = pd.to_datetime(charges["time"], utc=True).dt.tz_localize(None)
        key = moments.dt.strftime(_SHAPES[by]) if by in _SHAPES else moments
    else:
        key = charges[by].map(markup.line)
    table = pd.DataFrame(
        {
            "key": key,
            "emulated": charges["origin"].eq("emulator"),
            "exact": amount.where(exact, 0).fillna(0),
            "estimated": amount.where(~exact, 0).fillna(0),
            "saved": saved,
            "unknown": charges["requests"].fillna(0).clip(lower=1).where(amount.isna(), 0).astype(int),
        }
    )
    if by == "time":
        return table.sort_values("key", kind="stable", ignore_index=True)
    sums = table.groupby(["key", "emulated"], as_index=False, sort=True).sum()
    if by in _SHAPES:
        return _named(sums[sums["key"].isin(sums["key"].unique()[-_LAST:])], by)
    sums["total"] = sums["exact"] + sums["estimated"]
    sums = sums.sort_values(["total", "saved", "key"], ascending=[False, False, True], kind="stable")
    return _named(_capped(sums.drop(columns="total").reset_index(drop=True)), by)


def _capped(sums: pd.DataFrame) -> pd.DataFrame:
    """Sum up the cheapest where there are too many; real charges and an emulator's never together."""
    if len(sums) <= _BARS:
        return sums
    head, tail = sums.iloc[: _BARS - 1], sums.iloc[_BARS - 1 :]
    rest = tail.groupby("emulated", as_index=False).sum(numeric_only=True)
    sizes = tail.groupby("emulated").size()
    rest["key"] = [f"{sizes[emulated]} others" for emulated in rest["emulated"]]
    return pd.concat([head, rest], ignore_index=True)


def _named(sums: pd.DataFrame, by: str) -> pd.DataFrame:
    """Add the name written at each bar: the last part of a model's path, the whole of it where that is ambiguous."""
    short = sums["key"].str.rsplit("/", n=1).str[-1] if by == "model" else sums["key"]
    owners = sums.groupby(short)["key"].transform("nunique")
    mixed = sums["emulated"].nunique() > 1
    suffix = np.where(sums["emulated"] & mixed, " (emulator)", "")
    return sums.assign(name=short.where(owners == 1, sums["key"]) + suffix)


def summary(bars: pd.DataFrame, metric: str, by: str) -> str:
    """The line under the title: whose money, how much of it, and how sure that is."""
    emulated = bool(bars["emulated"].all())
    counted = bars if emulated else bars[~bars["emulated"]]
    exact, estimated, saved = (float(counted[part].sum()) for part in ("exact", "estimated", "saved"))
    parts = ["emulator: nothing was billed; what it would have cost"] if emulated else []
    cut = by in _SHAPES and bars["key"].nunique() == _LAST  # what lies before may have cost as well
    total = f"{amount(exact + estimated, metric)} in {f'the last {_LAST} {by}s with charges' if cut else 'all'}"
    if exact and estimated:
        total += f", {amount(estimated, metric)} of it estimated"
    elif estimated:
        total += ", estimated"
    if exact or estimated or not counted["unknown"].sum():
        parts.append(total)
    if saved:
        parts.append(f"{amount(saved, metric)} saved by kept answers")
    if counted["unknown"].sum():
        parts.append(unknown(int(counted["unknown"].sum())))
    if not emulated and bars["emulated"].any():
        parts.append("emulator: nothing was billed, and it is not in the total")
    return " · ".join(parts)


def words(bar: Any, metric: str) -> list[str]:
    """What is written at the end of a bar, the most important first."""
    paid, saved, calls = float(bar.exact + bar.estimated), float(bar.saved), int(bar.unknown)
    parts = [amount(paid, metric) + (" estimated" if bar.estimated and not bar.exact else "")] if paid else []
    if calls:
        parts.append(unknown(calls))
    if saved:
        parts.append(f"{amount(saved, metric)} saved")
    return parts or [amount(0, metric)]


def unknown(calls: int) -> str:
    return f"{calls:,} {'call' if calls == 1 else 'calls'} of unknown price"


def amount(value: float, metric: str) -> str:
    """Write an amount with as many digits as matter: $12.30, $0.042, $0.000031, 1,250 Neurons."""
    if metric == "usd":
        return ("-" if value < 0 else "") + "$" + _digits(abs(value), whole=2)
    return f"{_digits(value, whole=0 if abs(value) >= 100 else 1)} Neurons"


def _digits(value: float, whole: int) -> str:
    """`whole` decimals from one upwards, two significant digits below, and never an exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 0.995:
        return f"{value:,.{whole}f}"
    decimals = 1 - int(f"{value:.1e}".partition("e")[2])  # of the rounded number: 0.0999 is 0.10
    return f"{value:.{decimals}f}" if decimals <= 12 else "0.000000000001"
