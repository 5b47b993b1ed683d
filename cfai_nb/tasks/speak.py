"""Speak: each text as sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..media import Audio, text_of
from ..models import Model, Usage
from .dialects import speech
from .dialects.request import Answer, Input, Json, Request, media_of
from .task import Cells, Task

#: Characters spoken in a second, for estimates: English is read aloud at some 150 words a minute.
_CHARACTERS_PER_SECOND = 15


@dataclass(frozen=True, kw_only=True)
class Speak(Task):
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

    def check(self, model: Model) -> None:
        """Refuse options the model would ignore."""
        super().check(model)
        speech.check_voice(model, self.voice, self.language, self.format)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        text = text_of(inputs[0])
        if model.family == "melotts":
            words = {"prompt": text} | ({"lang": self.language} if self.language else {})
            return Request(json=words, expected="media")
        body: dict[str, Json] = {"text": text} | ({"speaker": self.voice} if self.voice else {})
        return Request(json={**body, **speech.FORMATS.get(self.format or "", {})}, expected="media")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the sound."""
        return [Audio(media_of(answer, "audio"))]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the characters, and estimate the minutes they take."""
        characters = float(sum(len(text_of(each)) for each in inputs))
        return Usage({"characters": characters, "audio_minutes": characters / _CHARACTERS_PER_SECOND / 60})
