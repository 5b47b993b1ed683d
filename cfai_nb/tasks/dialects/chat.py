"""How text generation models are spoken to: one body, in each model's dialect."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pydantic_core

from ...errors import AnswerError, ModelError
from ...media import Media, Parts
from ...models import Model, Usage, catalogue, tokens_in
from . import reply
from .inputs import Input, tokens_of
from .request import Answer, Json, Request

#: Families that write text.
FAMILIES = frozenset({"legacy", "openai", "responses+chat"})
#: The service's own default is 256 tokens and cuts JSON short, so a limit is always sent.
MAX_TOKENS = 512
#: Bytes of fixed text, about 1,000 tokens, from which on a prompt cache is worth being tied to one instance.
_WORTH_CACHING = 4_000
#: Families that write several samples for one request.
SAMPLERS = frozenset({"openai", "responses+chat"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is asked of the model besides the messages.

    Attributes
    ----------
    max_tokens : int
    temperature : float or None
    seed : int or None
    schema : JSON schema or None
    reasoning : bool, str or None
        Whether the model shall think, or how hard; None: not where it can go without.
    tools : tuple of JSON
        Definitions of functions it may call.
    n : int
        Samples.
    lora : str or None
        A fine-tune by id or name.
    raw : bool
        Send the prompt without the model's own chat template.
    """

    max_tokens: int = MAX_TOKENS
    temperature: float | None = None
    seed: int | None = None
    schema: Mapping[str, Json] | None = None
    reasoning: bool | str | None = None
    tools: tuple[Json, ...] = ()
    n: int = 1
    lora: str | None = None
    raw: bool = False

    def check(self, model: Model) -> None:
        """Raise a ValueError for what no model takes, or not this one."""
        for name, count in (("max_tokens", self.max_tokens), ("n", self.n)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{name}={count!r} must be a whole number of at least 1.")
        if self.temperature is not None and not 0 <= self.temperature <= (5 if model.family == "legacy" else 2):
            raise ValueError(f"temperature={self.temperature!r} is outside of what {model.id} takes.")
        if self.n > 128:
            raise ValueError(f"n={self.n}: at most 128 samples.")
        if (self.n > 1 or self.raw) and (self.schema is not None or self.tools):
            raise ValueError(f"{'n' if self.n > 1 else 'raw'}= gives text alone; leave schema= and tools= out.")
        for wanted, capability, what in (
            (self.tools, "function_calling", "call tools"),
            (self.lora, "lora", "take lora="),
        ):
            if wanted and not model.can(capability):
                fit = [m.name for m in catalogue().values() if m.can(capability) and m.status == "current"]
                raise ModelError(f"{model.id} cannot {what}. These can: {', '.join(fit)}.")
        if self.raw and model.family != "legacy":
            raise ModelError(f"{model.id} takes no raw prompt; leave raw= out.")
        self._check_reasoning(model)

    def _check_reasoning(self, model: Model) -> None:
        facts, wanted = model.reasoning or {}, self.reasoning
        levels = facts.get("levels") or ()
        if wanted is None or (wanted is False and not facts):
            return
        if not facts:
            raise ModelError(f"{model.id} does not think aloud; leave reasoning= out.")
        if wanted is False and facts.get("off") is None:
            least = (
                f', or ask for the least with reasoning="{levels[0 if levels[0] == "low" else -1]}"' if levels else ""
            )
            raise ModelError(f"{model.id} cannot go without thinking; leave reasoning= out{least}.")
        if not isinstance(wanted, bool) and wanted not in levels:
            known = "True or False" if not levels else "True, False, " + ", ".join(map(repr, levels))
            raise ValueError(f"reasoning={wanted!r}: {model.id} knows {known}.")


def messages(prompt: Input, system: str | None) -> list[dict[str, Json]]:
    """Return the opening of a conversation; fixed text comes first, where a prompt cache can find it again."""
    opening: list[dict[str, Json]] = [{"role": "system", "content": system}] if system else []
    return [*opening, {"role": "user", "content": _content(prompt)}]


def _content(prompt: Input) -> Json:
    """Return a prompt as text, or as a list of parts where there are pictures or sound in it."""
    if isinstance(prompt, str):
        return prompt
    return [_part(piece) for piece in (prompt.pieces if isinstance(prompt, Parts) else (prompt,))]


def _part(piece: str | Media) -> dict[str, Json]:
    if isinstance(piece, str):
        return {"type": "text", "text": piece}
    if piece.form.kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": piece.base64(), "format": piece.form.suffix}}
    return {"type": "image_url", "image_url": {"url": piece.data_uri()}}


def compose(talk: Sequence[Mapping[str, Json]], model: Model, settings: Settings) -> Request:
    """Return a request in the model's dialect."""
    talk = list(talk)
    body: dict[str, Json] = {}
    if settings.schema is not None:
        asked = _schema_fields(settings.schema, model)
        if not asked:  # the model knows no schema: the words have to do
            talk = _with_schema_in_words(talk, settings.schema)
        body |= asked
    body |= {"prompt": talk[-1]["content"], "raw": True} if settings.raw else {"messages": talk}
    old = model.family == "legacy" or model.source == "server"
    body["max_tokens" if old else "max_completion_tokens"] = settings.max_tokens
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.seed is not None:
        body["seed"] = settings.seed
    if model.reasoning and settings.reasoning in (None, False, "none"):
        body |= model.reasoning.get("off") or {}
    elif isinstance(settings.reasoning, str):
        body["reasoning_effort"] = settings.reasoning
    if settings.tools:
        body["tools"] = list(settings.tools)
    if settings.n > 1:
        body["n"] = settings.n
    if settings.lora:
        body["lora"] = settings.lora
    headers = _affinity(talk[:-1], model)
    if model.is_external:
        return Request(json=body | {"model": model.id}, path="v1/chat/completions", headers=headers)
    return Request(json=body, headers=headers)


def _affinity(fixed: Sequence[Mapping[str, Json]], model: Model) -> dict[str, str]:
    """Steer requests that begin alike to one instance, where what it read before is charged at the cached rate."""
    if not fixed or "cached_input_tokens" not in (model.prices or {}):
        return {}
    words = pydantic_core.to_json(fixed)
    if len(words) <= _WORTH_CACHING:
        return {}
    # Of the beginning alone, which stays the same however long the conversation grows.
    return {"x-session-affinity": hashlib.blake2b(words[:_WORTH_CACHING], digest_size=8).hexdigest()}


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
    return {}


def _with_schema_in_words(talk: list[Mapping[str, Json]], schema: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    words = (
        f"Answer with one JSON object of this JSON schema and nothing else:\n{pydantic_core.to_json(schema).decode()}"
    )
    first = talk[0]
    said = first["content"]
    joined = f"{said}\n\n{words}" if isinstance(said, str) else [*said, {"type": "text", "text": words}]
    return [{**first, "content": joined}, *talk[1:]]


def fixed(before: str, settings: Settings) -> int:
    """Estimate the tokens that are read with every prompt: what stands before it, schema and tools."""
    described = [pydantic_core.to_json(part).decode() for part in (settings.schema, settings.tools) if part]
    return (tokens_in(before) + 4 if before else 0) + sum(map(tokens_in, described))


def forecast(prompts: Sequence[Input], fixed: int, settings: Settings, model: Model) -> Usage:
    """Estimate the most the first turns use, and where each sample is a turn of its own, all of them."""
    times = 1 if model.family in SAMPLERS else settings.n
    read_ = sum(tokens_of(prompt) + 4 + fixed for prompt in prompts) * times
    written = settings.max_tokens * settings.n * len(prompts)
    return Usage({"input_tokens": float(read_), "output_tokens": float(written)})


def hear(answer: Answer, settings: Settings) -> reply.Reply:
    """Return what was said, whole or not: for those who have a use for the beginning of a reply (``Reply.or_cut``).

    Raises
    ------
    AnswerError
        It is of no known form, or calls a tool that was not offered.
    """
    said = reply.read(answer, settings.max_tokens)[0]
    if said.calls and not settings.tools and not said.text.strip():
        raise AnswerError("the reply is a call of a tool, and none was offered", "empty")
    return said


def read(answer: Answer, settings: Settings) -> reply.Reply:
    """Return what was said, to its end.

    Raises
    ------
    AnswerError
        As ``hear``; or the reply is empty, or was cut at the token limit.
    """
    said = hear(answer, settings)
    if (problem := said.problem(settings.max_tokens)) is not None:
        raise problem
    return said
