"""Text generation: Chat Completions, Responses and the older native dialect.

The answers are marked stand-ins (``families.prompts``); the wire format is the service's.
"""

from __future__ import annotations

import math
import string
import time
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from ..error_codes import refuse
from ..json_schema import (
    ANY,
    BOOLEAN,
    OBJECT,
    STRING,
    Schema,
    any_of,
    array,
    complaints,
    const,
    maybe,
    obj,
    one,
    require,
)
from ..model_catalogue import Model
from ..standins import MARK, schema_fill, split_tokens
from . import Family, ModelRequest, ModelResult, chat_schemas, end_stream, event, native_token, openai_usage, prompts
from .chat_schemas import CHAT

#: Answers with the id and type of Chat Completions, and with arguments as an object.
_SCOUT = "@cf/meta/llama-4-scout-17b-16e-instruct"

#: It takes the legacy input and answers as Chat Completions.
_MIXED = "@cf/qwen/qwen3-30b-a3b-fp8"

#: Models that name the field ``reasoning``; the others name it ``reasoning_content``.
_NAMED_REASONING = frozenset({"@cf/moonshotai/kimi-k2.6", "@cf/moonshotai/kimi-k2.7-code"})

#: Switches of the chat template, where a model has other ones than most.
_SWITCHES = {
    "@cf/google/gemma-4-26b-a4b-it": ("enable_thinking",),
    "@cf/nvidia/nemotron-3-120b-a12b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/swiss-ai/apertus-v1.5-8b": ("enable_thinking", "low_effort", "force_nonempty_content"),
    "@cf/utter-project/eurollm-9b-it": ("enable_thinking", "low_effort", "force_nonempty_content"),
}


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


