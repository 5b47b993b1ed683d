"""Limiter: how many requests at once, who is next, and what a cancelled wait leaves behind; in simulated time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from simulation import simulate

from cfai_nb._engine.concurrency import MOST, SLOTS, START
from cfai_nb._engine.limiter import Limiter, Rate


async def _serve(capacity: Callable[[float], int], seconds: float, wanted: int = MOST, latency: float = 0.5) -> Any:
    """Let workers ask for ``seconds``; return requests per slice of 10 s as (answered, refused), and the limiter."""
    loop, dice = asyncio.get_running_loop(), random.Random(7)
    limiter = Limiter(Rate(None), loop.time)
    slices = [[0, 0] for _ in range(int(seconds // 10) + 60)]
    working = 0

    async def worker() -> None:
        nonlocal working
        while loop.time() < seconds:
            attempt = 0
            while True:
                sent = await limiter.enter(first=attempt > 0)
                await asyncio.sleep(0.005)
                if working < capacity(loop.time()):
                    working += 1
                    await asyncio.sleep(dice.uniform(0.8, 1.2) * latency)
                    working -= 1
                    slices[int(loop.time() // 10)][0] += 1
                    limiter.end(sent, "clean")
                    break
                await asyncio.sleep(0.005)
                slices[int(loop.time() // 10)][1] += 1
                limiter.end(sent, "busy")
                attempt += 1
                await asyncio.sleep(dice.uniform(0, min(10.0, 0.2 * 2.0**attempt)))

    await asyncio.gather(*(worker() for _ in range(wanted)))
    return slices, limiter


@pytest.mark.slow
@pytest.mark.parametrize(("capacity", "share"), [(1, 0.10), (4, 0.05), (16, 0.05), (40, 0.05)])
def test_places_settle_near_the_capacity(capacity: int, share: float) -> None:
    """64 wanted, fewer held: at most 5 % refusals in five minutes, and 0.85 of what the capacity can do."""
    slices, limiter = simulate(_serve(lambda now: capacity, 300))
    answered = sum(a for a, _ in slices)
    refused = sum(r for _, r in slices)
    assert refused / (answered + refused) <= share
    assert answered >= 0.85 * capacity / 0.51 * 300
    assert limiter.concurrency.limit <= capacity + 2


def test_a_capacity_that_rises_is_used() -> None:
    """When the service holds three times as many, the places follow within two minutes."""
    slices, limiter = simulate(_serve(lambda now: 16 if now < 120 else 48, 300))
    late = sum(a for a, _ in slices[25:29]) / 40
    assert late >= 0.8 * 48 / 0.51
    assert limiter.concurrency.limit >= 40


def test_a_capacity_that_falls_is_obeyed() -> None:
    """When the service suddenly holds a tenth, refusals stay few once the lesson is learned."""
    slices, _ = simulate(_serve(lambda now: 40 if now < 120 else 4, 300))
    answered, refused = (sum(s[i] for s in slices[14:30]) for i in (0, 1))
    assert refused / (answered + refused) <= 0.08
    assert answered >= 0.8 * 4 / 0.51 * 160


def test_without_refusals_the_places_grow_to_what_is_wanted() -> None:
    """Clean answers double the places until all that is wanted is under way, and no further than is used."""
    slices, limiter = simulate(_serve(lambda now: 1000, 30))
    assert sum(a for a, _ in slices[1:3]) >= 0.95 * MOST / 0.51 * 20
    assert MOST <= limiter.concurrency.limit <= MOST + 1
    _, small = simulate(_serve(lambda now: 1000, 30, wanted=4))
    assert small.concurrency.limit == START


def test_never_more_than_the_places_are_out() -> None:
    """At no moment are more requests under way than the limit allows."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        limiter = Limiter(Rate(None), loop.time)
        most = 0

        async def one() -> None:
            nonlocal most
            sent = await limiter.enter()
            most = max(most, limiter.concurrency.in_use - int(limiter.concurrency.limit))
            await asyncio.sleep(0.1)
            limiter.end(sent, "leave")

        await asyncio.gather(*(one() for _ in range(200)))
        assert limiter.concurrency.in_use == 0
        return most

    assert simulate(main()) <= 0


