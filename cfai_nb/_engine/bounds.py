"""How much of an answer is read, and how long it is waited for.

``wire`` holds every answer to these bounds, whoever sent it: a server that never ends its answer costs bounded memory
and bounded time, and the error says which bound was reached.

==================  ===========  ==========  =====================================================
what is asked for   bytes, most  seconds     examples
==================  ===========  ==========  =====================================================
``"text"``          16 MiB       900         chat, classification, listings, a query of an index
``"vectors"``       64 MiB       900         embeddings; the results of a queued batch
``"media"``         64 MiB       900         a picture or sound, also as base64 in JSON
``"document"``      64 MiB       900         the text of a converted document
a stream            16 MiB       3600        text that arrives piece by piece
an error            256 KiB      900         what is longer is cut, not refused
==================  ===========  ==========  =====================================================

Bytes are counted after decompression, while it goes on: what a small body unpacks to is never held beyond the bound.
Seconds are those of one answer, from connecting to its last byte.  For all of them alike: 20 s to connect, 300 s
without a single byte (a busy service queues a request, and one that is given up may be paid for twice), 1 MiB for one
line of a stream, 128 headers of 8 KiB each.

What is too large, or takes longer than its seconds, fails its row and is not repeated: it would be paid for again.
Silence is a fault of the connection (``Unavailable``), which is repeated.
"""

from __future__ import annotations

import zlib
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
#: Bytes of one header, and of the line with the status; aiohttp counts the headers (128) and refuses the rest.
HEADER = 8_190


class Unpacking:
    """A compressed body, unpacked as it arrives and never beyond what is asked for.

    Raises
    ------
    AnswerError
        It is compressed in a way that was not asked for, or broken.
    Unavailable
        It ends within the compressed data.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise AnswerError(f"the answer is encoded as {encoding[:40]!r}, which was not asked for", "encoding")
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes

    def __call__(self, packed: bytes, most: int) -> bytes:
        """Unpack a piece; what is beyond `most` bytes stays packed."""
        if self._inner.eof:
            return b""  # padding after the end
        try:
            return self._inner.decompress(packed, max(1, most))
        except zlib.error as error:
            raise AnswerError(f"the answer cannot be decompressed: {error}", "broken", again=True) from None

    def end(self, model: str) -> None:
        """Say that nothing more comes."""
        if not self._inner.eof:
            raise Unavailable(f"{model}: the answer was cut within compressed data", "connection lost", model=model)


def size_of(count: int) -> str:
    """Return a bound in words."""
    return f"{count / MIB:,.0f} MiB" if count >= MIB else f"{count / 1024:,.0f} KiB"
