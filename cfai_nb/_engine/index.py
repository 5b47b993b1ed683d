"""Where each key lies: sorted arrays in memory, grown by merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

_KEY = np.dtype([("high", ">u8"), ("low", ">u8")])
#: New keys are merged among themselves until they are this many, or a quarter of the old ones.
_FEW = 50_000


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Keys in order, each with its pack and slot; of equal keys only the newest pack."""

    high: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    low: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    packs: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    slots: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.high)

    def merged(self, other: _Sorted) -> _Sorted:
        """Return both in one."""
        high, low = np.concatenate([self.high, other.high]), np.concatenate([self.low, other.low])
        packs, slots = np.concatenate([self.packs, other.packs]), np.concatenate([self.slots, other.slots])
        order = np.lexsort((packs, low, high))
        high, low = high[order], low[order]
        last = np.ones(len(high), dtype=bool)
        last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        return _Sorted(high[last], low[last], packs[order][last], slots[order][last])

    def find(
        self,
        high: npt.NDArray[np.uint64],
        low: npt.NDArray[np.uint64],
        packs: npt.NDArray[np.int64],
        slots: npt.NDArray[np.int64],
    ) -> None:
        """Write pack and slot of the keys that are here into the arrays given."""
        if not len(self):
            return
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
        hit = same_high & (self.low[here] == low)
        packs[hit], slots[hit] = self.packs[here[hit]], self.slots[here[hit]]


class Index:
    """Keys of 16 bytes, each with its pack and slot; of equal keys the newest pack counts.

    Takes 32 bytes a key: a million answers are 32 MB.
    """

    def __init__(self) -> None:
        self.newest = 0
        self._old, self._new = _Sorted(), _Sorted()

    def extend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Add packs with their joined keys, in ascending order of pack."""
        if not rows:
            return
        counts = np.array([len(keys) // 16 for _, keys in rows], dtype=np.int64)
        added = np.frombuffer(b"".join(keys for _, keys in rows), dtype=_KEY)
        packs = np.repeat(np.array([pack for pack, _ in rows], dtype=np.int64), counts)
        slots = np.arange(len(added)) - np.repeat(np.cumsum(counts) - counts, counts)
        high, low = added["high"].astype(np.uint64), added["low"].astype(np.uint64)
        self._new = self._new.merged(_Sorted(high, low, packs, slots))
        if len(self._new) > max(_FEW, len(self._old) // 4):
            self._old, self._new = self._old.merged(self._new), _Sorted()
        self.newest = rows[-1][0]

    def find(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return pack and slot of each key; pack -1 where it is unknown."""
        packs = np.full(len(keys), -1, dtype=np.int64)
        slots = np.zeros(len(keys), dtype=np.int64)
        if len(keys):
            wanted = np.frombuffer(b"".join(keys), dtype=_KEY)
            high, low = wanted["high"].astype(np.uint64), wanted["low"].astype(np.uint64)
            for part in (self._old, self._new):  # what is newer is written over what is older
                part.find(high, low, packs, slots)
        return packs, slots
