"""Prompts: the reading of a text generation request, its cached part, and the generated answer.

The text families call :func:`read_prompt`, :func:`with_pictures` and :func:`generate`. A model with vision gets the
pictures of the messages in words; any other model ignores them. ``app`` asks :class:`PromptCache` before each answer:
the beginning that a prompt shares with an earlier one is charged at the cached rate. The service sends calls with the
same ``x-session-affinity`` to the same instance; without that header nothing is cached.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from ..error_codes import refuse
from ..json_schema import Schema, require
from ..model_catalogue import image_tokens
from ..standins import lexical, schema_fill, text_standin
from ..standins.image_reading import read_image
from ..standins.local_model import LocalModel
from ..standins.text_standin import Prompt
from . import ModelRequest, chat_schemas, decode_bytes

#: The default output limit of models before 2026; and a limit beyond any context, to which larger ones are cut.
DEFAULT_LIMIT, _ENDLESS = 256, 1 << 40

#: Models that put their reasoning into the content, between tags.
TAGGED = frozenset({"@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", "@cf/qwen/qwq-32b"})


def read_prompt(request: ModelRequest) -> Prompt:
    """Return the prompt of a request that passed its check."""
    messages, pictures = _messages(request.body)
    pictures += request.body.get("image") is not None
    tokens = sum(lexical.count_tokens(text) for _, text in messages) or 1
    return Prompt(messages, pictures, _limit(request), _schema(request), _effort(request), tokens)


def prompt_text(request: ModelRequest) -> list[str]:
    """Return the whole conversation as the one input text, with a short name of its pictures."""
    messages, pictures = _messages(request.body)
    text = "\n".join(text for _, text in messages)
    has_pictures = pictures or request.body.get("image") is not None
    return [f"{text}\n[{request.fingerprint('messages', 'image')}]" if has_pictures else text]


def _messages(body: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], int]:
    if body.get("messages") is not None:
        conversation = [(message.get("role", "user"), message.get("content")) for message in body["messages"]]
    elif "input" in body:
        conversation = [("system", body["instructions"])] if body.get("instructions") else []
        given = body["input"]
        if isinstance(given, str):
            conversation.append(("user", given))
        else:
            conversation += [(item.get("role", "tool"), item.get("content", item.get("output"))) for item in given]
    else:
        conversation = [("user", body["prompt"])]
    flat = [(role, *_flat(content)) for role, content in conversation]
    return tuple((role, text) for role, text, _ in flat), sum(others for *_, others in flat)


def _flat(content: Any) -> tuple[str, int]:
    """Return the text of a message's content, and how many parts are not text."""
    if content is None or isinstance(content, str):
        return content or "", 0
    parts = [content] if isinstance(content, Mapping) else content
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts), len(parts) - len(texts)


def _limit(request: ModelRequest) -> int | None:
    old = request.model.family == "legacy" and request.route == "run"
    for name in ("max_tokens",) if old else ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if request.body.get(name) is not None:
            return int(min(max(0, request.body[name]), _ENDLESS))
    return DEFAULT_LIMIT if request.model.family == "legacy" else None


def _schema(request: ModelRequest) -> Mapping[str, Any] | bool | None:
    body = request.body
    if request.model.family == "legacy" and request.route == "run":
        body = {name: part for name, part in body.items() if chat_schemas.constrains_json(request.model, name)}
    if isinstance(body.get("guided_json"), Mapping):
        return dict(body["guided_json"]) or True
    wanted = body.get("response_format") or (body.get("text") or {}).get("format") or {}
    kind = wanted.get("type")
    if kind == "json_object":
        return True
    if kind != "json_schema":
        return None
    given = wanted.get("json_schema", wanted.get("schema"))
    if not isinstance(given, Mapping):
        return True
    bare = request.model.family == "legacy" and request.route == "run"  # these do not use OpenAI's wrapper
    if bare or "input" in body or not {"schema", "name"} & given.keys():
        return dict(given)
    schema = given.get("schema", True)
    return schema if isinstance(schema, Mapping) else True


#: Every level of effort, with the number of sentences of reasoning.
EFFORTS = {"none": 0, "minimal": 1, "low": 1, "medium": 2, "high": 3, "xhigh": 4, "max": 4}


def _effort(request: ModelRequest) -> int:
    facts, body = request.model.row.get("reasoning"), request.body
    if not request.model.has("reasoning") or not facts:
        return 0
    always = facts.get("off") is None
    # not every model declares these fields, so their values are not checked yet
    switches, reasoning = (
        part if isinstance(part := body.get(name), Mapping) else {} for name in ("chat_template_kwargs", "reasoning")
    )
    if not always and switches.get("enable_thinking") is False:
        return 0
    effort = body.get("reasoning_effort", reasoning.get("effort", "low"))
    return max(EFFORTS.get(effort, 1) if isinstance(effort, str) else 0, always)


def check_prompt(request: ModelRequest, schema: Schema) -> None:
    """Refuse what the schema refuses, then what leaves no room for an answer."""
    require(request.body, schema)
    check_answerable(request)


def check_answerable(request: ModelRequest) -> None:
    """Refuse what cannot be answered: no prompt, no room for the answer, or JSON mode in a stream."""
    body = request.body
    if not any(body.get(name) is not None for name in ("messages", "prompt", "input")):
        missing = ["prompt", "messages"] if request.model.family == "legacy" else ["messages"]
        reasons = ", ".join(f"required properties at '/' are '{name}'" for name in missing)
        raise refuse(5006, why=f"oneOf at '/' not met, 0 matches: {reasons}")
    prompt = read_prompt(request)
    if body.get("stream") and prompt.schema is not None:
        raise refuse(5006, why="JSON Mode does not support streaming")
    wanted = prompt.tokens + (prompt.limit or 0)
    if request.model.context and wanted > request.model.context:
        raise refuse(5021, wanted=wanted, context=request.model.context)


