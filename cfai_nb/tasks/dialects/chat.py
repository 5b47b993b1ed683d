"""The dialects of models that write text: they turn messages and settings into a request in the model's own form.

``Instructed`` and ``PictureQuestion`` are for tasks that ask the same about every row, ``Translation`` for the two
models that only translate; ``conversation`` is for conversations of several turns.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pydantic_core

from ...errors import AnswerError, ModelError, check_count, hint, is_number
from ...media import Media, Parts, media_in
from ...models import Model, Usage, catalogue, names_of_models, tokens_in
from . import reply, values
from .request import Answer, Cell, Input, Json, Request, tokens_of

#: Families that write text.
FAMILIES = frozenset({"legacy", "openai", "responses+chat"})
#: Families that answer a question about a picture in words.
SEEING = FAMILIES | {"moondream", "llava"}
#: Families that translate and do nothing else.
TRANSLATORS = frozenset({"m2m100", "indictrans2"})
_DESCRIBE = "Describe this picture in one sentence."
#: The service's own default is 256 tokens and cuts JSON short, so a limit is always sent.
MAX_TOKENS = 512
#: Bytes of fixed text, about 1,000 tokens, from which on requests are bound to one instance for its prompt cache.
_WORTH_CACHING = 4_000
#: Families that write several samples for one request.
SAMPLERS = frozenset({"openai", "responses+chat"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parts of a request beside the messages: options of ``ChatTask``, a JSON schema, and definitions of tools."""

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
        """Raise a ValueError or ModelError for settings that no model takes, or not this one."""
        check_count(max_tokens=self.max_tokens, n=self.n)
        hottest = 5 if model.family == "legacy" else 2
        if self.temperature is not None and not (is_number(self.temperature) and 0 <= self.temperature <= hottest):
            raise ValueError(f"temperature={self.temperature!r} is outside the range {model.id} takes: 0 to {hottest}.")
        if self.seed is not None and not is_number(self.seed, whole=True):
            raise ValueError(f"seed={self.seed!r}: give a whole number.")
        if self.n > 128:
            raise ValueError(f"n={self.n}: at most 128 samples.")
        if (self.n > 1 or self.raw) and (self.schema is not None or self.tools):
            raise ValueError(f"{'n' if self.n > 1 else 'raw'}= returns only text; leave schema= and tools= out.")
        for wanted, capability, what in (
            (self.tools, "function_calling", "call tools"),
            (self.lora, "lora", "take lora="),
        ):
            if wanted and not model.can(capability):
                fit = names_of_models(functools.partial(Model.can, capability=capability))
                raise ModelError(f"{model.id} cannot {what}. These can: {fit}.")
        if self.raw and model.family != "legacy":
            raise ModelError(f"{model.id} takes no raw prompt; leave raw= out.")
        self._check_reasoning(model)

    def _check_reasoning(self, model: Model) -> None:
        facts, wanted = model.reasoning or {}, self.reasoning
        levels = facts.get("levels") or ()
        if wanted is None or (wanted is False and not facts):
            return
        if not facts:
            raise ModelError(f"{model.id} is not a reasoning model; leave reasoning= out.")
        if wanted is False and facts.get("off") is None:
            lowest = f'the lowest level is reasoning="{levels[0 if levels[0] == "low" else -1]}"' if levels else ""
            raise ModelError(f"{model.id} cannot switch reasoning off; {lowest or 'leave reasoning= out'}.")
        if not isinstance(wanted, bool) and wanted not in levels:
            known = "True or False" if not levels else "True, False, " + ", ".join(map(repr, levels))
            raise ValueError(f"reasoning={wanted!r}: {model.id} takes {known}.")


def messages(prompt: Input, system: str | None) -> list[dict[str, Json]]:
    """Return the opening of a conversation; fixed text comes first, so that a prompt cache can reuse it."""
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


def build_request(conversation: Sequence[Mapping[str, Json]], model: Model, settings: Settings) -> Request:
    """Return a request in the model's dialect."""
    sent = list(conversation)
    body: dict[str, Json] = {}
    if settings.schema is not None:
        body = _schema_fields(settings.schema, model)
        if not body:  # the model takes no schema: it is described in the prompt
            sent = _with_schema_in_words(sent, settings.schema)
    body |= {"prompt": sent[-1]["content"], "raw": True} if settings.raw else {"messages": sent}
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
    headers = _affinity(sent[:-1], model)
    if model.is_external:
        return Request(json=body | {"model": model.id}, path="v1/chat/completions", headers=headers)
    return Request(json=body, headers=headers)


