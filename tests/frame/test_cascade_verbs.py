"""Cascades on frames: what is promised holds, and Stop, budgets, failures and re-runs are as everywhere."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_models import FLASH, LABELS, OMNI, Clefs, cheap, luck, right, stop_at
from scipy.stats import binom
from verb_cases import RequestBudget

import cfai_nb as cf


def frame(count: int = 240) -> pd.DataFrame:
    """Texts, of which some repeat, one is missing and one cannot be sent, under labels that repeat."""
    texts: list[Any] = (
        [f"text {at}" for at in range(count)] + [f"text {at}" for at in range(10)] + [None, ["no", "text"]]
    )
    return pd.DataFrame({"text": pd.Series(texts, dtype=object, index=[at // 2 for at in range(len(texts))])})


def classified(data: pd.DataFrame, **options: Any) -> Any:
    """Classify, without the warning about the row that cannot be sent."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "1 of .* rows failed", cf.CfaiWarning)
        return data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.8, 0.8), **options)


def test_cheap_answers_stand_and_the_others_are_the_strong_ones(clefs: Clefs) -> None:
    """Every row has the answer of the model that it is said to have, and the promise is in the report."""
    data = frame()
    found = classified(data)
    report = cf.last_run()
    assert found.index.equals(data.index)
    assert found.isna().tolist() == [False] * 250 + [True, True]
    texts, by = data["text"].tolist(), report.answered_by.tolist()
    for text, label, source in zip(texts[:250], found[:250], by[:250], strict=True):
        assert label == (cheap(text) if source == FLASH else right(text))
    assert report.certificate.kept == by.count(FLASH) > 60
    assert report.certificate.asked == by.count(OMNI)
    assert clefs.of(OMNI) == len({text for text, source in zip(texts, by, strict=True) if source == OMNI})
    assert np.mean([label == right(text) for text, label in zip(texts[:250], found[:250], strict=True)]) >= 0.8
    assert "with 80 % confidence at least 80 % of 250 answers are those of clef-omni" in report.receipt
    assert f"{by.count(OMNI)} were asked of it; $0.00" in report.certificate.words
    assert report.failures["position"].tolist() == [251]


def test_the_same_call_again_sends_nothing(clefs: Clefs) -> None:
    """Sorted, too: the same rows are sampled, and the store has them all."""
    data = frame()
    found, by = classified(data), cf.last_run().answered_by
    clefs.asked.clear()
    assert classified(data).equals(found)
    event = cf.last_run().event
    assert (event.requests, event.stored, event.done) == (0, 250, 250)
    assert cf.last_run().answered_by.equals(by)
    order = np.argsort([luck(str(text)) for text in data["text"]])
    assert classified(data.iloc[order]).equals(found.iloc[order])
    assert not clefs.asked


def test_awaited_it_is_the_same(clefs: Clefs) -> None:
    """The awaited form gives the same answers under one budget."""
    data = frame()[:240]
    cascade = cf.Cascade(FLASH, OMNI, 0.8, 0.8)
    found = data.cfai.classify("text", LABELS, model=cascade)
    asked = Counter(clefs.asked)
    clefs.asked.clear()
    again = asyncio.run(data.cfai.classify.aio("text", LABELS, model=cascade, cache=False, budget=1.0))
    assert again.equals(found)
    assert clefs.asked == asked
    assert set(asked.values()) == {1}, "no row is asked twice, without a store, too"


