"""How a model's answer is read: what counts as a yes, a label, a number, a day; and that nothing else does."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import math
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pydantic
import pytest
from hostile import read_body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cfai_nb as cf
from cfai_nb._engine.conversation import LARGE, _Ended, _next_turn, _read
from cfai_nb._engine.run_state import Results
from cfai_nb.emulator import Emulator
from cfai_nb.frame.rows import to_pandas
from cfai_nb.models import Usage, find
from cfai_nb.tasks import Answer, Column, StreamReader, reported
from cfai_nb.tasks.dialects import schema, values
from cfai_nb.tasks.dialects.reply import parse as replies
from cfai_nb.tasks.dialects.request import from_json
from cfai_nb.vectors.vector import Space

CHAT, DECIDES = find("glm-4.7-flash"), find("clef-flash")
BIG = 10**4_000
#: What is not a yes, a label, a number or a day, however it is meant.
NOTHING = [None, [], {}, "", " ", "unknown", "n/a", "None", "null", [True], {"value": "yes"}, "yes and no", 2, -1, BIG,
           math.nan, math.inf, "not sure", "I cannot tell."]  # fmt: skip


def short(given: object) -> str:
    """Name a case by the beginning of it."""
    return f"{given!r:.20}"


def chat(said: str, finish: str = "stop") -> Answer:
    """A chat model's answer with this text."""
    document = {"choices": [{"message": {"content": said}, "finish_reason": finish}]}
    return Answer(json.dumps(document).encode())


def outcome(do: Callable[[], Any]) -> Any:
    """Return what came of it, be it an error of the row."""
    try:
        return do()
    except cf.AnswerError as error:
        return error


# -- the readers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "given", "expected"),
    [
        *((values.yes_or_no, said, True) for said in (True, 1, "yes", "Yes.", " TRUE ", "**y**", "'1'", "“yes”")),
        *((values.yes_or_no, said, False) for said in (False, 0, "no", "No!", "false", "N", "0", "- no")),
        *((values.number, said, 12.0) for said in (12, 12.0, "12", " 12.0 ", "1.2e1", "+12")),
        *((values.whole, said, -3) for said in (-3, -3.0, "-3", "-3.0")),
        (values.whole, 10**40, 10**40), (values.whole, "1" + "0" * 40, 10**40),
        *((values.day, said, "2026-11-29") for said in ("2026-11-29", "20261129", "2026-11-29T00:00:00")),
        (values.moment, "2026-11-29", "2026-11-29T00:00:00"), (values.clock, "16:05", "16:05:00"),
        *((values.probability, p, float(p)) for p in (0, 0.25, 1)),
    ],
)  # fmt: skip
def test_what_is_accepted(read: Callable[[Any], Any], given: Any, expected: Any) -> None:
    """Values in another writing of one meaning are read, in their own type."""
    found = read(given)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "read", [values.yes_or_no, values.number, values.whole, values.day, values.moment, values.clock, values.probability]
)
@pytest.mark.parametrize("given", NOTHING, ids=short)
def test_what_is_refused(read: Callable[[Any], Any], given: Any) -> None:
    """Anything else is an error that quotes it in a few words, and never a value."""
    numbers = {values.number: [2, -1], values.whole: [2, -1]}
    if given in numbers.get(read, []):
        return
    with pytest.raises(ValueError, match=r".") as caught:
        read(given)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("read", "given"),
    [
        (values.number, True), (values.number, "nan"), (values.number, "1,5"), (values.number, "١٢"),
        (values.number, "12 EUR"), (values.whole, 1.5), (values.whole, False), (values.number, "1" * 5_000),
        (values.probability, "0.5"), (values.probability, True), (values.probability, 1.0001),
        (values.day, 1704067200), (values.day, "1704067200"), (values.day, "2026-11-29T10:00"),
        (values.moment, "1704067200"), (values.clock, 3600), (values.clock, "3600"),
    ],
)  # fmt: skip
def test_types_are_not_mixed_up(read: Callable[[Any], Any], given: Any) -> None:
    """true is not a number, seconds since 1970 are not a day, and digits of other scripts are not guessed at."""
    with pytest.raises(ValueError, match="is not a"):
        read(given)


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("billing", "billing"), ("BILLING", "billing"), (' "Billing". ', "billing"), ("**two  Words**", "two words"),
        ("C#", "C#"), ("c#", "C#"), ("C", "C"), ("c", "C"), (5, "5"), (True, "true"),
        ("not billing", None), ("billing or C", None), ("The label is billing.", None), ("C#.", None), ("bill", None),
        (None, None), ([], None), (["billing"], None), ({"label": "billing"}, None), (BIG, None), (1.5, None),
        ("", None),
        ("billing" * 1_000, None),
    ],
    ids=short,
)  # fmt: skip
def test_labels(given: Any, label: str | None) -> None:
    """Exactly one of the offered, as written first, then in another case, then with something around it."""
    offered = ["billing", "two words", "C", "C#", "5", "true"]
    if label is not None:
        assert values.one_of(given, offered) == label
        return
    with pytest.raises(ValueError, match=r"was not offered|may be"):
        values.one_of(given, offered)


