"""How many threads the numerical libraries may use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast


def limited(count: int | None) -> AbstractContextManager[object]:
    """Return a context in which they use at most `count` threads; None leaves them as they are."""
    import threadpoolctl  # type: ignore[import-untyped]  # scikit-learn brings it

    return cast("AbstractContextManager[object]", threadpoolctl.threadpool_limits(count))
