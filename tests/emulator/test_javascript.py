"""The public JavaScript and Python clients, unchanged, get the same answers, and those are what the wire says.

The JavaScript ones are looked for in the folder that ``CFAI_NODE_MODULES`` names, else where node itself looks; ``npm
install`` of `PACKAGES` makes one. The scripts beside this file name the calls, this file what they must come to.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudflare
import httpx
import openai
import pytest
from cloudflare.types.ai import ai_run_params

from cfai_nb.emulator import Running, running
from cfai_nb.emulator.families import audio_models as sound
from cfai_nb.emulator.standins.image_drawing import Order, draw

from .conftest import ACCOUNT, GLM

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
PACKAGES = (
    "cloudflare openai @anthropic-ai/sdk workers-ai-provider ai-gateway-provider @ai-sdk/openai-compatible ai zod "
    "@cloudflare/tanstack-ai @tanstack/ai"
)
LLAMA = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
SEER = "@cf/meta/llama-3.2-11b-vision-instruct"

PICTURE = draw(Order("a red circle and two blue squares", 64, 64), "JPEG")
MASK = draw(Order("a white square", 64, 64), "PNG")
SPEECH, _ = sound.speak("The river is wide. It is deep.", sound.FORMATS["mp3"], 24_000)
PICTURE64 = base64.b64encode(PICTURE).decode()
ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]
SHOWN = [
    {"type": "text", "text": "How many squares are there?"},
    {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PICTURE64}"}},
]
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": CITY}
SAMPLING = {"max_tokens": 64, "temperature": 0.2, "top_p": 0.9, "top_k": 40, "seed": 7, "repetition_penalty": 1.1}

#: name -> model, body of `ai.run`: every task the clients know, where the service still has a model for it.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "text classification": ("@cf/huggingface/distilbert-sst-2-int8", {"text": "This is wonderful"}),
    "text to image": ("@cf/black-forest-labs/flux-1-schnell", {"prompt": "a red circle"}),
    "text to speech": ("@cf/myshell-ai/melotts", {"prompt": "Hello there", "lang": "en"}),
    "one text": ("@cf/baai/bge-small-en-v1.5", {"text": "one"}),
    "several texts": ("@cf/baai/bge-m3", {"text": ["one", "two"]}),
    "speech recognition": ("@cf/openai/whisper", {"audio": list(SPEECH), "source_lang": "en", "target_lang": "en"}),
    "short recognition": ("@cf/openai/whisper-tiny-en", {"audio": list(SPEECH)}),
    "image classification": ("@cf/microsoft/resnet-50", {"image": list(PICTURE)}),
    "prompt": (LLAMA, {"prompt": "Tell me about 42 rivers.", **SAMPLING}),
    "prompt with adapter": (SEER, {"prompt": "Hello there.", "lora": "mine", "raw": True}),
    "prompt for json": (LLAMA, {"prompt": "Paris", "response_format": {"type": "json_schema", "json_schema": CITY}}),
    "messages": (LLAMA, {"messages": ASKED, **SAMPLING}),
    "messages in parts": (LLAMA, {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello."}]}]}),
    "messages with tools": (LLAMA, {"messages": ASKED, "tools": [{"type": "function", "function": WEATHER}]}),
    "messages with bare tools": (LLAMA, {"messages": ASKED, "tools": [WEATHER]}),
    "translation": ("@cf/meta/m2m100-1.2b", {"text": "Good morning", "source_lang": "en", "target_lang": "fr"}),
    "image to text": ("@cf/llava-hf/llava-1.5-7b-hf", {"image": list(PICTURE), "prompt": "How many squares?"}),
    "image text to text": (SEER, {"image": PICTURE64, "prompt": "How many squares are there?", "max_tokens": 64}),
    "image messages to text": (SEER, {"image": PICTURE64, "messages": ASKED}),
    "image in a message": (SEER, {"image": PICTURE64, "messages": [{"role": "user", "content": SHOWN}]}),
}
#: Answers that are bytes of their own, for the clients' raw responses; the last is a stream.
RAW: dict[str, tuple[str, dict[str, Any]]] = {
    "raw picture": ("@cf/stabilityai/stable-diffusion-xl-base-1.0", {"prompt": "a star", "width": 256, "height": 256}),
    "painting over": (
        "@cf/runwayml/stable-diffusion-v1-5-inpainting",
        {"prompt": "a heart", "image": list(PICTURE), "mask": list(MASK), "width": 256, "height": 256},
    ),
    "from a picture": ("@cf/lykon/dreamshaper-8-lcm", {"prompt": "a star", "image_b64": PICTURE64, "width": 256}),
    "streamed prompt": (LLAMA, {"prompt": "Tell me about 42 rivers.", "stream": True}),
}
#: Tasks the clients know and the service has no model left for, and what is refused in itself.
REFUSED: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "summarization": ("@cf/facebook/bart-large-cnn", {"input_text": "Long.", "max_length": 9}, [400, 5007]),
    "object detection": ("@cf/facebook/detr-resnet-50", {"image": list(PICTURE)}, [400, 5007]),
    "multimodal embeddings": ("@cf/baai/omni-bge-base-en-v1.5", {"text": ["one"]}, [400, 5007]),
    "no such model": ("@cf/no/body", {"prompt": "x"}, [400, 5007]),
    "bad input": ("@cf/baai/bge-small-en-v1.5", {"prompt": "x"}, [400, 5006]),
}


@pytest.fixture(scope="module")
def agreed() -> Iterator[Running]:
    """An emulator on a port whose accounts have accepted every model's terms."""
    with running(rate=None, terms_accepted=True) as here:
        yield here


