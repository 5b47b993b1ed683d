"""Tasks as tables: the requests of each in each dialect, and the cells of each form of answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import published
import pydantic
import pytest
from inputs import picture

import cfai_nb as cf
from cfai_nb.media.source import of_bytes
from cfai_nb.models import Model, Usage, catalogue, find, tokens_in
from cfai_nb.tasks import Answer, Classify, Embed, Generate, Request, Task
from cfai_nb.tasks.dialects import chat
from cfai_nb.tasks.dialects import schema as schemas
from cfai_nb.tasks.dialects.key import canonical
from cfai_nb.tasks.dialects.question_types import Choice

CURRENT = [model for model in catalogue().values() if model.status == "current"]
EMBEDDING = [model for model in CURRENT if model.task == "Text Embeddings"]
CHAT = [model for model in CURRENT if model.family in chat.FAMILIES]
DECISION = [model for model in CURRENT if model.family == "system-one"]
SENTIMENT = [model for model in CURRENT if model.family == "distilbert"]
LEGACY, OPENAI, GUIDED = "llama-3.3-70b-instruct-fp8-fast", "glm-4.7-flash", "mistral-small-3.1-24b-instruct"
BOTH, NEITHER = "gpt-oss-20b", "llama-3.2-11b-vision-instruct"


def accepted(model: Model, request: Request) -> None:
    """Hold a request against the published input schema of the model."""
    import jsonschema

    if model.id not in published.schemas():
        pytest.skip(f"no schema of {model.name} is published")
    jsonschema.Draft202012Validator(published.schemas()[model.id]["input"]).validate(json.loads(request.body()))


def names(model: Model) -> str:
    return model.name


def envelope(result: Any) -> Answer:
    return Answer(json.dumps({"result": result, "success": True, "errors": [], "messages": []}).encode())


class Ticket(pydantic.BaseModel):
    """A schema with everything the columns know."""

    year: int
    price: float | None
    urgent: bool
    mood: str


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", EMBEDDING, ids=names)
def test_every_embedding_request_fits_the_published_schema(model: Model) -> None:
    """Whatever options a model takes, the request for one text and for a full batch is one it accepts."""
    tasks = [Embed()]
    if model.family == "bge":
        tasks += [Embed(pooling="mean"), Embed(pooling="cls")]
    if model.family == "bge-m3":
        tasks += [
            Embed(truncate=True),
            Embed(role="query"),
            Embed(role="document"),
            Embed(role="document", truncate=True),
        ]
    if model.family == "qwen3-embedding":
        tasks += [Embed(role="query"), Embed(role="query", instruction="find it"), Embed(role="document")]
    for task in tasks:
        task.check(model)
        most = task.batch(model)
        assert most == (model.batch or 32)
        for count in (1, most):
            accepted(model, task.build_request([f"text {i}" for i in range(count)], model))


@pytest.mark.parametrize(
    "schema", [None, {"year": int, "mood": ["glad", "sad"]}, Ticket], ids=["text", "dict", "model"]
)
@pytest.mark.parametrize("full", [False, True], ids=["bare", "full"])
@pytest.mark.parametrize("model", CHAT, ids=names)
def test_every_chat_request_fits_the_published_schema(model: Model, full: bool, schema: Any) -> None:
    """Text generation in each dialect, with and without schema, system, seed and temperature, is accepted."""
    options: dict[str, Any] = {"seed": 3, "temperature": 0.5, "max_tokens": 100} if full else {}
    if full:
        options["system"] = "Be brief."
    task = Generate(schema=schema, **options)
    task.check(model)
    request = next(task.conversation(["What is it?"], model))
    accepted(model, request)


@pytest.mark.parametrize("model", CHAT, ids=names)
def test_classify_with_a_chat_model_fits_the_published_schema(model: Model) -> None:
    """A classification by a chat model is a request the model accepts, and names every label."""
    task = Classify(labels={"bug": "something broke", "praise": None})
    request = task.build_request(["It broke."], model)
    accepted(model, request)
    assert "something broke" in request.body().decode()
    assert "praise" in request.body().decode()


@pytest.mark.parametrize("model", DECISION, ids=names)
@pytest.mark.parametrize("labels", [["a", "b"], {"a": "first", "b": None}, [str(i) for i in range(255)]])
def test_every_decision_request_fits_the_published_schema(model: Model, labels: Any) -> None:
    """Decision models get their short name, the text as state, and the labels as criteria."""
    task = Classify(labels=labels, instructions="Which?")
    task.check(model)
    request = task.build_request(["the text"], model)
    accepted(model, request)
    body = json.loads(request.body())
    assert body["model"] == model.name
    assert body["state"] == "the text"
    assert list(body["questions"]["label"]["criteria"]) == list(labels)


@pytest.mark.parametrize("model", SENTIMENT, ids=names)
def test_the_sentiment_request_fits_the_published_schema(model: Model) -> None:
    """distilbert takes one text and nothing else."""
    request = Classify(labels=["Positive", "negative"]).build_request(["fine"], model)
    accepted(model, request)
    assert json.loads(request.body()) == {"text": "fine"}


@pytest.mark.parametrize(
    ("name", "limit", "asked"),
    [
        (LEGACY, "max_tokens", {"response_format": {"type": "json_schema", "json_schema": "SCHEMA"}}),
        (
            OPENAI,
            "max_completion_tokens",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": "SCHEMA"},
                }
            },
        ),
        (GUIDED, "max_tokens", {"guided_json": "SCHEMA"}),
        (NEITHER, "max_tokens", {}),
    ],
)
def test_the_dialects_of_text_and_json(name: str, limit: str, asked: dict[str, Any]) -> None:
    """Each dialect has its own name for the limit and its own way to ask for JSON; the limit is always sent."""
    model = find(name)
    schema = {"year": int}
    body = json.loads(next(Generate(schema=schema, max_tokens=77).conversation(["When?"], model)).body())
    wanted = json.loads(json.dumps(asked).replace('"SCHEMA"', json.dumps(schemas.model_of(schema).model_json_schema())))
    assert body[limit] == 77
    assert {key: body[key] for key in ("response_format", "guided_json") if key in body} == wanted
    in_words = "JSON schema" in body["messages"][0]["content"]
    assert in_words == (name == NEITHER), "a model that takes no schema is told in words"
    plain = json.loads(next(Generate().conversation(["When?"], model)).body())
    assert plain[limit] == 512
    assert plain["messages"] == [{"role": "user", "content": "When?"}]
    assert not {"response_format", "guided_json", "temperature", "seed", "stream"} & plain.keys()


@pytest.mark.parametrize("model", [m for m in CHAT if m.reasoning], ids=names)
def test_thinking_is_off_where_it_can_be(model: Model) -> None:
    """Thinking is switched off where a model allows it, unless reasoning=True."""
    assert model.reasoning is not None
    off = model.reasoning.get("off") or {}
    body = json.loads(next(Generate().conversation(["x"], model)).body())
    assert {key: body.get(key) for key in off} == off
    body = json.loads(next(Generate(reasoning=True).conversation(["x"], model)).body())
    assert not off.keys() & body.keys()


# -- what is refused before anything is sent ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "name", "words"),
    [
        (Embed(pooling="cls"), "bge-m3", "pooling"),
        (Embed(pooling="max"), "bge-base-en-v1.5", "mean"),  # type: ignore[arg-type]
        (Embed(role="query"), "bge-base-en-v1.5", "role"),
        (Embed(role="both"), "bge-m3", "document"),  # type: ignore[arg-type]
        (Embed(instruction="x"), "qwen3-embedding-0.6b", "query"),
        (Embed(truncate=True), "bge-base-en-v1.5", "512"),
        (Embed(), "glm-4.7-flash", "bge-m3"),
        (Classify(labels=["one"]), "clef-flash", "two labels"),
        (Classify(labels=[]), "clef-flash", "two labels"),
        (Classify(labels="ab"), "clef-flash", "two labels"),
        (Classify(labels=["a", "b", "a"]), "clef-flash", "more than once"),
        (Classify(labels=["a", " "]), "clef-flash", "not empty"),
        (Classify(labels=["a", 3]), "clef-flash", "text"),  # type: ignore[list-item]
        (Classify(labels=[str(i) for i in range(256)]), "clef-flash", "255"),
        (Classify(labels=["good", "bad"]), "distilbert-sst-2-int8", "negative"),
        (Classify(labels=["a", "b"]), "bge-m3", "clef-flash"),
        (Generate(max_tokens=0), "glm-4.7-flash", "max_tokens"),
        (cf.Summarize(max_tokens=0), "glm-4.7-flash", "max_tokens"),
        (cf.Extract(fields=["a"], max_tokens=-1), "glm-4.7-flash", "max_tokens"),
        (cf.Caption(max_tokens=True), "llava-1.5-7b-hf", "max_tokens"),
        (Generate(schema={"a": {"b": int}}), "glm-4.7-flash", "is not a type"),
        (Generate(max_tokens=1.5), "glm-4.7-flash", "max_tokens"),  # type: ignore[arg-type]
        (Generate(temperature=3), "glm-4.7-flash", "temperature"),
        (Generate(temperature=-1), LEGACY, "temperature"),
        (Generate(temperature=5.5), LEGACY, "temperature"),
        (Generate(schema={}), "glm-4.7-flash", "schema"),
        (Generate(schema={"a": "no type at all"}), "glm-4.7-flash", "schema"),
        (Generate(schema=[1]), "glm-4.7-flash", "schema"),  # type: ignore[arg-type]
        (Generate(), "bge-m3", "glm-4.7-flash"),
    ],
)
def test_what_no_model_could_do_is_an_error_with_a_hint(task: Task, name: str, words: str) -> None:
    """Options that mean nothing to the model raise a ValueError that names what would."""
    with pytest.raises(ValueError, match=r".") as caught:
        task.check(find(name))
    assert words in str(caught.value)


# -- what is read ------------------------------------------------------------------------------------------------------

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}


def completion(content: Any, finish: str = "stop") -> dict[str, Any]:
    return {"object": "chat.completion", "choices": [{"message": {"content": content}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ({"response": "Paris"}, "Paris"),
        ({"response": {"city": "Paris"}}, '{"city":"Paris"}'),
        ({"response": 42}, "42"),
        ({"response": 0}, "0"),
        ({"response": False}, "false"),
        ("Paris", "Paris"),
        (completion("Paris"), "Paris"),
        (completion(7), "7"),
        (completion([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]), "Paris"),
        (completion([{"type": "image_url"}, {"type": "text", "text": "Paris"}]), "Paris"),
        ({"object": "text_completion", "choices": [{"text": "Paris", "finish_reason": "stop"}]}, "Paris"),
        (
            {
                "status": "completed",
                "output": [
                    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "Pa"}, {"type": "refusal"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "ris"}]},
                ],
            },
            "Paris",
        ),
        (completion("<think>\nWhich one?\n</think>\n\nParis"), "Paris"),
        ({"response": "  <think>hm</think>Paris <think>is</think>"}, "Paris <think>is</think>"),
        ({"response": "Paris", "usage": {"completion_tokens": 3}}, "Paris"),
        ({"response": "Paris", "usage": None, "tool_calls": []}, "Paris"),
    ],
)
def test_a_reply_is_found_in_every_form(result: Any, text: str) -> None:
    """Strings, numbers, objects, choices, parts, Responses output; thinking aloud is left out."""
    for answer in (envelope(result), Answer(json.dumps(result).encode())):
        conversation = Generate().conversation(["?"], find(LEGACY))
        next(conversation)
        with pytest.raises(StopIteration) as end:
            conversation.send(answer)
        assert [cell["answer"] for cell in end.value.value] == [text]


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"response": ""}, "empty"),
        ({"response": "  \n"}, "empty"),
        ({"response": None}, "empty"),
        ({}, "empty"),
        (None, "empty"),
        ([], "empty"),
        (completion(None), "empty"),
        (completion([]), "empty"),
        ({"choices": []}, "empty"),
        ({"choices": [{"message": None}]}, "empty"),
        ({"output": []}, "empty"),
        (completion("<think>never ends"), "empty"),
        (completion("<think>all</think>  "), "empty"),
        (completion("Par", "length"), "length"),
        (completion(None, "length"), "length"),
        ({"choices": [{"text": "Par", "finish_reason": "length"}]}, "length"),
        (
            {
                "status": "incomplete",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "P"}]}],
            },
            "length",
        ),
        ({"response": "Par", "usage": {"completion_tokens": 512}}, "length"),
    ],
)
def test_silent_losses_are_errors_of_the_row(result: Any, code: str) -> None:
    """An empty reply and one cut at the limit are failures with a code of their own, not short answers."""
    conversation = Generate().conversation(["?"], find(LEGACY))
    next(conversation)
    with pytest.raises((cf.AnswerError, StopIteration)) as caught:
        conversation.send(envelope(result))
    failed = caught.value.value[0] if isinstance(caught.value, StopIteration) else caught.value
    assert isinstance(failed, cf.AnswerError)
    assert failed.code == code
    assert isinstance(caught.value, StopIteration) is (code == "length")


@pytest.mark.parametrize(
    "result",
    [
        {"choices": [None]},
        {"choices": ["Paris"]},
        {"choices": {"0": 1}},
        {"choices": [{"message": "Paris"}]},
        {"output": ["Paris"]},
        {"output": [{"type": "message", "content": "Paris"}]},
        {"output": [{"type": "message", "content": ["Paris"]}]},
        True,
        17,
    ],
)
def test_an_answer_of_no_known_form_fails_its_row_only(result: Any) -> None:
    """Whatever JSON comes back, reading it either works or is an AnswerError, which fails one row."""
    conversation = Generate().conversation(["?"], find(OPENAI))
    next(conversation)
    with pytest.raises((cf.AnswerError, StopIteration)):
        conversation.send(envelope(result))


def test_a_broken_body_may_be_asked_again() -> None:
    """Half a body is an AnswerError that the engine repeats."""
    with pytest.raises(cf.AnswerError) as caught:
        _ = Answer(b'{"result": {"response": "Par').json
    assert caught.value.code == "broken"
    assert caught.value.reaction == "again"


JSON_REPLIES = [
    '{"year": 1999, "mood": "glad"}',
    'Sure!\n```json\n{"year": 1999, "mood": "glad"}\n```\nAnything else?',
    '<think>{"year": 1}</think>{"year": 1999, "mood": "glad"}',
    '{"year": "1999", "mood": "glad"}',
]


@pytest.mark.parametrize("said", [*JSON_REPLIES, {"year": 1999, "mood": "glad"}], ids=range(5))
def test_json_is_found_in_words_and_fences(said: Any) -> None:
    """JSON that is parsed already, fenced, or wrapped in words becomes typed columns."""
    task = Generate(schema={"year": int, "mood": ["glad", "sad"]})
    conversation = task.conversation(["?"], find(LEGACY))
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(envelope({"response": said}))
    assert [cell["answer"] for cell in end.value.value] == [{"year": 1999, "mood": "glad"}]
    table = task.to_columns([*end.value.value, None])
    assert isinstance(table, Mapping)
    assert (table["year"].kind, table["year"].values) == ("integer", [1999, None])
    assert (table["mood"].kind, table["mood"].levels) == ("category", ("glad", "sad"))


@pytest.mark.parametrize("name", [LEGACY, OPENAI, GUIDED, BOTH])
@pytest.mark.parametrize("first", ["no json", '{"year": "soon"}', "[1]", '{"year": 1999', "{}"])
def test_a_reply_that_does_not_fit_is_sent_back_once(name: str, first: str) -> None:
    """The second question holds the first reply and what is wrong with it; its answer counts."""
    model = find(name)
    conversation = Generate(schema={"year": int}, system="Be brief.").conversation(["When?"], model)
    opening = json.loads(next(conversation).body())
    second = conversation.send(envelope(completion(first)))
    body = json.loads(second.body())
    assert body["messages"][: len(opening["messages"])] == opening["messages"]
    assert body["messages"][-2] == {"role": "assistant", "content": first}
    assert "schema" in body["messages"][-1]["content"]
    assert {**body, "messages": 0} == {**opening, "messages": 0}
    accepted(model, second)
    with pytest.raises(StopIteration) as end:
        conversation.send(envelope(completion('{"year": 2001}')))
    assert [cell["answer"] for cell in end.value.value] == [{"year": 2001}]


def test_a_second_reply_that_does_not_fit_fails_the_row() -> None:
    """Two replies that do not fit are a row failure with code schema; there is no third question."""
    conversation = Generate(schema={"year": int}).conversation(["When?"], find(OPENAI))
    next(conversation)
    conversation.send(envelope(completion("never")))
    with pytest.raises(cf.AnswerError) as caught:
        conversation.send(envelope(completion("ever")))
    assert caught.value.code == "schema"
    assert caught.value.reaction == "row"


def test_columns_of_a_schema_have_real_types() -> None:
    """Integers, optional numbers, booleans, texts, choices, lists: each its own kind of column."""
    kinds = {
        "year": int, "price": float | None, "urgent": bool, "who": str, "mood": ["a", "b"], "tags": list[str],
        "odd": int | str,
    }  # fmt: skip
    made = schemas.columns(schemas.model_of(kinds), [])
    assert {name: column.kind for name, column in made.items()} == {
        "year": "integer", "price": "number", "urgent": "boolean", "who": "text", "mood": "category",
        "tags": "object", "odd": "object",
    }  # fmt: skip


def test_a_task_keeps_the_options_it_was_given() -> None:
    """A list or dict that its owner changes afterwards changes neither what is asked nor the key."""
    labels, fields = ["a", "b"], {"mood": ["glad", "sad"]}
    tasks = [Classify(labels=labels), Generate(schema=fields)]
    before = [(task.key_fields(), next(task.conversation(["x"], find(OPENAI))).json) for task in tasks]
    labels.append("c")
    fields["mood"].append("angry")
    assert [(task.key_fields(), next(task.conversation(["x"], find(OPENAI))).json) for task in tasks] == before


WORDS = ["a: number", "b"]
_SERIES = pd.Series(WORDS)
FORMS_OF_WORDS = {
    "array": np.array(WORDS), "objects": np.array(WORDS, dtype=object), "series": _SERIES, "index": pd.Index(WORDS),
    "categorical": _SERIES.astype("category"), "unique": _SERIES.unique(),
    "categories": _SERIES.astype("category").cat.categories, "nullable": _SERIES.astype("string"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS_OF_WORDS)
def test_words_of_an_array_are_a_list(form: str) -> None:
    """Labels, levels and fields out of an array or a column are the same question as a list of them, at any depth."""
    given = FORMS_OF_WORDS[form]
    for made, same in (
        (cf.Classify(labels=given), cf.Classify(labels=WORDS)),
        (cf.Classify(labels={"x": given, "y": None}), cf.Classify(labels={"x": WORDS, "y": None})),
        (cf.Score(levels=given), cf.Score(levels=WORDS)), (cf.Mask(labels=given), cf.Mask(labels=WORDS)),
        (cf.Moderate(categories=given), cf.Moderate(categories=WORDS)),
        (cf.Extract(fields=given), cf.Extract(fields=WORDS)),
    ):  # fmt: skip
        assert (made, made.key_fields()) == (same, same.key_fields())
        made.check(find("glm-4.7-flash"))


@pytest.mark.parametrize(
    "given", [np.array([1, 2]), pd.Series([1.0, 2.0]), np.array([["a", "b"]]), np.array(["a", None])]
)
def test_an_array_of_anything_else_is_refused_in_words(given: Any) -> None:
    """Numbers, tables and missing cells are no labels and no fields; arrays in a task of one's own stay arrays."""
    for task in (cf.Classify(labels=given), cf.Extract(fields=given)):
        with pytest.raises(ValueError, match=r"must be a text|give a|write a name"):
            task.check(find("glm-4.7-flash"))
    assert isinstance(Weighted(weights=np.array([1, 2])).weights, np.ndarray)


