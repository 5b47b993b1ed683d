"""Answers no model should give, and a service that gives them: for every place that shows what models write."""

from __future__ import annotations

import json
from typing import Any

_RUN = "window.__alarm=1"
#: Texts that must be shown as they are, and do nothing.
TEXTS = (
    f"<script>{_RUN}</script>",
    f'<img src="x" onerror="{_RUN}"><svg onload="{_RUN}"></svg>',
    f'<a href="javascript:{_RUN}" onclick="{_RUN}">look</a> [look](javascript:{_RUN})',
    f'</textarea></td></table><iframe srcdoc="<script>parent.{_RUN}</script>"></iframe>',
    f"$\\href{{javascript:{_RUN}}}{{look}}$ and $$\\unicode{{x3c}}$$",
    "\x1b[2J\x1b]0;title\x07 nul \x00 bidi \u202e reversed",
    "x" * 1_000_000,
    "<b>" * 300_000,
)
#: Bodies that are not text: half a character, and bytes of no encoding.
BROKEN = (b'{"response": "\\ud800 half"}', b'{"response": "\xff\xfe\x80"}')


async def read_body(receive: Any) -> bytes:
    """Return the whole body of a request to an ASGI application."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def service(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer every request, streamed or not, with the text of the number at the end of the prompt."""
    asked = json.loads(await read_body(receive))
    number = int(str(asked["messages"][-1]["content"]).split()[-1])
    if number >= len(TEXTS):
        content = BROKEN[number - len(TEXTS)]
        kind, parts = b"application/json", [b"data: " + content + b"\n\n" if asked.get("stream") else content]
    elif asked.get("stream"):
        text = TEXTS[number]
        pieces = [text[at : at + 4_000] for at in range(0, len(text), 4_000)]
        frames = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
        frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        kind, parts = b"text/event-stream", [b"data: " + json.dumps(frame).encode() + b"\n\n" for frame in frames]
        parts.append(b"data: [DONE]\n\n")
    else:
        choice = {"message": {"role": "assistant", "content": TEXTS[number]}, "finish_reason": "stop"}
        kind, parts = b"application/json", [json.dumps({"choices": [choice]}).encode()]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": b"".join(parts)})
