"""Translate: a text in another language, by a translation model or a chat model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError
from ..models import Model, Usage
from .dialects import chat
from .dialects.inputs import tokens_of
from .dialects.languages import code_of
from .dialects.request import Answer, Request
from .dialects.values import quoted
from .rewrite import Rewrite
from .task import Cells, Input


@dataclass(frozen=True, kw_only=True)
class Translate(Rewrite):
    """Translate each text.

    Attributes
    ----------
    to : str
        A language by name or code: ``"German"``, ``"de"``; ``"hin_Deva"`` for indictrans2.
    source : str, optional
        The language of the texts.  m2m100 needs it and takes English otherwise; chat models find out.

    Notes
    -----
    The default is a chat model.  ``m2m100-1.2b`` translates between about 100 languages, ``indictrans2-en-indic-1B``
    from English into those of India; both charge what they read and write.  One request per distinct row.
    """

    name: ClassVar[str] = "translate"
    positional: ClassVar[tuple[str, ...]] = ("to",)
    families: ClassVar[frozenset[str]] = chat.FAMILIES | {"m2m100", "indictrans2"}

    to: str
    source: str | None = None

    def check(self, model: Model) -> None:
        """Refuse what is no language, and a source the model cannot take."""
        super().check(model)
        for name, language in (("to", self.to), ("source", self.source)):
            if (language is not None or name == "to") and not (isinstance(language, str) and language.strip()):
                raise ValueError(f"{name}={language!r}: give a language, such as 'German' or 'de'.")
        if model.family in chat.FAMILIES:
            return
        if model.family == "m2m100":
            code_of(self.source or "English", model)
        elif (self.source or "en").strip().lower() not in ("en", "english"):
            raise ValueError(f"{model.id} translates from English only; leave source= out or choose another model.")
        code_of(self.to, model)

    def how(self) -> str:
        """Return what a chat model is told to do."""
        origin = f" from {self.source}" if self.source else ""
        return f"Translate the text{origin} into {self.to}; keep meaning, tone and layout."

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        (text,) = inputs
        if model.family == "indictrans2":
            return Request(json={"text": text, "target_language": code_of(self.to, model)})
        if model.family == "m2m100":
            source, target = (code_of(language, model) for language in (self.source or "English", self.to))
            return Request(json={"text": text, "source_lang": source, "target_lang": target})
        return super().build_request(inputs, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the texts; a translation is counted at twice the tokens of its source."""
        if model.family in chat.FAMILIES:
            return super().estimate_usage(inputs, model)
        read = float(sum(map(tokens_of, inputs)))
        return Usage({"input_tokens": read, "output_tokens": 2 * read})

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return the translation."""
        if model.family in chat.FAMILIES:
            return super().parse(answer, inputs, model)
        output = answer.json if isinstance(answer.json, Mapping) else {}
        several = output.get("translations")
        said = output.get("translated_text") or (several[0] if isinstance(several, list) and several else None)
        if not isinstance(said, str) or not said.strip():
            raise AnswerError(f"the translation is empty: {quoted(said)}", "empty")
        return [said]
