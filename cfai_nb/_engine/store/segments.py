"""The key index in the file: sorted segments in buckets by a key's first byte, of which a call loads what it needs.

Packs are appended with their keys beside them; a B-tree over the keys would dirty a page for almost every one.  The
writer moves the keys of new packs into a *segment* once they are many, and merges segments of similar size, so that a
key is rewritten only as often as the index doubles.  A reader looks into the bucket of each key in every segment, and
into the keys of the packs written since (the *tail*).  All of it is made from the keys beside the packs: where a
checksum does not match, the index is built again.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .codec import seal
from .index import Index, Places, Sorted, Words, places_of

BUCKETS = 256
#: Packs and keys that may lie in the tail before the writer makes a segment of them.
TAIL_PACKS, TAIL_KEYS = 10_000, 100_000
#: A segment is merged with the older one next to it unless that is larger by this factor.
_RATIO = 4
#: Keys that are sorted at once, and bytes of buckets that a reader holds.
_AT_ONCE, _HELD = 250_000, 64 * 2**20
#: Packs beyond this number are damage: no store numbers so many.
_MOST = 2**39
_NEWER = "SELECT pack, keys FROM keys WHERE pack > ? AND pack < ? ORDER BY pack"


class IndexDamaged(Exception):
    """The index in the file does not match its checksums; the writer builds it again."""


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int
    upto: int  # the newest pack in it
    sizes: npt.NDArray[np.uint32]  # keys by bucket

    def bucket(self, connection: sqlite3.Connection, number: int) -> Sorted:
        """Load one bucket."""
        size, id_ = int(self.sizes[number]), self.id * BUCKETS + number
        if not size:
            return Sorted()
        row = connection.execute("SELECT keys, sum FROM buckets WHERE id = ?", (id_,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or len(row[0]) != 24 * size or seal(id_, row[0]) != row[1]:
            raise IndexDamaged
        return Sorted.read(row[0])


def _listed(connection: sqlite3.Connection) -> list[_Segment]:
    """Return the segments, the oldest first."""
    found = []
    for id_, upto, sizes, total in connection.execute("SELECT id, upto, sizes, sum FROM segments ORDER BY upto"):
        if seal(id_, upto, sizes) != total or len(sizes) != 4 * BUCKETS:
            raise IndexDamaged
        found.append(_Segment(id_, upto, np.frombuffer(sizes, dtype="<u4")))
    return found


class Reader:
    """Looks keys up; holds the buckets it loaded, within a bound, and the tail."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._buckets: OrderedDict[tuple[int, int], Sorted] = OrderedDict()
        self._bytes = 0
        self._tail = Index()

    def find(self, connection: sqlite3.Connection, high: Words, low: Words, *, trust: bool = True) -> Places:
        """Return the place of each key, -1 where it is unknown; within one read transaction.

        Without ``trust`` all keys are read, past the segments.

        Raises
        ------
        IndexDamaged
            The index must be built again; until then it is not to be trusted.
        """
        listed = _listed(connection) if trust else []
        if [each.id for each in listed] != [each.id for each in self._segments]:
            self._segments, self._bytes = listed, 0
            self._buckets.clear()
            self._tail = Index(listed[-1].upto if listed else 0)
        self._tail.extend(connection.execute(_NEWER, (self._tail.newest, _MOST)).fetchall())
        places = self._tail.places(high, low)
        numbers = (high >> np.uint64(56)).astype(np.int64)
        order = np.argsort(numbers, kind="stable")
        distinct, starts = np.unique(numbers[order], return_index=True)
        for number, group in zip(distinct.tolist(), np.split(order, starts)[1:], strict=True):
            for segment in reversed(self._segments):  # the newest counts
                open_ = group[places[group] < 0]
                if len(open_):
                    places[open_] = self._bucket(connection, segment, number).find(high[open_], low[open_])
        return places

    def _bucket(self, connection: sqlite3.Connection, segment: _Segment, number: int) -> Sorted:
        place = (segment.id, number)
        bucket = self._buckets.get(place)
        if bucket is None:
            bucket = self._buckets[place] = segment.bucket(connection, number)
            self._bytes += 24 * len(bucket)
        self._buckets.move_to_end(place)
        while self._bytes > _HELD and len(self._buckets) > 1:
            self._bytes -= 24 * len(self._buckets.popitem(last=False)[1])
        return bucket


