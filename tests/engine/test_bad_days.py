"""Bad days: full disks, broken stores, no network, jumping clocks; clear errors or kept results, nothing paid lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import words

import cfai_nb as cf
from cfai_nb._engine.account import Participant
from cfai_nb._engine.account.election import Election
from cfai_nb._engine.store import store as store_module
from cfai_nb._engine.store import writer as writer_module
from cfai_nb._engine.store.store import Store
from cfai_nb._engine.store.tables import VERSION
from cfai_nb.emulator import Emulator, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LABELS = ["billing", "shipping"]


def _directory(path: Path) -> None:
    path.mkdir()


def _below_a_file(path: Path) -> None:
    path.parent.write_text("a file where a folder should be")


def _junk(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _later(path: Path) -> None:
    Store(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA user_version={VERSION + 7}")
    connection.close()


BROKEN = {"a directory": _directory, "below a file": _below_a_file, "junk": _junk, "a later version": _later}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=list(BROKEN))
def test_a_store_that_cannot_be_used_is_reported_before_anything_is_paid(tmp_path: Path, breaks: Any) -> None:
    """A broken store is an error that names the file and the ways out; cache=False and another store work."""
    place = tmp_path / "below" / "s.sqlite" if breaks is _below_a_file else tmp_path / "s.sqlite"
    breaks(place)
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=place)
    for call in (words(3).cfai.embed, words(3).cfai.embed.plan):
        with pytest.raises(cf.StoreError) as caught:
            call()
        assert str(place) in str(caught.value)
        assert "store=PATH" in str(caught.value)
    assert emulator.requests == 0
    assert words(3).cfai.embed(cache=False).notna().all()
    assert cf.ledger()["requests"].sum() == 1, "the money is in the ledger all the same"
    cf.connect(emulator, store=tmp_path / "another.sqlite")
    assert words(3).cfai.embed().notna().all()


def test_without_a_store_no_other_process_is_asked(tmp_path: Path) -> None:
    """Processes share limits beside their store: where it cannot be opened, cache=False sends without them."""
    _below_a_file(place := tmp_path / "below" / "s.sqlite")
    with running(rate=None) as server, cf.connect(base_url=server.url, account_id="a" * 32, api_token="x", store=place):
        assert words(3).cfai.embed(cache=False).notna().all()


def test_where_there_can_be_no_lock_a_process_works_by_itself(tmp_path: Path) -> None:
    """A disk that cannot hold the lock is no reason to send nothing; the warning says what is not shared."""
    participant = Participant(asyncio.Event().wait, lambda keys: [])
    election = Election(participant, tmp_path / "none" / "s.sqlite", "account")
    with pytest.warns(cf.CfaiWarning, match=r"cannot agree .* limits and budgets are not shared"):
        asyncio.run(election.ready())
    assert participant.role == "leads"


def _small_disk(monkeypatch: pytest.MonkeyPatch, pages: list[int]) -> None:
    connect = store_module.open_file

    def small(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        connection.execute(f"PRAGMA max_page_count={pages[0]}")
        return connection

    for module in (store_module, writer_module):
        monkeypatch.setattr(module, "open_file", small)


def _close_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the session, whose store cannot write all."""
    monkeypatch.setattr(store_module, "CLOSING", 0.1)
    with pytest.warns(cf.CfaiWarning, match="Not written when the session was closed"):
        cf.session.current().close()


def test_on_a_full_disk_the_answers_are_still_in_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is delivered, a warning says so once, and the ledger has the money."""
    _small_disk(monkeypatch, [20])
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=tmp_path / "s.sqlite", store_errors="continue")
    with pytest.warns(cf.CfaiWarning, match="disk is full") as warned:
        result = words(150).cfai.embed()
    assert len(warned) == 1
    assert "in this result all the same" in str(warned[0].message)
    assert result.notna().all()
    assert cf.ledger()["neurons"].sum() == pytest.approx(emulator.billed)
    assert cf.session.current().spent_today() == pytest.approx(emulator.billed)
    _close_with_a_warning(monkeypatch)


def test_on_a_full_disk_a_run_stops_paying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer that cannot be kept ends the run with StoreError; what came is in memory, and kept in the end.

    A budget that was reserved for what was not sent is free again.
    """
    pages = [20]
    _small_disk(monkeypatch, pages)
    emulator = Emulator(rate=None, latency=0.01)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite")
    budget = cf.Budget(limit=1e6, label="much")
    with pytest.raises(cf.StoreError, match="disk is full") as caught:
        words(2_000).cfai.embed(concurrency=1, budget=budget)
    assert "rows are done" in str(caught.value)
    assert emulator.requests < 10
    done = int(cf.last_run().frame().notna().sum())
    assert done == 100 * emulator.requests == 200
    assert (budget.reserved, budget.spent) == (0.0, pytest.approx(emulator.billed))
    sent = emulator.requests
    with pytest.raises(cf.StoreError, match="disk is full"):
        words(10, mark="!").cfai.embed()
    assert emulator.requests == sent, "nothing is paid while nothing can be kept"
    assert words(10, mark="!").cfai.embed(cache=False).notna().all()
    _close_with_a_warning(monkeypatch)
    pages[0] = 100_000
    with pytest.warns(cf.CfaiWarning, match="1,800 of 2,000"):
        assert words(2_000).cfai.embed(cache="only").notna().sum() == done, "kept when there was room again"
    assert sum(charge.neurons for charge in session.charges()) == pytest.approx(emulator.billed)


