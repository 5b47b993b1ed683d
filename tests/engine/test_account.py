"""One limit for an account: processes ask a coordinator, which may be lost."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cfai_nb._engine.account import Participant
from cfai_nb._engine.account import election as module
from cfai_nb._engine.account.coordinator import Coordinator, Peer
from cfai_nb._engine.account.election import Election
from cfai_nb._engine.store.tables import lock
from cfai_nb.models import Cost
from cfai_nb.models.ledger import Budget

KEYS = [bytes([at]) * 16 for at in range(10)]


async def written() -> None:
    await asyncio.sleep(0)


class Account:
    """A leader and processes that follow it, in one loop; messages are JSON and take a turn of the loop."""

    def __init__(self, followers: int, rate: float | None = None) -> None:
        self.leader = Participant(written, lambda keys: [])
        self.rate = rate
        self.followers = [Participant(written, lambda keys: []) for _ in range(followers)]
        self.peers: dict[Participant, Peer] = {}
        self.elect(self.leader, self.followers)

    def elect(self, leader: Participant, followers: list[Participant]) -> None:
        leader.lead()
        here = Coordinator(leader.limiter, leader.inputs.own, leader.written, leader.budget)
        here.opened.set()
        for each in followers:
            peer = self.peers[each] = here.join(self.later(each.receive))
            each.follow(self.later(peer.receive))

    @staticmethod
    def later(receive: Callable[[object], object]) -> Callable[[object], object]:
        loop = asyncio.get_running_loop()
        return lambda message: loop.call_soon(receive, json.loads(json.dumps(message)))

    def limiter(self, who: Participant):
        return who.limiter("model", "group", self.rate)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def budgets(*processes: Participant) -> list[Budget]:
    """The budget of the account, as each of these processes has it."""
    return [each.budget("free", 100.0, "100 Neurons") for each in processes]


def in_loop(test):
    return lambda: asyncio.run(test())


@in_loop
async def test_places_are_of_the_account():
    """However many processes ask, no more requests are in flight than the model has places."""
    account = Account(3)
    for who in (account.leader, *account.followers):
        account.limiter(who)
    account.limiter(account.leader).concurrency.limit = 8.0
    asked = [asyncio.ensure_future(account.limiter(who).enter()) for who in account.followers for _ in range(10)]
    await turns()
    assert sum(one.done() for one in asked) == 8
    for at, one in enumerate(asked):
        if one.done():
            account.limiter(account.followers[at // 10]).end(one.result(), "leave")
    await turns()
    assert sum(one.done() for one in asked) == 16
    for one in asked:
        one.cancel()
    await turns()
    assert account.limiter(account.leader).concurrency.in_use == 8  # those that were given to cancelled ones came back


@in_loop
async def test_a_minute_is_of_the_account():
    """Requests of all processes together stay within the minute, and a refusal of one holds all back."""
    account = Account(2, rate=12)
    for who in account.followers:
        account.limiter(who)
    one, two = account.followers
    account.limiter(account.leader).rate._gap = 0.0
    sent = [await account.limiter(one).enter()]
    account.limiter(one).end(sent[0], "limited", wait=5.0)
    await turns()
    assert account.limiter(account.leader).rate.mode == "closed"
    waits = asyncio.ensure_future(account.limiter(two).enter())
    await turns()
    assert not waits.done()
    waits.cancel()
    await turns()


@pytest.mark.parametrize(
    ("leads", "follows", "most"),
    [(None, 30, 30), (300, 30, 30), (300, None, 300), (30, 300, 30), (30, None, 30)],
)
def test_a_process_that_follows_keeps_to_its_own_rate(leads: float | None, follows: float | None, most: int) -> None:
    """A process sends no more than its own rate in any minute, whoever leads, and no more than the leader's."""

    async def minutes() -> None:
        account, clock = Account(1), [time.monotonic()]
        one = account.followers[0].limiter("model", "group", follows, own=True)
        lead = account.leader.limiter("model", "group", follows)  # the first message comes before the leader's own run
        assert account.leader.limiter("model", "group", leads, own=True) is lead
        lead.concurrency.limit = lead.concurrency.most = 1_000.0
        lead._clock = one._clock = lambda: clock[0]
        sent: list[float] = []

        async def row() -> None:
            at = await one.enter()
            sent.append(at)
            one.end(at, "clean")

        rows = [asyncio.ensure_future(row()) for _ in range(2 * most + 5)]
        for _ in range(1_300):  # a little over two minutes
            await turns(4)
            clock[0] += 0.1
            one._serve()
            lead._serve()
            if len(sent) == follows == most:
                assert one.turn is not None  # so that progress says what it waits for
        assert len(sent) >= 2 * most
        for at in sent:
            assert sum(at <= other < at + 60 for other in sent) <= most
        for each in rows:
            each.cancel()
        await turns()

    asyncio.run(minutes())


