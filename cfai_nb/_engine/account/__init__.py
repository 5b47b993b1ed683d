"""The limits of an account, shared by all processes that use it: one coordinates, and the others send it messages.

An ``Engine`` has one ``Participant``, which is the process's part.  While it leads (or is alone), its limiters, inputs
in flight and budgets decide without a message.  While it follows, they ask the ``Coordinator`` of another process; the
order of the requests within this process, and the share of each run, are still decided here.  Between the loss of one
coordinator and the next, nothing new is sent, and requests in flight continue.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

from ...models import Cost
from ...models.ledger import Budget
from ..limiter import Limiter, Outcome, Rate, Share
from ..stopping import in_background
from .coordinator import Message, Send, packed
from .in_flight import Claim, InFlight, InputsInFlight


class Lost(Exception):
    """The coordinator is gone; the next one is asked again."""


class Membership(Protocol):
    """The way to a coordinator: an ``Election`` on one machine, or a link to a cluster's scheduler."""

    async def ready(self) -> None:
        """Wait until this process leads or follows."""

    async def close(self) -> None:
        """Leave."""


class Participant:
    """The limiters, inputs in flight and budgets that this process shares with others.

    ``written`` waits until the store has committed what this process handed to it; ``known`` returns which of some keys
    the store holds.
    """

    def __init__(
        self, written: Callable[[], Awaitable[None]], known: Callable[[Sequence[bytes]], Sequence[bytes]]
    ) -> None:
        self.role: Literal["leads", "follows", "between"] = "leads"
        self.inputs = SharedInputs(self)
        self.written, self.known = written, known
        self.budgets: dict[str, SharedBudget] = {}
        self._limiters: dict[str, SharedLimiter] = {}
        self._rates: dict[str, Rate] = {}
        self._numbers = itertools.count(1)
        self.asked: dict[int, asyncio.Future[Message]] = {}  # open questions, by number
        self.send: Send = lambda message: None  # to the coordinator
        self.settled = asyncio.Event()  # set while this process leads or follows
        self.settled.set()

    def limiter(
        self, model: str, group: str, rate: float | None, server: bool = False, *, own: bool = False
    ) -> SharedLimiter:
        """Return the limiter of a model; the models of a group, which the service counts together, share a rate.

        ``server``: another server has the model, which lets requests wait rather than refuse them.  ``own``: the rate
        is that of this process, which counts more than that of another process, which may have asked first.
        """
        limiter = self._limiters.get(model)
        if limiter is None or (own and limiter.rate.given != rate):
            shared = self._rates.setdefault(f"{group} {rate}", Rate(rate))
            if limiter is None:
                limiter = self._limiters[model] = SharedLimiter(self, model, group, shared, server)
            limiter.take_over(shared)
        return limiter

    def budget(self, name: str, limit: float, label: str) -> Budget:
        """Return a budget that all processes share."""
        return self.budgets.setdefault(name, SharedBudget(limit, label, here=self, name=name))

    # -- the coordinator -----------------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Decide here from now on."""
        self._become("leads")

    def follow(self, send: Send) -> None:
        """Ask a coordinator from now on: ``send`` sends it a message, and its messages go to ``receive``."""
        self.send = send
        for limiter in self._limiters.values():
            limiter.resume()
        for budget in self.budgets.values():
            budget.resume()
        self.inputs.resume()
        self._become("follows")

    def _become(self, role: Literal["leads", "follows"]) -> None:
        self.role = role
        self.settled.set()
        for limiter in self._limiters.values():
            limiter.go_on()

    def lost(self) -> None:
        """Note that the coordinator is gone: open questions are asked again once there is another."""
        self.role, self.send = "between", lambda message: None
        self.settled.clear()
        asked, self.asked = self.asked, {}
        for future in asked.values():
            if not future.done():
                future.set_exception(Lost())
        self.inputs.lost()
        for limiter in self._limiters.values():
            limiter.lost()

    def receive(self, message: Message) -> None:
        """Act on a message of the coordinator."""
        if "done" in message:
            # In the loop's next turn: the answer to a claim may have come right before it and not be read yet.
            asyncio.get_running_loop().call_soon(self.inputs.done, message["done"])
        elif "turn" in message:
            if message["model"] is not None:
                self._limiters[message["model"]].waits(message["turn"])
        elif (future := self.asked.pop(message["id"], None)) is not None and not future.done():
            future.set_result(message)

    def ask(self, **message: Any) -> tuple[int, asyncio.Future[Message]]:
        """Ask the coordinator; return the number of the question and its answer."""
        number = next(self._numbers)
        future = self.asked[number] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda future: future.cancelled() or future.exception())  # nothing may await it
        self.send({"id": number, **message})
        return number, future

    def report(self, **message: Any) -> int:
        """Tell a new coordinator what is so already; return the number it knows it by."""
        number = next(self._numbers)
        self.send({"id": number, **message})
        return number


