"""One call of a verb: rows, model and options brought together, carried out, and what came of it."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from . import frames
from .cells import Space
from .errors import AccessError, ModelError
from .models import Model, default, find
from .tasks import Column, Task

if TYPE_CHECKING:
    from ._engine.plan import Plan
    from ._engine.record import Run
    from ._engine.run import Runner
    from .report import Report
    from .session import Session

#: How a call travels; everything else given to a verb is a field of its task.
OPTIONS = ("cache", "budget", "neurons", "on_error", "concurrency", "progress")
#: Codes that say that this account cannot use the model: not open to it, paid plan only, or unknown there.
_NOT_OPEN = frozenset({3041, 5018, 5035, 3042, 5007})


class Call:
    """One call of a verb."""

    def __init__(self, task: Task, model: Any, data: frames.Frame, on: Any, travel: dict[str, Any]) -> None:
        from . import session

        if unknown := set(travel) - set(OPTIONS):
            raise TypeError(f"unknown options {', '.join(sorted(unknown))}; there are {', '.join(OPTIONS)}")
        self.session: Session = session.current()
        self.task = task
        self._chosen = model is not None
        self.model = _model_for(task, model)
        if not self._chosen and task.fallback and self.model.id in self.session.not_open:
            self.model = default(task.fallback)
        task.check(self.model)
        self.options = self.session.options(travel)
        self.rows = frames.rows_of(data, on, template=task.template)
        self._progress: bool | None = travel.get("progress", self.session.defaults.get("progress"))

    def plan(self) -> Plan:
        """Price it; nothing is sent."""
        return self.session.plan(self.task, self.model, self.rows.inputs, cache=self.options.cache)

    def _start(self) -> tuple[Runner, Report]:
        from . import report

        runner = self.session.runner(self.task, self.model, self.rows.inputs, self.options)
        run = runner.run
        made = report.Report(run, self.rows, self._build)
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
        """Whether the default model is not open to the account and another can do it; says so, once a session."""
        from .report import CfaiWarning

        error = made.run.error
        closed = isinstance(error, AccessError) and error.code in _NOT_OPEN
        if not closed or self._chosen or not self.task.fallback or made.run.done:
            return False
        instead = default(self.task.fallback)
        if instead.id == self.model.id:
            return False
        if self.model.id not in self.session.not_open:  # another call at the same time may have said it already
            self.session.not_open.add(self.model.id)
            warnings.warn(
                f"{self.model.id} is not open to this account ({error}). {instead.id} answers in its place, without "
                "probabilities; model= chooses another.",
                CfaiWarning,
                stacklevel=5,
            )
        self.model = instead
        self.task.check(instead)
        return True

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
        result = frames.lay_out(
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
    """The three forms of a call: do it, await it, price it."""

    def _call(self, *args: Any, **options: Any) -> Call:
        raise TypeError("a verb must say how its arguments make a call")

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Do it and wait."""
        return self._call(*args, **options).wait()

    async def aio(self, *args: Any, **options: Any) -> Any:
        """Do it; awaited, on any event loop."""
        return await self._call(*args, **options).wait_async()

    def plan(self, *args: Any, **options: Any) -> Plan:
        """Price it and send nothing."""
        return self._call(*args, **options).plan()


def _model_for(task: Task, model: Any) -> Model:
    if model is not None and not isinstance(model, (str, Model)):
        raise ModelError(f"model={model!r}: give a name such as 'bge-m3'.")
    if model is not None:
        return find(model)
    return find(task.work) if task.work.startswith("@") else default(task.work)


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
