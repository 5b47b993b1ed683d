"""Moderate: whether a text is safe, and which categories make it unsafe."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ModelError
from ..models import Model
from .dialects import decision
from .dialects.question_types import MOST_QUESTIONS, Unsafe, holds
from .dialects.request import Cell, Column, Dialect
from .task import DialectTask, display_only

_WHOLE = "unsafe"  # the question about the text as a whole
_HARM = "Is the text harmful, or does it ask for or help with harm?"


@dataclass(frozen=True, kw_only=True)
class Moderate(DialectTask):
    """Say for each row whether it is safe, and which categories make it unsafe.

    Attributes
    ----------
    categories : list of str, or dict of category to description
        What is unsafe; default: the 14 hazards of Llama Guard, which accepts no others.
    threshold : float
        Minimum probability for unsafe (default 0.5).  Changing it sends no new requests.
    probabilities : bool
        Also return ``p``, the probability that it is unsafe for any reason, and ``p__<category>``.  They are always
        kept, so asking for them later sends nothing.

    Notes
    -----
    Returns a DataFrame ``safe, categories``.  Decision models (the default, ``clef-flash``) give probabilities, Llama
    Guard and chat models give none, and are refused with ``probabilities=True``.  A chat model's answer counts where it
    says yes or no, unsafe or safe; anything else is a failed row.  One request per distinct row.
    """

    name: ClassVar[str] = "moderate"
    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "moderate"
    families: ClassVar[frozenset[str]] = decision.FAMILIES | {"llama-guard"}
    fallback: ClassVar[str] = "guard"
    kinds: ClassVar[frozenset[str]] = decision.KINDS

    categories: Sequence[str] | Mapping[str, str | None] = decision.HAZARDS
    threshold: float = display_only(0.5)
    probabilities: bool = display_only(False)

    @property
    def questions(self) -> tuple[str, ...]:
        """The names of the questions: whether it is unsafe at all, and one for each category."""
        return (_WHOLE, *self.categories)

    @functools.cached_property
    def _dialect(self) -> decision.Questionnaire:
        described = self.categories if isinstance(self.categories, Mapping) else dict.fromkeys(self.categories)
        each = {name: Unsafe(f"Is the text unsafe because of {name}?", yes=why) for name, why in described.items()}
        return decision.Questionnaire({_WHOLE: Unsafe(_HARM)} | each)

    def check(self, model: Model) -> None:
        super().check(model)
        decision.check_probabilities(self.probabilities, model)
        names = () if isinstance(self.categories, str) else tuple(self.categories)
        if not 1 <= len(set(names) - {_WHOLE}) == len(names) < MOST_QUESTIONS:
            raise ValueError(f"categories={self.categories!r}: give 1 to {MOST_QUESTIONS - 1} names, not {_WHOLE!r}.")
        if model.family == "llama-guard" and names != decision.HAZARDS:
            raise ModelError(f"{model.id} has categories of its own; leave categories= out, or take another model.")
        decision.check_threshold(self.threshold)
        self._dialect.check(model)

    def dialect(self, model: Model) -> Dialect:
        """Return how the model is asked; a cell has an entry for the whole and each category."""
        return decision.LlamaGuard(_WHOLE) if model.family == "llama-guard" else self._dialect

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        held = [cell and [name for name in cell if holds(cell[name], self.threshold)] for cell in cells]
        named = [names and [name for name in names if name != _WHOLE] for names in held]
        safe = Column([None if names is None else not names for names in held], "boolean")
        columns = {"safe": safe, "categories": Column(named, "object")}
        if self.probabilities:
            p_of = [{name: part["p"] for name, part in (cell or {}).items()} for cell in cells]
            columns["p"] = Column([max(p.values(), default=None) for p in p_of], "number")
            columns |= {f"p__{name}": Column([p.get(name) for p in p_of], "number") for name in self.categories}
        return columns
