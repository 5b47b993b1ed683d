"""The index of keys: what was added last is found, whatever was merged when."""

from __future__ import annotations

import hashlib

import pytest

from cfai_nb._engine import index as module
from cfai_nb._engine.index import Index


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


@pytest.mark.parametrize("few", [1, 50, 100_000], ids=["merged at once", "now and then", "never"])
def test_the_newest_pack_of_a_key_is_found(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of one and of many keys, with keys that come again: each is found where it was written last."""
    monkeypatch.setattr(module, "_FEW", few)
    index, known = Index(), {}
    for pack in range(1, 300):
        numbers = [pack * 7 % 90, pack + 1_000] if pack % 3 else range(pack, pack + 40)
        keys = [key(number) for number in numbers]
        index.extend([(pack, b"".join(keys))])
        known.update((each, (pack, slot)) for slot, each in enumerate(keys))
    packs, slots = index.find(list(known))
    assert list(zip(packs.tolist(), slots.tolist(), strict=True)) == list(known.values())
    assert index.newest == 299


def test_what_was_never_added_is_unknown() -> None:
    """An empty index knows nothing, and a full one nothing else; equal first halves do not make equal keys."""
    index = Index()
    assert index.find([key(1)])[0].tolist() == [-1]
    same_half = [b"\0" * 8 + bytes([0] * 7 + [n]) for n in range(4)]
    index.extend([(1, b"".join(same_half[:3]))])
    packs, slots = index.find([same_half[2], same_half[3], key(2), same_half[0]])
    assert packs.tolist() == [1, -1, -1, 1]
    assert slots.tolist()[0] == 2
    assert index.find([])[0].tolist() == []
