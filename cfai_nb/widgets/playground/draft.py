"""A draft: everything that makes one call of a verb, as plain data, and the line of code that is that call."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from . import text_forms


@dataclass(frozen=True, slots=True)
class Mode:
    """What a verb asks for besides the text.

    Attributes
    ----------
    shape : str
        The field that says what form answers have.
    required : bool
        Whether it may not be left out.
    options : tuple of str
        Every field that goes into the call by name.
    """

    shape: str
    required: bool
    options: tuple[str, ...]


#: The verbs a playground can try.
MODES = {
    "generate": Mode("schema", False, ("system", "schema", "model", "temperature", "max_tokens")),
    "classify": Mode("labels", True, ("instructions", "model")),
    "ask": Mode("questions", True, ("model",)),
    "extract": Mode("fields", True, ("model", "max_tokens")),
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
        With ``{column}`` in it.  The other verbs work on it as text: ``"{text}"`` is the column itself.
    system, instructions : str
        What the model is told first (``generate``), what is being decided (``classify``); empty: nothing.
    model : str
        Empty: the verb's default.
    temperature, max_tokens : float, int or None
        None: the verb's default.
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
        """Return the arguments of the call, by position and by name, without those that are the verb's own defaults.

        Parameters
        ----------
        series : tuple of str
            For a Series: the names it goes by in a template.

        Raises
        ------
        ValueError
            Something the verb cannot do without is missing.
        """
        mode = MODES[self.mode]
        if not self.prompt.strip():
            raise ValueError("Write a prompt." if self.mode == "generate" else "Say which text: a {column} in braces.")
        if mode.required and not getattr(self, mode.shape):
            raise ValueError(f"Give {mode.shape}: {self.mode} needs them.")
        args: tuple[Any, ...] = (self.prompt,)
        if self.mode != "generate":
            alone = _ONE_COLUMN.fullmatch(self.prompt)
            on = (alone[1],) if alone else (self.prompt,)
            args = (*(() if alone and alone[1] in series else on), getattr(self, mode.shape))
        named = {name: getattr(self, name) for name in mode.options}
        return args, {name: value for name, value in named.items() if value is not None and value != ""}

    def code(self, name: str, *, series: tuple[str, ...] = ()) -> str:
        """Return the line that makes the call on the frame of this name."""
        args, options = self.call(series=series)
        parts = [*map(text_forms.spell, args), *(f"{key}={text_forms.spell(value)}" for key, value in options.items())]
        return f"{name}.cfai.{self.mode}({', '.join(parts)})"

    def settings(self) -> dict[str, str]:
        """Return everything but the prompt that is set, in words, for people."""
        named = (*MODES[self.mode].options, MODES[self.mode].shape)
        found = {name: getattr(self, name) for name in dict.fromkeys(named)}
        return {name: _words(value) for name, value in found.items() if value is not None and value != ""}

    def difference(self, before: Draft) -> list[tuple[str, str, str]]:
        """Say what changed: (name, before, now) of every field that differs."""
        changed = []
        for field in dataclasses.fields(self):
            old, new = getattr(before, field.name), getattr(self, field.name)
            if old != new:
                changed.append((field.name, _words(old), _words(new)))
        return changed


def _words(value: Any) -> str:
    if value is None or value == "":
        return "default"
    return value if isinstance(value, str) else text_forms.spell(value)
