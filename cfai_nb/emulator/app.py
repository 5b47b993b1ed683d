"""App: the ASGI application.

One call's life: address, method, token, model, input, place, rate, quota, latency, fault, work, book.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from . import documents, search
from . import quirks as oddities
from .admission import Admission
from .book import Book, Call, digest
from .entrance import DOORS, Entrance, Visit, short
from .envelopes import Envelopes
from .errors import Refusal, refuse
from .faults import AFTER, Draw, Drop, Faults
from .finetunes import Finetunes
from .gateway import Gateways
from .gateway_host import GatewayHost
from .limits import Clock, Day, Kind, Rate, Rates
from .prefixes import Prefixes
from .queue import Queue
from .replies import Reply, deliver, early
from .terms import Terms
from .vectorize import Vectorize

_ROOT = "/client/v4/accounts/{account}"
_BASE = _ROOT + "/ai"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

#: Seconds between two looks of a call that waits for a place.
_LOOK = 0.001

Handler = Callable[[Request], Awaitable[Response]]


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
    when_full : {"refuse", "wait"}
        What happens to it; ``options: {"rejectIfBusy": true}`` is refused in any case.
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
        Whether accounts have accepted the terms that a model asks for, and were let in where it takes an application;
        else each has to accept, once (5016), and is not let in (5018).
    clock : callable
        Seconds, for windows, the day, the book, the gateways' caches and the queue.
    quirks : collection of str
        Switches of :data:`cfai_nb.emulator.quirks.QUIRKS`.
    gateways : collection of str, optional
        The gateways there are (else 2001); by default any name is created on first use.
    gateway_token : str, optional
        What ``cf-aig-authorization`` has to bear on the gateway's own host (else 2009); by default nothing.
    queue_polls : int
        Polls that find an asynchronous batch still waiting.
    queue_seconds : float, optional
        How long a batch takes by the clock, instead.
    prompt_cache : bool
        Whether prompts of one ``x-session-affinity`` are cached, on models with a price for it.
    vectorize_delay : int
        Calls to an index of vectors that do not see the write before them yet.

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
        when_full: Literal["refuse", "wait"] = "refuse",
        quirks: Collection[str] = (),
        gateways: Collection[str] | None = None,
        gateway_token: str | None = None,
        queue_polls: int = 2,
        queue_seconds: float | None = None,
        prompt_cache: bool = True,
        vectorize_delay: int = 1,
    ) -> None:
        if when_full not in ("refuse", "wait"):
            raise ValueError(f"when_full must be 'refuse' or 'wait', not {when_full!r}")
        self.when_full, self.quirks, self._prompt_cache = when_full, oddities.known(quirks), prompt_cache
        self._gateways, self._prefixes = Gateways(gateways, clock, seed), Prefixes()
        self._gateway_token = gateway_token
        self._vectorize = Vectorize(vectorize_delay, seed)
        queue = Queue(queue_polls, queue_seconds, clock, seed)
        self._finetunes = Finetunes(seed)
        self._entrance = Entrance(self._gateways, queue, Terms(agreed), self._finetunes, self.quirks, batch_tokens)
        self.latency, self.per_item, self.slow = latency, per_item, slow
        self.capacity, self.quota_code = capacity, quota_code
        self.clock = clock
        self._admission, self._envelopes = Admission(token, account), Envelopes(seed, self.quirks)
        self.book = Book()
        self._rates = Rates(rate, window, period, clock, burst)
        self._day = Day(neurons_per_day, clock)
        self._draw = Draw(faults, seed)
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
            **{path: self._guarded("POST", self._infer) for path in DOORS},
            "/models/search": self._guarded("GET", self._search),
            "/v1/models": self._guarded("", self._search),
        }
        own = [Route(_BASE + path, handler, methods=_METHODS) for path, handler in handlers.items()]
        others = {
            "/ai/tomarkdown/supported": {"GET": documents.supported},
            **search.ROUTES,
            **self._gateways.logs.routes(),
            **self._vectorize.routes(),
            **self._finetunes.routes(),
        }
        host = GatewayHost(
            self._guarded("POST", self._infer, self._envelopes.gateway_refusal),
            self._envelopes.gateway_refusal,
            _METHODS,
            self._gateway_token,
        )
        rooms = [Route(_ROOT + path, self._room(doors), methods=_METHODS) for path, doors in others.items()]
        return [*own, *rooms, *host.routes()]

    def _room(self, doors: Mapping[str, Callable[[Request], Awaitable[Any]]]) -> Handler:
        """Return the handler of an address whose methods return results."""

        async def handler(request: Request) -> Response:
            result = await doors[request.method](request)
            return result if isinstance(result, Response) else self._envelopes.result(result)

        return self._guarded(" ".join(doors), handler)

    def _guarded(self, method: str, handler: Handler, refused: Callable[[Refusal], Response] | None = None) -> Handler:
        """Return a handler that runs after the checks of address, method and token, and says refusals."""
        refused = refused or self._envelopes.refusal

        async def guarded(request: Request) -> Response:
            try:
                self._admission.admit(request, method)
            except Refusal as refusal:
                if handler == self._infer:
                    self.book.arrive()
                    self._enter(Visit(short(request), self.clock()), refusal.status, refusal.code)
                return refused(refusal)
            try:
                return await handler(request)
            except Refusal as refusal:
                return refused(refusal)

        return guarded

    async def _search(self, request: Request) -> Response:
        found = search.search(request.query_params)
        pages = {"page": 1, "per_page": len(found), "count": len(found), "total_count": len(found)}
        asked = request.query_params.get("page", "1")
        # every page holds the whole list, as was seen; beyond the first there is none, or paging clients never end
        return self._envelopes.result(found if asked in ("", "0", "1") else [], result_info=pages)

    async def _infer(self, request: Request) -> Response:
        self.book.arrive()
        visit = Visit(short(request), self.clock())
        try:
            reply = await self._serve(request, visit)
        except Refusal as refusal:
            self._enter(visit, refusal.status, refusal.code)
            refusal.headers = {**refusal.headers, **self._leave(visit, refusal)}
            raise
        response = deliver(reply, {**self._envelopes.ray(), **self._leave(visit, reply)})
        dropped = isinstance(response, Drop)
        self._enter(visit, 0 if dropped else response.status_code, reply.code, whole=not reply.damaged)
        return response

    async def _serve(self, request: Request, visit: Visit) -> Reply:
        """Take one request through model, input, place, rate, quota, latency and fault to its answer."""
        account = request.path_params["account"]
        ask, family = await self._entrance.read(request, visit)
        if visit.passage is not None and (kept := self._gateways.recall(visit.passage)):
            return kept
        async with self._place(visit) as placed:
            if not placed:
                raise refuse(3040)
            if not self._rates.admit(account, ask.model.id, ask.model.rate):
                raise refuse(3021)
            if not self._day.open():
                raise refuse(self.quota_code)
            fault = self._draw.next(ask.model.id)
            visit.fault = fault
            wait = self.latency + self.per_item * len(visit.texts) + (self.slow if fault == "slow" else 0.0)
            if wait > 0:
                await anyio.sleep(wait)
            if fault and fault not in AFTER and fault != "slow":
                return early(fault, self.quirks)
            session = request.headers.get("x-session-affinity", "") if self._prompt_cache else ""
            ask = replace(ask, fault=fault, cached=self._prefixes.hit(account, session, ask))
            if (flagged := oddities.flag(ask, visit.texts)) is not None:
                raise flagged
            work = await anyio.to_thread.run_sync(family.answer, ask) if family.threaded else family.answer(ask)
            work = oddities.bend(work, ask)
            visit.texts = visit.texts if work.texts is None else work.texts
            neurons = ask.model.neurons(work.usage)
            visit.charged, visit.neurons = bool(work.usage), neurons or 0.0
            self._day.spend(visit.neurons)
            if visit.passage is not None:
                visit.passage.usage, visit.passage.neurons = work.usage, neurons
        bare = visit.passage is not None and (visit.passage.bare or "bare-gateway" in self.quirks)
        reply = Reply.of(work, "bare" if bare else ask.route, neurons, fault)
        if fault in AFTER and not reply.damaged:
            visit.fault = ""
        return reply

    @asynccontextmanager
    async def _place(self, visit: Visit) -> AsyncIterator[bool]:
        """Hold a place while working; whoever may wait for one does."""
        while True:
            with self.book.place(self.capacity) as placed:
                if placed or self.when_full == "refuse" or not visit.patient:
                    yield placed
                    return
            await anyio.sleep(_LOOK)

    def _leave(self, visit: Visit, outcome: Reply | Refusal) -> dict[str, str]:
        """Return what the gateway of a call adds to its answer."""
        if visit.passage is None:
            return {}
        visit.passage.model = visit.name
        return self._gateways.leave(visit.passage, outcome)

    def _enter(self, visit: Visit, status: int, code: int, *, whole: bool = False) -> None:
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

    async def _nowhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await self._envelopes.refusal(refuse(7003, path=scope["path"]))(scope, receive, send)
