"""The service around the models: the check of an account, and the way from an HTTP request to a model and its family.

``app`` checks account, method and token with :class:`Auth` before anything else, and calls :meth:`Routing.read` for
every inference request. It finds the gateway, the model, its licence and whether the call is queued, reads the body
(JSON, raw bytes or multipart) into one :class:`ModelRequest`, and raises the service's error for what the service would
refuse. The service checks one JSON object against a model's schema, whatever the form of the body, so the fields of a
multipart form and the query beside raw bytes, which arrive as text, are converted to the numbers and flags that the
schema declares.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request

from ..error_codes import refuse
from ..families import Family, ModelRequest
from ..families.document_conversion import MODEL as DOCUMENTS
from ..json_schema import Schema
from ..model_catalogue import Model
from ..standins import count_tokens
from .ai_gateway import GatewayCall, Gateways
from .async_batches import AsyncBatches
from .http import INFERENCE_ROUTES, File, account_of, model_name, parse, parts
from .model_listing import FAMILIES, LoraAdapters, served

_FORM = "multipart/form-data"
#: Media types of a body that is the picture or the sound itself.
_RAW = ("image/", "audio/", "video/", "application/octet-stream")

_ACCOUNT = re.compile(r"[0-9a-f]{32}", re.I)
_TOKEN = re.compile(r"[A-Za-z0-9_\-]{32,}")


class Auth:
    """Checks account, method and token; without `token` and `account` every well-formed one is accepted."""

    def __init__(self, token: str | None, account: str | None) -> None:
        self._token, self._account = token, account

    def admit(self, request: Request, methods: str) -> None:
        """Refuse a malformed account (7003), another method (7001), a malformed token (9106), a wrong one (10000)."""
        account = request.path_params["account"]
        if not _ACCOUNT.fullmatch(account):
            raise refuse(7003, path=request.url.path)
        self.admit_token(request, methods)
        if self._account is not None and account.casefold() != self._account.casefold():
            raise refuse(10000, status=403)

    def admit_token(self, request: Request, methods: str) -> None:
        """Refuse what :meth:`admit` refuses, at an address that names no account."""
        if request.method not in methods.split():
            raise refuse(7001, method=request.method)
        secret = _secret(request)
        if not secret:
            raise refuse(9106)
        if self._token is not None and secret != self._token:
            raise refuse(10000 if _TOKEN.fullmatch(secret) else 9106)


def _secret(request: Request) -> str:
    """Return the bearer token, or the key of the older pair of headers, or an empty text.

    Anthropic's own client sends ``x-api-key``, and is documented to work at its address.
    """
    headers = request.headers
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer":
        return bearer.strip()
    if "x-api-key" in headers and request.url.path.endswith("/ai/v1/messages"):
        return headers["x-api-key"].strip()
    return headers.get("x-auth-key", "").strip() if headers.get("x-auth-email") else ""


#: Models with a licence to accept, and models that an account has to apply for.
_GATED = frozenset({"@cf/meta/llama-3.2-11b-vision-instruct"})
_APPLIED = frozenset({"@cf/swiss-ai/apertus-v1.5-8b", "@cf/utter-project/eurollm-9b-it"})

_AGREE = "agree"
_THANKS = "Thank you for agreeing to this model's license and acceptable use policy. You may now use the model."


class Licences:
    """The licences that accounts have accepted; with `accepted` every account has access to every model.

    Accepting a licence is also answered with 403 and a thank-you text (observed), so a client has to read the text.
    """

    def __init__(self, accepted: bool) -> None:
        self._all, self._accepted = accepted, set[tuple[str, str]]()

    def admit(self, account: str, request: ModelRequest) -> None:
        """Refuse a model without access (5018) or without an accepted licence (5016), and the call that accepts it."""
        if request.model.id in _APPLIED and not self._all:
            raise refuse(5018)
        key = (account, request.model.id)
        if request.model.id not in _GATED:
            return
        if request.body.get("prompt") == _AGREE and request.route == "run":
            self._accepted.add(key)
            raise refuse(5016, text=_THANKS)
        if not self._all and key not in self._accepted:
            raise refuse(5016)


_NAME = re.compile(r"@[a-z]+/[\w.\-]+/[\w.\-]+", re.I)
_EXTERNAL = re.compile(r"[a-z][\w.\-]*/[\w.:\-]+", re.I)
#: Route -> the family that answers for a third-party model there.
_EXTERNAL_FAMILIES = {"run": "openai", "chat": "openai", "responses": "responses+chat", "messages": "anthropic"}


@dataclass
class CallState:
    """One inference request while it is served; `patient`: it may wait for capacity instead of being refused."""

    path: str
    start: float
    name: str = ""
    fault: str = ""
    texts: list[str] = field(default_factory=list)
    neurons: float = 0.0
    charged: bool = False
    patient: bool = True
    gateway_call: GatewayCall | None = None


@dataclass(frozen=True)
class Routing:
    """Reads requests: gateway, model, body and family. More than `batch_tokens` in one call are a 3006."""

    _gateways: Gateways
    _batches: AsyncBatches
    _licences: Licences
    _adapters: LoraAdapters
    _quirks: frozenset[str]
    _batch_tokens: int | None

    async def read(self, request: Request, call: CallState) -> tuple[ModelRequest, Family]:
        """Return the checked model request, and the family that answers it."""
        call.gateway_call = await self._gateways.enter(request)
        model_request, family = await self._identify(request, call)
        if "free-plan" in self._quirks and model_request.model.has("requires_workers_paid"):
            raise refuse(5035)
        account = account_of(request)
        options = model_request.body.get("options")
        if isinstance(options, dict) and "rejectIfBusy" in options:
            call.patient = options.pop("rejectIfBusy") is not True
            if not options:  # Clairic has other options
                del model_request.body["options"]
        model_request = replace(model_request, quirks=self._quirks)
        self._licences.admit(account, model_request)
        if request.query_params.get("queueRequest", "").casefold() == "true":
            family = self._batches.family(account, family, len(await request.body()))
        family.validate(model_request)
        if isinstance(name := model_request.body.get("lora"), str):
            self._adapters.admit(account, name)
        call.texts = family.texts(model_request)
        if self._batch_tokens is not None and sum(map(count_tokens, call.texts)) > self._batch_tokens:
            raise refuse(3006)
        return model_request, family

    async def _identify(self, request: Request, call: CallState) -> tuple[ModelRequest, Family]:
        raw = await request.body()
        if not raw:
            raise refuse(3003)
        if call.path == "/tomarkdown":
            model_request = await _read_documents(request)
            call.name = model_request.model.id
            return model_request, FAMILIES[model_request.model.family]
        if "model" in request.path_params:
            model, family = _served(request.path_params["model"], "run")
            call.name = model.id
            return await _read_body(request, model, family), family
        body, route = parse(raw), INFERENCE_ROUTES.get(call.path, "run")
        model, family = await self._model_of(request, call, model_name(body), route)
        call.name = model.id
        if call.path == "/run":
            body = body.get("input")
            if not isinstance(body, dict):
                raise refuse(5006, why="required properties at '/' are 'input'")
        return ModelRequest(model, body, route), family

    async def _model_of(self, request: Request, call: CallState, name: str, route: str) -> tuple[Model, Family]:
        """Return the model named in a body: the service's own, or a third party's, which needs a gateway."""
        if _EXTERNAL.fullmatch(name) and (family := _EXTERNAL_FAMILIES.get(route)):
            call.gateway_call = call.gateway_call or await self._gateways.enter(request, "default")
            row = {"capabilities": ["function_calling", "streaming"]}  # and no price
            return Model(name, "Text Generation", family, row=row), FAMILIES[family]
        if call.path == "/run" and call.gateway_call is None:
            raise refuse(3003, text=f"POST /run of {name} needs the header cf-aig-gateway-id")
        return _served(name, route)


def _served(name: str, route: str) -> tuple[Model, Family]:
    if not _NAME.fullmatch(name):
        raise refuse(3042, name=name)
    model, family = served(name)
    if route not in family.routes and not (route == "responses" and "chat" in family.routes):
        raise refuse(5007, name=name)
    return model, family


async def _read_body(request: Request, model: Model, family: Family) -> ModelRequest:
    """Return the model request of a ``/run`` request; 5006 for a form that the model does not accept."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    raw = await request.body()
    # curl sends a file as a form and JavaScript sends JSON as text: where both forms are accepted, the bytes decide
    bare = media != "application/json" and not raw.lstrip().startswith(b"{") and "json" in family.forms
    if "raw" in family.forms and (bare or media.startswith(_RAW)):
        query = _converted(request.query_params.multi_items(), family.inputs(model))
        body = query if "json" in family.forms else {"audio": {"body": {}, "contentType": media}, **query}
        return ModelRequest(model, body, content=raw)
    if media == _FORM and "form" in family.forms:
        return await _read_form(request, model, family)
    if "json" not in family.forms:
        wanted = _FORM if "form" in family.forms else "the raw bytes of the audio with their own Content-Type"
        raise refuse(5006, why=f"required properties at '/' are 'multipart' or 'audio': send {wanted}, not {media!r}")
    body = parse(raw)
    if not isinstance(body, dict):
        raise refuse(5006, why="Type mismatch of '/', not in 'object'")
    return ModelRequest(model, body)


