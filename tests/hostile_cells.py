"""Untrusted cells, and the check that a piece of HTML shows them and does nothing."""

from __future__ import annotations

import io
import re
import struct
import wave
import zlib
from html.parser import HTMLParser
from typing import Any

from PIL import Image

from cfai_nb.html import markup

SCRIPT = "<script>window.__alarm = 1</script>"
_TAGS = frozenset((
    "div", "span", "b", "br", "img", "audio", "figure", "figcaption", "details", "summary", "table", "caption", "thead",
    "tbody", "tfoot", "tr", "th", "td", "p", "small", "blockquote", "h1",
))  # fmt: skip
_ATTRIBUTES = frozenset((
    "style", "title", "alt", "src", "role", "scope", "controls", "preload", "aria-label", "aria-live", "class",
    "tabindex", "aria-sort",
))  # fmt: skip
_SOURCE = re.compile(r"data:(image/(jpeg|png|webp|svg\+xml)|audio/[a-z0-9]+);base64,[A-Za-z0-9+/=]*")


class _Judge(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Only tags and attributes of our own."""
        if tag not in _TAGS:
            self.wrong.append(f"<{tag}>")
        for name, value in attributes:
            if name not in _ATTRIBUTES or (name == "style" and re.search(r"url|expression|@", value or "")):
                self.wrong.append(f"{tag} {name}={value!r:.60}")
            if name == "src":
                self.sources.append(value or "")
                if not _SOURCE.fullmatch(value or ""):
                    self.wrong.append(f"{tag} src={value!r:.60}")
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Everything is closed in order: no cell breaks out of its place."""
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        """What is read."""
        self.words.append(data)


def judged(html: str) -> _Judge:
    """Assert that HTML holds nothing but our own tags and attributes, in order, and return what it shows."""
    html.encode("utf-8")
    for looks in (("table",), ("table", "cards"), ("card",), ("map",), ("plot",), ("map", "plot"), ("plot", "map")):
        html = html.replace(markup.sheet(*looks), "")  # the package's own, which holds nothing of a cell
    judge = _Judge()
    judge.feed(html)
    judge.close()
    assert (judge.wrong, judge.open) == ([], [])
    return judge


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def drawn(size: tuple[int, int] = (64, 48), form: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """A picture of two colours; half of it is clear where the mode has that."""
    painted = Image.new("RGBA", size, (230, 120, 40, 90))
    painted.paste((40, 110, 180, 255), (0, 0, size[0] // 2, size[1]))
    picture = painted.convert(mode)
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def sound(seconds: float = 0.2, rate: int = 8_000) -> bytes:
    """A WAV of a tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(1)
        written.setframerate(rate)
        written.writeframes(bytes(128 + 60 * (at // 10 % 2) for at in range(int(seconds * rate))))
    return file.getvalue()


def _text_bomb() -> bytes:
    """A PNG whose comment grows to 200 MB."""
    squeezer = zlib.compressobj(9)
    body = b"".join(squeezer.compress(bytes(2**20)) for _ in range(200)) + squeezer.flush()
    png = drawn()
    return png[:33] + chunk(b"zTXt", b"Comment\0\0" + body) + png[33:]


SVG = f'<svg xmlns="http://www.w3.org/2000/svg" onload="window.__alarm=1">{SCRIPT}</svg>'.encode()
POLYGLOT = b"GIF89a/*" + drawn(form="GIF")[8:] + b"*/=1;window.__alarm=1//" + SCRIPT.encode()

#: Name -> a cell, and a word that must be read in its place.
CELLS: dict[str, tuple[Any, str]] = {
    "script": (SCRIPT, SCRIPT),
    "handler": ('<img src=x onerror="window.__alarm=1">', "onerror"),
    "out of an attribute": ('" onmouseover="window.__alarm=1" x="', "onmouseover"),
    "out of a table": ("</td></tr></table></div><iframe src=//example.org>", "</table>"),
    "out of a summary": (f"</summary></details>{SCRIPT}" + "x" * 500, "</details>"),
    "link": ("javascript:window.__alarm=1", "javascript:"),
    "data link": ("data:text/html;base64,PHNjcmlwdD4=", "data:text/html"),
    "formula": (r"$\href{javascript:window.__alarm=1}{look}$ costs $5", "$"),
    "address": ("https://example.org/picture.png", "https://example.org"),
    "half a character": ("a\ud800b", "a�b"),
    "controls": ("a\x00\x1b[31m\x9bb\u202ecod.exe", "�"),
    "boxes": ([{"label": SCRIPT, "score": "0.5", "xmin": -1e300, "ymin": 0, "xmax": 1e300, "ymax": 1}], SCRIPT),
    "boxes of words": ([{"label": "a", "xmin": SCRIPT, "ymin": 0, "xmax": 1, "ymax": 1}], "xmin of a box is"),
    "broken UTF-8": (b"\xff\xfe\x80abc", "bytes of unknown format, 6 B"),
    "a megabyte": ("<b>" + "ab " * 350_000, "1,050,003 characters"),
    "a megabyte on a line": ("x" * 1_000_000, "1,000,000 characters"),
    "long number": (10**6_000, "cannot be shown"),
    "deep": ({"a": [[[[[[SCRIPT]]]]]], "b": "x" * 10**6}, "..."),
    "SVG": (SVG, "SVG, "),
    "SVG with a head": (b'<?xml version="1.0"?>' + SVG, "SVG, "),
    "HTML": (f"<!DOCTYPE html>{SCRIPT}".encode(), "HTML, "),
    "script in bytes": (SCRIPT.encode(), "HTML, "),
    "PDF": (b"%PDF-1.7 " + SCRIPT.encode(), "PDF, "),
    "video": (b"\0\0\0\x18ftypmp42" + bytes(50), "MP4, "),
    "nothing": (b"", "the cell is empty"),
    "wrong header": (b"\x89PNG\r\n\x1a\n" + SVG, "header is broken"),
    "JPEG in name only": (b"\xff\xd8\xff" + SCRIPT.encode(), "header is broken"),
    "TIFF in name only": (b"II*\x00" + bytes(100), "cannot be read as a picture"),
    "truncated PNG": (drawn((300, 300))[:150], "PNG 300×300"),
    "truncated JPEG": (drawn((300, 300), "JPEG")[:700], "JPG 300×300"),
    "bomb": (png_claiming(60_000, 60_000), "decompression bomb"),
    "smaller bomb": (png_claiming(9_000, 9_000), "claims 9,000 × 9,000 pixels"),
    "bomb of text": (_text_bomb(), "cannot be"),
    "polyglot": (POLYGLOT, ""),
    "sound in name only": (b"RIFF\x10\0\0\0WAVE" + SCRIPT.encode(), ""),
    "tag without sound": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + SCRIPT.encode(), ""),
    "ogg without sound": (b"OggS" + bytes(range(256)) * 400, ""),
    "sound in pieces": (b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 250_000, "not saved here"),
    "sound with a script": (sound() + SCRIPT.encode(), "WAV 0.2 s"),
}
