"""Write vectors into an index of the service, so that a call that was broken off goes on where it was."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._engine.sender import RequestJob
from ..._engine.shared import Engine
from ...errors import AccessError, RowError, Unavailable
from .batch import Lot
from .index import NOT_FOUND, Index, space_of
from .metadata import DIMENSIONS, PROPERTIES
from .ndjson import calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What ``to_vectorize`` did.

    Attributes
    ----------
    index : str
    sent : int
        Vectors that were written now.
    skipped : int
        Vectors that this machine had written before as they are, and that were not sent again.
    missing : int
        Rows without a vector.
    mutations : tuple of str
        The service's ids of the writes, one a call.
    visible : bool or None
        Whether all of it is found by queries; None where that was not waited for.
    origin : str
        Who holds them.
    """

    index: str
    sent: int = 0
    skipped: int = 0
    missing: int = 0
    mutations: tuple[str, ...] = ()
    visible: bool | None = None
    origin: str = "cloudflare"

    def __repr__(self) -> str:
        count = len(self.mutations)
        where = "" if self.origin == "cloudflare" else f" ({self.origin})"
        said = [f"{self.sent:,} vectors sent in {count} {'call' if count == 1 else 'calls'}"]
        said += [f"{self.skipped:,} written before"] if self.skipped else []
        said += [f"{self.missing:,} without a vector"] if self.missing else []
        said += [] if self.visible is None else ["visible"]
        return f"Vectorize index {self.index!r}{where}: {' · '.join(said)}"


