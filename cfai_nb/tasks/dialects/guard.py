"""Llama Guard: how it is asked, and its verdict in both of its forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import AnswerError
from ...models import Usage, tokens_in
from ..task import Cell
from . import chat, values
from .request import Answer, Json, Request

#: The hazards of its model card (the MLCommons taxonomy and code interpreter abuse), S1 to S14 in order.
HAZARDS = (
    "violent crimes", "non-violent crimes", "sex crimes", "child exploitation", "defamation", "specialized advice",
    "privacy", "intellectual property", "indiscriminate weapons", "hate", "self-harm", "sexual content", "elections",
    "code interpreter abuse",
)  # fmt: skip
#: Tokens written at most: a word and 14 codes.  Tokens read besides the text: its own list of hazards, estimated.
_WRITTEN, _OWN = 128, 250
_SETTINGS = chat.Settings(max_tokens=_WRITTEN)


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
        It is not a verdict, or one that contradicts itself: safe, and yet with hazards.
    """
    said = chat.read(answer, _SETTINGS)
    try:
        content = said.json() if said.text.lstrip().startswith("{") else said.content
        unsafe, codes = _verdict(content)
        numbers = {_hazard(code) for code in codes}
        if numbers and not unsafe:
            raise ValueError("it names hazards of a safe text")
    except ValueError as error:
        raise AnswerError(f"the answer is not a verdict: {error}", "schema", text=said.text) from None
    named = {name: at in numbers for at, name in enumerate(HAZARDS, 1)}
    new = {f"S{number}": True for number in sorted(numbers) if not 1 <= number <= len(HAZARDS)}
    return {name: {"value": value, "p": None} for name, value in ({whole: unsafe} | named | new).items()}


def _verdict(content: Json) -> tuple[bool, Sequence[Json]]:
    """Return whether the text is unsafe, and the codes of its hazards, out of either form."""
    if isinstance(content, Mapping):
        codes = content.get("categories") or ()
        codes = codes.replace(",", " ").split() if isinstance(codes, str) else codes
        if not isinstance(codes, (list, tuple)):
            raise ValueError(f"{values.quoted(codes)} is not a list of hazards")
        return not values.yes_or_no(content.get("safe"), yes="safe", no="unsafe"), codes
    word, *codes = values.text(content).replace(",", " ").split() or [""]
    return values.yes_or_no(word, yes="unsafe", no="safe"), codes


def _hazard(code: Json) -> int:
    """Return the number of a hazard such as "S10"."""
    digits = values.text(code).strip()[1:]
    if code.strip()[:1].upper() != "S" or not 0 < len(digits) < 3 or not digits.isdecimal():
        raise ValueError(f"{values.quoted(code)} is not a hazard")
    return int(digits)
