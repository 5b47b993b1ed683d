"""How the tests are spread over processes: what belongs together in one process, and what begins first.

``conftest.py`` gives this to pytest-xdist. Tests of a file share a process, as with ``--dist loadfile``, with two
exceptions. The browser tests of all files share one JupyterLab, one Chromium and one kernel, so they are one unit.
Notebooks share nothing, so each is a unit of its own. A run ends when its last unit ends: units begin by
their number of tests marked slow, most first, so that what is left for the end is quick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

BROWSER, NOTEBOOKS = "tests/browser/", "tests/test_notebooks.py"


def unit(nodeid: str) -> str:
    """What a test is run together with, in one process."""
    if nodeid.startswith(BROWSER):
        return BROWSER
    return nodeid if nodeid.startswith(NOTEBOOKS) else nodeid.split("::", 1)[0]


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Sort by unit: the browser, notebooks, then files by their number of slow tests; each unit as it was."""
    slow = Counter(unit(item.nodeid) for item in items if item.get_closest_marker("slow"))

    def place(item: pytest.Item) -> tuple[bool, bool, int, str]:
        name = unit(item.nodeid)
        return name != BROWSER, not name.startswith(NOTEBOOKS), -slow[name], name

    return sorted(items, key=place)


class Scheduling(LoadFileScheduling):
    """Give out the units in the order of the tests."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # not by the number of tests

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)