@pytest.mark.parametrize("awaited", [False, True], ids=["called", "awaited"])
@pytest.mark.parametrize("end", ["budget", "stop"])
@pytest.mark.parametrize("share", [0.1, 0.25, 0.6, 0.97])
def test_what_ends_in_the_middle_is_finished_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, share: float, awaited: bool
) -> None:
    """In each of its calls: what came before stays, and the same call gives the undisturbed result."""
    data, cascade = frame(120)[:120], cf.Cascade(FLASH, OMNI, 0.8, 0.8)

    def call(**options: Any) -> Any:
        form = data.cfai.classify.aio if awaited else data.cfai.classify
        made = form("text", LABELS, model=cascade, **options)
        return asyncio.run(made) if awaited else made

    whole = Clefs()
    with cf.connect(whole, store=tmp_path / "whole.sqlite", rate=None):
        expected = call()
    here = Clefs()
    with cf.connect(here, store=tmp_path / "here.sqlite", rate=None):
        middle = int(share * whole.asked.total())
        if end == "budget":
            with pytest.raises(cf.BudgetError, match="used up"):
                call(budget=RequestBudget(middle))
        else:
            stop_at(here, middle, monkeypatch)
            error = asyncio.CancelledError if awaited else cf.Stopped
            with pytest.raises(error, match="the same call again sends"):
                call(concurrency=2)
            here.at = None
        report = cf.last_run()
        partial = report.frame()
        assert partial.index.equals(data.index)
        assert report.certificate is None, "nothing is promised about a part"
        assert (partial.dropna() == data["text"].map(right)[partial.notna()]).all()
        assert 0 < here.asked.total() < whole.asked.total()
        assert call().equals(expected)
        assert here.asked == whole.asked, "nothing is sent twice"


def test_failed_rows_never_agree(tmp_path: Path) -> None:
    """What the cheap model fails goes to the strong one; what that fails is missing and listed, and proves nothing."""
    data = frame(200)[:200]
    here = Clefs()
    here.broken = lambda model, text: luck(text, "broken") < (0.1 if model == OMNI else 0.05)
    with cf.connect(here, store=tmp_path / "s.sqlite", rate=None):
        with pytest.warns(cf.CfaiWarning, match="rows failed and are missing") as noted:
            found = data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.7, 0.8))
        assert len(noted) == 1
        report = cf.last_run()
        by, missing = report.answered_by, found.isna()
        assert missing.any()
        assert report.failures["position"].tolist() == np.flatnonzero(missing).tolist()
        assert set(report.failures["model"]) == {"@cf/cloudflare/clef-omni"}
        lost = data["text"].map(lambda text: luck(text, "broken") < 0.05)
        assert not (by[lost] == FLASH).any()
        assert "rows hold another answer than that of clef-omni" in report.certificate.words
        with pytest.raises(cf.RowsFailed, match="rows failed"):
            data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.7, 0.8), on_error="raise")


def test_failures_count_as_errors(tmp_path: Path) -> None:
    """Where the strong model fails, the cheap answer is counted as wrong, though all answers agree."""
    here, data = Clefs(guess=right), frame(200)[:200]
    kept = []
    for failing in (0.0, 0.4):
        here.broken = lambda model, text, f=failing: model == OMNI and luck(text, "broken") < f
        with cf.connect(here, store=False, rate=None), warnings.catch_warnings():
            warnings.simplefilter("ignore", cf.CfaiWarning)
            data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.9, 0.8))
            kept.append(data["text"][cf.last_run().answered_by.eq(FLASH)])
    assert len(kept[1]) < len(kept[0]) / 2


@pytest.mark.slow  # 40 frames of 120 rows, over the wire
@pytest.mark.parametrize("failing", [0.0, 0.3])
def test_the_promise_holds_end_to_end(failing: float) -> None:
    """Of 40 frames no more than chance allows miss it, failures of the strong model counted as errors."""
    missed, saved = 0, 0
    for run in range(40):
        here = Clefs()
        here.broken = lambda model, text: model == OMNI and luck(text, "broken") < failing
        data = pd.DataFrame({"text": [f"run {run}, text {at}" for at in range(120)]})
        with cf.connect(here, store=False, rate=None), warnings.catch_warnings():
            warnings.simplefilter("ignore", cf.CfaiWarning)
            found = data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.85, 0.8))
        kept = data["text"][cf.last_run().answered_by.eq(FLASH)]
        wrong = sum(
            luck(text, "broken") < failing or label != right(text)
            for text, label in zip(kept, found[kept.index], strict=True)
        )
        missed, saved = missed + (wrong > 18), saved + len(kept)
    assert missed <= binom.isf(0.01, 40, 0.2)
    assert saved > 0


