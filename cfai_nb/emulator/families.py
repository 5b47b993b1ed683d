"""Families: every dialect the emulator speaks. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    classification,
    decisions,
    documents,
    embeddings,
    extraction,
    guard,
    hearing,
    messages,
    pictures,
    speech,
    text,
    translation,
    vision,
)
from .catalogue import Model
from .errors import Refusal, refuse
from .work import Family

FAMILIES: Mapping[str, Family] = {
    **text.FAMILIES,
    **embeddings.FAMILIES,
    **classification.FAMILIES,
    **decisions.FAMILIES,
    **translation.FAMILIES,
    **extraction.FAMILIES,
    **documents.FAMILIES,
    **pictures.FAMILIES,
    **vision.FAMILIES,
    **speech.FAMILIES,
    **hearing.FAMILIES,
    **guard.FAMILIES,
    **messages.FAMILIES,
}


def unserved(model: Model) -> Refusal:
    """Return the refusal of a model that the service has and the emulator has no family for."""
    why = "speaks over a WebSocket only, which" if model.family == "websocket" else f"({model.task})"
    return refuse(5007, text=f"emulator: {model.id} {why} is not emulated")
