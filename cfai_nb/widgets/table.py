"""Rows of a frame as one piece of HTML: which columns and rows are shown, and what failed in them; a table, or cards.

A frame or Series comes in; `Column` objects, positions of rows, errors, HTML, and a table as plain text go out.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import ColumnError
from ..frame import call, rows
from ..frame.reading import is_missing, is_sentence
from ..frame.report import Report
from ..html import markup
from ..media import Folder
from ..media.cells import is_boxes
from ..vectors.vector import stand_in_of
from .cell import CellKind, Renderer, is_media_name, is_vector, kind_of, kind_of_name, plain

_MAX_COLUMNS = 8
_SAMPLE = 20  # cells that decide what a column holds
_SHORT = 120  # characters of a text that is read at a glance
_ORDER = ("image", "boxes", "audio", "video", "text", "value", "vector", "long", "other", "document")
_WORDS = {"image": "pictures", "audio": "sound"}

#: Kind of a column -> class of its cells in the style sheet.
_BY_KIND = {
    "image": "cfai-media",
    "boxes": "cfai-media",
    "audio": "cfai-sound",
    "text": "cfai-words",
    "value": "cfai-number",
    "long": "cfai-prose",
}
#: Columns of probabilities and scores, which are drawn as bars.
_SHARES = re.compile(r"(confidence|probability|score|similarity|p__.*)$")
_COMPARED = re.compile(r"(<=|>=|<|>|=)\s*(\S.*)")

#: Where failures come from: a run, its frame of failures, the last run over the same rows (None), or nowhere (False).
Failures: TypeAlias = "Report | pd.DataFrame | Literal[False] | None"
#: By position, and by column: code and message; under None those of the columns that the run left empty.
Errors: TypeAlias = "Mapping[int, Mapping[str | None, tuple[object, str]]]"


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column as it is shown."""

    name: str
    cells: pd.Series[Any]
    kind: CellKind | Literal["long"]
    names: bool = False  # whether its texts are meant to name files
    files: Folder | None = None  # the folder in which they may

    @property
    def sortable(self) -> bool:
        """Whether its cells have an order."""
        return self.kind in ("text", "value", "long")

    def html(self, row: int, label: str, renderer: Renderer, top: float | None = None) -> str:
        """Return the cell of a row, given by its position, as HTML; see `Renderer.cell`."""
        return renderer.cell(self.cells.iloc[row], label, names=self.names, files=self.files, top=top)


def named_columns(
    data: rows.Frame, columns: Hashable | Sequence[Hashable], *, names: bool = False, files: Folder | None = None
) -> list[Column]:
    """Return the columns of these names; ``names=True`` takes their texts for names of files."""
    frame = rows.as_frame(data)
    wanted = list(columns) if isinstance(columns, (list, pd.Index)) else [columns]
    return [_column(label, rows.column(frame, label), files, names) for label in wanted]


def choose_columns(data: rows.Frame, files: Folder | None = None) -> tuple[list[Column], list[str]]:
    """Return the columns to show, media first, then what is short; and the names of those left out."""
    ranked = sorted(_all_columns(data, files), key=lambda column: _ORDER.index(column.kind))
    return ranked[:_MAX_COLUMNS], [column.name for column in ranked[_MAX_COLUMNS:]]


def media_column(data: rows.Frame, column: Hashable, kind: CellKind, folder: Folder | None) -> Column:
    """Return the column of pictures or sound: the named one, or the first; its texts must name files of the folder."""
    what = _WORDS.get(kind, kind)
    if column is not None:
        found = named_columns(data, column, names=True, files=folder)[0]
    elif isinstance(data, pd.Series):  # no other column can be meant
        found = _column(rows.as_frame(data).columns[0], data, folder, names=True)
    else:
        known = _all_columns(data, folder)
        if not (fitting := [each for each in known if each.kind == kind]):
            hint = "" if folder else ' (Texts name files only in the folder of files="folder".)'
            raise ColumnError(f"No column holds {what}. Columns: {', '.join(c.name for c in known) or 'none'}.{hint}")
        found = fitting[0]
    some = list(islice((cell for cell in found.cells if not is_missing(cell)), _SAMPLE))
    if some and all(isinstance(cell, str) and not is_media_name(cell) and is_sentence(cell) for cell in some):
        raise ColumnError(
            f"Column {found.name!r} holds texts, not {what}: they are neither names of files nor addresses. "
            "df.cfai.preview() shows texts."
        )
    return found