@pytest.mark.slow
@given(st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True))
def test_every_label_is_found_as_it_is_written(offered: list[str]) -> None:
    """Whatever the labels are called, a reply of exactly one of them is that one."""
    assert [values.one_of(name, offered) for name in offered] == offered


# -- yes and no through the verbs --------------------------------------------------------------------------------------

WORDS = {
    "yes": True, "Yes.": True, "true": True, "1": True,
    "no": False, "No.": False, "false": False, "0": False, "FALSE": False,
    "n/a": None, "unknown": None, "null": None, "none": None, "": None, "[]": None, "{}": None, "not sure": None,
    "nope": None, "maybe yes": None,
}  # fmt: skip


@pytest.mark.parametrize(("word", "meant"), WORDS.items())
@pytest.mark.parametrize("wrap", ["{}", '{{"{name}": {json}}}', '```json\n{{"{name}": {json}}}\n```'])
def test_a_no_is_never_a_yes(word: str, meant: bool | None, wrap: str) -> None:
    """A chat model's words count where they mean yes or no, in check, ask and moderate; else the row fails."""
    moderate = cf.Moderate(categories=["hate"])
    asked = {"it": cf.yes_no("Is it?")}
    for task, name in ((cf.Check(condition="It is."), "check"), (cf.Ask(questions=asked), "it"), (moderate, "unsafe")):
        said = wrap.format(word, name=name, json=json.dumps(word))
        if task is moderate:
            said = json.dumps({"unsafe": word, "hate": word})
        found = outcome(lambda task=task, said=said: task.parse(chat(said), ["a text"], CHAT))
        if isinstance(found, cf.AnswerError):
            assert meant is None
            assert found.code in ("schema", "empty")
            assert found.code == "empty" or found.text == said
            continue
        columns = task.to_columns(found)
        column = columns if not isinstance(columns, Mapping) else columns["safe" if task is moderate else "it"]
        assert column.values == [not meant if task is moderate else meant]


@pytest.mark.parametrize(("word", "safe"), [("unsafe", False), ("Safe.", True), ("UNSAFE", False)])
def test_moderation_has_its_own_words(word: str, safe: bool) -> None:
    """Where it is asked whether a text is unsafe, "unsafe" is a yes and "safe" is a no."""
    task = cf.Moderate(categories=["hate"])
    cells = task.parse(chat(json.dumps({"unsafe": word, "hate": "safe"})), ["x"], CHAT)
    assert task.to_columns(cells)["safe"].values == [safe]
    with pytest.raises(cf.AnswerError, match="'unsafe' is neither yes nor no"):
        cf.Check(condition="It is.").parse(chat('{"check": "unsafe"}'), ["x"], CHAT)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan, math.inf, "0.5", None, True, [0.5], BIG], ids=short)
def test_probabilities_are_between_0_and_1(p: Any) -> None:
    """A decision model's number is believed where it is a probability, and its score where it is a level."""

    def answer(of: Any) -> Answer:
        return Answer(json.dumps({"answers": {"it": of}}).encode())

    scale = {"score": 1, "probabilities": {"a": 0.5, "b": 0.5}}
    for question, of in (
        (cf.yes_no("Is it?"), {"noul": p}),
        (cf.choice("a", "b"), {"choice": "a", "probabilities": {"a": p, "b": 0.5}}),
        (cf.scale("a", "b"), {**scale, "probabilities": {"a": 0.5, "b": p}}),
        (cf.scale("a", "b"), {**scale, "score": 7}),
    ):
        with pytest.raises(cf.AnswerError, match="does not fit the questions: it"):
            cf.Ask(questions={"it": question}).parse(answer(of), ["x"], DECIDES)


