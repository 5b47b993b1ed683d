"""Extract: named fields out of each text, as typed columns."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import AnswerError, ModelError
from ..models import Model, Usage
from . import chat, decisions, schema
from .answer import Answer, Json, Request
from .fields import Fields, anchor, asked_of, columns_of, known, model_of, specs_of, system, told, types_of
from .task import Cell, Cells, Column, Input, Task, shown


@dataclass(frozen=True, kw_only=True)
class Extract(Task):
    """Find named fields in each text.

    Attributes
    ----------
    fields : list of str, dict of name to type, or pydantic model
        ``["vendor", "total: number"]`` or ``{"vendor": str, "total": float, "due": datetime.date}``.  Types: text,
        number, integer, date, datetime, time, duration, lists of text, numbers or dates, ``cf.estimate(...)`` and
        ``cf.forecast(...)``.
    details : bool
        With ``clairic``: also ``<name>__confidence``, ``<name>__p_null`` (how likely the text does not say it),
        ``<name>__start``, ``<name>__end`` (where it stands), ``<name>__guess`` (too unsure), figures of estimates.
        Chat models know none of that, and are refused.
    reference_date : str or datetime.date, optional
        Reference date used to resolve dates without a year.  Without it such dates are returned as missing.
    max_tokens : int
        The most a chat model may write.

    Notes
    -----
    The default is ``clairic``, which writes nothing and charges what it reads; a chat model answers with JSON of the
    fields.  A field the text does not settle is missing.  A text the model could not read to its end is a failed row.
    """

    name: ClassVar[str] = "extract"
    version: ClassVar[int] = 2
    work: ClassVar[str] = "extract"
    positional: ClassVar[tuple[str, ...]] = ("fields",)
    families: ClassVar[frozenset[str]] = chat.FAMILIES | {"clairic"}
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})

    fields: Fields
    details: bool = shown(False)
    reference_date: str | dt.date | None = None
    max_tokens: int = chat.MAX_TOKENS

    def check(self, model: Model) -> None:
        """Refuse fields the model has no type for."""
        super().check(model)
        model_of(self.fields)
        anchor(self.reference_date)
        unknown = [name for name, kind in types_of(self.fields).items() if not known(kind)]
        if model.family == "clairic" and unknown:
            raise ModelError(f"{model.id} has no type for {', '.join(unknown)}; use a chat model, or another type.")
        if model.family != "clairic" and self.details:
            raise ModelError(f"{model.id} gives no details. Leave details= out, or use clairic.")

    def asked(self) -> dict[str, Json]:
        """Describe the fields by what is sent of them."""
        return super().asked() | asked_of(self.fields) | anchor(self.reference_date)

    @functools.cached_property
    def _model(self) -> Any:
        return model_of(self.fields)

    @functools.cached_property
    def _settings(self) -> chat.Settings:
        return chat.Settings(max_tokens=self.max_tokens, temperature=0.0, schema=self._model.model_json_schema())

    @functools.cached_property
    def _specs(self) -> dict[str, Json]:
        return specs_of(self.fields)

    @functools.cached_property
    def _fixed(self) -> int:
        return chat.fixed(system(self.reference_date), self._settings)

    def compose(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        (value,) = inputs
        if model.family != "clairic":
            return chat.compose(chat.messages(value, system(self.reference_date)), model, self._settings)
        asked = {"fields": self._specs, **anchor(self.reference_date)}
        return Request(json={"model": model.name, **decisions.state(value), **asked})

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate texts and fields, and for a chat model all that it may write."""
        if model.family == "clairic":
            fixed = 100 + 30 * len(self._model.model_fields)
            return Usage({"input_tokens": float(sum(decisions.tokens(each) + fixed for each in inputs))})
        return chat.forecast(inputs, self._fixed, self._settings, model)

    def read(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell: for each field its value, and what else is known of it."""
        reply = None if model.family == "clairic" else chat.read(answer, self._settings)
        try:
            if reply is None:
                return [told(self.fields, answer.json)]
            said = schema.read(self._model, reply.json())
            return [{name: {"value": value} for name, value in said.items()}]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = None if reply is None else reply.text
            raise AnswerError(f"the answer does not fit the fields: {error}", "schema", text=text) from None

    def tabulate(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        """Return a typed column a field."""
        return columns_of(self.fields, cells, details=self.details)
