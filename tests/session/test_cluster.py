"""A real Dask cluster in processes: one limit, one budget and equal rows once, whatever becomes of a worker."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import TOKEN, environment, until

import cfai_nb as cf
from cfai_nb.emulator import Emulator, running
from cfai_nb.frame import dask_report
from cfai_nb.session import account_usage

distributed = pytest.importorskip("distributed")
dd = pytest.importorskip("dask.dataframe")
# Each starts processes that import Dask; what distributed leaves open in them is not ours to judge.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers in processes of their own, with two threads each, that have no token in their environment."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0") as made,
        Client(made) as client,
    ):
        yield client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Emulator]:
    """A service on a port that is the current session."""
    with running(rate=None, latency=0.05) as here:
        cf.connect(base_url=here.url, account_id="a" * 32, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None)
        yield here.emulator


def rows(words: str, count: int, partitions: int = 8, distinct: int = 10**9) -> Any:
    texts = [f"{words} {at % distinct}" for at in range(count)]
    return dd.from_pandas(pd.DataFrame({"text": texts}), npartitions=partitions)


def test_equal_rows_are_one_call_and_the_token_is_nowhere(cluster: Any, service: Emulator) -> None:
    """Rows that several workers ask about are bought once; no graph, pickle, log or page shows the token."""
    import httpx
    from distributed.protocol import serialize

    lazy = rows("where is", 160, distinct=20).cfai.generate("Say {text}")
    made = lazy.compute()
    assert made.notna().all()
    assert service.requests == 20
    assert cf.ledger().requests.sum() == 20
    frames = b"".join(bytes(each) for each in serialize(lazy)[1])
    shown = [frames, pickle.dumps(lazy), repr(lazy.__dask_graph__()).encode()]
    shown += [str(each).encode() for each in (cluster.get_worker_logs(), cluster.get_scheduler_logs())]
    shown += [str(cluster.get_events()).encode(), str(cluster.scheduler_info()).encode()]
    page = cluster.dashboard_link.rsplit("/", 1)[0]
    for path in ("/info/main/workers.html", "/json/counts.json", "/json/identity.json", "/info/logs.html"):
        found = httpx.get(page + path)
        if found.status_code == 200:
            shown.append(found.content)
    assert len(shown) > 7
    assert [each for each in shown if TOKEN.encode() in each] == []


def test_a_killed_worker_gives_back_what_it_had(cluster: Any, service: Emulator) -> None:
    """Another does its rows; at most what it had in flight is bought again, and no place stays taken."""
    future = cluster.compute(rows("it was", 600).cfai.generate("Say {text}", concurrency=8))
    until(lambda: service.requests > 60)
    victim = next(iter(cluster.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)
    made = future.result(timeout=60)
    assert made.notna().all()
    assert len(made) == 600
    assert service.requests <= 600 + 2 * 8
    plugin = cluster.cluster.scheduler.plugins["cfai_nb"]
    limiters = [one for share in plugin._shares.values() for one in share._limiters.values()]
    until(lambda: all(one.concurrency.in_use == 0 for one in limiters))


def test_a_budget_is_one_for_the_cluster(cluster: Any, service: Emulator) -> None:
    """It is raised once, is not tried again, and what was bought is kept."""
    frame = rows("budget", 200)
    whole = frame.cfai.embed.plan("text").cost.neurons
    with pytest.raises(cf.BudgetError):
        cluster.compute(frame.cfai.embed("text", neurons=0.5 * whole), retries=5).result(timeout=60)
    assert 0 < cf.ledger().neurons.sum() <= 0.5 * whole
    assert 0 < service.requests <= 4
    before = service.requests
    time.sleep(0.4)
    assert service.requests == before
    assert frame.cfai.embed.plan("text").stored == 25 * before


def test_quota_used_up_on_one_worker_stops_all(cluster: Any, tmp_path: Path) -> None:
    """One clear error; after it nothing is sent, and the answers are kept."""
    with running(rate=None, latency=0.02, neurons_per_day=100.0) as here:
        cf.connect(base_url=here.url, account_id="b" * 32, api_token=TOKEN, store=tmp_path / "q.sqlite", rate=None)
        frame = rows("quota", 2_000)
        with pytest.raises(cf.QuotaExhausted):
            frame.cfai.generate("Say {text}", concurrency=4).compute()
        time.sleep(0.5)
        before = here.emulator.requests
        time.sleep(0.3)
        assert here.emulator.requests == before < 2_000
        assert cf.ledger().requests.sum() > 0


def assert_spending_ended(cluster: Any, service: Emulator) -> None:
    """No part of the 4,000 rows runs any more, nothing more is sent, and the ledger has all that was."""
    until(lambda: not cluster.cluster.scheduler.plugins["cfai_nb"]._parts)
    time.sleep(0.5)
    before = service.requests
    time.sleep(0.5)
    assert service.requests == before < 4_000
    until(lambda: cf.ledger().requests.sum() == before)


def test_a_cancelled_future_stops_the_spending(cluster: Any, service: Emulator) -> None:
    """What is in flight is kept; nothing more is sent by any worker."""
    future = cluster.compute(rows("cancel", 4_000).cfai.generate("Say {text}", concurrency=4))
    until(lambda: service.requests > 20)
    future.cancel()
    assert_spending_ended(cluster, service)


def test_one_ledger_one_receipt_one_progress(cluster: Any, service: Emulator) -> None:
    """What workers were charged that keep nothing is in the client's ledger; listeners see rows of the whole."""
    address = cf.session.current().endpoint.base
    seen: list[Any] = []
    with (
        cf.connect(base_url=address, account_id="a" * 32, api_token=TOKEN, store=False, rate=None),
        cf.listen(seen.append),
    ):
        made = rows("apart", 80, partitions=4).cfai.generate("Say {text}").compute()
        until(lambda: bool(seen) and seen[-1].finished)
        assert made.notna().all()
        assert cf.ledger().requests.sum() == service.requests == 80
        report = cf.last_run()
        assert report.receipt.startswith("generate: 80 rows in 4 of 4 partitions · 80 requests · ")
        assert report.event.spent.neurons == pytest.approx(cf.ledger().neurons.sum())
    done = [event.done for event in seen]
    assert done == sorted(done)
    assert (done[-1], [event.finished for event in seen].count(True)) == (80, 1)


