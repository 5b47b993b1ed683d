"""One statement about the service: how it is written, and whether an answer agrees with it; plain functions and data.

``statements`` makes its table with a constructor for each kind of address, one line per statement; the
folder's main module observes an answer and compares it with its statement.
"""

from __future__ import annotations

import io
import math
import re
import struct
import wave
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ...media import sniff
from ...models import tokens_in
from ...tasks import Json, Request
from ...tasks.dialects.request import from_json

#: An expected value: a kind in brackets ("<text>"), a pattern after a tilde ("~^AiError"), or the value; a tuple holds
#: if one of its members does, and "!" before a kind or a pattern means that no value may fit it.
Expected: TypeAlias = Any
_KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,), "number": (int, float), "list": (list,), "object": (dict,), "boolean": (bool,),
    "null": (type(None),),
}  # fmt: skip
_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
#: The length to which texts and lists of an answer are cut.
_TEXT, _LIST = 200, 3
#: Codes of a model or product that this account may not use; some statuses mean the same without a code.
_CLOSED_CODES = frozenset({2021, 3023, 3041, 5016, 5018, 5035, 10000})


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement: a request, and what must hold of its answer.

    The paths of ``body`` are such as ``"result.shape.0"``; ``*`` stands for every member.  A stream has ``events``,
    ``names``, ``spaced`` and ``ended``; bytes have ``mime``.
    """

    name: str  # family and subject, such as "embed.shape"; the part before the dot is what --only chooses
    says: str  # the statement in words
    request: Request  # its path begins with a slash, below .../accounts/{id}
    method: str = "POST"
    status: int | tuple[int, ...] = 200
    code: int | None = None  # of the first error
    headers: Mapping[str, Expected] = field(default_factory=dict)  # by lower-case name; "<none>": it is absent
    body: Mapping[str, Expected] = field(default_factory=dict)  # by path
    model: str = ""  # that is charged; empty: none
    uses: Mapping[str, float] = field(default_factory=dict)  # its maximum usage, in the units of the price list
    writes: bool = False  # it creates or deletes something in the account, which is done only on request

    @property
    def family(self) -> str:
        """The name by which ``--only`` selects it."""
        return self.name.partition(".")[0]

    @property
    def statuses(self) -> tuple[int, ...]:
        """The statuses that fit it."""
        return self.status if isinstance(self.status, tuple) else (self.status,)


# -- how a statement is written ----------------------------------------------------------------------------------------

GATEWAY = {"cf-aig-gateway-id": "default"}
#: The statements of a refusal by Workers AI.
REFUSAL: Mapping[str, Expected] = {
    "success": False, "result": ("<object>", "<null>"), "errors.0.code": "<number>",
    "errors.0.message": "~^AiError: AiError: ",
}  # fmt: skip


def runs(
    name: str, says: str, model: str, body: Json, /, *, most: int = 0, uses: Mapping[str, float] | None = None,
    query: Mapping[str, str | list[str]] | None = None, gateway: bool = False, **holds: Any,
) -> Statement:  # fmt: skip
    """Return a statement about a call of a model; `most` is the output tokens it may use."""
    tokens = {"input_tokens": float(tokens_in(str(body)) + 64), "output_tokens": float(most)}
    request = Request(json=body, path=f"/ai/run/{model}", query=query or {}, headers=GATEWAY if gateway else {})
    return Statement(name=name, says=says, request=request, model=model, uses=tokens if uses is None else uses, **holds)


def refuses(name: str, says: str, model: str, body: Json, code: int, status: int = 400, /, **more: Any) -> Statement:
    """Return a statement about a refusal of a model, which costs nothing."""
    holds = {**REFUSAL, **more.pop("body", {})}
    return runs(name, says, model, body, uses={}, status=status, code=code, body=holds, **more)


def v1(name: str, says: str, route: str, body: Mapping[str, Json], /, *, most: int = 0, **holds: Any) -> Statement:
    """Return a statement about one of the OpenAI addresses."""
    uses = {"input_tokens": float(tokens_in(str(body)) + 64), "output_tokens": float(most)}
    request = Request(json=body, path=f"/ai/v1/{route}")
    return Statement(name=name, says=says, request=request, model=str(body.get("model", "")), uses=uses, **holds)


def takes_bytes(
    name: str, says: str, model: str, content: bytes, media: str, uses: Mapping[str, float], **holds: Any
) -> Statement:
    """Return a statement about a call with raw bytes."""
    query = holds.pop("query", {})
    request = Request(content=content, content_type=media, path=f"/ai/run/{model}", query=query)
    return Statement(name=name, says=says, request=request, model=model, uses=uses, **holds)


def takes_form(name: str, says: str, path: str, form: Mapping[str, Any], **holds: Any) -> Statement:
    """Return a statement about a multipart form."""
    return Statement(name=name, says=says, request=Request(form=form, path=path), **holds)


def asks(name: str, says: str, method: str, path: str, body: Json = None, /, **holds: Any) -> Statement:
    """Return a statement about an address that runs no model."""
    query, kind = holds.pop("query", {}), holds.pop("content_type", "application/json")
    content = body if isinstance(body, bytes) else None
    sent = Request(
        json=None if content is not None else body, content=content, content_type=kind, path=path, query=query
    )
    return Statement(name=name, says=says, method=method, request=sent, **holds)


def say(text: str, **more: Any) -> dict[str, Json]:
    """Return the body of a chat of one message."""
    return {"messages": [{"role": "user", "content": text}], **more}


def sound() -> bytes:
    """Return half a second of a tone, as a WAV file."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone = (int(8_000 * math.sin(2 * math.pi * 440 * at / 16_000)) for at in range(8_000))
        file.writeframes(b"".join(struct.pack("<h", value) for value in tone))
    return held.getvalue()


