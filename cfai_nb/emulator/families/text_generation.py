"""Text generation: Chat Completions, Responses and the older native dialect.

The answers are marked stand-ins (``standins.text_standin``); the wire format is the service's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ..error_codes import refuse
from ..model_catalogue import Model
from ..schemas import chat_schemas
from ..schemas.chat_schemas import CHAT
from ..schemas.json_schema import ANY, BOOLEAN, OBJECT, STRING, Schema, any_of, array, const, maybe, obj, one, require
from ..standins import lexical, schema_fill, text_standin
from ..standins.local_model import LocalModel
from ..standins.text_standin import Prompt
from . import prompts, sse, tool_calls
from .family import Family, ModelRequest, ModelResult, openai_usage

#: It takes the legacy input and answers as Chat Completions.
MIXED = "@cf/qwen/qwen3-30b-a3b-fp8"

#: Models that name the field ``reasoning``; the others name it ``reasoning_content``.
_NAMED_REASONING = frozenset({"@cf/moonshotai/kimi-k2.6", "@cf/moonshotai/kimi-k2.7-code"})

#: Switches of the chat template, where a model has other ones than most.
_SWITCHES = {
    "@cf/google/gemma-4-26b-a4b-it": ("enable_thinking",),
    "@cf/nvidia/nemotron-3-120b-a12b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/swiss-ai/apertus-v1.5-8b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/utter-project/eurollm-9b-it": ("enable_thinking", "low_effort", "force_nonempty_content"),
}


@dataclass(frozen=True)
class Generated:
    """One generated answer: reasoning, content, the JSON value of the content, and the finish reason."""

    reasoning: str
    content: str | None
    value: Any
    finish: str
    tokens: int
    reasoning_tokens: int
    tool_call: tool_calls.ToolCall | None = None


def _chat_input(model: Model) -> Schema:
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
        fields["reasoning_effort"] = maybe(one(*prompts.EFFORTS))  # a level that the model lacks is mapped to another
    return obj(fields, "messages")


def _both_input(model: Model) -> Schema:
    """Return what gpt-oss takes: Responses or Chat Completions."""
    return any_of(chat_schemas.RESPONSES, _chat_input(model))


def _output(model: Model) -> Schema:
    """Return the published answer shape."""
    if model.family == "legacy" and model.id != MIXED:
        return obj({"response": ANY, "tool_calls": array(ANY), "usage": OBJECT})
    return obj({"id": STRING, "object": STRING, "choices": array(ANY), "usage": OBJECT})


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse by the schema of the address and the form that is present, then what cannot be answered."""
    model, body = request.model, request.body
    responses, chat = schema["anyOf"] if model.family == "responses+chat" else (None, schema)
    if tool_calls.is_unsupported(body):
        raise refuse(8001)
    if request.route == "chat":
        strict = {**chat, "required": ["messages", "model"]}
        require(body, chat_schemas.LEGACY_CHAT if model.family == "legacy" else strict)
    elif request.route == "responses":
        if responses is None:
            raise refuse(5007, name=model.id)
        require(body, {**responses, "required": ["input", "model"]})
        if body.get("stream") and not model.id.startswith("@"):  # gpt-oss answers whole, a third party would not
            raise refuse(5007, text="emulator: streams of Responses are not emulated")
    elif responses is not None and "input" not in body:
        require(body, chat if "messages" in body else responses)
        if "messages" not in body and "prompt" in body:
            require(body["prompt"], STRING, "/prompt")
    else:
        require(body, schema if responses is None else responses)
    if "requests" in body and not {"messages", "prompt"} & body.keys():
        raise refuse(5007, text="requests are answered later only: send them with ?queueRequest=true")
    if body.get("lora") and not model.has("lora"):
        raise refuse(5005)
    prompts.check_answerable(request)


