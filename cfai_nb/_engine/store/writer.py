"""The thread that writes the store: commits waiting jobs together, and tries again what could not be committed.

``Store`` puts a ``Job`` for each set of answers, charges or other changes.  Runs ask whether their answers are written,
and why not; a run waits for the disk only where the writer is far behind.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...errors import StoreError
from ...models.ledger import Charge
from .key_index import TAIL_KEYS, TAIL_RECORDS, grow, rebuild, tail_of
from .tables import VERSION, Displaced, explain, is_lock, is_of_the_file, open_file, transaction

#: What is written: a few statements within the transaction.
Write: TypeAlias = Callable[[sqlite3.Connection], object]

#: Bytes of answers that may wait.  Beyond that, runs wait for the writer; if it cannot write, answers are dropped.
BACKLOG = 64 * 2**20
#: Seconds for which another program's lock is waited for before it counts as a failure; the shortest and the longest
#: pause before a new attempt; and for how long SQLite itself waits for a lock.
LOCKED, FIRST_PAUSE, LAST_PAUSE, _BUSY = 60.0, 0.05, 5.0, 1.0
#: Bytes of overhead of a record and of a key in the file, including the index.
_PER_RECORD, _PER_KEY = 80, 40
#: How much a process writes between two counts of the whole file, as a fraction of the limit.
_COUNT_AGAIN = 0.02
HELD = f"SELECT coalesce(sum(bytes), 0) + {_PER_KEY} * coalesce(sum(rows), 0) + {_PER_RECORD} * count(*) FROM packs"
#: Bytes of answers after which the write-ahead log is moved into the file; it takes 40 to 150 ms, and the answers in it
#: count as written before.  From so many pages on, a commit does it itself.
_LOG, _LOG_PAGES = 16 * 2**20, 8_000
#: Seconds after which turns of an abandoned conversation are removed.
_TURNS = 30 * 86_400
#: Errors about the data and not the file: trying again would not help.
_NEVER = (
    sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, ValueError, TypeError,
    OverflowError,
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Job:
    """Something to write."""

    write: Write
    size: int = 0  # bytes of answers
    charges: Sequence[Charge] = ()  # that it enters in the ledger
    owner: str = ""  # the run that its failure is reported to; by default the one that the charges belong to
    optional: bool = False  # it is dropped when it fails, since nothing is lost with it
    tried: bool = False  # an attempt failed
    error: Exception | None = None  # why; None while it waits for a lock
    keys: Sequence[bytes] = ()  # of the record that it adds

    def __post_init__(self) -> None:
        if self.charges and not self.owner:
            self.owner = self.charges[0].run


class Writer:
    """Commits all waiting jobs as one transaction, in a thread of its own.

    If that fails, the jobs are tried one by one, and those that fail are tried again after growing pauses.  They
    stay in memory until they are written or the writer is closed; beyond ``BACKLOG`` their answers are dropped, but
    never their charges.

    ``check`` is called before each commit; it raises an error if another file has taken the place of the one that was
    opened.  ``enter`` writes charges, which are kept when the answers of a job cannot be written.  ``limit`` is the
    number of bytes that answers may take; above it, those used least recently are deleted.
    """

    def __init__(
        self, path: Path, check: Callable[[], None], enter: Callable[[sqlite3.Connection, Sequence[Charge]], None],
        limit: int,
    ) -> None:  # fmt: skip
        self._path, self._check, self._enter, self._limit = path, check, enter, limit
        self._jobs: list[Job] = []
        self._condition = threading.Condition(threading.RLock())
        self.committing = threading.Lock()  # held during a commit, until its jobs are off the list
        self._thread: threading.Thread | None = None
        self._successor: Writer | None = None
        self._failing: dict[str, Exception] = {}
        self._lost: dict[str, Exception] = {}
        self._stuck: Exception | None = None  # why nothing can be committed
        self._locked_since: float | None = None
        self._pause, self._again_at = FIRST_PAUSE, 0.0
        self._closing, self._deadline = False, 0.0
        self._held = -1  # bytes in the file; -1: not yet counted
        self._counted = 0  # of them when they were counted last
        self._logged = 0  # bytes of answers committed since the log was moved into the file
        self._tail = [0, 0]  # records and keys written since the index was last looked at
        self.waiting = 0  # bytes of answers not yet committed

    # -- called by other threads ---------------------------------------------------------------------------------

    def put(self, job: Job) -> None:
        """Add a job; the thread is started with the first one."""
        with self._condition:
            if self._successor is not None:
                self._successor.put(job)
                return
            if self.waiting + job.size > BACKLOG and self._stuck is not None:
                self._give_up(job, self._stuck)
            self._jobs.append(job)
            self.waiting += job.size
            if self._closing:
                self._deadline = max(self._deadline, time.monotonic() + 1.0)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="cfai-nb-store", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    @property
    def full(self) -> bool:
        """Whether it is far behind, so that runs should wait before they put more."""
        return self.waiting > BACKLOG and self.trouble() is None

    def unfinished(self, owner: str = "") -> list[Job]:
        """Return the jobs (of this owner) that wait for their first attempt or for a lock."""
        if self._successor is not None:
            return self._successor.unfinished(owner)
        with self._condition:
            return [job for job in self._jobs if not job.optional and job.error is None and owner in ("", job.owner)]

    def flush(self) -> None:
        """Wait until every job is committed, or cannot be at the moment."""
        with self._condition:
            while self.unfinished() and self._thread is not None:
                self._condition.wait(0.5)

    def retry(self) -> None:
        """Try now what failed before, since the cause may be gone."""
        with self._condition:
            for job in self._jobs:
                if job.error is not None:
                    job.tried, job.error = False, None
            self._again_at = 0.0
            self._condition.notify_all()

    def trouble(self, owner: str = "") -> StoreError | None:
        """Return what prevents this owner's answers, or all, from being written at the moment."""
        if self._successor is not None:
            return self._successor.trouble(owner)
        error = (self._stuck if self._jobs else None) or self._failing.get(owner)
        return None if error is None else explain(error, self._path)

    def take_failure(self, owner: str = "") -> StoreError | None:
        """Return why this owner's answers were lost, which is reported once, or cannot be written."""
        if self._successor is not None:
            return self._successor.take_failure(owner)
        with self._condition:
            error = self._lost.pop(owner, None) or self._lost.pop("", None) or self._failing.get(owner)
            return explain(error, self._path) if error is not None else None if owner else self.trouble()

    def unwritten(self) -> list[Charge]:
        """Return the charges that are not in the file yet; call it while ``committing`` is held."""
        with self._condition:
            return [charge for job in self._jobs for charge in job.charges]

    def close(self, seconds: float) -> list[Job]:
        """Commit what waits, for at most so many seconds; return what could not be written."""
        with self._condition:
            self._closing, self._deadline, self._again_at = True, time.monotonic() + seconds, 0.0
            thread = self._thread
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds + 2 * _BUSY)
        with self._condition:
            return [job for job in self._jobs if not job.optional]

    def hand_over(self, successor: Writer) -> None:
        """Give everything that waits, now and later, to another writer."""
        with self.committing, self._condition:
            self._successor, self._closing, self._deadline = successor, True, 0.0
            jobs, self._jobs, self.waiting = self._jobs, [], 0
            self._condition.notify_all()
        for job in jobs:
            job.tried, job.error = False, None
            successor.put(job)

    # -- the thread ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._write()
        finally:
            with self._condition:
                if self._thread is threading.current_thread():  # an error ended it; the next job starts another
                    self._thread = None
                self._condition.notify_all()

    def _write(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while jobs := self._take():
                try:
                    self._check()
                    if connection is None:
                        connection = open_file(self._path)
                        connection.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
                        connection.execute(f"PRAGMA busy_timeout={int(_BUSY * 1000)}")
                    self._commit(connection, jobs)
                except Exception as error:  # whatever it is, it is reported and must not end the thread
                    self._failed(connection, jobs, error)
                if connection is not None and self._stuck is None:
                    self._tidy(connection)
        finally:
            if connection is not None:
                connection.close()

    def _take(self) -> list[Job]:
        """Wait for jobs and return those to try now; none when the writer is being closed."""
        with self._condition:
            while True:
                now = time.monotonic()
                due = now >= self._again_at
                jobs = [job for job in self._jobs if due or not job.tried]
                over = self._closing and (not self._jobs or now >= self._deadline)
                if jobs and not (over and self._again_at):
                    return jobs
                if over:
                    self._thread = None
                    self._condition.notify_all()
                    return []
                ends = [self._again_at] * bool(self._jobs) + [self._deadline] * self._closing
                self._condition.wait(max(0.001, min(ends) - now) if ends else None)

    def _commit(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                job.write(connection)
            with self.committing:
                if self._successor is not None:
                    raise Displaced("another writer took over")
                connection.execute("COMMIT")
                self._settle(jobs)
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise

    def _settle(self, jobs: list[Job]) -> None:
        """Take committed and dropped jobs off the list."""
        with self._condition:
            gone = set(map(id, jobs))
            self._jobs = [job for job in self._jobs if id(job) not in gone]
            for job in jobs:
                self.waiting -= job.size
                self._logged += job.size
                records, keys = int(bool(job.keys)), len(job.keys)
                self._held += job.size + _PER_RECORD * records + _PER_KEY * keys if self._held >= 0 else 0
                self._tail[0] += records
                self._tail[1] += keys
            self._failing = {job.owner: job.error for job in self._jobs if job.error is not None}
            self._stuck = self._locked_since = None
            self._pause, self._again_at = FIRST_PAUSE, 0.0 if not self._failing else self._again_at
            self._condition.notify_all()

    def _failed(self, connection: sqlite3.Connection | None, jobs: list[Job], error: Exception) -> None:
        """Try the jobs one by one; note those that fail again, and when to try them next."""
        passed, failed = False, dict.fromkeys(jobs, error)
        if connection is not None and not is_lock(error):
            for job in jobs if len(jobs) > 1 else ():
                try:
                    self._check()
                    self._commit(connection, [job])
                    passed = True
                    del failed[job]
                except Exception as again:
                    failed[job] = again
            passed = passed or (not is_of_the_file(error) and self._probe(connection))
        with self._condition:
            for job, reason in failed.items():
                self._note(job, reason)
            if not passed and not (is_lock(error) and not self._patience_over()):
                self._stuck = next(iter(failed.values()))
            if is_lock(error):  # SQLite waited already
                self._pause = FIRST_PAUSE
            self._again_at = time.monotonic() + self._pause
            self._pause = min(LAST_PAUSE, 2 * self._pause)
            self._condition.notify_all()

    def _note(self, job: Job, reason: Exception) -> None:
        job.tried = True
        if job not in self._jobs:  # another writer took it meanwhile
            return
        if job.optional:
            self._jobs.remove(job)
        elif isinstance(reason, _NEVER) and job.size:
            self._give_up(job, reason)
        elif not is_lock(reason) or self._patience_over():
            job.error = self._failing[job.owner] = reason

    def _patience_over(self) -> bool:
        now = time.monotonic()
        self._locked_since = self._locked_since or now
        return now - self._locked_since >= LOCKED

    def _probe(self, connection: sqlite3.Connection) -> bool:
        """Whether anything can be written, so that only the failed jobs are to blame."""
        try:
            self._check()
            connection.execute(f"PRAGMA user_version={VERSION}")
        except Exception:
            return False
        return True

    def _give_up(self, job: Job, reason: Exception) -> None:
        """Drop the answers of a job that cannot be written; its charges stay."""
        self._lost[job.owner], job.tried = reason, False
        self.waiting -= job.size if job in self._jobs else 0
        charges = job.charges
        job.write, job.size, job.keys = lambda connection: self._enter(connection, charges), 0, ()

    # -- after a commit ------------------------------------------------------------------------------------------

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Maintain the log, the index and the size limit; the next run that ends reports a failure."""
        try:
            if self._logged > _LOG:
                with contextlib.suppress(sqlite3.Error):  # the answers stay in the log, and it is tried again
                    connection.execute("PRAGMA wal_checkpoint")
                    self._logged = 0
            if self._held < 0:
                self._begin(connection)
            if self._tail[0] > TAIL_RECORDS or self._tail[1] > TAIL_KEYS:
                with transaction(connection):
                    grow(connection)
                self._tail = [0, 0]
            if self._held - self._counted > _COUNT_AGAIN * self._limit:  # other processes write into the file as well
                self._count(connection)
            if self._held > self._limit:
                with transaction(connection):
                    self._make_room(connection)
                self._count(connection)
        except Exception as error:
            if not is_lock(error):
                self._lost[""] = error

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Count what the file holds, and remove turns of abandoned conversations."""
        self._count(connection)
        self._tail = list(tail_of(connection))
        connection.execute("DELETE FROM turns WHERE time < ?", (time.time() - _TURNS,))

    def _count(self, connection: sqlite3.Connection) -> None:
        self._held = self._counted = connection.execute(HELD).fetchone()[0]

    def _make_room(self, connection: sqlite3.Connection) -> None:
        excess = connection.execute(HELD).fetchone()[0] - int(self._limit * 0.9)
        oldest, freed = [], 0
        for record, size, rows in connection.execute("SELECT id, bytes, rows FROM packs ORDER BY used"):
            if freed >= excess:
                break
            oldest.append((record,))
            freed += size + _PER_RECORD + _PER_KEY * rows
        connection.executemany("DELETE FROM packs WHERE id = ?", oldest)
        connection.executemany("DELETE FROM keys WHERE pack = ?", oldest)
        rebuild(connection)  # the file keeps its size; new answers take the free pages
