"""``.cfai`` on Dask frames and Series: one adapter over the accessor of pandas, for the verbs that go row by row.

A verb is called on the frame's ``meta``, which has no rows: that checks it, and gives the exact types of the result
without a request.  What comes back is lazy; each of its ``Part``s carries the verb out on the pandas frame of one
partition, when Dask computes it.  Only the columns that the verb works on are read.  A cascade promises something about
all rows: one task asks about those of all partitions, and each partition then looks its answers up (``CascadePart``).

In one process all parts use the engine of the session.  With a ``distributed`` client, ``session.cluster`` gives the
workers one limit, and tells the parts when to stop.  A part holds no token, and no session where it is pickled.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import operator
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._engine.plan import time_in_words
from .._engine.stopping import STOP
from ..errors import InputError, hint
from ..models import Cost
from ..models.ledger import money
from . import rows as frames
from .arrow import VectorArray, VectorDtype
from .cascades import TRUTH, Cascade, CascadePlan
from .dask_part import CascadePart, Part, Priced, active, ended, outlined
from .dask_report import DaskReport, end_idle, take
from .gold import by_content, columns_in, replaced
from .rows import without_rows
from .steps import Form, advance
from .verb import RankVerb, TaskVerb

if TYPE_CHECKING:
    from ..session import Session
    from .call import Call

#: Verbs beside those of tasks that go row by row.
_BY_ROW = ("run", "verify")


class DaskAccessor:
    """Verbs of Workers AI on a Dask DataFrame or Series; see the accessor of pandas for what each does."""

    accessor: type

    def __init__(self, data: Any) -> None:
        self._data = data

    def __repr__(self) -> str:
        return f"<cfai of {self._data.npartitions:,} partitions: {', '.join(dir(self))}>"

    def __dir__(self) -> list[str]:
        every = [name for name in dir(self.accessor) if not name.startswith("_")]
        verbs = vars(self.accessor)
        return [
            name
            for name in every
            if name in _BY_ROW or (isinstance(verbs[name], TaskVerb) and not isinstance(verbs[name], RankVerb))
        ]

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
        raise AttributeError(f"cfai has no {name!r}.{hint(name, dir(self))}")


class DaskVerb:
    """A verb on a Dask frame: calling it gives a lazy result, ``.plan`` prices it."""

    def __init__(self, accessor: DaskAccessor, name: str) -> None:
        self.__name__, self._data = name, accessor._data
        whole = accessor.accessor(accessor._data._meta)
        self._bound, self._display = getattr(whole, name), whole._display
        self.__signature__, self.__doc__ = self._bound.__signature__, self._bound.__doc__

    def __repr__(self) -> str:
        return f"<ddf.cfai.{self.__name__}{self.__signature__}: lazy when called; .plan(...) prices it>"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Return the lazy result; requests are sent when it is computed."""
        import dask

        part, needed, call = self._part(args, options)
        part.held.append(self._report(part, call))
        if not isinstance(part, CascadePart):
            return (self._data if self._chooses else needed).map_partitions(part, meta=part.meta)
        made = dask.delayed(part, pure=False)(_pooled(needed))
        rows, meta = (self._data, self._data._meta) if self._chooses else (needed, part.meta)
        return rows.map_partitions(part.laid, made, meta=meta)

    @Form
    def plan(self, *args: Any, **options: Any) -> DaskPlan | CascadePlan:
        """Price it: the partitions are read, and nothing is sent."""
        import dask

        part, needed, _ = self._part(args, options)
        if isinstance(part, CascadePart):
            plan: CascadePlan = dask.delayed(part.ranged, pure=False)(_pooled(needed)).compute()
            return plan
        priced = dask.delayed(part.priced, pure=False)
        parts = dask.compute(*(priced(each) for each in needed.to_delayed()))
        once = part.options["cache"] in (True, "only") and part.stores
        plans = [
            DaskPlan.of(f"{part.verb} with {asked.model}", each, asked.batch, asked.rate, once=once)
            for asked, each in zip(part.asked, zip(*parts, strict=True), strict=True)
        ]
        return functools.reduce(operator.add, plans)

    def _part(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Part, Any, Call]:
        """Check the call on no rows; return what does it on a partition, the columns that needs, and the call."""
        import dask

        for given in (*args, *options.values()):
            if dask.is_dask_collection(given):
                raise InputError(f"{self.__name__}() takes no other Dask frame; .compute() it first.")
        calls: list[Call]
        cascade = next((given for given in (*args, *options.values()) if isinstance(given, Cascade)), None)
        further: set[Any] = set()
        part: Part
        if cascade is None:
            calls, meta = _rehearsed(self._bound._steps(*args, **options))
            part = Part.of(self.__name__, args, options, calls, meta)
        else:
            truth, given = options.get("truth"), dict(options)
            if truth is not None:  # of no rows a review labelled none
                given["truth"] = replaced(
                    by_content(truth, "a Dask frame"), lambda one: one if isinstance(one, str) else []
                )
            whole = outlined(self._bound._steps(*args, **given))
            calls, meta, further = [whole.strong], whole.frame(), columns_in(truth) | self._vectors(cascade)
            if isinstance(meta, pd.DataFrame):
                by = [*[TRUTH] * (truth is not None), *whole.names]
                meta["answered_by"] = meta["answered_by"].cat.set_categories(by)
            part = CascadePart.of(self.__name__, args, options, calls, meta)
        _join_cluster(calls[0].session, part)
        _stop_with_dask()
        return part, self._needed(calls[0], args, options, further), calls[0]

    def _report(self, part: Part, call: Call) -> DaskReport:
        """Make the report of all parts, which they find by what they have in common."""
        cascade = isinstance(part, CascadePart)
        verb = f"{self.__name__} with a cascade" if cascade else self.__name__
        asked, partitions = None if cascade else len(part.asked), self._data.npartitions
        report = DaskReport(part.call, verb, partitions, asked, call.session.name, call.options.progress, self._display)
        report.budget = call.options.budget
        return report

    @property
    def _chooses(self) -> bool:
        """Whether the result is rows of the frame, with all their columns."""
        return self.__name__ == "filter"

    def _vectors(self, cascade: Cascade) -> set[Any]:
        """Return the columns that may hold vectors, which a cascade learns from."""
        if not cascade.learns or self._data.ndim == 1:
            return set()
        return {name for name, dtype in self._data._meta.dtypes.items() if dtype.kind == "O"}

    def _needed(
        self, call: Call, args: tuple[Any, ...], options: Mapping[str, Any], further: Set[Any] = frozenset()
    ) -> Any:
        """Return the frame with the columns that the call works on; Dask then reads no others."""
        data, on = call._given
        columns = list(self._data._meta.columns) if self._data.ndim == 2 else []
        if not columns:
            return self._data
        if data is self._data._meta:
            names = frames.names_in(on, data, template=call.task.template)
        else:  # verify makes a frame of its own of two columns
            given = self._bound.__signature__.bind(*args, **options).arguments
            names = [given["claim"], given["source"]]
        wanted = {*names, *further} or {columns[0]}
        return self._data if len(set(columns)) < len(columns) else self._data[[c for c in columns if c in wanted]]


