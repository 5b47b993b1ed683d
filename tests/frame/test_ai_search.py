"""Texts in AI Search: what goes there, what is sent again, what is found, what is answered, and what is refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudflare
import numpy as np
import pandas as pd
import pytest
from intercept import Intercept
from starlette.requests import Request
from starlette.responses import Response

import cfai_nb as cf
from cfai_nb._engine.service_errors import AI_SEARCH, service_error
from cfai_nb.emulator import running
from cfai_nb.emulator.search_instance import Instance
from cfai_nb.frame.ai_search import to_ai_search as uploading
from cfai_nb.tasks.answer_from import AnswerFrom

TEXTS = ["refund my money please", "where is my parcel", None, "the app crashes at start", "a parcel for the refund"]


class Door(Intercept):
    """An emulator that notes each upload, and does something before it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.uploads: list[str] = []
        self.calls: list[str] = []
        self.instead: Callable[[int], Response | None] = lambda number: None

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        if "/ai-search/" not in request.url.path:
            return None, body
        self.calls.append(f"{request.method} {request.url.path.rpartition('/instances')[2]}")
        if request.method != "POST" or not request.url.path.endswith("/items"):
            return None, body
        self.uploads.append(body.partition(b'filename="')[2].partition(b'"')[0].decode())
        return self.instead(len(self.uploads)), body


@pytest.fixture
def frame() -> pd.DataFrame:
    """Five rows with ids, one without text, and a column of each type."""
    return pd.DataFrame(
        {
            "text": TEXTS, "Team": ["a", "b", "b", "a", "b"], "year": [2020, 2021, 2022, 2023, 2024],
            "day": pd.to_datetime(["2024-05-01", "2024-05-02", "2024-05-03", "2024-05-04", None]),
            "open": [True, False, True, False, True],
        },
        index=[f"t{at}" for at in range(5)],
    )  # fmt: skip


def write(frame: pd.DataFrame, **options: Any) -> Any:
    return frame.cfai.to_ai_search("docs", "text", **{"create": True, "wait": 5, **options})


# -- writing ---------------------------------------------------------------------------------------------------------


def test_only_what_is_new_or_changed_is_sent(door: Door, frame: pd.DataFrame) -> None:
    """A second call sends nothing, a changed text or metadata replaces its document, refresh sends all."""
    made = write(frame, metadata=["Team"])
    assert (made.sent, made.skipped, made.missing, made.visible) == (4, 0, 1, True)
    assert repr(made) == "AI Search instance 'docs' (emulator): 4 documents sent · 1 without a document · visible"
    assert sorted(door.uploads) == ["t0.txt", "t1.txt", "t3.txt", "t4.txt"]
    assert (write(frame, metadata=["Team"]).sent, len(door.uploads)) == (0, 4)
    frame.loc["t1", "text"], frame.loc["t3", "Team"] = "another parcel", "c"
    assert (write(frame, metadata=["Team"]).sent, set(door.uploads[4:])) == (2, {"t1.txt", "t3.txt"})
    found = frame.cfai.search("another parcel", 1, instance="docs", mode="keyword")
    assert found["passage"].tolist() == ["another parcel"]
    assert write(frame, metadata=["Team"], cache="refresh").sent == 4
    assert len(frame.cfai.search("the parcel refund app", 50, instance="docs", mode="vector")) <= 4


def test_an_instance_that_is_made_again_counts_as_empty(door: Door, frame: pd.DataFrame) -> None:
    """The digests belong to one instance, not to its name."""
    write(frame)
    door.emulator._ai_search._instances.clear()
    assert write(frame).sent == 4


