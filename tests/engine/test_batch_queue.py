"""The batch queue: submitted once, answered like the direct call, and found again whatever happened meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inputs import quick_queue
from intercept import Witness, envelope
from starlette.responses import JSONResponse, Response

import cfai_nb as cf
from cfai_nb import session
from cfai_nb._engine import batch_queue
from cfai_nb.emulator import running

LLAMA, BGE = "llama-3.3-70b-instruct-fp8-fast", "bge-small-en-v1.5"
ROOT = Path(__file__).parents[2]
ROWS = pd.Series([f"text number {i}" for i in range(6)] + [None, "text number 0"], index=list("abcdefgh"))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's queue is looked at after hundredths of a second."""
    quick_queue(monkeypatch, 0.02)


@pytest.fixture
def front() -> Callable[..., Witness]:
    """Connects to an emulator with a witness."""

    def made(*arguments: Any, store: Any = None, **settings: Any) -> Witness:
        front = Witness(*arguments, **settings)
        cf.connect(front, store=store, rate=None)
        return front

    return made


def equal(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    def plain(cell: Any) -> Any:
        return cell.tolist() if isinstance(cell, np.ndarray) else None if cell is pd.NA else cell

    return one.index.equals(other.index) and list(map(plain, one)) == list(map(plain, other))


CALLS = {
    "generate": (lambda **o: ROWS.cfai.generate("Say {value}", model=LLAMA, **o), 1, 6),
    "schema": (lambda **o: ROWS.cfai.generate("Say {value}", schema={"n": int}, model=LLAMA, **o)["n"], 1, 6),
    "embed": (lambda **o: ROWS.cfai.embed(model=BGE, **o), 1, 1),
    "translate": (lambda **o: ROWS.cfai.translate(to="de", source="en", model="m2m100-1.2b", **o), 1, 6),
    "speak": (lambda **o: ROWS.cfai.speak(model="aura-2-en", **o), 1, 6),
}


@pytest.mark.parametrize("verb", CALLS)
def test_the_queue_gives_what_the_direct_call_gives(front: Any, verb: str) -> None:
    """One submission whose answers come in another order; equal cells, equal bill, and the store has them for both."""
    call, submissions, requests = CALLS[verb]
    here = front(store=False)
    direct = call(cache=False)
    spent = cf.last_run().run.spent.neurons
    queue = front()
    assert equal(call(queue=True), direct)
    paid = cf.last_run().run.spent
    assert paid.exact, "where the answers tell no usage, the submission does"
    assert paid.neurons == pytest.approx(queue.emulator.billed)
    assert paid.neurons == pytest.approx(spent, rel=1e-6)
    assert len(queue.submitted) == submissions
    assert sum(map(len, queue.submitted)) == requests
    assert (queue.direct, here.submitted) == (0, [])
    assert queue.emulator.billed == pytest.approx(here.emulator.billed)
    assert cf.ledger()["requests"].sum() == requests
    assert equal(call(), direct)
    assert cf.last_run().run.requests == queue.direct == 0, "it has the key of the direct call"
    assert _kept_ids() == []


def _kept_ids() -> list[Any]:
    here = session.current()
    here.store().flush()
    with contextlib.closing(sqlite3.connect(here.store_path)) as file:
        return file.execute("SELECT id FROM queued").fetchall()


@pytest.mark.parametrize("model", ["glm-4.7-flash", "gpt-oss-20b"])
def test_only_some_models_have_a_queue(front: Any, model: str) -> None:
    """A model without one is refused before anything is sent, with the names of those that have."""
    here = front()
    with pytest.raises(cf.ModelError, match=f"no queue. These have one: .*{BGE}.*{LLAMA}"):
        ROWS.cfai.generate("{value}", model=model, queue=True)
    assert here.calls == []


def test_without_a_store_it_works_all_the_same(front: Any) -> None:
    """store=False: only what a restart needs is missing."""
    front(store=False)
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 7


def _malformed(body: dict[str, Any]) -> None:
    for one in body.get("requests", ()):
        if "number 3" in str(one):
            one.clear()


def test_a_malformed_request_fails_alone(front: Any) -> None:
    """The row the service refuses within a batch is named; the others are there, and it is submitted again only by a
    re-run."""
    here = front(_malformed)
    with pytest.warns(cf.CfaiWarning, match="row 'd'"):
        told = ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True)
    assert told.isna().tolist() == [False, False, False, True, False, False, True, False]
    assert cf.last_run().failures["code"].tolist() == [5006]
    here.first = lambda body: None
    assert ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True).notna().sum() == 7
    assert [len(each) for each in here.submitted] == [6, 1]


