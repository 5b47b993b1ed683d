"""Embed: texts become vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import AnswerError
from ..models import Model, Usage
from .dialects.request import Answer, Cell, Cells, Column, Input, Json, Request
from .task import Task

ROLES = frozenset({"bge-m3", "qwen3-embedding"})  #: Families that embed documents and queries differently.
QUERIES = frozenset({"qwen3-embedding"})  #: Those to which a query is sent in another form than a text without a role.


@dataclass(frozen=True, kw_only=True)
class Embed(Task):
    """Turn texts into vectors that are close to each other when the texts mean similar things.

    Attributes
    ----------
    pooling : {"mean", "cls"}, optional
        How bge-small, -base and -large make one vector of many; the service's default is ``"mean"``, ``"cls"`` is
        the more accurate.  Vectors of different pooling do not compare.
    role : {"document", "query"}, optional
        For search with qwen3-embedding and bge-m3, which embed the two differently, into one space.
    instruction : str, optional
        What a query is for (qwen3-embedding, with ``role="query"``).
    truncate : bool
        Let bge-m3 cut texts that are too long for it; otherwise such a row fails.

    Notes
    -----
    Up to 100 texts go into a request (qwen3-embedding: 32); the price is per token read.  bge-small, -base and -large
    read 512 tokens and ignore the rest; the plan states how many rows look longer.
    """

    name: ClassVar[str] = "embed"
    default_model: ClassVar[str | Model] = "embed"
    families: ClassVar[frozenset[str]] = ROLES | {"bge", "plain-embedding", "openai-embedding"}

    pooling: Literal["mean", "cls"] | None = None
    role: Literal["document", "query"] | None = None
    instruction: str | None = None
    truncate: bool = False

    def check(self, model: Model) -> None:
        super().check(model)
        for name, one, other, families in (("pooling", "mean", "cls", {"bge"}), ("role", "document", "query", ROLES)):
            if (given := getattr(self, name)) not in (None, one, other):
                raise ValueError(f'{name}={given!r}: give "{one}" or "{other}".')
            if given and model.family not in families:
                raise ValueError(f"{model.id} has no {name} to choose; leave {name}= out.")
        if self.instruction and not (model.family == "qwen3-embedding" and self.role == "query"):
            raise ValueError('instruction= is for qwen3-embedding with role="query".')
        if self.truncate and model.family != "bge-m3":
            raise ValueError(f"{model.id} has no truncate; bge models cut at {model.context} tokens by themselves.")

    def batch(self, model: Model) -> int:
        """Return the texts a request may carry; 32, the smallest known number, if none is published."""
        return model.batch or 32

    def build_request(self, inputs: Sequence[Input], model: Model) -> Request:
        texts: Json = list(inputs)
        if model.family == "openai-embedding":  # asked for floats, since clients that ask for base64 got zeros
            body = {"model": model.id, "input": texts, "encoding_format": "float"}
            return Request(json=body, path="v1/embeddings", expected="vectors")
        body = {"text": texts}
        if model.family == "qwen3-embedding" and self.role == "query":
            body = {"queries": texts} | ({"instruction": self.instruction} if self.instruction else {})
        elif model.family == "qwen3-embedding" and self.role == "document":
            body = {"documents": texts}
        elif model.family == "bge-m3" and self.role == "document":
            body = {"contexts": [{"text": text} for text in texts]}
        body |= {"pooling": self.pooling} if self.pooling else {}
        return Request(json=body | ({"truncate_inputs": True} if self.truncate else {}), expected="vectors")

    def parse(self, answer: Answer, inputs: Sequence[Input], model: Model) -> Cells:
        """Return a matrix with a row a text."""
        matrix = answer.listed() if model.family == "openai-embedding" else answer.floats("data", "response")
        if matrix is None:
            raise AnswerError("the answer holds no vectors", "empty", again=True)
        wrong = f"vectors of {matrix.shape[1]} dimensions instead of {model.dims}"
        misfit = len(matrix) and model.dims and matrix.shape[1] != model.dims
        return [AnswerError(wrong, "dimensions")] * len(matrix) if misfit else matrix  # repeated, it would cost again

    def usage(self, request: Request, answer: Answer, inputs: Sequence[Input], model: Model) -> Usage:
        """Return the usage in the header, or the estimate; embedding models report none in the body."""
        if (neurons := answer.neurons) is None:
            return self.estimate_usage(inputs, model)
        return Usage({"neurons": neurons}, exact=True)

    def to_columns(self, cells: Sequence[Cell]) -> Column:
        return Column((), "vector", form=self.pooling or "")
