"""Image: a prompt per row, and the pictures a model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import check_count
from ..media import Image, media_in, text_of
from ..models import Model, Usage
from .dialects import media
from .dialects.request import Answer, Cell, Cells, Conversation, Input
from .task import Task


@dataclass(frozen=True, kw_only=True)
class GenerateImage(Task):
    """Draw a picture of each row: fill the template, and return the picture the model makes.

    A template may name columns of pictures to start from: ``"{photo} as a watercolour"`` (FLUX.2: up to four; Stable
    Diffusion: one, and then a second one as the mask of the part to paint again).

    Attributes
    ----------
    size : int or (width, height), optional
        In pixels; the model's own otherwise.
    steps : int, optional
        More steps give more detail and cost more.
    seed : int, optional
        The same seed and prompt give the same picture.
    guidance : float, optional
        How closely the prompt is followed.
    negative_prompt : str, optional
        What the picture must not show.
    strength : float, optional
        How far to go from the picture it starts from, 0 to 1.
    n : int
        Pictures; with more than one, each row holds a list, and ``df.explode(column)`` makes a row of each.

    Notes
    -----
    One request per distinct row and picture: ``n`` pictures cost ``n`` times as much, and those made before a Stop are
    kept.  They have the seeds ``seed``, ``seed + 1``, ... (from 0 without ``seed``), where the model takes one.
    A setting that the model lacks is refused before anything is sent.  A cell is a ``cf.Image``, which shows itself.
    """

    name: ClassVar[str] = "image"
    default_model: ClassVar[str | Model] = "image"
    template: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = frozenset(media.PAINTERS)
    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})
    media_bytes: ClassVar[int] = 1_500_000

    size: int | tuple[int, int] | None = None
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    strength: float | None = None
    n: int = 1

    def input_kinds(self, model: Model) -> frozenset[str]:
        return self.kinds if media.limits(model).pictures else frozenset({"text"})

    def settings(self) -> dict[str, int | float | str]:
        """Return the settings that are given, by the names of this task."""
        width, height = (self.size, self.size) if isinstance(self.size, int) else self.size or (None, None)
        named = {name: getattr(self, name) for name in ("steps", "seed", "guidance", "negative_prompt", "strength")}
        every = {"width": width, "height": height, **named}
        return {name: value for name, value in every.items() if value is not None}

    def check(self, model: Model) -> None:
        super().check(model)
        check_count(n=self.n)
        if not isinstance(self.size, int | None) and not (isinstance(self.size, (tuple, list)) and len(self.size) == 2):
            raise ValueError(f"size={self.size!r}: give a number of pixels, or (width, height).")
        media.check_settings(self.settings(), model)

    def conversation(self, inputs: Sequence[Input], model: Model) -> Conversation:
        cells: list[Cell] = []
        for at in range(self.n):
            asked = text_of(inputs[0]), media_in(inputs[0]), self.settings(), model, at if self.n > 1 else None
            cells += self.parse((yield media.image_request(*asked)), inputs, model)
        return cells if self.n == 1 else [cells]

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        return [Image(media.content_of(answer, "image"))]

    def turns(self, model: Model) -> tuple[int, str]:
        return self.n, ""

    def estimate_request(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count tiles and steps, in which pictures are priced."""
        return sum((media.image_usage(self.settings(), len(media_in(each)), model) for each in inputs), Usage({}))

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        return sum([self.estimate_request(inputs, model)] * self.n, Usage({}))
