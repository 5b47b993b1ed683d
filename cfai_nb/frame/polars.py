"""``.cfai`` on Polars frames and Series: one adapter over the accessor of pandas, with all its verbs.

``register`` is called when the package is imported, and does not import Polars: where it is there already its classes
get the namespace at once; otherwise a finder waits for its import, compares one name for each module that is imported
until then, and registers when Polars has been loaded.  So the order of the two imports does not matter.

A verb takes what the pandas verb takes.  The rows go in as pandas, over Arrow, and what comes of them goes back:
vectors as ``pl.Array`` over the one matrix they are rows of, categories as ``pl.Enum``, pictures and sound as
``pl.Binary``, and what is missing as null.  Verbs that choose rows choose them from the Polars frame itself.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..errors import hint
from ..vectors.vector import Space, base_and_rows, views
from .arrow import VectorArray, VectorDtype, as_pandas
from .reading import is_missing
from .steps import Forms, Steps

Method = TypeVar("Method", bound=Callable[..., Any])
#: Verbs that return rows of the frame, and the columns they add.
_CHOOSING = {"filter": (), "rank": ("score",), "search": ("score", "query"), "dedupe": ()}
#: Marks of the vectors that were handed out, by space: a column of Polars cannot record where its vectors come from.
_marks: dict[Space, npt.NDArray[np.uint64]] = {}


class PolarsAccessor:
    """Verbs of Workers AI on a Polars DataFrame or Series; see the accessor of pandas for what each does."""

    accessor: type

    def __init__(self, data: Any) -> None:
        self._data = data

    def __repr__(self) -> str:
        return repr(self.accessor(pd.DataFrame(index=range(len(self._data)))))

    def __dir__(self) -> list[str]:
        return [name for name in dir(self.accessor) if not name.startswith("_")]

    def __getattr__(self, name: str) -> PolarsVerb:
        if name.startswith("_") or name not in dir(self):
            raise AttributeError(f"cfai has no {name!r}.{'' if name.startswith('_') else hint(name, dir(self))}")
        return PolarsVerb(self, name)


class PolarsVerb(Forms):
    """A verb on a Polars frame: call it, await ``.aio``, or price it with ``.plan``."""

    def __init__(self, accessor: PolarsAccessor, name: str) -> None:
        self.__name__, self._accessor, self._data = name, accessor.accessor, accessor._data
        shown = getattr(self._accessor(pd.DataFrame()), name)
        self.__signature__: inspect.Signature = shown.__signature__
        self.__doc__, self._display = shown.__doc__, getattr(shown, "_display", None)

    def __repr__(self) -> str:
        return f"<df.cfai.{self.__name__}{self.__signature__}: call it, await .aio(...), or price it with .plan(...)>"

    def _steps(self, *args: Any, **options: Any) -> Steps[Any]:
        args, options = tuple(map(from_polars, args)), {name: from_polars(value) for name, value in options.items()}
        bound = getattr(self._accessor(to_pandas(self._data)), self.__name__)
        if not isinstance(bound, Forms):
            return lambda: bound(*args, **options)  # a widget opens
        finish = yield from bound._steps(*args, **options)
        return lambda: self._returned(finish(), options)

    def _returned(self, result: Any, options: Mapping[str, Any]) -> Any:
        """Return a result as Polars; what is neither a Series nor a DataFrame stays what it is."""
        import polars as pl

        if isinstance(result, pd.Series):
            return series_to_polars(result)
        if not isinstance(result, pd.DataFrame):
            return result
        columns = {str(name): result[name] for name in result.columns}
        chosen: Any = None
        if self.__name__ in _CHOOSING and isinstance(self._data, pl.DataFrame) and _positions(result.index):
            added = {*_CHOOSING[self.__name__], options.get("column")}
            chosen = self._data.select(name for name in self._data.columns if name in columns and name not in added)
            chosen = chosen[result.index.to_numpy(dtype=np.int64)]
        held = set() if chosen is None else set(chosen.columns)
        made = [chosen[name] if name in held else series_to_polars(one.rename(name)) for name, one in columns.items()]
        return pl.DataFrame(made)


def _positions(index: pd.Index[Any]) -> bool:
    return bool(pd.api.types.is_integer_dtype(index.dtype))


# -- Polars to pandas ------------------------------------------------------------------------------------------------


def from_polars(value: Any) -> Any:
    """Return a Polars frame or Series as pandas, and anything else as it is; Polars is not imported for it."""
    pl = sys.modules.get("polars")
    return to_pandas(value) if pl is not None and isinstance(value, (pl.DataFrame, pl.Series)) else value


def in_kind(method: Method) -> Method:
    """Let a method take a Polars frame as its first argument; it then returns a Polars Series."""

    @functools.wraps(method)
    def taking(self: Any, data: Any, *args: Any, **options: Any) -> Any:
        held = from_polars(data)
        made = method(self, held, *args, **options)
        return made if held is data else series_to_polars(made)

    return cast("Method", taking)


def to_pandas(data: Any) -> Any:
    """Return a Polars frame or Series as pandas; its rows are numbered, and missing cells stay missing."""
    import polars as pl

    if isinstance(data, pl.Series):
        return _series(data)
    columns = {name: _series(data[name]) for name in data.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(data.height), copy=False)


def _series(data: Any) -> pd.Series[Any]:
    import polars as pl
    import pyarrow as pa

    kind, name = data.dtype, data.name or None
    if isinstance(kind, pl.Array) and len(kind.shape) == 1 and kind.inner in (pl.Float32, pl.Float64):
        return pd.Series(VectorArray._from_sequence(_vectors(data)), name=name)
    if kind == pl.Object:
        return pd.Series(data.to_list(), dtype=object, name=name)
    array = data.to_arrow(compat_level=pl.CompatLevel.oldest())
    if pa.types.is_dictionary(array.type):
        array = array.cast(pa.dictionary(pa.int32(), array.type.value_type))
    return as_pandas(pa.table({"cells": array}))["cells"].rename(name)


def _vectors(data: Any) -> list[Any]:
    """Return the cells of a column of vectors: views of its numbers."""
    there = data.is_not_null().to_numpy()
    matrix = np.ascontiguousarray(data.drop_nulls().to_numpy(), dtype=np.float32)
    where = np.cumsum(there) - 1
    where[~there] = -1
    return views(matrix, where, _space_of(matrix))


# -- pandas to Polars ------------------------------------------------------------------------------------------------


def series_to_polars(cells: pd.Series[Any]) -> Any:
    """Return a pandas Series as Polars; missing cells are null, whatever they were."""
    import polars as pl
    import pyarrow as pa

    name = "" if cells.name is None else str(cells.name)
    if isinstance(cells.dtype, VectorDtype):
        return _array(cells, name)
    if isinstance(cells.dtype, pd.CategoricalDtype) and all(isinstance(one, str) for one in cells.cat.categories):
        codes = pl.Series(name, cells.cat.codes.to_numpy(dtype=np.int64))
        levels = pl.Series(name, list(cells.cat.categories), dtype=pl.Enum(list(cells.cat.categories)))
        return levels.gather(codes.replace(-1, None))
    if cells.dtype == object:
        held = [None if is_missing(cell) else cell for cell in cells.tolist()]
        if any(isinstance(cell, bytes) for cell in held):
            with contextlib.suppress(TypeError):
                return pl.Series(name, [None if cell is None else bytes(cell) for cell in held], dtype=pl.Binary)
        try:
            return pl.Series(name, pl.from_arrow(pa.array(held, from_pandas=True)))
        except (pa.ArrowException, OverflowError):
            return pl.Series(name, held, dtype=pl.Object)
    array = pa.array(cells, from_pandas=True)
    return pl.Series(name, pl.from_arrow(array))


def _array(cells: pd.Series[Any], name: str) -> Any:
    """Return vectors as ``pl.Array``: over their matrix itself where they are its rows in order, none missing."""
    import polars as pl
    import pyarrow as pa

    held: list[Any] = list(cells.array)
    present = ~cells.isna().to_numpy()
    there = [cell for cell in held if cell is not None]
    if not there:
        return pl.Series(name, [None] * len(held))
    found = base_and_rows(there)
    base, rows = found if found is not None else (np.array(there, dtype=np.float32), np.arange(len(there)))
    base = np.asarray(base)
    if present.all() and (np.diff(rows) == 1).all():
        matrix, mask = base[rows[0] : rows[0] + len(rows)], None
    else:
        where = np.zeros(len(held), dtype=np.int64)
        where[present] = rows
        matrix, mask = base[where], pa.array(~present)
    space = getattr(there[0], "space", None)
    if space is not None:
        new = _marked(base)
        _marks[space] = np.union1d(_marks[space], new) if space in _marks else np.unique(new)
    array = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1], mask=mask)
    return pl.Series(name, pl.from_arrow(array))


def _marked(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Return a number for each row that every bit of it goes into: 64 bits, so that no two are the same by chance."""
    bits = np.ascontiguousarray(matrix).view(np.uint32 if matrix.shape[1] % 2 else np.uint64)
    made: npt.NDArray[np.uint64] = bits.sum(axis=1, dtype=np.uint64)
    return made


