"""Streaming: one prompt, both dialects, totals, and streams that break off; and jobs of a few requests."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from intercept import Faulty, poison
from starlette.responses import Response

import cfai_nb as cf
from cfai_nb._engine.bridge import bridge
from cfai_nb.emulator import Emulator
from cfai_nb.session.requests import RequestJob
from cfai_nb.tasks import StreamReader


def lines(*frames: object) -> list[bytes]:
    return [b"data: " + (f if isinstance(f, bytes) else json.dumps(f).encode()) for f in frames]


def read(*frames: object) -> tuple[str, StreamReader]:
    reader = StreamReader()
    return "".join(reader.feed(line) for line in lines(*frames)), reader


def delta(**choice: object) -> dict[str, object]:
    return {"choices": [{"index": 0, **choice}]}


def test_native_frames_and_filler() -> None:
    """Native frames give their response and nothing of the filler."""
    text, reader = read({"response": "Hel", "p": "abcdef"}, {"response": "lo"}, b"[DONE]")
    assert (text, reader.ended, reader.usage()) == ("Hello", True, None)


def test_tokens_that_look_like_numbers() -> None:
    """A numeric token arrives as a JSON number in either dialect, and is text."""
    assert read({"response": 4}, {"response": "2"})[0] == "42"
    assert read(delta(delta={"content": 7}))[0] == "7"


def test_closing_totals_win_over_frames() -> None:
    """The closing native frame of an OpenAI stream holds the totals; the frames' own usage is not added to it."""
    frame = {**delta(delta={"content": "a"}), "usage": {"prompt_tokens": 0, "completion_tokens": 1}}
    closing = {"response": None, "usage": {"prompt_tokens": 9, "completion_tokens": 2, "neurons": 0.5}}
    text, reader = read(frame, frame, delta(delta={}, finish_reason="stop"), closing, b"[DONE]")
    usage = reader.usage()
    assert text == "aa"
    assert usage is not None
    assert (usage.amounts["neurons"], usage.amounts["output_tokens"]) == (0.5, 2)


def test_frames_are_summed_without_totals() -> None:
    """Without a closing frame the usage of the frames is summed."""
    frame = {"response": "a", "usage": {"prompt_tokens": 0, "completion_tokens": 1}}
    usage = read(frame, frame, frame, b"[DONE]")[1].usage()
    assert usage is not None
    assert usage.amounts["output_tokens"] == 3


@pytest.mark.parametrize("frames", [({"response": "a"},), (delta(delta={"content": "a"}),)])
def test_a_stream_that_just_stops_is_cut(frames: tuple[object, ...]) -> None:
    """No [DONE] and no finish_reason means that the stream broke off: it has not announced its end."""
    text, reader = read(*frames)
    assert (text, reader.ended) == ("a", False)
    assert read(*frames, b"[DONE]")[1].ended


def test_data_without_a_space_and_broken_frames() -> None:
    """The space after ``data:`` may be missing; half a frame is an error."""
    reader = StreamReader()
    assert reader.feed(b'data:{"response":"x"}') == "x"
    assert reader.feed(b"") == reader.feed(b": comment") == ""
    with pytest.raises(cf.AnswerError, match="within a frame"):
        reader.feed(b'data: {"response": "x')


@pytest.mark.parametrize("model", ["glm-4.7-flash", "llama-3.3-70b-instruct-fp8-fast", "gpt-oss-20b"])
def test_every_dialect_streams_and_is_charged(model: str) -> None:
    """A streamed answer is the whole answer, and is entered in the ledger with what the service reported."""
    cf.connect("emulator")
    pieces = list(cf.stream("Tell me of rivers.", model=model))
    assert len(pieces) > 1
    assert "".join(pieces).startswith("[emulator]")
    (row,) = cf.ledger().to_dict("records")
    assert (row["verb"], row["requests"]) == ("stream", 1)
    assert row["neurons"] > 0


