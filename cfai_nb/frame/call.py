"""One call of a verb: task, model, rows and options are brought together, carried out, and reported.

``verb`` and the verbs on vectors make a ``Call``; ``steps`` waits for it in each of the three forms, and widgets carry
it out themselves.  The result lies on the index of the frame; ``cf.last_run()`` returns the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from .. import session
from .._engine.run_options import NAMES
from .._engine.stopping import in_thread
from ..errors import AccessError, CfaiError, CfaiWarning, InputError, ModelError, refuse_unknown, takes_options
from ..models import catalogue, default
from ..tasks import ChatTask, Column, DialectTask, Embed, Task
from ..vectors.vector import Space, views
from . import progress
from . import rows as frames
from .arrow import VectorArray
from .progress import Display, Listener
from .reading import refuse_written_vectors
from .report import Report
from .rows import to_pandas

if TYPE_CHECKING:
    from .._engine.plan import Plan
    from .._engine.run import Runner
    from .._engine.run_options import RunOptions
    from .._engine.run_state import Run
    from ..media import Media
    from ..media.fetch import Fetcher
    from ..session import Session

_PACKAGE = f"{__name__.partition('.')[0]}."
#: Codes that say that this account cannot use the model: not open to it, paid plan only, or unknown there.
_INACCESSIBLE = frozenset({3041, 5018, 5035, 3042, 5007})


def warn(text: str) -> None:
    """Warn at the line outside of this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, CfaiWarning, stacklevel=level)


class Whole(Protocol):
    """What a call is one of many calls of: ``cf.enrich``, or the parts of a Dask frame."""

    #: What an interrupt leaves behind, in words.
    @property
    def stopped_words(self) -> str: ...

    def follow(self, report: Report) -> Report:
        """Take the report of a call that begins; return the one to remember."""

    def conclude(self, on_error: str, *, failures: bool = True) -> list[str]:
        """Raise what the call ends with, or return its warnings; without ``failures`` rows that failed are left out."""

    @property
    def show(self) -> Callable[[Any], None]:
        """Show how far it is; called ten times a second."""


