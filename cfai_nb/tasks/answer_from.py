"""AnswerFrom: questions that an instance of AI Search answers from its documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..errors import AnswerError
from ..models import Model, Usage
from .dialects import values
from .dialects.ai_search import instance_path, retrieval, source
from .dialects.request import Answer, Cell, Cells, Column, Input, Request, members, reading
from .task import Task

#: An instance answers with the model of its own settings, and AI Search publishes no price.
INSTANCE = Model(id="ai-search", task="AI Search", family="ai-search")


@dataclass(frozen=True, kw_only=True)
class AnswerFrom(Task):
    """Answer questions from the documents of an instance of AI Search.

    Attributes
    ----------
    instance : str
        The name of the instance.
    namespace : str
        The namespace of the instance.
    mode : {"vector", "keyword", "hybrid"}, optional
        How passages are searched; by default as the instance is set.
    top_k : int
        Passages to answer from, 50 at most.
    filter : dict, optional
        Only documents with metadata that fit.
    as_of : str
        The state of the instance: answers of another state are not reused.  Any text that changes with the documents
        and the settings; ``df.cfai.answer`` reads it from the instance.
    """

    name: ClassVar[str] = "answer"
    families: ClassVar[frozenset[str]] = frozenset({"ai-search"})
    default_model: ClassVar[str | Model] = INSTANCE
    account_fields: ClassVar[tuple[str, ...]] = ("instance",)

    instance: str
    namespace: str = "default"
    mode: Literal["vector", "keyword", "hybrid"] | None = None
    top_k: int = 10
    filter: Mapping[str, Any] | None = None
    as_of: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.as_of, str) or not self.as_of:
            raise ValueError(
                f"as_of={self.as_of!r}: give a text that changes with the documents of the instance, such as a date; "
                "df.cfai.answer(...) reads their state itself."
            )
        instance_path(self.instance, self.namespace)
        retrieval(self.mode, self.top_k, self.filter)

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        body = {
            "messages": [{"role": "user", "content": inputs[0]}],
            "ai_search_options": retrieval(self.mode, self.top_k, self.filter),
        }
        return Request(json=body, path=f"{instance_path(self.instance, self.namespace)}/chat/completions")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return one cell ``{answer, sources}``; without a passage the service writes no answer, and it is None."""
        with reading("chunks and choices"):
            sources = [source(chunk) for chunk in answer.json["chunks"]]
            choices = answer.json["choices"]
            content = choices[0]["message"]["content"] if choices else None
            text = "" if content is None else values.text(content).strip()
        if sources and not text:
            raise AnswerError(f"{len(sources)} passages were found, and the answer is empty", "empty")
        return [{"answer": text or None, "sources": sources}]

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Count the questions; AI Search publishes no price."""
        return Usage({"questions": float(len(inputs))})

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        return members(cells, {"answer": "text", "sources": "object"})
