"""`Map`, the widget: a state with its display, live where jupyter-scatter is installed, and otherwise a picture."""

from __future__ import annotations

from typing import Any

from ...markup import line
from ..base import bundle
from .describe import Describe
from .snapshot import picture, still
from .state import MapState

_INSTALL = 'zoom and lasso need jupyter-scatter: pip install "cfai_nb[map]", then restart the kernel'
_LIVE = "zoom and lasso: run the cell again"


class Map(MapState):
    """A map of rows, laid out on a plane by their vectors; ``df.cfai.map(...)`` makes one.

    In a notebook it is live where jupyter-scatter is installed; saved notebooks and exports show a picture.
    Everything the mouse does can be done from Python, with or without a browser.  Labels and selection are still
    there when the cell runs again on the same rows.

    Attributes
    ----------
    selection : tuple of int
        Positions of the selected rows in the frame, ascending; a trait: set it, or ``m.observe(f, "selection")``.
    color : column name or None
        The column that gives the color of the points; a trait.
    frame : DataFrame
        A copy of the frame, with the columns that `label` and `cluster` write.
    points : DataFrame
        ``x`` and ``y`` of each row, on the frame's index; missing for rows without a vector.
    rows : ndarray of int64
        Positions of the rows that are on the map.
    texts : list or None
        The text of each row.
    media : list of Column
        The hover columns with pictures or sound; beside the live map those of the last point are shown.
    notes : list of str
        How the points were computed.
    mark : str
        What the picture is stamped with where the vectors come from the emulator, else empty.
    """

    _chart: Any = None

    @property
    def describe(self) -> Describe:
        """What the selection shares and how it differs from the rest: ``m.describe()``, or ``(model="default")``."""
        return Describe(self)

    def picture(self) -> Any:
        """Return the map as it is now as a PNG with a text alternative, for places without widgets."""
        return picture(self)

    def close(self) -> None:
        """Remove the live map and free its memory in the browser."""
        if self._chart is not None:
            self._chart.close()
            self._chart = None

    def __repr__(self) -> str:
        by = "" if self.color is None else f", by {line(self.color, 60)}"
        parts = (f"{len(self.rows):,} rows{by}, {len(self.selection):,} selected", *self.notes, self.mark)
        return f"<Map of {' · '.join(part for part in parts if part)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        live = self._live()
        hint = _LIVE if live is not None else _INSTALL if len(self.rows) else ""
        return bundle(repr(self), still(self, hint), live)

    def _live(self) -> Any:
        """The widget; None if jupyter-scatter is not installed or no row is on the map."""
        if self._chart is None and len(self.rows):
            try:
                from .chart import Chart
            except ModuleNotFoundError as error:
                if error.name != "jscatter":
                    raise
                return None
            self._chart = Chart(self, self.describe)
        return None if self._chart is None else self._chart.box
