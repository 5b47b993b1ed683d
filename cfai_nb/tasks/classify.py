"""Classify: one label per row, with a probability for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .dialects import decision
from .dialects.question_types import Choice
from .dialects.request import Cell, Column, Dialect, Json
from .task import DialectTask, display_only


@dataclass(frozen=True, kw_only=True)
class Classify(DialectTask):
    """Give each row one of the labels.

    Attributes
    ----------
    labels : list of str, or dict of label to description
        At least two.  A description helps the model more than a long label does.  ``resnet-50`` has 1,000 labels of its
        own for things in pictures and is given none; ``p`` then holds those it names, with their scores.
    instructions : str, optional
        What is being decided; default "Which label fits the text best?".
    multiple : bool
        Give each row any number of the labels (at most 64), as a list: a yes or no for each.
    threshold : float
        With ``multiple``: minimum probability of a label (default 0.5).
    uncertain : float, optional
        Rows below it are missing, and ``cf.last_run().uncertain`` lists them.  Changing it sends no new requests.
    probabilities : bool
        Return a DataFrame ``label, confidence, p__<label>`` instead of a categorical Series; ``confidence`` is the
        probability of the label given.  They are always kept, so asking for them later sends nothing.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give calibrated probabilities and charge what they read.  A chat model
    answers with a label alone, and ``probabilities=True`` is refused for it.  Its whole answer has to be one of the
    labels, in any case and with any punctuation around it: a label within a sentence ("not billing") is a failed row.
    ``distilbert-sst-2-int8`` has two labels, negative and positive.  Rows may be pictures for models that see (also
    ``llava`` and ``moondream``, which answer with a label alone).  One request per distinct row.
    """

    name: ClassVar[str] = "classify"
    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "classify"
    positional: ClassVar[tuple[str, ...]] = ("labels",)
    families: ClassVar[frozenset[str]] = decision.LABELLERS
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    labels: Sequence[str] | Mapping[str, str | None] | None = None
    instructions: str = decision.BEST
    multiple: bool = False
    threshold: float = display_only(0.5)
    uncertain: float | None = display_only(None)
    probabilities: bool = display_only(False)

    @functools.cached_property
    def _choice(self) -> Choice | None:
        return decision.choice_of(self.labels, self.instructions)

    @functools.cached_property
    def _dialects(self) -> dict[str, Dialect]:
        return decision.label_dialects(self._choice, multiple=self.multiple)

    def key_fields(self) -> dict[str, Json]:
        """Return what is asked."""
        return {name: value for name, value in super().key_fields().items() if name != "multiple" or value}

    def input_kinds(self, model: Model) -> frozenset[str]:
        return decision.kinds_for_label(model)

    def check(self, model: Model) -> None:
        super().check(model)
        if self.labels is not None and (isinstance(self.labels, str) or len(self.labels) < 2):
            raise ValueError(f"labels={self.labels!r}: give at least two labels, as a list or a dict.")
        decision.check_labels(self._choice, model, multiple=self.multiple)
        decision.check_numbers(self.threshold, self.uncertain, self.probabilities, model)

    def caution(self, model: Model) -> str:
        return "" if self._choice is None or self.multiple else decision.weakness([self._choice], model)

    def dialect(self, model: Model) -> Dialect:
        return self._dialects[model.family or ""]

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return the labels, or labels with confidence and probabilities."""
        cells = [None if cell is None or self.unsure(cell) else cell for cell in cells]
        found = decision.label_columns(
            self._choice, cells, self.threshold, multiple=self.multiple, all_=self.probabilities
        )
        return found if self.probabilities else found["label"]

    def unsure(self, cell: Cell) -> bool:
        """Say whether an answer is below ``uncertain``."""
        return decision.unsure(cell, self.uncertain)
