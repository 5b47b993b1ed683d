"""Shapes: a few words to write JSON Schemas in, and the two big ones, legacy text generation and Chat Completions.

One table is at once the check of an input, the text of its refusal and the answer of ``/models/schema``.
"""

from __future__ import annotations

from typing import Any

from .checks import Schema

ANY: Schema = {}
STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
OBJECT: Schema = {"type": "object"}


def obj(fields: dict[str, Any], *required: str) -> Schema:
    """Return an object with these properties; others may be there too."""
    return {"type": "object", "properties": fields, **({"required": list(required)} if required else {})}


def array(items: Schema, **limits: Any) -> Schema:
    """Return a list of items; limits that are ``None`` are left out."""
    return {"type": "array", "items": items, **{word: limit for word, limit in limits.items() if limit is not None}}


def one(*values: str) -> Schema:
    """Return a string out of a set."""
    return {"type": "string", "enum": list(values)}


def const(value: Any) -> Schema:
    """Return exactly this value."""
    return {"const": value}


def any_of(*parts: Schema) -> Schema:
    """Return a value that fits at least one part."""
    return {"anyOf": list(parts)}


def one_of(*parts: Schema) -> Schema:
    """Return a value that fits exactly one part."""
    return {"oneOf": list(parts)}


def maybe(part: Schema) -> Schema:
    """Return a part or null."""
    return any_of(part, NULL)


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
