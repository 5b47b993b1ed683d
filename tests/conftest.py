"""Fixtures of all tests: no credentials, an own store, no session left over, and an emulator to ask for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spread

import cfai_nb as cf
from cfai_nb.emulator import Emulator

# A shell that starts the tests in the background makes them ignore interrupts, which they send to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests start hundreds of processes: each would compile the package again where what is compiled may not be kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Hashes answer in tests, quickly and exactly, also in fixtures of a module and in processes of their own. A test
# about the local model, or about what people see, takes the variable away.
os.environ["CFAI_STANDINS"] = "hash"

CREDENTIAL_PREFIXES = ("CLOUDFLARE_", "CF_", "WORKERS_AI_")


def without_credentials(environment: dict[str, str]) -> dict[str, str]:
    """The same environment with every variable gone that could hold an account or a token."""
    return {name: value for name, value in environment.items() if not name.upper().startswith(CREDENTIAL_PREFIXES)}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the browser, the notebooks, and files of many slow tests."""
    items[:] = spread.in_order(items)


def pytest_collection_finish() -> None:
    """Take the tests and what they import out of what the collector looks through: it is there to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> spread.Scheduling | None:
    """Keep together what shares a process, unless the command line asks for something else."""
    return spread.Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _own_corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove credentials and the user's store: a test that needs some sets them itself."""
    for name in set(os.environ) - set(without_credentials(dict(os.environ))):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CFAI_STORE", str(tmp_path / "store.sqlite"))
    yield
    forget_session()


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    """An emulator without limits that is the current session, with a store of its own."""
    made = Emulator(rate=None)
    cf.connect(made, store=tmp_path / "s.sqlite")
    return made


@pytest.fixture(scope="session")
def vectors_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``kept_vectors``, one for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kept-vectors"


@pytest.fixture
def bare_environment(tmp_path: Path) -> dict[str, str]:
    """The environment for a process of its own: no credentials, a store in the test's folder, no screen to draw on."""
    return {**without_credentials(dict(os.environ)), "CFAI_STORE": str(tmp_path / "store.sqlite"), "MPLBACKEND": "agg"}


def forget_session() -> None:
    """Close the session that calls use by themselves, and forget it."""
    from cfai_nb.session import session

    current = session._current
    session._current = None
    if current is not None:
        current.close()
