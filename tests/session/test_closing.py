"""Closing drains: what is paid is kept, what is open is closed, and what could not be written is reported."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inputs import words
from processes import until

import cfai_nb as cf
from cfai_nb._engine import store as sharing
from cfai_nb._engine.store import store as store_module
from cfai_nb._engine.store import writer
from cfai_nb.emulator import Emulator

LABELS = ["billing", "shipping"]


class Aside(threading.Thread):
    """Does something in a thread, and keeps what it returned or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self.work, self.result, self.error = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error

    def ended(self) -> Aside:
        self.join(20)
        assert not self.is_alive()
        return self


@pytest.mark.slow
def test_closing_ends_a_run_and_keeps_what_is_in_flight(tmp_path: Path) -> None:
    """Nothing more is sent, every paid answer and charge is kept, and the run says that it was ended by closing."""
    emulator = Emulator(rate=None, latency=0.15)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    run = Aside(lambda: words(30).cfai.classify(LABELS))
    until(lambda: emulator.requests >= 4)
    session.close()
    sent = emulator.requests
    assert isinstance(run.ended().error, cf.CfaiError)
    assert "session was closed" in str(run.error)
    assert f"{sent} of 30 rows are done and kept" in str(run.error)
    time.sleep(0.3)
    assert emulator.requests == sent < 30
    assert len([entry for entry in session.charges() if entry.requests]) == sent
    assert words(30).cfai.classify(LABELS).notna().all(), "it opens again when it is used"
    assert emulator.requests == 30


def test_what_takes_longer_than_closing_waits_is_dropped_and_said(tmp_path: Path) -> None:
    """A bound for what is in flight: closing returns, warns, and the run ends."""
    emulator = Emulator(rate=None, latency=20)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    run = Aside(lambda: words(5).cfai.classify(LABELS))
    until(lambda: emulator.requests >= 2)
    begun = time.monotonic()
    with pytest.warns(cf.CfaiWarning, match="1 call were not answered within 0.2 s"):
        session.close(timeout=0.2)
    assert time.monotonic() - begun < 5
    assert "session was closed" in str(run.ended().error)


def test_a_block_in_several_threads_closes_when_the_last_one_leaves(tmp_path: Path) -> None:
    """A thread that leaves its block of a session does not end the runs of the others."""
    emulator = Emulator(rate=None, latency=0.02)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=4)

    def work(count: int, mark: str) -> int:
        session.__enter__()
        try:
            return int(words(count, mark=mark).cfai.classify(LABELS).notna().sum())
        finally:
            session._undo = None  # each thread has a context of its own
            session.__exit__()

    runs = [Aside(lambda count=count: work(count, f" of {count}")) for count in (3, 40, 80)]
    assert [run.ended().result for run in runs] == [3, 40, 80]
    assert all(charged == 1 for charged in emulator.billed_inputs.values())


def test_closing_while_the_store_is_locked_says_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, with the number of answers and charges; used again, the session writes them, and nothing is lost."""
    monkeypatch.setattr(writer, "_BUSY", 0.02)
    monkeypatch.setattr(writer, "LOCKED", 0.5)
    monkeypatch.setattr(store_module, "CLOSING", 0.1)
    emulator = Emulator(rate=None)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite")
    words(1).cfai.classify(LABELS)
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.warns(cf.CfaiWarning, match="another process holds it"):
        assert words(4).cfai.classify(LABELS).notna().all()
    with pytest.warns(cf.CfaiWarning, match="3 answers and 4 charges"):
        session.close()
    other.execute("COMMIT")
    other.close()
    assert words(4).cfai.classify(LABELS, cache="only").notna().all()
    assert len([entry for entry in session.charges() if entry.requests]) == emulator.requests == 4


def test_cancelling_keeps_what_the_store_was_behind_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is cancelled while the store waits for a lock loses none of its answers."""
    monkeypatch.setattr(writer, "_BUSY", 0.02)
    emulator = Emulator(rate=None, latency=0.02)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    words(1).cfai.classify(LABELS)
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def main() -> None:
        run = asyncio.ensure_future(words(40).cfai.classify.aio(LABELS))
        while emulator.requests < 8:
            await asyncio.sleep(0.005)
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    cf.session.current().store().flush()
    sent = emulator.requests
    assert words(40).cfai.classify(LABELS).notna().all()
    assert emulator.requests == 40, f"{sent} were kept"
    other.close()


