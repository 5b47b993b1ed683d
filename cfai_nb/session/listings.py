"""The catalogue and the book of charges as frames."""

from __future__ import annotations

import difflib
import html
from collections.abc import Sequence
from typing import Any

import pandas as pd

from .. import tasks
from ..errors import ModelError, takes_options
from ..markup import NO_MATH, counted
from ..models import Model, Usage, catalogue, price
from ..models.ledger import Charge, money
from ..tasks import Task

_CHARGE_COLUMNS = (
    "time", "origin", "model", "verb", "requests", "rows", "tokens", "neurons", "usd", "exact", "saved_neurons",
    "seconds", "run", "account",
)  # fmt: skip


@takes_options()
def models(
    name: str | None = None, *, task: str | None = None, refresh: bool = False, retired: bool = False
) -> pd.DataFrame:
    """List the models of Workers AI.

    Parameters
    ----------
    name : str, optional
        Part of the model's id, such as ``"llama"``; or a verb, such as ``"classify"``, for the models it works with.
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

    Raises
    ------
    ModelError
        No model has such a name or task, and no verb is called so.
    """
    if refresh:
        from . import current  # brings the engine; listing what is known works without it

        current().refresh_models()
    found = [m for m in catalogue().values() if retired or m.status != "retired"]
    if name is not None:
        families = _families(name)
        found = [m for m in found if name.casefold() in m.id.casefold() or m.family in families]
    if task is not None:
        found = [m for m in found if task.casefold() in m.task.casefold()]
    if not found and (name is not None or task is not None):
        raise ModelError(_nothing(name, task, retired))
    defaults: dict[str, list[tuple[str, str]]] = {}
    for work, entry in catalogue().defaults.items():
        defaults.setdefault(entry["model"], []).append((work, entry["why"]))
    rows = [_row(model, defaults.get(model.id, [])) for model in found]
    columns = list(_row(next(iter(catalogue().values())), []))
    return pd.DataFrame(rows, columns=columns).set_index("id")


def _families(verb: str) -> frozenset[str]:
    """Return the families of models a verb works with; none where it is not a verb."""
    wanted = (kind for kind in vars(tasks).values() if isinstance(kind, type) and issubclass(kind, Task))
    return frozenset().union(*(kind.families for kind in wanted if kind.name == verb.casefold()))


def _nothing(name: str | None, task: str | None, retired: bool) -> str:
    """Say that no model was found, and what is near."""
    asked = {"id": name, "task": task}
    what = " and whose ".join(f"{word} contains {given!r}" for word, given in asked.items() if given is not None)
    known = list(catalogue().values())
    verbs = {kind.name for kind in vars(tasks).values() if isinstance(kind, type) and issubclass(kind, Task)}
    near = difflib.get_close_matches((name or "").casefold(), [*(m.name for m in known), *sorted(verbs)], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    gone = "" if retired else " retired=True includes retired models."
    listed = ", ".join(sorted({m.task for m in known if m.task}))
    verb = ", and no verb has that name" if name is not None else ""
    return f"There is no model whose {what}{verb}.{hint} Tasks: {listed}.{gone}"


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
        """Sum up by origin, model and verb.

        What is unknown is not added as zero: calls of unknown price are counted in ``unpriced`` and the amounts are
        those of the others, missing where there are none; ``tokens`` are missing where any call did not tell.
        """
        return summed(self, ["origin", "model", "verb"])

    def _repr_html_(self) -> str | None:
        frame = pd.DataFrame(self)
        pretended = frame["origin"] == "emulator"
        words = f"spent {said}" if (said := amount(frame[~pretended])) else "nothing spent"
        if said := amount(frame[pretended]):
            words += f"; the emulator would have cost {said}"
        table = self.totals().to_html(escape=True, float_format=lambda value: f"{value:,.6g}")
        return f'<div class="{NO_MATH}"><p><b>Ledger</b>: {html.escape(words)}</p>{table}</div>'


def amount(charges: pd.DataFrame) -> str:
    """Say what the requests among these charges cost, and how many of them nobody knows the price of."""
    paid = charges[charges["requests"] > 0]
    known, unknown = paid.dropna(subset="neurons"), int(paid["neurons"].isna().sum())
    parts = [money(float(known["neurons"].sum()), bool(known["exact"].all()))] if len(known) else []
    parts += [f"{counted(unknown, 'call')} of unknown price"] if unknown else []
    return " and ".join(parts)


def summed(charges: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Sum charges up as ``LedgerFrame.totals`` does."""
    frame = pd.DataFrame(charges)
    bought = frame["requests"] > 0
    frame = frame.assign(
        unpriced=(frame["neurons"].isna() & bought).astype(int), priced=frame["neurons"].notna() & bought,
        untold=frame["tokens"].isna() & bought, gone=frame["saved_neurons"].isna(),
    )  # fmt: skip
    grouped = frame.groupby(by, sort=True)
    sums = grouped[["requests", "rows", "tokens", "neurons", "usd", "saved_neurons", "unpriced"]].sum()
    found = grouped[["priced", "untold", "gone"]].any()
    unpriced = (sums["unpriced"] > 0) & ~found["priced"]
    saved = sums["saved_neurons"]
    unknown = {
        "tokens": found["untold"], "neurons": unpriced, "usd": unpriced, "saved_neurons": found["gone"] & ~(saved > 0)
    }  # fmt: skip
    return sums.assign(**{name: sums[name].mask(rows) for name, rows in unknown.items()}, exact=grouped["exact"].all())


@takes_options()
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
        they had cost, and answers of a gateway's cache, at what they would have cost; missing: unknown).  ``rows`` are
        those of the frame that were answered, each counted once, however many requests it took.  ``usd`` is the list
        price, before the 10,000 free Neurons a day.
    """
    from . import current

    start = 0.0
    if isinstance(since, (int, float)):
        start = float(since)
    elif since is not None:
        moment = pd.Timestamp(since)
        start = (moment.tz_localize("UTC") if moment.tzinfo is None else moment).timestamp()
    return as_frame(current().charges(start))


def as_frame(charges: Sequence[Charge]) -> LedgerFrame:
    """Lay charges out as a frame."""
    from ..models import USD_PER_NEURON

    rows = [{name: getattr(charge, name, None) for name in _CHARGE_COLUMNS} for charge in charges]
    frame = pd.DataFrame(rows, columns=list(_CHARGE_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    for name in ("neurons", "tokens", "saved_neurons"):
        frame[name] = frame[name].astype("float64")
    frame["usd"] = frame["neurons"] * USD_PER_NEURON
    frame["exact"] = frame["exact"].astype(bool)
    return LedgerFrame(frame)
