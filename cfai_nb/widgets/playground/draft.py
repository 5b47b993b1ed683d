"""A draft: the options of one call of a verb as plain data, and the line of code that makes the call.

In: what the user set in the playground.  Out: the arguments of the verb, the same as Python code, and the differences
from another draft.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from ...tasks import Ask, Classify, Extract, Generate, Task
from . import text_forms


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
    """One variant of a playground.

    Attributes
    ----------
    mode : {"generate", "classify", "ask", "extract"}
        The verb.
    prompt : str
        With ``{column}`` in it.  For the other verbs it is their text: ``"{text}"`` is the column itself.
    system, instructions : str
        The system prompt (``generate``), or the question to decide (``classify``); empty: none.
    model : str
        Empty: the default of the verb.
    temperature, max_tokens : float, int or None
        None: the default of the verb.
    schema, labels, questions, fields : as the verbs take them, or None
    """

    mode: str = "generate"
    prompt: str = ""
    system: str = ""
    instructions: str = ""
    model: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    schema: Any = None
    labels: Any = None
    questions: Any = None
    fields: Any = None

    def call(self, *, series: tuple[str, ...] = ()) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and keyword arguments of the call, without those left at their default.

        Parameters
        ----------
        series : tuple of str
            For a Series: its names in a template.

        Raises
        ------
        ValueError
            A required field is empty.
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
            on = (alone[1],) if alone else (self.prompt,)
            args = (*(() if alone and alone[1] in series else on), getattr(self, mode.shape))
        return args, self._set(mode.options)

    def code(self, name: str, *, series: tuple[str, ...] = ()) -> str:
        """Return the line that makes the call on the frame of this name."""
        args, options = self.call(series=series)
        parts = [*map(text_forms.spell, args), *(f"{key}={text_forms.spell(value)}" for key, value in options.items())]
        return f"{name}.cfai.{self.mode}({', '.join(parts)})"

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
    return value if isinstance(value, str) else text_forms.spell(value)
