"""Vectors in the cells of a frame: each is a row of one matrix, and records the space it comes from.

``views`` makes them of the matrix of a run, for the engine's results; ``VectorColumn`` reads a column of them.  No
pandas here: the engine imports this module.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..html import markup


@dataclass(frozen=True, slots=True)
class Space:
    """Where vectors come from; only vectors of one space can be compared.

    Attributes
    ----------
    model : str
    dims : int
    form : str
        The pooling, if it was chosen; vectors of different pooling do not compare.
    origin : str
        What computed them.
    """

    model: str
    dims: int
    form: str = ""
    origin: str = "cloudflare"

    def __str__(self) -> str:
        form = f", {self.form}" if self.form else ""
        origin = "" if self.origin == "cloudflare" else f", {self.origin}"
        return f"{self.model} ({self.dims}{form}{origin})"


class Vector(np.ndarray[Any, np.dtype[np.float32]]):
    """A read-only row of an embedding matrix: a numpy array that records its ``space``.

    ``row`` is its row number in ``base``, -1 for anything computed from a vector (a slice, a sum).  Reading a million
    row numbers takes 0.05 s; finding the rows by memory address takes a second.
    """

    __slots__ = ("row", "space")
    space: Space | None
    row: int

    def __array_finalize__(self, source: object) -> None:
        self.space = getattr(source, "space", None)
        self.row = -1

    def __reduce__(self) -> Any:
        # As a plain array and its space.
        return _vector, (np.asarray(self), self.space)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.ndim != 1:  # a part of the matrix, or a number
            return {"text/plain": repr(self)}
        with np.printoptions(threshold=8, edgeitems=3, precision=4):
            numbers = repr(self)
        space = f"  # {self.space}" if self.space is not None else ""
        words = describe(self)
        page = markup.figure(markup.sparkline(self.tolist(), words), markup.escape(words))
        return {"text/html": page, "text/plain": numbers + space}


def describe(vector: npt.NDArray[Any]) -> str:
    """Return a vector's length, range and space in words."""
    numbers = np.asarray(vector)
    size = f"vector of {len(numbers):,}"
    limits = f", {numbers.min():.3g} to {numbers.max():.3g}" if len(numbers) else ""
    space = getattr(vector, "space", None)
    return f"{size}{limits}" + (f" · {space}" if space is not None else "")


def _vector(values: npt.NDArray[np.float32], space: Space | None) -> Vector:
    vector = np.asarray(values).view(Vector)
    vector.space = space
    return vector


def stand_in(origin: object) -> str:
    """Return the stamp for answers of an origin: the name of the emulator or its local stand-in, else empty."""
    return origin if isinstance(origin, str) and (origin == "emulator" or origin.startswith("local stand-in: ")) else ""


def stand_in_of(*given: Any) -> str:
    """Return the stamp if the emulator made any of these: a result of a verb, a vector, a column of vectors."""
    for each in given:
        if found := stand_in(getattr(each, "attrs", {}).get("cfai", {}).get("origin")):
            return found
        cells = [each] if isinstance(each, np.ndarray) or not isinstance(each, Collection) else each
        vector = next((cell for cell in cells if isinstance(cell, Vector)), None)
        if vector is not None and vector.space is not None and (found := stand_in(vector.space.origin)):
            return found
    return ""


def views(numbers: npt.NDArray[np.float32], where: npt.NDArray[np.int64], space: Space | None) -> list[Any]:
    """Return rows of a matrix as vectors: read-only views that record the space; None where the row is -1."""
    rows: list[Any] = [None] * len(where)
    matrix = numbers.view(Vector)
    matrix.space = space
    matrix.flags.writeable = False
    for row, index in enumerate(where.tolist()):
        if index >= 0:
            rows[row] = vector = matrix[index]
            vector.row = index
    return rows


def same_space(vectors: Iterable[Any]) -> Space | None:
    """Return the space all vectors share (None: unknown); vectors of different spaces are refused."""
    # By identity first: a column has one space object for all rows, and hashing it a million times takes a second.
    found = {id(space): space for v in vectors if (space := getattr(v, "space", None)) is not None}
    spaces = set(found.values())
    if len(spaces) > 1:
        one, other, *_ = sorted(map(str, spaces))
        raise ValueError(f"vectors of different spaces cannot be compared: {one} and {other}. Embed both the same way.")
    return next(iter(spaces), None)


def base_and_rows(column: Sequence[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None:
    """Return the matrix that all these arrays are rows of, and the row numbers; None if there is no such matrix."""
    first = column[0]
    base = first.base
    if not isinstance(base, np.ndarray) or base.ndim != 2 or base.dtype != np.float32 or not base.flags.c_contiguous:
        return None
    if any(map(operator.is_not, map(operator.attrgetter("base"), column), itertools.repeat(base))):
        return None
    if isinstance(base, Vector):
        rows = np.fromiter(map(operator.attrgetter("row"), column), dtype=np.int64, count=len(column))
        return None if (rows < 0).any() else (base, rows)
    if any(cell.shape != base.shape[1:] or cell.strides != base.strides[1:] for cell in column):
        return None
    start = base.__array_interface__["data"][0]
    starts = np.fromiter((cell.__array_interface__["data"][0] for cell in column), dtype=np.int64, count=len(column))
    rows, rest = np.divmod(starts - start, base.strides[0] or 1)
    return None if rest.any() else (base, rows)
