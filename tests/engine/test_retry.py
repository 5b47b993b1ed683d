"""Sending again: what counts against a row, what is waited for and how long, and what may end a run."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inputs import quick_queue, quick_retries, words
from intercept import Faulty, failure, poison
from starlette.responses import Response

import cfai_nb as cf
from cfai_nb._engine import limiter, sender
from cfai_nb._engine.limiter import Share
from cfai_nb._engine.sender import ATTEMPTS, MINUTE, PATIENCE, Retry, Service
from cfai_nb.emulator import Emulator

LABELS = ["billing", "shipping"]
LLAMA = "llama-3.3-70b-instruct-fp8-fast"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits between attempts, fifty times shorter; nothing waits for a pretended queue or minute."""
    quick_retries(monkeypatch, faster=50, minute=0.5)
    quick_queue(monkeypatch, 0.005)


def poisoned(count: int, bad: int) -> pd.Series:
    """Return texts, of which one is refused."""
    return words(count).replace(f"text number {bad}", "a poison text")


def quiet(call: Callable[[], Any]) -> Any:
    """Make a call whose rows may fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)
        return call()


# -- the policy, without a service -------------------------------------------------------------------------------------

FAULT, BUSY, LIMITED = cf.Unavailable("down", 500), cf.Busy("full", 3040), cf.RateLimited("minute", 3021)
CLOSED = cf.AccessError("closed", 10000)


def tries(made: Retry, failure: cf.RowError, step: float = 1.0, most: int = 10_000) -> tuple[int, float]:
    """How often and how long a request is sent that always fails so."""
    now = 100.0
    for count in itertools.count(1):
        try:
            made.pause(failure, now)
        except cf.RowError:
            return count, now - 100.0
        assert count < most
        now += step
    raise AssertionError


def test_waiting_for_capacity_uses_up_no_attempts() -> None:
    """However often a request was refused for want of capacity, it has all its attempts after faults left."""
    service = Service()
    made = Retry(service, PATIENCE)
    for at in range(50):
        made.pause(BUSY, 100.0 + at)
    assert tries(made, FAULT, step=0.1)[0] == ATTEMPTS


def test_attempts_count_where_others_are_answered_or_nothing_ever_was() -> None:
    """In an outage only the patience counts; a row that fails beside others that pass has its attempts."""
    never, outage, alone = Service(), Service(), Service()
    outage.note(50.0, 60.0)
    assert tries(Retry(never, PATIENCE), FAULT)[0] == ATTEMPTS
    count, seconds = tries(Retry(outage, PATIENCE), FAULT)
    assert count > ATTEMPTS
    assert seconds == pytest.approx(PATIENCE, abs=1)
    made = Retry(alone, PATIENCE)
    for at in range(ATTEMPTS - 1):
        alone.note(99.5 + at, 99.6 + at)  # sent after it failed before
        made.pause(FAULT, 100.0 + at)
    alone.note(99.5 + ATTEMPTS, 99.6 + ATTEMPTS)
    with pytest.raises(cf.Unavailable):
        made.pause(FAULT, 100.0 + ATTEMPTS)
    assert made.failures == ATTEMPTS


@pytest.mark.parametrize(("failure", "seconds"), [(BUSY, 7.0), (LIMITED, 0.5)])
def test_patience_bounds_what_waits(failure: cf.RowError, seconds: float) -> None:
    """A row waits so long from its first refusal on; at least until the minute can have opened; its turn is free."""
    patience = 7.0 if failure is BUSY else 0.1
    assert tries(Retry(Service(), patience), failure, step=0.01)[1] == pytest.approx(seconds, abs=0.02)
    made = Retry(Service(), patience)
    made.pause(failure, 100.0)
    made.excuse(30.0)
    made.pause(failure, 100.0 + 30.0 + seconds - 0.01)
    with pytest.raises(cf.ServiceError):
        made.pause(failure, 100.0 + 30.0 + seconds + 0.01)
    assert MINUTE > 60


def test_a_refused_row_is_asked_once_more_and_oftener_where_others_pass() -> None:
    """An error of access that nothing contradicts is repeated once; beside answers it is tried like a fault."""
    service = Service()
    assert tries(Retry(service, PATIENCE), CLOSED)[0] == sender.REFUSED
    service.note(1_000.0, 1_000.0)
    assert tries(Retry(service, PATIENCE), CLOSED)[0] == sender.ALONE


def test_two_different_rows_confirm_and_an_answer_clears() -> None:
    """Not the same row twice, not what was in flight already, and not with an answer in between."""
    a, b, both = [b"a"], [b"b"], [b"a", b"b"]
    share = Share()
    share.take()
    assert not share.refused(a, 1.0, 2.0, needed=2)
    share.leave(1.0)
    assert share.room
    share.take()
    assert not share.room, "one at a time"
    assert not share.refused(b, 1.5, 2.5, needed=2), "it was in flight already"
    assert not share.refused(a, 2.6, 2.7, needed=2), "the same row"
    share.answered(2.8)
    assert share.room
    assert not share.refused(a, 3.0, 3.1, needed=2), "known to be refused alone"
    assert not share.refused(b, 3.2, 3.3, needed=2)
    share = Share()
    assert not share.refused(both, 1.0, 2.0, needed=2)
    assert not share.refused(a, 2.1, 2.2, needed=2), "part of the same request"
    assert share.refused(b, 2.3, 2.4, needed=2), "the halves confirm each other"


# -- one row that always fails -----------------------------------------------------------------------------------------

ALWAYS = {
    "500": failure(500), "504": failure(504), "500 with 3000": failure(500, 3000), "3040": failure(429, 3040),
    "1015": failure(429, 1015, "page"), "a page of a firewall": failure(403, form="page"),
    "404": failure(404, form="page"), "10000": failure(401, 10000), "4006": failure(429, 4006),
    "5006": failure(400, 5006), "302": failure(302, form="nothing"), "nothing": failure(200, form="nothing"),
    "null": failure(200, form="null"), "no result": failure(200, form="no result"),
}  # fmt: skip
VERBS = {
    "embed": lambda rows, **o: rows.cfai.embed(**o),
    "classify": lambda rows, **o: rows.cfai.classify(LABELS, **o),
    "queue": lambda rows, **o: rows.cfai.generate("{value}", model=LLAMA, queue=True, **o),
    "gateway": lambda rows, **o: rows.cfai.generate("{value}", gateway="g", **o),
    "one at a time": lambda rows, **o: rows.cfai.classify(LABELS, concurrency=1, **o),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "kind"), [(verb, kind) for verb in VERBS for kind in ALWAYS if kind != "1015" or verb == "classify"]
)
def test_a_row_that_always_fails_ends_no_run(tmp_path: Path, verb: str, kind: str) -> None:
    """It fails alone and says why, all others are kept; so does the same call again, with that row alone to ask."""
    here = Faulty(poison(ALWAYS[kind]))
    cf.connect(here, store=tmp_path / "s.sqlite", rate=None, patience=0.4)
    rows = poisoned(12, 4)
    for _ in range(2):
        result = quiet(lambda: VERBS[verb](rows))
        assert result.isna().tolist() == [at == 4 for at in range(12)]
        (failed,) = cf.last_run().failures.to_dict("records")
        assert failed["row"] == 4
        assert failed["message"].isprintable()
    assert set(here.emulator.served_inputs.values()) == {1}


@pytest.mark.parametrize(
    "kind", ["500", "302", "nothing", "null", "no result", "a page of a firewall", "10000", "4006"]
)
@pytest.mark.parametrize("verb", VERBS)
def test_what_fails_once_costs_no_row(verb: str, kind: str) -> None:
    """An error, a page or an answer without a result, once: it is asked again."""
    here = Faulty(poison(ALWAYS[kind], times=1, word=b"text"))
    cf.connect(here, store=False, rate=None)
    assert VERBS[verb](words(12)).notna().all()
    assert here.given == 1


def test_when_every_row_fails_the_call_raises() -> None:
    """The service's own error where all are of one kind, else RowsFailed; also with on_error="keep"."""
    cf.connect(Faulty(poison(failure(400, 5006), word=b"text")), store=False)
    with pytest.raises(cf.Refused, match=r"5006.*All 3 rows failed.*cf.last_run\(\).failures"):
        words(3).cfai.classify(LABELS, on_error="keep")
    assert len(cf.last_run().failures) == 3
    assert cf.last_run().frame().isna().all()
    rows = pd.Series(["text", {"no": "text"}])
    with pytest.raises(cf.RowsFailed, match=r"2 of 2 rows failed.*row 0"):
        rows.cfai.classify(LABELS)
    with pytest.raises(cf.RowsFailed, match="no answer"):
        words(2).cfai.classify(LABELS, cache="only")


