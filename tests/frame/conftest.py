"""Fixtures of the tests of frames: sessions on what stands in front of an emulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cascade_models import Clefs

import cfai_nb as cf


@pytest.fixture
def clefs(tmp_path: Path) -> Clefs:
    """A session of a cheap and a strong model."""
    made = Clefs()
    cf.connect(made, store=tmp_path / "s.sqlite", rate=None)
    return made


@pytest.fixture
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The ``Door`` of the test's module, which is the current session, with a store."""
    made = request.module.Door(vectorize_delay=2)
    with cf.connect(made, store=tmp_path / "s.sqlite"):
        yield made
