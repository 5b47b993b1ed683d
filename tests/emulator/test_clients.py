"""The public clients of the service, unchanged, against the emulator on a port."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import cloudflare
import openai
import pytest
from pydantic import BaseModel

from cfai_nb.emulator import Running
from cfai_nb.emulator.families import audio_models as sound

from .conftest import ACCOUNT, BGE

pytestmark = pytest.mark.slow

CHAT = "@cf/zai-org/glm-4.7-flash"


@pytest.fixture
def chat(base: str) -> Iterator[Any]:
    """An OpenAI client."""
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def flare(service: Running) -> Iterator[Any]:
    """A Cloudflare client."""
    with cloudflare.Cloudflare(api_token="x" * 40, base_url=service.url, max_retries=0) as client:
        yield client


def test_openai_chats(chat: Any) -> None:
    """A chat completion has content, finish reason and usage."""
    answer = chat.chat.completions.create(model=CHAT, messages=[{"role": "user", "content": "Hello there."}])
    assert (answer.choices[0].message.content or "").startswith("[emulator]")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


@pytest.mark.parametrize("model", [CHAT, "@cf/openai/gpt-oss-20b", "@cf/meta/llama-3.2-3b-instruct"])
def test_openai_streams(chat: Any, model: str) -> None:
    """A streamed chat gives the same text as a plain one, then the totals."""
    messages = [{"role": "user", "content": "Tell me about 42 rivers."}]
    plain = chat.chat.completions.create(model=model, messages=messages)
    stream = chat.chat.completions.create(
        model=model,
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": CITY, "strict": True}


class Place(BaseModel):
    """What a chat is to answer in."""

    city: str


@pytest.mark.parametrize("model", [CHAT, "@cf/openai/gpt-oss-20b", "@cf/meta/llama-3.3-70b-instruct-fp8-fast"])
def test_openais_helpers_follow_a_stream(chat: Any, model: str) -> None:
    """`chat.completions.stream` parses a call of a tool as it arrives, and the text and usage of one without."""
    asked = {"model": model, "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
    with chat.chat.completions.stream(**asked, tools=[{"type": "function", "function": WEATHER}]) as stream:
        called = [event.arguments for event in stream if event.type == "tool_calls.function.arguments.done"]
        choice = stream.get_final_completion().choices[0]
    assert [json.loads(arguments) for arguments in called] == [{"city": "Paris"}]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.parsed_arguments == {"city": "Paris"}
    with chat.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        whole = stream.until_done().get_final_completion()
    assert (whole.choices[0].message.content or "").startswith("[emulator]")
    assert whole.usage.total_tokens > 0
    assert whole.created > 0


@pytest.mark.parametrize("model", [CHAT, "@cf/openai/gpt-oss-20b", "@cf/meta/llama-3.3-70b-instruct-fp8-fast"])
def test_openai_parses_a_form(chat: Any, model: str) -> None:
    """`chat.completions.parse` gives an instance of the class that was asked for."""
    messages = [{"role": "user", "content": "Paris is in France."}]
    parsed = chat.chat.completions.parse(model=model, messages=messages, response_format=Place)
    assert isinstance(parsed.choices[0].message.parsed, Place)


def test_openai_speaks_to_the_gateways_own_host(service: Running) -> None:
    """The unified address and Workers AI's own take the client with nothing but another address."""
    host = f"{service.url.removesuffix('/client/v4')}/v1/{ACCOUNT}/python"
    messages: Any = [{"role": "user", "content": "Hello there."}]
    for path, name in (("compat", f"workers-ai/{CHAT}"), ("workers-ai/v1", CHAT)):
        with openai.OpenAI(base_url=f"{host}/{path}", api_key="x", max_retries=0) as gate:
            raw = gate.chat.completions.with_raw_response.create(model=name, messages=messages)
            assert raw.parse().choices[0].message.content == "[emulator] Hello there."
            assert raw.headers["cf-aig-cache-status"] == "MISS"
    gate = openai.OpenAI(base_url=f"{host}/compat", api_key="x", max_retries=0)
    with gate, pytest.raises(openai.BadRequestError) as wrong:
        gate.chat.completions.create(model=CHAT, messages=messages)
    assert wrong.value.response.json()["error"] == [{"code": 2008, "message": "Invalid provider"}]