class SharedLimiter(Limiter):
    """A limiter with places and turns that all processes of the account share.

    The rate of the process that leads holds for all together.  A process that follows keeps to its own rate as well.
    """

    def __init__(self, here: Participant, model: str, group: str, rate: Rate, server: bool) -> None:
        super().__init__(rate, server=server)
        self._here, self._model, self._group, self._server = here, model, group, server
        self._wanted = 0  # places that were asked for and not given yet
        self._full = False  # whether the own rate, where this process follows, lets requests wait
        self._places: dict[float, int] = {}  # when a request left -> the coordinator's number of its place
        self._minute = (0, 0.0)  # requests of the account in the last minute, and when the first of them left

    def _at_once(self, share: Share | None) -> float | None:
        return super()._at_once(share) if self._here.role == "leads" else None

    def _serve(self) -> None:
        if self._here.role == "leads":
            super()._serve()
        elif self._here.role == "follows":
            self._ask_for_places()

    def _ask_for_places(self) -> None:
        """Ask for a place for each request that waits, as far as the own rate allows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, wait = self._clock(), 0.0
        for first in self._eligible()[self._wanted :]:
            if (wait := self.rate.wait(now)) > 0:
                self._opens = now + wait
                self._timer = asyncio.get_running_loop().call_later(min(wait, 1.0), self._serve)
                break
            self._wanted += 1
            self.rate.asked += 1
            in_background(self._ask_for_place(first))
        if self._full != (wait > 0):
            self._full = wait > 0
            self._hold(self._full, now)

    def _eligible(self) -> list[bool]:
        """Return, for each request that only waits for a place, whether it was refused before."""
        room: dict[int, float] = {}
        found = []
        for first, line in ((True, self._again), (False, self._waiting)):
            for waiter in line:
                if (share := waiter.share) is not None:
                    room.setdefault(id(share), share.room)
                    if room[id(share)] < 1:
                        continue
                    room[id(share)] -= 1
                found.append(first)
        return found

    def _described(self, do: str) -> dict[str, Any]:
        """Return a message with what the coordinator needs to find its own limiter of the model."""
        return {
            "do": do, "model": self._model, "group": self._group, "rate": self.rate.given, "server": self._server,
            "wanted": self.concurrency.wanted,
        }  # fmt: skip

    async def _ask_for_place(self, first: bool) -> None:
        """Ask for one place, and give it to the next request that may leave, or give it back if none does."""
        try:
            number, answer = self._here.ask(**self._described("enter"), first=first)
            given = await answer
        except Lost:
            return
        self._wanted -= 1
        self.rate.asked -= 1
        if not self._full:
            self._held, self._held_since = self._held + given["held"], None
        self.concurrency.limit, self._minute = given["places"], (given["used"], given["oldest"])
        while (found := self._next()) is not None:
            line, waiter = found
            line.remove(waiter)
            if not waiter.turn.done():
                break
        else:
            self._here.send({"do": "end", "place": number, "how": "leave"})
            return
        now = self._clock()
        while now in self._places:  # two at the same tick of the clock
            now = math.nextafter(now, math.inf)
        self._places[now] = number
        self.rate.take(now)
        self.concurrency.in_use += 1
        if waiter.share is not None:
            waiter.share.take()
        waiter.turn.set_result(now)

    def waits(self, turn: Sequence[float] | None) -> None:
        """Note since when, and until when, the coordinator lets requests wait for their turn."""
        now = self._clock()
        if self._full:
            return
        if turn is None or not self._wanted:
            self._held_since = None
        else:
            self._held_since, self._opens = now - turn[0], now + turn[1]

    def end(self, sent: float, outcome: Outcome, share: Share | None = None, wait: float | None = None) -> None:
        number = self._places.pop(sent, None)
        if number is None or self._here.role == "leads":  # the place was given here
            super().end(sent, outcome, share, wait)
        else:
            self._here.send({"do": "end", "place": number, "how": outcome, "wait": wait})
            self._free(sent, share)

    # -- from one coordinator to the next ------------------------------------------------------------------------------

    def lost(self) -> None:
        """Note that the places that were asked for will not be given."""
        self.rate.asked -= self._wanted
        self._wanted, self._full, self._held_since = 0, False, None

    def take_over(self, rate: Rate) -> None:
        """Keep to another rate from now on, which begins with what left in the last minute."""
        now = self._clock()
        rate.assume(*self.rate.used(now), now)
        self.rate = rate

    def resume(self) -> None:
        """Report to a new coordinator what is in flight here, and what is known of the minute."""
        places = [(number, sent) for sent, number in self._places.items()]
        self._here.send({**self._described("resume"), "minute": self._minute, "places": places})

    def go_on(self) -> None:
        """Serve the requests that wait, under the coordinator that there is now."""
        if self._here.role == "leads":
            self.rate.assume(*self._minute, self._clock())
        self._serve()


class SharedInputs:
    """The inputs in flight of all processes, and the runs that may want them."""

    def __init__(self, here: Participant) -> None:
        self.own = InputsInFlight()  # the ones known in this process; where it leads, these are all
        self._here = here
        self._far: dict[int, InFlight] = {}  # of other processes, by the coordinator's number
        self._claimed: dict[InFlight, int] = {}  # of ours that the coordinator knows
        self._look = False  # active runs had another coordinator, which knew what was stored since they began

    async def join(self) -> None:
        """Note that a run begins; it may look into the store afterwards."""
        while True:
            await self._here.settled.wait()
            if self._here.role == "leads":
                break
            try:
                await self._here.ask(do="join")[1]
                break
            except Lost:
                continue
        self.own.join()

    def leave(self) -> None:
        """Note that a run ended."""
        self.own.leave()
        self._look = self._look and self.own.runs > 0
        self._here.send({"do": "leave"})

    async def claim(self, keys: Sequence[bytes], *, stored: bool) -> Claim:
        """Claim keys in this process, and the free ones in the account too.

        The account is asked only for runs that take answers from the store, where those of other processes arrive, and
        not for runs inside a tool, so that two processes never wait for each other.
        """
        while True:
            await self._here.settled.wait()
            if self._look and stored:
                self.own.completed.update(self._here.known(keys))
            claim = self.own.claim(keys, stored=stored)
            mine = claim.in_flight
            if self._here.role == "leads" or not stored or not mine.keys or mine.outer is not None:
                return claim
            number, answer = self._here.ask(do="claim", keys=packed(mine.keys))
            try:
                given = await answer
            except Lost:
                self.own.complete(mine)
                continue
            self._claimed[mine] = number
            return self._divided(claim, given)

    def _divided(self, claim: Claim, given: Message) -> Claim:
        """Take out of a claim what is in flight elsewhere, and what was stored meanwhile."""
        mine, by_key = claim.in_flight, self.own.by_key
        late = [mine.keys[at] for at in given["stored"]]
        others: dict[bytes, InFlight | None] = {}
        for at, where in given["others"]:
            others[mine.keys[at]] = by_key[mine.keys[at]] = self._elsewhere(where, mine.keys[at])
        for key in late:
            del by_key[key]
        mine.keys = [key for key in mine.keys if by_key.get(key) is mine]
        return Claim(mine, claim.others | others, [*claim.stored, *late])

    def _elsewhere(self, number: int, key: bytes) -> InFlight:
        """Return what another process has in flight; the answers are in the store once it is done."""
        in_flight = self._far.get(number)
        if in_flight is None:
            in_flight = self._far[number] = InFlight(asyncio.get_running_loop().create_future(), elsewhere=True)
        in_flight.keys.append(key)
        return in_flight

    def done(self, number: int) -> None:
        """Note that another process has answered what it had claimed, or given it up."""
        if (in_flight := self._far.pop(number, None)) is not None:
            self.own.complete(in_flight)

    def complete(self, in_flight: InFlight) -> None:
        """End inputs in flight of this process; runs here find the cells in them, other processes in the store."""
        stored = bool(in_flight.cells)
        self.own.complete(in_flight)
        if (number := self._claimed.pop(in_flight, None)) is not None:
            in_background(self._report(number, stored=stored))

    async def _report(self, number: int, *, stored: bool) -> None:
        await self._here.written()
        self._here.send({"do": "complete", "claim": number, "stored": stored})

    def resume(self) -> None:
        """Report the runs and the inputs in flight to a new coordinator, which cannot refuse them."""
        for _ in range(self.own.runs):
            self._here.report(do="join")
        for in_flight in {in_flight for in_flight in self.own.by_key.values() if not in_flight.elsewhere}:
            self._claimed[in_flight] = self._here.report(do="claimed", keys=packed(in_flight.keys))

    def lost(self) -> None:
        """End what is in flight elsewhere; runs that wait for one look into the store, and claim again."""
        for number in tuple(self._far):
            self.done(number)
        self._claimed.clear()
        self._look = self.own.runs > 0


class SharedBudget(Budget):
    """A budget that all processes of an account share, by its name."""

    def __init__(self, limit: float, label: str, *, here: Participant, name: str) -> None:
        super().__init__(limit, label)
        self._here, self.name = here, name
        self._far: dict[float, list[int]] = {}  # the coordinator's open reservations, by amount

    async def hold(self, cost: Cost, model: str) -> float | None:
        while True:
            await self._here.settled.wait()
            if self._here.role == "leads":
                return await super().hold(cost, model)
            number, answer = self._here.ask(**self._described("hold", self.neurons_of(cost, model)))
            try:
                given = await asyncio.shield(answer)
            except Lost:
                continue
            except asyncio.CancelledError:
                answer.add_done_callback(functools.partial(self._return, number))
                raise
            self.spent, self.elsewhere = given["spent"], max(self.elsewhere, given["elsewhere"])
            held: float | None = given["held"]
            if held is not None:
                self.reserved += held
                self.requests += 1
                self._far.setdefault(held, []).append(number)
            return held

    def _described(self, do: str, neurons: float) -> dict[str, Any]:
        """Return a message with what the coordinator needs to find its own budget."""
        return {
            "do": do, "neurons": neurons, "budget": self.name, "limit": self.limit, "label": self.label,
            "spent": self.spent, "elsewhere": self.elsewhere,
        }  # fmt: skip

    def _return(self, number: int, answer: asyncio.Future[Message]) -> None:
        """Give back a reservation that came after its request was cancelled."""
        if answer.exception() is None and answer.result()["held"] is not None:
            self._here.send({"do": "settle", "hold": number, "neurons": 0.0})

    def resume(self) -> None:
        """Report to a new coordinator what is reserved here, which it cannot refuse."""
        for held, numbers in self._far.items():
            for number in numbers:
                self._here.send({"id": number, **self._described("held", held)})

    def settle(self, reserved: float, neurons: float | None) -> None:
        super().settle(reserved, neurons)
        if numbers := self._far.get(reserved):
            self._here.send({"do": "settle", "hold": numbers.pop(), "neurons": neurons})
            if not numbers:
                del self._far[reserved]
