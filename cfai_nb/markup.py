"""HTML made of what others wrote: every text is cleaned, cut and escaped here, every picture and sound labelled.

What is shown comes from models, files and strangers.  It becomes text and nothing else; bytes are shown only as
pictures this house encoded itself, or as sound in a player, both as ``data:`` addresses.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any

#: Characters of a cell that are shown at once, and those that unfold; the frame has the whole of it.
SHORT, LONG = 200, 4_000
#: Of a cell that is told in one line.
LINE = 400
FONT = "font-family: var(--jp-ui-font-family, sans-serif); font-size: var(--jp-ui-font-size1, 13px); line-height: 1.4"
#: Class of HTML that holds amounts or other people's text: what stands between two dollar signs would be typeset as a
#: formula, with links and all (the names are MathJax's, of JupyterLab and of exported pages).
NO_MATH = "mathjax_ignore tex2jax_ignore"
CODE = "font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px)"
TEXT = (
    "white-space: pre-wrap; overflow-wrap: break-word; overflow-wrap: anywhere; unicode-bidi: isolate; text-align: left"
)
#: A border to be seen on light and dark; notebooks that are not trusted lose borders whose colour is a variable.
RULE = "1px solid #8884"
FAILED = "color: var(--jp-error-color1, #b3261e)"
_FADED = "opacity: .7"
_CHIP = "background: #FFF3D6; color: #7A4900; border: 1px solid #B36B00; border-radius: 3px; padding: 0 .4em"
# Control characters, halves of characters (broken UTF-8), and what turns the direction of all that follows.
_UNFIT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Replace what no page can hold, or what would disturb the text around it."""
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def said(text: object, most: int = SHORT) -> str:
    """Return any text as HTML that shows it and does nothing else, also within an attribute in quotes."""
    import html  # brings a table of all entities along

    whole = text if isinstance(text, str) else str(text)
    return html.escape(clean(whole if len(whole) <= most else f"{whole[: most - 1]}…"))


def line(value: Any, width: int = LINE) -> str:
    """Return a cell as one line of plain text that any frontend can carry.

    Half characters become "?", control characters (also those that turn the direction of writing) are dropped, and
    what is longer than `width` characters ends in "…".
    """
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text[: 4 * width].split())  # a cell can be a megabyte
    if not text.isprintable():
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = " ".join("".join(letter for letter in text if letter.isprintable()).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def inline(value: Any, width: int = LINE) -> str:
    """Return a cell as HTML of one line that shows it and does nothing else, also within an attribute in quotes."""
    return said(line(value, width), width)


def counted(count: int, what: str = "row") -> str:
    """Write a count: "1 row", "1,200 rows"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def passage(text: str, short: int = SHORT, most: int = LONG) -> str:
    """Return a text as HTML: its beginning, and what follows to be unfolded, as far as `most` characters."""
    if len(text) <= short:
        return f'<span style="{TEXT}">{said(text, short)}</span>'
    cut = f"\n… ({len(text):,} characters)" if len(text) > most else ""
    begin, rest = f"{said(text[:short], short)}…", f"…{said(text[short:most], most)}{said(cut)}"
    return (
        f'<details><summary style="{TEXT}; cursor: pointer">{begin}</summary>'
        f'<div style="{TEXT}; max-height: 20em; overflow: auto">{rest}</div></details>'
    )


def word(text: str, why: str = "") -> str:
    """Return a remark of ours in place of a cell: what it is where it cannot be shown, or that it is missing."""
    title = f' title="{said(why, LONG)}"' if why else ""
    style = f"{_FADED}; font-style: italic; white-space: normal; overflow-wrap: break-word; overflow-wrap: anywhere"
    return f'<span style="{style}"{title}>{said(text, LONG)}</span>'


def failure(code: object, message: str) -> str:
    """Return what went wrong with a row."""
    return f'<div role="note" style="{FAILED}"><b>✗ failed</b> ({said(code, 40)})<br>{passage(message, 120)}</div>'


def badge(mark: str) -> str:
    """Return a mark that nobody overlooks, or nothing."""
    return f'<b style="{_CHIP}">{said(mark)}</b> ' if mark else ""


def address(content: bytes, mime: str) -> str:
    """Return content as a ``data:`` address."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def picture(content: bytes, mime: str, alt: str, most: int) -> str:
    """Return a picture of our own encoding as HTML, at most so many pixels a side."""
    limits = f"max-width: {most}px; max-height: {most}px; width: auto; height: auto; border-radius: 3px"
    return f'<img alt="{said(alt, 500)}" title="{said(alt, 500)}" style="{limits}" src="{address(content, mime)}">'


def player(content: bytes, mime: str, label: str, width: str = "16em") -> str:
    """Return a sound in a player."""
    return (
        f'<audio controls preload="metadata" aria-label="{said(label, 500)}" style="width: {width}; height: 2.4em" '
        f'src="{address(content, mime)}"></audio>'
    )


def figure(shown: str, caption: str, *, faded: bool = True) -> str:
    """Return something with words beneath; both are HTML already."""
    under = f'<figcaption style="{_FADED if faded else "padding-top: .2em"}">{caption}</figcaption>'
    return f'<figure class="{NO_MATH}" style="margin: 0; {FONT}">{shown}{under}</figure>'


def block(content: str, style: str = "", *, role: str = "", label: str = "") -> str:
    """Return HTML of ours in a box of its own; `role` and `label` are for those who do not see it."""
    told = f' role="{role}"' * bool(role) + f' aria-label="{said(label, 1_000)}"' * bool(label)
    return f'<div class="{NO_MATH}"{told} style="{FONT}{"; " if style else ""}{style}">{content}</div>'


def sparkline(values: Iterable[float], alt: str, most: float | None = None, bars: int = 60) -> str:
    """Return numbers as a row of bars up and down from zero.

    Parameters
    ----------
    values : iterable of float
        Where there are more than `bars`, a bar stands for several: the one furthest from zero.
    alt : str
        What it is, in words.
    most : float, optional
        The value of a bar of full height; default: the largest.
    """
    numbers = [float(value) if abs(value) < float("inf") else 0.0 for value in values]  # no bar for NaN and infinity
    step = max(1, -(-len(numbers) // bars))
    peaks = [max(numbers[at : at + step], key=abs) for at in range(0, len(numbers), step)]
    top = most or max(map(abs, peaks), default=0) or 1.0
    heights = [max(-1.0, min(1.0, peak / top)) * 11 for peak in peaks]
    path = "".join(f"M{2 * at + 1} 12v{-height:.1f}" for at, height in enumerate(heights))
    wide = 2 * len(peaks)
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="24" viewBox="0 0 {wide} 24">'
        f'<path d="M0 12h{wide}" stroke="#999" stroke-width=".5"/>'
        f'<path d="{path}" stroke="#3b82c4" stroke-width="1.6"/></svg>'
    )
    words = said(alt, 500)
    return f'<img alt="{words}" title="{words}" style="height: 24px" src="{address(drawn.encode(), "image/svg+xml")}">'
