"""What a text generation model said, in whichever form it came: text, thinking and calls, apart from each other."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic_core

from ..errors import AnswerError
from .answer import Answer, Json

#: Thinking in the text itself; some models open it in their own prompt, and only the end is seen.
_THINKING = re.compile(r"^\s*(?:<think>(.*?)(?:</think>\s*|$)|((?:(?!<think>).)*?)</think>\s*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool: its id ("" where the model gives none), name and arguments (an object, or JSON text)."""

    id: str
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said.

    Attributes
    ----------
    content : JSON value
        Text, or JSON it was asked for that came already parsed.
    cut : bool
        Whether the token limit ended it.
    thinking : str or None
        What it thought aloud, kept apart from the content.
    calls : tuple of Call
        Tools it wants called before it goes on.
    """

    content: Any
    cut: bool = False
    thinking: str | None = None
    calls: tuple[Call, ...] = ()

    @property
    def text(self) -> str:
        """The reply as text."""
        if isinstance(self.content, str):
            return self.content
        return "" if self.content is None else pydantic_core.to_json(self.content).decode()

    def json(self) -> Json:
        """The reply as JSON, also where the model wrapped it in words or a code fence.

        Raises
        ------
        ValueError
            There is no JSON object in it.
        """
        if not isinstance(self.content, str):
            return self.content
        text = self.text.strip()
        try:
            return pydantic_core.from_json(text)
        except ValueError:
            start, end = text.find("{"), text.rfind("}")
            if start < 0 or end < start:
                raise ValueError("no JSON object in the reply") from None
            return pydantic_core.from_json(text[start : end + 1])


def read(answer: Answer, max_tokens: int) -> list[Reply]:
    """Find what was said, a Reply for each choice, in whichever form the model answers.

    Raises
    ------
    AnswerError
        A reply is empty (``"empty"``) or was cut at the token limit (``"length"``): silent losses otherwise.
    """
    try:
        replies = _find(answer.json)
    except (AttributeError, KeyError, IndexError, TypeError):
        raise AnswerError("the answer has no known form", "broken", again=True) from None
    if isinstance(answer.json, Mapping) and "choices" not in answer.json:
        # The legacy form does not say why it ended, but how much it wrote.
        usage = answer.json.get("usage")
        written = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        if isinstance(written, (int, float)) and written >= max_tokens:
            replies = [dataclasses.replace(reply, cut=True) for reply in replies]
    for at, reply in enumerate(replies, 1):
        _whole(reply, max_tokens, f"reply {at} of {len(replies)}" if len(replies) > 1 else "the reply")
    return replies


def _whole(reply: Reply, max_tokens: int, which: str) -> None:
    said = reply.content is not None and (not isinstance(reply.content, str) or bool(reply.content.strip()))
    if reply.cut and reply.thinking and not said:
        raise AnswerError(
            f"{which}: thinking used up max_tokens={max_tokens} before a word was said; raise it, or ask for less "
            "thinking with reasoning=",
            "length",
        )
    if reply.cut:
        raise AnswerError(f"{which} was cut at max_tokens={max_tokens}; raise it (thinking counts too)", "length")
    if not said and not reply.calls:
        raise AnswerError(f"{which} is empty{' but for thinking' if reply.thinking else ''}", "empty")


def _find(output: Json) -> list[Reply]:
    """Look through a chat completion, a Responses object and the legacy form."""
    if not isinstance(output, Mapping):
        return [_apart(output if isinstance(output, str) else None)]
    if choices := output.get("choices"):
        return [_chosen(choice) for choice in choices]
    if not isinstance(output.get("output"), list):
        return [_apart(output.get("response"), calls=_calls(output.get("tool_calls")))]
    parts: dict[str, list[str]] = {"output_text": [], "reasoning_text": []}
    for item in output["output"]:
        for part in item.get("content") or () if item.get("type") in ("message", "reasoning") else ():
            parts.setdefault(part.get("type"), []).append(part.get("text") or "")
    text, thinking = ("".join(parts[kind]) for kind in ("output_text", "reasoning_text"))
    called = [item for item in output["output"] if item.get("type") == "function_call"]
    return [_apart(text or None, output.get("status") == "incomplete", thinking, _calls(called))]


def _chosen(choice: Any) -> Reply:
    message = choice.get("message") or {}
    content = message.get("content") if message else choice.get("text")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    thinking = message.get("reasoning_content") or message.get("reasoning")
    return _apart(content, choice.get("finish_reason") == "length", thinking, _calls(message.get("tool_calls")))


def _apart(content: Any, cut: bool = False, thinking: Any = None, calls: tuple[Call, ...] = ()) -> Reply:
    """Return a reply whose thinking stands apart, also where it came in tags within the content."""
    if isinstance(content, str) and (found := _THINKING.match(content)):
        thinking = thinking or (found[1] or found[2] or "").strip()
        content = content[found.end() :]
    return Reply(content, cut, thinking if isinstance(thinking, str) and thinking else None, calls)


def _calls(found: Any) -> tuple[Call, ...]:
    """Read calls of all forms: with and without id, flat or as ``function``."""
    inner = [(call, call.get("function") or call) for call in found or ()]
    return tuple(
        Call(str(call.get("call_id") or call.get("id") or ""), str(called["name"]), called.get("arguments"))
        for call, called in inner
    )
