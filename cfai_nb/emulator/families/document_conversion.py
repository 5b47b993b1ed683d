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
from functools import partial
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

    _BREAKS = "p div section article table ul ol blockquote pre header footer h1 h2 h3 h4 h5 h6"
    #: Marks of a tag's end, and of its start.
    _ENDS = {"b": "**", "strong": "**", "i": "*", "em": "*", "code": "`"} | dict.fromkeys(_BREAKS.split(), "\n\n")
    _STARTS = {**_ENDS, "li": "\n- ", "tr": "\n| ", "br": "\n", "a": "["} | {
        f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)
    }
    _HIDDEN = ("script", "style", "template")

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden, self._links = 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._HIDDEN
        if tag == "a":
            self._links.append(dict(attrs).get("href") or "")
        self.parts.append(self._STARTS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self._HIDDEN))
        link = f"]({self._links.pop()})" if tag == "a" and self._links else ""
        self.parts.append(link or (" | " if tag in ("td", "th") else self._ENDS.get(tag, "")))

    def handle_data(self, data: str) -> None:
        self.parts.append("" if self._hidden else re.sub(r"\s+", " ", data))


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _html(data: bytes) -> str:
    reader = _Markdown()
    reader.feed(_text(data))
    reader.close()
    lines = (line.strip() for line in "".join(reader.parts).splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _csv(data: bytes) -> str:
    """Return rows as a Markdown table, the first row as its header."""
    given = csv.reader(io.StringIO(_text(data), newline=""))
    rows = [row for row in given if any(cell.strip() for cell in row)]
    if not rows:
        return ""
    width = max(map(len, rows))
    padded = ([*row, *[""] * (width - len(row))] for row in rows)
    cells = ([" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in padded)
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])


def _json(data: bytes) -> str:
    return f"```json\n{json.dumps(json.loads(data), indent=2, ensure_ascii=False)}\n```"


def _xml(data: bytes) -> str:
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # entities can expand without bound
        raise ValueError("a document type declaration is not accepted")
    ElementTree.fromstring(data)
    return f"```xml\n{_text(data).strip()}\n```"


def _office(data: bytes, kind: str) -> str:
    """Return a line that names an office file, after a check that it is one archive."""
    with zipfile.ZipFile(io.BytesIO(data)):
        return f"{MARK[:-1]}: {kind} of {len(data)} bytes]"


def _pdf(data: bytes) -> str:
    pages = len(re.findall(rb"/Type\s*/Page(?![a-zA-Z])", data))
    return f"{MARK[:-1]}: PDF of {len(data)} bytes, {pages or 'unknown'} page{'s' * (pages != 1)}]"


def _picture(data: bytes) -> str:
    return f"{MARK} {image_reading.read_image(data).caption('long')}"


_OFFICE = "application/vnd.openxmlformats-officedocument"
#: Extension -> (media type, first bytes, reader).
_FORMATS: Mapping[str, tuple[str, bytes, Callable[[bytes], str]]] = {
    ".pdf": ("application/pdf", b"%PDF-", _pdf),
    ".docx": (f"{_OFFICE}.wordprocessingml.document", b"PK", partial(_office, kind="DOCX")),
    ".xlsx": (f"{_OFFICE}.spreadsheetml.sheet", b"PK", partial(_office, kind="XLSX")),
    ".odt": ("application/vnd.oasis.opendocument.text", b"PK", partial(_office, kind="ODT")),
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
    plain, suffix = media.partition(";")[0].strip().casefold(), "".join(name.casefold().rpartition(".")[1:])
    by_type = next((known for known, (kind, *_) in _FORMATS.items() if kind == plain), "")
    extension = suffix if suffix in _FORMATS else by_type
    kind, magic, read = _FORMATS.get(extension, (plain, b"", None))
    row = {"id": str(uuid.uuid4()), "name": name, "mimeType": kind}
    try:
        if read is None:
            raise LookupError
        if not data.startswith(magic):
            raise ValueError(f"these bytes are not {extension[1:].upper()}")
        text = read(data)
    except LookupError:
        why = f"Unsupported format of {name}"
    except (ServiceError, ValueError, zipfile.BadZipFile, ElementTree.ParseError, csv.Error) as error:
        why = f"{name} cannot be converted: {error.text if isinstance(error, ServiceError) else error}"
    else:
        return {**row, "format": "markdown", "tokens": count_tokens(text), "data": text}
    return {**row, "format": "error", "tokens": 0, "error": why}


def _answer(request: ModelRequest) -> ModelResult:
    return ModelResult([convert(file.name or "file", file.media, file.data) for file in request.body["files"]])


def _texts(request: ModelRequest) -> list[str]:
    return [f"{file.name} ({len(file.data)} bytes)" for file in request.body["files"]]


FAMILIES = {"documents": Family(obj({"files": ANY}, "files"), ANY, _texts, _answer, lambda *_: None, threaded=True)}