def tail_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return how many packs and keys lie in the tail."""
    newest = connection.execute("SELECT coalesce(max(upto), 0) FROM segments").fetchone()[0]
    query = "SELECT count(*), coalesce(sum(length(keys)), 0) / 16 FROM keys WHERE pack > ?"
    packs, keys = connection.execute(query, (newest,)).fetchone()
    return int(packs), int(keys)


def grow(connection: sqlite3.Connection) -> None:
    """Move the tail into a segment and merge what is of similar size; within a write transaction."""
    try:
        segments = _listed(connection)
    except IndexDamaged:
        rebuild(connection)
        return
    for rows in _in_parts(connection, segments[-1].upto if segments else 0):
        segments.append(_write(connection, rows[-1][0], _cut(places_of(rows))))
        while len(segments) > 1 and segments[-1].sizes.sum() * _RATIO >= segments[-2].sizes.sum():
            newer, older = segments.pop(), segments.pop()
            try:
                both = [older.bucket(connection, at).merged(newer.bucket(connection, at)) for at in range(BUCKETS)]
            except IndexDamaged:
                rebuild(connection)
                return
            for each in (older, newer):
                _remove(connection, each)
            segments.append(_write(connection, newer.upto, both))


def rebuild(connection: sqlite3.Connection) -> None:
    """Build the whole index again from the keys beside the packs; within a write transaction."""
    connection.execute("DELETE FROM segments")
    connection.execute("DELETE FROM buckets")
    grow(connection)


def _in_parts(connection: sqlite3.Connection, newest: int) -> Iterator[list[tuple[int, bytes]]]:
    """Yield (pack, keys) of what is newer, so many at once as are to be sorted together."""
    while True:
        rows: list[tuple[int, bytes]] = []
        count = 0
        for pack, keys in connection.execute(_NEWER, (newest, _MOST)):
            rows.append((pack, keys))
            count += len(keys) // 16 if isinstance(keys, bytes) else 0
            if count >= _AT_ONCE:
                break
        if not rows:
            return
        newest = rows[-1][0]
        yield rows


def _cut(keys: Sorted) -> list[Sorted]:
    ends = np.searchsorted(keys.high >> np.uint64(56), np.arange(BUCKETS + 1, dtype=np.uint64)).tolist()
    return [keys.part(a, b) for a, b in itertools.pairwise(ends)]


def _write(connection: sqlite3.Connection, upto: int, buckets: list[Sorted]) -> _Segment:
    sizes = np.array([len(bucket) for bucket in buckets], dtype="<u4")
    insert = "INSERT INTO segments (upto, sizes, sum) VALUES (?, ?, 0)"
    id_ = connection.execute(insert, (upto, sizes.tobytes())).lastrowid
    assert id_ is not None
    connection.execute("UPDATE segments SET sum = ? WHERE id = ?", (seal(id_, upto, sizes.tobytes()), id_))
    for number, bucket in enumerate(buckets):
        if len(bucket):
            content, at = bucket.written(), id_ * BUCKETS + number
            connection.execute("INSERT INTO buckets VALUES (?, ?, ?)", (at, content, seal(at, content)))
    return _Segment(id_, upto, sizes)


def _remove(connection: sqlite3.Connection, segment: _Segment) -> None:
    connection.execute("DELETE FROM segments WHERE id = ?", (segment.id,))
    span = (segment.id * BUCKETS, (segment.id + 1) * BUCKETS)
    connection.execute("DELETE FROM buckets WHERE id >= ? AND id < ?", span)