def test_a_plan_is_a_range_and_sends_nothing(clefs: Clefs) -> None:
    """What is asked lies between the least and the most, and the price of the strong model alone is in the report."""
    data, cascade = frame()[:240], cf.Cascade(FLASH, OMNI, 0.9, 0.8)
    plan = data.cfai.classify.plan("text", LABELS, model=cascade)
    assert not clefs.asked
    assert plan.at_least.neurons < plan.expected_cost.neurons <= plan.at_most.neurons == plan.estimate.cost.neurons
    assert plan.least < plan.expected < 240
    assert "at least" in repr(plan)
    assert "expected" in repr(plan)
    data.cfai.classify("text", LABELS, model=cascade)
    assert plan.least <= clefs.of(OMNI) <= 240
    assert data.cfai.classify.plan("text", LABELS, model=cascade).at_least.neurons == 0
    with cf.connect(clefs, store=False, rate=60):
        most = data.cfai.classify.plan("text", LABELS, model=cascade).estimate
    assert most.minutes == pytest.approx(most.requests / 60), "of both models"


@pytest.mark.parametrize(
    ("cascade", "count", "why"),
    [
        (cf.Cascade(FLASH, OMNI), 15, "15 rows are too few to show it"),
        (cf.Cascade("embeddings", OMNI), 120, "100 of the 120 distinct rows would be needed for training"),
        (cf.Cascade(OMNI, FLASH, 0.8, 0.8), 120, "it costs at least as much as clef-flash alone"),
    ],
    ids=["few rows", "too few to train", "the cheap one is dearer"],
)
def test_where_it_does_not_pay_the_strong_model_answers(clefs: Clefs, cascade: Any, count: int, why: str) -> None:
    """It says so before anything is sent, and nothing is asked of anything else."""
    data = frame(count)[:count]
    assert why in repr(data.cfai.classify.plan("text", LABELS, model=cascade))
    with pytest.warns(cf.CfaiWarning, match=f"The cascade does not pay: {why}"):
        found = data.cfai.classify("text", LABELS, model=cascade)
    assert clefs.asked.total() == clefs.of(cascade.strong) == count
    assert found.notna().all()
    assert why in cf.last_run().certificate.words
    assert (cf.last_run().answered_by == cascade.strong).all()


def test_a_weak_cheap_model_is_found_out_early(tmp_path: Path) -> None:
    """It is asked about the sample alone."""
    here, data = Clefs(guess=lambda text: LABELS[luck(text, "dice") < 0.5]), frame(200)[:200]
    with cf.connect(here, store=False, rate=None):
        with pytest.warns(cf.CfaiWarning, match="clef-flash gave the same answer on"):
            found = data.cfai.classify("text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.95, 0.8))
        assert here.of(OMNI) == 200
        assert here.of(FLASH) < 110
        assert (found == data["text"].map(right)).all()
        assert "every answer is one of clef-omni: clef-flash gave the same answer" in cf.last_run().certificate.words


def test_truths_are_carried_and_not_asked(clefs: Clefs) -> None:
    """Rows with a truth carry it; equal rows with different truths have none; the sample is drawn from the others."""
    data = frame(200)[:200].reset_index(drop=True)
    data = pd.concat([data, data[:1]], ignore_index=True)
    truth = pd.Series([LABELS[0] if at < 60 else None for at in range(200)] + [LABELS[1]], dtype=object)
    found = classified(data, truth=truth)
    by = cf.last_run().answered_by
    assert (found[1:60] == LABELS[0]).all()
    assert (by[1:60] == "truth").all()
    assert not {by[0], by[200]} & {"truth"}
    assert not any(f"text {at}" in {text for _, text in clefs.asked} for at in range(1, 60))
    with pytest.raises(ValueError, match="truth: There is no column 'topic'"):
        classified(data, truth="topic")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (200, "of 200 answers are those of clef-omni or the 100 truths given; "),
        (20, "every answer is one of clef-omni or the 10 truths given: "),
    ],
)
def test_the_certificate_counts_the_truths(clefs: Clefs, count: int, words: str) -> None:
    """Answers that are truths are not said to be those of the strong model, where few rows are asked of it, too."""
    data = frame(count)[:count].reset_index(drop=True)
    data["gold"] = [LABELS[right(text) == LABELS[0]] if at % 2 else None for at, text in enumerate(data["text"])]
    cascade = cf.Cascade(FLASH, OMNI, 0.8 if count == 200 else 0.95, 0.8)
    assert data.cfai.classify.plan("text", LABELS, model=cascade, truth="gold").least <= count // 2
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        data.cfai.classify("text", LABELS, model=cascade, truth="gold")
    certificate = cf.last_run().certificate
    assert words in certificate.words
    assert certificate.known == count // 2
    assert [str(each.message).rpartition(". ")[2] for each in noted] == (
        [] if count == 200 else ["clef-omni is asked about every row without a truth."]
    )


