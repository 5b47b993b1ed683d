"""``cf.enrich``: files larger than memory into parts, on good days and bad ones."""

from __future__ import annotations

import asyncio
import errno
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intercept import Faulty, failure, poison
from processes import ended, environment
from verb_cases import CASES

import cfai_nb as cf
from cfai_nb._engine.run_options import RunOptions
from cfai_nb.emulator import Emulator, running
from cfai_nb.frame.call import Call
from cfai_nb.frame.enrich import batches
from cfai_nb.frame.enrich.batches import Reader, source_of
from cfai_nb.frame.enrich.enrich_columns import made_of
from cfai_nb.frame.enrich.enrich_report import EnrichReport
from cfai_nb.frame.enrich.parts import Part, left

EMBED = {"vector": (cf.Embed(), "text", {"model": "bge-base-en-v1.5"})}
SMALL = 250_000  # bytes: some 20 rows of vectors a part


def written(folder: Path, count: int = 80, files: int = 4, start: int = 0) -> Path:
    """Write a source: ids, texts of which some are missing, and a nested column."""
    folder.mkdir(exist_ok=True)
    each = count // files
    for at in range(start, start + count, each):
        ids = list(range(at, at + each))
        words = [None if i % 20 == 7 else f"ticket {i}: where is my parcel" for i in ids]
        table = pa.table({"id": ids, "text": words, "tags": [[str(i), "x"] for i in ids]})
        pq.write_table(table, folder / f"{at:06}.parquet")
    return folder


def read(folder: Path) -> pa.Table:
    """Read all parts, as any reader of parquet folders does."""
    return pq.read_table(folder)


def test_the_output_is_a_source(emulator: Emulator, tmp_path: Path) -> None:
    """A folder with vectors, in several parts, is enriched again: its columns stay, and vectors know their model."""
    cf.enrich(written(tmp_path / "in", 40), tmp_path / "one", EMBED, memory=SMALL)
    topic = {"topic": (cf.Classify(labels=["billing", "shipping"]), "text")}
    report = cf.enrich(tmp_path / "one", tmp_path / "two", topic, memory=SMALL)
    assert (report.done_rows, report.failed, len(report.failures)) == (40, 0, 0)
    made = read(tmp_path / "two")
    assert made.drop_columns(["topic", "topic__error"]).equals(read(tmp_path / "one"))
    assert made.to_pandas()["vector"].dropna().iloc[0].space.model == "@cf/baai/bge-base-en-v1.5"


def test_rows_are_those_of_one_frame(emulator: Emulator, tmp_path: Path) -> None:
    """All columns and rows stay in order, answers are those of the verbs, and a later column names an earlier one."""
    source = written(tmp_path / "in", 40)
    columns = {
        "topic": (cf.Classify(labels=["billing", "shipping"]), "text"), **EMBED,
        "said": (cf.Generate(max_tokens=60), "{topic} of {id}: {text}"),
    }  # fmt: skip
    report = cf.enrich(source, tmp_path / "out", columns, memory=SMALL)
    assert (report.done_rows, report.parts > 2, report.failed) == (40, True, 0)
    assert cf.last_run() is report
    frame = pd.read_parquet(source)
    assert "where is my parcel" in frame.cfai.preview().fragment()  # whose errors are not looked for in the report
    frame["topic"] = frame.cfai.classify("text", ["billing", "shipping"])
    frame["said"] = frame.cfai.generate("{topic} of {id}: {text}", max_tokens=60)
    vectors = frame.cfai.embed("text", model="bge-base-en-v1.5")
    got = read(tmp_path / "out")
    errors = ["topic__error", "vector__error", "said__error"]
    assert got.column_names == ["id", "text", "tags", "topic", errors[0], "vector", errors[1], "said", errors[2]]
    assert got.select(["id", "text", "tags"]).equals(pq.read_table(source).select(["id", "text", "tags"]))
    made = got.to_pandas()
    for name in ("topic", "said"):
        assert [None if pd.isna(a) else a for a in made[name]] == [None if pd.isna(a) else a for a in frame[name]]
    there = vectors.notna().to_numpy()
    assert (cf.matrix(made["vector"][there]) == cf.matrix(vectors[there])).all()
    assert made["vector"][0].space == vectors.iloc[0].space
    assert made["vector"].isna().sum() == 2
    assert made[errors].isna().all(axis=None)


