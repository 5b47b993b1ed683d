"""Families: one file per dialect or kind of model. Here is what they share: a family, its requests, and its results.

``service`` makes a :class:`ModelRequest`, finds the :class:`Family` in its table and calls its check; ``app`` calls its
answer and sends the :class:`ModelResult`: JSON, bytes or events. The check gets the schema as an argument, so that no
family needs the table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

from ..error_codes import refuse
from ..json_schema import Schema, require
from ..model_catalogue import Model
from ..standins.local_model import LocalModel

_DATA = re.compile(r"data:(?P<media>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[^;,]*)*(?P<base64>;base64)?,", re.ASCII)


@dataclass(frozen=True)
class ModelRequest:
    """One admitted call.

    `route` is the address it was sent to: "run", "chat", "embeddings", "responses" or "messages". `fault` is the
    injected fault; a family applies the kinds that need its dialect. `content` is a body that is not JSON (a picture, a
    recording), and `body` then holds the query. `files` are the files of a multipart form; `body` then holds its
    fields, with the media type in place of each file. `cached` counts the input tokens that the prompt cache holds.
    `local` is the model that answers in place of letters and words.
    """

    model: Model
    body: dict[str, Any]
    route: str = "run"
    fault: str = ""
    content: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    quirks: frozenset[str] = frozenset()
    cached: int = 0
    local: LocalModel | None = None

    @property
    def spoils_text(self) -> bool:
        """Whether the injected fault spoils a text or its stream."""
        return self.fault in ("empty", "length") or (self.fault == "truncated-stream" and bool(self.body.get("stream")))

    def media_bytes(self, name: str) -> bytes:
        """Return the one picture or recording: the raw body, or the JSON field of that name."""
        return self.content or decode_bytes(self.body[name])

    def fingerprint(self, *fields: str) -> str:
        """Return a short name of the bytes in these fields, equal for equal bytes, for the request log."""
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

    `result` is the answer without envelope, `frames` are server-sent events in its place, and `content` bytes that are
    sent as they are, as `media`. `usage` is in the catalogue's units. `damaged`: the family applied the injected fault.
    `metered`: the response has a header with the Neurons, which does not change the charge. `texts` are the input texts
    that were processed, if the request does not show them.
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
    """One dialect: its schemas (as ``/models/schema`` publishes them), its check and its answer.

    `texts` returns the input texts for the request log and for the time that a batch takes. `check` raises the
    ServiceError of a bad input. `routes` are its addresses, and `forms` the forms of its body: "json", the "raw" bytes
    of a picture or a recording, or a "form" (multipart). `threaded`: the answer takes so long that it is made in a
    thread.
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


#: The forms of a body that is JSON or the bytes themselves.
RAW = frozenset({"json", "raw"})


def decode_bytes(value: Any) -> bytes:
    """Return the bytes of a list of numbers, a base64 text (else 5004) or a data URI. Nothing is fetched (5006)."""
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


_PREFIX = b"data: "
DONE = _PREFIX + b"[DONE]\n\n"


def event(value: Any, name: str = "") -> bytes:
    """Return one server-sent event, with a name where the dialect has event names."""
    named = f"event: {name}\n".encode() if name else b""
    return named + _PREFIX + to_json(value) + b"\n\n"


def map_event(frame: bytes, change: Callable[[Any], Any]) -> bytes:
    """Return an event with its value changed; a named event and the end of a stream stay as they are."""
    if frame == DONE or not frame.startswith(_PREFIX):
        return frame
    return event(change(from_json(frame.removeprefix(_PREFIX))))


def without_space(frame: bytes) -> bytes:
    """Return an event without the optional space before its value."""
    return frame.replace(_PREFIX, _PREFIX.rstrip(), 1)


def native_token(piece: str) -> str | int:
    """Return a token as the native stream sends it: one that looks like a number is sent as a number (an open bug)."""
    return int(piece) if piece.isascii() and piece.isdigit() and str(int(piece)) == piece else piece


def end_stream(request: ModelRequest, frames: list[bytes], end: bytes = DONE) -> list[bytes]:
    """Return frames with their end, or half of them where the fault cuts the stream."""
    return frames[: max(1, len(frames) // 2 - 1)] if request.fault == "truncated-stream" else [*frames, end]
