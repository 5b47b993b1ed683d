"""Caption: what is to be seen in each picture, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..models import Model, Usage
from .dialects import chat, vision
from .dialects.request import Answer, Request
from .task import Cell, Cells, Column, Input, Task


@dataclass(frozen=True, kw_only=True)
class Caption(Task):
    """Describe each picture, or answer a question about it.

    Attributes
    ----------
    question : str, optional
        Such as "What does the sign say?"; a description otherwise.
    length : {"short", "normal", "long"}, optional
        Of a description (moondream).
    max_tokens : int
        The most the model may write.  A reply that is cut there is a failed row; its text is in
        ``cf.last_run().failures``, and fills the cell with ``on_error="partial"``.

    Notes
    -----
    One request per distinct picture.  The column holds pictures, paths, names of files (with ``files="folder"``), or
    addresses (with ``fetch=True``).
    """

    name: ClassVar[str] = "caption"
    work: ClassVar[str] = "caption"
    positional: ClassVar[tuple[str, ...]] = ("question",)
    families: ClassVar[frozenset[str]] = vision.FAMILIES
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})

    question: str | None = None
    length: Literal["short", "normal", "long"] | None = None
    max_tokens: int = chat.MAX_TOKENS

    def check(self, model: Model) -> None:
        """Refuse models that see nothing, and a length they do not know."""
        super().check(model)
        vision.check(model)
        if self.length not in (None, "short", "normal", "long"):
            raise ValueError(f'length={self.length!r}: give "short", "normal" or "long".')
        if self.length and (model.family != "moondream" or self.question):
            raise ValueError("length= is for descriptions by moondream; leave it out, or say it in question=.")

    def _settings(self) -> chat.Settings:
        return chat.Settings(max_tokens=self.max_tokens)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        return vision.compose(inputs[0], self.question, model, self._settings(), self.length)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return what was said."""
        said = vision.hear(answer, model, self._settings())
        return [said.or_cut(said.text.strip(), self.max_tokens)]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate pictures and question, and count all of ``max_tokens`` as written."""
        return vision.forecast(inputs, self.question, model, self._settings())

    def to_columns(self, cells: Sequence[Cell]) -> Column:
        """Return a column of text."""
        return Column(cells, "text")
