"""How a model is made to choose a label: asked as a question, asked in words, or read at the labels it has."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import AnswerError, ModelError
from ...media import media_in, text_of
from ...models import Model, Usage
from ..task import Cell, Column, Dialect, members, names_of_models
from . import chat, decision, values, vision
from .question_types import MOST_QUESTIONS, Choice, YesNo
from .request import Answer, Input, Request, shown_to, tokens_of

#: Models that have labels of their own and score them, and what each reads.
_SCORERS = {"distilbert": "text", "resnet": "image"}
#: Models that see, and answer in words alone.
_SEERS = vision.FAMILIES - chat.FAMILIES
FAMILIES = decision.FAMILIES | frozenset(_SCORERS) | _SEERS
#: Models that give a probability for each label.
WITH_PROBABILITIES = frozenset({"system-one"}) | frozenset(_SCORERS)
#: What is asked where nothing else is.
BEST = "Which label fits the text best?"
_SETTINGS = chat.Settings(max_tokens=64)


def input_kinds(model: Model) -> frozenset[str]:
    """Return what a model can be given."""
    if model.family in _SCORERS:
        return frozenset({_SCORERS[model.family]})
    return frozenset({"image"}) if model.family in _SEERS else decision.KINDS & shown_to(model)


def check(choice: Choice | None, model: Model, *, multiple: bool = False) -> None:
    """Refuse labels the model does not have, and a choice without labels."""
    if multiple and (choice is None or len(choice.names) > MOST_QUESTIONS or model.family not in decision.FAMILIES):
        able = names_of_models(lambda other: other.family == "system-one")
        raise ModelError(f"multiple=True takes 2 to {MOST_QUESTIONS} labels, and a chat model or one of: {able}.")
    if model.family == "resnet":
        if choice is not None:
            raise ModelError(f"{model.id} has its own 1,000 labels; leave labels= out, or use another model.")
    elif choice is None:
        raise ValueError("labels: give at least two labels, as a list or a dict.")
    elif model.family == "distilbert" and not {name.lower() for name in choice.names} <= {"negative", "positive"}:
        raise ModelError(f"{model.id} only tells negative from positive; use clef-flash for other labels.")


def dialects(choice: Choice | None, *, multiple: bool = False) -> dict[str, Dialect]:
    """Return, by model family, how a model is asked for one of these labels, or whether each of them fits."""
    if choice is not None and multiple:
        asked = "" if choice.instructions == BEST else f"{choice.instructions} "
        each = {name: YesNo(f"{asked}Does the label {name!r} fit the text?", yes=what) for name, what in choice.options}
        return dict.fromkeys(decision.FAMILIES, decision.Questionnaire(each))
    found: dict[str, Dialect] = dict.fromkeys(_SCORERS, Scored(choice))
    if choice is not None:
        found |= dict.fromkeys(_SEERS, InWords(choice))
        found |= dict.fromkeys(decision.FAMILIES, decision.OneQuestion({"label": choice}))
    return found


def choice_of(labels: Sequence[str] | Mapping[str, str | None] | None, instructions: str) -> Choice | None:
    """Return the labels as a question; None where a model has its own."""
    if labels is None:
        return None
    described = labels.items() if isinstance(labels, Mapping) else [(name, None) for name in labels]
    return Choice(tuple(described), instructions)


def check_numbers(threshold: object, uncertain: object, wanted: bool, model: Model) -> None:
    """Refuse numbers that are not probabilities, and probabilities of a model that gives none."""
    decision.check_threshold(threshold)
    if uncertain is not None:
        decision.check_threshold(uncertain, "uncertain")
    decision.check_probabilities(wanted or uncertain is not None, model, WITH_PROBABILITIES)


def columns(
    choice: Choice | None, cells: Sequence[Cell], threshold: float, *, multiple: bool, all_: bool
) -> dict[str, Column]:  # fmt: skip
    """Lay the cells out: the label or a list of labels, and with ``all_`` the probabilities."""
    if choice is None:
        return members(cells, {"label": "category", "confidence": "number", "p": "object"})
    if not multiple:
        found = choice.columns("label", cells, 0.5, all_=all_)
        return {name.removeprefix("label__"): column for name, column in found.items()}

    def holds(part: Mapping[str, Any]) -> bool:
        return bool(part["value"] if part["p"] is None else part["p"] >= threshold)

    held = [cell and [name for name in choice.names if holds(cell[name])] for cell in cells]
    made = {"label": Column(held, "object")}
    for name in choice.names if all_ else ():
        made[f"p__{name}"] = Column([cell and cell[name]["p"] for cell in cells], "number")
    return made


def unsure(cell: Cell, limit: float | None) -> bool:
    """Say whether an answer is below a confidence: of several labels, whether one of them is."""
    if limit is None:
        return False
    sure = [cell["confidence"]] if "confidence" in cell else [max(part["p"], 1 - part["p"]) for part in cell.values()]
    return bool(None in sure or min(sure) < limit)


@dataclass(frozen=True)
class InWords:
    """A choice between labels as a question about a picture, whose answer has to be one of them."""

    choice: Choice

    @functools.cached_property
    def _question(self) -> vision.PictureQuestion:
        offered = "; ".join(name if what is None else f"{name} ({what})" for name, what in self.choice.options)
        words = f"{self.choice.instructions} Answer with one of these and nothing else: {offered}."
        return vision.PictureQuestion(words, _SETTINGS)

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""
        return self._question.build_request(value, model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate pictures and labels, and what may be written."""
        return self._question.estimate_usage(inputs, model)

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{label, confidence, p}`` without numbers; raise an AnswerError for any other words."""
        reply = self._question.parse(answer, value, model)
        if (problem := reply.problem(_SETTINGS.max_tokens)) is not None:
            raise problem
        try:
            return self.choice.chosen(reply.content)
        except ValueError as error:
            raise AnswerError(f"the answer is none of the labels: {error}", "schema", text=reply.text) from None


@dataclass(frozen=True)
class Scored:
    """A model that scores the labels it was trained on; None: all of them."""

    choice: Choice | None

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the input as it is: there is nothing to ask."""
        if model.family == "distilbert":
            return Request(json={"text": text_of(value)})
        (picture,) = media_in(value)
        return Request(content=picture.content(), content_type=picture.form.mime)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the pictures, or estimate the texts."""
        if model.family == "resnet":
            return Usage({"images": float(len(inputs))})
        return Usage({"input_tokens": float(sum(map(tokens_of, inputs)))})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return ``{label, confidence, p}``; raise an AnswerError where it holds no scores."""
        try:
            scores = {values.text(item["label"]): values.probability(item["score"]) for item in answer.json}
            folded = {name.lower(): score for name, score in scores.items()}
            p = scores if self.choice is None else {name: folded[name.lower()] for name in self.choice.names}
            best = max(p, key=lambda name: p[name])
        except (KeyError, TypeError, ValueError):
            raise AnswerError("the answer holds no scores", "broken", again=True) from None
        return {"label": best, "confidence": p[best], "p": p}
