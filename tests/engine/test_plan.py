"""Plans: distinct inputs, complete keys, exact numbers of requests, and what it costs before anything is sent."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest

import cfai_nb as cf
from cfai_nb._engine.plan import BATCH_TOKENS, draw_up, keys_of
from cfai_nb.emulator import Emulator
from cfai_nb.models import Model, find, price, tokens_in
from cfai_nb.tasks import Classify, Embed, Generate, Task

M3, FLASH, GLM = find("bge-m3"), find("clef-flash"), find("glm-4.7-flash")


def key(task: Task, model: Model = GLM, text: str = "x", origin: str = "cloudflare") -> bytes:
    return keys_of(task, model, [text], origin)[0]


class Answer(pydantic.BaseModel):
    """A schema of one field."""

    year: int


class Longer(pydantic.BaseModel):
    """The same with another field."""

    year: int
    month: int


DIFFERENT: list[tuple[Task, Task]] = [
    (Embed(), Embed(pooling="cls")),
    (Embed(pooling="mean"), Embed(pooling="cls")),
    (Embed(role="query"), Embed(role="document")),
    (Embed(role="query"), Embed(role="query", instruction="x")),
    (Embed(), Embed(truncate=True)),
    (Classify(labels=["a", "b"]), Classify(labels=["b", "a"])),
    (Classify(labels=["a", "b"]), Classify(labels=["a", "b", "c"])),
    (Classify(labels={"a": "1", "b": None}), Classify(labels={"b": None, "a": "1"})),
    (Classify(labels={"a": "1", "b": None}), Classify(labels={"a": "2", "b": None})),
    (Classify(labels=["a", "b"]), Classify(labels=["a", "b"], instructions="Which?")),
    (Generate(), Generate(system="x")),
    (Generate(), Generate(max_tokens=511)),
    (Generate(), Generate(temperature=0.0)),
    (Generate(seed=1), Generate(seed=2)),
    (Generate(), Generate(reasoning=True)),
    (Generate(), Generate(schema={"year": int})),
    (Generate(schema={"year": int}), Generate(schema={"year": float})),
    (Generate(schema={"year": int}), Generate(schema={"yeer": int})),
    (Generate(schema={"m": ["a", "b"]}), Generate(schema={"m": ["a", "c"]})),
    (Generate(schema=Answer), Generate(schema=Longer)),
    (Generate(), Classify(labels=["a", "b"])),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=lambda task: repr(task)[:60])
def test_any_other_option_is_another_key(one: Task, other: Task) -> None:
    """Every field of a task, order of labels included, is part of the key."""
    assert key(one) != key(other)
    assert key(one) == key(one)


LABELS = [f"label {i}" for i in range(150)]


@pytest.mark.parametrize(
    "form", [list, tuple, np.array, pd.Index, pd.Series, pd.array, pd.Categorical, lambda v: pd.Series(v).unique()],
    ids=["list", "tuple", "ndarray", "Index", "Series", "array", "Categorical", "unique"],
)  # fmt: skip
def test_labels_in_any_container_are_distinguished_to_the_last(form: Callable[[list[str]], Any]) -> None:
    """Labels given as any container differ in the key when one in the middle differs, however many they are."""
    changed = [*LABELS[:75], "another", *LABELS[76:]]
    assert key(Classify(labels=form(LABELS)), FLASH) != key(Classify(labels=form(changed)), FLASH)
    assert key(Classify(labels=form(LABELS)), FLASH) == key(Classify(labels=form(list(LABELS))), FLASH)


def test_model_input_and_origin_are_part_of_the_key() -> None:
    """Another model, another text, or another answerer is another key, also for texts that look alike."""
    found = {
        key(Embed(), M3), key(Embed(), find("qwen3-embedding-0.6b")), key(Embed(), M3, "y"), key(Embed(), M3, "x "),
        key(Embed(), M3, ""), key(Embed(), M3, "é"), key(Embed(), M3, "e\u0301"), key(Embed(), M3, origin="emulator"),
        key(Embed(), M3, origin="127.0.0.1:8080"),
    }  # fmt: skip
    assert len(found) == 9
    assert all(len(k) == 16 for k in found)


def test_the_version_of_a_task_is_part_of_the_key() -> None:
    """Raising a task's version lets old answers be."""

    @dataclass(frozen=True, kw_only=True)
    class Next(Embed):
        version = 2

    Next.__name__ = "Embed"
    assert key(Next(), M3) != key(Embed(), M3)


