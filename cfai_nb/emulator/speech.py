"""Speech: text in, sound out. Aura answers with the bytes of a file, MeloTTS with base64 in JSON."""

from __future__ import annotations

from . import media, sound, units
from .catalogue import Model
from .checks import Schema
from .errors import refuse
from .shapes import NUMBER, STRING, any_of, obj, one
from .work import Ask, Family, Work

_VOICES = {
    "@cf/deepgram/aura-1": "angus asteria arcas orion orpheus athena luna zeus perseus helios hera stella",
    "@cf/deepgram/aura-2-en": (
        "asteria arcas orion orpheus athena luna zeus hera amalthea andromeda apollo aries atlas aurora callista cora "
        "cordelia delia draco electra harmonia helena hermes hyperion iris janus juno jupiter mars minerva neptune "
        "odysseus ophelia pandora phoebe pluto saturn thalia theia vesta"
    ),
    "@cf/deepgram/aura-2-es": "sirio nestor carina celeste alvaro diana aquila selena estrella javier",
}
#: Who speaks where nobody is named: published for aura-2, assumed for aura-1.
_USUAL = {"@cf/deepgram/aura-2-en": "luna", "@cf/deepgram/aura-2-es": "aquila", "@cf/deepgram/aura-1": "angus"}
#: Samples a second, seen on the service for aura and for MeloTTS.
_AURA_RATE, _MELO_RATE = 24000, 44100
#: Samples a second that can be asked for.
_RATES = frozenset({8000, 16000, 24000, 32000, 48000})
_OPUS_RATES = _RATES - {32000}


def aura_input(model: Model) -> Schema:
    """A text, a speaker, and the form of the file."""
    encodings = one("linear16", "flac", "mulaw", "opus", "mp3", "aac", "alaw")
    form = {"encoding": encodings, "container": one("none", "wav", "ogg"), "sample_rate": NUMBER, "bit_rate": NUMBER}
    return obj({"speaker": one(*_VOICES[model.id].split()), "text": STRING, **form}, "text")


def aura_texts(ask: Ask) -> list[str]:
    """Return what is to be said."""
    return [ask.body["text"]]


def aura(ask: Ask) -> Work:
    """Return the bytes of a recording, MP3 at 24 kHz unless another encoding is asked for, charged by character."""
    body = ask.body
    encoding = body.get("encoding", "mp3")
    bare = body.get("container") == "none"
    format = sound.FORMATS.get(f"{encoding} none" if bare else encoding) or sound.FORMATS.get(encoding)
    if format is None:
        raise refuse(5007, text=f"emulator: {encoding} is not written; ask for mp3, flac, opus or linear16")
    rate = body.get("sample_rate", _AURA_RATE)
    if rate not in (_OPUS_RATES if encoding == "opus" else _RATES):
        raise refuse(5006, why=f"unsupported sample_rate {rate} for {encoding}")
    voice = body.get("speaker", _USUAL[ask.model.id])
    raw, _ = sound.speak(body["text"], format, int(rate), voice)
    kind = f"{format.media};rate={int(rate)};channels=1" if format.major == "RAW" else format.media
    return Work(None, {"characters": len(body["text"])}, content=raw, media=kind)


def melo_input(model: Model) -> Schema:
    """A text and its language."""
    return obj({"prompt": {"type": "string", "minLength": 1}, "lang": STRING}, "prompt")


def melo_texts(ask: Ask) -> list[str]:
    """Return what is to be said."""
    return [ask.body["prompt"]]


def melo(ask: Ask) -> Work:
    """Return a WAV file in base64, 44.1 kHz mono 16 bit as was seen, though the documentation says MP3."""
    raw, seconds = sound.speak(ask.body["prompt"], sound.FORMATS["linear16"], _MELO_RATE, "melo")
    return Work({"audio": media.text64(raw)}, units.sound(seconds))


def _binary(model: Model) -> Schema:
    return {"type": "string", "format": "binary"}


def _melo_output(model: Model) -> Schema:
    return any_of(obj({"audio": STRING}), _binary(model))


FAMILIES = {
    "aura": Family(aura_input, _binary, aura_texts, aura, threaded=True),
    "melotts": Family(melo_input, _melo_output, melo_texts, melo, threaded=True),
}
