"""Audio models: text to speech (Aura, MeloTTS) and speech to text with the time of every word (Whisper, Nova).

Aura answers with the bytes of a file, MeloTTS with base64 in JSON; every transcription has its own input and answer.
Speech is a tune: every letter is a note of one fifteenth of a second, and spaces are silent. The words are kept in the
file's own metadata (a WAV INFO chunk; the comment of MP3, FLAC and OGG), where :func:`listen` finds them. Other
software drops them on conversion; then, as for any other recording, only the length is known.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import standins
from ..error_codes import refuse
from ..json_schema import BINARY, BOOLEAN, BYTE, NUMBER, OBJECT, STRING, Schema, any_of, array, each, obj, one, one_of
from ..model_catalogue import Model, audio_usage
from . import RAW, Family, ModelRequest, ModelResult, base64_text, decode_bytes, unless_raw

#: Letters per second: about the pace of speech.
PACE = 15
_MARK = "emulator:"
#: Formats that cannot be read here; they are reported as unknown and not as broken.
_UNKNOWN = ((4, b"ftyp", "MP4 or M4A"), (0, b"\x1aE\xdf\xa3", "WebM or Matroska"), (0, b"#!AMR", "AMR"))


@dataclass(frozen=True)
class Format:
    """A file format: its names in libsndfile, and its media type."""

    major: str
    subtype: str
    media: str


#: Encoding (and container where it matters) -> format. AAC is missing, since libsndfile does not write it.
FORMATS = {
    "mp3": Format("MP3", "MPEG_LAYER_III", "audio/mpeg"),
    "flac": Format("FLAC", "PCM_16", "audio/flac"),
    "opus": Format("OGG", "OPUS", "audio/ogg"),
    "linear16": Format("WAV", "PCM_16", "audio/wav"),
    "mulaw": Format("WAV", "ULAW", "audio/wav"),
    "alaw": Format("WAV", "ALAW", "audio/wav"),
    "linear16 none": Format("RAW", "PCM_16", "audio/l16"),
    "mulaw none": Format("RAW", "ULAW", "audio/basic"),
    "alaw none": Format("RAW", "ALAW", "audio/x-alaw-basic"),
}


@dataclass(frozen=True)
class Recording:
    """One recording: its length, and its words where the emulator made it."""

    seconds: float
    words: str | None

    @property
    def text(self) -> str:
        """The transcription: the words, or the length of the recording."""
        return f"[emulator: {self.seconds:.1f} s of audio]" if self.words is None else self.words


def speak(text: str, format: Format, rate: int, voice: str = "") -> tuple[bytes, float]:
    """Return the file of a spoken text, and its seconds; the voice sets the pitch.

    ``RAW`` has no metadata, so the words cannot be read back.
    """
    import soundfile

    samples, out = _tune(text, rate, voice), io.BytesIO()
    more: dict[str, Any] = {"compression_level": 0.75, "bitrate_mode": "CONSTANT"} if format.major == "MP3" else {}
    note = _MARK + base64_text(text.encode("utf-8", "surrogatepass"))
    form = {"format": format.major, "subtype": format.subtype}
    with soundfile.SoundFile(out, "w", samplerate=rate, channels=1, **form, **more) as file:
        if format.major in ("MP3", "FLAC", "OGG"):
            file.comment = note
        file.write(samples)
    raw = out.getvalue()
    return (_noted(raw, note) if format.major == "WAV" else raw), len(samples) / rate


def _tune(text: str, rate: int, voice: str) -> NDArray[np.int16]:
    """Return the samples of a spoken text: a fading note for each letter or digit, silence for any other sign."""
    signs = sorted(set(text)) or [" "]
    pitch = 150.0 + hashlib.blake2b(voice.encode(), digest_size=1).digest()[0] / 2
    turns, fall = 2 * np.pi * np.arange(rate // PACE) / rate, np.linspace(7000, 0, rate // PACE)
    notes = [pitch * 2 ** (ord(sign.casefold()[0]) % 19 / 12) if sign.isalnum() else 0.0 for sign in signs]
    table = np.stack([(np.sin(note * turns) * fall).astype(np.int16) for note in notes])
    samples: NDArray[np.int16] = table[[signs.index(sign) for sign in text or " "]].reshape(-1)
    return samples


def listen(raw: bytes) -> Recording:
    """Return the length and the words of a recording; 5007 for a format that cannot be read here, else 8001."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(raw)) as file:
            seconds = file.frames / file.samplerate
            note = _note(raw) if raw[:4] == b"RIFF" else file.comment
    except (soundfile.LibsndfileError, RuntimeError):
        for place, sign, name in _UNKNOWN:
            if raw[place : place + len(sign)] == sign:
                raise refuse(5007, text=f"emulator: {name} is not read; send WAV, MP3, FLAC or OGG") from None
        raise refuse(8001, text="Invalid input: these bytes are not a recording") from None
    return Recording(seconds, _words_in(note))


