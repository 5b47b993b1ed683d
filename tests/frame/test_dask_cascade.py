"""Cascades on Dask frames: one certificate for all rows, and what pandas gives row by row."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cascade_models import FLASH, LABELS, OMNI, Clefs, luck, right, stop_at
from processes import until
from verb_cases import RequestBudget

import cfai_nb as cf
from cfai_nb.frame.dask import _parts_in

pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

CASCADE = cf.Cascade(FLASH, OMNI, 0.8, 0.8)
ABOUT = {"money": cf.yes_no("Is it about money?"), "kind": cf.choice(*LABELS)}
VERBS = [
    ("classify", ("text", LABELS), {}),
    ("classify", ("text", LABELS), {"probabilities": True}),
    ("classify", ("text", LABELS), {"multiple": True}),
    ("classify", ("{kind}: {text}", LABELS), {"probabilities": True, "truth": "known"}),
    ("check", ("text", "It is about money."), {}),
    ("filter", ("text", "It is about money."), {}),
    ("filter", ("text", "It is about money."), {"recall": 0.8}),
    ("filter", ("text", "It is about money."), {"precision": 0.8, "recall": 0.8}),
    ("ask", ("text", ABOUT), {}),
    ("sentiment", ("text",), {}),
    ("moderate", ("text",), {}),
    ("verify", ("text", "kind"), {}),
    ("run", (cf.Classify(labels=LABELS), "text"), {}),
]


def rows(count: int = 120) -> pd.DataFrame:
    """Texts sorted by their right answer, under labels that are not positions: some repeat, some are missing."""
    texts = sorted((f"text {at}" for at in range(count)), key=lambda text: (right(text), luck(text)))
    every = [*texts, *texts[:10], None, ""]
    known = [right(text) if text and luck(text, "known") < 0.2 else None for text in every]
    index = [7 * at for at in range(len(every))]
    return pd.DataFrame({"text": every, "kind": pd.Categorical(["a"] * len(every)), "known": known}, index)


def same(made: Any, given: Any) -> None:
    """The computed result is that of pandas."""
    compare = pd.testing.assert_series_equal if isinstance(given, pd.Series) else pd.testing.assert_frame_equal
    assert type(made) is type(given)
    compare(made, given, check_categorical=False, check_dtype=False)  # Dask's own strings are Arrow's


@pytest.mark.parametrize(("verb", "args", "options"), VERBS, ids=lambda one: one if isinstance(one, str) else "")
def test_it_is_what_pandas_gives(tmp_path: Path, verb: str, args: Any, options: Any) -> None:
    """The same answers, sources and types, the same rows asked of each model, and the same promise in words."""
    data, here, there = rows(), Clefs(), Clefs()
    options = {**options, "model": CASCADE}
    if verb in ("sentiment", "verify"):  # three answers, of which these models know two
        here._one = there._one = three  # type: ignore[method-assign]
    with cf.connect(here, store=False, rate=None):
        expected = getattr(data.cfai, verb)(*args, **options)
        promise = cf.last_run().certificate
    with cf.connect(there, store=False, rate=None):
        lazy = getattr(dd.from_pandas(data, npartitions=4).cfai, verb)(*args, **options)
        assert not there.asked, "nothing is sent while types are inferred"
        made = lazy.compute(scheduler="threads")
        report = cf.last_run()
    same(made, expected)
    for name in made.columns if made.ndim == 2 else []:
        assert made[name].dtype == lazy._meta[name].dtype
    assert there.asked == here.asked
    assert report.certificate.words == promise.words
    assert promise.kept > 0
    assert report.certificate.words in report.receipt
    assert (report.event.requests, report.event.done) == (there.asked.total(), 130)


def three(question: dict[str, Any], label: str, p: float) -> dict[str, Any]:
    """Answer with the first or second of several."""
    names = list(question["criteria"])
    chosen = names[LABELS.index(label)]
    rest = (1 - p) / (len(names) - 1)
    return {"type": "choice", "choice": chosen, "probabilities": {n: p if n == chosen else rest for n in names}}


@pytest.mark.parametrize("cheap", ["embeddings", ["embeddings", FLASH], "vectors"])
def test_embeddings_learn_from_all_partitions(clefs: Clefs, cheap: Any) -> None:
    """They are bought in one task, or come from a column of the frame; the store then has them for pandas."""
    words = {LABELS[0]: "the invoice, number", LABELS[1]: "a parcel on its way to"}
    texts = [f"{words[label]} {at}" for at in range(420) for label in LABELS]
    data = pd.DataFrame({"text": [text for text in texts if words[right(text)] in text]}).head(420)
    if cheap == "vectors":
        data["vector"] = data.cfai.embed("text")
        clefs.asked.clear()
    cascade = cf.Cascade("embeddings" if cheap == "vectors" else cheap, OMNI, 0.9, 0.8)
    lazy = dd.from_pandas(data, npartitions=3).cfai.classify("text", LABELS, model=cascade, probabilities=True)
    made = lazy.compute(scheduler="threads")
    assert list(lazy._meta["answered_by"].cat.categories) == ["embeddings", *[FLASH] * (len(cheap) == 2), OMNI]
    asked, mine = Counter(clefs.asked), cf.last_run().certificate
    assert (asked["other", ""] > 0) == (cheap != "vectors")
    assert mine.kept > 100
    same(made, data.cfai.classify("text", LABELS, model=cascade, probabilities=True))
    one = cf.last_run().certificate
    assert (mine.rows, mine.asked, mine.kept) == (one.rows, one.asked, one.kept)
    assert clefs.asked == asked


def test_a_column_is_laid_on_its_frame_and_a_second_time_sends_nothing(clefs: Clefs) -> None:
    """Empty partitions, unknown divisions and single partitions: each row keeps its place and its answer."""
    data = rows()
    cut = dd.from_pandas(data, npartitions=6).clear_divisions()
    frame = cut[(cut["text"] > "text 2") & ~cut["text"].isin(data["text"].iloc[45:85])]
    kept = data[(data["text"] > "text 2") & ~data["text"].isin(data["text"].iloc[45:85])]
    expected = kept.assign(topic=kept.cfai.classify("text", LABELS, model=CASCADE))
    asked = Counter(clefs.asked)
    topics = frame.assign(topic=frame.cfai.classify("text", LABELS, model=CASCADE))
    assert 0 in frame.map_partitions(len).compute(scheduler="synchronous").tolist()
    assert topics.npartitions == 6
    same(topics.compute(scheduler="threads"), expected)
    parts = [topics.partitions[at].compute(scheduler="synchronous") for at in (5, 0)]
    same(pd.concat(parts), expected.loc[[*parts[0].index, *parts[1].index]])
    assert clefs.asked == asked
    none = frame[frame["known"] == "nothing"].cfai.check("text", "money", model=CASCADE, probabilities=True)
    assert none.compute(scheduler="synchronous").empty
    blank = dd.from_pandas(pd.DataFrame({"text": ["", None]}), npartitions=2)
    assert blank.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="synchronous").isna().all()


def test_a_series_takes_it_too(clefs: Clefs) -> None:
    """It needs no column."""
    data = rows()
    made = dd.from_pandas(data, npartitions=4)["text"].cfai.classify(LABELS, model=CASCADE)
    same(made.compute(scheduler="threads"), data["text"].cfai.classify(LABELS, model=CASCADE))


def test_a_plan_is_the_range_of_pandas(clefs: Clefs) -> None:
    """Equal rows of several partitions count once; nothing is sent."""
    data = rows()
    frame = dd.from_pandas(data, npartitions=4)
    plan = frame.cfai.classify.plan("text", LABELS, model=CASCADE)
    one = data.cfai.classify.plan("text", LABELS, model=CASCADE)
    assert not clefs.asked
    assert repr(plan) == repr(one).replace("120 distinct", "120 distinct, in 4 partitions")
    assert (plan.at_least, plan.expected_cost, plan.at_most) == (one.at_least, one.expected_cost, one.at_most)
    e = plan.estimate
    assert (e.rows, e.missing, e.distinct, plan.least) == (132, 2, 120, one.least)
    frame.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="threads")
    assert frame.cfai.classify.plan("text", LABELS, model=CASCADE).at_least.neurons == 0


@pytest.mark.parametrize("end", ["budget", "stop"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.97])
def test_what_ends_in_the_middle_is_finished_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, share: float
) -> None:
    """In each of its calls: what came before is kept, nothing is sent twice, and nothing is promised before the end."""
    frame, whole = dd.from_pandas(rows(), npartitions=4), Clefs()
    with cf.connect(whole, store=tmp_path / "whole.sqlite", rate=None):
        expected = frame.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="synchronous")
    here, middle = Clefs(), int(share * whole.asked.total())
    with cf.connect(here, store=tmp_path / "here.sqlite", rate=None):
        if end == "budget":
            lazy = frame.cfai.classify("text", LABELS, model=CASCADE, budget=RequestBudget(middle))
            with pytest.raises(cf.BudgetError, match="used up"):
                lazy.compute(scheduler="threads")
        else:
            stop_at(here, middle, monkeypatch)
            with pytest.raises(cf.Stopped):
                frame.cfai.classify("text", LABELS, model=CASCADE, concurrency=2).compute(scheduler="threads")
            here.at = None
        assert 0 < here.asked.total() < whole.asked.total()
        assert cf.last_run().certificate is None
        same(frame.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="threads"), expected)
        assert here.asked == whole.asked


def test_an_interrupt_ends_the_spending(tmp_path: Path) -> None:
    """Of ``compute()``, whichever thread runs the calls."""
    here = Clefs()
    cf.connect(here, store=tmp_path / "s.sqlite", rate=None, concurrency=2)
    frame = dd.from_pandas(rows(2_000), npartitions=4)

    def interrupt() -> None:
        until(lambda: here.asked.total() > 10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        frame.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="threads")
    time.sleep(0.2)
    before = here.asked.total()
    time.sleep(0.2)
    assert here.asked.total() == before < 2_000


def test_failures_are_in_the_report_and_break_no_promise(tmp_path: Path) -> None:
    """Rows that the strong model fails are missing and listed, with one warning; the cheap one's go to the strong."""
    here, data = Clefs(), rows(200).dropna(subset="text")
    here.broken = lambda model, text: luck(text, "broken") < (0.1 if model == OMNI else 0.05)
    with cf.connect(here, store=False, rate=None):
        lazy = dd.from_pandas(data, npartitions=4).cfai.classify(
            "text", LABELS, model=cf.Cascade(FLASH, OMNI, 0.7, 0.8)
        )
        with pytest.warns(cf.CfaiWarning, match="rows failed and are missing") as noted:
            found = lazy.compute(scheduler="synchronous")
        assert len(noted) == 1
        report = cf.last_run()
        lost = found[data["text"] != ""].isna()
        assert report.failed == lost.sum() > 0
        assert set(report.failures["row"]) <= set(lost.index[lost].map(str))
        assert "rows hold another answer than that of clef-omni" in report.certificate.words


