"""The state of a map: its rows, what is selected, the column that gives the color, and the labels written so far.

In: a frame, the points of its rows and their vectors, from ``map_rows``.  Out: `MapState`, with traits that views
observe.  The chart, the picture and the description read this class only; `Map` adds the display, so that no view
imports the widget it is part of.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from ... import session, vectors
from ...errors import takes_options
from ...frame.report import CfaiWarning
from ...frame.rows import column
from ...html.markup import counted
from .. import table
from ..base import kept_work

NOTHING_SELECTED = "nothing is selected: draw a lasso on the map, or call m.select(mask)"


class MapState(traitlets.HasTraits):
    """Rows on a plane, of which some are selected and labeled; see `Map`."""

    selection = traitlets.Tuple(help="positions of the selected rows in the frame")
    color = traitlets.Any(None, allow_none=True, help="the column that gives the color")
    view = traitlets.Any(None, allow_none=True, help="the part of the map that is in sight, as the chart reports it")
    #: Counts changes of the frame, so that a view knows when to recolor.
    written = traitlets.Int(0)

    @takes_options()
    def __init__(
        self, data: pd.DataFrame, points: npt.NDArray[np.float64], matrix: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64], *, texts: Sequence[str | None] | None = None, color: Hashable | None = None,
        hover: Sequence[Hashable] = (), notes: Sequence[str] = (), mark: str = "",
    ) -> None:  # fmt: skip
        for name in (*hover, *([] if color is None else [color])):
            column(data, name)  # raises if there is no such column
        self._data = data.copy()
        self.frame = data.copy()
        self._matrix = matrix
        #: What is shown for the values of a column, where that differs from them.
        self.value_names: dict[Hashable, Mapping[Hashable, str] | None] = {}
        self._first_color = color
        #: What was written: the column, its cells (None: it is new) and their names before, and the color before.
        self._past: list[tuple[Hashable, pd.Series[Any] | None, Mapping[Hashable, str] | None, Hashable | None]] = []
        columns = {name: table.named_columns(self._data, [name], files=session.files_folder(None))[0] for name in hover}
        self.media = [column for column in columns.values() if column.kind in ("image", "audio")]
        self.hover = [name for name, column in columns.items() if column not in self.media]
        self.rows, self.texts = rows, texts
        self.notes, self.mark = list(notes), mark
        placed = np.full((len(data), 2), np.nan)
        placed[rows] = points
        self.points = pd.DataFrame(placed, index=data.index, columns=["x", "y"])
        self.points.attrs["cfai"] = {"verb": "map", "origin": mark}
        super().__init__(color=color)
        self._work = kept_work("Map", data.index, (list(data.columns), rows.tolist()))
        shown = (row.tobytes() for row in matrix) if texts is None else (texts[at] for at in rows)
        self._restore(np.fromiter(map(hash, shown), dtype=np.int64, count=len(rows)))

    def _restore(self, shown: npt.NDArray[np.int64]) -> None:
        """Restore the labels and the selection that the last run of the cell left, on rows that show what they did."""
        left = dict(self._work)  # each change below takes its place
        self._work["shown"] = shown
        same = left.get("shown", shown) == shown
        if not same.any():
            return
        for name, (cells, names) in left.get("written", {}).items():
            self._write(name, self._put(cells, name, self.rows[~same]), names)
        self.view = left.get("view")
        self.selection = tuple(np.intersect1d(left.get("selection", ()), self.rows[same]).tolist())

    def _put(self, cells: pd.Series[Any], name: Hashable, others: npt.NDArray[np.int64]) -> pd.Series[Any]:
        """Return a written column, with what the frame has in these other rows."""
        if not len(others):
            return cells
        there = self.frame[name].iloc[others].array if name in self.frame.columns else [None] * len(others)
        cells = cells.astype(object) if name in self.frame.columns else cells.copy()
        cells.iloc[others] = there
        return cells

    @traitlets.observe("selection", "written", "view")
    def _keep(self, change: Any) -> None:
        self._work["selection"], self._work["view"] = self.selection, self.view
        self._work["written"] = {name: (self.frame[name], self.value_names.get(name)) for name, *_ in self._past}

    def text_at(self, row: int) -> str:
        """Return the text of a row, given by its position in the frame; empty where there is none."""
        return (self.texts[row] or "") if self.texts is not None else ""

    # -- selection -------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> pd.DataFrame:
        """The selected rows of the frame, in its order and with its index."""
        return self._data.iloc[list(self.selection)]

    @takes_options()
    def select(self, which: Any = None) -> pd.DataFrame:
        """Select rows, as the lasso does.

        Parameters
        ----------
        which : mask, index labels or frame, optional
            One boolean per row; or labels of the index (all rows with such a label); or a part of the frame, which
            stands for its index.  None selects nothing.

        Returns
        -------
        DataFrame
            The selected rows.

        Raises
        ------
        KeyError
            A label is not in the index.
        ValueError
            A mask has another length or another index than the frame.
        """
        wanted = self._positions(which)
        on_map = np.intersect1d(wanted, self.rows)
        if len(on_map) < len(wanted):
            gone = f"{len(wanted) - len(on_map):,} of the {counted(len(wanted))}"
            warnings.warn(f"{gone} have no vector, so they are not on the map and not selected.", CfaiWarning, 2)
        self.selection = tuple(on_map.tolist())
        return self.selected

    @traitlets.validate("selection")
    def _checked_selection(self, proposal: Any) -> tuple[int, ...]:
        wanted = np.unique(np.array(proposal["value"], dtype=np.int64))
        if len(off := np.setdiff1d(wanted, self.rows)):
            raise traitlets.TraitError(
                f"row {off[0]} is not on the map (positions count from 0 to {len(self._data) - 1})"
            )
        return tuple(wanted.tolist())

    def _positions(self, which: Any) -> npt.NDArray[np.int64]:
        if which is None:
            return np.array([], dtype=np.int64)
        index = self._data.index
        if isinstance(which, (pd.DataFrame, pd.Series)) and not _is_mask(which):
            which = which.index
        if _is_mask(which):
            if isinstance(which, pd.Series) and not which.index.equals(index):
                raise ValueError("the mask has another index than the frame: align it, or pass its .to_numpy()")
            mask = pd.array(which, dtype="boolean").fillna(False).to_numpy(dtype=bool)
            if len(mask) != len(index):
                raise ValueError(f"a mask of {len(mask):,} values for a frame of {counted(len(index))}")
            return np.flatnonzero(mask).astype(np.int64)
        single = isinstance(which, (str, tuple)) or not hasattr(which, "__iter__")
        labels = [which] if single else list(which)
        if unknown := [label for label in labels if label not in index]:
            count = f"{len(unknown):,} of {len(labels):,} unknown"
            raise KeyError(f"the index of the frame has no {unknown[0]!r} ({count})")
        return np.flatnonzero(index.isin(labels)).astype(np.int64)

    # -- labels ----------------------------------------------------------------------------------------------------

    @takes_options()
    def label(self, label: str, as_column: Hashable = "label") -> pd.Series[Any]:
        """Write a label for the selected rows into a column of ``m.frame``, and color by it.

        Other rows keep their labels; rows selected again get the new one.  ``m.undo()`` reverts the last label.

        Parameters
        ----------
        label : str
        as_column : str
            A new column, or one of text.

        Returns
        -------
        Series
            The column so far, missing where there is no label: ``df["theme"] = m.label(...)`` keeps it in your frame.

        Raises
        ------
        ValueError
            Nothing is selected, the label is blank, or the column does not hold text.
        """
        if not isinstance(label, str):
            raise ValueError(f"a label must be text, not {label!r:.60}")
        if not label.strip():
            raise ValueError("a label cannot be empty")
        if label != label.encode("utf-8", "replace").decode("utf-8"):
            raise ValueError("the label contains half of a character (a lone surrogate), which columns cannot hold")
        if not self.selection:
            raise ValueError(NOTHING_SELECTED)
        cells: pd.Series[Any] = pd.Series([None] * len(self.frame), index=self.frame.index, dtype=object)
        if as_column in self.frame.columns:
            cells = column(self.frame, as_column).astype(object).copy()
            if not cells.dropna().map(lambda cell: isinstance(cell, str)).all():
                kind = self.frame[as_column].dtype
                raise ValueError(f"column {as_column!r} holds {kind}, not text; use another as_column=")
        cells.iloc[list(self.selection)] = label.strip()
        return self._write(as_column, cells)

    @takes_options()
    def cluster(self, n_clusters: Literal["auto"] | int = "auto", *, as_column: Hashable = "cluster") -> pd.Series[Any]:
        """Write the cluster of every row into a column of ``m.frame``, and color by it; see `cf.vectors.cluster`.

        If the map has texts, each cluster is shown with the terms that distinguish its texts.
        """
        labels = vectors.cluster(self._matrix, n_clusters)
        cells = pd.Series(pd.array([pd.NA] * len(self._data), dtype="Int64"), index=self._data.index)
        cells.iloc[self.rows] = labels
        names = None
        if self.texts is not None:
            terms = vectors.topic_terms([self.texts[at] for at in self.rows], labels)
            names = {at: f"{at}: {words}" if words else str(at) for at, words in terms.items()}
        return self._write(as_column, cells, names)

    def nearest(self, places: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
        """Return the `n` nearest others of some rows by cosine, nearest first, shape (places, n).

        Rows are given and returned by their places in ``rows``.
        """
        n = max(0, min(n, len(self.rows) - 1))
        if not n:
            return np.empty((len(places), 0), dtype=np.int64)
        _, found = vectors.search(self._matrix, self._matrix[places], n + 1)
        others = found != places[:, None]
        others[:, n] &= ~others.all(axis=1)  # among many equal vectors a row may not find itself
        near: npt.NDArray[np.int64] = found[others].reshape(len(places), n)
        return near

    def undo(self) -> None:
        """Revert the last `label` or `cluster`.

        Raises
        ------
        ValueError
            Nothing was written, or all of it was reverted.
        """
        if not self._past:
            raise ValueError("nothing to undo: no label was written")
        name, cells, names, color = self._past.pop()
        self.value_names[name] = names
        if cells is None:
            del self.frame[name]
        else:
            self.frame[name] = cells.array
        self._color_by(color if color in self.frame.columns else None)

    def _write(
        self, name: Hashable, cells: pd.Series[Any], names: Mapping[Hashable, str] | None = None
    ) -> pd.Series[Any]:
        """Set a whole column, by position, color by it, and return a copy; `names` are shown for its values."""
        before = self.frame[name] if name in self.frame.columns else None
        self._past.append((name, before, self.value_names.get(name), self.color))
        self.frame[name], self.value_names[name] = cells.array, names
        self._color_by(name)
        return self.frame[name].copy()

    # -- color -----------------------------------------------------------------------------------------------------

    @property
    def color_columns(self) -> list[Hashable]:
        """Columns to color by: the first one, those shown on hover, and those written since."""
        offered = dict.fromkeys([*self.given_columns, *(name for name, *_ in self._past)])
        return [name for name in offered if name in self.frame.columns]

    @property
    def given_columns(self) -> list[Hashable]:
        """Columns that the map was made with: its color and those on hover."""
        return [name for name in dict.fromkeys([self._first_color, *self.hover]) if name is not None]

    @traitlets.validate("color")
    def _checked_color(self, proposal: Any) -> Any:
        if proposal["value"] is not None:
            column(self.frame, proposal["value"])
        return proposal["value"]

    def _color_by(self, name: Hashable | None) -> None:
        with self.hold_trait_notifications():
            self.color = name
            self.written += 1


def _is_mask(which: Any) -> bool:
    if isinstance(which, (pd.Series, np.ndarray, pd.api.extensions.ExtensionArray)):
        return bool(pd.api.types.is_bool_dtype(which.dtype))
    return isinstance(which, list) and bool(which) and all(isinstance(each, (bool, np.bool_)) for each in which)
