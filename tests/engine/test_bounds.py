"""Answers are bounded: whatever a server sends, memory and time are limited, and the error says which limit it was."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import json
import threading
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeAlias

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb._engine import connections
from cfai_nb._engine.wire import BOUNDS, MIB, Bounds, Secret, Wire
from cfai_nb.errors import AnswerError, CfaiError, RowError, ServiceError, Unavailable
from cfai_nb.tasks import Answer, Request

Act: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
#: Small enough for a test; what a real connection has is in the table.
SMALL = Bounds(silence=0.3, text=200_000, stream=200_000, error=2_000, line=50_000)
#: For answers that never end: only one of both times is short, so that a busy machine cannot reach the other first.
BRIEF = dataclasses.replace(SMALL, silence=30.0, seconds=0.6, stream_seconds=0.6)


@contextlib.asynccontextmanager
async def server(act: Act) -> AsyncIterator[str]:
    """A server that reads a request and then does as it likes; its address."""

    busy: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        busy.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                sizes = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
                await reader.readexactly(sum(sizes))
                await act(writer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    made = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}/v1"
    finally:
        made.close()
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy)
        await asyncio.sleep(0.01)  # for the sockets to close


def asked(act: Act, *, stream: bool = False, bounds: Bounds = SMALL, **request: Any) -> bytes:
    """Send one request to such a server, and return the body or the lines of the stream."""

    async def ask() -> bytes:
        async with server(act) as root:
            line = Wire(root, Secret("t"), bounds=bounds)
            try:
                if stream:
                    return b"\n".join([each async for each in line.stream(Request(json={}), "m")])
                return (await line.send(Request(json={}, **request), "m")).content
            finally:
                await line.close()

    return asyncio.run(ask())


async def silent(writer: asyncio.StreamWriter) -> None:
    """Say nothing."""
    await asyncio.sleep(60)


async def slow(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, for ever."""
    writer.write(HEAD + b"content-length: 10000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Send a body without an end, as fast as it is taken."""
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b" " * 65_536)
        await writer.drain()


async def endless_error(writer: asyncio.StreamWriter) -> None:
    """As a refusal."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\nno such thing ")
    await endless(writer)


async def announced(writer: asyncio.StreamWriter) -> None:
    """Announce more than is read, and send it."""
    writer.write(HEAD + b"content-length: 99999999\r\n\r\n")
    await endless(writer)


async def endless_line(writer: asyncio.StreamWriter) -> None:
    """Send one line of a stream that never ends."""
    writer.write(HEAD + b"\r\ndata: ")
    while True:
        writer.write(b"x" * 4_096)
        await writer.drain()


async def endless_frames(writer: asyncio.StreamWriter) -> None:
    """Send frame after frame."""
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b'data: {"response": "x"}\n\n' * 100)
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    """Send header after header."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    at = 0
    while True:
        at += 1
        writer.write(f"x-{at}: y\r\n".encode() * 100)
        await writer.drain()


async def long_header(writer: asyncio.StreamWriter) -> None:
    """Send one header of a megabyte."""
    writer.write(b"HTTP/1.1 200 OK\r\nx: " + b"y" * MIB + b"\r\ncontent-length: 0\r\n\r\n")


