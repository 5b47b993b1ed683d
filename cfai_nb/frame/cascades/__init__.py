"""A cascade as data: what is given for it, the questions it can answer, what it costs, and what it promises.

``cf.Cascade`` is given in place of a model.  ``parts_of`` splits a task into questions with answers that are either
equal or different; a cascade compares and learns these answers.  ``CascadeCall`` (``cascade_call``) makes the calls for
frames, and ``enrich.enrich_cascade`` those for files.  Both return a ``CascadePlan`` with the price (a range, since it
depends on how often the cheap answers are right) and a ``Certificate`` with the result.  This module imports no frames
and no calls, so that steps and reports can import its types.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._engine.plan import Estimate
from ...errors import ModelError, takes_options
from ...html.markup import counted
from ...models import Cost, Model
from ...models.ledger import money
from ...tasks import Ask, Check, Classify, Moderate, Sentiment, Task, Verify
from ...tasks.dialects.labels import Taxonomy
from ...tasks.dialects.question_types import Choice, Scale
from ...tasks.dialects.request import Cell, Column
from ...tasks.dialects.values import yes_or_no

#: Given in place of a cheap model: vectors, and a classifier that learns from answers of the strong model.
EMBEDDINGS = "embeddings"
#: What answered a row that carries a right answer.
TRUTH = "truth"
#: Labels that an error lists.
_LISTED = 10
#: Tasks with answers that are equal or not.
DECIDING: tuple[type[Task], ...] = (Classify, Check, Sentiment, Verify, Ask, Moderate)


@dataclass(frozen=True)
class Cascade:
    """A cheap model and a strong one, in the place of a model: ``model=cf.Cascade("embeddings", "clef-omni")``.

    The strong model answers a random sample; an exact test on it says down to which confidence the cheap answers may
    stand, so that with probability `confidence` at least `accuracy` of all rows carry the strong model's answer (or the
    truth, where ``truth=`` has it).  All other rows are asked of the strong model.  Where it does not pay (few rows, a
    cheap model that is often wrong, many labels) a warning says so and the strong model answers everything.

    Parameters
    ----------
    cheap : str, Model, or list of both kinds
        A model that gives probabilities; ``"embeddings"``: the vectors of the frame (if it has one column of them) or
        bought ones, with logistic regression learned from answers of the strong model; or ``["embeddings", model]``,
        where the model is asked what the embeddings leave unsure.
    strong : str or Model
    accuracy : float, default 0.95
    confidence : float, default 0.95

    Raises
    ------
    ValueError
        A number is not strictly between 0 and 1, or `cheap` is not as described.

    Examples
    --------
    >>> cheap = cf.Cascade("clef-flash", "clef-omni", accuracy=0.9)
    >>> df["topic"] = df.cfai.classify("text", ["billing", "shipping"], model=cheap)
    >>> cf.last_run().certificate
    """

    cheap: str | Model | Sequence[str | Model]
    strong: str | Model
    accuracy: float = 0.95
    confidence: float = 0.95

    def __post_init__(self) -> None:
        for name in ("accuracy", "confidence"):
            share(getattr(self, name), name)
        given = [self.cheap] if isinstance(self.cheap, (str, Model)) else list(self.cheap)
        models = [each for each in given if each != EMBEDDINGS]
        if not given or len(models) > 1 or len(given) > len(set(map(str, given))):
            raise ValueError(f'cheap={self.cheap!r}: give a model, "embeddings", or a list of both.')
        if not all(isinstance(each, (str, Model)) for each in (*given, self.strong)):
            raise TypeError(f"Cascade({self.cheap!r}, {self.strong!r}): give names from cf.models().")
        if models and str(models[0]) == str(self.strong):
            raise ValueError(f"cheap and strong are the same model, {self.strong}.")
        object.__setattr__(self, "cheap", self.cheap if isinstance(self.cheap, (str, Model)) else tuple(given))

    @property
    def learns(self) -> bool:
        """Whether embeddings are asked first."""
        return self.cheap == EMBEDDINGS or (isinstance(self.cheap, tuple) and EMBEDDINGS in self.cheap)

    @property
    def model(self) -> str | Model | None:
        """The cheap model; None where embeddings are alone."""
        given = [self.cheap] if isinstance(self.cheap, (str, Model)) else list(self.cheap)
        return next((each for each in given if each != EMBEDDINGS), None)


# An unknown option is refused with those that there are, as by every entry.
Cascade.__init__ = takes_options()(Cascade.__init__)  # type: ignore[method-assign]


def share(value: Any, name: str) -> float:
    """Return a number strictly between 0 and 1, such as a confidence."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1, both excluded, not {value!r}")
    return float(value)


# -- the questions of a task -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """One question of a task."""

    name: str | None  # within the cell; None where the cell is its answer
    labels: tuple[str, ...] | None  # what can be answered; None for a yes or no
    threshold: float = 0.5  # the least probability of a yes

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

    def read(self, truth: Any) -> str | bool:
        """Read a right answer as a user gives it: a label, or a yes or no; a ValueError says what is allowed."""
        if self.labels is not None:
            if str(truth) in self.labels:
                return str(truth)
            listed = ", ".join(map(repr, self.labels[:_LISTED])) + (", ..." if len(self.labels) > _LISTED else "")
            raise ValueError(f"is not one of the labels {listed}")
        if isinstance(truth, str):
            with contextlib.suppress(ValueError):
                return yes_or_no(truth)
        elif np.isscalar(truth) and truth in (True, False):
            return bool(truth)
        raise ValueError("is neither True nor False, and neither 'yes' nor 'no'")

    def known(self, answer: str | bool) -> Cell:
        """Return the cell of an answer without probabilities."""
        if self.labels is not None:
            return {"label": answer, "confidence": None, "p": None}
        return {"value": answer, "p": None}

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


