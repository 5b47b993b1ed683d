"""What every verb shares that lets a chat model write freely: how it is told, bounded and made to think."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models import Model, Usage
from .dialects import chat, conversation, examples
from .dialects.request import Json, Request
from .task import Input, Task


@dataclass(frozen=True, kw_only=True)
class Writer(Task):
    """A task whose prompts a chat model answers.

    Attributes
    ----------
    system : str, optional
        What the model is told before every prompt.
    examples : DataFrame, list of dict or list of (value, answer), optional
        Shown before every prompt: what the template names, and one column more, the answer (or the schema's fields).
    max_tokens : int
        The most it may write (default 512; the service's own default of 256 cuts JSON short).  A reply that is cut
        there is a failed row; its text is in ``cf.last_run().failures``, and fills the cell with
        ``on_error="partial"``.
    temperature : float, optional
        0 for the likeliest words; the model's own default otherwise (0 to 5 on older models, 0 to 2 on others).
    seed : int, optional
        Makes sampling repeatable where the model supports it.
    n : int
        Samples; with more than one, each row holds a list.
    reasoning : bool or str, optional
        Think (True), not (False), or how hard (``"low"``, ``"high"``, what the model knows); default: not where the
        model can go without.  Thinking is paid for and counts as written.
    lora : str, optional
        A fine-tune by id or name, on models that take one.
    raw : bool
        Send the prompt without the model's own chat template, as fine-tunes often want it.
    """

    work: ClassVar[str] = "generate"
    template: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = chat.FAMILIES
    owned: ClassVar[tuple[str, ...]] = ("lora",)

    system: str | None = None
    examples: Any = ()
    max_tokens: int = chat.MAX_TOKENS
    temperature: float | None = None
    seed: int | None = None
    n: int = 1
    reasoning: bool | str | None = None
    lora: str | None = None
    raw: bool = False

    @functools.cached_property
    def settings(self) -> chat.Settings:
        """What is asked of the model besides the prompt; computed once, since every row asks for it."""
        return chat.Settings(
            max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed, n=self.n,
            reasoning=self.reasoning, lora=self.lora, raw=self.raw,
        )  # fmt: skip

    def check(self, model: Model) -> None:
        """Refuse settings no model takes, or that do not go together."""
        super().check(model)
        examples.check(self.examples)
        self.settings.check(model)
        if self.raw and (self.system or self.examples):
            raise ValueError("raw= sends the prompt alone; leave system= and examples= out.")

    def input_kinds(self, model: Model) -> frozenset[str]:
        """Take text alone where the prompt is sent as it is."""
        return frozenset({"text"}) if self.raw else super().input_kinds(model)

    def opening(self, prompt: Input) -> list[dict[str, Json]]:
        """Return the conversation up to the first question."""
        return examples.before(chat.messages(prompt, self.system), self.examples)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the first turn of each prompt, and count all of ``max_tokens`` as written."""
        return chat.forecast(inputs, self._fixed, self.settings, model)

    @functools.cached_property
    def _fixed(self) -> int:
        before = "".join(str(message["content"]) for message in self.opening("")[:-1])
        return chat.fixed(before, self.settings)

    def turns(self, model: Model) -> tuple[int, str]:
        """Count a turn a sample where the model takes one at a time; tools and schemas may take more."""
        return conversation.expected(self.settings, model)

    def stream(self, prompt: str, model: Model) -> Request:
        """Return the request for one prompt whose answer comes piece by piece."""
        return chat.streamed(chat.compose(self.opening(prompt), model, self.settings), model)

    def streamed(self, request: Request, model: Model) -> Request | None:
        """Return the same request as a stream, where it is text alone: JSON is of no use before its end."""
        asked = self.settings
        plain = asked.schema is None and not asked.tools and not asked.reasoning and asked.n == 1
        return chat.streamed(request, model) if plain else None
