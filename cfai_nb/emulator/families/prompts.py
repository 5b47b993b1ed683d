"""Prompts: the reading of a text generation request, its cached part, and the answer: its own sentences, after a mark.

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

from .. import standins
from ..error_codes import refuse
from ..json_schema import Schema, require
from ..model_catalogue import image_tokens
from ..standins import MARK, SHORTEN, schema_fill, subject, trim
from ..standins.image_reading import read_image
from ..standins.local_model import LocalModel
from . import ModelRequest, chat_schemas, decode_bytes

#: The default output limit of models before 2026; and a limit beyond any context, to which larger ones are cut.
_DEFAULT_LIMIT, _ENDLESS = 256, 1 << 40

#: The mark of a text that a local model chose out of the prompt.
_EXTRACTED = "[extracted]"

#: Models that put their reasoning into the content, between tags.
_TAGGED = frozenset({"@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", "@cf/qwen/qwq-32b"})


@dataclass(frozen=True)
class Prompt:
    """One text generation request, whatever its form.

    Attributes
    ----------
    messages : tuple of (role, text)
        The conversation; a bare prompt is one user message.
    pictures : int
        Parts that are not text and that the model ignores.
    limit : int or None
        Output tokens allowed.
    schema : mapping, True or None
        The JSON Schema that the answer has to fit, ``True`` for any JSON object.
    effort : int
        Length of the reasoning before the answer, in sentences; 0 for none.
    tokens : int
        Estimated input tokens.
    seen : str
        The answer of the pictures to the last message.
    """

    messages: tuple[tuple[str, str], ...]
    pictures: int
    limit: int | None
    schema: Mapping[str, Any] | bool | None
    effort: int
    tokens: int
    seen: str = ""

    @property
    def system(self) -> str:
        """The text of the system and developer messages."""
        return "\n".join(text for role, text in self.messages if role in ("system", "developer"))

    @property
    def user(self) -> str:
        """The last message to the model."""
        texts = [text for role, text in self.messages if role not in ("system", "developer", "assistant")]
        return texts[-1] if texts else ""

    @property
    def found(self) -> str:
        """The last result of a tool, or an empty text."""
        return next((text for role, text in reversed(self.messages) if role in ("tool", "function")), "")


def read_prompt(request: ModelRequest) -> Prompt:
    """Return the prompt of a request that passed its check."""
    messages, pictures = _messages(request.body)
    pictures += request.body.get("image") is not None
    tokens = sum(standins.count_tokens(text) for _, text in messages) or 1
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


# Not every model declares the fields that are read below, so their values may be of any type.


def _limit(request: ModelRequest) -> int | None:
    old = request.model.family == "legacy" and request.route == "run"
    for name in ("max_tokens",) if old else ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if isinstance(given := request.body.get(name), int | float):
            return int(min(max(0, given), _ENDLESS))
    return _DEFAULT_LIMIT if request.model.family == "legacy" else None


def _schema(request: ModelRequest) -> Mapping[str, Any] | bool | None:
    body = request.body
    if request.model.family == "legacy" and request.route == "run":
        body = {name: part for name, part in body.items() if chat_schemas.constrains_json(request.model, name)}
    if isinstance(body.get("guided_json"), Mapping):
        return dict(body["guided_json"]) or True
    text = body.get("text")
    wanted = body.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
    if not isinstance(wanted, Mapping) or wanted.get("type") not in ("json_object", "json_schema"):
        return None
    if wanted["type"] == "json_object":
        return True
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


def _schema_in_words(prompt: Prompt) -> tuple[Mapping[str, Any], str] | None:
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
_SHORTEST, _BLOCK = 256, 64


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
        cached = min(prompt.tokens, standins.count_tokens(text[:shared])) if shared else 0
        return 0 if cached < _SHORTEST else cached // _BLOCK * _BLOCK


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
            wanted = _schema_in_words(prompt) or wanted
        try:
            value = schema_fill.fill(*wanted)
        except schema_fill.SchemaNotMet:
            raise refuse(5006, text="JSON Mode couldn't be met") from None
        content = json_text(value)
    else:
        content = _stopped(_free_text(prompt, request.local), request.body.get("stop"))
    reasoning = _reasoning(prompt) if prompt.effort else ""
    if reasoning and call is None and request.model.id in _TAGGED:
        tagged = f"<think>\n{reasoning}\n</think>\n\n{content}"
        reasoning, content = "", content if prompt.schema is not None else tagged
    generated = _limited(request, prompt.limit, reasoning, content, value)
    prints = "tool-call-as-text" in request.quirks and request.model.family == "responses+chat"
    if call is None or generated.finish == "length" or generated.content is None or prints:
        return generated
    return replace(generated, content=None, finish="tool_calls", tool_call=call)


def _free_text(prompt: Prompt, local: LocalModel | None) -> str:
    """Return the text for a prompt: JSON if the prompt contains a schema, although nothing enforces it."""
    if wanted := _schema_in_words(prompt):
        with suppress(schema_fill.SchemaNotMet):
            return json_text(schema_fill.fill(*wanted))
    return _reply(prompt, local)


def _reply(prompt: Prompt, local: LocalModel | None) -> str:
    """Return the answer: the result of a tool, the most central sentence for a summary, else the first sentence.

    The sentence that a local model finds nearest to the whole text is marked as extracted: nothing was written.
    """
    if prompt.found and prompt.found == prompt.user:
        return f"{MARK} the tool says: {trim(prompt.found)}"
    text = subject(prompt.user) or prompt.user.strip()
    unseen = f" ({prompt.pictures} attachment{'s' * (prompt.pictures > 1)} not looked at)" if prompt.pictures else ""
    if prompt.seen:
        return f"{MARK}{unseen} {prompt.seen}"
    if not text:
        return f"{MARK}{unseen} (the message is empty)"
    if SHORTEN.search(f"{prompt.system} {prompt.user[:200]}"):
        return f"{_EXTRACTED if local else MARK}{unseen} {trim(_central(text, local))}"
    return f"{MARK}{unseen} {trim(standins.sentences(text)[0])}"


def _central(text: str, local: LocalModel | None) -> str:
    """Return the sentence nearest to the whole text, or the one that shares most words; the first of a short text."""
    parts = standins.sentences(text)
    if len(parts) < 3:
        return parts[0] if parts else ""
    if local:
        rows = local.embed([text, *parts[:40]])
        return parts[int((rows[1:] @ rows[0]).argmax())]
    bags = [standins.stems(part) for part in parts[:40]]
    shared = [sum(len(bag & other) for other in bags) / (len(bag) + 3) for bag in bags]
    return parts[max(range(len(bags)), key=lambda place: (shared[place], -place))]


def _reasoning(prompt: Prompt) -> str:
    """Return what a reasoning model writes before its answer: more sentences for more effort."""
    looks = (f"The longest is {max(prompt.user.split(), key=len, default='none')!r}.", "I count them again.", "Yes.")
    return " ".join(
        [f"{MARK} thinking: the last message has {len(prompt.user.split())} words.", *looks][: prompt.effort]
    )


def _limited(request: ModelRequest, limit: int | None, reasoning: str, content: str, value: Any) -> Generated:
    first = standins.count_tokens(reasoning) if reasoning else 0
    rest = standins.count_tokens(content)
    if request.fault == "empty":
        return Generated(reasoning, None, None, "stop", first, first)
    if request.fault == "length" and (limit is None or limit >= first + rest):
        limit = first + max(1, rest // 2)
    if limit is None or first + rest <= limit:
        return Generated(reasoning, content, value, "stop", first + rest, first)
    if limit <= first:
        return Generated(standins.truncate(reasoning, limit), None, None, "length", limit, limit)
    return Generated(reasoning, standins.truncate(content, limit - first), None, "length", limit, first)


def _stopped(text: str, stop: Any) -> str:
    for mark in [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else ():
        text = text.partition(mark)[0] if isinstance(mark, str) and mark else text
    return text