class Writing:
    """One call of ``to_vectorize``, carried out by a ``RequestJob``.

    What is kept of a write is a digest of what was written, by index and id: the store of answers holds it as it holds
    answers.  The key has the moment the index was made in it, so that an index made anew is empty; the digest has what
    the index can be filtered by, for that is true only of vectors written since.

    Parameters
    ----------
    name : str
        Of the index.
    lot : Lot
    reads, keeps : bool
        Whether what was written before counts, and what is written now shall.
    tell : callable
        Is told how far it is.

    Attributes
    ----------
    id : str
        The owner of what is kept.
    sent, skipped : int
    mutations : list of str
    """

    def __init__(
        self, name: str, lot: Lot, *, reads: bool = True, keeps: bool = True, tell: Callable[[str], None]
    ) -> None:
        self.name, self.lot, self.id = name, lot, uuid.uuid4().hex[:12]
        self.sent = self.skipped = 0
        self.mutations: list[str] = []
        self.visible: bool | None = None
        self.keeps = keeps
        self._reads, self._tell = reads, tell

    async def __call__(self, job: RequestJob[None]) -> None:
        """Do it; ends early where Stop was pressed."""
        index, engine, lot = Index(job, self.name), job.engine, self.lot
        try:
            entry = await self._there(index, engine.origin)
            properties = await self._filterable(job, index)
            whose = (engine.origin, engine.account, self.name, str(entry.get("created_on") or ""))
            keys = await asyncio.to_thread(lot.keys, whose)
            digests = await asyncio.to_thread(lot.digests, properties)
            known, last = await self._known(engine, keys)
            pending = np.array([at for at, key in enumerate(keys) if known.get(key) != digests[at]], dtype=np.int64)
            self.skipped = len(keys) - len(pending)
            before = (await index.info()).get("processedUpToMutation") if lot.wait is not None else None
            bodies = calls(lot.as_lines(pending))
            while not job.stopped and (body := await asyncio.to_thread(next, bodies, None)) is not None:
                count, content = body
                self._tell(f"{self.sent:,} of {len(pending):,} vectors sent")
                self.mutations.append(await index.upsert(content))
                some = pending[self.sent : self.sent + count].tolist()
                if engine.store is not None and self.keeps:
                    engine.store.put([keys[at] for at in some], [digests[at] for at in some], owner=self.id)
                    await engine.written(self.id)  # whoever is killed now need not send it again
                self.sent += count
                last = some[-1]
            if lot.wait is not None and last is not None and not job.stopped:
                await self._until_visible(job, index, last, before)
        except RowError as error:
            if job.stopped:
                return
            if self.sent:
                error.add_note(f"{self.sent:,} vectors were written before; the same call again sends the rest.")
            raise

    # -- the index ---------------------------------------------------------------------------------------------------

    async def _there(self, index: Index, origin: str) -> dict[str, Any]:
        """Return what the index is, made now if it may be; refuse vectors that do not belong in it."""
        lot, dims = self.lot, self.lot.vectors.shape[1]
        whose = f" of {lot.space.model}" if lot.space is not None else ""
        if dims > DIMENSIONS:
            raise ValueError(
                f"The vectors{whose} have {dims:,} dimensions, and Vectorize takes at most {DIMENSIONS:,}: embed with "
                "another model, such as bge-m3 (1,024); cf.models() lists the dimensions of each."
            )
        try:
            entry = await index.entry()
        except AccessError as error:
            if error.code != NOT_FOUND or lot.create is None:
                raise
            entry = await index.create(dims, lot.create, lot.space)
        config = entry.get("config") or {}
        if config.get("dimensions") != dims:
            raise ValueError(
                f"The vectors{whose} have {dims:,} dimensions and the index {self.name!r} {config.get('dimensions'):,}"
                ", which never changes: name another index, or embed with the model it was made for."
            )
        if lot.create is not None and not lot.any_metric and config.get("metric") != lot.create:
            raise ValueError(
                f"The index {self.name!r} is there, with the metric {config.get('metric')!r}, which never changes: "
                f"name another index, or leave create={lot.create!r} out."
            )
        held = space_of(entry, origin)
        if held is not None and lot.space is not None and (held.model, held.form) != (lot.space.model, lot.space.form):
            raise ValueError(
                f"The index {self.name!r} holds vectors of {held} and these are of {lot.space}, which do not compare: "
                "name another index, or embed with its model."
            )
        return entry

    async def _filterable(self, job: RequestJob[None], index: Index) -> list[str]:
        """Return what the index can be filtered by, once all that is wanted is among it."""
        wanted, there = self.lot.properties, await index.properties()
        for name, kind in wanted.items():
            if there.get(name, kind) != kind:
                raise ValueError(
                    f"filterable: {name!r} holds {kind} and the index {self.name!r} filters it as {there[name]}: "
                    "rename the column, or convert it."
                )
        new = {name: kind for name, kind in wanted.items() if name not in there}
        if len(there) + len(new) > PROPERTIES:
            raise ValueError(
                f"filterable: an index can be filtered by {PROPERTIES} properties; {self.name!r} has "
                f"{', '.join(there)} already."
            )
        for name, kind in new.items():
            await index.index_property(name, kind)
        # Vectors that are written before the metadata index is there are never found by it.
        async for _ in _beats(job, 60.0):
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

    # -- what was written before -------------------------------------------------------------------------------------

    async def _known(self, engine: Engine, keys: Sequence[bytes]) -> tuple[dict[bytes, str], int | None]:
        """Return the digest of what was written last under each key, and which of them was written last of all."""
        store = engine.store
        if store is None or not self._reads:
            return {}, None

        def look() -> tuple[dict[bytes, str], int | None]:
            store.flush()
            found, last = dict[bytes, str](), None
            for held in itertools.chain.from_iterable(store.held(keys)):
                if held.cells is not None:
                    found.update(zip((keys[at] for at in held.at), map(str, held.cells), strict=True))
                    last = int(held.at[-1])
            return found, last

        return await asyncio.to_thread(look)

    # -- until it shows ----------------------------------------------------------------------------------------------

    async def _until_visible(self, job: RequestJob[None], index: Index, last: int, before: Any) -> None:
        """Wait until the last mutation is processed; where somebody else's is, until the last vector is there."""
        assert self.lot.wait is not None
        self._tell(f"{self.sent:,} vectors sent, waiting until they are visible")
        async for _ in _beats(job, self.lot.wait):
            now = (await index.info()).get("processedUpToMutation")
            if now is not None and self.mutations[-1:] == [str(now)]:
                self.visible = True
            elif not self.mutations or now != before:
                self.visible = self._is(last, (await index.fetch([self.lot.ids[last]])).get(self.lot.ids[last]))
            if self.visible:
                return
        if not job.stopped:
            raise Unavailable(
                f"Vectorize index {self.name!r}: what was written is not visible after {self.lot.wait:g} s. Nothing is "
                "lost, and the same call sends nothing again and waits on; cache=\"refresh\" sends all of it, for "
                "vectors that were deleted elsewhere", "not visible", model=index.name,
            )  # fmt: skip

    def _is(self, at: int, found: Any) -> bool:
        """Whether a vector that is there is the one that was written."""
        if not isinstance(found, Mapping):
            return False
        values = np.asarray(found.get("values") or (), dtype=np.float32)
        ours = np.asarray(self.lot.vectors[np.array([at])])[0]
        same = values.shape == ours.shape and np.allclose(values, ours, rtol=1e-5, atol=1e-7)
        return same and (found.get("metadata") or {}) == self.lot.told(at)


async def _beats(job: RequestJob[Any], seconds: float) -> AsyncIterator[None]:
    """Yield again and again, at growing distances, until the time is over or Stop was pressed."""
    end, pause = time.monotonic() + seconds, 0.05
    while not job.stopped:
        yield
        if time.monotonic() >= end:
            return
        await job.pause(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2.0, pause * 1.5)
