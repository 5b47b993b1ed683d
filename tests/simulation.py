"""An event loop whose clock jumps, for tests that last minutes."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jump(selectors.DefaultSelector):
    """Instead of waiting, moves the loop's clock on."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is not None and timeout > 0:
            self.loop.now += timeout + self.loop.lateness.uniform(0, self.loop.late)
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose hours pass at once.

    Parameters
    ----------
    late : float
        Timers are up to this many seconds late, as on a busy machine.
    """

    def __init__(self, late: float = 0.0) -> None:
        self.now = 0.0
        self.late = late
        self.lateness = random.Random(0)
        jump = _Jump()
        jump.loop = self
        super().__init__(jump)

    def time(self) -> float:
        return self.now


def simulate(main: Coroutine[Any, Any, Any], *, late: float = 0.0) -> Any:
    """Run a coroutine in simulated time."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(late)) as runner:
        return runner.run(main)
