"""``df.cfai.map``: vectors of a column laid out on a plane."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ... import vectors as space
from ..._engine.aside import beside
from ...errors import takes_options
from ...frame import rows as frames
from ...frame.call import OPTIONS, Call, Forms
from ...frame.vector_input import as_they_are, may_hold_vectors, refuse_needless
from ...markup import counted
from ...media import text_of
from ...tasks import Embed
from ...vectors.vector import is_emulated, same_space
from ..status import patiently
from .map import Map


class MapVerb(Forms):
    """Lay rows out on a map so that what is alike lies close; explore, select, label and describe them there.

    ``m = df.cfai.map("text")`` embeds the texts first; ``await df.cfai.map.aio("text")`` is the same, and
    ``df.cfai.map.plan("text")`` prices the embedding.  A column of vectors is used as it is, and sends nothing.

    Parameters
    ----------
    on : str
        A column of texts, a template with ``{column}`` in it, or a column of vectors.  A Series needs none.
        Vectors of length 2 are taken for points, and stay where they are.
    color : str, optional
        A column to colour by: words, truth values, numbers or dates.
    hover : str or list of str, optional
        Columns to show beside the text when the mouse is on a point; pictures and sounds stay beside the map.
    text : str, optional
        Where `on` holds vectors: the column that says what a row is about, shown on hover and read by ``m.describe``.
    method : {"auto", "tsne", "pca"}
        How vectors are laid out, see `space.project`.
    seed : int
        The same seed and vectors give the same map.
    model : str or Model, optional
        For embedding texts.
    **travel
        How the embedding travels, as for every verb: ``cache``, ``budget``, ...

    Returns
    -------
    Map
        ``m.selected``, ``m.select(...)``, ``m.label(...)``, ``m.describe()``, ``m.cluster()``, ``m.frame``.

    Raises
    ------
    ColumnError
        A column does not exist.
    ValueError
        Vectors are of several lengths or spaces.
    """

    def __init__(self, data: frames.Frame) -> None:
        self._data = data
        self.__name__ = "map"
        self.__doc__ = type(self).__doc__

    def __repr__(self) -> str:
        return "<df.cfai.map: call it, await .aio(...), or price it with .plan(...)>"

    def __call__(
        self,
        on: Any = None,
        *,
        color: Hashable | None = None,
        hover: Hashable | Sequence[Hashable] | None = None,
        text: Hashable | None = None,
        method: str = "auto",
        seed: int = 0,
        model: Any = None,
        **travel: Any,
    ) -> Map:
        """Lay the rows out and return the map."""
        wish = self._wish(on, color=color, hover=hover, text=text, method=method, seed=seed, model=model, **travel)
        cells: Any = wish.cells if wish.call is None else wish.call.wait()
        what = f"laying out {counted(int(cells.notna().sum()))}"
        return wish.map(*patiently(lambda: wish.lay_out(cells), what, shown=travel.get("progress")))

    async def aio(self, on: Any = None, **options: Any) -> Map:
        """Lay the rows out and return the map; awaited."""
        wish = await beside(lambda: self._wish(on, **options))
        cells = wish.cells if wish.call is None else await wish.call.wait_async()
        return wish.map(*await beside(lambda: wish.lay_out(cells)))

    def _call(self, on: Any = None, **options: Any) -> Call:
        call = self._wish(on, **options).call
        if call is None:
            raise ValueError(f"column {on!r} holds vectors: nothing is sent, so there is nothing to price")
        return call

    @takes_options(*OPTIONS, name="map")
    def _wish(
        self,
        on: Any = None,
        *,
        color: Hashable | None = None,
        hover: Hashable | Sequence[Hashable] | None = None,
        text: Hashable | None = None,
        method: str = "auto",
        seed: int = 0,
        model: Any = None,
        **travel: Any,
    ) -> _Wish:
        frame = self._data if isinstance(self._data, pd.DataFrame) else self._data.to_frame(_name(self._data))
        on = _name(self._data) if on is None and isinstance(self._data, pd.Series) else on
        many = isinstance(hover, Sequence) and not isinstance(hover, (str, tuple))
        columns: list[Hashable] = [] if hover is None else list(hover) if many else [hover]  # type: ignore[call-overload]
        for name in (*columns, *(name for name in (color, text) if name is not None)):
            frames.column(frame, name)  # before anything is paid for
        cells = _vectors(frame, on)
        texts = None if text is None else _words(frames.rows_of(frame, text, template=False))
        if cells is None:
            call = Call(Embed(), model, frame, on, travel)
            return _Wish(frame, call, None, texts or _words(call.rows), color, columns, method, seed)
        refuse_needless({"model": model, **travel}, as_they_are(on))
        return _Wish(frame, None, cells, texts, color, columns, method, seed)


def _words(rows: frames.Rows) -> list[str | None]:
    return [None if each is None else text_of(each) for each in rows.inputs]


@dataclass(frozen=True)
class _Wish:
    """What was asked for: vectors that are there or are to be bought, and what the map shall show."""

    frame: pd.DataFrame
    call: Call | None
    cells: pd.Series[Any] | None
    texts: list[str | None] | None
    color: Hashable | None
    hover: list[Hashable]
    method: str
    seed: int

    def lay_out(self, cells: Any) -> tuple[Any, npt.NDArray[np.float32], npt.NDArray[np.int64], space.Projection]:
        """Stack the vectors that are there and lay them out."""
        from ...plots.rows import vectors

        matrix, kept = vectors(cells)
        if matrix.shape[1] == 2:
            laid = space.Projection(matrix.astype(np.float64), "given", f"{counted(len(matrix), 'point')} as given")
            matrix = _lifted(matrix)
        else:
            laid = space.project(matrix, method=self.method, random_state=self.seed)
        return cells, matrix, np.flatnonzero(kept).astype(np.int64), laid

    def map(
        self, cells: Any, matrix: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], laid: space.Projection
    ) -> Map:
        """Make the map."""
        known = same_space(cells)
        notes = [laid.note, *([] if known is None else [known.model])]
        if len(rows) < len(self.frame):
            notes.append(f"{len(self.frame) - len(rows):,} without a vector left out")
        return Map(
            self.frame, laid.points, matrix, rows, texts=self.texts, color=self.color, hover=self.hover, notes=notes,
            mark="emulator" if is_emulated(cells) else "",
        )  # fmt: skip


def _lifted(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Points of the plane seen from afar: the angle between two then tells how far apart they are."""
    centred = points - points.mean(axis=0) if len(points) else points
    height = 10 * float(np.abs(centred).max(initial=0)) or 1.0
    return np.column_stack([centred, np.full(len(points), height, dtype=np.float32)])


def _name(series: pd.Series[Any]) -> Hashable:
    return "value" if series.name is None else series.name


def _vectors(frame: pd.DataFrame, on: Any) -> pd.Series[Any] | None:
    """The column, if its cells are vectors."""
    try:
        if on not in frame.columns:
            return None  # a template, or an error that `Call` words
    except TypeError:
        return None
    cells = frames.column(frame, on)
    if not may_hold_vectors(cells):
        return None
    first = next((cell for cell in cells if isinstance(cell, (np.ndarray, list, tuple, str))), None)
    return cells if isinstance(first, (np.ndarray, list, tuple)) else None
