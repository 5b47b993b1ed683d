"""What ``extract`` gives where it is two calls, of an extraction model and a decision model: one frame, one report.

``ExtractVerb`` makes the calls, and brings this module, and with it the engine, when they are made.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from .._engine.run_state import Run
from ..errors import RowError
from ..tasks.dialects.extraction import NOT_STATED, Fields, types_of
from ..tasks.dialects.question_types import Choice, Question, YesNo
from . import rows as frame_rows
from .cascades.cascade_parts import add
from .report import Report


def together(fields: Fields, asked: Mapping[str, Question], *frames: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of all calls, the deciding one last, in the order of the fields."""
    *others, decided = frames
    found = others[0] if others else pd.DataFrame(index=decided.index)
    columns: dict[str, pd.Series[Any]] = {}
    names = list(types_of(fields))
    known = sorted(names, key=len, reverse=True)
    owners = {each: next((n for n in known if each == n or each.startswith(f"{n}__")), each) for each in found.columns}
    for name in names:
        question = asked.get(name)
        if question is None:
            columns |= {each: found[each] for each, owner in owners.items() if owner == name}
        elif isinstance(question, YesNo):
            columns[name] = decided[name]
            if f"{name}__p" in decided:
                p = decided[f"{name}__p"]
                columns[f"{name}__confidence"] = p.where(p >= 0.5, 1 - p)
        else:
            words = question.names if isinstance(question, Choice) else ()
            columns[name] = decided[name].cat.set_categories([each for each in words if each != NOT_STATED])
            if f"{name}__confidence" in decided:
                columns[f"{name}__confidence"] = decided[f"{name}__confidence"]
                columns[f"{name}__p_null"] = decided[f"{name}__p__{NOT_STATED}"]
    result = pd.DataFrame(columns, index=decided.index)
    facts = [frame.attrs["cfai"] for frame in frames if "cfai" in frame.attrs]
    models = ", ".join(each["model"] for each in facts)
    result.attrs["cfai"] = {**facts[0], "verb": "extract", "model": models}
    return result


# -- the report of both calls ----------------------------------------------------------------------------------------


def _joined(reports: Sequence[Report], join: Callable[..., pd.DataFrame], run: Run) -> pd.DataFrame:
    return join(*(report.frame() for report in reports))


class BothReport(Report):
    """The report of both calls together: a row is done where both have answered, and fails where one of them failed."""

    def __init__(self, reports: Sequence[Report], rows: frame_rows.Rows, join: Callable[..., pd.DataFrame]) -> None:
        first = reports[0]
        run = Run(first.run.plan, first.run.options, logs=first.run.logs, began=first.run.began)
        errors: dict[int, RowError] = {}
        answered = first.answered
        for report in reports:
            add(run, report.run)
            answered, errors = answered & report.answered, report.errors | errors
        where, cells = run.plan.where.tolist(), first.run.results.cells()
        done = sorted({at for at, both in zip(where, answered.tolist(), strict=True) if both})
        run.deliver(done, [cells[at] for at in done])
        for at, error in {where[position]: error for position, error in errors.items() if where[position] >= 0}.items():
            run.fail(at, error)
        run.stored, run.ended = min(report.run.stored for report in reports), time.monotonic()
        super().__init__(run, rows, functools.partial(_joined, reports, join), "extract")
        self._reports = reports

    @property
    def failures(self) -> pd.DataFrame:
        """Rows that failed and why, each with the model that failed first."""
        found = pd.concat([report.failures for report in self._reports])
        return found.drop_duplicates("position").sort_values("position", ignore_index=True)
