"""One call of a verb: rows, model and options brought together, carried out, and what came of it."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import AccessError, CfaiError, InputError, ModelError, refuse_unknown
from ..models import catalogue, default
from ..models.ledger import as_budget
from ..tasks import ChatTask, Column, DialectTask, Embed, Task
from ..vectors.vector import Space
from . import rows as frames
from .columns import lay_out
from .reading import refuse_written_vectors

if TYPE_CHECKING:
    from .._engine.plan import Plan
    from .._engine.run import Runner
    from .._engine.run_state import Run
    from ..media import Media
    from ..media.fetch import Fetcher
    from ..session import Session
    from .report import Report

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
    "files",
    "progress",
)
#: Codes that say that this account cannot use the model: not open to it, paid plan only, or unknown there.
_INACCESSIBLE = frozenset({3041, 5018, 5035, 3042, 5007})


def shared_budget(travel: Mapping[str, Any]) -> dict[str, Any]:
    """Return run options whose budget is shared by all calls that are made with them, not given to each anew."""
    shared = dict(travel)
    wish, neurons = shared.get("budget"), shared.pop("neurons", None)
    if wish != "free" or neurons is not None:  # the session sees to it that the free ones are one purse
        shared["budget"] = as_budget(wish, neurons)
    return {name: value for name, value in shared.items() if name != "budget" or value is not None}


class Call:
    """One call of a verb."""

    def __init__(self, task: Task, model: Any, data: frames.Frame, on: Any, travel: dict[str, Any]) -> None:
        from .. import session

        refuse_unknown(task.name, travel, ("model", *OPTIONS))
        if on is None and task.template and isinstance(data, pd.Series):
            on = frames.ITSELF
        self.session: Session = session.current()
        if isinstance(task, ChatTask):
            task = task.resolve(lambda given: frames.filled(given, data, on))
        self.task = task
        self._fallback = task.fallback if isinstance(task, DialectTask) else ""
        self._chosen = model is not None
        self.model = self.session.model_for(task, model, travel.get("gateway"))
        if not self._chosen and self._fallback and self.model.id in self.session.inaccessible:
            self.model = default(self._fallback)
        task.check(self.model)
        self.options = self.session.options(travel)
        if self.options.queue and not self.model.can("batch"):
            able = ", ".join(m.name for m in catalogue().values() if m.can("batch") and m.status == "current")
            raise ModelError(f"{self.model.id} has no queue. These have one: {able}.")
        self._given = data, on, travel.get("fetch"), session.files_folder(travel.get("files"))
        self._progress: bool | None = travel.get("progress", self.session.defaults.get("progress"))
        self._fetched = 0  # addresses
        self.rows = self._read()
        self.title = ""  # of its report, where the verb alone does not tell it from others
        self.report: Report | None = None  # of its run, once it has begun

    def _read(self) -> frames.Rows:
        """Read the rows as what the model takes."""
        data, on, fetch, files = self._given
        takes = self.task.input_kinds(self.model)
        fetcher = self.session.fetcher(fetch) if takes != {"text"} else None
        fetched = None if fetcher is None else functools.partial(self._fetch, fetcher)
        rows = frames.rows_of(data, on, template=self.task.template, takes=takes, fetch=fetched, files=files)
        if isinstance(self.task, Embed):
            refuse_written_vectors(rows.inputs, on if on is not None else getattr(data, "name", None))
        return rows

    def _fetch(self, fetcher: Fetcher, urls: Sequence[str]) -> Sequence[Media | InputError]:
        from . import progress

        self._fetched = len(urls)
        with progress.working("fetch", self._progress) as say:
            return fetcher(urls, say)

    def plan(self) -> Plan:
        """Price it; nothing is sent.  Addresses are fetched for it, where that is allowed, and kept for the call."""
        plan = self.session.plan(self.task, self.model, self.rows.inputs, cache=self.options.cache)
        plan.bad, plan.fetched = len(self.rows.bad), self._fetched
        return plan

    def prepare(self) -> tuple[Runner, Report]:
        """Return what carries it out on the engine's loop, and the report that grows meanwhile."""
        from . import report

        runner = self.session.runner(self.task, self.model, self.rows.inputs, self.options)
        self.report = report.Report(runner.run, self.rows, functools.partial(_built, index=self.rows.index), self.title)
        return runner, self.report

    def _start(self) -> tuple[Runner, Report]:
        runner, made = self.prepare()
        _reports[:] = [made]
        return runner, made

    def wait(self) -> Any:
        """Do it and wait."""
        from .._engine.bridge import bridge
        from . import progress

        runner, made = self._start()
        with progress.listener(self._progress) as show:
            bridge.wait(runner, lambda: show(made))
            show(made)
        if self._falls_back(self.fall_back(made)):
            return self.wait()
        self._warn(made.conclude(self.options.on_error))
        return made.frame()

    async def wait_async(self) -> Any:
        """Do it; awaited.  What is more than waiting is done in a thread: the loop is the caller's."""
        import asyncio

        from .._engine.aside import beside
        from .._engine.bridge import bridge
        from . import progress

        runner, made = await beside(self._start)
        with progress.listener(self._progress) as show:
            try:
                await bridge.wait_async(runner, lambda: show(made))
            except asyncio.CancelledError:
                show(made)
                raise asyncio.CancelledError(made.stopped_words) from None
            show(made)
        if self._falls_back(await beside(lambda: self.fall_back(made))):
            return await self.wait_async()
        said, frame = await beside(lambda: (made.conclude(self.options.on_error), made.frame()))
        self._warn(said)
        return frame

    def _falls_back(self, words: str | None) -> bool:
        """Whether another model takes over, given what ``fall_back`` returned; says so, once a session."""
        from .report import CfaiWarning

        if words:
            warnings.warn(words, CfaiWarning, stacklevel=5)
        return words is not None

    def fall_back(self, made: Report) -> str | None:
        """Let another model take over where the default one is not open to the account.

        Returns
        -------
        str or None
            What to say about it, empty when it was said before; None where no other model takes over.
        """
        error = made.ended
        closed = isinstance(error, AccessError) and error.code in _INACCESSIBLE
        if not closed or self._chosen or not self._fallback or made.run.done or made.run.stopped:
            return None
        instead = default(self._fallback)
        if instead.id == self.model.id:
            return None
        try:
            self.task.check(instead)
        except CfaiError as why:
            raise type(why)(f"{self.model.id} is not open to this account ({error}). In its place, {why}") from None
        words = ""
        if self.model.id not in self.session.inaccessible:  # another call at the same time may have said it already
            self.session.inaccessible.add(self.model.id)
            words = (
                f"{self.model.id} is not open to this account ({error}). {instead.id} answers in its place, without "
                "probabilities; model= chooses another."
            )
        blind = self.task.input_kinds(instead) != self.task.input_kinds(self.model)
        self.model = instead
        if blind:  # it may not see what the other one would have
            self.rows = self._read()
        return words

    def _warn(self, said: Sequence[str]) -> None:
        from .report import CfaiWarning

        for text in said:
            warnings.warn(text, CfaiWarning, stacklevel=4)


def _built(run: Run, index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
    """Return what a run delivered; apart from the call, which a report would hold, and with it the session."""
    sink, task, model, origin = run.sink, run.plan.task, run.plan.model.id, run.plan.origin
    space = None
    columns = task.to_columns(sink.cells())
    if sink.matrix is not None:
        form = columns.form if isinstance(columns, Column) else ""
        space = Space(model, sink.matrix.shape[1], form, origin)
    result = lay_out(columns, where=run.plan.where, sink=sink, index=index, name=task.name, space=space)
    # A hint that travels with most operations, lost in merge and concat; the truth is in the store and the book.
    result.attrs["cfai"] = {"verb": task.name, "model": model, "origin": origin, "run": run.id}
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
        from .._engine.aside import beside

        # In a thread: files are read and addresses fetched to know what the rows hold, and the loop is the caller's.
        call = await beside(lambda: self._call(*args, **options))
        return await call.wait_async()

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