# -- what concerns every row -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", ["10000", "4006"])
def test_what_concerns_every_row_ends_the_run_at_once(verb: str, kind: str) -> None:
    """Confirmed by one request more than those in flight; a batch by its halves; the rest is not sent."""
    here = Faulty(poison(ALWAYS[kind], word=b"text"))
    cf.connect(here, store=False, rate=None)
    with pytest.raises(cf.QuotaExhausted if kind == "4006" else cf.AccessError, match=kind):
        VERBS[verb](words(400))
    most = {"embed": 4 + 3, "queue": 3, "one at a time": 2}.get(verb, 24 + 2)
    assert here.given <= most


def test_a_page_that_two_rows_get_does_not_end_a_run() -> None:
    """A firewall's page is about what a row holds: several rows fail so alone, one of them after the other."""
    here = Faulty(poison(failure(403, form="page")))
    cf.connect(here, store=False, rate=None, concurrency=4)
    rows = pd.Series([f"a poison text {at}" if at in (0, 1, 2, 9, 10) else f"text {at}" for at in range(60)])
    result = quiet(lambda: rows.cfai.classify(LABELS))
    assert result[result.isna()].index.tolist() == [0, 1, 2, 9, 10]
    assert set(cf.last_run().failures["code"]) == {403}


def test_the_fallback_model_takes_over_once_it_is_confirmed() -> None:
    """Where the default model is not open to the account, for many rows as for one, another one answers."""
    for count in (1, 60):
        here = Faulty(poison(failure(403, 3041), word=b"questions"))  # what a decision model is asked
        cf.connect(here, store=False, rate=None)
        with pytest.warns(cf.CfaiWarning, match="not open to this account"):
            assert words(count).cfai.classify(LABELS).notna().all()
        assert 2 <= here.given <= 26


