"""Anthropic's dialect at ``/v1/messages``: text, tools, events, usage, and who speaks it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cfai_nb.emulator.standins.image_drawing import Order, draw

CLAUDE = "anthropic/claude-sonnet-5"
TOOL = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def asked(text: Any, **more: Any) -> dict[str, Any]:
    """Return a request with one message."""
    return {"model": CLAUDE, "max_tokens": 200, "messages": [{"role": "user", "content": text}], **more}


def ask(here: Any, body: Any, **headers: str) -> Any:
    """Send a Messages request."""
    return here.ask("POST", "/v1/messages", json=body, headers=headers)


def events(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream, each named as its data say."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_a_message_has_text_an_end_and_usage(door: Any) -> None:
    """The answer is a message of the model the caller named, without an envelope and without a known price."""
    here = door()
    answer = ask(here, asked("Hello there.", system="Be kind."))
    found = answer.json()
    assert (found["type"], found["role"], found["model"]) == ("message", "assistant", "claude-sonnet-5")
    assert found["content"] == [{"type": "text", "text": "[emulator] Hello there."}]
    assert (found["stop_reason"], found["stop_sequence"]) == ("end_turn", None)
    assert found["usage"]["input_tokens"] > 0 < found["usage"]["output_tokens"]
    assert here.emulator.billed == 0
    assert answer.headers["cf-aig-log-id"]


def test_a_tool_is_called_and_its_result_answered(door: Any) -> None:
    """A call is a block with an id and its input; a result in the next message is spoken of."""
    here = door()
    first = asked("What is the weather in Paris?", tools=[TOOL])
    found = ask(here, first).json()
    (call,) = found["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "weather", {"city": "Paris"})
    assert found["stop_reason"] == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "It rains."}]}
    talk = [*first["messages"], {"role": "assistant", "content": found["content"]}]
    last = ask(here, {**first, "messages": [*talk, {"role": "user", "content": [result]}]}).json()
    assert "It rains." in last["content"][0]["text"]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, True),
        ({"type": "tool", "name": "weather"}, True),
        ({"type": "none"}, False),
        ({"type": "auto"}, False),
    ],
)
def test_a_choice_of_tool_is_kept(door: Any, choice: dict[str, str], called: bool) -> None:
    """``any`` and a named tool force a call, ``none`` and ``auto`` do not."""
    found = ask(door(), asked("Hello there.", tools=[TOOL], tool_choice=choice)).json()
    assert (found["stop_reason"] == "tool_use") is called


@pytest.mark.parametrize(
    "body", [asked("Tell me about 42 rivers."), asked("What is the weather in Paris?", tools=[TOOL])]
)
def test_events_add_up_to_the_message(door: Any, body: dict[str, Any]) -> None:
    """A stream opens, sends each block in pieces, says why it ended, and holds what the plain answer holds."""
    here = door()
    plain = ask(here, body).json()
    opened, ping, *parts, delta, stop = events(ask(here, {**body, "stream": True}).text)
    assert [part["type"] for part in (opened, ping, delta, stop)] == [
        "message_start",
        "ping",
        "message_delta",
        "message_stop",
    ]
    assert opened["message"]["usage"]["input_tokens"] == plain["usage"]["input_tokens"]
    assert delta["usage"]["output_tokens"] == plain["usage"]["output_tokens"]
    assert delta["delta"]["stop_reason"] == plain["stop_reason"]
    pieces = [part["delta"] for part in parts if part["type"] == "content_block_delta"]
    whole = "".join(piece.get("text", piece.get("partial_json")) for piece in pieces)
    (block,) = plain["content"]
    assert (json.loads(whole) == block["input"]) if block["type"] == "tool_use" else whole == block["text"]


def test_a_stream_can_be_cut(door: Any) -> None:
    """The fault leaves out the end, as in the other dialects."""
    here = door(faults=["truncated-stream"], quirks={"number-tokens"})
    assert "message_stop" not in ask(here, asked("Hello there.", stream=True)).text


def test_a_limit_ends_a_message(door: Any) -> None:
    """Too few tokens give a shorter text that says so."""
    found = ask(door(), {**asked("Hello there, how do you do?"), "max_tokens": 4}).json()
    assert found["stop_reason"] == "max_tokens"
    assert found["usage"]["output_tokens"] == 4


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({**asked("x"), "model": "@cf/zai-org/glm-4.7-flash"}, 5007),
        ({**asked("x"), "model": "@cf/openai/gpt-oss-20b"}, 5007),
        ({"model": CLAUDE, "messages": [{"role": "user", "content": "x"}]}, 5006),
        ({**asked("x"), "messages": []}, 5006),
        (asked([{"type": "tune"}]), 5006),
        (asked("x", tools=[{"name": "weather"}]), 5006),
        ({"max_tokens": 1}, 5006),
    ],
)
def test_who_does_not_speak_it_and_what_is_malformed(door: Any, body: dict[str, Any], code: int) -> None:
    """Workers AI's own models are not there; a body is held to the dialect."""
    assert ask(door(), body).json()["errors"][0]["code"] == code


def test_a_picture_is_looked_at(door: Any) -> None:
    """A block with a picture counts as a part of the message, and as one that is not text."""
    data = base64.b64encode(draw(Order("a red circle", 64, 64), "PNG")).decode()
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}
    assert ask(door(), asked([block, {"type": "text", "text": "What is this?"}])).status_code == 200


def test_the_key_may_come_as_anthropics_client_sends_it(door: Any) -> None:
    """``x-api-key`` is a token at this address and at no other."""
    here = door()
    here.headers = {}
    assert ask(here, asked("x"), **{"x-api-key": "x"}).status_code == 200
    chat = {"model": CLAUDE, "messages": [{"role": "user", "content": "x"}]}
    other = here.ask("POST", "/v1/chat/completions", json=chat, headers={"x-api-key": "x"})
    assert other.json()["errors"][0]["code"] == 9106
