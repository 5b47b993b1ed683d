"""``tune``: which wording of a task is right most often, chosen on one half of the gold and judged on the other.

Candidates are the task as given, labels described by words or examples of the gold, examples before a prompt, and the
user's own variants.  Those that do worst are given up early (successive halving; Jamieson and Talwalkar 2016).  The
figure of the winner comes from rows that had no part in choosing it, so it is not flattered by the choice.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import BudgetError, RowsFailed
from ..html.markup import counted, line
from ..models import Model
from ..models.ledger import money
from ..quality import Difference, Estimate, accuracy, difference
from ..quality.estimates import judge
from ..tasks import ChatTask, Column, Task
from ..vectors.clustering import topic_terms
from . import rows
from .call import Call
from .compare import plain
from .gold import truth_of
from .steps import Step, Steps
from .verb_help import code_of

#: Rows of gold below which nothing can be shown, and below which a round is not decided.
LEAST, _LEAST_ROUND = 20, 8
#: Share of the first half from which examples are taken; these rows are not used to choose.
_SHOWN = 1 / 3
_EXAMPLE, _TERMS = 160, 6
GIVEN = "as given"
#: The field of a task that a variant of its wording replaces, the first that it has.
_WORDING = ("instructions", "condition", "system")


@dataclass(frozen=True)
class Candidate:
    """A task, and the column or template it is put to."""

    name: str
    task: Task
    on: Any


@dataclass(frozen=True, repr=False)
class Tuned:
    """What came of `tune`.

    Attributes
    ----------
    task : Task
        The winner, to be used in place of the task given; that task itself where nothing beat it.
    on : column or template
    name : str
        Of the winning candidate.
    code : str
        The call as one line of code.
    table : DataFrame
        By candidate: ``rows`` it was tried on, ``right``, ``accuracy`` on them, and ``round`` it reached.  These
        figures chose the winner and are too high for it.
    accuracy : Estimate
        Of the winner, on the other half of the gold.
    test : Difference or None
        Winner against the task given, on the other half; None where that was the winner.
    words : str
        The result in words.
    """

    task: Task
    on: Any
    name: str
    code: str
    table: pd.DataFrame
    accuracy: Estimate
    test: Difference | None
    words: str

    def __repr__(self) -> str:
        return f"<tuned: {self.words}\n  {self.code}>"


def tune(
    data: rows.Frame, /, task: Task, on: Any = None, *, truth: Any = None, variants: Any = (),
    model: str | Model | None = None, random_state: int = 0, **options: Any,
) -> Steps[Tuned]:  # fmt: skip
    """Find the wording of a task that is right most often, and say whether it really beats yours.

    The gold is split in two.  On the first half candidates compete: labels described by the words or the examples of
    the gold, examples before a prompt, and your variants; the worse half of them is given up after each round.  The
    winner is compared with your task on the second half, with an exact test.

    Parameters
    ----------
    task : Task
        With one answer a row, such as ``cf.Classify(labels=[...])`` or ``cf.Check(condition=...)``.
    on : str
        A column, or a template with ``{column}`` in it.  A Series needs none.
    truth : column name, Series, list or cf.gold(name)
        The right answers, missing where unknown; at least 20.
    variants : str or Task, or list or dict of name to these, optional
        Your own wordings: other instructions (for prompts, another template), or other tasks.
    model : str or Model, optional
        A name from ``cf.models()``; default: that for the task's kind of work.
    random_state : int
        For the split.

    Returns
    -------
    Tuned
        ``.task`` and ``.code`` are the winner, ``.words`` says how sure that is, ``.table`` has all candidates.

    Raises
    ------
    ValueError
        Fewer than 20 rows with a truth, or a truth that does not fit.
    BudgetError
        The budget does not suffice for the smallest comparison; nothing was sent.

    Notes
    -----
    With ``budget=``, as many rows are used to choose as it allows, and enough is set aside for the comparison.

    Examples
    --------
    >>> found = df.cfai.tune(cf.Classify(labels=["billing", "bug"]), "text", truth=cf.gold("topics"), budget=0.05)
    >>> df.cfai.run(found.task, found.on)
    """
    match = _Match(data, task, on, truth, variants, model, random_state, options)
    yield from match.choose()
    yield from match.compare()
    return match.result


@dataclass
class _Tried:
    """What a candidate answered: by position, whether it was right."""

    candidate: Candidate
    right: dict[int, bool] = field(default_factory=dict)
    round: int = 0

    @property
    def share(self) -> float:
        """The share that was right."""
        return sum(self.right.values()) / max(1, len(self.right))


class _Match:
    """The candidates of one call, the rows they compete on, and what came of it."""

    def __init__(
        self, data: rows.Frame, task: Task, on: Any, truth: Any, variants: Any, model: Any, random_state: int,
        given: Mapping[str, Any],
    ) -> None:  # fmt: skip
        if not isinstance(task, Task):
            raise TypeError(f"tune() takes a Task such as cf.Classify(labels=[...]), not {task!r:.60}.")
        self.data, self.model = data, model
        if truth is None:
            raise TypeError("tune() needs truth=: the right answers of some rows, such as cf.gold('topics').")
        self.truth = truth_of(data, on, truth).astype(object)
        first = self._call(Candidate(GIVEN, _plain(task), on), np.arange(len(data)), given)
        self.options = first.options  # merged once: one budget for all
        usable = rows.first_ones(first.rows.inputs, self.truth.notna().to_numpy())  # equal rows are in one half
        self.shown, self.choosing, self.judging = split(self.truth.to_numpy(dtype=object), usable, random_state)
        inputs = [(first.rows.inputs[at], self.truth.iloc[at]) for at in self.shown]
        found = candidates(
            _plain(task), on, variants, [(text, label) for text, label in inputs if isinstance(text, str)]
        )
        self.tried = [_Tried(each) for each in found]
        for each in found:  # refuses what cannot be asked before anything is sent
            self._call(each, self.judging[:1])
        self.winner = self.tried[0]
        self.planned = False
        self.pairs: dict[str, npt.NDArray[np.bool_]] = {}

    def _call(self, candidate: Candidate, at: Any, options: Any = None, part: str = "") -> Call:
        given = self.options if options is None else options
        call = Call(candidate.task, self.model, self.data.iloc[at], candidate.on, given, part or candidate.name)
        call.title = f"tune: {candidate.name}"
        return call

    def _ask(self, tried: _Tried, at: Any, part: str) -> Generator[Step, Any, npt.NDArray[np.bool_]]:
        """Ask about these rows, and note which answers are right; a row without an answer is not."""
        right = np.zeros(len(at), dtype=bool)
        try:
            answers = yield self._call(tried.candidate, at, part=f"{tried.candidate.name}, {part}")
        except RowsFailed:  # a wording that no model follows is wrong everywhere
            if tried is self.tried[0] or self.options.on_error == "raise":
                raise
            return right
        self.planned = answers is None  # a plan goes on without answers
        if answers is not None:
            right, _ = judge(answers.astype(object).to_numpy(), self.truth.iloc[at].to_numpy(dtype=object))
        return right

    def choose(self) -> Generator[Step, Any, None]:
        """Let the candidates compete."""
        left = self.tried
        for number, size in enumerate(self._rounds(), 1):
            at = self.choosing[:size]
            for each in left:
                new = at[len(each.right) :]
                right: Any = (yield from self._ask(each, new, f"round {number}")) if len(new) else ()
                each.right |= dict(zip(new.tolist(), map(bool, right), strict=True))
                each.round = number
            left = sorted(left, key=self._rank)[: math.ceil(len(left) / 2)]  # stable: given comes first
        self.winner = left[0]
        if self.planned and len(self.tried) > 1:  # any could win
            self.winner = max(self.tried[1:], key=lambda each: self._price(each, self.judging))

    def _rank(self, tried: _Tried) -> float:
        """Return what candidates are ordered by: those that are right most often first, in a plan the dearest."""
        return -self._price(tried, self.choosing) if self.planned else -tried.share

    def _rounds(self) -> list[int]:
        """Return how many rows each round uses, within what the budget allows."""
        budget = self.options.budget
        most = len(self.choosing)
        if budget is None or len(self.tried) < 2:
            return rounds(len(self.tried), most)
        each = [self._price(tried, self.choosing) / most for tried in self.tried]
        last = max(self._price(tried, self.judging) for tried in self.tried) + self._price(self.tried[0], self.judging)
        while True:
            sizes = rounds(len(self.tried), most)
            if bill(sizes, each) + last <= budget.left:
                return sizes
            if most <= _LEAST_ROUND:
                needed = money(bill(sizes, each) + last, exact=False)
                raise BudgetError(
                    f"The budget of {budget.label} is too small: {counted(len(self.tried), 'candidate')} need {needed} "
                    "at most. Nothing was sent. Raise the budget, or give a smaller truth or fewer variants."
                )
            most = max(_LEAST_ROUND, most // 2)

    def _price(self, tried: _Tried, at: Any) -> float:
        """Return the most that these rows can cost; 0 where that is unknown, and the budget itself refuses."""
        return self._call(tried.candidate, at).plan().estimate.cost.neurons or 0.0

    def compare(self) -> Generator[Step, Any, None]:
        """Ask the winner and the task given about the other half."""
        for each in dict.fromkeys([self.tried[0].candidate.name, self.winner.candidate.name]):
            tried = next(tried for tried in self.tried if tried.candidate.name == each)
            self.pairs[each] = yield from self._ask(tried, self.judging, "other half")

    def result(self) -> Tuned:
        """Put together what came of it."""
        name = self.winner.candidate.name
        test = None
        if name != GIVEN:
            test = difference(self.pairs[GIVEN], self.pairs[name], names=("your task", name))
        beaten = test is not None and test.verdict == "better"
        chosen = self.winner.candidate if beaten else self.tried[0].candidate
        found = accuracy(self.pairs[chosen.name], np.ones(len(self.judging), dtype=bool))
        about = (
            f"{found.estimate:.0%} right, {found.low:.0%} to {found.high:.0%}, on {counted(found.n)} not used to choose"
        )
        if beaten and test is not None:
            words = f"{test.words}; {about}"
        else:
            best = "" if test is None else f"; the best of the others, {name}: {test.words}"
            words = f"nothing beat your prompt: {about}{best}"
        table = pd.DataFrame(
            {
                "rows": [len(each.right) for each in self.tried],
                "right": [sum(each.right.values()) for each in self.tried],
                "accuracy": [each.share for each in self.tried],
                "round": [each.round for each in self.tried],
            },
            index=pd.Index([each.candidate.name for each in self.tried], name="candidate"),
        )
        code = code_of(chosen.task, chosen.on, self.model)
        return Tuned(chosen.task, chosen.on, chosen.name, code, table, found, test, words)


# -- pure parts --------------------------------------------------------------------------------------------------------


def split(truth: Any, usable: npt.NDArray[np.bool_], seed: int) -> tuple[Any, Any, Any]:
    """Split rows with a truth: shown as examples, used to choose, used to judge; each with all labels in turn.

    Raises
    ------
    ValueError
        There are too few.
    """
    there = np.flatnonzero(usable)
    if len(there) < LEAST:
        raise ValueError(f"truth: {counted(len(there))} with content and a truth; tune needs at least {LEAST}.")
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0x7E57,)))
    there = random.permutation(there)
    codes, _ = pd.factorize(pd.Series(truth, dtype=object).iloc[there])
    turn = pd.Series(codes).groupby(codes).cumcount().to_numpy()  # of its label, the how manieth
    order = np.lexsort((codes, turn))  # any number of the first ones has all labels about equally often
    half = ((turn + codes) % 2)[order]
    first, second = there[order][half == 0], there[order][half == 1]
    count = round(len(first) * _SHOWN)
    return first[:count], first[count:], second


def rounds(count: int, most: int) -> list[int]:
    """Return how many rows each round of successive halving uses: twice as many for half as many candidates."""
    number = max(1, math.ceil(math.log2(count))) if count > 1 else 1
    return [max(min(_LEAST_ROUND, most), math.ceil(most / 2 ** (number - 1 - at))) for at in range(number)]


def bill(sizes: Sequence[int], each: Sequence[float]) -> float:
    """Return what these rounds cost at most, if the dearest candidates stay in; `each` is the price of a row."""
    dear = sorted(each, reverse=True)
    total, before = 0.0, 0
    for size in sizes:
        total += sum(dear) * max(0, size - before)
        dear, before = dear[: math.ceil(len(dear) / 2)], size
    return total


def candidates(task: Task, on: Any, variants: Any, shown: Sequence[tuple[str, Any]]) -> list[Candidate]:
    """Return the candidates: the task as given, those made of examples, and the user's variants."""
    found = [Candidate(GIVEN, task, on)]
    labels = getattr(task, "labels", None)
    if labels and shown:
        described = dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(labels)
        terms = topic_terms([text for text, _ in shown], [label for _, label in shown], n=_TERMS)
        by_label = {label: [text for text, own in shown if own == label] for label in described}
        found.append(
            _described(
                "labels with words", task, on, described, {k: f"words such as {v}" for k, v in terms.items() if v}
            )
        )
        for count in (1, 3):
            quoted = {
                label: "such as " + "; ".join(f"“{line(text, _EXAMPLE)}”" for text in texts[:count])
                for label, texts in by_label.items()
                if texts
            }
            if count == 1 or any(len(texts) > 1 for texts in by_label.values()):
                name = f"labels with {counted(count, 'example')}"
                found.append(_described(name, task, on, described, quoted))
    if isinstance(task, ChatTask) and shown and isinstance(on, str) and on.count("{") == 1:
        balanced = list(dict.fromkeys(label for _, label in shown))
        some = [next(pair for pair in shown if pair[1] == label) for label in balanced[:4]]
        pairs = [(_filled(text, on), label) for text, label in some]
        found.append(Candidate(f"with {counted(len(some), 'example')}", dataclasses.replace(task, examples=pairs), on))
    variants = [variants] if isinstance(variants, (str, Task)) else variants
    named = (
        variants.items()
        if isinstance(variants, Mapping)
        else (
            (f"“{line(each, 40)}”" if isinstance(each, str) else f"variant {at}", each)
            for at, each in enumerate(variants, 1)
        )
    )
    found += [_variant(str(name), each, task, on) for name, each in named]
    if len({each.name for each in found}) < len(found):
        raise ValueError("variants: two candidates have the same name.")
    return found


