"""How a model is asked about one picture in words: moondream, llava, and chat models that see."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import ModelError
from ...media import Parts, media_in
from ...models import Model, Usage, tokens_in
from ..task import names_of_models
from . import chat
from .reply import Reply
from .request import Answer, Input, Json, Request, tokens_of

#: Families that answer a question about a picture in words.
FAMILIES = chat.FAMILIES | {"moondream", "llava"}
DESCRIBE = "Describe this picture in one sentence."


def check(model: Model) -> None:
    """Refuse chat models that do not see."""
    if model.family in chat.FAMILIES and not model.can("vision"):
        seeing = names_of_models(lambda other: other.family in FAMILIES and other.can("vision"))
        raise ModelError(f"{model.id} sees no pictures. These do: {seeing}.")


@dataclass(frozen=True)
class PictureQuestion:
    """One question about every picture; without a question, the picture is described."""

    question: str | None
    settings: chat.Settings
    length: Literal["short", "normal", "long"] | None = None

    def build_request(self, value: Input, model: Model) -> Request:
        """Return the request in the model's own form."""
        (picture,) = media_in(value)  # these models are given one picture and no words of the row
        question, limit = self.question or DESCRIBE, self.settings.max_tokens
        if model.family == "moondream":
            asked: dict[str, Json] = {"task": "caption"}
            if self.question:  # it reasons unless told not to, and reasoning is paid for
                asked = {"task": "query", "question": question, "reasoning": False}
            elif self.length:
                asked["caption_length"] = self.length
            return Request(json={**asked, "image": picture.data_uri(), "max_tokens": limit})
        if model.family == "llava":
            return Request(json={"image": list(picture.content()), "prompt": question, "max_tokens": limit})
        return chat.build_request(chat.messages(Parts((question, picture)), None), model, self.settings)

    def parse(self, answer: Answer, value: Input, model: Model) -> Reply:
        """Return the reply, which may be cut or empty (``Reply.or_cut``)."""
        if model.family in chat.FAMILIES:
            return chat.parse_partial(answer, self.settings)
        output = answer.json if isinstance(answer.json, Mapping) else {}
        text = next((output[name] for name in ("caption", "answer", "description") if name in output), None)
        return Reply(text if isinstance(text, str) else None, output.get("finish_reason") == "length")

    @functools.cached_property
    def _fixed(self) -> int:
        return tokens_in(self.question or DESCRIBE)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate pictures and question, and count all of ``max_tokens`` as written."""
        read = float(sum(tokens_of(each) + self._fixed for each in inputs))
        return Usage({"input_tokens": read, "output_tokens": float(self.settings.max_tokens * len(inputs))})
