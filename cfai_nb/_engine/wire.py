"""The one place that speaks HTTP: a request goes out, an Answer or an error of ours comes back.

httpx's requests, responses and transports are used without its client, and aiohttp's connections carry them: at 64 in
flight httpx's client with its own pool costs 1.0 ms of CPU a request, with the ``httpx-aiohttp`` transport 0.5, and
this 0.26.  The transport is the seam: the emulator is put in its place in-process.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias
from urllib.request import getproxies

import aiohttp
import httpx
import pydantic_core

from ..errors import CfaiError, Unavailable
from ..tasks import Answer, Request
from .refusals import Product, product_of, refusal

#: Seconds to connect, and to wait for the next byte.  Without ``rejectIfBusy`` the service queues a call, and giving up
#: on one that is being worked on would pay for it twice: the wait is long.
CONNECT, READ = 20.0, 300.0
_FAILED = re.compile(rb'"success"\s*:\s*false|^\s*\{\s*"error"\s*:')
_ERROR_ALONE = {"error", "code", "message", "status"}


#: An ASGI application, in httpx's words.
_App: TypeAlias = Callable[..., Awaitable[None]]


class Secret:
    """A string that is never shown: not by repr, str, format or a traceback's locals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def reveal(self) -> str:
        """Return the string itself, for the header it goes into."""
        return self._value


class _Connections(httpx.AsyncBaseTransport):
    """httpx's transport interface on aiohttp's connections.

    An answer is read whole, in one go, unless the request's extensions ask for a ``stream``: handing a megabyte of
    vectors on in pieces of 16 KB costs as much as parsing it.
    """

    def __init__(self) -> None:
        # How many requests are under way is for Pace to say, so the pool has no limit of its own.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=2**20,
            auto_decompress=False,  # httpx's responses do that
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ),
            trust_env=bool(getproxies()),  # looked up at every request, which costs: only where there is a proxy
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._session.request(
            request.method,
            str(request.url),
            data=request.content or None,
            headers=_pairs(request.headers),
            allow_redirects=False,
        )
        if request.extensions.get("stream"):
            return httpx.Response(answer.status, headers=answer.raw_headers, stream=_Stream(answer))
        try:
            content = await answer.read()
        finally:
            answer.release()
        return httpx.Response(answer.status, headers=answer.raw_headers, content=content)

    async def aclose(self) -> None:
        await self._session.close()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._answer.content.iter_any():
            yield chunk

    async def aclose(self) -> None:
        self._answer.close()


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
    """

    def __init__(self, root: str, token: Secret, app: _App | None = None, below: str = "/ai/") -> None:
        self._root = root.rstrip("/")
        self._below = below
        self._token = token
        self._app = app
        self._transport: httpx.AsyncBaseTransport | None = None
        self._urls: dict[str, httpx.URL] = {}
        self._headers: dict[str, httpx.Headers] = {}

    def _connected(self) -> httpx.AsyncBaseTransport:
        if self._transport is None:
            if self._app is not None:
                self._transport = httpx.ASGITransport(app=self._app)
            else:
                self._transport = _Connections()
        return self._transport

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            await transport.aclose()

    async def send(self, request: Request, model: str, *, method: str = "POST") -> Answer:
        """Send a request and wait for the whole answer.

        Raises
        ------
        ServiceError
            Whatever is not an answer: a refusal, a broken connection, a body cut short.
        """
        start = time.perf_counter()
        failure: CfaiError
        try:
            response = await self._connected().handle_async_request(self._build(request, model, method))
            try:
                content = await response.aread()
            finally:
                await response.aclose()
        except Exception as error:
            failure = _told(error, model)
        else:
            headers = {name.lower(): value for name, value in _pairs(response.headers)}
            if response.status_code == 200 and not _says_failed(content):
                return Answer(content, headers, time.perf_counter() - start)
            failure = refusal(response.status_code, headers, content, model, self._product(request))
        # Raised out here, so that no frame or cause of it leads to a header with the token.
        raise failure

    async def stream(self, request: Request, model: str) -> AsyncIterator[bytes]:
        """Send a request and yield the lines of a streamed answer as they come.

        Raises
        ------
        ServiceError
            As ``send``; a stream that breaks off raises Unavailable after what did arrive.
        """
        failure: CfaiError
        try:
            response = await self._connected().handle_async_request(self._build(request, model, "POST", stream=True))
            try:
                if response.status_code != 200:
                    content = await response.aread()
                    headers = {name.lower(): value for name, value in _pairs(response.headers)}
                    raise refusal(response.status_code, headers, content, model, self._product(request))
                rest = b""
                async for chunk in response.aiter_bytes():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield line.rstrip(b"\r")
                if rest:
                    yield rest
                return
            finally:
                await response.aclose()
        except Exception as error:
            failure = _told(error, model)
        raise failure

    def _product(self, request: Request) -> Product:
        return product_of(request, cloudflare=self._below != "/")

    def _build(self, request: Request, model: str, method: str, *, stream: bool = False) -> httpx.Request:
        path = request.path or f"run/{model}"
        url = self._urls.get(path)
        if url is None:
            try:
                url = self._urls[path] = httpx.URL(self._root + (path if path[0] == "/" else self._below + path))
            except httpx.InvalidURL as error:
                raise CfaiError(f"base_url and path give no address: {error}") from None
        if request.query:
            url = url.copy_merge_params(request.query)
        headers = self._headers.get(request.content_type)
        if headers is None:
            token = f"Bearer {self._token.reveal()}"
            fixed = {"authorization": token, "accept-encoding": "gzip, deflate", "user-agent": "cfai-nb"}
            headers = self._headers[request.content_type] = httpx.Headers(
                {**fixed, "content-type": request.content_type}
            )
        if request.headers:
            headers = httpx.Headers([*headers.multi_items(), *request.headers.items()])
        extensions = {"stream": stream}
        if request.form is not None:
            # Equal forms have equal boundaries: to a gateway's cache they are equal requests.
            boundary = hashlib.blake2b(pydantic_core.to_json(request.form, bytes_mode="base64"), digest_size=16)
            headers = httpx.Headers(headers)
            headers["content-type"] = f"multipart/form-data; boundary={boundary.hexdigest()}"
            fields = {name: part if isinstance(part, tuple) else (None, part) for name, part in request.form.items()}
            made = httpx.Request(method, url, headers=headers, files=fields, extensions=extensions)
            made.read()
            return made
        content = None if method == "GET" else request.body()
        return httpx.Request(method, url, headers=headers, content=content, extensions=extensions)


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
        return error
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    if not isinstance(error, (OSError, httpx.HTTPError, httpx.StreamError, aiohttp.ClientError)):
        return CfaiError(f"{model}: {text[:500]}")  # not the network: a defect, which repeating would not mend
    connecting = isinstance(error, (httpx.ConnectError, aiohttp.ClientConnectorError))
    code = "no connection" if connecting else "connection lost"
    todo = " -- check the network and base_url" if connecting else ""
    return Unavailable(f"{model}: {code} ({text[:200]}){todo}", code, model=model)
