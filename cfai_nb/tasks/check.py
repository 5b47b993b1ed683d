"""Check: one question with a yes or no, and what all verbs of one question share."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..models import Model, Usage
from .dialects import decision
from .dialects.questions import Question, YesNo
from .dialects.request import Answer, Request
from .task import Cell, Cells, Column, Input, Task, display_only


@dataclass(frozen=True, kw_only=True)
class OneQuestion(Task):
    """A task of one question, whose answer is one column.

    Attributes
    ----------
    probabilities : bool
        Return a DataFrame with the probabilities.  They are always kept, so asking for them later sends nothing.
    """

    version: ClassVar[int] = 2
    work: ClassVar[str] = "classify"
    families: ClassVar[frozenset[str]] = decision.FAMILIES
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    probabilities: bool = display_only(False)

    def question(self) -> Question:
        """Return the question."""
        raise TypeError(f"{type(self).__name__} must define question()")

    def check(self, model: Model) -> None:
        """Refuse what is not a question."""
        super().check(model)
        self.question()
        decision.check_probabilities(self.probabilities, model)

    @functools.cached_property
    def _asked(self) -> decision.Questionnaire:
        return decision.Questionnaire({self.name: self.question()})

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        (text,) = inputs
        return self._asked.compose(text, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate text and question, and for a chat model what it may write."""
        return self._asked.forecast(inputs, model)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the question's cell."""
        return [self._asked.read(answer, inputs[0], model)[self.name]]

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return the answers, or answers with their numbers."""
        cut = getattr(self, "threshold", 0.5)
        columns = self.question().columns(self.name, cells, cut, all_=self.probabilities)
        if not self.probabilities:
            return columns[self.name]
        return {name.removeprefix(f"{self.name}__"): column for name, column in columns.items()}


@dataclass(frozen=True, kw_only=True)
class Check(OneQuestion):
    """Say for each row whether a condition holds.

    Attributes
    ----------
    condition : str
        Such as "The customer wants money back."
    threshold : float
        Minimum probability for True (default 0.5).  Changing it sends no new requests.
    probabilities : bool
        Return a DataFrame ``check, p`` instead of a boolean Series; ``p`` is the probability that it holds.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give probabilities.  A chat model says yes or no (true, false, 1, 0);
    anything else it says is a failed row.
    """

    name: ClassVar[str] = "check"
    positional: ClassVar[tuple[str, ...]] = ("condition",)

    condition: str
    threshold: float = field(default=0.5, metadata={"display_only": True})

    def question(self) -> YesNo:
        """Return the condition as a question."""
        decision.check_threshold(self.threshold)
        return YesNo(self.condition)