def test_where_it_does_not_pay_the_strong_model_answers(clefs: Clefs) -> None:
    """It says so in the plan, in a warning, and in the report; however few rows each partition has."""
    frame, cascade = dd.from_pandas(rows(12)[:12], npartitions=3), cf.Cascade(FLASH, OMNI)
    assert "does not pay" in repr(frame.cfai.classify.plan("text", LABELS, model=cascade))
    with pytest.warns(cf.CfaiWarning, match="The cascade does not pay: 12 rows are too few"):
        made = frame.cfai.classify("text", LABELS, model=cascade).compute(scheduler="synchronous")
    assert clefs.asked.total() == clefs.of(OMNI) == 12
    assert made.notna().all()
    assert "every answer is one of clef-omni" in cf.last_run().certificate.words


def test_gold_of_a_review_is_taken_and_loose_truths_are_refused(clefs: Clefs) -> None:
    """What is laid on the rows by their content, or is a column, is known of each partition."""
    data = rows()[:120].reset_index(drop=True)
    review = data.cfai.review("text", data["text"].map(right).to_numpy(), n=40, name="hand")
    for row in review.rows:
        review.label(row, right(data["text"].iloc[row]))
    frame = dd.from_pandas(data, npartitions=4)
    options = {"model": CASCADE, "truth": cf.gold("hand"), "probabilities": True}
    made = frame.cfai.classify("text", LABELS, **options).compute(scheduler="threads")
    assert (made["answered_by"] == "truth").sum() == 40
    assert "clef-omni or the 40 truths given" in cf.last_run().certificate.words
    same(made, data.cfai.classify("text", LABELS, **options))
    with pytest.raises(cf.InputError, match="truth: a list does not belong to the parts of a Dask frame"):
        frame.cfai.classify("text", LABELS, model=CASCADE, truth=data["known"].tolist())
    with pytest.raises(ValueError, match="truth: There is no column 'none'"):
        frame.cfai.classify("text", LABELS, model=CASCADE, truth="none")
    with pytest.raises(TypeError, match=r"go with model=cf\.Cascade"):
        frame.cfai.classify("text", LABELS, truth="known")


