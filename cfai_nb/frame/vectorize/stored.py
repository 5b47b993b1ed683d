"""Look in a store of the service: what is found there becomes rows again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ... import session
from ...errors import SetupError
from ...tasks import Embed
from ...vectors.vector import Space
from .. import rows
from ..call import warn
from ..steps import Steps, requested
from ..vector_input import Embedding, is_text, only_vectors, sends_text
from .metadata import NAME_BYTES, names_of, plain

if TYPE_CHECKING:
    from ...session import Session
    from .index import Match

STOPPED = "Stopped. Nothing was changed; the same search can be run again."


def found_in(
    data: rows.Frame, index: str, query: Any, top_k: int, on: Any, *, filter: Mapping[str, Any] | None,
    namespace: str | None, metadata: bool, id: Any, join: bool, embedding: Embedding,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Look in an index of the service; see ``search``."""
    from . import index as indexes

    here, model = service(), embedding.given.get("model")
    check(index, namespace)
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or not 1 <= top_k <= indexes.MAX_MATCHES:
        raise ValueError(
            f"top_k={top_k!r}: an index of the service gives 1 to {indexes.MAX_MATCHES} vectors for a query. filter= "
            "narrows it; search without index= goes through the frame's own vectors, however many."
        )
    wanted = as_filter(filter)
    engine, options = here.engine(cache=False), embedding.options

    async def look(job: Any) -> Any:
        there = indexes.Index(job, index)
        return await there.entry(), await there.properties() if wanted else {}

    entry, properties = yield from requested("search", engine, look, options, STOPPED)
    held = _space_in(indexes.space_of(entry, here.origin), data, on, index)
    unknown = [key for key in wanted or () if key not in properties]
    if unknown:
        raise ValueError(
            f"filter: the index {index!r} cannot be filtered by {', '.join(map(repr, unknown))} (it can by "
            f"{', '.join(properties) or 'nothing'}): to_vectorize(..., filterable={unknown!r}) makes it so."
        )
    if sends_text(query) and held is None:
        if model is None:
            raise ValueError(
                f"The index {index!r} does not record which model its vectors come from (those that "
                "to_vectorize(create=True) makes do): give model=, or on= a column of vectors of that model, or a "
                "vector as query."
            )
        chosen = here.model_for(Embed(), model, embedding.given.get("gateway"))
        held = Space(chosen.id, (entry.get("config") or {}).get("dimensions") or 0, "", here.origin)
    asked = yield from embedding.query(query, held)

    async def search(job: Any) -> Any:
        there = indexes.Index(job, index)
        return await there.query_all(asked.matrix, int(top_k), filter=wanted, namespace=namespace, metadata=metadata)

    found = yield from requested("search", engine, search, options, STOPPED)
    frame = rows.as_frame(data)
    what = f"The index {index!r}"
    return lambda: rows_found(frame if join else frame.iloc[:0, :0], asked.names, found, id if join else None, what)


# -- checks, and rows out of what was found ----------------------------------------------------------------------------


def service(product: str = "Vectorize") -> Session:
    """Return the session, if what it is connected to has this product."""
    here = session.current()
    if here.endpoint.is_server:
        raise SetupError(
            f"{here.origin} is a server of models and has no {product}: connect to an account, cf.connect()."
        )
    return here


