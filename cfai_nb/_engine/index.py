"""Where each key lies: a sorted array in memory, grown by merging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_KEY = np.dtype([("high", ">u8"), ("low", ">u8")])


class Index:
    """Keys of 16 bytes, each with its pack and slot; of equal keys the newest pack counts.

    Takes 32 bytes a key: a million answers are 32 MB.
    """

    def __init__(self) -> None:
        self.newest = 0
        self._high = np.empty(0, dtype=np.uint64)
        self._low = np.empty(0, dtype=np.uint64)
        self._packs = np.empty(0, dtype=np.int64)
        self._slots = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._high)

    def extend(self, rows: Sequence[tuple[int, bytes]]) -> None:
        """Add packs with their joined keys, in ascending order of pack."""
        if not rows:
            return
        counts = np.array([len(keys) // 16 for _, keys in rows], dtype=np.int64)
        added = np.frombuffer(b"".join(keys for _, keys in rows), dtype=_KEY)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        packs = np.repeat(np.array([pack for pack, _ in rows], dtype=np.int64), counts)
        high = np.concatenate([self._high, added["high"].astype(np.uint64)])
        low = np.concatenate([self._low, added["low"].astype(np.uint64)])
        packs = np.concatenate([self._packs, packs])
        slots = np.concatenate([self._slots, np.arange(len(added)) - starts])
        order = np.lexsort((packs, low, high))
        high, low, packs, slots = high[order], low[order], packs[order], slots[order]
        last = np.ones(len(high), dtype=bool)
        last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        self._high, self._low, self._packs, self._slots = high[last], low[last], packs[last], slots[last]
        self.newest = rows[-1][0]

    def find(self, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return pack and slot of each key; pack -1 where it is unknown."""
        packs = np.full(len(keys), -1, dtype=np.int64)
        slots = np.zeros(len(keys), dtype=np.int64)
        if not len(keys) or not len(self):
            return packs, slots
        wanted = np.frombuffer(b"".join(keys), dtype=_KEY)
        high, low = wanted["high"].astype(np.uint64), wanted["low"].astype(np.uint64)
        at = np.searchsorted(self._high, high)
        # Equal first halves of different keys are one in 2**64 a pair, but a wrong answer must be impossible: step on.
        while True:
            inside = at < len(self)
            here = np.where(inside, at, 0)
            same_high = inside & (self._high[here] == high)
            further = same_high & (self._low[here] < low)
            if not further.any():
                break
            at = at + further
        hit = same_high & (self._low[here] == low)
        packs[hit], slots[hit] = self._packs[here[hit]], self._slots[here[hit]]
        return packs, slots
