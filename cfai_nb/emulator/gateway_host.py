"""The gateway's own host: its addresses, read as addresses of the REST interface behind it.

In come requests to ``/v1/{account}/{gateway}``: with a list of requests (the universal endpoint, where the first that
works answers), or followed by a provider and the provider's own path, or by ``compat``. Out go the answers of
``/ai/...``, asked through that gateway. The emulator serves both hosts on one port, so only the path tells them apart.

Workers AI answers here as it does behind ``/ai``, with two differences that Cloudflare's own clients count on: through
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

from . import bodies
from .entrance import DOORS
from .errors import Refusal, refuse
from .faults import Drop
from .passage import WAY, Way

_BASE = "/v1/{account}/{gateway}"
_OWN, _ANTHROPIC, _COMPAT = "workers-ai", "anthropic", "compat"
#: Providers of the gateway's table that speak a dialect of OpenAI's or Anthropic's, which a stand-in can answer in.
_OTHERS = frozenset(
    {
        *(_ANTHROPIC, "openai", "google-ai-studio", "grok", "groq", "deepseek", "mistral", "perplexity-ai"),
        *("cerebras", "openrouter", "fireworks", "cohere"),
    }
)
#: The last part of a provider's path -> the address after ``/ai``.
_DIALECTS = {"completions": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}

Handler = Callable[[Request], Awaitable[Response]]


class GatewayHost:
    """Serves the gateway's own addresses.

    Parameters
    ----------
    infer : callable of Request
        What serves an address after ``/ai``, refusals included.
    refused : callable of Refusal
        Returns the response that says a refusal.
    methods : list of str
        Those that are routed, to be refused if they are not POST.
    token : str, optional
        What a gateway that is authenticated has to be sent; by default gateways are not.
    """

    def __init__(
        self, infer: Handler, refused: Callable[[Refusal], Response], methods: list[str], token: str | None
    ) -> None:
        self._infer, self._refused, self._methods, self._token = infer, refused, methods, token

    def routes(self) -> list[Route]:
        """Return the host's routes."""
        handlers = {_BASE: self._universal, _BASE + "/{provider}/{endpoint:path}": self._direct}
        return [Route(path, self._saying(handler), methods=self._methods) for path, handler in handlers.items()]

    def _saying(self, handler: Handler) -> Handler:
        async def said(request: Request) -> Response:
            try:
                if request.method != "POST":
                    raise refuse(7001, method=request.method)
                if self._token and request.headers.get("cf-aig-authorization") != f"Bearer {self._token}":
                    raise refuse(2009, text="Unauthorized")
                return await handler(request)
            except Refusal as refusal:
                return self._refused(refusal)

        return said

    async def _direct(self, request: Request) -> Response:
        """Serve a provider's own path, the body as it came."""
        provider, endpoint = request.path_params["provider"], request.path_params["endpoint"]
        return await self._ask(
            request, provider, endpoint, request.headers, await request.body(), Way(_gateway(request))
        )

    async def _universal(self, request: Request) -> Response:
        """Serve the first of several requests that works, else what the last came to."""
        given = bodies.parse(await request.body())
        asked = given if isinstance(given, list) else [given]
        if not asked or not all(map(_complete, asked)):
            raise refuse(3003)
        for step, one in enumerate(asked):
            headers = {**request.headers, **{name.lower(): str(value) for name, value in one["headers"].items()}}
            way = Way(_gateway(request), step, bare=one["provider"] == _OWN)
            response = await self._ask(request, one["provider"], one["endpoint"], headers, to_json(one["query"]), way)
            if response.status_code < 400 and not isinstance(response, Drop):
                break
        return response

    async def _ask(
        self, request: Request, provider: str, endpoint: str, headers: Mapping[str, str], body: bytes, way: Way
    ) -> Response:
        """Ask at the address behind a provider's path."""
        try:
            path, body = _behind(provider, endpoint.partition("?")[0], body)
        except Refusal as refusal:
            return self._refused(refusal)
        account = request.path_params["account"]
        places = {"account": account} | ({"model": path.removeprefix("/run/")} if path.startswith("/run/") else {})
        query = endpoint.partition("?")[2].encode() or request.scope["query_string"]
        scope = {**request.scope, "path": f"/client/v4/accounts/{account}/ai{path}", "query_string": query}
        scope |= {"path_params": places, "headers": list(_headers(provider, headers)), WAY: way}

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self._infer(Request(scope, receive))


def _gateway(request: Request) -> str:
    return str(request.path_params["gateway"])


def _complete(one: Any) -> bool:
    """Tell whether a request of the universal endpoint says all that it has to."""
    wanted = {"provider": str, "endpoint": str, "headers": dict, "query": dict}
    return isinstance(one, dict) and all(isinstance(one.get(name), kind) for name, kind in wanted.items())


def _headers(provider: str, given: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield headers for the address behind.

    The gateway's token stands in where Workers AI got none of its own, and for the key of another provider.
    """
    names = {name.lower(): value for name, value in given.items()}
    for name in ("content-length", "transfer-encoding"):  # of another body
        names.pop(name, None)
    if "cf-aig-authorization" in names and ("authorization" not in names or provider in _OTHERS):
        names["authorization"] = names["cf-aig-authorization"]
    for name, value in names.items():
        yield name.encode("latin-1", "replace"), value.encode("latin-1", "replace")


def _behind(provider: str, endpoint: str, body: bytes) -> tuple[str, bytes]:
    """Return the address after ``/ai`` of a provider's path, and the body to send there.

    Raises
    ------
    Refusal
        2008 for a provider that is not known (an unprefixed model in `compat` included), 5007 for a path of another
        provider that has no stand-in.
    """
    if provider == _OWN:
        path = f"/{endpoint}" if endpoint.startswith("v1/") else f"/run/{endpoint.removeprefix('run/')}"
        if path.startswith("/v1/") and path not in DOORS:
            raise refuse(7003, path=path)
        return path, body
    dialect = _DIALECTS.get(endpoint.rpartition("/")[2], "")
    if provider == _COMPAT and endpoint == "chat/completions":
        provider, name = _split(body)
        return dialect, _renamed(body, name if provider == _OWN else f"{provider}/{name}")
    if provider not in _OTHERS:
        raise refuse(2008)
    if not dialect or (dialect == _DIALECTS["messages"]) is not (provider == _ANTHROPIC):
        raise refuse(5007, text=f"emulator: {endpoint} of {provider} is not emulated")
    return dialect, _renamed(body, f"{provider}/{_model(body)}")


def _model(body: bytes) -> str:
    given = bodies.parse(body)
    name = given.get("model") if isinstance(given, dict) else None
    if not isinstance(name, str):
        raise refuse(5006, why="required properties at '/' are 'model'")
    return name


def _split(body: bytes) -> tuple[str, str]:
    """Return provider and model of a name such as ``workers-ai/@cf/...``."""
    provider, _, name = _model(body).partition("/")
    if provider not in _OTHERS | {_OWN}:
        raise refuse(2008)
    return provider, name


def _renamed(body: bytes, name: str) -> bytes:
    return to_json({**bodies.parse(body), "model": name})