@pytest.mark.parametrize("form", [{"data": [[1, 2], [3, 4]]}, {"response": [[1, 2], [3, 4]], "shape": [2, 2]}])
def test_vectors_are_read_from_both_forms(form: Any) -> None:
    """bge-m3 with contexts answers under another name; both become one float32 matrix, with and without envelope."""
    model = dataclasses.replace(find("bge-m3"), dims=2)
    for answer in (envelope(form), Answer(json.dumps(form).encode())):
        matrix = Embed().parse(answer, ["a", "b"], model)
        assert isinstance(matrix, np.ndarray)
        assert matrix.dtype == np.float32
        assert matrix.tolist() == [[1, 2], [3, 4]]
    slow = envelope(form)
    _ = slow.json  # the way that is taken without simdjson
    assert np.asarray(Embed().parse(slow, ["a", "b"], model)).tolist() == [[1, 2], [3, 4]]
    wrong = Embed().parse(slow, ["a", "b"], find("bge-m3"))
    assert [str(each) for each in wrong] == ["vectors of 2 dimensions instead of 1024"] * 2, "failed rows, not repeated"


@pytest.mark.parametrize("number", ["1e300", "-1e39", "1" * 40])
@pytest.mark.parametrize("parsed", [False, True], ids=["simdjson", "plain"])
def test_vectors_are_finite(number: str, parsed: bool) -> None:
    """A number that is infinite as float32 fails the row in plain words, and is not asked for again."""
    for answer in (
        Answer(f'{{"data": [[1.0, {number}]]}}'.encode()),
        Answer(f'{{"data": [{{"index": 0, "embedding": [1.0, {number}]}}]}}'.encode()),
    ):
        if parsed:
            _ = answer.json
        with pytest.raises(cf.AnswerError, match="not finite as float32") as caught:
            answer.listed() if b"index" in answer.content else answer.floats("data")
        assert caught.value.reaction == "row"


