"""Requests that are not rows of a frame: ``cf.stream``, ``cf.feedback``, and the jobs that send a few requests.

``RequestJob`` is a job for the bridge; Vectorize, AI Search and ``feedback`` send with it.  A stream is an ordinary run
of one input with a listener: the engine's thread puts the pieces on a queue, and the caller's generator yields them.
So budget, limits, retries and charges apply to it as to every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import queue
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar
from urllib.parse import quote

import pandas as pd

from .._engine.bridge import bridge
from .._engine.engine import Engine
from .._engine.run_options import PATIENCE, Gateway, RunOptions, as_gateway
from .._engine.sender import Sender
from .._engine.stopping import NEVER, InterruptCount, Stop, current
from ..errors import AccessError, CfaiError, RowError, SetupError, Stopped, takes_options
from ..models import Model
from ..tasks import Generate, Json, Request
from ..tasks.dialects import chat
from . import session

T = TypeVar("T")
S = TypeVar("S")
#: Codes for a token that is not accepted.
_CLOSED = frozenset({9106, 9109, 10000})
#: Items that ``RequestJob.each`` works on at once.
_AT_ONCE = 8
_TRAVEL = ("budget", "neurons", "gateway", "patience")
_OPTIONS = tuple(field.name for field in dataclasses.fields(Generate))


class RequestJob(Generic[T]):
    """A job for the bridge that sends requests one after the other, or a few at once.

    ``work`` takes this job and sends with ``ask``; it may check ``stopped`` between two requests and return early.
    ``drain``: the first Stop awaits requests in flight, as it must where they change something; otherwise they are
    dropped.
    """

    def __init__(
        self, engine: Engine, work: Callable[[RequestJob[T]], Awaitable[T]], *, drain: bool, patience: float = PATIENCE
    ) -> None:
        self.engine = engine
        self._work, self._drain = work, drain
        self._sender = Sender(engine, lambda: self.stopped, patience, self.pause)
        self._stop, self._stopped = NEVER, False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[T] | None = None

    async def execute(self) -> T | None:
        """Do the work; return None if it was dropped."""
        self._stop = current()
        self._task = asyncio.ensure_future(self._work(self))
        if self.stopped and not self._drain:
            self._task.cancel()
        self.engine.jobs.add(self)
        await asyncio.wait({self._task})
        self.engine.jobs.discard(self)
        return None if self._task.cancelled() else self._task.result()

    @property
    def stopped(self) -> bool:
        """Whether Stop was pressed, so that what ``execute`` returned may be incomplete."""
        return self._stopped or self._stop.level > 0

    def close(self, why: CfaiError) -> None:
        """End because the session is closed, as Stop would."""
        self.stop()

    def stop(self) -> None:
        """End the work at the first press of Stop."""
        if not self._drain:
            self.abandon()
        self._stopped = True
        self._wake.set()

    def abandon(self) -> None:
        """Drop the work, at the second press of Stop."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def ask(self, request: Request, name: str, method: str = "POST", *, permission: str = "") -> Json:
        """Send a request until it is answered, and return the content of the answer; see ``Sender.send``.

        ``permission`` is what the token needs for it: where the token is refused, the error says so.
        """
        try:
            return (await self._sender.send(request, name, method=method)).json
        except AccessError as error:
            if not permission or (error.code not in _CLOSED and error.status not in (401, 403)):
                raise
            message, code, status = str(error), error.code, error.status
        raise AccessError(f"{message}; the token also needs the {permission}", code, status=status, model=name)

    async def each(self, work: Callable[[S], Awaitable[object]], items: Iterable[S]) -> None:
        """Work on several items at once; after Stop or a failure, begin no other, await the rest, and raise it."""
        rest = iter(items)
        failures: list[Exception] = []

        async def one() -> None:
            for item in rest:
                try:
                    await work(item)
                except Exception as error:  # also a defect: the others must not go on after the call has ended
                    failures.append(error)
                if self.stopped or failures:
                    return

        await asyncio.gather(*(one() for _ in range(_AT_ONCE)))
        if failures:
            raise failures[0]

    async def pause(self, seconds: float) -> None:
        """Wait for these seconds, or until Stop is pressed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()


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
    The request is sent when the first piece is asked for.  Until that piece, it is sent again after a fault like any
    other; afterwards it is not.  The store is neither read nor written; the charge is entered in the ledger.

    Examples
    --------
    >>> for piece in cf.stream("Tell a story in three sentences."):
    ...     print(piece, end="")
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
    return _pieces(here, task, chosen, prompt, here.options(travel))


def _pieces(here: session.Session, task: _Stream, model: Model, prompt: str, how: RunOptions) -> Iterator[str]:
    """Ask, and yield the pieces of the answer."""
    pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def hear(piece: str | None) -> None:  # None where the answer begins
        if piece:
            pieces.put(piece)

    how = dataclasses.replace(how, cache=False, queue=False, on_error="keep", on_token=hear)
    runner = here.runner(task, model, [prompt], how)
    runner.run.restarts = False
    heard = False
    # An interrupt between two pieces goes to the caller; the stream is closed with the generator.
    with contextlib.ExitStack() as running:
        with InterruptCount() as interrupts:  # from the start of the job on, not only from the first wait
            stop, future = running.enter_context(bridge.started(runner))
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
                piece = bridge.take(pieces)
                if not stop.level:
                    return piece
    raise Stopped("Stopped; the connection is closed.")


@takes_options()
def feedback(
    logs: pd.Series[Any] | str,
    score: pd.Series[Any] | Literal[-1, 1],
    *,
    gateway: Gateway | str | None = None,
    metadata: Mapping[str, str | int | float | bool] | None = None,
) -> int:
    """Rate answers that went through an AI Gateway, in its logs.

    Parameters
    ----------
    logs : Series or str
        Ids of logs: ``cf.last_run().logs``, or a part of it.  Missing ones are skipped.
    score : {-1, 1} or Series of them
        Bad or good; a Series is aligned by index, and logs without a score are skipped.
    gateway : Gateway or str, optional
        Default: the gateway of ``cf.connect``.
    metadata : mapping, optional
        Stored with each log.

    Returns
    -------
    int
        Number of logs that were rated; equal rows share one log.

    Raises
    ------
    SetupError
        No gateway is set, here or in ``connect``.
    ValueError
        A score is neither -1 nor 1, or two rows that share a log have different scores.
    ServiceError
        A log could not be rated; a note says how many were rated before.
    Stopped
        It was interrupted; the message says how many were rated.

    Examples
    --------
    >>> df["reply"] = df.cfai.generate("Answer: {text}", gateway="my-gateway")
    >>> cf.feedback(cf.last_run().logs, df["good"].map({True: 1, False: -1}), gateway="my-gateway")
    """
    here = session.current()
    through = as_gateway(gateway) or here.options({}).gateway
    if through is None:
        raise SetupError("Set gateway= to the gateway that the answers went through, here or in cf.connect.")
    wanted, rated = _rated(logs, score), 0

    async def rate(job: RequestJob[None]) -> None:
        async def one(pair: tuple[str, int]) -> None:
            nonlocal rated
            log, value = pair
            body: dict[str, Json] = {"feedback": value} | ({"metadata": dict(metadata)} if metadata else {})
            path = f"/ai-gateway/gateways/{quote(through.name, safe='')}/logs/{quote(log, safe='')}"
            await job.ask(Request(json=body, path=path), f"log {log!r} of gateway {through.name!r}", "PATCH")
            rated += 1

        await job.each(one, wanted.items())

    job = RequestJob(here.engine(cache=False), rate, drain=True)
    try:
        bridge.wait(job, lambda: None)
    except RowError as error:
        if rated:
            error.add_note(f"{rated:,} of {len(wanted):,} logs were rated.")
        raise
    if job.stopped and rated < len(wanted):
        raise Stopped(f"Stopped. {rated:,} of {len(wanted):,} logs were rated; the same call again rates all of them.")
    return rated


def _rated(logs: pd.Series[Any] | str, score: pd.Series[Any] | int) -> dict[str, int]:
    if isinstance(logs, str):
        logs = pd.Series([logs])
    scores = score if isinstance(score, pd.Series) else pd.Series(score, index=logs.index)
    if isinstance(score, pd.Series) and not score.index.equals(logs.index):
        if not (score.index.is_unique and logs.index.is_unique):
            raise ValueError("score: the index has repeated labels; give a Series with the same index as the logs.")
        scores = score.reindex(logs.index)
    rated: dict[str, int] = {}
    for log, value in zip(logs, scores, strict=True):
        if pd.isna(log) or pd.isna(value):
            continue
        if isinstance(value, bool) or value not in (-1, 1):
            raise ValueError(f"score={value!r}: give -1 or 1.")
        if rated.setdefault(str(log), int(value)) != value:
            raise ValueError(f"The log {log} belongs to several rows with different scores; give them the same score.")
    return rated
