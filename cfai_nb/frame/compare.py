"""``compare``: the same question put to several models, on a sample of the user's own rows.

A ``_Trial`` yields the calls; a ``Comparison`` is put together from the reports of their runs, with functions on frames
and arrays: answers side by side, cost, time and accuracy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .. import session
from .._engine.run_state import Run
from ..errors import CfaiError, RowsFailed
from ..html import markup
from ..models import USD_PER_NEURON, Model
from ..quality import Difference, differences, wilson
from ..quality.estimates import canonical, judge
from ..tasks import Ask, Column, Score, Task
from ..tasks.dialects.question_types import Scale
from ..vectors.vector import stand_in
from . import rows
from .call import Call
from .cascades import Cascade
from .cascades.cascade_call import CascadeCall
from .extract_call import ExtractCall
from .gold import truths
from .steps import Steps
from .verb import call_of, carried_out

#: What is compared: answers by name (one name for most verbs, one a question for ``ask``), each rows x models.
Answers = Mapping[str, pd.DataFrame]
#: What asks one model, or one cascade.
Asked: TypeAlias = "Call | CascadeCall | ExtractCall"


def compare(
    data: rows.Frame, /, task: Task, on: Any = None, *, models: Sequence[str | Model | Cascade] = (),
    sample: int | None = 50, truth: Any = None, margin: float | None = None, random_state: int = 0, **options: Any,
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
    models : list of str, Model or cf.Cascade
        At least two; cascades of the same models are named with what they promise.
    sample : int or None
        Rows drawn at random (always the same ones for the same frame), of those with an input and, if there is one,
        a truth.  None takes all.  Of rows with the same content the first stands for all: the others are not counted.
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
        self, data: rows.Frame, task: Task, on: Any, models: Sequence[str | Model | Cascade], sample: int | None,
        truth: Any, random_state: int, given: Mapping[str, Any], margin: float | None,
    ) -> None:  # fmt: skip
        if not isinstance(task, Task):
            raise TypeError(f"compare() takes a Task such as cf.Classify(labels=[...]), not {task!r:.60}.")
        if isinstance(models, (str, Model, Cascade)) or len(models) < 2:
            raise ValueError("models: give at least two names from cf.models().")
        self.task = plain(task)
        self.names = _names(self.task)
        known = truths(data, on, truth, self.names)
        first = models[0].strong if isinstance(models[0], Cascade) else models[0]
        options = session.current().options(given)  # merged once: one budget for all
        whole = call_of(self.task, first, data, on, options)
        chosen = _drawn(whole.rows.inputs, known, sample, random_state)
        self.data = data.iloc[chosen]
        self.truth = None if known is None else known.iloc[chosen].set_axis(data.index[chosen])
        made = [self._call(model, on, options) for model in models]
        self.calls = dict(zip(named(made), made, strict=True))
        self.margin = margin
        if len(self.calls) < 2:
            raise ValueError(f"models: these are all names of {', '.join(self.calls)}; give at least two models.")
        self.errors: dict[str, CfaiError] = {}

    def _call(self, model: str | Model | Cascade, on: Any, options: Any) -> Asked:
        if isinstance(model, Cascade):
            return CascadeCall(self.task, model, self.data, on, options)
        call = call_of(self.task, model, self.data, on, options)
        call.title = f"{self.task.name} with {call.model.name}"
        return call

    @contextlib.contextmanager
    def noting(self, name: str, call: Asked) -> Iterator[None]:
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
        judged = scored(parts, self.truth, answered)
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
        names = [model.rsplit("/", 1)[-1] for model in there]
        names = names if len(set(names)) == len(names) else there
        return differences(dict(zip(names, (right[model] for model in there), strict=True)), None, margin=self.margin)

    def _levels(self, frame: pd.Series[Any] | pd.DataFrame) -> pd.Series[Any] | pd.DataFrame:
        """A place on a scale is compared by the level it is nearest to."""
        if isinstance(frame, pd.Series):
            return frame.round() if isinstance(self.task, Score) else frame
        questions = self.task.questions if isinstance(self.task, Ask) else {}
        scales = [name for name, question in questions.items() if isinstance(question, Scale)]
        return frame.assign(**{name: frame[name].round() for name in scales})


def named(calls: Sequence[Asked]) -> list[str]:
    """Return the name of each call in a table: its model, or its cascade, with the promise where several differ in it.

    A cascade takes its name, so that a plan shows it too.
    """
    cascades = [call for call in calls if isinstance(call, CascadeCall)]
    promises = {id(call): (call.cascade.accuracy, call.cascade.confidence) for call in cascades}
    alike = {call.label: {promises[id(one)] for one in cascades if one.label == call.label} for call in cascades}
    for call in cascades:
        if len(alike[call.label]) > 1:
            accuracy, confidence = promises[id(call)]
            call.label = f"{call.label} (accuracy {accuracy:g}, confidence {confidence:g})"
    return [call.label if isinstance(call, CascadeCall) else call.model.id for call in calls]


def plain(task: Task) -> Task:
    """Return the task with its answers alone: numbers beside them would never be equal."""
    beside = {each.name: False for each in dataclasses.fields(task) if each.name in ("probabilities", "details")}
    return dataclasses.replace(task, **beside)


def _names(task: Task) -> list[str]:
    columns = task.to_columns([])
    named = {task.name: columns} if isinstance(columns, Column) else dict(columns)
    if any(column.kind == "vector" for column in named.values()):
        raise ValueError(f"{task.name} answers with vectors, which are never equal; compare what is done with them.")
    return list(named)


def _drawn(inputs: Sequence[Any], truths: pd.DataFrame | None, sample: int | None, random_state: int) -> Any:
    """Return the positions of the rows that are asked about, in their order: of equal ones the first."""
    known = None if truths is None else truths.notna().any(axis=1).to_numpy()
    places = np.flatnonzero(rows.first_ones(inputs, known))
    if not len(places):
        raise ValueError("no row has an input" + (" and a truth" if truths is not None else "") + ".")
    if sample is not None and (isinstance(sample, bool) or not isinstance(sample, int) or sample < 1):
        raise ValueError(f"sample={sample!r}: give a number of rows of at least 1, or None for all.")
    if sample is None or sample >= len(places):
        return places
    return np.sort(np.random.default_rng(random_state).choice(places, sample, replace=False))


# -- the result -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Comparison:
    """Answers of several models to the same rows.

    Attributes
    ----------
    rows : DataFrame
        The rows that were asked about, as they came; no two have the same content.
    answers : DataFrame
        A column a model; for verbs with several answers a row, columns are (model, answer).
    truth : DataFrame or None
        The right answers, a column an answer.
    table : DataFrame
        Indexed by model.  ``accuracy``: share of judged rows that are correct, as ``cf.quality.accuracy`` compares;
        ``low`` and ``high``: its 95 % interval (Wilson); ``judged``: rows with a truth that the model answered;
        ``agreement``: mean share of rows answered as by each other model; ``answered``, ``failed``: rows with and
        without an answer, of which only the first are judged; ``usd_per_1k`` and ``neurons_per_1k``: per 1,000 answered
        rows, missing where unknown; ``usd_per_right``: dollars for each right answer; ``price``: "exact", "estimated"
        or "unknown"; ``p50`` and ``p95``: seconds of a request, missing where all came from the store; ``on_front``: no
        other model is at least as good for at most the money, and better in one; ``error``: what ended a model early.
    failures : DataFrame
        ``model, row, code, message`` of the rows that failed.
    origin : str
        Who answered.
    verb : str
    differences : list of cf.quality.Difference
        Every pair of models on the rows that both answered, second minus first: exact McNemar test, adjusted for the
        number of pairs (Holm); ``.words`` is the verdict.  Empty without a truth.
    """

    rows: pd.DataFrame
    answers: pd.DataFrame
    truth: pd.DataFrame | None
    table: pd.DataFrame
    failures: pd.DataFrame
    origin: str
    verb: str
    _parts: Answers
    differences: Sequence[Difference] = ()

    @property
    def judged_by(self) -> str:
        """``"accuracy"`` where there is a truth, else ``"agreement"``."""
        return "agreement" if self.truth is None else "accuracy"

    @property
    def verdicts(self) -> list[str]:
        """The verdict on each pair of models, in words; empty without a truth."""
        return [pair.words for pair in self.differences]

    @property
    def pairs(self) -> pd.DataFrame:
        """Every pair of models: the difference of their accuracies, its interval, flips both ways, p and verdict."""
        names = ["first", "second", "difference", "low", "high", "first_better", "second_better", "n", "p", "verdict"]
        found = [
            (*pair.names, pair.estimate, pair.low, pair.high, pair.first_better, pair.second_better, pair.n, pair.p,
             pair.words) for pair in self.differences
        ]  # fmt: skip
        return pd.DataFrame(found, columns=names)

    @property
    def disagreements(self) -> pd.DataFrame:
        """The rows on which models that answered differ, with the answers (and the truth) beside them."""
        return self.differing(*self.table.index)

    def differing(self, *models: str) -> pd.DataFrame:
        """Return the rows on which these models differ, with the answers (and the truth) beside them.

        Parameters
        ----------
        *models : str
            As they are named in ``table``.
        """
        differ = np.zeros(len(self.rows), dtype=bool)
        for part in self._parts.values():
            cells = part[list(models)].astype(object).to_numpy()
            differ |= np.array([len(set(map(canonical, row[pd.notna(row)]))) > 1 for row in cells], dtype=bool)
        several = isinstance(self.answers.columns, pd.MultiIndex)
        answers = self.answers.loc[:, list(models)].copy() if several else self.answers[list(models)].copy()
        if isinstance(answers.columns, pd.MultiIndex):
            answers.columns = pd.Index([f"{model}: {name}" for model, name in answers.columns])
        parts = [self.rows, answers]
        if self.truth is not None:
            single = self.truth.shape[1] == 1
            parts.insert(1, self.truth.set_axis(["truth"] if single else [f"truth: {c}" for c in self.truth], axis=1))
        return pd.concat(parts, axis=1)[differ]

    def best(self, max_usd_per_1k: float | None = None) -> str:
        """Return the model that is most often right (without a truth: most agreed with); of equals, the cheapest.

        Parameters
        ----------
        max_usd_per_1k : float, optional
            Dollars per 1,000 rows; a model of unknown price is then out.

        Raises
        ------
        LookupError
            No model is cheap enough, or none has answered.
        """
        fit = self.table[self.table[self.judged_by].notna()]
        if max_usd_per_1k is not None:
            fit = fit[fit["usd_per_1k"] <= max_usd_per_1k]
        if fit.empty:
            wanted = "answered" if max_usd_per_1k is None else f"costs at most ${max_usd_per_1k:g} per 1,000 rows"
            raise LookupError(f"No model {wanted}; .table shows all models.")
        return str(fit.sort_values([self.judged_by, "usd_per_1k"], ascending=[False, True]).index[0])

    @property
    def words(self) -> str:
        """One line: what was compared, on how many rows, and who answered."""
        pretended = f", {stamp}: nothing was billed" if (stamp := stand_in(self.origin)) else ""
        return f"{self.verb} by {len(self.table)} models on {len(self.rows):,} rows{pretended}"

    def __repr__(self) -> str:
        return "\n".join([self.words, self.table.to_string(float_format=_short), *self.verdicts])

    def _repr_html_(self) -> str:
        verdicts = "".join(f"<li>{markup.escape(each, markup.LONG)}</li>" for each in self.verdicts)
        below = f"<ul>{verdicts}</ul>" if verdicts else ""
        return markup.frame_html(self.table, f"<b>{markup.escape(self.words)}</b>", _short) + below


def _short(value: float) -> str:
    return f"{value:,.4g}"


def scored(parts: Answers, truth: pd.DataFrame | None, answered: Mapping[str, npt.NDArray[np.bool_]]) -> pd.DataFrame:
    """Return accuracy (where there is a truth) and agreement of each model, averaged over the answers of a row."""
    models = list(next(iter(parts.values())).columns)
    pairs: dict[str, list[float]] = {model: [] for model in models}
    for part, (one, other) in itertools.product(parts.values(), itertools.combinations(models, 2)):
        alike, both = judge(part[one], part[other])
        for model in (one, other):
            pairs[model] += [float(alike[both].mean())] if both.any() else []
    table = pd.DataFrame({"agreement": {m: float(np.mean(found)) if found else np.nan for m, found in pairs.items()}})
    if truth is None:
        return table
    right = hits(parts, truth, answered)
    table.insert(0, "accuracy", right.mean())
    table.insert(1, "judged", right.count())
    return table


def hits(parts: Answers, truth: pd.DataFrame, answered: Mapping[str, npt.NDArray[np.bool_]]) -> pd.DataFrame:
    """Return whether each model is right, a row for each row and answer; missing where that cannot be judged.

    A missing answer is wrong where there should be one; a row that was not ``answered`` is not judged.
    """
    models = list(next(iter(parts.values())).columns)
    found = []
    for name in truth.columns:
        known = truth[name].notna().to_numpy()
        right = {m: judge(parts[name][m], truth[name])[0].astype(float) for m in models}
        found.append(pd.DataFrame({m: np.where(known & answered[m], each, np.nan) for m, each in right.items()}))
    return pd.concat(found, ignore_index=True)


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Add to the accuracies of a table, if it has them, their intervals and what a right answer cost."""
    if "accuracy" not in table:
        return table
    made = table.copy()
    low, high = wilson(table["accuracy"], table["judged"].where(table["judged"] > 0))
    for at, (name, column) in enumerate((("low", low), ("high", high))):
        made.insert(1 + at, name, column)
    right = table["usd_per_1k"] / 1_000 / table["accuracy"].where(table["accuracy"] > 0)
    made.insert(list(made).index("usd_per_1k") + 1, "usd_per_right", right)
    return made