def test_what_is_only_shown_is_no_part_of_the_key() -> None:
    """probabilities= changes what is shown and nothing that is asked."""
    labels = ["a", "b"]
    assert key(Classify(labels=labels), FLASH) == key(Classify(labels=labels, probabilities=True), FLASH)


def test_the_same_schema_in_two_spellings_is_the_same_question() -> None:
    """Lists and tuples of labels, and equal schemas made twice, have equal keys."""
    assert key(Classify(labels=["a", "b"])) == key(Classify(labels=("a", "b")))
    assert key(Generate(schema={"year": int})) == key(Generate(schema={"year": int}))


KEYS = """
import json
from cfai_nb._engine.plan import keys_of
from cfai_nb.models import find
from cfai_nb.tasks import Classify, Embed, Generate
tasks = [
    (Embed(pooling="cls"), "bge-base-en-v1.5"), (Classify(labels={"a": "1", "b": None}), "clef-flash"),
    (Generate(schema={"m": ["x", "y"], "n": int}, temperature=0.3), "glm-4.7-flash"),
]
print(json.dumps([k.hex() for t, m in tasks for k in keys_of(t, find(m), ["text", "tëxt"], "cloudflare")]))
"""


@pytest.mark.slow
def test_keys_are_the_same_in_every_process() -> None:
    """Two processes with different hash seeds make the same keys."""
    found = []
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", KEYS], capture_output=True, text=True, env=environment, check=True, timeout=60
        )
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000])
@pytest.mark.parametrize("name", ["bge-m3", "qwen3-embedding-0.6b", "plamo-embedding-1b", "clef-flash"])
def test_requests_are_exactly_the_distinct_over_the_batch(name: str, count: int) -> None:
    """ceil(distinct / batch) requests, whatever the duplicates, and every input in exactly one of them."""
    model = find(name)
    task: Task = Classify(labels=["a", "b"]) if name == "clef-flash" else Embed()
    rows = [f"text {i}" for i in range(count)] * 2 + [None]
    plan = draw_up(task, model, rows, "cloudflare")
    most = task.batch(model)
    assert most == (1 if name == "clef-flash" else model.batch or 32)
    batches = list(plan.batches(range(len(plan.inputs))))
    assert len(batches) == math.ceil(count / most) == plan.estimate.requests
    assert sorted(i for batch in batches for i in batch) == list(range(count))
    assert (plan.estimate.rows, plan.estimate.missing, plan.estimate.distinct) == (len(rows), 1, count)


