"""A page of pictures or sounds, each with its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .. import markup
from .cell import Renderer, plain
from .cell_kind import is_missing
from .columns import Column


def card(column: Column, captions: Sequence[Column], row: int, index: pd.Index[Any], renderer: Renderer) -> str:
    """Return one picture or sound as an HTML figure with its caption."""
    words = caption_of(captions, row) or f"row {index[row]}"
    shown = renderer.cell(
        column.cells.iloc[row], f"{column.name}, {words}"[:300], names=column.names, files=column.files
    )
    return markup.figure(shown, markup.passage(words, 120), faded=False)


def caption_of(captions: Sequence[Column], row: int) -> str:
    """Return the words beneath a card."""
    cells = [column.cells.iloc[row] for column in captions]
    return " · ".join(cell if isinstance(cell, str) else plain(cell) for cell in cells if not is_missing(cell))


def cards(made: Sequence[tuple[str, bool]], *, caption: str, wide: str) -> str:
    """Return figures as one piece of HTML.

    Parameters
    ----------
    made : sequence of (html, picked)
    caption : str
        HTML above them.
    wide : str
        The width of each, in CSS.
    """
    style = f"display: inline-block; vertical-align: top; width: {wide}; margin: 0 1em 1em 0; padding: .3em"
    lines = [
        f'<div style="{style}; border: 2px solid {"#2f6fb3" if picked else "transparent"}; border-radius: 5px">'
        f"{'<b>✓ picked</b>' if picked else ''}{shown}</div>"
        for shown, picked in made
    ]
    return markup.block(f'<div style="padding: .3em 0">{caption}</div>{"".join(lines)}')
