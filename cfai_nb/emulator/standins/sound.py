"""Recordings that can be played, and read back.

Speech is a tune: every letter lasts one fifteenth of a second, vowels ring, consonants are struck, spaces are silent.
The words are kept in the file's own metadata (a WAV INFO chunk; the comment of MP3, FLAC and OGG), where
:func:`listen` finds them. Other software drops them on conversion; then, as for any other recording, only the length
is known.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..error_codes import refuse

#: Letters per second: about the pace of speech.
PACE = 15
_MARK = "emulator:"
_VOWELS = frozenset("aeiouyäöüáéíóúàèìòùâêîôûåæø")
_SCALE = (0, 2, 4, 7, 9, 12, 14, 16, 19)
#: Formats that cannot be read here; they are reported as unknown rather than broken.
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
    """Return the file of a spoken text, and its seconds.

    Parameters
    ----------
    text : str
        The text to speak.
    format : Format
        The file format. ``RAW`` has no metadata, so the words cannot be read back.
    rate : int
        Samples per second.
    voice : str
        Name of the voice; it sets the pitch.
    """
    import soundfile

    sound = tune(text, rate, voice)
    out = io.BytesIO()
    more: dict[str, Any] = {"compression_level": 0.75, "bitrate_mode": "CONSTANT"} if format.major == "MP3" else {}
    note = _MARK + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")
    form = {"format": format.major, "subtype": format.subtype}
    with soundfile.SoundFile(out, "w", samplerate=rate, channels=1, **form, **more) as file:
        if format.major in ("MP3", "FLAC", "OGG"):
            file.comment = note
        file.write(sound)
    raw = out.getvalue()
    return (_noted(raw, note) if format.major == "WAV" else raw), len(sound) / rate


def tune(text: str, rate: int, voice: str = "") -> NDArray[np.int16]:
    """Return the samples of a spoken text, ``len(text) / 15`` seconds of them."""
    letters = sorted(set(text)) or [" "]
    pitch = 150.0 + hashlib.blake2b(voice.encode(), digest_size=1).digest()[0] / 2
    length = rate // PACE
    table = np.stack([_letter(sign.casefold(), pitch, length, rate) for sign in letters])
    places = {sign: place for place, sign in enumerate(letters)}
    samples: NDArray[np.int16] = table[[places[sign] for sign in text or " "]].reshape(-1)
    return samples


def _letter(sign: str, pitch: float, length: int, rate: int) -> NDArray[np.int16]:
    if not sign.isalnum():
        return np.zeros(length, np.int16)
    time = np.arange(length) / rate
    high = pitch * 2 ** (_SCALE[ord(sign[0]) % len(_SCALE)] / 12)
    vowel = sign in _VOWELS
    wave = sum(np.sin(2 * np.pi * high * n * time) / n**1.5 for n in ((1, 2, 3) if vowel else (1, 4)))
    fall = (
        np.sin(np.pi * np.arange(length) / length) ** 0.6 if vowel else np.exp(-30 * time) * np.minimum(1, time * 400)
    )
    return np.asarray(wave * fall * (7000 if vowel else 5000), np.int16)


def listen(raw: bytes) -> Recording:
    """Return the length and the words of a recording.

    Raises
    ------
    ServiceError
        5007 for a format that the emulator cannot read, 8001 when the bytes are not a recording.
    """
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
    return Recording(seconds, _words(note))


def _words(note: str) -> str | None:
    if not note.startswith(_MARK):
        return None
    try:
        return base64.b64decode(note.removeprefix(_MARK), validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        return None


def _noted(wave: bytes, note: str) -> bytes:
    """Return a WAV file with a comment, since libsndfile drops long ones."""
    text = note.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFOICMT" + struct.pack("<I", len(text)) + text
    whole = wave + b"\0" * (len(wave) % 2) + b"LIST" + struct.pack("<I", len(info)) + info
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def _note(wave: bytes) -> str:
    """Return the comment of a WAV file, or an empty text."""
    place = 12
    while place + 8 <= len(wave):
        name, size = wave[place : place + 4], int.from_bytes(wave[place + 4 : place + 8], "little")
        if name == b"LIST" and wave[place + 8 : place + 16] == b"INFOICMT":
            length = int.from_bytes(wave[place + 16 : place + 20], "little")
            return wave[place + 20 : place + 20 + length].rstrip(b"\0").decode("ascii", "replace")
        place += 8 + size + size % 2
    return ""