def test_what_is_said_of_rows_is_in_the_files(emulator: Emulator, tmp_path: Path) -> None:
    """The report has totals; what a report of one frame says row by row is refused, with where it is."""
    report = cf.enrich(written(tmp_path / "in", 20, 1), tmp_path / "out", EMBED)
    for name in ("run", "uncertain", "logs", "answered"):
        with pytest.raises(LookupError, match=r"The answers are in the files of .*out; \.failures lists"):
            getattr(report, name)
    assert (len(report.flow), len(report.latency), report.certificate, report.answered_by) == (0, 0, None, None)
    assert [text.get_text() for text in cf.plots.concurrency(report).texts] == [
        "the requests of many calls are counted, not timed"
    ]


def test_what_is_there_is_not_done_again(emulator: Emulator, tmp_path: Path) -> None:
    """Parts that exist stay as they are; one that was cut short and one that is gone are made again, from the store."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    first = cf.enrich(source, out, EMBED, memory=SMALL)
    before, asked = read(out), emulator.requests
    assert first.parts > 3
    untouched = (out / "part-00000.parquet").stat().st_mtime_ns
    (out / "part-00001.parquet").unlink()
    whole = (out / "part-00002.parquet").read_bytes()
    (out / "part-00002.parquet").write_bytes(whole[: len(whole) // 2])
    (out / ".part-00003.parquet.tmp").write_bytes(b"of a process that was killed")
    with pytest.warns(cf.CfaiWarning, match=r"part-00002.parquet was cut short"):
        again = cf.enrich(source, out, EMBED, memory=SMALL)
    assert (again.kept, emulator.requests) == (80 - _rows(out, 1) - _rows(out, 2), asked)
    assert read(out).equals(before)
    assert (out / "part-00000.parquet").stat().st_mtime_ns == untouched
    assert not list(out.glob("*.tmp"))


def test_parts_that_were_cut_short_leave_nothing(emulator: Emulator, tmp_path: Path) -> None:
    """Where larger parts take their place, the folder holds these alone."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    cf.enrich(source, out, EMBED, memory=SMALL)
    before = read(out)
    for part in sorted(out.glob("*.parquet"))[1:]:
        part.write_bytes(part.read_bytes()[:100])
    with pytest.warns(cf.CfaiWarning, match="was cut short"):
        assert cf.enrich(source, out, EMBED).parts == 2
    assert read(out).equals(before)


def _rows(out: Path, number: int) -> int:
    return int(pq.read_metadata(out / f"part-{number:05}.parquet").num_rows)


def test_a_source_may_grow(emulator: Emulator, tmp_path: Path) -> None:
    """New files come behind those that are done, also where their names sort before them."""
    source, out = written(tmp_path / "in", 100, 2, start=1000), tmp_path / "out"
    cf.enrich(source, out, EMBED)
    written(source, 50, 1)
    cf.enrich(source, out, EMBED)
    assert read(out)["id"].to_pylist() == [*range(1000, 1100), *range(50)]


def test_a_source_that_grows_during_the_run(tmp_path: Path) -> None:
    """A file that comes meanwhile is said at the end and left to the same call, which goes on with it."""
    source, out = written(tmp_path / "in", 300, 3, start=1000), tmp_path / "out"

    def grow(number: int, model: str) -> None:
        if number == 1:
            written(source, 50, 1)

    cf.connect(Emulator(rate=None, faults=grow), store=tmp_path / "s.sqlite")
    with pytest.warns(cf.CfaiWarning, match="1 file came to the source meanwhile; the same call goes on with it"):
        cf.enrich(source, out, EMBED, memory=SMALL)
    assert read(out)["id"].to_pylist() == [*range(1000, 1300)]
    assert cf.enrich(source, out, EMBED, memory=SMALL).done_rows == 350
    assert read(out)["id"].to_pylist() == [*range(1000, 1300), *range(50)]


