"""The dialects of models for sound, speech and pictures, by their published input schemas and pages (2026-11-21).

Recognizers take a recording and return the same form of cell for every model; synthesizers have voices and formats;
detectors return boxes; text-to-image models have settings, each with its own ranges and defaults.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import AnswerError, InputError, is_number
from ...media import Audio, Media, media_in, mime_of, sniff, text_of
from ...models import Model, Usage, catalogue, names_of_models
from . import values
from .request import Answer, Cell, ColumnKind, Input, Json, Request, reading, seconds_of, tokens_of

# Options of each family that recognizes speech.
_OPTIONS = {
    "whisper": frozenset[str](),
    "whisper-turbo": frozenset({"language", "translate_to_english", "prompt"}),
    "nova-3": frozenset({"language", "prompt", "speakers"}),
}
RECOGNIZERS = frozenset(_OPTIONS)
#: The members of a transcript, and the kinds of their columns.
COLUMNS: dict[str, ColumnKind] = {
    "text": "text", "language": "text", "seconds": "number", "words": "object", "segments": "object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recognition:
    """The options of one task that recognizes speech."""

    language: str | None = None
    translate_to_english: bool = False
    prompt: str | None = None
    speakers: bool = False

    def check(self, model: Model) -> None:
        given = {name for name in self.__slots__ if getattr(self, name)}
        if unable := sorted(given - _OPTIONS[model.family or ""]):
            able = " or ".join(family for family, names in _OPTIONS.items() if given <= names)
            raise ValueError(f"{model.id} has no {', '.join(unable)}; leave it out{able and f', or use {able}'}.")

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request: base64 in JSON, or the bytes themselves with the options in the address."""
        (sound,) = media_in(value)
        if model.family == "whisper-turbo":
            task = "translate" if self.translate_to_english else "transcribe"
            body: dict[str, Json] = {"audio": sound.base64(), "task": task}
            body |= {"language": self.language} if self.language else {}
            return Request(json=body | ({"initial_prompt": self.prompt} if self.prompt else {}))
        query: dict[str, str | list[str]] = {}
        if model.family == "nova-3":
            query = {"punctuate": "true", "smart_format": "true"}
            query |= {"language": self.language} if self.language else {"detect_language": "true"}
            query |= {"keyterm": self.prompt.split()} if self.prompt else {}
            query |= {"diarize": "true"} if self.speakers else {}
        return Request(content=sound.content(), content_type=sound.form.mime, query=query)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        return Usage({"audio_minutes": sum(seconds_of(media_in(each)[0]) for each in inputs) / 60})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return a cell of ``COLUMNS``; the text of silence is empty, and a missing text raises an AnswerError."""
        (sound,) = media_in(value)
        with reading("text"):
            cell = _nova(answer.json) if model.family == "nova-3" else _whisper(answer.json)
        return {**cell, "seconds": cell["seconds"] or sound.form.seconds}


def _whisper(output: Json) -> Cell:
    info, segments = output.get("transcription_info") or {}, _dicts(output.get("segments"))
    words = _dicts(output.get("words")) or [word for segment in segments for word in _dicts(segment.get("words"))]
    kept = [{name: segment.get(name) for name in ("start", "end", "text")} for segment in segments]
    return _cell(output["text"], info.get("language"), info.get("duration"), words, kept)


def _nova(output: Json) -> Cell:
    channel = output["results"]["channels"][0]
    best = channel["alternatives"][0]
    return _cell(best["transcript"], channel.get("detected_language"), None, _dicts(best.get("words")), [])


def _cell(text: Json, language: Json, seconds: Json, words: Json, segments: Json) -> Cell:
    return {
        "text": values.text(text).strip(), "language": language and values.text(language),
        "seconds": values.amount(seconds), "words": words, "segments": segments,
    }  # fmt: skip


def _dicts(found: Json) -> list[dict[str, Json]]:
    """Return a list of objects, which may be missing."""
    if not isinstance(found or [], list) or any(not isinstance(each, dict) for each in found or ()):
        raise ValueError(f"{values.quoted(found)} is not a list of objects")
    return found or []


#: Form of a file -> the options with which the aura models return it.
FORMATS: Mapping[str, Mapping[str, Json]] = {
    "mp3": {"encoding": "mp3"},
    "wav": {"encoding": "linear16", "container": "wav"},
    "flac": {"encoding": "flac"},
    "ogg": {"encoding": "opus", "container": "ogg"},
}
#: Characters spoken in a second, for estimates: English is read aloud at some 150 words a minute.
_CHARACTERS_PER_SECOND = 15


@dataclass(frozen=True, slots=True)
class Synthesis:
    """The options of one task that reads texts aloud."""

    voice: str | None = None
    language: str | None = None
    format: str | None = None

    def check(self, model: Model) -> None:
        """Refuse options the model would ignore, and a voice or a format it does not have."""
        if model.family == "melotts" and (self.voice or self.format):
            raise ValueError(
                f"{model.id} has one voice and one format; leave voice= and format= out, or use aura-2-en."
            )
        if model.family == "aura" and self.language:
            raise ValueError(f"{model.id} speaks one language; leave language= out, or use aura-2-es or melotts.")
        known = catalogue().voices.get(model.name, ())
        if self.voice is not None and known and self.voice not in known:
            raise ValueError(f"voice={self.voice!r}: {model.id} has {', '.join(known)}.")
        if self.format is not None and self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}: give one of {', '.join(FORMATS)}.")

    def build_request(self, value: Input, model: Model) -> Request:
        text = text_of(value)
        if model.family == "melotts":
            words = {"prompt": text} | ({"lang": self.language} if self.language else {})
            return Request(json=words, expected="media")
        body: dict[str, Json] = {"text": text} | ({"speaker": self.voice} if self.voice else {})
        return Request(json={**body, **FORMATS.get(self.format or "", {})}, expected="media")

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        return Audio(content_of(answer, "audio"))

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the characters, and estimate the minutes they take."""
        characters = float(sum(len(text_of(each)) for each in inputs))
        return Usage({"characters": characters, "audio_minutes": characters / _CHARACTERS_PER_SECOND / 60})


