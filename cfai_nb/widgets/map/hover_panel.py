"""Beside a map: the pictures and sounds of the point the mouse was on last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]

from ... import html, markup
from ...html import LIVE_SOUND

if TYPE_CHECKING:
    from .map import Map

#: Seconds the mouse rests on a point before its row is read and decoded.
REST = 0.15
_SIDE = 240
_HOW = "Rest the mouse on a point to see it here."


class Closeup:
    """One row at a time, made when it is asked for; it stays when the mouse goes on, so that sound can be played.

    The tooltip of jupyter-scatter could show pictures too, but loads any address it is given, and would need those of
    all rows at once.

    Parameters
    ----------
    shown : Map
        Its `media` are shown.

    Attributes
    ----------
    box : ipywidgets.HTML
    """

    def __init__(self, shown: Map) -> None:
        self._map = shown
        self._due: asyncio.TimerHandle | None = None
        wide = f"{_SIDE + 40}px"
        layout = ipywidgets.Layout(flex=f"0 0 {wide}", width=wide, margin="0 0 0 12px", overflow="auto")
        self.box = ipywidgets.HTML(markup.block(markup.remark(_HOW)), layout=layout)

    def hovered(self, change: Any) -> None:
        """Show the point of the map that the mouse came to, unless it goes on at once."""
        if self._due is not None:
            self._due.cancel()
        if change["new"] is not None:
            row = int(self._map.rows[change["new"]])
            self._due = asyncio.get_running_loop().call_later(REST, self.show, row)

    def show(self, row: int) -> None:
        """Show a row, by its position in the frame."""
        renderer = html.Renderer(side=_SIDE, sound=LIVE_SOUND)
        name = f"row {self._map.frame.index[row]}"
        shown = []
        for column in self._map.media:
            made = renderer.cell(
                column.cells.iloc[row], f"{column.name}, {name}", names=column.names, files=column.files
            )
            shown.append(markup.figure(made, markup.escape(column.name)))
        text = self._map.texts[row] if self._map.texts is not None else None
        words = f"<b>{markup.escape(name)}</b><br>{markup.passage(text or '')}"
        self.box.value = markup.block("".join([*shown, words]), role="status")
