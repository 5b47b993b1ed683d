"""``cfai-nb conformance``: the table is whole, a right emulator agrees with it, and a wrong one is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from published import schemas
from starlette.routing import Match

import cfai_nb as cf
from cfai_nb._engine.bridge import bridge
from cfai_nb.cli import main
from cfai_nb.emulator import Emulator, running
from cfai_nb.emulator.error_codes import CODES
from cfai_nb.emulator.search_instance import CODES as SEARCH_CODES
from cfai_nb.emulator.service.faults import QUIRKS
from cfai_nb.emulator.service.model_listing import FAMILIES
from cfai_nb.models import catalogue
from cfai_nb.models.ledger import Budget
from cfai_nb.session.conformance import Check, Checked, Outcome, check, chosen, cost_of, emulated, prices
from cfai_nb.session.conformance.expectations import (
    Observed,
    Statement,
    at,
    differences,
    fits,
    scrubbed,
    shape,
    verdict,
)
from cfai_nb.session.conformance.statements import LEFT_OUT, TABLE
from cfai_nb.session.requests import RequestJob
from cfai_nb.tasks import Request

#: What a test says that misses a statement.
STATE = "session/conformance/statements.py needs a statement"
RECORDED = Path(__file__).parent.parent / "data" / "conformance.json"


@pytest.fixture(scope="module")
def right() -> list[Outcome]:
    """What a right emulator answers."""
    return emulated(TABLE)


def asked(statements: list[Statement], budget: Budget | None = None, **settings: Any) -> list[Outcome]:
    """Ask an emulator with settings."""
    made = Check(statements, budget)
    with cf.connect(Emulator(rate=None, **{"terms_accepted": True, **settings}), store=False) as here:
        bridge.wait(RequestJob(here.engine(cache=False), made, drain=True), lambda: None)
    return made.outcomes


# -- the table -------------------------------------------------------------------------------------------------------


def test_a_right_emulator_agrees(right: list[Outcome]) -> None:
    """Every statement holds, and costs no more than its estimate."""
    assert [(each.statement.name, each.differences) for each in right if each.verdict != "holds"] == []
    for each in right:
        most = cost_of(each.statement).neurons
        assert most is None or (each.neurons or 0.0) <= most * (1 + 1e-9), each.statement.name


def test_the_price_is_a_few_hundred_neurons() -> None:
    """All of it costs less than a twentieth of a free day, and two statements have no published price."""
    most, unknown = prices(TABLE)
    assert 0 < most < 500
    assert unknown == ["media.sdxl", "media.llava"]


def test_names_are_unique_and_nothing_is_stated_twice() -> None:
    """A name is a family and a subject."""
    assert len({each.name for each in TABLE}) == len(TABLE)
    assert all(each.name.count(".") == 1 and each.says and each.request.path[0] == "/" for each in TABLE)


def test_every_code_has_a_statement_or_a_reason() -> None:
    """Each code of the emulator has a statement or a reason to be left out, not both."""
    stated, left = {each.code for each in TABLE if each.code}, {code for code in LEFT_OUT if isinstance(code, int)}
    known = set(CODES) | set(SEARCH_CODES)
    assert known - stated - left == set(), f"{STATE} of these codes, or a reason in LEFT_OUT"
    assert stated & left == set()
    assert left <= known


def test_every_family_has_a_statement_or_a_reason() -> None:
    """Each family of models that the emulator imitates has a statement, or a reason why not."""
    models = {each.model for each in TABLE} & catalogue().keys()
    stated = {catalogue()[model].family for model in models} | {"documents"}
    assert set(FAMILIES) - stated - set(LEFT_OUT) == set(), f"{STATE} about a model of these, or a reason in LEFT_OUT"


def test_every_address_has_a_statement_or_a_reason() -> None:
    """An address that the emulator serves is asked, with each of its methods that has a meaning of its own."""
    start = "/client/v4/accounts/{account}"
    routes = {each.path.removeprefix(start): each for each in Emulator()._router.routes if each.path.startswith(start)}
    asked = set()
    for each in TABLE:
        path = "/client/v4/accounts/" + "a" * 32 + str(each.request.path)
        scope = {"type": "http", "method": each.method, "path": path, "root_path": "", "headers": []}
        asked |= {next((name for name, route in routes.items() if route.matches(scope)[0] is Match.FULL), "")}
    left = tuple(one for one in LEFT_OUT if isinstance(one, str) and one.startswith("/"))
    missing = [path for path in routes if path not in asked and not path.startswith(left)]
    assert missing == [], f"{STATE} that asks these addresses, or a reason in LEFT_OUT"


def test_requests_fit_the_published_schemas() -> None:
    """What is to be answered is asked as the service publishes that it may be."""
    wrong = {}
    for each in TABLE:
        body, path = each.request.json, str(each.request.path)
        if each.status == 200 and each.model in schemas() and body and path.startswith("/ai/run/"):
            validator = Draft202012Validator(schemas()[each.model]["input"])
            bodies = body["requests"] if each.name == "queue.send" else [body]
            errors = [error.message for one in bodies for error in validator.iter_errors(one)]
            wrong |= {each.name: errors} if errors else {}
    assert wrong == {}


@pytest.mark.parametrize("quirk", QUIRKS)
def test_a_wrong_emulator_is_found_out(quirk: str) -> None:
    """Each quirk changes at least one verdict."""
    wanted = {"embed", "chat", "gateway"} if quirk != "no-ai-search" else {"ai-search"}
    outcomes = asked(chosen(wanted, writes=True), quirks={quirk})
    if quirk == "spend-limit":  # how the gateway is until its window ends: that is reported, and is not a verdict
        assert ["spend limit" in each.why.casefold() for each in outcomes if each.verdict == "not asked"] == [True]
        return
    assert [each.statement.name for each in outcomes if each.verdict in ("differs", "closed")]


def test_the_emulator_answers_as_it_was_recorded(right: list[Outcome]) -> None:
    """Status, fields and media types are those of the recorded answers; a record of the account replaces this one."""
    recorded = json.loads(RECORDED.read_text("utf-8"))["answers"]
    ours = {each.statement.name: each.observed for each in right}
    assert recorded.keys() == ours.keys()
    for name, theirs in recorded.items():
        seen = ours[name]
        assert seen is not None
        assert (seen.status, shape(scrubbed(seen.document, ()))) == (theirs["status"], shape(theirs["body"])), name
        assert seen.headers.get("content-type") == theirs["headers"].get("content-type"), name


# -- checking --------------------------------------------------------------------------------------------------------


def test_a_field_that_only_one_of_both_has_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new field of the target is named, and one that only the emulator has."""
    some = chosen(["embed"])[:1]
    plain = Check._ask

    async def changed(self: Check, job: Any, sender: Any, outcome: Outcome) -> None:
        await plain(self, job, sender, outcome)
        if job.engine.origin == "emulator" and outcome.observed is not None and not seen:
            seen.append(outcome.observed)
            body = json.loads(outcome.observed.content)
            body["result"]["colour"] = body["result"].pop("pooling")
            outcome.observed = Observed(200, outcome.observed.headers, json.dumps(body).encode())

    seen: list[Observed] = []
    monkeypatch.setattr(Check, "_ask", changed)
    with cf.connect("emulator", store=False) as here:
        (made,) = check(here, some)
    assert (made.verdict, made.new, made.gone) == ("holds", ["result.colour"], ["result.pooling"])
    assert "new      embed.shape: result.colour" in Checked([made], "emulator").lines()


