"""Registry: every dialect the emulator speaks.

The one file that imports all families; a new family is a file and a line here. Only ``http`` and ``server`` read it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..error_codes import ServiceError, refuse
from ..model_catalogue import Model
from . import (
    anthropic_messages,
    audio_models,
    clairic,
    clef,
    document_conversion,
    embeddings,
    image_models,
    text_generation,
    text_models,
)
from .family import Family

FAMILIES: Mapping[str, Family] = {
    **text_generation.FAMILIES,
    **anthropic_messages.FAMILIES,
    **embeddings.FAMILIES,
    **text_models.FAMILIES,
    **clef.FAMILIES,
    **clairic.FAMILIES,
    **image_models.FAMILIES,
    **audio_models.FAMILIES,
    **document_conversion.FAMILIES,
}


def not_emulated(model: Model) -> ServiceError:
    """Return the error for a model that the service has and the emulator has no family for."""
    why = "speaks over a WebSocket only, which" if model.family == "websocket" else f"({model.task})"
    return refuse(5007, text=f"emulator: {model.id} {why} is not emulated")
