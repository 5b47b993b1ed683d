"""Families: every dialect the emulator speaks. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from . import classification, decisions, documents, embeddings, extraction, text, translation
from .work import Family

FAMILIES: Mapping[str, Family] = {
    **text.FAMILIES,
    **embeddings.FAMILIES,
    **classification.FAMILIES,
    **decisions.FAMILIES,
    **translation.FAMILIES,
    **extraction.FAMILIES,
    **documents.FAMILIES,
}