def test_a_change_is_noticed(emulator: Emulator, tmp_path: Path) -> None:
    """Another question, a changed file and other columns are refused, and said; overwrite makes the parts again."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    cf.enrich(source, out, EMBED, memory=SMALL)
    other = {"vector": (cf.Embed(), "text", {"model": "bge-small-en-v1.5"})}
    with pytest.raises(
        cf.ColumnError, match=r"'vector' was embed with @cf/baai/bge-base.* and now is embed with .*small"
    ):
        cf.enrich(source, out, other)
    with pytest.raises(cf.ColumnError, match=r"something else: the parts there lack column 'topic'"):
        cf.enrich(source, out, {**EMBED, "topic": (cf.Sentiment(), "text")})
    with pytest.raises(cf.ColumnError, match=r"the parts there have a column 'vector' that this call does not ask for"):
        cf.enrich(source, out, {"topic": (cf.Sentiment(), "text")})
    table = pq.read_table(source / "000020.parquet")
    pq.write_table(table.slice(0, 10), source / "000020.parquet")
    with pytest.raises(cf.ColumnError, match=r"000020.parquet was changed .*overwrite=True"):
        cf.enrich.plan(source, out, EMBED)
    assert len(list(out.glob("*.parquet"))) >= 4
    asked = emulator.requests
    with pytest.warns(cf.CfaiWarning, match="are made again: 000020.parquet was changed"):
        cf.enrich(source, out, EMBED, overwrite=True)
    assert (read(out).num_rows, emulator.requests) == (70, asked)
    (source / "000040.parquet").unlink()
    with pytest.raises(cf.ColumnError, match=r"000040.parquet is gone"):
        cf.enrich(source, out, EMBED)


def test_a_file_that_is_written_meanwhile_ends_the_run(emulator: Emulator, tmp_path: Path) -> None:
    """A file that changes after it was listed is not read; the parts before it are there."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    opened = source_of(source)
    written(source)
    with pytest.raises(cf.InputError, match=r"000000.parquet was changed while it was read"):
        Reader(opened, 0, ["text"]).take(None, 1e6, 0)
    assert not out.exists()


def test_a_full_disk_in_the_middle_of_a_part(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """The parts before stay, no piece of the new one does, and the same call goes on without asking again."""
    source, out, writes = written(tmp_path / "in"), tmp_path / "out", []
    real = pq.ParquetWriter.write_table

    def write(self: Any, table: Any, **options: Any) -> None:
        writes.append(table)
        real(self, table, **options)
        if len(writes) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)
    with pytest.raises(cf.StoreError, match=r"part 2 could not be written .* No space left"):
        cf.enrich(source, out, EMBED, memory=SMALL)
    assert sorted(path.name for path in out.glob("*part*")) == ["part-00000.parquet", "part-00001.parquet"]
    asked, done = emulator.requests, _rows(out, 0) + _rows(out, 1)
    assert cf.enrich(source, out, EMBED, memory=SMALL).kept == done
    assert read(out)["id"].to_pylist() == list(range(80))
    assert asked == 3
    assert emulator.requests == len(list(out.glob("*.parquet")))


def test_files_of_different_columns(emulator: Emulator, tmp_path: Path) -> None:
    """Whole numbers widen, missing columns are null, categories meet texts; what cannot go together is refused."""
    source = tmp_path / "in"
    source.mkdir()
    pq.write_table(pa.table({"text": ["a"], "n": pa.array([1], pa.int32())}), source / "a.parquet")
    pq.write_table(pa.table({"n": [2**40], "text": pa.array(["b"], pa.large_string())}), source / "b.parquet")
    pq.write_table(pa.table({"text": pa.array(["c"]).dictionary_encode(), "more": [1.5]}), source / "c.parquet")
    (source / "_hidden.parquet").write_bytes(b"")
    cf.enrich(source, tmp_path / "out", EMBED)
    rows = read(tmp_path / "out").drop(["vector"]).to_pylist()
    assert [(row["text"], row["n"], row["more"]) for row in rows] == [
        ("a", 1, None),
        ("b", 2**40, None),
        ("c", None, 1.5),
    ]
    pq.write_table(pa.table({"text": ["d"], "n": [{"x": 1}]}), source / "d.parquet")
    with pytest.raises(cf.ColumnError, match=r"d.parquet does not go together with a.parquet: .*n"):
        cf.enrich(source, tmp_path / "o2", EMBED)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_texts_of_every_kind(emulator: Emulator, tmp_path: Path, kind: Any) -> None:
    """A column of texts keeps its Arrow type, whatever that is."""
    words = pa.array(["one", "two", "one", None]).cast(kind)
    pq.write_table(pa.table({"text": words}), tmp_path / "in.parquet")
    cf.enrich(tmp_path / "in.parquet", tmp_path / "out", EMBED)
    made = read(tmp_path / "out")
    assert made["text"].type == pq.read_schema(tmp_path / "in.parquet").field("text").type
    assert [cell is None for cell in made["vector"].to_pylist()] == [False, False, False, True]
    assert emulator.requests == 1


