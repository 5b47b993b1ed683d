"""How models of speech are asked, by their published input schemas (2026-10): recognition, and synthesis.

Recognizers take a recording and return one form of cell, whatever the model; synthesizers have voices and file formats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import AnswerError
from ...media import media_in
from ...models import Model, Usage
from ..task import Cell, ColumnKind
from . import values
from .request import Answer, Input, Json, Request, seconds_of

# Options of each family that recognizes speech.
_OPTIONS = {
    "whisper": frozenset[str](),
    "whisper-turbo": frozenset({"language", "translate_to_english", "prompt"}),
    "nova-3": frozenset({"language", "prompt", "speakers"}),
}
RECOGNIZERS = frozenset(_OPTIONS)
#: The members of a transcript, and the kinds of their columns.
COLUMNS: dict[str, ColumnKind] = {
    "text": "text", "language": "text", "seconds": "number", "words": "object", "segments": "object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recognition:
    """The options of one task that recognizes speech."""

    language: str | None = None
    translate_to_english: bool = False
    prompt: str | None = None
    speakers: bool = False

    def check(self, model: Model) -> None:
        """Refuse options the model would ignore."""
        given = {name for name in self.__slots__ if getattr(self, name)}
        if unable := sorted(given - _OPTIONS[model.family or ""]):
            able = " or ".join(family for family, names in _OPTIONS.items() if given <= names)
            raise ValueError(f"{model.id} has no {', '.join(unable)}; leave it out{able and f', or use {able}'}.")

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request: base64 in JSON, or the bytes themselves with the options in the address."""
        (sound,) = media_in(value)
        if model.family == "whisper-turbo":
            task = "translate" if self.translate_to_english else "transcribe"
            body: dict[str, Json] = {"audio": sound.base64(), "task": task}
            body |= {"language": self.language} if self.language else {}
            return Request(json=body | ({"initial_prompt": self.prompt} if self.prompt else {}))
        query: dict[str, str | list[str]] = {}
        if model.family == "nova-3":
            query = {"punctuate": "true", "smart_format": "true"}
            query |= {"language": self.language} if self.language else {"detect_language": "true"}
            query |= {"keyterm": self.prompt.split()} if self.prompt else {}
            query |= {"diarize": "true"} if self.speakers else {}
        return Request(content=sound.content(), content_type=sound.form.mime, query=query)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the minutes."""
        return Usage({"audio_minutes": sum(seconds_of(media_in(each)[0]) for each in inputs) / 60})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{text, language, seconds, words, segments}``.

        Raises AnswerError: there is no text in it. Silence is a text too: an empty one.
        """
        (sound,) = media_in(value)
        try:
            cell = _nova(answer.json) if model.family == "nova-3" else _whisper(answer.json)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise AnswerError(f"the answer holds no text: {error}", "broken", again=True) from None
        return {**cell, "seconds": cell["seconds"] or sound.form.seconds}


def _whisper(output: Json) -> Cell:
    info, segments = output.get("transcription_info") or {}, _dicts(output.get("segments"))
    words = _dicts(output.get("words")) or [word for segment in segments for word in _dicts(segment.get("words"))]
    kept = [{name: segment.get(name) for name in ("start", "end", "text")} for segment in segments]
    return _cell(output["text"], info.get("language"), info.get("duration"), words, kept)


def _nova(output: Json) -> Cell:
    channel = output["results"]["channels"][0]
    best = channel["alternatives"][0]
    return _cell(best["transcript"], channel.get("detected_language"), None, _dicts(best.get("words")), [])


def _cell(text: Json, language: Json, seconds: Json, words: Json, segments: Json) -> Cell:
    return {
        "text": values.text(text).strip(), "language": language and values.text(language),
        "seconds": values.amount(seconds), "words": words, "segments": segments,
    }  # fmt: skip


def _dicts(found: Json) -> list[dict[str, Json]]:
    """Return a list of objects, which may be missing."""
    if not isinstance(found or [], list) or any(not isinstance(each, dict) for each in found or ()):
        raise ValueError(f"{values.quoted(found)} is not a list of objects")
    return found or []


#: Model -> its voices.
VOICES: Mapping[str, tuple[str, ...]] = {
    "aura-1": (
        "angus", "arcas", "asteria", "athena", "helios", "hera", "luna", "orion", "orpheus", "perseus", "stella",
        "zeus",
    ),
    "aura-2-en": (
        "amalthea", "andromeda", "apollo", "arcas", "aries", "asteria", "athena", "atlas", "aurora", "callista", "cora",
        "cordelia", "delia", "draco", "electra", "harmonia", "helena", "hera", "hermes", "hyperion", "iris", "janus",
        "juno", "jupiter", "luna", "mars", "minerva", "neptune", "odysseus", "ophelia", "orion", "orpheus", "pandora",
        "phoebe", "pluto", "saturn", "thalia", "theia", "vesta", "zeus",
    ),
    "aura-2-es": (
        "alvaro", "aquila", "carina", "celeste", "diana", "estrella", "javier", "nestor", "selena", "sirio",
    ),
}  # fmt: skip
#: Form of a file -> how the aura models are asked for it.
FORMATS: Mapping[str, Mapping[str, Json]] = {
    "mp3": {"encoding": "mp3"},
    "wav": {"encoding": "linear16", "container": "wav"},
    "flac": {"encoding": "flac"},
    "ogg": {"encoding": "opus", "container": "ogg"},
}


def check_voice(model: Model, voice: str | None, language: str | None, format: str | None) -> None:
    """Refuse options the model would ignore, and a voice or a form it does not have.

    Raises ValueError: the message lists the choices.
    """
    if model.family == "melotts" and (voice or format):
        raise ValueError(f"{model.id} has one voice and one format; leave voice= and format= out, or use aura-2-en.")
    if model.family == "aura" and language:
        raise ValueError(f"{model.id} speaks one language; leave language= out, or use aura-2-es or melotts.")
    known = VOICES.get(model.name, ())
    if voice is not None and known and voice not in known:
        raise ValueError(f"voice={voice!r}: {model.id} has {', '.join(known)}.")
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format!r}: give one of {', '.join(FORMATS)}.")
