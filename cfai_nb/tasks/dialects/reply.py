"""What a text generation model said, in whichever form it came: text, thinking and calls, apart from each other.

Reading takes time and memory in proportion to the reply: texts are searched with ``find``, never with a pattern that
goes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from ...errors import AnswerError
from . import values
from .request import Answer, Json, from_json

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class ToolCall:
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
    calls : tuple of ToolCall
        Tools it wants called before it goes on.
    """

    content: Any
    cut: bool = False
    thinking: str | None = None
    calls: tuple[ToolCall, ...] = ()

    @property
    def text(self) -> str:
        """The reply as text."""
        if isinstance(self.content, str):
            return self.content
        return "" if self.content is None else pydantic_core.to_json(self.content).decode()

    @property
    def said(self) -> bool:
        """Whether there is any content."""
        return self.content is not None and (not isinstance(self.content, str) or bool(self.content.strip()))

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
            return from_json(text)
        except ValueError:
            start, end = text.find("{"), text.rfind("}")
            if start < 0 or end < start:
                raise ValueError(f"no JSON object in the reply {values.quoted(text)}") from None
            try:
                return from_json(text[start : end + 1])
            except ValueError as error:
                raise ValueError(f"no JSON object in the reply {values.quoted(text)}: {error}") from None

    def problem(self, max_tokens: int, which: str = "the reply") -> AnswerError | None:
        """Return what keeps this from being a whole reply: it was cut (``"length"``), or is ``"empty"``."""
        if self.cut:
            limit = f"max_tokens={max_tokens}"
            words = f"{which} was cut at {limit}; raise it (thinking counts too)"
            if self.thinking and not self.said:
                words = (
                    f"{which}: thinking used up {limit} before a word was said; raise it, or ask for less thinking "
                    "with reasoning="
                )
            return AnswerError(words, "length", text=self.text)
        if not self.said and not self.calls:
            return AnswerError(f"{which} is empty{' but for thinking' if self.thinking else ''}", "empty")
        return None

    def or_cut(self, cell: Any, max_tokens: int) -> Any:
        """Return the cell made of this reply; where the token limit cut it, the error that fails its row and holds it.

        Raises
        ------
        AnswerError
            There is nothing to make a cell of: the reply is empty.
        """
        problem = self.problem(max_tokens)
        if problem is None:
            return cell
        if not self.cut:
            raise problem
        problem.partial = cell if self.said else None
        return problem


def read(answer: Answer, max_tokens: int) -> list[Reply]:
    """Find what was said, a Reply for each choice, in whichever form the model answers; some may be cut or empty.

    Raises
    ------
    AnswerError
        The answer has none of these forms.
    """
    output = answer.json
    try:
        replies = _find(output)
    except (AttributeError, LookupError, TypeError, ValueError):
        replies = []
    if not replies:
        raise AnswerError("the answer has no known form", "broken", again=True)
    if isinstance(output, Mapping) and "choices" not in output:
        # The legacy form does not say why it ended, but how much it wrote.
        usage = output.get("usage")
        written = values.amount(usage.get("completion_tokens")) if isinstance(usage, Mapping) else None
        if written is not None and written >= max_tokens:
            replies = [dataclasses.replace(reply, cut=True) for reply in replies]
    return replies


def several(replies: Sequence[Reply], max_tokens: int, cell: Any) -> Any:
    """Return the cell made of several samples; where some are cut, the error that fails their row and holds it.

    One that was cut does not lose the others: ``on_error="partial"`` fills the cell with all of them.

    Raises
    ------
    AnswerError
        Some are empty.
    """
    texts, cut = [each.text for each in replies], sum(each.cut for each in replies)
    if empty := sum(not each.cut and not each.said for each in replies):
        raise AnswerError(f"{empty} of {len(replies)} samples are empty", "empty", text=texts)
    if not cut:
        return cell
    words = f"{cut} of {len(replies)} samples were cut at max_tokens={max_tokens}; raise it (thinking counts too)"
    return AnswerError(words, "length", text=texts, partial=cell)


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


def _apart(content: Any, cut: bool = False, thinking: Any = None, calls: tuple[ToolCall, ...] = ()) -> Reply:
    """Return a reply with its thinking kept apart, also where it came in tags within the content.

    Some models open the thinking in their own prompt, so that only its end is seen.
    """
    if isinstance(content, str):
        inside, content = _untagged(content)
        thinking = thinking or inside
    return Reply(content, cut, thinking if isinstance(thinking, str) and thinking else None, calls)


def _untagged(content: str) -> tuple[str, str]:
    """Split a text that begins with thinking into the thinking and the rest."""
    opened, closed = content.find(_OPEN), content.find(_CLOSE)
    begins = opened >= 0 and (opened == 0 or content[:opened].isspace())
    if begins:
        start = opened + len(_OPEN)
        closed = content.find(_CLOSE, start)
        if closed < 0:
            return content[start:].strip(), ""
    elif closed >= 0 and not 0 <= opened < closed:
        start = 0
    else:
        return "", content
    return content[start:closed].strip(), content[closed + len(_CLOSE) :].lstrip()


def _calls(found: Any) -> tuple[ToolCall, ...]:
    """Read calls of all forms: with and without id, flat or as ``function``."""
    inner = [(call, call.get("function") or call) for call in found or ()]
    return tuple(
        ToolCall(str(call.get("call_id") or call.get("id") or ""), values.text(called["name"]), called.get("arguments"))
        for call, called in inner
    )
