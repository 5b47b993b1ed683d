"""Ask, Check, Score, Sentiment: typed questions about each row, answered by a decision model or a chat model."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .code_digest import canonical
from .dialects import decision
from .dialects.question_types import MOST_QUESTIONS, Choice, Question, Scale, YesNo
from .dialects.request import Json
from .task import Cell, Column, DialectTask, display_only


@dataclass(frozen=True, kw_only=True)
class Questions(DialectTask):
    """What the verbs that ask questions share.

    Attributes
    ----------
    probabilities : bool
        Return a DataFrame with the probabilities.  They are always kept, so asking for them later sends nothing.
    """

    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "classify"
    families: ClassVar[frozenset[str]] = decision.FAMILIES
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    probabilities: bool = display_only(False)

    def check(self, model: Model) -> None:
        """Refuse probabilities of a model that gives none."""
        super().check(model)
        decision.check_probabilities(self.probabilities, model)


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
        """Refuse what is not a set of questions."""
        super().check(model)
        if not isinstance(self.questions, Mapping) or not 1 <= len(self.questions) <= MOST_QUESTIONS:
            raise ValueError(f"questions: give a dict of 1 to {MOST_QUESTIONS} column names and questions.")
        for name, question in self.questions.items():
            if not isinstance(name, str) or not isinstance(question, Question.__args__):
                raise ValueError(f"questions[{name!r}]: make it with cf.yes_no, cf.choice or cf.scale.")
        given = self.threshold if isinstance(self.threshold, Mapping) else {}
        if unknown := set(given) - set(self.questions):
            raise ValueError(f"threshold: there is no question {', '.join(sorted(unknown))}.")
        for threshold in given.values() if isinstance(self.threshold, Mapping) else [self.threshold]:
            decision.check_threshold(threshold)

    def key_fields(self) -> dict[str, Json]:
        """Describe every question in order: the order of the columns is part of the answer."""
        return {"questions": [[name, canonical(question)] for name, question in self.questions.items()]}

    @functools.cached_property
    def _dialect(self) -> decision.Questionnaire:
        return decision.Questionnaire(self.questions)

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        """Return a column a question, and with ``probabilities`` its numbers."""
        columns: dict[str, Column] = {}
        for name, question in self.questions.items():
            threshold = self.threshold.get(name, 0.5) if isinstance(self.threshold, Mapping) else self.threshold
            own = [None if cell is None else cell[name] for cell in cells]
            columns |= question.columns(name, own, threshold, all_=self.probabilities)
        return columns


@dataclass(frozen=True, kw_only=True)
class OneQuestion(Questions):
    """A task of one question, whose answer is one column."""

    def question(self) -> Question:
        """Return the question; raises a ValueError where the options do not make one."""
        raise TypeError(f"{type(self).__name__} must define question()")

    @functools.cached_property
    def _dialect(self) -> decision.OneQuestion:
        return decision.OneQuestion({self.name: self.question()})

    def check(self, model: Model) -> None:
        """Refuse what is not a question."""
        self.question()
        super().check(model)

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return the answers, or answers with their numbers."""
        threshold = getattr(self, "threshold", 0.5)  # only a yes or no has one
        columns = self.question().columns(self.name, cells, threshold, all_=self.probabilities)
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
    any other answer is a failed row.
    """

    name: ClassVar[str] = "check"
    positional: ClassVar[tuple[str, ...]] = ("condition",)

    condition: str
    threshold: float = display_only(0.5)

    def question(self) -> YesNo:
        """Return the condition as a question."""
        decision.check_threshold(self.threshold)
        return YesNo(self.condition)


@dataclass(frozen=True, kw_only=True)
class Score(OneQuestion):
    """Place each row on a scale; the number counts levels from 0 and lies between them where the model wavers.

    Attributes
    ----------
    levels : list of str
        2 to 10, from low to high.
    instructions : str
        What is being judged.
    probabilities : bool
        Return a DataFrame ``score, confidence, p__<level>`` instead of a Series of numbers; ``confidence`` is the
        probability of the likeliest level.
    """

    name: ClassVar[str] = "score"
    positional: ClassVar[tuple[str, ...]] = ("levels",)

    levels: Sequence[str]
    instructions: str = "Which level fits the text best?"

    def question(self) -> Scale:
        """Return the scale."""
        if isinstance(self.levels, str):
            raise ValueError(f"levels={self.levels!r}: give a list, from low to high.")
        return Scale(tuple(self.levels), self.instructions)


@dataclass(frozen=True, kw_only=True)
class Sentiment(OneQuestion):
    """Tell negative, neutral and positive texts apart.

    Attributes
    ----------
    probabilities : bool
        Return a DataFrame ``sentiment, confidence, p__<label>`` instead of a categorical Series; ``confidence`` is the
        probability of the sentiment given.
    """

    name: ClassVar[str] = "sentiment"

    def question(self) -> Choice:
        """Return the three sentiments."""
        return Choice((("negative", None), ("neutral", None), ("positive", None)), "What is the sentiment of the text?")


@dataclass(frozen=True, kw_only=True)
class Verify(OneQuestion):
    """Say of each claim whether a source supports it, contradicts it, or does not mention it.

    Attributes
    ----------
    probabilities : bool
        Return a DataFrame ``verify, confidence, p__<verdict>`` instead of a categorical Series; ``confidence`` is the
        probability of the verdict given.
    """

    name: ClassVar[str] = "verify"
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})

    def question(self) -> Choice:
        """Return the three verdicts."""
        return Choice(
            (
                ("supported", "the source says so, or it follows from what the source says"),
                ("contradicted", "the source says otherwise"),
                ("not mentioned", "the source says nothing about it, whether it is true or not"),
            ),
            "What does the source say about the claim? Go by the source alone, and not by what you know.",
        )
