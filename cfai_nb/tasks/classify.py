"""Classify: one label per row, with a probability for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError, ModelError
from ..models import Model, Usage
from . import decisions
from .answer import Answer, Json, Request
from .questions import Choice
from .task import Cell, Cells, Column, Input, Task, shown


@dataclass(frozen=True, kw_only=True)
class Classify(Task):
    """Give each row one of the labels.

    Attributes
    ----------
    labels : list of str, or dict of label to description
        At least two.  A description helps the model more than a long label does.
    instructions : str, optional
        What is being decided; default "Which label fits the text best?".
    probabilities : bool
        Return a DataFrame ``label, confidence, p__<label>`` instead of a categorical Series.  Probabilities are always
        kept, so asking for them later sends nothing.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give calibrated probabilities and charge what they read.  A chat model
    answers with a label alone; its probabilities are missing.  ``distilbert-sst-2-int8`` knows two labels, negative and
    positive.  One request per distinct row.
    """

    name: ClassVar[str] = "classify"
    work: ClassVar[str] = "classify"
    positional: ClassVar[tuple[str, ...]] = ("labels",)
    families: ClassVar[frozenset[str]] = decisions.FAMILIES | {"distilbert"}
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decisions.KINDS

    labels: Sequence[str] | Mapping[str, str | None]
    instructions: str = "Which label fits the text best?"
    probabilities: bool = shown(False)

    @property
    def _choice(self) -> Choice:
        described = self.labels.items() if isinstance(self.labels, Mapping) else [(name, None) for name in self.labels]
        return Choice(tuple(described), self.instructions)

    def check(self, model: Model) -> None:
        """Refuse labels no model could choose between."""
        super().check(model)
        if isinstance(self.labels, str) or len(self.labels) < 2:
            raise ValueError(f"labels={self.labels!r}: give at least two labels, as a list or a dict.")
        names = self._choice.names
        if model.family == "distilbert" and not {name.lower() for name in names} <= {"negative", "positive"}:
            raise ModelError(f"{model.id} only tells negative from positive; use clef-flash for other labels.")

    def compose(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        (text,) = inputs
        if model.family == "distilbert":
            return Request(json={"text": text})
        return decisions.compose({"label": self._choice}, text, model)

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate text and labels, and for a chat model what it may write."""
        if model.family == "distilbert":
            return super().forecast(inputs, model)
        return decisions.forecast({"label": self._choice}, inputs, model)

    def read(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell ``{label, confidence, p}``."""
        if model.family == "distilbert":
            return [self._scores(answer.json)]
        return [decisions.read({"label": self._choice}, answer, model)["label"]]

    def _scores(self, output: Json) -> Cell:
        try:
            scores = {str(item["label"]).lower(): float(item["score"]) for item in output}
            p = {name: scores[name.lower()] for name in self._choice.names}
        except (KeyError, TypeError, ValueError):
            raise AnswerError("the answer holds no scores", "broken", again=True) from None
        best = max(p, key=lambda name: p[name])
        return {"label": best, "confidence": p[best], "p": p}

    def tabulate(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return the labels, or labels with confidence and probabilities."""
        columns = self._choice.columns("label", cells, 0.5, all_=self.probabilities)
        if not self.probabilities:
            return columns["label"]
        return {name.removeprefix("label__"): column for name, column in columns.items()}