@in_loop
async def test_equal_inputs_are_claimed_once():
    """An input in flight in one process is waited for in the others; what was stored meanwhile is not claimed."""
    account = Account(2)
    one, two = account.followers
    for who in (account.leader, one, two):
        await who.inputs.join()
    await turns()
    first = await one.inputs.claim(KEYS[:6], stored=True)
    assert first.in_flight.keys == KEYS[:6]
    assert not first.others
    second = await two.inputs.claim(KEYS[4:8], stored=True)
    assert second.in_flight.keys == KEYS[6:8]
    assert set(second.others) == set(KEYS[4:6])
    third = await account.leader.inputs.claim(KEYS[5:9], stored=True)
    assert third.in_flight.keys == KEYS[8:9]
    assert third.others[KEYS[5]].elsewhere
    first.in_flight.cells = {key: ["x"] for key in KEYS[:6]}
    one.inputs.complete(first.in_flight)
    await turns()
    assert second.others[KEYS[4]].done.done()
    assert third.others[KEYS[5]].done.done()
    assert (await two.inputs.claim(KEYS[:2], stored=True)).stored == KEYS[:2]


@in_loop
async def test_a_lost_process_gives_everything_back():
    """Places, inputs and runs of a process that dies are free; what it had reserved counts as spent."""
    account = Account(2)
    one, two = account.followers
    await one.inputs.join()
    await account.limiter(one).enter()
    await one.inputs.claim(KEYS[:3], stored=True)
    budget = budgets(account.leader, one, two)
    assert await budget[1].hold(Cost(60.0), "model") == 60.0
    waits = asyncio.ensure_future(budget[2].hold(Cost(60.0), "model"))
    await turns()
    assert not waits.done()
    account.peers[one].lost()
    await turns()
    assert account.limiter(account.leader).concurrency.in_use == 0
    assert (await two.inputs.claim(KEYS[:3], stored=True)).in_flight.keys == KEYS[:3]
    assert account.leader.inputs.own.runs == 0
    assert await waits is None  # 60 of 100 count as spent
    assert budget[0].spent == pytest.approx(60.0)


@in_loop
async def test_a_budget_is_of_the_account():
    """Processes spend one budget: what one is billed, another no longer has."""
    account = Account(2)
    one, two = budgets(*account.followers)
    assert await one.hold(Cost(70.0), "model") == 70.0
    one.settle(70.0, 40.0)
    assert await two.hold(Cost(70.0), "model") is None
    assert await two.hold(Cost(60.0), "model") == 60.0
    assert two.spent == pytest.approx(40.0)


@in_loop
async def test_settled_reservations_leave_nothing_behind():
    """Whoever leads, a reservation is forgotten once it is settled, whatever its amount."""
    account = Account(1)
    for budget in budgets(account.leader, *account.followers):
        for amount in (1.0, 1.5, 1.5, 2.0):
            assert await budget.hold(Cost(amount), "model") == amount
        for amount in (1.5, 2.0, 1.0, 1.5):
            budget.settle(amount, 0.25)
        assert budget._far == {}
        await turns()
    assert [budget.requests for budget in budgets(account.leader, *account.followers)] == [0, 0]
    assert account.leader.budgets["free"].spent == 2.0


@in_loop
async def test_a_cancelled_wait_for_the_budget_reserves_nothing():
    """Who is stopped while the coordinator lets it wait gives back what it is granted afterwards."""
    account = Account(1)
    leader, one = budgets(account.leader, *account.followers)
    assert await leader.hold(Cost(80.0), "model") == 80.0
    waits = asyncio.ensure_future(one.hold(Cost(50.0), "model"))
    await turns()
    waits.cancel()
    await turns()
    leader.settle(80.0, 10.0)
    await turns()
    assert (leader.reserved, leader.left, one.reserved) == (0.0, 90.0, 0.0)


@in_loop
async def test_the_next_leader_knows_what_is_reserved():
    """Requests in flight keep their reservation under another coordinator, which also learns what was spent."""
    account = Account(2)
    one, two = budgets(*account.followers)
    assert await one.hold(Cost(20.0), "model") == 20.0
    one.settle(20.0, 20.0)
    assert await one.hold(Cost(60.0), "model") == 60.0
    for who in account.followers:
        who.lost()
    account.elect(account.followers[1], account.followers[:1])
    await turns()
    assert (two.reserved, two.spent) == (60.0, 20.0)
    waits = asyncio.ensure_future(two.hold(Cost(50.0), "model"))
    await turns()
    assert not waits.done()
    one.settle(60.0, 10.0)
    await turns()
    assert await waits == 50.0
    assert two.left == pytest.approx(20.0)


