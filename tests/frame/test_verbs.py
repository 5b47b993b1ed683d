"""Verbs: three forms from one definition, options that mean something, and messages that help."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import Model
from cfai_nb.tasks import display_only

TEXTS = ["I want my money back", "Where is my parcel?", "I want my money back", None]


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"text": TEXTS, "n": [1, 2, 3, 4]})


CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("embed", ("text",), {}),
    ("embed", ("text",), {"model": "bge-base-en-v1.5", "pooling": "cls"}),
    ("classify", ("text", ["billing", "shipping"]), {}),
    ("classify", ("text",), {"labels": {"billing": "money", "shipping": None}, "probabilities": True}),
    ("classify", ("text", ["billing", "shipping"]), {"model": "llama-3.3-70b-instruct-fp8-fast"}),
    ("classify", ("text", ["Positive", "Negative"]), {"model": "distilbert-sst-2-int8"}),
    ("generate", ("Say {text} {n}",), {}),
    ("generate", ("Say {text}",), {"schema": {"year": int, "mood": ["a", "b"]}}),
    ("generate", ("Say {text}",), {"model": "gpt-oss-20b", "max_tokens": 900}),
    ("generate", ("Say {text}",), {"model": "qwq-32b", "schema": {"year": int}}),
]


def same(one: Any, other: Any) -> None:
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif len(one.dropna()) and isinstance(one.dropna().iloc[0], np.ndarray):
        assert all(a is b is None or np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    else:
        pd.testing.assert_series_equal(one, other)


@pytest.mark.parametrize(("verb", "args", "options"), CALLS, ids=lambda value: str(value)[:50])
def test_the_three_forms_agree(
    emulator: Emulator, frame: pd.DataFrame, verb: str, args: Any, options: dict[str, Any]
) -> None:
    """Call, .aio and cf.on give equal results, .plan foretells the requests, and a second time nothing is sent."""
    bound = getattr(frame.cfai, verb)
    plan = bound.plan(*args, **options)
    assert emulator.requests == 0
    done = bound(*args, **options)
    sent = emulator.requests
    assert sent == plan.estimate.requests
    same(done, asyncio.run(bound.aio(*args, **options)))
    same(done, getattr(cf.on(frame), verb)(*args, **options))
    assert emulator.requests == sent
    assert bound.plan(*args, **options).estimate.requests == 0
    assert done.iloc[:3].notna().to_numpy().any()
    assert done.attrs["cfai"]["origin"] == "emulator"
    assert done.attrs["cfai"]["verb"] == verb


def test_a_series_needs_no_column(emulator: Emulator, frame: pd.DataFrame) -> None:
    """s.cfai.embed(), s.cfai.classify(labels) and templates on a Series give what the frame gives."""
    column = frame["text"]
    same(column.cfai.embed(), frame.cfai.embed("text"))
    labels = ["billing", "shipping"]
    same(column.cfai.classify(labels), frame.cfai.classify("text", labels))
    same(column.cfai.classify(labels=labels), frame.cfai.classify("text", labels))
    same(column.cfai.generate("Say {text}"), frame.cfai.generate("Say {text}"))
    same(column.rename(None).cfai.generate("Say {value}"), frame.cfai.generate("Say {text}"))


@dataclass(frozen=True, kw_only=True)
class Lengths(cf.Task):
    """A task as one writes it in a cell: a bare model call, read as a number."""

    name: ClassVar[str] = "lengths"
    version: ClassVar[int] = 3
    positional: ClassVar[tuple[str, ...]] = ("word",)
    word: str = "x"
    unit: str = display_only("letters")

    def build_request(self, inputs: Any, model: Model) -> cf.Request:
        return cf.Request(json={"messages": [{"role": "user", "content": f"{self.word} {inputs[0]}"}]})

    def parse(self, answer: cf.Answer, inputs: Any, model: Model) -> Any:
        return [len(inputs[0])]

    def to_columns(self, cells: Any) -> cf.Column:
        return cf.Column(cells, "integer")


def test_a_task_of_ones_own_runs_like_a_verb(emulator: Emulator, frame: pd.DataFrame) -> None:
    """run, run.aio and run.plan take any Task; what is only shown changes no key."""
    assert frame.cfai.run.plan(Lengths(), "text").estimate.requests == 2
    done = frame.cfai.run(Lengths(), "text")
    assert done.dtype == "Int64"
    assert done.tolist()[:3] == [20, 19, 20]
    same(done, asyncio.run(frame.cfai.run.aio(Lengths(unit="words"), on="text")))
    assert emulator.requests == 2
    frame.cfai.run(Lengths(word="y"), on="text", cache=False)
    assert emulator.requests == 4


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: f.cfai.embed("text", polling="cls"), TypeError, ["polling", "pooling", "budget"]),
        (lambda f: f.cfai.embed("text", "cls"), TypeError, ["takes 0 arguments"]),
        (lambda f: f.cfai.classify("text"), ValueError, ["two labels"]),
        (lambda f: f.cfai.classify("text", ["a", "b"], "c"), TypeError, ["labels"]),
        (lambda f: f.cfai.embed("text", cache="maybe"), ValueError, ["cache=", "refresh"]),
        (lambda f: f.cfai.embed("text", on_error="explode"), ValueError, ["on_error=", "keep"]),
        (lambda f: f.cfai.embed("text", concurrency=0), ValueError, ["concurrency="]),
        (lambda f: f.cfai.embed("text", concurrency=True), ValueError, ["concurrency="]),
        (lambda f: f.cfai.embed("text", concurrency="many"), ValueError, ["concurrency="]),
        (lambda f: f.cfai.embed("text", budget="cheap"), ValueError, ["budget=", "free"]),
        (lambda f: f.cfai.embed("text", budget=-1), ValueError, ["budget="]),
        (lambda f: f.cfai.embed("text", neurons=True), ValueError, ["neurons="]),
        (lambda f: f.cfai.embed("text", budget=1, neurons=1), ValueError, ["not both"]),
        (lambda f: f.cfai.embed("text", model="bge-m4"), cf.ModelError, ["bge-m3"]),
        (lambda f: f.cfai.embed("text", model=3), cf.ModelError, ["model="]),
        (lambda f: f.cfai.embed("text", model="glm-4.7-flash"), cf.ModelError, ["bge-m3"]),
        (lambda f: f.cfai.embed("text", model="llama-3.1-8b-instruct"), cf.ModelError, ["retired", "glm-4.7-flash"]),
        (lambda f: f.cfai.embed("txet"), cf.ColumnError, ["Did you mean 'text'"]),
        (lambda f: f.cfai.generate("no column"), cf.ColumnError, ["names no column"]),
        (lambda f: f.cfai.classify("text", ["a"]), ValueError, ["two labels"]),
        (lambda f: f.cfai.classify("text", ["a", "a"]), ValueError, ["more than once"]),
        (lambda f: f.cfai.run(Lengths(), "text", budgets=1), TypeError, ["budgets"]),
    ],
)
def test_a_wrong_call_says_what_would_be_right(
    emulator: Emulator, frame: pd.DataFrame, call: Any, error: type[Exception], words: list[str]
) -> None:
    """Misspelt options, impossible values, wrong models and columns are reported at once, and nothing is sent."""
    with pytest.raises(error) as caught:
        call(frame)
    for word in words:
        assert word in str(caught.value)
    assert emulator.requests == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0}, "rate="),
        ({"rate": "fast"}, "rate="),
        ({"rate": True}, "rate="),
        ({"cache": "maybe"}, "cache="),
        ({"on_error": "explode"}, "on_error="),
        ({"concurrency": 0}, "concurrency="),
        ({"budget": "cheap"}, "budget="),
        ({"budget": 1.0, "neurons": 5.0}, "not both"),
    ],
)
def test_connect_refuses_what_means_nothing(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    """A default that means nothing is refused by connect(), not by the first call."""
    with pytest.raises((cf.SetupError, ValueError)) as caught:
        cf.connect("emulator", store=tmp_path / "s.sqlite", **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("target", ["cloud", 7, ["emulator"]])
def test_connect_names_its_targets(target: Any) -> None:
    """An unknown target is an error that names the ones there are."""
    with pytest.raises(cf.SetupError, match="emulator"):
        cf.connect(target)


def test_without_credentials_there_is_a_way_out(frame: pd.DataFrame) -> None:
    """Without an account, connect() and a first call say which variables to set, and how to go without."""
    for call in (cf.connect, lambda: frame.cfai.embed("text")):
        with pytest.raises(cf.SetupError) as caught:
            call()
        for word in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", 'cf.connect("emulator")'):
            assert word in str(caught.value)


@pytest.mark.parametrize(
    "names", [("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_AUTH_TOKEN"), ("CF_ACCOUNT_ID", "CF_API_TOKEN")]
)
def test_other_spellings_of_the_environment_are_read(monkeypatch: pytest.MonkeyPatch, names: tuple[str, str]) -> None:
    """The other names in use are found, stripped of stray blanks."""
    for name, value in zip(names, ("a" * 32 + "\n", " " + "t" * 40), strict=True):
        monkeypatch.setenv(name, value)
    session = cf.connect()
    assert session.origin == "cloudflare"
    assert session.endpoint.account == "a" * 32
    assert session.endpoint.token.reveal() == "t" * 40


@pytest.mark.parametrize("token", ["to\nken", "tök€n", "tok en\x00"])
def test_a_token_that_cannot_be_one_is_reported_without_being_shown(token: str) -> None:
    """A token with impossible letters is an error that does not repeat it."""
    with pytest.raises(cf.SetupError) as caught:
        cf.connect(account_id="a" * 32, api_token=token)
    assert token not in str(caught.value)


def test_auto_prints_which(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """connect("auto") takes the account if there is one, or the server it is given, else the emulator, and says so."""
    assert cf.connect("auto", base_url="http://localhost:11434/v1").origin == "localhost:11434"
    assert capsys.readouterr().out == "cfai_nb: localhost:11434\n"
    with pytest.raises(cf.SetupError, match="CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN not set"):
        cf.connect("auto", base_url="https://proxy.example.com/client/v4")
    with pytest.raises(cf.SetupError, match="remove base_url="):
        cf.connect("emulator", base_url="http://localhost:11434/v1")
    assert cf.connect("auto").origin == "emulator"
    assert "emulator" in capsys.readouterr().out
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "t" * 40)
    assert cf.connect("auto").origin == "cloudflare"
    assert "Cloudflare" in capsys.readouterr().out


def test_the_session_of_a_block_is_current_inside_it(tmp_path: Path, frame: pd.DataFrame) -> None:
    """with connect(...) is current in its block only, also nested, and closes at the end."""
    outer, inner = Emulator(rate=None), Emulator(rate=None)
    cf.connect(outer, store=tmp_path / "o.sqlite")
    with cf.connect(inner, store=tmp_path / "i.sqlite") as session:
        frame.cfai.embed("text")
        assert (outer.requests, inner.requests) == (0, 1)
        assert session.store() is not None


def test_a_block_gives_the_session_before_it_back(tmp_path: Path, frame: pd.DataFrame) -> None:
    """After a with-block, calls go where they went before it."""
    outer, inner = Emulator(rate=None), Emulator(rate=None)
    cf.connect(outer, store=tmp_path / "o.sqlite")
    with cf.connect(inner, store=tmp_path / "i.sqlite"):
        pass
    frame.cfai.embed("text")
    assert (outer.requests, inner.requests) == (1, 0)


def test_signatures_and_docs_are_those_of_the_task(frame: pd.DataFrame) -> None:
    """A verb shows its options in signature and doc, the run options included."""
    signature = inspect.signature(frame.cfai.classify)
    assert list(signature.parameters)[:2] == ["on", "labels"]
    for name in ("instructions", "probabilities", "model", "cache", "budget", "neurons", "on_error", "concurrency"):
        assert name in signature.parameters
    assert "probabilities : bool" in frame.cfai.classify.__doc__
    assert "budget : float" in frame.cfai.classify.__doc__
    assert ".plan(" in repr(frame.cfai.embed)
    assert set(dir(frame.cfai)) >= {"embed", "classify", "generate", "run"}


def test_nothing_ran_yet_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """last_run() before any run is a LookupError in words."""
    from cfai_nb.frame import call

    monkeypatch.setattr(call, "_reports", [])
    with pytest.raises(LookupError, match="Nothing ran"):
        cf.last_run()


def test_the_receipt_says_rows_requests_and_cost(emulator: Emulator, frame: pd.DataFrame) -> None:
    """One line tells rows, requests, what it would cost on an emulator, and what the store saved."""
    frame.cfai.embed("text")
    first = cf.last_run().receipt
    for words in ("embed: 3 of 3 rows", "1 without text", "1 request", "emulator, would be", "Neurons ($"):
        assert words in first
    frame.cfai.embed("text")
    again = cf.last_run().receipt
    for words in ("3 from the store", "0 requests", "nothing spent", "saved"):
        assert words in again
    assert '<div class="' in cf.last_run()._repr_html_()


def test_rows_that_cannot_be_sent_are_counted(emulator: Emulator) -> None:
    """Done and failed rows add up to the rows of the receipt, and one row is no "rows"."""
    broken = pd.DataFrame({"text": ["one", ["a list"], ["another"]]})
    with pytest.warns(cf.CfaiWarning, match=r"\(and 1 more row\)"):
        broken.cfai.embed("text")
    assert cf.last_run().receipt.startswith("embed: 1 of 3 rows · 2 failed · 1 request ·")


def test_probabilities_later_send_nothing(emulator: Emulator, frame: pd.DataFrame) -> None:
    """probabilities=True after a plain classify shows what is known already."""
    plain = frame.cfai.classify("text", ["billing", "shipping"])
    sent = emulator.requests
    full = frame.cfai.classify("text", ["billing", "shipping"], probabilities=True)
    assert emulator.requests == sent == 2
    pd.testing.assert_series_equal(full["label"], plain, check_names=False)
    total = full[["p__billing", "p__shipping"]].sum(axis=1)[:3]
    assert np.allclose(total, 1, atol=1e-3)


def test_listeners_hear_of_every_run(emulator: Emulator, frame: pd.DataFrame) -> None:
    """cf.listen gets events whose last one is finished and adds up."""
    heard: list[Any] = []
    with cf.listen(heard.append):
        frame.cfai.embed("text")
    last = heard[-1]
    assert last.finished
    assert (last.rows, last.done, last.failed, last.missing, last.in_flight) == (3, 3, 0, 1, 0)
