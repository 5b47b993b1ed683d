"""Rates, capacity and the day's Neurons."""

from __future__ import annotations

from typing import Any

import pytest

from cfai_nb.emulator import Emulator

from .conftest import ACCOUNT, BGE, Clock

SMALL = "@cf/baai/bge-small-en-v1.5"
PAID = "@cf/moonshotai/kimi-k2.6"


def codes(here: Any, count: int, model: str = BGE) -> list[int]:
    """Return the body codes of several calls, 0 for success."""
    answers = [here.run(model, {"text": "x"}).json() for _ in range(count)]
    return [answer["errors"][0]["code"] if answer["errors"] else 0 for answer in answers]


def test_a_sliding_window_counts_the_last_minute(door: Any) -> None:
    """Each admitted call frees its place exactly one period later; refused calls do not count."""
    clock = Clock()
    here = door(rate=2, clock=clock)
    assert codes(here, 1) == [0]
    clock.now += 30
    assert codes(here, 3) == [0, 3021, 3021]
    clock.now += 29.9
    assert codes(here, 1) == [3021]
    clock.now += 0.2
    assert codes(here, 2) == [0, 3021]


def test_a_fixed_window_starts_again(door: Any) -> None:
    """Counted from the first request, almost twice the rate passes around the turn of the window."""
    clock = Clock()
    here = door(rate=2, clock=clock, window="fixed")
    assert codes(here, 1) == [0]
    clock.now += 59
    assert codes(here, 2) == [0, 3021]
    clock.now += 1.5
    assert codes(here, 3) == [0, 0, 3021]


def test_a_bucket_refills_evenly(door: Any) -> None:
    """A full bucket passes its burst, then one call each time a place has dripped in."""
    clock = Clock()
    here = door(rate=60, clock=clock, window="bucket", burst=3)
    assert codes(here, 4) == [0, 0, 0, 3021]
    clock.now += 1
    assert codes(here, 2) == [0, 3021]
    clock.now += 600
    assert codes(here, 4) == [0, 0, 0, 3021]


def test_the_period_can_be_shortened(door: Any) -> None:
    """With a period of a second the rate is per second."""
    clock = Clock()
    here = door(rate=1, period=1.0, clock=clock)
    assert codes(here, 2) == [0, 3021]
    clock.now += 1
    assert codes(here, 1) == [0]


def test_the_rate_can_be_the_catalogues(door: Any) -> None:
    """A paid-only model passes 20 a minute and answers 3021 with 429 to the next."""
    here = door(rate="catalogue", clock=Clock())
    body = {"messages": [{"role": "user", "content": "x"}]}
    answers = [here.run(PAID, body) for _ in range(21)]
    assert [answer.status_code for answer in answers] == [200] * 20 + [429]
    error = answers[-1].json()["errors"][0]
    assert error["code"] == 3021
    assert "rate limiting: inference request per min rate reached" in error["message"]


def test_rates_are_per_model_and_per_account(door: Any) -> None:
    """One model's limit does not touch another's, nor another account's; a mapping limits those it names."""
    here = door(rate={BGE: 1}, clock=Clock())
    assert codes(here, 2) == [0, 3021]
    assert codes(here, 3, SMALL) == [0, 0, 0]
    here.account = "b" * 32
    assert codes(here, 1) == [0]
    here.account = "B" * 32
    assert codes(here, 1) == [3021]


def test_bad_input_does_not_use_up_the_rate(door: Any) -> None:
    """A refused input is not counted against the minute."""
    here = door(rate=1, clock=Clock())
    assert here.run(BGE, {}).status_code == 400
    assert codes(here, 1) == [0]


def test_above_capacity_calls_are_refused_at_once(door: Any) -> None:
    """Of five calls at once two are served, three get 429/3040; places are free again afterwards."""
    here = door(capacity=2, latency=0.05)
    calls = [("POST", f"/run/{BGE}", {"json": {"text": str(number)}}) for number in range(5)]
    answers = here.gather(calls)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429]
    assert {answer.json()["errors"][0]["code"] for answer in answers if answer.status_code == 429} == {3040}
    assert (here.emulator.in_flight, here.emulator.most_in_flight) == (0, 2)
    assert here.gather(calls[:2])[1].status_code == 200


@pytest.mark.parametrize("code", [4006, 3036])
def test_the_days_neurons_end_and_come_back(door: Any, code: int) -> None:
    """Once spent, calls are 429 with the code set, until the next day of the clock."""
    clock = Clock()
    here = door(neurons_per_day=0.01, quota_code=code, clock=clock)
    assert codes(here, 3) == [0, 0, code]
    clock.now += 86_400
    assert codes(here, 1) == [0]


def test_what_is_in_flight_when_the_day_ends_is_answered(door: Any) -> None:
    """Calls admitted before the quota was spent are all served and charged."""
    here = door(neurons_per_day=0.001, latency=0.02)
    calls = [("POST", f"/run/{BGE}", {"json": {"text": str(number)}}) for number in range(4)]
    assert {answer.status_code for answer in here.gather(calls)} == {200}
    assert codes(here, 1) == [4006]
    assert here.emulator.billed == pytest.approx(4 * 0.006058)


@pytest.mark.parametrize(
    "settings",
    [
        {"window": "leaky"}, {"rate": "fast"}, {"rate": -5}, {"rate": {BGE: 0}}, {"capacity": 0}, {"latency": -0.1},
        {"neurons_per_day": -1}, {"usage_lag": float("nan")},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    """A wrong window, rate, capacity, time or quota is an error of the caller, at once."""
    with pytest.raises(ValueError, match=f"{next(iter(settings))}.*(must be|give)"):
        Emulator(**settings)


def meter(here: Any, variables: Any) -> Any:
    """Return the answer of the account's meter."""
    times = "datetime_geq: $from, datetime_lt: $to"
    groups = f"aiInferenceAdaptiveGroups(limit: $limit, filter: {{{times}}}) {{ count }}"
    query = f"query {{ viewer {{ accounts(filter: {{accountTag: $account}}) {{ {groups} }} }} }}"
    answer = here.ask("POST", "http://emulator/client/v4/graphql", json={"query": query, "variables": variables})
    assert answer.status_code == 200
    return answer.json()


def test_the_meter_shows_what_was_charged(door: Any) -> None:
    """A conversion of a document is free and not shown."""
    here, asked = door(), {"account": ACCOUNT, "from": "2020-01-01", "to": "2100-01-01", "limit": 9}
    here.ask("POST", "/tomarkdown", files=[("files", ("a.txt", b"x"))])
    assert meter(here, asked)["data"]["viewer"]["accounts"][0]["aiInferenceAdaptiveGroups"] == []
    here.run(BGE, {"text": "x"})
    assert meter(here, asked)["data"]["viewer"]["accounts"][0]["aiInferenceAdaptiveGroups"][0]["count"] == 1


@pytest.mark.parametrize(
    "variables",
    [["a"], {"account": ACCOUNT}, {"account": ACCOUNT, "from": "2020-01-01", "to": "2100-01-01", "limit": ["9"]}],
)
def test_a_query_of_the_meter_that_does_not_fit_is_an_error(door: Any, variables: Any) -> None:
    """Variables of other kinds are answered with errors, as GraphQL does it: with status 200."""
    answer = meter(door(), variables)
    assert answer["data"] is None
    assert answer["errors"][0]["message"]
