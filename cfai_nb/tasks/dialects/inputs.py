"""What a row amounts to, seen by a task: its words, its media, and how many tokens both may be."""

from __future__ import annotations

import math
from typing import TypeAlias

from ...media import Media, Parts, text_of
from ...models import Model, tokens_in

#: A canonical input: what one distinct row amounts to.  A text, a picture (sound, ...), or a text with some in it.
Input: TypeAlias = "str | Media | Parts"

# Few models say how they count pictures and sound; these are the usual ways of open models (patches of 28 x 28 pixels,
# 25 tokens a second of sound) and clef-omni's own for video (at most 256 a second), for plans and budgets, never for a
# bill.
_PATCH, _PER_SECOND_OF_SOUND, _PER_SECOND_OF_VIDEO = 28, 25, 256
_SOUND_BYTES_PER_SECOND, _VIDEO_BYTES_PER_SECOND = 4_000, 100_000


_SHOWN_BY = {"image": "vision", "audio": "audio_input", "video": "video_input"}


def shown_to(model: Model) -> frozenset[str]:
    """Say what a chat or decision model can be given beside text, by its capabilities in the catalogue."""
    return frozenset({"text", *(kind for kind, capability in _SHOWN_BY.items() if model.can(capability))})


def tokens_of(value: Input) -> int:
    """Estimate the tokens of an input, its media included."""
    if isinstance(value, str):
        return tokens_in(value)
    if isinstance(value, Parts):
        words = text_of(value)
        media = sum(tokens_of(piece) for piece in value.pieces if isinstance(piece, Media))
        return media + (tokens_in(words) if words else 0)
    form = value.form
    if form.kind == "image":
        return math.ceil((form.width or 0) / _PATCH) * math.ceil((form.height or 0) / _PATCH)
    if form.kind == "audio":
        return math.ceil(_PER_SECOND_OF_SOUND * seconds_of(value))
    if form.kind == "video":
        return math.ceil(_PER_SECOND_OF_VIDEO * value.size / _VIDEO_BYTES_PER_SECOND)
    return math.ceil(value.size / 4)


def seconds_of(sound: Media) -> float:
    """Return how long a sound is; from its size, at 32 kbit/s, where it does not tell."""
    told = sound.form.seconds
    return sound.size / _SOUND_BYTES_PER_SECOND if told is None else told