def test_rows_that_change_meanwhile_are_noticed(clefs: Clefs) -> None:
    """A frame that is read twice and gives other rows the second time ends with an error in words."""
    reads: list[int] = []

    def read(at: int) -> pd.DataFrame:
        reads.append(at)
        return pd.DataFrame({"text": [f"text {row} {len(reads) // 3}" for row in range(40)]})

    frame = dd.from_map(read, range(2), meta=pd.DataFrame({"text": pd.Series([], dtype=object)}))
    with pytest.raises(cf.InputError, match="different rows the second time it was read"):
        frame.cfai.classify("text", LABELS, model=CASCADE).compute(scheduler="synchronous")


def test_nothing_secret_is_in_the_graph(clefs: Clefs) -> None:
    """What is pickled holds no token and no session, and names of tasks hold nothing of what was asked."""
    lazy = dd.from_pandas(rows(), npartitions=2).cfai.classify("text", ["apples", "pears"], model=CASCADE)
    graph = dict(lazy.__dask_graph__())
    assert not any("apples" in str(key) for key in graph)
    parts = list(_parts_in(pickle.loads(pickle.dumps(graph))))
    assert [part.held for part in parts] == [[]]
    assert repr(cf.session.current().store_path).encode() not in pickle.dumps(graph)


def test_verbs_without_equal_answers_refuse_it(clefs: Clefs) -> None:
    """As on pandas, before anything is read."""
    frame = dd.from_pandas(rows(), npartitions=2)
    for verb, args in (("embed", ()), ("score", (["calm", "angry"],))):
        with warnings.catch_warnings(), pytest.raises(cf.ModelError, match="equal or not"):
            getattr(frame.cfai, verb)("text", *args, model=CASCADE)
