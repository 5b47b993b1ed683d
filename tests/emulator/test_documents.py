"""``/tomarkdown``: what is converted, what is only named, and that one bad file fails alone."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest

from cfai_nb.emulator import sight
from cfai_nb.emulator.drawing import Order, draw

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
O = 'xmlns:t="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'  # noqa: E741


def packed(**files: str) -> bytes:
    """Return a zip of texts; two underscores stand for a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".xml", text)
    return buffer.getvalue()


DOCX = packed(
    word__document=f'<w:document {W}><w:p><w:pPr><w:pStyle w:val="Heading2"/></w:pPr><w:r><w:t>Title</w:t></w:r></w:p>'
    "<w:p><w:r><w:t>some </w:t></w:r><w:r><w:t>text</w:t></w:r></w:p></w:document>"
)
XLSX = packed(
    xl__sharedStrings=f"<sst {S}><si><t>name</t></si></sst>",
    xl__worksheets__sheet1=f'<worksheet {S}><row><c r="A1" t="s"><v>0</v></c><c r="C1"><v>5</v></c></row></worksheet>',
)
ODT = packed(content=f'<o {O}><t:h t:outline-level="3">Head</t:h><t:p>line</t:p></o>')
DRAWN = draw(Order("a red circle", 64, 64))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.csv", b'a,b\n"x|y",2\n', "| a | b |\n| --- | --- |\n| x\\|y | 2 |"),
        (
            "a.html",
            b"<h1>Hi</h1><script>bad()</script><p>see <a href='/x'>this</a> <b>now</b></p><ul><li>one<li>two</ul>",
            "# Hi\n\nsee [this](/x) **now**\n\n- one\n- two",
        ),
        ("a.json", b'{"a":[1]}', '```json\n{\n  "a": [\n    1\n  ]\n}\n```'),
        ("a.xml", b"<a>1</a>", "```xml\n<a>1</a>\n```"),
        ("a.md", b"# As it is", "# As it is"),
        ("a.docx", DOCX, "## Title\n\nsome text"),
        ("a.xlsx", XLSX, "## sheet1\n\n| name |  | 5 |\n| --- | --- | --- |"),
        ("a.odt", ODT, "### Head\n\nline"),
        ("a.pdf", b"%PDF-1.4 /Type /Pages /Type /Page ", "[emulator: PDF of 34 bytes, 1 page]"),
        ("a.png", DRAWN, f"[emulator] {sight.look(DRAWN).caption('long')}"),
        ("a.png", DRAWN[:40], None),
        ("a.bin", b"?", None),
        ("a.pdf", b"no pdf", None),
        ("a.docx", b"PK no zip", None),
        ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', None),
        ("a.json", b"{", None),
        ("a.txt", b"\xff\xfe\xfa", None),
    ],
)
def test_files_become_markdown_or_their_own_error(door: Any, name: str, data: bytes, said: str | None) -> None:
    """A file beside a good one is converted, or says why not; the call succeeds."""
    files = [("files", (name, data)), ("files", ("ok.txt", b"fine"))]
    row, good = door().ask("POST", "/tomarkdown", files=files).json()["result"]
    assert (good["format"], good["data"]) == ("markdown", "fine")
    assert row["name"] == name
    if said is None:
        assert row["format"] == "error"
        assert name in row["error"]
        assert "data" not in row
    else:
        assert (row["format"], row["data"]) == ("markdown", said)
        assert row["tokens"] > 0


def test_the_call_is_a_call(door: Any) -> None:
    """It is in the book, free, meets faults, and without files is refused."""
    here = door(faults=["503"])
    files = [("files", ("a.txt", b"x"))]
    assert here.ask("POST", "/tomarkdown", files=files).status_code == 503
    assert here.ask("POST", "/tomarkdown", files=files, data={"conversionOptions": "{}"}).status_code == 200
    assert here.ask("POST", "/tomarkdown", files=files, data={"conversionOptions": "["}).status_code == 400
    assert here.ask("POST", "/tomarkdown", json={}).json()["errors"][0]["code"] == 5006
    assert [call.charged for call in here.emulator.calls] == [False] * 4
    extensions = [row["extension"] for row in here.ask("GET", "/tomarkdown/supported").json()["result"]]
    assert ".docx" in extensions