def node(script: str, service: Running, given: str = "") -> dict[str, Any]:
    """Return what a script prints, run against a served emulator; skip where its packages are not installed."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    command = [program, "--experimental-import-meta-resolve", str(HERE / script), service.url, ACCOUNT]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 3:
        pytest.skip(
            f"npm packages are missing: npm install {PACKAGES} and set CFAI_NODE_MODULES ({done.stderr.strip()})"
        )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def said(agreed: Running) -> dict[str, Any]:
    """The answers that the JavaScript clients got."""
    calls = {name: {"model": call[0], "body": call[1], "raw": name in RAW} for name, call in (CALLS | RAW).items()}
    calls |= {name: {"model": model, "body": body} for name, (model, body, _) in REFUSED.items()}
    return node("client.mjs", agreed, json.dumps(calls))


@pytest.fixture(scope="module")
def flare(agreed: Running) -> Iterator[Any]:
    """A Cloudflare client."""
    with cloudflare.Cloudflare(api_token="x" * 40, base_url=agreed.url, max_retries=0) as client:
        yield client


def wire(agreed: Running, model: str, body: dict[str, Any]) -> httpx.Response:
    """Return what the wire says to a plain request."""
    address = f"{agreed.url}/accounts/{ACCOUNT}/ai/run/{model}"
    return httpx.post(address, json=body, headers={"authorization": f"Bearer {'x' * 40}"})


def test_every_task_the_client_knows_is_called() -> None:
    """Each way to call ``ai.run`` that the client declares is among the calls, in all that it requires."""
    bodies = [set(body) for _, body, *_ in [*CALLS.values(), *RAW.values(), *REFUSED.values()]]
    for overload in typing.get_args(ai_run_params.AIRunParams):
        required, known = overload.__required_keys__ - {"account_id"}, set(overload.__annotations__)
        assert any(required <= body <= known for body in bodies), overload.__name__


@pytest.mark.parametrize("name", CALLS)
def test_native_calls_agree(agreed: Running, flare: Any, said: dict[str, Any], name: str) -> None:
    """``ai.run`` gives the result of the wire in both languages."""
    model, body = CALLS[name]
    result = flare.ai.run(model, account_id=ACCOUNT, **body)
    plain = [row.to_dict() for row in result] if isinstance(result, list) else result
    assert said["runs"][name] == plain == wire(agreed, model, body).json()["result"]


@pytest.mark.parametrize("name", RAW)
def test_raw_answers_agree(agreed: Running, flare: Any, said: dict[str, Any], name: str) -> None:
    """An answer that is not an envelope arrives as the same bytes in both languages."""
    model, body = RAW[name]
    raw = flare.ai.with_raw_response.run(model, account_id=ACCOUNT, **body).read()
    assert base64.b64decode(said["runs"][name]) == raw == wire(agreed, model, body).content


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_agree(flare: Any, said: dict[str, Any], name: str) -> None:
    """A refusal keeps status and code in both languages, also for tasks that no model is left for."""
    model, body, refused = REFUSED[name]
    with pytest.raises(cloudflare.APIStatusError) as error:
        flare.ai.run(model, account_id=ACCOUNT, **body)
    assert said["runs"][name] == {"refused": refused}
    assert [error.value.status_code, error.value.response.json()["errors"][0]["code"]] == refused


def test_openai_calls_agree(agreed: Running, said: dict[str, Any]) -> None:
    """Chat, stream, usage, embeddings, calls of tools, JSON and Responses are the same."""
    base = f"{agreed.url}/accounts/{ACCOUNT}/ai/v1"
    with openai.OpenAI(base_url=base, api_key="x", max_retries=0) as chat:
        messages: Any = [{"role": "user", "content": "Tell me about 42 rivers."}]
        plain = chat.chat.completions.create(model=GLM, messages=messages)
        rows = chat.embeddings.create(model="@cf/baai/bge-base-en-v1.5", input=["one", "two"], encoding_format="float")
        asked: Any = {"model": GLM, "messages": ASKED}
        place = {**CITY, "properties": {"city": {"type": "string"}}, "additionalProperties": False}
        tool = {"type": "function", "function": {**WEATHER, "parameters": place}}
        called = chat.chat.completions.create(**asked, tools=[tool]).choices[0]
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": place}}
        formed = chat.chat.completions.create(**asked, response_format=form)
        answered = chat.responses.create(model="@cf/openai/gpt-oss-20b", input="Hello there.")
    assert plain.usage is not None
    assert said["chat"] == said["streamed"] == plain.choices[0].message.content
    assert said["usage"] == plain.usage.total_tokens
    assert said["embeddings"] == [row.embedding for row in rows.data]
    assert said["called"] == [called.finish_reason, called.message.tool_calls[0].function.to_dict()]
    assert said["called"][1] == {"name": "weather", "arguments": '{"city": "Paris"}'}
    assert said["helped"][0] == said["called"][0] == "tool_calls"
    assert said["helped"][1]["arguments"] == said["called"][1]["arguments"]
    assert said["behind"] == said["chat"]
    assert said["formed"] == formed.choices[0].message.content
    assert said["answered"] == answered.output_text


def test_anthropics_client_agrees(said: dict[str, Any]) -> None:
    """A message and the events of one, with the key as that client sends it."""
    assert said["message"] == ["tool_use", "weather", {"city": "Paris"}]
    assert said["events"] == "[emulator] What is the weather in Paris?"


def test_finetunes_are_made_and_listed(flare: Any, said: dict[str, Any]) -> None:
    """A record that one client made is what the other is shown."""
    (record,), names = said["finetunes"]
    assert names == ["javascript"]
    assert [one.id for one in flare.ai.finetunes.public.list(account_id=ACCOUNT)] == [record["id"]]
    with pytest.raises(cloudflare.BadRequestError, match="3039"):  # its weights have not been sent
        flare.ai.run(record["model"], account_id=ACCOUNT, prompt="Hello.", lora="javascript")


def test_vectors_documents_and_lists_arrive(flare: Any, said: dict[str, Any]) -> None:
    """A query finds what was written, one bad file fails alone, tasks and authors are listed."""
    assert said["nearest"] == ["1"]
    assert said["pages"] == [["a.csv", "markdown", "| a | b |\n| --- | --- |\n| 1 | 2 |"], ["a.bin", "error", None]]
    assert said["tasks"] == [task["name"] for task in flare.ai.tasks.list(account_id=ACCOUNT)]
    assert "Text Embeddings" in said["tasks"]
    assert said["authors"] == [author["name"] for author in flare.ai.authors.list(account_id=ACCOUNT)]
    assert "baai" in said["authors"]


# -- Cloudflare's providers for the AI SDK --------------------------------------------------------------------------

RIVERS = "[emulator] Tell me about rivers."
RAIN = '[emulator] the tool says: {"report":"It rains in Paris"}'
#: Those that declare guided_json instead, which the provider does not send.
GUIDED = {"mistral", "qwq"}
#: Those whose streams are native, which name no reason for their end.
NATIVE = ("llama", "scout", "mistral", "qwq")
CHATS = [
    "glm",
    "kimi",
    "gemma",
    "nemotron",
    "oss",
    "llama",
    "scout",
    "mistral",
    "qwen",
    "qwq",
    "gateway glm",
    "gateway llama",
]


@pytest.fixture(scope="module")
def provided(agreed: Running) -> dict[str, Any]:
    """The answers that workers-ai-provider got."""
    return node("provider.mjs", agreed)


@pytest.mark.parametrize("name", CHATS)
def test_the_provider_chats(provided: dict[str, Any], name: str) -> None:
    """`generateText` and `streamText` give one text, tools are called and answered, objects have their shape."""
    text, streamed = provided[f"{name} text"], provided[f"{name} stream"]
    assert text.endswith(RIVERS)
    assert (streamed["text"], streamed["finish"]) == (text, "stop")
    assert streamed["usage"] > 0
    called = provided[f"{name} tool"]
    assert [tool for tool, _ in called["called"]] == ["weather"]
    assert called["called"][0][1]["city"] == "Paris"
    assert called["text"].endswith(RAIN)
    assert provided[f"{name} forced tool"] == ["weather"]
    assert provided[f"{name} streamed tool"]["called"] == called["called"]
    assert provided[f"{name} streamed tool"]["finish"] == ("stop" if name.endswith(NATIVE) else "tool-calls")
    made = provided[f"{name} object"]
    if name in GUIDED:
        assert made["failed"].startswith("AI_NoObjectGeneratedError")
    else:
        assert made["population"] == 2


@pytest.mark.parametrize("way", ["", "gateway "])
def test_the_provider_does_the_other_tasks(provided: dict[str, Any], way: str) -> None:
    """Embeddings, reranking, pictures, speech and its transcript, over REST and through the gateway's own host."""
    assert provided[f"{way}embedding"] == [768, 768]
    assert provided[f"{way}reranking"] == [1]
    assert provided[f"{way}image"].startswith("ffd8")
    assert provided[f"{way}speech"] is True
    for model in ("whisper", "whisper-large-v3-turbo", "nova-3"):
        assert provided[f"{way}transcription {model}"] == "The river is wide."


