"""Text: every text generation family. The answers are marked stand-ins, the wire format is the service's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from . import forms, legacy, likelihood, prompts, showing, stream, tools, voice, words
from .catalogue import Model
from .checks import Schema, complaints
from .errors import refuse
from .prompts import Prompt
from .shapes import ANY, BOOLEAN, CHAT, STRING, any_of, const, maybe, obj, one
from .work import Ask, Family, Work, by_schema

#: Legacy in, Chat Completions out.
MIXED = "@cf/qwen/qwen3-30b-a3b-fp8"

#: Models that call their thinking ``reasoning``; the others say ``reasoning_content``.
_NAMED_REASONING = frozenset({"@cf/moonshotai/kimi-k2.6", "@cf/moonshotai/kimi-k2.7-code"})

_SWITCHES = {
    "@cf/google/gemma-4-26b-a4b-it": ("enable_thinking",),
    "@cf/nvidia/nemotron-3-120b-a12b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/swiss-ai/apertus-v1.5-8b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/utter-project/eurollm-9b-it": ("enable_thinking", "low_effort", "force_nonempty_content"),
}


@dataclass(frozen=True)
class Said:
    """What the stand-in came up with: thinking, content, JSON value behind it, and how it ended."""

    thinking: str
    content: str | None
    value: Any
    finish: str
    tokens: int
    thought: int
    called: tools.Called | None = None


def chat_input(model: Model) -> Schema:
    """Return Chat Completions with the model's own reasoning switches."""
    facts = model.row.get("reasoning") or {}
    names = _SWITCHES.get(model.id, ("enable_thinking", "clear_thinking"))
    kwargs: dict[str, Any] = dict.fromkeys(names, BOOLEAN)
    if model.family == "openai" and facts and facts.get("off") is None:
        kwargs["enable_thinking"] = const(True)
    fields: dict[str, Any] = {**CHAT, "chat_template_kwargs": obj(kwargs)}
    if model.id == "@cf/google/gemma-4-26b-a4b-it":
        fields["skip_special_tokens"] = BOOLEAN
    if facts.get("levels"):
        fields["reasoning_effort"] = maybe(one(*prompts.EFFORTS))  # a level it lacks is taken for a neighbour
    return obj(fields, "messages")


def both_input(model: Model) -> Schema:
    """Return what gpt-oss takes: Responses or Chat Completions."""
    return any_of(legacy.responses(), chat_input(model))


def output(model: Model) -> Schema:
    """Return the published answer shape."""
    if model.family == "legacy" and model.id != MIXED:
        return obj({"response": ANY, "tool_calls": {"type": "array"}, "usage": {"type": "object"}})
    return obj({"id": STRING, "object": STRING, "choices": {"type": "array"}, "usage": {"type": "object"}})


def check(ask: Ask) -> None:
    """Refuse by the schema of the door and the form that is present, then by what cannot be answered."""
    model, body = ask.model, ask.body
    if tools.unheard(body):
        raise refuse(8001)
    if ask.route == "chat":
        schema = (
            legacy.chat(model) if model.family == "legacy" else {**chat_input(model), "required": ["messages", "model"]}
        )
        wrong = complaints(body, schema)
    elif ask.route == "responses":
        if model.family != "responses+chat":
            raise refuse(5007, name=model.id)
        wrong = complaints(body, {**legacy.responses(), "required": ["input", "model"]})
        if body.get("stream") and not model.id.startswith("@"):  # gpt-oss answers whole, a third party would not
            raise refuse(5007, text="emulator: streams of Responses are not emulated")
    elif model.family == "responses+chat":
        talk = "messages" in body and "input" not in body
        wrong = complaints(body, chat_input(model) if talk else legacy.responses())
        if not talk and "input" not in body and "prompt" in body:
            wrong += complaints(body["prompt"], STRING, path="/prompt")
    else:
        by_schema(ask)
        wrong = []
    if wrong:
        raise refuse(5006, why=", ".join(wrong))
    if "requests" in body and not {"messages", "prompt"} & body.keys():
        raise refuse(5007, text="requests are answered later only: ask with ?queueRequest=true")
    if body.get("lora") and not model.has("lora"):
        raise refuse(5005)
    prompts.fit(ask)


