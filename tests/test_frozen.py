"""What must not change by accident is as ``freeze.py`` wrote it down."""

from __future__ import annotations

import pytest
from freeze import FOLDER, HINT, PARTS

SLOW = {"loaded", "requests"}


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.slow] * (part in SLOW)) for part in PARTS])
def test_nothing_changed_by_accident(part: str) -> None:
    """As written down; a change on purpose is written down with ``python tests/freeze.py``."""
    kept = (FOLDER / f"{part}.txt").read_text(encoding="utf-8").splitlines()
    now = list(PARTS[part]())
    if part == "loaded":  # not every package is there for every Python
        assert set(now) <= set(kept), HINT
    else:
        assert now == kept, HINT
