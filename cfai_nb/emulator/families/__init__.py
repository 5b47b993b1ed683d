"""Families: one file per dialect or kind of model, with its schemas, its check and its answer.

A new family is a file and a line here. ``service`` and the emulator's front door use the table.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..error_codes import refuse
from ..model_catalogue import Model, find
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


def served(name: str) -> tuple[Model, Family]:
    """Return the current model of a name and its family; 5007 for any other name, and for a model without a family."""
    model = find(name)
    if model is None:
        raise refuse(5007, name=name)
    if (family := FAMILIES.get(model.family)) is None:
        why = "speaks over a WebSocket only, which" if model.family == "websocket" else f"({model.task})"
        raise refuse(5007, text=f"emulator: {model.id} {why} is not emulated")
    return model, family
