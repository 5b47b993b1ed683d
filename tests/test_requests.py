"""Every request the verbs send, and every answer the emulator gives, against the published schemas."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import io
import json
import math
import wave
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Any

import pytest
from emulator.test_schemas import amended
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from PIL import Image
from published import schemas

import cfai_nb as cf
from cfai_nb._engine.wire import Secret, Wire
from cfai_nb.emulator import Emulator
from cfai_nb.emulator.model_catalogue import models
from cfai_nb.emulator.service.model_listing import FAMILIES
from cfai_nb.media import Media, Parts, mime_of
from cfai_nb.media.source import of_bytes
from cfai_nb.models import Model, catalogue
from cfai_nb.tasks import Local, Request

TEXT = "What is the weather in Paris on day 3? Please tell me about it."
#: Verbs that ask a model of the catalogue; the converter of documents is none and publishes no schema.
TASKS = {name: verb.task for name, verb in vars(cf.Accessor).items() if hasattr(verb, "task")}
VERBS = {name: task for name, task in TASKS.items() if isinstance(task.default_model, str)}
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
#: Stands for bytes that are no JSON: a text, in the words of the schemas.
RAW = "raw bytes"
#: What the verbs are asked with, here, in ``freeze.py`` and (the first of each) in ``verb_cases.py``.  A verb with
#: an option that must be given needs a line; other lines are there for requests that look different.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "embed": [
        {}, {"pooling": "cls"}, {"role": "query"}, {"role": "document"}, {"role": "query", "instruction": "find it"},
        {"truncate": True}, {"role": "document", "truncate": True},
    ],
    "classify": [{}, {"labels": ["Positive", "negative"]}, {"labels": {"a": "first", "b": None}}],
    "ask": [{"questions": QUESTIONS}],
    "check": [{"condition": "It is about the weather."}],
    "filter": [{"condition": "It is about the weather."}],
    "score": [{"levels": ["calm", "annoyed", "furious"]}],
    "extract": [
        {"fields": ["city", "day: integer", "total: number", "due: date", "wait: duration"]},
        {"fields": {"wet": cf.estimate("rain in mm", min=0, max=90)}},
        {"fields": {"warm": cf.forecast("degrees", min=-9, max=50, horizon=3)}},
    ],
    "detect": [{"target": "car"}],
    "image": [
        {}, {"seed": 3}, {"size": 512}, {"size": (512, 768), "steps": 4}, {"guidance": 5.0}, {"negative_prompt": "fog"},
    ],
    "caption": [{}, {"question": "What is it?"}],
    "speak": [{}, {"voice": "luna"}, {"language": "fr"}, {"format": "wav"}],
    "transcribe": [{}, {"language": "de"}, {"translate_to_english": True}, {"prompt": "Rome"}, {"speakers": True}],
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
def inputs_of(model_id: str, raw: bool = False) -> Draft202012Validator | None:
    """The published input schema, with what is known beyond it; for raw bytes as it stands in the file."""
    if model_id not in schemas():
        return None
    return Draft202012Validator(schemas()[model_id]["input"] if raw else amended(models()[model_id]))


# -- where the published answers are not what the service answers, each with its reason -----------------------------


def corrected(model: Model, schema: Any) -> Any:
    """Return the published output schema without what is known to be wrong in it."""
    schema = copy.deepcopy(schema)
    if model.family == "legacy" and (fields := schema.get("properties")) is not None:
        # JSON mode answers with the parsed value, and a call of a tool may leave nothing to say
        fields.pop("response", None)
        schema.pop("required", None)
        if fields.get("tool_calls", {}).get("type") == "object":
            # generated from a TypeScript array type: it asks for the methods of Array.prototype
            fields.pop("tool_calls")
    return schema


@cache
def outputs_of(model_id: str) -> Draft202012Validator | None:
    """The published output schema."""
    found = schemas().get(model_id)
    return None if found is None else Draft202012Validator(corrected(catalogue()[model_id], found["output"]))


def complaint(validator: Draft202012Validator | None, value: Any) -> str:
    """Say what a schema has against a value."""
    worst = None if validator is None else best_match(validator.iter_errors(value))
    return "" if worst is None else f"{worst.json_path}: {worst.message[:160]}"


# -- what is sent ------------------------------------------------------------------------------------------------------


def picture() -> Media:
    """Return a small picture."""
    drawn = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(drawn, "PNG")
    return of_bytes(drawn.getvalue(), "a.png")


def hum() -> Media:
    """Return half a second of sound."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(
            b"".join(int(9000 * math.sin(at / 8)).to_bytes(2, "little", signed=True) for at in range(8000))
        )
    return of_bytes(made.getvalue(), "a.wav")


