"""Vectors in a store of the service: what goes there, what is sent again, what is found, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb._engine.service_errors import VECTORIZE, service_error
from cfai_nb.emulator import Emulator, running
from cfai_nb.emulator.vectorize import Mutation
from cfai_nb.frame import vectorize
from cfai_nb.frame.upload import kinds_of, plain
from cfai_nb.frame.vectorize import decimals, to_vectorize
from cfai_nb.frame.vectorize.to_vectorize import calls, lines
from cfai_nb.session.requests import RequestJob

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-the-tests-0123456789abcdef"
TEXTS = ["refund my money please", "where is my parcel", None, "a refund of my money please", "the app crashes"]


class Door:
    """An emulator that counts what comes to its indexes, and does something at each write."""

    def __init__(self, **settings: Any) -> None:
        self.emulator = Emulator(rate=None, **settings)
        self.calls: list[str] = []
        self.written: list[list[str]] = []  # ids, by call
        self.at_write: Callable[[int], Any] = lambda number: None
        self.until: Callable[[], bool] = lambda: True  # before a write is answered
        self.after_write: Callable[[], None] = lambda: None
        self.failing = 0  # writes that break before they arrive

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if "/vectorize/" not in path:
            return await self.emulator(scope, receive, send)
        self.calls.append(f"{scope['method']} {path.rpartition('/indexes')[2]}")
        if path.endswith("/upsert"):
            body, message = b"", await receive()
            while message.get("more_body"):
                body, message = body + message.get("body", b""), await receive()
            body += message.get("body", b"")
            self.at_write(len(self.written) + 1)
            while not self.until():
                await asyncio.sleep(0.005)
            if self.failing:
                self.failing -= 1
                start = {"type": "http.response.start", "status": 503, "headers": []}
                await send(start)
                return await send({"type": "http.response.body", "body": b"busy"})
            self.written.append([json.loads(line)["id"] for line in body.splitlines()])

            async def again() -> Any:
                return {"type": "http.request", "body": body, "more_body": False}

            await self.emulator(scope, again, send)
            return self.after_write()
        return await self.emulator(scope, receive, send)


@pytest.fixture
def frame(door: Door) -> pd.DataFrame:
    """Five rows with ids, one without text, their vectors, and a column of each type."""
    made = pd.DataFrame(
        {
            "text": TEXTS, "team": ["a", "b", "b", "a", None], "year": [2020, 2021, 2022, 2023, 2024],
            "day": pd.to_datetime(["2024-05-01"] * 4 + [None]), "open": [True, False, True, False, True],
        },
        index=[f"t{at}" for at in range(5)],
    )  # fmt: skip
    made["vec"] = made.cfai.embed("text")
    return made


def numbers(count: int, width: int = 4) -> pd.Series:
    matrix = np.random.default_rng(0).standard_normal((count, width)).astype(np.float32)
    return pd.Series(list(matrix))


# -- spelling --------------------------------------------------------------------------------------------------------


def test_numbers_are_spelled_short_and_exactly() -> None:
    """What is sent is read back as the same float32, and takes no more than nine digits."""
    rng = np.random.default_rng(0)
    awkward = [0, -0.0, 1, -1, 1e-7, 1e-30, 3e38, 1e-45, 0.1, 1 / 3, 123456789, 2**24 + 2]
    for matrix in (rng.standard_normal((50, 64)), rng.standard_normal((50, 64)) * 1e-3, np.array([awkward])):
        known = matrix.astype(np.float32)
        (*made,) = lines([str(at) for at in range(len(known))], known, [None] * len(known), None)
        back = np.array([json.loads(line)["values"] for line in made], dtype=np.float32)
        assert back.tobytes() == known.tobytes()
    short = decimals(rng.standard_normal((100, 100)).astype(np.float32))
    digits = [repr(value).partition("e")[0].replace(".", "").strip("-0") for value in short.ravel().tolist()]
    assert max(map(len, digits)) <= 9


def test_calls_hold_what_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call ends before its 5,001st line and before its 100,000,001st byte."""
    assert [count for count, _ in calls([b"x"] * 10_001)] == [5000, 5000, 1]
    monkeypatch.setattr(to_vectorize, "CALL_BYTES", 10)
    assert [(count, body) for count, body in calls([b"1234", b"1234", b"123456789012", b"1"])] == [
        (2, b"1234\n1234"), (1, b"123456789012"), (1, b"1"),
    ]  # fmt: skip
    assert list(calls([])) == []


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        ("a", "a"), (True, True), (np.bool_(False), False), (3, 3), (np.int64(3), 3), (np.float32(0.5), 0.5),
        (None, None), (pd.NA, None), (pd.NaT, None), (float("nan"), None), ([], []), (["a", "b"], ["a", "b"]),
        (pd.Timestamp("2024-05-01 10:00", tz="UTC"), "2024-05-01T10:00:00+00:00"), (dt.date(2024, 5, 1), "2024-05-01"),
        (np.datetime64("2024-05-01"), "2024-05-01T00:00:00"),
        (2**53 + 1, ValueError), (float("inf"), ValueError), ({"a": 1}, ValueError), ([1], ValueError),
        (b"x", ValueError), (np.zeros(2), ValueError),
    ],
)  # fmt: skip
def test_metadata_keeps_types(cell: Any, kept: Any) -> None:
    """Text, numbers, truth values and lists of texts stay; dates are ISO texts; missing is missing; no more."""
    if kept is ValueError:
        with pytest.raises(ValueError, match=r"convert|text|JSON"):
            plain(cell)
    else:
        assert plain(cell) == kept
        assert type(plain(cell)) is type(kept)


