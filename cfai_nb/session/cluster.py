"""One account for a whole Dask cluster: a coordinator in its scheduler, and a session in each of its workers.

``frame.dask`` calls ``register`` for its client.  ``AccountPlugin`` then runs in the cluster's scheduler: it holds the
limiters, the inputs in flight and the budgets, as the leader of one machine does.  ``WorkerLink`` runs in each worker:
its session asks that coordinator instead of holding an election.  Messages use the existing streams between scheduler
and workers, so when a worker dies, the scheduler notices it and takes back what the worker had.

Parts of a Dask frame report when they begin and end.  The scheduler stops a part when its task was released (Stop in
the notebook, a cancelled future, a client that left), and all parts of a call when one of them ended it.

No plugin and no task contains the token: it is sent to the scheduler once, kept in memory there as a ``Secret``, and
sent to a worker that asks for it and does not have it in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import platform
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin
from distributed.utils import sync

from .. import errors
from .._engine.account import Participant
from .._engine.account.coordinator import Coordinator, Message, Peer
from .._engine.account.in_flight import InputsInFlight
from .._engine.stopping import STOP, Stop
from .._engine.wire import Secret
from ..errors import CfaiError, SetupError
from ..models import FREE_NEURONS_PER_DAY
from .account_usage import AccountMeter
from .endpoint import ACCOUNT_NAMES, TOKEN_NAMES, Endpoint, from_environment, store_path
from .session import Session, named

_NAME = "cfai_nb"
_log = logging.getLogger(_NAME)
_registered: weakref.WeakKeyDictionary[Client, set[str]] = weakref.WeakKeyDictionary()


def register(client: Client, session: Session, take: Callable[..., None]) -> None:
    """Register a session with a cluster, once; ``take`` is called with the notes of workers about parts of calls."""
    done = _registered.setdefault(client, set())
    if session.name in done:
        return
    if client.asynchronous:
        raise SetupError("cfai_nb needs a synchronous client here: make it with Client(..., asynchronous=False).")
    there = session.endpoint
    if not done:
        client.subscribe_topic(_NAME, lambda event: take(**event[1]))
    client.register_plugin(AccountPlugin())
    client.register_plugin(WorkerLink())
    client.sync(
        client.scheduler.cfai_register, name=session.name, token=there.token.reveal(), about={
            "base": there.base, "account": there.account, "digest": session.account, "origin": there.origin,
            "inside": there.app is not None, "rate": session.rate, "host": platform.node(),
            "store": None if session.store_path is None else str(session.store_path.absolute()),
        },
    )  # fmt: skip
    done.add(session.name)


def limit(client: Client, session: Session, name: str, neurons: float, label: str) -> None:
    """Tell a cluster what is left of today's free Neurons by the ledger; it reads the account's meter from then on."""
    client.sync(client.scheduler.cfai_limit, name=session.name, budget=name, neurons=neurons, label=label)


async def _nothing_to_write() -> None:
    """Return at once: the workers write answers, and report it."""


class AccountPlugin(SchedulerPlugin):  # type: ignore[misc, unused-ignore]
    """The limits that all workers of a cluster share, in the scheduler, on its event loop."""

    name = _NAME
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Register the handlers of messages."""
        self._scheduler = scheduler
        self._sessions: dict[str, tuple[Mapping[str, Any], Secret]] = {}
        self._shares: dict[str, Participant] = {}  # limiters and budgets, by account
        self._coordinators: dict[tuple[str, str], Coordinator] = {}  # by account and store: answers travel through it
        self._peers: dict[tuple[str, int], tuple[Coordinator, Peer]] = {}  # by worker and number of its link
        self._parts: dict[Any, str] = {}  # that are under way: the key of the task -> its worker
        self._attempts: dict[str, tuple[str, str, bool]] = {}  # the same: their worker, call, and whether it is apart
        self._ended: set[str] = set()  # calls that an error ended
        scheduler.handlers |= {
            "cfai_register": self.register, "cfai_session": self.session, "cfai_token": self.token,
            "cfai_limit": self.limit,
        }  # fmt: skip
        scheduler.stream_handlers |= {"cfai_link": self.link, "cfai_part": self.part, "cfai_note": self.note}

    def register(self, name: str, token: str, about: Mapping[str, Any]) -> None:
        """Add the session of a client."""
        self._sessions[name] = about, Secret(token)

    def session(self, name: str) -> Mapping[str, Any]:
        """Return a session for a worker, without its token; empty if it is unknown."""
        return self._sessions[name][0] if name in self._sessions else {}

    def token(self, name: str) -> str:
        """Return the token of a session for a worker."""
        return self._sessions[name][1].reveal()

    # -- limits ------------------------------------------------------------------------------------------------------

    def limit(self, name: str, budget: str, neurons: float, label: str) -> None:
        """Take what is left of today's free Neurons by the ledger of a client, and let the account's meter be read.

        One reading a minute is for all workers.  What the meter shows beyond our own use is that of other programs.
        """
        about, token = self._sessions[name]
        shared = self._share(f"{about['digest']} {about['base']}").budget(budget, neurons, label)
        shared.limit = min(shared.limit, neurons + shared.spent)
        if shared.refresh is None:
            endpoint = Endpoint(base=about["base"], account=about["account"], token=token, origin=about["origin"])
            meter = AccountMeter(endpoint, lambda: FREE_NEURONS_PER_DAY - shared.limit + shared.spent)
            shared.refresh = meter.refresh

    def link(self, worker: str, link: int, message: Message) -> None:
        """Pass a worker's message to the coordinator."""
        try:
            if message["do"] == "open":
                coordinator = self._coordinator(message["account"], message["store"])
                peer = coordinator.join(lambda reply: self._tell(worker, op="cfai_link", link=link, message=reply))
                self._peers[worker, link] = coordinator, peer
            elif message["do"] == "close":
                self._lost(worker, link)
            elif (known := self._peers.get((worker, link))) is not None:
                known[1].receive(message)
        except (LookupError, TypeError, ValueError):  # an error here would end the worker's stream
            _log.exception("A message of %s was not understood", worker)
            self._lost(worker, link)
            self._tell(worker, op="cfai_link", link=link, message={"lost": True})

    def _coordinator(self, account: str, store: str) -> Coordinator:
        """Return the coordinator of the workers that share an account and a store; limits are per account."""
        share = self._share(account)
        if (account, store) not in self._coordinators:
            made = Coordinator(share.limiter, InputsInFlight(), _nothing_to_write, share.budget)
            made.opened.set()
            self._coordinators[account, store] = made
        return self._coordinators[account, store]

    def _share(self, account: str) -> Participant:
        return self._shares.setdefault(account, Participant(_nothing_to_write, lambda keys: []))

    def _lost(self, worker: str, link: int) -> None:
        if (known := self._peers.pop((worker, link), None)) is not None:
            known[1].lost()

    def _tell(self, worker: str, **message: Any) -> None:
        if (stream := self._scheduler.stream_comms.get(worker)) is not None:
            with contextlib.suppress(OSError):  # it is closing, and will be removed
                stream.send(message)

    def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **kwargs: Any) -> None:
        """Take back everything that a worker had."""
        for address, link in tuple(self._peers):
            if address == worker:
                self._lost(address, link)
        for key, where in tuple(self._parts.items()):
            if where == worker:
                del self._parts[key]
        for part, (where, call, apart) in tuple(self._attempts.items()):
            if where == worker:
                self.note(worker, call=call, part=part, state="lost", apart=apart)

    # -- parts -------------------------------------------------------------------------------------------------------

    def part(self, worker: str, key: Any, call: str, state: str, error: Sequence[str] = ()) -> None:
        """Note that a part begins or ends; its error ends the call on all workers, and is not retried."""
        task = self._scheduler.tasks.get(key)
        if state == "begins":
            self._parts[key] = worker
            where = None if task is None else task.processing_on
            if where is None or where.address != worker:  # released before this message came
                self._tell(worker, op="cfai_stop", key=key)
            return
        self._parts.pop(key, None)
        if error:
            if task is not None:
                task.retries = 0
            self._ended.add(call)
            for each in tuple(self._scheduler.stream_comms):
                self._tell(each, op="cfai_ended", call=call, error=list(error))

    def note(self, worker: str, *, call: str, part: str, state: str, apart: bool, **facts: Any) -> None:
        """Pass the note of a part on to all clients; the one that made the call adds it up."""
        if state == "runs":
            self._attempts[part] = worker, call, apart
        else:
            self._attempts.pop(part, None)
        self._scheduler.log_event(_NAME, {"call": call, "part": part, "state": state, "apart": apart, **facts})

    def transition(self, key: Any, start: str, finish: str, *args: Any, stimulus_id: str, **kwargs: Any) -> None:
        """Stop a part when its task was released or cancelled."""
        if finish in ("released", "forgotten", "waiting") and key in self._parts:
            self._tell(self._parts.pop(key), op="cfai_stop", key=key)

    def update_graph(self, scheduler: Any, **kwargs: Any) -> None:
        """Let calls that an error ended try again when something is computed again."""
        if self._ended:
            self._ended.clear()
            for each in tuple(self._scheduler.stream_comms):
                self._tell(each, op="cfai_ended", call="", error=[])


