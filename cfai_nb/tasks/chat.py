"""How text generation models are spoken to: one body, in each model's dialect, and one reader for all answers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic_core

from ..errors import AnswerError
from ..models import Model, tokens_in
from .answer import Answer, Json, Request

#: Families that write text.
FAMILIES = frozenset({"legacy", "openai", "responses+chat"})
#: The service's own default is 256 tokens and cuts JSON short, so a limit is always sent.
MAX_TOKENS = 512
_THINKING = re.compile(r"^\s*<think>.*?(</think>\s*|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of the model besides the messages.

    Attributes
    ----------
    max_tokens : int
    temperature : float or None
    seed : int or None
    schema : JSON schema or None
    reasoning : bool
        Whether a model that can go without thinking aloud shall think.
    """

    max_tokens: int = MAX_TOKENS
    temperature: float | None = None
    seed: int | None = None
    schema: Mapping[str, Json] | None = None
    reasoning: bool = False


def messages(prompt: str, system: str | None) -> list[dict[str, Json]]:
    """Return the opening of a conversation; fixed text comes first, where a prompt cache can find it again."""
    opening = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": prompt}]


def compose(talk: Sequence[Mapping[str, Json]], model: Model, settings: Settings) -> Request:
    """Return a request in the model's dialect."""
    talk = list(talk)
    body: dict[str, Json] = {}
    if settings.schema is not None:
        asked = _schema_fields(settings.schema, model)
        if not asked or model.json == "object":  # the model knows no schema: the words have to do
            talk = _with_schema_in_words(talk, settings.schema)
        body |= asked
    body["messages"] = talk
    body["max_tokens" if model.family == "legacy" else "max_completion_tokens"] = settings.max_tokens
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.seed is not None:
        body["seed"] = settings.seed
    if model.reasoning and not settings.reasoning:
        body |= model.reasoning.get("off") or {}
    return Request(json=body)


def streamed(request: Request, model: Model) -> Request:
    """Return the request whose answer comes piece by piece."""
    body = {**request.json, "stream": True}
    if model.family == "responses+chat":  # on its own address it answers a stream with an empty object
        return dataclasses.replace(request, json=body | {"model": model.id}, path="v1/chat/completions")
    return dataclasses.replace(request, json=body)


def _schema_fields(schema: Mapping[str, Json], model: Model) -> dict[str, Json]:
    if model.json == "bare":
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if model.json == "wrapped":
        wrapped = {"name": "answer", "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": wrapped}}
    if model.json == "guided":
        return {"guided_json": schema}
    if model.json == "object":
        return {"response_format": {"type": "json_object"}}
    return {}


def _with_schema_in_words(talk: list[Mapping[str, Json]], schema: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    words = (
        f"Answer with one JSON object of this JSON schema and nothing else:\n{pydantic_core.to_json(schema).decode()}"
    )
    first = talk[0]
    return [{**first, "content": f"{first['content']}\n\n{words}"}, *talk[1:]]


def tokens(talk: Sequence[Mapping[str, Json]], settings: Settings) -> dict[str, float]:
    """Estimate the most a conversation's next turn uses: its text, the schema, and all of ``max_tokens``."""
    read = sum(tokens_in(str(message["content"])) + 4 for message in talk)
    if settings.schema is not None:
        read += tokens_in(pydantic_core.to_json(settings.schema).decode())
    return {"input_tokens": float(read), "output_tokens": float(settings.max_tokens)}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: text, or JSON it was asked for that came already parsed."""

    content: Any
    cut: bool

    @property
    def text(self) -> str:
        """The reply as text."""
        if isinstance(self.content, str):
            return _THINKING.sub("", self.content, count=1)
        return pydantic_core.to_json(self.content).decode()

    def json(self) -> Json:
        """The reply as JSON, also where the model wrapped it in words or a code fence.

        Raises
        ------
        ValueError
            There is no JSON object in it.
        """
        if not isinstance(self.content, str):
            return self.content
        text = self.text.strip()
        try:
            return pydantic_core.from_json(text)
        except ValueError:
            start, end = text.find("{"), text.rfind("}")
            if start < 0 or end < start:
                raise ValueError("no JSON object in the reply") from None
            return pydantic_core.from_json(text[start : end + 1])


def read(answer: Answer, settings: Settings) -> Reply:
    """Find the reply in whichever form the model answers.

    Raises
    ------
    AnswerError
        The reply is empty (``"empty"``) or was cut at the token limit (``"length"``): silent losses otherwise.
    """
    try:
        content, cut = _find(answer.json)
    except (AttributeError, KeyError, IndexError, TypeError):
        raise AnswerError("the answer has no known form", "broken", again=True) from None
    if not cut and isinstance(answer.json, Mapping) and "choices" not in answer.json:
        # The legacy form does not say why it ended, but how much it wrote.
        usage = answer.json.get("usage")
        written = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        cut = isinstance(written, (int, float)) and written >= settings.max_tokens
    reply = Reply(content, cut)
    if cut:
        raise AnswerError(
            f"the reply was cut at max_tokens={settings.max_tokens}; raise it (thinking counts too)", "length"
        )
    if content is None or (isinstance(content, str) and not reply.text.strip()):
        raise AnswerError("the reply is empty", "empty")
    return reply


def _find(output: Json) -> tuple[Any, bool]:
    """Return content and whether it was cut, from a chat completion, a Responses object or the legacy form."""
    if isinstance(output, str):
        return output, False
    if not isinstance(output, Mapping):
        return None, False
    if choices := output.get("choices"):
        choice = choices[0]
        message = choice.get("message") or {}
        content = message.get("content") if message else choice.get("text")
        return _joined(content), choice.get("finish_reason") == "length"
    if isinstance(output.get("output"), list):
        parts = [
            part for item in output["output"] if item.get("type") == "message" for part in item.get("content") or ()
        ]
        text = "".join(part.get("text") or "" for part in parts if part.get("type") == "output_text")
        return text or None, output.get("status") == "incomplete"
    return output.get("response"), False


def _joined(content: Any) -> Any:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return content