# -- writing ---------------------------------------------------------------------------------------------------------


def test_what_is_written_is_what_the_frame_holds(frame: pd.DataFrame, door: Door) -> None:
    """Ids, vectors, metadata and namespace arrive as they are, filters are made first, and rows without stay here."""
    done = frame.cfai.to_vectorize(
        "notes", "vec", metadata=["team", "day", "open"], filterable=["year", "team"], namespace="mine", create=True,
        wait=True,
    )  # fmt: skip
    assert (done.sent, done.skipped, done.missing, len(done.mutations), done.visible) == (4, 0, 1, 1, True)
    assert repr(done) == "Vectorize index 'notes' (emulator): 4 vectors sent in 1 call · 1 without a vector · visible"
    assert door.written == [["t0", "t1", "t3", "t4"]]
    order = [call for call in door.calls if call.startswith("POST") and "get_by_ids" not in call]
    assert order == ["POST ", *["POST /notes/metadata_index/create"] * 2, "POST /notes/upsert"]
    index = next(iter(door.emulator._vectorize._indexes.values()))
    assert (index.dimensions, index.metric, index.properties) == (1024, "cosine", {"year": "number", "team": "string"})
    held = index.vectors
    assert held["t0"].metadata == {"team": "a", "day": "2024-05-01T00:00:00", "open": True, "year": 2020}
    assert held["t4"].metadata == {"open": True, "year": 2024}, "what is missing is left out"
    assert held["t0"].namespace == "mine"
    assert all(held[name].values.tobytes() == np.asarray(frame["vec"][name]).tobytes() for name in held)


def test_only_what_is_new_or_changed_is_sent(frame: pd.DataFrame, door: Door) -> None:
    """The same call sends nothing; what changed, a new filter or namespace, refresh, no cache, a new index do."""
    write: Any = lambda data=frame, **more: data.cfai.to_vectorize(  # noqa: E731
        "notes", "vec", **{"metadata": ["team"], "create": True, **more}
    )
    changed = frame.copy()
    changed.loc["t1", "team"] = "c"
    steps: list[tuple[Any, int]] = [
        (lambda: write(), 4), (lambda: write(), 0), (lambda: write(changed), 1), (lambda: write(changed), 0),
        (lambda: write(), 1), (lambda: write(frame.head(2)), 0), (lambda: write(filterable=["team"]), 4),
        (lambda: write(filterable=["team"]), 0), (lambda: write(), 0), (lambda: write(namespace="n"), 4),
        (lambda: write(), 4), (lambda: write(cache="refresh"), 4), (lambda: write(cache=False), 4),
        (lambda: write(), 0),
    ]  # fmt: skip
    for place, (step, sent) in enumerate(steps):
        done = step()
        assert (place, done.sent) == (place, sent)
        assert done.sent + done.skipped in (2, 4)
    cf.session.current().ask(cf.Request(path="/vectorize/v2/indexes/notes"), "DELETE")
    assert write().sent == 4, "an index made anew is empty"


