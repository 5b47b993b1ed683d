"""``df.cfai.map``: the rows of a frame laid out on a plane by their vectors.

In: a column of vectors, or of texts, which are embedded first.  Out: a `Map`.  ``map_rows`` is the definition of the
verb, which the accessor binds to a frame.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ... import vectors as space
from ...frame import rows as frames
from ...frame.call import Call
from ...frame.steps import Steps
from ...frame.vector_input import as_they_are, may_hold_vectors, refuse_needless
from ...markup import counted
from ...media import text_of
from ...models import Model
from ...tasks import Embed
from ...vectors.vector import same_space, stand_in_of
from ..progress import patiently
from .map import Map


def map_rows(
    data: frames.Frame, /, on: Any = None, *, color: Hashable | None = None,
    hover: Hashable | Sequence[Hashable] | None = None, text: Hashable | None = None,
    method: Literal["auto", "tsne", "pca", "umap"] = "auto", random_state: int = 0, model: str | Model | None = None,
    **options: Any,
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

    Returns
    -------
    Map
        ``m.selected``, ``m.select(...)``, ``m.label(...)``, ``m.describe()``, ``m.cluster()``, ``m.frame``.

    Raises
    ------
    ColumnError
        A column does not exist.
    ValueError
        The vectors differ in length or come from different models.

    Examples
    --------
    >>> m = df.cfai.map("text", color="team")
    >>> df.cfai.map.plan("text")
    """
    frame = frames.as_frame(data)
    on = frames.name_of(data) if on is None and isinstance(data, pd.Series) else on
    many = isinstance(hover, Sequence) and not isinstance(hover, (str, tuple))
    columns: list[Hashable] = [] if hover is None else list(hover) if many else [hover]  # type: ignore[call-overload]
    for name in (*columns, *(name for name in (color, text) if name is not None)):
        frames.column(frame, name)  # raises before anything is sent
    cells = _vectors(frame, on)
    texts = None if text is None else _words(frames.rows_of(frame, text, template=False))
    if cells is None:
        call = Call(Embed(), model, frame, on, options)
        texts = texts or _words(call.rows)
        cells = yield call
    else:
        refuse_needless({"model": model, **options}, as_they_are(on))

    def result() -> Map:
        what = f"laying out {counted(int(cells.notna().sum()))}"
        shown = options.get("progress")
        laid = patiently(lambda: _lay_out(cells, method, random_state), what, shown=shown)
        return _map(frame, cells, texts, color, columns, *laid)

    return result


def _lay_out(
    cells: Any, method: str, random_state: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], space.Projection]:
    """Stack the vectors, without missing ones, and project them."""
    column = space.VectorColumn(cells)
    matrix, rows = column.to_matrix(), column.positions
    whole = np.isfinite(matrix).all(axis=1)
    if not whole.all():  # a vector with NaN in it is missing
        matrix, rows = matrix[whole], rows[whole]
    if matrix.shape[1] == 2:
        laid = space.Projection(matrix.astype(np.float64), "given", f"{counted(len(matrix), 'point')} as given")
        matrix = _lifted(matrix)
    else:
        laid = space.project(matrix, method=method, random_state=random_state)
    return matrix, rows, laid


def _map(
    frame: pd.DataFrame, cells: Any, texts: list[str | None] | None, color: Hashable | None, hover: list[Hashable],
    matrix: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], laid: space.Projection,
) -> Map:  # fmt: skip
    known = same_space(cells)
    notes = [laid.note, *([] if known is None else [known.model])]
    if len(rows) < len(frame):
        notes.append(f"{counted(len(frame) - len(rows))} without a vector left out")
    return Map(
        frame, laid.points, matrix, rows, texts=texts, color=color, hover=hover, notes=notes,
        mark=stand_in_of(cells),
    )  # fmt: skip


def _words(rows: frames.Rows) -> list[str | None]:
    return [None if each is None else text_of(each) for each in rows.inputs]


def _lifted(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Points with a large third component added, so that the angle between two follows their distance."""
    centred = points - points.mean(axis=0) if len(points) else points
    height = 10 * float(np.abs(centred).max(initial=0)) or 1.0
    return np.column_stack([centred, np.full(len(points), height, dtype=np.float32)])


def _vectors(frame: pd.DataFrame, on: Any) -> pd.Series[Any] | None:
    """The column, if its cells are vectors."""
    try:
        if on not in frame.columns:
            return None  # a template, or an error that `Call` reports
    except TypeError:
        return None
    cells = frames.column(frame, on)
    if not may_hold_vectors(cells):
        return None
    first = next((cell for cell in cells if isinstance(cell, (np.ndarray, list, tuple, str))), None)
    return cells if isinstance(first, (np.ndarray, list, tuple)) else None
