"""HTTP: what the addresses of the service need to read a request, and to write its answer or its error.

Every product registers a table of :data:`Routes` and reads with :func:`parse`, :func:`parts` and the like; the value
that its handler returns, and every error, is written by :class:`Envelopes`. For a call of a model ``app`` builds a
:class:`Reply`, complete or damaged by a fault, and sends it with :func:`deliver`; the gateway keeps replies in its
cache. Ids and times are made here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from threading import Lock
from typing import Any, Protocol, TypeVar
from uuid import UUID

import anyio
from pydantic_core import from_json, to_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ..error_codes import CODES, GATEWAY, ServiceError, malformed, refuse
from ..families import ModelResult
from .faults import quirky_envelope

Endpoint = Callable[[Request], Awaitable[Response]]
SendError = Callable[[ServiceError], Response]
#: A function that returns the result of a request: a value, a ``Page`` or a whole response.
Handler = Callable[[Request], Awaitable[Any]]
#: Path below the account -> method -> handler.
Routes = Mapping[str, Mapping[str, Handler]]

#: Every address takes all of these, to refuse the wrong ones in the service's words.
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

#: The addresses after ``/ai`` where a model is called -> the route by which a family knows them.
INFERENCE_ROUTES = {
    **dict.fromkeys(("/run/{model:path}", "/run", "/tomarkdown"), "run"),
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}

#: The most digits of a number in a query.
_DIGITS = 18
_JSON = "application/json"

# -- reading -----------------------------------------------------------------------------------------------------------


class Settling(Protocol):
    """An index or an instance. A write becomes visible some time later; :meth:`settle` shows those that are due."""

    def settle(self) -> None: ...


S = TypeVar("S", bound=Settling)


def handler_for(
    find: Callable[[Request], S],
    lock: Lock,
    do: Callable[[S, Request, Any], Any],
    read: Callable[[Request], Awaitable[Any]] | None = None,
) -> Handler:
    """Return a handler that reads a request, finds what it is about, settles that, and calls `do` with both."""

    async def handler(request: Request) -> Any:
        given = await read(request) if read else None
        with lock:
            found = find(request)
            found.settle()
            return do(found, request, given)

    return handler


def parse(raw: bytes | str) -> Any:
    """Return the JSON value of a body."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise refuse(5006, why=f"invalid JSON: {error}") from None


def _bad_input(why: object) -> ServiceError:
    return refuse(5006, why=why)


def json_object(raw: bytes | str, refusal: Callable[[object], ServiceError] = _bad_input) -> dict[str, Any]:
    """Return a JSON object, or raise the error that `refusal` makes of what is wrong."""
    try:
        given = from_json(raw, allow_inf_nan=False)
        if not isinstance(given, dict):
            raise ValueError("expected an object")
    except ValueError as error:
        raise refusal(error) from None
    return given


def whole_numbers(
    request: Request, refusal: Callable[[object], ServiceError] = _bad_input, **usual: int
) -> Iterator[int]:
    """Yield whole numbers of the query by name, each with its default."""
    for name, number in usual.items():
        given = request.query_params.get(name) or str(number)
        if not given.isdecimal() or len(given) > _DIGITS:
            raise refusal(f"{name} must be a whole number")
        yield int(given)


def account_of(request: Request) -> str:
    """Return the account in an address; upper and lower case are the same one."""
    return str(request.path_params["account"]).casefold()


def model_name(body: Any) -> str:
    """Return the model that a JSON body names."""
    name = body.get("model") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refuse(5006, why="required properties at '/' are 'model'")
    return name


@dataclass(frozen=True)
class File:
    """One file of a multipart form."""

    name: str
    media: str
    data: bytes


async def parts(request: Request) -> list[tuple[str, str | File]]:
    """Return the fields and files of a multipart body, in order, under their names."""
    try:
        async with request.form() as form:
            return [
                (name, File(part.filename or "", part.content_type or "", await part.read()))
                if isinstance(part, UploadFile)
                else (name, part)
                for name, part in form.multi_items()
            ]
    except (MultiPartException, HTTPException) as error:
        raise refuse(5006, why=f"invalid multipart body: {error}") from None


# -- writing -----------------------------------------------------------------------------------------------------------

_PAGE = b"""<!DOCTYPE html>
<html><head><title>502: Bad gateway</title></head>
<body><h1>Error 502</h1><p>Bad gateway (injected by the emulator)</p></body></html>
"""


#: The key under which a port puts the transport into the ASGI scope, so that a fault can drop the connection.
TRANSPORT = "cfai_nb.transport"


class Dropped(ConnectionResetError):
    """The connection was dropped. Raised where there is no connection to drop (called in-process)."""


