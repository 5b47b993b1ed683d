"""Intervals cover what they should, and say what they rest on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from cfai_nb import quality
from cfai_nb.quality.estimates import judge

RUNS = 1_000
ROWS = 1_000

Numbers = npt.NDArray[np.float64]


def near(covered: int, confidence: float = 0.95, runs: int = RUNS) -> bool:
    """Within two standard errors of nominal."""
    return abs(covered / runs - confidence) <= 2 * np.sqrt(confidence * (1 - confidence) / runs)


def answers(random: np.random.Generator, positive: float, right: float) -> tuple[Numbers, Numbers, Numbers]:
    """Truth, a model's guess that is wrong more often where it is unsure, and how unsure it is."""
    truth = random.random(ROWS) < positive
    unsure = random.random(ROWS)
    guess = truth ^ (random.random(ROWS) < 2 * (1 - right) * unsure)
    return truth.astype(float), guess.astype(float), unsure


def known(truth: Numbers, unsure: Numbers, n: int, weighted: bool, seed: int) -> tuple[Numbers, Numbers | None]:
    """Gold for n rows, and the probabilities with which they were drawn."""
    rows, chance = quality.draw(unsure, n, uniform=0.3 if weighted else 1.0, seed=seed)
    gold = np.full(ROWS, np.nan)
    gold[rows] = truth[rows]
    return gold, chance if weighted else None


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize(("positive", "right", "n"), [(0.3, 0.85, 200), (0.5, 0.75, 100), (0.2, 0.8, 300)])
def test_share_covers(positive: float, right: float, n: int, weighted: bool) -> None:
    """Intervals of a share hold the truth as often as they claim, for uniform and weighted gold."""
    covered = 0
    for run in range(RUNS):
        truth, guess, unsure = answers(np.random.default_rng([run, 1]), positive, right)
        gold, weights = known(truth, unsure, n, weighted, run)
        found = quality.share(guess, gold, weights)
        covered += int(found.low <= positive <= found.high)
    assert near(covered), covered / RUNS


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize(("positive", "right", "n"), [(0.05, 0.98, 30), (0.05, 0.9, 60), (0.5, 0.99, 30)])
def test_little_gold_never_covers_too_little(positive: float, right: float, n: int, weighted: bool) -> None:
    """With hardly an error in the gold the interval is wide rather than wrong."""
    covered = 0
    for run in range(RUNS):
        truth, guess, unsure = answers(np.random.default_rng([run, 2]), positive, right)
        gold, weights = known(truth, unsure, n, weighted, run)
        found = quality.share(guess, gold, weights)
        covered += int(found.low <= positive <= found.high)
    assert covered / RUNS > 0.95 - 2 * np.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_mean_covers(confidence: float, weighted: bool) -> None:
    """Intervals of a mean hold the truth as often as they claim, at both confidences."""
    covered = 0
    for run in range(RUNS):
        random = np.random.default_rng([run, 3])
        truth = random.normal(10, 3, ROWS)
        unsure = random.random(ROWS)
        guess = truth + 1.5 + random.normal(0, 1, ROWS) * (0.5 + unsure)
        gold, weights = known(truth, unsure, 80, weighted, run)
        found = quality.mean(guess, gold, weights, confidence)
        covered += int(found.low <= 10 <= found.high)
        assert found.width < found.gold_alone.width
    assert near(covered, confidence), covered / RUNS


@pytest.mark.parametrize("weighted", [False, True], ids=["uniform", "weighted"])
@pytest.mark.parametrize(("right", "n"), [(0.7, 200), (0.8, 300), (0.95, 300)])
def test_accuracy_covers(right: float, n: int, weighted: bool) -> None:
    """Intervals of an accuracy hold the truth as often as they claim, for uniform and weighted gold."""
    covered = 0
    for run in range(RUNS):
        truth, guess, unsure = answers(np.random.default_rng([run, 15]), 0.4, right)
        gold, weights = known(truth, unsure, n, weighted, run)
        found = quality.accuracy(guess, gold, weights)
        covered += int(found.low <= right <= found.high)
    assert near(covered), covered / RUNS


def test_recorded_probabilities_repair_what_the_uncertain_rows_distort() -> None:
    """Drawn by uncertainty, the plain share of right rows is far too low; with the probabilities it is not."""
    plain, repaired = [], []
    for run in range(200):
        truth, guess, unsure = answers(np.random.default_rng([run, 5]), 0.5, 0.8)
        gold, weights = known(truth, unsure**4, 100, True, run)
        plain.append(quality.accuracy(guess, gold).estimate)
        repaired.append(quality.accuracy(guess, gold, weights).estimate)
    assert np.mean(plain) < 0.72
    assert abs(np.mean(repaired) - 0.8) < 0.01


