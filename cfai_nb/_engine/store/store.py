"""The answers that were paid for and the ledger of charges, in one SQLite file.

Runs look answers up by key (``held``) and store new ones with their charges (``put``); checkpoints, the batch queue and
the model listing are kept here as well.  ``writer`` writes in its own thread, and reports what it cannot write.

The unit is the *record* (table ``packs``): the answers of one request, written with one commit when they arrive, so
that 100 vectors are one blob of float32 and not 100 rows.  Everything is appended; ``key_index`` finds the record of a
key.  Every record has a checksum over all of it, keys included: a record that does not match, or is about another key,
is never used as an answer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import StoreError
from ...models.ledger import Charge
from ...tasks import Cells, Json
from .codec import Turn, decode, encode, seal
from .key_index import SLOT_BITS, IndexDamaged, Places, Reader, rebuild, split
from .tables import SEALED, Displaced, explain, open_file, prepare
from .writer import HELD, Job, Write, Writer

#: Bytes of answers from which on the least recently used ones are evicted.
SIZE_LIMIT = 4 * 2**30
#: Seconds for which closing tries to write what is not written yet.
CLOSING = 5.0
#: Seconds after which the use of an answer is recorded again.
_USED = 60.0

#: Claims the bill of a queued request, so that one process enters it, however many fetch its answer.
_TAKE = "INSERT OR IGNORE INTO billed SELECT id, ? FROM queued WHERE id = ?"


class Held(NamedTuple):
    """The cells of one record that were looked up."""

    at: list[int]  # positions among the keys
    cells: Cells | None  # in that order; None where the record is damaged
    neurons: float | None = None  # what they had cost; None is unknown
    log: str | None = None  # the gateway's


class Store:
    """Answers by key, kept between kernels; safe for several processes at once.

    The SQLite file and its folder are created if necessary; ``limit`` is how many bytes of answers are kept.
    StoreError is raised where the file cannot be read or written, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path, limit: int = SIZE_LIMIT) -> None:
        self.path = path
        self.limit = limit
        self.damaged_charges = 0  # that the last ``charges`` left out
        self._lock = threading.Lock()
        with self._explained():
            self._reader = open_file(path)
            try:
                before = _file_at(path)
                prepare(self._reader, path)
                self._file = _file_at(path)
                self._steady = before == self._file  # some network drives give a file a new number at each look
            except BaseException:
                self._reader.close()
                raise
        self._index = Reader()
        self.writer = Writer(path, self._check, _enter, limit)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            raise explain(error, self.path) from error

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the reader's connection, at one state of the file."""
        with self._explained(), self._lock:
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                with contextlib.suppress(sqlite3.Error):  # it only read
                    self._reader.execute("ROLLBACK")

    def displaced(self) -> str | None:
        """Return what happened to the file that was opened, such as that it was deleted; None if it is still there."""
        found = _file_at(self.path)
        if found == self._file or (found is not None and not self._steady):
            return None
        return "the file was deleted while it was open" if found is None else "another file was put in its place"

    def _check(self) -> None:
        if what := self.displaced():
            raise Displaced(what)

    # -- reading -------------------------------------------------------------------------------------------------

    def locate(self, keys: Sequence[bytes]) -> tuple[Places, Places]:
        """Return the record of each key and its slot there; -1 where the store does not hold it."""
        return split(self._places(keys))

    def _places(self, keys: Sequence[bytes]) -> Places:
        joined = b"".join(keys)
        with self.reading() as connection:
            try:
                return self._index.find(connection, joined)
            except IndexDamaged:
                self.writer.put(Job(rebuild, optional=True))
                return self._index.find(connection, joined, trust=False)

    def held(self, keys: Sequence[bytes]) -> Iterator[list[Held]]:
        """Yield what the store holds of these keys, several records at a time, in the order they were written.

        Keys that are not stored are left out; a damaged record is yielded without cells, and deleted.
        """
        places = self._places(keys)
        known = np.flatnonzero(places >= 0)
        order = known[np.argsort(places[known], kind="stable")]  # each record is read once
        records, starts = np.unique(places[order] >> SLOT_BITS, return_index=True)
        bounds = itertools.pairwise([*starts.tolist(), len(order)])
        slots = (places & (2**SLOT_BITS - 1)).tolist()
        used: list[int] = []
        damaged: list[int] = []
        try:
            for at in range(0, len(records), 64):
                part = {record: order[slice(*next(bounds))].tolist() for record in records[at : at + 64].tolist()}
                found = []
                for record, row in self._fetched(list(part)):
                    mine = part[record]
                    one = _opened(row, mine, [keys[index] for index in mine], [slots[index] for index in mine])
                    if one.cells is None:
                        damaged.append(record)
                    elif row is not None and not _lately(row[0]):
                        used.append(record)
                    found.append(one)
                    del part[record]
                for record, mine in part.items():  # damage, unless another process evicted it just now
                    if (self._places([keys[index] for index in mine]) == places[mine]).any():
                        damaged.append(record)
                        found.append(Held(mine, None))
                yield found
        finally:
            if used:  # so that often used answers are evicted last
                self.writer.put(Job(_touched(used), optional=True))
            if damaged:
                self.writer.put(Job(_dropped(damaged), optional=True))

    def _fetched(self, records: list[int]) -> Iterator[tuple[int, tuple[object, ...] | None]]:
        """Yield (record, its row) in ascending order; None for a row that cannot be read."""
        query = f"SELECT id, used, sum, {SEALED} FROM packs JOIN keys ON pack = id WHERE id IN "
        try:
            with self.reading() as connection:
                rows = connection.execute(f"{query}({','.join('?' * len(records))}) ORDER BY id", records).fetchall()
        except StoreError:
            if len(records) == 1:
                yield records[0], None
                return
            for record in records:  # which of them it is
                yield from self._fetched([record])
            return
        yield from ((row[0], row[1:]) for row in rows)

    # -- writing -------------------------------------------------------------------------------------------------

    def put(
        self, keys: Sequence[bytes], cells: Cells, charges: Sequence[Charge] = (), log: str | None = None,
        *, before: float | None = 0.0, owner: str = "", ends: bytes | None = None,
    ) -> None:  # fmt: skip
        """Store the answers of one request and their charges; the writer commits them together.

        ``before`` is the part of their cost that is in the ledger already; None is unknown.  ``owner`` is the run to
        which it is reported if they cannot be written, ``ends`` the checkpoint that is deleted with them.
        """
        each = [before, *(charge.neurons for charge in charges)]
        known = (charges or before) and None not in each
        neurons = _number(sum(filter(None, each))) if known else None
        joined = b"".join(keys)
        kind, body = encode(cells)

        def write(connection: sqlite3.Connection) -> None:
            row = (kind, len(keys), len(body), time.time(), neurons, body, log)
            insert = "INSERT INTO packs (kind, rows, bytes, used, neurons, body, log) VALUES (?,?,?,?,?,?,?)"
            record = connection.execute(insert, row).lastrowid
            total = seal(kind, len(keys), neurons, body, log, joined)
            connection.execute("INSERT INTO keys VALUES (?, ?, ?)", (record, joined, total))
            if ends is not None:
                connection.execute("DELETE FROM turns WHERE key = ?", (ends,))
            _enter(connection, charges)

        self.writer.put(Job(write, len(body), charges, owner, keys=keys))

    def charge(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the ledger without keeping an answer."""
        self.writer.put(Job(lambda connection: _enter(connection, charges), 0, charges))

    def flush(self) -> None:
        """Wait until everything that was put is committed, or cannot be at the moment."""
        self.writer.flush()

    def close(self, seconds: float | None = None) -> list[Job]:
        """Commit what waits and close the file; return what could not be written in that time."""
        left = self.writer.close(CLOSING if seconds is None else seconds)
        with self._lock:
            self._reader.close()
        return left

    # -- checkpoints of conversations ----------------------------------------------------------------------------

    def add_turn(self, key: bytes, talk: bytes, place: int, turn: Turn, charges: Sequence[Charge]) -> None:
        """Save one more turn of a conversation, replacing later ones."""
        row = (
            key, talk, place, turn.asked, turn.content, json.dumps(turn.headers), _number(turn.neurons), time.time(),
        )  # fmt: skip

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM turns WHERE key = ? AND talk = ? AND place >= ?", row[:3])
            connection.execute("INSERT INTO turns VALUES (?,?,?,?,?,?,?,?,?)", (*row, seal(*row)))
            _enter(connection, charges)

        self.writer.put(Job(write, len(turn.content), charges))

    def drop_turns(self, key: bytes, charges: Sequence[Charge]) -> None:
        """Delete the turns of a conversation, and enter its charges."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM turns WHERE key = ?", (key,))
            _enter(connection, charges)

        self.writer.put(Job(write, 0, charges))

    def turns(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, list[Turn]]]:
        """Return the turns of these conversations: for each key the longest one, up to a damaged turn."""
        wanted, found = set(keys), dict[bytes, tuple[bytes, list[Turn]]]()
        with self.reading() as connection:
            there = connection.execute("SELECT DISTINCT key FROM turns").fetchall()
            for key in [key for (key,) in there if key in wanted]:
                talks: dict[bytes, list[Turn]] = {}
                query = "SELECT * FROM turns WHERE key = ? ORDER BY talk, place"
                for *row, total in connection.execute(query, (key,)).fetchall():
                    turns = talks.setdefault(row[1], [])
                    if seal(*row) == total and row[2] == len(turns):
                        turns.append(Turn(asked=row[3], content=row[4], headers=json.loads(row[5]), neurons=row[6]))
                found[key] = max(talks.items(), key=lambda item: len(item[1]))
        return found

    # -- the batch queue -------------------------------------------------------------------------------------------

    def enqueue(self, name: str, account: str, origin: str, model: str, requests: Sequence[Sequence[bytes]]) -> None:
        """Keep the id of a submission to the batch queue, with the keys of its requests."""
        sizes = np.array([len(keys) for keys in requests], dtype="<i4").tobytes()
        row = (name, account, origin, model, time.time(), sizes, b"".join(key for keys in requests for key in keys))
        insert, full = "INSERT INTO queued VALUES (?,?,?,?,?,?,?,?)", (*row, seal(*row))
        self.writer.put(Job(lambda connection: connection.execute(insert, full)))

    def dequeue(self, name: str) -> None:
        """Delete a submission: its answers are stored, or the service no longer knows it."""

        def write(connection: sqlite3.Connection) -> None:
            for table in ("queued", "billed"):
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (name,))

        self.writer.put(Job(write))

    def queued(self, account: str, origin: str, model: str) -> list[tuple[str, list[list[bytes]]]]:
        """Return (id, keys of each request) of submissions that were not fetched yet, oldest first."""
        self.flush()
        with self.reading() as connection:
            query = "SELECT * FROM queued WHERE account = ? AND origin = ? AND model = ? ORDER BY time"
            rows = connection.execute(query, (account, origin, model)).fetchall()
        found = []
        for *row, total in rows:
            if seal(*row) == total:
                keys = iter([row[6][at : at + 16] for at in range(0, len(row[6]), 16)])
                counts = np.frombuffer(row[5], dtype="<i4").tolist()
                found.append((row[0], [list(itertools.islice(keys, count)) for count in counts]))
        return found

    # -- models and money ------------------------------------------------------------------------------------------

    def keep_listing(self, checked_on: str, listing: list[Json]) -> None:
        """Keep the newest listing of models."""
        row = (checked_on, json.dumps(listing))

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM listings")
            connection.execute("INSERT INTO listings VALUES (?,?,?)", (*row, seal(*row)))

        self.writer.put(Job(write))

    def listing(self) -> tuple[str, list[Json]] | None:
        """Return the kept listing of models and its date."""
        with self.reading() as connection:
            row = connection.execute("SELECT checked_on, body, sum FROM listings").fetchone()
        return (row[0], json.loads(row[1])) if row and seal(*row[:2]) == row[2] else None

    def charges(self, since: float = 0.0) -> list[Charge]:
        """Return the charges since a time (seconds since 1970), oldest first, including those still to be written."""
        self.flush()
        with self.writer.committing:  # none is committed between the two looks
            with self.reading() as connection:
                rows = connection.execute(_SINCE, (since,)).fetchall()
            waiting = [charge for charge in self.writer.unwritten() if charge.time >= since]
        whole = [row for row in rows if seal(*row[:-1]) == row[-1]]
        self.damaged_charges = len(rows) - len(whole)
        kept = [dict(zip(_CHARGE, row[:-1], strict=True)) for row in whole]
        return [*(Charge(**{**row, "exact": bool(row["exact"])}) for row in kept), *waiting]

    def size(self) -> tuple[int, int]:
        """Return how many answers it holds, and their bytes with keys and overhead."""
        self.flush()
        with self.reading() as connection:
            rows = connection.execute("SELECT coalesce(sum(rows), 0) FROM packs").fetchone()[0]
            size = connection.execute(HELD).fetchone()[0]
        return int(rows), int(size)


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return the identity of the file at the path; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _lately(used: object) -> bool:
    return isinstance(used, float) and used > time.time() - _USED


