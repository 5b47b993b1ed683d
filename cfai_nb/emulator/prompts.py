"""Prompts: what a text generation request asks for, read out of any of its four input forms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import legacy, media, words
from .errors import refuse
from .work import Ask

#: The output limit where none is sent, for the models before 2026.
DEFAULT_LIMIT = 256

#: What a limit beyond any context is taken for.
_ENDLESS = 1 << 40

#: Models whose thinking stands in the content, between tags.
TAGGED = frozenset({"@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", "@cf/qwen/qwq-32b"})


@dataclass(frozen=True)
class Prompt:
    """One request, whatever its form.

    Attributes
    ----------
    messages : tuple of (role, text)
        The talk; a bare prompt is one user message.
    pictures : int
        Parts that are not text and that nobody looks at.
    limit : int or None
        Output tokens allowed.
    schema : mapping, True or None
        The JSON Schema asked for, ``True`` for any JSON object.
    effort : int
        How long a thought goes before the answer, in sentences; 0 for none.
    tokens : int
        Estimated input tokens.
    seen : str
        What the pictures that were looked at say to the last message.
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
        """Everything the system and developer messages say."""
        return "\n".join(text for role, text in self.messages if role in ("system", "developer"))

    @property
    def user(self) -> str:
        """The last thing that was said to the model."""
        spoken = [text for role, text in self.messages if role not in ("system", "developer", "assistant")]
        return spoken[-1] if spoken else ""

    @property
    def found(self) -> str:
        """What a tool answered last; "" where none was called."""
        return next((text for role, text in reversed(self.messages) if role in ("tool", "function")), "")


def read(ask: Ask) -> Prompt:
    """Return the prompt of a request that passed its check."""
    body = ask.body
    messages, pictures = _messages(body)
    kinds = body.get("image") is not None
    return Prompt(
        messages,
        pictures + kinds,
        _limit(ask),
        _schema(ask),
        _effort(ask),
        sum(words.tokens(text) for _, text in messages) or 1,
    )


def text(ask: Ask) -> list[str]:
    """Return the whole talk as the one input text; pictures in it stand as a short name of their bytes."""
    messages, pictures = _messages(ask.body)
    said = "\n".join(said for _, said in messages)
    along = pictures or ask.body.get("image") is not None
    return [f"{said}\n[{media.named(ask, 'messages', 'image')}]" if along else said]


def _messages(body: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], int]:
    if body.get("messages") is not None:
        talk = [(message.get("role", "user"), message.get("content")) for message in body["messages"]]
    elif "input" in body:
        talk = [("system", body["instructions"])] if body.get("instructions") else []
        given = body["input"]
        if isinstance(given, str):
            talk.append(("user", given))
        else:
            talk += [(item.get("role", "tool"), item.get("content", item.get("output"))) for item in given]
    else:
        talk = [("user", body["prompt"])]
    flat = [(role, *_flat(content)) for role, content in talk]
    return tuple((role, said) for role, said, _ in flat), sum(others for *_, others in flat)


def _flat(content: Any) -> tuple[str, int]:
    """Return the text of a message's content, and how many parts are not text."""
    if content is None or isinstance(content, str):
        return content or "", 0
    parts = [content] if isinstance(content, Mapping) else content
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts), len(parts) - len(texts)


def _limit(ask: Ask) -> int | None:
    old = ask.model.family == "legacy" and ask.route == "run"
    for name in ("max_tokens",) if old else ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if ask.body.get(name) is not None:
            return int(min(max(0, ask.body[name]), _ENDLESS))
    return DEFAULT_LIMIT if ask.model.family == "legacy" else None


def _schema(ask: Ask) -> Mapping[str, Any] | bool | None:
    body = ask.body
    if ask.model.family == "legacy" and ask.route == "run":
        body = {name: part for name, part in body.items() if legacy.constrains(ask.model, name)}
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
    bare = ask.model.family == "legacy" and ask.route == "run"  # these do not know OpenAI's wrapper
    if bare or "input" in body or not {"schema", "name"} & given.keys():
        return dict(given)
    schema = given.get("schema", True)
    return schema if isinstance(schema, Mapping) else True


#: Every level of effort there is, with the sentences of a thought at it.
EFFORTS = {"none": 0, "minimal": 1, "low": 1, "medium": 2, "high": 3, "xhigh": 4, "max": 4}


def _effort(ask: Ask) -> int:
    facts, body = ask.model.row.get("reasoning"), ask.body
    if not ask.model.has("reasoning") or not facts:
        return 0
    stays = facts.get("off") is None
    if not stays and (body.get("chat_template_kwargs") or {}).get("enable_thinking") is False:
        return 0
    asked = body.get("reasoning_effort", (body.get("reasoning") or {}).get("effort", "low"))
    return max(EFFORTS.get(asked or "none", 1), stays)


def fit(ask: Ask) -> None:
    """Refuse what cannot be answered: nothing to say, no room for the answer, or JSON mode in a stream."""
    body = ask.body
    if not any(body.get(name) is not None for name in ("messages", "prompt", "input")):
        missing = ["prompt", "messages"] if ask.model.family == "legacy" else ["messages"]
        reasons = ", ".join(f"required properties at '/' are '{name}'" for name in missing)
        raise refuse(5006, why=f"oneOf at '/' not met, 0 matches: {reasons}")
    prompt = read(ask)
    if body.get("stream") and prompt.schema is not None:
        raise refuse(5006, why="JSON Mode does not support streaming")
    wanted = prompt.tokens + (prompt.limit or 0)
    if ask.model.context and wanted > ask.model.context:
        raise refuse(5021, wanted=wanted, context=ask.model.context)


def spelled(prompt: Prompt) -> tuple[Mapping[str, Any], str] | None:
    """Return the JSON Schema that a message spells out in words, as one does for models without JSON mode.

    And what the last message says without it; None where no schema is spelled out.
    """
    for _, said in prompt.messages:
        start = said.find("{", said.casefold().find("schema"))
        try:
            found, end = json.JSONDecoder().raw_decode(said, start) if "schema" in said.casefold() else (None, 0)
        except ValueError:
            continue
        if isinstance(found, Mapping) and ("properties" in found or "type" in found):
            rest = f"{said[:start].rpartition(chr(10) * 2)[0]}{said[end:]}"
            return found, rest if said == prompt.user else prompt.user
    return None


def dump(value: Any) -> str:
    """Return JSON text as a model would write it."""
    return json.dumps(value, ensure_ascii=False)