class Call:
    """One call of a verb: a step that sends rows through the engine.

    `options` are as given by the user; or merged already, where several calls share them and with them one budget.
    `part` is what a plan of several calls names it.  `whole` is what it is one of many calls of: its run is shown
    there, and its outcome is concluded there.
    """

    def __init__(
        self, task: Task, model: Any, data: frames.Frame, on: Any, options: Mapping[str, Any] | RunOptions,
        part: str = "", *, whole: Whole | None = None,
    ) -> None:  # fmt: skip
        self.session: Session = session.current()
        if isinstance(options, Mapping):
            refuse_unknown(task.name, options, ("model", *NAMES))
            options = self.session.options(options)
        self.options: RunOptions = options
        if on is None and task.template and isinstance(data, pd.Series):
            on = frames.ITSELF
        if isinstance(task, ChatTask):
            task = task.resolve(lambda given: frames.filled(given, data, on))
        self.task = task
        self._fallback = task.fallback if isinstance(task, DialectTask) else ""
        self._chosen = model is not None
        self.model = self.session.model_for(task, model, options.gateway)
        if not self._chosen and self._fallback and self.model.id in self.session.inaccessible:
            self.model = default(self._fallback)
        task.check(self.model)
        if self.options.queue and not self.model.can("batch"):
            able = ", ".join(m.name for m in catalogue().values() if m.can("batch") and m.status == "current")
            raise ModelError(f"{self.model.id} has no queue. These have one: {able}.")
        self._given = data, on
        self._fetched = 0  # addresses
        self.rows = self._read()
        self.title, self.part, self.whole = "", part, whole  # the title is for the report, in place of the verb
        self.report: Report | None = None  # of its run, once that has begun
        self.notes: list[str] = []  # what a caller should know besides the result: that a fallback model answers
        self.say: Callable[[str], object] = warn  # takes each note

    def _read(self) -> frames.Rows:
        """Read the rows as what the model takes."""
        data, on = self._given
        takes = self.task.input_kinds(self.model)
        fetcher = self.session.fetcher(self.options.fetch) if takes != {"text"} else None
        fetched = None if fetcher is None else functools.partial(self._fetch, fetcher)
        rows = frames.rows_of(
            data, on, template=self.task.template, takes=takes, fetch=fetched, files=self.options.files
        )
        if isinstance(self.task, Embed):
            refuse_written_vectors(rows.inputs, on if on is not None else getattr(data, "name", None))
        return rows

    def _fetch(self, fetcher: Fetcher, urls: Sequence[str]) -> Sequence[Media | InputError]:
        self._fetched = len(urls)
        with progress.working("fetch", self.options.progress) as say:
            return fetcher(urls, say)

    def plan(self) -> Plan:
        """Price it; nothing is sent.  Addresses are fetched for it, where that is allowed, and kept for the call."""
        plan = self.session.plan(self.task, self.model, self.rows.inputs, cache=self.options.cache)
        plan.bad, plan.fetched = len(self.rows.bad), self._fetched
        return plan

    def prepare(self) -> tuple[Runner, Report]:
        """Return what carries it out on the engine's loop, and the report that grows meanwhile."""
        runner = self.session.runner(self.task, self.model, self.rows.inputs, self.options)
        self.report = Report(runner.run, self.rows, functools.partial(built, index=self.rows.index), self.title)
        return runner, self.report

    def to_columns(self) -> Column | Mapping[str, Column]:
        """Return the columns of its result, without cells."""
        return self.task.to_columns([])

    def placeholder(self) -> pd.Series[Any] | None:
        """Return what a plan goes on with in place of the result: vectors of zeros in the space they would be of."""
        if not isinstance(self.task, Embed):
            return None
        dims = self.model.dims or 1
        space = Space(self.model.id, dims, self.task.pooling or "", self.session.origin)
        where = np.array([-1 if each is None else 0 for each in self.rows.inputs], dtype=np.int64)
        zeros = np.zeros((1, dims), dtype=np.float32)
        return pd.Series(VectorArray._from_sequence(views(zeros, where, space)), index=self.rows.index)

    def attempts(self, start: Callable[[], tuple[Runner, Report]] | None = None) -> Iterator[tuple[Runner, Report]]:
        """Yield what is to be carried out, and its report: once, and again with the fallback model if need be.

        Each must have been carried out before the next is asked for.  ``notes`` then says which model answers.
        """
        begin = self.prepare if start is None else start
        while True:
            attempt = begin()
            yield attempt
            if not self._falls_back(attempt[1]):
                return

    def _start(self) -> tuple[Runner, Report]:
        runner, made = self.prepare()
        caution = self.task.caution(self.model)
        if caution and self.model.id not in self.session.cautioned:
            self.session.cautioned.add(self.model.id)
            self.notes.append(f"{caution}.")
        remember(made if self.whole is None else self.whole.follow(made))
        return runner, made

    def _listener(self, display: Display | None) -> AbstractContextManager[Listener]:
        if self.whole is not None:
            return contextlib.nullcontext(self.whole.show)
        return progress.listener(self.options.progress, display)

    def wait(self, display: Display | None = None) -> Any:
        """Do it and wait; `display` makes the progress bar of a notebook."""
        from .._engine.bridge import bridge

        for runner, made in self.attempts(self._start):
            self._warn()
            with self._listener(display) as show:
                shown: Any = self.whole or made
                bridge.wait(runner, functools.partial(show, shown))
                show(shown)
        self.notes, frame = self._concluded()
        self._warn()
        return frame

    async def wait_async(self, display: Display | None = None) -> Any:
        """Do it; awaited.  What is more than waiting is done in a thread: the loop is the caller's."""
        from .._engine.bridge import bridge

        attempts = self.attempts(self._start)
        while (attempt := await in_thread(lambda: next(attempts, None))) is not None:
            runner, made = attempt
            self._warn()
            with self._listener(display) as show:
                shown: Any = self.whole or made
                try:
                    await bridge.wait_async(runner, functools.partial(show, shown))
                except asyncio.CancelledError:
                    show(shown)
                    raise asyncio.CancelledError(shown.stopped_words) from None
                show(shown)
        self.notes, frame = await in_thread(self._concluded)
        self._warn()
        return frame

    def _concluded(self) -> tuple[list[str], Any]:
        assert self.report is not None
        return (self.whole or self.report).conclude(self.options.on_error), self.report.frame()

    def _warn(self) -> None:
        while self.notes:
            self.say(self.notes.pop(0))

    def _falls_back(self, made: Report) -> bool:
        """Let the fallback model answer where the default one is not open to the account; notes it once a session."""
        error = made.ended
        closed = isinstance(error, AccessError) and error.code in _INACCESSIBLE
        if not closed or self._chosen or not self._fallback or made.run.done or made.run.stopped:
            return False
        instead = default(self._fallback)
        if instead.id == self.model.id:
            return False
        try:
            self.task.check(instead)
        except CfaiError as why:
            raise type(why)(f"{self.model.id} is not open to this account ({error}). In its place, {why}") from None
        if self.model.id not in self.session.inaccessible:  # a call at the same time may have warned already
            self.session.inaccessible.add(self.model.id)
            self.notes.append(
                f"{self.model.id} is not open to this account ({error}). {instead.id} answers in its place, without "
                "probabilities; model= chooses another."
            )
        reads_again = self.task.input_kinds(instead) != self.task.input_kinds(self.model)
        self.model = instead
        if reads_again:  # it may not see what the other one would have
            self.rows = self._read()
        return True


def built(run: Run, index: pd.Index[Any]) -> pd.Series[Any] | pd.DataFrame:
    """Return what a run delivered; apart from the call, which a report would hold, and with it the session."""
    results, task, model, origin = run.results, run.plan.task, run.plan.model.id, run.plan.origin
    space = None
    columns = task.to_columns(results.cells())
    if results.matrix is not None:
        form = columns.form if isinstance(columns, Column) else ""
        space = Space(model, results.matrix.shape[1], form, origin)
    result = to_pandas(columns, where=run.plan.where, results=results, index=index, name=task.name, space=space)
    # A hint that most operations pass on, and merge and concat lose; store and ledger hold the facts.
    result.attrs["cfai"] = {"verb": task.name, "model": model, "origin": origin, "run": run.id}
    return result


#: The last report, in a list: a name that is imported would go on meaning an old one.
_reports: list[Report] = []


def remember(report: Report) -> None:
    """Make a report the one that ``cf.last_run()`` returns."""
    _reports[:] = [report]


@takes_options()
def last_run() -> Report:
    """Return what happened in the last run of this process: receipt, failures, partial result.

    Returns
    -------
    Report

    Raises
    ------
    LookupError
        Nothing ran yet.

    Examples
    --------
    >>> df.cfai.embed("text")
    >>> cf.last_run().failures
    """
    if not _reports:
        raise LookupError("Nothing ran yet.")
    return _reports[0]
