"""Generate's options: examples, samples, thinking, fine-tunes; in each dialect, and as a frame sees them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import Model, catalogue, find
from cfai_nb.tasks import Answer, Generate
from cfai_nb.tasks.dialects import chat

LEGACY, OPENAI, OSS, LORA = "llama-3.2-3b-instruct", "glm-4.7-flash", "gpt-oss-20b", "mistral-7b-instruct-v0.2-lora"
TEXT = pd.Series(["The parcel is late.", None, "I like it."], index=list("abc"), name="text")
FRAME = pd.DataFrame({"text": TEXT, "n": [1, 2, 3]})
CHAT = [m for m in catalogue().values() if m.status == "current" and m.family in chat.FAMILIES]


def opening(task: cf.Task, model: str = OPENAI) -> Any:
    """The body of the first request."""
    return json.loads(next(task.conversation(["the prompt"], find(model))).body())  # type: ignore[union-attr]


def settled(examples: Any, template: str = "Mood of {text}?", data: Any = FRAME, **options: Any) -> Any:
    """The examples of a call, as the task gets them."""
    from cfai_nb.frame import rows

    return Generate(examples=examples, **options).resolve(lambda given: rows.filled(given, data, template)).examples


# -- examples ----------------------------------------------------------------------------------------------------------

MOODS = (("Mood of so bad?", "sad"), ("Mood of so good?", "glad"))


@pytest.mark.parametrize(
    ("examples", "data"),
    [
        (pd.DataFrame({"text": ["so bad", "so good"], "mood": ["sad", "glad"]}, index=[7, 7]), FRAME),
        (pd.DataFrame({"mood": ["sad", "glad"], "text": ["so bad", "so good"]}), FRAME),
        ([{"text": "so bad", "mood": "sad"}, {"text": "so good", "mood": "glad"}], FRAME),
        ([("so bad", "sad"), ["so good", "glad"]], FRAME),
        ([{"value": "so bad", "mood": "sad"}, {"value": "so good", "mood": "glad"}], TEXT),
        ([("so bad", "sad"), ("so good", "glad")], TEXT),
    ],
    ids=["frame", "order", "dicts", "pairs", "value", "series"],
)
def test_examples_fill_the_template_as_rows_do(examples: Any, data: Any) -> None:
    """Frames, dicts and pairs come to the same: the filled prompt, and the one thing the template does not name."""
    assert settled(examples, data=data) == MOODS


def test_examples_stand_before_the_prompt_in_turns() -> None:
    """System first, then a user's and an assistant's message each, then the prompt; in the key, too."""
    said = opening(Generate(system="s", examples=MOODS))["messages"]
    assert [message["role"] for message in said] == ["system", *["user", "assistant"] * 2, "user"]
    assert [message["content"] for message in said[1:]] == [*MOODS[0], *MOODS[1], "the prompt"]
    keys = [Generate(examples=examples).key_fields() for examples in ((), MOODS, MOODS[::-1])]
    assert all(keys.count(key) == 1 for key in keys)


def test_answers_of_examples_follow_the_schema() -> None:
    """With a schema the other columns are its fields, or one dict of them; numbers become JSON."""
    wanted = {"mood": str, "year": int}
    frame = pd.DataFrame({"text": ["so bad"], "mood": ["sad"], "year": np.array([1999])})
    said = ((MOODS[0][0], '{"mood":"sad","year":1999}'),)
    assert settled(frame, schema=wanted) == said
    assert settled([("so bad", {"mood": "sad", "year": "1999"})], schema=wanted) == said
    assert settled([("so bad", 3)]) == ((MOODS[0][0], "3"),)
    frame = pd.DataFrame({"text": ["so bad", "so good"], "year": [None, 2020]})
    years = tuple(answer for _, answer in settled(frame, schema={"year": int | None}))
    assert years == ('{"year":null}', '{"year":2020}')  # missing is null, where the schema takes that


@pytest.mark.parametrize(
    ("examples", "options", "words"),
    [
        ([{"text": "a"}], {}, "one column more"),
        ([{"text": "a", "b": 1, "c": 2}], {}, "b, c"),
        ([{"mood": "a"}], {}, "no column 'text'"),
        ([{"text": None, "mood": "a"}], {}, "row 0"),
        (pd.DataFrame({"text": ["a", "b"], "mood": ["c", None]}), {}, "row 1"),
        (["text"], {}, "give dicts"),
        ([("a", "b", "c")], {}, "give dicts"),
        ([("a", "b")], {"on": "{text} {n}"}, "one column is named"),
        ([("a", {"mood": 1})], {"schema": {"year": int}}, "does not fit the schema"),
        ([{"text": "a", "year": None}], {"schema": {"year": int}}, "does not fit the schema"),
        ([("a", "b")], {"on": None}, "template"),
        ([("a", "b")], {"model": LORA, "raw": True}, "examples="),
    ],
)
def test_examples_that_are_none_are_refused(emulator: Emulator, examples: Any, options: Any, words: str) -> None:
    """What does not fill the template, or has no answer, is an error before anything is sent."""
    with pytest.raises(ValueError, match=r".") as caught:
        FRAME.cfai.generate(**{"on": "Mood of {text}?", "examples": examples, **options})
    assert words in str(caught.value)
    assert emulator.requests == 0


def test_examples_without_a_template_are_prompts() -> None:
    """A stream takes pairs of prompt and answer, and nothing that would need a template."""
    with cf.connect("emulator", store=False):
        assert "".join(cf.stream("Hello.", examples=[("a", "b")])).startswith("[emulator]")
        with pytest.raises(ValueError, match="list of"):
            next(cf.stream("Hello.", examples=[{"text": "a", "mood": "b"}]))
        with pytest.raises(TypeError, match="tools"):
            next(cf.stream("Hello.", tools=[len]))


def test_a_series_is_its_own_prompts(emulator: Emulator) -> None:
    """Without a template the cells of a Series are the prompts, with examples too; a frame still needs one."""
    told = TEXT.cfai.generate()
    assert told.equals(TEXT.cfai.generate("{value}"))
    assert told.equals(TEXT.cfai.generate(examples=[("so bad", "sad")]))
    with pytest.raises(cf.ColumnError, match="Say what to work on"):
        FRAME.cfai.generate()


# -- samples -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "requests"), [(OPENAI, 2), (OSS, 2), (LEGACY, 6)])
def test_samples_are_lists(emulator: Emulator, model: str, requests: int) -> None:
    """One request where the model samples, one a sample where it does not; a list a row, of the same length."""
    plan = FRAME.cfai.generate.plan("Say {text}", n=3, model=model)
    told = FRAME.cfai.generate("Say {text}", n=3, model=model)
    assert [len(cell) if isinstance(cell, list) else None for cell in told] == [3, None, 3]
    assert emulator.requests == requests
    assert cf.last_run().run.neurons <= plan.estimate.cost.neurons
    both = FRAME.cfai.generate("Say {text}", n=3, model=model, thinking=True)
    assert list(both) == ["answer", "thinking"]
    assert emulator.requests == requests


def test_samples_of_older_models_have_a_seed_each() -> None:
    """The same seed would give the same text."""
    conversation = Generate(n=3, seed=5).conversation(["x"], find(LEGACY))
    said = Answer(b'{"response": "y"}')
    bodies = [next(conversation), conversation.send(said), conversation.send(said)]
    assert [json.loads(body.body())["seed"] for body in bodies] == [5, 6, 7]  # type: ignore[union-attr]
    assert "n" not in opening(Generate(n=3), LEGACY)
    assert opening(Generate(n=3))["n"] == 3


@pytest.mark.parametrize(
    ("choices", "code"),
    [
        ([("a", "stop")], "mismatch"),
        ([("a", "stop"), ("b", "length")], "length"),
        ([("a", "stop"), ("", "stop")], "empty"),
    ],
)
def test_a_sample_that_is_lost_fails_the_row(choices: Any, code: str) -> None:
    """Too few, cut or empty samples are not passed off as all of them."""
    conversation = Generate(n=2).conversation(["x"], find(OPENAI))
    next(conversation)
    made = [{"message": {"content": text}, "finish_reason": finish} for text, finish in choices]
    with pytest.raises((cf.AnswerError, StopIteration)) as caught:
        conversation.send(Answer(json.dumps({"choices": made}).encode()))
    failed = caught.value.value[0] if isinstance(caught.value, StopIteration) else caught.value
    assert failed.code == code
    if code != "mismatch":  # what all of them said is there all the same
        assert failed.text == [text for text, _ in choices]


# -- thinking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CHAT, ids=lambda model: model.name)
def test_thinking_is_asked_for_as_each_model_knows_it(model: Model) -> None:
    """Off by default where it can be; True, False and levels are sent or refused as the catalogue has it."""
    facts = model.reasoning or {}
    off = facts.get("off") or {}
    levels = [level for level in facts.get("levels") or () if level != "none"]

    def takes(wanted: Any) -> bool:
        try:
            Generate(reasoning=wanted).check(model)
        except ValueError:
            return False
        return True

    def sent(wanted: Any) -> dict[str, Any]:
        body = opening(Generate(reasoning=wanted), model.id)
        return {key: body[key] for key in ("chat_template_kwargs", "reasoning_effort") if key in body}

    assert sent(None) == off
    assert takes(None)
    assert takes(True) == bool(facts)
    assert takes(False) == (not facts or facts.get("off") is not None)
    assert not takes("enormous")
    if facts:
        assert sent(True) == {}
    for level in levels:
        assert takes(level)
        assert sent(level) == {"reasoning_effort": level}


def test_insisting_on_what_cannot_be_names_the_way_out() -> None:
    """A model that always thinks says so to who insists, and names the least it can do."""
    with pytest.raises(cf.ModelError, match='reasoning="low"'):
        Generate(reasoning=False).check(find(OSS))
    with pytest.raises(cf.ModelError, match="leave reasoning= out"):
        Generate(reasoning=False).check(find("qwq-32b"))
    with pytest.raises(ValueError, match="'low', 'medium', 'high'"):
        Generate(reasoning="max").check(find(OSS))


@pytest.mark.parametrize(
    ("result", "answer", "thinking"),
    [
        ({"choices": [{"message": {"content": "Yes", "reasoning_content": "hm"}}]}, "Yes", "hm"),
        ({"choices": [{"message": {"content": "Yes", "reasoning": "hm"}}]}, "Yes", "hm"),
        ({"choices": [{"message": {"content": "Yes", "reasoning": {"odd": 1}}}]}, "Yes", None),
        ({"response": "<think>\nhm\n</think>\n\nYes"}, "Yes", "hm"),
        ({"response": "hm\n</think>\nYes"}, "Yes", "hm"),
        ({"response": "Yes <think>"}, "Yes <think>", None),
        ({"response": "Write <think> and </think>."}, "Write <think> and </think>.", None),
        ({"output": [{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
                     {"type": "message", "content": [{"type": "output_text", "text": "Yes"}]}]}, "Yes", "hm"),
    ],
)  # fmt: skip
def test_thinking_is_kept_apart(result: Any, answer: str, thinking: str | None) -> None:
    """Whatever its name and place, it is not part of the answer."""
    conversation = Generate().conversation(["?"], find(OPENAI))
    next(conversation)
    with pytest.raises(StopIteration) as end:
        conversation.send(Answer(json.dumps(result).encode()))
    assert end.value.value == [{"answer": answer, "thinking": thinking}]


@pytest.mark.parametrize("model", [OPENAI, "kimi-k2.6", "deepseek-r1-distill-qwen-32b"])
def test_thinking_is_shown_without_asking_again(emulator: Emulator, model: str) -> None:
    """A column of its own, out of the store; with a schema beside its fields."""
    told = FRAME.cfai.generate("Say {text}", model=model, reasoning=True)
    sent = emulator.requests
    shown = FRAME.cfai.generate("Say {text}", model=model, reasoning=True, thinking=True)
    assert emulator.requests == sent == 2
    assert shown["answer"].tolist()[::2] == told.tolist()[::2]
    assert shown["thinking"].iloc[0].startswith("[emulator] thinking")
    assert shown["thinking"].isna().tolist() == [False, True, False]
    typed = FRAME.cfai.generate("Say {text}", model=model, reasoning=True, thinking=True, schema={"mood": str})
    assert list(typed) == ["mood", "thinking"]
    with pytest.raises(ValueError, match="of this name"):
        FRAME.cfai.generate("Say {text}", thinking=True, schema={"thinking": str})


def test_effort_makes_thinking_longer(emulator: Emulator) -> None:
    """The stand-in thinks more sentences at a higher level."""
    kept = [
        FRAME.cfai.generate("Say {text}", model=OSS, reasoning=level, thinking=True)["thinking"].iloc[0]
        for level in ("low", "medium", "high")
    ]
    assert sorted(kept, key=len) == kept
    assert len(set(kept)) == 3


def test_a_limit_used_up_by_thinking_is_reported_as_that(emulator: Emulator) -> None:
    """The failed row says that thinking took it all, and names the limit."""
    with pytest.raises(cf.RowsFailed, match="used all of max_tokens=4 for reasoning and wrote no answer"):
        FRAME.cfai.generate("Say {text}", model=OSS, max_tokens=4)
    assert cf.last_run().failures["code"].tolist() == ["length", "length"]


# -- fine-tunes --------------------------------------------------------------------------------------------------------


def test_a_fine_tune_and_a_raw_prompt() -> None:
    """A fine-tune goes by its name, with messages or with the prompt as it is."""
    body = opening(Generate(lora="mine"), LORA)
    assert body["lora"] == "mine"
    assert body["messages"][-1]["content"] == "the prompt"
    body = opening(Generate(lora="mine", raw=True), LORA)
    assert {key: body[key] for key in ("lora", "prompt", "raw")} == {
        "lora": "mine",
        "prompt": "the prompt",
        "raw": True,
    }
    assert "messages" not in body


@pytest.mark.parametrize(
    ("options", "model", "words"),
    [
        ({"lora": "mine"}, OPENAI, LORA),
        ({"raw": True}, OPENAI, "raw="),
        ({"raw": True, "system": "x"}, LORA, "system="),
        ({"raw": True, "schema": {"a": int}}, LORA, "schema="),
        ({"n": 2, "schema": {"a": int}}, OPENAI, "n="),
        ({"n": 0}, OPENAI, "n=0"),
        ({"n": 129}, OPENAI, "128"),
        ({"reasoning": True}, LEGACY, "is not a reasoning model"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(options: dict[str, Any], model: str, words: str) -> None:
    """Each says what to leave out, or which models can."""
    with pytest.raises(ValueError, match=r".") as caught:
        Generate(**options).check(find(model))
    assert words in str(caught.value)


def test_every_option_is_documented_once() -> None:
    """The help of every verb lists its options, also those declared in a class above, and those of every call."""
    verbs = {name: verb for name, verb in vars(cf.Accessor).items() if hasattr(verb, "task")}
    assert len(verbs) > 20
    for name, verb in verbs.items():
        options = [field.name for field in dataclasses.fields(verb.task)]
        for option in ("on", *options, "model", "cache", "budget", "progress"):
            assert getattr(cf.Accessor, name).__doc__.count(f"\n{option} : ") == 1, (name, option)
    assert "Attributes" not in cf.Accessor.generate.__doc__
    assert "filter(on=None, condition=..., " in repr(pd.DataFrame().cfai.filter)
