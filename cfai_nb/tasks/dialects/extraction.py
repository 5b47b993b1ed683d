"""How fields are asked for and read: of the extraction model in its own words, of a chat model by a JSON schema."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import AnswerError
from ...models import Model, Usage
from ..task import Cell
from . import chat, decision, schema
from .fields import Fields, anchor, model_of, specs_of, system, told
from .inputs import Input
from .request import Answer, Json, Request

#: Tokens the extraction model reads besides the text: a fixed part, and for each field; estimated.
_OWN, _FIELD = 100, 30


@dataclass(frozen=True)
class Extraction:
    """What one task extracts; what follows from that alone is worked out once, not once a row."""

    fields: Fields
    day: str | dt.date | None
    max_tokens: int

    @functools.cached_property
    def _model(self) -> Any:
        return model_of(self.fields)

    @functools.cached_property
    def _specs(self) -> dict[str, Json]:
        return specs_of(self.fields)

    @functools.cached_property
    def _settings(self) -> chat.Settings:
        return chat.Settings(max_tokens=self.max_tokens, temperature=0.0, schema=schema.described(self._model))

    @functools.cached_property
    def _fixed(self) -> int:
        return chat.fixed(system(self.day), self._settings)

    def compose(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""
        if model.family != "clairic":
            return chat.compose(chat.messages(value, system(self.day)), model, self._settings)
        asked = {"fields": self._specs, **anchor(self.day)}
        return Request(json={"model": model.name, **decision.state(value), **asked})

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate texts and fields, and for a chat model all that it may write."""
        if model.family != "clairic":
            return chat.forecast(inputs, self._fixed, self._settings, model)
        fixed = _OWN + _FIELD * len(self._model.model_fields)
        return Usage({"input_tokens": float(sum(decision.tokens(each) + fixed for each in inputs))})

    def read(self, answer: Answer, model: Model) -> Cell:
        """Return for each field its value, and what else is known of it.

        Raises
        ------
        AnswerError
            It does not fit the fields (``"schema"``), or is cut.
        """
        reply = None if model.family == "clairic" else chat.read(answer, self._settings)
        try:
            if reply is None:
                return told(self.fields, answer.json)
            said = schema.read(self._model, reply.json())
            return {name: {"value": value} for name, value in said.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = None if reply is None else reply.text
            raise AnswerError(f"the answer does not fit the fields: {error}", "schema", text=text) from None