def test_a_budget_ends_it_before_it_is_exceeded() -> None:
    """What does not fit is not asked, what is free is; the ledger has each charge."""
    budget = Budget(3.0, "3 Neurons", allow_unknown=True)
    outcomes = asked(chosen(["embed", "chat"]), budget)
    skipped = [each for each in outcomes if each.verdict == "not asked"]
    assert skipped
    assert all("budget of 3 Neurons is used up" in each.why for each in skipped)
    assert budget.spent <= 3.0
    assert {each.verdict for each in outcomes if not each.statement.uses} == {"holds"}
    with cf.connect("emulator", store=False) as here:
        check(here, chosen(["embed"])[:2])
        assert {charge.verb for charge in here.charges()} == {"conformance"}


def test_stop_ends_it() -> None:
    """After Stop nothing more is asked."""
    made = Check(chosen(["embed"]))
    with cf.connect("emulator", store=False) as here:
        job = RequestJob[None](here.engine(cache=False), made, drain=True)
        job.stop()
        bridge.wait(job, lambda: None)
    assert {each.why for each in made.outcomes} == {"stopped"}


def test_what_is_left_in_the_account_is_said(right: list[Outcome]) -> None:
    """Where an index or an instance was made and not deleted, the report names it."""
    made = [each for each in right if each.statement.family in ("vectorize", "ai-search")]
    assert not any("left" in line for line in Checked(made, "cloudflare").lines())
    cut = [Outcome(each.statement, why="stopped") if each.statement.name.endswith("delete") else each for each in made]
    told = "\n".join(Checked(cut, "cloudflare").lines())
    assert "left     vectorize: 'cfai-nb-conformance' was made in the account and not deleted" in told
    assert "left     ai-search: 'cfai-nb-conformance'" in told