@pytest.mark.parametrize("parsed", [False, True], ids=["simdjson", "plain"])
@pytest.mark.parametrize(
    "form",
    [
        {"data": None},
        {"data": "text"},
        {"data": [[1, 2], [3]]},
        {"data": [[1, 2], [3, 4, 5], [6]]},
        {"data": [[1, "two"]]},
        {"data": [[1, None]]},
        {"data": [[]]},
        {"data": {"0": [1, 2]}},
        {"data": [1, 2]},
        {"shape": [1, 2]},
        [],
        None,
        "text",
    ],
    ids=str,
)
def test_what_is_no_matrix_is_an_error(form: Any, parsed: bool) -> None:
    """Ragged, empty, non-numeric or missing vectors are an AnswerError worth asking again, never a matrix."""
    answer = envelope(form)
    if parsed:
        _ = answer.json
    with pytest.raises(cf.AnswerError) as caught:
        Embed().parse(answer, ["a", "b", "c"], find("bge-m3"))
    assert caught.value.reaction == "again"


def test_a_decision_is_read_with_its_probabilities() -> None:
    """A choice comes with confidence and a probability for every label."""
    task = Classify(labels=["a", "b"], probabilities=True)
    p = {"a": 0.25, "b": 0.75}
    answer = envelope({"answers": {"label": {"type": "choice", "choice": "b", "probabilities": p, "confidence": 0.5}}})
    cells = task.parse(answer, ["x"], find("clef-flash"))
    assert list(cells) == [{"label": "b", "confidence": 0.75, "p": p}]
    table = task.to_columns([*cells, None])
    assert isinstance(table, Mapping)
    assert list(table) == ["label", "confidence", "p__a", "p__b"]
    assert table["p__b"].values == [0.75, None]


