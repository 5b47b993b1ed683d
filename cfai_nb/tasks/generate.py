"""Generate: a prompt per row, and the text (or JSON) that a model writes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models import Model
from .dialects import chat, conversation, schema
from .dialects.key import key_of_model
from .dialects.request import Cell, Column, ColumnKind, Conversation, Input, Json, members
from .task import ChatTask, Task, display_only


@dataclass(frozen=True, kw_only=True)
class Generate(ChatTask):
    """Fill a prompt template with each row and return what the model writes.

    Attributes
    ----------
    schema : pydantic model or dict of name to type, optional
        The reply becomes columns of these types.  ``{"year": int, "mood": ["glad", "sad"]}`` is enough; a list is a
        choice.  A reply that does not fit is sent back once with what is wrong with it.
    tools : list of functions, optional
        Functions the model may call, described by signature and docstring.  Tools run in threads, for several rows at
        once; a resumed conversation runs them again.  Exceptions are sent to the model.  Changes in data that a tool
        reads are not noticed; use ``cache="refresh"``.
    max_turns : int
        The most requests a row may take with tools; no answer by then is a failed row.
    thinking : bool
        Return a DataFrame ``answer, thinking``.  Thinking is always kept, so asking for it later sends nothing.

    Notes
    -----
    One request per distinct prompt, priced per token read and written.  The plan prices the first turn of each and
    states what may follow (tools, JSON sent back): that is reserved, charged and held to the budget as it comes.
    """

    name: ClassVar[str] = "generate"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[str]] = frozenset({"text", "image", "audio"})

    schema: schema.Schema | None = None
    tools: Sequence[Callable[..., Any]] = ()
    max_turns: int = 8
    thinking: bool = display_only(False)

    def resolve(self, fill: conversation.Fill) -> Task:
        if self.examples is None or not len(self.examples):
            return self
        return dataclasses.replace(self, examples=conversation.example_pairs(self.examples, self.schema, fill))

    def check(self, model: Model) -> None:
        super().check(model)
        conversation.check(self.max_turns, self._tools)
        if self.thinking and self.schema is not None and "thinking" in self._wanted.model_fields:
            raise ValueError("thinking=True makes a column of this name; rename the schema's field.")

    @functools.cached_property
    def _tools(self) -> list[conversation.Tool]:
        return [conversation.tool_of(function) for function in self.tools]

    @functools.cached_property
    def _wanted(self) -> Any:
        return None if self.schema is None else schema.model_of(self.schema)

    @functools.cached_property
    def settings(self) -> chat.Settings:
        """The settings of every request, with schema and tools."""
        tools, wanted = tuple(tool.definition for tool in self._tools), self._wanted
        return dataclasses.replace(super().settings, schema=wanted and schema.json_schema(wanted), tools=tools)

    def key_fields(self) -> dict[str, Json]:
        """Return the schema as it is sent and the code that reads it, and tools by definition and source."""
        fields = Task.key_fields(dataclasses.replace(self, schema=None, tools=()))
        # "reading" is raised when an answer of a schema is read in another way (2026-11).
        read = {"schema": None} if self.schema is None else {**key_of_model(self._wanted), "reading": 2}
        return fields | read | {"tools": [[t.definition, t.source] for t in self._tools]}

    def conversation(self, inputs: Sequence[Input], model: Model) -> Conversation:
        asked = self.opening(*inputs), model, self.settings
        if self.n > 1:
            return [(yield from conversation.samples(*asked))]
        return [(yield from conversation.converse(*asked, self._tools, self.max_turns, self._wanted))]

    def to_columns(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        kind: ColumnKind = "text" if self.n == 1 else "object"
        columns = members(cells, {"answer": kind, "thinking": kind})
        beside = {"thinking": columns["thinking"]} if self.thinking else {}
        if self.schema is not None:
            return schema.columns(self._wanted, columns["answer"].values) | beside
        return {"answer": columns["answer"]} | beside if beside else columns["answer"]