def test_the_provider_sees_and_is_refused(agreed: Running, provided: dict[str, Any]) -> None:
    """A picture in a message is looked at; an unknown model is a 400; the gateway wrote down what came through it."""
    assert "1 x 1 pixels" in provided["vision"]
    assert provided["no such model"]["status"] == 400
    address = f"{agreed.url}/accounts/{ACCOUNT}/ai-gateway/gateways/provider/logs?per_page=50"
    rows = httpx.get(address, headers={"authorization": "Bearer x"}).json()["result"]
    assert len(rows) > 12
    assert {row["metadata"] for row in rows} == {'{"from": "provider"}'}


def test_the_gateways_provider_falls_back(provided: dict[str, Any]) -> None:
    """`ai-gateway-provider` sends a list, and reads from the step which of its models answered."""
    assert provided["listed text"] == provided["listed stream"] == RIVERS
    assert provided["listed tool"] == RAIN
    assert provided["listed nothing"]["status"] == 400


# -- Cloudflare's adapters for TanStack AI --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapted(agreed: Running) -> dict[str, Any]:
    """The answers that @cloudflare/tanstack-ai got."""
    return node("tanstack.mjs", agreed)


@pytest.mark.parametrize(
    "name", ["glm", "kimi", "oss", "llama", "scout", "mistral", "qwen", "gateway glm", "gateway kimi"]
)
def test_the_adapters_chat(adapted: dict[str, Any], name: str) -> None:
    """Streamed and whole texts, tools and objects, over ``/v1`` and by the universal endpoint."""
    assert adapted[f"{name} stream"]["text"] == adapted[f"{name} text"] == RIVERS
    assert adapted[f"{name} tool"] == {"text": RAIN, "called": ["weather"]}
    assert adapted[f"{name} object"] == {"capital": "[emulator] Paris is the capital of France."}


@pytest.mark.parametrize("way", ["", "gateway "])
def test_the_adapters_do_the_other_tasks(adapted: dict[str, Any], way: str) -> None:
    """Pictures, speech and its transcript; no model is left that summarizes, and nova-3 takes no JSON."""
    assert adapted[f"{way}image"] == "89504e47"
    assert adapted[f"{way}speech"] is True
    for model in ("whisper", "whisper-large-v3-turbo"):
        assert adapted[f"{way}transcription {model}"] == "The river is wide."
    heard = adapted[f"{way}transcription nova-3"]
    assert ("5006" in heard["failed"]) if way else heard == "The river is wide."
    assert "5007" in adapted[f"{way}summary"]["failed"]


def test_the_adapters_reach_another_provider(adapted: dict[str, Any]) -> None:
    """Anthropic's dialect, by the universal endpoint."""
    assert adapted["gateway anthropic"]["text"] == RIVERS
