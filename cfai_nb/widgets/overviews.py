"""The ledger and the catalogue of models as tables under a few controls: `LedgerView` and `Models`.

In: the charges of the session's ledger, or ``cf.models()``, and what the user sets.  Out: a table that is redrawn when
that changes; the ledger's also while runs report their progress, and after every cell.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import pandas as pd
import traitlets
from IPython import get_ipython

from .. import session
from .._engine.run_state import HERE
from ..errors import refuse_unknown, takes_options
from ..frame import progress
from ..html.markup import block, counted, escape, soft, table
from ..models import catalogue
from ..models.ledger import midnight, money
from ..models.price import listed
from ..session import listings
from ..vectors.vector import stand_in
from .base import View

#: Seconds between two drawings during a run; each reads the ledger.
PAUSE = 1.0
_SINCE = {
    "now": "since this was opened", "notebook": "in this notebook", "today": "today (since 00:00 UTC)",
    "ever": "in this ledger",
}  # fmt: skip
_BY = {"model": ["model"], "verb": ["verb"], "model and verb": ["model", "verb"]}
_OPTIONS = ("search", "task", "verb", "max_usd", "min_context", "order")
_TOKENS = ("input_tokens", "output_tokens")


class LedgerView(View):
    """Totals of the ledger, redrawn about once a second during calls.

    Attributes
    ----------
    since : {"now", "notebook", "today", "ever"}
        The first charge to count: since this view was created, since this kernel was started (its own charges only),
        since 00:00 UTC (when the free Neurons are renewed), or since the ledger exists.
    by : {"model", "verb", "model and verb"}
    frame : DataFrame
        The totals.
    """

    since = traitlets.Enum(list(_SINCE), "today")
    by = traitlets.Enum(list(_BY), "model and verb")

    @takes_options()
    def __init__(self, since: str = "today", by: str = "model and verb") -> None:
        super().__init__()
        self._made, self._drawn = time.time(), float("-inf")
        self.since, self.by = since, by
        self._after_cell: Callable[[], None] | None = None
        self.observe(lambda change: self.update(), ["since", "by"])
        self._listening = _listen_weakly(self)

    def refresh(self, finished: bool) -> None:
        """Redraw after an event of a run, at most once a second until the run is finished."""
        now = time.time()
        if finished or now - self._drawn >= PAUSE:
            self._drawn = now
            self.update()

    def _ipython_display_(self) -> None:
        super()._ipython_display_()
        shell = get_ipython()
        if shell is not None and self._after_cell is None:
            # Streamed answers and calls of other kernels send no events here; they show after the next cell.
            self._after_cell = _after_cells(shell, self)

    def close(self) -> None:
        """Stop following runs; the table stays."""
        if self._after_cell is not None:
            self._after_cell()
        self._listening.close()

    @property
    def frame(self) -> pd.DataFrame:
        """Totals: requests, rows, tokens, neurons, usd, saved_neurons, unpriced calls, exact."""
        return listings.totals_by(self._charges(), ["origin", *_BY[self.by]])

    def _charges(self) -> pd.DataFrame:
        start = {"now": self._made, "today": midnight(time.time())}.get(self.since, 0.0)
        charges = listings.charges_frame(session.current().charges(start))
        return charges[charges["run"].str.startswith(HERE)] if self.since == "notebook" else charges

    def page(self) -> str:
        """Return the totals as HTML."""
        frame = self.frame
        words = "".join(f"<div><b>{escape(line)}</b></div>" for line in self._totals(frame))
        # One sum where there is one origin, which the sentence names: what the emulator would have cost was not paid.
        whole = [_sum(part) for _, part in frame.groupby(level="origin")]
        names = frame.index.names[len(whole) == 1 :]
        keys = frame.index.to_frame(index=False)[names].itertuples(index=False)
        rows = [[*key, *_counts(row)] for key, row in zip(keys, frame.to_dict("records"), strict=True)]
        heads = [(str(name), "left") for name in names]
        heads += [(name, "right") for name in ("requests", "rows", "tokens", "cost", "saved")]
        foot = ["total", *[""] * (len(names) - 1), *_counts(whole[0])] if len(whole) == 1 else []
        shown = table(heads, rows, foot=foot) if rows else ""
        return block(f'<div class="cfai-head">{words}</div>{shown}', role="status", look=("table",))

    def _totals(self, frame: pd.DataFrame) -> list[str]:
        """Return a sentence for each origin."""
        lines = []
        for origin, part in frame.groupby(level="origin", sort=False):
            verb = f"the {origin} would have cost" if stand_in(str(origin)) else f"{origin}: spent"
            lines.append(f"{verb} {_cost(_sum(part))} {_SINCE[self.since]}")
        return lines or [f"nothing spent {_SINCE[self.since]}"]

    def __repr__(self) -> str:
        return "\n".join(self._totals(self.frame))

    @functools.cached_property
    def controls(self) -> Any:
        """The switches, created on first use."""
        buttons = {"button_width": "auto", "description_width": "auto"}
        since = ipywidgets.ToggleButtons(options=list(_SINCE), description="Since", style=buttons)
        apart = {"margin": "0 0 0 2em"}
        by = ipywidgets.ToggleButtons(options=list(_BY), description="By", style=buttons, layout=apart)
        traitlets.link((self, "since"), (since, "value"))
        traitlets.link((self, "by"), (by, "value"))
        return ipywidgets.HBox([since, by], layout={"flex_flow": "row wrap"})


def _sum(part: pd.DataFrame) -> dict[Any, Any]:
    """Totals of rows of totals; an amount is missing where it is in any of them, but for priced calls."""
    sums = {name: part[name].sum() for name in ("requests", "rows", "neurons", "unpriced")}
    sums |= {name: part[name].sum(skipna=False) for name in ("tokens", "saved_neurons")}
    return {**sums, "exact": bool(part["exact"].all())}


def _counts(row: dict[Any, Any]) -> list[str]:
    """Requests, rows, tokens, cost and saving of a row of totals, in words."""
    tokens, saved = row["tokens"], row["saved_neurons"]
    made = [f"{row['requests']:,.0f}", f"{row['rows']:,.0f}", "unknown" if pd.isna(tokens) else f"{tokens:,.0f}"]
    return [*made, _cost(row), "unknown" if pd.isna(saved) else money(saved) if saved else ""]


def _cost(row: dict[Any, Any]) -> str:
    """An amount, with a tilde if it is an estimate, and the number of calls of unknown price."""
    known = "" if pd.isna(row["neurons"]) else money(row["neurons"], row["exact"])
    if not row["unpriced"]:
        return known
    unknown = f"{counted(int(row['unpriced']), 'call')} of unknown price"
    return f"{known} and {unknown}" if row["neurons"] and known else unknown


# A view that is no longer referenced must not be kept alive by what it follows.


def _listen_weakly(view: LedgerView) -> progress.Listening:
    """Follow runs while the view exists."""
    refresh = weakref.WeakMethod(view.refresh)

    def follow(event: Any) -> None:
        method = refresh()
        method(event.finished) if method is not None else listening.close()

    listening = progress.Listening(follow)
    return listening


def _after_cells(shell: Any, view: LedgerView) -> Callable[[], None]:
    """Redraw after every cell while the view exists; the returned function ends it."""
    refresh = weakref.WeakMethod(view.refresh)

    def ran(result: Any = None) -> None:
        method = refresh()
        method(True) if method is not None else end()

    def end() -> None:
        if ran in shell.events.callbacks["post_run_cell"]:
            shell.events.unregister("post_run_cell", ran)

    shell.events.register("post_run_cell", ran)
    return end


@takes_options()
def ledger(*, since: str = "today", by: str = "model and verb") -> LedgerView:
    """Show the ledger, live.

    Parameters
    ----------
    since : {"now", "notebook", "today", "ever"}
    by : {"model", "verb", "model and verb"}

    Returns
    -------
    LedgerView
        Shows itself in a notebook; ``frame`` holds the totals, ``close()`` stops following runs.

    Examples
    --------
    >>> cf.widgets.ledger(since="notebook", by="verb")
    """
    return LedgerView(since, by)


# -- models ------------------------------------------------------------------------------------------------------------


class Models(View):
    """``cf.models()`` with boxes to search it; shown in a notebook, or used by its traits.

    Attributes
    ----------
    search : str
        Words that must all occur in the id, the task, the capabilities, or the verbs it is the default for.
    task : str
        Empty: all.
    verb : str
        Only models that this verb accepts, such as ``"classify"``; empty: all.
    max_usd : float or None
        Highest price in dollars per million tokens read; excludes models of unknown price.
    min_context : int or None
        Smallest context in tokens; excludes models whose context is unknown.
    order : {"name", "price", "context"}
    frame : DataFrame
        The rows of ``cf.models()`` that match.
    """

    search = traitlets.Unicode("")
    task = traitlets.Unicode("")
    verb = traitlets.Unicode("")
    max_usd = traitlets.Float(None, allow_none=True)
    min_context = traitlets.Int(None, allow_none=True)
    order = traitlets.Enum(["name", "price", "context"], "name")

    def __init__(self, **options: Any) -> None:
        refuse_unknown("models", options, _OPTIONS)
        super().__init__()
        self._all = listings.models()
        for name, value in options.items():
            setattr(self, name, value)
        self.observe(lambda change: self.update(), list(_OPTIONS))

    @traitlets.validate("verb")  # type: ignore[untyped-decorator, unused-ignore]
    def _known_verb(self, proposal: Any) -> str:
        verb = str(proposal["value"])
        if verb and verb not in (known := listings.verbs()):
            raise ValueError(f"verb: there is no verb {verb!r} that asks a model. Verbs: {', '.join(known)}.")
        return verb

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of ``cf.models()`` that match."""
        frame = self._all
        if self.task:
            frame = frame[frame["task"].str.casefold().str.contains(self.task.casefold(), regex=False)]
        if self.verb:
            frame = frame[frame["family"].isin(listings.families_of(self.verb))]
        if self.max_usd is not None:
            frame = frame[frame["usd_per_m_input_tokens"] <= self.max_usd]
        if self.min_context is not None:
            frame = frame[frame["context"] >= self.min_context]
        searched = frame[["task", "capabilities", "default_for"]].fillna("")
        texts = [" ".join(map(str, row)).casefold() for row in searched.itertuples()]
        frame = frame[[all(word in text for word in self.search.casefold().split()) for text in texts]]
        if self.order == "price":
            return frame.sort_values("usd_per_m_input_tokens", kind="stable")
        if self.order == "context":
            return frame.sort_values("context", ascending=False, kind="stable")
        return frame.sort_index()

    def page(self) -> str:
        """Return the table as HTML."""
        frame = self.frame
        heads = [("model", "left"), ("task", "left"), ("$ / M read", "right"), ("$ / M written", "right")]
        heads += [("other prices", "left"), ("context", "right"), ("a minute", "right"), ("can", "left")]
        heads += [("default for", "left")]
        columns = ["task", *(f"usd_per_m_{unit}" for unit in _TOKENS), "context", "rate", "capabilities", "default_for"]
        rows = []
        for name, *cells in frame[columns].astype(object).itertuples():
            task, read, written, *rest = map(_text, cells)
            rows.append([name, task, read, written, other_prices(name), *rest])
        checked = ", ".join(sorted(set(self._all["checked_on"].dropna().astype(str)))[-1:])
        words = f"{len(frame)} of {len(self._all)} models; prices of {checked}, in dollars"
        return block(f'<div class="cfai-head" role="status">{soft(words)}</div>{table(heads, rows)}', look=("table",))

    def __repr__(self) -> str:
        shown = self.frame[["task", "usd_per_m_input_tokens", "usd_per_m_output_tokens", "context"]]
        return f"{len(shown)} of {len(self._all)} models\n{shown.to_string()}"

    @functools.cached_property
    def controls(self) -> Any:
        """The boxes, created on first use."""
        wide, narrow, fitted = {"width": "20em"}, {"width": "15em"}, {"description_width": "auto"}
        names, known = sorted(set(self._all["task"])), listings.verbs()
        search = ipywidgets.Text(
            description="Search", placeholder="words, such as qwen vision", layout=wide, style=fitted
        )
        task = ipywidgets.Dropdown(
            description="Task", options=[("all tasks", ""), *zip(names, names, strict=True)], layout=wide, style=fitted
        )
        verb = ipywidgets.Dropdown(
            description="Verb", options=[("all verbs", ""), *zip(known, known, strict=True)], layout=narrow,
            style=fitted,
        )  # fmt: skip
        order = ipywidgets.Dropdown(
            description="Order", options=["name", "price", "context"], layout=narrow, style=fitted
        )
        price = ipywidgets.Text(
            description="At most $", placeholder="per M tokens read", layout={"width": "17em"}, style=fitted
        )
        context = ipywidgets.Text(description="Context", placeholder="tokens at least", layout=narrow, style=fitted)
        for name, box in (("search", search), ("verb", verb), ("order", order)):
            traitlets.link((self, name), (box, "value"))
        task.value = self.task if self.task in names else ""  # the trait may be a part of a name
        task.observe(lambda change: self.set_trait("task", change["new"]), "value")
        for box, name, kind in ((price, "max_usd", float), (context, "min_context", int)):
            value = getattr(self, name)
            box.value = "" if value is None else f"{value:g}"
            box.observe(lambda change, name=name, kind=kind: self._limit(name, kind, change["new"]), "value")
        return ipywidgets.HBox([search, task, price, context, order, verb], layout={"flex_flow": "row wrap"})

    def _limit(self, name: str, kind: Any, text: str) -> None:
        """Set a limit from its box; an incomplete number removes it."""
        try:
            setattr(self, name, kind(text.replace(",", "").replace("_", "")) if text.strip() else None)
        except ValueError:
            setattr(self, name, None)


def other_prices(name: str) -> str:
    """Return the prices of a model that are not by the token, in words; "unknown" where it publishes none."""
    model = catalogue().get(name)
    if model is None or not model.prices:
        return "unknown"
    return ", ".join(listed(unit, cost) for unit, cost in model.prices.items() if unit not in _TOKENS)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:,.6g}" if isinstance(value, (int, float)) else str(value)


def models(**options: Any) -> Models:
    """Browse the catalogue.

    Parameters
    ----------
    **options
        ``search``, ``task``, ``verb``, ``max_usd`` (dollars per million tokens read), ``min_context`` (tokens) and
        ``order``.

    Returns
    -------
    Models
        Shows itself in a notebook; ``frame`` holds the models that match.

    Examples
    --------
    >>> cf.widgets.models(verb="classify", order="price")
    """
    return Models(**options)
