"""Comparisons find what is there, and cry wolf no more often than they claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, binomtest

from cfai_nb import quality

RUNS = 1_000


def pair(random: np.random.Generator, n: int, gap: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Two models that fail on the same hard rows; the second is right more often by `gap`."""
    hard, luck = random.random(n), random.random(n)
    return luck > 0.5 * hard, np.where(random.random(n) < 0.6, luck, random.random(n)) > (0.5 - 2 * gap) * hard


@pytest.mark.parametrize("n", [60, 200])
@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_the_interval_covers(n: int, gap: float) -> None:
    """Intervals of a difference of accuracies hold the true one as often as they claim."""
    covered = 0
    for run in range(RUNS):
        found = quality.difference(*pair(np.random.default_rng([run, 1]), n, gap))
        covered += int(found.low <= gap <= found.high)
    assert abs(covered / RUNS - 0.95) <= 2 * np.sqrt(0.95 * 0.05 / RUNS), covered / RUNS


def test_the_interval_of_values_covers() -> None:
    """The bootstrap's interval of a difference of means holds the true one as often as it claims."""
    covered = 0
    for run in range(RUNS):
        random = np.random.default_rng([run, 2])
        first = random.exponential(1, 50)
        found = quality.difference(first, first + random.exponential(1, 50), seed=run)
        covered += int(found.low <= 1 <= found.high)
    assert abs(covered / RUNS - 0.95) <= 2 * np.sqrt(0.95 * 0.05 / RUNS), covered / RUNS


def test_false_alarms_are_rare() -> None:
    """Of four equal models, six pairs, a difference is seen in at most 5 % of the runs, by Holm's adjustment."""
    alarms = 0
    for run in range(400):
        random = np.random.default_rng([run, 3])
        gold = np.zeros(150, dtype=int)
        guesses = {name: (random.random(150) < 0.2).astype(int) for name in "abcd"}
        alarms += any(pair.verdict in ("better", "worse") for pair in quality.differences(guesses, gold))
    assert alarms <= binom.isf(0.01, 400, 0.05)


def test_equivalence_is_not_claimed_at_the_margin() -> None:
    """Models that differ by the margin are called equal in at most 5 % of the runs; equal ones mostly are."""
    wrongly = rightly = 0
    for run in range(400):
        random = np.random.default_rng([run, 4])
        wrongly += quality.difference(*pair(random, 400, 0.05), margin=0.05).p_equal <= 0.05
        rightly += quality.difference(*pair(random, 3_000), margin=0.05).verdict == "equal"
    assert wrongly <= binom.isf(0.01, 400, 0.05)
    assert rightly > 300


def test_the_power_is_that_of_the_sample_size() -> None:
    """As many rows as `rows_for_difference` says show the difference in about four of five runs."""
    n = quality.rows_for_difference(0.05, 0.15)
    seen = 0
    for run in range(400):
        flips = np.random.default_rng([run, 5]).multinomial(n, [0.05, 0.10, 0.85])
        seen += quality.mcnemar(flips[0], flips[1]) <= 0.05
    assert 0.74 < seen / 400 < 0.86


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 3), (2, 14), (40, 70)])
def test_mcnemar_is_the_exact_test(first: int, second: int) -> None:
    """As scipy's binomial test says; without a flip there is nothing to see."""
    total = first + second
    expected = binomtest(first, total).pvalue if total else 1.0
    assert quality.mcnemar(first, second) == pytest.approx(expected)


def test_pairing_sees_what_unpaired_tests_miss() -> None:
    """80 and 92 of 100 with two flips against fourteen: better at p = .004."""
    one = [True] * 80 + [False] * 20
    other = [True] * 78 + [False] * 2 + [True] * 14 + [False] * 6
    found = quality.difference(one, other, names=("A", "B"))
    assert (found.first_better, found.second_better, found.verdict) == (2, 14, "better")
    assert found.words == "B is better by 12 points on 100 rows (p = 0.0042)"
    assert quality.difference(other, one, names=("B", "A")).words == found.words


