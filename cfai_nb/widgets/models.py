"""The catalogue, browsed: by task, price, context and words."""

from __future__ import annotations

from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import pandas as pd
import traitlets

from ..errors import refuse_unknown
from ..markup import block, escape
from ..session import listings
from .base import Shown

_CELL = "text-align: left; vertical-align: top; padding: 3px 8px"
_NUMBER = "text-align: right; vertical-align: top; padding: 3px 8px; white-space: nowrap"
#: Heading -> column of ``cf.models()``.
_COLUMNS = {
    "task": "task", "$ / M read": "usd_per_m_input_tokens", "$ / M written": "usd_per_m_output_tokens",
    "context": "context", "requests / min": "rate", "can": "capabilities", "default for": "default_for",
}  # fmt: skip


class Models(Shown):
    """``cf.models()`` with boxes to search it; shown in a notebook, or used by its traits.

    Attributes
    ----------
    search : str
        Words that all stand somewhere in the id, the task, what it can do, or the verb whose default it is.
    task : str
        Empty: all.
    most : float or None
        Dollars per million tokens read, at most; a model of unknown price is left out then.
    least_context : int or None
        Tokens it reads, at least; a model whose context is unknown is left out then.
    order : {"name", "price", "context"}
    frame : DataFrame
        What is left of ``cf.models()``.
    """

    search = traitlets.Unicode("")
    task = traitlets.Unicode("")
    most = traitlets.Float(None, allow_none=True)
    least_context = traitlets.Int(None, allow_none=True)
    order = traitlets.Enum(["name", "price", "context"], "name")

    def __init__(self, **wanted: Any) -> None:
        refuse_unknown("models", wanted, ("search", "task", "most", "least_context", "order"))
        super().__init__()
        self._all = listings.models()
        self._controls: Any = None
        for name, value in wanted.items():
            setattr(self, name, value)
        self.observe(lambda change: self.update(), ["search", "task", "most", "least_context", "order"])

    @property
    def frame(self) -> pd.DataFrame:
        """What is left of ``cf.models()``."""
        frame = self._all
        if self.task:
            frame = frame[frame["task"].str.casefold().str.contains(self.task.casefold(), regex=False)]
        if self.most is not None:
            frame = frame[frame["usd_per_m_input_tokens"] <= self.most]
        if self.least_context is not None:
            frame = frame[frame["context"] >= self.least_context]
        told = [" ".join(map(str, (name, *row))).casefold() for name, *row in _told(frame)]
        frame = frame[[all(word in text for word in self.search.casefold().split()) for text in told]]
        if self.order == "price":
            return frame.sort_values("usd_per_m_input_tokens", kind="stable")
        if self.order == "context":
            return frame.sort_values("context", ascending=False, kind="stable")
        return frame.sort_index()

    def page(self) -> str:
        """Return the table as HTML."""
        frame = self.frame
        heads = "".join(f'<th scope="col" style="{_CELL}">{escape(name)}</th>' for name in ("model", *_COLUMNS))
        rows = "".join(_row(str(name), row) for name, row in zip(frame.index, frame.to_dict("records"), strict=True))
        listed = escape(", ".join(sorted(set(self._all["checked_on"].dropna().astype(str)))[-1:]))
        return block(
            f'<p role="status">{len(frame)} of {len(self._all)} models; '
            f"prices of {listed}; an empty price is unknown or in another unit, see cf.models()</p>"
            f'<div style="max-height: 32em; overflow: auto"><table style="border-collapse: collapse">'
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def __repr__(self) -> str:
        shown = self.frame[["task", "usd_per_m_input_tokens", "usd_per_m_output_tokens", "context"]]
        return f"{len(shown)} of {len(self._all)} models\n{shown.to_string()}"

    @property
    def controls(self) -> Any:
        """The boxes, made on first use."""
        if self._controls is None:
            self._controls = self._make()
        return self._controls

    def _make(self) -> Any:
        wide = {"width": "22em"}
        search = ipywidgets.Text(description="Search", placeholder="words, such as qwen vision", layout=wide)
        tasks = [("all tasks", ""), *((task, task) for task in sorted(set(self._all["task"])))]
        task = ipywidgets.Dropdown(description="Task", options=tasks, layout=wide)
        if self.task in set(self._all["task"]):
            task.value = self.task
        orders = ["name", "price", "context"]
        order = ipywidgets.Dropdown(description="Order", options=orders, value=self.order, layout=wide)
        most = ipywidgets.Text(description="At most $", placeholder="per million tokens read", layout=wide)
        least = ipywidgets.Text(description="Context", placeholder="tokens at least", layout=wide)
        search.value = self.search
        for box, name in ((search, "search"), (order, "order")):
            traitlets.link((box, "value"), (self, name))
        task.observe(lambda change: self.set_trait("task", change["new"]), "value")
        for box, name, kind in ((most, "most", float), (least, "least_context", int)):
            value = getattr(self, name)
            box.value = "" if value is None else f"{value:g}"
            box.observe(lambda change, name=name, kind=kind: self._limit(name, kind, change["new"]), "value")
        layout = ipywidgets.Layout(flex_flow="row wrap")
        return ipywidgets.HBox([search, task, most, least, order], layout=layout)

    def _limit(self, name: str, kind: Any, text: str) -> None:
        """Set a limit from its box; half a number is no limit yet."""
        try:
            setattr(self, name, kind(text.replace(",", "").replace("_", "")) if text.strip() else None)
        except ValueError:
            setattr(self, name, None)


def _told(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    parts = frame[["task", "capabilities", "default_for"]].fillna("")
    return list(zip(frame.index, *(parts[name] for name in parts.columns), strict=True))


def _row(name: str, row: dict[Any, Any]) -> str:
    cells = [f'<th scope="row" style="{_CELL}">{escape(name, 120)}</th>']
    for column in _COLUMNS.values():
        value = row[column]
        number = isinstance(value, (int, float))
        text = "" if value is None or value != value else f"{value:,.6g}" if number else str(value)
        style = _NUMBER if number or column in ("context", "rate") or column.startswith("usd") else _CELL
        cells.append(f'<td style="{style}">{escape(text, 200)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def models(**wanted: Any) -> Models:
    """Browse the catalogue.

    Parameters
    ----------
    **wanted
        What it begins with: ``search``, ``task``, ``most`` (dollars per million tokens read), ``least_context``
        (tokens), ``order``.

    Returns
    -------
    Models
        Shown in a notebook; ``frame`` is what is left of ``cf.models()``.
    """
    return Models(**wanted)
