"""App: the ASGI application.

One call's life: address, method, token, model, input, place, rate, quota, latency, fault, work, book.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import anyio
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from . import bodies
from .book import Book, Call, digest
from .catalogue import Model, find
from .errors import Refusal, refuse
from .families import FAMILIES, unserved
from .faults import AFTER, Draw, Drop, Faults
from .limits import Clock, Day, Kind, Rate, Rates
from .replies import Reply, deliver, early
from .search import schema, search
from .terms import Terms
from .words import tokens
from .work import Ask, Family

_BASE = "/client/v4/accounts/{account}/ai"
_ACCOUNT = re.compile(r"[0-9a-f]{32}", re.I)
_TOKEN = re.compile(r"[A-Za-z0-9_\-]{32,}")
_NAME = re.compile(r"@[a-z]+/[\w.\-]+/[\w.\-]+", re.I)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_DOORS = {"/v1/chat/completions": "chat", "/v1/embeddings": "embeddings", "/v1/responses": "responses"}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class _Visit:
    """One inference request on its way through."""

    path: str
    start: float
    name: str = ""
    fault: str = ""
    texts: list[str] = field(default_factory=list)
    neurons: float = 0.0
    charged: bool = False


class Emulator:
    """Workers AI's REST wire format, served by stand-ins. It is an ASGI app.

    Parameters
    ----------
    latency : float
        Seconds every call takes.
    per_item : float
        Seconds more for each input text.
    rate : "catalogue", int, mapping or None
        Requests per minute, per account and model: the published ones, one for all, by model, or none.
    window : {"sliding", "fixed", "bucket"}
        How the rate is counted.
    period : float
        Seconds of the "minute", to shorten it in tests.
    burst : int, optional
        What the bucket holds.
    capacity : int, optional
        Calls in progress at once; one more is refused with 3040.
    neurons_per_day : float, optional
        After which calls are refused with `quota_code`; what is in flight is still answered.
    quota_code : {4006, 3036}
        What REST answers, or what the documentation says.
    batch_tokens : int, optional
        Estimated tokens of one call's texts together, above which it is refused with 3006.
    faults : mapping, sequence or callable
        See :mod:`cfai_nb.emulator.faults`.
    slow : float
        Seconds that the fault "slow" adds.
    seed : int
        Of faults and request ids.
    token, account : str, optional
        The only ones accepted; by default every nonempty bearer token and every well-formed account.
    agreed : bool
        Whether accounts have accepted the terms that a model asks for; else each has to, once (5016).
    clock : callable
        Seconds, for windows, the day and the book.

    Attributes
    ----------
    book : Book
        What happened; its attributes can also be read on the emulator itself (``emulator.calls``).
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        per_item: float = 0.0,
        rate: Rate = "catalogue",
        window: Kind = "sliding",
        period: float = 60.0,
        burst: int | None = None,
        capacity: int | None = None,
        neurons_per_day: float | None = None,
        quota_code: int = 4006,
        batch_tokens: int | None = None,
        faults: Faults = (),
        slow: float = 1.0,
        seed: int = 0,
        token: str | None = None,
        account: str | None = None,
        agreed: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self.latency, self.per_item, self.slow = latency, per_item, slow
        self.capacity, self.quota_code, self.batch_tokens = capacity, quota_code, batch_tokens
        self.token, self.account, self.clock = token, account, clock
        self.book = Book()
        self._rates = Rates(rate, window, period, clock, burst)
        self._day = Day(neurons_per_day, clock)
        self._draw = Draw(faults, seed)
        self._terms = Terms(agreed)
        self._ids, self._ids_lock = random.Random(seed), Lock()
        self._router = Router(self._routes(), redirect_slashes=False, default=self._nowhere)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "book":
            raise AttributeError(name)
        return getattr(self.book, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        await self._router(scope, receive, send)

    def _routes(self) -> Sequence[Route]:
        handlers: dict[str, Handler] = {
            "/run/{model:path}": self._guarded("POST", self._infer),
            **{path: self._guarded("POST", self._infer) for path in _DOORS},
            "/models/search": self._guarded("GET", self._search),
            "/models/schema": self._guarded("GET", self._schema),
            "/v1/models": self._guarded("", self._search),
        }
        return [Route(_BASE + path, handler, methods=_METHODS) for path, handler in handlers.items()]

    def _guarded(self, method: str, handler: Handler) -> Handler:
        """Return a handler that runs after the checks of address, method and token, and says refusals."""

        async def guarded(request: Request) -> Response:
            try:
                self._admit(request, method)
            except Refusal as refusal:
                if handler == self._infer:
                    self.book.arrive()
                    self._enter(_Visit(_short(request), self.clock()), refusal.status, refusal.code)
                return self._refused(refusal)
            try:
                return await handler(request)
            except Refusal as refusal:
                return self._refused(refusal)

        return guarded

    def _admit(self, request: Request, method: str) -> None:
        account = request.path_params["account"]
        if not _ACCOUNT.fullmatch(account):
            raise refuse(7003, path=request.url.path)
        if request.method != method:
            raise refuse(7001, method=request.method)
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        if scheme.casefold() != "bearer" or not bearer.strip():
            raise refuse(9106)
        if self.token is not None and bearer.strip() != self.token:
            raise refuse(10000 if _TOKEN.fullmatch(bearer.strip()) else 9106)
        if self.account is not None and account.casefold() != self.account.casefold():
            raise refuse(10000, status=403)

    async def _search(self, request: Request) -> Response:
        found = search(request.query_params)
        pages = {"page": 1, "per_page": len(found), "count": len(found), "total_count": len(found)}
        asked = request.query_params.get("page", "1")
        # every page holds the whole list, as was seen; beyond the first there is none, or paging clients never end
        return self._envelope(found if asked in ("", "0", "1") else [], result_info=pages)

    async def _schema(self, request: Request) -> Response:
        return self._envelope(schema(request.query_params.get("model", "")))

    async def _infer(self, request: Request) -> Response:
        self.book.arrive()
        visit = _Visit(_short(request), self.clock())
        try:
            reply = await self._serve(request, visit)
        except Refusal as refusal:
            self._enter(visit, refusal.status, refusal.code)
            raise
        response = deliver(reply, self._ray())
        dropped = isinstance(response, Drop)
        self._enter(visit, 0 if dropped else response.status_code, reply.code, whole=not reply.damaged)
        return response

    async def _serve(self, request: Request, visit: _Visit) -> Reply:
        """Take one request through model, input, place, rate, quota, latency and fault to its answer."""
        ask, family = await self._read(request, visit)
        with self.book.place(self.capacity) as placed:
            if not placed:
                raise refuse(3040)
            if not self._rates.admit(request.path_params["account"], ask.model.id, ask.model.rate):
                raise refuse(3021)
            if not self._day.open():
                raise refuse(self.quota_code)
            fault = self._draw.next(ask.model.id)
            visit.fault = fault
            wait = self.latency + self.per_item * len(visit.texts) + (self.slow if fault == "slow" else 0.0)
            if wait > 0:
                await anyio.sleep(wait)
            if fault and fault not in AFTER and fault != "slow":
                return early(fault)
            ask = replace(ask, fault=fault)
            work = await anyio.to_thread.run_sync(family.answer, ask) if family.threaded else family.answer(ask)
            neurons = ask.model.neurons(work.usage)
            visit.charged, visit.neurons = bool(work.usage), neurons or 0.0
            self._day.spend(visit.neurons)
        reply = Reply.of(work, ask.route, neurons, fault)
        if fault in AFTER and not reply.damaged:
            visit.fault = ""
        return reply

    async def _read(self, request: Request, visit: _Visit) -> tuple[Ask, Family]:
        """Return the ask of a request whose model exists and whose input is in order."""
        raw = await request.body()
        if not raw:
            raise refuse(3003)
        route = _DOORS.get(visit.path, "run")
        body = None if route == "run" else bodies.parse(raw)
        model, family = self._model(request.path_params["model"] if route == "run" else _named(body), route)
        visit.name = model.id
        if request.query_params.get("queueRequest", "").casefold() == "true":
            raise refuse(5007, text="emulator: asynchronous batches (queueRequest) are not emulated yet")
        ask = await bodies.read(request, model, family) if body is None else Ask(model, body, route)
        self._terms.admit(request.path_params["account"], ask)
        family.check(ask)
        visit.texts = family.texts(ask)
        if self.batch_tokens is not None and sum(map(tokens, visit.texts)) > self.batch_tokens:
            raise refuse(3006)
        return ask, family

    def _model(self, name: str, route: str) -> tuple[Model, Family]:
        if not _NAME.fullmatch(name):
            raise refuse(3042, name=name)
        model = find(name)
        if model is None:
            raise refuse(5007, name=name)
        family = FAMILIES.get(model.family)
        if family is None:
            raise unserved(model)
        if route not in family.routes and not (route == "responses" and "chat" in family.routes):
            raise refuse(5007, name=name)
        return model, family

    def _enter(self, visit: _Visit, status: int, code: int, *, whole: bool = False) -> None:
        call = Call(
            visit.path,
            visit.name,
            status,
            code,
            visit.fault,
            len(visit.texts),
            visit.neurons,
            visit.charged,
            self.clock() - visit.start,
            digest(visit.texts),
        )
        self.book.note(call, visit.texts, whole=whole)

    def _envelope(self, result: Any, **more: Any) -> Response:
        body = {"result": result, "success": True, "errors": [], "messages": [], **more}
        return Response(to_json(body), media_type="application/json", headers=self._ray())

    def _refused(self, refusal: Refusal) -> Response:
        with self._ids_lock:
            number = uuid.UUID(int=self._ids.getrandbits(128), version=4)
        headers = {**self._ray(), **refusal.headers}
        return Response(to_json(refusal.body(str(number))), refusal.status, headers, "application/json")

    def _ray(self) -> dict[str, str]:
        with self._ids_lock:
            return {"cf-ray": f"{self._ids.getrandbits(64):016x}-EMU", "server": "cfai_nb emulator"}

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await self._refused(refuse(7003, path=scope["path"]))(scope, receive, send)


def _short(request: Request) -> str:
    """Return the part of the address after ``/ai``."""
    return "/" + request.url.path.split("/", 6)[-1]


def _named(body: Any) -> str:
    name = body.get("model") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refuse(5006, why="required properties at '/' are 'model'")
    return name
