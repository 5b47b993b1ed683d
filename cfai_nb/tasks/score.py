"""Score: how much, on levels from low to high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from .check import OneQuestion
from .dialects.questions import Scale


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
