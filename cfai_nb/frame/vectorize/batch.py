"""What is to be written: ids, vectors and metadata, what each is known by, and the lines it is sent as."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic_core

from ...vectors import VectorColumn
from ...vectors.vector import Space
from .ndjson import lines, parts

METRICS = ("cosine", "euclidean", "dot-product")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """What is to be written: one id, vector and metadata (JSON, or None) each.

    Attributes
    ----------
    create : str or None
        The metric of the index, to make it where it is not there.
    any_metric : bool
        Whether an index that is there may have another.
    properties : mapping of str to str
        What it shall be filterable by -> type.
    space : Space or None
        Whose vectors they are.
    wait : float or None
        Seconds to wait at most until what was written is visible; None: not at all.
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

    def keys(self, whose: Sequence[str]) -> list[bytes]:
        """Return what each vector is known by in an index, which `whose` names in full."""
        start = "\0".join(("vectorize", *whose, "")).encode()
        return [blake2b(start + name.encode(), digest_size=16).digest() for name in self.ids]

    def digests(self, properties: Sequence[str]) -> list[str]:
        """Return a digest of each vector as it is written into an index that can be filtered by `properties`."""
        start = pydantic_core.to_json([self.namespace, list(properties)])
        made = []
        for places in parts(np.arange(len(self.ids))):
            for at, vector in zip(places.tolist(), np.asarray(self.vectors[places], dtype="<f4"), strict=True):
                digest = blake2b(start, digest_size=16)
                digest.update(vector.tobytes())
                digest.update(self.metadata[at] or b"")
                made.append(digest.hexdigest())
        return made

    def as_lines(self, pending: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """Yield the lines of the vectors at these places."""
        for places in parts(pending):
            some = places.tolist()
            ids, more = [self.ids[at] for at in some], [self.metadata[at] for at in some]
            yield from lines(ids, self.vectors[places], more, self.namespace)

    def told(self, at: int) -> Any:
        """Return the metadata of one vector."""
        more = self.metadata[at]
        return {} if more is None else pydantic_core.from_json(more)