def _all_columns(data: rows.Frame, files: Folder | None) -> list[Column]:
    frame = rows.as_frame(data)
    return [_column(label, frame.iloc[:, at], files) for at, label in enumerate(frame.columns)]


def _column(label: Hashable, cells: pd.Series[Any], files: Folder | None, names: bool = False) -> Column:
    kind, named = _kind(cells, files)
    return Column(str(label), cells, kind, names or named, files)


def _kind(cells: pd.Series[Any], files: Folder | None) -> tuple[CellKind | Literal["long"], bool]:
    """Return what a column holds, and whether its texts name files."""
    if pd.api.types.is_numeric_dtype(cells.dtype) or pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return "value", False
    head = list(islice((cell for cell in cells if not is_missing(cell)), _SAMPLE))
    if not head:
        return "value", False
    if all(isinstance(cell, str) for cell in head):
        if all(is_media_name(cell) for cell in head) and (kind := kind_of_name(head[0], files)) != "text":
            return kind, True
        return ("text" if sum(map(len, head)) <= _SHORT * len(head) else "long"), False
    kinds = [kind_of(cell) for cell in head if not is_boxes(cell) or len(cell)]  # an empty one says nothing
    if not kinds:
        return "other", False
    return max(kinds, key=kinds.count), False


def matching_rows(columns: Sequence[Column], index: pd.Index[Any], text: str, only: str = "") -> npt.NDArray[np.int64]:
    """Return the positions of the rows that have a text in a cell, a file's name or their label, in any case.

    ``only`` names the one column that is searched; ``"> 3"`` compares there, if it holds numbers or dates.
    """
    wanted = text.casefold()
    if not wanted:
        return np.arange(len(index), dtype=np.int64)
    held = np.zeros(len(index), dtype=bool)
    if only:
        columns = [column for column in columns if column.name == only]
        for column in columns:
            if (compared := _compared(column.cells, text)) is not None:
                return np.flatnonzero(compared).astype(np.int64)
    else:
        held |= np.fromiter((wanted in str(label).casefold() for label in index), dtype=bool, count=len(index))
    for column in columns:
        if column.kind not in ("vector", "other", "boxes"):
            words = (_searchable(cell) for cell in column.cells)
            held |= np.fromiter((wanted in word.casefold() for word in words), dtype=bool, count=len(index))
    return np.flatnonzero(held).astype(np.int64)


_OPERATORS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "=": operator.eq}


def _compared(cells: pd.Series[Any], text: str) -> npt.NDArray[np.bool_] | None:
    """Return where a comparison such as "> 3" holds; None for a text that is none, or a column that is not ordered."""
    match = _COMPARED.fullmatch(text.strip())
    dated = pd.api.types.is_datetime64_any_dtype(cells.dtype)
    if match is None or not (dated or pd.api.types.is_numeric_dtype(cells.dtype)):
        return None
    try:
        limit = pd.Timestamp(match[2]) if dated else float(match[2])
        held = _OPERATORS[match[1]](cells, limit)
    except (ValueError, TypeError):  # while it is being typed
        return None
    return np.asarray(held.fillna(False), dtype=bool)


def sorted_rows(column: Column, rows: npt.NDArray[np.int64], descending: bool) -> npt.NDArray[np.int64]:
    """Return positions of rows in the order of their cells in a column, missing ones last; equal ones keep theirs."""
    cells = column.cells.iloc[rows].reset_index(drop=True)
    try:
        order = cells.sort_values(ascending=not descending, kind="stable", na_position="last").index
    except TypeError:  # numbers among words
        words = cells.map(lambda cell: None if is_missing(cell) else str(cell))
        order = words.sort_values(ascending=not descending, kind="stable", na_position="last").index
    return np.asarray(rows[order.to_numpy()], dtype=np.int64)


