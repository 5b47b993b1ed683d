"""Extract: named fields out of each text, as typed columns."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ModelError, check_count
from ..models import Model
from .dialects import chat
from .dialects.extraction import Extraction, Fields, decisions, reference_date, without
from .dialects.question_types import Question, check_distinct
from .dialects.request import Cell, Column, Input, Json
from .task import DialectTask, display_only


@dataclass(frozen=True, kw_only=True)
class Extract(DialectTask):
    """Find named fields in each text.

    Attributes
    ----------
    fields : list of str, dict of name to type, or pydantic model
        ``["vendor", "total: number"]`` or ``{"vendor": str, "total": float, "due": datetime.date}``.  Types: text,
        number, integer, date, datetime, time, duration, lists of text, numbers or dates, ``cf.estimate(...)`` and
        ``cf.forecast(...)``.
    details : bool
        With ``clairic``: also ``<name>__confidence``, ``<name>__p_null`` (how likely the text does not state it),
        ``<name>__start``, ``<name>__end`` (start and end in the text), ``<name>__guess`` (too unsure), figures of
        estimates.  Chat models give none of these, and are refused.
    reference_date : str or datetime.date, optional
        Reference date used to resolve dates without a year.  Without it such dates are returned as missing.
    max_tokens : int
        The most a chat model may write.

    Notes
    -----
    The default is ``clairic``, which charges what it reads, the text once for each field, as the plan counts it, and
    writes nothing.  It has no type for a boolean or one of several words (an enum, ``Literal``, a list of words):
    ``df.cfai.extract`` asks a decision model for these, in one call with one price and one frame.  A boolean is then
    never missing.  A chat model answers with JSON of the fields.  A field that the text does not settle is missing.  A
    text that the model could not read to its end is a failed row.
    """

    name: ClassVar[str] = "extract"
    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "extract"
    positional: ClassVar[tuple[str, ...]] = ("fields",)
    families: ClassVar[frozenset[str]] = chat.FAMILIES | {"clairic"}
    fallback: ClassVar[str] = "generate"
    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image"})

    fields: Fields
    details: bool = display_only(False)
    reference_date: str | dt.date | None = None
    max_tokens: int = chat.MAX_TOKENS

    @functools.cached_property
    def _dialect(self) -> Extraction:
        return Extraction(self.fields, self.reference_date, self.max_tokens)

    def check(self, model: Model) -> None:
        super().check(model)
        check_count(max_tokens=self.max_tokens)
        _ = self._dialect.model  # raises an error for fields that have no meaning
        check_distinct(self._dialect.names(details=self.details), "result column")
        reference_date(self.reference_date)
        if model.family == "clairic" and (unknown := self._dialect.without_type):
            decided = " Here one model answers all fields; ask for these in a column of their own, with cf.Ask."
            more = decided if set(unknown) <= set(decisions(self.fields)) else ""
            raise ModelError(
                f"{model.id} has no type for {', '.join(unknown)}; use a chat model, or another type.{more}"
            )
        if model.family != "clairic" and self.details:
            raise ModelError(f"{model.id} gives no details. Leave details= out, or use clairic.")

    def key_fields(self) -> dict[str, Json]:
        """Return the fields as they are described to a model."""
        return super().key_fields() | self._dialect.key_fields() | reference_date(self.reference_date)

    def divided(self) -> tuple[dict[str, Question], Extract | None]:
        """Return the questions for a decision model, and the task without them; None where nothing is left."""
        asked = decisions(self.fields)
        rest = without(self.fields, asked) if asked else self.fields
        if asked and self.details:
            found = [] if rest is None else Extraction(rest, None, self.max_tokens).names(details=True)
            check_distinct([*found, *asked, *(f"{name}__confidence" for name in asked)], "result column")
        return asked, None if rest is None else dataclasses.replace(self, fields=rest)

    def remarks(self, inputs: Sequence[Input], model: Model) -> list[str]:
        if model.family != "clairic":
            return super().remarks(inputs, model)
        return self._dialect.remarks(inputs, model)

    def to_columns(self, cells: Sequence[Cell]) -> Mapping[str, Column]:
        return self._dialect.to_columns(cells, details=self.details)
