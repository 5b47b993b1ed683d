"""Extraction: what Clairic's stand-in finds, where it stands, and what it refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from cfai_nb.emulator.standins.image_drawing import Order, draw

CLAIRIC = "@cf/cloudflare/clairic"
TEXT = "Due 5 May 2026 at 10:30, total EUR 1,250.50, refund -2. See you on March 3rd in 30 days. 2026-02-31 never was."
NUMBER, DATE = {"type": "number"}, {"type": "date"}


def body(state: str, *, more: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a request."""
    return {"model": "clairic", "state": state, "fields": fields, **(more or {})}


@pytest.mark.parametrize(
    ("field", "spec", "value"),
    [
        ("total", NUMBER, 1250.5),
        ("refund", NUMBER, -2),
        ("refund", {**NUMBER, "integer": True}, -2),
        ("due", DATE, "2026-05-05"),
        ("meeting", {**DATE, "instructions": "when we see each other"}, "2026-03-03"),
        ("at", {"type": "time"}, "10:30"),
        ("left", {"type": "duration"}, 2_592_000),
        ("left", {"type": "duration", "unit": "days", "integer": True}, 30),
        ("dates", {"type": "list", "items": "date"}, ["2026-05-05", "2026-03-03"]),
        ("nothing", {"type": "datetime"}, None),
    ],
)
def test_a_field_is_found_by_its_pattern_and_words(door: Any, field: str, spec: Any, value: Any) -> None:
    """Numbers with thousands, dates in words (with the reference date) and the rest; the nearest to its name."""
    asked = body(TEXT, more={"reference_date": "2026-01-01"}, **{field: spec})
    answer = door().result(CLAIRIC, asked)["answers"][field]
    assert (answer["type"], answer["value"]) == (spec["type"], value)
    spans = answer["spans"] if spec["type"] == "list" else filter(None, [answer["span"]])
    assert all(0 <= start < end <= len(TEXT) for start, end in spans)


def test_a_date_without_a_year_is_none_without_a_reference_date(door: Any) -> None:
    """The year is not guessed."""
    assert door().result(CLAIRIC, body("Due May 5th", due=DATE))["answers"]["due"]["value"] is None


def test_what_is_not_sure_enough_is_a_guess(door: Any) -> None:
    """Above the field's threshold the value is null and the guess keeps it."""
    asked = body("About 30 people", many={"type": "estimate", "min": 0, "max": 90, "null_threshold": 0.01})
    answer = door().result(CLAIRIC, asked)["answers"]["many"]
    assert (answer["value"], answer["guess"]) == (None, 30)


def test_estimates_and_forecasts_have_figures(door: Any) -> None:
    """An estimate lies between its bounds and tells quantiles; a forecast does so for each step; days are days."""
    fields = {
        "some": {"type": "estimate", "min": 0, "max": 20},
        "day": {"type": "estimate", "min": "2026-01-01", "max": "2026-12-31", "step": "month"},
        "next": {"type": "forecast", "min": 0, "max": 90, "horizon": 3, "interval": "day"},
    }
    asked = body("About 30 people on 2026-05-05", more={"options": {"include_quantiles": True}}, **fields)
    some, day, after = door().result(CLAIRIC, asked)["answers"].values()
    assert some["p10"] < some["value"] == some["median"] == 20 < some["p90"]
    assert len(some["quantiles"]) == 99
    assert day["value"] == day["mean"] == "2026-05-05"
    assert len(after["steps"]) == 3
    assert after["steps"][0]["p10"] < 30 < after["steps"][0]["p90"]
    assert "span" not in {*some, *day, *after}


def test_a_picture_is_read_too(door: Any) -> None:
    """Its words have no span in the state, and it costs tokens; the state may then be empty."""
    picture = "data:image/png;base64," + base64.b64encode(draw(Order("3 red circles", 64, 64))).decode()
    result = door().result(CLAIRIC, body("", more={"images": [picture]}, count=NUMBER))
    assert (result["answers"]["count"]["value"], result["answers"]["count"]["span"]) == (3, None)
    assert result["usage"]["state_tokens"] >= 64


def test_a_text_beyond_the_context_says_that_it_was_cut(door: Any) -> None:
    """What stands behind the context is not found."""
    result = door().result(CLAIRIC, body("字" * 90_000 + " total 7", total=NUMBER))
    assert (result["truncated"], result["answers"]["total"]["value"]) == (True, None)


@pytest.mark.parametrize(
    "wrong",
    [
        body("x", all={"type": "list"}),
        body("x", a={"type": "money"}),
        body("x", **{"1a": NUMBER}),
        body("x"),
        body(" ", a=NUMBER),
        body("x", more={"reference_date": "soon"}, a=DATE),
        body("x", more={"images": ["data:image/png;base64,AA=="] * 5}, a=NUMBER),
        body("x", more={"images": ["https://example.com/a.png"]}, a=NUMBER),
        body("x", more={"model": "clairic-2"}, a=NUMBER),
        body("x", a={"type": "forecast", "interval": "fortnight"}),
        body("x", a={"type": "forecast", "horizon": 65}),
        body("2026-05-05", a={"type": "estimate", "min": "2026-01-01", "max": 5}),
        body("x", a={"type": "estimate", "min": 0, "max": 5}, b=["money"]),
    ],
    ids=[
        "list",
        "type",
        "name",
        "fields",
        "nothing to read",
        "date",
        "five pictures",
        "address",
        "short name",
        "interval",
        "horizon",
        "bounds of two kinds",
        "no type",
    ],
)
def test_what_clairic_refuses(door: Any, wrong: dict[str, Any]) -> None:
    """A bad definition of a field is a 422/3030; nothing asked or to read, and more, a 400/6003."""
    answer = door().run(CLAIRIC, wrong)
    defined = {"list", "type", "1a"} & {*wrong["fields"]} or any(
        spec["type"] in ("list", "money", "forecast", "estimate") for spec in wrong["fields"].values()
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == ((422, 3030) if defined else (400, 6003))


@pytest.mark.parametrize("count", [1, 7])
def test_the_text_is_read_once_a_field(door: Any, count: int) -> None:
    """input_tokens = passes x state_tokens + schema_tokens, and a pass is a field."""
    asked = body(TEXT * 5, **{f"total_{at}": NUMBER for at in range(count)})
    usage = door().result(CLAIRIC, asked)["usage"]
    assert usage["passes"] == count
    assert usage["input_tokens"] == count * usage["state_tokens"] + usage["schema_tokens"]


def test_what_is_too_long_is_refused(door: Any) -> None:
    """Beyond 65,536 tokens, estimated from characters, it is a 413; lists take no threshold, estimates need bounds."""
    assert door().run(CLAIRIC, body("word " * 60_000, total=NUMBER)).status_code == 413
    wrong = [{"type": "list", "items": "text", "null_threshold": 0.5}, {"type": "estimate", "min": 1}]
    assert [door().run(CLAIRIC, body("x", a=spec)).status_code for spec in wrong] == [422, 422]
    found = door().result(CLAIRIC, body(TEXT, all={"type": "list", "items": "number"}))["answers"]["all"]
    assert len(found["confidences"]) == len(found["value"])
    assert "p_null" not in found