def _searchable(cell: Any) -> str:
    if isinstance(cell, str):
        return "" if cell[:5].lower() == "data:" else cell
    if isinstance(cell, PurePath):
        return cell.name
    if isinstance(cell, bytes) or not pd.api.types.is_scalar(cell) or pd.isna(cell):
        return ""
    # Python refuses to write an integer of more than some thousand digits.
    return "" if isinstance(cell, int) and cell.bit_length() > 1_000 else str(cell)


def errors_of(failures: Failures, index: pd.Index[Any]) -> Errors:
    """Return the errors of the rows; None takes those of the last run, if it was on this very index."""
    if failures is False:
        return {}
    if failures is None:
        try:
            last = call.last_run()
        except LookupError:
            return {}
        return _by_position(last) if last.covers(index) else {}
    if isinstance(failures, Report):
        if failures.covers(index):
            return _by_position(failures)
        failures = failures.failures
    if not isinstance(failures, pd.DataFrame) or not {"row", "message"} <= set(failures.columns):
        raise TypeError("failures= takes a run such as cf.last_run(), or its .failures with row and message")
    errors: dict[Any, dict[str | None, tuple[object, str]]] = {}
    for each in failures.to_dict("records"):  # those of cf.enrich have a column, and no code
        errors.setdefault(each["row"], {})[each.get("column")] = (each.get("code"), str(each["message"]))
    twice = index.duplicated(keep=False)
    return {
        at: {
            name: (code, f"a row of this label: {why}" if twice[at] else why)
            for name, (code, why) in errors[label].items()
        }
        for at, label in enumerate(index)
        if label in errors
    }


def _by_position(report: Report) -> Errors:
    return {at: {None: (error.code, str(error))} for at, error in report.errors.items()}


def mark_of(data: rows.Frame, columns: Sequence[Column]) -> str:
    """Return the stamp where the data say that they come from the emulator or its local stand-in."""
    cells = (column.cells if column.kind == "vector" else column.cells.iloc[:0] for column in columns)
    return stand_in_of(data.iloc[:0], *cells)


# -- HTML --------------------------------------------------------------------------------------------------------------


def table(
    columns: Sequence[Column], rows: Sequence[int], index: pd.Index[Any], *, caption: str = "",
    errors: Errors | None = None, renderer: Renderer | None = None, ordered: tuple[str, bool] = ("", False),
    nothing: str = "",
) -> str:  # fmt: skip
    """Return the rows at these positions as an HTML table.

    `caption` is HTML; `errors` are shown in the column they name, or in those that the run left empty.  `ordered` names
    the column that the rows are sorted by, and whether it falls.
    """
    renderer = renderer or Renderer()
    errors = errors or {}
    failed = [row for row, why in errors.items() if None in why]
    empty = {at for at, column in enumerate(columns) if failed and column.cells.iloc[failed].isna().all()}
    tops = [_top(column, rows) for column in columns]
    pictures = [column for column in columns if column.kind == "image"]
    lines = []
    for row in rows:
        line = [f'<th scope="row">{markup.escape(index[row], 60)}</th>']
        for at, column in enumerate(columns):
            cell = column.cells.iloc[row]
            why = errors.get(row, {})
            if is_missing(cell) and (found := why.get(column.name) or (why.get(None) if at in empty else None)):
                shown = markup.failure(*found)
            elif column.kind == "value" and _is_share(column.name, cell):
                shown = f"{markup.bar(float(cell), width='48px')} {renderer.cell(cell, column.name)}"
            elif column.kind == "boxes" and len(pictures) == 1:  # otherwise it is not known which picture is meant
                of = pictures[0]
                shown = renderer.boxes(cell, of.cells.iloc[row], f"{column.name}, row {index[row]}", of.files)
            else:
                shown = column.html(row, f"{column.name}, row {index[row]}", renderer, tops[at])
            line.append(f'<td class="{_BY_KIND.get(column.kind, "")}">{shown}</td>')
        lines.append(f"<tr>{''.join(line)}</tr>")
    heads = [_head("row" if index.name is None else index.name, "", ordered)]
    heads += [_head(column.name, _BY_KIND.get(column.kind, ""), ordered) for column in columns]
    none = f'<div class="cfai-empty">{markup.escape(nothing)}</div>' if nothing and not rows else ""
    return markup.block(
        f'<div class="cfai-head">{caption}</div><div class="cfai-frame" role="region" tabindex="0" '
        f'aria-label="rows"><table class="cfai-table"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>{none}</div>",
        look=("table",),
    )


