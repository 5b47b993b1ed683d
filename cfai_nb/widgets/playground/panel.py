"""The boxes and buttons of a playground.

In: a `Workbench`, the playground without its display.  Out: an ipywidget.  Each box is tied to a trait in both
directions; each button calls a method, and its errors are shown below the buttons.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]

from ...errors import CfaiError
from ...markup import FAILED, FONT, LONG, block, escape, line
from ...models import catalogue
from . import text_forms
from .draft import MODES, Draft
from .full_run import FullRun, in_a_loop
from .workbench import Workbench

_WIDE = {"width": "98%"}
_WRAP = {"flex_flow": "row wrap", "align_items": "center"}


class Panel:
    """The controls of a playground; `controls` holds all of them."""

    def __init__(self, playground: Workbench) -> None:
        self.playground = playground
        self.full_run = FullRun(playground, self._say, self._read_traits)
        self._writing = False  # true while the boxes are set from the traits
        self._make_boxes()
        self._make_buttons()
        label = ipywidgets.HTML(f'<span style="{FONT}">variants</span>', layout={"margin": "0 8px 0 24px"})
        self.controls = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.mode, label, self.variant, self.add, self.drop], layout=_WRAP),
                self.chips, self.prompt, self.words, self.shape,
                ipywidgets.HBox([self.model, self.temperature, self.max_tokens], layout=_WRAP),
                self.problem,
                ipywidgets.HBox([self.run, self.stop, self.again, self.compare], layout=_WRAP),
                ipywidgets.HBox([self.history, self.restore, self.price, self.apply], layout=_WRAP),
                self.message,
            ]
        )  # fmt: skip
        playground.observe(lambda change: self._read_traits(), list(Draft.__slots__))
        playground.observe(lambda change: self._read_traits(), ["variant", "problem", "running", "drawn"])
        self._read_traits()

    # -- building ------------------------------------------------------------------------------------------------

    def _make_boxes(self) -> None:
        area, text = ipywidgets.Textarea, ipywidgets.Text
        self.mode = ipywidgets.ToggleButtons(options=list(MODES), style={"button_width": "auto"})
        self.variant = ipywidgets.ToggleButtons(options=["A"], style={"button_width": "auto"}, tooltips=["variant A"])
        self.chips = ipywidgets.HBox(layout=_WRAP)
        self.prompt = area(description="Prompt", rows=4, layout=_WIDE, placeholder="Summarize in five words: {text}")
        self.words = area(description="System", rows=2, layout=_WIDE)
        self.shape = area(description="Schema", rows=4, layout=_WIDE)
        self.model = ipywidgets.Combobox(
            description="Model", ensure_option=False, placeholder="default; type to search", layout={"width": "28em"}
        )
        narrow = {"width": "14em"}
        self.temperature = text(description="Temperature", placeholder="default", layout=narrow)
        self.max_tokens = text(description="Max tokens", placeholder="default", layout=narrow)
        self.problem = ipywidgets.HTML()
        for box in (self.prompt, self.words, self.shape, self.model, self.temperature, self.max_tokens):
            box.style.description_width = "6.5em"
        for name, box in (("prompt", self.prompt), ("model", self.model)):
            box.observe(lambda change, name=name: self._set(name, change["new"]), "value")
        self.words.observe(lambda change: self._set(self._words_trait, change["new"]), "value")
        self.shape.observe(lambda change: self._set(MODES[self.playground.mode].shape, change["new"]), "value")
        self.temperature.observe(lambda change: self._set("temperature", _number(change["new"], float)), "value")
        self.max_tokens.observe(lambda change: self._set("max_tokens", _number(change["new"], int)), "value")
        self.mode.observe(lambda change: self._set("mode", change["new"]), "value")
        self.variant.observe(lambda change: self._set("variant", change["new"]), "value")

    def _make_buttons(self) -> None:
        self.add = self._button("Add variant", lambda: self.playground.add(), icon="plus")
        self.drop = self._button("Drop variant", lambda: self.playground.drop(self.playground.variant), icon="times")
        self.run = self._button("Run", self._run, icon="play", button_style="primary")
        self.stop = self._button("Stop", self._stop, icon="stop", tooltip="send nothing more; finished rows are kept")
        self.again = ipywidgets.Checkbox(description="ask again", indent=False, layout={"width": "8em"})
        self.compare = ipywidgets.Checkbox(
            True, description="mark changes", indent=False, layout={"width": "10em"}, tooltip="since the version before"
        )
        self.compare.observe(lambda change: setattr(self.playground, "compare", change["new"]), "value")
        self.history = ipywidgets.Dropdown(description="Versions", layout={"width": "28em"})
        self.restore = self._button("Restore", self._restore, icon="history")
        self.price = self._button("Price all rows", self.full_run.price, icon="calculator")
        self.apply = self._button("Run on all rows", self.full_run.run, icon="forward", disabled=True)
        self.message = ipywidgets.HTML()

    def _button(self, text: str, does: Callable[[], object], **looks: Any) -> Any:
        button = ipywidgets.Button(description=text, layout={"width": "auto"}, **looks)

        def clicked(_: Any) -> None:
            self._say("")
            try:
                does()
            except (CfaiError, ValueError, TypeError) as error:
                self._say(str(error), alert=True)

        button.on_click(clicked)
        return button

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
        self.prompt.description = "Prompt" if p.mode == "generate" else "Text"
        self.words.layout.display = "none" if p.mode in ("ask", "extract") else ""
        self.words.description = self._words_trait.capitalize()
        self.words.value = getattr(p, self._words_trait)
        value = getattr(p, mode.shape)
        self.shape.description, self.shape.placeholder = mode.shape.capitalize(), text_forms.HINTS[mode.shape]
        if not _means(mode.shape, self.shape.value, value):
            written = text_forms.write(mode.shape, value)
            self.shape.value = "" if written is None else written
            self.shape.disabled = written is None
            self.shape.placeholder = text_forms.HINTS[mode.shape] if written is not None else text_forms.spell(value)
        for name, box in (("temperature", self.temperature), ("max_tokens", self.max_tokens)):
            box.layout.display = "" if name in mode.options else "none"
            if _number(box.value, float if name == "temperature" else int) != getattr(p, name):
                box.value = "" if getattr(p, name) is None else f"{getattr(p, name):g}"
        families = mode.task.families
        fitting = [m.name for m in catalogue().values() if m.family in families and m.status == "current"]
        if tuple(self.model.options) != tuple(fitting):
            self.model.options = fitting
        self._show_chips()

    def _show_chips(self) -> None:
        """Offer the columns."""
        p = self.playground
        offered = text_forms.offered(p.prompt, p.samples.columns)
        if [chip.description for chip in self.chips.children[1:]] != [f"{{{name}}}" for name in offered]:
            chips = [
                self._button(f"{{{name}}}", partial(self._insert, name), tooltip=f"insert {name}") for name in offered
            ]
            label = ipywidgets.HTML(f'<span style="{FONT}">columns</span>', layout={"margin": "0 8px 0 7em"})
            self.chips.children = [label, *chips]

    def _insert(self, column: str) -> None:
        self.playground.prompt = text_forms.completed(self.playground.prompt, column)

    def _show_state(self) -> None:
        p = self.playground
        busy = p.running or self.full_run.busy
        self.run.disabled = self.price.disabled = busy or bool(p.problem)
        self.apply.disabled = busy or self.full_run.priced != p.draft
        self.stop.disabled = not busy
        self.drop.disabled = len(p.variants) < 2
        self.problem.value = block(escape(p.problem, 600), FAILED, role="alert")
        self.problem.layout.display = "" if p.problem else "none"
        self.compare.value = p.compare
        kept = [
            (f"{v.number} · {v.variant} · {v.draft.mode} · {line(v.draft.prompt, 40)}", v.number) for v in p.versions
        ]
        if tuple(self.history.options) != tuple(kept):
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
        return bool(text_forms.read(what, text) == value)
    except ValueError:
        return True  # incomplete: do not overwrite what is being typed
