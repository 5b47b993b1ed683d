"""Caption, Detect: each picture in words, and the things in it with their boxes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import check_count
from ..models import Model
from .dialects import chat, media
from .dialects.request import ColumnKind
from .task import DialectTask


@dataclass(frozen=True, kw_only=True)
class Caption(DialectTask):
    """Describe each picture, or answer a question about it.

    Attributes
    ----------
    question : str, optional
        Such as "What does the sign say?"; a description otherwise.
    length : {"short", "normal", "long"}, optional
        The length of a description (moondream).
    max_tokens : int
        The most the model may write.  A reply that is cut there is a failed row; its text is in
        ``cf.last_run().failures``, and fills the cell with ``on_error="partial"``.

    Notes
    -----
    One request per distinct picture.  The column holds pictures, paths, names of files (with ``files="folder"``), or
    addresses (with ``fetch=True``).
    """

    name: ClassVar[str] = "caption"
    default_model: ClassVar[str | Model] = "caption"
    positional: ClassVar[tuple[str, ...]] = ("question",)
    families: ClassVar[frozenset[str]] = chat.SEEING
    kinds: ClassVar[frozenset[str]] = frozenset({"image"})
    column_kind: ClassVar[ColumnKind] = "text"

    question: str | None = None
    length: Literal["short", "normal", "long"] | None = None
    max_tokens: int = chat.MAX_TOKENS

    def check(self, model: Model) -> None:
        super().check(model)
        chat.check_sees(model)
        check_count(max_tokens=self.max_tokens)
        if self.length not in (None, "short", "normal", "long"):
            raise ValueError(f'length={self.length!r}: give "short", "normal" or "long".')
        if self.length and (model.family != "moondream" or self.question):
            raise ValueError("length= is for descriptions by moondream; leave it out, or give it in question=.")

    @functools.cached_property
    def _dialect(self) -> chat.PictureQuestion:
        return chat.PictureQuestion(self.question, chat.Settings(max_tokens=self.max_tokens), self.length)


@dataclass(frozen=True, kw_only=True)
class Detect(DialectTask):
    """Find things in each picture, with a box around each.

    Attributes
    ----------
    target : str, optional
        What to look for, such as "person".  moondream needs it; detr-resnet-50 finds the kinds it was trained on, and
        takes the whole name of one ("car" is not "carrot").
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

    @functools.cached_property
    def _dialect(self) -> media.Detection:
        return media.Detection(self.target, self.max_boxes)

    def check(self, model: Model) -> None:
        super().check(model)
        if model.family == "moondream" and not (self.target and self.target.strip()):
            raise ValueError(f'{model.id} looks for one thing: give target=, such as "person".')
        check_count(max_boxes=self.max_boxes)
