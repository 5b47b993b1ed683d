"""The store: answers come back as they went in, whoever writes at once, and whatever happens to the process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb._engine import store as sharing
from cfai_nb._engine.engine import Engine
from cfai_nb._engine.store import key_index, tables
from cfai_nb._engine.store import store as store_module
from cfai_nb._engine.store import writer as writer_module
from cfai_nb._engine.store.codec import Turn
from cfai_nb._engine.store.key_index import Index, halves, rebuild, split
from cfai_nb._engine.store.store import Store
from cfai_nb._engine.store.tables import VERSION
from cfai_nb._engine.store.writer import Job
from cfai_nb.emulator import Emulator
from cfai_nb.models.ledger import Charge

ROOT = Path(__file__).parents[2]


def key(name: object) -> bytes:
    return str(name).encode().ljust(16, b".")


def charge(neurons: float | None = 1.0, **more: Any) -> Charge:
    facts: dict[str, Any] = {
        "time": time.time(), "run": "r", "account": "a", "origin": "cloudflare", "model": "@m/m/m", "verb": "embed",
        "neurons": neurons, "exact": True,
    }  # fmt: skip
    return Charge(**facts | more)


def recall(store: Store, names: list[Any]) -> list[Any]:
    """Return the cell of each key, None where there is none."""
    found: list[Any] = [None] * len(names)
    for held in itertools.chain.from_iterable(store.held([key(name) for name in names])):
        for at, cell in zip(held.at, held.cells if held.cells is not None else (), strict=held.cells is not None):
            found[at] = cell
    return found


def third(path: Path, answers: dict[Any, Any]) -> None:
    """Make a store of the third format, which had no checksums, with these answers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        for statement in tables._TABLES:
            file.execute(statement)
        for pack, (name, cell) in enumerate(answers.items(), 1):
            body = json.dumps([cell]).encode()
            file.execute("INSERT INTO packs VALUES (?, 'json', 1, ?, 1.0, 2.5, ?, NULL)", (pack, len(body), body))
            file.execute("INSERT INTO keys VALUES (?, ?)", (pack, key(name)))
        file.execute("PRAGMA user_version=3")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "a" / "store.sqlite"


def test_matrices_and_json_come_back_as_they_were(path: Path) -> None:
    """Float32 vectors bit for bit and any JSON, from several packs, also after closing and opening again."""
    rng = np.random.default_rng(1)
    matrices = [rng.standard_normal((n, 7)).astype(np.float32) for n in (1, 100, 3)]
    cells = ["text", "", {"label": "b", "p": {"b": 0.1, "ü": None}}, [1, [2.5]], 0, None, True, "日本\u2028語", 10**30]
    store = Store(path)
    for at, matrix in enumerate(matrices):
        store.put([key((at, row)) for row in range(len(matrix))], matrix, [charge(3.0)])
    store.put([key(("json", i)) for i in range(len(cells))], cells, [charge(None)])
    store.flush()
    for again in (store, Store(path)):
        for at, matrix in enumerate(matrices):
            found = recall(again, [(at, row) for row in range(len(matrix))])
            assert np.array(found).tobytes() == matrix.tobytes()
        assert recall(again, [("json", i) for i in range(len(cells))]) == cells
        assert again.size()[0] == 104 + len(cells)
        again.close()


def test_what_an_answer_cost_is_kept_with_it(path: Path) -> None:
    """Each pack knows its Neurons, and an unknown price stays unknown."""
    store = Store(path)
    store.put([key(1)], ["a"], [charge(2.0), charge(0.5)])
    store.put([key(2)], ["b"], [charge(2.0), charge(None)])
    store.flush()
    assert [held.neurons for part in store.held([key(1), key(2)]) for held in part] == [2.5, None]
    assert [c.neurons for c in store.charges()] == [2.0, 0.5, 2.0, None]
    store.close()


def test_of_equal_keys_the_newest_counts(path: Path) -> None:
    """A new answer replaces the old one, in this store and in one opened before and after."""
    old, new = Store(path), Store(path)
    old.put([key("a"), key("b")], ["old a", "old b"])
    old.flush()
    assert recall(old, ["a", "b"]) == ["old a", "old b"]
    new.put([key("b"), key("c")], ["new b", "new c"])
    new.flush()
    for store in (old, new):
        assert recall(store, ["a", "b", "c", "d"]) == ["old a", "new b", "new c", None]
        store.close()


