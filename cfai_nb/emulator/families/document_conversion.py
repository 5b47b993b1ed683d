"""Document conversion, ``/tomarkdown``: text formats are really converted, pictures are described, others named.

Comes in: the files of a multipart request, read by ``service.request_body``. Goes out: one row per file; a file that
cannot be converted is an error of its own. PDF and office files get one line that says what they are, since their
conversion would be a program of its own.
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

from ..error_codes import ServiceError
from ..json_schema import ANY, obj
from ..model_catalogue import Model
from ..standins import image_reading
from ..standins.lexical import count_tokens
from ..standins.text_standin import MARK
from .family import Family, ModelRequest, ModelResult

#: Document conversion has no model; this row takes it through limits, faults and the request log.
MODEL = Model("tomarkdown", "Markdown Conversion", "documents", "current", None, None, None, None, {})


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
    """Return rows as a Markdown table, the first row as its header."""
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


def _xml(data: bytes) -> str:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities can expand without bound
        raise ValueError("a document type declaration is not accepted")
    ElementTree.fromstring(data)
    return f"```xml\n{_text(data).strip()}\n```"


def _office(kind: str) -> Callable[[bytes], str]:
    """Return a reader that names an office file, after a check that it is one archive."""

    def read(data: bytes) -> str:
        with zipfile.ZipFile(io.BytesIO(data)):
            return f"{MARK[:-1]}: {kind} of {len(data)} bytes]"

    return read


def _pdf(data: bytes) -> str:
    pages = len(re.findall(rb"/Type\s*/Page(?![a-zA-Z])", data))
    return f"{MARK[:-1]}: PDF of {len(data)} bytes, {pages or 'unknown'} page{'s' * (pages != 1)}]"


def _picture(data: bytes) -> str:
    return f"{MARK} {image_reading.read_image(data).caption('long')}"


#: Extension -> (media type, first bytes, reader).
_FORMATS: Mapping[str, tuple[str, bytes, Callable[[bytes], str]]] = {
    ".pdf": ("application/pdf", b"%PDF-", _pdf),
    ".docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK", _office("DOCX")),
    ".xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK", _office("XLSX")),
    ".odt": ("application/vnd.oasis.opendocument.text", b"PK", _office("ODT")),
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


def formats() -> list[dict[str, str]]:
    """Return the formats that are converted, as the service lists them."""
    return [{"extension": extension, "mimeType": media} for extension, (media, *_) in _FORMATS.items()]


def convert(name: str, media: str, data: bytes) -> dict[str, Any]:
    """Return the row of one file; a file that cannot be read is an error row."""
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
            raise ValueError(f"these bytes are not {extension[1:].upper()}")
        text = read(data)
    except ServiceError as error:
        return {**row, "format": "error", "tokens": 0, "error": f"{name} cannot be converted: {error.text}"}
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile, ElementTree.ParseError, csv.Error) as error:
        return {**row, "format": "error", "tokens": 0, "error": f"{name} cannot be converted: {error}"}
    return {**row, "format": "markdown", "tokens": count_tokens(text), "data": text}


def _answer(request: ModelRequest) -> ModelResult:
    return ModelResult([convert(file.name or "file", file.media, file.data) for file in request.body["files"]])


def _texts(request: ModelRequest) -> list[str]:
    return [f"{file.name} ({len(file.data)} bytes)" for file in request.body["files"]]


FAMILIES = {"documents": Family(obj({"files": ANY}, "files"), ANY, _texts, _answer, lambda *_: None, threaded=True)}
