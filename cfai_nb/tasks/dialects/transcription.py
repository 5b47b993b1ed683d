"""How speech recognition models are spoken to, and one form for what they hear."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import AnswerError
from ...media import Media
from ...models import Model
from ..task import Cell, ColumnKind
from . import values
from .request import Answer, Json, Request

# What each family can be told, by our names.
_OPTIONS = {
    "whisper": frozenset[str](),
    "whisper-turbo": frozenset({"language", "english", "hint"}),
    "nova-3": frozenset({"language", "hint", "speakers"}),
}
FAMILIES = frozenset(_OPTIONS)
#: What is known of a recording afterwards.
COLUMNS: dict[str, ColumnKind] = {
    "text": "text", "language": "text", "seconds": "number", "words": "object", "segments": "object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a recognizer is told besides the sound."""

    language: str | None = None
    english: bool = False
    hint: str | None = None
    speakers: bool = False


def check(wanted: Wanted, model: Model) -> None:
    """Refuse options the model would ignore."""
    asked = {name for name in Wanted.__slots__ if getattr(wanted, name)}
    if unable := sorted(asked - _OPTIONS[model.family or ""]):
        able = " or ".join(family for family, names in _OPTIONS.items() if asked <= names)
        raise ValueError(f"{model.id} has no {', '.join(unable)}; leave it out{able and f', or use {able}'}.")


def compose(sound: Media, wanted: Wanted, model: Model) -> Request:
    """Return the request: base64 in JSON, or the bytes themselves with the options in the address."""
    if model.family == "whisper-turbo":
        body: dict[str, Json] = {"audio": sound.base64(), "task": "translate" if wanted.english else "transcribe"}
        body |= {"language": wanted.language} if wanted.language else {}
        return Request(json=body | ({"initial_prompt": wanted.hint} if wanted.hint else {}))
    query: dict[str, str | list[str]] = {}
    if model.family == "nova-3":
        query = {"punctuate": "true", "smart_format": "true"}
        query |= {"language": wanted.language} if wanted.language else {"detect_language": "true"}
        query |= {"keyterm": wanted.hint.split()} if wanted.hint else {}
        query |= {"diarize": "true"} if wanted.speakers else {}
    return Request(content=sound.content(), content_type=sound.form.mime, query=query)


def read(answer: Answer, model: Model) -> Cell:
    """Return ``{text, language, seconds, words, segments}``.

    Raises
    ------
    AnswerError
        There is no text in it.  Silence is a text too: an empty one.
    """
    try:
        return _nova(answer.json) if model.family == "nova-3" else _whisper(answer.json)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise AnswerError(f"the answer holds no text: {error}", "broken", again=True) from None


def _whisper(said: Json) -> Cell:
    info, segments = said.get("transcription_info") or {}, _dicts(said.get("segments"))
    words = _dicts(said.get("words")) or [word for segment in segments for word in _dicts(segment.get("words"))]
    kept = [{name: segment.get(name) for name in ("start", "end", "text")} for segment in segments]
    return _cell(said["text"], info.get("language"), info.get("duration"), words, kept)


def _nova(said: Json) -> Cell:
    channel = said["results"]["channels"][0]
    best = channel["alternatives"][0]
    return _cell(best["transcript"], channel.get("detected_language"), None, _dicts(best.get("words")), [])


def _cell(text: Json, language: Json, seconds: Json, words: Json, segments: Json) -> Cell:
    known = {"language": language and values.text(language), "seconds": values.amount(seconds)}
    return {"text": values.text(text).strip(), **known, "words": words, "segments": segments}


def _dicts(found: Json) -> list[dict[str, Json]]:
    """Return a list of objects, which may be missing."""
    if not isinstance(found or [], list) or any(not isinstance(each, dict) for each in found or ()):
        raise ValueError(f"{values.quoted(found)} is not a list of objects")
    return found or []