@pytest.mark.parametrize(
    "given", [["no", "yes"], ["False", "TRUE"], ["n", "1"], [0, 1], [0.0, 1.0], [np.False_, np.True_], [False, "Yes"]]
)
def test_truths_of_a_yes_or_no_are_read_as_such(clefs: Clefs, given: list[Any]) -> None:
    """Words, numbers and booleans: "no" and "False" are a no."""
    data = frame(200)[:200].reset_index(drop=True)
    data["gold"] = pd.Series([given[at % 2] if at < 40 else None for at in range(200)], dtype=object)
    cascade = cf.Cascade(FLASH, OMNI, 0.8, 0.8)
    found = data.cfai.check("text", "It is about money.", model=cascade, truth="gold")
    assert found[:40].tolist() == [False, True] * 20
    assert (cf.last_run().answered_by[:40] == "truth").all()


@pytest.mark.parametrize(
    ("verb", "truth", "why"),
    [
        (("classify", LABELS), "Billing", "row 7 has 'Billing', which is not one of the labels 'billing', 'shipping'"),
        (("classify", [f"label {at}" for at in range(30)]), "label 30", "'label 9', ..."),
        (("check", "It is about money."), "nope", "truth of check: row 7 has 'nope', which is neither True nor False"),
        (("check", "It is about money."), 2, "row 7 has 2, which is neither"),
        (("check", "It is about money."), [True], r"row 7 has \[True\], which is neither"),
    ],
)
def test_a_truth_that_is_not_an_answer_is_refused(clefs: Clefs, verb: Any, truth: Any, why: str) -> None:
    """The error names the row, the value and what is allowed; nothing is sent."""
    data = frame(200)[:200].set_axis(range(200))
    data["gold"] = pd.Series([truth if at == 7 else None for at in range(200)], dtype=object)
    name, about = verb
    with pytest.raises(ValueError, match=why):
        getattr(data.cfai, name)("text", about, model=cf.Cascade(FLASH, OMNI, 0.8, 0.8), truth="gold")
    assert not clefs.asked


def test_gold_of_a_review_is_a_truth_everywhere(clefs: Clefs) -> None:
    """``truth=cf.gold(name)`` lays itself on the rows, for a cascade and a comparison; elsewhere it says how to."""
    data = frame(120)[:120]
    review = data.reset_index(drop=True).cfai.review("text", data["text"].map(right).to_numpy(), n=40, name="hand")
    for row in review.rows:
        review.label(row, right(data["text"].iloc[row]))
    gold = cf.gold("hand")
    assert len(gold) == 40
    found = classified(data[::-1], truth=gold)
    assert (cf.last_run().answered_by == "truth").sum() == 40
    assert (found[cf.last_run().answered_by == "truth"] == gold.match(data[::-1], "text").dropna()).all()
    asked = data.cfai.ask("text", {"kind": cf.choice(*LABELS)}, model=cf.Cascade(FLASH, OMNI, 0.8, 0.8), truth=gold)
    assert (asked["answered_by"] == "truth").sum() == 40
    compared = data.cfai.compare(cf.Classify(labels=LABELS), "text", models=[FLASH, OMNI], truth=gold, sample=None)
    assert compared.table.loc["@cf/cloudflare/clef-omni", "accuracy"] == 1.0
    assert len(compared.truth) == 40
    with pytest.raises(ValueError, match=r"such as one column of a template, give cf.gold\('hand'\).match"):
        data.cfai.classify("Text: {text}", LABELS, model=cf.Cascade(FLASH, OMNI), truth=gold)
    with pytest.raises(TypeError, match=r"lay <gold 'hand'.*> on the frame first"):
        cf.quality.accuracy(found, gold)


