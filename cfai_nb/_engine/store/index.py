"""Sorted keys in memory: what a bucket of the file's key index holds, and the keys written since it was built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_KEY = np.dtype([("high", ">u8"), ("low", ">u8")])
#: New keys are merged among themselves until they are this many, or a quarter of the old ones.
_FEW = 50_000
#: Bits of a place that say in which slot of its pack a key lies.
SLOT_BITS = 24

Words: TypeAlias = npt.NDArray[np.uint64]
Places: TypeAlias = npt.NDArray[np.int64]


def halves(joined: bytes) -> tuple[Words, Words]:
    """Return both halves of each of the joined keys of 16 bytes, as numbers in the order of the keys."""
    pairs = np.frombuffer(joined, dtype=_KEY)
    return pairs["high"].astype(np.uint64), pairs["low"].astype(np.uint64)


def split(places: Places) -> tuple[Places, Places]:
    """Return (packs, slots) of places; pack -1 where the place is unknown."""
    known = places >= 0
    return np.where(known, places >> SLOT_BITS, -1), np.where(known, places & (2**SLOT_BITS - 1), 0)


def places_of(rows: Sequence[tuple[int, bytes]]) -> Sorted:
    """Return the keys of packs, given as (pack, joined keys); rows that cannot be keys are left out."""
    whole = [(pack, keys) for pack, keys in rows if isinstance(keys, bytes) and len(keys) % 16 == 0]
    counts = np.array([len(keys) // 16 for _, keys in whole], dtype=np.int64)
    high, low = halves(b"".join(keys for _, keys in whole))
    packs = np.repeat(np.array([pack for pack, _ in whole], dtype=np.int64), counts)
    slots = np.arange(len(high)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Sorted().merged(Sorted(high, low, packs << SLOT_BITS | slots))


@dataclass(frozen=True, slots=True)
class Sorted:
    """Keys in order, each with its place (pack and slot); of equal keys only that in the newest pack."""

    high: Words = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    low: Words = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    places: Places = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.high)

    def merged(self, other: Sorted) -> Sorted:
        """Return both in one."""
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
        """Return it as bytes, 24 a key."""
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
        # Equal first halves of different keys are one in 2**64 a pair, but a wrong answer must be impossible: step on.
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
    """Keys of 16 bytes, each with its pack and slot; of equal keys the newest pack counts.

    Parameters
    ----------
    newest : int
        The newest pack that is known already, elsewhere.
    """

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest
        self._old, self._new = Sorted(), Sorted()

    def extend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Add packs with their joined keys, in ascending order of pack."""
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

    def find(self, keys: Sequence[bytes]) -> tuple[Places, Places]:
        """Return pack and slot of each key; pack -1 where it is unknown."""
        return split(self.places(*halves(b"".join(keys))))
