"""Runs: whole frames against the emulator, in-process and over real connections, with everything that can go wrong."""

from __future__ import annotations

import asyncio
import collections
import json
import math
import random
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inputs import words

import cfai_nb as cf
from cfai_nb import session
from cfai_nb._engine import limiter
from cfai_nb._engine import run as engine
from cfai_nb._engine.account.in_flight import InFlight
from cfai_nb._engine.bridge import bridge
from cfai_nb._engine.store.writer import Writer
from cfai_nb.emulator import Emulator, running
from cfai_nb.models import find
from cfai_nb.session.session import Session
from cfai_nb.tasks import Classify

LABELS = ["billing", "shipping"]
LLAMA = "llama-3.3-70b-instruct-fp8-fast"


@pytest.fixture
def open_(tmp_path: Path) -> Callable[..., Emulator]:
    """Connect to an emulator with these settings in this process."""

    def opened(*, store: Any = None, concurrency: Any = None, rate: Any = None, **settings: Any) -> Emulator:
        made = Emulator(**{"rate": None, **settings})
        cf.connect(made, store=tmp_path / "s.sqlite" if store is None else store, concurrency=concurrency, rate=rate)
        return made

    return opened


def equal(one: pd.Series, other: pd.Series) -> bool:
    return all(
        (a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in zip(one, other, strict=True)
    )


# -- each input once ---------------------------------------------------------------------------------------------------


def test_ninety_percent_duplicates_cost_a_tenth(open_: Any) -> None:
    """Exactly ceil(distinct / batch) requests, each distinct text served once, every row filled and in order."""
    emulator = open_()
    distinct = words(250)
    rows = distinct.sample(2500, replace=True, random_state=1)
    seen = rows.nunique()
    result = rows.cfai.embed()
    assert emulator.requests == math.ceil(seen / 100)
    assert emulator.served_inputs == collections.Counter({("@cf/baai/bge-m3", text): 1 for text in rows.unique()})
    assert result.index.equals(rows.index)
    alone = distinct.cfai.embed()
    by_text = dict(zip(distinct, alone, strict=True))
    assert all(np.array_equal(vector, by_text[text]) for text, vector in zip(rows, result, strict=True))
    assert emulator.requests <= math.ceil(seen / 100) + 1


def test_a_second_run_sends_only_what_is_new(open_: Any) -> None:
    """What is stored is never sent again, and the answers are the same."""
    emulator = open_()
    first = words(250).cfai.embed()
    assert emulator.requests == 3
    again = words(300).cfai.embed()
    assert emulator.requests == 4
    assert equal(first, again[:250])
    event = cf.last_run().event
    assert (event.stored, event.done, event.requests) == (250, 300, 1)
    assert event.saved_neurons > 0


def test_other_sessions_share_the_store(open_: Any, tmp_path: Path) -> None:
    """A second session on the same store sends nothing; an emulator's answers are never the service's."""
    open_()
    words(10).cfai.embed()
    emulator = open_()
    words(10).cfai.embed()
    assert emulator.requests == 0
    with running(rate=None) as server:
        cf.connect(base_url=server.url, account_id="a" * 32, api_token="t" * 40, store=tmp_path / "s.sqlite", rate=None)
        words(10).cfai.embed()
        assert server.emulator.requests == 1
        cf.session.current().close()


@pytest.mark.parametrize(
    ("cache", "first", "second", "kept"), [(True, 1, 0, True), (False, 1, 1, False), ("refresh", 1, 1, True)]
)
def test_cache_modes(open_: Any, cache: Any, first: int, second: int, kept: bool) -> None:
    """True uses the store; False neither reads nor keeps; "refresh" sends again and keeps."""
    emulator = open_()
    words(5).cfai.embed(cache=cache)
    assert emulator.requests == first
    words(5).cfai.embed(cache=cache)
    assert emulator.requests == first + second
    sent = emulator.requests
    words(5).cfai.embed()
    assert emulator.requests - sent == (0 if kept else 1)


def test_only_answers_from_the_store_alone(open_: Any) -> None:
    """cache="only" sends nothing; what is not stored is a failed row that says so."""
    emulator = open_()
    known = words(3).cfai.embed()
    with pytest.warns(cf.CfaiWarning, match="2 of 5 rows failed"):
        replay = words(5).cfai.embed(cache="only")
    assert emulator.requests == 1
    assert equal(known, replay[:3])
    assert replay[3:].isna().all()
    assert set(cf.last_run().failures["code"]) == {"not stored"}


def test_without_a_store_nothing_is_kept_but_the_charges(open_: Any) -> None:
    """store=False works, keeps no answers, and the ledger still knows what was spent."""
    emulator = open_(store=False)
    words(3).cfai.embed()
    words(3).cfai.embed()
    assert emulator.requests == 2
    assert cf.ledger()["requests"].sum() == 2


def test_equal_inputs_under_way_share_one_call(open_: Any) -> None:
    """Two awaited runs over the same texts at the same time pay once, and both get everything."""
    emulator = open_(latency=0.2)

    async def both() -> Any:
        return await asyncio.gather(words(150).cfai.embed.aio(), words(150).cfai.embed.aio())

    one, other = asyncio.run(both())
    assert equal(one, other)
    assert one.notna().all()
    assert emulator.requests == 2
    assert set(emulator.served_inputs.values()) == {1}


def test_two_runs_at_once_buy_each_row_once(open_: Any) -> None:
    """Two runs over the same rows pay once also for what one of them has finished before the other gets there."""
    emulator = open_(latency=0.01, concurrency=4)

    async def both() -> Any:
        return await asyncio.gather(words(120).cfai.classify.aio(LABELS), words(120).cfai.classify.aio(LABELS))

    one, other = asyncio.run(both())
    assert one.notna().all()
    pd.testing.assert_series_equal(one, other)
    assert set(emulator.billed_inputs.values()) == {1}


def test_a_slow_run_takes_what_a_quick_one_bought(open_: Any) -> None:
    """A run that is still going when another over some of its rows has ended does not buy them again."""
    emulator = open_(latency=0.03)

    async def both() -> Any:
        slow = words(30).cfai.classify.aio(LABELS, concurrency=1)
        quick = words(20, start=10).cfai.classify.aio(LABELS, concurrency=20)
        return await asyncio.gather(slow, quick)

    one, other = asyncio.run(both())
    assert one.tolist()[10:] == other.tolist()
    assert set(emulator.billed_inputs.values()) == {1}


def test_answers_that_wait_for_the_disk_are_known_already(open_: Any, tmp_path: Path) -> None:
    """While another process holds the store, a second run does not buy what the first has only in memory so far."""
    emulator = open_()
    words(1).cfai.embed()
    other = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(1.0, lambda: other.execute("COMMIT"))
    release.start()

    async def both() -> Any:
        first = asyncio.ensure_future(words(3, start=7).cfai.embed.aio())
        deadline = time.monotonic() + 5
        while len(emulator.calls) < 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        return await asyncio.gather(first, words(3, start=7).cfai.embed.aio())

    one, two = asyncio.run(both())
    release.join()
    other.close()
    assert equal(one, two)
    assert emulator.requests == 2


def test_several_threads_run_at_once(open_: Any) -> None:
    """Blocking calls from several threads share loop, places and answers, and each gets its own rows."""
    emulator = open_(latency=0.01, concurrency=8)
    found: dict[int, pd.Series] = {}

    def work(who: int) -> None:
        found[who] = words(40, start=20 * who).cfai.classify(LABELS)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(found) == [0, 1, 2, 3]
    for who, result in found.items():
        pd.testing.assert_series_equal(result, words(40, start=20 * who).cfai.classify(LABELS, cache="only"))
    assert len(emulator.billed_inputs) == 100


def test_a_shared_answer_is_kept_whoever_asked(open_: Any) -> None:
    """A run with the store on keeps its answers, also those it shared with a run that keeps none."""
    emulator = open_(latency=0.2)

    async def both() -> None:
        await asyncio.gather(words(5).cfai.embed.aio(cache=False), words(5).cfai.embed.aio())

    asyncio.run(both())
    sent = emulator.requests
    assert words(5).cfai.embed().notna().all()
    assert emulator.requests == sent


@pytest.mark.slow
def test_who_follows_a_failure_asks_for_itself(open_: Any) -> None:
    """When the run that asked first is stopped, the one that waited for it still gets its rows."""
    emulator = open_(latency=0.3, concurrency=1)

    async def both() -> Any:
        first = asyncio.ensure_future(words(6).cfai.classify.aio(LABELS))
        await asyncio.sleep(0.15)
        second = asyncio.ensure_future(words(6).cfai.classify.aio(LABELS))
        await asyncio.sleep(0.3)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await asyncio.wait_for(second, 20)

    assert asyncio.run(both()).notna().all()
    assert len(emulator.served_inputs) == 6


@pytest.mark.slow
def test_a_waiting_run_can_be_stopped(open_: Any) -> None:
    """A run that only waits for another's answers stops at once."""
    emulator = open_(latency=3.0)

    async def both() -> int:
        first = asyncio.ensure_future(words(3).cfai.embed.aio())
        await asyncio.sleep(0.3)
        second = asyncio.ensure_future(words(3).cfai.embed.aio())
        await asyncio.sleep(0.3)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        unanswered = emulator.in_flight
        await first
        return unanswered

    assert asyncio.run(both()) == 1, "the answer that it waited for has not come"
    assert emulator.requests == 1


def test_a_halted_run_waits_for_nothing(open_: Any) -> None:
    """A run inside a tool that is halted leaves no trace in what it waited for, which would later look circular."""
    open_(latency=0.2)
    here, task = session.current(), Classify(labels=LABELS)
    model = here.model_for(task, None)

    async def both() -> None:
        def begun(count: int) -> tuple[Any, asyncio.Task[Any]]:
            runner = here.runner(task, model, [f"row {i}" for i in range(count)], here.options({"concurrency": 3}))
            return runner, asyncio.ensure_future(runner.execute())

        _, first = begun(3)
        await asyncio.sleep(0.05)
        inputs = begun(0)[0]._engine.share.inputs.own
        others = set(inputs.by_key.values())
        outer = InFlight(asyncio.get_running_loop().create_future())
        outer.enter()
        second, waits = begun(3)
        await asyncio.sleep(0.05)
        assert [other.followers for other in others] == [[outer]] * 3
        second.halt()
        await waits
        assert [other.followers for other in others] == [[]] * 3
        await first

    bridge.call(both)


def test_a_store_that_cannot_be_opened_stays_with_the_runs_that_use_it(
    open_: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call without a cache does not take the store away from runs in flight, whose answers would be lost."""
    open_(latency=0.2)

    async def both() -> None:
        first = asyncio.ensure_future(words(2).cfai.classify.aio(LABELS))
        await asyncio.sleep(0.1)
        with monkeypatch.context() as patched:
            patched.setattr(Session, "store", lambda self: (_ for _ in ()).throw(cf.StoreError("not just now")))
            await words(1, 5).cfai.classify.aio(LABELS, cache=False)
        await first

    asyncio.run(both())
    assert words(2).cfai.classify(LABELS, cache="only").notna().all()


# -- how much at once --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 3, 40])
def test_never_more_at_once_than_asked_for(open_: Any, concurrency: int) -> None:
    """concurrency=n is a limit the server can see, and it is used."""
    emulator = open_(latency=0.15)
    words(4 * concurrency).cfai.classify(LABELS, concurrency=concurrency)
    assert emulator.most_in_flight <= concurrency
    assert emulator.most_in_flight >= concurrency * 0.7
    assert cf.last_run().flow["in_flight"].max() <= concurrency


def test_a_long_frame_is_not_turned_into_tasks_at_once(open_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the length of the frame, only as many batches are started as may be under way."""
    open_()
    most = [0]
    start = engine.Runner._start

    async def watched(self: engine.Runner, batch: list[int]) -> None:
        await start(self, batch)
        most[0] = max(most[0], len(self._tasks))

    monkeypatch.setattr(engine.Runner, "_start", watched)
    words(300).cfai.classify(LABELS)
    assert 1 <= most[0] <= 65


@pytest.mark.slow
def test_capacity_below_the_wish_is_found(open_: Any) -> None:
    """64 wanted, 16 held: no row lost, at most 5 % refused, at 0.85 of what 16 places can do."""
    emulator = open_(latency=0.06, capacity=16)
    begun = time.monotonic()
    result = words(1200).cfai.classify(LABELS, concurrency=64)
    seconds = time.monotonic() - begun
    assert result.notna().all()
    assert emulator.refused / emulator.requests <= 0.05
    assert set(emulator.served_inputs.values()) == {1}
    if seconds > 1200 * 0.06 / 16 / 0.85 + 1.5:  # a busy machine: what it does with the right number from the start
        begun = time.monotonic()
        words(1200).cfai.classify(LABELS, concurrency=16, cache=False)
        assert seconds <= (time.monotonic() - begun) / 0.85 + 1.5


@pytest.mark.parametrize("rate", [0, 0.5, -1, True, "30", float("nan"), float("inf")])
def test_a_rate_is_at_least_one_a_minute(rate: Any) -> None:
    """A number of requests a minute that no request fits in, or that is not a number, is refused."""
    with pytest.raises(cf.SetupError, match="rate="):
        cf.connect("emulator", store=False, rate=rate)


def test_a_rate_that_is_given_is_kept_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rate given, nothing is refused, and each minute (shortened here, with our margin) is used."""
    monkeypatch.setattr(limiter, "_MINUTE", 1.0)
    monkeypatch.setattr(limiter, "_WINDOW", 1.4)
    emulator = Emulator(rate=60, window="sliding", period=1.0)
    cf.connect(emulator, store=tmp_path / "s.sqlite", rate=60)
    begun = time.monotonic()
    assert words(100).cfai.classify(LABELS).notna().all()
    assert emulator.refused == 0
    assert 1.4 <= time.monotonic() - begun < 4 * 1.4


# -- faults ------------------------------------------------------------------------------------------------------------

BEFORE = ["500", "502", "503", "529", "408", "html", "1015", "reset", "3040", "3021", "3007", "3008"]
AFTER = ["reset-after", "cut", "garbage", "short"]


@pytest.fixture(params=["in this process", "on a port"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Connect to an emulator with these settings, in both ways there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "uniform", lambda low, high: high / 20)  # the same waits, twenty times shorter
        servers = []

        def opened(**settings: Any) -> Emulator:
            emulator = Emulator(**{"rate": None, "period": 0.2, **settings})
            store = tmp_path / f"{len(servers)}.sqlite"
            if request.param == "in this process":
                servers.append(None)
                cf.connect(emulator, store=store, rate=None)
            else:
                servers.append(running(emulator=emulator))
                url = servers[-1].__enter__().url
                cf.connect(base_url=url, account_id="a" * 32, api_token="t" * 40, store=store, rate=None)
            return emulator

        yield opened
        cf.session.current().close()
        for server in servers:
            if server is not None:
                server.__exit__(None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*BEFORE, *AFTER, "slow"])
def test_each_fault_once_costs_no_row(door: Any, kind: str) -> None:
    """Every kind of fault in the middle of a batch run: nothing lost, nothing wrong, nothing billed twice in vain."""
    emulator = door(faults=[None, kind, None, None], slow=0.1)
    result = words(350).cfai.embed(concurrency=1)
    assert result.notna().all()
    with cf.connect("emulator", store=False):
        assert equal(result, words(350).cfai.embed())
    if kind in BEFORE or kind == "slow":
        assert set(emulator.billed_inputs.values()) == {1}
    assert max(emulator.billed_inputs.values()) <= 2
    assert set(emulator.served_inputs.values()) == {1}


@pytest.mark.slow
def test_five_percent_of_every_fault_lose_nothing(door: Any) -> None:
    """Hundreds of calls with 1 to 2.5 % of each kind of fault: 0 lost, 0 wrong, and no good answer bought twice."""
    shares = {kind: 0.01 for kind in BEFORE if kind not in ("1015", "3021")} | dict.fromkeys(
        ("reset-after", "cut", "garbage", "short"), 0.025
    )
    emulator = door(faults=shares, seed=5)
    texts = words(600)
    vectors = texts.cfai.embed(model="bge-base-en-v1.5")
    labels = texts.cfai.classify(LABELS, probabilities=True)
    assert vectors.notna().all()
    assert labels["label"].notna().all()
    assert max(emulator.served_inputs.values()) == 1
    ledger = cf.ledger()
    with cf.connect("emulator", store=False):
        assert equal(vectors, texts.cfai.embed(model="bge-base-en-v1.5"))
        pd.testing.assert_frame_equal(labels, texts.cfai.classify(LABELS, probabilities=True))
    assert ledger["neurons"].sum() <= emulator.billed * (1 + 1e-6)
    assert ledger["neurons"].sum() >= emulator.billed * 0.75


@pytest.mark.parametrize("kind", ["empty", "length"])
def test_a_reply_that_is_lost_in_silence_fails_its_row(door: Any, kind: str) -> None:
    """An empty or cut reply is a failed row with its code, the others are delivered, and it is charged."""
    emulator = door(faults=[None, kind, None])
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        result = words(3).cfai.generate("Summarize in one sentence: {value}", concurrency=1)
    assert result.isna().tolist() == [False, True, False]
    assert cf.last_run().failures["code"].tolist() == [kind]
    assert cf.ledger()["neurons"].sum() == pytest.approx(emulator.billed)


@pytest.mark.slow
def test_when_nothing_works_the_run_ends_with_the_reason(door: Any) -> None:
    """A service that only fails ends the run after some tries with the error, and does not go through all rows."""
    emulator = door(faults={"500": 1.0})
    with pytest.raises(cf.Unavailable, match="500"):
        words(500).cfai.classify(LABELS, concurrency=4)
    assert 4 <= emulator.requests <= 80  # four rows at once, and four beside those that wait


def test_when_every_row_is_refused_the_run_ends_early(open_: Any) -> None:
    """When the first rows are all refused and nothing passes, the rest is not sent."""
    emulator = open_(faults={"5006": 1.0})
    with pytest.raises(cf.CfaiError, match="all failed") as caught:
        words(500).cfai.classify(LABELS, concurrency=4)
    assert "5006" in str(caught.value)
    assert emulator.requests <= 110


# -- rows that are refused ---------------------------------------------------------------------------------------------


def test_an_overlong_row_of_a_batch_fails_alone(door: Any) -> None:
    """bge-m3 refuses a batch for one text over its length: the batch is halved until that row stands alone."""
    emulator = door()
    texts = words(100)
    texts[37] = "x" * 4 * 61_000
    with pytest.warns(cf.CfaiWarning, match="1 of 100 rows failed"):
        result = texts.cfai.embed()
    assert result.isna().tolist() == [i == 37 for i in range(100)]
    failures = cf.last_run().failures
    assert failures["row"].tolist() == [37]
    assert failures["code"].tolist() == [5021]
    assert set(emulator.served_inputs.values()) == {1}
    assert emulator.requests <= 16
    with cf.connect("emulator", store=False):
        short = texts.drop(37)
        assert equal(result.drop(37), short.cfai.embed())


def test_a_batch_that_is_too_long_together_is_halved(door: Any) -> None:
    """A request over the service's size (3006) is halved; every row comes through and is billed once."""
    emulator = door(batch_tokens=400)
    texts = pd.Series([f"{i:03d} " * 20 for i in range(100)])
    assert texts.cfai.embed().notna().all()
    assert set(emulator.billed_inputs.values()) == {1}


def test_a_megabyte_in_a_cell_is_one_row(open_: Any) -> None:
    """A cell of a megabyte is sent, or fails its row; its neighbours are delivered."""
    open_()
    texts = pd.Series(["a", "word " * 200_000, "b"])
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        assert texts.cfai.embed().isna().tolist() == [False, True, False]
    assert texts.cfai.embed(model="bge-base-en-v1.5").notna().all()
    with pytest.warns(cf.CfaiWarning, match="1 of 3 rows failed"):
        texts.cfai.generate("{value}")
    assert "max_tokens" in cf.last_run().failures["message"].iloc[0]


def test_a_failed_row_is_tried_again_by_the_next_run(open_: Any) -> None:
    """Failures are not kept: a re-run sends exactly the rows that failed."""
    emulator = open_(faults=[None, "5006", None])
    with pytest.warns(cf.CfaiWarning):
        words(3).cfai.classify(LABELS, concurrency=1)
    assert words(3).cfai.classify(LABELS).notna().all()
    assert emulator.requests == 4


def test_on_error_raise_raises_when_all_others_are_done(open_: Any) -> None:
    """on_error="raise" raises at the end with row and reason, and what was delivered is kept."""
    emulator = open_(faults=[None, "5006", None, None])
    rows = words(4)
    rows.index = list("abcd")
    with pytest.raises(cf.RowsFailed, match="row 'b'") as caught:
        rows.cfai.classify(LABELS, concurrency=1, on_error="raise")
    assert "5006" in str(caught.value)
    assert cf.last_run().frame().isna().tolist() == [False, True, False, False]
    rows.cfai.classify(LABELS)
    assert emulator.requests == 5


def test_a_failure_names_every_row_it_meant(open_: Any) -> None:
    """Rows of equal text fail together, each listed under its own label."""
    open_(faults=["5006"])
    rows = pd.Series(["bad", "good", "bad"], index=[("x", 1), ("x", 2), ("y", 1)])
    with pytest.warns(cf.CfaiWarning, match="2 of 3 rows failed"):
        rows.cfai.classify(LABELS, concurrency=1)
    assert cf.last_run().failures["row"].tolist() == [("x", 1), ("y", 1)]
    assert cf.last_run().failures["position"].tolist() == [0, 2]


def test_an_answer_may_hold_the_words_of_a_failure(open_: Any, tmp_path: Path) -> None:
    """An answer whose own content says success: false, or holds an error object, is an answer all the same."""

    class Service:
        calls = 0

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            self.calls += 1
            answer = {"success": False, "errors": [{"code": 4006, "message": "quota"}]}
            body = json.dumps({"result": {"response": answer}, "success": True, "errors": [], "messages": []}).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    service = Service()
    cf.connect(service, store=tmp_path / "x.sqlite")
    frame = pd.DataFrame({"t": ["x"]}).cfai.generate("{t}", schema={"success": bool, "errors": list[dict]}, model=LLAMA)
    assert frame["success"].tolist() == [False]
    assert service.calls == 1


def test_a_repair_charges_both_turns(open_: Any, tmp_path: Path) -> None:
    """A reply that does not fit is sent back once; both turns are charged, a second failure fails the row."""

    class Service:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            body = json.loads((await receive())["body"])
            self.calls.append(body)
            hopeless = "stubborn" in body["messages"][0]["content"]
            said = '{"year": 2001}' if len(body["messages"]) > 1 and not hopeless else "no idea"
            answer = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}], "usage": {"neurons": 1.5}}
            out = json.dumps({"result": answer, "success": True, "errors": [], "messages": []}).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": out})

    service = Service()
    cf.connect(service, store=tmp_path / "x.sqlite")
    frame = pd.DataFrame({"t": ["willing", "stubborn"]})
    with pytest.warns(cf.CfaiWarning, match="1 of 2 rows failed"):
        result = frame.cfai.generate("{t}", schema={"year": int})
    assert result["year"].tolist() == [2001, pd.NA]
    assert len(service.calls) == 4
    assert cf.ledger()["neurons"].sum() == pytest.approx(6.0)
    assert cf.last_run().failures["code"].tolist() == ["schema"]


