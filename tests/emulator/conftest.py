"""What the emulator's tests share: a door to an emulator in this process, and one that listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cfai_nb.emulator import Emulator, Running, running

ACCOUNT = "a" * 32
HOST, LOGS = f"http://emulator/v1/{ACCOUNT}/g", "../ai-gateway/gateways/g/logs"
TALK = [{"role": "user", "content": "Hello there."}]
#: One embedding model, one of 2026, one before 2026, and the one that speaks Responses.
BGE, GLM = "@cf/baai/bge-base-en-v1.5", "@cf/zai-org/glm-4.7-flash"
LEGACY, OSS = "@cf/meta/llama-3.2-3b-instruct", "@cf/openai/gpt-oss-20b"


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Door:
    """An emulator called in this process, without a port."""

    def __init__(self, **settings: Any) -> None:
        self.emulator = Emulator(**{"rate": None, **settings})
        self.account = ACCOUNT
        self.headers = {"authorization": "Bearer x"}

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request to an address after ``/ai``."""
        return self.gather([(method, path, arguments)])[0]

    def gather(self, requests: list[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """Send several requests at once."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.emulator)
            base = f"http://emulator/client/v4/accounts/{self.account}/ai"
            async with httpx.AsyncClient(transport=transport, base_url=base, headers=self.headers) as client:
                calls = (client.request(method, path, **arguments) for method, path, arguments in requests)
                return list(await asyncio.gather(*calls))

        return asyncio.run(all_of_them())

    def run(self, model: str, body: Any, **arguments: Any) -> httpx.Response:
        """Call ``/run/{model}``."""
        return self.ask("POST", f"/run/{model}", json=body, **arguments)

    def result(self, model: str, body: Any) -> Any:
        """Return the result of a call that must succeed."""
        answer = self.run(model, body)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


@pytest.fixture
def door() -> type[Door]:
    """The Door class, to open with settings."""
    return Door


@pytest.fixture(scope="session")
def service() -> Iterator[Running]:
    """An emulator on a port, without limits, for the whole session."""
    with running(rate=None) as here:
        yield here


@pytest.fixture
def base(service: Running) -> str:
    """The address up to and including ``/ai`` on the port."""
    return f"{service.url}/accounts/{ACCOUNT}/ai"


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the address of every part of a value."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from spots(part, (*path, key))
