"""The thread that writes the store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..ledger import Charge

#: What is written: a few statements within the transaction.
Write: TypeAlias = Callable[[sqlite3.Connection], object]
_Job: TypeAlias = tuple[Write, int, Sequence[Charge]]


class Writer:
    """Takes whatever waits and commits it as one transaction, in a thread of its own.

    Parameters
    ----------
    connect : callable
        Opens a connection, in the thread that uses it.
    failed : callable
        Told the error of a commit, and the charges that are lost with it.
    limit : int
        Bytes of answers beyond which the least recently used ones make room.

    Attributes
    ----------
    waiting : int
        Bytes of answers not yet committed.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        failed: Callable[[Exception, list[Charge]], None],
        limit: int,
    ) -> None:
        self._connect = connect
        self._failed = failed
        self._limit = limit
        self._jobs: list[_Job] = []
        self._condition = threading.Condition()
        self._closing = self._busy = False
        self._held = -1  # bytes of answers in the file; -1: not yet counted
        self.waiting = 0
        self._thread = threading.Thread(target=self._work, name="cfai-nb-store", daemon=True)
        self._thread.start()

    def put(self, write: Write, size: int = 0, charges: Sequence[Charge] = ()) -> None:
        """Hand something over."""
        with self._condition:
            self._jobs.append((write, size, charges))
            self.waiting += size
            self._condition.notify_all()

    def flush(self) -> None:
        """Wait until everything handed over is committed or has failed."""
        with self._condition:
            while (self._jobs or self._busy) and self._thread.is_alive():
                self._condition.wait(0.5)

    def close(self) -> None:
        """Commit what waits, and end."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join(timeout=60)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        while jobs := self._take():
            try:
                if connection is None:
                    connection = self._connect()
                    connection.execute("PRAGMA wal_autocheckpoint=4000")  # 16 MB: fewer fsyncs than the default 4 MB
                self._commit(connection, jobs)
            except Exception as error:  # whatever it is, it must be told and must not end the thread
                self._failed(error, [charge for _, _, charges in jobs for charge in charges])
            else:
                self._keep_within_limit(connection, sum(size for _, size, _ in jobs))
            with self._condition:
                self.waiting -= sum(size for _, size, _ in jobs)
                self._busy = False
                self._condition.notify_all()
        if connection is not None:
            connection.close()

    def _take(self) -> list[_Job]:
        """Wait for jobs and return all there are; none when the writer is being closed."""
        with self._condition:
            while not self._jobs and not self._closing:
                self._condition.wait()
            jobs, self._jobs = self._jobs, []
            self._busy = bool(jobs)
            return jobs

    def _commit(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write, _, _ in jobs:
                write(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _keep_within_limit(self, connection: sqlite3.Connection, added: int) -> None:
        try:
            self._make_room(connection, added)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._failed(error, [])

    def _make_room(self, connection: sqlite3.Connection, added: int) -> None:
        if self._held < 0:
            self._held = connection.execute("SELECT coalesce(sum(bytes), 0) FROM packs").fetchone()[0]
        else:
            self._held += added
        if self._held <= self._limit:
            return
        excess = self._held - int(self._limit * 0.9)
        oldest, freed = [], 0
        for pack, size in connection.execute("SELECT id, bytes FROM packs ORDER BY used"):
            oldest.append((pack,))
            freed += size
            if freed >= excess:
                break
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM packs WHERE id = ?", oldest)
        connection.executemany("DELETE FROM keys WHERE pack = ?", oldest)
        connection.execute("COMMIT")  # the file keeps its size; new answers take the free pages
        self._held = connection.execute("SELECT coalesce(sum(bytes), 0) FROM packs").fetchone()[0]
