"""``cf.models`` and ``cf.ledger``: the catalogue and the ledger of charges as DataFrames.

The widgets, the plots of costs and the command line show the same frames.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import tasks
from ..errors import ModelError, SetupError, hint, takes_options
from ..html import markup
from ..html.markup import counted
from ..models import USD_PER_NEURON, Model, Usage, catalogue, price
from ..models.ledger import Charge, midnight, money
from ..tasks import Task
from ..vectors.vector import stand_in

if TYPE_CHECKING:
    from .account_usage import UsageRow  # loads the engine

_CHARGE_COLUMNS = (
    "time", "origin", "model", "verb", "requests", "rows", "tokens", "neurons", "usd", "exact", "saved_neurons",
    "seconds", "run", "account",
)  # fmt: skip


@takes_options()
def models(
    name: str | None = None,
    *,
    task: str | None = None,
    verb: str | None = None,
    refresh: bool = False,
    retired: bool = False,
) -> pd.DataFrame:
    """List the models of Workers AI.

    Parameters
    ----------
    name : str, optional
        Part of the model's id, such as ``"llama"``; or a verb, such as ``"classify"``, for the models it accepts.
    task : str, optional
        Part of the task's name, such as ``"embed"``.
    verb : str, optional
        A verb, such as ``"classify"``: only the models it accepts.
    refresh : bool
        Update the catalogue from the service first (needs an account; the emulator has no newer list).
    retired : bool
        Include retired models; ``replacement`` names what to use instead.

    Returns
    -------
    DataFrame
        Indexed by model id.  Prices in Neurons and in dollars per million tokens where the model is priced by the
        token; missing means unknown (or another unit, see ``prices``), not free.  ``default_for`` names the verbs that
        use the model by default, ``why`` the reason.  ``evidence`` says where the figures come from, ``checked_on``
        when they were read, and ``notes`` where sources disagree.

    Raises
    ------
    ModelError
        No model or verb has such a name, or no model such a task.

    Examples
    --------
    >>> cf.models(verb="embed")[["usd_per_m_input_tokens", "dims"]]
    >>> cf.models("llama")
    """
    if refresh:
        from . import current  # loads the engine, which a listing does not need

        current().refresh_models()
    found = [m for m in catalogue().values() if retired or m.status != "retired"]
    if verb is not None:
        taken = [kind for kind in _tasks() if kind.name == verb.casefold()]
        if not taken:
            raise ModelError(f"verb={verb!r}: there is no such verb. {_known_words()}")
        found = [m for m in found if any(not kind.families or m.family in kind.families for kind in taken)]
    if name is not None:
        families = families_of(name)
        found = [m for m in found if name.casefold() in m.id.casefold() or m.family in families]
    if task is not None:
        found = [m for m in found if task.casefold() in m.task.casefold()]
    if not found and (name is not None or task is not None):
        of = f" Only models of verb={verb!r} were searched." if verb is not None else ""
        raise ModelError(f"{_no_models(name, task, retired)}{of}")
    defaults: dict[str, list[tuple[str, str]]] = {}
    for work, entry in catalogue().defaults.items():
        defaults.setdefault(entry["model"], []).append((work, entry["why"]))
    rows = [_row(model, defaults.get(model.id, [])) for model in found]
    columns = list(_row(next(iter(catalogue().values())), []))
    return pd.DataFrame(rows, columns=columns).set_index("id")


def families_of(verb: str) -> frozenset[str]:
    """Return the families of models that a verb accepts; none if there is no such verb."""
    return frozenset().union(*(kind.families for kind in _tasks() if kind.name == verb.casefold()))


def verbs() -> list[str]:
    """Return the names of all verbs that ask a model."""
    return sorted({kind.name for kind in _tasks() if kind.name})


def _tasks() -> list[type[Task]]:
    """Return the tasks that are verbs: those with a name of their own."""
    kinds = [kind for kind in vars(tasks).values() if isinstance(kind, type) and issubclass(kind, Task)]
    return [kind for kind in kinds if kind.name != Task.name]


def _no_models(name: str | None, task: str | None, retired: bool) -> str:
    """Return the message that no model matches, with the nearest name and all tasks."""
    if name is not None and task is None and name.casefold() in verbs():
        return f"The verb {name!r} has no model to choose: a service of its own answers it."
    filters = {"id": name, "task": task}
    what = " and ".join(f"{given!r} in its {word}" for word, given in filters.items() if given is not None)
    known = list(catalogue().values())
    meant = hint(name or "", [*(model.name for model in known), *verbs()])
    gone = "" if retired else " retired=True includes retired models."
    verb = f", and no verb is called {name!r}" if name is not None else ""
    return f"No model has {what}{verb}.{meant} {_known_words()}{gone}"


def _known_words() -> str:
    """Return the words of a search: tasks, verbs, authors."""
    current = [model for model in catalogue().values() if model.status != "retired"]
    words = {
        "Tasks": {model.task for model in current if model.task},
        "Verbs": set(verbs()),
        "Authors": {model.id.split("/")[1] for model in current if model.id.count("/") == 2},
    }
    return " ".join(f"{kind}: {', '.join(sorted(found))}." for kind, found in words.items())


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
        "evidence": model.evidence,
        "checked_on": model.checked_on,
        "notes": "; ".join(model.notes) or None,
    }


class LedgerFrame(pd.DataFrame):
    """The ledger of charges: a DataFrame that displays its totals in a notebook."""

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def totals(self) -> pd.DataFrame:
        """Return the sums by origin, model and verb.

        An unknown amount does not count as zero: calls of unknown price are counted in ``unpriced``, and the amounts
        are those of the other calls, missing if there are none; ``tokens`` is missing if any call did not report them.
        """
        return totals_by(self, ["origin", "model", "verb"])

    def _repr_html_(self) -> str | None:
        frame = pd.DataFrame(self)
        emulated = frame["origin"].map(stand_in).ne("")
        words = f"spent {cost}" if (cost := cost_in_words(frame[~emulated])) else "nothing spent"
        if cost := cost_in_words(frame[emulated]):
            words += f"; the emulator would have cost {cost}"
        return markup.frame_html(self.totals(), f"<b>Ledger</b> {markup.soft(words)}")


def cost_in_words(charges: pd.DataFrame) -> str:
    """Return what the requests among these charges cost, and how many are of unknown price; empty for none."""
    paid = charges[charges["requests"] > 0]
    known, unknown = paid.dropna(subset="neurons"), int(paid["neurons"].isna().sum())
    parts = [money(float(known["neurons"].sum()), bool(known["exact"].all()))] if len(known) else []
    parts += [f"{counted(unknown, 'call')} of unknown price"] if unknown else []
    return " and ".join(parts)


def totals_by(charges: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return the sums of charges by these columns, as in ``LedgerFrame.totals``."""
    frame = pd.DataFrame(charges)
    bought = frame["requests"] > 0
    frame = frame.assign(
        unpriced=(frame["neurons"].isna() & bought).astype(int), priced=frame["neurons"].notna() & bought,
        no_tokens=frame["tokens"].isna() & bought, no_saving=frame["saved_neurons"].isna(),
    )  # fmt: skip
    grouped = frame.groupby(by, sort=True)
    sums = grouped[["requests", "rows", "tokens", "neurons", "usd", "saved_neurons", "unpriced"]].sum()
    found = grouped[["priced", "no_tokens", "no_saving"]].any()
    unpriced = (sums["unpriced"] > 0) & ~found["priced"]
    saved = sums["saved_neurons"]
    unknown = {
        "tokens": found["no_tokens"], "neurons": unpriced, "usd": unpriced,
        "saved_neurons": found["no_saving"] & ~(saved > 0),
    }  # fmt: skip
    return sums.assign(**{name: sums[name].mask(rows) for name, rows in unknown.items()}, exact=grouped["exact"].all())


