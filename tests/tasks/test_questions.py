"""Typed questions: ask, check, filter, score and sentiment, over decision models and chat models."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
from published import schemas

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import find
from cfai_nb.tasks import Answer
from cfai_nb.tasks.dialects import decision
from cfai_nb.tasks.dialects.question_types import Choice

QUESTIONS = {
    "refund": cf.yes_no("Does the customer want money back?", yes="asks for a refund", no="asks for something else"),
    "team": cf.choice("sales", billing="charges and refunds", tech="bugs and crashes"),
    "anger": cf.scale("calm", "annoyed", "furious"),
}
FRAME = pd.DataFrame(
    {"text": ["I was charged twice, refund me!", "the app crashes", None, "the app crashes"]}, index=[7, 7, "x", 9]
)


def test_columns_have_real_types(emulator: Emulator) -> None:
    """One call a distinct row gives a boolean, a category and a number, on the index of the frame."""
    out = FRAME.cfai.ask("text", QUESTIONS)
    assert out.dtypes.astype(str).to_dict() == {"refund": "boolean", "team": "category", "anger": "float64"}
    assert list(out.index) == list(FRAME.index)
    assert out.iloc[2].isna().all()
    assert list(out["team"].cat.categories) == ["sales", "billing", "tech"]
    assert emulator.requests == 2


def test_probabilities_and_thresholds_send_nothing(emulator: Emulator) -> None:
    """Every probability is kept: showing them, or another cut, needs no new call."""
    plain = FRAME.cfai.ask("text", QUESTIONS)
    sent = emulator.requests
    full = FRAME.cfai.ask("text", QUESTIONS, probabilities=True)
    p = full["refund__p"].dropna()
    strict = FRAME.cfai.ask("text", QUESTIONS, threshold={"refund": 1.0})["refund"].dropna()
    loose = FRAME.cfai.ask("text", QUESTIONS, threshold=0.0)["refund"].dropna()
    assert emulator.requests == sent
    assert (plain["refund"].dropna() == (p >= 0.5)).all()
    assert loose.all()
    assert (strict == (p >= 1.0)).all()
    shares = full.filter(like="team__p__").dropna().sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1, abs=0.01)
    assert {"team__confidence", "anger__confidence", "anger__p__calm"} <= set(full)


def test_chat_models_answer_without_probabilities(emulator: Emulator) -> None:
    """A chat model gives the same columns, also when its answer is a bare word; its probabilities are refused."""
    out = FRAME.cfai.ask("text", QUESTIONS, model="llama-3.3-70b-instruct-fp8-fast")
    assert out["refund"].notna().tolist() == [True, True, False, True]
    asked = decision.Questionnaire({"it": Choice((("yes", None), ("no", None)))})
    for word in ('"Yes"', "Yes.", '{"it": "YES"}'):
        said = Answer(json.dumps({"choices": [{"message": {"content": word}, "finish_reason": "stop"}]}).encode())
        assert asked.parse(said, "a text", find("glm-4.7-flash"))["it"]["label"] == "yes"


@pytest.mark.parametrize(
    "task",
    [
        cf.Ask(questions=QUESTIONS, probabilities=True), cf.Check(condition="It is late.", probabilities=True),
        cf.Classify(labels=["a", "b"], probabilities=True), cf.Score(levels=["a", "b"], probabilities=True),
        cf.Sentiment(probabilities=True), cf.Moderate(probabilities=True),
    ],
    ids=lambda task: task.name,
)  # fmt: skip
@pytest.mark.parametrize("model", ["glm-4.7-flash", "llama-3.2-3b-instruct"])
def test_probabilities_that_do_not_exist_are_refused(emulator: Emulator, task: Any, model: str) -> None:
    """They are an error before anything is sent, which names models that have some; not missing numbers afterwards."""
    with pytest.raises(cf.ModelError, match=r"gives no probabilities.*clef-flash"):
        FRAME.cfai.run(task, on="text", model=model)
    assert emulator.requests == 0


@pytest.mark.parametrize("model", ["clef", "clef-flash", "clef-omni", "glm-4.7-flash", "llama-3.2-3b-instruct"])
def test_requests_fit_the_published_schema(model: str) -> None:
    """What is sent is what the model's input schema allows, also for names no question id may have."""
    jsonschema = pytest.importorskip("jsonschema")
    named = {**QUESTIONS, "a column with spaces": cf.yes_no("Is it short?")}
    body = cf.Ask(questions=named).build_request(["text"], find(model)).json
    jsonschema.validate(body, schemas()[find(model).id]["input"])
    if model.startswith("clef"):
        assert set(body["questions"]) == {"refund", "team", "anger", "question-3"}


