"""The store: answers come back as they went in, whoever writes at once, and whatever happens to the process."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cfai_nb as cf
from cfai_nb._engine import schema
from cfai_nb._engine import store as store_module
from cfai_nb._engine.index import Index
from cfai_nb._engine.schema import VERSION
from cfai_nb._engine.store import Store
from cfai_nb.ledger import Charge

ROOT = Path(__file__).parents[1]


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
        for statement in schema._TABLES:
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
    """An answer asked anew replaces the old one, in this store and in one opened before and after."""
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
    packs, slots = index.find(keys)
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
        assert store.trouble() is None
        store.close()


WRITER = """
import sys, numpy as np
from pathlib import Path
from cfai_nb._engine.store import Store
store, who = Store(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    name = f"{who} {i}"
    store.put([name.encode().ljust(16, b".")], [name])
    store.flush()
    print(i, flush=True)
"""


def _writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_write_at_once(path: Path) -> None:
    """Two processes on one store: all answers of both are there, and a third reader sees them."""
    writers = [_writer(path, who, 60) for who in "ab"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
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
    assert store.trouble() is None
    store.close()


def test_an_answer_larger_than_the_limit_breaks_nothing(path: Path) -> None:
    """A single pack beyond the limit neither fails nor keeps later ones out."""
    store = Store(path, limit=1000)
    store.put([key(0)], np.zeros((1, 5000), dtype=np.float32))
    store.flush()
    store.put([key(1)], ["small"])
    store.flush()
    assert recall(store, [1]) == ["small"]
    assert store.trouble() is None
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
    """A file that is no database is an error naming the file and the way out; it is not overwritten."""
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
    """A file that lost its second half is told as damaged, or gives back only answers that are right."""
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


def test_a_place_where_no_file_can_be_is_told(tmp_path: Path) -> None:
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

    monkeypatch.setattr(store_module, "open_file", small)
    store = Store(path)
    store.put([key("big")], ["x" * 1_000_000], [charge()])
    store.flush()
    assert "full" in str(store.take_failure("r"))
    assert recall(store, ["big"]) == [None]
    store.put([key("small")], ["y"])
    store.flush()
    assert recall(store, ["small"]) == ["y"]
    assert len(store.charges()) == 1, "known, though it waits"
    assert len(store.close(seconds=0.2)) == 1


def test_a_writer_that_cannot_start_is_noted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the writer cannot open the file (too many open files), that is a failure and nobody waits for it."""
    Store(path).close()
    connect, calls = store_module.open_file, [0]

    def once(path: Path) -> sqlite3.Connection:
        calls[0] += 1
        if calls[0] > 1:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    monkeypatch.setattr(store_module, "open_file", once)
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    store = Store(path)
    for i in range(3):
        store.put([key(i)], np.zeros((1, 9_000_000), dtype=np.float32))  # more than the backlog in all
    store.flush()
    assert store.trouble() is not None
    assert not store.full, "a run would wait for ever"
    assert len(store.close(seconds=0.1)) == 3


def test_charges_keep_every_field(path: Path) -> None:
    """The book gives back what was entered, oldest first, and only from the time asked for."""
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
