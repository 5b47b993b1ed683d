"""The ledger, live: spending by model and verb, how exact it is, and what stored answers saved.

In: the charges of the session's ledger.  Out: `LedgerView`, a table that is redrawn while runs report their progress
and after every cell.
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
from ..errors import takes_options
from ..frame import progress
from ..markup import block, counted, escape
from ..models.ledger import midnight, money
from ..session import listings
from ..vectors.vector import stand_in
from .base import View, table

#: Seconds between two drawings during a run; each reads the ledger.
PAUSE = 1.0
_SINCE = {"now": "since this was opened", "today": "today (since 00:00 UTC)", "ever": "in this ledger"}
_BY = {"model": ["model"], "verb": ["verb"], "model and verb": ["model", "verb"]}


class LedgerView(View):
    """Totals of the ledger, redrawn about once a second during calls.

    Attributes
    ----------
    since : {"now", "today", "ever"}
        The first charge to count: since this view was created, since 00:00 UTC (when the free Neurons are renewed),
        or since the ledger exists.
    by : {"model", "verb", "model and verb"}
    frame : DataFrame
        The totals.
    """

    since = traitlets.Enum(list(_SINCE), "today")
    by = traitlets.Enum(list(_BY), "model and verb")

    @takes_options()
    def __init__(
        self, since: str = "today", by: str = "model and verb", clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._clock, self._made, self._drawn = clock, clock(), float("-inf")
        self.since, self.by = since, by
        self._after_cell: Callable[[], None] | None = None
        self.observe(lambda change: self.update(), ["since", "by"])
        self._listening = _listen_weakly(self)

    def heard(self, finished: bool) -> None:
        """Redraw after an event of a run, at most once a second until the run is finished."""
        now = self._clock()
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
        start = {"now": self._made, "today": midnight(self._clock()), "ever": 0.0}[self.since]
        return listings.totals_by(listings.charges_frame(session.current().charges(start)), ["origin", *_BY[self.by]])

    def page(self) -> str:
        """Return the totals as HTML."""
        frame = self.frame
        rows = []
        for keys, row in zip(frame.index, frame.to_dict("records"), strict=True):
            tokens, saved = row["tokens"], row["saved_neurons"]
            rows.append(
                [
                    *keys, f"{row['requests']:,.0f}", f"{row['rows']:,.0f}",
                    "unknown" if pd.isna(tokens) else f"{tokens:,.0f}", _cost(row),
                    "unknown" if pd.isna(saved) else money(saved) if saved else "",
                ]
            )  # fmt: skip
        columns = dict.fromkeys(map(str, frame.index.names), "left")
        columns |= dict.fromkeys(["requests", "rows", "tokens", "cost", "saved"], "right")
        words = "".join(f"<p>{escape(line)}</p>" for line in self._totals(frame))
        return block(words + (table(columns, rows) if rows else ""), role="status")

    def _totals(self, frame: pd.DataFrame) -> list[str]:
        """Return a sentence for each origin."""
        lines = []
        for origin in dict.fromkeys(frame.index.get_level_values("origin")):
            part = frame.xs(origin, level="origin")
            whole = {
                "neurons": float(part["neurons"].sum()), "exact": bool(part["exact"].all()),
                "unpriced": int(part["unpriced"].sum()),
            }  # fmt: skip
            verb = f"the {origin} would have cost" if stand_in(origin) else f"{origin}: spent"
            lines.append(f"{verb} {_cost(whole)} {_SINCE[self.since]}")
        return lines or [f"nothing spent {_SINCE[self.since]}"]

    def __repr__(self) -> str:
        return "\n".join(self._totals(self.frame))

    @functools.cached_property
    def controls(self) -> Any:
        """The switches, created on first use."""
        buttons = {"button_width": "auto"}
        since = ipywidgets.ToggleButtons(options=list(_SINCE), description="Since", style=buttons)
        by = ipywidgets.ToggleButtons(
            options=list(_BY), description="By", style=buttons, layout={"margin": "0 0 0 2em"}
        )
        traitlets.link((self, "since"), (since, "value"))
        traitlets.link((self, "by"), (by, "value"))
        return ipywidgets.HBox([since, by], layout={"flex_flow": "row wrap"})


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
    reference = weakref.ref(view)

    def hear(event: Any) -> None:
        found = reference()
        found.heard(event.finished) if found is not None else listening.close()

    listening = progress.Listening(hear)
    return listening


def _after_cells(shell: Any, view: LedgerView) -> Callable[[], None]:
    """Redraw after every cell while the view exists; the returned function ends it."""
    reference = weakref.ref(view)

    def ran(result: Any = None) -> None:
        found = reference()
        found.heard(True) if found is not None else end()

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
    since : {"now", "today", "ever"}
    by : {"model", "verb", "model and verb"}

    Returns
    -------
    LedgerView
        Shows itself in a notebook; ``frame`` holds the totals, ``close()`` stops following runs.
    """
    return LedgerView(since, by)
