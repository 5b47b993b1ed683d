"""The data between a task, the engine and the frame: an input, its request, the answer, and the column.

Tasks build requests and read answers; the engine sends requests and returns answers, and needs no other knowledge of
models.  The frame lays out the columns.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pydantic_core

from ...errors import AnswerError
from ...media import Media, Parts, text_of
from ...models import Model, Usage, tokens_in

simdjson: Any
try:  # no wheel for Python 3.14 yet; the same numbers come out of pydantic's parser, at three times the CPU
    import simdjson
except ImportError:  # pragma: no cover - depends on the Python version
    simdjson = None

#: JSON as Python holds it.
Json = Any
#: The content of one distinct row: a text, a picture (sound, ...), or a text with pictures or sound in it.
Input: TypeAlias = "str | Media | Parts"
#: The kind of an answer, which sets how large it may be (``_engine/wire.py`` has the figures).
Expected: TypeAlias = Literal["text", "vectors", "media", "document"]
#: The result of one input: a JSON value, or an exception that fails this row alone.
Cell: TypeAlias = Any
#: The results of the inputs of one request: a cell each, or the rows of a matrix.
Cells: TypeAlias = "Sequence[Cell] | npt.NDArray[np.float32]"
#: Yields requests (and receives their answers) or local steps (and receives their results), and returns the cells.
Conversation: TypeAlias = "Generator[Request | Local, Any, Cells]"
#: The layout of a result's column.
ColumnKind: TypeAlias = Literal[
    "text", "category", "number", "integer", "boolean", "datetime", "duration", "vector", "object"
]
# It is not published how most models count pictures and sound; these are the usual counts of open models (patches of
# 28 x 28 pixels, 25 tokens a second of sound) and clef-omni's own for video (at most 256 a second), for plans and
# budgets, never for a bill.
_PATCH, _PER_SECOND_OF_SOUND, _PER_SECOND_OF_VIDEO = 28, 25, 256
_SOUND_BYTES_PER_SECOND, _VIDEO_BYTES_PER_SECOND = 4_000, 100_000
_SHOWN_BY = {"image": "vision", "audio": "audio_input", "video": "video_input"}

_local = threading.local()
#: The parser's messages about a number of thousands of digits, and about endlessly nested lists.
_BEYOND = ("number out of range", "recursion limit")
#: A number in a header; above ``MOST`` it is not an amount: 10**15 tokens would cost more than there is money.
_AMOUNT, MOST = re.compile(r"\s*[0-9+\-.eE]{1,1000}\s*"), 1e15
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
#: Every escape in JSON text; it distinguishes half a pair from a pair and from an escaped backslash.
_ESCAPE = re.compile(
    rb"(\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.S
)


def from_json(text: bytes | str) -> Json:
    """Parse JSON, or raise a ValueError; half a surrogate pair or a broken byte becomes U+FFFD."""
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
        mended = raw.decode("utf-8", "replace").encode()
        if _HALF.search(mended):
            mended = _ESCAPE.sub(lambda found: b"\\ufffd" if found[2] else found[0], mended)
        elif mended == raw:
            raise
        return pydantic_core.from_json(mended)


def shown_to(model: Model) -> frozenset[str]:
    """Return the kinds of input of a chat or decision model, by its capabilities in the catalogue."""
    return frozenset({"text", *(kind for kind, capability in _SHOWN_BY.items() if model.can(capability))})


def tokens_of(value: Input) -> int:
    """Estimate the tokens of an input, its media included."""
    if isinstance(value, str):
        return tokens_in(value)
    if isinstance(value, Parts):
        words = text_of(value)
        media = sum(tokens_of(piece) for piece in value.pieces if isinstance(piece, Media))
        return media + (tokens_in(words) if words else 0)
    form = value.form
    if form.kind == "image":
        return math.ceil((form.width or 0) / _PATCH) * math.ceil((form.height or 0) / _PATCH)
    if form.kind == "audio":
        return math.ceil(_PER_SECOND_OF_SOUND * seconds_of(value))
    if form.kind == "video":
        return math.ceil(_PER_SECOND_OF_VIDEO * value.size / _VIDEO_BYTES_PER_SECOND)
    return math.ceil(value.size / 4)


def seconds_of(sound: Media) -> float:
    """Return the length of a sound; if the file does not state it, by its size at 32 kbit/s."""
    stated = sound.form.seconds
    return sound.size / _SOUND_BYTES_PER_SECOND if stated is None else stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, without the address of the account and the token."""

    json: Json = None  #: The body, unless ``content`` or ``form`` holds it.
    content: bytes | None = None  #: A raw body.
    content_type: str = "application/json"
    #: The fields and files (name, bytes, media type) of a multipart form.
    form: Mapping[str, str | tuple[str, bytes, str]] | None = None
    #: Below ``.../accounts/{id}/ai/``, or with a slash at its beginning below ``.../accounts/{id}``; None is
    #: ``run/{model}``.
    path: str | None = None
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    expected: Expected = "text"

    def body(self) -> bytes:
        """Return the bytes of the body, unless it is a form."""
        return self.content if self.content is not None else pydantic_core.to_json(self.json)


@dataclass(frozen=True, slots=True)
class Local:
    """A step of a conversation that is done on this machine instead of being sent.

    ``do`` is called in a thread of its own, and the conversation receives its result.  An exception ends the run.
    """

    do: Callable[[], Any]


