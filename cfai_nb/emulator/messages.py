"""Messages: Anthropic's dialect, which third-party models speak at ``/v1/messages``.

In comes an Anthropic request, which is read as the Chat Completions request that says the same; out goes a message, or
the events of one. Only its spelling differs from the other text dialects: what is said comes from :mod:`.text`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from . import prompts, showing, stream, text
from .catalogue import Model
from .checks import Schema, complaints
from .errors import refuse
from .shapes import ANY, BOOLEAN, NUMBER, OBJECT, STRING, any_of, array, const, obj, one
from .work import Ask, Family, Work

_ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def inputs(model: Model) -> Schema:
    """Return the Messages input."""
    said = obj({"type": const("text"), "text": STRING}, "type", "text")
    seen = obj({"type": const("image"), "source": obj({"type": one("base64", "url")}, "type")}, "type", "source")
    called = obj({"type": const("tool_use"), "id": STRING, "name": STRING, "input": OBJECT}, "id", "name", "input")
    found = {"type": const("tool_result"), "tool_use_id": STRING, "content": any_of(STRING, array(any_of(said, seen)))}
    thought = obj({"type": one("thinking", "redacted_thinking")}, "type")
    blocks = array(any_of(said, seen, called, obj(found, "type", "tool_use_id"), thought))
    message = obj({"role": one("user", "assistant"), "content": any_of(STRING, blocks)}, "role", "content")
    tool = obj({"name": STRING, "description": STRING, "input_schema": OBJECT}, "name", "input_schema")
    share = {"type": "number", "minimum": 0, "maximum": 1}
    fields = {
        "model": STRING,
        "messages": array(message, minItems=1),
        "max_tokens": {"type": "integer", "minimum": 1},
        "system": any_of(STRING, array(said)),
        "tools": array(tool),
        "tool_choice": any_of(
            obj({"type": one(*_CHOICES)}, "type"), obj({"type": const("tool"), "name": STRING}, "name")
        ),
        "stop_sequences": array(STRING),
        "stream": BOOLEAN,
        "temperature": share,
        "top_p": share,
        "top_k": NUMBER,
        "metadata": OBJECT,
        "thinking": OBJECT,
    }
    return obj(fields, "model", "messages", "max_tokens")


def output(model: Model) -> Schema:
    """Return the shape of a message."""
    return obj({"id": STRING, "type": const("message"), "content": array(ANY), "usage": OBJECT})


def chat(ask: Ask) -> Ask:
    """Return the Chat Completions request that says the same."""
    given = ask.body
    system = [{"role": "system", "content": given["system"]}] if given.get("system") else []
    talk = [part for message in given["messages"] for part in _spoken(message)]
    body = {**given, "messages": system + talk, "stop": given.get("stop_sequences") or []}
    if "tools" in given:
        body["tools"] = [_offered(tool) for tool in given["tools"]]
    if choice := given.get("tool_choice"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        body["tool_choice"] = _CHOICES.get(choice["type"], named)
    return replace(ask, body=body)


def _offered(tool: Mapping[str, Any]) -> dict[str, Any]:
    described = {name: tool[name] for name in ("name", "description") if name in tool}
    return {"type": "function", "function": {**described, "parameters": tool["input_schema"]}}


def _spoken(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the messages one becomes: each result of a tool is a message of its own."""
    role, content = message["role"], message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = [part for block in blocks if (part := _part(block))]
    calls = [_called(block) for block in blocks if block["type"] == "tool_use"]
    for block in blocks:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block.get("content", "")}
    if said or calls:
        yield {"role": role, "content": said, **({"tool_calls": calls} if calls else {})}


def _part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    match block["type"]:
        case "text":
            return {"type": "text", "text": block["text"]}
        case "image":
            source = block["source"]
            url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return None


def _called(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def check(ask: Ask) -> None:
    """Refuse by the schema, then what leaves no room for an answer."""
    if wrong := complaints(ask.body, inputs(ask.model)):
        raise refuse(5006, why=", ".join(wrong))
    prompts.fit(chat(ask))


def texts(ask: Ask) -> list[str]:
    """Return the whole talk as the one input text."""
    return prompts.text(chat(ask))


def answer(ask: Ask) -> Work:
    """Return a message, or the events of one."""
    talk = chat(ask)
    prompt = showing.shown(talk, prompts.read(talk))
    said = text.say(talk, prompt)
    units = {"input_tokens": prompt.tokens, "output_tokens": said.tokens}
    message = {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model.id.partition("/")[2],
        "content": list(_blocks(said)),
        "stop_reason": _ENDS[said.finish],
        "stop_sequence": None,
        "usage": {**units, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    }
    streamed = bool(ask.body.get("stream"))
    damaged = ask.fault in ("empty", "length") or (ask.fault == "truncated-stream" and streamed)
    return Work(None, units, _events(ask, message), damaged) if streamed else Work(message, units, damaged=damaged)


def _blocks(said: text.Said) -> Iterator[dict[str, Any]]:
    if said.content:
        yield {"type": "text", "text": said.content}
    if said.called:
        identity = f"toolu_{uuid.uuid4().hex[:24]}"
        yield {"type": "tool_use", "id": identity, "name": said.called.name, "input": dict(said.called.arguments)}


def _events(ask: Ask, message: Mapping[str, Any]) -> list[bytes]:
    """Return a message as named events: its start, each block in pieces, why it ended, and its end."""

    def event(name: str, **more: Any) -> bytes:
        return stream.event({"type": name, **more}, name)

    started = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    frames = [event("message_start", message=started), event("ping")]
    for index, block in enumerate(message["content"]):
        tool = block["type"] == "tool_use"
        opened = {**block, "input": {}} if tool else {**block, "text": ""}
        whole = prompts.dump(block["input"]) if tool else block["text"]
        kind, field = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
        frames.append(event("content_block_start", index=index, content_block=opened))
        for piece in stream.pieces(whole):
            frames.append(event("content_block_delta", index=index, delta={"type": kind, field: piece}))
        frames.append(event("content_block_stop", index=index))
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    frames.append(event("message_delta", delta=delta, usage=usage))
    return stream.closed(ask, frames, event("message_stop"))


FAMILIES = {"anthropic": Family(inputs, output, texts, answer, check, frozenset({"messages"}))}
