"""Dask frames and Series have the verbs of pandas that go row by row: lazy, with exact types, one engine for all."""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from processes import environment, until

import cfai_nb as cf
from cfai_nb import accessor
from cfai_nb.emulator import Emulator
from cfai_nb.frame import dask_part, dask_report, progress
from cfai_nb.widgets import progress as widgets
from cfai_nb.widgets.progress import Bar

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")

LABELS = ["billing", "shipping"]
VERBS = [
    ("classify", ("text", LABELS), {}),
    ("classify", ("text", LABELS), {"probabilities": True}),
    ("embed", ("text",), {"model": "bge-small-en-v1.5"}),
    ("generate", ("In a word: {text}",), {}),
    ("check", ("text", "about a parcel"), {}),
    ("score", ("text",), {"levels": ["calm", "angry"]}),
    ("sentiment", ("text",), {}),
    ("filter", ("text", "about a parcel"), {}),
    ("verify", ("text", "kind"), {}),
    ("run", (cf.Summarize(), "text"), {}),
    ("extract", ("text", {"count": int, "late": bool, "kind": ["parcel", "letter"]}), {}),
    ("extract", ("text", {"count": int, "late": bool}), {"details": True}),
    ("extract", ("text", {"late": bool}), {}),
]


@pytest.fixture
def pandas() -> pd.DataFrame:
    texts = [None if at % 5 == 4 else f"parcel number {at % 7} of the day" for at in range(24)]
    return pd.DataFrame({"id": range(24), "text": texts, "kind": pd.Categorical(["a", "b"] * 12)})


@pytest.fixture
def frame(pandas: pd.DataFrame) -> Any:
    return dd.from_pandas(pandas, npartitions=4)


def same(lazy: Any, given: Any) -> None:
    """The computed result is that of pandas, and its types are those of the meta."""
    made = lazy.compute(scheduler="threads")
    assert type(made) is type(given)
    for one, other, meta in zip(*map(columns, (made, given, lazy._meta)), strict=True):
        assert one.dtype == meta.dtype
        assert one.dtype == other.dtype or pd.api.types.is_string_dtype(other.dtype)  # Dask's own strings are Arrow's
        if one.dtype == "object" and isinstance(one.dropna().iloc[0], np.ndarray):
            one, other = one.map(tuple, na_action="ignore"), other.map(tuple, na_action="ignore")
        pd.testing.assert_series_equal(one, other, check_dtype=False, check_categorical=False)


def columns(of: Any) -> list[pd.Series[Any]]:
    return [of] if isinstance(of, pd.Series) else [of[name] for name in of.columns]


@pytest.mark.parametrize(("verb", "args", "options"), VERBS, ids=lambda one: one if isinstance(one, str) else "")
def test_answers_and_types_are_those_of_pandas(
    emulator: Emulator, frame: Any, pandas: pd.DataFrame, verb: str, args: Any, options: Any
) -> None:
    """Nothing is sent until it is computed; then the result is what pandas gives."""
    lazy = getattr(frame.cfai, verb)(*args, **options)
    assert emulator.requests == 0
    same(lazy, getattr(pandas.cfai, verb)(*args, **options))


@pytest.mark.slow  # processes that import Dask
@pytest.mark.parametrize("first", ["dask.dataframe", "cfai_nb"])
def test_the_order_of_imports_does_not_matter(first: str) -> None:
    """Importing the package imports neither Dask nor distributed; whichever comes first, frames have their verbs."""
    code = (
        f"import sys, {first}; assert {first != 'cfai_nb'} == ('dask' in sys.modules); import cfai_nb; "
        "import dask.dataframe as dd, pandas as pd; f = dd.from_pandas(pd.DataFrame({'a': ['x']}), npartitions=1); "
        "assert 'distributed' not in sys.modules; print(f.cfai, f.a.cfai.embed)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<cfai of 1 partitions: ")
    assert "lazy when called" in done.stdout


def test_a_series_goes_as_a_frame_does(emulator: Emulator, frame: Any, pandas: pd.DataFrame) -> None:
    """A Series needs no column."""
    same(frame.text.cfai.classify(LABELS), pandas.text.cfai.classify(LABELS))


def test_bad_days_of_a_frame(emulator: Emulator, pandas: pd.DataFrame) -> None:
    """Empty partitions, unknown divisions, categories as input and Arrow strings."""
    cut = dd.from_pandas(pandas, npartitions=4)
    empty = cut[cut.id > 11].clear_divisions()
    same(empty.cfai.classify("text", LABELS, probabilities=True), pandas[12:].cfai.classify(
        "text", LABELS, probabilities=True))  # fmt: skip
    none = cut[cut.id > 99].cfai.embed("text", model="bge-small-en-v1.5")
    assert len(none.compute(scheduler="threads")) == 0
    same(cut.cfai.classify("kind", LABELS), pandas.cfai.classify("kind", LABELS))
    arrow = pandas.astype({"text": "string[pyarrow]"})
    same(dd.from_pandas(arrow, npartitions=3).cfai.classify("text", LABELS), arrow.cfai.classify("text", LABELS))