def answer(ask: Ask) -> Work:
    """Return the answer in the dialect of the model and the door."""
    prompt = showing.shown(ask, prompts.read(ask))
    if ask.route == "run" and ask.model.family == "responses+chat" and ask.body.get("stream"):
        return Work({})  # seen on the service: plain JSON, empty result; streaming these needs /v1
    said = say(ask, prompt)
    copies = int(ask.body.get("n") or 1) if _speaks_chat(ask) else 1
    cached = min(ask.cached, prompt.tokens)
    units = {"input_tokens": prompt.tokens - cached, "output_tokens": said.tokens * copies}
    if cached:
        units["cached_input_tokens"] = cached
    usage = _usage(ask, units, said)
    damaged = ask.fault in ("empty", "length") or (ask.fault == "truncated-stream" and bool(ask.body.get("stream")))
    if ask.body.get("stream") and "input" not in ask.body:
        return Work(None, units, _frames(ask, said, usage), damaged)
    return Work(_result(ask, prompt, said, usage, copies), units, damaged=damaged)


def _speaks_chat(ask: Ask) -> bool:
    return ask.route == "chat" or ask.model.family != "legacy" or ask.model.id == MIXED


def say(ask: Ask, prompt: Prompt) -> Said:
    """Think, speak, and stop where the limit is."""
    value: Any = None
    called = tools.chosen(ask, prompt.user)
    if called is not None:
        content = tools.printed(called)
    elif prompt.schema is not None:
        asked = (prompt.schema, prompt.found or prompt.user)
        if prompt.schema is True:  # any object will do; a schema in words says which one
            asked = prompts.spelled(prompt) or asked
        try:
            value = forms.fill(*asked)
        except forms.Impossible:
            raise refuse(5006, text="JSON Mode couldn't be met") from None
        content = prompts.dump(value)
    else:
        content = _stopped(_spoken(prompt), ask.body.get("stop"))
    thinking = voice.thought(prompt) if prompt.effort else ""
    if thinking and called is None and ask.model.id in prompts.TAGGED:
        tagged = f"<think>\n{thinking}\n</think>\n\n{content}"
        thinking, content = "", content if prompt.schema is not None else tagged
    said = _limited(ask, prompt.limit, thinking, content, value)
    prints = tools.PRINTED in ask.quirks and ask.model.family == "responses+chat"
    if called is None or said.finish == "length" or said.content is None or prints:
        return said
    return replace(said, content=None, finish="tool_calls", called=called)


def _spoken(prompt: Prompt) -> str:
    """Return what is said to a prompt: JSON where it spells out a schema in words, though nobody holds it to that."""
    wished = prompts.spelled(prompt)
    with suppress(forms.Impossible):
        return prompts.dump(forms.fill(*wished)) if wished else voice.reply(prompt)
    return voice.reply(prompt)


