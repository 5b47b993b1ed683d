"""Refusals: every code of the service, and the words around it."""

from __future__ import annotations

from typing import Any

import pytest

from cfai_nb.emulator.error_codes import CODES

from .conftest import BGE

ENVELOPE = {"errors", "success", "result", "messages"}


def refusal(answer: Any) -> tuple[int, int]:
    """Return status and code of a refusal, its envelope checked."""
    body = answer.json()
    assert set(body) == ENVELOPE
    assert body["success"] is False
    assert body["errors"][0]["message"]
    return answer.status_code, body["errors"][0]["code"]


@pytest.mark.parametrize("code", sorted(set(CODES) - {1015}))
def test_every_code_can_be_asked_for(door: Any, code: int) -> None:
    """As a fault, each code of the service arrives with its status, and nothing is charged."""
    here = door(faults=[str(code)])
    assert refusal(here.run(BGE, {"text": "x"})) == (CODES[code][0], code)
    assert (here.emulator.billed, here.emulator.refused) == (0, 1)
    assert here.run(BGE, {"text": "x"}).status_code == 200


def test_the_edge_limit_is_not_json(door: Any) -> None:
    """1015 is a 429 whose body is plain text."""
    answer = door(faults=["1015"]).run(BGE, {"text": "x"})
    assert (answer.status_code, answer.text) == (429, "error code: 1015")
    assert answer.headers["content-type"].startswith("text/plain")


def test_texts_are_the_services(door: Any) -> None:
    """A missing field is reported as the service says it, with its prefix and a request id in brackets."""
    message = door().run("@cf/google/embeddinggemma-300m", {}).json()["errors"][0]["message"]
    assert message.startswith("AiError: AiError: Bad input: Error: required properties at '/' are 'text' (")
    assert message.endswith(")")


def test_unknown_and_malformed_models(door: Any) -> None:
    """A well-formed unknown name is 400/5007, a name that is none is 404/3042."""
    here = door()
    assert refusal(here.run("@cf/meta/llama-99", {"prompt": "x"})) == (400, 5007)
    assert refusal(here.run("gpt-5", {"prompt": "x"})) == (404, 3042)


def test_a_retired_model_is_unknown_and_nothing_is_suggested(door: Any) -> None:
    """The service does not name a replacement, and so the emulator does not."""
    answer = door().run("@cf/meta/llama-3.1-8b-instruct", {"prompt": "x"})
    assert refusal(answer) == (400, 5007)
    assert "No such model @cf/meta/llama-3.1-8b-instruct or task" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("model", ["@cf/deepgram/flux", "@cf/pipecat-ai/smart-turn-v2"])
def test_tasks_not_emulated_yet_say_so(door: Any, model: str) -> None:
    """A model of another task is refused as unknown, with the emulator's name in the text."""
    answer = door().run(model, {"prompt": "x"})
    assert refusal(answer) == (400, 5007)
    assert "emulator:" in answer.json()["errors"][0]["message"]


def test_a_model_of_another_kind_is_not_behind_a_v1_door(door: Any) -> None:
    """An embedding model cannot chat, a chat model cannot embed."""
    here = door()
    body = {"model": BGE, "messages": [{"role": "user", "content": "x"}]}
    assert refusal(here.ask("POST", "/v1/chat/completions", json=body)) == (400, 5007)
    other = {"model": "@cf/zai-org/glm-4.7-flash", "input": "x"}
    assert refusal(here.ask("POST", "/v1/embeddings", json=other)) == (400, 5007)
    assert refusal(here.ask("POST", "/v1/embeddings", json={"input": "x"})) == (400, 5006)


def test_bodies_that_are_none(door: Any) -> None:
    """No body is 3003; broken JSON and JSON that is not an object are 5006."""
    here = door()
    assert refusal(here.ask("POST", f"/run/{BGE}")) == (400, 3003)
    assert refusal(here.ask("POST", f"/run/{BGE}", content=b"{")) == (400, 5006)
    assert refusal(here.ask("POST", f"/run/{BGE}", content=b"[1]")) == (400, 5006)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/run/{BGE}"),
        ("GET", "/v1/models"),
        ("POST", "/v1/models"),
        ("POST", "/models/search"),
        ("PUT", "/v1/embeddings"),
    ],
)
def test_wrong_methods(door: Any, method: str, path: str) -> None:
    """A wrong method, and any method on ``/v1/models``, is 405/7001."""
    assert refusal(door().ask(method, path)) == (405, 7001)


def test_wrong_addresses(door: Any) -> None:
    """A malformed account and an unknown path are 404/7003."""
    here = door()
    assert refusal(here.ask("POST", "/elsewhere", json={})) == (404, 7003)
    here.account = "me"
    assert refusal(here.run(BGE, {"text": "x"})) == (404, 7003)


def test_tokens(door: Any) -> None:
    """No token and a junk one are 400/9106, a well-formed wrong one 401/10000, a foreign account 403/10000."""
    here = door(token="t" * 40, account="a" * 32)
    expected = {"": (400, 9106), "Bearer ": (400, 9106), "Bearer junk": (400, 9106), "Bearer " + "s" * 40: (401, 10000)}
    for header, code in expected.items():
        here.headers = {"authorization": header}
        assert refusal(here.run(BGE, {"text": "x"})) == code
    here.headers = {"authorization": "Bearer " + "t" * 40}
    assert here.run(BGE, {"text": "x"}).status_code == 200
    here.account = "b" * 32
    assert refusal(here.run(BGE, {"text": "x"})) == (403, 10000)


def test_any_token_will_do_by_default(door: Any) -> None:
    """Without a set token every nonempty bearer is let in, and so is the older pair of email and key."""
    here = door()
    pair = {"x-auth-email": "a@example.com", "x-auth-key": "k"}
    for headers in ({"authorization": "Bearer anything"}, pair):
        here.headers = headers
        assert here.run(BGE, {"text": "x"}).status_code == 200
    here.headers = {"x-auth-key": "k"}
    assert refusal(here.run(BGE, {"text": "x"})) == (400, 9106)


def test_temperature_above_five_is_refused(door: Any) -> None:
    """On a legacy model, through both doors."""
    here = door()
    model = "@cf/meta/llama-3.2-3b-instruct"
    assert refusal(here.run(model, {"prompt": "x", "temperature": 6})) == (400, 5006)
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "temperature": 6}
    assert refusal(here.ask("POST", "/v1/chat/completions", json=body)) == (400, 5006)
