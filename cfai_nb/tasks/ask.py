"""Ask: up to 64 typed questions about each row, answered by a decision model or a chat model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .dialects import decision
from .dialects.key import canonical
from .dialects.question_types import MOST_QUESTIONS, Question, check_distinct
from .dialects.request import Cell, Column, Json
from .task import Questions, display_only


@dataclass(frozen=True, kw_only=True)
class Ask(Questions):
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
    no (true, false, 1, 0), or names an option or level, in any case and with any punctuation around it; any other
    answer is a failed row.
    """

    name: ClassVar[str] = "ask"
    positional: ClassVar[tuple[str, ...]] = ("questions",)

    questions: Mapping[str, Question]
    threshold: float | Mapping[str, float] = display_only(0.5)

    def check(self, model: Model) -> None:
        super().check(model)
        if not isinstance(self.questions, Mapping) or not 1 <= len(self.questions) <= MOST_QUESTIONS:
            raise ValueError(f"questions: give a dict of 1 to {MOST_QUESTIONS} column names and questions.")
        for name, question in self.questions.items():
            if not isinstance(name, str) or not isinstance(question, Question.__args__):
                raise ValueError(f"questions[{name!r}]: make it with cf.yes_no, cf.choice or cf.scale.")
        made = [q.columns(name, (), 0.5, all_=self.probabilities) for name, q in self.questions.items()]
        check_distinct([each for columns in made for each in columns], "result column")
        given = self.threshold if isinstance(self.threshold, Mapping) else {}
        if unknown := set(given) - set(self.questions):
            raise ValueError(f"threshold: there is no question {', '.join(sorted(unknown))}.")
        self._dialect.check(model)
        for threshold in given.values() if isinstance(self.threshold, Mapping) else [self.threshold]:
            decision.check_threshold(threshold)

    def caution(self, model: Model) -> str:
        return decision.weakness(self.questions.values(), model)

    def key_fields(self) -> dict[str, Json]:
        """Describe every question in order: the order of the columns is part of the answer."""
        return {"questions": [[name, canonical(question)] for name, question in self.questions.items()]}

    @functools.cached_property
    def _dialect(self) -> decision.Questionnaire:
        return decision.Questionnaire(self.questions)

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        columns: dict[str, Column] = {}
        for name, question in self.questions.items():
            threshold = self.threshold.get(name, 0.5) if isinstance(self.threshold, Mapping) else self.threshold
            own = [None if cell is None else cell[name] for cell in cells]
            columns |= question.columns(name, own, threshold, all_=self.probabilities)
        return columns