@pytest.mark.parametrize("own", [True, False], ids=["own vectors", "bought"])
def test_embeddings_learn_from_the_strong_model(tmp_path: Path, own: bool) -> None:
    """Vectors of the frame or bought ones, logistic regression on a sample of strong answers: a row is asked once."""
    here = Clefs()
    data = pd.DataFrame({"text": [f"{word} {at}" for at in range(300) for word in ("parcel", "money")]})
    data["truth"] = [LABELS[1], LABELS[0]] * 300
    with pytest.MonkeyPatch.context() as patch, cf.connect(here, store=tmp_path / "s.sqlite", rate=None):
        patch.setattr("cascade_models.right", lambda text: LABELS[1] if text.startswith("parcel") else LABELS[0])
        if own:
            random = np.random.default_rng(0)
            middle = np.where(data["truth"] == LABELS[0], 1.0, -1.0)[:, None] * np.ones((1, 8))
            data["vector"] = list((middle + random.normal(size=(600, 8))).astype(np.float32))
        cascade = cf.Cascade("embeddings", OMNI, 0.9, 0.9)
        plan = data.cfai.classify.plan("text", LABELS, model=cascade)
        assert list(plan.cheap) == ([] if own else ["embeddings"])
        found = data.cfai.classify("text", LABELS, model=cascade, probabilities=True)
        assert plan.least <= here.of(OMNI) < 350
        assert set(here.asked.values()) == {1} | ({here.asked["other", ""]} - {0})
        assert (found["label"] == data["truth"]).mean() > 0.95
        assert set(found["answered_by"]) == {"embeddings", OMNI}
        assert found["confidence"].between(0, 1).all()
        again = data.cfai.classify("text", LABELS, model=cascade, probabilities=True)
        assert again.equals(found)
        assert set(here.asked.values()) == {1} | ({here.asked["other", ""]} - {0})


def test_a_chain_asks_the_cheap_model_what_embeddings_leave_unsure(tmp_path: Path) -> None:
    """Embeddings, then the cheap model, then the strong one: each answers some rows."""
    here = Clefs()
    random = np.random.default_rng(1)
    data = frame(400)[:400].reset_index(drop=True)
    middle = np.where(data["text"].map(right) == LABELS[0], 1.0, -1.0)
    data["vector"] = list(np.column_stack([middle, *random.normal(size=(3, 400))]).astype(np.float32))
    data.loc[200:, "vector"] = pd.Series(list(random.normal(size=(200, 4)).astype(np.float32)), index=range(200, 400))
    with cf.connect(here, store=False, rate=None):
        data.cfai.classify("text", LABELS, model=cf.Cascade(["embeddings", FLASH], OMNI, 0.8, 0.8))
        by = cf.last_run().answered_by
        assert 0 < here.of(FLASH) < 300
        assert set(by) >= {"embeddings", OMNI}


def test_check_ask_sentiment_and_moderate(clefs: Clefs) -> None:
    """Every verb whose answers are equal or not takes a cascade, and a frame of answers says what answered each row."""
    data, cascade = frame(160)[:160], cf.Cascade(FLASH, OMNI, 0.8, 0.8)
    yes = data["text"].map(right) == LABELS[0]
    assert (data.cfai.check("text", "It is about money.", model=cascade) == yes).mean() >= 0.8
    questions = {"money": cf.yes_no("Money?"), "kind": cf.choice("billing", "shipping")}
    asked = data.cfai.ask("text", questions, model=cascade)
    assert list(asked) == ["money", "kind", "answered_by"]
    assert (asked["answered_by"] == FLASH).any()
    assert ((asked["money"] == yes) & (asked["kind"] == data["text"].map(right))).mean() >= 0.8
    moderated = data.cfai.moderate("text", categories=["fraud"], model=cascade)
    assert (moderated["safe"] != yes).mean() >= 0.8
    assert (moderated["answered_by"] == FLASH).any()
    run = data.cfai.run(cf.Check(condition="It is about money."), "text", model=cascade)
    assert run.equals(data.cfai.check("text", "It is about money.", model=cascade))


