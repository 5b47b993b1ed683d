"""AI Gateway, and what else travels beside the question: headers, hits, logs, feedback, affinity, terms."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from intercept import Witness, envelope
from starlette.responses import JSONResponse

import cfai_nb as cf
from cfai_nb import session
from cfai_nb._engine.store.store import Store
from cfai_nb._engine.store.tables import VERSION
from cfai_nb.emulator import Emulator

BGE, GLM = "bge-small-en-v1.5", "glm-4.7-flash"
ROWS = pd.Series(["a red boat", "a blue tree", None, "a red boat"], index=["w", "x", "y", "z"])
LABELS = ["boat", "tree"]


def calls() -> dict[str, Callable[..., Any]]:
    return {
        "classify": lambda **o: ROWS.cfai.classify(LABELS, **o),
        "embed": lambda **o: ROWS.cfai.embed(model=BGE, **o),
        "generate": lambda **o: ROWS.cfai.generate("Say {value}", model=GLM, **o),
        "image": lambda **o: ROWS.cfai.image("{value}", model="flux-1-schnell", **o),
        "form": lambda **o: ROWS.cfai.image("{value}", model="flux-2-klein-4b", **o),
        "stream": lambda cache=True, **o: list(cf.stream("Tell me of rivers.", model=GLM, **o)),
    }


VERBS = sorted(calls())


@pytest.fixture
def witness() -> Callable[..., Witness]:
    """Connects to an emulator with a witness."""

    def made(*arguments: Any, connect: Any = (), **settings: Any) -> Witness:
        made = Witness(*arguments, **settings)
        cf.connect(made, **{"rate": None, **dict(connect)})
        return made

    return made


# -- what is said to it ------------------------------------------------------------------------------------------------

FULL = {
    "cache_ttl": 3600, "skip_cache": True, "cache_key": "k", "metadata": {"team": "é\n", "n": 1, "x": 0.5, "ok": True},
    "log": False, "log_payload": True,
}  # fmt: skip
SAID = {
    "cf-aig-gateway-id": "g", "cf-aig-cache-ttl": "3600", "cf-aig-skip-cache": "true", "cf-aig-cache-key": "k",
    "cf-aig-metadata": '{"team": "\\u00e9\\n", "n": 1, "x": 0.5, "ok": true}', "cf-aig-collect-log": "false",
    "cf-aig-collect-log-payload": "true",
}  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_request_says_it(witness: Any, verb: str) -> None:
    """None without a gateway; its name, given to connect or a call; and every setting as its header, no other."""
    here = witness(connect={"store": False})
    calls()[verb]()
    assert all(call.through == {} for call in here.calls)
    here.calls.clear()
    calls()[verb](gateway="g")
    calls()[verb](gateway=cf.Gateway("g", **FULL))
    half = len(here.calls) // 2
    assert half >= 1
    assert all(call.through == {"cf-aig-gateway-id": "g"} for call in here.calls[:half])
    for call in here.calls[half:]:
        key = call.through["cf-aig-cache-key"]
        assert call.through | {"cf-aig-cache-key": "k"} == SAID
        assert re.fullmatch(r"k-[0-9a-f]{24}", key)
    assert len({call.through["cf-aig-cache-key"] for call in here.calls[half:]}) == half, "one row, one answer"
    here = witness(connect={"store": False, "gateway": cf.Gateway("mine", cache_ttl=60)})
    calls()[verb]()
    calls()[verb](gateway="g")
    assert here.calls[0].through == {"cf-aig-gateway-id": "mine", "cf-aig-cache-ttl": "60"}
    assert here.calls[-1].through == {"cf-aig-gateway-id": "g"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": ""}, "64 letters"), ({"name": "x" * 65}, "64 letters"), ({"name": "a\nb: c"}, "64 letters"),
        ({"name": 3}, "64 letters"), ({"cache_ttl": 59}, "2,592,000"), ({"cache_ttl": 2_592_001}, "2,592,000"),
        ({"cache_ttl": 90.5}, "whole"), ({"cache_ttl": True}, "whole"), ({"cache_key": "a b"}, "plain"),
        ({"cache_key": ""}, "plain"), ({"metadata": dict.fromkeys("abcdef", 1)}, "5 entries"),
        ({"metadata": {"a": [1]}}, "texts, numbers"), ({"metadata": {"a": None}}, "texts, numbers"),
    ],
)  # fmt: skip
def test_what_no_gateway_takes_is_refused(settings: dict[str, Any], words: str) -> None:
    """Names, times, keys and metadata it would refuse, drop or misread are errors at once."""
    with pytest.raises(ValueError, match=words):
        cf.Gateway(**{"name": "g", **settings})


def test_what_is_no_gateway_is_refused() -> None:
    """connect() and calls take a name or a Gateway, nothing else."""
    with pytest.raises(ValueError, match="gateway=7"):
        cf.connect("emulator", gateway=7)  # type: ignore[arg-type]
    cf.connect("emulator", store=False)
    with pytest.raises(ValueError, match="gateway=True"):
        ROWS.cfai.embed(gateway=True)


@pytest.mark.parametrize(
    ("settings", "kind", "code", "words"),
    [
        ({"gateways": ["other"]}, cf.AccessError, 2001, "gateway does not exist: check gateway="),
        ({"quirks": {"no-credits"}}, cf.QuotaExhausted, 2021, "buy credits for the gateway, or leave gateway= out"),
        ({"first": lambda body: envelope({}, 401, 2009)}, cf.AccessError, 2009, "provider's key in the gateway's"),
    ],
)
def test_its_refusals_say_what_to_do(witness: Any, settings: Any, kind: Any, code: int, words: str) -> None:
    """No gateway of the name, no credits left, no key for the provider: the run ends and says it."""
    witness(connect={"store": False}, **settings)
    with pytest.raises(kind, match=words) as caught:
        ROWS.cfai.embed(model=BGE, gateway="g")
    assert caught.value.code == code


@pytest.mark.parametrize("verb", VERBS)
def test_answers_without_their_envelope_are_read(witness: Any, verb: str) -> None:
    """Through a gateway the service may leave its envelope out; the cells are the same."""
    witness(connect={"store": False})
    plain = calls()[verb]()
    witness(connect={"store": False, "gateway": "g"}, quirks={"bare-gateway"})
    bare = calls()[verb]()
    if isinstance(plain, list):
        assert "".join(bare) == "".join(plain)
    else:
        assert [str(list(x) if hasattr(x, "tolist") else x) for x in bare] == [
            str(list(x) if hasattr(x, "tolist") else x) for x in plain
        ]


# -- its cache ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "stream"])
@pytest.mark.parametrize("key", [None, "k"])
def test_a_hit_is_free_and_shown_so(witness: Any, verb: str, key: str | None) -> None:
    """Entered with 0 Neurons, exact, and what it would have cost as saved; the budget is not touched."""
    here = witness(connect={"store": False, "gateway": cf.Gateway("g", cache_ttl=60, cache_key=key)})
    first = calls()[verb]()
    paid = cf.ledger()
    again = calls()[verb](neurons=1e6)
    assert [str(a) for a in again] == [str(a) for a in first]
    free = cf.ledger().iloc[len(paid) :]
    assert len(free) == len(paid)
    assert (free["neurons"] == 0).all()
    assert free["exact"].all()
    assert free["saved_neurons"].sum() == pytest.approx(paid["neurons"].sum(), rel=0.5)  # no header tells it on a hit
    assert (free["saved_neurons"] > 0).all()
    totals = cf.ledger().totals()
    assert totals["neurons"].sum() == pytest.approx(paid["neurons"].sum())
    assert totals["saved_neurons"].sum() == pytest.approx(free["saved_neurons"].sum())
    assert "0 Neurons ($0) · saved " in cf.last_run().receipt
    assert cf.last_run().run.options.budget.spent == 0
    assert here.emulator.billed == pytest.approx(paid["neurons"].sum(), rel=0.5)


def test_a_refresh_is_not_taken_from_its_cache(witness: Any) -> None:
    """cache="refresh" goes past the gateway's cache too."""
    witness(connect={"gateway": cf.Gateway("g", cache_ttl=60)})
    for _ in range(2):
        ROWS.cfai.classify(LABELS, cache="refresh")
    assert (cf.ledger()["neurons"] > 0).all()


