"""The playground without its display: variants, run on the sample rows, kept as versions, and applied to all rows.

In: a frame, its sample rows, and a first draft.  Out: `Workbench`, which the panel and the full run use; `Playground`
adds the display, so that neither imports the widget it is part of.  Each change of a trait is checked at once, and
``problem`` says why the draft cannot run.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import string
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
import traitlets

from ..._engine.bridge import bridge
from ...errors import CfaiError, Stopped, refuse_unknown, takes_options
from ...frame import progress
from ...frame import rows as frames
from ...frame.progress import Display
from ...frame.steps import Forms, Steps
from ...frame.verb import BoundTaskVerb, TaskVerb, carried_out
from ..base import View, kept_work
from ..progress import bar
from . import draft as drafts
from .draft import MODES, Draft
from .trial import AnyCall, Outcome, Round, SampleRows, Trial, Truth, Versions, calls_in

#: Seconds between two drawings of a run.
PAUSE = 0.2
_VERBS = {name: TaskVerb(mode.task) for name, mode in MODES.items()}
#: The fields of a draft; each is a trait.
FIELDS = tuple(field.name for field in dataclasses.fields(Draft))


def in_a_loop() -> bool:
    """Return whether an event loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def watched(job: Any, future: concurrent.futures.Future[Any], tick: Callable[[], None]) -> None:
    """Await a job that was started, on the loop of the notebook; a tick that raises, as a listener may, stops it."""
    failure: Exception | None = None
    while not future.done():
        await asyncio.sleep(PAUSE)
        try:
            tick()
        except Exception as error:
            failure = failure or error
            bridge.stop(job)
    future.result()
    if failure is not None:
        raise failure


def name_of(thing: object) -> str | None:
    """Return the variable of the notebook that holds an object."""
    from IPython import get_ipython

    shell = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    names = () if shell is None else tuple(shell.user_ns.items())
    return next((name for name, value in names if value is thing and not name.startswith("_")), None)


class Carried(Forms):
    """A call that was made, in the three forms of a verb."""

    def __init__(self, call: AnyCall, display: Display = bar) -> None:
        self.__name__, self._call, self._display = call.task.name, call, display

    def _steps(self) -> Steps[Any]:
        return carried_out(self._call)