def test_a_submission_that_is_refused_is_halved(front: Any) -> None:
    """Where the whole of it is refused for one request, that one is found, and only its row fails."""
    refused = lambda body: envelope({}, 400, 5006) if "number 3" in str(body.get("requests")) else None  # noqa: E731
    here = front(refused)
    with pytest.warns(cf.CfaiWarning, match="row 'd'"):
        told = ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True)
    assert told.notna().sum() == 6
    assert [len(each) for each in here.submitted] == [6, 3, 3, 1, 2]
    assert set(here.emulator.billed_inputs.values()) == {1}


class Once:
    """Answers the first call of a kind, and no other."""

    def __init__(self, kind: str, answer: Any, times: int = 1) -> None:
        self.kind, self.answer, self.times = kind, answer, times

    def __call__(self, body: dict[str, Any]) -> Any:
        if self.kind not in body or not self.times:
            return None
        self.times -= 1
        return self.answer


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("requests", envelope({}, 429, 3021)), ("requests", envelope({}, 429, 3040)), ("requests", envelope({}, 500)),
        ("request_id", envelope({}, 429, 3021)), ("request_id", envelope({}, 503)),
        ("request_id", JSONResponse({"result": "?"}, 520)),
    ],
    ids=list("123456"),
)  # fmt: skip
def test_what_passes_is_tried_again(front: Any, kind: str, answer: Any) -> None:
    """A submission or a poll that is refused for the moment is repeated; nothing is submitted twice."""
    here = front(Once(kind, answer))
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 7
    assert set(here.emulator.billed_inputs.values()) == {1}
    assert len(here.submitted) == 1 + (kind == "requests")


def test_what_is_refused_within_the_queue_is_not_charged(front: Any) -> None:
    """A request that the queue refuses is submitted again, and the ledger holds the answered one alone."""
    one = {"id": 0, "success": False, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded"}]}
    here = front(Once("request_id", JSONResponse({"result": {"responses": [one]}, "success": True, "errors": []})))
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 7
    assert len(here.submitted) == 2
    assert cf.ledger()[["requests", "exact"]].to_numpy().tolist() == [[1, True]]


def test_a_garbled_look_is_repeated(front: Any) -> None:
    """A body that is not JSON is asked for again: submitting again would pay twice."""
    here = front(Once("request_id", Response(b'{"result": {"respon'), 3))
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 7
    assert len(here.submitted) == 1


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"status": "failed"}, "reports status 'failed'"),
        ([], "reports status None"),
        ({"responses": [{"id": "x", "success": True}, 3, {"result": {}}]}, "holds no answer"),
    ],
)
def test_an_unknown_form_of_answer_is_reported(front: Any, result: Any, words: str) -> None:
    """It fails the rows in words, and nothing waits for ever."""
    front(Once("request_id", envelope(result), 9))
    with pytest.raises(cf.RowsFailed, match=words):
        ROWS.iloc[:1].cfai.generate("{value}", model=LLAMA, queue=True)


