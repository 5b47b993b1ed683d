"""What every upload to a store of the service has: digests of what is there already, Stop, waiting, and its outcome.

``to_vectorize`` and ``to_ai_search`` subclass ``Uploading``, hand it to ``carried_out``, and return the ``Written`` it
makes.  The session's store keeps a digest of each thing the service acknowledged, as it keeps answers, so that the same
call sends only what is new or changed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..._engine.engine import Engine
from ..._engine.run_options import RunOptions
from ..._engine.run_state import new_run
from ...errors import RowError
from ...html.markup import counted
from ...session.requests import RequestJob
from ..call import warn
from ..steps import Requests, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What ``to_vectorize`` or ``to_ai_search`` did.

    Attributes
    ----------
    name : str
        Of the index or instance.
    store : str
        "Vectorize index" or "AI Search instance".
    unit : str
        What was sent: "vector" or "document".
    sent : int
        How many this call wrote.
    skipped : int
        Those this machine had written before without a change since, which were not sent again.
    missing : int
        Rows without one.
    mutations : tuple of str
        Vectorize's ids of the writes, one a call.
    failed : mapping of str to str
        By id, why AI Search could not index a document; known after waiting.
    visible : bool or None
        Whether a search finds all of them; None if the call did not wait for that.
    origin : str
        Where it is.
    """

    name: str
    store: str
    unit: str
    sent: int = 0
    skipped: int = 0
    missing: int = 0
    mutations: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    visible: bool | None = None
    origin: str = "cloudflare"

    def __repr__(self) -> str:
        where = "" if self.origin == "cloudflare" else f" ({self.origin})"
        calls = f" in {counted(len(self.mutations), 'call')}" if self.unit == "vector" else ""
        parts = [f"{counted(self.sent, self.unit)} sent{calls}"]
        parts += [f"{self.skipped:,} written before"] if self.skipped else []
        parts += [f"{self.missing:,} without a {self.unit}"] if self.missing else []
        parts += [f"{len(self.failed):,} NOT INDEXED"] if self.failed else []
        parts += ["visible"] if self.visible else []
        return f"{self.store} {self.name!r}{where}: {' · '.join(parts)}"


class Uploading(ABC):
    """One upload of so many things, sent or not, for a ``RequestJob``; a subclass does the ``_work``.

    `reads` says whether earlier writes are looked up in the store, and `keeps` whether this one is recorded there, with
    the ``id`` as its owner.  ``tell`` is called with the progress in words.
    """

    #: What a message calls the store and what is sent.
    store, unit = "", ""

    def __init__(self, name: str, total: int, *, reads: bool, keeps: bool) -> None:
        self.name, self.total, self.id = name, total, new_run()
        self.sent = self.skipped = 0
        self.mutations: list[str] = []
        self.failed: dict[str, str] = {}
        self.visible: bool | None = None
        self.keeps, self._reads = keeps, reads
        self.tell: Callable[[str], None] = lambda text: None

    async def __call__(self, job: RequestJob[None]) -> None:
        """Do it; ends early where Stop was pressed."""
        try:
            await self._work(job)
        except RowError as error:
            if job.stopped:
                return
            if self.sent:
                error.add_note(f"{self.sent:,} {self.unit}s were written before; the same call again sends the rest.")
            raise

    @abstractmethod
    async def _work(self, job: RequestJob[None]) -> None:
        """Send what is not there yet."""

    async def known(self, engine: Engine, keys: Sequence[bytes]) -> tuple[dict[bytes, str], int | None]:
        """Return what was recorded under each key, and the position of the most recent record."""
        store = engine.store
        if store is None or not self._reads:
            return {}, None

        def look() -> tuple[dict[bytes, str], int | None]:
            store.flush()
            found, last = dict[bytes, str](), None
            for held in itertools.chain.from_iterable(store.held(keys)):
                if held.cells is not None:
                    found.update(zip((keys[at] for at in held.at), map(str, held.cells), strict=True))
                    last = int(held.at[-1])
            return found, last

        return await asyncio.to_thread(look)

    async def record(self, engine: Engine, keys: Sequence[bytes], records: Sequence[str]) -> None:
        """Record what the service acknowledged; a process killed from now on does not send it again."""
        if engine.store is not None and self.keeps:
            engine.store.put(list(keys), list(records), owner=self.id)
            await engine.written(self.id)

    def written(self, missing: int, origin: str) -> Written:
        """Return what was done."""
        return Written(
            name=self.name, store=self.store, unit=self.unit, sent=self.sent, skipped=self.skipped, missing=missing,
            mutations=tuple(self.mutations), failed=dict(self.failed), visible=self.visible, origin=origin,
        )  # fmt: skip


def carried_out(
    verb: str, writing: Uploading, engine: Engine, options: RunOptions
) -> Generator[Step, Any, Callable[[], None]]:
    """Yield the step that does an upload; return what raises or warns about its end."""

    def stopped() -> str:
        kept = writing.keeps and engine.store is not None and engine.store.writer.trouble(writing.id) is None
        then = "sends only the rest" if kept else "starts from the beginning"
        return (
            f"Stopped. {writing.sent + writing.skipped:,} of {writing.total:,} {writing.unit}s are in the "
            f"{writing.store.split()[-1]} {writing.name!r}; running the same call again {then}."
        )

    step = Requests(verb, engine, writing, options, drain=True, stopped=stopped)
    writing.tell = step.tell
    yield step

    def conclude() -> None:
        failure = engine.store.writer.take_failure(writing.id) if engine.store is not None else None
        if failure is not None:
            warn(f"The {writing.unit}s are written, and it could not be kept that they are: {failure}")
        step.refuse_stopped()

    return conclude


def listed(columns: Any) -> list[Any]:
    """Return columns that are given as a list or as one name."""
    return [] if columns is None else [columns] if isinstance(columns, str) else list(columns)


#: Seconds ``wait=True`` waits at most.
WAIT = 300.0


def seconds_of_wait(wait: bool | float) -> float | None:
    """Return the seconds that ``wait=`` asks for, None for not waiting; or raise ValueError."""
    if not isinstance(wait, (bool, int, float)) or wait < 0:
        raise ValueError(f"wait={wait!r}: give True, or seconds.")
    return None if wait is False else WAIT if wait is True else float(wait)


async def beats(job: RequestJob[Any], seconds: float) -> AsyncIterator[None]:
    """Yield at growing intervals until the time is over or Stop was pressed."""
    end, pause = time.monotonic() + seconds, 0.05
    while not job.stopped:
        yield
        if time.monotonic() >= end:
            return
        await job.pause(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2.0, pause * 1.5)