class Workbench(View):
    """Drafts by letter, one of which is edited through the traits, and their trials; see `Playground`."""

    mode = traitlets.Enum(list(MODES), "generate")
    prompt = traitlets.Unicode("")
    system = traitlets.Unicode("")
    instructions = traitlets.Unicode("")
    model = traitlets.Unicode("")
    temperature = traitlets.Float(None, allow_none=True)
    max_tokens = traitlets.Int(None, allow_none=True)
    schema = traitlets.Any(None)
    labels = traitlets.Any(None)
    questions = traitlets.Any(None)
    fields = traitlets.Any(None)
    variant = traitlets.Unicode("A")
    problem = traitlets.Unicode("")
    running = traitlets.Bool(False)
    compare = traitlets.Bool(True)
    truth = traitlets.Any(None, allow_none=True)
    #: Counts the drawings; the panel observes it.
    drawn = traitlets.Int(0)

    @takes_options(*FIELDS, name="playground")
    def __init__(
        self, data: frames.Frame, on: str | None = None, *, n: int = 5, rows: Sequence[Hashable] | None = None,
        truth: Hashable | None = None, name: str | None = None, **draft: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.result: Any = None
        self._job: Round | None = None
        self._watcher: Any = None
        self.data = data
        self.samples = SampleRows(data)
        self.samples.choose_first(n, on) if rows is None else self.samples.choose(rows)
        self.name = name or name_of(data) or ("s" if self.samples.series else "df")
        if "prompt" not in draft:
            draft["prompt"] = self.samples.first_prompt(on)
        self._drafts: dict[str, Draft] = {"A": Draft()}
        self._set(draft)
        self.truth = truth
        self.check()
        self.observe(lambda change: self._edited(), FIELDS)
        self.observe(lambda change: self._show_variant(), "variant")
        self._continue(draft)
        self.observe(lambda change: self.draw(), ["compare", "truth"])

    def _continue(self, draft: dict[str, Any]) -> None:
        """Continue with the variants and versions of the last run of the cell."""
        work = kept_work("Playground", self.data.index, self.samples.columns)
        self._tried: Versions = work.setdefault("versions", Versions())
        if work.get("first") == draft:
            self._drafts.update(work["drafts"])
            self.variant = work["variant"]
            self._show_variant()
        if "rows" in work and not work["rows"].equals(self.rows):
            self._tried.forget(self._drafts)  # their answers are about other texts
        self.truth = work.get("truth") if self.truth is None else self.truth
        work.update(first=draft, drafts=self._drafts, variant=self.variant, rows=self.rows, truth=self.truth)
        self.observe(lambda change: work.update({change["name"]: change["new"]}), ["variant", "truth"])

    # -- the variant being edited --------------------------------------------------------------------------------

    def _set(self, values: Mapping[str, Any]) -> None:
        with self.hold_trait_notifications():
            for name, value in values.items():
                setattr(self, name, value)

    @traitlets.validate("schema", "labels", "questions", "fields")  # type: ignore[untyped-decorator, unused-ignore]
    def _read_lines(self, proposal: Any) -> Any:
        value = proposal["value"]
        if isinstance(value, str):
            return drafts.read(proposal["trait"].name, value)
        return (value.tolist() if hasattr(value, "tolist") else value) or None  # df["topic"].unique() is an array

    @traitlets.validate("truth")  # type: ignore[untyped-decorator, unused-ignore]
    def _is_column(self, proposal: Any) -> Any:
        if proposal["value"] is not None:
            frames.column(frames.as_frame(self.data), proposal["value"])  # raises if there is no such column
        return proposal["value"]

    @traitlets.validate("variant")  # type: ignore[untyped-decorator, unused-ignore]
    def _known(self, proposal: Any) -> str:
        letter = str(proposal["value"])
        if letter not in self._drafts:
            raise ValueError(f"There is no variant {letter!r}; there are {', '.join(self._drafts)}. p.add() adds one.")
        return letter

    @property
    def draft(self) -> Draft:
        """The variant being edited, as plain data."""
        return Draft(**{name: getattr(self, name) for name in FIELDS})

    @draft.setter
    def draft(self, draft: Draft) -> None:
        self._set(draft.values())

    def check(self) -> None:
        """Keep the draft under its letter, and set ``problem``."""
        self._drafts[self.variant] = draft = self.draft
        problem = ""
        try:
            self.call(draft, self.data.iloc[:0])
        except (CfaiError, ValueError, TypeError) as error:
            problem = str(error)
        self.problem = problem

    def _edited(self) -> None:
        self.check()
        self.draw()

    def _show_variant(self) -> None:
        self.draft = self._drafts[self.variant]
        self._edited()

    @property
    def code(self) -> str:
        """The line that makes this call on the whole frame.

        Raises
        ------
        ValueError
            A required field is empty.
        """
        return self.draft.code(self.name, self.samples.columns, series=self.samples.series)

    @property
    def shown_code(self) -> str:
        """That line; empty while the variant cannot run."""
        return "" if self.problem else self.code

    def call(self, draft: Draft, data: frames.Frame, **options: Any) -> AnyCall:
        """Return the call of a draft on some rows, checked but not started."""
        args, fields = draft.call(self.samples.columns, series=self.samples.series)
        return BoundTaskVerb(_VERBS[draft.mode], data).call(*args, **fields, **options)

    def plan(self, **options: Any) -> Any:
        """Price the variant on the whole frame, as ``.plan`` of the verb does; nothing is sent."""
        return Carried(self.call(self.draft, self.data, **options)).plan()

    # -- variants, rows and versions -----------------------------------------------------------------------------

    @property
    def variants(self) -> Mapping[str, Draft]:
        """All variants by letter."""
        return dict(self._drafts)

    def add(self, **changes: Any) -> str:
        """Add a variant like the one being edited, with these changes; edit it, and return its letter."""
        refuse_unknown("add", changes, FIELDS)
        letter = next((letter for letter in string.ascii_uppercase if letter not in self._drafts), None)
        if letter is None:
            raise ValueError("There are 26 variants already; drop one first.")
        self._drafts[letter], before = self.draft, self.variant
        self.variant = letter
        try:
            self._set(changes)
        except Exception:
            self.variant = before
            self.drop(letter)
            raise
        return letter

    def drop(self, variant: str) -> None:
        """Drop a variant; its versions are kept."""
        if len(self._drafts) == 1:
            raise ValueError("The last variant cannot be dropped.")
        if variant not in self._drafts:
            raise ValueError(f"There is no variant {variant!r}; there are {', '.join(self._drafts)}.")
        if self.variant == variant:
            self.variant = [letter for letter in self._drafts if letter != variant][-1]
        del self._drafts[variant]
        self.draw()
        self._tried.forget([variant])

    def try_rows(self, *labels: Hashable) -> None:
        """Use these rows as the sample rows from now on."""
        self.samples.choose(labels)
        self._tried.forget(self._drafts)
        self._edited()

    @property
    def rows(self) -> frames.Frame:
        """The sample rows."""
        return self.data.iloc[self.samples.positions]

    @property
    def versions(self) -> list[Trial]:
        """All trials that were run, in order; the first is version 1."""
        return self._tried.kept

    def restore(self, number: int) -> None:
        """Make the draft of a version the variant being edited."""
        if not 1 <= number <= len(self.versions):
            raise ValueError(f"There is no version {number}; there are {len(self.versions)}.")
        self.draft = self.versions[number - 1].draft

    @property
    def results(self) -> pd.DataFrame:
        """One line per variant and sample row: answer, state, error, seconds, tokens, neurons, usd, exact, right."""
        return self._tried.results(self._drafts, self.right_answers)

    @property
    def right_answers(self) -> Truth | None:
        """The right answers of the sample rows; None without `truth`."""
        if self.truth is None:
            return None
        cells = frames.column(frames.as_frame(self.rows), self.truth)
        return Truth(str(self.truth), cells.astype(object).tolist())

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
        call = Carried(self.call(self.draft, self.data, **options))
        print(call.plan().describe("sending"))
        self.result = call()
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
            A variant cannot run: see its ``problem``.  Or a run is going on, or there is no loop for ``wait=False``.
        Stopped
            The user interrupted the wait; answers so far are kept and shown.
        """
        if self.running:
            raise ValueError("A run is going on already; p.stop() stops it.")
        if not wait and not in_a_loop():
            raise ValueError("wait=False needs an event loop that runs, such as a notebook's; leave it out here.")
        trials = self._due(again)
        if not trials:
            self.draw()
            return
        for trial, _ in trials:
            self._tried.keep(trial)
        job = self._job = Round(trials)
        self.running = True
        if not wait:
            self._watcher = asyncio.get_running_loop().create_task(self._watch(job, bridge.start(job)))
            return
        try:
            bridge.wait(job, self.draw)
        finally:
            self._settle()
        if job.stopped:
            raise Stopped(f"Stopped. The answers so far are shown; {self.variable}.run() asks for the rest.")

    def _due(self, again: bool) -> list[tuple[Trial, list[AnyCall]]]:
        due = []
        rows = [self.data.iloc[[at]] for at in self.samples.positions]
        options: dict[str, Any] = {"progress": False, **({"cache": "refresh"} if again else {})}
        for letter, draft in self._drafts.items():
            if self._tried.answered(letter, draft) and not again:
                continue
            outcomes = [Outcome(row.index[0]) for row in rows]
            try:
                calls = [self.call(draft, row, **options) for row in rows]
            except (CfaiError, ValueError, TypeError) as error:
                error.args = (f"Variant {letter}: {error}", *error.args[1:])
                raise
            for outcome, call in zip(outcomes, calls, strict=True):
                for part in calls_in(call):
                    part.options = dataclasses.replace(part.options, on_token=outcome.on_token)
            code = draft.code(self.name, self.samples.columns, series=self.samples.series)
            due.append((Trial(0, letter, draft, code, outcomes, call.session.origin, call.model.id), calls))
        return due

    async def _watch(self, job: Round, future: concurrent.futures.Future[None]) -> None:
        """Draw from the loop of the notebook while the engine works, never from the engine's thread."""
        try:
            try:
                await watched(job, future, self.draw)
            finally:
                self._settle()
        except Exception as error:  # of a listener, or a bug: no cell would show it
            self.problem = f"{type(error).__name__}: {error}"

    def _settle(self) -> None:
        self._tried.settle()
        try:
            self.draw()
        finally:
            self._job, self.running = None, False
            self.draw()

    @property
    def counts(self) -> tuple[int, int]:
        """How many sample rows of the run going on have ended, and how many there are."""
        return (0, 0) if self._job is None else self._job.counts

    def stop(self) -> None:
        """Stop a run in the background: no more requests are sent; those in flight are finished and kept."""
        if self._job is not None:
            bridge.stop(self._job)

    @property
    def variable(self) -> str:
        """The variable of the notebook that holds this playground."""
        return name_of(self) or "p"

    def draw(self) -> None:
        """Show the current state."""
        if self._job is not None:
            for event in self._job.news():
                progress.notify(event)
        self.drawn += 1
        self.update()