class Drop(Response):
    """Drops the connection: at once, or after part of a body that was announced in full length."""

    def __init__(
        self, headers: Mapping[str, str] | None = None, body: bytes = b"", announced: int | None = None
    ) -> None:
        super().__init__(b"", headers=dict(headers or {}))
        self._part, self._announced = body, announced

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part, then drop."""
        if self._part:
            headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
            if self._announced is not None:
                headers.append((b"content-length", str(self._announced).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._part, "more_body": True})
        transport: Any = (scope.get("extensions") or {}).get(TRANSPORT)
        if transport is None:
            raise Dropped("emulator: connection dropped")
        # close() flushes what was sent before it drops; abort() makes sure that nothing more arrives
        (transport.close if self._part else transport.abort)()
        with anyio.move_on_after(1):
            while (await receive())["type"] != "http.disconnect":
                pass


@dataclass
class Reply:
    """The reply to one call: a body, or the events of a stream in `frames`.

    `drop` is how the connection is dropped: "" (it is not), "reset" (nothing arrives) or "cut" (half arrives).
    `damaged`: the answer is spoiled by a fault.
    """

    body: bytes = b""
    status: int = 200
    code: int = 0
    media: str = _JSON
    frames: list[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: str = ""
    damaged: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the call succeeded, and the whole answer arrives."""
        return self.status == 200 and not self.damaged

    @classmethod
    def of(cls, result: ModelResult, route: str, neurons: float | None, fault: str) -> Reply:
        """Return the reply for a result, with the faults that damage it on the way out."""
        reply = cls(frames=result.frames, damaged=result.damaged)
        if result.frames is None:
            whole = {"result": result.result, "success": True, "errors": [], "messages": []}
            content = result.content
            reply.body = to_json(whole if route == "run" else result.result) if content is None else content
            reply.media = result.media or reply.media
            if route == "run" and neurons is not None and result.usage and result.metered:
                reply.headers["cf-ai-neurons"] = f"{neurons:.9f}".rstrip("0").rstrip(".") or "0"
        else:
            reply.media = "text/event-stream"
        if fault in ("reset-after", "cut"):
            reply.drop, reply.damaged = fault.partition("-")[0], True
        elif fault == "garbage" and result.frames is None:
            reply.body, reply.damaged = reply.body[: len(reply.body) // 2] + b"\x00}", True
        return reply


def failed_early(fault: str, quirks: frozenset[str]) -> Reply:
    """Return the reply of a fault that comes before any work."""
    if fault == "reset":
        return Reply(drop="reset", damaged=True)
    if fault == "html":
        return Reply(_PAGE, 502, media="text/html", damaged=True)
    if fault in ("502", "1015"):
        status, code = (502, 0) if fault == "502" else (429, 1015)
        return Reply(f"error code: {fault}".encode(), status, code, "text/plain", damaged=True)
    code = 3007 if fault == "408" else int(fault)
    if code == 422:
        error = malformed([((), "injected")])
    elif code in CODES:
        error = refuse(code, name="(injected)", why="(injected)", wanted=0, context=0, method="", path="")
    else:
        error = ServiceError(code, f"emulator: injected {fault}", code)
    return Reply(to_json(quirky_envelope(error.body("injected"), quirks)), error.status, error.code, damaged=True)


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


@dataclass(frozen=True)
class Page:
    """Rows of a list, and where in it they are."""

    rows: list[Any]
    info: dict[str, int]


class Ids:
    """Ids out of a seed, so that a run can be repeated."""

    def __init__(self, seed: int) -> None:
        self._random, self._lock = Random(seed), Lock()

    def bits(self, count: int) -> int:
        """Return random bits."""
        with self._lock:
            return self._random.getrandbits(count)

    def uuid(self) -> str:
        """Return a random UUID."""
        return str(UUID(int=self.bits(128), version=4))


def now() -> str:
    """Return the time as the service writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class Envelopes:
    """Writes the envelopes of results and errors, as the quirks `switched` on change them."""

    def __init__(self, seed: int, switched: frozenset[str]) -> None:
        self._ids, self._switched = Ids(seed), switched

    def ray(self) -> dict[str, str]:
        """Return the headers that every response has."""
        return {"cf-ray": f"{self._ids.bits(64):016x}-EMU", "server": "cfai_nb emulator"}

    def result(self, value: Any) -> Response:
        """Return the response with a result."""
        body = {"result": value, "success": True, "errors": [], "messages": []}
        if isinstance(value, Page):
            body |= {"result": value.rows, "result_info": value.info}
        return Response(to_json(body), media_type=_JSON, headers=self.ray())

    def error(self, error: ServiceError) -> Response:
        """Return the response with an error, under a request id of its own."""
        return self._response(quirky_envelope(error.body(self._ids.uuid()), self._switched), error)

    def gateway_error(self, error: ServiceError) -> Response:
        """Return the response with an error on the gateway's host, where the gateway's own errors look different."""
        if error.code not in GATEWAY:
            return self.error(error)
        body = {"success": False, "result": [], "messages": [], "name": "AiGatewayError"}
        body |= {"error": [{"code": error.code, "message": error.text}]}
        body |= {"httpCode": error.status, "internalCode": error.code}
        return self._response({**body, "message": error.text, "description": error.text}, error)

    def _response(self, body: Mapping[str, Any], error: ServiceError) -> Response:
        return Response(to_json(body), error.status, {**self.ray(), **error.headers}, _JSON)