def test_only_the_columns_of_the_verb_are_read(emulator: Emulator, pandas: pd.DataFrame, tmp_path: Path) -> None:
    """The projection reaches the reader of the files."""
    pandas.to_parquet(tmp_path / "rows.parquet")
    lazy = dd.read_parquet(tmp_path).cfai.classify("text", LABELS)
    shown = lazy.expr.simplify().tree_repr()
    assert "['text']" in shown, shown
    assert "'kind'" not in shown
    assert lazy.compute(scheduler="threads").notna().sum() == pandas.text.notna().sum()


def test_equal_rows_of_two_partitions_are_one_call(emulator: Emulator, frame: Any) -> None:
    """All partitions share the engine, and the plan counts equal rows once."""
    plan = frame.cfai.generate.plan("Say {text}")
    assert (plan.rows, plan.missing, plan.distinct, plan.requests) == (24, 4, 7, 7)
    assert "7 distinct" in repr(plan)
    assert emulator.requests == 0
    frame.cfai.generate("Say {text}").compute(scheduler="threads")
    assert emulator.requests == 7
    assert frame.cfai.generate.plan("Say {text}").stored == 7


def test_the_price_of_the_plan_is_that_of_pandas(emulator: Emulator, frame: Any, pandas: pd.DataFrame) -> None:
    """Equal inputs in several partitions are not priced twice."""
    whole = pandas.cfai.generate.plan("Say {text}").estimate
    plan = frame.cfai.generate.plan("Say {text}")
    assert plan.cost.neurons == pytest.approx(whole.cost.neurons)
    assert (plan.distinct, plan.requests) == (whole.distinct, whole.requests)


@pytest.mark.parametrize(("store", "cache"), [("s.sqlite", "refresh"), ("s.sqlite", False), (False, True)])
def test_what_each_partition_sends_again_is_priced_for_each(tmp_path: Path, store: Any, cache: Any) -> None:
    """Without stored answers equal inputs of several partitions are bought for each, and the plan says so."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=store and tmp_path / store)
    frame = dd.from_pandas(pd.DataFrame({"text": [f"text {at % 5}" for at in range(20)]}), npartitions=4)
    plan = frame.cfai.embed.plan("text", cache=cache)
    assert (plan.distinct, plan.requests) == (5, 4)
    frame.cfai.embed("text", cache=cache).compute(scheduler="synchronous")
    assert emulator.requests == plan.requests
    assert plan.cost.neurons >= emulator.billed > 0


def test_a_budget_is_one_for_all_partitions(emulator: Emulator) -> None:
    """It is not given to each partition again; what was bought is kept."""
    frame = dd.from_pandas(pd.DataFrame({"text": [f"text {at:04}" for at in range(80)]}), npartitions=8)
    whole = frame.cfai.embed.plan("text").cost.neurons
    with pytest.raises(cf.BudgetError):
        frame.cfai.embed("text", neurons=0.6 * whole).compute(scheduler="synchronous")
    assert 0.4 * whole < cf.ledger().neurons.sum() <= 0.6 * whole
    assert frame.cfai.embed.plan("text").stored == 40


def test_a_budget_lives_as_long_as_its_call(emulator: Emulator, frame: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on when the frame is computed again, also for pickled parts, and is dropped with frame and report."""
    monkeypatch.setattr(dask_report, "IDLE", 0.1)
    lazy = frame.cfai.embed("text", neurons=50.0)
    (part,) = {id(one): one for one in lazy.expr.operands if hasattr(one, "session")}.values()
    name, copied = part.budget.name, pickle.dumps(part)
    for _ in range(2):
        lazy.compute(scheduler="threads")
        gc.collect()
        spent = dask_part._budgets[name].spent
        assert spent == cf.ledger().neurons.sum() > 0
    del lazy, part
    gc.collect()
    pickle.loads(copied)(pd.DataFrame({"text": ["another parcel"]}))
    assert dask_part._budgets[name].spent > spent
    dask_report._newest.clear()
    pd.Series(["a letter"]).cfai.embed()  # cf.last_run() is another report now
    until(lambda: gc.collect() >= 0 and name not in dask_part._budgets, seconds=5.0)


