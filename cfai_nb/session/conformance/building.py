"""How a statement is written in one line: a constructor for each kind of address, and a tiny sound and picture.

``statements`` and ``store_statements`` make their tables with these.
"""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from collections.abc import Mapping
from typing import Any

from ...models import tokens_in
from ...tasks import Json, Request
from .expectations import Expected, Statement

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