def test_stop_keeps_what_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop drains the call under way, says what is there, and the same call sends the rest."""
    door, data, asked = Door(), numbers(12_000), []
    stop = RequestJob.stop
    monkeypatch.setattr(RequestJob, "stop", lambda job: (asked.append(True), stop(job)))
    with cf.connect(door, store=tmp_path / "s.sqlite"):
        door.at_write = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == 2 else None
        door.until = lambda: bool(asked) or len(door.written) != 1
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(cf.Stopped, match=r"10,000 of 12,000 vectors .* again sends only the rest"):
            data.cfai.to_vectorize("notes", create="euclidean")
        assert signal.getsignal(signal.SIGINT) is before
        done = data.cfai.to_vectorize("notes", create="euclidean", wait=30)
    assert (done.sent, done.skipped, done.visible) == (2000, 10_000, True)
    assert [len(ids) for ids in door.written] == [5000, 5000, 2000]
    assert [name for ids in door.written for name in ids] == [str(at) for at in range(12_000)]


WRITE = """
import sys, numpy as np, pandas as pd, cfai_nb as cf
cf.connect(base_url=sys.argv[1], account_id="a" * 32, api_token=sys.argv[3], store=sys.argv[2], rate=None)
matrix = np.random.default_rng(0).standard_normal((12_000, 4)).astype(np.float32)
pd.Series(list(matrix)).cfai.to_vectorize("notes", create="cosine")
"""


@pytest.mark.slow
def test_killed_in_the_middle(tmp_path: Path, bare_environment: dict[str, str]) -> None:
    """On a port: a process that is killed at its third call leaves two that no other process sends again."""
    door, store = Door(), tmp_path / "s.sqlite"
    with running(emulator=door) as server:
        command = [sys.executable, "-c", WRITE, server.url, str(store), TOKEN]
        environment = {**bare_environment, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        door.at_write = lambda number: (child.kill(), child.wait(20)) if number == 3 and child.poll() is None else None
        _, said = child.communicate(timeout=60)
        assert (child.returncode, said) == (-signal.SIGKILL, "")
        door.at_write = lambda number: None
        with cf.connect(base_url=server.url, account_id="a" * 32, api_token=TOKEN, store=store, rate=None):
            # What the dead process had sent without an acknowledgement is sent again, which changes nothing.
            done = numbers(12_000).cfai.to_vectorize("notes", wait=30)
            assert (done.sent, done.skipped, done.visible) == (2000, 10_000, True)
            found = numbers(12_000).cfai.search(numbers(12_000)[11_999], 1, index="notes")
            assert found.index.tolist() == [11_999]


def test_broken_answers_are_repeated(frame: pd.DataFrame, door: Door) -> None:
    """A write that fails in passing is sent again; the report counts it once."""
    door.failing = 1
    assert len(frame.cfai.to_vectorize("notes", "vec", create=True).mutations) == 1


def test_waiting(frame: pd.DataFrame, door: Door) -> None:
    """wait= is over when queries see the write, also where another wrote since, and ends with an error at its limit."""
    assert frame.cfai.to_vectorize("notes", "vec", create=True).visible is None
    assert frame.cfai.to_vectorize("notes", "vec", wait=True).visible, "nothing was sent, and it is waited for"
    assert len(frame.cfai.search("refund", index="notes")) == 4
    index = next(iter(door.emulator._vectorize._indexes.values()))
    door.after_write = lambda: index.pending.append(Mutation("somebody else's", 0, lambda: None))
    assert frame.cfai.to_vectorize("notes", "vec", metadata=["team"], wait=True).visible
    assert index.processed is not None
    assert index.processed[0] == "somebody else's"
    door.emulator._vectorize.delay = 10**9
    with pytest.raises(cf.Unavailable, match=r"not visible after 0.1 s.*the same call sends nothing again"):
        frame.cfai.to_vectorize("notes", "vec", namespace="n", wait=0.1)


def test_awaited(frame: pd.DataFrame) -> None:
    """`.aio` is the same call on any event loop."""
    done = asyncio.run(frame.cfai.to_vectorize.aio("notes", "vec", create=True, wait=True))
    assert (done.sent, done.visible) == (4, True)


def test_text_is_embedded_first(frame: pd.DataFrame) -> None:
    """A column of text becomes vectors by an ordinary embed, here out of the store."""
    assert frame.cfai.to_vectorize("notes", "text", create=True).sent == 4
    assert cf.last_run().receipt.startswith("embed: 4 of 4 rows · 4 from the store")
    assert frame.cfai.to_vectorize("notes", "vec").skipped == 4


# -- finding ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def notes(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame, written into an index."""
    frame.cfai.to_vectorize(
        "notes", "vec", metadata=["team", "day", "open"], filterable=["year"], create=True, wait=True
    )
    return frame