def test_a_report_lives_as_long_as_its_call(emulator: Emulator, frame: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many plans and calls came after it; a plan makes none."""
    monkeypatch.setattr(dask_report, "_newest", collections.deque(maxlen=2))
    lazy = frame.cfai.embed("text")
    for _ in range(3):
        frame.cfai.sentiment.plan("text")
    assert len(dask_report._newest) == 1
    for _ in range(3):
        frame.cfai.sentiment("text")
    lazy.compute(scheduler="synchronous")
    assert cf.last_run().receipt.startswith("embed: 20 rows in 4 of 4 partitions")
    assert len(dask_report._newest) == 2


def test_what_was_answered_is_noted_of_the_latest_calls(
    emulator: Emulator, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process does not note ever more calls; one that still is answered stays."""
    monkeypatch.setattr(dask_part, "_KEPT", 3)
    first = frame.cfai.embed("text", cache=False)
    for _ in range(4):
        frame.cfai.embed("text").compute(scheduler="synchronous")
        first.compute(scheduler="synchronous")
    (part,) = {id(one): one for one in first.expr.operands if hasattr(one, "session")}.values()
    assert len(dask_part._proven) == 3
    assert list(dask_part._proven)[-1] == f"{part.call} 0"


def test_extract_is_two_calls_with_one_price_and_one_budget(emulator: Emulator, pandas: pd.DataFrame) -> None:
    """Booleans go to a decision model in each partition; the plan has both, and what it says is enough."""
    frame = dd.from_pandas(pandas, npartitions=4)
    task = cf.Extract(fields={"count": int, "late": bool})
    plan = frame.cfai.run.plan(task, "text")
    assert plan.words == "run with @cf/cloudflare/clairic and @cf/cloudflare/clef-flash"
    assert (plan.rows, plan.distinct, plan.requests) == (24, 7, 14)
    assert plan.cost.neurons == pytest.approx(pandas.cfai.run.plan(task, "text").cost.neurons)
    made = frame.cfai.run(task, "text", neurons=plan.cost.neurons).compute(scheduler="threads")
    pd.testing.assert_frame_equal(made, pandas.cfai.extract("text", task.fields))
    assert emulator.requests == 14
    report = cf.last_run()
    assert (report.event.done, report.event.requests) == (20, 0)


def test_one_progress_and_one_receipt(emulator: Emulator) -> None:
    """Listeners see rows of the whole grow to all of them, with one end; the receipt is of all partitions, once more
    when it is computed again."""
    frame = dd.from_pandas(pd.DataFrame({"text": [*(f"text {at}" for at in range(40)), *[None] * 8]}), npartitions=6)
    lazy, seen = frame.dropna().cfai.generate("Say {text}"), list[Any]()
    with cf.listen(seen.append):
        lazy.compute(scheduler="threads")
    done = [event.done for event in seen]
    assert done == sorted(done)
    assert (done[-1], seen[-1].rows, [event.finished for event in seen].count(True)) == (40, 40, 1)
    report = cf.last_run()
    assert report.receipt.startswith("generate: 40 rows in 6 of 6 partitions · 40 requests · emulator, would be ")
    assert report.event.spent.neurons == pytest.approx(emulator.billed)
    lazy.compute(scheduler="threads")
    assert report.receipt.startswith("generate: 40 rows in 6 of 6 partitions · 40 from the store · 0 requests · ")
    assert (len(report.flow), len(report.latency)) == (0, 0)
    for say in (report.frame, lambda: report.uncertain, lambda: report.logs, lambda: report.answered):
        with pytest.raises(LookupError, match="compute"):
            say()


def test_a_part_may_begin_while_the_title_is_written() -> None:
    """What another thread notes waits until the parts are counted."""
    report, others = dask_report.DaskReport("call", "embed", 9, 1, "none", False, None), list[threading.Thread]()
    report.take("first", "runs", 0, None, False, ())

    class Slow(dict[str, str]):
        def values(self) -> Any:
            for value in super().values():
                if not others and threading.current_thread() is threading.main_thread():
                    others.append(threading.Thread(target=report.take, args=("second", "ends", 0, None, False, ())))
                    others[0].start()
                    time.sleep(0.05)
                yield value

    report._states = Slow(report._states)
    assert report.title.endswith("of 9 partitions, about")
    others[0].join()
    assert report.title == "embed, 1 of 9 partitions, about"
    report.take("first", "failed", 0, None, False, ())
    until(lambda: report._thread is None)


def test_rows_that_fail_are_in_the_receipt(tmp_path: Path) -> None:
    """Failures of all partitions are counted, the first ones are listed, and each partition warns."""
    cf.connect(Emulator(rate=None, faults=lambda number, model: "5006" if number in (3, 9) else None), store=False)
    frame = dd.from_pandas(pd.DataFrame({"text": [f"text {at}" for at in range(12)]}), npartitions=2)
    with pytest.warns(cf.CfaiWarning, match="of 6 rows failed"):
        made = frame.cfai.generate("Say {text}").compute(scheduler="synchronous")
    report = cf.last_run()
    assert made.isna().sum() == report.failed == len(report.failures) == 2
    assert " · 2 failed · " in report.receipt


def test_stop_ends_all_partitions(tmp_path: Path) -> None:
    """An interrupt of ``compute()`` sends nothing more from any partition; what was bought is kept."""
    emulator = Emulator(rate=None, latency=0.02)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    frame = dd.from_pandas(pd.DataFrame({"text": [f"text {at}" for at in range(2_000)]}), npartitions=4)

    def interrupt() -> None:
        until(lambda: emulator.requests > 10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        frame.cfai.generate("Say {text}").compute(scheduler="threads")
    time.sleep(0.2)
    before = emulator.requests
    time.sleep(0.2)
    assert emulator.requests == before < 2_000
    until(lambda: frame.cfai.generate.plan("Say {text}").stored == before)


def test_a_part_that_begins_after_stop_sends_nothing(
    emulator: Emulator, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that Dask had handed to a thread when ``compute()`` was interrupted does not begin; computed again it
    does."""
    begun, stopped, link = threading.Event(), threading.Event(), dask_part._link

    def late() -> Any:
        begun.set()
        stopped.wait(5)
        return link()

    def interrupt() -> None:
        begun.wait()
        time.sleep(0.05)  # until the main thread waits
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(dask_part, "_link", late)
    threading.Thread(target=interrupt, daemon=True).start()
    answers = frame.cfai.generate("Say {text}")
    with pytest.raises(KeyboardInterrupt):
        answers.compute(scheduler="threads")
    stopped.set()
    time.sleep(0.2)
    assert not emulator.requests
    assert len(answers.compute(scheduler="threads")) == len(frame)
    assert emulator.requests


def test_a_notebook_shows_one_bar(emulator: Emulator, frame: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All partitions have one bar, which ends with the receipt; ``progress=False`` shows none."""
    bars: list[Bar] = []

    @contextlib.contextmanager
    def bar() -> Any:
        bars.append(Bar())
        yield bars[-1].show

    monkeypatch.setattr(accessor, "_bar", bar)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(widgets, "publish", lambda *args, **options: None)
    frame.cfai.generate("Say {text}", progress=False).compute(scheduler="threads")
    assert bars == []
    frame.cfai.generate("Tell {text}").compute(scheduler="threads")
    assert [repr(each).partition(" · emulator")[0] for each in bars] == [
        "✓ generate: 20 rows in 4 of 4 partitions · 13 from the store · 7 requests"
    ]


def test_verbs_that_need_all_rows_say_so(emulator: Emulator, frame: Any) -> None:
    """Ranking and clusters are not done partition by partition."""
    for name in ("rank", "cluster", "search"):
        with pytest.raises(AttributeError, match="needs all rows at once"):
            getattr(frame.cfai, name)
    with pytest.raises(AttributeError, match="Did you mean 'embed'"):
        _ = frame.cfai.embd
    with pytest.raises(cf.ColumnError):
        frame.cfai.embed("txt")


@pytest.mark.slow
def test_an_error_stops_the_other_partitions(tmp_path: Path) -> None:
    """A call that is ended by one partition sends nothing more from the others."""
    emulator = Emulator(rate=None, latency=0.02, neurons_per_day=30.0)
    cf.connect(emulator, store=tmp_path / "q.sqlite", concurrency=1)
    rows = dd.from_pandas(pd.DataFrame({"text": [f"text {at}" for at in range(400)]}), npartitions=4)
    with pytest.raises(cf.QuotaExhausted):
        rows.cfai.generate("Say {text}").compute(scheduler="threads")
    time.sleep(0.3)
    before = emulator.requests
    time.sleep(0.2)
    assert emulator.requests == before
    assert rows.cfai.generate.plan("Say {text}").stored > 0


def test_what_is_pickled_holds_no_token_and_no_session(emulator: Emulator, frame: Any) -> None:
    """A part finds its session by name, and says so where there is none."""
    lazy = frame.cfai.embed("text")
    (part,) = {id(one): one for one in lazy.expr.operands if hasattr(one, "session")}.values()
    again = pickle.loads(pickle.dumps(part))
    assert again.held == []
    assert "text" not in lazy._name
    object.__setattr__(again, "session", "another")
    found: list[BaseException] = []

    def compute() -> None:
        try:
            again(pd.DataFrame({"text": ["x"]}))
        except cf.SetupError as error:
            found.append(error)

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert "another process" in str(found[0])
