"""Vectors as the lines that are sent: NDJSON in calls of what the service takes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pydantic_core

from .metadata import CALL_BYTES, CALL_VECTORS

#: Powers of ten that float64 holds exactly.
_TENS = np.array([float(f"1e{power}") for power in range(23)])
#: Rows that are spelled at once.
_PART = 500


def decimals(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the float64 of the shortest spelling that is read back as the same float32.

    A float32 that is merely widened is spelled with 17 digits, of which 8 or 9 tell it: that is 108 MB of 5,000 vectors
    of 1,024 numbers instead of 65, and a call takes 100.
    """
    exact = matrix.astype(np.float64)
    best = exact
    with np.errstate(divide="ignore"):
        order = np.where(exact == 0, 0, np.floor(np.log10(np.abs(exact))))
    for digits in (9, 8):
        scale = _TENS[np.clip(digits - 1 - order, 0, len(_TENS) - 1).astype(np.int8)]
        short = np.round(exact * scale) / scale
        best = np.where(short.astype(np.float32) == matrix, short, best)
    return best


def lines(
    ids: Sequence[str], matrix: npt.NDArray[np.float32], metadata: Sequence[bytes | None], namespace: str | None
) -> Iterator[bytes]:
    """Yield one line a vector; `metadata` is JSON already."""
    end = b"}" if namespace is None else b',"namespace":' + pydantic_core.to_json(namespace) + b"}"
    for name, values, more in zip(ids, decimals(matrix).tolist(), metadata, strict=True):
        parts = [b'{"id":', pydantic_core.to_json(name), b',"values":', pydantic_core.to_json(values)]
        yield b"".join([*parts, *([b',"metadata":', more] if more is not None else ()), end])


def calls(made: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Gather lines into bodies of at most 5,000 and 100 MB, and yield how many are in each."""
    held: list[bytes] = []
    size = 0
    for line in made:
        if held and (len(held) == CALL_VECTORS or size + len(line) + 1 > CALL_BYTES):
            yield len(held), b"\n".join(held)
            held, size = [], 0
        held.append(line)
        size += len(line) + 1
    if held:
        yield len(held), b"\n".join(held)


def parts(places: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield rows a few at a time, so that no more is spelled than the call that goes out next needs."""
    for start in range(0, len(places), _PART):
        yield places[start : start + _PART]
