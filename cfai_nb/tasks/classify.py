"""Classify: one label per row, with a probability for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .dialects import decision
from .dialects.question_types import Choice
from .dialects.request import Cell, Column, Dialect, members
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
    instructions: str = "Which label fits the text best?"
    probabilities: bool = display_only(False)

    @functools.cached_property
    def _choice(self) -> Choice | None:
        if self.labels is None:
            return None
        described = self.labels.items() if isinstance(self.labels, Mapping) else [(name, None) for name in self.labels]
        return Choice(tuple(described), self.instructions)

    @functools.cached_property
    def _dialects(self) -> dict[str, Dialect]:
        return decision.label_dialects(self._choice)

    def input_kinds(self, model: Model) -> frozenset[str]:
        return decision.kinds_for_label(model)

    def check(self, model: Model) -> None:
        """Refuse labels no model could choose between."""
        super().check(model)
        if self.labels is not None and (isinstance(self.labels, str) or len(self.labels) < 2):
            raise ValueError(f"labels={self.labels!r}: give at least two labels, as a list or a dict.")
        decision.check_labels(self._choice, model)
        decision.check_probabilities(self.probabilities, model, decision.WITH_PROBABILITIES)

    def caution(self, model: Model) -> str:
        return "" if self._choice is None else decision.weakness([self._choice], model)

    def dialect(self, model: Model) -> Dialect:
        return self._dialects[model.family or ""]

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        if self._choice is None:
            columns = members(cells, {"label": "category", "confidence": "number", "p": "object"})
        else:
            columns = self._choice.columns("label", cells, 0.5, all_=self.probabilities)
        if not self.probabilities:
            return columns["label"]
        return {name.removeprefix("label__"): column for name, column in columns.items()}
