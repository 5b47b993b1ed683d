"""Tools: which function the stand-in calls, with which arguments, and how each dialect writes it.

It calls what shares most words with the message, once; the result of a call is answered and not called upon again.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import forms, words
from .voice import matter
from .work import Ask

#: Answers with the id and type of Chat Completions, and with arguments as an object.
SCOUT = "@cf/meta/llama-4-scout-17b-16e-instruct"
#: The switch for gpt-oss's habit of printing a call as text.
PRINTED = "tool-call-as-text"

_QUOTED = re.compile(r"[\"“'‘]([^\"”'’]{1,80})[\"”'’]")
_NAMED = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-ZÄÖÜÉ][\w-]*(?:\s+[A-ZÄÖÜÉ][\w-]*)*")


@dataclass(frozen=True)
class Called:
    """A call the stand-in makes."""

    name: str
    arguments: Mapping[str, Any]


class _Arguments(forms.Filler):
    """Fills in arguments: numbers as the text has them, names and quoted words in their order, nothing marked."""

    def __init__(self, root: Any, text: str) -> None:
        super().__init__(root, text)
        about = matter(text)
        self.names = _QUOTED.findall(about) or _NAMED.findall(about)

    def string(self, schema: Mapping[str, Any], name: str) -> str:
        if "pattern" in schema or schema.get("format"):
            return super().string(schema, name)
        if self.names:
            return str(self.names.pop(0))
        return max(re.findall(r"\w+", self.about), key=len, default="nothing")


def chosen(ask: Ask, text: str) -> Called | None:
    """Return the call a message leads to; None where it is answered at once.

    Parameters
    ----------
    ask : Ask
        Its ``tools``, ``tool_choice`` and last message decide.
    text : str
        What was said last.
    """
    choice = ask.body.get("tool_choice")
    offered = [_function(tool) for tool in ask.body.get("tools") or () if isinstance(tool, Mapping)]
    talk = ask.body.get("messages") or ask.body.get("input")
    last = talk[-1] if isinstance(talk, list) and talk else {}
    answered = last.get("role") == "tool" or last.get("type") == "function_call_output"
    if choice == "none" or not offered or answered:
        return None
    if isinstance(choice, Mapping):
        wanted = choice.get("name") or (choice.get("function") or {}).get("name")
        offered = [function for function in offered if function.get("name") == wanted] or offered
    here = words.stems(text)
    shared = [
        len(here & words.stems(f"{f.get('name', '').replace('_', ' ')} {f.get('description', '')}")) for f in offered
    ]
    best = max(range(len(offered)), key=lambda place: (shared[place], -place))
    if not shared[best] and choice != "required" and not isinstance(choice, Mapping):
        return None
    function = offered[best]
    schema = {**(function.get("parameters") or {}), "type": "object"}
    try:
        needed, known = set(schema.get("required") or ()), dict(schema.get("properties") or {})
        named = {key: part for key, part in known.items() if key in needed or "default" not in part}
        arguments = forms.fill({**schema, "properties": named}, text, _Arguments)
    except (forms.Impossible, TypeError, ValueError):  # the inside of a tool's parameters is not checked
        arguments = {}
    return Called(str(function.get("name")), arguments)


def unheard(body: Mapping[str, Any]) -> bool:
    """Tell whether a request asks for what other services know and this one calls invalid (8001)."""
    offered = [_function(tool) for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    return body.get("tool_choice") == "any" or any(function.get("description") is False for function in offered)


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = tool.get("function")
    return inner if isinstance(inner, Mapping) else tool


def native(ask: Ask, called: Called) -> dict[str, Any]:
    """Return a call as the older models write it: without an id, but for Scout."""
    plain = {"name": called.name, "arguments": dict(called.arguments)}
    return {"id": identity(), "type": "function", "function": plain} if ask.model.id == SCOUT else plain


def openai(called: Called) -> dict[str, Any]:
    """Return a call in the form of Chat Completions: with an id, and arguments as JSON text."""
    function = {"name": called.name, "arguments": written(called)}
    return {"id": identity(), "type": "function", "function": function}


def written(called: Called) -> str:
    """Return the arguments as JSON text."""
    return json.dumps(called.arguments, ensure_ascii=False)


def printed(called: Called) -> str:
    """Return a call as gpt-oss prints it at times, in place of making it."""
    return json.dumps({"name": called.name, "arguments": called.arguments}, ensure_ascii=False)


def identity() -> str:
    """Return an id for a call."""
    return f"call_{uuid.uuid4().hex[:24]}"
