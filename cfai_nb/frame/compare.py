"""``df.cfai.compare``: the same question put to several models, on a sample of the user's own rows."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import CfaiError, RowsFailed, takes_options
from ..tasks import Ask, Column, Score, Task
from ..tasks.dialects.questions import Scale
from . import rows
from .call import OPTIONS, Call, shared_budget
from .compare_result import Comparison, ComparisonPlan, compared, measured


class Compare:
    """Put one task to several models, on a sample of the rows: price it with ``.plan``, do it, or await ``.aio``.

    Every model is an ordinary call: answers are kept, and the same comparison again sends nothing.  Models take their
    turns, so that none slows another down.  A budget is one purse for all of them.  A model that is refused is noted
    in ``.table`` and the others go on.

    Parameters
    ----------
    task : Task
        Such as ``cf.Classify(labels=[...])`` or ``cf.Ask(questions={...})``.
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    models : list of str
        At least two.
    sample : int or None
        Rows drawn at random (always the same ones for the same frame), of those with an input and, if there is one,
        a truth.  None takes all.
    truth : column name, Series or list, or dict of answer to one of these, optional
        The right answers; missing where nobody knows.  With several answers a row (``ask``, ``extract``) a dict.
    seed : int
        For the sample.
    **options
        How it travels, as for every verb.

    Returns
    -------
    Comparison
        ``.table``, ``.answers``, ``.disagreements``, ``.best()``; ``cf.plots.compare`` draws it.

    Raises
    ------
    ValueError
        Fewer than two models, no rows, a truth that does not fit, or a task whose answers cannot be equal (vectors).
    CfaiError
        No model answered at all: what the first one said.
    """

    def __init__(self, data: rows.Frame) -> None:
        self._data = data
        _, _, *asked = inspect.signature(_Trial.__init__).parameters.values()  # without self and data
        self.__signature__ = inspect.Signature(asked)

    def __repr__(self) -> str:
        return f"<df.cfai.compare{self.__signature__}: call it, await .aio(...), or price it with .plan(...)>"

    def __call__(self, task: Task, on: Any = None, **options: Any) -> Comparison:
        """Do it and wait."""
        trial = _Trial(self._data, task, on, **options)
        for call in trial.calls.values():
            with trial.noting(call):
                call.wait()
        return trial.result()

    async def aio(self, task: Task, on: Any = None, **options: Any) -> Comparison:
        """Do it; awaited."""
        from .._engine.aside import beside

        trial = await beside(lambda: _Trial(self._data, task, on, **options))
        for call in trial.calls.values():
            with trial.noting(call):
                await call.wait_async()
        return await beside(trial.result)

    def plan(self, task: Task, on: Any = None, **options: Any) -> ComparisonPlan:
        """Price it and send nothing."""
        calls = _Trial(self._data, task, on, **options).calls
        return ComparisonPlan({model: call.plan() for model, call in calls.items()})


class _Trial:
    """One comparison under way: the calls, and what came of each."""

    @takes_options(*OPTIONS, name="compare")
    def __init__(
        self, data: rows.Frame, /, task: Task, on: Any = None, *, models: Sequence[str] = (), sample: int | None = 50,
        truth: Any = None, seed: int = 0, **travel: Any,
    ) -> None:  # fmt: skip
        if not isinstance(task, Task):
            raise TypeError(f"compare() takes a Task such as cf.Classify(labels=[...]), not {task!r:.60}.")
        if isinstance(models, str) or len(set(models)) < 2:
            raise ValueError("models: give at least two names from cf.models().")
        self.task = _plain(task)
        self.names = _names(self.task)
        truths = _truths(data, truth, self.names)
        whole = Call(self.task, models[0], data, on, {})
        chosen = _drawn(whole.rows.inputs, truths, sample, seed)
        self.data = data.iloc[chosen]
        self.truth = None if truths is None else truths.iloc[chosen].set_axis(data.index[chosen])
        travel = shared_budget(travel)
        self.calls = {}
        for model in models:
            call = Call(self.task, model, self.data, on, travel)
            call.title = f"{self.task.name} with {call.model.name}"
            self.calls[call.model.id] = call
        if len(self.calls) < 2:
            raise ValueError(f"models: these are all names of {', '.join(self.calls)}; give at least two models.")
        self.errors: dict[str, CfaiError] = {}

    @contextlib.contextmanager
    def noting(self, call: Call) -> Iterator[None]:
        """Note what ended a model's run early, so that the next one has its turn."""
        try:
            yield
        except CfaiError as error:
            asked_for = isinstance(error, RowsFailed) and call.options.on_error == "raise"
            if asked_for or call.report is None:  # or it has nothing to do with the model
                raise
            self.errors[call.model.id] = error

    def result(self) -> Comparison:
        """Put together what came of all calls."""
        reports = {model: call.report for model, call in self.calls.items() if call.report is not None}
        if self.errors and not any(report.run.done for report in reports.values()):
            raise next(iter(self.errors.values()))
        found = {model: self._levels(report.frame()) for model, report in reports.items()}
        failures = [report.failures for report in reports.values()]
        measures = {model: measured(report.run, self.errors.get(model)) for model, report in reports.items()}
        answered = {model: report.answered for model, report in reports.items()}
        frame = self.data if isinstance(self.data, pd.DataFrame) else self.data.to_frame()
        origin = next(iter(reports.values())).event.origin
        failed = pd.concat(failures, ignore_index=True)
        return compared(frame, found, self.names, self.truth, measures, failed, answered,
                        origin=origin, verb=self.task.name)  # fmt: skip

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


def _truths(data: rows.Frame, truth: Any, names: Sequence[str]) -> pd.DataFrame | None:
    """The right answers by position, a column an answer."""
    if truth is None:
        return None
    if not isinstance(truth, Mapping):
        if len(names) > 1:
            raise ValueError(f"truth: there are several answers; give a dict with some of {', '.join(names)}.")
        truth = {names[0]: truth}
    if unknown := set(truth) - set(names):
        raise ValueError(f"truth: there is no answer {', '.join(map(str, unknown))}; there is {', '.join(names)}.")
    return pd.DataFrame({name: _column(data, given) for name, given in truth.items()})


def _column(data: rows.Frame, given: Any) -> pd.Series[Any]:
    if isinstance(given, str):
        if not isinstance(data, pd.DataFrame) or given not in data.columns:
            columns = ", ".join(map(str, data.columns)) if isinstance(data, pd.DataFrame) else "none"
            raise ValueError(f"truth: there is no column {given!r}. Columns: {columns}.")
        given = data[given]
    if isinstance(given, pd.Series) and not given.index.equals(data.index):
        raise ValueError("truth and frame have different indexes: align them first.")
    series = given if isinstance(given, pd.Series) else pd.Series(list(given), dtype=object)
    if len(series) != len(data):
        raise ValueError(f"truth: {len(series):,} answers for {len(data):,} rows.")
    return series.reset_index(drop=True)


def _drawn(inputs: Sequence[Any], truths: pd.DataFrame | None, sample: int | None, seed: int) -> Any:
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
    return np.sort(np.random.default_rng(seed).choice(places, sample, replace=False))