def _affinity(fixed: Sequence[Mapping[str, Json]], model: Model) -> dict[str, str]:
    """Return the header that sends requests with the same beginning to one instance, where its prompt cache has it."""
    if not fixed or "cached_input_tokens" not in (model.prices or {}):
        return {}
    words = pydantic_core.to_json(fixed)
    if len(words) <= _WORTH_CACHING:
        return {}
    # A hash of the beginning alone, which does not change while the conversation grows.
    return {"x-session-affinity": hashlib.blake2b(words[:_WORTH_CACHING], digest_size=8).hexdigest()}


def streamed(request: Request, model: Model) -> Request:
    """Return the request for an answer piece by piece."""
    body = {**request.json, "stream": True}
    if model.family == "responses+chat":  # at its own address it answers a stream with an empty object
        return dataclasses.replace(request, json=body | {"model": model.id}, path="v1/chat/completions")
    return dataclasses.replace(request, json=body)


def _schema_fields(schema: Mapping[str, Json], model: Model) -> dict[str, Json]:
    if model.json in ("bare", "wrapped"):
        sent = schema if model.json == "bare" else {"name": "answer", "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": sent}}
    return {"guided_json": schema} if model.json == "guided" else {}


def _with_schema_in_words(sent: list[Mapping[str, Json]], schema: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    words = (
        "Answer with one JSON object of this JSON schema and nothing else:\n" + pydantic_core.to_json(schema).decode()
    )
    content = sent[0]["content"]
    joined = f"{content}\n\n{words}" if isinstance(content, str) else [*content, {"type": "text", "text": words}]
    return [{**sent[0], "content": joined}, *sent[1:]]


def fixed_tokens(before: str, settings: Settings) -> int:
    """Estimate the tokens of what is read with every prompt: the text before it, schema and tools."""
    described = [pydantic_core.to_json(part).decode() for part in (settings.schema, settings.tools) if part]
    return (tokens_in(before) + 4 if before else 0) + sum(map(tokens_in, described))


def estimate_usage(prompts: Sequence[Input], fixed: int, settings: Settings, model: Model) -> Usage:
    """Estimate the most that the first turns use, or all turns where each sample is a turn of its own."""
    times = 1 if model.family in SAMPLERS else settings.n
    read = sum(tokens_of(prompt) + 4 + fixed for prompt in prompts) * times
    written = settings.max_tokens * settings.n * len(prompts)
    return Usage({"input_tokens": float(read), "output_tokens": float(written)})


def parse_partial(answer: Answer, settings: Settings) -> reply.Reply:
    """Return the reply, which may be cut or empty (see ``Reply.or_cut``), or raise an AnswerError: of no known form."""
    found = reply.parse(answer, settings.max_tokens)[0]
    if found.calls and not settings.tools and not found.text.strip():
        raise AnswerError("the reply calls a tool, and none was offered", "empty")
    return found


def parse(answer: Answer, settings: Settings) -> reply.Reply:
    """Return the reply, or raise an AnswerError: as ``parse_partial``, or it is empty or was cut at the token limit."""
    found = parse_partial(answer, settings)
    if (problem := found.problem(settings.max_tokens)) is not None:
        raise problem
    return found


@dataclass(frozen=True)
class Instructed:
    """The same instructions for every input, which is the user's message."""

    system: str
    settings: Settings

    @functools.cached_property
    def _fixed(self) -> int:
        return fixed_tokens(self.system, self.settings)

    def build_request(self, value: Input, model: Model) -> Request:
        return build_request(messages(value, self.system), model, self.settings)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        return estimate_usage(inputs, self._fixed, self.settings, model)

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the text, or the error that holds a text that was cut."""
        found = parse_partial(answer, self.settings)
        return found.or_cut(found.text.strip(), self.settings.max_tokens)


def check_sees(model: Model) -> None:
    """Refuse chat models without vision."""
    if model.family in FAMILIES and not model.can("vision"):
        seeing = names_of_models(lambda other: other.family in SEEING and other.can("vision"))
        raise ModelError(f"{model.id} takes no pictures. These do: {seeing}.")


@dataclass(frozen=True)
class PictureQuestion:
    """One question about every picture; without a question, the picture is described."""

    question: str | None
    settings: Settings
    length: Literal["short", "normal", "long"] | None = None

    def build_request(self, value: Input, model: Model) -> Request:
        (picture,) = media_in(value)  # these models are given one picture and no words of the row
        question, limit = self.question or _DESCRIBE, self.settings.max_tokens
        if model.family == "moondream":
            asked: dict[str, Json] = {"task": "caption"}
            if self.question:  # it reasons unless told not to, and reasoning is paid for
                asked = {"task": "query", "question": question, "reasoning": False}
            elif self.length:
                asked["caption_length"] = self.length
            return Request(json={**asked, "image": picture.data_uri(), "max_tokens": limit})
        if model.family == "llava":
            return Request(json={"image": list(picture.content()), "prompt": question, "max_tokens": limit})
        return build_request(messages(Parts((question, picture)), None), model, self.settings)

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        """Return the text, or the error that holds a text that was cut."""
        found = self.reply(answer, model)
        return found.or_cut(found.text.strip(), self.settings.max_tokens)

    def reply(self, answer: Answer, model: Model) -> reply.Reply:
        """Return the reply, which may be cut or empty."""
        if model.family in FAMILIES:
            return parse_partial(answer, self.settings)
        output = answer.json if isinstance(answer.json, Mapping) else {}
        text = next((output[name] for name in ("caption", "answer", "description") if name in output), None)
        return reply.Reply(text if isinstance(text, str) else None, output.get("finish_reason") in reply.CUT)

    @functools.cached_property
    def _fixed(self) -> int:
        return tokens_in(self.question or _DESCRIBE)

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        read = float(sum(tokens_of(each) + self._fixed for each in inputs))
        return Usage({"input_tokens": read, "output_tokens": float(self.settings.max_tokens * len(inputs))})


#: Names of languages that the model card of m2m100 does not have, or spells differently.
_OTHERS = {"assamese": "as", "odia": "or", "punjabi": "pa", "telugu": "te"}


def language_code(language: str, model: Model) -> str:
    """Return a translation model's code for a language, by name or code; a ValueError may name one that is meant."""
    wanted = language.strip()
    languages = catalogue().languages
    codes, scripts = languages["m2m100"] | _OTHERS, languages["indictrans2"]
    code = codes.get(wanted.lower(), wanted.lower())
    if model.family == "indictrans2" and ("_" in wanted or code in scripts):
        return scripts.get(code, wanted)
    known = set(scripts if model.family == "indictrans2" else languages["m2m100"].values())
    if code in known:
        return code
    meant = hint(wanted, [name.title() for name, its in codes.items() if its in known])
    raise ValueError(f"{model.id} has no language {language!r}.{meant} A chat model may have it.")


@dataclass(frozen=True, slots=True)
class Translation:
    """A translation by one of the two models."""

    to: str
    source: str | None

    def check(self, model: Model) -> None:
        """Refuse what is not a language, and for a translation model a language it does not have."""
        for name, language in (("to", self.to), ("source", self.source)):
            if (language is not None or name == "to") and not (isinstance(language, str) and language.strip()):
                raise ValueError(f"{name}={language!r}: give a language, such as 'German' or 'de'.")
        if model.family not in TRANSLATORS:
            return
        if model.family == "m2m100":
            language_code(self.source or "English", model)
        elif (self.source or "en").strip().lower() not in ("en", "english"):
            raise ValueError(f"{model.id} translates from English only; leave source= out or choose another model.")
        language_code(self.to, model)

    def build_request(self, value: Input, model: Model) -> Request:
        target = language_code(self.to, model)
        if model.family == "indictrans2":
            return Request(json={"text": value, "target_language": target})
        source = language_code(self.source or "English", model)
        return Request(json={"text": value, "source_lang": source, "target_lang": target})

    def estimate_usage(self, inputs: Sequence[Input], model: Model) -> Usage:
        """Estimate the texts; a translation is counted at twice the tokens of its source."""
        read = float(sum(map(tokens_of, inputs)))
        return Usage({"input_tokens": read, "output_tokens": 2 * read})

    def parse(self, answer: Answer, value: Input, model: Model) -> Cell:
        output = answer.json if isinstance(answer.json, Mapping) else {}
        several = output.get("translations")
        text = output.get("translated_text") or (several[0] if isinstance(several, list) and several else None)
        if not isinstance(text, str) or not text.strip():
            raise AnswerError(f"the translation is empty: {values.quoted(text)}", "empty")
        return text
