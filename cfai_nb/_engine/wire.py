"""The one place that speaks HTTP: a request goes out, an Answer or an error of ours comes back.

httpx's requests, responses and transports are used without its client, and aiohttp's connections carry them: at 64 in
flight httpx's client with its own pool costs 1.0 ms of CPU a request, with the ``httpx-aiohttp`` transport 0.5, and
this 0.26.  The transport is the seam: the emulator is put in its place in-process.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import NoReturn, TypeAlias

import aiohttp
import httpx
import pydantic_core

from ..errors import AnswerError, CfaiError, Unavailable
from ..tasks import Answer, Request
from . import connections
from .bounds import BOUNDS, HEADER, Bounds, Unpacking, size_of
from .service_errors import Product, product_of, refusal

_FAILED = re.compile(rb'"success"\s*:\s*false|^\s*\{\s*"error"\s*:')
_ERROR_ALONE = {"error", "code", "message", "status"}

#: Addresses kept ready; ids of logs and of mutations stand in paths too, and those do not come again.
_MOST_URLS = 64

#: An ASGI application, in httpx's words.
_App: TypeAlias = Callable[..., Awaitable[None]]


class Secret:
    """A string that is never shown or written: not by repr, str, format, a traceback's locals, copy or pickle."""

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


class _Connections(httpx.AsyncBaseTransport):
    """httpx's transport interface on aiohttp's connections.

    Parameters
    ----------
    root : str
        The address all requests begin with: it decides whether they go through a proxy.
    bounds : Bounds
    """

    def __init__(self, root: str, bounds: Bounds) -> None:
        self._session = aiohttp.ClientSession(
            connector=connections.Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=connections.LastMoment,
            read_bufsize=2**20,
            auto_decompress=False,  # done while it is read, within bounds
            max_line_size=HEADER,
            max_field_size=HEADER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=bounds.connect, sock_read=bounds.silence),
        )
        self._proxy, self._more_headers = connections.proxy_for(root)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._session.request(
            request.method,
            str(request.url),
            data=request.content or None,
            headers=[*_pairs(request.headers), *self._more_headers],
            allow_redirects=False,
            **self._proxy,
        )
        return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Stream(answer))

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._answer.content.readany():
            yield chunk

    async def whole(self, most: int) -> bytes | None:
        """Return the body in one go, where it is known beforehand to be plain and of at most so many bytes."""
        size = self._answer.content_length
        if size is None or size > most or "content-encoding" in self._answer.headers:
            return None
        return await self._answer.content.read()  # unlike ``_answer.read``, keeps no copy

    async def aclose(self) -> None:
        self._answer.close()  # drops the connection, unless the answer was read to its end


def _always() -> bool:
    return True