def _pooled(frame: Any) -> list[Any]:
    """Return the partitions of a frame with each distinct text once, to be computed."""
    import dask

    once = dask.delayed(frames.pooled, pure=False)
    return [once(each) for each in frame.to_delayed()]


def _rehearsed(steps: Any) -> tuple[list[Call], Any]:
    """Return the calls that a verb makes, and its result, on no rows."""
    calls: list[Any] = []
    step, finish = advance(steps)
    while step is not None:
        call: Any = step
        calls.append(call)
        step, finish = advance(steps, without_rows(call.to_columns(), call.rows.index, call.task.name))
    return calls, finish()


# -- the price before ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DaskPlan:
    """What a verb would send for a Dask frame, and what that may cost at most.

    Attributes
    ----------
    words : str
        Verb and model.
    partitions, rows, missing, distinct, stored, requests : int
        Equal inputs count once, also in different partitions; what is sent again for each partition (without a store,
        or with ``cache=False`` or ``"refresh"``) counts for each in ``requests`` and ``cost``.
    cost : Cost
        An estimate; ``neurons`` is None where the model publishes no price.
    minutes : float or None
        At the rate limit, where one is known.
    """

    words: str
    partitions: int
    rows: int
    missing: int
    distinct: int
    stored: int
    requests: int
    cost: Cost
    minutes: float | None

    @classmethod
    def of(
        cls, words: str, parts: tuple[Priced, ...], batch: int, rate: float | None, *, once: bool = True
    ) -> DaskPlan:
        """Add up the partitions; an input that several have is counted in the first of them, if it is sent `once`."""
        there = [part for part in parts if part.keys is not None and len(part.keys)]
        keys = np.concatenate([part.keys for part in there]) if there else np.empty(0, dtype="V16")
        _, first = np.unique(keys.view([("high", "u8"), ("low", "u8")]), return_index=True)
        new = np.zeros(len(keys), dtype=bool)
        new[first] = True
        open_ = np.concatenate([part.open for part in there]) if there else new
        prices = np.concatenate([part.prices for part in there]) if there else np.empty(0)
        sent = new & open_ if once else open_
        ends = np.cumsum([len(part.keys) for part in there])
        counts = [int(each.sum()) for each in np.split(sent, ends[:-1])] if there else []
        requests = sum(-(-count // batch) for count in counts)
        total = float(prices[sent].sum())
        return cls(
            words, len(parts), sum(part.rows for part in parts), sum(part.missing for part in parts), int(new.sum()),
            int((new & ~open_).sum()), requests, Cost(None if np.isnan(total) else total, False),
            requests / rate if rate else None,
        )  # fmt: skip

    def __add__(self, other: DaskPlan) -> DaskPlan:
        """Return the plan of two calls about the same rows."""
        known = self.minutes is not None and other.minutes is not None
        return dataclasses.replace(
            self, words=f"{self.words} and {other.words.partition(' with ')[2]}", stored=min(self.stored, other.stored),
            requests=self.requests + other.requests, cost=self.cost + other.cost,
            minutes=(self.minutes or 0.0) + (other.minutes or 0.0) if known else None,
        )  # fmt: skip

    def __repr__(self) -> str:
        stored = f", {self.stored:,} in the store" if self.stored else ""
        cost = f"{money(self.cost.neurons, False)} at most; estimated, nothing sent"
        if not self.requests:
            cost = "nothing to send, nothing to pay"
        return "\n".join([
            self.words,
            f"  {self.rows:,} rows in {self.partitions:,} partitions ({self.missing:,} without content), "
            f"{self.distinct:,} distinct{stored}",
            f"  {self.requests:,} requests, {time_in_words(self.minutes)}",
            f"  {cost}",
        ])  # fmt: skip


# -- the cluster, and Dask's own schedulers --------------------------------------------------------------------------


def _join_cluster(session: Session, part: Part) -> None:
    """Make the session known to the cluster, where there is a client of one, and what is left of a day's budget."""
    if (distributed := sys.modules.get("distributed")) is None:
        return
    try:
        client = distributed.default_client()
    except ValueError:  # there is none
        return
    from ..session import cluster  # which imports distributed

    cluster.register(client, session, take)
    if part.budget is not None and part.budget.name.startswith("free"):
        cluster.limit(client, session, part.budget.name, part.budget.neurons, part.budget.label)


def _stop_with_dask() -> None:
    """Have parts stopped when a computation in this process ends early: by an error, or by Stop in the notebook."""
    from dask.callbacks import Callback

    callback = Callback(start=_begins, finish=_computed)
    if not any(each[4] is _computed for each in Callback.active if len(each) > 4):
        callback.register()


def _begins(graph: Any) -> None:
    if ended:  # computed again
        ended.difference_update(part.call for key in tuple(graph) for part in _parts_in(graph.get(key)))


def _computed(graph: Any, state: Mapping[str, Any], failed: bool) -> None:
    if failed:
        calls = {part.call for key in tuple(state.get("running", ())) for part in _parts_in(graph.get(key))}
        ended.update(calls)
        for call, stop in tuple(active):
            if call in calls:
                stop.ask(STOP)
    end_idle()


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


def register(accessor: type, module: ModuleType) -> None:
    """Give the frames and Series of ``dask.dataframe`` their ``cfai``."""
    namespace = type("DaskAccessor", (DaskAccessor,), {"accessor": accessor, "__doc__": DaskAccessor.__doc__})
    own = importlib.import_module("dask.dataframe.extensions")
    for owner in (module.DataFrame, module.Series):
        if "cfai" in vars(owner):  # again, as after a reload
            del owner.cfai
    own.register_dataframe_accessor("cfai")(namespace)
    own.register_series_accessor("cfai")(namespace)
    example = [np.zeros(1, dtype=np.float32)] * 2
    own.make_array_nonempty.register(VectorDtype, lambda dtype: VectorArray._from_sequence(example))