def test_faults_are_repeated_and_a_dead_service_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503 is asked again; where nothing answers, a statement was not asked, which is not a difference."""
    some = chosen(["embed"])[:2]
    assert {each.verdict for each in asked(some, faults=["503", "reset"])} == {"holds"}
    monkeypatch.setattr("cfai_nb.session.conformance._PATIENCE", 0.05)
    for fault, why in (("reset", "connection lost"), ("503", "503"), ("4006", "4006")):
        dead = asked(some, faults={fault: 1.0})
        assert {each.verdict for each in dead} == {"not asked"}
        assert all(why in each.why for each in dead)


# -- one statement ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected", "holds"),
    [
        ("a", "<text>", True), (1, "<number>", True), (True, "<number>", False), (True, "<boolean>", True),
        (None, "<null>", True), ([], "<list>", True), ({}, "<object>", True), ("5006", 5006, False), (5006, 5006, True),
        ("AiError: x", "~^AiError", True), (1, "~1", False), ({}, ("<null>", "<object>"), True), (1, True, False),
        ([1], [1], True), (1.0, 1, False), (None, None, True),
    ],
)  # fmt: skip
def test_what_a_value_must_be(value: Any, expected: Any, holds: bool) -> None:
    """Kinds, patterns, values and alternatives; a truth value is not a number, and neither is a text."""
    assert fits(value, expected) is holds


def test_paths_lead_into_documents() -> None:
    """``*`` stands for every member, a number for one of a list; what is not there yields nothing."""
    document = {"a": [{"b": 1}, {"b": 2}, {"c": 3}], "d": {"e": None}}
    assert list(at(document, "a.*.b")) == [1, 2]
    assert list(at(document, "a.1.b")) == [2]
    assert list(at(document, "a.9.b")) == list(at(document, "x.y")) == []
    assert list(at(document, "d.*")) == [None]
    assert shape(document) == {"a", "a.*.b", "a.*.c", "d", "d.e"}


def observed(status: int, body: Any, **headers: str) -> Observed:
    """An answer in JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Observed(status, {"content-type": "application/json", **headers}, content)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (observed(200, {"result": {"n": 1}}, x="2"), ("holds", [])),
        (observed(200, {"result": {"n": "1"}}, x="2"), ("differs", ["result.n"])),
        (observed(200, {"result": {"n": 1, "gone": True}}, x="2"), ("differs", ["result.gone"])),
        (observed(200, {"result": {"n": 1}}), ("differs", ["header x"])),
        (observed(200, {"result": {"n": 1}}, x="2", y="1"), ("differs", ["header y"])),
        (observed(500, b"<html>"), ("differs", ["status", "header x", "result.n"])),
        (observed(403, {"errors": [{"code": 5035}]}), ("closed", ["status", "header x", "result.n"])),
        (observed(402, {"errors": [{"code": "2021"}]}), ("closed", ["status", "header x", "result.n"])),
        (observed(400, {"errors": [{"code": 5006}]}), ("differs", ["status", "header x", "result.n"])),
    ],
)
def test_verdicts(answer: Observed, found: Any) -> None:
    """Status, headers, fields that must and must not be there; a refusal of access is not a difference."""
    stated = Statement(
        name="a.b", says="x", request=Request(path="/x"), headers={"x": r"~\d", "y": "<none>"},
        body={"result.n": "<number>", "result.gone": "!<boolean>"},
    )  # fmt: skip
    made, why = verdict(stated, answer)
    assert (made, [each.where for each in why]) == found


