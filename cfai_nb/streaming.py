"""``cf.stream``: one prompt, answered as it is written."""

from __future__ import annotations

import dataclasses
import queue
from collections.abc import Iterator
from typing import Any

from . import session
from ._engine.bridge import bridge, interrupts
from ._engine.stream import stream as _stream
from .errors import Stopped
from .models import Model
from .options import takes_options
from .tasks import Generate

_TRAVEL = ("budget", "neurons", "gateway", "reject_if_busy")
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
        ``neurons``, ``gateway``, ``reject_if_busy``.

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
    pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
    limit = f"max_tokens={task.max_tokens}"

    async def pump() -> None:
        try:
            request, most = task.stream(prompt, chosen), task.forecast([prompt], chosen)
            async for piece in _stream(engine, request, chosen, most, how, limit):
                pieces.put(piece)
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)
            raise

    with interrupts() as pressed:
        future = bridge.submit(pump)
        try:
            while True:
                try:
                    piece = pieces.get(timeout=0.1)
                except queue.Empty:
                    piece = ""
                if pressed.count:
                    raise Stopped("Stopped; the connection is closed.")
                if isinstance(piece, BaseException):
                    raise piece
                if piece is None:
                    return
                if piece:
                    yield piece
        finally:
            future.cancel()
