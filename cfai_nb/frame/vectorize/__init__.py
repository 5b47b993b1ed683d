"""One index of Vectorize, the vector database of the service, and the search in it.

``search(index=)`` comes to ``found_in``; it asks through ``Index``, the REST interface of an index, as ``to_vectorize``
does to write vectors.  What is found becomes rows again in ``rows_found``, also for AI Search (``frame.ai_search``).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ... import session
from ...errors import AccessError, Refused, SetupError
from ...session.requests import RequestJob
from ...tasks import Embed, Json, Request
from ...vectors.vector import Space
from .. import rows
from ..call import warn
from ..steps import Steps, requested
from ..upload import VECTORIZE, names_of, plain
from ..vector_input import Embedding, is_text, only_vectors, sends_text

if TYPE_CHECKING:
    from ...session import Session

T = TypeVar("T")
#: What Stop leaves behind, of a search.
STOPPED = "Stopped. Nothing was changed; the same search can be run again."
#: Vectors a query returns at most, and with their metadata (2026-03-16); vectors one request fetches by their ids.
_MAX_MATCHES, _MAX_WITH_METADATA, _MAX_FETCHED = 100, 50, 20
#: Vectors of an index (2026-08-04).
MAX_VECTORS = 20_000_000
#: Codes for "there is no such index" and "the name is taken".
CODES = 3000, 3002
_PERMISSION = "permission Vectorize: Edit (Read is enough to search)"
#: Powers of ten that float64 represents exactly.
_TENS = np.array([float(f"1e{power}") for power in range(23)])
#: The description of an index records which model its vectors come from, so that a later search needs no model=.
_DESCRIPTION = re.compile(r"Vectors of (\S+) \((\d+)(?:, (mean|cls))?\), by cfai_nb")


@dataclass(frozen=True, slots=True)
class Match:
    """One match: its id, its score in the metric of the index, and its metadata."""

    id: str
    score: float
    metadata: Mapping[str, Any]


class Index:
    """An index by its name, of letters, digits, hyphens and underscores; the job sends.

    Every method sends one request unless it says otherwise.
    """

    def __init__(self, job: RequestJob[Any], name: str) -> None:
        self.name = name
        self._job = job

    async def _ask(self, method: str, path: str, **content: Any) -> Json:
        return await self._send(method, f"/{self.name}{path}", **content)

    async def _send(self, method: str, path: str, **content: Any) -> Json:
        request = Request(path=f"/vectorize/v2/indexes{path}", **content)
        return await self._job.ask(request, f"Vectorize index {self.name!r}", method, permission=_PERMISSION)

    async def entry(self) -> dict[str, Any]:
        """Return ``name``, ``description``, ``config`` with ``dimensions`` and ``metric``, ``created_on``."""
        return dict(await self._ask("GET", ""))

    async def create(self, dimensions: int, metric: str, space: Space | None) -> dict[str, Any]:
        """Create the index, with the model of its vectors in its description."""
        body: dict[str, Any] = {"name": self.name, "config": {"dimensions": dimensions, "metric": metric}}
        if space is not None:
            form = f", {space.form}" if space.form else ""
            body["description"] = f"Vectors of {space.model} ({space.dims}{form}), by cfai_nb"
        return dict(await self._send("POST", "", json=body))

    async def info(self) -> dict[str, Any]:
        """Return ``vectorCount`` and ``processedUpToMutation``."""
        return dict(await self._ask("GET", "/info"))

    async def properties(self) -> dict[str, str]:
        """Return the properties it can be filtered by, with their types."""
        listed = await self._ask("GET", "/metadata_index/list")
        return {str(one["propertyName"]): str(one["indexType"]).lower() for one in listed.get("metadataIndexes") or ()}

    async def index_property(self, name: str, kind: str) -> None:
        """Make it filterable by a property; this only affects vectors written afterwards."""
        await self._ask("POST", "/metadata_index/create", json={"propertyName": name, "indexType": kind})

    async def upsert(self, lines: bytes, count: int) -> str:
        """Write so many vectors, and return the id of the mutation; a second request where they are refused."""
        try:
            done = await self._ask("POST", "/upsert", content=lines, content_type="application/x-ndjson")
            return str(done["mutationId"])
        except Refused as error:
            refused = error
        held = int((await self.info())["vectorCount"])
        if held + count <= MAX_VECTORS:
            raise refused
        raise Refused(
            f"{refused}; the index holds {held:,} of at most {MAX_VECTORS:,} vectors. What it acknowledged is there: "
            "write the other rows to another index",
            refused.code, status=refused.status, model=self.name,
        )  # fmt: skip

    async def fetch(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the visible vectors among these ids, by id; one request for 20."""
        found: dict[str, Any] = {}
        for start in range(0, len(ids), _MAX_FETCHED):
            part = await self._ask("POST", "/get_by_ids", json={"ids": list(ids[start : start + _MAX_FETCHED])})
            found |= {str(one["id"]): one for one in part or ()}
        return found

    async def query_all(
        self, queries: npt.NDArray[np.float32], k: int, *, filter: Mapping[str, Any] | None, namespace: str | None,
        metadata: bool,
    ) -> list[list[Match]]:  # fmt: skip
        """Return the matches of each query, best first; one request a query.

        With more than 50 matches the service returns no metadata: it is then fetched by the ids of the matches.
        """
        described = metadata and k <= _MAX_WITH_METADATA
        given = {"topK": k, "filter": filter, "namespace": namespace, "returnMetadata": "all" if described else "none"}
        asked = {name: value for name, value in given.items() if value is not None}
        answers: list[list[Match]] = [[] for _ in queries]

        async def one(query: tuple[int, list[float]]) -> None:
            at, vector = query
            found = (await self._ask("POST", "/query", json={"vector": vector, **asked}))["matches"]
            answers[at] = [Match(str(m["id"]), float(m["score"]), m.get("metadata") or {}) for m in found]

        await self._job.each(one, enumerate(decimals(queries).tolist()))
        if not metadata or described:
            return answers
        # The ids of all queries together: a vector that several queries found is fetched once.
        known = await self.fetch(list(dict.fromkeys(match.id for found in answers for match in found)))
        return [
            [Match(m.id, m.score, (known.get(m.id) or {}).get("metadata") or {}) for m in found] for found in answers
        ]