def test_stop_in_the_middle(door: Door, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service acknowledged is kept; the same call sends the rest."""
    jobs: list[Any] = []
    plain = uploading.Documents._work

    async def seen(self: Any, job: Any) -> None:
        jobs.append(job)
        await plain(self, job)

    def stop(number: int) -> None:
        if number == 2:
            jobs[-1].stop()

    monkeypatch.setattr(uploading.Documents, "_work", seen)
    frame = pd.DataFrame({"text": [f"text number {at}" for at in range(40)]})
    door.instead = stop
    with pytest.raises(cf.Stopped, match=r"of 40 documents are in the instance 'docs'; .* sends only the rest"):
        write(frame)
    first, door.instead = len(door.uploads), lambda number: None
    assert 2 <= first < 40
    assert write(frame).sent == 40 - first
    assert len(set(door.uploads)) == len(door.uploads) == 40


def test_a_lost_answer_is_no_second_document(door: Door, frame: pd.DataFrame) -> None:
    """An upload that arrived, and whose answer was lost, is repeated; there is one document."""
    kept: list[bool] = []
    plain = door.emulator._ai_search._upload

    def lost(*given: Any) -> Any:
        made = plain(*given)
        kept.append(True)
        return Response(b"", 503) if len(kept) == 1 else made

    door.emulator._ai_search._upload = lost
    door.emulator._router.routes[:] = door.emulator._routes()
    assert write(frame).sent == 4
    assert len(kept) == 5
    (there,) = door.emulator._ai_search._instances.values()
    assert sorted(item.key for item in there.items.values()) == ["t0.txt", "t1.txt", "t3.txt", "t4.txt"]


def test_what_could_not_be_indexed_is_said_and_sent_again(
    door: Door, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document with an error is in ``failed``, with a warning, and the same call sends it again."""
    plain = Instance.index

    def index(self: Instance, item: Any) -> None:
        plain(self, item)
        if item.key == "t3.txt":
            item.status, item.error = "error", "could_not_embed"

    monkeypatch.setattr(Instance, "index", index)
    with pytest.warns(cf.CfaiWarning, match="could not index 1 documents, such as 't3': could_not_embed"):
        made = write(frame)
    assert (made.failed, "1 NOT INDEXED" in repr(made)) == ({"t3": "could_not_embed"}, True)
    monkeypatch.setattr(Instance, "index", plain)
    again = write(frame)
    assert (again.sent, again.failed) == (1, {})


def test_waiting_has_an_end(tmp_path: Path, frame: pd.DataFrame) -> None:
    """After ``wait=`` seconds it says that nothing is lost."""
    with (
        cf.connect(Intercepting(vectorize_delay=10**9), store=tmp_path / "s.sqlite"),
        pytest.raises(cf.Unavailable, match=r"not indexed after 0\.1 s\. Nothing is lost"),
    ):
        write(frame, wait=0.1)


class Intercepting(Intercept):
    """An emulator as it is."""

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        return None, body


def test_a_schema_grows_and_keeps_its_types(door: Door, frame: pd.DataFrame) -> None:
    """A column that is to be filterable is added to the fields there are; another type is refused."""
    write(frame, filterable=["Team"])
    write(frame, filterable=["year", "day", "open"])
    (there,) = door.emulator._ai_search._instances.values()
    assert there.fields == {"team": "text", "year": "number", "day": "datetime", "open": "boolean"}
    frame["year"] = "2020"
    with pytest.raises(ValueError, match="'year' holds text and the instance 'docs' filters it as number"):
        write(frame, filterable=["year"])
    frame["more"], frame["most"] = 1, 2
    with pytest.raises(ValueError, match="can be filtered by 5 properties; 'docs' has team, year, day, open"):
        write(frame, filterable=["more", "most"])


@pytest.mark.parametrize(
    ("change", "options", "error"),
    [
        ({"text": "x" * (4 * 2**20 + 1)}, {}, r"row 't0': its text has 4,194,305 bytes"),
        ({"id": "x" * 125}, {"id": "id"}, "its id in column 'id' has 125 characters, and AI Search takes 124"),
        ({"id": 'a"b'}, {"id": "id"}, "its id in column 'id' holds '\"', which the key of a document cannot"),
        ({"more": [["a"]]}, {"metadata": ["more"]}, "row 't0', column 'more': AI Search takes no lists in metadata"),
        ({"more": "x" * 501}, {"metadata": ["more"]}, "the text has 501 characters, and AI Search cuts one at 500"),
        ({"Folder": 1}, {"metadata": ["Folder"]}, "AI Search has a property 'folder' of its own"),
        ({"team": 1, "Team": 1}, {"metadata": ["team", "Team"]}, "'team' and 'Team' would both be the property 'team'"),
        (dict.fromkeys("abcdef", 1), {"filterable": list("abcdef")}, "can be filtered by 5 properties, not 6"),
        ({"text": None}, {}, "no row has a text"),
        ({}, {"create": "cosine"}, "create='cosine': give True or False"),
        ({}, {"wait": -1}, "wait=-1: give True, or seconds"),
        ({}, {"namespace": "No"}, "namespace='No': give a name of AI Search"),
        ({}, {"cache": "only"}, "to_ai_search does nothing else"),
    ],
)  # fmt: skip
def test_what_the_service_would_refuse_is_not_sent(
    door: Door, change: dict[str, Any], options: dict[str, Any], error: str
) -> None:
    """Sizes, ids, metadata and options are checked before the first request, and the row is named."""
    cells = {"text": "a text", **change}
    frame = pd.DataFrame({name: cell if isinstance(cell, list) else [cell] for name, cell in cells.items()}, ["t0"])
    with pytest.raises(ValueError, match=error):
        write(frame, **options)
    assert door.calls == []


def test_an_unknown_instance_and_a_missing_permission(tmp_path: Path, door: Door, frame: pd.DataFrame) -> None:
    """The message says what to do."""
    with pytest.raises(
        cf.AccessError, match=r"7002: ai_search_not_found -- this instance does not exist; to_ai_search"
    ):
        write(frame, create=False)
    with pytest.raises(cf.AccessError, match="7063: namespace_not_found"):
        write(frame, namespace="other")
    with (
        cf.connect(Intercepting(quirks={"no-ai-search"}), store=tmp_path / "other.sqlite"),
        pytest.raises(cf.AccessError, match="the token also needs the permissions AI Search: Edit and Run"),
    ):
        frame.cfai.search("x", instance="docs")


# -- searching -------------------------------------------------------------------------------------------------------


def test_what_is_found_becomes_rows_again(door: Door, frame: pd.DataFrame) -> None:
    """Rows of the frame in the order of the scores, with the passage; filters by every type, in any case."""
    write(frame, filterable=["Team", "year", "day", "open"])
    found = frame.cfai.search("refund parcel", 2, instance="docs", mode="keyword")
    assert found.index.tolist() == ["t4"]
    assert found.columns.tolist() == [*frame.columns, "passage", "id", "score"]
    assert found["Team"].tolist() == ["b"]
    for by in ({"Team": "b"}, {"year": {"$gte": 2021}, "open": {"$ne": True}}, {"day": dt.date(2024, 5, 2)}):
        some = frame.cfai.search("parcel", instance="docs", filter=by)
        assert set(some.index) <= {"t1", "t3", "t4"}
        assert "t1" in some.index
    several = frame.cfai.search(["parcel", "crashes"], 1, instance="docs", mode="keyword")
    assert several["query"].tolist() == ["parcel", "crashes"]
    bare = frame.cfai.search("parcel", 1, instance="docs", join=False, metadata=False)
    assert bare.columns.tolist() == ["passage", "id", "score"]
    elsewhere = frame.iloc[:1].cfai.search("crashes", 1, instance="docs", mode="keyword")
    assert elsewhere.index.tolist() == ["t3"]
    assert elsewhere["Team"].tolist() == ["a"]
    assert asyncio.run(frame.cfai.search.aio("crashes", 1, instance="docs", mode="keyword"))["id"].tolist() == ["t3"]


def test_after_a_refusal_no_other_question_is_sent(door: Door) -> None:
    """Of many questions those in flight are awaited, and the error is raised."""
    with pytest.raises(cf.AccessError):
        pd.DataFrame().cfai.search([f"question {at}" for at in range(60)], instance="none")
    assert len(door.calls) < 30


@pytest.mark.parametrize(
    ("query", "options", "error"),
    [
        ("x", {"index": "i"}, "index= is for Vectorize and instance= for AI Search"),
        ("x", {"instance": None, "mode": "hybrid"}, "mode= is for an instance of AI Search"),
        ("x", {"mode": "fuzzy"}, "mode='fuzzy': give one of vector, keyword, hybrid"),
        ("x", {"top_k": 51}, "returns 1 to 50 passages"),
        ("x", {"on": "text"}, "makes the vectors of texts and queries itself"),
        ("x", {"filter": {"none": 1}}, "7058: invalid_metadata_filter: 'none' is not a field"),
        (np.ones(3), {}, "searched with a text"),
        ([], {}, None),
        (["x", " "], {}, "query 1: an instance of AI Search is searched with a text"),
    ],
)
def test_searches_that_are_refused(
    door: Door, frame: pd.DataFrame, query: Any, options: dict[str, Any], error: str | None
) -> None:
    """What does not fit together is refused, in words; a list without queries finds nothing."""
    write(frame)
    options = {"instance": "docs", **options}
    if error is None:
        assert len(frame.cfai.search(query, **options)) == 0
        return
    with pytest.raises((ValueError, cf.Refused), match=error):
        frame.cfai.search(query, **options)


def test_options_without_an_effect_are_refused(door: Door, frame: pd.DataFrame) -> None:
    """model= would do nothing where the instance has its own."""
    for call in (
        lambda: write(frame, model="bge-m3"),
        lambda: frame.cfai.search("x", instance="docs", model="bge-m3"),
        lambda: frame["text"].cfai.answer(instance="docs", model="bge-m3"),
        lambda: frame["text"].cfai.answer(instance="docs", gateway="g"),
    ):
        with pytest.raises(TypeError, match="would have no effect"):
            call()


# -- answering -------------------------------------------------------------------------------------------------------


def test_answers_have_sources(door: Door, frame: pd.DataFrame) -> None:
    """On the index of the questions; a missing question is missing, and without a passage there is no answer."""
    write(frame, filterable=["Team"])
    asked = pd.DataFrame({"q": ["where is the parcel", None, "zebra"]}, index=["one", "two", "three"])
    made = asked.cfai.answer("q", instance="docs", mode="keyword", top_k=2)
    assert made.index.tolist() == ["one", "two", "three"]
    assert made["answer"].notna().tolist() == [True, False, False]
    assert made.loc["one", "answer"].startswith("[emulator]")
    (best, *_) = made.loc["one", "sources"]
    assert (best["id"], best["metadata"], set(best)) == ("t1", {"team": "b"}, {"id", "score", "text", "metadata"})
    assert made.loc["three", "sources"] == []
    some = asked["q"].head(1).cfai.answer(instance="docs", mode="keyword", filter={"Team": "a"})
    assert some["sources"].tolist() == [[]]
    assert len(asyncio.run(asked.cfai.answer.aio("q: {q}", instance="docs"))) == 3


def test_answers_are_kept_until_the_instance_changes(door: Door, frame: pd.DataFrame) -> None:
    """The same question costs once; after a new document it is asked again.  A plan sends nothing."""
    write(frame)
    asked = pd.Series(["where is my parcel", "where is my parcel"])
    door.calls.clear()
    assert "2 rows, 1 distinct" in str(asked.cfai.answer.plan(instance="docs"))
    assert door.calls == []
    first = asked.cfai.answer(instance="docs")
    assert "1 request" in repr(cf.last_run())
    assert asked.cfai.answer(instance="docs").equals(first)
    assert "0 requests" in repr(cf.last_run())
    frame.loc["t2", "text"] = "my parcel is lost"
    write(frame)
    asked.cfai.answer(instance="docs")
    assert "1 request" in repr(cf.last_run())
    with pytest.raises(cf.BudgetError, match="price"):
        pd.Series(["new"]).cfai.answer(instance="docs", budget=1.0)


@pytest.mark.parametrize(
    ("body", "cell"),
    [
        ({"choices": [{"message": {"content": " yes "}}], "chunks": [1]}, None),
        ({"choices": [{"message": {"content": ""}}], "chunks": []}, {"answer": None, "sources": []}),
        ({"choices": [], "chunks": []}, {"answer": None, "sources": []}),
        ({"choices": [{"message": {"content": None}}], "chunks": []}, {"answer": None, "sources": []}),
        ({"choices": [{"message": {"content": 3}}], "chunks": []}, None),
        ({"choices": []}, None),
        ([], None),
    ],
)
def test_answers_are_read_carefully(body: Any, cell: Any) -> None:
    """What is not the documented form is an error of the row."""
    task = AnswerFrom(instance="docs", as_of="today")
    answer = cf.Answer(json.dumps(body).encode())
    if cell is None:
        with pytest.raises(cf.AnswerError):
            task.parse(answer, ["x"], AnswerFrom.default_model)  # type: ignore[arg-type]
    else:
        assert task.parse(answer, ["x"], AnswerFrom.default_model) == [cell]  # type: ignore[arg-type]


def test_passages_without_an_answer_are_an_error() -> None:
    """A model that says nothing about what was found has not answered."""
    chunk = b'{"id": "1", "type": "text", "score": 0.5, "text": "a", "item": {"key": "t.txt"}}'
    body = b'{"choices": [{"message": {"content": " "}}], "chunks": [' + chunk + b"]}"
    with pytest.raises(cf.AnswerError, match="1 passages were found, and the answer is empty"):
        AnswerFrom(instance="docs", as_of="today").parse(cf.Answer(body), ["x"], AnswerFrom.default_model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, 7002, cf.AccessError), (409, 7042, cf.Refused), (413, 7054, cf.TooLarge), (429, 7069, cf.QuotaExhausted),
        (400, 7058, cf.Refused), (400, 7030, cf.Unavailable), (500, 7001, cf.Unavailable), (405, 7001, cf.AccessError),
        (503, 7017, cf.Unavailable), (401, 10000, cf.AccessError), (429, 2003, cf.RateLimited),
    ],
)  # fmt: skip
def test_codes_of_ai_search(status: int, code: int, kind: type[Exception]) -> None:
    """A code means what AI Search documents; 7001 is an internal error with a 5xx, and a wrong method else."""
    body = b'{"success": false, "errors": [{"code": %d, "message": "why"}], "result": {}}' % code
    assert type(service_error(status, {}, body, "AI Search instance 'docs'", AI_SEARCH)) is kind