# -- price and promise -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """What is promised about the answers of a cascade; ``cf.last_run().certificate``.

    Attributes
    ----------
    words : str
        The promise in one sentence, with what it cost.
    rows, asked : int
        Rows that have an answer or should have one, and how many of these were asked of the strong model.
    kept, known : int
        Rows that keep the cheap answer, and rows that carry a right answer of ``truth=``.
    confidence : float
    targets : dict of str to float
        ``accuracy``, or ``recall`` and ``precision``; empty where every other row was asked of the strong model.
    reason : str
        Why every other row was asked of the strong model; ``""`` where something was saved.
    cost, alone : Cost
        What all answers cost (those from the store: had cost), and what the strong model alone would, estimated.
    """

    rows: int
    asked: int
    kept: int
    known: int
    failed: int
    strong: str
    confidence: float
    targets: dict[str, float]
    reason: str
    cost: Cost
    alone: Cost

    @property
    def words(self) -> str:
        if not self.targets or self.reason:
            why = f": {self.reason}" if self.reason else ""
            return f"every answer is one of {self._source}{why}; {self._money}"
        from ...quality.arrays import percent  # importing the package loads none of that room

        sure = f"with {percent(self.confidence)} confidence"
        return f"{sure} {' and '.join(self._promises)}; {self.asked:,} were asked of it; {self._money}"

    @property
    def _source(self) -> str:
        return f"{self.strong} or the {counted(self.known, 'truth')} given" if self.known else self.strong

    @property
    def _promises(self) -> list[str]:
        from ...quality.arrays import percent

        made = []
        if (share := self.targets.get("accuracy")) is not None:
            if self.failed:  # a share of answers would count rows that have none
                most = int((1 - share) * self.rows + 1e-9)
                made.append(
                    f"at most {most:,} of {self.rows:,} rows hold another answer than that of {self._source} "
                    f"({self.failed:,} failed and hold none)"
                )
            else:
                made.append(f"at least {percent(share)} of {self.rows:,} answers are those of {self._source}")
        if (share := self.targets.get("recall")) is not None:
            made.append(f"at least {percent(share)} of the rows that {self._source} would keep are kept")
        if (share := self.targets.get("precision")) is not None:
            made.append(f"{self._source} would keep at least {percent(share)} of the rows that are kept")
        return made

    @property
    def _money(self) -> str:
        spent, alone = dollars(self.cost), dollars(self.alone)
        return f"{spent} instead of {alone}" if "unknown" not in (spent, alone) else "price unknown"

    def __repr__(self) -> str:
        return f"<{self.words}>"


def dollars(cost: Cost) -> str:
    """Return dollars alone, a tilde before an estimate: "~$1.10"."""
    if cost.neurons is None:
        return "unknown"
    return money(cost.neurons, cost.exact).partition("(")[2].rstrip(")")


@dataclass(frozen=True)
class CascadePlan:
    """The plan of a call with a cascade; nothing is sent.

    Attributes
    ----------
    verb, origin : str
        The task, and what answers.
    model : Model
        The strong model.
    cheap : dict of str to Estimate
        What is asked of each cheap model, at most.
    strong : Estimate
        Every row, asked of the strong model: what the call can come to at most, besides the cheap models.
    least, expected : int
        Distinct rows that the strong model is asked at least, and if cheap answers agree with it in about nine of
        ten rows.
    at_least, expected_cost, at_most : Cost
    remarks : list of str
        What the strong model's task says of it; the certificate speaks for the cheap answers.
    reason : str
        Why the cascade does not pay, and everything is asked of the strong model; ``""`` where it may.
    partitions : int or None
        Of a Dask frame.
    """

    verb: str
    origin: str
    model: Model
    cheap: dict[str, Estimate]
    strong: Estimate
    least: int
    expected: int
    at_least: Cost
    expected_cost: Cost
    at_most: Cost
    remarks: list[str]
    reason: str = ""
    partitions: int | None = None

    @property
    def further(self) -> str:
        """What the estimate leaves out: nothing."""
        return ""

    @property
    def estimate(self) -> Estimate:
        """The most the call can come to: every row asked of every model."""
        found = self.strong
        for one in self.cheap.values():
            minutes = None if None in (found.minutes, one.minutes) else (found.minutes or 0) + (one.minutes or 0)
            found = dataclasses.replace(
                found, requests=found.requests + one.requests, usage=found.usage + one.usage, minutes=minutes
            )
        return dataclasses.replace(found, cost=self.at_most)

    def __repr__(self) -> str:
        return self.describe("nothing sent")

    def describe(self, what: str) -> str:
        """Return the plan in a few lines; `what` says what happens next, such as "nothing sent"."""
        strong, e = self.model.name, self.strong
        where = "" if self.partitions is None else f", in {self.partitions:,} partitions"
        lines = [
            f"{self.verb} with {', then '.join([*self.cheap, strong])} on {self.origin}",
            f"  {counted(e.rows)}, {e.distinct:,} distinct{where}",
        ]
        asked, cost = f"  {strong}: {counted(self.least)}", f"{dollars(self.at_most)} at most; estimated, {what}"
        if self.reason:
            lines.insert(0, f"the cascade does not pay ({self.reason}), so {strong} is asked alone:")
        else:
            lines += [f"  {name}: {cheap.requests:,} requests at most" for name, cheap in self.cheap.items()]
            asked += (
                f" at least, about {self.expected:,} if nine of ten cheap answers are right, {e.distinct:,} at most"
            )
            cost = f"{dollars(self.at_least)} at least, {dollars(self.expected_cost)} expected, {cost}"
        return "\n".join([*lines, asked, f"  {cost}", *(f"  {remark}" for remark in self.remarks)])