def inputs_for(task: cf.Task, model: Model) -> list[list[Any]]:
    """Return what the task can be given for the model: texts, pictures or sound, and texts with either in them."""
    taken = task.input_kinds(model)
    texts = [[f"{TEXT} {number}" for number in range(min(task.batch(model), 3))]] if "text" in taken else []
    media = [made() for kind, made in {"image": picture, "audio": hum}.items() if kind in taken]
    return texts + [[Parts((TEXT, each))] for each in media] if texts else [[each] for each in media]


def plain(request: Request, model: Model) -> Any:
    """Return a request as the JSON value that its published schema speaks of."""
    known = inputs_of(model.id)
    fields = {} if known is None else known.schema.get("properties", {})
    if request.form is not None:  # a form has texts alone: numbers are meant where the schema has numbers
        kinds = {"integer": int, "number": float}
        typed = {name: kinds.get(fields.get(name, {}).get("type"), str) for name in request.form}
        return {
            name: "a file" if isinstance(value, tuple) else typed[name](value) for name, value in request.form.items()
        }
    if request.content is None:
        return json.loads(request.body())
    if model.family != "nova-3":
        return RAW
    # It takes bytes, and its options in the address, where keyterm may repeat; the schema is that of the binding.
    options = {name: value[0] if isinstance(value, list) else value for name, value in request.query.items()}
    options = {name: value == "true" if value in ("true", "false") else value for name, value in options.items()}
    return {"audio": {"body": {}, "contentType": request.content_type}, **options}


async def sent(task: cf.Task, model: Model, inputs: list[Any], wire: Wire) -> AsyncIterator[Request]:
    """Hold a conversation with the emulator and yield each request; one that goes wrong ends there."""
    talk = task.conversation(inputs, model)
    with contextlib.suppress(StopIteration, cf.CfaiError, ValueError):
        step = next(talk)
        while True:
            if isinstance(step, Local):
                step = talk.send(step.do())
                continue
            yield step
            step = talk.send(await wire.send(step, model.id))


async def conversation(task: cf.Task, model: Model, inputs: list[Any], wire: Wire) -> AsyncIterator[tuple[str, Any]]:
    """Hold a conversation with the emulator; yield what is sent and answered, and at last the cells."""
    talk = task.conversation(inputs, model)
    try:
        step = next(talk)
        while True:
            if isinstance(step, Local):
                step = talk.send(step.do())
                continue
            yield "request", plain(step, model)
            answer = await wire.send(step, model.id)
            yield "answer", RAW if mime_of(answer.content) != "application/octet-stream" else answer.json
            step = talk.send(answer)
    except StopIteration as end:
        yield "cells", end.value


async def trouble(task: cf.Task, model: Model, wire: Wire) -> list[str]:
    """Return everything that is wrong with one task on one model."""
    found = []
    for inputs in inputs_for(task, model):
        try:
            async for what, value in conversation(task, model, inputs, wire):
                if what == "cells":
                    task.to_columns(value)
                    continue
                said = complaint(
                    inputs_of(model.id, value == RAW) if what == "request" else outputs_of(model.id), value
                )
                found += [f"{model.name}: {what} {json.dumps(value)[:300]}: {said}"] if said else []
        except (cf.CfaiError, ValueError) as error:
            found.append(f"{model.name}: {type(error).__name__} {error} for {inputs}")
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
    needed = {each.name for each in dataclasses.fields(VERBS[verb]) if each.default is dataclasses.MISSING}
    assert verb in OPTIONS or not needed, f"give {verb} a line in OPTIONS of tests/test_requests.py, with {needed}"
    tasks = [VERBS[verb](**options) for options in OPTIONS.get(verb, [{}])]
    return [(task, model) for task in tasks for model in CURRENT if accepted(task, model)]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_requests_and_answers_fit_the_published_schemas(verb: str) -> None:
    """For every model a verb accepts, each turn's request and its answer are valid, and the cells can be laid out."""
    assert cases(verb)
    wire = Wire(
        f"http://emulator/client/v4/accounts/{'a' * 32}", Secret("x" * 40), Emulator(rate=None, terms_accepted=True)
    )

    async def all_of_them() -> list[str]:
        return [wrong for task, model in cases(verb) for wrong in await trouble(task, model, wire)]

    assert asyncio.run(all_of_them()) == []


def test_no_model_and_no_option_is_held_back() -> None:
    """Every model the emulator answers for is reached by some verb, and every set of options by some model."""
    held = {model.id for verb in VERBS for _, model in cases(verb)}
    assert {model.id for model in CURRENT if model.family in FAMILIES} - held == set()
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