def test_big_submissions_are_split(front: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stays below the bytes and the number the service takes."""
    here = front()
    long = pd.Series([f"{i} " + "x" * 900_000 for i in range(17)])
    told = long.cfai.translate(to="de", source="en", model="m2m100-1.2b", queue=True)
    assert told.notna().all()
    assert [len(each) for each in here.submitted] == [8, 8, 1]
    monkeypatch.setattr(batch_queue, "MOST_REQUESTS", 4)
    here.calls.clear()
    ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True)
    assert [len(each) for each in here.submitted] == [4, 2]


def test_texts_are_batched_within_the_queue(front: Any) -> None:
    """100 texts a request, all requests in one submission, each vector at its own row."""
    texts = pd.Series([f"word{i}" for i in range(250)])
    here = front()
    vectors = texts.cfai.embed(model=BGE, queue=True)
    assert [[len(one["text"]) for one in each] for each in here.submitted] == [[100, 100, 50]]
    with cf.connect("emulator", store=False):
        assert equal(vectors, texts.cfai.embed(model=BGE))


def test_a_budget_holds(front: Any) -> None:
    """What does not fit is not submitted, what fits is kept, and a budget that is filled up again is waited for."""
    here = front()
    most = ROWS.cfai.generate.plan("Say {value}", model=LLAMA).estimate.cost.neurons
    with pytest.raises(cf.BudgetError):
        ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True, neurons=most / 500)
    assert here.submitted == []
    assert ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True, neurons=most / 2).notna().sum() == 7
    assert len(here.submitted) > 1
    assert cf.last_run().run.neurons <= most / 2


def test_tools_begin_in_the_queue(front: Any) -> None:
    """The first turn waits in the queue; what answers an answer goes at once."""

    def weather(city: str) -> str:
        """Say what the weather is in a city."""
        return "dry"

    here = front()
    asked = pd.Series(["What is the weather in Rome?", "What is the weather in Oslo?"])
    told = asked.cfai.generate("{value}", model=LLAMA, tools=[weather], queue=True)
    assert told.str.contains("dry").all()
    assert ([len(each) for each in here.submitted], here.direct) == ([2], 2)
    assert cf.last_run().run.neurons == pytest.approx(here.emulator.billed)


# -- found again -------------------------------------------------------------------------------------------------------


def stop_when(condition: Callable[[], bool]) -> threading.Thread:
    """Press Stop once a condition has come true."""

    def watch() -> None:
        while not condition():
            done.wait(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    done = threading.Event()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def stopped(here: Witness, call: Callable[[], Any]) -> None:
    """Hand in, wait for two looks, and stop."""
    here.emulator._routing._batches.polls = 10**6
    watcher = stop_when(lambda: sum("request_id" in call.body for call in here.calls) > 1)
    with pytest.raises(cf.Stopped):
        call()
    watcher.join(5)
    here.emulator._routing._batches.polls = 0


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
@pytest.mark.parametrize("verb", CALLS)
def test_what_was_submitted_is_found_by_a_re_run(front: Any, verb: str) -> None:
    """Stop while waiting sends nothing new; the re-run submits only new rows, and the bill is paid once."""
    call, submissions, requests = CALLS[verb]
    here = front()
    stopped(here, lambda: call(queue=True))
    assert len(here.submitted) == submissions
    assert len(_kept_ids()) == submissions
    sent = len(here.calls)
    told = call(queue=True)
    assert len(here.submitted) == submissions, "nothing is submitted again"
    assert len(here.calls) == sent + 1
    assert cf.ledger()["requests"].sum() == requests
    assert set(here.emulator.billed_inputs.values()) <= {1}
    with cf.connect("emulator", store=False):
        assert equal(told, call())
    assert _kept_ids() == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
def test_a_part_of_it_is_found_and_the_rest_stays_known(front: Any) -> None:
    """A run on some of the rows takes theirs; one on all of them finds the others, and then the id is forgotten."""
    here = front()
    call = lambda rows, **o: rows.cfai.generate("Say {value}", model=LLAMA, queue=True, **o)  # noqa: E731
    stopped(here, lambda: call(ROWS))
    more = pd.concat([ROWS.iloc[:2], pd.Series(["something new"])])
    assert call(more).notna().all()
    assert [len(each) for each in here.submitted] == [6, 1]
    assert len(_kept_ids()) == 1
    most = ROWS.cfai.generate.plan("Say {value}", model=LLAMA).estimate.cost.neurons
    assert call(ROWS, neurons=most / 2).notna().sum() == 7, "rows a budget held back come late, and are answered"
    assert [len(each) for each in here.submitted] == [6, 1]
    assert _kept_ids() == []


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
@pytest.mark.parametrize("status", [400, 404])
def test_what_the_service_forgot_is_submitted_again(front: Any, status: int) -> None:
    """An id that is not known any more is forgotten here too, and its rows are asked for again."""
    here = front()
    stopped(here, lambda: ROWS.cfai.embed(model=BGE, queue=True))
    here.emulator._routing._batches._batches.clear()
    here.first = Once("request_id", envelope({}, status, 5006 if status == 400 else None))
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 7
    assert len(here.submitted) == 2
    assert _kept_ids() == []


def test_what_a_killed_process_left_is_forgotten_once_it_is_stored(front: Any, tmp_path: Path) -> None:
    """An id stays after a kill right behind the last answer; the next run in the queue forgets it, and sends nothing
    for it; one with an answer that is not stored stays."""
    here = front(store=tmp_path / "s.sqlite")
    ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True)
    store = session.current().store()
    model = "@cf/meta/" + LLAMA
    plan = ROWS.cfai.generate.plan("Say {value}", model=LLAMA)
    for name, keys in (("stored", plan.keys), ("open", [*plan.keys[:1], bytes(16)])):
        store.enqueue(name, session.current().account, session.current().origin, model, [[key] for key in keys])
    asked = here.emulator.requests
    pd.Series(["another text"]).cfai.generate("Say {value}", model=LLAMA, queue=True)
    assert [name for name, _ in store.queued(session.current().account, session.current().origin, model)] == ["open"]
    assert here.emulator.requests == asked + 3  # one submission and two looks


def test_looks_that_are_refused_do_not_hand_in_for_ever(front: Any) -> None:
    """A refused submission of this run fails its rows: submitted again, it would be paid for again and again."""
    here = front(Once("request_id", envelope({}, 400, 5006), 10**6))
    with pytest.raises(cf.Refused, match="5006"):
        ROWS.iloc[:1].cfai.generate("{value}", model=LLAMA, queue=True)
    assert len(here.submitted) == 1


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
def test_a_refresh_does_not_wait_for_what_was_submitted(front: Any) -> None:
    """cache="refresh" leaves what waits in the queue alone."""
    here = front()
    stopped(here, lambda: ROWS.cfai.embed(model=BGE, queue=True))
    assert ROWS.cfai.embed(model=BGE, queue=True, cache="refresh").notna().sum() == 7
    assert len(here.submitted) == 2


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
def test_stop_does_not_wait_for_a_refused_submission(front: Any) -> None:
    """While the minute is used up, Stop ends the run at once, and nothing was submitted."""
    here = front(lambda body: envelope({}, 429, 3021))
    watcher = stop_when(lambda: bool(here.calls))
    with pytest.raises(cf.Stopped):
        ROWS.cfai.embed(model=BGE, queue=True)
    watcher.join(5)
    assert here.emulator.requests == 0


def test_two_runs_at_once_hand_in_once(front: Any) -> None:
    """The second run of the same rows waits for the first one's answers."""
    here = front()
    results: list[Any] = []

    def run() -> None:
        results.append(ROWS.cfai.embed(model=BGE, queue=True, progress=False))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [each.notna().sum() for each in results] == [7, 7]
    assert [len(each) for each in here.submitted] == [1]
    assert cf.ledger()["requests"].sum() == 1


def test_two_sessions_charge_it_once(front: Any, tmp_path: Path) -> None:
    """What both fetch is in the ledger once, however close they are together, and nothing of it is left behind."""
    path = tmp_path / "both.sqlite"
    here = front(store=path)
    stopped(here, lambda: ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True))
    queue = here.emulator._routing._batches
    queue.polls, told = 10**6, []

    def fetch() -> None:
        with cf.connect(here, store=path, rate=None):
            told.append(ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True, progress=False))

    looks = sum("request_id" in call.body for call in here.calls)
    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    while sum("request_id" in call.body for call in here.calls) < looks + 8:
        pause.wait(0.005)
    queue.polls = 0
    for thread in threads:
        thread.join(30)
    assert equal(*told)
    assert len(here.submitted) == 1
    assert cf.ledger()["requests"].sum() == 6
    assert cf.ledger()["neurons"].sum() == pytest.approx(here.emulator.billed)
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert [file.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("queued", "billed")] == [0, 0]