def test_an_answer_that_cannot_be_read_is_not_taken_twice(witness: Any) -> None:
    """The repetition of a question whose answer made no sense goes past the cache that holds that answer."""
    bad = [True]

    def first(body: dict[str, Any]) -> Any:
        return JSONResponse({"result": {"answers": {}}, "success": True}) if bad and bad.pop() else None

    here = witness(first, connect={"store": False, "gateway": cf.Gateway("g", cache_ttl=60)})
    assert ROWS.iloc[:1].cfai.classify(LABELS).notna().all()
    assert [call.through.get("cf-aig-skip-cache") for call in here.calls] == [None, "true"]


def test_further_samples_are_not_copies_from_its_cache(witness: Any) -> None:
    """Of the equal requests for n samples, only the first may be answered from the gateway's cache."""
    here = witness(connect={"store": False, "gateway": cf.Gateway("g", cache_ttl=60)})
    for hits in (0, 1):
        made = ROWS.iloc[:1].cfai.generate("Say {value}", model="llama-3.2-3b-instruct", n=3)
        assert len(made.iloc[0]) == 3
        assert [call.through.get("cf-aig-skip-cache") for call in here.calls[-3:]] == [None, "true", "true"]
        assert (cf.ledger()["saved_neurons"].iloc[-3:] > 0).sum() == hits


