"""Replies that the token limit cut: paid once, kept, shown in the failures, and in the cell on request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hostile import read_body

import cfai_nb as cf
from cfai_nb._engine.store.codec import decode, encode
from cfai_nb.models import find
from cfai_nb.tasks import Answer

ROWS = pd.Series(["cut one", "whole", "cut two", None], index=list("wxyz"), name="said")
CHAT, OLD = "glm-4.7-flash", "llama-3.2-3b-instruct"


class Service:
    """Answers with the prompt; one with "cut" in it is cut, and one with "silent" gets an empty answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.cut_samples = {0}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = json.loads(await read_body(receive))
        said = asked["messages"][-1]["content"]
        said = said if isinstance(said, str) else said[-1]["text"]
        self.asked.append(said)
        choices = []
        for at in range(asked.get("n", 1)):
            cut = "cut" in said and at in self.cut_samples
            text = "" if "silent" in said else "thi" if cut else f"this is {said}"
            choices.append({"message": {"content": text}, "finish_reason": "length" if cut else "stop"})
        usage = {"prompt_tokens": 4, "completion_tokens": 8, "neurons": 0.25}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps({"choices": choices, "usage": usage}).encode()})


@pytest.fixture
def service() -> Service:
    made = Service()
    cf.connect(made)
    return made


def failures() -> pd.DataFrame:
    return cf.last_run().failures


VERBS = {
    "generate": lambda **o: ROWS.cfai.generate("{value}", model=CHAT, **o),
    "summarize": lambda **o: ROWS.cfai.summarize(model=CHAT, **o),
    "translate": lambda **o: ROWS.cfai.translate("German", model=CHAT, **o),
    "fix_grammar": lambda **o: ROWS.cfai.fix_grammar(model=CHAT, **o),
    "mask": lambda **o: ROWS.cfai.mask(["name"], model=CHAT, **o),
    "tools": lambda **o: ROWS.cfai.generate("{value}", model=CHAT, tools=[lookup], **o),
}


def lookup(word: str) -> str:
    """Look a word up."""
    return word


@pytest.mark.parametrize("verb", VERBS)
def test_a_cut_reply_is_paid_once_and_shown(service: Service, verb: str) -> None:
    """Its row is missing, marked truncated and has its text; the same call asks nothing; a fresh one asks again."""
    call = VERBS[verb]
    for asked in (3, 0):
        sent, before = len(service.asked), cf.session.current().spent_today()
        with pytest.warns(cf.CfaiWarning, match="2 of 4 rows failed and are missing.*cut at max_tokens=512"):
            done = call()
        assert done.isna().tolist() == [True, False, True, True]
        assert len(service.asked) - sent == asked
        assert cf.session.current().spent_today() - before == pytest.approx(0.25 * asked)
        told = failures()
        assert told["row"].tolist() == ["w", "y"]
        assert told["truncated"].tolist() == [True, True]
        assert told["text"].tolist() == ["thi", "thi"]
        assert told["code"].tolist() == ["length", "length"]
    with pytest.warns(cf.CfaiWarning, match="2 of 4"):
        call(cache="refresh")
    assert len(service.asked) == 6


@pytest.mark.parametrize("verb", VERBS)
def test_it_fills_the_cell_on_request(service: Service, verb: str) -> None:
    """on_error="partial" fills cut cells, from the store too; they stay in the failures, and the receipt says so."""
    call = VERBS[verb]
    for _ in range(2):
        with pytest.warns(cf.CfaiWarning, match="2 of 4 rows are truncated: row 'w'"):
            done = call(on_error="partial")
        assert done["w"] == done["y"] == "thi"
        assert done["x"].startswith("this is")
        assert failures()["truncated"].tolist() == [True, True]
        assert "1 of 3 rows" in cf.last_run().receipt
        assert "2 truncated" in cf.last_run().receipt
        assert "failed" not in cf.last_run().receipt
    assert len(service.asked) == 3
    with pytest.raises(cf.RowsFailed, match="2 of 4 rows failed"):
        call(on_error="raise")
    assert len(service.asked) == 3


def test_a_higher_limit_asks_again(service: Service) -> None:
    """The limit is part of the question: with another one the rows are asked for, without the stored failures."""
    with pytest.warns(cf.CfaiWarning, match="max_tokens=5;"):
        ROWS.cfai.generate("{value}", model=CHAT, max_tokens=5)
    with pytest.warns(cf.CfaiWarning, match="max_tokens=50;"):
        ROWS.cfai.generate("{value}", model=CHAT, max_tokens=50)
    assert len(service.asked) == 6


@pytest.mark.parametrize(("model", "asked"), [(CHAT, 3), (OLD, 6)])
def test_one_cut_sample_does_not_lose_the_others(service: Service, model: str, asked: int) -> None:
    """The row is marked, all texts are in the failures, and "partial" fills the list; asked together or one by one."""
    with pytest.warns(cf.CfaiWarning, match=r"\d of 2 samples were cut at max_tokens=512"):
        done = ROWS.cfai.generate("{value}", model=model, n=2)
    assert done.isna().tolist() == [True, False, True, True]
    texts = ["thi", "this is cut one"] if model == CHAT else ["thi", "thi"]
    assert failures()["text"].iloc[0] == texts
    assert failures()["truncated"].all()
    with pytest.warns(cf.CfaiWarning, match="2 of 4 rows are truncated"):
        done = ROWS.cfai.generate("{value}", model=model, n=2, on_error="partial")
    assert done["w"] == texts
    assert len(service.asked) == asked