def _answer(request: ModelRequest) -> ModelResult:
    """Return the answer in the dialect of the model and the address."""
    prompt = prompts.with_pictures(request, prompts.read_prompt(request))
    if request.route == "run" and request.model.family == "responses+chat" and request.body.get("stream"):
        return ModelResult({})  # seen on the service: plain JSON with an empty result; these stream at /v1 only
    generated = generate(request, prompt)
    copies = int(request.body.get("n") or 1) if _speaks_chat(request) else 1
    cached = min(request.cached, prompt.tokens)
    units = {"input_tokens": prompt.tokens - cached, "output_tokens": generated.tokens * copies}
    if cached:
        units["cached_input_tokens"] = cached
    usage = _usage(request, units, generated)
    damaged = request.fault in ("empty", "length") or (
        request.fault == "truncated-stream" and bool(request.body.get("stream"))
    )
    if request.body.get("stream") and "input" not in request.body:
        return ModelResult(None, units, _frames(request, generated, usage), damaged)
    return ModelResult(_result(request, prompt, generated, usage, copies), units, damaged=damaged)


def _speaks_chat(request: ModelRequest) -> bool:
    return request.route == "chat" or request.model.family != "legacy" or request.model.id == MIXED


def generate(request: ModelRequest, prompt: Prompt) -> Generated:
    """Return reasoning and content for a prompt, cut at the output limit."""
    value: Any = None
    call = tool_calls.choose_call(request, prompt.user)
    if call is not None:
        content = tool_calls.call_as_text(call)
    elif prompt.schema is not None:
        wanted = (prompt.schema, prompt.found or prompt.user)
        if prompt.schema is True:  # any object is allowed; a schema in words narrows it down
            wanted = prompts.schema_in_words(prompt) or wanted
        try:
            value = schema_fill.fill(*wanted)
        except schema_fill.SchemaNotMet:
            raise refuse(5006, text="JSON Mode couldn't be met") from None
        content = prompts.json_text(value)
    else:
        content = _stopped(_free_text(prompt, request.local), request.body.get("stop"))
    reasoning = text_standin.reasoning(prompt) if prompt.effort else ""
    if reasoning and call is None and request.model.id in prompts.TAGGED:
        tagged = f"<think>\n{reasoning}\n</think>\n\n{content}"
        reasoning, content = "", content if prompt.schema is not None else tagged
    generated = _limited(request, prompt.limit, reasoning, content, value)
    prints = tool_calls.PRINTED in request.quirks and request.model.family == "responses+chat"
    if call is None or generated.finish == "length" or generated.content is None or prints:
        return generated
    return replace(generated, content=None, finish="tool_calls", tool_call=call)


def _free_text(prompt: Prompt, local: LocalModel | None) -> str:
    """Return the text for a prompt: JSON where the prompt contains a schema, though nothing enforces it."""
    wanted = prompts.schema_in_words(prompt)
    with suppress(schema_fill.SchemaNotMet):
        return prompts.json_text(schema_fill.fill(*wanted)) if wanted else text_standin.reply(prompt, local)
    return text_standin.reply(prompt, local)


def _limited(request: ModelRequest, limit: int | None, reasoning: str, content: str, value: Any) -> Generated:
    first = lexical.count_tokens(reasoning) if reasoning else 0
    rest = lexical.count_tokens(content)
    if request.fault == "empty":
        return Generated(reasoning, None, None, "stop", first, first)
    if request.fault == "length" and (limit is None or limit >= first + rest):
        limit = first + max(1, rest // 2)
    if limit is None or first + rest <= limit:
        return Generated(reasoning, content, value, "stop", first + rest, first)
    if limit <= first:
        return Generated(lexical.truncate(reasoning, limit), None, None, "length", limit, limit)
    return Generated(reasoning, lexical.truncate(content, limit - first), None, "length", limit, first)


def _stopped(text: str, stop: Any) -> str:
    for mark in [stop] if isinstance(stop, str) else stop or []:
        text = text.partition(mark)[0] if mark else text
    return text


def _usage(request: ModelRequest, units: Mapping[str, int], generated: Generated) -> dict[str, Any]:
    usage = openai_usage(units)
    if request.model.family == "legacy":
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": units.get("cached_input_tokens", 0)}
    usage["completion_tokens_details"] = {"reasoning_tokens": generated.reasoning_tokens}
    neurons = request.model.neurons(units)
    return usage if neurons is None else {**usage, "neurons": neurons}


def _base(request: ModelRequest) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model.id}


