"""``search`` and ``to_vectorize``: among the vectors of a frame, or in a store of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import vectors
from ..errors import takes_options
from . import rows as frames
from .call import OPTIONS, shared_budget
from .progress import working
from .vector_input import query_of, refuse_unrecorded, sends_text, vectors_of

if TYPE_CHECKING:
    from .vectorize.verb import ToVectorize


class Searching:
    """Look for what is close to a query."""

    _data: frames.Frame

    @takes_options("model", *OPTIONS)
    def search(
        self, query: Any, k: int = 5, on: Any = None, *, index: str | None = None,
        filter: Mapping[str, Any] | None = None, namespace: str | None = None, metadata: bool = True, id: Any = None,
        join: bool = True, **travel: Any,
    ) -> pd.DataFrame:  # fmt: skip
        """Return the rows closest to a text or vector.

        Parameters
        ----------
        query : str, array_like, or a list or Series of them
            Texts are embedded with the model of the vectors, as queries where it tells them from documents.
        k : int, default 5
            Rows for each query; at most 100 with `index`.
        on : str, optional
            Column of vectors or text.
        index : str, optional
            Look in this index of Vectorize, where ``to_vectorize`` wrote the vectors, instead of in the frame.  The
            model that embeds the query is the one the index was made for (``to_vectorize(create=True)`` writes it in
            its description); else that of `on`, or of the frame's only column of vectors; else ``model=``.
        filter : dict, optional
            Only vectors whose metadata fit, by columns that were ``filterable``: ``{"team": "a", "year": {"$gte":
            2020}}``, with ``$eq``, ``$ne``, ``$in``, ``$nin``, ``$lt``, ``$lte``, ``$gt``, ``$gte``.
        namespace : str, optional
            Only this part of the index.
        metadata : bool
            Whether to ask for metadata; for `k` above 20 that is one more call for 20 vectors.
        id : str, optional
            The column of ids ``to_vectorize`` was given.  Default: the labels of the frame's index.
        join : bool
            Whether what is found in an index becomes rows of this frame again, where it has the id.  For a frame that
            was not written there, give False.
        **travel
            ``model=`` and run options, for what is embedded: column and query are charged like any ``embed``, out of
            one budget.

        Returns
        -------
        DataFrame
            The best rows of the frame with their index, best first, and ``score``, the cosine.  Of several queries one
            after the other, with ``query``: the text, or the number of the vector.  Columns of the frame of these
            names are replaced in the result.

            With `index`: the same, with ``id`` (the id as text; the column `id` instead, if given), columns of metadata
            the frame does not have, and ``score`` in the metric of the index, approximate (a distance if it is
            Euclidean: the least is the best).  What is no row of the frame is labelled by its id, and has its metadata
            and nothing else.

        Raises
        ------
        ValueError
            The query is no such thing or of another space, `k` is out of range, nobody says whose vectors the index
            holds, or it cannot be filtered like that.
        AccessError
            There is no such index, or the token may not read it.
        """
        if index is not None:
            from .vectorize.stored import found_in  # when it is used: importing the package is quick

            return found_in(
                self._data, index, query, k, on, filter=filter, namespace=namespace, metadata=metadata, id=id,
                join=join, travel=travel,
            )  # fmt: skip
        if filter is not None or namespace is not None:
            raise ValueError("filter= and namespace= are for an index of Vectorize: give index=, or filter the frame.")
        travel = shared_budget(travel)
        column = vectors_of(self._data, on, travel, asks=sends_text(query))
        wanted = query_of(query, column.space, travel)
        if isinstance(query, pd.Series) and not sends_text(query):
            refuse_unrecorded(column, wanted)  # a vector written out in the call is the caller's own
        with working("search", travel.get("progress")) as tell:
            scores, rows = vectors.search(column, wanted.matrix, k, on_progress=tell)
        frame = self._data.to_frame() if isinstance(self._data, pd.Series) else self._data
        best = frame.iloc[column.positions[rows.ravel()]].copy()
        best["score"] = scores.ravel().astype(float)
        if wanted.names is not None:
            names = pd.Series(wanted.names, dtype=object if not wanted.names else None)
            best["query"] = names.repeat(rows.shape[1]).to_numpy()
        return best

    @property
    def to_vectorize(self) -> ToVectorize:
        """Write vectors into an index of Vectorize, the service's store; see ``help(df.cfai.to_vectorize)``."""
        from .vectorize.verb import ToVectorize

        return ToVectorize(self._data)