@dataclass(frozen=True, slots=True)
class Detection:
    """The options of one task that finds things in pictures."""

    target: str | None
    max_boxes: int

    def build_request(self, value: Input, model: Model) -> Request:
        (picture,) = media_in(value)
        if model.family == "detr":
            return Request(content=picture.content(), content_type=picture.form.mime)
        wanted: dict[str, Json] = {"task": "detect", "target": self.target, "max_objects": self.max_boxes}
        return Request(json={**wanted, "image": picture.data_uri()})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the boxes in pixels; moondream's are shares of width and height."""
        (picture,) = media_in(value)
        with reading("boxes"):
            if model.family == "detr":
                boxes = [self._box(one["label"], one["score"], one["box"]) for one in answer.json]
                if self.target and self.target.strip():  # it finds all kinds; a part of a name may be another kind
                    wanted = values.core(self.target)
                    boxes = [box for box in boxes if values.core(box["label"]) == wanted]
            else:
                boxes = [self._scaled(one, picture) for one in answer.json["objects"]]
        return boxes[: self.max_boxes]

    def _box(self, label: Json, score: Json, box: Mapping[str, Json]) -> dict[str, Json]:
        sides = {name: round(values.number(box[name]), 1) for name in ("xmin", "ymin", "xmax", "ymax")}
        return {"label": values.text(label), "score": None if score is None else values.probability(score), **sides}

    def _scaled(self, box: Mapping[str, Json], picture: Media) -> dict[str, Json]:
        width, height = picture.form.width, picture.form.height
        if width is None or height is None:
            raise InputError("the size of the picture is not known")
        sizes = {"x_min": width, "x_max": width, "y_min": height, "y_max": height}
        scaled = {name.replace("_", ""): values.number(box[name]) * size for name, size in sizes.items()}
        return self._box(self.target, None, scaled)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the pictures, and some 20 tokens a box."""
        read = float(sum(map(tokens_of, inputs)))
        return Usage({"input_tokens": read, "output_tokens": 20.0 * self.max_boxes * len(inputs)})


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of one family of text-to-image models: defaults and limits."""

    settings: Mapping[str, str]  #: The task's names -> its own.
    size: tuple[int, int] = (1024, 1024)
    sides: tuple[int, int] = (256, 2048)  #: The least and the most of width and height.
    steps: int = 20
    most_steps: int = 20
    pictures: int = 0  #: How many it can be given to start from.
    most_guidance: float = math.inf


