"""The file of the store: its tables, how it is opened, and what its errors mean."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import StoreError

#: Raised when the tables change; a store of a later version is left alone.
VERSION = 2

_QUEUED = """CREATE TABLE queued (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL, time REAL NOT NULL,
    sizes BLOB NOT NULL, keys BLOB NOT NULL)"""
_TABLES = (
    _QUEUED,
    """CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    used REAL NOT NULL, neurons REAL, body BLOB NOT NULL, log TEXT)""",
    "CREATE INDEX packs_by_use ON packs (used, bytes)",
    "CREATE TABLE keys (pack INTEGER PRIMARY KEY, keys BLOB NOT NULL)",
    """CREATE TABLE charges (
    time REAL NOT NULL, run TEXT NOT NULL, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL,
    verb TEXT NOT NULL, requests INTEGER NOT NULL, rows INTEGER NOT NULL, neurons REAL, exact INTEGER NOT NULL,
    saved_neurons REAL NOT NULL, tokens REAL, seconds REAL NOT NULL)""",
    "CREATE INDEX charges_by_time ON charges (time)",
    "CREATE TABLE listings (checked_on TEXT NOT NULL, body TEXT NOT NULL)",
)
#: What makes a store of an earlier version one of the next.
_UPGRADES = {1: ("ALTER TABLE packs ADD COLUMN log TEXT", _QUEUED)}


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file; `prepare` says whether it is a store."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:  # not a database at all
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or bring those of an earlier version up to date.

    Raises
    ------
    StoreError
        It is of a later version, or another program's file.
    """
    found = _version(connection)
    if found > VERSION:
        raise StoreError(
            f"The store {path} was written by a later version of cfai_nb (format {found}; this one knows "
            f"{VERSION}). Update cfai_nb, or pass store=PATH for another file; nothing in it was changed."
        )
    if found < VERSION:
        with _transaction(connection):
            version = _version(connection)  # another process may have been first
            if version == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(f"{path} is another program's file. Pass store=PATH for a file of its own.")
            steps = [_TABLES] if version == 0 else [_UPGRADES[step] for step in range(version, VERSION)]
            for statement in itertools.chain.from_iterable(steps):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={max(version, VERSION)}")
    _log_ahead(connection)
    connection.execute("SELECT id, used, log FROM packs LIMIT 1").fetchone()
    connection.execute("BEGIN IMMEDIATE")  # a read-only file must say so now, before anything is paid for
    connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Have writes go to a log; SQLite itself does not wait here for others who open the file at the same time."""
    for attempt in itertools.count():
        try:
            # Answers "delete" where the file system has no shared memory (network drives): slower, just as safe.
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 1_000:
                raise
            time.sleep(0.01)
        else:
            return


def explain(error: Exception, path: Path) -> StoreError:
    """Say what an error of SQLite or the file system means for the store, and what to do."""
    text = str(error).lower()
    if "full" in text or "no space" in text:
        what, todo = "the disk is full", "free some room"
    elif "readonly" in text or "read-only" in text or "unable to open" in text or "permission" in text:
        what, todo = "it cannot be written", "make it writable"
    elif "not a database" in text or "malformed" in text or "no such column" in text or "no such table" in text:
        what, todo = "it is damaged or another program's file", "move it away (a new one is made)"
    elif "locked" in text or "busy" in text:
        what, todo = "another process holds it", "close that process"
    else:
        what, todo = str(error), "look at the file"
    return StoreError(
        f"The store {path}: {what}. {todo[0].upper()}{todo[1:]}, or pass store=PATH for another file, "
        "or cache=False to go without."
    )
