"""Document conversion, ``/tomarkdown``: text formats are really converted, pictures are described, others named.

It takes the files of a multipart request, read by ``service``, and returns one row per file; a file that
cannot be converted has an error in its row. PDF and office files get one line with their format and size, since their
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
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from pydantic_core import from_json

from ..error_codes import ServiceError, refuse
from ..json_schema import ANY, BOOLEAN, STRING, Schema, obj, one, require
from ..model_catalogue import Model
from ..standins import MARK, count_tokens, image_reading
from . import Family, ModelRequest, ModelResult

#: Document conversion has no model; this row takes it through limits, faults and the request log.
MODEL = Model("tomarkdown", "Markdown Conversion", "documents")


class _Markdown(HTMLParser):
    """HTML as simple Markdown: headings, paragraphs, lists, links, emphasis, code, rows of tables."""

    _BREAKS = "p div section article table ul ol blockquote pre header footer h1 h2 h3 h4 h5 h6"
    #: Marks of a tag's end, and of its start.
    _ENDS = {"b": "**", "strong": "**", "i": "*", "em": "*", "code": "`"} | dict.fromkeys(_BREAKS.split(), "\n\n")
    _STARTS = {**_ENDS, "li": "\n- ", "tr": "\n| ", "br": "\n", "a": "["} | {
        f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)
    }
    _HIDDEN = ("script", "style", "template")

    _VOID = frozenset(
        ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
    )

    def __init__(self, selector: str = "") -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden, self._links = 0, list[str]()
        self._selector, self._depth = selector, 0  # the depth inside a selected tag

    def _selected(self, tag: str, attrs: Mapping[str, str | None]) -> bool:
        """Whether a simple selector (``tag``, ``.class``, ``#id``, or a tag with one of them) selects this tag."""
        name, mark, value = re.fullmatch(r"([\w-]*)([.#]?)([\w-]*)", self._selector).groups()  # type: ignore[union-attr]
        held = (attrs.get("class") or "").split() if mark == "." else [attrs.get("id")]
        return name in ("", tag) and (not mark or value in held)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._selector and tag not in self._VOID:
            self._depth += bool(self._depth or self._selected(tag, dict(attrs)))
        self._hidden += tag in self._HIDDEN
        if tag == "a":
            self._links.append(dict(attrs).get("href") or "")
        self._add(self._STARTS.get(tag, ""))

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in self._HIDDEN))
        link = f"]({self._links.pop()})" if tag == "a" and self._links else ""
        self._add(link or (" | " if tag in ("td", "th") else self._ENDS.get(tag, "")))
        self._depth = max(0, self._depth - (tag not in self._VOID))

    def handle_data(self, data: str) -> None:
        self._add("" if self._hidden else re.sub(r"\s+", " ", data))

    def _add(self, text: str) -> None:
        self.parts.append("" if self._selector and not self._depth else text)


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig")


def _html(data: bytes, selector: str = "") -> str:
    reader = _Markdown(selector)
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
    return f"```json\n{json.dumps(from_json(data), indent=2, ensure_ascii=False)}\n```"


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


_LANGUAGES = ("en", "it", "de", "es", "fr", "pt")
_IMAGES = obj({"convert": BOOLEAN, "convertOGImage": BOOLEAN, "maxConvertedImages": {"type": "integer", "maximum": 10}})
#: The schema of ``conversionOptions``.
_OPTIONS = obj({
    "output": obj({"format": one("markdown", "text")}),
    "html": obj({"cssSelector": STRING, "hostname": STRING, "images": _IMAGES}),
    "pdf": obj({"metadata": BOOLEAN, "images": _IMAGES}),
    "docx": obj({"images": _IMAGES}),
    "image": obj({"descriptionLanguage": one(*_LANGUAGES)}),
})  # fmt: skip


def _check(request: ModelRequest, schema: Schema) -> None:
    """Refuse options that are not documented, and selectors that the emulator does not understand."""
    options = request.body["conversionOptions"]
    require(options, _OPTIONS)
    if not re.fullmatch(r"[\w-]*([.#][\w-]+)?", options.get("html", {}).get("cssSelector", "")):
        raise refuse(5006, why="emulator: cssSelector takes a tag, a class or an id")


def _as_text(markdown: str) -> str:
    """Return Markdown without its marks."""
    plain = re.sub(r"(?m)^(?:#+ |- |\| |```\w*$|\|(?: --- \|)+$)|\*\*|`| \|", "", markdown)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)).strip()


def convert(name: str, media: str, data: bytes, options: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
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
        html = options.get("html", {}).get("cssSelector", "")
        text = _html(data, html) if read is _html else read(data)
        if read is _pdf and options.get("pdf", {}).get("metadata", False):
            text = f"- Format=PDF\n\n{text}"
        if read is _picture and (language := options.get("image", {}).get("descriptionLanguage", "en")) != "en":
            text = f"{text} ({language})"
    except LookupError:
        why = f"Unsupported format of {name}"
    except (ServiceError, ValueError, zipfile.BadZipFile, ElementTree.ParseError, csv.Error) as error:
        why = f"{name} cannot be converted: {error.text if isinstance(error, ServiceError) else error}"
    else:
        form = options.get("output", {}).get("format", "markdown")
        text = text if form == "markdown" else _as_text(text)
        return {**row, "format": form, "tokens": count_tokens(text), "data": text}
    return {**row, "format": "error", "tokens": 0, "error": why}


def _answer(request: ModelRequest) -> ModelResult:
    options = request.body["conversionOptions"]
    return ModelResult([convert(file.name or "file", file.media, file.data, options) for file in request.body["files"]])


def _texts(request: ModelRequest) -> list[str]:
    return [f"{file.name} ({len(file.data)} bytes)" for file in request.body["files"]]


FAMILIES = {"documents": Family(obj({"files": ANY}, "files"), ANY, _texts, _answer, _check, threaded=True)}
