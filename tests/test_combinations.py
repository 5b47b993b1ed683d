"""The promises in combinations drawn at random: verb, frame, carrier, options, faults and form."""

from __future__ import annotations

import asyncio
import collections
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from intercept import Witness

import cfai_nb as cf

#: Combinations of one test; a failure names its number, with which it is drawn again.
EACH, TESTS = 10, 8
CHAT = "llama-3.3-70b-instruct-fp8-fast"
TEXTS = ["Where is my refund?", "The parcel in Rome", "The app crashes", "日本語", "a\u2028b", "{x} <b>", "x" * 3000]
LABELS = ["billing", "shipping"]


def weather(city: str = "Rome") -> str:
    """Say what the weather is in a city."""
    return f"dry in {city}"


@dataclass(frozen=True)
class Ask:
    """A verb, what it is given beside the column, and what its result is."""

    verb: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    first: bool = False  # the arguments come before the column
    rows: bool = False  # the result is rows of the frame, or of no row at all
    turns: bool = False  # a plan prices the first turns


ASKS = [
    Ask("embed"), Ask("classify", (LABELS,)), Ask("classify", (LABELS,), {"probabilities": True}),
    Ask("classify", ({"place": ["city", "sea"], "thing": ["tool", "food"]},)),
    Ask("generate", options={"max_tokens": 40}), Ask("generate", options={"n": 2, "max_tokens": 40, "model": CHAT}),
    Ask("generate", options={"schema": {"city": str}, "model": CHAT}),
    Ask("generate", options={"tools": [weather], "model": CHAT}, turns=True),
    Ask("ask", ({"wet": cf.yes_no("Is it wet?"), "red": cf.yes_no("Is it red?")},)), Ask("check", ("It is wet.",)),
    Ask("score", (["bad", "good"],)), Ask("sentiment"), Ask("extract", ({"city": str, "urgent": bool},)),
    Ask("translate", ("de",)), Ask("mask", (["city"],)), Ask("moderate"), Ask("speak"),
    Ask("filter", ("It is wet.",), rows=True), Ask("rank", ("refund",), rows=True),
    Ask("cluster", options={"n_clusters": 2}, rows=True),
    Ask("dedupe", rows=True), Ask("outliers", options={"n_neighbors": 2}), Ask("project", options={"method": "pca"}),
    Ask("similarity", ("refund",)), Ask("search", ("refund", 2), first=True, rows=True),
    Ask("sim_join", (pd.Series(["refund", "Rome"], name="w"),), first=True, rows=True),
]  # fmt: skip
BY_PARTITION = {"embed", "classify", "generate", "check", "sentiment", "extract", "filter", "score", "translate"}


@dataclass
class Drawn:
    """One combination."""

    number: int
    ask: Ask
    column: pd.Series[Any]
    carrier: str
    options: dict[str, Any]
    faults: list[Any]
    awaited: bool
    share: float | None  # of the plan's price, as the budget

    def __str__(self) -> str:
        kind = f"{len(self.column)} {self.column.dtype} {type(self.column.index).__name__} {self.column.name!r}"
        asked = f"{self.ask.verb} {self.ask.options} on a {self.carrier} of {kind}"
        return f"{self.number}: {asked}, {self.options}, budget {self.share}, {self.faults}, awaited {self.awaited}"

    @property
    def data(self) -> Any:
        """What the verb is of."""
        if self.carrier == "series":
            return self.column
        name = self.column.name
        frame = pd.DataFrame({name: self.column, ("o", "p") if isinstance(name, tuple) else "o": 1})
        if self.carrier == "dask":
            return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=2, sort=False)
        return pytest.importorskip("polars").from_pandas(frame) if self.carrier == "polars" else frame

    def call(self, form: str = "", **options: Any) -> Any:
        """Call the verb, await it, or price it."""
        on: list[Any] = [] if self.carrier == "series" else [self.column.name]
        if self.ask.verb == "generate":
            on = [f"Say {{{'value' if self.carrier == 'series' else self.column.name}}}"]
        args = [*self.ask.args, *on] if self.ask.first else [*on, *self.ask.args]
        named = {**self.ask.options, **self.options, **options}
        if self.ask.verb == "rank":
            args, named = on, {**named, "query": "refund"}
        if self.ask.verb == "similarity" and self.carrier == "series":
            args, named = [], {**named, "other": "refund"}
        verb = getattr(self.data.cfai, self.ask.verb)
        if form == "plan":
            return verb.plan(*args, **named)
        if self.carrier == "dask":
            return verb(*args, **named).compute(scheduler="synchronous")
        return asyncio.run(verb.aio(*args, **named)) if self.awaited else verb(*args, **named)