@pytest.mark.slow
def test_a_store_deleted_in_mid_run_ends_it_and_nothing_is_lost(tmp_path: Path) -> None:
    """The run stops paying; the next call goes on with a new file, into which all that came is written."""
    emulator = Emulator(rate=None, latency=0.02)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    words(1).cfai.classify(LABELS)
    run = Aside(lambda: words(200, mark="!").cfai.classify(LABELS))
    until(lambda: emulator.requests >= 10)
    for each in tmp_path.iterdir():
        each.unlink()
    error = run.ended().error
    assert isinstance(error, cf.StoreError)
    assert "deleted while it was open" in str(error)
    assert emulator.requests < 100
    with pytest.warns(cf.CfaiWarning, match="a new one if there is none"):
        assert words(200, mark="!").cfai.classify(LABELS).notna().all()
    assert sum(emulator.billed_inputs.values()) <= 201 + 14, "those that were in the deleted file only"
    assert len([entry for entry in session.charges() if entry.requests]) > 150


def test_sessions_on_one_file_share_a_store(tmp_path: Path) -> None:
    """One thread and one reader for all of them; the last one to close closes it, and none before."""
    sessions = [cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite") for _ in range(3)]
    stores = [session.store() for session in sessions]
    assert stores[0] is stores[1] is stores[2]
    words(3).cfai.embed()
    sessions[0].close()
    sessions[2].close()
    assert sessions[1].store().size()[0] == 3
    assert sessions[0].store() is stores[0]
    for session in sessions:
        session.close()
    assert not [place for place in sharing._shared if place.parent == tmp_path]


def counted() -> tuple[int, int, int]:
    """Return threads of ours beside the pool's, open files, and emulators."""
    gc.collect()
    ours = sum(thread.name in ("cfai-nb", "cfai-nb-store") for thread in threading.enumerate())
    return ours, len(os.listdir("/proc/self/fd")), sum(isinstance(each, Emulator) for each in gc.get_objects())


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files as Linux shows them")
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
@pytest.mark.parametrize("apart", [True, False], ids=["own stores", "one store"])
def test_sessions_leave_nothing_behind(tmp_path: Path, closed: bool, apart: bool) -> None:
    """Threads, open files and emulators are as many after fifty sessions as after five."""
    before: tuple[int, int, int] | None = None
    for number in range(50):
        session = cf.connect("emulator", store=tmp_path / f"{number if apart else 0}.sqlite")
        words(2, mark=str(number)).cfai.classify(LABELS)
        if closed:
            session.close()
        if number == 4:
            time.sleep(0.2)
            before = counted()
    assert before is not None
    del session
    until(lambda: all(now <= then for now, then in zip(counted(), before, strict=True)))


def test_a_store_that_is_closed_under_a_call_that_begins_says_so(tmp_path: Path) -> None:
    """Another thread's close() between opening the store and reading it: the error says to run the call again."""
    with cf.connect("emulator", store=tmp_path / "s.sqlite") as session:
        store = session.store()
        assert store is not None
        session.close()
        with pytest.raises(cf.StoreError, match=r"session was closed while this call began\. Run the call again"):
            store.locate([b"k" * 16])


@pytest.mark.slow
def test_a_run_keeps_its_session_open(tmp_path: Path) -> None:
    """A session that nothing but a run refers to is not closed under it."""
    emulator = Emulator(rate=None, latency=0.02)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    run = Aside(lambda: words(40).cfai.classify(LABELS))
    until(lambda: emulator.requests >= 4)
    cf.connect(Emulator(rate=None), store=False)
    cf.connect(Emulator(rate=None), store=False)
    gc.collect()
    assert run.ended().result.notna().all()
