"""The token is a secret: whatever goes wrong, it is in no text that anybody sees or keeps."""

from __future__ import annotations

import asyncio
import base64
import copy
import logging
import pickle
import re
import socket
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb._engine.connections import proxy_for
from cfai_nb._engine.wire import Secret, Wire
from cfai_nb.emulator import running
from cfai_nb.tasks import Request

TOKEN = "secret-token-xyz-0123456789abcdefghij"
ACCOUNT = "a" * 32
LABELS = ["billing", "shipping"]


class Ear(logging.Handler):
    """Hears every log record of the process."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.getMessage()} {record.args!r} {record.__dict__!r}")


@pytest.fixture
def ear() -> Iterator[Ear]:
    """All loggers at DEBUG, into an ear."""
    root, made = logging.getLogger(), Ear()
    before = {logger: logger.level for logger in [root, *map(logging.getLogger, root.manager.loggerDict)]}
    for logger in before:
        logger.setLevel(logging.DEBUG)
    root.addHandler(made)
    yield made
    root.removeHandler(made)
    for logger, level in before.items():
        logger.setLevel(level)


def hidden(text: str | bytes) -> bool:
    """Whether the token stands nowhere in a text, nor any long piece of it."""
    plain = text.decode("latin-1") if isinstance(text, bytes) else text
    return not any(TOKEN[at : at + 12] in plain for at in range(len(TOKEN) - 11))


def told(error: BaseException) -> str:
    """Everything a traceback can show of an error: chained, with the locals of every frame."""
    seen: list[str] = [repr(error), str(error), repr(error.args), repr(vars(error))]
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    seen += list(shown.format(chain=True))
    cause: BaseException | None = error
    while cause is not None:
        frames = cause.__traceback__
        while frames is not None:
            seen += [f"{name}={value!r}" for name, value in frames.tb_frame.f_locals.items()]
            frames = frames.tb_next
        cause = cause.__cause__ or cause.__context__
    return "\n".join(seen)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


FAILURES: dict[str, dict[str, Any]] = {
    "wrong token": {"token": "t" * 40},
    "wrong account": {"account": "b" * 32},
    "quota": {"neurons_per_day": 0.0},
    "server errors": {"faults": {"500": 1.0}},
    "pages": {"faults": {"html": 1.0}},
    "dropped connections": {"faults": {"reset": 1.0}},
    "cut bodies": {"faults": {"cut": 1.0}},
    "broken JSON": {"faults": {"garbage": 1.0}},
    "refusals": {"faults": {"5006": 1.0}},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", FAILURES.values(), ids=list(FAILURES))
def test_no_failure_shows_the_token(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ear: Ear,
    settings: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Error, traceback with all locals, logs, report, output, store and ledger of a failed run: no token."""
    monkeypatch.setattr("random.uniform", lambda low, high: high / 50)
    seen: list[str] = []
    with running(rate=None, **settings) as server, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        session = cf.connect(
            base_url=server.url, account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None
        )
        rows = pd.Series([f"text {i}" for i in range(3)])
        try:
            rows.cfai.classify(LABELS)
        except cf.CfaiError as error:
            seen.append(told(error))
        else:
            assert warned, "it failed in some way"
        report = cf.last_run()
        seen += [repr(report), report.receipt, report.failures.to_string(), report._repr_html_(), repr(report.run)]
        seen += [repr(session), str(session), repr(vars(session)), repr(cf.ledger()), str(cf.ledger()._repr_html_())]
        seen += [str(w.message) for w in warned]
        session.close()
    seen += ear.heard
    seen += list(capfd.readouterr())
    assert all(hidden(text) for text in seen)
    for path in tmp_path.iterdir():
        assert hidden(path.read_bytes())


@pytest.mark.parametrize("where", ["closed port", "no such host"])
def test_no_network_is_reported_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ear: Ear, where: str
) -> None:
    """No answer, or a name that does not resolve: Unavailable says to check network and base_url, and no token."""
    monkeypatch.setattr("random.uniform", lambda low, high: high / 50)
    bases = {
        "closed port": f"http://127.0.0.1:{closed_port()}/client/v4",
        "no such host": "https://no-such-host.invalid/client/v4",
    }
    session = cf.connect(
        base_url=bases[where], account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None
    )
    with pytest.raises(cf.Unavailable) as caught:
        pd.Series(["a", "b"]).cfai.classify(LABELS)
    session.close()
    assert "base_url" in str(caught.value)
    assert "clef-flash" in str(caught.value)
    assert hidden(told(caught.value))
    assert all(map(hidden, ear.heard))


