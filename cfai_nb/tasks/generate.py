"""Generate: a prompt per row, and what the model writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import AnswerError
from ..models import Model, Usage
from . import chat, schema
from .answer import Answer, Json, Request
from .task import Cell, Column, Input, Talk, Task


@dataclass(frozen=True, kw_only=True)
class Generate(Task):
    """Fill a prompt template with each row and return what the model writes.

    Attributes
    ----------
    system : str, optional
        What the model is told before every prompt.
    max_tokens : int
        The most it may write (default 512; the service's own default of 256 cuts JSON short).  A reply that is cut
        there is a failed row, not a short answer.
    temperature : float, optional
        0 for the likeliest words; the model's own default otherwise (0 to 5 on older models, 0 to 2 on others).
    seed : int, optional
        Makes sampling repeatable where the model supports it.
    schema : pydantic model or dict of name to type, optional
        The reply becomes columns of these types.  ``{"year": int, "mood": ["glad", "sad"]}`` is enough; a list is a
        choice.  A reply that does not fit is sent back once with what is wrong with it.
    reasoning : bool
        Whether a model that can go without thinking shall think; thinking is paid for and counts as written.

    Notes
    -----
    One request per distinct prompt.  The price is per token read and written.
    """

    name: ClassVar[str] = "generate"
    work: ClassVar[str] = "generate"
    template: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = chat.FAMILIES

    system: str | None = None
    max_tokens: int = chat.MAX_TOKENS
    temperature: float | None = None
    seed: int | None = None
    schema: schema.Schema | None = None
    reasoning: bool = False

    def check(self, model: Model) -> None:
        """Refuse settings no model takes."""
        super().check(model)
        if isinstance(self.max_tokens, bool) or not isinstance(self.max_tokens, int) or self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens!r} must be a whole number of at least 1.")
        if self.temperature is not None and not 0 <= self.temperature <= (5 if model.family == "legacy" else 2):
            raise ValueError(f"temperature={self.temperature!r} is outside of what {model.id} takes.")
        if self.schema is not None:
            schema.model_of(self.schema)

    def asked(self) -> dict[str, Json]:
        """Describe the schema by what is sent of it."""
        fields = super().asked()
        if self.schema is not None:
            fields["schema"] = schema.model_of(self.schema).model_json_schema()
        return fields

    def settings(self) -> chat.Settings:
        """Return what is asked of the model besides the prompt."""
        wanted: Mapping[str, Any] | None = None
        if self.schema is not None:
            wanted = schema.model_of(self.schema).model_json_schema()
        return chat.Settings(
            max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed, schema=wanted,
            reasoning=self.reasoning,
        )  # fmt: skip

    def forecast(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the prompt, and count all of ``max_tokens`` as written."""
        total = Usage({})
        for prompt in inputs:
            total = total + Usage(chat.tokens(chat.messages(prompt, self.system), self.settings()))
        return total

    def talk(self, inputs: Sequence[Input], model: Model) -> Talk:
        """Ask; with a schema, send an answer that does not fit back once."""
        (prompt,) = inputs
        settings = self.settings()
        conversation = chat.messages(prompt, self.system)
        answer = yield chat.compose(conversation, model, settings)
        reply = chat.read(answer, settings)
        if self.schema is None:
            return [reply.text]
        wanted = schema.model_of(self.schema)
        try:
            return [schema.validate(wanted, reply.json())]
        except ValueError as error:
            wrong = str(error)
        conversation += [
            {"role": "assistant", "content": reply.text},
            {"role": "user", "content": f"That does not fit the schema: {wrong}\nAnswer again with JSON that does."},
        ]
        answer = yield chat.compose(conversation, model, settings)
        return [self._second(answer, settings, wanted)]

    def _second(self, answer: Answer, settings: chat.Settings, wanted: Any) -> Cell:
        try:
            return schema.validate(wanted, chat.read(answer, settings).json())
        except ValueError as error:
            raise AnswerError(f"two replies in a row did not fit the schema: {error}", "schema") from None

    def stream(self, prompt: str, model: Model) -> Request:
        """Return the request for one prompt whose answer comes piece by piece."""
        return chat.streamed(chat.compose(chat.messages(prompt, self.system), model, self.settings()), model)

    def streamed(self, request: Request, model: Model) -> Request | None:
        """Return the same request as a stream; JSON is of no use before its end."""
        return chat.streamed(request, model) if self.schema is None else None

    def tabulate(self, cells: Sequence[Cell]) -> Column | Mapping[str, Column]:
        """Return a column of text, or one a field of the schema."""
        if self.schema is None:
            return Column(cells, "text")
        return schema.columns(schema.model_of(self.schema), cells)
