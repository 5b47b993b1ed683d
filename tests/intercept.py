"""ASGI applications in front of an emulator that see each request first: they note it, change it or answer it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cfai_nb.emulator import Emulator


class Intercept:
    """An emulator whose requests pass through ``answer`` first.

    Parameters
    ----------
    **settings
        Of the emulator; no limit of requests by default.
    """

    def __init__(self, **settings: Any) -> None:
        self.emulator = Emulator(**{"rate": None, **settings})

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        """Return a response to give in the emulator's place, or None, and the body that the emulator shall get."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        response, body = self.answer(request, await request.body())
        given = [body]

        async def again() -> Any:
            return {"type": "http.request", "body": given.pop(), "more_body": False} if given else await receive()

        await (self.emulator if response is None else response)(scope, again, send)


class Faulty(Intercept):
    """Answers in the place of an emulator where ``instead``, given the body, returns a response.

    Attributes
    ----------
    given : int
        Responses that were given instead.
    """

    def __init__(self, instead: Callable[[bytes], Response | None], **settings: Any) -> None:
        super().__init__(**settings)
        self.instead, self.given = instead, 0

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        response = self.instead(body)
        self.given += response is not None
        return response, body


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


class Witness(Intercept):
    """Notes every call; ``first``, given its JSON body, may change the body or answer in the emulator's place."""

    def __init__(self, first: Callable[[dict[str, Any]], Any] = lambda body: None, **settings: Any) -> None:
        super().__init__(**{"queue_polls": 1, **settings})
        self.first = first
        self.calls: list[Seen] = []

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        read: dict[str, Any] = {}
        with contextlib.suppress(ValueError):  # a form, or nothing
            read = json.loads(body)
        queue = request.query_params.get("queueRequest") == "true"
        self.calls.append(Seen("/" + request.url.path.split("/", 5)[-1], queue, dict(request.headers), read))
        return self.first(read), json.dumps(read).encode() if read else body

    @property
    def submitted(self) -> list[list[Any]]:
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
