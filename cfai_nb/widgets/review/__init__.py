"""The review card: rows of a model's answers, judged with single keys, of which gold and an accuracy come.

In: a frame, the answers, and how many rows.  Out: `Review`, which ``df.cfai.review`` returns; the widget of its card,
made with anywidget when it is displayed (the next cards must be painted before the kernel answers, so they are drawn in
the browser).  The answers of the user go to `frame.review`, which keeps them in the store.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import anywidget
import pandas as pd
import traitlets

from ... import html, session
from ...errors import CfaiError, takes_options
from ...frame import rows
from ...frame.review import ReviewState
from ...html import markup
from ...media import Parts, text_of
from ...quality import Estimate
from ...vectors.vector import stand_in_of
from .. import table
from ..base import bundle
from ..cell import LIVE_SOUND, Renderer

_HERE = Path(__file__).parent
#: Of how many cards one hides the answer, so that it can be seen whether showing it sways the user.
_BLIND = 5
#: Characters of HTML of cards that are sent to the browser ahead, and cards that are sent in any case.
_AHEAD, _LEAST = 1_500_000, 8
#: Pixels of a picture's longer side, and characters of a text.
_SIDE, _LONGEST = 400, 20_000
_STATES = ("label", "skipped", "unclear")


class _Card(anywidget.AnyWidget):
    """The view of a review: its traits go to the browser, its messages come from there."""

    _esm = _HERE / "card.js"
    _css = markup.rules() + (_HERE / "card.css").read_text("utf-8")

    name = traitlets.Unicode().tag(sync=True)
    mark = traitlets.Unicode().tag(sync=True)
    labels: Any = traitlets.List().tag(sync=True)
    about: Any = traitlets.List(help="of each card: guess, p, blind").tag(sync=True)
    cards = traitlets.Dict(help="HTML by place, of the first cards").tag(sync=True)
    marks = traitlets.Dict(help="the state of each row, and which messages that includes").tag(sync=True)
    head = traitlets.Dict().tag(sync=True)
    place = traitlets.Int().tag(sync=True)
    made = traitlets.Float().tag(sync=True)


class Review:
    """Judge a model's answers with single keys; every key is kept, and gives gold and an accuracy with its interval.

    Rows are drawn with recorded probabilities, unsure ones more often, so that the accuracy of those you label holds
    for all rows of the frame.  The next card is shown before the kernel answers.  On every fifth card the model's
    answer is hidden.  Every key is stored under the name of the review: it goes on after a restart and in another
    notebook.

    Parameters
    ----------
    data : DataFrame or Series
    on : column or template, optional
        What a card shows: a column of texts, pictures or sounds, or a template with ``{column}`` in it.  A Series needs
        none.
    guess : Series, DataFrame, list or column name
        The model's answers; with ``probabilities=True``, unsure rows are drawn more often and bars are shown.
    n : int
        How many rows to review; of equal rows one.
    name : str
        Under which the labels are kept in the store, with digests of the rows and without their texts.
    labels : list, optional
        What can be answered; default: the categories or values of the guess.
    random_state : int
        For the draw.
    files : path, optional
        The folder in which texts may name files.  Default: that of ``cf.connect(files=...)``, or none.

    Attributes
    ----------
    accuracy : Estimate or None
        How often the answers are right in the whole frame, with its interval; None before the first label.
    gold, weights : Series
        The labels, and with which probability each row was drawn; on the index of the frame, missing elsewhere.
    rows : list
        Labels of the drawn rows in the index, in the order of the cards.

    Raises
    ------
    ValueError
        The review of this name is about other rows or another ``n``, or there are no labels to choose among.
    ColumnError
        A column does not exist.

    Examples
    --------
    >>> guess = df.cfai.classify("text", ["billing", "shipping"], probabilities=True)
    >>> review = df.cfai.review("text", guess, n=60, name="topics")
    >>> review.label(review.rows[0], "billing")
    >>> review.accuracy.words
    """

    @takes_options()
    def __init__(
        self, data: rows.Frame, on: Any = None, guess: Any = None, *, n: int = 60, name: str = "review",
        labels: Sequence[Any] | None = None, random_state: int = 0, files: Any = None,
    ) -> None:  # fmt: skip
        if guess is None and isinstance(data, pd.Series):  # s.cfai.review(guess)
            on, guess = None, on
        if guess is None:
            raise TypeError("review() needs the answers to review: df.cfai.review('text', guess).")
        self._state = ReviewState(data, on, guess, n, name, labels, random_state)
        column = rows.column_of(data, on)
        folder = session.files_folder(files)
        self._column = None if column is None else table.named_columns(column, rows.name_of(column), files=folder)[0]
        self._mark = stand_in_of(*[each.iloc[:0] for each in (guess, data) if hasattr(each, "iloc")])
        self._seen: dict[str, int] = {}
        self._error = ""
        self._card: _Card | None = None

    # -- from Python -----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of the review in the store."""
        return self._state.name

    @property
    def rows(self) -> list[Any]:
        """Labels of the drawn rows in the index, in the order of the cards."""
        return self._state.rows

    @property
    def gold(self) -> pd.Series[Any]:
        """The labels on the index of the frame; missing where there is none."""
        return self._state.gold

    @property
    def weights(self) -> pd.Series[float]:
        """With which probability each row was drawn, for ``cf.quality``; missing where it was not.

        Of rows with equal content one has it, divided by how many there are: their one label is one row of gold.
        """
        return self._state.weights

    @property
    def accuracy(self) -> Estimate | None:
        """How often the answers are right in the whole frame, with its interval; None before the first label."""
        return self._state.accuracy

    def label(self, row: Hashable, label: Any) -> None:
        """Set the right answer of a row, given by its label in the index.

        Raises
        ------
        LookupError
            The row was not drawn.
        ValueError
            It is not one of the labels.
        """
        self._state.mark(self._state.place_of(row), "label", label)
        self._refresh()

    def skip(self, row: Hashable) -> None:
        """Leave a row for later."""
        self._state.mark(self._state.place_of(row), "skipped")
        self._refresh()

    def cannot_tell(self, row: Hashable) -> None:
        """Mark a row as unclear: its right answer cannot be decided."""
        self._state.mark(self._state.place_of(row), "unclear")
        self._refresh()

    def note(self, row: Hashable, text: str) -> None:
        """Write a note to a row."""
        self._state.note(self._state.place_of(row), text)
        self._refresh()

    def undo(self) -> Any:
        """Take back the last mark, also one from before a restart; return its row, or None if no row is marked."""
        place = self._state.undo()
        self._refresh()
        return None if place is None else self.rows[place]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows drawn: ``content, guess, state, label, note, weight, time`` and ``blind``.

        Returns
        -------
        DataFrame
            ``state`` is ``"open"``, ``"label"``, ``"skipped"`` or ``"unclear"``; ``blind`` says whether the card hid
            the model's answer.
        """
        frame = self._state.to_frame()
        return frame.assign(blind=[self._blind(place) for place in range(len(frame))])

    @takes_options()
    def save(self, path: str | Path, *, title: str = "Review") -> Path:
        """Write the rows drawn and their labels as one page of HTML, which sorts and filters without a kernel.

        The page loads nothing from elsewhere, and runs nothing that a cell holds.

        Parameters
        ----------
        path : path
        title : str

        Returns
        -------
        Path
            Of the file.

        Examples
        --------
        >>> review.save("review.html")
        """
        state, frame = self._state, self.to_frame()
        known = frame["label"].notna() & frame["guess"].notna()
        right = (frame["label"] == frame["guess"]).map({True: "right", False: "wrong"}).where(known)
        content, given = self._column, frame["content"].map(text_of)
        shown = (
            table.named_columns(given, "content")[0]
            if content is None
            else dataclasses.replace(content, cells=content.cells.iloc[state.at])
        )
        further = table.named_columns(frame.assign(right=right), ["guess", "label", "right", "state", "note"])
        renderer = Renderer(sound=LIVE_SOUND, zooms=True)
        caption = markup.badge(self._mark) + markup.soft(self._words())
        places = range(len(frame))
        return html.save(
            path, title, table.table([shown, *further], places, frame.index, caption=caption, renderer=renderer)
        )

    # -- the card --------------------------------------------------------------------------------------------------

    @staticmethod
    def _blind(place: int) -> bool:
        return place % _BLIND == _BLIND - 1

    @property
    def card(self) -> Any:
        """The widget, created on first use."""
        if self._card is None:
            state = self._state
            self._card = _Card(
                name=markup.line(state.name, 60), mark=self._mark,
                labels=[_word(label) for label in state.guess.labels],
                about=[self._about(place) for place in range(len(state.marks))], cards=self._ahead(self._next()),
                marks=self._marks(), head=self._head(), place=self._next(), made=1_000 * time.time(),
            )  # fmt: skip
            self._card.on_msg(self._received)
        return self._card

    def _next(self) -> int:
        """Return the card to go on with: the first open one after the one that was marked last."""
        marks = self._state.marks
        last = max(range(len(marks)), key=lambda place: marks[place].time)
        start = last + 1 if marks[last].time else 0
        order = [*range(start, len(marks)), *range(start)]
        return next((place for place in order if marks[place].state == "open"), 0)

    def _about(self, place: int) -> dict[str, Any]:
        guess, answer = self._state.guess, self._state.answer(place)
        p = None if guess.p is None else guess.p[self._state.at[place]]
        known = answer is not None and answer in guess.labels
        return {
            "guess": guess.labels.index(answer) if known else -1,
            "p": None if p is None else [None if value != value else round(float(value), 4) for value in p],
            "blind": self._blind(place),
        }

    def _shown(self, place: int) -> str:
        """Return the row of a card as HTML."""
        at, content = self._state.at[place], self._state.content(place)
        label = f"row {self._state.rows[place]}"
        renderer = Renderer(side=_SIDE, sound=LIVE_SOUND)
        if self._column is not None and (self._column.kind in ("image", "audio") or not isinstance(content, str)):
            return self._column.html(at, label, renderer)
        pieces = content.pieces if isinstance(content, Parts) else (content,)
        return "".join(
            f'<span style="{markup.TEXT}">{markup.escape(piece, _LONGEST)}</span>'
            if isinstance(piece, str)
            else renderer.cell(piece, label)
            for piece in pieces
        )

    def _ahead(self, place: int) -> dict[str, str]:
        """Return the HTML of the open cards from a place on, as many as are sent at once, and of those marked last."""
        marks = self._state.marks
        order = [*range(place, len(marks)), *range(place)]
        wanted = [place, *(at for at in order if marks[at].state == "open" and at != place)]
        marked = [at for at in range(len(marks)) if marks[at].state != "open" and at != place]
        wanted[1:1] = sorted(marked, key=lambda at: -marks[at].time)[:5]  # for undo
        wanted += [at for at in marked if marks[at].state == "skipped" and at not in wanted]
        found: dict[str, str] = {}
        size = 0
        for at in wanted:
            found[str(at)] = self._shown(at)
            size += len(found[str(at)])
            if size > _AHEAD and len(found) >= _LEAST:
                break
        return found

    def _marks(self) -> dict[str, Any]:
        labels = self._state.guess.labels
        rows = [
            {
                "state": mark.state,
                "label": labels.index(mark.label) if mark.state == "label" else None,
                "note": markup.line(mark.note, 200),
                "order": mark.time,
            }
            for mark in self._state.marks
        ]
        return {"seen": dict(self._seen), "rows": rows}

    def _head(self) -> dict[str, Any]:
        found = self.accuracy
        words = {} if found is None else {
            "accuracy": f"{100 * found.estimate:.0f} %",
            "interval": f"{100 * found.low:.0f} to {100 * found.high:.0f}",
        }  # fmt: skip
        return {**words, "error": self._error, "stored": self._state.stored}

    def _refresh(self) -> None:
        if self._card is not None:
            with self._card.hold_sync():
                self._card.marks, self._card.head = self._marks(), self._head()

    def _received(self, card: Any, message: Any, buffers: Any) -> None:
        """Take what the browser sends."""
        place, kind = message.get("place"), message.get("type")
        if not isinstance(place, int) or not 0 <= place < len(self._state.marks):
            return
        if kind == "want":
            card.send({"type": "cards", "cards": self._ahead(place)})
            return
        try:
            self._apply(kind, place, message)
            trouble = self._state.flush()
            self._error = "" if trouble is None else f"not stored: {trouble}"
        except (CfaiError, ValueError, TypeError, LookupError) as error:
            self._error = str(error)
        self._seen[str(message.get("client"))] = int(message.get("number", 0))
        self._refresh()

    def _apply(self, kind: Any, place: int, message: Any) -> None:
        if kind in _STATES:
            label = self._state.guess.labels[message["label"]] if kind == "label" else None
            self._state.mark(place, kind, label)
        elif kind == "note":
            self._state.note(place, str(message.get("text", "")))
        elif kind == "undo":
            self._state.mark(place, "open")
        elif kind == "reopen":
            self._state.reopen()

    # -- in a notebook ---------------------------------------------------------------------------------------------

    def _words(self) -> str:
        state = self._state
        parts = [f"{state.count('label'):,} of {len(state.marks):,} labelled"]
        parts += [f"{count:,} {left}" for left in _LEFT if (count := state.count(left))]
        parts += [] if (found := self.accuracy) is None else [f"accuracy {found.words}"]
        return "; ".join([*parts, *state.notes])

    def __repr__(self) -> str:
        return f"<Review {markup.line(self.name, 60)!r}: {self._words()}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        page = markup.block(
            f"{markup.badge(self._mark)}<b>{markup.inline(self.name, 60)}</b> {markup.inline(self._words())}"
        )
        return bundle(repr(self), page, self.card)


_LEFT: tuple[Literal["skipped", "unclear"], ...] = ("skipped", "unclear")


def _word(label: Any) -> str:
    return {True: "yes", False: "no"}[label] if isinstance(label, bool) else markup.line(label, 80)
