"""Budgets: nothing is sent that could go beyond, and what was set aside is trued up by the bill."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.models import USD_PER_NEURON, Cost, Usage, default, price
from cfai_nb.models.ledger import Budget, Charge, as_budget, midnight, spent_today
from cfai_nb.session import listings

LABELS = ["billing", "shipping"]


def uneven(count: int) -> pd.Series:
    rng = np.random.default_rng(0)
    return pd.Series([f"text number {i} " + "word " * int(n) for i, n in enumerate(rng.integers(1, 60, count))])


@pytest.mark.parametrize("asked", [{"budget": 1e-9}, {"neurons": 0.001}, {"budget": 0}])
def test_what_cannot_fit_is_refused_before_sending(emulator: Emulator, asked: dict[str, float]) -> None:
    """A budget below the price of the first input refuses at once, says so, and sends nothing."""
    with pytest.raises(cf.BudgetError) as caught:
        uneven(500).cfai.embed(**asked)
    assert "Nothing was sent" in str(caught.value)
    assert "Not even the first request fits" in str(caught.value)
    assert "raise budget=" in str(caught.value)
    assert emulator.requests == 0


def test_what_fits_is_done(emulator: Emulator) -> None:
    """A budget of the plan's own estimate is enough for all of it."""
    texts = uneven(300)
    estimate = texts.cfai.embed.plan().estimate
    assert texts.cfai.embed(neurons=estimate.cost.neurons).notna().all()
    assert emulator.billed <= estimate.cost.neurons


@pytest.mark.slow
@pytest.mark.timeout(30)
@pytest.mark.parametrize("share", [1.01, 1.1, 1.3, 1.6])
@pytest.mark.parametrize("concurrency", [1, 7, "auto"])
def test_a_budget_that_ends_in_mid_run_ends_it(emulator: Emulator, share: float, concurrency: Any) -> None:
    """The bill never passes the limit; the run ends with one error, keeps what was delivered, and can be resumed."""
    texts = uneven(150)
    usage = texts.cfai.generate.plan("Repeat: {value}").estimate.usage
    prompts = price(Usage({"input_tokens": usage.amounts["input_tokens"]}), default("generate")).neurons
    assert prompts is not None
    limit = prompts * share  # enough for all that is read, not for all that is written
    with pytest.raises(cf.BudgetError, match="used up") as caught:
        texts.cfai.generate("Repeat: {value}", neurons=limit, concurrency=concurrency)
    assert emulator.billed <= limit
    done = cf.last_run().event.done
    assert 0 < done < 150
    assert f"{done} of 150 rows are done and kept" in str(caught.value)
    sent = emulator.requests
    assert texts.cfai.generate("Repeat: {value}").notna().all()
    assert emulator.requests == sent + 150 - done


def test_reservations_are_trued_up(emulator: Emulator) -> None:
    """Setting aside the most a reply may cost does not keep out what in the end is paid for: all of it is done."""
    texts = uneven(100)
    texts.cfai.generate("Repeat: {value}", cache=False)
    bill = emulator.billed
    each = texts.cfai.generate.plan("Repeat: {value}").estimate.cost.neurons / 100
    assert texts.cfai.generate("Repeat: {value}", neurons=bill + 3 * each, cache=False).notna().all()


def test_stored_answers_need_no_budget(emulator: Emulator) -> None:
    """What the store holds costs nothing, also with a budget of nothing."""
    texts = uneven(20)
    texts.cfai.embed()
    assert texts.cfai.embed(budget=0).notna().all()


def test_an_unknown_price_is_refused_unless_allowed(emulator: Emulator) -> None:
    """A model without a published price does not fit any budget, unless the budget allows it."""
    texts = uneven(5)
    with pytest.raises(cf.BudgetError, match="publishes no price"):
        texts.cfai.embed(model="embeddinggemma-300m", budget=100)
    assert emulator.requests == 0
    allowed = cf.Budget(limit=1.0, label="1 Neuron", allow_unknown=True)
    assert texts.cfai.embed(model="embeddinggemma-300m", budget=allowed).notna().all()
    assert cf.ledger()["neurons"].isna().all()


def test_one_budget_for_the_session(tmp_path: Path) -> None:
    """A budget given to connect() is shared: what one call spends, the next does not have, also at the same time."""
    texts = uneven(200)
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    whole = texts.cfai.embed.plan().estimate.cost.neurons
    assert whole is not None
    cf.connect(emulator, store=tmp_path / "s.sqlite", neurons=whole * 1.5)
    texts.cfai.embed(cache=False)
    with pytest.raises(cf.BudgetError):
        texts.cfai.embed(cache=False)
    assert emulator.billed <= whole * 1.5

    emulator = Emulator(rate=None, latency=0.05)
    cf.connect(emulator, store=tmp_path / "t.sqlite", budget=whole * 1.5 * USD_PER_NEURON)

    async def both() -> list[Any]:
        calls = [(texts + end).cfai.embed.aio(cache=False) for end in ("a", "b")]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(both())
    assert any(isinstance(result, cf.BudgetError) for result in results)
    assert emulator.billed <= whole * 1.5