class Wire:
    """A connection to one account.

    Parameters
    ----------
    root : str
        Everything up to and including ``/client/v4/accounts/{id}``, or the address of another server.
    token : Secret
    app : ASGI application, optional
        Answers in-process instead of a server.
    below : str
        What comes between the root and a path that does not begin with a slash.
    bounds : Bounds
        How much of an answer is read, and how long it is waited for.
    """

    def __init__(
        self, root: str, token: Secret, app: _App | None = None, below: str = "/ai/", bounds: Bounds = BOUNDS
    ) -> None:
        self._root = root.rstrip("/")
        self._below = below
        self._token = token
        self._app = app
        self._bounds = bounds
        self._transport: httpx.AsyncBaseTransport | None = None
        self._urls: dict[str, httpx.URL] = {}
        self._headers: dict[str, httpx.Headers] = {}

    def _connected(self) -> httpx.AsyncBaseTransport:
        if self._transport is None:
            if self._app is not None:
                self._transport = httpx.ASGITransport(app=self._app)
            else:
                self._transport = _Connections(self._root, self._bounds)
        return self._transport

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            await transport.aclose()

    async def send(
        self, request: Request, model: str, *, method: str = "POST", leaves: Callable[[], bool] = _always
    ) -> Answer:
        """Send a request and wait for the whole answer.

        ``leaves`` is asked right before the first byte is written, once or twice; if it says no, nothing is written and
        asyncio.CancelledError is raised.

        Raises
        ------
        ServiceError
            Whatever is not an answer: a refusal, a broken connection, a body cut short, silence.
        AnswerError
            It is larger than what is read of its kind, or takes longer (see ``bounds``).
        """
        start = time.perf_counter()
        failure: CfaiError
        try:
            async with asyncio.timeout(self._bounds.seconds) as limit:
                response = await self._sent(self._build(request, model, method), leaves)
                try:
                    content, headers = await self._whole(response, request, model)
                finally:
                    await response.aclose()
        except Exception as error:
            failure = _late(model, self._bounds.seconds) if limit.expired() else _told(error, model)
        else:
            if response.status_code == 200 and not _says_failed(content):
                return Answer(content, headers, time.perf_counter() - start)
            failure = refusal(response.status_code, headers, content, model, self._product(request))
        # Raised out here, so that no frame or cause of it leads to a header with the token.
        raise failure

    async def stream(
        self, request: Request, model: str, *, leaves: Callable[[], bool] = _always
    ) -> AsyncGenerator[bytes, None]:
        """Send a request and yield the lines of a streamed answer as they come; ``leaves`` as for ``send``.

        Raises
        ------
        ServiceError, AnswerError
            As ``send``; a stream that breaks off raises Unavailable after what did arrive.
        """
        failure: CfaiError
        bounds = self._bounds
        limit = asyncio.timeout(bounds.stream_seconds)
        try:
            async with limit:
                response = await self._sent(self._build(request, model, "POST"), leaves)
                if response.status_code != 200:
                    try:
                        content, headers = await self._whole(response, request, model)
                    finally:
                        await response.aclose()
                    raise refusal(response.status_code, headers, content, model, self._product(request))
            try:
                headers = {name.lower(): value for name, value in _pairs(response.headers)}
                chunks = _chunks(response, headers, bounds.stream, "a stream", model)
                held, length = [b""], 0  # of the line that is not whole yet
                while True:
                    limit = asyncio.timeout_at(limit.when())  # while it is waited for: the reader takes its own time
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
                await response.aclose()
        except Exception as error:
            failure = _late(model, bounds.stream_seconds) if limit.expired() else _told(error, model)
        raise failure

    async def _sent(self, request: httpx.Request, leaves: Callable[[], bool]) -> httpx.Response:
        if self._app is None:
            connections.leaves.set(leaves)
        elif not leaves():  # in-process: nothing comes between here and the application
            raise asyncio.CancelledError
        return await self._connected().handle_async_request(request)

    async def _whole(self, response: httpx.Response, request: Request, model: str) -> tuple[bytes, dict[str, str]]:
        """Read an answer to its end and return it with its headers; of an error only the beginning is read."""
        good = response.status_code == 200
        most, what = (self._bounds.most(request.expected), request.expected) if good else (self._bounds.error, "")
        headers = {name.lower(): value for name, value in _pairs(response.headers)}
        content = await response.stream.whole(most) if isinstance(response.stream, _Stream) else None
        if content is None:
            content = b"".join([chunk async for chunk in _chunks(response, headers, most, what, model)])
        return content, headers

    def _product(self, request: Request) -> Product:
        return product_of(request, cloudflare=self._below != "/")

    def _build(self, request: Request, model: str, method: str) -> httpx.Request:
        path = request.path or f"run/{model}"
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= _MOST_URLS:
                self._urls.clear()
            try:
                url = self._urls[path] = httpx.URL(self._root + (path if path[0] == "/" else self._below + path))
            except httpx.InvalidURL as error:
                raise CfaiError(f"base_url and path give no address: {error}") from None
        if request.query:
            url = url.copy_merge_params(request.query)
        headers = self._headers.get(request.content_type)
        if headers is None:
            token = f"Bearer {self._token.reveal()}"
            fixed = {"authorization": token, "accept-encoding": "gzip", "user-agent": "cfai-nb"}
            headers = self._headers[request.content_type] = httpx.Headers(
                {**fixed, "content-type": request.content_type}
            )
        if request.headers:
            headers = httpx.Headers([*headers.multi_items(), *request.headers.items()])
        if request.form is not None:
            # Equal forms have equal boundaries: to a gateway's cache they are equal requests.
            boundary = hashlib.blake2b(pydantic_core.to_json(request.form, bytes_mode="base64"), digest_size=16)
            headers = httpx.Headers(headers)
            headers["content-type"] = f"multipart/form-data; boundary={boundary.hexdigest()}"
            fields = {name: part if isinstance(part, tuple) else (None, part) for name, part in request.form.items()}
            made = httpx.Request(method, url, headers=headers, files=fields)
            made.read()
            return made
        content = None if method == "GET" else request.body()
        return httpx.Request(method, url, headers=headers, content=content)


async def _chunks(
    response: httpx.Response, headers: dict[str, str], most: int, what: str, model: str
) -> AsyncIterator[bytes]:
    """Yield a body as it arrives, decompressed; beyond `most` bytes refuse `what` it is, or end where that is empty."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    # A transport that holds the whole answer has decompressed it already.
    plain = encoding == "identity" or isinstance(response.stream, httpx.ByteStream)
    unpack = None if plain else Unpacking(encoding)
    left = most
    async for chunk in response.stream:  # type: ignore[union-attr]  # those of these transports are asynchronous
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


def _pairs(headers: httpx.Headers) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw]


def _says_failed(content: bytes) -> bool:
    """Whether a body with status 200 says that it failed: an envelope, at one of its ends, or an error and no more."""
    if not (_FAILED.search(content, 0, 200) or _FAILED.search(content, max(0, len(content) - 500))):
        return False
    try:  # the model may have written these words itself
        document = pydantic_core.from_json(content)
    except ValueError:
        return False
    if not isinstance(document, dict):
        return False
    return document.get("success") is False or (bool(document.get("error")) and document.keys() <= _ERROR_ALONE)


def _told(error: Exception, model: str) -> CfaiError:
    """Say what went wrong in an error of ours, without a cause whose frames hold the token."""
    if isinstance(error, CfaiError):
        return error.with_traceback(None)
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if not isinstance(error, (OSError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError)):
        return CfaiError(f"{model}: {text[:500]}")  # not the network: a defect, which repeating would not mend
    code, todo = "connection lost", ""
    if isinstance(error, (httpx.ConnectError, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        code, todo = "no connection", " -- check the network and base_url"
    elif isinstance(error, aiohttp.SocketTimeoutError):
        code, text = "timeout", "not one byte arrived for as long as is waited"
    return Unavailable(f"{model}: {code} ({text[:200]}){todo}", code, model=model)
