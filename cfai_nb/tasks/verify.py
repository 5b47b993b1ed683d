"""Verify: whether a source supports a claim, contradicts it, or does not mention it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .dialects.question_types import Choice
from .task import OneQuestion


@dataclass(frozen=True, kw_only=True)
class Verify(OneQuestion):
    """Say for each claim whether a source supports it, contradicts it, or does not mention it.

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
