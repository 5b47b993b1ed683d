"""How cells look: any cell as a piece of HTML that is safe to show, and pages of them; without widgets or kernel."""

from .cards import cards
from .cell import Renderer
from .columns import Column, found, media_column, named
from .rows import errors_of, mark_of, matching
from .table import plain_table, table

__all__ = [
    "Column",
    "Renderer",
    "cards",
    "errors_of",
    "found",
    "mark_of",
    "matching",
    "media_column",
    "named",
    "plain_table",
    "table",
]
