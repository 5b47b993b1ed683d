"""tune: candidates, halves, rounds, budgets, and that a winner is only called one where the other half says so."""

from __future__ import annotations

import datetime
from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.frame import rows, tune

LABELS = ["billing", "shipping", "bug"]


@pytest.fixture
def frame(emulator: Any) -> pd.DataFrame:
    """Rows whose label follows a word that only their texts hold."""
    words = {"billing": "zork", "shipping": "quux", "bug": "blah"}
    rows = [(LABELS[at % 3], f"message {at} about {words[LABELS[at % 3]]}") for at in range(90)]
    return pd.DataFrame(rows, columns=["truth", "text"])


class Wordy(cf.Classify):
    """Nothing of its own: a task that a user subclassed."""


class Spelled:
    """Returns how each verb was called."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: (name, args, options)


def test_halves_share_no_text_and_hold_all_labels() -> None:
    """Rows shown, rows to choose by and rows to judge by are apart, and each has every label."""
    labels = [*LABELS, "account"]
    truth = np.array([labels[at % 4] if at % 7 else None for at in range(120)], dtype=object)
    usable = np.array([label is not None for label in truth])
    shown, choosing, judging = tune.split(truth, usable, 0)
    parts = [set(part.tolist()) for part in (shown, choosing, judging)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == usable.sum()
    assert all(min(Counter(truth[part]).values()) >= len(part) // 5 for part in (shown, choosing, judging))
    assert [part.tolist() for part in tune.split(truth, usable, 0)] == [
        shown.tolist(),
        choosing.tolist(),
        judging.tolist(),
    ]
    assert rows.first_ones(["a", None, "b", "a"]).tolist() == [True, False, True, False]


def test_rounds_double_and_their_bill_counts_the_dearest() -> None:
    """Half of the candidates go on with twice as many rows, and the bill is the most that can come of it."""
    assert (tune.rounds(1, 40), tune.rounds(4, 40), tune.rounds(5, 64)) == ([40], [20, 40], [16, 32, 64])
    assert tune.rounds(8, 10) == [8, 8, 10]
    assert tune.bill([20, 40], [1.0, 1.0, 2.0, 3.0]) == 20 * 7 + 20 * 5


def test_a_description_that_helps_wins_on_the_other_half(frame: pd.DataFrame) -> None:
    """Labels that mean nothing to the model win with words of the gold; the result is a task and a line of code."""
    task = cf.Classify(labels=LABELS)
    found = frame.cfai.tune(task, "text", truth="truth", variants={"mine": "What is it about?"}, progress=False)
    assert found.name.startswith("labels with")
    assert found.test is not None
    assert (found.test.verdict, found.test.n) == ("better", 45)
    assert found.words.startswith(f"{found.name} is better by")
    assert found.accuracy.estimate > 0.9
    assert set(found.table.index) >= {"as given", "mine", "labels with words"}
    assert found.table["rows"].max() == 30
    answers = eval(found.code, {"df": frame})
    assert (answers.astype(object) == frame["truth"]).mean() > 0.9
    assert frame.cfai.run(found.task, found.on).equals(answers)


def test_nothing_beats_what_is_right_already(frame: pd.DataFrame) -> None:
    """Where the task given is as good, it stays, and that is said."""
    task = cf.Classify(labels={"billing": "zork", "shipping": "quux", "bug": "blah"})
    found = frame.cfai.tune(task, "text", truth="truth", progress=False)
    assert (found.task, found.name, found.table.loc["as given", "accuracy"]) == (task, "as given", 1.0)
    assert found.words.startswith("nothing beat your prompt: 100% right")


def test_gold_of_a_review_is_a_truth(frame: pd.DataFrame) -> None:
    """cf.gold goes where a truth goes; the user's tasks and templates are candidates."""
    review = frame.cfai.review("text", "truth", n=45, name="gold")
    for row in review.rows:
        review.label(row, frame["truth"][row])
    variants = [cf.Classify(labels={"billing": "zork", "shipping": "quux", "bug": "blah"})]
    found = frame.cfai.tune(
        cf.Classify(labels=LABELS), "text", truth=cf.gold("gold"), variants=variants, progress=False
    )
    assert found.table.loc["variant 1", "accuracy"] == 1.0
    prompts = frame.cfai.tune(
        cf.Generate(max_tokens=64), "Topic of: {text}", truth="truth", variants=["Label this: {text}"], progress=False
    )
    assert prompts.table.index.tolist() == ["as given", "with 3 examples", "“Label this: {text}”"]
    assert prompts.name == "as given"


