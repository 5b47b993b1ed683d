"""A page of rows as one piece of HTML: a table, or cards of pictures and sounds; and the table as plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import markup
from ..frame.reading import is_missing
from .cell import Renderer, is_vector, plain
from .columns import Column, Errors, failed_columns

_CELL = f"padding: .3em .6em; vertical-align: top; max-width: 24em; overflow: hidden; border-bottom: {markup.RULE}"
_HEAD = f"{_CELL}; text-align: left; font-weight: 600; white-space: nowrap"
_LABEL = (
    f"{_CELL}; text-align: left; font-weight: 600; max-width: 12em; overflow-wrap: break-word; overflow-wrap: anywhere"
)
_LEFT = "text-align: left"  # set on every cell: JupyterLab's own tables align to the right
_BY_KIND = {
    "image": f"{_LEFT}; min-width: 8em",
    "audio": f"{_LEFT}; min-width: 17em",
    "text": f"{_LEFT}; min-width: 6em",  # a short word is not broken to make room for long ones
    "value": "text-align: right; white-space: nowrap",
}


def table(
    columns: Sequence[Column],
    rows: Sequence[int],
    index: pd.Index[Any],
    *,
    caption: str = "",
    errors: Errors | None = None,
    renderer: Renderer | None = None,
) -> str:
    """Return some rows as an HTML table.

    Parameters
    ----------
    columns : sequence of Column
    rows : sequence of int
        Positions.
    index : Index
    caption : str
        HTML above the table.
    errors : mapping of position to (code, message), optional
        Shown in the columns the run left empty.
    renderer : Renderer, optional
    """
    renderer = renderer or Renderer()
    errors = errors or {}
    empty = failed_columns(columns, errors)
    tops = [_top(column, rows) for column in columns]
    lines = []
    for row in rows:
        line = [f'<th scope="row" style="{_LABEL}">{markup.escape(index[row], 60)}</th>']
        for at, column in enumerate(columns):
            if at in empty and row in errors and is_missing(column.cells.iloc[row]):
                shown = markup.failure(*errors[row])
            else:
                label = f"{column.name}, row {index[row]}"
                shown = renderer.cell(
                    column.cells.iloc[row], label, names=column.names, files=column.files, top=tops[at]
                )
            line.append(f'<td style="{_CELL}; {_BY_KIND.get(column.kind, _LEFT)}">{shown}</td>')
        lines.append(f"<tr>{''.join(line)}</tr>")
    names = ["row" if index.name is None else index.name, *(column.name for column in columns)]
    heads = "".join(f'<th scope="col" style="{_HEAD}">{markup.escape(name, 60)}</th>' for name in names)
    return markup.block(
        f'<table style="border-collapse: collapse; margin: 0">'
        f'<caption style="text-align: left; caption-side: top; padding: .3em 0">{caption}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>",
        "overflow-x: auto",
    )


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


def card(column: Column, captions: Sequence[Column], row: int, index: pd.Index[Any], renderer: Renderer) -> str:
    """Return one picture or sound as an HTML figure; without captions the row's label stands below it."""
    below = [each.cells.iloc[row] for each in captions]
    words = " · ".join(cell if isinstance(cell, str) else plain(cell) for cell in below if not is_missing(cell))
    words = words or f"row {index[row]}"
    label = f"{column.name}, {words}"[:300]
    shown = renderer.cell(column.cells.iloc[row], label, names=column.names, files=column.files)
    return markup.figure(shown, markup.passage(words, 120), faded=False)


def cards(made: Sequence[tuple[str, bool]], *, caption: str, width: str) -> str:
    """Return figures side by side.

    Parameters
    ----------
    made : sequence of (html, picked)
    caption : str
        HTML above them.
    width : str
        The width of each, in CSS.
    """
    style = f"display: inline-block; vertical-align: top; width: {width}; margin: 0 1em 1em 0; padding: .3em"
    boxes = [
        f'<div style="{style}; border: 2px solid {"#2f6fb3" if picked else "transparent"}; border-radius: 5px">'
        f"{'<b>✓ picked</b>' if picked else ''}{shown}</div>"
        for shown, picked in made
    ]
    return markup.block(f'<div style="padding: .3em 0">{caption}</div>{"".join(boxes)}')
