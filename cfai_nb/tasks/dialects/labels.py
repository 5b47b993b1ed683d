"""How a model is made to choose a label: asked as a question, asked in words, or taken at the labels it knows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import AnswerError, ModelError
from ...media import media_in, text_of
from ...models import Model, Usage
from ..task import Cell
from . import chat, decision, values, vision
from .inputs import Input, shown_to
from .questions import Choice
from .request import Answer, Json, Request

#: Models that know their own labels and score them, and what each reads.
_SCORERS = {"distilbert": "text", "resnet": "image"}
#: Models that see, and answer in words alone.
_SEERS = vision.FAMILIES - chat.FAMILIES
FAMILIES = decision.FAMILIES | frozenset(_SCORERS) | _SEERS
_SETTINGS = chat.Settings(max_tokens=64)
#: Models that give a probability for each label.
SURE = frozenset({"system-one"}) | frozenset(_SCORERS)


def takes(model: Model) -> frozenset[str]:
    """Say what a model can be shown."""
    if model.family in _SCORERS:
        return frozenset({_SCORERS[model.family]})
    return frozenset({"image"}) if model.family in _SEERS else decision.KINDS & shown_to(model)


def check(choice: Choice | None, model: Model) -> None:
    """Refuse labels the model does not know, and a choice without labels."""
    if model.family == "resnet":
        if choice is not None:
            raise ModelError(f"{model.id} knows its own 1,000 labels; leave labels= out, or use a model that is told.")
    elif choice is None:
        raise ValueError("labels: give at least two labels, as a list or a dict.")
    elif model.family == "distilbert" and not {name.lower() for name in choice.names} <= {"negative", "positive"}:
        raise ModelError(f"{model.id} only tells negative from positive; use clef-flash for other labels.")


@dataclass(frozen=True)
class Labelling:
    """How one task asks for its labels; what follows from them alone is worked out once, not once a row."""

    choice: Choice | None

    @functools.cached_property
    def _asked(self) -> decision.Questionnaire:
        return decision.Questionnaire({"label": self._given})

    @property
    def _given(self) -> Choice:
        assert self.choice is not None  # see check
        return self.choice

    @functools.cached_property
    def _in_words(self) -> str:
        choice = self._given
        offered = "; ".join(name if what is None else f"{name} ({what})" for name, what in choice.options)
        return f"{choice.instructions} Answer with one of these and nothing else: {offered}."

    def compose(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""
        if model.family == "distilbert":
            return Request(json={"text": text_of(value)})
        if model.family == "resnet":
            (picture,) = media_in(value)
            return Request(content=picture.content(), content_type=picture.form.mime)
        if model.family in _SEERS:
            return vision.compose(value, self._in_words, model, _SETTINGS)
        return self._asked.compose(value, model)

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage | None:
        """Estimate inputs and labels, and what may be written; None where the input is all."""
        if self.choice is None:
            return Usage({"images": float(len(inputs))})
        if model.family in _SCORERS:
            return None
        if model.family in _SEERS:
            return vision.forecast(inputs, self._in_words, model, _SETTINGS)
        return self._asked.forecast(inputs, model)

    def read(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{label, confidence, p}``.

        Raises
        ------
        AnswerError
            It holds no scores, or a label that was not offered.
        """
        if model.family in _SCORERS:
            return _scored(answer.json, self.choice)
        if model.family not in _SEERS:
            return self._asked.read(answer, value, model)["label"]
        said = vision.hear(answer, model, _SETTINGS)
        if (problem := said.problem(_SETTINGS.max_tokens)) is not None:
            raise problem
        try:
            return self._given.chosen(said.content)
        except ValueError as error:
            raise AnswerError(f"the answer is none of the labels: {error}", "schema", text=said.text) from None


def _scored(output: Json, choice: Choice | None) -> Cell:
    try:
        scores = {values.text(item["label"]): values.probability(item["score"]) for item in output}
        folded = {name.lower(): score for name, score in scores.items()}
        p = scores if choice is None else {name: folded[name.lower()] for name in choice.names}
        best = max(p, key=lambda name: p[name])
    except (KeyError, TypeError, ValueError):
        raise AnswerError("the answer holds no scores", "broken", again=True) from None
    return {"label": best, "confidence": p[best], "p": p}
