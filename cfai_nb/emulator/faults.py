"""Faults: what can go wrong on purpose, how often, and whether the work was paid for by then.

Before the work (nothing is charged): ``500``, ``502``, ``503``, ``529``, ``408``, ``422`` (5006 with a JSON document as
the text), ``html`` (a 502 page), ``1015`` (a 429 that is not JSON), ``reset`` (connection dropped), and any code of the
service by its number, such as ``3040``.

After it (charged, though nothing useful may arrive): ``reset-after`` (connection dropped), ``cut`` (dropped in the
middle of the body), ``garbage`` (200 with broken JSON), ``short`` (a batch answer with one vector missing), ``empty``
(null content), ``length`` (text cut, ``finish_reason`` length), ``truncated-stream`` (a stream that ends early, without
``[DONE]``).

``slow`` only waits. A fault that does not fit a call (``short`` for a chat) leaves the call alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .errors import CODES

BEFORE = frozenset({"422", "500", "502", "503", "529", "408", "html", "1015", "reset"})
AFTER = frozenset({"reset-after", "cut", "garbage", "short", "empty", "length", "truncated-stream"})

Script = Callable[[int, str], str | None]
Faults = Mapping[str, float] | Sequence[str | None] | Script

#: Where the port's protocol leaves its transport in the ASGI scope, so that a fault can really drop the connection.
TRANSPORT = "cfai_nb.transport"


class Dropped(ConnectionResetError):
    """The connection went away. Raised out of the app when there is no connection to drop (called in-process)."""


class Draw:
    """Decides the fault of each call.

    Parameters
    ----------
    faults : mapping, sequence or callable
        Kind -> probability per call; or the kinds of the first calls (``None`` for a clean one), all later calls being
        clean; or a function of the call's number and model. Calls are numbered from 0 as they are admitted: those
        refused for their input, the rate or the quota do not count.
    seed : int
        Of the draws, so that a run repeats.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults, self._random, self._lock = faults, random.Random(seed), Lock()
        self._number = 0
        kinds: list[str] = []
        if isinstance(faults, Mapping):
            kinds = list(faults)
            if any(share < 0 for share in faults.values()) or sum(faults.values()) > 1 + 1e-9:
                raise ValueError("fault probabilities must lie in 0..1 and add up to at most 1")
        elif not callable(faults):
            kinds = [kind for kind in faults if kind]
        for kind in kinds:
            known(kind)

    def next(self, model: str) -> str:
        """Return the fault of the next admitted call, empty for none."""
        with self._lock:
            number, point = self._number, self._random.random()
            self._number += 1
        if isinstance(self._faults, Mapping):
            for kind, share in self._faults.items():
                point -= share
                if point < 0:
                    return kind
            return ""
        if callable(self._faults):
            return known(self._faults(number, model) or "")
        return (self._faults[number] or "") if number < len(self._faults) else ""


def known(kind: str) -> str:
    """Return a fault kind that exists, or raise ValueError."""
    code = kind.isdigit() and int(kind) in CODES
    if kind and kind not in BEFORE | AFTER and kind != "slow" and not code:
        raise ValueError(
            f"no fault called {kind!r}; there are {', '.join(sorted(BEFORE | AFTER | {'slow'}))} and codes"
        )
    return kind


class Drop(Response):
    """Drops the connection: at once, or after part of a body that was promised whole."""

    def __init__(
        self, headers: Mapping[str, str] | None = None, body: bytes = b"", promised: int | None = None
    ) -> None:
        super().__init__(b"", headers=dict(headers or {}))
        self._part, self._promised = body, promised

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the part, then drop."""
        if self._part:
            headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
            if self._promised is not None:
                headers.append((b"content-length", str(self._promised).encode()))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._part, "more_body": True})
        transport: Any = (scope.get("extensions") or {}).get(TRANSPORT)
        if transport is None:
            raise Dropped("emulator: connection dropped")
        # close() flushes what was sent before it drops; abort() makes sure that nothing more arrives
        (transport.close if self._part else transport.abort)()
        with anyio.move_on_after(1):
            while (await receive())["type"] != "http.disconnect":
                pass
