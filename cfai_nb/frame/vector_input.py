"""The vectors of a verb: from a column of them, a column of text that is embedded first, or a query.

The verbs on vectors ``yield from`` an ``Embedding``, which yields the calls that are needed and refuses what cannot be
compared before anything is sent.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from .. import session
from .._engine.run_options import RunOptions
from ..errors import ColumnError
from ..models import Model
from ..tasks import Embed
from ..tasks.embed import QUERIES
from ..vectors import VectorColumn
from ..vectors.vector import Space, same_space
from . import rows
from .arrow import VectorDtype
from .call import Call
from .reading import is_missing

if TYPE_CHECKING:
    from .steps import Step

#: Yields the calls that are needed, and returns the vectors.
Vectors: TypeAlias = "Generator[Step, Any, VectorColumn]"
#: Run options that ask for something to be done; the others are limits, which hold where nothing is sent.
_ASKING = ("model", "gateway", "queue", "fetch")
#: Queries up to this number show no progress of their own.
_FEW = 100
_UNKNOWN = (
    "{what} not record which model made them, and where: they are plain numbers, or come from a file other than "
    "parquet or Arrow. Vectors of two models, or of a model and the emulator, do not compare. If you know where they "
    "come from, say it once: df['vec'] = df.cfai.as_vectors('vec', model='bge-m3', origin='cloudflare'); otherwise "
    "embed the texts again"
)


@dataclass(frozen=True)
class Query:
    """What is searched for: one vector a query, and the name of each in a result; a single query has no name."""

    matrix: npt.NDArray[np.float32]
    names: list[Any] | None
    space: Space | None = None

    def __len__(self) -> int:
        return len(self.matrix)


def progress_wanted(given: Mapping[str, Any]) -> bool | None:
    """Return ``progress=`` of a call that may send nothing: as given, or as the current session was."""
    from ..session.session import default_of

    wanted: bool | None = given.get("progress")
    return wanted if wanted is not None else default_of("progress")


class Embedding:
    """Vectors for one call of a verb, embedded with its model and run options where they are not there yet.

    `given` is ``model`` and run options, as given by the user; they are merged with those of the session once, so that
    one budget holds for all that is embedded.  ``yield from`` its methods: each yields the calls it needs.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.model = given.get("model")

    @functools.cached_property
    def progress(self) -> bool | None:
        """Whether local work is shown: as given, or as the session was."""
        return progress_wanted(self.given)

    @functools.cached_property
    def options(self) -> RunOptions:
        """The run options, merged with those of the session."""
        return session.current().options({name: value for name, value in self.given.items() if name != "model"})

    def column(
        self, data: rows.Frame, on: Any, like: Space | None = None, *, asks: bool = False, part: str = "column"
    ) -> Vectors:
        """Return the vectors of a column; without `on` of the Series itself, or of a frame's only column of vectors.

        A column of vectors is taken as it is.  A column of text, or a template, is embedded through the engine, for the
        space `like` or that of the default model.  `asks` says that something else is embedded in the same call, such
        as a query, so that the options have an effect; `part` is what a plan of several calls names this one.

        Raises
        ------
        ColumnError
            There is no such column, or none or several hold vectors and `on` does not say which.
        TypeError
            The column holds vectors, nothing else is embedded, and the options ask for a model or the like.
        ValueError
            Cells are not vectors, or vectors of different spaces or lengths.
        """
        if on is None and isinstance(data, pd.DataFrame):
            found = [name for name in data.columns if isinstance(data[name], pd.Series) and holds_vectors(data[name])]
            if len(found) != 1:
                what = "No column holds vectors" if not found else f"Several columns hold vectors: {found}"
                raise ColumnError(f"{what}; say which to use: on='...'. A column of text is embedded first.")
            on = found[0]
        column = rows.column_of(data, on)
        if column is None or is_text(data, on):
            return VectorColumn((yield self._call(data, on, like, part)))
        vectors = VectorColumn(recorded(column))
        if not asks and len(vectors):  # without a single one it may as well be a column of texts
            refuse_needless(self.given, as_they_are(column.name))
        if self.model is not None and vectors.space is not None:
            _same_model(vectors.space, self.model)
        return vectors

    def query(self, query: Any, space: Space | None, *, among: int | None = None) -> Generator[Step, Any, Query]:
        """Return what to search for; texts are embedded with the model of `space`, as queries where it knows them.

        `among` is the number of vectors that the query is compared with.  If it is 0, no text is embedded.

        Raises
        ------
        ValueError
            It is not a query, is of another space, or is a text and nothing says which model made the vectors.
        """
        if isinstance(query, str):
            return Query((yield from self._texts([query], space, among)), None)
        if isinstance(query, np.ndarray) and query.ndim == 2:
            cells: list[Any] = list(query)
        elif isinstance(query, np.ndarray) or (_listed(query) and all(map(_number, query))):
            same_space([query, _Of(space)])
            return Query(VectorColumn([query]).to_matrix(), None)
        elif isinstance(query, pd.Series) or _listed(query):
            cells = list(query)
        else:
            raise ValueError(f"a query is a text, a vector, or a list of them, not {type(query).__name__}")
        if cells and all(isinstance(cell, str) for cell in cells):
            return Query((yield from self._texts(cells, space, among)), cells)
        found = VectorColumn(cells)
        if not found.present.all():
            raise ValueError(f"query {np.flatnonzero(~found.present)[0]} is missing")
        same_space([found, _Of(space)])
        return Query(found.to_matrix(), list(range(len(cells))), found.space)

    def counterpart(self, other: pd.Series[Any], data: rows.Frame, space: Space | None) -> Vectors:
        """Return the vectors of another column, row by row."""
        other = rows.laid_on(data, other, "other")
        if not is_text(other, None):
            return (yield from self.column(other, None, asks=True))
        return VectorColumn((yield self._call(other, None, space, "other column", query=True)))

    def two(self, one: rows.Frame, on: Any, other: rows.Frame, other_on: Any) -> Generator[Step, Any, Any]:
        """Return the vectors of two frames; those that are there are read first, and texts embedded for their space."""
        texts = is_text(one, on), is_text(other, other_on)
        if texts == (True, False):
            right = yield from self.column(other, other_on, asks=True, part="right")
            refuse_unrecorded(right)  # before texts are embedded for it
            left = yield from self.column(one, on, right.space, part="left")
        else:
            left = yield from self.column(one, on, asks=texts[1], part="left")
            refuse_unrecorded(left)
            right = yield from self.column(other, other_on, left.space, part="right")
        refuse_unrecorded(left, right)
        return left, right

    def _texts(
        self, texts: list[str], space: Space | None, among: int | None
    ) -> Generator[Step, Any, npt.NDArray[np.float32]]:
        blank = next((at for at, text in enumerate(texts) if not text.strip()), None)
        if blank is not None:
            raise ValueError(f"query {blank} is an empty text")
        if among == 0:
            return np.zeros((len(texts), 0), dtype=np.float32)
        if space is None:
            raise ValueError(_UNKNOWN.format(what="these vectors do") + ", or search with a vector.")
        call = self._call(pd.Series(texts, dtype=object), None, space, "query", query=True)
        quiet = self.progress is None and len(texts) <= _FEW
        call.options = dataclasses.replace(
            call.options, on_error="raise", progress=False if quiet else call.options.progress
        )
        return VectorColumn((yield call)).to_matrix()

    def _call(self, data: rows.Frame, on: Any, space: Space | None, part: str, *, query: bool = False) -> Call:
        """Return the call that embeds texts; for a space if one is given, and only where its origin answers."""
        model, here = self.model, session.current()
        if space is not None:
            if model is not None:
                _same_model(space, model)
            model = space.model
            if here.origin != space.origin:
                raise ValueError(
                    f"the vectors are of {space}, and this session asks {here.origin}: vectors of different spaces "
                    "cannot be compared; connect to the same, or embed the column again"
                )
        pooling: Any = (space.form if space is not None else "") or None
        if query and model is not None:  # asked of the session: a server's models are in no catalogue
            model = here.model_for(Embed(), model, self.given.get("gateway"))
        role: Any = "query" if query and isinstance(model, Model) and model.family in QUERIES else None
        return Call(Embed(pooling=pooling, role=role), model, data, on, self.options, part)


