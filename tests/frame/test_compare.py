"""Models compared on the same rows: priced first, one budget, one table, and nothing paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.frame.compare import front, scored
from cfai_nb.frame.rows import first_ones
from cfai_nb.models import find

MODELS = ["clef-flash", "glm-4.7-flash"]
CLEF, GLM = "@cf/cloudflare/clef-flash", "@cf/zai-org/glm-4.7-flash"
TASK = cf.Classify(labels=["account", "billing", "bug", "feature", "shipping"])


@pytest.fixture(autouse=True)
def _pretending() -> Iterator[None]:
    with cf.connect("emulator", rate=None):
        yield


def tickets(rows: int = 20) -> pd.DataFrame:
    return cf.sample("tickets").dropna(subset=["text"]).drop_duplicates("text").head(rows)


def test_it_is_priced_first() -> None:
    """``plan`` sends nothing and says what each model and all together cost at most."""
    plan = tickets().cfai.compare.plan(TASK, "text", models=MODELS, sample=5)
    assert plan.table["requests"].tolist() == [5, 5]
    assert plan.cost.neurons == pytest.approx(plan.table["neurons"].sum())
    assert "nothing sent" in repr(plan)
    assert cf.ledger().empty


def test_answers_stand_side_by_side() -> None:
    """A sample of the rows, a column a model, a row a model in the table; asked again nothing is sent or timed."""
    frame = tickets()
    found = frame.cfai.compare(TASK, "text", models=MODELS, sample=8, truth="topic")
    assert list(found.answers.columns) == list(found.table.index) == [CLEF, GLM]
    assert found.answers.index.isin(frame.index).all()
    assert found.answers.index.is_monotonic_increasing
    right = found.answers[CLEF].astype(str) == found.rows["topic"]
    assert found.table.loc[CLEF, "accuracy"] == pytest.approx(right.mean())
    assert (found.table["price"] == "exact").all()
    assert found.table["p50"].notna().all()
    again = frame.cfai.compare(TASK, "text", models=MODELS, sample=8, truth="topic")
    assert again.table["requests"].tolist() == [0, 0]
    assert np.allclose(again.table["usd_per_1k"], found.table["usd_per_1k"])
    assert again.table["p50"].isna().all()
    assert "emulator: nothing was billed" in repr(again)


def test_rows_may_be_files(tmp_path: Path) -> None:
    """The rows to draw from are read with the options of the call."""
    for at in range(3):
        Image.new("RGB", (8, 6), (40 * at, 0, 0)).save(tmp_path / f"{at}.png")
    frame = pd.DataFrame({"photo": [f"{at}.png" for at in range(3)]})
    found = frame.cfai.compare(
        cf.Caption(), "photo", models=["llava-1.5-7b-hf", "gemma-4-26b-a4b-it"], sample=2, files=tmp_path
    )
    assert found.table["answered"].tolist() == [2, 2]


def test_awaited_it_is_the_same() -> None:
    """``aio`` gives what the call gives."""
    frame = tickets(5)
    found = asyncio.run(frame.cfai.compare.aio(TASK, "text", models=MODELS))
    pd.testing.assert_frame_equal(found.answers, frame.cfai.compare(TASK, "text", models=MODELS).answers)


def test_several_answers_a_row() -> None:
    """``ask`` is compared answer by answer, a scale by its nearest level; a truth is given by name."""
    task = cf.Ask(questions={"team": cf.choice(*TASK.labels), "anger": cf.scale("calm", "furious")}, probabilities=True)
    found = tickets(6).cfai.compare(task, "text", models=MODELS, truth={"team": "topic"})
    assert list(found.answers.columns) == [(m, n) for m in (CLEF, GLM) for n in ("team", "anger")]
    assert found.answers[CLEF]["anger"].isin([0.0, 1.0]).all()
    assert found.table["judged"].tolist() == [6, 6]
    assert {"truth", f"{CLEF}: team", f"{GLM}: anger"} <= set(found.disagreements.columns)
    with pytest.raises(ValueError, match="give a dict with some of team, anger"):
        tickets(2).cfai.compare(task, "text", models=MODELS, truth="topic")


def test_rows_of_one_label_keep_apart() -> None:
    """An index with duplicates, a Series and a truth with gaps are no trouble."""
    frame = tickets(6).set_axis([1, 2, 3, 1, 2, 3])
    truth = frame["topic"].where(np.arange(6) > 1)
    found = frame.cfai.compare(TASK, "text", models=MODELS, truth=truth)
    assert found.answers.index.tolist() == frame.index[2:].tolist()
    assert len(frame["text"].cfai.compare(TASK, models=MODELS).answers) == 6


def test_copies_of_a_row_are_not_further_evidence() -> None:
    """Rows with the same content count once: ten copies of each leave accuracies and verdicts as they are."""
    once = tickets(12)
    both = once, pd.concat([once] * 10, ignore_index=True)
    one, many = (frame.cfai.compare(TASK, "text", models=MODELS, truth="topic", sample=None) for frame in both)
    figures = ["accuracy", "low", "high", "judged", "agreement", "answered"]
    assert many.table[figures].equals(one.table[figures])
    assert (many.verdicts, many.rows.index.tolist()) == (one.verdicts, list(range(12)))


def test_a_copy_with_a_truth_stands_for_one_without() -> None:
    """Of equal rows the first that has a truth is asked about; a missing cell is not content."""
    inputs, known = ["a", "b", "a", None, "b", "a"], np.array([False, True, True, True, True, True])
    assert first_ones(inputs, known).tolist() == [False, True, True, False, False, False]
    assert first_ones(inputs).tolist() == [True, True, False, False, False, False]


def test_models_and_cascades_are_each_in_the_table() -> None:
    """Model objects are taken as names are, and two cascades of the same models have a row each, priced and asked."""
    flash, omni = (find(name) for name in ("clef-flash", "clef-omni"))
    given = [flash, cf.Cascade(flash, omni, 0.8), cf.Cascade("clef-flash", "clef-omni")]
    names = [CLEF, *(f"clef-flash → clef-omni (accuracy {share}, confidence 0.95)" for share in (0.8, 0.95))]
    frame = tickets(8)
    assert list(frame.cfai.compare.plan(TASK, "text", models=given).plans) == names
    with pytest.warns(cf.CfaiWarning, match="8 rows are too few"):
        assert list(frame.cfai.compare(TASK, "text", models=given).table.index) == names
    with pytest.raises(ValueError, match="give at least two models"):
        frame.cfai.compare(TASK, "text", models=[flash, "clef-flash"])


def test_a_refused_model_does_not_stop_the_others() -> None:
    """What ends one model is in the table; where none answers it is raised; a budget holds for all models together."""
    plan = tickets().cfai.compare.plan(TASK, "text", models=MODELS)
    enough = plan.table.loc[CLEF, "neurons"] * 1.2
    found = tickets().cfai.compare(TASK, "text", models=MODELS, neurons=enough)
    assert found.table.loc[CLEF, "answered"] == 20
    assert found.table.loc[GLM, "answered"] < 20
    assert "budget" in found.table.loc[GLM, "error"].lower()
    assert found.table["neurons_per_1k"].notna()[CLEF]
    with pytest.raises(cf.BudgetError):
        tickets().cfai.compare(TASK, "text", models=MODELS, neurons=0, cache="refresh")


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (TASK, {"models": ["clef"]}, "at least two"),
        (TASK, {"models": ["clef-flash", CLEF]}, "all names of"),
        (TASK, {"models": MODELS, "truth": "colour"}, "no column 'colour'"),
        (TASK, {"models": MODELS, "truth": ["a"]}, "1 values for 3 rows"),
        (TASK, {"models": MODELS, "sample": 0}, "at least 1"),
        (TASK, {"models": MODELS, "truth": [None] * 3}, "no row has an input and a truth"),
        (cf.Embed(), {"models": ["bge-m3", "bge-small-en-v1.5"]}, "never equal"),
    ],
)
def test_what_cannot_be_compared_is_refused(task: Any, options: Any, message: str) -> None:
    """What makes no comparison is an error before anything is sent."""
    with pytest.raises(ValueError, match=message):
        tickets(3).cfai.compare(task, "text", **options)
    assert cf.ledger().empty


def test_a_row_that_failed_is_not_judged() -> None:
    """A missing answer counts against accuracy where it is the answer, not where the row failed; case is no matter."""
    answers = pd.DataFrame({"a": ["x", "Y ", None], "b": ["x", "y", "z"]})
    truth, whole, failed = pd.DataFrame({"label": ["x", "y", "z"]}), np.full(3, True), np.array([True, True, False])
    table = scored({"label": answers}, truth, {"a": whole, "b": whole})
    assert table.loc["a"].tolist() == pytest.approx([2 / 3, 3, 1])
    assert table.loc["b"].tolist() == pytest.approx([1, 3, 1])
    assert scored({"label": answers}, truth, {"a": failed, "b": whole}).loc["a"].tolist() == pytest.approx([1, 2, 1])


def test_failed_rows_are_counted_and_not_wrong() -> None:
    """A model that fails one of three rows has the accuracy of the other two, and says over how many."""
    rows = tickets(3)
    lost: list[int] = []

    def faults(number: int, name: str) -> str | None:
        if name == GLM and not lost:
            lost.append(number)
        return "5006" if number in lost else None

    with cf.connect(Emulator(rate=None, faults=faults), store=False), pytest.warns(cf.CfaiWarning, match="1 of 3 rows"):
        table = rows.cfai.compare(TASK, "text", models=MODELS, truth="topic").table
    assert table.loc[GLM, ["judged", "answered", "failed"]].tolist() == [2, 2, 1]
    assert table.loc[CLEF, ["judged", "answered", "failed"]].tolist() == [3, 3, 0]


def test_the_front_and_the_best() -> None:
    """The front has the models that no other beats, none of unknown price; of two alike the cheaper is the best."""
    table = pd.DataFrame({"accuracy": [0.7, 0.6, 0.9, 0.99], "usd_per_1k": [1.0, 2.0, 5.0, np.nan]}, index=list("abcd"))
    assert front(table, "accuracy").tolist() == [True, False, True, False]
    found = cf.frame.compare.Comparison(table, table, table, table, table, "cloudflare", "classify", {})
    assert (found.best(), found.best(5), found.best(2)) == ("d", "c", "a")
    with pytest.raises(LookupError, match=r"at most \$0.5"):
        found.best(0.5)


def test_receipts_name_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a model, each with its name: otherwise they look alike."""
    cf.connect("emulator", store=False)
    names = ["clef-flash", "glm-4.7-flash"]
    pd.Series(["a", "b"]).cfai.compare(cf.Classify(labels=["x", "y"]), models=names, progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "request" in line]
    assert all(f"classify with {name}: 2 of 2 rows" in line for name, line in zip(names, lines[-2:], strict=True))