# -- structured answers ------------------------------------------------------------------------------------------------


class Ticket(pydantic.BaseModel):
    """A schema of the user's own."""

    count: int = pydantic.Field(ge=0)
    urgent: bool
    due: dt.date | None = None
    tags: list[str] = []


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (int, "12", 12), (int, 12.0, 12), (float, 3, 3.0), (float, "3.5", 3.5), (bool, "no", False), (bool, 1, True),
        (dt.date, "20261129", "2026-11-29"), (dt.datetime, "2026-11-29", "2026-11-29T00:00:00"),
        (dt.timedelta, 90, "PT1M30S"), (["glad", "sad"], "Glad.", "glad"), (list[float], ["1", 2], [1.0, 2.0]),
        (int | None, None, None), (int | None, "3", 3), (str, "12", "12"), (list[int | None], ["1", None], [1, None]),
        (int, True, ...), (int, 1.5, ...), (float, False, ...), (float, "nan", ...), (float, math.inf, ...),
        (bool, "unknown", ...), (bool, None, ...), (bool, 2, ...), (str, 5, ...), (str, None, ...),
        (dt.date, 0, ...), (dt.date, "1704067200", ...), (dt.datetime, "1704067200", ...), (dt.datetime, 1, ...),
        (["glad", "sad"], "not glad", ...), (list[float], [True], ...), (dt.timedelta, True, ...), (float, BIG, ...),
        (dt.date | None, "2026-13-01", ...),
    ],
    ids=short,
)  # fmt: skip
def test_schemas_are_strict_where_a_value_has_another_meaning(kind: Any, given: Any, expected: Any) -> None:
    """A number in words is a number; a boolean, an infinity and a count of seconds are not what they are taken for."""
    model = schema.model_of({"a": kind})
    if expected is not ...:
        assert schema.parse(model, {"a": given}) == {"a": expected}
        return
    with pytest.raises(ValueError, match="a"):
        schema.parse(model, {"a": given})


def test_own_models_keep_their_rules() -> None:
    """Constraints, defaults and aliases of a pydantic model hold as ever."""
    assert schema.parse(Ticket, {"count": "3", "urgent": "yes"}) == {
        "count": 3,
        "urgent": True,
        "due": None,
        "tags": [],
    }
    for wrong in ({"count": -1, "urgent": True}, {"count": True, "urgent": True}, {"urgent": True}, [], None, "x"):
        with pytest.raises(ValueError, match=r"."):
            schema.parse(Ticket, wrong)


class Mood(enum.Enum):
    """One of several words."""

    GLAD, SAD = "glad", "sad"


class Level(enum.IntEnum):
    """One of several numbers."""

    LOW, HIGH = 1, 2


def test_an_enum_is_a_choice_only_where_its_values_are_words() -> None:
    """An enum of words is read and laid out as a list of words is; one of numbers is a column of numbers."""
    model = schema.model_of({"mood": Mood, "level": Level})
    cells = [schema.parse(model, {"mood": "Glad.", "level": 2}), None]
    made = schema.columns(model, cells)
    assert made == {
        "mood": Column(["glad", None], "category", ("glad", "sad")),
        "level": Column([2, None], "integer"),
    }


def test_a_duration_is_one_whatever_asks_for_it() -> None:
    """A column of durations and one of times of day are the same from a schema and from fields to extract."""
    fields = {"wait": dt.timedelta, "at": dt.time}
    cell = schema.parse(schema.model_of(fields), {"wait": 90, "at": "16:00"})
    extracted = cf.Extract(fields=fields).to_columns([{name: {"value": value} for name, value in cell.items()}])
    assert schema.columns(schema.model_of(fields), [cell]) == extracted
    where, index = np.zeros(1, dtype=np.int64), pd.RangeIndex(1)
    laid = to_pandas(extracted["wait"], where=where, results=Results(1), index=index, name="wait", space=None)
    assert laid[0] == pd.Timedelta(seconds=90)


