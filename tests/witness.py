"""An emulator behind a witness that notes every call, for tests of what travels."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from cfai_nb.emulator import Emulator


@dataclass(frozen=True)
class Seen:
    """One call: its address below the account, whether it went to the queue, its headers, and its JSON body."""

    path: str
    queue: bool
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def through(self) -> dict[str, str]:
        """What it says to a gateway."""
        return {name: value for name, value in self.headers.items() if name.startswith("cf-aig-")}


class Witness:
    """An emulator, and a note of every call it gets; ``first`` may answer in its place."""

    def __init__(self, first: Callable[[dict[str, Any]], Any] = lambda body: None, **settings: Any) -> None:
        self.emulator = Emulator(**{"rate": None, "queue_polls": 1, **settings})
        self.first = first
        self.calls: list[Seen] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        raw, body = await request.body(), {}
        with contextlib.suppress(ValueError):  # a form, or nothing
            body = json.loads(raw)
        queue = request.query_params.get("queueRequest") == "true"
        self.calls.append(Seen("/" + request.url.path.split("/", 5)[-1], queue, dict(request.headers), body))

        given = [raw]

        async def again() -> Any:
            return {"type": "http.request", "body": given.pop(), "more_body": False} if given else await receive()

        instead = self.first(body)
        given[0] = json.dumps(body).encode() if body else raw  # it may have changed the body
        await (self.emulator if instead is None else instead)(scope, again, send)

    @property
    def handed_in(self) -> list[list[Any]]:
        """The requests of each submission."""
        return [call.body["requests"] for call in self.calls if call.queue and "requests" in call.body]

    @property
    def direct(self) -> int:
        """Calls past the queue."""
        return sum(not call.queue for call in self.calls)


def envelope(result: Any, status: int = 200, code: int | None = None) -> JSONResponse:
    """Return an answer in the service's envelope: a failure where there is a code."""
    errors = [] if code is None else [{"code": code, "message": "said so"}]
    return JSONResponse({"result": result, "success": code is None, "errors": errors, "messages": []}, status)
