"""Requests: their bodies (JSON, raw bytes or multipart), read into one :class:`ModelRequest`, and their handlers.

``service`` calls :func:`read`; the other addresses use the functions that read JSON, parts, an account or numbers of a
query, and :func:`handler_for`. The service checks one JSON object against a model's schema, whatever the form of the
body, so the fields of a multipart form and the query beside raw bytes, which arrive as text, are converted to the
numbers and flags that the schema declares.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeVar

from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import Response

from ..error_codes import ServiceError, refuse
from ..families import Family, ModelRequest
from ..families.document_conversion import MODEL as DOCUMENTS
from ..json_schema import Schema
from ..model_catalogue import Model

Endpoint = Callable[[Request], Awaitable[Response]]
#: A function that returns the result of a request: a value, a ``Page`` or a whole response.
Handler = Callable[[Request], Awaitable[Any]]
#: Path below the account -> method -> handler.
Routes = Mapping[str, Mapping[str, Handler]]

#: The addresses after ``/ai`` where a model is called -> the route by which a family knows them.
INFERENCE_ROUTES = {
    **dict.fromkeys(("/run/{model:path}", "/run", "/tomarkdown"), "run"),
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}

_FORM = "multipart/form-data"
#: Media types of a body that is the picture or the sound itself.
_RAW = ("image/", "audio/", "video/", "application/octet-stream")
#: The most digits of a number in a query.
_DIGITS = 18


class Settling(Protocol):
    """An index or an instance. A write becomes visible some time later; :meth:`settle` shows those that are due."""

    def settle(self) -> None: ...


S = TypeVar("S", bound=Settling)


def handler_for(
    find: Callable[[Request], S],
    lock: Lock,
    do: Callable[[S, Request, Any], Any],
    read: Callable[[Request], Awaitable[Any]] | None = None,
) -> Handler:
    """Return a handler that reads a request, finds what it is about, settles that, and calls `do` with both."""

    async def handler(request: Request) -> Any:
        given = await read(request) if read else None
        with lock:
            found = find(request)
            found.settle()
            return do(found, request, given)

    return handler


def parse(raw: bytes | str) -> Any:
    """Return the JSON value of a body."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise refuse(5006, why=f"invalid JSON: {error}") from None


def _bad_input(why: object) -> ServiceError:
    return refuse(5006, why=why)


def json_object(raw: bytes | str, refusal: Callable[[object], ServiceError] = _bad_input) -> dict[str, Any]:
    """Return a JSON object, or raise the error that `refusal` makes of what is wrong."""
    try:
        given = from_json(raw)
        if not isinstance(given, dict):
            raise ValueError("expected an object")
    except ValueError as error:
        raise refusal(error) from None
    return given


def whole_numbers(
    request: Request, refusal: Callable[[object], ServiceError] = _bad_input, **usual: int
) -> Iterator[int]:
    """Yield whole numbers of the query by name, each with its default."""
    for name, number in usual.items():
        given = request.query_params.get(name) or str(number)
        if not given.isdecimal() or len(given) > _DIGITS:
            raise refusal(f"{name} must be a whole number")
        yield int(given)


def account_of(request: Request) -> str:
    """Return the account in an address; upper and lower case are the same one."""
    return str(request.path_params["account"]).casefold()


def model_name(body: Any) -> str:
    """Return the model that a JSON body names."""
    name = body.get("model") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refuse(5006, why="required properties at '/' are 'model'")
    return name


async def read(request: Request, model: Model, family: Family) -> ModelRequest:
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
        return await _form(request, model, family)
    if "json" not in family.forms:
        wanted = _FORM if "form" in family.forms else "the raw bytes of the audio with their own Content-Type"
        raise refuse(5006, why=f"required properties at '/' are 'multipart' or 'audio': send {wanted}, not {media!r}")
    body = parse(raw)
    if not isinstance(body, dict):
        raise refuse(5006, why="Type mismatch of '/', not in 'object'")
    return ModelRequest(model, body)


@dataclass(frozen=True)
class File:
    """One file of a multipart form."""

    name: str
    media: str
    data: bytes


async def parts(request: Request) -> list[tuple[str, str | File]]:
    """Return the fields and files of a multipart body, in order, under their names."""
    try:
        async with request.form() as form:
            return [
                (name, File(part.filename or "", part.content_type or "", await part.read()))
                if isinstance(part, UploadFile)
                else (name, part)
                for name, part in form.multi_items()
            ]
    except (MultiPartException, HTTPException) as error:
        raise refuse(5006, why=f"invalid multipart body: {error}") from None


async def read_documents(request: Request) -> ModelRequest:
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


async def _form(request: Request, model: Model, family: Family) -> ModelRequest:
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
