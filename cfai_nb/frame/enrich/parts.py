"""The folder that ``enrich`` writes: numbered parquet files, each of which says what it holds.

A part is written to a temporary name and renamed, so that a part that exists is whole, and its record (rows, question,
source) lies in the metadata of the file itself: folder and record cannot differ after a crash.  Readers of parquet
folders (pandas, Polars, DuckDB, Spark) read it as one table, in order.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import CfaiError, SetupError, StoreError

#: The key of a part's record in the metadata of its file.
RECORD = b"cfai_nb.enrich"
_NAME = "part-{:05}.parquet"
_LOCK = ".cfai_nb.lock"
#: Seconds to wait for the folder: a call that was cancelled lets go of it when its thread has read what it reads.
_LETS_GO = 1.0


@dataclass(frozen=True)
class Part:
    """A part that is there: its file and its record."""

    path: Path
    record: Mapping[str, Any]

    @property
    def start(self) -> int:
        """The number of its first row in the source."""
        return int(self.record["start"])

    @property
    def stop(self) -> int:
        """The number of the row behind its last one."""
        return int(self.record["stop"])


class Target:
    """The folder of parts: those that are there, by number, and the names of those that were cut short."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder).expanduser()
        self.parts: dict[int, Part] = {}
        self.broken: list[str] = []

    def look(self) -> None:
        """Read which parts are there.

        Raises
        ------
        SetupError
            It is not a folder, or holds parquet files that are not parts.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.parts, self.broken = {}, []
        if self.folder.exists() and not self.folder.is_dir():
            raise SetupError(f"target: {self.folder} is not a folder; give a new one.")
        for path in sorted(self.folder.glob("*.parquet")):
            number = _number(path)
            try:
                metadata = pq.read_metadata(path).metadata or {}
                record = json.loads(metadata[RECORD]) if RECORD in metadata else None
            except (pa.ArrowException, OSError, ValueError) as error:
                if number is None:
                    raise SetupError(f"target: {path} is not a part that can be read: {error!s:.100}") from None
                self.broken.append(path.name)
                continue
            if number is None or record is None:
                raise SetupError(f"target: {path} was not written by enrich; give a folder of its own.")
            self.parts[number] = Part(path, record)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, and keep other processes from writing it at the same time.

        Raises
        ------
        SetupError
            Another process writes it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / _LOCK, "ab")  # noqa: SIM115
        except OSError as error:
            raise SetupError(f"target: {self.folder} cannot be written: {error.strerror}") from None
        with lock:
            until = time.monotonic() + _LETS_GO
            while True:
                try:
                    _hold(lock.fileno())
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise SetupError(f"target: another call writes {self.folder} at the moment.") from None
                time.sleep(0.01)
            for left in self.folder.glob(".part-*.tmp"):  # of a process that was killed
                left.unlink()
            yield

    def remove(self, numbers: Iterable[int]) -> None:
        """Remove parts that will be made again."""
        for number in list(numbers):
            self.parts.pop(number).path.unlink()

    def write(
        self, number: int, record: Mapping[str, Any], schema: Any, tables: Iterable[Any], plain: Sequence[str]
    ) -> None:
        """Write a part: to a temporary name first, and to its own when it is on the disk.

        Each of the tables becomes a row group.  `plain` names columns that do not get smaller by compression: vectors.

        Raises
        ------
        StoreError
            The disk is full or cannot be written.
        """
        import pyarrow.parquet as pq

        path, temporary = self.folder / _NAME.format(number), self.folder / f".{_NAME.format(number)}.tmp"
        metadata = {**(schema.metadata or {}), RECORD: json.dumps(record).encode()}
        others = [name for name in schema.names if name not in plain]
        packed = dict.fromkeys(others, "snappy") | dict.fromkeys(plain, "none")
        try:
            with open(temporary, "wb") as file:
                with pq.ParquetWriter(
                    file, schema.with_metadata(metadata), use_dictionary=others, write_statistics=others,
                    compression=_by_leaf(schema, packed),
                ) as writer:  # fmt: skip
                    for table in tables:
                        writer.write_table(table, row_group_size=max(1, table.num_rows))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise StoreError(
                f"part {number} could not be written to {self.folder}: {error.strerror or error}. The parts before it "
                "are there, and the same call goes on with it."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        self.parts[number] = Part(path, record)


def left(parts: Mapping[int, Part]) -> list[tuple[int, int, int | None]]:
    """Return what has to be done: (number, first row, row behind the last) of parts that are gone, and the open end.

    Raises
    ------
    CfaiError
        The parts do not follow one another.
    """
    todo: list[tuple[int, int, int | None]] = []
    at = number = 0
    for there in sorted(parts):
        part, gone = parts[there], there - number
        rows = part.start - at
        if rows < 0 or (rows and not gone):
            raise CfaiError(f"{part.path.name} begins at row {part.start:,}, not at {at:,}: it is not of this folder.")
        for nth in range(gone):
            start, stop = (at + rows * edge // gone for edge in (nth, nth + 1))
            todo.append((number + nth, start, stop))
        at, number = part.stop, there + 1
    return [*todo, (number, at, None)]


def _number(path: Path) -> int | None:
    stem = path.stem.removeprefix("part-")
    return int(stem) if stem.isdecimal() and path.name == _NAME.format(int(stem)) else None


def _by_leaf(schema: Any, packed: Mapping[str, str]) -> dict[str, str]:
    """Return the compression of each column by the path it has in the file."""
    import pyarrow as pa

    leaves: dict[str, str] = {}

    def walk(path: str, kind: Any, wanted: str) -> None:
        kind = getattr(kind, "storage_type", kind)
        if pa.types.is_map(kind):
            walk(f"{path}.key_value.key", kind.key_type, wanted)
            walk(f"{path}.key_value.value", kind.item_type, wanted)
        elif isinstance(kind, pa.StructType):
            for one in kind:
                walk(f"{path}.{one.name}", one.type, wanted)
        elif hasattr(kind, "value_type") and not pa.types.is_dictionary(kind):
            walk(f"{path}.list.element", kind.value_type, wanted)
        else:
            leaves[path] = wanted

    for one in schema:
        walk(one.name, one.type, packed[one.name])
    return leaves


if sys.platform == "win32":
    import msvcrt

    def _hold(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _hold(file: int) -> None:
        """Lock a file until it is closed, also by the end of the process; raises OSError where another holds it."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
