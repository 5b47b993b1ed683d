"""The only module that speaks HTTP: it takes a request, and returns an ``Answer`` or raises an error of the package.

``Sender`` calls ``send`` and ``stream``.  aiohttp's connections (``connections``) carry the requests: at 64 in flight,
httpx's client with its own pool costs 1.0 ms of CPU a request, with the ``httpx-aiohttp`` transport 0.5, and this 0.2.
httpx builds addresses and forms, and calls an application in this process, such as the emulator, in place of a server.

Every answer is read within ``Bounds``, so that a server that never ends its answer costs bounded memory and bounded
time; the error says which bound was reached.  An answer that is too large or takes too long fails its row and is not
repeated, since it would be paid for again.  Silence is a fault of the connection (``Unavailable``), which is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import aiohttp
import httpx
import pydantic_core

from ..errors import AnswerError, CfaiError, Unavailable
from ..tasks import Answer, Request
from ..tasks.dialects.request import Expected
from .connections import Arriving, Headers, Network, Unpacking
from .service_errors import Product, product_of, service_error

_FAILED = re.compile(rb'"success"\s*:\s*false|^\s*\{\s*"error"\s*:')
_ERROR_ALONE = {"error", "code", "message", "status"}
#: Addresses in the cache; paths with ids of logs or mutations do not repeat.
_MOST_URLS = 64
MIB = 2**20
#: An ASGI application, as httpx takes it.
_App: TypeAlias = Callable[..., Awaitable[None]]


class Secret:
    """A string that is never shown or written, by repr, str, format, a traceback's locals, copy or pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("A token is not copied or pickled; call cf.connect() where the session is needed.")

    def reveal(self) -> str:
        """Return the string itself, for the header it goes into."""
        return self._value


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of an answer is read, and how long it may take; 128 headers of 8 KiB are read at most.

    Bytes are counted during decompression, so that a small body never unpacks beyond the bound.
    """

    connect: float = 20.0  # seconds
    silence: float = 300.0  # a busy service queues a request, and giving up on it may pay for it twice
    seconds: float = 900.0  # from connecting to the last byte
    stream_seconds: float = 3600.0
    text: int = 16 * MIB  # bytes: chat, classification, listings, a query of an index
    vectors: int = 64 * MIB  # embeddings; the results of a queued batch
    media: int = 64 * MIB  # a picture or sound, also as base64 in JSON
    document: int = 64 * MIB  # the text of a converted document
    stream: int = 16 * MIB
    error: int = MIB // 4  # a longer one is cut, not refused
    line: int = MIB  # of a stream

    def most(self, expected: Expected) -> int:
        """Return the most bytes of a whole answer of this kind."""
        return {"text": self.text, "vectors": self.vectors, "media": self.media, "document": self.document}[expected]


BOUNDS = Bounds()


class Deadline:
    """The deadline of one answer, for the task that waits for it."""

    __slots__ = ("_cancelling", "_expired", "task", "when")

    def __init__(self, task: asyncio.Task[object], when: float) -> None:
        self.task, self.when = task, when
        self._cancelling, self._expired = task.cancelling(), False

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self.task.cancel()

    def passed(self) -> bool:
        """Whether the deadline alone cancelled the task, which then goes on."""
        return self._expired and self.task.uncancel() <= self._cancelling


class Deadlines:
    """The deadlines of all answers, with one timer; ``asyncio.timeout`` would make one for each.

    They last equally long, so they pass in the order they began.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """Begin the deadline of an answer that the current task waits for."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        deadline = Deadline(task, loop.time() + self._seconds)
        self._open[deadline] = None
        if self._timer is None:
            self._arm(deadline)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Forget a deadline."""
        self._open.pop(deadline, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, first: Deadline) -> None:
        # In an empty context: a timer would keep the caller's, with its session, for as long as it lasts.
        self._timer = asyncio.get_running_loop().call_at(first.when, self._look, context=Context())

    def _look(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for deadline in tuple(self._open):
            if deadline.when > now:
                self._arm(deadline)
                return
            del self._open[deadline]
            deadline.expire()


class _InProcess:
    """Sends requests to an ASGI application in this process, in place of a server."""

    def __init__(self, app: _App) -> None:
        self._transport = httpx.ASGITransport(app=app)

    async def send(self, method: str, url: str, headers: Headers, body: bytes, leaves: Callable[[], bool]) -> Arriving:
        """Send a request, if it may still leave."""
        if not leaves():
            raise asyncio.CancelledError
        request = httpx.Request(method, url, headers=list(headers.items()), content=body or None)
        response = await self._transport.handle_async_request(request)
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}
        return _Whole(response.status_code, named, response.stream)

    async def close(self) -> None:
        await self._transport.aclose()