def test_a_batch_is_also_full_by_its_tokens() -> None:
    """Long texts make smaller batches; one that is too long by itself goes alone."""
    long_, giant = "x" * (4 * BATCH_TOKENS // 3), "y" * (8 * BATCH_TOKENS)
    rows = [f"{i}{long_}" for i in range(7)] + [giant] + [f"short {i}" for i in range(50)]
    plan = draw_up(Embed(), M3, rows, "cloudflare")
    batches = list(plan.batches(range(len(plan.inputs))))
    for batch in batches:
        assert len(batch) == 1 or sum(tokens_in(plan.inputs[i]) for i in batch) <= BATCH_TOKENS
    assert [len(b) for b in batches] == [2, 2, 2, 1, 1, 50]
    assert plan.estimate.overlong == 1
    assert "\n  1 input may be longer than the " in str(plan)


def test_where_leads_each_row_to_its_input() -> None:
    """Rows of equal text share an input, in order of first appearance; rows without text have none."""
    plan = draw_up(Embed(), M3, ["b", None, "a", "b", None, "c"], "cloudflare")
    assert plan.inputs == ["b", "a", "c"]
    assert plan.where.tolist() == [0, -1, 1, 0, -1, 2]


def test_an_estimate_is_the_price_of_the_forecast(tmp_path: Path) -> None:
    """Tokens, Neurons, dollars and minutes of a plan follow from text length, published price and rate."""
    cf.connect(Emulator(), store=tmp_path / "s.sqlite")
    texts = pd.Series([f"{i:04d}" * 100 for i in range(6000)])  # 100 tokens each
    estimate = texts.cfai.embed.plan().estimate
    assert estimate.usage.amounts["input_tokens"] == 600_000
    assert estimate.cost.neurons == pytest.approx(600_000 * 1075 / 1e6)
    assert estimate.cost.usd == pytest.approx(0.6 * 0.011825)
    assert not estimate.cost.exact
    assert estimate.requests == 60
    assert estimate.minutes == pytest.approx(60 / 3000)
    written = texts[:300].cfai.generate.plan("{value}").estimate
    assert written.usage.amounts["output_tokens"] == 300 * 512
    assert written.minutes == pytest.approx(1.0)
    assert written.cost == price(written.usage, GLM)


def test_a_plan_sends_nothing_and_says_what_it_would(tmp_path: Path) -> None:
    """.plan() reaches no server; its words name rows, requests, price, and that nothing was sent."""
    emulator = Emulator()
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    frame = pd.DataFrame({"text": ["a", "b", "a", None]})
    plan = frame.cfai.embed.plan("text")
    assert "4 rows (1 without text), 2 distinct" in repr(plan)
    assert "1 request," in repr(plan)
    assert "nothing sent" in repr(plan)
    assert "price unknown" in repr(frame.cfai.embed.plan("text", model="embeddinggemma-300m"))
    assert emulator.requests == 0


def test_a_plan_knows_what_the_store_holds(tmp_path: Path) -> None:
    """What was answered before is counted as stored and costs nothing; cache=False and refresh count it again."""
    cf.connect("emulator", store=tmp_path / "s.sqlite")
    pd.Series(["a", "b"]).cfai.embed()
    again = pd.Series(["a", "b", "c", "a"])
    estimate = again.cfai.embed.plan().estimate
    assert (estimate.stored, estimate.requests, estimate.usage.tokens) == (2, 1, 1)
    assert pd.Series(["a", "b"]).cfai.embed.plan().estimate.cost.neurons == 0
    for cache in (False, "refresh"):
        assert again.cfai.embed.plan(cache=cache).estimate.stored == 0


def test_minutes_go_by_the_rate_of_the_session(tmp_path: Path) -> None:
    """A rate given to connect() decides how long a plan takes; without any limit there is none to tell."""
    texts = pd.Series([f"t{i}" for i in range(120)])
    cf.connect(Emulator(), store=tmp_path / "s.sqlite", rate=60)
    assert texts.cfai.classify.plan(["a", "b"]).estimate.minutes == pytest.approx(2.0)
    cf.connect(Emulator(), store=tmp_path / "s.sqlite", rate=None)
    assert texts.cfai.classify.plan(["a", "b"]).estimate.minutes is None


def test_an_unknown_price_is_unknown_in_the_plan(tmp_path: Path) -> None:
    """A model without a published price makes a plan of unknown cost, and of none when nothing has to be sent."""
    cf.connect("emulator", store=tmp_path / "s.sqlite")
    texts = pd.Series(["a"])
    assert texts.cfai.embed.plan(model="embeddinggemma-300m").estimate.cost.neurons is None
    texts.cfai.embed(model="embeddinggemma-300m")
    assert texts.cfai.embed.plan(model="embeddinggemma-300m").estimate.cost.neurons == 0


def weather(city: str) -> str:
    """Say what the weather is."""
    return city


@pytest.mark.parametrize(
    ("options", "requests", "words"),
    [
        ({}, 2, []),
        ({"tools": [weather]}, 2, ["for the first turns", "tools take further turns, up to max_turns= a row"]),
        ({"schema": {"n": int}}, 2, ["for the first turns", "does not fit the schema is sent back once"]),
        ({"tools": [weather], "schema": {"n": int}}, 4, ["further turns", "then asked for as JSON", "sent back once"]),
        ({"n": 3, "model": "llama-3.3-70b-instruct-fp8-fast"}, 6, []), ({"n": 3}, 2, []),
    ],
    ids=["plain", "tools", "schema", "tools and schema", "samples one by one", "samples at once"],
)  # fmt: skip
def test_a_plan_says_what_it_does_not_price(options: dict[str, Any], requests: int, words: list[str]) -> None:
    """Further turns are named; samples taken one by one are counted; what cannot be sent is reported."""
    cf.connect("emulator", store=False)
    plan = pd.Series(["a", "b", None, ["c"]]).cfai.generate.plan("Say {value}", **options)
    assert plan.estimate.requests == requests
    assert "4 rows (1 without text, 1 that cannot be sent), 2 distinct" in repr(plan)
    assert all(each in repr(plan) for each in words)
    assert ("not in it" in repr(plan)) == bool(words)
    assert ("a budget holds for it" in repr(plan)) == bool(words)
