"""Speak: each text as sound."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .dialects import media
from .task import DialectTask


@dataclass(frozen=True, kw_only=True)
class Speak(DialectTask):
    """Read each text aloud.

    Attributes
    ----------
    voice : str, optional
        Of the aura models, such as ``"luna"`` or ``"orion"``; the error for another one lists them.
    language : str, optional
        Of melotts, such as ``"en"`` or ``"fr"``; the aura models speak the one in their name.
    format : {"mp3", "wav", "flac", "ogg"}, optional
        Of the aura models (mp3); melotts chooses for itself.

    Notes
    -----
    One request per distinct text.  melotts is priced per minute of sound, aura per character.  The cells are
    ``cf.Audio``: bytes that play and save themselves, with their real format.
    """

    name: ClassVar[str] = "speak"
    default_model: ClassVar[str | Model] = "speak"
    families: ClassVar[frozenset[str]] = frozenset({"melotts", "aura"})

    voice: str | None = None
    language: str | None = None
    format: str | None = None

    @functools.cached_property
    def _dialect(self) -> media.Synthesis:
        return media.Synthesis(self.voice, self.language, self.format)

    def check(self, model: Model) -> None:
        super().check(model)
        self._dialect.check(model)