@in_loop
async def test_a_process_that_is_lost_while_it_claims_claims_nothing():
    """A new coordinator lets claims wait for a moment; who is gone by then does not hold inputs for ever."""
    account = Account(1)
    here = Coordinator(account.leader.limiter, account.leader.inputs.own, written, account.leader.budget)
    peer = here.join(lambda message: None)
    peer.receive({"do": "claim", "id": 1, "keys": KEYS[0].hex()})
    await turns()
    peer.lost()
    here.opened.set()
    await turns()
    assert not (await account.leader.inputs.claim(KEYS[:1], stored=True)).others


@in_loop
async def test_what_other_programs_used_reaches_all_processes():
    """The account's meter as one process read it counts for all: the coordinator keeps the largest reading."""
    account = Account(2)
    one, two = budgets(*account.followers)
    one.elsewhere = 50.0
    assert await one.hold(Cost(60.0), "model") is None
    assert await two.hold(Cost(60.0), "model") is None
    assert two.elsewhere == 50.0
    assert await two.hold(Cost(40.0), "model") == 40.0
    assert budgets(account.leader)[0].left == pytest.approx(10.0)


@in_loop
async def test_another_process_takes_the_lead():
    """A lost leader is replaced: requests in flight keep their places, the minute goes on, nothing waits for ever."""
    account = Account(2, rate=10)
    one, two = account.followers
    for who in (one, two):
        account.limiter(who)
    account.limiter(account.leader).rate._gap = 0.0
    sent = [await account.limiter(who).enter() for who in (one, one, two)]
    await one.inputs.claim(KEYS[:2], stored=True)
    followed = await two.inputs.claim(KEYS[:4], stored=True)
    waits = [asyncio.ensure_future(account.limiter(two).enter()) for _ in range(9)]
    await turns()
    granted = sum(wait.done() for wait in waits)
    for who in (one, two):
        who.lost()
    assert followed.others[KEYS[0]].done.done()
    account.elect(two, [one])
    await turns()
    rate = account.limiter(two).rate
    assert rate.used(account.limiter(two)._clock())[0] >= 3 + granted
    assert account.limiter(two).concurrency.in_use >= 3 + granted
    again = await two.inputs.claim(KEYS[:2], stored=True)
    assert set(again.others) == set(KEYS[:2])  # still in flight in the other process
    account.limiter(one).end(sent[0], "clean")
    account.limiter(two).end(sent[2], "clean")
    await turns()
    for wait in waits:
        wait.cancel()
    await turns()


@in_loop
async def test_what_is_reported_again_may_end_at_once():
    """A new coordinator may read in one turn of the loop that a process has an input in flight, and that it is done."""
    account = Account(1)
    peer = account.peers[account.followers[0]]
    peer.receive({"do": "claimed", "id": 7, "keys": KEYS[0].hex()})
    peer.receive({"do": "complete", "claim": 7, "stored": False})
    assert (await account.leader.inputs.claim(KEYS[:1], stored=True)).in_flight.keys == KEYS[:1]


@in_loop
async def test_an_answer_that_comes_right_behind_the_claim_is_heard():
    """Both messages may be read in one turn of the loop; the claiming process still learns that the input is stored."""
    participant = Participant(written, lambda keys: [])
    asked: list[dict[str, object]] = []
    participant.follow(asked.append)
    claiming = asyncio.ensure_future(participant.inputs.claim(KEYS[:1], stored=True))
    await turns(2)
    participant.receive({"id": asked[-1]["id"], "stored": [], "others": [(0, 7)]})
    participant.receive({"done": 7})
    in_flight = (await claiming).others[KEYS[0]]
    await asyncio.wait_for(in_flight.done, 1.0)


def test_closing_ends_what_waits_for_a_leader(tmp_path: Path) -> None:
    """A session that is closed before its process leads or follows leaves no run that waits for ever."""

    async def main() -> None:
        participant = Participant(written, lambda keys: [])
        election = Election(participant, tmp_path / "s.sqlite", "account")
        silent = lock(election._lock_path)  # of a process that does not answer
        assert silent is not None
        ready = asyncio.ensure_future(election.ready())
        await asyncio.sleep(0.05)
        await election.close()
        await ready
        await asyncio.wait_for(participant.inputs.join(), 1.0)
        silent.close()

    asyncio.run(main())


def test_a_leader_that_leaves_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is closed while its process lives on lets the others elect another leader, not wait in silence."""
    monkeypatch.setattr(module, "GRACE", 0.0)

    async def main() -> None:
        first, second = (Participant(written, lambda keys: []) for _ in range(2))
        leader, follower = (Election(each, tmp_path / "s.sqlite", "account") for each in (first, second))
        await leader.ready()
        await follower.ready()
        assert (first.role, second.role) == ("leads", "follows")
        await leader.close()
        async with asyncio.timeout(2.0):
            while second.role != "leads":
                await asyncio.sleep(0.01)
        await follower.close()

    asyncio.run(main())
