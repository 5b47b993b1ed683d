"""An emulator with answers of our making in front of it, for chosen rows or moments."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from cfai_nb.emulator import Emulator


class Faulty:
    """Answers in the place of an emulator where ``instead`` gives a response.

    Parameters
    ----------
    instead : callable
        Takes the body of a request, as bytes.
    **settings
        Of the emulator; no limit of requests by default.

    Attributes
    ----------
    given : int
        Responses that were given instead.
    """

    def __init__(self, instead: Callable[[bytes], Response | None], **settings: Any) -> None:
        self.emulator = Emulator(**{"rate": None, **settings})
        self.instead, self.given = instead, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        raw = await request.body()
        given = [raw]

        async def again() -> Any:
            return {"type": "http.request", "body": given.pop(), "more_body": False} if given else await receive()

        response = self.instead(raw)
        self.given += response is not None
        await (self.emulator if response is None else response)(scope, again, send)


def poison(response: Response, times: int = 10**9, word: bytes = b"poison") -> Callable[[bytes], Response | None]:
    """Give the response to every request that holds the word, so many times."""
    left = [times]

    def instead(raw: bytes) -> Response | None:
        if word not in raw or not left[0]:
            return None
        left[0] -= 1
        return response

    return instead


def failure(status: int, code: Any = None, form: str = "envelope") -> Response:
    """Return a failure of the service with a status and a code, in one of the forms in which they come."""
    error = {"code": code, "message": "said so"}
    bodies: dict[str, Any] = {
        "envelope": {"success": False, "errors": [error], "result": {}},
        "OpenAI": {"error": {**error, "type": "some_error"}},
        "text": {"errors": [{"message": f"AiError: AiError: {code}: said so"}]},
        "no result": {"success": True, "errors": [], "result": None},
    }
    pages = {"page": f"<html><h1>Error code: {code}</h1></html>", "nothing": "", "null": "null"}
    body = pages[form] if form in pages else json.dumps(bodies[form])
    return Response(body, status, media_type="text/html" if form == "page" else "application/json")
