"""The rows a playground tries: chosen once, and the same for every variant and version.

In: a frame, and a column or the labels of rows.  Out: their positions, their texts for the page, and each of them as a
frame of one row to call a verb on.
"""

from __future__ import annotations

import contextlib
import string
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import pandas as pd

from ...frame import rows

#: A playground shows every answer; all rows are for ``apply``.
MAX_ROWS = 50


class SampleRows:
    """A few rows of a frame, by position; `columns` are the names of its columns in a prompt."""

    def __init__(self, data: rows.Frame) -> None:
        self.data = data
        self.positions: list[int] = []
        if isinstance(data, pd.Series):
            self.columns = [str(data.name) if data.name is not None else "value"]
        else:
            self.columns = [str(name) for name in data.columns]

    @property
    def series(self) -> tuple[str, ...]:
        """The name of a Series; empty for a DataFrame."""
        return tuple(self.columns) if isinstance(self.data, pd.Series) else ()

    def choose_first(self, n: int, on: str | None) -> None:
        """Choose the first rows that have text, in this column if one is given."""
        cells: Any = self.data
        if on is not None and isinstance(cells, pd.DataFrame) and on in cells.columns:
            cells = cells[on]
        full = cells.notna().any(axis=1) if isinstance(cells, pd.DataFrame) else cells.notna()
        self._choose(full.to_numpy().nonzero()[0][: max(1, n)].tolist())

    def choose(self, labels: Sequence[Hashable]) -> None:
        """Choose rows by their labels."""
        found = []
        for label in labels:
            places = (self.data.index == label).nonzero()[0].tolist()
            if not places:
                raise ValueError(f"There is no row {label!r}.")
            found += places
        self._choose(found)

    def _choose(self, positions: list[int]) -> None:
        if len(positions) > MAX_ROWS:
            raise ValueError(
                f"{len(positions)} rows: a playground tries at most {MAX_ROWS}; p.apply() runs all of the frame."
            )
        if not positions:
            raise ValueError("There are no rows with text to try.")
        self.positions = positions

    def first_prompt(self, on: str | None) -> str:
        """Return the prompt to start with: the named column in braces, or the template itself."""
        if on is None:
            return "{" + self.columns[0] + "}" if isinstance(self.data, pd.Series) else ""
        if isinstance(on, str) and "{" in on:
            return on
        rows.rows_of(self.data.iloc[:0], on, template=False)  # raises if there is no such column
        return "{" + str(on) + "}"

    def each(self) -> list[rows.Frame]:
        """Return the rows as frames of one row."""
        return [self.data.iloc[[at]] for at in self.positions]

    def texts(self, prompt: str) -> list[tuple[Hashable, str]]:
        """Return label and text of each row: of the columns the prompt names, or of all."""
        chosen = self.data.iloc[self.positions]
        if isinstance(chosen, pd.Series):
            return [(label, str(value)) for label, value in zip(chosen.index, chosen, strict=True)]
        names = set(_named(prompt))
        if names & set(self.columns):
            chosen = chosen[[column for column in chosen.columns if str(column) in names]]
        several = chosen.shape[1] > 1
        return [
            (label, "\n".join(f"{name}: {value}" if several else str(value) for name, value in cells.items()))
            for label, (_, cells) in zip(chosen.index, chosen.iterrows(), strict=True)
        ]


def _named(prompt: str) -> Iterator[str]:
    """Yield the names in braces; an incomplete prompt may not be a valid template."""
    with contextlib.suppress(ValueError):
        yield from (name for _, name, _, _ in string.Formatter().parse(prompt) if name)


def name_of(thing: object) -> str | None:
    """Return the variable of the notebook that holds an object."""
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    names = () if shell is None else tuple(shell.user_ns.items())
    return next((name for name, value in names if value is thing and not name.startswith("_")), None)