def _limited(ask: Ask, limit: int | None, thinking: str, content: str, value: Any) -> Said:
    thought = words.tokens(thinking) if thinking else 0
    spoken = words.tokens(content)
    if ask.fault == "empty":
        return Said(thinking, None, None, "stop", thought, thought)
    if ask.fault == "length" and (limit is None or limit >= thought + spoken):
        limit = thought + max(1, spoken // 2)
    if limit is None or thought + spoken <= limit:
        return Said(thinking, content, value, "stop", thought + spoken, thought)
    if limit <= thought:
        return Said(words.clip(thinking, limit), None, None, "length", limit, limit)
    return Said(thinking, words.clip(content, limit - thought), None, "length", limit, thought)


def _stopped(text: str, stop: Any) -> str:
    for mark in [stop] if isinstance(stop, str) else stop or []:
        text = text.partition(mark)[0] if mark else text
    return text


def _usage(ask: Ask, units: Mapping[str, int], said: Said) -> dict[str, Any]:
    cached = units.get("cached_input_tokens", 0)
    spent, made = units["input_tokens"] + cached, units["output_tokens"]
    usage: dict[str, Any] = {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}
    if ask.model.family == "legacy":
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": cached}
    usage["completion_tokens_details"] = {"reasoning_tokens": said.thought}
    neurons = ask.model.neurons(units)
    return usage if neurons is None else {**usage, "neurons": neurons}


def _base(ask: Ask) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": ask.model.id}


def _reasoning(model: Model) -> str:
    return "reasoning" if model.id in _NAMED_REASONING else "reasoning_content"


def _frames(ask: Ask, said: Said, usage: dict[str, Any]) -> list[bytes]:
    if not _speaks_chat(ask):
        return stream.native(ask, said.content or "", usage, [tools.native(ask, said.called)] if said.called else [])
    if said.called:
        return stream.called(ask, _base(ask), tools.openai(said.called), usage)
    parts = [(_reasoning(ask.model), said.thinking)] if said.thinking else []
    return stream.openai(ask, _base(ask), [*parts, ("content", said.content or "")], said.finish, usage)


def _result(ask: Ask, prompt: Prompt, said: Said, usage: dict[str, Any], copies: int) -> dict[str, Any]:
    if not _speaks_chat(ask):
        calls = {"tool_calls": [tools.native(ask, said.called)]} if said.called else {}
        content = (said.content or "") if said.called else said.content
        return {"response": content if said.value is None else said.value, **calls, "usage": usage}
    if "input" in ask.body:
        return _response(ask, said, usage)
    if ask.model.id == MIXED and ask.route == "run" and "messages" not in ask.body:
        choice = {"index": 0, "text": said.content, "finish_reason": said.finish, "logprobs": None}
        return {**_base(ask), "object": "text_completion", "choices": [choice], "usage": usage}
    message: dict[str, Any] = {"role": "assistant", "content": said.content, "refusal": None}
    if said.thinking:
        message[_reasoning(ask.model)] = said.thinking
    if said.called:
        message["tool_calls"] = [tools.openai(said.called)]
    choices = []
    for place in range(copies):
        content = voice.another(said.content, place) if said.value is None else said.content
        logprobs = likelihood.of(content, ask.body)
        spoken = {**message, "content": content}
        choices.append({"index": place, "message": spoken, "finish_reason": said.finish, "logprobs": logprobs})
    return {**_base(ask), "object": "chat.completion", "choices": choices, "usage": usage}


def _response(ask: Ask, said: Said, usage: dict[str, Any]) -> dict[str, Any]:
    """Return a Responses object."""
    cut = said.finish == "length"
    status = "incomplete" if cut else "completed"
    items: list[dict[str, Any]] = []
    if said.thinking:
        notes = [{"type": "reasoning_text", "text": said.thinking}]
        items.append({"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "summary": [], "content": notes})
    if said.called:
        call = {"name": said.called.name, "arguments": tools.written(said.called), "call_id": tools.identity()}
        items.append({"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": status, **call})
    if said.content is not None:
        texts = [{"type": "output_text", "text": said.content, "annotations": []}]
        message = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": status}
        items.append({**message, "content": texts})
    counts = {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }
    neurons = {"neurons": usage["neurons"]} if "neurons" in usage else {}
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": ask.model.id,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": ask.body.get("instructions"),
        "metadata": {},
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": ask.body.get("temperature"),
        "top_p": ask.body.get("top_p"),
        "usage": {**counts, **neurons},
    }


_ROUTES = frozenset({"run", "chat"})

FAMILIES = {
    "legacy": Family(legacy.inputs, output, prompts.text, answer, check, _ROUTES),
    "openai": Family(chat_input, output, prompts.text, answer, check, _ROUTES),
    "responses+chat": Family(both_input, output, prompts.text, answer, check, _ROUTES | {"responses"}),
}