def recorded(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of vectors with what its Arrow type records (``dtype_backend="pyarrow"``)."""
    kind = column.dtype.pyarrow_dtype if isinstance(column.dtype, pd.ArrowDtype) else None
    if getattr(kind, "space", None) is None:
        return column
    cells = VectorDtype().__from_arrow__(column.array.__arrow_array__())  # type: ignore[attr-defined, unused-ignore]
    return pd.Series(cells, index=column.index, name=column.name)


def holds_vectors(column: pd.Series[Any]) -> bool:
    """Whether the first cell that is there is an array or a list."""
    if column.dtype != object and not isinstance(column.dtype, (pd.ArrowDtype, VectorDtype)):
        return False
    for cell in recorded(column):
        if isinstance(cell, (np.ndarray, list, tuple)):
            return True
        if not is_missing(cell):
            return False
    return False


def only_vectors(data: rows.Frame) -> pd.Series[Any] | None:
    """Return the Series, or the only column of a frame, that holds vectors; None where there is none, or several."""
    columns = [data] if isinstance(data, pd.Series) else [data.iloc[:, at] for at in range(data.shape[1])]
    found = [column for column in columns if holds_vectors(column)]
    return found[0] if len(found) == 1 else None


def refuse_needless(options: Mapping[str, Any], why: str) -> None:
    """Refuse run options that ask for something where nothing is sent, and say why that is so.

    Raises
    ------
    TypeError
        An option would have no effect and seems to have one, such as ``model=``.
    """
    idle = [each for each in _ASKING if options.get(each)] + ["cache"] * (options.get("cache") == "refresh")
    if idle:
        named = " and ".join(f"{each}=" for each in idle)
        raise TypeError(f"{why}, so {named} would have no effect. Leave it out.")


def as_they_are(name: Any) -> str:
    """Say why nothing is sent for a column of vectors."""
    return (
        f"column {name!r} holds vectors, which are used as they are (as_vectors() records which model made them): "
        "nothing is embedded"
    )


def refuse_unrecorded(*columns: VectorColumn | Query) -> None:
    """Refuse to compare columns of which one does not record where its vectors come from.

    Raises
    ------
    ValueError
        Two different spaces, or one that is unknown.
    """
    same_space(columns)
    if any(len(column) and column.space is None for column in columns):
        raise ValueError(_UNKNOWN.format(what="one of the columns holds vectors that do"))


def sends_text(query: Any) -> bool:
    """Whether a query is, or holds, a text that will be embedded."""
    return isinstance(query, str) or (
        isinstance(query, (list, tuple, pd.Series)) and any(isinstance(each, str) for each in query)
    )


def is_text(data: rows.Frame, on: Any) -> bool:
    """Whether `on` names something that has to be embedded."""
    if on is None and isinstance(data, pd.DataFrame):
        return False
    column = rows.column_of(data, on)
    unknown = column is not None and (column.dtype == object or isinstance(column.dtype, VectorDtype))
    return column is None or not (holds_vectors(column) or (unknown and bool(column.isna().all())))


@dataclass(frozen=True)
class _Of:
    """A space in the form that ``same_space`` takes."""

    space: Space | None


def _listed(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _same_model(space: Space, model: Any) -> None:
    name = (model.id if isinstance(model, Model) else str(model)).casefold()
    if name not in (space.model.casefold(), space.model.casefold().rpartition("/")[2]):
        raise ValueError(f"model={model!r}: the vectors are of {space}; leave model= out, or embed them again")
