"""Addresses in a frame: fetched only where allowed, from public hosts alone, once, and within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import picture

import cfai_nb as cf
from cfai_nb._engine.bridge import bridge
from cfai_nb.emulator import Emulator
from cfai_nb.errors import InputError
from cfai_nb.media import Media
from cfai_nb.media.fetch import Fetcher, _Resolver, is_public

SECRET = "token=hunter2"


class Site:
    """A web server on this machine, and what it was asked for."""

    def __init__(self) -> None:
        site, self.asked = self, []
        self.release, self.go, self.half = threading.Event(), threading.Event(), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.answer(self)

            def log_message(self, *_: Any) -> None:
                """Stay quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.root = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """Answer by what the path says."""
        path = to.path.partition("?")[0]
        goes = {
            "/loop": "/loop",
            "/there": "/a.png",
            "/away": f"http://10.0.0.7:{self.port}/a.png",
            "/odd": f"http://2130706433:{self.port}/a.png",
            "/file": "file:///etc/passwd",
            "/data": "data:image/png;base64,AAAA",
        }
        bodies = dict.fromkeys(("/a.png", "/b.png", "/wait"), picture())
        bodies["/halves"] = picture() + bytes(2_000)
        bodies |= {"/text": b"hello", "/big": b"\x89PNG" + bytes(300_000), "/empty": b"", "/cut": b"\x89PNG"}
        if path == "/slow":
            self.release.wait(20)
        if path == "/wait":
            self.go.wait(20)
        if path in goes:
            to.send_response(302)
            to.send_header("location", goes[path])
        else:
            to.send_response(200 if path in bodies else 404)
        body = bodies.get(path, b"")
        to.send_header("content-length", str(len(body) + (1_000 if path == "/cut" else 0)))
        to.end_headers()
        with contextlib.suppress(OSError):  # the other side may have enough
            if path == "/halves":
                to.wfile.write(body[:1_000])
                self.half.wait(20)
                body = body[1_000:]
            to.wfile.write(body)

    def fetcher(self, **options: Any) -> Fetcher:
        """Return what may fetch from here, and from nowhere else that is private."""
        return Fetcher(bridge.wait, lambda ip: ip == "127.0.0.1" or is_public(ip), frozenset({self.port}), **options)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A server for all tests here."""
    made = Site()
    yield made
    made.release.set()
    made.server.shutdown()
    made.server.server_close()


PRIVATE = """
    127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 192.0.0.192
    168.63.129.16 192.88.99.1 198.18.0.1 ::1 :: fe80::1 fe80::1%eth0 fd00::1 fec0::1 ff02::1 ::ffff:127.0.0.1
    ::ffff:10.0.0.1 ::ffff:224.0.0.1 ::127.0.0.1 64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::7f00:1 2002:7f00:1::
    2002:a00:1:: 2001:0:7f00:1:: 2001:db8::1 3fff::1 5f00::1 100::1
