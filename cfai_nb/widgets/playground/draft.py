"""A draft: one call of a verb as plain data, as a line of code, and as what is typed into the boxes for it.

In: what the user set or typed in the playground.  Out: the arguments of the verb, the same as a line of code, schemas,
labels, questions and fields read from lines and written as lines (`read`, `write`), and completions of column names in
a prompt (`offered`, `completed`).
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import hint
from ...frame.verb_help import in_code, spell
from ...tasks import Ask, Classify, Extract, Generate, Task, choice, scale, yes_no
from ...tasks.dialects.question_types import Choice, Question, Scale, YesNo


@dataclass(frozen=True, slots=True)
class Mode:
    """The options of a verb in the playground."""

    task: type[Task]
    shape: str  #: the field that defines the form of answers
    required: bool  #: whether that field must be set
    options: tuple[str, ...]  #: the fields passed by keyword


#: The verbs a playground can try.
MODES = {
    "generate": Mode(Generate, "schema", False, ("system", "schema", "model", "temperature", "max_tokens")),
    "classify": Mode(Classify, "labels", True, ("instructions", "model")),
    "ask": Mode(Ask, "questions", True, ("model",)),
    "extract": Mode(Extract, "fields", True, ("model", "max_tokens")),
}
_ONE_COLUMN = re.compile(r"\s*\{([^{}:!]+)\}\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One variant of a playground: a verb and its options; what is empty or None has the default of the verb."""

    mode: str = "generate"
    prompt: str = ""  #: with ``{column}`` in it; for other verbs than generate their text: ``"{text}"`` is the column
    system: str = ""
    instructions: str = ""  #: of ``classify``: the question to decide
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    schema: Any = None
    labels: Any = None
    questions: Any = None
    fields: Any = None

    def call(self, columns: Mapping[str, Hashable], *, series: bool = False) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments of the call, without those left at their default.

        `columns` has the label of each column, or of the `series`, by how it is written in a prompt.  An empty required
        field is a ValueError.
        """
        mode = MODES[self.mode]
        if not self.prompt.strip():
            raise ValueError(
                "Write a prompt." if self.mode == "generate" else "Name the text: a column in braces, such as {text}."
            )
        if mode.required and not getattr(self, mode.shape):
            raise ValueError(f"Give {mode.shape}: {self.mode} needs them.")
        args: tuple[Any, ...] = (self.prompt,)
        if self.mode != "generate":
            alone = _ONE_COLUMN.fullmatch(self.prompt)
            on = columns.get(alone[1], alone[1]) if alone else self.prompt
            itself = series and alone is not None and alone[1] in columns
            args = (*(() if itself else (on,)), getattr(self, mode.shape))
        return args, self._set(mode.options)

    def code(self, name: str, columns: Mapping[str, Hashable], *, series: bool = False) -> str:
        """Return the line that makes the call on the frame of this name."""
        args, options = self.call(columns, series=series)
        return in_code(f"{name}.cfai.{self.mode}", args, options)

    def settings(self) -> dict[str, str]:
        """Return all fields of the verb that are set, except the prompt, as text."""
        mode = MODES[self.mode]
        return {name: _words(value) for name, value in self._set((*mode.options, mode.shape)).items()}

    def difference(self, before: Draft) -> list[tuple[str, str, str]]:
        """Return (name, before, now) of every field that differs, as text."""
        old, new = before.values(), self.values()
        return [(name, _words(old[name]), _words(new[name])) for name in new if old[name] != new[name]]

    def values(self) -> dict[str, Any]:
        """Return all fields by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _set(self, names: tuple[str, ...]) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None and value != ""}


def _words(value: Any) -> str:
    if value is None or value == "":
        return "default"
    return value if isinstance(value, str) else spell(value)


# -- lines -------------------------------------------------------------------------------------------------------------

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
#: What stands after the colon of a line.
_AFTER = {
    "labels": "a description",
    "schema": "a type such as int, or words such as glad | sad",
    "questions": "a question, options such as a | b, or levels such as low < high",
}


def read(what: str, text: str) -> Any:
    """Turn lines into a schema, labels, questions or fields; None if there are none.  An error quotes its line."""
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
        # Among labels with descriptions, one without is its own description.
        described = any(rest for _, rest in pairs)
        return {name: rest or name for name, rest in pairs} if described else [name for name, _ in pairs]
    return {name: (_type if what == "schema" else _question)(rest) for name, rest in pairs}


def _type(text: str) -> Any:
    if "|" in text:
        return _split(text, "|")
    if text in _TYPES:
        return _TYPES[text]
    types = ", ".join(_TYPES)
    raise ValueError(f"{text!r} is not a type.{hint(text, _TYPES)} Types: {types}; or words such as glad | sad.")


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
    if not isinstance(value, Mapping):
        listed = what in ("fields", "labels") and isinstance(value, Collection)
        text = "\n".join(map(str, value)) if listed else None
    else:
        parts = {name: _line(each) for name, each in value.items()}
        text = None if None in parts.values() else "\n".join(f"{name}: {part}" for name, part in parts.items())
    if text is None:
        return None
    try:
        again = read(what, text)
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


# -- columns in a prompt -----------------------------------------------------------------------------------------------

_OPEN_BRACE = re.compile(r"\{([^{}]*)$|\{([^{}]*)(?=\{)")
#: The most columns offered.
_MAX_OFFERED = 24


def offered(prompt: str, columns: Iterable[str]) -> list[str]:
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
