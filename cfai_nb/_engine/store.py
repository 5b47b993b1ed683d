"""What is known already: every answer that was paid for, and the book of charges, in one SQLite file.

The unit is the *pack*: the answers of one request, written with one commit when they arrive (100 vectors are one blob
of float32, not 100 rows).  Everything is appended: a key index inside SQLite would dirty a page for almost every key
of a batch, which costs more than the vectors.  The index is a sorted array in memory instead, built from the keys
beside each pack on first use and extended by what this and other processes added since.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydantic_core

from ..errors import StoreError
from ..ledger import Charge
from ..media import Audio, Image
from ..tasks import Cells, Json
from .index import Index
from .writer import Write, Writer

#: Raised when the tables change; a store of a later version is left alone.
SCHEMA_VERSION = 3
#: Bytes of answers kept before the least recently used ones make room.
SIZE_LIMIT = 4 * 2**30
#: Bytes of answers that may wait for the writer before the run waits for it.
_BACKLOG = 64 * 2**20
_DAY = 86_400

_QUEUED = """CREATE TABLE queued (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL, time REAL NOT NULL,
    sizes BLOB NOT NULL, keys BLOB NOT NULL)"""
_BILLED = "CREATE TABLE billed (id TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (id, place)) WITHOUT ROWID"
_CHARGES = """CREATE TABLE charges (
    time REAL NOT NULL, run TEXT NOT NULL, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL,
    verb TEXT NOT NULL, requests INTEGER NOT NULL, rows INTEGER NOT NULL, neurons REAL, exact INTEGER NOT NULL,
    saved_neurons REAL, tokens REAL, seconds REAL NOT NULL)"""
_BY_TIME = "CREATE INDEX charges_by_time ON charges (time)"
_TABLES = f"""
{_QUEUED};
{_BILLED};
CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    used REAL NOT NULL, neurons REAL, body BLOB NOT NULL, log TEXT);
CREATE INDEX packs_by_use ON packs (used, bytes);
CREATE TABLE keys (pack INTEGER PRIMARY KEY, keys BLOB NOT NULL);
{_CHARGES};
{_BY_TIME};
CREATE TABLE listings (checked_on TEXT NOT NULL, body TEXT NOT NULL);
"""
#: What makes a store of an earlier version one of the next.
_UPGRADES = {
    1: ("ALTER TABLE packs ADD COLUMN log TEXT", _QUEUED),
    # What a row would have cost may be unknown.
    2: (_BILLED, "ALTER TABLE charges RENAME TO former", "DROP INDEX charges_by_time", _CHARGES, _BY_TIME,
        "INSERT INTO charges SELECT * FROM former", "DROP TABLE former"),
}  # fmt: skip
_CHARGE = "INSERT INTO charges VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"
#: Takes the bill of a queued request upon oneself: one process does, however many fetch its answer.
_TAKE = "INSERT OR IGNORE INTO billed SELECT id, ? FROM queued WHERE id = ?"


class Store:
    """Answers by key, kept between kernels; safe for several processes at once.

    Parameters
    ----------
    path : Path
        The SQLite file; its folder is made if need be.
    limit : int
        Bytes of answers to keep.

    Raises
    ------
    StoreError
        The file cannot be read or written, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path, limit: int = SIZE_LIMIT) -> None:
        self.path = path
        self.limit = limit
        self.failure: StoreError | None = None
        self.unkept: list[Charge] = []  # money that was spent while the file could not be written
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = self._connect()
            try:
                self._prepare(self._reader)
            except BaseException:
                self._reader.close()
                raise
        self._index = Index()
        self._writer = Writer(self._connect, self._fail, limit)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error:  # not a database at all
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"The store {self.path} was written by a later version of cfai_nb (format {version}; this one knows "
                f"{SCHEMA_VERSION}). Update cfai_nb, or pass store=PATH for another file; nothing in it was changed."
            )
        if version == 0:
            self._create(connection)
        elif version < SCHEMA_VERSION:
            self._upgrade(connection)
        _log_ahead(connection)
        connection.execute("SELECT id, used, log FROM packs LIMIT 1").fetchone()
        connection.execute("BEGIN IMMEDIATE")  # a read-only file must say so now, before anything is paid for
        connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path) from error

    def _create(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another process was first
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise StoreError(f"{self.path} is another program's file. Pass store=PATH for a file of its own.")
                for statement in _TABLES.split(";\n"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]  # another process may have been first
            for step in range(version, SCHEMA_VERSION):
                for statement in _UPGRADES[step]:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _fail(self, error: Exception, charges: list[Charge]) -> None:
        self.failure = explain(error, self.path)
        self.unkept.extend(charges)

    # -- reading -------------------------------------------------------------------------------------------------

    def locate(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Say in which pack and slot each key lies; -1 where it is not known."""
        with self._explained(), self._lock:
            newer = "SELECT pack, keys FROM keys WHERE pack > ? ORDER BY pack"
            self._index.extend(self._reader.execute(newer, (self._index.newest,)).fetchall())
        return self._index.find(keys)

    def read(self, packs: Sequence[int]) -> Iterator[tuple[int, Cells, float | None, str | None]]:
        """Yield (pack, cells, Neurons it cost or None, the gateway's log or None) for the packs that still exist."""
        old = time.time() - _DAY
        for start in range(0, len(packs), 64):
            chunk = [int(pack) for pack in packs[start : start + 64]]
            marks = ",".join("?" * len(chunk))
            with self._explained(), self._lock:
                query = f"SELECT id, kind, rows, used, neurons, body, log FROM packs WHERE id IN ({marks})"
                found = self._reader.execute(query, chunk).fetchall()
            stale = [row[0] for row in found if row[3] < old]
            if stale:  # once a day is often enough to know what is least recently used
                self._writer.put(_touched(stale), 0)
            for pack, kind, rows, _, neurons, body, log in found:
                yield pack, _decode(kind, rows, body), neurons, log

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the writer is behind and a run should wait before it brings more."""
        return self._writer.waiting > _BACKLOG

    def put(
        self, keys: Sequence[bytes], cells: Cells, charges: Sequence[Charge] = (), log: str | None = None,
        *, before: float | None = 0.0,
    ) -> None:  # fmt: skip
        """Hand the answers of one request, and what they cost, to the writer; committed at once, together.

        ``before`` is what they had cost that is in the book already; None: nobody knows.
        """
        kind, body = _encode(cells)
        each = [before, *(charge.neurons for charge in charges)]
        neurons = sum(filter(None, each)) if (charges or before) and None not in each else None
        joined = b"".join(keys)

        def write(connection: sqlite3.Connection) -> None:
            row = (kind, len(keys), len(body), time.time(), neurons, body, log)
            insert = "INSERT INTO packs (kind, rows, bytes, used, neurons, body, log) VALUES (?,?,?,?,?,?,?)"
            pack = connection.execute(insert, row).lastrowid
            connection.execute("INSERT INTO keys VALUES (?, ?)", (pack, joined))
            _enter(connection, charges)

        self._writer.put(write, len(body), charges)

    def charge(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the book without keeping an answer."""
        self._writer.put(lambda connection: _enter(connection, charges), 0, charges)

    def keep_listing(self, checked_on: str, listing: list[Json]) -> None:
        """Keep the newest listing of models."""
        body = json.dumps(listing)

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM listings")
            connection.execute("INSERT INTO listings VALUES (?,?)", (checked_on, body))

        self._writer.put(write, 0)

    def enqueue(self, name: str, account: str, origin: str, model: str, requests: Sequence[Sequence[bytes]]) -> None:
        """Keep the id of what was handed in to the service's queue, with the keys of its requests."""
        sizes = np.array([len(keys) for keys in requests], dtype="<i4").tobytes()
        row = (name, account, origin, model, time.time(), sizes, b"".join(key for keys in requests for key in keys))
        self._writer.put(lambda connection: connection.execute("INSERT INTO queued VALUES (?,?,?,?,?,?,?)", row), 0)

    def dequeue(self, name: str) -> None:
        """Forget a submission: its answers are kept, or it is not known any more."""

        def write(connection: sqlite3.Connection) -> None:
            for table in ("queued", "billed"):
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (name,))

        self._writer.put(write, 0)

    def queued(self, account: str, origin: str, model: str) -> list[tuple[str, list[list[bytes]]]]:
        """Return (id, keys of each request) of what was handed in and not fetched yet, oldest first."""
        self.flush()
        with self._explained(), self._lock:
            query = "SELECT id, sizes, keys FROM queued WHERE account = ? AND origin = ? AND model = ? ORDER BY time"
            rows = self._reader.execute(query, (account, origin, model)).fetchall()
        found = []
        for name, sizes, joined in rows:
            keys = iter([joined[at : at + 16] for at in range(0, len(joined), 16)])
            counts = np.frombuffer(sizes, dtype="<i4").tolist()
            found.append((name, [list(itertools.islice(keys, count)) for count in counts]))
        return found

    def listing(self) -> tuple[str, list[Json]] | None:
        """Return the kept listing of models and its date."""
        with self._explained(), self._lock:
            row = self._reader.execute("SELECT checked_on, body FROM listings").fetchone()
        return (row[0], json.loads(row[1])) if row else None

    def charges(self, since: float = 0.0) -> list[Charge]:
        """Return the charges since a time (seconds since 1970), oldest first."""
        self.flush()
        with self._explained(), self._lock:
            rows = self._reader.execute("SELECT * FROM charges WHERE time >= ? ORDER BY time", (since,)).fetchall()
        kept = [Charge(**dict(zip(_CHARGE_FIELDS, row, strict=True)) | {"exact": bool(row[9])}) for row in rows]
        return kept + [charge for charge in self.unkept if charge.time >= since]

    def take_failure(self) -> StoreError | None:
        """Return what kept answers from being written since the last time this was asked."""
        failure, self.failure = self.failure, None
        return failure

    def flush(self) -> None:
        """Wait until everything handed over is committed (or has failed, see ``failure``)."""
        self._writer.flush()

    def size(self) -> tuple[int, int]:
        """Return (answers, bytes) held."""
        self.flush()
        with self._explained(), self._lock:
            rows, size = self._reader.execute(
                "SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM packs"
            ).fetchone()
        return int(rows), int(size)

    def close(self) -> None:
        """Commit what waits and close the file."""
        self._writer.close()
        with self._lock:
            self._reader.close()


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


def _enter(connection: sqlite3.Connection, charges: Iterable[Charge]) -> None:
    for charge in charges:
        if charge.queued is None or connection.execute(_TAKE, charge.queued[::-1]).rowcount:
            connection.execute(_CHARGE, _charge_row(charge))


def _touched(packs: Iterable[int]) -> Write:
    rows = [(time.time(), pack) for pack in packs]
    return lambda connection: connection.executemany("UPDATE packs SET used = ? WHERE id = ?", rows)


_CHARGE_FIELDS = (
    "time", "run", "account", "origin", "model", "verb", "requests", "rows", "neurons", "exact", "saved_neurons",
    "tokens", "seconds",
)  # fmt: skip


def _charge_row(charge: Charge) -> tuple[object, ...]:
    return tuple(getattr(charge, name) for name in _CHARGE_FIELDS)


_MEDIA = {cell.kind: cell for cell in (Image, Audio)}


def _encode(cells: Cells) -> tuple[str, bytes]:
    if isinstance(cells, np.ndarray):
        return "f4", np.ascontiguousarray(cells, dtype="<f4").tobytes()
    if cells and isinstance(cells[0], (Image, Audio)):
        lengths = np.array([len(cell) for cell in cells], dtype="<i8")
        return cells[0].kind, b"".join([lengths.tobytes(), *cells])
    return "json", pydantic_core.to_json(list(cells))


def _decode(kind: str, rows: int, body: bytes) -> Cells:
    if kind == "f4":
        return np.frombuffer(body, dtype="<f4").reshape(rows, -1)
    if kind in _MEDIA:
        ends = 8 * rows + np.cumsum(np.frombuffer(body, dtype="<i8", count=rows))
        starts = [8 * rows, *ends[:-1].tolist()]
        return [_MEDIA[kind](memoryview(body)[a:b]) for a, b in zip(starts, ends.tolist(), strict=True)]
    cells: list[Json] = pydantic_core.from_json(body)
    return cells