async def there_or_made(
    entry: Callable[[], Awaitable[T]], make: Callable[[], Awaitable[T]] | None, codes: tuple[int, int]
) -> T:
    """Return the description of an index or instance; where it is missing, `make` it, if that is given.

    `codes` are those for "there is none of this name" and "the name is taken".
    """
    missing, taken = codes
    try:
        return await entry()
    except AccessError as error:
        if error.code != missing or make is None:
            raise
    try:
        return await make()
    except Refused as error:
        if error.code != taken:  # somebody else was first, or the answer to our own request was lost
            raise
    return await entry()


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


def space_of(entry: Mapping[str, Any], origin: str) -> Space | None:
    """Return the space of the vectors in an index, if its description records it."""
    found = _DESCRIPTION.fullmatch(str(entry.get("description") or ""))
    return None if found is None else Space(found[1], int(found[2]), found[3] or "", origin)


# -- the search in it ------------------------------------------------------------------------------------------------


def found_in(
    data: rows.Frame, index: str, query: Any, top_k: int, on: Any, *, filter: Mapping[str, Any] | None,
    namespace: str | None, metadata: bool, id: Any, join: bool, embedding: Embedding,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Look in an index of the service; see ``search``."""
    here, model = service(), embedding.given.get("model")
    check(index, namespace)
    if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or not 1 <= top_k <= _MAX_MATCHES:
        raise ValueError(
            f"top_k={top_k!r}: an index of the service gives 1 to {_MAX_MATCHES} vectors for a query. filter= "
            "narrows it; search without index= goes through the frame's own vectors, however many."
        )
    wanted = as_filter(filter)
    engine, options = here.engine(cache=False), embedding.options

    async def look(job: Any) -> Any:
        there = Index(job, index)
        return await there.entry(), await there.properties() if wanted else {}

    entry, properties = yield from requested("search", engine, look, options, STOPPED)
    held = _space_in(space_of(entry, here.origin), data, on, index)
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
        there = Index(job, index)
        return await there.query_all(asked.matrix, int(top_k), filter=wanted, namespace=namespace, metadata=metadata)

    found = yield from requested("search", engine, search, options, STOPPED)
    frame = rows.as_frame(data)
    what = f"The index {index!r}"
    return lambda: rows_found(frame if join else frame.iloc[:0, :0], asked.names, found, id if join else None, what)


# -- checks ----------------------------------------------------------------------------------------------------------


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
    if namespace is not None and not (isinstance(namespace, str) and 0 < len(namespace.encode()) <= VECTORIZE.most):
        raise ValueError(f"namespace={namespace!r}: give a text of at most {VECTORIZE.most} bytes.")


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
