"""What a conversation needs beyond one question: examples before it, tools called, samples taken, JSON corrected.

``converse`` and ``samples`` are generators: they yield requests and receive answers, and return the cell of one prompt.
``Generate`` calls them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeAlias

import pydantic_core

from ...errors import AnswerError
from ...models import Model
from ..task import Cell, Fill, check_count
from . import chat, schema
from .reply import Reply, ToolCall, parse, several
from .request import Json, Local, Request
from .tools import Tool, call_all, rescued

Messages: TypeAlias = "list[dict[str, Json]]"
#: A part of a conversation that ends with the reply it was held for.
Turns: TypeAlias = "Generator[Request | Local, Any, Reply]"


def example_pairs(given: Any, wanted: schema.Schema | None, fill: Fill) -> tuple[tuple[str, str], ...]:
    """Turn examples into pairs of prompt and answer.

    They are records that hold the columns the template names, and one more: the answer.  With a schema, the rest are
    its fields (or one dict of them).  Raises ValueError: an answer is missing, is not the only one, or does not fit.
    """
    made = []
    for at, (prompt, rest) in enumerate(fill(given)):
        only = next(iter(rest.values())) if len(rest) == 1 else None
        if wanted is not None:
            made.append((prompt, _example(only if isinstance(only, Mapping) else rest, wanted, at)))
        elif len(rest) != 1:
            raise ValueError(
                f"examples: row {at} has {', '.join(rest) or 'nothing'} besides what the template names; there must be "
                "one column more, the answer."
            )
        elif only is None:
            raise ValueError(f"examples: row {at} has no answer.")
        else:
            made.append((prompt, only if isinstance(only, str) else pydantic_core.to_json(only, fallback=str).decode()))
    return tuple(made)


def _example(answer: Mapping[str, Any], wanted: schema.Schema, at: int) -> str:
    plain = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in answer.items()}
    try:
        return pydantic_core.to_json(schema.validate(schema.model_of(wanted), plain)).decode()
    except ValueError as error:
        raise ValueError(f"examples: row {at} does not fit the schema: {error}") from None


def check_examples(given: Any) -> None:
    """Refuse examples that are not resolved: without a template, only pairs of texts have a meaning."""
    resolved = isinstance(given, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in given
    )
    if not resolved and given is not None:
        raise ValueError("examples: without a template, give a list of (prompt, answer) texts.")


def with_examples(messages: Messages, examples: Sequence[Sequence[str]] | None) -> Messages:
    """Return the opening of a conversation with the examples before its last message."""
    shown = [
        {"role": role, "content": text}
        for pair in examples or ()
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return [*messages[:-1], *shown, messages[-1]]


def check(max_turns: int, tools: Sequence[Tool]) -> None:
    """Refuse a bound that is not one, and two tools of one name."""
    check_count(max_turns=max_turns)
    names = [tool.name for tool in tools]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"tools: {', '.join(twice)} given more than once.")


def expected(settings: chat.Settings, model: Model) -> tuple[int, str]:
    """Return how many turns there are at least, and in words which ones the estimate does not hold."""
    one_by_one = settings.n > 1 and model.family not in chat.SAMPLERS
    least = settings.n if one_by_one else 2 if settings.tools and settings.schema else 1
    more = [
        "tools take further turns, up to max_turns= a row, each dearer than the one before" if settings.tools else "",
        "the answer is then asked for as JSON" if settings.tools and settings.schema else "",
        "a reply that does not fit the schema is sent back once" if settings.schema else "",
    ]
    words = "; ".join(filter(None, more))
    return least, words and f"not in it: {words}. That is charged as it comes, and a budget holds for it"


def converse(
    messages: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], max_turns: int, wanted: Any
) -> Generator[Request | Local, Any, Cell]:
    """Ask; with tools, until the model answers; with a schema, for JSON of it, after the tools are done.

    A model that is bound to JSON cannot call tools, so the two are asked for one after the other.
    Returns the cell ``{answer, thinking}``, or the error of a text that was cut.
    """
    if wanted is None or tools:
        plain = settings if settings.schema is None else dataclasses.replace(settings, schema=None)
        reply = yield from _with_tools(messages, model, plain, tools, max_turns)
        if wanted is None:
            return reply.or_cut({"answer": reply.text, "thinking": reply.thinking}, settings.max_tokens)
        if (problem := reply.problem(settings.max_tokens)) is not None:
            raise problem
        messages += [_message(reply), {"role": "user", "content": "Give that answer as JSON of the schema."}]
    reply = yield from _fitting(messages, model, dataclasses.replace(settings, tools=()), wanted)
    return {"answer": reply.content, "thinking": reply.thinking}


def _with_tools(
    messages: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], max_turns: int
) -> Turns:
    """Ask, and call the tools the model wants called, until it answers; ``messages`` grows with each turn.

    Raises AnswerError: after ``max_turns`` turns there is no answer (``"turns"``).
    """
    trouble, thought, wanted = "", [], ""
    for turn in range(max_turns):
        reply = chat.parse_partial((yield chat.build_request(messages, model, settings)), settings)
        reply = rescued(reply, tools) if tools and not reply.cut else reply
        thought += [reply.thinking] if reply.thinking else []
        if not reply.calls or not tools or reply.cut:
            return dataclasses.replace(reply, thinking="\n\n".join(thought) or None) if turn else reply
        wanted = ", ".join(dict.fromkeys(call.name for call in reply.calls))
        if turn == max_turns - 1:
            break
        calls = [ToolCall(c.id or f"call_{turn}_{at}", c.name, c.arguments) for at, c in enumerate(reply.calls)]
        results = yield Local(functools.partial(call_all, tools, calls))
        messages += [_message(reply, calls), *map(_result, calls, results)]
        failed = [
            f" Last to fail was {c.name}: {text}" for c, (text, well) in zip(calls, results, strict=True) if not well
        ]
        trouble = "".join(failed[-1:])
    raise AnswerError(
        f"no answer within max_turns={max_turns}: the model still calls {wanted}; raise it, or tell the model when to "
        f"stop.{trouble[:500]}",
        "turns",
    )


def _message(reply: Reply, calls: Sequence[ToolCall] = ()) -> dict[str, Json]:
    """Return a reply as a message for the model to read; "" where it has no text, since older tables want one."""
    thought = {"reasoning": reply.thinking} if reply.thinking else {}
    called = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _text(call.arguments)}}
        for call in calls
    ]
    return {"role": "assistant", "content": reply.text, **thought, **({"tool_calls": called} if called else {})}


def _text(arguments: Json) -> str:
    return arguments if isinstance(arguments, str) else pydantic_core.to_json(arguments or {}).decode()


def _result(call: ToolCall, result: tuple[str, bool]) -> dict[str, Json]:
    return {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": result[0]}


def samples(messages: Messages, model: Model, settings: chat.Settings) -> Generator[Request | Local, Any, Cell]:
    """Take ``settings.n`` samples: in one request where the model can, else one after the other.

    Returns the cell ``{answer, thinking}`` of lists, or the error of samples some of which are cut.
    """
    replies: list[Reply] = []
    if model.family in chat.SAMPLERS:
        replies = parse((yield chat.build_request(messages, model, settings)), settings.max_tokens)
        if len(replies) != settings.n:
            raise AnswerError(f"{len(replies)} samples instead of n={settings.n}", "mismatch", again=True)
    for at in range(settings.n if not replies else 0):
        seed = None if settings.seed is None else settings.seed + at  # the same seed would give the same text
        once = dataclasses.replace(settings, n=1, seed=seed)
        replies.append(chat.parse_partial((yield chat.build_request(messages, model, once)), once))
    thought = [each.thinking for each in replies]
    cell = {"answer": [each.text for each in replies], "thinking": thought if any(thought) else None}
    return several(replies, settings.max_tokens, cell)


def _fitting(messages: Messages, model: Model, settings: chat.Settings, wanted: Any) -> Turns:
    """Ask for JSON of a schema; an answer that does not fit is sent back once with what is wrong with it.

    Raises AnswerError: the second does not fit either (``"schema"``).
    """
    reply = chat.parse((yield chat.build_request(messages, model, settings)), settings)
    try:
        return dataclasses.replace(reply, content=schema.parse(wanted, reply.json()))
    except ValueError as error:
        wrong = f"That does not fit the schema: {error}\nAnswer again with JSON that does."
    messages += [_message(reply), {"role": "user", "content": wrong}]
    reply = chat.parse((yield chat.build_request(messages, model, settings)), settings)
    try:
        return dataclasses.replace(reply, content=schema.parse(wanted, reply.json()))
    except ValueError as error:
        raise AnswerError(f"two replies in a row did not fit the schema: {error}", "schema", text=reply.text) from None
