"""The engine: how a task travels to the service and back; and what a fork leaves to the parent."""

from __future__ import annotations

import os
from collections.abc import Callable

#: What a forked process inherited.  Its end would close files and watchers that the parent still uses.
_inherited: list[object] = []


def in_child(begin: Callable[[], object]) -> None:
    """Call a function in every process forked from this one: no thread lives on there, and a lock may be held for good.

    What it returns belongs to the parent; it is kept, since the child must neither use nor close it.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _inherited.append(begin()))
