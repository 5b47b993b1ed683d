"""Schemas of text generation: Chat Completions, Responses, and the input tables that older models have, each its own.

``families.text_generation`` declares its inputs with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..json_schema import (
    ANY,
    BOOLEAN,
    NULL,
    NUMBER,
    OBJECT,
    STRING,
    Schema,
    any_of,
    array,
    const,
    each,
    maybe,
    obj,
    one,
)
from ..model_catalogue import Model

_DETAIL = one("low", "high", "auto")
_LEVEL = one("low", "high", "medium")
_TYPE_TEXT = obj(type=const("text"))
_TEXTS = any_of(STRING, array(obj(type=const("text"), text=STRING)))
_CALL = obj(name=STRING, arguments=STRING)


def _kind(kind: str, part: Schema) -> Schema:
    """Return the OpenAI idiom ``{type: kind, <kind>: part}``."""
    return obj({kind: part}, kind, type=const(kind))


_MEDIA = {
    "text": STRING,
    "image_url": obj({"url": STRING, "detail": _DETAIL}),
    "input_audio": obj({"data": STRING, "format": one("wav", "mp3")}),
    "file": obj(each("file_data file_id filename", STRING)),
}
_PART = obj(_MEDIA, type=one(*_MEDIA))
_ASSISTANT_PART = obj(each("text refusal", STRING), type=one("text", "refusal"))
_CALLED = any_of(
    obj(id=STRING, type=const("function"), function=_CALL),
    obj(id=STRING, type=const("custom"), custom=obj(name=STRING, input=STRING)),
)
_ASSISTANT = {
    "content": any_of(NULL, STRING, array(_ASSISTANT_PART)),
    "refusal": maybe(STRING),
    "name": STRING,
    "audio": obj(id=STRING),
    "tool_calls": array(_CALLED),
    "function_call": _CALL,
}
_MESSAGE = any_of(
    *(obj({"name": STRING}, role=const(role), content=_TEXTS) for role in ("developer", "system")),
    obj({"name": STRING}, role=const("user"), content=any_of(STRING, array(_PART))),
    obj(_ASSISTANT, role=const("assistant")),
    obj(role=const("tool"), content=_TEXTS, tool_call_id=STRING),
    obj(role=const("function"), content=STRING, name=STRING),
)
_FUNCTION = obj({"description": STRING, "parameters": OBJECT, "strict": maybe(BOOLEAN)}, name=STRING)
_GRAMMAR = _kind("grammar", obj(definition=STRING, syntax=one("lark", "regex")))
_CUSTOM = obj({"description": STRING, "format": any_of(_TYPE_TEXT, _GRAMMAR)}, name=STRING)
_ALLOWED = obj(mode=one("auto", "required"), tools=array(OBJECT))
#: OpenAI's object around a JSON Schema.
_WRAPPED = obj({"description": STRING, "schema": OBJECT, "strict": maybe(BOOLEAN)}, name=STRING)
#: A JSON Schema by itself, as Cloudflare's own clients send it.
_BARE: Schema = {**OBJECT, "not": {"required": ["schema"]}}
_PLACE = obj(type=const("approximate"), approximate=obj(each("city country region timezone", STRING)))

_TIER = maybe(one("auto", "default", "flex", "scale", "priority"))

#: Chat Completions, as the models launched in 2026 declare it, without the two fields that differ by model.
CHAT: dict[str, Any] = {
    "messages": array(_MESSAGE),
    **each("model user", STRING),
    **each("max_tokens max_completion_tokens temperature top_p frequency_penalty presence_penalty seed", maybe(NUMBER)),
    "n": maybe({"type": "number", "minimum": 1, "maximum": 128}),
    "stop": any_of(NULL, STRING, array(STRING)),
    **each("stream logprobs store", maybe(BOOLEAN)),
    "stream_options": obj(each("include_usage include_obfuscation", BOOLEAN)),
    "top_logprobs": maybe({"type": "number", "minimum": 0, "maximum": 20}),
    **each("logit_bias metadata", maybe(OBJECT)),
    "service_tier": _TIER,
    "modalities": maybe(array(one("text", "audio"))),
    "audio": obj(voice=any_of(STRING, obj(id=STRING)), format=one("flac", "opus", "wav", "mp3", "aac", "pcm16")),
    "prediction": obj(type=const("content"), content=_TEXTS),
    "response_format": any_of(
        _TYPE_TEXT, obj(type=const("json_object")), _kind("json_schema", any_of(_WRAPPED, _BARE))
    ),
    "web_search_options": obj({"search_context_size": _LEVEL, "user_location": _PLACE}),
    "tools": array(any_of(_kind("function", _FUNCTION), _kind("custom", _CUSTOM))),
    "tool_choice": any_of(
        one("auto", "none", "required"),
        _kind("function", obj(name=STRING)),
        _kind("custom", obj(name=STRING)),
        _kind("allowed_tools", _ALLOWED),
    ),
    "parallel_tool_calls": BOOLEAN,
    "functions": array(_FUNCTION),
    "function_call": any_of(one("auto", "none"), obj(name=STRING)),
}


@dataclass(frozen=True)
class _Variant:
    """The input that one legacy model declares: the content of a message, and the names of its optional fields.

    The content is "string", "parts" (text or text parts) or "media" (with pictures; then nothing is required). "loose"
    stands for a batch that may contain requests without a prompt.
    """

    content: str
    fields: str = ""


_FULL = _Variant("parts", "lora response_format requests")
_GUIDED = _Variant("media", "guided_json")

#: Models with separate schemas for prompt and messages. Every other legacy model takes one flat object.
_VARIANTS = {
    "@cf/meta/llama-3.3-70b-instruct-fp8-fast": _Variant("parts", f"{_FULL.fields} loose"),
    "@cf/aisingapore/gemma-sea-lion-v4-27b-it": _FULL,
    "@cf/qwen/qwen3-30b-a3b-fp8": _FULL,
    "@cf/meta/llama-4-scout-17b-16e-instruct": _Variant("media", "response_format guided_json requests"),
    "@cf/mistralai/mistral-small-3.1-24b-instruct": _GUIDED,
    "@cf/qwen/qwq-32b": _GUIDED,
    "@cf/meta/llama-3.2-11b-vision-instruct": _Variant("media", "lora image"),
    "@cf/qwen/qwen2.5-coder-32b-instruct": _Variant("string", "lora response_format"),
}

#: Larger temperatures are refused (observed; the published schemas have lost their bounds).
SAMPLING: dict[str, Any] = {
    **each("raw stream", BOOLEAN),
    **each("max_tokens top_p top_k seed repetition_penalty frequency_penalty presence_penalty", NUMBER),
    "temperature": {"type": "number", "maximum": 5},
}
#: Cloudflare's own suites send parameters without a description, an ``anyOf`` without a type and objects that require
#: nothing to these models, so the published rules for one parameter are not enforced.
_PARAMETERS = obj({"required": array(STRING)}, type=STRING, properties=OBJECT)
_CODE = array(obj(name=STRING, code=STRING))


def legacy_input(model: Model) -> Schema:
    """Return the published input of a legacy model."""
    variant = _VARIANTS.get(model.id)
    return _split(variant) if variant else _FLAT


def constrains_json(model: Model, field: str) -> bool:
    """Return whether a field of ``/run`` makes a legacy model follow a JSON Schema; undeclared fields do nothing."""
    variant = _VARIANTS.get(model.id)
    return field in ("guided_json", "response_format") and field in (variant or _FULL).fields.split()


_LOOSE_FORMAT = obj({"json_schema": ANY}, type=STRING)
_LOOSE_FUNCTION = obj({"parameters": _PARAMETERS}, name=STRING, description=STRING)
#: ``/v1/chat/completions`` for a legacy model: Chat Completions with either form of JSON mode.
LEGACY_CHAT = obj(
    {**CHAT, "response_format": _LOOSE_FORMAT, "temperature": maybe(SAMPLING["temperature"])}, "messages", "model"
)
#: The oldest form: one object in which nothing is required.
_FLAT = obj(
    {
        "prompt": STRING,
        "messages": array(obj({"name": STRING}, role=STRING, content=STRING)),
        **SAMPLING,
        "response_format": _LOOSE_FORMAT,
        "functions": _CODE,
        "tools": any_of(OBJECT, array(obj(type=STRING, function=_LOOSE_FUNCTION)), array(_LOOSE_FUNCTION)),
    }
)
_STRICT_FUNCTION = obj(name=STRING, description=STRING, parameters=_PARAMETERS)
_TOOLS = array(any_of(_STRICT_FUNCTION, obj(type=STRING, function=_STRICT_FUNCTION)))
#: Fields that only some variants have.
_OPTIONAL = {
    "response_format": obj({"type": one("json_object", "json_schema"), "json_schema": ANY}),
    "guided_json": OBJECT,
    "image": any_of(array(NUMBER), STRING),
}
_MEDIA_PART = obj({"type": STRING, "text": STRING, "image_url": obj({"url": STRING})})
#: Content of a variant -> its messages.
_MESSAGES = {
    "string": obj(role=STRING, content=STRING),
    "parts": obj(role=STRING, content=any_of(STRING, array(obj(each("type text", STRING))))),
    "media": obj({**each("role tool_call_id", STRING), "content": any_of(STRING, array(_MEDIA_PART), _MEDIA_PART)}),
}


def _split(variant: _Variant) -> Schema:
    """Return the input of a variant: a prompt or messages, and a batch of either where it accepts one."""
    has = variant.fields.split()
    shared = SAMPLING | {name: part for name, part in _OPTIONAL.items() if name in has}
    prompt = obj({**shared, **({"lora": STRING} if "lora" in has else {})}, prompt=STRING)
    messages = obj({"functions": _CODE, "tools": _TOOLS, **shared}, messages=array(_MESSAGES[variant.content]))
    if "requests" not in has:
        return any_of(prompt, messages)
    queued = {name: part for name, part in shared.items() if name not in ("raw", "top_k")}
    loose = obj({**each("external_reference prompt", STRING), **queued})
    return any_of(prompt, messages, obj(requests=array(loose if "loose" in has else any_of(prompt, messages))))


def _text(kind: str) -> Schema:
    return obj(text=STRING, type=const(kind))


_STATUS = one("in_progress", "completed", "incomplete")
_INPUT_IMAGE = {"type": const("input_image"), "image_url": maybe(STRING)}
_OUTPUT_PART = any_of(_text("output_text"), obj(refusal=STRING, type=const("refusal")))
_CONTENT = array(any_of(_text("input_text"), obj(_INPUT_IMAGE, "type", detail=_DETAIL)))
_FOUND = array(any_of(_text("input_text"), obj({**_INPUT_IMAGE, "detail": maybe(_DETAIL)}, "type")))
#: The items of an input list of Responses.
_ITEMS = (
    obj(
        {"type": one("message")}, content=any_of(STRING, _CONTENT), role=one("user", "assistant", "system", "developer")
    ),
    obj(id=STRING, content=array(_OUTPUT_PART), role=const("assistant"), status=_STATUS, type=const("message")),
    obj({"id": STRING, "status": _STATUS}, type=const("function_call"), **each("arguments call_id name", STRING)),
    obj(
        {"id": maybe(STRING), "status": maybe(_STATUS)},
        call_id=STRING,
        output=any_of(STRING, _FOUND),
        type=const("function_call_output"),
    ),
    obj(
        {"content": array(_text("reasoning_text")), "encrypted_content": maybe(STRING), "status": _STATUS},
        id=STRING,
        summary=array(_text("summary_text")),
        type=const("reasoning"),
    ),
)
_JSON_FORMAT = {"description": STRING, "strict": maybe(BOOLEAN)}
_RESPONSES_TOOL = {"parameters": maybe(OBJECT), "strict": maybe(BOOLEAN), "type": const("function")}
_LENGTH = maybe(one("auto", "concise", "detailed"))
#: Responses, as gpt-oss takes it.
RESPONSES = obj(
    {
        "input": any_of(STRING, array(any_of(*_ITEMS))),
        **each("background parallel_tool_calls stream", maybe(BOOLEAN)),
        **each("instructions previous_response_id", maybe(STRING)),
        **each("max_output_tokens temperature top_p", maybe(NUMBER)),
        **each("prompt_cache_key safety_identifier", STRING),
        "conversation": any_of(NULL, STRING, obj(id=STRING)),
        "include": maybe(array(one("message.input_image.image_url", "message.output_text.logprobs"))),
        "service_tier": _TIER,
        "stream_options": any_of(NULL, obj({"include_obfuscation": BOOLEAN})),
        "text": obj(
            {
                "format": any_of(
                    _TYPE_TEXT,
                    obj(_JSON_FORMAT, name=STRING, schema=OBJECT, type=const("json_schema")),
                    obj(type=const("json_object")),
                ),
                "verbosity": maybe(_LEVEL),
            }
        ),
        "tool_choice": any_of(one("none"), obj(name=STRING, type=const("function"))),
        "tools": array(obj({**_RESPONSES_TOOL, "description": maybe(STRING)}, *_RESPONSES_TOOL, name=STRING)),
        "truncation": maybe(one("auto", "disabled")),
        "reasoning": maybe(obj({**each("generate_summary summary", _LENGTH), "effort": maybe(_LEVEL)})),
    }
)
