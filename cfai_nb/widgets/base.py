"""What every widget of this room shares: how it is displayed, how rows are paged, and how manual work is kept.

In: the HTML, text and ipywidget of a widget.  Out: one output that is live in a notebook and readable in the saved
file.  `View` has controls above a page; `PagedView` shows rows of a frame a page at a time; `kept_work` returns what
the user did in the same cell before.  Only modules of this room call them.
"""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import anywidget
import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import pandas as pd
import traitlets
from IPython.display import display

from .. import html
from ..errors import CfaiError
from ..frame import rows
from ..frame.progress import in_notebook
from ..html import markup
from . import table
from .cell import LIVE_SOUND, Renderer

T = TypeVar("T")
_VIEW = "application/vnd.jupyter.widget-view+json"
publish: Callable[..., Any] = display  # IPython does not declare its types


def bundle(text: str, page: str, widget: Any = None) -> dict[str, Any]:
    """Return one output in all its forms: plain text, HTML and, if there is one, the live widget."""
    live = {} if widget is None else {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}}
    return {"text/plain": text, "text/html": page, **live}


def close(widget: Any) -> None:
    """Close a widget and all its children."""
    for child in getattr(widget, "children", ()):
        close(child)
    widget.close()


def looks(box: Any, *parts: str) -> Any:
    """Give a box of controls the style sheet, once: its base, the controls, and these parts; return the box."""
    if "cfai-box" not in box._dom_classes:
        sheet = ipywidgets.HTML(markup.sheet("controls", *parts), layout={"display": "none"})
        box.children = (*box.children, sheet)
        box.add_class("cfai").add_class("cfai-box")
    return box


def button(text: str, act: Callable[[], object], refused: Callable[[str], None], **looks: Any) -> Any:
    """Return a button; `refused` shows the errors of its action, because those of a callback only reach the log."""
    made = ipywidgets.Button(description=text, layout={"width": "auto"}, **looks)

    def clicked(_: Any) -> None:
        try:
            act()
        except (CfaiError, ValueError, TypeError) as error:
            refused(str(error))

    made.on_click(clicked)
    return made


class CopyButton(anywidget.AnyWidget):
    """A button that copies `text`: a browser lets a page write to the clipboard only while it handles a click."""

    _esm = """export default { render({ model, el }) {
      const button = Object.assign(document.createElement("button"), { className: "jupyter-button widget-button" });
      button.style.width = "auto";
      const show = () => { button.textContent = model.get("label"); button.disabled = !model.get("text"); };
      button.onclick = async () => {
        const area = Object.assign(document.createElement("textarea"), { value: model.get("text") });
        try { await navigator.clipboard.writeText(area.value); }  // not there on a page without https
        catch {
          document.body.append(area);
          area.select();
          document.execCommand("copy");
          area.remove();
        }
        button.textContent = "✓ Copied";
        setTimeout(show, 1500);
      };
      model.on("change:text", show);
      show();
      el.append(button);
    } };"""
    text = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode("Copy").tag(sync=True)


class Page(anywidget.AnyWidget):
    """What the browser does on a page of rows: it draws sounds, and the heads of columns are buttons that sort."""

    _esm = html.WAVES + (Path(__file__).parent / "page.js").read_text("utf-8")
    #: Places of the columns that sort.
    sortable: Any = traitlets.List().tag(sync=True)


class _Abstract(abc.ABCMeta, traitlets.MetaHasTraits):  # type: ignore[misc, unused-ignore]
    """Makes classes that have both traits and abstract methods."""


class View(traitlets.HasTraits, metaclass=_Abstract):  # type: ignore[misc, unused-ignore]
    """A widget with `controls` above a `page` of HTML.

    The page is a separate output below the controls.  So the saved notebook keeps its last state, and redrawing it
    does not take the focus from the controls.
    """

    _handle: Any = None  # of the page, once it is displayed

    @property
    @abc.abstractmethod
    def controls(self) -> Any:
        """The boxes and buttons, created on first use."""

    @abc.abstractmethod
    def page(self) -> str:
        """Return the page as HTML; it is the same live and saved."""

    def update(self) -> None:
        """Redraw the page if it is displayed."""
        if self._handle is not None:
            self._handle.update(bundle(repr(self), self.page()), raw=True)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(repr(self), self.page(), looks(self.controls))

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(repr(self))
            return
        # Without a kernel the controls are empty: the page shows everything.
        publish(bundle("", "<span></span>", looks(self.controls)), raw=True)
        self._handle = publish(bundle(repr(self), self.page()), raw=True, display_id=True)


#: The most rows on a page: every picture of a page is decoded and saved in the notebook.
MAX_ROWS = 100
_PAGE_SIZES = (6, 12, 24, 48)
#: Up to so many rows the filter follows every letter; then Enter.
_QUICK = 20_000


