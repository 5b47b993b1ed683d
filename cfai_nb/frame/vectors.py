"""Verbs on vectors: ``as_vectors``, ``similarity``, ``sim_join``, ``dedupe``, ``cluster``, ``project`` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .. import vectors
from ..errors import takes_options
from ..models import catalogue
from ..vectors.vector import Space, views
from . import rows as frames
from .arrow import VectorArray
from .call import OPTIONS, shared_budget
from .progress import working
from .search import Searching
from .vector_input import counterpart_of, is_text, query_of, refuse_unrecorded, sends_text, vectors_of

if TYPE_CHECKING:
    from .label_clusters import LabelClusters


class Exploring(Searching):
    """Verbs on vectors.

    In all of them ``on`` is a column of vectors, as ``embed`` makes it or as a file brings it back; or a column of text
    (or a template), which is embedded first with the default model or ``model=``: an ordinary ``embed``, priced and
    stored, so that the same texts cost once (``df.cfai.embed.plan("text")`` says how much).  A Series needs none, and
    neither does a frame with one column of vectors.  ``**travel`` are ``model=`` and the run options of ``embed``.
    Rows without a vector stay missing.  Vectors of different models, poolings or origins refuse to meet (ValueError),
    and so do columns that do not record theirs; ``as_vectors`` states it.  Parquet and Arrow files record it.
    Everything is exact unless it says otherwise, and computed in blocks: n-by-n is never made.
    """

    @takes_options()
    def as_vectors(self, on: Any = None, *, model: str, origin: str, form: str = "") -> pd.Series[Any]:
        """Say where plain vectors come from, so that they can be compared.

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
        column = vectors_of(self._data, on, {})
        known = next((one.id for one in catalogue().values() if one.name.casefold() == model.casefold()), model)
        stated = Space(known, column.shape[1], form, origin)
        if column.space not in (None, stated):
            raise ValueError(f"the vectors record that they are of {column.space}, not of {stated}")
        where = np.full(len(column.present), -1, dtype=np.int64)
        where[column.positions] = np.arange(len(column))
        cells = VectorArray._from_sequence(views(np.array(column.to_matrix()), where, stated))
        own: Any = self._data.name if isinstance(self._data, pd.Series) else on
        return pd.Series(cells, index=self._data.index, name=own)

    @takes_options("model", *OPTIONS)
    def similarity(self, on: Any = None, other: Any = None, **travel: Any) -> pd.Series[Any]:
        """Compare each row with a text, a vector, or another column row by row.

        Parameters
        ----------
        on : str, optional
            Column of vectors or text.
        other : str, array_like or Series
            A text, embedded with the model of the column (as a query where the model tells queries from documents);
            a vector; or a Series of either on the same index, such as ``df["b"]``.  For a Series ``s.cfai``, `other`
            may come first.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        Series of float64
            The cosine, in [-1, 1]; NaN where one of the two is missing.

        Raises
        ------
        ValueError
            `other` is nothing of these, or of another space.
        """
        if other is None and isinstance(self._data, pd.Series):
            on, other = None, on
        if isinstance(other, str) and isinstance(self._data, pd.DataFrame) and other in self._data.columns:
            raise ValueError(f"{other!r} is a column and would be taken as a text: give df[{other!r}]")
        travel = shared_budget(travel)
        column = vectors_of(self._data, on, travel, asks=sends_text(other))
        if isinstance(other, pd.Series):
            refuse_unrecorded(column)  # before texts are embedded for it
            second = counterpart_of(other, self._data, column.space, travel)
            refuse_unrecorded(column, second)
            both = column.present & second.present
            column, second = column.select(both), second.select(both)
            cosines = vectors.similarity(column, second)
        else:
            query = query_of(other, column.space, travel)
            if query.names is not None:
                raise ValueError("one text or vector is compared with all rows; search() takes several")
            cosines = vectors.similarity(column, query.matrix[0])
        return pd.Series(column.per_cell(cosines, np.nan, float), index=self._data.index, name="similarity")

    @takes_options("model", *OPTIONS)
    def sim_join(
        self,
        other: frames.Frame,
        left_on: Any = None,
        right_on: Any = None,
        k: int = 1,
        threshold: float | None = None,
        *,
        how: Literal["inner", "left"] = "inner",
        suffixes: tuple[str | None, str | None] = ("_x", "_y"),
        **travel: Any,
    ) -> pd.DataFrame:
        """Join two frames by what their rows mean: each row with the closest of the other frame.

        Parameters
        ----------
        other : DataFrame or Series
        left_on, right_on : str, optional
            Column of vectors or text in this and in the other frame.  Texts beside vectors are embedded with the model
            of the vectors.
        k : int, default 1
            The most matches for a row.
        threshold : float, optional
            The least cosine of a match.
        how : {"inner", "left"}
            Whether rows without a match are left out, or kept with the other frame's columns missing.
        suffixes : tuple of str
            For columns of the same name, as in ``DataFrame.merge``.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        DataFrame
            On the index of this frame, whose labels repeat with ``k > 1``: its columns, those of `other`, and
            ``score``, the cosine; best matches first.

        Raises
        ------
        ValueError
            The vectors are of different spaces, or an option means nothing.
        """
        if how not in ("inner", "left"):
            raise ValueError(f'how={how!r}: give "inner" or "left".')
        mine, theirs = (d.to_frame() if isinstance(d, pd.Series) else d for d in (self._data, other))
        left, right = self._two(other, left_on, right_on, travel)
        with working("sim_join", travel.get("progress")) as tell:
            scores, rows = vectors.search(right, left, k, threshold=threshold, on_progress=tell)
        matched, rank = np.nonzero(rows >= 0)
        one, two = left.positions[matched], right.positions[rows[matched, rank]]
        score = scores[matched, rank].astype(float)
        if how == "left":
            alone = np.setdiff1d(np.arange(len(mine)), one)
            order = np.argsort(np.concatenate([one, alone]), kind="stable")
            one, two, score = (
                np.concatenate([values, np.full(len(alone), none) if none is not None else alone])[order]
                for values, none in ((one, None), (two, -1), (score, np.nan))
            )
        # Joined by position, so that names, suffixes and missing cells are what a merge makes of them.
        first = mine.iloc[one].set_axis(range(len(one)), axis=0)
        second = theirs.iloc[two[two >= 0]].set_axis(np.flatnonzero(two >= 0), axis=0)
        joined: pd.DataFrame = first.merge(second, how="left", left_index=True, right_index=True, suffixes=suffixes)
        joined["score"] = score
        joined.index = mine.index[one]
        return joined

    @takes_options("model", *OPTIONS)
    def dedupe(
        self,
        on: Any = None,
        threshold: float = 0.95,
        keep: Literal["first", "last"] = "first",
        *,
        groups: bool = False,
        **travel: Any,
    ) -> Any:
        """Keep one row of each group of near duplicates.

        Parameters
        ----------
        on : str, optional
            Column of vectors or text.
        threshold : float, default 0.95
            The cosine from which two rows are duplicates; a group is what chains of such pairs connect.  What it should
            be depends on the model: look at some groups first.
        keep : {"first", "last"}
            Which row of a group.
        groups : bool
            Drop nothing and return the group of each row instead: ``df.assign(group=df.cfai.dedupe("text",
            groups=True))``.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        DataFrame or Series
            The rows kept, in their order; rows without a vector are kept, for nothing is known of them.  With
            ``groups=True`` a Series of Int64, numbered as they come, missing where there is no vector.

        Raises
        ------
        ValueError
            An option means nothing.
        """
        if keep not in ("first", "last"):
            raise ValueError(f'keep={keep!r}: give "first" or "last".')
        column = vectors_of(self._data, on, travel)
        with working("dedupe", travel.get("progress")) as tell:
            found = vectors.duplicates(column, threshold, on_progress=tell)
        group = pd.Series(column.per_cell(found, pd.NA, object), dtype="Int64")
        if groups:
            return group.set_axis(self._data.index).rename("group")
        again = group.duplicated(keep=keep) & group.notna()
        return self._data[~again.to_numpy(dtype=bool)]

    @takes_options("model", *OPTIONS)
    def cluster(
        self, on: Any = None, k: Literal["auto"] | int = "auto", *, method: str = "kmeans", seed: int = 0,
        least: int | None = None, **travel: Any,
    ) -> pd.Series[Any]:  # fmt: skip
        """Give each row the number of its group.

        Parameters
        ----------
        on : str, optional
            Column of vectors or text.
        k, method, seed, least
            See ``cf.vectors.cluster``: KMeans with the best number of groups of 2 to 18 by default,
            ``method="hdbscan"`` for dense groups and noise.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        Series of Int64
            0 is the largest group; -1 is noise (HDBSCAN only), missing where there is no vector.
        """
        column = vectors_of(self._data, on, travel)
        with working("cluster", travel.get("progress")) as tell:
            tell(f"{method} of {len(column):,} vectors")
            found = vectors.cluster(column, k, seed, method=method, min_cluster_size=least)
        return pd.Series(column.per_cell(found, pd.NA, object), index=self._data.index, name="cluster", dtype="Int64")

    @property
    def label_clusters(self) -> LabelClusters:
        """Name clusters by their words or by a chat model; see ``help(df.cfai.label_clusters)``."""
        from .label_clusters import LabelClusters  # when it is used: importing the package is quick

        return LabelClusters(self._data)

    @takes_options("model", *OPTIONS)
    def project(self, on: Any = None, *, method: str = "auto", seed: int = 0, **travel: Any) -> pd.DataFrame:
        """Lay the rows out on a plane, so that what is alike lies close.

        Parameters
        ----------
        on : str, optional
            Column of vectors or text.
        method, seed
            See ``cf.vectors.project``: t-SNE for up to 5,000 rows; beyond, t-SNE of a sample of 5,000, and the others
            amid their nearest of these; ``"pca"``; ``"umap"`` if it is installed.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        DataFrame
            ``x``, ``y``; NaN where there is no vector.  ``.attrs["cfai"]["note"]`` says what was done.
        """
        column = vectors_of(self._data, on, travel)
        with working("project", travel.get("progress")) as tell:
            laid = vectors.project(column, method, seed, on_progress=tell)
            tell(laid.note)
        made = {name: column.per_cell(laid.points[:, at], np.nan, float) for at, name in enumerate("xy")}
        frame = pd.DataFrame(made, index=self._data.index)
        origin = getattr(column.space, "origin", None)
        frame.attrs["cfai"] = {"verb": "project", "method": laid.method, "note": laid.note, "origin": origin}
        return frame

    @takes_options("model", *OPTIONS)
    def outliers(
        self, on: Any = None, k: int = 10, *, share: float | None = None, seed: int = 0, **travel: Any
    ) -> pd.Series[Any]:
        """Say how far each row lies from the rows most like it.

        Parameters
        ----------
        on : str, optional
            Column of vectors or text.
        k : int, default 10
            How many neighbours count.  A group of fewer rows than that, all far from the rest, counts as outlying.
        share : float, optional
            Mark this share of the rows, those with the largest distances, instead of returning distances: 0.01 for one
            in a hundred.
        seed : int, default 0
            For the sample neighbours are looked for in, of 20,000 rows, where there are more.
        **travel
            ``model=`` and run options, for what is embedded.

        Returns
        -------
        Series of float64, or of boolean with `share`
            The mean cosine distance (1 - cosine, 0 to 2) to the `k` nearest others; missing where there is no vector.
            Distances of one model mean nothing beside those of another.  ``.attrs["cfai"]["note"]`` says what was done.
        """
        if share is not None and not 0 < share < 1:
            raise ValueError(f"share={share!r}: give the part of the rows to mark, between 0 and 1.")
        column = vectors_of(self._data, on, travel)
        with working("outliers", travel.get("progress")) as tell:
            found, note = vectors.outliers(column, k, random_state=seed, on_progress=tell)
        if share is None:
            made = pd.Series(column.per_cell(found, np.nan, float), index=self._data.index, name="outlier")
        else:
            far = np.zeros(len(found), dtype=bool)
            far[np.argsort(-found, kind="stable")[: int(np.ceil(share * len(found)))]] = True
            cells = column.per_cell(far, pd.NA, object)
            made = pd.Series(cells, index=self._data.index, name="outlier", dtype="boolean")
        made.attrs["cfai"] = {"verb": "outliers", "note": note, "origin": getattr(column.space, "origin", None)}
        return made

    def _two(self, other: frames.Frame, left_on: Any, right_on: Any, travel: Any) -> Any:
        """Vectors of both frames; those that are there come first, and texts are embedded for their space."""
        travel = shared_budget(travel)
        texts = is_text(self._data, left_on), is_text(other, right_on)
        if texts == (True, False):
            right = vectors_of(other, right_on, travel, asks=True)
            refuse_unrecorded(right)  # before texts are embedded for it
            left = vectors_of(self._data, left_on, travel, like=right.space)
        else:
            left = vectors_of(self._data, left_on, travel, asks=texts[1])
            refuse_unrecorded(left)
            right = vectors_of(other, right_on, travel, like=left.space)
        refuse_unrecorded(left, right)
        return left, right