def _usage(**told: Any) -> Any:
    """An emulator's front that has the submission say this of its usage, and its answers nothing."""

    def instead(body: dict[str, Any]) -> Any:
        if "request_id" not in body:
            return None
        rows = [{"id": at, "success": True, "result": {"response": "Yes."}} for at in range(6)]
        return envelope({"responses": rows, "usage": told})

    return instead


@pytest.mark.parametrize(
    ("told", "neurons", "exact"),
    [({"neurons": 12.0}, 12, True),
     ({"prompt_tokens": 60, "completion_tokens": 12}, (60 * 26668 + 12 * 204805) / 1e6, True),
     ({"prompt_tokens": 0, "completion_tokens": 0}, None, False), ({"prompt_tokens": "60"}, None, False)],
    ids=str,
)  # fmt: skip
def test_the_usage_of_the_whole_is_shared(front: Any, told: Any, neurons: float | None, exact: bool) -> None:
    """The ledger sums up to what the submission reports; where that is nothing, it stays an estimate, and never 0."""
    front(_usage(**told))
    ROWS.cfai.generate("Say {value}", model=LLAMA, queue=True)
    spent = cf.last_run().run.spent
    assert (spent.exact, len(cf.ledger())) == (exact, 6)
    assert spent.neurons > 0
    assert spent.neurons == pytest.approx(neurons) or not exact


