"""Right answers: labels given by hand, found again by the name of their review, and whatever else ``truth=`` takes.

`frame.review` and ``cf.gold`` use it, and verbs read ``truth=`` with ``truths`` or ``truth_of``.  A row is known by a
digest of its content, so that gold is found in another notebook, in a frame of another order, and beside other columns;
the store holds no text of a row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import session
from ..errors import InputError, hint, takes_options
from ..media import Media, Parts
from . import rows
from .call import warn
from .polars import in_kind

if TYPE_CHECKING:
    from .._engine.store.reviews import Mark
    from .._engine.store.store import Store

_ANY = frozenset({"text", "image", "audio", "video", "document"})


def contents(data: rows.Frame, on: Any) -> Sequence[Any]:
    """Return what a row shows: a text, media, or a mix of both; None where a cell is missing or cannot be read."""
    return rows.rows_of(data, on, template=False, takes=_ANY).inputs


def digests(shown: Sequence[Any]) -> list[bytes | None]:
    """Return a digest of the content of each row, 16 bytes; None where there is none."""
    return [None if value is None else _digest(value) for value in shown]


def _digest(value: Any) -> bytes:
    made = hashlib.blake2b(digest_size=16, person=b"cfai-review")
    for piece in value.pieces if isinstance(value, Parts) else (value,):
        content = b"\1" + piece.identity if isinstance(piece, Media) else b"\0" + piece.encode()
        made.update(len(content).to_bytes(8, "big") + content)
    return made.digest()


def read_marks(store: Store, name: str) -> list[Mark]:
    """Return the rows of a review; warns of those that are damaged."""
    from .._engine.store.reviews import read_review

    marks, damaged = read_review(store, name)
    if damaged:
        warn(f"{damaged} rows of the review {name!r} in the store {store.path} are damaged and left out.")
    return marks


class Gold:
    """The labels of a review, to be laid on a frame; made by ``cf.gold``.

    Attributes
    ----------
    name : str

    Examples
    --------
    >>> gold = cf.gold("topics")
    >>> cf.quality.accuracy(df["guess"], gold.match(df, "text"), gold.weights(df, "text")).words
    """

    def __init__(self, name: str, marks: Sequence[Mark]) -> None:
        self.name, self._marks = name, list(marks)

    def __len__(self) -> int:
        return sum(mark.state == "label" for mark in self._marks)

    def __repr__(self) -> str:
        return f"<gold {self.name!r}: {len(self):,} of {len(self._marks):,} rows labelled>"

    @in_kind
    def match(self, data: rows.Frame, on: Any = None) -> pd.Series[Any]:
        """Return the labels on the index of a frame, also of rows with equal content; missing where there is none.

        Parameters
        ----------
        data : DataFrame or Series
            Of pandas, or of Polars; the labels are then a Series of Polars.
        on : str
            The column or template that was reviewed.  A Series needs none.

        Returns
        -------
        Series
        """
        known = {mark.row: mark.label for mark in self._marks if mark.state == "label"}
        found = laid(digests(contents(data, on)), known)
        return pd.Series(found, index=data.index, name=self.name, dtype=object)

    @in_kind
    def weights(self, data: rows.Frame, on: Any = None) -> pd.Series[float]:
        """Return with which probability each row was drawn, the ``weights`` of ``cf.quality``.

        Returns
        -------
        Series
            Missing where a row was not drawn.  Of rows with equal content one has the probability, divided by how many
            there are, since their one label is one row of gold and stands for all of them.
        """
        return weights_on(data.index, digests(contents(data, on)), self._marks)

    def to_frame(self) -> pd.DataFrame:
        """Return the mark of each row drawn: ``state, label, note, weight, time``, indexed by the row's digest."""
        return frame_of(self._marks).set_axis(pd.Index([mark.row.hex() for mark in self._marks], name="digest"))


def by_content(truth: Any, rows_of: str) -> Any:
    """Return right answers of rows that are read a part at a time: columns, or the labels of reviews.

    Raises
    ------
    InputError
        They are something else, of which a part of the rows has no part.
    """
    each = list(truth.values()) if isinstance(truth, Mapping) else [truth]
    if refused := [one for one in each if not isinstance(one, (str, Gold))]:
        raise InputError(
            f"truth: a {type(refused[0]).__name__} does not belong to the parts of {rows_of}; give a column of it, or "
            "cf.gold(name)."
        )
    return truth


