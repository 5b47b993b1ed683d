"""Audio models: text to speech (Aura, MeloTTS) and speech to text with the time of every word (Whisper, Nova).

Aura answers with the bytes of a file, MeloTTS with base64 in JSON; every transcription has its own input and answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..error_codes import refuse
from ..model_catalogue import Model, audio_usage
from ..schemas.json_schema import BINARY, BOOLEAN, BYTE, NUMBER, OBJECT, STRING, Schema, any_of, array, each, obj, one
from ..standins import lexical, sound
from .family import Family, ModelRequest, ModelResult, base64_text, decode_bytes, or_raw_bytes, unless_raw

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
    format = sound.FORMATS.get(f"{encoding} none" if bare else encoding) or sound.FORMATS.get(encoding)
    if format is None:
        raise refuse(5007, text=f"emulator: {encoding} is not supported; ask for mp3, flac, opus or linear16")
    rate = body.get("sample_rate", _AURA_RATE)
    if rate not in (_OPUS_RATES if encoding == "opus" else _RATES):
        raise refuse(5006, why=f"unsupported sample_rate {rate} for {encoding}")
    voice = body.get("speaker", _DEFAULT_VOICES[request.model.id])
    raw, _ = sound.speak(body["text"], format, int(rate), voice)
    kind = f"{format.media};rate={int(rate)};channels=1" if format.major == "RAW" else format.media
    return ModelResult(None, {"characters": len(body["text"])}, content=raw, media=kind)


def _melo(request: ModelRequest) -> ModelResult:
    """Return a WAV file in base64, 44.1 kHz mono 16 bit as was seen, though the documentation says MP3."""
    raw, seconds = sound.speak(request.body["prompt"], sound.FORMATS["linear16"], _MELO_RATE, "melo")
    return ModelResult({"audio": base64_text(raw)}, audio_usage(seconds))


def _timed_words(heard: sound.Recording) -> list[dict[str, Any]]:
    """Return the words of a recording with their times in seconds, by their share of its letters."""
    text, found, place = heard.text, [], 0
    for word in text.split():
        start = text.index(word, place)
        place = start + len(word)
        times = (round(at / len(text) * heard.seconds, 3) for at in (start, place))
        found.append({"word": word, **dict(zip(("start", "end"), times, strict=True))})
    return found


def _timed_sentences(heard: sound.Recording) -> list[dict[str, Any]]:
    """Return the sentences of a recording, each with its times and its words."""
    left, found = _timed_words(heard), []
    for sentence in lexical.sentences(heard.text):
        count = len(sentence.split())
        inner, left = left[:count], left[count:]
        if inner:
            found.append({"start": inner[0]["start"], "end": inner[-1]["end"], "text": sentence, "words": inner})
    return found


def _subtitles(parts: Sequence[dict[str, Any]]) -> str:
    """Return sentences as WebVTT."""
    cues = [f"{_clock(part['start'])} --> {_clock(part['end'])}\n{part['text']}" for part in parts]
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours, minutes = whole // 3_600_000, whole // 60_000 % 60
    return (f"{hours:02}:" if hours else "") + f"{minutes:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _recording_texts(request: ModelRequest) -> list[str]:
    return [request.fingerprint("audio")]


def _whisper(request: ModelRequest) -> ModelResult:
    """Return the text, its words and its subtitles."""
    heard = sound.listen(request.media_bytes("audio"))
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
    heard = sound.listen(decode_bytes(request.body["audio"]))
    about = {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.2, "no_speech_prob": 0.0}
    parts = _timed_sentences(heard)
    seconds = round(heard.seconds, 3)
    info = {
        "language": request.body.get("language", "en"),
        "language_probability": 1.0,
        "duration": seconds,
        "duration_after_vad": seconds,
    }
    result = {
        "transcription_info": info,
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
    heard = sound.listen(request.content)
    more = {"confidence": 0.99, **({"speaker": 0} if request.body.get("diarize") else {})}
    alternative = {
        "transcript": heard.text,
        "confidence": 0.99,
        "words": [{**word, **more} for word in _timed_words(heard)],
    }
    channel: dict[str, Any] = {"alternatives": [alternative]}
    if request.body.get("detect_language"):
        channel["detected_language"] = "en"
    return ModelResult({"results": {"channels": [channel]}}, audio_usage(heard.seconds))


_WORDS = array(obj({"word": STRING, **each("start end", NUMBER)}))
_WHISPER_OUTPUT = obj({"word_count": NUMBER, "words": _WORDS, "vtt": STRING}, text=STRING)
_SEGMENT_NUMBERS = each("start end temperature avg_logprob compression_ratio no_speech_prob", NUMBER)
_TURBO_OUTPUT = obj(
    {
        "word_count": NUMBER,
        "vtt": STRING,
        "transcription_info": obj(
            {"language": STRING, **each("language_probability duration duration_after_vad", NUMBER)}
        ),
        "segments": array(obj({**_SEGMENT_NUMBERS, "text": STRING, "words": _WORDS})),
    },
    text=STRING,
)
_NOVA_WORDS = array(obj({"word": STRING, **each("confidence start end", NUMBER)}))
_ALTERNATIVE = obj({"confidence": NUMBER, "transcript": STRING, "words": _NOVA_WORDS})
_NOVA_OUTPUT = obj({"results": obj({"channels": array(obj({"alternatives": array(_ALTERNATIVE)}))})})

FAMILIES = {
    "aura": Family(_aura_input, BINARY, lambda request: [request.body["text"]], _aura, threaded=True),
    "melotts": Family(
        obj({"lang": STRING}, prompt={"type": "string", "minLength": 1}),
        any_of(obj({"audio": STRING}), BINARY),
        lambda request: [request.body["prompt"]],
        _melo,
        threaded=True,
    ),
    "whisper": Family(
        or_raw_bytes(obj(audio=array(BYTE))),
        _WHISPER_OUTPUT,
        _recording_texts,
        _whisper,
        unless_raw,
        forms=frozenset({"json", "raw"}),
        threaded=True,
    ),
    "whisper-turbo": Family(_TURBO_INPUT, _TURBO_OUTPUT, _recording_texts, _turbo, threaded=True),
    "nova-3": Family(_NOVA_INPUT, _NOVA_OUTPUT, _recording_texts, _nova, forms=frozenset({"raw"}), threaded=True),
}
