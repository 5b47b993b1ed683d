"""Something that takes a while and cannot say how far it is: its name and the seconds so far, and Stop works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from IPython.display import display

from ..frame.progress import in_notebook

T = TypeVar("T")
_PAUSE = 0.5
_display: Callable[..., Any] = display  # IPython does not say what it takes


def patiently(work: Callable[[], T], what: str, shown: bool | None = None) -> T:
    """Return `work()`; in a notebook, after half a second, say how long it has been going on.

    Parameters
    ----------
    work : callable
        Runs in a thread of its own, so that the cell can be interrupted; the thread then ends by itself.
    what : str
        Plain text.
    shown : bool, optional
        Default: in a notebook.
    """
    if shown is False or not (shown or in_notebook()):
        return work()
    kept: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            kept.append(work())
        except BaseException as error:
            failed.append(error)

    started = time.monotonic()
    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    handle: Any = None
    while True:
        thread.join(_PAUSE)
        line = {"text/plain": f"{what} · {time.monotonic() - started:.1f} s{'' if thread.is_alive() else ' · done'}"}
        if handle is not None:
            handle.update(line, raw=True)
        elif thread.is_alive():
            handle = _display(line, raw=True, display_id=True)
        if not thread.is_alive():
            break
    if failed:
        raise failed[0]
    return kept[0]
