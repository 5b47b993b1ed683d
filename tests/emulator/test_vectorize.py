"""Vectorize: indexes, writes that show later, queries with filters, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import cloudflare
import numpy as np
import pytest

from cfai_nb.emulator import Running

from .conftest import ACCOUNT

ROOT = "../vectorize/v2/indexes"
ONE = f"{ROOT}/one"


def lines(*rows: Any) -> bytes:
    """Return NDJSON."""
    return "\n".join(json.dumps(row) for row in rows).encode()


def write(here: Any, *rows: Any, how: str = "upsert", **arguments: Any) -> Any:
    """Write vectors and return the answer."""
    given = arguments or {"content": lines(*rows), "headers": {"content-type": "application/x-ndjson"}}
    return here.ask("POST", f"{ONE}/{how}", **given).json()


def query(here: Any, vector: list[float], **options: Any) -> Any:
    """Return the ids that a query finds."""
    answer = here.ask("POST", f"{ONE}/query", json={"vector": vector, **options}).json()
    return answer["errors"][0]["code"] if answer["errors"] else [match["id"] for match in answer["result"]["matches"]]


@pytest.fixture
def made(door: Any) -> Any:
    """Return a function that opens a door with an index of 2 dimensions and an index on "kind" and "n"."""

    def make(metric: str = "cosine", delay: int = 0, dimensions: int = 2) -> Any:
        here = door(vectorize_delay=delay)
        config = {"name": "one", "config": {"dimensions": dimensions, "metric": metric}}
        assert here.ask("POST", ROOT, json=config).status_code == 200
        for name, kind in (("kind", "string"), ("n", "number"), ("deep.er", "boolean")):
            body = {"propertyName": name, "indexType": kind}
            assert here.ask("POST", f"{ONE}/metadata_index/create", json=body).status_code == 200
        return here

    return make


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot-product"])
def test_scores_are_the_metrics(made: Any, metric: str) -> None:
    """Order and scores are those of numpy in float32."""
    here = made(metric, dimensions=5)
    matrix = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    asked = np.random.default_rng(1).normal(size=5).astype(np.float32)
    write(here, *({"id": str(place), "values": row.tolist()} for place, row in enumerate(matrix)))
    truth = {
        "cosine": matrix @ asked / np.linalg.norm(matrix, axis=1) / np.linalg.norm(asked),
        "euclidean": np.linalg.norm(matrix - asked, axis=1),
        "dot-product": matrix @ asked,
    }[metric]
    order = np.argsort(truth if metric == "euclidean" else -truth)[:4]
    body = {"vector": asked.tolist(), "topK": 4}
    result = here.ask("POST", f"{ONE}/query", json=body).json()["result"]
    assert [match["id"] for match in result["matches"]] == [str(place) for place in order]
    assert [match["score"] for match in result["matches"]] == pytest.approx(truth[order].tolist(), abs=1e-5)


FILTERS = [
    ({"kind": "a"}, "02"),
    ({"kind": {"$eq": "b"}}, "1"),
    ({"kind": {"$ne": "a"}}, "1"),
    ({"kind": {"$in": ["a", "c"]}}, "02"),
    ({"kind": {"$nin": ["a"]}}, "1"),
    ({"n": {"$lt": 1}}, "0"),
    ({"n": {"$lte": 1}}, "01"),
    ({"n": {"$gt": 1}}, "2"),
    ({"n": {"$gte": 1, "$lt": 2}}, "1"),
    ({"kind": "a", "n": {"$gt": 0}}, "2"),
    ({"deep.er": True}, "0"),
    ({"unindexed": 1}, ""),
    ({"kind": {"$like": "a"}}, 40026),
    ({}, 40026),
]


@pytest.mark.parametrize(("wanted", "ids"), FILTERS)
def test_filters_see_what_was_indexed(made: Any, wanted: Any, ids: Any) -> None:
    """Each operator; a property without an index before the write is not seen."""
    here = made()
    rows = [{"kind": "aba"[n], "n": n, "unindexed": 1, "deep": {"er": True} if n == 0 else {}} for n in range(3)]
    write(here, *({"id": str(n), "values": [1, n], "metadata": row} for n, row in enumerate(rows)))
    write(here, {"id": "3", "values": [1, 3]})
    here.ask("POST", f"{ONE}/metadata_index/create", json={"propertyName": "unindexed", "indexType": "number"})
    found = query(here, [1, 0], filter=wanted)
    assert found == ids if isinstance(ids, int) else sorted(found) == list(ids)


def test_writes_show_later_and_in_order(made: Any) -> None:
    """Until their mutation is processed, writes are not there; info says how far it got."""
    here = made(delay=2)
    number = write(here, {"id": "a", "values": [1, 0]})["result"]["mutationId"]
    seen = [here.ask("GET", f"{ONE}/info").json()["result"] for _ in range(3)]
    assert [info["vectorCount"] for info in seen] == [0, 0, 1]
    assert [info["processedUpToMutation"] == number for info in seen] == [False, False, True]


def test_insert_keeps_the_first_and_upsert_the_last(made: Any) -> None:
    """Also within one call."""
    here = made()
    two = [{"id": "a", "values": [1, 0]}, {"id": "a", "values": [0, 1]}]
    values = []
    for how in ("insert", "upsert", "insert"):
        write(here, *two, how=how)
        values.append(here.ask("POST", f"{ONE}/get_by_ids", json={"ids": ["a", "b"]}).json()["result"][0]["values"])
    assert values == [[1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    "given",
    [
        {"files": {"vectors": ("v.ndjson", lines({"id": "a", "values": [1, 0]}))}},
        {"content": lines({"id": "a", "values": [1, 0]}), "headers": {"content-type": "application/x-ndjson"}},
        {"json": lines({"id": "a", "values": [1, 0]}).decode()},
    ],
)
def test_the_forms_of_a_write(made: Any, given: dict[str, Any]) -> None:
    """A multipart file, NDJSON, and the JSON string that the public Python client makes of it."""
    here = made()
    assert write(here, **given)["success"]
    assert query(here, [1, 0]) == ["a"]
    broken = {"content": b'"{', "headers": {"content-type": "application/json"}}
    assert write(here, **broken)["errors"][0]["code"] == 40026


def row(**more: Any) -> dict[str, Any]:
    """Return a good vector with something else."""
    return {"id": "a", "values": [1, 0], **more}


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row(id="ä" * 33)], 40008),
        ([row(id="a" * 64)], 0),
        ([row(namespace="n" * 65)], 40008),
        ([row(values=[1])], 40012),
        ([row(values=["x", 1])], 40023),
        ([row(metadata={"a.b": 1})], 40018),
        ([row(metadata={"$a": 1})], 40018),
        ([row(metadata={"": 1})], 40018),
        ([row(metadata={"a": "x" * 10_240})], 40023),
        ([row(metadata=[1])], 40023),
        ([{"values": [1, 0]}], 40023),
        ([row(id="\ud800")], 40023),
        ([row(values=json.loads("[" * 900 + "]" * 900))], 40023),
        ([row(id=str(n)) for n in range(5001)], 40026),
    ],
)
def test_what_a_write_refuses(made: Any, rows: list[Any], code: int) -> None:
    """One wrong vector refuses the whole call."""
    answer = write(made(), *rows)
    assert (answer["errors"][0]["code"] if answer["errors"] else 0) == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"topK": 101}, 40025),
        ({"topK": 51, "returnValues": True}, 40025),
        ({"topK": 51, "returnMetadata": "all"}, 40025),
        ({"topK": 100, "returnMetadata": "indexed"}, []),
        ({"topK": 0}, 40026),
        ({"returnMetadata": True}, 40026),
        ({"vector": [1]}, 40006),
        ({"vector": "x"}, 40026),
    ],
)
def test_what_a_query_refuses(made: Any, options: dict[str, Any], code: Any) -> None:
    """The limits of topK, and vectors of another space."""
    assert query(made(), **{"vector": [1, 0], **options}) == code


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", ROOT, {"name": "one", "config": {"dimensions": 2, "metric": "cosine"}}, 3002),
        ("POST", ROOT, {"name": "two", "config": {"dimensions": 1537, "metric": "cosine"}}, 40026),
        ("POST", ROOT, {"name": "two", "config": {"dimensions": 2, "metric": "hamming"}}, 40026),
        ("POST", ROOT, {"name": "two", "config": {"preset": "@cf/baai/bge-base-en-v1.5"}}, 0),
        ("GET", f"{ROOT}/two", None, 3000),
        ("GET", f"{ONE}/list?count=0", None, 40026),
        ("GET", f"{ONE}/list?cursor=²", None, 40026),
        ("POST", f"{ONE}/get_by_ids", {"ids": ["a"] * 21}, 40007),
        ("POST", f"{ONE}/delete_by_ids", {"ids": ["a"] * 101}, 40007),
        ("POST", f"{ONE}/metadata_index/delete", {"propertyName": "none"}, 40005),
        ("POST", f"{ONE}/upsert", [row()], 40026),
        ("PUT", ONE, None, 7001),
    ],
)
def test_what_an_index_refuses(made: Any, method: str, path: str, body: Any, code: int) -> None:
    """Codes are those that were observed on the service."""
    answer = made().ask(method, path, json=body).json()
    assert (answer["errors"][0]["code"] if answer["errors"] else 0) == code


def test_the_public_client_works_unchanged(service: Running) -> None:
    """Create, index metadata, upsert, wait, query, page, delete: by the paths and types of ``cloudflare``."""
    with cloudflare.Cloudflare(api_token="x" * 40, base_url=service.url, max_retries=0) as client:
        indexes: Any = client.vectorize.indexes
        indexes.create(account_id=ACCOUNT, name="python", config={"dimensions": 2, "metric": "cosine"})
        indexes.metadata_index.create("python", account_id=ACCOUNT, index_type="string", property_name="kind")
        rows = [{"id": str(n), "values": [1, n], "metadata": {"kind": "ab"[n % 2]}, "namespace": "s"} for n in range(5)]
        number = indexes.upsert("python", account_id=ACCOUNT, body=lines(*rows).decode()).mutation_id
        while indexes.info("python", account_id=ACCOUNT).processed_up_to_mutation != number:
            pass
        found = indexes.query(
            "python", account_id=ACCOUNT, vector=[1, 4], filter={"kind": "a"}, return_metadata="all", return_values=True
        )
        best = found.matches[0]
        assert (best.id, best.values, best.metadata) == ("4", [1, 4], {"kind": "a"})
        page = indexes.list_vectors("python", account_id=ACCOUNT, count=3)
        assert (page.count, page.total_count, page.is_truncated, page.next_cursor) == (3, 5, True, "3")
        indexes.delete_by_ids("python", account_id=ACCOUNT, ids=["0"])
        assert [one["id"] for one in indexes.get_by_ids("python", account_id=ACCOUNT, ids=["1", "9"])] == ["1"]
        assert len(indexes.metadata_index.list("python", account_id=ACCOUNT).metadata_indexes) == 1
        indexes.delete("python", account_id=ACCOUNT)
        assert "python" not in [index.name for index in indexes.list(account_id=ACCOUNT)]