CHILD = """
import sys
import pandas as pd
import cfai_nb as cf
from cfai_nb._engine import batch_queue
batch_queue.MOMENT = batch_queue.FIRST_LOOK = batch_queue.LAST_LOOK = 0.02
cf.connect(base_url=sys.argv[1], account_id="a" * 32, api_token="t" * 40, store=sys.argv[2], rate=None, gateway="g")
rows = pd.Series([f"text number {i}" for i in range(40)])
told = rows.cfai.generate("Say {value}", model="llama-3.3-70b-instruct-fp8-fast", queue=True, progress=False)
print(int(told.notna().sum()), cf.last_run().run.requests, int(cf.ledger()["requests"].sum()))
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """kill -9 while the queue works: the next process submits nothing, gets every row, and the bill is paid once."""
    with running(rate=None, queue_polls=10**9) as server:
        log, queue = server.emulator.log, server.emulator._routing._batches
        command = [sys.executable, "-c", CHILD, server.url, str(tmp_path / "s.sqlite")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as child:
            pause = threading.Event()
            while log.requests < 3 and child.poll() is None:
                pause.wait(0.01)
            child.kill()
            child.wait(10)
        assert (len(queue._batches), log.billed) == (1, 0)
        queue.polls, before = 0, log.requests
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert second.stdout.split() == ["40", "40", "40"], second.stderr
        assert log.requests == before + 1, "one look, and no submission"
        assert set(log.billed_inputs.values()) == {1}


def test_a_submission_holds_as_many_vectors_as_an_answer_may(
    front: Callable[..., Witness], monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Batches of texts are submitted a bounded number of texts at a time; what was answered is not kept in memory."""
    monkeypatch.setattr(batch_queue, "MOST_INPUTS", 250)
    witness, kept = front(), []
    close = batch_queue.Queue.close

    async def closing(self: batch_queue.Queue, *, whole: bool) -> None:
        kept.append([len(submission.places) for submission in self._submissions.values()])
        await close(self, whole=whole)

    monkeypatch.setattr(batch_queue.Queue, "close", closing)
    rows = pd.Series([f"text number {i}" for i in range(620)])
    assert rows.cfai.embed(model=BGE, queue=True).notna().all()
    assert [len(requests) for requests in witness.submitted] == [2, 2, 3]
    assert kept == [[0, 0, 0]]
