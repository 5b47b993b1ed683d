"""What is typed into the panel: schemas, labels, questions and fields as lines, and columns in a prompt.

In: the text of a box, or the value of a trait.  Out: the other of the two (`read`, `write`), the value as Python code
(`spell`), and completions of column names (`offered`, `completed`).
"""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_origin

from ...tasks import choice, scale, yes_no
from ...tasks.dialects.question_types import Choice, Question, Scale, YesNo

#: Types by their names in a line; `write` uses the first name of a type.
_TYPES: dict[str, Any] = {
    "str": str, "int": int, "float": float, "bool": bool, "date": datetime.date, "datetime": datetime.datetime,
    "list[str]": list[str], "list[int]": list[int], "list[float]": list[float],
    "text": str, "integer": int, "number": float, "boolean": bool,
}  # fmt: skip
#: The placeholder of the empty box.
HINTS = {
    "schema": "one column a line, or empty for text:\nyear: int\nmood: glad | sad\ndue: date",
    "labels": "one label a line, with or without a description:\nbilling: charges, invoices and refunds\nshipping",
    "questions": "money_back: Does the customer want money back?\ntopic: billing | bug | other\n"
    "mood: calm < annoyed < furious: How upset is the customer?",
    "fields": "one field a line, with or without its type:\nvendor\ntotal: number\ndue: date",
}


def read(what: str, text: str) -> Any:
    """Turn lines into a schema, labels, questions or fields; None if there are no lines.

    Parameters
    ----------
    what : {"schema", "labels", "questions", "fields"}
    text : str

    Raises
    ------
    ValueError
        A line cannot be parsed; the message quotes it.
    """
    given = [line.strip() for line in text.splitlines() if line.strip()]
    if not given:
        return None
    if what == "fields":
        return given  # the verb parses these lines itself
    pairs = []
    for line in given:
        name, _, rest = (part.strip() for part in line.partition(":"))
        if not name or (what != "labels" and not rest):
            raise ValueError(f"{line!r}: write a name, a colon, and {_AFTER[what]}.")
        pairs.append((name, rest))
    if twice := {name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))}: this name occurs twice.")
    if what == "labels":
        return dict(pairs) if all(rest for _, rest in pairs) else _bare(pairs)
    return {name: (_type if what == "schema" else _question)(rest) for name, rest in pairs}


_AFTER = {
    "schema": "a type such as int, or words such as glad | sad",
    "questions": "a question, options such as a | b, or levels such as low < high",
}


def _bare(pairs: list[tuple[str, str]]) -> list[str] | dict[str, str]:
    # Among labels with descriptions, one without is its own description.
    return {name: rest or name for name, rest in pairs} if any(rest for _, rest in pairs) else [n for n, _ in pairs]


def _type(text: str) -> Any:
    if "|" in text:
        return [word.strip() for word in text.split("|") if word.strip()]
    if text in _TYPES:
        return _TYPES[text]
    near = difflib.get_close_matches(text, _TYPES, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ValueError(f"{text!r} is not a type.{hint} Types: {', '.join(_TYPES)}; or words such as glad | sad.")


def _question(text: str) -> Question:
    head, _, words = (part.strip() for part in text.partition(":"))
    instructions = {"instructions": words} if words else {}
    if "|" in head:
        return choice(*_split(head, "|"), **instructions)
    if "<" in head:
        return scale(*_split(head, "<"), **instructions)
    return yes_no(text)


def _split(text: str, by: str) -> list[str]:
    return [word.strip() for word in text.split(by) if word.strip()]


def write(what: str, value: Any) -> str | None:
    """Write a value as lines; None if lines cannot express it (a pydantic model, a described option)."""
    if value is None:
        return ""
    if what == "fields" and not isinstance(value, Mapping):
        text = "\n".join(value) if isinstance(value, (list, tuple)) else None
    elif what == "labels" and not isinstance(value, Mapping):
        text = "\n".join(map(str, value))
    elif not isinstance(value, Mapping):
        return None
    else:
        parts = {name: _line(each) for name, each in value.items()}
        text = None if None in parts.values() else "\n".join(f"{name}: {part}" for name, part in parts.items())
    try:
        again = None if text is None else read(what, text)
    except (ValueError, TypeError):
        return None
    same = again == value or (what == "fields" and isinstance(value, Mapping))
    return text if same or (what == "labels" and list(again or ()) == list(value)) else None


def _line(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value):
        return " | ".join(value)
    if isinstance(value, YesNo):
        return value.instructions
    if isinstance(value, (Choice, Scale)):
        by, names = (" | ", value.names) if isinstance(value, Choice) else (" < ", value.levels)
        usual = type(value).__dataclass_fields__["instructions"].default
        return by.join(names) + ("" if value.instructions == usual else f": {value.instructions}")
    return next((name for name, kind in _TYPES.items() if kind == value), None)


def spell(value: Any) -> str:
    """Write a value as Python code that creates it (with ``cf`` and ``datetime`` imported)."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {spell(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(spell, value)) + "]"
    if isinstance(value, YesNo):
        return _called("yes_no", [value.instructions], {"yes": value.yes, "no": value.no})
    if isinstance(value, (Choice, Scale)):
        usual = type(value).__dataclass_fields__["instructions"].default
        named: dict[str, Any] = {"instructions": None if value.instructions == usual else value.instructions}
        if isinstance(value, Scale):
            return _called("scale", value.levels, named)
        plain = [name for name, meaning in value.options if meaning is None]
        described = {name: meaning for name, meaning in value.options if meaning is not None}
        if all(name.isidentifier() for name in described):
            return _called("choice", plain, named | described)
        return _called("choice", plain, named)[:-1] + f"{', ' if plain else ''}**{described!r})"
    if isinstance(value, type) and get_origin(value) is None:
        return f"datetime.{value.__name__}" if value.__module__ == "datetime" else value.__name__
    return repr(value)


def _called(name: str, words: Any, named: Mapping[str, Any]) -> str:
    parts = [*map(repr, words), *(f"{key}={each!r}" for key, each in named.items() if each is not None)]
    return f"cf.{name}({', '.join(parts)})"


# -- columns in a prompt -----------------------------------------------------------------------------------------------

_OPEN_BRACE = re.compile(r"\{([^{}]*)$|\{([^{}]*)(?=\{)")
#: The most columns offered.
_MAX_OFFERED = 24


def offered(prompt: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that can stand in braces; after an open brace, those that begin with what follows it."""
    at = _open(prompt)
    typed = "" if at is None else next(part for part in at.groups() if part is not None)
    return [name for name in columns if not set(name) & set("{}:!") and name.startswith(typed)][:_MAX_OFFERED]


def completed(prompt: str, column: str) -> str:
    """Return the prompt with a column in the open brace, or at its end."""
    at = _open(prompt)
    if at is not None:
        return prompt[: at.start()] + f"{{{column}}}" + prompt[at.end() :]
    gap = " " if prompt and not prompt[-1].isspace() else ""
    return f"{prompt}{gap}{{{column}}}"


def _open(prompt: str) -> re.Match[str] | None:
    return _OPEN_BRACE.search(prompt.replace("{{", "  "))
