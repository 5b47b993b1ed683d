"""``to_vectorize``: a frame's vectors go into a store of the service."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from typing import TYPE_CHECKING, Any

from ...errors import Stopped, takes_options
from ...vectors import VectorColumn
from ...vectors.matrix import checked
from ...vectors.vector import Space
from .. import rows
from ..call import OPTIONS
from ..progress import working
from ..vector_input import as_they_are, is_text, refuse_needless, vectors_of
from .metadata import about, ids_of, kinds_of, records_of
from .stored import check, service

if TYPE_CHECKING:
    from ...session import Session

#: Seconds ``wait=True`` waits at most; the service says "a few seconds".
_WAIT = 300.0


class ToVectorize:
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
        lists of texts.  What is missing is left out.
    filterable : list of str, optional
        Columns ``search(filter=...)`` can use, at most 10, of one type each; they are metadata as well.  The service
        compares 64 bytes of a text.  A new one has the vectors of this frame sent anew: an index is filtered by what
        could be filtered when its vectors were written.
    namespace : str, optional
        One for all, 64 bytes at most: a part of the index that queries can be kept to.
    create : bool or {"cosine", "euclidean", "dot-product"}
        Make the index where it is not there, with the vectors' dimensions and this metric (True: cosine).
    wait : bool or float
        Wait until what was written is visible to queries, which takes the service a few seconds; 300 seconds at most,
        or this many.
    **travel
        ``model=`` and run options of ``embed``.  ``cache="refresh"`` sends everything anew, for vectors that were
        changed or deleted elsewhere; ``cache=False`` neither looks nor keeps.

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
    The service bills Vectorize by stored and queried dimensions; ledger and budgets do not count that.
    """

    def __init__(self, data: rows.Frame) -> None:
        self._data = data
        about = inspect.signature(_Call)
        self.__signature__ = about.replace(parameters=list(about.parameters.values())[1:], return_annotation="Written")

    def __call__(self, index: str, vectors: Any = None, **options: Any) -> Any:
        """Write them and wait."""
        from ..._engine.bridge import bridge

        call = _Call(self._data, index, vectors, **options)
        with working("to_vectorize", call.progress) as tell:
            call.tell[:] = [tell]
            bridge.wait(call.errand, lambda: None)
        return call.conclude()

    async def aio(self, index: str, vectors: Any = None, **options: Any) -> Any:
        """Write them; awaited."""
        from ..._engine.aside import beside
        from ..._engine.bridge import bridge

        call = await beside(lambda: _Call(self._data, index, vectors, **options))
        with working("to_vectorize", call.progress) as tell:
            call.tell[:] = [tell]
            try:
                await bridge.wait_async(call.errand, lambda: None)
            except asyncio.CancelledError:
                raise asyncio.CancelledError(call.stopped_words) from None
        return call.conclude()


class _Call:
    """One call, checked, and what carries it out."""

    @takes_options("model", *OPTIONS, name="to_vectorize")
    def __init__(
        self, data: rows.Frame, /, index: str, vectors: Any = None, *, id: Any = None, metadata: Any = None,
        filterable: Any = None, namespace: str | None = None, create: bool | str = False, wait: bool | float = False,
        **travel: Any,
    ) -> None:  # fmt: skip
        from ..._engine.errand import Errand
        from .batch import METRICS, Lot
        from .upload import Writing

        here = service()
        check(index, namespace)
        if create not in (False, True, *METRICS):
            raise ValueError(f"create={create!r}: give True, or one of {', '.join(METRICS)}.")
        if not isinstance(wait, (bool, int, float)) or wait < 0:
            raise ValueError(f"wait={wait!r}: give True, or seconds.")
        options = here.options({name: value for name, value in travel.items() if name != "model"})
        cache = options.cache
        if cache == "only":
            raise ValueError('cache="only" sends nothing, and to_vectorize does nothing else.')
        if not is_text(data, vectors):
            needless = {name: value for name, value in travel.items() if name != "cache"}
            refuse_needless(needless, as_they_are("vectors" if vectors is None else vectors))
        gathered = vectors_of(data, vectors, travel, asks=True)
        checked(gathered)
        kept = gathered.positions.tolist()
        if not kept:
            raise ValueError("There is no vector to write: no row has one.")
        by = _listed(filterable)
        records = records_of(data, list(dict.fromkeys([*_listed(metadata), *by])), kept)
        lot = Lot(
            ids=ids_of(data, id, kept), vectors=gathered, metadata=about(records, data, kept),
            namespace=namespace, create=("cosine" if create is True else create) or None, any_metric=create is True,
            properties=kinds_of(records, [str(key) for key in by]),
            space=_space(gathered, here),
            wait=None if wait is False else _WAIT if wait is True else float(wait),
        )  # fmt: skip
        self.tell: list[Any] = [lambda text: None]
        self.progress = travel.get("progress", here.defaults.get("progress"))
        self.writing = Writing(
            index, lot, reads=cache is True, keeps=cache is not False, tell=lambda text: self.tell[0](text)
        )
        self.engine = here.engine(cache=cache)
        self.errand: Errand[None] = Errand(self.engine, self.writing, drain=True, patience=options.patience)
        self._missing = len(data) - len(kept)
        self._session = here

    @property
    def stopped_words(self) -> str:
        """What is there, and what the same call would do."""
        writing, store = self.writing, self.engine.store
        kept = writing.keeps and store is not None and store.trouble(writing.id) is None
        return (
            f"Stopped. {writing.sent + writing.skipped:,} of {len(writing.lot.ids):,} vectors are in the index "
            f"{writing.name!r}; running the same call again {'sends only the rest' if kept else 'begins anew'}."
        )

    def conclude(self) -> Any:
        """Return what was done, or raise Stopped; warn of a store that could not keep it."""
        from ..report import CfaiWarning
        from .upload import Written

        writing, store, words = self.writing, self.engine.store, self.stopped_words
        failure = store.take_failure(writing.id) if store is not None else None
        if failure is not None:
            warnings.warn(
                f"The vectors are written, and it could not be kept that they are: {failure}", CfaiWarning, stacklevel=3
            )
        if self.errand.stopped:
            raise Stopped(words)
        return Written(
            index=writing.name, sent=writing.sent, skipped=writing.skipped, missing=self._missing,
            mutations=tuple(writing.mutations), visible=writing.visible, origin=self._session.origin,
        )  # fmt: skip


def _listed(columns: Any) -> list[Any]:
    return [] if columns is None else [columns] if isinstance(columns, str) else list(columns)


def _space(vectors: VectorColumn, here: Session) -> Space | None:
    """Return where these vectors come from, if this session could embed a query for them."""
    own = vectors.space
    if own is not None and own.origin == "emulator" != here.origin:
        raise ValueError(
            f"These vectors were made by the emulator ({own}) and cannot be written to {here.origin}. Embed the column "
            "again."
        )
    return own if own is not None and own.origin == here.origin else None