"""
SPELLINGS = """
    127.0.0.1 localhost 2130706433 017700000001 0x7f000001 0x7f.1 127.1 127.0.0.1. [::1] [::ffff:127.0.0.1]
    [::ffff:7f00:1] [0:0:0:0:0:0:0:1] １２７.0.0.1 127。0。0。1 ①②⑦.0.0.1 LOCALHOST localhost.
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses_are_no_public_ones(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, reserved, metadata, and all of them wrapped in version 6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    """Also where version 6 wraps them, as networks with NAT64 do."""
    assert is_public(address)


@pytest.mark.parametrize("host", SPELLINGS.split())
def test_loopback_is_refused_however_it_is_spelled(site: Site, host: str) -> None:
    """No spelling of a host reaches this machine, and the row says why."""
    asked = len(site.asked)
    (found,) = Fetcher(bridge.wait, ports=frozenset({site.port}))([f"http://{host}:{site.port}/a.png?{SECRET}"])
    assert isinstance(found, InputError)
    assert "is not a public host" in str(found) or "no connection" in str(found)  # a name that does not exist
    assert SECRET not in str(found)
    assert len(site.asked) == asked


def test_a_name_that_stands_for_a_private_address_is_refused() -> None:
    """Names are judged by what they resolve to, and only what was judged is connected to."""

    class Inner:
        async def resolve(self, host: str, port: int, family: Any) -> list[dict[str, Any]]:
            return [{"host": one} for one in ("10.0.0.1", "8.8.8.8", "::1")][: 1 if host == "inside.example" else 3]

    async def resolved(host: str) -> list[str]:
        resolver = _Resolver(is_public)
        resolver._inner = Inner()  # type: ignore[assignment]
        return [each["host"] for each in await resolver.resolve(host, 80)]

    assert asyncio.run(resolved("mixed.example")) == ["8.8.8.8"]
    with pytest.raises(InputError, match=r"inside\.example is not a public host"):
        asyncio.run(resolved("inside.example"))


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/away", "10.0.0.7 is not a public host"),
        ("/odd", "2130706433 is not a public host"),
        ("/file", "not a plain http"),
        ("/data", "not a plain http"),
        ("/loop", "redirects more than 5 times"),
        ("/gone", "answers 404"),
        ("/big", "holds more than"),
        ("/cut", "cannot be fetched"),
        ("/empty", "empty is empty"),
        ("/slow", "did not answer within"),
    ],
)
def test_what_cannot_be_had_fails_its_row(site: Site, path: str, why: str) -> None:
    """Redirects inwards or out of http, loops, refusals, what is too big, cut or slow: reported without secrets."""
    fetch = site.fetcher(max_bytes=200_000, seconds=0.3 if path == "/slow" else 20)
    found, good = fetch([f"{site.root}{path}?{SECRET}#{SECRET}", f"{site.root}/a.png"])
    assert isinstance(found, InputError)
    assert why in str(found)
    assert SECRET not in str(found)
    assert not isinstance(good, InputError)
    assert fetch._folder is not None
    assert len(os.listdir(fetch._folder)) == 1  # of what failed nothing stays
    fetch.close()


@pytest.mark.parametrize(
    "url",
    ["http://me:pw@{}/a.png", "http://me@{}/a.png", "http://{}:22/a.png?q=hunter2", "ftp://{}/a", "http://[bad/?hunter2",
     "http://a\\b@{}/?hunter2", "http://", "http://{}:99999/?hunter2", "https:///x?hunter2"],
)  # fmt: skip
def test_addresses_that_are_not_plain_are_not_asked(site: Site, url: str) -> None:
    """Passwords, other ports and other schemes are refused before anything is sent, without quoting what is secret."""
    asked = len(site.asked)
    (found,) = site.fetcher()([url.format("127.0.0.1")])
    assert isinstance(found, InputError)
    assert not any(word in str(found) for word in ("pw", "hunter2"))
    assert len(site.asked) == asked


def frame_of(*urls: str) -> pd.DataFrame:
    """Return a frame of addresses."""
    return pd.DataFrame({"photo": list(urls)})


def test_off_by_default_and_the_row_says_how(site: Site) -> None:
    """Without fetch=True nothing is asked for; each address fails its own row with a word on what to do."""
    asked = len(site.asked)
    with cf.connect(Emulator(rate=None), store=False), pytest.raises(cf.RowsFailed, match="fetch=True"):
        frame_of(f"{site.root}/a.png").cfai.caption("photo")
    assert len(site.asked) == asked


def test_the_loop_goes_on_while_addresses_are_fetched(site: Site) -> None:
    """Awaited, a call leaves the caller's loop free while a server takes its time."""

    async def both() -> Any:
        call = asyncio.ensure_future(frame_of(f"{site.root}/wait").cfai.caption.aio("photo", fetch=True))
        while "/wait" not in site.asked:  # it is asked now, and waits for us
            await asyncio.sleep(0.005)
        site.go.set()
        return await call

    with cf.connect(Emulator(rate=None), store=False) as session:
        session._fetcher = site.fetcher()
        assert asyncio.run(both()).notna().all()


