"""Rate: requests per minute against services that count in different ways, in simulated time."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from simulation import simulate

from cfai_nb._engine.limiter import Limiter, Rate

PLACES, LATENCY, REFUSAL, WAY = 64, 0.3, 0.02, 0.005


class Sliding:
    """Counts the last sixty seconds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._times: collections.deque[float] = collections.deque()

    def admit(self, now: float) -> bool:
        while self._times and self._times[0] <= now - 60:
            self._times.popleft()
        if len(self._times) >= self.limit:
            return False
        self._times.append(now)
        return True


class Fixed:
    """Counts minutes of its own, which began ``phase`` seconds before ours."""

    def __init__(self, limit: int, phase: float) -> None:
        self.limit, self.phase = limit, phase
        self._minute, self._count = -1, 0

    def admit(self, now: float) -> bool:
        minute = int((now + self.phase) // 60)
        if minute != self._minute:
            self._minute, self._count = minute, 0
        self._count += 1
        if self._count > self.limit:
            self._count -= 1
            return False
        return True


class Bucket:
    """Refills evenly and holds ``burst``."""

    def __init__(self, limit: int, burst: int) -> None:
        self.limit, self.burst = limit, burst
        self._level, self._seen = float(burst), 0.0

    def admit(self, now: float) -> bool:
        self._level = min(self.burst, self._level + (now - self._seen) * self.limit / 60)
        self._seen = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


Server = Sliding | Fixed | Bucket
SERVERS: dict[str, Callable[[], Server]] = {
    "sliding 300": lambda: Sliding(300),
    "sliding 720": lambda: Sliding(720),
    "sliding 3000": lambda: Sliding(3000),
    "fixed 300, in step": lambda: Fixed(300, 0),
    "fixed 300, 17 s old": lambda: Fixed(300, 17),
    "fixed 300, 45 s old": lambda: Fixed(300, 45),
    "fixed 1500, 30 s old": lambda: Fixed(1500, 30),
    "bucket 300, of 5": lambda: Bucket(300, 5),
    "bucket 300, full": lambda: Bucket(300, 300),
    "bucket 600, of 10": lambda: Bucket(600, 10),
    "bucket 1500, of 25": lambda: Bucket(1500, 25),
}
EVEN_OR_NOT = [name for name in SERVERS if not name.startswith("bucket")]


@dataclass
class Outcome:
    """What came of a simulated run."""

    delivered: int
    refused: int
    seconds: float

    @property
    def share_refused(self) -> float:
        return self.refused / (self.delivered + self.refused)


async def _run(server: Server, told: float | None, rows: int) -> Outcome:
    """Send rows through a limiter as the engine does: refused ones keep their turn."""
    loop = asyncio.get_running_loop()
    limiter = Limiter(Rate(told), loop.time)
    outcome = Outcome(0, 0, 0.0)
    todo = iter(range(rows))

    async def worker() -> None:
        for _ in todo:
            attempt = 0
            while True:
                sent = await limiter.enter(first=attempt > 0)
                await asyncio.sleep(WAY)
                if server.admit(loop.time()):
                    break
                await asyncio.sleep(REFUSAL - WAY)
                attempt += 1
                outcome.refused += 1
                limiter.end(sent, "limited")
            await asyncio.sleep(LATENCY - WAY)
            limiter.end(sent, "clean")
            outcome.delivered += 1
            outcome.seconds = loop.time()

    async with asyncio.timeout(3600):
        await asyncio.gather(*(worker() for _ in range(PLACES)))
    return outcome


async def _ideal(server: Server, rows: int) -> float:
    """Seconds a client needs that knows in advance what will be admitted."""
    free = [0.0] * PLACES
    now = 0.0
    for _ in range(rows):
        now = max(now, free.pop(0))
        while not server.admit(now + WAY):
            now += 0.01
        free.append(now + LATENCY)
    return free[-1]


@pytest.mark.slow
@pytest.mark.parametrize("late", [0.0, 0.005, 0.05], ids=["in time", "5 ms late", "50 ms late"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_rate_that_is_given_is_kept(name: str, late: float) -> None:
    """The rate is given: 0.95 of what it permits, also on a busy machine; at most 1 % refused by counted minutes."""
    limit = SERVERS[name]().limit
    outcome = simulate(_run(SERVERS[name](), limit, 3 * limit), late=late)
    permitted = simulate(
        _ideal(Bucket(limit, SERVERS[name]().burst) if "bucket" in name else Sliding(limit), 3 * limit)
    )  # type: ignore[union-attr]
    assert outcome.delivered == 3 * limit
    assert outcome.seconds <= permitted / 0.95
    assert outcome.share_refused <= (0.01 if name in EVEN_OR_NOT else 0.10)


@pytest.mark.parametrize("name", SERVERS)
def test_a_rate_that_is_not_given_is_learned(name: str) -> None:
    """Without a given rate: everything is delivered, at most 10 % refused, at 0.90 of what the service permits."""
    limit = SERVERS[name]().limit
    outcome = simulate(_run(SERVERS[name](), None, 3 * limit))
    assert outcome.delivered == 3 * limit
    assert outcome.share_refused <= 0.10
    assert outcome.seconds <= simulate(_ideal(SERVERS[name](), 3 * limit)) / 0.90


@pytest.mark.parametrize("server", [Sliding(20), Fixed(20, 30), Bucket(20, 20)], ids=["sliding", "fixed", "bucket"])
def test_small_rates_lose_nothing(server: Server) -> None:
    """At 20 a minute (models of the paid plan) nothing is lost, and with the rate given nothing is refused."""
    told = simulate(_run(Sliding(20), 20, 60))
    assert (told.delivered, told.refused) == (60, 0)
    learned = simulate(_run(server, None, 60))
    assert learned.delivered == 60
    assert learned.seconds < 200


def test_without_a_limit_nothing_is_held_back() -> None:
    """Against a service that never refuses, an untold rate never waits."""
    outcome = simulate(_run(Sliding(10**9), None, 5000))
    assert outcome.refused == 0
    assert outcome.seconds < 5000 / PLACES * LATENCY * 1.1 + 2


def test_a_limit_that_is_lifted_is_found_out() -> None:
    """A learned limit is tried again: after the service has forgotten it, work goes faster in the end."""

    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        rate = Rate(None)
        limiter, server, begun, when = Limiter(rate, loop.time), Sliding(60), loop.time(), [0.0, 0.0]

        async def worker() -> None:
            while loop.time() - begun < 1500:
                sent = await limiter.enter()
                if loop.time() - begun > 240:
                    server.limit = 10**9
                ok = server.admit(loop.time())
                await asyncio.sleep(LATENCY if ok else REFUSAL)
                if ok:
                    limiter.end(sent, "clean")
                    when[loop.time() - begun > 1400] += 1
                else:
                    limiter.end(sent, "limited")

        await asyncio.gather(*(worker() for _ in range(8)))
        return when[0], when[1]

    _, late = simulate(main())
    assert late > 100 * 60 / 60 * 3, "the last hundred seconds go at three times the old rate at least"


def test_two_models_share_the_minute_of_their_task() -> None:
    """Two limiters on one rate send together no more than the given rate."""

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        rate, server, sent_at = Rate(100), Sliding(100), [0, 0]
        paces = [Limiter(rate, loop.time), Limiter(rate, loop.time)]

        async def worker(limiter: Limiter) -> None:
            for _ in range(10):
                sent = await limiter.enter()
                admitted = server.admit(loop.time())
                sent_at[not admitted] += 1
                await asyncio.sleep(LATENCY)
                limiter.end(sent, "clean")

        async with asyncio.timeout(1000):
            await asyncio.gather(*(worker(paces[i % 2]) for i in range(30)))
        return sent_at[0], sent_at[1]

    assert simulate(main()) == (300, 0)


def test_retry_after_is_waited_for() -> None:
    """After a refusal that names seconds, nothing goes out before they are over, and then something does."""
    rate = Rate(None)
    rate.take(0.0)
    rate.take(0.0)
    rate.clean(0.0, 0.1)
    rate.refused(0.0, 0.1, 7.0)
    assert rate.wait(0.2) == pytest.approx(6.9)
    assert rate.wait(7.1) <= 0


def test_one_refusal_holds_everybody_back_but_a_probe() -> None:
    """In a closed minute at most one request is under way to find out whether it has opened."""
    rate = Rate(None)
    for _ in range(50):
        rate.take(1.0)
    for _ in range(40):
        rate.clean(1.0, 1.2)
    rate.refused(1.0, 1.2)
    assert rate.mode == "closed"
    now = 1.2 + rate.wait(1.2)
    assert rate.wait(now) <= 0
    rate.take(now)
    assert rate.wait(now + 0.01) > 0
