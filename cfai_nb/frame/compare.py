"""``compare``: the same question put to several models, on a sample of the user's own rows."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import CfaiError, RowsFailed
from ..quality import Difference, differences
from ..tasks import Ask, Column, Score, Task
from ..tasks.dialects.question_types import Scale
from . import rows
from .call import Call
from .cascades.cascade import Cascade, CascadeCall
from .compare_result import Comparison, front, hits, judge, measured, with_intervals
from .gold import truths
from .steps import Steps
from .verb import call_of, carried_out

if TYPE_CHECKING:
    from .extract_call import ExtractCall


def compare(
    data: rows.Frame, /, task: Task, on: Any = None, *, models: Sequence[str | Cascade] = (), sample: int | None = 50,
    truth: Any = None, margin: float | None = None, random_state: int = 0, **options: Any,
) -> Steps[Comparison]:  # fmt: skip
    """Put one task to several models, on a sample of the rows.

    Every model is an ordinary call: answers are kept, and the same comparison again sends nothing.  Models take their
    turns, so that none slows another down.  A model that is refused is noted in ``.table``, and the others go on.

    Parameters
    ----------
    task : Task
        Such as ``cf.Classify(labels=[...])`` or ``cf.Ask(questions={...})``.
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    models : list of str or cf.Cascade
        At least two.
    sample : int or None
        Rows drawn at random (always the same ones for the same frame), of those with an input and, if there is one,
        a truth.  None takes all.
    truth : column name, Series, list or cf.gold(name), or dict of answer to one of these, optional
        The right answers; missing where they are unknown.  With several answers a row (``ask``, ``extract``) a dict.
    margin : float, optional
        A difference in accuracy below this does not matter, such as 0.02: pairs are then also tested for being equal
        within it.
    random_state : int
        For the sample.

    Returns
    -------
    Comparison
        ``.table``, ``.pairs``, ``.verdicts``, ``.answers``, ``.disagreements``, ``.best()``; ``cf.plots.compare`` draws
        it.

    Raises
    ------
    ValueError
        Fewer than two models, no rows, a truth that does not fit, or a task whose answers cannot be equal (vectors).
    CfaiError
        No model answered at all: the first one's error.

    Examples
    --------
    >>> task = cf.Classify(labels=["billing", "shipping"])
    >>> found = df.cfai.compare(task, "text", models=["clef-flash", "glm-4.7-flash"], truth="topic")
    >>> found.best(max_usd_per_1k=0.5)
    """
    trial = _Trial(data, task, on, models, sample, truth, random_state, options, margin)
    for name, call in trial.calls.items():
        with trial.noting(name, call):
            yield from carried_out(call)
    return trial.result


class _Trial:
    """One comparison under way: the calls, and what came of each."""

    def __init__(
        self, data: rows.Frame, task: Task, on: Any, models: Sequence[str | Cascade], sample: int | None, truth: Any,
        random_state: int, given: Mapping[str, Any], margin: float | None,
    ) -> None:  # fmt: skip
        if not isinstance(task, Task):
            raise TypeError(f"compare() takes a Task such as cf.Classify(labels=[...]), not {task!r:.60}.")
        if isinstance(models, str) or len(set(models)) < 2:
            raise ValueError("models: give at least two names from cf.models().")
        self.task = _plain(task)
        self.names = _names(self.task)
        known = truths(data, on, truth, self.names)
        first = models[0].strong if isinstance(models[0], Cascade) else models[0]
        whole = call_of(self.task, first, data, on, {})
        chosen = _drawn(whole.rows.inputs, known, sample, random_state)
        self.data = data.iloc[chosen]
        self.truth = None if known is None else known.iloc[chosen].set_axis(data.index[chosen])
        options = whole.session.options(given)  # merged once: one budget for all
        self.calls: dict[str, Call | CascadeCall | ExtractCall] = {}
        for model in models:
            if isinstance(model, Cascade):
                whole_call = CascadeCall(self.task, model, self.data, on, options)
                self.calls[whole_call.label] = whole_call
                continue
            call = call_of(self.task, model, self.data, on, options)
            call.title = f"{self.task.name} with {call.model.name}"
            self.calls[call.model.id] = call
        self.margin = margin
        if len(self.calls) < 2:
            raise ValueError(f"models: these are all names of {', '.join(self.calls)}; give at least two models.")
        self.errors: dict[str, CfaiError] = {}

    @contextlib.contextmanager
    def noting(self, name: str, call: Call | CascadeCall | ExtractCall) -> Iterator[None]:
        """Note what ended a model's run early, so that the next one has its turn."""
        try:
            yield
        except CfaiError as error:
            asked_for = isinstance(error, RowsFailed) and call.options.on_error == "raise"
            if asked_for or call.report is None:  # or it has nothing to do with the model
                raise
            self.errors[name] = error

    def result(self) -> Comparison:
        """Put together what came of all calls."""
        reports = {model: call.report for model, call in self.calls.items() if call.report is not None}
        if self.errors and not any(report.run.done for report in reports.values()):
            raise next(iter(self.errors.values()))
        found = {model: self._levels(report.frame()) for model, report in reports.items()}
        frame = rows.as_frame(self.data)
        parts = {
            name: pd.DataFrame({m: f if isinstance(f, pd.Series) else f[name] for m, f in found.items()}, frame.index)
            for name in self.names
        }
        answered = {model: report.answered for model, report in reports.items()}
        judged = judge(parts, self.truth, answered)
        measures = {model: measured(report.run, self.errors.get(model)) for model, report in reports.items()}
        table = with_intervals(judged.join(pd.DataFrame.from_dict(measures, orient="index")))
        table.insert(table.columns.get_loc("error"), "on_front", front(table, judged.columns[0]))  # type: ignore[arg-type]
        answers = parts[self.names[0]]
        if len(self.names) > 1:
            answers = pd.concat({m: pd.DataFrame({n: parts[n][m] for n in self.names}) for m in found}, axis=1)
        origin = next(iter(reports.values())).event.origin
        table.attrs["cfai"] = {"verb": self.task.name, "origin": origin}
        failures = pd.concat([report.failures for report in reports.values()], ignore_index=True)
        return Comparison(
            frame, answers, self.truth, table.rename_axis("model"), failures, origin, self.task.name, parts,
            self._differences(parts, answered),
        )  # fmt: skip

    def _differences(self, parts: Mapping[str, pd.DataFrame], answered: Mapping[str, Any]) -> list[Difference]:
        """Test every pair of models on the rows that both answered and that have a truth."""
        if self.truth is None:
            return []
        right = hits(parts, self.truth, answered)
        there = [str(model) for model in right if right[model].notna().any()]
        pairs = itertools.combinations(there, 2)
        if len(there) < 2 or any(right[list(pair)].notna().all(axis=1).sum() < 2 for pair in pairs):
            return []
        short = {model: model.rsplit("/", 1)[-1] for model in there}
        names = short if len(set(short.values())) == len(short) else {model: model for model in there}
        return differences({names[model]: right[model] for model in there}, None, margin=self.margin)

    def _levels(self, frame: pd.Series[Any] | pd.DataFrame) -> pd.Series[Any] | pd.DataFrame:
        """A place on a scale is compared by the level it is nearest to."""
        if isinstance(frame, pd.Series):
            return frame.round() if isinstance(self.task, Score) else frame
        questions = self.task.questions if isinstance(self.task, Ask) else {}
        scales = [name for name, question in questions.items() if isinstance(question, Scale)]
        return frame.assign(**{name: frame[name].round() for name in scales})


