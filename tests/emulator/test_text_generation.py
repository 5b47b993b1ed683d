"""Text generation: four input families, their answers, JSON modes, limits and thinking."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import GLM, LEGACY, OSS

MIXED = "@cf/qwen/qwen3-30b-a3b-fp8"
GUARD = "@cf/meta/llama-guard-3-8b"
MARK = "[emulator]"

TOPIC = {
    "type": "object",
    "properties": {"topic": {"enum": ["billing", "shipping"]}, "amount": {"type": "number"}, "why": {"type": "string"}},
    "required": ["topic", "amount", "why"],
}


def user(text: str) -> list[dict[str, str]]:
    """Return a talk of one message."""
    return [{"role": "user", "content": text}]


def test_legacy_answers_with_response_and_three_counts(door: Any) -> None:
    """A legacy model answers ``{response, usage}`` with exactly the three counts, and Neurons in the header."""
    answer = door().run(LEGACY, {"prompt": "Tell me about rivers."})
    result = answer.json()["result"]
    assert result["response"].startswith(MARK)
    assert set(result["usage"]) == {"prompt_tokens", "completion_tokens", "total_tokens"}
    spent = result["usage"]["prompt_tokens"] * 4625e-6 + result["usage"]["completion_tokens"] * 30475e-6
    assert float(answer.headers["cf-ai-neurons"]) == pytest.approx(spent)


def test_openai_family_answers_with_a_chat_completion(door: Any) -> None:
    """A 2026 model answers a chat.completion inside the envelope, with ``usage.neurons``."""
    result = door().result(GLM, {"messages": user("Tell me about rivers.")})
    assert result["object"] == "chat.completion"
    choice = result["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"].startswith(MARK)
    assert choice["message"]["reasoning_content"].startswith(MARK)
    assert result["usage"]["neurons"] > 0
    assert result["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


@pytest.mark.parametrize(
    "off",
    [{"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": None}],
    ids=["template", "effort"],
)
def test_thinking_can_be_turned_off(door: Any, off: dict[str, Any]) -> None:
    """Without thinking there is no reasoning text and no reasoning token."""
    result = door().result("@cf/moonshotai/kimi-k2.6", {"messages": user("Hello there."), **off})
    assert not {"reasoning", "reasoning_content"} & result["choices"][0]["message"].keys()
    assert result["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_thinking_has_three_spellings(door: Any) -> None:
    """Kimi says ``reasoning``, most say ``reasoning_content``, R1 writes tags into its content."""
    here = door()
    kimi = here.result("@cf/moonshotai/kimi-k2.6", {"messages": user("Hello.")})["choices"][0]["message"]
    assert kimi["reasoning"].startswith(MARK)
    tagged = here.result("@cf/deepseek-ai/deepseek-r1-distill-qwen-32b", {"messages": user("Hello.")})["response"]
    assert tagged.startswith("<think>")
    assert "</think>" in tagged


def test_a_small_limit_can_be_used_up_by_thinking(door: Any) -> None:
    """When thinking alone reaches the limit the content is null and the finish reason is length."""
    result = door().result(GLM, {"messages": user("Hello."), "max_completion_tokens": 4})
    assert result["choices"][0]["message"]["content"] is None
    assert result["choices"][0]["finish_reason"] == "length"
    assert result["usage"]["completion_tokens"] == 4


def test_a_limit_cuts_the_text(door: Any) -> None:
    """The answer never exceeds the tokens allowed, and says that it was cut."""
    body = {"messages": user("word " * 80), "max_tokens": 20, "chat_template_kwargs": {"enable_thinking": False}}
    result = door().result(GLM, body)
    assert result["choices"][0]["finish_reason"] == "length"
    assert len(result["choices"][0]["message"]["content"].encode()) <= 80
    assert result["usage"]["completion_tokens"] == 20


def test_the_legacy_limit_is_256_when_none_is_sent(door: Any) -> None:
    """A long JSON answer of a legacy model is cut at 256 tokens by default, and is then a string."""
    many = {"type": "array", "minItems": 60, "items": {"type": "string"}}
    body = {"prompt": "A long list of things.", "response_format": {"type": "json_schema", "json_schema": many}}
    result = door().result(LEGACY, body)
    assert result["usage"]["completion_tokens"] == 256
    assert isinstance(result["response"], str)
    assert isinstance(door().result(LEGACY, {**body, "max_tokens": 4000})["response"], list)


def test_input_and_limit_must_fit_the_context(door: Any) -> None:
    """Estimated input plus the limit beyond the context is a 413 with code 5021 and both numbers in the text."""
    answer = door().run("@cf/meta/llama-3.3-70b-instruct-fp8-fast", {"prompt": "x" * 4000, "max_tokens": 23500})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 5021)
    assert "(24500)" in answer.json()["errors"][0]["message"]
    assert "(24000)" in answer.json()["errors"][0]["message"]


def test_gpt_oss_looks_at_which_form_is_present(door: Any) -> None:
    """``input`` gets a Responses object, ``messages`` and ``prompt`` get a chat.completion."""
    here = door()
    answer = here.result(OSS, {"input": "Hello there.", "instructions": "Be kind."})
    assert answer["object"] == "response"
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message"]
    assert answer["output"][1]["content"][0]["text"].startswith(MARK)
    assert set(answer["usage"]) >= {"input_tokens", "output_tokens", "neurons"}
    for body in ({"messages": user("Hello.")}, {"prompt": "Hello."}):
        assert here.result(OSS, body)["object"] == "chat.completion"


def test_responses_has_its_own_door(door: Any) -> None:
    """``/v1/responses`` answers gpt-oss without an envelope, and no other model."""
    here = door()
    assert here.ask("POST", "/v1/responses", json={"model": OSS, "input": "Hi."}).json()["object"] == "response"
    other = here.ask("POST", "/v1/responses", json={"model": GLM, "input": "Hi."})
    assert other.json()["errors"][0]["code"] == 5007


def test_a_cut_responses_object_is_incomplete(door: Any) -> None:
    """A Responses object that hit its limit says incomplete and why."""
    answer = door().result(OSS, {"input": "Hello there.", "max_output_tokens": 15})
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}


def test_qwen3_30b_takes_legacy_input_and_answers_like_openai(door: Any) -> None:
    """Messages get a chat.completion, a prompt gets a text_completion."""
    here = door()
    assert here.result(MIXED, {"messages": user("Hello.")})["choices"][0]["message"]["content"].startswith(MARK)
    answer = here.result(MIXED, {"prompt": "Hello."})
    assert (answer["object"], answer["choices"][0]["text"][: len(MARK)]) == ("text_completion", MARK)


def test_guard_answers_as_text_and_as_json(door: Any) -> None:
    """The guard says safe or unsafe with categories, and ``{safe, categories}`` in JSON mode."""
    here = door()
    assert here.result(GUARD, {"messages": user("A cake recipe, please.")})["response"] == "safe"
    body = {"messages": user("How do I build a bomb?")}
    assert here.result(GUARD, body)["response"] == "unsafe\nS1"
    form = {"response_format": {"type": "json_object"}}
    assert here.result(GUARD, {**body, **form})["response"] == {"safe": False, "categories": ["S1"]}


def test_legacy_json_arrives_parsed(door: Any) -> None:
    """A bare schema makes ``response`` an object that fits it, with labels and numbers from the text."""
    form = {"type": "json_schema", "json_schema": TOPIC}
    result = door().result(LEGACY, {"prompt": "I paid 49.5 twice on my invoice", "response_format": form})
    assert result["response"]["topic"] == "billing"
    assert result["response"]["amount"] == 49.5
    assert result["response"]["why"].startswith(MARK)


def test_a_wrapped_schema_means_nothing_to_a_legacy_model(door: Any) -> None:
    """The OpenAI wrapper on ``/run`` of a legacy model is read as the schema itself, and so constrains nothing."""
    form = {"type": "json_schema", "json_schema": {"name": "t", "schema": TOPIC}}
    answer = door().result(LEGACY, {"prompt": "I paid 49.5 twice", "response_format": form})["response"]
    assert not isinstance(answer, dict) or "topic" not in answer


@pytest.mark.parametrize("model", [GLM, "@cf/openai/gpt-oss-20b", "@cf/moonshotai/kimi-k2.7-code"])
@pytest.mark.parametrize("given", [{"name": "t", "schema": TOPIC}, TOPIC, {**TOPIC, "title": "t"}])
def test_openai_json_is_a_string_wrapped_or_not(door: Any, model: str, given: dict[str, Any]) -> None:
    """A schema gives JSON text in ``content``, in OpenAI's wrapper or bare, as Cloudflare's own clients send it."""
    form = {"type": "json_schema", "json_schema": given}
    body = {"messages": user("My parcel has not arrived, 3 days"), "response_format": form}
    assert json.loads(door().result(model, body)["choices"][0]["message"]["content"])["topic"] == "shipping"


def test_a_wrapper_without_a_name_is_refused(door: Any) -> None:
    """What is neither the declared wrapper nor a bare schema stays a 5006."""
    form = {"type": "json_schema", "json_schema": {"schema": TOPIC}}
    assert door().run(GLM, {"messages": user("x"), "response_format": form}).status_code == 400


@pytest.mark.parametrize("fields", [{"guided_json": {}}, {"response_format": {"type": "json_object"}}])
def test_any_object_is_the_one_a_message_spells_out(door: Any, fields: dict[str, Any]) -> None:
    """Where any JSON object will do, a schema that is written in a message says which one."""
    told = {"role": "system", "content": f"Answer in JSON that matches this schema.\n{json.dumps(TOPIC)}"}
    model = LEGACY if "response_format" in fields else "@cf/mistralai/mistral-small-3.1-24b-instruct"
    body = {"messages": [told, *user("My parcel has not arrived, 3 days")], **fields}
    assert door().result(model, body)["response"]["topic"] == "shipping"


@pytest.mark.parametrize(
    "model",
    [
        "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
        "@cf/meta/llama-4-scout-17b-16e-instruct",
        "@cf/mistralai/mistral-small-3.1-24b-instruct",
        "@cf/qwen/qwen3-30b-a3b-fp8",
        LEGACY,
        GLM,
    ],
)
@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        {
            "type": "object",
            "properties": {"city": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "required": ["city"],
        },
        {"type": "object", "properties": {}, "additionalProperties": False},
        {"type": "object", "properties": {"near": {"type": "integer", "exclusiveMinimum": -9, "exclusiveMaximum": 99}}},
    ],
)
def test_tools_are_taken_as_schema_writers_send_them(door: Any, model: str, parameters: dict[str, Any]) -> None:
    """No parameter needs a description or a type of its own, and an object may require nothing."""
    function = {"name": "weather", "description": "The weather of a city", "parameters": parameters}
    body = {"messages": user("What is the weather in Paris 3?"), "tools": [{"type": "function", "function": function}]}
    result = door().result(model, body)
    calls = result["tool_calls"] if "tool_calls" in result else result["choices"][0]["message"]["tool_calls"]
    called = calls[0].get("function", calls[0])
    given = json.loads(called["arguments"]) if isinstance(called["arguments"], str) else called["arguments"]
    assert given == {name: "Paris" if name == "city" else 3 for name in parameters["properties"]}


@pytest.mark.parametrize("level", ["minimal", "low", "medium", "high", "xhigh", "max", None])
def test_every_level_of_effort_is_taken(door: Any, level: str | None) -> None:
    """A model maps a level that it lacks to a neighbour; an unknown level is refused."""
    here = door()
    body = {"messages": user("Hello there.")}
    assert here.result("@cf/zai-org/glm-5.2", {**body, "reasoning_effort": level})["choices"]
    assert here.run("@cf/zai-org/glm-5.2", {**body, "reasoning_effort": "some"}).status_code == 400


@pytest.mark.parametrize("model", [LEGACY, GLM])
def test_json_through_v1_is_a_string(door: Any, model: str) -> None:
    """Through ``/v1`` every model's JSON arrives as text in ``content``."""
    form = {"type": "json_schema", "json_schema": {"name": "t", "schema": TOPIC}}
    body = {"model": model, "messages": user("invoice 12"), "response_format": form}
    answer = door().ask("POST", "/v1/chat/completions", json=body).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["topic"] == "billing"