# -- what ends a run ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("code", [4006, 3036])
def test_the_end_of_the_day_ends_the_run(door: Any, code: int) -> None:
    """Quota used up in mid-run: beyond what was in flight one request that confirms it; rows kept, one error."""
    emulator = door(latency=0.02, neurons_per_day=0.0003 * 300, quota_code=code)
    rows = words(400)
    with pytest.raises(cf.QuotaExhausted, match="00:00 UTC") as caught:
        rows.cfai.classify(LABELS, concurrency=8)
    done = int(cf.last_run().event.done)
    assert 0 < done < 400
    assert f"{done:,} of 400 rows are done and kept" in str(caught.value)
    assert emulator.requests <= done + 8 + 2
    assert cf.last_run().frame().notna().sum() == done
    sent = emulator.requests
    emulator._quota.allowed = None  # the next day
    result = rows.cfai.classify(LABELS, concurrency=8)
    assert result.notna().all()
    assert emulator.requests == sent + 400 - done
    assert set(emulator.served_inputs.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("code", ["10000", "5035", "3023", "5007", "3041"])
def test_no_access_ends_the_run_at_once(door: Any, code: str) -> None:
    """An account or token that cannot use the model ends the run with the first refusals, and one that confirms it."""
    emulator = door(latency=0.02, faults={code: 1.0})
    with pytest.raises(cf.AccessError, match=code):
        words(500).cfai.classify(LABELS, concurrency=4, model="clef-flash")
    assert emulator.requests <= 4 + 2


def test_a_defect_in_a_listener_stops_the_spending(open_: Any) -> None:
    """When a listener raises, no request goes out after the call has returned."""
    emulator = open_(latency=0.05, concurrency=2)

    def broken(event: Any) -> None:
        raise RuntimeError("a defect of the user's")

    with cf.listen(broken), pytest.raises(RuntimeError, match="user's"):
        words(60).cfai.classify(LABELS)
    sent = emulator.requests
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline and emulator.requests == sent:
        time.sleep(0.02)
    assert emulator.requests == sent


def test_a_defect_in_a_task_is_reported_and_charged(open_: Any) -> None:
    """A task that cannot read an answer fails its row, any other defect ends the run; both are reported and charged."""
    from cfai_nb.tasks import Classify

    class Broken(Classify):
        def parse(self, answer: Any, inputs: Any, model: Any) -> Any:
            if inputs[0].endswith(" 1"):
                raise ZeroDivisionError("a defect of the task's")
            if inputs[0].endswith(" 7"):
                raise RuntimeError("another defect")
            return super().parse(answer, inputs, model)

    emulator = open_(concurrency=1)
    with pytest.warns(cf.CfaiWarning, match="ZeroDivisionError"):
        result = words(3).cfai.run(Broken(labels=LABELS))
    assert result.isna().tolist() == [False, True, False]
    with pytest.raises(cf.CfaiError, match="another defect") as caught:
        words(300).cfai.run(Broken(labels=LABELS))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert emulator.requests <= 12
    assert cf.ledger()["requests"].sum() == emulator.requests


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (np.int64(3), 3),
        ({"share": np.float32(0.5), "counts": np.array([1, 2])}, {"share": 0.5, "counts": [1, 2]}),
        ((1, {2}), [1, [2]]),
        (pd.Timestamp("2026-01-01"), "2026-01-01T00:00:00"),
        ({1: "one"}, {"1": "one"}),
        (object(), None),
        ("half a pair \ud800", None),
        ([cf.Image(b"\x89PNG"), "a text"], None),
    ],
)
@pytest.mark.parametrize("cache", [True, False])
def test_a_cell_is_the_same_at_first_and_from_the_store(open_: Any, cell: Any, kept: Any, cache: bool) -> None:
    """The cell of an own task is plain JSON from the start; one that the store cannot hold fails its row, charged."""
    from cfai_nb.tasks import Classify

    class Own(Classify):
        def parse(self, answer: Any, inputs: Any, model: Any) -> Any:
            return ["plain" if inputs[0].endswith("0") else cell]

        def to_columns(self, cells: Any) -> Any:
            return cf.tasks.Column(cells)

    emulator = open_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)  # of the row that fails
        first, again = (words(2).cfai.run(Own(labels=LABELS), cache=cache) for _ in range(2))
    for found in (first, again):
        assert found[0] == "plain"
        assert found[1] == kept if kept is not None else pd.isna(found[1])
    assert emulator.requests == (2 if cache and kept is not None else 3 if cache else 4)
    assert cf.ledger()["requests"].sum() == emulator.requests
    assert kept is not None or "the store cannot hold the cell" in str(cf.last_run().failures.to_numpy().tolist())


