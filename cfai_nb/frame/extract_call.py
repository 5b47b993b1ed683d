"""One call of ``extract`` that is two: an extraction model finds what it has types for, a decision model the rest.

``verb.call_of`` makes an ``ExtractCall`` in the place of a ``Call`` where fields are booleans or one of several words,
for ``extract``, ``run``, ``compare`` and ``enrich`` alike, on whatever frame.  It yields both calls, which share one
budget; out come one frame and one report.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import session
from .._engine.run_options import RunOptions
from .._engine.run_state import Run
from ..errors import RowError
from ..models import Model
from ..tasks import Ask, Column, Extract
from ..tasks.dialects.extraction import NOT_STATED, Fields, types_of
from ..tasks.dialects.question_types import Choice, Question, YesNo
from . import rows as frame_rows
from .call import Call, Whole, remember
from .report import Report
from .rows import without_rows

if TYPE_CHECKING:
    from .steps import Step


class ExtractCall:
    """The calls of an extraction model and of a decision model for one ``extract``; takes what a ``Call`` takes.

    `asked` is what the decision model answers, by field; `rest` what the extraction model finds, None where nothing is
    left for it.  ``report`` is that of both together, once they have ended.
    """

    def __init__(
        self, task: Extract, asked: Mapping[str, Question], rest: Extract | None, model: Any, data: frame_rows.Frame,
        on: Any, options: Mapping[str, Any] | RunOptions, part: str = "", *, whole: Whole | None = None,
    ) -> None:  # fmt: skip
        # Merged once, so that both calls share one budget.
        merged = session.current().options(options) if isinstance(options, Mapping) else options
        deciding = Call(Ask(questions=asked, probabilities=task.details), None, data, on, merged, part, whole=whole)
        finding = [] if rest is None else [Call(rest, model, data, on, merged, part, whole=whole)]
        self.calls = [*finding, deciding]
        self.task, self.options, self.session = task, merged, deciding.session
        self._join = functools.partial(together, task.fields, asked)
        self._found: list[pd.DataFrame] = []
        self.report: Report | None = None
        self.title = task.name

    @property
    def model(self) -> Model:
        """That of the first call."""
        return self.calls[0].model

    @property
    def rows(self) -> frame_rows.Rows:
        """Those of both calls."""
        return self.calls[0].rows

    def steps(self) -> Generator[Step, Any, None]:
        """Yield the calls."""
        self._found = []  # it may have been priced before
        try:
            for call in self.calls:
                call.title = self.title
                self._found.append((yield call))
        finally:  # what came before Stop, too
            self.join_reports()
            if self.report is not None and self.calls[0].whole is None:
                remember(self.report)

    def join_reports(self) -> None:
        """Make ``report`` of those of the calls that have begun."""
        if reports := [call.report for call in self.calls if call.report is not None]:
            self.report = BothReport(reports, self.rows, self._join, self.title) if len(reports) > 1 else reports[0]

    def frame(self) -> pd.DataFrame:
        """Return the answers of both, on the index of the frame."""
        return self._join(*self._found)

    def placeholder(self) -> None:
        """Return nothing: no verb goes on with what was extracted."""

    def to_columns(self) -> dict[str, Column]:
        """Return the columns of the frame, without cells."""
        each = [columns for call in self.calls if isinstance(columns := call.to_columns(), Mapping)]
        known = {name: column for columns in each for name, column in columns.items()}
        frame = self._join(*(pd.DataFrame(without_rows(columns, pd.RangeIndex(0))) for columns in each))
        return {name: known.get(name, Column([], "number")) for name in frame.columns}


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
    if facts := [frame.attrs["cfai"] for frame in frames if "cfai" in frame.attrs]:  # not of a frame without answers
        models = ", ".join(each["model"] for each in facts)
        result.attrs["cfai"] = {**facts[0], "verb": "extract", "model": models}
    return result


# -- the report of both calls ----------------------------------------------------------------------------------------


def _joined(reports: Sequence[Report], join: Callable[..., pd.DataFrame], run: Run) -> pd.DataFrame:
    return join(*(report.frame() for report in reports))


class BothReport(Report):
    """The report of both calls together: a row is done where both have answered, and fails where one of them failed."""

    def __init__(
        self, reports: Sequence[Report], rows: frame_rows.Rows, join: Callable[..., pd.DataFrame], title: str
    ) -> None:
        first = reports[0]
        run = Run(first.run.plan, first.run.options, logs=first.run.logs, began=first.run.began)
        errors: dict[int, RowError] = {}
        answered = first.answered
        for report in reports:
            run.add(report.run)
            answered, errors = answered & report.answered, report.errors | errors
        where, cells = run.plan.where.tolist(), first.run.results.cells()
        done = sorted({at for at, both in zip(where, answered.tolist(), strict=True) if both})
        run.deliver(done, [cells[at] for at in done])
        for at, error in {where[position]: error for position, error in errors.items() if where[position] >= 0}.items():
            run.fail(at, error)
        run.stored, run.ended = min(report.run.stored for report in reports), time.monotonic()
        super().__init__(run, rows, functools.partial(_joined, reports, join), title)
        self._reports = reports

    @property
    def failures(self) -> pd.DataFrame:
        """Rows that failed and why, each with the model that failed first."""
        found = pd.concat([report.failures for report in self._reports])
        return found.drop_duplicates("position").sort_values("position", ignore_index=True)
