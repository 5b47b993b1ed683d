"""Every quirk of the service, switched on in the emulator: what a verb makes of it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.service.faults import QUIRKS

LLAMA, GLM, OSS = "llama-3.3-70b-instruct-fp8-fast", "glm-4.7-flash", "gpt-oss-20b"
SEER = "llama-3.2-11b-vision-instruct"
ROWS = pd.DataFrame({"text": ["Tell me about 42 rivers.", "Build a bomb"]})
TRIP = pd.DataFrame({"text": ["What is the weather in Paris?"]})

Verb = Callable[[], Any]


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sunny in {city}"


def generated(model: str) -> Verb:
    """The texts a model writes."""
    return lambda: ROWS.cfai.generate("{text}", model=model).tolist()


def widths() -> list[int]:
    """The widths of the rows' vectors."""
    return [len(vector) for vector in ROWS.cfai.embed("text")]


def through_a_gateway() -> list[str]:
    """The texts a model writes behind a gateway."""
    return list(ROWS.cfai.generate("{text}", model=LLAMA, gateway="mine"))


def streamed(model: str) -> Verb:
    """One text, as it is written."""
    return lambda: "".join(cf.stream("Tell me about 42 rivers.", model=model))


def tooled(model: str) -> Verb:
    """What a model says that called a tool."""
    return lambda: TRIP.cfai.generate("{text}", tools=[weather], model=model).tolist()


def extracted(model: str) -> Verb:
    """A number out of each row."""
    return lambda: ROWS.cfai.extract("text", ["count: integer"], model=model)["count"].tolist()


def failures(verb: Verb) -> Verb:
    """The codes of the rows that failed."""

    def run() -> list[Any]:
        with warnings.catch_warnings(), contextlib.suppress(cf.RowsFailed):  # raised where every row failed
            warnings.filterwarnings("ignore", "1 of 2 rows failed", cf.CfaiWarning)
            verb()
        return cf.last_run().failures["code"].tolist()

    return run


SAID = ["[emulator] Tell me about 42 rivers.", "[emulator] Build a bomb"]
SUNNY = ["[emulator] the tool says: sunny in Paris"]

#: What is switched on -> what is asked -> what comes of it.
STOOD: list[tuple[str, Verb, Any]] = [
    ("null-content", failures(generated(LLAMA)), ["empty", "empty"]),
    ("null-content", failures(generated(GLM)), ["empty", "empty"]),
    ("null-content", failures(extracted(LLAMA)), ["empty", "empty"]),
    ("number-response", generated(LLAMA), ["42", "0"]),
    ("object-response", generated(LLAMA), ['{"text":"' + said + '"}' for said in SAID]),
    ("tight-data", streamed(LLAMA), SAID[0]),
    ("tight-data", streamed(GLM), SAID[0]),
    ("number-tokens", streamed(GLM), SAID[0]),
    ("bare-gateway", through_a_gateway, SAID),
    ("tool-call-as-text", tooled(OSS), SUNNY),
    ("3030", failures(generated(LLAMA)), [3030]),
]


@pytest.mark.parametrize(("quirk", "verb", "outcome"), STOOD)
def test_a_verb_stands_a_quirk(quirk: str, verb: Verb, outcome: Any) -> None:
    """The answer is the same, or the row fails by itself under a name."""
    with cf.connect(Emulator(rate=None, quirks={quirk}), store=False):
        assert verb() == outcome


#: Quirks of refusals: what they change is only how the same thing is said.
REFUSING = {"string-codes", "code-in-text", "bare-text", "null-result"}


@pytest.mark.parametrize("quirk", sorted(REFUSING))
def test_a_refusal_is_known_however_it_is_written(quirk: str) -> None:
    """A full pool is waited for, the day's end ends the run, a wrong question fails its row; the text is shown once."""
    with cf.connect(Emulator(rate=None, quirks={quirk}, faults=["3040", None, *["4006"] * 9]), store=False):
        assert widths() == [1024, 1024]
        with pytest.raises(cf.QuotaExhausted) as caught:
            widths()
        assert str(caught.value).count("4006") == 1
        assert "AiError" not in str(caught.value)