@pytest.mark.slow
def test_the_official_client_sees_the_same_stores(tmp_path: Path, frame: pd.DataFrame) -> None:
    """What the verbs wrote the service's own client reads, and what it wrote the verbs find: documents and vectors."""
    account = "a" * 32
    credentials: Any = {"account_id": account, "api_token": "x" * 40, "store": tmp_path / "s.sqlite"}
    with (
        running(rate=None) as there,
        cf.connect(base_url=there.url, **credentials),
        cloudflare.Cloudflare(api_token="x" * 40, base_url=there.url, max_retries=0) as client,
    ):
        write(frame, filterable=["Team"])
        where: Any = {"account_id": account, "name": "default"}
        instances = client.aisearch.namespaces.instances
        assert {item.key for item in instances.items.list("docs", **where)} == {f"t{at}.txt" for at in (0, 1, 3, 4)}
        file: Any = {"file": ("guide.md", b"The zebra returns.", "text/markdown"), "wait_for_completion": True}
        instances.items.upload("docs", **where, file=file)
        found = frame.cfai.search("zebra", 1, instance="docs", mode="keyword")
        assert found.index.tolist() == ["guide.md"]
        made = instances.search(
            "docs", **where, query="crashes", aisearch_options={"retrieval": {"filters": {"team": "a"}}}
        )
        assert made.chunks[0].text == TEXTS[3]

        frame["vec"] = frame.cfai.embed("text", model="bge-small-en-v1.5")
        frame.cfai.to_vectorize("vecs", "vec", filterable=["Team"], create=True, wait=True)
        indexes = client.vectorize.indexes
        vector = frame["vec"].iloc[1].tolist()
        matches = indexes.query("vecs", account_id=account, vector=vector, top_k=1, return_metadata="all").matches
        assert [(match.id, match.metadata) for match in matches] == [("t1", {"Team": "b"})]
        own = json.dumps({"id": "own", "values": [-value for value in vector]})
        indexes.upsert("vecs", account_id=account, body=own)
        indexes.info("vecs", account_id=account)
        best = frame.cfai.search(np.negative(frame["vec"].iloc[1]), 1, index="vecs")
        assert best.index.tolist() == ["own"]
