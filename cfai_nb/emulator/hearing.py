"""Hearing: sound in, text out, with the time of every word. Each family has its own way in and its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import media, sound, units, words
from .catalogue import Model
from .checks import Schema
from .shapes import BOOLEAN, NUMBER, OBJECT, STRING, array, obj, one
from .work import Ask, Family, Work

Word = dict[str, Any]


def timed(heard: sound.Heard) -> list[Word]:
    """Return the words of a recording with their seconds, spread over its length by their letters."""
    text, found, place = heard.text, [], 0
    for word in text.split():
        start = text.index(word, place)
        place = start + len(word)
        times = (round(at / len(text) * heard.seconds, 3) for at in (start, place))
        found.append({"word": word, **dict(zip(("start", "end"), times, strict=True))})
    return found


def phrases(heard: sound.Heard) -> list[dict[str, Any]]:
    """Return the sentences of a recording, each with its seconds and its words."""
    left, found = timed(heard), []
    for sentence in words.sentences(heard.text):
        count = len(sentence.split())
        inner, left = left[:count], left[count:]
        if inner:
            found.append({"start": inner[0]["start"], "end": inner[-1]["end"], "text": sentence, "words": inner})
    return found


def subtitles(parts: Sequence[dict[str, Any]]) -> str:
    """Return sentences as WebVTT."""
    cues = [f"{_clock(part['start'])} --> {_clock(part['end'])}\n{part['text']}" for part in parts]
    return "\n\n".join(["WEBVTT", *cues]) + "\n"


def _clock(seconds: float) -> str:
    whole = round(seconds * 1000)
    hours, minutes = whole // 3_600_000, whole // 60_000 % 60
    return (f"{hours:02}:" if hours else "") + f"{minutes:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"


def _texts(ask: Ask) -> list[str]:
    return [media.named(ask, "audio")]


def whisper_input(model: Model) -> Schema:
    """The bytes of a recording, bare or as numbers."""
    return media.or_raw(obj({"audio": array({"type": "number", "minimum": 0, "maximum": 255})}, "audio"))


def whisper(ask: Ask) -> Work:
    """Return the text, its words and its subtitles."""
    heard = sound.listen(media.given(ask, "audio"))
    found = timed(heard)
    result = {"text": heard.text, "word_count": len(found), "words": found, "vtt": subtitles(phrases(heard))}
    return Work(result, units.sound(heard.seconds))


def turbo_input(model: Model) -> Schema:
    """The recording as base64, and the options of the decoder."""
    texts = dict.fromkeys(("audio", "language", "initial_prompt", "prefix"), STRING)
    flags = dict.fromkeys(("vad_filter", "condition_on_previous_text"), BOOLEAN)
    thresholds = ("no_speech", "compression_ratio", "log_prob", "hallucination_silence")
    numbers = dict.fromkeys(("beam_size", *(f"{name}_threshold" for name in thresholds)), NUMBER)
    return obj({**texts, "task": one("transcribe", "translate"), **flags, **numbers}, "audio")


def turbo(ask: Ask) -> Work:
    """Return the text in segments, each with its words, and what was made of the recording as a whole."""
    heard = sound.listen(media.octets(ask.body["audio"]))
    about = {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.2, "no_speech_prob": 0.0}
    parts = phrases(heard)
    seconds = round(heard.seconds, 3)
    info = {
        "language": ask.body.get("language", "en"),
        "language_probability": 1.0,
        "duration": seconds,
        "duration_after_vad": seconds,
    }
    result = {
        "transcription_info": info,
        "text": heard.text,
        "word_count": sum(len(part["words"]) for part in parts),
        "segments": [{**part, **about} for part in parts],
        "vtt": subtitles(parts),
    }
    return Work(result, units.sound(heard.seconds))


def nova_input(model: Model) -> Schema:
    """The recording beside its options. On the wire it is the body and they are the query: JSON is refused."""
    flags = (
        "detect_entities detect_language diarize dictation filler_words measurements mip_opt_out multichannel numerals "
        "paragraphs profanity_filter punctuate sentiment smart_format topics utterances interim_results vad_events "
        "utterance_end_ms"
    )
    lines = "custom_topic custom_intent extra keyterm keywords language redact replace search endpointing"
    fields: dict[str, Any] = {
        "audio": obj({"body": OBJECT, "contentType": STRING}, "body", "contentType"),
        "custom_topic_mode": one("extended", "strict"),
        "custom_intent_mode": one("extended", "strict"),
        "encoding": one("linear16", "flac", "mulaw", "amr-nb", "amr-wb", "opus", "speex", "g729"),
        "mode": one("general", "medical", "finance"),
        **dict.fromkeys(flags.split(), BOOLEAN),
        **dict.fromkeys(lines.split(), STRING),
        **dict.fromkeys(("utt_split", "channels"), NUMBER),
    }
    return obj(fields, "audio")


def nova(ask: Ask) -> Work:
    """Return Deepgram's nest of channels and alternatives."""
    heard = sound.listen(ask.content)
    more = {"confidence": 0.99, **({"speaker": 0} if ask.body.get("diarize") else {})}
    alternative = {
        "transcript": heard.text,
        "confidence": 0.99,
        "words": [{**word, **more} for word in timed(heard)],
    }
    channel: dict[str, Any] = {"alternatives": [alternative]}
    if ask.body.get("detect_language"):
        channel["detected_language"] = "en"
    return Work({"results": {"channels": [channel]}}, units.sound(heard.seconds))


_WORDS = array(obj({"word": STRING, "start": NUMBER, "end": NUMBER}))


def _whisper_output(model: Model) -> Schema:
    return obj({"text": STRING, "word_count": NUMBER, "words": _WORDS, "vtt": STRING}, "text")


def _turbo_output(model: Model) -> Schema:
    info = {"language": STRING, **dict.fromkeys(("language_probability", "duration", "duration_after_vad"), NUMBER)}
    names = ("start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
    segment = obj({**dict.fromkeys(names, NUMBER), "text": STRING, "words": _WORDS})
    fields = {"text": STRING, "word_count": NUMBER, "vtt": STRING, "transcription_info": obj(info)}
    return obj({**fields, "segments": array(segment)}, "text")


def _nova_output(model: Model) -> Schema:
    word = obj({"word": STRING, **dict.fromkeys(("confidence", "start", "end"), NUMBER)})
    alternative = obj({"confidence": NUMBER, "transcript": STRING, "words": array(word)})
    return obj({"results": obj({"channels": array(obj({"alternatives": array(alternative)}))})})


FAMILIES = {
    "whisper": Family(
        whisper_input, _whisper_output, _texts, whisper, media.check, forms=frozenset({"json", "raw"}), threaded=True
    ),
    "whisper-turbo": Family(turbo_input, _turbo_output, _texts, turbo, threaded=True),
    "nova-3": Family(nova_input, _nova_output, _texts, nova, forms=frozenset({"raw"}), threaded=True),
}