def test_many_tiny_files(emulator: Emulator, tmp_path: Path) -> None:
    """Files are joined to full batches: 100 files of 3 rows are 3 requests and one part."""
    source = written(tmp_path / "in", 300, 100)
    report = cf.enrich(source, tmp_path / "out", {"vector": (cf.Embed(), "{id}", {"model": "bge-base-en-v1.5"})})
    assert (emulator.requests, report.parts) == (3, 1)
    assert read(tmp_path / "out")["id"].to_pylist() == list(range(300))
    assert pq.read_metadata(tmp_path / "out/part-00000.parquet").num_row_groups == 1


def test_one_large_row_group_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long cells are read a few MB at a time, only the columns wanted, from any row on."""
    monkeypatch.setattr(batches, "_CHUNK_BYTES", 400_000)
    words = [f"{i:04}" * 500 for i in range(1_000)]
    pq.write_table(pa.table({"id": range(1_000), "text": words, "other": words}), tmp_path / "in.parquet")
    source = source_of(tmp_path / "in.parquet")
    tables = list(source.read(0, ["text"]))
    assert len(tables) > 3
    assert {tuple(table.column_names) for table in tables} == {("text",)}
    table, count = Reader(source, 731, ["id", "text"]).take(None, 0.6e6, 100)
    assert (table["id"][0].as_py(), 20 < count < 200) == (731, True)
    first, _ = Reader(source, 999, ["id"]).take(10, None, 0)
    assert first.to_pylist() == [{"id": 999}]


def test_empty_files(emulator: Emulator, tmp_path: Path) -> None:
    """Files without rows are left out, a source without rows gives a part without rows; no file at all is refused."""
    source = written(tmp_path / "in", 20, 2)
    empty = pq.read_table(source / "000000.parquet").slice(0, 0)
    pq.write_table(empty, source / "000005.parquet")
    cf.enrich(source, tmp_path / "out", EMBED)
    assert read(tmp_path / "out").num_rows == 20
    named = {**EMBED, "mood": (cf.Sentiment(), "text"), "why": (cf.Generate(), "Why is {text} {mood}?")}
    cf.enrich(source / "000005.parquet", tmp_path / "none", named)
    new = [name for each in named for name in (each, f"{each}__error")]
    assert read(tmp_path / "none").column_names == ["id", "text", "tags", *new]
    (source / "000006.parquet").write_bytes(b"")
    with pytest.raises(cf.InputError, match=r"000006.parquet \(0 bytes\) is not a whole parquet file"):
        cf.enrich(source, tmp_path / "o3", EMBED)
    with pytest.raises(cf.InputError, match="no parquet files"):
        cf.enrich(tmp_path / "*.txt", tmp_path / "o4", EMBED)


def test_folders_that_name_a_column(emulator: Emulator, tmp_path: Path) -> None:
    """``year=2026/`` is a column, as other readers of parquet folders have it."""
    for year in (2025, 2026):
        (tmp_path / f"in/year={year}").mkdir(parents=True)
        written(tmp_path / f"in/year={year}", 10, 1)
    cf.enrich(tmp_path / "in", tmp_path / "out", {"vector": (cf.Embed(), "{year}: {text}")})
    assert read(tmp_path / "out")["year"].to_pylist() == ["2025"] * 10 + ["2026"] * 10


def test_a_budget_is_spent_as_far_as_it_goes(emulator: Emulator, tmp_path: Path) -> None:
    """One budget for all columns: the run ends with it, and the same call goes on with another one."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    columns = {"topic": (cf.Classify(labels=["a", "b"]), "text"), **EMBED}
    cf.enrich(source, tmp_path / "other", columns, cache=False)
    price = emulator.billed
    with pytest.raises(cf.BudgetError, match=r"rows are done: .* parts? in .* same call goes on"):
        cf.enrich(source, out, columns, neurons=price / 2, memory=SMALL)
    assert price < emulator.billed <= price * 1.5
    assert isinstance(cf.last_run().error, cf.BudgetError)
    assert "✗" in cf.last_run()._repr_html_()
    done = cf.last_run().done_rows  # type: ignore[attr-defined]
    assert 0 < done < 80
    assert cf.enrich(source, out, columns, neurons=2 * price, memory=SMALL).kept == done
    assert read(out).num_rows == 80
    assert emulator.billed == pytest.approx(2 * price)
    with pytest.raises(cf.ColumnError, match="budget= is of the whole"):
        cf.enrich(source, out, {"v": (cf.Embed(), "text", {"budget": 1.0})})


