"""Converts the answers of one request, or failures stored like answers, to bytes and back; and checksums records.

``Store`` encodes what it writes and decodes what it reads: float32 for vectors, lengths and bytes for media, JSON for
everything else.  Never pickle, since the file may come from elsewhere.
"""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass

import numpy as np
import pydantic_core

from ...errors import AnswerError
from ...media import Audio, Image
from ...tasks import Cells, Json

_MEDIA = {cell.kind: cell for cell in (Image, Audio)}
#: The kind of a record of stored failures.
_FAILED = "failed"
#: What the kind of lists of media ends in.
_SEVERAL = "s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One answer of a conversation that has not ended, with the digest of its request."""

    asked: str
    content: bytes
    headers: dict[str, str]
    neurons: float | None


def encode(cells: Cells) -> tuple[str, bytes]:
    """Return the kind of these cells and their bytes.

    ValueError or TypeError: a vector has values that are not finite, or a cell is not made of what JSON holds.
    """
    if isinstance(cells, np.ndarray):
        values = np.ascontiguousarray(cells, dtype="<f4")
        if not np.isfinite(values).all():
            raise ValueError("a vector with values that are not finite is not kept")
        return "f4", values.tobytes()
    if cells and isinstance(cells[0], (Image, Audio)):
        lengths = np.array([len(cell) for cell in cells], dtype="<i8")
        return cells[0].kind, b"".join([lengths.tobytes(), *cells])
    if cells and isinstance(cells[0], list) and cells[0] and isinstance(cells[0][0], (Image, Audio)):
        kind, body = encode([each for cell in cells for each in cell])  # several pictures a cell
        counts = np.array([len(cell) for cell in cells], dtype="<i8")
        return f"{kind}{_SEVERAL}", counts.tobytes() + body
    if cells and isinstance(cells[0], AnswerError):
        return _FAILED, pydantic_core.to_json([[str(e), e.code, e.text, e.partial] for e in cells])
    return "json", pydantic_core.to_json(list(cells), fallback=_plain)


def as_stored(cells: Cells) -> Cells:
    """Return cells as the store returns them, so that the first answer equals the later ones; errors as of `encode`."""
    kind, body = encode(cells)
    return pydantic_core.from_json(body) if kind == "json" else cells


def decode(kind: str, rows: int, body: bytes) -> Cells:
    """Return the cells; media are views of `body`."""
    if kind == "f4":
        return np.frombuffer(body, dtype="<f4").reshape(rows, -1)
    if kind in _MEDIA:
        ends = 8 * rows + np.cumsum(np.frombuffer(body, dtype="<i8", count=rows))
        starts = [8 * rows, *ends[:-1].tolist()]
        return [_MEDIA[kind](memoryview(body)[a:b]) for a, b in zip(starts, ends.tolist(), strict=True)]
    if kind.endswith(_SEVERAL):
        counts = np.frombuffer(body, dtype="<i8", count=rows).tolist()
        each = iter(decode(kind.removesuffix(_SEVERAL), sum(counts), body[8 * rows :]))
        return [list(itertools.islice(each, count)) for count in counts]
    cells: list[Json] = pydantic_core.from_json(body)
    if kind == _FAILED:
        return [AnswerError(what, code, text=text, partial=partial) for what, code, text, partial in cells]
    return cells


def _plain(value: object) -> object:
    """Return a number or an array of NumPy as JSON holds it."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__}")


def seal(*parts: object) -> int:
    """Return the checksum of a record: CRC-32 over its parts and the lengths of those that are bytes.

    It detects damage by other programs, memory or disks, not forgery.  The parts are values as SQLite returns them
    (bytes, str, int, float, None), so that a record can be checked as it was read.
    """
    total = zlib.crc32(repr([len(part) if isinstance(part, bytes) else part for part in parts]).encode())
    for part in parts:
        if isinstance(part, bytes):
            total = zlib.crc32(part, total)
    return total