def _plain(task: Task) -> Task:
    """The task with its answers alone: numbers beside them would never be equal."""
    beside = {f.name: False for f in dataclasses.fields(task) if f.name in ("probabilities", "details")}
    return dataclasses.replace(task, **beside)


def _names(task: Task) -> list[str]:
    columns = task.to_columns([])
    named = {task.name: columns} if isinstance(columns, Column) else dict(columns)
    if any(column.kind == "vector" for column in named.values()):
        raise ValueError(f"{task.name} answers with vectors, which are never equal; compare what is done with them.")
    return list(named)


def _drawn(inputs: Sequence[Any], truths: pd.DataFrame | None, sample: int | None, random_state: int) -> Any:
    """Positions of the rows that are asked about, in their order."""
    usable = np.array([value is not None for value in inputs], dtype=bool)
    if truths is not None:
        usable &= truths.notna().any(axis=1).to_numpy()
    places = np.flatnonzero(usable)
    if not len(places):
        raise ValueError("no row has an input" + (" and a truth" if truths is not None else "") + ".")
    if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or sample < 1):
        raise ValueError(f"sample={sample!r}: give a number of rows of at least 1, or None for all.")
    if sample is None or sample >= len(places):
        return places
    return np.sort(np.random.default_rng(random_state).choice(places, sample, replace=False))
