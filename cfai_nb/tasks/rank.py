"""Rank: how well each text answers a query."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AnswerError, check_count
from ..models import Model, Usage
from .dialects import decision
from .dialects.question_types import Scale
from .dialects.request import Answer, Cells, ColumnKind, Input, Request, reading, tokens_of
from .dialects.values import number, whole
from .task import DialectTask, display_only

#: Families that take a query and many texts at once.
_RERANKERS = frozenset({"reranker", "bge-m3"})
_LEVELS = ("unrelated", "same subject, no answer", "answers in part", "answers it")


@dataclass(frozen=True, kw_only=True)
class Rank(DialectTask):
    """Order the rows by how well they answer a query.

    Attributes
    ----------
    query : str
        The question or subject to rank by.
    top_k : int, optional
        Return the best rows only, and those that failed.  Changing it sends no new requests.
    column : str
        The name of the column of scores (default ``"score"``).

    Notes
    -----
    Returns the rows, best first, with their scores.  Rows that failed or have no text are at the end with a missing
    score; ``top_k`` counts scored rows and keeps the failed ones too, since one of them may be the best.  Scores of a
    reranker can only be compared for the same query; 32 rows go into a request.  A decision or chat model places each
    row on a scale instead, from 0 (unrelated) to 1, with one request per distinct row.
    """

    name: ClassVar[str] = "rank"
    version: ClassVar[int] = 2
    default_model: ClassVar[str | Model] = "rank"
    positional: ClassVar[tuple[str, ...]] = ("query",)
    families: ClassVar[frozenset[str]] = decision.FAMILIES | _RERANKERS
    column_kind: ClassVar[ColumnKind] = "number"

    query: str
    top_k: int | None = display_only(None)
    column: str = display_only("score")

    @functools.cached_property
    def _dialect(self) -> decision.OneQuestion:
        return decision.OneQuestion({"relevance": Scale(_LEVELS, f"How well does the text answer this: {self.query}")})

    def check(self, model: Model) -> None:
        super().check(model)
        if not isinstance(self.query, str) or not self.query.strip():
            raise ValueError(f"query={self.query!r}: give the question or subject to rank by.")
        if self.top_k is not None:
            check_count(top_k=self.top_k)

    def batch(self, model: Model) -> int:
        """Return the texts a request may carry: no limit is published; 32 were always accepted."""
        return 32 if model.family in _RERANKERS else 1

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        if model.family not in _RERANKERS:
            return super().build_request(inputs, model)
        return Request(json={"query": self.query, "contexts": [{"text": text} for text in inputs]})

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate texts, the query with each of them, and for a chat model what it may write."""
        if model.family not in _RERANKERS:
            return super().estimate_usage(inputs, model)
        query = tokens_of(self.query)
        return Usage({"input_tokens": float(sum(tokens_of(each) + query for each in inputs))})

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one score a text."""
        if model.family not in _RERANKERS:
            return [self._dialect.parse(answer, inputs[0], model)["score"] / (len(_LEVELS) - 1)]
        with reading("scores"):
            scores = {whole(each["id"]): number(each["score"]) for each in answer.json["response"]}
        if set(scores) != set(range(len(inputs))):
            raise AnswerError(f"{len(scores)} scores for {len(inputs)} texts", "mismatch", again=True)
        return [scores[at] for at in range(len(inputs))]
