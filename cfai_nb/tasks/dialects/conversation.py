"""Turns: what a conversation may need beyond one question: tools called, samples taken, JSON mended."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Sequence
from typing import Any, TypeAlias

import pydantic_core

from ...errors import AnswerError
from ...models import Model
from ..task import Cell
from . import chat, schema
from .reply import Reply, ToolCall, read, several
from .request import Json, Local, Request
from .tools import Tool, call_all, rescued

Messages: TypeAlias = "list[dict[str, Json]]"
#: A part of a conversation that ends with the reply it was held for.
Turns: TypeAlias = "Generator[Request | Local, Any, Reply]"


def check(most: int, tools: Sequence[Tool]) -> None:
    """Refuse a bound that is none, and two tools of one name."""
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise ValueError(f"max_turns={most!r} must be a whole number of at least 1.")
    names = [tool.name for tool in tools]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"tools: {', '.join(twice)} given more than once.")


def expected(settings: chat.Settings, model: Model) -> tuple[int, str]:
    """Say how many turns there are at least, and in words which ones the forecast does not hold."""
    one_by_one = settings.n > 1 and model.family not in chat.SAMPLERS
    least = settings.n if one_by_one else 2 if settings.tools and settings.schema else 1
    more = [
        "tools take further turns, up to max_turns= a row, each dearer than the one before" if settings.tools else "",
        "the answer is then asked for as JSON" if settings.tools and settings.schema else "",
        "a reply that does not fit the schema is sent back once" if settings.schema else "",
    ]
    said = "; ".join(filter(None, more))
    return least, said and f"not in it: {said}. That is charged as it comes, and a budget holds for it"


def converse(
    talk: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], most: int, wanted: Any
) -> Generator[Request | Local, Any, Cell]:
    """Hold a conversation, and return the cell ``{answer, thinking}``, or the error of a text that was cut."""
    said = yield from _converse(talk, model, settings, tools, most, wanted)
    if wanted is not None:
        return {"answer": said.content, "thinking": said.thinking}
    return said.or_cut({"answer": said.text, "thinking": said.thinking}, settings.max_tokens)


def _converse(
    talk: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], most: int, wanted: Any
) -> Turns:
    """Ask; with tools, until the model answers; with a schema, for JSON of it, once the tools are done with.

    A model that is held to JSON cannot call, so the two are asked for one after the other.  Without a schema the reply
    may be one that was cut (``Reply.or_cut``).
    """
    if wanted is None or tools:
        plain = settings if settings.schema is None else dataclasses.replace(settings, schema=None)
        reply = yield from _with_tools(talk, model, plain, tools, most)
        if wanted is None:
            return reply
        if (problem := reply.problem(settings.max_tokens)) is not None:
            raise problem
        talk += [_said(reply), {"role": "user", "content": "Give that answer as JSON of the schema."}]
    return (yield from _fitting(talk, model, dataclasses.replace(settings, tools=()), wanted))


def _with_tools(talk: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], most: int) -> Turns:
    """Ask, and call what the model wants called, until it answers; ``talk`` grows by what is said.

    Raises
    ------
    AnswerError
        After ``most`` turns there is no answer (``"turns"``).
    """
    trouble, thought, wanted = "", [], ""
    for turn in range(most):
        reply = chat.hear((yield chat.compose(talk, model, settings)), settings)
        reply = rescued(reply, tools) if tools and not reply.cut else reply
        thought += [reply.thinking] if reply.thinking else []
        if not reply.calls or not tools or reply.cut:
            return dataclasses.replace(reply, thinking="\n\n".join(thought) or None) if turn else reply
        wanted = ", ".join(dict.fromkeys(call.name for call in reply.calls))
        if turn == most - 1:
            break
        calls = [ToolCall(c.id or f"call_{turn}_{at}", c.name, c.arguments) for at, c in enumerate(reply.calls)]
        results = yield Local(functools.partial(call_all, tools, calls))
        talk += [_said(reply, calls), *map(_result, calls, results)]
        failed = [
            f" Last to fail was {c.name}: {said}" for c, (said, well) in zip(calls, results, strict=True) if not well
        ]
        trouble = "".join(failed[-1:])
    raise AnswerError(
        f"no answer within max_turns={most}: the model still calls {wanted}; raise it, or tell the model when to stop."
        f"{trouble[:500]}",
        "turns",
    )


def _said(reply: Reply, calls: Sequence[ToolCall] = ()) -> dict[str, Json]:
    """Return what the model said, for it to read again; "" where it said nothing, since older tables want text."""
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


def samples(talk: Messages, model: Model, settings: chat.Settings) -> Generator[Request | Local, Any, Cell]:
    """Take ``settings.n`` samples, and return the cell ``{answer, thinking}`` of lists, or the error of a cut one."""
    replies = yield from _samples(talk, model, settings)
    thought = [each.thinking for each in replies]
    cell = {"answer": [each.text for each in replies], "thinking": thought if any(thought) else None}
    return several(replies, settings.max_tokens, cell)


def _samples(talk: Messages, model: Model, settings: chat.Settings) -> Generator[Request | Local, Any, list[Reply]]:
    """Take the samples, whole or not: in one request where the model can, else one after the other."""
    if model.family in chat.SAMPLERS:
        replies = read((yield chat.compose(talk, model, settings)), settings.max_tokens)
        if len(replies) != settings.n:
            raise AnswerError(f"{len(replies)} samples instead of n={settings.n}", "mismatch", again=True)
        return replies
    taken = []
    for at in range(settings.n):
        # The same seed would only give the same text again.
        seed = None if settings.seed is None else settings.seed + at
        once = dataclasses.replace(settings, n=1, seed=seed)
        taken.append(chat.hear((yield chat.compose(talk, model, once)), once))
    return taken


def _fitting(talk: Messages, model: Model, settings: chat.Settings, wanted: Any) -> Turns:
    """Ask for JSON of a schema; an answer that does not fit is sent back once with what is wrong with it.

    Raises
    ------
    AnswerError
        The second does not fit either (``"schema"``).
    """
    reply = chat.read((yield chat.compose(talk, model, settings)), settings)
    try:
        return dataclasses.replace(reply, content=schema.read(wanted, reply.json()))
    except ValueError as error:
        wrong = f"That does not fit the schema: {error}\nAnswer again with JSON that does."
    talk += [_said(reply), {"role": "user", "content": wrong}]
    reply = chat.read((yield chat.compose(talk, model, settings)), settings)
    try:
        return dataclasses.replace(reply, content=schema.read(wanted, reply.json()))
    except ValueError as error:
        raise AnswerError(f"two replies in a row did not fit the schema: {error}", "schema", text=reply.text) from None