@pytest.mark.parametrize("keys", [("calm", "annoyed", "furious"), ("0", "1", "2")])
def test_levels_by_name_or_by_place(keys: tuple[str, ...]) -> None:
    """The probabilities of a scale are read by level name or by position."""
    p = dict(zip(keys, (0.2, 0.3, 0.5), strict=True))
    answer = {"type": "score", "score": 1.3, "legend": {}, "probabilities": p, "confidence": 0.4}
    assert QUESTIONS["anger"].decided(answer)["p"] == {"calm": 0.2, "annoyed": 0.3, "furious": 0.5}


@pytest.mark.parametrize("levels", [("1", "2", "3"), ("2", "1", "0"), ("0", "1", "2"), ("3", "2", "1")])
@pytest.mark.parametrize("by_name", [False, True])
def test_levels_that_look_like_places(levels: tuple[str, ...], by_name: bool) -> None:
    """Levels named as positions are read by position, as the service answers, and by name where no other reading fits.

    No level gets the probability of its neighbor, and a key that is missing is an error.
    """
    places = set(levels) == {"0", "1", "2"}
    keys = levels if by_name and not places else ("0", "1", "2")
    answer: dict[str, Any] = {"score": 0.4, "probabilities": dict(zip(keys, (0.7, 0.2, 0.1), strict=True))}
    question = cf.scale(*levels)
    assert list(question.decided(answer)["p"].items()) == list(zip(levels, (0.7, 0.2, 0.1), strict=True))
    del answer["probabilities"][keys[0]]
    with pytest.raises(KeyError):
        question.decided(answer)


def test_an_answer_that_was_not_offered_fails_the_row() -> None:
    """A choice outside of the options, or a missing question, is an error of the row and not a new category."""
    answer = {"answers": {"it": {"choice": "c", "probabilities": {"a": 0.5, "b": 0.5}, "confidence": 1}}}
    question = {"it": cf.choice("a", "b")}
    for output in (answer, {"answers": {}}, {"answers": None}, 3):
        said = Answer(json.dumps({"result": output, "success": True}).encode())
        with pytest.raises(cf.AnswerError, match="does not fit"):
            decision.Questionnaire(question).parse(said, "a text", find("clef-flash"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cf.choice("a"), "two options"),
        (lambda: cf.choice("a", "a"), "more than once"),
        (lambda: cf.choice("a", " "), "not empty"),
        (lambda: cf.scale("low"), "2 to 10 levels"),
        (lambda: cf.scale(*map(str, range(11))), "2 to 10 levels"),
        (lambda: cf.yes_no(""), "not empty"),
        (lambda: FRAME.cfai.ask("text", {}), "1 to 64"),
        (lambda: FRAME.cfai.ask("text", {"a": "is it?"}), "cf.yes_no"),
        (lambda: FRAME.cfai.ask("text", QUESTIONS, threshold={"refnd": 0.5}), "refnd"),
        (
            lambda: FRAME.cfai.ask("text", {**QUESTIONS, "refund__p": cf.choice("a", "b")}, probabilities=True),
            "result columns: 'refund__p' given more than once",
        ),
        (lambda: FRAME.cfai.ask("text", QUESTIONS, threshold=2), "between 0 and 1"),
        (lambda: FRAME.cfai.check("text", "x y", threshold=-1), "between 0 and 1"),
        (lambda: FRAME.cfai.check("text", " "), "not empty"),
        (lambda: FRAME.cfai.check("text", "word " * 40_000), "1 question with 2 options take about"),
        (
            lambda: FRAME.cfai.moderate("text", categories={"a": "word " * 40_000}),
            "2 questions with 4 options take about",
        ),
        (lambda: FRAME.cfai.score("text", "low"), "give a list"),
    ],
)
def test_bad_questions_are_reported_before_anything_is_sent(emulator: Emulator, make: Any, words: str) -> None:
    """An impossible question is an error with what to do, and nothing is sent."""
    with pytest.raises(ValueError, match=words):
        make()
    assert emulator.requests == 0


