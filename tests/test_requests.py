"""Every request the text verbs send, and every answer the emulator gives, against the published schemas."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
from emulator.test_schemas import SHARED, amended, published
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

import cfai_nb as cf
from cfai_nb.emulator.catalogue import models
from cfai_nb.emulator.errors import Refusal
from cfai_nb.emulator.families import FAMILIES
from cfai_nb.emulator.work import Ask
from cfai_nb.models import Model, catalogue
from cfai_nb.tasks import Answer, Local

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the published schemas are not beside this checkout")

TEXT = "What is the weather in Paris on day 3? Please tell me about it."
VERBS = {name: verb.task for name, verb in vars(cf.Accessor).items() if hasattr(verb, "task")}
CURRENT = [model for model in catalogue().values() if model.status == "current"]


def weather(city: str, day: int, unit: str = "C", places: list[str] | None = None) -> dict[str, Any]:
    """Say what the weather is in a city.

    Parameters
    ----------
    city : str
        Its name.
    day : int
        Of the month.
    """
    return {"city": city, "day": day, "sky": "clear"}


QUESTIONS = {"a": cf.yes_no("Is it?", yes="it is"), "b": cf.choice("x", "y"), "c": cf.scale("low", "high")}
#: What the verbs are asked with; a verb without options that must be given needs no line.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "embed": [
        {}, {"pooling": "cls"}, {"role": "query"}, {"role": "document"}, {"role": "query", "instruction": "find it"},
        {"truncate": True}, {"role": "document", "truncate": True},
    ],
    "classify": [{"labels": ["Positive", "negative"]}, {"labels": {"a": "first", "b": None}}],
    "ask": [{"questions": QUESTIONS}],
    "check": [{"condition": "It is about the weather."}],
    "filter": [{"condition": "It is about the weather."}],
    "score": [{"levels": ["calm", "annoyed", "furious"]}],
    "extract": [{"fields": ["city", "day: integer", "total: number", "due: date"]}],
    "translate": [{"to": "German"}, {"to": "hi"}],
    "mask": [{"labels": ["person", "email"]}],
    "moderate": [{}, {"categories": {"insults": "of persons", "spam": None}}],
    "rank": [{"query": "What is the weather?"}],
    "generate": [
        {}, {"system": "Be brief."}, {"seed": 3, "temperature": 0.5, "max_tokens": 400}, {"n": 3}, {"n": 2, "seed": 1},
        {"schema": {"city": str, "mood": ["glad", "sad"], "day": int | None}}, {"examples": [("What?", "That.")]},
        {"tools": [weather]}, {"tools": [weather], "schema": {"sky": str}}, {"lora": "mine"},
        {"lora": "mine", "raw": True}, {"raw": True}, {"reasoning": True}, {"reasoning": False},
        *({"reasoning": level} for level in sorted({
            level for model in CURRENT if model.reasoning for level in model.reasoning.get("levels") or ()
        })),
        {"reasoning": True, "tools": [weather]},
    ],
}  # fmt: skip


@cache
def inputs_of(model_id: str) -> Draft202012Validator | None:
    """The published input schema, with what is known beyond it."""
    return Draft202012Validator(amended(models()[model_id])) if model_id in published() else None


# -- where the published answers are not what the service answers, each with its reason -----------------------------


def corrected(model: Model, schema: Any) -> Any:
    """Return the published output schema without what is known to be wrong in it."""
    schema = copy.deepcopy(schema)
    if model.family == "legacy" and (fields := schema.get("properties")) is not None:
        # JSON mode answers with the parsed value, and a call of a tool may leave nothing to say (dossier 3.1, 3.2)
        fields.pop("response", None)
        schema.pop("required", None)
        if fields.get("tool_calls", {}).get("type") == "object":
            # generated from a TypeScript array type: it asks for the methods of Array.prototype
            fields.pop("tool_calls")
    return schema


@cache
def outputs_of(model_id: str) -> Draft202012Validator | None:
    """The published output schema."""
    model = catalogue()[model_id]
    path = SHARED / f"{model.name}.json"
    found = json.loads(path.read_text("utf-8")).get("output") if path.is_file() else None
    return None if found is None else Draft202012Validator(corrected(model, found))


def complaint(validator: Draft202012Validator | None, value: Any) -> str:
    """Say what a schema has against a value."""
    worst = None if validator is None else best_match(validator.iter_errors(value))
    return "" if worst is None else f"{worst.json_path}: {worst.message[:160]}"


def conversation(task: cf.Task, model: Model) -> Iterator[tuple[str, Any]]:
    """Hold a conversation with the emulator; yield what is sent and answered, and at last the cells."""
    inputs = [f"{TEXT} {number}" for number in range(min(task.batch(model), 3))]
    other = models()[model.id]
    talk = task.talk(inputs, model)
    try:
        step = next(talk)
        while True:
            if isinstance(step, Local):
                step = talk.send(step.do())
                continue
            body = json.loads(step.body())
            yield "request", body
            ask = Ask(other, body)
            FAMILIES[other.family].check(ask)
            result = FAMILIES[other.family].answer(ask).result
            yield "answer", json.loads(json.dumps(result))
            step = talk.send(Answer(json.dumps({"result": result, "success": True}).encode()))
    except StopIteration as end:
        yield "cells", end.value


def trouble(task: cf.Task, model: Model) -> list[str]:
    """Return everything that is wrong with one task on one model."""
    found = []
    try:
        for what, value in conversation(task, model):
            if what == "cells":
                task.tabulate(value)
                continue
            said = complaint(inputs_of(model.id) if what == "request" else outputs_of(model.id), value)
            found += [f"{model.name}: {what} {json.dumps(value)[:300]}: {said}"] if said else []
    except (Refusal, cf.CfaiError) as error:
        found.append(f"{model.name}: {type(error).__name__} {error.args}")
    return found


def accepted(task: cf.Task, model: Model) -> bool:
    """Whether the verb takes these options for this model."""
    try:
        task.check(model)
    except ValueError:
        return False
    return True


@cache
def cases(verb: str) -> list[tuple[cf.Task, Model]]:
    """Every task of a verb with every current model that it accepts."""
    tasks = [VERBS[verb](**options) for options in OPTIONS.get(verb, [{}])]
    return [(task, model) for task in tasks for model in CURRENT if accepted(task, model)]


@pytest.mark.parametrize("verb", VERBS)
def test_requests_and_answers_fit_the_published_schemas(verb: str) -> None:
    """For every model a verb accepts, each turn's request and its answer are valid, and the cells can be laid out."""
    assert cases(verb)
    assert [wrong for task, model in cases(verb) for wrong in trouble(task, model)] == []


def test_no_model_and_no_option_is_held_back() -> None:
    """Every model of the emulator's text families is reached by some verb, and every set of options by some model."""
    held = {model.id for verb in VERBS for _, model in cases(verb)}
    assert {model.id for model in CURRENT if model.family in FAMILIES} <= held
    used = {verb: [task for task, _ in cases(verb)] for verb in VERBS}
    assert [(verb, o) for verb in VERBS for o in OPTIONS.get(verb, [{}]) if VERBS[verb](**o) not in used[verb]] == []


def test_the_schemas_are_there_to_hold_against() -> None:
    """Only Clairic's schema is not published; every other text model is held against both of its schemas."""
    held = [model for verb in VERBS for _, model in cases(verb) if model.family in FAMILIES]
    assert {model.name for model in held if inputs_of(model.id) is None or outputs_of(model.id) is None} == {"clairic"}


@pytest.mark.parametrize("damage", [{"messages": [{"role": "user"}]}, {"messages": "x"}, {}])
def test_a_wrong_request_is_noticed(damage: Mapping[str, Any]) -> None:
    """The comparison finds what does not fit."""
    assert complaint(inputs_of(catalogue().find("glm-4.7-flash").id), damage)
