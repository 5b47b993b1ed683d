"""The reply of a text model, in any of its forms, in one piece or streamed, and the usage that was reported with it.

Text, thinking and tool calls are kept apart.  Parsing takes time and memory in proportion to the reply: texts are
searched with ``find``, never with a pattern that backtracks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from ...errors import AnswerError
from ...models import Usage
from . import values
from .request import Answer, Json, from_json

_OPEN, _CLOSE = "<think>", "</think>"

#: Finish reasons of a reply that was cut: at ``max_tokens``, or at the model's own limit (seen on Workers AI).
CUT = frozenset({"length", "model_length"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool: its id ("" where the model gives none), name and arguments (an object, or JSON text)."""

    id: str
    name: str
    arguments: Json


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote."""

    content: Any  #: Text, or JSON it was asked for that came already parsed.
    cut: bool = False  #: Whether the token limit ended it.
    thinking: str | None = None  #: Its reasoning, kept apart from the content.
    calls: tuple[ToolCall, ...] = ()  #: Tools it wants called before it goes on.

    @property
    def text(self) -> str:
        """The reply as text."""
        if isinstance(self.content, str):
            return self.content
        return "" if self.content is None else pydantic_core.to_json(self.content).decode()

    @property
    def has_content(self) -> bool:
        """Whether there is any content."""
        return self.content is not None and (not isinstance(self.content, str) or bool(self.content.strip()))

    def json(self) -> Json:
        """The reply as JSON, also where the model wrapped it in words or a code fence; a ValueError without JSON."""
        if not isinstance(self.content, str):
            return self.content
        text = self.text.strip()
        try:
            return from_json(text)
        except ValueError:
            start, end = text.find("{"), text.rfind("}")
        why = ""
        if 0 <= start < end:
            try:
                return from_json(text[start : end + 1])
            except ValueError as error:
                why = f": {error}"
        raise ValueError(f"no JSON object in the reply {values.quoted(text)}{why}")

    def problem(self, max_tokens: int) -> AnswerError | None:
        """Return why this is not a whole reply: it was cut (``"length"``), or is ``"empty"``."""
        if self.cut:
            words = f"the reply was cut at max_tokens={max_tokens}; raise it (reasoning counts too)"
            if self.thinking and not self.has_content:
                words = (
                    f"the model used all of max_tokens={max_tokens} for reasoning and wrote no answer; raise it, or "
                    "ask for less with reasoning="
                )
            return AnswerError(words, "length", text=self.text)
        if not self.has_content and not self.calls:
            return AnswerError(f"the reply is empty{' except for reasoning' if self.thinking else ''}", "empty")
        return None

    def or_cut(self, cell: Any, max_tokens: int) -> Any:
        """Return the cell of this reply; if it was cut, an error that holds the cell.  An empty one raises an error."""
        problem = self.problem(max_tokens)
        if problem is None:
            return cell
        if not self.cut:
            raise problem
        problem.partial = cell if self.has_content else None
        return problem


def parse(answer: Answer, max_tokens: int) -> list[Reply]:
    """Return a Reply for each choice, in any form of answer; some may be cut or empty."""
    output = answer.json
    try:
        replies = _find(output)
    except (AttributeError, LookupError, TypeError, ValueError):
        replies = []
    if not replies:
        raise AnswerError("the answer has no known form", "broken", again=True)
    if isinstance(output, Mapping) and "choices" not in output:
        # The legacy form reports how much was written, not why it ended.
        usage = output.get("usage")
        written = values.amount(usage.get("completion_tokens")) if isinstance(usage, Mapping) else None
        if written is not None and written >= max_tokens:
            replies = [dataclasses.replace(reply, cut=True) for reply in replies]
    return replies


def several(replies: Sequence[Reply], max_tokens: int, cell: Any) -> Any:
    """Return the cell of several samples; if some are cut, an error that holds all of them."""
    texts, cut = [each.text for each in replies], sum(each.cut for each in replies)
    if empty := sum(not each.cut and not each.has_content for each in replies):
        raise AnswerError(f"{empty} of {len(replies)} samples are empty", "empty", text=texts)
    if not cut:
        return cell
    words = f"{cut} of {len(replies)} samples were cut at max_tokens={max_tokens}; raise it (reasoning counts too)"
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
    return _apart(content, choice.get("finish_reason") in CUT, thinking, _calls(message.get("tool_calls")))


def _apart(content: Any, cut: bool = False, thinking: Any = None, calls: tuple[ToolCall, ...] = ()) -> Reply:
    """Return a reply with its thinking kept apart, also where it came in tags within the content."""
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
    elif closed >= 0 and not 0 <= opened < closed:  # some models open the thinking in their own prompt
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


def reported(answer: Answer) -> Usage | None:
    """Return the usage the service reported with an answer; what cannot be an amount counts as not reported."""
    try:
        document = answer.json
    except AnswerError:
        document = None
    usage = (document.get("usage") or document.get("metrics")) if isinstance(document, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    if (neurons := answer.neurons) is None:
        neurons = values.amount(usage.get("neurons"))
    amounts = _tokens(usage) | ({} if neurons is None else {"neurons": neurons})
    return Usage(amounts, exact=True) if amounts else None


def _tokens(usage: Mapping[str, Any]) -> dict[str, float]:
    """Read the tokens of a usage block; empty if one number is invalid, since the others may be wrong too."""
    read = values.amount(usage.get("prompt_tokens", usage.get("input_tokens")))
    written = usage.get("completion_tokens", usage.get("output_tokens"))
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
    counts = [values.amount(0 if count is None else count) for count in (written, cached)]
    if read is None or counts[0] is None or counts[1] is None or counts[1] > read:
        return {}
    amounts = {"input_tokens": read - counts[1], "output_tokens": counts[0]}
    return amounts | ({"cached_input_tokens": counts[1]} if counts[1] else {})


class StreamReader:
    """Takes the lines of a streamed reply one by one and returns their text; both dialects may meet in one stream.

    ``ended`` says whether the stream has announced its end (one that stops without that was broken off), ``cut``
    whether the token limit ended it.
    """

    def __init__(self) -> None:
        self.ended = self.cut = False
        self._pieces: list[str] = []
        self._others: list[bytes] = []  # lines before the first frame: a server that does not stream answers with JSON
        self._total: Mapping[str, Any] | None = None  # of the closing frame
        self._sum: dict[str, float] = {}  # of ordinary frames, each of which reports its own usage

    def feed(self, line: bytes) -> str:
        """Return the text a line adds.  Raises AnswerError: the line is not a frame of a stream."""
        if not line.startswith(b"data:"):  # blank lines between frames, comments, event names
            if not self._pieces:
                self._others.append(line)
            return ""
        data = line[5:].strip()
        if data == b"[DONE]":
            self.ended = True
            return ""
        try:
            frame = from_json(data)
            return self._frame(frame) if isinstance(frame, Mapping) else ""
        except (AttributeError, LookupError, TypeError, ValueError):
            raise AnswerError("the stream broke off within a frame", "broken", again=True) from None

    def _frame(self, frame: Mapping[str, Json]) -> str:
        text = frame.get("response")
        for choice in (frame.get("choices") or ())[:1]:
            text = (choice.get("delta") or {}).get("content", text)
            if choice.get("finish_reason"):
                self.ended, self.cut = True, choice["finish_reason"] in CUT
        text = "" if text is None else str(text)  # a token that looks like a number arrives as one
        self._pieces.append(text)
        usage = frame.get("usage")
        if isinstance(usage, Mapping):
            if not text and not frame.get("choices"):
                self._total = usage  # the closing frame holds the totals
            else:
                for name, count in usage.items():
                    if isinstance(count, (int, float)):  # one that cannot be an amount makes the sum invalid
                        found = values.amount(count)
                        self._sum[name] = self._sum.get(name, 0) + (math.nan if found is None else found)
        return text

    def usage(self) -> Usage | None:
        """Return the usage that the stream reported: the closing totals, or the sum of its frames, or None."""
        usage = self._total if self._total is not None else self._sum or None
        return None if usage is None else reported(Answer(pydantic_core.to_json({"usage": usage})))

    def unstreamed(self, seconds: float) -> Answer | None:
        """Return the answer of a server that sent everything as JSON instead of a stream; None if it streamed."""
        content = b"\n".join(self._others).strip()
        if self._pieces or not content.startswith(b"{"):
            return None
        answer = Answer(content, seconds=seconds)
        try:
            return answer if isinstance(answer.json, Mapping) else None
        except AnswerError:
            return None

    def answer(self, seconds: float) -> Answer:
        """Return the whole stream as an answer in one piece."""
        message = {"content": "".join(self._pieces)}
        document: dict[str, Json] = {
            "choices": [{"message": message, "finish_reason": "length" if self.cut else "stop"}]
        }
        usage = self._total if self._total is not None else self._sum
        return Answer(pydantic_core.to_json(document | ({"usage": usage} if usage else {})), seconds=seconds)
