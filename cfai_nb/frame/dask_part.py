"""A verb as it is carried out on one partition of a Dask frame, in this process or in a worker of a cluster.

``dask.DaskVerb`` makes a ``Part`` of a call that it has checked; Dask calls it with the pandas frame of each partition.
A part holds no token, and no session where it is pickled: it finds the session by its name.  Its calls share a budget
with those of the other parts, and what becomes of them is reported to the process that made the call.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import itertools
import sys
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._engine.run_options import NAMES
from .._engine.stopping import Stop
from ..errors import CfaiError, CfaiWarning, ColumnError, InputError, SetupError, Stopped
from ..models import price
from ..models.ledger import Budget
from . import rows as frames_of
from .call import Call, warn
from .cascades import Cascade, CascadePlan
from .cascades.cascade_call import CascadeCall
from .cascades.cascade_rows import whole
from .dask_report import PartWatch, report_of, take
from .steps import advance
from .verb import TaskVerb

if TYPE_CHECKING:
    from ..session import Session

#: Budgets of calls, by the name under which all workers share them: as long as a part or the report of a call has them.
_budgets: weakref.WeakValueDictionary[str, Budget] = weakref.WeakValueDictionary()
#: Calls of which a row was answered here, the latest last, and how many are kept: a worker does not learn of their end.
_proven: collections.OrderedDict[str, None] = collections.OrderedDict()
_KEPT = 1_000
#: What the report of a cascade says of its calls, which have noted it themselves.
_SPENT_BEFORE = {"requests": 0, "neurons": 0.0, "exact": True, "saved_neurons": 0.0, "unknown_saved": 0, "tokens": 0.0}
#: Parts that run in this process: the call of each, and how it is stopped.
active: set[tuple[str, Stop]] = set()
#: Calls of which the last computation in this process ended early: a part that was still being read does not begin.
ended: set[str] = set()


@dataclass(frozen=True)
class Priced:
    """What a partition would send: the keys of its inputs, which of them the store has, and the price of each."""

    rows: int
    missing: int = 0
    keys: Any = None
    open: Any = None
    prices: Any = None

    @classmethod
    def of(cls, plan: Any, count: int) -> Priced:
        """Return what is needed of the plan of a partition."""
        if plan is None:
            return cls(0)
        costs = [price(plan.estimate_usage([at]), plan.model).neurons for at in range(len(plan.inputs))]
        prices = np.array([np.nan if one is None else one for one in costs], dtype=float)
        keys = np.array(plan.keys, dtype="V16")
        return cls(count, int((plan.where < 0).sum()), keys, ~plan.stored, prices)


@dataclass(frozen=True)
class Asked:
    """One call of each part, as far as its plan needs it; most verbs make one."""

    model: str
    batch: int
    rate: float | None


@dataclass(frozen=True)
class Part:
    """A verb as it is carried out on each partition."""

    verb: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]  # as called, with the run options of the session
    call: str  # what all parts of a call have in common
    budget: SharedLimit | None  # one for all parts
    session: str  # its name
    meta: Any  # the result, without rows
    asked: tuple[Asked, ...]  # the calls that each part makes
    #: Session, budget and report, in the process that they are of.
    held: list[Any] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, verb: str, args: tuple[Any, ...], options: Mapping[str, Any], calls: Sequence[Call], meta: Any) -> Part:
        """Return the part of a call that was checked."""
        call = calls[0]
        run = {name: getattr(call.options, name) for name in NAMES if name not in ("budget", "neurons", "progress")}
        given = {name: value for name, value in options.items() if name not in NAMES}
        if call.session.endpoint.is_server and not isinstance(options.get("model"), Cascade):
            given["model"] = call.model.id
        budget = None if call.options.budget is None else _shared(call.options.budget, call.session)
        asked = tuple(
            Asked(
                one.model.id, max(1, one.task.batch(one.model)),
                one.session.plan(one.task, one.model, [], cache=False).rate,
            )
            for one in calls
        )  # fmt: skip
        name, held = uuid.uuid4().hex, [call.session, call.options.budget]
        return cls(verb, args, {**given, **run}, name, budget, call.session.name, meta, asked, held)

    @property
    def __name__(self) -> str:
        """What Dask names its tasks after: without it, all of what was asked would be in their names."""
        return f"cfai-{self.verb}"

    @property
    def stores(self) -> bool:
        """Whether a part finds what another part was answered; asked in the process that made the call."""
        return self.held[0].store_path is not None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "held": []}

    def __dask_tokenize__(self) -> str:
        return self.call

    def __call__(self, frame: Any) -> Any:
        """Carry the verb out on a partition."""
        if not len(frame):
            self._note(_link(), uuid.uuid4().hex, "ends")
            return self.meta
        return _conformed(self._within(self._carried_out, frame), self.meta)

    def priced(self, frame: Any) -> list[Priced]:
        """Price each call of the verb on a partition; nothing is sent."""
        plans = [None] * len(self.asked) if not len(frame) else self._within(self._planned, frame)
        return [Priced.of(plan, len(frame)) for plan in plans]

    def _note(self, link: Any, attempt: str, state: str, **facts: Any) -> None:
        """Report an attempt at a part to the process that made the call; see ``dask_report.take``."""
        if link is not None:
            link.note(self.session, self.call, attempt, state, **facts)
            return
        take(self.call, attempt, state, **facts)

    def _within(self, do: Any, frame: Any) -> Any:
        """Do something with the session of the call, in a way that the cluster or Dask's scheduler can stop."""
        link = _link()
        stop = Stop()
        active.add((self.call, stop))
        try:
            if link is None and self.call in ended:  # looked up once it is among the active ones
                raise Stopped("The computation ended before this part began; nothing was sent for it.")
            with contextlib.nullcontext() if link is None else link.part(self.call, stop):
                return stop.context().run(do, self._session(link), frame, link)
        finally:
            active.discard((self.call, stop))
            stop.end()

    def _session(self, link: Any) -> Session:
        from ..session.session import named  # loads the engine

        if link is not None:
            held: Session = link.session(self.session)
            return held
        if (here := named(self.session)) is None:
            raise SetupError(
                "The session of this call is in another process. Compute with threads, or make a dask.distributed "
                "Client first and call the verb again; Dask's own processes cannot share a limit."
            )
        return here

    def _steps(self, session: Session, frame: Any) -> Any:
        """Return the steps of the verb on a partition."""
        from ..session.session import use

        use(session)
        return getattr(frame.cfai, self.verb)._steps(*self.args, **self.options, progress=False)

    def _planned(self, session: Session, frame: Any, link: Any) -> list[Any]:
        plans: list[Any] = []
        step, _ = advance(steps := self._steps(session, frame))
        while step is not None:
            call: Any = step
            plans.append(call.plan())
            step, _ = advance(steps, call.placeholder())
        return plans

    def _carried_out(self, session: Session, frame: Any, link: Any) -> Any:
        attempt, ended, failure = uuid.uuid4().hex, "failed", list[str]()
        self._note(link, attempt, "runs")
        try:
            made = self._made(session, frame, link, attempt)
            ended = "ends"
            return made
        except CfaiError as error:
            failure = [type(error).__name__, str(error)]
            raise
        finally:
            self._note(link, attempt, ended, error=failure)

    def _made(self, session: Session, frame: Any, link: Any, attempt: str) -> Any:
        with contextlib.closing(self._steps(session, frame)) as steps:
            step, finish = advance(steps)
            for at in itertools.count():
                if step is None:
                    return finish()
                call: Any = step
                # A partition of which every row failed ends the call only where no other was answered.
                proven = f"{self.call} {at}"
                part: Any = "later" if proven in _proven else "first"
                call.options = dataclasses.replace(call.options, part=part)
                answers = self._waited(call, at, session, link, attempt)
                if call.report is not None and call.report.run.done:
                    _prove(proven)
                step, finish = advance(steps, answers)

    def _waited(self, call: Any, at: int, session: Session, link: Any, attempt: str) -> Any:
        """Carry out a call within the budget of all parts, and return its answers."""
        call.options = dataclasses.replace(call.options, budget=self._budget(session))
        if link is not None:
            call.say = _say_to_client
        call.whole = PartWatch(lambda note: self._note(link, attempt, "runs", at=at, note=note), report_of(self.call))
        return call.wait()

    def _budget(self, session: Session) -> Budget | None:
        if self.budget is None:
            return None
        if (own := _budgets.get(self.budget.name)) is not None:
            return own
        shared = session.engine(cache=True).share.budget(self.budget.name, self.budget.neurons, self.budget.label)
        shared.allow_unknown = self.budget.allow_unknown
        shared.elsewhere = max(shared.elsewhere, self.budget.elsewhere)
        return shared