@pytest.mark.parametrize(
    "result",
    [
        {},
        None,
        [],
        {"answers": {}},
        {"answers": {"label": {"choice": "b", "confidence": 1}}},
        {"answers": {"label": {"choice": "b", "confidence": 1, "probabilities": {"a": 1.0}}}},
        {"answers": {"label": {"choice": "b", "probabilities": {"a": 0.0, "b": 1.5}}}},
        {"answers": {"label": {"choice": "b", "probabilities": {"a": True, "b": 0.5}}}},
        {"answers": {"label": {"choice": "b", "probabilities": {"a": "0.1", "b": 0.9}}}},
        {"answers": {"label": {"choice": "c", "confidence": 1, "probabilities": {"a": 0.0, "b": 1.0}}}},
    ],
)
def test_a_decision_that_is_none_is_an_error(result: Any) -> None:
    """An answer without a decision about the labels, or with a label not offered, is an AnswerError."""
    with pytest.raises(cf.AnswerError):
        Classify(labels=["a", "b"]).parse(envelope(result), ["x"], find("clef-flash"))


def test_sentiment_scores_become_the_labels_as_written() -> None:
    """distilbert's two scores are given under the user's own spelling of the labels."""
    task = Classify(labels=["Positive", "negative"])
    answer = envelope([{"label": "NEGATIVE", "score": 0.9}, {"label": "POSITIVE", "score": 0.1}])
    assert list(task.parse(answer, ["x"], find("distilbert-sst-2-int8"))) == [
        {"label": "negative", "confidence": 0.9, "p": {"Positive": 0.1, "negative": 0.9}}
    ]
    for broken in ({}, None, [{"label": "POSITIVE"}], [{"label": "POSITIVE", "score": 0.1}]):
        with pytest.raises(cf.AnswerError):
            task.parse(envelope(broken), ["x"], find("distilbert-sst-2-int8"))


