"""Tools: Python functions a model may call, described by their signatures and docstrings."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pydantic_core

from ..code_digest import code_of
from .reply import Reply, ToolCall
from .request import Json

if TYPE_CHECKING:
    import pydantic  # loaded on first use: few calls have tools

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
#: How the three usual styles of docstrings begin what they say of a parameter.
_SAID = re.compile(
    r"^[ ]*(?::param (?:[\w\[\], .|]+ )?)?(?P<name>\w+)(?: ?\([^)\n]*\))? ?:[ ]*(?P<rest>.*)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function as a model sees it.

    Attributes
    ----------
    name : str
    definition : JSON
        In the OpenAI form, which every dialect takes.
    source : str
        Hash of the source, or of the code where there is no source: a function that changed is another question.
    """

    name: str
    definition: Json
    source: str
    function: Callable[..., Any]
    adapter: pydantic.TypeAdapter[Any]

    def call(self, given: Json) -> tuple[str, bool]:
        """Call the function; return its result as text and whether it succeeded.  What it raises is the result, too."""
        try:
            arguments = pydantic_core.from_json(given or "{}") if isinstance(given, (str, type(None))) else given
            if not isinstance(arguments, Mapping):
                raise TypeError(f"arguments must be an object, not {type(arguments).__name__}")
            # Not called by pydantic: a thread that Python's end finds within its frames aborts the process.
            args, named = self.adapter.validator.validate_python(pydantic_core.ArgsKwargs((), dict(arguments)))
            return written(self.function(*args, **named)), True
        except (Exception, SystemExit) as error:
            return f"Error: {type(error).__name__}: {error}", False


def written(result: Any) -> str:
    """Write a result as a model reads it: text as it is, everything else as JSON."""
    return result if isinstance(result, str) else _json(result)


def _json(result: Any) -> str:
    return pydantic_core.to_json(result, fallback=_simple, inf_nan_mode="null").decode()


def _simple(value: Any) -> Any:
    if hasattr(value, "columns") and hasattr(value, "to_dict"):  # a frame: its rows
        return value.to_dict("records")
    return value.tolist() if hasattr(value, "tolist") else str(value)


def call_all(tools: Sequence[Tool], calls: Sequence[ToolCall]) -> list[tuple[str, bool]]:
    """Call what a model wants called, one after the other; a (result, success) each."""
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
    """Describe a function.

    Raises
    ------
    ValueError
        A model could not be told how to call it.
    """
    import pydantic

    @functools.wraps(function)
    def typed(*args: Any, **named: Any) -> Any:
        return args, named

    name = getattr(function, "__name__", "")
    if not callable(function) or not _NAME.fullmatch(name) or inspect.iscoroutinefunction(function):
        raise ValueError(f"tools: {function!r:.80} is no plain function with a name; give one written with def.")
    kinds = {parameter.kind for parameter in inspect.signature(function).parameters.values()}
    if kinds - {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}:
        raise ValueError(f"tools: {name} takes parameters without a name of their own; give each one.")
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(cast("Any", typed))
        schema = adapter.json_schema()
    except (pydantic.PydanticUserError, NameError, TypeError) as error:
        raise ValueError(f"tools: {name} has a parameter no model can be told of: {error}") from None
    text = inspect.getdoc(function) or ""
    said = _parameters(text)
    properties = {
        key: _described(_flat(part, schema.get("$defs", {})), key, said, name)
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
        return _flat(
            {**parts[part["$ref"].rsplit("/", 1)[-1]], **{k: v for k, v in part.items() if k != "$ref"}}, parts
        )
    kinds = [each for each in part.get("anyOf", ()) if each.get("type") != "null"]
    if len(kinds) == 1:
        part = {**{k: v for k, v in part.items() if k != "anyOf"}, **kinds[0]}
        return _flat({k: v for k, v in part.items() if k != "default" or v is not None}, parts)
    named = part.get("properties")
    flat = {key: _flat(each, parts) for key, each in part.items() if key not in ("title", "properties")}
    return flat if named is None else {**flat, "properties": {key: _flat(each, parts) for key, each in named.items()}}


def _described(part: dict[str, Any], key: str, said: Mapping[str, str], function: str) -> dict[str, Any]:
    kinds = {each.get("type") for each in part.get("anyOf", ())}
    if kinds and kinds <= {"integer", "number"}:
        part = {"type": "number", **{k: v for k, v in part.items() if k != "anyOf"}}
    elif kinds:
        raise ValueError(f"tools: {key} of {function} is one type or another, and a model is told one; give it one.")
    if part.get("default", "") is None:
        del part["default"]
    kind = (
        {"type": "string"}
        if "const" not in part
        else {"type": "string" if isinstance(part["const"], str) else "number"}
    )
    words = said.get(key) or part.get("description") or key.replace("_", " ")
    return {**kind, **part, "description": words}


def _parameters(text: str) -> dict[str, str]:
    """Read what a docstring says of each parameter, in numpydoc's, Google's or Sphinx's style."""
    found = list(_SAID.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    said: dict[str, str] = {}
    for match, end in zip(found, ends, strict=False):
        below = re.split(r"\n\s*\n|\n\S[^\n]*\n-{3,}|\n\s*:\w", text[match.end() : end])[0]
        numpydoc = text[match.start() : match.end()].lstrip()[len(match["name"]) :].startswith(" :")
        words = " ".join((below if numpydoc else f"{match['rest']} {below}").split())
        if words:
            said.setdefault(match["name"], words)
    return said
