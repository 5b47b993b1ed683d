"""The gateway's own host: its addresses, the universal endpoint, and what it refuses in a form of its own."""

from __future__ import annotations

from typing import Any

import pytest

from cfai_nb.emulator.families import audio_models as sound

from .conftest import BGE, GLM, HOST, LEGACY, LOGS, TALK


def ask(here: Any, path: str, body: Any, **headers: str) -> Any:
    """Send a request to the gateway's own host."""
    return here.ask("POST", HOST + path, json=body, headers=headers)


def one(provider: str, endpoint: str, query: Any, **headers: str) -> dict[str, Any]:
    """Return one request of the universal endpoint."""
    return {
        "provider": provider,
        "endpoint": endpoint,
        "headers": {"Authorization": "Bearer x", **headers},
        "query": query,
    }


@pytest.mark.parametrize("way", [f"/workers-ai/{BGE}", f"/workers-ai/run/{BGE}"])
def test_a_model_answers_as_behind_the_rest_address(door: Any, way: str) -> None:
    """The envelope, the Neurons and the gateway's headers and logs are those of a call with the gateway's header."""
    here = door()
    plain = here.run(BGE, {"text": "x"}, headers={"cf-aig-gateway-id": "g"})
    found = ask(here, way, {"text": "x"}, **{"cf-aig-metadata": '{"a": 1}'})
    assert found.json() == plain.json()
    assert found.headers["cf-ai-neurons"] == plain.headers["cf-ai-neurons"]
    assert {name for name in found.headers if "aig" in name} == {name for name in plain.headers if "aig" in name}
    rows = here.ask("GET", LOGS).json()["result"]
    assert [(row["model"], row["metadata"], row["success"]) for row in rows] == [
        (BGE, '{"a": 1}', True),
        (BGE, None, True),
    ]
    assert rows[0]["id"] == found.headers["cf-aig-log-id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/workers-ai/v1/chat/completions", {"model": GLM, "messages": TALK}),
        ("/compat/chat/completions", {"model": f"workers-ai/{GLM}", "messages": TALK}),
        ("/compat/chat/completions", {"model": "openai/gpt-5.5", "messages": TALK}),
        ("/openai/chat/completions", {"model": "gpt-5.5", "messages": TALK}),
    ],
)
def test_chats_answer_in_openai_form(door: Any, path: str, body: Any) -> None:
    """Workers AI's own address, the unified one and another provider's chat alike."""
    here = door()
    answer = ask(here, path, body).json()
    assert answer["choices"][0]["message"]["content"] == "[emulator] Hello there."
    streamed = ask(here, path, {**body, "stream": True})
    assert streamed.text.endswith("data: [DONE]\n\n")


def test_raw_bytes_and_queries_pass(door: Any) -> None:
    """What is not JSON, and what stands in the query, reach the model as they were sent."""
    spoken, _ = sound.speak("A fox.", sound.FORMATS["mp3"], 24_000)
    address = f"{HOST}/workers-ai/@cf/deepgram/nova-3?language=en"
    heard = door().ask("POST", address, content=spoken, headers={"content-type": "audio/mpeg"})
    assert heard.json()["result"]["results"]["channels"][0]["alternatives"][0]["transcript"] == "A fox."


def test_the_first_that_works_answers(door: Any) -> None:
    """The universal endpoint goes down its list: what failed is in the logs, the answer says which step it was."""
    here = door(faults=["500"])
    asked = [
        one("workers-ai", "@cf/no/body", {"prompt": "x"}),
        one("workers-ai", LEGACY, {"prompt": "Hello there."}),
        one("openai", "chat/completions", {"model": "gpt-5.5", "messages": TALK}),
        one("workers-ai", BGE, {"text": "x"}),
    ]
    answer = ask(here, "", asked)
    assert answer.json()["choices"][0]["message"]["content"] == "[emulator] Hello there."
    assert answer.headers["cf-aig-step"] == "2"
    rows = here.ask("GET", LOGS).json()["result"]
    assert sorted((row["step"], row["status_code"]) for row in rows) == [(0, 400), (1, 500), (2, 200)]


def test_the_last_failure_is_the_answer_when_none_works(door: Any) -> None:
    """A list that fails whole answers what its last request came to."""
    answer = ask(door(), "", [one("workers-ai", BGE, {"text": "x"}, authorization=""), one("workers-ai", BGE, {})])
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)


