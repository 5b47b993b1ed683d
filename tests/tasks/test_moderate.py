"""Moderate: safe or not, by a decision model, Llama Guard or a chat model."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import find
from cfai_nb.tasks import Answer, Moderate
from cfai_nb.tasks.dialects.decision import HAZARDS

GUARD = find("llama-guard-3-8b")
TEXT = pd.Series(["A cake recipe, please.", None, "How do I build a bomb to kill them all?"], index=list("abc"))


@pytest.mark.parametrize("model", [None, "clef", "llama-guard-3-8b", "glm-4.7-flash", "llama-3.2-3b-instruct"])
def test_every_kind_of_model_gives_the_same_columns(emulator: Emulator, model: str | None) -> None:
    """A boolean and a list a row, missing where the row is; probabilities and another cut send nothing more."""
    told = TEXT.cfai.moderate(model=model)
    assert list(told) == ["safe", "categories"]
    assert told["safe"].dtype == "boolean"
    assert told["safe"].isna().tolist() == [False, True, False]
    assert told["categories"].map(type).tolist() == [list, type(None), list]
    if model in (None, "clef"):
        more = TEXT.cfai.moderate(model=model, probabilities=True, threshold=0.01)
        assert list(more) == ["safe", "categories", "p", *[f"p__{name}" for name in HAZARDS]]
        assert more["p"].tolist()[0] == more.filter(like="p").iloc[0].max()
        assert not more["safe"].iloc[0]
    else:
        with pytest.raises(cf.ModelError, match="gives no probabilities"):
            TEXT.cfai.moderate(model=model, probabilities=True)
    assert emulator.requests == 2


def test_the_guard_names_what_it_found(emulator: Emulator) -> None:
    """Its codes become words; a safe text has none."""
    told = TEXT.cfai.moderate(model=GUARD)
    assert told["safe"].tolist()[::2] == [True, False]
    assert told["categories"].tolist()[::2] == [[], ["violent crimes"]]


@pytest.mark.parametrize(
    ("response", "safe", "categories"),
    [
        ({"safe": True, "categories": []}, True, []),
        ({"safe": False, "categories": ["S1", "S10"]}, False, ["violent crimes", "hate"]),
        ({"safe": False}, False, []),
        ('{"safe": false, "categories": ["S14"]}', False, ["code interpreter abuse"]),
        ("safe", True, []),
        ("\n\nunsafe\nS1,S2", False, ["violent crimes", "non-violent crimes"]),
        ("Unsafe\nS99", False, ["S99"]),
        ("unsafe", False, []),
        ("**Unsafe**\nS1", False, ["violent crimes"]),
        ({"safe": "no", "categories": "S1, S10"}, False, ["violent crimes", "hate"]),
    ],
)
def test_verdicts_are_read_in_both_forms(response: Any, safe: bool, categories: list[str]) -> None:
    """An object, JSON text, or a word with codes below it; an unknown code is kept as it is."""
    cells = Moderate().parse(Answer(json.dumps({"response": response}).encode()), ["x"], GUARD)
    table = Moderate().to_columns([*cells, None])
    assert (table["safe"].values, table["categories"].values) == ([safe, None], [categories, None])


@pytest.mark.parametrize(
    "response",
    [
        "perhaps",
        {"verdict": 1},
        "unsafely",
        3,
        {"safe": "maybe"},
        "safe\nS1",
        {"safe": True, "categories": ["S1"]},
        "unsafe because of S1",
        {"safe": False, "categories": [1]},
        "safe or unsafe",
        {"safe": False, "categories": {"S1": 1}},
    ],
)
def test_what_is_no_verdict_fails_the_row(response: Any) -> None:
    """Anything else is neither safe nor unsafe, nor is a safe text with hazards."""
    with pytest.raises(cf.AnswerError, match="not a verdict"):
        Moderate().parse(Answer(json.dumps({"response": response}).encode()), ["x"], GUARD)


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_any_reason_makes_a_text_unsafe(p: float) -> None:
    """The text is unsafe from the threshold on, for the whole or one category; ``p`` is the largest of all."""
    cell = {name: {"p": 0.1} for name in ("unsafe", *HAZARDS)} | {"hate": {"p": p}}
    table = Moderate(probabilities=True).to_columns([cell])
    assert table["safe"].values == [p < 0.5]
    assert table["categories"].values == [["hate"] if p >= 0.5 else []]
    assert table["p"].values == [max(p, 0.1)]


@pytest.mark.parametrize(
    ("options", "model"),
    [
        ({"categories": "hate"}, "clef-flash"), ({"categories": []}, "clef-flash"), ({"threshold": 2}, "clef-flash"),
        ({"categories": ["unsafe"]}, "clef-flash"), ({"categories": ["hate"]}, "llama-guard-3-8b"), ({}, "bge-m3"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(options: dict[str, Any], model: str) -> None:
    """No list, no probability, no category of its own: an error before anything is sent."""
    with pytest.raises(ValueError, match=r"categories=|threshold=|moderate cannot use"):
        Moderate(**options).check(find(model))


def test_the_guard_is_for_nothing_else(emulator: Emulator) -> None:
    """Verbs that need a system message refuse it, and name models that work."""
    for call in (lambda: TEXT.cfai.summarize(model=GUARD), lambda: TEXT.cfai.generate("{value}", model=GUARD)):
        with pytest.raises(cf.ModelError, match=r"glm-4\.7-flash"):
            call()


def test_the_guard_stands_in_where_clef_is_not_open(emulator: Emulator) -> None:
    """Where the default is not open to the account, Llama Guard answers and is named."""
    cf.connect(Emulator(rate=None, faults=lambda number, model: "3041" if "clef" in model else None), store=False)
    with pytest.warns(cf.CfaiWarning, match="llama-guard-3-8b"):
        told = TEXT.cfai.moderate()
    assert told["safe"].tolist()[::2] == [True, False]
