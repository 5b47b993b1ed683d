"""Llama Guard: how it is asked, and its verdict in both of its forms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..errors import AnswerError
from ..models import Usage, tokens_in
from .answer import Answer, Request
from .reply import read as replies
from .task import Cell

#: The hazards of its model card (the MLCommons taxonomy and code interpreter abuse), S1 to S14 in order.
HAZARDS = (
    "violent crimes", "non-violent crimes", "sex crimes", "child exploitation", "defamation", "specialized advice",
    "privacy", "intellectual property", "indiscriminate weapons", "hate", "self-harm", "sexual content", "elections",
    "code interpreter abuse",
)  # fmt: skip
#: Tokens written at most: a word and 14 codes.  Tokens read besides the text: its own list of hazards, estimated.
_WRITTEN, _OWN = 128, 250
_VERDICT = re.compile(r"\s*(safe|unsafe)\b", re.IGNORECASE)
_CODE = re.compile(r"\bS(\d{1,2})\b", re.IGNORECASE)


def compose(text: str) -> Request:
    """Return the request: it takes no system message, and brings its questions along."""
    messages = [{"role": "user", "content": text}]
    form = {"type": "json_object"}
    return Request(json={"messages": messages, "max_tokens": _WRITTEN, "temperature": 0.0, "response_format": form})


def forecast(texts: Sequence[str]) -> Usage:
    """Estimate texts, its own list of hazards, and what it may write."""
    read = float(sum(tokens_in(text) + _OWN for text in texts))
    return Usage({"input_tokens": read, "output_tokens": float(_WRITTEN * len(texts))})


def read(answer: Answer, whole: str) -> Cell:
    """Return whether the ``whole`` text is unsafe and which hazards are there, out of JSON or of ``unsafe\\nS1,S2``.

    Raises
    ------
    AnswerError
        It is no verdict.
    """
    said = replies(answer, _WRITTEN)[0]
    content = said.content
    if isinstance(content, str) and content.lstrip().startswith("{"):
        content = said.json()
    if isinstance(content, Mapping) and isinstance(content.get("safe"), bool):
        unsafe, codes = not content["safe"], " ".join(map(str, content.get("categories") or ()))
    elif isinstance(content, str) and (verdict := _VERDICT.match(content)):
        unsafe, codes = verdict[1].lower() == "unsafe", content[verdict.end() :]
    else:
        raise AnswerError(f"the answer is no verdict: {said.text[:80]!r}", "schema")
    numbers = {int(number) for number in _CODE.findall(codes)} if unsafe else set()
    named = {name: at in numbers for at, name in enumerate(HAZARDS, 1)}
    new = {f"S{number}": True for number in sorted(numbers) if not 1 <= number <= len(HAZARDS)}
    return {name: {"value": value, "p": None} for name, value in ({whole: unsafe} | named | new).items()}
