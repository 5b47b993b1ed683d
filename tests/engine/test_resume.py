"""Conversations that have not ended: each turn is kept once, resumed by the next run, and gone when the end is kept."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from intercept import Witness, envelope

import cfai_nb as cf
from cfai_nb._engine.store import store as store_module
from cfai_nb._engine.store.codec import Turn
from cfai_nb.emulator import Emulator, running

ROOT = Path(__file__).parents[2]
#: Gives one sample a request, so that n= is a conversation of n turns.
MODEL = "llama-3.2-3b-instruct"


def asked(count: int) -> pd.Series:
    return pd.Series([f"Tell me about topic {i} please, at some length" for i in range(count)])


def ask(rows: pd.Series, n: int, **options: Any) -> pd.Series:
    return rows.cfai.generate("{value}", model=MODEL, n=n, temperature=1.0, **options)


def rows_of(path: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute(query).fetchall()


def test_many_samples_take_what_their_answers_take(tmp_path: Path) -> None:
    """Bytes stored of 16 samples a row are at most 1.5 times those of the answers, and turns are gone at the end."""
    path = tmp_path / "s.sqlite"
    session = cf.connect(Emulator(rate=None), store=path)
    answers = ask(asked(5), 16)
    size = sum(len(text) for told in answers for text in told)
    session.store().flush()
    [(count, stored)] = rows_of(path, "SELECT count(*), sum(bytes) FROM packs")
    assert count == 5
    assert stored <= 1.5 * size
    assert rows_of(path, "SELECT count(*) FROM turns") == [(0,)]


def break_off(path: Path, turns: int, **options: Any) -> Emulator:
    """Ask for 8 samples where the day's quota is used up after some of them; return who answered."""
    front = Witness(lambda body: envelope(None, 429, 3036) if len(front.calls) > turns else None)
    with cf.connect(front, store=path, rate=None), pytest.raises(cf.QuotaExhausted):
        ask(asked(1), 8, **options)
    assert front.emulator.requests == turns
    return front.emulator


def test_each_turn_is_written_once(tmp_path: Path) -> None:
    """A conversation that is broken off has as many turns in the store as it had answers."""
    path = tmp_path / "s.sqlite"
    emulator = break_off(path, 5)
    written = rows_of(path, "SELECT place, length(content) FROM turns ORDER BY place")
    assert [place for place, _ in written] == list(range(5))
    assert sum(size for _, size in written) < 10_000
    assert rows_of(path, "SELECT count(*) FROM packs") == [(0,)], "they take no room from answers"
    with cf.connect(emulator, store=path) as session:
        assert len(ask(asked(1), 8).iloc[0]) == 8
        assert emulator.requests == 8, "what was answered is not asked again"
        assert sum(entry.neurons for entry in session.charges()) == pytest.approx(emulator.billed)
        [[held]] = session.store().held([key for (key,) in rows_of(path, "SELECT keys FROM keys")])
        assert held.neurons == pytest.approx(emulator.billed), "what it cost in both runs"
    assert rows_of(path, "SELECT count(*) FROM turns") == [(0,)]


KILLED = """
import sys
import pandas as pd
import cfai_nb as cf
cf.connect(base_url=sys.argv[1], account_id="a" * 32, api_token="t" * 40, store=sys.argv[2], rate=None, concurrency=2)
rows = pd.Series([f"Tell me about topic {i} please, at some length" for i in range(4)])
rows.cfai.generate("{value}", model="llama-3.2-3b-instruct", n=6, temperature=1.0)
"""


@pytest.mark.slow
def test_a_killed_conversation_is_resumed_where_it_was(tmp_path: Path) -> None:
    """kill -9 between turns: the next process asks only for what was in flight or on its way to the disk."""
    path = tmp_path / "s.sqlite"
    with running(rate=None, latency=0.1) as server:
        command = [sys.executable, "-c", KILLED, server.url, str(path)]
        child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
        end = time.monotonic() + 30
        while len(server.emulator.calls) < 9:
            assert time.monotonic() < end
            time.sleep(0.005)
        child.kill()
        child.wait(timeout=10)
        with cf.connect(base_url=server.url, account_id="a" * 32, api_token="t" * 40, store=path, rate=None):
            told = ask(asked(4), 6)
        assert [len(texts) for texts in told] == [6] * 4
        assert server.emulator.requests <= 24 + 4


def test_a_damaged_turn_is_asked_again(tmp_path: Path) -> None:
    """A turn that does not match its checksum ends what is resumed: it and those after it are asked again."""
    path = tmp_path / "s.sqlite"
    emulator = break_off(path, 5)
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute("UPDATE turns SET content = CAST('{}' AS BLOB) WHERE place = 1")
    with cf.connect(emulator, store=path):
        assert len(ask(asked(1), 8).iloc[0]) == 8
    assert emulator.requests == 5 + 7


def test_turns_that_no_run_went_on_with_are_removed(tmp_path: Path) -> None:
    """After a month: they would only take room."""
    path = tmp_path / "s.sqlite"
    with contextlib.closing(store_module.Store(path)) as store:
        for key, age in ((b"o" * 16, 40 * 86_400), (b"n" * 16, 3_600)):
            store.add_turn(key, b"talk", 0, Turn(asked="", content=b"{}", headers={}, neurons=1.0), [])
            store.flush()
            with contextlib.closing(sqlite3.connect(path)) as file, file:
                file.execute("UPDATE turns SET time = time - ? WHERE key = ?", (age, key))
    with contextlib.closing(store_module.Store(path)) as store:
        store.put([b"k" * 16], ["an answer"])
    assert rows_of(path, "SELECT key FROM turns") == [(b"n" * 16,)]


def test_without_a_store_nothing_is_said_to_be_kept() -> None:
    """A run that a budget ends says that the session has no store, and not that a re-run sends only the rest."""
    with cf.connect(Emulator(rate=None), store=False, concurrency=1):
        with pytest.raises(cf.BudgetError) as caught:
            asked(20).cfai.generate("{value}", model=MODEL, max_tokens=200, budget=0.0001)
        assert "rows are done" in str(caught.value)
        assert "this session has no store" in str(caught.value)
        assert "only the rest" not in str(caught.value)
