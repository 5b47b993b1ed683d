"""Text of others as HTML: cleaned, cut and escaped in one place, for every widget and its static form."""

from __future__ import annotations

import difflib
import functools
import html
import re

from ..markup import clean

#: Characters of one answer that are shown; the whole of it is in the frame.
MOST = 1_500
#: Beyond this many words on either side two texts are not compared word by word: the time grows with the product.
_MOST_WORDS = 1_200
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
#: Of every table and box; the variables are JupyterLab's, with what stands in elsewhere.
FONT = "font-family: var(--jp-ui-font-family, sans-serif); font-size: var(--jp-ui-font-size1, 13px)"
CODE = "font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px)"
TEXT = "white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; text-align: left"
_ADDED = "background: #1a7f3722; text-decoration: underline"
_GONE = "background: #cf222e22; text-decoration: line-through"


def cut(text: str, most: int = MOST) -> str:
    """Return the beginning of a long text, and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def said(text: object, most: int = MOST) -> str:
    """Return any text as HTML that shows it and does nothing else."""
    return html.escape(clean(cut(str(text), most)))


@functools.lru_cache(maxsize=1_024)  # a page is drawn many times, and most of it stays as it was
def changed(before: str, after: str, most: int = MOST) -> str:
    """Return the later text as HTML, with what was added and what is gone marked word by word."""
    before, after = cut(before, most), cut(after, most)
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if before == after or max(len(old), len(new)) > _MOST_WORDS:
        return said(after, most)
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(said("".join(new[c:d]), most))
            continue
        if b > a:
            parts.append(f'<del style="{_GONE}">{said("".join(old[a:b]), most)}</del>')
        if d > c:
            parts.append(f'<ins style="{_ADDED}">{said("".join(new[c:d]), most)}</ins>')
    return "".join(parts)