def test_a_budget_of_the_call_goes_before_that_of_the_session(tmp_path: Path) -> None:
    """budget= at a call replaces the session's for that call."""
    emulator = Emulator(rate=None)
    cf.connect(emulator, store=tmp_path / "s.sqlite", budget=0.0)
    with pytest.raises(cf.BudgetError):
        uneven(5).cfai.embed()
    assert uneven(5).cfai.embed(budget=1.0).notna().all()


def test_free_counts_what_was_charged_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """budget="free" is today's 10,000 Neurons less what this account was charged since 00:00 UTC."""
    cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite")
    session = cf.session.current()
    now = 1_790_000_000.0  # some afternoon
    monkeypatch.setattr(time, "time", lambda: now)
    store = session.store()
    assert store is not None
    facts: dict[str, Any] = {"run": "r", "account": session.account, "origin": "emulator", "model": "m", "verb": "v"}
    store.charge(
        [
            Charge(time=midnight(now) - 1, neurons=5000.0, exact=True, **facts),
            Charge(time=midnight(now) + 1, neurons=9000.0, exact=True, **facts),
            Charge(time=now - 1, neurons=None, exact=False, **facts),
            Charge(time=now - 1, neurons=900.0, exact=True, **{**facts, "account": "another"}),
        ]
    )
    assert session.spent_today() == 9000
    budget = session.options({"budget": "free"}).budget
    assert budget is not None
    assert budget.limit == 1000
    assert "1,000 of 10,000" in budget.label
    store.charge([Charge(time=now, neurons=1500.0, exact=True, **facts)])
    with pytest.raises(cf.BudgetError, match="free Neurons"):
        uneven(3).cfai.embed(budget="free")
    now += 86_400
    assert uneven(3).cfai.embed(budget="free").notna().all()


def test_free_is_one_budget_for_calls_at_once(tmp_path: Path) -> None:
    """Two calls at the same time with budget="free" do not each spend what is left of the day."""
    emulator = Emulator(rate=None, latency=0.05)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite")
    texts = pd.Series([f"{i:04d} " * 60 for i in range(200)])
    whole = texts.cfai.embed.plan().estimate.cost.neurons
    store = session.store()
    assert store is not None
    assert whole is not None
    left = whole * 1.4
    facts: dict[str, Any] = {"run": "r", "account": session.account, "origin": "emulator", "model": "m", "verb": "v"}
    store.charge([Charge(time=time.time(), neurons=10_000 - left, exact=True, **facts)])

    async def both() -> list[Any]:
        calls = [(texts + end).cfai.embed.aio(budget="free") for end in ("a", "b")]
        return await asyncio.gather(*calls, return_exceptions=True)

    results = asyncio.run(both())
    assert sum(isinstance(result, cf.BudgetError) for result in results) == 1
    assert emulator.billed <= left * 1.001


def test_a_repair_is_held_against_the_budget_too(tmp_path: Path) -> None:
    """The second turn of a conversation, longer than the first, is set aside at its own length."""

    class Service:
        """Never fits the schema, and bills every turn by its length."""

        billed = 0.0

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            body = json.loads((await receive())["body"])
            read = sum(len(message["content"]) for message in body["messages"]) / 4
            neurons = read * 5500 / 1e6
            self.billed += neurons
            answer = {"choices": [{"message": {"content": "no " * 9000}}], "usage": {"neurons": neurons}}
            out = json.dumps({"result": answer, "success": True, "errors": [], "messages": []}).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": out})

    service = Service()
    cf.connect(service, store=tmp_path / "s.sqlite", concurrency=1)
    frame = pd.DataFrame({"t": ["one row"]})
    schema = {"n": int}
    first = frame.cfai.generate.plan("{t}", schema=schema).estimate.cost.neurons
    assert first is not None
    limit = first * 1.05
    with pytest.raises(cf.BudgetError):
        frame.cfai.generate("{t}", schema=schema, neurons=limit)
    assert service.billed <= limit


def test_midnight_is_that_of_utc() -> None:
    """The day begins at 00:00 UTC, and only charges of this account and origin count."""
    now = 1_790_000_000.0
    assert midnight(now) % 86_400 == 0
    assert 0 <= now - midnight(now) < 86_400
    assert midnight(midnight(now)) == midnight(now)
    facts: dict[str, Any] = {"run": "r", "model": "m", "verb": "v", "exact": True}
    charges = [
        Charge(time=now, neurons=1.0, account="a", origin="cloudflare", **facts),
        Charge(time=now, neurons=2.0, account="a", origin="emulator", **facts),
        Charge(time=now, neurons=4.0, account="b", origin="cloudflare", **facts),
    ]
    assert spent_today(charges, "a", "cloudflare", now).neurons == 1.0