def _space_of(matrix: npt.NDArray[np.float32]) -> Space | None:
    """Return the space of vectors that were handed out in this process, also after a filter or sort; else None."""
    known = [space for space in _marks if space.dims == matrix.shape[1]] if len(matrix) else []
    if not known:
        return None
    marks = np.unique(_marked(matrix))
    fits = [space for space in known if np.isin(marks, _marks[space], assume_unique=True).all()]
    return fits[0] if len(fits) == 1 else None


# -- when Polars is imported -----------------------------------------------------------------------------------------


class WhenImported(MetaPathFinder):
    """Calls a function with a module once that has been imported; finds nothing itself."""

    def __init__(self, wanted: str, then: Callable[[ModuleType], None]) -> None:
        self.wanted, self._then, self._asked = wanted, then, False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return what the other finders find, with a loader that calls the function at its end."""
        if name != self.wanted or self._asked:
            return None
        self._asked = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asked = False
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                self._then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def when_imported(wanted: str, name: str, then: Callable[[ModuleType], None]) -> None:
    """Call a function with a module: now if that has been imported and has this name, or once it has been imported."""
    there = sys.modules.get(wanted)
    if there is not None and hasattr(there, name):
        then(there)
        return
    others = [one for one in sys.meta_path if getattr(one, "wanted", None) != wanted]  # without an earlier one of ours
    sys.meta_path[:] = [WhenImported(wanted, then), *others]


def register(accessor: type) -> None:
    """Give the frames and Series of Polars their ``cfai``: now, or when Polars is imported."""
    namespace = type("PolarsAccessor", (PolarsAccessor,), {"accessor": accessor, "__doc__": PolarsAccessor.__doc__})

    def add(module: ModuleType) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # again, as after a reload
            module.api.register_dataframe_namespace("cfai")(namespace)
            module.api.register_series_namespace("cfai")(namespace)

    when_imported("polars", "api", add)
