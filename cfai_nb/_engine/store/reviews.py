"""Reviews in the store: rows that were drawn to be labelled by hand, with their labels, by the name of the review.

A row is identified by a digest of its content; no text of a row is kept.  `frame.gold` reads and writes reviews here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...tasks import Json
from .codec import seal
from .store import Store
from .writer import Job

#: The state of a row: not looked at yet, labelled, put off, or impossible to decide.
State: TypeAlias = Literal["open", "label", "skipped", "unclear"]
_COLUMNS = "row, place, chance, population, state, label, note, time"


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of a review."""

    row: bytes  # the digest of its content
    place: int  # in which order it is shown
    chance: float  # with which probability it was drawn
    population: int  # of how many distinct rows
    state: State = "open"
    label: Json = None  # what is right; None where the state is not "label"
    note: str = ""
    time: float = 0.0  # of the last key, in seconds since 1970; 0 for none


def read_review(store: Store, name: str) -> tuple[list[Mark], int]:
    """Return the rows of a review in their order, none if there is no such review, and how many are damaged."""
    store.flush()
    with store.reading() as connection:
        query = f"SELECT name, {_COLUMNS}, sum FROM reviews WHERE name = ? ORDER BY place"
        rows = connection.execute(query, (name,)).fetchall()
    whole = []
    for row in rows:
        if seal(*row[:-1]) == row[-1]:
            digest, place, chance, population, state, label, note, moment = row[1:-1]
            whole.append(Mark(digest, place, chance, population, state, json.loads(label), note, moment))
    return whole, len(rows) - len(whole)


def review_names(store: Store) -> list[str]:
    """Return the names of all reviews."""
    store.flush()
    with store.reading() as connection:
        return [name for (name,) in connection.execute("SELECT DISTINCT name FROM reviews ORDER BY name")]


def write_review(store: Store, name: str, marks: Sequence[Mark]) -> None:
    """Keep rows of a review, replacing earlier versions of the same rows."""
    rows = [
        (name, mark.row, mark.place, float(mark.chance), mark.population, mark.state, json.dumps(mark.label),
         mark.note, float(mark.time))
        for mark in marks
    ]  # fmt: skip

    def write(connection: sqlite3.Connection) -> None:
        insert = "INSERT OR REPLACE INTO reviews VALUES (?,?,?,?,?,?,?,?,?,?)"
        connection.executemany(insert, [(*row, seal(*row)) for row in rows])

    store.writer.put(Job(write))
