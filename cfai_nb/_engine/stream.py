"""One streamed answer: a place, a request, and the text as it comes.  Called by ``cf.stream``, as an errand."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Callable

from ..errors import BudgetError, Busy, RateLimited
from ..models import Model, Usage, price
from ..tasks import Request, StreamReader
from .gateway import dressed
from .run_options import RunOptions
from .shared import Engine


async def stream(
    engine: Engine, request: Request, model: Model, most: Usage, options: RunOptions, limit: str,
    leaves: Callable[[], bool] = lambda: True,
) -> AsyncGenerator[str, None]:  # fmt: skip
    """Yield the text of one answer as it comes; charged when it ends, however it ends.

    Parameters
    ----------
    engine : Engine
    request : Request
        With ``stream`` set.
    model : Model
    most : Usage
        The most it can use: what the budget reserves, and what is charged if the stream reports nothing.
    options : RunOptions
        Budget and gateway.
    limit : str
        The token limit in words, for the error of a reply that was cut.
    leaves : callable
        Whether the request may still leave, asked right before it does.
    """
    budget = options.budget
    request = dressed(request, model, options.gateway)
    pace, reader, began = engine.pace(model), StreamReader(), time.perf_counter()
    reserved = budget.reserve(price(most, model), model.id) if budget is not None else None
    if budget is not None and reserved is None:
        raise BudgetError(f"The budget of {budget.label} cannot hold this request; nothing was sent.")
    accepted = False
    try:
        sent = await pace.enter()
        try:
            async with contextlib.aclosing(engine.wire.stream(request, model.id, leaves=leaves)) as lines:
                async for line in lines:
                    accepted = True  # from the first line on it is billed
                    if text := reader.feed(line):
                        yield text
            if text := reader.rest():
                yield text
            reader.finish(limit)
        except RateLimited as error:
            pace.rate.refused(sent, time.monotonic(), error.wait)
            raise
        except Busy:
            pace.concurrency.refused()
            raise
        finally:
            pace.leave(sent)
    finally:
        usage, seconds = reader.usage() or most, time.perf_counter() - began
        charge = engine.charge(usage, model, run=uuid.uuid4().hex[:12], verb="stream", seconds=seconds)
        if accepted:
            engine.enter([charge])
        if budget is not None and reserved is not None:
            budget.settle(reserved, charge.neurons if accepted else 0.0)
