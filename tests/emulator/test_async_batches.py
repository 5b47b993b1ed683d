"""The batch queue: submit, poll, done, and what is charged when."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import BGE

LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
AURA = "@cf/deepgram/aura-2-en"


def ask(here: Any, body: Any, model: str = BGE) -> Any:
    """Send one call to the queue."""
    return here.run(model, body, params={"queueRequest": "true"}).json()


def finish(here: Any, requests: list[Any], model: str = BGE) -> Any:
    """Submit, poll to the end and return the result."""
    number = ask(here, {"requests": requests}, model)["result"]["request_id"]
    for _ in range(9):
        result = ask(here, {"request_id": number}, model)["result"]
        if "responses" in result:
            return result
    raise AssertionError("never done")


def test_a_batch_waits_runs_and_is_charged_once(door: Any) -> None:
    """Polls see queued, running, then the answers, the same ones again and again; the work is charged when done."""
    here = door(queue_polls=2)
    said = ask(here, {"requests": [{"text": "a"}, {"text": ["b", "c"]}]})["result"]
    assert (said["status"], said["model"]) == ("queued", BGE)
    polls = [ask(here, {"request_id": said["request_id"]})["result"] for _ in range(4)]
    assert [poll.get("status") for poll in polls] == ["queued", "running", None, None]
    assert polls[2] == polls[3]
    assert [call.charged for call in here.emulator.calls] == [False, False, False, True, False]
    assert sorted(here.emulator.served_inputs) == [(BGE, "a"), (BGE, "b"), (BGE, "c")]
    assert polls[2]["usage"]["total_tokens"] == 3


def test_answers_are_the_models_own_in_any_order(door: Any) -> None:
    """Each row has the index, the reference and the answer of ``/run``; one bad request fails alone."""
    here = door(queue_polls=0)
    requests: list[Any] = [{"text": str(n), "external_reference": f"r{n}"} for n in range(8)] + [{"txt": "x"}, 3]
    rows = finish(here, requests)["responses"]
    places = [row["id"] for row in rows]
    assert places != sorted(places)
    assert sorted(places) == list(range(10))
    for row in rows:
        if row["id"] < 8:
            assert (row["success"], row["external_reference"]) == (True, f"r{row['id']}")
            assert row["result"] == here.result(BGE, {"text": str(row["id"])})
        else:
            assert (row["success"], row["errors"][0]["code"]) == (False, 5006)


@pytest.mark.parametrize(
    ("model", "request_", "field"),
    [(LLAMA, {"prompt": "Hello there."}, "response"), (AURA, {"text": "Hello there"}, "audio")],
)
def test_texts_and_speech_queue_too(door: Any, model: str, request_: dict[str, Any], field: str) -> None:
    """Every family with the capability answers; sound comes as base64."""
    (row,) = finish(door(), [request_], model)["responses"]
    assert row["result"][field]


def test_a_batch_can_go_by_the_clock(door: Any) -> None:
    """With seconds, polls change nothing; time does."""
    now = [0.0]
    here = door(queue_seconds=10.0, clock=lambda: now[0])
    number = ask(here, {"requests": [{"text": "a"}]})["result"]["request_id"]
    seen = []
    for now[0] in (1.0, 1.0, 9.0, 10.0):
        seen.append(ask(here, {"request_id": number})["result"].get("status"))
    assert seen == ["queued", "queued", "running", None]


@pytest.mark.parametrize(
    ("model", "body", "code"),
    [
        ("@cf/zai-org/glm-4.7-flash", {"requests": [{"prompt": "x"}]}, 5007),
        (BGE, {"requests": []}, 5006),
        (BGE, {"request_id": "unknown"}, 5006),
        (BGE, {"requests": [{"text": "x" * 10_000_000}]}, 3006),
    ],
)
def test_what_the_queue_refuses(door: Any, model: str, body: Any, code: int) -> None:
    """Models without the capability, empty batches, unknown ids, ten megabytes."""
    assert ask(door(), body, model)["errors"][0]["code"] == code
