"""The account's own meter: what other programs used counts, and without it our own ledger does."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.cli import main
from cfai_nb.emulator import Emulator, running
from cfai_nb.session import account_usage
from cfai_nb.session.account_usage import AccountUsage, UsageRow, read_usage, usage_request

TEXTS = pd.Series([f"text number {at} of some length" for at in range(40)])
MODEL = "@cf/baai/bge-m3"


def connected(tmp_path: Path, **settings: Any) -> tuple[Emulator, Any]:
    """An emulator with settings, and a session on it whose default budget is the free day."""
    emulator = Emulator(rate=None, **settings)
    return emulator, cf.connect(emulator, store=tmp_path / "s.sqlite", budget="free")


def rows(*groups: Any) -> Any:
    """An answer of the meter."""
    return {"data": {"viewer": {"accounts": [{"aiInferenceAdaptiveGroups": list(groups)}]}}, "errors": None}


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (rows(), []),
        (rows({"count": 2, "sum": {"totalNeurons": 12.5}}), [UsageRow("", "", 2, 12.5)]),
        (
            rows({"count": 1, "sum": {"totalNeurons": 3}, "dimensions": {"modelId": MODEL, "date": "2026-11-29"}}),
            [UsageRow(MODEL, "2026-11-29", 1, 3.0)],
        ),
        ({"data": None, "errors": [{"message": "not authorized for that account"}]}, cf.AccessError),
        ({"data": None, "errors": [{"message": "unknown field"}]}, cf.AnswerError),
        ({"data": {"viewer": None}}, cf.AnswerError),
        (rows({"count": 1, "sum": {"totalNeurons": "NaN"}}), cf.AnswerError),
        ([], cf.AnswerError),
    ],
)
def test_answers_of_the_meter(document: Any, found: Any) -> None:
    """Rows are read, no rows are nothing used, a missing permission is named, and anything else is an error."""
    if isinstance(found, list):
        assert read_usage(document) == found
    else:
        with pytest.raises(found, match="meter"):
            read_usage(document)


def test_a_query_names_account_and_times() -> None:
    """The account and the times are variables, so that nothing of them is part of the query."""
    request = usage_request("a" * 32, 0, 86_400, by_model=True)
    body = request.json
    assert request.path == "/graphql"
    assert body["variables"] == {"account": "a" * 32, "from": "1970-01-01T00:00:00Z", "to": "1970-01-02T00:00:00Z"}
    assert "dimensions { modelId date }" in body["query"]


def test_what_others_used_counts(tmp_path: Path) -> None:
    """budget="free" is what the account has left, not what our ledger knows; the error says so."""
    emulator, session = connected(tmp_path, usage_elsewhere=9_000)
    budget = session.options({}).budget
    assert budget.left == pytest.approx(1_000)
    assert "1,000 of 10,000" in budget.label
    assert "9,000 used by other programs" in budget.label
    emulator.meter.elsewhere = 10_000
    with cf.connect(emulator, store=False), pytest.raises(cf.BudgetError, match="0 of 10,000 left"):
        TEXTS.cfai.embed(budget="free")
    assert emulator.requests == 0


def test_our_own_use_is_not_counted_twice(tmp_path: Path) -> None:
    """What the meter shows of us is in our ledger too; while it lags, the ledger alone has it."""
    for lag in (0.0, 1e9):
        emulator, session = connected(tmp_path / str(lag), usage_elsewhere=100, usage_lag=lag)
        TEXTS.cfai.embed()
        session.meter._next = 0.0
        assert session.options({}).budget.left == pytest.approx(10_000 - 100 - emulator.billed)
        session.close()


def test_the_meter_is_read_once_a_minute_and_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reads it again once a minute has passed, and ends where other programs used the rest meanwhile."""
    emulator, session = connected(tmp_path)
    for _ in range(3):
        TEXTS.cfai.embed(cache=False)
    assert emulator.meter.reads == 1
    monkeypatch.setattr(account_usage, "EVERY", 0.0)
    session.meter._next = 0.0

    def busy(call: int, model: str) -> None:
        emulator.meter.elsewhere = 10_000 if call > 10 else 0

    emulator._faults._faults = busy
    with pytest.raises(cf.BudgetError, match="used up"):
        TEXTS.cfai.summarize(concurrency=1)
    assert 0 < cf.last_run().event.done < len(TEXTS)


def test_without_permission_it_is_said_once(tmp_path: Path) -> None:
    """The warning names the permission, comes once a session, and calls go on by our own ledger."""
    emulator = Emulator(rate=None, usage_readable=False)
    with pytest.warns(cf.CfaiWarning, match="Account Analytics: Read") as caught:
        session = cf.connect(emulator, store=tmp_path / "s.sqlite", budget="free")
    assert len(caught) == 1
    session.meter._next = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TEXTS.cfai.embed().notna().all()
    assert session.options({}).budget.left == pytest.approx(10_000 - emulator.billed)
    with pytest.raises(cf.AccessError, match="Account Analytics: Read"):
        cf.ledger(account=True)


def test_usage_is_shown_when_asked_for(tmp_path: Path) -> None:
    """connect(usage=True) reads it once, and the session shows it; otherwise the meter is left alone."""
    emulator = Emulator(rate=None, usage_elsewhere=1234)
    session = cf.connect(emulator, store=False)
    assert emulator.meter.reads == 0
    session = cf.connect(emulator, store=False, usage=True)
    assert "1,234 of 10,000 free Neurons used today, 8,766 left, reset at 00:00 UTC" in repr(session)
    assert session.meter.usage.left == 8_766


def test_the_day_ends_at_midnight_utc() -> None:
    """The time of the reset is the next 00:00 UTC."""
    usage = AccountUsage(12_000, 1_790_000_000)  # 14:13:20 UTC
    assert usage.left == 0
    assert usage.resets_at.isoformat() == "2026-09-22T00:00:00+00:00"
    assert "(in 9 h 46 min)" in str(usage)


def test_the_ledger_has_the_account_beside_ours(tmp_path: Path) -> None:
    """By day and model: what all programs used, what we did, and what the others did at least."""
    emulator, _ = connected(tmp_path, usage_elsewhere={MODEL: 50.0, "@cf/meta/llama-guard-3-8b": 7.0})
    TEXTS.cfai.embed()
    found = cf.ledger(account=True)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    ours = found.loc[(day, MODEL)]
    assert ours["account_neurons"] == pytest.approx(50 + emulator.billed)
    assert (ours["neurons"], ours["other_neurons"]) == pytest.approx((emulator.billed, 50.0))
    assert ours["requests"] == emulator.requests
    other = found.loc[(day, "@cf/meta/llama-guard-3-8b")]
    assert (other["requests"], other["neurons"], other["other_neurons"]) == (0, 0.0, 7.0)


@pytest.mark.parametrize("readable", [True, False])
def test_the_doctor_tests_the_permission(
    readable: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows used, left and reset time, or which permission is missing, which is not a problem for calls."""
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "b" * 40)
    with running(rate=None, usage_elsewhere=2_500, usage_readable=readable) as here:
        main(["doctor", "--base-url", here.url])
    shown = capsys.readouterr().out
    words = "2,500 of 10,000 free Neurons used today, 7,500 left" if readable else "Account Analytics: Read (optional"
    assert words in shown
