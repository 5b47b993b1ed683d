"""``.cfai`` on Dask frames and Series: one adapter over the accessor of pandas, for the verbs that go row by row.

A verb is called on the frame's ``meta``, which has no rows: that checks it, and gives the exact types of the result
without a request.  What comes back is lazy; each of its ``Part``s carries the verb out on the pandas frame of one
partition, when Dask computes it.  Only the columns that the verb works on are read.

In one process all parts use the engine of the session.  With a ``distributed`` client, ``session.cluster`` gives the
workers one limit, and tells the parts when to stop.  A part holds no token, and no session where it is pickled.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import importlib
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import ColumnError, InputError, ModelError, SetupError, near
from . import rows as frames
from .cascades.cascade import Cascade
from .dask_plan import DaskPlan, Priced
from .polars import WhenImported
from .steps import advance
from .verb import RankVerb, TaskVerb

if TYPE_CHECKING:
    from ..models.ledger import Budget
    from ..session import Session
    from .call import Call

#: Verbs beside those of tasks that go row by row.
_BY_ROW = ("run", "verify")
#: Budgets of calls, by the name under which all workers share them, and calls of which a row was answered here.
_budgets: dict[str, Budget] = {}
_proven: set[str] = set()
#: Parts that run in this process: the call of each, and how it is stopped.
_active: collections.defaultdict[str, set[Any]] = collections.defaultdict(set)


class DaskAccessor:
    """Verbs of Workers AI on a Dask DataFrame or Series; see the accessor of pandas for what each does."""

    accessor: type

    def __init__(self, data: Any) -> None:
        self._data = data

    def __repr__(self) -> str:
        return f"<cfai of {self._data.npartitions:,} partitions: {', '.join(dir(self))}>"

    def __dir__(self) -> list[str]:
        every = [name for name in dir(self.accessor) if not name.startswith("_")]
        return [name for name in every if name in _BY_ROW or _by_row(vars(self.accessor)[name])]

    def __getattr__(self, name: str) -> DaskVerb:
        if name.startswith("_"):
            raise AttributeError(f"cfai has no {name!r}.")
        if name in dir(self):
            return DaskVerb(self, name)
        if hasattr(self.accessor, name):
            raise AttributeError(
                f"{name} needs all rows at once, and a Dask frame has them in partitions: .compute() what it needs, "
                f"and call .cfai.{name} on the pandas frame."
            )
        meant = near(name, dir(self))
        raise AttributeError(f"cfai has no {name!r}.{f' Did you mean {meant!r}?' if meant else ''}")


def _by_row(verb: Any) -> bool:
    return isinstance(verb, TaskVerb) and not isinstance(verb, RankVerb)


class DaskVerb:
    """A verb on a Dask frame: calling it gives a lazy result, ``.plan`` prices it."""

    def __init__(self, accessor: DaskAccessor, name: str) -> None:
        self.__name__, self._data = name, accessor._data
        self._bound = getattr(accessor.accessor(accessor._data._meta), name)
        self.__signature__, self.__doc__ = self._bound.__signature__, self._bound.__doc__

    def __repr__(self) -> str:
        return f"<ddf.cfai.{self.__name__}{self.__signature__}: lazy when called; .plan(...) prices it>"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Return the lazy result; requests are sent when it is computed."""
        part, needed = self._part(args, options)
        return needed.map_partitions(part, meta=part.meta)

    def plan(self, *args: Any, **options: Any) -> DaskPlan:
        """Price it: the partitions are read, and nothing is sent."""
        import dask

        part, needed = self._part(args, options)
        priced = dask.delayed(part.priced, pure=False)
        parts = dask.compute(*(priced(each) for each in needed.to_delayed()))
        return DaskPlan.of(f"{part.verb} with {part.model}", parts, part.batch, part.rate)

    def _part(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Part, Any]:
        """Check the call on no rows; return what does it on a partition, and the frame with the columns it needs."""
        import dask

        for given in (*args, *options.values()):
            if dask.is_dask_collection(given):
                raise InputError(f"{self.__name__}() takes no other Dask frame; .compute() it first.")
            if isinstance(given, Cascade):
                raise ModelError(
                    "a cascade promises something about all rows, and a Dask frame has them in partitions that are "
                    "computed one by one. Write them as parquet and give the cascade to cf.enrich, which makes one "
                    "certificate for all files; or .compute() the column, and call the verb on the pandas frame."
                )
        steps = self._bound._steps(*args, **options)
        call = _call_of(steps)
        _, finish = advance(steps, _no_answers(call))
        part = Part.of(self.__name__, args, options, call, finish())
        _join_cluster(call.session)
        _stop_with_dask()
        return part, self._needed(call, args, options)

    def _needed(self, call: Call, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Return the frame with the columns that the call works on; Dask then reads no others."""
        data, on = call._given
        columns = list(self._data._meta.columns) if self._data.ndim == 2 else []
        if self.__name__ == "filter" or not columns:
            return self._data
        if data is self._data._meta:
            names = frames.names_in(on, data, template=call.task.template)
        else:  # verify makes a frame of its own of two columns
            given = self._bound.__signature__.bind(*args, **options).arguments
            names = [given["claim"], given["source"]]
        wanted = set(names) or {columns[0]}
        return self._data if len(set(columns)) < len(columns) else self._data[[c for c in columns if c in wanted]]


def _call_of(steps: Any) -> Call:
    """Return the call that a verb begins with."""
    call: Any = advance(steps)[0]
    made: Call = call
    return made


def _no_answers(call: Call) -> Any:
    """Return the result of a call on no rows: its columns and their types."""
    from .._engine.run_state import Results
    from .columns import to_pandas

    none = np.empty(0, dtype=np.int64)
    return to_pandas(
        call.task.to_columns([]), where=none, results=Results(0), index=call.rows.index, name=call.task.name, space=None
    )


@dataclass(frozen=True)
class Part:
    """A verb as it is carried out on each partition.

    Attributes
    ----------
    verb, args, options
        As called, with the run options of the session.
    call : str
        What all parts of a call have in common.
    budget : tuple of (name, Neurons, label, allow_unknown), or None
        One for all parts.
    session : str
        Its name.
    meta : DataFrame or Series
        The result, without rows.
    model, batch, rate
        For the plan.
    """

    verb: str
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    call: str
    budget: tuple[str, float, str, bool] | None
    session: str
    meta: Any
    model: str
    batch: int
    rate: float | None
    _held: list[Any] = field(default_factory=list, repr=False, compare=False)  # the session, in the process it is of

    @classmethod
    def of(cls, verb: str, args: tuple[Any, ...], options: Mapping[str, Any], call: Call, meta: Any) -> Part:
        """Return the part of a call that was checked."""
        from .._engine.run_options import NAMES

        run = {name: getattr(call.options, name) for name in NAMES if name not in ("budget", "neurons", "progress")}
        given = {name: value for name, value in options.items() if name not in NAMES}
        if call.session.endpoint.is_server:
            given["model"] = call.model.id
        budget = None if call.options.budget is None else _shared(call.options.budget)
        return cls(
            verb, args, {**given, **run}, uuid.uuid4().hex, budget, call.session.name, meta, call.model.id,
            max(1, call.task.batch(call.model)), call.session.plan(call.task, call.model, [], cache=False).rate,
            [call.session],
        )  # fmt: skip

    @property
    def __name__(self) -> str:
        """What Dask names its tasks after: without it, all of what was asked would be in their names."""
        return f"cfai-{self.verb}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": []}

    def __dask_tokenize__(self) -> str:
        return self.call

    def __call__(self, frame: Any) -> Any:
        """Carry the verb out on a partition."""
        if not len(frame):
            return self.meta
        return _conformed(self._within(self._carried_out, frame), self.meta)

    def priced(self, frame: Any) -> Priced:
        """Price the verb on a partition; nothing is sent."""
        return Priced.of(None if not len(frame) else self._within(self._planned, frame), len(frame))

    def _within(self, do: Any, frame: Any) -> Any:
        """Do something with the session of the call, in a way that the cluster or Dask's scheduler can stop."""
        from .._engine.stopping import Stop

        link = _link()
        stop = Stop()
        _active[self.call].add(stop)
        try:
            with contextlib.nullcontext() if link is None else link.part(self.call, stop):
                return stop.context().run(do, self._session(link), frame, link)
        finally:
            _active[self.call].discard(stop)
            if not _active[self.call]:
                _active.pop(self.call, None)
            stop.end()

    def _session(self, link: Any) -> Session:
        from ..session.session import named

        if link is not None:
            held: Session = link.session(self.session)
            return held
        if (here := named(self.session)) is None:
            raise SetupError(
                "The session of this call is in another process. Compute with threads, or make a dask.distributed "
                "Client first and call the verb again; Dask's own processes cannot share a limit."
            )
        return here

    def _checked(self, session: Session, frame: Any) -> tuple[Any, Call]:
        """Return the steps of the verb on a partition, and its call."""
        from ..session.session import use

        use(session)
        steps = getattr(frame.cfai, self.verb)._steps(*self.args, **self.options, progress=False)
        return steps, _call_of(steps)

    def _planned(self, session: Session, frame: Any, link: Any) -> Any:
        steps, call = self._checked(session, frame)
        steps.close()
        return call.plan()

    def _carried_out(self, session: Session, frame: Any, link: Any) -> Any:
        steps, call = self._checked(session, frame)
        with contextlib.closing(steps):
            # A partition of which every row failed ends the call only where no other was answered.
            part: Any = "later" if self.call in _proven else "first"
            call.options = dataclasses.replace(call.options, part=part, budget=self._budget(session))
            if link is not None:
                call.say = _say_to_client
            answers = call.wait()
            if call.report is not None and call.report.run.done:
                _proven.add(self.call)
            _, finish = advance(steps, answers)
            return finish()

    def _budget(self, session: Session) -> Budget | None:
        if self.budget is None:
            return None
        name, limit, label, allow_unknown = self.budget
        if (own := _budgets.get(name)) is not None:
            return own
        shared = session.engine(cache=True).share.budget(name, limit, label)
        shared.allow_unknown = allow_unknown
        return shared


def _shared(budget: Budget) -> tuple[str, float, str, bool]:
    """Return a budget as workers can share it: by name, with what is left of it now."""
    name = next((name for name, one in _budgets.items() if one is budget), "") or f"dask {uuid.uuid4().hex}"
    _budgets[name] = budget
    return name, budget.limit - budget.elsewhere - budget.spent, budget.label, budget.allow_unknown


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
    from .call import warn

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

    from ..errors import CfaiWarning

    warn(text, CfaiWarning)


# -- the cluster, and Dask's own schedulers --------------------------------------------------------------------------


def _join_cluster(session: Session) -> None:
    """Make the session known to the cluster, where there is a client of one."""
    if (distributed := sys.modules.get("distributed")) is not None:
        with contextlib.suppress(ValueError):  # there is no client
            client = distributed.default_client()
            importlib.import_module("..session.cluster", __package__).register(client, session)


def _link() -> Any:
    """Return what connects this worker to its cluster; None outside of one."""
    if (distributed := sys.modules.get("distributed")) is None:
        return None
    try:
        worker = distributed.get_worker()
    except ValueError:
        return None
    if (link := worker.plugins.get("cfai_nb")) is None:
        raise SetupError("There was no cluster when this call was made: make the Client first, then call the verb.")
    return link


def _stop_with_dask() -> None:
    """Have parts stopped when a computation in this process ends early: by an error, or by Stop in the notebook."""
    from dask.callbacks import Callback

    callback = Callback(finish=_computed)
    if not any(each[4] is _computed for each in Callback.active if len(each) > 4):
        callback.register()


def _computed(graph: Any, state: Mapping[str, Any], failed: bool) -> None:
    from .._engine.stopping import STOP

    if failed:
        for key in tuple(state.get("running", ())):
            for part in _parts_in(graph.get(key)):
                for stop in tuple(_active.get(part.call, ())):
                    stop.ask(STOP)


def _parts_in(node: Any) -> Iterator[Part]:
    """Yield the parts in a task of a graph, however it was fused."""
    if isinstance(node, Part):
        yield node
        return
    inner: list[Any] = []
    if isinstance(node, Mapping):
        inner = list(node.values())
    elif isinstance(node, (list, tuple, set, frozenset)):
        inner = list(node)
    elif hasattr(node, "func") and hasattr(node, "args"):
        inner = [node.func, node.args, getattr(node, "kwargs", None)]
    for each in inner:
        yield from _parts_in(each)


# -- when Dask is imported -------------------------------------------------------------------------------------------


def register(accessor: type) -> None:
    """Give the frames and Series of Dask their ``cfai``: now, or when ``dask.dataframe`` is imported."""
    namespace = type("DaskAccessor", (DaskAccessor,), {"accessor": accessor, "__doc__": DaskAccessor.__doc__})

    def add(module: ModuleType) -> None:
        from .arrow import VectorArray, VectorDtype

        own = importlib.import_module("dask.dataframe.extensions")
        for owner in (module.DataFrame, module.Series):
            if "cfai" in vars(owner):  # again, as after a reload
                del owner.cfai
        own.register_dataframe_accessor("cfai")(namespace)
        own.register_series_accessor("cfai")(namespace)
        example = [np.zeros(1, dtype=np.float32)] * 2
        own.make_array_nonempty.register(VectorDtype, lambda dtype: VectorArray._from_sequence(example))

    there = sys.modules.get("dask.dataframe")
    if there is not None and hasattr(there, "DataFrame"):
        add(there)
        return
    WhenImported("dask.dataframe", add).wait()
