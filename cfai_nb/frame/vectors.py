"""Verbs on vectors: ``as_vectors``, ``search``, ``similarity``, ``sim_join``, ``dedupe``, ``cluster`` and so on.

Each is a definition as ``steps`` describes it: its first part yields what has to be embedded (``Embedding``), and the
function it returns computes the result with ``cf.vectors`` and lays it on the index of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from .. import vectors
from ..errors import ColumnError
from ..models import catalogue
from ..vectors.vector import Space, views
from .arrow import VectorArray
from .progress import working
from .rows import Frame, as_frame, as_frames, label_in
from .steps import Steps
from .vector_input import Embedding, refuse_unrecorded, sends_text


def as_vectors(data: Frame, /, on: Any = None, *, model: str, origin: str, form: str = "") -> Steps[pd.Series[Any]]:
    """Record where plain vectors come from, so that they can be compared.

    For vectors out of files that do not record it (parquet and Arrow files written from here do), or made by
    other libraries.  Nothing is sent.

    Parameters
    ----------
    on : str, optional
        Column of vectors.
    model : str
        Which model made them: a name from ``cf.models()``, or any other.
    origin : str
        Where it ran: ``"cloudflare"``, ``"emulator"``, the host and port of your own server as the ledger shows
        it, or any other.
    form : str
        What else sets them apart; for bge-small, -base and -large the pooling.

    Returns
    -------
    Series of vectors

    Raises
    ------
    ValueError
        The vectors record something else, or `model` or `origin` is not a text.
    """
    for name, value in (("model", model), ("origin", origin)):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name}={value!r}: give a name.")
    column = yield from Embedding({}).column(data, on)

    def result() -> pd.Series[Any]:
        known = next((one.id for one in catalogue().values() if one.name.casefold() == model.casefold()), model)
        stated = Space(known, column.shape[1], form, origin)
        if column.space not in (None, stated):
            raise ValueError(f"the vectors record that they are of {column.space}, not of {stated}")
        where = np.full(len(column.present), -1, dtype=np.int64)
        where[column.positions] = np.arange(len(column))
        cells = VectorArray._from_sequence(views(np.array(column.to_matrix()), where, stated))
        return pd.Series(cells, index=data.index, name=data.name if isinstance(data, pd.Series) else on)

    return result


def search(
    data: Frame, /, query: Any, top_k: int = 5, on: Any = None, *, index: str | None = None,
    instance: str | None = None, mode: Literal["vector", "keyword", "hybrid"] | None = None,
    filter: Mapping[str, Any] | None = None, namespace: str | None = None, metadata: bool = True, id: Any = None,
    join: bool = True, **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Return the rows closest to a text or vector.

    Parameters
    ----------
    query : str, array_like, or a list or Series of them
        Texts are embedded with the model of the vectors, as queries where it tells them from documents.
    top_k : int, default 5
        Rows for each query; at most 100 with `index`, and 50 passages with `instance`.
    index : str, optional
        Look in this index of Vectorize, where ``to_vectorize`` wrote the vectors, instead of in the frame.  The
        model that embeds the query is the one the index was made for (``to_vectorize(create=True)`` writes it in
        its description); else that of `on`, or of the frame's only column of vectors; else ``model=``.
    instance : str, optional
        Look in this instance of AI Search, where ``to_ai_search`` wrote texts.  It embeds queries itself, so they are
        texts, and `on` and ``model=`` have no effect.
    mode : {"vector", "keyword", "hybrid"}, optional
        How an instance looks: by meaning, by words, or by both.  Default: as it is set.
    filter : dict, optional
        Only vectors whose metadata fit, by columns that were ``filterable``: ``{"team": "a", "year": {"$gte":
        2020}}``, with ``$eq``, ``$ne``, ``$in``, ``$nin``, ``$lt``, ``$lte``, ``$gt``, ``$gte``.
    namespace : str, optional
        Only this part of the index; or where the instance lies.
    metadata : bool
        Whether to ask for metadata; for `top_k` above 50 that is one more call for 20 vectors.
    id : str, optional
        The column of ids ``to_vectorize`` or ``to_ai_search`` was given.  Default: the labels of the frame's index.
    join : bool
        Whether what is found in an index or instance becomes rows of this frame again, where it has the id.  For a
        frame that was not written there, give False.

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

        With `instance`: the same, with ``passage``, the part of the text that was found, and ``score`` from 0 to 1.  A
        row is there once for each of its passages.

    Raises
    ------
    ValueError
        The query has another type or is of another space, `top_k` is out of range, the model of the index is unknown,
        or the index cannot be filtered like that.
    AccessError
        There is no such index or instance, or the token may not read it.
    """
    if instance is not None and index is not None:
        raise ValueError("index= is for Vectorize and instance= for AI Search: give one of them.")
    if instance is not None:
        from .ai_search import passages_in

        return (
            yield from passages_in(
                data, instance, query, top_k, on, mode=mode, filter=filter, namespace=namespace, metadata=metadata,
                id=id, join=join, options=options,
            )
        )  # fmt: skip
    if mode is not None:
        raise ValueError("mode= is for an instance of AI Search: give instance=, or leave it out.")
    embedding = Embedding(options)
    if index is not None:
        from .vectorize import found_in  # when it is used: importing the package is quick

        return (
            yield from found_in(
                data, index, query, top_k, on, filter=filter, namespace=namespace, metadata=metadata, id=id, join=join,
                embedding=embedding,
            )
        )  # fmt: skip
    if filter is not None or namespace is not None:
        raise ValueError(
            "filter= and namespace= are for a store of the service: give index= or instance=, or filter the frame."
        )
    column = yield from embedding.column(data, on, asks=sends_text(query))
    wanted = yield from embedding.query(query, column.space, among=len(column))
    if isinstance(query, pd.Series) and not sends_text(query):
        refuse_unrecorded(column, wanted)  # a vector written out in the call is the caller's own

    def result() -> pd.DataFrame:
        with working("search", embedding.progress) as tell:
            scores, rows = vectors.search(column, wanted.matrix, top_k, on_progress=tell)
        best = as_frame(data).iloc[column.positions[rows.ravel()]].copy()
        best[label_in(best, "score")] = scores.ravel().astype(float)
        if wanted.names is not None:
            names = pd.Series(wanted.names, dtype=object if not wanted.names else None)
            best[label_in(best, "query")] = names.repeat(rows.shape[1]).to_numpy()
        return best

    return result