def test_rows_are_found_as_in_the_frame(notes: pd.DataFrame) -> None:
    """With index= the same rows come in the same order, with their cells, types and labels, and ids beside."""
    for query in ("refund my money please", ["parcel", "crashes"], notes["vec"].iloc[0]):
        here, there = notes.cfai.search(query, 2), notes.cfai.search(query, 2, index="notes")
        assert there["id"].tolist() == here.index.tolist()
        pd.testing.assert_frame_equal(there.drop(columns="id"), here, check_exact=False, atol=1e-6)


def test_rows_the_frame_does_not_have(notes: pd.DataFrame) -> None:
    """They are labelled by their ids and have what the index holds of them; join=False takes nothing from the frame."""
    query = "refund my money please"
    some = notes.head(1).drop(columns="year").cfai.search(query, 2, index="notes")
    assert some.index.tolist() == ["t0", "t3"]
    assert some["text"].isna().tolist() == [False, True]
    assert some["team"].tolist() == ["a", "a"]
    assert some["year"].tolist() == [2020, 2023], "metadata the frame has no column for"
    assert some["day"].tolist() == [pd.Timestamp("2024-05-01")] * 2
    assert str(some["day"].dtype).startswith("datetime64")
    none = pd.DataFrame().cfai.search(query, 2, index="notes")
    pd.testing.assert_frame_equal(none, notes.cfai.search(query, 2, index="notes", join=False))
    assert set(none.columns) == {"team", "day", "open", "year", "id", "score"}
    bare = pd.DataFrame().cfai.search(query, 2, index="notes", metadata=False)
    assert bare.columns.tolist() == ["id", "score"]
    empty = notes.cfai.search(query, index="notes", filter={"year": 1})
    assert len(empty) == 0
    assert {"text", "id", "score"} <= set(empty.columns)


def test_ids_of_a_column(notes: pd.DataFrame) -> None:
    """id= names the column that was given when it was written; its cells come back as they are."""
    numbered = notes.reset_index(drop=True).assign(number=range(10, 15))
    numbered.cfai.to_vectorize("numbered", "vec", id="number", create=True, wait=True)
    found = numbered.cfai.search("refund my money please", 2, index="numbered", id="number")
    assert (found["number"].tolist(), found.index.tolist(), "id" in found) == ([10, 13], [0, 3], False)
    doubled = pd.concat([numbered, numbered])
    with pytest.raises(ValueError, match="'10' is found and is the id of several rows"):
        doubled.cfai.search("refund my money please", 2, index="numbered", id="number")


def test_a_frame_that_says_otherwise_is_reported(notes: pd.DataFrame) -> None:
    """Where metadata and the frame differ the frame's cell is shown, with a warning."""
    with pytest.warns(cf.CfaiWarning, match=r"holds another 'team' for the id 't0' than row 't0'.*join=False"):
        found = notes.assign(team="z").cfai.search("refund my money please", 1, index="notes")
    assert found["team"].tolist() == ["z"]


def test_filters(notes: pd.DataFrame) -> None:
    """Filters are the service's; a set and numpy's numbers are taken, no filter is none."""
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"year": np.int64(2020)}, ["t0"]),
        ({"year": {"$gte": 2021, "$lt": 2024}}, ["t1", "t3"]),
        ({"year": {"$in": [2020, 2024]}}, ["t0", "t4"]),
        ({"year": {"$nin": {2020}}}, ["t1", "t3", "t4"]),
        ({}, ["t0", "t1", "t3", "t4"]),
    ]
    for filter, ids in cases:
        found = notes.cfai.search("refund", index="notes", filter=filter)
        assert (filter, sorted(found["id"])) == (filter, ids)


def test_dates_in_filters(frame: pd.DataFrame) -> None:
    """A date in a filter is compared as the text it was written as."""
    frame.cfai.to_vectorize("notes", "vec", filterable=["day"], create=True, wait=True)
    for day, found in ((pd.Timestamp("2024-05-01"), 3), (pd.Timestamp("2024-05-02"), 0)):
        assert len(frame.cfai.search("refund", index="notes", filter={"day": {"$gte": day}})) == found


