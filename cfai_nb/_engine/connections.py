"""The connections that carry requests, on aiohttp's connector and parser: when a request leaves, on which connection.

``wire`` makes one ``Network`` for each session.  ``Network.send`` takes an address, headers, a body and a function that
returns whether the request may still leave; it returns an ``Arriving`` answer.  Requests are not written by aiohttp's
session, which builds a dozen objects and a task for each (0.08 ms of CPU), and cannot check right before the first
byte.  aiohttp's classes are extended where a promise depends on the moment a byte arrives.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import math
import zlib
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from ..errors import AnswerError, Unavailable

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.http_parser import RawResponseMessage
    from aiohttp.streams import StreamReader
    from aiohttp.tracing import Trace

#: Bytes of one header, and of the status line; aiohttp allows 128 headers.
HEADER = 8_190
#: Headers by name, in lower case.
Headers: TypeAlias = dict[str, str]


class Arriving(Protocol):
    """An answer of which status and headers have arrived."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the body as it arrives."""

    async def whole(self, most: int) -> bytes | None:
        """Return the body at once, if it is known to be plain and to have at most so many bytes."""

    def close(self) -> None:
        """Read nothing more of it."""


class Network:
    """Sends requests to a server: the host of ``root``, with which all addresses begin, or the proxy for it.

    ``connect`` and ``silence`` are the most seconds to connect, and without a single byte.
    """

    def __init__(self, root: str, connect: float, silence: float) -> None:
        proxy, self._more_headers = proxy_for(root)
        self._connector = Connector()
        self._silence = silence
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect)
        # Where to connect to; all requests go there.
        if "proxy" in proxy:
            proxy["proxy"] = URL(proxy["proxy"])
        self._route = aiohttp.ClientRequest("GET", URL(root), loop=asyncio.get_running_loop(), **proxy)
        self._absolute = "proxy" in proxy and not self._route.is_ssl()  # such a proxy is sent the whole address
        self._host = f"host: {self._route.headers['Host']}\r\naccept: */*\r\n"

    async def send(self, method: str, url: str, headers: Headers, body: bytes, leaves: Callable[[], bool]) -> Arriving:
        """Send a request, if it may still leave when it has a connection."""
        if self._more_headers:
            headers = {**headers, **self._more_headers}
        head = f"{method} {url if self._absolute else _target(url)} HTTP/1.1\r\n{self._host}{_lines(headers)}"
        head += f"content-length: {len(body)}\r\n\r\n" if body or method != "GET" else "\r\n"
        try:
            connection = await self._connector.connect(self._route, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._route.url.host}") from error
        try:
            protocol = connection.protocol
            if protocol is None or protocol.transport is None:
                raise aiohttp.ServerDisconnectedError
            protocol.set_response_params(
                read_until_eof=True, auto_decompress=False,  # decompressed while it is read, within bounds
                read_timeout=self._silence, read_bufsize=2**20, max_line_size=HEADER, max_field_size=HEADER,
            )  # fmt: skip
            if not leaves():
                raise asyncio.CancelledError
            protocol.transport.write(head.encode() + body)
            protocol.start_timeout()
            message, payload = await protocol.read()
            while message.code < 200 and message.code != 101:  # a hint that the answer is still to come
                message, payload = await protocol.read()
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientPayloadError(error.message or str(error.__cause__)) from error
        except BaseException:
            connection.close()
            raise
        return _FromServer(connection, message, payload)

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()


@functools.lru_cache(64)
def _target(url: str) -> str:
    return URL(url, encoded=True).raw_path_qs


