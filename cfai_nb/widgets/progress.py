"""What a cell shows while it works: the bar of a run, and the seconds of a step that cannot report how far it is.

In: reports of a run, ten times a second, from the thread that waits for it (never from the engine's thread), or a
function to call.  Out: an output that ends as text in the saved notebook.  A bar has no Stop button, because a click
would only be handled when the cell is done; it says how to interrupt instead.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ipywidgets  # type: ignore[import-untyped, unused-ignore]

from ..errors import takes_options
from ..frame.progress import in_notebook, words
from ..frame.report import Report, receipt_card
from ..html.markup import FONT, LONG, NO_MATH, escape
from .base import bundle, close, looks, publish

T = TypeVar("T")
#: Seconds between two drawings of a bar; each is a message to the browser, and people read no faster.
PAUSE = 0.25
_WAIT_PAUSE = 0.5
#: The bar keeps its width, whatever the text beside it needs.
STEADY = {"width": "150px", "min_width": "150px", "flex": "0 0 150px", "margin": "0 12px 0 2px"}
HOW_TO_STOP = "interrupt the kernel to stop; finished rows are kept"
#: How a run ended -> a sign that does not depend on color.
_SIGNS = {"success": "✓", "warning": "!", "danger": "✗", "info": "…"}


class Bar:
    """The progress of a run: a live bar while it goes on, and a line of text that stays in the saved notebook.

    Both are one output.  During the run it holds the widget, with text and HTML for places without widgets; at the
    end only text and HTML, with the receipt.  `clock` returns seconds.
    """

    @takes_options()
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._drawn = float("-inf")
        self._last: tuple[Any, ...] = ()
        self._handle: Any = None
        self._text = ""
        self._card = ""  # of the receipt, once there is one
        self._state = "info"
        self.box: Any = None

    def show(self, report: Report) -> None:
        """Draw the progress, at most every quarter of a second and only if it changed; at the end, the receipt."""
        event = report.event
        if event.finished:
            failed = report.error is not None
            self._state = "danger" if failed else "warning" if report.failed or report.not_run else "success"
            self._card = receipt_card(report)
            self._settle(report.receipt)
            return
        now = self._clock()
        done, text = event.done + event.failed, words(report)
        if now - self._drawn < PAUSE or self._last == (done, text):
            return
        self._drawn, self._last = now, (done, text)
        self._draw(done, event.rows, event.verb, text, stopping=event.stopped)

    def leave(self) -> None:
        """Remove the widget of a run that broke off without an end; its last text stays."""
        if self.box is not None:
            self._state = "warning"
            self._settle(f"{self._text} · broken off")

    def _draw(self, done: int, rows: int, verb: str, text: str, *, stopping: bool) -> None:
        self._text = text
        if self.box is None:
            self.bar = ipywidgets.IntProgress(min=0, tooltip=f"{verb}: rows done", layout=STEADY)
            self.message = ipywidgets.HTML(layout={"flex": "1 1 0", "min_width": "0"})
            row = ipywidgets.HBox([self.bar, self.message], layout={"align_items": "center", "max_width": "960px"})
            self.box = looks(row, "card")
        self.bar.max, self.bar.value = max(rows, 1), done
        self.bar.bar_style = "warning" if stopping else ""
        self.message.value = self._fragment(text, "" if stopping else HOW_TO_STOP)
        if self._handle is None:
            self._handle = publish(self, display_id=True)  # None where there is no frontend

    def _settle(self, text: str) -> None:
        """Replace the widget by text, which a saved notebook keeps."""
        self._text = text
        box, self.box = self.box, None
        if self._handle is None:
            publish(self)
        else:
            self._handle.update(self)
        if box is not None:
            close(box)

    def __repr__(self) -> str:
        return f"{_SIGNS[self._state]} {self._text}"

    def _fragment(self, text: str, hint: str = "") -> str:
        # Names of verbs and models may come from users and services, so everything is escaped.
        small = f'<br><span class="cfai-soft cfai-small">{escape(hint)}</span>' if hint else ""
        shown = f"{escape(text, LONG)}{small}"
        return f'<div class="cfai {NO_MATH}" role="status" aria-live="off" style="{FONT}">{shown}</div>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return bundle(repr(self), self._card or self._fragment(repr(self)), self.box)


@takes_options()
@contextlib.contextmanager
def bar() -> Iterator[Callable[[Report], None]]:
    """Show a run as a bar in the cell; yields what is called with its report, often and at the end of the run."""
    made = Bar()
    try:
        yield made.show
    finally:
        made.leave()


def patiently(work: Callable[[], T], what: str, shown: bool | None = None) -> T:
    """Return ``work()``; in a notebook, show after half a second how long it has been running.

    It runs in a thread, so that the cell can be interrupted; the thread then ends by itself.  `what` is plain text;
    `shown` overrides whether it is shown.
    """
    if shown is False or not (shown or in_notebook()):
        return work()
    made: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as error:
            made.set_exception(error)

    started = time.monotonic()
    threading.Thread(target=run, name=what, daemon=True).start()
    handle: Any = None
    done = False
    while not done:
        done = bool(concurrent.futures.wait([made], _WAIT_PAUSE).done)
        line = {"text/plain": f"{what} · {time.monotonic() - started:.1f} s{' · done' if done else ''}"}
        if handle is not None:
            handle.update(line, raw=True)
        elif not done:
            handle = publish(line, raw=True, display_id=True)
    return made.result()
