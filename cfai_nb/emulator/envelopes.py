"""Envelopes: how results and refusals leave, each with a ray of its own."""

from __future__ import annotations

import random
import uuid
from threading import Lock
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from . import quirks
from .errors import GATEWAY, Refusal

_JSON = "application/json"


class Envelopes:
    """Wraps what is said.

    Parameters
    ----------
    seed : int
        Of the rays and the request ids.
    switched : frozenset of str
        The quirks that refusals show.
    """

    def __init__(self, seed: int, switched: frozenset[str]) -> None:
        self._random, self._lock, self._switched = random.Random(seed), Lock(), switched

    def _bits(self, count: int) -> int:
        with self._lock:
            return self._random.getrandbits(count)

    def ray(self) -> dict[str, str]:
        """Return the headers of any answer."""
        return {"cf-ray": f"{self._bits(64):016x}-EMU", "server": "cfai_nb emulator"}

    def result(self, value: Any, **more: Any) -> Response:
        """Return the answer that holds a result."""
        body = {"result": value, "success": True, "errors": [], "messages": [], **more}
        return Response(to_json(body), media_type=_JSON, headers=self.ray())

    def refusal(self, refusal: Refusal) -> Response:
        """Return the answer that says a refusal, under a request id of its own."""
        number = uuid.UUID(int=self._bits(128), version=4)
        body = quirks.failure(refusal.body(str(number)), self._switched)
        return Response(to_json(body), refusal.status, {**self.ray(), **refusal.headers}, _JSON)

    def gateway_refusal(self, refusal: Refusal) -> Response:
        """Return the answer that says a refusal on the gateway's own host, where the gateway's own look different."""
        if refusal.code not in GATEWAY:
            return self.refusal(refusal)
        error = {"code": refusal.code, "message": refusal.text}
        body = {"success": False, "result": [], "messages": [], "error": [error], "name": "AiGatewayError"}
        body |= {"httpCode": refusal.status, "internalCode": refusal.code}
        body |= {"message": refusal.text, "description": refusal.text}
        return Response(to_json(body), refusal.status, {**self.ray(), **refusal.headers}, _JSON)