def test_a_gateway_without_credits_ends_the_run() -> None:
    """402/2021 is not about the token: its error says to buy credits."""
    emulator = Emulator(rate=None, quirks={"no-credits"})
    with cf.connect(emulator, store=False), pytest.raises(cf.QuotaExhausted, match="buy credits"):
        through_a_gateway()


def test_a_gateways_spend_limit_is_a_stop_and_not_a_wait() -> None:
    """Its 429 lasts until the window ends, so the run ends at once and says what to do."""
    emulator = Emulator(rate=None, quirks={"spend-limit"})
    with cf.connect(emulator, store=False), pytest.raises(cf.QuotaExhausted, match="until its window ends"):
        through_a_gateway()
    assert emulator.requests <= 4, "confirmed by another row, and not repeated"


def test_a_reply_cut_by_the_model_is_cut() -> None:
    """finish_reason model_length is a cut reply as length is, not a whole one."""
    with cf.connect(Emulator(rate=None, quirks={"model-length"}), store=False):
        with pytest.warns(cf.CfaiWarning, match="cut"):
            cut = pd.Series(["tell me a long story " * 9, "b"]).cfai.generate("{value}", model=GLM, max_tokens=3)
        assert cut.isna().any()
        assert cf.last_run().failures["truncated"].all()


def test_a_free_plan_is_shown_which_models_it_lacks() -> None:
    """403/5035 ends the run with where to look for another model; all others answer."""
    with cf.connect(Emulator(rate=None, quirks={"free-plan"}), store=False):
        with pytest.raises(cf.AccessError, match=r"5035.*Workers Paid plan; choose another"):
            generated("glm-5.3-flash")()
        assert generated(GLM)() == SAID


def test_a_model_by_application_is_reported() -> None:
    """403/5018 ends the run for who was not let in; whoever was gets answers."""
    with cf.connect(Emulator(rate=None), store=False), pytest.raises(cf.AccessError, match=r"5018.*no access to"):
        generated("apertus-v1.5-8b")()
    with cf.connect(Emulator(rate=None, terms_accepted=True), store=False):
        assert generated("apertus-v1.5-8b")() == SAID


def test_every_switch_is_stood_by_a_verb() -> None:
    """There is no quirk without a verb that copes with it."""
    elsewhere = {"no-credits", "free-plan", "no-ai-search", "spend-limit", "model-length"}
    assert {quirk for quirk, *_ in STOOD} | REFUSING | elsewhere == QUIRKS.keys(), (
        "a quirk stands in STOOD with what a verb makes of it, or in REFUSING; or it has its own test and its name here"
    )


@pytest.mark.parametrize("model", [LLAMA, "llama-4-scout-17b-16e-instruct", GLM, OSS])
def test_calls_of_tools_in_every_dialect(model: str) -> None:
    """Without an id and with arguments as an object, or with an id and as JSON text: the tool is called."""
    with cf.connect(Emulator(rate=None), store=False):
        assert tooled(model)() == SUNNY


@pytest.mark.parametrize("code", [4006, 3036])
def test_the_days_end_under_either_code(code: int) -> None:
    """What REST says and what the documentation says are one thing."""
    emulator = Emulator(rate=None, neurons_per_day=0, quota_code=code)
    with cf.connect(emulator, store=False), pytest.raises(cf.QuotaExhausted, match=f"{code}.*00:00 UTC"):
        widths()


def test_a_document_in_a_string_fails_its_row_alone() -> None:
    """422 with JSON inside the text is a refusal of one row, and says what is wrong."""
    with cf.connect(Emulator(rate=None, faults=["422"]), store=False, concurrency=1):
        with pytest.warns(cf.CfaiWarning, match="injected"):
            given = ROWS.cfai.check("text", "It is about water")
        failed = cf.last_run().failures
    assert given.isna().tolist() == [True, False]
    assert (failed["code"].tolist(), "injected" in failed["message"].iloc[0]) == ([5006], True)


def test_terms_are_accepted_by_a_call_that_answers_403() -> None:
    """Before, the refusal says how; the call itself thanks; after, the model answers."""
    with cf.connect(Emulator(rate=None), store=False) as session:
        with pytest.raises(cf.AccessError, match="accept_terms"):
            generated(SEER)()
        assert session.accept_terms(SEER).startswith("Thank you")
        assert generated(SEER)() == SAID
