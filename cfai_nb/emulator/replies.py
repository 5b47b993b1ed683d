"""Replies: an answer on its way out, whole or damaged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import anyio
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from .errors import CODES, malformed, refuse
from .faults import Drop
from .quirks import failure
from .work import Work

_JSON = "application/json"

_PAGE = b"""<!DOCTYPE html>
<html><head><title>502: Bad gateway</title></head>
<body><h1>Error 502</h1><p>Bad gateway (injected by the emulator)</p></body></html>
"""


@dataclass
class Reply:
    """What is sent.

    Attributes
    ----------
    status, code : int
        HTTP status and body code.
    body : bytes
        The whole body, when it is not a stream.
    media : str
        Its type.
    frames : list of bytes, optional
        The events of a stream.
    drop : str
        How the connection goes: empty (it stays), "reset" (nothing arrives) or "cut" (half arrives).
    damaged : bool
        Whether the answer is not what was asked for.
    """

    body: bytes = b""
    status: int = 200
    code: int = 0
    media: str = _JSON
    frames: list[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    damaged: bool = False

    @classmethod
    def of(cls, work: Work, route: str, neurons: float | None, fault: str) -> Reply:
        """Return the reply of finished work, with the faults that strike on the way out."""
        reply = cls(frames=work.frames, damaged=work.damaged)
        if work.frames is None:
            whole = {"result": work.result, "success": True, "errors": [], "messages": []}
            reply.body = to_json(whole if route == "run" else work.result) if work.content is None else work.content
            reply.media = work.media or reply.media
            if route == "run" and neurons is not None and work.usage and work.metered:
                reply.headers["cf-ai-neurons"] = f"{neurons:.9f}".rstrip("0").rstrip(".") or "0"
        else:
            reply.media = "text/event-stream"
        if fault in ("reset-after", "cut"):
            reply.drop, reply.damaged = fault.partition("-")[0], True
        elif fault == "garbage" and work.frames is None:
            reply.body, reply.damaged = reply.body[: len(reply.body) // 2] + b"\x00}", True
        return reply


def early(fault: str, quirks: frozenset[str] = frozenset()) -> Reply:
    """Return the reply of a fault that strikes before any work."""
    if fault == "reset":
        return Reply(drop="reset", damaged=True)
    if fault == "html":
        return Reply(_PAGE, 502, media="text/html", damaged=True)
    if fault in ("502", "1015"):
        status = 502 if fault == "502" else 429
        return Reply(
            f"error code: {fault}".encode(), status, int(fault) if status == 429 else 0, "text/plain", damaged=True
        )
    code = 3007 if fault == "408" else int(fault)
    if code in CODES or code == 422:
        refusal = refuse(code, name="(injected)", why="(injected)", wanted=0, context=0, method="", path="")
        refusal = malformed([((), "injected")]) if code == 422 else refusal
        return Reply(to_json(failure(refusal.body("injected"), quirks)), refusal.status, refusal.code, damaged=True)
    errors = [{"code": code, "message": f"emulator: injected {fault}"}]
    body = {"errors": errors, "success": False, "result": {}, "messages": []}
    return Reply(to_json(body), code, code, damaged=True)


def deliver(reply: Reply, headers: Mapping[str, str]) -> Response:
    """Return the response that sends a reply."""
    merged = {**headers, **reply.headers, "content-type": reply.media}
    if reply.drop == "reset":
        return Drop()
    if reply.drop == "cut":
        whole = reply.body if reply.frames is None else b"".join(reply.frames)
        return Drop(merged, whole[: max(1, len(whole) // 2)], len(whole) if reply.frames is None else None)
    if reply.frames is not None:
        return StreamingResponse(_flow(iter(reply.frames)), reply.status, merged)
    return Response(reply.body, reply.status, merged)


async def _flow(frames: Iterator[bytes]) -> AsyncIterator[bytes]:
    for frame in frames:
        yield frame
        await anyio.lowlevel.checkpoint()