def similarity(data: Frame, /, on: Any = None, other: Any = None, **options: Any) -> Steps[pd.Series[Any]]:
    """Compare each row with a text, a vector, or another column row by row.

    Parameters
    ----------
    other : str, array_like or Series
        A text, embedded with the model of the column (as a query where the model tells queries from documents);
        a vector; or a Series of either on the same index, such as ``df["b"]``.  For a Series ``s.cfai``, `other`
        may come first.

    Returns
    -------
    Series of float64
        The cosine, in [-1, 1]; NaN where one of the two is missing.

    Raises
    ------
    ValueError
        `other` is none of these, or of another space.
    """
    if other is None and isinstance(data, pd.Series):
        on, other = None, on
    if isinstance(other, str) and isinstance(data, pd.DataFrame) and other in data.columns:
        raise ValueError(f"{other!r} is a column and would be taken as a text: give df[{other!r}]")
    embedding = Embedding(options)
    column = yield from embedding.column(data, on, asks=sends_text(other))
    second: Any
    if isinstance(other, pd.Series):
        refuse_unrecorded(column)  # before texts are embedded for it
        second = yield from embedding.counterpart(other, data, column.space)
        refuse_unrecorded(column, second)
        both = column.present & second.present
        column, second = column.select(both), second.select(both)
    else:
        query = yield from embedding.query(other, column.space, among=len(column))
        if query.names is not None:
            raise ValueError("one text or vector is compared with all rows; search() takes several")
        second = query.matrix[0]

    def result() -> pd.Series[Any]:
        cosines = vectors.similarity(column, second)
        return pd.Series(column.per_cell(cosines, np.nan, float), index=data.index, name="similarity")

    return result