def test_a_code_is_compared_as_it_is_written() -> None:
    """The text "5006" is not the number 5006."""
    stated = Statement(name="a.b", says="x", request=Request(path="/x"), status=400, code=5006)
    (found,) = differences(stated, observed(400, {"errors": [{"code": "5006"}]}))
    assert (found.where, found.expected, found.got) == ("code", 5006, "5006")


def test_reports_hold_no_secret() -> None:
    """Token, account and ids are gone, in texts and in names of fields; long texts and lists are cut."""
    token, account = "t" * 40, "0123456789abcdef" * 2
    body = {"errors": [{"code": 1, "message": f"{token} of {account}"}], account: ["x" * 999] * 9}
    made = Outcome(chosen(["embed"])[0], "differs", differences(chosen(["embed"])[0], observed(400, body)))
    made.observed = observed(400, body)
    checked = Checked([made], "cloudflare", {token, account})
    for shown in (json.dumps(checked.to_json()), json.dumps(checked.recorded()), "\n".join(checked.lines())):
        assert token not in shown
        assert account not in shown
        assert "x" * 201 not in shown
    assert "DIFFERS  embed.shape" in checked.lines()[0]
    assert (checked.agrees, checked.counts["differs"]) == (False, 1)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_against_the_emulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prices first, is green, and writes the report and the record."""
    report, record = tmp_path / "report.json", tmp_path / "record.json"
    files = ["--json", str(report), "--record", str(record)]
    assert main(["conformance", "emulator", "--only", "embed,rank", "--budget", "free", *files]) == 0
    said = capsys.readouterr().out
    assert said.startswith("12 statements, ")
    assert "with a price: at most ~" in said
    assert "12 hold, 0 differ, 0 not open to this account, 0 not asked (emulator)" in said
    assert "exhausted, foreign or misused account shows them: 1015, " in said
    made = json.loads(report.read_text("utf-8"))
    assert (made["target"], made["counts"], len(made["statements"])) == ("emulator", {"holds": 12}, 12)
    assert made["left_out"]["4006"]
    assert len(json.loads(record.read_text("utf-8"))["answers"]) == 12


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["emulator", "--only", "embed,dance"], "no statements about dance; the known families are embed, rank, chat"),
        (["emulator", "--budget", "much"], "give free, or Neurons"),
        (["emulator", "--base-url", "http://x/client/v4"], "give emulator, or --base-url"),
    ],
)
def test_the_command_refuses_what_does_not_fit(
    capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    """Wrong usage is reported, with exit code 2."""
    assert main(["conformance", *arguments]) == 2
    assert error in capsys.readouterr().err


def test_the_command_lists_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Every statement in words; writing ones are marked, and shown where they are asked for."""
    assert main(["conformance", "--list"]) == 0
    assert "vectorize.create" not in capsys.readouterr().out
    assert main(["conformance", "--list", "--write", "--only", "vectorize"]) == 0
    assert "vectorize.create" in capsys.readouterr().out


def test_the_command_asks_before_it_charges(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against an account it needs ``--yes``; a wrong emulator on a port gives exit code 1 and its differences.

    The budget is the one that all processes share, though no run has begun.
    """
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "x" * 40)
    with running(rate=None, quirks={"string-codes"}) as there:
        given = ["conformance", "--base-url", there.url, "--only", "embed"]
        assert main(given) == 2
        assert "nothing was sent" in capsys.readouterr().err
        assert main([*given, "--yes", "--budget", "free"]) == 1
    said = capsys.readouterr().out
    assert "DIFFERS  embed.refused" in said
    assert "code: expected 5006, got '5006'" in said
    assert "(another address)" in said