def test_rows_that_fail_say_why(tmp_path: Path) -> None:
    """A failed row is null with its reason beside it; 120 of them in a row end nothing once others were answered."""
    front = Faulty(poison(failure(400, 5006), word=b"bad"))
    cf.connect(front, store=tmp_path / "s.sqlite", rate=None)
    words = ["fine"] * 30 + ["bad"] * 120 + ["good"] * 20
    pq.write_table(pa.table({"text": [f"{i} {word}" for i, word in enumerate(words)]}), tmp_path / "in.parquet")
    with pytest.warns(cf.CfaiWarning, match=r"120 answers failed .*: row 30, column 'vector': "):
        report = cf.enrich(tmp_path / "in.parquet", tmp_path / "out", EMBED, memory=1_600_000)
    assert (report.event.done, report.event.failed, report.failed, report.event.rows) == (50, 120, 120, 170)
    made = read(tmp_path / "out").to_pandas()
    bad = list(range(30, 150))
    assert made.index[made["vector"].isna()].tolist() == made.index[made["vector__error"].notna()].tolist() == bad
    assert report.failures["row"].tolist() == bad
    (tmp_path / "few").mkdir()
    pq.write_table(pa.table({"text": ["bad", "fine"]}), tmp_path / "few/a.parquet")
    with pytest.raises(cf.RowsFailed, match="1 answer failed"):
        cf.enrich(tmp_path / "few", tmp_path / "o2", EMBED, on_error="raise")
    pq.write_table(pa.table({"text": ["bad"]}), tmp_path / "few/a.parquet")
    with pytest.raises(cf.RowsFailed, match="1 answer failed"):
        cf.enrich(tmp_path / "few", tmp_path / "o3", EMBED)


def test_what_failed_before_is_not_reported_again(tmp_path: Path) -> None:
    """Reasons in the source, or of other columns that end so, are not failures of this call."""
    front = Faulty(poison(failure(400, 5006), word=b"bad"))
    cf.connect(front, store=tmp_path / "s.sqlite", rate=None)
    pq.write_table(pa.table({"text": ["bad", "fine", "good"], "other": ["one", "two", "bad"]}), tmp_path / "in.parquet")
    columns: dict[str, Any] = {name: (cf.Sentiment(), name) for name in ("text", "other")}
    with pytest.warns(cf.CfaiWarning, match="2 answers failed"):
        first = cf.enrich(tmp_path / "in.parquet", tmp_path / "one", {f"{on}_mood": columns[on] for on in columns})
    assert first.failures[["row", "column"]].to_numpy().tolist() == [[0, "text_mood"], [2, "other_mood"]]
    assert (first.event.done, first.event.failed) == (1, 2)
    assert first.failed == 2
    good = cf.enrich(tmp_path / "one", tmp_path / "two", {"long": (cf.Check(condition="It is long."), "text_mood")})
    assert (good.failed, len(good.failures)) == (0, 0)
    with pytest.warns(cf.CfaiWarning, match="1 answer failed and is null in .*: row 2, column 'again'"):
        cf.enrich(tmp_path / "two", tmp_path / "three", {"again": columns["other"]}, cache=False)


@pytest.mark.parametrize(("cache", "words"), [(True, "asked for again"), ("only", 'cache="only" does not ask again')])
def test_damaged_answers_are_said_as_everywhere(tmp_path: Path, cache: Any, words: str) -> None:
    """They are asked for again; with cache="only" they are not, and the note does not say so."""
    run = SimpleNamespace(stopped=False, error=None, damaged=1, store_failure=None, options=RunOptions(cache=cache))
    report = EnrichReport(tmp_path, 3, {"mood__error": "mood"})
    report.follow(SimpleNamespace(run=run))  # type: ignore[arg-type]
    assert report.conclude("keep") == []
    assert [note for note in report.notes if words in note] == report.notes != []