def test_the_queue_goes_past_its_cache(witness: Any) -> None:
    """Looks at a submission are all alike: a cache would answer "queued" for ever."""
    here = witness(connect={"store": False, "gateway": cf.Gateway("g", cache_ttl=60, cache_key="k")}, queue_polls=1)
    assert ROWS.cfai.embed(model=BGE, queue=True).notna().sum() == 3
    assert {call.through["cf-aig-skip-cache"] for call in here.calls} == {"true"}
    assert {tuple(sorted(call.through)) for call in here.calls} == {("cf-aig-gateway-id", "cf-aig-skip-cache")}


# -- its logs ----------------------------------------------------------------------------------------------------------


def logged(here: Witness) -> dict[str, dict[str, Any]]:
    return {name: log.row for each in here.emulator._gateways.logs._logs.values() for name, log in each.items()}


@pytest.mark.slow
def test_the_log_of_every_row_is_kept(witness: Any) -> None:
    """On the frame's index; equal rows share one, missing ones have none; also when the rows come from the store."""
    here = witness(connect={"gateway": "g"})
    ROWS.cfai.classify(LABELS)
    logs = cf.last_run().logs
    assert logs.index.equals(ROWS.index)
    assert logs.isna().tolist() == [False, False, True, False]
    assert logs["w"] == logs["z"] != logs["x"]
    assert set(logs.dropna()) == set(logged(here))
    ROWS[["x", "w"]].cfai.classify(LABELS)
    assert cf.last_run().run.requests == 0
    assert cf.last_run().logs.tolist() == [logs["x"], logs["w"]]
    known = [text if isinstance(text, str) else None for text in ROWS]
    code = (
        "import sys, json, pandas as pd, cfai_nb as cf\n"
        "cf.connect('emulator', store=sys.argv[1])\n"
        f"pd.Series({known!r}).cfai.classify({LABELS!r}, progress=False, cache='only')\n"
        "print(json.dumps(cf.last_run().logs.tolist()))"
    )
    path = session.current().store_path
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    assert json.loads(done.stdout) == [None if pd.isna(log) else log for log in logs]
    ROWS.cfai.classify(LABELS, cache=False, gateway=cf.Gateway("g", log=False))
    assert cf.last_run().logs.isna().all()
    ROWS.cfai.embed(model=BGE)
    assert cf.last_run().logs.nunique() == 1, "one request, one log"