def test_the_key_holds_every_question(emulator: Emulator) -> None:
    """A changed wording, option or order of options is sent again; a changed threshold is not."""
    text = pd.Series(["the app crashes"])
    for condition in ("It is a bug.", "It is a bug!"):
        text.cfai.check(condition)
    text.cfai.check("It is a bug.", threshold=0.9)
    assert emulator.requests == 2
    for levels in (["a", "b"], ["b", "a"]):
        text.cfai.score(levels)
    assert emulator.requests == 4


def test_filter_keeps_rows_that_hold(emulator: Emulator) -> None:
    """filter returns the rows of the frame, or values of the Series, for which check says yes."""
    condition = "I was charged twice, refund me!"
    checked = FRAME.cfai.check("text", condition)
    assert checked.dtype == "boolean"
    kept = FRAME.cfai.filter("text", condition)
    pd.testing.assert_frame_equal(kept, FRAME[checked.fillna(False).to_numpy(dtype=bool)])
    assert 0 < len(kept) < len(FRAME)
    assert FRAME["text"].cfai.filter(condition).tolist() == kept["text"].tolist()
    everything = FRAME.cfai.filter("text", condition, threshold=0.0, probabilities=True)
    assert len(everything) == 3


def test_sentiment_tells_three_apart(emulator: Emulator) -> None:
    """sentiment is a category of three, with its probabilities on request."""
    text = pd.Series(["wonderful, I love it", "terrible, broken and awful"])
    assert list(text.cfai.sentiment().cat.categories) == ["negative", "neutral", "positive"]
    full = text.cfai.sentiment(probabilities=True)
    assert list(full) == ["sentiment", "confidence", "p__negative", "p__neutral", "p__positive"]


def closed(model: str, code: str) -> Emulator:
    """An emulator on which one model is not open to the account."""
    return Emulator(rate=None, faults=lambda number, name: code if name.endswith(model) else None)


@pytest.mark.parametrize("code", ["3041", "5018", "5007"])
def test_a_chat_model_stands_in_where_the_default_is_not_open(code: str) -> None:
    """Where clef-flash is not open to the account the default chat model answers, which is reported once a session."""
    emulator = closed("clef-flash", code)
    cf.connect(emulator)
    with pytest.raises(cf.ModelError, match=r"clef-flash is not open.*glm-4\.7-flash gives no probabilities"):
        FRAME.cfai.classify("text", ["billing", "bug"], probabilities=True)
    with pytest.warns(cf.CfaiWarning, match=r"clef-flash is not open.*glm-4\.7-flash answers"):
        out = FRAME.cfai.classify("text", ["billing", "bug"])
    assert out.notna().tolist() == [True, True, False, True]
    sent = emulator.requests
    again = FRAME.cfai.check("text", "It is a bug.")
    assert again.notna().sum() == 3
    assert {call.model for call in emulator.calls[sent:]} == {"@cf/zai-org/glm-4.7-flash"}


def test_a_model_that_was_asked_for_is_not_replaced() -> None:
    """Nothing stands in for a model the user named, nor for a token that is not accepted."""
    cf.connect(closed("clef-flash", "5018"))
    with pytest.raises(cf.AccessError, match="5018"):
        FRAME.cfai.classify("text", ["billing", "bug"], model="clef-flash")
    cf.connect(closed("clef-flash", "10000"))
    with pytest.raises(cf.AccessError, match="CLOUDFLARE_API_TOKEN"):
        FRAME.cfai.classify("text", ["billing", "bug"])


def test_the_awaited_form_falls_back_too() -> None:
    """The same holds for a call that is awaited, and for extract."""
    cf.connect(closed("clairic", "3041"))

    async def main() -> Any:
        return await FRAME.cfai.extract.aio("text", ["wish"])

    with pytest.warns(cf.CfaiWarning, match="clairic is not open"):
        out = asyncio.run(main())
    assert out["wish"].notna().sum() == 3


def test_calls_at_once_all_fall_back_and_one_says_so() -> None:
    """Two calls that meet the closed model at the same time both get their answers, and it is reported once."""
    cf.connect(closed("clef-flash", "5018"))

    async def main() -> list[Any]:
        calls = [FRAME.cfai.check.aio("text", condition) for condition in ("It is a bug.", "It is a refund.")]
        return await asyncio.gather(*calls)

    with pytest.warns(cf.CfaiWarning) as said:
        results = asyncio.run(main())
    assert [result.notna().sum() for result in results] == [3, 3]
    assert len(said) == 1


