"""``cf.stream``: one prompt, answered piece by piece.

An ordinary run of one input with a listener: its engine thread puts the pieces on a queue, from which the caller's
generator yields them.  So a stream is reserved, limited, repeated and charged as every request is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .._engine.bridge import BEAT, bridge
from .._engine.stopping import InterruptCount, Stop
from ..errors import Stopped, takes_options
from ..models import Model
from ..tasks import Generate, Request
from ..tasks.dialects import chat
from . import session

_TRAVEL = ("budget", "neurons", "gateway", "patience")
_OPTIONS = tuple(field.name for field in dataclasses.fields(Generate))


@dataclass(frozen=True, kw_only=True)
class _Stream(Generate):
    """``Generate`` under the name that the ledger shows, streamed whatever its options."""

    name: ClassVar[str] = "stream"

    def streamed(self, request: Request, model: Model) -> Request:
        """Return the request as a stream."""
        return chat.streamed(request, model)


@takes_options(*_OPTIONS, *_TRAVEL)
def stream(prompt: str, *, model: str | Model | None = None, **options: Any) -> Iterator[str]:
    """Ask one prompt and yield the answer piece by piece, as it is written.

    Parameters
    ----------
    prompt : str
    model : str or Model, optional
        Default: that of ``generate``.
    **options
        Of ``generate`` (``system``, ``max_tokens``, ``temperature``, ``seed``, ``reasoning``), and ``budget`` or
        ``neurons``, ``gateway``, ``patience``.

    Yields
    ------
    str

    Raises
    ------
    ValueError
        The prompt is not a text, or an option has an invalid value.
    ServiceError
        The request was refused, or failed until ``patience`` was over; nothing was yielded.
    AnswerError
        The stream broke off, the reply is empty, or it was cut at ``max_tokens``; what came before was yielded.
    Stopped
        It was interrupted: the connection is closed, and the service stops writing.

    Notes
    -----
    Until the first piece, the request is repeated like any other; afterwards it never is.  Nothing is taken from the
    store or kept in it; the charge is entered in the ledger.
    """
    travel: dict[str, Any] = {name: options.pop(name) for name in _TRAVEL if name in options}
    if clash := {"schema", "tools", "n", "thinking"} & options.keys():
        raise TypeError(f"stream() does not support {', '.join(sorted(clash))}; use generate().")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"prompt={prompt!r:.60}: give a text.")
    task = _Stream(**options)
    here = session.current()
    chosen = here.model_for(task, model, travel.get("gateway"))
    task.check(chosen)
    pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def hear(piece: str | None) -> None:  # None where the answer begins
        if piece:
            pieces.put(piece)

    how = dataclasses.replace(here.options(travel), cache=False, queue=False, on_error="keep", on_token=hear)
    runner = here.runner(task, chosen, [prompt], how)
    runner.run.restarts = False
    heard = False
    # Between the pieces an interrupt is the caller's; whatever it ends, the stream is closed with the generator.
    with contextlib.ExitStack() as attended:
        with InterruptCount() as interrupts:  # from the start of the job on, not only from the first wait
            stop, future = attended.enter_context(bridge.attended(runner))
            interrupts.reach(stop)
            future.add_done_callback(lambda _: pieces.put(None))
            piece = _next(pieces, stop)
        while piece is not None:
            heard = True
            yield piece
            piece = _next(pieces, stop)
        run = future.result()
    if run.stopped:  # with the tool that this stream is part of
        raise Stopped("Stopped; the connection is closed.")
    if (failure := run.error or run.failures.get(0)) is not None:
        raise failure
    if not heard:  # the server answered in one piece
        yield run.results.cells()[0]["answer"]


def _next(pieces: queue.SimpleQueue[str | None], stop: Stop) -> str | None:
    """Wait for the next piece; None at the end."""
    with InterruptCount() as interrupts:
        interrupts.reach(stop)
        while not stop.level:
            with contextlib.suppress(queue.Empty):
                piece = pieces.get(timeout=BEAT)
                if not stop.level:
                    return piece
    raise Stopped("Stopped; the connection is closed.")
