"""connect(): arguments and environment become the one Session that owns wire and pace, and shares a store."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, NoReturn

from .._engine.bridge import bridge
from .._engine.gateway import Gateway, as_gateway
from .._engine.plan import Plan, draw_up
from .._engine.run import Runner
from .._engine.run_state import CacheMode, Options, Run
from .._engine.sender import Sender
from .._engine.shared import Engine, limiters
from .._engine.store import release, shared
from .._engine.store.store import Store
from .._engine.wire import Wire
from ..errors import CfaiWarning, ServiceError, SetupError, StoreError, takes_options
from ..markup import counted
from ..media.fetch import Fetcher
from ..media.files import Folder, as_folder
from ..models import FREE_NEURONS_PER_DAY, Model, catalogue, find
from ..models.ledger import Budget, Charge, as_budget, midnight, spent_today
from ..tasks import Input, Request, Task
from .closing import Resources, release_at_exit, release_dropped
from .endpoint import ACCOUNT_NAMES, TOKEN_NAMES, Address, address_of, from_environment, store_path
from .model_choice import choose

_current: Session | None = None
#: Sessions with a ``with`` block that the context is in, the innermost last.
_inside: ContextVar[tuple[Session, ...]] = ContextVar("cfai_nb_session", default=())


class Session:
    """A connection to one account, with what is shared by all calls through it.

    Made by ``connect``.  Usable as a context manager: inside the block it is the current session.
    """

    def __init__(
        self, address: Address, *, store: Path | None, rate: float | Literal["auto"] | None,
        defaults: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.address = address
        self.origin = address.origin
        self.account = hashlib.blake2b(address.account.encode(), digest_size=6).hexdigest()
        self.rate = rate
        self.defaults = dict(defaults)
        self.store_path = store
        self._loose: list[Charge] = []  # charges no store could keep
        self._held = Resources()
        self._entered = 0  # blocks it is the session of
        self.previous: Session | None = None
        self.not_open: set[str] = set()  # models this account was told it cannot use
        self._free: tuple[float, Budget] | None = None  # of which day (UTC)
        self._fetcher = Fetcher(bridge.wait)
        self._lock = threading.RLock()  # several threads may use it for the first time at once
        # A session that nothing refers to any more gives back what it holds open; at exit the bridge sees to that.
        weakref.finalize(self, self._held.dropped).atexit = False

    def __repr__(self) -> str:
        return f"<cfai_nb session: {self.origin} at {self.address.base}, store {self.store_path or 'none'}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "A session is not copied or pickled: it holds a token and connections. Call cf.connect() there."
        )

    def __enter__(self) -> Session:
        global _current
        if _current is self:  # connect() made it the current one; after the block it is again the one before
            _current = self.previous
        _inside.set((*_inside.get(), self))
        with self._lock:
            self._entered += 1
        return self

    def __exit__(self, *exc: object) -> None:
        within = _inside.get()
        if self in within:  # with what was connected or entered inside; several threads may be in blocks of their own
            _inside.set(within[: len(within) - 1 - within[::-1].index(self)])
        with self._lock:
            self._entered -= 1
            last = self._entered == 0  # other threads may still be in a block of it
        if last:
            self.close()

    def close(self, timeout: float = 30.0) -> None:
        """Close connections and store; the session opens them again when it is used again.

        Runs under way, in other threads or awaited, are ended: nothing more is sent, and what is in flight is awaited
        and kept.  Answers and charges that wait for the store are written.

        Parameters
        ----------
        timeout : float
            Seconds for which what is in flight is awaited; what comes later is lost, and a warning says so.
        """
        try:
            self._held.close(timeout)
        finally:
            self._fetcher.close()

    # -- organs --------------------------------------------------------------------------------------------------

    def store(self) -> Store | None:
        """Open the store on first use, and again after a fork.

        Raises
        ------
        StoreError
            It cannot be used; the message says what to do.
        """
        if self._held.forked():
            self._lock = threading.RLock()
        release_dropped()
        with self._lock:
            held = self._held
            if held.store is not None and (what := held.store.displaced()):
                former, held.store = held.store, None
                opened = shared(former.path)  # takes over what could not be written
                release(opened)
                release(former)
                warnings.warn(
                    f"The store {former.path}: {what}. The file that lies there now is used from here on, a new one if "
                    "there was none; answers that were only in the former one are asked for again.",
                    CfaiWarning, stacklevel=2,
                )  # fmt: skip
            if held.store is None and self.store_path is not None:
                held.store = shared(self.store_path)
                bridge.after_close(release_at_exit)
                self._learn(held.store)
            return held.store

    def _learn(self, store: Store) -> None:
        kept = store.listing() if self.origin == "cloudflare" else None
        if kept is not None and kept[0] > catalogue().checked_on:
            catalogue().learn(kept[1], kept[0])

    def engine(self, *, cache: CacheMode) -> Engine:
        """Return what runs share, for the loop they will run on."""
        try:
            store = self.store()
        except StoreError:
            if cache is not False:
                raise
            store = None  # asked to go without: charges are kept in memory then
        where: object = "portal" if bridge.own_loop is None else id(bridge.own_loop)
        with self._lock:
            if where not in self._held.engines:
                self._held.engines[where] = self._opened(store), bridge.own_loop
            engine, _ = self._held.engines[where]
        engine.store = store
        return engine

    def _opened(self, store: Store | None) -> Engine:
        address = self.address
        wire = Wire(address.root, address.token, address.app, "/" if address.is_server else "/ai/")
        bridge.before_close(wire)
        return Engine(wire, limiters(_per_minute(self.rate)), self.account, self.origin, store, self._loose.extend)

    def model_for(self, task: Task, wanted: str | Model | None, gateway: Gateway | str | None = None) -> Model:
        """Return the model a task shall use: the wanted one, or the default for its kind of work; see ``choose``."""
        through = gateway is not None or "gateway" in self.defaults
        return choose(task, wanted, self.address, through=through, listed=self._listed)

    def _listed(self) -> list[str]:
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
        """Return what fetches addresses in a frame, where that is allowed."""
        return self._fetcher if (self.defaults.get("fetch") if wanted is None else wanted) else None

    # -- work ----------------------------------------------------------------------------------------------------

    def plan(self, task: Task, model: Model, rows: Sequence[Input | None], *, cache: CacheMode) -> Plan:
        """Price a task on these rows; nothing is sent."""
        plan = self._drawn_up(task, model, rows)
        store = self.store() if cache in (True, "only") else None
        if store is not None:
            plan.records, plan.slots = store.locate(plan.keys)
        return plan

    def _drawn_up(self, task: Task, model: Model, rows: Sequence[Input | None]) -> Plan:
        server, rate = self.address.server, _per_minute(self.rate)(model)
        return draw_up(task, model, rows, self.origin, rate, server=server, account=self.account)

    def runner(self, task: Task, model: Model, rows: Sequence[Input | None], options: Options) -> Runner:
        """Prepare a run."""
        runner = Runner(self.engine(cache=options.cache), Run(self._drawn_up(task, model, rows), options))
        runner.keeps = self
        return runner

    def options(self, given: Mapping[str, Any]) -> Options:
        """Merge the options of a call with those of ``connect``, and check them.

        Raises
        ------
        ValueError
            An option has a value that means nothing.
        """
        budget = self._budget(given.get("budget"), given.get("neurons"))
        wish = {**self.defaults, **{k: v for k, v in given.items() if v is not None}}
        gateway = as_gateway(wish.get("gateway"))
        for name in ("gateway", "reject_if_busy", "queue") if self.address.is_server else ():
            if wish.get(name):
                raise ValueError(f"{name}= is of Workers AI, and {self.origin} is another server; leave it out.")
        if gateway is not None and wish.get("cache") == "refresh":
            gateway = gateway.uncached()  # asked anew means of the model
        names = ("cache", "on_error", "concurrency", "patience", "store_errors")
        plain = {name: wish[name] for name in names if name in wish}
        flags: dict[str, Any] = {name: bool(wish[name]) for name in ("queue", "reject_if_busy") if name in wish}
        return Options(budget=budget, gateway=gateway, **plain, **flags)

    def _budget(self, budget: Any, neurons: float | None) -> Budget | None:
        if budget is None and neurons is None:
            budget = self.defaults.get("budget")  # one purse for all calls of the session
        return self._free_purse() if budget == "free" and neurons is None else as_budget(budget, neurons)

    def _free_purse(self) -> Budget:
        """Return the one purse for all of today's calls on what is free, so that calls at once share it."""
        day, used = midnight(time.time()), self.spent_today()
        if self._free is None or self._free[0] != day:
            purse = as_budget("free", None, used)
            assert purse is not None
            self._free = day, purse
        purse = self._free[1]
        # What was used otherwise, in this session or another, counts too.
        purse.limit = min(purse.limit, FREE_NEURONS_PER_DAY - max(0.0, used - purse.spent))
        return purse

    def spent_today(self) -> float:
        """Neurons this account used since 00:00 UTC, as far as this book knows."""
        now = time.time()
        return spent_today(self.charges(midnight(now)), self.account, self.origin, now).neurons or 0.0

    def charges(self, since: float = 0.0) -> list[Charge]:
        """Return the charges in the book, of all sessions that share the store."""
        try:
            store = self.store()
        except StoreError:
            store = None
        kept = store.charges(since) if store is not None else []
        if store is not None and store.damaged_charges:
            warnings.warn(
                f"{counted(store.damaged_charges, 'charge')} in the store {store.path} cannot be read and is missing "
                "here: the file was damaged.", CfaiWarning, stacklevel=2,
            )  # fmt: skip
        return kept + [c for c in self._loose if c.time >= since]

    def accept_terms(self, model: str | Model) -> str:
        """Accept the terms of a model that asks for it (llama-3.2-11b-vision), once for the account.

        Returns
        -------
        str
            What the service says to it.

        Raises
        ------
        ServiceError
            It was not understood.
        """
        try:
            said = self.ask(Request(json={"prompt": "agree"}, path=f"run/{find(model).id}"))
        except ServiceError as error:
            if error.code != 5016:  # the call that accepts them is itself answered with the refusal, and a thank-you
                raise
            return str(error).split(": ", 2)[-1].partition(" -- ")[0]
        return str(said)

    def refresh_models(self) -> int:
        """Ask the service for its models, keep what it says, and return how many rows changed."""
        engine = self.engine(cache=True)
        listing = self.ask(Request(path="models/search", query={"per_page": "1000"}), "GET")
        if not isinstance(listing, list) or not listing:
            raise SetupError("The service listed no models; the catalogue stays as it is.")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        changed = catalogue().learn(listing, today)
        if engine.store is not None and self.origin == "cloudflare":
            engine.store.keep_listing(today, listing)
            engine.store.flush()
        return len(changed)


