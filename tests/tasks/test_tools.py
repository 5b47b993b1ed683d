"""Tools: how functions are described, how calls are read and answered in every dialect, and how they run."""

from __future__ import annotations

import enum
import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
import pydantic
import pytest
from pydantic import Field

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.families import ModelRequest
from cfai_nb.emulator.model_catalogue import models
from cfai_nb.emulator.service.model_listing import FAMILIES
from cfai_nb.emulator.standins import schema_fill as pretended
from cfai_nb.models import Model, catalogue, find
from cfai_nb.tasks import Answer, Conversation, Generate, Local
from cfai_nb.tasks.dialects.conversation import as_text, tool_of

CALLERS = [m for m in catalogue().values() if m.status == "current" and m.can("function_calling")]
LEGACY, SCOUT = "llama-3.3-70b-instruct-fp8-fast", "llama-4-scout-17b-16e-instruct"
OPENAI, OSS = "glm-4.7-flash", "gpt-oss-20b"


def weather(city: str, day: int = 1) -> dict[str, Any]:
    """Say what the weather is in a city."""
    return {"city": city, "day": day, "sky": "clear"}


def broken(city: str) -> str:
    """Say what the weather will be in a city."""
    raise KeyError(city)


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


class Place(pydantic.BaseModel):
    """A model of its own."""

    name: str
    at: tuple[float, float] | None = None


def numpydoc(
    city: str, kind: Literal["a", "b"] = "a", near: float | None = None, many: list[int] = [], plain=3, either: int | float = 0  # type: ignore[no-untyped-def]  # noqa: B006, E501
):  # fmt: skip
    """Look a city up.

    In more words
    than one line.

    Parameters
    ----------
    city : str
        Its name,
        in English.
    kind : {"a", "b"}
        Which.

    Returns
    -------
    near : float
    """


def google(color: Color, place: Place, note: Annotated[str, Field(description="said")] = "") -> None:
    """Mark a place.

    Args:
        color (Color): with what,
            exactly
        place: where

    Returns:
        place: nothing
    """


def sphinx(*, word: str) -> None:
    """Say a word.

    :param str word: which one
    :returns: nothing
    """


def bare() -> int:
    return 1


NEAR = {"type": "number", "description": "near"}
TEXT_AND_NAME = {"name": {"type": "string"}, "at": {"type": "array"}}


@pytest.mark.parametrize(
    ("function", "what", "required", "parameters"),
    [
        (
            numpydoc, "Look a city up.", ["city"],
            {
                "city": {"type": "string", "description": "Its name, in English."},
                "kind": {"type": "string", "enum": ["a", "b"], "default": "a", "description": "Which."},
                "near": NEAR,
                "many": {"type": "array", "items": {"type": "integer"}, "default": [], "description": "many"},
                "plain": {"type": "string", "default": 3, "description": "plain"},
                "either": {"type": "number", "default": 0, "description": "either"},
            },
        ),
        (
            google, "Mark a place.", ["color", "place"],
            {
                "color": {"type": "string", "enum": ["red"], "description": "with what, exactly"},
                "place": {"type": "object", "description": "where", "required": ["name"]},
                "note": {"type": "string", "default": "", "description": "said"},
            },
        ),
        (sphinx, "Say a word.", ["word"], {"word": {"type": "string", "description": "which one"}}),
        (bare, "bare", [], {}),
    ],
    ids=["numpydoc", "google", "sphinx", "bare"],
)  # fmt: skip
def test_a_function_is_described_by_signature_and_docstring(
    function: Callable[..., Any], what: str, required: list[str], parameters: dict[str, Any]
) -> None:
    """Names, types, defaults and words of three docstring styles; no references, and a type for every parameter."""
    made = tool_of(function).definition
    assert made["type"] == "function"
    assert made["function"]["name"] == function.__name__
    assert made["function"]["description"] == what
    schema = made["function"]["parameters"]
    assert schema["required"] == required
    assert list(schema["properties"]) == list(parameters)
    for name, wanted in parameters.items():
        assert wanted.items() <= schema["properties"][name].items(), name
    assert "$ref" not in json.dumps(made)


