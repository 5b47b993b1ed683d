"""HTML made of untrusted text: cleaned, cut and escaped text, labelled pictures and sound, and counts in words.

Text comes from models, files and strangers, and is returned as HTML that only shows it; bytes are shown only as
pictures that this package encoded itself, or as sound in a player, both as ``data:`` addresses. Plans, ledgers,
vectors, media, tables and widgets show themselves with it. It imports nothing of the package, so every room can use it.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Characters of a cell that are shown at once, and that are shown when it unfolds; the frame holds all of them.
SHORT, LONG = 200, 4_000
#: Characters of a cell that is written on one line.
LINE = 400
FONT = "font-family: var(--jp-ui-font-family, sans-serif); font-size: var(--jp-ui-font-size1, 13px); line-height: 1.4"
#: Class of HTML with amounts or untrusted text: text between two dollar signs would be typeset as a formula, in which
#: links work (the names are MathJax's, in JupyterLab and in exported pages).
NO_MATH = "mathjax_ignore tex2jax_ignore"
_BREAK = "overflow-wrap: break-word; overflow-wrap: anywhere"
TEXT = f"white-space: pre-wrap; {_BREAK}; unicode-bidi: plaintext; text-align: left"
FAILED = "color: var(--jp-error-color1, #b3261e)"
_FADED = "color: var(--cf-soft, inherit)"
_BARS = 60
# Control characters, lone surrogates (broken UTF-8), and marks that change the direction of the text after them.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


#: The parts of ``look.css`` by name.
_PART = re.compile(r"/\* == (\w+) == \*/")


@functools.cache
def rules(*parts: str) -> str:
    """Return the style sheet: its base and these parts, which are named in ``look.css``.

    The file is read and not imported, because plans and reports are below the room ``html``.
    """
    text = (Path(__file__).parent / "look.css").read_text("utf-8")
    found = _PART.split(text)[1:]
    known = dict(zip(found[::2], found[1::2], strict=True))
    return " ".join("".join(known[part] for part in ("base", *parts)).split())


def sheet(*parts: str) -> str:
    """Return the style sheet as HTML.

    Every output that is shown by itself carries the parts it needs, since a saved notebook loads nothing.
    """
    return f"<style>{rules(*parts)}</style>"


def clean(text: str) -> str:
    """Replace characters that a page cannot hold or that would disturb the text around them."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


def escape(text: object, limit: int = SHORT) -> str:
    """Return any text as HTML that only shows it, also inside a quoted attribute; cut at `limit` characters."""
    import html  # loads a table of all entities

    whole = text if isinstance(text, str) else str(text)
    return html.escape(clean(whole if len(whole) <= limit else f"{whole[: limit - 1]}…"))