def _head(name: object, look: str, ordered: tuple[str, bool]) -> str:
    arrow = (" ▼" if ordered[1] else " ▲") if ordered[0] and str(name) == ordered[0] else ""
    sort = f' aria-sort="{"descending" if ordered[1] else "ascending"}"' if arrow else ""
    return f'<th scope="col" class="{look}"{sort}>{markup.escape(name, 60)}{arrow}</th>'


def _is_share(name: str, cell: Any) -> bool:
    return isinstance(cell, (float, np.floating)) and 0 <= float(cell) <= 1 and _SHARES.match(name) is not None


def _top(column: Column, rows: Sequence[int]) -> float | None:
    """Return the largest number among the vectors of a page, so that bars of one height mean one value."""
    if column.kind != "vector":
        return None
    cells = [np.asarray(cell, dtype=float) for cell in column.cells.iloc[list(rows)] if is_vector(cell)]
    tops = [float(np.nanmax(np.abs(cell), initial=0, where=np.isfinite(cell))) for cell in cells if len(cell)]
    return max(tops, default=None)


def plain_table(columns: Sequence[Column], rows: Sequence[int], index: pd.Index[Any]) -> str:
    """Return some rows as text."""
    cells = [[plain(column.cells.iloc[row]) for column in columns] for row in rows]
    labels = [markup.clean(str(index[row])) for row in rows]
    names = pd.Index([markup.clean(column.name) for column in columns], dtype=object)
    shown = pd.DataFrame(cells, columns=names, index=pd.Index(labels, dtype=object))
    return shown.to_string(max_colwidth=48)


def card(
    column: Column, captions: Sequence[Column], said: Sequence[Column], row: int, index: pd.Index[Any],
    renderer: Renderer,
) -> str:  # fmt: skip
    """Return one picture or sound as an HTML figure; without captions the row's label stands below it.

    `said` are columns with its spoken text.
    """
    below = [each.cells.iloc[row] for each in captions]
    words = " · ".join(cell if isinstance(cell, str) else plain(cell) for cell in below if not is_missing(cell))
    words = words or f"row {index[row]}"
    label = f"{column.name}, {words}"[:300]
    shown = column.html(row, label, renderer)
    texts = [renderer.cell(each.cells.iloc[row], f"{each.name}, {words}"[:300]) for each in said]
    quotes = "".join(f'<blockquote class="cfai-said">{text}</blockquote>' for text in texts)
    return markup.figure(shown, markup.passage(words, 120) + quotes, faded=False)


def cards(made: Sequence[tuple[str, bool]], *, caption: str, wide: bool = False) -> str:
    """Return figures, each with whether it is picked, side by side below a caption; `wide` gives each more room."""
    boxes = [
        f'<div class="{"cfai-picked" if picked else ""}">{markup.chip("✓ picked", "on") if picked else ""}{shown}</div>'
        for shown, picked in made
    ]
    grid = f'<div class="cfai-grid{" cfai-wide" * wide}">{"".join(boxes)}</div>'
    return markup.block(f'<div class="cfai-head">{caption}</div>{grid}', look=("table", "cards"))