def whole(body: bytes, headers: str = "") -> Act:
    """Return what answers with this body."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + f"{headers}content-length: {len(body)}\r\n\r\n".encode() + body)

    return act


BOMB = gzip.compress(bytes(50 * MIB))
UNBOUNDED: dict[str, tuple[Act, bool, type[RowError], str]] = {
    "silent": (silent, False, Unavailable, "no byte arrived"),
    "silent stream": (silent, True, Unavailable, "no byte arrived"),
    "slow": (slow, False, AnswerError, r"not complete after 0\.6 s"),
    "slow stream": (slow, True, AnswerError, r"not complete after 0\.6 s"),
    "endless": (endless, False, AnswerError, "larger than 195 KiB.*for text"),
    "announced": (announced, False, AnswerError, "larger than 195 KiB"),
    "endless line": (endless_line, True, AnswerError, "larger than 49 KiB.*line of a stream"),
    "endless stream": (endless_frames, True, AnswerError, "larger than 195 KiB.*a stream"),
    "endless error": (endless_error, False, RowError, "no such thing"),
    "endless error of a stream": (endless_error, True, RowError, "no such thing"),
    "endless headers": (endless_headers, False, Unavailable, "eader"),
    "long header": (long_header, False, Unavailable, "8190"),
    "bomb": (whole(BOMB, "content-encoding: gzip\r\n"), False, AnswerError, "larger than 195 KiB"),
    "bomb in a stream": (whole(BOMB, "content-encoding: gzip\r\n"), True, AnswerError, "larger than"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNBOUNDED)
def test_no_server_takes_unbounded_memory_or_time(name: str) -> None:
    """Silence, slow bytes, endless bodies, lines, headers, bombs: an error that names the bound, soon and in little."""
    act, stream, kind, words = UNBOUNDED[name]
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=words) as caught:
            asked(act, stream=stream, bounds=BRIEF if act is slow else SMALL)
        assert tracemalloc.get_traced_memory()[1] < 12 * MIB
    finally:
        tracemalloc.stop()
    repeated = isinstance(caught.value, Unavailable)
    assert caught.value.reaction == ("again" if repeated else "split" if "error" in name else "row")


def test_each_kind_of_answer_has_its_own_bound() -> None:
    """Vectors, media and documents may be larger than texts; the figures are those of the module's table."""
    body = json.dumps({"x": "y" * 300_000}).encode()
    with pytest.raises(AnswerError, match="larger"):
        asked(whole(body))
    for kind in ("vectors", "media", "document"):
        assert asked(whole(body), expected=kind) == body
    assert [BOUNDS.most(kind) // MIB for kind in ("text", "vectors", "media", "document")] == [16, 64, 64, 64]  # type: ignore[arg-type]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_read_and_a_cut_one_is_not(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """A compressed answer arrives whole; a cut one is sent for again; an encoding that was not requested is refused."""
    body = json.dumps({"result": list(range(5_000))}).encode()
    assert asked(whole(pack(body), f"content-encoding: {encoding}\r\n")) == body
    assert asked(whole(pack(body), f"content-encoding: {encoding}\r\n"), stream=True) == body
    with pytest.raises(Unavailable, match="cut"):
        asked(whole(pack(body)[:-20], f"content-encoding: {encoding}\r\n"))
    with pytest.raises(AnswerError, match="decompressed"):
        asked(whole(b"not packed", f"content-encoding: {encoding}\r\n"))
    with pytest.raises(AnswerError, match="'br'"):
        asked(whole(pack(body), "content-encoding: br\r\n"))


@contextlib.contextmanager
def running(act: Act) -> Iterator[str]:
    """Such a server in a thread of its own; its address."""
    loop, ready, done = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    root: list[str] = []

    async def serve() -> None:
        async with server(act) as address:
            root.append(address)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield root[0]
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


@pytest.mark.slow
@pytest.mark.parametrize("heard", [False, True])
def test_an_answer_that_is_too_large_is_not_asked_for_again(heard: bool) -> None:
    """Its row fails alone with the bound in words, after one request that is in the ledger; also where it is heard."""
    asked_for = []

    async def act(writer: asyncio.StreamWriter) -> None:
        asked_for.append(1)
        await (endless_frames if heard else endless)(writer)

    with running(act) as root, cf.connect(base_url=root, store=False):
        call = pd.Series(["x"]).cfai.generate.call("{value}", model="m")
        if heard:
            call.options = dataclasses.replace(call.options, on_token=lambda piece: None)
        with pytest.raises(cf.RowsFailed, match="larger than 16 MiB"):
            call.wait()
        assert cf.last_run().failures["code"].tolist() == ["size"]
        assert cf.ledger()["requests"].tolist() == [1]  # a service bills it all the same
    assert len(asked_for) == 1


def test_an_answer_that_is_too_large_is_charged_as_an_estimate() -> None:
    """The ledger marks its charge as estimated, and a budget counts it: what the service bills is not taken for 0."""
    with running(endless) as root:
        base = root.removesuffix("/v1") + "/client/v4"
        with cf.connect(base_url=base, account_id="a" * 32, api_token="x", store=False, rate=None):
            budget = cf.Budget(1_000, "1,000 Neurons")
            with pytest.raises(cf.RowsFailed, match="larger than 16 MiB"):
                pd.Series(["x"]).cfai.generate("{value}", budget=budget, progress=False)
            (charged,) = cf.ledger()[["requests", "exact", "neurons"]].itertuples(index=False)
            assert (charged.requests, charged.exact) == (1, False)
            assert budget.spent == charged.neurons > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [b"201 Created", b"202 Accepted", b"203 Non-Authoritative Information"])
def test_every_accepting_status_is_an_answer(status: bytes, stream: bool) -> None:
    """What was made is answered with 201 by many services: it is not a fault after which it is made again."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD.replace(b"200 OK", status) + b"content-length: 2\r\n\r\n{}")

    assert asked(act, stream=stream) == b"{}"


def test_an_accepting_status_without_a_body_is_not_an_answer() -> None:
    """Only 200 may have an empty body, which fails the row as an empty answer."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    with pytest.raises(ServiceError, match="204"):
        asked(act)


