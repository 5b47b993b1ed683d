"""The space of a column as a map to explore: zoom, lasso, labels, and what a selection is about."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import traitlets

from ... import html, session, vectors
from ...errors import takes_options
from ...frame.report import CfaiWarning
from ...frame.rows import column
from ...markup import counted, line
from .. import persistence
from .annotations import Labelled
from .describe import Describe
from .picture import picture, still

_VIEW = "application/vnd.jupyter.widget-view+json"
_INSTALL = 'zoom and lasso need jupyter-scatter: pip install "cfai_nb[map]", then restart the kernel'
_LIVE = "zoom and lasso: run the cell again"


class Map(traitlets.HasTraits):
    """A map of rows whose vectors are laid out on a plane; ``df.cfai.map(...)`` makes one.

    In a notebook it shows itself: live where jupyter-scatter is installed, and as a picture in saved notebooks, exports
    and elsewhere.  Everything the mouse does can be done from Python, with or without a browser.  Labels and selection
    are still there when its cell is run again on the same rows.

    Attributes
    ----------
    selection : tuple of int
        Positions of the selected rows in the frame, ascending; a trait: set it, or ``m.observe(f, "selection")``.
    color : column name or None
        What the points are coloured by; a trait.
    frame : DataFrame
        A copy of the frame, with the columns that `label` and `cluster` write.
    points : DataFrame
        ``x`` and ``y`` of each row on the frame's index; missing for rows without a vector.
    rows : ndarray of int64
        Positions of the rows that are on the map.
    texts : list or None
        What each row is about.
    media : list of Column
        Those on hover that hold pictures or sound; beside the live map the last point's are shown.
    notes : list of str
        How the map came about.
    mark : str
        ``"emulator"`` if stand-in vectors are shown, else empty.
    """

    selection = traitlets.Tuple(help="positions of the selected rows in the frame")
    color = traitlets.Any(None, allow_none=True, help="the column that gives the colours")
    #: Counts what was written into the frame, so that a view knows when to colour anew.
    written = traitlets.Int(0)

    @takes_options()
    def __init__(
        self,
        data: pd.DataFrame,
        points: npt.NDArray[np.float64],
        matrix: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
        *,
        texts: Sequence[str | None] | None = None,
        color: Hashable | None = None,
        hover: Sequence[Hashable] = (),
        notes: Sequence[str] = (),
        mark: str = "",
    ) -> None:
        for name in (*hover, *([] if color is None else [color])):
            column(data, name)  # says which there are, if it is none of them
        self._data = data.copy()
        self._labelled = Labelled(data)
        self._matrix = matrix
        self._names: dict[Hashable, Mapping[Hashable, str]] = {}
        self._chosen = color
        self._coloured: list[Hashable | None] = []  # what the map was coloured by before each label
        self._chart: Any = None
        columns = {name: html.named_columns(self._data, [name], files=session.files_folder(None))[0] for name in hover}
        self.media = [column for column in columns.values() if column.kind in ("image", "audio")]
        self.hover = [name for name, column in columns.items() if column not in self.media]
        self.rows, self.texts = rows, texts
        self.notes, self.mark = list(notes), mark
        laid = np.full((len(data), 2), np.nan)
        laid[rows] = points
        self.points = pd.DataFrame(laid, index=data.index, columns=["x", "y"])
        self.points.attrs["cfai"] = {"verb": "map", "origin": mark}
        super().__init__(color=color)
        self._work = persistence.work("Map", data.index, (list(data.columns), rows.tolist()))
        self._take_up()

    def _take_up(self) -> None:
        """Show the labels and the selection that the same cell had made before."""
        for name, cells in self._work.get("written", {}).items():
            self._labelled.put(name, cells)
            self._coloured.append(self.color)
            self.color = name
        self._names |= self._work.setdefault("names", {})
        self.selection = self._work.get("selection", ())

    @traitlets.observe("selection", "written")
    def _keep(self, change: Any) -> None:
        self._work["selection"] = self.selection
        self._work["written"] = {name: self.frame[name] for name in self._labelled.columns}
        self._work["names"] = self._names

    # -- what is selected ------------------------------------------------------------------------------------------

    @property
    def frame(self) -> pd.DataFrame:
        """The map's own copy of the frame, with its labels."""
        return self._labelled.frame

    @property
    def selected(self) -> pd.DataFrame:
        """The selected rows of the frame, in its order and with its index."""
        return self._data.iloc[list(self.selection)]

    @takes_options()
    def select(self, which: Any = None) -> pd.DataFrame:
        """Select rows, as the lasso does.

        Parameters
        ----------
        which : mask, index labels, frame or None
            One truth value a row; or labels of the index (all rows that carry one of them); or a part of the frame,
            which stands for its index. None selects nothing.

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
            raise traitlets.TraitError(f"row {off[0]} is not on the map (positions count from 0 to {len(self._data)})")
        return tuple(wanted.tolist())

    def _positions(self, which: Any) -> npt.NDArray[np.int64]:
        if which is None:
            return np.array([], dtype=np.int64)
        index = self._data.index
        if isinstance(which, (pd.DataFrame, pd.Series)) and not _is_mask(which):
            which = which.index
        if _is_mask(which):
            if isinstance(which, pd.Series) and not which.index.equals(index):
                raise ValueError("the mask has another index than the frame: align it first, or give its .to_numpy()")
            mask = pd.array(which, dtype="boolean").fillna(False).to_numpy(dtype=bool)
            if len(mask) != len(index):
                raise ValueError(f"a mask of {len(mask):,} values for a frame of {counted(len(index))}")
            return np.flatnonzero(mask).astype(np.int64)
        single = isinstance(which, (str, tuple)) or not hasattr(which, "__iter__")
        labels = [which] if single else list(which)
        unknown = [label for label in labels if label not in index]
        if unknown:
            raise KeyError(
                f"the index of the frame has no {unknown[0]!r} ({len(unknown):,} of {len(labels):,} unknown)"
            )
        return np.flatnonzero(index.isin(labels)).astype(np.int64)

    # -- what is done about it -------------------------------------------------------------------------------------

    @takes_options()
    def label(self, label: str, as_column: Hashable = "label") -> pd.Series[Any]:
        """Write a label for the selected rows into a column of ``m.frame`` and colour by it.

        Labels of other rows stay; a row that is selected again gets the new one. ``m.undo()`` takes the last back.

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
            Nothing is selected, the label is blank, or the column holds no text.
        """
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"a label is some text, not {label!r}")
        if label != label.encode("utf-8", "replace").decode("utf-8"):
            raise ValueError("the label holds half of a character (a lone surrogate), which no column of text can hold")
        if not self.selection:
            raise ValueError("nothing is selected: draw a lasso on the map, or m.select(mask)")
        self._labelled.write(self.selection, label.strip(), as_column)
        self._coloured.append(self.color)
        self._show(as_column)
        return self.frame[as_column].copy()

    @takes_options()
    def cluster(self, k: Literal["auto"] | int = "auto", *, as_column: Hashable = "cluster") -> pd.Series[Any]:
        """Write the group of every row into a column of ``m.frame`` and colour by it; see `space.cluster`.

        Groups are shown by the words that set their texts apart, where the map knows texts.
        """
        labels = vectors.cluster(self._matrix, k)
        cells = pd.Series(pd.array([pd.NA] * len(self._data), dtype="Int64"), index=self._data.index)
        cells.iloc[self.rows] = labels
        if self.texts is not None:
            terms = vectors.topic_terms([self.texts[at] for at in self.rows], labels)
            self._names[as_column] = {
                group: f"{group}: {said}" if said else str(group) for group, said in terms.items()
            }
        self._labelled.put(as_column, cells)
        self._coloured.append(self.color)
        self._show(as_column)
        return self.frame[as_column].copy()

    def undo(self) -> None:
        """Take back the last `label` or `cluster`."""
        self._labelled.undo()
        before = self._coloured.pop()
        self._show(before if before in self.frame.columns else None)

    @property
    def describe(self) -> Describe:
        """What the selection shares and how it differs from the rest: ``m.describe()``, or ``(model="default")``."""
        return Describe(self)

    # -- how it is shown -------------------------------------------------------------------------------------------

    @property
    def coloured_by(self) -> list[Hashable]:
        """Columns to colour by: the one that was given, those shown on hover, and those written since."""
        offered = dict.fromkeys([*self.given, *self._labelled.columns])
        return [name for name in offered if name in self.frame.columns]

    @property
    def given(self) -> list[Hashable]:
        """Columns that the map was made with: its colour and those on hover."""
        return list(dict.fromkeys([*([] if self._chosen is None else [self._chosen]), *self.hover]))

    def names_of(self, name: Hashable) -> Mapping[Hashable, str] | None:
        """Return what is written for the values of a column, where that is something else."""
        return self._names.get(name)

    @traitlets.validate("color")
    def _checked_color(self, proposal: Any) -> Any:
        if proposal["value"] is not None:
            column(self.frame, proposal["value"])
        return proposal["value"]

    def _show(self, name: Hashable | None) -> None:
        with self.hold_trait_notifications():
            self.color = name
            self.written += 1

    def picture(self) -> Any:
        """Return the map as it is now as a picture (PNG with words in its place), for where the live one cannot be."""
        return picture(self)

    def close(self) -> None:
        """Take the live map away from the browser and free what it holds there."""
        if self._chart is not None:
            self._chart.close()
            self._chart = None

    def __repr__(self) -> str:
        by = "" if self.color is None else f", by {line(self.color, 60)}"
        parts = (f"{len(self.rows):,} rows{by}, {len(self.selection):,} selected", *self.notes, self.mark)
        return f"<Map of {' · '.join(part for part in parts if part)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        live = self._live()
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "text/html": still(self, _LIVE if live is not None else _INSTALL if len(self.rows) else ""),
        }
        if live is not None:
            bundle[_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": live.model_id}
        return bundle

    def _live(self) -> Any:
        """The widget; None where jupyter-scatter is not installed, or nothing is on the map."""
        if self._chart is None and len(self.rows):
            try:
                from .chart import Chart
            except ModuleNotFoundError as error:
                if error.name != "jscatter":
                    raise
                return None
            self._chart = Chart(self)
        return None if self._chart is None else self._chart.box


def _is_mask(which: Any) -> bool:
    if isinstance(which, (pd.Series, np.ndarray, pd.api.extensions.ExtensionArray)):
        return bool(pd.api.types.is_bool_dtype(which.dtype))
    return isinstance(which, list) and bool(which) and all(isinstance(each, (bool, np.bool_)) for each in which)
