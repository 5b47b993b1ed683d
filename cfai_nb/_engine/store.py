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

from ..errors import StoreError
from ..ledger import Charge
from ..tasks import Cells, Json
from .index import Index
from .pack import decode, encode
from .schema import explain, open_file, prepare
from .writer import Write, Writer

#: Bytes of answers kept before the least recently used ones make room.
SIZE_LIMIT = 4 * 2**30
#: Bytes of answers that may wait for the writer before the run waits for it.
_BACKLOG = 64 * 2**20
_DAY = 86_400

_CHARGE = "INSERT INTO charges VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"


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
            self._reader = open_file(path)
            try:
                prepare(self._reader, path)
            except BaseException:
                self._reader.close()
                raise
        self._index = Index()
        self._writer = Writer(lambda: open_file(path), self._fail, limit)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path) from error

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
                yield pack, decode(kind, rows, body), neurons, log

    # -- writing -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether the writer is behind and a run should wait before it brings more."""
        return self._writer.waiting > _BACKLOG

    def put(self, keys: Sequence[bytes], cells: Cells, charges: Sequence[Charge] = (), log: str | None = None) -> None:
        """Hand the answers of one request, and what they cost, to the writer; committed at once, together."""
        kind, body = encode(cells)
        known = [c.neurons for c in charges if c.neurons is not None]
        neurons = sum(known) if known and len(known) == len(charges) else None
        joined = b"".join(keys)

        def write(connection: sqlite3.Connection) -> None:
            row = (kind, len(keys), len(body), time.time(), neurons, body, log)
            insert = "INSERT INTO packs (kind, rows, bytes, used, neurons, body, log) VALUES (?,?,?,?,?,?,?)"
            pack = connection.execute(insert, row).lastrowid
            connection.execute("INSERT INTO keys VALUES (?, ?)", (pack, joined))
            connection.executemany(_CHARGE, map(_charge_row, charges))

        self._writer.put(write, len(body), charges)

    def charge(self, charges: Sequence[Charge]) -> None:
        """Enter charges in the book without keeping an answer."""
        self._writer.put(lambda connection: connection.executemany(_CHARGE, map(_charge_row, charges)), 0, charges)

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
        self._writer.put(lambda connection: connection.execute("DELETE FROM queued WHERE id = ?", (name,)), 0)

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


def _touched(packs: Iterable[int]) -> Write:
    rows = [(time.time(), pack) for pack in packs]
    return lambda connection: connection.executemany("UPDATE packs SET used = ? WHERE id = ?", rows)


_CHARGE_FIELDS = (
    "time", "run", "account", "origin", "model", "verb", "requests", "rows", "neurons", "exact", "saved_neurons",
    "tokens", "seconds",
)  # fmt: skip


def _charge_row(charge: Charge) -> tuple[object, ...]:
    return tuple(getattr(charge, name) for name in _CHARGE_FIELDS)
