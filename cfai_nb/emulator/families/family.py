"""What a family of models is, what it is given and what it returns.

``http.routing`` makes a :class:`ModelRequest`, finds the :class:`Family` and has it check the request; ``app`` has it
answer and sends the :class:`ModelResult`. A family's check is given the schema, so that no family has to know the
registry.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..error_codes import refuse
from ..model_catalogue import Model
from ..schemas.json_schema import BINARY, Schema, one_of, require
from ..standins.local_model import LocalModel

_DATA = re.compile(r"data:(?P<media>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII)


@dataclass(frozen=True)
class ModelRequest:
    """One admitted call.

    Attributes
    ----------
    model : Model
    body : dict
        The JSON that was sent.
    route : {"run", "chat", "embeddings", "responses", "messages"}
        The address it was sent to.
    fault : str
        The injected fault; a family carries out the kinds that only it can.
    content, media : bytes, str
        A body that is not JSON (a picture, a recording) with its media type; `body` then holds the query.
    files : mapping of str to bytes
        The files of a multipart form, whose fields are the `body`; there a file is represented by its media type.
    quirks : frozenset of str
        The switches of :mod:`cfai_nb.emulator.service.quirks`.
    cached : int
        Input tokens that the prompt cache holds.
    local : LocalModel, optional
        The model that answers, in place of letters and words.
    """

    model: Model
    body: dict[str, Any]
    route: str = "run"
    fault: str = ""
    content: bytes = b""
    media: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    quirks: frozenset[str] = frozenset()
    cached: int = 0
    local: LocalModel | None = None

    def media_bytes(self, name: str) -> bytes:
        """Return the one picture or recording: the raw body, or the JSON field of that name."""
        return self.content or decode_bytes(self.body[name])

    def fingerprint(self, *fields: str) -> str:
        """Return a short name of the bytes in these fields, the same for the same bytes, for the request log."""
        state = hashlib.blake2b(self.content, digest_size=8)
        for name in fields:
            value = self.body.get(name)
            state.update((value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass"))
        for raw in self.files.values():
            state.update(raw)
        return f"bytes {state.hexdigest()}"


@dataclass
class ModelResult:
    """What a family returns for a request.

    Attributes
    ----------
    result : JSON value
        The answer, without envelope.
    usage : mapping
        Billing unit -> amount, in the catalogue's units.
    frames : list of bytes, optional
        Server-sent events, instead of the result.
    damaged : bool
        Whether the family carried out the injected fault.
    content, media : bytes, str
        An answer that is not JSON: it is sent as it is, under its media type, without an envelope.
    metered : bool
        Whether the response has a header with the Neurons; what is charged does not depend on it.
    texts : list of str, optional
        The input texts that were processed, where that was not known before.
    """

    result: Any
    usage: Mapping[str, float] = field(default_factory=dict)
    frames: list[bytes] | None = None
    damaged: bool = False
    content: bytes | None = None
    media: str = ""
    metered: bool = True
    texts: list[str] | None = None


def by_schema(request: ModelRequest, schema: Schema) -> None:
    """Refuse a body that the schema refuses (5006)."""
    require(request.body, schema)


def unless_raw(request: ModelRequest, schema: Schema) -> None:
    """Refuse a JSON body that the schema refuses; a raw body is the whole input and has no schema."""
    if not request.content:
        by_schema(request, schema)


@dataclass(frozen=True)
class Family:
    """One dialect: its schemas, its check, the texts it is billed for, and its answer.

    Attributes
    ----------
    input_schema, output_schema : Schema, or callable of Model
        JSON Schemas, as ``/models/schema`` publishes them.
    texts : callable of ModelRequest
        The input texts, one per item, for the request log and for the time a batch takes.
    answer : callable of ModelRequest
        Makes the result.
    check : callable of ModelRequest and its input schema
        Raises the ServiceError of a bad input.
    routes : frozenset of str
        The addresses it can be reached at.
    forms : frozenset of {"json", "raw", "form"}
        The forms a body may come in: JSON, the bytes of a picture or a recording, multipart.
    threaded : bool
        Whether answering takes so long (drawing, encoding) that it is done in a thread.
    """

    input_schema: Schema | Callable[[Model], Schema]
    output_schema: Schema | Callable[[Model], Schema]
    texts: Callable[[ModelRequest], list[str]]
    answer: Callable[[ModelRequest], ModelResult]
    check: Callable[[ModelRequest, Schema], None] = by_schema
    routes: frozenset[str] = frozenset({"run"})
    forms: frozenset[str] = frozenset({"json"})
    threaded: bool = False

    def inputs(self, model: Model) -> Schema:
        """Return the input schema of a model."""
        return self.input_schema(model) if callable(self.input_schema) else self.input_schema

    def outputs(self, model: Model) -> Schema:
        """Return the output schema of a model."""
        return self.output_schema(model) if callable(self.output_schema) else self.output_schema

    def validate(self, request: ModelRequest) -> None:
        """Raise the service's error for a request that it would refuse."""
        self.check(request, self.inputs(request.model))


def or_raw_bytes(fields: Schema) -> Schema:
    """Return an input that is the bytes themselves, or an object that holds them."""
    return one_of(BINARY, fields)


def decode_bytes(value: Any) -> bytes:
    """Return the bytes of a list of numbers from 0 to 255, a base64 text or a data URI. Nothing is fetched.

    Raises
    ------
    ServiceError
        5006 for a number out of range and for a web address, 5004 for text that is not base64.
    """
    if isinstance(value, list):
        try:
            return bytes(map(int, value))
        except (ValueError, TypeError, OverflowError):
            raise refuse(5006, why="bytes must be numbers from 0 to 255") from None
    text = str(value)
    if text[:8].casefold().startswith(("http://", "https://")):
        raise refuse(5006, why="the emulator fetches no addresses: send the picture itself, as a data URI")
    head = _DATA.match(text[:200])
    try:
        return base64.b64decode("".join(text[head.end() if head else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):
        raise refuse(5004) from None


def base64_text(raw: bytes) -> str:
    """Return bytes as base64 text."""
    return base64.b64encode(raw).decode("ascii")


def openai_usage(units: Mapping[str, float]) -> dict[str, Any]:
    """Return a usage in OpenAI's words; cached tokens are input tokens too."""
    spent = int(units.get("input_tokens", 0) + units.get("cached_input_tokens", 0))
    made = int(units.get("output_tokens", 0))
    return {"prompt_tokens": spent, "completion_tokens": made, "total_tokens": spent + made}