def _described(name: str, task: Task, on: Any, labels: Mapping[Any, Any], more: Mapping[Any, str]) -> Candidate:
    made = {label: "; ".join(filter(None, (what, more.get(label)))) or None for label, what in labels.items()}
    return Candidate(name, dataclasses.replace(task, labels=made), on)  # type: ignore[call-arg]


def _filled(prompt: str, template: str) -> str:
    """Return what a filled template of one column was filled with."""
    before, _, rest = template.partition("{")
    return prompt[len(before) : len(prompt) - len(rest.partition("}")[2]) or None]


def _variant(name: str, given: Any, task: Task, on: Any) -> Candidate:
    if isinstance(given, Task):
        return Candidate(name, _plain(given), on)
    if not isinstance(given, str):
        raise TypeError(f"variants: {given!r:.60}: give texts or Tasks.")
    if task.template:
        return Candidate(name, task, given)
    fields = {each.name for each in dataclasses.fields(task)}
    wording = next((each for each in _WORDING if each in fields), None)
    if wording is None:
        raise ValueError(f"variants: {task.name} has no wording of its own; give Tasks.")
    return Candidate(name, dataclasses.replace(task, **{wording: given}), on)


def _plain(task: Task) -> Task:
    """Return the task with its answers alone, if it has one a row."""
    made = plain(task)
    column = made.to_columns([])
    if not isinstance(column, Column) or column.kind == "vector":
        raise ValueError(f"tune() takes a task with one answer a row that can be right or wrong, not {task.name}.")
    return made
