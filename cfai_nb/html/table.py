"""A page of rows as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .. import markup
from .cell import Renderer, plain
from .cell_kind import is_missing, is_vector
from .columns import Column
from .rows import Errors, failed_in

_CELL = f"padding: .3em .6em; vertical-align: top; max-width: 24em; overflow: hidden; border-bottom: {markup.RULE}"
_HEAD = f"{_CELL}; text-align: left; font-weight: 600; white-space: nowrap"
_LABEL = (
    f"{_CELL}; text-align: left; font-weight: 600; max-width: 12em; overflow-wrap: break-word; overflow-wrap: anywhere"
)
_LEFT = "text-align: left"  # said of every cell: JupyterLab's own tables are set to the right
_SIDE = {
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
        Shown where the run left nothing.
    renderer : Renderer, optional
    """
    renderer = renderer or Renderer()
    errors = errors or {}
    empty = failed_in(columns, errors)
    tops = [_top(column, rows) for column in columns]
    lines = []
    for row in rows:
        label = markup.said(index[row], 60)
        line = [f'<th scope="row" style="{_LABEL}">{label}</th>']
        for at, column in enumerate(columns):
            value = column.cells.iloc[row]
            if at in empty and row in errors and is_missing(value):
                shown = markup.failure(*errors[row])
            else:
                words = f"{column.name}, row {index[row]}"
                shown = renderer.cell(value, words, names=column.names, files=column.files, top=tops[at])
            line.append(f'<td style="{_CELL}; {_SIDE.get(column.sort, _LEFT)}">{shown}</td>')
        lines.append(f"<tr>{''.join(line)}</tr>")
    heads = "".join(f'<th scope="col" style="{_HEAD}">{markup.said(column.name, 60)}</th>' for column in columns)
    return markup.block(
        f'<table style="border-collapse: collapse; margin: 0">'
        f'<caption style="text-align: left; caption-side: top; padding: .3em 0">{caption}</caption>'
        f'<thead><tr><th scope="col" style="{_HEAD}">{markup.said(_name(index), 60)}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>",
        "overflow-x: auto",
    )


def plain_table(columns: Sequence[Column], rows: Sequence[int], index: pd.Index[Any]) -> str:
    """Return some rows as text."""
    cells = [[plain(column.cells.iloc[row]) for column in columns] for row in rows]
    labels = [markup.clean(str(index[row])) for row in rows]
    names = pd.Index([markup.clean(column.name) for column in columns], dtype=object)
    shown = pd.DataFrame(cells, columns=names, index=pd.Index(labels, dtype=object))
    return shown.to_string(max_colwidth=48)


def _name(index: pd.Index[Any]) -> str:
    return "row" if index.name is None else str(index.name)


def _top(column: Column, rows: Sequence[int]) -> float | None:
    """The largest number among the vectors of a page: bars of one height mean one value."""
    if column.sort != "vector":
        return None
    cells = [np.asarray(cell, dtype=float) for cell in column.cells.iloc[list(rows)] if is_vector(cell)]
    tops = [float(np.nanmax(np.abs(cell), initial=0, where=np.isfinite(cell))) for cell in cells if len(cell)]
    return max(tops, default=None)