def _output(model: Model) -> Schema:
    """Return the published answer shape."""
    if model.family == "legacy" and model.id != _MIXED:
        return obj({"response": ANY, "tool_calls": array(ANY), "usage": OBJECT})
    return obj({"id": STRING, "object": STRING, "choices": array(ANY), "usage": OBJECT})


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse what the schema of the address and form refuses, then what cannot be answered."""
    model, body = request.model, request.body
    responses, chat = schema["anyOf"] if model.family == "responses+chat" else (None, schema)
    descriptions = [function.get("description") for function in schema_fill.offered_functions(body)]
    if body.get("tool_choice") == "any" or any(one is False for one in descriptions):  # as other services take them
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
    _forget_undeclared(request, schema, responses is not None)
    prompts.check_answerable(request)


def _forget_undeclared(request: ModelRequest, schema: Schema, responses: bool) -> None:
    """Delete the conversations that the request does not declare in its form: they were not checked."""
    body = request.body
    if responses and request.route != "chat" and "input" in body:
        unread = ["messages", "prompt"]
    elif "messages" in body and "prompt" in body and request.route == "run":
        alone = {name: part for name, part in body.items() if name != "prompt"}
        unread = ["input", *(["messages"] if complaints(alone, schema) else [])]
    else:
        unread = ["input"]
    for name in unread:
        body.pop(name, None)


def _answer(request: ModelRequest) -> ModelResult:
    """Return the answer in the dialect of the model and the address."""
    prompt = prompts.with_pictures(request, prompts.read_prompt(request))
    if request.route == "run" and request.model.family == "responses+chat" and request.body.get("stream"):
        return ModelResult({})  # seen on the service: plain JSON with an empty result; these stream at /v1 only
    generated = prompts.generate(request, prompt)
    copies = int(request.body.get("n") or 1) if _takes_copies(request) else 1
    cached = min(request.cached, prompt.tokens)
    units = {"input_tokens": prompt.tokens - cached, "output_tokens": generated.tokens * copies}
    if cached:
        units["cached_input_tokens"] = cached
    usage = _usage(request, units, generated)
    if request.body.get("stream") and "input" not in request.body:
        stream = _chat_stream if _speaks_chat(request) else _native_stream
        return ModelResult(None, units, stream(request, generated, usage), request.spoils_text)
    return ModelResult(_result(request, generated, usage, copies), units, damaged=request.spoils_text)


def _speaks_chat(request: ModelRequest) -> bool:
    return request.route == "chat" or request.model.family != "legacy" or request.model.id == _MIXED


def _takes_copies(request: ModelRequest) -> bool:
    """Return whether ``n`` is a field of the request: in Chat Completions, on either address."""
    return "input" not in request.body and (request.route == "chat" or request.model.family != "legacy")


def _usage(request: ModelRequest, units: Mapping[str, int], generated: prompts.Generated) -> dict[str, Any]:
    usage = openai_usage(units)
    if request.model.family == "legacy":
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": units.get("cached_input_tokens", 0)}
    usage["completion_tokens_details"] = {"reasoning_tokens": generated.reasoning_tokens}
    return {**usage, **_neurons(request, units)}


def _neurons(request: ModelRequest, units: Mapping[str, float]) -> dict[str, float]:
    neurons = request.model.neurons(units)
    return {} if neurons is None else {"neurons": neurons}


def _base(request: ModelRequest) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": request.model.id}


def _native_call(request: ModelRequest, call: schema_fill.ToolCall) -> dict[str, Any]:
    """Return a call as the older models write it: without an id, except for Scout."""
    plain = {"name": call.name, "arguments": dict(call.arguments)}
    return {"id": _call_id(), "type": "function", "function": plain} if request.model.id == _SCOUT else plain


def _chat_call(call: schema_fill.ToolCall) -> dict[str, Any]:
    """Return a call in the form of Chat Completions: with an id, and arguments as JSON text."""
    function = {"name": call.name, "arguments": prompts.json_text(call.arguments)}
    return {"id": _call_id(), "type": "function", "function": function}


def _call_id() -> str:
    return f"call_{uuid.uuid4().hex[:24]}"


def _frame_usage(request: ModelRequest) -> dict[str, Any]:
    """Return the usage in an ordinary native frame, which counts this frame alone."""
    return {**openai_usage({"output_tokens": 1}), **_neurons(request, {"output_tokens": 1})}


def _native_stream(request: ModelRequest, generated: prompts.Generated, usage: dict[str, Any]) -> list[bytes]:
    """Return the frames of a legacy model on ``/run``: tokens with padding or tool calls, then the totals."""
    once, frames = _frame_usage(request), []
    for number, piece in enumerate(split_tokens(generated.content or "")):
        padding = string.ascii_lowercase[: 3 + 5 * number % 23]
        frames.append(event({"response": native_token(piece), "usage": once, "p": padding}))
    if generated.tool_call:
        calls = [_native_call(request, generated.tool_call)]
        frames.append(event({"response": "", "tool_calls": calls, "usage": once}))
    return end_stream(request, [*frames, event({"response": "", "usage": usage})])


def _text_deltas(request: ModelRequest, generated: prompts.Generated) -> list[dict[str, Any]]:
    """Return the deltas of a message, reasoning first."""
    parts = [(_reasoning(request.model), generated.reasoning), ("content", generated.content or "")]
    return [
        {name: native_token(piece) if request.route == "run" else piece}
        for name, text in parts
        for piece in split_tokens(text)
    ]


def _call_deltas(request: ModelRequest, call: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the deltas of a tool call: its id and name, then its arguments in fragments.

    On ``/run`` one of nulls ends it. Only Cloudflare's clients of that address expect it, and OpenAI's own client,
    which is for ``/v1``, fails on it.
    """
    function = call["function"]
    opened = {**call, "index": 0, "function": {"name": function["name"], "arguments": ""}}
    fragments = [{"index": 0, "function": {"arguments": piece}} for piece in split_tokens(function["arguments"])]
    closed = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": None}}
    closing = [closed] if request.route == "run" else []
    return [{"tool_calls": [part]} for part in (opened, *fragments, *closing)]