def sim_join(
    data: Frame, /, other: pd.DataFrame | pd.Series[Any], left_on: Any = None, right_on: Any = None, top_k: int = 1,
    threshold: float | None = None, *, how: Literal["inner", "left"] = "inner",
    suffixes: tuple[str | None, str | None] = ("_x", "_y"), **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Join two frames by what their rows mean: each row with the closest of the other frame.

    Parameters
    ----------
    other : DataFrame or Series
    left_on, right_on : str, optional
        Column of vectors or text in this and in the other frame.  Texts beside vectors are embedded with the model
        of the vectors.
    top_k : int, default 1
        The most matches for a row.
    threshold : float, optional
        The least cosine of a match.
    how : {"inner", "left"}
        Whether rows without a match are left out, or kept with the other frame's columns missing.
    suffixes : tuple of str
        For columns of the same name, as in ``DataFrame.merge``.

    Returns
    -------
    DataFrame
        On the index of this frame, whose labels repeat with ``top_k > 1``: its columns, those of `other`, and
        ``score``, the cosine; best matches first.

    Raises
    ------
    ColumnError
        There is a column ``score`` already.
    ValueError
        The vectors are of different spaces, or an option has an invalid value.
    """
    if how not in ("inner", "left"):
        raise ValueError(f'how={how!r}: give "inner" or "left".')
    none, neither = (each.iloc[:0].reset_index(drop=True) for each in as_frames(data, other))
    columns = none.merge(neither, left_index=True, right_index=True, suffixes=suffixes)
    if label_in(columns, "score") in columns:  # before texts are embedded
        raise ColumnError("There is a column 'score' already, and sim_join() adds one of its own: rename it first.")
    embedding = Embedding(options)
    left, right = yield from embedding.two(data, left_on, other, right_on)

    def result() -> pd.DataFrame:
        with working("sim_join", embedding.progress) as tell:
            scores, rows = vectors.search(right, left, top_k, threshold=threshold, on_progress=tell)
        matched, rank = np.nonzero(rows >= 0)
        one, two = left.positions[matched], right.positions[rows[matched, rank]]
        score = scores[matched, rank].astype(float)
        if how == "left":
            alone = np.setdiff1d(np.arange(len(data)), one)
            order = np.argsort(np.concatenate([one, alone]), kind="stable")
            one, two, score = (
                np.concatenate([values, np.full(len(alone), none) if none is not None else alone])[order]
                for values, none in ((one, None), (two, -1), (score, np.nan))
            )
        # Joined by position, so that names, suffixes and missing cells are what a merge makes of them.
        first, second = as_frames(data, other)
        first = first.iloc[one].set_axis(range(len(one)), axis=0)
        second = second.iloc[two[two >= 0]].set_axis(np.flatnonzero(two >= 0), axis=0)
        joined: pd.DataFrame = first.merge(second, how="left", left_index=True, right_index=True, suffixes=suffixes)
        joined[label_in(joined, "score")] = score
        joined.index = data.index[one]
        return joined

    return result


def dedupe(
    data: Frame, /, on: Any = None, threshold: float = 0.95, keep: Literal["first", "last"] = "first", *,
    groups: bool = False, **options: Any,
) -> Steps[Any]:  # fmt: skip
    """Keep one row of each group of near duplicates.

    Parameters
    ----------
    threshold : float, default 0.95
        The cosine from which two rows are duplicates; a group is what chains of such pairs connect.  What it should
        be depends on the model: look at some groups first.
    keep : {"first", "last"}
        Which row of a group.
    groups : bool
        Drop nothing and return the group of each row instead: ``df.assign(group=df.cfai.dedupe("text",
        groups=True))``.

    Returns
    -------
    DataFrame or Series
        The rows kept, in their order; rows without a vector are kept, since they cannot be compared.  With
        ``groups=True`` a Series of Int64, numbered as they come, missing where there is no vector.

    Raises
    ------
    ValueError
        An option has an invalid value.
    """
    if keep not in ("first", "last"):
        raise ValueError(f'keep={keep!r}: give "first" or "last".')
    embedding = Embedding(options)
    column = yield from embedding.column(data, on)

    def result() -> Any:
        with working("dedupe", embedding.progress) as tell:
            found = vectors.duplicates(column, threshold, on_progress=tell)
        group = pd.Series(column.per_cell(found, pd.NA, object), dtype="Int64")
        if groups:
            return group.set_axis(data.index).rename("group")
        again = group.duplicated(keep=keep) & group.notna()
        return data[~again.to_numpy(dtype=bool)]

    return result


def cluster(
    data: Frame, /, on: Any = None, n_clusters: Literal["auto"] | int = "auto", *,
    method: Literal["kmeans", "hdbscan"] = "kmeans", min_cluster_size: int | None = None, random_state: int = 0,
    **options: Any,
) -> Steps[pd.Series[Any]]:  # fmt: skip
    """Give each row the number of its cluster.

    Parameters
    ----------
    n_clusters : "auto" or int, default "auto"
        ``"auto"``: the best number from 2 to 18 (k-means), or what the density gives (HDBSCAN).
    method : {"kmeans", "hdbscan"}
        ``"hdbscan"`` finds dense clusters, and leaves the rest as noise.
    min_cluster_size : int, optional
        The smallest cluster of HDBSCAN.
    random_state : int, default 0
        The same one and the same vectors give the same clusters.

    Returns
    -------
    Series of Int64
        0 is the largest cluster; -1 is noise (HDBSCAN only), missing where there is no vector.
    """
    embedding = Embedding(options)
    column = yield from embedding.column(data, on)

    def result() -> pd.Series[Any]:
        with working("cluster", embedding.progress) as tell:
            tell(f"{method} of {len(column):,} vectors")
            found = vectors.cluster(column, n_clusters, random_state, method=method, min_cluster_size=min_cluster_size)
        return pd.Series(column.per_cell(found, pd.NA, object), index=data.index, name="cluster", dtype="Int64")

    return result


def project(
    data: Frame, /, on: Any = None, *, method: Literal["auto", "tsne", "pca", "umap"] = "auto", random_state: int = 0,
    **options: Any,
) -> Steps[pd.DataFrame]:  # fmt: skip
    """Lay the rows out on a plane, so that similar rows lie close together.

    Parameters
    ----------
    method : {"auto", "tsne", "pca", "umap"}
        ``"auto"``: t-SNE for up to 5,000 rows; beyond, t-SNE of a sample of 5,000, and the others placed amid their
        nearest of these.  ``"umap"`` needs umap-learn.
    random_state : int, default 0
        The same one and the same vectors give the same points.

    Returns
    -------
    DataFrame
        ``x``, ``y``; NaN where there is no vector.  ``.attrs["cfai"]["note"]`` says what was done.
    """
    embedding = Embedding(options)
    column = yield from embedding.column(data, on)

    def result() -> pd.DataFrame:
        with working("project", embedding.progress) as tell:
            laid = vectors.project(column, method, random_state, on_progress=tell)
            tell(laid.note)
        made = {name: column.per_cell(laid.points[:, at], np.nan, float) for at, name in enumerate("xy")}
        frame = pd.DataFrame(made, index=data.index)
        origin = getattr(column.space, "origin", None)
        frame.attrs["cfai"] = {"verb": "project", "method": laid.method, "note": laid.note, "origin": origin}
        return frame

    return result


def outliers(
    data: Frame, /, on: Any = None, n_neighbors: int = 10, *, contamination: float | None = None,
    random_state: int = 0, **options: Any,
) -> Steps[pd.Series[Any]]:  # fmt: skip
    """Measure how far each row lies from the rows most similar to it.

    Parameters
    ----------
    n_neighbors : int, default 10
        How many neighbours count.  A group of fewer rows than that, all far from the rest, counts as outlying.
    contamination : float, optional
        Mark this share of the rows, those with the largest distances, instead of returning distances: 0.01 for one
        in a hundred.
    random_state : int, default 0
        For the sample of 20,000 rows in which neighbours are searched, where there are more.

    Returns
    -------
    Series of float64, or of boolean with `contamination`
        The mean cosine distance (1 - cosine, 0 to 2) to the `n_neighbors` nearest others; missing where there is no
        vector.  Distances of different models cannot be compared.  ``.attrs["cfai"]["note"]`` says what was done.
    """
    if contamination is not None and not 0 < contamination < 1:
        raise ValueError(f"contamination={contamination!r}: give the part of the rows to mark, between 0 and 1.")
    embedding = Embedding(options)
    column = yield from embedding.column(data, on)

    def result() -> pd.Series[Any]:
        with working("outliers", embedding.progress) as tell:
            found, note = vectors.outliers(column, n_neighbors, random_state=random_state, on_progress=tell)
        if contamination is None:
            made = pd.Series(column.per_cell(found, np.nan, float), index=data.index, name="outlier")
        else:
            far = np.zeros(len(found), dtype=bool)
            far[np.argsort(-found, kind="stable")[: int(np.ceil(contamination * len(found)))]] = True
            cells = column.per_cell(far, pd.NA, object)
            made = pd.Series(cells, index=data.index, name="outlier", dtype="boolean")
        made.attrs["cfai"] = {"verb": "outliers", "note": note, "origin": getattr(column.space, "origin", None)}
        return made

    return result
