"""Pictures, recordings and videos that are sent beside a state: how many are accepted, and their content in words.

Called by Clef and Clairic. Videos are not looked at: of an MP4 only the length is read, from its header.
"""

from __future__ import annotations

from ..error_codes import refuse
from ..model_catalogue import image_tokens
from ..schemas.json_schema import STRING, Schema, any_of, array, obj
from ..standins import sound
from ..standins.image_reading import read_image
from .family import ModelRequest, decode_bytes

_MEGABYTE = 1 << 20
#: Field -> (largest number, prefix of a data URL, largest size in bytes).
FIELDS = {
    "images": (4, "image", 4 * _MEGABYTE),
    "audio": (4, "audio", 8 * _MEGABYTE),
    "videos": (2, "video", 16 * _MEGABYTE),
}
#: Largest size in bytes of several fields together.
_TOGETHER = {("images",): 8 * _MEGABYTE, ("audio", "videos"): 16 * _MEGABYTE}
_FORMATS = ("PNG", "JPEG", "WEBP")
_MOST_PIXELS, _MOST_AUDIO_SECONDS, _MOST_VIDEO_SECONDS = 16_000_000, 300, 60
#: Input tokens of a recording, and of a video of unknown length; estimates, since none are published.
_TOKENS = 1024
#: Input tokens of a second of video: the published maximum.
_PER_SECOND = 256


def schemas(*names: str) -> dict[str, Schema]:
    """Return the schemas of fields."""
    return {name: _schema(name) for name in names}


def _schema(name: str) -> Schema:
    most, prefix, _ = FIELDS[name]
    url = {"type": "string", "pattern": f"^data:{prefix}/"}
    return array(any_of(url, obj(content_type=STRING, base64=STRING)), maxItems=most)


def input_texts(request: ModelRequest, state: str) -> list[str]:
    """Return the state as the one input text, with a short name of the media beside it."""
    has_media = any(request.body.get(name) for name in FIELDS)
    return [f"{state}\n[{request.fingerprint(*FIELDS)}]" if has_media else state]


def _bytes(request: ModelRequest, name: str) -> list[bytes]:
    return [decode_bytes(item if isinstance(item, str) else item["base64"]) for item in request.body.get(name, [])]


def check_sizes(request: ModelRequest) -> None:
    """Refuse (5021) what is too large by itself or together."""
    sizes = {name: [len(raw) for raw in _bytes(request, name)] for name in FIELDS}
    for name, (_, _, most) in FIELDS.items():
        for size in sizes[name]:
            if size > most:
                raise _too_much(request, size // 64)
    for names, most in _TOGETHER.items():
        whole = sum(sum(sizes[name]) for name in names)
        if whole > most:
            raise _too_much(request, whole // 64)


def _too_much(request: ModelRequest, wanted: int) -> Exception:
    return refuse(5021, wanted=wanted, context=request.model.context)


def describe(request: ModelRequest) -> tuple[str, int]:
    """Return the content of pictures and recordings in words, and the input tokens of all media.

    Raises
    ------
    ServiceError
        5006 for a picture that is not PNG, JPEG or WebP, 5021 for one of more than 16 megapixels, for a recording of
        more than 300 s and a video of more than 60, 8001 for bytes that are none of these.
    """
    texts: list[str | None] = []
    count = 0
    for place, raw in enumerate(_bytes(request, "images")):
        seen = read_image(raw)
        if seen.form not in _FORMATS:
            raise refuse(5006, why=f"'/images/{place}' is {seen.form}, not PNG, JPEG or WebP")
        if seen.width * seen.height > _MOST_PIXELS:
            raise _too_much(request, seen.width * seen.height // 1024)
        texts.append(seen.caption())
        count += image_tokens(seen.width, seen.height)
    for raw in _bytes(request, "audio"):
        heard = sound.listen(raw)
        if heard.seconds > _MOST_AUDIO_SECONDS:
            raise _too_much(request, round(heard.seconds * 25))
        texts.append(heard.text)
        count += _TOKENS
    for raw in _bytes(request, "videos"):
        seconds = _length(raw)
        if seconds is not None and seconds > _MOST_VIDEO_SECONDS:
            raise _too_much(request, round(seconds * _PER_SECOND))
        count += _TOKENS if seconds is None else max(1, round(seconds * _PER_SECOND))
    return "\n".join(filter(None, texts)), count


def _length(video: bytes) -> float | None:
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