def _opened(row: tuple[object, ...] | None, at: list[int], wanted: list[bytes], slots: list[int]) -> Held:
    """Return the wanted cells of a record, once all of it was checked."""
    if row is None or seal(*row[2:]) != row[1]:
        return Held(at, None)
    kind, rows, neurons, body, log, keys = row[2:]
    assert isinstance(kind, str)
    assert isinstance(rows, int)
    assert isinstance(body, bytes)
    assert isinstance(keys, bytes)
    cells = decode(kind, rows, body)
    if keys != b"".join(wanted):  # a part of it, or in another order
        for slot, key in zip(slots, wanted, strict=True):
            if keys[16 * slot : 16 * slot + 16] != key:
                return Held(at, None)  # the index was wrong
        cells = cells[slots] if isinstance(cells, np.ndarray) else [cells[slot] for slot in slots]
    share = neurons * len(slots) / max(1, rows) if isinstance(neurons, float) else None
    return Held(at, cells, share, log if isinstance(log, str) else None)


def _number(value: float | None) -> float | None:
    """Return a number as SQLite returns it, which cannot store NaN."""
    return None if value is None or value != value else float(value)


#: The columns of a charge and the form in which SQLite returns each, in the order that the checksum covers.
_CHARGE: Mapping[str, Callable[..., object]] = {
    "time": float, "run": str, "account": str, "origin": str, "model": str, "verb": str, "requests": int, "rows": int,
    "neurons": _number, "exact": int, "saved_neurons": _number, "tokens": _number, "seconds": float,
}  # fmt: skip
_COLUMNS = f"{', '.join(_CHARGE)}, sum"
_ENTER = f"INSERT INTO charges ({_COLUMNS}) VALUES ({', '.join('?' * len(_CHARGE))}, ?)"
_SINCE = f"SELECT {_COLUMNS} FROM charges WHERE time >= ? ORDER BY time"


def _enter(connection: sqlite3.Connection, charges: Sequence[Charge]) -> None:
    for charge in charges:
        if charge.queued is None or connection.execute(_TAKE, charge.queued[::-1]).rowcount:
            row = [form(getattr(charge, name)) for name, form in _CHARGE.items()]
            connection.execute(_ENTER, (*row, seal(*row)))


def _touched(records: Sequence[int]) -> Write:
    rows = [(time.time(), record) for record in records]
    return lambda connection: connection.executemany("UPDATE packs SET used = ? WHERE id = ?", rows)


def _dropped(records: Sequence[int]) -> Write:
    rows = [(record,) for record in records]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("DELETE FROM packs WHERE id = ?", rows)
        connection.executemany("DELETE FROM keys WHERE pack = ?", rows)
        rebuild(connection)

    return write
