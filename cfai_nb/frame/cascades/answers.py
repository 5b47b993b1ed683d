"""The answers of tasks that decide, as parts that are equal or not: what a cascade compares and learns.

A cell of ``classify``, ``check``, ``sentiment``, ``ask`` (without scales) and ``moderate`` comes in; out go the answers
as they are shown, how sure they are, and cells that were made of other answers: of gold, or of the probabilities of a
classifier on vectors.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ModelError
from ...tasks import Ask, Check, Classify, Moderate, Sentiment, Task, Verify
from ...tasks.dialects.labels import Taxonomy
from ...tasks.dialects.question_types import Choice, Scale
from ...tasks.dialects.request import Cell, Column

#: Tasks with answers that are equal or not.
DECIDING: tuple[type[Task], ...] = (Classify, Check, Sentiment, Verify, Ask, Moderate)


@dataclass(frozen=True, slots=True)
class Part:
    """One question of a task.

    Attributes
    ----------
    name : str or None
        Its name within the cell; None where the cell is its answer.
    labels : tuple of str or None
        What can be answered; None for a yes or no.
    threshold : float
        Minimum probability of a yes.
    """

    name: str | None
    labels: tuple[str, ...] | None
    threshold: float = 0.5

    def answer(self, cell: Cell) -> str | bool:
        """Return the answer in a cell of the task."""
        own = cell if self.name is None else cell[self.name]
        if self.labels is not None:
            return str(own["label"])
        return bool(own["value"] if own["p"] is None else own["p"] >= self.threshold)

    def yes(self, cell: Cell) -> float | None:
        """Return the probability of yes, stretched so that the threshold is one half; None where there is none."""
        p = (cell if self.name is None else cell[self.name])["p"]
        if p is None:
            return None
        t = self.threshold
        if p >= t:
            return float(0.5 + 0.5 * (p - t) / (1 - t)) if t < 1 else 1.0
        return float(0.5 * p / t)

    def sure(self, cell: Cell) -> float | None:
        """Return the probability of the answer given; None where there is none."""
        if self.labels is None:
            yes = self.yes(cell)
            return None if yes is None else max(yes, 1 - yes)
        found = (cell if self.name is None else cell[self.name])["confidence"]
        return None if found is None else float(found)

    def known(self, answer: Any) -> Cell:
        """Return the cell of an answer without probabilities."""
        if self.labels is not None:
            return {"label": str(answer), "confidence": None, "p": None}
        return {"value": bool(answer), "p": None}

    def guessed(self, p: Mapping[Any, float]) -> Cell:
        """Return the cell of an answer with a probability for each; those that are not named have none."""
        if self.labels is not None:
            all_ = {name: float(p.get(name, 0.0)) for name in self.labels}
            best = max(all_, key=all_.__getitem__)
            return {"label": best, "confidence": all_[best], "p": all_}
        yes, t = float(p.get(True, 0.0)), self.threshold
        return {"p": t + (yes - 0.5) * 2 * (1 - t) if yes >= 0.5 else 2 * yes * t}


def parts_of(task: Task) -> tuple[Part, ...]:
    """Return the questions of a task.

    Raises
    ------
    ModelError
        Its answers are not simply equal or not.
    """
    if isinstance(task, Classify) and task.labels is not None:
        if task.multiple:
            return tuple(Part(name, None, task.threshold) for name in task.labels)
        way = task.way
        return (Part(None, way.paths if isinstance(way, Taxonomy) else tuple(task.labels)),)
    if isinstance(task, Check):
        return (Part(None, None, task.threshold),)
    if isinstance(task, (Sentiment, Verify)):
        return (Part(None, task.question().names),)
    if isinstance(task, Moderate):
        return tuple(Part(name, None, task.threshold) for name in task.questions)
    if isinstance(task, Ask):
        scales = [name for name, question in task.questions.items() if isinstance(question, Scale)]
        if scales:
            raise ModelError(f"a cascade cannot answer {', '.join(scales)}: a place on a scale is not right or wrong.")
        limits = (
            task.threshold if isinstance(task.threshold, Mapping) else dict.fromkeys(task.questions, task.threshold)
        )
        return tuple(
            Part(name, question.names if isinstance(question, Choice) else None, limits.get(name, 0.5))
            for name, question in task.questions.items()
        )
    able = ", ".join(each.name for each in DECIDING)
    raise ModelError(f"{task.name} cannot use a cascade here: its answers must be equal or not. These can: {able}.")


def shown(task: Task, cells: Sequence[Cell]) -> list[Any]:
    """Return the answers as the task shows them without probabilities, in a form that can be compared."""
    columns = dataclasses.replace(task, probabilities=False).to_columns(cells)  # type: ignore[call-arg]
    listed = [columns] if isinstance(columns, Column) else list(columns.values())
    return [
        None if cell is None else tuple(map(_comparable, values))
        for cell, values in zip(cells, zip(*(column.values for column in listed), strict=True), strict=True)
    ]


def _comparable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, tuple)) else value


def sureness(parts: Sequence[Part], cells: Sequence[Cell]) -> list[float]:
    """Return how sure each cell is: the product over its questions; NaN where there is no cell or no probability."""
    found = []
    for cell in cells:
        each = [None if cell is None else part.sure(cell) for part in parts]
        found.append(math.nan if None in each else math.prod(p for p in each if p is not None))
    return found


def cell_of(parts: Sequence[Part], each: Sequence[Cell]) -> Cell:
    """Return the cell of a task, given that of each question."""
    if len(parts) == 1 and parts[0].name is None:
        return each[0]
    return {part.name: own for part, own in zip(parts, each, strict=True)}