def test_names_of_fields_are_free() -> None:
    """A name that pydantic has for a method is one for a field too; those that it needs are refused in words."""
    assert schema.parse(schema.model_of({"copy": int, "json": str}), {"copy": 1, "json": "a"}) == {
        "copy": 1,
        "json": "a",
    }
    for name in ("_a", "model_config", "model_dump"):
        with pytest.raises(ValueError, match=f"schema: '{name}': .* name"):
            schema.model_of({name: int})


@pytest.mark.parametrize(
    "make",
    [lambda: cf.Extract(fields={"a": "money"}).key_fields(), lambda: cf.Generate(schema={"a": "intt"}).key_fields()],
)
def test_an_unknown_type_is_named(make: Callable[[], Any]) -> None:
    """An unknown type is an error that names the field, the word and the known types."""
    with pytest.raises(ValueError, match=r"a: '(money|intt)' is not a type; give one of text, number, integer"):
        make()
    assert cf.Extract(fields={"a": "integer"}).key_fields() == cf.Extract(fields={"a": int}).key_fields()


def test_options_of_tasks_go_by_name() -> None:
    """A task that is given options by position says how they are given."""
    with pytest.raises(TypeError, match=r"Classify\(\) takes options by name, such as Classify\(labels=\.\.\.\)"):
        cf.Classify(["a", "b"])  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "entry"),
    [
        (float, {"value": "soon"}), (float, {"value": True}), (int, {"value": 1.5}), (str, {"value": 3}),
        (dt.date, {"value": 20261129}), (dt.date, {"value": "next week"}), (list[str], {"value": "a"}),
        (list[float], {"value": ["a"]}), (str, {"value": "a", "confidence": 2}), (str, {"value": "a", "p_null": "x"}),
        (str, {"value": "a", "span": [1]}), (str, {"value": "a", "span": ["x", 2]}), (str, {}), (str, None),
        (str, {"value": "a", "guess": 3}), (dt.timedelta, {"value": "3 weeks"}),
    ],
)  # fmt: skip
def test_the_extraction_model_is_not_believed_either(field: Any, entry: Any) -> None:
    """A value of another type, a chance beyond 1 and a place that is none fail the row, and name the field."""
    said = Answer(json.dumps({"answers": {"due": entry}, "truncated": False}).encode())
    with pytest.raises(cf.AnswerError, match=r"does not fit the fields: due") as caught:
        cf.Extract(fields={"due": field}).parse(said, ["text"], find("clairic"))
    assert caught.value.code == "schema"


