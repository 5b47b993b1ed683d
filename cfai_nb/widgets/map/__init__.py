"""The map: the rows of a frame laid out on a plane by their vectors, to zoom, select, label and describe.

In: a column of vectors, or of texts, which are embedded first.  Out: a `Map`, live where jupyter-scatter is installed,
and otherwise a picture.  ``map_rows`` is the definition of the verb, which the accessor binds to a frame.
`state` holds the points and what was done to them; `chart`, `still` and `describe` read the state.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import Image

from ... import html
from ... import vectors as space
from ...errors import takes_options
from ...frame import rows as frames
from ...frame.call import Call
from ...frame.steps import Steps
from ...frame.vector_input import as_they_are, holds_vectors, progress_wanted, recorded, refuse_needless
from ...html.markup import badge, counted, inline, line
from ...media import text_of
from ...models import Model
from ...tasks import Embed
from ...vectors.vector import stand_in_of
from ..base import bundle
from ..progress import patiently
from .describe import Describe
from .state import MapState
from .still import figure_of, page_data, still, words

__all__ = ["Map", "map_rows"]

_image: Callable[..., Any] = Image  # IPython does not declare its types
_INSTALL = "zoom and lasso need jupyter-scatter: pip install jupyter-scatter, then restart the kernel"
_LIVE = "zoom and lasso: run the cell again"


class Map(MapState):
    """A map of rows, laid out on a plane by their vectors; ``df.cfai.map(...)`` makes one.

    In a notebook it is live where jupyter-scatter is installed; saved notebooks and exports show a picture.
    Everything the mouse does can be done from Python, with or without a browser.  Labels and selection are still
    there when the cell runs again: on rows that show what they did.

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
        What it is stamped with where the vectors come from the emulator, else empty.
    """

    _chart: Any = None

    @property
    def describe(self) -> Describe:
        """What the selection shares and how it differs from the rest: ``m.describe()``, or ``(model="default")``."""
        return Describe(self)

    def picture(self) -> Any:
        """Return the map as it is now as a PNG with a text alternative, for places without widgets."""
        from ...plots.axes import png

        return _image(png(figure_of(self)), format="png", alt=words(self))

    @takes_options()
    def save(self, path: str | Path, *, title: str = "Map", n_neighbors: int = 8) -> Path:
        """Write the map as it is now as one page of HTML, to zoom, search and look at neighbors without a kernel.

        The page loads nothing from elsewhere, and runs nothing that a cell holds.  Of each row it contains the text, up
        to 400 characters.

        Parameters
        ----------
        path : path
        title : str
        n_neighbors : int
            The nearest rows, by their vectors, that a click on a point shows.

        Returns
        -------
        Path
            Of the file.

        Examples
        --------
        >>> df.cfai.map("text", color="team").save("map.html")
        """
        shown = badge(self.mark) + " · ".join(inline(note) for note in self.notes)
        body = f'<div class="cfai-soft">{shown}</div><div id="cfai-map"></div>'
        return html.save(path, title, body, page_data(self, n_neighbors))

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


def map_rows(
    data: frames.Frame, /, on: Any = None, *, color: Hashable | None = None,
    hover: Hashable | Sequence[Hashable] | None = None, text: Hashable | None = None,
    method: Literal["auto", "tsne", "pca", "umap"] = "auto", random_state: int = 0, points: pd.DataFrame | None = None,
    model: str | Model | None = None, **options: Any,
) -> Steps[Map]:  # fmt: skip
    """Lay rows out on a map, similar rows close together, to explore, select, label and describe them.

    ``m = df.cfai.map("text")`` embeds the texts first.  A column of vectors is used as it is, and sends nothing.

    Parameters
    ----------
    on : str
        A column of texts, a template with ``{column}`` in it, or a column of vectors.  A Series needs none.
        Vectors of length 2 are used as points.
    color : str, optional
        A column to color by: words, truth values, numbers or dates.
    hover : str or list of str, optional
        Columns to show for the point under the mouse: text in the tooltip, pictures and sounds beside the map.
    text : str, optional
        If `on` holds vectors: the column with the text of a row, shown on hover and read by ``m.describe``.
    method : {"auto", "tsne", "pca"}
        How vectors are projected, see ``df.cfai.project``.
    random_state : int
        The same value and vectors give the same map.
    points : DataFrame, optional
        A saved layout: the ``points`` of an earlier map, with ``x`` and ``y`` of each row.  Nothing is computed again,
        and rows without a point are left out.

    Returns
    -------
    Map
        ``m.selected``, ``m.select(...)``, ``m.label(...)``, ``m.describe()``, ``m.cluster()``, ``m.frame``.

    Raises
    ------
    ColumnError
        A column does not exist.
    ValueError
        The vectors differ in length or come from different models, or `points` has another index.

    Examples
    --------
    >>> m = df.cfai.map("text", color="team")
    >>> m.points.to_parquet("layout.parquet")
    >>> df.cfai.map("text", points=pd.read_parquet("layout.parquet"))
    >>> df.cfai.map.plan("text")
    """
    frame = frames.as_frame(data)
    on = frames.name_of(data) if on is None and isinstance(data, pd.Series) else on
    many = isinstance(hover, Sequence) and not isinstance(hover, (str, tuple))
    columns: list[Hashable] = [] if hover is None else list(hover) if many else [hover]  # type: ignore[call-overload]
    for name in (*columns, *(name for name in (color, text) if name is not None)):
        frames.column(frame, name)  # raises before anything is sent
    if points is not None and not points.index.equals(frame.index):
        raise ValueError("points has another index than the frame: align it with points.reindex(df.index).")
    axes = None if points is None else [frames.column(points, name).astype("float64") for name in ("x", "y")]
    place = None if axes is None else np.column_stack(axes)
    vectors = frames.column_of(frame, on)
    texts = None if text is None else _words(frames.rows_of(frame, text, template=False))
    if vectors is None or not holds_vectors(vectors):
        call = Call(Embed(), model, frame, on, options)
        texts = texts or _words(call.rows)
        cells = yield call
    else:
        refuse_needless({"model": model, **options}, as_they_are(on))
        cells = recorded(vectors)

    def result() -> Map:
        column = space.VectorColumn(cells if place is None else cells.where(np.isfinite(place).all(axis=1))).finite()
        what = f"laying out {counted(len(column))}"
        shown = progress_wanted(options)
        matrix, laid = patiently(lambda: _lay_out(column, method, random_state, place), what, shown)
        notes = [laid.note, *([] if column.space is None else [column.space.model])]
        if len(column) < len(frame):
            what = "vector" if place is None else "vector or point"
            notes.append(f"{counted(len(frame) - len(column))} without a {what} left out")
        return Map(
            frame, laid.points, matrix, column.positions, texts=texts, color=color, hover=columns, notes=notes,
            mark=stand_in_of(cells),
        )  # fmt: skip

    return result


def _lay_out(
    column: space.VectorColumn, method: str, random_state: int, place: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.float32], space.Projection]:
    """Return the vectors as a matrix, and their projection."""
    matrix = column.to_matrix()
    if place is not None:
        note = f"{counted(len(matrix), 'point')} as saved"
        return matrix, space.Projection(place[column.positions], "given", note)
    if matrix.shape[1] == 2:
        note = f"{counted(len(matrix), 'point')} as given"
        return _lifted(matrix), space.Projection(matrix.astype(np.float64), "given", note)
    return matrix, space.project(matrix, method=method, random_state=random_state)


def _words(rows: frames.Rows) -> list[str | None]:
    return [None if each is None else text_of(each) for each in rows.inputs]


def _lifted(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Points with a large third component added, so that the angle between two follows their distance."""
    centred = points - points.mean(axis=0) if len(points) else points
    height = 10 * float(np.abs(centred).max(initial=0)) or 1.0
    return np.column_stack([centred, np.full(len(points), height, dtype=np.float32)])
