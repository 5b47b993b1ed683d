"""Pictures of a column to look through and pick from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import traitlets

from .. import html as show
from .. import markup, session
from ..errors import takes_options
from ..frame import rows as frames
from ..html import SOUND, CellKind, card
from . import persistence
from .pages import Paged


class Gallery(Paged):
    """Pictures of a column with captions, a page at a time, to pick rows from; ``df.cfai.gallery("photo")`` makes one.

    Parameters
    ----------
    data : DataFrame or Series
    column : column, optional
        Bytes, paths, PIL images or arrays of pixels; with ``files`` also names of files.  Default: the first that holds
        such.
    caption : column or list of columns, optional
        The words beneath; default: the label of the row.
    n : int
        A page, 1 to 100.
    page : int
        The first page to show, from 0.
    filter : str
        Show rows that have this text in a caption, a file's name or their label.
    sound : int
        Bytes of sound a page may keep in the notebook's file; what goes beyond is told in words there, and plays as
        long as the kernel runs.
    files : path, optional
        The folder in which texts may name files.  Default: that of ``cf.connect(files=...)``, or none.

    Attributes
    ----------
    picks : tuple of int
        Positions of the picked rows, ascending; a trait: set it, or ``g.observe(f, "picks")``.  In a notebook they
        are still there when the cell is run again on the same rows.
    picked : DataFrame or Series
        The picked rows of the frame, with their index.
    page, n, filter
        Traits.

    Raises
    ------
    ColumnError
        There is no such column, or none that holds pictures.
    traitlets.TraitError
        There is no such page or row, or ``n`` is out of range.
    """

    picks = traitlets.Tuple(help="positions of the picked rows")
    kind: ClassVar[CellKind] = "image"
    #: Pixels of a picture's longer side, and the width of a card.
    side: ClassVar[int] = 200
    wide: ClassVar[str] = "210px"

    @takes_options()
    def __init__(
        self,
        data: frames.Frame,
        column: Hashable = None,
        caption: Hashable | Sequence[Hashable] = None,
        n: int = 12,
        page: int = 0,
        *,
        filter: str = "",
        sound: int = SOUND,
        files: Any = None,
    ) -> None:
        self._column = show.media_column(data, column, self.kind, session.files_folder(files))
        self._captions = [] if caption is None else show.named_columns(data, caption)
        self._mark = show.mark_of(data, [self._column])
        self._cards: dict[bool, tuple[Any, list[str]]] = {}
        self._work = persistence.work(type(self).__name__, data.index, self._column.name)
        super().__init__(data, [*self._captions, self._column], n, page, filter, sound)
        self.picks = self._work.get("picks", ())

    @property
    def picked(self) -> Any:
        """The picked rows of the frame, in its order and with its index."""
        return self._data.iloc[list(self.picks)]

    @traitlets.validate("picks")
    def _checked_picks(self, proposal: Any) -> tuple[int, ...]:
        wanted = np.unique(np.array(proposal["value"], dtype=np.int64))
        if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < len(self._index)):
            raise traitlets.TraitError(
                f"there is no row {wanted[-1]}: positions count from 0 to {len(self._index) - 1}"
            )
        return tuple(wanted.tolist())

    @traitlets.observe("picks")
    def _repicked(self, change: Any) -> None:
        self._work["picks"] = change["new"]
        self._refresh()

    # -- how it is shown -------------------------------------------------------------------------------------------

    def _figures(self, live: bool) -> list[str]:
        """The cards of the page, each as HTML."""
        rows, made = self._cards.get(live, (None, []))
        if rows != self.shown:
            renderer = self._renderer(live, self.side)
            made = [card(self._column, self._captions, row, self._index, renderer) for row in self.shown]
            self._cards[live] = (self.shown, made)
            self._omitted = self._omitted if live else renderer.omitted
        return made

    def _page(self, live: bool) -> str:
        chosen = set(self.picks)
        made = [(html, row in chosen) for html, row in zip(self._figures(live), self.shown, strict=True)]
        return show.cards(made, caption=self._caption(), width=self.wide)

    def _state(self) -> tuple[Any, ...]:
        return *super()._state(), self.filter, self.picks

    def _words(self) -> str:
        return super()._words() + (f" · {len(self.picks):,} picked" if self.picks else "")

    def _caption(self) -> str:
        return markup.badge(self._mark) + markup.escape(f"{self._column.name}: {self._words()}")

    def _body(self) -> Any:
        plain = ipywidgets.Layout(width="auto")
        self._told = ipywidgets.HTML()
        every = ipywidgets.Button(description="Pick page", tooltip="pick all that are on this page", layout=plain)
        none = ipywidgets.Button(description="Pick none", tooltip="take all picks back", layout=plain)
        every.on_click(lambda _: self.set_trait("picks", (*self.picks, *self.shown)))
        none.on_click(lambda _: self.set_trait("picks", ()))
        self._grid = ipywidgets.Box(layout=ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start"))
        self._slots: list[_Slot] = []
        bar = ipywidgets.HBox([self._told, every, none], layout=ipywidgets.Layout(align_items="center"))
        return ipywidgets.VBox([bar, self._grid])

    def _fill(self) -> None:
        self._told.value = markup.block(self._caption())
        shown, chosen = self.shown, set(self.picks)
        while len(self._slots) < len(shown):
            self._slots.append(_Slot(self.wide, self._pick))
        still = self._figures(False)
        figures = self._figures(True) if self._omitted else still
        for slot, row, made in zip(self._slots, shown, figures, strict=False):
            slot.show(row, str(self._index[row]), made, row in chosen)
        held = tuple(slot.box for slot in self._slots[: len(shown)])
        if self._grid.children != held:
            self._grid.children = held

    def _pick(self, row: int, wanted: bool) -> None:
        self.picks = tuple({*self.picks, row} if wanted else {*self.picks} - {row})


class _Slot:
    """A place on the page: the card of a row and the button that picks it."""

    def __init__(self, wide: str, pick: Callable[[int, bool], None]) -> None:
        self._row = -1
        self._pick = pick
        self._html = ipywidgets.HTML()
        self._button = ipywidgets.ToggleButton(layout=ipywidgets.Layout(width="auto"))
        self._button.observe(self._pressed, "value")
        self.box = ipywidgets.VBox(
            [self._html, self._button], layout=ipywidgets.Layout(width=wide, margin="0 1em 1em 0")
        )

    def show(self, row: int, label: str, html: str, picked: bool) -> None:
        """Put a row here."""
        self._row = -1  # what is pressed by us is nobody's click
        self._html.value = html
        self._button.value = picked
        self._button.description = "✓ Picked" if picked else "Pick"
        self._button.button_style = "info" if picked else ""
        self._button.tooltip = f"pick row {markup.clean(label[:60])}"
        self._row = row

    def _pressed(self, change: Any) -> None:
        if self._row >= 0:
            self._pick(self._row, bool(change["new"]))
