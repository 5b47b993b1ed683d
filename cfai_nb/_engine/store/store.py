"""What is known already: every answer that was paid for, and the book of charges, in one SQLite file.

The unit is the *pack*: the answers of one request, written with one commit when they arrive (100 vectors are one blob
of float32, not 100 rows).  Everything is appended; ``segments`` finds a key's pack.  Every record has a checksum over
all of it, its keys included: what does not match, or is not about the key that was asked for, is never an answer.

Sessions get theirs from ``sharing``: one for each file of this process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import StoreError
from ...models.ledger import Charge
from ...tasks import Cells, Json
from .codec import Turn, decode, encode, seal
from .index import SLOT_BITS, Places, halves, split
from .schema import SEALED, Displaced, explain, file_at, open_file, prepare
from .segments import IndexDamaged, Reader, rebuild
from .writer import BACKLOG, HELD, Job, Write, Writer

#: Bytes the store takes before the least recently used answers make room.
SIZE_LIMIT = 4 * 2**30
#: Seconds for which closing tries to write what could not be written so far.
CLOSING = 5.0
#: Seconds after which it is noted again that an answer is used.
_USED = 60.0

_CHARGE = "INSERT INTO charges VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
#: Takes the bill of a queued request upon oneself: one process does, however many fetch its answer.
_TAKE = "INSERT OR IGNORE INTO billed SELECT id, ? FROM queued WHERE id = ?"


class Held(NamedTuple):
    """What one pack holds of the keys asked for.

    Attributes
    ----------
    at : list of int
        Which of the keys.
    cells : Cells or None
        Their cells, in that order; None where the record is damaged.
    neurons : float or None
        What these cells had cost; None is unknown.
    log : str or None
        The gateway's log.
    """

    at: list[int]
    cells: Cells | None
    neurons: float | None = None
    log: str | None = None


class Store:
    """Answers by key, kept between kernels; safe for several processes at once.

    Parameters
    ----------
    path : Path
        The SQLite file; its folder is made if need be.
    limit : int
        Bytes to keep.

    Raises
    ------
    StoreError
        The file cannot be read or written, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path, limit: int = SIZE_LIMIT) -> None:
        self.path = path
        self.limit = limit
        self.damaged_charges = 0  # that the last look at the book left out
        self._lock = threading.Lock()
        with self._explained():
            self._reader = open_file(path)
            try:
                before = file_at(path)
                prepare(self._reader, path)
                self._file = file_at(path)
                self._steady = before == self._file  # some network drives give a file a new number at each look
            except BaseException:
                self._reader.close()
                raise
        self._index = Reader()
        self._writer = Writer(lambda: open_file(path), self._check, _enter, limit)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            raise explain(error, self.path) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Give the reader's connection, at one state of the file."""
        with self._explained(), self._lock:
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                with contextlib.suppress(sqlite3.Error):  # there is nothing to lose
                    self._reader.execute("ROLLBACK")

    def displaced(self) -> str | None:
        """Say what became of the file at the path, where it is not the one that was opened."""
        found = file_at(self.path)
        if found == self._file or (found is not None and not self._steady):
            return None
        return "the file was deleted while it was open" if found is None else "another file was put in its place"

    def _check(self) -> None:
        if what := self.displaced():
            raise Displaced(what)

    # -- reading -------------------------------------------------------------------------------------------------

    def locate(self, keys: Sequence[bytes]) -> tuple[Places, Places]:
        """Say in which pack and slot each key lies; -1 where it is not known."""
        return split(self._places(keys))

    def _places(self, keys: Sequence[bytes]) -> Places:
        high, low = halves(b"".join(keys))
        with self._reading() as connection:
            try:
                return self._index.find(connection, high, low)
            except IndexDamaged:
                self._writer.put(Job(rebuild, optional=True))
                return self._index.find(connection, high, low, trust=False)

    def held(self, keys: Sequence[bytes]) -> Iterator[list[Held]]:
        """Yield what the store holds of these keys, some packs at a time, in the order they were written.

        A key that nothing is yielded for is not known; a damaged record is yielded without cells, and dropped.
        """
        places = self._places(keys)
        known = np.flatnonzero(places >= 0)
        order = known[np.argsort(places[known], kind="stable")]  # each pack is read once, however the rows are mixed
        packs, starts = np.unique(places[order] >> SLOT_BITS, return_index=True)
        bounds = itertools.pairwise([*starts.tolist(), len(order)])
        slots = (places & (2**SLOT_BITS - 1)).tolist()
        used: list[int] = []
        damaged: list[int] = []
        try:
            for at in range(0, len(packs), 64):
                part = {pack: order[slice(*next(bounds))].tolist() for pack in packs[at : at + 64].tolist()}
                found = []
                for pack, row in self._fetched(list(part)):
                    mine = part[pack]
                    one = _opened(row, mine, [keys[index] for index in mine], [slots[index] for index in mine])
                    if one.cells is None:
                        damaged.append(pack)
                    elif row is not None and not _lately(row[0]):
                        used.append(pack)
                    found.append(one)
                    del part[pack]
                for pack, mine in part.items():  # not there: damage, unless another process evicted it just now
                    if (self._places([keys[index] for index in mine]) == places[mine]).any():
                        damaged.append(pack)
                        found.append(Held(mine, None))
                yield found
        finally:
            if used:  # so that what every run uses is not evicted before what was used once
                self._writer.put(Job(_touched(used), optional=True))
            if damaged:
                self._writer.put(Job(_dropped(damaged), optional=True))

    def _fetched(self, packs: list[int]) -> Iterator[tuple[int, tuple[object, ...] | None]]:
        """Yield (pack, its row) in ascending order; None for a row that cannot be read."""
        query = f"SELECT id, used, sum, {SEALED} FROM packs JOIN keys ON pack = id WHERE id IN "
        try:
            with self._reading() as connection:
                rows = connection.execute(f"{query}({','.join('?' * len(packs))}) ORDER BY id", packs).fetchall()
        except StoreError:
            if len(packs) == 1:
                yield packs[0], None
                return
            for pack in packs:  # which of them it is
                yield from self._fetched([pack])
            return
        yield from ((row[0], row[1:]) for row in rows)

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the writer is behind and a run should wait before it brings more."""
        return self._writer.waiting > BACKLOG and self._writer.trouble() is None

    def put(
        self, keys: Sequence[bytes], cells: Cells, charges: Sequence[Charge] = (), log: str | None = None,
        *, before: float | None = 0.0, owner: str = "", ends: bytes | None = None,
    ) -> None:  # fmt: skip
        """Hand the answers of one request, and what they cost, to the writer; committed at once, together.

        ``before`` is what they had cost that is in the book already; None is unknown.  ``owner`` is the run that hears
        of it if they cannot be written, ``ends`` the conversation that ends with them.
        """
        kind, body = encode(cells)
        each = [before, *(charge.neurons for charge in charges)]
        known = (charges or before) and None not in each
        neurons = _number(sum(filter(None, each))) if known else None
        joined = b"".join(keys)

        def write(connection: sqlite3.Connection) -> None:
            row = (kind, len(keys), len(body), time.time(), neurons, body, log)
            insert = "INSERT INTO packs (kind, rows, bytes, used, neurons, body, log) VALUES (?,?,?,?,?,?,?)"
            pack = connection.execute(insert, row).lastrowid
            total = seal(kind, len(keys), neurons, body, log, joined)
            connection.execute("INSERT INTO keys VALUES (?, ?, ?)", (pack, joined, total))
            if ends is not None:
                connection.execute("DELETE FROM turns WHERE key = ?", (ends,))
            _enter(connection, charges)

        self._writer.put(Job(write, len(body), charges, owner or _owner(charges), packs=1, keys=len(keys)))

    def charge(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the book without keeping an answer."""
        self._writer.put(Job(lambda connection: _enter(connection, charges), 0, charges, _owner(charges)))

    def behind(self, owner: str = "") -> bool:
        """Whether something (of this owner) waits to be written that soon may be."""
        return self._writer.behind(owner)

    def retry(self) -> None:
        """Try now what could not be written so far."""
        self._writer.retry()

    def trouble(self, owner: str = "") -> StoreError | None:
        """Return what keeps this owner's answers from being written at the moment."""
        error = self._writer.trouble(owner)
        return None if error is None else explain(error, self.path)

    def take_failure(self, owner: str = "") -> StoreError | None:
        """Return why answers of this owner are not in the file, where that is so."""
        error = self._writer.take_failure(owner)
        return None if error is None else explain(error, self.path)

    def flush(self) -> None:
        """Wait until everything handed over is committed, or cannot be at the moment."""
        self._writer.flush()

    def close(self, seconds: float | None = None) -> list[Job]:
        """Commit what waits and close the file; return what could not be written in that time."""
        left = self._writer.close(CLOSING if seconds is None else seconds)
        with self._lock:
            self._reader.close()
        return left

    def adopt(self, other: Store) -> None:
        """Write what another store of the same path could not."""
        other._writer.hand_over(self._writer)

    # -- conversations that have not ended -------------------------------------------------------------------------

    def add_turn(self, key: bytes, talk: bytes, place: int, turn: Turn, charges: Sequence[Charge]) -> None:
        """Keep one more answer of a conversation, in place of what was kept from there on."""
        row = (
            key, talk, place, turn.asked, turn.content, json.dumps(turn.headers), _number(turn.neurons), time.time(),
        )  # fmt: skip

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM turns WHERE key = ? AND talk = ? AND place >= ?", row[:3])
            connection.execute("INSERT INTO turns VALUES (?,?,?,?,?,?,?,?,?)", (*row, seal(*row)))
            _enter(connection, charges)

        self._writer.put(Job(write, len(turn.content), charges, _owner(charges)))

    def drop_turns(self, key: bytes, charges: Sequence[Charge]) -> None:
        """Forget a conversation, and enter what it cost."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM turns WHERE key = ?", (key,))
            _enter(connection, charges)

        self._writer.put(Job(write, 0, charges, _owner(charges)))

    def turns(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, list[Turn]]]:
        """Return the turns of these conversations: of each the talk that came farthest, up to what is damaged."""
        wanted, found = set(keys), dict[bytes, tuple[bytes, list[Turn]]]()
        with self._reading() as connection:
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

    # -- the service's queue ---------------------------------------------------------------------------------------

    def enqueue(self, name: str, account: str, origin: str, model: str, requests: Sequence[Sequence[bytes]]) -> None:
        """Keep the id of what was handed in to the service's queue, with the keys of its requests."""
        sizes = np.array([len(keys) for keys in requests], dtype="<i4").tobytes()
        row = (name, account, origin, model, time.time(), sizes, b"".join(key for keys in requests for key in keys))
        insert, full = "INSERT INTO queued VALUES (?,?,?,?,?,?,?,?)", (*row, seal(*row))
        self._writer.put(Job(lambda connection: connection.execute(insert, full)))

    def dequeue(self, name: str) -> None:
        """Forget a submission: its answers are kept, or it is not known any more."""

        def write(connection: sqlite3.Connection) -> None:
            for table in ("queued", "billed"):
                connection.execute(f"DELETE FROM {table} WHERE id = ?", (name,))

        self._writer.put(Job(write))

    def queued(self, account: str, origin: str, model: str) -> list[tuple[str, list[list[bytes]]]]:
        """Return (id, keys of each request) of what was handed in and not fetched yet, oldest first."""
        self.flush()
        with self._reading() as connection:
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

        self._writer.put(Job(write))

    def listing(self) -> tuple[str, list[Json]] | None:
        """Return the kept listing of models and its date."""
        with self._reading() as connection:
            row = connection.execute("SELECT checked_on, body, sum FROM listings").fetchone()
        return (row[0], json.loads(row[1])) if row and seal(*row[:2]) == row[2] else None

    def charges(self, since: float = 0.0) -> list[Charge]:
        """Return the charges since a time (seconds since 1970), oldest first; also those still to be written."""
        self.flush()
        with self._writer.committing:  # none is committed between the two looks
            with self._reading() as connection:
                rows = connection.execute("SELECT * FROM charges WHERE time >= ? ORDER BY time", (since,)).fetchall()
            waiting = [charge for charge in self._writer.unwritten() if charge.time >= since]
        whole = [row for row in rows if seal(*row[:-1]) == row[-1]]
        self.damaged_charges = len(rows) - len(whole)
        kept = [Charge(**dict(zip(_CHARGE_FIELDS, row, strict=False)) | {"exact": bool(row[9])}) for row in whole]
        return kept + waiting

    def size(self) -> tuple[int, int]:
        """Return (answers, bytes) held, keys and what a record takes beside them included."""
        self.flush()
        with self._reading() as connection:
            rows = connection.execute("SELECT coalesce(sum(rows), 0) FROM packs").fetchone()[0]
            size = connection.execute(HELD).fetchone()[0]
        return int(rows), int(size)