def test_more_than_the_service_describes(door: Door) -> None:
    """Beyond 50 matches metadata is fetched by ids, once for all queries, and is all there."""
    data = pd.DataFrame({"vec": numbers(60), "n": range(60)})
    data.cfai.to_vectorize("notes", "vec", metadata=["n"], create=True, wait=True)
    door.calls.clear()
    queries = [data["vec"][0], data["vec"][1]]
    found = data.cfai.search(queries, 60, index="notes", join=False)
    assert (found["n"] == found["id"].astype(int)).all()
    assert len(found) == 120
    assert [call.rpartition("/")[2] for call in door.calls[1:]] == ["query"] * 2 + ["get_by_ids"] * 3
    pd.testing.assert_frame_equal(
        found.groupby("query").head(50), data.cfai.search(queries, 50, index="notes", join=False)
    )


def test_which_model_made_the_vectors_of_an_index(frame: pd.DataFrame) -> None:
    """The model comes from the index, from the frame's vectors, or from model=; else it is an error."""
    cls = frame["text"].cfai.embed(model="bge-base-en-v1.5", pooling="cls")
    cls.cfai.to_vectorize("cls", create=True, wait=True)
    assert frame.cfai.search(TEXTS[0], 1, index="cls").index.tolist() == ["t0"]
    plain = frame.assign(vec=[None if cell is None else cell.tolist() for cell in frame["vec"]])
    plain.cfai.to_vectorize("unsaid", "vec", create=True, wait=True)
    for found in (
        plain.cfai.search(TEXTS[0], 1, index="unsaid", model="bge-m3"),
        frame.cfai.search(TEXTS[0], 1, index="unsaid"),
        plain.cfai.search(frame["vec"].iloc[0], 1, index="unsaid"),
    ):
        assert found.index.tolist() == ["t0"]
    both = frame.assign(cls=cls)
    refused: list[tuple[Any, str]] = [
        (lambda: plain.cfai.search("x", index="unsaid"), "does not record which model its vectors come from"),
        (lambda: frame.cfai.search("x", index="cls", model="bge-m3"), "the vectors are of"),
        (lambda: both.cfai.search("x", index="cls", on="vec"), "leave on= out"),
        (lambda: both.cfai.search("x", index="cls", on="text"), "'text' holds no vectors"),
        (lambda: frame.cfai.search(frame["vec"].iloc[0], index="cls"), "different spaces"),
        (lambda: frame["text"].cfai.embed(model="bge-base-en-v1.5").cfai.to_vectorize("cls"), "cannot be compared"),
        (lambda: frame.cfai.to_vectorize("cls", "vec"), "1,024 dimensions and the index 'cls' 768"),
    ]
    for call, words in refused:
        with pytest.raises(ValueError, match=words):
            call()


# -- what is refused -------------------------------------------------------------------------------------------------

LONG = "x" * 11_000
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "double ids": ({}, {"id": "same"}, r"rows 't0' and 't1' have the same id 'a'.*distinct ids"),
    "no id": ({}, {"id": "team"}, r"(same id|row 't4': its id in column 'team' is missing)"),
    "a long id": ({"name": [f"{at}{'ü' * 40}" for at in range(5)]}, {"id": "name"}, r"row 't0'.*81 bytes.*takes 64"),
    "no such column": ({}, {"metadata": ["taem"]}, "Did you mean 'team'"),
    "a key with a dot": ({"a.b": 1}, {"metadata": ["a.b"]}, "Rename the column"),
    "a key with a dollar": ({"$a": 1}, {"metadata": ["$a"]}, "Rename the column"),
    "an object": (
        {"o": [{}, 1, 2, 3, 4]},
        {"metadata": ["o"]},
        r"row 't0', column 'o': expected text, a number, .* got dict",
    ),
    "too much": ({"long": LONG}, {"metadata": ["long"]}, r"4 rows .*'t0' with 11,011, most of it in 'long'"),
    "two types": ({"mixed": [1, "a", 2, 3, 4]}, {"filterable": ["mixed"]}, "holds number and string"),
    "no value": ({"none": None}, {"filterable": ["none"]}, "column 'none' holds nothing"),
    "a list": ({"tags": [["a"]] * 5}, {"filterable": ["tags"]}, "holds lists"),
    "too many": ({f"c{n}": n for n in range(11)}, {"filterable": [f"c{n}" for n in range(11)]}, "by 10 properties"),
    "a metric": ({}, {"create": "manhattan"}, "cosine, euclidean, dot-product"),
    "a namespace": ({}, {"namespace": "x" * 65}, "64 bytes"),
    "a time": ({}, {"wait": -1}, "True, or seconds"),
    "a typing error": ({}, {"metdata": ["team"]}, r"no option metdata\. Did you mean metadata\?"),
    "nothing to send": ({}, {"cache": "only"}, "sends nothing"),
    "no name": ({}, {"index": ""}, "name of an index"),
    "a way out": ({}, {"index": ".."}, "name of an index"),
    "no vectors": ({"vec": None}, {}, "no row has one"),
    "infinity": ({"vec": [[1.0, float("inf")]] * 5}, {}, "NaN or infinity"),
    "too wide": ({"vec": [[0.0] * 2048] * 5}, {}, r"2,048 dimensions, and Vectorize takes at most 1,536.*bge-m3"),
}


