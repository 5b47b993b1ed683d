"""Labels as people need them: several a row, none where the model is unsure, proposed ones; and claims verified."""

from __future__ import annotations

import asyncio

import pandas as pd
import pytest
from inputs import tickets

import cfai_nb as cf

pytestmark = pytest.mark.usefixtures("emulator")

LABELS = {"billing": "charges and refunds", "shipping": "parcels", "bug": None}


def test_several_labels_a_row() -> None:
    """A list in each cell; threshold and probabilities are a matter of display, and both kinds of models do it."""
    texts = tickets()
    found = texts.cfai.classify(LABELS, multiple=True)
    requests = cf.last_run().event.requests
    assert found.map(type).eq(list).all()
    assert all(set(each) <= set(LABELS) for each in found)
    numbers = texts.cfai.classify(LABELS, multiple=True, probabilities=True, threshold=0.4)
    assert cf.last_run().event.requests == 0
    assert list(numbers) == ["label", "p__billing", "p__shipping", "p__bug"]
    for _, row in numbers.iterrows():
        assert row["label"] == [name for name in LABELS if row[f"p__{name}"] >= 0.4]
    words = texts.cfai.classify(LABELS, multiple=True, model="glm-4.7-flash")
    assert requests == len(texts)
    assert words.map(type).eq(list).all()


def test_a_label_may_have_any_name() -> None:
    """Names that a cell of one label uses are names of labels like others."""
    names = ["confidence", "label", "p"]
    found = tickets(3).cfai.classify(names, multiple=True, uncertain=0.999)
    assert found.isna().all()
    assert len(cf.last_run().uncertain) == 3
    assert tickets(3).cfai.classify(names, multiple=True, uncertain=0.0).map(type).eq(list).all()


def test_one_label_keeps_its_key() -> None:
    """That several can be asked for changes no answer in the store of those who ask for one."""
    assert "multiple" not in cf.Classify(labels=LABELS).key_fields()
    assert cf.Classify(labels=LABELS, multiple=True).key_fields()["multiple"] is True


@pytest.mark.parametrize("multiple", [False, True])
def test_uncertain_rows_are_missing_and_listed(multiple: bool) -> None:
    """Below the limit an answer is not shown, but listed with its row; another limit sends nothing."""
    texts = tickets()
    sure = texts.cfai.classify(LABELS, multiple=multiple)
    found = texts.cfai.classify(LABELS, multiple=multiple, uncertain=0.7)
    report = cf.last_run()
    assert report.event.requests == 0
    assert 0 < found.isna().sum() < len(texts)
    assert report.uncertain["row"].tolist() == texts.index[found.isna()].tolist()
    assert f"{found.isna().sum()} uncertain" in report.receipt
    assert found.dropna().tolist() == sure[found.notna()].tolist()
    assert report.failures.empty


def test_what_cannot_be_labelled_so_is_refused() -> None:
    """Limits that are not probabilities, models without them, and too many labels."""
    texts = tickets(2)
    with pytest.raises(ValueError, match="uncertain=2: a probability lies between 0 and 1"):
        texts.cfai.classify(LABELS, uncertain=2)
    with pytest.raises(cf.ModelError, match="no probabilities"):
        texts.cfai.classify(LABELS, uncertain=0.5, model="glm-4.7-flash")
    with pytest.raises(cf.ModelError, match="2 to 64 labels"):
        texts.cfai.classify([f"label {at}" for at in range(65)], multiple=True)


def test_several_labels_by_a_cascade() -> None:
    """Answers are equal where their labels are."""
    texts = pd.Series([f"{text} {at}" for at in range(10) for text in tickets(12)])
    found = texts.cfai.classify(LABELS, multiple=True, model=cf.Cascade("clef-flash", "clef-omni", 0.8, 0.8))
    assert found.map(type).eq(list).all()
    assert cf.last_run().certificate.kept > 50


@pytest.mark.slow
def test_categories_are_proposed_and_used() -> None:
    """A dict of labels and descriptions, priced first under one budget, the same again for nothing, ready for use."""
    texts = pd.concat([tickets(60), pd.Series([None, "  "])], ignore_index=True)
    plan = texts.cfai.discover.plan(k=4)
    assert cf.ledger().empty
    assert [each.estimate.requests for each in plan.plans.values()] == [1, 1]
    found = texts.cfai.discover(k=4)
    assert len(found) == 4
    assert all(found.values())
    spent = len(cf.ledger())
    assert asyncio.run(texts.cfai.discover.aio(k=4)) == found
    assert cf.ledger()["requests"].sum() == 2
    assert spent == 2
    assert set(texts.cfai.classify(found).dropna()) <= set(found)
    with pytest.raises(ValueError, match="at least 2"):
        texts.cfai.discover(k=1)
    with pytest.raises(ValueError, match="nothing to tell apart"):
        texts[:1].cfai.discover()
    with pytest.raises(cf.BudgetError):
        texts.cfai.discover(k=3, sample=50, neurons=0.1)


def test_claims_are_held_against_their_sources() -> None:
    """A verdict a row, none where one of both is missing, in all three forms and with probabilities."""
    frame = pd.DataFrame(
        {"claim": ["The lamp is red.", "It came late.", None], "a source": ["A red lamp.", "It came on time.", "x"]},
        index=list("xyx"),
    )
    found = frame.cfai.verify("claim", "a source")
    assert list(found.cat.categories) == ["supported", "contradicted", "not mentioned"]
    assert found.isna().tolist() == [False, False, True]
    assert found.index.equals(frame.index)
    assert frame.cfai.verify.plan("claim", "a source").estimate.stored == 2
    numbers = asyncio.run(frame.cfai.verify.aio("claim", "a source", probabilities=True))
    assert numbers["verify"].equals(found.rename("verify"))
    with pytest.raises(cf.ColumnError, match="'sauce'"):
        frame.cfai.verify("claim", "sauce")
