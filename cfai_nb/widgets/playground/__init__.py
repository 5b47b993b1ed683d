"""The playground: prompts and models tried on a few rows until they are a line of code (``df.cfai.playground``).

`draft` holds what one call is, `trial` runs drafts and keeps their answers, `workbench` is the playground without its
display, and `page` shows it.  Here are the boxes and buttons (`Panel`), the run on all rows (`FullRun`), and the widget
itself.  Its traits are its interface: the panel and the user's code change the same ones, so everything works without a
browser.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]

from ..._engine.stopping import STOP, Stop
from ...frame.progress import words
from ...frame.report import Report
from ...frame.rows import as_frame
from ...frame.verb_help import spell
from ...html.markup import FAILED, LONG, block, escape, line
from ...models import catalogue
from ..base import CopyButton, button
from ..progress import STEADY
from . import draft as drafts
from .draft import MODES, Draft
from .page import page, plain
from .trial import AnyCall, calls_in
from .workbench import Carried, Workbench, in_a_loop

__all__ = ["Playground"]

_WIDE = {"width": "98%"}
_FOLDED = {"width": "auto", "align_self": "flex-start", "margin": "4px 0 4px 2px"}
#: The width of what names a box, and of a name alone, so that boxes begin in one line.
_FIRST = "6.5em"
_NAME = {"flex": f"0 0 {_FIRST}", "margin": "2px 8px 2px 2px", "justify_content": "flex-end"}
_WRAP = {"flex_flow": "row wrap", "align_items": "center"}
#: Fields with a box for a number.
_NUMBERS: dict[str, Callable[[str], Any]] = {"temperature": float, "max_tokens": int}


class Playground(Workbench):
    """Prompts, models and settings tried on a few sample rows, until they are a line of code.

    In a notebook it shows boxes and buttons; everything can also be done from Python.  Every answer is kept in the
    store, so ``apply`` does not pay for the sample rows again.  When its cell runs again, variants and versions are
    still there; if the cell now starts with another draft, that one is edited, and the versions stay.

    Parameters
    ----------
    data : DataFrame or Series
    on : str, optional
        The column to work on, or a prompt with ``{column}`` in it.
    n : int
        Number of sample rows: the first rows that have text.
    rows : list of labels, optional
        The sample rows, instead of the first ones.
    truth : str, optional
        A column with the right answers: each answer is marked right or wrong, and each variant says how many of the
        sample rows it got right, with Wilson's interval.  It is compared as it is; of answers in several columns (of
        ``ask``, ``extract`` or a schema) that of the same name.
    name : str, optional
        The name of the frame in ``code``.  Default: its variable in the notebook.
    **draft
        The first draft: any of ``mode``, ``prompt``, ``model``, ``system``, ``labels``, ... below.

    Attributes
    ----------
    mode : {"generate", "classify", "ask", "extract"}
    prompt, system, instructions, model, temperature, max_tokens, schema, labels, questions, fields
        The variant being edited; ``schema``, ``labels``, ``questions`` and ``fields`` may be given as lines.
    variant : str
        The letter of that variant.
    problem : str
        Why it cannot run; empty if it can.
    running : bool
    compare : bool
        Mark changes since the version before.
    truth : column name or None
        A trait.
    result : Series, DataFrame or None
        The result of the last run on all rows.

    Examples
    --------
    >>> p = df.cfai.playground("text", n=3)
    >>> p.prompt = "Summarize in five words: {text}"
    >>> p.run()
    >>> p.results
    >>> p.code
    >>> summaries = p.apply()
    """

    def page(self) -> str:
        """Return the page as HTML; it is the same live and saved."""
        inputs, trials = self.samples.texts(self.prompt), self._tried.shown(self._drafts)
        return page(inputs, trials, compare=self.compare, code=self.shown_code, truth=self.right_answers)

    def __repr__(self) -> str:
        trials = [trial for trial, _ in self._tried.shown(self._drafts)]
        return plain(trials, self.shown_code, len(self.samples.positions), self.right_answers)

    @functools.cached_property
    def panel(self) -> Panel:
        """The boxes and buttons, created on first use."""
        return Panel(self)

    @property
    def controls(self) -> Any:
        """The widget that holds the boxes and buttons."""
        return self.panel.controls


class Panel:
    """The controls of a playground; `controls` holds all of them."""

    def __init__(self, playground: Workbench) -> None:
        self.playground = playground
        self.full_run = FullRun(playground, self._say, self._read_traits)
        self._writing = False  # true while the boxes are set from the traits
        self._make_boxes()
        self._make_buttons()
        further = ipywidgets.VBox([self.words, ipywidgets.HBox([self.temperature, self.max_tokens], layout=_WRAP)])
        # Not an Accordion, which the keyboard does not reach.
        self.advanced = ipywidgets.ToggleButton(description="System prompt, temperature, length", layout=_FOLDED)
        self.advanced.add_class("cfai-bare")
        self.advanced.observe(lambda change: self._unfold(further, change["new"]), "value")
        self._unfold(further, False)
        label = ipywidgets.Label("Variants", layout={"margin": "2px 8px 2px 24px"})
        self.controls = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.mode, label, self.variant, self.add, self.drop], layout=_WRAP),
                self.chips, self.prompt, self.shape, ipywidgets.HBox([self.model, self.truth], layout=_WRAP),
                self.advanced, further, self.problem,
                ipywidgets.HBox([self.run, self.stop, self.again, self.compare, self.copy, self.bar], layout=_WRAP),
                ipywidgets.HBox([self.history, self.restore, self.price, self.apply], layout=_WRAP),
                self.message,
            ]
        )  # fmt: skip
        playground.observe(lambda change: self._read_traits(), ["problem", "running", "drawn"])
        self._read_traits()

    def _unfold(self, further: Any, wanted: bool) -> None:
        further.layout.display = None if wanted else "none"
        self.advanced.icon = "caret-down" if wanted else "caret-right"

    # -- building ------------------------------------------------------------------------------------------------

    def _make_boxes(self) -> None:
        area, text = ipywidgets.Textarea, ipywidgets.Text
        self.mode = ipywidgets.ToggleButtons(options=list(MODES), style={"button_width": "auto"})
        self.variant = ipywidgets.ToggleButtons(options=["A"], style={"button_width": "auto"}, tooltips=["variant A"])
        self.chips = ipywidgets.HBox()
        self.prompt = area(rows=4, layout=_WIDE, placeholder="Summarize in five words: {text}")
        self.words = area(rows=2, layout=_WIDE)
        self.shape = area(rows=4, layout=_WIDE)
        self.model = ipywidgets.Combobox(
            description="Model", ensure_option=False, placeholder="default; type to search", layout={"width": "28em"},
            continuous_update=False,  # half a name is not a mistake
        )  # fmt: skip
        narrow = {"width": "14em"}
        self.temperature = text(description="Temperature", placeholder="default", layout=narrow)
        self.max_tokens = text(description="Max tokens", placeholder="default", layout=narrow)
        self.columns: list[Hashable | None] = [None, *dict.fromkeys(as_frame(self.playground.data).columns)]
        names = ["(none)", *(line(name, 40) for name in self.columns[1:])]
        self.truth = ipywidgets.Dropdown(
            options=[(name, at) for at, name in enumerate(names)], description="Truth", layout={"width": "16em"},
            tooltip="the column with the right answers",
        )  # fmt: skip
        self.truth.style.description_width = "auto"
        self.truth.observe(lambda change: self._set("truth", self.columns[change["new"]]), "value")
        self.problem = ipywidgets.HTML()
        for box in (self.prompt, self.words, self.shape, self.model, self.temperature, self.max_tokens):
            box.style.description_width = _FIRST
        for name in ("prompt", "model", "mode", "variant"):
            getattr(self, name).observe(lambda change, name=name: self._set(name, change["new"]), "value")
        for name, kind in _NUMBERS.items():
            box = getattr(self, name)
            box.observe(lambda change, n=name, kind=kind: self._set(n, _number(change["new"], kind)), "value")
        self.words.observe(lambda change: self._set(self._words_trait, change["new"]), "value")
        self.shape.observe(lambda change: self._set(MODES[self.playground.mode].shape, change["new"]), "value")

    def _make_buttons(self) -> None:
        self.add = self._button("Add variant", self.playground.add, icon="plus")
        self.drop = self._button("Drop variant", lambda: self.playground.drop(self.playground.variant), icon="times")
        self.run = self._button("Run", self._run, icon="play", button_style="primary")
        self.stop = self._button("Stop", self._stop, icon="stop", tooltip="send nothing more; finished rows are kept")
        self.again = ipywidgets.Checkbox(description="ask again", indent=False, layout={"width": "8em"})
        self.compare = ipywidgets.Checkbox(
            True, description="mark changes", indent=False, layout={"width": "10em"}, tooltip="since the version before"
        )
        self.compare.observe(lambda change: setattr(self.playground, "compare", change["new"]), "value")
        self.history = ipywidgets.Dropdown(description="Versions", layout={"width": "28em"})
        self.history.style.description_width = _FIRST
        self.restore = self._button("Restore", self._restore, icon="history")
        self.price = self._button("Price all rows", self.full_run.price, icon="calculator")
        self.apply = self._button("Run on all rows", self.full_run.run, icon="forward", disabled=True)
        self.copy = CopyButton(label="Copy code")
        self.bar = ipywidgets.IntProgress(tooltip="rows done", layout=STEADY)
        self.message = ipywidgets.HTML()

    def _button(self, text: str, does: Callable[[], object], **looks: Any) -> Any:
        def act() -> None:
            self._say("")
            does()

        return button(text, act, partial(self._say, alert=True), **looks)

    # -- boxes and traits ----------------------------------------------------------------------------------------

    @property
    def _words_trait(self) -> str:
        return "instructions" if self.playground.mode == "classify" else "system"

    def _set(self, name: str, value: Any) -> None:
        if self._writing:
            return
        if isinstance(value, ValueError):
            self.playground.problem = f"{name}: {value}"
            return
        try:
            setattr(self.playground, name, value)
            self.playground.check()
        except (ValueError, TypeError) as error:
            self.playground.problem = str(error)

    def _read_traits(self) -> None:
        """Show the traits; a box whose text has the same meaning keeps the text as typed."""
        if self._writing:
            return
        self._writing = True
        try:
            self._show_draft()
            self._show_state()
        finally:
            self._writing = False

    def _show_draft(self) -> None:
        p = self.playground
        mode = MODES[p.mode]
        self.mode.value = p.mode
        if tuple(self.variant.options) != tuple(p.variants):
            self.variant.options = list(p.variants)
        self.variant.value = p.variant
        self.prompt.value, self.model.value = p.prompt, p.model
        self.prompt.description, self.prompt.rows = ("Prompt", 4) if p.mode == "generate" else ("Text", 2)
        self.words.layout.display = "none" if p.mode in ("ask", "extract") else ""
        self.words.description = self._words_trait.capitalize()
        self.words.value = getattr(p, self._words_trait)
        value = getattr(p, mode.shape)
        self.shape.description, self.shape.placeholder = mode.shape.capitalize(), drafts.HINTS[mode.shape]
        if not _means(mode.shape, self.shape.value, value):
            written = drafts.write(mode.shape, value)
            self.shape.value = "" if written is None else written
            self.shape.disabled = written is None
            self.shape.placeholder = drafts.HINTS[mode.shape] if written is not None else spell(value)
        for name, kind in _NUMBERS.items():
            box, number = getattr(self, name), getattr(p, name)
            box.layout.display = "" if name in mode.options else "none"
            if _number(box.value, kind) != number:
                box.value = "" if number is None else f"{number:g}"
        families = mode.task.families
        fitting = [m.name for m in catalogue().values() if m.family in families and m.status == "current"]
        if tuple(self.model.options) != tuple(fitting):
            self.model.options = fitting
        self._show_chips()

    def _show_chips(self) -> None:
        """Offer the columns."""
        p = self.playground
        offered = drafts.offered(p.prompt, p.samples.columns)
        shown = self.chips.children[1].children if self.chips.children else ()
        if [chip.description for chip in shown] != [f"{{{name}}}" for name in offered]:
            chips = [
                self._button(f"{{{name}}}", partial(self._insert, name), tooltip=f"insert {name}") for name in offered
            ]
            self.chips.children = [ipywidgets.Label("Columns", layout=_NAME), ipywidgets.HBox(chips, layout=_WRAP)]

    def _insert(self, column: str) -> None:
        self.playground.prompt = drafts.completed(self.playground.prompt, column)

    def _show_state(self) -> None:
        p = self.playground
        busy = p.running or self.full_run.busy
        self.run.disabled = self.price.disabled = busy or bool(p.problem)
        self.apply.disabled = busy or self.full_run.priced != p.draft
        self.stop.disabled = not busy
        self.drop.disabled = len(p.variants) < 2
        done, total = self.full_run.counts or p.counts
        self.bar.max, self.bar.value, self.bar.layout.visibility = max(total, 1), done, "visible" if busy else "hidden"
        self.copy.text = p.shown_code
        self.truth.value = self.columns.index(p.truth)
        self.problem.value = block(escape(p.problem, 600), FAILED, role="alert")
        self.problem.layout.display = "" if p.problem else "none"
        self.compare.value = p.compare
        kept = tuple(
            (f"{v.number} · {v.variant} · {v.draft.mode} · {line(v.draft.prompt, 40)}", v.number) for v in p.versions
        )
        if tuple(self.history.options) != kept:
            self.history.options = kept
            self.history.value = kept[-1][1] if kept else None
        self.restore.disabled = not kept

    def _say(self, text: str, *, alert: bool = False) -> None:
        role = "alert" if alert else "status"
        self.message.value = block(escape(text, LONG), "white-space: pre-wrap", role=role) if text else ""

    # -- actions of the buttons -----------------------------------------------------------------------------------

    def _run(self) -> None:
        self.playground.run(again=self.again.value, wait=not in_a_loop())

    def _stop(self) -> None:
        self.playground.stop()
        self.full_run.stop()

    def _restore(self) -> None:
        if self.history.value is not None:
            self.playground.restore(self.history.value)


def _number(text: str, kind: Callable[[str], Any]) -> Any:
    """The number in a box, None for an empty box, or the ValueError if it is not a number."""
    try:
        return kind(text) if text.strip() else None
    except ValueError as error:
        return error


def _means(what: str, text: str, value: Any) -> bool:
    try:
        return bool(drafts.read(what, text) == value)
    except ValueError:
        return True  # incomplete: do not overwrite what is being typed


class FullRun:
    """A run on all rows, priced first, then in the background with its progress in words.

    `say` shows a text, an error with ``alert=True``; `changed` is called when the run is priced, goes on or ends.
    """

    def __init__(self, playground: Workbench, say: Callable[..., None], changed: Callable[[], None]) -> None:
        self._playground, self._say, self._changed = playground, say, changed
        self.priced: Draft | None = None  # the draft that may be run
        self._call: AnyCall | None = None  # of the run going on

    @property
    def busy(self) -> bool:
        """Whether a run is going on."""
        return self._call is not None

    @property
    def _report(self) -> Report | None:
        """That of the model asked now."""
        calls = calls_in(self._call) if self._call is not None else []
        return next((each.report for each in reversed(calls) if each.report is not None), None)

    @property
    def counts(self) -> tuple[int, int] | None:
        """How many rows of the run going on have ended, and how many there are; None without a run."""
        if (report := self._report) is None:
            return None
        return report.event.done + report.event.failed, report.event.rows

    def price(self) -> None:
        """Show the price."""
        self._say(repr(self._playground.plan()))
        self.priced = self._playground.draft
        self._changed()

    def run(self) -> None:
        """Run; in the background if there is an event loop."""
        if self.busy:  # the second of two quick clicks
            return
        p = self._playground
        if not in_a_loop():
            p.result = Carried(p.call(p.draft, p.data))()
            self._say(f"The result is in {self._where}.")
            return
        self._call, self._stop = p.call(p.draft, p.data, progress=True), Stop()
        carried = self._carry_out(self._call)
        self._watcher = asyncio.get_running_loop().create_task(carried, context=self._stop.context())
        self._changed()

    def stop(self) -> None:
        """Send no more requests; those in flight are finished and kept."""
        if self.busy:
            self._stop.ask(STOP)

    @property
    def _where(self) -> str:
        return f"{self._playground.variable}.result"

    async def _carry_out(self, call: AnyCall) -> None:
        lines: list[str] = []
        for each in calls_in(call):
            each.say = lines.append
        failed = False
        try:
            self._playground.result = await Carried(call, lambda: contextlib.nullcontext(self._show)).aio()
            lines.append(f"The result is in {self._where}.")
        except (Exception, asyncio.CancelledError) as error:  # any error, even a bug, because no cell would show it
            failed = isinstance(error, Exception)
            lines.append(str(error))
            if call.report is not None:
                self._playground.result = call.report.frame()
        finally:
            self._call = None
            if call.report is not None and not failed:
                lines.insert(0, call.report.receipt)
            self._say("\n".join(lines).replace("cf.last_run().frame()", self._where), alert=failed)
            self._changed()

    def _show(self, report: Report) -> None:
        self._say(words(report))
        self._changed()
