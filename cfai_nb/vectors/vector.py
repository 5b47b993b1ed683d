"""Vectors in the cells of a frame: each is a row of one matrix, and records the space it comes from."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import markup


@dataclass(frozen=True, slots=True)
class Space:
    """Where vectors come from; only vectors of one space can be compared.

    Attributes
    ----------
    model : str
    dims : int
    form : str
        What else sets the vectors apart: pooling, or ``"query"`` against ``"document"`` (which do meet, see ``meets``).
    origin : str
        Who computed them.
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
    """A read-only row of an embedding matrix: a numpy array that knows its ``space``.

    ``row`` says which row of its ``base`` it is: a million addresses take a second to ask for, a million of these
    numbers 0.05; -1 for what was made of a vector since, a slice or a sum.
    """

    __slots__ = ("row", "space")
    space: Space | None
    row: int

    def __array_finalize__(self, source: object) -> None:
        self.space = getattr(source, "space", None)
        self.row = -1

    def __reduce__(self) -> Any:
        # Pickled as what it is everywhere else: a plain array, and the space beside it.
        return _vector, (np.asarray(self), self.space)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        if self.ndim != 1:  # a part of the matrix, or a number
            return {"text/plain": repr(self)}
        with np.printoptions(threshold=8, edgeitems=3, precision=4):
            numbers = repr(self)
        space = f"  # {self.space}" if self.space is not None else ""
        words = described(self)
        page = markup.figure(markup.sparkline(self.tolist(), words), markup.escape(words))
        return {"text/html": page, "text/plain": numbers + space}


def described(vector: npt.NDArray[Any]) -> str:
    """Say in words what a vector is: how many numbers, from where to where, and of which space."""
    numbers = np.asarray(vector)
    size = f"vector of {len(numbers):,}"
    reach = f", {numbers.min():.3g} to {numbers.max():.3g}" if len(numbers) else ""
    space = getattr(vector, "space", None)
    return f"{size}{reach}" + (f" · {space}" if space is not None else "")


def _vector(values: npt.NDArray[np.float32], space: Space | None) -> Vector:
    vector = np.asarray(values).view(Vector)
    vector.space = space
    return vector


def emulated(*given: Any) -> bool:
    """Whether any of these says that the emulator made it: a result of a verb, a vector, or a column with vectors."""
    for each in given:
        if getattr(each, "attrs", {}).get("cfai", {}).get("origin") == "emulator":
            return True
        cells = [each] if isinstance(each, np.ndarray) or not isinstance(each, Collection) else each
        vector = next((cell for cell in cells if isinstance(cell, Vector)), None)
        if vector is not None and vector.space is not None and vector.space.origin == "emulator":
            return True
    return False


def views(numbers: npt.NDArray[np.float32], where: npt.NDArray[np.int64], space: Space | None) -> list[Any]:
    """Return rows of a matrix as vectors of a space: read-only views; None where the row is -1."""
    rows: list[Any] = [None] * len(where)
    matrix = numbers.view(Vector)
    matrix.space = space
    matrix.flags.writeable = False
    for row, index in enumerate(where.tolist()):
        if index >= 0:
            rows[row] = vector = matrix[index]
            vector.row = index
    return rows


def matrix(vectors: Iterable[Any]) -> npt.NDArray[np.float32]:
    """Stack a column of vectors into a matrix.

    Parameters
    ----------
    vectors : Series or iterable of vectors
        All of one space and without missing cells (drop them first).

    Returns
    -------
    ndarray of float32, shape (rows, dims)
        A view, without copying, when the vectors are consecutive rows of one matrix (an embedded column without
        duplicates, in its order); a new array otherwise.

    Raises
    ------
    ValueError
        Cells are missing, are no vectors, or come from different spaces.
    """
    column = list(vectors)
    if not column:
        return np.empty((0, 0), dtype=np.float32)
    bad = next((at for at, cell in enumerate(column) if not isinstance(cell, np.ndarray) or cell.ndim != 1), None)
    if bad is not None:
        arrays = [np.asarray(cell, dtype=np.float32) if isinstance(cell, (list, tuple)) else cell for cell in column]
        bad = next((at for at, cell in enumerate(arrays) if not isinstance(cell, np.ndarray) or cell.ndim != 1), None)
        if bad is not None:
            raise ValueError(f"row {bad} holds no vector but {type(column[bad]).__name__}; drop missing rows first")
        column = arrays
    same_space(column)
    block = _one_block(column)
    return np.stack(column).astype(np.float32, copy=False) if block is None else block


def space_of(vector: Any) -> Space | None:
    """Return where a vector comes from; None where it does not record that."""
    space: Space | None = getattr(vector, "space", None)
    return space


def same_space(vectors: Iterable[Any]) -> Space | None:
    """Return the space all vectors share (None: unknown), or raise ValueError naming the two that differ."""
    # By identity first: a column has one space object for all its rows, and hashing it a million times takes a second.
    found = {id(space): space for v in vectors if (space := getattr(v, "space", None)) is not None}
    spaces = set(found.values())
    if len(spaces) > 1:
        one, other, *_ = sorted(map(str, spaces))
        raise ValueError(f"vectors of different spaces cannot be compared: {one} and {other}; embed both the same way")
    return next(iter(spaces), None)


def located(column: Sequence[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None:
    """Return the one matrix all these arrays are whole rows of, and which rows; None if there is no such matrix."""
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
    places = np.fromiter((cell.__array_interface__["data"][0] for cell in column), dtype=np.int64, count=len(column))
    rows, rest = np.divmod(places - start, base.strides[0] or 1)
    return None if rest.any() else (base, rows)


def _one_block(column: list[Any]) -> npt.NDArray[np.float32] | None:
    """Return the stretch of the matrix these rows are, if they are consecutive rows of one."""
    found = located(column)
    if found is None or (np.diff(found[1]) != 1).any():
        return None
    base, rows = found
    return np.asarray(base)[rows[0] : rows[0] + len(rows)]
