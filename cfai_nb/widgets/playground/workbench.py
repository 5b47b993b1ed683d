"""The playground without its display: variants, run on the sample rows, kept as versions, and applied to all rows.

In: a frame and a first draft.  Out: `Workbench`, which the panel and the full run use; `Playground` adds the display,
so that neither imports the widget it is part of.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd
import traitlets

from ..._engine.bridge import bridge
from ...errors import CfaiError, Stopped, takes_options
from ...frame import progress
from ...frame import rows as frames
from ...frame.call import Call
from ..base import kept_work
from ..progress import bar
from .sample_rows import SampleRows, name_of
from .trial import Outcome, Round, Trial, Versions
from .variants import FIELDS, Variants

#: Seconds between two drawings of a run.
PAUSE = 0.2


class Workbench(Variants):
    """Variants that run; see `Playground`."""

    running = traitlets.Bool(False)
    compare = traitlets.Bool(True)
    #: Counts the drawings; the panel observes it.
    drawn = traitlets.Int(0)

    @takes_options(*FIELDS, name="playground")
    def __init__(
        self,
        data: frames.Frame,
        on: str | None = None,
        *,
        n: int = 5,
        rows: Sequence[Hashable] | None = None,
        name: str | None = None,
        **draft: Any,
    ) -> None:
        self.result: Any = None
        self._job: Round | None = None
        self._watcher: Any = None
        samples = SampleRows(data)
        samples.choose_first(n, on) if rows is None else samples.choose(rows)
        if "prompt" not in draft:
            draft["prompt"] = samples.first_prompt(on)
        work = kept_work("Playground", data.index, list(samples.columns))
        self._tried: Versions = work.setdefault("versions", Versions())
        super().__init__(samples, name or name_of(data), draft)
        if work.get("first") == draft:
            self.restore_drafts(work["drafts"], work["variant"])
        if "rows" in work and not work["rows"].equals(self.rows):
            self._tried.forget(self._drafts)  # their answers are about other texts
        work.update(first=draft, drafts=self._drafts, variant=self.variant, rows=self.rows)
        self.observe(lambda change: work.update(variant=change["new"]), "variant")
        self.observe(lambda change: self.draw(), "compare")

    # -- rows and versions ---------------------------------------------------------------------------------------

    def try_rows(self, *labels: Hashable) -> None:
        """Use these rows as the sample rows from now on."""
        self.samples.choose(labels)
        self._tried.forget(self._drafts)
        self._edited()

    @property
    def rows(self) -> frames.Frame:
        """The sample rows."""
        return self.data.iloc[self.samples.positions]

    def drop(self, variant: str, instead: str | None = None) -> None:
        """Drop a variant; its versions are kept."""
        super().drop(variant, instead)
        self._tried.forget([variant])

    @property
    def versions(self) -> list[Trial]:
        """All trials that were run, in order; the first is version 1."""
        return self._tried.kept

    def restore(self, number: int) -> None:
        """Make the draft of a version the variant being edited."""
        self.draft = self._tried.draft(number)

    # -- running -------------------------------------------------------------------------------------------------

    def apply(self, **options: Any) -> Any:
        """Price the variant, run it on the whole frame, and return the result of the verb.

        Parameters
        ----------
        **options
            Options of the run, as for every verb: ``budget=``, ``cache=``, ``on_error=``, ...

        Returns
        -------
        Series or DataFrame
            Also in ``result``.
        """
        call = self.call(self.draft, self.data, **options)
        print(call.plan().told("sending"))
        self.result = call.wait(bar)
        return self.result

    def run(self, *, again: bool = False, wait: bool = True) -> None:
        """Run every variant on the sample rows, except those that have not changed since their last run.

        Parameters
        ----------
        again : bool
            Run all variants, and ignore stored answers.
        wait : bool
            False: return at once and run in the background, as the button does; ``stop()`` stops it.

        Raises
        ------
        CfaiError, ValueError
            A variant cannot run: see its ``problem``.
        Stopped
            The user interrupted the wait; answers so far are kept and shown.
        """
        if self.running:
            raise ValueError("A run is going on already; p.stop() stops it.")
        trials = self._due(again)
        if not trials:
            self.draw()
            return
        for trial, _ in trials:
            self._tried.keep(trial)
        job = self._job = Round(trials)
        self.running = True
        if wait:
            try:
                bridge.wait(job, self.draw)
            finally:
                self._settle()
            if job.stopped:
                raise Stopped(f"Stopped. The answers so far are shown; {self.variable}.run() asks for the rest.")
            return
        self._watcher = asyncio.get_running_loop().create_task(self._watch(bridge.start(self._job)))

    def _due(self, again: bool) -> list[tuple[Trial, list[Call]]]:
        due = []
        rows = self.samples.each()
        for letter, draft in self._drafts.items():
            if self._tried.answered(letter, draft) and not again:
                continue
            outcomes = [Outcome(row.index[0]) for row in rows]
            options: dict[str, Any] = {"progress": False, **({"cache": "refresh"} if again else {})}
            try:
                calls = [self.call(draft, row, **options) for row in rows]
            except (CfaiError, ValueError, TypeError) as error:
                error.args = (f"Variant {letter}: {error}", *error.args[1:])
                raise
            for outcome, call in zip(outcomes, calls, strict=True):
                call.options = dataclasses.replace(call.options, on_token=outcome.on_token)
            code = draft.code(self.name, series=self.samples.series)
            due.append((Trial(0, letter, draft, code, outcomes, call.session.origin, call.model.id), calls))
        return due

    async def _watch(self, future: concurrent.futures.Future[None]) -> None:
        """Draw from the loop of the notebook while the engine works, never from the engine's thread."""
        while not future.done():
            await asyncio.sleep(PAUSE)
            self.draw()
        try:
            future.result()
        except Exception as error:  # a bug, which no cell would show
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self._settle()

    def _settle(self) -> None:
        self._tried.settle()
        self.draw()
        self._job, self.running = None, False
        self.draw()

    def stop(self) -> None:
        """Stop a run in the background: no more requests are sent; those in flight are finished and kept."""
        if self._job is not None:
            bridge.stop(self._job)

    @property
    def results(self) -> pd.DataFrame:
        """One line per variant and sample row: answer, state, error, seconds, tokens, neurons, usd, exact."""
        return self._tried.results(self._drafts)

    @property
    def variable(self) -> str:
        """The variable of the notebook that holds this playground."""
        return name_of(self) or "p"

    def draw(self) -> None:
        """Show the progress."""
        if self._job is not None:
            for event in self._job.news():
                progress.notify(event)
        self.drawn += 1
        self.update()
