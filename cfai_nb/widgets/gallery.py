"""Rows of a frame to look through, a page at a time: a table of any cells, or cards to pick from.

In: a frame, its columns, and where the user is (page, filter).  Out: `Preview` and `Gallery`, which
``df.cfai.preview``, ``gallery`` and ``player`` return.  The HTML of cells comes from `html`; paging from `base`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
import numpy as np
import pandas as pd
import traitlets

from .. import html, session
from ..errors import check_count, takes_options
from ..frame import rows
from ..html import markup
from . import table
from .base import PagedView, kept_work
from .cell import LIVE_SOUND, SOUND, Renderer
from .table import Failures


class Preview(PagedView):
    """Rows of a frame as a table with thumbnails, sound players and bars, a page at a time.

    Only the rows on the page are read and decoded.  In a notebook it has buttons for paging and a filter; a saved
    notebook or an export shows the page as it was first displayed.

    Parameters
    ----------
    data : DataFrame or Series
    columns : column or list of columns, optional
        Default: at most eight, chosen by content: media first, then short texts and numbers, vectors, long texts.
    n : int
        Rows per page, 1 to 100.
    page : int
        The first page to show, from 0.
    filter : str
        Show only rows with this text in a cell.
    failures : Report, DataFrame or False, optional
        A run, or its ``failures``: the errors are shown in the cells the run left empty.  Default: the last run, if
        it was on these rows.
    sound : int
        Bytes of sound that a page may add to the notebook file.  More sound can be played only while the kernel runs.
    files : path, optional
        The folder in which texts may name files.  Default: that of ``cf.connect(files=...)``, or none.

    Attributes
    ----------
    page, n, filter
        Traits: set them, or ``p.observe(f, "page")``.
    columns : list of str
        Names of the columns shown.

    Raises
    ------
    ColumnError
        A column does not exist.
    traitlets.TraitError
        The page does not exist, or ``n`` is out of range.

    Notes
    -----
    With ``files``, the texts of a column are file names if all of them look like names of pictures or sound.
    Addresses are shown, never fetched.

    Examples
    --------
    >>> shop.cfai.preview(["product", "photo"], n=20)
    >>> shop.cfai.preview().save("shop.html")
    """

    @takes_options()
    def __init__(
        self, data: rows.Frame, columns: Hashable | Sequence[Hashable] = None, n: int = 12, page: int = 0, *,
        filter: str = "", failures: Failures = None, sound: int = SOUND, files: Any = None,
    ) -> None:  # fmt: skip
        folder = session.files_folder(files)
        if columns is None:
            self._columns, self._hidden = table.choose_columns(data, folder)
        else:
            self._columns, self._hidden = table.named_columns(data, columns, files=folder), []
        self._errors = table.errors_of(failures, data.index)
        self._mark = table.mark_of(data, self._columns)
        super().__init__(data, self._columns, n, page, filter, sound)

    @property
    def columns(self) -> list[str]:
        """Names of the columns shown."""
        return [column.name for column in self._columns]

    def _heads(self) -> list[int]:
        return [at for at, column in enumerate(self._columns) if column.sortable]

    def fragment(self, live: bool = False) -> str:
        """Return the page as HTML; the live form may hold more sound than the saved one."""
        state = tuple(self.shown), len(self.rows), self.filter, self.column, self.sort, self.descending
        nothing = "No row matches the filter." if self.filter else "No rows."
        return self._once(
            live, state, 128,
            lambda renderer: table.table(
                self._columns, self.shown, self._index, caption=self._caption(), errors=self._errors,
                renderer=renderer, ordered=(self.sort, self.descending), nothing=nothing,
            ),
        )  # fmt: skip

    @takes_options()
    def save(self, path: str | Path, *, title: str = "Preview", n: int = 1_000) -> Path:
        """Write the rows that match the filter as one page of HTML, which sorts and filters without a kernel.

        The page loads nothing from elsewhere, and runs nothing that a cell holds.

        Parameters
        ----------
        path : path
        title : str
        n : int
            The most rows; their pictures and sounds are part of the file.

        Returns
        -------
        Path
            Of the file.

        Examples
        --------
        >>> df.cfai.preview().save("rows.html")
        """
        check_count(n=n)
        positions = [int(row) for row in self.rows[:n]]
        renderer = Renderer(sound=max(self._sound, LIVE_SOUND), zooms=True)
        left_out = len(self.rows) - len(positions)
        caption = markup.badge(self._mark) + (markup.soft(markup.counted(left_out, "more row")) if left_out else "")
        made = table.table(
            self._columns, positions, self._index, caption=caption, errors=self._errors, renderer=renderer
        )
        return html.save(path, title, made)

    def _caption(self) -> str:
        words = self._summary()
        if self._hidden:
            names = ", ".join(self._hidden[:5]) + (", …" if len(self._hidden) > 5 else "")
            words += f" · {markup.counted(len(self._hidden), 'more column')} hidden ({names}); choose with columns="
        return markup.badge(self._mark) + markup.soft(words, 400)

    def _summary(self) -> str:
        failed = len(self._errors)
        return super()._summary() + (f" · {markup.counted(failed)} failed" if failed else "")

    def __repr__(self) -> str:
        lines = table.plain_table(self._columns, self.shown, self._index)
        return f"{super().__repr__()}\n{lines}" if self.shown else super().__repr__()


#: Pixels of the longer side of a picture on a card.
_SIDE = 200


class Gallery(PagedView):
    """Pictures or sounds of a column with captions, a page at a time, to pick rows from.

    In a notebook the picks are still there when the cell runs again: of rows that show what they did.

    Parameters
    ----------
    data : DataFrame or Series
    column : column, optional
        Bytes, paths, PIL images or arrays of pixels; with ``files`` also names of files.  Default: the first column
        that holds pictures (sounds for ``kind="audio"``).
    caption : column or list of columns, optional
        The text below each card.  Default: the label of the row.
    n : int
        Cards per page, 1 to 100.
    page : int
        The first page to show, from 0.
    kind : {"image", "audio"}
    transcript : column, optional
        The column with the spoken text, shown below the player.  Default for sounds without a caption: the first column
        of texts, or one with "transcript" in its name.
    filter : str
        Show only rows with this text in a caption, a transcript, a file name or their label.
    sound : int
        Bytes of sound that a page may add to the notebook file.  More sound can be played only while the kernel runs.
    files : path, optional
        The folder in which texts may name files.  Default: that of ``cf.connect(files=...)``, or none.

    Attributes
    ----------
    picks : tuple of int
        Positions of the picked rows, ascending; a trait: set it, or ``g.observe(f, "picks")``.
    picked : DataFrame or Series
        The picked rows of the frame, with their index.
    page, n, filter
        Traits.

    Raises
    ------
    ColumnError
        The column does not exist, or no column holds pictures (or sounds).
    traitlets.TraitError
        The page or a row does not exist, or ``n`` is out of range.

    Examples
    --------
    >>> shown = shop.cfai.gallery("photo", caption="product")
    >>> shown.picked  # after some were clicked
    >>> shop.cfai.player("voice", caption="product")
    """

    picks = traitlets.Tuple(help="positions of the picked rows")

    @takes_options()
    def __init__(
        self, data: rows.Frame, column: Hashable = None, caption: Hashable | Sequence[Hashable] = None, n: int = 12,
        page: int = 0, *, kind: Literal["image", "audio"] = "image", transcript: Hashable = None, filter: str = "",
        sound: int = SOUND, files: Any = None,
    ) -> None:  # fmt: skip
        if kind not in ("image", "audio"):
            raise ValueError(f"kind must be 'image' or 'audio', not {kind!r}.")
        self._wide = kind == "audio"
        self._column = table.media_column(data, column, kind, session.files_folder(files))
        self._captions = [] if caption is None else table.named_columns(data, caption)
        self._said = [] if transcript is None else table.named_columns(data, transcript)
        if self._wide and caption is None and transcript is None and not isinstance(data, pd.Series):
            texts = [each for each in table.choose_columns(data)[0] if each.kind in ("text", "long")]
            self._said = sorted(texts, key=lambda each: "transcript" not in each.name.casefold())[:1]
        self._mark = table.mark_of(data, [self._column])
        self._work = kept_work("Gallery", data.index, (kind, self._column.name))
        super().__init__(data, [*self._captions, *self._said, self._column], n, page, filter, sound)
        kept = self._work.get("picks", {})  # the cell of each
        self.picks = tuple(row for row, cell in kept.items() if _same(cell, self._column.cells.iloc[row]))

    @property
    def picked(self) -> Any:
        """The picked rows of the frame, in its order and with its index."""
        return self._data.iloc[list(self.picks)]

    @traitlets.validate("picks")
    def _checked_picks(self, proposal: Any) -> tuple[int, ...]:
        wanted = np.unique(np.array(proposal["value"], dtype=np.int64))
        if len(off := wanted[(wanted < 0) | (wanted >= len(self._index))]):
            last = len(self._index) - 1
            raise traitlets.TraitError(f"there is no row {off[0]}: positions count from 0 to {last}")
        return tuple(wanted.tolist())

    @traitlets.observe("picks")
    def _repicked(self, change: Any) -> None:
        self._work["picks"] = {row: self._column.cells.iloc[row] for row in self.picks}
        self._refresh()

    def _cards(self, live: bool) -> list[str]:
        """Return the cards of the page, each as HTML; picking a row does not decode its picture again."""
        columns, shown = (self._column, self._captions, self._said), self.shown
        return self._once(
            live, shown, _SIDE, lambda renderer: [table.card(*columns, row, self._index, renderer) for row in shown]
        )

    def fragment(self, live: bool = False) -> str:
        """Return the page as HTML; the live form may hold more sound than the saved one."""
        chosen = set(self.picks)
        made = [(shown, row in chosen) for shown, row in zip(self._cards(live), self.shown, strict=True)]
        return table.cards(made, caption=self._caption(), wide=self._wide)

    def _summary(self) -> str:
        return super()._summary() + (f" · {len(self.picks):,} picked" if self.picks else "")

    def _caption(self) -> str:
        return markup.badge(self._mark) + markup.soft(f"{self._column.name}: {self._summary()}")

    def _make_body(self) -> Any:
        self._head = ipywidgets.HTML()
        plain = {"width": "auto"}
        every = ipywidgets.Button(description="Pick page", tooltip="pick all rows of this page", layout=plain)
        none = ipywidgets.Button(description="Pick none", tooltip="remove all picks", layout=plain)
        every.on_click(lambda _: self.set_trait("picks", (*self.picks, *self.shown)))
        none.on_click(lambda _: self.set_trait("picks", ()))
        self._grid = ipywidgets.Box(layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        self._slots: list[_Slot] = []
        head = ipywidgets.HBox([self._head, every, none], layout={"align_items": "center"})
        return ipywidgets.VBox([head, self._grid])

    def _fill(self) -> None:
        self._head.value = markup.block(self._caption())
        shown, chosen = self.shown, set(self.picks)
        while len(self._slots) < len(shown):
            self._slots.append(_Slot("290px" if self._wide else "210px", self._pick))
        saved = self._cards(live=False)
        cards = self._cards(live=True) if self._omitted else saved
        for slot, row, made in zip(self._slots, shown, cards, strict=False):
            slot.show(row, str(self._index[row]), made, row in chosen)
        boxes = tuple(slot.box for slot in self._slots[: len(shown)])
        if self._grid.children != boxes:
            self._grid.children = boxes

    def _pick(self, row: int, wanted: bool) -> None:
        self.picks = tuple({*self.picks, row} if wanted else {*self.picks} - {row})


def _same(before: Any, now: Any) -> bool:
    """Return whether a cell holds what it did; files are compared by name, so that nothing is read."""
    if isinstance(before, (str, bytes)):
        return bool(before == now)
    if before is now:
        return True
    one, other = (pd.Series([cell], dtype=object) for cell in (before, now))  # missing, a picture, an array
    return one.equals(other)


class _Slot:
    """A place on the page: the card of a row and the button that picks it."""

    def __init__(self, width: str, pick: Callable[[int, bool], None]) -> None:
        self._row = -1
        self._pick = pick
        self._html = ipywidgets.HTML()
        self._button = ipywidgets.ToggleButton(layout={"width": "auto"})
        self._button.observe(self._pressed, "value")
        self.box = ipywidgets.VBox([self._html, self._button], layout={"width": width})
        self.box.add_class("cfai-slot")

    def show(self, row: int, label: str, card: str, picked: bool) -> None:
        """Show a row here."""
        self._row = -1  # a change of the button made here is not a click
        self._html.value = card
        self._button.value = picked
        self._button.description = "✓ Picked" if picked else "Pick"
        self._button.button_style = "info" if picked else ""
        self.box.add_class("cfai-picked") if picked else self.box.remove_class("cfai-picked")
        self._button.tooltip = f"pick row {markup.clean(label[:60])}"
        self._row = row

    def _pressed(self, change: Any) -> None:
        if self._row >= 0:
            self._pick(self._row, bool(change["new"]))
