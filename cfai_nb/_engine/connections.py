"""The connections that carry requests, on aiohttp: when a request leaves, which connection is reused, which proxy.

``wire`` makes its session of these.  In come the address that all requests begin with and, for each request, whether it
may still leave; aiohttp's classes are extended where a promise depends on the moment a byte is written or arrives.
"""

from __future__ import annotations

import asyncio
import functools
from base64 import b64encode
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypedDict, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.tracing import Trace

#: Whether the request of the current task may still leave; asked right before its first byte does.
leaves: ContextVar[Callable[[], bool]] = ContextVar("cfai_nb_leaves")


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
        if not self.body and not leaves.get()():  # without a body all is written here, and not in ``write_bytes``
            raise asyncio.CancelledError
        self._sender = asyncio.current_task()
        return await super().send(conn)

    async def write_bytes(self, writer: AbstractStreamWriter, conn: Connection, *rest: int | None) -> None:
        """Write headers and body, which Python before 3.12 does a turn of the loop later than ``send``."""
        if not leaves.get()() and self._sender is not None:
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
        self._loop.call_later(self.rest, super()._release, key, protocol)

    def _suspect(self) -> None:
        self._distrusted = self._loop.time() + self.distrust


class _Proxy(TypedDict, total=False):
    proxy: str
    proxy_headers: dict[str, str]


def proxy_for(root: str) -> tuple[_Proxy, list[tuple[str, str]]]:
    """Return what aiohttp is given for the proxy of the environment, and the headers each request needs for it.

    Not left to aiohttp: it reads ``.netrc`` along with the environment, and a password from there collides with the
    token.
    """
    at = urlsplit(root)
    proxy = getproxies().get(at.scheme)
    if not proxy or proxy_bypass(at.hostname or ""):
        return {}, []
    found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not found.username:
        return {"proxy": found.geturl()}, []
    login = f"{unquote(found.username)}:{unquote(found.password or '')}".encode()
    bare = found._replace(netloc=found.netloc.rpartition("@")[2]).geturl()
    header = ("proxy-authorization", f"Basic {b64encode(login).decode()}")
    if at.scheme == "http":  # handed the request itself, not asked for a tunnel
        return {"proxy": bare}, [header]
    return {"proxy": bare, "proxy_headers": dict([header])}, []