def _words_in(note: str) -> str | None:
    if not note.startswith(_MARK):
        return None
    try:
        return base64.b64decode(note.removeprefix(_MARK), validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None


def _noted(wave: bytes, note: str) -> bytes:
    """Return a WAV file with a comment added to it, since libsndfile drops long ones."""
    text = note.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFOICMT" + struct.pack("<I", len(text)) + text
    whole = wave + b"\0" * (len(wave) % 2) + b"LIST" + struct.pack("<I", len(info)) + info
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _note(wave: bytes) -> str:
    """Return the comment of a WAV file, or an empty text."""
    _, found, rest = wave.rpartition(b"INFOICMT")
    note = rest[4 : 4 + int.from_bytes(rest[:4], "little")] if found else b""
    return note.rstrip(b"\0").decode("ascii", "replace")


_VOICES = {
    "@cf/deepgram/aura-1": "angus asteria arcas orion orpheus athena luna zeus perseus helios hera stella",
    "@cf/deepgram/aura-2-en": (
        "asteria arcas orion orpheus athena luna zeus hera amalthea andromeda apollo aries atlas aurora callista cora "
        "cordelia delia draco electra harmonia helena hermes hyperion iris janus juno jupiter mars minerva neptune "
        "odysseus ophelia pandora phoebe pluto saturn thalia theia vesta"
    ),
    "@cf/deepgram/aura-2-es": "sirio nestor carina celeste alvaro diana aquila selena estrella javier",
}
#: The default speakers: published for aura-2, assumed for aura-1.
_DEFAULT_VOICES = {"@cf/deepgram/aura-2-en": "luna", "@cf/deepgram/aura-2-es": "aquila", "@cf/deepgram/aura-1": "angus"}
#: Samples per second, as seen on the service for Aura and for MeloTTS.
_AURA_RATE, _MELO_RATE = 24000, 44100
#: Samples per second that a request may name.
_RATES = frozenset({8000, 16000, 24000, 32000, 48000})
_OPUS_RATES = _RATES - {32000}


def _aura_input(model: Model) -> Schema:
    """Return a text, one of the model's speakers, and the format of the file."""
    form = {
        "speaker": one(*_VOICES[model.id].split()),
        "encoding": one("linear16", "flac", "mulaw", "opus", "mp3", "aac", "alaw"),
        "container": one("none", "wav", "ogg"),
        **each("sample_rate bit_rate", NUMBER),
    }
    return obj(form, text=STRING)


def _aura(request: ModelRequest) -> ModelResult:
    """Return the bytes of a recording, MP3 at 24 kHz by default, charged by character."""
    body = request.body
    encoding = body.get("encoding", "mp3")
    bare = body.get("container") == "none"
    format = FORMATS.get(f"{encoding} none" if bare else encoding) or FORMATS.get(encoding)
    if format is None:
        raise refuse(5007, text=f"emulator: {encoding} is not supported; ask for mp3, flac, opus or linear16")
    rate = body.get("sample_rate", _AURA_RATE)
    if rate not in (_OPUS_RATES if encoding == "opus" else _RATES):
        raise refuse(5006, why=f"unsupported sample_rate {rate} for {encoding}")
    voice = body.get("speaker", _DEFAULT_VOICES[request.model.id])
    raw, _ = speak(body["text"], format, int(rate), voice)
    kind = f"{format.media};rate={int(rate)};channels=1" if format.major == "RAW" else format.media
    return ModelResult(None, {"characters": len(body["text"])}, content=raw, media=kind)


def _melo(request: ModelRequest) -> ModelResult:
    """Return a WAV file in base64, 44.1 kHz mono 16 bit as observed; the documentation says MP3."""
    raw, seconds = speak(request.body["prompt"], FORMATS["linear16"], _MELO_RATE, "melo")
    return ModelResult({"audio": base64_text(raw)}, audio_usage(seconds))


def _timed_words(heard: Recording) -> list[dict[str, Any]]:
    """Return the words of a recording with their times in seconds, by their share of its letters."""
    text, found, place = heard.text, [], 0
    for word in text.split():
        first = text.index(word, place)
        place = first + len(word)
        start, end = (round(at / len(text) * heard.seconds, 3) for at in (first, place))
        found.append({"word": word, "start": start, "end": end})
    return found


def _timed_sentences(heard: Recording) -> list[dict[str, Any]]:
    """Return the sentences of a recording, each with its times and its words."""
    left, found = _timed_words(heard), []
    for sentence in standins.sentences(heard.text):
        count = len(sentence.split())
        inner, left = left[:count], left[count:]
        if inner:
            found.append({"start": inner[0]["start"], "end": inner[-1]["end"], "text": sentence, "words": inner})
    return found


def _subtitles(parts: Sequence[dict[str, Any]]) -> str:
    """Return sentences as WebVTT."""

    def clock(seconds: float) -> str:
        hours, rest = divmod(round(seconds * 1000), 3_600_000)
        return (f"{hours:02}:" if hours else "") + f"{rest // 60_000:02}:{rest // 1000 % 60:02}.{rest % 1000:03}"

    cues = [f"{clock(part['start'])} --> {clock(part['end'])}\n{part['text']}" for part in parts]
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _recording_texts(request: ModelRequest) -> list[str]:
    return [request.fingerprint("audio")]


def _whisper(request: ModelRequest) -> ModelResult:
    """Return the text, its words and its subtitles."""
    heard = listen(request.media_bytes("audio"))
    found = _timed_words(heard)
    result = {"text": heard.text, "word_count": len(found), "words": found, "vtt": _subtitles(_timed_sentences(heard))}
    return ModelResult(result, audio_usage(heard.seconds))


_TURBO_INPUT = obj(
    {
        **each("language initial_prompt prefix", STRING),
        **each("vad_filter condition_on_previous_text", BOOLEAN),
        **each("beam_size no_speech_threshold compression_ratio_threshold log_prob_threshold", NUMBER),
        **each("hallucination_silence_threshold", NUMBER),
        "task": one("transcribe", "translate"),
    },
    audio=STRING,
)


def _turbo(request: ModelRequest) -> ModelResult:
    """Return the text in segments with their words, and facts of the whole recording."""
    heard = listen(decode_bytes(request.body["audio"]))
    about = {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.2, "no_speech_prob": 0.0}
    parts = _timed_sentences(heard)
    info = {"language": request.body.get("language", "en"), "language_probability": 1.0}
    result = {
        "transcription_info": {**info, **dict.fromkeys(("duration", "duration_after_vad"), round(heard.seconds, 3))},
        "text": heard.text,
        "word_count": sum(len(part["words"]) for part in parts),
        "segments": [{**part, **about} for part in parts],
        "vtt": _subtitles(parts),
    }
    return ModelResult(result, audio_usage(heard.seconds))


_NOVA_FLAGS = (
    "detect_entities detect_language diarize dictation filler_words measurements mip_opt_out multichannel numerals "
    "paragraphs profanity_filter punctuate sentiment smart_format topics utterances interim_results vad_events "
    "utterance_end_ms"
)
_NOVA_TEXTS = "custom_topic custom_intent extra keyterm keywords language redact replace search endpointing"
#: The recording and its options. On the wire they are the raw body and the query; JSON is refused.
_NOVA_INPUT = obj(
    {
        **each("custom_topic_mode custom_intent_mode", one("extended", "strict")),
        "encoding": one("linear16", "flac", "mulaw", "amr-nb", "amr-wb", "opus", "speex", "g729"),
        "mode": one("general", "medical", "finance"),
        **each(_NOVA_FLAGS, BOOLEAN),
        **each(_NOVA_TEXTS, STRING),
        **each("utt_split channels", NUMBER),
    },
    audio=obj(body=OBJECT, contentType=STRING),
)


def _nova(request: ModelRequest) -> ModelResult:
    """Return channels and alternatives, as Deepgram nests them."""
    heard = listen(request.content)
    more = {"confidence": 0.99, **({"speaker": 0} if request.body.get("diarize") else {})}
    words = [{**word, **more} for word in _timed_words(heard)]
    alternative = {"transcript": heard.text, "confidence": 0.99, "words": words}
    channel: dict[str, Any] = {"alternatives": [alternative]}
    if request.body.get("detect_language"):
        channel["detected_language"] = "en"
    return ModelResult({"results": {"channels": [channel]}}, audio_usage(heard.seconds))


_WORDS = array(obj({"word": STRING, **each("start end", NUMBER)}))
_WHISPER_OUTPUT = obj({"word_count": NUMBER, "words": _WORDS, "vtt": STRING}, text=STRING)
_INFO = obj({"language": STRING, **each("language_probability duration duration_after_vad", NUMBER)})
_SEGMENT_NUMBERS = each("start end temperature avg_logprob compression_ratio no_speech_prob", NUMBER)
_SEGMENTS = array(obj({**_SEGMENT_NUMBERS, "text": STRING, "words": _WORDS}))
_TURBO_PARTS = {"word_count": NUMBER, "vtt": STRING, "transcription_info": _INFO, "segments": _SEGMENTS}
_NOVA_WORDS = array(obj({"word": STRING, **each("confidence start end", NUMBER)}))
_ALTERNATIVE = obj({"confidence": NUMBER, "transcript": STRING, "words": _NOVA_WORDS})
_NOVA_OUTPUT = obj({"results": obj({"channels": array(obj({"alternatives": array(_ALTERNATIVE)}))})})

_MELO = obj({"lang": STRING}, prompt={"type": "string", "minLength": 1})
_MELO_OUTPUT = any_of(obj({"audio": STRING}), BINARY)
_WHISPER = one_of(BINARY, obj(audio=array(BYTE)))


def video_seconds(video: bytes) -> float | None:
    """Return the seconds in the header of an MP4, ``None`` where it has none or the file is a WebM."""
    if video[:4] == b"\x1aE\xdf\xa3":
        return None
    if video[4:8] != b"ftyp":
        raise refuse(8001, text="Invalid input: these bytes are not a video")
    head = video.find(b"mvhd") + 4
    if head < 4:
        return None
    # the header has version, flags, two dates, ticks per second, ticks; version 1 has wide dates and ticks
    at, wide = (head + 20, 8) if video[head : head + 1] == b"\1" else (head + 12, 4)
    ticks = int.from_bytes(video[at : at + 4], "big")
    return int.from_bytes(video[at + 4 : at + 4 + wide], "big") / ticks if ticks else None


FAMILIES = {
    "aura": Family(_aura_input, BINARY, lambda request: [request.body["text"]], _aura, threaded=True),
    "melotts": Family(_MELO, _MELO_OUTPUT, lambda request: [request.body["prompt"]], _melo, threaded=True),
    "whisper": Family(_WHISPER, _WHISPER_OUTPUT, _recording_texts, _whisper, unless_raw, forms=RAW, threaded=True),
    "whisper-turbo": Family(_TURBO_INPUT, obj(_TURBO_PARTS, text=STRING), _recording_texts, _turbo, threaded=True),
    "nova-3": Family(_NOVA_INPUT, _NOVA_OUTPUT, _recording_texts, _nova, forms=frozenset({"raw"}), threaded=True),
}
