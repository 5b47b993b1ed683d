"""The bar of a run in a notebook.

A bar in a blocking cell has no Stop button: its click would be handled when the cell is done.  It says how to interrupt
instead.  Nothing here is called from the engine's thread: whoever waits for the run draws it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets  # type: ignore[import-untyped, unused-ignore]
from IPython.display import display

from ..errors import takes_options
from ..frame.progress import words
from ..frame.report import Report
from ..markup import CODE, LONG, NO_MATH, escape

#: Seconds between two drawings; people read no faster, and every drawing is a message to the browser.
PAUSE = 0.25
HOW_TO_STOP = "interrupt the kernel to stop; finished rows are kept"
_display: Callable[..., Any] = display  # IPython does not say what it takes
_VIEW = "application/vnd.jupyter.widget-view+json"
#: How a run ended -> ipywidgets' style of the bar and a sign that does not depend on colour.
_SIGNS = {"success": "✓", "warning": "!", "danger": "✗", "info": "…"}


class Bar:
    """A run on display: live while it goes on, and a line of text that stays in the saved notebook.

    Both are one object of one output: while the run goes on its bundle holds the widget, and beside it text and HTML
    for places without widgets; at the end only text and HTML, with the receipt.

    Parameters
    ----------
    clock : callable
        Seconds.
    """

    @takes_options()
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = float("-inf")
        self._shown: tuple[Any, ...] = ()
        self._handle: Any = None
        self._text = ""
        self._state = "info"
        self.box: Any = None

    def show(self, report: Report) -> None:
        """Draw how far a run is, unless that was just done or nothing changed; at its end, the receipt."""
        event = report.event
        if event.finished:
            self._state = _ending(report)
            self._settle(report.receipt)
            return
        now = self._clock()
        done, text = event.done + event.failed, words(report)
        if now - self._drawn < PAUSE or self._shown == (done, text):
            return
        self._drawn, self._shown = now, (done, text)
        self._draw(done, event.rows, event.verb, text, stopping=event.stopped)

    def leave(self) -> None:
        """Take the widget away if the run broke off without an end; what was last known stays."""
        if self.box is not None:
            self._state = "warning"
            self._settle(f"{self._text} · broken off")

    def _draw(self, done: int, rows: int, verb: str, text: str, *, stopping: bool) -> None:
        self._text = text
        said = self._fragment(text, "" if stopping else HOW_TO_STOP)
        if self.box is None:
            self.bar = ipywidgets.IntProgress(
                min=0, max=max(rows, 1), tooltip=f"{verb}: rows done", layout=ipywidgets.Layout(width="16em")
            )
            self.said = ipywidgets.HTML()
            self.box = ipywidgets.HBox([self.bar, self.said], layout=ipywidgets.Layout(align_items="center"))
        self.bar.max, self.bar.value = max(rows, 1), done
        self.bar.bar_style = "warning" if stopping else ""
        self.said.value = said
        if self._handle is None:
            self._handle = _display(self, display_id=True)  # None where there is no frontend to show it

    def _settle(self, text: str) -> None:
        """Replace the widget by text, which a saved notebook keeps."""
        self._text = text
        box, self.box = self.box, None
        if self._handle is None:
            _display(self)
        else:
            self._handle.update(self)
        if box is not None:
            for widget in (*box.children, box):
                widget.close()

    def __repr__(self) -> str:
        return f"{_SIGNS[self._state]} {self._text}"

    def _fragment(self, text: str, hint: str = "") -> str:
        # Text of models and of columns gets in here by the names of verbs and models: all of it is escaped.
        small = f'<br><span style="opacity: .7">{escape(hint)}</span>' if hint else ""
        shown = f"{escape(text, LONG)}{small}"
        return f'<div class="{NO_MATH}" role="status" aria-live="off" style="{CODE}">{shown}</div>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._fragment(repr(self))}
        if self.box is not None:
            bundle[_VIEW] = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return bundle


def _ending(report: Report) -> str:
    if report.run.error is not None:
        return "danger"
    return "warning" if report.failed or report.not_run else "success"


@takes_options()
@contextlib.contextmanager
def bar() -> Iterator[Callable[[Report], None]]:
    """Show a run as a bar in the cell; yields what is called with its report ten times a second and at its end.

    Yields
    ------
    callable
        ``show(report)``.
    """
    made = Bar()
    try:
        yield made.show
    finally:
        made.leave()