def test_a_redirect_is_not_followed() -> None:
    """The token does not go along: it is an error with the status, not a request to where it leads."""
    came = []

    async def act(writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        to = writer.get_extra_info("sockname")[1]
        location = f"location: http://127.0.0.1:{to}/v1?key=hunter2\r\n".encode()
        writer.write(b"HTTP/1.1 302 Found\r\n" + location + b"content-length: 0\r\n\r\n")

    for stream in (False, True):
        with pytest.raises(ServiceError, match="302") as caught:
            asked(act, stream=stream)
        assert "hunter2" not in str(caught.value)
    assert len(came) == 2


@pytest.mark.parametrize("after", [None, 0.0, 0.0005, 0.002])
def test_an_answer_that_comes_twice_is_no_other_rows_answer(
    after: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection with something unread on it is dropped: at once or a moment later, every row has its own answer."""
    monkeypatch.setattr(connections.Connector, "rest", 0.1)  # the server here sleeps on the same busy loop
    asked_for: list[int] = []

    async def ask() -> list[Answer]:
        async def act(writer: asyncio.StreamWriter) -> None:
            asked_for.append(len(asked_for))
            answer = HEAD + b"content-length: 8\r\n\r\n%8d" % asked_for[-1]
            writer.write(answer * (2 if after is None else 1))
            if after is not None:
                await writer.drain()
                await asyncio.sleep(after)
                writer.write(answer)

        async with server(act) as root:
            line = Wire(root, Secret("t"))
            try:
                rounds = [await asyncio.gather(*(line.send(Request(json={}), "m") for _ in range(8))) for _ in range(8)]
                return [answer for answers in rounds for answer in answers]
            finally:
                await line.close()

    seen = [int(answer.content) for answer in asyncio.run(ask())]
    assert sorted(seen) == list(range(64))


def test_what_arrives_unasked_is_not_kept() -> None:
    """A server that goes on sending on a connection at rest is cut off, and the next request gets its own answer."""
    sent = []

    async def ask() -> bytes:
        async def act(writer: asyncio.StreamWriter) -> None:
            answer = HEAD + b"content-length: 2\r\n\r\n%2d" % len(sent)
            writer.write(answer)
            for _ in range(200):
                await writer.drain()
                await asyncio.sleep(0.02 if not sent else 0.001)
                sent.append(1)
                writer.write(answer * 1_000)

        async with server(act) as root:
            line = Wire(root, Secret("t"))
            try:
                await line.send(Request(json={}), "m")
                await asyncio.sleep(0.2)
                assert len(sent) < 20
                return (await line.send(Request(json={}), "m")).content
            finally:
                await line.close()

    assert int(asyncio.run(ask())) > 0


def test_connections_are_reused() -> None:
    """A server that answers once a request keeps its connections."""
    came: set[object] = set()

    async def ask() -> None:
        async def act(writer: asyncio.StreamWriter) -> None:
            came.add(writer)
            writer.write(HEAD + b"content-length: 2\r\n\r\n{}")

        async with server(act) as root:
            line = Wire(root, Secret("t"))
            try:
                for _ in range(5):
                    await line.send(Request(json={}), "m")
                    await asyncio.sleep(0.02)
            finally:
                await line.close()

    asyncio.run(ask())
    assert len(came) == 1


def test_addresses_with_ids_in_them_do_not_pile_up() -> None:
    """Ten thousand paths that are asked for once each leave no trace."""
    line = Wire("http://127.0.0.1:1/v1", Secret("t"))
    for at in range(10_000):
        line._url(Request(path=f"logs/{at}"), "m")
    assert len(line._urls) <= 64


def test_many_answers_share_a_timer_and_each_keeps_its_own_deadline() -> None:
    """Of answers that were asked for one after another each ends when its own seconds are over; a cancel stays one."""

    async def ask() -> None:
        async with server(slow) as root:
            line = Wire(root, Secret("t"), bounds=BRIEF)

            async def one(wait: float) -> float:
                await asyncio.sleep(wait)
                begun = time.monotonic()
                with pytest.raises(AnswerError, match="not complete"):
                    await line.send(Request(json={}), "m")
                return time.monotonic() - begun

            cancelled = asyncio.ensure_future(line.send(Request(json={}), "m"))
            asyncio.get_running_loop().call_later(0.1, cancelled.cancel)
            took = await asyncio.gather(*(one(0.1 * at) for at in range(4)))
            assert all(0.55 < seconds < 3 for seconds in took), took
            assert cancelled.cancelled()
            await line.close()

    asyncio.run(ask())


@pytest.mark.parametrize("value", ["a\r\nx-more: b", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_begin_another_is_not_sent(value: str) -> None:
    """A line break or a zero byte in a header is an error before anything is written."""
    written: list[int] = []

    async def note(writer: asyncio.StreamWriter) -> None:
        written.append(1)

    with pytest.raises(CfaiError, match="line breaks"):
        asked(note, headers={"x-given": value})
    assert not written
