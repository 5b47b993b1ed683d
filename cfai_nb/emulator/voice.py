"""Voice: what the stand-in says. It repeats and picks; every word of it begins with a mark that says so."""

from __future__ import annotations

import re
from collections.abc import Sequence

from . import words
from .prompts import Prompt

MARK = "[emulator]"

_SHORTEN = re.compile(
    r"\b(summar\w*|tl;?dr|shorten|condense|gist|brief\w*|headline|title|one sentence|zusammenfass\w*|r[ée]sum\w*)\b",
    re.IGNORECASE,
)
_LONGEST = 240


def reply(prompt: Prompt) -> str:
    """Return the answer to a talk: what a tool found, its most central sentence for a summary, else its first."""
    if prompt.found and prompt.found == prompt.user:
        return f"{MARK} the tool says: {trim(prompt.found)}"
    said = matter(prompt.user) or prompt.user.strip()
    unseen = f" ({prompt.pictures} attachment{'s' * (prompt.pictures > 1)} not looked at)" if prompt.pictures else ""
    if prompt.seen:
        return f"{MARK}{unseen} {prompt.seen}"
    if not said:
        return f"{MARK}{unseen} (nothing was said)"
    if _SHORTEN.search(f"{prompt.system} {prompt.user[:200]}"):
        return f"{MARK}{unseen} {trim(central(said))}"
    return f"{MARK}{unseen} {trim(words.sentences(said)[0])}"


def thought(prompt: Prompt) -> str:
    """Return what a reasoning model thinks aloud first: more sentences for more effort."""
    looks = (f"The longest is {max(prompt.user.split(), key=len, default='none')!r}.", "I count them again.", "Yes.")
    return " ".join(
        [f"{MARK} thinking: the last message has {len(prompt.user.split())} words.", *looks][: prompt.effort]
    )


def another(text: str | None, place: int) -> str | None:
    """Return a sample of an answer: the first is the answer itself, the others say which they are."""
    return f"{text} (sample {place + 1})" if text is not None and place else text


def matter(text: str, options: Sequence[str] = ()) -> str:
    """Return the part of a message that it is about, without the instruction around it.

    An instruction is what stands before a colon or a line break at the start, or a line that lists two or more of the
    options. When nothing would be left, the whole message is returned.
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


def central(text: str) -> str:
    """Return the sentence that shares most words with the rest; the first of a short text."""
    parts = words.sentences(text)
    if len(parts) < 3:
        return parts[0] if parts else ""
    bags = [words.stems(part) for part in parts[:40]]
    shared = [sum(len(bag & other) for other in bags) / (len(bag) + 3) for bag in bags]
    return parts[max(range(len(bags)), key=lambda place: (shared[place], -place))]


def trim(text: str, longest: int = _LONGEST) -> str:
    """Return a text of one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    return line[: longest - 1].rsplit(" ", 1)[0] + "…"