def test_structured_replies_keep_their_text_alone(service: Service) -> None:
    """JSON that was cut has no partial cell: it is missing with "partial" too, its text is there, and is paid once."""
    for _ in range(2):
        with pytest.raises(cf.RowsFailed, match="failed and are missing"):
            ROWS[:1].cfai.generate("{value}", model=CHAT, schema={"a": int}, on_error="partial")
        assert cf.last_run().frame()["a"].isna().all()
        assert failures()["text"].tolist() == ["thi"]
        with pytest.raises(cf.RowsFailed, match="failed and are missing"):
            ROWS[:1].cfai.extract(["a"], model=CHAT)
        assert failures()["truncated"].tolist() == [True]
    assert len(service.asked) == 2


def test_other_failures_are_asked_for_again(service: Service) -> None:
    """An empty reply holds nothing, and another may be better: running the call again is how it is asked for."""
    rows = pd.Series(["silent", "whole"])
    for asked in (2, 3):
        with pytest.warns(cf.CfaiWarning, match="is empty"):
            rows.cfai.generate("{value}", model=CHAT, on_error="partial")
        assert failures()[["code", "truncated"]].to_numpy().tolist() == [["empty", False]]
        assert len(service.asked) == asked


def test_what_does_not_fit_is_shown(service: Service) -> None:
    """Where a paid reply does not fit the schema or the fields, its text is in the failures."""
    with pytest.raises(cf.RowsFailed, match="did not fit the schema"):
        ROWS[1:2].cfai.generate("{value}", model=CHAT, schema={"a": int})
    assert failures()["text"].iloc[0].startswith("this is")
    with pytest.raises(cf.RowsFailed, match="does not fit the questions"):
        ROWS[1:2].cfai.check("It is whole.", model=CHAT)
    assert failures()["text"].tolist() == ["this is whole"]
    assert failures()["truncated"].tolist() == [False]


def test_without_a_store_nothing_is_kept(service: Service) -> None:
    """cache=False asks each time, and "only" finds a kept failure without asking."""
    for _ in range(2):
        with pytest.raises(cf.RowsFailed, match="cut at"):
            ROWS[:1].cfai.generate("{value}", model=CHAT, cache=False)
    assert len(service.asked) == 2
    with pytest.raises(cf.RowsFailed, match="cut at"):
        ROWS[:1].cfai.generate("{value}", model=CHAT)
    with pytest.raises(cf.RowsFailed, match="cut at"):
        ROWS[:1].cfai.generate("{value}", model=CHAT, cache="only")
    assert failures()["code"].tolist() == ["length"]
    assert len(service.asked) == 3


def test_two_calls_at_once_share_a_cut_reply(service: Service) -> None:
    """Who waits for the same question under way gets its failure, and does not pay for it again."""

    async def main() -> list[Any]:
        return await asyncio.gather(*(ROWS.cfai.generate.aio("{value}", model=CHAT) for _ in range(3)))

    with pytest.warns(cf.CfaiWarning, match="2 of 4 rows failed"):
        results = asyncio.run(main())
    assert [each.isna().tolist() for each in results] == [[True, False, True, True]] * 3
    assert len(service.asked) == 3


def test_cut_rows_are_no_sign_that_nothing_works(service: Service) -> None:
    """A hundred cut replies in a row end the run, since raising the limit is what helps; with "partial" they do not."""
    rows = pd.Series([f"cut {at}" for at in range(130)])
    with pytest.warns(cf.CfaiWarning, match="130 of 130 rows are truncated"):
        done = rows.cfai.generate("{value}", model=CHAT, on_error="partial", concurrency=4)
    assert (done == "thi").all()
    with pytest.raises(cf.CfaiError, match="The first 100 rows all failed"):
        rows.cfai.generate("{value}", model=CHAT, max_tokens=9, concurrency=4)


def test_a_kept_failure_is_a_record_of_its_own() -> None:
    """It comes back with its words, code, text and partial cell."""
    error = cf.AnswerError("too long", "length", text=["a", "b"], partial={"answer": ["a", "b"]})
    kind, body = encode([error])
    (back,) = decode(kind, 1, body)
    assert kind == "failed"
    assert isinstance(back, cf.AnswerError)
    assert (str(back), back.code, back.text, back.partial) == (str(error), "length", error.text, error.partial)


def test_the_budget_holds_them(service: Service, tmp_path: Path) -> None:
    """A cut reply is charged to budget and ledger once, like any answer."""
    with pytest.warns(cf.CfaiWarning, match="cut at"):
        ROWS.cfai.generate("{value}", model=CHAT, neurons=1_000)
    assert cf.last_run().run.spent.neurons == pytest.approx(0.75)
    ledger = pd.DataFrame(cf.ledger())
    assert ledger["requests"].sum() == 3
    assert ledger["neurons"].sum() == pytest.approx(0.75)
    with pytest.warns(cf.CfaiWarning, match="cut at"):
        ROWS.cfai.generate("{value}", model=CHAT, neurons=0)
    assert pd.DataFrame(cf.ledger())["requests"].sum() == 3


@pytest.mark.parametrize(
    ("model", "document"),
    [
        ("moondream3.1-9B-A2B", {"caption": "a boa", "finish_reason": "length"}),
        ("gemma-4-26b-a4b-it", {"choices": [{"message": {"content": "a boa"}, "finish_reason": "length"}]}),
    ],
)
def test_a_cut_caption_holds_its_text(model: str, document: Any) -> None:
    """Models that see are read alike: the failure has the text, and the cell that follows from it."""
    (failed,) = cf.Caption().parse(Answer(json.dumps(document).encode()), ["x"], find(model))
    assert isinstance(failed, cf.AnswerError)
    assert (failed.code, failed.text, failed.partial) == ("length", "a boa", "a boa")