def _lately(used: object) -> bool:
    return isinstance(used, float) and used > time.time() - _USED


def _opened(row: tuple[object, ...] | None, at: list[int], wanted: list[bytes], slots: list[int]) -> Held:
    """Return the cells of a pack that were asked for, after all was checked."""
    if row is None or seal(*row[2:]) != row[1]:
        return Held(at, None)
    kind, rows, neurons, body, log, keys = row[2:]
    assert isinstance(kind, str)
    assert isinstance(rows, int)
    assert isinstance(body, bytes)
    assert isinstance(keys, bytes)
    cells = decode(kind, rows, body)
    if keys != b"".join(wanted):  # not all of it, in its order
        for slot, key in zip(slots, wanted, strict=True):
            if keys[16 * slot : 16 * slot + 16] != key:
                return Held(at, None)  # the index meant another pack
        cells = cells[slots] if isinstance(cells, np.ndarray) else [cells[slot] for slot in slots]
    share = neurons * len(slots) / max(1, rows) if isinstance(neurons, float) else None
    return Held(at, cells, share, log if isinstance(log, str) else None)


def _owner(charges: Sequence[Charge]) -> str:
    return charges[0].run if charges else ""


def _number(value: float | None) -> float | None:
    """Return a number as SQLite gives it back: it keeps no NaN."""
    return None if value is None or value != value else float(value)


