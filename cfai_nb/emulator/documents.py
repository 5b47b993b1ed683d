"""Documents: ``/tomarkdown``. What the standard library can read is really converted; the rest says what it is.

Pictures are described as ``sight`` sees them.
"""

from __future__ import annotations

import csv
import io
import json
import re
import uuid
import zipfile
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from starlette.requests import Request

from . import bodies, sight
from .catalogue import Model
from .errors import Refusal, refuse
from .shapes import ANY, obj
from .voice import MARK
from .words import tokens
from .work import Ask, Family, Work

#: The route is no model's; this row carries it through limits, faults and book.
MODEL = Model("tomarkdown", "Markdown Conversion", "documents", "current", None, None, None, None, {})

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_OPEN = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_UNPACKED = 50_000_000
_CELLS = 200_000


class _Markdown(HTMLParser):
    """HTML as simple Markdown: headings, paragraphs, lists, links, emphasis, code, rows of tables."""

    _MARKS: Mapping[str, str] = {"b": "**", "strong": "**", "i": "*", "em": "*", "code": "`"}
    _BREAKS = frozenset(
        {"p", "div", "section", "article", "table", "ul", "ol", "blockquote", "pre", "header", "footer"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden, self._links = 0, [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "template"):
            self._hidden += 1
        elif re.fullmatch("h[1-6]", tag):
            self.parts.append(f"\n\n{'#' * int(tag[1])} ")
        elif tag in self._BREAKS:
            self.parts.append("\n\n")
        elif tag in ("li", "tr", "br"):
            self.parts.append({"li": "\n- ", "tr": "\n| ", "br": "\n"}[tag])
        elif tag == "a":
            self._links.append(dict(attrs).get("href") or "")
            self.parts.append("[")
        elif tag in self._MARKS:
            self.parts.append(self._MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "template"):
            self._hidden = max(0, self._hidden - 1)
        elif tag == "a" and len(self._links) > 1:
            self.parts.append(f"]({self._links.pop()})")
        elif tag in ("td", "th"):
            self.parts.append(" | ")
        elif tag in self._MARKS:
            self.parts.append(self._MARKS[tag])
        elif tag in self._BREAKS or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(re.sub(r"\s+", " ", data))


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _html(data: bytes) -> str:
    reader = _Markdown()
    reader.feed(_text(data))
    reader.close()
    lines = (line.strip() for line in "".join(reader.parts).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _table(rows: list[list[str]]) -> str:
    """Return rows as a Markdown table, the first being its head."""
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    cells = [
        [" ".join(cell.split()).replace("|", "\\|") for cell in [*row, *[""] * (width - len(row))]] for row in rows
    ]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _csv(data: bytes) -> str:
    return _table(list(csv.reader(io.StringIO(_text(data), newline=""))))


def _json(data: bytes) -> str:
    return f"```json\n{json.dumps(json.loads(data), indent=2, ensure_ascii=False)}\n```"


def _tree(data: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities that blow up
        raise ValueError("a document type is not read")
    return ElementTree.fromstring(data)


def _xml(data: bytes) -> str:
    _tree(data)
    return f"```xml\n{_text(data).strip()}\n```"


def _part(data: bytes, name: str) -> ElementTree.Element:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo(name).file_size > _UNPACKED:
            raise ValueError(f"{name} is too large unpacked")
        return _tree(archive.read(name))


def _names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def _docx(data: bytes) -> str:
    said = []
    for paragraph in _part(data, "word/document.xml").iter(f"{_WORD}p"):
        style = paragraph.find(f"{_WORD}pPr/{_WORD}pStyle")
        level = re.fullmatch(r"Heading([1-6])", "" if style is None else style.get(f"{_WORD}val", ""))
        line = "".join(part.text or "" for part in paragraph.iter(f"{_WORD}t"))
        said.append(f"{'#' * int(level[1])} {line}" if level and line else line)
    return "\n\n".join(line for line in said if line.strip())


def _odt(data: bytes) -> str:
    lines = []
    for part in _part(data, "content.xml").iter():
        if part.tag in (f"{_OPEN}p", f"{_OPEN}h"):
            line = "".join(part.itertext())
            level = int(part.get(f"{_OPEN}outline-level", "1")) if part.tag == f"{_OPEN}h" else 0
            lines.append(f"{'#' * level} {line}" if level else line)
    return "\n\n".join(line for line in lines if line.strip())


def _xlsx(data: bytes) -> str:
    names = _names(data)
    shared: list[str] = []
    if "xl/sharedStrings.xml" in names:
        found = _part(data, "xl/sharedStrings.xml").iter(f"{_SHEET}si")
        shared = ["".join(part.text or "" for part in item.iter(f"{_SHEET}t")) for item in found]
    sheets = sorted(name for name in names if re.fullmatch(r"xl/worksheets/sheet\d+\.xml", name))
    said = []
    for name in sheets:
        rows = [_cells(row, shared) for row in _part(data, name).iter(f"{_SHEET}row")]
        said.append(f"## {name.rpartition('/')[2].removesuffix('.xml')}\n\n{_table(rows)}")
    return "\n\n".join(said)


def _cells(row: ElementTree.Element, shared: list[str]) -> list[str]:
    cells: list[str] = []
    for cell in row.iter(f"{_SHEET}c"):
        letters = re.match(r"[A-Z]+", cell.get("r", ""))
        place = len(cells)
        if letters:
            place = 0
            for letter in letters[0]:
                place = place * 26 + ord(letter) - 64
            place -= 1
        if place > _CELLS:
            raise ValueError("a row is too wide")
        cells += [""] * (place - len(cells))
        value = "".join(part.text or "" for tag in ("v", "t") for part in cell.iter(f"{_SHEET}{tag}"))
        cells.append(shared[int(value)] if cell.get("t") == "s" and value else value)
    return cells


def _pdf(data: bytes) -> str:
    pages = len(re.findall(rb"/Type\s*/Page(?![a-zA-Z])", data))
    return f"{MARK[:-1]}: PDF of {len(data)} bytes, {pages or 'unknown'} page{'s' * (pages != 1)}]"


def _picture(data: bytes) -> str:
    return f"{MARK} {sight.look(data).caption('long')}"


#: extension -> (media type, what its bytes begin with, reader)
_FORMATS: Mapping[str, tuple[str, bytes, Callable[[bytes], str]]] = {
    ".pdf": ("application/pdf", b"%PDF-", _pdf),
    ".docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK", _docx),
    ".xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK", _xlsx),
    ".odt": ("application/vnd.oasis.opendocument.text", b"PK", _odt),
    ".html": ("text/html", b"", _html),
    ".htm": ("text/html", b"", _html),
    ".csv": ("text/csv", b"", _csv),
    ".json": ("application/json", b"", _json),
    ".xml": ("application/xml", b"", _xml),
    ".md": ("text/markdown", b"", _text),
    ".txt": ("text/plain", b"", _text),
    ".png": ("image/png", b"\x89PNG\r\n\x1a\n", _picture),
    ".jpg": ("image/jpeg", b"\xff\xd8\xff", _picture),
    ".jpeg": ("image/jpeg", b"\xff\xd8\xff", _picture),
    ".gif": ("image/gif", b"GIF8", _picture),
    ".webp": ("image/webp", b"RIFF", _picture),
    ".bmp": ("image/bmp", b"BM", _picture),
}


async def supported(_: Request) -> list[dict[str, str]]:
    """Return the formats."""
    return [{"extension": extension, "mimeType": media} for extension, (media, *_) in _FORMATS.items()]


def convert(name: str, media: str, data: bytes) -> dict[str, Any]:
    """Return the row of one file; what is wrong with it is its own error."""
    suffix = re.search(r"\.[a-z]+$", name.casefold())
    plain = media.partition(";")[0].strip().casefold()
    extension = suffix[0] if suffix and suffix[0] in _FORMATS else ""
    if not extension:
        extension = next((known for known, (kind, *_) in _FORMATS.items() if kind == plain), "")
    row = {"id": str(uuid.uuid4()), "name": name, "mimeType": _FORMATS[extension][0] if extension else plain}
    if not extension:
        return {**row, "format": "error", "tokens": 0, "error": f"Unsupported format of {name}"}
    _, magic, read = _FORMATS[extension]
    try:
        if not data.startswith(magic):
            raise ValueError(f"these bytes are no {extension[1:]}")
        text = read(data)
    except Refusal as refusal:
        return {**row, "format": "error", "tokens": 0, "error": f"{name} cannot be converted: {refusal.text}"}
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile, ElementTree.ParseError, csv.Error) as error:
        return {**row, "format": "error", "tokens": 0, "error": f"{name} cannot be converted: {error}"}
    return {**row, "format": "markdown", "tokens": tokens(text), "data": text}


async def read(request: Request) -> Ask:
    """Return the ask of a multipart request."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise refuse(5006, why="required properties at '/' are 'files' (multipart/form-data)")
    parts = await bodies.parts(request)
    files = [part for name, part in parts if name in ("files", "files[]") and isinstance(part, bodies.File)]
    options: Any = next((part for name, part in parts if name == "conversionOptions"), None)
    if options is not None:
        try:
            options = json.loads(options if isinstance(options, str) else "")
        except ValueError:
            options = None
        if not isinstance(options, dict):
            raise refuse(5006, why="'/conversionOptions' is not a JSON object")
    if not files:
        raise refuse(5006, why="required properties at '/' are 'files'")
    return Ask(MODEL, {"files": files, "conversionOptions": options or {}})


def _answer(ask: Ask) -> Work:
    return Work([convert(file.name or "file", file.media, file.data) for file in ask.body["files"]])


def _texts(ask: Ask) -> list[str]:
    return [f"{file.name} ({len(file.data)} bytes)" for file in ask.body["files"]]


FAMILIES = {
    "documents": Family(
        lambda _: obj({"files": ANY}, "files"), lambda _: ANY, _texts, _answer, lambda _: None, threaded=True
    ),
}
