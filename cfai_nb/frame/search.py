"""``search``: the rows of a frame closest to a query, or those that an index of the service finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from .. import vectors
from .progress import working
from .rows import Frame, as_frame
from .steps import Steps
from .vector_input import Embedding, refuse_unrecorded, sends_text


def search(
    data: Frame, /, query: Any, top_k: int = 5, on: Any = None, *, index: str | None = None,
    filter: Mapping[str, Any] | None = None, namespace: str | None = None, metadata: bool = True, id: Any = None,
    join: bool = True, **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Return the rows closest to a text or vector.

    Parameters
    ----------
    query : str, array_like, or a list or Series of them
        Texts are embedded with the model of the vectors, as queries where it tells them from documents.
    top_k : int, default 5
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
        Whether to ask for metadata; for `top_k` above 20 that is one more call for 20 vectors.
    id : str, optional
        The column of ids ``to_vectorize`` was given.  Default: the labels of the frame's index.
    join : bool
        Whether what is found in an index becomes rows of this frame again, where it has the id.  For a frame that
        was not written there, give False.
    **options
        For what is embedded: column and query are charged like any ``embed``, and share one budget.

    Returns
    -------
    DataFrame
        The best rows of the frame with their index, best first, and ``score``, the cosine.  Of several queries one
        after the other, with ``query``: the text, or the number of the vector.  Columns of the frame of these
        names are replaced in the result.

        With `index`: the same, with ``id`` (the id as text; the column `id` instead, if given), columns of metadata
        the frame does not have, and ``score`` in the metric of the index, approximate (a distance if it is
        Euclidean: lower is better).  Matches that are not in the frame are labelled with their id, and have their
        metadata alone.

    Raises
    ------
    ValueError
        The query has another type or is of another space, `top_k` is out of range, the model of the index is unknown,
        or the index cannot be filtered like that.
    AccessError
        There is no such index, or the token may not read it.
    """
    embedding = Embedding(options)
    if index is not None:
        from .vectorize.stored import found_in  # when it is used: importing the package is quick

        return (
            yield from found_in(
                data, index, query, top_k, on, filter=filter, namespace=namespace, metadata=metadata, id=id, join=join,
                embedding=embedding,
            )
        )  # fmt: skip
    if filter is not None or namespace is not None:
        raise ValueError("filter= and namespace= are for an index of Vectorize: give index=, or filter the frame.")
    column = yield from embedding.column(data, on, asks=sends_text(query))
    wanted = yield from embedding.query(query, column.space)
    if isinstance(query, pd.Series) and not sends_text(query):
        refuse_unrecorded(column, wanted)  # a vector written out in the call is the caller's own

    def result() -> pd.DataFrame:
        with working("search", embedding.progress) as tell:
            scores, rows = vectors.search(column, wanted.matrix, top_k, tell=tell)
        best = as_frame(data).iloc[column.places[rows.ravel()]].copy()
        best["score"] = scores.ravel().astype(float)
        if wanted.names is not None:
            names = pd.Series(wanted.names, dtype=object if not wanted.names else None)
            best["query"] = names.repeat(rows.shape[1]).to_numpy()
        return best

    return result