def test_what_cannot_be_written_is_reported_before(frame: pd.DataFrame, door: Door) -> None:
    """The message says which row or column and what to do, and nothing was sent."""
    for name, (columns, options, words) in REFUSED.items():
        given = frame.assign(same="a")
        for column, cells in columns.items():
            every = cells if isinstance(cells, list) else [cells] * 5
            given[column] = pd.Series(every, index=given.index, dtype=object)
        with pytest.raises((ValueError, TypeError), match=words):
            given.cfai.to_vectorize(**{"index": "notes", "vectors": "vec", "create": True, **options})
        assert (name, door.calls) == (name, [])


def test_what_cannot_be_searched(notes: pd.DataFrame) -> None:
    """Queries that the service would refuse, or answer with nothing, are refused before they are sent."""
    refused: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"top_k": 101}, ValueError, "1 to 100 vectors"),
        ({"top_k": 0}, ValueError, "1 to 100 vectors"),
        ({"filter": {"team": "a"}}, ValueError, r"cannot be filtered by 'team' \(it can by year\).*filterable"),
        ({"filter": {"year": b"x"}}, ValueError, "filter: expected text, a number, .* got bytes"),
        ({"filter": "year"}, ValueError, "give a dict"),
        ({"filter": {"year": {"$like": 1}}}, cf.Refused, "40026.*unknown operator"),
        ({"index": None, "filter": {"year": 1}}, ValueError, "give index="),
        ({"index": "other"}, cf.AccessError, "Vectorize index 'other': 3000.*this index does not exist; to_vectorize"),
        ({"metdata": 1}, TypeError, r"no option metdata\. Did you mean metadata\?"),
        ({"query": [0.5, 0.5]}, cf.Refused, "40006.*another model than the index"),
    ]
    for options, kind, words in refused:
        with pytest.raises(kind, match=words):
            notes.cfai.search(**{"query": "refund", "index": "notes", **options})


def test_an_index_that_does_not_fit(frame: pd.DataFrame) -> None:
    """No index, another metric, another type of property, too many: refused with what to do; True takes any metric."""
    write = frame.cfai.to_vectorize
    with pytest.raises(cf.AccessError, match=r"create=True\) creates it"):
        write("notes", "vec")
    write("notes", "vec", create="euclidean", filterable=["year"])
    assert write("notes", "vec", create=True, filterable=["year"]).skipped == 4
    refused: list[tuple[Any, str]] = [
        (lambda: write("notes", "vec", create="cosine"), "with the metric 'euclidean'"),
        (lambda: frame.astype({"year": str}).cfai.to_vectorize("notes", "vec", filterable=["year"]), "as number"),
        (
            lambda: frame.assign(**{f"c{n}": n for n in range(10)}).cfai.to_vectorize(
                "notes", "vec", filterable=[f"c{n}" for n in range(10)]
            ),
            "has year already",
        ),
    ]
    for call, words in refused:
        with pytest.raises(ValueError, match=words):
            call()
    assert kinds_of([{"a": 1.5}, {"a": 2}, {}], ["a"]) == {"a": "number"}