@takes_options()
def ledger(*, since: float | str | pd.Timestamp | None = None, account: bool = False) -> pd.DataFrame:
    """Return the ledger of charges: one row per billed call, kept across notebooks.

    Parameters
    ----------
    since : time, optional
        Seconds since 1970, or anything ``pd.Timestamp`` reads (UTC unless it has a time zone).
    account : bool
        Return the use of the whole account beside ours instead, as the service's own meter shows it.

    Returns
    -------
    DataFrame
        ``time`` (UTC), ``origin``, ``model``, ``verb``, ``requests``, ``rows``, ``tokens``, ``neurons`` and ``usd``
        (missing: unknown), ``exact`` (reported by the service) and ``saved_neurons`` (what rows from the store had
        cost, and what answers of a gateway's cache would have cost; missing: unknown).  ``rows`` are the answered rows
        of the frame, each counted once, however many requests it took.  ``usd`` is the list price, before the 10,000
        free Neurons a day.  With ``account=True`` indexed by ``day`` (UTC) and ``model``: ``account_requests`` and
        ``account_neurons`` of all programs, ``requests`` and ``neurons`` of our ledger, and ``other_neurons``, what
        other programs used at least.  The meter goes back 30 days and lags a minute or two.

    Raises
    ------
    AccessError
        ``account=True``, and the token lacks the permission Account Analytics: Read.

    Examples
    --------
    >>> cf.plots.cost(cf.ledger(since="2026-11-01"), by="day")
    """
    from . import current
    from .account_usage import DAYS_KEPT

    start = 0.0
    if isinstance(since, (int, float)):
        start = float(since)
    elif since is not None:
        moment = pd.Timestamp(since)
        start = (moment.tz_localize("UTC") if moment.tzinfo is None else moment).timestamp()
    here = current()
    if not account:
        return charges_frame(here.charges(start))
    if here.endpoint.is_server:
        raise SetupError(f"account= reads the meter of a Cloudflare account; {here.origin} is another server.")
    now = time.time()
    start = max(start, midnight(now) - (DAYS_KEPT - 1) * 86_400)
    charges = [c for c in here.charges(start) if c.account == here.account and c.origin == here.origin]
    return beside(here.meter.rows(start, now + 60), charges_frame(charges))