class PagedView(traitlets.HasTraits, metaclass=_Abstract):
    """Rows of a frame, a page at a time; only the rows on the page are read.

    Its traits are ``page``, ``n``, ``filter``, ``column``, ``sort`` and ``descending``; ``rows`` holds the positions of
    the rows that match the filter, in order.
    """

    page = traitlets.Int(0, help="the page shown, from 0")
    n = traitlets.Int(12, min=1, max=MAX_ROWS, help="rows per page")
    filter = traitlets.Unicode("", help="only rows with this text in a cell are shown")
    column = traitlets.Unicode("", help="the column that the filter searches; empty: all")
    sort = traitlets.Unicode("", help="the column that orders the rows; empty: the order of the frame")
    descending = traitlets.Bool(False, help="whether the order is descending")

    def __init__(
        self, data: rows.Frame, searched: Sequence[table.Column], n: int, page: int, filter: str, sound: int
    ) -> None:
        self._sound = sound
        self._data = data.copy(deep=False)  # later changes to the rows of the caller's frame do not shift these
        self._index: pd.Index[Any] = data.index
        self._searched = list(searched)
        self._box: Any = None
        self._made: dict[bool, tuple[Any, Any]] = {}
        self._omitted = 0  # sounds that do not fit on the saved page
        self._setting = False  # true while the code, not the user, sets the controls
        self.rows = table.matching_rows(self._searched, self._index, "")
        super().__init__()
        self.n, self.filter = n, filter
        self.page = page

    @property
    def pages(self) -> int:
        """Number of pages; at least 1."""
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

    @traitlets.validate("column", "sort")
    def _checked_name(self, proposal: Any) -> str:
        name = str(proposal["value"])
        if name and name not in (known := [column.name for column in self._searched]):
            raise traitlets.TraitError(f"there is no column {name!r} here: {', '.join(known)}")
        return name

    @traitlets.observe("filter", "column", "sort", "descending")
    def _filtered(self, change: Any) -> None:
        rows = table.matching_rows(self._searched, self._index, self.filter, self.column)
        found = [column for column in self._searched if column.name == self.sort]
        if found and found[0].sortable:
            rows = table.sorted_rows(found[0], rows, self.descending)
        self.rows = rows
        self._go_to(0)

    @traitlets.observe("n")
    def _resized(self, change: Any) -> None:
        self._go_to(min(self.page * change["old"] // change["new"], self.pages - 1))

    @traitlets.observe("page")
    def _turned(self, change: Any) -> None:
        self._refresh()

    def _go_to(self, page: int) -> None:
        if self.page == page:
            self._refresh()
        else:
            self.page = page

    # -- the page --------------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def fragment(self, live: bool = False) -> str:
        """Return the page as HTML; the live form may hold more sound than the saved one."""

    def _once(self, live: bool, state: object, side: int, make: Callable[[Renderer], T]) -> T:
        """Return what `make` makes with the renderer of a page, made again only when `state` is another one."""
        if self._made.get(live, (None,))[0] != state:
            sound = max(self._sound, LIVE_SOUND) if live else self._sound
            renderer = Renderer(side=side, sound=sound, zooms=True)
            self._made[live] = state, make(renderer)
            self._omitted = self._omitted if live else renderer.omitted
        made: T = self._made[live][1]
        return made

    def _summary(self) -> str:
        """Describe in words which rows are on the page."""
        total, kept, shown = len(self._index), len(self.rows), self.shown
        which = f"{self.page * self.n + 1:,}–{self.page * self.n + len(shown):,} of " if len(shown) < kept else ""
        count = markup.counted(kept)
        where = f" in {self.column}" if self.column else ""
        return f"{which}{count}" if kept == total else f"{which}{count} with “{self.filter}”{where} ({total:,} in all)"

    # -- the live widget -------------------------------------------------------------------------------------------

    @property
    def box(self) -> Any:
        """The widget, created on first use."""
        if self._box is None:
            self._box = self._make_box()
            self._refresh()
        return self._box

    def _make_box(self) -> Any:
        plain, fitted = {"width": "auto"}, {"description_width": "auto"}
        self._back = ipywidgets.Button(description="‹ Previous", tooltip="previous page", layout=plain)
        self._on = ipywidgets.Button(description="Next ›", tooltip="next page", layout=plain)
        self._at = ipywidgets.BoundedIntText(1, min=1, max=1, description="Page", layout={"width": "7em"}, style=fitted)
        self._of = ipywidgets.Label()
        self._size = ipywidgets.Dropdown(
            options=sorted({*_PAGE_SIZES, self.n}), description="Rows a page", layout=plain, style=fitted
        )
        names = [column.name for column in self._searched]
        cut = [(markup.line(name, 30), name) for name in dict.fromkeys(names)]
        self._sought = ipywidgets.Text(
            placeholder="text, or > 3", description="Filter", layout={"width": "12em"}, style=fitted,
            continuous_update=len(self._index) <= _QUICK,
        )  # fmt: skip
        self._within = ipywidgets.Dropdown(
            options=[("all columns", ""), *cut], description="in", layout={"width": "11em"}, style=fitted
        )
        self._back.on_click(lambda _: self.set_trait("page", max(self.page - 1, 0)))
        self._on.on_click(lambda _: self.set_trait("page", min(self.page + 1, self.pages - 1)))
        self._at.observe(lambda change: self._used("page", change["new"] - 1), "value")
        for box, name in self._boxes():
            box.observe(lambda change, name=name: self._used(name, change["new"]), "value")
        gap = ipywidgets.HTML(layout={"flex": "1 1 0"})
        row = {"flex_flow": "row wrap", "align_items": "center", "width": "100%"}
        parts = [self._sought, self._within, gap, self._size, self._back, self._at, self._of, self._on]
        page = Page(sortable=self._heads(), layout={"display": "none"})
        page.on_msg(self._press_head)
        return looks(ipywidgets.VBox([ipywidgets.HBox(parts, layout=row), self._make_body(), page]), "table", "cards")

    def _boxes(self) -> list[tuple[Any, str]]:
        """The controls that stand for a trait each."""
        return [(self._size, "n"), (self._sought, "filter"), (self._within, "column")]

    def _used(self, name: str, value: Any) -> None:
        if not self._setting:
            self.set_trait(name, value)

    def _heads(self) -> list[int]:
        """Return the places of the columns with a head that sorts."""
        return []

    def _press_head(self, _: Any, message: Any, buffers: Any) -> None:
        """Sort by a column, then the other way around, then not."""
        name, again = self._searched[message["sort"]].name, self.descending
        with self.hold_trait_notifications():  # one drawing, so that the head keeps the focus
            if self.sort != name:
                self.sort, self.descending = name, False
            else:
                self.sort, self.descending = "" if again else name, not again

    def _make_body(self) -> Any:
        """Return the widget that holds the page."""
        self._html = ipywidgets.HTML()
        return self._html

    def _fill(self) -> None:
        """Put the page into the body."""
        saved = self.fragment()
        self._html.value = self.fragment(live=True) if self._omitted else saved

    def _refresh(self) -> None:
        if self._box is None:
            return
        self._setting = True
        self._at.max, self._at.value = self.pages, self.page + 1
        self._of.value = f"of {self.pages:,}"
        self._back.disabled, self._on.disabled = self.page == 0, self.page == self.pages - 1
        if self.n not in self._size.options:
            self._size.options = sorted({*self._size.options, self.n})
        for box, name in self._boxes():
            if getattr(self, name) != box.value:
                box.value = getattr(self, name)
        self._setting = False
        self._fill()

    def close(self) -> None:
        """Remove the widget and free its memory in the browser."""
        if self._box is not None:
            box, self._box = self._box, None
            close(box)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._summary()}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(repr(self), self.fragment(), self.box)


# -- work done by hand -------------------------------------------------------------------------------------------------

#: Identifies a widget: its cell, its kind, and its number among that kind in the cell.
_Place = tuple[str, str, int]
_work: dict[_Place, tuple[pd.Index[Any], object, dict[str, Any]]] = {}
#: For each cell: the execution count of its last run, and how many widgets of each kind that run created.
_counts: dict[str, tuple[int, dict[str, int]]] = {}


def kept_work(kind: str, index: pd.Index[Any], made_of: object) -> dict[str, Any]:
    """Return the dict in which a new widget of a class keeps manual work, such as prompts, picks and labels.

    When a cell runs again on an equal index, its widget gets the same dict.  Outside of a notebook every dict is new.
    Nothing outlives the kernel.  Another `index` of the frame starts over, because positions would mean other rows;
    `made_of` is what else must be equal, such as the name of the column.  After a ``reset_index``, a sample or a search
    an equal index may have other rows: so each widget also keeps what its rows showed, and looks whether they still do.
    """
    place = _place(kind) if in_notebook() else None
    if place is None:
        return {}
    before = _work.get(place)
    if before is None or before[1] != made_of or not before[0].equals(index):
        _work[place] = index, made_of, {}
    return _work[place][2]


def _place(kind: str) -> _Place | None:
    shell = sys.modules["IPython"].get_ipython()
    parent = shell.kernel.get_parent("shell") or {}
    # Most frontends send the id of the cell; for others, cells with equal code count as the same cell.
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")
    if not cell:
        return None
    run, made = _counts.get(cell, (-1, {}))
    if run != shell.execution_count:
        run, made = shell.execution_count, {}
    _counts[cell] = run, made
    made[kind] = made.get(kind, 0) + 1
    return cell, kind, made[kind]