@pytest.mark.parametrize("said", ['{"label": "bug"}', '{"label": " BUG "}', '"bug"', 'It is {"label": "bug"}.'])
def test_a_label_in_a_reply_is_found(said: str) -> None:
    """A chat model's label is read whatever its case and wrapping; it has no probabilities."""
    cells = Classify(labels=["bug", "praise"]).parse(envelope(completion(said)), ["x"], find(OPENAI))
    assert list(cells) == [{"label": "bug", "confidence": None, "p": None}]


@pytest.mark.parametrize("said", ["bugs", '{"label": "other"}', '{"labels": "bug"}', "[]", "null", "3"])
def test_a_reply_that_names_no_label_fails_the_row(said: str) -> None:
    """A label that was not offered is an AnswerError, never a new category."""
    with pytest.raises(cf.AnswerError) as caught:
        Classify(labels=["bug", "praise"]).parse(envelope(completion(said)), ["x"], find(OPENAI))
    assert caught.value.code == "schema"


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_an_estimate_is_the_most_it_can_be() -> None:
    """An estimate counts text, system and schema as read and all of max_tokens as written, for each input."""
    model = find(OPENAI)
    plain = Generate(max_tokens=100).estimate_usage(["a" * 400], model)
    assert plain.amounts["output_tokens"] == 100
    assert plain.amounts["input_tokens"] >= 100
    longer = Generate(max_tokens=100, system="s" * 400, schema={"year": int}).estimate_usage(["a" * 400] * 2, model)
    assert longer.amounts["input_tokens"] >= 2 * (plain.amounts["input_tokens"] + 100)
    assert Embed().estimate_usage(["a" * 400, "b" * 40], find("bge-m3")).amounts["input_tokens"] >= 110
    assert Classify(labels=["a", "b"]).estimate_usage(["x"], find("clef-flash")).amounts.get("output_tokens", 0) == 0