def _chat_stream(request: ModelRequest, generated: prompts.Generated, usage: dict[str, Any]) -> list[bytes]:
    """Return the frames of Chat Completions.

    ``/run`` ends with the usage in a native frame; ``/v1`` sends it with ``include_usage``.
    """
    run, call = request.route == "run", generated.tool_call
    deltas = _call_deltas(request, _chat_call(call)) if call else _text_deltas(request, generated)
    shell = {**_base(request), "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event({**shell, "choices": [choice], **({"usage": _frame_usage(request)} if run and delta else {})})

    frames = [chunk({"role": "assistant", "content": ""})]
    frames += [chunk(delta) for delta in deltas]
    frames.append(chunk({}, generated.finish))
    if run:
        frames.append(event({"response": "", "usage": usage}))
    elif (request.body.get("stream_options") or {}).get("include_usage"):
        frames.append(event({**shell, "choices": [], "usage": usage}))
    return end_stream(request, frames)


def _reasoning(model: Model) -> str:
    return "reasoning" if model.id in _NAMED_REASONING else "reasoning_content"


def _result(request: ModelRequest, generated: prompts.Generated, usage: dict[str, Any], copies: int) -> dict[str, Any]:
    if not _speaks_chat(request):
        calls = {"tool_calls": [_native_call(request, generated.tool_call)]} if generated.tool_call else {}
        content = (generated.content or "") if generated.tool_call else generated.content
        return {"response": content if generated.value is None else generated.value, **calls, "usage": usage}
    if "input" in request.body:
        return _response(request, generated, usage)
    if request.model.id == _MIXED and request.route == "run" and "messages" not in request.body:
        choice = {"index": 0, "text": generated.content, "finish_reason": generated.finish, "logprobs": None}
        return {**_base(request), "object": "text_completion", "choices": [choice], "usage": usage}
    message: dict[str, Any] = {"role": "assistant", "content": generated.content, "refusal": None}
    if generated.reasoning:
        message[_reasoning(request.model)] = generated.reasoning
    if generated.tool_call:
        message["tool_calls"] = [_chat_call(generated.tool_call)]
    choices = []
    for place in range(copies):
        content = _sample(generated.content, place) if generated.value is None else generated.content
        logprobs = _logprobs(content, request.body)
        shown = {**message, "content": content}
        choices.append({"index": place, "message": shown, "finish_reason": generated.finish, "logprobs": logprobs})
    return {**_base(request), "object": "chat.completion", "choices": choices, "usage": usage}


def _sample(text: str | None, place: int) -> str | None:
    """Return one of several samples: the first is the answer itself, the others are numbered."""
    return f"{text} (sample {place + 1})" if text is not None and place else text


def _logprobs(text: str | None, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return made-up log probabilities of every token where ``logprobs`` asks for them, with marked alternatives."""
    if not body.get("logprobs"):
        return None
    most = int(body.get("top_logprobs") or 0)
    tokens = []
    for place, piece in enumerate(split_tokens(text or "")):
        share = 0.5 + (zlib.crc32(f"{place} {piece}".encode()) % 1000) / 2002
        others = [(f"{MARK} {number}", (1 - share) / (number + 1)) for number in range(1, most)]
        likely = [_chance(token, chance) for token, chance in [(piece, share), *others][:most]]
        tokens.append({**_chance(piece, share), "top_logprobs": likely})
    return {"content": tokens, "refusal": None}


def _chance(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(math.log(chance), 6), "bytes": list(token.encode())}


def _response(request: ModelRequest, generated: prompts.Generated, usage: dict[str, Any]) -> dict[str, Any]:
    cut = generated.finish == "length"
    status = "incomplete" if cut else "completed"
    items: list[dict[str, Any]] = []
    if generated.reasoning:
        notes = [{"type": "reasoning_text", "text": generated.reasoning}]
        items.append({"id": f"rs_{uuid.uuid4().hex}", "type": "reasoning", "summary": [], "content": notes})
    if generated.tool_call:
        function = _chat_call(generated.tool_call)
        call = {**function["function"], "call_id": function["id"]}
        items.append({"id": f"fc_{uuid.uuid4().hex}", "type": "function_call", "status": status, **call})
    if generated.content is not None:
        texts = [{"type": "output_text", "text": generated.content, "annotations": []}]
        message = {"id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "status": status}
        items.append({**message, "content": texts})
    order = ("prompt_tokens", "prompt_tokens_details", "completion_tokens", "completion_tokens_details")
    counts = {
        name.replace("prompt", "input").replace("completion", "output"): usage[name]
        for name in (*order, "total_tokens", "neurons")
        if name in usage
    }
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
        "usage": counts,
    }


_ROUTES = frozenset({"run", "chat"})

FAMILIES = {
    "legacy": Family(chat_schemas.legacy_input, _output, prompts.prompt_text, _answer, _check, _ROUTES),
    "openai": Family(_chat_input, _output, prompts.prompt_text, _answer, _check, _ROUTES),
    "responses+chat": Family(
        lambda model: any_of(chat_schemas.RESPONSES, _chat_input(model)),
        *(_output, prompts.prompt_text, _answer, _check, _ROUTES | {"responses"}),
    ),
}
