"""Detect: things in each picture, and the boxes they are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InputError, check_count
from ..media import Media, media_in
from ..models import Model, Usage
from .dialects import values
from .dialects.request import Answer, Cells, Input, Json, Request, reading, tokens_of
from .task import Task


@dataclass(frozen=True, kw_only=True)
class Detect(Task):
    """Find things in each picture, with the box each is in.

    Attributes
    ----------
    target : str, optional
        What to look for, such as "person" (moondream needs it; detr-resnet-50 finds the kinds it was trained on).
    max_boxes : int
        The most boxes a picture may have.

    Notes
    -----
    The result is a Series of lists, empty where nothing was found.  Each box is a dict: ``label``, ``score`` (None
    where the model gives none), and ``xmin``, ``ymin``, ``xmax``, ``ymax`` in pixels from the upper left.
    """

    name: ClassVar[str] = "detect"
    default_model: ClassVar[str | Model] = "detect"
    positional: ClassVar[tuple[str, ...]] = ("target",)
    families: ClassVar[frozenset[str]] = frozenset({"moondream", "detr"})
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})

    target: str | None = None
    max_boxes: int = 50

    def check(self, model: Model) -> None:
        super().check(model)
        if model.family == "moondream" and not (self.target and self.target.strip()):
            raise ValueError(f'{model.id} looks for one thing: give target=, such as "person".')
        check_count(max_boxes=self.max_boxes)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        (picture,) = media_in(inputs[0])
        if model.family == "detr":
            return Request(content=picture.content(), content_type=picture.form.mime)
        wanted: dict[str, Json] = {"task": "detect", "target": self.target, "max_objects": self.max_boxes}
        return Request(json={**wanted, "image": picture.data_uri()})

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the boxes in pixels; moondream's are shares of width and height."""
        (picture,) = media_in(inputs[0])
        with reading("boxes"):
            if model.family == "detr":
                boxes = [self._box(one["label"], one["score"], one["box"]) for one in answer.json]
            else:
                boxes = [self._scaled(one, picture) for one in answer.json["objects"]]
        wanted = (self.target or "").strip().lower()
        return [[box for box in boxes if model.family != "detr" or wanted in box["label"].lower()][: self.max_boxes]]

    def _box(self, label: Any, score: Any, box: Mapping[str, Any]) -> dict[str, Any]:
        sides = {name: round(values.number(box[name]), 1) for name in ("xmin", "ymin", "xmax", "ymax")}
        return {"label": values.text(label), "score": None if score is None else values.probability(score), **sides}

    def _scaled(self, box: Mapping[str, Any], picture: Media) -> dict[str, Any]:
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