def test_who_waits_for_anothers_answer_has_its_log(witness: Any) -> None:
    """Two runs at once ask once, and both know the log."""
    witness(connect={"gateway": "g"}, latency=0.1)
    found: list[Any] = []

    def run() -> None:
        call = ROWS.cfai.classify.call(LABELS)
        call.wait()
        found.append(call.report.logs.tolist())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found[0] == found[1]
    assert found[0][0]


@pytest.mark.parametrize(
    ("score", "rated"),
    [
        (1, {"w": 1, "x": 1}),
        (-1, {"w": -1, "x": -1}),
        (pd.Series({"x": -1, "q": 1}), {"x": -1}),
        (pd.Series([1, None, 1, 1], index=ROWS.index), {"w": 1}),
        (pd.Series({"z": -1.0, "w": -1.0, "x": 1.0}), {"w": -1, "x": 1}),
    ],
)
@pytest.mark.parametrize("name", [None, "g", cf.Gateway("g")])
def test_feedback_reaches_the_log(witness: Any, score: Any, rated: dict[str, int], name: Any) -> None:
    """One score or a Series by index; missing rows and rows it does not hold are left out; equal rows are one log."""
    here = witness(connect={} if name else {"gateway": "g"})
    ROWS.cfai.classify(LABELS, gateway=name)
    logs = cf.last_run().logs
    assert cf.feedback(logs, score, gateway=name, metadata={"by": "me"}) == len(rated)
    held = logged(here)
    assert {row: held[logs[row]]["feedback"] for row in "wx" if held[logs[row]]["feedback"]} == rated
    assert {held[logs[row]]["metadata"] for row in rated} == {'{"by": "me"}'}
    assert cf.feedback(logs["x"], 1, gateway=name) == 1
    assert logged(here)[logs["x"]]["feedback"] == 1


@pytest.mark.parametrize(
    ("logs", "score", "kind", "words"),
    [
        ("id", 0, ValueError, "-1 or 1"), ("id", 2, ValueError, "-1 or 1"), ("id", True, ValueError, "-1 or 1"),
        (pd.Series(["a", "b"]), pd.Series([1, 0.5]), ValueError, "-1 or 1"),
        (pd.Series(["a", "b"]), pd.Series([True, False]), ValueError, "-1 or 1"),
        (pd.Series(["a", "a"]), pd.Series([1, -1]), ValueError, "several rows with different scores"),
        (pd.Series(["a", "b"], index=[0, 0]), pd.Series([1, 1], index=[1, 1]), ValueError, "repeated labels"),
        ("unknown", 1, cf.AccessError, "7003"),
    ],
)  # fmt: skip
def test_wrong_feedback_is_refused(witness: Any, logs: Any, score: Any, kind: Any, words: str) -> None:
    """Invalid scores, logs with two of them, rows with one label, and unknown logs are errors."""
    here = witness(connect={"gateway": "g"})
    with pytest.raises(kind, match=words):
        cf.feedback(logs, score)
    assert len(here.calls) == (kind is cf.AccessError), "nothing is sent before all scores are right"


def test_feedback_needs_a_gateway(witness: Any) -> None:
    """Where none is named, here or in connect, it says so."""
    witness()
    with pytest.raises(cf.SetupError, match="gateway="):
        cf.feedback("id", 1)


# -- other providers' models -------------------------------------------------------------------------------------------

OTHERS = ["openai/gpt-5", "anthropic/claude-sonnet-4.5"]


@pytest.mark.parametrize("model", OTHERS)
def test_other_providers_models_go_through_a_gateway(witness: Any, model: str) -> None:
    """Only so; at OpenAI's address, in their own name, with JSON of a schema, and streamed."""
    here = witness(connect={"store": False})
    with pytest.raises(cf.ModelError, match="set gateway="):
        ROWS.cfai.generate("Say {value}", model=model)
    assert here.calls == []
    told = ROWS.cfai.generate("Say {value}", model=model, gateway="g")
    assert told.notna().sum() == 3
    assert {call.path for call in here.calls} == {"/ai/v1/chat/completions"}
    assert {call.body["model"] for call in here.calls} == {model}
    typed = ROWS.cfai.generate("Say {value}", model=model, gateway="g", schema={"n": int})
    assert typed["n"].dtype == "Int64"
    assert here.calls[-1].body["response_format"]["json_schema"]["schema"]["properties"]["n"]
    assert ROWS.cfai.classify(LABELS, model=model, gateway="g").notna().sum() == 3
    assert "".join(cf.stream("Tell me of rivers.", model=model, gateway="g")).startswith("[emulator]")


