"""Cascades in ``cf.enrich`` and on Polars frames: one certificate for all rows, whatever the batches."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cascade_models import FLASH, LABELS, OMNI, Clefs, cheap, luck, right, stop_at
from verb_cases import RequestBudget

import cfai_nb as cf

CASCADE = cf.Cascade(FLASH, OMNI, 0.9, 0.8)
TASK = cf.Classify(labels=LABELS)
COLUMNS: dict[str, Any] = {"topic": (TASK, "text", {"model": CASCADE})}
SMALL = 150_000  # bytes: some 30 rows a part


def written(folder: Path, count: int = 300, files: int = 3) -> Path:
    """Files of texts: some are missing, some lie in several files."""
    folder.mkdir()
    texts = [None if at % 40 == 7 else f"text {at % (count - 20)}" for at in range(count)]
    for at in range(files):
        part = texts[at * count // files : (at + 1) * count // files]
        pd.DataFrame({"id": range(len(part)), "text": part}).to_parquet(folder / f"{at}.parquet")
    return folder


def _same_as_one_frame(got: pd.DataFrame, expected: Any, report: Any) -> Any:
    """Whether answers, who gave them and the certificate are those of the verb on one frame; return the certificate."""
    one, mine = cf.last_run(), report.certificates["topic"]
    assert got["topic"].astype(object).equals(expected.astype(object))
    assert got["topic__answered_by"].astype(object).equals(one.answered_by.astype(object))
    assert (mine.rows, mine.asked, mine.kept) == (
        one.certificate.rows, one.certificate.asked, one.certificate.kept,
    )  # fmt: skip
    return mine


def test_it_is_what_one_frame_would_get(clefs: Clefs, tmp_path: Path) -> None:
    """The same rows are asked of the strong model, answers and sources are the same, and so is the promise."""
    source = written(tmp_path / "in")
    report = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    asked = Counter(clefs.asked)
    assert report.parts > 3
    assert set(asked.values()) == {1}, "no row is asked twice of a model"
    got, frame = pd.read_parquet(tmp_path / "out"), pd.read_parquet(source)
    assert list(got) == ["id", "text", "topic", "topic__answered_by", "topic__error"]
    expected = frame.cfai.classify("text", LABELS, model=CASCADE)
    assert clefs.asked == asked, "one frame of all rows finds every answer in the store"
    mine = _same_as_one_frame(got, expected, report)
    assert "with 80 % confidence at least 90 % of 292 answers are those of clef-omni" in report.receipt
    assert mine.kept == (got["topic__answered_by"] == FLASH).sum() > 100


def test_the_same_call_again_reads_its_parts(clefs: Clefs, tmp_path: Path) -> None:
    """Nothing is sent, and the certificate is that of the parts; in other batches the same rows are asked."""
    source = written(tmp_path / "in")
    first = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    asked = Counter(clefs.asked)
    again = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    assert again.certificates["topic"].words == first.certificates["topic"].words
    cf.enrich(source, tmp_path / "other", COLUMNS)
    assert pd.read_parquet(tmp_path / "other").equals(pd.read_parquet(tmp_path / "out"))
    (tmp_path / "out" / "part-00001.parquet").unlink()
    cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    assert pd.read_parquet(tmp_path / "out").equals(pd.read_parquet(tmp_path / "other"))
    assert clefs.asked == asked


def test_a_plan_prices_it_and_sends_nothing(clefs: Clefs, tmp_path: Path) -> None:
    """At most every row of both models; at least the cheap ones and the sample."""
    source = written(tmp_path / "in")
    plan = cf.enrich.plan(source, tmp_path / "out", COLUMNS, memory=SMALL)
    assert not clefs.asked
    assert "clef-flash → clef-omni" in repr(plan)
    assert "at least" in plan.notes[0]
    assert "expected if nine of ten cheap answers are right" in plan.notes[0]
    cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    assert cf.ledger()["neurons"].sum() <= plan.cost.neurons
    assert plan.requests >= clefs.asked.total()


@pytest.mark.parametrize("end", ["budget", "stop"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_ends_in_the_middle_is_finished_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, share: float
) -> None:
    """In the sample, among the cheap answers, and in the parts: the undisturbed result, and nothing is sent twice."""
    source, whole = written(tmp_path / "in", 200, 2), Clefs()
    with cf.connect(whole, store=tmp_path / "whole.sqlite", rate=None):
        cf.enrich(source, tmp_path / "whole", COLUMNS, memory=SMALL)
    here, middle = Clefs(), int(share * whole.asked.total())
    with cf.connect(here, store=tmp_path / "here.sqlite", rate=None):
        if end == "budget":
            with pytest.raises(cf.BudgetError, match="used up"):
                cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL, budget=RequestBudget(middle))
        else:
            stop_at(here, middle, monkeypatch)
            with pytest.raises(cf.Stopped, match="The same call goes on"):
                cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL, concurrency=2)
            here.at = None
        assert 0 < here.asked.total() < whole.asked.total()
        report = asyncio.run(cf.enrich.aio(source, tmp_path / "out", COLUMNS, memory=SMALL))
        assert here.asked == whole.asked
        assert report.certificates["topic"].kept > 0
    assert pd.read_parquet(tmp_path / "out").equals(pd.read_parquet(tmp_path / "whole"))


def test_failed_rows_never_agree_and_are_made_good(tmp_path: Path) -> None:
    """What the strong model fails counts as an error; once it answers, parts of the old certificate are made again."""
    source, here = written(tmp_path / "in", 200, 2), Clefs()
    here.broken = lambda model, text: model == OMNI and luck(text, "broken") < 0.1
    with cf.connect(here, store=tmp_path / "s.sqlite", rate=None):
        with pytest.warns(cf.CfaiWarning, match="answers? failed and (is|are) null"):
            report = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
        got = pd.read_parquet(tmp_path / "out")
        lost = got["topic"].isna() & got["text"].notna()
        assert report.certificates["topic"].failed == lost.sum() > 0
        assert "rows hold another answer than that of clef-omni" in report.certificates["topic"].words
        assert got["topic__error"].notna().equals(lost)
        here.broken = lambda model, text: False
        (tmp_path / "out" / "part-00000.parquet").unlink()
        with pytest.warns(cf.CfaiWarning, match="All parts are made again"):
            again = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
        assert again.certificates["topic"].failed == 0
        assert pd.read_parquet(tmp_path / "out")["topic__error"].isna().all()


def learnable(folder: Path) -> Path:
    """Files of texts that embeddings can tell apart."""
    folder.mkdir()
    words = {LABELS[0]: "the invoice, number", LABELS[1]: "a parcel on its way to"}
    texts = [f"{words[label]} {at}" for at in range(440) for label in LABELS]
    texts = [text for text in texts if words[right(text)] in text][:420]
    for at in range(2):
        pd.DataFrame({"text": [*texts[at::2], None, texts[0]]}).to_parquet(folder / f"{at}.parquet")
    return folder


@pytest.mark.parametrize("cheap", ["embeddings", ["embeddings", FLASH]])
def test_embeddings_learn_from_all_files(clefs: Clefs, tmp_path: Path, cheap: Any) -> None:
    """As from one frame of all rows, in whatever batches; a part that is made again finds its answers in the store."""
    source = learnable(tmp_path / "in")
    columns = {"topic": (TASK, "text", {"model": cf.Cascade(cheap, OMNI, 0.9, 0.8)})}
    plan = cf.enrich.plan(source, tmp_path / "out", columns, memory=800_000)
    assert not clefs.asked
    report = cf.enrich(source, tmp_path / "out", columns, memory=800_000)
    assert report.parts > 2
    assert cf.ledger()["neurons"].sum() <= plan.cost.neurons
    got, frame = pd.read_parquet(tmp_path / "out"), pd.read_parquet(source)
    bought, clefs.asked = Counter(clefs.asked), Counter()
    expected = frame.cfai.classify("text", LABELS, model=columns["topic"][2]["model"])
    assert not clefs.asked, "one frame of all rows finds every answer in the store"
    mine = _same_as_one_frame(got, expected, report)
    assert mine.kept > 100
    (tmp_path / "out" / "part-00001.parquet").unlink()
    cf.enrich(source, tmp_path / "out", columns, memory=800_000)
    assert pd.read_parquet(tmp_path / "out").equals(got)
    assert not clefs.asked
    if cheap != "embeddings":
        return
    with cf.connect(here := Clefs(), store=tmp_path / "other.sqlite", rate=None):
        middle = int(0.5 * bought.total())
        with pytest.raises(cf.BudgetError, match="used up"):
            cf.enrich(source, tmp_path / "other", columns, memory=800_000, budget=RequestBudget(middle))
        cf.enrich(source, tmp_path / "other", columns, memory=800_000)
        assert here.asked == bought
    assert pd.read_parquet(tmp_path / "other").equals(got)


@pytest.mark.parametrize("review", [False, True], ids=["column", "review"])
def test_truths_are_carried_and_not_asked(clefs: Clefs, tmp_path: Path, review: bool) -> None:
    """As on one frame of all rows: from a column, or the labels of a review; other labels are another question."""
    source = written(tmp_path / "in")
    for at, path in enumerate(sorted(source.glob("*.parquet"))):
        part = pd.read_parquet(path)
        part["known"] = [right(text) if text and luck(text, "known") < 0.2 else None for text in part["text"]]
        if at == 2:  # equal rows of several files that contradict each other have no truth
            part.loc[part.index[-1], "known"] = LABELS[right(part["text"].iloc[-1]) == LABELS[0]]
        part.to_parquet(path)
    frame = pd.read_parquet(source)
    truth: Any = "known"
    if review:
        shown = frame.reset_index(drop=True).dropna(subset="text").reset_index(drop=True)
        marks = shown.cfai.review("text", shown["text"].map(right).to_numpy(), n=40, name="hand")
        for row in marks.rows:
            marks.label(row, right(shown["text"].iloc[row]))
        truth = cf.gold("hand")
    columns = {"topic": (TASK, "text", {"model": CASCADE, "truth": truth})}
    report = cf.enrich(source, tmp_path / "out", columns, memory=SMALL)
    asked, got = Counter(clefs.asked), pd.read_parquet(tmp_path / "out")
    expected = frame.cfai.classify("text", LABELS, model=CASCADE, truth=truth)
    one = cf.last_run()
    assert clefs.asked == asked
    assert got["topic"].astype(object).equals(expected.astype(object))
    assert got["topic__answered_by"].astype(object).equals(one.answered_by.astype(object))
    assert (got["topic__answered_by"] == "truth").sum() > 30
    mine = report.certificates["topic"]
    assert (mine.rows, mine.asked, mine.kept) == (
        one.certificate.rows, one.certificate.asked, one.certificate.kept,
    )  # fmt: skip
    assert f"or the {mine.known} truths given" in mine.words
    assert mine.known == one.certificate.known == (one.answered_by == "truth").sum()
    again = cf.enrich(source, tmp_path / "out", columns, memory=SMALL)
    assert (again.certificates["topic"].words, clefs.asked) == (mine.words, asked)
    with pytest.raises(cf.ColumnError, match="holds parts of something else"):
        cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)


def test_rows_that_came_later_need_a_certificate_of_their_own(clefs: Clefs, tmp_path: Path) -> None:
    """A promise is about the rows it was made for: parts of fewer rows are refused, and made again where asked."""
    source = written(tmp_path / "in")
    cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    pd.DataFrame({"id": [1], "text": ["one more"]}).to_parquet(source / "9.parquet")
    with pytest.raises(cf.ColumnError, match=r"certified for 300 rows, and now .* certified for 301 rows"):
        cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
    with pytest.warns(cf.CfaiWarning, match="made again"):
        report = cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL, overwrite=True)
    assert report.certificates["topic"].rows == 293


def test_where_it_does_not_pay_the_strong_model_answers(clefs: Clefs, tmp_path: Path) -> None:
    """It says so, in the plan and in a warning, and asks nothing of the cheap model."""
    source = written(tmp_path / "in", 12, 1)
    assert "does not pay" in cf.enrich.plan(source, tmp_path / "out", COLUMNS).notes[0]
    with pytest.warns(cf.CfaiWarning, match="topic: the cascade does not pay: 11 rows are too few"):
        report = cf.enrich(source, tmp_path / "out", COLUMNS)
    assert clefs.of(FLASH) == 0
    assert "every answer is one of clef-omni" in report.certificates["topic"].words
    assert (pd.read_parquet(tmp_path / "out")["topic__answered_by"].dropna() == OMNI).all()


def test_other_columns_go_beside_it(clefs: Clefs, tmp_path: Path) -> None:
    """A later column may name its answers; tasks with several columns say what answered in one more."""
    import polars as pl

    source = written(tmp_path / "in", 120, 1)
    columns = {
        "topic": (TASK, "text", {"model": cf.Cascade(FLASH, OMNI, 0.8, 0.8)}),
        "asked": (
            cf.Ask(questions={"money": cf.yes_no("Money?"), "kind": cf.choice(*LABELS)}), "text",
            {"model": cf.Cascade(FLASH, OMNI, 0.8, 0.8)},
        ),
        "said": (cf.Check(condition="It is short."), "{topic}: {text}"),
    }  # fmt: skip
    report = cf.enrich(pl.scan_parquet(source / "*.parquet"), tmp_path / "out", columns, memory=SMALL)
    got = pd.read_parquet(tmp_path / "out")
    assert list(report.certificates) == ["topic", "asked"]
    assert [name for name in got if name.startswith("asked")] == [
        "asked__money", "asked__kind", "asked__answered_by", "asked__error",
    ]  # fmt: skip
    there = got["text"].notna()
    assert (got["asked__kind"][there] == got["text"][there].map(right)).mean() >= 0.8
    assert got["said"].notna().equals(there)


@pytest.mark.parametrize(
    ("column", "options", "error", "message"),
    [
        ((cf.Score(levels=["a", "b"]), "text", {"model": CASCADE}), {}, cf.ModelError, "answers must be equal or not"),
        ((TASK, "{first}: {text}", {"model": CASCADE}), {}, cf.ColumnError, "Enrich in two calls"),
        ((TASK, "text", {"model": CASCADE}), {"cache": False}, cf.ModelError, "from the store"),
        ((TASK, "text", {"model": CASCADE}), {"memory": 100_000, "rows": 1_000}, cf.InputError, "bytes a distinct row"),
        ((TASK, "text", {"truth": "text"}), {}, TypeError, "truth= goes with model=cf.Cascade"),
        ((TASK, "text", {"model": CASCADE, "truth": "none"}), {}, ValueError, "truth: There is no column 'none'"),
        (
            (TASK, "text", {"model": CASCADE, "truth": "text"}),
            {},
            ValueError,
            "row 0 has 'text 0', which is not one of",
        ),
        ((TASK, "text", {"model": CASCADE, "truth": ["a"]}), {}, cf.InputError, "a list does not belong to the parts"),
    ],
)
def test_what_it_cannot_do_is_refused(
    clefs: Clefs, tmp_path: Path, column: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """In words that say what to do, before anything is sent."""
    source = written(tmp_path / "in", options.pop("rows", 60))
    columns = {"first": (cf.Check(condition="short"), "text"), "topic": column}
    with pytest.raises(error, match=message):
        cf.enrich(source, tmp_path / "out", columns, **options)
    assert not clefs.asked


def test_polars_frames_take_it(clefs: Clefs) -> None:
    """As pandas does: the same answers, what answered each row in the report, and a column of it beside others."""
    import polars as pl

    texts = [f"text {at}" for at in range(120)] + [None]
    cascade = cf.Cascade(FLASH, OMNI, 0.8, 0.8)
    found = pl.DataFrame({"text": texts}).cfai.classify("text", LABELS, model=cascade)
    asked = Counter(clefs.asked)
    expected = pd.DataFrame({"text": texts}).cfai.classify("text", LABELS, model=cascade)
    assert clefs.asked == asked
    assert found.to_list() == expected.astype(object).where(expected.notna(), None).tolist()
    both = pl.DataFrame({"text": texts}).cfai.classify("text", LABELS, model=cascade, probabilities=True)
    assert both["answered_by"].to_list() == [None if pd.isna(one) else one for one in cf.last_run().answered_by]
    truth = pl.Series([right(text) if at < 40 else None for at, text in enumerate(texts)], dtype=pl.String)
    pl.DataFrame({"text": texts}).cfai.classify("text", LABELS, model=cascade, truth=truth)
    assert (cf.last_run().answered_by == "truth").sum() == 40
    kept = pl.DataFrame({"text": texts}).cfai.filter("text", "It is about money.", model=cascade, recall=0.8)
    assert isinstance(kept, pl.DataFrame)
    assert "text" in kept.columns


def test_weak_cheap_models_are_found_out_early(tmp_path: Path) -> None:
    """The cheap model is asked about the sample alone."""
    here = Clefs(guess=lambda text: LABELS[luck(text, "dice") < 0.5])
    source = written(tmp_path / "in")
    with cf.connect(here, store=tmp_path / "s.sqlite", rate=None):
        with pytest.warns(cf.CfaiWarning, match="clef-flash gave the same answer on"):
            cf.enrich(source, tmp_path / "out", COLUMNS, memory=SMALL)
        assert here.of(FLASH) < 150
        got = pd.read_parquet(tmp_path / "out")
        assert (got["topic"].dropna() == got["text"].dropna().map(right)).all()


def test_the_promise_is_kept(clefs: Clefs, tmp_path: Path) -> None:
    """At most a tenth of all rows differs from the strong model's answers."""
    cf.enrich(written(tmp_path / "in"), tmp_path / "out", COLUMNS, memory=SMALL)
    got = pd.read_parquet(tmp_path / "out").dropna(subset="text")
    by = got["topic__answered_by"]
    assert (got["topic"] == np.where(by == FLASH, got["text"].map(cheap), got["text"].map(right))).all()
    assert (got["topic"] == got["text"].map(right)).mean() >= 0.9
