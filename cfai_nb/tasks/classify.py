"""Classify: one label per row, with a probability for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError, ModelError
from ..models import Model, Usage, tokens_in
from . import chat
from .answer import Answer, Json, Request
from .task import Cell, Cells, Column, Input, Task, shown

#: What a decision request carries besides state and labels, in tokens: the service was seen to bill 346 for a tiny one.
_OVERHEAD = 300


@dataclass(frozen=True, kw_only=True)
class Classify(Task):
    """Give each row one of the labels.

    Attributes
    ----------
    labels : list of str, or dict of label to description
        At least two.  A description helps the model more than a long label does.
    instructions : str, optional
        What is being decided; default "Which label fits the text best?".
    probabilities : bool
        Return a DataFrame ``label, confidence, p__<label>`` instead of a categorical Series.  Probabilities are always
        kept, so asking for them later sends nothing.

    Notes
    -----
    Decision models (the default, ``clef-flash``) give calibrated probabilities and charge what they read.  A chat model
    answers with a label alone; its probabilities are missing.  ``distilbert-sst-2-int8`` knows two labels, negative and
    positive.  One request per distinct row.
    """

    name: ClassVar[str] = "classify"
    work: ClassVar[str] = "classify"
    positional: ClassVar[tuple[str, ...]] = ("labels",)
    families: ClassVar[frozenset[str]] = chat.FAMILIES | {"system-one", "distilbert"}

    labels: Sequence[str] | Mapping[str, str | None]
    instructions: str = "Which label fits the text best?"
    probabilities: bool = shown(False)

    @property
    def _described(self) -> dict[str, str | None]:
        return dict(self.labels) if isinstance(self.labels, Mapping) else dict.fromkeys(self.labels)

    def check(self, model: Model) -> None:
        """Refuse labels no model could choose between."""
        super().check(model)
        names = list(self.labels) if not isinstance(self.labels, str) else [self.labels]
        if isinstance(self.labels, str) or len(names) < 2:
            raise ValueError(f"labels={self.labels!r}: give at least two labels, as a list or a dict.")
        if any(not isinstance(name, str) or not name.strip() for name in names):
            raise ValueError(f"labels={names!r}: every label must be a text that is not empty.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"labels: {', '.join(twice)} given more than once.")
        if len(names) > 255:
            raise ValueError(f"{len(names)} labels: a decision takes at most 255.")
        if model.family == "distilbert" and not {n.lower() for n in names} <= {"negative", "positive"}:
            raise ModelError(f"{model.id} only tells negative from positive; use clef-flash for other labels.")

    def compose(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        (text,) = inputs
        if model.family == "distilbert":
            return Request(json={"text": text})
        if model.family == "system-one":
            question = {"type": "choice", "instructions": self.instructions, "criteria": self._described}
            return Request(json={"model": model.name, "state": text, "questions": {"label": question}})
        return chat.compose(chat.messages(text, self._system()), model, self._settings())

    def _system(self) -> str:
        lines = [f"- {name}: {what}" if what else f"- {name}" for name, what in self._described.items()]
        return f"{self.instructions} Answer for the user's text with exactly one label:\n" + "\n".join(lines)

    def _settings(self) -> chat.Settings:
        label: Json = {"type": "string", "enum": list(self._described)}
        wanted = {"type": "object", "properties": {"label": label}, "required": ["label"]}
        return chat.Settings(max_tokens=256, temperature=0.0, schema=wanted)

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate text and labels, and for a chat model what it may write."""
        written = {"output_tokens": 256.0 * len(inputs)} if model.family in chat.FAMILIES else {}
        words = 0 if model.family == "distilbert" else _OVERHEAD + tokens_in(self._system())
        return Usage({"input_tokens": float(sum(tokens_in(text) + words for text in inputs)), **written})

    def read(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell ``{label, confidence, p}``."""
        if model.family == "system-one":
            return [self._decision(answer.json)]
        if model.family == "distilbert":
            return [self._scores(answer.json)]
        try:
            said = chat.read(answer, self._settings()).json()
            label = str(said["label"] if isinstance(said, Mapping) else said).strip()
        except (ValueError, KeyError):
            raise AnswerError("the reply names no label", "schema") from None
        found = next((name for name in self._described if name.casefold() == label.casefold()), None)
        if found is None:
            raise AnswerError(f"the reply is no label of the list: {label[:80]!r}", "schema")
        return [{"label": found, "confidence": None, "p": None}]

    def _decision(self, output: Json) -> Cell:
        try:
            decided = output["answers"]["label"]
            p = {name: float(decided["probabilities"][name]) for name in self._described}
            chosen, confidence = str(decided["choice"]), float(decided["confidence"])
        except (KeyError, TypeError, ValueError):
            raise AnswerError("the answer holds no decision about the labels", "broken", again=True) from None
        if chosen not in p:
            raise AnswerError(f"the answer is no label of the list: {chosen[:80]!r}", "broken", again=True)
        return {"label": chosen, "confidence": confidence, "p": p}

    def _scores(self, output: Json) -> Cell:
        try:
            scores = {str(item["label"]).lower(): float(item["score"]) for item in output}
            p = {name: scores[name.lower()] for name in self._described}
        except (KeyError, TypeError, ValueError):
            raise AnswerError("the answer holds no scores", "broken", again=True) from None
        best = max(p, key=lambda name: p[name])
        return {"label": best, "confidence": p[best], "p": p}

    def tabulate(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return the labels, or labels with confidence and probabilities."""
        names = tuple(self._described)
        label = Column([None if cell is None else cell["label"] for cell in cells], "category", names)
        if not self.probabilities:
            return label
        confidence = [None if cell is None else cell["confidence"] for cell in cells]
        columns = {"label": label, "confidence": Column(confidence, "number")}
        for name in names:
            p = [None if cell is None or cell["p"] is None else cell["p"][name] for cell in cells]
            columns[f"p__{name}"] = Column(p, "number")
        return columns
