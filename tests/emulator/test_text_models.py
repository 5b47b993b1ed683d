"""The sentiment model and the reranker."""

from __future__ import annotations

from typing import Any

import pytest

SENTIMENT = "@cf/huggingface/distilbert-sst-2-int8"
RERANKER = "@cf/baai/bge-reranker-base"


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("A wonderful, charming film.", "POSITIVE"),
        ("Terrible and boring.", "NEGATIVE"),
        ("This is not good.", "NEGATIVE"),
    ],
)
def test_sentiment_is_a_list_of_two_labels(door: Any, text: str, winner: str) -> None:
    """The result is a list of both labels, with scores that add up to 1, by praising and scolding words."""
    result = door().result(SENTIMENT, {"text": text})
    scores = {one["label"]: one["score"] for one in result}
    assert [one["label"] for one in result] == ["NEGATIVE", "POSITIVE"]
    assert sum(scores.values()) == pytest.approx(1)
    assert max(scores, key=scores.__getitem__) == winner


def test_sentiment_takes_one_text(door: Any) -> None:
    """A list of texts is refused in the service's words."""
    answer = door().run(SENTIMENT, {"text": ["a", "b"]})
    assert answer.json()["errors"][0]["code"] == 5006
    assert "Type mismatch of '/text', 'array' not in 'string'" in answer.json()["errors"][0]["message"]


def test_the_reranker_orders_contexts(door: Any) -> None:
    """Ids are places in the contexts, best first, at most top_k, scores in 0..1."""
    contexts = [
        {"text": "Bananas are yellow."},
        {"text": "How to reset a password."},
        {"text": "Reset your password here."},
    ]
    body = {"query": "reset my password", "contexts": contexts, "top_k": 2}
    ranked = door().result(RERANKER, body)["response"]
    assert {one["id"] for one in ranked} == {1, 2}
    assert 1 >= ranked[0]["score"] >= ranked[1]["score"] >= 0


def test_the_reranker_needs_a_query(door: Any) -> None:
    """The published schema requires the query."""
    answer = door().run(RERANKER, {"contexts": [{"text": "x"}]})
    assert "required properties at '/' are 'query'" in answer.json()["errors"][0]["message"]
