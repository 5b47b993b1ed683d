"""A table whose cells show themselves: pictures, sound, vectors, texts, and what failed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from .. import html, markup, session
from ..errors import takes_options
from ..frame import rows
from ..html import SOUND, Failures
from .pages import Paged


class Preview(Paged):
    """Rows of a frame as a table with thumbnails, players and bars, a page at a time; ``df.cfai.preview()`` makes one.

    Only what is on the page is read and decoded.  In a notebook it turns pages and filters; in a saved one, in exports
    and elsewhere it is the page it was shown with.

    Parameters
    ----------
    data : DataFrame or Series
    columns : column, list of columns, or None
        None chooses by content, eight at most: media, then short texts and numbers, vectors, long texts.
    n : int
        Rows a page, 1 to 100.
    page : int
        The first page to show, from 0.
    filter : str
        Show rows that have this text in a cell.
    failures : Report, DataFrame, False or None
        A run or its ``failures``, told in the cells it left empty.  None: the last run, if it was over these rows.
    sound : int
        Bytes of sound a page may keep in the notebook's file; what goes beyond is told in words there, and plays as
        long as the kernel runs.
    files : path, optional
        The folder in which texts may name files.  Default: that of ``cf.connect(files=...)``, or none.

    Attributes
    ----------
    page, n, filter
        Traits: set them, or ``p.observe(f, "page")``.
    columns : list of str
        Names of the columns that are shown.

    Raises
    ------
    ColumnError
        There is no such column.
    traitlets.TraitError
        There is no such page, or ``n`` is out of range.

    Notes
    -----
    With ``files``, texts name files where all of a column's look like names of pictures or sound.  Addresses are shown,
    never fetched.
    """

    @takes_options()
    def __init__(
        self,
        data: rows.Frame,
        columns: Hashable | Sequence[Hashable] = None,
        n: int = 12,
        page: int = 0,
        *,
        filter: str = "",
        failures: Failures = None,
        sound: int = SOUND,
        files: Any = None,
    ) -> None:
        folder = session.files_folder(files)
        self._columns, self._left_out = (
            html.choose_columns(data, folder)
            if columns is None
            else (html.named_columns(data, columns, files=folder), [])
        )
        self._errors = html.errors_of(failures, data.index)
        self._mark = html.mark_of(data, self._columns)
        super().__init__(data, self._columns, n, page, filter, sound)

    @property
    def columns(self) -> list[str]:
        """Names of the columns that are shown."""
        return [column.name for column in self._columns]

    def _page(self, live: bool) -> str:
        renderer = self._renderer(live)
        made = html.table(
            self._columns,
            self.shown,
            self._index,
            caption=self._caption(),
            errors=self._errors,
            renderer=renderer,
        )
        self._omitted = self._omitted if live else renderer.omitted
        return made

    def _caption(self) -> str:
        count = len(self._left_out)
        more = ", ".join(self._left_out[:5]) + (", …" if count > 5 else "")
        rest = f" · {markup.counted(count, 'more column')} ({more}): columns= chooses" if count else ""
        return markup.badge(self._mark) + markup.escape(self._words() + rest, 400)

    def _words(self) -> str:
        failed = len(self._errors)
        return super()._words() + (f" · {markup.counted(failed)} failed" if failed else "")

    def __repr__(self) -> str:
        lines = html.plain_table(self._columns, self.shown, self._index)
        return f"{super().__repr__()}\n{lines}" if self.shown else super().__repr__()

    def _state(self) -> tuple[Any, ...]:
        return *super()._state(), self.filter