def test_mistakes_are_found_before_anything_is_sent(emulator: Emulator, tmp_path: Path) -> None:
    """A wrong column, name, task, folder or option is refused before the first request."""
    source = written(tmp_path / "in", 20, 2)
    wrong: list[tuple[Any, str]] = [
        ({"v": (cf.Embed(), "txt")}, "Did you mean 'text'"),
        ({"text": (cf.Embed(), "text")}, "a column 'text' already"),
        ({"v": cf.Embed()}, "give a task, what it works on"),
        ({"v": (cf.Embed(), "text", {"modle": "x"})}, "modle"),
        ({"a": (cf.Embed(), "{b}"), "b": (cf.Sentiment(), "text")}, "no column 'b'"),
        ({}, "give a dict"),
    ]
    for columns, why in wrong:
        with pytest.raises((ValueError, TypeError), match=why):
            cf.enrich(source, tmp_path / "out", columns)
    with pytest.raises(cf.InputError, match="inside the source"):
        cf.enrich(source, source / "out", EMBED)
    with pytest.raises(cf.InputError, match="holds files of the source"):
        cf.enrich(source / "*.parquet", source, EMBED)
    with pytest.raises(cf.SetupError, match="was not written by enrich"):
        cf.enrich(source / "000000.parquet", written(tmp_path / "other", 10, 1), EMBED)
    with pytest.raises(cf.InputError, match="call its verbs"):
        cf.enrich(pd.DataFrame({"text": ["a"]}), tmp_path / "out", EMBED)
    with pytest.raises(ValueError, match="memory="):
        cf.enrich(source, tmp_path / "out", EMBED, memory=5)
    assert (emulator.requests, (tmp_path / "out").exists()) == (0, False)


def test_extract_is_two_calls_with_one_price_and_one_budget(emulator: Emulator, tmp_path: Path) -> None:
    """Booleans and words go to a decision model: columns are those of one frame, the plan covers both calls, a budget
    that ends between them keeps what was bought, and the same call buys the rest alone."""
    source, out = written(tmp_path / "in", 40), tmp_path / "out"
    task = cf.Extract(fields={"number": int, "late": bool, "kind": Literal["parcel", "bill"]}, details=True)
    columns = {"found": (task, "text"), "said": (cf.Generate(max_tokens=20), "{found__number} {found__kind} {text}")}
    plan = cf.enrich.plan(source, out, columns, memory=SMALL)
    assert "clairic and @cf/cloudflare/clef-flash" in plan.columns["found"].words
    assert plan.columns["found"].requests == 2 * 38
    with pytest.raises(cf.BudgetError, match="The same call goes on"):
        cf.enrich(source, out, columns, memory=SMALL, neurons=0.3 * plan.cost.neurons)
    before = emulator.requests
    assert before > 0
    report = cf.enrich(source, out, columns, memory=SMALL, neurons=plan.cost.neurons)
    assert (report.done_rows, report.failed, report.parts > 1) == (40, 0, True)
    assert emulator.requests <= plan.requests
    assert cf.ledger().neurons.sum() <= plan.cost.neurons
    assert cf.enrich.plan(source, out, columns, memory=SMALL).rows == 0
    frame, sent = pd.read_parquet(source), emulator.requests
    wanted = frame.cfai.extract("text", task.fields, details=True)
    assert emulator.requests == sent
    made = read(out).to_pandas()
    assert [each for each in made if each.startswith("found__")] == [*(f"found__{n}" for n in wanted), "found__error"]
    for name in wanted:
        for one, other in zip(made[f"found__{name}"], wanted[name], strict=True):
            assert (pd.isna(one) and pd.isna(other)) or one == other, name


def test_the_price_of_the_whole(emulator: Emulator, tmp_path: Path) -> None:
    """A plan sends and writes nothing, covers what names an earlier column, and is not exceeded."""
    source, out = written(tmp_path / "in"), tmp_path / "out"
    columns = {"said": (cf.Generate(max_tokens=30), "Say {text}"), "vector": (cf.Embed(), "{said} {topic}")}
    columns = {"topic": (cf.Classify(labels=["a", "b"]), "text"), **columns}
    plan = cf.enrich.plan(source, out, columns, memory=SMALL)
    assert (emulator.requests, out.exists(), plan.rows, list(plan.columns)) == (0, False, 80, list(columns))
    assert "nothing sent" in repr(plan)
    cf.enrich(source, out, columns, memory=SMALL)
    assert plan.requests >= emulator.requests
    assert plan.cost.neurons is not None
    assert plan.cost.neurons >= emulator.billed > 0
    assert cf.enrich.plan(source, out, columns).requests == 0


