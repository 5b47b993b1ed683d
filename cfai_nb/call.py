"""One call of a verb: rows, model and options brought together, carried out, and what came of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import frames
from .cells import Space
from .errors import AccessError, ModelError
from .layout import lay_out
from .ledger import as_budget
from .models import catalogue, default
from .tasks import Column, Task

if TYPE_CHECKING:
    from ._engine.plan import Plan
    from ._engine.record import Run
    from ._engine.run import Runner
    from .report import Report
    from .session import Session

#: How a call travels; everything else given to a verb is a field of its task.
OPTIONS = (
    "cache",
    "budget",
    "neurons",
    "on_error",
    "concurrency",
    "patience",
    "gateway",
    "queue",
    "reject_if_busy",
    "fetch",
    "progress",
)
#: Codes that say that this account cannot use the model: not open to it, paid plan only, or unknown there.
_NOT_OPEN = frozenset({3041, 5018, 5035, 3042, 5007})


def one_purse(travel: Mapping[str, Any]) -> dict[str, Any]:
    """Return run options whose budget is shared by all calls that are made with them, not given to each anew."""
    shared = dict(travel)
    wish, neurons = shared.get("budget"), shared.pop("neurons", None)
    if wish != "free" or neurons is not None:  # the session sees to it that the free ones are one purse
        shared["budget"] = as_budget(wish, neurons)
    return {name: value for name, value in shared.items() if name != "budget" or value is not None}


class Call:
    """One call of a verb."""

    def __init__(self, task: Task, model: Any, data: frames.Frame, on: Any, travel: dict[str, Any]) -> None:
        from . import session

        if unknown := set(travel) - set(OPTIONS):
            raise TypeError(f"unknown options {', '.join(sorted(unknown))}; there are {', '.join(OPTIONS)}")
        if on is None and task.template and isinstance(data, pd.Series):
            on = frames.ITSELF
        self.session: Session = session.current()
        self.task = task = task.settle(lambda given: frames.filled(given, data, on))
        self._chosen = model is not None
        self.model = self.session.model_for(task, model, travel.get("gateway"))
        if not self._chosen and task.fallback and self.model.id in self.session.not_open:
            self.model = default(task.fallback)
        task.check(self.model)
        self.options = self.session.options(travel)
        if self.options.queue and not self.model.can("batch"):
            able = ", ".join(m.name for m in catalogue().values() if m.can("batch") and m.status == "current")
            raise ModelError(f"{self.model.id} has no queue. These have one: {able}.")
        self._given = data, on, travel.get("fetch")
        self.rows = self._read()
        self.title = ""  # of its report, where the verb alone does not tell it from others
        self.report: Report | None = None  # of its run, once it has begun
        self._progress: bool | None = travel.get("progress", self.session.defaults.get("progress"))

    def _read(self) -> frames.Rows:
        """Read the rows as what the model takes."""
        data, on, fetch = self._given
        takes = self.task.takes(self.model)
        fetcher = self.session.fetcher(fetch) if takes != {"text"} else None
        return frames.rows_of(data, on, template=self.task.template, takes=takes, fetch=fetcher)

    def plan(self) -> Plan:
        """Price it; nothing is sent."""
        plan = self.session.plan(self.task, self.model, self.rows.inputs, cache=self.options.cache)
        plan.bad = len(self.rows.bad)
        return plan

    def prepare(self) -> tuple[Runner, Report]:
        """Return what carries it out on the engine's loop, and the report that grows meanwhile."""
        from . import report

        runner = self.session.runner(self.task, self.model, self.rows.inputs, self.options)
        self.report = report.Report(runner.run, self.rows, self._build, self.title)
        return runner, self.report

    def _start(self) -> tuple[Runner, Report]:
        runner, made = self.prepare()
        _reports[:] = [made]
        return runner, made

    def wait(self) -> Any:
        """Do it and wait."""
        from . import progress
        from ._engine.bridge import bridge

        runner, made = self._start()
        with progress.listener(self._progress) as show:
            bridge.wait(runner, lambda: show(made))
            show(made)
        return self.wait() if self._falls_back(made) else self._conclude(made)

    async def wait_async(self) -> Any:
        """Do it; awaited."""
        import asyncio

        from . import progress
        from ._engine.bridge import bridge

        runner, made = self._start()
        with progress.listener(self._progress) as show:
            try:
                await bridge.wait_async(runner, lambda: show(made))
            except asyncio.CancelledError:
                show(made)
                raise asyncio.CancelledError(made.stopped_words) from None
            show(made)
        return await self.wait_async() if self._falls_back(made) else self._conclude(made)

    def _falls_back(self, made: Report) -> bool:
        """Whether another model takes over; says so, once a session."""
        from .report import CfaiWarning

        words = self.stand_in(made)
        if words:
            warnings.warn(words, CfaiWarning, stacklevel=5)
        return words is not None

    def stand_in(self, made: Report) -> str | None:
        """Let another model take over where the default one is not open to the account.

        Returns
        -------
        str or None
            What to say about it, empty when it was said before; None where no other model takes over.
        """
        error = made.ended
        closed = isinstance(error, AccessError) and error.code in _NOT_OPEN
        if not closed or self._chosen or not self.task.fallback or made.run.done:
            return None
        instead = default(self.task.fallback)
        if instead.id == self.model.id:
            return None
        words = ""
        if self.model.id not in self.session.not_open:  # another call at the same time may have said it already
            self.session.not_open.add(self.model.id)
            words = (
                f"{self.model.id} is not open to this account ({error}). {instead.id} answers in its place, without "
                "probabilities; model= chooses another."
            )
        blind = self.task.takes(instead) != self.task.takes(self.model)
        self.model = instead
        self.task.check(instead)
        if blind:  # it may not see what the other one would have
            self.rows = self._read()
        return words

    def _conclude(self, made: Report) -> Any:
        from .report import CfaiWarning

        for text in made.conclude(self.options.on_error):
            warnings.warn(text, CfaiWarning, stacklevel=4)
        return made.frame()

    def _build(self, run: Run) -> pd.Series[Any] | pd.DataFrame:
        sink = run.sink
        space = None
        columns = self.task.tabulate(sink.cells())
        if sink.matrix is not None:
            form = columns.form if isinstance(columns, Column) else ""
            space = Space(self.model.id, sink.matrix.shape[1], form, run.plan.origin)
        result = lay_out(
            columns, where=run.plan.where, sink=sink, index=self.rows.index, name=self.task.name, space=space
        )
        # A hint that travels with most operations, lost in merge and concat; the truth is in the store and the book.
        result.attrs["cfai"] = {
            "verb": self.task.name,
            "model": self.model.id,
            "origin": run.plan.origin,
            "run": run.id,
        }
        return result


