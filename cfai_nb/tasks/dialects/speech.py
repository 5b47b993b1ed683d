"""What speech models can be told: voices and forms of a file, by the published input schemas (2026-10)."""

from __future__ import annotations

from collections.abc import Mapping

from ...models import Model
from .request import Json

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


def check(model: Model, voice: str | None, language: str | None, format: str | None) -> None:
    """Refuse options the model would ignore, and a voice or a form it does not have.

    Raises
    ------
    ValueError
        The message lists what there is.
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