@dataclass(slots=True)
class _Whole:
    """An answer of an application."""

    status: int
    headers: dict[str, str]
    _stream: httpx.AsyncByteStream | httpx.SyncByteStream | None

    def chunks(self) -> AsyncIterator[bytes]:
        assert isinstance(self._stream, httpx.AsyncByteStream)
        return aiter(self._stream)

    async def whole(self, most: int) -> bytes | None:
        return None

    def close(self) -> None:
        pass


class Wire:
    """Sends requests to one account.

    ``root`` is everything up to and including ``/client/v4/accounts/{id}``, or the address of another server.  ``app``
    is an ASGI application that answers in this process instead.  ``below`` stands between the root and a path that does
    not begin with a slash.
    """

    def __init__(
        self, root: str, token: Secret, app: _App | None = None, below: str = "/ai/", bounds: Bounds = BOUNDS
    ) -> None:
        self._root, self._below = root.rstrip("/"), below
        self._token, self._app, self._bounds = token, app, bounds
        self._deadlines = Deadlines(bounds.seconds)
        self._carrier: Network | _InProcess | None = None
        self._urls: dict[str, str] = {}
        self._headers: dict[str, Headers] = {}

    async def close(self) -> None:
        """Close the connections."""
        if self._carrier is not None:
            carrier, self._carrier = self._carrier, None
            await carrier.close()
        self._deadlines.close()

    async def send(
        self, request: Request, model: str, *, method: str = "POST", leaves: Callable[[], bool] = lambda: True
    ) -> Answer:
        """Send a request and wait for the whole answer.

        ``leaves`` is called right before the first byte is written; if it returns False, nothing is written and
        asyncio.CancelledError is raised.  ServiceError: there is no answer (a refusal, a broken connection, a body cut
        short, silence).  AnswerError: it is larger, or takes longer, than ``bounds`` allows.
        """
        start = time.perf_counter()
        failure: CfaiError
        deadline = self._deadlines.begin()
        try:
            arriving = await self._sent(request, model, method, leaves)
            content = await self._whole(arriving, request, model)
        except asyncio.CancelledError:
            if not deadline.passed():
                raise
            failure = _late(model, self._bounds.seconds)
        except Exception as error:
            failure = _as_ours(error, model)
        else:
            status = arriving.status
            if _accepted(status) and (content or status == 200) and not _says_failed(content):
                return Answer(content, arriving.headers, time.perf_counter() - start)
            failure = service_error(status, arriving.headers, content, model, self._product(request))
        finally:
            self._deadlines.end(deadline)
        # Raised out here, so that no frame or cause of it leads to a header with the token.
        raise failure

    async def stream(
        self, request: Request, model: str, *, leaves: Callable[[], bool] = lambda: True
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield the lines of a streamed answer as they come; ``leaves`` and errors as for ``send``.

        A stream that breaks off raises Unavailable after what did arrive.
        """
        failure: CfaiError
        bounds = self._bounds
        limit = asyncio.timeout(bounds.stream_seconds)
        try:
            async with limit:
                arriving = await self._sent(request, model, "POST", leaves)
                if not _accepted(arriving.status):
                    content = await self._whole(arriving, request, model)
                    raise service_error(arriving.status, arriving.headers, content, model, self._product(request))
            try:
                chunks = _chunks(arriving, bounds.stream, "a stream", model)
                held, length = [b""], 0  # of the incomplete line
                while True:
                    limit = asyncio.timeout_at(limit.when())  # only while waiting: the reader's own time does not count
                    async with limit:
                        chunk = await anext(chunks, b"")
                    *lines, rest = chunk.split(b"\n")
                    for line in lines:
                        yield (b"".join(held) + line).rstrip(b"\r")
                        held, length = [], 0
                    held.append(rest)
                    length += len(rest)
                    if length > bounds.line:
                        raise _too_large(model, bounds.line, "a line of a stream")
                    if not chunk:
                        break
                if length:
                    yield b"".join(held)
                return
            finally:
                arriving.close()
        except Exception as error:
            failure = _late(model, bounds.stream_seconds) if limit.expired() else _as_ours(error, model)
        raise failure

    async def _sent(self, request: Request, model: str, method: str, leaves: Callable[[], bool]) -> Arriving:
        if self._carrier is None:
            connect, silence = self._bounds.connect, self._bounds.silence
            self._carrier = Network(self._root, connect, silence) if self._app is None else _InProcess(self._app)
        url, headers = self._url(request, model), self._head(request)
        if request.form is not None:
            headers, body = _multipart(request.form, headers)
        else:
            body = b"" if method == "GET" else request.body()
        return await self._carrier.send(method, url, headers, body, leaves)

    async def _whole(self, arriving: Arriving, request: Request, model: str) -> bytes:
        """Read an answer to its end; of an error only the beginning is read."""
        good = _accepted(arriving.status)
        most, what = (self._bounds.most(request.expected), request.expected) if good else (self._bounds.error, "")
        try:
            content = await arriving.whole(most)
            if content is None:
                content = b"".join([chunk async for chunk in _chunks(arriving, most, what, model)])
            return content
        finally:
            arriving.close()

    def _product(self, request: Request) -> Product:
        return product_of(request, cloudflare=self._below != "/")

    def _url(self, request: Request, model: str) -> str:
        path = request.path or f"run/{model}"
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= _MOST_URLS:
                self._urls.clear()
            try:
                made = httpx.URL(self._root + (path if path[0] == "/" else self._below + path))
            except httpx.InvalidURL as error:
                raise CfaiError(f"base_url and path give no address: {error}") from None
            url = self._urls[path] = str(made)
        return str(httpx.URL(url).copy_merge_params(request.query)) if request.query else url

    def _head(self, request: Request) -> Headers:
        headers = self._headers.get(request.content_type)
        if headers is None:
            token = f"Bearer {self._token.reveal()}"
            headers = self._headers[request.content_type] = {
                "authorization": token,
                "accept-encoding": "gzip",
                "user-agent": "cfai-nb",
                "content-type": request.content_type,
            }
        return {**headers, **request.headers} if request.headers else headers


def _multipart(form: Mapping[str, Any], headers: Headers) -> tuple[Headers, bytes]:
    """Return a form as a body, and the headers with its boundary."""
    # Equal forms get equal boundaries, so that they are equal requests to a gateway's cache.
    boundary = hashlib.blake2b(pydantic_core.to_json(form, bytes_mode="base64"), digest_size=16).hexdigest()
    headers = {**headers, "content-type": f"multipart/form-data; boundary={boundary}"}
    fields = {name: part if isinstance(part, tuple) else (None, part) for name, part in form.items()}
    return headers, httpx.Request("POST", "http://form", headers=headers, files=fields).read()


async def _chunks(arriving: Arriving, most: int, what: str, model: str) -> AsyncIterator[bytes]:
    """Yield a body, decompressed as it arrives; beyond `most` bytes raise an error about `what`, or end if it is ""."""
    encoding = arriving.headers.get("content-encoding", "identity").strip().lower()
    unpack = None if encoding == "identity" else Unpacking(encoding)
    left = most
    async for chunk in arriving.chunks():
        piece = chunk if unpack is None else unpack(chunk, left + 1)
        left -= len(piece)
        if left < 0:
            if what:
                raise _too_large(model, most, what)
            yield piece[:left]
            return
        if piece:
            yield piece
    if unpack is not None:
        unpack.end(model)


def _too_large(model: str, most: int, what: str) -> AnswerError:
    return AnswerError(f"{model}: the answer is larger than {size_of(most)}, the most that is read for {what}", "size")


def _late(model: str, seconds: float) -> AnswerError:
    return AnswerError(f"{model}: the answer was not complete after {seconds:g} s, the most for one", "timeout")


def _accepted(status: int) -> bool:
    """Whether a status means that a request was accepted: 200, or 201 from a request that made something."""
    return 200 <= status < 300


def _says_failed(content: bytes) -> bool:
    """Whether the body of an accepted request reports a failure: in an envelope, or as an error alone."""
    if not (_FAILED.search(content, 0, 200) or _FAILED.search(content, max(0, len(content) - 500))):
        return False
    try:  # the model may have written these words
        document = pydantic_core.from_json(content)
    except ValueError:
        return False
    if not isinstance(document, dict):
        return False
    return document.get("success") is False or (bool(document.get("error")) and document.keys() <= _ERROR_ALONE)


def size_of(count: int) -> str:
    """Return a bound in words."""
    return f"{count / MIB:,.0f} MiB" if count >= MIB else f"{count / 1024:,.0f} KiB"


def _as_ours(error: Exception, model: str) -> CfaiError:
    """Return an error of the package that says what went wrong; frames of its cause would hold the token."""
    if isinstance(error, CfaiError):
        return error.with_traceback(None)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if not isinstance(error, (OSError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError)):
        return CfaiError(f"{model}: {text[:500]}")  # not the network but a defect, so it is not sent again
    code, todo = "connection lost", ""
    if isinstance(error, (httpx.ConnectError, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        code, todo = "no connection", " -- check the network and base_url"
    elif isinstance(error, aiohttp.SocketTimeoutError):
        code, text = "timeout", "no byte arrived within the time limit"
    return Unavailable(f"{model}: {code} ({text[:200]}){todo}", code, model=model)
