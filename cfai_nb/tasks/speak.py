"""Speak: each text as sound."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError, InputError
from ..media import Audio, mime_of, sniff, text_of
from ..models import Model, Usage
from .dialects import speech
from .dialects.request import Answer, Json, Request
from .task import Cell, Cells, Column, Input, Task

#: Characters spoken in a second, for estimates: English is read aloud at some 150 words a minute.
_CHARACTERS_PER_SECOND = 15


@dataclass(frozen=True, kw_only=True)
class Speak(Task):
    """Read each text aloud.

    Attributes
    ----------
    voice : str, optional
        Of the aura models, such as ``"luna"`` or ``"orion"``; which a model has is said when another one is given.
    language : str, optional
        Of melotts, such as ``"en"`` or ``"fr"``; the aura models speak the one in their name.
    format : {"mp3", "wav", "flac", "ogg"}, optional
        Of the aura models (mp3); melotts chooses for itself.

    Notes
    -----
    One request per distinct text.  melotts is priced per minute of sound, aura per character.  The cells are
    ``cf.Audio``: bytes that play and save themselves, and that know what they really are.
    """

    name: ClassVar[str] = "speak"
    work: ClassVar[str] = "speak"
    families: ClassVar[frozenset[str]] = frozenset({"melotts", "aura"})

    voice: str | None = None
    language: str | None = None
    format: str | None = None

    def check(self, model: Model) -> None:
        """Refuse options the model would ignore."""
        super().check(model)
        speech.check(model, self.voice, self.language, self.format)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        text = text_of(inputs[0])
        if model.family == "melotts":
            words = {"prompt": text} | ({"lang": self.language} if self.language else {})
            return Request(json=words, expected="media")
        body: dict[str, Json] = {"text": text} | ({"speaker": self.voice} if self.voice else {})
        return Request(json={**body, **speech.FORMATS.get(self.format or "", {})}, expected="media")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the sound, which comes as bytes or as base64 in JSON."""
        content = answer.content
        try:
            if mime_of(content) == "application/octet-stream":
                content = base64.b64decode(answer.json["audio"].rpartition(",")[2], validate=True)
            if sniff(content).kind != "audio":
                raise AnswerError(f"the answer is {mime_of(content)}, not sound", "broken", again=True)
        except (AttributeError, KeyError, TypeError, ValueError, InputError) as error:
            raise AnswerError(f"the answer holds no sound: {error}", "broken", again=True) from None
        return [Audio(content)]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the characters, and estimate the minutes they take."""
        characters = float(sum(len(text_of(each)) for each in inputs))
        return Usage({"characters": characters, "audio_minutes": characters / _CHARACTERS_PER_SECOND / 60})

    def to_columns(self, cells: Sequence[Cell]) -> Column:
        """Return a column of sound."""
        return Column(cells, "object")