@pytest.mark.parametrize(
    ("wish", "neurons", "limit"),
    [(0.011, None, 1000), (1, None, 1e6 / 11), (None, 5.0, 5.0), ("free", None, 10_000), (0, None, 0)],
)
def test_wishes_become_neurons(wish: Any, neurons: Any, limit: float) -> None:
    """Dollars at the list price, Neurons as they are, "free" as the day's allowance."""
    made = as_budget(wish, neurons)
    assert made is not None
    assert made.limit == pytest.approx(limit)


@pytest.mark.parametrize(("wish", "words"), [(0.00001, "$0.00001"), (0.0123, "$0.0123"), (20, "$20"), (0, "$0")])
def test_a_budget_is_named_as_it_was_given(wish: float, words: str) -> None:
    """Small and round amounts are written plainly."""
    made = as_budget(wish, None)
    assert made is not None
    assert made.label == words


def test_no_wish_is_no_budget() -> None:
    """Without a wish there is no limit; free Neurons that are used up are zero, not negative."""
    assert as_budget(None, None) is None
    spent = as_budget("free", None, used_today=20_000.0)
    assert spent is not None
    assert spent.limit == 0


def test_reserving_and_settling_add_up() -> None:
    """After any order of reservations and bills, the limit less the bills is left, and nothing stays reserved."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        budget = Budget(10.0, "ten")
        bills, held = 0.0, []
        for most in rng.uniform(0.01, 0.3, 200):
            reserved = budget._take(float(most))
            if reserved is not None:
                held.append(reserved)
            if held and rng.random() < 0.6:
                bill = held.pop(int(rng.integers(len(held))))
                budget.settle(bill, bill / 2)
                bills += bill / 2
            assert budget.spent + budget.reserved <= 10.0 * (1 + 1e-6)
        for reserved in held:
            budget.settle(reserved, None)
            bills += reserved
        assert budget.reserved == 0
        assert budget.spent == pytest.approx(bills)


def test_waiters_are_served_in_order_and_none_is_forgotten() -> None:
    """Whoever waits for a bill gets what is given back, first come first served, or word that nothing is left."""

    async def main() -> list[Any]:
        budget, order = Budget(10.0, "ten"), []

        async def one(name: str, most: float) -> None:
            held = await budget.hold(Cost(most), "m")
            order.append((name, held))

        first, second = await budget.hold(Cost(6.0), "m"), await budget.hold(Cost(4.0), "m")
        assert (first, second) == (6.0, 4.0)
        tasks = [asyncio.ensure_future(one(name, most)) for name, most in (("a", 5.0), ("b", 1.0), ("c", 9.0))]
        await asyncio.sleep(0)
        budget.settle(4.0, 2.0)  # two are left: a waits, and b does not overtake it
        await asyncio.sleep(0.01)
        assert order == []
        budget.settle(6.0, 1.0)
        await asyncio.sleep(0.01)
        assert order == [("a", 5.0), ("b", 1.0)]
        budget.settle(5.0, 5.0)
        budget.settle(1.0, 1.0)
        await asyncio.gather(*tasks)
        assert budget.reserved == 0
        assert await budget.hold(Cost(0.5), "m") == 0.5
        return order

    assert asyncio.run(main()) == [("a", 5.0), ("b", 1.0), ("c", None)]


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its turn has come"])
def test_a_cancelled_wait_for_a_budget_holds_up_no_run(late: bool) -> None:
    """Its place in the line and what it was given go to the next."""

    async def main() -> Budget:
        budget = Budget(10.0, "ten")
        held = await budget.hold(Cost(10.0), "m")
        gone, after = (asyncio.ensure_future(budget.hold(Cost(8.0), "m")) for _ in range(2))
        await asyncio.sleep(0)
        if late:
            budget.settle(held, 0.0)
        gone.cancel()
        await asyncio.sleep(0)
        if not late:
            budget.settle(held, 0.0)
        assert await asyncio.wait_for(after, 2) == 8.0
        assert gone.cancelled()
        budget.settle(8.0, 0.0)
        return budget

    budget = asyncio.run(main())
    assert (budget.requests, budget.reserved, budget.spent) == (0, 0.0, 0.0)


def test_a_budget_is_shared_by_loops_in_several_threads() -> None:
    """Two event loops draw on one budget: nothing beyond the limit, nothing left behind, nothing waits for ever."""
    budget, most = Budget(3.0, "three"), [0.0]

    async def one(rng: Any) -> None:
        held = await budget.hold(Cost(1.0), "m")
        assert held == 1.0
        most[0] = max(most[0], budget.reserved)
        try:
            await asyncio.sleep(rng.random() / 1_000)
        finally:
            budget.settle(held, 0.0)

    async def many() -> None:
        rng = np.random.default_rng(1)
        tasks = [asyncio.ensure_future(one(rng)) for _ in range(300)]
        for task in tasks[::7]:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert (budget.requests, budget.reserved, budget.spent) == (0, 0.0, 0.0)
    assert most[0] <= 3.0


def test_a_loop_that_closed_is_not_waited_for() -> None:
    """Who waited on a loop that is gone gives its turn to the next."""
    budget = Budget(1.0, "one")
    loop = asyncio.new_event_loop()

    async def held() -> float | None:
        return await budget.hold(Cost(1.0), "m")

    assert loop.run_until_complete(held()) == 1.0
    waiting = loop.create_task(held())
    loop.run_until_complete(asyncio.sleep(0))
    waiting._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()

    async def later() -> float | None:
        waits = asyncio.ensure_future(held())
        await asyncio.sleep(0)
        budget.settle(1.0, 0.0)
        return await asyncio.wait_for(waits, 2)

    assert asyncio.run(later()) == 1.0


def test_an_odd_bill_leaves_the_budget_a_limit() -> None:
    """What is not a number counts as what was reserved; no bill makes a budget larger."""
    for odd in (float("nan"), float("inf"), -float("inf")):
        budget = Budget(10.0, "ten")
        budget.settle(budget._take(4.0) or 0.0, odd)
        assert budget.left == 6.0
    budget.settle(budget._take(4.0) or 0.0, -100.0)
    assert budget.left == 6.0


@pytest.mark.slow
def test_waiting_for_a_budget_costs_nothing_and_hears_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that wait for a bill look at the budget when there is one; Stop ends their wait and keeps what is paid."""
    emulator = Emulator(rate=None, latency=0.4)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    texts = uneven(60)
    whole = texts.cfai.generate.plan("Repeat: {value}").estimate.cost.neurons
    assert whole is not None
    looks = [0]
    take = Budget._take
    monkeypatch.setattr(Budget, "_take", lambda self, neurons: (looks.append(1), take(self, neurons))[1])

    async def stopped() -> float:
        run = asyncio.ensure_future(texts.cfai.generate.aio("Repeat: {value}", neurons=whole / 2))
        await asyncio.sleep(0.7)
        run.cancel()
        begun = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await run
        return time.monotonic() - begun

    assert asyncio.run(stopped()) < 1.5
    assert len(looks) < 3 * 60
    sent = emulator.requests
    assert 0 < sent < 60
    assert texts.cfai.generate("Repeat: {value}").notna().all()
    assert emulator.requests == 60, "what was paid for is not sent again"