async def _read_documents(request: Request) -> ModelRequest:
    """Return the model request of a ``/tomarkdown`` request."""
    if not request.headers.get("content-type", "").startswith(_FORM):
        raise refuse(5006, why="required properties at '/' are 'files' (multipart/form-data)")
    found = await parts(request)
    files = [part for name, part in found if name in ("files", "files[]") and isinstance(part, File)]
    given = next((part for name, part in found if name == "conversionOptions"), "{}")
    if not files:
        raise refuse(5006, why="required properties at '/' are 'files'")
    return ModelRequest(
        DOCUMENTS, {"files": files, "conversionOptions": parse(given if isinstance(given, str) else "")}
    )


async def _read_form(request: Request, model: Model, family: Family) -> ModelRequest:
    fields: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    for name, part in await parts(request):
        if isinstance(part, File):
            files[name] = part.data
        fields.append((name, part if isinstance(part, str) else part.media or "application/octet-stream"))
    return ModelRequest(model, _converted(fields, family.inputs(model)), files=files)


def _converted(fields: Iterable[tuple[str, str]], schema: Schema) -> dict[str, Any]:
    """Return text fields as the values that a schema declares; other text stays text and is refused later.

    A field that is sent more than once (``keyterm``) keeps its values in one text, a line each.
    """
    found: dict[str, str] = {}
    for name, text in fields:
        found[name] = f"{found[name]}\n{text}" if name in found else text
    known: Mapping[str, Any] = schema.get("properties", {})
    return {name: _value(text, known.get(name, {}).get("type")) for name, text in found.items()}


def _value(text: str, kind: object) -> Any:
    if kind == "boolean" and text.casefold() in ("true", "false"):
        return text.casefold() == "true"
    with suppress(ValueError):
        if kind in ("number", "integer") and math.isfinite(number := float(text)):
            return int(number) if number.is_integer() else number
    return text


def short_path(request: Request) -> str:
    """Return the part of the address after ``/ai``."""
    return "/" + request.url.path.split("/", 6)[-1]
