"""Work: what a family of models gets asked, what it hands back, and what makes it a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .catalogue import Model
from .checks import Schema, complaints
from .errors import refuse


@dataclass(frozen=True)
class Ask:
    """One admitted call.

    Attributes
    ----------
    model : Model
        Whom.
    body : dict
        The JSON that was sent.
    route : {"run", "chat", "embeddings", "responses", "messages"}
        Through which door.
    fault : str
        The injected fault; a family shows the kinds that only it can show.
    content, media : bytes, str
        A body that is no JSON (a picture, a recording) with its media type; `body` then holds the query.
    files : mapping of str to bytes
        The files of a multipart form, whose fields are the `body`; there a file stands as its media type.
    quirks : frozenset of str
        The switches of :mod:`cfai_nb.emulator.quirks`.
    cached : int
        Input tokens that the prompt cache holds.
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


@dataclass
class Work:
    """What a call came to.

    Attributes
    ----------
    result : JSON value
        The answer, without envelope.
    usage : mapping
        Billing unit -> amount, in the catalogue's units.
    frames : list of bytes, optional
        Server-sent events, instead of the result.
    damaged : bool
        Whether the family carried the injected fault out.
    content, media : bytes, str
        An answer that is no JSON: it leaves as it is, under its media type, without an envelope.
    metered : bool
        Whether the answer tells its Neurons; what is charged does not depend on it.
    texts : list of str, optional
        The input texts whose work was done, where that was not known before it.
    """

    result: Any
    usage: Mapping[str, float] = field(default_factory=dict)
    frames: list[bytes] | None = None
    damaged: bool = False
    content: bytes | None = None
    media: str = ""
    metered: bool = True
    texts: list[str] | None = None


def by_schema(ask: Ask) -> None:
    """Refuse an input that its family's schema refuses (5006)."""
    from .families import FAMILIES

    wrong = complaints(ask.body, FAMILIES[ask.model.family].inputs(ask.model))
    if wrong:
        raise refuse(5006, why=", ".join(wrong))


@dataclass(frozen=True)
class Family:
    """One dialect: its input and output schemas, its check, the texts it is billed for, and its answer.

    Attributes
    ----------
    inputs, outputs : callable of Model
        JSON Schemas, as ``/models/schema`` publishes them.
    texts : callable of Ask
        The input texts, one per item, for the book and for the time a batch takes.
    answer : callable of Ask
        The work itself.
    check : callable of Ask
        Raises the Refusal of an input.
    routes : frozenset of str
        The doors it can be reached through.
    forms : frozenset of {"json", "raw", "form"}
        The forms a body may come in: JSON, the bytes of a picture or a recording, multipart.
    threaded : bool
        Whether the work takes so long (drawing, encoding) that it is done beside the loop.
    """

    inputs: Callable[[Model], Schema]
    outputs: Callable[[Model], Schema]
    texts: Callable[[Ask], list[str]]
    answer: Callable[[Ask], Work]
    check: Callable[[Ask], None] = by_schema
    routes: frozenset[str] = frozenset({"run"})
    forms: frozenset[str] = frozenset({"json"})
    threaded: bool = False
