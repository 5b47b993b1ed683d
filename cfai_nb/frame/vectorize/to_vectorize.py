"""``to_vectorize``: a frame's vectors go into an index of Vectorize.

The verb makes an ``Upload`` of the frame: ids, vectors and metadata, checked.  An ``Uploader`` sends what the index
does not have yet, as NDJSON; a call that was interrupted continues where it stopped.  Vectors are turned into text a
few at a time, so that memory holds no more than the next request needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic_core

from ...errors import Unavailable
from ...session import Session
from ...session.requests import RequestJob
from ...vectors import VectorColumn
from ...vectors.matrix import checked
from ...vectors.vector import Space, stand_in
from .. import rows
from ..steps import Steps
from ..upload import VECTORIZE, Uploading, Written, beats, ids_of, metadata_of, seconds_of_wait, uploaded
from ..vector_input import Embedding, as_they_are, is_text, refuse_needless
from . import CODES, MAX_VECTORS, Index, check, decimals, service, space_of, there_or_made

#: Vectors and bytes a call takes, and dimensions of an index.
CALL_VECTORS, CALL_BYTES, DIMENSIONS = 5_000, 100_000_000, 1_536
METRICS = ("cosine", "euclidean", "dot-product")
#: Rows that are written as text at once.
_SLICE = 500


def to_vectorize(
    data: rows.Frame, /, index: str, vectors: Any = None, *, id: Any = None, metadata: Any = None,
    filterable: Any = None, namespace: str | None = None,
    create: bool | Literal["cosine", "euclidean", "dot-product"] = False, wait: bool | float = False, **options: Any,
) -> Steps[Written]:  # fmt: skip
    """Write vectors into an index of Vectorize, the service's store of vectors, or bring what is there up to date.

    ``df.cfai.search("...", index=...)`` looks for them there.  Running the same call again sends only what is new or
    changed, also after Stop, a crash or a restart: the session's store keeps a digest of each vector and its metadata
    once the service has acknowledged it.

    Parameters
    ----------
    index : str
        Name of the index.
    vectors : str, optional
        Column of vectors, of at most 1,536 dimensions; or a column of text, which is embedded first (an ordinary
        ``embed``).  Default: the Series, or the only column of vectors.  Rows without a vector are left out.
    id : str, optional
        Column of ids: distinct, at most 64 bytes as text.  Default: the labels of the frame's index.  A vector whose id
        is there already is replaced, so give one where several frames share an index: labels 0, 1, 2 mean only this
        one.
    metadata : list of str, optional
        Columns that go with the vectors, 10 KiB a row at most: text, numbers, truth values, dates (as ISO texts) and
        lists of texts.  Missing cells are left out.
    filterable : list of str, optional
        Columns ``search(filter=...)`` can use, at most 10, of one type each; they are metadata as well.  The service
        compares 64 bytes of a text.  When a column is added here, the vectors of this frame are sent again: an index
        filters a vector only by columns that were filterable when the vector was written.
    namespace : str, optional
        The part of the index to write to, 64 bytes at most; queries can be limited to it.
    create : bool or {"cosine", "euclidean", "dot-product"}
        Create the index if it does not exist, with the vectors' dimensions and this metric (True: cosine).
    wait : bool or float
        Wait until what was written is visible to queries, which takes the service a few seconds; 300 seconds at most,
        or this many.

    Returns
    -------
    Written
        ``sent``, ``skipped``, ``missing``, ``mutations``, ``visible``.

    Raises
    ------
    ValueError
        An id, a cell, a vector or an option is not accepted by the service; nothing was sent then.
    AccessError
        There is no such index, or the token has no *Vectorize: Edit*.
    Stopped
        Stop was pressed; what the service acknowledged is kept.

    Notes
    -----
    ``cache="refresh"`` sends everything again, for vectors that were changed or deleted elsewhere; ``cache=False``
    neither reads nor keeps the digests.  The service bills Vectorize by stored and queried dimensions; ledger and
    budgets do not count that.

    Examples
    --------
    >>> tickets["vector"] = tickets.cfai.embed("text")
    >>> tickets.cfai.to_vectorize("tickets", "vector", filterable=["team"], create=True, wait=True)
    >>> tickets.cfai.search("late parcels", index="tickets", filter={"team": "a"})
    """
    here = service()
    check(index, namespace)
    if create not in (False, True, *METRICS):
        raise ValueError(f"create={create!r}: give True, or one of {', '.join(METRICS)}.")
    until = seconds_of_wait(wait)
    embedding = Embedding(options)
    merged = embedding.options
    if merged.cache == "only":
        raise ValueError('cache="only" sends nothing, and to_vectorize does nothing else.')
    if not is_text(data, vectors):
        needless = {name: value for name, value in options.items() if name != "cache"}
        refuse_needless(needless, as_they_are("vectors" if vectors is None else vectors))
    gathered = yield from embedding.column(data, vectors, asks=True)
    checked(gathered)
    kept = gathered.positions.tolist()
    if not kept:
        raise ValueError("There is no vector to write: no row has one.")
    if len(kept) > MAX_VECTORS:
        most = f"an index holds at most {MAX_VECTORS:,}"
        raise ValueError(f"{len(kept):,} vectors: {most}. Write parts of the rows to several indexes.")
    described, properties = metadata_of(data, metadata, filterable, kept)
    upload = Upload(
        ids=ids_of(data, id, kept), vectors=gathered, metadata=described,
        namespace=namespace, create=("cosine" if create is True else create) or None, any_metric=create is True,
        properties=properties, space=_space(gathered, here),
        wait=until,
    )  # fmt: skip
    writing = Uploader(index, upload, reads=merged.cache is True, keeps=merged.cache is not False)
    engine, missing = here.engine(cache=merged.cache), len(data) - len(kept)
    return (yield from uploaded("to_vectorize", writing, engine, merged, missing))


def _space(vectors: VectorColumn, here: Session) -> Space | None:
    """Return where these vectors come from, if this session could embed a query for them."""
    own = vectors.space
    if own is not None and stand_in(own.origin) and own.origin != here.origin:
        raise ValueError(
            f"These vectors were made by the emulator ({own}) and cannot be written to {here.origin}. Embed the column "
            "again."
        )
    return own if own is not None and own.origin == here.origin else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """Vectors to be uploaded, each with its id and its metadata (JSON, or None)."""

    ids: Sequence[str]
    vectors: VectorColumn
    metadata: Sequence[bytes | None]
    namespace: str | None
    create: str | None  # the metric of the index, to create it if it does not exist
    any_metric: bool  # whether an existing index may have another metric
    properties: Mapping[str, str]  # what the index must be filterable by, with the types
    space: Space | None  # the model the vectors come from
    wait: float | None  # seconds to wait at most until a query finds the vectors; None does not wait

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


class Uploader(Uploading):
    """One call of ``to_vectorize``, for a ``RequestJob``.

    The store keeps a digest of each written vector, by index and id.  The key contains the time the index was created,
    so that an index that is deleted and created again counts as empty; the digest contains the properties the index can
    be filtered by, since a property applies only to vectors written after it.
    """

    store, unit = "Vectorize index", "vector"

    def __init__(self, name: str, upload: Upload, *, reads: bool, keeps: bool) -> None:
        super().__init__(name, len(upload.ids), reads=reads, keeps=keeps)
        self.upload = upload

    async def _work(self, job: RequestJob[None]) -> None:
        index, engine, upload = Index(job, self.name), job.engine, self.upload
        entry = await self._there(index, engine.origin)
        properties = await self._filterable(job, index)
        place = (engine.origin, engine.account, self.name, str(entry.get("created_on") or ""))
        keys = await asyncio.to_thread(upload.keys, place)
        digests = await asyncio.to_thread(upload.digests, properties)
        known, last = await self.known(engine, keys)
        pending = np.array([at for at, key in enumerate(keys) if known.get(key) != digests[at]], dtype=np.int64)
        self.skipped = len(keys) - len(pending)
        before = (await index.info()).get("processedUpToMutation") if upload.wait is not None else None
        bodies = calls(upload.to_ndjson(pending))
        while not job.stopped and (body := await asyncio.to_thread(next, bodies, None)) is not None:
            count, content = body
            self.tell(f"{self.sent:,} of {len(pending):,} vectors sent")
            self.mutations.append(await index.upsert(content, count))
            some = pending[self.sent : self.sent + count].tolist()
            await self.record(engine, [keys[at] for at in some], [digests[at] for at in some])
            self.sent += count
            last = some[-1]
        if upload.wait is not None and last is not None and not job.stopped:
            await self._until_visible(job, index, last, before)

    # -- the index ---------------------------------------------------------------------------------------------------

    async def _there(self, index: Index, origin: str) -> dict[str, Any]:
        """Return the description of the index, created if allowed; refuse vectors that do not belong in it."""
        upload, dims = self.upload, self.upload.vectors.shape[1]
        of_model = f" of {upload.space.model}" if upload.space is not None else ""
        if dims > DIMENSIONS:
            raise ValueError(
                f"The vectors{of_model} have {dims:,} dimensions, and Vectorize takes at most {DIMENSIONS:,}: embed "
                "with another model, such as bge-m3 (1,024); cf.models() lists the dimensions of each model."
            )
        metric = upload.create
        make = None if metric is None else lambda: index.create(dims, metric, upload.space)
        entry = await there_or_made(index.entry, make, CODES)
        config = entry.get("config") or {}
        if config.get("dimensions") != dims:
            raise ValueError(
                f"The vectors{of_model} have {dims:,} dimensions and the index {self.name!r} "
                f"{config.get('dimensions'):,}, which cannot be changed: name another index, or embed with the model "
                "it was created for."
            )
        if upload.create is not None and not upload.any_metric and config.get("metric") != upload.create:
            raise ValueError(
                f"The index {self.name!r} exists, with the metric {config.get('metric')!r}, which cannot be changed: "
                f"name another index, or remove create={upload.create!r}."
            )
        held = space_of(entry, origin)
        if (
            held is not None
            and upload.space is not None
            and (held.model, held.form) != (upload.space.model, upload.space.form)
        ):
            raise ValueError(
                f"The index {self.name!r} holds vectors of {held} and these are of {upload.space}, which cannot be "
                "compared: name another index, or embed with its model."
            )
        return entry

    async def _filterable(self, job: RequestJob[None], index: Index) -> list[str]:
        """Return the properties the index can be filtered by, once all wanted ones are among them."""
        wanted, there = self.upload.properties, await index.properties()
        for name, kind in self.new_properties(wanted, there, VECTORIZE).items():
            await index.index_property(name, kind)
        # A metadata index never finds vectors that were written before it existed.
        async for _ in beats(job, 60.0):
            if wanted.keys() <= there.keys():
                return sorted(there)
            there = await index.properties()
        if not job.stopped:
            missing = wanted.keys() - there.keys()
            raise Unavailable(
                f"Vectorize index {self.name!r}: it does not list {', '.join(sorted(missing))} as filterable after a "
                "minute; nothing was written, try again later", "not ready", model=index.name,
            )  # fmt: skip
        return sorted(there)

    # -- until visible -----------------------------------------------------------------------------------------------

    async def _until_visible(self, job: RequestJob[None], index: Index, last: int, before: Any) -> None:
        """Wait until the last mutation is processed or, if other clients write too, the last vector is there."""
        assert self.upload.wait is not None
        self.tell(f"{self.sent:,} vectors sent, waiting until they are visible")
        async for _ in beats(job, self.upload.wait):
            now = (await index.info()).get("processedUpToMutation")
            if now is not None and self.mutations[-1:] == [str(now)]:
                self.visible = True
            elif not self.mutations or now != before:
                self.visible = self._is(last, (await index.fetch([self.upload.ids[last]])).get(self.upload.ids[last]))
            if self.visible:
                return
        if not job.stopped:
            raise Unavailable(
                f"Vectorize index {self.name!r}: the vectors are not visible after {self.upload.wait:g} s. Nothing is "
                "lost: the same call sends nothing again and waits longer. If the vectors were deleted elsewhere, "
                "cache=\"refresh\" sends all of them", "not visible", model=index.name,
            )  # fmt: skip

    def _is(self, at: int, found: Any) -> bool:
        """Return whether a vector in the index is the one that was written."""
        if not isinstance(found, Mapping):
            return False
        values = np.asarray(found.get("values") or (), dtype=np.float32)
        ours = np.asarray(self.upload.vectors[np.array([at])])[0]
        same = values.shape == ours.shape and np.allclose(values, ours, rtol=1e-5, atol=1e-7)
        return same and (found.get("metadata") or {}) == pydantic_core.from_json(self.upload.metadata[at] or b"{}")
