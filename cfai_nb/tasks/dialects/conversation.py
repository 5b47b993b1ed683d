"""Conversations of more than one question: with examples, calls of tools, samples, or a correction of JSON.

``converse`` and ``samples`` are generators: they yield requests and receive answers, and return the cell of one prompt.
``Generate`` calls them.  A tool is a Python function that a model may call, described by its signature and docstring.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pydantic_core

from ...errors import AnswerError, check_count
from ...models import Model
from . import chat, schema
from .key import code_of
from .reply import Reply, ToolCall, parse, several
from .request import Cell, Json, Local, Request

if TYPE_CHECKING:
    import pydantic  # loaded on first use: few calls have tools

Messages: TypeAlias = "list[dict[str, Json]]"
#: A part of a conversation that ends with the reply it was held for.
Turns: TypeAlias = "Generator[Request | Local, Any, Reply]"
#: Fills the template of a call with given records: for each its prompt, and the columns the template does not name.
Fill: TypeAlias = Callable[[Any], list[tuple[str, dict[str, Any]]]]
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
#: How the three usual styles of docstrings begin the description of a parameter.
_PARAMETER = re.compile(
    r"^[ ]*(?::param (?:[\w\[\], .|]+ )?)?(?P<name>\w+)(?: ?\([^)\n]*\))? ?:[ ]*(?P<rest>.*)$", re.MULTILINE
)


def example_pairs(given: Any, wanted: schema.Schema | None, fill: Fill) -> tuple[tuple[str, str], ...]:
    """Turn examples, records of the template's columns and the answer (or a schema's fields), into pairs of texts."""
    made = []
    for at, (prompt, rest) in enumerate(fill(given)):
        only = next(iter(rest.values())) if len(rest) == 1 else None
        if wanted is not None:
            made.append((prompt, _example(only if isinstance(only, Mapping) else rest, wanted, at)))
        elif len(rest) != 1:
            raise ValueError(
                f"examples: row {at} has {', '.join(rest) or 'nothing'} beside the template's columns; there must be "
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
    """Refuse an invalid ``max_turns``, and two tools of one name."""
    check_count(max_turns=max_turns)
    names = [tool.name for tool in tools]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"tools: {', '.join(twice)} given more than once.")


def expected(settings: chat.Settings, model: Model) -> tuple[int, str]:
    """Return the minimum number of turns, and in words which turns the estimate leaves out."""
    one_by_one = settings.n > 1 and model.family not in chat.SAMPLERS
    least = settings.n if one_by_one else 2 if settings.tools and settings.schema else 1
    more = [
        "tools take further turns, up to max_turns= a row, at a growing price" if settings.tools else "",
        "the answer is then asked for as JSON" if settings.tools and settings.schema else "",
        "a reply that does not fit the schema is sent back once" if settings.schema else "",
    ]
    words = "; ".join(filter(None, more))
    return least, words and f"not in it: {words}. That is charged as it comes, and a budget holds for it"


def converse(
    messages: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], max_turns: int, wanted: Any
) -> Generator[Request | Local, Any, Cell]:
    """Ask until the model answers, with calls of tools before, and return the cell ``{answer, thinking}``."""
    if wanted is None or tools:
        plain = settings if settings.schema is None else dataclasses.replace(settings, schema=None)
        reply = yield from _with_tools(messages, model, plain, tools, max_turns)
        if wanted is None:
            return reply.or_cut({"answer": reply.text, "thinking": reply.thinking}, settings.max_tokens)
        if (problem := reply.problem(settings.max_tokens)) is not None:
            raise problem
        # A model that is bound to JSON cannot call tools, so the two are separate questions.
        messages += [_message(reply), {"role": "user", "content": "Give that answer as JSON of the schema."}]
    reply = yield from _fitting(messages, model, dataclasses.replace(settings, tools=()), wanted)
    return {"answer": reply.content, "thinking": reply.thinking}


def _with_tools(
    messages: Messages, model: Model, settings: chat.Settings, tools: Sequence[Tool], max_turns: int
) -> Turns:
    """Ask, and call the tools that the model asks for, until it answers; ``messages`` grows with each turn."""
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
        ended = zip(calls, results, strict=True)
        trouble = "".join([f" Last to fail was {c.name}: {text}" for c, (text, well) in ended if not well][-1:])
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
    """Take ``settings.n`` samples, in one request where the model can; return ``{answer, thinking}`` of lists."""
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
    """Ask for JSON of a schema; an answer that does not fit is sent back once with what is wrong with it."""
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


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as a model sees it."""

    name: str
    definition: Json  #: In the OpenAI form, which every dialect takes.
    source: str  #: Hash of the source, or of the code where there is no source; part of the key.
    function: Callable[..., Any]
    adapter: pydantic.TypeAdapter[Any]

    def call(self, given: Json) -> tuple[str, bool]:
        """Call the function; return its result, or its exception, as text, and whether it succeeded."""
        try:
            arguments = pydantic_core.from_json(given or "{}") if isinstance(given, (str, type(None))) else given
            if not isinstance(arguments, Mapping):
                raise TypeError(f"arguments must be an object, not {type(arguments).__name__}")
            # Not called by pydantic: a thread that Python's end finds within its frames aborts the process.
            args, named = self.adapter.validator.validate_python(pydantic_core.ArgsKwargs((), dict(arguments)))
            return as_text(self.function(*args, **named)), True
        except (Exception, SystemExit) as error:
            return f"Error: {type(error).__name__}: {error}", False


