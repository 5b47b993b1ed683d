"""The tasks whose prompts a chat model answers freely: their options, and what only they have.

That is: examples before the prompt, replies that come piece by piece, conversations of several turns, and fine-tunes of
the account.  ``Generate`` and ``Label`` are built on it; the engine and the frame ask for these things by this type.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models import Model, Usage
from .dialects import chat, conversation
from .dialects.conversation import Messages
from .dialects.request import Input, Request
from .task import Fill, Task


@dataclass(frozen=True, kw_only=True)
class ChatTask(Task):
    """A task whose prompts a chat model answers.

    Attributes
    ----------
    system : str, optional
        Instructions before every prompt.
    examples : DataFrame, list of dict or list of (value, answer), optional
        Shown before every prompt: the columns the template names, and one more, the answer (or the schema's fields).
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
        Think (True), not (False), or how hard (``"low"``, ``"high"``, the model's own levels); default: not where the
        model can go without.  Thinking is paid for and counts as written.
    lora : str, optional
        A fine-tune by id or name, on models that take one.
    raw : bool
        Send the prompt without the model's own chat template, as fine-tunes often want it.
    """

    template: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = chat.FAMILIES
    #: Fields that name what belongs to an account: where one is set, the account is part of the key.
    account_fields: ClassVar[tuple[str, ...]] = ("lora",)

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
        """The settings of every request; computed once, since every row needs them."""
        return chat.Settings(
            max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed, n=self.n,
            reasoning=self.reasoning, lora=self.lora, raw=self.raw,
        )  # fmt: skip

    def resolve(self, fill: Fill) -> Task:
        """Return the task with the options resolved that depend on the template of the call."""
        return self

    def check(self, model: Model) -> None:
        """Refuse settings no model takes, or that do not go together."""
        super().check(model)
        conversation.check_examples(self.examples)
        self.settings.check(model)
        if self.raw and (self.system or self.examples):
            raise ValueError("raw= sends the prompt alone; leave system= and examples= out.")

    def input_kinds(self, model: Model) -> frozenset[str]:
        """Take text alone where the prompt is sent as it is."""
        return frozenset({"text"}) if self.raw else super().input_kinds(model)

    def opening(self, prompt: Input) -> Messages:
        """Return the conversation up to the first question."""
        return conversation.with_examples(chat.messages(prompt, self.system), self.examples)

    @functools.cached_property
    def _fixed(self) -> int:
        before = "".join(str(message["content"]) for message in self.opening("")[:-1])
        return chat.fixed_tokens(before, self.settings)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the first turn of each prompt, and count all of ``max_tokens`` as written."""
        return chat.estimate_usage(inputs, self._fixed, self.settings, model)

    def turns(self, model: Model) -> tuple[int, str]:
        """Return how many requests a row takes at least, and in words what the estimate leaves out ("": nothing)."""
        return conversation.expected(self.settings, model)

    def streamed(self, request: Request, model: Model) -> Request | None:
        """Return the request whose answer comes piece by piece; None where pieces are of no use (JSON, tools)."""
        own = self.settings
        plain = own.schema is None and not own.tools and not own.reasoning and own.n == 1
        return chat.streamed(request, model) if plain else None
