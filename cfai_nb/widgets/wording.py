"""Text of cells, models and columns, made fit to be shown: it comes from outside and may hold anything."""

from __future__ import annotations

import html
from typing import Any

#: Longer texts are cut where they are shown.
LONG = 400


def clean(value: Any, width: int = LONG) -> str:
    """Return a cell as one line of text that any frontend can carry.

    Half characters become "?", control characters (also those that turn the direction of writing) are dropped, and
    what is longer than `width` characters ends in "…".
    """
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text[: 4 * width].split())  # a cell can be a megabyte
    if not text.isprintable():
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = " ".join("".join(letter for letter in text if letter.isprintable()).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def fragment(value: Any, width: int = LONG) -> str:
    """Return a cell as HTML that is nothing but its text, also within an attribute in quotes."""
    return html.escape(clean(value, width), quote=True)


def counted(count: int, what: str = "row") -> str:
    """Write a count: "1 row", "1,200 rows"."""
    return f"{count:,} {what}{'s' * (count != 1)}"