def test_awaited_it_is_the_same(emulator: Emulator, tmp_path: Path) -> None:
    """``await cf.enrich.aio(...)`` gives the same parts, and other coroutines go on meanwhile."""
    source, beats = written(tmp_path / "in"), []

    async def both() -> None:
        async def beat() -> None:
            while True:
                beats.append(time.monotonic())
                await asyncio.sleep(0.005)

        other = asyncio.create_task(beat())
        await cf.enrich.aio(source, tmp_path / "a", EMBED, memory=SMALL)
        other.cancel()

    asyncio.run(both())
    cf.enrich(source, tmp_path / "b", EMBED, memory=SMALL)
    assert read(tmp_path / "a").equals(read(tmp_path / "b"))
    assert len(beats) > 5


def test_stop_keeps_the_parts_and_frees_the_folder(tmp_path: Path) -> None:
    """An interrupt says how far it came; the folder can be written at once again, and no other call may meanwhile."""
    cf.connect(Emulator(rate=None, latency=0.01), store=tmp_path / "s.sqlite", concurrency=1)
    source, out = written(tmp_path / "in", 160, 4), tmp_path / "out"
    refused: list[BaseException] = []

    def press(event: Any) -> None:
        if event.done > 60 and not refused:
            with pytest.raises(cf.SetupError) as other:
                cf.enrich(source, out, EMBED)
            refused.append(other.value)
            signal.raise_signal(signal.SIGINT)

    with cf.listen(press), pytest.raises(cf.Stopped, match=r"Stopped. \d+ of 160 rows are done: \d+ parts in"):
        cf.enrich(source, out, EMBED, memory=SMALL)
    assert "another call writes" in str(refused)
    assert cf.enrich(source, out, EMBED).kept > 0
    assert read(out)["id"].to_pylist() == list(range(160))


