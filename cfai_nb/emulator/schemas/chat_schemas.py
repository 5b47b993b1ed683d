"""Schemas of text generation: Chat Completions, Responses, and the input tables that older models have, each its own.

``families.text_generation`` declares its inputs with them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..model_catalogue import Model
from .json_schema import ANY, BOOLEAN, NULL, NUMBER, OBJECT, STRING, Schema, any_of, array, const, maybe, obj, one

_TEXTS = any_of(STRING, array(obj({"type": const("text"), "text": STRING}, "type", "text")))
_CALL = obj({"name": STRING, "arguments": STRING}, "name", "arguments")
_NAMED = obj({"name": STRING}, "name")


def _kind(kind: str, name: str, part: Schema, *more: str) -> Schema:
    """Return the OpenAI idiom ``{type: kind, <name>: part}``."""
    return obj({"type": const(kind), name: part}, "type", name, *more)


def _role(role: str, fields: dict[str, Any], *required: str) -> Schema:
    return obj({"role": const(role), **fields}, "role", *required)


_PART = obj(
    {
        "type": one("text", "image_url", "input_audio", "file"),
        "text": STRING,
        "image_url": obj({"url": STRING, "detail": one("low", "high", "auto")}),
        "input_audio": obj({"data": STRING, "format": one("wav", "mp3")}),
        "file": obj({"file_data": STRING, "file_id": STRING, "filename": STRING}),
    },
    "type",
)
_SAID = obj({"type": one("text", "refusal"), "text": STRING, "refusal": STRING}, "type")
_CALLED = any_of(
    obj({"id": STRING, "type": const("function"), "function": _CALL}, "id", "type", "function"),
    obj(
        {"id": STRING, "type": const("custom"), "custom": obj({"name": STRING, "input": STRING}, "name", "input")},
        "id",
        "type",
        "custom",
    ),
)
_MESSAGE = any_of(
    _role("developer", {"content": _TEXTS, "name": STRING}, "content"),
    _role("system", {"content": _TEXTS, "name": STRING}, "content"),
    _role("user", {"content": any_of(STRING, array(_PART)), "name": STRING}, "content"),
    _role(
        "assistant",
        {
            "content": any_of(NULL, STRING, array(_SAID)),
            "refusal": maybe(STRING),
            "name": STRING,
            "audio": obj({"id": STRING}, "id"),
            "tool_calls": array(_CALLED),
            "function_call": _CALL,
        },
    ),
    _role("tool", {"content": _TEXTS, "tool_call_id": STRING}, "content", "tool_call_id"),
    _role("function", {"content": STRING, "name": STRING}, "content", "name"),
)
_FUNCTION = obj({"name": STRING, "description": STRING, "parameters": OBJECT, "strict": maybe(BOOLEAN)}, "name")
_GRAMMAR = obj({"definition": STRING, "syntax": one("lark", "regex")}, "definition", "syntax")
_CUSTOM = obj(
    {
        "name": STRING,
        "description": STRING,
        "format": any_of(obj({"type": const("text")}, "type"), _kind("grammar", "grammar", _GRAMMAR)),
    },
    "name",
)
_ALLOWED = obj({"mode": one("auto", "required"), "tools": array(OBJECT)}, "mode", "tools")
#: What OpenAI declares around a JSON Schema.
_WRAPPED = obj({"name": STRING, "description": STRING, "schema": OBJECT, "strict": maybe(BOOLEAN)}, "name")
#: A JSON Schema by itself, as Cloudflare's own clients send it.
_BARE: Schema = {**OBJECT, "not": {"required": ["schema"]}}
_FORMAT = any_of(
    obj({"type": const("text")}, "type"),
    obj({"type": const("json_object")}, "type"),
    _kind("json_schema", "json_schema", any_of(_WRAPPED, _BARE)),
)
_PLACE = obj(dict.fromkeys(("city", "country", "region", "timezone"), STRING))

TIER = maybe(one("auto", "default", "flex", "scale", "priority"))

#: Chat Completions, as the models launched in 2026 declare it, without the two fields that differ by model.
CHAT: dict[str, Any] = {
    "messages": array(_MESSAGE),
    "model": STRING,
    "user": STRING,
    "max_tokens": maybe(NUMBER),
    "max_completion_tokens": maybe(NUMBER),
    "temperature": maybe(NUMBER),
    "top_p": maybe(NUMBER),
    "frequency_penalty": maybe(NUMBER),
    "presence_penalty": maybe(NUMBER),
    "seed": maybe(NUMBER),
    "n": maybe({"type": "number", "minimum": 1, "maximum": 128}),
    "stop": any_of(NULL, STRING, array(STRING)),
    "stream": maybe(BOOLEAN),
    "stream_options": obj({"include_usage": BOOLEAN, "include_obfuscation": BOOLEAN}),
    "logprobs": maybe(BOOLEAN),
    "top_logprobs": maybe({"type": "number", "minimum": 0, "maximum": 20}),
    "logit_bias": maybe(OBJECT),
    "metadata": maybe(OBJECT),
    "store": maybe(BOOLEAN),
    "service_tier": TIER,
    "modalities": maybe(array(one("text", "audio"))),
    "audio": obj(
        {
            "voice": any_of(STRING, obj({"id": STRING}, "id")),
            "format": one("flac", "opus", "wav", "mp3", "aac", "pcm16"),
        },
        "voice",
        "format",
    ),
    "prediction": obj({"type": const("content"), "content": _TEXTS}, "type", "content"),
    "response_format": _FORMAT,
    "web_search_options": obj(
        {
            "search_context_size": one("low", "high", "medium"),
            "user_location": obj({"type": const("approximate"), "approximate": _PLACE}, "type", "approximate"),
        }
    ),
    "tools": array(any_of(_kind("function", "function", _FUNCTION), _kind("custom", "custom", _CUSTOM))),
    "tool_choice": any_of(
        one("auto", "none", "required"),
        _kind("function", "function", _NAMED),
        _kind("custom", "custom", _NAMED),
        _kind("allowed_tools", "allowed_tools", _ALLOWED),
    ),
    "parallel_tool_calls": BOOLEAN,
    "functions": array(_FUNCTION),
    "function_call": any_of(one("auto", "none"), _NAMED),
}


@dataclass(frozen=True)
class Variant:
    """The input that one legacy model declares.

    Attributes
    ----------
    content : {"string", "parts", "media"}
        The content of a message: text; text or text parts; text or parts with pictures (and then nothing is required).
    lora, response_format, guided, image, requests : bool
        Its optional fields.
    loose : bool
        Whether a batch may contain requests without a prompt.
    """

    content: str
    lora: bool = False
    response_format: bool = False
    guided: bool = False
    image: bool = False
    requests: bool = False
    loose: bool = False


_FULL = Variant("parts", lora=True, response_format=True, requests=True)
_GUIDED = Variant("media", guided=True)

#: Models with separate schemas for prompt and messages. Every other legacy model takes one flat object.
VARIANTS = {
    "@cf/meta/llama-3.3-70b-instruct-fp8-fast": replace(_FULL, loose=True),
    "@cf/aisingapore/gemma-sea-lion-v4-27b-it": _FULL,
    "@cf/qwen/qwen3-30b-a3b-fp8": _FULL,
    "@cf/meta/llama-4-scout-17b-16e-instruct": Variant("media", response_format=True, guided=True, requests=True),
    "@cf/mistralai/mistral-small-3.1-24b-instruct": _GUIDED,
    "@cf/qwen/qwq-32b": _GUIDED,
    "@cf/meta/llama-3.2-11b-vision-instruct": Variant("media", lora=True, image=True),
    "@cf/qwen/qwen2.5-coder-32b-instruct": Variant("string", lora=True, response_format=True),
}

#: Above this the service refuses (observed; the published schemas have lost their bounds).
SAMPLING: dict[str, Any] = {
    "raw": BOOLEAN,
    "stream": BOOLEAN,
    "max_tokens": NUMBER,
    "temperature": {"type": "number", "maximum": 5},
    "top_p": NUMBER,
    "top_k": NUMBER,
    "seed": NUMBER,
    "repetition_penalty": NUMBER,
    "frequency_penalty": NUMBER,
    "presence_penalty": NUMBER,
}
#: Cloudflare's own suites send parameters without a description, an ``anyOf`` without a type and objects that require
#: nothing to these models, so the published rules for one parameter are not enforced.
_PARAMETERS = obj({"type": STRING, "properties": OBJECT, "required": array(STRING)}, "type", "properties")
_CODE = array(obj({"name": STRING, "code": STRING}, "name", "code"))


def legacy_input(model: Model) -> Schema:
    """Return the published input of a legacy model."""
    variant = VARIANTS.get(model.id)
    return _split(variant) if variant else _flat()


def constrains_json(model: Model, field: str) -> bool:
    """Return whether a field of ``/run`` makes a legacy model follow a JSON Schema; undeclared fields do nothing."""
    variant = VARIANTS.get(model.id)
    if variant is None:
        return field == "response_format"
    return {"guided_json": variant.guided, "response_format": variant.response_format}.get(field, False)


def legacy_chat_input(model: Model) -> Schema:
    """Return what ``/v1/chat/completions`` takes for a legacy model: Chat Completions, either JSON spelling."""
    loose = obj({"type": STRING, "json_schema": ANY}, "type")
    fields = {**CHAT, "response_format": loose, "temperature": maybe(SAMPLING["temperature"])}
    return obj(fields, "messages", "model")


def _flat() -> Schema:
    """Return the oldest form: one object in which nothing is required."""
    function = obj({"name": STRING, "description": STRING, "parameters": _PARAMETERS}, "name", "description")
    fields: dict[str, Any] = {
        "prompt": STRING,
        "messages": array(obj({"role": STRING, "content": STRING, "name": STRING}, "role", "content")),
        **SAMPLING,
        "response_format": obj({"type": STRING, "json_schema": ANY}, "type"),
        "functions": _CODE,
        "tools": any_of(
            OBJECT, array(obj({"type": STRING, "function": function}, "type", "function")), array(function)
        ),
    }
    return obj(fields)


def _message(content: str) -> Schema:
    if content == "string":
        return obj({"role": STRING, "content": STRING}, "role", "content")
    if content == "parts":
        parts = array(obj({"type": STRING, "text": STRING}))
        return obj({"role": STRING, "content": any_of(STRING, parts)}, "role", "content")
    part = obj({"type": STRING, "text": STRING, "image_url": obj({"url": STRING})})
    return obj({"role": STRING, "tool_call_id": STRING, "content": any_of(STRING, array(part), part)})


def _tools() -> Schema:
    fields = {"name": STRING, "description": STRING, "parameters": _PARAMETERS}
    function = obj(fields, "name", "description", "parameters")
    return array(any_of(function, obj({"type": STRING, "function": function}, "type", "function")))


def _split(variant: Variant) -> Schema:
    shared = dict(SAMPLING)
    if variant.response_format:
        shared["response_format"] = obj({"type": one("json_object", "json_schema"), "json_schema": ANY})
    if variant.guided:
        shared["guided_json"] = OBJECT
    if variant.image:
        shared["image"] = any_of(array(NUMBER), STRING)
    prompt = obj({"prompt": STRING, **shared, **({"lora": STRING} if variant.lora else {})}, "prompt")
    chat = {"messages": array(_message(variant.content)), "functions": _CODE, "tools": _tools()}
    messages = obj({**chat, **shared}, "messages")
    if not variant.requests:
        return any_of(prompt, messages)
    queued = {name: part for name, part in shared.items() if name not in ("raw", "top_k")}
    asked = any_of(prompt, messages)
    item = obj({"external_reference": STRING, "prompt": STRING, **queued}) if variant.loose else asked
    return any_of(prompt, messages, obj({"requests": array(item)}, "requests"))


def _content() -> Schema:
    text = obj({"text": STRING, "type": const("input_text")}, "text", "type")
    picture = obj(
        {"detail": one("low", "high", "auto"), "type": const("input_image"), "image_url": maybe(STRING)},
        "detail",
        "type",
    )
    return array(any_of(text, picture))


_STATUS = one("in_progress", "completed", "incomplete")


def _items() -> list[Schema]:
    """Return the items that a Responses input list may contain."""
    output = obj({"text": STRING, "type": const("output_text")}, "text", "type")
    refused = obj({"refusal": STRING, "type": const("refusal")}, "refusal", "type")
    note = {
        kind: obj({"text": STRING, "type": const(kind)}, "text", "type") for kind in ("summary_text", "reasoning_text")
    }
    picture = obj(
        {"type": const("input_image"), "detail": maybe(one("low", "high", "auto")), "image_url": maybe(STRING)}, "type"
    )
    text = obj({"text": STRING, "type": const("input_text")}, "text", "type")
    return [
        obj(
            {
                "content": any_of(STRING, _content()),
                "role": one("user", "assistant", "system", "developer"),
                "type": one("message"),
            },
            "content",
            "role",
        ),
        obj(
            {"id": STRING, "content": array(any_of(output, refused)), "role": const("assistant"), "status": _STATUS}
            | {"type": const("message")},
            *("id", "content", "role", "status", "type"),
        ),
        obj(
            {"arguments": STRING, "call_id": STRING, "name": STRING, "type": const("function_call")}
            | {"id": STRING, "status": _STATUS},
            *("arguments", "call_id", "name", "type"),
        ),
        obj(
            {"call_id": STRING, "output": any_of(STRING, array(any_of(text, picture)))}
            | {"type": const("function_call_output"), "id": maybe(STRING), "status": maybe(_STATUS)},
            *("call_id", "output", "type"),
        ),
        obj(
            {"id": STRING, "summary": array(note["summary_text"]), "type": const("reasoning")}
            | {"content": array(note["reasoning_text"]), "encrypted_content": maybe(STRING), "status": _STATUS},
            *("id", "summary", "type"),
        ),
    ]


def responses_input() -> Schema:
    """Return the Responses input, as gpt-oss takes it."""
    format_ = any_of(
        obj({"type": const("text")}, "type"),
        obj(
            {"name": STRING, "schema": OBJECT, "type": const("json_schema"), "description": STRING}
            | {"strict": maybe(BOOLEAN)},
            *("name", "schema", "type"),
        ),
        obj({"type": const("json_object")}, "type"),
    )
    length = maybe(one("auto", "concise", "detailed"))
    tool = obj(
        {"name": STRING, "parameters": maybe(OBJECT), "strict": maybe(BOOLEAN), "type": const("function")}
        | {"description": maybe(STRING)},
        *("name", "parameters", "strict", "type"),
    )
    flags = {name: maybe(BOOLEAN) for name in ("background", "parallel_tool_calls", "stream")}
    lines = {name: maybe(STRING) for name in ("instructions", "previous_response_id")}
    counts = {name: maybe(NUMBER) for name in ("max_output_tokens", "temperature", "top_p")}
    return obj(
        {
            "input": any_of(STRING, array(any_of(*_items()))),
            **flags,
            **lines,
            **counts,
            "conversation": any_of(NULL, STRING, obj({"id": STRING}, "id")),
            "include": maybe(array(one("message.input_image.image_url", "message.output_text.logprobs"))),
            "prompt_cache_key": STRING,
            "safety_identifier": STRING,
            "service_tier": TIER,
            "stream_options": any_of(NULL, obj({"include_obfuscation": BOOLEAN})),
            "text": obj({"format": format_, "verbosity": maybe(one("low", "high", "medium"))}),
            "tool_choice": any_of(one("none"), obj({"name": STRING, "type": const("function")}, "name", "type")),
            "tools": array(tool),
            "truncation": maybe(one("auto", "disabled")),
            "reasoning": maybe(
                obj({"generate_summary": length, "summary": length, "effort": maybe(one("low", "high", "medium"))})
            ),
        }
    )
