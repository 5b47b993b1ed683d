"""The emulator against the published schemas: it refuses if and only if they refuse, and answers as they say."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from published import schemas

from cfai_nb.emulator.error_codes import ServiceError
from cfai_nb.emulator.families import ModelRequest
from cfai_nb.emulator.families.audio_models import FORMATS, speak
from cfai_nb.emulator.families.prompts import EFFORTS
from cfai_nb.emulator.model_catalogue import Model, models
from cfai_nb.emulator.service.model_listing import FAMILIES
from cfai_nb.emulator.standins.image_drawing import Order, draw

from .conftest import BGE, GLM, LEGACY, OSS, TALK, spots


@cache
def published() -> dict[str, Any]:
    """Every published input schema, by model; where the body may be raw bytes instead of JSON, that of the JSON."""
    return {
        name: next((part for part in one["input"].get("oneOf", []) if "x-body" not in part), one["input"])
        for name, one in schemas().items()
    }


UNBOUND = ("@cf/leonardo/phoenix-1.0", "@cf/bytedance/stable-diffusion-xl-lightning", "@cf/lykon/dreamshaper-8-lcm")

EMULATED = [model for model in models().values() if model.status == "current" and model.family in FAMILIES]


# -- where the emulator knows better than the schema, each with its reason ------------------------------------------


def each(schema: Any, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Apply a change to every property of a name, wherever it stands."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and isinstance(schema["properties"].get(name), dict):
            change(schema["properties"][name])
        for part in schema.values():
            each(part, name, change)
    elif isinstance(schema, list):
        for part in schema:
            each(part, name, change)


def bound(**limits: float) -> Callable[[dict[str, Any]], None]:
    """Return a change that bounds a number."""

    def change(part: dict[str, Any]) -> None:
        numbers = [one for one in part.get("anyOf", [part]) if one.get("type") == "number"]
        for number in numbers:
            number.update(limits)

    return change


def tools_as_sent(schema: Any) -> None:
    """Loosen what a tool's parameters hold: published rules that the service does not enforce."""

    def change(part: dict[str, Any]) -> None:
        if "properties" in part:
            part["properties"]["properties"] = {"type": "object"}
            part["required"] = [name for name in part.get("required", []) if name != "required"]

    each(schema, "parameters", change)


def or_bare(part: dict[str, Any]) -> None:
    """Let a schema stand where a wrapped one is declared."""
    wrapped = dict(part)
    part.clear()
    part["anyOf"] = [wrapped, {"type": "object", "not": {"required": ["schema"]}}]


def amended(model: Model) -> dict[str, Any]:
    """Return the published schema with what was observed or written elsewhere, and lost in the stored schemas."""
    schema = copy.deepcopy(published()[model.id])
    if model.family == "legacy":
        # observed: a larger temperature is a 5006; the stored schemas have lost their bounds
        each(schema, "temperature", bound(maximum=5))
        # Cloudflare's own suites send parameters without a description or a type to these models
        tools_as_sent(schema)
    if model.family in ("openai", "responses+chat"):
        # Cloudflare's own clients send the bare schema, without OpenAI's wrapper; a level that a model lacks is mapped
        each(schema, "json_schema", or_bare)
        each(schema, "reasoning_effort", lambda part: part.update(anyOf=[{"enum": [*EFFORTS]}, {"type": "null"}]))
        # documented ranges that the stored schemas have lost
        each(schema, "n", bound(minimum=1, maximum=128))
        each(schema, "top_logprobs", bound(minimum=0, maximum=20))
    if model.id == "@cf/meta/llama-3.3-70b-instruct-fp8-fast":
        # its batch branch requires nothing, so the stored schema would let any object through
        schema["anyOf"][2]["required"] = ["requests"]
    if model.id == "@cf/baai/bge-m3":
        # 100 texts a call, by analogy with its sisters
        schema["anyOf"][0]["properties"]["contexts"]["maxItems"] = 100
        schema["anyOf"][1]["properties"]["text"]["anyOf"][1]["maxItems"] = 100
    if model.id in UNBOUND:
        # the generic types have no bounds; its siblings' documented ones hold, or one call could ask for a terapixel
        for name in ("width", "height"):
            each(schema, name, bound(minimum=0 if model.family == "phoenix" else 256, maximum=2048))
        each(schema, "num_steps", bound() if model.family == "phoenix" else bound(maximum=20))
    if model.family == "moondream":
        # documented in prose: only a query can do without a picture
        query = {"properties": {"task": {"const": "query"}}}
        schema["anyOf"] = [query, {"required": ["image"]}]
    if model.family == "system-one":
        # the note x-key, as a rule
        schema["properties"]["questions"]["propertyNames"] = {"pattern": r"^[A-Za-z0-9_.\-]{1,100}$"}
    return schema


