"""Tool calls: which function the stand-in calls, with which arguments, and how each dialect writes the call.

It calls the function that shares most words with the message, once; the result of a call is answered and not followed
by another call.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..standins import lexical, schema_fill
from ..standins.text_standin import subject
from .family import ModelRequest

#: Answers with the id and type of Chat Completions, and with arguments as an object.
SCOUT = "@cf/meta/llama-4-scout-17b-16e-instruct"
#: The quirk that makes gpt-oss print a call as text.
PRINTED = "tool-call-as-text"

_QUOTED = re.compile(r"[\"“'‘]([^\"”'’]{1,80})[\"”'’]")
_NAMED = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-ZÄÖÜÉ][\w-]*(?:\s+[A-ZÄÖÜÉ][\w-]*)*")


@dataclass(frozen=True)
class ToolCall:
    """One call of a function."""

    name: str
    arguments: Mapping[str, Any]


class _Arguments(schema_fill.SchemaFiller):
    """Fills in arguments: numbers of the text, names and quoted words in their order, without a mark."""

    def __init__(self, root: Any, text: str) -> None:
        super().__init__(root, text)
        about = subject(text)
        self.names = _QUOTED.findall(about) or _NAMED.findall(about)

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        if "pattern" in schema or schema.get("format"):
            return super().string(schema, name)
        if self.names:
            return str(self.names.pop(0))
        return max(re.findall(r"\w+", self.about), key=len, default="nothing")


def choose_call(request: ModelRequest, text: str) -> ToolCall | None:
    """Return the call that a message leads to; ``None`` where the model answers without a call.

    Parameters
    ----------
    request : ModelRequest
        Its ``tools``, ``tool_choice`` and last message decide.
    text : str
        The last message.
    """
    choice = request.body.get("tool_choice")
    offered = _offered(request.body)
    conversation = request.body.get("messages") or request.body.get("input")
    last = conversation[-1] if isinstance(conversation, list) and conversation else {}
    answered = last.get("role") == "tool" or last.get("type") == "function_call_output"
    if choice == "none" or not offered or answered:
        return None
    if isinstance(choice, Mapping):
        wanted = choice.get("name") or (choice.get("function") or {}).get("name")
        offered = [function for function in offered if function.get("name") == wanted] or offered
    here = lexical.stems(text)
    shared = [
        len(here & lexical.stems(f"{f.get('name', '').replace('_', ' ')} {f.get('description', '')}")) for f in offered
    ]
    best = max(range(len(offered)), key=lambda place: (shared[place], -place))
    if not shared[best] and choice != "required" and not isinstance(choice, Mapping):
        return None
    function = offered[best]
    schema = {**(function.get("parameters") or {}), "type": "object"}
    try:
        needed, known = set(schema.get("required") or ()), dict(schema.get("properties") or {})
        named = {key: part for key, part in known.items() if key in needed or "default" not in part}
        arguments = schema_fill.fill({**schema, "properties": named}, text, _Arguments)
    except (schema_fill.SchemaNotMet, TypeError, ValueError):  # the schema of a tool's parameters is not checked
        arguments = {}
    return ToolCall(str(function.get("name")), arguments)


def is_unsupported(body: Mapping[str, Any]) -> bool:
    """Return whether a request has options of other services that this one calls invalid (8001)."""
    descriptions = [function.get("description") for function in _offered(body)]
    return body.get("tool_choice") == "any" or any(one is False for one in descriptions)


def _offered(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the functions of a request, which may not have been checked yet."""
    tools = body.get("tools")
    return [_function(tool) for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = tool.get("function")
    return inner if isinstance(inner, Mapping) else tool


def native_call(request: ModelRequest, call: ToolCall) -> dict[str, Any]:
    """Return a call as the older models write it: without an id, except for Scout."""
    plain = {"name": call.name, "arguments": dict(call.arguments)}
    return {"id": call_id(), "type": "function", "function": plain} if request.model.id == SCOUT else plain


def chat_call(call: ToolCall) -> dict[str, Any]:
    """Return a call in the form of Chat Completions: with an id, and arguments as JSON text."""
    function = {"name": call.name, "arguments": arguments_text(call)}
    return {"id": call_id(), "type": "function", "function": function}


def arguments_text(call: ToolCall) -> str:
    """Return the arguments as JSON text."""
    return json.dumps(call.arguments, ensure_ascii=False)


def call_as_text(call: ToolCall) -> str:
    """Return a call as gpt-oss sometimes prints it instead of making it."""
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def call_id() -> str:
    """Return an id for a call."""
    return f"call_{uuid.uuid4().hex[:24]}"
