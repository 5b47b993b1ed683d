"""``/tomarkdown``: what is converted, what is only named, and that one bad file fails alone."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from cfai_nb.emulator.standins import image_reading as sight
from cfai_nb.emulator.standins.image_drawing import Order, draw


def packed() -> bytes:
    """Return an archive, as every office file is one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("content.xml", "<a>1</a>")
    return buffer.getvalue()


OFFICE = packed()
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
        ("a.docx", OFFICE, f"[emulator: DOCX of {len(OFFICE)} bytes]"),
        ("a.xlsx", OFFICE, f"[emulator: XLSX of {len(OFFICE)} bytes]"),
        ("a.odt", OFFICE, f"[emulator: ODT of {len(OFFICE)} bytes]"),
        ("a.pdf", b"%PDF-1.4 /Type /Pages /Type /Page ", "[emulator: PDF of 34 bytes, 1 page]"),
        ("a.png", DRAWN, f"[emulator] {sight.read_image(DRAWN).caption('long')}"),
        ("a.png", DRAWN[:40], None),
        ("a.bin", b"?", None),
        ("a.pdf", b"no pdf", None),
        ("a.docx", b"PK no zip", None),
        ("a.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', None),
        ("a.json", b"{", None),
        ("a.json", b"[" * 100_000, None),
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
    """It is in the request log, free, meets faults, and without files is refused."""
    here = door(faults=["503"])
    files = [("files", ("a.txt", b"x"))]
    assert here.ask("POST", "/tomarkdown", files=files).status_code == 503
    assert here.ask("POST", "/tomarkdown", files=files, data={"conversionOptions": "{}"}).status_code == 200
    assert here.ask("POST", "/tomarkdown", files=files, data={"conversionOptions": "["}).status_code == 400
    assert here.ask("POST", "/tomarkdown", json={}).json()["errors"][0]["code"] == 5006
    assert [call.charged for call in here.emulator.calls] == [False] * 4
    extensions = [row["extension"] for row in here.ask("GET", "/tomarkdown/supported").json()["result"]]
    assert ".docx" in extensions


PAGE = b"<body><nav>Menu</nav><article class='main'><h1>Title</h1><p>Some <b>bold</b> text</p></article></body>"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "Menu\n\n# Title\n\nSome **bold** text"),
        ({"html": {"cssSelector": "article"}}, "# Title\n\nSome **bold** text"),
        ({"html": {"cssSelector": ".main"}, "output": {"format": "text"}}, "Title\n\nSome bold text"),
        ({"html": {"cssSelector": "#none"}}, ""),
        ({"output": {"format": "html"}}, 5006),
        ({"pdf": {"images": {"maxConvertedImages": 11}}}, 5006),
        ({"image": {"descriptionLanguage": "xx"}}, 5006),
    ],
)
def test_options_of_a_conversion(door: Any, options: Any, said: str | int) -> None:
    """Part of a page, plain text, and a refusal of what is not documented."""
    form = {"conversionOptions": json.dumps(options)}
    answer = door().ask("POST", "/tomarkdown", files=[("files", ("a.html", PAGE))], data=form).json()
    if isinstance(said, int):
        assert answer["errors"][0]["code"] == said
    else:
        row = answer["result"][0]
        assert row["data"] == said
        assert row["format"] == options.get("output", {}).get("format", "markdown")
