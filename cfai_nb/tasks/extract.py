"""Extract: named fields out of each text, as typed columns."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ModelError
from ..models import Model, Usage
from .dialects import chat
from .dialects.extraction import Extraction
from .dialects.fields import Fields, anchor, asked_of, columns_of, known, model_of, types_of
from .dialects.request import Answer, Json, Request
from .task import Cell, Cells, Column, Input, Task, display_only


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
    details: bool = display_only(False)
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

    def key_fields(self) -> dict[str, Json]:
        """Describe the fields by what is sent of them."""
        return super().key_fields() | asked_of(self.fields) | anchor(self.reference_date)

    @functools.cached_property
    def _wanted(self) -> Extraction:
        return Extraction(self.fields, self.reference_date, self.max_tokens)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        """Return the request in the model's own form."""
        return self._wanted.compose(inputs[0], model)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate texts and fields, and for a chat model all that it may write."""
        return self._wanted.forecast(inputs, model)

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell: for each field its value, and what else is known of it."""
        return [self._wanted.read(answer, model)]

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        """Return a typed column a field."""
        return columns_of(self.fields, cells, details=self.details)
