"""Legacy: the input tables of text generation before 2026, different from model to model, and the Responses table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .catalogue import Model
from .checks import Schema
from .shapes import (
    ANY,
    BOOLEAN,
    CHAT,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    TIER,
    any_of,
    array,
    const,
    maybe,
    obj,
    one,
)


@dataclass(frozen=True)
class Variant:
    """What one legacy model declares.

    Attributes
    ----------
    content : {"string", "parts", "media"}
        What a message may hold: text, text or text parts, text or parts with pictures (and then nothing is required).
    lora, response_format, guided, image, requests : bool
        Which optional fields it has.
    loose : bool
        Whether a batch may hold requests that ask nothing.
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

#: Models that declare prompt and messages apart. Every other legacy model takes one flat object.
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


def inputs(model: Model) -> Schema:
    """Return the published input of a legacy model."""
    variant = VARIANTS.get(model.id)
    return _split(variant) if variant else _flat()


def constrains(model: Model, field: str) -> bool:
    """Tell whether a field of ``/run`` holds a legacy model to a JSON Schema; one it does not declare does nothing."""
    variant = VARIANTS.get(model.id)
    if variant is None:
        return field == "response_format"
    return {"guided_json": variant.guided, "response_format": variant.response_format}.get(field, False)


def chat(model: Model) -> Schema:
    """Return what ``/v1/chat/completions`` takes for a legacy model: Chat Completions, either JSON spelling."""
    loose = obj({"type": STRING, "json_schema": ANY}, "type")
    fields = {**CHAT, "response_format": loose, "temperature": maybe(SAMPLING["temperature"])}
    return obj(fields, "messages", "model")


def _flat() -> Schema:
    """Return the oldest form: everything in one object, and nothing required."""
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
    talk = {"messages": array(_message(variant.content)), "functions": _CODE, "tools": _tools()}
    messages = obj({**talk, **shared}, "messages")
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
    """Return what a Responses input list may hold."""
    said = obj({"text": STRING, "type": const("output_text")}, "text", "type")
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
            {"id": STRING, "content": array(any_of(said, refused)), "role": const("assistant"), "status": _STATUS}
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


def responses() -> Schema:
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
