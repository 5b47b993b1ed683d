"""Mask: what is named is replaced by its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..models import Model
from .rewrite import Rewrite


@dataclass(frozen=True, kw_only=True)
class Mask(Rewrite):
    """Replace what is named by its label in brackets, such as ``[person]``.

    Attributes
    ----------
    labels : list of str
        What to replace, such as ``["person", "email", "phone"]``.

    Notes
    -----
    A model overlooks things: for personal data, look at the result before it goes anywhere.
    """

    name: ClassVar[str] = "mask"
    positional: ClassVar[tuple[str, ...]] = ("labels",)

    labels: Sequence[str]

    def check(self, model: Model) -> None:
        """Refuse an empty list."""
        super().check(model)
        named = not isinstance(self.labels, str) and len(self.labels) > 0
        if not named or any(not isinstance(label, str) or not label.strip() for label in self.labels):
            raise ValueError(f"labels={self.labels!r}: give a list of what to replace, such as ['person', 'email'].")

    def how(self) -> str:
        """Return what the model is told to do."""
        kinds = ", ".join(f"every {label} by [{label}]" for label in self.labels)
        return f"Copy the text word for word, but replace {kinds}."