def picture() -> bytes:
    """Return a red square of 64 x 64 pixels, as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xd0\x20\x20" * 64) * 64)
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# -- whether an answer agrees ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Observed:
    """An answer as it came, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> Json:
        """The body as JSON; a stream as its events, bytes as their media type."""
        media = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "text/event-stream":
            return _events(self.content.decode("utf-8", "replace"))
        try:
            return from_json(self.content)
        except ValueError:
            return {"mime": sniff(self.content).mime if self.content else "", "stated": media}

    @property
    def code(self) -> Json:
        """The code of the first error, as it is written; None where there is none."""
        found = list(at(self.document, "errors.0.code"))
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of an answer that does not fit: its place, the expected value, and the value that came."""

    where: str
    expected: Json
    got: Json


Verdict: TypeAlias = Literal["holds", "differs", "closed", "not asked"]


def verdict(statement: Statement, observed: Observed) -> tuple[Verdict, list[Difference]]:
    """Compare an answer with a statement; "closed" if this account may not use the model or product."""
    found = differences(statement, observed)
    code = observed.code
    closed = isinstance(code, (int, str)) and str(code).isdigit() and int(code) in _CLOSED_CODES
    if found and observed.status not in statement.statuses and (closed or observed.status in (401, 402, 403)):
        return "closed", found
    return ("differs" if found else "holds"), found


def differences(statement: Statement, observed: Observed) -> list[Difference]:
    """Return the differences between an answer and a statement."""
    wanted = list(statement.statuses)
    found = [] if observed.status in wanted else [Difference("status", wanted, observed.status)]
    if statement.code is not None and observed.code != statement.code:  # as a number: "5006" is not 5006
        found.append(Difference("code", statement.code, observed.code))
    for name, expected in statement.headers.items():
        got = observed.headers.get(name)
        if (got is None and expected != "<none>") or (got is not None and not fits(got, expected)):
            found.append(Difference(f"header {name}", expected, got))
    document = observed.document
    for path, expected in statement.body.items():
        values = list(at(document, path))
        if isinstance(expected, str) and expected.startswith("!"):
            holds = not any(fits(value, expected[1:]) for value in values)
        else:
            holds = any(fits(value, expected) for value in values)
        if not holds:
            found.append(Difference(path, expected, _some(values)))
    return found


def fits(value: Json, expected: Expected) -> bool:
    """Whether a value fits an expected one."""
    if isinstance(expected, tuple):
        return any(fits(value, one) for one in expected)
    if isinstance(expected, str) and expected[:1] == "<" and expected[1:-1] in _KINDS:
        # Truth values are numbers to Python, and not to JSON.
        return isinstance(value, _KINDS[expected[1:-1]]) and isinstance(value, bool) == (expected == "<boolean>")
    if isinstance(expected, str) and expected.startswith("~"):
        return isinstance(value, str) and re.search(expected[1:], value) is not None
    return type(value) is type(expected) and bool(value == expected)


def at(document: Json, path: str) -> Iterator[Json]:
    """Yield the values at a path; ``*`` stands for every member of a list or object."""
    first, _, rest = path.partition(".")
    if isinstance(document, list):
        members = document if first == "*" else document[int(first) :][:1] if first.isdigit() else []
    elif isinstance(document, dict):
        members = list(document.values()) if first == "*" else [document[first]] if first in document else []
    else:
        members = []
    for member in members:
        if rest:
            yield from at(member, rest)
        else:
            yield member


def shape(document: Json, path: str = "") -> frozenset[str]:
    """Return the fields of a document: their paths, with ``*`` for the members of a list."""
    found: set[str] = set()
    if isinstance(document, dict):
        for name, value in document.items():
            inside = f"{path}.{name}" if path else str(name)
            found |= {inside} | shape(value, inside)
    elif isinstance(document, list):
        for value in document:
            found |= shape(value, f"{path}.*" if path else "*")
    return frozenset(found)


def scrubbed(document: Json, secrets: Collection[str]) -> Json:
    """Return a document without secrets and ids, its long texts and lists cut."""
    if isinstance(document, dict):
        return {scrubbed(str(name), secrets): scrubbed(value, secrets) for name, value in document.items()}
    if isinstance(document, list):
        return [scrubbed(value, secrets) for value in document[:_LIST]]
    if not isinstance(document, str):
        return document
    for secret in secrets:
        if secret:
            document = document.replace(secret, "<secret>")
    document = _ID.sub("<id>", document)
    return document if len(document) <= _TEXT else f"{document[:_TEXT]}..."


def _some(values: Sequence[Json]) -> Json:
    return "<none>" if not values else values[0] if len(values) == 1 else list(values[:_LIST])


def _events(text: str) -> dict[str, Json]:
    """Read server-sent events: their values, their names, whether a space stands before each, and whether it ended."""
    events: list[Json] = []
    lines = [line.rstrip("\r") for line in text.split("\n")]
    given = [line for line in lines if line.startswith("data:")]
    for line in given:
        value = line[5:].strip()
        if value != "[DONE]":
            try:
                events.append(from_json(value))
            except ValueError:
                events.append({"text": value})
    names = [line[6:].strip() for line in lines if line.startswith("event:")]
    spaced = all(line.startswith("data: ") for line in given)
    return {"events": events, "names": names, "spaced": spaced, "ended": "[DONE]" in "".join(given[-1:])}
