"""Several processes on one account: one limit, one budget, and equal questions bought once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfai_nb.emulator import Emulator, running

pytestmark = pytest.mark.slow

#: Connects, says that it is ready, waits for a line, asks, and says what came of it.
_CHILD = """
import json, sys, warnings
import pandas as pd, cfai_nb as cf
url, store, words, count, options = sys.argv[1:6]
options = json.loads(options)
session = cf.connect(base_url=url, account_id="a" * 32, api_token="x", store=store, rate=options.pop("rate", None))
rows = pd.Series([f"{words} {at}" for at in range(int(count))])
session.engine(cache=True)
print("ready", flush=True)
sys.stdin.readline()
error = ""
try:
    found = rows.cfai.generate("{value}", progress=False, **options)
except cf.CfaiError as failure:
    error, found = str(failure), cf.last_run().frame()
print(json.dumps({"rows": int(found.notna().sum()), "error": error}), flush=True)
sys.stdin.readline()
"""


class Processes:
    """Processes that ask one emulator at the same time."""

    def __init__(self, emulator: Emulator, url: str, store: Path) -> None:
        self.emulator, self._url, self._store = emulator, url, store
        self.started: list[subprocess.Popen[str]] = []

    def start(self, words: str, count: int, **options: Any) -> None:
        """Start one, up to the point where it would ask."""
        command = [sys.executable, "-c", _CHILD, self._url, str(self._store), words, str(count), json.dumps(options)]
        made = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert made.stdout is not None
        self.started.append(made)

    def go(self) -> None:
        """Let all of them ask."""
        for each in self.started:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in self.started:
            self._say(each)

    @staticmethod
    def _say(each: subprocess.Popen[str]) -> None:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()

    def results(self, but: int | None = None) -> list[dict[str, Any]]:
        """Return what came of them, and let them end."""
        found = []
        for at, each in enumerate(self.started):
            if at != but:
                assert each.stdout is not None
                found.append(json.loads(each.stdout.readline()))
        for at, each in enumerate(self.started):
            if at != but:
                self._say(each)
            assert each.wait(20) == (0 if at != but else -signal.SIGKILL)
        return found


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    with running(**getattr(request, "param", {"rate": None, "latency": 0.05})) as here:
        made = Processes(here.emulator, here.url, tmp_path / "store.sqlite")
        yield made
        for each in made.started:
            each.kill()
            each.communicate()


def test_equal_questions_are_bought_once(processes: Processes) -> None:
    """Three processes that ask the same 300 questions at once buy 300 answers and have 900."""
    for _ in range(3):
        processes.start("where is", 300)
    processes.go()
    assert [one["rows"] for one in processes.results()] == [300, 300, 300]
    assert processes.emulator.requests == 300


@pytest.mark.parametrize("which", [0, 1], ids=["one of them", "another"])
def test_a_killed_process_costs_what_it_had_in_flight(processes: Processes, which: int) -> None:
    """Whether it led or followed, the others go on, have all rows, and buy again at most what it had in flight."""
    for _ in range(2):
        processes.start("where is", 300)
    processes.go()
    while processes.emulator.requests < 60:
        time.sleep(0.01)
    os.kill(processes.started[which].pid, signal.SIGKILL)
    assert [one["rows"] for one in processes.results(but=which)] == [300]
    assert 300 <= processes.emulator.requests <= 300 + 64


@pytest.mark.parametrize("processes", [{"rate": 60, "latency": 0.01}], indirect=True)
def test_one_rate_for_all(processes: Processes) -> None:
    """Two processes with a rate of 60 a minute send 60 together, not 60 each: none is refused."""
    for words in ("one", "two"):
        processes.start(words, 30, rate=60)
    processes.go()
    assert [one["rows"] for one in processes.results()] == [30, 30]
    assert processes.emulator.requests == 60
    assert processes.emulator.refused == 0


def test_one_free_day_for_all(processes: Processes) -> None:
    """Two processes with ``budget="free"`` spend the day's free Neurons once."""
    for words in ("one " * 8_000, "two " * 8_000):
        processes.start(words, 40, budget="free", model="llama-3.3-70b-instruct-fp8-fast", max_tokens=50)
    processes.go()
    found = processes.results()
    assert 9_000 < processes.emulator.billed <= 10_000
    assert any("budget" in one["error"] for one in found)
