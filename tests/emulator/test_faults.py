"""Faults: each kind, in this process and over a real connection, and who pays for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from cfai_nb.emulator import Dropped, Emulator, running

from .conftest import ACCOUNT, BGE, GLM, LEGACY

Try = Callable[[str, Any], httpx.Response]


@pytest.fixture(params=["inside", "port"])
def trial(request: pytest.FixtureRequest, door: Any) -> Iterator[Callable[..., tuple[Emulator, Try]]]:
    """Open an emulator with faults, either way; give it and a way to call ``/run``."""
    stack: list[Any] = []

    def start(**settings: Any) -> tuple[Emulator, Try]:
        if request.param == "inside":
            here = door(**settings)
            return here.emulator, here.run
        context = running(rate=None, **settings)
        service = context.__enter__()
        client = httpx.Client(base_url=f"{service.url}/accounts/{ACCOUNT}/ai", headers={"authorization": "Bearer x"})
        stack.extend([client, context])
        return service.emulator, lambda model, body: client.post(f"/run/{model}", json=body)

    yield start
    for thing in stack:
        thing.__exit__(None, None, None)


LOST = (Dropped, httpx.TransportError)


@pytest.mark.parametrize(
    ("kind", "status", "media"),
    [
        ("500", 500, "application/json"),
        ("502", 502, "text/plain"),
        ("503", 503, "application/json"),
        ("529", 529, "application/json"),
        ("408", 408, "application/json"),
        ("html", 502, "text/html"),
        ("1015", 429, "text/plain"),
        ("3040", 429, "application/json"),
        ("3021", 429, "application/json"),
    ],
)
def test_faults_before_the_work_are_not_charged(trial: Any, kind: str, status: int, media: str) -> None:
    """The status and the media type are right, nothing is billed, and the next call is clean."""
    emulator, run = trial(faults=[kind])
    answer = run(BGE, {"text": "x"})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith(media)
    assert (emulator.billed, emulator.refused, emulator.calls[0].fault) == (0, 1, kind)
    assert run(BGE, {"text": "x"}).status_code == 200
    assert emulator.billed > 0


def test_a_reset_drops_the_connection_before_the_work(trial: Any) -> None:
    """The caller sees a connection error; nothing was billed or served."""
    emulator, run = trial(faults=["reset"])
    with pytest.raises(LOST):
        run(BGE, {"text": "x"})
    assert (emulator.calls[0].status, emulator.calls[0].charged, emulator.billed) == (0, False, 0)
    assert run(BGE, {"text": "x"}).status_code == 200


@pytest.mark.parametrize("kind", ["reset-after", "cut"])
def test_a_connection_lost_after_the_work_is_charged(trial: Any, kind: str) -> None:
    """The caller sees a connection error; the text is billed but was not served."""
    emulator, run = trial(faults=[kind])
    with pytest.raises(LOST):
        run(BGE, {"text": "x"})
    assert emulator.billed > 0
    assert emulator.billed_inputs == {(BGE, "x"): 1}
    assert not emulator.served_inputs
    assert emulator.calls[0].fault == kind


def test_a_cut_sends_half_of_what_it_promised() -> None:
    """On the port, the head promises a length, half arrives, and then the connection ends."""
    with running(rate=None, faults=["cut"]) as service, httpx.Client(headers={"authorization": "Bearer x"}) as client:
        url, got = f"{service.url}/accounts/{ACCOUNT}/ai/run/{BGE}", b""
        with client.stream("POST", url, json={"text": "x"}) as answer:
            parts = answer.iter_raw()
            got += next(parts)
            with pytest.raises(httpx.RemoteProtocolError):
                list(parts)
            assert answer.status_code == 200
            assert 0 < len(got) < int(answer.headers["content-length"])


def test_garbage_is_a_200_that_is_not_json(trial: Any) -> None:
    """The status is fine, the body is not, and it was charged."""
    emulator, run = trial(faults=["garbage"])
    answer = run(BGE, {"text": "x"})
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.content)
    assert emulator.billed > 0
    assert not emulator.served_inputs


def test_short_leaves_one_vector_out(trial: Any) -> None:
    """A batch of three comes back with two vectors, whole batch charged; a single text is left alone."""
    emulator, run = trial(faults=["short", "short"])
    assert run(BGE, {"text": ["a", "b", "c"]}).json()["result"]["shape"] == [2, 768]
    assert sum(emulator.billed_inputs.values()) == 3
    assert not emulator.served_inputs
    assert run(BGE, {"text": ["d"]}).json()["result"]["shape"] == [1, 768]
    assert emulator.calls[1].fault == ""
    assert emulator.served_inputs == {(BGE, "d"): 1}


def test_empty_and_length_are_answers_that_say_too_little(trial: Any) -> None:
    """Null content with finish reason stop; cut content with finish reason length; both charged, neither served."""
    emulator, run = trial(faults=["empty", "length", "empty", "length"])
    body = {"messages": [{"role": "user", "content": "Tell me about rivers."}]}
    empty, cut = (run(GLM, body).json()["result"]["choices"][0] for _ in range(2))
    assert (empty["message"]["content"], empty["finish_reason"]) == (None, "stop")
    assert cut["message"]["content"]
    assert cut["finish_reason"] == "length"
    assert run(LEGACY, {"prompt": "x"}).json()["result"]["response"] is None
    assert run(LEGACY, {"prompt": "x"}).json()["result"]["response"] != ""
    assert emulator.billed > 0
    assert not emulator.served_inputs


def test_a_truncated_stream_has_no_end(trial: Any) -> None:
    """The stream stops early without ``[DONE]``, without an error, and was charged."""
    emulator, run = trial(faults=["truncated-stream", None])
    body = {"messages": [{"role": "user", "content": "Tell me about rivers."}], "stream": True}
    cut, whole = run(GLM, body).text, run(GLM, body).text
    assert "[DONE]" not in cut
    assert 'finish_reason":"stop' not in cut
    assert whole.endswith("data: [DONE]\n\n")
    assert sum(emulator.billed_inputs.values()) == 2
    assert sum(emulator.served_inputs.values()) == 1


def test_a_stream_can_be_cut_off(trial: Any) -> None:
    """A cut in a stream drops the connection after some frames."""
    _, run = trial(faults=["cut"])
    with pytest.raises(LOST):
        run(LEGACY, {"prompt": "x", "stream": True})


def test_slow_only_waits(trial: Any) -> None:
    """A slow call takes the seconds set, and is served."""
    emulator, run = trial(faults=["slow"], slow=0.05)
    assert run(BGE, {"text": "x"}).status_code == 200
    assert emulator.calls[0].seconds >= 0.05
    assert emulator.served_inputs == {(BGE, "x"): 1}


def test_probabilities_repeat_with_their_seed(door: Any) -> None:
    """The same seed gives the same faults in the same places, another seed others, and about as many as asked."""

    def pattern(seed: int) -> list[int]:
        here = door(faults={"500": 0.2, "3040": 0.1}, seed=seed)
        return [here.run(BGE, {"text": "x"}).status_code for _ in range(120)]

    one = pattern(1)
    assert one == pattern(1)
    assert one != pattern(2)
    assert 10 <= one.count(500) <= 40
    assert 3 <= one.count(429) <= 24


def test_refused_calls_do_not_use_up_a_script(door: Any) -> None:
    """A call refused for its input leaves the script's first fault for the next one."""
    here = door(faults=["503"])
    assert [here.run(BGE, body).status_code for body in ({}, {"text": "x"}, {"text": "x"})] == [400, 503, 200]


def test_faults_can_be_a_function(door: Any) -> None:
    """A function of the call's number and model decides."""
    here = door(faults=lambda number, model: "503" if number == 1 and model == BGE else None)
    assert [here.run(BGE, {"text": "x"}).status_code for _ in range(3)] == [200, 503, 200]


@pytest.mark.parametrize("faults", [{"5000": 0.1}, ["nonsense"], {"500": 0.7, "502": 0.7}, {"500": -0.1}])
def test_faults_that_make_no_sense_are_refused(faults: Any) -> None:
    """Unknown kinds and shares beyond one are errors of the caller, at once."""
    with pytest.raises(ValueError, match="fault"):
        Emulator(faults=faults)