def line(value: Any, width: int = LINE) -> str:
    """Return a cell as one line of plain text that any frontend can carry.

    Lone surrogates become "?", control characters and marks of writing direction are dropped, and text longer than
    `width` characters ends in "…".
    """
    text = value if isinstance(value, str) else str(value)
    text = " ".join(text[: 4 * width].split())  # a cell can be a megabyte
    if not text.isprintable():
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = " ".join("".join(letter for letter in text if letter.isprintable()).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"


def inline(value: Any, width: int = LINE) -> str:
    """Return a cell as HTML of one line that only shows it, also inside a quoted attribute."""
    return escape(line(value, width), width)


def counted(count: int, what: str = "row") -> str:
    """Write a count: "1 row", "1,200 rows"."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def passage(text: str, short: int = SHORT) -> str:
    """Return a text as HTML: its beginning, which unfolds to at most `LONG` characters."""
    if len(text) <= short:
        return f'<span style="{TEXT}">{escape(text, short)}</span>'
    cut = f"\n… ({len(text):,} characters)" if len(text) > LONG else ""
    begin, rest = f"{escape(text[:short], short)}…", f"…{escape(text[short:LONG], LONG)}{escape(cut)}"
    return (
        f'<details><summary style="{TEXT}; cursor: pointer">{begin}</summary>'
        f'<div style="{TEXT}; max-height: 20em; overflow: auto">{rest}</div></details>'
    )


def remark(text: str, why: str = "") -> str:
    """Return a remark in place of a cell that is missing or cannot be shown."""
    title = f' title="{escape(why, LONG)}"' if why else ""
    return (
        f'<span style="{_FADED}; font-style: italic; white-space: normal; {_BREAK}"{title}>{escape(text, LONG)}</span>'
    )


def failure(code: object, message: str) -> str:
    """Return the error of a row as HTML."""
    return (
        f'<div role="note" class="cfai-fail" style="{FAILED}"><b>✗ failed</b>'
        f"{'' if code is None else f' ({escape(code, 40)})'}<br>{passage(message, 120)}</div>"
    )


def badge(mark: str) -> str:
    """Return a mark, such as "emulator", as a conspicuous chip; an empty mark as nothing."""
    return f"{chip(mark, 'emu')} " if mark else ""


def chip(text: str, kind: str = "") -> str:
    """Return a few words in a rounded box; `kind` is "emu" for a warning, "on" for what is chosen, or empty."""
    return f'<b class="cfai-chip{f" cfai-{kind}" if kind else ""}">{escape(text)}</b>'


def bar(share: float, color: str = "", width: str = "") -> str:
    """Return a share of 0 to 1 as a bar; `color` and `width` are CSS."""
    length = f"width: {100 * min(1.0, max(0.0, share)):.1f}%"
    return (
        f'<span class="cfai-bar" style="{f"width: {width}" if width else ""}">'
        f'<i style="{length}{f"; background: {color}" if color else ""}"></i></span>'
    )


def split(shares: Iterable[tuple[int, str]]) -> str:
    """Return counts as one bar in parts, each with its color in CSS; zeros take no place."""
    given = [(count, color) for count, color in shares if count]
    whole = sum(count for count, _ in given) or 1
    parts = "".join(f'<i style="width: {100 * count / whole:.2f}%; background: {color}"></i>' for count, color in given)
    return f'<div class="cfai-split" aria-hidden="true">{parts}</div>'


def row(*parts: str, style: str = "") -> str:
    """Return pieces of HTML side by side; an empty one moves those after it to the right."""
    # With spaces between them, because a notebook that is not trusted shows them without the style sheet.
    made = " ".join(part or '<span class="cfai-grow"></span>' for part in parts)
    return f'<div class="cfai-row"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{made}</div>'


def soft(text: object, limit: int = SHORT) -> str:
    """Return words of less weight."""
    return f'<span class="cfai-soft">{escape(text, limit)}</span>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Return pairs of texts as a list in two columns; the texts are escaped."""
    made = "".join(f"<dt>{escape(name)}</dt> <dd>{escape(value, LONG)}</dd> " for name, value in pairs)
    return f"<dl>{made}</dl>"


def card(content: str, label: str, *, more: str = "", line: bool = False, alarm: bool = False) -> str:
    """Return a card: a few facts, and `more`, which unfolds when they are clicked.

    With `line` it is as wide as a line and lower; `alarm` gives it the color of warnings.  `content` and `more` are
    HTML already; `label` is for screen readers.
    """
    kind = f"{NO_MATH} cfai cfai-card{' cfai-line' * line}{' cfai-alarm' * alarm}"
    if more:
        content = f'<details><summary>{content}</summary><div class="cfai-more">{more}</div></details>'
    return f'{sheet("card")}<div class="{kind}" role="group" aria-label="{escape(label, LINE)}">{content}</div>'


def address(content: bytes, mime: str) -> str:
    """Return content as a ``data:`` address."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"


def picture(content: bytes, mime: str, alt: str, side: int) -> str:
    """Return a picture that this package encoded as HTML, at most `side` pixels wide and high."""
    limits = f"max-width: {side}px; max-height: {side}px; width: auto; height: auto; border-radius: 3px"
    return f'<img alt="{escape(alt, 500)}" title="{escape(alt, 500)}" style="{limits}" src="{address(content, mime)}">'


def player(content: bytes, mime: str, label: str, width: str = "16em") -> str:
    """Return a sound in a player."""
    return (
        f'<audio controls preload="metadata" aria-label="{escape(label, 500)}" style="width: {width}; height: 2.4em" '
        f'src="{address(content, mime)}"></audio>'
    )


def figure(shown: str, caption: str, *, faded: bool = True) -> str:
    """Return a figure with words below it; both are HTML already."""
    below = f'<figcaption style="{_FADED if faded else "padding-top: .2em"}">{caption}</figcaption>'
    return f'<figure class="{NO_MATH}" style="margin: 0; {FONT}">{shown}{below}</figure>'


def block(content: str, style: str = "", *, role: str = "", label: str = "", look: Iterable[str] | None = None) -> str:
    """Return HTML in a box of its own; `role` and `label` are for screen readers.

    `look` names the parts of the style sheet that it needs; None if another part of the output has them.
    """
    aria = f' role="{role}"' * bool(role) + f' aria-label="{escape(label, 1_000)}"' * bool(label)
    styled = "" if look is None else sheet(*look)
    return f'{styled}<div class="{NO_MATH} cfai"{aria} style="{FONT}{"; " if style else ""}{style}">{content}</div>'


def table(heads: Iterable[tuple[str, str]], rows: Iterable[Iterable[object]], *, foot: Iterable[object] = ()) -> str:
    """Return texts as an HTML table; a head is its text and "left" or "right", and a row begins with its name.

    Each cell is escaped and cut.  A row of sums may stand below.
    """
    given = list(heads)
    looks = [' class="cfai-number"' * (side == "right") for _, side in given]

    def line(cells: Iterable[object], tag: str, scope: str) -> str:
        made = [
            f"<{'th' if at == 0 else tag}{f' scope={chr(34)}{scope}{chr(34)}' if at == 0 or tag == 'th' else ''}{look}>"
            f"{escape(cell)}</{'th' if at == 0 else tag}>"
            for at, (cell, look) in enumerate(zip(cells, looks, strict=True))
        ]
        return f"<tr>{''.join(made)}</tr>"

    below = f"<tfoot>{line(foot, 'td', 'row')}</tfoot>" if (foot := list(foot)) else ""
    top = line([text for text, _ in given], "th", "col")
    body = "".join(line(cells, "td", "row") for cells in rows)
    return (
        f'<div class="cfai-frame" tabindex="0"><table class="cfai-table"><thead>{top}</thead>'
        f"<tbody>{body}</tbody>{below}</table></div>"
    )


def frame_html(frame: Any, head: str, number: Any = "{:,.6g}".format) -> str:
    """Return a small frame of words and numbers as a table below `head`, which is HTML already."""

    def word(cell: Any) -> str:
        if cell is None or cell != cell or str(cell) == "<NA>":
            return "unknown"
        return number(cell) if isinstance(cell, float) else f"{cell:,}" if type(cell) is int else str(cell)

    flat = frame.reset_index()
    kinds = [(str(name), "right" if flat[name].dtype.kind in "iuf" else "left") for name in flat.columns]
    rows = [[word(cell) for cell in cells] for cells in flat.astype(object).itertuples(index=False, name=None)]
    return block(f'<div class="cfai-head">{head}</div>{table(kinds, rows)}', look=("table",))


def sparkline(values: Iterable[float], alt: str, top: float | None = None) -> str:
    """Return numbers as at most 60 bars up and down from zero, the highest of `top` or the largest number.

    With more numbers, a bar shows the one of several that is furthest from zero.
    """
    numbers = [float(value) if abs(value) < float("inf") else 0.0 for value in values]  # no bar for NaN and infinity
    step = max(1, -(-len(numbers) // _BARS))
    peaks = [max(numbers[at : at + step], key=abs) for at in range(0, len(numbers), step)]
    top = top or max(map(abs, peaks), default=0) or 1.0
    heights = [max(-1.0, min(1.0, peak / top)) * 11 for peak in peaks]
    path = "".join(f"M{2 * at + 1} 12v{-height:.1f}" for at, height in enumerate(heights))
    wide = 2 * len(peaks)
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="24" viewBox="0 0 {wide} 24" '
        'preserveAspectRatio="none">'
        f'<path d="M0 12h{wide}" stroke="#999" stroke-width=".5"/>'
        f'<path d="{path}" stroke="#3b82c4" stroke-width="1.6"/></svg>'
    )
    words = escape(alt, 500)
    return f'<img alt="{words}" title="{words}" style="height: 24px" src="{address(drawn.encode(), "image/svg+xml")}">'