@dataclass(frozen=True)
class CascadePart(Part):
    """A verb with a cascade: one task makes its calls about the rows of all partitions, as on a pandas frame of them.

    It needs each distinct text once.  Every partition then looks its answers up by the keys of its own rows, so that
    they are read again instead of held meanwhile.  ``meta`` is that of the answers, also where a verb gives rows.
    """

    def __call__(self, frames: Any) -> tuple[bytes, Any]:
        """Ask; return all keys, and the answers in their order with those of a missing row last."""
        if not len(frame := frames_of.joined(frames)):
            self._note(_link(), uuid.uuid4().hex, "ends")
            return b"", self.meta
        made: tuple[bytes, Any] = self._within(self._carried_out, frame)
        return made

    def laid(self, frame: Any, made: tuple[bytes, Any]) -> Any:
        """Return the result of a partition."""
        return self._within(functools.partial(self._looked_up, made), frame)

    def ranged(self, frames: Any) -> CascadePlan:
        """Price its calls; nothing is sent."""
        plan: CascadePlan = self._within(self._planned, frames_of.joined(frames))
        return dataclasses.replace(plan, partitions=len(frames))

    def _planned(self, session: Session, frame: Any, link: Any) -> Any:
        return outlined(self._steps(session, frame)).plan()

    def _looked_up(self, made: tuple[bytes, Any], session: Session, frame: Any, link: Any) -> Any:
        keys, answers = np.frombuffer(made[0], dtype="S16"), made[1]
        options = {name: given for name, given in self.options.items() if name != "truth"}
        own = dataclasses.replace(self, options={**options, "cache": False})  # nothing is looked for in the store
        call = outlined(own._steps(session, frame))
        plan = call.strong.plan()
        wanted = np.array(plan.keys, dtype="S16")
        found = np.searchsorted(keys, wanted)
        if len(wanted) and not (len(keys) and np.array_equal(keys[np.minimum(found, len(keys) - 1)], wanted)):
            raise InputError("The Dask frame returned different rows the second time it was read; .persist() it first.")
        result = answers.iloc[np.append(found, len(keys))[plan.where]].set_axis(frame.index)
        verb = vars(type(frame.cfai))[self.verb]
        return verb.result(frame, call, result) if isinstance(verb, TaskVerb) else result

    def _made(self, session: Session, frame: Any, link: Any, attempt: str) -> tuple[bytes, Any]:
        def send(note: Mapping[str, Any]) -> None:  # its calls have noted what they spent
            self._note(link, attempt, "runs", at=next(numbers), note={**note, **_SPENT_BEFORE})

        numbers = itertools.count()
        with contextlib.closing(self._steps(session, frame)) as steps:
            step: Any = advance(steps)[0]
            call = step.call
            call.whole = PartWatch(send, report_of(self.call))
            while step is not None:
                if isinstance(step, Call):
                    answers = self._waited(step, next(numbers), session, link, attempt)
                else:
                    step.say = warn if link is None else _say_to_client
                    answers = step.wait()
                step = advance(steps, answers)[0]
        made = whole(call.strong, call.rows, call.answers, [], None, by_key=True).frame()
        if isinstance(made, pd.DataFrame):
            made["answered_by"] = made["answered_by"].astype(self.meta["answered_by"].dtype)
        return call.rows.keys, _conformed(made, self.meta)