@pytest.mark.parametrize("name", ["connect", "_create_connection"])
def test_an_unforeseen_error_shows_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An error from deep inside the connection, with the headers in the frames around it, still shows no token."""

    async def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("an error that was not foreseen")

    monkeypatch.setattr(aiohttp.TCPConnector, name, broken)
    session = cf.connect(
        base_url="http://127.0.0.1:9/client/v4", account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite"
    )
    with pytest.raises(cf.CfaiError, match="not foreseen") as caught:
        pd.Series(["a"]).cfai.classify(LABELS)
    session.close()
    assert hidden(told(caught.value))


@pytest.mark.parametrize("awaited", [False, True])
def test_a_run_that_works_shows_no_token(tmp_path: Path, ear: Ear, awaited: bool) -> None:
    """Results, attrs, plans, logs, files: a good run leaves the token nowhere either."""
    with running(rate=None) as server:
        session = cf.connect(
            base_url=server.url, account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None
        )
        rows = pd.Series(["a", "b", None])
        plan = rows.cfai.embed.plan()
        result = asyncio.run(rows.cfai.embed.aio()) if awaited else rows.cfai.embed()
        seen = [repr(plan), repr(plan.estimate), repr(result), repr(result.attrs), repr(session.engine(cache=True))]
        seen += [repr(cf.ledger().to_dict()), repr(cf.last_run().run), repr(cf.last_run().event)]
        assert server.emulator.requests == 1
        session.close()
    assert all(map(hidden, [*seen, *ear.heard]))
    for path in tmp_path.iterdir():
        assert hidden(path.read_bytes())


def test_a_secret_shows_itself_in_no_way() -> None:
    """repr, str, format and f-strings of the wrapped token are stars; it cannot be compared or iterated open."""
    from cfai_nb._engine.wire import Secret

    secret = Secret(TOKEN)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{[secret]}", repr({"a": secret})]
    assert all(map(hidden, shown))
    assert secret.reveal() == TOKEN


def _refused() -> Any:
    return pd.Series(["a"]).cfai.classify(LABELS)


def test_ipythons_verbose_traceback_shows_no_token(tmp_path: Path) -> None:
    """%xmode Verbose, which prints the variables of every frame, prints no token."""
    ultratb = pytest.importorskip("IPython.core.ultratb")
    with running(rate=None, token="t" * 40) as server:
        session = cf.connect(
            base_url=server.url, account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None
        )
        with pytest.raises(cf.AccessError) as caught:
            _refused()
        session.close()
    assert caught.tb.tb_next is not None
    shown = ultratb.VerboseTB().text(caught.type, caught.value, caught.tb.tb_next)  # without this test's own frame
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "AccessError" in plain
    assert "_refused" in plain
    assert hidden(plain)


def test_a_wrong_token_says_which_variable_to_check(tmp_path: Path) -> None:
    """A refused token or account is an AccessError that names both variables; a second row confirms it."""
    for settings in ({"token": "t" * 40}, {"account": "b" * 32}):
        with running(rate=None, **settings) as server:
            with (
                cf.connect(
                    base_url=server.url, account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite", concurrency=1
                ),
                pytest.raises(cf.AccessError) as caught,
            ):
                pd.Series([f"text {i}" for i in range(50)]).cfai.classify(LABELS)
            assert "CLOUDFLARE_API_TOKEN" in str(caught.value)
            assert "CLOUDFLARE_ACCOUNT_ID" in str(caught.value)
            assert server.emulator.requests == 2


def test_an_account_id_of_another_form_is_reported(tmp_path: Path) -> None:
    """An account id that is none is refused at connect, or by the first answer, with words about the account."""
    with pytest.raises(cf.SetupError, match="account id"):
        cf.connect(account_id="my account/../x", api_token=TOKEN)
    store = tmp_path / "s.sqlite"
    with (
        running(rate=None) as server,
        cf.connect(base_url=server.url, account_id="abc", api_token=TOKEN, store=store),
        pytest.raises(cf.AccessError, match="CLOUDFLARE_ACCOUNT_ID"),
    ):
        pd.Series(["a"]).cfai.classify(LABELS)


@pytest.mark.parametrize("url", [
    f"https://me:{TOKEN}@llm.example.org/v1", f"https://{TOKEN}@llm.example.org/v1", f"me:{TOKEN}@llm.example.org/v1",
    f"https://llm.example.org/v1?key={TOKEN}", f"https://llm.example.org/v1#{TOKEN}", f"https://me:{TOKEN}@/v1",
    f"https://me:{TOKEN}@llm.example.org:99999/v1", f"ftp://me:{TOKEN}@llm.example.org/v1",
    f"https://me:{TOKEN}@[bad/v1", f"https://me:{TOKEN}@llm.example.org/client/v4",
])  # fmt: skip
def test_an_address_with_a_secret_in_it_is_refused(url: str) -> None:
    """A user, a password or a key in base_url is refused with a word on api_token=, and shown nowhere."""
    with pytest.raises(cf.SetupError, match=r"api_token=|is not an address") as caught:
        cf.connect(base_url=url, account_id=ACCOUNT, api_token="t" * 40, store=False)
    assert hidden(str(caught.value))


@pytest.mark.parametrize(("url", "token", "fine"), [
    ("http://llm.example.org/v1", TOKEN, False), ("http://8.8.8.8:8000/client/v4", TOKEN, False),
    ("http://llm.example.org/v1", None, True), ("https://llm.example.org/v1", TOKEN, True),
    ("http://gpu-box:8000/v1", TOKEN, True), ("http://127.0.0.1:8000/client/v4", TOKEN, True),
    ("http://192.168.1.7/v1", TOKEN, True),
])  # fmt: skip
def test_a_token_is_not_sent_in_the_open(url: str, token: str | None, fine: bool) -> None:
    """Over plain http a token goes no further than this machine and network, unless allow_http=True says so."""
    if fine:
        cf.connect(base_url=url, account_id=ACCOUNT, api_token=token, store=False)
        return
    with pytest.raises(cf.SetupError, match=r"unencrypted.*allow_http=True") as caught:
        cf.connect(base_url=url, account_id=ACCOUNT, api_token=token, store=False)
    assert hidden(str(caught.value))
    assert cf.connect(base_url=url, account_id=ACCOUNT, api_token=token, store=False, allow_http=True)


def test_nothing_with_a_token_is_pickled_or_copied(tmp_path: Path) -> None:
    """A session, its address and the secret refuse pickle and copy in words; no pickle holds the token."""
    session = cf.connect(
        base_url="http://127.0.0.1:9/client/v4", account_id=ACCOUNT, api_token=TOKEN, store=tmp_path / "s.sqlite"
    )
    there = session.endpoint
    for held in (session, there, there.token, session.engine(cache=True).wire, [there]):
        for write in (pickle.dumps, copy.copy, copy.deepcopy):
            if write is copy.copy and held not in (session, there.token):
                continue  # a copy of the outside, around the same secret
            with pytest.raises(TypeError, match=r"cf\.connect\(\)"):
                write(held)


def test_a_netrc_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy, with a default entry in .netrc, calls go through the proxy with the token as it was given."""
    (tmp_path / ".netrc").write_text("default login someone password other-secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    seen: list[bytes] = []

    async def proxied() -> bytes:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://us%40er:pass@127.0.0.1:{port}")
        wire = Wire("http://llm.example.org/v1", Secret(TOKEN))
        try:
            return (await wire.send(Request(json={}), "m")).content
        finally:
            await wire.close()
            server.close()

    assert asyncio.run(proxied()) == b"{}"
    (head,) = seen
    assert head.startswith(b"POST http://llm.example.org/v1/ai/run/m HTTP/1.1")
    assert f"bearer {TOKEN}".encode() in head.lower()
    assert b"proxy-authorization: basic " + base64.b64encode(b"us@er:pass").lower() in head.lower()
    monkeypatch.setenv("no_proxy", "llm.example.org")
    assert proxy_for("http://llm.example.org/v1") == ({}, {})
