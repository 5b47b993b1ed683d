"""How much of an answer is read, and how long it may take.

``wire`` applies these bounds to every answer: a server that never ends its answer costs bounded memory and bounded
time, and the error says which bound was reached.

==================  ===========  ==========  =====================================================
what is asked for   bytes, most  seconds     examples
==================  ===========  ==========  =====================================================
``"text"``          16 MiB       900         chat, classification, listings, a query of an index
``"vectors"``       64 MiB       900         embeddings; the results of a queued batch
``"media"``         64 MiB       900         a picture or sound, also as base64 in JSON
``"document"``      64 MiB       900         the text of a converted document
a stream            16 MiB       3600        text that arrives piece by piece
an error            256 KiB      900         a longer one is cut, not refused
==================  ===========  ==========  =====================================================

Bytes are counted during decompression, so that a small body never unpacks beyond the bound.  Seconds count from
connecting to the last byte.  All answers share: 20 s to connect, 300 s without a single byte (a busy service queues a
request, and giving up on it may pay for it twice), 1 MiB for one line of a stream, 128 headers of 8 KiB each.

An answer that is too large or takes too long fails its row and is not repeated, since it would be paid for again.
Silence is a fault of the connection (``Unavailable``), which is repeated.
"""

from __future__ import annotations

import asyncio
import zlib
from contextvars import Context
from dataclasses import dataclass

from ..errors import AnswerError, Unavailable
from ..tasks.dialects.request import Expected

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one connection; see the module for what they are.

    Attributes
    ----------
    connect, silence : float
        Seconds to connect, and without a single byte.
    seconds, stream_seconds : float
        Of one whole answer, and of one stream.
    text, vectors, media, document, stream, error, line : int
        Bytes.
    """

    connect: float = 20.0
    silence: float = 300.0
    seconds: float = 900.0
    stream_seconds: float = 3600.0
    text: int = 16 * MIB
    vectors: int = 64 * MIB
    media: int = 64 * MIB
    document: int = 64 * MIB
    stream: int = 16 * MIB
    error: int = MIB // 4
    line: int = MIB

    def most(self, expected: Expected) -> int:
        """Return the most bytes of a whole answer of this kind."""
        return {"text": self.text, "vectors": self.vectors, "media": self.media, "document": self.document}[expected]


BOUNDS = Bounds()
#: Bytes of one header, and of the status line; aiohttp allows 128 headers.
HEADER = 8_190


class Deadline:
    """The deadline of one answer, for the task that waits for it."""

    __slots__ = ("_cancelling", "_expired", "task", "when")

    def __init__(self, task: asyncio.Task[object], when: float) -> None:
        self.task, self.when = task, when
        self._cancelling, self._expired = task.cancelling(), False

    def expire(self) -> None:
        """Cancel the task."""
        self._expired = True
        self.task.cancel()

    def passed(self) -> bool:
        """Whether the deadline alone cancelled the task, which then goes on."""
        return self._expired and self.task.uncancel() <= self._cancelling


class Deadlines:
    """The deadlines of all answers of one connection, with one timer; ``asyncio.timeout`` would make one for each.

    Parameters
    ----------
    seconds : float
        The same for all, so that they pass in the order they began.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._open: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """Begin the deadline of an answer that the current task waits for."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        deadline = Deadline(task, loop.time() + self._seconds)
        self._open[deadline] = None
        if self._timer is None:
            self._arm(deadline)
        return deadline

    def end(self, deadline: Deadline) -> None:
        """Forget a deadline."""
        self._open.pop(deadline, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, first: Deadline) -> None:
        # In an empty context: a timer would keep the caller's, with its session, for as long as it lasts.
        self._timer = asyncio.get_running_loop().call_at(first.when, self._look, context=Context())

    def _look(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        for deadline in tuple(self._open):
            if deadline.when > now:
                self._arm(deadline)
                return
            del self._open[deadline]
            deadline.expire()


class Unpacking:
    """A compressed body, decompressed as it arrives and never beyond a given size.

    Raises
    ------
    AnswerError
        Its encoding was not asked for, or it is broken.
    Unavailable
        It ends within the compressed data.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise AnswerError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for", "encoding")
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes

    def __call__(self, packed: bytes, most: int) -> bytes:
        """Decompress a piece; what is beyond `most` bytes stays compressed."""
        if self._inner.eof:
            return b""  # padding after the end
        try:
            return self._inner.decompress(packed, max(1, most))
        except zlib.error as error:
            raise AnswerError(f"the answer cannot be decompressed: {error}", "broken", again=True) from None

    def end(self, model: str) -> None:
        """Note that nothing more comes."""
        if not self._inner.eof:
            raise Unavailable(f"{model}: the answer was cut within compressed data", "connection lost", model=model)


def size_of(count: int) -> str:
    """Return a bound in words."""
    return f"{count / MIB:,.0f} MiB" if count >= MIB else f"{count / 1024:,.0f} KiB"
