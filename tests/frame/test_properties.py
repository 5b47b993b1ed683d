"""Properties: any frame, any index, any pattern of failures; every row is accounted for exactly once."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import cfai_nb as cf
from cfai_nb._engine.plan import draw_up
from cfai_nb._engine.store.key_index import Index, split
from cfai_nb._engine.store.key_index import halves as halves_of
from cfai_nb.emulator import Emulator
from cfai_nb.models import find
from cfai_nb.tasks import Classify, Embed

pytestmark = pytest.mark.slow

LABELS = ["billing", "shipping"]
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

letters = st.text(max_size=12) | st.sampled_from(["a", "b", "a b", " ", "", "\n", "日本", "\U0001f600", "\u2028", "\0"])
halves = st.sampled_from(["\ud800", "x\udfffy"])
missing = st.sampled_from([None, np.nan, pd.NA, pd.NaT])
odd = st.sampled_from([b"bytes", [1], {"a": 1}, object, ("x",)])
numbers = st.integers(-5, 5) | st.booleans() | st.floats(allow_nan=False, width=32)
cells = st.lists(letters | letters | missing | numbers | odd | halves, max_size=25)


@st.composite
def columns(draw: st.DrawFn) -> pd.Series:
    """A column of anything on any index; not one of bad cells alone, which is refused as a whole."""
    values = draw(cells)
    kinds = [kind_of(value) for value in values]
    assume("text" in kinds or kinds.count("bad") < 2)
    labels = st.integers(0, 5) | st.sampled_from(["x", "y"]) | st.none() | st.floats(width=16)
    kind = draw(st.sampled_from(["range", "labels", "pairs"]))
    index: Any = pd.RangeIndex(len(values))
    if kind == "labels":
        index = pd.Index(draw(st.lists(labels, min_size=len(values), max_size=len(values))), dtype=object)
    elif kind == "pairs":
        index = pd.MultiIndex.from_arrays([np.arange(len(values)) % 3, np.arange(len(values)) % 2])
    return pd.Series(values, index=index, dtype=object, name=draw(st.sampled_from([None, "text", 0, ("a", "b")])))


def kind_of(value: Any) -> str:
    """What is to become of a cell: nothing, a failure, or an answer."""
    if isinstance(value, (bytes, list, dict, tuple, type)):
        return "bad"
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            return "bad"
        return "text" if value.strip() else "missing"
    return "text"


def scripts(*kinds: str) -> st.SearchStrategy[list[str | None]]:
    """Faults by order of arrival; every third call is clean, since a service that only fails ends a run by design."""
    drawn = st.lists(st.sampled_from([None, *kinds]), max_size=10)
    return drawn.map(lambda faults: [None if at % 3 == 2 else fault for at, fault in enumerate(faults)])


BEFORE = scripts("500", "reset", "3040", "503", "529", "html", "3007")
FAILING = scripts("5006", "3030", "8001", "500", "reset")
BROKEN = scripts("garbage", "short", "cut", "reset-after")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits between attempts, a thousand times shorter."""
    monkeypatch.setattr("random.uniform", lambda low, high: high / 1000)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """A new place for a store at each call."""
    return (tmp_path / f"{number}.sqlite" for number in itertools.count())


def carried_out(column: pd.Series, emulator: Emulator, store: Any, verb: str, **options: Any) -> pd.Series:
    with warnings.catch_warnings(), cf.connect(emulator, store=store) as session:
        warnings.simplefilter("ignore", cf.CfaiWarning)
        bound = getattr(column.cfai, verb)
        try:
            result = bound(**({"labels": LABELS} if verb == "classify" else {}), **options)
        except cf.CfaiError:  # every row failed
            assert not cf.last_run().run.done
            result = cf.last_run().frame()
        assert session.engine(cache=True).share.inputs.own.by_key == {}
    return result


def accounted(column: pd.Series, result: pd.Series) -> None:
    """Every row is exactly one of: answered, failed with a reason, missing from the start; on its index, in order."""
    report = cf.last_run()
    pd.testing.assert_index_equal(result.index, column.index, exact=True)
    kinds = [kind_of(value) for value in column]
    answered = result.notna().tolist()
    assert not any(there for there, kind in zip(answered, kinds, strict=True) if kind != "text")
    gone = sum(kind == "text" and not there for there, kind in zip(answered, kinds, strict=True))
    assert len(report.failures) == gone + kinds.count("bad")
    assert report.failed == len(report.failures)
    assert report.not_run == 0
    event = report.event
    assert event.done == sum(answered)
    assert event.rows == kinds.count("text")
    assert event.in_flight == 0


