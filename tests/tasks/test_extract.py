"""Extract: named fields as typed columns, from the extraction model and from chat models."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Literal

import pandas as pd
import pydantic
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import find
from cfai_nb.tasks import Answer

TEXT = pd.Series(
    ["Invoice of Acme on 2026-11-03: total 41.50 EUR.", "Nothing here", None, "Paid 12 on 2025-01-31 to Globex"],
    index=["a", "a", "b", "c"],
)
FIELDS = {"vendor": str, "total": float, "due": dt.date}


class Invoice(pydantic.BaseModel):
    vendor: str | None = pydantic.Field(None, description="who sent it")
    total: float | None = None
    due: dt.date | None = None


@pytest.mark.parametrize("fields", [FIELDS, ["vendor", "total: number", "due: date"], Invoice], ids=str)
def test_numbers_and_dates_arrive_as_such(emulator: Emulator, fields: Any) -> None:
    """Names, types or a pydantic model give text, numbers and dates; what the text does not say is missing."""
    out = TEXT.cfai.extract(fields)
    assert out["total"].tolist()[:1] == [41.5]
    assert out["due"].tolist()[3] == pd.Timestamp("2025-01-31")
    assert out["total"].dtype == "float64"
    assert out["due"].dtype.kind == "M"
    assert out.iloc[1][["total", "due"]].isna().all()
    assert out.iloc[2].isna().all()
    assert list(out.index) == list(TEXT.index)
    assert emulator.requests == 3


def test_details_are_kept_and_send_nothing(emulator: Emulator) -> None:
    """Confidence, the chance that the text does not say it, and where it stands come without a new call."""
    TEXT.cfai.extract(FIELDS)
    sent = emulator.requests
    full = TEXT.cfai.extract(FIELDS, details=True)
    assert emulator.requests == sent
    row = full.iloc[0]
    assert TEXT.iloc[0][row["total__start"] : row["total__end"]] == "41.50"
    assert full["total__p_null"].between(0, 1).sum() == 3
    assert full["total__start"].dtype == "Int64"


GUESSES = {
    "late": cf.estimate("days until it is paid", min=0, max=90, step=1, unit="days"),
    "paid": cf.estimate("when it is paid", min=dt.date(2026, 1, 1), max=dt.date(2026, 12, 31)),
    "orders": cf.forecast("orders a day from now on", min=0, max=100, horizon=3, interval="day"),
    "wait": dt.timedelta,
}
SAID = pd.Series(["About 30 orders, 2 hours each, as of 2026-05-05.", "Nothing here"])


def test_all_nine_types_of_the_extraction_model() -> None:
    """Each type is asked for in its own words; two of them are what a text does not state."""
    fields = {**GUESSES, "a": str, "b": float, "c": dt.date, "d": dt.datetime, "e": dt.time, "f": list[str]}
    sent = cf.Extract(fields=fields).build_request(["x"], find("clairic")).json["fields"]
    assert {spec["type"] for spec in sent.values()} == {
        "text", "number", "date", "time", "datetime", "duration", "list", "estimate", "forecast"
    }  # fmt: skip
    assert sent["late"] == {
        "type": "estimate", "instructions": "days until it is paid", "min": 0, "max": 90, "step": 1, "unit": "days"
    }  # fmt: skip
    assert (sent["paid"]["min"], sent["orders"]["horizon"]) == ("2026-01-01", 3)


def test_estimates_and_forecasts_become_columns(emulator: Emulator) -> None:
    """Numbers, days, lists and durations with their figures; the figures are kept and cost no new call."""
    out = SAID.cfai.extract(GUESSES)
    assert [str(dtype) for dtype in out.dtypes] == ["float64", out["paid"].dtype.name, "object", "timedelta64[ns]"]
    assert out["paid"].dtype.kind == "M"
    assert out.loc[0].tolist() == [30, pd.Timestamp("2026-05-05"), [30, 30, 30], pd.Timedelta(hours=2)]
    assert out.loc[1].isna().all()
    sent = emulator.requests
    full = SAID.cfai.extract(GUESSES, details=True)
    assert emulator.requests == sent
    assert full.loc[0, "late__p10"] < 30 < full.loc[0, "late__p90"]
    assert full["paid__median"].dtype.kind == "M"
    assert full["late__p_below"].dtype == "float64"
    assert full.loc[0, "orders__p90"] == [33, 33, 33]
    assert "late__start" not in full


@pytest.mark.slow
def test_chat_models_estimate_a_value_alone(emulator: Emulator) -> None:
    """They answer within the bounds, as many steps as asked for, and without figures."""
    out = SAID.cfai.extract({name: GUESSES[name] for name in ("late", "orders")}, model="glm-4.7-flash")
    assert out["late"].between(0, 90).all()
    assert [len(steps) for steps in out["orders"]] == [3, 3]
    with pytest.raises(cf.ModelError, match="gives no details"):
        SAID.cfai.extract(["a"], model="glm-4.7-flash", details=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"total": float, "total__confidence": str}, {"late": GUESSES["late"], "late__mean": float},
        {"total": float, "total__guess": bool}, {"paid": bool, "paid__confidence": float},
        {"paid": bool, "paid__confidence": bool},
    ],
)  # fmt: skip
def test_fields_whose_details_would_share_a_column_are_refused(emulator: Emulator, fields: dict[str, Any]) -> None:
    """No figure is lost to a field of its name, whichever model answers them; without details the names are free."""
    with pytest.raises(ValueError, match=r"result columns: '\w+' given more than once"):
        SAID.cfai.extract(fields, details=True)
    assert emulator.requests == 0
    assert list(SAID.head(1).cfai.extract(fields)) == list(fields)


def test_other_figures_are_another_question() -> None:
    """What an estimate asks is part of the key, also what no schema of a reply tells."""
    tasks = [
        cf.Extract(fields={"a": cf.estimate("it", min=0, max=9, unit=unit, step=step)})
        for unit, step in ((None, None), ("EUR", None), (None, 1))
    ]
    assert len({json.dumps(task.key_fields(), sort_keys=True) for task in tasks}) == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cf.estimate("", min=0, max=1), "say what"),
        (lambda: cf.estimate("x", min=2, max=1), "below max"),
        (lambda: cf.estimate("x", min=0, max=dt.date(2026, 1, 1)), "two numbers or two dates"),
        (lambda: cf.estimate("x", min=0, max=9, scale="log"), "above 0"),
        (lambda: cf.forecast("x", min=0, max=9, horizon=65), "1 to 64"),
        (lambda: cf.forecast("x", min=0, max=9, horizon=2, interval="fortnight"), "one of step"),
    ],
    ids=["no words", "bounds", "kinds", "log", "horizon", "interval"],
)
def test_what_no_estimate_can_be_is_reported(make: Any, words: str) -> None:
    """A field that means nothing is an error where it is made."""
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("model", [None, "glm-4.7-flash"])
def test_a_date_without_a_year_leans_on_a_day(emulator: Emulator, model: str | None) -> None:
    """The day is sent to either kind of model, is part of the question, and has to be one."""
    text, fields = pd.Series(["Due May 5th"]), {"due": dt.date}
    day = text.cfai.extract(fields, reference_date=dt.date(2026, 1, 1), model=model)["due"]
    assert model is not None or day.tolist() == [pd.Timestamp("2026-05-05")]
    request = cf.Extract(fields=fields, reference_date="2026-01-01").build_request(["x"], find(model or "clairic"))
    assert "2026-01-01" in json.dumps(request.json)
    text.cfai.extract(fields, reference_date="2026-01-01", model=model)  # the same question
    assert emulator.requests == 1
    text.cfai.extract(fields, model=model)
    assert emulator.requests == 2
    with pytest.raises(ValueError, match="reference_date='soon'"):
        text.cfai.extract(fields, reference_date="soon", model=model)


@pytest.mark.parametrize("span", [[3, 5], {"start": 3, "end": 5}], ids=["pair", "names"])
def test_a_place_in_the_text_in_both_forms(span: Any) -> None:
    """Public clients read spans as pairs; a mapping is understood as well, and none at all of what a picture shows."""
    cell = {"a": {"value": "x", "span": span}, "b": {"value": "y", "span": None, "source": "image"}}
    task = cf.Extract(fields=["a", "b"], details=True)
    said = Answer(json.dumps({"result": {"answers": cell, "truncated": False}, "success": True}).encode())
    columns = task.to_columns(list(task.parse(said, ["text"], find("clairic"))))
    assert [columns[f"{name}__{end}"].values for name in "ab" for end in ("start", "end")] == [[3], [5], [None], [None]]


@pytest.mark.parametrize("answer", [{"value": "soon"}, {"value": [1], "steps": [{"value": 1}]}], ids=["words", "steps"])
def test_an_answer_of_another_shape_is_a_failed_row(answer: Any) -> None:
    """A duration that is not a number and a forecast of another length are errors of the row, not of columns."""
    task = cf.Extract(fields={"a": dt.timedelta if answer["value"] == "soon" else GUESSES["orders"]})
    said = Answer(json.dumps({"result": {"answers": {"a": answer}, "truncated": False}, "success": True}).encode())
    with pytest.raises(cf.AnswerError, match="does not fit the fields"):
        task.parse(said, ["text"], find("clairic"))


def test_chat_models_take_types_the_extraction_model_has_not(emulator: Emulator) -> None:
    """A chat model answers with JSON of the fields, also for a yes or no."""
    out = TEXT.cfai.extract({"paid": bool, "vendor": str}, model="glm-4.7-flash")
    assert out["paid"].dtype == "boolean"
    with pytest.raises(cf.ModelError, match="no type for paid"):
        TEXT.cfai.extract({"paid": dict})


def test_a_text_that_was_cut_is_a_failed_row() -> None:
    """An answer that says it did not read all is an error of the row, and so is one that lacks a field."""
    task, model = cf.Extract(fields=FIELDS), find("clairic")
    whole = {name: {"value": None} for name in FIELDS}
    for output, code in (
        ({"answers": whole, "truncated": True}, "truncated"),
        ({"answers": {}, "truncated": False}, "schema"),
        ({"answers": None}, "schema"),
        ([], "schema"),
    ):
        said = Answer(json.dumps({"result": output, "success": True}).encode())
        with pytest.raises(cf.AnswerError) as caught:
            task.parse(said, ["text"], model)
        assert caught.value.code == code


def test_the_extraction_request_is_complete() -> None:
    """Clairic gets its short name, the text, and a spec a field in its own words."""
    body = cf.Extract(fields=Invoice).build_request(["a text"], find("clairic")).json
    assert (body["model"], body["state"]) == ("clairic", "a text")
    assert body["fields"]["vendor"] == {"type": "text", "instructions": "who sent it"}
    lists = cf.Extract(fields={"all": list[float], "n": int}).build_request(["x"], find("clairic")).json["fields"]
    assert lists["all"] == {"type": "list", "items": "number", "instructions": "all"}
    assert lists["n"]["integer"] is True


def test_a_field_may_be_called_anything(emulator: Emulator) -> None:
    """A name the model does not take is sent as a number, with the name as what to look for."""
    names = {"Total in EUR": float, "Fälligkeit": dt.date, "x" * 70: str, "field-0": str, "plain": str}
    out = TEXT.cfai.extract(names)
    assert list(out.columns) == list(names)
    assert out["Total in EUR"].tolist()[0] == 41.5
    sent = cf.Extract(fields=names).build_request(["x"], find("clairic")).json["fields"]
    assert list(sent) == ["field-0", "field-1", "field-2", "field-3", "plain"]
    assert sent["field-0"]["instructions"] == "Total in EUR"
    with pytest.raises(ValueError, match="cannot begin with an underscore"):
        TEXT.cfai.extract({"_x": float})


@pytest.mark.parametrize("fields", [[], {}, "vendor", ["a: money"], [":number"], ["a", 3], ["a", "a: number"], 3])
def test_what_is_no_list_of_fields_is_reported(emulator: Emulator, fields: Any) -> None:
    """Fields that mean nothing are an error, and nothing is sent."""
    with pytest.raises(ValueError, match=r"fields|schema"):
        TEXT.cfai.extract(fields)
    assert emulator.requests == 0


class Order(pydantic.BaseModel):
    total: float | None = None
    paid: bool = pydantic.Field(description="Was it paid?")
    state: Literal["open", "closed"] | None = None


MIXED = {"total": float, "paid": bool, "state": ["open", "closed"]}


@pytest.mark.parametrize("fields", [MIXED, Order], ids=["dict", "model"])
def test_booleans_and_words_go_to_a_decision_model(emulator: Emulator, fields: Any) -> None:
    """One call, one frame in the order of the fields, one price; the extraction model is asked for the rest alone."""
    plan = TEXT.cfai.extract.plan(fields)
    assert {name.rpartition("/")[2] for name in plan.plans} == {"clairic", "clef-flash"}
    assert emulator.requests == 0
    out = TEXT.cfai.extract(fields)
    assert list(out.columns) == ["total", "paid", "state"]
    assert (out["paid"].dtype, out["total"].dtype) == ("boolean", "float64")
    assert list(out["state"].cat.categories) == ["open", "closed"]
    assert out["total"].tolist()[0] == 41.5
    assert out.iloc[2].isna().all()
    assert [call.model.rpartition("/")[2] for call in emulator.calls] == ["clairic"] * 3 + ["clef-flash"] * 3
    assert emulator.billed <= plan.cost.neurons
    sent = emulator.requests
    full = TEXT.cfai.extract(fields, details=True)
    assert emulator.requests == sent
    assert {"total__start", "paid__confidence", "state__confidence", "state__p_null"} <= {*full.columns}
    assert full["state"].isna().tolist() == out["state"].isna().tolist()


def test_both_calls_have_one_report(emulator: Emulator) -> None:
    """``cf.last_run()`` is about both calls: their cost, their requests, the whole frame."""
    out = TEXT.cfai.extract(MIXED)
    report = cf.last_run()
    assert report.receipt.startswith("extract: 3 of 3 rows")
    assert report.event.requests == emulator.requests == 6
    assert report.event.spent.neurons == pytest.approx(emulator.billed)
    assert report.frame().equals(out)
    TEXT.cfai.extract(MIXED)
    assert (cf.last_run().event.stored, cf.last_run().event.requests) == (3, 0)
    TEXT.cfai.extract({"paid": bool})
    assert cf.last_run().receipt.startswith("extract: 3 of 3 rows")


def test_a_row_that_one_call_cannot_answer_fails() -> None:
    """It is missing in the columns of that call alone; the failure names its model, and the row is not done."""
    failed: list[int] = []

    def fault(number: int, model: str) -> str | None:
        failed.extend([number] * (not failed and "clef" in model))
        return "5006" if failed == [number] else None

    cf.connect(Emulator(rate=None, faults=fault), store=False)
    with pytest.warns(cf.CfaiWarning, match="1 of 4 rows failed"):
        out = TEXT.cfai.extract(MIXED)
    report = cf.last_run()
    assert (report.event.done, report.failed, report.not_run) == (2, 1, 0)
    at = int(report.failures["position"][0])
    assert report.failures["model"].tolist() == ["@cf/cloudflare/clef-flash"]
    assert out["paid"].isna().tolist() == [position in (at, 2) for position in range(4)]
    assert out["total"].tolist()[0] == 41.5


def test_any_way_of_asking_goes_to_both_models(emulator: Emulator) -> None:
    """``run``, ``compare`` and frames of Polars divide the fields as ``extract`` does, and find its answers stored."""
    pl = pytest.importorskip("polars")
    task, frame = cf.Extract(fields=MIXED), TEXT.to_frame("text")
    out = frame.cfai.extract("text", MIXED)
    pd.testing.assert_frame_equal(frame.cfai.run(task, "text"), out)
    assert emulator.requests == 6
    assert frame.cfai.run.plan(task, "text").cost.neurons == frame.cfai.extract.plan("text", MIXED).cost.neurons
    there = pl.from_pandas(frame)
    for made in (there.cfai.extract("text", MIXED), there.cfai.run(task, "text")):
        assert made.columns == ["total", "paid", "state"]
        assert made["paid"].to_list() == [None if paid is pd.NA else paid for paid in out["paid"]]
    assert emulator.requests == 6
    found = frame.cfai.compare(task, "text", models=["clairic", "glm-4.7-flash"])
    assert {call.model.rpartition("/")[2] for call in emulator.calls} == {"clairic", "clef-flash", "glm-4.7-flash"}
    assert found.table["error"].isna().all()
    assert list(found.answers.columns.get_level_values(1).unique()) == ["total", "paid", "state"]
    assert found.table["requests"].tolist() == [0, 3]


def test_a_cascade_does_not_extract(emulator: Emulator) -> None:
    """It is refused before anything is sent, with what to do."""
    with pytest.raises(cf.ModelError, match=r"extract cannot use a cascade here.*These can"):
        TEXT.cfai.extract(MIXED, model=cf.Cascade("clef-flash", "clef-omni"))
    assert emulator.requests == 0


def test_decided_fields_alone_are_one_call(emulator: Emulator) -> None:
    """Without other fields the extraction model is not asked; an own model of the call is asked for everything."""
    assert TEXT.cfai.extract({"paid": bool})["paid"].notna().sum() == 3
    assert {call.model for call in emulator.calls} == {"@cf/cloudflare/clef-flash"}
    assert TEXT.cfai.extract(["paid: boolean"])["paid"].dtype == "boolean"
    assert TEXT.cfai.extract({"s": ["open", "closed"]}, model="glm-4.7-flash")["s"].dtype == "category"


def test_one_budget_covers_both_calls(emulator: Emulator) -> None:
    """What the first call leaves of a budget is all that the second one has."""
    plan = TEXT.cfai.extract.plan(MIXED)
    first, second = (each.estimate.cost.neurons for each in plan.plans.values())
    with pytest.raises(cf.BudgetError):
        TEXT.cfai.extract(MIXED, neurons=first + second / 4, cache=False)
    assert TEXT.cfai.extract(MIXED, neurons=first + second, cache=False)["paid"].notna().sum() == 3


@pytest.mark.parametrize(("state", "billed"), [(82, 1408), (211, 2311)])
def test_a_plan_counts_a_pass_a_field(state: int, billed: int) -> None:
    """Seven fields were billed at 7 x state + 834 tokens; the estimate is not below, and not far above."""
    fields = ["vendor", "total: number", "due: date", "paid_on: date", "city", "number", "items: integer"]
    used = cf.Extract(fields=fields).estimate_usage(["word" * state], find("clairic")).amounts["input_tokens"]
    assert billed <= used <= 1.05 * billed


def test_the_plan_says_what_shared_passes_would_save(emulator: Emulator) -> None:
    """It names the passes counted and the price if fields share them; one field has nothing to share."""
    long = pd.Series(["word " * 900])
    assert "one pass over the text for each of the 3 fields" in repr(long.cfai.extract.plan(FIELDS))
    assert "% less" in repr(long.cfai.extract.plan(FIELDS))
    assert "pass" not in repr(long.cfai.extract.plan(["total: number"]))


def test_a_text_beyond_the_model_is_not_sent(emulator: Emulator) -> None:
    """Its row fails with the numbers, and nothing is paid; the others are answered."""
    with pytest.warns(cf.CfaiWarning, match="reads 65,536"):
        out = pd.Series(["word " * 90_000, "total 7"]).cfai.extract(["total: number"])
    assert out["total"].tolist()[1] == 7
    assert emulator.requests == 1


def test_fragments_of_a_list_are_dropped() -> None:
    """Entries without any confidence are not answers; a list of confidences of another length says nothing."""
    task = cf.Extract(fields={"all": list[str], "some": list[float]})
    cell = {
        "all": {"type": "list", "value": ["a", "b"], "confidences": [0.9, 1e-7], "spans": [[0, 1]]},
        "some": {"type": "list", "value": [1, 2], "confidences": [0.9]},
    }
    said = Answer(json.dumps({"result": {"answers": cell, "truncated": False}, "success": True}).encode())
    columns = task.to_columns(list(task.parse(said, ["text"], find("clairic"))))
    assert columns["all"].values == [["a"]]
    assert columns["some"].values == [[1, 2]]