def as_text(result: Any) -> str:
    """Return a result as text for a model: text as it is, everything else as JSON."""
    if isinstance(result, str):
        return result
    return pydantic_core.to_json(result, fallback=_simple, inf_nan_mode="null").decode()


def _simple(value: Any) -> Any:
    if hasattr(value, "columns") and hasattr(value, "to_dict"):  # a frame: its rows
        return value.to_dict("records")
    return value.tolist() if hasattr(value, "tolist") else str(value)


def call_all(tools: Sequence[Tool], calls: Sequence[ToolCall]) -> list[tuple[str, bool]]:
    """Make the calls that a model asks for, one after the other; return (result, success) of each."""
    named = {tool.name: tool for tool in tools}
    unknown = f"Error: there is no such tool; there are {', '.join(named)}."
    return [named[c.name].call(c.arguments) if c.name in named else (unknown, False) for c in calls]


def rescued(reply: Reply, tools: Sequence[Tool]) -> Reply:
    """Return a reply with the calls it holds, also those that were printed as JSON text (gpt-oss does, at times)."""
    if reply.calls or not reply.text.lstrip().startswith(("{", "[")):
        return reply
    try:
        printed = pydantic_core.from_json(reply.text)
    except ValueError:
        return reply
    calls = []
    for item in printed if isinstance(printed, list) else [printed]:
        call = item.get("function", item) if isinstance(item, Mapping) else None
        arguments = call.get("arguments", call.get("parameters")) if isinstance(call, Mapping) else None
        if arguments is None or not isinstance(call, Mapping) or call.get("name") not in {tool.name for tool in tools}:
            return reply
        calls.append(ToolCall("", str(call["name"]), arguments))
    return Reply(None, reply.cut, reply.thinking, tuple(calls))


def tool_of(function: Callable[..., Any]) -> Tool:
    """Describe a function.  Raises ValueError: it cannot be described to a model."""
    import pydantic

    @functools.wraps(function)
    def typed(*args: Any, **named: Any) -> Any:
        return args, named

    name = getattr(function, "__name__", "")
    if not callable(function) or not _NAME.fullmatch(name) or inspect.iscoroutinefunction(function):
        raise ValueError(f"tools: {function!r:.80} is not a plain function with a name; give one written with def.")
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise ValueError(f"tools: {name} has parameters without a name of their own, such as *args; name each one.")
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(cast("Any", typed))
        schema = adapter.json_schema()
    except (pydantic.PydanticUserError, NameError, TypeError) as error:
        raise ValueError(f"tools: {name} has a parameter that cannot be described to a model: {error}") from None
    text = inspect.getdoc(function) or ""
    described = _parameters(text)
    properties = {
        key: _described(_flat(part, schema.get("$defs", {})), key, described, name)
        for key, part in schema.get("properties", {}).items()
    }
    what = " ".join(re.split(r"\n\s*\n|\n\s*(?::param|Args:)", text)[0].split()) or name.replace("_", " ")
    parameters = {"type": "object", "properties": properties, "required": list(schema.get("required", ()))}
    definition = {"type": "function", "function": {"name": name, "description": what, "parameters": parameters}}
    try:
        source = hashlib.blake2b(inspect.getsource(function).encode(), digest_size=16).hexdigest()
    except (OSError, TypeError):  # typed into a plain prompt, or built in
        source = code_of(function)
    return Tool(name, definition, source, function, adapter)


def _flat(part: Any, parts: Mapping[str, Any]) -> Any:
    """Return a schema without references, titles and "or None", which the older models' tables do not take."""
    if isinstance(part, list):
        return [_flat(each, parts) for each in part]
    if not isinstance(part, Mapping):
        return part
    if "$ref" in part:
        beside = {k: v for k, v in part.items() if k != "$ref"}
        return _flat({**parts[part["$ref"].rsplit("/", 1)[-1]], **beside}, parts)
    kinds = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
    if len(kinds) == 1:
        part = {**{k: v for k, v in part.items() if k != "anyOf"}, **kinds[0]}
        return _flat({k: v for k, v in part.items() if k != "default" or v is not None}, parts)
    named = part.get("properties")
    flat = {key: _flat(each, parts) for key, each in part.items() if key not in ("title", "properties")}
    return flat if named is None else {**flat, "properties": {key: _flat(each, parts) for key, each in named.items()}}


def _described(part: dict[str, Any], key: str, described: Mapping[str, str], function: str) -> dict[str, Any]:
    kinds = {each.get("type") for each in part.get("anyOf", ())}
    if kinds and kinds <= {"integer", "number"}:
        part = {"type": "number", **{k: v for k, v in part.items() if k != "anyOf"}}
    elif kinds:
        raise ValueError(f"tools: {key} of {function} has several types, and a model takes one type only.")
    if part.get("default", "") is None:
        del part["default"]
    kind = {"type": "string" if isinstance(part.get("const", ""), str) else "number"}
    words = described.get(key) or part.get("description") or key.replace("_", " ")
    return {**kind, **part, "description": words}


def _parameters(text: str) -> dict[str, str]:
    """Return the description of each parameter in a docstring of numpydoc's, Google's or Sphinx's style."""
    found = list(_PARAMETER.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    described: dict[str, str] = {}
    for match, end in zip(found, ends, strict=False):
        below = re.split(r"\n\s*\n|\n\S[^\n]*\n-{3,}|\n\s*:\w", text[match.end() : end])[0]
        numpydoc = text[match.start() : match.end()].lstrip()[len(match["name"]) :].startswith(" :")
        words = " ".join((below if numpydoc else f"{match['rest']} {below}").split())
        if words:
            described.setdefault(match["name"], words)
    return described