def index_of(draw: random.Random, count: int) -> pd.Index[Any]:
    """An index of some kind: with labels that repeat, or are missing, or of two levels."""
    kinds: list[Any] = [
        pd.RangeIndex(count), pd.Index([at // 2 for at in range(count)]), pd.date_range("2026-01-01", periods=count),
        pd.MultiIndex.from_arrays([[at % 2 for at in range(count)], ["a"] * count], names=["x", "text"]),
        pd.CategoricalIndex(["p" if at % 2 else None for at in range(count)]),
        pd.Index([np.nan if at == 0 else at % 3 for at in range(count)], dtype=float),
    ]  # fmt: skip
    return draw.choice(kinds)


def drawn(number: int) -> Drawn:
    """Draw a combination."""
    draw = random.Random(number)
    ask = draw.choice(ASKS)
    count, missing = draw.choice([0, 1, 4, 6]), draw.choice([0.0, 0.3, 1.0])
    cells = [
        draw.choice([None, np.nan, pd.NA]) if draw.random() < missing else draw.choice(TEXTS) for _ in range(count)
    ]
    carrier = draw.choice(["series", "frame", "frame", "polars", "dask"])
    if carrier == "dask" and ask.verb not in BY_PARTITION:
        carrier = "frame"
    plain = carrier in ("dask", "polars")
    name = draw.choice(["text", "model", "a b"] if plain else ["text", "model", "cache", "on", 0, ("a", "b")])
    index = pd.RangeIndex(count) if plain else index_of(draw, count)
    column = pd.Series(cells, index=index, dtype=object, name=name)
    dtype = draw.choice(["object", "string", "category", "str"])
    column = column if dtype == "object" and not plain else column.astype("string" if plain else dtype)
    options: dict[str, Any] = {}
    if draw.random() < 0.3:
        options["concurrency"] = 1
    if draw.random() < 0.4:
        options["cache"] = draw.choice([False, "refresh", "only"])
    if draw.random() < 0.2:
        options["on_error"] = draw.choice(["raise", "partial"])
    if draw.random() < 0.2:
        options["gateway"] = "default"
    if ask.options.get("model") == CHAT and draw.random() < 0.3:
        options["queue"] = True
    before = [None, None, "500", "reset", "3040", "503"]
    faults = draw.choice([[], [], [draw.choice(before) for _ in range(6)], [draw.choice([None, "5006", "3030"])] * 3])
    return Drawn(
        number, ask, column, carrier, options, faults, draw.random() < 0.3, draw.choice([None, None, 0.0, 0.5, 1.0])
    )


def outcome(case: Drawn, **options: Any) -> Any:
    """Return the result, or the error of ours that it ended with; any other is raised."""
    try:
        return case.call(**options)
    except cf.CfaiError as error:
        return error


def price(case: Drawn) -> float | None:
    """Return the Neurons of the plan; None where there is none, since no row would be sent."""
    try:
        plan = case.call("plan")
    except cf.CfaiError:
        return None
    except ValueError as error:
        if "nothing to price" in str(error):
            return None
        raise
    neurons: float | None = (plan.cost if hasattr(plan, "cost") else plan.estimate.cost).neurons
    return neurons


def paid(here: Witness) -> collections.Counter[str]:
    """Return what was asked, and how often."""
    return collections.Counter(f"{call.path} {call.body}" for call in here.calls if "request_id" not in call.body)


def kept(case: Drawn, result: Any) -> None:
    """The rows lie on the index of the frame, and missing cells are missing."""
    if case.ask.rows or isinstance(result, cf.CfaiError):
        return
    if case.carrier in ("series", "frame"):
        pd.testing.assert_index_equal(result.index, case.column.index, exact=True)
    assert len(result) == len(case.column)
    cells = result.to_pandas() if case.carrier == "polars" else result
    table = cells.to_frame() if isinstance(cells, pd.Series) else cells
    assert table[case.column.isna().to_numpy()].isna().all(axis=None)


def holds(case: Drawn, here: Witness) -> None:
    """Carry a combination out, and look at every promise."""
    before, emulator = case.column.copy(deep=True), here.emulator
    cost = price(case)
    assert not here.calls, "a plan sends nothing"
    limit = None if case.share is None or cost is None else case.share * cost
    result = outcome(case, neurons=limit)
    billed = emulator.billed
    assert cf.ledger()["neurons"].sum() == pytest.approx(billed, abs=1e-6), "the ledger is the bill"
    assert limit is None or billed <= limit * (1 + 1e-9), "within the budget"
    assert cost is None or case.ask.turns or billed <= cost * (1 + 1e-9), "within the plan's price"
    assert case.options.get("cache") != "only" or not here.calls, "nothing is sent from the store alone"
    kept(case, result)

    emulator._faults._faults = ()
    first = paid(here)
    case.options = {name: value for name, value in case.options.items() if value not in ("refresh", "only")}
    result = outcome(case)
    assert not isinstance(result, cf.CfaiError), "without faults and limits it is answered"
    kept(case, result)
    once = paid(here)
    if case.options.get("cache") is not False:
        if not case.faults and case.ask.options.get("n") is None and case.ask.verb != "embed":
            assert all(once[asked] == times for asked, times in first.items()), "only what is missing is sent"
        outcome(case)
        assert paid(here) == once, "the third call sends nothing"
    assert cf.ledger()["neurons"].sum() == pytest.approx(emulator.billed, abs=1e-6)
    pd.testing.assert_series_equal(case.column, before)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Retries wait a thousandth, and any warning that is not ours is an error."""
    monkeypatch.setattr("random.uniform", lambda low, high: high / 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", cf.CfaiWarning)
        yield


@pytest.mark.parametrize("test", range(TESTS))
def test_every_promise_holds_in_every_combination(tmp_path: Path, test: int) -> None:
    """Plan, budget, ledger, store, index and missing cells hold together, whatever is asked, of what, and how."""
    for number in range(EACH * test, EACH * (test + 1)):
        case = drawn(number)
        here = Witness(faults=case.faults, terms_accepted=True, queue_polls=0)
        with cf.connect(here, store=tmp_path / f"{number}.sqlite", rate=None):
            try:
                holds(case, here)
            except Exception as error:
                error.add_note(str(case))
                raise