@pytest.mark.parametrize(
    "promise", [{}, {"recall": 0.8}, {"precision": 0.8}, {"recall": 0.8, "precision": 0.8}], ids=str
)
def test_a_filter_promises_what_it_is_asked(tmp_path: Path, promise: dict[str, float]) -> None:
    """Accuracy, or recall and precision of the rows that are kept; some rows are never asked of the strong model."""
    here, data = Clefs(), frame(400)[:400]
    yes = data["text"].map(right) == LABELS[0]
    with cf.connect(here, store=False, rate=None):
        kept = data.cfai.filter("text", "It is about money.", model=cf.Cascade(FLASH, OMNI, 0.8, 0.8), **promise)
        assert here.of(OMNI) < 400
        report = cf.last_run()
    returned = data["text"].isin(kept["text"])
    if "recall" in promise:
        assert returned[yes].mean() >= 0.8
        assert "at least 80 % of the rows that clef-omni would keep are kept" in report.certificate.words
    if "precision" in promise:
        assert yes[returned].mean() >= 0.8
        assert "would keep at least 80 % of the rows that are kept" in report.certificate.words
    if not promise:
        assert (returned == yes).mean() >= 0.8


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda d: cf.Cascade(FLASH, OMNI, accuracy=1), ValueError, "accuracy must be a number between 0 and 1"),
        (lambda d: cf.Cascade([FLASH, "clef"], OMNI), ValueError, 'give a model, "embeddings", or a list of both'),
        (lambda d: cf.Cascade(FLASH, FLASH), ValueError, "same model"),
        (
            lambda d: d.cfai.classify("text", LABELS, model=cf.Cascade("@cf/cloudflare/clef-omni", OMNI)),
            cf.ModelError,
            "same",
        ),
        (lambda d: d.cfai.classify("text", LABELS, model=cf.Cascade("glm-4.7-flash", OMNI)), cf.ModelError, "no prob"),
        (lambda d: d.cfai.score("text", ["a", "b"], model=cf.Cascade(FLASH, OMNI)), cf.ModelError, "cascade"),
        (
            lambda d: d.cfai.ask("text", {"a": cf.scale("x", "y")}, model=cf.Cascade(FLASH, OMNI)),
            cf.ModelError,
            "scale",
        ),
        (lambda d: d.cfai.generate("{text}", model=cf.Cascade(FLASH, OMNI)), cf.ModelError, "cascade"),
        (lambda d: d.cfai.classify("text", LABELS, truth="text"), TypeError, "go with model=cf.Cascade"),
        (lambda d: d.cfai.filter("text", "x", model=OMNI, recall=0.9), TypeError, "go with model=cf.Cascade"),
        (lambda d: d.cfai.classify.call("text", LABELS, model=cf.Cascade(FLASH, OMNI)), cf.ModelError, "several calls"),
    ],
)
def test_mistakes_are_named(
    clefs: Clefs, call: Callable[[pd.DataFrame], Any], error: type[Exception], message: str
) -> None:
    """What a cascade cannot do is refused in words, before anything is sent."""
    with pytest.raises(error, match=message):
        call(frame(10)[:10])
    assert not clefs.asked


def test_a_cascade_is_compared_with_models(clefs: Clefs) -> None:
    """Of the same rows: accuracy with interval, pairs tested, what a right answer costs, and the rows that differ."""
    data = frame(200)[:200].reset_index(drop=True)
    data["truth"] = data["text"].map(right)
    cascade, task = cf.Cascade(FLASH, OMNI, 0.8, 0.8), cf.Classify(labels=LABELS)
    given: dict[str, Any] = {"models": [FLASH, OMNI, cascade], "truth": "truth", "sample": None}
    plan = data.cfai.compare.plan(task, "text", **given)
    assert list(plan.plans) == ["@cf/cloudflare/clef-flash", "@cf/cloudflare/clef-omni", "clef-flash → clef-omni"]
    assert not clefs.asked
    found = data.cfai.compare(task, "text", **given)
    assert set(clefs.asked.values()) == {1}, "the cascade finds the answers of both in the store"
    table = found.table
    assert (table["low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["high"]).all()
    assert table.loc["clef-flash → clef-omni", "accuracy"] >= 0.8
    assert table["usd_per_right"].tolist() == pytest.approx((table["usd_per_1k"] / 1_000 / table["accuracy"]).tolist())
    assert len(found.pairs) == len(found.verdicts) == 3
    assert found.verdicts[0].startswith("clef-omni is better by")
    flash, omni, _ = table.index
    assert len(found.differing(flash, omni)) == (data["text"].map(cheap) != data["truth"]).sum()
    assert found.verdicts[0] in repr(found)
