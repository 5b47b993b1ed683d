"""The result of a comparison of models: answers side by side, cost, time and accuracy; and plans of several calls.

``compare`` puts a ``Comparison`` together from the reports of its runs, with these functions on frames and arrays.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from .._engine.plan import Plan
from .._engine.run_state import Run
from ..errors import CfaiError
from ..html import markup
from ..models import USD_PER_NEURON, Cost
from ..models.ledger import money
from ..quality import Difference, wilson
from ..vectors.vector import stand_in
from .cascades.cascade_plan import CascadePlan
from .reading import is_missing

#: What is compared: answers by name (one name for most verbs, one a question for ``ask``), each rows x models.
Answers = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of a verb that makes several calls; nothing is sent.

    Attributes
    ----------
    plans : dict of str to Plan
        By model where one task is put to several, else by what is embedded.
    """

    plans: Mapping[str, Plan | CascadePlan]

    @property
    def cost(self) -> Cost:
        """The most all calls together can cost; unknown where a model publishes no price."""
        each = [plan.estimate.cost.neurons for plan in self.plans.values()]
        return Cost(None if None in each else sum(filter(None, each)), False)

    @property
    def table(self) -> pd.DataFrame:
        """By call: rows, requests, what is stored, tokens, Neurons and dollars at most, minutes at the rate limit."""
        rows = {}
        for model, plan in self.plans.items():
            e = plan.estimate
            rows[model] = {
                "rows": e.rows, "requests": e.requests, "stored": e.stored, "tokens": e.usage.tokens,
                "neurons": e.cost.neurons, "usd": e.cost.usd, "minutes": e.minutes,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(self._kind)

    @property
    def _kind(self) -> str:
        return "model" if all(name == plan.model.id for name, plan in self.plans.items()) else "call"

    def __repr__(self) -> str:
        lines = []
        for model, plan in self.plans.items():
            cost, stored = plan.estimate.cost, plan.estimate.stored
            known = f", {stored:,} in the store" if stored else ""
            lines.append(f"  {model}: {plan.estimate.requests:,} requests{known}, {money(cost.neurons, False)}")
        known_cost = [n for plan in self.plans.values() if (n := plan.estimate.cost.neurons) is not None]
        parts = [f"{money(sum(known_cost), False)} at most"] if known_cost else []
        parts += ["what is unknown"] if self.cost.neurons is None else []
        further = dict.fromkeys(f"  {plan.further}" for plan in self.plans.values() if plan.further)
        further |= dict.fromkeys(f"  {remark}" for plan in self.plans.values() for remark in plan.remarks)
        total = f"  {' and '.join(parts)}; estimated, nothing sent"
        return "\n".join([f"{len(self.plans)} {self._kind}s", *lines, total, *further])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Answers of several models to the same rows.

    Attributes
    ----------
    rows : DataFrame
        The rows that were asked about, as they came.
    answers : DataFrame
        A column a model; for verbs with several answers a row, columns are (model, answer).
    truth : DataFrame or None
        The right answers, a column an answer.
    table : DataFrame
        Indexed by model.  ``accuracy``: of the rows with a truth that the model answered, the share it answered right;
        ``low`` and ``high``: its 95 % interval (Wilson); ``judged``: how many rows that is; ``agreement``: mean share
        of rows answered as by each other model; ``answered``, ``failed``: rows with and without an answer, of which
        only the first are judged; ``usd_per_1k`` and ``neurons_per_1k``: per 1,000 answered rows, missing where
        unknown; ``usd_per_right``: dollars for each right answer; ``price``: "exact", "estimated" or "unknown"; ``p50``
        and ``p95``: seconds of a request, missing where all came from the store;
        ``on_front``: no other model is at least as good for at most the money, and better in one; ``error``: what
        ended a model early.
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
            cells = _cells(part[list(models)])
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


def _cells(part: pd.DataFrame) -> list[Any]:
    return list(part.astype(object).to_numpy())


def canonical(value: Any) -> Any:
    """Return an answer in the form it is compared in: words without case and outer space, numbers to nine digits."""
    if isinstance(value, str):
        return " ".join(value.split()).casefold()
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, float, np.number)):
        return float(f"{float(value):.9g}")
    return value if isinstance(value, pd.Timestamp) else repr(value)


def same(one: pd.Series[Any], other: pd.Series[Any]) -> pd.Series[Any]:
    """Return row by row whether two columns hold the same answer; missing where an answer is missing."""
    pairs = zip(one.astype(object), other.astype(object), strict=True)
    found = [None if is_missing(a) or is_missing(b) else canonical(a) == canonical(b) for a, b in pairs]
    return pd.Series(found, index=one.index, dtype="boolean")


def judge(parts: Answers, truth: pd.DataFrame | None, answered: Mapping[str, npt.NDArray[np.bool_]]) -> pd.DataFrame:
    """Return accuracy (where there is a truth) and agreement of each model, averaged over the answers of a row."""
    models = list(next(iter(parts.values())).columns)
    pairs: dict[str, list[float]] = {model: [] for model in models}
    for part, (one, other) in itertools.product(parts.values(), itertools.combinations(models, 2)):
        share = same(part[one], part[other]).mean()
        for model in (one, other):
            pairs[model] += [] if pd.isna(share) else [float(share)]
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
        right = {m: same(parts[name][m], truth[name]).fillna(False).to_numpy(dtype=float) for m in models}
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
    cost = cost_of(run)
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


def cost_of(run: Run) -> Cost:
    """Return what the answers of a run cost, those from the store at what they had cost when they were bought.

    The store does not keep whether that was exact, so it counts as estimated.
    """
    if run.spent.neurons is None or run.unknown_saved:
        return Cost(None)
    return Cost(run.spent.neurons + run.saved_neurons, run.exact and not run.stored)


def front(table: pd.DataFrame, by: str) -> pd.Series[Any]:
    """Return which models no other one beats in both `by` and price; False for models of unknown price."""
    good, dear = table[by].to_numpy(dtype=float), table["usd_per_1k"].to_numpy(dtype=float)
    known = np.isfinite(good) & np.isfinite(dear)
    beaten = [
        bool(np.any(known & (good >= good[at]) & (dear <= dear[at]) & ((good > good[at]) | (dear < dear[at]))))
        for at in range(len(table))
    ]
    return pd.Series(known & ~np.array(beaten, dtype=bool), index=table.index)
