"""Image: a prompt per row, and the picture a model draws of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..media import media_in, text_of
from ..models import Model, Usage
from .dialects import text_to_image
from .dialects.request import Answer, Request
from .task import Cell, Cells, Column, Input, Task


@dataclass(frozen=True, kw_only=True)
class GenerateImage(Task):
    """Draw a picture of each row: fill the template, and return what the model draws.

    A template may name columns of pictures to start from: ``"{photo} as a watercolour"`` (FLUX.2: up to four; Stable
    Diffusion: one, and then a second one as the mask of what shall be painted anew).

    Attributes
    ----------
    size : int or (width, height), optional
        In pixels; the model's own otherwise.
    steps : int, optional
        More steps, more detail, and a price to match.
    seed : int, optional
        The same seed and prompt give the same picture.
    guidance : float, optional
        How closely the prompt is followed.
    negative : str, optional
        What shall not be seen.
    strength : float, optional
        How far to go from the picture it starts from, 0 to 1.

    Notes
    -----
    One request per distinct row.  Not every model has every setting; one it lacks is refused before anything is sent.
    The cells are ``cf.Image``: bytes that show and save themselves.
    """

    name: ClassVar[str] = "image"
    work: ClassVar[str] = "image"
    template: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = frozenset(text_to_image.DIALECTS)
    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})

    size: int | tuple[int, int] | None = None
    steps: int | None = None
    seed: int | None = None
    guidance: float | None = None
    negative: str | None = None
    strength: float | None = None

    def input_kinds(self, model: Model) -> frozenset[str]:
        """Take pictures where the model can start from them."""
        return self.kinds if text_to_image.dialect(model).pictures else frozenset({"text"})

    def settings(self) -> dict[str, int | float | str]:
        """Return what was asked for, by our names."""
        width, height = (self.size, self.size) if isinstance(self.size, int) else self.size or (None, None)
        named = {name: getattr(self, name) for name in ("steps", "seed", "guidance", "negative", "strength")}
        every = {"width": width, "height": height, **named}
        return {name: value for name, value in every.items() if value is not None}

    def check(self, model: Model) -> None:
        """Refuse settings the model does not have."""
        super().check(model)
        if not isinstance(self.size, int | None) and not (isinstance(self.size, (tuple, list)) and len(self.size) == 2):
            raise ValueError(f"size={self.size!r}: give a number of pixels, or (width, height).")
        text_to_image.check(self.settings(), model)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        return text_to_image.compose(
            text_to_image.Sketch(text_of(inputs[0]), media_in(inputs[0]), self.settings()), model
        )

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the picture."""
        return [text_to_image.read(answer)]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count tiles and steps, which is what pictures are priced in."""
        asked, can = self.settings(), text_to_image.dialect(model)
        size = (int(asked.get("width", can.size[0])), int(asked.get("height", can.size[1])))
        steps = int(asked.get("steps", can.steps))
        return sum((text_to_image.usage(size, steps, len(media_in(each))) for each in inputs), Usage({}))

    def to_columns(self, cells: Sequence[Cell]) -> Column:
        """Return a column of pictures."""
        return Column(cells, "object")
