"""A review without its card: which rows are drawn, how they were marked, and how right the answers are.

A frame, a model's answers and a name come in; rows to label, gold and an accuracy with its interval go out.  The card
of `widgets.review` shows it and sends the user's keys here.  Each mark is handed to the store at once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .. import session
from .._engine.store.reviews import Mark, State, write_review
from .._engine.store.store import Store
from ..errors import StoreError, hint
from ..quality import Estimate, accuracy, draw
from . import rows
from .gold import contents, digests, frame_of, laid, read_marks, weights_on
from .reading import is_missing

#: The most labels among which one is chosen with a key or a click.
MOST_LABELS = 100
_P = "p__"


@dataclass(frozen=True)
class Guess:
    """A model's answers, as a review needs them."""

    answers: npt.NDArray[np.object_]  # None where missing
    labels: list[Any]  # what can be answered
    p: npt.NDArray[np.float64] | None  # the probabilities, a column a label
    unsure: npt.NDArray[np.float64]  # 1 - the probability of the answer; 1 where nothing is known of it


def read_guess(data: rows.Frame, guess: Any, labels: Sequence[Any] | None) -> Guess:
    """Read a column of answers, or what a verb returns with ``probabilities=True``."""
    guess = rows.laid_on(data, guess, "guess")
    beside = guess.iloc[:, 1:] if isinstance(guess, pd.DataFrame) else pd.DataFrame(index=guess.index)
    column: pd.Series[Any] = guess.iloc[:, 0] if isinstance(guess, pd.DataFrame) else guess
    answers = np.array([None if is_missing(cell) else _plain(cell) for cell in column], dtype=object)
    known = _labels(column, answers, beside, labels)
    p = _probabilities(beside, known)
    if p is not None:
        places = {label: at for at, label in enumerate(known)}
        found = [p[at, places[cell]] if cell in places else 0.0 for at, cell in enumerate(answers)]
        unsure = 1 - np.nan_to_num(np.array(found, dtype=np.float64))
    elif "confidence" in beside:
        unsure = 1 - beside["confidence"].to_numpy(dtype=np.float64, na_value=0.0)
    else:
        unsure = np.ones(len(answers))
    return Guess(answers, known, p, np.clip(unsure, 0, 1))


def _plain(cell: Any) -> Any:
    """Return a cell as JSON holds it."""
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if not isinstance(cell, (str, bool, int, float)):
        raise TypeError(f"guess holds {type(cell).__name__}; a review takes labels: texts, True and False, or numbers.")
    return cell


def _labels(column: pd.Series[Any], answers: Any, beside: pd.DataFrame, given: Sequence[Any] | None) -> list[Any]:
    if given is not None:
        found = [_plain(label) for label in given]
    elif isinstance(column.dtype, pd.CategoricalDtype):
        found = [_plain(label) for label in column.cat.categories]
    else:
        found = [str(name).removeprefix(_P) for name in beside if str(name).startswith(_P)]
        values = set(answers.tolist()) - {None}
        if values and values <= {True, False} and all(isinstance(value, bool) for value in values):
            found = [True, False]
        found = [*found, *sorted(values - set(found), key=lambda value: (type(value).__name__, value))]
    if not 2 <= len(found) <= MOST_LABELS or len(set(found)) < len(found):
        raise ValueError(f"labels: a review chooses among 2 to {MOST_LABELS} different labels, not {len(found)}.")
    return found


def _probabilities(beside: pd.DataFrame, labels: Sequence[Any]) -> npt.NDArray[np.float64] | None:
    if labels == [True, False] and "p" in beside:
        yes = beside["p"].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.column_stack([yes, 1 - yes])
    named = {str(name).removeprefix(_P): name for name in beside if str(name).startswith(_P)}
    if not named:
        return None
    empty = np.zeros(len(beside))
    columns = [
        beside[named[str(label)]].to_numpy(dtype=np.float64, na_value=np.nan) if str(label) in named else empty
        for label in labels
    ]
    return np.column_stack(columns)


