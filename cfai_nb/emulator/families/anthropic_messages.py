"""Anthropic's dialect, which third-party models speak at ``/v1/messages``.

An Anthropic request is read as the equivalent Chat Completions request, and answered with a message, or its events.
Only the notation differs from the other text dialects; the content comes from ``families.prompts``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..json_schema import ANY, BOOLEAN, NUMBER, OBJECT, STRING, Schema, any_of, array, const, each, obj, one, require
from ..standins import split_tokens
from . import Family, ModelRequest, ModelResult, end_stream, event, prompts

_ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}

_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT = obj(type=const("text"), text=STRING)
_IMAGE = obj(type=const("image"), source=obj(type=one("base64", "url")))
_BLOCK = any_of(
    _TEXT,
    _IMAGE,
    obj(type=const("tool_use"), id=STRING, name=STRING, input=OBJECT),
    obj({"content": any_of(STRING, array(any_of(_TEXT, _IMAGE)))}, type=const("tool_result"), tool_use_id=STRING),
    obj(type=one("thinking", "redacted_thinking")),
)
_MESSAGE = obj(role=one("user", "assistant"), content=any_of(STRING, array(_BLOCK)))
_INPUT = obj(
    {
        "system": any_of(STRING, array(_TEXT)),
        "tools": array(obj({"description": STRING}, name=STRING, input_schema=OBJECT)),
        "tool_choice": any_of(obj(type=one(*_CHOICES)), obj(type=const("tool"), name=STRING)),
        "stop_sequences": array(STRING),
        "stream": BOOLEAN,
        "top_k": NUMBER,
        **each("temperature top_p", _SHARE),
        **each("metadata thinking", OBJECT),
    },
    model=STRING,
    messages=array(_MESSAGE, minItems=1),
    max_tokens={"type": "integer", "minimum": 1},
)
_OUTPUT = obj({"id": STRING, "type": const("message"), "content": array(ANY), "usage": OBJECT})


def _chat(request: ModelRequest) -> ModelRequest:
    """Return the equivalent Chat Completions request."""
    given = request.body
    system = [{"role": "system", "content": given["system"]}] if given.get("system") else []
    chat = [part for message in given["messages"] for part in _messages(message)]
    declared = {name: given[name] for name in _INPUT["properties"] if name in given}
    body = {**declared, "messages": system + chat, "stop": given.get("stop_sequences") or []}
    if "tools" in given:
        body["tools"] = [_offered(tool) for tool in given["tools"]]
    if choice := given.get("tool_choice"):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        body["tool_choice"] = _CHOICES.get(choice["type"], named)
    return replace(request, body=body)


def _offered(tool: Mapping[str, Any]) -> dict[str, Any]:
    described = {name: tool[name] for name in ("name", "description") if name in tool}
    return {"type": "function", "function": {**described, "parameters": tool["input_schema"]}}


def _messages(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the messages that one becomes: each result of a tool is a message of its own."""
    role, content = message["role"], message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [part for block in blocks if (part := _part(block))]
    calls = [_called(block) for block in blocks if block["type"] == "tool_use"]
    for block in blocks:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block.get("content", "")}
    if parts or calls:
        yield {"role": role, "content": parts, **({"tool_calls": calls} if calls else {})}


def _part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    if block["type"] == "text":
        return {"type": "text", "text": block["text"]}
    if block["type"] == "image":
        source = block["source"]
        url = source.get("url") or f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    return None


def _called(block: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def _check(request: ModelRequest, schema: Schema) -> None:
    require(request.body, schema)
    prompts.check_answerable(_chat(request))


def _answer(request: ModelRequest) -> ModelResult:
    """Return a message, or the events of one."""
    chat = _chat(request)
    prompt = prompts.with_pictures(chat, prompts.read_prompt(chat))
    generated = prompts.generate(chat, prompt)
    units = {"input_tokens": prompt.tokens, "output_tokens": generated.tokens}
    message = {
        "id": f"msg_{uuid.uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": request.model.id.partition("/")[2],
        "content": list(_blocks(generated)),
        "stop_reason": _ENDS[generated.finish],
        "stop_sequence": None,
        "usage": {**units, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
    }
    if request.body.get("stream"):
        return ModelResult(None, units, _events(request, message), request.spoils_text)
    return ModelResult(message, units, damaged=request.spoils_text)


def _blocks(generated: prompts.Generated) -> Iterator[dict[str, Any]]:
    if generated.content:
        yield {"type": "text", "text": generated.content}
    if generated.tool_call:
        call = {"name": generated.tool_call.name, "input": dict(generated.tool_call.arguments)}
        yield {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", **call}


def _events(request: ModelRequest, message: Mapping[str, Any]) -> list[bytes]:
    """Return a message as named events: its start, each block in pieces, why it ended, and its end."""

    def named(name: str, **more: Any) -> bytes:
        return event({"type": name, **more}, name)

    started = {**message, "content": [], "stop_reason": None, "usage": {**message["usage"], "output_tokens": 1}}
    frames = [named("message_start", message=started), named("ping")]
    for index, block in enumerate(message["content"]):
        tool = block["type"] == "tool_use"
        opened = {**block, "input": {}} if tool else {**block, "text": ""}
        whole = prompts.json_text(block["input"]) if tool else block["text"]
        kind, field = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
        frames.append(named("content_block_start", index=index, content_block=opened))
        for piece in split_tokens(whole):
            frames.append(named("content_block_delta", index=index, delta={"type": kind, field: piece}))
        frames.append(named("content_block_stop", index=index))
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    frames.append(named("message_delta", delta=delta, usage=usage))
    return end_stream(request, frames, named("message_stop"))


FAMILIES = {
    "anthropic": Family(
        _INPUT, _OUTPUT, lambda request: prompts.prompt_text(_chat(request)), _answer, _check, frozenset({"messages"})
    )
}