def test_a_request_that_fails_gives_its_reservation_back(tmp_path: Path) -> None:
    """Faults before the work cost nothing: the budget of exactly one pass lasts through them."""
    emulator = Emulator(rate=None, faults=[None, "500", "reset", "5006", None, "503"])
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    texts = uneven(30)
    whole = texts.cfai.classify.plan(LABELS).estimate.cost.neurons
    with pytest.warns(cf.CfaiWarning, match="1 of 30 rows"):
        texts.cfai.classify(LABELS, neurons=whole, concurrency=1)
    assert cf.last_run().event.done == 29


def test_an_unknown_price_is_not_a_saving_of_nothing(emulator: Emulator) -> None:
    """Rows of unknown price say so when they come from the store, and no total makes a zero of what is not known."""
    texts = uneven(5)
    for _ in range(2):
        texts.cfai.embed(model="embeddinggemma-300m")
    assert "nothing spent · saved 5 rows of unknown price" in cf.last_run().receipt
    assert cf.last_run().event.unknown_saved == 5
    texts.cfai.embed()
    charges = pd.DataFrame(cf.ledger())
    assert charges["saved_neurons"].isna().tolist() == [False, True, False]
    totals = cf.ledger().totals().reset_index().set_index("model")
    gemma, other = totals.loc["@cf/google/embeddinggemma-300m"], totals.loc[default("embed").id]
    assert gemma[["neurons", "usd", "saved_neurons"]].isna().all()
    assert (gemma["unpriced"], gemma["requests"], gemma["rows"]) == (1, 1, 10)
    assert (other["neurons"], other["saved_neurons"]) == (pytest.approx(emulator.billed), 0)
    one = dataclasses.replace(cf.session.current().charges()[0], tokens=None)
    assert listings.charges_frame([one, dataclasses.replace(one, tokens=3.0)]).totals()["tokens"].isna().all()
    assert ") and 1 call of unknown price</" in cf.ledger()._repr_html_()
