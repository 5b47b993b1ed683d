"""Quirks as switches, places that are waited for, and prompts that are cached."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cfai_nb.emulator import Emulator
from cfai_nb.emulator.service.faults import QUIRKS

from .conftest import BGE, GLM, LEGACY

KIMI = "@cf/moonshotai/kimi-k2.6"
SAY = {"messages": [{"role": "user", "content": "Tell me about 42 rivers."}]}


def content(answer: Any) -> Any:
    """Return the text of either dialect."""
    result = answer.json()["result"]
    return result["response"] if "response" in result else result["choices"][0]["message"]["content"]


def error(answer: Any) -> Any:
    """Return the one error."""
    return answer.json()["errors"][0]


CASES = [
    ("null-content", LEGACY, SAY, lambda answer: content(answer) is None),
    ("null-content", GLM, SAY, lambda answer: content(answer) is None),
    ("number-response", LEGACY, SAY, lambda answer: content(answer) == 42),
    ("object-response", LEGACY, SAY, lambda answer: isinstance(content(answer), dict)),
    ("string-codes", BGE, {}, lambda answer: error(answer)["code"] == "5006"),
    ("code-in-text", BGE, {}, lambda answer: error(answer)["message"].startswith("5006: Bad input")),
    ("bare-text", BGE, {}, lambda answer: error(answer)["message"].startswith("Bad input")),
    ("null-result", BGE, {}, lambda answer: answer.json()["result"] is None),
    (
        "tight-data",
        LEGACY,
        {**SAY, "stream": True},
        lambda answer: answer.text.startswith("data:{"),
    ),
    ("free-plan", KIMI, SAY, lambda answer: "5035" in answer.text),
    ("3030", LEGACY, {"prompt": "Build a bomb"}, lambda answer: error(answer)["code"] == 3030),
    ("3030", LEGACY, {"prompt": "Build a house"}, lambda answer: answer.status_code == 200),
]


@pytest.mark.parametrize(("quirk", "model", "body", "holds"), CASES)
def test_a_quirk_shows_when_switched_on_only(door: Any, quirk: str, model: str, body: Any, holds: Any) -> None:
    """Each switch does what its line says; without it the same call is plain."""
    assert holds(door(quirks={quirk}).run(model, body))
    plain = door().run(model, body)
    if quirk == "3030":
        assert plain.status_code == 200
    else:
        assert not holds(plain)


def test_numbers_in_openai_streams(door: Any) -> None:
    """A number-like token is a JSON number there too; read as text, nothing is lost."""
    here = door(quirks={"number-tokens"})
    answer = here.ask("POST", "/v1/chat/completions", json={"model": GLM, **SAY, "stream": True})
    frames = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    deltas = [frame["choices"][0]["delta"].get("content") for frame in frames if frame["choices"]]
    assert 42 in deltas
    assert "42 rivers" in "".join(str(delta) for delta in deltas if delta is not None)


def test_a_bare_gateway_has_no_envelope(door: Any) -> None:
    """Through a gateway the result stands alone; without one it has its envelope."""
    here = door(quirks={"bare-gateway"})
    bare = here.run(BGE, {"text": "x"}, headers={"cf-aig-gateway-id": "g"}).json()
    assert bare == here.run(BGE, {"text": "x"}).json()["result"]


def test_injected_refusals_have_the_quirks_too(door: Any) -> None:
    """A fault's code is a string as any other's."""
    answer = door(quirks={"string-codes"}, faults=["3040"]).run(BGE, {"text": "x"})
    assert error(answer)["code"] == "3040"


def test_every_quirk_is_tested_or_refused() -> None:
    """There is no switch without a test, and an unknown one is an error at once."""
    elsewhere = {"number-tokens", "bare-gateway", "no-credits", "no-ai-search", "tool-call-as-text"}
    elsewhere |= {"spend-limit", "model-length"}
    assert {case[0] for case in CASES} | elsewhere == QUIRKS.keys(), (
        "a quirk has a case in CASES: model, body, and what shows in the answer; or a test of its own and its name here"
    )
    with pytest.raises(ValueError, match="no quirk called"):
        Emulator(quirks={"weather"})


@pytest.mark.parametrize(
    ("when_full", "options", "statuses"),
    [
        ("wait", {}, [200, 200, 200]),
        ("wait", {"options": {"rejectIfBusy": True}}, [200, 429, 429]),
        ("wait", {"options": {"rejectIfBusy": False}}, [200, 200, 200]),
        ("refuse", {}, [200, 429, 429]),
    ],
)
def test_a_full_pool_waits_or_rejects(door: Any, when_full: str, options: dict[str, Any], statuses: list[int]) -> None:
    """Waiting calls are all served, one at a time; ``rejectIfBusy`` gets 3040 at once."""
    here = door(capacity=1, when_full=when_full, latency=0.01)
    calls = [("POST", f"/run/{BGE}", {"json": {"text": str(n), **options}}) for n in range(3)]
    answers = here.gather(calls)
    assert sorted(answer.status_code for answer in answers) == statuses
    assert {error(answer)["code"] for answer in answers if answer.status_code == 429} <= {3040}
    assert here.emulator.most_in_flight == 1


def test_a_wrong_word_for_a_full_pool_is_an_error() -> None:
    """Only two are known."""
    with pytest.raises(ValueError, match="when_full"):
        Emulator(when_full="cry")  # type: ignore[arg-type]


LONG = "The fixed part of the prompt. " * 200


@pytest.mark.parametrize(
    ("model", "fixed", "session", "settings", "hit"),
    [
        (KIMI, LONG, "s", {}, True),
        (KIMI, LONG, "", {}, False),
        (KIMI, "Short.", "s", {}, False),
        (KIMI, LONG, "s", {"prompt_cache": False}, False),
        (GLM, LONG, "s", {}, False),
    ],
)
def test_a_shared_prefix_is_cached(
    door: Any, model: str, fixed: str, session: str, settings: dict[str, Any], hit: bool
) -> None:
    """The second call of a session reports cached tokens and is charged less; the first is cold."""
    here = door(**settings)
    found = []
    for question in ("First?", "Other?"):
        talk = [{"role": "system", "content": fixed}, {"role": "user", "content": question}]
        headers = {"x-session-affinity": session} if session else {}
        found.append(here.run(model, {"messages": talk}, headers=headers))
    cached = [answer.json()["result"]["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in found]
    prices = [float(answer.headers["cf-ai-neurons"]) for answer in found]
    total = found[1].json()["result"]["usage"]["prompt_tokens"]
    assert cached[0] == 0
    assert (cached[1] > 0) is hit
    assert cached[1] <= total
    assert (prices[1] < prices[0]) is hit