def test_a_biased_model_is_corrected() -> None:
    """A model says yes too often by 15 points: its own share is off, the estimate is not, and gold alone is wider."""
    own, found = [], []
    for run in range(300):
        random = np.random.default_rng([run, 6])
        truth = random.random(ROWS) < 0.5
        guess = truth | (random.random(ROWS) < 0.3)
        gold = np.where(np.arange(ROWS) < 150, truth, np.nan)
        own.append(quality.share(guess).estimate)
        found.append(quality.share(guess, gold))
    assert np.mean(own) > 0.64
    assert abs(np.mean([one.estimate for one in found]) - 0.5) < 0.01
    assert np.mean([one.width for one in found]) < 0.85 * np.mean([one.gold_alone.width for one in found])


def test_the_estimate_is_that_of_the_formula() -> None:
    """PPI++ as published, for gold of equal chance."""
    random = np.random.default_rng(7)
    truth, guess, _ = answers(random, 0.4, 0.8)
    n = 120
    gold = np.where(np.arange(ROWS) < n, truth, np.nan)
    y, f = truth[:n], guess[:n]
    lam = np.clip(np.cov(y, f)[0, 1] / (guess.var() * (1 + n / ROWS)), 0, 1)
    theta = lam * guess.mean() + (y - lam * f).mean()
    assert quality.share(guess, gold).estimate == pytest.approx(theta)
    error = np.sqrt(lam**2 * guess.var() / ROWS + (y - lam * f).var(ddof=1) / n)
    assert quality.mean(guess, gold).width == pytest.approx(2 * 1.98 * error, rel=0.01)


def test_without_gold_the_answers_are_taken_as_they_are() -> None:
    """The method says so, and there is nothing to compare with."""
    found = quality.share([True] * 30 + [False] * 70)
    assert (found.estimate, found.n, found.gold_alone) == (0.3, 100, None)
    assert found.method == "Wilson, answers as they are, no gold"
    assert found.words == "0.3, 0.219 to 0.396 (95 % interval, n = 100, Wilson, answers as they are, no gold)"
    assert quality.mean([1, 2, 3, 4]).method == "Student, answers as they are, no gold"


@pytest.mark.parametrize("kind", ["object", "boolean", "str", "category", "list"])
def test_missing_cells_are_left_out(kind: str) -> None:
    """None, NaN and pandas.NA in gold and guess are no answers, in columns of any type."""
    guess: object = pd.Series(["a", "b", None, "a", "b"])
    gold: object = pd.Series(["a", None, "b", "b", "b"])
    if kind == "boolean":
        guess, gold = guess.eq("a").where(guess.notna()), gold.eq("a").where(gold.notna())
        guess, gold = guess.astype("boolean"), gold.astype("boolean")
    elif kind == "list":
        guess, gold = ["a", "b", float("nan"), "a", "b"], ["a", pd.NA, "b", "b", "b"]
    else:
        guess, gold = guess.astype(kind), gold.astype(kind)
    found = quality.accuracy(guess, gold)
    assert (found.n, found.estimate) == (3, pytest.approx(2 / 3))
    share = quality.share(guess, gold) if kind == "boolean" else quality.share(guess, gold, of="a")
    assert share.n == 3
    assert share.gold_alone.estimate == pytest.approx(1 / 3)


