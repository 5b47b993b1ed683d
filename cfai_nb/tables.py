"""The catalogue and the book of charges as frames."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd

from . import session
from .ledger import Charge, money
from .markup import NO_MATH
from .models import Model, Usage, catalogue, price

_CHARGE_COLUMNS = (
    "time", "origin", "model", "verb", "requests", "rows", "tokens", "neurons", "usd", "exact", "saved_neurons",
    "seconds", "run", "account",
)  # fmt: skip


def models(
    name: str | None = None, *, task: str | None = None, refresh: bool = False, retired: bool = False
) -> pd.DataFrame:
    """List the models of Workers AI.

    Parameters
    ----------
    name : str, optional
        Part of the model's id, such as ``"llama"``.
    task : str, optional
        Part of the task's name, such as ``"embed"``.
    refresh : bool
        Ask the service first and keep what it says (needs an account; the emulator has no newer list).
    retired : bool
        Include models that are gone; ``replacement`` says what to use.

    Returns
    -------
    DataFrame
        Indexed by model id.  Prices in Neurons per million tokens and dollars per million tokens where the model is
        priced by the token; missing means unknown (or another unit, see ``prices``), never free.  ``default_for``
        names the verb whose default the model is, ``why`` the reason.
    """
    if refresh:
        session.current().refresh_models()
    found = [m for m in catalogue().values() if retired or m.status != "retired"]
    if name is not None:
        found = [m for m in found if name.casefold() in m.id.casefold()]
    if task is not None:
        found = [m for m in found if task.casefold() in m.task.casefold()]
    defaults: dict[str, list[tuple[str, str]]] = {}
    for work, entry in catalogue().defaults.items():
        defaults.setdefault(entry["model"], []).append((work, entry["why"]))
    rows = [_row(model, defaults.get(model.id, [])) for model in found]
    columns = list(_row(next(iter(catalogue().values())), []))
    return pd.DataFrame(rows, columns=columns).set_index("id")


def _row(model: Model, defaults: Sequence[tuple[str, str]]) -> dict[str, Any]:
    units = {unit: price(Usage({unit: 1e6}), model) for unit in ("input_tokens", "output_tokens")}
    listed = {unit: unit in (model.prices or {}) for unit in units}
    row: dict[str, Any] = {"id": model.id, "task": model.task, "family": model.family, "status": model.status}
    for unit, cost in units.items():
        row[f"neurons_per_m_{unit}"] = cost.neurons if listed[unit] else None
        row[f"usd_per_m_{unit}"] = cost.usd if listed[unit] else None
    prices = {unit: f"{p.neurons} Neurons / ${p.usd} per {p.per:g}" for unit, p in (model.prices or {}).items()}
    return row | {
        "prices": prices or "unknown",
        "rate": model.rate,
        "context": model.context,
        "dims": model.dims,
        "batch": model.batch,
        "capabilities": ", ".join(sorted(model.capabilities)),
        "default_for": ", ".join(work for work, _ in defaults) or None,
        "why": "; ".join(dict.fromkeys(why for _, why in defaults)) or None,
        "retired_on": model.retired_on,
        "replacement": ", ".join(model.replacement) or None,
        "checked_on": model.checked_on,
    }


class LedgerFrame(pd.DataFrame):
    """The book of charges: a DataFrame that sums itself up in a notebook."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def totals(self) -> pd.DataFrame:
        """Sum up by origin, model and verb; unknown prices are counted in ``unpriced``, not added as zero."""
        frame = pd.DataFrame(self)
        paid = frame.assign(unpriced=(frame["neurons"].isna() & (frame["requests"] > 0)).astype(int))
        grouped = paid.groupby(["origin", "model", "verb"], sort=True)
        sums = grouped[["requests", "rows", "tokens", "neurons", "usd", "saved_neurons", "unpriced"]].sum()
        return sums.assign(exact=grouped["exact"].all())

    def _repr_html_(self) -> str | None:
        frame = pd.DataFrame(self)
        real = frame[frame["origin"] != "emulator"]
        words = (
            f"spent {money(float(real['neurons'].sum()), bool(real['exact'].all()))}" if len(real) else "nothing spent"
        )
        if unknown := int((real["neurons"].isna() & (real["requests"] > 0)).sum()):
            words += f", and {unknown:,} calls of unknown price"
        pretended = frame[frame["origin"] == "emulator"]
        if len(pretended):
            words += f"; the emulator would have cost {money(float(pretended['neurons'].sum()), False)}"
        table = self.totals().to_html(escape=True, float_format=lambda value: f"{value:,.6g}")
        return f'<div class="{NO_MATH}"><p><b>Ledger</b>: {html.escape(words)}</p>{table}</div>'


def ledger(*, since: float | str | pd.Timestamp | None = None) -> LedgerFrame:
    """Return the book of charges: one row a billed call, kept across notebooks.

    Parameters
    ----------
    since : time, optional
        Seconds since 1970, or anything ``pd.Timestamp`` reads (UTC unless it says otherwise).

    Returns
    -------
    DataFrame
        ``time`` (UTC), ``origin``, ``model``, ``verb``, ``requests``, ``rows``, ``tokens``, ``neurons`` and ``usd``
        (missing: unknown), ``exact`` (the service said so) and ``saved_neurons`` (rows taken from the store, at what
        they had cost, and answers of a gateway's cache, at what they would have cost).  ``usd`` is the list price,
        before the 10,000 free Neurons a day.
    """
    start = 0.0
    if isinstance(since, (int, float)):
        start = float(since)
    elif since is not None:
        moment = pd.Timestamp(since)
        start = (moment.tz_localize("UTC") if moment.tzinfo is None else moment).timestamp()
    return as_frame(session.current().charges(start))


def as_frame(charges: Sequence[Charge]) -> LedgerFrame:
    """Lay charges out as a frame."""
    from .models import USD_PER_NEURON

    rows = [{name: getattr(charge, name, None) for name in _CHARGE_COLUMNS} for charge in charges]
    frame = pd.DataFrame(rows, columns=list(_CHARGE_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    for name in ("neurons", "tokens"):
        frame[name] = frame[name].astype("float64")
    frame["usd"] = frame["neurons"] * USD_PER_NEURON
    frame["exact"] = frame["exact"].astype(bool)
    return LedgerFrame(frame)
