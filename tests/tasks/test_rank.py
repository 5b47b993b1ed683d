"""Rank: the rows of a frame by how well they answer a query."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import find
from cfai_nb.tasks import Answer, Rank

FRAME = pd.DataFrame(
    {
        "text": ["The parcel is late", "refund my invoice", None, "a refund for it, please", "refund my invoice"],
        "n": range(5),
    },
    index=list("abcde"),
)
QUERY = "refund invoice"


def test_the_rows_come_best_first(emulator: Emulator) -> None:
    """All columns and the index, a column of scores, equal scores in the frame's order, a missing row last."""
    before = FRAME.copy()
    ranked = FRAME.cfai.rank("text", QUERY)
    assert list(ranked) == ["text", "n", "score"]
    assert ranked.index.tolist()[-2:] == ["a", "c"]
    assert ranked["score"].dropna().is_monotonic_decreasing
    assert [label for label in ranked.index if label in "be"] == ["b", "e"]
    assert ranked["score"].isna().tolist() == [False] * 4 + [True]
    assert ranked["n"].equals(FRAME["n"].loc[ranked.index])
    pd.testing.assert_frame_equal(FRAME, before)
    assert emulator.requests == 1


def test_the_forms_agree_and_a_smaller_number_sends_nothing(emulator: Emulator) -> None:
    """.aio, cf.on, top_k and another name of the column come out of the store; a Series becomes a frame."""
    ranked = FRAME.cfai.rank("text", QUERY)
    pd.testing.assert_frame_equal(asyncio.run(FRAME.cfai.rank.aio("text", QUERY)), ranked)
    pd.testing.assert_frame_equal(cf.on(FRAME).rank("text", query=QUERY, top_k=2), ranked.head(2))
    renamed = FRAME.cfai.rank("text", QUERY, column="n2")
    assert list(renamed) == ["text", "n", "n2"]
    assert list(FRAME["text"].cfai.rank(QUERY)) == ["text", "score"]
    assert list(FRAME["text"].rename(None).cfai.rank(QUERY)) == ["value", "score"]
    assert FRAME.cfai.run(Rank(query=QUERY), on="text").index.equals(FRAME.index)
    assert FRAME.cfai.rank.plan("text", QUERY).estimate.requests == 0
    assert emulator.requests == 1


def test_rows_that_fail_are_kept() -> None:
    """They stand at the end without a score; top_k counts scored rows and keeps the failed ones, not the empty ones."""
    failing = Emulator(rate=None, faults=lambda number, name: "5006" if number % 4 == 2 else None)
    cf.connect(failing, store=None)
    for options, scored in (({}, 3), ({"top_k": 1}, 1), ({"top_k": 9}, 3)):
        with pytest.warns(cf.CfaiWarning, match="rows failed"):
            ranked = FRAME.assign(text=["one", "two", None, "three", "four"]).cfai.rank(
                "text", QUERY, model="clef-flash", cache=False, concurrency=1, **options
            )
        missing = ranked["score"].isna()
        assert missing.tolist() == [False] * scored + [True] * (1 + (not options))
        assert ranked["text"][missing].isna().sum() == (not options)


def test_duplicated_labels_and_columns_of_that_name(emulator: Emulator) -> None:
    """Rows are meant by position, and no column of the frame is written over."""
    doubled = FRAME.set_axis(["x"] * 5)
    assert doubled.cfai.rank("text", QUERY)["n"].tolist() == FRAME.cfai.rank("text", QUERY)["n"].tolist()
    sent = emulator.requests
    with pytest.raises(cf.ColumnError, match="column="):
        FRAME.assign(score=1).cfai.rank("text", "another")
    assert emulator.requests == sent


@pytest.mark.parametrize("model", ["bge-m3", "clef-flash", "glm-4.7-flash"])
def test_other_models_stand_in(emulator: Emulator, model: str) -> None:
    """bge-m3 scores as a reranker does; a decision or chat model places each row on a scale from 0 to 1."""
    ranked = FRAME.cfai.rank("text", QUERY, model=model)
    assert len(ranked) == 5
    assert ranked["score"].dropna().between(0, 1).all()
    assert emulator.requests == (1 if model == "bge-m3" else 3)


def test_many_rows_are_few_requests(emulator: Emulator) -> None:
    """A reranker reads 32 texts a request, and each row gets its own score wherever it was sent."""
    texts = pd.Series([f"text number {at}" for at in range(70)])
    ranked = texts.cfai.rank("number 41")
    assert emulator.requests == 3
    assert ranked.index[0] == 41
    alone = texts.iloc[[41]].cfai.rank("number 41", cache=False)
    assert alone["score"].iloc[0] == ranked["score"].iloc[0]


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ([{"id": 0, "score": 1.0}], "mismatch"), ([{"id": 0, "score": 1}, {"id": 2, "score": 1}], "mismatch"),
        ([{"id": 0, "score": 1}, {"id": 0, "score": 1}], "mismatch"), ([{"id": 0}], "broken"), (None, "broken"),
        ([{"id": 0, "score": 1}, {"id": 1, "score": None}], "broken"),
    ],
)  # fmt: skip
def test_scores_that_are_not_there_are_asked_for_again(response: Any, code: str) -> None:
    """Every text has its score by its number, or the answer is none."""
    with pytest.raises(cf.AnswerError) as caught:
        Rank(query="x").parse(
            Answer(json.dumps({"response": response}).encode()), ["a", "b"], find("bge-reranker-base")
        )
    assert caught.value.code == code
    assert caught.value.reaction == "again"


@pytest.mark.parametrize(
    ("options", "words"), [({"query": " "}, "query="), ({"query": "x", "top_k": 0}, "top_k="), ({"query": 3}, "query=")]
)
def test_what_ranks_nothing_is_refused(options: dict[str, Any], words: str) -> None:
    """An empty query and no rows at all are mistakes."""
    with pytest.raises(ValueError, match=words):
        Rank(**options).check(find("bge-reranker-base"))
