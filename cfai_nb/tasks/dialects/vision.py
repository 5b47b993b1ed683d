"""How a model is asked about one picture in words: moondream, llava, and chat models that see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from ...errors import ModelError
from ...media import Parts, media_in
from ...models import Model, Usage, catalogue
from . import chat
from .inputs import Input, tokens_of
from .reply import Reply
from .request import Answer, Json, Request

#: Families that answer a question about a picture in words.
FAMILIES = chat.FAMILIES | {"moondream", "llava"}
DESCRIBE = "Describe this picture in one sentence."


def check(model: Model) -> None:
    """Refuse chat models that do not see."""
    if model.family in chat.FAMILIES and not model.can("vision"):
        seeing = ", ".join(m.name for m in catalogue().values() if m.family in FAMILIES and m.can("vision"))
        raise ModelError(f"{model.id} sees no pictures. These do: {seeing}.")


def compose(
    value: Input, question: str | None, model: Model, settings: chat.Settings,
    length: Literal["short", "normal", "long"] | None = None,
) -> Request:  # fmt: skip
    """Return the request; without a question the picture is described."""
    (picture,) = media_in(value)  # these are shown one picture and no words of the row, see ``frames.rows_of``
    if model.family == "moondream":
        asked: dict[str, Json] = {"task": "caption"}
        if question:  # it thinks unless told not to, and thinking is paid for
            asked = {"task": "query", "question": question, "reasoning": False}
        if not question and length:
            asked["caption_length"] = length
        return Request(json={**asked, "image": picture.data_uri(), "max_tokens": settings.max_tokens})
    if model.family == "llava":
        words = {"prompt": question or DESCRIBE, "max_tokens": settings.max_tokens}
        return Request(json={"image": list(picture.content()), **words})
    return chat.compose(chat.messages(Parts((question or DESCRIBE, picture)), None), model, settings)


def hear(answer: Answer, model: Model, settings: chat.Settings) -> Reply:
    """Return what was said of the picture, whole or not (``Reply.or_cut``)."""
    if model.family in chat.FAMILIES:
        return chat.hear(answer, settings)
    output = answer.json if isinstance(answer.json, Mapping) else {}
    said = next((output[name] for name in ("caption", "answer", "description") if name in output), None)
    return Reply(said if isinstance(said, str) else None, output.get("finish_reason") == "length")


def forecast(inputs: Sequence[Input], question: str | None, model: Model, settings: chat.Settings) -> Usage:
    """Estimate pictures and question, and count all of ``max_tokens`` as written."""
    words = tokens_of(question or DESCRIBE)
    read_ = float(sum(tokens_of(each) + words for each in inputs))
    return Usage({"input_tokens": read_, "output_tokens": float(settings.max_tokens * len(inputs))})