def test_a_cancelled_call_frees_the_folder(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An awaited call that is cancelled while it reads lets go of the folder, also while its error is kept, as a
    notebook does."""
    source, out, reads, take = written(tmp_path / "in"), tmp_path / "out", threading.Event(), Reader.take

    def slow(*args: Any) -> Any:
        if not reads.is_set():
            reads.set()
            time.sleep(0.3)
        return take(*args)

    async def cancelled() -> None:
        call = asyncio.ensure_future(cf.enrich.aio(source, out, EMBED))
        await asyncio.to_thread(reads.wait)
        call.cancel()
        await call

    monkeypatch.setattr(Reader, "take", slow)
    with pytest.raises(asyncio.CancelledError) as kept:
        asyncio.run(cancelled())
    cf.enrich(source, out, EMBED)
    assert read(out)["id"].to_pylist() == list(range(80))
    assert kept.tb is not None


def test_one_progress_for_all(emulator: Emulator, tmp_path: Path) -> None:
    """Listeners see rows of the whole grow to all of them, with one end; the line names part and column."""
    events: list[Any] = []
    source = written(tmp_path / "in")
    with cf.listen(events.append):
        report = cf.enrich(source, tmp_path / "out", {**EMBED, "mood": (cf.Sentiment(), "text")}, memory=SMALL)
    assert [event.finished for event in events].count(True) == 1
    assert events[-1].finished
    assert {event.rows for event in events} == {80}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert (events[-1].done, events[-1].requests, events[-1].origin) == (80, emulator.requests, "emulator")
    assert report.receipt.startswith("enrich: 80 of 80 rows in ")


def test_rows_of_a_query(emulator: Emulator, tmp_path: Path) -> None:
    """A Polars query goes in like files; that it gives other rows later is noticed."""
    pl = pytest.importorskip("polars")
    source, out = written(tmp_path / "in"), tmp_path / "out"
    query = pl.scan_parquet(source).with_columns(double=pl.col("id") * 2)
    cf.enrich(query, out, EMBED, memory=SMALL)
    made = read(out)
    assert made["double"].to_pylist() == [2 * i for i in range(80)]
    assert made["vector"].null_count == 4
    asked = emulator.requests
    (out / "part-00001.parquet").unlink()
    cf.enrich(query, out, EMBED, memory=SMALL)
    assert read(out).equals(made)
    assert emulator.requests == asked
    with pytest.raises(cf.ColumnError, match=r"other rows than those of part-00000"):
        cf.enrich(query.sort("id", descending=True), out, EMBED)
    with pytest.raises(cf.ColumnError, match="columns of the source were changed"):
        cf.enrich(query.drop("double"), out, EMBED)


@pytest.mark.parametrize("case", [case for name, case in CASES.items() if case.verb not in ("filter", "rank")])
def test_columns_are_known_before_anything_is_asked(case: Any, tmp_path: Path) -> None:
    """What a task announces for no rows is what its answers give, and they fit the Arrow types of the part."""
    cf.connect(Emulator(rate=None, terms_accepted=True, queue_polls=0), store=tmp_path / "s.sqlite")
    frame = case.made()
    bound = getattr(frame.cfai, case.verb)
    call: Call = bound.call(case.on, **case.options)
    empty: Call = getattr(frame.head(0).cfai, case.verb).call(case.on, **case.options)
    made = made_of("new", empty)
    with pytest.warns(cf.CfaiWarning):
        result = call.wait()
    answers = made.answers(result, call.report)
    schema = pa.schema(made.fields(answers))
    table = pa.Table.from_arrays(list(made.arrays(answers, 0, len(frame), schema)), schema=schema)
    assert table.column_names == list(answers)
    assert table["new__error"].null_count == len(frame) - 1
    assert all(table[name].null_count < len(frame) for name in made.kinds)
    assert pa.Table.from_arrays(list(made.arrays(None, 0, 3, schema)), schema=schema).num_rows == 3


class Poster(cf.GenerateImage):
    """A verb of another name that makes pictures."""

    name = "poster"


def test_a_picture_is_bytes_whatever_its_verb_is_called(emulator: Emulator) -> None:
    """A task says itself that its cells are pictures or sound, so a new verb of media gets a column of bytes."""
    frame = pd.DataFrame({"text": ["a red circle"]})
    for task in (cf.GenerateImage(), Poster()):
        made = made_of("new", Call(task, None, frame, "{text}", {}))
        assert (made.kinds, made.bytes_a_row) == ({"new": "media"}, 1_500_000)


def test_what_is_left() -> None:
    """Parts that are gone are cut into as many pieces as there were, and the end is open."""
    parts = {n: Part(Path(f"part-{n}"), {"start": a, "stop": b}) for n, a, b in [(0, 0, 10), (3, 31, 40)]}
    assert left(parts) == [(1, 10, 20), (2, 20, 31), (4, 40, None)]
    assert left({}) == [(0, 0, None)]
    with pytest.raises(cf.CfaiError, match="begins at row 31"):
        left({0: parts[0], 1: parts[3]})


KILLED = """
import sys, cfai_nb as cf
url, folder = sys.argv[1:3]
cf.connect(base_url=url, account_id="a" * 32, api_token="t" * 40, store=folder + "/s.sqlite", rate=None, concurrency=4)
cf.enrich(folder + "/in", folder + "/out", {"vector": (cf.Embed(), "text", {"model": "bge-base-en-v1.5"})},
          memory=250_000, progress=False)
"""


@pytest.mark.slow  # a process for each kill, and each has to import pandas
def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Killed twice: every row once and in order, and billed twice at most what was in flight each time."""
    written(tmp_path / "in", 600, 10)
    rng, kills = random.Random(7), 0
    with running(rate=None, latency=0.05) as server:
        for _ in range(40):
            command = [sys.executable, "-c", KILLED, server.url, str(tmp_path)]
            process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
            before, wait = server.emulator.requests, rng.randint(1, 6)
            with ended(process):
                while process.poll() is None and (kills == 2 or server.emulator.requests < before + wait):
                    time.sleep(0.005)
                if process.poll() is not None:
                    assert process.returncode == 0, process.stderr and process.stderr.read()
                    break
                process.kill()
                kills += 1
        assert kills == 2
        parts = len(list((tmp_path / "out").glob("*.parquet")))  # a request each
        assert server.emulator.requests <= parts + kills * 4
    made = read(tmp_path / "out")
    assert made["id"].to_pylist() == list(range(600))
    assert made["vector"].null_count == 30