def _enter(connection: sqlite3.Connection, charges: Sequence[Charge]) -> None:
    for charge in charges:
        if charge.queued is None or connection.execute(_TAKE, charge.queued[::-1]).rowcount:
            row = _charge_row(charge)
            connection.execute(_CHARGE, (*row, seal(*row)))


def _touched(packs: Sequence[int]) -> Write:
    rows = [(time.time(), pack) for pack in packs]
    return lambda connection: connection.executemany("UPDATE packs SET used = ? WHERE id = ?", rows)


def _dropped(packs: Sequence[int]) -> Write:
    rows = [(pack,) for pack in packs]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("DELETE FROM packs WHERE id = ?", rows)
        connection.executemany("DELETE FROM keys WHERE pack = ?", rows)
        rebuild(connection)

    return write


_CHARGE_FIELDS = (
    "time", "run", "account", "origin", "model", "verb", "requests", "rows", "neurons", "exact", "saved_neurons",
    "tokens", "seconds",
)  # fmt: skip


def _charge_row(charge: Charge) -> tuple[object, ...]:
    """Return the columns of a charge, as SQLite gives them back."""
    values = [getattr(charge, name) for name in _CHARGE_FIELDS]
    return tuple(
        value if isinstance(value, str) else int(value) if name in ("requests", "rows", "exact") else _number(value)
        for name, value in zip(_CHARGE_FIELDS, values, strict=True)
    )