def test_cells_of_a_batch_fail_alone() -> None:
    """Of the cells of one request, only those fail that the store cannot hold; all of them where kinds are mixed."""
    from cfai_nb._engine.conversation import _storable

    at, cells, failed = _storable([4, 5, 6], ["a", object(), (1,)], [])
    assert (at, cells, [index for index, _ in failed]) == ([4, 6], ["a", [1]], [5])
    at, cells, failed = _storable([4, 5], [cf.Image(b"\x89PNG"), "a"], [])
    assert (at, cells, [index for index, _ in failed]) == ([], [], [4, 5])


def test_a_stop_keeps_what_waits_for_a_slow_disk(open_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that wait for the writer when Stop is pressed are kept and charged."""
    emulator = open_(concurrency=4)
    full = [False]
    monkeypatch.setattr(Writer, "full", property(lambda self: full[0]))

    async def main() -> None:
        full[0] = True
        run = asyncio.ensure_future(words(40).cfai.classify.aio(LABELS))
        deadline = time.monotonic() + 5
        while len(emulator.calls) < 4 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        run.cancel()
        await asyncio.sleep(0.3)
        full[0] = False
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    paid = sum(call.charged for call in emulator.calls)
    assert paid >= 4
    assert cf.ledger()["requests"].sum() == paid
    sent = emulator.requests
    words(40).cfai.classify(LABELS)
    assert emulator.requests == sent + 40 - paid


def test_models_keep_to_their_own_rates(tmp_path: Path) -> None:
    """Each model is paced by its own published rate, also beside another of its task."""
    session = cf.connect(Emulator(), store=tmp_path / "s.sqlite")
    limiter = session.engine(cache=True).limiter
    for name in ("bge-m3", "bge-large-en-v1.5", "glm-4.7-flash", "kimi-k2.6", "clef-flash"):
        model = find(name)
        assert limiter(model).rate.given == model.rate


def test_the_ledger_agrees_with_the_bill(door: Any) -> None:
    """What the ledger says was spent is what the emulator billed, call by call, and marked as exact."""
    emulator = door()
    words(120).cfai.embed()
    words(5).cfai.classify(LABELS)
    words(5).cfai.generate("Say {value}")
    ledger = cf.ledger()
    assert ledger["neurons"].sum() == pytest.approx(emulator.billed)
    assert ledger["requests"].sum() == emulator.requests == 12
    assert ledger["exact"].all()
    words(5).cfai.generate("Say {value}")
    assert cf.ledger()["neurons"].sum() == pytest.approx(emulator.billed)
    assert cf.ledger()["saved_neurons"].sum() > 0