def test_who_came_first_goes_first_and_the_refused_keep_their_turn() -> None:
    """Places are given out in order of arrival, but a request that was refused goes before all who wait."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        limiter, order = Limiter(Rate(None), loop.time), []
        limiter.concurrency.limit = 1.0
        held = await limiter.enter()

        async def one(name: str, first: bool) -> None:
            sent = await limiter.enter(first=first)
            order.append(name)
            limiter.end(sent, "leave")

        waiting = [asyncio.ensure_future(one(name, name == "again")) for name in ("a", "b", "again", "c")]
        await asyncio.sleep(0.1)
        limiter.end(held, "leave")
        await asyncio.gather(*waiting)
        return order

    assert simulate(main()) == ["again", "a", "b", "c"]


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its place has come"])
def test_a_cancelled_wait_gives_its_place_back(late: bool) -> None:
    """A request that is cancelled while it waits, or when it gets its place, holds up nothing."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        limiter = Limiter(Rate(None), loop.time)
        limiter.concurrency.limit = 1.0
        held = await limiter.enter()
        gone, next_ = asyncio.ensure_future(limiter.enter()), asyncio.ensure_future(limiter.enter())
        await asyncio.sleep(0)
        if late:
            limiter.end(held, "leave")
            gone.cancel()
        else:
            gone.cancel()
            await asyncio.sleep(0)
            limiter.end(held, "leave")
        async with asyncio.timeout(5):
            sent = await next_
        assert gone.cancelled()
        limiter.end(sent, "leave")
        return limiter.concurrency.in_use

    assert simulate(main()) == 0


def test_a_cancelled_wait_for_the_minute_does_not_hold_up_the_next() -> None:
    """A wait for room in the minute that is cancelled leaves the others their turn when the room comes."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter(Rate(1), loop.time)
        await limiter.enter()
        gone, next_ = asyncio.ensure_future(limiter.enter()), asyncio.ensure_future(limiter.enter())
        await asyncio.sleep(1)
        gone.cancel()
        async with asyncio.timeout(100):
            await next_
        return float(loop.time())

    assert 60 <= simulate(main()) <= 62


@pytest.mark.parametrize("fate", ["breaks", "is cancelled", "finds no capacity", "takes long"])
def test_a_probe_that_shows_nothing_holds_up_no_run(fate: str) -> None:
    """A closed minute opens again although the one request that was to find out broke, vanished or takes its time."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        limiter = Limiter(Rate(None), loop.time)
        sent = await limiter.enter()
        limiter.end(sent, "limited")
        probe = asyncio.ensure_future(limiter.enter())
        sent = await probe
        if fate == "breaks":
            limiter.end(sent, "leave")
        elif fate == "finds no capacity":
            limiter.end(sent, "busy")
        elif fate == "is cancelled":
            limiter.end(sent, "leave")
        start = loop.time()
        async with asyncio.timeout(70):
            await limiter.enter()
        return loop.time() - start

    assert simulate(main()) < 65


async def _queue(slots: int, answers: int, wanted: int = 0, load: float = 0.0) -> tuple[float, Limiter, list[float]]:
    """Ask a server of so many slots, which lets requests wait; return the seconds, the limiter and all its places."""
    loop, dice = asyncio.get_running_loop(), random.Random(7)
    limiter, free, left, places = Limiter(Rate(None), loop.time, server=True), asyncio.Semaphore(slots), answers, []
    limiter.concurrency.want(wanted)

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            sent = await limiter.enter()
            async with free:
                await asyncio.sleep(dice.uniform(0.8, 1.2) + max(0.0, load - loop.time()))
            limiter.end(sent, "clean")
            places.append(limiter.concurrency.limit)

    await asyncio.gather(*(worker() for _ in range(MOST)))
    return loop.time(), limiter, places


@pytest.mark.parametrize(("slots", "most"), [(1, 4), (4, 4), (16, 16), (64, 64)])
@pytest.mark.parametrize("load", [0.0, 20.0], ids=["loaded", "loads its model first"])
def test_places_follow_the_slots_of_a_server_that_lets_requests_wait(slots: int, most: int, load: float) -> None:
    """It is kept busy, and hardly a request waits there: four to begin with, more while that is faster."""
    seconds, _, places = simulate(_queue(slots, 1000, load=load))
    settled = places[400:]
    assert sum(settled) / len(settled) <= 1.25 * most
    assert seconds <= 1.25 * 1000 / slots + load + 30


def test_a_call_may_name_the_slots_of_a_server() -> None:
    """``concurrency=16`` uses 16 places at once, once: what the server shows later is not undone by the next call."""
    seconds, limiter, places = simulate(_queue(16, 200, wanted=16))
    assert seconds <= 1.3 * 200 / 16
    assert places[0] == 16
    limiter.concurrency.refused()
    limiter.concurrency.want(16)
    assert limiter.concurrency.limit < 16
    assert Limiter(Rate(None), server=True).concurrency.limit == SLOTS