LABELS = {f"label {at}": "what it means" for at in range(255)}


@pytest.mark.parametrize("model", [OPENAI, "llama-3.2-3b-instruct", "clef-flash"])
def test_an_estimate_of_many_labels_counts_all_that_is_sent(model: str) -> None:
    """A schema repeats the labels and what they mean: they are counted as often as they are read."""
    task = Classify(labels=LABELS)
    sent = json.dumps(task.build_request(["x"], find(model)).json)
    assert task.estimate_usage(["x"], find(model)).amounts["input_tokens"] >= tokens_in(sent)


@pytest.mark.parametrize(
    ("task", "model", "place", "name"),
    [
        (Classify(labels=LABELS), OPENAI, Choice, "schema"),
        (Classify(labels=LABELS), "clef-flash", Choice, "criteria"),
        (Classify(labels=LABELS), OPENAI, chat, "fixed_tokens"),
        (Classify(labels=LABELS), "llava-1.5-7b-hf", chat, "tokens_in"),
        (Generate(schema={"year": int}, system="Be brief."), OPENAI, chat, "fixed_tokens"),
        (cf.Extract(fields={"year": int}), OPENAI, chat, "fixed_tokens"),
        (cf.Mask(labels=list(LABELS)), OPENAI, chat, "fixed_tokens"),
        (cf.Caption(question="What is it?"), "moondream3.1-9B-A2B", chat, "tokens_in"),
    ],
)
def test_a_question_is_described_once(
    task: Task, model: str, place: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows there are, what does not depend on them is described and counted once a task."""
    inside, calls = getattr(place, name), []
    monkeypatch.setattr(place, name, lambda *given: (calls.append(1), inside(*given))[1])
    for each in [of_bytes(picture()) if task.input_kinds(find(model)) == {"image"} else "a text"] * 9:
        task.estimate_usage([each], find(model))
        next(task.conversation([each], find(model)))
    assert len(calls) == 1


def test_the_usage_of_an_embedding_is_in_the_header_or_estimated() -> None:
    """The header's Neurons are exact; without one the estimate takes its place, and is marked as one."""
    model, request = find("bge-m3"), Request(json={})
    exact = Embed().usage(request, Answer(b"{}", {"cf-ai-neurons": "0.5"}), ["abcd"], model)
    assert exact.amounts["neurons"] == 0.5
    assert exact.exact
    assert Embed().usage(request, Answer(b"{}"), ["abcd"], model) == Usage({"input_tokens": 1.0}, exact=False)


# -- a task of one's own -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Shout(Task):
    """A task as one would write it in a cell."""

    name = "shout"
    volume: int = 1

    def build_request(self, inputs: Any, model: Model) -> Request:
        return Request(json={"text": inputs[0] * self.volume})

    def parse(self, answer: Answer, inputs: Any, model: Model) -> Any:
        return [answer.json]


@dataclass(frozen=True, kw_only=True)
class Weighted(Shout):
    """A task with an array of numbers."""

    weights: Any


def test_a_task_needs_no_more_than_compose_and_read() -> None:
    """The default conversation asks once; the default column is of objects, the default weight an estimate."""
    task, model = Shout(volume=2), find(OPENAI)
    conversation = task.conversation(["ha"], model)
    assert json.loads(next(conversation).body()) == {"text": "haha"}
    with pytest.raises(StopIteration) as end:
        conversation.send(Answer(b"[1]"))
    assert end.value.value == [[1]]
    assert task.batch(model) == 1
    assert task.key_fields() == {"volume": 2}
    column = task.to_columns([1])
    assert not isinstance(column, Mapping)
    assert column.kind == "object"


def test_a_task_without_compose_says_what_is_missing() -> None:
    """A Task subclass that defines nothing raises an error that names the methods to define."""
    with pytest.raises(TypeError, match="build_request"):
        next(Task().conversation(["x"], find(OPENAI)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": None, "b": "x"}, {"b": "x", "a": None}),
        (["a", "b"], ["b", "a"]),
        ("1", 1),
        (True, 1),
        (None, "None"),
        (int, float),
        (int, "int"),
        ([1, [2]], [[1], 2]),
        (Ticket, schemas.model_of({"year": int})),
    ],
)
def test_different_options_have_different_canonical_forms(one: Any, other: Any) -> None:
    """Options with different meanings have different keys, order included."""
    assert json.dumps(canonical(one)) != json.dumps(canonical(other))