def beside(metered: Sequence[UsageRow], charges: pd.DataFrame) -> pd.DataFrame:
    """Return the account's use by day and model, beside the sums of our ledger."""
    names = {"day": "day", "model": "model", "requests": "account_requests", "neurons": "account_neurons"}
    theirs = pd.DataFrame([dataclasses.asdict(row) for row in metered], columns=list(names)).rename(columns=names)
    keys = ["day", "model"]
    ours = charges.assign(day=charges["time"].dt.strftime("%Y-%m-%d"))[charges["requests"].to_numpy() > 0]
    sums = ours.groupby(keys)[["requests", "neurons"]].sum(min_count=1)
    found = theirs.groupby(keys).sum().join(sums, how="outer").sort_index()
    counts = ["account_requests", "requests"]
    found[counts] = found[counts].fillna(0).astype("int64")
    missing = found["requests"] == 0  # zero for us, and not an unknown price
    found["neurons"] = found["neurons"].mask(missing, 0.0)
    found["other_neurons"] = (found["account_neurons"].fillna(0.0) - found["neurons"].fillna(0.0)).clip(lower=0.0)
    return found[["account_requests", "account_neurons", "requests", "neurons", "other_neurons"]]


def charges_frame(charges: Sequence[Charge]) -> LedgerFrame:
    """Return charges as a frame."""
    rows = [{name: getattr(charge, name, None) for name in _CHARGE_COLUMNS} for charge in charges]
    frame = pd.DataFrame(rows, columns=list(_CHARGE_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
    for name in ("neurons", "tokens", "saved_neurons"):
        frame[name] = frame[name].astype("float64")
    frame["usd"] = frame["neurons"] * USD_PER_NEURON
    frame["exact"] = frame["exact"].astype(bool)
    return LedgerFrame(frame)
