"""The gateway's own host: its addresses, translated to addresses of the REST interface behind it.

It takes requests to ``/v1/{account}/{gateway}`` with a list of requests (the universal endpoint, where the first that
works answers), or followed by a provider and the provider's own path, or by ``compat``. It returns the answer of
``/ai/...`` through that gateway. ``app`` serves both hosts on one port, so only the path distinguishes them.

Workers AI answers here as it does behind ``/ai``, with two differences that Cloudflare's own clients rely on: through
the universal endpoint it answers without its envelope, and one request may come by itself instead of in a list.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from ..error_codes import ServiceError, refuse
from . import request_body
from .ai_gateway import ROUTE, GatewayRoute
from .responses import Drop
from .routing import INFERENCE_PATHS

_BASE = "/v1/{account}/{gateway}"
_OWN, _ANTHROPIC, _COMPAT = "workers-ai", "anthropic", "compat"
#: Providers in the gateway's table with a dialect of OpenAI's or Anthropic's, which a stand-in can answer.
_NAMES = (
    "anthropic openai google-ai-studio grok groq deepseek mistral perplexity-ai cerebras openrouter fireworks cohere"
)
_OTHERS = frozenset(_NAMES.split())
#: The last part of a provider's path -> the address after ``/ai``.
_DIALECTS = {"completions": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}

Endpoint = Callable[[Request], Awaitable[Response]]


class GatewayHost:
    """Serves the gateway's own addresses with `infer`; `token` is the token of an authenticated gateway."""

    def __init__(
        self, infer: Endpoint, send_error: Callable[[ServiceError], Response], methods: list[str], token: str | None
    ) -> None:
        self._infer, self._send_error, self._methods, self._token = infer, send_error, methods, token

    def routes(self) -> list[Route]:
        """Return the host's routes."""
        handlers = {_BASE: self._universal, _BASE + "/{provider}/{endpoint:path}": self._direct}
        return [Route(path, self._guarded(handler), methods=self._methods) for path, handler in handlers.items()]

    def _guarded(self, handler: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                if request.method != "POST":
                    raise refuse(7001, method=request.method)
                if self._token and request.headers.get("cf-aig-authorization") != f"Bearer {self._token}":
                    raise refuse(2009, text="Unauthorized")
                return await handler(request)
            except ServiceError as error:
                return self._send_error(error)

        return guarded

    async def _direct(self, request: Request) -> Response:
        """Serve a provider's own path, with the body unchanged."""
        places, body = request.path_params, await request.body()
        route = GatewayRoute(places["gateway"])
        return await self._forward(request, places["provider"], places["endpoint"], request.headers, body, route)

    async def _universal(self, request: Request) -> Response:
        """Return the first successful answer to several requests, else the last answer."""
        given = request_body.parse(await request.body())
        requests = given if isinstance(given, list) else [given]
        if not requests or not all(map(_complete, requests)):
            raise refuse(3003)
        for step, one in enumerate(requests):
            headers = {**request.headers, **{name.lower(): str(value) for name, value in one["headers"].items()}}
            provider, body = one["provider"], to_json(one["query"])
            route = GatewayRoute(request.path_params["gateway"], step, bare=provider == _OWN)
            response = await self._forward(request, provider, one["endpoint"], headers, body, route)
            if response.status_code < 400 and not isinstance(response, Drop):
                break
        return response

    async def _forward(
        self, request: Request, provider: str, endpoint: str, given: Mapping[str, str], body: bytes, route: GatewayRoute
    ) -> Response:
        """Send a request to the address behind a provider's path."""
        try:
            path, body = _behind(provider, endpoint.partition("?")[0], body)
        except ServiceError as error:
            return self._send_error(error)
        account = request.path_params["account"]
        places = {"account": account} | ({"model": path.removeprefix("/run/")} if path.startswith("/run/") else {})
        query = endpoint.partition("?")[2].encode() or request.scope["query_string"]
        scope = {**request.scope, "path": f"/client/v4/accounts/{account}/ai{path}", "query_string": query}
        scope |= {"path_params": places, "headers": list(_headers(provider, given)), ROUTE: route}

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._infer(Request(scope, receive))


def _complete(one: Any) -> bool:
    """Return whether a request of the universal endpoint has all its parts."""
    wanted = {"provider": str, "endpoint": str, "headers": dict, "query": dict}
    return isinstance(one, dict) and all(isinstance(one.get(name), kind) for name, kind in wanted.items())


def _headers(provider: str, given: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers for the address behind; the gateway's token replaces a missing or another provider's token."""
    names = {name.lower(): value for name, value in given.items()}
    for name in ("content-length", "transfer-encoding"):  # they describe another body
        names.pop(name, None)
    if "cf-aig-authorization" in names and ("authorization" not in names or provider in _OTHERS):
        names["authorization"] = names["cf-aig-authorization"]
    for name, value in names.items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def _behind(provider: str, endpoint: str, body: bytes) -> tuple[str, bytes]:
    """Return the address after ``/ai`` of a provider's path, and the body to send there.

    An unknown provider (an unprefixed model in `compat` included) is a 2008, a path that is not emulated a 5007.
    """
    if provider == _OWN:
        path = f"/{endpoint}" if endpoint.startswith("v1/") else f"/run/{endpoint.removeprefix('run/')}"
        if path.startswith("/v1/") and path not in INFERENCE_PATHS:
            raise refuse(7003, path=path)
        return path, body
    dialect = _DIALECTS.get(endpoint.rpartition("/")[2], "")
    compat = provider == _COMPAT and endpoint == "chat/completions"
    if not compat and provider not in _OTHERS:
        raise refuse(2008)
    if not compat and (not dialect or (dialect == _DIALECTS["messages"]) is not (provider == _ANTHROPIC)):
        raise refuse(5007, text=f"emulator: {endpoint} of {provider} is not emulated")
    given = request_body.parse(body)
    name = request_body.model_name(given) if compat else f"{provider}/{request_body.model_name(given)}"
    provider, _, rest = name.partition("/")  # compat has names such as workers-ai/@cf/...
    if provider not in _OTHERS | {_OWN}:
        raise refuse(2008)
    return dialect, to_json({**given, "model": rest if provider == _OWN else name})
