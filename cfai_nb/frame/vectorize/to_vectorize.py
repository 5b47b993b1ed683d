"""``to_vectorize``: a frame's vectors go into a store of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ...vectors import VectorColumn
from ...vectors.matrix import checked
from ...vectors.vector import Space, stand_in
from .. import rows
from ..steps import Steps
from ..vector_input import Embedding, as_they_are, is_text, refuse_needless
from .index import MAX_VECTORS
from .metadata import about, ids_of, kinds_of, records_of
from .resume import Written, carried_out, listed, seconds_of_wait
from .stored import check, service

if TYPE_CHECKING:
    from ...session import Session


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
        An id, a cell, a vector or an option is none the service takes; nothing was sent then.
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
    from .batch import METRICS, Upload
    from .upload import Uploader

    here = service()
    check(index, namespace)
    if create not in (False, True, *METRICS):
        raise ValueError(f"create={create!r}: give True, or one of {', '.join(METRICS)}.")
    until = seconds_of_wait(wait)
    merged = here.options({name: value for name, value in options.items() if name != "model"})
    if merged.cache == "only":
        raise ValueError('cache="only" sends nothing, and to_vectorize does nothing else.')
    if not is_text(data, vectors):
        needless = {name: value for name, value in options.items() if name != "cache"}
        refuse_needless(needless, as_they_are("vectors" if vectors is None else vectors))
    gathered = yield from Embedding(options).column(data, vectors, asks=True)
    checked(gathered)
    kept = gathered.positions.tolist()
    if not kept:
        raise ValueError("There is no vector to write: no row has one.")
    if len(kept) > MAX_VECTORS:
        most = f"an index holds at most {MAX_VECTORS:,}"
        raise ValueError(f"{len(kept):,} vectors: {most}. Write parts of the rows to several indexes.")
    by = listed(filterable)
    records = records_of(data, list(dict.fromkeys([*listed(metadata), *by])), kept)
    upload = Upload(
        ids=ids_of(data, id, kept), vectors=gathered, metadata=about(records, data, kept),
        namespace=namespace, create=("cosine" if create is True else create) or None, any_metric=create is True,
        properties=kinds_of(records, [str(key) for key in by]), space=_space(gathered, here),
        wait=until,
    )  # fmt: skip
    writing = Uploader(index, upload, reads=merged.cache is True, keeps=merged.cache is not False)
    conclude = yield from carried_out("to_vectorize", writing, here.engine(cache=merged.cache), merged)

    def result() -> Written:
        conclude()
        return writing.written(len(data) - len(kept), here.origin)

    return result


def _space(vectors: VectorColumn, here: Session) -> Space | None:
    """Return where these vectors come from, if this session could embed a query for them."""
    own = vectors.space
    if own is not None and stand_in(own.origin) and own.origin != here.origin:
        raise ValueError(
            f"These vectors were made by the emulator ({own}) and cannot be written to {here.origin}. Embed the column "
            "again."
        )
    return own if own is not None and own.origin == here.origin else None
