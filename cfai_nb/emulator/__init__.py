"""An emulator of Workers AI's REST interface: no key, no network, no model.

It speaks the wire format (envelopes, OpenAI objects, server-sent events, error codes, rates, quotas) and refuses what
the service refuses, so that real clients run against it unchanged. Its answers are stand-ins: vectors are hashes of
words, labels follow lexical similarity, texts begin with ``[emulator]``. Token counts are an estimate, UTF-8 bytes over
four. Pictures show the shapes and colors that the prompt names, marked "emulator", and speech is a tune; their content
is kept in the file's own metadata, where the vision and speech models find it. Of other pictures and recordings only
measurable facts are reported.

Rooms, from the top down: ``app`` · ``search_namespaces`` and ``search_instance`` (AI Search) · ``vectorize`` ·
``service`` (requests, responses, limits, faults, gateway) · ``families`` · ``standins`` · ``json_schema`` ·
``model_catalogue`` and ``error_codes``.

This module serves the app on a port of this machine, where it answers for both public hosts: ``/client/v4`` is
api.cloudflare.com, ``/v1`` is gateway.ai.cloudflare.com. A web page can point its own host name at 127.0.0.1 and so
make a browser send requests to a local server (DNS rebinding); the Host header then holds that name. Requests with a
foreign Host header are therefore refused before they reach the app. Called in-process, without a port, the app does not
look at the Host header.

>>> from cfai_nb.emulator import running
>>> with running(rate=None) as service:
...     service.url
'http://127.0.0.1:…/client/v4'
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .app import Emulator
from .service.http import TRANSPORT, Dropped
from .service.model_listing import FAMILIES
from .service.request_log import LoggedRequest, RequestLog

__all__ = ["Dropped", "Emulator", "LoggedRequest", "RequestLog", "Running", "running", "serve"]

_HOST = "127.0.0.1"
#: The names of this machine in a Host header, without the port.
_NAMES = frozenset({_HOST, "localhost", "[::1]"})


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type, unused-ignore]
    """Uvicorn's HTTP protocol that gives the app access to the connection, so that a fault can drop it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        inner: Any = self.config.loaded_app

        async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = app


class _KnownHosts:
    """An app that is served under known host names only (`hosts` beside this machine's); else 421."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] = ()) -> None:
        if isinstance(hosts, str):
            raise ValueError(f"hosts must be a list of names, not the text {hosts!r}")
        self._app, self._names = app, _NAMES | {name.casefold() for name in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        given = Headers(scope=scope).get("host", "").casefold()
        name, colon, port = given.rpartition(":")
        if (name if colon and port.isdigit() else given) in self._names:
            await self._app(scope, receive, send)
        else:
            text = f"emulator: requests to the host {given!r} are refused; allow the name with hosts=[...]\n"
            await PlainTextResponse(text, 421)(scope, receive, send)


@dataclass(frozen=True)
class Running:
    """An emulator that listens; `url` goes up to and includes ``/client/v4``."""

    url: str
    port: int
    emulator: Emulator


def _url(port: int) -> str:
    return f"http://{_HOST}:{port}/client/v4"


def _server(emulator: Emulator, hosts: Collection[str]) -> uvicorn.Server:
    config = uvicorn.Config(
        _KnownHosts(emulator, hosts),
        http=_Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="critical",
        server_header=False,
        access_log=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    return uvicorn.Server(config)


@contextlib.contextmanager
def running(*, port: int = 0, hosts: Collection[str] = (), **settings: Any) -> Iterator[Running]:
    """Serve an emulator in a background thread while the block runs.

    Parameters
    ----------
    port : int
        0 chooses a free one.
    hosts : collection of str
        Names that a Host header may have beside 127.0.0.1, localhost and [::1], such as one that a proxy keeps.
    **settings
        As for :class:`Emulator`; or ``emulator=`` for an existing one.

    Yields
    ------
    Running
        With ``url``, ``port`` and ``emulator``.
    """
    emulator = settings.pop("emulator", None) or Emulator(**settings)
    server = _server(emulator, hosts)
    with socket.create_server((_HOST, port), backlog=2048) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator", daemon=True)
        thread.start()
        try:
            number = listener.getsockname()[1]
            yield Running(_url(number), number, emulator)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def serve(port: int = 8787, *, hosts: Collection[str] = (), **settings: Any) -> None:
    """Serve an emulator until interrupted; prints its address, its families, and that no model answers.

    Parameters
    ----------
    port, hosts, **settings
        As for :func:`running`; port 8787 by default.
    """
    server = _server(Emulator(**settings), hosts)
    with socket.create_server((_HOST, port), backlog=2048) as listener:
        url = _url(listener.getsockname()[1])
        print(f"{url}  emulates {', '.join(FAMILIES)}; stand-ins answer, not models", flush=True)
        print(f"{url.removesuffix('client/v4')}v1  is AI Gateway's own host", flush=True)
        print("To use it, set in the other terminal (any account id and token will do):", flush=True)
        print(f"  export CLOUDFLARE_ACCOUNT_ID={'0' * 32} CLOUDFLARE_API_TOKEN=emulator", flush=True)
        print(f'and call cf.connect(base_url="{url}"), or cfai-nb demo --yes --base-url {url}', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
