"""Addresses in a frame: fetched only where it was allowed, from public hosts, up to a size and a time.

A cell may hold any address, also one somebody else wrote there.  So that fetching it cannot reach into the network this
machine stands in, every name is resolved here and only public addresses are connected to, and the same holds for
each redirect.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import re
import shutil
import socket
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ..errors import InputError
from ..media import Media
from ..media.source import MOST_BYTES, of_file
from .loop import LoopThread

#: Fetched at once, seconds for each in all, redirects followed, and the ports that are connected to.
AT_ONCE, SECONDS, REDIRECTS, PORTS = 8, 60.0, 5, frozenset({80, 443})
_AGENT = {
    "user-agent": "cfai-nb", "accept": "image/*,audio/*,video/*,application/*;q=0.9,*/*;q=0.5",
    "accept-encoding": "identity",  # media is packed already, and what is unpacked on the way may be a bomb
}  # fmt: skip
_GLOBAL_V6, _NAT64 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("64:ff9b::/96")
#: Not reachable from everywhere, and called global by ipaddress, or by its older versions: protocol assignments (some
#: clouds' metadata), 6to4 relays, Azure's host, documentation.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")))
#: A host that ends in a number is an address of version 4, however it is spelled (the WHATWG's rule).
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet, also where it wraps another one."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in _GLOBAL_V6:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in special for special in _SPECIAL)


class _Resolver(AbstractResolver):
    """Resolves names, and leaves out what may not be connected to: the answer is what is then connected to."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if self._allowed(each["host"])]
        if not kept:
            raise InputError(f"{host} is not a public host, and is not fetched from")
        return kept

    async def close(self) -> None:
        await self._inner.close()


class Fetcher:
    """Fetches addresses into a folder that lasts as long as this does; none twice.

    Parameters
    ----------
    allowed : callable
        IP address -> whether it may be connected to.
    ports : frozenset of int
        That may be connected to.
    most : int
        Bytes of one.
    seconds : float
        For one, all of its redirects together.
    """

    def __init__(
        self, allowed: Callable[[str], bool] = is_public, ports: frozenset[int] = PORTS, most: int = MOST_BYTES,
        seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        self._allowed = allowed
        self._ports = ports
        self._most = most
        self._seconds = seconds
        self._folder: Path | None = None
        self._tidy: weakref.finalize[..., Fetcher] | None = None
        self._known: dict[str, Media] = {}

    def __call__(self, urls: Sequence[str]) -> list[Media | InputError]:
        """Fetch these; one that fails has its error, and is tried again the next time."""
        wanted = [url for url in urls if url not in self._known]
        failed: dict[str, InputError] = {}
        if wanted:
            thread = LoopThread()  # of its own: the caller may stand on any loop
            try:
                results = thread.call(lambda: self._fetch_all(wanted))
            finally:
                thread.end()
            for url, result in zip(wanted, results, strict=True):
                if isinstance(result, InputError):
                    failed[url] = result
                else:
                    self._known[url] = result
        return [failed.get(url) or self._known[url] for url in urls]

    def close(self) -> None:
        """Forget what was fetched; what is asked for again is fetched again."""
        self._folder, self._known = None, {}
        if self._tidy is not None:
            self._tidy()

    async def _fetch_all(self, urls: Sequence[str]) -> list[Media | InputError]:
        gate = asyncio.Semaphore(AT_ONCE)
        connector = aiohttp.TCPConnector(resolver=_Resolver(self._allowed), limit=AT_ONCE, use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None),
            headers=_AGENT, trust_env=False,  # a proxy would resolve the name anew
        ) as session:  # fmt: skip

            async def one(url: str) -> Media | InputError:
                async with gate:
                    try:
                        async with asyncio.timeout(self._seconds):  # for all of its redirects together
                            return await self._fetch(session, url)
                    except InputError as error:
                        return error
                    except TimeoutError:
                        return InputError(f"the address {_short(url)} did not answer within {self._seconds:.0f} s")
                    except (aiohttp.ClientError, OSError, ValueError) as error:
                        return InputError(f"the address {_short(url)} cannot be fetched: {_why(error)}")

            return await asyncio.gather(*map(one, urls))

    async def _fetch(self, session: aiohttp.ClientSession, url: str) -> Media:
        at = URL(url)
        for _ in range(REDIRECTS + 1):
            self._judge(at)
            async with session.get(at, allow_redirects=False) as answer:
                if answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers:
                    at = at.join(URL(answer.headers["location"]))
                    continue
                if answer.status != 200:
                    raise InputError(f"the address {_short(url)} answers {answer.status}")
                return await self._save(answer, url)
        raise InputError(f"the address {_short(url)} redirects more than {REDIRECTS} times")

    def _judge(self, url: URL) -> None:
        """Refuse what may not be connected to; a name is judged by the resolver, by what it stands for."""
        # Of the very object that is connected to, in its own reading: another parser may read another host.
        host = url.raw_host
        if url.scheme not in ("http", "https") or not host or url.user or url.password:
            raise InputError(f"{_short(str(url))} is no plain http or https address")
        if url.port not in self._ports:
            raise InputError(f"{_short(str(url))} names a port that is not fetched from")
        # Some of these spellings never reach the resolver: what looks like a number is connected to as it is.
        if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            try:
                allowed = self._allowed(str(ipaddress.ip_address(host)))
            except ValueError:
                allowed = False
            if not allowed:
                raise InputError(f"{host} is not a public host, and is not fetched from")

    async def _save(self, answer: aiohttp.ClientResponse, url: str) -> Media:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="cfai-nb-"))
            self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = self._folder / hashlib.blake2b(url.encode(), digest_size=12).hexdigest()
        size = 0
        try:
            with path.open("wb") as file:
                async for chunk in answer.content.iter_chunked(2**18):
                    size += len(chunk)
                    if size > self._most:
                        raise InputError(f"the address {_short(url)} holds more than {self._most // 2**20} MiB")
                    file.write(chunk)
            return await asyncio.to_thread(of_file, path, URL(url).name[:100])
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _short(url: str) -> str:
    """Return an address without what may be secret in it, for messages."""
    try:
        found = URL(url)
        port = f":{found.explicit_port}" if found.explicit_port else ""
        return f"{found.scheme}://{found.host or ''}{port}{found.path}"[:120]
    except ValueError:
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2][:120]


def _why(error: Exception) -> str:
    """Say what went wrong, without the address itself, which some of these errors quote."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port} ({error.os_error.strerror or error.os_error})"[:200]
    if isinstance(error, ValueError):
        return "it is not well formed"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