def replaced(truth: Any, by: Callable[[str | Gold], Any]) -> Any:
    """Return right answers ``by_content`` in the same form with something else in their place."""
    return {name: by(one) for name, one in truth.items()} if isinstance(truth, Mapping) else by(truth)


def columns_in(truth: Any) -> set[str]:
    """Return the columns that right answers name."""
    return {one for one in (truth.values() if isinstance(truth, Mapping) else [truth]) if isinstance(one, str)}


def truths(data: rows.Frame, on: Any, truth: Any, names: Sequence[str]) -> pd.DataFrame | None:
    """Return the right answers by position, with one column for each answer; None if there are no right answers.

    Raises
    ------
    ValueError
        They do not fit the rows, or the answers that have these names.
    """
    if truth is None:
        return None
    if not isinstance(truth, Mapping):
        if len(names) > 1:
            raise ValueError(f"truth: there are several answers; give a dict with some of {', '.join(names)}.")
        truth = {names[0]: truth}
    if unknown := set(truth) - set(names):
        raise ValueError(
            f"truth: there is no answer {', '.join(map(str, unknown))}; the answers are {', '.join(names)}."
        )
    return pd.DataFrame({name: truth_of(data, on, given).reset_index(drop=True) for name, given in truth.items()})


def truth_of(data: rows.Frame, on: Any, given: Any) -> pd.Series[Any]:
    """Return the right answers to one question, on the index of the frame.

    `on` is what the question is about, which is what a review has to have shown.

    Raises
    ------
    ValueError
        They do not fit the rows.
    """
    if isinstance(given, Gold):
        found = given.match(data, on)
        if len(given) and found.isna().all():
            raise ValueError(
                f"truth: no row of {on!r} is among those of the review {given.name!r}. If that showed something else, "
                f"such as one column of a template, give cf.gold({given.name!r}).match(df, 'that column')."
            )
        return found
    made: pd.Series[Any] = rows.laid_on(data, given, "truth")
    return made


def laid(rows_of: Sequence[bytes | None], known: dict[bytes, Any], absent: Any = None) -> list[Any]:
    """Return for each row what is known of its content."""
    return [absent if row is None else known.get(row, absent) for row in rows_of]


def weights_on(index: pd.Index[Any], rows_of: Sequence[bytes | None], marks: Sequence[Mark]) -> pd.Series[float]:
    """Return with which probability each row was drawn; a row with copies stands for them, and they have none."""
    chances, copies = {mark.row: mark.chance for mark in marks}, Counter(rows_of)
    found = [chances.pop(row) / copies[row] if row in chances else np.nan for row in rows_of]
    return pd.Series(found, index=index, name="weight", dtype="float64")


def frame_of(marks: Sequence[Mark]) -> pd.DataFrame:
    """Return the mark of each row drawn."""
    times = pd.to_datetime([mark.time or np.nan for mark in marks], unit="s", utc=True)
    return pd.DataFrame(
        {
            "state": [mark.state for mark in marks],
            "label": pd.Series([mark.label for mark in marks], dtype=object),
            "note": [mark.note for mark in marks],
            "weight": np.array([mark.chance for mark in marks], dtype=np.float64),
            "time": pd.Series(times),
        }
    )


@takes_options()
def gold(name: str) -> Gold:
    """Return the labels that a review has collected, in any notebook with the same store.

    Parameters
    ----------
    name : str
        Of the review: ``df.cfai.review(..., name="topics")``.

    Returns
    -------
    Gold
        ``.match(df, "text")`` lays them on a frame.

    Raises
    ------
    LookupError
        The store holds no review of that name.

    Examples
    --------
    >>> df["gold"] = cf.gold("topics").match(df, "text")
    """
    from .._engine.store.reviews import review_names

    store = session.current().store()
    if store is None:
        raise LookupError("This session has no store (store=False), so it keeps no gold.")
    if not (marks := read_marks(store, name)):
        known = review_names(store)
        listed = ", ".join(known) or "none"
        raise LookupError(f"There is no review {name!r} in {store.path}.{hint(name, known)} Reviews: {listed}.")
    return Gold(name, marks)