# -- any answer at all -------------------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=20),
    st.sampled_from(["yes", "no", "label", "2026-11-29", "9999-12-31", "P99999999D", "PT5S", "12", "a", "S1"]),
)  # fmt: skip
KEYS = st.sampled_from([
    "answers", "check", "it", "label", "labels", "score", "choice", "noul", "probabilities", "a", "b", "value", "span",
    "response", "usage", "data", "text", "choices", "message", "content", "finish_reason", "output", "objects", "box",
    "x_min", "results", "channels", "alternatives", "transcript", "words", "segments", "id", "tool_calls", "unsafe",
    "hate", "safe", "categories", "translated_text", "translations", "caption", "relevance", "summary", "truncated",
    "prompt_tokens", "completion_tokens", "neurons", "steps", "confidence", "when", "many", "index", "embedding",
])  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=4), max_leaves=12
)
FIELDS: dict[str, Any] = {"a": float, "b": str, "when": dt.datetime, "many": list[float], "value": dt.timedelta}
TASKS: list[tuple[Any, str]] = [
    (cf.Check(condition="it"), "clef-flash"), (cf.Check(condition="it"), "glm-4.7-flash"),
    (cf.Classify(labels=["a", "b"]), "clef-flash"), (cf.Classify(labels=["a", "b"]), "llama-3.2-3b-instruct"),
    (cf.Classify(labels=["negative", "positive"]), "distilbert-sst-2-int8"),
    (cf.Ask(questions={"it": cf.yes_no("?"), "a": cf.choice("a", "b"), "b": cf.scale("a", "b")}), "glm-4.7-flash"),
    (cf.Ask(questions={"it": cf.yes_no("?"), "a": cf.choice("a", "b"), "b": cf.scale("a", "b")}), "clef-flash"),
    (cf.Score(levels=["a", "b"]), "glm-4.7-flash"), (cf.Sentiment(), "clef-flash"),
    (cf.Moderate(categories=["hate"]), "glm-4.7-flash"), (cf.Moderate(), "llama-guard-3-8b"),
    (cf.Extract(fields=FIELDS), "clairic"), (cf.Extract(fields=FIELDS), "glm-4.7-flash"),
    (cf.Extract(fields={"a": cf.estimate("it", min=0, max=9), "b": cf.forecast("it", min=0, max=9, horizon=2)}),
     "clairic"),
    (cf.Rank(query="q"), "bge-reranker-base"), (cf.Rank(query="q"), "clef-flash"),
    (cf.Generate(), "glm-4.7-flash"), (cf.Generate(), "llama-3.2-3b-instruct"), (cf.Generate(n=2), "glm-4.7-flash"),
    (cf.Generate(schema={**FIELDS, "label": ["a", "b"]}), "glm-4.7-flash"), (cf.Summarize(), "llama-3.2-3b-instruct"),
    (cf.Translate(to="de"), "m2m100-1.2b"), (cf.Embed(), "bge-small-en-v1.5"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model"), TASKS, ids=lambda each: getattr(each, "name", each))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=JSON, inside=st.booleans())
def test_any_answer_is_a_cell_or_an_error_of_its_row(task: Any, model: str, said: Any, inside: bool) -> None:
    """Whatever JSON a model answers with: cells that can be laid out, or an AnswerError; usage that can be priced."""
    chosen = find(model)
    if inside:  # as the text of a reply, which is where a chat model's JSON lies
        said = {"choices": [{"message": {"content": json.dumps(said)}, "finish_reason": "stop"}]}
    answer = Answer(json.dumps(said).encode())
    used = task.usage(task_request(task, chosen), answer, ["a text"], chosen)
    assert all(math.isfinite(amount) and amount >= 0 for amount in used.amounts.values())
    talk = task.conversation(["a text"], chosen)
    step = _next_turn(talk, None, first=True)
    while not isinstance(step, (_Ended, cf.AnswerError)):
        step = outcome(lambda: _next_turn(talk, answer))
    if isinstance(step, cf.AnswerError):
        assert 0 < len(str(step)) < 3_000
        return
    assert isinstance(step, _Ended)
    results = Results(1)
    cells = step.cells
    if len(cells) != 1 or isinstance(cells[0], cf.AnswerError):  # the engine counts them
        return
    results.put([0], cells)
    columns = task.to_columns(results.cells())
    laid = to_pandas(
        columns, where=np.array([0, -1]), results=results, index=pd.RangeIndex(2), name="x", space=Space("m", 1)
    )
    assert len(laid) == 2


def task_request(task: Any, model: Any) -> Any:
    """The request a task begins with."""
    return next(task.conversation(["a text"], model))


# -- usage -------------------------------------------------------------------------------------------------------------

ODD = [{"text": 2}, [1], "many", "nan", math.nan, math.inf, -5, 1e300, True, BIG]


@pytest.mark.parametrize("odd", ODD, ids=short)
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "neurons", "cached"])
def test_an_odd_usage_block_counts_as_not_reported(name: str, odd: Any) -> None:
    """What is not a finite amount from 0 on ends no run and touches no budget: the estimate counts, and is marked."""
    usage: dict[str, Any] = {"prompt_tokens": 3, "completion_tokens": 2}
    if name == "cached":
        usage["prompt_tokens_details"] = {"cached_tokens": odd}
    else:
        usage[name] = odd
    told = reported(Answer(json.dumps({"usage": usage}).encode()))
    if name == "neurons":
        assert told is not None
        assert "neurons" not in told.amounts
    else:
        assert told is None
    assert reported(Answer(b"{}", {"cf-ai-neurons": str(odd)})) is None


