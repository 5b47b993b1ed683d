"""The connections that carry requests, on aiohttp: when a request leaves, which connection is reused, which proxy.

``wire`` makes its session of these.  In come the address that all requests begin with and, for each request, whether it
may still leave; aiohttp's classes are extended where a promise depends on the moment a byte is written or arrives.
"""

from __future__ import annotations

import asyncio
import collections
import functools
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from .bounds import HEADER, Bounds

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.tracing import Trace

#: Whether the request of the current task may still leave; asked right before its first byte does.
_leaves: ContextVar[Callable[[], bool]] = ContextVar("cfai_nb_leaves")
#: Headers by name, in lower case.
Headers: TypeAlias = dict[str, str]


class Arriving(Protocol):
    """An answer of which status and headers have arrived."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]:
        """Return the body as it arrives."""

    async def whole(self, most: int) -> bytes | None:
        """Return the body in one go, where it is known beforehand to be plain and of at most so many bytes."""

    def close(self) -> None:
        """Read nothing more of it."""


class Network:
    """Sends requests to a server.

    Parameters
    ----------
    root : str
        The address all requests begin with: it decides whether they go through a proxy.
    bounds : Bounds
    """

    def __init__(self, root: str, bounds: Bounds) -> None:
        self._session = aiohttp.ClientSession(
            connector=Connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=LastMoment,
            read_bufsize=2**20,
            auto_decompress=False,  # done while it is read, within bounds
            max_line_size=HEADER,
            max_field_size=HEADER,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=bounds.connect, sock_read=bounds.silence),
        )
        self._proxy, self._more_headers = proxy_for(root)

    async def send(self, method: str, url: str, headers: Headers, body: bytes, leaves: Callable[[], bool]) -> Arriving:
        """Send a request, unless it may not leave any more when it has a connection."""
        _leaves.set(leaves)
        headers = {**headers, **self._more_headers} if self._more_headers else headers
        answer = await self._session.request(
            method, URL(url), data=body or None, headers=headers, allow_redirects=False, **self._proxy
        )
        return _FromServer(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


class _FromServer:
    """An answer of a server."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.raw_headers}

    async def chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._answer.content.readany():
            yield chunk

    async def whole(self, most: int) -> bytes | None:
        size = self._answer.content_length
        if size is None or size > most or "content-encoding" in self.headers:
            return None
        return await self._answer.content.read()  # unlike ``_answer.read``, keeps no copy

    def close(self) -> None:
        self._answer.close()  # drops the connection, unless the answer was read to its end


class _Watched(ResponseHandler):
    """A connection that is dropped when anything arrives that was not asked for."""

    def __init__(self, unasked: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.asked = True
        self._unasked = unasked

    def data_received(self, data: bytes) -> None:
        if self.asked or not data:  # nothing arrived: it only goes on with what did
            super().data_received(data)
        else:
            self._unasked()
            self.close()


class LastMoment(aiohttp.ClientRequest):
    """A request that asks whether it may leave when it has its connection, which can take seconds to make."""

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        if not self.body and not _leaves.get()():  # without a body all is written here, and not in ``write_bytes``
            raise asyncio.CancelledError
        self._sender = asyncio.current_task()
        return await super().send(conn)

    async def write_bytes(self, writer: AbstractStreamWriter, conn: Connection, *rest: int | None) -> None:
        """Write headers and body, which Python before 3.12 does a turn of the loop later than ``send``."""
        if not _leaves.get()() and self._sender is not None:
            self._sender.cancel()
            raise asyncio.CancelledError
        await super().write_bytes(writer, conn, *rest)


class Connector(aiohttp.TCPConnector):
    """Reuses only connections on which nothing arrived after the answer: it would be taken for the next one.

    A connection rests before it is reused, since a second answer may come a moment after the first.  Once one came, no
    connection is reused for a while: another may come later than the rest lasts.
    """

    rest, distrust = 0.01, 60.0  # seconds
    _distrusted = 0.0  # until then (of the loop's clock)

    def __init__(self) -> None:
        # How many requests are under way is for Pace to say, so the pool has no limit of its own.
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


class _Proxy(TypedDict, total=False):
    proxy: str
    proxy_headers: dict[str, str]


def proxy_for(root: str) -> tuple[_Proxy, Headers]:
    """Return what aiohttp is given for the proxy of the environment, and the headers each request needs for it.

    Not left to aiohttp: it reads ``.netrc`` along with the environment, and a password from there collides with the
    token.
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
    if at.scheme == "http":  # handed the request itself, not asked for a tunnel
        return {"proxy": bare}, header
    return {"proxy": bare, "proxy_headers": header}, {}
