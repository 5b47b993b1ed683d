"""The catalogue of models, to search by task, price, context and words.

In: ``cf.models()`` and the user's limits.  Out: `Models`, boxes above a table of the models that match.
"""

from __future__ import annotations

import functools
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import pandas as pd
import traitlets

from ..errors import refuse_unknown
from ..markup import block, escape
from ..session import listings
from .base import View, table

#: Heading -> column of ``cf.models()`` and how it is aligned.
_COLUMNS = {
    "task": ("task", "left"), "$ / M read": ("usd_per_m_input_tokens", "right"),
    "$ / M written": ("usd_per_m_output_tokens", "right"), "context": ("context", "right"),
    "requests / min": ("rate", "right"), "can": ("capabilities", "left"), "default for": ("default_for", "left"),
}  # fmt: skip
_OPTIONS = ("search", "task", "max_usd", "min_context", "order")


class Models(View):
    """``cf.models()`` with boxes to search it; shown in a notebook, or used by its traits.

    Attributes
    ----------
    search : str
        Words that must all occur in the id, the task, the capabilities, or the verbs it is the default for.
    task : str
        Empty: all.
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

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of ``cf.models()`` that match."""
        frame = self._all
        if self.task:
            frame = frame[frame["task"].str.casefold().str.contains(self.task.casefold(), regex=False)]
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
        columns = {"model": "left", **{heading: side for heading, (_, side) in _COLUMNS.items()}}
        shown = frame[[column for column, _ in _COLUMNS.values()]].astype(object)
        rows = [[name, *map(_text, cells)] for name, *cells in shown.itertuples()]
        checked = escape(", ".join(sorted(set(self._all["checked_on"].dropna().astype(str)))[-1:]))
        return block(
            f'<p role="status">{len(frame)} of {len(self._all)} models; '
            f"prices of {checked}; an empty price is unknown or in another unit, see cf.models()</p>"
            f'<div style="max-height: 32em; overflow: auto">{table(columns, rows)}</div>'
        )

    def __repr__(self) -> str:
        shown = self.frame[["task", "usd_per_m_input_tokens", "usd_per_m_output_tokens", "context"]]
        return f"{len(shown)} of {len(self._all)} models\n{shown.to_string()}"

    @functools.cached_property
    def controls(self) -> Any:
        """The boxes, created on first use."""
        wide = {"width": "22em"}
        names = sorted(set(self._all["task"]))
        search = ipywidgets.Text(description="Search", placeholder="words, such as qwen vision", layout=wide)
        task = ipywidgets.Dropdown(
            description="Task", options=[("all tasks", ""), *zip(names, names, strict=True)], layout=wide
        )
        task.value = self.task if self.task in names else ""
        order = ipywidgets.Dropdown(description="Order", options=["name", "price", "context"], layout=wide)
        price = ipywidgets.Text(description="At most $", placeholder="per million tokens read", layout=wide)
        context = ipywidgets.Text(description="Context", placeholder="tokens at least", layout=wide)
        traitlets.link((self, "search"), (search, "value"))
        traitlets.link((self, "order"), (order, "value"))
        task.observe(lambda change: self.set_trait("task", change["new"]), "value")
        for box, name, kind in ((price, "max_usd", float), (context, "min_context", int)):
            value = getattr(self, name)
            box.value = "" if value is None else f"{value:g}"
            box.observe(lambda change, name=name, kind=kind: self._limit(name, kind, change["new"]), "value")
        return ipywidgets.HBox([search, task, price, context, order], layout={"flex_flow": "row wrap"})

    def _limit(self, name: str, kind: Any, text: str) -> None:
        """Set a limit from its box; an incomplete number is no limit."""
        try:
            setattr(self, name, kind(text.replace(",", "").replace("_", "")) if text.strip() else None)
        except ValueError:
            setattr(self, name, None)


def _text(value: Any) -> str:
    if pd.isna(value):
        return ""
    return f"{value:,.6g}" if isinstance(value, (int, float)) else str(value)


def models(**options: Any) -> Models:
    """Browse the catalogue.

    Parameters
    ----------
    **options
        ``search``, ``task``, ``max_usd`` (dollars per million tokens read), ``min_context`` (tokens), ``order``.

    Returns
    -------
    Models
        Shows itself in a notebook; ``frame`` holds the models that match.
    """
    return Models(**options)
