"""Families: one file per dialect or kind of model, with its schemas, its check and its answer.

A new family is a file and a line here. Only ``service`` and ``server`` read the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..error_codes import ServiceError, refuse
from ..model_catalogue import Model
from . import (
    anthropic_messages,
    audio_models,
    decision_models,
    document_conversion,
    image_models,
    text_generation,
    text_models,
)
from .family import Family

FAMILIES: Mapping[str, Family] = {
    **text_generation.FAMILIES,
    **anthropic_messages.FAMILIES,
    **text_models.FAMILIES,
    **decision_models.FAMILIES,
    **image_models.FAMILIES,
    **audio_models.FAMILIES,
    **document_conversion.FAMILIES,
}


def not_emulated(model: Model) -> ServiceError:
    """Return the error for a model that the service has and the emulator has no family for."""
    why = "speaks over a WebSocket only, which" if model.family == "websocket" else f"({model.task})"
    return refuse(5007, text=f"emulator: {model.id} {why} is not emulated")
