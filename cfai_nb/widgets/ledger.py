"""The book of charges, live: what is being spent, on what, how sure that is, and what kept answers saved."""

from __future__ import annotations

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
from .base import Shown

#: Seconds between two drawings while a run goes on: each reads the book.
PAUSE = 1.0
_CELL = "text-align: left; padding: 3px 8px"
_NUMBER = "text-align: right; padding: 3px 8px"


class LedgerView(Shown):
    """Totals of the book, drawn again about once a second while calls are made.

    Attributes
    ----------
    since : {"now", "today", "ever"}
        From when on: since this was made, since 00:00 UTC (when the free Neurons come back), or all.
    by : {"model", "verb", "model and verb"}
    frame : DataFrame
        The totals.
    """

    since = traitlets.Enum(["now", "today", "ever"], "today")
    by = traitlets.Enum(["model", "verb", "model and verb"], "model and verb")

    @takes_options()
    def __init__(
        self, since: str = "today", by: str = "model and verb", clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._clock, self._made, self._drawn = clock, clock(), float("-inf")
        self.since, self.by = since, by
        self._controls: Any = None
        self._displayed = False
        self._after_cell: Callable[[], None] | None = None
        self.observe(lambda change: self.update(), ["since", "by"])
        self._listening = _listen_weakly(self)

    def heard(self, finished: bool) -> None:
        """Draw again after an event of a run, unless that was just done."""
        now = self._clock()
        if finished or now - self._drawn >= PAUSE:
            self._drawn = now
            self.update()

    def _ipython_display_(self) -> None:
        super()._ipython_display_()
        shell = get_ipython()
        if shell is not None and not self._displayed:
            # What no run tells of (a streamed answer, another kernel's calls) shows when the next cell is done.
            self._displayed = True
            self._after_cell = _after_cells(shell, self)

    def close(self) -> None:
        """Listen no more; what is shown stays."""
        if self._after_cell is not None:
            self._after_cell()
            self._after_cell = None
        self._listening.close()

    @property
    def _start(self) -> float:
        return {"now": self._made, "today": midnight(self._clock()), "ever": 0.0}[self.since]

    @property
    def frame(self) -> pd.DataFrame:
        """Totals: requests, rows, tokens, neurons, usd, saved_neurons, unpriced calls, exact."""
        names = ["origin", *{"model": ["model"], "verb": ["verb"]}.get(self.by, ["model", "verb"])]
        return listings.totals_by(listings.charges_frame(session.current().charges(self._start)), names)

    def page(self) -> str:
        """Return the totals as HTML."""
        frame = self.frame
        names = [*frame.index.names, "requests", "rows", "tokens", "cost", "saved"]
        looks = [_CELL] * frame.index.nlevels + [_NUMBER] * 5
        heads = "".join(
            f'<th scope="col" style="{look}">{escape(name)}</th>' for name, look in zip(names, looks, strict=True)
        )
        rows = []
        for keys, row in zip(frame.index, frame.to_dict("records"), strict=True):
            tokens = "unknown" if pd.isna(row["tokens"]) else f"{row['tokens']:,.0f}"
            numbers = [f"{row['requests']:,.0f}", f"{row['rows']:,.0f}", tokens, _cost(row)]
            saved = row["saved_neurons"]
            numbers.append("unknown" if pd.isna(saved) else money(saved) if saved else "")
            rows.append(
                "<tr>"
                + "".join(f'<td style="{_CELL}">{escape(key, 120)}</td>' for key in keys)
                + "".join(f'<td style="{_NUMBER}">{escape(text)}</td>' for text in numbers)
                + "</tr>"
            )
        words = "".join(f"<p>{escape(line)}</p>" for line in self._words(frame))
        table = f'<table style="border-collapse: collapse"><thead><tr>{heads}</tr></thead>{"".join(rows)}</table>'
        return block(words + table * bool(rows), role="status")

    def _words(self, frame: pd.DataFrame) -> list[str]:
        when = {"now": "since this was opened", "today": "today (since 00:00 UTC)", "ever": "in this book"}[self.since]
        lines = []
        for origin in dict.fromkeys(frame.index.get_level_values("origin")):
            part = frame[frame.index.get_level_values("origin") == origin]
            whole = {
                "neurons": float(part["neurons"].sum()), "exact": bool(part["exact"].all()),
                "unpriced": int(part["unpriced"].sum()),
            }  # fmt: skip
            verb = "the emulator would have cost" if origin == "emulator" else f"{origin}: spent"
            lines.append(f"{verb} {_cost(whole)} {when}")
        return lines or [f"nothing spent {when}"]

    def __repr__(self) -> str:
        return "\n".join(self._words(self.frame))

    @property
    def controls(self) -> Any:
        """The switches, made on first use."""
        if self._controls is None:
            buttons = {"button_width": "auto"}
            since = ipywidgets.ToggleButtons(options=["now", "today", "ever"], description="Since", style=buttons)
            by = ipywidgets.ToggleButtons(
                options=["model", "verb", "model and verb"], description="By", style=buttons,
                layout=ipywidgets.Layout(margin="0 0 0 2em"),
            )  # fmt: skip
            traitlets.link((self, "since"), (since, "value"))
            traitlets.link((self, "by"), (by, "value"))
            self._controls = ipywidgets.HBox([since, by], layout=ipywidgets.Layout(flex_flow="row wrap"))
        return self._controls


def _cost(row: dict[Any, Any]) -> str:
    """An amount with its doubts: a tilde for estimates, and the calls nobody knows the price of."""
    known = "" if pd.isna(row["neurons"]) else money(row["neurons"], row["exact"])
    if not row["unpriced"]:
        return known
    unknown = f"{counted(int(row['unpriced']), 'call')} of unknown price"
    return f"{known} and {unknown}" if row["neurons"] and known else unknown


def _listen_weakly(view: LedgerView) -> progress.Listening:
    """Listen for as long as somebody holds the view."""
    held = weakref.ref(view)

    def hear(event: Any) -> None:
        found = held()
        found.heard(event.finished) if found is not None else listening.close()

    listening = progress.Listening(hear)
    return listening


def _after_cells(shell: Any, view: LedgerView) -> Callable[[], None]:
    """Draw after every cell, for as long as somebody holds the view; returns what ends it."""
    held = weakref.ref(view)

    def ran(result: Any = None) -> None:
        found = held()
        found.heard(True) if found is not None else end()

    def end() -> None:
        shell.events.unregister("post_run_cell", ran)

    shell.events.register("post_run_cell", ran)
    return end


@takes_options()
def ledger(*, since: str = "today", by: str = "model and verb") -> LedgerView:
    """Show the book of charges, live.

    Parameters
    ----------
    since : {"now", "today", "ever"}
    by : {"model", "verb", "model and verb"}

    Returns
    -------
    LedgerView
        Shown in a notebook; ``frame`` holds the totals, ``close()`` ends the listening.
    """
    return LedgerView(since, by)
