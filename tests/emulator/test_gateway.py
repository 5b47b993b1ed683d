"""AI Gateway: cache, metadata, logs, third-party models, and who may come in."""

from __future__ import annotations

import re
from typing import Any

import pytest

from .conftest import BGE, GLM, LOGS, TALK, Clock


def through(**headers: str) -> dict[str, dict[str, str]]:
    """Return the headers of a call through the gateway "g"."""
    named = {f"cf-aig-{name.replace('_', '-')}": value for name, value in headers.items()}
    return {"headers": {"cf-aig-gateway-id": "g", **named}}


def logs(here: Any, **query: str) -> Any:
    """Return the log rows of "g"."""
    return here.ask("GET", LOGS, params=query).json()["result"]


@pytest.mark.parametrize(
    ("headers", "seconds", "status"),
    [
        ({}, 0, "MISS"),
        ({"cache_ttl": "60"}, 59, "HIT"),
        ({"cache_ttl": "60"}, 60, "MISS"),
        ({"cache_ttl": "59"}, 0, "MISS"),
        ({"cache_ttl": "2592001"}, 0, "MISS"),
        ({"cache_key": "k"}, 299, "HIT"),
        ({"cache_key": "k"}, 300, "MISS"),
        ({"cache_ttl": "60", "skip_cache": "true"}, 0, "MISS"),
    ],
)
def test_a_cached_answer_is_free(door: Any, headers: dict[str, str], seconds: float, status: str) -> None:
    """What is kept, how long, and that a hit is answered alike, before the rate, without work or charge."""
    clock = Clock()
    here = door(clock=clock, rate=1 if status == "HIT" else None)
    first = here.run(BGE, {"text": "x"}, **through(**headers))
    clock.now += seconds
    second = here.run(BGE, {"text": "x"}, **through(**headers))
    assert first.headers["cf-aig-cache-status"] == "MISS"
    assert second.headers["cf-aig-cache-status"] == status
    assert second.json() == first.json()
    assert [call.charged for call in here.emulator.calls] == [True, status == "MISS"]
    assert ("cf-ai-neurons" in second.headers) is (status == "MISS")


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [
        (({"text": "x"}, {"cache_ttl": "60"}), ({"text": "y"}, {"cache_ttl": "60"}), "MISS"),
        (({"text": "x"}, {"cache_key": "k"}), ({"text": "y"}, {"cache_key": "k"}), "HIT"),
    ],
)
def test_only_identical_requests_meet(door: Any, one: Any, other: Any, status: str) -> None:
    """Another body is another call, unless the caller's own key says otherwise."""
    here = door()
    here.run(BGE, one[0], **through(**one[1]))
    assert here.run(BGE, other[0], **through(**other[1])).headers["cf-aig-cache-status"] == status


def test_streams_and_failures_are_not_kept(door: Any) -> None:
    """A stream is a miss each time, and so is what was damaged on the way."""
    here = door(faults=["garbage"])
    path, body = f"/run/{GLM}", {"messages": TALK}
    found = [here.ask("POST", path, json=body, **through(cache_ttl="60")) for _ in range(3)]
    assert [answer.headers["cf-aig-cache-status"] for answer in found] == ["MISS", "MISS", "HIT"]
    streams = [here.ask("POST", path, json={**body, "stream": True}, **through(cache_ttl="60")) for _ in range(2)]
    assert [answer.headers["cf-aig-cache-status"] for answer in streams] == ["MISS", "MISS"]


def test_a_log_row_tells_the_call(door: Any) -> None:
    """Ids are lower-case UUIDv7; metadata keeps five plain entries; tokens, cost and status are there."""
    here = door()
    extra = '{"a":1,"b":"x","c":[1],"d":true,"e":2,"f":3,"g":4}'
    answer = here.run(BGE, {"text": "some words"}, **through(metadata=extra))
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-.*", answer.headers["cf-aig-log-id"])
    bad = here.run(BGE, {}, **through())
    (failed, row) = logs(here)
    assert row["id"] == answer.headers["cf-aig-log-id"]
    assert row["metadata"] == '{"a": 1, "b": "x", "d": true, "e": 2, "f": 3}'
    assert (row["provider"], row["model"], row["success"], row["status_code"]) == ("workers-ai", BGE, True, 200)
    assert row["tokens_in"] > 0
    assert row["cost"] == pytest.approx(float(answer.headers["cf-ai-neurons"]) * 1.1e-5)
    assert (failed["id"], failed["success"], failed["status_code"]) == (bad.headers["cf-aig-log-id"], False, 400)