@few
@given(column=columns(), concurrency=st.sampled_from([1, 3, "auto"]), faults=BEFORE)
def test_faults_before_the_work_cost_nothing(
    stores: Any, column: pd.Series, concurrency: Any, faults: list[Any]
) -> None:
    """Whatever fails before the work, every row that has a text is answered, and each distinct text billed once."""
    for verb in ("embed", "classify"):
        emulator = Emulator(rate=None, faults=faults)
        result = carried_out(column, emulator, next(stores), verb, concurrency=concurrency)
        accounted(column, result)
        assert len(cf.last_run().failures) == sum(kind_of(value) == "bad" for value in column)
        assert set(emulator.billed_inputs.values()) <= {1}
        texts = {str(value) for value in column if kind_of(value) == "text"}
        assert {text for _, text in emulator.billed_inputs} == texts


@few
@given(column=columns(), faults=FAILING)
def test_rows_that_are_refused_fail_and_are_tried_again(stores: Any, column: pd.Series, faults: list[Any]) -> None:
    """With refusals in any pattern every row is accounted for; a second run fills exactly what was missing."""
    store, emulator = next(stores), Emulator(rate=None, faults=faults)
    first = carried_out(column, emulator, store, "classify", concurrency=2)
    accounted(column, first)
    after = Emulator(rate=None)
    second = carried_out(column, after, store, "classify")
    accounted(column, second)
    failed = {str(v) for v, there in zip(column, first.notna(), strict=True) if kind_of(v) == "text" and not there}
    assert {text for _, text in after.billed_inputs} == failed
    for one, other, kind in zip(first, second, map(kind_of, column), strict=True):
        assert kind != "text" or isinstance(other, str)
        assert not isinstance(one, str) or one == other


@few
@given(
    column=columns(),
    faults=BROKEN,
)
def test_answers_that_break_are_never_believed(stores: Any, column: pd.Series, faults: list[Any]) -> None:
    """Broken answers are asked again: the vectors are those of a run without faults, and none is bought twice whole."""
    emulator = Emulator(rate=None, faults=faults)
    result = carried_out(column, emulator, next(stores), "embed", concurrency=1)
    accounted(column, result)
    clean = carried_out(column, Emulator(rate=None), next(stores), "embed")
    for one, other in zip(result, clean, strict=True):
        assert (one is None) == (other is None)
        assert one is None or np.array_equal(one, other)
    assert set(emulator.served_inputs.values()) <= {1}


@given(
    rows=st.lists(
        st.none() | st.text(max_size=30) | st.sampled_from(["a", "b", "x" * 90_000, "y" * 200_000]), max_size=60
    ),
    name=st.sampled_from(["bge-m3", "qwen3-embedding-0.6b", "clef-flash"]),
)
@settings(max_examples=60, deadline=None)
def test_plans_lose_and_double_nothing(rows: list[str | None], name: str) -> None:
    """Each distinct input is in one batch, no batch is over the model's limit, and every row leads to its text."""
    model = find(name)
    plan = draw_up(Classify(labels=LABELS) if name == "clef-flash" else Embed(), model, rows, "cloudflare")
    assert plan.inputs == list(dict.fromkeys(row for row in rows if row is not None))
    assert [plan.inputs[at] if at >= 0 else None for at in plan.where.tolist()] == rows
    batches = list(plan.batches(range(len(plan.inputs))))
    assert [i for batch in batches for i in batch] == list(range(len(plan.inputs)))
    assert all(1 <= len(batch) <= plan.task.batch(model) for batch in batches)
    assert len(set(plan.keys)) == len(plan.inputs)
    assert plan.estimate.requests == len(batches)


@given(packs=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=8, unique=True), max_size=12))
@settings(max_examples=60, deadline=None)
def test_the_index_is_a_dict(packs: list[list[int]]) -> None:
    """Whatever was added in whatever steps, the newest pack of a key is found, and no other key."""
    index, truth = Index(), {}
    keys = [(number // 4).to_bytes(8, "big") + (number % 4).to_bytes(8, "big") for number in range(41)]
    for number, pack in enumerate(packs, 1):
        index.extend([(number, b"".join(keys[k] for k in pack))])
        truth |= {keys[k]: (number, slot) for slot, k in enumerate(pack)}
    found = zip(*(array.tolist() for array in split(index.places(*halves_of(b"".join(keys))))), strict=True)
    assert list(found) == [truth.get(key, (-1, 0)) for key in keys]