def outlined(steps: Any) -> CascadeCall:
    """Return the call of a verb with a cascade, checked, before any of its calls is made."""
    with contextlib.closing(steps):
        outline: Any = advance(steps)[0]
        call: CascadeCall = outline.call
        return call


@dataclass(frozen=True)
class SharedLimit:
    """A budget as workers can share it, by its name."""

    name: str  # "free ..." where it is that of today's free Neurons, from which other programs spend as well
    neurons: float  # what this account may still spend by its ledger
    elsewhere: float  # what other programs spent as far as is known
    label: str
    allow_unknown: bool


def _shared(budget: Budget, session: Session) -> SharedLimit:
    """Return a budget as workers can share it, with what is left of it now."""
    from .._engine.account import SharedBudget  # loads the engine

    name = next((name for name, one in _budgets.items() if one is budget), "")
    if not name:
        free = isinstance(budget, SharedBudget)
        name = f"{budget.name} {session.account}" if free else f"dask {uuid.uuid4().hex}"  # type: ignore[attr-defined]
    _budgets[name] = budget
    return SharedLimit(name, budget.limit - budget.spent, budget.elsewhere, budget.label, budget.allow_unknown)


def _prove(call: str) -> None:
    """Note that a row of a call was answered here."""
    _proven[call] = None
    with contextlib.suppress(KeyError):  # another thread has noted more calls than are kept
        _proven.move_to_end(call)
    while len(_proven) > _KEPT:
        _proven.popitem(last=False)