@cache
def validator(model_id: str) -> Draft202012Validator:
    """The validator of an amended schema."""
    return Draft202012Validator(amended(models()[model_id]))


def refused_by_schema(model: Model, body: dict[str, Any]) -> bool:
    """Return whether the service would refuse a body, by its schema and by what no schema says."""
    if model.family == "responses+chat":
        # the service looks at which of the forms is present; the stored schema takes either for anything
        chat = "messages" in body and "input" not in body
        branch = amended(model)["anyOf"][1 if chat else 0]
        if not chat and "input" not in body and not isinstance(body.get("prompt"), str):
            return True
        return not Draft202012Validator(branch).is_valid(body) or json_in_stream(body)
    if not validator(model.id).is_valid(body):
        return True
    needed = {
        "legacy": ("prompt", "messages", "requests"),
        "qwen3-embedding": ("text", "documents", "queries"),
    }.get(model.family)
    if needed and not set(needed) & body.keys():
        return True  # the schema requires nothing, but there is nothing to answer
    return model.family in ("legacy", "openai") and json_in_stream(body)


def json_in_stream(body: dict[str, Any]) -> bool:
    """JSON mode and streaming do not combine (documented in prose only)."""
    form = (body.get("response_format") or {}).get("type") or ((body.get("text") or {}).get("format") or {}).get("type")
    return bool(body.get("stream")) and (form in ("json_object", "json_schema") or "guided_json" in body)


def refused_by_emulator(model: Model, body: dict[str, Any]) -> bool:
    """Return whether the emulator refuses a body as bad input."""
    try:
        FAMILIES[model.family].validate(ModelRequest(model, body))
    except ServiceError as refusal:
        return refusal.code == 5006
    return False


# -- inputs, valid by construction and then mutated -----------------------------------------------------------------

JUNK = [None, True, 3, -1, 1.5, "", "x", [], {}, [1], [""], {"type": "text"}, "function", 1e9, ["a"] * 101]
ANYTHING = st.sampled_from(["text", 1, True, None, {"a": 1}, ["b"]])


def instance(schema: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of values that fit a schema (the keywords the published ones use)."""
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return st.one_of([instance(part) for part in schema[word]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            if "pattern" in schema:
                return st.just(schema["pattern"].removeprefix("^") + "png;base64,QUJD")
            return st.sampled_from(["a", "hello there", "Straße", "x" * 30])
        case "number" | "integer":
            return st.integers(1, 4)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            items = instance(schema.get("items", {}))
            return st.lists(items, min_size=schema.get("minItems", 0), max_size=max(3, schema.get("minItems", 0)))
        case "object":
            return objects(schema)
        case _:
            return ANYTHING


def objects(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of objects: everything required, some of the rest."""
    known = schema.get("properties", {})
    required = [name for name in schema.get("required", []) if name in known]
    optional = sorted(set(known) - set(required))

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=2)) if optional else []
        value = {name: draw(instance(known[name])) for name in [*required, *chosen]}
        if isinstance(schema.get("additionalProperties"), dict) and not known:
            least = schema.get("minProperties", 0)
            for name in draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=least, max_size=max(2, least))):
                value[name] = draw(instance(schema["additionalProperties"]))
        return value

    return build()


@st.composite
def mutated(draw: st.DrawFn, schema: Any) -> dict[str, Any]:
    """Return a fitting object that was damaged in up to two places."""
    value = copy.deepcopy(draw(instance(schema)))
    for _ in range(draw(st.integers(0, 2))):
        places = list(spots(value))
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        parent = value
        for step in way:
            parent = parent[step]
        if draw(st.booleans()):
            del parent[last]
        else:
            parent[last] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return dict(value)