def test_when_the_disk_has_room_again_nothing_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure to keep an answer is reported by its run, and not by a later one."""
    _small_disk(monkeypatch, [20])
    cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite", store_errors="continue")
    with pytest.warns(cf.CfaiWarning, match="disk is full"):
        words(150).cfai.embed()
    words(3).cfai.classify(LABELS)
    words(3, mark="!").cfai.classify(LABELS, cache=False)
    assert words(3).cfai.classify(LABELS, cache="only").notna().all()
    _close_with_a_warning(monkeypatch)


QUOTA = """
import resource, sys, warnings
import pandas as pd
import cfai_nb as cf
cf.connect("emulator", store=sys.argv[1], store_errors="continue")
pd.Series(["warm up"]).cfai.embed()
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    result = pd.Series([f"text {i}" for i in range(300)]).cfai.embed()
print(result.notna().sum(), len(warned), warned and warned[0].category.__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, before)  # the end of the program writes what waits, and is not waited for
"""


def test_a_file_that_may_not_grow_loses_no_result(tmp_path: Path) -> None:
    """A real limit of the operating system on the file's size: the result is whole and one warning is given."""
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + QUOTA
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s.sqlite")], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["300", "1", "CfaiWarning"], done.stderr


def test_a_store_deleted_under_us_is_reported_or_survived(tmp_path: Path) -> None:
    """When somebody removes the file in mid-session, results still come, and a new session starts afresh."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    words(3).cfai.embed()
    for path in tmp_path.iterdir():
        path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)
        assert words(3, mark="!").cfai.embed().notna().all()
    cf.session.current().close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)
        assert words(3).cfai.embed().notna().all()


def test_another_process_that_holds_the_store_is_waited_for(tmp_path: Path) -> None:
    """A lock held for a moment by somebody else delays the keeping and loses nothing."""
    cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite")
    words(1).cfai.embed()
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    import threading

    threading.Timer(0.5, lambda: other.execute("COMMIT")).start()
    begun = time.monotonic()
    assert words(3, mark="!").cfai.embed().notna().all()
    assert time.monotonic() - begun >= 0.4
    other.close()
    assert words(3, mark="!").cfai.embed(cache="only").notna().all()


def test_a_server_that_goes_away_in_mid_run_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server is gone for good, the run ends with Unavailable and keeps what was delivered."""
    monkeypatch.setattr("random.uniform", lambda low, high: high / 50)
    with running(rate=None, latency=0.05) as server:
        session = cf.connect(
            base_url=server.url, account_id="a" * 32, api_token="t" * 40, store=tmp_path / "s.sqlite", rate=None,
            concurrency=2,
        )  # fmt: skip
        words(10).cfai.classify(LABELS)
        port, emulator = server.port, server.emulator
    with pytest.raises(cf.Unavailable, match="base_url") as caught:
        words(40).cfai.classify(LABELS)
    assert "10 of 40 rows are done and kept" in str(caught.value)
    with running(port=port, emulator=emulator):
        assert words(40).cfai.classify(LABELS).notna().all()
    assert emulator.requests == 40
    session.close()


def test_a_wall_clock_that_jumps_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pacing and patience go by the monotonic clock; a wall clock that jumps back or forth loses no answer."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    real = time.time
    for jump in (-400 * 86_400, 0, 400 * 86_400, -3):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert words(20).cfai.embed().notna().all()
        assert words(20, mark=str(jump)).cfai.classify(LABELS).notna().all()
    assert emulator.requests == 1 + 4 * 20
    assert cf.ledger()["requests"].sum() == emulator.requests
    assert cf.session.current().spent_today() <= emulator.billed


def test_a_listing_that_is_none_leaves_the_catalogue(tmp_path: Path) -> None:
    """A refresh that brings nothing usable is an error, and the catalogue stays."""

    async def service(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b'{"result": [], "success": true, "errors": []}'})

    cf.connect(service, store=tmp_path / "s.sqlite")
    before = len(cf.models())
    with pytest.raises(cf.SetupError, match="stays as it is"):
        cf.models(refresh=True)
    assert len(cf.models()) == before


@pytest.mark.parametrize("base", ["not a url", "ftp://x/client/v4", "http://", "/client/v4"])
def test_a_base_url_that_is_none_is_reported_at_once(base: str) -> None:
    """What cannot be an address is refused by connect(), which says what belongs there."""
    with pytest.raises(cf.SetupError, match="/client/v4"):
        cf.connect(base_url=base, account_id="a" * 32, api_token="t" * 40)


def test_hostile_text_is_escaped_in_html(tmp_path: Path) -> None:
    """What comes from data or service is escaped wherever it becomes HTML."""
    evil = "<script>alert(1)</script>"
    cf.connect(Emulator(rate=None, faults=["5006"]), store=tmp_path / "s.sqlite")
    rows = pd.Series(["a"], index=[evil], name=evil)
    with pytest.raises(cf.Refused):
        rows.cfai.classify([evil, "b"])
    assert evil not in cf.last_run()._repr_html_()
    assert evil not in str(cf.ledger()._repr_html_())
