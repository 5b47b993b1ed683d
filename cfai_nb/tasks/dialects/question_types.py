"""Typed questions about a text: a yes or no, one of several options, or a level on a scale.

A question describes itself for a decision model (``criteria``) and for a chat model (``schema``), reads the answers of
both (``decided`` and ``chosen``) into a cell, and lays cells out as columns: the answer, and with ``all_`` its
probabilities.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...errors import takes_options
from . import values
from .request import Cell, Column, Json

#: The limits of a decision model (published with the models, 2026-10-01).
MOST_QUESTIONS, MOST_OPTIONS, MOST_LEVELS = 64, 255, 10


@dataclass(frozen=True, slots=True)
class YesNo:
    """A question with a yes or no, made by ``cf.yes_no``.  Its cell is ``{"p": ...}``: the probability of yes."""

    instructions: str
    yes: str | None = None
    no: str | None = None

    def __post_init__(self) -> None:
        _check_text(self.instructions, "a question")

    def criteria(self) -> Json:
        criteria = {key: what for key, what in (("true", self.yes), ("false", self.no)) if what}
        return {"type": "noul", "instructions": self.instructions} | ({"criteria": criteria} if criteria else {})

    def schema(self) -> Json:
        described = "; ".join(f"{name}: {what}" for name, what in (("true", self.yes), ("false", self.no)) if what)
        return {"type": "boolean", "description": f"{self.instructions} {described}".strip()}

    def decided(self, answer: Mapping[str, Any]) -> Cell:
        return {"p": values.probability(answer["noul"])}

    def chosen(self, value: Json) -> Cell:
        return {"value": values.yes_or_no(value), "p": None}

    def columns(self, name: str, cells: Sequence[Cell], threshold: float, *, all_: bool) -> dict[str, Column]:
        p = [None if cell is None else cell["p"] for cell in cells]
        yes = [cell and holds(cell, threshold) for cell in cells]
        columns = {name: Column(yes, "boolean")}
        return columns | ({f"{name}__p": Column(p, "number")} if all_ else {})


def holds(cell: Mapping[str, Any], threshold: float) -> bool:
    """Return whether the cell of a yes or no means yes: by its probability, or without one as it was answered."""
    return bool(cell["value"] if cell["p"] is None else cell["p"] >= threshold)


@dataclass(frozen=True, slots=True)
class Unsafe(YesNo):
    """A question whether a text is unsafe, which chat models also answer with "unsafe" and "safe"."""

    def chosen(self, value: Json) -> Cell:
        return {"value": values.yes_or_no(value, yes="unsafe", no="safe"), "p": None}


@dataclass(frozen=True, slots=True)
class Choice:
    """A question with one of several answers, made by ``cf.choice``.

    Its cell is ``{"label", "confidence", "p": {option: probability}}``; the confidence is the label's probability.
    """

    options: tuple[tuple[str, str | None], ...]
    instructions: str = "Which option fits the text best?"

    def __post_init__(self) -> None:
        names = [name for name, _ in self.options]
        if len(names) < 2:
            raise ValueError(f"{names}: give at least two options to choose from.")
        check_distinct(names, "option")
        if len(names) > MOST_OPTIONS:
            raise ValueError(f"{len(names)} options: a decision takes at most {MOST_OPTIONS}.")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.options)

    def criteria(self) -> Json:
        return {"type": "choice", "instructions": self.instructions, "criteria": dict(self.options)}

    def schema(self) -> Json:
        described = "; ".join(f"{name}: {what}" for name, what in self.options if what)
        return {"type": "string", "enum": list(self.names), "description": f"{self.instructions} {described}".strip()}

    def decided(self, answer: Mapping[str, Any]) -> Cell:
        p = {name: values.probability(answer["probabilities"][name]) for name in self.names}
        label = answer["choice"]
        if not isinstance(label, str) or label not in p:
            raise ValueError(f"{values.quoted(label)} was not offered")
        return {"label": label, "confidence": p[label], "p": p}

    def chosen(self, value: Json) -> Cell:
        return {"label": values.one_of(value, self.names), "confidence": None, "p": None}

    def columns(self, name: str, cells: Sequence[Cell], threshold: float, *, all_: bool) -> dict[str, Column]:
        columns = {name: Column([c and c["label"] for c in cells], "category", self.names)}
        return columns | (_numbers(name, cells, self.names) if all_ else {})


@dataclass(frozen=True, slots=True)
class Scale:
    """A question with a level, from low to high, made by ``cf.scale``.

    Its cell is ``{"score", "confidence", "p": {level: probability}}``; the score counts levels from 0, and is between
    two levels where the model is unsure; the confidence is the probability of the likeliest level.
    """

    levels: tuple[str, ...]
    instructions: str = "Which level fits the text best?"

    def __post_init__(self) -> None:
        if not 2 <= len(self.levels) <= MOST_LEVELS:
            raise ValueError(f"{list(self.levels)}: give 2 to {MOST_LEVELS} levels, from low to high.")
        check_distinct(self.levels, "level")

    def criteria(self) -> Json:
        return {"type": "score", "instructions": self.instructions, "criteria": list(self.levels)}

    def schema(self) -> Json:
        return {"type": "string", "enum": list(self.levels), "description": f"{self.instructions} From low to high."}

    def decided(self, answer: Mapping[str, Any]) -> Cell:
        given, places = answer["probabilities"], [str(at) for at in range(len(self.levels))]
        # The service answers by position.  That is decided once: a level may have the position of another as its name.
        keys = places if all(place in given for place in places) else self.levels
        p = {level: values.probability(given[key]) for level, key in zip(self.levels, keys, strict=True)}
        score = values.number(answer["score"])
        if not 0 <= score <= len(self.levels) - 1:
            raise ValueError(f"{score} is beyond the levels 0 to {len(self.levels) - 1}")
        return {"score": score, "confidence": max(p.values()), "p": p}

    def chosen(self, value: Json) -> Cell:
        level = values.one_of(value, self.levels)
        return {"score": float(self.levels.index(level)), "confidence": None, "p": None}

    def columns(self, name: str, cells: Sequence[Cell], threshold: float, *, all_: bool) -> dict[str, Column]:
        columns = {name: Column([c and c["score"] for c in cells], "number")}
        return columns | (_numbers(name, cells, self.levels) if all_ else {})


Question: TypeAlias = YesNo | Choice | Scale


def sent_as(names: Iterable[str], plain: re.Pattern[str], word: str) -> dict[str, str]:
    """Return the form in which each name is sent: itself, or a number if the model does not take it."""
    number = re.compile(rf"{word}-\d+")
    return {
        name: name if plain.fullmatch(name) and not number.fullmatch(name) else f"{word}-{at}"
        for at, name in enumerate(names)
    }


def _numbers(name: str, cells: Sequence[Cell], names: Sequence[str]) -> dict[str, Column]:
    columns = {f"{name}__confidence": Column([c and c["confidence"] for c in cells], "number")}
    for each in names:
        p = [None if cell is None or cell["p"] is None else cell["p"][each] for cell in cells]
        columns[f"{name}__p__{each}"] = Column(p, "number")
    return columns


def check_distinct(names: Sequence[str], what: str) -> None:
    """Refuse names that are not texts, or occur twice."""
    for name in names:
        _check_text(name, f"every {what}")
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ValueError(f"{what}s: {', '.join(map(repr, twice))} given more than once.")


def _check_text(text: Any, what: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text!r}: {what} must be a text that is not empty.")


@takes_options()
def yes_no(instructions: str, *, yes: str | None = None, no: str | None = None) -> YesNo:
    """Make a question with a yes or no.

    Parameters
    ----------
    instructions : str
        The question, such as "Does the customer want money back?".
    yes, no : str, optional
        What counts as yes, and what as no.

    Returns
    -------
    YesNo

    Examples
    --------
    >>> df.cfai.ask("text", {"refund": cf.yes_no("Does the customer want money back?")})
    """
    return YesNo(instructions, yes, no)


def choice(*options: str, instructions: str = "Which option fits the text best?", **described: str | None) -> Choice:
    """Make a question with one of several options as its answer.

    Parameters
    ----------
    *options : str
        At least two, here or with a description in ``described``.
    instructions : str
    **described : str or None
        ``billing="charges and refunds"``.

    Returns
    -------
    Choice

    Examples
    --------
    >>> df.cfai.ask("text", {"topic": cf.choice("shipping", billing="charges and refunds")})
    """
    return Choice((*((name, None) for name in options), *described.items()), instructions)


@takes_options()
def scale(*levels: str, instructions: str = "Which level fits the text best?") -> Scale:
    """Make a question with a level as its answer, from low to high.

    Parameters
    ----------
    *levels : str
        2 to 10, such as ``"calm", "annoyed", "furious"``.
    instructions : str

    Returns
    -------
    Scale

    Examples
    --------
    >>> df.cfai.ask("text", {"mood": cf.scale("calm", "annoyed", "furious")})
    """
    return Scale(levels, instructions)
