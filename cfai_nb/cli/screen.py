"""What the commands print with, and how they say that they were not understood."""

from __future__ import annotations

from collections.abc import Sequence


class Usage(Exception):
    """The command cannot be meant like that."""


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip())


def count(number: float, noun: str) -> str:
    """Write a number of things: ``1 request``, ``2,000 requests``."""
    return f"{number:,.0f} {noun}" + ("" if number == 1 else "s")
