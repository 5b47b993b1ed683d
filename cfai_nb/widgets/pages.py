"""What pages of rows have in common: turn, filter, and one bundle that is live, still and plain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import pandas as pd
import traitlets

from .. import html as show
from .. import markup
from ..frame import rows
from ..html import LIVE_SOUND

_VIEW = "application/vnd.jupyter.widget-view+json"
#: Rows a page, at most: every picture of a page is decoded, and lies in the notebook.
MOST_ROWS = 100
_SIZES = (6, 12, 24, 48)


class Paged(traitlets.HasTraits):
    """Rows of a frame, a page at a time; only what is on the page is read.

    Attributes
    ----------
    page : int
        The page that is shown, from 0; a trait.
    n : int
        Rows a page; a trait.
    filter : str
        Rows are shown that have this text in a cell; a trait.
    rows : ndarray of int64
        Positions of the rows that pass the filter.
    pages : int
        How many pages they fill; at least 1.
    """

    page = traitlets.Int(0, help="the page that is shown, from 0")
    n = traitlets.Int(12, min=1, max=MOST_ROWS, help="rows a page")
    filter = traitlets.Unicode("", help="rows are shown that have this text in a cell")

    def __init__(
        self, data: rows.Frame, searched: Sequence[show.Column], n: int, page: int, filter: str, sound: int
    ) -> None:
        self._sound = sound
        self._data = data.copy(deep=False)  # rows that come and go in the frame later do not shift these
        self._index: pd.Index[Any] = data.index
        self._searched = list(searched)
        self._box: Any = None
        self._drawn: dict[bool, tuple[Any, str]] = {}
        self._omitted = 0  # sounds that the still page has no place for
        self._setting = False  # while we set the controls, nobody uses them
        self.rows = show.matching_rows(self._searched, self._index, "")
        super().__init__()
        self.n, self.filter = n, filter
        self.page = page

    @property
    def pages(self) -> int:
        """How many pages the rows fill."""
        return max(1, -(-len(self.rows) // self.n))

    @property
    def shown(self) -> list[int]:
        """Positions of the rows on the page."""
        return [int(row) for row in self.rows[self.page * self.n : (self.page + 1) * self.n]]

    @traitlets.validate("page")
    def _checked_page(self, proposal: Any) -> int:
        page = int(proposal["value"])
        if not 0 <= page < self.pages:
            raise traitlets.TraitError(f"there is no page {page}: pages count from 0 to {self.pages - 1}")
        return page

    @traitlets.observe("filter")
    def _filtered(self, change: Any) -> None:
        self.rows = show.matching_rows(self._searched, self._index, change["new"])
        self._begin()

    @traitlets.observe("n")
    def _resized(self, change: Any) -> None:
        top = self.page * change["old"]
        self._begin(min(top // change["new"], self.pages - 1))

    @traitlets.observe("page")
    def _turned(self, change: Any) -> None:
        self._refresh()

    def _begin(self, page: int = 0) -> None:
        if self.page == page:
            self._refresh()
        else:
            self.page = page

    # -- how it is shown -------------------------------------------------------------------------------------------

    def _page(self, live: bool) -> str:
        """Return the page as HTML."""
        raise NotImplementedError

    def _renderer(self, live: bool, side: int = 128) -> show.Renderer:
        return show.Renderer(side=side, sound=max(self._sound, LIVE_SOUND) if live else self._sound)

    def _state(self) -> tuple[Any, ...]:
        """What the page depends on."""
        return tuple(self.shown), len(self.rows)

    def fragment(self) -> str:
        """Return the page as HTML: the still form, made of the same pieces as the live one."""
        return self._made_page(False)

    def _made_page(self, live: bool) -> str:
        state, html = self._drawn.get(live, (None, ""))
        if state != self._state():
            html = self._page(live)
            self._drawn[live] = (self._state(), html)
        return html

    def _caption(self) -> str:
        return markup.escape(self._words())

    def _words(self) -> str:
        """Say which rows are on the page."""
        total, kept, shown = len(self._index), len(self.rows), self.shown
        which = f"{self.page * self.n + 1:,}–{self.page * self.n + len(shown):,} of " if len(shown) < kept else ""
        held = markup.counted(kept)
        return f"{which}{held}" if kept == total else f"{which}{held} with “{self.filter}” ({total:,} in all)"

    @property
    def box(self) -> Any:
        """The widget; made when it is first asked for."""
        if self._box is None:
            self._box = self._made()
            self._refresh()
        return self._box

    def _made(self) -> Any:
        plain, apart = ipywidgets.Layout(width="auto"), ipywidgets.Layout(width="auto", margin="2px 2px 2px 1em")
        self._back = ipywidgets.Button(description="‹ Previous", tooltip="previous page", layout=plain)
        self._on = ipywidgets.Button(description="Next ›", tooltip="next page", layout=plain)
        self._at = ipywidgets.BoundedIntText(
            value=1,
            min=1,
            max=1,
            description="Page",
            layout=ipywidgets.Layout(width="9em"),
            style={"description_width": "auto"},
        )
        self._of = ipywidgets.Label()
        self._size = ipywidgets.Dropdown(
            options=sorted({*_SIZES, self.n}),
            value=self.n,
            description="Rows a page",
            layout=apart,
            style={"description_width": "auto"},
        )
        self._sought = ipywidgets.Text(
            value=self.filter, placeholder="text in a row", description="Filter", continuous_update=False,
            layout=ipywidgets.Layout(width="18em", margin="2px 2px 2px 1em"), style={"description_width": "auto"},
        )  # fmt: skip
        self._back.on_click(lambda _: self.set_trait("page", max(self.page - 1, 0)))
        self._on.on_click(lambda _: self.set_trait("page", min(self.page + 1, self.pages - 1)))
        self._at.observe(lambda change: self._used("page", change["new"] - 1), "value")
        self._size.observe(lambda change: self._used("n", change["new"]), "value")
        self._sought.observe(lambda change: self._used("filter", change["new"]), "value")
        turn = ipywidgets.HBox([self._back, self._at, self._of, self._on, self._size, self._sought])
        turn.layout.flex_flow, turn.layout.align_items = "row wrap", "center"
        return ipywidgets.VBox([turn, self._body()])

    def _used(self, name: str, value: Any) -> None:
        if not self._setting:
            self.set_trait(name, value)

    def _body(self) -> Any:
        """Return the widget that holds the page."""
        self._html = ipywidgets.HTML()
        return self._html

    def _fill(self) -> None:
        """Put the page into the body."""
        still = self.fragment()
        self._html.value = self._made_page(True) if self._omitted else still

    def _refresh(self) -> None:
        if self._box is None:
            return
        self._setting = True
        self._at.max = max(self.pages, 1)
        self._at.value = self.page + 1
        self._of.value = f"of {self.pages:,}"
        self._back.disabled, self._on.disabled = self.page == 0, self.page == self.pages - 1
        if self.n not in self._size.options:
            self._size.options = sorted({*self._size.options, self.n})
        self._size.value, self._sought.value = self.n, self.filter
        self._setting = False
        self._fill()

    def close(self) -> None:
        """Take the widget away and free what it holds in the browser."""
        if self._box is not None:
            box, self._box = self._box, None
            close(box)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._words()}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), "text/html": self.fragment(), _VIEW: view}


def close(widget: Any) -> None:
    """Close a widget and all that is in it."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()