@pytest.mark.slow
@pytest.mark.parametrize("model", EMULATED, ids=lambda model: model.short)
def test_refuses_exactly_what_the_published_schema_refuses(model: Model) -> None:
    """Of inputs near the schema, the emulator refuses those that the published schema refuses, and no others."""
    if model.id not in published():
        pytest.skip("no schema is published for this model")

    @settings(max_examples=20, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(mutated(published()[model.id]))
    def compare(body: dict[str, Any]) -> None:
        assert refused_by_emulator(model, body) == refused_by_schema(model, body), json.dumps(body)

    compare()


PARAMETERS = {"type": "object", "properties": {}}
TOOLS = [{"type": "function", "function": {"name": "greet", "description": "", "parameters": PARAMETERS}}]
#: Model, a body that it accepts, and fields that it does not declare.
UNDECLARED = [
    (OSS, {"input": "Hello there."}, "n stop max_tokens max_completion_tokens response_format messages prompt"),
    (GLM, {"messages": TALK}, "max_output_tokens text input"),
    (LEGACY, {"prompt": "Hello there.", "tools": TOOLS}, "n stop input tool_choice"),
    ("@cf/qwen/qwen3-30b-a3b-fp8", {"prompt": "Hello there."}, "n messages"),
    (BGE, {"text": "Hello there."}, "query contexts documents"),
    ("@cf/baai/bge-m3", {"text": "Hello there."}, "query contexts"),
]


@pytest.mark.parametrize(("model", "body", "names"), UNDECLARED)
def test_a_field_that_is_not_declared_may_hold_anything(door: Any, model: str, body: Any, names: str) -> None:
    """It is not checked, so no value of it is a failure, and texts are embedded as they are without it."""
    here = door()
    usual = here.result(model, body)
    for name in names.split():
        for value in (5, True, "x", ["x"], {"x": 1}, {"function": 5}, [5]):
            found = here.result(model, {**body, name: value})
            assert [found.get(part) for part in ("shape", "data")] == [usual.get(part) for part in ("shape", "data")]


def test_copies_are_charged_where_there_are_any(door: Any) -> None:
    """``n`` is a field of Chat Completions; Responses does not declare it and gives one answer."""
    here = door()
    made = [here.result(OSS, {"input": "Hello there.", **more})["usage"]["output_tokens"] for more in ({}, {"n": 3})]
    assert made[0] == made[1]


ESTIMATE = '{"model": "clairic", "state": "5", "fields": {"a": {"type": "estimate", "min": 0, "max": 1e400}}}'
TOO_LARGE = [
    ("/run/@cf/leonardo/phoenix-1.0", '{"prompt": "a", "seed": 1e400}'),
    ("/run/@cf/bytedance/stable-diffusion-xl-lightning", '{"prompt": "a", "seed": -1e400}'),
    ("/run/@cf/cloudflare/clairic", ESTIMATE),
    ("../vectorize/v2/indexes/docs/query", '{"vector": [1, 0], "topK": 1e400}'),
    ("../vectorize/v2/indexes/docs/query", '{"vector": [1, 0], "topK": NaN}'),
    ("../ai-search/instances/docs/search", '{"query": "a", "ai_search_options": NaN}'),
]  # fmt: skip


@pytest.mark.parametrize(("path", "raw"), TOO_LARGE)
def test_a_number_that_no_float_holds_is_refused(door: Any, path: str, raw: str) -> None:
    """It is a bad input, and not a failure of the emulator."""
    here = door()
    here.ask("POST", "../vectorize/v2/indexes", json={"name": "docs", "config": {"dimensions": 2, "metric": "cosine"}})
    here.ask("POST", "../ai-search/instances", json={"id": "docs"})
    answer = here.ask("POST", path, content=raw, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["success"]) in [(400, False), (422, False)], answer.text


def test_a_whole_number_may_have_a_decimal_point(door: Any) -> None:
    """JSON Schema counts 2.0 as an integer, and so does every place that counts with it."""
    here = door()
    ranked = here.result("@cf/baai/bge-reranker-base", {"query": "a", "contexts": [{"text": "a"}] * 3, "top_k": 2.0})
    assert len(ranked["response"]) == 2
    fields = {
        "cost": {"type": "number", "decimals": 1.0},
        "next": {"type": "forecast", "min": 0, "max": 9, "horizon": 3.0},
    }
    found = here.result("@cf/cloudflare/clairic", {"model": "clairic", "state": "It cost 7.25.", "fields": fields})
    assert (found["answers"]["cost"]["value"], len(found["answers"]["next"]["value"])) == (7.2, 3)


def test_a_duration_has_a_unit_of_time(door: Any) -> None:
    """Any other unit is a bad definition of the field."""
    body = {"model": "clairic", "state": "3 days", "fields": {"a": {"type": "duration", "unit": "inch"}}}
    answer = door().run("@cf/cloudflare/clairic", body)
    assert answer.status_code == 422
    assert "needs a unit from second, minute" in answer.text


# -- answers --------------------------------------------------------------------------------------------------------

SHAPES = "two blue squares and a red circle"


@cache
def samples() -> dict[str, Any]:
    """A picture and a recording, as bytes and in the forms JSON carries them in."""
    picture, (sound, _) = draw(Order(SHAPES, 300, 300)), speak("A fox. It jumps.", FORMATS["linear16"], 16000)
    return {
        "picture": picture,
        "sound": sound,
        "numbers": list(picture),
        "uri": "data:image/png;base64," + base64.b64encode(picture).decode(),
        "samples": list(sound),
        "base64": base64.b64encode(sound).decode(),
    }


def requests(model: Model) -> Iterator[dict[str, Any]]:
    """Yield requests to a model of each form it takes, as arguments of an HTTP client."""
    have, prompt = samples(), {"prompt": SHAPES}
    talk = {"messages": [{"role": "user", "content": "Hello there."}]}
    clef = {
        "noul": {"type": "noul", "instructions": "Is it blue?"},
        "choice": {"type": "choice", "instructions": "Which?", "criteria": {"a": None, "b": None}},
        "score": {"type": "score", "instructions": "How?", "criteria": ["low", "high"]},
    }
    decide = {"model": model.short, "state": "blue", "questions": clef}
    skills = [
        {"task": "query"},
        {"task": "caption"},
        *({"task": name, "target": "square"} for name in ("point", "detect")),
    ]
    bodies: dict[str, list[dict[str, Any]]] = {
        **{key: [{"text": "x"}] for key in ("bge", "bge-m3", "qwen3-embedding", "plain-embedding")},
        "distilbert": [{"text": "Lovely."}],
        "reranker": [{"query": "a", "contexts": [{"text": "b"}]}],
        "m2m100": [{"text": "Hello.", "target_lang": "de"}],
        "indictrans2": [{"text": "Hello.", "target_language": "hin_Deva"}],
        "system-one": [decide, {**decide, "images": [have["uri"]]}],
        **{key: [prompt] for key in ("flux-1", "lucid", "phoenix")},
        "stable-diffusion": [prompt, {**prompt, "image": have["numbers"]}],
        "resnet": [{"image": have["numbers"]}],
        "llava": [{"image": have["numbers"]}, {"image": have["uri"], "prompt": "How many squares?"}],
        "moondream": [{**skill, "image": have["uri"]} for skill in skills],
        "aura": [{"text": "A fox."}],
        "melotts": [prompt],
        "whisper": [{"audio": have["samples"]}],
        "whisper-turbo": [{"audio": have["base64"]}],
    }
    forms = FAMILIES[model.family].forms
    if "json" in forms:
        yield from ({"json": body} for body in bodies.get(model.family, [talk]))
    if "form" in forms:
        yield {"files": {"prompt": (None, SHAPES), "input_image_0": ("a.png", have["picture"], "image/png")}}
    if "raw" in forms:
        kind = "image/png" if model.has("vision") else "audio/wav"
        yield {"content": have["picture" if model.has("vision") else "sound"], "headers": {"content-type": kind}}


@pytest.mark.slow
@pytest.mark.parametrize("model", EMULATED, ids=lambda model: model.short)
def test_answers_as_the_published_schema_says(door: Any, model: Model) -> None:
    """Every answer, in every form the model can be asked in, fits the published output schema of that very model."""
    if model.id not in schemas():
        pytest.skip("no schema is published for this model")
    schema = schemas()[model.id]["output"]
    here = door(terms_accepted=True)
    for arguments in requests(model):
        answer = here.ask("POST", f"/run/{model.id}", **arguments)
        assert answer.status_code == 200, answer.text
        bare = not answer.headers["content-type"].startswith("application/json")
        Draft202012Validator(schema).validate(answer.content.decode("latin-1") if bare else answer.json()["result"])


def test_most_emulated_models_have_a_schema_to_compare_with() -> None:
    """The comparison covers every emulated current model but Clairic, the one without a published schema."""
    assert [model.id for model in EMULATED if model.id not in published()] == ["@cf/cloudflare/clairic"], (
        "the published schemas of the others are missing; tests/data/README.md says how to add them"
    )