_SIZED = {"width": "width", "height": "height", "seed": "seed", "guidance": "guidance"}
_LEONARDO = _SIZED | {"steps": "num_steps"}
_NEGATIVE = {"negative_prompt": "negative_prompt"}
PAINTERS: Mapping[str, Limits] = {
    "flux-1": Limits({"steps": "steps"}, steps=4, most_steps=8),
    "flux-2": Limits(_SIZED, (1024, 768), (256, 1920), steps=4, most_steps=4, pictures=4),
    "lucid": Limits(_LEONARDO, (1120, 1120), (1, 2500), steps=15, most_steps=40, most_guidance=10),
    "phoenix": Limits(_LEONARDO | _NEGATIVE, (1024, 1024), (1, 2048), steps=25, most_steps=50),
    "stable-diffusion": Limits(_LEONARDO | _NEGATIVE | {"strength": "strength"}, pictures=2),
}
#: flux-2-dev alone of its family has steps to choose; its default of 50 was measured.
_DEV = Limits(_SIZED | {"steps": "steps"}, (1024, 768), (256, 1920), steps=50, most_steps=50, pictures=4)
#: The largest side, in pixels, of an input picture of FLUX.2: "under 512x512".
_GIVEN_SIDE = 511
_TILE, _MEGAPIXEL = 512 * 512, 1024 * 1024


def limits(model: Model) -> Limits:
    """Return the settings of a model."""
    return _DEV if model.name == "flux-2-dev" else PAINTERS[model.family or ""]


def check_settings(given: Mapping[str, object], model: Model) -> None:
    """Refuse settings (by the task's names) that the model does not have, and values out of its range."""
    can = limits(model)
    if unknown := [name for name in given if name not in can.settings]:
        able = names_of_models(lambda other: other.family in PAINTERS and unknown[0] in limits(other).settings)
        what = "size" if unknown[0] in ("width", "height") else unknown[0]
        raise ValueError(f"{model.id} has no {what} to choose; leave {what}= out, or use {able}.")
    whole = {"width": can.sides, "height": can.sides, "steps": (1, can.most_steps), "seed": (0, 2**63)}
    for name, (least, most) in {**whole, "guidance": (0, can.most_guidance), "strength": (0, 1)}.items():
        value = given.get(name, least)
        if not is_number(value, whole=name in whole) or not least <= value <= most:
            kind = "whole numbers from " if name in whole else ""
            raise ValueError(f"{name}={value!r}: {model.id} takes {kind}{least} to {most}.")
    if not isinstance(given.get("negative_prompt", ""), str):
        raise ValueError(f"negative_prompt={given['negative_prompt']!r}: say in words what the picture must not show.")


def image_request(
    prompt: str, pictures: Sequence[Media], settings: Mapping[str, int | float | str], model: Model,
    at: int | None = None,
) -> Request:  # fmt: skip
    """Return the request in the model's own form; `at` is the place among several pictures of one prompt."""
    can = limits(model)
    if at is not None and "seed" in can.settings:  # each has a seed of its own
        settings = {**settings, "seed": int(settings.get("seed", 0)) + at}
    if not prompt:
        raise InputError("the row has no words to draw from; describe the picture in the template, beside its column")
    if len(pictures) > can.pictures:
        raise InputError(f"{model.id} takes {can.pictures or 'no'} pictures, and the row holds {len(pictures)}")
    named = {can.settings[name]: value for name, value in settings.items()}
    if model.family == "flux-2":
        form: dict[str, str | tuple[str, bytes, str]] = {"prompt": prompt}
        form |= {name: str(value) for name, value in named.items()}
        for at, picture in enumerate(pictures):
            form[f"input_image_{at}"] = (f"{at}.png", picture.resized(_GIVEN_SIDE), "image/png")
        return Request(form=form, expected="media")
    body: dict[str, Json] = {"prompt": prompt, **named}
    if pictures:
        body["image_b64"] = pictures[0].base64()
    if len(pictures) > 1:
        body["mask"] = list(pictures[1].content())
    return Request(json=body, expected="media")