def test_stop_is_heard_while_access_is_in_doubt() -> None:
    """The rows that wait for the one that is asked are not sent when the run is stopped meanwhile."""
    here = Faulty(poison(failure(403, 3041), times=1, word=b"text number 3"), latency=0.3)
    cf.connect(here, store=False, rate=None, concurrency=4)

    async def stopped() -> None:
        run = asyncio.ensure_future(words(40).cfai.classify.aio(LABELS))
        while not here.given:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(stopped())
    assert here.emulator.requests <= 3 + 1


@pytest.mark.slow
def test_a_fault_while_rows_wait_for_capacity_fails_none() -> None:
    """Waits and faults mixed, in any order, for more of them than there are attempts."""
    kinds = itertools.cycle([*["3040"] * 9, "500", "3040", "reset", None])
    cf.connect(Emulator(rate=None, faults=lambda number, model: next(kinds)), store=False, rate=None)
    assert words(4).cfai.classify(LABELS).notna().all()


@pytest.mark.slow
def test_an_outage_costs_time_and_no_row() -> None:
    """No request is answered for longer than all attempts take; then every one is."""
    down = [0.0, 0.0]

    def instead(raw: bytes) -> Response | None:
        return failure(503) if down[0] <= time.monotonic() < down[1] else None

    here = Faulty(instead, latency=0.005)
    cf.connect(here, store=False, rate=None, concurrency=8)
    down[:] = time.monotonic() + 0.2, time.monotonic() + 1.7  # eight attempts take 1 s
    assert words(500).cfai.classify(LABELS).notna().all()
    assert here.given > 50, "it was down"