def test_an_odd_usage_block_ends_no_run() -> None:
    """One row of eight reports an object for a number: all eight are answered and charged, and the run goes on."""

    async def service(scope: Any, receive: Any, send: Any) -> None:
        odd = b"row 3" in await read_body(receive)
        usage = {"prompt_tokens": 3, "completion_tokens": {"text": 2} if odd else 2, "neurons": "nan" if odd else 0.5}
        said = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}], "usage": usage}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(said).encode()})

    cf.connect(service, store=False)
    rows = pd.Series([f"row {at}" for at in range(8)])
    done = rows.cfai.generate("{value}", model="glm-4.7-flash", neurons=1_000)
    assert done.tolist() == ["ok"] * 8
    spent = cf.last_run().run.spent
    assert spent.exact is False
    assert 3.5 <= (spent.neurons or 0) < 1_000
    budget = cf.last_run().run.options.budget
    assert budget is not None
    assert budget.spent == pytest.approx(spent.neurons)
    assert len(pd.DataFrame(cf.ledger())) == 8


# -- time and memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["\n" * 60_000 + "yes", "<think>" * 60_000, "</think>" * 60_000, "<think>" + " " * 60_000, "{" * 60_000,
     " <think>a</think>" * 20_000, '{"a":' * 60_000, "[" * 60_000, "safe" * 60_000, "\\" * 60_000, "- " * 60_000],
    ids=lambda text: text[:10],
)  # fmt: skip
@pytest.mark.parametrize("task", [cf.Generate(), cf.Check(condition="it"), cf.Classify(labels=["a", "b"]),
                                  cf.Extract(fields=["a"]), cf.Summarize()], ids=lambda task: task.name)  # fmt: skip
def test_reading_takes_time_in_proportion(text: str, task: Any) -> None:
    """60,000 newlines, tags or braces are read in less than 50 ms of one core, whatever is wanted of them."""
    answer, best = chat(text), math.inf
    for _ in range(3):
        talk = task.conversation(["a text"], CHAT)
        next(talk)
        began = time.thread_time()  # what other processes take does not count
        found = outcome(lambda talk=talk: _next_turn(talk, answer))
        assert not isinstance(found, cf.AnswerError) or len(str(found)) < 1_000
        best = min(best, time.thread_time() - began)
    assert best < 0.05


def test_a_large_reply_takes_a_small_multiple_of_itself() -> None:
    """20 MB of text are read in less than six times their memory."""
    answer = chat("word \n" * 3_400_000)
    size = len(answer.content)
    tracemalloc.start()
    try:
        assert len(replies(answer, 512)[0].text) > 20_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * size


def test_a_large_answer_is_read_beside_the_loop() -> None:
    """From 256 kB on an answer is read in another thread than that of the engine, and gives the same."""
    read_in: dict[str, set[int]] = {"small": set(), "large": set()}

    class Watched(cf.Summarize):
        def parse(self, answer: Answer, inputs: Any, model: Any) -> Any:
            read_in["large" if len(answer.content) >= LARGE else "small"].add(threading.get_ident())
            return super().parse(answer, inputs, model)

    async def service(scope: Any, receive: Any, send: Any) -> None:
        said = "x" * (LARGE if b"large" in (await receive())["body"] else 10)
        body = chat(said).content
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    cf.connect(service, store=False)
    done = pd.Series(["large", "small"]).cfai.run(Watched(), model="glm-4.7-flash")
    assert done.str.len().tolist() == [LARGE, 10]
    assert len(read_in["small"]) == len(read_in["large"]) == 1
    assert read_in["small"] != read_in["large"]


# -- odd bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb'{"response": "a\ud800b"}', "a�b"), (rb'{"response": "\udc00"}', "�"),
        (rb'{"response": "\ud83d\ude00 \\ud800"}', "😀 \\ud800"), (b'{"response": "a\xffb"}', "a�b"),
        (rb'{"response": "\ud83d\ud83d\ude00"}', "�😀"),
    ],
)  # fmt: skip
def test_half_a_character_is_replaced(body: bytes, text: str) -> None:
    """One half of a surrogate pair or a broken byte is U+FFFD: the answer is paid once, and kept."""
    assert replies(Answer(body), 512)[0].text == text


@pytest.mark.parametrize("body", [b'{"response": ' + b"1" * 5_000 + b"}", b"[" * 500, b'{"response": 1', b"\xff", b""])
def test_what_cannot_be_parsed_is_an_answer_error(body: bytes) -> None:
    """Numbers of thousands of digits, deep nesting and broken JSON are reported in plain words."""
    with pytest.raises(cf.AnswerError, match="the answer is not JSON") as caught:
        _ = Answer(body).json
    assert (caught.value.reaction == "row") is (len(body) > 100)  # asking again is no help there
    with pytest.raises(ValueError, match=r"."):
        from_json(body)