@takes_options()
def connect(
    target: Any = None,
    *,
    account_id: str | None = None,
    api_token: str | None = None,
    base_url: str | None = None,
    allow_http: bool = False,
    store: str | os.PathLike[str] | Literal[False] | None = None,
    cache: CacheMode | None = None,
    budget: float | str | Budget | None = None,
    neurons: float | None = None,
    on_error: Literal["keep", "raise", "partial"] | None = None,
    concurrency: int | Literal["auto"] | None = None,
    patience: float | None = None,
    rate: float | Literal["auto"] | None = "auto",
    gateway: Gateway | str | None = None,
    reject_if_busy: bool | None = None,
    fetch: bool | None = None,
    files: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    store_errors: Literal["stop", "continue"] | None = None,
) -> Session:
    """Connect to Workers AI, or to the emulator, and make it the current session.

    Parameters
    ----------
    target : {None, "cloudflare", "emulator", "auto"} or Emulator, optional
        None and ``"cloudflare"``: the service.  ``"emulator"``: no account and no network; every result is marked.
        ``"auto"``: the service if credentials are found, else the emulator; prints which.
    account_id, api_token : str, optional
        Default: ``CLOUDFLARE_ACCOUNT_ID`` and ``CLOUDFLARE_API_TOKEN`` (and the other spellings in use).
    base_url : str, optional
        Everything up to and including ``/client/v4``; or, ending in ``/v1``, of a server in OpenAI's dialect (Ollama,
        llama.cpp, vLLM, ...), whose chat and embedding models are then used by their names: free of charge on this
        machine or network, at an unknown price elsewhere.
    allow_http : bool
        Send the token to a ``base_url`` with ``http://`` beyond this machine and network, where others can read it.
    store : path or False, optional
        The SQLite file of answers and charges.  Default: ``CFAI_STORE``, or the user's cache folder.
    gateway : Gateway or str, optional
        The AI Gateway the requests go through; ``"default"`` is made on its first use.
    cache, budget, neurons, on_error, concurrency, patience, reject_if_busy, fetch, files, progress : optional
        Defaults of the run options of every call; a budget given here is one purse for all of them.
    rate : "auto", float or None
        Requests per minute: the catalogue's, a number, or no limit of our own (learned from refusals).

    store_errors : {"stop", "continue"}, optional
        What a run does when the store cannot keep its answers (a full disk, a file that was deleted): send nothing
        more and raise StoreError, or go on and warn at its end.  Default: "stop".

    Returns
    -------
    Session

    Raises
    ------
    SetupError
        Credentials are missing; the message says what to set.
    """
    global _current
    if target == "auto":
        found = (api_token or from_environment(TOKEN_NAMES)) and (account_id or from_environment(ACCOUNT_NAMES))
        target = "cloudflare" if found else "emulator"
        print("cfai_nb: " + ("Cloudflare Workers AI" if found else "no credentials found: the emulator (no model)"))
    address = address_of(target, account_id, api_token, base_url, allow_http=allow_http)
    if rate == "auto" and (address.is_server or (address.app is not None and not callable(target))):
        rate = None  # nobody waits for a pretended minute
    if (
        rate is not None
        and rate != "auto"
        and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or rate <= 0)
    ):
        raise SetupError(f'rate={rate!r}: give "auto", requests per minute, or None.')
    defaults = {
        "cache": cache, "budget": "free" if budget == "free" else as_budget(budget, neurons), "on_error": on_error,
        "concurrency": concurrency, "patience": patience, "gateway": as_gateway(gateway),
        "reject_if_busy": reject_if_busy, "fetch": fetch, "files": as_folder(files), "progress": progress,
        "store_errors": store_errors,
    }  # fmt: skip
    given = {name: value for name, value in defaults.items() if value is not None}
    session = Session(address, store=store_path(store), rate=rate, defaults=given)
    session.options({})  # a default that means nothing is told here, not at the first call
    if _current is not None:
        _current.previous = None  # one is enough to come back to, and more would all stay open
    session.previous, _current = _current, session
    if within := _inside.get():  # within another session's block: the newest one counts
        _inside.set((*within, session))
    return session


def folder(wanted: Any) -> Folder | None:
    """Return the folder in which texts of cells may name files: as wanted, or else that of the current session.

    Raises
    ------
    ValueError
        It is not a folder.
    """
    within = _inside.get()
    here = within[-1] if within else _current
    return as_folder(wanted) if wanted is not None or here is None else here.defaults.get("files")


def _per_minute(rate: float | Literal["auto"] | None) -> Callable[[Model], float | None]:
    """Return what says how many requests a minute a model takes; apart from the session, which it would hold."""
    return lambda model: model.rate if rate == "auto" else rate


def current() -> Session:
    """Return the current session; connects from the environment when there is none."""
    within = _inside.get()
    return within[-1] if within else _current or connect()