def _conformed(result: Any, meta: Any) -> Any:
    """Return a result with the types of `meta`; cells that do not fit are missing, and a warning says how many."""
    if isinstance(result, pd.Series):
        return _fitted(result, meta.dtype)
    if list(result.columns) != list(meta.columns):
        raise ColumnError(f"The task gave the columns {list(result.columns)}, and had announced {list(meta.columns)}.")
    changed = {n: _fitted(result[n], meta[n].dtype) for n in result.columns if result[n].dtype != meta[n].dtype}
    return result.assign(**changed) if changed else result


def _fitted(cells: pd.Series[Any], wanted: Any) -> pd.Series[Any]:
    if cells.dtype == wanted or isinstance(wanted, pd.CategoricalDtype) or pd.api.types.is_object_dtype(wanted):
        return cells
    made: pd.Series[Any]
    if pd.api.types.is_datetime64_dtype(wanted):
        made = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None).astype(wanted)
    elif pd.api.types.is_timedelta64_dtype(wanted):
        made = pd.to_timedelta(cells, errors="coerce").astype(wanted)
    elif pd.api.types.is_numeric_dtype(wanted):
        made = pd.to_numeric(cells, errors="coerce").astype(wanted)
    else:
        made = cells.astype(wanted)
    if lost := int((made.isna() & cells.notna()).sum()):
        warn(f"{lost:,} answers of {cells.name!r} do not fit a column of {wanted} and are missing in this partition.")
    return made


def _say_to_client(text: str) -> None:
    from distributed.worker import warn

    warn(text, CfaiWarning)


def _link() -> Any:
    """Return what connects this worker to its cluster; None outside of one."""
    if (distributed := sys.modules.get("distributed")) is None:
        return None
    try:
        worker = distributed.get_worker()
    except ValueError:
        return None
    if (link := worker.plugins.get("cfai_nb")) is None:
        raise SetupError(
            "This cluster was not known when the call was made: make its Client first (or the current one, with "
            "client.as_current()), then call the verb."
        )
    return link