def test_verdicts_are_words() -> None:
    """Open with the rows that would show it, equal within a margin, and a difference of values."""
    random = np.random.default_rng(6)
    first, second = pair(random, 200)
    words = quality.difference(first, second, names=("A", "B")).words
    assert words.startswith("no difference shown between A and B on 200 rows (p = ")
    assert "rows would show 3 points" in words
    many = quality.difference(*pair(random, 6_000), names=("A", "B"), margin=0.03)
    assert many.words == "A and B are equal within 3 points on 6,000 rows"
    values = quality.difference(random.normal(0, 1, 100), random.normal(2, 1, 100), names=("A", "B"))
    assert values.words.startswith("B is better by 1.96 on 100 rows")
    assert values.method == "paired bootstrap"
    same = quality.difference([1.5, 2.5], [2.0, 3.0])
    assert (same.estimate, same.low, same.high, same.p) == (0.5, 0.5, 0.5, 0.0)


def test_rows_without_gold_or_answer_are_left_out() -> None:
    """Only rows that both answered and that have gold are compared."""
    gold = pd.Series(["a", "b", None, "a"])
    first, second = pd.Series(["a", "a", "a", None]), pd.Series(["b", "b", "a", "a"])
    found = quality.difference(first, second, gold)
    assert (found.n, found.first_better, found.second_better) == (2, 1, 1)


def test_holm_is_that_of_the_text_book() -> None:
    """Steps down, never falls, never above 1 (as R's p.adjust)."""
    assert quality.holm([0.01, 0.02, 0.03, 0.04, 0.05]).tolist() == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert quality.holm([0.9, 0.6]).tolist() == [1.0, 1.0]
    assert quality.holm([]).tolist() == []


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_rows_for_width_are_just_enough(share: float) -> None:
    """One row less would not do."""
    n = quality.rows_for_width(0.08, share)
    widths = [np.diff(quality.wilson(share, count))[0] for count in (n, n - 1)]
    assert widths[0] <= 0.08 < widths[1]


def test_draw_keeps_its_probabilities() -> None:
    """Every row is drawn as often as recorded, n rows each time; a row of certainty always."""
    unsure = np.array([0.0, 0.01, 0.2, 0.3, 0.5, 9.0, np.nan])
    count = np.zeros(7)
    for run in range(4_000):
        rows, chance = quality.draw(unsure, 3, seed=run)
        assert len(set(rows.tolist())) == 3
        count[rows] += 1
    assert chance.sum() == pytest.approx(3)
    assert chance.max() == 1
    np.testing.assert_allclose(count / 4_000, chance, atol=0.035)


def test_draw_at_its_ends() -> None:
    """All rows, no row, equal uncertainty, the same rows for the same seed."""
    rows, chance = quality.draw([0.2, 0.3], 5)
    assert sorted(rows.tolist()) == [0, 1]
    assert chance.tolist() == [1.0, 1.0]
    assert len(quality.draw([0.2, 0.3], 0)[0]) == 0
    assert quality.draw(np.zeros(10), 5)[1].tolist() == pytest.approx([0.5] * 10)
    assert quality.draw(np.ones(100), 9, seed=3)[0].tolist() == quality.draw(np.ones(100), 9, seed=3)[0].tolist()
    assert len(quality.draw([], 3)[0]) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quality.draw([-1.0], 1), "uncertainty must be from 0 to inf; row 0 holds -1"),
        (lambda: quality.draw([1.0, 1.0], 1, uniform=0), "uniform must be a number above 0"),
        (lambda: quality.draw([1.0], -1), "n must not be negative"),
        (lambda: quality.difference([True], [True]), "fewer than two rows can be compared"),
        (lambda: quality.difference([1, 0], [1, 1], margin=0), "margin must be a number above 0"),
        (lambda: quality.differences({"one": ["a", "b"]}, ["a", "b"]), "at least two sets of answers"),
        (lambda: quality.rows_for_difference(0.2, 0.1), "differ must be at least the gap of 20 %"),
        (lambda: quality.rows_for_width(2), "width must be a number between 0 and 1"),
        (lambda: quality.holm([2]), "p must be from 0 to 1"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    """What cannot be compared, drawn or planned is refused in words."""
    with pytest.raises(ValueError, match=message):
        call()