@pytest.mark.parametrize("where", ["call", "connect"])
def test_an_address_is_fetched_once(site: Site, where: str) -> None:
    """Equal addresses, a plan and a run: asked for once; what failed is tried again; order and errors are kept."""
    del site.asked[:]
    frame = frame_of(f"{site.root}/a.png", f"{site.root}/b.png", f"{site.root}/a.png", f"{site.root}/gone",
                     f"{site.root}/there", f"{site.root}/text")  # fmt: skip
    emulator = Emulator(rate=None)
    with cf.connect(emulator, store=False, fetch=True if where == "connect" else None) as session:
        session._fetcher = site.fetcher()
        fetch = {} if where == "connect" else {"fetch": True}
        assert frame.cfai.caption.plan("photo", **fetch).estimate.distinct == 1  # equal content, whatever its name
        with pytest.warns(cf.CfaiWarning, match="2 of 6 rows failed"):
            said = frame.cfai.caption("photo", **fetch)
        assert said.notna().tolist() == [True, True, True, False, True, False]
        assert "text holds nothing this task knows" in cf.last_run().failures["message"][1]
        assert emulator.requests == 1
        assert sorted(site.asked) == ["/a.png", "/a.png", "/b.png", "/gone", "/gone", "/text", "/there"]
    assert session._fetcher._folder is None  # nothing stays behind


def two_at_once(site: Site, first: str, second: str) -> tuple[Any, Any]:
    """Ask two questions about pictures of this site at the same time."""

    async def both() -> Any:
        one, two = frame_of(*first.split()), frame_of(*second.split())
        return await asyncio.gather(
            one.cfai.caption.aio("photo", fetch=True, progress=False),
            two.cfai.caption.aio("photo", "What is it?", fetch=True, progress=False),
        )

    with cf.connect(Emulator(rate=None), store=False) as session:
        session._fetcher = site.fetcher()
        one, two = asyncio.run(both())
    return one, two


def test_what_was_deleted_is_fetched_again(site: Site) -> None:
    """A file that a cleaner of temporary files took, or its whole folder, is fetched again and counted once."""
    url, fetcher = f"{site.root}/a.png", site.fetcher()
    for remove in (Path.unlink, lambda path: shutil.rmtree(path.parent)):
        (media,) = fetcher([url])
        remove(media._source.path)
        with pytest.raises(InputError, match="there is no file"):
            media.content()
        (again,) = fetcher([url])
        assert again.content() == picture()
        assert fetcher._total == len(picture())
    fetcher.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_deletes_only_its_own(site: Site) -> None:
    """The end of a forked process, and closing the fetcher there, leave the parent's files; it starts with nothing."""
    fetcher = site.fetcher()
    (media,) = fetcher([f"{site.root}/a.png"])
    inherited = fetcher._cleanup
    assert inherited is not None
    if (child := os.fork()) == 0:
        status = 1
        try:
            inherited()  # what an ordinary exit runs
            fetcher._wait = lambda job, tick: None  # nothing is fetched: only what is known can be returned
            try:
                fetcher([f"{site.root}/a.png"])
            except KeyError:
                status = 0
            fetcher.close()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert media.content() == picture()
    fetcher.close()
    with pytest.raises(InputError):
        media.content()


def test_two_calls_at_once_fetch_an_address_once(site: Site) -> None:
    """Awaited together, they share what is being fetched: asked for once, and neither reads half a file."""
    del site.asked[:]
    site.go.clear()
    threading.Timer(0.2, site.go.set).start()
    for said in two_at_once(site, f"{site.root}/wait {site.root}/b.png", f"{site.root}/wait {site.root}/a.png"):
        assert said.notna().all()
    assert sorted(site.asked) == ["/a.png", "/b.png", "/wait"]