def test_columns_of_other_rows_are_refused() -> None:
    """Two columns whose indexes differ would be compared by position."""
    one = pd.Series(["a", "b"], index=[0, 1])
    with pytest.raises(ValueError, match="guess and gold have different indexes; align them"):
        quality.accuracy(one, one[::-1])
    with pytest.raises(ValueError, match="guess has 2, gold has 3"):
        quality.accuracy(one, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quality.share([0.2, 1.4]), "guess must be from 0 to 1; row 1 holds 1.4"),
        (lambda: quality.share(["a", "b"]), r"for labels, say which one: of="),
        (lambda: quality.share([1, 0, 1], [1, None, None]), "fewer than two rows have gold"),
        (lambda: quality.share([None, 0]), "fewer than two answers"),
        (lambda: quality.share([1, 0], weights=[1, 1]), "there is no gold"),
        (lambda: quality.share([1, 0], [1, 0], weights=[1, 0]), r"in \(0, 1\]"),
        (lambda: quality.accuracy(["a"], [None]), "no row has both an answer and gold"),
        (lambda: quality.accuracy([[1, 2]], [[1, 2]]), "one value a row; its shape"),
        (lambda: quality.mean([1, 2], confidence=2), "confidence must be a number between 0 and 1"),
        (lambda: quality.wilson(0.9, 60, 95), "confidence must be a number between 0 and 1"),
        (lambda: quality.rows_for_width(0.1, share=2), "share must be a number from 0 to 1"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    """What cannot be estimated is refused in words."""
    with pytest.raises(ValueError, match=message):
        call()


def test_wilson_is_that_of_the_text_book() -> None:
    """81 of 263 (Newcombe 1998): .2553 to .3662; arrays work too."""
    assert quality.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    low, high = quality.wilson([0.0, 1.0], [10, 10])
    assert (low[0], high[1]) == (0.0, 1.0)


def test_a_good_model_passes() -> None:
    """The estimate is returned where it reaches the bar."""
    assert quality.assert_accuracy(["a"] * 95 + ["b"] * 5, ["a"] * 100, at_least=0.95).estimate == 0.95
    assert quality.assert_accuracy(["a"], ["a"], at_least=1).n == 1


def test_the_worst_rows_are_shown() -> None:
    """The message has figure, interval and the surest wrong rows with label, answers, input, and nothing that acts."""
    guess = pd.Series(["a"] * 80 + ["b\x1b[31m"] * 20, index=[f"row{i}" for i in range(100)])
    inputs = pd.Series([f"text {i}\u202e" for i in range(100)], index=guess.index)
    scores = pd.Series(np.linspace(0, 1, 100), index=guess.index)
    with pytest.raises(AssertionError) as raised:
        quality.assert_accuracy(guess, pd.Series("a", index=guess.index), scores=scores, inputs=inputs, show=2)
    head, first, second, rest = str(raised.value).splitlines()
    assert head.startswith("accuracy is 80 %, not at least 90 %: 0.8, 0.711 to 0.867 (95 % interval, n = 100, Wilson)")
    assert first == "  row row99: b[31m (1 sure), right is a: text 99"
    assert "row row98" in second
    assert rest == "  and 18 wrong rows more"


def test_strict_asks_the_interval() -> None:
    """92 of 100 are enough for .9, but do not show that the accuracy is .9."""
    guess = ["a"] * 92 + ["b"] * 8
    quality.assert_accuracy(guess, ["a"] * 100)
    with pytest.raises(AssertionError, match=r"the lower end of the accuracy is 85 %, not at least 90 %"):
        quality.assert_accuracy(guess, ["a"] * 100, strict=True)
    with pytest.raises(AssertionError, match=r"accuracy is 89.96 %, not at least 90 %"):
        quality.assert_accuracy(["a"] * 8_996 + ["b"] * 1_004, ["a"] * 10_000)


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("refund", "Refund", True), (" late  parcel", "late parcel\n", True), ("refund", "refunds", False),
        (2, 2.0, True), (np.float32(0.5), 0.5, True), (0.1 + 0.2, 0.3, True), (0.3, 0.3001, False),
        (1234567890123, 1234567890124, False), (True, np.bool_(True), True), (True, 1, True), (True, "True", False),
        (["a", "B"], ["A", "b"], True), (np.array([1, 2]), [1, 2.0], True), (["a"], ["a", "b"], False),
        ({"team": "A"}, {"team": "a"}, True), (pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-02"), True),
        ("a", None, None), (float("nan"), 1, None),
    ],
)  # fmt: skip
def test_what_is_right(answer: object, gold: object, right: bool | None) -> None:
    """Texts are equal without case and outer spaces, numbers and truth values by value; the same either way round."""
    for pair in ((answer, gold), (gold, answer)):
        found, judged = judge(*(pd.Series([cell], dtype=object) for cell in pair))
        assert (bool(found[0]) if judged[0] else None) is right


def test_numbers_are_compared_as_in_objects() -> None:
    """Columns of numbers are judged as the same numbers among objects are."""
    answers, gold = np.array([0.1 + 0.2, 1.0, np.nan, 2.0]), np.array([0.3, 1.0, 1.0, 3.0])
    for one, other in ((answers, gold), (answers.astype(object), gold)):
        right, judged = judge(one, other)
        assert (right.tolist(), judged.tolist()) == ([True, True, False, False], [True, True, False, True])
    assert quality.share(["Refund", "bug"], of="refund").estimate == 0.5


@pytest.mark.parametrize("weighted", [False, True])
def test_all_right_is_exactly_one(weighted: bool) -> None:
    """Whatever the number of rows, an accuracy without an error is 1, and passes as at least 1."""
    for n in range(1, 60):
        right = np.ones(n, dtype=bool)
        chance = np.linspace(0.1, 1, n) if weighted else None
        assert quality.assert_accuracy(right, right, at_least=1, weights=chance).estimate == 1
