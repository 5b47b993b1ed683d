"""The coordinator of an account: it gives its processes places, turns in the minute, inputs and budget.

The process that leads (``election``), or a cluster's scheduler, has one ``Coordinator``.  It uses the limiters and the
inputs in flight of its own engine, so that its own runs need no message.  Every other process is a ``Peer``: it takes
messages by ``receive`` and replies by the function that it was made with, whatever carries the messages.

What a lost peer had is given back: its places are free, its inputs can be claimed by others, and what it had reserved
of a budget counts as spent, since it may be billed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias

from ...models import Cost
from ...models.ledger import Budget
from ..limiter import Limiter
from ..stopping import in_background
from .in_flight import Claim, InFlight, InputsInFlight

#: A message between two processes: JSON with text, numbers and lists.
Message: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[Message], object]

#: Seconds between two messages about what requests wait for.
_BEAT = 0.5
#: Bytes of a key.
_KEY = 16


def packed(keys: list[bytes]) -> str:
    """Return keys as text, for a message."""
    return b"".join(keys).hex()


def unpacked(text: str) -> list[bytes]:
    """Return the keys of a message."""
    raw = bytes.fromhex(text)
    return [raw[at : at + _KEY] for at in range(0, len(raw), _KEY)]


class Coordinator:
    """What all processes of an account share.

    ``limiter`` takes model id, name of its group, requests a minute or None, and whether another server has it.
    ``written`` waits until the store has committed what this process handed to it.  ``budget`` takes a name, Neurons
    and words for them, and returns the one that all processes share; the first process sets its limit.
    """

    def __init__(
        self, limiter: Callable[[str, str, float | None, bool], Limiter], inputs: InputsInFlight,
        written: Callable[[], Awaitable[None]], budget: Callable[[str, float, str], Budget],
    ) -> None:  # fmt: skip
        self.limiter, self.inputs, self.written, self.budget = limiter, inputs, written, budget
        self.opened = asyncio.Event()  # set once the processes of an earlier coordinator had time to come back
        self.peers: set[Peer] = set()
        self.numbers: dict[InFlight, int] = {}  # of what is in flight and a peer waits for
        self.count = itertools.count(1)

    def join(self, send: Send) -> Peer:
        """Add a process; ``send`` sends it a message."""
        peer = Peer(self, send)
        self.peers.add(peer)
        return peer

    def close(self) -> None:
        """Drop all peers."""
        for peer in tuple(self.peers):
            peer.lost()


class Peer:
    """One process, as the coordinator sees it."""

    def __init__(self, here: Coordinator, send: Send) -> None:
        self._here, self._send = here, send
        self._asked: dict[int, asyncio.Task[None]] = {}  # open questions, by number
        self._waiting: dict[int, tuple[str, Limiter]] = {}  # of those, the ones that wait for a place
        self._places: dict[int, tuple[Limiter, float]] = {}  # by the same number, with when the request left
        self._claims: dict[int, InFlight] = {}
        self._reserved: dict[int, tuple[Budget, float]] = {}
        self._runs = 0
        self._beat: asyncio.TimerHandle | None = None

    def receive(self, message: Message) -> None:
        """Act on a message; an invalid one raises, and the caller drops its sender."""
        match message["do"]:
            case "enter":
                self._wait(message["id"], self._enter(message))
            case "end":
                self._end(message)
            case "claim":
                self._wait(message["id"], self._claim(message))
            case "claimed":  # under an earlier coordinator
                self._claimed(message)
            case "complete":
                self._complete(int(message["claim"]), stored=bool(message["stored"]))
            case "hold":
                self._wait(message["id"], self._hold(message))
            case "held":  # under an earlier coordinator
                budget, held = self._budget(message), float(message["neurons"])
                budget.take_over(held)
                self._reserved[message["id"]] = budget, held
            case "settle":
                budget, held = self._reserved.pop(message["hold"])
                budget.settle(held, message["neurons"])
            case "join":
                self._runs += 1
                self._here.inputs.join()
                self._send({"id": message["id"]})
            case "leave":
                self._runs -= 1
                self._here.inputs.leave()
            case "resume":
                self._resume(message)
            case unknown:
                raise ValueError(f"unknown message {unknown!r:.40}")

    def lost(self) -> None:
        """Give back everything that this process had."""
        self._here.peers.discard(self)
        self._send = lambda message: None
        for task in tuple(self._asked.values()):
            task.cancel()
        for limiter, sent in self._places.values():
            limiter.end(sent, "leave")
        self._places.clear()
        for number in tuple(self._claims):
            self._complete(number, stored=False)
        for budget, held in self._reserved.values():
            budget.settle(held, held)
        self._reserved.clear()
        while self._runs:
            self._runs -= 1
            self._here.inputs.leave()

    # -- places ------------------------------------------------------------------------------------------------------

    def _limiter(self, message: Message) -> Limiter:
        server = bool(message.get("server"))
        limiter = self._here.limiter(message["model"], message["group"], message["rate"], server)
        limiter.concurrency.want(int(message.get("wanted", 0)))
        return limiter

    async def _enter(self, message: Message) -> None:
        number, model, limiter = message["id"], message["model"], self._limiter(message)
        self._waiting[number] = model, limiter
        before = limiter.held(time.monotonic())
        try:
            await self._here.opened.wait()
            sent = await limiter.enter(first=bool(message["first"]))
        finally:
            del self._waiting[number]
        self._places[number] = limiter, sent
        now = time.monotonic()
        used, oldest = limiter.rate.used(now)
        held, places = limiter.held(now) - before, limiter.concurrency.limit
        self._send({"id": number, "held": held, "places": places, "used": used, "oldest": oldest})

    def _end(self, message: Message) -> None:
        limiter, sent = self._places.pop(message["place"])
        limiter.end(sent, message["how"], wait=message.get("wait"))

    def _resume(self, message: Message) -> None:
        """Take over what an earlier coordinator gave the process: requests in flight, and the minute it saw."""
        limiter = self._limiter(message)
        for number, sent in message["places"]:
            self._places[number] = limiter, float(sent)
            limiter.concurrency.in_use += 1
        used, oldest = message["minute"]
        limiter.rate.assume(int(used), float(oldest), time.monotonic())

    def _wait(self, number: int, work: Coroutine[Any, Any, None]) -> None:
        self._asked[number] = task = in_background(work)
        task.add_done_callback(lambda task: self._asked.pop(number, None))
        self._schedule_beat()

    def _schedule_beat(self) -> None:
        """While questions are open, send what they wait for now and then; it also shows that this process lives."""
        if self._beat is None and self._asked:
            self._beat = asyncio.get_running_loop().call_later(_BEAT, self._send_beat)

    def _send_beat(self) -> None:
        self._beat, now = None, time.monotonic()
        for model, limiter in dict(self._waiting.values()).items():
            turn = limiter.turn
            self._send({"model": model, "turn": None if turn is None else [now - turn[0], turn[1] - now]})
        if not self._waiting:
            self._send({"model": None, "turn": None})
        self._schedule_beat()

    # -- inputs --------------------------------------------------------------------------------------------------------

    async def _claim(self, message: Message) -> None:
        """Claim inputs; reply which are in flight elsewhere, and which were stored since the process looked."""
        await self._here.opened.wait()
        _, others, late = self._claimed(message)
        keys, known = unpacked(message["keys"]), set(late)
        stored = [at for at, key in enumerate(keys) if key in known]
        elsewhere = [(at, self._number(other)) for at, key in enumerate(keys) if (other := others.get(key)) is not None]
        if stored:
            await self._here.written()
        self._send({"id": message["id"], "stored": stored, "others": elsewhere})

    def _claimed(self, message: Message) -> Claim:
        claim = self._here.inputs.claim(unpacked(message["keys"]), stored=True)
        claim.in_flight.elsewhere = True
        self._claims[message["id"]] = claim.in_flight
        return claim

    def _number(self, in_flight: InFlight) -> int:
        """Return the number of what a process waits for; it gets a message once the answers are stored."""
        if (number := self._here.numbers.get(in_flight)) is None:
            number = self._here.numbers[in_flight] = next(self._here.count)
        in_background(self._watch(in_flight, number))
        return number

    async def _watch(self, in_flight: InFlight, number: int) -> None:
        await in_flight.done
        await self._here.written()
        self._here.numbers.pop(in_flight, None)
        self._send({"done": number})

    def _complete(self, number: int, *, stored: bool) -> None:
        in_flight = self._claims.pop(number)
        self._here.inputs.complete(in_flight, stored=in_flight.keys if stored else ())

    # -- budget --------------------------------------------------------------------------------------------------------

    def _budget(self, message: Message) -> Budget:
        budget = self._here.budget(message["budget"], float(message["limit"]), message["label"])
        # A process may have read the account's meter itself, or know more of what was spent under an earlier
        # coordinator; the most that one of them saw counts.
        budget.elsewhere = max(budget.elsewhere, float(message["elsewhere"]))
        budget.spent = max(budget.spent, float(message["spent"]))
        return budget

    async def _hold(self, message: Message) -> None:
        budget = self._budget(message)
        if budget.refresh is not None:
            await budget.refresh(budget, lambda: True)
        held = await budget.hold(Cost(float(message["neurons"]), False), "")
        if held is not None:
            self._reserved[message["id"]] = budget, held
        self._send({"id": message["id"], "held": held, "spent": budget.spent, "elsewhere": budget.elsewhere})