def _reasoning(model: Model) -> str:
    return "reasoning" if model.id in _NAMED_REASONING else "reasoning_content"


def _frames(request: ModelRequest, generated: Generated, usage: dict[str, Any]) -> list[bytes]:
    if not _speaks_chat(request):
        return sse.native_stream(
            request,
            generated.content or "",
            usage,
            [tool_calls.native_call(request, generated.tool_call)] if generated.tool_call else [],
        )
    if generated.tool_call:
        return sse.tool_call_stream(request, _base(request), tool_calls.chat_call(generated.tool_call), usage)
    parts = [(_reasoning(request.model), generated.reasoning)] if generated.reasoning else []
    return sse.chat_stream(
        request, _base(request), [*parts, ("content", generated.content or "")], generated.finish, usage
    )


def _result(
    request: ModelRequest, prompt: Prompt, generated: Generated, usage: dict[str, Any], copies: int
) -> dict[str, Any]:
    if not _speaks_chat(request):
        calls = {"tool_calls": [tool_calls.native_call(request, generated.tool_call)]} if generated.tool_call else {}
        content = (generated.content or "") if generated.tool_call else generated.content
        return {"response": content if generated.value is None else generated.value, **calls, "usage": usage}
    if "input" in request.body:
        return _response(request, generated, usage)
    if request.model.id == MIXED and request.route == "run" and "messages" not in request.body:
        choice = {"index": 0, "text": generated.content, "finish_reason": generated.finish, "logprobs": None}
        return {**_base(request), "object": "text_completion", "choices": [choice], "usage": usage}
    message: dict[str, Any] = {"role": "assistant", "content": generated.content, "refusal": None}
    if generated.reasoning:
        message[_reasoning(request.model)] = generated.reasoning
    if generated.tool_call:
        message["tool_calls"] = [tool_calls.chat_call(generated.tool_call)]
    choices = []
    for place in range(copies):
        content = text_standin.sample(generated.content, place) if generated.value is None else generated.content
        logprobs = text_standin.logprobs(content, request.body)
        shown = {**message, "content": content}
        choices.append({"index": place, "message": shown, "finish_reason": generated.finish, "logprobs": logprobs})
    return {**_base(request), "object": "chat.completion", "choices": choices, "usage": usage}


def _response(request: ModelRequest, generated: Generated, usage: dict[str, Any]) -> dict[str, Any]:
    """Return a Responses object."""
    cut = generated.finish == "length"
    status = "incomplete" if cut else "completed"
    items: list[dict[str, Any]] = []
    if generated.reasoning:
        notes = [{"type": "reasoning_text", "text": generated.reasoning}]
        items.append({"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "summary": [], "content": notes})
    if generated.tool_call:
        call = {
            "name": generated.tool_call.name,
            "arguments": tool_calls.arguments_text(generated.tool_call),
            "call_id": tool_calls.call_id(),
        }
        items.append({"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": status, **call})
    if generated.content is not None:
        texts = [{"type": "output_text", "text": generated.content, "annotations": []}]
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
        "model": request.model.id,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": request.body.get("instructions"),
        "metadata": {},
        "output": items,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": request.body.get("temperature"),
        "top_p": request.body.get("top_p"),
        "usage": {**counts, **neurons},
    }


_ROUTES = frozenset({"run", "chat"})

FAMILIES = {
    "legacy": Family(chat_schemas.legacy_input, _output, prompts.prompt_text, _answer, _check, _ROUTES),
    "openai": Family(_chat_input, _output, prompts.prompt_text, _answer, _check, _ROUTES),
    "responses+chat": Family(_both_input, _output, prompts.prompt_text, _answer, _check, _ROUTES | {"responses"}),
}
