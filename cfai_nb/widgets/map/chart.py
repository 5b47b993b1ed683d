"""The live form of a map: a scatter plot of jupyter-scatter with what is done about it above and below.

Tooltips and legends of jupyter-scatter are set as text, never as HTML, and its script is part of the package: nothing
is fetched from elsewhere.  Only text previews are used; pictures are shown beside the map (closeup.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pandas as pd

from ...html import plain
from ...markup import badge, block, counted, inline, line
from ..pages import close
from .hover_panel import Closeup
from .picture import words
from .shading import PLAIN, shade

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # jupyter-scatter 1.0 reads its fonts the old pandas way
    import jscatter

if TYPE_CHECKING:
    from .map import Map

_HEIGHT = 480
_LINES = 6
#: Seconds after which a new view has drawn its points for the first time.
_DRAWN = 1.0
_SOLID = 0.85
_MANY = 2_000
_GREY = "#B4B4B4"
_TEXT = "text"
#: Names that jupyter-scatter keeps for what is seen of a point.
_TAKEN = ("x", "y", "color", "opacity", "size", _TEXT)
_HOW = "Lasso: the second button at the left, or hold the mouse down. Shift adds to the selection."
_NOBODY = "(nothing)"


#: Its own dark is chosen when it is made, by a kernel that does not know the theme.
_DARK = """<style>
body[data-jp-theme-light="false"] .cfai-map :is(div:has(> div > canvas), [data-jss-theme]) {
  background: transparent !important
}
body[data-jp-theme-light="false"] .cfai-map .legend { color: inherit !important; background: transparent !important }
</style>"""


class Chart:
    """A live map.

    Parameters
    ----------
    shown : Map
        Followed, and told what the mouse does.

    Attributes
    ----------
    box : ipywidgets.VBox
        The whole of it.
    scatter : jscatter.Scatter
        The points.
    """

    def __init__(self, shown: Map) -> None:
        self.map = shown
        points = shown.points.iloc[shown.rows].reset_index(drop=True)
        self._titles = _titles(shown.hover)
        self.data = points.assign(**{_TEXT: self._previews(), **self._cells()})
        across, up = _square(points)
        self.scatter = jscatter.Scatter(data=self.data, x="x", y="y", x_scale=across, y_scale=up, height=_HEIGHT)
        self.scatter.axes(False)
        self.scatter.size(default=float(np.clip(10 * (200 / max(1, len(points))) ** 0.3, 2.5, 10)))
        if len(points) > _MANY:  # rings around thousands of points would hide the rest
            self.scatter.options(regl_scatterplot_options={"pointSizeSelected": 1, "pointOutlineWidth": 1})
        if len(points) <= 1_000:
            # Without a map of its own the one for density stays in force, and its first step is next to nothing.
            self.scatter.opacity(default=_SOLID, by=None, map=[_SOLID])
        self._build()
        self._recolour()
        self.scatter.tooltip(
            True, properties=["color", *self._titles.values()], histograms=False, preview=_TEXT, preview_type="text",
            size="medium",
        )  # fmt: skip
        self._select_on_chart()
        self.canvas = self.scatter.show()
        self.canvas.tooltip_preview_text_lines = _LINES
        self.closeup = Closeup(shown)
        self.canvas.layout.flex, self.canvas.layout.min_width = "1 1 0", "0"
        drawn = ipywidgets.HBox([self.canvas, *([self.closeup.box] if shown.media else [])])
        look = ipywidgets.HTML(_DARK, layout=ipywidgets.Layout(display="none"))
        self.box = ipywidgets.VBox([self.head, self.tools, drawn, self.said, look]).add_class("cfai-map")
        self._held = contextlib.ExitStack()
        self._held.enter_context(self.canvas.hold_sync())
        self._drawn: asyncio.TimerHandle | None = None
        self.canvas.observe(self._wait, "dom_element_id")
        self.canvas.observe(self._select_on_map, "selection")
        if shown.media:
            self.canvas.observe(self.closeup.hovered, "hovering")
        shown.observe(self._follow_selection, "selection")
        shown.observe(self._follow_colour, ["color", "written"])

    def close(self) -> None:
        """Stop following the map and close the widgets."""
        self._held.close()
        self.map.unobserve(self._follow_selection, "selection")
        self.map.unobserve(self._follow_colour, ["color", "written"])
        close(self.box)

    # A view drops the points it is sent while it draws its first (all cells run at once: colours of the old points by
    # the new legend), so what changes until then is sent together afterwards.

    def _wait(self, change: Any) -> None:
        """A view is there: what is to be seen is sent when it has drawn."""
        self._held.enter_context(self.canvas.hold_sync())
        if self._drawn is not None:
            self._drawn.cancel()
        self._drawn = asyncio.get_running_loop().call_later(_DRAWN, self._held.close)

    # -- what is on it ---------------------------------------------------------------------------------------------

    def _previews(self) -> list[str]:
        texts, index = self.map.texts, self.map.frame.index
        return [line(f"row {index[at]}" if texts is None else texts[at] or "") for at in self.map.rows]

    def _cells(self) -> dict[str, list[str]]:
        frame = self.map.frame
        return {
            title: [_told(cell) for cell in frame[name].iloc[self.map.rows].astype(object)]
            for name, title in self._titles.items()
        }

    def _build(self) -> None:
        layout = ipywidgets.Layout
        self.head = ipywidgets.HTML()
        named = {"description_width": "initial"}
        self.by = ipywidgets.Dropdown(description="colour by", style=named, layout=layout(width="16em"))
        self.label = ipywidgets.Text(placeholder="label for the selection", layout=layout(width="14em"))
        self.into = ipywidgets.Text(value="label", description="in column", style=named, layout=layout(width="13em"))
        self.write = _button("Label", "write the label for the selected rows", self._write)
        self.back = _button("Undo", "take the last label back", self._undo)
        self.tell = _button("Describe", "what sets the selection apart, by its words; sends nothing", self._describe)
        self.tools = ipywidgets.HBox(
            [self.by, self.label, self.into, self.write, self.back, self.tell],
            layout=layout(flex_flow="row wrap", align_items="center"),
        )
        self.said = ipywidgets.HTML()
        self._say(_HOW)
        self.by.observe(self._choose_colour, "value")
        self._offer()
        self._head()

    def _head(self) -> None:
        chosen = f"<b>{len(self.map.selection):,}</b> of {counted(len(self.map.rows))} selected"
        notes = " · ".join([chosen, *(inline(note) for note in self.map.notes)])
        self.head.value = block(badge(self.map.mark) + notes, role="status", label=words(self.map))

    def _offer(self) -> None:
        """Offer the columns there are to colour by."""
        names: list[Hashable | None] = [None, *self.map.coloured_by]
        if self.map.color not in names:
            names.append(self.map.color)
        options = tuple((_NOBODY if name is None else line(name, 40), at) for at, name in enumerate(names))
        self._names = names
        self.by.unobserve(self._choose_colour, "value")  # new options reset the choice, which nobody made
        if self.by.options != options:
            self.by.options = options
        self.by.value = names.index(self.map.color)
        self.by.observe(self._choose_colour, "value")

    def _recolour(self) -> None:
        if self.map.color is None:
            self.scatter.color(by=None, default=PLAIN)
            self.scatter.legend(False)
            return
        shading = shade(self.map.frame[self.map.color], self.map.names_of(self.map.color))
        groups, colours = shading.folded(_GREY)
        title = _free(shading.name, {*_TAKEN, *(title.casefold() for title in self._titles.values())})
        self.data[title] = pd.Categorical(np.asarray(groups)[self.map.rows], categories=groups.categories)
        self.scatter.color(by=title, map=colours, labeling={"variable": title})
        self.scatter.legend(True, size="medium")

    # -- what the mouse does ---------------------------------------------------------------------------------------

    def _select_on_map(self, change: Any) -> None:
        chosen = np.asarray([] if change["new"] is None else change["new"], dtype=np.int64)
        self.map.selection = tuple(self.map.rows[chosen].tolist())

    def _choose_colour(self, change: Any) -> None:
        if change["new"] is not None:
            self.map.color = self._names[change["new"]]

    def _write(self) -> None:
        written = self.map.label(self.label.value, self.into.value.strip() or "label")
        counts = written.value_counts()
        self._say(", ".join(f"{label}: {counted(int(count))}" for label, count in counts.items()))
        self.label.value = ""

    def _undo(self) -> None:
        self.map.undo()
        self._say("taken back")

    def _describe(self) -> None:
        self.said.value = self.map.describe()._repr_html_()

    def _say(self, text: str) -> None:
        self.said.value = block(inline(text, 1_000), role="status")

    # -- what the map says -----------------------------------------------------------------------------------------

    def _follow_selection(self, change: Any) -> None:
        self._select_on_chart()
        self._head()

    def _select_on_chart(self) -> None:
        wanted = np.searchsorted(self.map.rows, np.array(self.map.selection, dtype=np.int64))
        if not np.array_equal(np.sort(self.scatter.selection()), wanted):
            self.scatter.selection(wanted)

    def _follow_colour(self, change: Any) -> None:
        self._offer()
        self._recolour()
        self._head()


def _told(cell: Any) -> str:
    """A cell in a few words; of bytes and vectors what they are, without reading the whole of them."""
    return line(cell if isinstance(cell, str) else plain(cell), 120)


def _button(name: str, why: str, act: Callable[[], None]) -> Any:
    """A button whose refusals are said below the map: an error of a callback would only reach the log."""
    button = ipywidgets.Button(description=name, tooltip=why, layout=ipywidgets.Layout(width="auto"))

    def clicked(_: Any) -> None:
        chart: Chart = act.__self__  # type: ignore[attr-defined]
        try:
            act()
        except ValueError as error:
            chart._say(str(error))

    button.on_click(clicked)
    return button


def _square(points: pd.DataFrame) -> list[tuple[float, float]]:
    """The span of x and of y, as long as each other: a step is as far across as up."""
    if not len(points):
        return [(-1.0, 1.0), (-1.0, 1.0)]
    low, high = points.min(), points.max()
    half = float((high - low).max()) / 2 * 1.05 or 1.0
    return [(float(middle) - half, float(middle) + half) for middle in (low + high) / 2]


def _titles(names: Sequence[Hashable]) -> dict[Hashable, str]:
    """A title for each column on hover: jupyter-scatter tells them apart by name, whatever the case."""
    titles: dict[Hashable, str] = {}
    for name in names:
        titles[name] = _free(line(name, 40), {*_TAKEN, *(title.casefold() for title in titles.values())})
    return titles


def _free(title: str, taken: set[str]) -> str:
    while not title.strip() or title.casefold() in taken:
        title += "\N{NO-BREAK SPACE}" if title.strip() else "-"
    return title