def test_their_price_is_unknown(witness: Any) -> None:
    """Plan, receipt and ledger show it; a budget refuses it unless it is allowed; a hit of the cache is free."""
    here = witness(connect={"gateway": cf.Gateway("g", cache_ttl=60), "store": False})
    say = ROWS.cfai.generate
    assert "price unknown" in repr(say.plan("Say {value}", model=OTHERS[0]))
    with pytest.raises(cf.BudgetError, match=f"{OTHERS[0]} publishes no price"):
        say("Say {value}", model=OTHERS[0], budget=1)
    assert here.calls == []
    say("Say {value}", model=OTHERS[0], budget=cf.Budget(1, "a bit", allow_unknown=True))
    assert "price unknown" in cf.last_run().receipt
    assert cf.ledger()["neurons"].isna().all()
    assert cf.ledger().totals()["unpriced"].sum() == 2
    say("Say {value}", model=OTHERS[0])
    assert (cf.ledger()["neurons"].iloc[2:] == 0).all()


# -- capacity, prompt caches, terms ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("model", [BGE, None, "clairic"])
def test_a_refusal_for_want_of_places_is_a_pace_signal(witness: Any, model: str | None) -> None:
    """Where more than fit are refused at once, they are sent again, and nothing is lost or bought twice."""
    here = witness(connect={"store": False}, capacity=4, when_full="refuse", latency=0.02, terms_accepted=True)
    rows = pd.Series([f"text {i}" for i in range(40)])
    if model == BGE:
        pd.Series([f"text {i}" for i in range(3000)]).cfai.embed(model=BGE)
    elif model is None:
        assert rows.cfai.classify(LABELS).notna().all()
    else:
        rows.cfai.extract({"name": str})
    log = here.emulator.log
    assert log.refused > 0
    assert {call.code for call in log.calls if call.status != 200} == {3040}
    assert log.most_in_flight <= 4
    assert set(log.served_inputs.values()) == {1}


CACHING = ["glm-5.2", "kimi-k2.6"]


@pytest.mark.parametrize("model", CACHING)
def test_what_was_read_before_is_cheaper(witness: Any, model: str) -> None:
    """Long fixed text: all rows go to one instance, hits are charged at their rate, and the ledger is exact."""
    here = witness(connect={"store": False})
    rules = "Mind the rules of the house. " * 200
    for number in range(6):
        pd.Series([f"row {number}"]).cfai.generate("{value}", system=rules, model=model, reasoning=None)
    assert len({call.headers["x-session-affinity"] for call in here.calls}) == 1
    ledger = cf.ledger()
    assert ledger["exact"].all()
    assert ledger["neurons"].sum() == pytest.approx(here.emulator.billed)
    assert (ledger["neurons"].iloc[1:] < ledger["neurons"].iloc[0] * 0.7).all()
    pd.Series(["row 9"]).cfai.generate("{value}", system=rules + "Others.", model=model)
    assert here.calls[-1].headers["x-session-affinity"] == here.calls[0].headers["x-session-affinity"]
    pd.Series(["row 9"]).cfai.generate("{value}", system="Other rules. " * 400, model=model)
    assert here.calls[-1].headers["x-session-affinity"] != here.calls[0].headers["x-session-affinity"]
    sent = len(here.calls)
    pd.Series(["x " * 5000, "short"]).cfai.generate("{value}", system="Be short.", model=model)
    pd.Series(["short"]).cfai.generate("{value}", system=rules, model=GLM)
    assert all("x-session-affinity" not in call.headers for call in here.calls[sent:])


