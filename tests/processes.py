"""Real processes and real kernels: started with code of their own, interrupted, and gone at the end of a test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cfai_nb.emulator import Running

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-of-the-tests-0123456789abcdef"

START = """
import asyncio, os, signal, sys, threading, time
import pandas as pd
import cfai_nb as cf
signal.signal(signal.SIGINT, signal.default_int_handler)
url, store = sys.argv[1:3]
session = cf.connect(base_url=url, account_id="a" * 32, api_token="{token}", store=store, rate=None, concurrency=4)
rows = pd.Series([f"text number {{i}}" for i in range({count})])
labels = ["billing", "shipping"]
"""


def script(body: str, count: int) -> str:
    return START.format(token=TOKEN, count=count) + body


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def begin(code: str, server: Running, store: Path) -> subprocess.Popen[str]:
    """Start a Python process with this code."""
    command = [sys.executable, "-c", code, server.url, str(store)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment())


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition that must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """See to it that a process is gone at the end, whatever the test came to."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


class Kernel:
    """An ipykernel and the cells run in it."""

    def __init__(self) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=environment())
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def begin(self, code: str) -> str:
        # After an error the kernel would drop what is sent within the next moment, such as a look at a value.
        return str(self.client.execute(code, stop_on_error=False))

    def reply(self, number: str, seconds: float = 40) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            message = self.client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") == number:
                return dict(message["content"])

    def run(self, code: str) -> None:
        content = self.reply(self.begin(code))
        assert content["status"] == "ok", "\n".join(content.get("traceback", []))

    def value(self, expression: str) -> str:
        number = self.client.execute("", user_expressions={"x": expression})
        found = self.reply(number)["user_expressions"]["x"]
        assert found["status"] == "ok", found
        return str(found["data"]["text/plain"])

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A running kernel."""
    pytest.importorskip("ipykernel")
    pytest.importorskip("jupyter_client")
    made = Kernel()
    yield made
    made.close()


def connect_in(kernel: Kernel, server: Running, store: Path, count: int) -> None:
    kernel.run(script("", count).replace("sys.argv[1:3]", repr([server.url, str(store)])))