def test_unknown_keys_are_not_found(path: Path) -> None:
    """Nothing is found in an empty store, and no key is taken for another that shares half of it."""
    store = Store(path)
    assert recall(store, ["a"]) == [None]
    assert recall(store, []) == []
    halves = [b"A" * 8 + tail for tail in (b"a" * 8, b"b" * 8, b"d" * 8)] + [b"B" * 8 + b"a" * 8]
    store.put(halves, list(range(4)))
    store.flush()
    packs, slots = store.locate([*halves, b"A" * 8 + b"c" * 8, b"A" * 8 + b"e" * 8, b"C" * 16, b"\0" * 16])
    assert packs.tolist()[:4] == [1] * 4
    assert slots.tolist()[:4] == [0, 1, 2, 3]
    assert packs.tolist()[4:] == [-1] * 4
    store.close()


def test_the_index_finds_what_was_added() -> None:
    """The sorted index agrees with a dict over thousands of keys added in several steps."""
    rng = np.random.default_rng(3)
    keys = [rng.bytes(16) for _ in range(3000)]
    index, truth = Index(), {}
    for pack in range(1, 31):
        part = [keys[i] for i in rng.integers(0, 2500, 100)]
        unique = list(dict.fromkeys(part))
        index.extend([(pack, b"".join(unique))])
        truth.update({k: (pack, slot) for slot, k in enumerate(unique)})
    packs, slots = split(index.places(*halves(b"".join(keys))))
    expected = [truth.get(k, (-1, 0)) for k in keys]
    assert list(zip(packs.tolist(), slots.tolist(), strict=True)) == expected
    assert index.newest == 30


def test_several_threads_write_and_read_at_once(path: Path) -> None:
    """Two stores on one file and four threads lose nothing."""
    stores = [Store(path), Store(path)]

    def write(who: int) -> None:
        for i in range(50):
            stores[who % 2].put([key((who, i))], [f"{who} {i}"], [charge()])
            stores[who % 2].locate([key((who, i))])

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.flush()
    names = [(who, i) for who in range(4) for i in range(50)]
    for store in stores:
        assert recall(store, names) == [f"{who} {i}" for who, i in names]
        assert len(store.charges()) == 200
        assert store.writer.trouble() is None
        store.close()


WRITER = """
import sys, numpy as np
from pathlib import Path
from cfai_nb._engine.store.store import Store
store, who = Store(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    name = f"{who} {i}"
    store.put([name.encode().ljust(16, b".")], [name])
    store.flush()
    print(i, flush=True)
"""


def _writer(path: Path, who: str, count: int, code: str = WRITER) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_two_processes_write_at_once(path: Path) -> None:
    """Two processes on one store: all answers of both are there, and a third reader sees them."""
    writers = [_writer(path, who, 60) for who in "ab"]
    assert [process.wait(timeout=60) for process in writers] == [0, 0]
    for process in writers:
        process.communicate()
    store = Store(path)
    names = [f"{who} {i}" for who in "ab" for i in range(60)]
    assert recall(store, names) == names
    store.close()


def test_a_killed_writer_loses_no_acknowledged_answer(path: Path) -> None:
    """kill -9 in the middle of writing: everything that was flushed is in the file, and the file is whole."""
    writer = _writer(path, "k", 100_000)
    assert writer.stdout is not None
    for _ in range(40):
        done = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    rest = writer.communicate()[0].split()
    done = max([done, *map(int, rest)])
    assert done < 99_000, "it was killed in the middle"
    store = Store(path)
    names = [f"k {i}" for i in range(done + 1)]
    assert recall(store, names) == names
    store.put([key("after")], ["after"])
    store.flush()
    assert recall(store, ["after"]) == ["after"]
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_least_recently_used_make_room(path: Path) -> None:
    """Under a small limit old answers go first, those that were used lately stay, and the limit is kept."""
    store = Store(path, limit=100_000)
    for i in range(20):
        store.put([key(i)], np.full((1, 1000), i, dtype=np.float32))  # 4,000 bytes each
        store.flush()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE packs SET used = used - 200000")
    connection.close()
    assert recall(store, [0])[0][0] == 0  # used now
    store.flush()
    for i in range(20, 30):
        store.put([key(i)], np.full((1, 1000), i, dtype=np.float32))
        store.flush()
    assert store.size()[1] <= 100_000
    found = [cell is not None for cell in recall(store, list(range(30)))]
    assert found[0], "used lately"
    assert all(found[20:]), "new"
    assert not found[1], "old and not used"
    assert store.writer.trouble() is None
    store.close()


