"""Write vectors to an index of the service; a call that was interrupted continues where it stopped.

`verb` passes an `Upload`; requests go out through the engine, and a `Written` comes back. The store records a digest of
what was written, so that the same call sends only what is new.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._engine.run_state import new_run
from ..._engine.sender import RequestJob
from ..._engine.shared import Engine
from ...errors import AccessError, RowError, Unavailable
from .batch import Upload, calls
from .index import NOT_FOUND, Index, space_of
from .metadata import DIMENSIONS, PROPERTIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What ``to_vectorize`` did.

    Attributes
    ----------
    index : str
    sent : int
        Vectors written by this call.
    skipped : int
        Vectors this machine had written before without a change since, which were not sent again.
    missing : int
        Rows without a vector.
    mutations : tuple of str
        The service's ids of the writes, one a call.
    visible : bool or None
        Whether queries find all of them; None if the call did not wait for that.
    origin : str
        Where the index is.
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
        parts = [f"{self.sent:,} vectors sent in {count} {'call' if count == 1 else 'calls'}"]
        parts += [f"{self.skipped:,} written before"] if self.skipped else []
        parts += [f"{self.missing:,} without a vector"] if self.missing else []
        parts += [] if self.visible is None else ["visible"]
        return f"Vectorize index {self.index!r}{where}: {' · '.join(parts)}"


class Uploader:
    """One call of ``to_vectorize``, for a ``RequestJob``.

    The store keeps a digest of each written vector, by index and id, as it keeps answers.  The key contains the time
    the index was created, so that an index that is deleted and created again counts as empty; the digest contains the
    properties the index can be filtered by, since a property applies only to vectors written after it.

    Parameters
    ----------
    name : str
        Name of the index.
    upload : Upload
    reads, keeps : bool
        Whether earlier writes are looked up in the store, and whether this one is recorded there.
    tell : callable
        Called with the progress in words.

    Attributes
    ----------
    id : str
        Owner of the records in the store.
    sent, skipped : int
    mutations : list of str
    """

    def __init__(
        self, name: str, upload: Upload, *, reads: bool = True, keeps: bool = True, tell: Callable[[str], None]
    ) -> None:
        self.name, self.upload, self.id = name, upload, new_run()
        self.sent = self.skipped = 0
        self.mutations: list[str] = []
        self.visible: bool | None = None
        self.keeps = keeps
        self._reads, self._tell = reads, tell

    async def __call__(self, job: RequestJob[None]) -> None:
        """Do it; ends early where Stop was pressed."""
        index, engine, upload = Index(job, self.name), job.engine, self.upload
        try:
            entry = await self._there(index, engine.origin)
            properties = await self._filterable(job, index)
            place = (engine.origin, engine.account, self.name, str(entry.get("created_on") or ""))
            keys = await asyncio.to_thread(upload.keys, place)
            digests = await asyncio.to_thread(upload.digests, properties)
            known, last = await self._known(engine, keys)
            pending = np.array([at for at, key in enumerate(keys) if known.get(key) != digests[at]], dtype=np.int64)
            self.skipped = len(keys) - len(pending)
            before = (await index.info()).get("processedUpToMutation") if upload.wait is not None else None
            bodies = calls(upload.to_ndjson(pending))
            while not job.stopped and (body := await asyncio.to_thread(next, bodies, None)) is not None:
                count, content = body
                self._tell(f"{self.sent:,} of {len(pending):,} vectors sent")
                self.mutations.append(await index.upsert(content))
                some = pending[self.sent : self.sent + count].tolist()
                if engine.store is not None and self.keeps:
                    engine.store.put([keys[at] for at in some], [digests[at] for at in some], owner=self.id)
                    await engine.written(self.id)  # a process killed now does not send it again
                self.sent += count
                last = some[-1]
            if upload.wait is not None and last is not None and not job.stopped:
                await self._until_visible(job, index, last, before)
        except RowError as error:
            if job.stopped:
                return
            if self.sent:
                error.add_note(f"{self.sent:,} vectors were written before; the same call again sends the rest.")
            raise

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
        try:
            entry = await index.entry()
        except AccessError as error:
            if error.code != NOT_FOUND or upload.create is None:
                raise
            entry = await index.create(dims, upload.create, upload.space)
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
        # A metadata index never finds vectors that were written before it existed.
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

    # -- earlier writes ------------------------------------------------------------------------------------------------

    async def _known(self, engine: Engine, keys: Sequence[bytes]) -> tuple[dict[bytes, str], int | None]:
        """Return the digest last written under each key, and the position of the most recent one."""
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

    # -- until visible -----------------------------------------------------------------------------------------------

    async def _until_visible(self, job: RequestJob[None], index: Index, last: int, before: Any) -> None:
        """Wait until the last mutation is processed or, if other clients write too, the last vector is there."""
        assert self.upload.wait is not None
        self._tell(f"{self.sent:,} vectors sent, waiting until they are visible")
        async for _ in _beats(job, self.upload.wait):
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
        return same and (found.get("metadata") or {}) == self.upload.metadata_at(at)


async def _beats(job: RequestJob[Any], seconds: float) -> AsyncIterator[None]:
    """Yield at growing intervals until the time is over or Stop was pressed."""
    end, pause = time.monotonic() + seconds, 0.05
    while not job.stopped:
        yield
        if time.monotonic() >= end:
            return
        await job.pause(min(pause, max(0.0, end - time.monotonic())))
        pause = min(2.0, pause * 1.5)