def check(index: Any, namespace: Any) -> None:
    """Refuse names that no index or namespace can have."""
    if not isinstance(index, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", index):
        raise ValueError(
            f"index={index!r}: give the name of an index of Vectorize; letters, digits, hyphens and underscores."
        )
    if namespace is not None and not (isinstance(namespace, str) and 0 < len(namespace.encode()) <= NAME_BYTES):
        raise ValueError(f"namespace={namespace!r}: give a text of at most {NAME_BYTES} bytes.")


def as_filter(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a filter as it is sent: dates as the ISO texts they were written as."""

    def sent(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): sent(one) for key, one in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [sent(one) for one in value]
        try:
            return plain(value)
        except ValueError as error:
            raise ValueError(f"filter: {error}.") from None

    if given is not None and not isinstance(given, Mapping):
        raise ValueError(f"filter={given!r:.60}: give a dict, such as {{'year': {{'$gte': 2020}}}}.")
    return {str(key): sent(value) for key, value in given.items()} if given else None


def _space_in(held: Space | None, data: rows.Frame, on: Any, index: str) -> Space | None:
    """Return the space of the vectors in an index: as the index records it, or that of the frame's own vectors."""
    if on is not None and is_text(data, on):
        raise ValueError(f"on={on!r} holds no vectors: with index= it names vectors of the model the index is of.")
    column = only_vectors(data) if on is None else rows.column_of(data, on)
    own = next((cell.space for cell in (() if column is None else column) if getattr(cell, "space", None)), None)
    if on is not None and held is not None and own is not None and (held.model, held.form) != (own.model, own.form):
        raise ValueError(f"The index {index!r} holds vectors of {held}, and on={on!r} those of {own}: leave on= out.")
    return held or own


# -- what becomes of what was found ----------------------------------------------------------------------------------


def rows_found(
    frame: pd.DataFrame, queries: Sequence[Any] | None, found: Sequence[Sequence[Match]], id: Any, what: str, *,
    lower: bool = False,
) -> pd.DataFrame:  # fmt: skip
    """Return the rows of the frame that have these ids, with what the metadata holds beyond it.

    `queries` has the name of each query; a single one has none.  `what` was searched, for a warning; `lower` says
    whether it stores names of properties in lower case.
    """
    matches = [match for one in found for match in one]
    at = _places(frame, id, [match.id for match in matches])
    ours = at >= 0
    made = frame.take(at) if ours.all() else frame.set_axis(range(len(frame)), axis=0).reindex(at)
    labels = [frame.index[place] if place >= 0 else match.id for place, match in zip(at.tolist(), matches, strict=True)]
    made.index = (
        frame.index.take(at) if ours.all() and len(frame) else pd.Index(labels, dtype=None if labels else object)
    )
    names = {str(column).lower() if lower else str(column): column for column in frame.columns}
    _compare(frame, at, matches, names, what)
    for key in dict.fromkeys(key for match in matches for key in match.metadata):
        own = frame[names[key]] if key in names else None
        values = [match.metadata.get(key) for match in matches]
        made[names[key] if key in names else rows.label_in(made, key)] = _filled(own, at, values).set_axis(made.index)
    ids = [match.id for match in matches]
    label = rows.label_in(made, "id" if id is None else id)
    made[label] = _filled(None if id is None else frame[id], at, ids).set_axis(made.index)
    made[rows.label_in(made, "score")] = np.array([match.score for match in matches], dtype=float)
    if queries is not None:
        named = pd.Series(list(queries), dtype=object if not queries else None)
        made[rows.label_in(made, "query")] = named.repeat([len(one) for one in found]).to_numpy()
    return made


def _places(frame: pd.DataFrame, id: Any, wanted: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the row each id is of, -1 where it is of none."""
    places: dict[str, int] = {}
    asked = set(wanted)
    for place, name in enumerate(names_of(frame, id)):
        if name in asked and places.setdefault(name, place) != place:
            what = "labels of the index" if id is None else f"column {id!r}"
            raise ValueError(
                f"{what}: {name!r} is found and is the id of several rows (position {places[name]} and {place}). Give "
                "id= the column it was written with, or join=False."
            )
    return np.array([places.get(name, -1) for name in wanted], dtype=np.int64)


def _filled(own: pd.Series[Any] | None, at: npt.NDArray[np.int64], values: list[Any]) -> pd.Series[Any]:
    """Return the frame's own cells, and these values where it has no such row (or no such column)."""
    if own is None:
        return pd.Series(values, dtype=None if values else object)
    if (at >= 0).all():
        return own.take(at)
    dates = pd.api.types.is_datetime64_any_dtype(own)
    return pd.Series(
        [
            own.iloc[place] if place >= 0 else pd.Timestamp(value) if dates and isinstance(value, str) else value
            for place, value in zip(at.tolist(), values, strict=True)
        ]
    )


def _compare(
    frame: pd.DataFrame, at: npt.NDArray[np.int64], matches: Sequence[Match], names: Mapping[str, Any], what: str
) -> None:
    """Warn where the store says otherwise than the frame: it has changed since, or the ids are another frame's."""
    for key, column in names.items():
        cells = frame[column]
        for place, match in zip(at.tolist(), matches, strict=True):
            if place < 0 or key not in match.metadata:
                continue
            try:
                same = plain(cells.iloc[place]) == match.metadata[key]
            except ValueError:
                same = False
            if not same:
                warn(
                    f"{what} holds another {key!r} for the id {match.id!r} than row "
                    f"{frame.index[place]!r} of the frame, and its cells are shown: it was changed since it was "
                    "written, or this is not the frame that was written; join=False shows what is stored."
                )
                return
