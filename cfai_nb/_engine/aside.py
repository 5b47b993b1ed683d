"""Work on this machine in a thread, so that an event loop goes on meanwhile: the engine's or an awaiting caller's.

Not in the loop's pool: its few threads would wait for the slowest of them, and they are waited for when Python ends.
Whoever stops waiting leaves the thread to finish by itself; the calls it began stop, and it can begin no other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from .interrupts import Presses
from .stopping import STOP, Stop, soon

T = TypeVar("T")


async def aside(do: Callable[[], T]) -> T:
    """Do a step of the engine's in a thread of its own, and return what it gave.

    Cancelled, it awaits what the calls begun in the step have in flight.
    """
    stop = Stop()
    try:
        return await _in_thread(do, stop)
    except asyncio.CancelledError:
        stop.ask(STOP)
        await stop.idle()
        raise
    finally:
        stop.end()


async def beside(do: Callable[[], T]) -> T:
    """Do what an awaiting caller would block its own loop with; cancelled or interrupted, it returns at once."""
    stop = Stop()
    try:
        with Presses(awaited=True) as presses:
            presses.reach(stop)
            return await _in_thread(do, stop)
    except asyncio.CancelledError:
        stop.ask(STOP)
        raise
    except KeyboardInterrupt as error:  # raised in a task, it would end the caller's loop
        raise asyncio.CancelledError(str(error)) from None
    finally:
        stop.end()


def _in_thread(do: Callable[[], T], stop: Stop) -> asyncio.Future[T]:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():  # nothing waits any more
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(do)
        except BaseException as raised:
            # Neither may leave a task as itself: one means the end of an iteration, one that of the program.
            plain = not isinstance(raised, (StopIteration, SystemExit, GeneratorExit))
            error = raised if plain else RuntimeError(f"{type(raised).__name__}: {raised}")
        soon(loop, lambda: settle(result, error))

    context = stop.context()  # the session of the call is the session of what it calls
    threading.Thread(target=work, name="cfai local step", daemon=True).start()
    return done
