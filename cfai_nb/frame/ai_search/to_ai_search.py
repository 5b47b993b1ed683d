"""``to_ai_search``: the texts of a frame become documents of an instance of AI Search."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import pandas as pd
import pydantic_core

from ...errors import Unavailable
from ...session.requests import RequestJob
from ...tasks.dialects.ai_search import OWN, SUFFIX, instance_path
from .. import rows
from ..call import warn
from ..steps import Steps
from ..upload import Rules, Uploading, Written, beats, ids_of, listed, metadata_of, seconds_of_wait, uploaded
from ..vector_input import refuse_needless
from ..vectorize import service, there_or_made
from . import CODES, NEEDLESS, Instance, fields_of

RULES = Rules(
    store="AI Search", most=128 - len(SUFFIX), unit="characters", never=r'[\x00-\x1f\x7f"\\]|^/', properties=5,
    lists=False, text=500, reserved=OWN, lower=True,
)  # fmt: skip
#: The most bytes of a document.
DOCUMENT = 4 * 2**20
_KINDS = {"string": "text", "number": "number", "boolean": "boolean"}
#: Documents that are looked up at once while waiting.
_LOOKED_UP = 8


def to_ai_search(
    data: rows.Frame, /, instance: str, on: Any = None, *, id: Any = None, metadata: Any = None,
    filterable: Any = None, namespace: str = "default", create: bool = False, wait: bool | float = False,
    **options: Any,
) -> Steps[Written]:  # fmt: skip
    """Upload texts to an instance of AI Search, the service's search over documents, or bring it up to date.

    The service cuts each text into passages and makes vectors and an index of words of them.  ``search("...",
    instance=...)`` finds the passages and ``answer(instance=...)`` answers questions from them.  Running the same call
    again sends only what is new or changed, also after Stop, a crash or a restart: the session's store keeps a digest
    of each text and its metadata once the service has acknowledged it.

    Parameters
    ----------
    instance : str
        Its name: lower-case letters, digits, hyphens and underscores.
    on : str, optional
        Column of texts, or a template such as ``"{title}: {text}"``; at most 4 MiB a row.  Default: the Series.  Rows
        without a text are left out.
    id : str, optional
        Column of ids: distinct, at most 124 characters as text.  Default: the labels of the frame's index.  A document
        of this id that is there already is replaced.  What stands before a slash is the document's folder.
    metadata : list of str, optional
        Columns that go with the texts: text of at most 500 characters, numbers, truth values and dates (as ISO texts).
        Missing cells are left out.  AI Search stores their names in lower case.
    filterable : list of str, optional
        Columns ``filter=`` can use, at most 5, of one type each; they are metadata as well.  When a column is added to
        an instance that exists, the service indexes all its documents again.
    namespace : str
        Where the instance lies.
    create : bool
        Create the instance if it does not exist, for searches by vectors, by words and by both.
    wait : bool or float
        Wait until what was written can be found, 300 seconds at most, or this many.  Documents that the service could
        not index are then in ``failed``, with a warning.

    Returns
    -------
    Written
        ``sent``, ``skipped``, ``missing``, ``failed``, ``visible``.

    Raises
    ------
    ValueError
        A text, an id, a cell or an option is not accepted by the service; nothing was sent then.
    AccessError
        There is no such instance, or the token has no *AI Search: Edit*.
    Stopped
        Stop was pressed; what the service acknowledged is kept.

    Notes
    -----
    ``cache="refresh"`` sends everything again; ``cache=False`` neither reads nor keeps the digests.  A document that is
    replaced is removed first, so for a moment it is not found.  The service bills AI Search by itself; ledger and
    budgets do not count that.

    Examples
    --------
    >>> tickets.cfai.to_ai_search("tickets", "text", filterable=["topic"], create=True, wait=True)
    >>> tickets.cfai.search("late parcels", instance="tickets", filter={"topic": "shipping"})
    """
    here = service("AI Search")
    instance_path(instance, namespace)
    if not isinstance(create, bool):
        raise ValueError(f"create={create!r}: give True or False.")
    until = seconds_of_wait(wait)
    refuse_needless({name: value for name, value in options.items() if name != "cache"}, NEEDLESS)
    merged = here.options({name: value for name, value in options.items() if name != "model"})
    if merged.cache == "only":
        raise ValueError('cache="only" sends nothing, and to_ai_search does nothing else.')
    made = _documents(data, on, id, metadata, listed(filterable))
    writing = Documents(
        instance, namespace, made, create=create, wait=until, reads=merged.cache is True,
        keeps=merged.cache is not False,
    )  # fmt: skip
    engine, missing = here.engine(cache=merged.cache), len(data) - len(made.ids)
    done = yield from uploaded("to_ai_search", writing, engine, merged, missing)

    def result() -> Written:
        written = done()
        if written.failed:
            name, why = next(iter(written.failed.items()))
            warn(
                f"AI Search could not index {len(written.failed):,} documents, such as {name!r}: {why}. They are in "
                "failed; the same call sends them again."
            )
        return written

    return result


@dataclass(frozen=True, slots=True)
class _Made:
    """The documents of a frame: ids, texts and metadata (JSON), and what they are to be filterable by."""

    ids: Sequence[str]
    texts: Sequence[str]
    metadata: Sequence[bytes | None]
    fields: Mapping[str, str]


def _documents(data: rows.Frame, on: Any, id: Any, metadata: Any, filterable: Sequence[Any]) -> _Made:
    """Read and check the documents of a frame."""
    read = rows.rows_of(data, on, template=False)
    for at, why in read.bad.items():
        raise ValueError(f"row {data.index[at]!r}: {why}")
    kept = [at for at, text in enumerate(read.inputs) if text is not None]
    if not kept:
        raise ValueError("There is no document to write: no row has a text.")
    texts = [str(read.inputs[at]) for at in kept]
    for at, text in zip(kept, texts, strict=True):
        if len(text) * 4 > DOCUMENT and (size := len(text.encode())) > DOCUMENT:
            raise ValueError(
                f"row {data.index[at]!r}: its text has {size:,} bytes, and AI Search takes {DOCUMENT:,} a document: "
                "split it into several rows."
            )
    described, kinds = metadata_of(data, metadata, filterable, kept, RULES)
    by = {RULES.key(column): column for column in filterable}
    frame = rows.as_frame(data)
    fields = {key: "datetime" if _dates(rows.column(frame, by[key])) else _KINDS[kind] for key, kind in kinds.items()}
    return _Made(ids_of(data, id, kept, RULES), texts, described, fields)


def _dates(column: pd.Series[Any]) -> bool:
    """Whether a column holds dates."""
    return pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.infer_dtype(column, skipna=True) in (
        "datetime", "datetime64", "date",
    )  # fmt: skip


class Documents(Uploading):
    """One call of ``to_ai_search``, for a ``RequestJob``.

    The store keeps, by instance and id, a digest of each text with its metadata, and the id the service gave it.  The
    key contains the time the instance was created, so that one that is deleted and created again counts as empty.
    """

    store, unit = "AI Search instance", "document"

    def __init__(
        self, name: str, namespace: str, made: _Made, *, create: bool, wait: float | None, reads: bool, keeps: bool
    ) -> None:
        super().__init__(name, len(made.ids), reads=reads, keeps=keeps)
        self._namespace, self._made, self._create, self._wait = namespace, made, create, wait

    async def _work(self, job: RequestJob[None]) -> None:
        there, engine, made = Instance(job, self.name, self._namespace), job.engine, self._made
        entry = await self._there(there)
        place = (engine.origin, engine.account, self._namespace, self.name, str(entry.get("created_at") or ""))
        keys, digests = await asyncio.to_thread(self._digests, place)
        known, last = await self.known(engine, keys)
        pending = [at for at, key in enumerate(keys) if known.get(key, "").partition(" ")[0] != digests[at]]
        self.skipped = len(keys) - len(pending)
        earlier = "" if last is None else known[keys[last]].partition(" ")[2]
        waits = {earlier: last} if last is not None and earlier else dict[str, int]()

        async def put(at: int) -> None:
            item = await there.put(made.ids[at] + SUFFIX, made.texts[at].encode(), made.metadata[at])
            await self.record(engine, [keys[at]], [f"{digests[at]} {item}"])
            waits[item] = at
            self.sent += 1
            self.tell(f"{self.sent:,} of {len(pending):,} documents sent")

        await job.each(put, pending)
        if self._wait is None or job.stopped or not waits:
            return
        await self._until_found(job, there, waits)
        if self.visible:
            where = {name + SUFFIX: at for at, name in enumerate(made.ids)}
            failed = {where[key]: why for key, why in (await there.failed()).items() if key in where}
            self.failed = {made.ids[at]: why for at, why in failed.items()}
            await self.record(engine, [keys[at] for at in failed], ["failed"] * len(failed))

    async def _there(self, there: Instance) -> dict[str, Any]:
        """Return the instance, created and made filterable if wanted."""
        wanted = self._made.fields
        make = (lambda: there.create(wanted)) if self._create else None
        entry = await there_or_made(there.entry, make, CODES)
        has = fields_of(entry)
        if self.new_properties(wanted, has, RULES):
            await there.set_fields({**has, **wanted})
        return entry

    def _digests(self, place: Sequence[str]) -> tuple[list[bytes], list[str]]:
        """Return the key in the store and the digest of each document."""
        start = "\0".join(("ai-search", *place, "")).encode()
        keys = [blake2b(start + name.encode(), digest_size=16).digest() for name in self._made.ids]
        digests = []
        for text, more in zip(self._made.texts, self._made.metadata, strict=True):
            digests.append(blake2b(pydantic_core.to_json([text, (more or b"").decode()]), digest_size=16).hexdigest())
        return keys, digests

    async def _until_found(self, job: RequestJob[None], there: Instance, waits: dict[str, int]) -> None:
        """Wait until nothing of the instance is unfinished or, if other clients write too, nothing of this call."""
        assert self._wait is not None
        self.tell(f"{self.sent:,} documents sent, waiting until they are indexed")
        async for _ in beats(job, self._wait):
            if await there.unfinished() == 0:
                self.visible = True
                return
            for item in list(waits)[:_LOOKED_UP]:
                if (await there.status(item))[0] in ("completed", "error", "skipped", "missing"):
                    del waits[item]
            if not waits:
                self.visible = True
                return
        if not job.stopped:
            raise Unavailable(
                f"AI Search instance {self.name!r}: the documents are not indexed after {self._wait:g} s. Nothing is "
                "lost: the same call sends nothing again and waits longer", "not visible",
                model=f"AI Search instance {self.name!r}",
            )  # fmt: skip
