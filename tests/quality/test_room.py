"""The room as a whole: its examples are true, and it loads nothing before it is used."""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys

import pytest

from cfai_nb import quality


@pytest.mark.parametrize("module", ["certificate", "estimates", "ranking", "sampling", "significance"])
def test_examples_are_true(module: str) -> None:
    """Every example of a docstring gives what stands below it."""
    found = doctest.testmod(importlib.import_module(f"cfai_nb.quality.{module}"))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.slow
def test_nothing_heavy_is_loaded_before_it_runs(bare_environment: dict[str, str]) -> None:
    """`import cfai_nb` does not load this room, and the room itself loads no scipy."""
    code = (
        "import sys, cfai_nb as cf; before = 'cfai_nb.quality' in sys.modules; cf.quality.cascade; "
        "print(before, 'scipy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], env=bare_environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == "False False", run.stderr


def test_public_names_have_examples() -> None:
    """Every public function is documented with an example."""
    functions = [getattr(quality, name) for name in quality.__all__ if name[0].islower()]
    assert len(functions) > 12
    assert [f.__name__ for f in functions if ">>> " not in f.__doc__] == []
