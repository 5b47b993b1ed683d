"""Cells of a frame as HTML that is safe to show: one cell, a table of rows, or cards; without widgets and kernel.

Frames and cells come in, strings of HTML go out. Widgets, and the vectors, pictures and sounds that show themselves,
use it.
"""

from .cell import LIVE_SOUND, SOUND, CellKind, Renderer, plain
from .saved_page import WAVES
from .saved_page import save as save_page
from .table import (
    Column,
    Failures,
    card,
    cards,
    choose_columns,
    errors_of,
    mark_of,
    matching_rows,
    media_column,
    named_columns,
    plain_table,
    sorted_rows,
    table,
)

__all__ = [
    "LIVE_SOUND",
    "SOUND",
    "WAVES",
    "CellKind",
    "Column",
    "Failures",
    "Renderer",
    "card",
    "cards",
    "choose_columns",
    "errors_of",
    "mark_of",
    "matching_rows",
    "media_column",
    "named_columns",
    "plain",
    "plain_table",
    "save_page",
    "sorted_rows",
    "table",
]