class Forms:
    """The three forms of a call: do it, await it, price it; and the call itself, for those who carry it out."""

    def _call(self, *args: Any, **options: Any) -> Call:
        raise TypeError("a verb must say how its arguments make a call")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Do it and wait."""
        return self._call(*args, **options).wait()

    async def aio(self, *args: Any, **options: Any) -> Any:
        """Do it; awaited, on any event loop."""
        return await (await self._prepared(*args, **options)).wait_async()

    async def _prepared(self, *args: Any, **options: Any) -> Call:
        import asyncio

        # In a thread: files are read and addresses fetched to know what the rows hold, and the loop is the caller's.
        return await asyncio.to_thread(self._call, *args, **options)

    def plan(self, *args: Any, **options: Any) -> Plan:
        """Price it and send nothing."""
        return self._call(*args, **options).plan()

    def prepare(self, *args: Any, **options: Any) -> Call:
        """Return the call, checked and not yet made."""
        return self._call(*args, **options)


#: The last report; a list, so that nobody holds an old one by importing it.
_reports: list[Report] = []


def last_run() -> Report:
    """Return what happened in the last run of this process: receipt, failures, partial result.

    Raises
    ------
    LookupError
        Nothing ran yet.
    """
    if not _reports:
        raise LookupError("Nothing ran yet.")
    return _reports[0]