def schema_in_words(prompt: Prompt) -> tuple[Mapping[str, Any], str] | None:
    """Return the JSON Schema in the text of a message, and the last message without it; ``None`` without a schema.

    Clients write the schema into the prompt for models without JSON mode.
    """
    for _, text in prompt.messages:
        start = text.find("{", text.casefold().find("schema"))
        try:
            found, end = json.JSONDecoder().raw_decode(text, start) if "schema" in text.casefold() else (None, 0)
        except ValueError:
            continue
        if isinstance(found, Mapping) and ("properties" in found or "type" in found):
            rest = f"{text[:start].rpartition(chr(10) * 2)[0]}{text[end:]}"
            return found, rest if text == prompt.user else prompt.user
    return None


def json_text(value: Any) -> str:
    """Return JSON text as a model would write it."""
    return json.dumps(value, ensure_ascii=False)


def with_pictures(request: ModelRequest, prompt: Prompt) -> Prompt:
    """Return a prompt with its pictures in words: below the last message, and as the answer to it."""
    if not request.model.has("vision"):
        return prompt
    sights = [read_image(decode_bytes(given)) for given in _pictures(request.body)]
    if not sights:
        return prompt
    seen = "; ".join(one.answer(prompt.user) for one in sights)
    shown = "\n".join(f"The picture shows {one.caption()}." for one in sights)
    messages = list(prompt.messages)
    last = max((place for place, (role, _) in enumerate(messages) if role == "user"), default=len(messages) - 1)
    messages[last] = messages[last][0], f"{messages[last][1]}\n{shown}"
    spent = prompt.tokens + sum(image_tokens(one.width, one.height) for one in sights)
    unseen = prompt.pictures - len(sights)
    return replace(prompt, messages=tuple(messages), pictures=unseen, tokens=spent, seen=seen)


def _pictures(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the pictures of a request, as they were sent, in parts of messages and in the field ``image``."""
    for message in body.get("messages") or ():
        content = message.get("content")
        for part in [content] if isinstance(content, Mapping) else content if isinstance(content, list) else ():
            if isinstance(part, Mapping) and (url := (part.get("image_url") or {}).get("url")):
                yield url
    if body.get("image"):
        yield body["image"]


#: Fewer tokens are never cached ("very short prompts"; the figure is the emulator's); hits are multiples of the block.
SHORTEST, BLOCK = 256, 64


class PromptCache:
    """The latest prompts, by account, model and session."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], deque[str]] = {}
        self._lock = Lock()

    def hit(self, account: str, session: str, request: ModelRequest) -> int:
        """Return how many input tokens of a prompt are cached, and remember the prompt."""
        if not session or not (request.model.row.get("prices") or {}).get("cached_input_tokens"):
            return 0
        prompt = read_prompt(request)
        text = "".join(f"{role}\n{content}\n" for role, content in prompt.messages)
        with self._lock:
            seen = self._seen.setdefault((account, request.model.id, session), deque(maxlen=64))
            shared = max((_shared(text, other) for other in seen), default=0)
            seen.append(text)
        cached = min(prompt.tokens, lexical.count_tokens(text[:shared])) if shared else 0
        return 0 if cached < SHORTEST else cached // BLOCK * BLOCK


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts share from their start."""
    return bisect_left(range(min(len(one), len(other)) + 1), True, key=lambda size: one[:size] != other[:size]) - 1


@dataclass(frozen=True)
class Generated:
    """One generated answer: reasoning, content, the JSON value of the content, and the finish reason."""

    reasoning: str
    content: str | None
    value: Any
    finish: str
    tokens: int
    reasoning_tokens: int
    tool_call: schema_fill.ToolCall | None = None


def generate(request: ModelRequest, prompt: Prompt) -> Generated:
    """Return reasoning and content for a prompt, cut at the output limit."""
    value: Any = None
    call = schema_fill.choose_call(request.body, prompt.user)
    if call is not None:
        content = json_text({"name": call.name, "arguments": call.arguments})
    elif prompt.schema is not None:
        wanted = (prompt.schema, prompt.found or prompt.user)
        if prompt.schema is True:  # any object is allowed; a schema in words narrows it down
            wanted = schema_in_words(prompt) or wanted
        try:
            value = schema_fill.fill(*wanted)
        except schema_fill.SchemaNotMet:
            raise refuse(5006, text="JSON Mode couldn't be met") from None
        content = json_text(value)
    else:
        content = _stopped(_free_text(prompt, request.local), request.body.get("stop"))
    reasoning = text_standin.reasoning(prompt) if prompt.effort else ""
    if reasoning and call is None and request.model.id in TAGGED:
        tagged = f"<think>\n{reasoning}\n</think>\n\n{content}"
        reasoning, content = "", content if prompt.schema is not None else tagged
    generated = _limited(request, prompt.limit, reasoning, content, value)
    prints = "tool-call-as-text" in request.quirks and request.model.family == "responses+chat"
    if call is None or generated.finish == "length" or generated.content is None or prints:
        return generated
    return replace(generated, content=None, finish="tool_calls", tool_call=call)


def _free_text(prompt: Prompt, local: LocalModel | None) -> str:
    """Return the text for a prompt: JSON if the prompt contains a schema, although nothing enforces it."""
    if wanted := schema_in_words(prompt):
        with suppress(schema_fill.SchemaNotMet):
            return json_text(schema_fill.fill(*wanted))
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
