"""Sentiment: negative, neutral or positive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .check import OneQuestion
from .dialects.questions import Choice


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