def test_half_a_character_is_paid_once() -> None:
    """A lone surrogate in a reply does not make a row be asked for again."""
    asked = []

    async def service(scope: Any, receive: Any, send: Any) -> None:
        asked.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": rb'{"result": {"response": "a\ud800"}, "success": true}'})

    cf.connect(service, store=False)
    assert pd.Series(["x"]).cfai.generate("{value}", model="llama-3.2-3b-instruct").tolist() == ["a�"]
    assert len(asked) == 1


# -- streams that are none ---------------------------------------------------------------------------------------------


def test_an_answer_that_was_not_streamed_is_read_whole() -> None:
    """A server that ignores ``stream`` and sends JSON, on one line or several, has answered."""
    document = {
        "choices": [{"message": {"content": "all of it"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1},
    }
    for body in (json.dumps(document), json.dumps(document, indent=2)):
        reader = StreamReader()
        assert [reader.feed(line) for line in body.encode().split(b"\n")] == [""] * len(body.split("\n"))
        whole = reader.unstreamed(0.1)
        assert whole is not None
        assert replies(whole, 512)[0].text == "all of it"
        assert reported(whole) == Usage({"input_tokens": 1.0, "output_tokens": 0.0}, exact=True)
    for lines in ([b": hello", b""], [b"data: {}"], [b"{broken"], [b"[1]"]):
        reader = StreamReader()
        for line in lines:
            reader.feed(line)
        assert reader.unstreamed(0.1) is None


@pytest.mark.parametrize("frame", ['{"choices": [3]}', '{"choices": 5}', '{"choices": [{"delta": 3}]}', "{", '"x"'])
def test_an_odd_frame_is_an_answer_error_or_nothing(frame: str) -> None:
    """A frame of another form is never another exception."""
    found = outcome(lambda: StreamReader().feed(b"data: " + frame.encode()))
    assert found == "" or found.code == "broken"


def test_plans_do_not_describe_the_question_again() -> None:
    """A plan of 5,000 rows with 255 labels, or with a schema, takes about what it takes without."""
    cf.connect(Emulator(rate=None), store=False)
    rows = pd.Series([f"text number {at}" for at in range(5_000)])

    def seconds(call: Callable[[], Any]) -> float:
        best = math.inf
        for _ in range(3):
            began = time.process_time()
            _ = call().estimate
            best = min(best, time.process_time() - began)
        return best

    few = seconds(lambda: rows.cfai.classify.plan(["a", "b"]))
    many = seconds(lambda: rows.cfai.classify.plan([f"label {at}" for at in range(255)]))
    plain = seconds(lambda: rows.cfai.generate.plan("{value}"))
    structured = seconds(lambda: rows.cfai.generate.plan("{value}", schema={f"f{at}": int for at in range(50)}))
    assert many < 2 * few + 0.1
    assert structured < 2 * plain + 0.1


@pytest.mark.parametrize(
    ("kind", "said"),
    [("datetime", "9999-12-31"), ("datetime", "2026-11-29T10:00:00+02:00"), ("duration", "P99999999D")],
)
def test_what_pandas_has_no_column_for_is_not_lost(kind: Any, said: str) -> None:
    """A day in the year 9999, zones beside none, a duration of an age: whatever the column is, the value is in it."""
    column = Column(["2026-11-29" if kind == "datetime" else "PT5S", said], kind)
    where = np.array([0, 1, -1])
    laid = to_pandas(column, where=where, results=Results(2), index=pd.RangeIndex(3), name="x", space=None)
    assert laid.notna().tolist() == [True, True, False]


def test_a_cancelled_run_awaits_what_is_being_read() -> None:
    """Cancelling while a large answer is read in its thread ends the conversation after that, and cleanly."""
    begun, ended = threading.Event(), []

    def talk() -> Any:
        yield cf.Generate().opening("x")
        begun.set()
        time.sleep(0.1)
        ended.append(True)
        return ["done"]

    async def main() -> None:
        conversation = talk()
        next(conversation)
        reading = asyncio.ensure_future(_read(conversation, Answer(b" " * LARGE)))
        await asyncio.to_thread(begun.wait, 5)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert ended == [True]
        conversation.close()

    asyncio.run(main())
