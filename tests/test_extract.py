"""Extract: named fields as typed columns, from the extraction model and from chat models."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

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


@pytest.fixture
def emulator() -> Emulator:
    made = Emulator(rate=None)
    cf.connect(made)
    return made


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


def test_chat_models_take_types_the_extraction_model_has_not(emulator: Emulator) -> None:
    """A chat model answers with JSON of the fields, also for a yes or no."""
    out = TEXT.cfai.extract({"paid": bool, "vendor": str}, model="glm-4.7-flash")
    assert out["paid"].dtype == "boolean"
    with pytest.raises(cf.ModelError, match="no type for paid"):
        TEXT.cfai.extract({"paid": bool})


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
            task.read(said, ["text"], model)
        assert caught.value.code == code


def test_the_extraction_request_is_complete() -> None:
    """Clairic gets its short name, the text, and a spec a field in its own words."""
    body = cf.Extract(fields=Invoice).compose(["a text"], find("clairic")).json
    assert (body["model"], body["state"]) == ("clairic", "a text")
    assert body["fields"]["vendor"] == {"type": "text", "instructions": "who sent it"}
    lists = cf.Extract(fields={"all": list[float], "n": int}).compose(["x"], find("clairic")).json["fields"]
    assert lists["all"] == {"type": "list", "items": "number", "instructions": "all"}
    assert lists["n"]["integer"] is True


def test_a_field_may_be_called_anything(emulator: Emulator) -> None:
    """A name the model does not take is sent as a number, with the name as what to look for."""
    names = {"Total in EUR": float, "Fälligkeit": dt.date, "x" * 70: str, "field-0": str, "plain": str}
    out = TEXT.cfai.extract(names)
    assert list(out.columns) == list(names)
    assert out["Total in EUR"].tolist()[0] == 41.5
    sent = cf.Extract(fields=names).compose(["x"], find("clairic")).json["fields"]
    assert list(sent) == ["field-0", "field-1", "field-2", "field-3", "plain"]
    assert sent["field-0"]["instructions"] == "Total in EUR"
    with pytest.raises(ValueError, match="cannot begin with an underscore"):
        TEXT.cfai.extract({"_x": float})


@pytest.mark.parametrize("fields", [[], {}, "vendor", ["a: money"], [":number"], 3])
def test_what_is_no_list_of_fields_is_told(emulator: Emulator, fields: Any) -> None:
    """Fields that mean nothing are an error, and nothing is sent."""
    with pytest.raises(ValueError, match=r"fields|schema"):
        TEXT.cfai.extract(fields)
    assert emulator.requests == 0
