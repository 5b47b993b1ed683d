"""An answer as it is shown, and what changed since the one before it."""

from __future__ import annotations

import difflib
import functools
import re

from ...markup import escape

#: Characters of one answer that are shown; the whole of it is in the frame.
MOST = 1_500
#: Beyond this many words on either side two texts are not compared word by word: the time grows with the product.
_MOST_WORDS = 1_200
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_ADDED = "background: #1a7f3722; text-decoration: underline"
_GONE = "background: #cf222e22; text-decoration: line-through"


def answer(text: str, most: int = MOST) -> str:
    """Return the beginning of a text as HTML, and how long it is."""
    return _shown(_cut(text, most))


def changed(before: str, after: str, most: int = MOST) -> str:
    """Return the later text as HTML, with what was added and what is gone marked word by word."""
    return _compared(_cut(before, most), _cut(after, most))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _shown(text: str) -> str:
    return escape(text, len(text))


@functools.lru_cache(maxsize=1_024)  # a page is drawn many times, and most of it stays as it was
def _compared(before: str, after: str) -> str:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if before == after or max(len(old), len(new)) > _MOST_WORDS:
        return _shown(after)
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(_shown("".join(new[c:d])))
            continue
        if b > a:
            parts.append(f'<del style="{_GONE}">{_shown("".join(old[a:b]))}</del>')
        if d > c:
            parts.append(f'<ins style="{_ADDED}">{_shown("".join(new[c:d]))}</ins>')
    return "".join(parts)