def test_an_answer_larger_than_the_limit_breaks_nothing(path: Path) -> None:
    """A single pack beyond the limit neither fails nor keeps later ones out."""
    store = Store(path, limit=1000)
    store.put([key(0)], np.zeros((1, 5000), dtype=np.float32))
    store.flush()
    store.put([key(1)], ["small"])
    store.flush()
    assert recall(store, [1]) == ["small"]
    assert store.writer.trouble() is None
    store.close()


def test_a_store_of_a_later_version_is_left_alone(path: Path) -> None:
    """A newer format is an error that says so, and not a byte of the file changes."""
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(cf.StoreError, match="later version") as caught:
        Store(path)
    assert "store=PATH" in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_store_says_what_to_do(path: Path, content: bytes) -> None:
    """A file that is not a database is an error naming the file and the way out; it is not overwritten."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(cf.StoreError) as caught:
        Store(path)
    assert str(path) in str(caught.value)
    assert "store=PATH" in str(caught.value)
    assert path.read_bytes() == content


def test_another_programs_database_is_not_written_to(path: Path) -> None:
    """A SQLite file that holds somebody else's tables is refused rather than filled with ours."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(cf.StoreError):
        Store(path)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]
    connection.close()


def test_a_store_cut_short_gives_no_wrong_answer(path: Path) -> None:
    """A file that lost its second half is reported as damaged, or gives back only right answers."""
    store = Store(path)
    for i in range(200):
        store.put([key(i)], [f"{i} " * 200])
    store.flush()
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    found: list[Any] = []
    with contextlib.suppress(cf.StoreError), contextlib.closing(Store(path)) as cut:
        found = recall(cut, list(range(200)))
    assert all(cell in (None, f"{i} " * 200) for i, cell in enumerate(found))
    assert path.stat().st_size < len(whole), "it was not mended behind our back"