def test_stop_ends_the_fetching_and_keeps_what_arrived(site: Site) -> None:
    """Ctrl-C while addresses are fetched raises Stopped with how far it came; nothing further is asked for."""
    del site.asked[:]
    site.go.clear()
    frame = frame_of(f"{site.root}/a.png", *(f"{site.root}/wait?{at}" for at in range(40)))
    with cf.connect(Emulator(rate=None), store=False) as session:
        session._fetcher = site.fetcher()
        for form in (frame.cfai.caption.plan, frame.cfai.caption):
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(cf.Stopped, match=r"1 of 4\d addresses|0 of 40 addresses"):
                form("photo", fetch=True)
            timer.join()
        asked = len(site.asked)
        site.go.set()
        time.sleep(0.1)
        assert len(site.asked) == asked < 20
        assert site.asked.count("/a.png") == 1
        assert frame.cfai.caption("photo", fetch=True).notna().all()


def test_cancelling_an_awaited_call_ends_its_fetching(site: Site) -> None:
    """The caller gets control back at once, and no further address is asked for."""
    del site.asked[:]
    site.go.clear()
    frame = frame_of(*(f"{site.root}/wait?{at}" for at in range(40)))

    async def ask() -> None:
        async with asyncio.timeout(0.2):
            await frame.cfai.caption.aio("photo", fetch=True)

    with cf.connect(Emulator(rate=None), store=False) as session:
        session._fetcher = site.fetcher()
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            asyncio.run(ask())
        assert time.monotonic() - began < 2
        asked = len(site.asked)
        site.go.set()
        time.sleep(0.2)
        assert len(site.asked) == asked < 20


def test_fetching_says_how_far_it_is_and_a_plan_that_it_fetched(site: Site) -> None:
    """Progress is shown in words while it lasts; a plan says that it looked at addresses, and a run takes those."""
    said: list[str] = []
    site.go.clear()
    threading.Timer(0.3, site.go.set).start()
    site.fetcher()([f"{site.root}/a.png", f"{site.root}/wait"], said.append)
    assert "1 of 2 addresses, 0.0 MB" in said
    with cf.connect(Emulator(rate=None), store=False) as session:
        session._fetcher = site.fetcher()
        plan = frame_of(f"{site.root}/a.png", f"{site.root}/b.png").cfai.caption.plan("photo", fetch=True)
    assert "2 addresses were fetched to price it; the content is kept for the call" in repr(plan)


def test_all_that_is_kept_is_bounded(site: Site) -> None:
    """Beyond the bytes a session keeps, addresses fail in words, and closing makes room."""
    fetch = site.fetcher(max_total_bytes=len(picture()) + 10)
    first, second = fetch([f"{site.root}/a.png", f"{site.root}/b.png"])
    assert sorted(isinstance(each, InputError) for each in (first, second)) == [False, True]
    fetch.close()
    (found,) = fetch([f"{site.root}/b.png"])
    assert not isinstance(found, InputError)
    fetch.close()


def test_closing_during_a_download_fails_its_row_and_counts_nothing(site: Site) -> None:
    """A download that a close interrupts fails its row, and what may be kept afterwards is neither more nor less."""
    fetcher, found = site.fetcher(max_total_bytes=1_500), []
    thread = threading.Thread(target=lambda: found.extend(fetcher([f"{site.root}/halves"])))
    thread.start()
    while fetcher._total < 1_000:
        time.sleep(0.005)
    fetcher.close()
    site.half.set()
    thread.join(10)
    assert isinstance(found[0], InputError)
    assert "closed" in str(found[0])
    assert fetcher._total == 0
    assert isinstance(fetcher([f"{site.root}/a.png"])[0], Media)
    fetcher.close()