@pytest.mark.parametrize(
    ("code", "kind", "todo"),
    [
        (3000, cf.AccessError, "create=True"), (3002, cf.Refused, "of this name already"),
        (40006, cf.Refused, "another model"), (40008, cf.Refused, "64 bytes"), (40012, cf.Refused, "another model"),
        (40018, cf.Refused, "rename the column"), (40023, cf.Refused, "the row it names"), (40025, cf.Refused, "fewer"),
        (40026, cf.Refused, "words"),
    ],
)  # fmt: skip
def test_codes_of_the_store(code: int, kind: type[cf.ServiceError], todo: str) -> None:
    """The error for each code of Vectorize says what to do."""
    body = json.dumps({"success": False, "errors": [{"code": code, "message": "words"}]}).encode()
    error = service_error(404 if code == 3000 else 400, {}, body, "Vectorize index 'notes'", VECTORIZE)
    assert (type(error), error.code) == (kind, code)
    assert todo in str(error)


def test_more_vectors_than_an_index_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 20 million are refused before anything is sent; an index that fills up keeps what it acknowledged."""
    assert to_vectorize.MAX_VECTORS == vectorize.MAX_VECTORS == 20_000_000
    for module in (to_vectorize, vectorize):
        monkeypatch.setattr(module, "MAX_VECTORS", 10)
    monkeypatch.setattr(to_vectorize, "CALL_VECTORS", 4)
    door = Door(vectorize_limit=10)
    with cf.connect(door, store=tmp_path / "full.sqlite"):
        with pytest.raises(ValueError, match=r"11 vectors: an index holds at most 10\. Write parts"):
            numbers(11).cfai.to_vectorize("notes", create=True)
        assert door.calls == []
        numbers(5).cfai.to_vectorize("notes", create=True)
        others = numbers(9).rename(lambda at: f"other {at}")
        with pytest.raises(cf.Refused, match=r"holds 9 of at most 10 vectors. What it acknowledged is there: write"):
            others.cfai.to_vectorize("notes")
        assert [len(ids) for ids in door.written[2:]] == [4, 4]  # the second one was refused
        assert others[:4].cfai.to_vectorize("notes").skipped == 4
        assert numbers(5).cfai.to_vectorize("notes", cache="refresh").sent == 5  # in place of those that are there


def test_a_token_without_the_permission(tmp_path: Path) -> None:
    """AccessError says which permission, and nothing shows the token."""
    shown = []
    with running(rate=None, token="t" * 40) as server, cf.connect(
        base_url=server.url, account_id="a" * 32, api_token=TOKEN, store=tmp_path / "s.sqlite", rate=None
    ):  # fmt: skip
        for call in (
            lambda: numbers(3).cfai.to_vectorize("notes", create=True),
            lambda: numbers(3).cfai.search([0.0] * 4, index="notes"),
        ):
            with pytest.raises(cf.AccessError, match=r"Vectorize: Edit \(Read is enough to search\)") as caught:
                call()
            trace = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            shown += [repr(caught.value), *trace.format(chain=True)]
    assert TOKEN[:12] not in "".join(shown)


def test_a_server_of_models_has_no_indexes() -> None:
    """What is connected to Ollama or llama.cpp has no Vectorize, and vectors of the emulator go to no account."""
    with cf.connect("emulator", store=False):
        vectors = pd.Series(["a text"]).cfai.embed()
        done = [vectors.cfai.to_vectorize("notes", create=True).sent, vectors.cfai.to_vectorize("notes").sent]
    assert done == [1, 1], "without a store nothing is remembered"
    with cf.connect(base_url="http://127.0.0.1:9/v1", store=False), pytest.raises(cf.SetupError, match="no Vectorize"):
        vectors.cfai.to_vectorize("notes")
    with (
        cf.connect(account_id="a" * 32, api_token=TOKEN, store=False),
        pytest.raises(ValueError, match=r"made by the emulator .* cannot be written to cloudflare"),
    ):
        vectors.cfai.to_vectorize("notes")


def test_retrieval_in_three_verbs(frame: pd.DataFrame) -> None:
    """Embed, search, generate: the notes that are found are what the answer is made of."""
    frame.cfai.to_vectorize("notes", "vec", create=True, wait=True)
    questions = pd.Series(["where is my parcel", "the app crashes"])
    found = frame.cfai.search(questions, 1, index="notes")
    answers = found.cfai.generate("Answer from this note.\n{text}\n\n{query}")
    assert answers.str.startswith("[emulator]").all()
    with contextlib.suppress(AttributeError):
        assert found["query"].tolist() == questions.tolist()
