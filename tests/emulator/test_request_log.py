"""The log: what the emulator says about itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import httpx
import pytest

from cfai_nb.emulator import LoggedRequest, RequestLog, running

from .conftest import ACCOUNT, BGE


def test_a_call_is_written_down(door: Any) -> None:
    """Path, model, status, items, Neurons, seconds and digest are those of the call."""
    here = door()
    answer = here.run(BGE, {"text": ["one", "two"]})
    (call,) = here.emulator.calls
    assert (call.path, call.model, call.status, call.code, call.items) == (f"/run/{BGE}", BGE, 200, 0, 2)
    assert call.neurons == pytest.approx(float(answer.headers["cf-ai-neurons"]))
    assert call.charged
    assert 0 < call.seconds < 60
    here.run(BGE, {"text": ["one", "two"]})
    here.run(BGE, {"text": ["onet", "wo"]})
    digests = [one.digest for one in here.emulator.calls]
    assert digests[0] == digests[1] != digests[2]


def test_a_second_bill_shows(door: Any) -> None:
    """Every served input is counted by model and text, so paying twice is a count of two."""
    here = door()
    here.run(BGE, {"text": ["one", "two"]})
    here.run(BGE, {"text": "two"})
    assert here.emulator.served_inputs == {(BGE, "one"): 1, (BGE, "two"): 2}


def test_refusals_are_counted_and_cost_nothing(door: Any) -> None:
    """Requests counts all, refused those with an error status, billed only the work done."""
    here = door()
    here.run(BGE, {"text": "x"})
    here.run(BGE, {})
    here.run("@cf/no/body", {})
    here.headers = {}
    here.run(BGE, {"text": "x"})
    emulator = here.emulator
    assert (emulator.requests, emulator.refused, len(emulator.calls)) == (4, 3, 4)
    assert [call.code for call in emulator.calls] == [0, 5006, 5007, 9106]
    assert emulator.billed == emulator.calls[0].neurons


def test_looking_up_models_is_not_inference(door: Any) -> None:
    """The catalogue's addresses leave the log alone."""
    here = door()
    here.ask("GET", "/models/search")
    assert (here.emulator.requests, here.emulator.calls) == (0, [])


def test_a_log_can_be_cleared(door: Any) -> None:
    """Clearing starts the counts again."""
    here = door()
    here.run(BGE, {"text": "x"})
    here.emulator.log.clear()
    assert (here.emulator.requests, here.emulator.billed, here.emulator.calls) == (0, 0.0, [])


def test_the_log_is_safe_among_threads() -> None:
    """Entries from many threads at once are all there."""
    log = RequestLog()
    call = LoggedRequest("/", "m", 200, 0, "", 1, 0.5, True, 0.0, "")

    def write() -> None:
        for _ in range(200):
            with log.slot(None):
                log.count_request()
                log.add(call, ["t"], whole=True)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (log.requests, len(log.calls), log.billed) == (1600, 1600, 800.0)
    assert log.served_inputs == {("m", "t"): 1600}
    assert log.in_flight == 0
    assert 1 <= log.most_in_flight <= 8


def test_latency_grows_with_the_batch(door: Any) -> None:
    """A call takes the latency and as much again for each text."""
    here = door(latency=0.02, per_item=0.01)
    here.run(BGE, {"text": ["a", "b", "c"]})
    assert here.emulator.calls[0].seconds >= 0.05


def test_two_services_do_not_know_each_other() -> None:
    """Each emulator on a port has its own log, and both stop with their blocks."""
    with running(rate=None) as one, running(rate=None) as two:
        assert one.port != two.port
        url = f"{one.url}/accounts/{ACCOUNT}/ai/run/{BGE}"
        assert httpx.post(url, json={"text": "x"}, headers={"authorization": "Bearer x"}).status_code == 200
        assert (one.emulator.requests, two.emulator.requests) == (1, 0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_serve_prints_one_line_and_answers_until_interrupted() -> None:
    """The command line's server says where it is and that it is not a model, and ends quietly on an interrupt.

    Importing it loads no other room, and scikit-learn only at the first vector.
    """
    code = (
        # the front door may load rooms of its own, so only what the emulator adds is asked for
        "import sys, cfai_nb; known = set(sys.modules)\n"
        "from cfai_nb.emulator import serve\n"
        "rooms = {name.split('.')[1] for name in set(sys.modules) - known if name.startswith('cfai_nb.')}\n"
        "others = rooms & {'tasks', 'models', '_engine', 'session', 'frame', 'accessor', 'errors'}\n"
        "print(sorted(others), 'sklearn' in sys.modules, flush=True)\n"
        "serve(0, rate=None)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "[] False"
            line = process.stdout.readline()
            assert "not models" in line
            url = line.split()[0]
            answer = httpx.get(f"{url}/accounts/{ACCOUNT}/ai/models/search", headers={"authorization": "Bearer x"})
            assert answer.json()["success"] is True
        finally:
            process.send_signal(2)
            assert process.wait(timeout=20) in (0, -2)
