"""The key index: which record holds the answer to a key, and where in it.

The writer appends each record with its keys.  A B-tree over the keys would dirty a page for almost every one; so the
writer moves the keys of new records into a *segment* (sorted, in buckets by first byte) once they are many, and merges
segments of similar size: a key is rewritten only as often as the index doubles.  ``Reader`` looks into the bucket of
each key in every segment, and into the keys of the records written since (the *tail*).  Everything is built from the
keys stored with the records, so where a checksum does not match, the index is built again.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .codec import seal

_KEY = np.dtype([("high", ">u8"), ("low", ">u8")])
#: New keys are merged among themselves until there are this many, or a quarter as many as old ones.
_FEW = 50_000
#: Low bits of a place: the slot of a key in its record.
SLOT_BITS = 24
BUCKETS = 256
#: Records and keys in the tail from which on the writer makes a segment of them.
TAIL_RECORDS, TAIL_KEYS = 10_000, 100_000
#: A segment is merged with the older one next to it unless that is larger by this factor.
_RATIO = 4
#: Keys that are sorted at once, and bytes of buckets that a reader holds.
_AT_ONCE, _HELD = 250_000, 64 * 2**20
#: A record with a higher number is damage.
_MOST = 2**39
_NEWER = "SELECT pack, keys FROM keys WHERE pack > ? AND pack < ? ORDER BY pack"

Words: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.int64]


def halves(joined: bytes) -> tuple[Words, Words]:
    """Return both halves of each key of 16 bytes as numbers, which sort like the keys."""
    pairs = np.frombuffer(joined, dtype=_KEY)
    return pairs["high"].astype(np.uint64), pairs["low"].astype(np.uint64)


def split(places: Places) -> tuple[Places, Places]:
    """Return (records, slots) of places; record -1 where the place is unknown."""
    known = places >= 0
    return np.where(known, places >> SLOT_BITS, -1), np.where(known, places & (2**SLOT_BITS - 1), 0)


def places_of(rows: Sequence[tuple[int, bytes]]) -> Sorted:
    """Return the keys of records, given as (record, joined keys); invalid rows are left out."""
    whole = [(record, keys) for record, keys in rows if isinstance(keys, bytes) and len(keys) % 16 == 0]
    counts = np.array([len(keys) // 16 for _, keys in whole], dtype=np.int64)
    high, low = halves(b"".join(keys for _, keys in whole))
    records = np.repeat(np.array([record for record, _ in whole], dtype=np.int64), counts)
    slots = np.arange(len(high)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Sorted().merged(Sorted(high, low, records << SLOT_BITS | slots))


@dataclass(frozen=True, slots=True)
class Sorted:
    """Sorted keys with their places (record and slot); of equal keys only the one in the newest record."""

    high: Words = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    low: Words = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    places: Places = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.high)

    def merged(self, other: Sorted) -> Sorted:
        """Return both merged."""
        high, low = np.concatenate([self.high, other.high]), np.concatenate([self.low, other.low])
        places = np.concatenate([self.places, other.places])
        order = np.lexsort((places, low, high))
        high, low = high[order], low[order]
        last = np.ones(len(high), dtype=bool)
        last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        return Sorted(high[last], low[last], places[order][last])

    def part(self, start: int, stop: int) -> Sorted:
        """Return the keys between two positions."""
        return Sorted(self.high[start:stop], self.low[start:stop], self.places[start:stop])

    def written(self) -> bytes:
        """Return it as bytes, 24 for each key."""
        arrays = (self.high.astype("<u8"), self.low.astype("<u8"), self.places.astype("<i8"))
        return b"".join(array.tobytes() for array in arrays)

    @classmethod
    def read(cls, content: bytes) -> Sorted:
        """Return what was written; a view of `content`."""
        count = len(content) // 24
        high, low = (np.frombuffer(content, dtype="<u8", count=count, offset=8 * count * at) for at in (0, 1))
        return cls(high, low, np.frombuffer(content, dtype="<i8", count=count, offset=16 * count))

    def find(self, high: Words, low: Words) -> Places:
        """Return the place of each key, -1 where it is not here."""
        if not len(self):
            return np.full(len(high), -1, dtype=np.int64)
        at = np.searchsorted(self.high, high)
        # Two keys share their first half once in 2**64, but a wrong answer must be impossible: step on.
        while True:
            inside = at < len(self)
            here = np.where(inside, at, 0)
            same_high = inside & (self.high[here] == high)
            further = same_high & (self.low[here] < low)
            if not further.any():
                break
            at = at + further
        return np.where(same_high & (self.low[here] == low), self.places[here], -1)


class Index:
    """Keys in memory, each with its record and slot; of equal keys the newest record counts."""

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest  # the newest record that is indexed, here or elsewhere
        self._old, self._new = Sorted(), Sorted()

    def extend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Add records with their joined keys, in ascending order of record."""
        if not rows:
            return
        self._new = self._new.merged(places_of(rows))
        if len(self._new) > max(_FEW, len(self._old) // 4):
            self._old, self._new = self._old.merged(self._new), Sorted()
        self.newest = rows[-1][0]

    def places(self, high: Words, low: Words) -> Places:
        """Return the place of each key, -1 where it is unknown."""
        newer = self._new.find(high, low)
        return np.where(newer >= 0, newer, self._old.find(high, low))


class IndexDamaged(Exception):
    """The index in the file does not match its checksums; the writer builds it again."""


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int
    upto: int  # the newest record in it
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
    """Looks up keys; caches the buckets it loaded, within a bound, and the tail."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        self._buckets: OrderedDict[tuple[int, int], Sorted] = OrderedDict()
        self._bytes = 0
        self._tail = Index()

    def find(self, connection: sqlite3.Connection, joined: bytes, *, trust: bool = True) -> Places:
        """Return the place of each of the joined keys, -1 where it is unknown; within one read transaction.

        IndexDamaged is raised where the index must be built again.  Without ``trust``, all keys are read instead of it.
        """
        listed = _listed(connection) if trust else []
        if [each.id for each in listed] != [each.id for each in self._segments]:
            self._segments, self._bytes = listed, 0
            self._buckets.clear()
            self._tail = Index(listed[-1].upto if listed else 0)
        self._tail.extend(connection.execute(_NEWER, (self._tail.newest, _MOST)).fetchall())
        high, low = halves(joined)
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
    """Return how many records and keys are in the tail."""
    newest = connection.execute("SELECT coalesce(max(upto), 0) FROM segments").fetchone()[0]
    query = "SELECT count(*), coalesce(sum(length(keys)), 0) / 16 FROM keys WHERE pack > ?"
    records, keys = connection.execute(query, (newest,)).fetchone()
    return int(records), int(keys)


def grow(connection: sqlite3.Connection) -> None:
    """Move the tail into a segment and merge segments of similar size; within a write transaction."""
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
    """Build the whole index again from the keys of the records; within a write transaction."""
    connection.execute("DELETE FROM segments")
    connection.execute("DELETE FROM buckets")
    grow(connection)


def _in_parts(connection: sqlite3.Connection, newest: int) -> Iterator[list[tuple[int, bytes]]]:
    """Yield (record, keys) of newer records, as many at once as are sorted together."""
    while True:
        rows: list[tuple[int, bytes]] = []
        count = 0
        for record, keys in connection.execute(_NEWER, (newest, _MOST)):
            rows.append((record, keys))
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