def test_logs_take_feedback_and_are_filtered(door: Any) -> None:
    """PATCH sets feedback, score and metadata; the list filters, and says which filter it has not."""
    here = door()
    numbers = [here.run(BGE, {"text": t}, **through()).headers["cf-aig-log-id"] for t in "ab"]
    path = f"{LOGS}/{numbers[0]}"
    assert here.ask("PATCH", path, json={"feedback": 1, "score": 7, "metadata": {"k": "v"}}).status_code == 200
    assert here.ask("PATCH", path, json={"feedback": 2}).status_code == 400
    row = here.ask("GET", path).json()["result"]
    assert (row["feedback"], row["score"], row["metadata"]) == (1, 7, '{"k": "v"}')
    assert [row["id"] for row in logs(here, feedback="1")] == [numbers[0]]
    assert logs(here, cached="true") == logs(here, min_tokens_in="99") == []
    assert here.ask("GET", LOGS, params={"filters.key": "cost"}).json()["errors"][0]["code"] == 5007
    for wrong in ({"page": "two"}, {"min_cost": "cheap"}):
        assert here.ask("GET", LOGS, params=wrong).json()["errors"][0]["code"] == 5006
    assert here.ask("GET", path + "/request").json() == {"text": "a"}
    assert here.ask("GET", LOGS + "/none").status_code == 404


def test_logging_can_be_turned_down(door: Any) -> None:
    """Without a payload only the figures are kept; without a log there is no id."""
    here = door()
    bare = here.run(BGE, {"text": "a"}, **through(collect_log_payload="false"))
    none = here.run(BGE, {"text": "a"}, **through(collect_log="false"))
    assert here.ask("GET", f"{LOGS}/{bare.headers['cf-aig-log-id']}/request").json() == {}
    assert "cf-aig-log-id" not in none.headers
    assert len(logs(here)) == 1


@pytest.mark.parametrize(
    ("settings", "path", "body", "header", "code"),
    [
        ({"gateways": ["other"]}, f"/run/{BGE}", {"text": "x"}, True, 2001),
        ({"quirks": {"no-credits"}}, f"/run/{BGE}", {"text": "x"}, True, 2021),
        ({}, "/run", {"model": BGE, "input": {"text": "x"}}, False, 3003),
        ({}, "/run", {"model": BGE, "input": {"text": "x"}}, True, 0),
        ({}, "/run", {"model": BGE}, True, 5006),
        ({}, "/run", {"model": "openai/gpt-5.5", "input": {"messages": TALK}}, False, 0),
        ({}, "/v1/chat/completions", {"model": "anthropic/claude-5", "messages": TALK}, True, 0),
        ({"gateways": ["g"]}, "/v1/chat/completions", {"model": "openai/gpt-5.5", "messages": TALK}, False, 2001),
        ({}, "/v1/responses", {"model": "openai/gpt-5.5", "input": "Hello there."}, False, 0),
        ({}, "/v1/responses", {"model": "openai/gpt-5.5", "input": "x", "stream": True}, False, 5007),
        ({}, "/v1/embeddings", {"model": "openai/embedding", "input": "x"}, True, 3042),
    ],
)
def test_who_comes_in_by_which_door(
    door: Any, settings: dict[str, Any], path: str, body: Any, header: bool, code: int
) -> None:
    """The generic door needs a gateway for the service's own models; third parties take the default one."""
    answer = door(**settings).ask("POST", path, json=body, **(through() if header else {}))
    found = answer.json()
    assert (found["errors"][0]["code"] if found.get("errors") else 0) == code, found
    assert (answer.status_code == 402) is (code == 2021)
    assert ("cf-aig-log-id" in answer.headers) is (code in (0, 5006, 5007) or "embeddings" in path)


def test_third_parties_have_no_price(door: Any) -> None:
    """They answer in OpenAI form, are charged nothing known, and their log names the provider."""
    here = door()
    answer = here.ask("POST", "/v1/chat/completions", json={"model": "openai/gpt-5.5", "messages": TALK}, **through())
    assert answer.json()["choices"][0]["message"]["content"].startswith("[emulator]")
    assert "neurons" not in answer.json()["usage"]
    assert here.emulator.billed == 0
    assert logs(here)[0]["provider"] == "openai"
