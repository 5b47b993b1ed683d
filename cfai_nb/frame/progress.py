"""Progress of runs and of local work: a bar in a notebook, a line in a terminal, nothing elsewhere.

``listener`` shows a run while ``Call`` waits for it, and passes its events to those who called ``cf.listen``;
``working`` shows work on this machine, such as a projection.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from .._engine.run_state import Waiting
from ..models.ledger import dollars, money
from .report import Report, cost_words

#: Shows how far a run is; called ten times a second and once at the end.
Listener = Callable[[Report], None]
#: Makes the bar of a notebook; handed down by callers above the widgets, so that nothing here imports them.
Display = Callable[[], AbstractContextManager[Listener]]
#: Listeners of the user (``cf.listen``), which get every Event, whatever is shown.
listeners: list[Listening] = []


class Listening:
    """A listener at work, which gets every Event until ``close()`` or the end of its ``with`` block."""

    def __init__(self, on_event: Callable[[Any], Any]) -> None:
        self.on_event = on_event
        listeners.append(self)

    def close(self) -> None:
        """Stop listening."""
        if self in listeners:
            listeners.remove(self)

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{'listening' if self in listeners else 'closed'}: {getattr(self.on_event, '__name__', 'a listener')}>"


def notify(event: Any) -> None:
    """Pass an event to every listener."""
    for listening in tuple(listeners):  # one may close itself
        listening.on_event(event)


def listener(wanted: bool | None, display: Display | None = None) -> AbstractContextManager[Listener]:
    """Return what shows a run; `wanted` as None decides by where the output goes.

    `display` makes the bar of a notebook; without it a line of text is shown there.
    """
    if wanted is False:
        shown: AbstractContextManager[Listener] = contextlib.nullcontext(silent)
    elif in_notebook() and display is not None:
        shown = display()
    elif wanted or sys.stderr.isatty():
        shown = line()
    else:
        shown = contextlib.nullcontext(silent)
    return _with_listeners(shown)


def silent(report: Report) -> None:
    """Show nothing."""


@contextlib.contextmanager
def _with_listeners(shown: AbstractContextManager[Listener]) -> Iterator[Listener]:
    ended = False
    with shown as show:

        def show_and_tell(report: Report) -> None:
            nonlocal ended
            if ended:  # the last look may see what the one before saw
                return
            ended = report.event.finished
            show(report)
            if listeners:
                notify(report.event)

        yield show_and_tell


def in_notebook() -> bool:
    """Whether output goes to a Jupyter frontend."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def words(report: Report) -> str:
    """Say in one line how far a run is: done of total, kept, failed, what it waits for, cost, time left."""
    event = report.event
    parts = [f"{report.title or event.verb} {event.done + event.failed:,}/{event.rows:,}"]
    if event.stored:
        parts.append(f"{event.stored:,} stored")
    if report.failed:
        parts.append(f"{report.failed:,} failed")
    if event.waiting is not None:
        parts.append(waiting_words(event.waiting, event.seconds))
    if event.requests:
        cost = money(event.spent.neurons, event.spent.exact)
        if event.projected.neurons is not None and not event.finished:
            cost += f" of {dollars(event.projected.neurons, False)}"
        parts.append(cost_words(event, cost))
    if event.left is not None and not event.finished:
        parts.append(f"{event.left:.0f} s left")
    if event.in_flight:
        parts.append(f"{event.in_flight} in flight")
    if event.stopped and not event.finished:
        parts.append("stopping: finishing what is paid for (interrupt again to drop it)")
    return " · ".join(parts)


#: What is waited for, in words; with the code of the refusal or fault behind it.
_WAITS = {
    "capacity": "waiting for capacity", "minute": "waiting for the minute's limit", "outage": "the service fails",
    "access": "access is refused", "budget": "waiting for requests in flight to be billed",
    "queue": "waiting for the batch queue",
}  # fmt: skip


def waiting_words(waiting: Waiting, now: float) -> str:
    """Say what is waited for, for how long already and until when; ``now`` in seconds of the run."""
    code = "" if waiting.code is None else f" ({waiting.code})"
    link = ", waiting for" if waiting.reason in ("outage", "access") else " for"
    text = f"{_WAITS[waiting.reason]}{code}{link} {_time(now - waiting.since)}"
    if waiting.until is None:
        return text
    if waiting.reason == "minute" and waiting.code is None:
        return f"{text}, goes on in {_time(max(0.0, waiting.until - now))}"
    return f"{text}, gives up after {_time(waiting.until - waiting.since)}"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.3g} min"


@contextlib.contextmanager
def line() -> Iterator[Listener]:
    """Show a run as one line of the terminal that is written over and over; the receipt stays."""
    width = 0

    def show(report: Report) -> None:
        nonlocal width
        text = report.receipt
        if not report.event.finished:
            # Cut to the screen: a line that wraps cannot be written over.
            text = words(report)[: shutil.get_terminal_size().columns - 1]
        end = "\n" if report.event.finished else ""
        sys.stderr.write("\r" + text.ljust(width) + end)
        sys.stderr.flush()
        width = 0 if end else len(text)

    try:
        yield show
    finally:
        if width:
            sys.stderr.write("\n")


#: Seconds before work on this machine shows a line, and between two drawings of it.
BEFORE_SHOWN = 1.0


@contextlib.contextmanager
def working(name: str, wanted: bool | None) -> Iterator[Callable[[str], None]]:
    """Show local work, which sends nothing, as a line with its seconds; work that lasts under a second shows none.

    Yields a function that takes how far the work is, in words.  ``wanted=None`` decides by where the output goes, as
    it does for runs.
    """
    if wanted is False or (wanted is None and not in_notebook() and not sys.stderr.isatty()):
        yield lambda text: None
        return
    screen = sys.stdout if in_notebook() else sys.stderr  # which notebooks show as if something were wrong
    begin, latest, ended = time.monotonic(), "", threading.Event()

    def say(text: str) -> None:
        nonlocal latest
        latest = text

    def draw() -> None:
        width = 0
        # A thread, since a library that computes for half a minute reports nothing meanwhile.
        while not ended.wait(BEFORE_SHOWN):
            text = f"{name} · {latest} · {time.monotonic() - begin:.0f} s"[: shutil.get_terminal_size().columns - 1]
            screen.write("\r" + text.ljust(width))
            screen.flush()
            width = len(text)
        if width:
            screen.write("\r" + f"{name} · {latest} · {time.monotonic() - begin:.0f} s".ljust(width) + "\n")
            screen.flush()

    thread = threading.Thread(target=draw, name=f"cfai {name}", daemon=True)
    thread.start()
    try:
        yield say
    finally:
        ended.set()
        thread.join()
