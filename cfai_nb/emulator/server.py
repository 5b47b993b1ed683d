"""Server: the emulator on a port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .app import Emulator
from .families import FAMILIES
from .faults import TRANSPORT

_HOST = "127.0.0.1"


class _Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type, unused-ignore]
    """Uvicorn's HTTP protocol, which also lets the app reach the connection, so that a fault can drop it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        inner: Any = self.config.loaded_app

        async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = app


@dataclass(frozen=True)
class Running:
    """An emulator that listens.

    Attributes
    ----------
    url : str
        Up to and including ``/client/v4``.
    port : int
    emulator : Emulator
    """

    url: str
    port: int
    emulator: Emulator


def _url(port: int) -> str:
    return f"http://{_HOST}:{port}/client/v4"


def _server(emulator: Emulator) -> uvicorn.Server:
    config = uvicorn.Config(
        emulator,
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
def running(*, port: int = 0, **settings: Any) -> Iterator[Running]:
    """Serve an emulator in a background thread while the block runs.

    Parameters
    ----------
    port : int
        0 takes a free one.
    **settings
        As for :class:`Emulator`; or ``emulator=`` for one that is there already.

    Yields
    ------
    Running
        With ``url``, ``port`` and ``emulator``.
    """
    emulator = settings.pop("emulator", None) or Emulator(**settings)
    server = _server(emulator)
    with socket.create_server((_HOST, port), backlog=2048) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="emulator", daemon=True)
        thread.start()
        try:
            number = listener.getsockname()[1]
            yield Running(_url(number), number, emulator)
        finally:
            server.should_exit = True
            thread.join(timeout=10)


def serve(port: int = 8787, **settings: Any) -> None:
    """Serve an emulator until interrupted; prints where, what, and that it is no model.

    Parameters
    ----------
    port : int
        0 takes a free one.
    **settings
        As for :class:`Emulator`.
    """
    server = _server(Emulator(**settings))
    with socket.create_server((_HOST, port), backlog=2048) as listener:
        url = _url(listener.getsockname()[1])
        print(f"{url}  emulates {', '.join(FAMILIES)}; stand-ins answer, not models", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