def test_the_budget_decides_how_many_rows_choose(frame: pd.DataFrame) -> None:
    """Within a small budget fewer rows choose, a plan costs at least as much as the run, too little sends nothing."""
    task = cf.Classify(labels=LABELS)
    plan = frame.cfai.tune.plan(task, "text", truth="truth")
    most = plan.cost.usd
    found = frame.cfai.tune(task, "text", truth="truth", budget=0.8 * most, cache=False, progress=False)
    assert 0 < found.table["rows"].max() < 30
    spent = cf.ledger()["usd"].sum()
    assert 0 < spent <= 0.8 * most
    with pytest.raises(cf.BudgetError, match="Nothing was sent"):
        frame.cfai.tune(task, "text", truth="truth", budget=0.02 * most, cache=False, progress=False)
    assert cf.ledger()["usd"].sum() == spent


def test_a_plan_is_the_most_whatever_wins(frame: pd.DataFrame) -> None:
    """The dearest candidates stay to the end of a plan: it costs what the bill of the rounds and the last one do."""
    long = cf.Classify(labels=LABELS, instructions="word " * 300)
    given: dict[str, Any] = {"truth": "truth", "variants": {"long": long}}
    task = cf.Classify(labels=LABELS)
    plan = frame.cfai.tune.plan(task, "text", **given)
    match = tune._Match(frame, task, "text", "truth", given["variants"], None, 0, {})
    each = [match._price(tried, match.choosing) / len(match.choosing) for tried in match.tried]
    last = [match._price(tried, match.judging) for tried in match.tried]
    most = tune.bill(tune.rounds(len(match.tried), len(match.choosing)), each) + max(last) + last[0]
    assert plan.cost.neurons == pytest.approx(most, rel=0.01)
    assert "long, round 2" in repr(plan)


def test_one_text_is_one_variant(frame: pd.DataFrame) -> None:
    """Its letters are not variants of their own."""
    for variants in ("be short", ["be short"], cf.Classify(labels=LABELS, instructions="be short")):
        found = tune.candidates(cf.Classify(labels=LABELS), "text", variants, [])
        assert [each.task.instructions for each in found[1:]] == ["be short"]


def test_the_code_of_a_task_makes_it_again(frame: pd.DataFrame) -> None:
    """Also with gold of NumPy, questions, and a subclass: what is printed can be run."""
    namespace = {"df": SimpleNamespace(cfai=Spelled()), "cf": cf, "Wordy": Wordy, "datetime": datetime}
    tasks: list[cf.Task] = [
        cf.Generate(examples=[("a parcel", np.str_("parcel"))], schema={"due": datetime.date}, max_tokens=20),
        cf.Classify(labels=[np.str_("a"), np.str_("b")]), Wordy(labels={"a": "first", "b": None}),
        cf.Ask(questions={"r": cf.yes_no("Refund?", yes="money"), "k": cf.choice("a", "b", c="third")}),
    ]  # fmt: skip
    for task in tasks:
        name, args, options = eval(tune.code_of(task, "text"), namespace)
        made = args[0] if name == "run" else type(task)(**dict(zip(task.positional, args[1:], strict=False)), **options)
        assert tune.code_of(made, "text") == tune.code_of(task, "text")
        assert "np." not in tune.code_of(task, "text")


def test_what_cannot_be_tuned_is_refused(frame: pd.DataFrame) -> None:
    """Few rows, no truth, several answers, vectors, and variants without a wording are errors in words."""
    task = cf.Classify(labels=LABELS)
    with pytest.raises(TypeError, match="needs truth="):
        frame.cfai.tune(task, "text")
    with pytest.raises(ValueError, match="at least 20"):
        frame.head(19).cfai.tune(task, "text", truth="truth")
    with pytest.raises(ValueError, match="one answer a row"):
        frame.cfai.tune(cf.Embed(), "text", truth="truth")
    with pytest.raises(ValueError, match="no wording of its own"):
        frame.cfai.tune(cf.Sentiment(), "text", truth="truth", variants=["how?"])
    with pytest.raises(TypeError, match="give texts or Tasks"):
        frame.cfai.tune(task, "text", truth="truth", variants=[3])
    assert tune.code_of(Wordy(labels=["a", "b"]), "text", "clef-omni") == (
        "df.cfai.run(Wordy(labels=['a', 'b']), 'text', model='clef-omni')"
    )
