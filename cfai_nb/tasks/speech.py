"""Speak, Transcribe: text to speech, and speech to text."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .dialects import media
from .dialects.request import Cell, Column, members
from .task import DialectTask, display_only


@dataclass(frozen=True, kw_only=True)
class Speak(DialectTask):
    """Convert each text to speech.

    Attributes
    ----------
    voice : str, optional
        For the aura models, such as ``"luna"`` or ``"orion"``; the error for an unknown voice lists them.
    language : str, optional
        For melotts, such as ``"en"`` or ``"fr"``; the aura models speak the language in their name.
    format : {"mp3", "wav", "flac", "ogg"}, optional
        For the aura models (default mp3); melotts has one format.

    Notes
    -----
    One request per distinct text.  melotts is priced per minute of sound, aura per character.  The cells are
    ``cf.Audio``: bytes that play and save themselves, with their real format.
    """

    name: ClassVar[str] = "speak"
    default_model: ClassVar[str | Model] = "speak"
    families: ClassVar[frozenset[str]] = frozenset({"melotts", "aura"})
    media_bytes: ClassVar[int] = 1_000_000

    voice: str | None = None
    language: str | None = None
    format: str | None = None

    @functools.cached_property
    def _dialect(self) -> media.Synthesis:
        return media.Synthesis(self.voice, self.language, self.format)

    def check(self, model: Model) -> None:
        super().check(model)
        self._dialect.check(model)


@dataclass(frozen=True, kw_only=True)
class Transcribe(DialectTask):
    """Transcribe each recording.

    Attributes
    ----------
    language : str, optional
        A code such as ``"de"``, if it is known (whisper-large-v3-turbo, nova-3).
    translate_to_english : bool
        Return the words in English (whisper-large-v3-turbo).
    prompt : str, optional
        Words that are likely to occur, such as names (whisper-large-v3-turbo, nova-3).
    speakers : bool
        Tell speakers apart, word by word (nova-3).
    details : bool
        Return a DataFrame: ``text``, ``language``, ``seconds``, and ``words`` and ``segments`` as lists of dicts with
        ``start`` and ``end`` in seconds.  They are always kept, so asking for them later sends nothing.

    Notes
    -----
    One request per distinct recording; the price is per minute of sound.
    """

    name: ClassVar[str] = "transcribe"
    default_model: ClassVar[str | Model] = "transcribe"
    families: ClassVar[frozenset[str]] = media.RECOGNIZERS
    kinds: ClassVar[frozenset[str]] = frozenset({"audio", "video"})

    language: str | None = None
    translate_to_english: bool = False
    prompt: str | None = None
    speakers: bool = False
    details: bool = display_only(False)

    @functools.cached_property
    def _dialect(self) -> media.Recognition:
        return media.Recognition(self.language, self.translate_to_english, self.prompt, self.speakers)

    def check(self, model: Model) -> None:
        super().check(model)
        self._dialect.check(model)

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        columns = members(cells, media.COLUMNS)
        return columns if self.details else columns["text"]
