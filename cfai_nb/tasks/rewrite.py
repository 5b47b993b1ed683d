"""Summarize, FixGrammar, Mask, Translate: each text becomes another text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import check_count
from ..models import Model
from .dialects import chat
from .dialects.request import Dialect
from .task import Rewrite


@dataclass(frozen=True, kw_only=True)
class Summarize(Rewrite):
    """Summarize each text in a few words, in its own language.

    Attributes
    ----------
    max_words : int
        The approximate maximum length.
    """

    name: ClassVar[str] = "summarize"
    prompt: ClassVar[str] = "Summarize the text in at most {max_words} words, in the language of the text."
    max_words: int = 30

    def check(self, model: Model) -> None:
        super().check(model)
        check_count(max_words=self.max_words)


@dataclass(frozen=True, kw_only=True)
class FixGrammar(Rewrite):
    """Correct spelling and grammar, and leave everything else as it is."""

    name: ClassVar[str] = "fix_grammar"
    prompt: ClassVar[str] = "Correct the spelling and grammar of the text; keep its meaning, tone, language and layout."


@dataclass(frozen=True, kw_only=True)
class Mask(Rewrite):
    """Replace what is named by its label in brackets, such as ``[person]``.

    A model overlooks things: for personal data, check the result before you pass it on.

    Attributes
    ----------
    labels : list of str
        What to replace, such as ``["person", "email", "phone"]``.
    """

    name: ClassVar[str] = "mask"
    positional: ClassVar[tuple[str, ...]] = ("labels",)
    labels: Sequence[str]

    def check(self, model: Model) -> None:
        super().check(model)
        named = not isinstance(self.labels, str) and len(self.labels) > 0
        if not named or any(not isinstance(label, str) or not label.strip() for label in self.labels):
            raise ValueError(f"labels={self.labels!r}: give a list of what to replace, such as ['person', 'email'].")

    def instructions(self) -> str:
        kinds = ", ".join(f"every {label} by [{label}]" for label in self.labels)
        return f"Copy the text word for word, but replace {kinds}."


@dataclass(frozen=True, kw_only=True)
class Translate(Rewrite):
    """Translate each text.

    The default is a chat model.  ``m2m100-1.2b`` translates between about 100 languages, ``indictrans2-en-indic-1B``
    from English into those of India; both charge what they read and write.  One request per distinct row.

    Attributes
    ----------
    to : str
        A language by name or code: ``"German"``, ``"de"``; ``"hin_Deva"`` for indictrans2.
    source : str, optional
        The language of the texts.  m2m100 assumes English if it is not given; chat models recognize it.
    """

    name: ClassVar[str] = "translate"
    positional: ClassVar[tuple[str, ...]] = ("to",)
    families: ClassVar[frozenset[str]] = chat.FAMILIES | chat.TRANSLATORS
    to: str
    source: str | None = None

    def check(self, model: Model) -> None:
        super().check(model)
        chat.Translation(self.to, self.source).check(model)

    def instructions(self) -> str:
        origin = f" from {self.source}" if self.source else ""
        return f"Translate the text{origin} into {self.to}; keep meaning, tone and layout."

    def dialect(self, model: Model) -> Dialect:
        return chat.Translation(self.to, self.source) if model.family in chat.TRANSLATORS else self._dialect