def test_a_service_without_a_free_place_ends_the_run_after_the_patience(tmp_path: Path) -> None:
    """All rows refused for want of capacity: Busy after the patience, what was answered is kept, the rest not run."""
    full = threading.Event()
    here = Faulty(lambda raw: failure(429, 3040) if full.is_set() else None)
    cf.connect(here, store=tmp_path / "s.sqlite", rate=None, patience=1.0)
    words(5).cfai.classify(LABELS)
    full.set()
    begun = time.monotonic()
    with pytest.raises(cf.Busy, match="5 of 300 rows are done and kept"):
        words(300).cfai.classify(LABELS)
    assert 0.9 < time.monotonic() - begun < 4
    assert cf.last_run().not_run > 100


@pytest.mark.slow
def test_a_fixed_minute_fails_no_row() -> None:
    """Rows that the minute refuses wait until it opens, however small the patience."""
    cf.connect(Emulator(rate=10, window="fixed", period=0.4), store=False, rate=None, patience=0.05)
    assert words(40).cfai.classify(LABELS).notna().all()


# -- said while it lasts -----------------------------------------------------------------------------------------------

SAID = {
    "capacity": (failure(429, 3040), "waiting for capacity (3040) for 1 s, gives up after 2 s"),
    "outage": (failure(503), "the service fails (503), waiting for 1 s, gives up after 2 s"),
    "minute": (failure(429, 1015, "page"), "waiting for the minute's limit (1015) for 1 s, gives up after 2 s"),
}


@pytest.mark.slow
@pytest.mark.parametrize("reason", SAID)
def test_what_is_waited_for_is_said(reason: str) -> None:
    """After a second without an answer: what for, since when, until when; and not before, and not at the end."""
    response, line = SAID[reason]
    heard: list[Any] = []
    lines: set[str] = set()
    arrived = itertools.count()
    cf.connect(Faulty(lambda raw: response if next(arrived) else None), store=False, rate=None, patience=2.0)

    def hear(event: Any) -> None:
        heard.append(event)
        lines.update(cf.frame.progress.words(cf.last_run()).split(" · "))

    with cf.listen(hear):
        quiet(lambda: words(3).cfai.classify(LABELS, progress=False, concurrency=1))
    assert cf.last_run().event.done == 1
    waits = [event.waiting for event in heard if event.waiting is not None]
    assert {wait.reason for wait in waits} == {reason}
    assert all(event.seconds >= 1 for event in heard if event.waiting is not None)
    assert heard[-1].finished
    assert heard[-1].waiting is None
    assert line in lines, lines
    assert waits[0].until - waits[0].since == pytest.approx(2.0, abs=0.1)


@pytest.mark.slow
def test_the_turn_in_the_minute_the_budget_and_the_queue_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of our own are reported as well; patience does not bound them."""
    heard: list[Any] = []
    monkeypatch.setattr(limiter, "_WINDOW", 1.7)
    with cf.listen(lambda event: heard.append(event.waiting)):
        cf.connect(Emulator(rate=None), store=False, rate=5)
        words(7).cfai.classify(LABELS, progress=False)
        cf.connect(Emulator(rate=None, queue_seconds=1.5), store=False, rate=None)
        words(2).cfai.generate("{value}", model=LLAMA, queue=True, progress=False)
        cf.connect(Emulator(rate=None, latency=1.5), store=False, rate=None)
        both = words(2).cfai.generate.plan("{value}").estimate.cost.neurons
        words(2).cfai.generate("{value}", progress=False, neurons=both * 0.8)
    waits = {wait.reason: wait for wait in heard if wait is not None}
    assert waits.keys() == {"minute", "queue", "budget"}
    assert (waits["queue"].until, waits["budget"].until) == (None, None)
    turn = waits["minute"]
    assert 1.0 < turn.until - turn.since < 2.0
    said = cf.frame.progress.waiting_words
    assert said(waits["queue"], waits["queue"].since + 3) == "waiting for the batch queue for 3 s"
    assert said(turn, turn.until - 1) == "waiting for the minute's limit for 1 s, goes on in 1 s"


# -- how much at once --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_most_at_once_is_of_the_account() -> None:
    """Four calls at once share the places of the model; a call's own concurrency narrows its share."""
    emulator = Emulator(rate=None, latency=0.05)
    cf.connect(emulator, store=False, rate=None)

    async def four(**options: Any) -> None:
        calls = [pd.Series([f"{k} {i}" for i in range(100)]).cfai.classify for k in range(4)]
        await asyncio.gather(*(call.aio(LABELS, progress=False, **options) for call in calls))

    asyncio.run(four())
    assert emulator.most_in_flight <= 64
    emulator.log.most_in_flight = 0
    asyncio.run(four(concurrency=3))
    assert 8 <= emulator.most_in_flight <= 12


