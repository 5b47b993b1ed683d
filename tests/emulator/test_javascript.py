"""The public JavaScript clients, unchanged, get the answers that the Python clients get.

They are looked for in the folder that ``CFAI_NODE_MODULES`` names (``npm install cloudflare openai`` makes one), else
where node itself looks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cloudflare
import openai
import pytest

from cfai_nb.emulator import Running

ACCOUNT = "a" * 32
SCRIPT = Path(__file__).with_name("client.mjs")
GLM = "@cf/zai-org/glm-4.7-flash"


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [shutil.which("node") or "node", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def said(service: Running) -> dict[str, Any]:
    """What the JavaScript clients were told."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    done = node(service.url, ACCOUNT)
    if done.returncode == 3:
        pytest.skip("the npm packages cloudflare and openai are not found: npm install them, set CFAI_NODE_MODULES")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def flare(service: Running) -> Any:
    """A Cloudflare client."""
    with cloudflare.Cloudflare(api_token="x" * 40, base_url=service.url, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "model", "body"),
    [
        ("prompt", "@cf/meta/llama-3.2-3b-instruct", {"prompt": "Hello there."}),
        ("bge", "@cf/baai/bge-small-en-v1.5", {"text": ["one"]}),
        (
            "translation",
            "@cf/meta/m2m100-1.2b",
            {"text": "Good morning", "source_lang": "en", "target_lang": "fr"},
        ),
        ("sentiment", "@cf/huggingface/distilbert-sst-2-int8", {"text": "This is wonderful"}),
        ("picture", "@cf/black-forest-labs/flux-1-schnell", {"prompt": "a red circle"}),
        ("speech", "@cf/myshell-ai/melotts", {"prompt": "Hello there", "lang": "en"}),
    ],
)
def test_native_calls_agree(said: dict[str, Any], flare: Any, name: str, model: str, body: dict[str, Any]) -> None:
    """``ai.run`` gives the same result in both languages."""
    result = flare.ai.run(model, account_id=ACCOUNT, **body)
    plain = [row.to_dict() for row in result] if isinstance(result, list) else result
    assert said[name] == plain


def test_openai_calls_agree(said: dict[str, Any], base: str) -> None:
    """Chat, stream, usage and embeddings are the same."""
    with openai.OpenAI(base_url=f"{base}/v1", api_key="x", max_retries=0) as chat:
        messages: Any = [{"role": "user", "content": "Tell me about 42 rivers."}]
        plain = chat.chat.completions.create(model=GLM, messages=messages)
        rows = chat.embeddings.create(model="@cf/baai/bge-base-en-v1.5", input=["one", "two"], encoding_format="float")
    assert plain.usage is not None
    assert said["chat"] == said["streamed"] == plain.choices[0].message.content
    assert said["usage"] == plain.usage.total_tokens
    assert said["embeddings"] == [row.embedding for row in rows.data]


def test_refusals_vectors_and_documents_arrive(said: dict[str, Any]) -> None:
    """A refusal keeps status and code, a query finds what was written, one bad file fails alone."""
    assert said["refused"] == [400, 5007]
    assert said["nearest"] == ["1"]
    assert said["pages"] == [["a.csv", "markdown", "| a | b |\n| --- | --- |\n| 1 | 2 |"], ["a.bin", "error", None]]
