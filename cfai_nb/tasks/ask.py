"""Ask: many typed questions about each row, answered in one call."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ..models import Model, Usage
from .dialects import decision
from .dialects.questions import MOST_QUESTIONS, Question
from .dialects.request import Answer, Json, Request
from .task import Cell, Cells, Column, Input, Task, canonical, display_only


@dataclass(frozen=True, kw_only=True)
class Ask(Task):
    """Ask up to 64 questions about each row, in one call per distinct row.

    Attributes
    ----------
    questions : dict of column name to question
        ``cf.yes_no(...)``, ``cf.choice(...)`` or ``cf.scale(...)``.
    probabilities : bool
        Also return ``<name>__p``, the probability of yes, for a yes or no, and for the others
        ``<name>__p__<option>`` and ``<name>__confidence``, the probability of the answer given (of a scale: of the
        likeliest level).  They are always kept, so asking for them later sends nothing.
    threshold : float or dict of column name to float
        Minimum probability for a yes (default 0.5).  Changing it sends no new requests.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give probabilities and charge what they read.  A chat model answers
    without: ``probabilities=True`` is refused, and a threshold changes nothing.  Its answer counts where it says yes or
    no (true, false, 1, 0), or names an option or level, in any case and with any punctuation around it; whatever else
    it says is a failed row.
    """

    name: ClassVar[str] = "ask"
    version: ClassVar[int] = 2
    work: ClassVar[str] = "classify"
    positional: ClassVar[tuple[str, ...]] = ("questions",)
    families: ClassVar[frozenset[str]] = decision.FAMILIES
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    questions: Mapping[str, Question]
    probabilities: bool = display_only(False)
    threshold: float | Mapping[str, float] = field(default=0.5, metadata={"display_only": True})

    def check(self, model: Model) -> None:
        """Refuse what is not a set of questions."""
        super().check(model)
        decision.check_probabilities(self.probabilities, model)
        kinds = Question.__args__
        if not isinstance(self.questions, Mapping) or not 1 <= len(self.questions) <= MOST_QUESTIONS:
            raise ValueError(f"questions: give a dict of 1 to {MOST_QUESTIONS} column names and questions.")
        for name, question in self.questions.items():
            if not isinstance(name, str) or not isinstance(question, kinds):
                raise ValueError(f"questions[{name!r}]: make it with cf.yes_no, cf.choice or cf.scale.")
        cuts = self.threshold if isinstance(self.threshold, Mapping) else dict.fromkeys(self.questions, self.threshold)
        if unknown := set(cuts) - set(self.questions):
            raise ValueError(f"threshold: there is no question {', '.join(sorted(unknown))}.")
        if any(not isinstance(cut, (int, float)) or not 0 <= cut <= 1 for cut in cuts.values()):
            raise ValueError(f"threshold={self.threshold!r}: a probability lies between 0 and 1.")

    def key_fields(self) -> dict[str, Json]:
        """Describe every question by what it says."""
        return {"questions": [[name, canonical(question)] for name, question in self.questions.items()]}

    @functools.cached_property
    def _asked(self) -> decision.Questionnaire:
        return decision.Questionnaire(self.questions)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return one request with all questions."""
        (text,) = inputs
        return self._asked.compose(text, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate texts and questions, and for a chat model what it may write."""
        return self._asked.forecast(inputs, model)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell: a dict of question name to its cell."""
        return [self._asked.read(answer, inputs[0], model)]

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        """Return a column a question, and with ``probabilities`` its numbers."""
        columns: dict[str, Column] = {}
        for name, question in self.questions.items():
            cut = self.threshold.get(name, 0.5) if isinstance(self.threshold, Mapping) else self.threshold
            own = [None if cell is None else cell[name] for cell in cells]
            columns |= question.columns(name, own, cut, all_=self.probabilities)
        return columns