def positional(a: int, /) -> None: ...
def several(*words: str) -> None: ...
def either(a: int | str) -> None: ...
def unknown(a: threading.Lock) -> None: ...  # type: ignore[valid-type]
async def later(a: int) -> None: ...


@pytest.mark.parametrize(
    ("options", "model", "words"),
    [
        ({"tools": [positional]}, OPENAI, "without a name"),
        ({"tools": [several]}, OPENAI, "without a name"),
        ({"tools": [either]}, OPENAI, "one type"),
        ({"tools": [unknown]}, OPENAI, "unknown has a parameter"),
        ({"tools": [later]}, OPENAI, "def"),
        ({"tools": [lambda: 1]}, OPENAI, "def"),
        ({"tools": ["weather"]}, OPENAI, "def"),
        ({"tools": [weather, weather]}, OPENAI, "more than once"),
        ({"tools": [weather], "max_turns": 0}, OPENAI, "max_turns"),
        ({"tools": [weather], "n": 2}, OPENAI, "n="),
        ({"tools": [weather]}, "llama-3.2-3b-instruct", "glm-4.7-flash"),
    ],
)
def test_what_no_model_could_call_is_refused(options: dict[str, Any], model: str, words: str) -> None:
    """Functions that cannot be described to a model, and models without tools, are errors before anything is sent."""
    with pytest.raises(ValueError, match=r".") as caught:
        Generate(**options).check(find(model))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"), ({"a": [1, None]}, '{"a":[1,null]}'), (None, "null"), (float("nan"), "null"),
        (np.float64(1.5), "1.5"), (np.arange(3), "[0,1,2]"), (pd.Series([1, 2]), "[1,2]"),
        (pd.DataFrame({"a": [1], "b": ["x"]}), '[{"a":1,"b":"x"}]'), (pd.Timedelta(1, "h"), '"PT1H"'),
        (Place(name="x"), '{"name":"x","at":null}'), ({Color.RED}, '["red"]'), (complex(1, 2), '"1+2j"'),
    ],
)  # fmt: skip
def test_results_are_written_as_json(result: Any, text: str) -> None:
    """Text stays text; numbers, arrays, frames, models and what else there is become JSON."""
    assert as_text(result) == text


def exits(city: str) -> None:
    """Leave."""
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("function", "given", "text", "well"),
    [
        (weather, {"city": "Rome"}, '{"city":"Rome","day":1,"sky":"clear"}', True),
        (weather, '{"city": "Rome", "day": "3"}', '{"city":"Rome","day":3,"sky":"clear"}', True),
        (weather, '{"city": "Rome"', "Error: ValueError", False),
        (weather, "[1]", "Error: TypeError: arguments must be an object", False),
        (weather, {"day": 1}, "Missing required argument", False),
        (weather, {"city": "Rome", "hour": 1}, "Unexpected keyword argument", False),
        (broken, {"city": "Rome"}, "Error: KeyError: 'Rome'", False),
        (exits, {"city": "Rome"}, "Error: SystemExit: 3", False),
        (bare, None, "1", True),
        (bare, "", "1", True),
    ],
)
def test_a_call_never_raises(function: Any, given: Any, text: str, well: bool) -> None:
    """Both forms of arguments are taken and typed; what goes wrong is a result the model can read."""
    said, succeeded = tool_of(function).call(given)
    assert text in said
    assert succeeded is well


# -- dialects ----------------------------------------------------------------------------------------------------------

