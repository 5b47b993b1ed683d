"""The SQLite file of the store: its tables and upgrades, how it is opened, and what its errors mean.

``Store`` and ``Writer`` open their connections here.  Names of tables and columns are part of the file format: a record
is a row of ``packs``, and a request in the batch queue a row of ``queued``.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ...errors import StoreError
from .codec import seal
from .key_index import rebuild

#: Increased when the tables change; a store of a later version is not touched.
VERSION = 5

# `sum` is a checksum over all other columns; the one in `keys` covers the row of `packs` as well.
_QUEUED = """CREATE TABLE queued (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL, time REAL NOT NULL,
    sizes BLOB NOT NULL, keys BLOB NOT NULL)"""
_BILLED = "CREATE TABLE billed (id TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (id, place)) WITHOUT ROWID"
_CHARGES = """CREATE TABLE charges (
    time REAL NOT NULL, run TEXT NOT NULL, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL,
    verb TEXT NOT NULL, requests INTEGER NOT NULL, rows INTEGER NOT NULL, neurons REAL, exact INTEGER NOT NULL,
    saved_neurons REAL, tokens REAL, seconds REAL NOT NULL)"""
_BY_TIME = "CREATE INDEX charges_by_time ON charges (time)"
_PACKS = """CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    used REAL NOT NULL, neurons REAL, body BLOB NOT NULL, log TEXT)"""
_TABLES = (
    _QUEUED, _BILLED, _PACKS, "CREATE INDEX packs_by_use ON packs (used, bytes)",
    "CREATE TABLE keys (pack INTEGER PRIMARY KEY, keys BLOB NOT NULL)", _CHARGES, _BY_TIME,
    "CREATE TABLE listings (checked_on TEXT NOT NULL, body TEXT NOT NULL)",
)  # fmt: skip
#: The columns that the checksum of a record covers, in this order.
SEALED = "kind, rows, neurons, body, log, keys"
#: Statements that upgrade a store to the next version; a new store is created as version 3 and takes the last steps.
#: So the statements above stay as they are: a new column is a step here, and so is the checksum over it.
_UPGRADES = {
    1: ("ALTER TABLE packs ADD COLUMN log TEXT", _QUEUED),
    # The cost of a row may be unknown.
    2: (_BILLED, "ALTER TABLE charges RENAME TO former", "DROP INDEX charges_by_time", _CHARGES, _BY_TIME,
        "INSERT INTO charges SELECT * FROM former", "DROP TABLE former"),
    # Checksums, the key index in the file, and the turns of unfinished conversations.
    3: (*(f"ALTER TABLE {name} ADD COLUMN sum INTEGER" for name in ("keys", "charges", "queued", "listings")),
        f"UPDATE keys SET sum = (SELECT seal_former({SEALED}) FROM packs WHERE id = pack)",
        "UPDATE charges SET sum = seal(time, run, account, origin, model, verb, requests, rows, neurons, exact, "
        "saved_neurons, tokens, seconds)",
        "UPDATE queued SET sum = seal(id, account, origin, model, time, sizes, keys)",
        "UPDATE listings SET sum = seal(checked_on, body)",
        "DROP INDEX packs_by_use", "CREATE INDEX packs_by_use ON packs (used, bytes, rows)",
        """CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT, upto INTEGER NOT NULL, sizes BLOB NOT NULL, sum INTEGER NOT NULL)""",
        "CREATE TABLE buckets (id INTEGER PRIMARY KEY, keys BLOB NOT NULL, sum INTEGER NOT NULL)",
        """CREATE TABLE turns (
    key BLOB NOT NULL, talk BLOB NOT NULL, place INTEGER NOT NULL, asked TEXT NOT NULL, content BLOB NOT NULL,
    headers TEXT NOT NULL, neurons REAL, time REAL NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (key, talk, place))"""),
    # Rows that are labelled by hand.
    4: ("""CREATE TABLE reviews (
    name TEXT NOT NULL, row BLOB NOT NULL, place INTEGER NOT NULL, chance REAL NOT NULL, population INTEGER NOT NULL,
    state TEXT NOT NULL, label TEXT NOT NULL, note TEXT NOT NULL, time REAL NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY (name, row))""",),
}  # fmt: skip


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, created for its owner alone if necessary; `prepare` checks that it is a store."""
    if not path.exists():
        _make(path)
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA cell_size_check=ON")  # finds damage before it is read
        connection.create_function("seal", -1, seal, deterministic=True)
        connection.create_function("seal_former", -1, _seal_former, deterministic=True)
    except BaseException:  # not a database at all
        connection.close()
        raise
    return connection


def _seal_former(*parts: object) -> int | None:
    """Return the checksum of a record of an earlier version; None, which never matches, if it must not be used."""
    kind, _, _, body, *_ = parts
    if (
        kind == "f4"
        and isinstance(body, bytes)
        and len(body) % 4 == 0
        and not np.isfinite(np.frombuffer(body, "<f4")).all()
    ):
        return None
    return seal(*parts)


