"""Bodies: a request's body in the form its family takes, JSON, raw bytes or multipart, read into one ask.

Whatever the form, a family's schema is held against one JSON object, as the service does: the fields of a multipart
form and the query beside raw bytes arrive as text and are read as the numbers and flags the schema declares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from .catalogue import Model
from .checks import Schema
from .errors import refuse
from .work import Ask, Family

_FORM = "multipart/form-data"
#: Media types of a body that is the picture or the sound itself.
_RAW = ("image/", "audio/", "video/", "application/octet-stream")
_MISMATCH = "Type mismatch of '/', not in 'object'"


def parse(raw: bytes) -> Any:
    """Return the JSON value of a body."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise refuse(5006, why=f"invalid JSON: {error}") from None


async def read(request: Request, model: Model, family: Family) -> Ask:
    """Return the ask of a ``/run`` request whose body is there.

    Raises
    ------
    Refusal
        5006 when the body comes in a form that the model does not take, or cannot be read.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().casefold()
    raw = await request.body()
    # curl sends a file as a form and JavaScript sends JSON as text: where both forms are taken, the bytes decide
    bare = media != "application/json" and not raw.lstrip().startswith(b"{") and "json" in family.forms
    if "raw" in family.forms and (bare or media.startswith(_RAW)):
        query = typed(request.query_params.multi_items(), family.inputs(model))
        body = query if "json" in family.forms else {"audio": {"body": {}, "contentType": media}, **query}
        return Ask(model, body, content=raw, media=media)
    if media == _FORM and "form" in family.forms:
        return await _form(request, model, family)
    if "json" not in family.forms:
        wanted = _FORM if "form" in family.forms else "the raw bytes of the audio with their own Content-Type"
        raise refuse(5006, why=f"required properties at '/' are 'multipart' or 'audio': send {wanted}, not {media!r}")
    body = parse(raw)
    if not isinstance(body, dict):
        raise refuse(5006, why=_MISMATCH)
    return Ask(model, body)


async def _form(request: Request, model: Model, family: Family) -> Ask:
    fields: list[tuple[str, str]] = []
    files: dict[str, bytes] = {}
    try:
        async with request.form() as form:
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    files[name] = await value.read()
                    fields.append((name, value.content_type or "application/octet-stream"))
                else:
                    fields.append((name, value))
    except (MultiPartException, HTTPException) as error:
        raise refuse(5006, why=f"invalid multipart body: {error}") from None
    return Ask(model, typed(fields, family.inputs(model)), media=_FORM, files=files)


def typed(fields: Iterable[tuple[str, str]], schema: Schema) -> dict[str, Any]:
    """Return text fields as the values a schema declares; a text that is no such value stays text, to be refused.

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
    if kind in ("number", "integer"):
        try:
            number = float(text)
        except ValueError:
            return text
        return text if not math.isfinite(number) else int(number) if number.is_integer() else number
    return text