def _send(worker: Any, op: str, **message: Any) -> None:
    """Send a message of a worker to the scheduler, from any thread; messages arrive in order."""
    worker.loop.add_callback(worker.batched_send, {"op": op, **message})


class Link:
    """The connection of a worker's engine to the coordinator in the scheduler, in place of an election."""

    def __init__(self, worker: Any, number: int, participant: Participant, account: str, store: str) -> None:
        self._worker, self._number, self._participant = worker, number, participant
        self._opening = {"do": "open", "account": account, "store": store}
        self._loop: asyncio.AbstractEventLoop | None = None
        participant.role = "between"

    async def ready(self) -> None:
        """Follow the coordinator, without waiting: messages arrive in order."""
        if self._participant.role == "between":
            self._loop = asyncio.get_running_loop()
            self._send(self._opening)
            self._participant.follow(self._send)

    async def close(self) -> None:
        """Leave."""
        self._send({"do": "close"})

    def _send(self, message: Message) -> None:
        _send(self._worker, "cfai_link", link=self._number, message=dict(message))

    def receive(self, message: Message) -> None:
        """Receive a message of the coordinator, on the worker's loop."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the engine's loop was closed
                self._loop.call_soon_threadsafe(self._received, message)

    def _received(self, message: Message) -> None:
        if "lost" not in message:
            self._participant.receive(message)
            return
        self._participant.lost()
        self._send(self._opening)
        self._participant.follow(self._send)


class WorkerLink(WorkerPlugin):  # type: ignore[misc, unused-ignore]
    """The sessions of a worker, and the parts that run there."""

    name = _NAME
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Register the handlers of messages."""
        self._worker = worker
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._apart: set[str] = set()  # of these, what is charged is not in the ledger of the client
        self._links: dict[int, Link] = {}
        self._numbers = itertools.count(1)
        self._parts: dict[Any, tuple[str, Stop]] = {}
        self._ended: dict[str, CfaiError] = {}
        worker.stream_handlers |= {
            "cfai_link": self._receive, "cfai_stop": self._stop, "cfai_ended": self._end,
        }  # fmt: skip

    def teardown(self, worker: Any) -> None:
        """Close the sessions in a thread, so that the worker's loop is not blocked."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            threading.Thread(target=session.close, args=(5.0,), name="cfai-nb close").start()

    # -- sessions ----------------------------------------------------------------------------------------------------

    def session(self, name: str) -> Session:
        """Return the session of this name; the client's own, if the worker runs in the client's process."""
        if (here := named(name)) is not None:
            return here
        with self._lock:
            if name not in self._sessions:
                self._sessions[name] = self._opened(name)
            return self._sessions[name]

    def _opened(self, name: str) -> Session:
        about = self._asked("cfai_session", name)
        if not about:
            raise SetupError("The cluster does not know the session of this call: make the call again.")
        if about["inside"]:
            raise SetupError(
                "The emulator of this session runs in the client's process, where the workers cannot reach it. Run it "
                "on a port, with cf.emulator.running(...) or `cfai-nb emulator`, and connect to that address."
            )
        token = from_environment(TOKEN_NAMES) if from_environment(ACCOUNT_NAMES) == about["account"] else None
        secret = Secret(token or self._asked("cfai_token", name))
        endpoint = Endpoint(base=about["base"], account=about["account"], token=secret, origin=about["origin"])
        same = about["host"] == platform.node()
        path = None if about["store"] is None else Path(about["store"]) if same else store_path(None)
        if not same or path is None:
            self._apart.add(name)
        session = Session(endpoint, store=path, rate=about["rate"], defaults={})
        account = f"{session.account} {endpoint.base}"
        store = f"{platform.node()} {path}" if path is not None else f"none: {self._worker.address}"
        session.joined = lambda participant: self._linked(participant, account, store)
        return session

    def _asked(self, what: str, name: str) -> Any:
        return sync(self._worker.loop, getattr(self._worker.scheduler, what), name=name)

    def _linked(self, participant: Participant, account: str, store: str) -> Link:
        number = next(self._numbers)
        self._links[number] = Link(self._worker, number, participant, account, store)
        return self._links[number]

    def _receive(self, link: int, message: Message) -> None:
        self._links[link].receive(message)

    # -- parts -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def part(self, call: str, stop: Stop) -> Any:
        """Report to the scheduler that a part runs inside the block, and the error that ends it.

        CfaiError is raised where an error of another part has ended the call.
        """
        key = self._worker.get_current_task()
        if (ended := self._ended.get(call)) is not None:
            raise ended
        self._parts[key] = call, stop
        self._report(key, call, "begins")
        failed: list[str] = []
        try:
            yield
        except CfaiError as error:
            if stop.level:  # stopped by the scheduler: another part reported the error that ended the call
                raise self._ended.get(call, error) from None
            failed = [type(error).__name__, str(error)]
            raise
        except KeyboardInterrupt as stopped:  # would end the worker
            raise self._ended.get(call, CfaiError(str(stopped))) from None
        finally:
            self._parts.pop(key, None)
            self._report(key, call, "ends", error=failed)

    def _report(self, key: Any, call: str, state: str, **further: Any) -> None:
        _send(self._worker, "cfai_part", key=key, call=call, state=state, **further)

    def note(self, session: str, call: str, part: str, state: str, **facts: Any) -> None:
        """Report to the client that made a call how far one of its parts is."""
        apart = session in self._apart
        _send(self._worker, "cfai_note", call=call, part=part, state=state, apart=apart, **facts)

    def _stop(self, key: Any) -> None:
        if (part := self._parts.get(key)) is not None:
            part[1].ask(STOP)

    def _end(self, call: str, error: Sequence[str]) -> None:
        """Stop all parts of a call with the error of one of them; without a call, let ended calls try again."""
        if not call:
            self._ended.clear()
            return
        kind, words = error
        made: CfaiError = getattr(errors, kind, CfaiError)(words)
        self._ended[call] = made
        for each, stop in tuple(self._parts.values()):
            if each == call:
                stop.ask(STOP)
