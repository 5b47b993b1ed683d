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

from ... import frames, progress
from ..._engine.bridge import bridge
from ..._engine.plan import Plan
from ...accessor import Accessor
from ...call import Call
from ...errors import CfaiError
from .draft import Draft
from .page import page, plain
from .pins import Pins
from .trial import Outcome, Round, Trial
from .variants import Variants
from .whole import PAUSE


class Playground(Variants):
    """Prompts, models and settings tried on a few pinned rows, until they are a line of code.

    Shown in a notebook it has boxes and buttons; all of it can be done by these names as well.  Every answer is kept
    in the store, so that ``apply`` does not pay for the pinned rows again.

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
        self.data = data
        self.name = name or _name_of(data) or ("s" if isinstance(data, pd.Series) else "df")
        self.pins = Pins(data)
        self.pins.first(n, on) if rows is None else self.pins.these(rows)
        self.versions: list[Trial] = []
        self.result: Any = None
        self._latest: dict[str, Trial] = {}
        self._job: Round | None = None
        self._panel: Any = None
        self._watcher: Any = None
        super().__init__(draft if "prompt" in draft else {**draft, "prompt": self._opening(on)})
        self.observe(lambda change: self.draw(), "compare")

    # -- the rows ------------------------------------------------------------------------------------------------

    def _opening(self, on: str | None) -> str:
        if on is None:
            return "{" + self.pins.columns[0] + "}" if isinstance(self.data, pd.Series) else ""
        if isinstance(on, str) and "{" in on:
            return on
        rows = self.data.iloc[:0]
        frames.rows_of(rows, on, template=False)  # says what is wrong with the name, if something is
        return "{" + str(on) + "}"

    def pin(self, *labels: Hashable) -> None:
        """Try these rows from now on."""
        self.pins.these(labels)
        self._latest.clear()
        self._edited()

    @property
    def rows(self) -> frames.Frame:
        """The pinned rows."""
        return self.data.iloc[self.pins.positions]

    def obstacle(self, draft: Draft) -> str:
        """Say what stands in the way of running a draft; empty when nothing does."""
        try:
            self.call(draft, self.data.iloc[:0])
        except (CfaiError, ValueError, TypeError) as error:
            return str(error)
        return ""

    def drop(self, variant: str, instead: str | None = None) -> None:
        """Drop a variant; its versions are kept."""
        super().drop(variant, instead)
        self._latest.pop(variant, None)

    def restore(self, number: int) -> None:
        """Bring a kept version back as the variant that is being edited."""
        if not 1 <= number <= len(self.versions):
            raise ValueError(f"There is no version {number}; there are {len(self.versions)}.")
        self.draft = self.versions[number - 1].draft

    # -- code ----------------------------------------------------------------------------------------------------

    @property
    def _series(self) -> tuple[str, ...]:
        return tuple(self.pins.columns) if isinstance(self.data, pd.Series) else ()

    @property
    def code(self) -> str:
        """The line that makes this call on the whole frame; ``eval`` of it is the call.

        Raises
        ------
        ValueError
            Something the verb cannot do without is missing.
        """
        return self.draft.code(self.name, series=self._series)

    def call(self, draft: Draft, data: frames.Frame, **travel: Any) -> Call:
        """Return the call of a draft on some rows, checked and not yet made."""
        args, options = draft.call(series=self._series)
        call: Call = getattr(Accessor(data), draft.mode).prepare(*args, **options, **travel)
        return call

    def plan(self, **travel: Any) -> Plan:
        """Price the variant on the whole frame; nothing is sent."""
        return self.call(self.draft, self.data, **travel).plan()

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
        self.result = call.wait()
        return self.result

    # -- running -------------------------------------------------------------------------------------------------

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
        """
        if self.running:
            raise ValueError("It is running already; p.stop() stops it.")
        trials = self._due(again)
        if not trials:
            self.draw()
            return
        for trial, _ in trials:
            trial.number = len(self.versions) + 1
            self.versions.append(trial)
            self._latest[trial.variant] = trial
        self._job, self.running = Round(trials), True
        if wait:
            try:
                bridge.wait(self._job, self.draw)
            finally:
                self._settle()
            return
        self._watcher = asyncio.get_running_loop().create_task(self._watch(bridge.start(self._job)))

    def _due(self, again: bool) -> list[tuple[Trial, list[Call]]]:
        due = []
        rows = self.pins.each()
        for letter, draft in self._drafts.items():
            last = self._latest.get(letter)
            if last is not None and last.draft == draft and last.finished and not again:
                continue
            outcomes = [Outcome(row.index[0]) for row in rows]
            travel: dict[str, Any] = {"progress": False, **({"cache": "refresh"} if again else {})}
            try:
                calls = [self.call(draft, row, **travel) for row in rows]
            except (CfaiError, ValueError, TypeError) as error:
                error.args = (f"Variant {letter}: {error}", *error.args[1:])
                raise
            for outcome, call in zip(outcomes, calls, strict=True):
                call.options = dataclasses.replace(call.options, hear=outcome.hear)
            code = draft.code(self.name, series=self._series)
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
        for trial in self._latest.values():
            for outcome in trial.outcomes:
                if outcome.state in ("waiting", "asking"):
                    outcome.state = "not run"
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
        found = [self._latest[letter].results for letter in self._drafts if letter in self._latest]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    @property
    def called(self) -> str:
        """What the notebook calls this playground."""
        return _name_of(self) or "p"

    # -- showing -------------------------------------------------------------------------------------------------

    def _shown(self) -> list[tuple[Trial, Trial | None]]:
        shown: list[tuple[Trial, Trial | None]] = []
        for letter in self._drafts:
            if (trial := self._latest.get(letter)) is not None:
                older = [v for v in self.versions if v.number < trial.number and v.draft.mode == trial.draft.mode]
                own = [v for v in older if v.variant == letter]
                shown.append((trial, own[-1] if own else None))
        return shown

    def _code(self) -> str:
        with contextlib.suppress(ValueError):
            return self.code
        return ""

    def page(self) -> str:
        """Return the page as HTML, live and saved alike."""
        return page(self.pins.texts(self.prompt), self._shown(), compare=self.compare, code=self._code())

    def __repr__(self) -> str:
        return plain([trial for trial, _ in self._shown()], self._code(), len(self.pins.positions))

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
                progress.tell(event)
        self.drawn += 1
        self.update()


def _name_of(thing: object) -> str | None:
    """What the notebook calls something."""
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    names = () if shell is None else tuple(shell.user_ns.items())
    return next((name for name, value in names if value is thing and not name.startswith("_")), None)