ARGUMENTS = {"city": "Rome", "day": 2}
CALL = {"name": "weather", "arguments": ARGUMENTS}
OPENAI_CALL = {"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}


def completion(finish: str = "tool_calls", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("model", "result", "identity"),
    [
        (LEGACY, {"response": None, "tool_calls": [CALL]}, ""),
        (LEGACY, {"response": "", "tool_calls": [{**CALL, "arguments": json.dumps(ARGUMENTS)}]}, ""),
        (SCOUT, {"response": "", "tool_calls": [{"id": "s", "type": "function", "function": CALL}]}, "s"),
        (OPENAI, completion(tool_calls=[OPENAI_CALL]), "call_7"),
        (OPENAI, completion(tool_calls=[{**OPENAI_CALL, "id": None}]), ""),
        (OSS, completion("stop", content=json.dumps(CALL)), ""),
        (OSS, completion("stop", content=f" [{json.dumps({'type': 'function', 'function': CALL})}]"), ""),
        (OSS, completion("stop", content=json.dumps({"name": "weather", "parameters": ARGUMENTS})), ""),
        (OSS, {"output": [{"type": "function_call", "call_id": "r", "id": "fc", **CALL}]}, "r"),
    ],
)
def test_calls_are_read_in_every_form(model: str, result: Any, identity: str) -> None:
    """With id or without, flat or nested, arguments parsed or as text, printed: one call, and its result goes back."""
    conversation = Generate(tools=[weather]).conversation(["What is the weather?"], find(model))
    first = json.loads(next(conversation).body())  # type: ignore[union-attr]
    step = conversation.send(Answer(json.dumps({"result": result, "success": True}).encode()))
    assert isinstance(step, Local)
    body = json.loads(conversation.send(step.do()).body())  # type: ignore[union-attr]
    *opening, calling, said = body["messages"]
    assert opening == first["messages"]
    (call,) = calling["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS
    assert call["id"] == said["tool_call_id"] == (identity or call["id"])
    assert call["id"]
    assert said["role"] == "tool"
    assert json.loads(said["content"])["city"] == "Rome"
    assert body["tools"] == first["tools"] == [tool_of(weather).definition]
    with pytest.raises(StopIteration) as end:
        conversation.send(Answer(json.dumps({"response": "Clear."}).encode()))
    assert [cell["answer"] for cell in end.value.value] == ["Clear."]


@pytest.mark.parametrize(
    "content", ['{"name": "other", "arguments": {}}', '{"sky": "clear"}', "[]x", "{", '[{"name": "weather"}]', "[1]"]
)
def test_json_that_is_no_call_is_an_answer(content: str) -> None:
    """Only JSON that names a tool and its arguments is taken for a call that was printed."""
    conversation = Generate(tools=[weather]).conversation(["?"], find(OSS))
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Answer(json.dumps(completion("stop", content=content)).encode()))
    assert end.value.value[0]["answer"] == content


def test_a_call_of_a_tool_that_was_not_offered_is_a_failed_row() -> None:
    """Without tools, a reply that is nothing but a call is an empty one."""
    conversation = Generate().conversation(["?"], find(OPENAI))
    next(conversation)
    with pytest.raises(cf.AnswerError, match="none was offered"):
        conversation.send(Answer(json.dumps(completion(tool_calls=[OPENAI_CALL])).encode()))


def test_thinking_goes_back_apart_from_content() -> None:
    """What a model thought before a call is replayed as ``reasoning``, and kept with the answer."""
    conversation = Generate(tools=[weather], reasoning=True).conversation(["?"], find(OPENAI))
    next(conversation)
    step = conversation.send(Answer(json.dumps(completion(tool_calls=[OPENAI_CALL], reasoning_content="hm")).encode()))
    body = json.loads(conversation.send(step.do()).body())  # type: ignore[union-attr]
    assert body["messages"][-2]["reasoning"] == "hm"
    assert body["messages"][-2]["content"] == ""
    with pytest.raises(StopIteration) as end:
        conversation.send(Answer(json.dumps(completion("stop", content="Clear.", reasoning="well")).encode()))
    assert end.value.value == [{"answer": "Clear.", "thinking": "hm\n\nwell"}]


# -- on the emulator ---------------------------------------------------------------------------------------------------

ASKED = pd.Series(["What is the weather in Rome?", None, "Tell me the weather of Oslo."], index=list("abc"))


@pytest.fixture
def emulator() -> Emulator:
    made = Emulator(rate=None, terms_accepted=True)
    cf.connect(made)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("model", CALLERS, ids=lambda model: model.name)
def test_every_model_that_calls_gets_its_answer(emulator: Emulator, model: Model) -> None:
    """Two requests a row, each charged; the answer holds what the tool found; a second run sends nothing."""
    told = ASKED.cfai.generate("{value}", tools=[weather], model=model)
    assert '"city":"Rome"' in told["a"]
    assert '"city":"Oslo"' in told["c"]
    assert told.notna().tolist() == [True, False, True]
    assert emulator.requests == cf.last_run().event.requests == 4
    ASKED.cfai.generate("{value}", tools=[weather], model=model, max_tokens=512)
    assert emulator.requests == 4


def test_tools_and_schema_go_together(emulator: Emulator) -> None:
    """What the tools found is asked for as JSON in one turn more, without tools."""
    typed = ASKED.cfai.generate("{value}", tools=[weather], schema={"city": str, "day": int})
    assert typed["city"].tolist()[::2] == ["Rome", "Oslo"]
    assert typed["day"].dtype == "Int64"
    assert emulator.requests == 6


def test_the_bound_is_a_row_error_that_names_it(emulator: Emulator) -> None:
    """A model that calls on and on fails its row with the bound, the tool and what it last failed with."""
    with pytest.raises(cf.RowsFailed, match="max_turns=1"):
        ASKED.cfai.generate("{value}", tools=[weather], max_turns=1)
    assert cf.last_run().failures["code"].tolist() == ["turns", "turns"]
    assert emulator.requests == 2
    conversation = Generate(tools=[broken], max_turns=2).conversation(["?"], find(LEGACY))
    calling = Answer(json.dumps({"tool_calls": [{"name": "broken", "arguments": {"city": "Rome"}}]}).encode())
    next(conversation)
    conversation.send(conversation.send(calling).do())  # type: ignore[union-attr]
    with pytest.raises(cf.AnswerError, match=r"max_turns=2: the model still calls broken.*KeyError: 'Rome'"):
        conversation.send(calling)


def test_what_a_tool_raises_is_reported_to_the_model(emulator: Emulator) -> None:
    """An exception is the result the model goes on from."""
    assert "KeyError: 'Rome'" in ASKED.cfai.generate("{value}", tools=[broken])["a"]


def test_slow_tools_hold_up_no_other_row(emulator: Emulator) -> None:
    """Tools of two rows run at the same time, in threads of their own and in the session of the call."""
    both, seen = threading.Barrier(2, timeout=30), []

    def weather_report(city: str) -> str:
        """Say what the weather is in a city."""
        both.wait()
        seen.append((threading.current_thread().name, city))
        return city

    with cf.connect(Emulator(rate=None), store=False):
        told = ASKED.cfai.generate("{value}", tools=[weather_report])
    assert told.notna().sum() == 2
    assert sorted(city for _, city in seen) == ["Oslo", "Rome"]
    assert {name for name, _ in seen} == {"cfai local step"}


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to oneself")
def test_stop_does_not_wait_for_a_tool(emulator: Emulator) -> None:
    """Stop while a tool runs raises Stopped at once; the turn that was answered is charged."""
    release = threading.Event()

    def endless_weather(city: str) -> str:
        """Say what the weather is in a city."""
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(30)
        return city

    try:
        with pytest.raises(cf.Stopped):
            ASKED.iloc[:1].cfai.generate("{value}", tools=[endless_weather])
        assert not release.is_set()
    finally:
        release.set()
    assert cf.last_run().event.requests == 1
    assert cf.ledger()["neurons"].sum() == cf.last_run().run.neurons == pytest.approx(emulator.billed)
    with pytest.raises(cf.BudgetError, match="used up"):  # the re-run asks again, and each of its turns is charged too
        ASKED.iloc[:1].cfai.generate("{value}", tools=[weather], neurons=emulator.billed * 1.2)
    assert ASKED.cfai.generate("{value}", tools=[weather]).notna().sum() == 2
    assert cf.ledger()["neurons"].sum() == pytest.approx(emulator.billed)
    assert cf.ledger()["requests"].sum() == emulator.requests


def test_a_budget_holds_for_every_turn(emulator: Emulator) -> None:
    """What the first turn leaves is too little for the second: it is not sent."""
    plan = ASKED.iloc[:1].cfai.generate.plan("{value}", tools=[weather])
    with pytest.raises(cf.BudgetError):
        ASKED.iloc[:1].cfai.generate("{value}", tools=[weather], neurons=plan.estimate.cost.neurons)
    assert emulator.requests == 1


def test_another_function_is_another_question() -> None:
    """The key holds name, definition and source of every tool."""

    def lookup(city: str) -> str:
        """Look up."""
        return city

    one = Generate(tools=[lookup]).key_fields()

    def lookup(city: str) -> str:  # type: ignore[no-redef]
        """Look up."""
        return city.upper()

    other = Generate(tools=[lookup]).key_fields()
    assert one["tools"][0][0] == other["tools"][0][0]
    assert one != other
    assert Generate(tools=[weather]).key_fields() == Generate(tools=[weather]).key_fields() != Generate().key_fields()


def test_a_method_is_a_tool_like_any_other(emulator: Emulator) -> None:
    """The object of a method need not be hashable, and is not a parameter."""

    @dataclass
    class Book:
        pages: dict[str, str]

        def weather(self, city: str) -> str:
            """Say what the weather is in a city."""
            return self.pages[city]

    assert (
        "[emulator] the tool says: dry"
        in ASKED.cfai.generate("{value}", tools=[Book({"Rome": "dry", "Oslo": "wet"}).weather]).tolist()
    )


@dataclass(frozen=True, kw_only=True)
class Halting(cf.Task):
    """A task whose step on this machine fails."""

    name: ClassVar[str] = "halting"

    def conversation(self, inputs: Any, model: Model) -> Conversation:
        yield Local(lambda: 1 // 0)
        return [None]


def test_a_local_step_that_fails_ends_the_run(emulator: Emulator) -> None:
    """It is a defect of the task, and no row goes on as if nothing had been."""
    with pytest.raises(cf.CfaiError, match="ZeroDivisionError"):
        ASKED.cfai.run(Halting(), on="value")


# -- the stand-in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choice", "name", "arguments"),
    [
        ("What is the weather in Rome on day 3?", "auto", "weather", {"city": "Rome"}),
        ("Mark the place", {"type": "function", "function": {"name": "weather"}}, "weather", {"city": "place"}),
        ("Hello there.", None, None, None),
        ("Hello there.", "required", "weather", {"city": "Hello"}),
        ("What is the weather in Rome?", "none", None, None),
    ],
)
def test_the_emulator_calls_what_shares_most_words(text: str, choice: Any, name: Any, arguments: Any) -> None:
    """The tool whose name and description share most words, its arguments from names and numbers of the message."""
    body: dict[str, Any] = {"tools": [tool_of(weather).definition, tool_of(bare).definition]}
    body |= {"messages": [{"role": "user", "content": text}]} | ({"tool_choice": choice} if choice else {})
    called = pretended.choose_call(body, text)
    assert (called and called.name, called and dict(called.arguments)) == (name, arguments)


def test_gpt_oss_prints_a_call_under_its_switch() -> None:
    """With the quirk the call is JSON text and the finish reason "stop"; the rescue reads the same call."""
    body = {"tools": [tool_of(weather).definition], "messages": [{"role": "user", "content": "Weather in Rome?"}]}
    other = models()[find(OSS).id]
    work = FAMILIES[other.family].answer(ModelRequest(other, body, quirks=frozenset({"tool-call-as-text"})))
    (choice,) = work.result["choices"]
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"])["name"] == "weather"
    assert "tool_calls" not in choice["message"]
    conversation = Generate(tools=[weather]).conversation(["Weather in Rome?"], find(OSS))
    next(conversation)
    assert isinstance(conversation.send(Answer(json.dumps(work.result).encode())), Local)
