"""The rows a playground tries: chosen once, and the same for every variant and version."""

from __future__ import annotations

import contextlib
import string
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import pandas as pd

from ...frame import rows as frames

#: A playground is for looking; all rows are for ``apply``.
MOST_ROWS = 50


class Pins:
    """A few rows of a frame.

    Attributes
    ----------
    data : DataFrame or Series
    columns : list of str
        By the names they have in a prompt.
    positions : list of int
    """

    def __init__(self, data: frames.Frame) -> None:
        self.data = data
        self.positions: list[int] = []
        if isinstance(data, pd.Series):
            self.columns = [str(data.name) if data.name is not None else "value"]
        else:
            self.columns = [str(name) for name in data.columns]

    @property
    def series(self) -> tuple[str, ...]:
        """Of a Series: its name."""
        return tuple(self.columns) if isinstance(self.data, pd.Series) else ()

    def first(self, n: int, on: str | None) -> None:
        """Pin the first rows that have text, in this column if one is given."""
        cells: Any = self.data
        if on is not None and isinstance(cells, pd.DataFrame) and on in cells.columns:
            cells = cells[on]
        full = cells.notna().any(axis=1) if isinstance(cells, pd.DataFrame) else cells.notna()
        self._pin(full.to_numpy().nonzero()[0][: max(1, n)].tolist())

    def opening(self, on: str | None) -> str:
        """Return the prompt to begin with: the column that was named."""
        if on is None:
            return "{" + self.columns[0] + "}" if isinstance(self.data, pd.Series) else ""
        if isinstance(on, str) and "{" in on:
            return on
        rows = self.data.iloc[:0]
        frames.rows_of(rows, on, template=False)  # says what is wrong with the name, if something is
        return "{" + str(on) + "}"

    def these(self, labels: Sequence[Hashable]) -> None:
        """Pin rows by their labels."""
        found = []
        for label in labels:
            places = (self.data.index == label).nonzero()[0].tolist()
            if not places:
                raise ValueError(f"There is no row {label!r}.")
            found += places
        self._pin(found)

    def _pin(self, positions: list[int]) -> None:
        if len(positions) > MOST_ROWS:
            raise ValueError(
                f"{len(positions)} rows: a playground tries at most {MOST_ROWS}; p.apply() takes them all."
            )
        if not positions:
            raise ValueError("There are no rows with text to try.")
        self.positions = positions

    def each(self) -> list[frames.Frame]:
        """Return the pinned rows as frames of one row."""
        return [self.data.iloc[[at]] for at in self.positions]

    def texts(self, prompt: str) -> list[tuple[Hashable, str]]:
        """Return label and text of each pinned row: of the columns the prompt names, or of all."""
        rows = self.data.iloc[self.positions]
        if isinstance(rows, pd.Series):
            return [(label, str(value)) for label, value in zip(rows.index, rows, strict=True)]
        names = set(named(prompt))
        shown = rows[[column for column in rows.columns if str(column) in names]] if names & set(self.columns) else rows
        several = shown.shape[1] > 1
        return [
            (label, "\n".join(f"{name}: {value}" if several else str(value) for name, value in cells.items()))
            for label, (_, cells) in zip(rows.index, shown.iterrows(), strict=True)
        ]


def named(prompt: str) -> Iterator[str]:
    """Yield the names in braces; a prompt in the making may be no template yet."""
    with contextlib.suppress(ValueError):
        yield from (name for _, name, _, _ in string.Formatter().parse(prompt) if name)


def name_of(thing: object) -> str | None:
    """What the notebook calls something."""
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    names = () if shell is None else tuple(shell.user_ns.items())
    return next((name for name, value in names if value is thing and not name.startswith("_")), None)
