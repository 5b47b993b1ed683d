"""Embeddings: dialects, widths, spaces, limits."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

BASE = "@cf/baai/bge-base-en-v1.5"
M3 = "@cf/baai/bge-m3"
QWEN = "@cf/qwen/qwen3-embedding-0.6b"
GEMMA = "@cf/google/embeddinggemma-300m"
PLAMO = "@cf/pfnet/plamo-embedding-1b"

NEAR = ["The invoice was paid twice.", "My invoice was paid two times.", "Penguins live in Antarctica."]


def matrix(result: Any) -> Any:
    """Return the vectors of a result, their shape checked."""
    found = np.array(result["data"])
    assert list(found.shape) == result["shape"]
    return found


@pytest.mark.parametrize(
    ("model", "width"),
    [
        ("@cf/baai/bge-small-en-v1.5", 384),
        (BASE, 768),
        ("@cf/baai/bge-large-en-v1.5", 1024),
        (M3, 1024),
        (QWEN, 1024),
        (GEMMA, 768),
        (PLAMO, 2048),
    ],
)
def test_vectors_are_unit_lexical_and_of_the_catalogue_width(door: Any, model: str, width: int) -> None:
    """Every embedding model gives unit vectors of its width, in which shared wording means nearness."""
    found = matrix(door().result(model, {"text": NEAR}))
    assert found.shape == (3, width)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    near = found @ found.T
    assert near[0, 1] > near[0, 2] + 0.2


def test_the_same_text_gives_the_same_vector_in_any_batch(door: Any) -> None:
    """A vector depends on its text alone, not on the batch or the emulator."""
    alone = matrix(door().result(BASE, {"text": NEAR[0]}))
    together = matrix(door().result(BASE, {"text": [*NEAR[1:], NEAR[0]]}))
    assert (alone[0] == together[2]).all()


def test_pooling_changes_the_space(door: Any) -> None:
    """cls and mean vectors of one text do not compare, and the answer says which they are."""
    here = door()
    mean, cls = (here.result(BASE, {"text": NEAR, "pooling": kind}) for kind in ("mean", "cls"))
    assert (mean["pooling"], cls["pooling"]) == ("mean", "cls")
    assert abs(float(matrix(mean)[0] @ matrix(cls)[0])) < 0.3
    assert matrix(here.result(BASE, {"text": NEAR})).tolist() == matrix(mean).tolist()


def test_models_of_one_width_do_not_share_a_space(door: Any) -> None:
    """bge-m3 and qwen3 vectors of the same text have nothing in common."""
    here = door()
    one, two = (matrix(here.result(model, {"text": NEAR}))[0] for model in (M3, QWEN))
    assert abs(float(one @ two)) < 0.3


def test_bge_m3_has_three_modes(door: Any) -> None:
    """Text gives data, contexts alone give response vectors, a query with contexts gives scores in order."""
    here = door()
    contexts = [{"text": text} for text in NEAR]
    alone = here.result(M3, {"contexts": contexts})
    assert alone["shape"] == [3, 1024]
    assert len(alone["response"]) == 3
    ranked = here.result(M3, {"query": "penguins of Antarctica", "contexts": contexts})["response"]
    assert ranked[0]["id"] == 2
    assert [one["score"] for one in ranked] == sorted((one["score"] for one in ranked), reverse=True)


def test_qwen_queries_differ_from_documents_but_compare(door: Any) -> None:
    """A query's vector holds its instruction too; documents and text are the same thing."""
    here = door()
    query = matrix(here.result(QWEN, {"queries": NEAR[0]}))[0]
    other = matrix(here.result(QWEN, {"queries": NEAR[0], "instruction": "Find duplicates"}))[0]
    documents = matrix(here.result(QWEN, {"documents": NEAR}))
    assert matrix(here.result(QWEN, {"text": NEAR})).tolist() == documents.tolist()
    assert 0.5 < float(query @ documents[0]) < 0.999
    assert float(query @ documents[0]) > float(query @ documents[2])
    assert not np.allclose(query, other)


def test_overlong_text_is_cut_or_refused(door: Any) -> None:
    """bge reads its 512 tokens and no more; bge-m3 refuses longer texts unless it may cut them."""
    here = door()
    long = "word " * 600
    assert (
        matrix(here.result(BASE, {"text": long})).tolist()
        == matrix(here.result(BASE, {"text": long + "and a different end"})).tolist()
    )
    longer = "word " * 50_000
    answer = here.run(M3, {"text": ["short", longer]})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 5021)
    assert here.result(M3, {"text": longer, "truncate_inputs": True})["shape"] == [1, 1024]


@pytest.mark.parametrize(("model", "most"), [(BASE, 100), (M3, 100), (GEMMA, 100), (QWEN, 32)])
def test_a_batch_has_a_limit(door: Any, model: str, most: int) -> None:
    """One text more than the limit is a 5006; the limit itself passes."""
    here = door()
    assert here.result(model, {"text": ["x"] * most})["shape"][0] == most
    answer = here.run(model, {"text": ["x"] * (most + 1)})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, 5006)


def test_a_batch_can_fail_on_its_length(door: Any) -> None:
    """With ``batch_tokens``, a batch below the count limit is refused by its estimated tokens with 3006."""
    here = door(batch_tokens=50)
    answer = here.run(BASE, {"text": ["word " * 20] * 3})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 3006)
    assert here.result(BASE, {"text": ["word " * 20]})["shape"] == [1, 768]


def test_an_empty_text_is_refused_where_the_schema_says_so(door: Any) -> None:
    """minLength 1 holds for bge; plamo publishes none and gives a unit vector."""
    here = door()
    assert here.run(BASE, {"text": [""]}).json()["errors"][0]["code"] == 5006
    assert np.allclose(np.linalg.norm(matrix(here.result(PLAMO, {"text": [""]}))), 1)


def test_an_empty_batch_is_an_empty_answer(door: Any) -> None:
    """No texts, no vectors, no error."""
    assert door().result(BASE, {"text": []}) == {"shape": [0, 768], "data": [], "pooling": "mean"}


def test_v1_embeddings_are_floats_whatever_is_asked(door: Any) -> None:
    """The OpenAI list holds floats even for base64, with tokens counted and no envelope."""
    body = {"model": BASE, "input": NEAR, "encoding_format": "base64"}
    answer = door().ask("POST", "/v1/embeddings", json=body).json()
    assert answer["object"] == "list"
    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert len(answer["data"][0]["embedding"]) == 768
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0


def test_requests_belong_into_the_queue(door: Any) -> None:
    """A batch asked for at once, and a queued call without requests, are refused with what to do."""
    here = door()
    plain = here.run(BASE, {"requests": [{"text": "x"}]}).json()["errors"][0]
    queued = here.run(BASE, {"text": "x"}, params={"queueRequest": "true"}).json()["errors"][0]
    assert (plain["code"], queued["code"]) == (5007, 5006)
    assert "?queueRequest=true" in plain["message"]
    assert "'requests'" in queued["message"]


def test_a_thousand_docstrings_take_no_more_than_seconds(door: Any) -> None:
    """Ten batches of a hundred paragraph-long texts take less than five seconds of one core."""
    text = "Return the mean of an array along an axis, with the number of degrees of freedom. " * 6
    here, start = door(), time.process_time()
    for batch in range(10):
        here.result(BASE, {"text": [f"{number + 100 * batch} {text}" for number in range(100)]})
    assert time.process_time() - start < 5