def test_the_meter_is_read_once_for_all_workers(
    cluster: Any, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What other programs use meanwhile ends ``budget="free"`` on all workers, and the scheduler alone reads it."""
    monkeypatch.setattr(account_usage, "EVERY", 0.25)
    began = time.monotonic()
    future = cluster.compute(rows("meter", 4_000).cfai.generate("Say {text}", concurrency=4, budget="free"))
    until(lambda: service.requests > 20)
    service.meter.elsewhere = 10_000.0
    with pytest.raises(cf.BudgetError, match="today's free Neurons"):
        future.result(timeout=60)
    assert service.meter.reads <= (time.monotonic() - began) / 0.25 + 2
    before = service.requests
    time.sleep(0.4)
    assert service.requests == before < 4_000


def test_stop_in_the_notebook_stops_all_workers(cluster: Any, service: Emulator) -> None:
    """An interrupt of ``compute()`` ends the spending; what was bought is kept."""
    lazy = rows("stop", 4_000).cfai.generate("Say {text}", concurrency=4)

    def interrupt() -> None:
        until(lambda: service.requests > 20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        lazy.compute()
    assert_spending_ended(cluster, service)


def test_a_cascade_is_one_promise_for_the_cluster(cluster: Any, service: Emulator) -> None:
    """One certificate for all partitions, within one budget, with a future that stops it; as pandas would answer."""
    frame, topics = rows("topic of", 2_000, distinct=120), ["billing", "shipping"]
    options = {"model": cf.Cascade("clef-flash", "clef-omni", 0.8, 0.8), "probabilities": True, "concurrency": 8}
    plan = frame.cfai.classify.plan("text", topics, **options)
    assert (plan.estimate.distinct, plan.estimate.requests, service.requests) == (120, 240, 0)
    lazy = frame.cfai.classify("text", topics, **options)
    assert TOKEN.encode() not in pickle.dumps(dict(lazy.__dask_graph__()))
    future = cluster.compute(lazy)
    until(lambda: service.requests > 10)
    future.cancel()
    assert_spending_ended(cluster, service)
    low = frame.cfai.classify("text", topics, **options, neurons=0.1 * plan.at_least.neurons)
    with pytest.raises(cf.BudgetError):
        low.compute()
    made = lazy.compute()
    sent, report = service.requests, cf.last_run()
    assert sent < 240
    assert cf.ledger().requests.sum() == sent
    assert report.receipt.startswith("classify with a cascade: 2,000 rows in 8 of 8 partitions")
    assert report.certificate.words in report.receipt
    given = frame.compute().cfai.classify("text", topics, **options)
    pd.testing.assert_frame_equal(made, given, check_categorical=False)
    mine, one = report.certificate, cf.last_run().certificate
    assert (mine.rows, mine.asked, mine.kept) == (one.rows, one.asked, one.kept)
    assert mine.kept > 0
    assert service.requests == sent


def test_a_client_that_leaves_stops_the_spending(cluster: Any, service: Emulator) -> None:
    """Its parts are stopped on all workers; what they had bought is kept."""
    with distributed.Client(cluster.scheduler.address) as other:
        future = other.compute(rows("leaves", 4_000).cfai.generate("Say {text}", concurrency=4))
        until(lambda: service.requests > 20)
    assert future.cancelled()
    assert_spending_ended(cluster, service)


SCHEDULER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


def test_a_scheduler_that_restarts(
    cluster: Any, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduler and workers are killed: the bar of that computation ends, and the same call on another cluster buys the
    rest, and what was in flight."""
    monkeypatch.setattr(dask_report, "LOST", 2.0)
    (tmp_path / "scheduler.py").write_text(SCHEDULER)
    command, pipe = [sys.executable, str(tmp_path / "scheduler.py")], subprocess.PIPE
    frame = rows("restart", 400)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment()) as process:
        other = distributed.Client(process.stdout.readline().strip(), timeout=5)  # type: ignore[union-attr]
        with other.as_current():
            future = other.compute(frame.cfai.generate("Say {text}", concurrency=4))
        until(lambda: service.requests > 60, 90.0)  # its worker has everything to import
        process.kill()
    other.close(timeout=1)
    assert future.cancelled()
    time.sleep(0.3)
    before = service.requests
    time.sleep(0.3)
    assert service.requests == before < 400
    until(lambda: not any(each.name == "cfai dask" for each in threading.enumerate()))
    assert frame.cfai.generate("Say {text}", concurrency=4).compute().notna().all()
    assert service.requests <= 400 + 2 * 4