@pytest.mark.parametrize("form", ["float", None])
def test_openai_embeds(chat: Any, form: str | None) -> None:
    """Vectors arrive, whether floats are asked for or the client's own base64 default is left in place."""
    extra = {"encoding_format": form} if form else {}
    answer = chat.embeddings.create(model=BGE, input=["one", "two"], **extra)
    assert [len(row.embedding) for row in answer.data] == [768, 768]
    assert any(answer.data[0].embedding)
    assert answer.data[0].embedding != answer.data[1].embedding


def test_openai_gets_responses_of_gpt_oss(chat: Any) -> None:
    """The Responses interface gives its output text."""
    answer = chat.responses.create(model="@cf/openai/gpt-oss-20b", input="Hello there.")
    assert answer.output_text.startswith("[emulator]")


def test_openai_raises_its_own_errors(chat: Any) -> None:
    """Refusals come as the client's exceptions; models cannot be listed."""
    with pytest.raises(openai.BadRequestError) as wrong:
        chat.chat.completions.create(model="@cf/no/body", messages=[{"role": "user", "content": "x"}])
    assert "No such model" in wrong.value.response.text
    with pytest.raises(openai.APIStatusError) as missing:
        chat.models.list()
    assert (missing.value.status_code, missing.value.response.json()["errors"][0]["code"]) == (405, 7001)


def test_cloudflare_runs(flare: Any) -> None:
    """``ai.run`` unwraps the result of texts and of prompts."""
    vectors = flare.ai.run(BGE, account_id=ACCOUNT, text=["one", "two"])
    assert vectors["shape"] == [2, 768]
    said = flare.ai.run("@cf/meta/llama-3.2-3b-instruct", account_id=ACCOUNT, prompt="Hello there.")
    assert said["response"].startswith("[emulator]")


def test_cloudflare_lists_models_and_schemas(flare: Any) -> None:
    """``ai.models.list`` pages to an end, ``ai.models.schema.get`` gives both schemas."""
    names = [model["name"] for model in flare.ai.models.list(account_id=ACCOUNT)]
    assert CHAT in names
    assert len(names) == len(set(names))
    schema = flare.ai.models.schema.get(account_id=ACCOUNT, model=BGE)
    assert "pooling" in str(schema)


def test_cloudflare_raises_its_own_errors(flare: Any) -> None:
    """A refusal keeps its code and text."""
    with pytest.raises(cloudflare.BadRequestError, match="5007"):
        flare.ai.run("@cf/no/body", account_id=ACCOUNT, prompt="x")


def test_cloudflare_draws_and_speaks(flare: Any) -> None:
    """A picture arrives unwrapped as base64; bare bytes need the client's raw response."""
    drawn = flare.ai.run("@cf/black-forest-labs/flux-1-schnell", account_id=ACCOUNT, prompt="a red circle")
    assert base64.b64decode(drawn["image"]).startswith(b"\xff\xd8")
    raw = flare.ai.with_raw_response.run("@cf/deepgram/aura-1", account_id=ACCOUNT, extra_body={"text": "Hello."})
    assert raw.headers["content-type"] == "audio/mpeg"
    assert sound.listen(raw.read()).text == "Hello."


def test_cloudflare_makes_an_adapter(flare: Any) -> None:
    """`ai.finetunes` makes a record, takes both files, and lists it; then a call may name it."""
    model = "@cf/qwen/qwen2.5-coder-32b-instruct"
    made = flare.ai.finetunes.create(account_id=ACCOUNT, model=model, name="python", public=True)
    files = {"adapter_config.json": b'{"model_type": "llama", "r": 8}', "adapter_model.safetensors": b"weights"}
    for name, data in files.items():
        sent = flare.ai.finetunes.assets.create(made.id, account_id=ACCOUNT, file=(name, data), file_name=name)
        assert sent.success
    assert made.id in [record.id for record in flare.ai.finetunes.list(account_id=ACCOUNT)]
    assert made.id in [record.id for record in flare.ai.finetunes.public.list(account_id=ACCOUNT, limit=100)]
    said = flare.ai.run(model, account_id=ACCOUNT, prompt="Hello there.", lora="python", raw=True)
    assert said["response"].startswith("[emulator]")