def test_a_text_that_was_cut_to_fit_is_a_failed_row(emulator: Emulator) -> None:
    """The model judges the beginning of a text too long for it without saying so: the row fails, and is paid once."""
    rows = pd.Series(["short and good", "word " * 25_000])
    with pytest.warns(cf.CfaiWarning, match="longer than the 24,576 tokens clef-flash reads"):
        labels = rows.cfai.classify(["good", "bad"])
    assert labels.isna().tolist() == [False, True]
    assert cf.last_run().failures["code"].tolist() == ["truncated"]
    sent = emulator.requests
    with pytest.warns(cf.CfaiWarning, match="longer than"):
        rows.cfai.classify(["good", "bad"])
    assert emulator.requests == sent


def test_a_short_text_with_many_questions_was_not_cut() -> None:
    """A count of all that was read for all questions may exceed what fits at once: that loses no paid row."""
    output = {"answers": {"a": {"noul": 0.9}}, "usage": {"input_tokens": 99_000}}
    said = Answer(json.dumps({"result": output, "success": True}).encode())
    asked, model = decision.Questionnaire({"a": cf.yes_no("Is it good?")}), find("clef-flash")
    assert asked.parse(said, "a short text", model) == {"a": {"p": 0.9}}
    with pytest.raises(cf.AnswerError, match="longer than"):
        asked.parse(said, "word " * 30_000, model)


def test_names_that_cannot_be_sent_are_numbered(emulator: Emulator) -> None:
    """A question may be called as another's number is: each keeps its own answer."""
    asked = {"two words": cf.yes_no("Is it about water?"), "question-0": cf.choice("river", "hill")}
    body = cf.Ask(questions=asked).build_request(["x"], find("clef-flash")).json
    assert list(body["questions"]) == ["question-0", "question-1"]
    assert pd.Series(["a wide river"]).cfai.ask(asked)["question-0"].tolist() == ["river"]


MANY = [f"intent {at}" for at in range(150)]


@pytest.mark.parametrize(
    ("labels", "model", "word"),
    [
        (MANY, "clef-flash", "150 labels"),
        ([*MANY[:20], "Other"], "clef-flash", "label 'Other'"),
        (["billing", "Other"], "clef-flash", ""),
        (["billing", "shipping"], "clef-flash", ""),
        (MANY, "clef", ""),
        (MANY, "glm-4.7-flash", ""),
    ],
)
def test_a_weakness_is_named_with_what_others_cost(labels: list[str], model: str, word: str) -> None:
    """Very many labels, or many and one for the rest, with clef-flash: figures and prices; else nothing."""
    said = cf.Classify(labels=labels).caution(find(model))
    assert bool(said) == bool(word)
    if word:
        assert word in said
        assert "66.8" in said
        assert "clef (97.4) costs 6.3 times as much, $0.24 a million tokens" in said
        assert "clef-omni (97.7) costs 3.9 times as much" in said


def test_a_weakness_is_said_once_a_session(emulator: Emulator) -> None:
    """The plan says it every time, a warning once."""
    texts = pd.Series(["a", "b"])
    assert "clef-flash is weak" in repr(texts.cfai.classify.plan([*MANY[:20], "other"]))
    with pytest.warns(cf.CfaiWarning, match="clef-flash is weak"):
        texts.cfai.classify([*MANY[:20], "other"])
    texts.cfai.classify([*MANY[:21], "other"])  # a warning would be an error


def test_labels_are_counted() -> None:
    """About 18 tokens an option and question, so that many labels are not nearly free."""
    few, many = (
        cf.Classify(labels=MANY[:count]).estimate_usage(["text"], find("clef")).amounts["input_tokens"]
        for count in (10, 110)
    )
    assert many - few >= 100 * 18


def test_more_labels_than_a_model_reads_are_refused(emulator: Emulator) -> None:
    """Before anything is sent, with the numbers; so is a text that cannot fit beside them."""
    questions = {f"q{at}": cf.choice(*MANY) for at in range(10)}
    with pytest.raises(cf.ModelError, match=r"reads 24,576 tokens, and 10 questions with 1,500 options take about"):
        pd.Series(["a"]).cfai.ask(questions)
    with pytest.raises(ValueError, match="300 options: a decision takes at most 255"):
        pd.Series(["a"]).cfai.classify([f"label {at}" for at in range(300)])
    with pytest.warns(cf.CfaiWarning, match="clef-flash reads 24,576"):
        out = pd.Series(["word " * 40_000, "late parcel"]).cfai.classify(["billing", "shipping"])
    assert out.isna().tolist() == [True, False]
    assert emulator.requests == 1