def test_a_cut_stream_says_so_and_is_charged() -> None:
    """What came before the break was yielded, the error says that it is not all, and the call is in the ledger."""
    emulator = Emulator(faults=["truncated-stream"], rate=None)
    cf.connect(emulator)
    pieces: list[str] = []
    with pytest.raises(cf.AnswerError, match="broke off"):
        pieces.extend(cf.stream("Tell me of rivers and of stones, please."))
    assert pieces
    assert emulator.requests == len(cf.ledger()) == 1, "what was yielded is never asked for again"


def test_a_refused_stream_costs_nothing() -> None:
    """A refusal that outlasts the patience raises its own error, and nothing is charged or left reserved."""
    cf.connect(Emulator(faults={"3040": 1.0}, rate=None))
    budget = cf.Budget(40.0, "40 Neurons")
    with pytest.raises(cf.Busy):
        list(cf.stream("Tell me of rivers.", patience=0.3, budget=budget))
    assert len(cf.ledger()) == 0
    assert (budget.reserved, budget.spent) == (0, 0)


@pytest.mark.parametrize("fault", ["3040", "3021", "500", "reset"])
def test_a_stream_is_repeated_before_its_first_piece(fault: str) -> None:
    """Like any request: refused or failed once, it is sent again, and charged once."""
    emulator = Emulator(faults=[fault, None], rate=None)
    cf.connect(emulator)
    assert "".join(cf.stream("Tell me of rivers.")).startswith("[emulator]")
    assert emulator.requests == 2
    assert len(cf.ledger()) == 1


@pytest.mark.parametrize("usage", [{"prompt_tokens": 500, "completion_tokens": 200}, None])
def test_a_stream_that_breaks_off_before_its_first_piece_is_charged(usage: object) -> None:
    """What began is billed, as reported or else estimated, in the ledger and the budget, also if it is sent again."""
    frame = b"data: " + json.dumps({**delta(delta={"role": "assistant"}), "usage": usage}).encode() + b"\n\n"
    here = Faulty(poison(Response(frame, media_type="text/event-stream"), times=1))
    cf.connect(here)
    budget = cf.Budget(1_000.0, "1,000 Neurons")
    assert "".join(cf.stream("Tell me of poison.", budget=budget)).startswith("[emulator]")
    charges = cf.ledger()
    assert charges["requests"].tolist() == [1, 1]
    assert charges["exact"].tolist() == [usage is not None, True]
    assert usage is None or charges["tokens"].iloc[0] == 700
    assert budget.spent == pytest.approx(charges["neurons"].sum())


def test_a_budget_holds_for_streams() -> None:
    """A stream that could cost more than the budget is not sent."""
    emulator = Emulator(rate=None)
    cf.connect(emulator)
    with pytest.raises(cf.BudgetError, match=r"(?i)nothing was sent"):
        list(cf.stream("Tell me of rivers.", neurons=0.001))
    assert emulator.requests == 0


@pytest.mark.parametrize("prompt", ["", "  ", None, 7])
def test_a_prompt_that_asks_nothing_is_not_sent(prompt: object) -> None:
    """What is not text, or an empty one, is an error of the call, as is a wrong option, before anything is sent."""
    emulator = Emulator(rate=None)
    cf.connect(emulator)
    with pytest.raises(ValueError, match="give a text"):
        cf.stream(prompt)
    with pytest.raises(ValueError, match="patience"):
        cf.stream("Tell me of rivers.", patience=-1)
    assert emulator.requests == 0


@pytest.mark.parametrize("error", [cf.CfaiError("a defect"), cf.Refused("refused"), KeyError("a defect of ours")])
def test_a_failed_item_ends_the_others(error: Exception) -> None:
    """Whatever fails, no other item is begun, those under way are awaited, and nothing goes on after the call."""
    session, done = cf.connect(Emulator(rate=None)), []

    async def work(job: RequestJob[None]) -> None:
        async def one(item: int) -> None:
            await asyncio.sleep(0.002)
            if item == 0:
                raise error
            done.append(item)

        await job.each(one, range(100))

    with pytest.raises(type(error)):
        bridge.wait(RequestJob(session.engine(cache=False), work, drain=True), lambda: None)
    ended = len(done)
    time.sleep(0.05)
    assert len(done) == ended < 16