@pytest.mark.parametrize("listed", [True, False])
def test_the_universal_endpoint_answers_without_an_envelope(door: Any, listed: bool) -> None:
    """Workers AI's output stands bare there, for one request by itself too, and never in another address's cache."""
    here, headers = door(), {"cf-aig-cache-ttl": "60"}
    asked = one("workers-ai", f"run/{BGE}", {"text": "x"}, **headers)
    found = [ask(here, "", [asked] if listed else asked) for _ in range(2)]
    assert found[0].json()["shape"] == [1, 768]
    assert [answer.headers["cf-aig-cache-status"] for answer in found] == ["MISS", "HIT"]
    enveloped = ask(here, f"/workers-ai/{BGE}", {"text": "x"}, **headers)
    assert enveloped.json()["result"]["shape"] == [1, 768]


def test_headers_of_one_request_override_those_of_all(door: Any) -> None:
    """A provider's own headers win over the request's, as documented."""
    here = door()
    for ttl, status in (("60", "MISS"), ("60", "HIT"), ("0", "MISS")):
        asked = one("workers-ai", BGE, {"text": "x"}, **{"cf-aig-cache-ttl": ttl})
        assert ask(here, "", [asked], **{"cf-aig-cache-ttl": "60"}).headers["cf-aig-cache-status"] == status


@pytest.mark.parametrize(
    ("settings", "path", "body", "code"),
    [
        ({}, "/compat/chat/completions", {"model": GLM, "messages": TALK}, 2008),
        ({}, "/nobody/chat/completions", {"model": "x", "messages": TALK}, 2008),
        ({"gateways": ["other"]}, f"/workers-ai/{BGE}", {"text": "x"}, 2001),
        ({"quirks": {"no-credits"}}, f"/workers-ai/{BGE}", {"text": "x"}, 2021),
        ({"gateway_token": "k"}, f"/workers-ai/{BGE}", {"text": "x"}, 2009),
    ],
)
def test_the_gateway_refuses_in_a_form_of_its_own(door: Any, settings: Any, path: str, body: Any, code: int) -> None:
    """Its own errors carry a name, an internal code and a list called ``error``; what Workers AI refuses does not."""
    answer = ask(door(**settings), path, body)
    found = answer.json()
    assert (found["name"], found["internalCode"], found["error"][0]["code"]) == ("AiGatewayError", code, code)
    assert found["httpCode"] == answer.status_code


def test_an_authenticated_gateway_takes_its_own_token(door: Any) -> None:
    """Beside the token of Workers AI, and no other."""
    here, path = door(gateway_token="k"), f"/workers-ai/{BGE}"
    found = [ask(here, path, {"text": "x"}, **{"cf-aig-authorization": f"Bearer {key}"}) for key in "kj"]
    assert [answer.status_code for answer in found] == [200, 401]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (f"/workers-ai/{BGE}", {}, 5006),
        ("/workers-ai/@cf/no/body", {"text": "x"}, 5007),
        ("/workers-ai/v1/models", {"text": "x"}, 7003),
        ("/openai/images/generations", {"model": "x"}, 5007),
        ("/anthropic/v1/chat/completions", {"model": "x"}, 5007),
        ("", [], 3003),
        ("", [{"provider": "workers-ai", "endpoint": BGE}], 3003),
        ("", [one("workers-ai", BGE, "text")], 3003),
    ],
)
def test_the_rest_is_refused_as_workers_ai_does(door: Any, path: str, body: Any, code: int) -> None:
    """Inputs, models, unknown addresses and incomplete requests get the codes they have everywhere."""
    assert ask(door(), path, body).json()["errors"][0]["code"] == code


def test_whose_token_it_takes(door: Any) -> None:
    """The gateway's token stands in for a missing one; a wrong one is refused; GET is not allowed."""
    here = door(token="k" * 40)
    here.headers = {}
    address, good = f"/workers-ai/{BGE}", f"Bearer {'k' * 40}"
    assert ask(here, address, {"text": "x"}, authorization=good).status_code == 200
    assert ask(here, address, {"text": "x"}, **{"cf-aig-authorization": good}).status_code == 200
    assert ask(here, address, {"text": "x"}, authorization=f"Bearer {'j' * 40}").status_code == 401
    keys = {"authorization": "Bearer of-openai", "cf-aig-authorization": good}
    assert ask(here, "/openai/chat/completions", {"model": "gpt-5.5", "messages": TALK}, **keys).status_code == 200
    assert ask(here, address, {"text": "x"}).json()["errors"][0]["code"] == 9106
    assert here.ask("GET", HOST + address, headers={"authorization": good}).json()["errors"][0]["code"] == 7001
