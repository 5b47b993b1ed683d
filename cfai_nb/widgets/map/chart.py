"""The live form of a map: a scatter plot of jupyter-scatter between its controls and a line of messages.

In: a `MapState`, which it follows, and what the user does.  Out: an ipywidget; only `map` imports this module, because
jupyter-scatter is optional.  Tooltips and legends of jupyter-scatter are set as text, never as HTML, and its script is
part of the package: nothing is fetched from elsewhere.  Pictures and sounds are shown beside the map (`HoverPanel`): a
tooltip could show pictures too, but it loads any address it is given and needs the pictures of all rows at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pandas as pd

from ...html.markup import badge, block, counted, escape, figure, inline, line, passage, remark
from ...plots.axes import GREY
from ..base import button, close, looks
from ..cell import LIVE_SOUND, Renderer, plain
from .describe import Description
from .state import NOTHING_SELECTED, MapState
from .still import PLAIN, shading_of, titles, words

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # jupyter-scatter 1.0 reads its fonts the old pandas way
    import jscatter
    from jscatter.font import arial

_HEIGHT = 480
_LINES = 6
#: Seconds after which a new view has drawn its points for the first time.
_DRAWN = 1.0
_OPACITY = 0.85
_MANY = 2_000
_NEAREST = 8
#: Seconds the mouse must rest on a point before its row is read and decoded.
_REST = 0.15
_SIDE = 240
_TEXT, _NAME = "text", "name on the map"
_NAME_WIDTH = 30
#: Names that jupyter-scatter reserves, and ours.
_TAKEN = ("x", "y", "color", "opacity", "size", _TEXT, _NAME)
_HOW = "Lasso: the second button at the left, or hold the mouse down. Shift adds to the selection."
_NO_COLOR = "(nothing)"

#: Selected rows that are listed beside the map.
_LISTED = 30
_LIST = {"flex": "1 1 160px", "min_height": "0", "overflow": "auto", "margin": "0"}
#: Beside the map, so that it keeps its width: the point under the mouse, and below it the selected rows.
_BESIDE = {"flex": "0 0 272px", "width": "272px", "height": f"{_HEIGHT}px", "margin": "0 0 0 12px"}


class Chart:
    """A live map: `box` is the whole widget, `scatter` its points; `describe` returns the text of its button."""

    def __init__(self, state: MapState, describe: Callable[[], Description]) -> None:
        self.state, self._describe = state, describe
        points = state.points.iloc[state.rows].reset_index(drop=True)
        self._titles = _titles(state.hover)
        self.data = points.assign(**{_TEXT: self._previews(), **self._cells()})
        across, up = _square(points)
        self.scatter = jscatter.Scatter(data=self.data, x="x", y="y", x_scale=across, y_scale=up, height=_HEIGHT)
        self.scatter.axes(False)
        self.scatter.size(default=float(np.clip(10 * (200 / max(1, len(points))) ** 0.3, 2.5, 10)))
        if len(points) > _MANY:  # rings around thousands of points would hide the rest
            self.scatter.options(regl_scatterplot_options={"pointSizeSelected": 1, "pointOutlineWidth": 1})
        if len(points) <= 1_000:
            # Without map= jupyter-scatter keeps its map by density, which begins almost transparent.
            self.scatter.opacity(default=_OPACITY, by=None, map=[_OPACITY])
        self._build()
        self._recolor()
        self.scatter.tooltip(
            True, properties=["color", *self._titles.values()], histograms=False, preview=_TEXT, preview_type="text",
            size="medium",
        )  # fmt: skip
        self._select_on_chart()
        if state.view is not None:
            self.scatter.camera(view=state.view)
        self.canvas = self.scatter.show()
        self.canvas.observe(lambda change: state.set_trait("view", change["new"]), "camera_view")
        self.canvas.tooltip_preview_text_lines = _LINES
        self.hover_panel = HoverPanel(state)
        self.canvas.layout.flex, self.canvas.layout.min_width = "1 1 0", "0"
        beside = ipywidgets.VBox([*([self.hover_panel.box] if state.media else []), self.listed], layout=_BESIDE)
        drawn = ipywidgets.HBox([self.canvas, beside])
        self.box = ipywidgets.VBox([self.head, self.tools, drawn, self.message]).add_class("cfai-map")
        looks(self.box, "map")
        self._held = contextlib.ExitStack()
        self._held.enter_context(self.canvas.hold_sync())
        self._drawn: asyncio.TimerHandle | None = None
        self.canvas.observe(self._wait, "dom_element_id")
        self.canvas.observe(self._select_on_map, "selection")
        if state.media:
            self.canvas.observe(self.hover_panel.hovered, "hovering")
        state.observe(self._follow_selection, "selection")
        state.observe(self._follow_color, ["color", "written"])

    def close(self) -> None:
        """Stop following the map and close the widgets."""
        self._held.close()
        self.state.unobserve(self._follow_selection, "selection")
        self.state.unobserve(self._follow_color, ["color", "written"])
        close(self.box)

    # A view drops points that arrive during its first drawing (when all cells run at once, the old points would get the
    # colors of the new legend), so changes until then are sent together afterwards.

    def _wait(self, change: Any) -> None:
        """A view was opened: send changes when it has drawn."""
        self._held.enter_context(self.canvas.hold_sync())
        if self._drawn is not None:
            self._drawn.cancel()
        self._drawn = asyncio.get_running_loop().call_later(_DRAWN, self._held.close)

    # -- content ---------------------------------------------------------------------------------------------------

    def _previews(self) -> list[str]:
        state, index = self.state, self.state.frame.index
        return [line(f"row {index[at]}" if state.texts is None else state.text_at(at)) for at in state.rows]

    def _cells(self) -> dict[str, list[str]]:
        found = {}
        for name, title in self._titles.items():
            cells = self.state.frame[name].iloc[self.state.rows].astype(object)
            # Bytes and vectors are named without reading all of them.
            found[title] = [line(cell if isinstance(cell, str) else plain(cell), 120) for cell in cells]
        return found

    def _build(self) -> None:
        self.head = ipywidgets.HTML()
        named = {"description_width": "initial"}
        self.by = ipywidgets.Dropdown(description="color by", style=named, layout={"width": "16em"})
        self.label = ipywidgets.Text(placeholder="label for the selection", layout={"width": "14em"})
        self.into = ipywidgets.Text("label", description="in column", style=named, layout={"width": "13em"})
        self.write = button("Label", self._write, self._say, tooltip="write the label for the selected rows")
        self.back = button("Undo", self._undo, self._say, tooltip="revert the last label")
        what = "the terms of the selection; sends nothing"
        self.tell = button("Describe", self._show_description, self._say, tooltip=what)
        self.tools = ipywidgets.HBox(
            [self.by, self.label, self.into, self.write, self.back, self.tell],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self.sought = ipywidgets.Text(
            placeholder="find by text", continuous_update=False, layout={"width": "13em"},
            tooltip="select the rows with this text",
        )  # fmt: skip
        self.sought.observe(lambda change: self._find(change["new"]), "value")
        near = "select the rows nearest to the first selected one"
        self.near = button("Neighbors", self._select_nearest, self._say, tooltip=near)
        self.tools.children = (self.sought, self.near, *self.tools.children)
        self.listed = ipywidgets.HTML(layout=_LIST)
        self._list()
        self.message = ipywidgets.HTML()
        self._say(_HOW)
        self.by.observe(self._choose_color, "value")
        self._offer()
        self._head()

    def _head(self) -> None:
        chosen = f"<b>{len(self.state.selection):,}</b> of {counted(len(self.state.rows))} selected"
        notes = " · ".join([chosen, *(inline(note) for note in self.state.notes)])
        self.head.value = block(badge(self.state.mark) + notes, role="status", label=words(self.state))

    def _offer(self) -> None:
        """Offer the columns to color by."""
        names: list[Hashable | None] = [None, *self.state.color_columns]
        if self.state.color not in names:
            names.append(self.state.color)
        options = tuple((_NO_COLOR if name is None else line(name, 40), at) for at, name in enumerate(names))
        self._names = names
        self.by.unobserve(self._choose_color, "value")  # new options reset the value, which is not a choice of the user
        if self.by.options != options:
            self.by.options = options
        self.by.value = names.index(self.state.color)
        self.by.observe(self._choose_color, "value")

    def _recolor(self) -> None:
        if (shading := shading_of(self.state)) is None:
            self.scatter.color(by=None, default=PLAIN)
            self.scatter.legend(False)
            self.scatter.label(by=None)
            return
        groups, colors = shading.folded(GREY)
        title = _free(shading.name, {*_TAKEN, *map(str.casefold, self._titles.values())})
        self.data[title] = pd.Categorical(np.asarray(groups)[self.state.rows], categories=groups.categories)
        self.scatter.color(by=title, map=colors, labeling={"variable": title})
        self.scatter.legend(True, size="medium")
        named = titles(self.state)
        if named is not None:
            self.data[_NAME] = named.map(lambda name: line(name, _NAME_WIDTH), na_action="ignore").astype("category")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # jupyter-scatter 1.0 sorts the old pandas way
            self.scatter.label(
                by=None if named is None else _NAME, size=13, font=arial.bold, positioning="center_of_mass",
                target_aspect_ratio=3, max_lines=2,
            )  # fmt: skip

    # -- actions of the user ---------------------------------------------------------------------------------------

    def _select_on_map(self, change: Any) -> None:
        chosen = np.asarray([] if change["new"] is None else change["new"], dtype=np.int64)
        self.state.selection = tuple(self.state.rows[chosen].tolist())

    def _choose_color(self, change: Any) -> None:
        if change["new"] is not None:
            self.state.color = self._names[change["new"]]

    def _find(self, text: str) -> None:
        """Select the rows that hold a text: in their text, or in a column shown on hover."""
        wanted = text.strip().casefold()
        if wanted:
            held = self.data[[_TEXT, *self._titles.values()]].agg(" ".join, axis=1)
            held += " " + pd.Series([self.state.text_at(at) for at in self.state.rows])  # those shown are cut
            found = held.str.casefold().str.contains(wanted, regex=False)
            self.state.selection = self.state.rows[found.to_numpy()].tolist()
            self._say(f"{counted(len(self.state.selection))} with “{line(text, 60)}”")

    def _select_nearest(self) -> None:
        if not self.state.selection:
            raise ValueError(NOTHING_SELECTED)
        first, rows = self.state.selection[0], self.state.rows
        near = rows[self.state.nearest(np.searchsorted(rows, [first]), _NEAREST)[0]]
        self.state.selection = (first, *near.tolist())
        self._say(f"row {self.state.frame.index[first]} and the {len(near)} nearest by their vectors")

    def _list(self) -> None:
        """List the first of the selected rows beside the map."""
        state, shown = self.state, []
        for at in state.selection[:_LISTED]:
            name = f'<span class="cfai-soft">{escape(state.frame.index[at], 60)}</span>'
            shown.append(f"<div>{name} {inline(state.text_at(at), 200)}</div>")
        if not shown:
            shown = [f"<div>{remark('Selected rows are listed here.')}</div>"]
        elif len(state.selection) > _LISTED:
            shown.append(f"<div>{remark(f'and {len(state.selection) - _LISTED:,} more: m.selected')}</div>")
        self.listed.value = block(f'<div class="cfai-list">{"".join(shown)}</div>', "font-size: 12px")

    def _write(self) -> None:
        written = self.state.label(self.label.value, self.into.value.strip() or "label")
        counts = written.value_counts()
        self._say(", ".join(f"{label}: {counted(int(count))}" for label, count in counts.items()))
        self.label.value = ""

    def _undo(self) -> None:
        self.state.undo()
        self._say("reverted")

    def _show_description(self) -> None:
        self.message.value = self._describe()._repr_html_()

    def _say(self, text: str) -> None:
        self.message.value = block(inline(text, 1_000), role="status")

    # -- changes of the state --------------------------------------------------------------------------------------

    def _follow_selection(self, change: Any) -> None:
        self._say(_HOW)  # the last message was about another selection
        self._select_on_chart()
        self._head()
        self._list()

    def _select_on_chart(self) -> None:
        wanted = np.searchsorted(self.state.rows, np.array(self.state.selection, dtype=np.int64))
        if not np.array_equal(np.sort(self.scatter.selection()), wanted):
            self.scatter.selection(wanted)

    def _follow_color(self, change: Any) -> None:
        self._offer()
        self._recolor()
        self._head()


class HoverPanel:
    """The pictures and sounds of one row; they stay when the mouse leaves, so that sound can be played."""

    def __init__(self, state: MapState) -> None:
        self._state = state
        self._due: asyncio.TimerHandle | None = None
        hint = block(remark("Rest the mouse on a point to see it here."))
        self.box = ipywidgets.HTML(hint, layout={"flex": "0 1 auto", "min_height": "0", "overflow": "auto"})

    def hovered(self, change: Any) -> None:
        """Show the point under the mouse, unless the mouse leaves it at once."""
        if self._due is not None:
            self._due.cancel()
        if change["new"] is not None:
            row = int(self._state.rows[change["new"]])
            self._due = asyncio.get_running_loop().call_later(_REST, self.show, row)

    def show(self, row: int) -> None:
        """Show a row, given by its position in the frame."""
        renderer = Renderer(side=_SIDE, sound=LIVE_SOUND)
        name = f"row {self._state.frame.index[row]}"
        figures = []
        for column in self._state.media:
            figures.append(figure(column.html(row, f"{column.name}, {name}", renderer), escape(column.name)))
        words = f"<b>{escape(name)}</b><br>{passage(self._state.text_at(row))}"
        self.box.value = block("".join([*figures, words]), role="status")


def _square(points: pd.DataFrame) -> list[tuple[float, float]]:
    """The ranges of x and y, of equal length, so that distances are the same in both directions."""
    if not len(points):
        return [(-1.0, 1.0), (-1.0, 1.0)]
    low, high = points.min(), points.max()
    half = float((high - low).max()) / 2 * 1.05 or 1.0
    return [(float(middle) - half, float(middle) + half) for middle in (low + high) / 2]


def _titles(names: Sequence[Hashable]) -> dict[Hashable, str]:
    """A title for each hover column; jupyter-scatter ignores case in names, so titles must differ otherwise."""
    titles: dict[Hashable, str] = {}
    for name in names:
        titles[name] = _free(line(name, 40), {*_TAKEN, *map(str.casefold, titles.values())})
    return titles


def _free(title: str, taken: set[str]) -> str:
    while not title.strip() or title.casefold() in taken:
        title += "\N{NO-BREAK SPACE}" if title.strip() else "-"
    return title