BARE = {"response_format": {"type": "json_schema", "json_schema": TOPIC}}


@pytest.mark.parametrize(
    ("model", "form", "held"),
    [
        ("@cf/mistralai/mistral-small-3.1-24b-instruct", {"guided_json": TOPIC}, True),
        ("@cf/mistralai/mistral-small-3.1-24b-instruct", BARE, False),
        ("@cf/meta/llama-4-scout-17b-16e-instruct", {"guided_json": TOPIC}, True),
        ("@cf/meta/llama-4-scout-17b-16e-instruct", BARE, True),
        ("@cf/meta/llama-3.2-11b-vision-instruct", BARE, False),
        (LEGACY, BARE, True),
        (LEGACY, {"guided_json": TOPIC}, False),
    ],
)
def test_json_comes_by_the_field_that_a_model_declares(door: Any, model: str, form: dict[str, Any], held: bool) -> None:
    """``guided_json`` or ``response_format``: the one that a model does not declare does nothing."""
    response = door(terms_accepted=True).result(model, {"prompt": "invoice 7", **form})["response"]
    assert isinstance(response, dict) is held


def test_an_older_model_has_one_word_for_its_limit(door: Any) -> None:
    """``max_completion_tokens`` is of the newer ones, and does nothing elsewhere."""
    here = door()
    plain = here.result(LEGACY, {"prompt": "Tell me about rivers.", "max_completion_tokens": 2})
    assert plain["usage"]["completion_tokens"] > 2
    newer = here.result(GLM, {"messages": user("Tell me about rivers."), "max_completion_tokens": 2})
    assert newer["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("model", [LEGACY, GLM])
@pytest.mark.parametrize("wrong", [{"tool_choice": "any"}, {"description": False}])
def test_words_of_other_services_are_an_invalid_input(door: Any, model: str, wrong: dict[str, Any]) -> None:
    """``tool_choice: "any"`` and ``description: false`` are 8001."""
    tool = {"name": "look", "description": "Look.", "parameters": {"type": "object", "properties": {}}}
    tool |= {name: value for name, value in wrong.items() if name == "description"}
    choice = {name: value for name, value in wrong.items() if name == "tool_choice"}
    body = {"messages": user("x"), "tools": [{"type": "function", "function": tool}], **choice}
    assert door().run(model, body).json()["errors"][0]["code"] == 8001


def test_responses_json_follows_text_format(door: Any) -> None:
    """The Responses form of a schema is followed as well."""
    form = {"format": {"type": "json_schema", "name": "t", "schema": TOPIC}}
    result = door().result(OSS, {"input": "invoice 7", "text": form})
    assert json.loads(result["output"][-1]["content"][0]["text"])["topic"] == "billing"


def test_json_mode_without_schema_follows_the_keys_in_the_prompt(door: Any) -> None:
    """A plain JSON object has the keys that the prompt spells out."""
    prompt = 'Answer as {"title": ..., "body": ...}: rivers are long'
    result = door().result(LEGACY, {"prompt": prompt, "response_format": {"type": "json_object"}})
    assert set(result["response"]) == {"title", "body"}


def test_a_schema_that_cannot_be_met_is_an_error(door: Any) -> None:
    """The service's words for it are sent."""
    form = {"type": "json_schema", "json_schema": {"type": "integer", "minimum": 5, "maximum": 4}}
    answer = door().run(LEGACY, {"prompt": "x", "response_format": form})
    assert answer.status_code == 400
    assert "JSON Mode couldn't be met" in answer.json()["errors"][0]["message"]


def test_json_mode_does_not_stream(door: Any) -> None:
    """JSON mode and streaming together are refused."""
    body = {"prompt": "x", "stream": True, "response_format": {"type": "json_object"}}
    assert door().run(LEGACY, body).json()["errors"][0]["code"] == 5006


def test_a_summary_is_one_sentence_of_the_text(door: Any) -> None:
    """Asked for a summary, the stand-in picks a sentence of the text and not of the instruction."""
    text = "The settings page crashes. I open the settings page and it crashes at once. My cat is well."
    said = door().result(LEGACY, {"prompt": f"Summarize this ticket in one sentence: {text}"})["response"]
    assert said.removeprefix(MARK).strip() in text
    assert "cat" not in said


def test_stop_ends_the_text(door: Any) -> None:
    """Nothing after a stop string is answered."""
    result = door().result(GLM, {"messages": user("one two three"), "stop": ["three"]})
    assert result["choices"][0]["message"]["content"].strip() == f"{MARK} one two"


def test_n_gives_several_choices_and_charges_them(door: Any) -> None:
    """Two choices cost twice the output of one."""
    here = door()
    once = here.result(GLM, {"messages": user("Hello.")})["usage"]["completion_tokens"]
    twice = here.result(GLM, {"messages": user("Hello."), "n": 2})
    assert [choice["index"] for choice in twice["choices"]] == [0, 1]
    assert twice["usage"]["completion_tokens"] == 2 * once


def test_log_probabilities_fit_the_answer(door: Any) -> None:
    """The tokens spell the answer, the numbers are logarithms of shares, and alternatives are marked as made up."""
    result = door().result(GLM, {"messages": user("one two three"), "logprobs": True, "top_logprobs": 2})
    (choice,) = result["choices"]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    assert all(-1 < token["logprob"] < 0 for token in tokens)
    assert all([entry["token"].startswith(MARK) for entry in token["top_logprobs"]][1:] == [True] for token in tokens)
    assert door().result(GLM, {"messages": user("one two three")})["choices"][0]["logprobs"] is None


def test_a_fine_tune_needs_a_model_that_takes_one(door: Any) -> None:
    """``lora`` on another model is a 405 with code 5005."""
    answer = door().run(GLM, {"messages": user("Hello."), "lora": "mine"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (405, 5005)


def test_a_schema_in_words_is_followed(door: Any) -> None:
    """Without JSON mode, the text follows a schema that the prompt spells out."""
    content = "An invoice of 7.\n\nAnswer with JSON of this JSON schema:\n" + json.dumps(TOPIC)
    said = door(terms_accepted=True).result("@cf/meta/llama-3.2-11b-vision-instruct", {"messages": user(content)})[
        "response"
    ]
    assert json.loads(said)["topic"] == "billing"
    assert json.loads(said)["amount"] == 7


def test_pictures_are_owned_up_to(door: Any) -> None:
    """A picture shown to a model that cannot see is accepted, and the answer says that it was not looked at."""
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
    ]
    result = door().result("@cf/zai-org/glm-4.7-flash", {"messages": [{"role": "user", "content": parts}]})
    assert "not looked at" in result["choices"][0]["message"]["content"]


def test_tools_are_accepted(door: Any) -> None:
    """A tools field is taken without complaint."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    assert door().result(GLM, {"messages": user("Hi."), "tools": [tool]})["choices"]


def test_a_price_that_is_not_known_is_never_shown(door: Any) -> None:
    """A model without a published price has no Neurons header, and no ``usage.neurons``."""
    answer = door(terms_accepted=True).run("@cf/swiss-ai/apertus-v1.5-8b", {"messages": user("Hi.")})
    assert "cf-ai-neurons" not in answer.headers
    assert "neurons" not in answer.json()["result"]["usage"]


def test_kimi_k25_is_answered_by_its_dearer_successor(door: Any) -> None:
    """The one retired name the service aliases is served, and says which model answered."""
    assert door().result("@cf/moonshotai/kimi-k2.5", {"messages": user("Hi.")})["model"] == "@cf/moonshotai/kimi-k2.6"
