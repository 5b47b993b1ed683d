"""Calls of verbs as mypy checks them against ``accessor.pyi``: right ones have their types, wrong ones are errors.

Checked by ``mypy`` alone, where an error that is expected and does not come is an error itself; nothing runs it.
"""

from __future__ import annotations

from typing import Any, TypeAlias, assert_type

import pandas as pd

import cfai_nb as cf
from cfai_nb._engine.plan import Plan

Column: TypeAlias = pd.Series[Any]
FRAME = pd.DataFrame({"text": ["a", "b"]})
DOOR = cf.on(FRAME)

assert_type(DOOR.embed("text"), Column)
assert_type(DOOR.embed.plan("text", pooling="cls"), Plan)
assert_type(DOOR.search("query", top_k=3, cache=False), pd.DataFrame)
assert_type(cf.on(FRAME["text"]).cluster(n_clusters=3, budget="free", model="bge-m3"), Column)
DOOR.classify("text", ["a", "b"], probabilities=True, on_error="raise")
DOOR.map("text", color="text", progress=False).select([0])
cf.connect("emulator", budget=1.0, store=False)

DOOR.embed("text", polling="cls")  # type: ignore[call-arg]
DOOR.embed("text", pooling="clss")  # type: ignore[arg-type]
DOOR.embed.plan("text", cache="maybe")  # type: ignore[arg-type]
DOOR.cluster("text", k=3)  # type: ignore[call-arg]
DOOR.embedd("text")  # type: ignore[attr-defined]
cf.connect("emulator", cach=True)  # type: ignore[call-arg]


async def awaited() -> None:
    """Every verb can be awaited."""
    assert_type(await DOOR.embed.aio("text"), Column)
    await DOOR.similarity.aio("text", othr="query")  # type: ignore[call-arg]
