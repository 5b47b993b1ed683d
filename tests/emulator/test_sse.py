"""Server-sent events, in both dialects."""

from __future__ import annotations

import json
import time
from typing import Any

from .conftest import GLM, LEGACY, OSS


def events(text: str) -> list[str]:
    """Return the payloads of a stream."""
    assert text.endswith("\n\n")
    lines = text.strip().split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


def frames(text: str) -> list[dict[str, Any]]:
    """Return the JSON payloads of a stream that ended properly."""
    *found, last = events(text)
    assert last == "[DONE]"
    return [json.loads(one) for one in found]


def test_a_native_stream_has_filler_and_closes_with_totals(door: Any) -> None:
    """Native frames hold pieces, filler and their own usage; the closing one holds the totals of the plain answer."""
    here = door()
    body = {"prompt": "Tell me about 42 rivers."}
    plain = here.result(LEGACY, body)
    answer = here.run(LEGACY, {**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *parts, closing = frames(answer.text)
    assert "".join(str(part["response"]) for part in parts) == plain["response"]
    assert all(part["p"] and part["usage"]["completion_tokens"] == 1 for part in parts)
    assert closing == {"response": "", "usage": plain["usage"]}


def test_a_number_in_a_native_stream_arrives_as_a_number(door: Any) -> None:
    """The service's open bug is there to be met: a piece of digits is a JSON number."""
    parts = frames(door().run(LEGACY, {"prompt": "Tell me about 42 rivers.", "stream": True}).text)
    assert 42 in [part["response"] for part in parts]


def test_an_openai_stream_on_run_closes_with_a_native_frame(door: Any) -> None:
    """Both dialects meet: deltas, a finish reason, then ``{response: "", usage}`` before the end."""
    here = door()
    body = {"messages": [{"role": "user", "content": "Tell me about rivers."}]}
    plain = here.result(GLM, body)["choices"][0]["message"]
    *parts, closing = frames(here.run(GLM, {**body, "stream": True}).text)
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert "".join(str(delta.get("content", "")) for delta in deltas) == plain["content"]
    assert "".join(str(delta.get("reasoning_content", "")) for delta in deltas) == plain["reasoning_content"]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"
    assert closing["response"] == ""
    assert closing["usage"]["neurons"] > 0


def test_v1_streams_without_native_frames(door: Any) -> None:
    """``/v1`` sends chunks only, and the totals when ``include_usage`` asks."""
    body = {"model": OSS, "messages": [{"role": "user", "content": "Hello 42."}], "stream": True}
    here = door()
    parts = frames(here.ask("POST", "/v1/chat/completions", json=body).text)
    assert all(part["object"] == "chat.completion.chunk" and "usage" not in part for part in parts)
    assert all(isinstance(part["choices"][0]["delta"].get("content", ""), str) for part in parts)
    body["stream_options"] = {"include_usage": True}
    last = frames(here.ask("POST", "/v1/chat/completions", json=body).text)[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0


def test_gpt_oss_does_not_stream_on_run(door: Any) -> None:
    """As was seen: plain JSON with an empty result, and nothing charged."""
    here = door()
    answer = here.run(OSS, {"messages": [{"role": "user", "content": "Hi."}], "stream": True})
    assert answer.json()["result"] == {}
    assert here.emulator.billed == 0
    assert here.emulator.calls[0].charged is False


def test_a_stream_that_hits_its_limit_says_length(door: Any) -> None:
    """The last chunk's finish reason is length when the tokens ran out."""
    body = {"messages": [{"role": "user", "content": "Hello there."}], "stream": True, "max_tokens": 15}
    parts = frames(door().run(GLM, body).text)
    assert parts[-2]["choices"][0]["finish_reason"] == "length"


def _tool() -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "weather", "description": "The weather in a city.", "parameters": parameters}
    return {"type": "function", "function": function}


def test_a_call_streams_in_fragments(door: Any) -> None:
    """A start frame with id and name, the arguments in fragments, and why it ended; ``/run`` adds a frame of nulls."""
    body = {"model": GLM, "messages": [{"role": "user", "content": "The weather in Rome?"}], "tools": [_tool()]}
    here = door()
    answer = here.ask("POST", "/v1/chat/completions", json={**body, "stream": True})
    choices = [frame["choices"][0] for frame in frames(answer.text)]
    opened, *fragments = [c["delta"]["tool_calls"][0] for c in choices if "tool_calls" in c["delta"]]
    assert (opened["function"]["name"], opened["index"], opened["type"]) == ("weather", 0, "function")
    assert opened["id"].startswith("call_")
    assert json.loads("".join(part["function"]["arguments"] for part in fragments)) == {"city": "Rome"}
    assert choices[-1]["finish_reason"] == "tool_calls"
    *parts, _ = frames(here.run(GLM, {**body, "stream": True}).text)
    closed = [part["choices"][0]["delta"]["tool_calls"][0] for part in parts[1:-1]][-1]
    assert closed == {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}


def test_chunks_share_an_id_and_say_when(door: Any) -> None:
    """All chunks of a stream carry one id and the time of the call, and so does a plain answer."""
    body = {"model": GLM, "messages": [{"role": "user", "content": "Hello."}]}
    here, before = door(), int(time.time())
    parts = frames(here.ask("POST", "/v1/chat/completions", json={**body, "stream": True}).text)
    plain = here.ask("POST", "/v1/chat/completions", json=body).json()
    assert len({part["id"] for part in parts}) == 1
    assert all(before <= part["created"] <= time.time() for part in [*parts, plain])


def test_a_call_in_a_native_stream_stands_in_one_frame(door: Any) -> None:
    """An older model sends its calls whole, before the totals."""
    body = {"prompt": "The weather in Rome?", "tools": [_tool()], "stream": True}
    *_, calling, _ = frames(door().run(LEGACY, body).text)
    assert calling["tool_calls"] == [{"name": "weather", "arguments": {"city": "Rome"}}]
    assert calling["response"] == ""