class Answer:
    """The answer to one request that was accepted: the body as it arrived, and headers (names in lower case).

    ``seconds`` counts from the sending to the last byte.
    """

    __slots__ = ("_json", "content", "headers", "seconds")

    def __init__(self, content: bytes, headers: Mapping[str, str] | None = None, seconds: float = 0.0) -> None:
        self.content = content
        self.headers = headers or {}
        self.seconds = seconds
        self._json: Json = ...

    @property
    def neurons(self) -> float | None:
        """The Neurons of the ``cf-ai-neurons`` header, which every answer may carry; None where it is not an amount."""
        stated = self.headers.get("cf-ai-neurons", "")
        try:
            found = float(stated) if _AMOUNT.fullmatch(stated) else math.nan
        except ValueError:
            return None
        return found if 0 <= found <= MOST else None

    @property
    def json(self) -> Json:
        """The model's output: the body without the service's envelope.

        Raises AnswerError: the body is not JSON; asking again may help.
        """
        if self._json is ...:
            try:
                document = from_json(self.content)
            except ValueError as error:
                # A body that was damaged may arrive whole the next time; one beyond the parser's limits will not.
                beyond = any(words in str(error) for words in _BEYOND)
                code = "schema" if beyond else "broken"
                raise AnswerError(f"the answer is not JSON: {error}", code, again=not beyond) from None
            self._json = document["result"] if _is_envelope(document) else document
        return self._json

    def floats(self, *names: str) -> npt.NDArray[np.float32] | None:
        """Return the first of the named members of the output, a list of equally long lists of numbers, as a matrix.

        None where there is no such member.  Raises AnswerError: the member is something else, or holds numbers that are
        not finite as float32.
        """
        if simdjson is None or self._json is not ...:
            return self._floats_by_list(names)
        parser = getattr(_local, "parser", None) or simdjson.Parser()
        _local.parser = None  # a parser may not be used again while its document is in use
        try:
            document = parser.parse(self.content)
            result = document["result"] if _is_envelope(document) else document
            matrix = next((_matrix(result[name]) for name in names if name in result), None)
            del document, result
        except (ValueError, TypeError, LookupError, AttributeError, RuntimeError):  # the last: BIGINT_ERROR
            return self._floats_by_list(names)  # which names what is wrong
        _local.parser = parser
        return matrix

    def listed(self) -> npt.NDArray[np.float32] | None:
        """Return the vectors of an answer in OpenAI's form, ``{data: [{embedding, index}]}``, as a matrix."""
        with reading("vectors"):
            rows = sorted(self.json["data"], key=lambda one: int(one["index"]))
            if [int(one["index"]) for one in rows] != list(range(len(rows))):
                raise ValueError("the indexes have gaps")
            return _as_matrix([one["embedding"] for one in rows]) if rows else None

    def _floats_by_list(self, names: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
        result = self.json if isinstance(self.json, Mapping) else {}
        found = [result[name] for name in names if isinstance(result.get(name), list)]
        with reading("vectors"):
            return _as_matrix(found[0]) if found else None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result, still without pandas.

    ``values`` holds words of the ``levels`` in a category, ISO texts in a datetime, and None without an answer.  A
    column of vectors has no values: they are rows of the run's matrix, and ``form`` is the form of their space.
    """

    values: Sequence[Any]
    kind: ColumnKind = "object"
    levels: tuple[str, ...] | None = None
    form: str = ""


def members(cells: Sequence[Cell], kinds: Mapping[str, ColumnKind]) -> dict[str, Column]:
    """Lay cells that are dicts out as one column a member, each of the kind given."""
    return {name: Column([cell and cell[name] for cell in cells], kind) for name, kind in kinds.items()}


class Dialect(Protocol):
    """How a model is asked about one input, and how its answer is read."""

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the cell, or raise an AnswerError."""

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate what these inputs use at most."""


class Dialogue(ABC):
    """A dialect of several requests an input, each of which follows from the answers before it."""

    @abstractmethod
    def conversation(self, value: Input, model: Model) -> Generator[Request, Answer, Cell]:
        """Ask about one input, and return its cell, or raise an AnswerError."""

    @abstractmethod
    def estimate_request(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the most that one of the requests uses."""


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn an error while an answer is read into an AnswerError: the expected content is missing or broken."""
    try:
        yield
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        raise AnswerError(f"the answer holds no {what}: {error}"[:300], "broken", again=True) from None


def _is_envelope(document: Any) -> bool:
    try:
        return "result" in document and "success" in document
    except TypeError:  # a number or null
        return False


def _as_matrix(rows: list[Json]) -> npt.NDArray[np.float32]:
    """Turn lists of numbers into a matrix; texts and booleans in their place are refused."""
    if any(not isinstance(row, list) or not row or len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"{len(rows)} vectors of unequal or no length")
    if not all(type(number) in (int, float) for row in rows for number in row):
        raise ValueError("they hold something other than numbers")
    return _finite(np.array(rows, dtype=np.float64)) if rows else np.empty((0, 0), dtype=np.float32)


def _finite(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        small = matrix.astype(np.float32)
    if not np.isfinite(small).all():
        raise AnswerError("the answer holds no vectors: a number in them is not finite as float32", "schema")
    return small


def _matrix(rows: Any) -> npt.NDArray[np.float32] | None:
    """Turn a simdjson array of arrays of numbers into a matrix, without a Python object a number."""
    count = len(rows)
    if not count:
        return np.empty((0, 0), dtype=np.float32)
    width = len(rows[0])
    if not width or any(len(row) != width for row in rows):
        raise ValueError(f"{count} vectors of unequal or no length")
    flat = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
    return _finite(flat).reshape(count, width)
