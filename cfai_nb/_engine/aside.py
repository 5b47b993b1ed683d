"""What a conversation does on this machine: in a thread, so that the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading

from ..tasks import Local


async def aside(step: Local) -> object:
    """Do a step in a thread of its own, and return what it gave.

    Not in the loop's pool: its few threads also serve the store, which would wait for the slowest of them, and they are
    waited for when Python ends.  Whoever stops waiting (the run was stopped) leaves the thread to finish by itself.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[object] = loop.create_future()

    def settle(result: object, error: BaseException | None) -> None:
        if done.done():  # nobody waits any more
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def work() -> None:
        result, error = None, None
        try:
            result = context.run(step.do)
        except BaseException as raised:
            error = raised if isinstance(raised, Exception) else RuntimeError(f"{type(raised).__name__}: {raised}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: Python ends
            loop.call_soon_threadsafe(settle, result, error)

    context = contextvars.copy_context()  # the session of the call is the session of what it calls
    threading.Thread(target=work, name="cfai local step", daemon=True).start()
    return await done
