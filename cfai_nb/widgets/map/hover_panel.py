"""Beside a live map: the pictures and sounds of the point the mouse rested on last.

In: the state of the map and where the mouse is (`chart` passes both).  Out: HTML made by `html`.  The tooltip of
jupyter-scatter could show pictures too, but it loads any address it is given and needs the pictures of all rows at
once.
"""

from __future__ import annotations

import asyncio
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]

from ... import html, markup
from ...html import LIVE_SOUND
from .state import MapState

#: Seconds the mouse must rest on a point before its row is read and decoded.
REST = 0.15
_SIDE = 240
_WIDTH = f"{_SIDE + 40}px"


class HoverPanel:
    """The media of one row, rendered on request; it stays when the mouse leaves, so that sound can be played."""

    def __init__(self, state: MapState) -> None:
        self._state = state
        self._due: asyncio.TimerHandle | None = None
        hint = markup.block(markup.remark("Rest the mouse on a point to see it here."))
        layout = {"flex": f"0 0 {_WIDTH}", "width": _WIDTH, "margin": "0 0 0 12px", "overflow": "auto"}
        self.box = ipywidgets.HTML(hint, layout=layout)

    def hovered(self, change: Any) -> None:
        """Show the point under the mouse, unless the mouse leaves it at once."""
        if self._due is not None:
            self._due.cancel()
        if change["new"] is not None:
            row = int(self._state.rows[change["new"]])
            self._due = asyncio.get_running_loop().call_later(REST, self.show, row)

    def show(self, row: int) -> None:
        """Show a row, given by its position in the frame."""
        renderer = html.Renderer(side=_SIDE, sound=LIVE_SOUND)
        name = f"row {self._state.frame.index[row]}"
        figures = []
        for column in self._state.media:
            cell = column.cells.iloc[row]
            made = renderer.cell(cell, f"{column.name}, {name}", names=column.names, files=column.files)
            figures.append(markup.figure(made, markup.escape(column.name)))
        text = (self._state.texts[row] if self._state.texts is not None else None) or ""
        words = f"<b>{markup.escape(name)}</b><br>{markup.passage(text)}"
        self.box.value = markup.block("".join([*figures, words]), role="status")
