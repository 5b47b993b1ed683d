"""What is uploaded to an index: ids, vectors and metadata, their keys in the store, and the NDJSON they are sent as.

`verb` makes an `Upload` of a frame, `upload` sends it. Vectors are turned into text a few at a time, so that memory
holds no more than the next request needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core

from ...vectors import VectorColumn
from ...vectors.vector import Space
from .metadata import CALL_BYTES, CALL_VECTORS

METRICS = ("cosine", "euclidean", "dot-product")
#: Powers of ten that float64 represents exactly.
_TENS = np.array([float(f"1e{power}") for power in range(23)])
#: Rows that are written as text at once.
_SLICE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Vectors to be uploaded, each with its id and its metadata (JSON, or None).

    Attributes
    ----------
    create : str or None
        The metric of the index, to create it if it does not exist.
    any_metric : bool
        Whether an existing index may have another metric.
    properties : mapping of str to str
        Properties the index must be filterable by, with their types.
    space : Space or None
        The model the vectors come from.
    wait : float or None
        Seconds to wait at most until the vectors are visible to queries; None does not wait.
    """

    ids: Sequence[str]
    vectors: VectorColumn
    metadata: Sequence[bytes | None]
    namespace: str | None
    create: str | None
    any_metric: bool
    properties: Mapping[str, str]
    space: Space | None
    wait: float | None

    def keys(self, index: Sequence[str]) -> list[bytes]:
        """Return the store key of each vector in an index (its origin, account, name and time of creation)."""
        start = "\0".join(("vectorize", *index, "")).encode()
        return [blake2b(start + name.encode(), digest_size=16).digest() for name in self.ids]

    def digests(self, properties: Sequence[str]) -> list[str]:
        """Return a digest of each vector as it is written to an index that can be filtered by `properties`."""
        start = pydantic_core.to_json([self.namespace, list(properties)])
        made = []
        for places in slices(np.arange(len(self.ids))):
            for at, vector in zip(places.tolist(), np.asarray(self.vectors[places], dtype="<f4"), strict=True):
                digest = blake2b(start, digest_size=16)
                digest.update(vector.tobytes())
                digest.update(self.metadata[at] or b"")
                made.append(digest.hexdigest())
        return made

    def to_ndjson(self, pending: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the lines of the vectors at these positions."""
        for places in slices(pending):
            some = places.tolist()
            ids, more = [self.ids[at] for at in some], [self.metadata[at] for at in some]
            yield from lines(ids, self.vectors[places], more, self.namespace)

    def metadata_at(self, at: int) -> Any:
        """Return the metadata of one vector."""
        more = self.metadata[at]
        return {} if more is None else pydantic_core.from_json(more)


def decimals(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return float64 numbers with the shortest decimals that are read back as the same float32.

    A float32 converted as it is has 17 decimal digits, although 8 or 9 identify it: 5,000 vectors of 1,024 numbers
    would be 108 MB instead of 65, and a request may have 100.
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
    """Yield one line of NDJSON a vector; `metadata` is JSON already."""
    end = b"}" if namespace is None else b',"namespace":' + pydantic_core.to_json(namespace) + b"}"
    for name, values, more in zip(ids, decimals(matrix).tolist(), metadata, strict=True):
        parts = [b'{"id":', pydantic_core.to_json(name), b',"values":', pydantic_core.to_json(values)]
        yield b"".join([*parts, *([b',"metadata":', more] if more is not None else ()), end])


def calls(made: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield request bodies of at most 5,000 lines and 100 MB, each with its number of lines."""
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


def slices(places: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield positions a few at a time."""
    for start in range(0, len(places), _SLICE):
        yield places[start : start + _SLICE]