def image_usage(settings: Mapping[str, int | float | str], pictures: int, model: Model) -> Usage:
    """Return what one picture uses, in every unit that models are priced in; each picture given counts as one tile.

    A tile is 512 x 512 pixels, and a price "per step" is per step and tile: that fits three measured bills to the cent
    (172.8 Neurons for flux-1-schnell at 1024 x 1024 in 4 steps, 3,904.69 for lucid-origin at 1120 x 1120 in 15, 3,120
    for phoenix at 1024 x 1024 in 25).
    """
    can = limits(model)
    pixels = int(settings.get("width", can.size[0])) * int(settings.get("height", can.size[1]))
    steps, tiles, megapixels = int(settings.get("steps", can.steps)), pixels / _TILE, pixels / _MEGAPIXEL
    return Usage({
        "images": 1.0, "tiles": tiles, "steps": tiles * steps, "tile_steps": tiles * steps,
        "input_tiles": float(pictures), "input_tile_steps": float(pictures * steps),
        "first_megapixels": 1.0, "more_megapixels": max(0.0, megapixels - 1),
        "input_megapixels": pictures * _TILE / _MEGAPIXEL,
    })  # fmt: skip


def content_of(answer: Answer, kind: Literal["image", "audio"]) -> bytes:
    """Return the picture or sound of an answer, which comes as bytes or as base64 in JSON; or raise an AnswerError."""
    content = answer.content
    try:
        if not mime_of(content).startswith(f"{kind}/"):
            content = base64.b64decode(answer.json[kind].rpartition(",")[2], validate=True)
        if (found := sniff(content)).kind != kind:
            raise ValueError(f"it is {found.mime}")
    except (AttributeError, KeyError, TypeError, ValueError, InputError) as error:
        what = "picture" if kind == "image" else "sound"
        raise AnswerError(f"the answer holds no {what}: {error}", "broken", again=True) from None
    return content


#: Languages of descriptions, and the most pictures that are described of a file (Cloudflare's page on conversion).
_LANGUAGES, _DESCRIBED = ("en", "it", "de", "es", "fr", "pt"), 10


@dataclass(frozen=True)
class Conversion:
    """How documents are converted; None leaves an option to the service."""

    css: str | None
    output: str
    metadata: bool | None
    language: str | None
    max_images: int | None

    def check(self) -> None:
        """Refuse options that the service does not take."""
        if self.output not in ("markdown", "text"):
            raise ValueError(f'output={self.output!r}: give "markdown" or "text".')
        if self.language is not None and self.language not in _LANGUAGES:
            raise ValueError(f"language={self.language!r}: pictures are described in {', '.join(_LANGUAGES)}.")
        most = self.max_images
        if most is not None and not (is_number(most, whole=True) and 0 <= most <= _DESCRIBED):
            raise ValueError(f"max_images={most!r}: give 0 to {_DESCRIBED} pictures of a document.")
        if self.css is not None and not (isinstance(self.css, str) and self.css.strip()):
            raise ValueError(f"css={self.css!r}: give a selector, such as 'article'.")

    def form(self) -> dict[str, str]:
        """Return the fields of the form: as JSON, the options that differ from the service's own."""
        found: dict[str, dict[str, Json]] = {}
        if self.output != "markdown":
            found["output"] = {"format": self.output}
        if self.css is not None:
            found["html"] = {"cssSelector": self.css}
        if self.metadata is not None:
            found["pdf"] = {"metadata": self.metadata}
        if self.language is not None:
            found["image"] = {"descriptionLanguage": self.language}
        if (most := self.max_images) is not None:
            images: Json = {"convert": True, "maxConvertedImages": most} if most else {"convert": False}
            for kind in ("html", "pdf", "docx"):
                found.setdefault(kind, {})["images"] = images
        return {"conversionOptions": json.dumps(found)} if found else {}