def test_later_turns_stay_where_the_first_was(witness: Any) -> None:
    """A conversation that grows keeps its instance, which has read its beginning."""

    def weather(city: str) -> str:
        """Say what the weather is in a city."""
        return "dry"

    here = witness(connect={"store": False})
    asked = pd.Series(["What is the weather in Rome?", "What is the weather in Oslo?"])
    asked.cfai.generate("{value}", system="Mind the rules. " * 400, model=CACHING[0], tools=[weather])
    assert len(here.calls) == 4
    assert len({call.headers["x-session-affinity"] for call in here.calls}) == 1


def test_terms_are_accepted_by_the_line_that_is_shown() -> None:
    """Before it the error tells the line to run; the line runs; after it the model answers."""
    here = cf.connect(Emulator(rate=None), store=False)
    model = "llama-3.2-11b-vision-instruct"
    with pytest.raises(cf.AccessError, match="terms") as caught:
        ROWS.cfai.generate("Say {value}", model=model)
    (line,) = re.findall(r"session\.accept_terms\(.*?\)", str(caught.value))
    said = eval(line, {"session": here})
    assert "Thank you for agreeing" in said
    assert "accept_terms" not in said
    assert ROWS.cfai.generate("Say {value}", model=model).notna().sum() == 3


# -- the store ---------------------------------------------------------------------------------------------------------

FIRST = """
CREATE TABLE packs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    used REAL NOT NULL, neurons REAL, body BLOB NOT NULL);
CREATE INDEX packs_by_use ON packs (used, bytes);
CREATE TABLE keys (pack INTEGER PRIMARY KEY, keys BLOB NOT NULL);
CREATE TABLE charges (
    time REAL NOT NULL, run TEXT NOT NULL, account TEXT NOT NULL, origin TEXT NOT NULL, model TEXT NOT NULL,
    verb TEXT NOT NULL, requests INTEGER NOT NULL, rows INTEGER NOT NULL, neurons REAL, exact INTEGER NOT NULL,
    saved_neurons REAL NOT NULL, tokens REAL, seconds REAL NOT NULL);
CREATE INDEX charges_by_time ON charges (time);
CREATE TABLE listings (checked_on TEXT NOT NULL, body TEXT NOT NULL);
INSERT INTO packs (kind, rows, bytes, used, neurons, body) VALUES ('json', 2, 9, 1.0, 2.5, CAST('["a","b"]' AS BLOB));
INSERT INTO keys VALUES (1, CAST('0000000000000001' || '0000000000000002' AS BLOB));
INSERT INTO charges VALUES (1.0, 'r', 'a', 'cloudflare', '@m/m/m', 'embed', 1, 2, 2.5, 1, 0.0, 3.0, 0.1);
PRAGMA user_version=1;
"""


@pytest.mark.slow
def test_a_store_of_the_first_format_is_made_one_of_the_second(tmp_path: Path) -> None:
    """By several that open it at once; answers and charges stay, and what is new has its place."""
    path = tmp_path / "store.sqlite"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(FIRST)
    code = (
        "import sys; from pathlib import Path; from cfai_nb._engine.store.store import Store\n"
        "Store(Path(sys.argv[1])).close()"
    )
    pipe = subprocess.PIPE
    children = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stderr=pipe, stdout=pipe, text=True) for _ in range(3)
    ]
    assert [child.communicate(timeout=60) for child in children] == [("", "")] * 3
    store = Store(path)
    keys = [b"0000000000000001", b"0000000000000002"]
    packs, slots = store.locate(keys)
    assert (packs.tolist(), slots.tolist()) == ([1, 1], [0, 1])
    [[held]] = store.held(keys)
    assert (held.cells, held.neurons, held.log) == (["a", "b"], 2.5, None)
    assert [charge.neurons for charge in store.charges()] == [2.5]
    store.put([b"3" * 16], ["c"], log="a log")
    store.enqueue("id", "a", "o", "m", [keys, [b"4" * 16]])
    assert store.queued("a", "o", "m") == [("id", [keys, [b"4" * 16]])]
    assert store.queued("a", "o", "other") == store.queued("b", "o", "m") == []
    store.dequeue("id")
    assert store.queued("a", "o", "m") == []
    assert next(store.held([b"3" * 16]))[0].log == "a log"
    store.close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
