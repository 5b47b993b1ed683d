"""The texts of the emulator in place of a language model: sentences of the prompt, after a mark.

It takes a :class:`Prompt`, which ``families.prompts`` reads, and returns the answer, the reasoning before it, and
made-up log probabilities.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import lexical
from .local_model import LocalModel

MARK = "[emulator]"
EXTRACTED = "[extracted]"

_SHORTEN = re.compile(
    r"\b(summar\w*|tl;?dr|shorten|condense|gist|brief\w*|headline|title|one sentence|zusammenfass\w*|r[ée]sum\w*)\b",
    re.IGNORECASE,
)
_LONGEST = 240
#: A token: a run of digits, of white space, or of anything else up to six letters.
_TOKEN = re.compile(r"\d+|\s+|[^\d\s]{1,6}")


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


def split_tokens(text: str) -> list[str]:
    """Return a text in the tokens it is streamed in."""
    return _TOKEN.findall(text)


def reply(prompt: Prompt, local: LocalModel | None = None) -> str:
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
    if _SHORTEN.search(f"{prompt.system} {prompt.user[:200]}"):
        return f"{EXTRACTED if local else MARK}{unseen} {trim(_central(text, local))}"
    return f"{MARK}{unseen} {trim(lexical.sentences(text)[0])}"


def reasoning(prompt: Prompt) -> str:
    """Return what a reasoning model writes before its answer: more sentences for more effort."""
    looks = (f"The longest is {max(prompt.user.split(), key=len, default='none')!r}.", "I count them again.", "Yes.")
    return " ".join(
        [f"{MARK} thinking: the last message has {len(prompt.user.split())} words.", *looks][: prompt.effort]
    )


def sample(text: str | None, place: int) -> str | None:
    """Return one of several samples: the first is the answer itself, the others are numbered."""
    return f"{text} (sample {place + 1})" if text is not None and place else text


def subject(text: str, options: Sequence[str] = ()) -> str:
    """Return the part of a message that its instruction refers to.

    An instruction is the text before a colon or a line break at the start, or a line that lists two or more of the
    options. If nothing else is left, the whole message is returned.
    """
    lines = [line for line in re.split(r"\n+", text) if line.strip()]
    if options:
        lines = [line for line in lines if sum(_names(option, line) for option in options) < 2]
    if len(lines) > 1 and (_SHORTEN.search(lines[0]) or lines[0].rstrip().endswith((":", "?"))):
        lines = lines[1:]
    body = "\n".join(lines).strip()
    head, colon, rest = body.partition(":")
    if colon and rest.strip() and len(head.split()) <= 14 and len(rest.strip()) > len(head) / 2 and "\n" not in head:
        body = rest.strip()
    return body or text.strip()


def _names(option: str, line: str) -> bool:
    return bool(option) and re.search(rf"(?<!\w){re.escape(option)}(?!\w)", line, re.I) is not None


def _central(text: str, local: LocalModel | None) -> str:
    """Return the sentence nearest to the whole text, or the one that shares most words; the first of a short text."""
    parts = lexical.sentences(text)
    if len(parts) < 3:
        return parts[0] if parts else ""
    if local:
        rows = local.embed([text, *parts[:40]])
        return parts[int((rows[1:] @ rows[0]).argmax())]
    bags = [lexical.stems(part) for part in parts[:40]]
    shared = [sum(len(bag & other) for other in bags) / (len(bag) + 3) for bag in bags]
    return parts[max(range(len(bags)), key=lambda place: (shared[place], -place))]


def trim(text: str, longest: int = _LONGEST) -> str:
    """Return a text of one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    return line[: longest - 1].rsplit(" ", 1)[0] + "…"


def logprobs(text: str | None, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return made-up log probabilities of every token where ``logprobs`` asks for them, with marked alternatives."""
    if not body.get("logprobs"):
        return None
    most = int(body.get("top_logprobs") or 0)
    tokens = []
    for place, piece in enumerate(split_tokens(text or "")):
        share = 0.5 + (zlib.crc32(f"{place} {piece}".encode()) % 1000) / 2002
        others = [(f"{MARK} {number}", (1 - share) / (number + 1)) for number in range(1, most)]
        likely = [_entry(token, chance) for token, chance in [(piece, share), *others][:most]]
        tokens.append({**_entry(piece, share), "top_logprobs": likely})
    return {"content": tokens, "refusal": None}


def _entry(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(math.log(chance), 6), "bytes": list(token.encode())}
