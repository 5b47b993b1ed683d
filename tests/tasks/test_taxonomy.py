"""Labels within labels: coarse first, then within the coarse label, as one call with one price and one frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import tickets

import cfai_nb as cf
from cfai_nb.models import Model, find
from cfai_nb.tasks.dialects.labels import Taxonomy, way_of
from cfai_nb.tasks.dialects.request import Answer, Request

pytestmark = pytest.mark.usefixtures("emulator")

TREE: dict[str, Any] = {
    "billing": {"refund": "money back", "invoice": None},
    "shipping": ["late", "lost"],
    "bug": "something does not work",
}
PATHS = ("billing > refund", "billing > invoice", "shipping > late", "shipping > lost", "bug")


def tree(given: Any = TREE) -> Taxonomy:
    """The labels as they are asked."""
    made = way_of(given, "Which?")
    assert isinstance(made, Taxonomy)
    return made


def decision(asked: Request, chosen: str, p: float) -> Answer:
    """What a decision model answers to a question."""
    (name,) = asked.json["questions"]
    names = list(asked.json["questions"][name]["criteria"])
    rest = (1 - p) / (len(names) - 1)
    body = {"choice": chosen, "probabilities": {each: p if each == chosen else rest for each in names}}
    return Answer(json.dumps({"answers": {name: body}}).encode())


def walked(given: Any, model: Model, *said: tuple[str, float]) -> tuple[list[Request], Any]:
    """Go down with these answers; return what was asked, and the cell."""
    talk: Generator[Request, Answer, Any] = tree(given).conversation("a text", model)
    asked = [next(talk)]
    for chosen, p in said[:-1]:
        asked.append(talk.send(decision(asked[-1], chosen, p)))
    with pytest.raises(StopIteration) as end:
        talk.send(decision(asked[-1], *said[-1]))
    return asked, end.value.value


def test_coarse_first_then_within() -> None:
    """The second question has the labels within the first answer, and probabilities multiply along the path."""
    asked, cell = walked(TREE, find("clef-flash"), ("billing", 0.8), ("refund", 0.75))
    criteria = [next(iter(each.json["questions"].values()))["criteria"] for each in asked]
    assert criteria[0] == {"billing": "refund, invoice", "shipping": "late, lost", "bug": "something does not work"}
    assert criteria[1] == {"refund": "money back", "invoice": None}
    assert (cell["label"], cell["confidence"]) == ("billing > refund", pytest.approx(0.6))
    assert cell["p"] == pytest.approx(
        {"billing": 0.8, "shipping": 0.1, "bug": 0.1, "billing > refund": 0.6, "billing > invoice": 0.2}
    )
    asked, cell = walked(TREE, find("clef-flash"), ("bug", 0.9))
    assert (len(asked), cell["label"], cell["confidence"]) == (1, "bug", pytest.approx(0.9))


def test_any_number_of_levels() -> None:
    """Three levels take three requests, and a plan says between how many they are."""
    deep = {"a": {"b": {"c": None, "d": None}, "e": None}, "f": None}
    asked, cell = walked(deep, find("clef-flash"), ("a", 0.9), ("b", 0.9), ("d", 0.9))
    assert (len(asked), cell["label"]) == (3, "a > b > d")
    made = tree(deep)
    assert (made.paths, made.shallowest, made.depth) == (("a > b > c", "a > b > d", "a > e", "f"), 1, 3)
    assert "1 to 3 requests a row" in repr(tickets(3).cfai.classify.plan(deep))


def test_one_frame_for_all_levels() -> None:
    """Label, coarse label and path, on the index of the frame; with probabilities those asked about, and no others."""
    texts = pd.concat([tickets(10), pd.Series([None], index=[99])])
    found = texts.cfai.classify(TREE)
    assert list(found) == ["label", "coarse", "path"]
    assert found.index.equals(texts.index)
    assert found.isna().all(axis=1).tolist() == [False] * 10 + [True]
    assert list(found["path"].cat.categories) == list(PATHS)
    requests = cf.last_run().event.requests
    assert requests == sum(len(str(path).split(" > ")) for path in found["path"].dropna())
    numbers = texts.cfai.classify(TREE, probabilities=True)
    assert cf.last_run().event.requests == 0
    for _, row in numbers.dropna(subset="label").iterrows():
        assert row["confidence"] == row[f"p__{row['path']}"] <= row[f"p__{row['coarse']}"]
        if row["coarse"] != "billing":
            assert pd.isna(row["p__billing > refund"])
    assert asyncio.run(texts.cfai.classify.aio(TREE)).equals(found)


def test_the_price_is_at_most_and_expected() -> None:
    """At most the dearest way down for every row; expected, if they spread evenly; what was spent lies below."""
    texts = tickets()
    plan = texts.cfai.classify.plan(TREE)
    most = plan.estimate.cost.neurons
    assert "1 to 2 requests a row" in repr(plan)
    assert "expected, if rows spread evenly" in repr(plan)
    assert most > len(texts) * 0.5
    texts.cfai.classify(TREE)
    assert cf.ledger()["neurons"].sum() <= most
    flat = texts.cfai.classify.plan(list(TREE)).estimate.cost.neurons
    assert flat < most < 3 * flat
    with pytest.raises(cf.BudgetError):
        tickets(60).cfai.classify(TREE, neurons=1)


@pytest.mark.parametrize("model", ["glm-4.7-flash", "clef-omni"])
def test_every_kind_of_model_goes_down(model: str) -> None:
    """Chat models answer in words, decision models with numbers."""
    found = tickets(4).cfai.classify(TREE, model=model)
    assert set(found["path"]) <= set(PATHS)
    assert cf.last_run().event.failed == 0


def test_models_that_see_go_down() -> None:
    """A model that answers a question about a picture in words does, too."""
    pictures = pd.Series(cf.sample("products")["picture"].head(2))
    found = pictures.cfai.classify({"lamp": ["red", "blue"], "chair": ["wood", "steel"]}, model="llava-1.5-7b-hf")
    assert set(found["path"]) <= {"lamp > red", "lamp > blue", "chair > wood", "chair > steel"}
    assert cf.last_run().event.requests == 4


def test_uncertain_rows_go_by_the_product() -> None:
    """Below the limit no column is shown, and the row is listed; another limit sends nothing."""
    texts = tickets()
    numbers = texts.cfai.classify(TREE, probabilities=True)
    limit = float(numbers["confidence"].median())
    found = texts.cfai.classify(TREE, uncertain=limit)
    report = cf.last_run()
    assert report.event.requests == 0
    assert found["path"].isna().equals(numbers["confidence"] < limit)
    assert report.uncertain["row"].tolist() == texts.index[found["path"].isna()].tolist()


def test_a_cascade_goes_down_too() -> None:
    """Answers are equal where their paths are, and each row says what answered it."""
    texts = pd.Series([f"{text} {at}" for at in range(10) for text in tickets(12)])
    found = texts.cfai.classify(TREE, model=cf.Cascade("clef-flash", "clef-omni", 0.8, 0.8))
    assert list(found) == ["label", "coarse", "path", "answered_by"]
    assert cf.last_run().certificate.kept > 30
    assert "answers are those of clef-omni" in cf.last_run().certificate.words


def test_files_and_comparisons_take_it(tmp_path: Path) -> None:
    """``enrich`` writes a column each, and ``compare`` compares them."""
    frame = tickets(6).to_frame("text")
    frame.to_parquet(tmp_path / "in.parquet")
    cf.enrich(tmp_path / "in.parquet", tmp_path / "out", {"topic": (cf.Classify(labels=TREE), "text")})
    made = pd.read_parquet(tmp_path / "out")
    assert [name for name in made if name.startswith("topic")] == [
        "topic__label", "topic__coarse", "topic__path", "topic__error",
    ]  # fmt: skip
    truth = {"path": pd.Series(["bug"] * 6, index=frame.index)}
    found = frame.cfai.compare(cf.Classify(labels=TREE), "text", models=["clef-flash", "glm-4.7-flash"], truth=truth)
    assert len(found.table) == 2


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (TREE, {"multiple": True}, ValueError, "one label at each level"),
        (TREE, {"model": "distilbert-sst-2-int8"}, cf.ModelError, "only tells negative from positive"),
        (TREE, {"model": "resnet-50"}, cf.ModelError, "1,000 labels"),
        (TREE, {"model": "glm-4.7-flash", "uncertain": 0.5}, cf.ModelError, "no probabilities"),
        ({"a": ["b"], "c": None}, {}, ValueError, "'a' holds 1 label; give two or more, or none"),
        ({"a": {}, "c": None}, {}, ValueError, "'a' holds 0 labels"),
        ({"a": {"b", "c"}, "d": None}, {}, ValueError, "give a description, a list of labels or a dict"),
        ({"a > b": None, "c": ["d", "e"]}, {}, ValueError, "stands between the labels of a path"),
        ({"a": ["x > y", "z"], "c": None}, {}, ValueError, "stands between the labels of a path"),
        ({"a": ["b", "b"], "c": None}, {}, ValueError, "given more than once"),
        ({"a": ["b", "c"]}, {}, ValueError, "at least two labels"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    labels: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """In words, before anything is sent."""
    with pytest.raises(error, match=message):
        tickets(2).cfai.classify(labels, **options)
    assert cf.ledger().empty