def measured(run: Run, error: CfaiError | None) -> dict[str, Any]:
    """Return what one run cost and how long its requests took."""
    cost = run.cost_of_answers
    per = 1_000 / run.done if run.done else np.nan
    neurons = np.nan if cost.neurons is None else cost.neurons * per
    seconds = np.array(run.seconds_of_requests, dtype=float)
    p50, p95 = np.quantile(seconds, (0.5, 0.95)) if len(seconds) else (np.nan, np.nan)
    return {
        "answered": run.done, "stored": run.stored, "failed": run.failed, "requests": run.requests,
        "usd_per_1k": neurons * USD_PER_NEURON, "neurons_per_1k": neurons,
        "price": "unknown" if np.isnan(neurons) else "exact" if cost.exact else "estimated",
        "p50": float(p50), "p95": float(p95), "error": None if error is None else str(error),
    }  # fmt: skip


def front(table: pd.DataFrame, by: str) -> pd.Series[Any]:
    """Return which models no other one beats in both `by` and price; False for models of unknown price."""
    good, dear = table[by].to_numpy(dtype=float), table["usd_per_1k"].to_numpy(dtype=float)
    known = np.isfinite(good) & np.isfinite(dear)
    beaten = [
        bool(np.any(known & (good >= good[at]) & (dear <= dear[at]) & ((good > good[at]) | (dear < dear[at]))))
        for at in range(len(table))
    ]
    return pd.Series(known & ~np.array(beaten, dtype=bool), index=table.index)
