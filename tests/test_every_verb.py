"""The engine promises, verb by verb: what a budget or Stop ends in the middle is finished by the same call."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inputs import quick_queue
from intercept import Intercept
from starlette.requests import Request
from verb_cases import CASES, INDEX, QUEUED, VERBS, Case, RequestBudget

import cfai_nb as cf
from cfai_nb import tasks
from cfai_nb.accessor import Accessor
from cfai_nb.frame.call import Call
from cfai_nb.frame.verb import FilterVerb, RankVerb
from cfai_nb.tasks.dialects import chat


def test_the_table_has_every_verb() -> None:
    """Each verb stands in the table under its name, and the table has no verb that is gone."""
    assert {name for name, case in CASES.items() if name == case.verb} == VERBS.keys()
    assert {case.verb for case in CASES.values()} == VERBS.keys()


class Counting(Intercept):
    """An emulator that notes what is asked of it, and presses Stop when it is asked for the ``at``-th time."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__(terms_accepted=True, queue_polls=0)
        self.asked: Counter[str] = Counter()
        self.at, self.runner = at, None

    def answer(self, request: Request, body: bytes) -> tuple[Any, bytes]:
        plain = request.headers.get("content-type", "").startswith("application/json")
        read = json.loads(body) if plain else {}
        if "request_id" not in read:
            parts = read.get("requests", [read if plain else len(self.asked)])  # a form has another border every time
            self.asked.update(f"{request.url.path} {json.dumps(part, sort_keys=True)}" for part in parts)
            if self.at is not None and self.asked.total() >= self.at:
                self.runner.stop()
        return None, body


def done(case: Case, **travel: Any) -> tuple[Any, list[Any]]:
    """Call the verb, and return its result and its failures as plain data."""
    frame = case.made()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cf.CfaiWarning)
        made = getattr(frame.cfai, case.verb)(case.on, **{"concurrency": 2, **case.options, **travel})
    told = made.drop(columns="it", errors="ignore") if isinstance(made, pd.DataFrame) else made.to_frame()
    return plain(told), plain(cf.last_run().failures)


def plain(frame: pd.DataFrame) -> list[Any]:
    """The cells of a frame with its labels, to be compared."""
    said = frame.astype(object).where(frame.notna(), None).to_dict("split")
    return [said["index"], said["columns"], [[_plain(cell) for cell in row] for row in said["data"]]]


def _plain(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray) else bytes(cell) if isinstance(cell, bytes) else cell


@pytest.fixture(autouse=True)
def _in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs that send rows together send two at a time, and nothing waits for a pretended queue."""
    for task in (tasks.Embed, tasks.Rank):
        monkeypatch.setattr(task, "batch", lambda self, model: 2)
    quick_queue(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_ends_in_the_middle_is_finished_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Budget or Stop in the middle, then the same call: the undisturbed result, nothing sent twice, then nothing."""
    case, start = CASES[name], Call._start

    whole = Counting()
    with cf.connect(whole, store=tmp_path / "whole.sqlite", rate=None):
        expected = done(case)
        spent = cf.ledger()
    total = whole.asked.total()
    assert total > 1, "there is a middle"
    assert expected[1][2][0][:2] == ["d", "input"]
    if not isinstance(vars(Accessor)[case.verb], (FilterVerb, RankVerb)):
        assert expected[0][0] == INDEX

    for end in ("budget", "stop"):
        here = Counting()
        with cf.connect(here, store=tmp_path / f"{end}.sqlite", rate=None):
            if end == "budget":
                with pytest.raises(cf.BudgetError, match="used up"):
                    done(case, budget=RequestBudget(total // 2 | 1))
            else:

                def noted(call: Call, here: Counting = here) -> Any:
                    runner, made = start(call)
                    here.runner = runner
                    return runner, made

                monkeypatch.setattr(Call, "_start", noted)
                here.at = total // 2 | 1
                with pytest.raises(cf.Stopped):
                    done(case)
                here.at = None
            sent = here.asked.total()
            assert 0 < sent < total or "queue" in name
            assert done(case) == expected
            assert here.asked == whole.asked, f"nothing is sent twice after {end}"
            ledger = pd.DataFrame(cf.ledger())
            assert ledger["requests"].sum() == spent["requests"].sum()
            assert ledger["neurons"].sum() == pytest.approx(spent["neurons"].sum())
            paid = ledger[ledger["requests"] > 0]
            assert paid["rows"].sum() == 7, "a row counts once"
            assert done(case) == expected
            assert here.asked.total() == total, "a third call sends nothing"
            assert cf.last_run().event.stored == 7
            assert cf.last_run().event.saved_neurons == pytest.approx(ledger["neurons"].sum())


def test_a_turn_is_in_the_ledger_when_it_is_answered(tmp_path: Path) -> None:
    """While a tool works, what led to it is charged and kept: a kill does not lose it."""
    here, seen = Counting(), []
    path = tmp_path / "s.sqlite"
    question = pd.Series(["What is the weather in Rome?"])

    def weather(city: str = "Rome") -> str:
        """Say what the weather is in a city."""
        counted, end = "SELECT (SELECT count(*) FROM charges), (SELECT count(*) FROM turns)", time.monotonic() + 5
        with contextlib.closing(sqlite3.connect(path)) as another:
            while (found := another.execute(counted).fetchone()) != (1, 1) and time.monotonic() < end:
                time.sleep(0.005)  # the writer commits what waits, in a thread of its own
        seen.append(found)
        return "dry"

    with cf.connect(here, store=path, rate=None):
        first = question.cfai.generate("{value}", tools=[weather], model=QUEUED)
        spent = cf.last_run().run.spent.neurons
        assert seen == [(1, 1)]
        again = question.cfai.generate("{value}", tools=[weather], model=QUEUED)
        assert again.equals(first)
        assert cf.last_run().event.saved_neurons == pytest.approx(spent), "every turn of it"
        assert here.asked.total() == 2


@dataclass(frozen=True, kw_only=True)
class Twice(tasks.Generate):
    """Asks twice, and cannot read the second answer."""

    def conversation(self, inputs: Any, model: Any) -> Any:
        """Ask, ask again, and give up."""
        for turn in ("first", "second"):
            yield chat.build_request(chat.messages(f"{turn} {inputs[0]}", None), model, self.settings)
        raise cf.AnswerError("neither will do", "schema")


def test_a_conversation_that_ended_badly_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was heard before Stop is used once: an answer no end comes of is not given to every run from then on."""
    here, sent = Counting(), []
    row = pd.Series(["What?"])
    with cf.connect(here, store=tmp_path / "s.sqlite", rate=None):
        with pytest.raises(cf.BudgetError):
            row.cfai.run(Twice(), "{value}", budget=RequestBudget(1))
        for _ in range(3):
            sent.append(here.asked.total())
            with pytest.raises(cf.RowsFailed, match="neither will do"):
                row.cfai.run(Twice(), "{value}")
        assert [*sent, here.asked.total()] == [1, 2, 4, 6]
        assert cf.ledger()["requests"].sum() == 6
        assert cf.ledger()["rows"].sum() == 0, "no row was answered"
