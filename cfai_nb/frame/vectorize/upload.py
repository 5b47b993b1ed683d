"""Write vectors to an index of the service; a call that was interrupted continues where it stopped.

`to_vectorize` passes an `Upload`; requests go out through the engine.  `resume` has what every upload has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import AccessError, Unavailable
from ...session.requests import RequestJob
from .batch import Upload, calls
from .index import NOT_FOUND, Index, space_of
from .metadata import DIMENSIONS, PROPERTIES
from .resume import Uploading, beats


class Uploader(Uploading):
    """One call of ``to_vectorize``, for a ``RequestJob``.

    The store keeps a digest of each written vector, by index and id.  The key contains the time the index was created,
    so that an index that is deleted and created again counts as empty; the digest contains the properties the index can
    be filtered by, since a property applies only to vectors written after it.

    Parameters
    ----------
    name : str
        Name of the index.
    upload : Upload
    reads, keeps : bool
        See ``Uploading``.
    """

    store, unit = "Vectorize index", "vector"

    def __init__(self, name: str, upload: Upload, *, reads: bool = True, keeps: bool = True) -> None:
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
        return same and (found.get("metadata") or {}) == self.upload.metadata_at(at)