def test_a_run_without_a_cache_shares_nothing(tmp_path: Path) -> None:
    """cache=False neither takes what another run asks for at the moment, nor gives it to one."""
    emulator = Emulator(rate=None, latency=0.1)
    cf.connect(emulator, store=tmp_path / "s.sqlite", rate=None)

    async def both(*modes: Any) -> None:
        await asyncio.gather(*(words(5).cfai.embed.aio(cache=mode) for mode in modes))

    asyncio.run(both(False, False))
    assert emulator.requests == 2
    asyncio.run(both(False, True))
    assert emulator.requests == 4


# -- kept, charged, let go ---------------------------------------------------------------------------------------------


def test_failures_hold_nothing_of_what_was_sent() -> None:
    """No traceback, cause or context: their frames would keep every picture of a failed row."""
    cf.connect(Faulty(poison(failure(400, 5006))), store=False)
    quiet(lambda: poisoned(3, 1).cfai.classify(LABELS))
    (error,) = cf.last_run().run.failures.values()
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_an_answer_that_does_not_fit_the_run_is_charged(tmp_path: Path) -> None:
    """Vectors of another length fail their rows, are in the ledger, and end no run; the words say what to do."""
    short = Response(
        '{"result": {"shape": [1, 3], "data": [[1, 2, 3]]}, "success": true}', media_type="application/json"
    )
    cf.connect(Faulty(poison(short)), store=tmp_path / "s.sqlite", rate=None)
    words(3).cfai.embed()
    sent = cf.ledger()["requests"].sum()
    result = quiet(lambda: pd.concat([words(3), pd.Series(["poison"], index=[9])]).cfai.embed())
    assert result.isna().tolist() == [False, False, False, True]
    (failed,) = cf.last_run().failures.to_dict("records")
    assert failed["code"] == "dimensions"
    assert "vectors of 3 dimensions instead of 1024" in failed["message"]
    assert cf.ledger()["requests"].sum() == sent + 1


def test_an_odd_usage_block_ends_no_run() -> None:
    """What the service reports in a form that cannot be read is estimated, and the estimate is marked as one."""

    class Odd(cf.Classify):
        def usage(self, *given: Any) -> Any:
            raise TypeError("usage of another form")

    cf.connect(Emulator(rate=None), store=False)
    assert words(2).cfai.run(Odd(labels=LABELS)).notna().all()
    ledger = cf.ledger()
    assert ledger["requests"].sum() == 2
    assert not ledger["exact"].any()
    assert np.isfinite(ledger["neurons"]).all()


# -- feedback ----------------------------------------------------------------------------------------------------------


def test_feedback_goes_several_at_once_and_stops() -> None:
    """Ratings are sent together; what fails says how many were sent."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=False, gateway="g")
    words(30).cfai.generate("{value}")
    logs, flying, most = cf.last_run().logs, [0], [0]

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        flying[0] += 1
        most[0] = max(most[0], flying[0])
        await asyncio.sleep(0.02)
        flying[0] -= 1
        await emulator(scope, receive, send)

    cf.connect(slow, store=False, gateway="g")
    assert cf.feedback(logs, 1) == 30
    assert 2 <= most[0] <= 8
    unknown = pd.concat([logs, pd.Series(["unknown"])], ignore_index=True)
    with pytest.raises(cf.AccessError, match="unknown") as caught:
        cf.feedback(unknown, 1)
    assert any("of 31 logs were rated" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), True, "2 min"])
def test_patience_is_seconds(wrong: Any) -> None:
    """patience= takes seconds, at a call or as a default of connect(); anything else is refused before sending."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=False, patience=5)
    assert cf.session.current().options({}).patience == 5
    with pytest.raises(ValueError, match="patience="):
        words(1).cfai.embed(patience=wrong)
    with pytest.raises(ValueError, match="patience="):
        cf.connect(emulator, store=False, patience=wrong)
    assert emulator.requests == 0
