"""The playground itself: its traits are the contract, and everything works without a browser."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
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
from .. import persistence
from ..progress import bar
from .full_run import PAUSE
from .page import page, plain
from .sample_rows import Pins, name_of
from .trial import Outcome, Round, Trial
from .variants import FIELDS, Variants
from .versions import Versions


class Playground(Variants):
    """Prompts, models and settings tried on a few pinned rows, until they are a line of code.

    Shown in a notebook it has boxes and buttons; all of it can be done by these names as well.  Every answer is kept
    in the store, so that ``apply`` does not pay for the pinned rows again.  When its cell is run again, variants and
    versions are still there; where the cell now begins with another draft, that one is edited, and the versions stay.

    Parameters
    ----------
    data : DataFrame or Series
    on : str, optional
        The column to work on, or a prompt with ``{column}`` in it.
    n : int
        How many rows are tried: the first ones that have text.
    rows : list of labels, optional
        Which rows are tried, instead.
    name : str, optional
        What the frame is called in ``code``; default: its name in the notebook.
    **draft
        What it begins with: any of the traits below.

    Attributes
    ----------
    mode : {"generate", "classify", "ask", "extract"}
    prompt, system, instructions, model, temperature, max_tokens, schema, labels, questions, fields
        The variant that is being edited; ``schema``, ``labels``, ``questions`` and ``fields`` may be given as lines.
    variant : str
        The letter of that variant.
    problem : str
        What stands in the way of running it; empty when nothing does.
    running : bool
    compare : bool
        Mark in the page what changed since the version before.

    Examples
    --------
    >>> p = df.cfai.playground("text", n=3)
    >>> p.prompt = "Summarize in five words: {text}"
    >>> p.run()
    >>> p.results
    >>> p.code
    >>> summaries = p.apply()
    """

    running = traitlets.Bool(False)
    compare = traitlets.Bool(True)
    #: Raised by one whenever a trial came further; who shows the page watches it.
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
        self._panel: Any = None
        self._watcher: Any = None
        pins = Pins(data)
        pins.first(n, on) if rows is None else pins.these(rows)
        if "prompt" not in draft:
            draft["prompt"] = pins.opening(on)
        work = persistence.work("Playground", data.index, list(pins.columns))
        self._tried: Versions = work.setdefault("versions", Versions())
        super().__init__(pins, name or name_of(data), draft)
        if work.get("opening") == draft:
            self.take_up(work["drafts"], work["variant"])
        if "rows" in work and not work["rows"].equals(self.rows):
            self._tried.forget(self._drafts)  # what was answered is about other texts
        work.update(opening=draft, drafts=self._drafts, variant=self.variant, rows=self.rows)
        self.observe(lambda change: work.update(variant=change["new"]), "variant")
        self.observe(lambda change: self.draw(), "compare")

    # -- rows and versions ---------------------------------------------------------------------------------------

    def pin(self, *labels: Hashable) -> None:
        """Try these rows from now on."""
        self.pins.these(labels)
        self._tried.forget(self._drafts)
        self._edited()

    @property
    def rows(self) -> frames.Frame:
        """The pinned rows."""
        return self.data.iloc[self.pins.positions]

    def drop(self, variant: str, instead: str | None = None) -> None:
        """Drop a variant; its versions are kept."""
        super().drop(variant, instead)
        self._tried.forget([variant])

    @property
    def versions(self) -> list[Trial]:
        """All that was run, in order; the first is version 1."""
        return self._tried.kept

    def restore(self, number: int) -> None:
        """Bring a kept version back as the variant that is being edited."""
        self.draft = self._tried.draft(number)

    # -- running -------------------------------------------------------------------------------------------------

    def apply(self, **travel: Any) -> Any:
        """Price the variant, run it on the whole frame, and return what the verb returns.

        Parameters
        ----------
        **travel
            How it travels: ``budget=``, ``cache=``, ``on_error=``, ...

        Returns
        -------
        Series or DataFrame
            Also kept as ``result``.
        """
        call = self.call(self.draft, self.data, **travel)
        print(call.plan().told("sending"))
        self.result = call.wait(bar)
        return self.result

    def run(self, *, again: bool = False, wait: bool = True) -> None:
        """Run every variant on the pinned rows; one that has not changed since is left as it is.

        Parameters
        ----------
        again : bool
            Ask anew, also what is in the store.
        wait : bool
            False: return at once and go on in the background, as the button does; ``stop()`` stops it.

        Raises
        ------
        CfaiError, ValueError
            A variant is no call: its ``problem``.
        Stopped
            Stop was pressed while it waited; what was answered is kept and shown.
        """
        if self.running:
            raise ValueError("It is running already; p.stop() stops it.")
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
                raise Stopped(f"Stopped. What was answered is shown; {self.called}.run() asks for the rest.")
            return
        self._watcher = asyncio.get_running_loop().create_task(self._watch(bridge.start(self._job)))

    def _due(self, again: bool) -> list[tuple[Trial, list[Call]]]:
        due = []
        rows = self.pins.each()
        for letter, draft in self._drafts.items():
            if self._tried.answered(letter, draft) and not again:
                continue
            outcomes = [Outcome(row.index[0]) for row in rows]
            travel: dict[str, Any] = {"progress": False, **({"cache": "refresh"} if again else {})}
            try:
                calls = [self.call(draft, row, **travel) for row in rows]
            except (CfaiError, ValueError, TypeError) as error:
                error.args = (f"Variant {letter}: {error}", *error.args[1:])
                raise
            for outcome, call in zip(outcomes, calls, strict=True):
                call.options = dataclasses.replace(call.options, on_token=outcome.on_token)
            code = draft.code(self.name, series=self.pins.series)
            due.append((Trial(0, letter, draft, code, outcomes, call.session.origin, call.model.id), calls))
        return due

    async def _watch(self, future: concurrent.futures.Future[None]) -> None:
        """Draw on the notebook's own loop while the engine works; nothing is drawn from the engine's thread."""
        while not future.done():
            await asyncio.sleep(PAUSE)
            self.draw()
        try:
            future.result()
        except Exception as error:  # a defect, which no cell would show
            self.problem = f"{type(error).__name__}: {error}"
        finally:
            self._settle()

    def _settle(self) -> None:
        self._tried.settle()
        self.draw()
        self._job, self.running = None, False
        self.draw()

    def stop(self) -> None:
        """Stop a run in the background: nothing more is sent, what is under way is kept."""
        if self._job is not None:
            bridge.stop(self._job)

    @property
    def results(self) -> pd.DataFrame:
        """One row a variant and pinned row: answer, state, error, seconds, tokens, neurons, usd, exact."""
        return self._tried.results(self._drafts)

    @property
    def called(self) -> str:
        """What the notebook calls this playground."""
        return name_of(self) or "p"

    # -- showing -------------------------------------------------------------------------------------------------

    def _code(self) -> str:
        if self.problem:
            return ""
        with contextlib.suppress(ValueError):
            return self.code
        return ""

    def page(self) -> str:
        """Return the page as HTML, live and saved alike."""
        return page(
            self.pins.texts(self.prompt), self._tried.shown(self._drafts), compare=self.compare, code=self._code()
        )

    def __repr__(self) -> str:
        return plain([trial for trial, _ in self._tried.shown(self._drafts)], self._code(), len(self.pins.positions))

    @property
    def panel(self) -> Any:
        """The boxes and buttons, made on first use."""
        if self._panel is None:
            from .panel import Panel

            self._panel = Panel(self)
        return self._panel

    @property
    def controls(self) -> Any:
        """The widget that holds them."""
        return self.panel.controls

    def draw(self) -> None:
        """Show how far it is."""
        if self._job is not None:
            for event in self._job.news():
                progress.notify(event)
        self.drawn += 1
        self.update()
