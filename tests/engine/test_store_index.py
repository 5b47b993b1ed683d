"""The index of keys: what was added last is found, whatever was merged when."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from cfai_nb._engine.store import key_index as module
from cfai_nb._engine.store import writer
from cfai_nb._engine.store.codec import seal
from cfai_nb._engine.store.key_index import Index, Places, halves, split
from cfai_nb._engine.store.store import Store


def key(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=16).digest()


def find(index: Index, keys: list[bytes]) -> tuple[Places, Places]:
    """Return record and slot of each key."""
    return split(index.places(*halves(b"".join(keys))))


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
    packs, slots = find(index, list(known))
    assert list(zip(packs.tolist(), slots.tolist(), strict=True)) == list(known.values())
    assert index.newest == 299


def test_what_was_never_added_is_unknown() -> None:
    """An empty index knows nothing, and a full one nothing else; equal first halves do not make equal keys."""
    index = Index()
    assert find(index, [key(1)])[0].tolist() == [-1]
    same_half = [b"\0" * 8 + bytes([0] * 7 + [n]) for n in range(4)]
    index.extend([(1, b"".join(same_half[:3]))])
    packs, slots = find(index, [same_half[2], same_half[3], key(2), same_half[0]])
    assert packs.tolist() == [1, -1, -1, 1]
    assert slots.tolist()[0] == 2
    assert find(index, [])[0].tolist() == []


# -- in the file -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments are made of few keys, and merged and dropped from memory soon."""
    for module_ in (module, writer):
        monkeypatch.setattr(module_, "TAIL_RECORDS", 20)
        monkeypatch.setattr(module_, "TAIL_KEYS", 100)
    monkeypatch.setattr(module, "_AT_ONCE", 150)
    monkeypatch.setattr(module, "_HELD", 24 * 200)


def fill(store: Store, packs: range) -> dict[bytes, tuple[int, int]]:
    """Put packs of several keys, some of which come again; return where each lies."""
    known: dict[bytes, tuple[int, int]] = {}
    for pack in packs:
        keys = [key(number) for number in range(pack * 5, pack * 5 + 9)]
        store.put(keys, [f"{pack} {slot}" for slot in range(9)])
        store.flush()
        known.update((each, (pack, slot)) for slot, each in enumerate(keys))
    return known


def found(store: Store, keys: list[bytes]) -> list[tuple[int, int]]:
    packs, slots = store.locate(keys)
    return list(zip(packs.tolist(), slots.tolist(), strict=True))


@pytest.mark.usefixtures("small")
def test_the_index_in_the_file_finds_what_was_written_last(tmp_path: Path) -> None:
    """Through segments and merges, in the store that writes, one beside it and one opened later."""
    one, beside = Store(tmp_path / "s.sqlite"), Store(tmp_path / "s.sqlite")
    known: dict[bytes, tuple[int, int]] = {}
    for start in range(1, 200, 33):
        known |= fill(one, range(start, start + 33))
        assert found(beside, list(known)) == list(known.values())
    later = Store(tmp_path / "s.sqlite")
    for store in (one, later):
        assert found(store, list(known)) == list(known.values())
        assert found(store, [key(-1), *list(known)[:3]]) == [(-1, 0), *list(known.values())[:3]]
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file:
        (count,) = file.execute("SELECT count(*) FROM segments").fetchone()
    assert 1 <= count <= 5, "merged as they grow"
    for store in (one, beside, later):
        store.close()


@pytest.mark.usefixtures("small")
def test_a_lookup_loads_only_the_buckets_it_needs(tmp_path: Path) -> None:
    """One key among thousands is found with one bucket of each segment, and what is held has a bound."""
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        known = fill(store, range(1, 100))
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        store.locate([next(iter(known))])
        assert len(store._index._buckets) <= len(store._index._segments)
        assert found(store, list(known)) == list(known.values())
        assert store._index._bytes <= module._HELD


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "damage",
    ["DELETE FROM buckets WHERE id % 2", "UPDATE buckets SET keys = zeroblob(length(keys))",
     "UPDATE segments SET upto = upto + 1", "UPDATE segments SET sizes = zeroblob(1024)"],
)  # fmt: skip
def test_a_damaged_index_is_built_again(tmp_path: Path, damage: str) -> None:
    """It is made from the keys beside the answers, so nothing is lost with it."""
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        known = fill(store, range(1, 100))
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file, file:
        file.execute(damage)
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        assert found(store, list(known)) == list(known.values())
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        assert found(store, list(known)) == list(known.values())


@pytest.mark.usefixtures("small")
def test_an_index_that_means_another_answer_gives_none(tmp_path: Path) -> None:
    """Each answer carries its keys: a wrong place, even one with a fitting checksum, is never served."""
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        known = fill(store, range(1, 60))
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file, file:
        for at, content in file.execute("SELECT id, keys FROM buckets").fetchall():
            moved = np.frombuffer(content, dtype="<i8").copy()
            moved[2 * len(moved) // 3 :] ^= 1 << 24  # the pack next to it
            file.execute(
                "UPDATE buckets SET keys = ?, sum = ? WHERE id = ?", (moved.tobytes(), seal(at, moved.tobytes()), at)
            )
    with contextlib.closing(Store(tmp_path / "s.sqlite")) as store:
        keys = list(known)
        cells = {
            at: cell
            for part in store.held(keys)
            for one in part
            for at, cell in zip(one.at, one.cells or [], strict=False)
        }
        right = [f"{pack} {slot}" for pack, slot in known.values()]
        assert all(right[at] == cell for at, cell in cells.items())
        assert len(cells) < len(keys)