def _make(path: Path) -> None:
    """Create an empty file that only its owner can read, and its missing folders likewise."""
    for folder in reversed([path.parent, *path.parent.parents]):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    # SQLite gives its side files the same mode.  An existing file is not opened: closing it would release the
    # locks that SQLite holds on it in this process.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables, or upgrade those of an earlier version; StoreError: a later one, or another program's file."""
    found = _version(connection)
    if found > VERSION:
        raise StoreError(
            f"The store {path} was written by a later version of cfai_nb (format {found}; this one knows "
            f"{VERSION}). Update cfai_nb, or pass store=PATH for another file; nothing in it was changed."
        )
    if found < VERSION:
        with transaction(connection):
            version = _version(connection)  # another process may have been first
            if version < 0 or (not version and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]):
                raise StoreError(f"{path} is another program's file. Pass store=PATH for a file of its own.")
            first = () if version else _TABLES
            for statement in itertools.chain(first, *(_UPGRADES[step] for step in range(version or 3, VERSION))):
                connection.execute(statement)
            if version < VERSION:
                rebuild(connection)
                connection.execute(f"PRAGMA user_version={VERSION}")
        for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            with contextlib.suppress(OSError):  # another user's file, which its group may share
                each.chmod(0o600)
    _log_ahead(connection)
    sealed = ((table, "sum") for table in ("keys", "turns", "segments", "reviews"))
    for table, columns in (("packs", "id, used, log"), *sealed):
        connection.execute(f"SELECT {columns} FROM {table} LIMIT 1").fetchone()
    connection.execute("BEGIN IMMEDIATE")  # a read-only file must say so now, before anything is paid for
    connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or roll it back where the block raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite ends some by itself
            connection.execute("ROLLBACK")
        raise


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; SQLite does not wait here for others that open the file at the same time."""
    for attempt in itertools.count():
        try:
            # Without shared memory (network drives) SQLite keeps its rollback journal: slower, but as safe.
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 1_000:
                raise
            time.sleep(0.01)
        else:
            return


class Displaced(Exception):
    """The file at the path is not the one that was opened."""


def is_lock(error: Exception) -> bool:
    """Whether an error only says that another program holds a lock at the moment."""
    text = str(error).lower()
    return isinstance(error, sqlite3.OperationalError) and ("locked" in text or "busy" in text)


#: Words in errors of SQLite and the file system, what they mean, and what to do.
_MEANINGS = (
    (("disk is full", "no space", "database is full"), "the disk is full", "free some space"),
    (("readonly", "read-only", "unable to open", "permission"), "it cannot be written", "make it writable"),
    (
        ("not a database", "malformed", "no such column", "no such table", "duplicate column", "already exists",
         "unsupported file format", "could not decode", "constraint", "mismatch", "out of memory", "too big",
         "corrupt", "no column", "columns but", "cannot start a transaction", "no transaction"),
        "it is damaged or another program's file", "move it away (a new one is made)",
    ),
    (("locked", "busy"), "another process holds it", "close that process"),
    (("disk i/o",), "it cannot be read or written (disk I/O error)", "check the disk and its free space"),
    (("closed database",), "its session was closed while this call began", "run the call again, which opens it again"),
)  # fmt: skip
_OF_THE_FILE = tuple(word for words, *_ in _MEANINGS[:3] for word in words)


def is_of_the_file(error: Exception) -> bool:
    """Whether an error is about the whole file, and not about one write."""
    return isinstance(error, Displaced) or any(word in str(error).lower() for word in _OF_THE_FILE)


def explain(error: Exception, path: Path) -> StoreError:
    """Turn an error of SQLite or the file system into one that says what it means and what to do."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    reason = error.strerror if isinstance(error, OSError) else None
    what, todo = reason or f"{type(error).__name__}: {text}", "check the file"
    if isinstance(error, Displaced):
        what, todo = text, "run the call again, which continues with the file that is there then"
    else:
        for words, meaning, advice in _MEANINGS:
            if any(word in text.lower() for word in words):
                what, todo = meaning, advice
                break
    return StoreError(
        f"The store {path}: {what}. {todo[0].upper()}{todo[1:]}, or pass store=PATH for another file, "
        "or cache=False to go without."
    )


#: A lock that is held.
Lock: TypeAlias = sqlite3.Connection


def lock(path: Path) -> Lock | None:
    """Take the one lock at this path, which lasts until it is closed or the process dies; None where another has it.

    SQLite's own lock: portable, not inherited by a fork, and different for two sessions of one process.
    StoreError is raised where there can be no lock: a full disk, a folder that cannot be written.
    """
    held = None
    try:
        held = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if held is not None:
            held.close()
        if is_lock(error):
            return None
        raise explain(error, path) from error
    return held
