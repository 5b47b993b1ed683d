"""Fetching of addresses in a frame: only where it is allowed, from public hosts, with limits on size and time.

A cell may hold an address that somebody else wrote.  So that fetching it cannot reach into this machine's own network,
every name is resolved here and only public IP addresses are connected to; the same holds for each redirect.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import ipaddress
import os
import re
import shutil
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ..errors import InputError, Stopped
from .source import MOST_BYTES, File, Media, of_file

#: Downloads at once, seconds for each in total, redirects followed, and allowed ports.
AT_ONCE, SECONDS, REDIRECTS, PORTS = 8, 60.0, 5, frozenset({80, 443})
#: Maximum bytes that a session keeps of all downloads.
MOST_KEPT = 4 * 2**30
_TOO_MUCH = f"more than {MOST_KEPT // 2**30} GiB were fetched in this session; session.close() deletes them"
#: The result for one address.
Fetched: TypeAlias = "Media | InputError"
_AGENT = {
    "user-agent": "cfai-nb", "accept": "image/*,audio/*,video/*,application/*;q=0.9,*/*;q=0.5",
    "accept-encoding": "identity",  # media is compressed already, and a compressed body may be a bomb
}  # fmt: skip
_GLOBAL_V6, _NAT64 = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("64:ff9b::/96")
#: Not public, although ipaddress (or an older version of it) calls them global: protocol assignments (metadata of some
#: clouds), 6to4 relays, Azure's host, documentation.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "3fff::/20")))
#: A host that ends in a number is an IPv4 address in some spelling (the rule of the WHATWG URL standard).
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet; an embedded IPv4 address is checked too."""
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
    """Resolves names to allowed IP addresses only; the connection is made to what it returns."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        kept = [each for each in found if self._allowed(each["host"])]
        if not kept:
            raise InputError(f"{host} is not a public host; nothing is fetched from it")
        return kept

    async def close(self) -> None:
        await self._inner.close()


class Fetcher:
    """Fetches addresses into a temporary folder that lives as long as this; each once, even for two calls at once.

    ``wait`` (of the engine's bridge) runs a ``FetchJob`` on the engine's loop, blocks until it ends, and calls its
    second argument from time to time; ``allowed`` says whether an IP address may be connected to.  ``max_bytes`` and
    ``seconds`` (all redirects included) hold for one download, ``max_total_bytes`` for all together.
    """

    def __init__(
        self, wait: Callable[[FetchJob, Callable[[], None]], None], allowed: Callable[[str], bool] = is_public,
        ports: frozenset[int] = PORTS, max_bytes: int = MOST_BYTES, seconds: float = SECONDS,
        max_total_bytes: int = MOST_KEPT,
    ) -> None:  # fmt: skip
        self._wait = wait
        self.seconds = seconds
        self._allowed = allowed
        self._ports = ports
        self._max_bytes = max_bytes
        self._max_total_bytes = max_total_bytes
        self._begin()

    def _begin(self) -> None:
        """Start with no files, also in a forked process: the files there are belong to its parent."""
        self._process = os.getpid()
        self._total = 0
        self._folder: Path | None = None
        self._cleanup: weakref.finalize[..., Fetcher] | None = None
        self._media: dict[str, Media] = {}
        self._in_flight: dict[str, concurrent.futures.Future[Media | InputError | None]] = {}
        self._lock = threading.Lock()

    def __call__(self, urls: Sequence[str], on_progress: Callable[[str], object] = lambda words: None) -> list[Fetched]:
        """Fetch these; the result of a failed one is its error, and it is tried again by the next call.

        ``on_progress`` is called from time to time with a text that says how far it is.  Raises Stopped: Stop was
        pressed; what was fetched before is kept.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            found: dict[str, Fetched] = {url: media for url in urls if (media := self._kept(url)) is not None}
        if wanted := [url for url in dict.fromkeys(urls) if url not in found]:
            job = FetchJob(self, wanted)

            def tick() -> None:
                on_progress(job.progress)

            self._wait(job, tick)
            if job.stopped:
                raise Stopped(f"Stopped while fetching: {job.progress}; they are kept until the session is closed.")
            found |= job.found
        return [found[url] for url in urls]

    def close(self) -> None:
        """Delete what was fetched."""
        self._folder, self._media, self._total = None, {}, 0
        if self._cleanup is not None:
            self._cleanup()

    def session(self) -> aiohttp.ClientSession:
        """Return the connections of one job, to be closed at its end."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_Resolver(self._allowed), limit=AT_ONCE, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), headers=_AGENT,
            trust_env=False,  # a proxy would resolve the name itself
        )  # fmt: skip

    async def fetched(self, session: aiohttp.ClientSession, url: str) -> Fetched:
        """Return one address's media: kept, by waiting for another call that fetches it, or fetched now."""
        while True:
            with self._lock:
                if (kept := self._kept(url)) is not None:
                    return kept
                other = self._in_flight.get(url)
                if other is None:
                    mine = self._in_flight[url] = concurrent.futures.Future()
                    break
            # Shielded: cancelling the wait must not cancel the other call's download.
            if (result := await asyncio.shield(asyncio.wrap_future(other))) is not None:
                return result
        result = None
        try:
            result = await self._one(session, url)
        finally:  # None if it was stopped: whoever waits for it fetches it then
            with self._lock:
                if isinstance(result, Media):
                    self._media[url] = result
                del self._in_flight[url]
            mine.set_result(result)
        return result

    def _kept(self, url: str) -> Media | None:
        """Return what was fetched before; None if it was not, or its file was deleted.  Called with the lock held."""
        media = self._media.get(url)
        if media is not None and not (self._folder is not None and (self._folder / _file_name(url)).exists()):
            del self._media[url]
            self._total -= media.size
            return None
        return media

    async def _one(self, session: aiohttp.ClientSession, url: str) -> Fetched:
        try:
            async with asyncio.timeout(self.seconds):  # redirects included
                return await self._fetch(session, url)
        except InputError as error:
            return error
        except TimeoutError:
            return InputError(f"the address {_short(url)} did not answer within {self.seconds:.0f} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return InputError(f"the address {_short(url)} cannot be fetched: {_why(error)}")

    async def _fetch(self, session: aiohttp.ClientSession, url: str) -> Media:
        at = URL(url)
        for _ in range(REDIRECTS + 1):
            self._check(at)
            async with session.get(at, allow_redirects=False) as answer:
                if answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers:
                    at = at.join(URL(answer.headers["location"]))
                    continue
                if answer.status != 200:
                    raise InputError(f"the address {_short(url)} answers {answer.status}")
                return await self._save(answer, url)
        raise InputError(f"the address {_short(url)} redirects more than {REDIRECTS} times")

    def _check(self, url: URL) -> None:
        """Refuse an address that may not be connected to; names are checked by the resolver."""
        # The same object is connected to: another parser could read another host from the same text.
        host = url.raw_host
        if url.scheme not in ("http", "https") or not host or url.user or url.password:
            raise InputError(f"{_short(str(url))} is not a plain http or https address")
        if url.port not in self._ports:
            raise InputError(f"{_short(str(url))} uses a port that is not allowed")
        # Numeric hosts never reach the resolver: they are connected to as they are.
        if ":" in host or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            try:
                allowed = self._allowed(str(ipaddress.ip_address(host)))
            except ValueError:
                allowed = False
            if not allowed:
                raise InputError(f"{host} is not a public host; nothing is fetched from it")

    async def _save(self, answer: aiohttp.ClientResponse, url: str) -> Media:
        if self._folder is None or not self._folder.exists():
            self._folder = Path(tempfile.mkdtemp(prefix="cfai-nb-"))
            self._cleanup = weakref.finalize(self, _delete, self._folder, os.getpid())
        folder, size = self._folder, 0
        path = folder / _file_name(url)
        try:
            with path.open("wb") as file:
                async for chunk in answer.content.iter_chunked(2**18):
                    if self._folder is not folder:
                        raise InputError(f"the session was closed while the address {_short(url)} was fetched")
                    size += len(chunk)
                    self._total += len(chunk)
                    if size > self._max_bytes:
                        raise InputError(f"the address {_short(url)} holds more than {self._max_bytes // 2**20} MiB")
                    if self._total > self._max_total_bytes:
                        raise InputError(_TOO_MUCH)
                    await asyncio.to_thread(file.write, chunk)  # a slow disk must not block the loop
            return await asyncio.to_thread(of_file, File(path), URL(url).name[:100])
        except BaseException:
            if self._folder is folder:  # else nothing of it is counted any more
                self._total -= size
            path.unlink(missing_ok=True)
            raise


class FetchJob:
    """A job of the bridge: fetches addresses, a few at once; ``stopped`` if Stop was pressed before the end."""

    def __init__(self, fetcher: Fetcher, urls: Sequence[str]) -> None:
        self.found: dict[str, Fetched] = {}
        self.stopped = False
        self._fetcher = fetcher
        self._urls = urls
        self._task: asyncio.Task[None] | None = None

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        size = sum(media.size for media in tuple(self.found.values()) if isinstance(media, Media))
        return f"{len(self.found):,} of {len(self._urls):,} addresses, {size / 1e6:,.1f} MB"

    async def execute(self) -> None:
        """Fetch them all."""
        self._task = asyncio.ensure_future(self._all())
        if self.stopped:
            self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self.stopped = False  # Stop came too late
            self._task.result()

    async def _all(self) -> None:
        waiting = iter(self._urls)
        async with self._fetcher.session() as session, asyncio.TaskGroup() as group:

            async def some() -> None:
                for url in waiting:
                    self.found[url] = await self._fetcher.fetched(session, url)

            for _ in range(min(AT_ONCE, len(self._urls))):
                group.create_task(some())

    def stop(self) -> None:
        """Cancel the downloads in flight: they cost nothing."""
        self.stopped = True
        if self._task is not None:
            self._task.cancel()

    abandon = stop


def _file_name(url: str) -> str:
    return hashlib.blake2b(url.encode(), digest_size=12).hexdigest()


def _delete(folder: Path, process: int) -> None:
    """Delete a folder in the process that made it; a forked one inherits this call and must not."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _short(url: str) -> str:
    """Return an address for messages, without user, query and fragment, which may be secret."""
    try:
        found = URL(url)
        port = f":{found.explicit_port}" if found.explicit_port else ""
        return f"{found.scheme}://{found.host or ''}{port}{found.path}"[:120]
    except ValueError:
        return url.partition("?")[0].partition("#")[0].rpartition("@")[2][:120]


def _why(error: Exception) -> str:
    """Return what went wrong, without the address, which some of these errors quote."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port} ({error.os_error.strerror or error.os_error})"[:200]
    if isinstance(error, ValueError):
        return "it is not a valid address"
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
