"""Along: pictures, recordings and videos that come with a state. How much may come, and what is in it, in words.

Nobody watches videos: of one it is only known how long it is, where its container is an MP4.
"""

from __future__ import annotations

from . import media, sight, sound, units
from .checks import Schema
from .errors import refuse
from .shapes import STRING, any_of, array, obj
from .work import Ask

_MEGABYTE = 1 << 20
#: Field -> (how many, prefix of a data URL, bytes each).
FIELDS = {
    "images": (4, "image", 4 * _MEGABYTE),
    "audio": (4, "audio", 8 * _MEGABYTE),
    "videos": (2, "video", 16 * _MEGABYTE),
}
#: Bytes of several fields together.
_TOGETHER = {("images",): 8 * _MEGABYTE, ("audio", "videos"): 16 * _MEGABYTE}
_FORMATS = ("PNG", "JPEG", "WEBP")
_MOST_PIXELS, _MOST_HEARD, _MOST_WATCHED = 16_000_000, 300, 60
#: Input tokens of a recording, and of a video whose length is not known; estimates, none are published.
_TOKENS = 1024
#: Input tokens of a second of video: the most there are.
_PER_SECOND = 256


def schemas(*names: str) -> dict[str, Schema]:
    """Return the schemas of fields."""
    return {name: _schema(name) for name in names}


def _schema(name: str) -> Schema:
    most, prefix, _ = FIELDS[name]
    url = {"type": "string", "pattern": f"^data:{prefix}/"}
    return array(any_of(url, obj({"content_type": STRING, "base64": STRING}, "content_type", "base64")), maxItems=most)


def carried(ask: Ask) -> bool:
    """Tell whether anything came along."""
    return any(ask.body.get(name) for name in FIELDS)


def named(ask: Ask) -> str:
    """Return a short name of all that came along."""
    return media.named(ask, *FIELDS)


def _bytes(ask: Ask, name: str) -> list[bytes]:
    return [media.octets(item if isinstance(item, str) else item["base64"]) for item in ask.body.get(name, [])]


def weigh(ask: Ask) -> None:
    """Refuse (5021) what is too large by itself or together."""
    sizes = {name: [len(raw) for raw in _bytes(ask, name)] for name in FIELDS}
    for name, (_, _, most) in FIELDS.items():
        for size in sizes[name]:
            if size > most:
                raise _too_much(ask, size // 64)
    for names, most in _TOGETHER.items():
        whole = sum(sum(sizes[name]) for name in names)
        if whole > most:
            raise _too_much(ask, whole // 64)


def _too_much(ask: Ask, wanted: int) -> Exception:
    return refuse(5021, wanted=wanted, context=ask.model.context)


def witness(ask: Ask) -> tuple[str, int]:
    """Return what the pictures show and the recordings say, and the input tokens of all.

    Raises
    ------
    Refusal
        5006 for a picture that is no PNG, JPEG or WebP, 5021 for one of more than 16 megapixels, for a recording of
        more than 300 s and a video of more than 60, 8001 for bytes that are none of these.
    """
    said: list[str | None] = []
    count = 0
    for place, raw in enumerate(_bytes(ask, "images")):
        seen = sight.look(raw)
        if seen.form not in _FORMATS:
            raise refuse(5006, why=f"'/images/{place}' is {seen.form}, not PNG, JPEG or WebP")
        if seen.width * seen.height > _MOST_PIXELS:
            raise _too_much(ask, seen.width * seen.height // 1024)
        said.append(seen.caption())
        count += units.looked(seen.width, seen.height)
    for raw in _bytes(ask, "audio"):
        heard = sound.listen(raw)
        if heard.seconds > _MOST_HEARD:
            raise _too_much(ask, round(heard.seconds * 25))
        said.append(heard.text)
        count += _TOKENS
    for raw in _bytes(ask, "videos"):
        seconds = _length(raw)
        if seconds is not None and seconds > _MOST_WATCHED:
            raise _too_much(ask, round(seconds * _PER_SECOND))
        count += _TOKENS if seconds is None else max(1, round(seconds * _PER_SECOND))
    return "\n".join(filter(None, said)), count


def _length(video: bytes) -> float | None:
    """Return the seconds that the header of an MP4 tells, ``None`` where it tells none or the file is a WebM."""
    if video[:4] == b"\x1aE\xdf\xa3":
        return None
    if video[4:8] != b"ftyp":
        raise refuse(8001, text="Invalid input: these bytes are no video")
    head = video.find(b"mvhd") + 4
    if head < 4:
        return None
    # version, flags, two dates, ticks a second, ticks; version 1 has wide dates and ticks
    at, wide = (head + 20, 8) if video[head : head + 1] == b"\1" else (head + 12, 4)
    ticks = int.from_bytes(video[at : at + 4], "big")
    return int.from_bytes(video[at + 4 : at + 4 + wide], "big") / ticks if ticks else None
