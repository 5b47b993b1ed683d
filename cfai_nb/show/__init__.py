"""How cells look: any cell as a piece of HTML that is safe to show, and pages of them; without widgets or kernel."""

from .cards import cards
from .cell import Renderer
from .columns import Column, files, found, named
from .rows import errors_of, mark_of, matching
from .table import plain_table, table

__all__ = [
    "Column",
    "Renderer",
    "cards",
    "errors_of",
    "files",
    "found",
    "mark_of",
    "matching",
    "named",
    "plain_table",
    "table",
]
