"""The cascade on arrays: promises counted over hundreds of runs, on scores that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import binom, hypergeom

from cfai_nb import quality
from cfai_nb.quality.ranking import allowance, as_few, sample_share

DATA = Path(__file__).parents[1] / "data"
RUNS = 400
ROWS = 300

Scores = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
#: A frame: scores, whether each cheap answer is the strong one, and how many rows each row stands for.
Frame = tuple[Scores, Flags, npt.NDArray[np.int64] | None]


def calibrated(random: np.random.Generator, accuracy: float) -> Frame:
    scores = random.beta(8, 1, ROWS)
    return scores, random.random(ROWS) < scores, None


def overconfident(random: np.random.Generator, accuracy: float) -> Frame:
    true = random.beta(4, 1, ROWS)
    return np.sqrt(true) * 0.2 + 0.8, random.random(ROWS) < true, None


def underconfident(random: np.random.Generator, accuracy: float) -> Frame:
    true = random.beta(20, 1, ROWS)
    return true**20, random.random(ROWS) < true, None


def constant(random: np.random.Generator, accuracy: float) -> Frame:
    wrong = (1 - accuracy) * random.choice([0.8, 1.0, 1.1, 1.3])
    return np.full(ROWS, 0.9), random.random(ROWS) >= wrong, None


def reversed_scores(random: np.random.Generator, accuracy: float) -> Frame:
    true = random.beta(8, 1, ROWS)
    return -true, random.random(ROWS) < true, None


def cliff(random: np.random.Generator, accuracy: float) -> Frame:
    """All right, until just below the end of a tested beginning one error too many stands in a block."""
    budget = int((1 - accuracy) * ROWS + 1e-9)
    end = int(np.ceil(random.integers(10, 39) / 40 * ROWS))
    same = np.ones(ROWS, dtype=bool)
    same[max(0, end - budget - 1 - int(random.integers(0, budget // 4 + 2))) : end] = False
    same[min(ROWS, end + ROWS // 10) :] = False
    return -np.arange(ROWS, dtype=float), same, None


def edge(random: np.random.Generator, accuracy: float) -> Frame:
    """A beginning with one error too many, spread evenly, and hardly any further error in what follows."""
    budget = int((1 - accuracy) * ROWS + 1e-9)
    end = max(int(np.ceil(random.integers(10, 39) / 40 * ROWS)), budget + 2)
    same = np.ones(ROWS, dtype=bool)
    same[random.permutation(end)[: budget + 1]] = False
    same[end:] = random.random(ROWS - end) > 0.05
    return -np.arange(ROWS, dtype=float), same, None


def rare(random: np.random.Generator, accuracy: float) -> Frame:
    """1 % positives, and a cheap model that says no to all."""
    return random.random(ROWS), random.random(ROWS) > 0.01, None


#: Copies of each row: one set of numbers, in another order each time, so that the total is one and quickly looked up.
COPIES = np.minimum(np.random.default_rng(0).zipf(1.7, ROWS // 2), 40)


def duplicated(random: np.random.Generator, accuracy: float) -> Frame:
    scores = random.beta(4, 1, ROWS // 2)
    return scores, random.random(ROWS // 2) < scores, random.permutation(COPIES)


SETTINGS: tuple[Callable[[np.random.Generator, float], Frame], ...] = (
    calibrated, overconfident, underconfident, constant, reversed_scores, cliff, edge, rare, duplicated,
)  # fmt: skip


def arranged(frame: Frame, order: str) -> Frame:
    """The frame as it is (its rows are in random order), or sorted."""
    if order == "shuffled":
        return frame
    scores, same, weights = frame
    by = np.argsort(-scores if order == "by score" else same, kind="stable")
    return scores[by], same[by], None if weights is None else weights[by]


def bars(order: str) -> list[tuple[float, float]]:
    """Targets and deltas: all nine for shuffled frames, three of them for sorted ones."""
    if order == "shuffled":
        return [(target, delta) for target in (0.8, 0.9, 0.95) for delta in (0.05, 0.1, 0.2)]
    return [(0.8, 0.2), (0.9, 0.1), (0.95, 0.05)]


def most(runs: int, delta: float) -> int:
    """Misses that are not significantly too many: exact binomial, 1 %."""
    return int(binom.isf(0.01, runs, delta))


def test_bounds_are_those_of_the_text_books() -> None:
    """Of 400 runs at most 55 may miss at .1, 31 at .05."""
    assert [most(400, 0.1), most(400, 0.05)] == [55, 31]


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.__name__)
@pytest.mark.parametrize("order", ["shuffled", "by score", "by label"])
def test_accuracy_holds(setting: Callable[[np.random.Generator, float], Frame], order: str) -> None:
    """In every setting and order, at any accuracy and confidence, 400 runs do not miss significantly too often."""
    for accuracy, delta in bars(order):
        missed = 0
        for run in range(RUNS):
            scores, same, weights = arranged(setting(np.random.default_rng([run, ROWS]), accuracy), order)
            found = quality.cascade(scores, lambda rows, s=same: s[rows], accuracy, 1 - delta, weights, seed=run)
            count = np.ones(len(scores)) if weights is None else weights
            missed += int(count[found.keep & ~same].sum() > (1 - accuracy) * count.sum() + 1e-9)
        assert missed <= most(RUNS, delta), f"{missed} of {RUNS} at {accuracy}, {delta}"


@pytest.mark.parametrize(
    ("rows", "accuracy", "wrong", "least"),
    [
        (10_000, 0.95, 0.0, 0.64), (10_000, 0.9, 0.0, 0.86), (10_000, 0.95, 0.05, 0.44),
        (2_000, 0.95, 0.0, 0.60), (2_000, 0.9, 0.0, 0.81), (2_000, 0.95, 0.05, 0.39),
    ],
)  # fmt: skip
def test_rows_are_saved_where_the_promise_holds(rows: int, accuracy: float, wrong: float, least: float) -> None:
    """Delta .1: .64 and .86 are never sent, and .44 with overconfident scores; of 2,000 rows .60, .81 and .39."""
    saved, missed, runs = [], 0, 40
    for run in range(runs):
        random = np.random.default_rng([run, 77])
        scores = random.beta(8, 1, rows)
        same = random.random(rows) < scores - wrong
        found = quality.cascade(scores, lambda asked, s=same: s[asked], accuracy, 0.9, seed=run)
        saved.append(found.saved)
        missed += int((found.keep & ~same).sum() > (1 - accuracy) * rows)
    assert np.mean(saved) >= least
    assert missed <= most(runs, 0.1)


def filter_frame(random: np.random.Generator, setting: str, rows: int = 600) -> tuple[Scores, Flags]:
    """Scores of "yes", and the truth."""
    scores = random.beta(0.5, 3, rows)
    yes = random.random(rows) < scores
    if setting == "reversed":
        scores = -scores
    elif setting == "constant":
        scores = np.zeros(rows)
    elif setting == "cliff":  # a tenth of the positives lies far below, by nothing but bad luck
        yes = scores > 0.3
        yes[np.argsort(scores)[: int(0.12 * yes.sum())]] = True
    elif setting == "rare":
        yes &= random.random(rows) < 0.07
    return scores, yes


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["calibrated", "reversed", "constant", "cliff", "rare"])
@pytest.mark.parametrize("order", ["shuffled", "by score", "by label"])
def test_recall_holds(setting: str, order: str) -> None:
    """400 runs do not miss the promised recall significantly too often, whatever the scores and the order."""
    for recall, delta in bars(order):
        missed = 0
        for run in range(RUNS):
            frame = (*filter_frame(np.random.default_rng([run, 5]), setting), None)
            scores, yes, _ = arranged(frame, order)
            found = quality.recall_cut(scores, lambda rows, y=yes: y[rows], recall, 1 - delta, seed=run)
            missed += int((yes & ~found.keep).sum() < recall * yes.sum() - 1e-9)
        assert missed <= most(RUNS, delta), f"{missed} of {RUNS} at {recall}, {delta}"


@pytest.mark.parametrize("setting", ["calibrated", "flat", "reversed"])
@pytest.mark.parametrize(("precision", "delta"), [(0.8, 0.1), (0.9, 0.2), (0.95, 0.05)])
def test_precision_holds(setting: str, precision: float, delta: float) -> None:
    """400 runs do not miss the promised precision of what a filter returns significantly too often."""
    missed = saved = 0
    for run in range(RUNS):
        random = np.random.default_rng([run, 6])
        scores = random.beta(8, 1, 600)
        yes = random.random(600) < (scores if setting == "calibrated" else precision - 0.01)
        scores = -scores if setting == "reversed" else scores
        found = quality.precision_cut(scores, lambda rows, y=yes: y[rows], precision, 1 - delta, seed=run)
        returned = found.keep | yes
        missed += int(yes[returned].mean() < precision - 1e-9)
        saved += found.kept
    assert missed <= most(RUNS, delta)
    assert saved > 0 or (setting, precision) != ("calibrated", 0.8)


def proxy(name: str) -> tuple[Scores, Flags]:
    with np.load(DATA / "proxy_scores.npz", allow_pickle=False) as kept:
        return kept[f"{name}_scores"].astype(float), kept[f"{name}_labels"]


@pytest.mark.slow
@pytest.mark.parametrize("order", ["shuffled", "by score", "by label"])
@pytest.mark.parametrize(("name", "labels"), [("onto", 3_000), ("tacred", 5_000)])
def test_recall_holds_on_real_scores(name: str, labels: int, order: str) -> None:
    """onto and tacred at recall .9 and confidence .95: of 400 runs at most 31 miss, in any order."""
    scores, yes, _ = arranged((*proxy(name), None), order)
    missed, saved = 0, []
    for run in range(RUNS):
        found = quality.recall_cut(scores, lambda rows: yes[rows], 0.9, 0.95, seed=run, labels=labels)
        missed += int((yes & ~found.keep).sum() < 0.9 * yes.sum())
        saved.append(found.saved)
    assert missed <= most(RUNS, 0.05)
    assert np.mean(saved) > 0.5


def test_same_rows_are_asked_again() -> None:
    """The sample depends on seed and rows alone: other scores ask the same rows, a stricter promise these and more."""
    random = np.random.default_rng(0)
    first, other = random.random(2_000), random.random(2_000)
    asked: list[npt.NDArray[np.int64]] = []

    def ask(rows: npt.NDArray[np.int64]) -> Flags:
        asked.append(rows)
        return rows % 30 > 0

    found = [quality.cascade(first, ask, 0.9), quality.cascade(first, ask, 0.9), quality.cascade(other, ask, 0.9)]
    assert len(asked) == 3  # one call each
    assert all(np.array_equal(rows, found[0].asked) for rows in asked)
    assert np.array_equal(found[0].keep, found[1].keep)
    strict = quality.cascade(first, ask, 0.9, confidence=0.99)
    assert len(strict.asked) > len(asked[0])
    assert np.array_equal(strict.asked[: len(asked[0])], asked[0])
    assert not np.array_equal(quality.cascade(first, ask, 0.9, seed=1).asked, asked[0])


def test_asked_rows_take_the_strong_answer() -> None:
    """No row is asked twice, none of the asked ones keeps the cheap answer, and the counts are those of the arrays."""
    random = np.random.default_rng(1)
    weights = random.integers(1, 9, 1_000)
    scores = random.beta(8, 1, 1_000)
    same = random.random(1_000) < scores
    found = quality.cascade(scores, lambda rows: same[rows], 0.9, weights=weights)
    assert len(set(found.asked.tolist())) == len(found.asked) == found.checked
    assert not found.keep[found.asked].any()
    assert found.rows == weights.sum()
    assert found.kept == weights[found.keep].sum() == found.rows - found.sent
    assert found.wrong == (~same[found.asked]).sum()
    assert found.saved == found.kept / found.rows
    assert f"at least 90 % of {found.rows:,} answers" in found.words


def test_weights_cost_few_savings() -> None:
    """Of distinct rows that stand for one to five rows each, about as many are kept as of rows that stand for one."""
    random = np.random.default_rng(2)
    weights = random.integers(1, 6, 3_000)
    scores = random.beta(8, 1, 3_000)
    same = random.random(3_000) < scores
    many = [quality.cascade(scores, lambda r: same[r], 0.9, weights=weights, seed=s).keep.mean() for s in range(20)]
    single = [quality.cascade(scores, lambda r: same[r], 0.9, seed=s).keep.mean() for s in range(20)]
    assert np.mean(many) > np.mean(single) - 0.03


@pytest.mark.parametrize("labels", [2, 10])
def test_any_number_of_labels(labels: int) -> None:
    """All that counts is whether two answers are equal."""
    random = np.random.default_rng(labels)
    strong = random.integers(0, labels, 5_000)
    scores = random.beta(8, 1, 5_000)
    cheap = np.where(random.random(5_000) < scores, strong, (strong + 1) % labels)
    found = quality.cascade(scores, lambda rows: cheap[rows] == strong[rows], 0.9)
    assert np.where(found.keep, cheap, strong).tolist() != strong.tolist()
    assert (np.where(found.keep, cheap, strong) == strong).mean() >= 0.9
    assert found.saved > 0.7


def test_nothing_is_kept_without_evidence() -> None:
    """A hopeless cheap model, few rows or few positives leave all rows to the strong model, and the words say why."""
    scores = np.random.default_rng(3).random(1_000)
    hopeless = quality.cascade(scores, lambda rows: np.zeros(len(rows)))
    assert not hopeless.keep.any()
    assert "every row takes the strong model's answer: the cheap answers differ too often" in hopeless.words
    few = quality.cascade(scores[:15], lambda rows: pytest.fail("a sample cannot show anything"))
    assert not few.keep.any()
    assert "with 15 rows and accuracy=0.95 no error is allowed, so nothing can be saved" in few.words
    none = quality.recall_cut(scores, lambda rows: np.zeros(len(rows)))
    assert not none.keep.any()
    assert "0 positive rows among 300 asked are too few" in none.words
    small = quality.precision_cut(scores[:20], lambda rows: np.ones(len(rows)))
    assert not small.keep.any()
    assert small.reason
    empty = quality.cascade([], lambda rows: pytest.fail("there is no row"))
    assert (len(empty.keep), len(empty.asked), empty.saved) == (0, 0, 0.0)
    assert not quality.recall_cut([], lambda rows: []).keep.any()
    assert not quality.precision_cut([], lambda rows: []).keep.any()


def test_a_perfect_cheap_model_needs_few_questions() -> None:
    """Without an error most of 20,000 rows keep the cheap answer."""
    found = quality.cascade(np.arange(20_000), lambda rows: np.ones(len(rows), dtype=bool), 0.95)
    assert found.saved > 0.93


def test_rows_without_a_score() -> None:
    """A row without a score never keeps the cheap answer; columns of pandas are understood."""
    scores = pd.Series(np.random.default_rng(4).random(4_000)).astype("Float64")
    scores[::10] = pd.NA
    kept = quality.cascade(scores, lambda rows: pd.Series(np.ones(len(rows), dtype=bool)), 0.9)
    assert kept.keep.any()
    assert not kept.keep[::10].any()
    cut = quality.recall_cut(scores, lambda rows: rows % 3 == 0)
    assert cut.keep.any()
    assert not cut.keep[::10].any()


def test_recall_asks_until_enough_are_found() -> None:
    """Positives end the search for more, no row is asked twice, and `labels` asks that many at once."""
    random = np.random.default_rng(5)
    scores = random.beta(0.5, 3, 20_000)
    yes = random.random(20_000) < scores
    calls: list[int] = []

    def ask(rows: npt.NDArray[np.int64]) -> Flags:
        calls.append(len(rows))
        return yes[rows]

    found = quality.recall_cut(scores, ask)
    assert len(set(found.asked.tolist())) == len(found.asked) == sum(calls)
    assert len(calls) > 1
    assert len(found.asked) < 2_000
    calls.clear()
    assert len(quality.recall_cut(scores, ask, labels=700).asked) == 700
    assert calls == [700]


def test_the_test_is_the_exact_one() -> None:
    """`as_few` is the lower tail of the hypergeometric distribution, also where a number of errors is impossible."""
    random = np.random.default_rng(6)
    rows = random.integers(5, 5_000, 500)
    drawn = 1 + (random.random(500) * (rows - 1)).astype(int)
    errors = (random.random(500) * rows).astype(int)
    found = hypergeom.rvs(rows, errors, drawn, random_state=7)
    np.testing.assert_allclose(as_few(rows, drawn, found, errors), hypergeom.cdf(found, rows, errors, drawn), atol=1e-9)
    assert as_few([10, 10], [8, 10], [0, 0], [3, 11]).tolist() == [0.0, 0.0]
    assert as_few([10], [0], [0], [3]).tolist() == [1.0]


@pytest.mark.parametrize(("rows", "budget", "delta"), [(60, 6, 0.2), (300, 15, 0.1), (2_000, 100, 0.05), (9, 1, 0.1)])
def test_a_sample_is_as_large_as_the_promise_needs(rows: int, budget: int, delta: float) -> None:
    """One row fewer would not do, wherever the wrong rows stand; where half of the rows are too few there is none."""
    drawn, allowed = allowance(rows, budget, delta)
    if allowed < 0:
        assert hypergeom.cdf(0, rows, budget + 1, rows // 2) > delta
        return
    wrong = budget + 1 + allowed
    assert hypergeom.cdf(allowed, rows, wrong, drawn) <= delta < hypergeom.cdf(allowed, rows, wrong, drawn - 1)
    fewer = [hypergeom.cdf(at, rows, budget + 1 + at, drawn) for at in range(allowed)]
    assert max([*fewer, 0.0]) <= delta, "frames with fewer wrong rows miss it no more often"


def test_sample_share_is_a_share() -> None:
    """More rows need a smaller share, and none is more than half."""
    shares = [sample_share(rows, 0.05, 0.05) for rows in (100, 1_000, 10_000, 1_000_000)]
    assert shares == sorted(shares, reverse=True)
    assert (shares[0] <= 0.5, shares[-1] < 0.03) == (True, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accuracy": 1.0}, "accuracy must be a number between 0 and 1"),
        ({"confidence": 95}, "confidence must be a number between 0 and 1"),
        ({"weights": [1, 1]}, "scores has 200, weights has 2"),
        ({"weights": [0.5] * 200}, "weights must be whole numbers"),
        ({"ask": lambda rows: [True]}, "True or False for each of the"),
        ({"ask": lambda rows: [None] * len(rows)}, "True or False for each of the"),
        ({"ask": lambda rows: ["yes"] * len(rows)}, "must hold numbers or True and False"),
        ({"scores": ["sure"] * 200}, "scores must hold numbers"),
        ({"scores": [np.inf] * 200}, "scores must be finite; row 0 holds inf"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], message: str) -> None:
    """A promise, a weight or an answer that means nothing is refused in words."""
    given = {"scores": np.arange(200.0), "ask": lambda rows: np.ones(len(rows), dtype=bool), **options}
    with pytest.raises(ValueError, match=message):
        quality.cascade(**given)  # type: ignore[arg-type]
