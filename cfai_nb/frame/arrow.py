"""A column of vectors that keeps where they come from, in pandas and in Arrow and parquet files.

Cells come in from ``rows.to_pandas``; ``df.to_parquet(...)`` and everything else that makes Arrow of a frame calls
``VectorArray.__arrow_array__``, and reading such a file calls ``VectorDtype.__from_arrow__``.

In the file a column is an Arrow extension type over ``list<float>`` with metadata that hold model, dimensions, form and
origin; without this package it is read as plain lists of float32.  pandas' own ``attrs`` cannot do this: they belong to
the frame, and ``df["vec"] = ...`` does not carry those of a column over.  ``as_pandas`` reads other tables of Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from numpy.lib.mixins import NDArrayOperatorsMixin
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take
from pandas.api.indexers import check_array_indexer

from ..vectors.vector import Space, same_space, views
from .reading import is_missing

#: The name of the extension type in files; it stays when modules are renamed.
TYPE_NAME = "cfai_nb.vector"
_MOST_OFFSETS = 2**31 - 1
_MOST_METADATA = 2_000  # bytes that are read; what is longer is not JSON then


class VectorDtype(ExtensionDtype):
    """The dtype of a column of vectors.

    Its text form is ``"object"``: pyarrow writes that into the file as the column's pandas type, and where this package
    is not imported pandas could not read any other.
    """

    name = "vector"
    type = np.object_  # as in any column of objects, a cell takes a whole array: df.iloc[0, 0] = vector
    kind = "O"
    na_value = None

    def __str__(self) -> str:
        return "object"

    def __repr__(self) -> str:
        return self.name

    @classmethod
    def construct_array_type(cls) -> Any:
        """Return the class of its arrays."""
        return VectorArray

    def __from_arrow__(self, array: Any) -> VectorArray:
        """Return the cells of an Arrow array: rows of one matrix, which know their space."""
        space = getattr(array.type, "space", None)
        chunks = array.chunks if hasattr(array, "chunks") else [array]
        return VectorArray(_objects(cell for chunk in chunks for cell in _cells_of(chunk.storage, space)))


class VectorArray(ExtensionArray, NDArrayOperatorsMixin):  # type: ignore[misc, unused-ignore]
    """Cells of a column of vectors, None where there is none; an array of objects in all but its Arrow form."""

    def __init__(self, cells: npt.NDArray[np.object_]) -> None:
        self._cells = cells

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> VectorArray:
        return cls(_objects(scalars))

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Any]) -> VectorArray:
        return cls(np.concatenate([each._cells for each in to_concat]))

    @property
    def dtype(self) -> VectorDtype:
        """Always ``vector``."""
        return VectorDtype()

    @property
    def nbytes(self) -> int:
        """Bytes of the column itself; the numbers lie in the matrix behind it."""
        return int(self._cells.nbytes)

    def __len__(self) -> int:
        return len(self._cells)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cells.tolist())

    def __getitem__(self, item: Any) -> Any:
        item = check_array_indexer(self, item)  # type: ignore[arg-type, unused-ignore]
        found = self._cells[item]
        return found if isinstance(item, (int, np.integer)) else type(self)(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        key = check_array_indexer(self, key)  # type: ignore[arg-type, unused-ignore]
        if isinstance(key, (int, np.integer)):
            self._cells[key] = None if is_missing(value) else value
        elif _single(value):
            for at in np.atleast_1d(np.arange(len(self))[key]):
                self._cells[at] = None if is_missing(value) else value
        else:
            self._cells[key] = _objects(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self._cells, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        given = [each._cells if isinstance(each, VectorArray) else each for each in inputs]
        return getattr(ufunc, method)(*given, **options)

    def __eq__(self, other: Any) -> Any:
        others = [other] * len(self) if _single(other) else list(other)
        pairs = zip(self, others, strict=True)
        return np.array(
            [not is_missing(a) and not is_missing(b) and np.array_equal(a, b) for a, b in pairs], dtype=bool
        )

    def __ne__(self, other: Any) -> Any:
        return ~(self == other)

    __hash__ = None  # type: ignore[assignment]

    def isna(self) -> npt.NDArray[np.bool_]:
        """Return which cells are missing."""
        return np.fromiter(map(is_missing, self._cells), dtype=bool, count=len(self))

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> VectorArray:
        """Return the cells at these places; -1 is missing with `allow_fill`."""
        fill = None if is_missing(fill_value) else fill_value
        taken: Any = take(self._cells, np.asarray(indices), allow_fill=allow_fill, fill_value=fill)
        return type(self)(taken)

    def copy(self) -> VectorArray:
        """Return a copy of the column; the matrix behind it is shared."""
        return type(self)(self._cells.copy())

    def _reduce(self, name: str, *, skipna: bool = True, keepdims: bool = False, **options: Any) -> Any:
        found = getattr(pd.Series(self._cells), name)(skipna=skipna, **options)
        return type(self)(_objects([found])) if keepdims else found

    def value_counts(self, dropna: bool = True) -> pd.Series[Any]:
        """Refuse as a column of arrays does: vectors cannot be hashed."""
        return pd.Series(self._cells).value_counts(dropna=dropna)

    def _groupby_op(self, *, how: str, ngroups: int, ids: npt.NDArray[np.intp], **options: Any) -> Any:
        """Return the first or last vector of each group, which pandas 2.2 cannot do by itself for arrays in cells."""
        if how not in ("first", "last"):
            raise NotImplementedError(f"{how} of vectors")
        made = np.full(ngroups, None, dtype=object)
        rows = np.flatnonzero(~self.isna() & (np.asarray(ids) >= 0))
        for at in rows if how == "last" else rows[::-1]:
            made[ids[at]] = self._cells[at]
        return type(self)(made)

    def _formatter(self, boxed: bool = False) -> Any:
        return _short

    def __arrow_array__(self, type: Any = None) -> Any:
        """Return the Arrow form, with where the vectors come from.

        Raises
        ------
        ValueError
            Vectors of several spaces: one column of a file can record one.
        """
        import pyarrow

        there = [cell for cell in self._cells if not is_missing(cell)]
        space = same_space(there)
        if space is not None and any(getattr(cell, "space", None) is None for cell in there):
            raise ValueError(f"some vectors are of {space}, and others do not record where they come from")
        if space is None or type is not None:  # nothing to record, or the caller says what it shall be
            return pyarrow.array(self._cells.tolist(), type=getattr(type, "storage_type", type))
        storage = _stored(self._cells)
        return pyarrow.ExtensionArray.from_storage(arrow_type(space, storage.type), storage)


def objects(cells: Sequence[Any]) -> npt.NDArray[np.object_]:
    """Return an array with a cell an object: of vectors of equal length numpy would make a matrix."""
    made = np.empty(len(cells), dtype=object)
    for at, cell in enumerate(cells):
        made[at] = cell
    return made


def _objects(cells: Iterable[Any]) -> npt.NDArray[np.object_]:
    """Return the cells of a column of vectors; all that is missing is None."""
    return objects([None if is_missing(cell) else cell for cell in cells])


def _single(value: Any) -> bool:
    """Whether a value is one cell, rather than one for each."""
    if isinstance(value, (VectorArray, pd.Series, pd.Index)):
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype != object
    return not isinstance(value, (list, tuple)) or all(isinstance(each, (int, float)) for each in value)


def _short(cell: Any) -> str:
    if not isinstance(cell, np.ndarray) or cell.ndim != 1:
        return str(cell)
    shown = [f"{number:.3g}" for number in (cell if len(cell) <= 4 else [*cell[:3], cell[-1]])]
    return f"[{', '.join(shown if len(cell) <= 4 else [*shown[:3], '…', shown[3]])}]"


# -- Arrow -----------------------------------------------------------------------------------------------------------


def _stored(cells: npt.NDArray[np.object_]) -> Any:
    """Return cells as an Arrow list array of float32."""
    import pyarrow

    sizes = np.array([0 if is_missing(cell) else len(cell) for cell in cells], dtype=np.int64)
    gone = np.fromiter(map(is_missing, cells), dtype=bool, count=len(cells))
    there = [np.asarray(cell, dtype=np.float32) for cell, missing in zip(cells, gone, strict=True) if not missing]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    wide = offsets[-1] > _MOST_OFFSETS
    made = pyarrow.LargeListArray if wide else pyarrow.ListArray
    # A missing offset is a missing list; the last one only says where the values end.
    starts = pyarrow.array(offsets, pyarrow.int64() if wide else pyarrow.int32(), mask=np.append(gone, False))
    flat = np.concatenate(there) if there else np.empty(0, dtype=np.float32)
    return made.from_arrays(starts, pyarrow.array(flat, pyarrow.float32()))


def _cells_of(storage: Any, space: Space | None) -> Iterator[Any]:
    """Yield the cells of an Arrow list array: views of its numbers where all have one length."""
    sizes = storage.value_lengths().to_numpy(zero_copy_only=False)
    gone = storage.is_null().to_numpy(zero_copy_only=False)
    known = np.unique(sizes[~gone])
    if len(known) != 1 or not known[0] or storage.flatten().null_count:
        yield from (None if cell is None else np.asarray(cell, dtype=np.float32) for cell in storage.to_pylist())
        return
    width = int(known[0])
    matrix = storage.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(-1, width)
    where = np.cumsum(~gone) - 1
    where[gone] = -1
    yield from views(matrix, where, space if space is None or space.dims == width else None)


def arrow_type(space: Space | None, storage: Any = None) -> Any:
    """Return the extension type of vectors of a space."""
    import pyarrow

    return _type_class()(space, pyarrow.list_(pyarrow.float32()) if storage is None else storage)


_types: list[Any] = []


def _type_class() -> Any:
    """Return the class of the extension type; made once, since pyarrow may not be installed."""
    if _types:
        return _types[0]
    import pyarrow

    class VectorType(pyarrow.ExtensionType):  # type: ignore[misc, unused-ignore]
        """``list<float>`` with where the vectors come from."""

        def __init__(self, space: Space | None, storage: Any) -> None:
            self.space = space
            super().__init__(storage, TYPE_NAME)

        def __arrow_ext_serialize__(self) -> bytes:
            one = self.space
            known = (
                {} if one is None else {"model": one.model, "dims": one.dims, "form": one.form, "origin": one.origin}
            )
            return json.dumps(known).encode()

        @classmethod
        def __arrow_ext_deserialize__(cls, storage: Any, written: bytes) -> Any:
            return cls(_space_of(written), storage)

        def __hash__(self) -> int:  # of a schema that holds it; equality is Arrow's
            return hash((str(self.storage_type), self.space))

        def to_pandas_dtype(self) -> VectorDtype:
            """Return what pandas reads it as."""
            return VectorDtype()

    _types.append(VectorType)
    return VectorType


def _space_of(written: bytes) -> Space | None:
    """Read a space out of a file; None where it is not one, since a file may come from anybody."""
    try:
        known = json.loads(written[:_MOST_METADATA])
    except (ValueError, RecursionError):
        return None
    kinds = {"model": str, "dims": int, "form": str, "origin": str}
    if not isinstance(known, dict) or not all(isinstance(known.get(name), kind) for name, kind in kinds.items()):
        return None
    if not all(known[name].isprintable() for name in ("model", "form", "origin")):  # names are shown in messages
        return None
    return Space(**{name: known[name] for name in kinds})


def as_pandas(table: Any) -> pd.DataFrame:
    """Return a table as pandas, where whole numbers and booleans stay what they are beside missing cells."""
    import pyarrow as pa

    kinds = {
        pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(), pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype(),
    }  # fmt: skip
    made: pd.DataFrame = table.replace_schema_metadata(None).to_pandas(types_mapper=kinds.get)
    return made


def register() -> None:
    """Let pyarrow know the type, if it is installed (pandas has imported it then); again is without effect."""
    try:
        import pyarrow
    except ImportError:
        return
    try:
        pyarrow.register_extension_type(arrow_type(None))
    except pyarrow.ArrowKeyError:  # registered already
        return
