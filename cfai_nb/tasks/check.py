"""Check, Score, Sentiment, Verify: one typed question about each row, with one column for its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .dialects import decision
from .dialects.question_types import Choice, Scale, YesNo
from .task import OneQuestion, display_only


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
        decision.check_threshold(self.threshold)
        return YesNo(self.condition)


@dataclass(frozen=True, kw_only=True)
class Score(OneQuestion):
    """Place each row on a scale: a number that counts levels from 0, between two levels where the model is unsure.

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
        return Choice((("negative", None), ("neutral", None), ("positive", None)), "What is the sentiment of the text?")


@dataclass(frozen=True, kw_only=True)
class Verify(OneQuestion):
    """Decide whether a source supports, contradicts or does not mention a claim; see ``verify``."""

    name: ClassVar[str] = "verify"
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})

    def question(self) -> Choice:
        verdicts = (
            ("supported", "the source says so, or it follows from what the source says"),
            ("contradicted", "the source says otherwise"),
            ("not mentioned", "the source says nothing about it, whether it is true or not"),
        )
        asked = "What does the source say about the claim? Go by the source alone, and not by what you know."
        return Choice(verdicts, asked)
