"""``cf.stream``: one prompt, answered as it is written."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
from collections.abc import Iterator
from typing import Any

from .._engine.bridge import BEAT, bridge
from .._engine.errand import Errand
from .._engine.interrupts import Presses
from .._engine.stopping import Stop
from .._engine.stream import stream as _stream
from ..errors import Stopped, takes_options
from ..models import Model
from ..tasks import Generate
from . import session

_TRAVEL = ("budget", "neurons", "gateway")
_OPTIONS = tuple(field.name for field in dataclasses.fields(Generate))


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
        ``neurons``, ``gateway``.

    Yields
    ------
    str

    Raises
    ------
    ValueError
        The prompt is no text, or an option means nothing.
    AnswerError
        The stream broke off, or the reply was cut at ``max_tokens``; what came before was yielded.
    Stopped
        It was interrupted: the connection is closed, and the service stops writing.

    Notes
    -----
    Nothing is taken from the store or kept in it; the charge is entered in the book.
    """
    travel: dict[str, Any] = {name: options.pop(name) for name in _TRAVEL if name in options}
    if clash := {"schema", "tools", "n", "thinking"} & options.keys():
        raise TypeError(
            f"stream() takes no {', '.join(sorted(clash))}: that is of no use before its end. Use generate."
        )
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError(f"prompt={prompt!r:.60}: give a text.")
    task = Generate(**options)
    here = session.current()
    chosen = here.model_for(task, model, travel.get("gateway"))
    task.check(chosen)
    how = here.options(travel)
    engine = here.engine(cache=False)
    request, most = task.stream(prompt, chosen), task.estimate_usage([prompt], chosen)
    pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    limit = f"max_tokens={task.max_tokens}"

    async def work(errand: Errand[None]) -> None:
        texts = _stream(engine, request, chosen, most, how, limit, errand.may_send)
        async with contextlib.aclosing(texts):
            async for text in texts:
                pieces.put(text)

    # Between the pieces an interrupt is the user's own; whatever it ends, the stream is closed with the generator.
    with bridge.attended(Errand(engine, work, drain=False)) as (stop, future):
        future.add_done_callback(lambda _: pieces.put(None))
        while (piece := _next(pieces, stop)) is not None:
            yield piece
        future.result()


def _next(pieces: queue.SimpleQueue[str | None], stop: Stop) -> str | None:
    """Wait for the next piece; None at the end."""
    with Presses() as presses:
        presses.reach(stop)
        while not presses.count:
            with contextlib.suppress(queue.Empty):
                piece = pieces.get(timeout=BEAT)
                break
    if stop.level:
        raise Stopped("Stopped; the connection is closed.")
    return piece