def _lines(headers: Headers) -> str:
    """Return headers as they are written; ValueError where one would end its line and begin another."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header may not contain line breaks or zero bytes")
    return lines


class _FromServer:
    """An answer of a server; its connection is given back once the body was read to its end."""

    def __init__(self, connection: Connection, message: RawResponseMessage, payload: StreamReader) -> None:
        self._connection, self._payload = connection, payload
        self.status = message.code
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message.raw_headers}
        payload.on_eof(connection.release)

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._payload.readany():
            yield chunk

    async def whole(self, most: int) -> bytes | None:
        size = self.headers.get("content-length", "")
        if not size.isdecimal() or int(size) > most or "content-encoding" in self.headers:
            return None
        return await self._payload.read()

    def close(self) -> None:
        self._connection.close()  # no effect where the body was read to its end


class _Watched(ResponseHandler):
    """A connection that is dropped when anything arrives that was not asked for.

    One timer watches for silence as long as the connection lives; aiohttp's own makes two for each answer.
    """

    _silent_at = math.inf  # when it has been silent too long

    def __init__(self, unasked: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.asked = True
        self._unasked = unasked

    def data_received(self, data: bytes) -> None:
        if self.asked or not data:  # without data it only continues with earlier data
            super().data_received(data)
        else:
            self._unasked()
            self.close()

    def _reschedule_timeout(self) -> None:
        self._silent_at = self._loop.time() + (self.read_timeout or math.inf)
        if self._read_timeout_handle is None and self.read_timeout:
            self._arm()

    def _drop_timeout(self) -> None:
        self._silent_at = math.inf

    def _arm(self) -> None:
        # In an empty context: a timer would keep the caller's, with its session, for as long as it lasts.
        self._read_timeout_handle = self._loop.call_at(self._silent_at, self._look, context=Context())

    def _look(self) -> None:
        self._read_timeout_handle = None
        now, transport = self._loop.time(), self.transport
        if self._silent_at == math.inf or transport is None:
            return
        if transport.get_write_buffer_size():  # the request is still being written
            self._silent_at = now + (self.read_timeout or math.inf)
        if now < self._silent_at:
            self._arm()
        else:
            self._on_read_timeout()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._read_timeout_handle is not None:
            self._read_timeout_handle.cancel()
            self._read_timeout_handle = None
        super().connection_lost(exc)


class Connector(aiohttp.TCPConnector):
    """Reuses only connections on which nothing arrived after the answer, since that would be taken for the next one.

    A connection rests before it is reused, because a second answer may come a moment after the first.  Once that
    happened, no connection is reused for a while: another answer may come after the rest.
    """

    rest, distrust = 0.01, 60.0  # seconds
    _distrusted = 0.0  # until then (of the loop's clock)

    def __init__(self) -> None:
        # The limiter bounds the requests in flight, so the pool has no limit of its own.
        super().__init__(limit=0, ttl_dns_cache=300, keepalive_timeout=60)
        made = functools.partial(_Watched, self._suspect, loop=self._loop)
        self._factory = cast("functools.partial[ResponseHandler]", made)
        self._resting: collections.deque[tuple[float, ConnectionKey, ResponseHandler]] = collections.deque()

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if isinstance(connection.protocol, _Watched):
            connection.protocol.asked = True
        return connection

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if should_close or protocol.should_close or self._loop.time() < self._distrusted:
            super()._release(key, protocol, should_close=True)
            return
        if isinstance(protocol, _Watched):
            protocol.asked = False
        self._resting.append((self._loop.time() + self.rest, key, protocol))
        if len(self._resting) == 1:
            self._loop.call_later(self.rest, self._rested)

    def _rested(self) -> None:
        now = self._loop.time() + 0.001
        while self._resting and self._resting[0][0] <= now:
            _, key, protocol = self._resting.popleft()
            super()._release(key, protocol)
        if self._resting:
            self._loop.call_at(self._resting[0][0], self._rested)

    def _suspect(self) -> None:
        self._distrusted = self._loop.time() + self.distrust


class Unpacking:
    """A compressed body, decompressed as it arrives and never beyond a given size."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise AnswerError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for", "encoding")
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes

    def __call__(self, packed: bytes, most: int) -> bytes:
        """Decompress a piece; what is beyond `most` bytes stays compressed."""
        if self._inner.eof:
            return b""  # padding after the end
        try:
            return self._inner.decompress(packed, max(1, most))
        except zlib.error as error:
            raise AnswerError(f"the answer cannot be decompressed: {error}", "broken", again=True) from None

    def end(self, model: str) -> None:
        """Note that nothing more comes."""
        if not self._inner.eof:
            raise Unavailable(f"{model}: the answer was cut within compressed data", "connection lost", model=model)


def proxy_for(root: str) -> tuple[dict[str, Any], Headers]:
    """Return the proxy of the environment as aiohttp takes it, and the headers each request needs for it.

    aiohttp itself would read ``.netrc`` together with the environment; a password from there collides with the token.
    """
    at = urlsplit(root)
    proxy = getproxies().get(at.scheme)
    if not proxy or proxy_bypass(at.hostname or ""):
        return {}, {}
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not found.username:
        return {"proxy": found.geturl()}, {}
    login = f"{unquote(found.username)}:{unquote(found.password or '')}".encode()
    bare = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    header = {"proxy-authorization": f"Basic {b64encode(login).decode()}"}
    if at.scheme == "http":  # it is sent the request itself, not asked for a tunnel
        return {"proxy": bare}, header
    return {"proxy": bare, "proxy_headers": header}, {}