class ReviewState:
    """The rows of a review and their marks, in the order of the cards.

    ``at`` has for each card the position of its row (of equal rows, the first); ``notes`` is what is to be known about
    the rows.
    """

    def __init__(
        self, data: rows.Frame, on: Any, guess: Any, n: int, name: str, labels: Sequence[Any] | None, random_state: int
    ) -> None:  # fmt: skip
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"name={name!r}: give the review a name, under which its labels are kept.")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n={n!r}: give a number of rows of at least 1.")
        self.name = name
        self.notes: list[str] = []
        self._index = data.index
        self._contents = contents(data, on)
        self._digests = digests(self._contents)
        self.guess = read_guess(data, guess, labels)
        self._first: dict[bytes, int] = {}
        self._copies: dict[bytes, int] = {}
        for at, row in enumerate(self._digests):
            if row is not None:
                self._first.setdefault(row, at)
                self._copies[row] = self._copies.get(row, 0) + 1
        if not self._first:
            raise ValueError("no row has content, so there is nothing to review.")
        self._store: Store | None = session.current().store()
        kept = [] if self._store is None else read_marks(self._store, name)
        self.marks = self._resumed(kept, n) if kept else self._drawn(n, random_state)
        self.at = [self._first[mark.row] for mark in self.marks]
        self._place = {mark.row: place for place, mark in enumerate(self.marks)}
        given = [mark.label for mark in self.marks if mark.state == "label"]
        self.guess.labels.extend(label for label in dict.fromkeys(given) if label not in self.guess.labels)
        self.stored = self._store is not None

    def _drawn(self, n: int, seed: int) -> list[Mark]:
        """Draw distinct rows: unsure ones, and those that stand for many, more often."""
        distinct = list(self._first)
        unsure = np.array([self.guess.unsure[at] * self._copies[row] for row, at in self._first.items()])
        chosen, chance = draw(unsure, n, seed=seed)
        marks = [
            Mark(distinct[row], place, float(chance[row]), len(distinct)) for place, row in enumerate(chosen.tolist())
        ]
        if self._store is not None:
            write_review(self._store, self.name, marks)
        return marks

    def _resumed(self, kept: Sequence[Mark], n: int) -> list[Mark]:
        """Return the rows drawn before, as far as they are in this frame."""
        drawn, population = len(kept), kept[0].population
        if min(n, population) != drawn:
            raise ValueError(
                f"The review {self.name!r} was drawn with n={drawn}: give that, or another name for another draw."
            )
        found = [mark for mark in kept if mark.row in self._first]
        if not found:
            raise ValueError(
                f"The review {self.name!r} is about other rows: none of its {drawn:,} rows is in this frame. "
                "Give another name."
            )
        if len(found) < drawn:
            self.notes.append(f"{drawn - len(found):,} of its {drawn:,} rows are not in this frame")
        if len(self._first) != population:
            self.notes.append(f"drawn from {population:,} distinct rows; this frame has {len(self._first):,}")
        return found

    def content(self, place: int) -> Any:
        """Return what a card shows."""
        return self._contents[self.at[place]]

    def answer(self, place: int) -> Any:
        """Return the model's answer to the row of a card."""
        return self.guess.answers[self.at[place]]

    # -- marks ----------------------------------------------------------------------------------------------------

    def place_of(self, row: Hashable) -> int:
        """Return the card of a row, given by its label in the index."""
        found = self._index.get_indexer_for(pd.Index([row]))
        places = {self._place.get(self._digests[at] or b"") for at in found if at >= 0}
        if len(places) != 1 or None in places:
            why = (
                "is not in the frame" if found[0] < 0 else "names several rows" if len(places) > 1 else "was not drawn"
            )
            raise LookupError(f"row {row!r} {why}: .rows lists the rows of this review.")
        return int(places.pop() or 0)

    def mark(self, place: int, state: State, label: Any = None) -> None:
        """Say something of a row; it is handed to the store at once."""
        if state == "label":
            label = _plain(label)
            if label not in self.guess.labels:
                known = self.guess.labels
                listed = ", ".join(map(repr, known[:20]))
                raise ValueError(f"{label!r} is not one of the labels.{hint(label, known)} Labels: {listed}.")
        latest = max((mark.time for mark in self.marks), default=0.0)
        moment = 0.0 if state == "open" else max(time.time(), np.nextafter(latest, np.inf))
        self._keep(place, state=state, label=label if state == "label" else None, time=float(moment))

    def note(self, place: int, text: str) -> None:
        """Write a note to a row."""
        self._keep(place, note=text.strip())

    def _keep(self, place: int, **changes: Any) -> None:
        self.marks[place] = dataclasses.replace(self.marks[place], **changes)
        if self._store is not None:
            write_review(self._store, self.name, [self.marks[place]])

    def undo(self) -> int | None:
        """Take back the last mark; return its card, None if there is none."""
        marked = [(mark.time, place) for place, mark in enumerate(self.marks) if mark.state != "open"]
        if not marked:
            return None
        self.mark(max(marked)[1], "open")
        return max(marked)[1]

    def reopen(self) -> None:
        """Show the rows that were skipped again."""
        for place, mark in enumerate(self.marks):
            if mark.state == "skipped":
                self.mark(place, "open")

    def flush(self) -> StoreError | None:
        """Wait until everything is on the disk; return what prevents it."""
        if self._store is None:
            return None
        self._store.flush()
        return self._store.writer.trouble()

    # -- what comes of it ------------------------------------------------------------------------------------------

    def count(self, state: State) -> int:
        """Return how many rows are in a state."""
        return sum(mark.state == state for mark in self.marks)

    @property
    def accuracy(self) -> Estimate | None:
        """How often the answers are right among all rows of the frame; None before the first label."""
        labelled = [place for place, mark in enumerate(self.marks) if mark.state == "label"]
        labelled = [place for place in labelled if self.answer(place) is not None]
        if not labelled:
            return None
        answers, labels = np.empty(len(labelled), dtype=object), np.empty(len(labelled), dtype=object)
        answers[:] = [self.answer(place) for place in labelled]
        labels[:] = [self.marks[place].label for place in labelled]
        # An input that occurs twice counts twice.
        marks = [self.marks[place] for place in labelled]
        chances = np.array([mark.chance / self._copies[mark.row] for mark in marks])
        return accuracy(answers, labels, None if np.ptp(chances) < 1e-12 else chances)

    @property
    def gold(self) -> pd.Series[Any]:
        """The labels on the index of the frame."""
        found = laid(self._digests, {mark.row: mark.label for mark in self.marks if mark.state == "label"})
        return pd.Series(found, index=self._index, name=self.name, dtype=object)

    @property
    def weights(self) -> pd.Series[float]:
        """With which probability each row was drawn; one of equal rows has it, divided by how many there are."""
        return weights_on(self._index, self._digests, self.marks)

    @property
    def rows(self) -> list[Any]:
        """Labels of the rows in the index, in the order of the cards."""
        return [self._index[at] for at in self.at]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows drawn with content, answer and mark."""
        frame = frame_of(self.marks).set_axis(pd.Index(self.rows, name=self._index.name))
        frame.insert(
            0, "guess", pd.Series([self.answer(at) for at in range(len(self.marks))], frame.index, dtype=object)
        )
        shown = [self.content(at) for at in range(len(self.marks))]
        frame.insert(0, "content", pd.Series(shown, frame.index, dtype=object))
        return frame