def test_a_place_where_no_file_can_be_is_reported(tmp_path: Path) -> None:
    """A directory in place of the file, and a path below a file, are errors that name the path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "folder", tmp_path / "file" / "store.sqlite"):
        with pytest.raises(cf.StoreError) as caught:
            Store(place)
        assert str(place) in str(caught.value)
        assert "store=PATH" in str(caught.value)


def test_a_full_disk_is_noted_and_the_next_answers_are_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that does not fit is noted as a failure; the writer lives on and keeps what fits again."""
    connect, pages = store_module.open_file, [30]

    def small(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count={pages[0]}")
        return connection

    for module in (store_module, writer_module):
        monkeypatch.setattr(module, "open_file", small)
    store = Store(path)
    store.put([key("big")], ["x" * 1_000_000], [charge()])
    store.flush()
    assert "full" in str(store.writer.take_failure("r"))
    assert recall(store, ["big"]) == [None]
    store.put([key("small")], ["y"])
    store.flush()
    assert recall(store, ["small"]) == ["y"]
    assert len(store.charges()) == 1, "known, though it waits"
    assert len(store.close(seconds=0.2)) == 1


def test_a_writer_that_cannot_start_is_noted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writer cannot open the file (too many open files), that is a failure and nothing waits for it."""
    Store(path).close()
    connect, calls = store_module.open_file, [0]

    def once(path: Path) -> sqlite3.Connection:
        calls[0] += 1
        if calls[0] > 1:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    for module in (store_module, writer_module):
        monkeypatch.setattr(module, "open_file", once)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    store = Store(path)
    for i in range(3):
        store.put([key(i)], np.zeros((1, 9_000_000), dtype=np.float32))  # more than the backlog in all
    store.flush()
    assert store.writer.trouble() is not None
    assert not store.writer.full, "a run would wait for ever"
    assert len(store.close(seconds=0.1)) == 3


def test_charges_keep_every_field(path: Path) -> None:
    """The ledger gives back what was entered, oldest first, and only from the time asked for."""
    store = Store(path)
    now = time.time()
    entered = [
        charge(time=now - 10, neurons=None, exact=False, run="r1", requests=2, rows=7, tokens=5.0, seconds=0.5),
        charge(time=now, saved_neurons=3.5, requests=0, verb="classify"),
        charge(time=now - 1000),
    ]
    store.charge(entered)
    assert store.charges() == [entered[2], entered[0], entered[1]]
    assert store.charges(now - 20) == [entered[0], entered[1]]
    store.close()


def test_a_listing_is_kept(path: Path) -> None:
    """The newest listing of models replaces the one before."""
    store = Store(path)
    assert store.listing() is None
    store.keep_listing("2026-01-01", [{"name": "old"}])
    store.keep_listing("2026-02-01", [{"name": "new"}])
    store.flush()
    assert store.listing() == ("2026-02-01", [{"name": "new"}])
    store.close()


def test_there_is_no_pickle_in_the_file(path: Path) -> None:
    """Vectors are bare floats and everything else is JSON: no pickle opcodes, no class names."""
    store = Store(path)
    store.put([key(1)], np.ones((1, 3), dtype=np.float32), [charge()])
    store.put([key(2)], [{"a": 1}], [charge()])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        bodies = dict(connection.execute("SELECT kind, body FROM packs").fetchall())
    connection.close()
    assert bodies == {"f4": np.ones(3, dtype="<f4").tobytes(), "json": b'[{"a":1}]'}
    for word in (b"numpy", b"\x80\x04\x95", b"\x80\x05\x95", b"cfai_nb"):
        assert word not in path.read_bytes()


def test_a_store_of_an_earlier_version_is_taken_over(path: Path) -> None:
    """Its answers and charges are there, and what the tables lacked can be kept from then on."""
    third(path, {"k": "an answer"})
    former = "time, run, account, origin, model, verb, requests, rows, neurons, exact, saved_neurons NOT NULL, tokens"
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        for statement in (
            f"CREATE TABLE old ({former}, seconds)", "INSERT INTO old SELECT * FROM charges", "DROP TABLE charges",
            "ALTER TABLE old RENAME TO charges", "CREATE INDEX charges_by_time ON charges (time)",
            "INSERT INTO charges VALUES (1.0, 'r', 'a', 'o', 'm', 'v', 1, 1, 1.5, 1, 0.0, NULL, 0.5)",
            "DROP TABLE billed", "DROP TABLE queued", "ALTER TABLE packs DROP COLUMN log", "PRAGMA user_version=1",
        ):  # fmt: skip
            file.execute(statement)
    with contextlib.closing(Store(path)) as store:
        assert recall(store, ["k"]) == ["an answer"]
        assert [one.neurons for one in store.charges()] == [1.5]
        store.charge([charge(0.0, requests=0, saved_neurons=None)])
        assert [one.saved_neurons for one in store.charges()] == [0.0, None]
        assert store.queued("a", "o", "m") == []


# -- damage ------------------------------------------------------------------------------------------------------------


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 1, 8])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content)) :]


def _blank(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) // 4096) * 4096
    content[at : at + 4096] = bytes(4096)


def _swap(content: bytearray, chance: random.Random) -> None:
    a, b = (chance.randrange(1, len(content) // 4096) * 4096 for _ in range(2))
    content[a : a + 4096], content[b : b + 4096] = content[b : b + 4096], content[a : a + 4096]


@pytest.mark.parametrize("damage", [_flip, _cut, _blank, _swap])
def test_a_damaged_file_gives_no_wrong_answer(path: Path, damage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flipped, cut, blank or swapped: each answer is what was kept or is missing, and every error is StoreError.

    What the damage does not touch is found: half of all answers at least, unless the file was cut.
    """
    monkeypatch.setattr(writer_module, "TAIL_KEYS", 100)
    cells = {i: f"answer {i} " * (1 + i % 40) for i in range(150)}
    vectors = np.random.default_rng(1).standard_normal((200, 40)).astype(np.float32)
    with contextlib.closing(Store(path)) as store:
        for i, cell in cells.items():
            store.put([key(i)], [cell], [charge(float(i))])
        for at in range(0, 200, 20):
            store.put([key(("v", row)) for row in range(at, at + 20)], vectors[at : at + 20])
        store.flush()
        charged = store.charges()
    whole, answers = path.read_bytes(), 0
    for seed in range(12):
        content = bytearray(whole)
        damage(content, random.Random(seed))
        path.write_bytes(content)
        with contextlib.suppress(cf.StoreError):
            store = Store(path)
            with contextlib.suppress(cf.StoreError):
                texts = recall(store, list(cells))
                assert all(cell in (None, cells[i]) for i, cell in enumerate(texts))
                found = recall(store, [("v", row) for row in range(200)])
                assert all(one is None or np.array_equal(one, vectors[row]) for row, one in enumerate(found))
                answers += sum(one is not None for one in [*texts, *found])
            with contextlib.suppress(cf.StoreError):
                assert all(entry in charged for entry in store.charges())
            store.put([key("new")], ["new"])
            store.flush()
            store.close(seconds=0.0)
        for each in path.parent.iterdir():
            each.unlink()
    assert answers >= (0 if damage is _cut else 12 * 350 / 2), answers


@pytest.mark.parametrize(
    "damage",
    ["""UPDATE packs SET body = CAST('["c"]' AS BLOB) WHERE id IN (2, 3)""",
     "UPDATE keys SET keys = (SELECT keys FROM keys WHERE pack = 1) WHERE pack IN (2, 3)",
     "UPDATE keys SET sum = NULL WHERE pack IN (2, 3)", "UPDATE packs SET rows = 2, kind = 'f4' WHERE id IN (2, 3)",
     "DELETE FROM keys WHERE pack IN (2, 3)"],
)  # fmt: skip
def test_damaged_answers_are_said_and_asked_again(tmp_path: Path, damage: str) -> None:
    """Once, by the run that met them, with the rows they concern; afterwards the store is whole."""
    emulator = Emulator(rate=None)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite")
    rows = pd.Series(["one", "two", "three", "four"])
    right = rows.cfai.classify(["a", "b"], concurrency=1)
    session.store().flush()
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file, file:
        rebuild(file)
        file.execute(damage)
    with pytest.warns(cf.CfaiWarning, match="2 stored answers were damaged and asked for again") as warned:
        assert rows.cfai.classify(["a", "b"]).equals(right)
    assert len(warned) == 1
    assert (emulator.requests, cf.last_run().run.damaged, cf.last_run().run.stored) == (6, 2, 2)
    session.store().flush()
    assert rows.cfai.classify(["a", "b"], cache="only").equals(right)


def test_a_version_that_cannot_be_is_an_error_in_words(path: Path) -> None:
    """A damaged version number is StoreError, whatever it became, and the file stays as it is."""
    for version in (-5, VERSION + 1):
        Store(path).close()
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute(f"PRAGMA user_version={version}")
        with pytest.raises(cf.StoreError, match="store=PATH"):
            Store(path)
        path.unlink()


def test_what_is_damaged_in_the_ledger_is_left_out_and_said(tmp_path: Path) -> None:
    """A charge that does not match its checksum is not an amount; the ledger warns of it."""
    session = cf.connect("emulator", store=tmp_path / "s.sqlite")
    pd.Series(["one"]).cfai.embed()
    pd.Series(["two"]).cfai.embed()
    spent = sum(entry.neurons for entry in session.charges())
    with contextlib.closing(sqlite3.connect(tmp_path / "s.sqlite")) as file, file:
        file.execute("UPDATE charges SET neurons = 1000.0 WHERE rowid = 1")
    with pytest.warns(cf.CfaiWarning, match="1 charge in the store"):
        assert sum(entry.neurons for entry in session.charges()) == pytest.approx(spent / 2, rel=0.2)


def test_vectors_that_float32_cannot_hold_are_not_kept(path: Path) -> None:
    """They would come back as others: refused when they are put, and not served where a former version took them."""
    store = Store(path)
    for odd in (np.inf, np.nan):
        with pytest.raises(ValueError, match="not finite"):
            store.put([key(1)], np.array([[1.0, odd]], dtype=np.float32))
    store.close()
    path.unlink()
    third(path, {})
    body = np.array([[1.0, np.inf]], dtype="<f4").tobytes()
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO packs VALUES (1, 'f4', 1, 8, 1.0, 2.5, ?, NULL)", (body,))
        file.execute("INSERT INTO keys VALUES (1, ?)", (key(1),))
    with contextlib.closing(Store(path)) as store:
        assert recall(store, [1]) == [None]


# -- the file ----------------------------------------------------------------------------------------------------------


def test_only_its_owner_can_read_the_file(path: Path) -> None:
    """The file, what SQLite lays beside it and a folder made for it; one of an earlier version too."""
    store = Store(path)
    store.put([key(1)], ["a"])
    store.flush()
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.close()
    path.unlink()
    third(path, {})
    path.chmod(0o644)
    Store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_keys_and_records_count_towards_the_limit(path: Path) -> None:
    """A million one-word answers take more than a million words: what is counted is near what the file takes."""
    with contextlib.closing(Store(path)) as store:
        for i in range(3_000):
            store.put([key(i)], ["billing"])
        _, size = store.size()
    assert 0.8 < size / path.stat().st_size < 1.25


def test_what_every_run_uses_is_not_evicted_before_what_was_used_once(path: Path) -> None:
    """That an answer was used is known to the minute."""
    store = Store(path, limit=100_000)

    def add(numbers: range) -> None:
        for i in numbers:
            store.put([key(i)], np.full((1, 1000), i, dtype=np.float32))  # 4,000 bytes each
            store.flush()

    for round_ in range(1, 6):
        add(range(round_ * 10, round_ * 10 + 10))
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE packs SET used = used - 70")  # a minute passes
        assert recall(store, [10, 11, 12])[2] is not None, "used in every round"
        store.flush()
    assert recall(store, [13]) == [None]
    store.close()


EVICTING = WRITER.replace("Store(Path(sys.argv[1]))", "Store(Path(sys.argv[1]), limit=30_000)")


@pytest.mark.slow
def test_processes_that_evict_each_others_answers_stay_whole(path: Path) -> None:
    """Two processes at once on a store that is far too small: the newest answers are there, and no wrong ones."""
    writers = [_writer(path, who, 150, EVICTING) for who in "ab"]
    reader = Store(path, limit=30_000)
    names = [f"{who} {i}" for who in "ab" for i in range(150)]
    while any(writer.poll() is None for writer in writers):
        assert all(cell in (None, name) for name, cell in zip(names, recall(reader, names), strict=True))
    assert [(writer.communicate()[0].count("\n"), writer.returncode) for writer in writers] == [(150, 0)] * 2
    found = recall(reader, names)
    assert all(cell in (None, name) for name, cell in zip(names, found, strict=True))
    assert found[149] or found[299]
    assert reader.size()[1] <= 33_000
    assert reader.writer.take_failure() is None
    reader.close()


def test_a_million_answers_of_the_third_format_are_taken_over_in_parts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, all are found afterwards, with what they had cost."""
    monkeypatch.setattr(key_index, "_AT_ONCE", 300)
    third(path, {i: f"answer {i}" for i in range(2_000)})
    with contextlib.closing(Store(path)) as store:
        assert recall(store, list(range(2_000))) == [f"answer {i}" for i in range(2_000)]
        assert {held.neurons for part in store.held([key(7), key(8)]) for held in part} == {2.5}


# -- what cannot be written ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the file as another program would; ends when the caller commits, or leaves."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def test_a_wait_for_the_disk_is_for_what_was_put_before(path: Path) -> None:
    """Who waits until answers are written does not wait for those that others go on putting."""
    store = Store(path)
    busy, looks = [Job(lambda connection: None)], []

    def unfinished(owner: str = "") -> list[Job]:
        looks.append(owner)
        if len(looks) == 4:  # the one from before is committed
            busy.pop(0)
        now = list(busy)
        busy.append(Job(lambda connection: None))  # another run never ends
        return now

    store.writer.unfinished = unfinished  # type: ignore[method-assign]
    asyncio.run(asyncio.wait_for(Engine.written(SimpleNamespace(store=store)), 5))  # type: ignore[arg-type]
    assert len(looks) == 4


def test_a_run_waits_for_the_answers_to_its_own_inputs_alone(path: Path) -> None:
    """Before it looks into the store, a run waits for answers to its inputs, and for checkpoints, but for no others."""
    store = Store(path)

    def waited(*about: bytes) -> bool:
        wait = Engine.written(SimpleNamespace(store=store), about=about)  # type: ignore[arg-type]
        try:
            asyncio.run(asyncio.wait_for(wait, 0.2))
        except TimeoutError:
            return True
        return False

    with locked(path) as other:
        store.put([key(1), key(2)], ["a", "b"], [charge(1.0)])
        store.put([key(3)], ["c"], [charge(1.0)])
        assert not waited(key(4), key(5))
        assert waited(key(4), key(2))
        assert waited(key(3))
        store.add_turn(key(5), b"talk", 0, Turn(asked="", content=b"{}", headers={}, neurons=1.0), [])
        assert waited(key(5)), "a turn that was paid for would be asked again"
        other.execute("COMMIT")
    store.flush()
    assert not waited(key(2), key(3))
    store.close()


def test_the_log_stays_small(path: Path) -> None:
    """The write-ahead log is moved into the file every 16 MB, so that it does not grow with what a run writes."""
    store, log = Store(path), path.with_name(path.name + "-wal")
    vectors = np.random.default_rng(1).random((3_400, 768), dtype=np.float32)  # 10 MB
    for at in range(10):
        store.put([key(f"{at} {row}") for row in range(len(vectors))], vectors, [])
        store.writer.flush()
        assert log.stat().st_size < 40 * 2**20
    store.close()
    assert path.stat().st_size > 100e6


def test_a_log_that_cannot_be_moved_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for the file to grow, the answers stay in the log, are found, and no failure is said."""
    tried: list[str] = []

    class Full:
        def __init__(self, path: Path) -> None:
            self._inner = tables.open_file(path)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def execute(self, statement: str, *given: Any) -> Any:
            if statement == "PRAGMA wal_checkpoint":
                tried.append(statement)
                raise sqlite3.OperationalError("database or disk is full")
            return self._inner.execute(statement, *given)

    monkeypatch.setattr(writer_module, "open_file", Full)
    store = Store(path)
    vectors = np.random.default_rng(1).random((3_400, 768), dtype=np.float32)  # 10 MB
    for at in range(4):
        store.put([key(f"{at} {row}") for row in range(len(vectors))], vectors, [])
        store.writer.flush()
    assert len(tried) >= 2
    assert store.writer.take_failure() is None
    assert recall(store, ["3 7"])[0].tolist() == vectors[7].tolist()
    store.close()
    again = Store(path)
    assert recall(again, ["0 5"])[0].tolist() == vectors[5].tolist()
    again.close()


def test_a_lock_loses_nothing_and_charges_nothing_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be committed while another program holds the file is committed when it lets go, once."""
    monkeypatch.setattr(writer_module, "_BUSY", 0.05)
    store = Store(path)
    with locked(path) as other:
        for i in range(5):
            store.put([key(i)], [i], [charge(1.0)])
            time.sleep(0.05)
        assert store.writer.unfinished("r")
        assert store.writer.trouble("r") is None, "a lock is waited for"
        assert len(store.writer.unwritten()) == 5
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        store.flush()
    assert recall(store, list(range(5))) == list(range(5))
    assert len(store.charges()) == 5
    assert store.writer.take_failure("r") is None
    store.close()


def test_a_lock_that_lasts_is_said_and_what_waits_is_not_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its bound a lock is a failure; closing says what is left, and the next store of this file writes it."""
    for name, value in {"_BUSY": 0.02, "LOCKED": 0.1}.items():
        monkeypatch.setattr(writer_module, name, value)
    store = sharing.shared(path)
    with locked(path):
        store.put([key(1)], ["one"], [charge(2.0)])
        store.flush()
        assert "another process holds it" in str(store.writer.take_failure("r"))
        assert [entry.neurons for entry in store.charges()] == [2.0], "known all the same"
        monkeypatch.setattr(store_module, "CLOSING", 0.1)
        assert len(sharing.release(store)) == 1
    again = sharing.shared(path)
    again.flush()
    assert recall(again, [1]) == ["one"]
    assert [entry.neurons for entry in again.charges()] == [2.0]
    assert sharing.release(again) == []


def test_a_failure_is_reported_to_the_run_it_belongs_to(path: Path) -> None:
    """An answer that cannot be written is reported to its owner alone; the others are kept, and its charge too."""
    store = Store(path)

    def fails(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    def never(connection: sqlite3.Connection) -> None:
        raise sqlite3.DataError("string or blob too big")

    store.writer.put(Job(fails, 10, [charge(1.0, run="one")], "one"))
    store.writer.put(Job(never, 10, [charge(2.0, run="two")], "two"))
    store.put([key(3)], ["kept"], [charge(4.0, run="three")])
    store.flush()
    assert store.writer.trouble("three") is None
    assert store.writer.take_failure("three") is None
    assert "disk I/O" in str(store.writer.trouble("one"))
    assert "too big" not in str(store.writer.take_failure("one"))
    assert store.writer.trouble("two") is None, "only this one answer is lost"
    assert store.writer.take_failure("two") is not None
    assert store.writer.take_failure("two") is None, "said once"
    assert recall(store, [3]) == ["kept"]
    assert sorted(entry.neurons for entry in store.charges()) == [1.0, 2.0, 4.0]
    assert [job.owner for job in store.close(seconds=0.1)] == ["one"]


def test_writes_after_closing_are_not_lost(path: Path) -> None:
    """Somebody who still holds a store that was closed may bring answers: they are written."""
    store = Store(path)
    store.close()
    store.put([key(1)], ["late"], [charge()])
    store.flush()
    with contextlib.closing(Store(path)) as again:
        assert recall(again, [1]) == ["late"]


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_is_not_there_any_more_is_noticed_at_the_first_write(
    path: Path, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are not lost in a deleted file: they wait, and are written into the next file at the path."""
    store = sharing.shared(path)
    store.put([key(1)], ["old"], [charge(1.0)])
    store.flush()
    for each in path.parent.iterdir():
        each.unlink()
    if replaced:
        Store(path).close()
    store.put([key(2)], ["new"], [charge(2.0)])
    store.flush()
    assert ("another file was put" if replaced else "deleted") in str(store.writer.trouble("r"))
    monkeypatch.setattr(writer_module, "BACKLOG", 0)
    after = sharing.shared(path)
    assert after is not store
    assert not store.writer.full, "a run that still has it would wait for ever"
    store.put([key(3)], ["late"], [charge(3.0)])
    after.flush()
    assert recall(after, [1, 2, 3]) == [None, "new", "late"]
    assert [entry.neurons for entry in after.charges()] == [2.0, 3.0]
    assert sharing.release(store) == sharing.release(after) == []


def test_when_nothing_can_be_written_memory_has_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers beyond it are given up and reported; their charges never are."""
    monkeypatch.setattr(writer_module, "BACKLOG", 10_000)
    store = Store(path)
    path.unlink()
    for i in range(10):
        store.put([key(i)], ["x" * 3_000], [charge(1.0)])
        store.flush()
    assert store.writer.waiting <= 13_000
    assert len(store.charges()) == 10
    assert store.writer.take_failure("r") is not None
    assert sum(len(job.charges) for job in store.close(seconds=0.0)) == 10


def test_a_job_that_comes_while_the_thread_ends_is_written_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends the writer's thread; a job that comes before its last step starts one other thread, not two."""
    done: list[int] = []
    resume = threading.Event()

    class Closing:
        def __init__(self, inner: sqlite3.Connection) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def close(self) -> None:
            self.inner.close()
            if not done:
                done.append(0)
                store.writer.put(Job(lambda connection: done.append(1) or resume.wait(5)))

    open_file = writer_module.open_file
    monkeypatch.setattr(writer_module, "open_file", lambda path: Closing(open_file(path)))
    store = Store(path)
    store.charge([charge()])
    store.flush()
    first = store.writer._thread
    assert first is not None
    store.writer.close(5.0)
    first.join()
    store.writer.put(Job(lambda connection: done.append(2)))
    time.sleep(0.1)  # a third thread would take both jobs in the meantime
    resume.set()
    for each in threading.enumerate():
        if each.name == "cfai-nb-store":
            each.join(5)
    assert done == [0, 1, 2]


def test_work_that_is_handed_over_while_it_is_written_is_written_once(path: Path) -> None:
    """The former writer takes back what it has not committed yet."""
    began, resume = threading.Event(), threading.Event()

    def write(connection: sqlite3.Connection) -> None:
        if not began.is_set():
            began.set()
            resume.wait(5)
        store_module._enter(connection, [charge()])

    with contextlib.closing(Store(path)) as former, contextlib.closing(Store(path)) as store:
        former.writer.put(Job(write))
        began.wait(5)
        former.writer.hand_over(store.writer)
        resume.set()
        assert len(store.charges()) == 1
