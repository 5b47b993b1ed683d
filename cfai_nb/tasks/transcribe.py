"""Transcribe: what is said in each recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..media import media_in
from ..models import Model, Usage
from .dialects import transcription
from .dialects.inputs import seconds_of
from .dialects.request import Answer, Request
from .task import Cell, Cells, Column, Input, Task, display_only


@dataclass(frozen=True, kw_only=True)
class Transcribe(Task):
    """Write down what is said in each recording.

    Attributes
    ----------
    language : str, optional
        A code such as ``"de"`` where it is known (whisper-large-v3-turbo, nova-3).
    english : bool
        Translate into English on the way (whisper-large-v3-turbo).
    hint : str, optional
        Words that are likely to come, such as names (whisper-large-v3-turbo, nova-3).
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
    work: ClassVar[str] = "transcribe"
    families: ClassVar[frozenset[str]] = transcription.FAMILIES
    kinds: ClassVar[frozenset[str]] = frozenset({"audio", "video"})

    language: str | None = None
    english: bool = False
    hint: str | None = None
    speakers: bool = False
    details: bool = display_only(False)

    def _wanted(self) -> transcription.Wanted:
        return transcription.Wanted(self.language, self.english, self.hint, self.speakers)

    def check(self, model: Model) -> None:
        """Refuse options the model would ignore."""
        super().check(model)
        transcription.check(self._wanted(), model)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        return transcription.compose(media_in(inputs[0])[0], self._wanted(), model)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell: text, language, seconds, words and segments."""
        (sound,) = media_in(inputs[0])
        cell = transcription.read(answer, model)
        return [{**cell, "seconds": cell["seconds"] or sound.form.seconds}]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the minutes."""
        return Usage({"audio_minutes": sum(seconds_of(media_in(each)[0]) for each in inputs) / 60})

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return a column of text, or the text with what is known of it."""
        columns = {
            name: Column([cell and cell[name] for cell in cells], kind) for name, kind in transcription.COLUMNS.items()
        }
        return columns if self.details else columns["text"]
